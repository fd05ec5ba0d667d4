//! A part is one of those that a target's selectors named: a container, or a process named otherwise.

use std::{collections::BTreeSet, fs};

use murphy_sys::{
    cgroup::Memberships,
    process::{self, ProcessId, Stat},
    table::ProcessTable,
};

use crate::{
    Container, ContainerQuery, Protected,
    container::{Listed, is_in_namespaced, traces},
    place::Place,
};

/// One of those that were named.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    /// The processes that were named themselves.
    pub(crate) processes: BTreeSet<ProcessId>,
    /// These, and their descendants.
    all: BTreeSet<ProcessId>,
    /// The container that was named.
    pub(crate) held: Option<Held>,
    /// The selectors that named it, by position.
    pub(crate) selections: Vec<usize>,
}

impl Part {
    pub(crate) fn of_process(process: ProcessId, selection: usize) -> Self {
        Self {
            processes: [process].into(),
            all: [process].into(),
            held: None,
            selections: vec![selection],
        }
    }

    pub(crate) fn of_container(
        held: Held,
        processes: impl IntoIterator<Item = ProcessId>,
        selection: usize,
    ) -> Self {
        Self {
            processes: processes.into_iter().collect(),
            all: BTreeSet::new(),
            held: Some(held),
            selections: vec![selection],
        }
    }

    /// Takes in the descendants.
    pub(crate) fn gather(&mut self, table: &ProcessTable, protected: &Protected) {
        let roots: Vec<u32> = self.processes.iter().map(|process| process.pid).collect();
        let born = table.descendants(&roots).into_iter();
        let free = born.filter(|stat| protected.why(stat).is_none());
        self.all = free.map(Stat::id).collect();
        self.all.extend(&self.processes);
    }

    pub(crate) fn holds(&self, process: &ProcessId) -> bool {
        self.all.contains(process)
    }
}

/// What one selector stands for beyond the processes it found.
#[derive(Clone, Debug)]
pub(crate) struct Selection {
    /// The cgroup or unit whose new processes belong to it.
    pub(crate) place: Option<Place>,
    /// The containers that belong to it, also those that start later.
    pub(crate) query: Option<ContainerQuery>,
    /// Whether all that it named were chosen.
    pub(crate) is_whole: bool,
}

/// A container as Murphy recognises its processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) container: Container,
    /// Its first process, where the runtime told.
    pub(crate) first: Option<ProcessId>,
}

impl Held {
    pub(crate) fn new(listed: &Listed, table: &ProcessTable) -> Self {
        Self {
            container: listed.container(),
            first: listed.pid.and_then(|pid| table.get(pid)).map(Stat::id),
        }
    }

    /// Whether both are one container, with whatever processes.
    pub(crate) fn is_same(&self, other: &Container) -> bool {
        self.container.id == other.id
            && (self.container.namespace == other.namespace || crate::container::is_id(&other.id))
    }

    /// Whether a process with these memberships is in its cgroup.
    pub(crate) fn is_group_of(&self, memberships: &Memberships) -> bool {
        let id = &self.container.id;
        traces(memberships).iter().any(|trace| trace.id == id)
            || self
                .container
                .namespace
                .as_ref()
                .is_some_and(|namespace| is_in_namespaced(memberships, namespace, id))
    }

    /// The processes of a container that has no cgroup of its own: the first, and those in its pid namespace,
    /// or its descendants where it shares one. `None` where there is a cgroup, or no first process.
    pub(crate) fn apart(&self, table: &ProcessTable) -> Option<BTreeSet<ProcessId>> {
        let first = self.first.filter(|first| table.holds(first))?;
        if self.is_group_of(&Memberships::of(first.pid)?) {
            return None;
        }
        let mut found: BTreeSet<ProcessId> = if is_first_of_namespace(first.pid) {
            let namespace = process::namespace_inode(first.pid, "pid").ok()?;
            let same = |stat: &&Stat| {
                process::namespace_inode(stat.pid, "pid").is_ok_and(|other| other == namespace)
            };
            table.iter().filter(same).map(Stat::id).collect()
        } else {
            let descendants = table.descendants(&[first.pid]);
            descendants.into_iter().map(Stat::id).collect()
        };
        found.insert(first);
        Some(found)
    }
}

/// Whether a process is pid 1 of a pid namespace below Murphy's own. Containers may share one; then it is
/// the first process of only one of them.
fn is_first_of_namespace(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let pids = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    let pids: Vec<&str> = pids.unwrap_or_default().split_ascii_whitespace().collect();
    pids.len() > 1 && pids.last() == Some(&"1")
}

/// The container a process is in, as its cgroup tells; named if it is one of `held`.
pub(crate) fn container_of(pid: u32, held: &[Held]) -> Option<Container> {
    let memberships = Memberships::of(pid)?;
    if let Some(known) = held.iter().find(|held| held.is_group_of(&memberships)) {
        return Some(known.container.clone());
    }
    // Of containers within containers it is in the innermost.
    let found = traces(&memberships);
    found.last().map(|trace| Container {
        runtime: trace.runtime,
        namespace: None,
        id: trace.id.to_owned(),
        name: None,
    })
}

/// By this, parents are before their children, whatever their pids.
pub(crate) fn birth(stat: &Stat) -> (u64, u32) {
    (stat.start_ticks, stat.pid)
}
