//! A family is a set of processes that grows by birth, followed by BPF programs in the kernel: who of it executes a
//! program is told of at once and, where that is wanted, stopped before the program's first instruction; and while it
//! is looked for, who asks the kernel for the time past the vDSO is counted.
//!
//! Needs Linux 5.8 with BTF (`CONFIG_DEBUG_INFO_BTF`), `CAP_BPF` and `CAP_PERFMON`, or root, and the first pid
//! namespace: the kernel's own pids are what the programs see. All of it is attached through descriptors of this
//! process and goes with it. Nobody is stopped any more who nobody attends: see [`ATTENTION`].

use std::{
    fmt, io,
    os::fd::{AsFd, BorrowedFd},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use libbpf_rs::{Link, MapCore, MapFlags, Object, RingBuffer, RingBufferBuilder};

use crate::{
    bpf,
    clock::boottime_ns,
    process::{BootId, ProcessId, namespace_inode},
    vdso::Clock,
};

/// For how long [`Family::attend`] promises that somebody lets go who is stopped.
pub const ATTENTION: Duration = Duration::from_secs(1);

/// The inodes of the first namespaces, as every kernel numbers them.
const FIRST_PID_NAMESPACE: u64 = 0xEFFF_FFFC;
const FIRST_TIME_NAMESPACE: u64 = 0xEFFF_FFFA;
/// What `/proc` counts start times in, on every architecture.
const TICK_NS: u64 = 10_000_000;

#[cfg(target_arch = "x86_64")]
const OBJECT: Option<&[u8]> = Some(include_bytes!(concat!(env!("OUT_DIR"), "/family.bpf.o")));
#[cfg(not(target_arch = "x86_64"))]
const OBJECT: Option<&[u8]> = None;

/// Why a family cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum FamilyError {
    /// The programs are not written for this architecture.
    #[error(
        "follow executed programs on {}: Murphy's BPF programs are written for x86_64 only",
        std::env::consts::ARCH
    )]
    Architecture,
    /// Its pids are not the kernel's.
    #[error(
        "follow executed programs: Murphy runs in a pid or time namespace of its own; run it in the host's"
    )]
    Namespace,
    /// The kernel does not describe its types.
    #[error(
        "follow executed programs: this kernel has no BTF, /sys/kernel/btf/vmlinux is missing (CONFIG_DEBUG_INFO_BTF)"
    )]
    NoBtf,
    /// The kernel refused a program, a map, or their use.
    #[error(
        "follow executed programs: {what}: {source}; it needs Linux 5.8 with BPF, and CAP_BPF with CAP_PERFMON or root"
    )]
    Refused {
        /// What.
        what: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// What is done to those who execute a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtExec {
    /// They are told of.
    Tell,
    /// They are stopped by SIGSTOP before the program's first instruction, and told of.
    Stop,
}

/// A family of processes.
pub struct Family {
    /// Attached while they are here; dropped before what they belong to.
    links: Vec<Link>,
    calls: Option<Link>,
    ring: RingBuffer<'static>,
    executed: Arc<Mutex<Vec<ProcessId>>>,
    object: Object,
}

// SAFETY: libbpf binds none of these to a thread, the callback of the ring may be sent, and no other owner of the
// pointers inside is left outside: `Family` gives none of them away.
unsafe impl Send for Family {}

impl fmt::Debug for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Family")
            .field("links", &self.links.len())
            .finish_non_exhaustive()
    }
}

fn refused(what: &'static str) -> impl Fn(libbpf_rs::Error) -> FamilyError {
    move |error| FamilyError::Refused {
        what,
        source: io::Error::new(bpf::kind(&error), error),
    }
}

