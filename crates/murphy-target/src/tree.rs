//! A tree is a target as it grows: processes already known, their children as they are born, and whoever comes
//! into its containers, cgroups and units.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use murphy_sys::{
    cgroup::Memberships,
    process::{ProcessId, Stat},
    table::ProcessTable,
};

use crate::{
    Container, ContainerQuery, Member, Protected, Runtime, Runtimes, Wanted,
    container::{Census, Listed},
    part::{Held, Part, Selection, birth, container_of},
    place::Place,
    runtime::Watched,
};

/// The runtimes are not asked more often for containers that were started again.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// No target is followed into more containers than this.
const CONTAINERS_MAX: usize = 1000;

/// The known processes of a target.
///
/// A child is found through its parent, so a process whose parent ended before anybody looked is not. Once
/// a process is stopped it bears no children, and those it has stay its own: reading again until nothing
/// new shows finds them all. In a container, a cgroup or a unit nobody is missed: there the kernel remembers.
#[derive(Clone, Debug)]
pub struct Tree {
    known: BTreeSet<ProcessId>,
    protected: Protected,
    places: Vec<Place>,
    containers: Vec<Held>,
    pursuits: Vec<Pursuit>,
    inquiry: Option<Inquiry>,
}

/// Containers that may start later and belong to the target then.
#[derive(Clone, Debug)]
struct Pursuit {
    query: ContainerQuery,
    /// The names of the chosen ones, where others were not: only these come again.
    only: Option<Vec<(Option<Runtime>, String)>>,
}

impl Pursuit {
    fn wants(&self, listed: &Listed) -> bool {
        listed.is_meant(&self.query)
            && self.only.as_ref().is_none_or(|only| {
                let name = listed.names.first();
                only.iter()
                    .any(|(runtime, wanted)| *runtime == listed.runtime && Some(wanted) == name)
            })
    }
}

impl Tree {
    pub(crate) fn new(known: impl IntoIterator<Item = ProcessId>, protected: Protected) -> Self {
        Self {
            known: known.into_iter().collect(),
            protected,
            places: Vec::new(),
            containers: Vec::new(),
            pursuits: Vec::new(),
            inquiry: None,
        }
    }

    /// The same, with those who come into what was chosen.
    pub(crate) fn watching(
        mut self,
        parts: &[Part],
        selections: &[Selection],
        runtimes: &Runtimes,
    ) -> Self {
        self.containers = parts.iter().filter_map(|part| part.held.clone()).collect();
        for (position, selection) in selections.iter().enumerate() {
            if let Some(place) = &selection.place
                && selection.is_whole
            {
                self.places.push(place.clone());
            }
            if let Some(query) = &selection.query {
                let chosen = parts
                    .iter()
                    .filter(|part| part.selections.contains(&position))
                    .filter_map(|part| part.held.as_ref())
                    .filter_map(|held| {
                        Some((held.container.runtime, held.container.name.clone()?))
                    });
                self.pursuits.push(Pursuit {
                    query: query.clone(),
                    only: (!selection.is_whole).then(|| chosen.collect()),
                });
            }
        }
        if !self.pursuits.is_empty() {
            let labels = |pursuit: &Pursuit| !matches!(pursuit.query.wanted, Wanted::Name(_));
            let with_labels = self.pursuits.iter().any(labels);
            self.inquiry = Some(Inquiry::new(runtimes.clone(), with_labels));
        }
        self
    }

    /// Whether processes may join although every known one has ended: a container, a cgroup or a unit that was
    /// chosen may start again. A fault on such a target is not over when its processes are gone.
    pub fn may_come_back(&self) -> bool {
        !self.places.is_empty() || !self.containers.is_empty()
    }

    /// Takes in a process that stands for one of the target, though none of its bore it: a server that was
    /// started again. Its descendants belong to the target from now on.
    pub fn adopt(&mut self, process: ProcessId) {
        self.known.insert(process);
    }

    /// Processes that joined since: descendants of known ones, and whoever came into the target's containers,
    /// cgroups and units. Parents first; known from now on.
    pub fn newcomers(&mut self, table: &ProcessTable) -> Vec<Member> {
        self.hear(table);
        let mut born = self.arrived(table);
        self.known.extend(born.iter().map(|member| member.process));
        let descendants = self.descended(table);
        self.known
            .extend(descendants.iter().map(|member| member.process));
        born.extend(descendants);
        born
    }

