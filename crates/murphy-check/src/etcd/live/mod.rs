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
use window::Window;

use super::{
    check::{Examination, Options, examine},
    figures,
    load::Loader,
    record::{Outcome, Stream},
    sweep::Fault,
};
use crate::{
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
    /// Operations that came into the window by forgetting, and so are not new.
    kept: usize,
    /// The lines up to this one were judged before.
    judged: u32,
    settled: Vacuity,
    standings: Standings,
    /// Unknown outcomes were forgotten, though they may still act.
    forgotten: u64,
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
            kept: 0,
            judged: 0,
            settled: Vacuity::default(),
            standings: Standings::default(),
            forgotten: 0,
            lost: None,
            broken: None,
        }
    }

    /// Reads the next bytes of the history; lines may be cut anywhere. Returns the report of the first violation, and
    /// the same again whatever comes behind it.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<Option<&Report>, ReadError> {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
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
        let defined = self.loader.defined;
        read::read_line(line, self.number, &mut self.begun, &mut self.loader)?;
        let is_definition = self.loader.defined > defined;
        self.window.keep(self.number, line, is_definition);
        let new = self.loader.record.ops.len() - self.kept;
        if new >= self.limits.step.max(self.kept) {
            self.look()?;
        }
        Ok(())
    }

    /// Judges what was read so far, and forgets what is settled. Returns the report of a violation.
    pub fn look(&mut self) -> Result<Option<&Report>, ReadError> {
        if !self.begun || self.lost.is_some() || self.broken.is_some() {
            return Ok(self.broken.as_ref());
        }
        let examination = self.examine();
        if self.broken.is_none() && self.lost.is_none() {
            self.forget(&examination)?;
        }
        Ok(self.broken.as_ref())
    }

    /// Judges the window.
    fn examine(&mut self) -> Examination {
        self.loader.record.complete();
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
        let record = &self.loader.record;
        let judgements = examination.judgements.iter();
        let is_broken = judgements.clone().any(|j| j.verdict == Verdict::Broken);
        if is_broken && self.forgotten > 0 && rests_on_unknown(&examination) {
            self.lost = Some(format!(
                "what was seen needs a write of unknown outcome, {} of which were forgotten",
                self.forgotten
            ));
        } else if is_broken {
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
        self.settled.watch_streams += cut.streams;
        self.settled.watch_events += cut.events;
        self.judged = u32::try_from(self.number).unwrap_or(u32::MAX);
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
        if !self.begun {
            return Err(read::empty());
        }
        if let Some(report) = self.broken {
            return Ok(report);
        }
        let last = match self.lost {
            Some(_) => None,
            None => Some(self.examine()),
        };
        if let Some(report) = self.broken {
            return Ok(report);
        }
        let mut vacuity = self.settled;
        figures::add_all(&self.loader.record, &mut vacuity);
        let judgements = match (self.lost, last) {
            (None, Some(last)) => self.standings.end(&last, vacuity.operations),
            (why, _) => self.standings.lost(&why.unwrap_or_default()),
        };
        Ok(Report {
            judgements,
            vacuity,
        })
    }
}

/// Whether what was found may have come from a write that was forgotten: a revision that nobody acknowledged has no
/// writer, or its content is not told by a watch of every key.
fn rests_on_unknown(seen: &Examination) -> bool {
    let is_open = |fault: &Fault| matches!(fault, Fault::Unfillable { .. } | Fault::NoOrder { .. });
    seen.sweep.faults.iter().any(is_open)
        || seen.sweep.local.no_order.is_some()
        || (seen.truth.timeline.holes.iter()).any(|hole| !hole.is_exact)
}
