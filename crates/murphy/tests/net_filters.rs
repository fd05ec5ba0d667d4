//! Packets that are disturbed by filters and qdiscs, by the built binary: each engine does what it says, leaves what is
//! somebody's as it was, and nothing of its own, whoever is killed or stopped.

#[path = "../../murphy-sys/tests/wire/mod.rs"]
mod wire;

mod harness;
mod network;
mod victims;

use std::{
    collections::BTreeSet,
    io::ErrorKind,
    net::{SocketAddr, TcpStream},
    thread::{self, sleep},
    time::{Duration, Instant},
};

use harness::{Guard, say_skipped, slack, wait_until};
use murphy_fault::net::Engine;
use network::{Disturbance, Nodes, moments, packets};
use wire::{address, assert_share, datagrams, timed};

/// How many datagrams of each family are sent for a statistical effect.
const SAMPLE: u32 = 2000;
/// How many are timed each way.
const TIMED: u32 = 200;
/// So much later than it should a datagram may come on a machine that does other things, too.
const LATE_MS: f64 = 8.0;

/// A filter that lets every packet pass, and past every filter behind it: a program of the older kind that says -1.
const PASSES: [&str; 5] = ["bpf", "bytecode", "1,6 0 0 4294967295,", "classid", "1:1"];

/// A wire where this engine works; none, with the reason, elsewhere.
fn stage(engine: &str) -> Option<(Guard, Nodes)> {
    let guard = Guard::root_or_skip()?;
    let nodes = Nodes::lay_or_skip(&guard)?;
    let engine: Engine = engine.parse().expect("the name of an engine");
    match engine.trial() {
        Ok(()) => Some((guard, nodes)),
        Err(error) => {
            say_skipped(&error.to_string());
            None
        }
    }
}

/// Disturbs what node 1 sends or is sent, by one engine, until the test ends it.
fn inject<'a>(guard: &'a Guard, nodes: &Nodes, engine: &str, words: &[&str]) -> Disturbance<'a> {
    let words = [words, &["--engine", engine, "--for", "10m"]].concat();
    let disturbance = Disturbance::inject(guard, &nodes.target(), &words);
    assert_eq!(disturbance.active["engine"], engine);
    disturbance
}

/// Expects that packets pass, and that nothing of Murphy's is left.
fn assert_clean(nodes: &Nodes) {
    assert!(nodes.is_calm());
    assert_eq!(nodes.made(), Vec::<String>::new());
}

/// Expects a time that is not far from the bound that a killed Murphy has, threefold.
fn assert_soon(since: Instant) {
    let after = since.elapsed();
    let bound = slack() * 3 * Duration::from_millis(1200);
    assert!(after < bound, "{after:?}");
}

fn a_share_is_lost_each_way(engine: &str, more: &[&str]) {
    let Some((guard, nodes)) = stage(engine) else {
        return;
    };
    for direction in ["to", "from", "both"] {
        let words = ["--loss", "30%", "--direction", direction];
        let words = [&words[..], &["--protocol", "udp"], more].concat();
        let loss = inject(&guard, &nodes, engine, &words);
        let came = [nodes.come(SAMPLE / 2), nodes.come_back(SAMPLE / 2)];
        let effect = loss.interrupt();
        for (way, came) in ["to", "from"].into_iter().zip(came) {
            let missed = SAMPLE as usize - came;
            if direction != way && direction != "both" {
                assert_eq!(missed, 0, "{direction}");
                continue;
            }
            assert_share(missed, SAMPLE, 0.3);
            assert_eq!(packets(&effect, way, "dropped"), missed as u64);
            assert_eq!(packets(&effect, way, "matched"), u64::from(SAMPLE));
        }
    }
    assert_clean(&nodes);
}

