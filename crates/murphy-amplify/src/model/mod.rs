//! A model says how often calls of one kind are to fail with one error, by how often they do by nature: from a recording to what a
//! campaign injects.
//!
//! - `rule`: three classes of errors, and the rate of each
//! - `natural`, `confidence`: how often an error comes by nature, and how sure that is
//! - `burst`: whether it comes in stretches
//! - `possible`: whether it can be, and is injected without being asked for
//! - `together`, `cause`: which errors are injected together
//! - `order`: which experiment comes first
//! - `file`: `models.yaml`, to be read, edited and compared
//!
//! All of it is values in and values out: no kernel is asked, nothing is drawn.

pub mod again;
pub mod burst;
mod cause;
pub mod confidence;
pub mod file;
mod name;
pub mod natural;
mod order;
pub mod possible;
pub mod rule;
pub mod together;

pub use again::Again;
pub use natural::Natural;
pub use order::score;
pub use possible::Realism;
pub use rule::{BadRule, Class, Rule};

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use murphy_fault::syscall::{self, CallsError, Pick, realism};
use murphy_sys::syscalls::Errno;

use crate::{
    campaign::experiment::{self, Experiment, Part, chance},
    recording::{Calls, Key, Recording},
};
use burst::Bursts;
use natural::figure;
use possible::Refusal;
use together::{Intervals, Occurrence};

/// Of fewer calls or intervals a rate is no more than a guess.
const CALLS_FEW: u64 = 100;
const INTERVALS_FEW: u64 = 20;
/// A highest rate of fewer calls is chance.
const MAX_OF_FEW: u64 = 10;
/// A second, in nanoseconds.
const SECOND: f64 = 1e9;
/// Errors that programs answer by the same call, at once: without a cap a high rate is a loop without an end.
const ANSWERED_AT_ONCE: [&str; 2] = ["EAGAIN", "EINTR"];

/// Whether programs answer an error by the same call, at once: a cap keeps them from doing nothing else.
pub fn is_answered_at_once(errno: Errno) -> bool {
    errno
        .name()
        .is_some_and(|name| ANSWERED_AT_ONCE.contains(&name))
}

/// Which models are made beside those of errors that were seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unseen {
    /// None.
    None,
    /// Those that the environment may do to calls that were made.
    #[default]
    Environmental,
    /// Those that cannot be, too, each with the reason.
    All,
}

/// How models are made.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Options {
    /// The numbers of the classes.
    pub rule: Rule,
    /// Which errors that were not seen have a model.
    pub unseen: Unseen,
    /// Whether those of them that the environment may do are on, too: a campaign of all takes long.
    pub environmental_is_on: bool,
}

/// One error of calls of one kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// What it is called, unlike any other.
    pub name: String,
    /// Which calls.
    pub key: Key,
    /// What they fail with.
    pub errno: Errno,
    /// Whether a campaign injects it.
    pub is_on: bool,
    /// Whether it is injected although its call is guarded.
    pub force: bool,
    /// Why it is on or off: a sentence.
    pub reason: String,
    /// How near to what happens it is.
    pub realism: Realism,
    /// How it comes by nature.
    pub class: Class,
    /// The share of calls that is to fail with it in all, with those that do by nature.
    pub rate: f64,
    /// So many times as often as by nature; none of what was not seen.
    pub amplification: Option<f64>,
    /// So many calls fail in a row on average; none where they fail each for itself.
    pub burst: Option<u32>,
    /// So many calls fail in a row at most; none for any number.
    pub in_a_row: Option<u32>,
    /// What comes of a connection or file that was hit, when it is used again; none for the same chance.
    pub again: Option<Again>,
    /// How often it comes by nature.
    pub natural: Natural,
    /// How many calls of its kind there are in a second.
    pub calls_per_second: f64,
    /// How much its experiment tells.
    pub score: f64,
    /// What should be known of it: sentences.
    pub notes: Vec<String>,
}

/// Errors that are injected together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Combination {
    /// What it is called.
    pub name: String,
    /// Whether a campaign injects it.
    pub is_on: bool,
    /// Why these belong together: sentences.
    pub reason: String,
    /// The names of its models, each at its own rate, those that are off alone as well.
    pub models: Vec<String>,
}