impl Family {
    /// Loads the programs, which do nothing yet. `clocks` are the ones whose system calls will be counted.
    pub fn load(
        at_exec: AtExec,
        clocks: impl IntoIterator<Item = Clock>,
    ) -> Result<Self, FamilyError> {
        let object = OBJECT.ok_or(FamilyError::Architecture)?;
        let namespace = |kind| namespace_inode(std::process::id(), kind).ok();
        // A kernel without time namespaces has one time for all.
        if namespace("pid") != Some(FIRST_PID_NAMESPACE)
            || namespace("time").is_some_and(|inode| inode != FIRST_TIME_NAMESPACE)
        {
            return Err(FamilyError::Namespace);
        }
        if !std::path::Path::new("/sys/kernel/btf/vmlinux").exists() {
            return Err(FamilyError::NoBtf);
        }
        let mut object = bpf::open(object).map_err(refused("read the BPF programs"))?;
        let clocks = clocks.into_iter().fold(0, |bits, clock| bits | clock.bit());
        let stops = u32::from(at_exec == AtExec::Stop);
        let wanted = [stops.to_ne_bytes(), clocks.to_ne_bytes()].concat();
        for mut map in object.maps_mut() {
            if map.name().to_string_lossy().ends_with(".rodata") {
                map.set_initial_value(&wanted)
                    .map_err(refused("prepare the BPF programs"))?;
            }
        }
        let object = bpf::load(object).map_err(|source| FamilyError::Refused {
            what: "load the BPF programs",
            source,
        })?;
        let executed = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&executed);
        let boot = BootId::current();
        let hear = move |told: &[u8]| {
            let (start_ns, pid) = (number(Some(told)), number32(told.get(8..)));
            let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
            heard.push(ProcessId {
                pid,
                start_ticks: start_ns / TICK_NS,
                boot,
            });
            0
        };
        let ring = {
            let map = map(&object, "executed")?;
            let mut ring = RingBufferBuilder::new();
            ring.add(&map, hear)
                .map_err(refused("listen to the BPF programs"))?;
            ring.build()
                .map_err(refused("listen to the BPF programs"))?
        };
        Ok(Self {
            links: Vec::new(),
            calls: None,
            ring,
            executed,
            object,
        })
    }

    /// From now on it is followed, and attended.
    pub fn follow(&mut self) -> Result<(), FamilyError> {
        self.attend()?;
        for program in ["on_exit", "on_fork", "on_exec"] {
            let link = self.attach(program)?;
            self.links.push(link);
        }
        Ok(())
    }

    fn attach(&self, name: &str) -> Result<Link, FamilyError> {
        let program = self
            .object
            .progs_mut()
            .find(|program| program.name() == name);
        let program = program.ok_or(FamilyError::Refused {
            what: "find a BPF program",
            source: io::ErrorKind::NotFound.into(),
        })?;
        program
            .attach_trace()
            .map_err(refused("attach a BPF program"))
    }

    /// Whether it is followed.
    pub fn is_followed(&self) -> bool {
        !self.links.is_empty()
    }

    /// Stops following: nobody is stopped from now on. Who was is still told of.
    pub fn leave(&mut self) {
        self.calls = None;
        self.links.clear();
    }

    /// Promises to look for who was stopped within [`ATTENTION`].
    pub fn attend(&self) -> Result<(), FamilyError> {
        let until = boottime_ns() + u64::try_from(ATTENTION.as_nanos()).unwrap_or(u64::MAX);
        map(&self.object, "attended")?
            .update(&0_u32.to_ne_bytes(), &until.to_ne_bytes(), MapFlags::ANY)
            .map_err(refused("tell the BPF programs"))
    }

    /// Takes a process in, with all whom it bears from then on. A family of 32,768 takes nobody in any more.
    pub fn add(&self, pid: u32) -> Result<(), FamilyError> {
        let family = map(&self.object, "family")?;
        match family.update(&pid.to_ne_bytes(), &0_u64.to_ne_bytes(), MapFlags::NO_EXIST) {
            Ok(()) => Ok(()),
            Err(error) => match error.kind() {
                libbpf_rs::ErrorKind::AlreadyExists | libbpf_rs::ErrorKind::TooBig => Ok(()),
                _ => Err(refused("tell the BPF programs")(error)),
            },
        }
    }

    /// Takes a process out.
    pub fn remove(&self, pid: u32) -> Result<(), FamilyError> {
        let family = map(&self.object, "family")?;
        bpf::forget(&family, &pid.to_ne_bytes()).map_err(refused("tell the BPF programs"))
    }

    /// The pids of everyone in it who lives.
    pub fn members(&self) -> Result<Vec<u32>, FamilyError> {
        let family = map(&self.object, "family")?;
        let pids = family
            .keys()
            .filter_map(|key| Some(u32::from_ne_bytes(key.try_into().ok()?)));
        Ok(pids.collect())
    }

    /// Who has executed a program since this was asked last; one may be there twice, or gone.
    pub fn executed(&self) -> Result<Vec<ProcessId>, FamilyError> {
        self.ring
            .consume()
            .map_err(refused("listen to the BPF programs"))?;
        let mut executed = self.executed.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(std::mem::take(&mut *executed))
    }

    /// How many have executed a program without being told of.
    pub fn lost(&self) -> u64 {
        let bss = self
            .object
            .maps()
            .find(|map| map.name().to_string_lossy().ends_with(".bss"));
        let value = bss.and_then(|bss| bss.lookup(&0_u32.to_ne_bytes(), MapFlags::ANY).ok()?);
        number(value.as_deref())
    }

    /// Begins or ends to count calls past the vDSO. While it is done, every system call of the machine takes some
    /// 0.1 µs longer.
    pub fn count_calls(&mut self, wanted: bool) -> Result<(), FamilyError> {
        self.calls = match self.calls.take() {
            _ if !wanted => None,
            None => Some(self.attach("on_call")?),
            calls => calls,
        };
        Ok(())
    }

    /// Who has asked for the time past the vDSO, and how often, while calls were counted.
    pub fn callers(&self) -> Result<Vec<(u32, u64)>, FamilyError> {
        let family = map(&self.object, "family")?;
        let calls = family.keys().filter_map(|key| {
            let value = family.lookup(&key, MapFlags::ANY).ok()?;
            let pid = u32::from_ne_bytes(key.try_into().ok()?);
            Some((pid, number(value.as_deref())))
        });
        Ok(calls.filter(|(_, calls)| *calls > 0).collect())
    }
}