fn losses_come_in_bursts(engine: &str, more: &[&str]) {
    let Some((guard, nodes)) = stage(engine) else {
        return;
    };
    let words = ["--gilbert-elliott", "p=2%,r=20%", "--protocol", "udp"];
    let loss = inject(&guard, &nodes, engine, &[&words[..], more].concat());
    let sent = 10 * SAMPLE;
    let came: BTreeSet<u32> = nodes.wire.send(true, sent).into_iter().collect();
    let effect = loss.interrupt();
    let is_lost = |number: &u32| !came.contains(number);
    let missed = (0..sent).filter(is_lost).count();
    let is_first = |number: &u32| is_lost(number) && (*number == 0 || came.contains(&(number - 1)));
    let bursts = (0..sent).filter(is_first).count();
    assert_eq!(packets(&effect, "to", "dropped"), missed as u64);
    // The variance is that of independent draws times (1 + c) / (1 - c), c the correlation of neighbours.
    let (n, share, correlation) = (f64::from(sent), 1.0 / 11.0, 0.78);
    let sigma = (n * share * (1.0 - share) * (1.0 + correlation) / (1.0 - correlation)).sqrt();
    let off = missed as f64 - n * share;
    assert!(off.abs() < 4.0 * sigma, "{missed} of {sent}");
    let mean = missed as f64 / bursts as f64;
    let sigma = (0.8_f64.sqrt() / 0.2) / (bursts as f64).sqrt();
    assert!((mean - 5.0).abs() < 4.0 * sigma, "bursts of {mean}");
}

fn duplicates_are_those_that_were_counted(engine: &str, more: &[&str]) {
    let Some((guard, nodes)) = stage(engine) else {
        return;
    };
    for (direction, is_to) in [("to", true), ("from", false)] {
        let words = ["--duplicate", "10%", "--direction", direction];
        let words = [&words[..], &["--protocol", "udp"], more].concat();
        let duplication = inject(&guard, &nodes, engine, &words);
        let came = if is_to {
            nodes.come(SAMPLE / 2)
        } else {
            nodes.come_back(SAMPLE / 2)
        };
        let effect = duplication.interrupt();
        let twice = came - SAMPLE as usize;
        assert_share(twice, SAMPLE, 0.1);
        assert_eq!(packets(&effect, direction, "duplicated"), twice as u64);
    }
    assert_clean(&nodes);
}

fn a_delay_lies_as_it_was_asked_for(engine: &str) {
    let Some((guard, nodes)) = stage(engine) else {
        return;
    };
    for (direction, backs) in [
        ("to", &[false][..]),
        ("from", &[true]),
        ("both", &[false, true]),
    ] {
        let words = ["--delay", "50ms", "--jitter", "10ms"];
        let words = [&words[..], &["--direction", direction, "--protocol", "udp"]].concat();
        let delay = inject(&guard, &nodes, engine, &words);
        let mut sent = [0, 0];
        for is_v4 in [true, false] {
            for back in backs {
                // A slow machine is busy for a while with what has begun.
                let is_prompt = (0..3).any(|_| {
                    sent[usize::from(*back)] += u64::from(TIMED);
                    lies_as_asked(&timed(&nodes.wire, is_v4, *back, TIMED))
                });
                assert!(is_prompt, "{direction} {is_v4} {back}");
            }
        }
        let effect = delay.interrupt();
        for ((way, back), sent) in [("to", false), ("from", true)].into_iter().zip(sent) {
            if backs.contains(&back) {
                assert_eq!(packets(&effect, way, "delayed"), sent);
                assert_eq!(packets(&effect, way, "dropped"), 0);
            }
        }
    }
    assert_clean(&nodes);
}

