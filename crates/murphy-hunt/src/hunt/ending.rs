//! The end of a round and of a hunt: the judge reads, the folder is completed.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::future::join_all;
use murphy_check::verdict::{Report, Verdict};
use murphy_run::{
    record,
    verdict::{Cleanup, Ending},
};

use super::{Ground, HuntError, Hunted};
use crate::{progress::Progress, system::System};

/// Has the judge read the history so far.
pub async fn check<S: System>(ground: &Arc<Ground<S>>) -> Result<Report, HuntError> {
    let path = ground.recorder.path().to_path_buf();
    ground
        .recorder
        .flush()
        .map_err(|source| HuntError::History {
            path: path.clone(),
            source,
        })?;
    let judge = Arc::clone(ground);
    let read = tokio::task::spawn_blocking(move || judge.system.check(&path)).await;
    match read {
        Ok(report) => report.map_err(HuntError::Judge),
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

/// The last judgement. What a stopped run did not break, it did not hold either.
pub async fn judge<S: System>(
    ground: &Arc<Ground<S>>,
    ending: &Ending,
) -> Result<Report, HuntError> {
    ground.tell(Progress::Checking);
    let mut report = check(ground).await?;
    if let Ending::Stopped { reason } = ending {
        for judgement in &mut report.judgements {
            if judgement.verdict == Verdict::Held {
                judgement.verdict = Verdict::Undecided;
                judgement.reason = format!("the run stopped: {reason}");
            }
        }
    }
    Ok(report)
}

/// What each member holds, in a few words.
pub async fn members_text<S: System>(ground: &Ground<S>, broken: usize) -> String {
    let looks = join_all(ground.lab.nodes.iter().map(|node| ground.system.look(node))).await;
    let each = ground.lab.nodes.iter().zip(&looks);
    let each: Vec<_> = each
        .map(|(node, look)| format!("{} rev {}", node.name, look.revision))
        .collect();
    let applied = looks.first().map_or(0, |look| look.applied);
    let same = looks.iter().all(|look| look.applied == applied);
    let at = if same {
        format!(" at applied index {applied}")
    } else {
        String::new()
    };
    let verdict = match broken {
        0 => String::new(),
        1 => "; a promise is broken".into(),
        n => format!("; {n} promises are broken"),
    };
    format!("{}{at}{verdict}", each.join(", "))
}

/// Completes the run folder.
pub fn finish<S: System>(
    ground: &Ground<S>,
    report: Report,
    ending: Ending,
    cleanup: Cleanup,
) -> Result<Hunted, HuntError> {
    let duration_ns = ground.clock.now_ns();
    let outcome = murphy_run::verdict::Outcome {
        report,
        ending,
        cleanup,
        duration_ns,
    };
    let finished = record::finish(&ground.folder, ground.recorder.series(), outcome)?;
    Ok(Hunted {
        finished,
        operations: ground.recorder.counters.operations.load(Ordering::Relaxed),
        duration: Duration::from_nanos(duration_ns),
        again: ground.folder.read_request()?.command_line(),
    })
}
