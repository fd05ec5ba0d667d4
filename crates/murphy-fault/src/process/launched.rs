//! A launched command is a target that Murphy starts itself, can start again, and ends with the fault.

use std::{
    ffi::OsString,
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    path::PathBuf,
    process::{Child, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use murphy_sys::{
    cgroup::Hierarchies,
    clock::boottime_ns,
    pidfd::{Pidfd, ended_within},
    process::{ProcessError, ProcessId, Stat, namespace_inode},
    signal::Signal,
    spawn::{Launch, SpawnError, TimeOffsets},
    table::ProcessTable,
};
use serde::Serialize;

use super::{ProcessFaultError, send};
use crate::{
    injector::{Injector, failures},
    journal::{Entry, JournalError},
    span::Until,
    undo::{TAG_VARIABLE, Undo},
};

/// How long a killed command may take to be gone.
const GONE_WITHIN: Duration = Duration::from_secs(5);
/// How often whoever is left of it is looked for.
const ROUNDS_MAX: usize = 100;

/// Why a command could not be launched or restarted.
#[derive(Debug, thiserror::Error)]
pub enum LaunchedError {
    /// It did not start.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// It ended before it could be looked at.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// What it says cannot be written down.
    #[error("write what the command says into {}: {source}", path.display())]
    Log {
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It could not be killed.
    #[error(transparent)]
    Fault(#[from] ProcessFaultError),
    /// It has no cgroup of its own.
    #[error("give the command a cgroup of its own in {}: {source}", directory.display())]
    Group {
        /// Where the version 2 tree is mounted, or the group.
        directory: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It could not be waited for.
    #[error("wait for the command: {0}")]
    Wait(#[source] io::Error),
    /// It had ended by itself before the fault.
    #[error("restart the command: it had ended by itself, {0}")]
    Ended(ExitStatus),
}

/// Where a launched command writes its standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Where Murphy writes its own.
    Shared,
    /// To standard error, as Murphy's own output is for machines.
    Aside,
    /// Nowhere, with its standard error, as Murphy goes on in the background.
    Nowhere,
}

/// How a launched command starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// The family and the fault that the journal names it by.
    pub fault: (&'static str, String),
    /// How long it may run: should its Murphy hang, its keeper ends it then.
    pub until: Until,
    /// Where it writes.
    pub output: Output,
    /// What its clocks since boot show more than Murphy's, in a time namespace of its own.
    pub time: Option<TimeOffsets>,
    /// Stopped before its first instruction, until [`Launched::go`].
    pub held: bool,
    /// Where it writes instead: what comes is added at the end.
    pub log: Option<PathBuf>,
}

impl From<Output> for Start {
    /// Murphy's own clocks, and it runs at once.
    fn from(output: Output) -> Self {
        Self {
            fault: ("process", "launch".into()),
            until: Until::Forever,
            output,
            time: None,
            held: false,
            log: None,
        }
    }
}

/// A command that runs because of Murphy.
#[derive(Debug)]
pub struct Launched {
    argv: Vec<OsString>,
    start: Start,
    entry: Entry,
    child: Child,
    /// How it has ended: its pid may be somebody else's by now.
    status: Option<ExitStatus>,
    /// Its time namespace, where it has one of its own. Held open, so that its number stays its own.
    time: Option<File>,
}

/// What a restart did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Restarted {
    /// The pid before.
    pub pid_before: u32,
    /// The pid now.
    pub pid: u32,
    /// Microseconds from SIGKILL until it was gone.
    pub gone_after_us: u64,
    /// Milliseconds from SIGKILL until it ran again.
    pub back_after_ms: u64,
}

impl Launched {
    /// Starts the command. That every process of it ends is on disk before.
    pub fn start(
        injector: &Injector,
        argv: Vec<OsString>,
        start: impl Into<Start>,
    ) -> Result<Self, LaunchedError> {
        let start = start.into();
        let words: Vec<_> = argv
            .iter()
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        let (family, fault) = &start.fault;
        let mut entry = injector.begin(family, fault, &[words.join(" ")], start.until)?;
        let tag = entry.id().to_owned();
        entry.protect(&[Undo::EndTagged { tag: tag.clone() }])?;
        match spawn(&argv, &tag, &start) {
            Ok(child) => {
                let mut launched = Self {
                    argv,
                    start,
                    entry,
                    child,
                    status: None,
                    time: None,
                };
                launched.protect_tree()?;
                if launched.start.time.is_some() {
                    let namespace = format!("/proc/{}/ns/time", launched.child.id());
                    // One that has ended already has borne nobody.
                    launched.time = File::open(namespace).ok();
                }
                Ok(launched)
            }
            Err(error) => {
                // Nothing was started: the entry has nothing to undo and goes.
                let _ = entry.end();
                Err(error)
            }
        }
    }

    /// Many servers write their title over their environment, and with it over the tag: who was started
    /// is known by itself from now on, too.
    fn protect_tree(&mut self) -> Result<(), LaunchedError> {
        // One that has ended already has only its tagged children left.
        let Ok(process) = ProcessId::of(self.child.id()) else {
            return Ok(());
        };
        let undo = Undo::EndTree(process);
        match self.entry.protect(std::slice::from_ref(&undo)) {
            Ok(()) => Ok(()),
            Err(error) => {
                // What the journal does not hold may not run.
                let _ = undo.run(self.entry.journal());
                let _ = self.entry.end();
                Err(error.into())
            }
        }
    }

    /// Lets a held command begin, and its time with it.
    pub fn go(&self) -> Result<(), LaunchedError> {
        let process = self.process()?;
        self.entry.began(boottime_ns())?;
        let sent = Pidfd::open(process).and_then(|pidfd| pidfd.send(Signal::CONT));
        Ok(sent.map_err(ProcessFaultError::from)?)
    }

    /// Puts a held command into a cgroup (version 2) of its own, where everything it starts will be, and which ends with
    /// it. Gives its directory.
    pub fn seclude(&mut self) -> Result<PathBuf, LaunchedError> {
        let refused = |directory: &PathBuf, source| LaunchedError::Group {
            directory: directory.clone(),
            source,
        };
        let trees = Hierarchies::find().map_err(|source| refused(&"/".into(), source))?;
        let none = || io::Error::other("no tree of version 2 is mounted");
        let tree = trees.unified.ok_or_else(none);
        let tree = tree.map_err(|source| refused(&"/".into(), source))?;
        let name = format!("mphy-{}", self.entry.id());
        let directory = tree.join(&name);
        self.entry.protect(&[Undo::EndGroups { name }])?;
        let made = fs::create_dir(&directory);
        made.map_err(|source| refused(&directory, source))?;
        let pid = self.child.id().to_string();
        let moved = fs::write(directory.join("cgroup.procs"), pid);
        moved.map_err(|source| refused(&directory, source))?;
        Ok(directory)
    }

    /// The id of the injection that ends the command.
    pub fn id(&self) -> &str {
        self.entry.id()
    }

    /// The command's process.
    pub fn process(&self) -> Result<ProcessId, LaunchedError> {
        Ok(ProcessId::of(self.child.id())?)
    }

    /// How it has ended, if it has.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, LaunchedError> {
        if self.status.is_none() {
            let status = ended_within(&mut self.child, Duration::ZERO);
            self.status = status.map_err(LaunchedError::Wait)?;
        }
        Ok(self.status)
    }

    /// Kills the command with everything it has started, leaves it down, and starts it again. `wait` waits
    /// for the time given, or less when somebody wants an end.
    pub fn restart(
        &mut self,
        down: Duration,
        wait: impl FnOnce(Duration),
    ) -> Result<Restarted, LaunchedError> {
        if let Some(status) = self.ended()? {
            return Err(LaunchedError::Ended(status));
        }
        let before = self.process()?;
        let mut family = vec![before];
        if let Ok(table) = ProcessTable::read() {
            let born = table.descendants(&[before.pid]);
            family.extend(born.into_iter().map(Stat::id));
        }
        let began = Instant::now();
        send(&family, Signal::KILL, GONE_WITHIN)?;
        self.child.wait().map_err(LaunchedError::Wait)?;
        let gone_after_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        // Its children go with it: the next one starts from nothing.
        let tag = self.entry.id().into();
        for rest in [Undo::EndTree(before), Undo::EndTagged { tag }] {
            let _ = rest.run(self.entry.journal());
        }
        wait(down);
        self.child = spawn(&self.argv, self.entry.id(), &self.start)?;
        self.status = None;
        self.protect_tree()?;
        Ok(Restarted {
            pid_before: before.pid,
            pid: self.child.id(),
            gone_after_us,
            back_after_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        })
    }

    /// Ends the command with everything it has started; says what could not be ended.
    pub fn end(mut self) -> Vec<String> {
        let mut left = failures(&self.entry.end());
        if let Some(Err(error)) = self.time.as_ref().map(end_in_namespace) {
            left.push(format!("end the rest of the command: {error}"));
        }
        // It is dead by now; only its status is left to collect, and that comes with the last of its threads.
        let is_left =
            self.status.is_none() && matches!(ended_within(&mut self.child, GONE_WITHIN), Ok(None));
        if is_left {
            left.push(format!(
                "end the command: pid {} still runs",
                self.child.id()
            ));
        }
        left
    }
}

/// Kills whoever is left in a time namespace made for a command: a daemon of it without parent and tag.
fn end_in_namespace(namespace: &File) -> Result<(), ProcessFaultError> {
    let inode = namespace
        .metadata()
        .map_err(ProcessFaultError::Table)?
        .ino();
    for _ in 0..ROUNDS_MAX {
        let table = ProcessTable::read().map_err(ProcessFaultError::Table)?;
        let inside =
            |stat: &&Stat| namespace_inode(stat.pid, "time").is_ok_and(|theirs| theirs == inode);
        let left: Vec<_> = table.iter().filter(inside).map(Stat::id).collect();
        if left.is_empty() {
            break;
        }
        send(&left, Signal::KILL, GONE_WITHIN)?;
    }
    Ok(())
}

fn spawn(argv: &[OsString], tag: &str, start: &Start) -> Result<Child, LaunchedError> {
    let mut launch = Launch::new(argv.to_vec());
    launch.env.push((TAG_VARIABLE.into(), tag.into()));
    launch.time = start.time;
    launch.held = start.held;
    match start.output {
        Output::Shared => {}
        Output::Aside => launch.stdout = Stdio::from(io::stderr()),
        Output::Nowhere => {
            launch.stdout = Stdio::null();
            launch.stderr = Stdio::null();
        }
    }
    if let Some(path) = &start.log {
        let unwritable = |source| LaunchedError::Log {
            path: path.clone(),
            source,
        };
        let log = File::options().create(true).append(true).open(path);
        let log = log.map_err(unwritable)?;
        launch.stdout = Stdio::from(log.try_clone().map_err(unwritable)?);
        launch.stderr = Stdio::from(log);
    }
    launch.own_group = true;
    launch.stdin = Stdio::null();
    Ok(launch.spawn()?)
}
