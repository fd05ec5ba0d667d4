//! Packets that go through queues of netfilter's, without BPF: lost, delayed and slowed down by the built binary, counted
//! by who receives them; and nothing is held up, whoever is killed or stopped.

#[path = "../../murphy-sys/tests/wire/mod.rs"]
mod wire;

mod harness;
mod network;
mod victims;

use std::{
    io::{Read, Write},
    net::{IpAddr, TcpListener, TcpStream, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use harness::{Guard, patience, slack, wait_until};
use murphy_sys::{
    link::{Prefixed, add_address},
    nfqueue::{self, Rule, Table},
    traffic::Way,
};
use network::{Disturbance, Nodes, packets};
use wire::{Pace, QUIET, address, assert_share, datagrams, flows};

/// How many datagrams of each family are sent for a statistical effect.
const SAMPLE: u32 = 2000;

fn stage() -> Option<(Guard, Nodes)> {
    let guard = Guard::root_or_skip()?;
    if let Err(error) = nfqueue::trial() {
        harness::say_skipped(&error.to_string());
        return None;
    }
    let nodes = Nodes::lay(&guard);
    Some((guard, nodes))
}

/// Disturbs the packets of node 1 by this engine, for as long as any test takes.
fn inject<'a>(guard: &'a Guard, nodes: &Nodes, words: &str) -> Disturbance<'a> {
    let all = format!("--engine nfqueue --for 300s {words}");
    let words: Vec<_> = all.split(' ').collect();
    let injected = Disturbance::inject(guard, &nodes.target(), &words);
    assert_eq!(injected.active["engine"], "nfqueue");
    injected
}

/// The numbers of those that come of so many datagrams, from node 1 or to it. Each goes through Murphy, which may be
/// kept waiting for a while on a slow machine.
fn numbers(nodes: &Nodes, way: Way, is_v4: bool, count: u32) -> Vec<u32> {
    let pace = Pace {
        patience: slack() * QUIET,
        ..Pace::at_once(count)
    };
    let pair = nodes.wire.ends(is_v4, way == Way::From);
    let came = &flows(&[pair], pace)[0].came;
    came.iter().map(|arrival| arrival.number).collect()
}

/// How many come of so many of each family.
fn come(nodes: &Nodes, way: Way, count: u32) -> usize {
    let of = |is_v4| numbers(nodes, way, is_v4, count).len();
    of(true) + of(false)
}

/// Whether the table of the injection's only hook is there; it is not afterwards.
fn had_table(nodes: &Nodes, id: &str) -> bool {
    nfqueue::remove(&nodes.wire.a, &format!("mphy-{id}0")).expect("root may")
}

fn assert_in_time(since: Instant) {
    let after = since.elapsed();
    assert!(
        after < slack() * 3 * Duration::from_millis(1200),
        "{after:?}"
    );
}

#[test]
fn nothing_passes_a_partition_the_way_that_was_asked() {
    let Some((guard, nodes)) = stage() else {
        return;
    };
    for (direction, to, from) in [("to", 0, 100), ("from", 100, 0), ("both", 0, 0)] {
        let words = format!("--partition --direction {direction}");
        let partition = inject(&guard, &nodes, &words);
        let came = (nodes.come(50), nodes.come_back(50));
        assert_eq!(came, (to, from), "{direction}");
        let id = partition.id.clone();
        partition.interrupt();
        assert!(nodes.is_calm(), "{direction}");
        assert!(!had_table(&nodes, &id));
    }
}

#[test]
fn only_peers_and_ports_that_are_meant_are_hit() {
    let Some((guard, nodes)) = stage() else {
        return;
    };
    for (address, length) in [("10.78.0.3", 24), ("fd78::3", 64)] {
        let address = address.parse().unwrap();
        add_address(&nodes.wire.b, "eth0", Prefixed { address, length }).unwrap();
    }
    let to = |is_v4, last| {
        let from = (&nodes.wire.a, address(is_v4, 1));
        datagrams(from, (&nodes.wire.b, address(is_v4, last)), 20).len()
    };
    let partition = inject(
        &guard,
        &nodes,
        "--partition --cidr 10.78.0.3 --cidr fd78::3",
    );
    for is_v4 in [true, false] {
        assert_eq!((to(is_v4, 2), to(is_v4, 3)), (20, 0), "{is_v4}");
    }
    partition.interrupt();
    let partition = inject(
        &guard,
        &nodes,
        &format!("--partition --peer {}", nodes.peer()),
    );
    assert_eq!((nodes.come(20), to(true, 3)), (0, 0));
    let later: IpAddr = address(true, 4);
    let more = Prefixed {
        address: later,
        length: 24,
    };
    add_address(&nodes.wire.b, "eth0", more).unwrap();
    partition.wait_for_effect("the new address is known", |effect| {
        effect["peers"].to_string().contains("10.78.0.4")
    });
    assert_eq!(to(true, 4), 0);
    partition.interrupt();
    let partition = inject(
        &guard,
        &nodes,
        "--partition --remote-port 7000-7001 --direction both",
    );
    let bind = |namespace: &murphy_sys::namespace::NetNamespace, last, port| {
        let socket = namespace.run(|| UdpSocket::bind((address(true, last), port)));
        socket.unwrap().unwrap()
    };
    // What does not come is not waited for long.
    let comes = |socket: &UdpSocket, is_expected: bool| {
        let quiet = slack() * Duration::from_millis(200);
        let limit = if is_expected { patience() } else { quiet };
        socket.set_read_timeout(Some(limit)).unwrap();
        socket.recv(&mut [0]).is_ok()
    };
    let ours = bind(&nodes.wire.a, 1, 7000);
    for (port, passes) in [(7000, false), (7001, false), (7002, true)] {
        let theirs = bind(&nodes.wire.b, 2, port);
        ours.send_to(b"?", (address(true, 2), port)).unwrap();
        assert_eq!(comes(&theirs, passes), passes, "{port}");
        theirs.send_to(b"!", (address(true, 1), 7000)).unwrap();
        assert_eq!(comes(&ours, passes), passes, "{port}");
    }
    let effect = partition.interrupt();
    for way in ["to", "from"] {
        assert_eq!(packets(&effect, way, "dropped"), 2, "{effect}");
    }
}

