//! A stream is one history on its way: what is open, and the parts that are not settled.

use std::mem;

use rustc_hash::{FxHashMap, FxHashSet};

use super::{
    LiveJudge, Options, Progress,
    clock::{Clock, Tick},
    figures::{Faults, Figures},
    part::{Context, Held, Open, Part, Settled},
    words,
};
use crate::{
    history::{Header, Kind},
    intern::{Id, NONE},
    judge::{
        PROMISE, doubt,
        quick::{Partition, Plain, Quick},
    },
    model::{Kept, Misunderstood, Operation, Part as Keys, Request},
    recording::{Entry, Outcome, Recorder, Recording, Strictness, Warning},
    sessions::Access,
    text::counted,
    value::Value,
    verdict::{Judgement, Report, Verdict, plain},
};

/// So many operations are released before names and values are looked through for those that are not needed.
const SWEEP_EVERY: usize = 1 << 16;

/// An operation that is open.
#[derive(Debug)]
struct Asked<A> {
    ask: A,
    call: Tick,
    /// Its part; [`NONE`] where only the answer tells.
    part: u32,
    faults: Faults,
}

/// A history of model `M` on its way.
pub(crate) struct Stream<M: Quick> {
    model: M,
    options: Options,
    recorder: Recorder,
    clock: Clock,
    figures: Figures,
    /// What is open, by the place of its invocation.
    asked: Vec<Option<Asked<M::Ask>>>,
    parts: Vec<Part<M>>,
    part_of: FxHashMap<u64, u32>,
    /// Parts with operations that were completed at this moment.
    stirred: Vec<u32>,
    progress: Progress,
    /// Why some of it is not judged.
    lost: Option<&'static str>,
    broken: Option<Judgement>,
    released: Vec<Id>,
    /// How many were released since names and values were looked through.
    since_sweep: usize,
    sweep_at: usize,
}

impl<M: Quick + Default> Stream<M> {
    /// Nothing taken yet.
    pub fn new(header: &Header, options: &Options) -> Self {
        let mut options = *options;
        // More are not told apart.
        options.limits.unknown_per_part = options.limits.unknown_per_part.min(128);
        Self {
            model: M::default(),
            options,
            recorder: Recorder::new(header.clone(), options.strictness),
            clock: Clock::default(),
            figures: Figures::default(),
            asked: Vec::new(),
            parts: Vec::new(),
            part_of: FxHashMap::default(),
            stirred: Vec::new(),
            progress: Progress::default(),
            lost: None,
            broken: None,
            released: Vec::new(),
            since_sweep: 0,
            sweep_at: SWEEP_EVERY,
        }
    }
}

impl<M: Quick> Stream<M> {
    /// What acts now.
    fn faults(&self) -> Faults {
        Faults {
            begun: self.recorder.recording().faults.len(),
            open: self.recorder.open_faults(),
        }
    }

    /// The part of a key; [`NONE`] where there are too many.
    fn part(&mut self, key: u64) -> u32 {
        if let Some(part) = self.part_of.get(&key) {
            return *part;
        }
        if self.parts.len() >= self.options.limits.parts {
            self.lost.get_or_insert("there are too many keys");
            return NONE;
        }
        let part = u32::try_from(self.parts.len()).unwrap_or(NONE);
        self.parts.push(Part::new(&self.model));
        self.progress.configs += 1;
        self.part_of.insert(key, part);
        part
    }

    /// The part of what was asked, as far as that tells.
    fn part_asked(&mut self, ask: &M::Ask) -> u32 {
        match M::PARTITION {
            Partition::Whole => self.part(0),
            Partition::ByAsk => match self.model.part(ask, None) {
                Keys::Key(key) => self.part(key),
                _ => self.part(0),
            },
            Partition::ByAnswer => NONE,
        }
    }

    fn part_answered(&mut self, asked: &Asked<M::Ask>, answer: Option<&M::Answer>) -> u32 {
        match M::PARTITION {
            Partition::ByAnswer => match self.model.part(&asked.ask, answer) {
                Keys::Key(key) => self.part(key),
                _ => NONE,
            },
            _ => asked.part,
        }
    }

