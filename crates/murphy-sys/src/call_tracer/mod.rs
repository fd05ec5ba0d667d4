//! A tracer of calls stops threads at each system call that they make, by ptrace, and has some of these calls fail. Nothing of the
//! target is written but registers of a thread that stands at a call, so that it reaches whatever code makes the call; and each call
//! costs two stops, so that it is a hundred times slower than a patch.
//!
//! A call that fails is made into none (number -1) with its result there already: whenever the tracer dies, the kernel lets all threads
//! go, and what was begun is whole. No thread ends with its tracer (`PTRACE_O_EXITKILL` is not set).

mod decide;

use std::{
    collections::{HashMap, HashSet},
    io,
    process::id as own_pid,
    sync::{
        Arc, Mutex, MutexGuard, Once, PoisonError,
        atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread::{self, JoinHandle, sleep},
    time::{Duration, Instant},
};

use nix::libc::{self, c_int, pid_t};

use crate::{
    arch,
    patch::{Act, Counts, Rule},
    process::{ProcessId, is_32_bit, read_proc, status_field, thread_group},
    tracee::{TraceeError, ptrace, refusal, threads_of},
};
use decide::{Decision, Decisions};

/// What is traced beside calls: whoever is born is traced, too.
const OPTIONS: c_int = libc::PTRACE_O_TRACESYSGOOD
    | libc::PTRACE_O_TRACEFORK
    | libc::PTRACE_O_TRACEVFORK
    | libc::PTRACE_O_TRACECLONE
    | libc::PTRACE_O_TRACEEXEC;
/// What a stop at a call is told by.
const CALL_STOP: c_int = libc::SIGTRAP | 0x80;
/// What ends the tracer's waiting: nobody sends it for anything else.
const KICK: c_int = libc::SIGURG;
/// How soon after each other kicks are sent until they are heard.
const KICK_EVERY: Duration = Duration::from_millis(1);
/// How often is looked whose delay is over.
const TICK: Duration = Duration::from_micros(500);
/// How long threads may take to stop for the last time; the kernel lets go of the rest.
const LET_GO_WITHIN: Duration = Duration::from_secs(1);
/// How often the listing of threads is read until nobody new is in it.
const SCANS_MAX: usize = 10_000;

/// Why calls cannot be traced.
#[derive(Debug, thiserror::Error)]
pub enum TracerError {
    /// A process cannot be stopped.
    #[error(transparent)]
    Tracee(#[from] TraceeError),
    /// Its calls are others.
    #[error("trace the calls of {0}: it is a 32-bit program, whose calls have other numbers")]
    Narrow(ProcessId),
    /// Its filter sees a call that is made into none.
    #[error(
        "trace the calls of {0}: a seccomp filter looks at each of them and may end it for one that Murphy makes into none; --engine patch never does that"
    )]
    Filtered(ProcessId),
    /// A register would stay changed where Murphy dies.
    #[error(
        "trace calls: one that is made for half of it stays so where Murphy dies meanwhile; --engine patch does that"
    )]
    Short,
    /// Processors of another kind.
    #[error(transparent)]
    NotHere(#[from] arch::NotHere),
    /// There is no thread for it.
    #[error("start a tracer: {0}")]
    Start(#[source] io::Error),
    /// It has ended.
    #[error("trace calls: the tracer has ended")]
    Ended,
}

impl TracerError {
    /// Whether the process it is about is gone.
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Tracee(TraceeError::Gone(_)))
    }
}

/// What calls come to, and how often.
#[derive(Debug)]
pub struct CallTracer {
    shared: Arc<Shared>,
    asked: Sender<Ask>,
    tracer: Option<JoinHandle<()>>,
}

/// Somebody is to be traced, and who is told of it.
type Ask = (ProcessId, Sender<Result<(), TracerError>>);

#[derive(Debug, Default)]
struct Shared {
    /// The tracer's thread.
    thread: AtomicI32,
    is_over: AtomicBool,
    /// What came of the calls of each rule.
    counts: Mutex<Vec<Counts>>,
    /// How many threads wait for the end of a delay.
    delayed: AtomicU64,
}

