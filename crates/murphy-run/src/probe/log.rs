//! A log probe searches what a file has got since the last look: `log:FILE~PATTERN`, or `log:FILE!~PATTERN` for what must
//! not come.
//!
//! Lines are searched once they are ended. A file that another one takes the place of (rotation) is read to its end, and
//! a look longer, because whoever writes may not have noticed; one that is written anew in its place (truncation) is read
//! from its beginning. What was there before the first look does not count. A pattern that must come has to come between
//! any two looks, and is therefore for what is said all the time. Of several files that take the place of one another between
//! two looks, only the first and the last are read.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Instant,
};

use rustix::fs::OFlags;

use super::{
    grammar::Misread,
    look::{Outcome, Reason, is_own_want, one_line},
    pattern::{Expected, Pattern},
};

/// How much is read at a time.
const CHUNK_BYTES: usize = 64 << 10;
/// A longer line is searched in parts of at least this length.
const LINE_BYTES_MAX: usize = 64 << 10;
/// How much of what was read last is known, by which a file that was written anew is told from one that grew.
const KNOWN_BYTES: usize = 64;

/// A log, and what must be in it or must not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Where it is.
    pub file: PathBuf,
    /// What is expected of its new lines.
    pub expected: Expected,
}

/// How far a log was read.
#[derive(Debug)]
pub(super) struct Reading {
    /// The file that was in its place.
    current: Option<Tail>,
    /// The one before, until it was looked at once more.
    previous: Option<Tail>,
}

impl Log {
    pub(super) fn read(text: &str) -> Result<Self, Misread> {
        let form = "expected FILE~PATTERN, or FILE!~PATTERN for what must not come";
        let Some(tilde) = text.find('~') else {
            return Err(Misread::at("", form));
        };
        let file = text[..tilde].strip_suffix('!').unwrap_or(&text[..tilde]);
        if file.is_empty() {
            return Err(Misread::at(text, "expected a file; write its path in full"));
        }
        let rest = &text[file.len()..];
        // It begins with one of both, or there would be no tilde.
        let read = Expected::read(rest).ok_or_else(|| Misread::at(rest, form))?;
        Ok(Self {
            file: file.into(),
            expected: read.map_err(|wrong| Misread::at(rest, wrong))?,
        })
    }

    /// At the end of what is there now.
    pub(super) fn end(&self) -> Reading {
        // A file that is not there now is all new when it comes.
        let current = open(&self.file).and_then(Tail::at_end).ok();
        Reading {
            current,
            previous: None,
        }
    }

    /// Searches what is new.
    pub(super) fn look(&self, reading: &mut Reading, until: Instant) -> Outcome {
        let (Expected::Present(pattern) | Expected::Missing(pattern)) = &self.expected;
        let mut search = Search {
            pattern,
            until,
            matches: 0,
            first: String::new(),
        };
        let looked = reading.look(&self.file, &mut search);
        self.judge(&search, looked)
    }

    fn judge(&self, search: &Search<'_>, looked: Result<(), Halt>) -> Outcome {
        match (&self.expected, looked) {
            (Expected::Missing(_), _) if search.matches > 0 => Outcome::failed(
                Reason::Unwanted,
                format!("{} × {}", search.matches, search.first),
            ),
            (_, Err(Halt::Open(error) | Halt::Read(error))) if is_own_want(&error) => {
                Outcome::unable(&error)
            }
            (_, Err(Halt::Open(error))) if error.kind() == io::ErrorKind::NotFound => {
                Outcome::failed(Reason::NoFile, self.file.display().to_string())
            }
            (_, Err(Halt::Open(error) | Halt::Read(error))) => {
                let detail = format!("{}: {error}", self.file.display());
                Outcome::failed(Reason::Unreadable, detail)
            }
            (Expected::Present(_), _) if search.matches > 0 => {
                Outcome::passed_with(search.matches as f64)
            }
            (_, Err(Halt::TimeOver)) => {
                Outcome::failed(Reason::TimedOut, "it grows faster than it can be searched")
            }
            (Expected::Missing(_), Ok(())) => Outcome::passed_with(0.0),
            (Expected::Present(pattern), Ok(())) => {
                Outcome::failed(Reason::Absent, format!("no new line has {pattern:?}"))
            }
        }
    }
}

/// Why a search has not come to the end.
#[derive(Debug)]
enum Halt {
    /// There is no file, or it cannot be opened.
    Open(io::Error),
    /// It cannot be read.
    Read(io::Error),
    /// Its time was over.
    TimeOver,
}

