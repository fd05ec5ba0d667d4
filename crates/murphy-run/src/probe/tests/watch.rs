//! Watches of real probes, stopped at any time.

use std::{
    sync::{
        Mutex,
        mpsc::{self, Receiver},
    },
    time::Duration,
};

use super::PATIENCE;
use crate::probe::{
    Outcome, Pace, Probe, Reason, Seen, Tally, Watch, WatchError,
    victim::{Deaf, Victim},
};

fn probes(texts: &[&str]) -> Vec<Probe> {
    let parse = |text: &&str| text.parse().unwrap_or_else(|error| panic!("{error}"));
    texts.iter().map(parse).collect()
}

fn pace(every_ms: u64, limit_ms: u64) -> Pace {
    let [every, limit] = [every_ms, limit_ms].map(Duration::from_millis);
    Pace::new(every, limit).expect("a pace")
}

fn watch(texts: &[&str], pace: Pace) -> (Watch, Receiver<Seen>) {
    let (sender, receiver) = mpsc::channel();
    let heard = move |seen| drop(sender.send(seen));
    let watch = Watch::start(&probes(texts), pace, heard).expect("a watch");
    (watch, receiver)
}

#[test]
fn every_probe_looks_again_and_again_until_it_is_stopped() {
    let (victim, deaf) = (Victim::page("200 OK", "well"), Deaf::new());
    let texts = [format!("http://{}", victim.at), format!("tcp:{}", deaf.at)];
    let (watch, receiver) = watch(&texts.each_ref().map(String::as_str), pace(10, 30_000));
    let mut looks = [Vec::new(), Vec::new()];
    let mut skipped = [0, 0];
    while looks.iter().any(|looks| looks.len() < 5) {
        let seen = receiver.recv_timeout(PATIENCE).expect("a look");
        skipped[seen.probe] += seen.skipped;
        looks[seen.probe].push(seen.look);
    }
    let watched = watch.stop().expect("a good end");
    for seen in &receiver {
        skipped[seen.probe] += seen.skipped;
        looks[seen.probe].push(seen.look);
    }
    for (probe, watched) in watched.into_iter().enumerate() {
        assert_eq!(watched.made, looks[probe].len() as u64);
        // Those skipped after the last look belong to no look.
        assert!(watched.skipped >= skipped[probe]);
        let began: Vec<_> = looks[probe].iter().map(|look| look.at_ns).collect();
        assert!(began.is_sorted());
    }
    let figures = looks.map(|looks| looks.iter().collect::<Tally>().figures());
    assert_eq!(figures[0].passed_ratio, Some(1.0));
    assert_eq!(
        figures[1].failed_by.get(&Reason::Refused),
        Some(&figures[1].made)
    );
}

#[test]
fn looks_that_fall_due_during_a_slow_one_are_counted_and_not_made_up_for() {
    let (watch, receiver) = watch(
        &["slow=command:sleep 0.3", "command:true"],
        pace(100, 30_000),
    );
    let seen: Vec<_> = receiver
        .iter()
        .filter(|seen| seen.probe == 0)
        .take(3)
        .collect();
    watch.stop().expect("a good end");
    assert_eq!(seen[0].skipped, 0);
    for pair in seen.windows(2) {
        assert!(pair[1].skipped >= 2, "{pair:?}");
        // It is on the grid again, and not at once.
        let apart_ns = pair[1].look.at_ns - pair[0].look.at_ns;
        assert!(apart_ns >= 300_000_000, "{pair:?}");
    }
}

#[test]
fn a_watch_stops_during_a_look_which_is_handed_out_still() {
    let (watch, receiver) = watch(&["command:sleep 60"], pace(10, 500));
    let watched = watch.stop().expect("a good end");
    let looks: Vec<_> = receiver.iter().collect();
    assert_eq!(watched[0].made, looks.len() as u64);
    for seen in looks {
        assert!(
            matches!(
                seen.look.outcome,
                Outcome::Failed {
                    reason: Reason::TimedOut,
                    ..
                }
            ),
            "{seen:?}"
        );
    }
}

#[test]
fn a_watch_that_nobody_lets_end_says_so() {
    let (release, held) = mpsc::channel::<()>();
    let held = Mutex::new(held);
    let (sender, receiver) = mpsc::channel();
    let heard = move |_| {
        let _ = sender.send(());
        let _ = held.lock().expect("one caller").recv();
    };
    let watch = Watch::start(&probes(&["held=command:true"]), pace(10, 100), heard);
    receiver.recv_timeout(PATIENCE).expect("a look");
    let error = watch.expect("a watch").stop().expect_err("it is held");
    assert!(
        matches!(&error, WatchError::Stuck(who) if who == "held"),
        "{error}"
    );
    drop(release);
}

#[test]
fn a_bug_of_whoever_hears_is_no_look_more() {
    let (sender, receiver) = mpsc::channel::<()>();
    let heard = move |_| {
        let _ = &sender;
        panic!("as it is meant to");
    };
    let watch = Watch::start(&probes(&["command:true"]), pace(10, 1000), heard).expect("a watch");
    // Its end goes with the thread.
    receiver
        .recv_timeout(PATIENCE)
        .expect_err("nothing is sent");
    assert!(matches!(watch.stop(), Err(WatchError::Panicked(_))));
}

#[test]
fn a_watch_that_is_dropped_stops_too() {
    let (watch, receiver) = watch(&["command:true"], pace(10, 1000));
    receiver.recv_timeout(PATIENCE).expect("a look");
    drop(watch);
    // The channel ends with the last thread.
    assert!(receiver.iter().count() < usize::MAX);
}

#[test]
fn a_watch_that_is_stopped_at_once_has_made_few_looks() {
    let (watch, receiver) = watch(&["command:true"], pace(60_000, 1000));
    let watched = watch.stop().expect("a good end");
    assert!(watched[0].made <= 1 && watched[0].skipped == 0);
    assert_eq!(receiver.iter().count() as u64, watched[0].made);
    assert_eq!(watched.len(), 1);
}
