//! A live judge reads a history while it is written, finds a violation when it happens, and forgets what is settled.
//!
//! It is the judge of whole histories ([`check`](super::check)) on a window. Whenever enough was asked, the promises
//! are judged on the window. Then everything up to a *base* revision is settled, forgotten, and replaced by the key
//! space at that revision: no operation that is still open, or still to come, can have a revision as low. The
//! *watermark* says so: it is when the oldest open invocation was asked, and a linearizable operation that was
//! answered before it comes first in every order.
//!
//! What stays is bounded: the window, a margin of revisions for members and watches that lag, operations of unknown
//! outcome that may still act. Where a bound is too small, the verdict is `undecided` and names the bound.

mod cut;
mod standing;
mod window;

use standing::Standings;
use window::{Lines, Window};

use super::{
    check::{Examination, Options, examine},
    figures,
    load::Loader,
    record::{Op, Outcome, Record, Stream},
    sighting::{Dump, last_dumps},
};
use crate::{
    lines::find_newline,
    read::{self, ReadError},
    text::counted,
    verdict::{Report, Vacuity, Verdict},
};

/// What a live judge may hold in memory.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of the history that are not settled yet.
    pub window: usize,
    /// Operations of unknown outcome that may still act, and leases that may still be alive; each.
    pub unknown: usize,
    /// Revisions that are kept in any case, for reads of the past and for members that lag.
    pub margin: usize,
    /// Revisions that are kept at most, for watches that lag.
    pub revisions: usize,
    /// So many operations are asked for between two judgements, or more, where more are open.
    pub step: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            window: 512 << 20,
            unknown: 10_000,
            margin: 20_000,
            revisions: 1_000_000,
            step: 50_000,
        }
    }
}

/// How far a live judge has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Requests read.
    pub operations: u64,
    /// Everything up to this revision is settled.
    pub revision: i64,
    /// Requests that are kept, because they are open, may still act, or are not settled yet.
    pub kept: usize,
    /// Of them those that are open.
    pub open: usize,
    /// Of them those of unknown outcome.
    pub unknown: usize,
    /// Bytes of their lines.
    pub bytes: usize,
}

/// A judge of a history of model `etcd` that is still being written.
pub struct Live {
    options: Options,
    limits: Limits,
    loader: Loader,
    begun: bool,
    /// Lines read.
    number: u64,
    /// The begin of a line whose end is still to come.
    partial: Vec<u8>,
    window: Window,
    /// Lines of the newest moment, with their numbers: more of it may come.
    moment: Lines,
    now: u64,
    /// Operations that came into the window by forgetting, and so are not new.
    kept: usize,
    /// The last line that is in the window: later ones are of the newest moment.
    taken: u64,
    /// The lines up to this one were judged before.
    judged: u32,
    settled: Vacuity,
    standings: Standings,
    /// Unknown outcomes were forgotten, though they may still act.
    forgotten: u64,
    /// Since then a revision was filled that nobody acknowledged.
    is_guessed: bool,
    /// When the last acknowledged write ended that is settled.
    written: u64,
    /// Why nothing more is judged.
    lost: Option<String>,
    broken: Option<Report>,
}

impl Default for Live {
    fn default() -> Self {
        Self::new(Options::default(), Limits::default())
    }
}

impl Live {
    /// A judge that has read nothing yet.
    pub fn new(options: Options, limits: Limits) -> Self {
        Self {
            options,
            limits,
            loader: Loader::new(),
            begun: false,
            number: 0,
            partial: Vec::new(),
            window: Window::default(),
            moment: Lines::default(),
            now: 0,
            kept: 0,
            taken: 0,
            judged: 0,
            settled: Vacuity::default(),
            standings: Standings::default(),
            forgotten: 0,
            is_guessed: false,
            written: 0,
            lost: None,
            broken: None,
        }
    }