/// Whether none of so many was more than a little late, too; that none is early, and that they differ, must be so.
fn lies_as_asked(times: &[f64]) -> bool {
    let mut times = times.to_vec();
    times.sort_by(f64::total_cmp);
    assert_eq!(times.len(), TIMED as usize, "all come");
    let (mean, sigma) = moments(&times);
    let least = 50.0 - 4.0 * 5.774 / f64::from(TIMED).sqrt();
    assert!(mean > least, "{mean}");
    assert!(sigma > 4.5, "{sigma}");
    assert!(times.iter().all(|time| *time >= 39.9), "{times:?}");
    // Of a uniform distribution: σ is 10 / √3, and quartiles are known within σ' = 20 √(3/16 n). The slow half of a busy
    // machine is seen by the upper ones only.
    let late = LATE_MS * f64::from(slack());
    let error = 4.0 * 20.0 * (3.0 / 16.0 / f64::from(TIMED)).sqrt();
    let quartiles = [(1, 45.0), (2, 50.0), (3, 55.0)];
    for (at, wanted) in quartiles {
        let seen = times[times.len() * at / 4];
        assert!(seen >= wanted - error, "quartile {at}: {seen}");
    }
    // Of an emulated machine only the first are prompt: the others wait for what it does beside them.
    let prompt = if slack() == 1 { 3 } else { 0 };
    let is_prompt =
        |(at, wanted): &(usize, f64)| times[times.len() * at / 4] < wanted + error + late;
    times[0] < 40.0 + error + late && quartiles[..prompt].iter().all(is_prompt)
}

fn who_is_to_overtake_overtakes(engine: &str) {
    let Some((guard, nodes)) = stage(engine) else {
        return;
    };
    let words = ["--delay", "200ms", "--reorder", "25%", "--protocol", "udp"];
    let reorder = inject(&guard, &nodes, engine, &words);
    // All are sent before the first that was delayed comes.
    let sent = 100;
    let mut early = 0;
    for _ in 0..4 {
        let came = nodes.wire.send(true, sent);
        assert_eq!(came.len(), sent as usize);
        let turn = came.windows(2).position(|two| two[1] < two[0]);
        let (first, rest) = came.split_at(turn.expect("some overtake") + 1);
        assert!(rest.is_sorted(), "{came:?}");
        early += first.len();
    }
    assert_share(early, 4 * sent, 0.25);
    reorder.interrupt();
    assert_clean(&nodes);
}

fn a_stream_is_as_fast_as_it_may_be(engine: &str) {
    let Some((guard, nodes)) = stage(engine) else {
        return;
    };
    for (direction, is_v4) in [("to", true), ("to", false), ("from", true)] {
        let words = ["--rate", "16mbit", "--burst", "16KiB", "--protocol", "tcp"];
        let words = [&words[..], &["--direction", direction]].concat();
        let rate = inject(&guard, &nodes, engine, &words);
        let took = if direction == "to" {
            network::stream(&nodes.wire, is_v4, 2_000_000)
        } else {
            network::stream_back(&nodes.wire, is_v4, 2_000_000)
        };
        // 16 Mbit of payload take a second, headers a little more; the first burst is free.
        assert!(took > Duration::from_millis(950), "{direction}: {took:?}");
        assert!(
            took < slack() * Duration::from_secs(4),
            "{direction}: {took:?}"
        );
        rate.interrupt();
    }
    assert_clean(&nodes);
}

fn a_murphy_that_is_killed_leaves_nothing(engine: &str, fault: &[&str]) {
    let Some((guard, nodes)) = stage(engine) else {
        return;
    };
    for keeper_too in [false, true] {
        let words = [fault, &["--direction", "both"]].concat();
        let injected = inject(&guard, &nodes, engine, &words);
        assert!(!nodes.made().is_empty());
        injected.kill(keeper_too);
        let killed = Instant::now();
        if keeper_too {
            assert_eq!(guard.murphy(["recover"]).run().code, 0);
        }
        wait_until("packets pass", || nodes.come(5) + nodes.come_back(5) == 20);
        assert_soon(killed);
        wait_until("nothing is in the journal", || {
            guard.injections().is_empty()
        });
        assert_clean(&nodes);
    }
}

