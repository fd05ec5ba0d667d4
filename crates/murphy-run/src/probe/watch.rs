//! A watch has a set of probes look at a steady pace until it is stopped, and hands out every look.
//!
//! Each probe has a thread of its own, so that one that waits delays no other. Looks are due on a grid that begins with
//! the watch. Those that fall due while an earlier one takes its time are not made up for, because they would come in a
//! bunch when the system is at its worst; they are counted. A watch that is dropped stops, too, but is not waited for.

use std::{
    convert::Infallible,
    fmt, io,
    sync::{
        Arc,
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{
    command::KILL_LIMIT,
    grammar::Probe,
    look::Look,
    prober::{LIMIT_MAX, Prober, ProberError},
};

/// The most probes of one watch.
pub const PROBES_MAX: usize = 64;
const EVERY_MIN: Duration = Duration::from_millis(10);
const EVERY_MAX: Duration = Duration::from_hours(1);
const LIMIT_MIN: Duration = Duration::from_millis(1);
/// How much longer than a look may take a watch waits for its last looks: a program is killed within this, and whoever
/// hears of looks gets some time, too.
const STOP_SLACK: Duration = KILL_LIMIT.saturating_add(Duration::from_secs(2));

/// How often is looked, and how long a look may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    every: Duration,
    limit: Duration,
}

/// A pace that nobody can keep, or that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPace {
    /// The time from look to look.
    #[error("look every {0:?}: from {EVERY_MIN:?} to {EVERY_MAX:?}")]
    Every(Duration),
    /// The time of a look.
    #[error("look for at most {0:?}: from {LIMIT_MIN:?} to {LIMIT_MAX:?}")]
    Limit(Duration),
}

impl Pace {
    /// A look each `every`, which takes at most `limit`.
    pub fn new(every: Duration, limit: Duration) -> Result<Self, BadPace> {
        if !(EVERY_MIN..=EVERY_MAX).contains(&every) {
            return Err(BadPace::Every(every));
        }
        if !(LIMIT_MIN..=LIMIT_MAX).contains(&limit) {
            return Err(BadPace::Limit(limit));
        }
        Ok(Self { every, limit })
    }

    /// From look to look.
    pub fn every(self) -> Duration {
        self.every
    }

    /// The most that a look may take.
    pub fn limit(self) -> Duration {
        self.limit
    }

    /// Which look is next after the one of number `made`, when so much time has gone by since the first was due.
    fn next(self, made: u64, gone: Duration) -> u64 {
        let due = gone.as_nanos().div_ceil(self.every.as_nanos());
        u64::try_from(due).unwrap_or(u64::MAX).max(made + 1)
    }

    /// When a look is due, from when the first one was.
    fn due(self, look: u64) -> Duration {
        let every_ns = u64::try_from(self.every.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(every_ns.saturating_mul(look))
    }
}

impl Default for Pace {
    /// A look a second, which takes at most two.
    fn default() -> Self {
        Self {
            every: Duration::from_secs(1),
            limit: Duration::from_secs(2),
        }
    }
}

/// A look of a watch.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// Whose: its place among the probes of the watch.
    pub probe: usize,
    /// What it saw.
    pub look: Look,
    /// How many of its looks were due between its last one and this, and were not made.
    pub skipped: u64,
}

/// What one probe of a watch has done in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watched {
    /// Looks that were made.
    pub made: u64,
    /// Looks that were due and were not made.
    pub skipped: u64,
}

/// Why there is no watch, or no good end of one.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// There is nothing to do.
    #[error("watch: no probe; name one, such as http://127.0.0.1:8080/health")]
    Empty,
    /// There is too much to do.
    #[error("watch {0} probes: at most {PROBES_MAX}")]
    Many(usize),
    /// A probe cannot be set to work.
    #[error(transparent)]
    Prober(#[from] ProberError),
    /// The machine has no thread for a probe.
    #[error("watch {probe}: no thread: {source}")]
    Thread {
        /// Its name.
        probe: String,
        /// What the kernel says.
        source: io::Error,
    },
    /// Looks do not end, although their time is over.
    #[error(
        "end the looks of {0}: they wait for a file or a program that does not answer, and are left behind"
    )]
    Stuck(String),
    /// A bug.
    #[error("watch {0}: a bug: looking has panicked")]
    Panicked(String),
}

/// Probes that look until they are stopped.
pub struct Watch {
    threads: Vec<Thread>,
    pace: Pace,
    /// Its other end goes with the last thread.
    ended: Receiver<Infallible>,
}

struct Thread {
    probe: String,
    /// Looks stop when this is dropped.
    stop: Sender<Infallible>,
    handle: JoinHandle<Watched>,
}

