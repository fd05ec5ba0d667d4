//! Packets of a process that shares its network namespace are lost by the built binary, and nobody else's; so are those of
//! a command that it launches, from the first one on.

#[path = "../../murphy-sys/tests/crew/mod.rs"]
mod crew;
#[path = "../../murphy-sys/tests/wire/mod.rs"]
mod wire;

mod harness;
mod network;
#[path = "network/talker.rs"]
mod talker;
mod victims;

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use crew::{Cgroup, Pair, is_gone, taken, wait_for_sleep};
use harness::{Ended, Guard, patience, say_skipped, slack, wait_until};
use murphy_sys::{
    cgroup::Hierarchies,
    namespace::NetNamespace,
    traffic::{self, group},
};
use network::{Disturbance, Nodes, ip, packets};
use serde_json::Value;
use talker::{TO_PEER, Talker};
use wire::{address, assert_share, bind, numbered};

/// How many datagrams of each family are sent for a statistical effect.
const SAMPLE: u32 = 2000;
/// Sockets towards the own node.
const TO_ITSELF: &str = "3<>/dev/udp/127.0.0.1/9 4<>/dev/udp/::1/9";

struct Stage {
    talker: Talker,
    nodes: Nodes,
    guard: Guard,
}

impl Stage {
    /// A talker on node 1, towards node 2.
    fn set_or_skip() -> Option<Self> {
        let guard = Guard::root_or_skip()?;
        if let Err(error) = group::trial() {
            say_skipped(&error.to_string());
            return None;
        }
        let nodes = Nodes::lay_or_skip(&guard)?;
        let talker = Talker::start(&guard, &nodes.wire.a, "t", TO_PEER)?;
        Some(Self {
            talker,
            nodes,
            guard,
        })
    }

    fn pair(&self, is_v4: bool) -> Pair {
        self.talker.pair(is_v4, (&self.nodes.wire.b, Some(2)))
    }

    fn inject(&self, words: &[&str]) -> Disturbance<'_> {
        let forced = ["--engine", "cgroup_skb", "--for", "120s"];
        let words = [&forced, words].concat();
        let disturbance = Disturbance::inject(&self.guard, &self.talker.running.target(), &words);
        assert_eq!(disturbance.active["engine"], "cgroup_skb");
        disturbance
    }
}

#[test]
fn a_third_is_lost_both_ways_and_the_neighbour_is_spared() {
    let Some(stage) = Stage::set_or_skip() else {
        return;
    };
    let words = ["--loss", "30%", "--direction", "both", "--seed", "3"];
    let loss = stage.inject(&words);
    let (mut missed_to, mut missed_from) = (0, 0);
    for is_v4 in [true, false] {
        let pair = stage.pair(is_v4);
        missed_to += SAMPLE as usize - pair.to(SAMPLE).len();
        missed_from += SAMPLE as usize - pair.from(SAMPLE).len();
    }
    assert!(
        stage.nodes.is_calm(),
        "others on the same device are spared"
    );
    let effect = loss.interrupt();
    for (way, missed) in [("to", missed_to), ("from", missed_from)] {
        assert_share(missed, 2 * SAMPLE, 0.3);
        assert_eq!(packets(&effect, way, "matched"), u64::from(2 * SAMPLE));
        assert_eq!(packets(&effect, way, "dropped"), missed as u64, "{way}");
    }
    let directory = stage.talker.cgroup.directory.to_str().expect("a path");
    assert_eq!(effect["groups"][0], directory);
    assert!(stage.pair(true).is_calm());
}

