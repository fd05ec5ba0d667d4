//! Finding turns selectors into the processes and containers they name at one moment.

use std::{
    cell::{OnceCell, RefCell},
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt,
    path::Path,
};

use murphy_sys::{
    cgroup::Memberships,
    process::{self, Stat},
    table::ProcessTable,
};

use crate::{
    ContainerError, ContainerQuery, LeftOut, Protected, Runtime, RuntimeError, Runtimes, Selector,
    TargetError, UnitName, Wanted,
    container::{Census, Listed, resolve, traces},
    part::{Held, Part, Selection},
    place::{NoPlace, Place, places},
    runtime::Watched,
};

/// What a machine run by systemd has; see `sd_booted(3)`.
const SYSTEMD_RUNS: &str = "/run/systemd/system";

/// What was found.
pub(crate) struct Found {
    pub(crate) parts: Vec<Part>,
    pub(crate) selections: Vec<Selection>,
    pub(crate) left_out: Vec<LeftOut>,
    pub(crate) unheard: Vec<RuntimeError>,
}

/// Processes that count as one, because of their container, or each for itself.
type Group<'t> = (Option<Held>, Vec<&'t Stat>);

/// What one selector names.
#[derive(Default)]
struct Named<'t> {
    groups: Vec<Group<'t>>,
    place: Option<Place>,
    query: Option<ContainerQuery>,
}

impl<'t> Named<'t> {
    fn processes(found: Vec<&'t Stat>) -> Self {
        Self {
            groups: vec![(None, found)],
            ..Self::default()
        }
    }
}

/// Finds with one picture of the machine, and asks for no more of it than the selectors need.
pub(crate) struct Finder<'t> {
    table: &'t ProcessTable,
    protected: &'t Protected,
    runtimes: &'t Runtimes,
    with_labels: bool,
    groups: OnceCell<BTreeMap<u32, Memberships>>,
    census: RefCell<Option<Census>>,
}

impl<'t> Finder<'t> {
    pub(crate) fn new(
        table: &'t ProcessTable,
        protected: &'t Protected,
        runtimes: &'t Runtimes,
        selectors: &[Selector],
    ) -> Self {
        Self {
            table,
            protected,
            runtimes,
            with_labels: selectors.iter().any(asks_for_labels),
            groups: OnceCell::new(),
            census: RefCell::new(None),
        }
    }

    /// Finds what each selector names; each must name somebody who may be hit.
    pub(crate) fn find(&self, selectors: &[Selector]) -> Result<Found, TargetError> {
        let mut found = Found {
            parts: Vec::new(),
            selections: Vec::new(),
            left_out: Vec::new(),
            unheard: Vec::new(),
        };
        for (position, selector) in selectors.iter().enumerate() {
            let named = self.named(selector, &mut found.unheard)?;
            found.selections.push(Selection {
                place: named.place,
                query: named.query,
                is_whole: true,
            });
            let groups = self.allowed(selector, named.groups, &mut found.left_out)?;
            for (held, stats) in groups {
                add(&mut found.parts, held, &stats, position);
            }
        }
        join(&mut found.parts);
        Ok(found)
    }