    /// Reads the next bytes of the history; lines may be cut anywhere. Returns the report of the first violation, and
    /// the same again whatever comes behind it.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<Option<&Report>, ReadError> {
        while let Some(end) = find_newline(bytes) {
            let (line, rest) = bytes.split_at(end);
            bytes = &rest[1..];
            if self.partial.is_empty() {
                self.line(line)?;
            } else {
                let mut whole = std::mem::take(&mut self.partial);
                whole.extend_from_slice(line);
                self.line(&whole)?;
                whole.clear();
                self.partial = whole;
            }
        }
        self.partial.extend_from_slice(bytes);
        Ok(self.broken.as_ref())
    }

    fn line(&mut self, line: &[u8]) -> Result<(), ReadError> {
        self.number += 1;
        if self.lost.is_some() || self.broken.is_some() {
            return Ok(());
        }
        let Some(time) = time_of(line) else {
            self.take_moment()?;
            return self.take(self.number, line);
        };
        if time > self.now {
            self.take_moment()?;
            self.now = time;
            let new = self.loader.record.ops.len() - self.kept;
            if new >= self.limits.step.max(self.kept) {
                self.look()?;
            }
        }
        self.moment.push(self.number, line);
        Ok(())
    }

    /// The lines of the newest moment are all there.
    fn take_moment(&mut self) -> Result<(), ReadError> {
        let mut moment = std::mem::take(&mut self.moment);
        for (number, line) in moment.iter() {
            self.take(number, line)?;
        }
        moment.clear();
        self.moment = moment;
        Ok(())
    }

    fn take(&mut self, number: u64, line: &[u8]) -> Result<(), ReadError> {
        let defined = self.loader.defined;
        read::read_line(line, number, &mut self.begun, &mut self.loader)?;
        let is_definition = self.loader.defined > defined;
        self.window.keep(number, line, is_definition);
        self.taken = number;
        if self.loader.is_redefined {
            self.lost = Some("a name was given to two values".into());
        }
        Ok(())
    }

    /// Judges what was read so far, and forgets what is settled. Returns the report of a violation.
    pub fn look(&mut self) -> Result<Option<&Report>, ReadError> {
        if !self.begun || self.lost.is_some() || self.broken.is_some() {
            return Ok(self.broken.as_ref());
        }
        let examination = self.examine(true);
        if self.broken.is_none() && self.lost.is_none() {
            self.forget(&examination)?;
        }
        Ok(self.broken.as_ref())
    }

    /// Judges the window.
    fn examine(&mut self, is_partial: bool) -> Examination {
        self.loader.record.complete();
        self.loader.record.is_partial = is_partial;
        let examination = examine(&mut self.loader.record, &self.options, &mut |_, _| {});
        let record = &self.loader.record;
        let unread = |id: &&u32| record.ops[**id as usize].end_line > self.judged;
        let forgotten = examination.sweep.forgotten.iter().filter(unread).count();
        if forgotten > 0 {
            self.standings.doubt_reads(format!(
                "{} of revisions that were forgotten",
                counted(forgotten as u64, "read")
            ));
        }
        let floor = record.past.floor;
        let begins_before = |stream: &Stream| {
            stream.settled.is_none() && stream.first_revision().is_some_and(|first| first <= floor)
        };
        if record.streams.iter().any(begins_before) {
            self.standings.doubt_watches(floor);
        }
        let judgements = examination.judgements.iter();
        let broken = judgements.filter(|judgement| judgement.verdict == Verdict::Broken);
        let broken: Vec<&str> = broken.map(|judgement| &*judgement.promise).collect();
        self.is_guessed |= self.forgotten > 0 && !examination.truth.timeline.holes.is_empty();
        let is_sure = !self.is_guessed || broken.iter().any(|name| STREAMS_ALONE.contains(name));
        if !broken.is_empty() && !is_sure {
            self.lost = Some(format!(
                "what was seen needs a write of unknown outcome, {} of which were forgotten",
                self.forgotten
            ));
        } else if !broken.is_empty() {
            let mut vacuity = self.settled.clone();
            figures::add_all(record, &mut vacuity);
            let judgements = self.standings.with(&examination);
            self.broken = Some(Report {
                judgements,
                vacuity,
            });
        } else {
            self.standings.note(&examination);
        }
        examination
    }

    /// Forgets what is settled.
    fn forget(&mut self, examination: &Examination) -> Result<(), ReadError> {
        let record = &self.loader.record;
        let sweep = &examination.sweep;
        let begins = sweep
            .begins_at
            .map(|_| "the history does not begin with an empty store");
        if let Some(why) = sweep.unowned_lease.as_deref().or(begins) {
            self.lost = Some(why.to_owned());
            return Ok(());
        }
        let cut = cut::cut(record, examination, &self.limits);
        if cut.leases > self.limits.unknown {
            self.lost = Some(format!(
                "more than {} leases may be alive",
                self.limits.unknown
            ));
            return Ok(());
        }
        if cut.lags {
            self.standings.doubt_watches(cut.floor);
        }
        self.forgotten += cut.forgotten;
        figures::add(record, |op| !cut.keeps[op], &mut self.settled);
        let has_written = |op: &&Op| record.answer(op).is_some_and(|a| record.wrote(a));
        let writes = cut.settled(record).filter(has_written);
        let last = writes.map(|op| op.end).max();
        self.written = self.written.max(last.unwrap_or(0));
        self.settled.watch_streams += cut.streams;
        self.settled.watch_events += cut.events;
        self.judged = u32::try_from(self.taken).unwrap_or(u32::MAX);
        let (window, loader) = self.window.rest(record, &examination.pairs, &cut)?;
        self.window = window;
        self.loader = loader;
        self.kept = self.loader.record.ops.len();
        if self.window.bytes() > self.limits.window {
            self.lost = Some(format!(
                "more than {} MiB of the history could not be settled, from revision {} on",
                self.limits.window >> 20,
                self.loader.record.past.base + 1
            ));
        }
        Ok(())
    }

    /// Why nothing more is judged, where that is so.
    pub fn lost(&self) -> Option<&str> {
        self.lost.as_deref()
    }

    /// How far the judge has come.
    pub fn status(&self) -> Status {
        let record = &self.loader.record;
        let unanswered = || (record.ops.iter()).filter(|op| op.outcome == Outcome::Unknown);
        Status {
            operations: self.settled.operations + record.ops.len() as u64,
            revision: record.past.base,
            kept: record.ops.len(),
            open: unanswered().filter(|op| op.end_line == 0).count(),
            unknown: unanswered().filter(|op| op.end_line > 0).count(),
            bytes: self.window.bytes(),
        }
    }

    /// Ends the history and judges the rest of it.
    pub fn finish(mut self) -> Result<Report, ReadError> {
        let partial = std::mem::take(&mut self.partial);
        if !partial.is_empty() {
            self.line(&partial)?;
        }
        self.take_moment()?;
        if !self.begun {
            return Err(read::empty());
        }
        if let Some(report) = self.broken {
            return Ok(report);
        }
        let last = match self.lost {
            Some(_) => None,
            None => Some(self.examine(false)),
        };
        if let Some(report) = self.broken {
            return Ok(report);
        }
        let mut vacuity = self.settled;
        figures::add_all(&self.loader.record, &mut vacuity);
        let judgements = match (self.lost, last) {
            (None, Some(last)) => {
                let is_covered = covers(&self.loader.record, &last, self.written);
                (self.standings).end(&last, vacuity.operations, is_covered)
            }
            (why, _) => self.standings.lost(&why.unwrap_or_default()),
        };
        Ok(Report {
            judgements,
            vacuity,
        })
    }
}

