//! A wait ends when a tap has a frame, when the bell rings, or when its moment on the monotonic clock has come.
//!
//! It is what a thread does that passes frames on in time: the kernel wakes it within microseconds of the moment asked
//! for, and before others where it is made urgent. An urgent thread that never sleeps would starve a processor, and
//! then be frozen by the kernel for 50 ms in each second; so one that uses too much of its processor is made like any
//! other for a while. This is looked at in each wait: a loop is guarded as long as it waits, if only for no time.
//!
//! See `ppoll(2)`, `eventfd(2)`, `sched(7)`, `PR_SET_TIMERSLACK(2const)`.

use std::{
    io,
    marker::PhantomData,
    num::NonZeroU64,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
};

use nix::libc;
use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, eventfd, poll},
    io::Errno,
    time::Timespec,
};

use crate::clock::{monotonic_ns, thread_cpu_ns};

const SECOND_NS: u64 = 1_000_000_000;
/// The priority of an urgent thread: above everything that is not of real time, below what others give theirs.
const PRIORITY: libc::c_int = 10;
/// How long a thread is watched before it is judged.
const WINDOW_NS: u64 = 100_000_000;
/// An urgent thread that uses more of its processor than one in this many parts is made like any other.
const BUSY: u64 = 2;
/// It is made urgent again when it uses less than one in this many parts.
const CALM: u64 = 4;
/// And no sooner than this.
const PENANCE_NS: u64 = SECOND_NS;

/// Why a thread cannot wait, or cannot be made urgent.
#[derive(Debug, thiserror::Error)]
pub enum WaitError {
    /// No bell.
    #[error("create an eventfd: {0}")]
    Bell(#[source] io::Error),
    /// Its sleep may not be exact.
    #[error("set the timer slack of a thread: {0}")]
    Slack(#[source] io::Error),
    /// It may not be urgent.
    #[error(
        "give a thread the policy {policy}: {source} (needs CAP_SYS_NICE, and time for it in the cgroup: cpu.rt_runtime_us)"
    )]
    Policy {
        /// `SCHED_FIFO` or `SCHED_OTHER`.
        policy: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The kernel would not let it sleep.
    #[error("wait for frames: {0}")]
    Wait(#[source] io::Error),
    /// There will be no frames any more.
    #[error(
        "wait for frames: the tap in place {place} is gone: it was deleted, or its namespace was"
    )]
    Gone {
        /// Which of those waited for.
        place: usize,
    },
}

/// Wakes a waiting thread from another one.
#[derive(Clone, Debug)]
pub struct Bell(Arc<OwnedFd>);

/// The sleep of one thread, which is the only one that may use it.
#[derive(Debug)]
pub struct Wait<'a> {
    bell: &'a Bell,
    /// Those waited for, and the bell last.
    polled: Vec<PollFd<'a>>,
    has_rung: bool,
    urgency: Option<Urgency>,
    /// Slack and policy are the calling thread's: this may not be sent to another.
    thread: PhantomData<*const ()>,
}

impl Bell {
    /// A bell that has not been rung.
    pub fn new() -> Result<Self, WaitError> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let fd = eventfd(0, flags).map_err(|errno| WaitError::Bell(errno.into()))?;
        Ok(Self(Arc::new(fd)))
    }

    /// Ends the wait under way, or the next one.
    pub fn ring(&self) {
        // It can only fail when it has been rung 2⁶⁴ − 2 times unheard, and then it rings.
        let _ = rustix::io::write(&*self.0, &1_u64.to_ne_bytes());
    }

    /// Whether it has been rung since this was asked last.
    fn heard(&self) -> bool {
        rustix::io::read(&*self.0, &mut [0; 8]).is_ok()
    }
}

impl<'a> Wait<'a> {
    /// The calling thread's wait for frames of `sources`; from here on its timers are exact to the nanosecond.
    pub fn new(
        bell: &'a Bell,
        sources: impl IntoIterator<Item = BorrowedFd<'a>>,
    ) -> Result<Self, WaitError> {
        rustix::thread::set_current_timer_slack(Some(NonZeroU64::MIN))
            .map_err(|errno| WaitError::Slack(errno.into()))?;
        let polled = sources.into_iter().chain([bell.0.as_fd()]);
        Ok(Self {
            bell,
            polled: polled
                .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
                .collect(),
            has_rung: false,
            urgency: None,
            thread: PhantomData,
        })
    }