impl AsFd for Family {
    /// Readable when somebody has executed a program.
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is the ring's own, which lives as long as `self`.
        unsafe { BorrowedFd::borrow_raw(self.ring.epoll_fd()) }
    }
}

fn map<'a>(object: &'a Object, name: &str) -> Result<libbpf_rs::Map<'a>, FamilyError> {
    let found = object.maps().find(|map| map.name() == name);
    found.ok_or(FamilyError::Refused {
        what: "find a BPF map",
        source: io::ErrorKind::NotFound.into(),
    })
}

fn number32(value: Option<&[u8]>) -> u32 {
    value
        .and_then(|value| value.get(..4)?.try_into().ok())
        .map_or(0, u32::from_ne_bytes)
}

fn number(value: Option<&[u8]>) -> u64 {
    value
        .and_then(|value| value.get(..8)?.try_into().ok())
        .map_or(0, u64::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{entry, pidfd::Pidfd, process::State, signal::Signal, vdso::view};
    use std::{
        io::{Read, Write},
        process::{Child, Command, Stdio},
        thread::sleep,
        time::Instant,
    };

    fn family(at_exec: AtExec) -> Option<Family> {
        match Family::load(at_exec, [Clock::REALTIME]) {
            Ok(family) => Some(family),
            Err(error) => {
                // Past the capture of the test runner, so that it is counted.
                let _ = writeln!(io::stderr(), "skipped: {error}");
                None
            }
        }
    }

    /// A shell that does what it is told by its input, and waits for that already.
    fn shell() -> Child {
        let mut shell = Command::new("sh")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        tell(&mut shell, "echo ready");
        let mut said = [0; 6];
        shell
            .stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut said)
            .unwrap();
        shell
    }

    fn tell(shell: &mut Child, line: &str) {
        writeln!(shell.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    fn wait_for(family: &Family) -> Vec<ProcessId> {
        let until = Instant::now() + Duration::from_secs(20);
        while Instant::now() < until {
            let executed = family.executed().unwrap();
            if !executed.is_empty() {
                return executed;
            }
            sleep(Duration::from_millis(2));
        }
        panic!("nobody was told of");
    }

    #[test]
    fn children_that_execute_a_program_are_told_of_and_strangers_are_not() {
        let Some(mut family) = family(AtExec::Tell) else {
            return;
        };
        let (mut ours, mut stranger) = (shell(), shell());
        family.add(ours.id()).unwrap();
        family.follow().unwrap();
        tell(&mut stranger, "/bin/true");
        tell(&mut ours, "(/bin/true; /bin/true)");
        let mut executed = wait_for(&family);
        while executed.len() < 2 {
            executed.extend(wait_for(&family));
        }
        assert_eq!(executed.len(), 2, "{executed:?}");
        assert!(executed.iter().all(|process| process.pid != stranger.id()));
        drop((ours.stdin.take(), stranger.stdin.take()));
        assert!(ours.wait().unwrap().success() && stranger.wait().unwrap().success());
        assert_eq!(family.lost(), 0);
        family.leave();
    }

    #[test]
    fn who_executes_a_program_is_stopped_before_it_begins() {
        let Some(mut family) = family(AtExec::Stop) else {
            return;
        };
        let mut shell = shell();
        family.add(shell.id()).unwrap();
        family.follow().unwrap();
        let mark = tempfile::NamedTempFile::new().unwrap();
        tell(&mut shell, &format!("/bin/rm {}", mark.path().display()));
        let process = wait_for(&family)[0];
        assert_eq!(process, ProcessId::of(process.pid).unwrap());
        while process.stat().unwrap().state != State::Stopped {
            sleep(Duration::from_millis(1));
        }
        assert!(entry::is_before_first_instruction(process));
        assert!(!entry::is_before_first_instruction(
            ProcessId::of(shell.id()).unwrap()
        ));
        assert!(mark.path().exists());
        Pidfd::open(process).unwrap().send(Signal::CONT).unwrap();
        drop(shell.stdin.take());
        assert!(shell.wait().unwrap().success());
        assert!(!mark.path().exists());
        let _ = mark.keep();
    }

    #[test]
    fn nobody_is_stopped_whom_nobody_attends() {
        let Some(mut family) = family(AtExec::Stop) else {
            return;
        };
        let mut shell = shell();
        family.add(shell.id()).unwrap();
        family.follow().unwrap();
        sleep(ATTENTION + Duration::from_millis(50));
        tell(&mut shell, "/bin/true");
        drop(shell.stdin.take());
        assert!(shell.wait().unwrap().success());
        assert_eq!(wait_for(&family).len(), 1);
    }

    #[test]
    fn who_asks_past_the_vdso_is_counted_and_who_asks_through_it_is_not() {
        let Some(mut family) = family(AtExec::Tell) else {
            return;
        };
        family.add(std::process::id()).unwrap();
        family.follow().unwrap();
        family.count_calls(true).unwrap();
        for _ in 0..1000 {
            let _ = crate::clock::realtime_ns();
        }
        assert_eq!(family.callers().unwrap(), []);
        for _ in 0..10 {
            let _ = view::kernel_ns(Clock::REALTIME);
            let _ = view::kernel_ns("CLOCK_MONOTONIC".parse().unwrap());
        }
        family.count_calls(false).unwrap();
        let _ = view::kernel_ns(Clock::REALTIME);
        assert_eq!(family.callers().unwrap(), [(std::process::id(), 10)]);
    }
}