#[test]
fn bursts_and_every_nth_are_lost_as_asked() {
    let Some(stage) = Stage::set_or_skip() else {
        return;
    };
    let pair = stage.pair(true);
    let every = stage.inject(&["--loss-every", "7"]);
    let came = pair.to(700);
    let expected: Vec<u32> = (0..700).filter(|number| number % 7 != 6).collect();
    assert_eq!(came, expected);
    assert_eq!(packets(&every.interrupt(), "to", "dropped"), 100);
    let bursts = stage.inject(&["--gilbert-elliott", "p=2%,r=20%", "--seed", "5"]);
    let count = 10 * SAMPLE;
    let came = pair.to(count);
    let effect = bursts.interrupt();
    let lost = count as usize - came.len();
    assert_eq!(packets(&effect, "to", "dropped"), lost as u64);
    let mut gaps = came.windows(2).filter(|two| two[1] - two[0] > 1).count();
    gaps += usize::from(came[0] > 0) + usize::from(came[came.len() - 1] < count - 1);
    // 1/11 of all by the model; neighbours are correlated by 0.78, which makes each worth 1/8 of an independent one.
    let sigma = (f64::from(count) * (1.0 / 11.0) * (10.0 / 11.0) * (1.78 / 0.22)).sqrt();
    assert!(
        (lost as f64 - f64::from(count) / 11.0).abs() < 4.0 * sigma,
        "{lost} of {count}"
    );
    // A burst is as long as a geometric draw with a mean of 5.
    let (mean, sigma) = (lost as f64 / gaps as f64, (20.0 / gaps as f64).sqrt());
    assert!((mean - 5.0).abs() < 4.0 * sigma, "{mean} in {gaps} bursts");
}

#[test]
fn nothing_passes_a_partition_the_way_that_was_asked() {
    let Some(stage) = Stage::set_or_skip() else {
        return;
    };
    for (direction, to, from) in [("to", 0, 20), ("from", 20, 0), ("both", 0, 0)] {
        let partition = stage.inject(&["--partition", "--direction", direction]);
        for is_v4 in [true, false] {
            let pair = stage.pair(is_v4);
            let came = (pair.to(20).len(), pair.from(20).len());
            assert_eq!(came, (to, from), "{direction} {is_v4}");
        }
        assert!(stage.nodes.is_calm(), "{direction}");
        partition.interrupt();
        assert!(stage.pair(true).is_calm(), "{direction}");
    }
}

#[test]
fn only_packets_that_are_meant_are_lost() {
    let Some(stage) = Stage::set_or_skip() else {
        return;
    };
    let pair = stage.pair(true);
    let port = |socket: &UdpSocket| socket.local_addr().expect("it is bound").port();
    let (mine, theirs) = (port(&pair.inside), port(&pair.outside));
    let peer = stage.nodes.peer();
    let cases: [(&[&str], usize); 6] = [
        (&["--peer", &peer], 0),
        (&["--cidr", "10.78.0.2"], 0),
        (&["--cidr", "10.79.0.0/16"], 20),
        (&["--remote-port", &theirs.to_string()], 0),
        (
            &["--local-port", &theirs.to_string()],
            if mine == theirs { 0 } else { 20 },
        ),
        (&["--device", "lo"], 20),
    ];
    for (scope, comes) in cases {
        let words = [&["--partition", "--protocol", "udp"], scope].concat();
        let partition = stage.inject(&words);
        assert_eq!(pair.to(20).len(), comes, "{scope:?}");
        partition.signal("INT");
        let (ended, last) = partition.end();
        assert_eq!(ended.code, if comes == 0 { 0 } else { 3 }, "{last}");
    }
}

/// What is lost over the loopback is lost between two processes of one machine, which is what they have.
#[test]
fn two_on_one_node_are_parted_and_others_there_are_not() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let Some(nodes) = Nodes::lay_or_skip(&guard) else {
        return;
    };
    let namespace = &nodes.wire.a;
    let Some(talker) = Talker::start(&guard, namespace, "t", TO_ITSELF) else {
        return;
    };
    let words = ["--engine", "cgroup_skb", "--loss", "30%", "--for", "60s"];
    let loss = Disturbance::inject(&guard, &talker.running.target(), &words);
    let mut missed = 0;
    for is_v4 in [true, false] {
        let pair = talker.pair(is_v4, (namespace, None));
        missed += SAMPLE as usize - pair.to(SAMPLE).len();
        assert_eq!(pair.from(50).len(), 50);
        let others = || bind((namespace, pair.outside.local_addr().expect("bound").ip()));
        assert!(Pair::between(others(), others()).is_calm());
    }
    let effect = loss.interrupt();
    assert_share(missed, 2 * SAMPLE, 0.3);
    assert_eq!(packets(&effect, "to", "dropped"), missed as u64);
}

