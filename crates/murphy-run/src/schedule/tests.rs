use super::*;

fn named(names: &[&str]) -> Vec<Known> {
    let names: Vec<String> = names.iter().map(|&n| n.to_owned()).collect();
    choose(&names, &PROCESS).expect("known names")
}

#[test]
fn the_same_seed_gives_the_same_schedule_and_a_longer_one_begins_with_it() {
    let faults = named(&["kill", "pause", "term"]);
    for seed in 0..50 {
        let short = Schedule::draw(seed, &faults, 3, 10);
        let long = Schedule::draw(seed, &faults, 3, 40);
        assert_eq!(short.rounds, long.rounds[..10]);
        let other = Schedule::draw(seed + 1, &faults, 3, 10);
        assert_ne!(short, other);
    }
}

#[test]
fn what_seed_7_means_never_changes() {
    let schedule = Schedule::draw(7, &named(&["kill", "pause", "term"]), 3, 6);
    let lines: Vec<String> = schedule
        .rounds
        .iter()
        .map(|round| {
            let step = &round.steps[0];
            format!(
                "{} load {} ms: {} n{} at {} ms for {} ms",
                round.number,
                round.load_ns / MS,
                step.fault,
                step.node,
                step.at_ns / MS,
                step.lasts_ns / MS
            )
        })
        .collect();
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn every_round_keeps_its_times() {
    let faults = named(&["kill", "pause", "term"]);
    for seed in 0..200 {
        for round in Schedule::draw(seed, &faults, 5, 30).rounds {
            let [step] = &round.steps[..] else {
                panic!("one fault a round: {round:?}")
            };
            assert!((FAULT_AT_NS.0..=FAULT_AT_NS.1).contains(&step.at_ns));
            assert!(step.node < 5);
            assert!(round.load_ns >= LOAD_NS);
            assert!(round.load_ns >= step.at_ns + step.lasts_ns + LOAD_AFTER_FAULT_NS);
            let shortest_ns = if step.fault == "pause" { 500 * MS } else { 0 };
            let longest_ns = if step.fault == "pause" {
                2_000 * MS
            } else {
                1_000 * MS
            };
            assert!((shortest_ns..=longest_ns).contains(&step.lasts_ns));
        }
    }
}

#[test]
fn every_fault_comes_up_before_any_comes_up_again() {
    let faults = named(&["kill", "pause", "term"]);
    for seed in 0..200 {
        for rounds in Schedule::draw(seed, &faults, 3, 30).rounds.chunks(3) {
            let mut names: Vec<_> = rounds.iter().map(|r| r.steps[0].fault.as_str()).collect();
            names.sort_unstable();
            assert_eq!(names, ["kill", "pause", "term"]);
        }
    }
}

/// Counts of nodes are multinomial: with 6,000 draws and p = 1/3 the standard deviation of a count is
/// √(6000 · 1/3 · 2/3) = 36.5, and 5 of them are exceeded once in 1.7 million draws of the seed.
#[test]
fn nodes_and_restarts_are_drawn_fairly() {
    let rounds = Schedule::draw(1, &named(&["kill"]), 3, 6_000).rounds;
    for node in 0..3 {
        let count = rounds.iter().filter(|r| r.steps[0].node == node).count();
        assert!(count.abs_diff(2_000) <= 183, "node {node}: {count}");
    }
    // √(6000 · 1/2 · 1/2) = 38.7.
    let at_once = rounds.iter().filter(|r| r.steps[0].lasts_ns == 0).count();
    assert!(
        at_once.abs_diff(3_000) <= 194,
        "restarted at once: {at_once}"
    );
}

#[test]
fn without_faults_or_nodes_a_round_is_load_alone() {
    for schedule in [
        Schedule::draw(3, &[], 3, 4),
        Schedule::draw(3, &PROCESS, 0, 4),
    ] {
        assert_eq!(schedule.rounds.len(), 4);
        for round in schedule.rounds {
            assert!(round.steps.is_empty());
            assert_eq!(round.load_ns, LOAD_NS);
        }
    }
}

#[test]
fn names_are_checked() {
    let error = choose(&["kill".into(), "unplug".into()], &PROCESS).expect_err("unknown");
    assert_eq!(
        error.to_string(),
        "schedule fault `unplug`: unknown, expected kill, pause or term"
    );
    assert_eq!(named(&["kill", "kill"]).len(), 1);
}

#[test]
fn a_schedule_survives_json() {
    let schedule = Schedule::draw(11, &PROCESS, 3, 5);
    let text = serde_json::to_string(&schedule).expect("plain data");
    let back: Schedule = serde_json::from_str(&text).expect("what was written");
    assert_eq!(back, schedule);
}