/// How long so many bytes of a stream take from node 2 to node 1.
fn stream(nodes: &Nodes, is_v4: bool, bytes: usize) -> Duration {
    let listener = nodes
        .wire
        .a
        .run(|| TcpListener::bind((address(is_v4, 1), 0)));
    let listener = listener.unwrap().unwrap();
    let to = listener.local_addr().unwrap();
    let reader = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let began = Instant::now();
        let (mut all, mut buffer) = (0, vec![0; 1 << 16]);
        loop {
            match stream.read(&mut buffer).unwrap() {
                0 => return (all, began.elapsed()),
                more => all += more,
            }
        }
    });
    let stream = nodes.wire.b.run(|| TcpStream::connect(to));
    let mut stream = stream.unwrap().unwrap();
    stream.write_all(&vec![7; bytes]).unwrap();
    drop(stream);
    let (came, took) = reader.join().unwrap();
    assert_eq!(came, bytes);
    took
}

#[test]
fn a_stream_is_as_fast_as_it_may_be_and_a_delay_does_not_hold_its_sender_back() {
    let Some((guard, nodes)) = stage() else {
        return;
    };
    let words = "--rate 16mbit --burst 16KiB --direction from --protocol tcp";
    let rate = inject(&guard, &nodes, words);
    // 16 Mbit of payload take a second, headers a little more; the first burst is free.
    let took = stream(&nodes, true, 2_000_000);
    assert!(took > Duration::from_millis(950), "{took:?}");
    assert!(took < slack() * Duration::from_secs(4), "{took:?}");
    rate.interrupt();
    let delay = inject(
        &guard,
        &nodes,
        "--delay 10ms --direction from --protocol tcp",
    );
    // Two or three packets in flight, as where small queues fill up, would take half a minute.
    let took = stream(&nodes, false, 24_000_000);
    assert!(took < slack() * Duration::from_secs(8), "{took:?}");
    let effect = delay.interrupt();
    assert!(packets(&effect, "from", "delayed") > 100, "{effect}");
    assert_eq!(effect["from"]["overflowed"], 0, "{effect}");
}

#[test]
fn two_of_them_multiply_and_end_in_any_order_and_a_foreign_table_stays() {
    let Some((guard, nodes)) = stage() else {
        return;
    };
    let nobody = Rule {
        way: Way::From,
        device: 1,
        queue: 7,
    };
    let foreign = Table::make(&nodes.wire.a, "theirs", &[nobody]).unwrap();
    for first_ends_first in [true, false] {
        let injected = || inject(&guard, &nodes, "--loss 50% --protocol udp --direction both");
        let (first, second) = (injected(), injected());
        assert_share(come(&nodes, Way::To, SAMPLE), 2 * SAMPLE, 0.25);
        let (ends, stays) = if first_ends_first {
            (first, second)
        } else {
            (second, first)
        };
        ends.interrupt();
        assert_share(come(&nodes, Way::To, SAMPLE), 2 * SAMPLE, 0.5);
        assert_share(come(&nodes, Way::From, SAMPLE), 2 * SAMPLE, 0.5);
        stays.interrupt();
        assert!(nodes.is_calm());
    }
    assert!(foreign.remove().unwrap(), "it was left alone");
}