    /// What the model does not understand: an error, or a warning.
    fn misunderstood(&mut self, line: u32, problem: Box<str>) -> Result<(), Misunderstood> {
        if self.options.strictness == Strictness::Strict {
            return Err(Misunderstood { line, problem });
        }
        self.recorder.recording_mut().warn(Warning {
            line: line.into(),
            problem,
        });
        Ok(())
    }

    fn ask(&mut self, number: Id, tick: Tick) -> Result<(), Misunderstood> {
        self.figures.vacuity.operations += 1;
        let faults = self.faults();
        let place = number as usize;
        if self.asked.len() <= place {
            self.asked.resize_with(place + 1, || None);
        }
        let recording = self.recorder.recording();
        let invocation = &recording.invocations[place];
        let process = invocation.process;
        let request = Request {
            process,
            f: recording.word(invocation.f),
            value: &invocation.ask,
        };
        let line = invocation.line;
        let ask = match self.model.ask(request) {
            Ok(ask) => ask,
            Err(problem) => return self.misunderstood(line, problem),
        };
        self.recorder.recording_mut().invocations[place].ask = Value::Nil;
        self.clock.asked(process, tick);
        let part = self.part_asked(&ask);
        let writes = match self.model.access(&ask, None) {
            Plain::Access(_, Access::Write(value)) => Some(value),
            _ => None,
        };
        if let Some(part) = self.parts.get_mut(part as usize) {
            let open = Open {
                number,
                process,
                call: tick,
                ask: ask.clone(),
                writes,
            };
            part.ask(&self.model, open);
        }
        self.progress.open += 1;
        self.asked[place] = Some(Asked {
            ask,
            call: tick,
            part,
            faults,
        });
        Ok(())
    }

    /// An operation is over: answered, failed, or lost (`tick` is that of the answer).
    fn complete(&mut self, number: Id, tick: Option<Tick>) -> Result<(), Misunderstood> {
        let place = number as usize;
        let faults = self.faults();
        let Some(asked) = self.asked.get_mut(place).and_then(Option::take) else {
            // It was not understood.
            self.recorder.release(number);
            return Ok(());
        };
        self.progress.open -= 1;
        self.figures.end(asked.faults, faults);
        if let Some(part) = self.parts.get_mut(asked.part as usize) {
            part.close(number);
            // Others may have waited for it.
            self.stirred.push(asked.part);
        }
        let recording = self.recorder.recording_mut();
        let value = mem::take(&mut recording.invocations[place].answer);
        let invocation = &recording.invocations[place];
        let (outcome, process) = (invocation.outcome, invocation.process);
        let answer = match outcome {
            Outcome::Unknown => None,
            Outcome::Ok => match self.model.answer(&asked.ask, &value) {
                Ok(answer) => Some(answer),
                Err(problem) => {
                    let line = invocation.end_line;
                    self.recorder.release(number);
                    return self.misunderstood(line, problem);
                }
            },
            Outcome::Fail => {
                self.figures.vacuity.failed += 1;
                let error = invocation.error.map(|error| recording.word(error));
                let failure = self.model.failure(&asked.ask, error);
                if failure.is_none() {
                    if let Some(part) = self.parts.get_mut(asked.part as usize) {
                        part.fail(number);
                    }
                    self.recorder.release(number);
                    return Ok(());
                }
                failure
            }
        };
        self.figures.vacuity.unknown += u64::from(outcome == Outcome::Unknown);
        let is_read = self.model.is_read(&asked.ask, answer.as_ref());
        if let Some(answer) = &answer {
            self.clock.answered(process);
            let tells = self.model.tells(&asked.ask, answer);
            self.figures.answered(is_read, tells, outcome);
        } else {
            self.figures.counted += 1;
        }
        let part = self.part_answered(&asked, answer.as_ref());
        let is_nothing = answer.is_none() && is_read;
        let Some(kept) =
            (self.parts.get_mut(part as usize)).filter(|part| !part.lost && !is_nothing)
        else {
            self.recorder.release(number);
            return Ok(());
        };
        let is_answered = answer.is_some();
        let held = Held {
            operation: Operation {
                process,
                call: asked.call.line,
                end: u64::MAX,
                ask: asked.ask,
                answer,
                number,
            },
            call: asked.call,
            end: tick.filter(|_| is_answered),
        };
        if is_answered {
            kept.answer(&self.model, held);
            self.progress.held += 1;
        } else {
            let before = kept.unknown_count();
            let is_taken = kept.lose(&self.model, held, &self.options.limits);
            self.progress.unknown = self.progress.unknown + kept.unknown_count() - before;
            if !is_taken {
                self.give_up(part, "too many operations of unknown outcome");
            }
        }
        self.stirred.push(part);
        if self.progress.unknown > self.options.limits.unknown {
            self.give_up(part, "too many operations of unknown outcome");
        }
        if self.progress.held > self.options.limits.held {
            self.give_up(part, "too many operations wait for one that is open");
        }
        Ok(())
    }

