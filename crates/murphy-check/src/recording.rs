//! A recording is a history in memory: each invocation with what became of it, whatever format it was read from.
//!
//! A reader of a format lends [`Entry`] after [`Entry`] to a [`Recorder`], which pairs answers with what was asked
//! and refuses what cannot have happened: two open invocations of one process, an answer nobody asked for, time that
//! goes backwards, an index that comes twice. What the words *mean* is the model's ([`crate::model`]).

use std::borrow::Cow;

use rustc_hash::FxHashMap;

use crate::{
    history::{Header, Kind, NEMESIS},
    intern::{Bytes, Id, NONE, Names, next_id},
    value::Value,
};

/// One line of a history, as the reader of its format understood it.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    /// Line of its file, from 1.
    pub line: u64,
    /// Its number, where the format has one; numbers rise.
    pub index: Option<u64>,
    /// What the line says of its invocation.
    pub kind: Kind,
    /// Who asked; [`NEMESIS`] for faults.
    pub process: Cow<'a, str>,
    /// What was asked for.
    pub f: Cow<'a, str>,
    /// The request, or the answer.
    pub value: Value,
    /// When, in ns since some start; on every line or on none.
    pub time: Option<u64>,
    /// The member that was asked.
    pub node: Option<Cow<'a, str>>,
    /// What went wrong.
    pub error: Option<Cow<'a, str>>,
}

/// What to do with a line that cannot be right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strictness {
    /// Refuse the history.
    #[default]
    Strict,
    /// Leave the line out, and say so.
    Lenient,
}

/// What became of an invocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered.
    Ok,
    /// It certainly did not happen.
    Fail,
    /// It may or may not have happened, or happens still.
    Unknown,
}

/// One invocation.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// Who asked; its name is [`Recording::process`].
    pub process: u32,
    /// What was asked for; its word is [`Recording::word`].
    pub f: u32,
    /// The request.
    pub ask: Value,
    /// The answer; nil where there is none.
    pub answer: Value,
    /// What became of it.
    pub outcome: Outcome,
    /// The moment it was asked: ns since the start where the history has times, the number of the line otherwise.
    pub call: u64,
    /// The moment it was answered or given up; [`u64::MAX`] for never. An unknown outcome may take effect later.
    pub end: u64,
    /// Line of the request, from 1.
    pub line: u32,
    /// Line of the answer; 0 for none.
    pub end_line: u32,
    /// Index of the request.
    pub index: u64,
    /// Index of the answer, or of the request where there is none.
    pub end_index: u64,
    /// The member asked; its name is [`Recording::node`].
    pub node: Option<u32>,
    /// What went wrong; its text is [`Recording::word`].
    pub error: Option<u32>,
}

/// A fault from its begin to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultBand {
    /// What it was, such as `kill`.
    pub f: String,
    /// The member it hit.
    pub node: Option<String>,
    /// The moment it began.
    pub begin: u64,
    /// The moment it ended; [`u64::MAX`] where it did not.
    pub end: u64,
}

/// A line that was left out because nothing can be made of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Line of its file, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub problem: Box<str>,
}

/// How many warnings are kept; more are only counted.
const WARNINGS_KEPT: usize = 100;

/// A history in memory.
#[derive(Clone, Debug)]
pub struct Recording {
    /// What the history says of itself.
    pub header: Header,
    /// In the order in which they were asked.
    pub invocations: Vec<Invocation>,
    /// In the order of their begin.
    pub faults: Vec<FaultBand>,
    /// Whether moments are ns; the numbers of lines otherwise.
    pub is_timed: bool,
    /// The first lines that were left out.
    pub warnings: Vec<Warning>,
    /// How many lines were left out.
    pub left_out: u64,
    words: Bytes,
    processes: Names,
    nodes: Bytes,
}

impl Recording {
    /// The name of a process.
    pub fn process(&self, id: u32) -> &str {
        self.processes.get(id)
    }

    /// How many processes there are.
    pub fn process_count(&self) -> usize {
        self.processes.len()
    }

    /// A word of the history: an `f` or an error.
    pub fn word(&self, id: u32) -> &str {
        text(&self.words, id)
    }

    /// Counts a line that is left out.
    pub fn warn(&mut self, warning: Warning) {
        self.left_out += 1;
        if self.warnings.len() < WARNINGS_KEPT {
            self.warnings.push(warning);
        }
    }