/// What was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Whose calls, as it was said.
    pub target: Vec<String>,
    /// The release of the kernel.
    pub kernel: String,
    /// When the recording began.
    pub started: Timestamp,
    /// How long an interval was.
    pub interval_ns: u64,
    /// How many there were.
    pub intervals: u64,
    /// How long all of them were.
    pub lasted_ns: u64,
    /// Calls that could not be counted.
    pub lost: u64,
    /// What was left out at its end.
    pub cut: Option<String>,
}

/// The models of a recording, in the order of their experiments.
#[derive(Clone, Debug, PartialEq)]
pub struct Models {
    /// What they were made from; none where somebody wrote them.
    pub recording: Option<Source>,
    /// By which numbers.
    pub rule: Rule,
    /// The models.
    pub models: Vec<Model>,
    /// Which of them belong together.
    pub combinations: Vec<Combination>,
}

impl Model {
    /// The experiment that it is: from this rate on, or twice the natural one where that is more, up to its own.
    ///
    /// `Err` for a call that is never made to fail, whose model [cannot be on](Model::can_be_injected).
    pub fn experiment(&self, first: f64) -> Result<Experiment, CallsError> {
        Ok(Experiment {
            name: self.name.clone(),
            parts: vec![self.part(self.rate)?],
            first: first.max(2.0 * self.natural.rate).min(self.rate),
            up_to: self.rate,
        })
    }

    /// It as a part of an experiment of which the first part goes up to this rate.
    fn part(&self, rate_of_first: f64) -> Result<Part, CallsError> {
        Ok(Part {
            calls: possible::calls(self.key.call)?,
            errno: self.errno,
            kinds: self.descriptor_kinds(),
            force: self.force,
            natural: experiment::Natural {
                rate: self.natural.rate,
                bounds: Some((self.natural.low, self.natural.high)),
            },
            weight: if rate_of_first > 0.0 {
                self.rate / rate_of_first
            } else {
                1.0
            },
            pick: match (self.burst, self.in_a_row, self.again) {
                (Some(length), ..) => Pick::Bursts(length),
                (None, Some(most), _) => Pick::AtMost(most),
                (None, None, Some(again)) => again.pick(),
                (None, None, None) => Pick::Each,
            },
        })
    }

    /// Of which descriptors an injection chooses calls; all where there are none.
    pub fn descriptor_kinds(&self) -> Vec<syscall::Kind> {
        possible::descriptor_kinds(self.key)
    }

    /// Whether a campaign injects it, where somebody asks for it.
    pub fn can_be_injected(&self) -> bool {
        match possible::refusal(self.key, self.errno) {
            Some(Refusal::Never(_)) => false,
            Some(Refusal::Guarded(_)) => self.force,
            Some(Refusal::Unasked(_)) | None => true,
        }
    }
}

impl Models {
    /// The experiment that a combination is: all its models together, each up to its own rate. `None` where it names a model that is not
    /// there.
    pub fn together(
        &self,
        combination: &Combination,
        first: f64,
    ) -> Option<Result<Experiment, CallsError>> {
        let named = |name: &String| self.models.iter().find(|model| model.name == *name);
        let models: Vec<&Model> = combination
            .models
            .iter()
            .map(named)
            .collect::<Option<_>>()?;
        let leader = models.first()?;
        let parts = models.iter().map(|model| model.part(leader.rate));
        Some(
            parts
                .collect::<Result<Vec<_>, _>>()
                .map(|parts| Experiment {
                    name: combination.name.clone(),
                    parts,
                    first: first.max(2.0 * leader.natural.rate).min(leader.rate),
                    up_to: leader.rate,
                }),
        )
    }
}

