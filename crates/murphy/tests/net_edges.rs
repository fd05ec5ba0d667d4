//! What a careful user asks of disturbed packets that is at the edge: the shortest times, one's own address, devices of
//! another kind.

#[path = "../../murphy-sys/tests/wire/mod.rs"]
mod wire;

mod harness;
mod network;
mod victims;

use std::{
    fs,
    net::UdpSocket,
    path::{Path, PathBuf},
};

use harness::{Guard, say_skipped, wait_until};
use murphy_fault::net::Engine;
use network::{Disturbance, Nodes, ip};
use serde_json::json;
use wire::{address, assert_share, datagrams};

fn stage() -> Option<(Guard, Nodes)> {
    let guard = Guard::root_or_skip()?;
    let nodes = Nodes::lay_or_skip(&guard)?;
    Some((guard, nodes))
}

#[test]
fn a_time_that_is_over_before_the_rehearsal_is_not_held_against_the_engine() {
    let Some((guard, nodes)) = stage() else {
        return;
    };
    let words = ["inject", "net", "--partition", "--for", "1ms", "-t"];
    let ended = guard.murphy(words).arg(nodes.target()).run();
    assert!(!ended.stderr.contains("rehearse"), "{ended:?}");
    assert_eq!(ended.code, 3, "it has met no packet: {ended:?}");
    assert!(nodes.is_calm());
}

/// The files of a named namespace, which go with the test.
struct Files(PathBuf);

impl Files {
    fn write(name: &str, file: &str, text: &str) -> Self {
        let directory = Path::new("/etc/netns").join(name);
        fs::create_dir_all(&directory).expect("root may");
        fs::write(directory.join(file), text).expect("root may");
        Self(directory)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
        // Others may have theirs there.
        let _ = fs::remove_dir(self.0.parent().expect("it is below /etc"));
    }
}

#[test]
fn a_host_has_the_addresses_that_the_files_of_a_named_namespace_give_it() {
    let Some((guard, nodes)) = stage() else {
        return;
    };
    let peer = address(true, 2);
    let _files = Files::write(nodes.name(), "hosts", &format!("{peer} db.murphy.test\n"));
    let words = ["--partition", "--peer", "db.murphy.test", "--for", "60s"];
    let partition = Disturbance::inject(&guard, &nodes.target(), &words);
    assert_eq!(
        partition.active["effect"]["peers"],
        json!([format!("{peer}/32")])
    );
    assert_eq!(nodes.come(20), 20, "those of the other family");
    partition.interrupt();
}

#[test]
fn no_time_at_all_is_refused() {
    let Some((guard, nodes)) = stage() else {
        return;
    };
    for fault in [["net", "--partition"], ["time", "--offset=+1h"]] {
        let words = ["inject", fault[0], fault[1], "--for", "0s", "-t"];
        let ended = guard.murphy(words).arg(nodes.target()).run();
        assert_eq!(ended.code, 2, "{ended:?}");
        assert!(
            ended.stderr.contains("--for 0s would do nothing"),
            "{ended:?}"
        );
    }
}

#[test]
fn nodes_that_are_cut_off_from_all_nodes_may_be_among_these() {
    let Some((guard, nodes)) = stage() else {
        return;
    };
    let [one, other] = [nodes.target(), nodes.peer()];
    let words = [
        "--partition",
        "--for",
        "60s",
        "--peer",
        &one,
        "--peer",
        &other,
    ];
    let partition = Disturbance::inject(&guard, &one, &words);
    let met = &partition.active["effect"]["rehearsal"];
    assert_eq!(met["host"], "10.78.0.2", "{met}");
    assert_eq!(nodes.come(10), 0);
    partition.interrupt();
}

#[test]
fn a_dry_run_refuses_what_would_be_refused() {
    let Some((guard, nodes)) = stage() else {
        return;
    };
    let words = [
        "inject", "net", "--delay", "1ms", "--device", "lo", "--for", "1s", "-t",
    ];
    for dry in [&[][..], &["--dry-run"]] {
        let ended = guard.murphy(words).arg(nodes.target()).args(dry).run();
        assert_eq!(ended.code, 2, "{ended:?}");
        assert!(
            ended.stderr.contains("is for Ethernet devices"),
            "{ended:?}"
        );
    }
}

#[test]
fn a_device_that_is_made_again_with_its_number_is_hit_again() {
    let Some((guard, nodes)) = stage() else {
        return;
    };
    for engine in ["tcx", "cable", "cls_bpf"] {
        if let Err(error) = engine.parse::<Engine>().expect("an engine").trial() {
            say_skipped(&error.to_string());
            continue;
        }
        let [from, to] = nodes.lay_more("77");
        let come = || datagrams((&nodes.wire.a, from), (&nodes.wire.b, to), 5).len();
        wait_until("datagrams come", || come() == 5);
        let words = ["--partition", "--protocol", "udp", "--for", "120s"];
        let words = [&words[..], &["--engine", engine]].concat();
        let partition = Disturbance::inject(&guard, &nodes.target(), &words);
        assert_eq!(come(), 0);
        assert_eq!(nodes.lay_again("77", come), 0, "{engine}");
        let effect = partition.interrupt();
        assert!(effect["to"]["matched"]["packets"].as_u64() >= Some(10));
        wait_until("datagrams come again", || come() == 5);
        assert!(ip(&["-n", nodes.name(), "link", "del", "more0"]));
    }
}