    /// Has the thread run before all others that are not of real time (`SCHED_FIFO`), for as long as it is modest.
    pub fn hurry(&mut self) -> Result<(), WaitError> {
        set_policy(Policy::Fifo)?;
        let (now_ns, cpu_ns) = (monotonic_ns(), thread_cpu_ns());
        self.urgency = Some(Urgency::new(now_ns, cpu_ns));
        Ok(())
    }

    /// Whether the thread runs before others now.
    pub fn is_urgent(&self) -> bool {
        self.urgency
            .as_ref()
            .is_some_and(|urgency| urgency.policy == Policy::Fifo)
    }

    /// Sleeps until a frame can be read, the bell rings, or the monotonic clock shows `deadline_ns`; without one, for
    /// as long as it takes. A signal may end it before.
    pub fn until(&mut self, deadline_ns: Option<u64>) -> Result<(), WaitError> {
        let now_ns = monotonic_ns();
        self.judge(now_ns)?;
        let timeout = deadline_ns.map(|deadline_ns| {
            let left_ns = deadline_ns.saturating_sub(now_ns);
            Timespec {
                tv_sec: i64::try_from(left_ns / SECOND_NS).unwrap_or(i64::MAX),
                tv_nsec: (left_ns % SECOND_NS).cast_signed(),
            }
        });
        match poll(&mut self.polled, timeout.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => {
                for polled in &mut self.polled {
                    polled.clear_revents();
                }
            }
            Err(errno) => return Err(WaitError::Wait(errno.into())),
        }
        // One that is gone would end every wait at once, and the loop would spin.
        let gone = PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL;
        let is_gone = |polled: &PollFd<'_>| polled.revents().intersects(gone);
        if let Some(place) = self.polled.iter().position(is_gone) {
            return Err(WaitError::Gone { place });
        }
        self.has_rung = self.has_frames(self.polled.len() - 1) && self.bell.heard();
        Ok(())
    }

    /// Whether the source in that place had a frame when the last wait ended.
    pub fn has_frames(&self, place: usize) -> bool {
        self.polled
            .get(place)
            .is_some_and(|polled| polled.revents().contains(PollFlags::IN))
    }

    /// Whether the bell ended the last wait.
    pub fn has_rung(&self) -> bool {
        self.has_rung
    }

