//! What a figure was measured on, in words.

use std::fs;

/// How many programs wanted a processor in the last minute, on average.
pub fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = text.split(' ').next().unwrap_or_default();
    if load.is_empty() { "unknown" } else { load }.to_owned()
}

/// The processors and the kernel.
pub fn name() -> String {
    let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let models: Vec<&str> = (processors.lines())
        .filter_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map(|(_, model)| model.trim())
        .collect();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!(
        "{} × {}, Linux {}",
        models.len(),
        models.first().copied().unwrap_or("unknown processor"),
        kernel.trim()
    )
}
