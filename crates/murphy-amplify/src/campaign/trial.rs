//! A trial is one rate of one experiment: a gate, a baseline, a control with nothing injected, the injection, what comes behind it.

use std::{cell::RefCell, io, path::PathBuf, time::Duration};

use murphy_fault::{
    injector::Injector,
    span::{Span, Until},
    syscall::{Begin, Engine, Injection, SyscallError, Tampered},
};
use murphy_run::probe::{ProberError, WatchError};
use murphy_sys::clock::boottime_ns;
use murphy_target::Target;
use serde::{Deserialize, Serialize};

use super::{
    course::{Course, Doing, Phase, Taking},
    effect::{Effect, Known, Seen, Tolerance},
    experiment::Experiment,
    patience::{Ended, Patience},
    subject::{Subject, SubjectError},
    validation::{Found, Validation, ValidationError},
    verdict::{Afterwards, Death, Observed},
    watching::Watching,
};

/// How often is looked whether something has happened.
const TICK: Duration = Duration::from_millis(20);
/// What is left behind by a Murphy that hangs ends by itself this long after it should.
const SLACK: Duration = Duration::from_secs(30);

/// How long each phase is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Phases {
    /// Nothing is attached.
    pub baseline: Duration,
    /// Attached, and nothing injected.
    pub control: Duration,
    /// Injected.
    pub injection: Duration,
    /// So long all probes pass without a break where all is well.
    pub steady: Duration,
    /// So long may the target take to get there, before the first phase and behind the last.
    pub recovery: Duration,
}

impl Default for Phases {
    fn default() -> Self {
        Self {
            baseline: Duration::from_secs(15),
            control: Duration::from_secs(10),
            injection: Duration::from_secs(20),
            steady: Duration::from_secs(2),
            recovery: Duration::from_secs(30),
        }
    }
}

