//! A launch is a command with the namespaces it starts in and the way it ends with its launcher.
//!
//! The child enters its namespaces between fork and exec, so its pid is the command's own: a signal goes
//! straight to it, with no `ip netns exec` or shell between. With `die_with_parent` the kernel kills it
//! when the *thread* that started it is gone (`PR_SET_PDEATHSIG`, prctl(2)); a [`Spawner`] is a thread
//! that lives as long as its handle.

use std::{
    ffi::OsString,
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
        unix::process::CommandExt,
    },
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use nix::{
    libc,
    sched::{CloneFlags, setns},
    sys::signal::{SigSet, SigmaskHow, pthread_sigmask},
    unistd::{Pid, getppid, setpgid},
};
use rustix::{
    fs::{Mode, OFlags, open},
    thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe},
};

use crate::{
    process::{Stat, State},
    tracee::ptrace,
};

/// Why a command did not start.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// There is nothing to start.
    #[error("start a command: it has no words")]
    Empty,
    /// The kernel or the file system refused.
    #[error("start {program}: {source}")]
    Refused {
        /// The program as it was named.
        program: String,
        /// Why.
        source: io::Error,
    },
}

/// A command to start. Standard input is empty unless it says otherwise.
#[derive(Debug)]
pub struct Launch {
    /// The program and its arguments.
    pub argv: Vec<OsString>,
    /// Variables added to Murphy's own environment.
    pub env: Vec<(OsString, OsString)>,
    /// Working directory, as seen inside the mount namespace; Murphy's own when absent.
    pub cwd: Option<PathBuf>,
    /// Network namespace to start in.
    pub net: Option<Arc<OwnedFd>>,
    /// Mount namespace to start in.
    pub mount: Option<Arc<OwnedFd>>,
    /// Where the command reads from.
    pub stdin: Stdio,
    /// Where the command writes to.
    pub stdout: Stdio,
    /// Where the command complains to.
    pub stderr: Stdio,
    /// Killed by the kernel when the starting thread ends.
    pub die_with_parent: bool,
    /// Leads a process group of its own, so that a Ctrl-C at the terminal does not reach it.
    pub own_group: bool,
    /// What its clocks since boot show more than Murphy's, in a time namespace of its own.
    pub time: Option<TimeOffsets>,
    /// Stopped by SIGSTOP before its first instruction; it goes on at SIGCONT.
    pub held: bool,
}

/// What the clocks since boot of a time namespace show more than those of its maker's, in nanoseconds; less
/// where negative. See `time_namespaces(7)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeOffsets {
    /// `CLOCK_MONOTONIC`, with its raw and coarse forms.
    pub monotonic_ns: i64,
    /// `CLOCK_BOOTTIME`.
    pub boottime_ns: i64,
}

impl TimeOffsets {
    /// As `/proc/self/timens_offsets` wants it.
    fn text(self) -> Vec<u8> {
        let line = |name: &str, ns: i64| {
            let (seconds, rest) = (ns.div_euclid(1_000_000_000), ns.rem_euclid(1_000_000_000));
            format!("{name} {seconds} {rest}\n")
        };
        let monotonic = line("monotonic", self.monotonic_ns);
        (monotonic + &line("boottime", self.boottime_ns)).into_bytes()
    }
}

impl Launch {
    /// A plain launch of `argv` with Murphy's namespaces and standard streams.
    pub fn new(argv: Vec<OsString>) -> Self {
        Self {
            argv,
            env: Vec::new(),
            cwd: None,
            net: None,
            mount: None,
            stdin: Stdio::null(),
            stdout: Stdio::inherit(),
            stderr: Stdio::inherit(),
            die_with_parent: false,
            own_group: false,
            time: None,
            held: false,
        }
    }

    /// Starts the command.
    pub fn spawn(self) -> Result<Child, SpawnError> {
        let Some(program) = self.argv.first() else {
            return Err(SpawnError::Empty);
        };
        let name = program.to_string_lossy().into_owned();
        let mut command = Command::new(program);
        command
            .args(&self.argv[1..])
            .envs(self.env)
            .stdin(self.stdin)
            .stdout(self.stdout)
            .stderr(self.stderr);
        let before = BeforeExec {
            net: self.net.as_ref().map(AsRawFd::as_raw_fd),
            mount: self.mount.as_ref().map(AsRawFd::as_raw_fd),
            die_with: self.die_with_parent.then(Pid::this),
            own_group: self.own_group,
            cwd: self.cwd,
            time: self.time.map(TimeOffsets::text),
            held: self.held,
        };
        // SAFETY: `BeforeExec::run` makes system calls only: it allocates nothing, takes no lock and
        // touches no memory of other threads, as the time between fork and exec demands. The
        // descriptors it borrows live in `self.net` and `self.mount` until the end of this function.
        unsafe { command.pre_exec(move || before.run()) };
        let refused = |source| SpawnError::Refused {
            program: name.clone(),
            source,
        };
        let child = command.spawn().map_err(refused)?;
        if self.held {
            hold(&child).map_err(refused)?;
        }
        Ok(child)
    }
}

