//! A skew makes one member's time of day go wrong, as if the clock of its machine did.
//!
//! The member's process is hooked with all its threads, children and whatever it executes, and its clocks are
//! read through its own eyes for as long as the skew lasts. What runs on a machine shares its clock: a member
//! that is ended meanwhile and started again sees the same skew, as far as that has come, from its first
//! instruction on.

mod readings;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::sleep,
    time::{Duration, Instant},
};

use murphy_fault::{
    injector::Injector,
    process::{Launched, Output, ProcessFaultError, Start},
    span::{Shift, Span, Until},
    time::{self, Drift, Follow, Skew, SkewError, Spec, Strobe},
};
use murphy_run::{
    events::FaultState,
    schedule::{Skewing, Step},
};
use murphy_sys::{pidfd::Pidfd, process::ProcessId, signal::Signal};
use murphy_target::Target;

use self::readings::Readings;
use super::{Blow, NemesisError};
use crate::{hunt::Ground, lab::Node, system::System};

/// How often a skew in force is looked at: a program that the member executes is skewed that soon.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How often the member's clocks are read.
const READ_EVERY: Duration = Duration::from_millis(130);
/// How often the events say what was read.
const SAY_EVERY: Duration = Duration::from_secs(1);

/// The skews in force, by node.
#[derive(Debug)]
pub(crate) struct Skews(Vec<Mutex<Option<Skew>>>);

impl Skews {
    /// None, for this many nodes.
    pub fn none(nodes: usize) -> Self {
        Self((0..nodes).map(|_| Mutex::new(None)).collect())
    }