/// The models of a recording.
pub fn models(recording: &Recording, options: &Options) -> Result<Models, BadRule> {
    options.rule.check()?;
    let mut models = Vec::new();
    let mut occurrences = BTreeMap::new();
    for (key, calls) in &recording.calls {
        if calls.made.sum() == 0 {
            continue;
        }
        let seconds = recording.lasted_ns as f64 / SECOND;
        for errno in errnos(*key, calls, options) {
            let counts: Vec<(u64, u64)> = calls.failed(errno).collect();
            let model = model(*key, errno, &counts, calls.restarted, seconds, options);
            if model.is_on {
                occurrences.insert(model.name.clone(), occurrence(&counts));
            }
            models.push(model);
        }
    }
    order::sort(&mut models);
    let mut combinations = cause::combinations(&models);
    combinations.extend(coincidences(&occurrences, &models, &combinations));
    combinations.sort_by(|one, other| {
        let on = other.is_on.cmp(&one.is_on);
        on.then_with(|| one.name.cmp(&other.name))
    });
    Ok(Models {
        recording: Some(source(recording)),
        rule: options.rule,
        models,
        combinations,
    })
}

fn source(recording: &Recording) -> Source {
    let header = &recording.header;
    Source {
        target: header.target.clone(),
        kernel: header.kernel.clone(),
        started: header.started,
        interval_ns: header.interval_ns,
        intervals: recording.intervals,
        lasted_ns: recording.lasted_ns,
        lost: recording.lost,
        cut: recording.cut.map(|cut| cut.to_string()),
    }
}

/// The errors of calls that have a model: all that were seen, and of the others those that are asked for.
fn errnos(key: Key, calls: &Calls, options: &Options) -> BTreeSet<Errno> {
    let seen = calls.errors.iter().filter(|(_, counts)| counts.sum() > 0);
    let seen: BTreeSet<Errno> = seen.map(|(errno, _)| *errno).collect();
    let known = realism::errors(key.call)
        .into_iter()
        .map(|(errno, _)| errno);
    let is_asked = |errno: &Errno| match options.unseen {
        Unseen::None => false,
        Unseen::Environmental => {
            realism_of(key, *errno, false, options).0 == Realism::Environmental
        }
        Unseen::All => true,
    };
    let asked: BTreeSet<Errno> = known.filter(is_asked).collect();
    seen.union(&asked).copied().collect()
}

/// How near to what happens an error is, and why it is on, or as an error why it is not.
fn realism_of(
    key: Key,
    errno: Errno,
    is_seen: bool,
    options: &Options,
) -> (Realism, Result<String, String>) {
    let refusal = possible::refusal(key, errno);
    let reason = refusal.as_ref().map(Refusal::reason);
    if is_seen {
        let on = match reason {
            Some(reason) => Err(format!("It was seen here, but is off. {reason}")),
            None => Ok("It was seen here.".to_owned()),
        };
        return (Realism::Seen, on);
    }
    let is_mistake = realism::rank(key.call, errno) == Some(realism::Rank::Mistake);
    match &refusal {
        Some(Refusal::Never(reason)) => (Realism::Impossible, Err(reason.clone())),
        Some(Refusal::Unasked(reason)) if is_mistake => (Realism::Impossible, Err(reason.clone())),
        _ => {
            let about = "It was not seen here; the environment may do it.";
            let on = match reason {
                Some(reason) => Err(format!("{about} {reason}")),
                None if options.environmental_is_on => Ok(about.to_owned()),
                None => Err(format!("{about} Only what was seen is on by itself.")),
            };
            (Realism::Environmental, on)
        }
    }
}