/// The machine's own namespace: the engine is chosen by itself there, and only the loopback is touched.
#[test]
fn a_process_of_the_machines_own_namespace_is_hit_and_the_machine_is_not() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    if let Err(error) = group::trial() {
        return say_skipped(&error.to_string());
    }
    let own = NetNamespace::of_process(std::process::id()).expect("an own namespace");
    let Some(talker) = Talker::start(&guard, &own, "t", "3<>/dev/udp/127.0.0.1/9") else {
        return;
    };
    let words = [
        "--partition",
        "--device",
        "lo",
        "--direction",
        "both",
        "--for",
        "60s",
    ];
    let partition = Disturbance::inject(&guard, &talker.running.target(), &words);
    assert_eq!(partition.active["engine"], "cgroup_skb");
    let pair = talker.pair(true, (&own, None));
    assert_eq!((pair.to(20).len(), pair.from(20).len()), (0, 0));
    let other = || bind((&own, "127.0.0.1".parse().expect("an address")));
    assert!(Pair::between(other(), other()).is_calm());
    partition.interrupt();
    assert!(pair.is_calm());
}

#[test]
fn a_connection_comes_through_a_loss_whole() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let Some(nodes) = Nodes::lay_or_skip(&guard) else {
        return;
    };
    let listener = nodes
        .wire
        .b
        .run(|| TcpListener::bind((address(true, 2), 0)));
    let listener = listener.expect("a namespace").expect("a socket");
    let port = listener.local_addr().expect("it is bound").port();
    let sockets = format!("3<>/dev/tcp/10.78.0.2/{port}");
    let Some(talker) = Talker::start(&guard, &nodes.wire.a, "t", &sockets) else {
        return;
    };
    let mut inside = TcpStream::from(taken(talker.running.pid(), 3));
    let (mut outside, _) = listener.accept().expect("it has connected");
    outside
        .set_read_timeout(Some(patience()))
        .expect("an own socket");
    let words = [
        "--engine",
        "cgroup_skb",
        "--loss",
        "10%",
        "--direction",
        "both",
    ];
    let words = [&words[..], &["--protocol", "tcp", "--for", "120s"]].concat();
    let loss = Disturbance::inject(&guard, &talker.running.target(), &words);
    let sent: Vec<u8> = (0..200_000_u32)
        .map(|number| number.to_le_bytes()[0])
        .collect();
    let mut came = vec![0; sent.len()];
    thread::scope(|scope| {
        // In small pieces, so that there are packets to lose.
        scope.spawn(|| {
            for piece in sent.chunks(2000) {
                inside.write_all(piece).expect("a loss is no error");
                thread::sleep(Duration::from_millis(1));
            }
        });
        outside.read_exact(&mut came).expect("all of it comes");
    });
    assert!(came == sent, "what comes is what was sent");
    let effect = loss.interrupt();
    for way in ["to", "from"] {
        assert!(packets(&effect, way, "dropped") > 0, "{effect}");
    }
}

#[test]
fn two_multiply_and_end_in_any_order() {
    let Some(stage) = Stage::set_or_skip() else {
        return;
    };
    let pair = stage.pair(false);
    let missed = || SAMPLE as usize - pair.to(SAMPLE).len();
    for first_ends_first in [true, false] {
        let (first, second) = (
            stage.inject(&["--loss", "50%"]),
            stage.inject(&["--loss", "50%"]),
        );
        let both = missed();
        assert_share(both, SAMPLE, 0.75);
        let (ends, stays) = if first_ends_first {
            (first, second)
        } else {
            (second, first)
        };
        let ended = packets(&ends.interrupt(), "to", "dropped");
        let one = missed();
        assert_share(one, SAMPLE, 0.5);
        let stayed = packets(&stays.interrupt(), "to", "dropped");
        assert_eq!(ended + stayed, (both + one) as u64);
        assert!(pair.is_calm());
    }
}

