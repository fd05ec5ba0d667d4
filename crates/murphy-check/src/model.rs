//! A model is a sequential specification: what one operation does to a state, and which answers that state allows.
//!
//! A model knows nothing of clients, time or concurrency; the checkers ask it for one step at a time. Thirty lines
//! make one: a state, [`Model::step`], and the words of its histories ([`Vocabulary`]). docs/models.md has a table
//! of those that are built in ([`crate::models`]) and an example of one that is not.

use std::{fmt::Debug, hash::Hash};

use rustc_hash::FxHashSet;

use crate::{
    recording::{Invocation, Outcome, Recording},
    value::Value,
};

/// A sequential specification.
pub trait Model {
    /// What there is between two operations. Cloned once for each step that is tried: keep it small, or shared.
    type State: Clone + Eq + Hash + Debug;
    /// What a client asks.
    type Ask: Clone + Debug + PartialEq;
    /// What it is answered.
    type Answer: Clone + Debug;

    /// The state before the first operation.
    fn initial(&self) -> Self::State;

    /// Hands `next` every state in which `ask`, answered with `answer`, may leave `state`; none where that answer is
    /// impossible. Without an answer, which nobody has seen, every state that any answer would leave; the unchanged
    /// one need not be among them, because an operation without an answer may also not have happened.
    fn step(
        &self,
        state: &Self::State,
        ask: &Self::Ask,
        answer: Option<&Self::Answer>,
        next: &mut dyn FnMut(Self::State),
    );

    /// Whether an operation is possible in a state, with that answer.
    fn allows(&self, state: &Self::State, ask: &Self::Ask, answer: Option<&Self::Answer>) -> bool {
        let mut is_possible = false;
        self.step(state, ask, answer, &mut |_| is_possible = true);
        is_possible
    }

    /// What part of the state the operation reads and writes, where parts never influence one another; histories are
    /// then judged part by part. States stay whole: a part's operations are simply the only ones there are.
    fn part(&self, ask: &Self::Ask, answer: Option<&Self::Answer>) -> Part {
        let _ = (ask, answer);
        Part::Whole
    }

    /// Whether the operation, answered like that, leaves every state as it is in which the answer is possible.
    fn is_read(&self, ask: &Self::Ask, answer: Option<&Self::Answer>) -> bool {
        let _ = (ask, answer);
        false
    }

    /// Whether there are states in which this answer is impossible; a history of nothing else proves nothing.
    fn tells(&self, ask: &Self::Ask, answer: &Self::Answer) -> bool {
        let _ = (ask, answer);
        true
    }

    /// Whether the operation is possible in every state, and leaves its part ([`Model::part`]) as if nothing had been
    /// there. Nobody sees then what was done to that part before it and after the last answer that tells of it.
    fn overwrites(&self, ask: &Self::Ask, answer: Option<&Self::Answer>) -> bool {
        let _ = (ask, answer);
        false
    }

    /// Whether operations of `between`, each at most once and in some order, may lead from `state` to one in which
    /// `ask` can be answered with `answer`. False only where that is certain: a search then looks no further.
    fn can_lead_to<'a>(
        &self,
        state: &Self::State,
        ask: &Self::Ask,
        answer: &Self::Answer,
        between: impl Iterator<Item = &'a Self::Ask>,
    ) -> bool
    where
        Self::Ask: 'a,
    {
        let _ = (state, ask, answer, between);
        true
    }

    /// A group of operations that can be left out of any legal sequence *together*, and it stays legal: the writes of
    /// a value and its reads, a value's enqueue and dequeue. A witness is made smaller by leaving groups out. `None`
    /// for an operation that belongs to no such group.
    fn group(&self, ask: &Self::Ask, answer: Option<&Self::Answer>) -> Option<u64> {
        let _ = (ask, answer);
        None
    }

    /// What is left of the answer of an operation of no group when a group is left out: the values read, without that
    /// group's.
    fn without(&self, answer: &Self::Answer, group: u64) -> Self::Answer {
        let _ = group;
        answer.clone()
    }

    /// How many bytes a state takes, roughly, with what it points to. Limits of memory rest on it.
    fn state_bytes(&self, state: &Self::State) -> usize {
        size_of_val(state)
    }
}

/// What an operation reads and writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Everything, or what has no name.
    Whole,
    /// The part of one key.
    Key(u64),
    /// The parts of several keys.
    Keys(Vec<u64>),
}

/// The words in which histories of a model are written, and in which it is spoken of.
pub trait Vocabulary: Model {
    /// The model's name in headers and on the command line, such as `cas-register`.
    const NAME: &'static str;