#[test]
fn a_device_that_cannot_be_held_keeps_no_other_from_being_held() {
    let Some((guard, nodes)) = stage() else {
        return;
    };
    let words = ["--delay", "1ms", "--for", "120s"];
    let delay = Disturbance::inject(&guard, &nodes.target(), &words);
    let tun = ["tuntap", "add", "dev", "tun0", "mode", "tun"];
    assert!(
        ip(&[&["-n", nodes.name()][..], &tun].concat()),
        "a tun device"
    );
    nodes.lay_more("777");
    let effect = delay.wait_for_effect("both are tried", |effect| {
        let devices = effect["places"][0]["devices"].as_array();
        devices.is_some_and(|devices| devices.len() == 2) && effect["troubles"].is_array()
    });
    assert!(
        effect["troubles"].to_string().contains("device tun0"),
        "{effect}"
    );
    assert_eq!(nodes.come(5), 10);
    delay.interrupt();
}

#[test]
fn an_address_that_looks_like_the_type_of_a_frame_is_told_too() {
    let Some((guard, nodes)) = stage() else {
        return;
    };
    let node = nodes.name();
    // The first half of the sender's address is where a frame of Ethernet has its type: 8.0 is that of IPv4.
    for words in [
        &["tuntap", "add", "dev", "tun0", "mode", "tun"][..],
        &["link", "set", "tun0", "up"],
        &["addr", "add", "8.0.1.2", "peer", "192.0.2.5", "dev", "tun0"],
    ] {
        assert!(ip(&[&["-n", node], words].concat()), "{words:?}");
    }
    let words = ["--partition=reject", "--device", "tun0", "--for", "120s"];
    let partition = Disturbance::inject(&guard, &nodes.target(), &words);
    let socket = nodes.wire.a.run(|| UdpSocket::bind("8.0.1.2:0"));
    let socket = socket.expect("its namespace").expect("a socket");
    socket.connect("192.0.2.5:9").expect("a route");
    wait_until("the sender is told", || {
        let told = socket.send(&[1]);
        told.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
    });
    partition.interrupt();
}

#[test]
fn a_rehearsal_takes_nothing_from_the_time_of_the_fault() {
    let Some((guard, nodes)) = stage() else {
        return;
    };
    // A ping takes as long as the fault is to last.
    let words = ["--delay", "900ms", "--for", "900ms"];
    let delay = Disturbance::inject(&guard, &nodes.target(), &words);
    let met = &delay.active["effect"]["rehearsal"]["with_ms"];
    assert!(met.as_f64() >= Some(899.0), "{met}");
    nodes.come(5);
    let effect = delay.wait();
    assert!(
        effect["to"]["matched"]["packets"].as_u64() >= Some(10),
        "{effect}"
    );
}

#[test]
fn a_packet_that_passes_two_devices_is_hit_once() {
    let Some((guard, nodes)) = stage() else {
        return;
    };
    // What passes a bridge passes its port.
    let inside = |words: &[&str]| {
        let words = [&["-n", nodes.name()], words].concat();
        assert!(ip(&words), "{words:?}");
    };
    inside(&["link", "add", "br0", "type", "bridge"]);
    inside(&["addr", "flush", "dev", "eth0"]);
    inside(&["addr", "add", "10.78.0.1/24", "dev", "br0"]);
    inside(&["addr", "add", "fd78::1/64", "dev", "br0", "nodad"]);
    inside(&["link", "set", "eth0", "master", "br0"]);
    inside(&["link", "set", "br0", "up"]);
    wait_until("the bridge forwards", || nodes.come(5) == 10);
    let words = ["--loss", "50%", "--protocol", "udp", "--for", "60s"];
    let loss = Disturbance::inject(&guard, &nodes.target(), &words);
    let devices = &loss.active["effect"]["places"][0]["devices"];
    assert_eq!(devices.to_string(), r#"["eth0"]"#);
    assert_share(nodes.come(1000), 2000, 0.5);
    loss.interrupt();
}

#[test]
fn what_the_loopback_would_not_bring_back_is_refused() {
    let Some((guard, nodes)) = stage() else {
        return;
    };
    let target = nodes.target();
    for fault in [
        &["--partition=reject"][..],
        &["--duplicate", "5%", "--direction", "from"],
    ] {
        let words = ["inject", "net", "--device", "lo", "--for", "1s", "-t"];
        let words = [&words[..], &[&target], fault].concat();
        let ended = guard.murphy(&words).run();
        assert_eq!(ended.code, 2, "{ended:?}");
        assert!(ended.stderr.contains("at device lo"), "{ended:?}");
    }
}