    /// The name of a member.
    pub fn node(&self, id: u32) -> &str {
        text(&self.nodes, id)
    }
}

/// They were read from UTF-8.
fn text(bytes: &Bytes, id: Id) -> &str {
    std::str::from_utf8(bytes.get(id)).unwrap_or_default()
}

/// Makes a [`Recording`] of the lines of a history.
#[derive(Debug)]
pub struct Recorder {
    recording: Recording,
    strictness: Strictness,
    /// The open invocation of each process, [`NONE`] for none.
    open: Vec<Id>,
    /// The open fault of each id.
    open_faults: FxHashMap<String, usize>,
    moment: u64,
    next_index: u64,
    entries: u64,
    untimed: u64,
    /// Places of invocations that nobody speaks of any more ([`Self::release`]).
    free: Vec<Id>,
}

/// What a line did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    /// The invocation it asked for or completed, by its place in [`Recording::invocations`]; [`NONE`] for none.
    pub number: Id,
    /// An earlier one of the same process that will never be completed; [`NONE`] for none.
    pub given_up: Id,
}

/// A line that did nothing.
const NOTHING: Taken = Taken {
    number: NONE,
    given_up: NONE,
};

impl Recorder {
    /// Nothing recorded yet.
    pub fn new(header: Header, strictness: Strictness) -> Self {
        Self {
            recording: Recording {
                header,
                invocations: Vec::new(),
                faults: Vec::new(),
                is_timed: true,
                warnings: Vec::new(),
                left_out: 0,
                words: Bytes::default(),
                processes: Names::default(),
                nodes: Bytes::default(),
            },
            strictness,
            open: Vec::new(),
            open_faults: FxHashMap::default(),
            moment: 0,
            next_index: 0,
            entries: 0,
            untimed: 0,
            free: Vec::new(),
        }
    }

    /// Takes a line. A problem is said of the whole line; a lenient recorder keeps it as a warning instead.
    pub fn take(&mut self, entry: Entry<'_>) -> Result<(), Box<str>> {
        self.take_one(entry).map(drop)
    }

    /// The same, and what the line did.
    pub(crate) fn take_one(&mut self, entry: Entry<'_>) -> Result<Taken, Box<str>> {
        let line = entry.line;
        self.try_take(entry).or_else(|problem| {
            self.leave_out(line, problem)?;
            Ok(NOTHING)
        })
    }

    /// What was taken so far and not released.
    pub(crate) fn recording(&self) -> &Recording {
        &self.recording
    }

    /// The same, to be changed: to forget what is not needed.
    pub(crate) fn recording_mut(&mut self) -> &mut Recording {
        &mut self.recording
    }

    /// Gives the place of a completed invocation to a later one.
    pub(crate) fn release(&mut self, number: Id) {
        self.free.push(number);
    }

    /// Forgets the names of processes for which `is_needed` does not hold and that have nothing open. Their numbers
    /// go to others.
    pub(crate) fn forget_processes(&mut self, is_needed: impl Fn(Id) -> bool) {
        let open = &self.open;
        let is_open = |id: Id| open.get(id as usize).is_some_and(|open| *open != NONE);
        self.recording
            .processes
            .retain(|id| is_open(id) || is_needed(id));
    }

    /// How many faults act.
    pub(crate) fn open_faults(&self) -> usize {
        self.open_faults.len()
    }

    /// Says that a line was not understood: the problem again, or a warning where the recorder is lenient.
    pub fn leave_out(&mut self, line: u64, problem: impl Into<Box<str>>) -> Result<(), Box<str>> {
        let problem = problem.into();
        if self.strictness == Strictness::Strict {
            return Err(problem);
        }
        self.recording.warn(Warning { line, problem });
        Ok(())
    }

    /// Everything taken so far; what is open has an unknown outcome.
    pub fn finish(self) -> Recording {
        self.recording
    }