#[test]
fn netem_and_its_programs_lose_a_share_each_way() {
    a_share_is_lost_each_way("netem", &["--delay", "5ms"]);
}

#[test]
fn netem_and_its_programs_lose_in_bursts() {
    losses_come_in_bursts("netem", &["--delay", "5ms"]);
}

#[test]
fn netem_and_its_programs_duplicate() {
    duplicates_are_those_that_were_counted("netem", &["--delay", "5ms"]);
}

#[test]
fn netem_delays() {
    a_delay_lies_as_it_was_asked_for("netem");
}

#[test]
fn netem_reorders() {
    who_is_to_overtake_overtakes("netem");
}

#[test]
fn netem_slows_down() {
    a_stream_is_as_fast_as_it_may_be("netem");
}

#[test]
fn netem_leaves_nothing_when_murphy_is_killed() {
    a_murphy_that_is_killed_leaves_nothing("netem", &["--delay", "5s"]);
}

#[test]
fn netem_drops_what_may_not_wait_and_counts_it() {
    let Some((guard, nodes)) = stage("netem") else {
        return;
    };
    for delay in [&[][..], &["--delay", "20ms"]] {
        let words = ["--rate", "80kbit", "--burst", "2KiB", "--limit", "4KiB"];
        let words = [delay, &words, &["--protocol", "udp"]].concat();
        let rate = inject(&guard, &nodes, "netem", &words);
        let came = nodes.wire.send(true, 500).len() as u64;
        // Of 46 bytes each 44 fit into a burst, and 89 wait; a few more come while it is sent.
        assert!((100..450).contains(&came), "{came} came");
        let effect = rate.interrupt();
        assert_eq!(packets(&effect, "to", "delayed"), 500);
        assert_eq!(packets(&effect, "to", "over_rate"), 500 - came, "{effect}");
        assert_eq!(effect["to"]["overflowed"], 0, "{effect}");
    }
    assert_clean(&nodes);
}

#[test]
fn only_who_is_meant_waits_in_netem() {
    let Some((guard, nodes)) = stage("netem") else {
        return;
    };
    let words = ["--delay", "5s", "--direction", "both", "--protocol", "tcp"];
    let delay = inject(&guard, &nodes, "netem", &words);
    let late = LATE_MS * f64::from(slack());
    for back in [false, true] {
        assert!(nodes.quickest(back, late) < late);
    }
    // Somebody who is meant: a connection that its first packet does not make in time.
    let there = SocketAddr::new(address(true, 2), 9);
    let wait = Duration::from_millis(200);
    let connected = nodes
        .wire
        .a
        .run(|| TcpStream::connect_timeout(&there, wait));
    let kind = connected.expect("a namespace").expect_err("nobody").kind();
    assert_eq!(kind, ErrorKind::TimedOut);
    delay.interrupt();
    assert_clean(&nodes);
}

#[test]
fn a_delay_by_netem_and_one_through_taps_add_up() {
    let Some((guard, nodes)) = stage("netem") else {
        return;
    };
    let other = network::engine_with_taps();
    let late = LATE_MS * f64::from(slack());
    let words = ["--delay", "30ms", "--direction", "both"];
    let words = [&words[..], &["--protocol", "udp"]].concat();
    for engines in [["netem", other], [other, "netem"]] {
        let [first, second] = engines.map(|engine| inject(&guard, &nodes, engine, &words));
        for back in [false, true] {
            let both = nodes.quickest(back, 60.0 + 2.0 * late);
            assert!(
                (60.0..60.0 + 2.0 * late).contains(&both),
                "{engines:?} {both}"
            );
        }
        first.interrupt();
        let one = nodes.quickest(false, 30.0 + late);
        assert!((30.0..30.0 + late).contains(&one), "{engines:?} {one}");
        second.interrupt();
        assert_clean(&nodes);
    }
}