    /// Understands a request; the error is a fragment such as ``unknown f `cas`; model register has read and write``.
    fn ask(&mut self, request: Request<'_>) -> Result<Self::Ask, Box<str>>;

    /// Understands the answer to `ask`.
    fn answer(&mut self, ask: &Self::Ask, value: &Value) -> Result<Self::Answer, Box<str>>;

    /// What an invocation of type `fail` amounts to; nothing, for it did not happen. But a compare-and-set that fails
    /// without an error has seen another value, and that is an answer.
    fn failure(&mut self, ask: &Self::Ask, error: Option<&str>) -> Option<Self::Answer> {
        let _ = (ask, error);
        None
    }

    /// A few words for what was asked, such as `write 5` or `read`.
    fn say_ask(&self, ask: &Self::Ask) -> String;

    /// A few words for the answer, such as `5`; empty where an answer says nothing.
    fn say_answer(&self, ask: &Self::Ask, answer: &Self::Answer) -> String;

    /// A few words for a state.
    fn say_state(&self, state: &Self::State) -> String;

    /// Forgets the words that are nowhere in `kept`, and adds to [`Kept::processes`] those that states speak of. A live
    /// judge asks for it, so that its memory does not grow with the history.
    fn forget(&mut self, kept: &mut Kept<'_, Self>)
    where
        Self: Sized,
    {
        let _ = kept;
    }
}

/// What is still needed of a history that is forgotten as it is judged ([`Vocabulary::forget`]).
#[derive(Debug)]
pub struct Kept<'a, M: Model> {
    /// The states there may be.
    pub states: Vec<&'a M::State>,
    /// What was asked by operations that are not settled.
    pub asks: Vec<&'a M::Ask>,
    /// What some of them were answered.
    pub answers: Vec<&'a M::Answer>,
    /// The processes whose names are needed.
    pub processes: FxHashSet<u32>,
}

/// A request as the history has it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Who asks.
    pub process: u32,
    /// What for.
    pub f: &'a str,
    /// With what.
    pub value: &'a Value,
}

/// An operation that did happen, or may have, in the terms of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation<A, R> {
    /// Who asked.
    pub process: u32,
    /// The moment it was asked.
    pub call: u64,
    /// The moment after which it is certainly over: of the answer, or [`u64::MAX`] where there was none.
    /// One operation precedes another where its `end` is *less* than the other's `call`.
    pub end: u64,
    /// What was asked.
    pub ask: A,
    /// What was answered; `None` for an unknown outcome: it may have happened at any time from `call` on, or never.
    pub answer: Option<R>,
    /// Position in [`Recording::invocations`].
    pub number: u32,
}

/// An operation of model `M`. A history is a list of them in the order in which they were asked.
pub type OperationOf<M> = Operation<<M as Model>::Ask, <M as Model>::Answer>;

/// The part of an operation ([`Model::part`]).
pub(crate) fn part<M: Model>(model: &M, operation: &OperationOf<M>) -> Part {
    model.part(&operation.ask, operation.answer.as_ref())
}

/// Whether an operation has an answer that is impossible in some state ([`Model::tells`]).
pub(crate) fn tells<M: Model>(model: &M, operation: &OperationOf<M>) -> bool {
    let answer = operation.answer.as_ref();
    answer.is_some_and(|answer| model.tells(&operation.ask, answer))
}

/// Whether each operation has one key, or each is about everything: only then is all of what is overwritten gone.
pub(crate) fn are_alike<'a, M: Model>(
    model: &M,
    operations: impl Iterator<Item = &'a OperationOf<M>> + Clone,
) -> bool
where
    OperationOf<M>: 'a,
{
    let mut parts = operations.map(|operation| part(model, operation));
    parts.clone().all(|part| part == Part::Whole) || parts.all(|part| matches!(part, Part::Key(_)))
}

/// A line that the model does not understand.
#[derive(Debug, PartialEq, Eq)]
pub struct Misunderstood {
    /// Line of the history, from 1.
    pub line: u32,
    /// What is wrong with it.
    pub problem: Box<str>,
}

/// Understands an invocation; `None` for one that certainly did not happen.
pub fn understand<M: Vocabulary>(
    model: &mut M,
    recording: &Recording,
    number: u32,
    invocation: &Invocation,
) -> Result<Option<OperationOf<M>>, Misunderstood> {
    let at = |line| move |problem| Misunderstood { line, problem };
    let request = Request {
        process: invocation.process,
        f: recording.word(invocation.f),
        value: &invocation.ask,
    };
    let ask = model.ask(request).map_err(at(invocation.line))?;
    let answer = match invocation.outcome {
        Outcome::Unknown => None,
        Outcome::Ok => {
            let answer = model.answer(&ask, &invocation.answer);
            Some(answer.map_err(at(invocation.end_line))?)
        }
        Outcome::Fail => {
            let error = invocation.error.map(|error| recording.word(error));
            match model.failure(&ask, error) {
                None => return Ok(None),
                failure => failure,
            }
        }
    };
    Ok(Some(Operation {
        process: invocation.process,
        call: invocation.call,
        end: if answer.is_some() {
            invocation.end
        } else {
            u64::MAX
        },
        ask,
        answer,
        number,
    }))
}
