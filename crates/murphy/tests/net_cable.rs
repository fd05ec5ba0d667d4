//! Packets that wait: streams that are slowed down or lose segments, delays that add up, and nothing waits for ever, whoever
//! is killed or stopped. How large the effect of each fault is, `net_effects` measures.

#[path = "../../murphy-sys/tests/wire/mod.rs"]
mod wire;

mod harness;
mod network;
mod victims;

use std::time::{Duration, Instant};

use harness::{Guard, slack, wait_until};
use murphy_sys::tap;
use network::{Disturbance, Nodes, packets};
use wire::address;

/// So much later than it should a datagram may come on a machine that does other things, too.
const LATE_MS: f64 = 8.0;

fn stage() -> Option<(Guard, Nodes)> {
    let guard = Guard::root_or_skip()?;
    let nodes = Nodes::lay_or_skip(&guard)?;
    if let Err(error) = tap::trial() {
        harness::say_skipped(&error.to_string());
        return None;
    }
    Some((guard, nodes))
}

/// Disturbs what node 1 sends or is sent, through taps.
fn inject<'a>(guard: &'a Guard, nodes: &Nodes, words: &[&str]) -> Disturbance<'a> {
    let words = [words, &["--engine", network::engine_with_taps()]].concat();
    Disturbance::inject(guard, &nodes.target(), &words)
}

#[test]
fn a_stream_is_as_fast_as_it_may_be() {
    let Some((guard, nodes)) = stage() else {
        return;
    };
    let words = [
        "--rate",
        "16mbit",
        "--burst",
        "16KiB",
        "--protocol",
        "tcp",
        "--for",
        "60s",
    ];
    let rate = inject(&guard, &nodes, &words);
    let took = network::stream(&nodes.wire, true, 2_000_000);
    // 16 Mbit of payload take a second, headers a little more; the first burst is free.
    assert!(took > Duration::from_millis(950), "{took:?}");
    assert!(took < slack() * Duration::from_secs(4), "{took:?}");
    rate.interrupt();
}

#[test]
fn segments_of_a_stream_are_lost_one_by_one() {
    let Some((guard, nodes)) = stage() else {
        return;
    };
    let words = [
        "--loss",
        "2%",
        "--loss-unit",
        "segment",
        "--protocol",
        "tcp",
        "--for",
        "60s",
    ];
    let injected = inject(&guard, &nodes, &words);
    network::stream(&nodes.wire, false, 3_000_000);
    let effect = injected.interrupt();
    let lost = usize::try_from(packets(&effect, "to", "dropped")).unwrap();
    // Three megabytes are at least two thousand segments.
    let interval = &effect["to"]["loss"]["interval"];
    assert!(lost > 10, "{effect}");
    assert!(interval[0].as_f64().unwrap() < 0.03, "{effect}");
}

#[test]
fn two_delays_of_one_device_add_up_and_end_in_any_order() {
    let Some((guard, nodes)) = stage() else {
        return;
    };
    let delay = || {
        let words = ["--delay", "30ms", "--protocol", "udp", "--for", "60s"];
        inject(&guard, &nodes, &words)
    };
    let late = LATE_MS * f64::from(slack());
    for first_ends_first in [true, false] {
        let (first, second) = (delay(), delay());
        let both = nodes.quickest(false, 60.0 + 2.0 * late);
        assert!((60.0..60.0 + 2.0 * late).contains(&both), "{both}");
        let (ends, stays) = if first_ends_first {
            (first, second)
        } else {
            (second, first)
        };
        ends.interrupt();
        let one = nodes.quickest(false, 30.0 + late);
        assert!((30.0..30.0 + late).contains(&one), "{one}");
        stays.interrupt();
        assert!(nodes.quickest(false, late) < late);
    }
}

