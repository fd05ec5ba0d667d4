//! The scout looks at every node a few times a second: who leads, how far, who died unasked.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use murphy_run::events::NodeState;
use tokio::sync::watch;

use super::{Ground, HuntError};
use crate::{
    lab::Lab,
    progress::{NodeNow, Progress, Snapshot},
    system::System,
};

/// Pause between two looks.
const EVERY: Duration = Duration::from_millis(250);

/// What a node is meant to be doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meant {
    /// Running.
    Up,
    /// Killed by the nemesis.
    Killed,
    /// Stopped by the nemesis.
    Paused,
    /// Ended by itself; nobody starts it again.
    Dead,
}

/// What is known of the nodes between the nemesis and the scout.
#[derive(Debug)]
pub struct Board {
    meant: Mutex<Vec<Meant>>,
    /// The round under way, from 1.
    pub round: AtomicU32,
}

impl Board {
    /// All nodes up.
    pub fn new(lab: &Lab) -> Self {
        Self {
            meant: Mutex::new(vec![Meant::Up; lab.nodes.len()]),
            round: AtomicU32::new(0),
        }
    }

    /// What `node` is meant to be doing.
    pub fn meant(&self, node: usize) -> Meant {
        self.lock().get(node).copied().unwrap_or(Meant::Up)
    }

    /// Says what `node` is meant to be doing from now on.
    pub fn mean(&self, node: usize, meant: Meant) {
        if let Some(slot) = self.lock().get_mut(node) {
            *slot = meant;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Meant>> {
        self.meant.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks until `stop` is true.
pub async fn watch<S: System>(
    ground: &Ground<S>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), HuntError> {
    let mut leader = None;
    loop {
        report_dead(ground)?;
        let looks = join_all(ground.lab.nodes.iter().map(|node| ground.system.look(node))).await;
        let leads = looks.iter().position(|look| look.leads && look.serves);
        if leads.is_some() && leads != leader {
            leader = leads;
            if let Some(node) = leads.and_then(|i| ground.lab.nodes.get(i)) {
                ground.events.node(&node.name, NodeState::Leader)?;
            }
        }
        let nodes = ground
            .lab
            .nodes
            .iter()
            .zip(&looks)
            .enumerate()
            .map(|(i, (node, look))| NodeNow {
                name: node.name.clone(),
                state: match ground.board.meant(i) {
                    Meant::Killed => "killed",
                    Meant::Paused => "paused",
                    Meant::Dead => "dead",
                    Meant::Up if look.leads => "leader",
                    Meant::Up if look.revision > 0 => "follower",
                    Meant::Up => "down",
                },
                revision: (look.revision > 0).then_some(look.revision),
            });
        ground.tell(Progress::Now(Snapshot {
            at_s: ground.at_s(),
            round: ground.board.round.load(Ordering::Relaxed),
            nodes: nodes.collect(),
            operations: ground.recorder.counters.operations.load(Ordering::Relaxed),
            unknown: ground.recorder.counters.unknown.load(Ordering::Relaxed),
        }));
        if tokio::time::timeout(EVERY, stop.wait_for(|stop| *stop))
            .await
            .is_ok()
        {
            return Ok(());
        }
    }
}

/// A node that is meant to be up and is not has died by itself, which is news.
fn report_dead<S: System>(ground: &Ground<S>) -> Result<(), HuntError> {
    for (i, node) in ground.lab.nodes.iter().enumerate() {
        if ground.board.meant(i) == Meant::Up
            && let Ok(Some(status)) = node.reap()
            && ground.board.meant(i) == Meant::Up
        {
            ground.board.mean(i, Meant::Dead);
            ground.events.node(&node.name, NodeState::Down)?;
            let text = format!(
                "{} ended by itself, {status}: {}",
                node.name,
                node.last_words()
            );
            ground.tell(Progress::Died {
                at_s: ground.at_s(),
                text,
            });
        }
    }
    Ok(())
}
