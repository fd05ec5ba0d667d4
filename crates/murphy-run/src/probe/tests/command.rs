//! Probes that run real programs, and leave nobody behind.

use std::{
    fs,
    sync::atomic::AtomicBool,
    thread,
    time::{Duration, Instant},
};

use super::{PATIENCE, SHORT, failure, outcome, passed_with, prober};
use crate::probe::{Outcome, Reason};

/// Whether somebody with this pid runs; one who is dead and waits for its parent does not.
fn runs(pid: &str) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    let state = stat
        .rsplit_once(") ")
        .and_then(|(_, rest)| rest.chars().next());
    !matches!(state, Some('Z' | 'X'))
}

/// Waits until nobody has these pids.
#[track_caller]
fn assert_gone(pids: &[&str]) {
    for _ in 0..1000 {
        if !pids.iter().any(|pid| runs(pid)) {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("one of {pids:?} still runs");
}

#[test]
fn a_program_passes_with_the_number_that_it_says_last() {
    assert_eq!(outcome("command:true"), Outcome::Passed { value: None });
    assert_eq!(outcome("sh:echo well"), Outcome::Passed { value: None });
    assert_eq!(outcome("command:echo 0.25"), passed_with(0.25));
    assert_eq!(
        outcome("sh:printf 'one\\n2\\n\\n'; sleep 0.1"),
        passed_with(2.0)
    );
    // It has an empty standard input.
    assert_eq!(outcome("sh:wc -c"), passed_with(0.0));
}

#[test]
fn the_last_line_that_is_said_is_the_evidence() {
    let seen = failure(prober("sh:echo one; echo two >&2; echo; exit 3", PATIENCE).look());
    assert_eq!(seen, (Reason::BadExit, "exit code 3: two".into()));
    let seen = failure(prober("sh:echo hm; sleep 60", Duration::from_secs(2)).look());
    assert_eq!(seen, (Reason::TimedOut, "killed after 2s: hm".into()));
}

#[test]
fn a_program_that_nobody_waits_for_any_more_is_killed() {
    let began = Instant::now();
    let is_over = AtomicBool::new(true);
    let look = prober("sh:sleep 50; exit 0", PATIENCE).look_unless(&is_over);
    assert_eq!(failure(look).0, Reason::TimedOut);
    assert!(began.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_program_that_says_much_is_heard_to_its_end() {
    let seen = failure(prober("sh:seq 1 1000000; exit 1", PATIENCE).look());
    assert_eq!(seen, (Reason::BadExit, "exit code 1: 1000000".into()));
    let (reason, _) = failure(prober("command:yes", SHORT).look());
    assert_eq!(reason, Reason::TimedOut);
}

#[test]
fn a_program_that_closes_its_output_is_waited_for() {
    let seen = failure(prober("sh:exec >&- 2>&-; sleep 0.2; exit 4", PATIENCE).look());
    assert_eq!(seen, (Reason::BadExit, "exit code 4".into()));
}

#[test]
fn nobody_is_left_of_a_program_whose_time_is_over() {
    let mut prober = prober("sh:sleep 61 & echo $! $$; wait", Duration::from_secs(2));
    let (reason, detail) = failure(prober.look());
    assert_eq!(reason, Reason::TimedOut);
    let pids: Vec<_> = detail.rsplit(' ').take(2).collect();
    assert_gone(&pids);
    // The program itself was collected.
    assert!(!fs::exists(format!("/proc/{}", pids[0])).expect("a readable /proc"));
}

#[test]
fn what_a_program_leaves_in_the_background_ends_with_it() {
    let (reason, detail) = failure(prober("sh:sleep 62 & echo $! $$; exit 5", PATIENCE).look());
    assert_eq!(reason, Reason::BadExit);
    let pids: Vec<_> = detail.rsplit(' ').take(2).collect();
    assert_gone(&pids);
    assert!(!fs::exists(format!("/proc/{}", pids[0])).expect("a readable /proc"));
}