fn model(
    key: Key,
    errno: Errno,
    counts: &[(u64, u64)],
    restarted: u64,
    seconds: f64,
    options: &Options,
) -> Model {
    let rule = &options.rule;
    let natural = Natural::of(counts, rule);
    let class = rule.class(natural.max, natural.variance);
    let rate = figure(rule.rate(class, natural.max)).min(rule.cap);
    let is_seen = natural.errors > 0;
    let (realism, reason) = realism_of(key, errno, is_seen, options);
    let is_more = chance(rate, natural.rate) > 0.0;
    let reason = reason.and_then(|reason| {
        if is_more {
            return Ok(reason);
        }
        Err(format!(
            "{reason} It comes as often by nature as it would be injected: there is nothing to amplify."
        ))
    });
    // What is known of it says more than how it came.
    let again = possible::calls(key.call)
        .ok()
        .and_then(|calls| Again::of(&calls, errno));
    let found = burst::bursts(counts);
    let length = match found {
        Bursts::Of(_) if again.is_some() => None,
        // A higher rate than that is made by no such bursts.
        Bursts::Of(length) if rate <= f64::from(length) / (f64::from(length) + 1.0) => Some(length),
        Bursts::Of(_) | Bursts::None(_) => None,
    };
    let calls_per_second = if seconds > 0.0 {
        natural.calls as f64 / seconds
    } else {
        0.0
    };
    let in_a_row = is_answered_at_once(errno).then_some(rule.in_a_row);
    let mut notes = notes(&natural, restarted);
    if is_seen && length.is_none() && again.is_none() {
        notes.push(match found {
            Bursts::None(why) => why.to_string(),
            Bursts::Of(length) => format!(
                "It comes in bursts of about {length} calls; the rate is too high for such, so each call is hit for itself."
            ),
        });
    }
    if reason.is_ok() {
        notes.extend(possible::wider(key));
    }
    Model {
        name: name::of(key, errno),
        key,
        errno,
        is_on: reason.is_ok(),
        force: false,
        reason: reason.unwrap_or_else(|reason| reason),
        realism,
        class,
        rate,
        amplification: (natural.rate > 0.0).then(|| figure(rate / natural.rate)),
        burst: length,
        in_a_row: in_a_row.filter(|_| length.is_none()),
        again,
        calls_per_second: figure(calls_per_second),
        score: score(key, errno, natural.rate, rate, calls_per_second),
        natural: natural.rounded(),
        notes,
    }
}

/// What should be known of what a rate rests on.
fn notes(natural: &Natural, restarted: u64) -> Vec<String> {
    let mut notes = Vec::new();
    let Natural {
        calls,
        intervals,
        max_of,
        ..
    } = natural;
    if *calls < CALLS_FEW || *intervals < INTERVALS_FEW {
        notes.push(format!(
            "Too few calls or intervals to know its rate: {calls} in {intervals}."
        ));
    } else if natural.errors > 0 && *max_of < MAX_OF_FEW {
        notes.push(format!(
            "Its highest rate rests on {max_of} calls only: `least_calls` leaves out such intervals."
        ));
    }
    if restarted > 0 {
        notes.push(format!(
            "Signals interrupted {restarted} more calls: how many of those the program saw fail with EINTR is not known."
        ));
    }
    notes
}

fn occurrence(counts: &[(u64, u64)]) -> Occurrence {
    Occurrence {
        seen: Intervals::of(counts.iter().map(|(failed, _)| *failed > 0)),
        called: Intervals::of(counts.iter().map(|(_, made)| *made > 0)),
    }
}

/// Errors that came in the same intervals, but for those that have one cause anyway.
fn coincidences(
    occurrences: &BTreeMap<String, Occurrence>,
    models: &[Model],
    known: &[Combination],
) -> Vec<Combination> {
    let names: Vec<&String> = occurrences.keys().collect();
    let all: Vec<Occurrence> = occurrences.values().cloned().collect();
    let groups = together::groups(&all).into_iter().filter_map(|group| {
        let members = group.members.iter();
        let members = members.filter_map(|at| models.iter().find(|model| model.name == *names[*at]));
        let members = possible::of_other_calls(members);
        let first = members.first().filter(|_| members.len() >= 2)?;
        Some(Combination {
            name: format!("together-{}", first.name),
            is_on: true,
            reason: format!(
                "They came in the same intervals more often than by chance (Fisher's exact test, p {:.1e} after Holm's correction). Why is not known.",
                group.p
            ),
            models: members.iter().map(|model| model.name.clone()).collect(),
        })
    });
    let is_known = |one: &Combination| {
        known
            .iter()
            .any(|known| one.models.iter().all(|name| known.models.contains(name)))
    };
    groups.filter(|one| !is_known(one)).collect()
}

#[cfg(test)]
mod tests;
