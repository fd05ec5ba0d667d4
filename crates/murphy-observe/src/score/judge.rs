//! Judging holds alarms against what was injected.

use std::{collections::BTreeSet, time::Duration};

use serde::Serialize;

use super::{
    alarm::{Alarm, What, labels_fit},
    cause::{Answer, answer},
    injected::{Injected, Seat},
};
use crate::{
    edge::Edge,
    finding::{Kind, Size},
    pings::nanos,
    share::Share,
};

/// A fault acts before its line is written, by no more than this, in nanoseconds: what is found so soon is found of it.
const EARLY_NS: u64 = 500_000_000;

const HOUR_S: f64 = 3600.0;

/// What counts as soon, and how long a fault is felt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// What is found later is found late.
    pub detect_within: Duration,
    /// For so long after its end a fault may still be found, and what is found then is no false alarm.
    pub settle: Duration,
}

impl Default for Limits {
    /// Five seconds are what the founding document takes minutes for. Ten seconds are the longest time that a detector looks
    /// back for what is rare (`resets`); a fault that ends in its midst is seen there until then.
    fn default() -> Self {
        Self {
            detect_within: Duration::from_secs(5),
            settle: Duration::from_secs(10),
        }
    }
}

/// Whose alarms are held against faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Murphy's own findings: what has no detector is not scored, nor what nobody could have seen.
    Findings,
    /// Alerts of rules of which nothing is known but when they fired: every fault is scored.
    Alerts,
}

/// When and where somebody watched.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Watch {
    /// From when to when, in nanoseconds since boot.
    pub spans: Vec<(u64, u64)>,
    /// Where.
    pub seats: Vec<Seat>,
    /// All edges that were seen.
    pub edges: BTreeSet<Edge>,
}

/// How a fault was found.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// In time.
    Detected {
        /// So long after it began, in nanoseconds.
        after_ns: u64,
    },
    /// Not in time.
    Late {
        /// So long after it began, in nanoseconds.
        after_ns: u64,
    },
    /// Not at all.
    Missed,
    /// Something else was found at that time, or the same elsewhere.
    WrongCulprit {
        /// What is wrong with it.
        why: String,
    },
    /// It cannot be told.
    NotScored {
        /// Why not.
        why: String,
    },
}

impl Verdict {
    /// Its name, for people.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Detected { .. } => "detected",
            Self::Late { .. } => "late",
            Self::Missed => "missed",
            Self::WrongCulprit { .. } => "wrong culprit",
            Self::NotScored { .. } => "not scored",
        }
    }

    /// Whether it counts.
    pub fn is_scored(&self) -> bool {
        !matches!(self, Self::NotScored { .. })
    }

    /// Whether it is what is wanted.
    pub fn is_detected(&self) -> bool {
        matches!(self, Self::Detected { .. })
    }
}

/// A fault with its verdict.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Scored {
    /// Its id.
    pub id: String,
    /// What it is, in words.
    pub fault: String,
    /// Whom it hit.
    pub targets: Vec<String>,
    /// When it was in force, in nanoseconds since boot.
    pub begin_ns: u64,
    /// When it was over.
    pub end_ns: Option<u64>,
    /// How it was found.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// As what it was found, or what was found instead.
    pub found: Option<Alarm>,
    /// Whether the interval of the share that was found contains the one that was injected; none where either is unknown.
    pub size_fits: Option<bool>,
}

/// A share with the interval of its chance.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Figure {
    /// How many of how many.
    #[serde(flatten)]
    pub share: Share,
    /// The share itself; none of none.
    pub ratio: Option<f64>,
    /// The interval in which it lies with a confidence of 95 % (Wilson).
    pub interval: [f64; 2],
}

impl Figure {
    fn of(hit: usize, of: usize) -> Self {
        let share = Share {
            hit: hit as u64,
            of: of as u64,
        };
        Self {
            share,
            ratio: (of > 0).then(|| share.ratio()),
            interval: share.interval(),
        }
    }
}

