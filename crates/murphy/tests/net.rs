//! Packets of a namespace are disturbed by the built binary: those that are meant and no others, for as long as they are,
//! and nothing stays, whoever is killed. How large the effect of each fault is, `net_effects` measures.

#[path = "../../murphy-sys/tests/wire/mod.rs"]
mod wire;

mod harness;
mod network;
mod victims;

use std::{
    io::ErrorKind,
    net::{SocketAddr, TcpStream},
    thread::sleep,
    time::{Duration, Instant},
};

use harness::{Guard, patience, signal, slack, wait_until};
use murphy_sys::{
    link::{Prefixed, add_address},
    namespace::NetNamespace,
};
use network::{Disturbance, Nodes, packets};
use wire::{address, assert_share, datagrams};

/// How many datagrams of each family are sent for a statistical effect.
const SAMPLE: u32 = 2000;

fn stage() -> Option<(Guard, Nodes)> {
    let guard = Guard::root_or_skip()?;
    let nodes = Nodes::lay_or_skip(&guard)?;
    Some((guard, nodes))
}

#[test]
fn a_ping_meets_the_fault_before_anybody_else_does() {
    let Some((guard, nodes)) = stage() else {
        return;
    };
    let peer = nodes.peer();
    let words = ["--partition", "--peer", &peer, "--for", "60s"];
    let partition = Disturbance::inject(&guard, &nodes.target(), &words);
    let met = &partition.active["effect"]["rehearsal"];
    assert_eq!(met["device"], "eth0", "{}", partition.active);
    assert!(met["before_ms"].is_number() && met["with_ms"].is_null());
    let effect = &partition.active["effect"];
    assert_eq!(packets(effect, "to", "matched"), 0, "it is not counted");
    partition.interrupt_unnoticed();
    // Who is not there answers no ping; the fault is what it would be.
    let words = ["--partition", "--cidr", "10.78.0.9", "--for", "60s"];
    let partition = Disturbance::inject(&guard, &nodes.target(), &words);
    assert!(partition.active["effect"]["rehearsal"].is_null());
    partition.interrupt_unnoticed();
    assert!(nodes.is_calm());
}

#[test]
fn only_the_peer_is_hit_and_who_becomes_one_is_hit_from_then_on() {
    let Some((guard, nodes)) = stage() else {
        return;
    };
    let more = |last| Prefixed {
        address: address(true, last),
        length: 24,
    };
    add_address(&nodes.wire.b, "eth0", more(3)).unwrap();
    let words = ["--partition", "--cidr", "10.78.0.3", "--for", "60s"];
    let partition = Disturbance::inject(&guard, &nodes.target(), &words);
    let to = |last| {
        let from = (&nodes.wire.a, address(true, 1));
        datagrams(from, (&nodes.wire.b, address(true, last)), 20).len()
    };
    assert_eq!((to(2), to(3)), (20, 0));
    partition.interrupt();
    let peer = nodes.peer();
    let words = ["--partition", "--peer", &peer, "--for", "60s"];
    let partition = Disturbance::inject(&guard, &nodes.target(), &words);
    assert_eq!((nodes.come(20), to(3)), (0, 0));
    add_address(&nodes.wire.b, "eth0", more(4)).unwrap();
    partition.wait_for_effect("the new address is known", |effect| {
        effect["peers"].to_string().contains("10.78.0.4")
    });
    assert_eq!(to(4), 0);
    partition.interrupt();
}

#[test]
fn two_disturbances_multiply_and_end_in_any_order() {
    let Some((guard, nodes)) = stage() else {
        return;
    };
    for first_ends_first in [true, false] {
        let words = ["--loss", "50%", "--protocol", "udp", "--for", "60s"];
        let inject = || Disturbance::inject(&guard, &nodes.target(), &words);
        let (first, second) = (inject(), inject());
        assert_share(nodes.come(SAMPLE), 2 * SAMPLE, 0.25);
        let (ends, stays) = if first_ends_first {
            (first, second)
        } else {
            (second, first)
        };
        ends.interrupt();
        assert_share(nodes.come(SAMPLE), 2 * SAMPLE, 0.5);
        stays.interrupt();
        assert!(nodes.is_calm());
    }
}