#[test]
fn a_root_of_somebody_else_stays_and_another_engine_does_without() {
    let Some((guard, nodes)) = stage("netem") else {
        return;
    };
    let (target, name) = (nodes.target(), nodes.name());
    let refused = |direction: &str, part: &str| {
        let words = [
            "inject", "net", "-t", &target, "--delay", "30ms", "--for", "9s",
        ];
        let words = [&words[..], &["--direction", direction]].concat();
        let refused = guard.murphy(words).args(["--engine", "netem"]).run();
        assert_eq!(refused.code, 2, "{refused:?}");
        assert!(refused.stderr.contains(part), "{part}: {refused:?}");
    };
    let late = LATE_MS * f64::from(slack());
    let takes_over = || {
        let words = ["--delay", "30ms", "--protocol", "udp", "--for", "10m"];
        let delay = Disturbance::inject(&guard, &nodes.target(), &words);
        assert_eq!(delay.active["engine"], network::engine_with_taps());
        delay
    };
    let words = [
        "qdisc", "add", "dev", "eth0", "root", "handle", "77:", "pfifo",
    ];
    assert!(network::tc(name, &words));
    let before = nodes.made();
    refused("to", "the qdisc pfifo 77: as the root");
    let other = takes_over();
    let one = nodes.quickest(false, 30.0 + late);
    assert!((30.0..30.0 + late).contains(&one), "{one}");
    other.interrupt();
    // What arrives needs no root.
    inject(
        &guard,
        &nodes,
        "netem",
        &["--delay", "1ms", "--direction", "from"],
    );
    assert_eq!(nodes.made().first(), before.first());
    assert_eq!(guard.murphy(["recover", "--all"]).run().code, 0);
    wait_until("its Murphy ends", || guard.marked_pids().is_empty());
    assert_eq!(nodes.made(), before);
    assert!(network::tc(name, &["qdisc", "del", "dev", "eth0", "root"]));
    // Another injection by netem is somebody else, too.
    let both = ["--delay", "1ms", "--direction", "both"];
    let first = inject(&guard, &nodes, "netem", &both);
    nodes.come(1);
    let part = format!("of injection {}", first.id);
    refused("to", &part);
    refused("from", &part);
    let second = takes_over();
    nodes.come(1);
    second.interrupt();
    first.interrupt();
    assert_clean(&nodes);
}

#[test]
fn netem_goes_on_without_a_murphy_that_is_stopped_and_ends_in_time() {
    let Some((guard, nodes)) = stage("netem") else {
        return;
    };
    let words = ["--delay", "1s", "--engine", "netem", "--for", "8s"];
    let delay = Disturbance::inject(&guard, &nodes.target(), &words);
    let began = Instant::now();
    delay.signal("STOP");
    assert!(moments(&timed(&nodes.wire, true, false, 5)).0 >= 1000.0);
    sleep(Duration::from_millis(8100).saturating_sub(began.elapsed()));
    let late = LATE_MS * f64::from(slack());
    assert!(nodes.quickest(false, late) < late);
    wait_until("the keeper has ended it", || guard.injections().is_empty());
    assert_clean(&nodes);
    delay.signal("CONT");
    delay.end();
}

#[test]
fn what_waits_in_netem_comes_before_it_ends_and_in_a_pause() {
    let Some((guard, nodes)) = stage("netem") else {
        return;
    };
    let words = ["--delay", "700ms", "--protocol", "udp"];
    let words = [&words[..], &["--direction", "both"]].concat();
    let delay = inject(&guard, &nodes, "netem", &words);
    let late = LATE_MS * f64::from(slack());
    assert_eq!(guard.murphy(["pause", &delay.id]).run().code, 0);
    assert!(nodes.quickest(false, late) < late);
    assert_eq!(guard.murphy(["resume", &delay.id]).run().code, 0);
    let times = thread::scope(|scope| {
        let times = scope.spawn(|| timed(&nodes.wire, true, false, 20));
        sleep(Duration::from_millis(100));
        let effect = delay.interrupt();
        assert_eq!(effect["to"]["overflowed"], 0, "{effect}");
        times.join().expect("it only measures")
    });
    assert_eq!(times.len(), 20, "none is lost: {times:?}");
    assert_clean(&nodes);
}

