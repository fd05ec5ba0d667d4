//! Scenes are the calls of a target over time, on which their detectors are tried.

use murphy_sys::syscalls::{Call, Errno, Took};

use super::{
    SECOND_NS,
    calls::{CallSight, CallTroubles, detect},
};
use crate::{
    calls::{CallHistory, CallMoment},
    finding::{Claim, Kind, Size},
};

/// What a call does in half a second: how often it succeeds, and fails.
type Does<'a> = (&'a str, u64, &'a [(&'a str, u64)]);

/// A target that is observed.
#[derive(Default)]
struct Stage {
    history: CallHistory,
    troubles: CallTroubles,
    now_ns: u64,
    claims: Vec<Claim>,
    /// Each beat in which something was claimed.
    claimed: Vec<(u64, Kind)>,
}

impl Stage {
    fn beat(&mut self, moment: CallMoment) {
        self.now_ns += SECOND_NS / 2;
        self.history.push(CallMoment {
            at_ns: self.now_ns,
            ..moment
        });
        let sight = CallSight {
            history: &self.history,
            now_ns: self.now_ns,
        };
        self.claims = detect(&sight, &mut self.troubles);
        let kinds = self.claims.iter().map(|claim| (self.now_ns, claim.kind));
        self.claimed.extend(kinds);
    }

    /// So many seconds pass so.
    fn pass(&mut self, seconds: u64, all: &[Does]) {
        for _ in 0..2 * seconds {
            self.beat(moment(all));
        }
    }

    /// So many seconds pass in which a call takes so long, so often in half a second.
    fn last(&mut self, seconds: u64, name: &str, times_us: &[u64]) {
        for _ in 0..2 * seconds {
            let mut moment = moment(&[]);
            let took = Took::of(times_us.iter().copied());
            moment.lasted.insert(call(name), took);
            self.beat(moment);
        }
    }

    /// How long it took since a time until something was claimed, in nanoseconds.
    fn claimed_after(&self, since_ns: u64, kind: Kind) -> Option<u64> {
        let found = self.claimed.iter().find(|(_, one)| *one == kind)?;
        Some(found.0 - since_ns)
    }
}

fn call(name: &str) -> Call {
    Call::named(name).unwrap()
}

fn moment(all: &[Does]) -> CallMoment {
    let mut moment = CallMoment::default();
    for (name, well, failed) in all {
        if *well > 0 {
            moment.returned.insert((call(name), None), *well);
        }
        for (errno, calls) in *failed {
            let errno = Errno::named(errno);
            moment.returned.insert((call(name), errno), *calls);
        }
    }
    moment
}

const SHOP: [Does; 6] = [
    ("openat", 40, &[("ENOENT", 30)]),
    ("newfstatat", 20, &[("ENOENT", 50)]),
    ("read", 300, &[("EAGAIN", 200)]),
    ("connect", 5, &[("EINPROGRESS", 25)]),
    ("write", 300, &[]),
    ("fsync", 20, &[]),
];

#[test]
fn what_fails_as_it_always_did_is_nothing_new() {
    let mut stage = Stage::default();
    let steady = [
        &SHOP[..],
        &[
            ("pwrite64", 10, &[("EIO", 3)]),
            ("accept4", 50, &[("EMFILE", 2)]),
        ],
    ];
    stage.pass(120, &steady.concat());
    assert_eq!(stage.claimed, []);
}

#[test]
fn what_was_broken_before_anybody_looked_is_not_known_to_be_wrong() {
    let mut stage = Stage::default();
    stage.pass(60, &[("write", 0, &[("ENOSPC", 25)])]);
    assert_eq!(stage.claimed, []);
}

#[test]
fn a_write_that_finds_no_space_is_found_and_over_when_it_does() {
    let mut stage = Stage::default();
    stage.pass(5, &SHOP);
    assert_eq!(stage.claimed, []);
    let full_ns = stage.now_ns;
    let mut full = SHOP.to_vec();
    full[4] = ("write", 275, &[("ENOSPC", 25)]);
    stage.pass(20, &full);
    let after_ns = stage.claimed_after(full_ns, Kind::FailingSyscalls);
    assert!(
        after_ns.is_some_and(|ns| ns <= 2 * SECOND_NS),
        "{after_ns:?}"
    );
    // It still does: what is usual is what was so before.
    let [claim] = &stage.claims[..] else {
        panic!("{:?}", stage.claims);
    };
    assert_eq!(claim.since_ns, full_ns + SECOND_NS / 2);
    assert_eq!(
        claim.evidence,
        [
            "write failed 500 of 6000 times with ENOSPC within 10 s, 0 of 2100 times in the 3 s before"
        ]
    );
    assert!(matches!(claim.size, Size::Share { share, .. } if share.hit == 500));
    stage.pass(4, &SHOP);
    assert_eq!(stage.claims, []);
}