#[test]
fn who_is_refused_is_told_at_once() {
    let Some((guard, nodes)) = stage() else {
        return;
    };
    let words = ["--partition=reject", "--direction", "both", "--for", "60s"];
    let partition = Disturbance::inject(&guard, &nodes.target(), &words);
    let connect = |from: &NetNamespace, last| {
        let to = SocketAddr::new(address(true, last), 5432);
        let connected = from.run(|| TcpStream::connect_timeout(&to, patience()));
        connected.unwrap().unwrap_err().kind()
    };
    for (from, last) in [(&nodes.wire.a, 2), (&nodes.wire.b, 1)] {
        // A port that nobody listens on is refused by its host as well: it must be Murphy who counts it.
        assert_eq!(connect(from, last), ErrorKind::ConnectionRefused);
    }
    let effect = partition.interrupt();
    for way in ["to", "from"] {
        assert_eq!(packets(&effect, way, "refused"), 1, "{effect}");
    }
}

#[test]
fn traffic_is_normal_at_once_when_murphy_is_killed() {
    let Some((guard, nodes)) = stage() else {
        return;
    };
    for keeper_too in [false, true] {
        let words = ["--partition", "--direction", "both", "--for", "60s"];
        let partition = Disturbance::inject(&guard, &nodes.target(), &words);
        assert_eq!(nodes.come(20), 0);
        partition.kill(keeper_too);
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
    }
}

#[test]
fn a_stopped_murphy_ends_its_disturbance_in_time_all_the_same() {
    let Some((guard, nodes)) = stage() else {
        return;
    };
    let words = ["--partition", "--for", "8s"];
    let partition = Disturbance::inject(&guard, &nodes.target(), &words);
    let began = Instant::now();
    partition.signal("STOP");
    assert_eq!(nodes.come(20), 0, "it stays in force until its end");
    sleep(Duration::from_millis(8100).saturating_sub(began.elapsed()));
    assert!(nodes.is_calm(), "the programs end it by themselves");
    // The keeper forgets it, too, though its Murphy hangs.
    wait_until("the keeper has ended it", || guard.injections().is_empty());
    partition.signal("CONT");
    let (ended, last) = partition.end();
    assert_eq!((ended.code, &last["event"]), (0, &"recovered".into()));
}

#[test]
fn anybody_recovers_it_even_when_its_murphy_is_stopped() {
    let Some((guard, nodes)) = stage() else {
        return;
    };
    for stopped in [false, true] {
        let words = ["--partition", "--for", "60s"];
        let partition = Disturbance::inject(&guard, &nodes.target(), &words);
        if stopped {
            partition.signal("STOP");
        }
        assert_eq!(nodes.come(20), 0);
        let recovered = guard.murphy(["recover", &partition.id]).run();
        assert_eq!(recovered.code, 0, "{recovered:?}");
        assert!(nodes.is_calm());
        partition.signal("CONT");
        partition.wait();
    }
}

#[test]
fn a_process_is_hit_in_its_namespace_and_never_in_the_machines() {
    let Some((guard, nodes)) = stage() else {
        return;
    };
    let script = format!("exec ip netns exec {} sleep 60", nodes.name());
    let victim = guard.victim(&script);
    wait_until("it is in its namespace", || {
        murphy_sys::process::namespace_inode(victim.pid(), "net").ok() == nodes.wire.a.inode().ok()
    });
    let words = ["--partition", "--for", "60s"];
    let partition = Disturbance::inject(&guard, &victim.target(), &words);
    assert_eq!(nodes.come(20), 0);
    partition.interrupt();
    assert!(nodes.is_calm());
    victim.signal("KILL");
    victim.wait();
    let of_the_machine = guard.victim("exec sleep 60");
    let target = of_the_machine.target();
    let refused = guard.murphy(["inject", "net", "-t", &target, "--partition", "--for", "1s"]);
    let refused = refused.run();
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.stderr.contains("--allow-host"), "{refused:?}");
    of_the_machine.signal("KILL");
    of_the_machine.wait();
}

