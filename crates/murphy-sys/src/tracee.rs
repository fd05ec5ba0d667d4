//! A tracee is a process whose threads are all stopped for a moment by ptrace, looked at, and let go.
//!
//! Only `PTRACE_SEIZE` and `PTRACE_INTERRUPT` are used: never a single step and never a system call in the
//! target's name, so that a Murphy killed at any instant leaves a target that simply goes on. All of it
//! happens in a thread of its own, whose end makes the kernel let go of whatever it still holds.

use std::{
    fs, io,
    thread::{self, sleep, yield_now},
    time::{Duration, Instant},
};

use nix::libc::{self, c_int, pid_t};

use crate::{
    arch::Registers,
    memory::{Memory, MemoryError},
    process::{ProcessId, Stat, State, read_proc, status_field},
};

/// How often the listing of threads is read until nobody new is in it.
const SCANS_MAX: usize = 10_000;
/// How long a stop is awaited without sleeping.
const SPIN: Duration = Duration::from_micros(300);

/// How long others wait at most, each time, for one that does not stop; then all go on for a while.
const TRY: Duration = Duration::from_millis(100);
const TRY_PAUSE: Duration = Duration::from_millis(50);

/// How long a thread may take to stop that writes for a tracer.
const POKE_PATIENCE: Duration = Duration::from_secs(1);
/// How long between two looks whether code has been left.
const LEAVE_PAUSE: Duration = Duration::from_micros(200);

/// Why a process could not be stopped.
#[derive(Debug, thiserror::Error)]
pub enum TraceeError {
    /// It is gone.
    #[error("stop {0}: it is gone")]
    Gone(ProcessId),
    /// Somebody else traces it.
    #[error(
        "stop {process}: pid {tracer} ({name}) traces it already; end that debugger or strace first"
    )]
    Traced {
        /// The target.
        process: ProcessId,
        /// The tracer.
        tracer: u32,
        /// Its kernel name.
        name: String,
    },
    /// A thread does not stop.
    #[error("stop {process}: its thread {thread} does not stop within {} ms ({})", waited.as_millis(), if *uninterruptible { "an uninterruptible sleep, state D" } else { "it gets no processor time" })]
    Stuck {
        /// The target.
        process: ProcessId,
        /// The thread.
        thread: i32,
        /// How long was waited.
        waited: Duration,
        /// Whether it waits for a device.
        uninterruptible: bool,
    },
    /// The kernel refused.
    #[error("stop {process}: ptrace: {source}; it needs CAP_SYS_PTRACE")]
    Refused {
        /// The target.
        process: ProcessId,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Threads are born faster than they are stopped.
    #[error("stop {0}: it starts threads faster than they can be stopped")]
    Runaway(ProcessId),
}

/// All threads of a process, stopped.
#[derive(Debug)]
pub struct Stopped {
    threads: Vec<Stop>,
}

#[derive(Clone, Copy, Debug)]
struct Stop {
    thread: pid_t,
    /// A signal that was on its way when the thread stopped; it goes with it.
    signal: c_int,
}

/// Who is to be stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who<'a> {
    /// Every thread, those being born included.
    Everybody,
    /// These threads, as far as they still are there.
    Only(&'a [i32]),
    /// The first thread found.
    Anybody,
}

/// Stops `who` of a process, does `work`, lets them go, and returns how long they were stopped, too.
///
/// A thread that waits for a device stops when that has answered. Others do not wait so long for it: they go on, and are
/// stopped again a little later, until `patience` is over.
pub fn while_stopped<T: Send>(
    process: ProcessId,
    who: Who<'_>,
    patience: Duration,
    work: impl FnOnce(&Stopped) -> T + Send,
) -> Result<(T, Duration), TraceeError> {
    let begun = Instant::now();
    let until = begun + patience;
    let mut work = Some(work);
    loop {
        match try_stopped(process, who, until.min(Instant::now() + TRY), &mut work) {
            Err(TraceeError::Stuck { .. }) if Instant::now() < until => sleep(TRY_PAUSE),
            Err(TraceeError::Stuck {
                process,
                thread,
                uninterruptible,
                ..
            }) => {
                return Err(TraceeError::Stuck {
                    process,
                    thread,
                    waited: begun.elapsed(),
                    uninterruptible,
                });
            }
            outcome => return outcome,
        }
    }
}

