//! A run folder holds everything one run was asked, did, saw and concluded.
//!
//! ```text
//! run.json        what was asked for, resolved        request
//! events.jsonl    what happened                       events
//! history.jsonl   every question and answer           murphy_check::history
//! nodes/n0.log    what the nodes said
//! series.json     throughput and latency over time    series
//! verdict.json    what was judged                     verdict
//! snapshot.json   how everything was in the end, of an observation
//! observed/       an observation of the nodes
//! score.json      how well it was found what was injected, of that
//! report.html     all of it for people                report
//! ```
//!
//! Logs grow while the run goes on; what is written once (`*.json`, `report.html`) appears as a whole or not
//! at all. docs/run-folder.md is the layout in full.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::clock::Clock;
use crate::events::{self, Events, EventsError};
use crate::request::{self, Request};
use crate::series::Summary;
use crate::verdict::{self, Verdicts};

/// Where run folders go unless `--out` says otherwise.
pub const RUNS: &str = "murphy-runs";

const REQUEST: &str = "run.json";
const EVENTS: &str = "events.jsonl";
const HISTORY: &str = "history.jsonl";
const NODES: &str = "nodes";
const SERIES: &str = "series.json";
const VERDICT: &str = "verdict.json";
const SNAPSHOT: &str = "snapshot.json";
const REPORT: &str = "report.html";
const OBSERVED: &str = "observed";
const SCORE: &str = "score.json";

/// The folder of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    path: PathBuf,
}

/// What stops a run folder from being created, written or read.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// There is something in it already.
    #[error("create run folder {}: it is not empty; name a new or an empty folder", .0.display())]
    NotEmpty(PathBuf),
    /// There is a file of that name.
    #[error("create run folder {}: it is a file; name a new or an empty folder", .0.display())]
    NotAFolder(PathBuf),
    /// A part that must be there is not.
    #[error("read {}: no such file; {hint}", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// What that means, and what to do.
        hint: &'static str,
    },
    /// A part is not what its format says.
    #[error("read {}:{line}:{column}: {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
        /// What is wrong there.
        reason: String,
    },
    /// The file system refuses.
    #[error("{verb} {}: {source}{hint}", path.display())]
    Io {
        /// What was tried: `create`, `write` or `read`.
        verb: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
        /// What to do about it; empty, or `; …`.
        hint: &'static str,
    },
    /// The events cannot be read.
    #[error(transparent)]
    Events(#[from] EventsError),
}

impl FolderError {
    fn io(verb: &'static str, path: &Path, source: io::Error) -> Self {
        let hint = match source.kind() {
            io::ErrorKind::StorageFull => "; free some space, or name a folder on another disk",
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
                if verb != "read" =>
            {
                "; name a folder that this user may write to"
            }
            _ => "",
        };
        Self::Io {
            verb,
            path: path.into(),
            source,
            hint,
        }
    }
}

impl Folder {
    /// Makes `path`, with its parents, a run folder: it must be new or empty.
    pub fn create(path: &Path) -> Result<Self, FolderError> {
        Self::check_empty(path)?;
        Self::make(path)
    }

    /// The same of an observation, which has no nodes.
    pub fn create_observed(path: &Path) -> Result<Self, FolderError> {
        Self::check_empty(path)?;
        fs::create_dir_all(path).map_err(|e| FolderError::io("create", path, e))?;
        Ok(Self { path: path.into() })
    }

    fn check_empty(path: &Path) -> Result<(), FolderError> {
        match fs::read_dir(path) {
            Ok(mut entries) => {
                if entries.next().is_some() {
                    return Err(FolderError::NotEmpty(path.into()));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                return Err(FolderError::NotAFolder(path.into()));
            }
            Err(_) => {}
        }
        Ok(())
    }

    /// Makes a new folder `runs/<name>-<utc>`; `-2`, `-3`, … is appended while there is one of that name.
    pub fn create_named(runs: &Path, name: &str, clock: &Clock) -> Result<Self, FolderError> {
        let stem = format!("{}-{}", file_name(name), clock.started_compact());
        fs::create_dir_all(runs).map_err(|e| FolderError::io("create", runs, e))?;
        let mut path = runs.join(&stem);
        let mut copy = 1;
        loop {
            match fs::create_dir(&path) {
                Ok(()) => return Self::make(&path),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    copy += 1;
                    path = runs.join(format!("{stem}-{copy}"));
                }
                Err(error) => return Err(FolderError::io("create", &path, error)),
            }
        }
    }

