//! An undo is the way back from one change, as data: written before the change is made, run by whoever is
//! left to run it, as often as anybody likes.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    thread::sleep,
    time::{Duration, Instant},
};

use murphy_sys::{
    cgroup::Hierarchies,
    durable::{Inode, remove_tree},
    entry::is_before_first_instruction,
    namespace::{NetNamespace, unname},
    nfqueue::{self, NfqueueError},
    pidfd::{Pidfd, PidfdError},
    process::{ProcessId, State, has_variable},
    qdisc::{
        self, QdiscError, QdiscId, Removal,
        filter::{self, FilterId},
        ifb,
    },
    signal::Signal,
    table::ProcessTable,
    traffic::TrafficError,
};
use serde::{Deserialize, Serialize};

use crate::{
    journal::Journal,
    net,
    podman::{Podman, PodmanError},
    syscall::{SyscallError, end_failures, end_tracing, restore_sites},
    time::{SkewError, restore_vdso},
};

/// The environment variable that marks the processes of a launched command or a lab.
pub const TAG_VARIABLE: &str = "MURPHY_TAG";
/// How often [`Undo::EndTagged`] looks for more processes before it gives up.
const ROUNDS_MAX: usize = 100;
/// How long a killed process may take to be gone.
const GONE_WITHIN: Duration = Duration::from_secs(2);

/// One way back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Undo {
    /// Lets a process that Murphy stopped go on.
    Resume(ProcessId),
    /// Lets go on whoever was stopped before the first instruction of a program it has executed.
    ResumeHeld,
    /// Kills every process that was started with this tag in its environment.
    EndTagged {
        /// The value of [`TAG_VARIABLE`].
        tag: String,
    },
    /// Kills a process that Murphy started, with its descendants: some programs write their title over
    /// their environment, and with it over the tag.
    EndTree(ProcessId),
    /// Takes a skew off every process that carries it, by the id in their memory: children inherit it.
    RestoreVdso {
        /// The injection.
        id: String,
    },
    /// Takes an injection off the code of every process that carries it, by the id in their memory: children inherit it.
    RestoreSites {
        /// The injection.
        id: String,
    },
    /// Ends failures of calls by programs in the kernel, by the id in what they were told.
    EndFailures {
        /// The injection.
        id: String,
    },
    /// Has a Murphy that traces let everybody go.
    EndTracing(ProcessId),
    /// Takes the programs of an injection off every network device, by the id in what they were told.
    DetachTraffic {
        /// The injection.
        id: String,
    },
    /// Removes a filter that Murphy made.
    RemoveFilter {
        /// The number of the network namespace.
        namespace: u64,
        /// What it is known by.
        filter: FilterId,
    },
    /// Removes a qdisc that Murphy made, unless somebody else needs it by now.
    RemoveQdisc {
        /// The number of the network namespace.
        namespace: u64,
        /// What it is known by.
        qdisc: QdiscId,
    },
    /// Removes a device of the kind ifb that Murphy made, by a name that only Murphy gives.
    RemoveIfb {
        /// The number of the network namespace.
        namespace: u64,
        /// Its name.
        name: String,
    },
    /// Removes an nftables table of Murphy's, by the name that only Murphy gives: packets go their usual way again.
    DeleteTable {
        /// The number of the network namespace that it is in.
        namespace: u64,
        /// Its name.
        name: String,
    },
    /// Takes the name off a network namespace that Murphy made; who is inside keeps it.
    UnnameNamespace {
        /// The file that is its name, as in `/run/netns`.
        path: PathBuf,
        /// Its number.
        inode: u64,
    },
    /// Removes every container of a podman that keeps its state in a directory that Murphy made.
    RemoveContainers {
        /// The directory.
        state: PathBuf,
        /// Its file system.
        device: u64,
        /// Its inode there.
        inode: u64,
    },
    /// Kills everyone in the cgroups of a name that only Murphy gives, or below them, and removes those.
    EndGroups {
        /// Their name, directly below the root of each tree.
        name: String,
    },
    /// Removes a directory that Murphy made, with all in it.
    RemoveTree {
        /// Where it is.
        path: PathBuf,
        /// Its file system.
        device: u64,
        /// Its inode there.
        inode: u64,
    },
}