impl Reading {
    fn look(&mut self, path: &Path, search: &mut Search<'_>) -> Result<(), Halt> {
        // Whatever becomes of it, this is its last look, unless there is more than there is time for.
        if let Some(mut previous) = self.previous.take() {
            let read = previous.read_on(search);
            if let Err(Halt::TimeOver) = read {
                self.previous = Some(previous);
            } else {
                previous.end(search);
            }
            read?;
        }
        let there = open(path).and_then(Tail::at_start);
        let read = match &mut self.current {
            Some(current) => current.read_on(search),
            None => Ok(()),
        };
        if let Err(Halt::TimeOver) = read {
            return read;
        }
        let there = there.map_err(Halt::Open)?;
        let known = self.current.as_ref().map(|current| current.id);
        if known == Some(there.id) {
            return read;
        }
        self.previous = self.current.take();
        self.current.insert(there).read_on(search).and(read)
    }
}

/// Opens a regular file, and waits for nobody to open the other end of what is none.
fn open(path: &Path) -> io::Result<File> {
    // The flags of open(2) are few and small.
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).map_err(io::Error::other)?;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::other("it is no regular file"))
    }
}

/// A file that is read as far as it goes, again and again.
#[derive(Debug)]
struct Tail {
    file: File,
    /// Device and inode, which nobody else has while it is open.
    id: (u64, u64),
    /// How far it was read.
    offset: u64,
    /// The last bytes before that.
    known: Vec<u8>,
    /// A line that has begun and not ended.
    line: Vec<u8>,
}

impl Tail {
    fn at_start(file: File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self {
            file,
            id: (metadata.dev(), metadata.ino()),
            offset: 0,
            known: Vec::new(),
            line: Vec::new(),
        })
    }

    fn at_end(file: File) -> io::Result<Self> {
        let size = file.metadata()?.len();
        let mut tail = Self::at_start(file)?;
        let known = KNOWN_BYTES.min(usize::try_from(size).unwrap_or(KNOWN_BYTES));
        let mut bytes = vec![0; known];
        tail.file.read_exact_at(&mut bytes, size - known as u64)?;
        tail.offset = size;
        tail.known = bytes;
        Ok(tail)
    }

    /// Searches everything up to the end of the file, or as much as there is time for, but at least one part of it.
    fn read_on(&mut self, search: &mut Search<'_>) -> Result<(), Halt> {
        if self.is_written_anew().map_err(Halt::Read)? {
            self.offset = 0;
            self.known.clear();
            self.line.clear();
        }
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let read = self.file.read_at(&mut chunk, self.offset);
            let read = read.map_err(Halt::Read)?;
            if read == 0 {
                return Ok(());
            }
            self.take(&chunk[..read], search);
            if Instant::now() >= search.until {
                return Err(Halt::TimeOver);
            }
        }
    }

    /// Whether what was read last is no longer there.
    fn is_written_anew(&self) -> io::Result<bool> {
        let mut bytes = vec![0; self.known.len()];
        let from = self.offset - self.known.len() as u64;
        match self.file.read_exact_at(&mut bytes, from) {
            Ok(()) => Ok(bytes != self.known),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(true),
            Err(error) => Err(error),
        }
    }

    fn take(&mut self, bytes: &[u8], search: &mut Search<'_>) {
        self.offset += bytes.len() as u64;
        let kept = bytes.len().min(KNOWN_BYTES);
        self.known.extend_from_slice(&bytes[bytes.len() - kept..]);
        let beyond = self.known.len().saturating_sub(KNOWN_BYTES);
        self.known.drain(..beyond);
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(part);
            if part.ends_with(b"\n") || self.line.len() >= LINE_BYTES_MAX {
                self.end(search);
            }
        }
    }

    /// Searches the line that has begun as if it had ended.
    fn end(&mut self, search: &mut Search<'_>) {
        if self.line.is_empty() {
            return;
        }
        let line = self.line.strip_suffix(b"\n").unwrap_or(&self.line);
        search.line(line.strip_suffix(b"\r").unwrap_or(line));
        self.line.clear();
    }
}

/// What is looked for, and what was found of it.
struct Search<'a> {
    pattern: &'a Pattern,
    until: Instant,
    matches: u64,
    /// The first line that matches.
    first: String,
}

impl Search<'_> {
    fn line(&mut self, line: &[u8]) {
        if !self.pattern.is_in(line) {
            return;
        }
        if self.matches == 0 {
            self.first = one_line(line);
        }
        self.matches += 1;
    }
}

impl fmt::Display for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "log:{}{}", self.file.display(), self.expected)
    }
}