#[test]
fn traffic_is_normal_at_once_when_murphy_is_killed() {
    let Some(stage) = Stage::set_or_skip() else {
        return;
    };
    let pair = stage.pair(true);
    for keeper_too in [false, true] {
        let partition = stage.inject(&["--partition", "--direction", "both"]);
        assert_eq!((pair.to(20).len(), pair.from(20).len()), (0, 0));
        partition.kill(keeper_too);
        let killed = Instant::now();
        assert!(pair.is_calm());
        let after = killed.elapsed();
        assert!(
            after < slack() * 3 * Duration::from_millis(1200),
            "{after:?}"
        );
        if keeper_too {
            assert_eq!(stage.guard.murphy(["recover"]).run().code, 0);
        }
        wait_until("nothing is in the journal", || {
            stage.guard.injections().is_empty()
        });
    }
}

#[test]
fn it_is_paused_recovered_though_its_murphy_is_stopped_and_ends_in_time() {
    let Some(stage) = Stage::set_or_skip() else {
        return;
    };
    let pair = stage.pair(true);
    let partition = stage.inject(&["--partition", "--direction", "both"]);
    let murphy = |words: &[&str]| {
        let ended = stage.guard.murphy(words).run();
        assert_eq!(ended.code, 0, "{ended:?}");
    };
    assert_eq!(pair.to(20).len(), 0);
    murphy(&["pause", &partition.id]);
    assert!(pair.is_calm());
    murphy(&["resume", &partition.id]);
    assert_eq!(pair.from(20).len(), 0);
    partition.signal("STOP");
    murphy(&["recover", &partition.id]);
    assert!(pair.is_calm());
    partition.signal("CONT");
    partition.wait();
    let target = stage.talker.running.target();
    // A slow machine takes some of it to begin.
    let time = Duration::from_secs((4 + 2 * slack()).into());
    let words = format!("--engine cgroup_skb --partition --for {}s", time.as_secs());
    let words: Vec<_> = words.split(' ').collect();
    let partition = Disturbance::inject(&stage.guard, &target, &words);
    let began = Instant::now();
    partition.signal("STOP");
    assert_eq!(pair.to(20).len(), 0);
    thread::sleep((time + Duration::from_millis(100)).saturating_sub(began.elapsed()));
    assert!(pair.is_calm(), "the programs end it by themselves");
    wait_until("the keeper has ended it", || {
        stage.guard.injections().is_empty()
    });
    partition.signal("CONT");
    partition.end();
}

