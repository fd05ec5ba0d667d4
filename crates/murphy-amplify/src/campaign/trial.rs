//! A trial is one rate of one experiment: a gate, a baseline, a control with nothing injected, the injection, what comes behind it.

use std::{cell::RefCell, time::Duration};

use murphy_fault::{
    injector::Injector,
    span::{Span, Until},
    syscall::{Begin, SyscallError, Tampered, Tampering},
};
use murphy_run::probe::{Outcome, Probe, Prober, ProberError, WatchError};
use murphy_sys::{clock::boottime_ns, signal::Interrupts};
use murphy_target::Target;
use serde::{Deserialize, Serialize};

use super::{
    course::{Course, Doing, Phase, Taking},
    effect::{Effect, Known, Seen, Tolerance},
    experiment::Experiment,
    subject::{Subject, SubjectError},
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
    #[error("go on: somebody has ended it")]
    Interrupted,
    /// The target is not there.
    #[error(transparent)]
    Subject(#[from] SubjectError),
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
    /// The error cannot be injected.
    #[error(transparent)]
    Syscall(#[from] SyscallError),
    /// There is no time left.
    #[error("try more: the budget is spent")]
    OverBudget,
    /// What came of trials cannot be written down.
    #[error("write down what came of a trial: {0}")]
    Kept(std::io::Error),
    /// Signals cannot be waited for.
    #[error("listen for Ctrl-C: {0}")]
    Signals(std::io::Error),
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
            Self::Interrupted
                | Self::Kept(_)
                | Self::Signals(_)
                | Self::Syscall(SyscallError::NotUndone { .. })
        )
    }
}

/// What trials are made with.
pub struct Stage<'a> {
    /// Injects.
    pub injector: &'a Injector,
    /// Ctrl-C.
    pub interrupts: &'a Interrupts,
    /// The probes.
    pub watching: &'a Watching,
    /// What says whether the target's state is right, behind a trial.
    pub validation: Option<&'a Probe>,
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
    exposures: u64,
    injections: u64,
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
        let (control, _) =
            self.attached(subject, experiment, rate, Begin::Idle, self.phases.control)?;
        let (injection, tampered) = self.attached(
            subject,
            experiment,
            rate,
            Begin::Running,
            self.phases.injection,
        )?;
        let ended = boottime_ns();
        let afterwards = self.recover(subject, ended)?;
        let death = subject.death();
        let is_valid = match (&death, &afterwards, self.validation) {
            (None, Afterwards::Steady(_), Some(probe)) => Some(self.is_valid(probe)?),
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
        let is_cut = tampered.processes.iter().any(|one| one.gone);
        let seen = Observed {
            is_cut: is_cut && death.is_some(),
            ..before.observed(self.tolerance, death, afterwards, is_valid)
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
        subject.restart(self.injector)?;
        self.is_well(subject)?.map_err(unwell)
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
        match self.validation {
            Some(probe) if !self.is_valid(probe)? => {
                Ok(Err((probe.name(), "the validation fails".into())))
            }
            _ => Ok(Ok(())),
        }
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
    ) -> Result<((u64, u64), Tampered), TrialError> {
        let mut from = boottime_ns();
        let none = |from| Ok(((from, boottime_ns()), Tampered::default()));
        let Some(target) = subject.target() else {
            return none(from);
        };
        let names: Vec<String> = target
            .processes()
            .map(murphy_fault::process::name_of)
            .collect();
        let specs = experiment.specs(rate);
        let until = Until::After(Span(length + SLACK));
        let tampering = Tampering::inject(
            self.injector,
            target,
            &names,
            &specs,
            until,
            self.seed,
            begin,
        );
        let mut tampering = match tampering {
            Ok(tampering) => tampering,
            // Who has ended meanwhile is not to be patched any more.
            Err(_) if subject.death().is_some() => return none(from),
            Err(error) => return Err(error.into()),
        };
        // What patching itself does is none of it.
        if begin == Begin::Idle {
            from = boottime_ns();
        }
        let ends = boottime_ns() + nanoseconds(length);
        let mut outcome = Ok(());
        while outcome.is_ok() && boottime_ns() < ends && subject.death().is_none() {
            outcome = tampering
                .follow()
                .map_err(TrialError::from)
                .and_then(|()| self.pause(TICK.min(tampering.due_in())));
        }
        let to = boottime_ns();
        let tampered = tampering.end();
        outcome?;
        if !tampered.left.is_empty() {
            return Err(TrialError::Syscall(SyscallError::NotUndone {
                why: "the injection is over".into(),
                left: tampered.left.join("; "),
            }));
        }
        Ok(((from, to), tampered))
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

    fn is_valid(&self, probe: &Probe) -> Result<bool, TrialError> {
        let mut prober = Prober::new(probe, self.watching.pace().limit())?;
        Ok(matches!(prober.look().outcome, Outcome::Passed { .. }))
    }

    fn pause(&self, time: Duration) -> Result<(), TrialError> {
        self.taking.borrow_mut().look(boottime_ns());
        match self.interrupts.wait(time) {
            Ok(false) => Ok(()),
            Ok(true) => Err(TrialError::Interrupted),
            Err(error) => Err(TrialError::Signals(error)),
        }
    }
}

impl Looks {
    fn observed(
        &self,
        tolerance: Tolerance,
        death: Option<Death>,
        afterwards: Afterwards,
        is_valid: Option<bool>,
    ) -> Observed {
        Observed {
            exposures: self.exposures,
            injections: self.injections,
            control: worst(&self.baseline, &self.control, tolerance),
            effect: worst(&self.baseline, &self.injection, tolerance),
            death,
            is_cut: false,
            afterwards,
            is_valid,
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
