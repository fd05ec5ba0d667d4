//! The nemesis carries out the steps of a schedule on the nodes of a lab.
//!
//! `kill` and `term` end a node's process and start it again after the drawn gap; `pause` stops it for the
//! drawn time; `skew` makes its time of day go wrong ([`skew`]). Each is an ordinary injection, journaled and
//! measured like any other; its beginning and end stand in the history, so that the judge can count what
//! happened meanwhile.

pub(crate) mod skew;

use std::{
    process::ExitStatus,
    sync::Arc,
    time::{Duration, Instant},
};

use murphy_check::history::{Kind, NEMESIS};
use murphy_fault::{
    journal::JournalError,
    process::{ENGINE, LaunchedError, Pause, ProcessFaultError, Signalled, send},
    span::{Span, Until},
    time::{self, SkewError},
};
use murphy_run::{
    events::{EventsError, FaultEvent, FaultState, NodeState},
    schedule::Step,
};
use murphy_sys::{
    process::{ProcessError, ProcessId},
    signal::Signal,
};
use murphy_target::{Target, TargetError};
use serde_json::{Value, json};

use crate::{
    hunt::{Ground, Meant},
    lab::{LabError, Node},
    progress::Progress,
    system::System,
};

/// How long a node may take to end after SIGTERM before it is killed.
const TERM_PATIENCE: Duration = Duration::from_secs(10);
/// How long a process may take to be gone after SIGKILL.
const KILL_PATIENCE: Duration = Duration::from_secs(5);
/// How long a node may take to serve again.
const HEALTHY_WITHIN: Duration = Duration::from_secs(20);
/// Pause between two looks at a node that is coming up.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Why a step could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum NemesisError {
    /// The fault was refused.
    #[error(transparent)]
    Fault(#[from] ProcessFaultError),
    /// A skew was refused.
    #[error(transparent)]
    Skew(#[from] SkewError),
    /// This machine cannot skew clocks, and was asked before anything began.
    #[error("hunt with the fault skew, which this machine cannot do: {0}; hunt without it")]
    NoSkew(#[source] SkewError),
    /// The process on which skewing is tried did not start, or end.
    #[error("try to skew a clock: {0}")]
    Trial(#[source] LaunchedError),
    /// Something of that trial is left.
    #[error("end the trial of a skew: {0}")]
    TrialLeft(String),
    /// The node's process and its children cannot be found.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The node's process cannot be looked at.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The node did not start again.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// The event file.
    #[error(transparent)]
    Events(#[from] EventsError),
    /// The node's process could not be waited for.
    #[error("wait for {node}: {source}")]
    Wait {
        /// The node.
        node: String,
        /// Why.
        source: std::io::Error,
    },
    /// The node survived SIGKILL, which only a process in an uninterruptible sleep does.
    #[error("kill {node}: it is still there after {} s", KILL_PATIENCE.as_secs())]
    Survived {
        /// The node.
        node: String,
    },
    /// A fault hit nothing, so what the run would say about it would be worth nothing.
    #[error("{fault} {node}: it had no effect: {what}")]
    NoEffect {
        /// The fault.
        fault: String,
        /// The node.
        node: String,
        /// What was measured.
        what: String,
    },
    /// The fault could not be undone.
    #[error("end {fault} of {node}: {left}")]
    Left {
        /// The fault.
        fault: String,
        /// The node.
        node: String,
        /// What is left.
        left: String,
    },
}

/// One fault on one node, from its first line to its last.
struct Blow<'a, S: System> {
    ground: &'a Ground<S>,
    step: &'a Step,
    node: &'a Node,
    id: String,
}

/// Carries one step out. A node that has ended by itself cannot be hit, and the run says that it has.
pub(crate) async fn strike<S: System>(
    ground: &Arc<Ground<S>>,
    step: &Step,
) -> Result<(), NemesisError> {
    let Some(node) = ground.lab.nodes.get(step.node) else {
        return Ok(());
    };
    let Some(pid) = node.pid() else { return Ok(()) };
    let process = ProcessId::of(pid)?;
    if let Some(skewing) = step.skew {
        skew::strike(ground, step, skewing, process).await
    } else if step.fault == "pause" {
        pause(ground, step, node, process).await
    } else {
        end_and_restart(ground, step, node, process).await
    }
}

/// SIGSTOP, wait, SIGCONT.
async fn pause<S: System>(
    ground: &Ground<S>,
    step: &Step,
    node: &Node,
    process: ProcessId,
) -> Result<(), NemesisError> {
    let lasts = Duration::from_nanos(step.lasts_ns);
    ground.board.mean(step.node, Meant::Paused);
    let names = [node.name.clone()];
    let target = Target::of_processes(&node.name, &[process], [])?;
    let until = Until::After(Span(lasts));
    let pause =
        tokio::task::block_in_place(|| Pause::inject(&ground.injector, &target, &names, until))?;
    let blow = Blow {
        ground,
        step,
        node,
        id: pause.id().to_owned(),
    };
    blow.say(FaultState::Active, Value::Null, None)?;
    ground.wait(lasts).await;
    let effect = tokio::task::block_in_place(|| pause.end());
    ground.board.mean(step.node, Meant::Up);
    if !effect.left.is_empty() {
        return Err(blow.left(&effect.left));
    }
    if !effect.had_effect() {
        return Err(blow.no_effect(effect.text()));
    }
    blow.say(FaultState::Recovered, json!(effect), Some(effect.text()))?;
    Ok(())
}

/// SIGKILL or SIGTERM, then the node is started again.
async fn end_and_restart<S: System>(
    ground: &Ground<S>,
    step: &Step,
    node: &Node,
    process: ProcessId,
) -> Result<(), NemesisError> {
    let (signal, patience) = if step.fault == "kill" {
        (Signal::KILL, KILL_PATIENCE)
    } else {
        (Signal::TERM, TERM_PATIENCE)
    };
    ground.board.mean(step.node, Meant::Killed);
    let entry = ground.injector.begin(
        "process",
        &step.fault,
        std::slice::from_ref(&node.name),
        Until::Forever,
    )?;
    let blow = Blow {
        ground,
        step,
        node,
        id: entry.id().to_owned(),
    };
    blow.say(FaultState::Active, Value::Null, None)?;
    let began = Instant::now();
    let mut fates = tokio::task::block_in_place(|| send(&[process], signal, patience))?;
    if gone(node, Duration::from_millis(50)).await?.is_none() {
        // It did not listen to SIGTERM: what was asked for is that it ends.
        fates.extend(tokio::task::block_in_place(|| {
            send(&[process], Signal::KILL, KILL_PATIENCE)
        })?);
        if gone(node, KILL_PATIENCE).await?.is_none() {
            return Err(NemesisError::Survived {
                node: node.name.clone(),
            });
        }
    }
    ground.events.node(&node.name, NodeState::Stopped)?;
    ground.wait(Duration::from_nanos(step.lasts_ns)).await;
    let skewed = tokio::task::block_in_place(|| skew::start_again(ground, step.node, node))?;
    let down = began.elapsed();
    ground.board.mean(step.node, Meant::Up);
    ground.events.node(&node.name, NodeState::Restarted)?;
    entry.end()?;
    let effect = json!({ "processes": fates, "down_ms": down.as_millis(), "skewed": skewed });
    blow.say(
        FaultState::Recovered,
        effect,
        Some(ended_text(&fates, signal, down, skewed)),
    )?;
    serves_again(ground, node).await?;
    Ok(())
}

fn ended_text(fates: &[Signalled], signal: Signal, down: Duration, skewed: bool) -> String {
    let each: Vec<_> = fates.iter().map(|f| f.fate.text()).collect();
    let with = if skewed { " with its skewed clock" } else { "" };
    format!(
        "{} with {signal}; started again{with} after {:.2} s",
        each.join(", then "),
        down.as_secs_f64()
    )
}

impl<S: System> Blow<'_, S> {
    /// Takes one step of the fault down, everywhere it belongs.
    fn say(
        &self,
        event: FaultState,
        effect: Value,
        text: Option<String>,
    ) -> Result<(), NemesisError> {
        let (node, fault) = (&self.node.name, &self.step.fault);
        let phase = match event {
            FaultState::Active => Some("begin"),
            FaultState::Recovered | FaultState::Failed => Some("end"),
            FaultState::Planned | FaultState::Effect => None,
        };
        if let Some(phase) = phase {
            let value = json!({ "phase": phase, "id": self.id });
            self.ground
                .recorder
                .note(Kind::Info, NEMESIS, node, fault, &value);
        }
        let is_news = event != FaultState::Effect;
        if let Some(text) = text.as_ref().filter(|_| is_news) {
            let text = format!("{fault} {node}: {text}");
            self.ground.tell(Progress::Fault {
                at_s: self.ground.at_s(),
                text,
            });
        }
        let (family, engine) = match self.step.skew {
            Some(_) => ("time", time::ENGINE),
            None => ("process", ENGINE),
        };
        self.ground.events.fault(FaultEvent {
            event,
            id: self.id.clone(),
            family: family.into(),
            fault: fault.clone(),
            targets: vec![node.clone()],
            engine: engine.into(),
            effect,
            text,
        })?;
        Ok(())
    }

    fn no_effect(&self, what: String) -> NemesisError {
        NemesisError::NoEffect {
            fault: self.step.fault.clone(),
            node: self.node.name.clone(),
            what,
        }
    }

    fn left(&self, left: &[String]) -> NemesisError {
        NemesisError::Left {
            fault: self.step.fault.clone(),
            node: self.node.name.clone(),
            left: left.join("; "),
        }
    }
}

async fn gone(node: &Node, patience: Duration) -> Result<Option<ExitStatus>, NemesisError> {
    let outcome = node.gone_within(patience).await;
    outcome.map_err(|source| NemesisError::Wait {
        node: node.name.clone(),
        source,
    })
}

/// Waits until the node serves, as long as that takes within reason; the comparison waits longer.
async fn serves_again<S: System>(ground: &Ground<S>, node: &Node) -> Result<(), NemesisError> {
    let began = Instant::now();
    while began.elapsed() < HEALTHY_WITHIN && !ground.is_interrupted() {
        if ground.system.look(node).await.serves {
            ground.events.node(&node.name, NodeState::Healthy)?;
            break;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}
