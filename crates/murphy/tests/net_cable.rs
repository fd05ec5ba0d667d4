//! Packets that wait: delayed, reordered, corrupted and slowed down by the built binary through taps, measured by who
//! receives them; and nothing waits for ever, whoever is killed or stopped.

#[path = "../../murphy-sys/tests/wire/mod.rs"]
mod wire;

mod harness;
mod network;
mod victims;

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use harness::{Guard, slack, wait_until};
use murphy_sys::tap;
use network::{Disturbance, Nodes};
use serde_json::Value;
use wire::{address, assert_share, timed};

/// How many datagrams are sent for a statistical effect.
const SAMPLE: u32 = 400;
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

fn count(effect: &Value, way: &str, fate: &str) -> u64 {
    let count = effect[way][fate]["packets"].as_u64();
    count.unwrap_or_else(|| panic!("no {fate} {way} in {effect}"))
}

/// The mean and the standard deviation.
fn moments(times: &[f64]) -> (f64, f64) {
    let n = times.len() as f64;
    let mean = times.iter().sum::<f64>() / n;
    let squares: f64 = times.iter().map(|time| (time - mean).powi(2)).sum();
    (mean, (squares / n).sqrt())
}

#[test]
fn a_delay_lies_as_it_was_asked_for_in_both_families_and_both_ways() {
    let Some((guard, nodes)) = stage() else {
        return;
    };
    let words = [
        "--delay",
        "50ms",
        "--jitter",
        "10ms",
        "--direction",
        "both",
        "--protocol",
        "udp",
    ];
    let words = [&words[..], &["--for", "60s"]].concat();
    let delay = Disturbance::inject(&guard, &nodes.target(), &words);
    assert_eq!(delay.active["engine"], "cable");
    for is_v4 in [true, false] {
        for back in [false, true] {
            let times = timed(&nodes.wire, is_v4, back, SAMPLE / 2);
            assert_eq!(times.len(), SAMPLE as usize / 2, "all come");
            let (mean, sigma) = moments(&times);
            // Of a uniform distribution: σ is 10 / √3, and the error of a mean of n is σ / √n.
            let error = 4.0 * 5.774 / f64::from(SAMPLE / 2).sqrt();
            let late = LATE_MS * f64::from(slack());
            assert!(mean > 50.0 - error && mean < 50.0 + error + late, "{mean}");
            assert!(sigma > 4.5 && sigma < 7.1 + late, "{sigma}");
            assert!(times.iter().all(|time| *time >= 40.0), "{times:?}");
        }
    }
    let effect = delay.interrupt();
    for way in ["to", "from"] {
        assert_eq!(
            count(&effect, way, "delayed"),
            u64::from(SAMPLE),
            "{effect}"
        );
        assert_eq!(count(&effect, way, "dropped"), 0);
        let asked = &effect[way]["delays"][0]["requested"];
        assert!(
            (asked["mean_ns"].as_f64().unwrap() - 50e6).abs() < 1.0,
            "{asked}"
        );
        let mean_ns = effect[way]["delays"][0]["observed"]["mean_ns"]
            .as_f64()
            .unwrap();
        assert!(mean_ns > 48e6, "{effect}");
    }
    assert!(nodes.is_calm());
}

#[test]
fn who_is_to_overtake_overtakes() {
    let Some((guard, nodes)) = stage() else {
        return;
    };
    let words = [
        "--delay",
        "100ms",
        "--reorder",
        "25%",
        "--protocol",
        "udp",
        "--for",
        "60s",
    ];
    let reorder = Disturbance::inject(&guard, &nodes.target(), &words);
    let came = nodes.wire.send(true, SAMPLE);
    assert_eq!(came.len(), SAMPLE as usize);
    let effect = reorder.interrupt();
    let delayed = count(&effect, "to", "delayed");
    let early = usize::try_from(u64::from(SAMPLE) - delayed).unwrap();
    assert_share(early, SAMPLE, 0.25);
    // Those that overtook came before all others, each group in its own order.
    let (first, rest) = came.split_at(early);
    assert!(first.is_sorted() && rest.is_sorted(), "{came:?}");
}

