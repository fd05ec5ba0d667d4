//! The rounds of a hunt: load with a fault in it, quiet, comparison, judgement.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use murphy_check::verdict::{Judgement, Report, Verdict};
use murphy_run::{
    events::RunEvent,
    schedule::Round,
    verdict::{Cleanup, Ending},
};
use tokio::sync::watch;

use super::{Ground, HuntError, ending, following::Following, schedule, scout, stopped};
use crate::{
    nemesis,
    progress::Progress,
    system::{Session, System},
};

/// Plays rounds until the time is over, a promise is broken, or somebody interrupts.
pub async fn play<S: System>(
    ground: &Arc<Ground<S>>,
    cleanup: &mut Cleanup,
) -> Result<Ending, HuntError> {
    let plan = &ground.plan;
    let mut session = ground
        .system
        .session(&ground.lab, &ground.recorder, plan.seed);
    let (stop_scout, stopped) = watch::channel(false);
    let scouting = {
        let ground = Arc::clone(ground);
        tokio::spawn(async move { scout::watch(&ground, stopped).await })
    };
    let (stop_following, stopped) = watch::channel(false);
    let following = Following::default();
    let follower = {
        let (ground, following) = (Arc::clone(ground), following.clone());
        tokio::spawn(async move { following.follow(&ground, stopped).await })
    };
    let began = Instant::now();
    let mut ending = Ending::Completed;
    for round in schedule(plan).rounds {
        if began.elapsed() >= plan.duration && round.number > 1 {
            break;
        }
        if let Some(end) = one(ground, &mut session, &round, &following, cleanup).await? {
            ending = end;
            break;
        }
    }
    // The scout has ended by itself only when it failed, which is said below.
    let _ = stop_scout.send(true);
    let _ = stop_following.send(true);
    session.end().await;
    for task in [scouting, follower] {
        match task.await {
            Ok(outcome) => outcome?,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }
    Ok(ending)
}

/// Plays one round; says how the hunt ends when it ends with it.
async fn one<S: System>(
    ground: &Arc<Ground<S>>,
    session: &mut S::Session,
    round: &Round,
    following: &Following,
    cleanup: &mut Cleanup,
) -> Result<Option<Ending>, HuntError> {
    let number = round.number;
    ground.board.round.store(number, Ordering::Relaxed);
    ground.events.run(RunEvent::Round { round: number })?;
    ground.tell(Progress::Round { number });
    let (stop, stopped_load) = watch::channel(false);
    let (outcome, ()) = tokio::join!(
        hurt(ground, round, stop, cleanup),
        session.load(stopped_load)
    );
    outcome?;
    if ground.is_interrupted() {
        ground.events.run(RunEvent::Interrupted)?;
        return Ok(Some(Ending::Interrupted));
    }
    if ground.recorder.is_broken() {
        // The judgement flushes the history and says why it cannot be written.
        return Ok(Some(Ending::Completed));
    }
    ground.events.run(RunEvent::Quiet { round: number })?;
    let compared = session.compare().await;
    let report = following.judge(ground).await?;
    let broken = report.as_ref().map_or(0, |report| broken(report).count());
    let text = ending::members_text(ground, broken).await;
    ground.events.run(RunEvent::Compared {
        round: number,
        text: text.clone(),
    })?;
    ground.tell(Progress::Quiet {
        at_s: ground.at_s(),
        text,
    });
    if let Some(report) = &report {
        announce(ground, report)?;
    }
    if let Err(error) = compared {
        return Ok(Some(stopped(&error)));
    }
    let is_broken =
        report.is_some_and(|report| report.verdict(&ground.plan.promises) == Verdict::Broken);
    Ok((is_broken && !ground.plan.keep_going).then_some(Ending::FirstBroken))
}

/// Lets the round's faults act at their times, each on its own, then ends its load.
async fn hurt<S: System>(
    ground: &Arc<Ground<S>>,
    round: &Round,
    stop: watch::Sender<bool>,
    cleanup: &mut Cleanup,
) -> Result<(), HuntError> {
    let began = Instant::now();
    let steps = round.steps.iter().cloned().map(|step| {
        let ground = Arc::clone(ground);
        tokio::spawn(async move {
            pause(&ground, began, step.at_ns).await;
            if ground.is_ending() {
                return None;
            }
            Some(nemesis::strike(&ground, &step).await)
        })
    });
    let mut outcome = Ok(());
    for struck in join_all(steps.collect::<Vec<_>>()).await {
        match struck {
            Ok(None) => {}
            Ok(Some(struck)) => {
                cleanup.injections += 1;
                cleanup.undone += u64::from(struck.is_ok());
                outcome = outcome.and(struck);
            }
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }
    pause(ground, began, round.load_ns).await;
    // Nobody listens when the load has ended by itself, on a full disk.
    let _ = stop.send(true);
    Ok(outcome?)
}

/// Waits until `at_ns` after `began`, or until somebody interrupts.
async fn pause<S: System>(ground: &Ground<S>, began: Instant, at_ns: u64) {
    let left = Duration::from_nanos(at_ns).saturating_sub(began.elapsed());
    ground.wait(left).await;
}

/// Takes down what is broken, so that the timeline shows when it was found.
fn announce<S: System>(ground: &Ground<S>, report: &Report) -> Result<(), HuntError> {
    for judgement in broken(report) {
        ground
            .events
            .verdict(&judgement.promise, judgement.verdict, &judgement.reason)?;
    }
    Ok(())
}

fn broken(report: &Report) -> impl Iterator<Item = &Judgement> {
    let judgements = report.judgements.iter();
    judgements.filter(|judgement| judgement.verdict == Verdict::Broken)
}