    fn try_take(&mut self, entry: Entry<'_>) -> Result<Taken, Box<str>> {
        let line = u32::try_from(entry.line).map_err(|_| "more than 4 294 967 295 lines")?;
        let index = self.index(entry.index)?;
        let moment = self.moment(&entry)?;
        if entry.process == NEMESIS {
            self.fault(&entry, moment);
            return Ok(NOTHING);
        }
        let process = self.recording.processes.id(&entry.process);
        if self.open.len() <= process as usize {
            self.open.resize(process as usize + 1, NONE);
        }
        let open = self.open[process as usize];
        if entry.kind == Kind::Invoke {
            return self.ask(entry, line, index, moment, process);
        }
        if open == NONE {
            return Err(match entry.kind {
                Kind::Ok => "an answer without an open invocation of its process".into(),
                Kind::Fail => "a failure without an open invocation of its process".into(),
                _ => "an unknown outcome without an open invocation of its process".into(),
            });
        }
        let asked = &self.recording.invocations[open as usize];
        if text(&self.recording.words, asked.f) != entry.f {
            return Err(format!(
                "the process asked for `{}` on line {}, and `{}` is completed",
                text(&self.recording.words, asked.f),
                asked.line,
                entry.f
            )
            .into());
        }
        self.open[process as usize] = NONE;
        let error = entry
            .error
            .map(|error| self.recording.words.id(error.as_bytes()));
        let invocation = &mut self.recording.invocations[open as usize];
        invocation.outcome = match entry.kind {
            Kind::Ok => Outcome::Ok,
            Kind::Fail => Outcome::Fail,
            Kind::Invoke | Kind::Info => Outcome::Unknown,
        };
        invocation.end = moment;
        invocation.end_line = line;
        invocation.end_index = index;
        invocation.error = error;
        if entry.kind == Kind::Ok {
            invocation.answer = entry.value;
        }
        Ok(Taken {
            number: open,
            given_up: NONE,
        })
    }

    fn ask(
        &mut self,
        entry: Entry<'_>,
        line: u32,
        index: u64,
        moment: u64,
        process: Id,
    ) -> Result<Taken, Box<str>> {
        let open = &mut self.open[process as usize];
        let given_up = *open;
        if *open != NONE {
            let earlier = self.recording.invocations[*open as usize].line;
            let problem =
                format!("the process asks again while its invocation of line {earlier} is open");
            // A lenient reader takes the new one, and the old one for one that was never answered.
            if self.strictness == Strictness::Strict {
                return Err(problem.into());
            }
            *open = NONE;
            self.leave_out(u64::from(line), problem)?;
        }
        let f = self.recording.words.id(entry.f.as_bytes());
        let node = entry
            .node
            .map(|node| self.recording.nodes.id(node.as_bytes()));
        let invocation = Invocation {
            process,
            f,
            ask: entry.value,
            answer: Value::Nil,
            outcome: Outcome::Unknown,
            call: moment,
            end: u64::MAX,
            line,
            end_line: 0,
            index,
            end_index: index,
            node,
            error: None,
        };
        let number = if let Some(free) = self.free.pop() {
            self.recording.invocations[free as usize] = invocation;
            free
        } else {
            self.recording.invocations.push(invocation);
            next_id(self.recording.invocations.len() - 1)
        };
        self.open[process as usize] = number;
        Ok(Taken { number, given_up })
    }

    /// The index of an entry; without one, its position.
    fn index(&mut self, said: Option<u64>) -> Result<u64, Box<str>> {
        let Some(index) = said else {
            self.next_index += 1;
            return Ok(self.next_index - 1);
        };
        if index < self.next_index {
            return Err(format!("index {index} comes twice or too late").into());
        }
        self.next_index = index + 1;
        Ok(index)
    }

    /// The moment of an entry. Where time goes backwards, a lenient recorder stops it: what is then simultaneous is
    /// taken for concurrent, which accuses nobody.
    fn moment(&mut self, entry: &Entry<'_>) -> Result<u64, Box<str>> {
        self.entries += 1;
        let Some(time) = entry.time else {
            if self.untimed + 1 < self.entries {
                return Err("expected the field `time`, as on the lines before".into());
            }
            self.untimed += 1;
            self.recording.is_timed = false;
            return Ok(self.untimed);
        };
        if self.untimed > 0 {
            return Err("a time, after lines without one".into());
        }
        if time < self.moment {
            let problem = format!("time goes backwards, from {} to {time} ns", self.moment);
            self.leave_out(entry.line, problem)?;
            return Ok(self.moment);
        }
        self.moment = time;
        Ok(time)
    }

