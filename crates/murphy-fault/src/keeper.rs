//! The keeper is a tiny process that runs the way back when its Murphy is gone.
//!
//! It is the Murphy binary again, in a session of its own, deaf to the terminal, holding the reading end
//! of a pipe whose other end only its owner has. When the pipe closes, however the owner died, it runs the
//! undos of every injection of that owner. While the owner lives but hangs, it ends injections that are
//! past their time, and at once those that hold packets up while nobody serves them: an owner with such a one says
//! through the pipe that it is at work. It is ready before the first change is made.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read, Write},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use murphy_sys::{
    clock::boottime_ns,
    process::{BootId, ProcessId, State},
    session::{self, Said},
    signal::ignore_terminal,
};

use crate::{
    journal::{Journal, JournalError, Record, VARIABLE},
    undo::{self, TAG_VARIABLE, Undo},
};

/// The hidden verb that makes the binary a keeper.
pub const VERB: &str = "__keeper";
/// How often the keeper looks at deadlines.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// A fault may be this late before the keeper takes its owner for hung.
const GRACE_NS: u64 = 1_000_000_000;
/// At how many looks in a row somebody may be stopped whom Murphy stops for a moment: a second.
const HELD_LOOKS: u32 = 4;
/// How often the keeper looks while its owner is to say that it is at work.
const LOOK_OFTEN: Duration = Duration::from_millis(100);
/// An owner that is stopped, and has not said anything for so long, serves nobody.
const STOPPED_AFTER: Duration = Duration::from_millis(500);
/// Any other one may be busy, or kept waiting by others, for so long.
const SILENT_AFTER: Duration = Duration::from_secs(3);
/// How often, and how far apart, the keeper tries an undo that fails.
const TRIES: u32 = 20;
const RETRY_AFTER: Duration = Duration::from_millis(250);

/// Why there is no keeper.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// It did not start.
    #[error("start the keeper {}: {source}", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It started and did not say that it is ready.
    #[error("start the keeper {}: it ended before it was ready", .0.display())]
    NotReady(PathBuf),
    /// It was called with something else than an owner.
    #[error("keep: expected the pid and the start time of the owner")]
    Arguments,
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The session could not be left, or a signal not be ignored.
    #[error("leave the terminal: {0}")]
    Session(#[source] io::Error),
}

/// A keeper at work for this process.
#[derive(Debug)]
pub struct Keeper {
    child: Child,
    process: ProcessId,
    /// Its closing is the sign.
    pipe: Arc<OwnedFd>,
}

/// Says to the keeper that its owner is at work.
#[derive(Clone, Debug)]
pub struct Pulse(Arc<Mutex<Arc<OwnedFd>>>);

impl Pulse {
    /// To that keeper.
    pub fn to(keeper: &Keeper) -> Self {
        Self(Arc::new(Mutex::new(Arc::clone(&keeper.pipe))))
    }

    /// To that one from now on.
    pub fn turn_to(&self, keeper: &Keeper) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&keeper.pipe);
    }

    /// It is at work now.
    pub fn beat(&self) {
        let pipe = Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner));
        // Without a keeper, or with one that has not read for long, there is nobody to tell.
        let _ = session::write_byte(&*pipe);
    }
}

impl Keeper {
    /// Starts `program`, a Murphy binary, as the keeper of this process and waits until it is ready.
    pub fn start(program: &Path, journal: &Journal) -> Result<Self, KeeperError> {
        let refused = |source| KeeperError::Start {
            program: program.into(),
            source,
        };
        let (theirs, ours) = session::pipe().map_err(refused)?;
        session::never_wait(&ours).map_err(refused)?;
        let me = ProcessId::current();
        let mut child = Command::new(program)
            .arg(VERB)
            .arg(me.pid.to_string())
            .arg(me.start_ticks.to_string())
            .env(VARIABLE, journal.directory())
            // The tag of somebody else's injection must not end this keeper with it.
            .env_remove(TAG_VARIABLE)
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(refused)?;
        let mut ready = [0];
        let said = child
            .stdout
            .take()
            .map(|mut out| out.read_exact(&mut ready));
        if !matches!(said, Some(Ok(()))) {
            // It is ours and of no use; both may find it gone already.
            let _ = child.kill();
            let _ = child.wait();
            return Err(KeeperError::NotReady(program.into()));
        }
        let process =
            ProcessId::of(child.id()).map_err(|_| KeeperError::NotReady(program.into()))?;
        Ok(Self {
            child,
            process,
            pipe: Arc::new(ours),
        })
    }

    /// Who it is.
    pub fn process(&self) -> ProcessId {
        self.process
    }