#[test]
fn what_is_corrupted_never_reaches_who_checks() {
    let Some((guard, nodes)) = stage() else {
        return;
    };
    for is_v4 in [true, false] {
        let words = ["--corrupt", "30%", "--protocol", "udp", "--for", "60s"];
        let corruption = Disturbance::inject(&guard, &nodes.target(), &words);
        let came = nodes.wire.send(is_v4, 1000);
        assert!(came.iter().all(|number| *number < 1000), "{came:?}");
        let effect = corruption.interrupt();
        let corrupted = usize::try_from(count(&effect, "to", "corrupted")).unwrap();
        assert_share(corrupted, 1000, 0.3);
        // A flipped bit of a port or of an address sends it elsewhere, of a length cuts it: it is gone all the same.
        assert_eq!(came.len(), 1000 - corrupted, "{effect}");
    }
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
    let rate = Disturbance::inject(&guard, &nodes.target(), &words);
    let listener = nodes
        .wire
        .b
        .run(|| TcpListener::bind((address(true, 2), 0)));
    let listener = listener.unwrap().unwrap();
    let to = listener.local_addr().unwrap();
    let reader = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let began = Instant::now();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        (all.len(), began.elapsed())
    });
    let mut stream = nodes
        .wire
        .a
        .run(|| TcpStream::connect(to))
        .unwrap()
        .unwrap();
    stream.write_all(&vec![7; 2_000_000]).unwrap();
    drop(stream);
    let (bytes, took) = reader.join().unwrap();
    assert_eq!(bytes, 2_000_000);
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
    let injected = Disturbance::inject(&guard, &nodes.target(), &words);
    let listener = nodes
        .wire
        .b
        .run(|| TcpListener::bind((address(false, 2), 0)));
    let listener = listener.unwrap().unwrap();
    let to = listener.local_addr().unwrap();
    let reader = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_to_end(&mut Vec::new()).unwrap()
    });
    let mut stream = nodes
        .wire
        .a
        .run(|| TcpStream::connect(to))
        .unwrap()
        .unwrap();
    stream.write_all(&vec![7; 3_000_000]).unwrap();
    drop(stream);
    assert_eq!(reader.join().unwrap(), 3_000_000);
    let effect = injected.interrupt();
    let lost = usize::try_from(count(&effect, "to", "dropped")).unwrap();
    // Three megabytes are at least two thousand segments.
    let interval = &effect["to"]["loss"]["interval"];
    assert!(lost > 10, "{effect}");
    assert!(interval[0].as_f64().unwrap() < 0.03, "{effect}");
}

#[test]
fn a_delay_and_a_loss_at_once() {
    let Some((guard, nodes)) = stage() else {
        return;
    };
    let words = [
        "--delay",
        "20ms",
        "--loss",
        "30%",
        "--duplicate",
        "20%",
        "--protocol",
        "udp",
    ];
    let words = [&words[..], &["--for", "60s"]].concat();
    let both = Disturbance::inject(&guard, &nodes.target(), &words);
    let came = nodes.wire.send(true, 1000);
    let effect = both.interrupt();
    let (lost, more) = (
        count(&effect, "to", "dropped"),
        count(&effect, "to", "duplicated"),
    );
    assert_share(usize::try_from(lost).unwrap(), 1000, 0.3);
    assert_eq!(came.len() as u64, 1000 - lost + more, "{effect}");
    assert!((60..=220).contains(&more), "{effect}");
}

#[test]
fn two_delays_of_one_device_add_up_and_end_in_any_order() {
    let Some((guard, nodes)) = stage() else {
        return;
    };
    let inject = || {
        let words = ["--delay", "30ms", "--protocol", "udp", "--for", "60s"];
        Disturbance::inject(&guard, &nodes.target(), &words)
    };
    let mean = || moments(&timed(&nodes.wire, true, false, 30)).0;
    let late = LATE_MS * f64::from(slack());
    for first_ends_first in [true, false] {
        let (first, second) = (inject(), inject());
        let both = mean();
        assert!((60.0..60.0 + 2.0 * late).contains(&both), "{both}");
        let (ends, stays) = if first_ends_first {
            (first, second)
        } else {
            (second, first)
        };
        ends.interrupt();
        let one = mean();
        assert!((30.0..30.0 + late).contains(&one), "{one}");
        stays.interrupt();
        assert!(mean() < late);
    }
}

#[test]
fn packets_that_wait_are_passed_on_at_the_end() {
    let Some((guard, nodes)) = stage() else {
        return;
    };
    let words = ["--delay", "20s", "--protocol", "udp", "--for", "60s"];
    let delay = Disturbance::inject(&guard, &nodes.target(), &words);
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
        let delay = Disturbance::inject(&guard, &nodes.target(), &words);
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
    let delay = Disturbance::inject(&guard, &nodes.target(), &words);
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
    let target = nodes.target();
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
        (&["--delay", "10ms", "--engine", "tape"], 2, "tcx and cable"),
        (&["--delay", "10ms", "--device", "lo"], 2, "Ethernet"),
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