/// Whether the copies of a quorum of the members were asked for when every settled write had been acknowledged, and were
/// compared with the replay.
fn covers(record: &Record, last: &Examination, written: u64) -> bool {
    let dumps = last_dumps(record);
    let is_known = |dump: &&Dump<'_>| dump.call >= written && dump.revision >= record.past.floor;
    let local = &last.sweep.local;
    let is_certain = local.doubtful == 0 && local.wrong.is_none() && local.no_order.is_none();
    written == 0
        || is_certain && dumps.iter().filter(is_known).count() > record.nodes.len().max(1) / 2
}

/// Promises that a stream breaks by itself, whatever was written.
const STREAMS_ALONE: [&str; 4] = [
    "watch.filter",
    "watch.ordered",
    "watch.unique",
    "watch.atomic",
];

/// The time of a line as far as it can be told without reading it: the last one in it.
fn time_of(line: &[u8]) -> Option<u64> {
    const FIELD: &[u8] = b"\"time\":";
    let at = line.windows(FIELD.len()).rposition(|part| part == FIELD)?;
    let number = line[at + FIELD.len()..].trim_ascii_start();
    let digits = number.iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(None, |number: Option<u64>, digit| {
        let number = number.unwrap_or_default().checked_mul(10)?;
        number.checked_add(u64::from(digit - b'0'))
    })
}