    /// `{"phase":"begin"|"end","id":…}` as Murphy writes it.
    fn fault(&mut self, entry: &Entry<'_>, moment: u64) {
        let phase = entry.value.field("phase").and_then(Value::as_text);
        let id = entry.value.field("id").map_or_else(
            || format!("{} {}", entry.f, entry.node.as_deref().unwrap_or_default()),
            ToString::to_string,
        );
        match phase {
            Some("begin") => {
                self.open_faults.insert(id, self.recording.faults.len());
                self.recording.faults.push(FaultBand {
                    f: entry.f.clone().into_owned(),
                    node: entry.node.as_deref().map(str::to_owned),
                    begin: moment,
                    end: u64::MAX,
                });
            }
            Some("end") => {
                if let Some(open) = self.open_faults.remove(&id) {
                    self.recording.faults[open].end = moment;
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(line: u64, kind: Kind, process: &str, f: &str, time: Option<u64>) -> Entry<'static> {
        Entry {
            line,
            index: None,
            kind,
            process: process.to_owned().into(),
            f: f.to_owned().into(),
            value: Value::Int(1),
            time,
            node: None,
            error: None,
        }
    }

    fn record(strictness: Strictness, entries: &[Entry<'static>]) -> Result<Recording, Box<str>> {
        let mut recorder = Recorder::new(Header::new("register"), strictness);
        for entry in entries {
            recorder.take(entry.clone())?;
        }
        Ok(recorder.finish())
    }

    #[test]
    fn answers_find_what_was_asked() {
        let recording = record(
            Strictness::Strict,
            &[
                entry(2, Kind::Invoke, "a", "write", Some(5)),
                entry(3, Kind::Invoke, "b", "read", Some(6)),
                entry(4, Kind::Ok, "a", "write", Some(7)),
                entry(5, Kind::Info, "b", "read", Some(8)),
                entry(6, Kind::Invoke, "a", "read", Some(8)),
            ],
        )
        .unwrap();
        let outcomes: Vec<_> = recording
            .invocations
            .iter()
            .map(|i| (i.outcome, i.call, i.end))
            .collect();
        assert_eq!(
            outcomes,
            [
                (Outcome::Ok, 5, 7),
                (Outcome::Unknown, 6, 8),
                (Outcome::Unknown, 8, u64::MAX)
            ]
        );
    }

    #[test]
    fn what_cannot_have_happened_is_refused_or_counted() {
        let cases = [
            (
                "the process asks again while its invocation of line 2 is open",
                vec![
                    entry(2, Kind::Invoke, "a", "write", None),
                    entry(3, Kind::Invoke, "a", "write", None),
                ],
            ),
            (
                "an answer without an open invocation of its process",
                vec![entry(2, Kind::Ok, "a", "write", None)],
            ),
            (
                "the process asked for `write` on line 2, and `read` is completed",
                vec![
                    entry(2, Kind::Invoke, "a", "write", None),
                    entry(3, Kind::Ok, "a", "read", None),
                ],
            ),
            (
                "time goes backwards, from 9 to 8 ns",
                vec![
                    entry(2, Kind::Invoke, "a", "write", Some(9)),
                    entry(3, Kind::Ok, "a", "write", Some(8)),
                ],
            ),
            (
                "expected the field `time`, as on the lines before",
                vec![
                    entry(2, Kind::Invoke, "a", "write", Some(9)),
                    entry(3, Kind::Ok, "a", "write", None),
                ],
            ),
            (
                "index 4 comes twice or too late",
                vec![
                    Entry {
                        index: Some(4),
                        ..entry(2, Kind::Invoke, "a", "write", None)
                    },
                    Entry {
                        index: Some(4),
                        ..entry(3, Kind::Ok, "a", "write", None)
                    },
                ],
            ),
        ];
        for (problem, entries) in cases {
            assert_eq!(&*record(Strictness::Strict, &entries).unwrap_err(), problem);
            let recording = record(Strictness::Lenient, &entries).unwrap();
            assert_eq!(recording.left_out, 1, "{problem}");
            assert_eq!(&*recording.warnings[0].problem, problem);
        }
    }

    #[test]
    fn lines_without_times_are_in_the_order_of_the_file() {
        let recording = record(
            Strictness::Strict,
            &[
                entry(7, Kind::Invoke, "a", "write", None),
                entry(9, Kind::Ok, "a", "write", None),
            ],
        )
        .unwrap();
        assert!(!recording.is_timed);
        assert_eq!(
            (recording.invocations[0].call, recording.invocations[0].end),
            (1, 2)
        );
    }
}