    /// Judges a part no longer.
    fn give_up(&mut self, number: u32, why: &'static str) {
        let part = &mut self.parts[number as usize];
        if part.lost {
            return;
        }
        self.lost.get_or_insert(why);
        self.progress.lost += 1;
        self.progress.held -= part.held.len();
        self.progress.unknown -= part.unknown_count();
        self.progress.configs -= part.configs();
        part.give_up(&mut self.released);
        self.release();
    }

    fn release(&mut self) {
        self.since_sweep += self.released.len();
        for number in self.released.drain(..) {
            self.recorder.release(number);
        }
    }

    /// Settles what the last moment allows.
    fn settle(&mut self, is_end: bool) {
        let mut stirred = mem::take(&mut self.stirred);
        stirred.sort_unstable();
        stirred.dedup();
        for number in &stirred {
            let context = Context {
                model: &self.model,
                clock: &self.clock,
                limits: &self.options.limits,
                is_end,
            };
            let part = &mut self.parts[*number as usize];
            if part.lost || self.broken.is_some() {
                continue;
            }
            let before = (part.held.len(), part.unknown_count(), part.configs());
            let settled = part.settle(&context, &mut self.released);
            let after = (part.held.len(), part.unknown_count(), part.configs());
            self.progress.held = self.progress.held + after.0 - before.0;
            self.progress.unknown = self.progress.unknown + after.1 - before.1;
            self.progress.configs = self.progress.configs + after.2 - before.2;
            match settled {
                Settled::Fine => {}
                Settled::Lost(why) => self.give_up(*number, why),
                Settled::Broken(evidence) => {
                    self.broken = Some(words::broken(
                        &self.model,
                        self.recorder.recording(),
                        &evidence,
                        self.figures.counted,
                        self.parts.len(),
                    ));
                    self.progress.is_over = true;
                }
            }
        }
        stirred.clear();
        self.stirred = stirred;
        self.release();
        if self.since_sweep >= self.sweep_at {
            self.sweep();
        }
    }

    /// Forgets names and values that nothing speaks of.
    fn sweep(&mut self) {
        let mut kept = Kept {
            states: Vec::new(),
            asks: self
                .asked
                .iter()
                .flatten()
                .map(|asked| &asked.ask)
                .collect(),
            answers: Vec::new(),
            processes: FxHashSet::default(),
        };
        let mut earliest = u64::MAX;
        for part in &self.parts {
            kept.states.extend(part.states());
            for operation in part.operations() {
                kept.asks.push(&operation.ask);
                kept.answers.extend(&operation.answer);
                kept.processes.insert(operation.process);
            }
            earliest = earliest.min(part.earliest().unwrap_or(u64::MAX));
        }
        let open = self.asked.iter().flatten().map(|asked| asked.call.moment);
        self.clock
            .forget(open.min().unwrap_or(u64::MAX).min(earliest));
        self.since_sweep = 0;
        // Looking through what is kept must not cost more than what it is kept for.
        self.sweep_at = SWEEP_EVERY.max((kept.asks.len() + kept.states.len()) * 2);
        self.model.forget(&mut kept);
        let processes = mem::take(&mut kept.processes);
        (self.recorder).forget_processes(|process| processes.contains(&process));
    }