impl Shared {
    fn counts(&self) -> MutexGuard<'_, Vec<Counts>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the tracer's waiting, if it waits just now.
    fn kick(&self) {
        let thread = self.thread.load(Ordering::Acquire);
        let Ok(own) = pid_t::try_from(own_pid()) else {
            return;
        };
        if thread != 0 {
            // SAFETY: plain numbers; the signal is for a thread of this process, which has a handler for it.
            let _ = unsafe { libc::syscall(libc::SYS_tgkill, own, thread, KICK) };
        }
    }
}

/// Whether this machine lets Murphy trace calls.
pub fn trial() -> Result<(), TracerError> {
    Ok(arch::AUDIT.map(|_| ()).ok_or(arch::NotHere)?)
}

/// The processes in which `tracer` traces somebody.
pub fn traced_by(tracer: ProcessId) -> Vec<u32> {
    let listing = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = listing.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_traced = |pid: &u32| {
        let status = read_proc(*pid, "status").unwrap_or_default();
        let by = status_field(&status, "TracerPid").and_then(|value| value.parse::<u32>().ok());
        by.filter(|by| *by != 0)
            .is_some_and(|by| by == tracer.pid || thread_group(by).is_ok_and(|by| by == tracer.pid))
    };
    pids.filter(is_traced).collect()
}

/// Has the kick do nothing but end a wait.
fn hear_kicks() {
    extern "C" fn nothing(_: c_int) {}
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let handler: extern "C" fn(c_int) = nothing;
        // SAFETY: all zeros are a valid action; the handler does nothing, and no flag has calls begin again behind it.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handler as usize;
            libc::sigaction(KICK, &raw const action, std::ptr::null_mut());
        }
    });
}

impl CallTracer {
    /// Begins, with nobody traced. `seed` is for the dice; behind `until` no call is hit any more.
    pub fn start(rules: &[Rule], seed: u64, until: Option<Instant>) -> Result<Self, TracerError> {
        trial()?;
        if rules.iter().any(|rule| rule.act == Act::Short) {
            return Err(TracerError::Short);
        }
        hear_kicks();
        let shared = Arc::new(Shared::default());
        *shared.counts() = vec![Counts::default(); rules.len()];
        let (asked, asks) = channel();
        let decisions = Decisions::new(rules.to_vec(), seed, until);
        let tracer = {
            let shared = Arc::clone(&shared);
            let run = move || Tracer::new(shared, decisions, asks).run();
            let name = thread::Builder::new().name("murphy-tracer".into());
            name.spawn(run).map_err(TracerError::Start)?
        };
        if rules.iter().any(decide::delays) {
            let shared = Arc::clone(&shared);
            let tick = move || {
                while !shared.is_over.load(Ordering::Acquire) {
                    sleep(TICK);
                    if shared.delayed.load(Ordering::Acquire) > 0 {
                        shared.kick();
                    }
                }
            };
            let name = thread::Builder::new().name("murphy-delays".into());
            name.spawn(tick).map_err(TracerError::Start)?;
        }
        Ok(Self {
            shared,
            asked,
            tracer: Some(tracer),
        })
    }

    /// Traces all threads of a process from now on, and whoever is born to it.
    pub fn watch(&self, process: ProcessId) -> Result<(), TracerError> {
        if is_32_bit(process.pid) {
            return Err(TracerError::Narrow(process));
        }
        let status = read_proc(process.pid, "status").unwrap_or_default();
        if status_field(&status, "Seccomp").is_some_and(|mode| mode != "0") {
            return Err(TracerError::Filtered(process));
        }
        let (tell, told) = channel();
        self.asked
            .send((process, tell))
            .map_err(|_| TracerError::Ended)?;
        loop {
            self.shared.kick();
            match told.recv_timeout(KICK_EVERY) {
                Ok(answer) => return answer,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(TracerError::Ended),
            }
        }
    }

    /// What came of the calls of each rule so far, in the order in which they were given.
    pub fn counts(&self) -> Vec<Counts> {
        self.shared.counts().clone()
    }