    fn named(
        &self,
        selector: &Selector,
        unheard: &mut Vec<RuntimeError>,
    ) -> Result<Named<'t>, TargetError> {
        let all = |is_meant: &dyn Fn(&Stat) -> bool| {
            Named::processes(self.table.iter().filter(|stat| is_meant(stat)).collect())
        };
        let named = match selector {
            Selector::Pid(pid) => Named::processes(vec![by_pid(*pid, self.table)?]),
            Selector::Name(name) => all(&|stat| has_name(stat, name)),
            Selector::Exe(path) => {
                let real = fs::canonicalize(path).ok();
                all(&|stat| {
                    runs(stat.pid, path) || real.as_ref().is_some_and(|p| runs(stat.pid, p))
                })
            }
            Selector::Netns(value) => Named::processes(in_netns(value, self.table)?),
            Selector::Cgroup(path) => self.in_cgroup(selector, path)?,
            Selector::Unit(name) => self.in_unit(selector, name)?,
            Selector::Container(query) => self.in_containers(selector, query, unheard)?,
            Selector::Pod { namespace, name } => {
                let query = ContainerQuery::of_pod(namespace, name);
                self.in_containers(selector, &query, unheard)?
            }
        };
        if named.groups.iter().all(|(_, stats)| stats.is_empty()) {
            return Err(TargetError::NoMatch {
                selector: selector.clone(),
            });
        }
        Ok(named)
    }

    fn groups(&self) -> &BTreeMap<u32, Memberships> {
        self.groups.get_or_init(|| {
            let pids = self.table.iter().map(|stat| stat.pid);
            pids.filter_map(|pid| Some((pid, Memberships::of(pid)?)))
                .collect()
        })
    }

    fn at(&self, place: &Place) -> Vec<&'t Stat> {
        let groups = self.groups();
        let is_there = |stat: &&Stat| {
            groups
                .get(&stat.pid)
                .is_some_and(|found| place.holds(found))
        };
        self.table.iter().filter(is_there).collect()
    }

    /// The processes at a place that Murphy itself is not in.
    fn beside_murphy(&self, selector: &Selector, place: &Place) -> Result<Named<'t>, TargetError> {
        let murphy = Memberships::of(std::process::id());
        if murphy.is_some_and(|memberships| place.holds(&memberships)) {
            return Err(TargetError::OwnCgroup {
                selector: selector.clone(),
            });
        }
        Ok(Named {
            place: Some(place.clone()),
            ..Named::processes(self.at(place))
        })
    }

    fn in_cgroup(&self, selector: &Selector, path: &Path) -> Result<Named<'t>, TargetError> {
        let path = path.to_owned();
        let places = match places(&path) {
            Ok(places) => places,
            Err(NoPlace::Root) => return Err(TargetError::RootCgroup { path }),
            Err(NoPlace::Unknown) => return Err(TargetError::NoCgroup { path }),
            Err(NoPlace::Mounts(error)) => return Err(TargetError::Table(error)),
        };
        let is_only = places.len() == 1;
        for place in places {
            if is_only || !self.at(&place).is_empty() {
                return self.beside_murphy(selector, &place);
            }
        }
        Err(TargetError::NoCgroup { path })
    }

    fn in_unit(&self, selector: &Selector, name: &UnitName) -> Result<Named<'t>, TargetError> {
        for of_user in [false, true] {
            let place = Place::Unit {
                name: name.clone(),
                of_user,
            };
            if !self.at(&place).is_empty() {
                return self.beside_murphy(selector, &place);
            }
        }
        let selector = selector.clone();
        Err(if Path::new(SYSTEMD_RUNS).is_dir() {
            TargetError::NoUnit { selector }
        } else {
            TargetError::NoSystemd { selector }
        })
    }

    fn in_containers(
        &self,
        selector: &Selector,
        query: &ContainerQuery,
        unheard: &mut Vec<RuntimeError>,
    ) -> Result<Named<'t>, TargetError> {
        let written = selector.to_string();
        let found = resolve(&written, query, &self.traced(), || self.census())?;
        let mut groups = Vec::new();
        for listed in &found.containers {
            let held = Held::new(listed, self.table);
            let stats = self.of_container(&held);
            if !stats.is_empty() {
                groups.push((Some(held), stats));
            }
        }
        if groups.is_empty() {
            let container = found.containers.first();
            return Err(TargetError::Container(ContainerError::NotRunning {
                selector: written,
                container: container.map_or_else(String::new, |listed| listed.container().label()),
            }));
        }
        unheard.extend(found.unheard);
        let later = match (&query.wanted, found.containers.first()) {
            (Wanted::Name(name), Some(listed)) => self.later_of_one(query, name, listed),
            _ => Some(query.clone()),
        };
        Ok(Named {
            groups,
            place: None,
            query: later,
        })
    }

    /// What may belong to one container later. One that was named by its id has its cgroup again when it is
    /// started again, and nobody needs to be asked.
    fn later_of_one(
        &self,
        query: &ContainerQuery,
        name: &String,
        listed: &Listed,
    ) -> Option<ContainerQuery> {
        let is_apart = Held::new(listed, self.table).apart(self.table).is_some();
        (listed.names.contains(name) || is_apart).then(|| ContainerQuery {
            // Another runtime may get a container of this name later; that one is not meant.
            runtime: listed.runtime,
            namespace: listed.namespace.clone(),
            wanted: query.wanted.clone(),
        })
    }

    fn of_container(&self, held: &Held) -> Vec<&'t Stat> {
        let groups = self.groups();
        let apart = held.apart(self.table).unwrap_or_default();
        let is_in = |stat: &&Stat| {
            apart.contains(&stat.id())
                || groups
                    .get(&stat.pid)
                    .is_some_and(|found| held.is_group_of(found))
        };
        self.table.iter().filter(is_in).collect()
    }

    /// The ids in the cgroups of all processes.
    fn traced(&self) -> BTreeMap<String, Option<Runtime>> {
        let mut ids: BTreeMap<String, Option<Runtime>> = BTreeMap::new();
        for memberships in self.groups().values() {
            for trace in traces(memberships) {
                let runtime = ids.entry(trace.id.to_owned()).or_default();
                *runtime = runtime.or(trace.runtime);
            }
        }
        ids
    }

    fn census(&self) -> Census {
        let taken = || {
            self.runtimes
                .census(&Watched::all(self.table), self.with_labels)
        };
        self.census.borrow_mut().get_or_insert_with(taken).clone()
    }

    /// Those that may be hit. A selector that names only protected processes is refused; a protected process
    /// among others is left out and remembered.
    fn allowed(
        &self,
        selector: &Selector,
        groups: Vec<Group<'t>>,
        left_out: &mut Vec<LeftOut>,
    ) -> Result<Vec<Group<'t>>, TargetError> {
        let mut free = Vec::new();
        let mut refused = Vec::new();
        for (held, stats) in groups {
            let mut allowed = Vec::new();
            for stat in stats {
                match self.protected.why(stat) {
                    None => allowed.push(stat),
                    Some(why) => refused.push(LeftOut {
                        pid: stat.pid,
                        name: stat.comm.clone(),
                        why,
                    }),
                }
            }
            if !allowed.is_empty() {
                free.push((held, allowed));
            }
        }
        match refused.first() {
            Some(first) if free.is_empty() => Err(TargetError::Refused {
                name: selector.to_string(),
                pid: first.pid,
                process: first.name.clone(),
                why: first.why,
            }),
            _ => {
                left_out.extend(refused);
                Ok(free)
            }
        }
    }
}

