//! A row is what came of one experiment: the rates that were tried, what the target did at each, and where it breaks.

use serde::{Deserialize, Serialize};

use super::{
    course::Course,
    experiment::{Experiment, Natural},
    search::{Breaking, Came, Rates, Search},
    subject::Subject,
    trial::{Looks, Stage, TrialError},
    verdict::{Observed, Verdict, judge},
};

/// How often something is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// How often a rate is tried, at most, where one trial does not settle it.
    pub repeats: u32,
    /// How often what broke is tried again, to see whether it does each time.
    pub replays: u32,
    /// Which rates.
    #[serde(default)]
    pub rates: Rates,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            repeats: 3,
            replays: 2,
            rates: Rates::Searched,
        }
    }
}

/// What came of one trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tried {
    /// Which experiment.
    pub experiment: String,
    /// The share of all calls that was to fail, natural errors included.
    pub rate: f64,
    /// What for.
    pub purpose: Purpose,
    /// What is seen in it, and in those at the same rate before it that left it open.
    pub seen: Observed,
    /// What that is.
    pub verdict: Verdict,
    /// Why.
    pub why: String,
    /// How it went.
    #[serde(default)]
    pub course: Course,
}

/// What a trial is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// To find where it breaks.
    Search,
    /// To see whether it breaks again.
    Replay,
}

/// What came of an experiment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Which.
    pub experiment: String,
    /// Which calls.
    pub call: String,
    /// With what they failed.
    pub errno: String,
    /// The share that fails by nature.
    pub natural: Natural,
    /// The worst that was seen, as far as it was seen again.
    pub verdict: Verdict,
    /// Why.
    pub why: String,
    /// Where it breaks.
    pub breaking: Option<Breaking>,
    /// How often it broke of so many trials at one rate; none where nothing did.
    pub again: Option<(u32, u32)>,
    /// Why no more was tried, where more was to be.
    pub ended: Option<String>,
    /// Calls that came to the dice, in all trials.
    pub exposures: u64,
    /// Calls that were hit.
    pub injections: u64,
    /// All of them.
    pub trials: Vec<Tried>,
}

impl Row {
    /// Whether what broke did not break each time.
    pub fn is_flaky(&self) -> bool {
        self.again.is_some_and(|(bad, of)| bad < of)
    }
}

/// Where trials come from: they are made, or were made before.
pub trait Trials {
    /// Makes one, or remembers it.
    fn tried(
        &mut self,
        experiment: &Experiment,
        rate: f64,
        purpose: Purpose,
        looks: &mut Looks,
    ) -> Result<Tried, TrialError>;
}

/// Trials that are made.
pub struct Made<'a> {
    /// With what.
    pub stage: &'a Stage<'a>,
    /// On whom.
    pub subject: &'a mut Subject,
}

impl Trials for Made<'_> {
    fn tried(
        &mut self,
        experiment: &Experiment,
        rate: f64,
        purpose: Purpose,
        looks: &mut Looks,
    ) -> Result<Tried, TrialError> {
        let (seen, course) = self.stage.trial(self.subject, experiment, rate, looks)?;
        let (verdict, why) = judge(&seen, self.stage.tolerance);
        Ok(Tried {
            experiment: experiment.name.clone(),
            rate,
            purpose,
            seen,
            verdict,
            why,
            course,
        })
    }
}

/// Finds out about an experiment. An error only where no experiment can be made any more: what keeps this one from going on (the
/// target is not started again, the budget is spent) ends it, with what is known by then.
pub fn run(
    trials: &mut impl Trials,
    experiment: &Experiment,
    limits: Limits,
) -> Result<Row, TrialError> {
    let mut search = Search::new(experiment.first, experiment.up_to, limits.rates);
    let mut made = Vec::new();
    let mut ended = None;
    while let Some(rate) = search.next() {
        match settle(trials, experiment, rate, limits, &mut made) {
            Ok(tried) => search.learn(rate, tried.verdict.came()),
            Err(error) if error.ends_all() => return Err(error),
            Err(error) => {
                ended = Some(error.reason());
                break;
            }
        }
    }
    // What broke is tried again: once is no promise that it will. Where it begins to break it does by chance; the highest rate tells.
    let broke = made.iter().filter(|one| one.verdict.is_bad());
    let broke = broke.max_by(|one, other| one.rate.total_cmp(&other.rate));
    let mut again = None;
    if let Some(rate) = broke.map(|one| one.rate) {
        let (mut bad, mut of) = (1, 1);
        for _ in 0..limits.replays {
            let mut looks = Looks::default();
            match trials.tried(experiment, rate, Purpose::Replay, &mut looks) {
                Ok(replay) => {
                    (bad, of) = (bad + u32::from(replay.verdict.is_bad()), of + 1);
                    made.push(replay);
                }
                Err(error) if error.ends_all() => return Err(error),
                Err(error) => {
                    ended.get_or_insert(error.reason());
                    break;
                }
            }
        }
        again = Some((bad, of));
    }
    Ok(conclude(experiment, &search, again, ended, made))
}