    fn judgement(&self) -> Judgement {
        if let Some(broken) = &self.broken {
            return broken.clone();
        }
        let undecided = |reason: String| plain(PROMISE, Verdict::Undecided, reason);
        if let Some(why) = self.lost {
            let lost = counted(self.progress.lost.max(1) as u64, "key");
            let parts = counted(self.parts.len() as u64, "key");
            return undecided(if self.parts.len() > 1 {
                format!("{why}; {lost} of {parts} could not be judged to the end")
            } else {
                why.to_owned()
            });
        }
        if self.figures.answers == 0 {
            return undecided("no operation was answered".into());
        }
        if !self.figures.tells {
            return undecided("no answer says anything that could be wrong".into());
        }
        let order = if self.parts.len() > 1 {
            "one order for each key"
        } else {
            "one order"
        };
        let operations = counted(self.figures.counted, "operation");
        plain(PROMISE, Verdict::Held, format!("{operations} in {order}"))
    }
}

impl<M: Quick> LiveJudge for Stream<M> {
    fn entry(&mut self, mut entry: Entry<'_>) -> Result<Option<Judgement>, Misunderstood> {
        if self.progress.is_over {
            return Ok(None);
        }
        let line = u32::try_from(entry.line).unwrap_or(u32::MAX);
        let kind = entry.kind;
        if kind != Kind::Fail {
            // Only a failure says something by its error.
            entry.error = None;
        }
        let taken =
            (self.recorder.take_one(entry)).map_err(|problem| Misunderstood { line, problem })?;
        if taken.number == NONE {
            return Ok(None);
        }
        let invocation = &self.recorder.recording().invocations[taken.number as usize];
        let time = if kind == Kind::Invoke {
            invocation.call
        } else {
            invocation.end
        };
        if self.clock.moves(time) {
            self.settle(false);
            if self.broken.is_some() {
                return Ok(self.broken.clone());
            }
        }
        let tick = self.clock.tick(time);
        if taken.given_up != NONE {
            self.complete(taken.given_up, None)?;
        }
        if kind == Kind::Invoke {
            self.ask(taken.number, tick)?;
            self.progress.operations += 1;
        } else {
            self.complete(taken.number, Some(tick))?;
        }
        Ok(None)
    }

    fn leave_out(&mut self, line: u64, problem: Box<str>) -> Result<(), Box<str>> {
        self.recorder.leave_out(line, problem)
    }

    fn finish(&mut self) -> Report {
        if self.broken.is_none() {
            let open: Vec<Id> = (0..)
                .zip(&self.asked)
                .filter(|(_, asked)| asked.is_some())
                .map(|(number, _)| number)
                .collect();
            for number in open {
                // Nothing is to be understood about what was not answered.
                let _ = self.complete(number, None);
            }
            // Those that were too wide are tried once more.
            let all = (0..).zip(&self.parts);
            let waiting = all.filter(|(_, part)| !part.held.is_empty());
            self.stirred.extend(waiting.map(|(number, _)| number));
            self.settle(true);
        }
        let recording = self.recorder.recording();
        let mut judgement = self.judgement();
        if recording.left_out > 0 {
            doubt(&mut judgement, recording.left_out);
        }
        let mut vacuity = self.figures.vacuity.clone();
        vacuity.faults = recording.faults.len() as u64;
        Report {
            judgements: vec![judgement],
            vacuity,
        }
    }

    fn progress(&self) -> Progress {
        Progress {
            parts: self.parts.len(),
            ..self.progress
        }
    }

    fn recording(&self) -> &Recording {
        self.recorder.recording()
    }
}