#[test]
fn few_failures_are_found_where_long_was_none() {
    let mut stage = Stage::default();
    stage.pass(60, &SHOP);
    let mut broken = SHOP.to_vec();
    broken[5] = ("fsync", 18, &[("EIO", 2)]);
    stage.pass(1, &broken);
    assert_eq!(stage.claims.len(), 1, "{:?}", stage.claims);
    let evidence = &stage.claims[0].evidence;
    assert!(
        evidence[0].starts_with("fsync failed 4 of "),
        "{evidence:?}"
    );
}

#[test]
fn one_failure_is_a_chance_however_grave() {
    let mut stage = Stage::default();
    stage.pass(60, &SHOP);
    for _ in 0..10 {
        stage.pass(8, &SHOP);
        let mut broken = SHOP.to_vec();
        broken[5] = ("fsync", 19, &[("EIO", 1)]);
        stage.beat(moment(&broken));
    }
    assert_eq!(stage.claimed, []);
}

#[test]
fn who_makes_more_calls_has_more_of_them_fail() {
    let mut stage = Stage::default();
    stage.pass(60, &[("pwrite64", 10, &[("EIO", 1)])]);
    stage.pass(20, &[("pwrite64", 1000, &[("EIO", 100)])]);
    assert_eq!(stage.claimed, []);
}

#[test]
fn a_program_that_starts_looks_for_many_files_in_vain() {
    let mut stage = Stage::default();
    stage.pass(60, &SHOP);
    let mut starts = SHOP.to_vec();
    starts[0] = ("openat", 200, &[("ENOENT", 3000), ("EACCES", 40)]);
    starts[1] = ("newfstatat", 100, &[("ENOENT", 5000)]);
    stage.pass(3, &starts);
    stage.pass(30, &SHOP);
    assert_eq!(stage.claimed, []);
}

#[test]
fn a_file_that_is_gone_for_good_is_found_where_it_was_always_there() {
    let mut stage = Stage::default();
    stage.pass(40, &[("openat", 50, &[])]);
    let gone_ns = stage.now_ns;
    stage.pass(12, &[("openat", 5, &[("EACCES", 45)])]);
    let after_ns = stage.claimed_after(gone_ns, Kind::FailingSyscalls);
    assert!(
        after_ns.is_some_and(|ns| ns <= 8 * SECOND_NS),
        "{after_ns:?}"
    );
}

#[test]
fn errors_of_the_network_are_found_there() {
    let mut stage = Stage::default();
    stage.pass(40, &SHOP);
    let mut cut = SHOP.to_vec();
    cut[2] = ("read", 0, &[("ECONNRESET", 300), ("ETIMEDOUT", 300)]);
    cut[3] = ("connect", 0, &[("EHOSTUNREACH", 100), ("EPERM", 100)]);
    cut[4] = ("write", 0, &[("EPIPE", 300)]);
    stage.pass(30, &cut);
    assert_eq!(stage.claimed, []);
}

#[test]
fn a_call_that_takes_long_is_found_twice_in_a_row_and_over_when_it_does_not() {
    let mut stage = Stage::default();
    stage.last(6, "fsync", &[200, 210, 190, 5000, 220]);
    assert_eq!(stage.claimed, []);
    let slow_ns = stage.now_ns;
    stage.last(10, "fsync", &[51_000, 60_000, 52_000, 55_000]);
    let after_ns = stage.claimed_after(slow_ns, Kind::SlowSyscalls);
    assert!(
        after_ns.is_some_and(|ns| ns <= 3 * SECOND_NS),
        "{after_ns:?}"
    );
    let [claim] = &stage.claims[..] else {
        panic!("{:?}", stage.claims);
    };
    assert_eq!(
        claim.evidence,
        ["half of 16 fsync took 49.2 ms or longer within 2 s, 0.2 ms or less before"]
    );
    stage.last(4, "fsync", &[200, 210, 190, 220, 230]);
    assert_eq!(stage.claims, []);
}

#[test]
fn what_was_always_slow_and_what_is_slow_for_a_moment_is_nothing_new() {
    let mut stage = Stage::default();
    stage.last(60, "fsync", &[40_000, 70_000, 45_000]);
    let mut other = Stage::default();
    for _ in 0..20 {
        other.last(5, "write", &[20; 30]);
        let mut moment = CallMoment::default();
        moment.lasted.insert(call("write"), Took::of([90_000; 20]));
        other.beat(moment);
    }
    let mut quick = Stage::default();
    quick.last(10, "openat", &[5; 30]);
    quick.last(10, "openat", &[9000; 30]);
    for stage in [stage, other, quick] {
        assert_eq!(stage.claimed, []);
    }
}

#[test]
fn few_slow_calls_say_nothing() {
    let mut stage = Stage::default();
    stage.last(20, "fsync", &[200, 210]);
    for _ in 0..10 {
        stage.last(5, "read", &[10]);
        let mut moment = CallMoment::default();
        moment.lasted.insert(call("fsync"), Took::of([90_000; 1]));
        stage.beat(moment);
    }
    assert_eq!(stage.claimed, []);
}
