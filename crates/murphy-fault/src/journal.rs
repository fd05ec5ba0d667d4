//! The journal holds the way back of everything in force: one file for each injection, in one directory.
//!
//! A file is named by its injection's id and is only ever appended to. Each line is the CRC-32 of a JSON
//! record in eight hex digits, a space, the record. A line is on disk (`fsync`) before the change it
//! protects is made; so the last line of a file may be torn by a death in the middle of writing it, and is
//! then ignored: its change was never made. Any other damage is reported. A file is removed when every
//! undo in it has been run; whoever runs them holds its lock.

use std::{
    env,
    fmt::Write as _,
    fs::{self, File, TryLockError},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    thread::sleep,
    time::{Duration, Instant},
};

use murphy_sys::{
    clock::{boottime_ns, realtime_ns},
    durable, privilege,
    process::ProcessId,
};
use serde::{Deserialize, Serialize};

use crate::{
    span::Until,
    undo::{Undo, UndoError, Undone},
};

/// Where root keeps the journal.
const SYSTEM: &str = "/run/murphy/journal";
/// Overrides the place, for tests and unusual machines.
pub const VARIABLE: &str = "MURPHY_JOURNAL";

/// Why the journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// There is no place for it.
    #[error(
        "find a place for the journal: neither root nor XDG_RUNTIME_DIR; set {VARIABLE} to a directory"
    )]
    NoPlace,
    /// The file system refuses.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file is not what was written.
    #[error("read {}:{line}: {reason}; what it protects may still be in force: look at the file, undo by hand, then remove it", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// Its keeper or `murphy recover` has undone it.
    #[error("go on with injection {0}: its keeper or `murphy recover` has ended it")]
    Ended(String),
    /// Its owner hangs in the middle of a change. Its undos were run, and run again until the owner goes on.
    #[error(
        "forget injection {0}: its Murphy hangs in the middle of a change; it was undone and stays in the journal until that Murphy goes on or dies"
    )]
    Busy(String),
    /// No injection has an id that begins so.
    #[error("find the injection {0:?}: there is none; `murphy ls` shows those in force")]
    Unknown(String),
    /// Several do.
    #[error("find the injection {prefix:?}: {} begin so: {}", found.len(), found.join(", "))]
    Ambiguous {
        /// What was asked for.
        prefix: String,
        /// The ids.
        found: Vec<String>,
    },
}

/// What an injection is, as the first line of its file says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// Six hex digits.
    pub id: String,
    /// The family, such as `process`.
    pub family: String,
    /// The fault, such as `pause`.
    pub fault: String,
    /// Who is hit, for people.
    pub targets: Vec<String>,
    /// The Murphy that injected it.
    pub owner: ProcessId,
    /// Wall-clock time of the injection, ns since 1970.
    pub started_realtime_ns: u64,
    /// Boottime of the injection, ns; later where its time began later.
    pub started_boottime_ns: u64,
    /// When it ends.
    pub until: Until,
}

impl Header {
    /// Boottime at which it should be over, ns; `None` for one without an end.
    pub fn deadline_boottime_ns(&self) -> Option<u64> {
        match self.until {
            Until::Forever => None,
            Until::After(span) => {
                let span = u64::try_from(span.0.as_nanos()).unwrap_or(u64::MAX);
                Some(self.started_boottime_ns.saturating_add(span))
            }
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Header(Header),
    Keeper(ProcessId),
    Undo(Undo),
    /// Its time began only then, ns of boottime.
    Began(u64),
    /// What the fault does from now on, in its family's words.
    Spec(serde_json::Value),
    /// Whether it is to do nothing for now.
    Paused(bool),
    /// Its undos are about to be run: it does nothing any more.
    Ending,
}

/// What a file says.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// What the injection is.
    pub header: Header,
    /// Its keeper.
    pub keeper: Option<ProcessId>,
    /// The way back, in the order of the changes.
    pub undos: Vec<Undo>,
    /// What it does, as said last; `None` for a family that does not say, and once it is ending.
    pub spec: Option<serde_json::Value>,
    /// Whether it is to do nothing for now.
    pub paused: bool,
}

impl Record {
    /// Whether nobody is left to end it.
    pub fn is_stale(&self) -> bool {
        !self.header.owner.is_alive() && !self.keeper.is_some_and(|keeper| keeper.is_alive())
    }
}

/// The directory of all injections in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Journal {
    directory: PathBuf,
}