#[test]
fn netem_takes_hold_again_of_a_device_that_is_made_again() {
    let Some((guard, nodes)) = stage("netem") else {
        return;
    };
    let [from, to] = nodes.lay_more("77");
    let come = || datagrams((&nodes.wire.a, from), (&nodes.wire.b, to), 5).len();
    wait_until("datagrams come", || come() == 5);
    let words = ["--delay", "300s", "--protocol", "udp"];
    let words = [&words[..], &["--direction", "both"]].concat();
    let delay = inject(&guard, &nodes, "netem", &words);
    assert_eq!(come(), 0);
    assert_eq!(nodes.lay_again("77", come), 0);
    delay.interrupt();
    wait_until("datagrams come again", || come() == 5);
    assert_clean(&nodes);
}

#[test]
fn what_netem_would_falsify_is_refused_and_left_to_others() {
    let Some((guard, nodes)) = stage("netem") else {
        return;
    };
    let target = nodes.target();
    let spread = ["--delay", "10ms", "--jitter", "1ms"];
    let cases: &[(&[&str], &str)] = &[
        (&["--loss", "1%"], "engine tcx"),
        (&["--corrupt", "1%"], "count nothing"),
        (&["--loss", "1%", "--loss-unit", "segment"], "segments"),
        (&[&spread[..], &["--correlation", "5%"]].concat(), "jitter"),
        (
            &[&spread[..], &["--distribution", "pareto"]].concat(),
            "four",
        ),
    ];
    for (words, part) in cases {
        let words = [&["inject", "net", "-t", &target, "--for", "1s"], *words].concat();
        let refused = guard.murphy(&words).args(["--engine", "netem"]).run();
        assert_eq!(refused.code, 2, "{words:?}: {refused:?}");
        assert!(refused.stderr.contains(part), "{words:?}: {refused:?}");
        let planned = guard.murphy(&words).args(["--dry-run", "--json"]).run();
        assert_ne!(planned.lines()[0]["plan"]["engine"], "netem", "{words:?}");
    }
    let words = [
        "inject", "net", "-t", &target, "--for", "1s", "--delay", "1ms",
    ];
    let words = [&words[..], &["--direction", "both", "--dry-run"]].concat();
    let planned = guard.murphy(words).run();
    for part in ["engine netem", "root qdisc of eth0", "ifb", "keeper undoes"] {
        assert!(planned.stdout.contains(part), "{part}: {planned:?}");
    }
    assert_clean(&nodes);
}

#[test]
fn cls_bpf_loses_a_share_each_way() {
    a_share_is_lost_each_way("cls_bpf", &[]);
}

#[test]
fn cls_bpf_loses_in_bursts() {
    losses_come_in_bursts("cls_bpf", &[]);
}

#[test]
fn cls_bpf_duplicates() {
    duplicates_are_those_that_were_counted("cls_bpf", &[]);
}

#[test]
fn cls_bpf_delays() {
    a_delay_lies_as_it_was_asked_for("cls_bpf");
}

#[test]
fn cls_bpf_reorders() {
    who_is_to_overtake_overtakes("cls_bpf");
}

#[test]
fn cls_bpf_slows_down() {
    a_stream_is_as_fast_as_it_may_be("cls_bpf");
}