    fn judge(&mut self, now_ns: u64) -> Result<(), WaitError> {
        let Some(urgency) = &mut self.urgency else {
            return Ok(());
        };
        if now_ns.saturating_sub(urgency.window_ns) < WINDOW_NS {
            return Ok(()); // the CPU time costs a system call, so it is read as rarely as it is needed
        }
        match urgency.judge(now_ns, thread_cpu_ns()) {
            None => Ok(()),
            Some(Policy::Other) => set_policy(Policy::Other),
            Some(Policy::Fifo) => {
                // What was allowed once may be forbidden by now; then the thread stays as it is.
                if set_policy(Policy::Fifo).is_err() {
                    self.urgency = None;
                }
                Ok(())
            }
        }
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        // The thread ends with its wait, or has its own plans: a policy that cannot be taken back goes with it.
        if self.is_urgent() {
            let _ = set_policy(Policy::Other);
        }
        let _ = rustix::thread::set_current_timer_slack(None);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Policy {
    Fifo,
    Other,
}

/// How modest an urgent thread is, in windows of time.
#[derive(Debug)]
struct Urgency {
    policy: Policy,
    /// When it got it.
    since_ns: u64,
    /// When the window began, and what CPU time the thread had used by then.
    window_ns: u64,
    cpu_ns: u64,
}

impl Urgency {
    fn new(now_ns: u64, cpu_ns: u64) -> Self {
        Self {
            policy: Policy::Fifo,
            since_ns: now_ns,
            window_ns: now_ns,
            cpu_ns,
        }
    }

    /// Ends a window, and says the thread's policy from now on where it is another one.
    fn judge(&mut self, now_ns: u64, cpu_ns: u64) -> Option<Policy> {
        let elapsed_ns = now_ns.saturating_sub(self.window_ns);
        let used_ns = cpu_ns.saturating_sub(self.cpu_ns);
        (self.window_ns, self.cpu_ns) = (now_ns, cpu_ns);
        let policy = match self.policy {
            Policy::Fifo if used_ns > elapsed_ns / BUSY => Policy::Other,
            Policy::Other
                if used_ns < elapsed_ns / CALM
                    && now_ns.saturating_sub(self.since_ns) >= PENANCE_NS =>
            {
                Policy::Fifo
            }
            _ => return None,
        };
        (self.policy, self.since_ns) = (policy, now_ns);
        Some(policy)
    }
}

/// Sets the policy of the calling thread; threads and processes that it starts do not inherit it.
fn set_policy(policy: Policy) -> Result<(), WaitError> {
    let (name, number, priority) = match policy {
        Policy::Fifo => (
            "SCHED_FIFO",
            libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK,
            PRIORITY,
        ),
        // Without it the kernel asks for a privilege to give the flag up.
        Policy::Other => (
            "SCHED_OTHER",
            libc::SCHED_OTHER | libc::SCHED_RESET_ON_FORK,
            0,
        ),
    };
    let parameters = libc::sched_param {
        sched_priority: priority,
    };
    // SAFETY: the kernel reads the parameters and keeps no pointer to them; 0 is the calling thread.
    let answer = unsafe { libc::sched_setscheduler(0, number, &raw const parameters) };
    nix::Error::result(answer)
        .map(drop)
        .map_err(|errno| WaitError::Policy {
            policy: name,
            source: errno.into(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_wait_ends_at_its_moment_and_at_the_bell() {
        let bell = Bell::new().unwrap();
        let mut wait = Wait::new(&bell, []).unwrap();
        let deadline_ns = monotonic_ns() + 3_000_000;
        while monotonic_ns() < deadline_ns {
            wait.until(Some(deadline_ns)).unwrap();
            assert!(!wait.has_rung());
        }
        wait.until(Some(0)).unwrap(); // a moment that is past is no wait
        let far = bell.clone();
        let ringer = std::thread::spawn(move || far.ring());
        while !wait.has_rung() {
            wait.until(None).unwrap();
        }
        ringer.join().unwrap();
        wait.until(Some(monotonic_ns())).unwrap();
        assert!(!wait.has_rung(), "it was heard once");
    }

    #[test]
    fn a_source_is_told_from_another_and_from_one_that_is_gone() {
        let bell = Bell::new().unwrap();
        let (silent, _silent_end) = rustix::pipe::pipe().unwrap();
        let (read, write) = rustix::pipe::pipe().unwrap();
        let mut wait = Wait::new(&bell, [silent.as_fd(), read.as_fd()]).unwrap();
        rustix::io::write(&write, b"frame").unwrap();
        wait.until(None).unwrap();
        assert!(!wait.has_frames(0) && wait.has_frames(1) && !wait.has_rung());
        drop(write);
        let error = wait.until(None).unwrap_err();
        assert!(matches!(error, WaitError::Gone { place: 1 }), "{error}");
    }

    #[test]
    fn who_uses_too_much_is_like_any_other_until_it_was_calm_for_long_enough() {
        let (ms, mut urgency) = (1_000_000, Urgency::new(0, 0));
        assert_eq!(urgency.judge(100 * ms, 50 * ms), None);
        assert_eq!(urgency.judge(200 * ms, 101 * ms), Some(Policy::Other));
        assert_eq!(urgency.judge(700 * ms, 101 * ms), None, "too soon");
        assert_eq!(urgency.judge(1300 * ms, 251 * ms), None, "not calm");
        assert_eq!(urgency.judge(1400 * ms, 275 * ms), Some(Policy::Fifo));
        // A long sleep is no excuse for what comes after it.
        assert_eq!(urgency.judge(9000 * ms, 275 * ms), None);
        assert_eq!(urgency.judge(9100 * ms, 375 * ms), Some(Policy::Other));
    }

    #[test]
    fn an_urgent_thread_that_spins_does_not_stay_urgent() {
        let bell = Bell::new().unwrap();
        let mut wait = Wait::new(&bell, []).unwrap();
        if let Err(error) = wait.hurry() {
            // Past the capture of the test runner, so that it is counted.
            let _ = writeln!(io::stderr(), "skipped: {error}");
            return;
        }
        // SAFETY: 0 is the calling thread, and nothing is written.
        let policy = || unsafe { libc::sched_getscheduler(0) } & !libc::SCHED_RESET_ON_FORK;
        assert_eq!(policy(), libc::SCHED_FIFO);
        // It may get less than a whole processor, but not for many windows in a row.
        let until_ns = monotonic_ns() + 50 * WINDOW_NS;
        while wait.is_urgent() && monotonic_ns() < until_ns {
            wait.until(Some(0)).unwrap();
        }
        assert!(!wait.is_urgent());
        assert_eq!(policy(), libc::SCHED_OTHER);
        wait.hurry().unwrap();
        drop(wait);
        assert_eq!(policy(), libc::SCHED_OTHER);
    }
}
