//! A group is the processes of a target by their cgroups: what their sockets send and are sent is disturbed, and nobody
//! else's, though others are in the same network namespace.
//!
//! A cgroup is joined only if everybody in it belongs to the target. Nobody is moved: a socket stays of the cgroup in
//! which it was made, whoever holds it later.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use murphy_sys::{
    cgroup::{self, Hierarchies, Memberships},
    link::Device,
    namespace::NetNamespace,
    process::ProcessId,
    table::ProcessTable,
    traffic::{self, Fates, Filters, Network, Order, TrafficError, Way},
};
use murphy_target::{Member, Target, Tree};

use super::{
    NetError,
    cable::Held,
    hook::{Hold, Hook, Job, undos_of},
};
use crate::undo::Undo;

/// Who belongs to a target, and in which cgroups they are.
#[derive(Clone, Debug)]
pub(super) struct Crew {
    members: BTreeMap<ProcessId, String>,
}

/// What was found at one look.
#[derive(Debug, Default)]
pub(super) struct Looked {
    /// Who has joined the target since the last look.
    pub newcomers: Vec<Member>,
    /// The cgroups in which there is nobody else, by their directories, none of them below another.
    pub own: Vec<PathBuf>,
    /// Those with somebody else in them.
    pub shared: Vec<Shared>,
}

/// A cgroup that a target has not for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shared {
    /// Its directory.
    pub directory: PathBuf,
    /// Who of the target is in it.
    pub who: String,
    /// How many others are.
    pub others: usize,
}

impl Crew {
    /// Everyone in a target.
    pub(super) fn of(target: &Target) -> Self {
        let mut crew = Self {
            members: BTreeMap::new(),
        };
        crew.know(&target.members);
        crew
    }

    fn know(&mut self, members: &[Member]) {
        let named = members.iter().map(|member| {
            let name = format!("{} {}", member.process.pid, member.name);
            (member.process, name)
        });
        self.members.extend(named);
    }

    /// Looks at the cgroups of the target, and at `more`, for who is in them.
    pub(super) fn look<'a>(
        &mut self,
        tree: &mut Tree,
        more: impl IntoIterator<Item = &'a Path>,
    ) -> Result<Looked, NetError> {
        let trees = Hierarchies::find().map_err(TrafficError::Mounts)?;
        let mut homes = self.homes(&trees)?;
        for directory in more {
            let nobody = || "the target".to_owned();
            homes.entry(directory.into()).or_insert_with(nobody);
        }
        keep_topmost(&mut homes);
        // Who is inside is read before who belongs to the target: a child born in between is no stranger.
        let inside: Vec<_> = homes
            .into_iter()
            .map(|(directory, who)| (cgroup::members(&directory), directory, who))
            .collect();
        let table = ProcessTable::read().map_err(NetError::Processes)?;
        let newcomers = tree.newcomers(&table);
        self.members.retain(|process, _| table.holds(process));
        self.know(&newcomers);
        let known: BTreeSet<u32> = self.members.keys().map(|process| process.pid).collect();
        // Of whom Murphy does not see, such as those outside of its own pid namespace, nobody belongs to the target.
        let is_stranger =
            |pid: &&u32| !known.contains(pid) && (**pid == 0 || table.get(**pid).is_some());
        let mut looked = Looked {
            newcomers,
            ..Looked::default()
        };
        for (pids, directory, who) in inside {
            match pids.iter().filter(is_stranger).count() {
                0 => looked.own.push(directory),
                others => looked.shared.push(Shared {
                    directory,
                    who,
                    others,
                }),
            }
        }
        Ok(looked)
    }

    /// The cgroups of those who are alive, each with one of them.
    fn homes(&self, trees: &Hierarchies) -> Result<BTreeMap<PathBuf, String>, NetError> {
        let mut homes = BTreeMap::new();
        for (process, name) in &self.members {
            let Some(memberships) = Memberships::of(process.pid) else {
                continue;
            };
            let group = memberships.unified();
            let directory = group.and_then(|group| trees.directory(group));
            if !process.is_alive() {
                continue;
            }
            let directory = directory.ok_or_else(|| NetError::NoGroup(name.clone()))?;
            homes.entry(directory).or_insert_with(|| name.clone());
        }
        Ok(homes)
    }
}

/// Whoever joins a group joins those below it.
fn keep_topmost(homes: &mut BTreeMap<PathBuf, String>) {
    let all: Vec<PathBuf> = homes.keys().cloned().collect();
    homes.retain(|directory, _| {
        let is_above = |other: &PathBuf| directory != other && directory.starts_with(other);
        !all.iter().any(is_above)
    });
}