    /// Descendants of known processes that were not known before.
    fn descended(&self, table: &ProcessTable) -> Vec<Member> {
        // A known process that is gone may have given its pid to a stranger: not a parent any more.
        let parents: Vec<u32> = self
            .known
            .iter()
            .filter(|process| table.holds(process))
            .map(|process| process.pid)
            .collect();
        table
            .descendants(&parents)
            .into_iter()
            .filter(|stat| self.protected.why(stat).is_none())
            .map(|stat| Member::of(stat, true, container_of(stat.pid, &self.containers)))
            .collect()
    }

    /// Processes in the containers, cgroups and units that were not known before.
    fn arrived(&self, table: &ProcessTable) -> Vec<Member> {
        if self.places.is_empty() && self.containers.is_empty() {
            return Vec::new();
        }
        let apart: Vec<(BTreeSet<ProcessId>, &Held)> = self
            .containers
            .iter()
            .filter_map(|held| Some((held.apart(table)?, held)))
            .collect();
        let mut fresh: Vec<(&Stat, Option<Container>)> = Vec::new();
        for stat in table.iter() {
            if self.known.contains(&stat.id()) || self.protected.why(stat).is_some() {
                continue;
            }
            let Some(memberships) = Memberships::of(stat.pid) else {
                continue;
            };
            let grouped = self
                .containers
                .iter()
                .find(|held| held.is_group_of(&memberships));
            let home = grouped.or_else(|| {
                let mut homes = apart.iter();
                let (_, held) = homes.find(|(processes, _)| processes.contains(&stat.id()))?;
                Some(*held)
            });
            if home.is_some() || self.places.iter().any(|place| place.holds(&memberships)) {
                fresh.push((stat, home.map(|held| held.container.clone())));
            }
        }
        fresh.sort_by_key(|(stat, _)| birth(stat));
        let members = fresh
            .into_iter()
            .map(|(stat, container)| Member::of(stat, false, container));
        members.collect()
    }

    /// Takes in what the runtimes said last: containers that started again under a new id, or anew.
    fn hear(&mut self, table: &ProcessTable) {
        let Some(census) = self
            .inquiry
            .as_ref()
            .and_then(|inquiry| inquiry.take(table))
        else {
            return;
        };
        for listed in census.containers.iter().filter(|listed| listed.is_running) {
            let held = Held::new(listed, table);
            let known = self
                .containers
                .iter_mut()
                .find(|known| known.is_same(&held.container));
            if let Some(known) = known {
                known.first = held.first.or(known.first);
            } else if self.containers.len() < CONTAINERS_MAX
                && self.pursuits.iter().any(|pursuit| pursuit.wants(listed))
            {
                self.containers.push(held);
            }
        }
    }
}

/// A question that is put to the runtimes again and again, in the background: one that does not answer holds up
/// nobody, and is no error.
#[derive(Clone, Debug)]
struct Inquiry {
    runtimes: Runtimes,
    with_labels: bool,
    state: Arc<Mutex<Asked>>,
}

#[derive(Debug)]
struct Asked {
    last: Instant,
    is_asking: bool,
    census: Option<Census>,
}

impl Inquiry {
    fn new(runtimes: Runtimes, with_labels: bool) -> Self {
        Self {
            runtimes,
            with_labels,
            state: Arc::new(Mutex::new(Asked {
                last: Instant::now(),
                is_asking: false,
                census: None,
            })),
        }
    }

    /// What was answered since the last time, if anything; puts the question again when it is time.
    fn take(&self, table: &ProcessTable) -> Option<Census> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let census = state.census.take();
        if !state.is_asking && state.last.elapsed() >= ASK_EVERY {
            state.is_asking = true;
            state.last = Instant::now();
            drop(state);
            self.ask(Watched::all(table));
        }
        census
    }

    fn ask(&self, watched: Vec<Watched>) {
        let inquiry = self.clone();
        let asking = thread::Builder::new()
            .name("runtimes".to_owned())
            .spawn(move || {
                let census = inquiry.runtimes.census(&watched, inquiry.with_labels);
                inquiry.end(Some(census));
            });
        if asking.is_err() {
            self.end(None);
        }
    }

    fn end(&self, census: Option<Census>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.is_asking = false;
        state.census = census;
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
            group: pid,
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
        assert!(!tree.may_come_back());
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
