//! The nemesis carries out the steps of a schedule on the nodes of a lab.
//!
//! `kill` and `term` end a node's process and start it again after the drawn gap; `pause` stops it for the
//! drawn time. Each is an ordinary injection of family `process`, journaled and measured like any other;
//! its beginning and end stand in the history, so that the judge can count what happened meanwhile.

use std::{
    process::ExitStatus,
    time::{Duration, Instant},
};

use murphy_check::history::{Kind, NEMESIS};
use murphy_run::{
    events::{EventsError, FaultEvent, FaultState, NodeState},
    schedule::Step,
};
use serde_json::json;

use crate::{
    hunt::{Ground, Meant, wait_or_interrupt},
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
    /// The fault was refused, or could not be undone.
    #[error(transparent)]
    Fault(#[from] crate::shim::FaultError),
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
}

/// Carries one step out. A node that is not running is left alone, and that is said.
pub(crate) async fn strike<S: System>(ground: &Ground<S>, step: &Step) -> Result<(), NemesisError> {
    let Some(node) = ground.lab.nodes.get(step.node) else {
        return Ok(());
    };
    let Some(pid) = node.pid() else { return Ok(()) };
    let id = String::from("abcdef");
    let mark = |phase: &str| {
        let value = json!({ "phase": phase, "id": id });
        ground
            .recorder
            .note(Kind::Info, NEMESIS, &node.name, &step.fault, &value);
    };
    let event = |event, text: Option<String>| FaultEvent {
        event,
        id: id.clone(),
        family: "process".into(),
        fault: step.fault.clone(),
        targets: vec![node.name.clone()],
        engine: "signal".into(),
        effect: serde_json::Value::Null,
        text,
    };
    ground.board.mean(
        step.node,
        if step.fault == "pause" {
            Meant::Paused
        } else {
            Meant::Killed
        },
    );
    mark("begin");
    ground.events.fault(event(FaultState::Active, None))?;
    let text = if step.fault == "pause" {
        ground.injector.signal(pid, "STOP");
        wait_or_interrupt(&ground.interrupted, Duration::from_nanos(step.lasts_ns)).await;
        ground.injector.signal(pid, "CONT");
        ground.board.mean(step.node, Meant::Up);
        format!("pause {}", node.name)
    } else {
        ground
            .injector
            .signal(pid, if step.fault == "kill" { "KILL" } else { "TERM" });
        let gone = gone(
            node,
            if step.fault == "kill" {
                KILL_PATIENCE
            } else {
                TERM_PATIENCE
            },
        )
        .await?;
        if gone.is_none() {
            return Err(NemesisError::Survived {
                node: node.name.clone(),
            });
        }
        ground.events.node(&node.name, NodeState::Stopped)?;
        wait_or_interrupt(&ground.interrupted, Duration::from_nanos(step.lasts_ns)).await;
        restart(ground, step.node, node).await?;
        format!("{} {}", step.fault, node.name)
    };
    mark("end");
    ground
        .events
        .fault(event(FaultState::Recovered, Some(text.clone())))?;
    ground.tell(Progress::Fault {
        at_s: ground.at_s(),
        text,
    });
    Ok(())
}

async fn gone(node: &Node, patience: Duration) -> Result<Option<ExitStatus>, NemesisError> {
    let outcome = node.gone_within(patience).await;
    outcome.map_err(|source| NemesisError::Wait {
        node: node.name.clone(),
        source,
    })
}

/// Starts the node again and waits until it serves, as long as that takes within reason.
async fn restart<S: System>(
    ground: &Ground<S>,
    index: usize,
    node: &Node,
) -> Result<(), NemesisError> {
    ground
        .lab
        .start(node, ground.system.argv(node, &ground.lab.nodes))?;
    ground.board.mean(index, Meant::Up);
    ground.events.node(&node.name, NodeState::Restarted)?;
    let began = Instant::now();
    while began.elapsed() < HEALTHY_WITHIN && !*ground.interrupted.borrow() {
        if ground.system.look(node).await.serves {
            ground.events.node(&node.name, NodeState::Healthy)?;
            return Ok(());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}
