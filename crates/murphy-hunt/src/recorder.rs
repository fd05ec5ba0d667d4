//! The recorder writes what clients ask and are answered into the history, from many tasks at once.
//!
//! A time is taken before a request leaves and after its answer is there, so that an interval in the
//! history always covers the real one: the only direction of error that cannot make a correct system
//! look broken.

use std::{
    fs::File,
    io::{self, BufWriter},
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use murphy_check::history::{Event, Header, Kind, Writer};
use murphy_run::{
    clock::Clock,
    series::{Outcome, Series},
};
use serde::Serialize;

/// How an invocation ended.
#[derive(Debug)]
pub enum Ended<'a, V> {
    /// With an answer.
    Ok(&'a V),
    /// Certainly without effect.
    Fail(&'a str),
    /// Nobody knows how.
    Unknown(&'a str),
}

impl<V> Ended<'_, V> {
    /// The same as the timeline counts it.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Ok(_) => Outcome::Ok,
            Self::Fail(_) => Outcome::Failed,
            Self::Unknown(_) => Outcome::Unknown,
        }
    }
}

/// Counts that a live screen shows.
#[derive(Debug, Default)]
pub struct Counters {
    /// Client invocations that ended.
    pub operations: AtomicU64,
    /// Those that nobody knows the end of.
    pub unknown: AtomicU64,
}

/// Writes one history file.
#[derive(Debug)]
pub struct Recorder {
    clock: Clock,
    path: PathBuf,
    inner: Mutex<Inner>,
    series: Series,
    /// What has been counted so far.
    pub counters: Counters,
}

#[derive(Debug)]
struct Inner {
    writer: Writer<BufWriter<File>>,
    /// The first write that failed; nothing is written after it, so the file stays a valid prefix.
    failure: Option<io::Error>,
}

impl Recorder {
    /// Begins the history at `path`, which must not exist.
    pub fn create(path: &Path, header: &Header, clock: Clock) -> io::Result<Self> {
        let file = File::options().write(true).create_new(true).open(path)?;
        let writer = Writer::new(BufWriter::with_capacity(1 << 20, file), header)?;
        Ok(Self {
            clock,
            path: path.into(),
            inner: Mutex::new(Inner {
                writer,
                failure: None,
            }),
            series: Series::new(),
            counters: Counters::default(),
        })
    }

    /// Where the history is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Nanoseconds since the start of the run.
    pub fn now_ns(&self) -> u64 {
        self.clock.now_ns()
    }

    /// Names a value for later lines.
    pub fn define<V: Serialize>(&self, name: &str, value: V) {
        self.with(|inner| inner.writer.define(name, value));
    }

    /// Writes that `process` asks `node` for `value`; returns the time.
    pub fn invoke<V: Serialize>(&self, process: &str, node: &str, f: &str, value: &V) -> u64 {
        let time = self.now_ns();
        self.line(
            Kind::Invoke,
            process,
            f,
            Some(value),
            time,
            Some(node),
            None,
        );
        time
    }

    /// Writes how an invocation ended; returns the time.
    pub fn end<V: Serialize>(
        &self,
        process: &str,
        node: &str,
        f: &str,
        ended: &Ended<'_, V>,
    ) -> u64 {
        let time = self.now_ns();
        let node = Some(node);
        match *ended {
            Ended::Ok(value) => self.line(Kind::Ok, process, f, Some(value), time, node, None),
            Ended::Fail(error) => {
                self.line(Kind::Fail, process, f, None::<&()>, time, node, Some(error));
            }
            Ended::Unknown(error) => {
                self.line(Kind::Info, process, f, None::<&()>, time, node, Some(error));
            }
        }
        time
    }

    /// Counts an invocation of the workload; what the judge itself asks is not counted.
    pub fn count(&self, start_ns: u64, end_ns: u64, outcome: Outcome) {
        self.counters.operations.fetch_add(1, Ordering::Relaxed);
        if outcome == Outcome::Unknown {
            self.counters.unknown.fetch_add(1, Ordering::Relaxed);
        }
        self.series.add(start_ns, end_ns, outcome);
    }

    /// Writes a line that is no invocation of its own: a message of a watch, a step of the nemesis.
    pub fn note<V: Serialize>(&self, kind: Kind, process: &str, node: &str, f: &str, value: &V) {
        self.line(
            kind,
            process,
            f,
            Some(value),
            self.now_ns(),
            Some(node),
            None,
        );
    }

    /// Writes that something ended with an error.
    pub fn note_error(&self, kind: Kind, process: &str, node: &str, f: &str, error: &str) {
        self.line(
            kind,
            process,
            f,
            None::<&()>,
            self.now_ns(),
            Some(node),
            Some(error),
        );
    }

    /// Throughput and latency of the clients.
    pub fn series(&self) -> &Series {
        &self.series
    }

    /// Hands everything written so far to the file. The first failed write is reported here, once.
    pub fn flush(&self) -> io::Result<()> {
        let mut inner = self.lock();
        match inner.failure.take() {
            Some(error) => Err(error),
            None => inner.writer.flush(),
        }
    }

    /// Lets readers see what was written so far; a failure is kept for [`Self::flush`].
    pub fn show(&self) {
        self.with(|inner| inner.writer.flush());
    }

    /// True once a write has failed: the load stops, and [`Self::flush`] says why.
    pub fn is_broken(&self) -> bool {
        self.lock().failure.is_some()
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the columns of one line, in their order"
    )]
    fn line<V: Serialize>(
        &self,
        r#type: Kind,
        process: &str,
        f: &str,
        value: Option<&V>,
        time: u64,
        node: Option<&str>,
        error: Option<&str>,
    ) {
        let event = Event {
            r#type,
            process,
            f,
            value,
            time,
            node,
            error,
        };
        self.with(|inner| inner.writer.write(&event).map(drop));
    }

    fn with(&self, write: impl FnOnce(&mut Inner) -> io::Result<()>) {
        let mut inner = self.lock();
        if inner.failure.is_none()
            && let Err(error) = write(&mut inner)
        {
            inner.failure = Some(error);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        // A panic while holding the lock leaves at worst a half-written line, which readers report.
        self.inner
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