    /// Lets everybody go.
    pub fn end(&mut self) {
        self.shared.is_over.store(true, Ordering::Release);
        if let Some(tracer) = self.tracer.take() {
            while !tracer.is_finished() {
                self.shared.kick();
                sleep(KICK_EVERY);
            }
            // Whatever it ended of, the kernel has let go of everybody.
            let _ = tracer.join();
        }
    }
}

impl Drop for CallTracer {
    fn drop(&mut self) {
        self.end();
    }
}

/// A thread that is traced.
#[derive(Debug)]
struct Traced {
    /// Of which process.
    process: u32,
    /// What comes of the call that it is in.
    at_exit: Option<AtExit>,
    /// Until when it is held at a call.
    held_until: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
enum AtExit {
    /// It was made into none, and has failed.
    Failed(u16),
    /// What came of it is lost.
    Lose(usize, u16),
}

struct Tracer {
    shared: Arc<Shared>,
    decisions: Decisions,
    asks: Receiver<Ask>,
    threads: HashMap<pid_t, Traced>,
}

impl Tracer {
    fn new(shared: Arc<Shared>, decisions: Decisions, asks: Receiver<Ask>) -> Self {
        Self {
            shared,
            decisions,
            asks,
            threads: HashMap::new(),
        }
    }

    fn run(mut self) {
        // SAFETY: it takes nothing and cannot fail.
        let own = unsafe { libc::gettid() };
        self.shared.thread.store(own, Ordering::Release);
        while !self.shared.is_over.load(Ordering::Acquire) {
            while let Ok((process, tell)) = self.asks.try_recv() {
                // Whoever asked may not wait for it any more.
                let _ = tell.send(self.seize(process));
            }
            self.release_delayed();
            match wait(0) {
                Some((thread, status)) => self.stopped(thread, status),
                None if self.threads.is_empty() => sleep(KICK_EVERY),
                None => {}
            }
        }
        self.shared.thread.store(0, Ordering::Release);
        self.let_go();
    }

    /// Seizes all threads of a process.
    fn seize(&mut self, process: ProcessId) -> Result<(), TracerError> {
        for _ in 0..SCANS_MAX {
            let mut fresh = threads_of(process)?;
            fresh.retain(|thread| !self.threads.contains_key(thread));
            if fresh.is_empty() {
                if process.is_alive() {
                    return Ok(());
                }
                return Err(TraceeError::Gone(process).into());
            }
            for thread in fresh {
                let options = usize::try_from(OPTIONS).unwrap_or(0);
                match ptrace(libc::PTRACE_SEIZE, thread, 0, options) {
                    Ok(()) => {
                        self.known(thread, process.pid);
                        // It stops soon, wherever it is; one that has ended says so.
                        let _ = ptrace(libc::PTRACE_INTERRUPT, thread, 0, 0);
                    }
                    Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
                    Err(error) => {
                        // A thread that was born of one that is traced is traced already.
                        if self.threads.contains_key(&thread) || is_own(thread) {
                            self.known(thread, process.pid);
                        } else if let Some(error) = refusal(process, thread, error) {
                            return Err(error.into());
                        }
                    }
                }
            }
        }
        Err(TraceeError::Runaway(process).into())
    }

    fn known(&mut self, thread: pid_t, process: u32) -> &mut Traced {
        self.threads.entry(thread).or_insert(Traced {
            process,
            at_exit: None,
            held_until: None,
        })
    }

    /// Looks at a thread that has stopped or ended, and lets it go on.
    fn stopped(&mut self, thread: pid_t, status: c_int) {
        if !libc::WIFSTOPPED(status) {
            if let Some(ended) = self.threads.remove(&thread)
                && !self
                    .threads
                    .values()
                    .any(|one| one.process == ended.process)
            {
                self.decisions.forget(ended.process);
            }
            return;
        }
        if !self.threads.contains_key(&thread) {
            let pid = u32::try_from(thread).unwrap_or(0);
            self.known(thread, thread_group(pid).unwrap_or(pid));
        }
        let (event, signal) = (status >> 16, libc::WSTOPSIG(status));
        if event == libc::PTRACE_EVENT_STOP && is_stop(signal) {
            // The whole process is stopped by a signal, and stays so.
            let _ = ptrace(libc::PTRACE_LISTEN, thread, 0, 0);
            return;
        }
        if event == libc::PTRACE_EVENT_EXEC {
            self.executed(thread);
        }
        let signal = match (event, signal) {
            (0, CALL_STOP) => {
                if !self.at_call(thread) {
                    return;
                }
                0
            }
            (0, signal) => signal,
            _ => 0,
        };
        go_on(thread, signal);
    }