/// A child in a cgroup below is hit with its parent's; so is one that leaves for a cgroup of its own, and what comes over
/// a device that was not there before.
#[test]
fn who_and_what_comes_later_is_hit_as_well() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let Some(nodes) = Nodes::lay_or_skip(&guard) else {
        return;
    };
    let (Some(first), Some(second)) = (
        Cgroup::make(&guard.name("1")),
        Cgroup::make(&guard.name("2")),
    ) else {
        return say_skipped("no cgroups of version 2");
    };
    fs::write(guard.dir().join("child"), second.with_sockets(TO_PEER)).expect("an own file");
    let script = format!(
        "{}; until [ -e go ]; do sleep 0.05; done; sh child & wait",
        first.enter()
    );
    let parent = nodes
        .wire
        .a
        .run(|| guard.victim(&script))
        .expect("a namespace");
    wait_until("it is in its cgroup", || {
        murphy_sys::cgroup::members(&first.directory).contains(&parent.pid())
    });
    let words = ["--engine", "cgroup_skb", "--partition", "--for", "120s"];
    let partition = Disturbance::inject(&guard, &parent.target(), &words);
    fs::write(guard.dir().join("go"), "").expect("an own file");
    wait_until("the child is in its cgroup", || {
        !murphy_sys::cgroup::members(&second.directory).is_empty()
    });
    partition.wait_for_effect("the child's cgroup is hit", |effect| {
        let groups = effect["groups"].to_string();
        groups.contains(second.directory.to_str().expect("a path"))
    });
    let child = murphy_sys::cgroup::members(&second.directory)[0];
    wait_for_sleep(child);
    let outside = bind((&nodes.wire.b, address(true, 2)));
    assert_eq!(Pair::of(child, 3, outside).to(20).len(), 0);
    let script = format!("{}; exec sleep 300", first.enter());
    let stranger = guard.victim(&script);
    partition.wait_for_effect("a stranger there is told of", |effect| {
        let troubles = effect["troubles"].to_string();
        troubles.contains("others have come into the cgroup")
    });
    stranger.signal("KILL");
    stranger.wait();
    assert!(ip(&[
        "-n",
        nodes.name(),
        "link",
        "add",
        "late0",
        "type",
        "veth"
    ]));
    partition.wait_for_effect("the late device is covered", |effect| {
        effect["places"][0]["devices"].to_string().contains("late0")
    });
    partition.interrupt();
    parent.signal("KILL");
    parent.wait();
}

#[test]
fn a_device_that_is_made_again_with_its_number_loses_what_is_sent_again() {
    let Some(stage) = Stage::set_or_skip() else {
        return;
    };
    let nodes = &stage.nodes;
    let [_, to] = nodes.lay_more("77");
    let sockets = "3<>/dev/udp/10.77.9.2/9";
    let Some(talker) = Talker::start(&stage.guard, &nodes.wire.a, "m", sockets) else {
        return;
    };
    let come = || {
        let outside = bind((&nodes.wire.b, to));
        Pair::of(talker.running.pid(), 3, outside).to(5).len()
    };
    wait_until("datagrams come", || come() == 5);
    let words = ["--engine", "cgroup_skb", "--partition", "--for", "120s"];
    let partition = Disturbance::inject(&stage.guard, &talker.running.target(), &words);
    assert_eq!(come(), 0);
    assert_eq!(nodes.lay_again("77", come), 0);
    partition.interrupt();
    wait_until("datagrams come again", || come() == 5);
}

/// Runs a command by Murphy over the loopback, at its own risk.
fn launch(guard: &Guard, words: &[&str], command: &[&str]) -> Ended {
    let words = [
        &["inject", "net", "--json", "--device", "lo"],
        words,
        &["--"],
        command,
    ]
    .concat();
    guard.murphy(words).run()
}

/// A command that sends so many numbered lines to a port of the loopback.
fn sender(port: u16, count: u32) -> String {
    format!(
        "exec 3>/dev/udp/127.0.0.1/{port}; for i in $(seq {count}); do echo $i >&3 || exit 9; done"
    )
}

#[test]
fn a_launched_command_is_hit_from_its_first_packet_and_it_ends_the_fault() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    if let Err(error) = group::trial() {
        return say_skipped(&error.to_string());
    }
    let own = NetNamespace::of_process(std::process::id()).expect("an own namespace");
    let receiver = bind((&own, "127.0.0.1".parse().expect("an address")));
    let port = receiver.local_addr().expect("it is bound").port();
    let script = sender(port, 500);
    let words = ["--loss-every", "3", "--for", "120s"];
    let ended = launch(&guard, &words, &["bash", "-c", &script]);
    assert_eq!(ended.code, 0, "{ended:?}");
    // Nobody sends from here.
    let (_, refused) = numbered(&receiver, &receiver, 0);
    assert_eq!(refused, 0);
    let lines = ended.lines();
    let last = lines.last().expect("an end");
    assert_eq!(last["event"], "recovered", "{last}");
    assert_eq!(last["effect"]["command_ended"], "exit status: 0");
    assert_eq!(
        packets(&last["effect"], "to", "matched"),
        500,
        "from the first one on"
    );
    assert_eq!(packets(&last["effect"], "to", "dropped"), 166);
    let group = last["effect"]["groups"].to_string();
    assert!(group.contains("/mphy-") && is_gone(group.trim_matches(['[', ']', '"']).as_ref()));
    // The command's own exit code is not Murphy's.
    let script = format!("{}; exit 7", sender(port, 3));
    let ended = launch(
        &guard,
        &["--partition", "--for", "120s"],
        &["bash", "-c", &script],
    );
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(
        ended.lines().last().expect("an end")["effect"]["command_ended"],
        "exit status: 7"
    );
}