/// Tries a rate until it is known what it does, or that is tried too often.
fn settle(
    trials: &mut impl Trials,
    experiment: &Experiment,
    rate: f64,
    limits: Limits,
    made: &mut Vec<Tried>,
) -> Result<Tried, TrialError> {
    let mut looks = Looks::default();
    let mut times = 0;
    loop {
        let is_first = looks.is_empty();
        let tried = trials.tried(experiment, rate, Purpose::Search, &mut looks)?;
        // Of those that are only remembered the looks are not known any more: it begins anew.
        times = if is_first && !looks.is_empty() {
            1
        } else {
            times + 1
        };
        made.push(tried.clone());
        let is_hopeless = tried.seen.exposures == 0;
        if tried.verdict != Verdict::Inconclusive || is_hopeless || times >= limits.repeats {
            return Ok(tried);
        }
    }
}

fn conclude(
    experiment: &Experiment,
    search: &Search,
    again: Option<(u32, u32)>,
    ended: Option<String>,
    trials: Vec<Tried>,
) -> Row {
    let last_of = |came: Came| trials.iter().rev().find(|one| one.verdict.came() == came);
    let worst = trials.iter().max_by_key(|one| one.verdict);
    let decides = match again {
        // Once, and not again: what is worse than nothing stands with how often it was seen.
        Some(_) => worst,
        None => last_of(Came::Unknown).or_else(|| last_of(Came::Survived)),
    };
    let sum = |of: fn(&Observed) -> u64| {
        // What was seen at a rate before is in what was seen last.
        let mut all = 0;
        for (place, one) in trials.iter().enumerate() {
            let next = trials.get(place + 1);
            let goes_on = next.is_some_and(|next| {
                next.rate.to_bits() == one.rate.to_bits()
                    && next.purpose == Purpose::Search
                    && one.purpose == Purpose::Search
                    // Behind one that is only remembered it begins anew.
                    && next.seen.exposures >= one.seen.exposures
            });
            all += if goes_on { 0 } else { of(&one.seen) };
        }
        all
    };
    let (verdict, why) = match (decides, &ended) {
        // What was survived by then is not all.
        (Some(one), Some(ended)) if one.verdict == Verdict::Resilient => {
            (Verdict::Inconclusive, format!("not all was tried: {ended}"))
        }
        (Some(one), _) => (one.verdict, one.why.clone()),
        (None, Some(ended)) => (Verdict::Inconclusive, ended.clone()),
        (None, None) => (Verdict::Inconclusive, "no rate was tried".into()),
    };
    Row {
        experiment: experiment.name.clone(),
        call: experiment.each(|part| part.calls.to_string()),
        errno: experiment.each(|part| part.errno.to_string()),
        natural: experiment.natural(),
        verdict,
        why,
        breaking: search.breaking(),
        again,
        ended,
        exposures: sum(|seen| seen.exposures),
        injections: sum(|seen| seen.injections),
        trials,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::campaign::{
        effect::{Effect, Seen},
        experiment::Part,
        patience::Ended,
        verdict::Afterwards,
    };
    use murphy_fault::syscall::Pick;
    use murphy_sys::syscalls::Errno;

    /// A target that does something from a rate on, each time or every other time.
    struct Known {
        breaks_at: f64,
        verdict: Verdict,
        every: u32,
        turn: u32,
    }

    impl Trials for Known {
        fn tried(
            &mut self,
            experiment: &Experiment,
            rate: f64,
            purpose: Purpose,
            _: &mut Looks,
        ) -> Result<Tried, TrialError> {
            self.turn += 1;
            let breaks = rate >= self.breaks_at && self.turn.is_multiple_of(self.every);
            let none = Effect::of(&Seen::default(), &Seen::default());
            Ok(Tried {
                experiment: experiment.name.clone(),
                rate,
                purpose,
                seen: Observed {
                    exposures: 100,
                    injections: 10,
                    control: none.clone(),
                    effect: none,
                    death: None,
                    is_cut: false,
                    afterwards: Afterwards::Ended,
                    is_valid: None,
                    validation: None,
                },
                verdict: if breaks {
                    self.verdict
                } else {
                    Verdict::Resilient
                },
                why: "so it is".into(),
                course: Course::default(),
            })
        }
    }

    fn experiment() -> Experiment {
        Experiment {
            name: "write-ENOSPC".into(),
            parts: vec![Part {
                calls: "write".parse().unwrap(),
                errno: Errno::named("ENOSPC").unwrap(),
                kinds: Vec::new(),
                force: false,
                natural: Natural::default(),
                weight: 1.0,
                pick: Pick::Each,
            }],
            first: 0.01,
            up_to: 1.0,
        }
    }

    fn row(breaks_at: f64, verdict: Verdict, every: u32) -> Row {
        let mut known = Known {
            breaks_at,
            verdict,
            every,
            turn: 0,
        };
        run(&mut known, &experiment(), Limits::default()).unwrap()
    }

    #[test]
    fn a_row_says_what_where_and_how_often() {
        let crashed = row(0.2, Verdict::Crashed, 1);
        assert_eq!(
            (crashed.verdict, crashed.again),
            (Verdict::Crashed, Some((3, 3)))
        );
        let rate = crashed.breaking.and_then(Breaking::rate).unwrap();
        assert!((0.2 / 1.5..0.2 * 1.5).contains(&rate), "{rate}");
        assert!(!crashed.is_flaky());
        let resilient = row(2.0, Verdict::Crashed, 1);
        assert_eq!(
            (resilient.verdict, resilient.again),
            (Verdict::Resilient, None)
        );
        assert_eq!(resilient.breaking, Some(Breaking::Above(1.0)));
        assert_eq!(resilient.injections, 10 * resilient.trials.len() as u64);
    }

    /// A target that survives, until there is no time left.
    struct Brief(u32);

    impl Trials for Brief {
        fn tried(
            &mut self,
            experiment: &Experiment,
            rate: f64,
            purpose: Purpose,
            looks: &mut Looks,
        ) -> Result<Tried, TrialError> {
            self.0 = self.0.checked_sub(1).ok_or(Ended::OverBudget)?;
            let mut known = Known {
                breaks_at: 2.0,
                verdict: Verdict::Crashed,
                every: 1,
                turn: 0,
            };
            known.tried(experiment, rate, purpose, looks)
        }
    }

    #[test]
    fn what_was_cut_short_is_not_resilient() {
        for (trials, why) in [
            (0, "the budget ended"),
            (1, "not all was tried: the budget ended"),
        ] {
            let row = run(&mut Brief(trials), &experiment(), Limits::default()).unwrap();
            assert_eq!(row.verdict, Verdict::Inconclusive);
            assert!(row.why.contains(why), "{}", row.why);
        }
    }

    /// Two trials that are remembered, and more that are made.
    struct Resumed(u64);

    impl Trials for Resumed {
        fn tried(
            &mut self,
            experiment: &Experiment,
            rate: f64,
            purpose: Purpose,
            looks: &mut Looks,
        ) -> Result<Tried, TrialError> {
            self.0 += 1;
            if self.0 > 2 {
                looks.exposures += 70;
            }
            let mut known = Known {
                breaks_at: 0.0,
                verdict: Verdict::Inconclusive,
                every: 1,
                turn: 0,
            };
            let mut tried = known.tried(experiment, rate, purpose, looks)?;
            tried.seen.exposures = if self.0 > 2 {
                looks.exposures
            } else {
                100 * self.0
            };
            Ok(tried)
        }
    }

    #[test]
    fn what_is_only_remembered_is_not_added_to_and_all_is_tried_as_often_as_it_is_to_be() {
        let row = run(&mut Resumed(0), &experiment(), Limits::default()).unwrap();
        assert_eq!(row.trials.len(), 5);
        assert_eq!(row.exposures, 200 + 210);
    }

    #[test]
    fn what_does_not_break_again_is_flaky_and_what_is_not_known_is_tried_again() {
        let flaky = row(0.2, Verdict::Hung, 2);
        assert!(flaky.is_flaky(), "{:?}", flaky.again);
        assert_eq!(flaky.verdict, Verdict::Hung);
        let unknown = row(0.0, Verdict::Inconclusive, 1);
        assert_eq!(unknown.verdict, Verdict::Inconclusive);
        assert_eq!(unknown.trials.len(), 3);
        // Its looks are taken together: they count once.
        assert_eq!(unknown.exposures, 100);
    }
}