/// Alarms that no fault explains.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FalseAlarms {
    /// While all was well.
    pub healthy: Vec<Alarm>,
    /// While something else was wrong.
    pub meanwhile: Vec<Alarm>,
    /// For how long all was well, in nanoseconds.
    pub healthy_ns: u64,
    /// How many in an hour while all was well; none where it never was.
    pub per_hour: Option<f64>,
}

/// How well what was said tells what was injected.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Score {
    /// Each fault, in the order in which they began.
    pub faults: Vec<Scored>,
    /// How many alarms there were.
    pub alarms: usize,
    /// Of these so many say nothing, because events of the kernel's were lost.
    pub undecided: usize,
    /// Those that nothing explains.
    pub false_alarms: FalseAlarms,
    /// Of those alarms that say something, how many a fault explains.
    pub precision: Figure,
    /// Of those faults that are scored, how many were detected in time.
    pub recall: Figure,
}

impl Score {
    /// Whether anything was scored.
    pub fn is_empty(&self) -> bool {
        self.recall.share.of == 0
    }

    /// Whether everything scored was detected, and nothing else was found.
    pub fn is_perfect(&self) -> bool {
        let false_alarms = &self.false_alarms;
        self.recall.share.hit == self.recall.share.of
            && false_alarms.healthy.is_empty()
            && false_alarms.meanwhile.is_empty()
    }
}

/// What an alarm says of a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Word {
    /// It is of it, and names it.
    Right,
    /// It is of it.
    Follows,
    /// It is of its kind or of its place, but not of both.
    Beside(&'static str),
    /// Neither.
    Nothing,
}

/// Holds alarms against faults.
pub fn score(
    by: By,
    faults: &[Injected],
    alarms: &[Alarm],
    watch: &Watch,
    limits: &Limits,
) -> Score {
    let mut faults: Vec<&Injected> = faults.iter().collect();
    faults.sort_by_key(|fault| fault.begin_ns);
    let court = Court {
        faults: &faults,
        watch,
        limits,
    };
    // Whom each alarm is about: those whose fault it names, and those that explain it.
    let judged: Vec<Judged<'_>> = alarms.iter().map(|alarm| court.judge(alarm)).collect();
    let scored: Vec<Scored> = (0..faults.len())
        .map(|place| court.verdict(place, &judged, by))
        .collect();
    let decided: Vec<_> = judged.iter().filter(|one| !one.is_undecided()).collect();
    let explained = decided.iter().filter(|one| one.is_explained()).count();
    let unexplained = decided.iter().filter(|one| !one.is_explained());
    let troubles = court.troubles();
    let (meanwhile, healthy): (Vec<_>, Vec<_>) = unexplained
        .map(|one| one.alarm)
        .partition(|alarm| is_within(&troubles, alarm.begin_ns));
    let healthy_ns = watched(&watch.spans) - watched(&overlaps(&watch.spans, &troubles));
    let hours = healthy_ns as f64 / 1e9 / HOUR_S;
    let counts = scored.iter().filter(|one| one.verdict.is_scored());
    let detected = scored.iter().filter(|one| one.verdict.is_detected());
    Score {
        alarms: alarms.len(),
        undecided: judged.len() - decided.len(),
        precision: Figure::of(explained, decided.len()),
        recall: Figure::of(detected.count(), counts.count()),
        false_alarms: FalseAlarms {
            per_hour: (healthy_ns > 0).then(|| healthy.len() as f64 / hours),
            healthy: healthy.into_iter().cloned().collect(),
            meanwhile: meanwhile.into_iter().cloned().collect(),
            healthy_ns,
        },
        faults: scored,
    }
}

/// An alarm with what it says of each fault.
struct Judged<'a> {
    alarm: &'a Alarm,
    /// By fault, where the time fits.
    words: Vec<Option<Word>>,
    /// The faults that it names.
    names: Vec<usize>,
}

impl Judged<'_> {
    fn is_undecided(&self) -> bool {
        matches!(&self.alarm.what, What::Finding(finding) if finding.is_undecided)
    }

    fn is_explained(&self) -> bool {
        let is_of_it = |word: &Option<Word>| matches!(word, Some(Word::Right | Word::Follows));
        self.words.iter().any(is_of_it)
    }
}

struct Court<'a> {
    faults: &'a [&'a Injected],
    watch: &'a Watch,
    limits: &'a Limits,
}