#[test]
fn cls_bpf_corrupts_and_checksums_notice() {
    let Some((guard, nodes)) = stage("cls_bpf") else {
        return;
    };
    for is_v4 in [true, false] {
        let words = ["--corrupt", "30%", "--protocol", "udp"];
        let corruption = inject(&guard, &nodes, "cls_bpf", &words);
        let came = nodes.wire.send(is_v4, 1000);
        assert!(came.iter().all(|number| *number < 1000), "{came:?}");
        let effect = corruption.interrupt();
        let corrupted = usize::try_from(packets(&effect, "to", "corrupted")).expect("few");
        assert_share(corrupted, 1000, 0.3);
        assert_eq!(came.len(), 1000 - corrupted, "{effect}");
    }
    assert_clean(&nodes);
}

#[test]
fn cls_bpf_lets_nothing_pass_a_partition() {
    let Some((guard, nodes)) = stage("cls_bpf") else {
        return;
    };
    for (direction, to, from) in [("to", 0, 100), ("from", 100, 0), ("both", 0, 0)] {
        let words = ["--partition", "--direction", direction];
        let partition = inject(&guard, &nodes, "cls_bpf", &words);
        assert_eq!((nodes.come(50), nodes.come_back(50)), (to, from));
        partition.interrupt();
        assert_clean(&nodes);
    }
}

#[test]
fn cls_bpf_leaves_nothing_when_murphy_is_killed() {
    a_murphy_that_is_killed_leaves_nothing("cls_bpf", &["--partition"]);
}

#[test]
fn cls_bpf_leaves_nothing_when_murphy_is_killed_while_packets_wait() {
    a_murphy_that_is_killed_leaves_nothing("cls_bpf", &["--delay", "5s"]);
}

#[test]
fn packets_pass_by_a_tap_that_has_vanished_though_nobody_is_left() {
    let Some((guard, nodes)) = stage("cls_bpf") else {
        return;
    };
    let words = ["--delay", "5s", "--direction", "both"];
    let delay = inject(&guard, &nodes, "cls_bpf", &words);
    delay.kill(true);
    let killed = Instant::now();
    wait_until("packets pass", || nodes.come(5) + nodes.come_back(5) == 20);
    assert_soon(killed);
    assert!(nodes.is_calm());
    assert!(!nodes.made().is_empty(), "the filters are there still");
    assert_eq!(guard.murphy(["recover"]).run().code, 0);
    assert_clean(&nodes);
}

#[test]
fn a_filter_that_nobody_removes_ends_in_time() {
    let Some((guard, nodes)) = stage("cls_bpf") else {
        return;
    };
    let words = ["--partition", "--engine", "cls_bpf", "--for", "8s"];
    let partition = Disturbance::inject(&guard, &nodes.target(), &words);
    let began = Instant::now();
    partition.kill(true);
    assert_eq!(nodes.come(20), 0, "nobody is left to end it");
    sleep(Duration::from_millis(8100).saturating_sub(began.elapsed()));
    assert!(nodes.is_calm());
    assert_eq!(guard.murphy(["recover"]).run().code, 0);
    assert_clean(&nodes);
}

#[test]
fn packets_that_were_to_wait_pass_when_murphy_is_stopped() {
    let Some((guard, nodes)) = stage("cls_bpf") else {
        return;
    };
    let delay = inject(&guard, &nodes, "cls_bpf", &["--delay", "5s"]);
    delay.signal("STOP");
    let stopped = Instant::now();
    wait_until("packets pass", || nodes.come(5) == 10);
    assert_soon(stopped);
    let recovered = guard.murphy(["recover", &delay.id]).run();
    assert_eq!(recovered.code, 0, "{recovered:?}");
    assert!(nodes.is_calm());
    // A tap is there as long as who holds it.
    assert!(nodes.made().iter().all(|made| made.starts_with("mphy-")));
    delay.signal("CONT");
    delay.wait();
    assert_clean(&nodes);
}

