//! Cgroup errors are calls about sockets that programs of a cgroup (version 2) have fail: connect, bind, socket, and sends of
//! datagrams.
//!
//! A socket belongs to the cgroup of the process that made it, or accepted it, at that time, whoever uses it later; a new
//! one is refused to whoever is in the cgroup, or below it. Processes that share their cgroup with others can be meant by
//! themselves, with their children: the programs are at the top of the tree then, and others pay for a look at the number of
//! a process. No program of somebody else's is in the way: ours stand behind those that are there, what one of those has
//! refused stays so, and is not counted. See [`failures`](crate::failures) for what the rules are, and what is counted.
//!
//! Of a second call of connect for a connection that is under way the kernel tells no program; nor of a datagram by a socket
//! that is connected, nor of any socket but those of IPv4 and IPv6.
//!
//! Needs Linux 6.1 (`bpf_set_retval`), `CAP_BPF` with `CAP_PERFMON` and `CAP_NET_ADMIN`, or root. Works where programs that
//! need a trampoline are refused. Everything is held by links of this process, and the kernel takes it off when that ends. See
//! `bpf/cgroup_errors.bpf.c`, and the kernel's `Documentation/bpf/prog_cgroup_sockopt.rst` and `kernel/bpf/cgroup.c`.

mod hook;

pub use hook::{Hook, covers};

use std::{
    collections::BTreeSet,
    fmt,
    fs::File,
    io,
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
};

use nix::libc;

use crate::{
    cgroup::{self, Hierarchies, Memberships, TopError},
    failures::{
        Counts, Order, PROCESSES_MAX, Programs, ProgramsError, Rule, RuleError, Whose, hooks_of,
        is_first_pid_namespace,
    },
    traffic::{is_attached, link_to},
};

/// What this engine is called.
pub const ENGINE: &str = "cgroup";

#[cfg(target_arch = "x86_64")]
const OBJECT: Option<&[u8]> = Some(include_bytes!(concat!(
    env!("OUT_DIR"),
    "/cgroup_errors.bpf.o"
)));
#[cfg(not(target_arch = "x86_64"))]
const OBJECT: Option<&[u8]> = None;

/// Why programs of a cgroup have no calls fail.
#[derive(Debug, thiserror::Error)]
pub enum CgroupEngineError {
    /// The programs are not written for this architecture.
    #[error(
        "have calls fail by cgroup on {}: Murphy's BPF programs are built for x86_64 only",
        std::env::consts::ARCH
    )]
    Architecture,
    /// A rule is impossible.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// The kernel refused a program, a map, or their use.
    #[error(
        "have calls fail by cgroup: {what}: {source}; it needs bpf_set_retval in programs of connect() (Linux 6.1, CONFIG_CGROUP_BPF), and CAP_BPF with CAP_PERFMON and CAP_NET_ADMIN or root"
    )]
    Refused {
        /// What.
        what: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The cgroup takes no programs.
    #[error(
        "attach to the cgroup {}: {source}{}", directory.display(), hint_of(source)
    )]
    Cgroup {
        /// Its directory.
        directory: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// There is no top of the cgroups to attach to.
    #[error(transparent)]
    Top(#[from] TopError),
    /// Processes have other numbers here than the programs know them by.
    #[error(
        "have calls of processes fail by cgroup: this is not the first pid namespace of the machine; run Murphy outside of containers, or in one with its pids"
    )]
    PidNamespace,
    /// More processes than fit.
    #[error("have calls fail by cgroup: at most {PROCESSES_MAX} processes can be meant")]
    Processes,
}

impl From<ProgramsError> for CgroupEngineError {
    fn from(error: ProgramsError) -> Self {
        match error {
            ProgramsError::Refused { what, source } => Self::Refused { what, source },
            ProgramsError::Rule(error) => error.into(),
            ProgramsError::Processes => Self::Processes,
        }
    }
}

/// What the kernel's answer may mean.
fn hint_of(source: &io::Error) -> &'static str {
    match source.raw_os_error() {
        Some(libc::EPERM) => {
            "; it needs CAP_NET_ADMIN or root, and no group above it may have a program that no other is allowed beside"
        }
        Some(libc::EBADF) => "; it is no cgroup of version 2",
        _ => "",
    }
}

/// Whose calls fail.
#[derive(Clone, Copy, Debug)]
pub enum Who<'a> {
    /// Those about sockets of the cgroup of this directory, and of those below it.
    Group(&'a Path),
    /// Those of the processes that are [watched](CgroupErrors::watch), with their children.
    Family,
}

/// Has calls fail as long as it is here.
pub struct CgroupErrors {
    /// Dropped before what they belong to.
    links: Vec<OwnedFd>,
    programs: Programs<Hook>,
}