/// What an undo came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Undone {
    /// It was done now.
    Now,
    /// There was nothing to do.
    AlreadyDone,
    /// Whoever was changed is gone, and the change with it.
    TargetGone,
    /// It was done now; in so many processes a hook that is no longer run stays in memory, because a thread
    /// has not left it yet.
    Dormant(usize),
}

/// Why an undo could not be done.
#[derive(Debug, thiserror::Error)]
pub enum UndoError {
    /// The process cannot be reached.
    #[error(transparent)]
    Process(#[from] PidfdError),
    /// `/proc` cannot be read.
    #[error("read /proc: {0}")]
    Table(#[source] io::Error),
    /// Processes kept appearing, or one does not die.
    #[error("end {whose}: {left} still there")]
    Survivors {
        /// Whose processes.
        whose: String,
        /// How many.
        left: usize,
    },
    /// A skew stays.
    #[error(transparent)]
    Skew(#[from] SkewError),
    /// Calls fail still.
    #[error(transparent)]
    Syscall(#[from] SyscallError),
    /// Packets are disturbed still.
    #[error(transparent)]
    Traffic(#[from] TrafficError),
    /// A filter, a qdisc or a device stays.
    #[error(transparent)]
    Qdisc(#[from] QdiscError),
    /// Packets go to a queue still.
    #[error(transparent)]
    Queue(#[from] NfqueueError),
    /// Containers stay.
    #[error(transparent)]
    Containers(#[from] PodmanError),
    /// The name stays.
    #[error("take the name {} off its network namespace: {source}", path.display())]
    Name {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Groups stay.
    #[error("end the cgroups {name}: {source}")]
    Groups {
        /// Their name.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// The directory stays.
    #[error("remove {}: {source}", path.display())]
    Tree {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Undo {
    /// The undo of making the directory at `path`, which exists and is empty.
    pub fn remove_tree(path: &Path) -> io::Result<Self> {
        let inode = Inode::of(path)?;
        Ok(Self::RemoveTree {
            path: path.into(),
            device: inode.device,
            inode: inode.number,
        })
    }

    /// The undo of naming a namespace, which has no name yet.
    pub fn unname(namespace: &NetNamespace, path: &Path) -> io::Result<Self> {
        Ok(Self::UnnameNamespace {
            path: path.into(),
            inode: namespace.inode()?,
        })
    }

    /// The undo of starting containers of a podman whose state will be in the directory `state`, which exists.
    pub fn remove_containers(state: &Path) -> io::Result<Self> {
        let inode = Inode::of(state)?;
        Ok(Self::RemoveContainers {
            state: state.into(),
            device: inode.device,
            inode: inode.number,
        })
    }

    /// Goes the way back. `journal` is where it stands: what others do to the same target goes on.
    pub fn run(&self, journal: &Journal) -> Result<Undone, UndoError> {
        match self {
            Self::RestoreVdso { id } => Ok(restore_vdso(journal, id)?),
            Self::RestoreSites { id } => Ok(restore_sites(id)?),
            Self::EndFailures { id } => Ok(end_failures(id)?),
            Self::EndTracing(tracer) => Ok(end_tracing(*tracer)?),
            Self::Resume(process) => Ok(resume(*process)?),
            Self::ResumeHeld => resume_held(),
            Self::EndTagged { tag } => end_tagged(tag),
            Self::EndTree(process) => end_tree(*process),
            Self::DetachTraffic { id } => Ok(net::detach(id)?),
            Self::RemoveFilter { namespace, filter } => {
                within(*namespace, |namespace| filter::delete(namespace, filter))
            }
            Self::RemoveQdisc { namespace, qdisc } => {
                within(*namespace, |namespace| qdisc::delete(namespace, qdisc))
            }
            Self::RemoveIfb { namespace, name } => {
                within(*namespace, |namespace| ifb::delete(namespace, name))
            }
            Self::DeleteTable { namespace, name } => within(*namespace, |namespace| {
                nfqueue::remove(namespace, name).map(|was_there| {
                    if was_there {
                        Removal::Now
                    } else {
                        Removal::Gone
                    }
                })
            }),
            Self::UnnameNamespace { path, inode } => {
                removal(unname(path, *inode)).map_err(|source| {
                    let path = path.clone();
                    UndoError::Name { path, source }
                })
            }
            Self::RemoveContainers {
                state,
                device,
                inode,
            } => remove_containers(state, identity(*device, *inode)),
            Self::EndGroups { name } => end_groups(name).map_err(|source| {
                let name = name.clone();
                UndoError::Groups { name, source }
            }),
            Self::RemoveTree {
                path,
                device,
                inode,
            } => removal(remove_tree(path, identity(*device, *inode))).map_err(|source| {
                let path = path.clone();
                UndoError::Tree { path, source }
            }),
        }
    }
}

fn identity(device: u64, number: u64) -> Inode {
    Inode { device, number }
}

/// What a removal came to that says whether what it found was what it looked for.
fn removal(removed: io::Result<bool>) -> io::Result<Undone> {
    match removed {
        Ok(true) => Ok(Undone::Now),
        Ok(false) => Ok(Undone::TargetGone),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Undone::AlreadyDone),
        Err(error) => Err(error),
    }
}

/// Removes something from a namespace, by its number: one that is not found has nothing in it that could be reached.
fn within<E: Into<UndoError>>(
    inode: u64,
    remove: impl FnOnce(&NetNamespace) -> Result<Removal, E>,
) -> Result<Undone, UndoError> {
    let Some(namespace) = NetNamespace::find(inode) else {
        return Ok(Undone::TargetGone);
    };
    Ok(match remove(&namespace).map_err(Into::into)? {
        Removal::Now => Undone::Now,
        Removal::Gone => Undone::AlreadyDone,
        Removal::Foreign => Undone::TargetGone,
    })
}

/// Not everybody there is tagged: a runtime's own processes have an environment of their own.
fn end_groups(name: &str) -> io::Result<Undone> {
    let until = Instant::now() + GONE_WITHIN;
    loop {
        let groups = Hierarchies::find()?;
        for pid in groups.members(name) {
            // Who has gone meanwhile is what is wanted; who cannot be killed keeps the group busy, which is said.
            let _ = ProcessId::of(pid)
                .ok()
                .and_then(|process| Pidfd::open(process).ok())
                .map(|pidfd| pidfd.send(Signal::KILL));
        }
        match groups.remove(name) {
            Ok(true) => return Ok(Undone::Now),
            Ok(false) => return Ok(Undone::AlreadyDone),
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && Instant::now() < until => {
                // Whoever was killed takes a moment to leave.
                sleep(Duration::from_millis(5));
            }
            Err(error) => return Err(error),
        }
    }
}

fn remove_containers(state: &Path, expected: Inode) -> Result<Undone, UndoError> {
    match Inode::of(state) {
        Ok(found) if found == expected => {}
        Ok(_) => return Ok(Undone::TargetGone),
        Err(_) => return Ok(Undone::AlreadyDone),
    }
    Ok(if Podman::at(state.into()).remove_all()? {
        Undone::Now
    } else {
        Undone::AlreadyDone
    })
}

impl fmt::Display for Undo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resume(process) => write!(f, "resume {process} with SIGCONT"),
            Self::ResumeHeld => {
                f.write_str("resume whom Murphy has stopped at the start of an executed program")
            }
            Self::EndTagged { tag } => write!(f, "kill every process tagged {TAG_VARIABLE}={tag}"),
            Self::RestoreVdso { id } => {
                write!(f, "take skew {id} off every process that carries it")
            }
            Self::RestoreSites { id } => {
                write!(f, "take {id} off the code of every process that carries it")
            }
            Self::EndFailures { id } => {
                write!(f, "end what programs of {id} do to calls, in the kernel")
            }
            Self::EndTracing(tracer) => {
                write!(f, "have {tracer}, which traces, let everybody go")
            }
            Self::EndTree(process) => write!(f, "kill {process} and its descendants"),
            Self::DetachTraffic { id } => {
                write!(f, "take the programs of {id} off every network device")
            }
            Self::RemoveFilter { namespace, filter } => {
                write!(f, "remove {filter} in network namespace {namespace}")
            }
            Self::RemoveQdisc { namespace, qdisc } => {
                write!(f, "remove {qdisc} in network namespace {namespace}")
            }
            Self::RemoveIfb { namespace, name } => {
                write!(
                    f,
                    "remove the device {name} in network namespace {namespace}"
                )
            }
            Self::DeleteTable { namespace, name } => {
                write!(
                    f,
                    "remove the nftables table {name} from network namespace {namespace}"
                )
            }
            Self::UnnameNamespace { path, .. } => {
                write!(
                    f,
                    "take the name {} off its network namespace",
                    path.display()
                )
            }
            Self::RemoveContainers { state, .. } => {
                write!(
                    f,
                    "remove the containers whose podman is in {}",
                    state.display()
                )
            }
            Self::EndGroups { name } => write!(f, "kill everyone in the cgroups {name}"),
            Self::RemoveTree { path, .. } => write!(f, "remove {}", path.display()),
        }
    }
}

/// SIGCONT is sent even when the process does not look stopped: a stop that it has not seen yet, in an
/// uninterruptible sleep, is cancelled by it.
pub(crate) fn resume(process: ProcessId) -> Result<Undone, PidfdError> {
    let pidfd = match Pidfd::open(process) {
        Ok(pidfd) => pidfd,
        Err(PidfdError::Gone { .. }) => return Ok(Undone::TargetGone),
        Err(error) => return Err(error),
    };
    let stopped = process
        .stat()
        .is_some_and(|stat| stat.state == State::Stopped);
    match pidfd.send(Signal::CONT) {
        Ok(()) => Ok(if stopped {
            Undone::Now
        } else {
            Undone::AlreadyDone
        }),
        Err(PidfdError::Gone { .. }) => Ok(Undone::TargetGone),
        Err(error) => Err(error),
    }
}

fn resume_held() -> Result<Undone, UndoError> {
    let mut undone = Undone::AlreadyDone;
    for process in held().map_err(UndoError::Table)? {
        if resume(process)? == Undone::Now {
            undone = Undone::Now;
        }
    }
    Ok(undone)
}

/// Whoever on this machine is stopped before the first instruction of its program. Nobody stops there by chance: a
/// family whose parents are gone is known by nothing else. A command that a living Murphy is about to launch is no
/// such case.
pub(crate) fn held() -> io::Result<Vec<ProcessId>> {
    let myself = fs::read_link("/proc/self/exe").ok();
    let is_murphy = |pid: u32| {
        let exe = fs::read_link(format!("/proc/{pid}/exe")).ok();
        exe.is_some() && exe == myself
    };
    let table = ProcessTable::read()?;
    let stopped = table.iter().filter(|stat| stat.state == State::Stopped);
    Ok(stopped
        .filter(|stat| is_before_first_instruction(stat.id()) && !is_murphy(stat.parent))
        .map(murphy_sys::process::Stat::id)
        .collect())
}

fn end_tagged(tag: &str) -> Result<Undone, UndoError> {
    let mut undone = Undone::AlreadyDone;
    for _ in 0..ROUNDS_MAX {
        let table = ProcessTable::read().map_err(UndoError::Table)?;
        let tagged: Vec<ProcessId> = table
            .iter()
            .filter(|stat| stat.pid != std::process::id())
            .filter(|stat| has_variable(stat.pid, TAG_VARIABLE, tag))
            .map(murphy_sys::process::Stat::id)
            .collect();
        if tagged.is_empty() {
            return Ok(undone);
        }
        undone = Undone::Now;
        for process in tagged {
            match Pidfd::open(process) {
                Ok(pidfd) => {
                    match pidfd.send(Signal::KILL) {
                        Ok(()) | Err(PidfdError::Gone { .. }) => {}
                        Err(error) => return Err(error.into()),
                    }
                    // A wait cut short is no loss: the next round looks again.
                    let _ = pidfd.wait_for_exit(GONE_WITHIN);
                }
                Err(PidfdError::Gone { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    let left = ProcessTable::read().map_err(UndoError::Table)?;
    let left = left
        .iter()
        .filter(|stat| has_variable(stat.pid, TAG_VARIABLE, tag))
        .count();
    if left == 0 {
        Ok(undone)
    } else {
        Err(UndoError::Survivors {
            whose: format!("the processes tagged {tag}"),
            left,
        })
    }
}

/// Stops the whole tree before it kills anybody: a child whose parent is dead is nobody's any more, and
/// whoever is stopped bears none. Of those whose parents have died before, the ones in the root's process group are its.
fn end_tree(root: ProcessId) -> Result<Undone, UndoError> {
    let mut tree = Vec::new();
    for _ in 0..ROUNDS_MAX {
        let table = ProcessTable::read().map_err(UndoError::Table)?;
        let mut seen: Vec<u32> = Vec::new();
        if table.holds(&root) {
            seen.push(root.pid);
        }
        seen.extend(orphans(&table, root));
        let born = table.descendants(&seen);
        let fresh: Vec<ProcessId> = seen
            .iter()
            .filter_map(|pid| table.get(*pid))
            .chain(born)
            .map(murphy_sys::process::Stat::id)
            .filter(|process| !tree.contains(process))
            .collect();
        if fresh.is_empty() {
            break;
        }
        signal_all(&fresh, Signal::STOP)?;
        tree.extend(fresh);
    }
    if tree.is_empty() {
        return Ok(Undone::TargetGone);
    }
    signal_all(&tree, Signal::KILL)?;
    let mut left = 0;
    for process in tree {
        if let Ok(pidfd) = Pidfd::open(process) {
            left += usize::from(!pidfd.wait_for_exit(GONE_WITHIN).unwrap_or(false));
        }
    }
    if left == 0 {
        Ok(Undone::Now)
    } else {
        Err(UndoError::Survivors {
            whose: format!("{root} and its descendants"),
            left,
        })
    }
}

/// Who is in the process group of a root, and began after it. A pid is given to nobody else for as long as a group has its
/// number: where somebody else has it, the group of the root is no more.
fn orphans(table: &ProcessTable, root: ProcessId) -> Vec<u32> {
    if table.get(root.pid).is_some() && !table.holds(&root) {
        return Vec::new();
    }
    let others = table.iter().filter(|stat| {
        stat.group == root.pid && stat.pid != root.pid && stat.start_ticks >= root.start_ticks
    });
    others.map(|stat| stat.pid).collect()
}

fn signal_all(processes: &[ProcessId], signal: Signal) -> Result<(), UndoError> {
    for process in processes {
        match Pidfd::open(*process).and_then(|pidfd| pidfd.send(signal)) {
            Ok(()) | Err(PidfdError::Gone { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// None of these undos shares its target with another injection.
    fn nowhere() -> Journal {
        Journal::at("/nonexistent".into())
    }

    #[test]
    fn a_stopped_process_is_resumed_once_and_a_dead_one_is_gone() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let process = ProcessId::of(child.id()).unwrap();
        Pidfd::open(process).unwrap().send(Signal::STOP).unwrap();
        while process.stat().unwrap().state != State::Stopped {
            std::thread::yield_now();
        }
        let undo = Undo::Resume(process);
        assert_eq!(undo.run(&nowhere()).unwrap(), Undone::Now);
        while process.stat().unwrap().state == State::Stopped {
            std::thread::yield_now();
        }
        assert_eq!(undo.run(&nowhere()).unwrap(), Undone::AlreadyDone);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(undo.run(&nowhere()).unwrap(), Undone::TargetGone);
    }

    #[test]
    fn tagged_processes_end_with_their_children_and_nobody_else() {
        let tag = format!("test-{}", std::process::id());
        let undo = Undo::EndTagged { tag: tag.clone() };
        assert_eq!(undo.run(&nowhere()).unwrap(), Undone::AlreadyDone);
        let mut tagged = Command::new("sh");
        let mut tagged = tagged
            .args(["-c", "sleep 60 & wait"])
            .env(TAG_VARIABLE, &tag)
            .spawn()
            .unwrap();
        let mut other = Command::new("sleep")
            .arg("60")
            .env(TAG_VARIABLE, "other")
            .spawn()
            .unwrap();
        assert_eq!(undo.run(&nowhere()).unwrap(), Undone::Now);
        assert!(!tagged.wait().unwrap().success());
        assert!(
            other.try_wait().unwrap().is_none(),
            "an untagged process was killed"
        );
        other.kill().unwrap();
        other.wait().unwrap();
    }

    #[test]
    fn a_family_ends_whole_even_where_no_tag_shows() {
        let mut parent = Command::new("sh")
            .args(["-c", "sh -c 'sleep 60 & sleep 60 & wait' & wait"])
            .spawn()
            .unwrap();
        let process = ProcessId::of(parent.id()).unwrap();
        let family = || -> Vec<ProcessId> {
            let table = ProcessTable::read().unwrap();
            let born = table.descendants(&[process.pid]);
            born.into_iter()
                .map(murphy_sys::process::Stat::id)
                .collect()
        };
        while family().len() < 3 {
            std::thread::yield_now();
        }
        let family = family();
        let undo = Undo::EndTree(process);
        assert_eq!(undo.run(&nowhere()).unwrap(), Undone::Now);
        assert!(!parent.wait().unwrap().success());
        assert!(family.iter().all(|process| !process.is_alive()));
        assert_eq!(undo.run(&nowhere()).unwrap(), Undone::TargetGone);
    }

    #[test]
    fn who_has_lost_their_parent_ends_with_its_group() {
        use std::os::unix::process::CommandExt;
        let mut parent = Command::new("sh")
            .args(["-c", "sleep 61 & echo $!; read line"])
            .process_group(0)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let process = ProcessId::of(parent.id()).unwrap();
        let mut said = String::new();
        let out = parent.stdout.take().unwrap();
        io::BufRead::read_line(&mut io::BufReader::new(out), &mut said).unwrap();
        let child = ProcessId::of(said.trim().parse().unwrap()).unwrap();
        parent.kill().unwrap();
        parent.wait().unwrap();
        assert!(child.is_alive());
        let another = ProcessId {
            start_ticks: process.start_ticks + 1_000_000,
            ..process
        };
        let undo = Undo::EndTree(another);
        assert_eq!(undo.run(&nowhere()).unwrap(), Undone::TargetGone);
        assert!(child.is_alive());
        let undo = Undo::EndTree(process);
        assert_eq!(undo.run(&nowhere()).unwrap(), Undone::Now);
        assert!(!child.is_alive());
    }

    #[test]
    fn a_tree_is_removed_once() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("data");
        fs::create_dir(&tree).unwrap();
        let undo = Undo::remove_tree(&tree).unwrap();
        fs::write(tree.join("file"), "x").unwrap();
        assert_eq!(undo.run(&nowhere()).unwrap(), Undone::Now);
        assert_eq!(undo.run(&nowhere()).unwrap(), Undone::AlreadyDone);
        fs::create_dir(&tree).unwrap();
        fs::write(dir.path().join("occupy"), "x").unwrap();
        let json = serde_json::to_string(&undo).unwrap();
        assert_eq!(serde_json::from_str::<Undo>(&json).unwrap(), undo);
    }

    #[test]
    fn a_podman_that_has_started_nothing_has_nothing_to_remove() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("podman");
        fs::create_dir(&state).unwrap();
        let undo = Undo::remove_containers(&state).unwrap();
        assert_eq!(undo.run(&nowhere()).unwrap(), Undone::AlreadyDone);
        fs::rename(&state, dir.path().join("moved")).unwrap();
        assert_eq!(undo.run(&nowhere()).unwrap(), Undone::AlreadyDone);
        fs::create_dir(&state).unwrap();
        fs::create_dir(state.join("root")).unwrap();
        assert_eq!(undo.run(&nowhere()).unwrap(), Undone::TargetGone);
    }

    #[test]
    fn a_namespace_loses_its_name_once_and_another_keeps_it() {
        let (Ok(mine), Ok(other)) = (NetNamespace::create(), NetNamespace::create()) else {
            use std::io::Write;
            let _ = io::stderr().write_all(b"skipped: network namespaces\n");
            return;
        };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mphy-test");
        let undo = Undo::unname(&mine, &path).unwrap();
        assert_eq!(undo.run(&nowhere()).unwrap(), Undone::AlreadyDone);
        mine.name(&path).unwrap();
        assert_eq!(undo.run(&nowhere()).unwrap(), Undone::Now);
        assert_eq!(undo.run(&nowhere()).unwrap(), Undone::AlreadyDone);
        other.name(&path).unwrap();
        assert_eq!(undo.run(&nowhere()).unwrap(), Undone::TargetGone);
        let own = Undo::unname(&other, &path).unwrap();
        assert_eq!(own.run(&nowhere()).unwrap(), Undone::Now);
    }

    #[test]
    fn groups_that_nobody_has_made_are_gone() {
        let name = format!("mphy-test-{}", std::process::id());
        let undo = Undo::EndGroups { name };
        assert_eq!(undo.run(&nowhere()).unwrap(), Undone::AlreadyDone);
    }
}