/// Turns the stop of a traced child at its `execve` into one by SIGSTOP, and lets it go as its tracer.
fn hold(child: &Child) -> io::Result<()> {
    let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
    let mut status = 0;
    // SAFETY: `status` is a valid place for the answer; the stop of this child is nobody else's business.
    let waited = unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL) };
    if waited != pid || !libc::WIFSTOPPED(status) {
        return Err(io::Error::other("it ended at its start"));
    }
    let stop = usize::try_from(libc::SIGSTOP).unwrap_or(0);
    ptrace(libc::PTRACE_DETACH, pid, 0, stop)?;
    // It stops on its own time; whoever looks before would see it run.
    for _ in 0..HOLD_TRIES {
        match Stat::read(child.id()) {
            Ok(stat) if stat.state == State::Stopped => return Ok(()),
            _ => thread::sleep(Duration::from_micros(200)),
        }
    }
    Err(io::Error::other("it does not stop"))
}

/// How often a held child is looked at: a second in all.
const HOLD_TRIES: u32 = 5000;

/// What the child does to itself between fork and exec.
struct BeforeExec {
    net: Option<RawFd>,
    mount: Option<RawFd>,
    die_with: Option<Pid>,
    own_group: bool,
    cwd: Option<PathBuf>,
    time: Option<Vec<u8>>,
    held: bool,
}

impl BeforeExec {
    fn run(&self) -> io::Result<()> {
        for (fd, kind) in [
            (self.net, CloneFlags::CLONE_NEWNET),
            (self.mount, CloneFlags::CLONE_NEWNS),
        ] {
            if let Some(fd) = fd {
                // SAFETY: the descriptor is open in the parent for the whole of `spawn`, and the child
                // holds a copy of it until exec.
                setns(unsafe { BorrowedFd::borrow_raw(fd) }, kind)?;
            }
        }
        if let Some(offsets) = &self.time {
            enter_time(offsets)?;
        }
        if let Some(cwd) = &self.cwd {
            rustix::process::chdir(cwd)?;
        }
        if self.own_group {
            setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
        }
        if let Some(parent) = self.die_with {
            rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
            if getppid() != parent {
                // The parent died before the request: its signal will never come.
                return Err(io::Error::other("the launcher is gone"));
            }
        }
        // A command starts with no signal blocked, whatever the launching thread blocks.
        pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
        if self.held {
            // The kernel stops a traced process when it has executed its program.
            ptrace(libc::PTRACE_TRACEME, 0, 0, 0)?;
        }
        Ok(())
    }
}

/// Enters a time namespace of its own, whose offsets are fixed from then on.
fn enter_time(offsets: &[u8]) -> io::Result<()> {
    // SAFETY: the child that calls this holds nothing that relies on the namespace it leaves.
    unsafe { unshare_unsafe(UnshareFlags::NEWTIME) }?;
    let write = OFlags::WRONLY | OFlags::CLOEXEC;
    let file = open(c"/proc/self/timens_offsets", write, Mode::empty())?;
    rustix::io::write(&file, offsets)?;
    // Kernels before 6.3 would let only a child of this process into it.
    let read = OFlags::RDONLY | OFlags::CLOEXEC;
    let namespace = open(c"/proc/self/ns/time_for_children", read, Mode::empty())?;
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Time))?;
    Ok(())
}

type Order = (Launch, mpsc::Sender<Result<Child, SpawnError>>);

/// A thread that starts commands and outlives each of them, so that "dies with its parent" means with
/// this handle (or with Murphy), not with whichever thread happened to call.
#[derive(Clone, Debug)]
pub struct Spawner(mpsc::Sender<Order>);

impl Spawner {
    /// Starts the thread; it ends when the last handle is dropped.
    pub fn start() -> io::Result<Self> {
        let (orders, inbox) = mpsc::channel::<Order>();
        thread::Builder::new()
            .name("spawner".into())
            .spawn(move || {
                for (launch, reply) in inbox {
                    // A caller that no longer listens loses its child with the reply: it is killed then.
                    if let Err(mpsc::SendError(Ok(mut orphan))) = reply.send(launch.spawn()) {
                        let _ = orphan.kill();
                        let _ = orphan.wait();
                    }
                }
            })?;
        Ok(Self(orders))
    }

    /// Starts a command from the thread.
    pub fn spawn(&self, launch: Launch) -> Result<Child, SpawnError> {
        let program = launch
            .argv
            .first()
            .map(|p| p.to_string_lossy().into_owned())
            .unwrap_or_default();
        let gone = || SpawnError::Refused {
            program: program.clone(),
            source: io::Error::other("the spawner is gone"),
        };
        let (reply, answer) = mpsc::channel();
        self.0.send((launch, reply)).map_err(|_| gone())?;
        answer.recv().map_err(|_| gone())?
    }
}