impl Journal {
    /// The journal of this user; its directory may not exist yet.
    pub fn of_user() -> Result<Self, JournalError> {
        let set = |name: &str| {
            env::var_os(name)
                .filter(|v| !v.is_empty())
                .map(PathBuf::from)
        };
        let directory = match set(VARIABLE) {
            Some(directory) => directory,
            None if privilege::user() == 0 => SYSTEM.into(),
            None => set("XDG_RUNTIME_DIR")
                .ok_or(JournalError::NoPlace)?
                .join("murphy/journal"),
        };
        // The keeper leaves the working directory, so a relative name would mean another place to it.
        let directory = std::path::absolute(&directory).map_err(refused("find", &directory))?;
        Ok(Self { directory })
    }

    /// A journal elsewhere.
    pub fn at(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Begins an injection: when this returns, its header is on disk under a fresh id.
    pub fn begin(
        &self,
        family: &str,
        fault: &str,
        targets: &[String],
        until: Until,
        keeper: Option<ProcessId>,
    ) -> Result<Entry, JournalError> {
        // Whoever could write here could have Murphy kill and remove in its name.
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.directory)
            .map_err(refused("create", &self.directory))?;
        loop {
            let id = fresh_id();
            let header = Header {
                id: id.clone(),
                family: family.into(),
                fault: fault.into(),
                targets: targets.to_vec(),
                owner: ProcessId::current(),
                started_realtime_ns: realtime_ns(),
                started_boottime_ns: boottime_ns(),
                until,
            };
            let mut text = line(&Line::Header(header.clone()));
            if let Some(keeper) = keeper {
                text.push_str(&line(&Line::Keeper(keeper)));
            }
            let path = self.directory.join(&id);
            match durable::create(&self.directory, &id, text.as_bytes()) {
                Ok(file) => {
                    let record = Record {
                        header,
                        keeper,
                        undos: Vec::new(),
                        spec: None,
                        paused: false,
                    };
                    return Ok(Entry {
                        journal: self.clone(),
                        file,
                        path,
                        record,
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(refused("write", &path)(error)),
            }
        }
    }

    /// Every injection in force, oldest first; damaged files as errors of their own.
    pub fn list(&self) -> Result<(Vec<Record>, Vec<JournalError>), JournalError> {
        let entries = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok((Vec::new(), Vec::new()));
            }
            other => other.map_err(refused("read", &self.directory))?,
        };
        let (mut records, mut damaged) = (Vec::new(), Vec::new());
        for name in entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
        {
            if !is_id(&name) {
                continue;
            }
            match self.read(&name) {
                Ok(Some(record)) => records.push(record),
                Ok(None) => {}
                Err(error) => damaged.push(error),
            }
        }
        records.sort_by_key(|record| record.header.started_boottime_ns);
        Ok((records, damaged))
    }

    /// One injection; `None` when it has ended meanwhile.
    pub fn read(&self, id: &str) -> Result<Option<Record>, JournalError> {
        let path = self.directory.join(id);
        match fs::read(&path) {
            Ok(bytes) => parse(&path, &bytes).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(refused("read", &path)(error)),
        }
    }

    /// The one injection whose id begins with `prefix`.
    pub fn find(&self, prefix: &str) -> Result<Record, JournalError> {
        let (records, _) = self.list()?;
        let mut found: Vec<_> = records
            .into_iter()
            .filter(|r| !prefix.is_empty() && r.header.id.starts_with(prefix))
            .collect();
        match found.len() {
            1 => Ok(found.remove(0)),
            0 => Err(JournalError::Unknown(prefix.into())),
            _ => Err(JournalError::Ambiguous {
                prefix: prefix.into(),
                found: found.into_iter().map(|record| record.header.id).collect(),
            }),
        }
    }

    /// Runs every undo of an injection, last change first, and forgets it when all of them worked.
    /// Idempotent; whoever comes second waits for the first and finds nothing to do. What can be read of a
    /// damaged file is undone, and then the damage is the error.
    pub fn undo(&self, id: &str) -> Result<Vec<Outcome>, JournalError> {
        let path = self.directory.join(id);
        let mut file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(refused("open", &path))?,
        };
        let locked = lock_patiently(&file).map_err(refused("lock", &path))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)
            .map_err(refused("read", &path))?;
        if !is_linked(&file) {
            return Ok(Vec::new());
        }
        let (record, damage) = match parse(&path, &bytes) {
            Ok(record) => {
                if record.spec.is_some() {
                    // A full disk must not stand in the way of the way back.
                    let _ = self.say_ending(id);
                }
                (record.undos, None)
            }
            Err(error) => (readable_undos(&bytes), Some(error)),
        };
        let outcomes: Vec<Outcome> = record
            .into_iter()
            .rev()
            .map(|undo| Outcome {
                result: undo.run(self),
                undo,
            })
            .collect();
        if let Some(error) = damage {
            return Err(error);
        }
        // Who had the lock may have been another who ends it, and slower: done by now, or soon.
        let locked = locked || lock_patiently(&file).map_err(refused("lock", &path))?;
        if !is_linked(&file) {
            return Ok(outcomes);
        }
        if !locked {
            return Err(JournalError::Busy(id.into()));
        }
        if outcomes.iter().all(|outcome| outcome.result.is_ok()) {
            // The side file first: without its injection it would mean nothing.
            let _ = fs::remove_file(effect_path(&path));
            fs::remove_file(&path).map_err(refused("remove", &path))?;
            durable::sync_directory(&self.directory).map_err(refused("sync", &self.directory))?;
        }
        Ok(outcomes)
    }

    /// Whoever combines what several injections do leaves this one out from now on.
    fn say_ending(&self, id: &str) -> Result<(), JournalError> {
        let path = self.directory.join(id);
        File::options()
            .append(true)
            .open(&path)
            .and_then(|mut file| append_line(&mut file, &line(&Line::Ending)))
            .map_err(refused("write", &path))
    }

    /// Says on disk what an injection in force does from now on, whoever began it.
    pub fn respecify(&self, id: &str, spec: &impl Serialize) -> Result<(), JournalError> {
        self.add_line(id, &spec_line(spec))
    }

    /// Says on disk that an injection in force is to do nothing for now, or is to go on; its owner heeds it.
    pub fn pause(&self, id: &str, paused: bool) -> Result<(), JournalError> {
        self.add_line(id, &line(&Line::Paused(paused)))
    }

    fn add_line(&self, id: &str, line: &str) -> Result<(), JournalError> {
        let path = self.directory.join(id);
        let mut file = match File::options().append(true).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(JournalError::Ended(id.into()));
            }
            other => other.map_err(refused("open", &path))?,
        };
        file.lock().map_err(refused("lock", &path))?;
        if !is_linked(&file) {
            return Err(JournalError::Ended(id.into()));
        }
        append_line(&mut file, line).map_err(refused("write", &path))
    }

    /// Says that everything of `owner` has another keeper from now on.
    pub fn kept_by(&self, owner: ProcessId, keeper: ProcessId) -> Result<(), JournalError> {
        let (records, _) = self.list()?;
        for record in records.iter().filter(|r| r.header.owner == owner) {
            let path = self.directory.join(&record.header.id);
            let text = line(&Line::Keeper(keeper));
            match File::options().append(true).open(&path) {
                // Ended meanwhile: it needs no keeper.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other
                    .and_then(|mut file| {
                        // Not in the middle of a line that another thread writes.
                        file.lock()?;
                        append_line(&mut file, &text)
                    })
                    .map_err(refused("write", &path))?,
            }
        }
        Ok(())
    }

    /// What an injection has done so far, as its owner last said.
    pub fn effect(&self, id: &str) -> Option<serde_json::Value> {
        let bytes = fs::read(effect_path(&self.directory.join(id))).ok()?;
        serde_json::from_slice(&bytes).ok()
    }
}

