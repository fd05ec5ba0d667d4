//! A live judge takes a history line by line, while it is written, and forgets what is settled.
//!
//! It judges promise `linearizable` as [`crate::judge`] does, with the same search, and says `broken` at the first
//! contradiction. Its memory does not grow with the history: operations are held until every invocation that was asked
//! before their answer is completed (the *watermark*); then what there may be at that moment takes their place. Where
//! limits come first ([`Limits`]) the verdict is `undecided`, never `held`. docs/live.md has the whole of it.
//!
//! ```
//! use murphy_check::{formats, live, verdict::Verdict};
//!
//! let history = br#"{"murphy":"history","version":1,"model":"register"}
//! {"type":"invoke","process":"a","f":"write","value":1,"time":1}
//! {"type":"ok","process":"a","f":"write","time":2}
//! {"type":"invoke","process":"b","f":"read","time":3}
//! {"type":"ok","process":"b","f":"read","value":null,"time":4}
//! "#;
//! let start = &mut |header: &_| {
//!     let options = live::Options::default();
//!     live::start("register".parse().expect("a model"), header, &options).map_err(|error| error.to_string().into())
//! };
//! let mut judge = formats::follow(&history[..], &formats::Options::default(), start, &mut |_| {})?;
//! let report = judge.finish();
//! assert_eq!(report.judgements[0].verdict, Verdict::Broken);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod asleep;
mod clock;
mod figures;
mod part;
mod stream;
mod words;
mod zones;

use crate::{
    history::Header,
    judge::ModelName,
    model::Misunderstood,
    recording::{Entry, Recording, Strictness},
    verdict::{Judgement, Report},
};

pub(crate) use stream::Stream;

/// How a history is judged live.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// What to do with a line that cannot be right.
    pub strictness: Strictness,
    /// How much is kept.
    pub limits: Limits,
}

/// How much a live judge keeps at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Operations of unknown outcome of one key, that is of what is judged together; at most 128. Those that merely
    /// write a value which nobody has read yet count only in [`Self::unknown`].
    pub unknown_per_part: usize,
    /// Operations of unknown outcome in all.
    pub unknown: usize,
    /// Answered operations of one key that are not settled.
    pub held_per_part: usize,
    /// Answered operations in all that are not settled.
    pub held: usize,
    /// States, each with what has happened of the operations that are open, in which one key may be.
    pub configs: usize,
    /// Configurations entered to settle one window of a key.
    pub nodes: usize,
    /// Keys.
    pub parts: usize,
    /// Bytes of states that are met to settle one window of a key.
    pub memory: usize,
}

impl Default for Limits {
    /// 64 of unknown outcome for each key and 262,144 in all; 4,096 that are held for each key and 262,144 in all;
    /// 1,024 configurations for each of 1,048,576 keys.
    fn default() -> Self {
        Self {
            unknown_per_part: 64,
            unknown: 1 << 18,
            held_per_part: 1 << 12,
            held: 1 << 18,
            configs: 1 << 10,
            nodes: 1 << 14,
            parts: 1 << 20,
            memory: 256 << 20,
        }
    }
}

/// How far a live judge is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Invocations taken.
    pub operations: u64,
    /// Those that are open.
    pub open: usize,
    /// Those that are answered and not settled.
    pub held: usize,
    /// Those of unknown outcome that may still matter.
    pub unknown: usize,
    /// Configurations of all keys together.
    pub configs: usize,
    /// Keys.
    pub parts: usize,
    /// Keys that are not judged any more because a limit was reached.
    pub lost: usize,
    /// Whether a contradiction was found: nothing is taken any more.
    pub is_over: bool,
}

/// A judge of a history that is being written.
pub trait LiveJudge {
    /// Takes the next line. The judgement where it completes a contradiction, once: that ends it, and later lines are
    /// passed over. A line counts when its moment is over, that is with the next line that has another time.
    fn entry(&mut self, entry: Entry<'_>) -> Result<Option<Judgement>, Misunderstood>;

    /// Says that a line was not understood: the problem again, or a warning where the judge is lenient.
    fn leave_out(&mut self, line: u64, problem: Box<str>) -> Result<(), Box<str>>;

    /// Judges what is left at the end: what is open then has an unknown outcome.
    fn finish(&mut self) -> Report;

    /// How far it is.
    fn progress(&self) -> Progress;

    /// What was left out ([`Recording::warnings`]), and the words of what is kept.
    fn recording(&self) -> &Recording;
}

/// The model is not judged live.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("model {0} is not judged live: isolation takes the whole history")]
pub struct NotLive(pub &'static str);

/// A judge of a history that begins with `header`.
pub fn start(
    model: ModelName,
    header: &Header,
    options: &Options,
) -> Result<Box<dyn LiveJudge>, NotLive> {
    let start = model.live().ok_or(NotLive(model.name()))?;
    Ok(start(header, options))
}