#[test]
fn packets_that_wait_are_passed_on_at_the_end() {
    let Some((guard, nodes)) = stage() else {
        return;
    };
    let words = ["--delay", "20s", "--protocol", "udp", "--for", "60s"];
    let delay = inject(&guard, &nodes, &words);
    let receiver = nodes
        .wire
        .b
        .run(|| std::net::UdpSocket::bind((address(true, 2), 0)));
    let receiver = receiver.unwrap().unwrap();
    receiver
        .set_read_timeout(Some(harness::patience()))
        .unwrap();
    let sender = nodes
        .wire
        .a
        .run(|| std::net::UdpSocket::bind((address(true, 1), 0)));
    let sender = sender.unwrap().unwrap();
    for _ in 0..10 {
        sender
            .send_to(b"?", receiver.local_addr().unwrap())
            .unwrap();
    }
    delay.wait_for_effect("they wait", |effect| {
        effect["to"]["matched"]["packets"].as_u64() == Some(10)
    });
    delay.interrupt();
    for _ in 0..10 {
        assert_eq!(receiver.recv(&mut [0; 8]).unwrap(), 1);
    }
}

#[test]
fn traffic_is_normal_when_murphy_is_killed() {
    let Some((guard, nodes)) = stage() else {
        return;
    };
    for keeper_too in [false, true] {
        let words = ["--delay", "5s", "--direction", "both", "--for", "60s"];
        let delay = inject(&guard, &nodes, &words);
        delay.kill(keeper_too);
        let killed = Instant::now();
        assert!(nodes.is_calm());
        let after = killed.elapsed();
        assert!(
            after < slack() * 3 * Duration::from_millis(1200),
            "{after:?}"
        );
        if keeper_too {
            assert_eq!(guard.murphy(["recover"]).run().code, 0);
        }
        wait_until("nothing is in the journal", || {
            guard.injections().is_empty()
        });
        let devices = murphy_sys::link::devices(&nodes.wire.a).unwrap();
        let taps = devices
            .iter()
            .filter(|device| device.name.starts_with("mphy-"));
        assert_eq!(taps.count(), 0, "{devices:?}");
    }
}

#[test]
fn packets_pass_when_murphy_is_stopped() {
    let Some((guard, nodes)) = stage() else {
        return;
    };
    let words = ["--delay", "5s", "--for", "60s"];
    let delay = inject(&guard, &nodes, &words);
    delay.signal("STOP");
    let stopped = Instant::now();
    // Whatever is sent within the first second waits for Murphy.
    wait_until("packets pass", || nodes.come(5) == 10);
    let after = stopped.elapsed();
    assert!(
        after < slack() * 3 * Duration::from_millis(1200),
        "{after:?}"
    );
    assert!(nodes.is_calm());
    delay.signal("CONT");
    delay.interrupt();
    assert!(nodes.is_calm());
}

#[test]
fn what_makes_no_sense_of_waiting_is_refused() {
    let Some((guard, nodes)) = stage() else {
        return;
    };
    let (target, holder) = (nodes.target(), network::engine_with_taps());
    let cases: &[(&[&str], i32, &str)] = &[
        (&["--delay", "10ms", "--jitter", "20ms"], 2, "--jitter 20ms"),
        (&["--delay", "10"], 2, "10s"),
        (&["--delay", "0s"], 2, "--delay 0s"),
        (&["--jitter", "1ms"], 2, "--delay"),
        (&["--delay", "10ms", "--correlation", "5%"], 2, "--jitter"),
        (&["--reorder", "5%"], 2, "--delay"),
        (&["--rate", "0bit"], 2, "--partition"),
        (&["--rate", "5"], 2, "mbit"),
        (&["--corrupt", "101%"], 2, "100%"),
        (&["--delay", "10ms", "--engine", "tcx"], 2, "engine cable"),
        (&["--delay", "10ms", "--engine", "tape"], 2, "tcx, "),
        (
            &["--delay", "10ms", "--device", "lo", "--engine", holder],
            2,
            "Ethernet",
        ),
        (
            &[
                "--delay",
                "10ms",
                "--jitter",
                "1ms",
                "--distribution",
                "/nonexistent",
            ],
            2,
            "/nonexistent",
        ),
    ];
    for (words, code, part) in cases {
        let words = [&["inject", "net", "-t", &target, "--for", "1s"], *words].concat();
        let refused = guard.murphy(&words).run();
        assert_eq!(refused.code, *code, "{words:?}: {refused:?}");
        assert!(refused.stderr.contains(part), "{words:?}: {refused:?}");
    }
    assert!(nodes.is_calm());
}