#[test]
fn a_launched_command_ends_with_its_fault_and_whoever_it_has_left_behind_too() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    if let Err(error) = group::trial() {
        return say_skipped(&error.to_string());
    }
    let own = NetNamespace::of_process(std::process::id()).expect("an own namespace");
    let receiver = bind((&own, "127.0.0.1".parse().expect("an address")));
    let port = receiver.local_addr().expect("it is bound").port();
    // Somebody without parent, tag and session: only the cgroup knows whose it is.
    let script = format!(
        "exec > /dev/null 2>&1; {}; env -i setsid -f sleep 300; sleep 300",
        sender(port, 3)
    );
    let command = ["bash", "-c", &script];
    let span = format!("{}s", 3 * slack());
    let ended = launch(&guard, &["--partition", "--for", &span], &command);
    assert_eq!(ended.code, 0, "{ended:?}");
    let lines = ended.lines();
    let directory = |line: &Value| {
        let group = line["effect"]["groups"][0].as_str();
        group.expect("a cgroup").to_owned()
    };
    assert!(is_gone(directory(&lines[1]).as_ref()), "{lines:?}");
    assert!(lines.last().expect("an end")["effect"]["command_ended"].is_null());
    // Whoever is killed, nothing is left of it.
    for keeper_too in [false, true] {
        let words = [
            "inject",
            "net",
            "--json",
            "--device",
            "lo",
            "--partition",
            "--for",
            "60s",
            "--",
        ];
        let murphy = guard.murphy([&words[..], &command].concat()).start();
        let group = || -> Option<std::path::PathBuf> {
            let tree = Hierarchies::find().ok()?.unified?;
            let ids = guard.injections().into_iter();
            ids.map(|id| tree.join(format!("mphy-{id}")))
                .find(|path| path.is_dir())
        };
        wait_until("the command has its child", || {
            group().is_some_and(|group| murphy_sys::cgroup::members(&group).len() > 1)
        });
        let group = group().expect("it was just there");
        if let Some(keeper) = guard.keeper().filter(|_| keeper_too) {
            harness::signal(keeper, "KILL");
        }
        murphy.signal("KILL");
        murphy.wait();
        if keeper_too {
            assert_eq!(guard.murphy(["recover"]).run().code, 0);
        }
        wait_until("its cgroup is gone", || is_gone(&group));
        wait_until("nothing is in the journal", || {
            guard.injections().is_empty()
        });
    }
}