#[test]
fn injections_by_filters_stack_and_end_in_any_order() {
    let Some((guard, nodes)) = stage("cls_bpf") else {
        return;
    };
    for first_ends_first in [true, false] {
        let words = ["--loss", "50%", "--protocol", "udp"];
        let inject = || inject(&guard, &nodes, "cls_bpf", &words);
        let (first, second) = (inject(), inject());
        let before = first.wait_for_effect("it has said", |_| true);
        assert_share(nodes.come(SAMPLE), 2 * SAMPLE, 0.25);
        let (ends, stays) = if first_ends_first {
            (first, second)
        } else {
            (second, first)
        };
        let ended = ends.interrupt();
        // The second sees what the first has let pass.
        let seen = packets(&ended, "to", "matched");
        if first_ends_first {
            assert_eq!(seen, u64::from(2 * SAMPLE), "{before}");
        } else {
            assert_share(usize::try_from(seen).expect("few"), 2 * SAMPLE, 0.5);
        }
        assert_share(nodes.come(SAMPLE), 2 * SAMPLE, 0.5);
        stays.interrupt();
        assert_clean(&nodes);
    }
}

#[test]
fn a_clsact_and_filters_of_somebody_else_stay() {
    let Some((guard, nodes)) = stage("cls_bpf") else {
        return;
    };
    let name = nodes.name();
    let tc = |words: &[&str]| assert!(network::tc(name, words), "{words:?}");
    tc(&["qdisc", "add", "dev", "eth0", "clsact"]);
    let empty = nodes.made();
    assert_eq!(empty.len(), 1);
    let two = || {
        let partition = |direction| {
            let words = ["--partition", "--direction", direction];
            inject(&guard, &nodes, "cls_bpf", &words)
        };
        let (first, second) = (partition("to"), partition("from"));
        assert_eq!(nodes.come(20) + nodes.come_back(20), 0);
        first.interrupt();
        second.interrupt();
        assert!(nodes.is_calm());
    };
    two();
    assert_eq!(nodes.made(), empty, "a clsact without filters");
    let words = ["filter", "add", "dev", "eth0", "egress", "prio", "1"];
    tc(&[&words[..], &PASSES].concat());
    let filtered = nodes.made();
    assert_eq!(filtered.len(), 2);
    // What the foreign filter lets through comes to no other one: Murphy's cannot stand before it.
    let words = ["--partition", "--direction", "from"];
    let partition = inject(&guard, &nodes, "cls_bpf", &words);
    assert_eq!((nodes.come(20), nodes.come_back(20)), (40, 0));
    partition.interrupt();
    assert!(nodes.is_calm());
    assert_eq!(nodes.made(), filtered);
    tc(&["filter", "del", "dev", "eth0", "egress"]);
    tc(&["qdisc", "del", "dev", "eth0", "clsact"]);
    // One that Murphy has made, and that somebody else has come to need, stays.
    let partition = inject(&guard, &nodes, "cls_bpf", &["--partition"]);
    let words = ["filter", "add", "dev", "eth0", "ingress", "prio", "9"];
    tc(&[&words[..], &PASSES].concat());
    assert_eq!(nodes.come(20), 0);
    partition.interrupt();
    assert_eq!(nodes.made().len(), 2, "{:?}", nodes.made());
    assert!(nodes.is_calm());
}

#[test]
fn a_pause_lets_packets_pass_the_filters() {
    let Some((guard, nodes)) = stage("cls_bpf") else {
        return;
    };
    for fault in [&["--partition"][..], &["--delay", "5s"]] {
        let words = [fault, &["--protocol", "udp"]].concat();
        let injected = inject(&guard, &nodes, "cls_bpf", &words);
        assert_eq!(nodes.come(20), 0, "{fault:?}");
        assert_eq!(guard.murphy(["pause", &injected.id]).run().code, 0);
        assert!(nodes.is_calm(), "{fault:?}");
        assert_eq!(guard.murphy(["resume", &injected.id]).run().code, 0);
        assert_eq!(nodes.come(20), 0, "{fault:?}");
        injected.interrupt();
    }
    assert_clean(&nodes);
}