pub(crate) fn asks_for_labels(selector: &Selector) -> bool {
    match selector {
        Selector::Container(query) => !matches!(query.wanted, Wanted::Name(_)),
        Selector::Pod { .. } => true,
        _ => false,
    }
}

/// Adds a container, or each process for itself; one that is there already is only named once more.
fn add(parts: &mut Vec<Part>, held: Option<Held>, stats: &[&Stat], selection: usize) {
    let Some(held) = held else {
        for stat in stats {
            let known =
                |part: &&mut Part| part.held.is_none() && part.processes.contains(&stat.id());
            match parts.iter_mut().find(known) {
                Some(part) => part.selections.push(selection),
                None => parts.push(Part::of_process(stat.id(), selection)),
            }
        }
        return;
    };
    let same = |part: &&mut Part| {
        let of = part.held.as_ref();
        of.is_some_and(|known| known.is_same(&held.container))
    };
    if let Some(part) = parts.iter_mut().find(same) {
        part.selections.push(selection);
    } else {
        let processes = stats.iter().map(|stat| stat.id());
        parts.push(Part::of_container(held, processes, selection));
    }
}

/// A process that was named both itself and with its container counts with the container. The order is one
/// that the same machine always gives: containers by id, processes by pid.
fn join(parts: &mut Vec<Part>) {
    let (mut containers, processes): (Vec<Part>, Vec<Part>) =
        parts.drain(..).partition(|part| part.held.is_some());
    containers.sort_by(|a, b| {
        let id = |part: &Part| part.held.as_ref().map(|held| held.container.id.clone());
        id(a).cmp(&id(b))
    });
    let mut alone = Vec::new();
    for part in processes {
        let home = containers
            .iter_mut()
            .find(|container| container.processes.is_superset(&part.processes));
        match home {
            Some(container) => container.selections.extend(part.selections),
            None => alone.push(part),
        }
    }
    alone.sort_by(|a, b| a.processes.cmp(&b.processes));
    *parts = containers;
    parts.extend(alone);
}

fn by_pid(pid: u32, table: &ProcessTable) -> Result<&Stat, TargetError> {
    if let Some(stat) = table.get(pid) {
        return Ok(stat);
    }
    // Not in the listing of /proc, yet /proc/PID may answer: for threads and for zombies.
    match process::thread_group(pid) {
        Ok(process) if process != pid => Err(TargetError::Thread { pid, process }),
        Ok(_) => Err(TargetError::Zombie { pid }),
        Err(_) => Err(TargetError::NoProcess { pid }),
    }
}

fn has_name(stat: &Stat, name: &str) -> bool {
    if stat.comm == name {
        return true;
    }
    let words = process::command_line(stat.pid).unwrap_or_default();
    words.first().and_then(|word| word.rsplit('/').next()) == Some(name)
}

/// Whether a process runs this file, also one that was deleted or replaced since it was started.
fn runs(pid: u32, path: &Path) -> bool {
    let Ok(exe) = fs::read_link(format!("/proc/{pid}/exe")) else {
        return false;
    };
    let exe = exe.to_string_lossy();
    let was = exe.strip_suffix(" (deleted)");
    Path::new(exe.as_ref()) == path || was.is_some_and(|was| Path::new(was) == path)
}

fn in_netns<'t>(value: &str, table: &'t ProcessTable) -> Result<Vec<&'t Stat>, TargetError> {
    let path = Selector::netns_path(value);
    let inode = fs::metadata(&path)
        .map_err(|source| TargetError::NoNetns {
            value: value.to_owned(),
            path,
            source,
        })?
        .ino();
    let of = |pid| process::namespace_inode(pid, "net").ok();
    if of(std::process::id()) == Some(inode) {
        return Err(TargetError::OwnNetns {
            value: value.to_owned(),
        });
    }
    Ok(table
        .iter()
        .filter(|stat| of(stat.pid) == Some(inode))
        .collect())
}