/// What one undo came to.
#[derive(Debug)]
pub struct Outcome {
    /// The undo.
    pub undo: Undo,
    /// What it came to.
    pub result: Result<Undone, UndoError>,
}

/// One injection that this process began.
#[derive(Debug)]
pub struct Entry {
    journal: Journal,
    file: File,
    path: PathBuf,
    record: Record,
}

impl Entry {
    /// Six hex digits.
    pub fn id(&self) -> &str {
        &self.record.header.id
    }

    /// What the injection is.
    pub fn header(&self) -> &Header {
        &self.record.header
    }

    /// Puts undos on disk; only then may their changes be made.
    pub fn protect(&mut self, undos: &[Undo]) -> Result<(), JournalError> {
        self.change(undos, || ())
    }

    /// Puts undos on disk and makes their change, with the injection locked: nobody undoes it in between, and
    /// nothing is changed once somebody has.
    pub fn change<T>(
        &mut self,
        undos: &[Undo],
        make: impl FnOnce() -> T,
    ) -> Result<T, JournalError> {
        let path = self.path.clone();
        self.file.lock().map_err(refused("lock", &path))?;
        let outcome = if is_linked(&self.file) {
            self.append(undos).map(|()| make())
        } else {
            Err(JournalError::Ended(self.id().into()))
        };
        self.file.unlock().map_err(refused("unlock", &path))?;
        outcome
    }