impl Watch {
    /// Has every probe look at this pace from now on. `heard` is called on the thread of the probe; while it does not
    /// return, that probe does not look.
    pub fn start<F>(probes: &[Probe], pace: Pace, heard: F) -> Result<Self, WatchError>
    where
        F: Fn(Seen) + Send + Sync + 'static,
    {
        match probes.len() {
            0 => return Err(WatchError::Empty),
            many if many > PROBES_MAX => return Err(WatchError::Many(many)),
            _ => {}
        }
        // All or none of them.
        let ready: Result<Vec<_>, _> = probes
            .iter()
            .map(|probe| Prober::new(probe, pace.limit))
            .collect();
        let heard = Arc::new(heard);
        let (alive, ended) = mpsc::channel();
        let mut threads = Vec::new();
        for (index, (prober, probe)) in ready?.into_iter().zip(probes).enumerate() {
            let (stop, stopped) = mpsc::channel();
            let (heard, alive) = (Arc::clone(&heard), alive.clone());
            let looks = Looks {
                probe: index,
                prober,
                pace,
                stopped,
            };
            let handle = thread::Builder::new()
                .name("probe".into())
                .spawn(move || {
                    let watched = looks.make(&*heard);
                    drop(alive);
                    watched
                })
                .map_err(|source| WatchError::Thread {
                    probe: probe.name(),
                    source,
                })?;
            threads.push(Thread {
                probe: probe.name(),
                stop,
                handle,
            });
        }
        Ok(Self {
            threads,
            pace,
            ended,
        })
    }

    /// Makes no more looks, waits for those that are under way, and says how many each probe has made, in their order.
    ///
    /// It takes no longer than a look may, and a few seconds for what has to be killed.
    pub fn stop(self) -> Result<Vec<Watched>, WatchError> {
        let (names, handles): (Vec<_>, Vec<_>) = self
            .threads
            .into_iter()
            .map(|thread| {
                drop(thread.stop);
                (thread.probe, thread.handle)
            })
            .unzip();
        let limit = self.pace.limit + STOP_SLACK;
        if self.ended.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
            let stuck = names.into_iter().zip(&handles);
            let stuck = stuck.filter(|(_, handle)| !handle.is_finished());
            let stuck: Vec<_> = stuck.map(|(name, _)| name).collect();
            return Err(WatchError::Stuck(stuck.join(", ")));
        }
        let ends = names.into_iter().zip(handles);
        ends.map(|(name, handle)| handle.join().map_err(|_| WatchError::Panicked(name)))
            .collect()
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let probes = self.threads.iter().map(|thread| &thread.probe);
        f.debug_list().entries(probes).finish()
    }
}

/// The looks of one probe.
struct Looks {
    probe: usize,
    prober: Prober,
    pace: Pace,
    stopped: Receiver<Infallible>,
}

impl Looks {
    fn make(mut self, heard: &dyn Fn(Seen)) -> Watched {
        let first = Instant::now();
        let mut watched = Watched::default();
        let mut number = 0;
        let mut skipped = 0;
        loop {
            let wait = self.pace.due(number).saturating_sub(first.elapsed());
            match self.stopped.recv_timeout(wait) {
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return watched,
                Ok(never) => match never {},
            }
            let look = self.prober.look();
            watched.made += 1;
            heard(Seen {
                probe: self.probe,
                look,
                skipped,
            });
            let next = self.pace.next(number, first.elapsed());
            skipped = next - number - 1;
            watched.skipped += skipped;
            number = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn what_fell_due_meanwhile_is_skipped() {
        let pace = Pace::new(ms(100), ms(1000)).unwrap();
        for (made, gone_ms, next) in [
            (0, 0, 1),
            (0, 99, 1),
            (0, 100, 1),
            (0, 101, 2),
            (0, 450, 5),
            (5, 510, 6),
            // A clock that stands still does not make looks come at once.
            (5, 0, 6),
        ] {
            assert_eq!(pace.next(made, ms(gone_ms)), next, "{made} {gone_ms}");
        }
        assert_eq!(pace.due(7), ms(700));
    }

    #[test]
    fn a_pace_has_bounds() {
        assert_eq!(Pace::new(ms(0), ms(1)), Err(BadPace::Every(ms(0))));
        assert_eq!(Pace::new(ms(10), ms(0)), Err(BadPace::Limit(ms(0))));
        assert_eq!(
            Pace::new(ms(10), ms(60_001)).unwrap_err().to_string(),
            "look for at most 60.001s: from 1ms to 60s"
        );
    }

    #[test]
    fn a_watch_needs_probes_and_not_too_many() {
        let start = |probes: &[Probe]| Watch::start(probes, Pace::default(), |_| {});
        assert!(matches!(start(&[]), Err(WatchError::Empty)));
        let probe: Probe = "command:true".parse().unwrap();
        let many = vec![probe; PROBES_MAX + 1];
        assert!(matches!(start(&many), Err(WatchError::Many(_))));
    }
}