impl Looked {
    /// The cgroups, if the target has all of them for itself.
    pub(super) fn exclusive(self) -> Result<Vec<PathBuf>, NetError> {
        match self.shared.into_iter().next() {
            None => Ok(self.own),
            Some(shared) => Err(NetError::SharedGroup {
                who: shared.who,
                directory: shared.directory,
                others: shared.others,
            }),
        }
    }
}

/// The programs of a disturbance, held by its group and by the sinks at devices.
#[derive(Clone, Debug)]
pub(super) struct GroupPrograms(Arc<Mutex<traffic::Group>>);

impl GroupPrograms {
    fn lock(&self) -> MutexGuard<'_, traffic::Group> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The cgroups of a target, disturbed.
#[derive(Debug)]
pub(super) struct Group {
    crew: Crew,
    /// Those to be joined when it is attached.
    directories: Vec<PathBuf>,
    ways: Vec<Way>,
    programs: GroupPrograms,
}

impl Group {
    /// Loads the programs for a target with these cgroups.
    pub(super) fn load(
        crew: Crew,
        directories: Vec<PathBuf>,
        order: Order,
        ways: Vec<Way>,
    ) -> Result<Self, NetError> {
        let programs = traffic::Group::load(order)?;
        Ok(Self {
            crew,
            directories,
            ways,
            programs: GroupPrograms(Arc::new(Mutex::new(programs))),
        })
    }

    /// What the sinks share with it.
    pub(super) fn programs(&self) -> GroupPrograms {
        self.programs.clone()
    }

    /// The directories of the cgroups that are joined.
    pub(super) fn joined(&self) -> Vec<PathBuf> {
        self.programs.lock().joined().map(Path::to_owned).collect()
    }

    /// Ends then, in nanoseconds since boot, or never.
    pub(super) fn end_at(&self, until_ns: Option<u64>) -> Result<(), NetError> {
        Ok(self
            .programs
            .lock()
            .tell(|order| order.until_ns = until_ns)?)
    }

    /// Joins the cgroups that the target has come into, and lets go of those that are gone. Gives who is new in it, and
    /// what is not as it should be.
    pub(super) fn follow(
        &mut self,
        tree: &mut Tree,
    ) -> Result<(Vec<Member>, Vec<String>), NetError> {
        let joined = self.joined();
        let here = joined.iter().filter(|directory| directory.is_dir());
        let looked = self.crew.look(tree, here.map(PathBuf::as_path))?;
        let mut programs = self.programs.lock();
        for directory in &looked.own {
            match programs.join(directory, &self.ways) {
                // It has just gone: the next look knows.
                Err(TrafficError::Cgroup { .. }) if !directory.is_dir() => {}
                joined => joined?,
            }
        }
        programs.part_from(|directory| {
            let is_above = |other: &PathBuf| other != directory && directory.starts_with(other);
            !directory.is_dir() || looked.own.iter().any(is_above)
        });
        let troubles = looked.shared.into_iter().map(|shared| {
            let (group, others) = (shared.directory.display(), shared.others);
            if joined.contains(&shared.directory) {
                format!(
                    "disturb nobody else: others have come into the cgroup {group} ({others}) and are hit"
                )
            } else {
                format!(
                    "disturb {}: it has come into the cgroup {group}, where others are ({others}), and is not hit there",
                    shared.who
                )
            }
        });
        Ok((looked.newcomers, troubles.collect()))
    }
}

impl Hook for Group {
    fn name(&self) -> &'static str {
        "the target's cgroups"
    }

    fn undos(&self) -> Vec<Undo> {
        // The kernel takes programs away with this process.
        Vec::new()
    }

    fn attach(&mut self) -> Result<(), NetError> {
        let mut programs = self.programs.lock();
        let mut all = self.directories.iter();
        Ok(all.try_for_each(|directory| programs.join(directory, &self.ways))?)
    }

    fn allow(&mut self, peers: &BTreeSet<Network>) -> Result<(), NetError> {
        Ok(self.programs.lock().allow(peers)?)
    }

    fn activate(&mut self, active: bool) -> Result<(), NetError> {
        Ok(self.programs.lock().tell(|order| order.active = active)?)
    }

    fn fates(&self, way: Way) -> Result<Fates, NetError> {
        Ok(self.programs.lock().fates(way)?)
    }

    fn held(&self, _: Way) -> Option<Held> {
        None
    }

    fn is_broken(&self) -> bool {
        false
    }