    /// Its other threads are gone, and its memory is another.
    fn executed(&mut self, thread: pid_t) {
        let process = self.known(thread, 0).process;
        self.threads
            .retain(|one, traced| *one == thread || traced.process != process);
        self.decisions.executed(process);
        let traced = self.known(thread, process);
        traced.at_exit = None;
        traced.held_until = None;
    }

    /// Looks at a thread that stands at a call; whether it goes on now.
    fn at_call(&mut self, thread: pid_t) -> bool {
        let Some(info) = call_info(thread) else {
            return true;
        };
        let Some(traced) = self.threads.get_mut(&thread) else {
            return true;
        };
        let (number, arguments) = match info {
            CallInfo::Exit(result) => {
                match traced.at_exit.take() {
                    Some(AtExit::Failed(errno)) if result != -i64::from(errno) => {
                        // Nobody else decides what it came to.
                        let _ = arch::answer_call(thread, -i64::from(errno));
                    }
                    Some(AtExit::Lose(rule, errno))
                        if !(-4095..0).contains(&result)
                            && arch::answer_call(thread, -i64::from(errno)).is_ok() =>
                    {
                        self.shared.counts()[rule].hits += 1;
                    }
                    _ => {}
                }
                return true;
            }
            CallInfo::Entry(number, arguments) => (number, arguments),
            CallInfo::Other => return true,
        };
        traced.at_exit = None;
        let process = traced.process;
        let decided = {
            let mut counts = self.shared.counts();
            self.decisions
                .decide(process, thread, number, arguments, &mut counts)
        };
        let Some((rule, decision)) = decided else {
            return true;
        };
        let hit = |shared: &Shared| shared.counts()[rule].hits += 1;
        match decision {
            Decision::Fail(errno, signal) => {
                if let Some(signal) = signal {
                    let process = pid_t::try_from(process).unwrap_or(0);
                    // SAFETY: plain numbers; the thread is one that is traced.
                    let _ = unsafe { libc::syscall(libc::SYS_tgkill, process, thread, signal) };
                }
                if arch::no_call(thread, -i64::from(errno)).is_ok() {
                    traced.at_exit = Some(AtExit::Failed(errno));
                    hit(&self.shared);
                }
                true
            }
            Decision::Lose(errno) => {
                traced.at_exit = Some(AtExit::Lose(rule, errno));
                true
            }
            Decision::Delay(delay) => {
                traced.held_until = Some(Instant::now() + delay);
                self.shared.delayed.fetch_add(1, Ordering::AcqRel);
                hit(&self.shared);
                false
            }
        }
    }

    /// Lets threads go on whose delay is over.
    fn release_delayed(&mut self) {
        if self.shared.delayed.load(Ordering::Acquire) == 0 {
            return;
        }
        let now = Instant::now();
        for (thread, traced) in &mut self.threads {
            if traced.held_until.is_some_and(|until| until <= now) {
                traced.held_until = None;
                go_on(*thread, 0);
            }
        }
        let held = self.threads.values().filter(|one| one.held_until.is_some());
        self.shared
            .delayed
            .store(held.count() as u64, Ordering::Release);
    }

