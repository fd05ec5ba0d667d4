//! Murphy's own process, as Prometheus's clients tell of theirs.

/// What a process uses.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Own {
    /// Time of processors, in seconds.
    pub cpu_s: Option<f64>,
    /// Memory in use, in bytes.
    pub resident_bytes: Option<u64>,
    /// Memory that it may use, in bytes.
    pub virtual_bytes: Option<u64>,
    /// Files that are open.
    pub open_files: Option<u64>,
    /// As many may be.
    pub open_files_max: Option<u64>,
    /// Threads.
    pub threads: Option<u64>,
    /// When it began, in seconds since 1970.
    pub began_s: Option<f64>,
}

/// Ticks of a second in `/proc`: `USER_HZ`, which is the same on every machine that Murphy runs on.
const TICKS_PER_S: f64 = 100.0;

impl Own {
    /// What proc(5) says of a process in `stat`, `status` and `limits`. What is not there is not known.
    pub fn parse(stat: &str, status: &str, limits: &str) -> Self {
        // The name of a program may have spaces and parentheses in it; what follows has none.
        let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let ticks = |field: usize| -> Option<f64> {
            // The state, which comes first here, is field 3.
            let text = after_name.split_ascii_whitespace().nth(field - 3)?;
            text.parse::<u64>().ok().map(|ticks| ticks as f64)
        };
        let said = |name: &str| -> Option<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_ascii_whitespace().next()?.parse().ok()
        };
        let limit = limits
            .lines()
            .find_map(|line| line.strip_prefix("Max open files"));
        Self {
            cpu_s: ticks(14)
                .zip(ticks(15))
                .map(|(user, system)| (user + system) / TICKS_PER_S),
            resident_bytes: said("VmRSS:").map(|kib| kib << 10),
            virtual_bytes: said("VmSize:").map(|kib| kib << 10),
            threads: said("Threads:"),
            open_files_max: limit
                .and_then(|rest| rest.split_ascii_whitespace().next()?.parse().ok()),
            open_files: None,
            began_s: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_the_kernel_says_whatever_the_program_is_called() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 900 0 0 0 150 25 0 0 20 0 3 0 100 0 0";
        let status = "Name:\ta) b\nVmSize:\t   20 kB\nVmRSS:\t    8 kB\nThreads:\t3\n";
        let limits =
            "Limit   Soft Limit  Hard Limit  Units\nMax open files   1024   524288   files\n";
        let own = Own::parse(stat, status, limits);
        let expected = Own {
            cpu_s: Some(1.75),
            resident_bytes: Some(8192),
            virtual_bytes: Some(20480),
            threads: Some(3),
            open_files_max: Some(1024),
            ..Own::default()
        };
        assert_eq!(own, expected);
        assert_eq!(Own::parse("", "", ""), Own::default());
    }
}
