//! What nobody can decide ends, at the limit, and says so; what is long and easy is decided.

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use murphy_check::{judge::Options, search::Limits, verdict::Verdict};

use super::{judged, notation, on};

fn options(memory: usize, time: Duration) -> Options {
    Options {
        limits: Limits {
            memory,
            time: Some(time),
            threads: 1,
        },
        ..Options::default()
    }
}

/// Compare-and-sets round a ring of five values, all beside each other, two of which are left over: a way that takes
/// each arrow once cannot leave a value more often than it comes to it.
fn concurrent_swaps() -> String {
    let mut text = String::from("z 1 2 write 0\n");
    for client in 0..52 {
        let from = if client < 50 { client % 5 } else { 2 };
        let to = (from + 1) % 5;
        let (call, end) = (3 + client % 3, 900 + client);
        writeln!(text, "c{client} {call} {end} cas [{from},{to}] -> true").unwrap();
    }
    notation::history("cas-register", &text).0
}

#[test]
fn a_limit_of_time_ends_it() {
    let limit = Duration::from_millis(500);
    let started = Instant::now();
    let judged = judged(&concurrent_swaps(), &options(1 << 30, limit));
    let took = started.elapsed();
    let linearizable = on(&judged, "linearizable");
    assert_eq!(linearizable.verdict, Verdict::Undecided, "{linearizable:?}");
    assert!(
        linearizable
            .reason
            .starts_with("the deadline was reached, after"),
        "{}",
        linearizable.reason
    );
    // Two promises are searched for, one after the other; threefold slack.
    assert!(took < limit * 6, "{took:?}");
}

#[test]
fn a_limit_of_memory_ends_it() {
    let judged = judged(
        &concurrent_swaps(),
        &options(1 << 20, Duration::from_mins(5)),
    );
    for promise in ["linearizable", "sequential"] {
        let judgement = on(&judged, promise);
        assert_eq!(judgement.verdict, Verdict::Undecided, "{judgement:?}");
        assert!(
            judgement
                .reason
                .starts_with("the memory limit was reached, after"),
            "{}",
            judgement.reason
        );
    }
}

#[test]
fn many_of_unknown_outcome_that_ask_for_the_same_are_one_question() {
    let mut text = String::new();
    for client in 0..60 {
        writeln!(text, "c{client} 1 ? add {}", 1 + client % 2).unwrap();
    }
    for (read, verdict) in [(61, Verdict::Held), (91, Verdict::Broken)] {
        let (history, _) = notation::history("counter", &format!("{text}\nr 3 4 read -> {read}"));
        let judged = judged(&history, &options(64 << 20, Duration::from_mins(1)));
        assert_eq!(on(&judged, "linearizable").verdict, verdict);
    }
}

#[test]
fn more_than_fit_into_a_window_or_a_set() {
    // 65 and more answered beside each other, more than 128 that were not.
    for (answered, unknown) in [(64, 0), (65, 1), (66, 127), (3, 128), (70, 129), (200, 300)] {
        let mut text = String::new();
        for client in 0..answered {
            writeln!(text, "a{client} 1 9 add 1").unwrap();
        }
        for client in 0..unknown {
            writeln!(text, "u{client} 1 ? add 1").unwrap();
        }
        let most = answered + unknown;
        for (read, verdict) in [
            (answered, Verdict::Held),
            (most, Verdict::Held),
            (answered - 1, Verdict::Broken),
            (most + 1, Verdict::Broken),
        ] {
            let (history, _) =
                notation::history("counter", &format!("{text}\nr 10 11 read -> {read}"));
            let judged = judged(&history, &options(256 << 20, Duration::from_millis(300)));
            let found = on(&judged, "linearizable").verdict;
            // There may be too many ways for the time, but never a wrong word.
            assert!(
                found == verdict || found == Verdict::Undecided,
                "{answered} {unknown} {read}: {found:?}"
            );
            assert!(
                found == verdict || answered > 3,
                "{answered} {unknown} {read}: {found:?}"
            );
        }
    }
}

/// A long history that ends in `last`.
fn long(model: &str, count: u64, step: impl Fn(u64) -> String, last: &str) -> String {
    let mut text = String::new();
    for at in 0..count {
        writeln!(text, "a {} {} {}", at * 2 + 1, at * 2 + 2, step(at)).unwrap();
    }
    writeln!(text, "a {} {} {last}", count * 2 + 1, count * 2 + 2).unwrap();
    notation::history(model, &text).0
}

#[test]
fn states_that_grow_do_not_fill_the_memory() {
    // Together the states are 100 times as large as the limit.
    let limits = || options(20 << 20, Duration::from_mins(1));
    let count = 5_000;
    for (model, f, read) in [
        ("log", "append", "read 7 -> 7"),
        ("set", "add", "contains 7 -> true"),
    ] {
        let history = long(model, count, |at| format!("{f} {at}"), read);
        let judged = judged(&history, &limits());
        assert_eq!(
            on(&judged, "linearizable").verdict,
            Verdict::Held,
            "{model}"
        );
    }
}