    /// Lets everybody go; who does not stop in time is let go by the kernel.
    fn let_go(mut self) {
        let mut waiting = HashSet::new();
        for (thread, traced) in &self.threads {
            if traced.held_until.is_some() {
                let _ = ptrace(libc::PTRACE_DETACH, *thread, 0, 0);
            } else if ptrace(libc::PTRACE_INTERRUPT, *thread, 0, 0).is_ok() {
                waiting.insert(*thread);
            }
        }
        let until = Instant::now() + LET_GO_WITHIN;
        while !waiting.is_empty() && Instant::now() < until {
            let Some((thread, status)) = wait(libc::WNOHANG) else {
                sleep(Duration::from_micros(100));
                continue;
            };
            waiting.remove(&thread);
            if !libc::WIFSTOPPED(status) {
                continue;
            }
            let (event, signal) = (status >> 16, libc::WSTOPSIG(status));
            if (event, signal) == (0, CALL_STOP)
                && let Some(traced) = self.threads.get_mut(&thread)
                && let Some(AtExit::Failed(errno)) = traced.at_exit.take()
                && let Some(CallInfo::Exit(result)) = call_info(thread)
                && result != -i64::from(errno)
            {
                let _ = arch::answer_call(thread, -i64::from(errno));
            }
            let signal = match (event, signal) {
                (0, signal) if signal != CALL_STOP => signal,
                _ => 0,
            };
            let signal = usize::try_from(signal).unwrap_or(0);
            // One that was killed meanwhile needs no letting go.
            let _ = ptrace(libc::PTRACE_DETACH, thread, 0, signal);
        }
    }
}

/// Whether a signal stops a whole process.
fn is_stop(signal: c_int) -> bool {
    matches!(
        signal,
        libc::SIGSTOP | libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU
    )
}

/// Whether the thread that asks traces another.
fn is_own(thread: pid_t) -> bool {
    let pid = u32::try_from(thread).unwrap_or(0);
    let status = read_proc(pid, "status").unwrap_or_default();
    // SAFETY: it takes nothing and cannot fail.
    let own = unsafe { libc::gettid() };
    status_field(&status, "TracerPid").and_then(|value| value.parse::<pid_t>().ok()) == Some(own)
}

/// Lets a thread go on to its next call, with a signal or 0.
fn go_on(thread: pid_t, signal: c_int) {
    let signal = usize::try_from(signal).unwrap_or(0);
    // One that was killed while it was stopped says so itself.
    let _ = ptrace(libc::PTRACE_SYSCALL, thread, 0, signal);
}

/// Waits for whoever is traced by this thread; none where a kick or nobody came.
fn wait(flags: c_int) -> Option<(pid_t, c_int)> {
    let mut status = 0;
    let flags = flags | libc::__WALL | libc::__WNOTHREAD;
    // SAFETY: `status` is a valid place for the answer; nothing else is touched.
    let thread = unsafe { libc::waitpid(-1, &raw mut status, flags) };
    (thread > 0).then_some((thread, status))
}

/// Where a thread stands.
enum CallInfo {
    /// Before a call, by its number, with its arguments.
    Entry(u32, [u64; 6]),
    /// Behind one, with what came of it.
    Exit(i64),
    /// At something else.
    Other,
}

/// Where a stopped thread stands (`PTRACE_GET_SYSCALL_INFO`, Linux 5.3); none where it was killed.
fn call_info(thread: pid_t) -> Option<CallInfo> {
    // SAFETY: the structure is plain numbers, for which all zeros are valid.
    let mut info: libc::ptrace_syscall_info = unsafe { std::mem::zeroed() };
    let size = size_of_val(&info);
    let place = (&raw mut info).addr();
    ptrace(libc::PTRACE_GET_SYSCALL_INFO, thread, size, place).ok()?;
    if Some(info.arch) != arch::AUDIT {
        return Some(CallInfo::Other);
    }
    Some(match info.op {
        libc::PTRACE_SYSCALL_INFO_ENTRY => {
            // SAFETY: the kernel has said that this is what it wrote.
            let entry = unsafe { info.u.entry };
            match u32::try_from(entry.nr) {
                Ok(number) => CallInfo::Entry(number, entry.args),
                Err(_) => CallInfo::Other,
            }
        }
        libc::PTRACE_SYSCALL_INFO_EXIT => {
            // SAFETY: as above.
            CallInfo::Exit(unsafe { info.u.exit }.sval)
        }
        _ => CallInfo::Other,
    })
}
