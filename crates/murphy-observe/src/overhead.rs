//! Overhead is what observing costs: processors, memory, and what of the kernel's could not be taken in.

use std::{collections::VecDeque, fmt, fs};

use murphy_sys::{
    clock::{boottime_ns, process_cpu_ns},
    program_runs::ProgramRuns,
};
use serde::Serialize;

use crate::metrics::Own;

/// Processors are of so long, in nanoseconds.
const RECENT_NS: u64 = 5_000_000_000;

/// What it costs to observe, for the whole process that does.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Overhead {
    /// Of one processor, in the last seconds: 1 is all of it. Nothing is known in the first half second.
    pub cpu: Option<f64>,
    /// Memory in use, in bytes.
    pub resident_bytes: Option<u64>,
    /// The most that it ever was.
    pub resident_most_bytes: Option<u64>,
    /// Events of connections that were taken in.
    pub events: u64,
    /// Events that there was no room for.
    pub lost: u64,
    /// How many connections the last look has found.
    pub looked: u64,
    /// How long it took, in microseconds.
    pub look_us: u64,
    /// What the BPF programs have cost, where that is counted: it costs by itself.
    pub programs: Vec<ProgramRuns>,
}

impl Overhead {
    /// What a run of the BPF programs has taken on average, in nanoseconds; nothing where that is not counted.
    pub fn ns_per_run(&self) -> Option<u64> {
        let ns: u64 = self.programs.iter().map(|program| program.ns).sum();
        let runs: u64 = self.programs.iter().map(|program| program.runs).sum();
        ns.checked_div(runs)
    }

    /// What fits into a headline.
    pub fn brief(&self) -> Option<String> {
        let (cpu, bytes) = self.cpu.zip(self.resident_bytes)?;
        Some(format!("{:.1} % CPU, {} MB", 100.0 * cpu, megabytes(bytes)))
    }
}

fn megabytes(bytes: u64) -> u64 {
    bytes.div_ceil(1_000_000)
}

impl fmt::Display for Overhead {
    /// For people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(cpu) = self.cpu {
            write!(f, "{:.1} % of a processor, ", 100.0 * cpu)?;
        }
        if let Some(bytes) = self.resident_bytes {
            write!(f, "{} MB of memory, ", megabytes(bytes))?;
        }
        let one_of = |count: u64| if count == 1 { "" } else { "s" };
        write!(
            f,
            "{} event{} taken, {} lost; looked at {} connection{} in {:.1} ms",
            self.events,
            one_of(self.events),
            self.lost,
            self.looked,
            one_of(self.looked),
            self.look_us as f64 / 1e3
        )?;
        match self.ns_per_run() {
            Some(ns) => write!(f, "; {ns} ns for each run of its BPF programs"),
            None => Ok(()),
        }
    }
}

/// Who reads what this process uses.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    /// When, and how long this process had had processors until then, in nanoseconds.
    used: VecDeque<(u64, u64)>,
    resident_bytes: Option<u64>,
    resident_most_bytes: Option<u64>,
}

impl Meter {
    /// Reads it now.
    pub fn read(&mut self) {
        let now_ns = boottime_ns();
        self.take(now_ns, process_cpu_ns());
        // Where there is no /proc it is not known.
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        self.resident_bytes = Own::parse("", &status, "").resident_bytes;
        self.resident_most_bytes = self.resident_most_bytes.max(self.resident_bytes);
    }

    fn take(&mut self, now_ns: u64, used_ns: u64) {
        let is_old = |at_ns: u64| now_ns.saturating_sub(at_ns) >= RECENT_NS;
        // The last one of before stays: the time since then is not shorter than wanted.
        while self.used.get(1).is_some_and(|(at_ns, _)| is_old(*at_ns)) {
            self.used.pop_front();
        }
        self.used.push_back((now_ns, used_ns));
    }

    /// The share of a processor.
    fn cpu(&self) -> Option<f64> {
        let (first, last) = (self.used.front()?, self.used.back()?);
        let passed = last.0.checked_sub(first.0).filter(|passed| *passed > 0)?;
        Some(last.1.saturating_sub(first.1) as f64 / passed as f64)
    }

    /// What was read last, beside what else is known.
    pub fn fill(&self, rest: Overhead) -> Overhead {
        Overhead {
            cpu: self.cpu(),
            resident_bytes: self.resident_bytes,
            resident_most_bytes: self.resident_most_bytes,
            ..rest
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn processors_are_of_the_last_seconds() {
        let mut meter = Meter::default();
        assert_eq!(meter.cpu(), None);
        meter.take(0, 0);
        assert_eq!(meter.cpu(), None);
        for second in 1..=20 {
            // A tenth of one at first, and half of one later.
            let used = if second <= 10 {
                second * S / 10
            } else {
                S + (second - 10) * S / 2
            };
            meter.take(second * S, used);
        }
        let cpu = meter.cpu().unwrap();
        assert!((cpu - 0.5).abs() < 1e-9, "{cpu}");
        assert!(meter.used.len() <= 7, "{}", meter.used.len());
    }

    #[test]
    fn a_process_has_memory_and_says_so() {
        let mut meter = Meter::default();
        meter.read();
        let overhead = meter.fill(Overhead {
            events: 1,
            looked: 2,
            look_us: 1500,
            programs: vec![ProgramRuns {
                name: "one".into(),
                runs: 4,
                ns: 1000,
            }],
            ..Overhead::default()
        });
        assert!(overhead.resident_bytes.unwrap() > 1_000_000);
        assert_eq!(overhead.ns_per_run(), Some(250));
        let text = Overhead {
            resident_bytes: None,
            ..overhead
        };
        let expected = "1 event taken, 0 lost; looked at 2 connections in 1.5 ms; \
                        250 ns for each run of its BPF programs";
        assert_eq!(text.to_string(), expected);
        assert_eq!(text.brief(), None);
        assert_eq!(Overhead::default().ns_per_run(), None);
    }
}
