//! A reader takes a recording interval by interval, in the memory of one interval however long it is.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader, Read},
};

use murphy_run::probe;
use murphy_sys::census::{self, COUNTS_MAX};

use super::{
    Cut, RecordingError,
    line::{self, Flaw, Line},
};
use crate::recorder::{End, Header, Interval, Own, Row};

/// The longest line that is read: a file that is no recording must not fill the memory.
const LINE_MAX: u64 = 1 << 20;

/// An interval of which the last line is there.
#[derive(Clone, Debug, PartialEq)]
pub struct Whole {
    /// What was counted, and what processes took.
    pub interval: Interval,
    /// Calls by numbers that this Murphy has no name for, with how many there were.
    pub unnamed: Vec<(String, u64)>,
    /// What probes saw, by their names.
    pub probes: BTreeMap<String, probe::Figures>,
    /// What recording took.
    pub own: Own,
}

/// Reads a recording.
#[derive(Debug)]
pub struct Reader<R> {
    source: BufReader<R>,
    header: Header,
    /// How many lines were read.
    line: u64,
    /// Which interval is next.
    interval: u64,
    /// When the one before ended.
    ended_ns: u64,
    /// All that was seen before.
    seen: BTreeSet<census::Key>,
    cut: Option<Cut>,
    is_over: bool,
}

/// What was read of an interval so far.
#[derive(Default)]
struct Begun {
    rows: Vec<Row>,
    keys: BTreeSet<census::Key>,
    unnamed: Vec<(String, u64)>,
    /// Its first line; 0 before there is one.
    from_line: u64,
}

impl<R: Read> Reader<R> {
    /// Begins with the header.
    pub fn new(source: R) -> Result<Self, RecordingError> {
        let mut source = BufReader::new(source);
        let mut bytes = Vec::new();
        read_line(&mut source, 1, &mut bytes)?;
        let header = match bytes.strip_suffix(b"\n") {
            Some(line) => line::header(line),
            None if bytes.is_empty() => Err(Flaw::whole(
                "the file is empty, expected a recording: what `murphy amplify record -o FILE` writes",
            )),
            None if line::is_whole(&bytes) => line::header(&bytes),
            None => Err(Flaw::whole(
                "the recording is cut short in its first line: nothing was recorded",
            )),
        };
        Ok(Self {
            source,
            header: header.map_err(|flaw| RecordingError::at(1, flaw))?,
            line: 1,
            interval: 0,
            ended_ns: 0,
            seen: BTreeSet::new(),
            cut: None,
            is_over: false,
        })
    }

    /// What the first line says.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// What was left out at the end, once there is no further interval.
    pub fn cut(&self) -> Option<Cut> {
        self.cut
    }

    /// The next interval; none behind the last that is whole.
    pub fn next_interval(&mut self) -> Result<Option<Whole>, RecordingError> {
        let mut begun = Begun::default();
        let mut bytes = Vec::new();
        while !self.is_over {
            read_line(&mut self.source, self.line + 1, &mut bytes)?;
            if bytes.is_empty() {
                self.end(&begun, false);
                break;
            }
            self.line += 1;
            let is_last = bytes.last() != Some(&b'\n');
            let line = bytes.trim_ascii();
            if line.is_empty() {
                continue;
            }
            if is_last && !line::is_whole(line) {
                self.end(&begun, true);
                break;
            }
            if begun.from_line == 0 {
                begun.from_line = self.line;
            }
            let taken = line::read(line).and_then(|line| self.take(&mut begun, line));
            let taken = taken.map_err(|flaw| RecordingError::at(self.line, flaw))?;
            if let Some(whole) = taken {
                return Ok(Some(whole));
            }
        }
        Ok(None)
    }

    /// There are no more lines: whether something was left out is told.
    fn end(&mut self, begun: &Begun, is_torn: bool) {
        self.is_over = true;
        let lines = (begun.rows.len() + begun.unnamed.len()) as u64 + u64::from(is_torn);
        self.cut = (lines > 0).then_some(Cut {
            interval: self.interval,
            from_line: if begun.from_line == 0 {
                self.line
            } else {
                begun.from_line
            },
            lines,
            is_torn,
        });
    }

    /// Adds a line to the interval that has begun; the interval where that was its last.
    fn take(&mut self, begun: &mut Begun, line: Line) -> Result<Option<Whole>, Flaw> {
        let number = match &line {
            Line::Row(number, _) | Line::Unnamed(number, ..) => *number,
            Line::End(end) => end.interval,
        };
        if number != self.interval {
            let expected = self.interval;
            let problem = format!(
                "this is of interval {number}, expected one of interval {expected}: lines are missing, or not in their order"
            );
            return Err(Flaw::whole(problem));
        }
        match line {
            Line::Row(_, row) => begun.add(row).map(|()| None),
            Line::Unnamed(_, call, count) => {
                if begun.unnamed.len() >= COUNTS_MAX {
                    return Err(too_many());
                }
                begun.unnamed.push((call, count));
                Ok(None)
            }
            Line::End(end) => self.close(std::mem::take(begun), *end).map(Some),
        }
    }

    fn close(&mut self, begun: Begun, end: End<'static>) -> Result<Whole, Flaw> {
        let number = end.interval;
        if end.from < self.ended_ns {
            let problem = format!(
                "interval {number} begins at {} ns, before the one before it has ended, at {} ns",
                end.from, self.ended_ns
            );
            return Err(Flaw::whole(problem));
        }
        if let Some(key) = self.seen.difference(&begun.keys).next() {
            let errno = key.errno.map_or("ok".to_owned(), |errno| errno.to_string());
            let key = super::Key::from(*key);
            let problem = format!(
                "interval {number} has no line of {key} {errno}, which was seen before: each that was has one, with 0 where there were none"
            );
            return Err(Flaw::whole(problem));
        }
        self.seen = begun.keys;
        self.ended_ns = end.to;
        self.interval += 1;
        Ok(Whole {
            interval: Interval {
                number,
                from_ns: end.from,
                to_ns: end.to,
                rows: begun.rows,
                lost: end.lost,
                processes: end.processes.into(),
                restarts: end.processes.restarts,
                jvms: end.jvm.into_owned(),
            },
            unnamed: begun.unnamed,
            probes: end.probes.into_owned(),
            own: end.own,
        })
    }
}

impl Begun {
    fn add(&mut self, row: Row) -> Result<(), Flaw> {
        if self.rows.len() >= COUNTS_MAX {
            return Err(too_many());
        }
        if !self.keys.insert(row.key) {
            return Err(Flaw::whole(
                "the interval has a line of these calls already",
            ));
        }
        self.rows.push(row);
        Ok(())
    }
}

fn too_many() -> Flaw {
    Flaw::whole(format!(
        "an interval of more than {COUNTS_MAX} lines: `murphy amplify record` tells no more kinds of calls apart"
    ))
}

/// Reads a line with its end into `bytes`; nothing where there is none.
fn read_line(
    source: &mut BufReader<impl Read>,
    number: u64,
    bytes: &mut Vec<u8>,
) -> Result<(), RecordingError> {
    bytes.clear();
    let read = source.by_ref().take(LINE_MAX).read_until(b'\n', bytes);
    read.map_err(|source| RecordingError::Io {
        line: number,
        source,
    })?;
    if bytes.len() as u64 >= LINE_MAX && bytes.last() != Some(&b'\n') {
        let flaw = Flaw {
            column: LINE_MAX,
            problem: "the line is longer than 1 MiB: this is no recording".into(),
        };
        return Err(RecordingError::at(number, flaw));
    }
    Ok(())
}