impl Court<'_> {
    /// When a fault is to blame, from its beginning until it has settled.
    fn span(&self, fault: &Injected) -> (u64, u64) {
        let settled = |end: u64| end.saturating_add(nanos(self.limits.settle));
        (
            fault.begin_ns.saturating_sub(EARLY_NS),
            fault.end_ns.map_or(u64::MAX, settled),
        )
    }

    /// All times at which some fault is to blame.
    fn troubles(&self) -> Vec<(u64, u64)> {
        joined(self.faults.iter().map(|fault| self.span(fault)).collect())
    }

    fn judge<'a>(&self, alarm: &'a Alarm) -> Judged<'a> {
        let words: Vec<Option<Word>> = self
            .faults
            .iter()
            .map(|fault| {
                let (from, until) = self.span(fault);
                let fits = (from..=until).contains(&alarm.begin_ns);
                fits.then(|| self.word(alarm, fault))
            })
            .collect();
        let right: Vec<usize> = (0..words.len())
            .filter(|place| words[*place] == Some(Word::Right))
            .collect();
        let is_in_force = |place: &&usize| {
            self.faults[**place]
                .end_ns
                .is_none_or(|end| alarm.begin_ns <= end)
        };
        let mut names: Vec<usize> = right.iter().filter(is_in_force).copied().collect();
        if names.is_empty() {
            // Of those that are over the last one is nearest.
            names.extend(right.last());
        }
        // Who goes on naming what is there again has seen it at once.
        if !right.is_empty() {
            let again = (0..words.len()).filter(|place| self.goes_on(alarm, self.faults[*place]));
            names.extend(again);
        }
        Judged {
            alarm,
            words,
            names,
        }
    }

    /// Whether an alarm that was there before a fault names it, too: long enough to have been about it.
    fn goes_on(&self, alarm: &Alarm, fault: &Injected) -> bool {
        let soon = fault
            .begin_ns
            .saturating_add(nanos(self.limits.detect_within));
        let needed = fault.end_ns.map_or(soon, |end| end.min(soon));
        alarm.begin_ns < fault.begin_ns.saturating_sub(EARLY_NS)
            && alarm.end_ns.is_none_or(|end| end >= needed)
            && self.word(alarm, fault) == Word::Right
    }

    /// What an alarm says of a fault, whenever.
    fn word(&self, alarm: &Alarm, fault: &Injected) -> Word {
        let finding = match &alarm.what {
            What::Finding(finding) => finding,
            What::Alert { labels, .. } if labels_fit(labels, fault, self.watch) => {
                return Word::Right;
            }
            What::Alert { .. } => return Word::Beside("of somebody else"),
        };
        let answers = fault.causes.iter();
        let kind = finding.claim.kind;
        let answers = answers.map(|cause| answer(kind, *cause));
        let answer = answers.max().unwrap_or(Answer::Wrong);
        let seen = fault.touches(&finding.edge, &self.watch.seats);
        match (answer, seen) {
            (Answer::Right, Some(seen)) if fault.goes(finding.claim.direction, seen) => Word::Right,
            (Answer::Right, Some(_)) => Word::Beside("the other way"),
            (Answer::Right, None) => Word::Beside("elsewhere"),
            (Answer::Follows, Some(_)) => Word::Follows,
            (Answer::Wrong, Some(_)) => Word::Beside("of another kind"),
            (Answer::Follows | Answer::Wrong, None) => Word::Nothing,
        }
    }

    fn verdict(&self, place: usize, judged: &[Judged<'_>], by: By) -> Scored {
        let fault = self.faults[place];
        let scored = |verdict, found: Option<&Alarm>| Scored {
            id: fault.id.clone(),
            fault: fault.fault.clone(),
            targets: fault.targets.iter().map(|seat| seat.name.clone()).collect(),
            begin_ns: fault.begin_ns,
            end_ns: fault.end_ns,
            size_fits: found.and_then(|alarm| size_fits(fault, alarm)),
            found: found.cloned(),
            verdict,
        };
        if let Some(why) = self.why_not(fault, by) {
            return scored(Verdict::NotScored { why }, None);
        }
        let all = judged.iter().filter(|one| one.names.contains(&place));
        let (decided, undecided): (Vec<_>, Vec<_>) = all.partition(|one| !one.is_undecided());
        if decided.is_empty() && !undecided.is_empty() {
            let why = "what names it is undecided: events of the kernel were lost".to_owned();
            return scored(Verdict::NotScored { why }, None);
        }
        let naming = decided.into_iter();
        if let Some(first) = naming.min_by_key(|one| one.alarm.begin_ns) {
            let after_ns = first.alarm.begin_ns.saturating_sub(fault.begin_ns);
            let verdict = if after_ns <= nanos(self.limits.detect_within) {
                Verdict::Detected { after_ns }
            } else {
                Verdict::Late { after_ns }
            };
            return scored(verdict, Some(first.alarm));
        }
        // What names another fault is no mistake about this one.
        let mut nameless = judged.iter().filter(|one| one.names.is_empty());
        let beside = nameless.find_map(|one| {
            let why = match one.words[place].as_ref()? {
                Word::Beside(why) if !one.is_explained() => why,
                Word::Follows => "of another kind",
                _ => return None,
            };
            Some((one.alarm, why))
        });
        match beside {
            Some((alarm, why)) => {
                let why = why.to_owned();
                scored(Verdict::WrongCulprit { why }, Some(alarm))
            }
            None => scored(Verdict::Missed, None),
        }
    }

    /// Why a fault cannot be scored.
    fn why_not(&self, fault: &Injected, by: By) -> Option<String> {
        if let Some(why) = &fault.void {
            return Some(why.clone());
        }
        let (from, _) = self.span(fault);
        let began = |(since, until): &(u64, u64)| *since <= fault.begin_ns && from < *until;
        if !self.watch.spans.iter().any(began) {
            return Some("nobody watched when it began".into());
        }
        if by == By::Alerts {
            return None;
        }
        if !fault.has_detector() {
            let names: Vec<&str> = fault.causes.iter().map(|cause| cause.name()).collect();
            return Some(format!(
                "there is no detector of {} yet",
                names.join(" and ")
            ));
        }
        let seats = &self.watch.seats;
        // What is wrong with all of somebody shows no traffic, but for clocks, which need none.
        let is_edge =
            |edge: &&Edge| !edge.is_whole() || fault.causes.contains(&super::cause::Cause::Skew);
        let mut edges = self.watch.edges.iter().filter(is_edge);
        if edges.any(|edge| fault.touches(edge, seats).is_some()) {
            return None;
        }
        Some("insufficient traffic: no edge was seen that it touches".into())
    }
}

