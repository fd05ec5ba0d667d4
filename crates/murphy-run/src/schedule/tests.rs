use super::*;

fn named(names: &[&str]) -> Vec<Known> {
    let names: Vec<String> = names.iter().map(|&n| n.to_owned()).collect();
    choose(&names, &KNOWN).expect("known names")
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

/// What a schedule says, a line for each fault.
fn lines(schedule: &Schedule) -> String {
    let rounds = schedule.rounds.iter();
    let lines = rounds.flat_map(|round| round.steps.iter().map(move |step| (round.number, step)));
    let line = |(number, step): (u32, &Step)| {
        let skew = step.skew.map(|skew| serde_json::to_string(&skew));
        let skew = skew.map_or_else(String::new, |skew| skew.expect("plain data"));
        format!(
            "{number} {} n{} at {} ms for {} ms {skew}",
            step.fault,
            step.node,
            step.at_ns / MS,
            step.lasts_ns / MS
        )
        .trim_end()
        .to_owned()
    };
    lines.map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn what_seed_7_means_with_skews_never_changes() {
    let schedule = Schedule::draw(7, &named(&["skew", "kill"]), 3, 12);
    insta::assert_snapshot!(lines(&schedule));
}

#[test]
fn skews_say_how_and_keep_their_times() {
    let faults = named(&["skew", "kill", "pause"]);
    for seed in 0..200 {
        let schedule = Schedule::draw(seed, &faults, 5, 30);
        assert_eq!(schedule, Schedule::draw(seed, &faults, 5, 30));
        for round in schedule.rounds {
            for step in &round.steps {
                assert_eq!(step.skew.is_some(), step.fault == "skew");
                assert!(step.node < 5);
                assert!(round.load_ns >= step.at_ns + step.lasts_ns + LOAD_AFTER_FAULT_NS);
            }
            let skew = &round.steps[0];
            if skew.fault != "skew" {
                assert_eq!(round.steps.len(), 1);
                continue;
            }
            assert!((2_000 * MS..=4_000 * MS).contains(&skew.lasts_ns));
            for other in &round.steps[1..] {
                let after_ns = other.at_ns - skew.at_ns;
                assert_ne!(other.fault, "skew");
                assert!((DURING_SKEW_NS..=skew.lasts_ns / 2).contains(&after_ns));
            }
        }
    }
}

/// Of 3,000 skews half have a kill in their midst: standard deviation √(3000 · 1/2 · 1/2) = 27.4. Of these
/// half aim at the skewed node and a third of the others hit it by chance, 2/3 in all: with 1,500 of them
/// √(1500 · 2/3 · 1/3) = 18.3. Five of each are allowed, and what the first adds to the second.
#[test]
fn half_of_the_skews_have_another_fault_in_their_midst() {
    let rounds = Schedule::draw(1, &named(&["skew", "kill"]), 3, 6_000).rounds;
    let both: Vec<_> = rounds.iter().filter(|r| r.steps.len() == 2).collect();
    assert!(both.len().abs_diff(1_500) <= 137, "{}", both.len());
    let same = both.iter().filter(|r| r.steps[0].node == r.steps[1].node);
    let expected = both.len() * 2 / 3;
    let same = same.count();
    assert!(same.abs_diff(expected) <= 95, "{same} of {}", both.len());
    let alone = Schedule::draw(1, &[SKEW], 3, 100).rounds;
    assert!(alone.iter().all(|round| round.steps.len() == 1));
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
    let error = choose(&["kill".into(), "unplug".into()], &KNOWN).expect_err("unknown");
    assert_eq!(
        error.to_string(),
        "schedule fault `unplug`: unknown, expected kill, pause, term or skew"
    );
    assert_eq!(named(&["kill", "kill"]).len(), 1);
}

#[test]
fn a_schedule_survives_json() {
    let schedule = Schedule::draw(11, &KNOWN, 3, 12);
    let steps = || schedule.rounds.iter().flat_map(|round| &round.steps);
    assert!(steps().any(|step| step.skew.is_some()));
    let text = serde_json::to_string(&schedule).expect("plain data");
    let back: Schedule = serde_json::from_str(&text).expect("what was written");
    assert_eq!(back, schedule);
}
