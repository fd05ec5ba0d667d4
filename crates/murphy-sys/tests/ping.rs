//! Pings between real namespaces: who answers is heard, who does not is missing, and where no way leads nothing is sent.

mod wire;

use std::{net::IpAddr, time::Duration};

use murphy_sys::{
    link::{devices, neighbours},
    namespace::NetNamespace,
    ping::{Echo, Pinger},
};
use wire::{Wire, address};

/// How long an answer may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(5);

fn wire() -> Option<Wire> {
    let (Ok(a), Ok(b)) = (NetNamespace::create(), NetNamespace::create()) else {
        use std::io::Write;
        let _ = std::io::stderr().write_all(b"skipped: network namespaces\n");
        return None;
    };
    Some(Wire::lay(a, b))
}

#[test]
fn who_is_there_answers_by_both_families() {
    let Some(wire) = wire() else {
        return;
    };
    let mut pinger = Pinger::new(&wire.a, Some("eth0")).unwrap();
    let hosts = [address(true, 2), address(false, 2)];
    for _ in 0..3 {
        let echoes = pinger.ask(&hosts, PATIENCE).unwrap();
        for echo in &echoes {
            assert!(matches!(echo, Echo::Came(_)), "{echoes:?}");
        }
    }
}

#[test]
fn who_is_not_there_is_missing_and_where_no_way_leads_nothing_is_sent() {
    let Some(wire) = wire() else {
        return;
    };
    let mut pinger = Pinger::new(&wire.a, None).unwrap();
    let nowhere: IpAddr = "192.0.2.1".parse().unwrap();
    let hosts = [address(true, 9), nowhere, address(true, 2)];
    let echoes = pinger.ask(&hosts, Duration::from_millis(200)).unwrap();
    assert_eq!(echoes[..2], [Echo::Missing, Echo::Unsent]);
    assert!(matches!(echoes[2], Echo::Came(_)), "{echoes:?}");
}

#[test]
fn those_that_were_heard_are_neighbours_and_those_that_are_gone_are_not() {
    let Some(wire) = wire() else {
        return;
    };
    let all = devices(&wire.a).unwrap();
    let eth0 = all.iter().find(|device| device.name == "eth0").unwrap();
    let mut pinger = Pinger::new(&wire.a, None).unwrap();
    pinger
        .ask(&[address(true, 9)], Duration::from_millis(50))
        .unwrap();
    let found = neighbours(&wire.a, eth0.index).unwrap();
    assert!(found.contains(&address(true, 2)), "{found:?}");
    assert!(found.contains(&address(false, 2)), "{found:?}");
    assert!(!found.contains(&address(true, 9)), "{found:?}");
    assert!(neighbours(&wire.a, 1).unwrap().is_empty());
}