#[test]
fn a_pause_and_the_end_let_pass_what_waits() {
    let Some((guard, nodes)) = stage() else {
        return;
    };
    let delay = inject(
        &guard,
        &nodes,
        "--delay 200s --direction from --protocol udp",
    );
    let bind = |namespace: &murphy_sys::namespace::NetNamespace, last| {
        let socket = namespace.run(|| UdpSocket::bind((address(true, last), 0)));
        socket.unwrap().unwrap()
    };
    let (ours, theirs) = (bind(&nodes.wire.a, 1), bind(&nodes.wire.b, 2));
    ours.set_read_timeout(Some(patience())).unwrap();
    for round in 1..=2 {
        for _ in 0..10 {
            theirs.send_to(b"?", ours.local_addr().unwrap()).unwrap();
        }
        delay.wait_for_effect("they wait", |effect| {
            effect["from"]["matched"]["packets"].as_u64() == Some(10 * round)
        });
        if round == 2 {
            break;
        }
        let paused = guard.murphy(["pause", &delay.id]).run();
        assert_eq!(paused.code, 0, "{paused:?}");
        for _ in 0..10 {
            assert_eq!(ours.recv(&mut [0; 8]).unwrap(), 1);
        }
        assert!(nodes.is_calm());
        let resumed = guard.murphy(["resume", &delay.id]).run();
        assert_eq!(resumed.code, 0, "{resumed:?}");
    }
    delay.interrupt();
    for _ in 0..10 {
        assert_eq!(ours.recv(&mut [0; 8]).unwrap(), 1);
    }
}

#[test]
fn traffic_is_normal_when_murphy_is_killed() {
    let Some((guard, nodes)) = stage() else {
        return;
    };
    for words in [
        "--partition --direction both",
        "--delay 5s --direction from",
    ] {
        for keeper_too in [false, true] {
            let injected = inject(&guard, &nodes, words);
            let id = injected.id.clone();
            injected.kill(keeper_too);
            let killed = Instant::now();
            assert!(nodes.is_calm());
            assert_in_time(killed);
            if keeper_too {
                assert_eq!(guard.injections(), [id.as_str()]);
                assert_eq!(guard.murphy(["recover"]).run().code, 0);
            }
            wait_until("nothing is in the journal", || {
                guard.injections().is_empty()
            });
            assert!(!had_table(&nodes, &id), "{words}, {keeper_too}");
        }
    }
}

#[test]
fn packets_pass_when_murphy_is_stopped_and_it_says_so_when_it_goes_on() {
    let Some((guard, nodes)) = stage() else {
        return;
    };
    for words in [
        "--delay 5s --direction from",
        "--partition --direction both",
    ] {
        let injected = inject(&guard, &nodes, words);
        assert!(!nodes.is_calm());
        injected.signal("STOP");
        let stopped = Instant::now();
        wait_until("packets pass", || nodes.come_back(5) == 10);
        // The last look of the wire's takes as long as no datagram comes any more.
        assert_in_time(stopped);
        assert!(nodes.is_calm());
        wait_until("nothing is in the journal", || {
            guard.injections().is_empty()
        });
        assert!(!had_table(&nodes, &injected.id));
        injected.signal("CONT");
        let (ended, last) = injected.end();
        assert_eq!(ended.code, 0, "{ended:?}");
        assert_eq!(last["event"], "recovered", "{last}");
        assert!(nodes.is_calm());
    }
}

#[test]
fn a_murphy_that_is_at_work_keeps_what_it_serves() {
    let Some((guard, nodes)) = stage() else {
        return;
    };
    let partition = inject(&guard, &nodes, "--partition --direction both");
    let keeper = guard.keeper().expect("a keeper");
    let until = Instant::now() + Duration::from_secs(5);
    while Instant::now() < until {
        assert_eq!(nodes.come(5), 0);
    }
    // Another keeper is told, too.
    harness::signal(keeper, "KILL");
    wait_until("another keeper is there", || {
        guard.keeper().is_some_and(|other| other != keeper)
    });
    let until = Instant::now() + Duration::from_secs(5);
    while Instant::now() < until {
        assert_eq!(nodes.come(5), 0);
    }
    partition.interrupt();
    assert!(nodes.is_calm());
}

#[test]
fn what_it_cannot_do_is_refused_with_a_remedy() {
    let Some((guard, nodes)) = stage() else {
        return;
    };
    let target = nodes.target();
    let cases = [
        ("--delay 10ms", "--direction from"),
        ("--delay 10ms --direction both", "engine cable"),
        ("--rate 1mbit", "--direction from"),
        ("--duplicate 5%", "engines tcx and cable"),
        ("--corrupt 5% --direction from", "engine cable"),
        ("--partition=reject", "engine tcx"),
        ("--loss 5% --loss-unit segment", "--loss-unit packet"),
        ("--partition --arp", "leave out --arp"),
        ("--partition --device eth9", "eth0"),
    ];
    for (words, part) in cases {
        let all = format!("inject net -t {target} --for 1s --engine nfqueue {words}");
        let refused = guard.murphy(all.split(' ')).run();
        assert_eq!(refused.code, 2, "{words:?}: {refused:?}");
        assert!(refused.stderr.contains(part), "{words:?}: {refused:?}");
    }
    let dry = format!("inject net -t {target} --partition --for 1s --engine nfqueue --dry-run");
    let dry = guard.murphy(dry.split(' ')).run();
    assert_eq!(dry.code, 0, "{dry:?}");
    assert!(dry.stdout.contains("nftables table mphy-new0"), "{dry:?}");
    assert!(dry.stdout.contains("its keeper undoes it"), "{dry:?}");
    assert!(nodes.is_calm());
}