    fn leave(&mut self) -> Result<(), NetError> {
        let told = self.activate(false);
        self.programs.lock().leave();
        told
    }
}

/// What loses the marked packets of a group at one device. Its group does everything else.
#[derive(Debug)]
pub(super) struct Sink {
    programs: GroupPrograms,
    namespace: NetNamespace,
    device: Device,
    ways: Vec<Way>,
    /// What holds it, unless links do, with the way back.
    filters: Option<Filters>,
    undos: Vec<Undo>,
}

impl Sink {
    /// One that loses nothing yet.
    pub(super) fn of(job: &Job<'_>) -> Result<Self, NetError> {
        let nobody = || NetError::NoProcesses(job.device.name.clone());
        let filters = Self::filters(job)?;
        Ok(Self {
            programs: job.programs.clone().ok_or_else(nobody)?,
            namespace: job.namespace.clone(),
            device: job.device.clone(),
            ways: job.ways.to_vec(),
            undos: Self::undos_by(job, filters.as_ref())?,
            filters,
        })
    }

    /// What takes off the one that would be made.
    pub(super) fn undos_of(job: &Job<'_>) -> Result<Vec<Undo>, NetError> {
        Self::undos_by(job, Self::filters(job)?.as_ref())
    }

    /// Those that hold it, of both ways, where something is lost that is sent.
    fn filters(job: &Job<'_>) -> Result<Option<Filters>, NetError> {
        if Hold::best() == Hold::Links || !job.ways.contains(&Way::To) {
            return Ok(None);
        }
        Ok(Some(job.filters(&Way::ALL)?))
    }

    fn undos_by(job: &Job<'_>, filters: Option<&Filters>) -> Result<Vec<Undo>, NetError> {
        let Some(filters) = filters else {
            // The kernel takes links away with this process.
            return Ok(Vec::new());
        };
        let inode = job.namespace.inode().map_err(NetError::Inode)?;
        Ok(undos_of(filters, inode))
    }
}

impl Hook for Sink {
    fn name(&self) -> &str {
        &self.device.name
    }

    fn undos(&self) -> Vec<Undo> {
        self.undos.clone()
    }

    fn attach(&mut self) -> Result<(), NetError> {
        let by = self.filters.as_ref().into();
        let mut programs = self.programs.lock();
        Ok(programs.cover(&self.namespace, self.device.index, &self.ways, by)?)
    }

    fn allow(&mut self, _: &BTreeSet<Network>) -> Result<(), NetError> {
        Ok(())
    }

    fn activate(&mut self, _: bool) -> Result<(), NetError> {
        Ok(())
    }

    fn fates(&self, _: Way) -> Result<Fates, NetError> {
        // Packets are counted where they are marked.
        Ok(Fates::default())
    }

    fn held(&self, _: Way) -> Option<Held> {
        None
    }

    fn is_broken(&self) -> bool {
        false
    }

    fn is_off(&self) -> bool {
        // Of what the kernel does not tell, nothing is off.
        let filters = self.filters.as_ref();
        let programs = self.programs.lock();
        let is_off = programs.is_off(&self.namespace, self.device.index);
        is_off.unwrap_or(false) || filters.is_some_and(|filters| filters.is_off().unwrap_or(false))
    }

    fn leave(&mut self) -> Result<(), NetError> {
        let uncovered = self
            .programs
            .lock()
            .uncover(&self.namespace, self.device.index);
        let removed = self.filters.as_ref().map_or(Ok(()), Filters::remove);
        uncovered?;
        Ok(removed.map_err(TrafficError::from)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_below_another_is_joined_with_it() {
        let names = ["/c/a", "/c/a/b", "/c/ab", "/c/d/e"];
        let mut homes: BTreeMap<_, _> = names
            .map(|name| (PathBuf::from(name), String::new()))
            .into();
        keep_topmost(&mut homes);
        let left: Vec<_> = homes.keys().filter_map(|path| path.to_str()).collect();
        assert_eq!(left, ["/c/a", "/c/ab", "/c/d/e"]);
    }

    #[test]
    fn who_is_not_alone_is_told_what_would_help() {
        let looked = Looked {
            shared: vec![Shared {
                directory: "/sys/fs/cgroup/a".into(),
                who: "42 web".into(),
                others: 3,
            }],
            ..Looked::default()
        };
        let error = looked.exclusive().unwrap_err();
        let said = error.to_string();
        for part in [
            "42 web",
            "/sys/fs/cgroup/a",
            "3 ",
            "systemd-run --scope",
            "--allow-host",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert!(error.is_bad_input());
    }
}