#[test]
fn it_is_listed_while_it_is_in_force_and_goes_on_in_the_background() {
    let Some((guard, nodes)) = stage() else {
        return;
    };
    let target = nodes.target();
    let words = [
        "inject",
        "net",
        "-t",
        &target,
        "--partition",
        "--protocol",
        "udp",
        "--for",
        "60s",
        "--detach",
    ];
    let detached = guard.murphy(words).run();
    assert_eq!(detached.code, 0, "{detached:?}");
    assert_eq!(nodes.come(20), 0);
    let is_listed = |part: &str| guard.murphy(["ls"]).run().stdout.contains(part);
    wait_until("the packets are listed", || {
        is_listed("packets matched, 40 dropped")
    });
    assert!(is_listed("net partition · to · udp"));
    assert_eq!(guard.murphy(["recover", "--all"]).run().code, 0);
    assert!(nodes.is_calm());
    wait_until("its Murphy ends", || guard.marked_pids().is_empty());
}

#[test]
fn what_is_only_planned_changes_nothing() {
    let Some((guard, nodes)) = stage() else {
        return;
    };
    let (target, peer) = (nodes.target(), nodes.peer());
    let words = [
        "inject",
        "net",
        "-t",
        &target,
        "--partition",
        "--peer",
        &peer,
    ];
    let planned = guard.murphy(words).args(["--for", "1s", "--dry-run"]).run();
    assert_eq!(planned.code, 0, "{planned:?}");
    for part in [
        "egress of eth0",
        "10.78.0.2/32",
        "fd78::2/128",
        "nothing was changed",
    ] {
        assert!(planned.stdout.contains(part), "{part}: {planned:?}");
    }
    assert!(nodes.is_calm());
}

#[test]
fn a_disturbance_that_met_no_packet_is_an_error() {
    let Some((guard, nodes)) = stage() else {
        return;
    };
    let target = nodes.target();
    // Within its time it must have begun.
    let time = format!("{}ms", 200 * slack());
    let words = [
        "inject",
        "net",
        "-t",
        &target,
        "--partition",
        "--port",
        "9",
        "--for",
        &time,
    ];
    let ended = guard.murphy(words).run();
    assert_eq!(ended.code, 3, "{ended:?}");
    assert!(ended.stderr.contains("no packet matched"), "{ended:?}");
}

#[test]
fn bad_input_is_refused_with_its_field_before_anything_is_touched() {
    let Some((guard, nodes)) = stage() else {
        return;
    };
    let target = nodes.target();
    let cases: &[(&[&str], i32, &str)] = &[
        (&[], 2, "say how"),
        (&["--loss", "130%"], 2, "from 0% to 100%"),
        (&["--loss", "30"], 2, "30%"),
        (&["--loss", "0%"], 2, "--loss 0% would do nothing"),
        (&["--loss-correlation", "10%"], 2, "--loss"),
        (
            &["--loss", "9%", "--loss-correlation", "100%"],
            2,
            "--loss-correlation 100%",
        ),
        (&["--loss", "1%", "--loss-every", "5"], 2, "--loss-every"),
        (
            &["--loss", "1%", "--partition"],
            2,
            "--partition and --loss",
        ),
        (&["--gilbert-elliott", "p=0%,r=1%"], 2, "p and r"),
        (
            &["--partition", "--device", "eth9"],
            2,
            "there are: lo, eth0",
        ),
        (&["--partition", "--cidr", "10.0.0.0/64"], 2, "IPv6"),
        (&["--partition", "--cidr", "10.0.0.1/24"], 2, "10.0.0.0/24"),
        (&["--partition", "--peer", "planet:mars"], 2, "planet:mars"),
        (
            &["--partition", "--peer", "netns:mphy-none"],
            3,
            "mphy-none",
        ),
        (&["--partition", "--port", "0"], 2, "from 1 to 65535"),
        (
            &["--partition", "--port", "80", "--protocol", "icmp"],
            2,
            "icmp has none",
        ),
        (&["--partition", "--arp", "--port", "80"], 2, "--arp"),
        (
            &["--partition", "--direction", "to", "--direction", "from"],
            2,
            "--direction",
        ),
        (&["--partition", "--direction", "up"], 2, "up"),
    ];
    for (words, code, part) in cases {
        let words = [&["inject", "net", "-t", &target, "--for", "1s"], *words].concat();
        let refused = guard.murphy(&words).run();
        assert_eq!(refused.code, *code, "{words:?}: {refused:?}");
        assert!(refused.stderr.contains(part), "{words:?}: {refused:?}");
    }
    let unknown = guard.murphy(["inject", "net", "-t", "netns:mphy-none", "--partition"]);
    assert_eq!(unknown.args(["--for", "1s"]).run().code, 3);
    let endless = guard
        .murphy(["inject", "net", "-t", &target, "--partition"])
        .run();
    assert_eq!(endless.code, 2, "{endless:?}");
    assert!(nodes.is_calm());
}