    /// Whether it still is at work.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

/// Keeps, as the process started by [`Keeper::start`] does. `words` are the arguments after the verb.
pub fn run(words: &[String]) -> Result<(), KeeperError> {
    let [pid, start] = words else {
        return Err(KeeperError::Arguments);
    };
    let (Ok(pid), Ok(start_ticks)) = (pid.parse(), start.parse()) else {
        return Err(KeeperError::Arguments);
    };
    let owner = ProcessId {
        pid,
        start_ticks,
        boot: BootId::current(),
    };
    let journal = Journal::of_user()?;
    session::leave_terminal().map_err(KeeperError::Session)?;
    ignore_terminal().map_err(KeeperError::Session)?;
    let mut ready = File::options()
        .write(true)
        .open("/proc/self/fd/1")
        .map_err(KeeperError::Session)?;
    ready.write_all(b"1").map_err(KeeperError::Session)?;
    drop(ready);
    session::silence().map_err(KeeperError::Session)?;
    let mut held = BTreeMap::new();
    let mut silence = Silence::new();
    let mut look_at = Instant::now();
    loop {
        let left = look_at.saturating_duration_since(Instant::now());
        match session::hear_stdin(left).map_err(KeeperError::Session)? {
            Said::Closed => break,
            Said::Something => silence.broken(),
            Said::Nothing => {}
        }
        if Instant::now() < look_at {
            continue;
        }
        let records = records_of(&journal, owner);
        end_overdue(&journal, &records);
        let_go(&records, &mut held);
        let is_watched = silence.end(&journal, &records, owner);
        look_at = Instant::now() + if is_watched { LOOK_OFTEN } else { LOOK_EVERY };
    }
    for _ in 0..TRIES {
        if end_all(&journal, owner) {
            return Ok(());
        }
        std::thread::sleep(RETRY_AFTER);
    }
    // What is left stays in the journal, where every later Murphy sees it.
    Ok(())
}

/// The owner's injections; none where the journal cannot be read: the next look comes soon.
fn records_of(journal: &Journal, owner: ProcessId) -> Vec<Record> {
    let (mut records, _) = journal.list().unwrap_or_default();
    records.retain(|record| record.header.owner == owner);
    records
}

/// Ends the owner's injections that should have been over. What fails is tried again at the next look.
fn end_overdue(journal: &Journal, records: &[Record]) {
    let now = boottime_ns();
    for record in records {
        let deadline = record.header.deadline_boottime_ns();
        if deadline.is_some_and(|deadline| now > deadline.saturating_add(GRACE_NS)) {
            let _ = journal.undo(&record.header.id);
        }
    }
}

/// For how long an owner has not said that it is at work that is to say so.
struct Silence {
    since: Instant,
    /// Whether there was anything at the last look that it is to serve.
    is_watched: bool,
}

impl Silence {
    fn new() -> Self {
        Self {
            since: Instant::now(),
            is_watched: false,
        }
    }

    fn broken(&mut self) {
        self.since = Instant::now();
    }

    /// Ends what the owner is to serve and does not; says whether there is anything of the kind. What fails is tried
    /// again at the next look.
    fn end(&mut self, journal: &Journal, records: &[Record], owner: ProcessId) -> bool {
        let served: Vec<_> = records.iter().filter(|record| is_served(record)).collect();
        let was_watched = std::mem::replace(&mut self.is_watched, !served.is_empty());
        if !was_watched {
            // Nobody was to say anything before.
            self.broken();
        }
        let silent = self.since.elapsed();
        let is_stopped = || {
            let stat = owner.stat();
            stat.is_some_and(|stat| matches!(stat.state, State::Stopped | State::Traced))
        };
        if silent >= SILENT_AFTER || (silent >= STOPPED_AFTER && is_stopped()) {
            for record in served {
                let _ = journal.undo(&record.header.id);
            }
        }
        self.is_watched
    }
}

/// Whether its packets wait for the owner, wherever that is.
fn is_served(record: &Record) -> bool {
    let is_queue = |undo: &Undo| matches!(undo, Undo::DeleteTable { .. });
    record.undos.iter().any(is_queue)
}

/// Lets go on whom the owner has stopped for a moment and does not let go on, because it hangs. `held` says at how many
/// looks in a row each was seen.
fn let_go(records: &[Record], held: &mut BTreeMap<ProcessId, u32>) {
    let stops = |record: &Record| record.undos.contains(&Undo::ResumeHeld);
    if !records.iter().any(stops) {
        held.clear();
        return;
    }
    // Without a listing of processes there is nobody to let go on; the next look comes soon.
    let now = undo::held().unwrap_or_default();
    held.retain(|process, _| now.contains(process));
    for process in now {
        let looks = held.entry(process).or_insert(0);
        *looks += 1;
        if *looks > HELD_LOOKS {
            // It is tried again at the next look.
            let _ = undo::resume(process);
        }
    }
}

/// Ends everything of the owner; true when nothing is left.
fn end_all(journal: &Journal, owner: ProcessId) -> bool {
    let Ok((records, _)) = journal.list() else {
        return false;
    };
    let mut clean = true;
    for record in records.iter().filter(|record| record.header.owner == owner) {
        clean &= journal
            .undo(&record.header.id)
            .is_ok_and(|outcomes| outcomes.iter().all(|outcome| outcome.result.is_ok()));
    }
    clean
}
