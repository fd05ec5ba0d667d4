//! The process table is everyone alive at one moment, and who started whom.
//!
//! It is read from `/proc` entry by entry, so it is a blurred picture: a process born meanwhile may be
//! missing. Whoever must miss none stops or kills what it found and reads again until nothing new shows.

use std::{collections::BTreeMap, fs, io};

use crate::process::{ProcessId, Stat};

/// The processes of Murphy's pid namespace.
#[derive(Clone, Debug)]
pub struct ProcessTable(BTreeMap<u32, Stat>);

impl ProcessTable {
    /// Reads `/proc`. Zombies are left out: nothing can be done to them.
    pub fn read() -> io::Result<Self> {
        let mut table = BTreeMap::new();
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            if let Ok(stat) = Stat::read(pid)
                && !stat.state.is_dead()
            {
                table.insert(pid, stat);
            }
        }
        Ok(Self(table))
    }

    /// A table of given processes, for tests of what reads one.
    pub fn of(stats: impl IntoIterator<Item = Stat>) -> Self {
        Self(stats.into_iter().map(|stat| (stat.pid, stat)).collect())
    }

    /// Everyone, by rising pid.
    pub fn iter(&self) -> impl Iterator<Item = &Stat> {
        self.0.values()
    }

    /// The process that has `pid`.
    pub fn get(&self, pid: u32) -> Option<&Stat> {
        self.0.get(&pid)
    }

    /// Whether this very process is in the table.
    pub fn holds(&self, process: &ProcessId) -> bool {
        self.get(process.pid)
            .is_some_and(|stat| stat.id() == *process)
    }

    /// The children of children of … `roots`, without the roots, parents before their children.
    pub fn descendants(&self, roots: &[u32]) -> Vec<&Stat> {
        let mut children: BTreeMap<u32, Vec<&Stat>> = BTreeMap::new();
        for stat in self.iter() {
            children.entry(stat.parent).or_default().push(stat);
        }
        let mut found: Vec<&Stat> = Vec::new();
        let mut seen: Vec<u32> = roots.to_vec();
        let mut next = 0;
        while next < seen.len() {
            for child in children.remove(&seen[next]).unwrap_or_default() {
                if !roots.contains(&child.pid) {
                    seen.push(child.pid);
                    found.push(child);
                }
            }
            next += 1;
        }
        found
    }

    /// The parent of `pid`, its parent, and so on, nearest first.
    pub fn ancestors(&self, pid: u32) -> Vec<u32> {
        let mut line = Vec::new();
        let mut at = pid;
        while let Some(stat) = self.get(at) {
            if stat.parent == 0 || line.contains(&stat.parent) {
                break;
            }
            line.push(stat.parent);
            at = stat.parent;
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::State;

    fn process(pid: u32, parent: u32) -> Stat {
        Stat {
            pid,
            comm: format!("p{pid}"),
            state: State::Sleeping,
            parent,
            group: pid,
            flags: 0,
            start_ticks: u64::from(pid),
        }
    }

    fn pids(stats: &[&Stat]) -> Vec<u32> {
        stats.iter().map(|stat| stat.pid).collect()
    }

    #[test]
    fn descendants_come_after_their_parents() {
        let table = ProcessTable::of([
            process(1, 0),
            process(9, 1),
            process(4, 9),
            process(5, 4),
            process(6, 1),
        ]);
        assert_eq!(pids(&table.descendants(&[9])), [4, 5]);
        assert_eq!(pids(&table.descendants(&[9, 4])), [5]);
        assert_eq!(pids(&table.descendants(&[7])), []);
    }

    #[test]
    fn ancestors_end_at_the_first_process() {
        let table = ProcessTable::of([process(1, 0), process(9, 1), process(4, 9)]);
        assert_eq!(table.ancestors(4), [9, 1]);
        assert_eq!(table.ancestors(1), []);
    }

    #[test]
    fn the_real_table_holds_the_reader() {
        let table = ProcessTable::read().unwrap();
        assert!(table.holds(&ProcessId::current()));
    }
}