impl fmt::Debug for CgroupErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CgroupErrors")
            .field("rules", &self.programs.rules())
            .field("links", &self.links.len())
            .finish_non_exhaustive()
    }
}

impl CgroupErrors {
    /// Has calls fail from now on. Programs are loaded for those that rules are about, and for no others.
    pub fn attach(who: Who<'_>, order: &Order, rules: &[Rule]) -> Result<Self, CgroupEngineError> {
        let (directory, whose) = match who {
            Who::Group(directory) => (directory.to_owned(), Whose::All),
            Who::Family if !is_first_pid_namespace() => {
                return Err(CgroupEngineError::PidNamespace);
            }
            Who::Family => (cgroup::top()?, Whose::Family),
        };
        Self::attach_at(&directory, whose, order, rules, &hooks_of(rules)?)
    }

    fn attach_at(
        directory: &Path,
        whose: Whose,
        order: &Order,
        rules: &[Rule],
        hooks: &BTreeSet<Hook>,
    ) -> Result<Self, CgroupEngineError> {
        let object = OBJECT.ok_or(CgroupEngineError::Architecture)?;
        let places: Vec<_> = hooks.iter().flat_map(|hook| hook.programs()).collect();
        let names: Vec<&str> = places.iter().map(|(name, _)| *name).collect();
        let programs = Programs::load(object, &names, whose, order, rules)?;
        let refused = |source| CgroupEngineError::Cgroup {
            directory: directory.to_owned(),
            source,
        };
        let group = File::open(directory).map_err(refused)?;
        let mut links = Vec::new();
        for (name, hook) in places {
            let program = programs.descriptor(name)?;
            links.push(link_to(program, group.as_raw_fd(), *hook).map_err(refused)?);
        }
        Ok(Self { links, programs })
    }

    /// Watches a process, with all whom it bears from then on, of what was attached for [`Who::Family`]. Those born before
    /// are to be watched, too.
    pub fn watch(&self, pid: u32) -> Result<(), CgroupEngineError> {
        Ok(self.programs.watch(pid)?)
    }

    /// Watches a process no longer; its children stay.
    pub fn forget(&self, pid: u32) -> Result<(), CgroupEngineError> {
        Ok(self.programs.forget(pid)?)
    }

    /// The pids of everyone who is watched and lives, in order.
    pub fn members(&self) -> Result<Vec<u32>, CgroupEngineError> {
        Ok(self.programs.members()?)
    }

    /// How many were born that there was no room for: their calls go on.
    pub fn lost(&self) -> u64 {
        self.programs.lost()
    }

    /// What each rule has counted, in their order.
    pub fn counts(&self) -> Result<Vec<Counts>, CgroupEngineError> {
        Ok(self.programs.counts()?)
    }

    /// The rules as they are now.
    pub fn rules(&self) -> &[Rule] {
        self.programs.rules()
    }

    /// Changes a rule, by its place; what it has counted stays. A call of another hook than those of the rules that were
    /// attached is refused.
    pub fn update(&mut self, place: usize, rule: Rule) -> Result<(), CgroupEngineError> {
        Ok(self.programs.update(place, rule)?)
    }

    /// Changes how likely calls fail, in 2³², by the place of their rule.
    pub fn set_chance(&mut self, place: usize, chance: u64) -> Result<(), CgroupEngineError> {
        Ok(self.programs.set_chance(place, chance)?)
    }

    /// Goes on, or pauses: none fails, or is counted.
    pub fn set_active(&mut self, active: bool) -> Result<(), CgroupEngineError> {
        Ok(self.programs.set_active(active)?)
    }

    /// Whether none fails any more: the cgroup is gone, or somebody has taken the programs off.
    pub fn is_off(&self) -> bool {
        !self.links.iter().all(is_attached)
    }
}

/// Whether it can do what rules say, on a kernel that has what it needs.
pub fn check(rules: &[Rule]) -> Result<(), RuleError> {
    hooks_of::<Hook>(rules).map(drop)
}

/// Asks this kernel whether programs of a cgroup can have calls fail: with all of them, which do nothing, at the group of this
/// process.
pub fn trial() -> Result<(), CgroupEngineError> {
    let trees = Hierarchies::find().map_err(TopError::Mounts)?;
    let mine = Memberships::of(std::process::id()).unwrap_or_default();
    let group = mine.unified().and_then(|group| trees.directory(group));
    let group = group.ok_or(TopError::NoTree)?;
    let all = BTreeSet::from(Hook::ALL);
    CgroupErrors::attach_at(&group, Whose::All, &Order::default(), &[], &all).map(drop)
}
