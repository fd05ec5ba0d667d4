//! A tree is a target as it grows: processes already known, and their children as they are born.

use std::collections::BTreeSet;

use murphy_sys::{process::ProcessId, table::ProcessTable};

use crate::{Member, Protected};

/// The known processes of a target.
///
/// A child is found through its parent, so a process whose parent ended before anybody looked is not. Once
/// a process is stopped it bears no children, and those it has stay its own: reading again until nothing
/// new shows finds them all.
#[derive(Clone, Debug)]
pub struct Tree {
    known: BTreeSet<ProcessId>,
    protected: Protected,
}

impl Tree {
    pub(crate) fn new(known: impl IntoIterator<Item = ProcessId>, protected: Protected) -> Self {
        Self {
            known: known.into_iter().collect(),
            protected,
        }
    }

    /// Descendants of known processes that were not known before, parents first; known from now on.
    pub fn newcomers(&mut self, table: &ProcessTable) -> Vec<Member> {
        // A known process that is gone may have given its pid to a stranger: not a parent any more.
        let parents: Vec<u32> = self
            .known
            .iter()
            .filter(|process| table.holds(process))
            .map(|process| process.pid)
            .collect();
        let born: Vec<Member> = table
            .descendants(&parents)
            .into_iter()
            .filter(|stat| self.protected.why(stat).is_none())
            .map(|stat| Member::of(stat, true))
            .collect();
        self.known.extend(born.iter().map(|member| member.process));
        born
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use murphy_sys::process::{Stat, State};

    fn process(pid: u32, parent: u32, start_ticks: u64) -> Stat {
        Stat {
            pid,
            comm: format!("p{pid}"),
            state: State::Sleeping,
            parent,
            flags: 0,
            start_ticks,
        }
    }

    fn tree_of(stat: &Stat, table: &ProcessTable) -> Tree {
        Tree::new([stat.id()], Protected::around_murphy(table))
    }

    #[test]
    fn a_child_is_new_once() {
        let root = process(100_010, 1, 5);
        let before = ProcessTable::of([root.clone()]);
        let after = ProcessTable::of([
            root.clone(),
            process(100_011, 100_010, 6),
            process(100_012, 100_011, 7),
        ]);
        let mut tree = tree_of(&root, &before);
        assert!(tree.newcomers(&before).is_empty());
        assert_eq!(tree.newcomers(&after).len(), 2);
        assert!(tree.newcomers(&after).is_empty());
    }

    #[test]
    fn a_stranger_with_a_known_pid_has_no_children_here() {
        let root = process(100_010, 1, 5);
        let mut tree = tree_of(&root, &ProcessTable::of([root.clone()]));
        let reused = ProcessTable::of([process(100_010, 1, 99), process(100_011, 100_010, 100)]);
        assert!(tree.newcomers(&reused).is_empty());
    }
}