#[test]
fn a_device_that_comes_later_is_hit_as_well() {
    let Some((guard, nodes)) = stage() else {
        return;
    };
    let words = ["--partition", "--direction", "both", "--for", "60s"];
    let partition = Disturbance::inject(&guard, &nodes.target(), &words);
    let name = nodes.name();
    assert!(network::ip(&[
        "-n", name, "link", "add", "late0", "type", "veth"
    ]));
    partition.wait_for_effect("the late device is hit", |effect| {
        effect["places"][0]["devices"].to_string().contains("late0")
    });
    nodes.come(1);
    partition.interrupt();
}

#[test]
fn a_namespace_that_goes_is_let_go_and_another_of_its_name_is_hit() {
    let Some((guard, nodes)) = stage() else {
        return;
    };
    let name = nodes.name();
    let words = ["--partition", "--for", "60s"];
    let partition = Disturbance::inject(&guard, &nodes.target(), &words);
    assert_eq!(nodes.come(20), 0);
    assert!(network::ip(&["netns", "del", name]));
    partition.wait_for_effect("it is let go", |effect| {
        effect["places"].as_array().is_some_and(Vec::is_empty)
    });
    assert_eq!(nodes.come(20), 40, "it is nobody's any more");
    assert!(network::ip(&["netns", "add", name]));
    let words = ["-n", name, "link", "add", "late0", "type", "veth"];
    assert!(network::ip(&words));
    let effect = partition.wait_for_effect("the other one is hit", |effect| {
        effect["places"][0]["devices"].to_string().contains("late0")
    });
    // A new device has something to say by itself.
    assert!(
        packets(&effect, "to", "dropped") >= 40,
        "what was counted stays"
    );
    partition.interrupt();
}

#[test]
fn a_fault_is_paused_and_resumed_between_its_beginning_and_its_end() {
    let Some((guard, nodes)) = stage() else {
        return;
    };
    let words = ["--partition", "--protocol", "udp", "--for", "60s"];
    let partition = Disturbance::inject(&guard, &nodes.target(), &words);
    assert_eq!(nodes.come(20), 0);
    let paused = guard.murphy(["pause", &partition.id]).run();
    assert_eq!(paused.code, 0, "{paused:?}");
    assert!(guard.murphy(["ls"]).run().stdout.contains("paused"));
    assert!(nodes.is_calm());
    let resumed = guard.murphy(["resume", &partition.id, "--json"]).run();
    assert_eq!(resumed.code, 0, "{resumed:?}");
    assert_eq!(resumed.lines()[0]["effect"]["paused"], false);
    assert_eq!(nodes.come(20), 0);
    let recovered = guard.murphy(["recover", &partition.id]).run();
    assert_eq!(recovered.code, 0, "{recovered:?}");
    partition.wait();
    assert!(nodes.is_calm());
    let unknown = guard.murphy(["pause", "abcdef"]).run();
    assert_eq!(unknown.code, 2, "{unknown:?}");
    let victim = guard.victim("exec sleep 60");
    let skew = [
        "inject",
        "process",
        "pause",
        "-t",
        &victim.target(),
        "--for",
        "60s",
    ];
    let paused = guard.murphy(skew).arg("--detach").run();
    assert_eq!(paused.code, 0, "{paused:?}");
    let refused = guard.murphy(["pause", &guard.injections()[0]]).run();
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.stderr.contains("family process"), "{refused:?}");
    assert_eq!(guard.murphy(["recover", "--all"]).run().code, 0);
    victim.signal("KILL");
    victim.wait();
}

#[test]
fn its_keeper_is_killed_and_comes_back() {
    let Some((guard, nodes)) = stage() else {
        return;
    };
    let words = ["--partition", "--for", "60s"];
    let partition = Disturbance::inject(&guard, &nodes.target(), &words);
    let keeper = guard.keeper().expect("a keeper");
    signal(keeper, "KILL");
    let until = Instant::now() + patience();
    while guard.keeper().is_none_or(|other| other == keeper) {
        assert!(Instant::now() < until, "no other keeper ever came");
        sleep(Duration::from_millis(20));
    }
    assert_eq!(nodes.come(20), 0);
    partition.interrupt();
}