/// Whether the share that was found may be the one that was injected.
fn size_fits(fault: &Injected, alarm: &Alarm) -> Option<bool> {
    let (What::Finding(finding), Some(asked)) = (&alarm.what, fault.share) else {
        return None;
    };
    match (&finding.claim.size, finding.claim.kind) {
        (Size::Share { interval, .. }, Kind::Loss) => {
            Some((interval[0]..=interval[1]).contains(&asked))
        }
        _ => None,
    }
}

fn is_within(spans: &[(u64, u64)], at_ns: u64) -> bool {
    spans
        .iter()
        .any(|(from, until)| (*from..=*until).contains(&at_ns))
}

/// How long some spans are that do not overlap.
fn watched(spans: &[(u64, u64)]) -> u64 {
    let lengths = joined(spans.to_vec());
    lengths
        .iter()
        .map(|(from, until)| until.saturating_sub(*from))
        .sum()
}

/// Those that touch each other become one.
fn joined(mut spans: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    spans.sort_unstable();
    let mut all: Vec<(u64, u64)> = Vec::new();
    for (from, until) in spans {
        match all.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(until),
            _ => all.push((from, until)),
        }
    }
    all
}

/// Where both are.
fn overlaps(a: &[(u64, u64)], b: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let (a, b) = (joined(a.to_vec()), joined(b.to_vec()));
    let common = a.iter().flat_map(|one| {
        let both = b
            .iter()
            .map(|other| (one.0.max(other.0), one.1.min(other.1)));
        both.filter(|(from, until)| from < until)
    });
    common.collect()
}