#[test]
fn what_cannot_be_done_is_refused_before_anything_is_touched() {
    let Some(stage) = Stage::set_or_skip() else {
        return;
    };
    let (guard, own) = (&stage.guard, stage.talker.running.target());
    let with_others = Cgroup::make(&guard.name("shared")).expect("a cgroup");
    let script = format!("{}; sleep 300 & exec sleep 300", with_others.enter());
    let neighbour = stage
        .nodes
        .wire
        .a
        .run(|| guard.victim(&script))
        .expect("a namespace");
    wait_until("both are there", || {
        murphy_sys::cgroup::members(&with_others.directory).len() == 2
    });
    let members = murphy_sys::cgroup::members(&with_others.directory);
    let child = members
        .into_iter()
        .find(|pid| *pid != neighbour.pid())
        .expect("a child");
    let child = format!("pid:{child}");
    let of_the_machine = guard.victim("exec sleep 300");
    let (machine, named) = (of_the_machine.target(), stage.nodes.target());
    let cases: &[(&str, &[&str], &str)] = &[
        (&own, &["--delay", "5ms"], "only loses packets"),
        (&own, &["--rate", "1mbit"], "only loses packets"),
        (&own, &["--corrupt", "1%"], "only loses packets"),
        (&own, &["--duplicate", "1%"], "only loses packets"),
        (&own, &["--partition=reject"], "only loses packets"),
        (
            &own,
            &["--loss", "1%", "--loss-unit", "segment"],
            "only loses packets",
        ),
        (&own, &["--partition", "--arp"], "--arp"),
        (
            &own,
            &["--partition", "--device", "eth9"],
            "there are: lo, eth0",
        ),
        (&named, &["--partition"], "that is a namespace"),
        (&child, &["--partition"], "1 more process is in its cgroup"),
        (&machine, &["--partition"], "systemd-run --scope"),
    ];
    for (target, words, part) in cases {
        let words = [&["inject", "net", "-t", target, "--for", "1s"], *words].concat();
        let forced = guard.murphy(words).args(["--engine", "cgroup_skb"]).run();
        assert_eq!(forced.code, 2, "{forced:?}");
        assert!(forced.stderr.contains(part), "{part}: {forced:?}");
    }
    // Of the machine's own namespace that engine is the only one, unless all of it is meant.
    for (words, part) in [
        (["--delay", "5ms"], "--allow-host"),
        (["--engine", "tcx"], "--allow-host"),
    ] {
        let words = [
            &[
                "inject", "net", "-t", &machine, "--loss", "1%", "--for", "1s",
            ],
            &words[..],
        ];
        let refused = guard.murphy(words.concat()).run();
        assert_eq!(refused.code, 2, "{refused:?}");
        assert!(refused.stderr.contains(part), "{refused:?}");
    }
    for words in [
        ["--delay", "5ms"],
        ["--engine", "cable"],
        ["--partition=reject", "--detach"],
    ] {
        let touched = guard.dir().join("touched");
        let command = format!("touch {}", touched.display());
        let words = [&["--for", "1s"], &words[..]].concat();
        let words = if words.contains(&"cable") {
            [&words[..], &["--loss", "1%"]].concat()
        } else {
            words
        };
        let refused = launch(guard, &words, &["sh", "-c", &command]);
        assert_eq!(refused.code, 2, "{refused:?}");
        assert!(!touched.exists());
    }
    assert!(guard.injections().is_empty());
    assert!(stage.pair(true).is_calm());
    for victim in [neighbour, of_the_machine] {
        victim.signal("KILL");
        victim.wait();
    }
}

#[test]
fn what_is_only_planned_changes_nothing() {
    let Some(stage) = Stage::set_or_skip() else {
        return;
    };
    let target = stage.talker.running.target();
    let words = ["inject", "net", "--partition", "--for", "1s", "--dry-run"];
    let group = format!(
        "egress of cgroup {}",
        stage.talker.cgroup.directory.display()
    );
    let forced = ["--engine", "cgroup_skb", "-t", &target];
    let planned = stage.guard.murphy(words).args(forced).run();
    assert_eq!(planned.code, 0, "{planned:?}");
    // Filters stay until somebody removes them.
    let ends = if traffic::trial().is_ok() {
        "the kernel ends it at once"
    } else {
        "its keeper undoes it"
    };
    for part in [&group, "to eth0 in", "to lo in", ends] {
        assert!(planned.stdout.contains(part), "{part}: {planned:?}");
    }
    let launched = stage.guard.murphy(words).args(["--", "false"]).run();
    assert_eq!(launched.code, 0, "{launched:?}");
    for part in ["make a cgroup", "start false", "its keeper undoes it"] {
        assert!(launched.stdout.contains(part), "{part}: {launched:?}");
    }
    assert!(stage.pair(true).is_calm());
}