/// Does it once, if all of them stop until then.
fn try_stopped<T: Send>(
    process: ProcessId,
    who: Who<'_>,
    until: Instant,
    work: &mut Option<impl FnOnce(&Stopped) -> T + Send>,
) -> Result<(T, Duration), TraceeError> {
    thread::scope(|scope| {
        let tracer = scope.spawn(|| {
            let mut stopped = Stopped {
                threads: Vec::new(),
            };
            // Left early, this thread ends, and the kernel lets everybody go.
            let began = stopped.stop(process, who, until)?;
            let work = work.take().ok_or(TraceeError::Gone(process))?;
            let done = work(&stopped);
            stopped.release();
            Ok((done, began.elapsed()))
        });
        match tracer.join() {
            Ok(outcome) => outcome,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Writes memory of a process where nobody runs: nobody stops for it, but one thread where the kernel lets only a tracer.
pub(crate) fn write<E: From<MemoryError> + From<TraceeError>>(
    memory: &Memory,
    address: u64,
    bytes: &[u8],
) -> Result<(), E> {
    match memory.write(address, bytes) {
        Err(MemoryError::Restricted(process)) => {
            let poke = |stopped: &Stopped| stopped.write(memory, address, bytes);
            Ok(while_stopped(process, Who::Anybody, POKE_PATIENCE, poke)?.0?)
        }
        other => Ok(other?),
    }
}

/// Waits until the last of some threads has left code into which nobody comes any more; `inside` says who of those that are
/// stopped is still there. False when somebody is after `until`; `patience` is for each stop.
pub(crate) fn wait_until_left(
    process: ProcessId,
    mut left: Vec<i32>,
    until: Instant,
    patience: Duration,
    inside: impl Fn(&Stopped) -> Vec<i32> + Sync,
) -> Result<bool, TraceeError> {
    while !left.is_empty() {
        if Instant::now() > until {
            return Ok(false);
        }
        sleep(LEAVE_PAUSE);
        left = match while_stopped(process, Who::Only(&left), patience, &inside) {
            Ok((left, _)) => left,
            // All of them have ended, or the whole process has.
            Err(TraceeError::Gone(_)) if process.is_alive() => Vec::new(),
            Err(error) => return Err(error),
        };
    }
    Ok(true)
}

impl Stopped {
    /// The thread ids.
    pub fn threads(&self) -> impl Iterator<Item = i32> + '_ {
        self.threads.iter().map(|stop| stop.thread)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.threads.len()
    }

    /// Stops them; says when the first was about to be.
    fn stop(
        &mut self,
        process: ProcessId,
        who: Who<'_>,
        until: Instant,
    ) -> Result<Instant, TraceeError> {
        let mut known: Vec<pid_t> = Vec::new();
        let mut began = None;
        let mut are_all = false;
        for _ in 0..SCANS_MAX {
            let mut fresh = match who {
                Who::Only(threads) => threads.to_vec(),
                _ => threads_of(process)?,
            };
            fresh.retain(|thread| !known.contains(thread));
            if who == Who::Anybody {
                fresh.truncate(1);
            }
            if fresh.is_empty() {
                are_all = true;
                break;
            }
            known.extend(&fresh);
            began.get_or_insert_with(Instant::now);
            let mut seized = Vec::new();
            for thread in fresh {
                if seize(process, thread)? {
                    seized.push(thread);
                }
            }
            for thread in seized {
                if let Some(signal) = wait(process, thread, until)? {
                    self.threads.push(Stop { thread, signal });
                }
            }
            if who != Who::Everybody {
                break;
            }
        }
        if who == Who::Everybody && !are_all {
            return Err(TraceeError::Runaway(process));
        }
        // Seized by pid; only now that it cannot end any more is it certain who it is. A process whose
        // first thread has ended is a zombie in the listing and still alive.
        if self.threads.is_empty() || process.stat().is_none() {
            return Err(TraceeError::Gone(process));
        }
        Ok(began.unwrap_or(until))
    }

    fn release(&mut self) {
        for stop in self.threads.drain(..) {
            let signal = usize::try_from(stop.signal).unwrap_or(0);
            // One that was killed while it was stopped needs no letting go.
            let _ = ptrace(libc::PTRACE_DETACH, stop.thread, 0, signal);
        }
    }

    /// The registers of a stopped thread; `None` when it was killed meanwhile.
    pub fn registers(&self, thread: i32) -> Option<Registers> {
        Registers::read(thread)
    }

    /// Writes memory of the target, as its tracer where the kernel wants one.
    pub fn write(&self, memory: &Memory, address: u64, bytes: &[u8]) -> Result<(), MemoryError> {
        match memory.write(address, bytes) {
            Err(MemoryError::Restricted(process)) => self.poke(process, memory, address, bytes),
            other => other,
        }
    }

    /// Writes whole words around `bytes`, as `PTRACE_POKEDATA` does.
    fn poke(
        &self,
        process: ProcessId,
        memory: &Memory,
        address: u64,
        bytes: &[u8],
    ) -> Result<(), MemoryError> {
        let Some(stop) = self.threads.first() else {
            return Err(MemoryError::Gone(process));
        };
        let first = address & !7;
        let last = (address + bytes.len() as u64).next_multiple_of(8);
        let length = usize::try_from(last - first).unwrap_or(0);
        let mut whole = memory.read(first, length)?;
        let skip = usize::try_from(address - first).unwrap_or(0);
        whole[skip..skip + bytes.len()].copy_from_slice(bytes);
        for (i, word) in whole.as_chunks().0.iter().enumerate() {
            let Ok(at) = usize::try_from(first + 8 * i as u64) else {
                continue;
            };
            ptrace(
                libc::PTRACE_POKEDATA,
                stop.thread,
                at,
                usize::from_le_bytes(*word),
            )
            .map_err(|source| MemoryError::Io {
                action: "write (as its tracer)",
                process,
                source,
            })?;
        }
        Ok(())
    }
}

/// The ids of a process's threads.
pub(crate) fn threads_of(process: ProcessId) -> Result<Vec<pid_t>, TraceeError> {
    let listing = fs::read_dir(format!("/proc/{}/task", process.pid))
        .map_err(|_| TraceeError::Gone(process))?;
    Ok(listing
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect())
}

/// Seizes and interrupts one thread; false when it has ended.
fn seize(process: ProcessId, thread: pid_t) -> Result<bool, TraceeError> {
    match ptrace(libc::PTRACE_SEIZE, thread, 0, 0) {
        Ok(()) => {}
        Err(error) => {
            return match error.raw_os_error() {
                Some(libc::ESRCH) => Ok(false),
                _ => refusal(process, thread, error).map_or(Ok(false), Err),
            };
        }
    }
    match ptrace(libc::PTRACE_INTERRUPT, thread, 0, 0) {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(false),
        Err(source) => Err(TraceeError::Refused { process, source }),
    }
}

/// Why the kernel does not let us seize a thread; `None` when it is only that it has ended.
pub(crate) fn refusal(process: ProcessId, thread: pid_t, source: io::Error) -> Option<TraceeError> {
    let pid = u32::try_from(thread).unwrap_or(0);
    // A thread that ends is refused before it is gone.
    if !Stat::read(pid).is_ok_and(|stat| !stat.state.is_dead()) {
        return None;
    }
    let status = read_proc(pid, "status").unwrap_or_default();
    let tracer = status_field(&status, "TracerPid").and_then(|value| value.parse().ok());
    Some(match tracer {
        Some(tracer) if tracer != 0 => TraceeError::Traced {
            process,
            tracer,
            name: Stat::read(tracer).map_or_else(|_| "?".into(), |stat| stat.comm),
        },
        _ => TraceeError::Refused { process, source },
    })
}

/// The process that traces `process`, if there is one, with its name.
pub fn tracer_of(process: ProcessId) -> Option<(u32, String)> {
    let status = read_proc(process.pid, "status").ok()?;
    let tracer = status_field(&status, "TracerPid")?.parse().ok()?;
    (tracer != 0).then(|| {
        let name = Stat::read(tracer).map_or_else(|_| "?".into(), |stat| stat.comm);
        (tracer, name)
    })
}

/// Waits for the stop of an interrupted thread: the signal it stopped for, 0 for none; `None` when it has
/// ended.
fn wait(process: ProcessId, thread: pid_t, until: Instant) -> Result<Option<c_int>, TraceeError> {
    let began = Instant::now();
    let mut pause = Duration::from_micros(20);
    loop {
        let mut status = 0;
        // SAFETY: `status` is a valid place for the answer; nothing else is touched.
        let waited =
            unsafe { libc::waitpid(thread, &raw mut status, libc::__WALL | libc::WNOHANG) };
        if waited == thread {
            if !libc::WIFSTOPPED(status) {
                return Ok(None);
            }
            // A stop event is ours, or a stop the whole process is in anyway; anything else is a signal
            // that was about to be delivered.
            return Ok(Some(if status >> 16 == libc::PTRACE_EVENT_STOP {
                0
            } else {
                libc::WSTOPSIG(status)
            }));
        }
        if waited < 0 {
            return Ok(None);
        }
        if began.elapsed() < SPIN {
            yield_now();
            continue;
        }
        if Instant::now() > until {
            let state = u32::try_from(thread)
                .ok()
                .and_then(|pid| Stat::read(pid).ok());
            return Err(TraceeError::Stuck {
                process,
                thread,
                waited: began.elapsed(),
                uninterruptible: state.is_some_and(|s| s.state == State::Uninterruptible),
            });
        }
        sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(1));
    }
}

pub(crate) fn ptrace(
    request: libc::c_uint,
    thread: pid_t,
    address: usize,
    data: usize,
) -> io::Result<()> {
    // SAFETY: every request made here either takes plain numbers or, for registers, the address of a
    // structure of the caller's that outlives the call.
    let answer = unsafe { libc::ptrace(request, thread, address, data) };
    if answer == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        process::Command,
        sync::atomic::{AtomicBool, Ordering},
        thread,
    };

    use crate::pidfd::ended_within;

    #[test]
    fn a_stopped_process_goes_on_afterwards() {
        let mut child = Command::new("sleep").arg("30").spawn().unwrap();
        let process = ProcessId::of(child.id()).unwrap();
        let patience = Duration::from_secs(2);
        let (state, _) = while_stopped(process, Who::Everybody, patience, |stopped| {
            assert_eq!(stopped.count(), 1);
            process.stat().unwrap().state
        })
        .unwrap();
        assert_eq!(state, State::Traced);
        assert_ne!(process.stat().unwrap().state, State::Traced);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(matches!(
            while_stopped(process, Who::Everybody, patience, |_| ()),
            Err(TraceeError::Gone(_))
        ));
    }

    #[test]
    fn who_is_traced_already_is_refused_by_name() {
        let mut child = Command::new("sleep").arg("30").spawn().unwrap();
        let process = ProcessId::of(child.id()).unwrap();
        let patience = Duration::from_secs(2);
        let (inner, _) = while_stopped(process, Who::Everybody, patience, |_| {
            while_stopped(process, Who::Everybody, patience, |_| ())
        })
        .unwrap();
        let error = inner.unwrap_err().to_string();
        assert!(error.contains("traces it already"), "{error}");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn who_waits_for_an_end_takes_no_stop_away() {
        let mut child = Command::new("sleep").arg("30").spawn().unwrap();
        let process = ProcessId::of(child.id()).unwrap();
        let patience = Duration::from_secs(2);
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let waits = scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    assert_eq!(ended_within(&mut child, Duration::ZERO).unwrap(), None);
                }
            });
            let stopped = (0..200)
                .map(|_| while_stopped(process, Who::Everybody, patience, |_| ()).map(|_| ()));
            let stopped: Result<Vec<_>, _> = stopped.collect();
            is_over.store(true, Ordering::Relaxed);
            waits.join().unwrap();
            stopped.unwrap();
        });
        child.kill().unwrap();
        let status = ended_within(&mut child, Duration::from_secs(10)).unwrap();
        assert!(status.is_some_and(|status| !status.success()));
        // Asked again, it says the same.
        assert_eq!(ended_within(&mut child, Duration::ZERO).unwrap(), status);
    }
}