    fn append(&mut self, undos: &[Undo]) -> Result<(), JournalError> {
        if undos.is_empty() {
            return Ok(());
        }
        let mut text = String::new();
        for undo in undos {
            text.push_str(&line(&Line::Undo(undo.clone())));
        }
        append_line(&mut self.file, &text).map_err(refused("write", &self.path))
    }

    /// Says on disk that the injection's time began later than the injection, at so many ns of boottime.
    pub fn began(&self, boottime_ns: u64) -> Result<(), JournalError> {
        self.journal
            .add_line(self.id(), &line(&Line::Began(boottime_ns)))
    }

    /// Says on disk what the injection does from now on.
    pub fn specify(&self, spec: &impl Serialize) -> Result<(), JournalError> {
        self.journal.respecify(self.id(), spec)
    }

    /// What it does, as said last by anybody; `None` once it is over or ending.
    pub fn spec(&self) -> Result<Option<serde_json::Value>, JournalError> {
        Ok(self.journal.read(self.id())?.and_then(|record| record.spec))
    }

    /// Whether somebody wants it to do nothing for now.
    pub fn is_paused(&self) -> Result<bool, JournalError> {
        Ok(self
            .journal
            .read(self.id())?
            .is_some_and(|record| record.paused))
    }

    /// The journal it is in.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Says what the injection has done so far, for `murphy ls`, and the same in words. Not synced: it
    /// protects nothing.
    pub fn say(&self, effect: &impl Serialize, text: &str) -> Result<(), JournalError> {
        let path = effect_path(&self.path);
        let refused = |source: io::Error| JournalError::Io {
            action: "write",
            path: path.clone(),
            source,
        };
        let mut value = serde_json::to_value(effect).map_err(|error| refused(error.into()))?;
        if let Some(fields) = value.as_object_mut() {
            fields.insert("text".into(), text.into());
        }
        let bytes = value.to_string();
        let fresh = path.with_extension("new");
        fs::write(&fresh, bytes)
            .and_then(|()| fs::rename(&fresh, &path))
            .inspect_err(|_| {
                // Half of it is of no use; that it is not there is fine, too.
                let _ = fs::remove_file(&fresh);
            })
            .map_err(refused)?;
        if self.is_over() {
            // Somebody has undone it meanwhile, and this file would stay for ever.
            let _ = fs::remove_file(&path);
        }
        Ok(())
    }

    /// Whether somebody else has undone it, as `murphy recover` may.
    pub fn is_over(&self) -> bool {
        !self.path.exists()
    }

    /// Ends the injection: runs every undo and forgets it.
    pub fn end(&self) -> Result<Vec<Outcome>, JournalError> {
        self.journal.undo(self.id())
    }
}

fn refused<'a>(action: &'static str, path: &'a Path) -> impl Fn(io::Error) -> JournalError + 'a {
    move |source| JournalError::Io {
        action,
        path: path.into(),
        source,
    }
}

/// How long an undo waits for an owner in the middle of a change.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);

/// Takes the lock; false when it stays taken, as by an owner that hangs.
fn lock_patiently(file: &File) -> io::Result<bool> {
    let until = Instant::now() + LOCK_PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if Instant::now() > until => return Ok(false),
            Err(TryLockError::WouldBlock) => sleep(Duration::from_millis(5)),
        }
    }
}

/// Appends whole lines and syncs them, or nothing: a full disk leaves half a line, and the next would be glued to
/// it.
fn append_line(file: &mut File, text: &str) -> io::Result<()> {
    let length = file.metadata()?.len();
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_data());
    if written.is_err() {
        // The first error is the one to tell of.
        let _ = file.set_len(length);
    }
    written
}