    fn make(path: &Path) -> Result<Self, FolderError> {
        let nodes = path.join(NODES);
        fs::create_dir_all(&nodes).map_err(|e| FolderError::io("create", &nodes, e))?;
        Ok(Self { path: path.into() })
    }

    /// The folder of a run that has been.
    pub fn open(path: &Path) -> Result<Self, FolderError> {
        fs::read_dir(path).map_err(|e| FolderError::io("read", path, e))?;
        let folder = Self { path: path.into() };
        let request = folder.path.join(REQUEST);
        if !request.exists() {
            return Err(missing(&request));
        }
        Ok(folder)
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `events.jsonl`, for [`crate::EventLog::create`].
    pub fn events_path(&self) -> PathBuf {
        self.path.join(EVENTS)
    }

    /// `history.jsonl`, for `murphy_check::history::Writer`.
    pub fn history_path(&self) -> PathBuf {
        self.path.join(HISTORY)
    }

    /// The log of a node; what cannot stand in a file's name is written as `%XX`.
    pub fn node_log_path(&self, node: &str) -> PathBuf {
        self.path.join(NODES).join(file_name(node) + ".log")
    }

    /// `observed`, the folder of an observation of the nodes.
    pub fn observed_path(&self) -> PathBuf {
        self.path.join(OBSERVED)
    }

    /// `verdict.json`.
    pub fn verdict_path(&self) -> PathBuf {
        self.path.join(VERDICT)
    }

    /// `report.html`.
    pub fn report_path(&self) -> PathBuf {
        self.path.join(REPORT)
    }

    /// Creates `history.jsonl`; one that exists already is an error.
    pub fn create_history(&self) -> Result<File, FolderError> {
        let path = self.history_path();
        File::create_new(&path).map_err(|e| FolderError::io("create", &path, e))
    }

    /// Opens `history.jsonl` for reading.
    pub fn open_history(&self) -> Result<File, FolderError> {
        let path = self.history_path();
        File::open(&path).map_err(|e| read_error(&path, e))
    }

    /// Writes `run.json`.
    pub fn write_request(&self, request: &Request) -> Result<(), FolderError> {
        self.write_json(REQUEST, request)
    }

    /// Writes `series.json`.
    pub fn write_series(&self, series: &Summary) -> Result<(), FolderError> {
        self.write_json(SERIES, series)
    }

    /// Writes `verdict.json`.
    pub fn write_verdicts(&self, verdicts: &Verdicts) -> Result<(), FolderError> {
        self.write_json(VERDICT, verdicts)
    }

    /// Writes `snapshot.json`.
    pub fn write_snapshot(&self, snapshot: &impl Serialize) -> Result<(), FolderError> {
        self.write_json(SNAPSHOT, snapshot)
    }

    /// Writes `score.json`, of an observation.
    pub fn write_score(&self, score: &impl Serialize) -> Result<(), FolderError> {
        self.write_json(SCORE, score)
    }

    /// Writes `report.html`.
    pub fn write_report(&self, html: &str) -> Result<(), FolderError> {
        self.write_whole(REPORT, html.as_bytes())
    }

    /// Reads `run.json`.
    pub fn read_request(&self) -> Result<Request, FolderError> {
        let request: Request = self.read_json(REQUEST)?;
        self.check_version(REQUEST, request.version, request::VERSION)?;
        Ok(request)
    }

    /// Reads `events.jsonl`.
    pub fn read_events(&self) -> Result<Events, FolderError> {
        let path = self.events_path();
        events::read(&path).map_err(|error| match error {
            EventsError::Io { source, .. } => read_error(&path, source),
            error @ EventsError::Line { .. } => error.into(),
        })
    }

    /// Reads `series.json`.
    pub fn read_series(&self) -> Result<Summary, FolderError> {
        self.read_json(SERIES)
    }

    /// Reads `verdict.json`.
    pub fn read_verdicts(&self) -> Result<Verdicts, FolderError> {
        let verdicts: Verdicts = self.read_json(VERDICT)?;
        self.check_version(VERDICT, verdicts.version, verdict::VERSION)?;
        Ok(verdicts)
    }

    /// The files that are there, in the order of docs/run-folder.md, without the report.
    pub fn files(&self) -> Result<Vec<RunFile>, FolderError> {
        let mut files = Vec::new();
        for name in [HISTORY, EVENTS, SERIES, VERDICT, REQUEST] {
            files.extend(self.file(name.into())?);
        }
        for name in [REPORT, SCORE] {
            files.extend(self.file(format!("{OBSERVED}/{name}"))?);
        }
        let nodes = self.path.join(NODES);
        let mut logs = Vec::new();
        let failed = |e| FolderError::io("read", &nodes, e);
        if nodes.exists() {
            for entry in fs::read_dir(&nodes).map_err(failed)? {
                let name = entry.map_err(failed)?.file_name();
                logs.push(format!("{NODES}/{}", name.to_string_lossy()));
            }
        }
        logs.sort();
        for log in logs {
            files.extend(self.file(log)?);
        }
        Ok(files)
    }

    fn file(&self, name: String) -> Result<Option<RunFile>, FolderError> {
        let path = self.path.join(&name);
        match fs::metadata(&path) {
            Ok(metadata) => Ok(Some(RunFile {
                name,
                bytes: metadata.len(),
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(FolderError::io("read", &path, error)),
        }
    }

    fn check_version(&self, name: &str, found: u32, newest: u32) -> Result<(), FolderError> {
        if (1..=newest).contains(&found) {
            return Ok(());
        }
        Err(FolderError::Format {
            path: self.path.join(name),
            line: 1,
            column: 1,
            reason: format!("version {found} is unknown, this Murphy reads 1 to {newest}"),
        })
    }

    fn read_json<T: DeserializeOwned>(&self, name: &str) -> Result<T, FolderError> {
        let path = self.path.join(name);
        let text = fs::read(&path).map_err(|e| read_error(&path, e))?;
        serde_json::from_slice(&text).map_err(|error| FolderError::Format {
            line: error.line().max(1),
            column: error.column().max(1),
            reason: events::reason_of(&error),
            path,
        })
    }

    fn write_json(&self, name: &str, value: &impl Serialize) -> Result<(), FolderError> {
        let failed =
            |e: serde_json::Error| FolderError::io("write", &self.path.join(name), e.into());
        let mut text = serde_json::to_vec_pretty(value).map_err(failed)?;
        text.push(b'\n');
        self.write_whole(name, &text)
    }

    /// Writes beside the file and renames, so that a reader sees the old file or the new one.
    fn write_whole(&self, name: &str, text: &[u8]) -> Result<(), FolderError> {
        let path = self.path.join(name);
        let beside = self.path.join(format!(".{name}.new"));
        let write = || {
            let mut file = File::create(&beside)?;
            file.write_all(text)?;
            file.sync_all()?;
            fs::rename(&beside, &path)
        };
        write().map_err(|error| {
            // What is left of a failed write is of no use; that it cannot be removed changes nothing.
            let _ = fs::remove_file(&beside);
            FolderError::io("write", &path, error)
        })
    }
}

/// A file of a run folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunFile {
    /// Its path inside the folder.
    pub name: String,
    /// Its size.
    pub bytes: u64,
}

fn read_error(path: &Path, error: io::Error) -> FolderError {
    if error.kind() == io::ErrorKind::NotFound {
        missing(path)
    } else {
        FolderError::io("read", path, error)
    }
}

fn missing(path: &Path) -> FolderError {
    let name = path.file_name().unwrap_or_default();
    let hint = match name.to_str() {
        Some(VERDICT | SERIES) => {
            "the run did not come to its end, but `murphy check` can judge its history"
        }
        _ => "is this the folder of a run?",
    };
    FolderError::Missing {
        path: path.into(),
        hint,
    }
}

/// `name` as the name of a file that is not hidden and in no other folder.
fn file_name(name: &str) -> String {
    let plain = |index: usize, byte: u8| {
        byte.is_ascii_alphanumeric() || b"-_".contains(&byte) || byte == b'.' && index > 0
    };
    let bytes = name.bytes().enumerate();
    let parts = bytes.map(|(index, byte)| match byte {
        _ if plain(index, byte) => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    });
    parts.collect::<Vec<_>>().concat()
}

#[cfg(test)]
mod tests;
