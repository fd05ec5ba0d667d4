//! A thread is what the kernel schedules; a process is stopped when every thread of it is.
//!
//! Read from `/proc/PID/task`. CPU time comes from `schedstat`, in nanoseconds and exact once the thread
//! is off its CPU; `stat` counts in ticks of 10 ms, too coarse to prove that nothing ran.

use std::fs;

use crate::process::{ProcessError, Stat, State};

/// Thread states and CPU time of one process at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Threads {
    /// Threads that are not dead.
    pub total: u32,
    /// Those stopped by a signal.
    pub stopped: u32,
    /// Those stopped by their tracer, a debugger.
    pub traced: u32,
    /// CPU time of those threads since each started, in nanoseconds; 0 when the kernel keeps no `schedstat`.
    pub cpu_ns: u64,
}

impl Threads {
    /// Looks at every thread of `pid`. A process that is gone has none.
    pub fn of(pid: u32) -> Result<Self, ProcessError> {
        let path = format!("/proc/{pid}/task");
        let tasks = fs::read_dir(&path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => ProcessError::Gone { pid },
            _ => ProcessError::Read {
                path: path.clone().into(),
                source,
            },
        })?;
        let mut threads = Self::default();
        for task in tasks.flatten() {
            let directory = task.path();
            let stat = fs::read(directory.join("stat")).ok();
            let Some(stat) = stat.as_deref().and_then(Stat::parse) else {
                continue; // the thread ended meanwhile
            };
            if stat.state.is_dead() {
                continue;
            }
            threads.total += 1;
            match stat.state {
                State::Stopped => threads.stopped += 1,
                State::Traced => threads.traced += 1,
                _ => {}
            }
            threads.cpu_ns += fs::read_to_string(directory.join("schedstat"))
                .ok()
                .and_then(|text| text.split_ascii_whitespace().next()?.parse().ok())
                .unwrap_or(0);
        }
        Ok(threads)
    }

    /// Whether there is a thread, and none that runs.
    pub fn all_stopped(&self) -> bool {
        self.total > 0 && self.stopped + self.traced == self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_process_has_threads_that_use_cpu() {
        let threads = Threads::of(std::process::id()).unwrap();
        assert!(threads.total >= 1);
        assert!(!threads.all_stopped());
        assert!(threads.cpu_ns > 0);
    }

    #[test]
    fn no_thread_is_not_all_stopped() {
        assert!(!Threads::default().all_stopped());
    }
}