/// Whether the file still has its name; nobody has ended the injection then.
fn is_linked(file: &File) -> bool {
    file.metadata().is_ok_and(|meta| meta.nlink() > 0)
}

/// The undos of the lines that are whole, whatever the others are.
fn readable_undos(bytes: &[u8]) -> Vec<Undo> {
    let whole = bytes
        .split_inclusive(|&b| b == b'\n')
        .filter_map(|line| line.strip_suffix(b"\n"));
    whole
        .filter_map(|line| match decode(line) {
            Ok(Line::Undo(undo)) => Some(undo),
            _ => None,
        })
        .collect()
}

fn effect_path(path: &Path) -> PathBuf {
    path.with_extension("effect")
}

fn is_id(name: &str) -> bool {
    name.len() == 6 && name.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Ids need to differ, not to be secret: time, pid and a counter, mixed.
fn fresh_id() -> String {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let count = u64::from(COUNTER.fetch_add(1, Ordering::Relaxed));
    let mixed = (realtime_ns() ^ (u64::from(std::process::id()) << 32) ^ (count << 20))
        .wrapping_mul(0x9e37_79b9_7f4a_7c15);
    // Zero means nobody where an id is kept as a number.
    format!("{:06x}", (mixed >> 40).max(1))
}

/// An id as a number, as it is kept where six digits have no place.
pub fn number_of(id: &str) -> u32 {
    // Ids are six hex digits, none of them zero.
    u32::from_str_radix(id, 16).unwrap_or(0)
}

/// The id of such a number.
pub fn id_of(number: u32) -> String {
    format!("{number:06x}")
}

fn spec_line(spec: &impl Serialize) -> String {
    // As above.
    line(&Line::Spec(
        serde_json::to_value(spec).expect("a spec is JSON"),
    ))
}

fn line(record: &Line) -> String {
    // Every record serialises: its types hold no maps with odd keys and no numbers JSON lacks.
    let json = serde_json::to_string(record).expect("a record is JSON");
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{:08x} {json}", crc32fast::hash(json.as_bytes()));
    text
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Record, JournalError> {
    let damaged = |line, reason: &str| JournalError::Damaged {
        path: path.into(),
        line,
        reason: reason.into(),
    };
    let mut header = None;
    let mut keeper = None;
    let mut undos = Vec::new();
    let mut spec = None;
    let mut began = None;
    let mut paused = false;
    let mut ending = false;
    let mut rest = bytes;
    let mut number = 0;
    // A last line without its end was being written when Murphy died: its change was never made.
    while let Some(end) = rest.iter().position(|&b| b == b'\n') {
        number += 1;
        let (text, tail) = (&rest[..end], &rest[end + 1..]);
        match decode(text) {
            Ok(Line::Header(first)) if number == 1 => header = Some(first),
            Ok(Line::Keeper(process)) => keeper = Some(process),
            Ok(Line::Undo(undo)) => undos.push(undo),
            Ok(Line::Spec(said)) => spec = Some(said),
            Ok(Line::Began(at)) => began = Some(at),
            Ok(Line::Paused(said)) => paused = said,
            Ok(Line::Ending) => ending = true,
            Ok(Line::Header(_)) => return Err(damaged(number, "a second header")),
            Err(reason) => return Err(damaged(number, &reason)),
        }
        rest = tail;
    }
    let mut header: Header = header.ok_or_else(|| damaged(1, "no header"))?;
    if let Some(at) = began {
        header.started_boottime_ns = at;
    }
    Ok(Record {
        header,
        keeper,
        undos,
        spec: spec.filter(|_| !ending),
        paused,
    })
}

fn decode(text: &[u8]) -> Result<Line, String> {
    let text = std::str::from_utf8(text).map_err(|_| "it is not UTF-8".to_owned())?;
    let (sum, json) = text.split_once(' ').ok_or("it has no checksum")?;
    let sum =
        u32::from_str_radix(sum, 16).map_err(|_| "its checksum is not a number".to_owned())?;
    if sum != crc32fast::hash(json.as_bytes()) {
        return Err("its checksum does not match".into());
    }
    serde_json::from_str(json).map_err(|error| format!("it is not understood: {error}"))
}

#[cfg(test)]
mod tests;