/// Why there is no trial.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// It is to end.
    #[error(transparent)]
    Ended(#[from] Ended),
    /// The target is not there.
    #[error(transparent)]
    Subject(SubjectError),
    /// It was never well.
    #[error("begin a trial: {probe} does not pass within {limit:?}: {reason}")]
    Unwell {
        /// Which probe.
        probe: String,
        /// Why.
        reason: String,
        /// How long it was given.
        limit: Duration,
    },
    /// It ends by itself.
    #[error("begin a trial: the target ended before all was well: {how}{said}")]
    Dead {
        /// How.
        how: String,
        /// What it said last, behind a colon.
        said: String,
    },
    /// The error cannot be injected.
    #[error(transparent)]
    Syscall(#[from] SyscallError),
    /// What came of trials cannot be written down.
    #[error("write what came of a trial to {}: {source}", path.display())]
    Kept {
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A probe cannot look.
    #[error(transparent)]
    Prober(#[from] ProberError),
    /// Probes cannot look.
    #[error(transparent)]
    Watch(#[from] WatchError),
}

impl TrialError {
    /// Whether no other experiment can be made, either.
    pub fn ends_all(&self) -> bool {
        matches!(
            self,
            Self::Ended(Ended::Interrupted | Ended::Signals(_))
                | Self::Kept { .. }
                | Self::Syscall(SyscallError::NotUndone { .. })
        )
    }

    /// Why no more is tried: what a row says.
    pub fn reason(&self) -> String {
        match self {
            Self::Ended(Ended::OverBudget) => "the budget ended".into(),
            _ => format!("failed to {self}"),
        }
    }
}

impl From<SubjectError> for TrialError {
    fn from(error: SubjectError) -> Self {
        match error {
            SubjectError::Ended(ended) => Self::Ended(ended),
            error => Self::Subject(error),
        }
    }
}

impl From<ValidationError> for TrialError {
    fn from(error: ValidationError) -> Self {
        match error {
            ValidationError::Ended(ended) => Self::Ended(ended),
            ValidationError::Prober(error) => Self::Prober(error),
        }
    }
}

/// What trials are made with.
pub struct Stage<'a> {
    /// Injects.
    pub injector: &'a Injector,
    /// By what.
    pub engine: Engine,
    /// What ends them early.
    pub patience: Patience<'a>,
    /// The probes.
    pub watching: &'a Watching,
    /// What says whether the target's state is right, behind a trial.
    pub validation: Option<Validation<'a>>,
    /// How long phases are.
    pub phases: Phases,
    /// How little is nothing.
    pub tolerance: Tolerance,
    /// The seed of everything that is drawn.
    pub seed: u64,
    /// What looks at the target's processes.
    pub taking: RefCell<Taking>,
}

/// What is seen of a target in all trials at one rate.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Looks {
    baseline: Vec<Seen>,
    control: Vec<Seen>,
    injection: Vec<Seen>,
    pub(super) exposures: u64,
    injections: u64,
}

/// What came of a time in which the error was attached.
struct Attached {
    /// From when to when.
    span: (u64, u64),
    /// What was hit.
    tampered: Tampered,
    /// Whether the target ended within it, and with it what it counted last.
    is_cut: bool,
}

impl Stage<'_> {
    /// Makes one; what was seen before at the same rate is taken in, too.
    pub fn trial(
        &self,
        subject: &mut Subject,
        experiment: &Experiment,
        rate: f64,
        before: &mut Looks,
    ) -> Result<(Observed, Course), TrialError> {
        self.gate(subject)?;
        let begun = boottime_ns();
        self.watching.forget(begun);
        self.taking.borrow_mut().begin(begun);
        self.taking.borrow_mut().of(pids(subject));
        let baseline = self.phase(subject, self.phases.baseline)?;
        let control = self.attached(subject, experiment, rate, Begin::Idle, self.phases.control)?;
        let injection = self.attached(
            subject,
            experiment,
            rate,
            Begin::Running,
            self.phases.injection,
        )?;
        let (tampered, is_cut) = (injection.tampered, injection.is_cut);
        let (control, injection) = (control.span, injection.span);
        let ended = boottime_ns();
        let afterwards = self.recover(subject, ended)?;
        let death = subject.death();
        let found = match (&death, &afterwards, self.validation) {
            (None, Afterwards::Steady(_), Some(one)) => Some(one.look(self.patience)?),
            _ => None,
        };
        // A look that began in a phase may have ended behind it.
        add(
            &mut before.baseline,
            self.watching.between(baseline.0, baseline.1),
        );
        add(
            &mut before.control,
            self.watching.between(control.0, control.1),
        );
        add(
            &mut before.injection,
            self.watching.between(injection.0, injection.1),
        );
        before.injections += tampered.hits;
        before.exposures += tampered.calls.values().map(|one| one.made).sum::<u64>();
        let phases = [
            (Doing::Baseline, baseline),
            (Doing::Control, control),
            (Doing::Injection, injection),
            (Doing::Recovery, (injection.1, boottime_ns())),
        ];
        let course = self.course(begun, &phases);
        let seen = Observed {
            is_cut: is_cut && death.is_some(),
            ..before.observed(self.tolerance, death, afterwards, found)
        };
        Ok((seen, course))
    }

    fn course(&self, begun: u64, phases: &[(Doing, (u64, u64))]) -> Course {
        let phase = |(doing, (from, to)): &(Doing, (u64, u64))| Phase {
            doing: *doing,
            from_ns: from.saturating_sub(begun),
            to_ns: to.saturating_sub(begun),
        };
        let phases: Vec<Phase> = phases.iter().map(phase).collect();
        let ended = begun + phases.last().map_or(0, |phase| phase.to_ns);
        Course {
            phases,
            probes: self.watching.lines(begun, ended),
            taken: self.taking.borrow_mut().end(),
        }
    }

    /// Waits until all is well; a target that is not, or has lost something in a trial before, is started again once, where somebody
    /// has said how.
    fn gate(&self, subject: &mut Subject) -> Result<(), TrialError> {
        let unwell = |(probe, reason)| TrialError::Unwell {
            probe,
            reason,
            limit: self.phases.recovery,
        };
        if subject.death().is_none() {
            match self.is_well(subject)? {
                Ok(()) => return Ok(()),
                Err(why) if subject.death().is_none() && !subject.can_restart() => {
                    return Err(unwell(why));
                }
                Err(_) => {}
            }
        }
        subject.restart(self.injector, self.phases.recovery, self.patience)?;
        let is_well = self.is_well(subject)?;
        match subject.death() {
            Some(death) => {
                let said = death.said.last().map(|line| format!(": {line}"));
                Err(TrialError::Dead {
                    how: death.how,
                    said: said.unwrap_or_default(),
                })
            }
            None => is_well.map_err(unwell),
        }
    }

    /// Whether all probes pass before long, and the validation does; if not, which does not and why.
    fn is_well(&self, subject: &mut Subject) -> Result<Result<(), (String, String)>, TrialError> {
        let begun = boottime_ns();
        if self.await_steady(subject, begun)?.is_none() {
            let failing = self.watching.failing(begun);
            return Ok(Err(match failing {
                _ if subject.death().is_some() => ("the target".into(), "it has ended".into()),
                Some((probe, reason)) => (probe, reason.to_string()),
                None => ("some probe".into(), "it passes and fails by turns".into()),
            }));
        }
        let Some(validation) = self.validation else {
            return Ok(Ok(()));
        };
        let name = validation.probe.name();
        Ok(match validation.look(self.patience)? {
            Found::Right => Ok(()),
            Found::Wrong(why) => Err((name, format!("the validation fails: {why}"))),
            Found::Nothing(why) => Err((name, format!("the validation says nothing: {why}"))),
        })
    }

    /// Waits until all probes have passed without a break for as long as they are to; since when, or none where that takes too long
    /// or the target ends.
    fn await_steady(
        &self,
        subject: &mut Subject,
        after_ns: u64,
    ) -> Result<Option<u64>, TrialError> {
        let steady_ns = nanoseconds(self.phases.steady);
        let until = after_ns + nanoseconds(self.phases.recovery) + steady_ns;
        loop {
            let now = boottime_ns();
            if let Some(since) = self.watching.steady_since(after_ns)
                && now >= since + steady_ns
            {
                return Ok(Some(since));
            }
            if now >= until || subject.death().is_some() {
                return Ok(None);
            }
            self.pause(TICK)?;
        }
    }

    /// Goes on for a while, or until the target ends; from when to when.
    fn phase(&self, subject: &mut Subject, length: Duration) -> Result<(u64, u64), TrialError> {
        let from = boottime_ns();
        let until = from + nanoseconds(length);
        while boottime_ns() < until && subject.death().is_none() {
            self.pause(TICK)?;
        }
        Ok((from, boottime_ns()))
    }

    /// The same with the error injected, or attached only.
    fn attached(
        &self,
        subject: &mut Subject,
        experiment: &Experiment,
        rate: f64,
        begin: Begin,
        length: Duration,
    ) -> Result<Attached, TrialError> {
        let mut from = boottime_ns();
        let none = |is_cut| {
            Ok(Attached {
                span: (from, boottime_ns()),
                tampered: Tampered::default(),
                is_cut,
            })
        };
        if subject.death().is_some() {
            return none(false);
        }
        let Some(target) = subject.target() else {
            return none(false);
        };
        let names: Vec<String> = target
            .processes()
            .map(murphy_fault::process::name_of)
            .collect();
        let specs = experiment.specs(rate);
        let until = Until::After(Span(length + SLACK));
        let injection = Injection::begin(
            self.injector,
            target,
            &names,
            &specs,
            until,
            self.seed,
            (self.engine, begin),
        );
        let mut injection = match injection {
            Ok(tampering) => tampering,
            // Who has ended meanwhile cannot be attached to any more: the first hits come before all of it is patched.
            Err(_) if subject.death().is_some() => return none(true),
            Err(error) => return Err(error.into()),
        };
        // What attaching itself does is none of it.
        if begin == Begin::Idle {
            from = boottime_ns();
        }
        let ends = boottime_ns() + nanoseconds(length);
        let mut outcome = Ok(());
        while outcome.is_ok() && boottime_ns() < ends && subject.death().is_none() {
            outcome = injection
                .follow()
                .map_err(TrialError::from)
                .and_then(|()| self.pause(TICK.min(injection.due_in())));
        }
        let to = boottime_ns();
        let tampered = injection.end();
        outcome?;
        if !tampered.left.is_empty() {
            return Err(TrialError::Syscall(SyscallError::NotUndone {
                why: "the injection is over".into(),
                left: tampered.left.join("; "),
            }));
        }
        let is_cut = tampered.processes.iter().any(|one| one.gone);
        Ok(Attached {
            span: (from, to),
            tampered,
            is_cut,
        })
    }

    /// How the target does behind an injection that has ended at a time.
    fn recover(&self, subject: &mut Subject, ended_ns: u64) -> Result<Afterwards, TrialError> {
        if let Some(since) = self.await_steady(subject, ended_ns)? {
            return Ok(Afterwards::Steady(since.saturating_sub(ended_ns)));
        }
        if subject.death().is_some() {
            return Ok(Afterwards::Ended);
        }
        let last = ended_ns + nanoseconds(self.phases.recovery) / 2;
        let failing = self.watching.failing(last);
        Ok(failing.map_or(
            Afterwards::Steady(nanoseconds(self.phases.recovery)),
            |(probe, reason)| Afterwards::Failing { probe, reason },
        ))
    }

    fn pause(&self, time: Duration) -> Result<(), TrialError> {
        self.taking.borrow_mut().look(boottime_ns());
        Ok(self.patience.wait(time)?)
    }
}

impl Looks {
    /// Whether nothing was seen yet.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn observed(
        &self,
        tolerance: Tolerance,
        death: Option<Death>,
        afterwards: Afterwards,
        found: Option<Found>,
    ) -> Observed {
        let (is_valid, validation) = match found {
            None => (None, None),
            Some(Found::Right) => (Some(true), None),
            Some(Found::Wrong(why)) => (Some(false), Some(why)),
            Some(Found::Nothing(why)) => (None, Some(why)),
        };
        Observed {
            exposures: self.exposures,
            injections: self.injections,
            control: worst(&self.baseline, &self.control, tolerance),
            effect: worst(&self.baseline, &self.injection, tolerance),
            death,
            is_cut: false,
            afterwards,
            is_valid,
            validation,
        }
    }
}

/// The effect on the probe that does worst.
fn worst(before: &[Seen], then: &[Seen], tolerance: Tolerance) -> Effect {
    let rank = |effect: &Effect| match effect.known(tolerance) {
        Known::Worse => 2,
        Known::Unsettled => 1,
        Known::Same => 0,
    };
    let effects = before
        .iter()
        .zip(then)
        .map(|(before, then)| Effect::of(before, then));
    let worst = effects.max_by(|one, other| {
        let ranks = rank(one).cmp(&rank(other));
        ranks.then(one.more.value.total_cmp(&other.more.value))
    });
    worst.unwrap_or_else(|| Effect::of(&Seen::default(), &Seen::default()))
}

fn pids(subject: &Subject) -> Vec<u32> {
    let target = subject.target().into_iter();
    target
        .flat_map(Target::processes)
        .map(|process| process.pid)
        .collect()
}

fn add(all: &mut Vec<Seen>, more: Vec<Seen>) {
    all.resize(all.len().max(more.len()), Seen::default());
    for (all, more) in all.iter_mut().zip(more) {
        all.extend(more);
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
