//! What processes take of the machine, as `/proc` has it: processors, memory, descriptors, threads.

use std::collections::BTreeMap;

use procfs::process::Process;

/// What the processes of a family take at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// How many there are.
    pub count: u64,
    /// How long they, and children of theirs that have ended, were on a processor since the last look, in nanoseconds.
    pub cpu_ns: u64,
    /// Their resident memory; what they share is counted for each.
    pub memory_bytes: u64,
    /// Their open descriptors; none of those that are somebody else's, where `/proc` does not tell.
    pub descriptors: u64,
    /// Their threads.
    pub threads: u64,
}

/// Looks again and again at processes, and knows what they had taken before.
#[derive(Debug)]
pub struct Gauge {
    /// In ticks, by pid: since when it lives, and what it and its ended children have taken.
    known: BTreeMap<u32, (u64, u64)>,
    ns_per_tick: u64,
    bytes_per_page: u64,
}

impl Default for Gauge {
    fn default() -> Self {
        Self {
            known: BTreeMap::new(),
            ns_per_tick: 1_000_000_000 / procfs::ticks_per_second().max(1),
            bytes_per_page: procfs::page_size(),
        }
    }
}

impl Gauge {
    /// Looks at these. Who is seen for the first time has taken nothing before: it was born since, or nobody knows.
    pub fn look(&mut self, pids: &[u32]) -> Figures {
        let mut all = Figures::default();
        let mut now = BTreeMap::new();
        for pid in pids {
            let Some((figures, start, ticks)) = self.look_at(*pid) else {
                continue;
            };
            let before = match self.known.get(pid) {
                Some((since, before)) if *since == start => *before,
                _ if self.known.is_empty() => ticks,
                _ => 0,
            };
            all.count += 1;
            all.cpu_ns += ticks.saturating_sub(before) * self.ns_per_tick;
            all.memory_bytes += figures.memory_bytes;
            all.descriptors += figures.descriptors;
            all.threads += figures.threads;
            now.insert(*pid, (start, ticks));
        }
        self.known = now;
        all
    }

    /// One of them, since when it lives, and what it has taken; none of one that is gone.
    fn look_at(&self, pid: u32) -> Option<(Figures, u64, u64)> {
        let process = Process::new(pid.try_into().ok()?).ok()?;
        let stat = process.stat().ok()?;
        let own = stat.utime + stat.stime;
        // Signed, as the kernel has them; never below zero.
        let of_children = u64::try_from(stat.cutime + stat.cstime).unwrap_or(0);
        let figures = Figures {
            memory_bytes: stat.rss * self.bytes_per_page,
            descriptors: process.fd_count().unwrap_or(0) as u64,
            threads: u64::try_from(stat.num_threads).unwrap_or(0),
            ..Figures::default()
        };
        Some((figures, stat.starttime, own + of_children))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs::File, process, thread};

    #[test]
    fn what_a_process_takes_is_seen() {
        let own = process::id();
        let mut gauge = Gauge::default();
        let before = gauge.look(&[own]);
        assert_eq!(
            (before.count, before.cpu_ns),
            (1, 0),
            "nothing is known of earlier"
        );
        let _opened: Vec<File> = (0..20)
            .map(|_| File::open("/dev/null").expect("there is one"))
            .collect();
        // However busy the machine is.
        let took = || rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        let began = took();
        while (took() - began).tv_nsec < 200_000_000 {}
        let (after, gone) = thread::scope(|scope| {
            let waits = scope.spawn(thread::park);
            let after = gauge.look(&[own]);
            waits.thread().unpark();
            (after, gauge.look(&[u32::MAX]))
        });
        // Other tests of this process may open and close what they want: no fewer than it has opened itself.
        assert!(after.descriptors >= 20, "{after:?}");
        assert!(after.cpu_ns >= 100_000_000, "{after:?}");
        assert!(
            after.threads >= 2 && after.memory_bytes > 1 << 20,
            "{after:?}"
        );
        assert_eq!(gone, Figures::default());
    }
}
