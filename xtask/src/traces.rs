//! What a test could leave on the machine: processes, namespaces, links, mounts, journal entries.
//!
//! Processes are found by a mark in the environment that they inherit from the suite, so that whatever else runs on
//! the machine is never mistaken for a leftover. The rest is compared before and after.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::Path;

/// Where network namespaces have names. `ip netns add` mounts the folder on itself when it names the first one, and leaves
/// that so for good: a namespace that is named there is a trace, the folder is none.
const NAMES: &str = "/run/netns";

/// A set of things on this machine, each as a line that names it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Traces(BTreeSet<String>);

impl Traces {
    /// The environment variable that every process of the suite inherits.
    pub const MARK: &'static str = "MURPHY_SUITE";

    /// The value of [`Traces::MARK`] for this suite.
    pub fn mark() -> String {
        std::process::id().to_string()
    }

    /// Everything of the kinds above that is there now.
    pub fn of_this_machine() -> Self {
        let mut traces = BTreeSet::new();
        traces.extend(entries("/proc").filter_map(|pid| marked_process(&pid)));
        traces.extend(entries("/sys/class/net").map(|name| format!("link {name}")));
        traces.extend(entries(NAMES).map(|name| format!("network namespace {name}")));
        traces.extend(entries("/run/murphy/journal").map(|name| format!("journal entry {name}")));
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        traces.extend(
            mounts
                .lines()
                .filter_map(|line| line.split(' ').nth(4))
                .filter(|point| *point != NAMES)
                .map(|point| format!("mount {point}")),
        );
        Self(traces)
    }

    /// What is here and not there.
    pub fn without(self, other: &Self) -> Self {
        Self(self.0.difference(&other.0).cloned().collect())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(|trace| format!("  {trace}")).collect();
        f.write_str(&lines.join("\n"))
    }
}

/// The names in a directory; none if it is not there.
fn entries(directory: &str) -> impl Iterator<Item = String> {
    fs::read_dir(directory)
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
}

/// A process of this suite, or nothing if the entry is none.
fn marked_process(pid: &str) -> Option<String> {
    let number: u32 = pid.parse().ok()?;
    let directory = Path::new("/proc").join(pid);
    let environment = fs::read(directory.join("environ")).ok()?;
    let mark = format!("{}={}", Traces::MARK, Traces::mark());
    environment
        .split(|byte| *byte == 0)
        .find(|variable| *variable == mark.as_bytes())?;
    let name = fs::read_to_string(directory.join("comm")).unwrap_or_default();
    Some(format!("process {number} {}", name.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_marked_process_is_a_trace_until_it_ends() {
        let before = Traces::of_this_machine();
        let mut sleeper = Command::new("sleep")
            .arg("60")
            .env(Traces::MARK, Traces::mark())
            .stdin(Stdio::null())
            .spawn()
            .expect("sleep is part of every system");
        let name = format!("process {} sleep", sleeper.id());
        // It is there before it has executed its program, and with that its environment.
        let during = (0..1000)
            .map(|_| Traces::of_this_machine().without(&before))
            .find(|during| during.0.contains(&name))
            .unwrap_or_default();
        sleeper.kill().expect("a child can be killed");
        sleeper.wait().expect("a child can be waited for");
        assert!(during.0.contains(&name), "{during}");
        assert!(!Traces::of_this_machine().0.contains(&name));
    }
}
