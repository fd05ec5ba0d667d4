//! Clocks are the machine's time of day, and what the target's processes see of it.

use murphy_sys::{
    clock::{boottime_ns, realtime_ns, thread_cpu_ns},
    process::namespace_inode,
    table::ProcessTable,
    vdso::shifts_of,
};

/// A clock that is off by less is none to speak of, in nanoseconds: NTP slews it by no more than a twentieth of that between
/// two looks.
const OFF_NS: u64 = 100_000_000;
/// Two readings further apart say nothing, in nanoseconds.
const APART_NS: u64 = 10_000_000;
/// So often they are read again where they are.
const TRIES: usize = 3;
/// For so long it is said that the clock was set, in nanoseconds.
const SAID_NS: u64 = 5_000_000_000;
/// The clocks of processes are looked at so often, in nanoseconds.
const PROCESSES_EVERY_NS: u64 = 1_000_000_000;
/// And for at most one part of a processor in so many.
const PROCESSES_SHARE: u64 = 50;
/// Of no more processes.
const PROCESSES_MAX: usize = 16;

/// A clock that is not what it was, or not what the machine's is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongClock {
    /// By how much, in nanoseconds; less than 0 where it is behind.
    pub off_ns: i64,
    /// When it was first seen, in nanoseconds since boot.
    pub since_ns: u64,
    /// Which clock.
    pub clock: String,
    /// Who sees it so; all of the machine where there is none.
    pub pid: Option<u32>,
}

/// The machine's clock, and those of the processes of a place.
#[derive(Debug, Default)]
pub struct Clocks {
    /// Realtime minus boottime, when it was last read.
    ahead_ns: Option<i64>,
    set: Option<WrongClock>,
    /// Who is in which namespace, and sees another time.
    processes: Vec<(u64, WrongClock)>,
    /// When they are looked at again.
    due_ns: u64,
}

impl Clocks {
    /// Reads the machine's clock; and now and then those of the processes that are in some network namespaces.
    pub fn look(&mut self, inodes: &[u64], now_ns: u64) {
        if let Some(ahead_ns) = ahead() {
            self.tell(ahead_ns, now_ns);
        }
        if now_ns >= self.due_ns {
            let before_ns = thread_cpu_ns();
            self.look_at_processes(inodes, now_ns);
            let took_ns = thread_cpu_ns().saturating_sub(before_ns);
            self.due_ns = now_ns + PROCESSES_EVERY_NS.max(took_ns * PROCESSES_SHARE);
        }
    }

    /// Takes in by how much the time of day is ahead of the time since boot, which nobody can set.
    fn tell(&mut self, ahead_ns: i64, now_ns: u64) {
        let before = self.ahead_ns.replace(ahead_ns);
        let off_ns = before.map_or(0, |before| ahead_ns.wrapping_sub(before));
        if off_ns.unsigned_abs() >= OFF_NS {
            self.set = Some(WrongClock {
                off_ns,
                since_ns: now_ns,
                clock: "CLOCK_REALTIME".into(),
                pid: None,
            });
        }
        if let Some(set) = &self.set
            && now_ns.saturating_sub(set.since_ns) > SAID_NS
        {
            self.set = None;
        }
    }

    fn look_at_processes(&mut self, inodes: &[u64], now_ns: u64) {
        let known = std::mem::take(&mut self.processes);
        let Ok(table) = ProcessTable::read() else {
            return;
        };
        let in_them = table.iter().filter_map(|stat| {
            let inode = namespace_inode(stat.pid, "net").ok()?;
            inodes.contains(&inode).then_some((inode, stat.pid))
        });
        for (inode, pid) in in_them.take(PROCESSES_MAX) {
            let Ok(shifts) = shifts_of(pid) else {
                continue;
            };
            let furthest = shifts.iter().max_by_key(|one| one.shift_ns.unsigned_abs());
            let Some(furthest) = furthest.filter(|one| one.shift_ns.unsigned_abs() >= OFF_NS)
            else {
                continue;
            };
            let mut earlier = known.iter().filter(|(_, one)| one.pid == Some(pid));
            self.processes.push((
                inode,
                WrongClock {
                    off_ns: furthest.shift_ns,
                    since_ns: earlier.next().map_or(now_ns, |(_, one)| one.since_ns),
                    clock: furthest.clock.name().into(),
                    pid: Some(pid),
                },
            ));
        }
    }

    /// What is wrong with the clocks that a namespace sees.
    pub fn wrong_in(&self, inode: u64) -> Vec<WrongClock> {
        let own = self.processes.iter().filter(|(one, _)| *one == inode);
        let own = own.map(|(_, wrong)| wrong.clone());
        self.set.iter().cloned().chain(own).collect()
    }
}

/// By how much the time of day is ahead of the time since boot, in nanoseconds; none where somebody else had the processor
/// in between each time.
fn ahead() -> Option<i64> {
    (0..TRIES).find_map(|_| {
        let before = boottime_ns();
        let day = realtime_ns();
        let after = boottime_ns();
        let ahead = i64::try_from(day.checked_sub(before.midpoint(after))?).ok()?;
        (after - before <= APART_NS).then_some(ahead)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;

    #[test]
    fn a_clock_that_is_set_is_told_for_a_while_and_one_that_is_slewed_is_not() {
        let mut clocks = Clocks::default();
        let mut ahead_ns = 1_700_000_000_000_000_000;
        for half in 0..20 {
            // 500 ppm.
            ahead_ns += 250_000;
            clocks.tell(ahead_ns, half * SECOND_NS / 2);
            assert_eq!(clocks.wrong_in(1), []);
        }
        clocks.tell(ahead_ns - 3_000_000_000, 11 * SECOND_NS);
        let wrong = clocks.wrong_in(1);
        assert_eq!(
            (wrong[0].off_ns, wrong[0].since_ns),
            (-3_000_000_000, 11 * SECOND_NS)
        );
        clocks.tell(ahead_ns - 3_000_000_000, 15 * SECOND_NS);
        assert_eq!(clocks.wrong_in(1).len(), 1);
        clocks.tell(ahead_ns - 3_000_000_000, 17 * SECOND_NS);
        assert_eq!(clocks.wrong_in(1), []);
    }

    #[test]
    fn the_clocks_of_this_machine_are_right() {
        let mut clocks = Clocks::default();
        let own = namespace_inode(std::process::id(), "net").unwrap();
        for _ in 0..3 {
            clocks.look(&[own], boottime_ns());
        }
        assert_eq!(clocks.wrong_in(own), []);
    }
}