    /// The skew of a node; nobody else has it until the guard is dropped.
    fn of(&self, node: usize) -> Option<MutexGuard<'_, Option<Skew>>> {
        let slot = self.0.get(node)?;
        Some(slot.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Skews the clocks of a process made for that, which never executes an instruction: what this kernel or
/// architecture cannot do is said before a hunt begins.
pub(crate) fn trial(injector: &Injector) -> Result<(), NemesisError> {
    time::trial().map_err(|error| NemesisError::NoSkew(error.into()))?;
    let start = Start {
        held: true,
        ..Output::Nowhere.into()
    };
    let itself = "/proc/self/exe".into();
    let launched = Launched::start(injector, vec![itself], start).map_err(NemesisError::Trial)?;
    let outcome = try_on(injector, &launched);
    let left = launched.end();
    if left.is_empty() {
        outcome
    } else {
        Err(NemesisError::TrialLeft(left.join("; ")))
    }
}

fn try_on(injector: &Injector, launched: &Launched) -> Result<(), NemesisError> {
    let process = launched.process().map_err(NemesisError::Trial)?;
    let target = Target::of_processes("trial", &[process], [])?;
    let spec = Spec {
        offset: Some(Shift(-3_600_000_000_000)),
        ..Spec::default()
    };
    let until = Until::After(Span(Duration::from_secs(10)));
    let names = ["trial".to_owned()];
    let skew = Skew::inject(injector, &target, &names, spec, until, 0, Follow::Look);
    let effect = skew.map_err(NemesisError::NoSkew)?.end();
    if !effect.left.is_empty() {
        return Err(NemesisError::TrialLeft(effect.left.join("; ")));
    }
    if !effect.had_effect() {
        return Err(NemesisError::NoSkew(SkewError::Escaped(
            "read the skewed clock of a process: it shows the true time".into(),
        )));
    }
    Ok(())
}

/// What a schedule drew, as family `time` takes it.
fn spec(skewing: Skewing) -> Spec {
    Spec {
        offset: skewing.offset_ns.map(Shift),
        drift: skewing.drift_ppm.map(|ppm| Drift(f64::from(ppm))),
        strobe: skewing.strobe.map(|strobe| Strobe {
            by: Shift(strobe.by_ns),
            every: Span(Duration::from_nanos(strobe.every_ns)),
        }),
        freeze: skewing.freeze,
        ..Spec::default()
    }
}

/// Skews the node's process for the drawn time, or until somebody interrupts.
pub(super) async fn strike<S: System>(
    ground: &Arc<Ground<S>>,
    step: &Step,
    skewing: Skewing,
    process: ProcessId,
) -> Result<(), NemesisError> {
    let (ground, step) = (Arc::clone(ground), step.clone());
    // A thread of its own: a strobe waits for nobody, and the clients keep theirs busy.
    let kept = tokio::task::spawn_blocking(move || inflict(&ground, &step, skewing, process));
    match kept.await {
        Ok(outcome) => outcome,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

fn inflict<S: System>(
    ground: &Ground<S>,
    step: &Step,
    skewing: Skewing,
    process: ProcessId,
) -> Result<(), NemesisError> {
    let (Some(node), Some(slot)) = (
        ground.lab.nodes.get(step.node),
        ground.skews.0.get(step.node),
    ) else {
        return Ok(());
    };
    let spec = spec(skewing);
    let mut readings = Readings::of(spec.to_string());
    let target = Target::of_processes(&node.name, &[process], [])?;
    let names = [node.name.clone()];
    let until = Until::After(Span(Duration::from_nanos(step.lasts_ns)));
    let seed = ground.plan.seed;
    let mut skew = Skew::inject(
        &ground.injector,
        &target,
        &names,
        spec,
        until,
        seed,
        Follow::Look,
    )?;
    let blow = Blow {
        ground,
        step,
        node,
        id: skew.id().to_owned(),
    };
    let effect = skew.effect()?;
    readings.add(&effect);
    *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(skew);
    let said = blow.say(FaultState::Active, readings.value(&effect), None);
    let kept = said.and_then(|()| keep(&blow, &mut readings));
    let taken = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
    // It is there: nobody else takes it away.
    let Some(skew) = taken else { return kept };
    let effect = skew.end();
    kept?;
    readings.finish(&effect);
    let left: Vec<_> = effect.left.iter().chain(&readings.left).cloned().collect();
    if !left.is_empty() {
        return Err(blow.left(&left));
    }
    if !readings.had_effect() && !ground.is_ending() {
        return Err(blow.no_effect(readings.text()));
    }
    let (value, text) = (readings.value(&effect), readings.text());
    blow.say(FaultState::Recovered, value, Some(text))
}

/// Keeps the skew of a node in force and reads its clocks until it is over, or somebody interrupts.
fn keep<S: System>(blow: &Blow<'_, S>, readings: &mut Readings) -> Result<(), NemesisError> {
    let (mut read_at, mut said_at) = (Instant::now(), Instant::now());
    while !blow.ground.is_ending() {
        let mut slot = blow.ground.skews.of(blow.step.node);
        let Some(skew) = slot.as_mut().and_then(|slot| slot.as_mut()) else {
            break;
        };
        skew.follow()?;
        let left = skew.left();
        if skew.is_over() || left.is_zero() {
            break;
        }
        // The last look before the deadline, which acts in the member by itself.
        let is_last = left <= LOOK_EVERY * 2;
        if is_last || read_at.elapsed() >= READ_EVERY {
            read_at = Instant::now();
            let effect = skew.effect()?;
            if skew.left().is_zero() {
                break;
            }
            readings.add(&effect);
            if said_at.elapsed() >= SAY_EVERY {
                said_at = Instant::now();
                let (value, text) = (readings.value(&effect), readings.text());
                blow.say(FaultState::Effect, value, Some(text))?;
            }
        }
        let wait = if is_last {
            skew.left()
        } else {
            LOOK_EVERY.min(skew.due_in())
        };
        drop(slot);
        sleep(wait);
    }
    Ok(())
}

/// Starts a node again whose process has ended, with the skew that is in force on it. Says whether one is.
pub(super) fn start_again<S: System>(
    ground: &Ground<S>,
    number: usize,
    node: &Node,
) -> Result<bool, NemesisError> {
    let argv = ground.system.argv(node, &ground.lab.nodes);
    let mut slot = ground.skews.of(number);
    let Some(skew) = slot.as_mut().and_then(|slot| slot.as_mut()) else {
        ground.lab.start(node, argv)?;
        return Ok(false);
    };
    let process = ProcessId::of(ground.lab.start_held(node, argv)?)?;
    let skewed = skew.adopt(process)?;
    Pidfd::open(process)
        .and_then(|pidfd| pidfd.send(Signal::CONT))
        .map_err(ProcessFaultError::from)?;
    Ok(skewed)
}
