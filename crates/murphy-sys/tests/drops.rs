//! What the kernel drops in a namespace is counted with its reason there, and in no other.

mod pool;

use std::{
    net::UdpSocket,
    time::{Duration, Instant},
};

use murphy_sys::{
    drops::{self, Dropped, Drops, Meaning},
    namespace::NetNamespace,
};
use pool::{is_since, namespace, patience, rule_or_skip, say_skipped};

/// More peers than are told apart.
const TOO_MANY: u32 = 5000;

/// Has packets to a port dropped there; not, where there is no iptables.
fn forbid_or_skip(namespace: &NetNamespace, chain: &str, port: u16) -> Option<()> {
    let rule = format!("-A {chain} -p udp --dport {port} -j DROP");
    rule_or_skip(namespace, "iptables", &rule)
}

fn watch_or_skip() -> Option<Drops> {
    match Drops::watch() {
        Ok(drops) => Some(drops),
        Err(error) => {
            say_skipped(&error);
            None
        }
    }
}

/// Sends so many datagrams to the namespace's own address; those that are forbidden are an error of the sender's.
fn send(namespace: &NetNamespace, port: u16, count: u32) {
    let send = || {
        let socket = UdpSocket::bind("10.79.0.1:0").unwrap();
        for _ in 0..count {
            let _ = socket.send_to(b"?", ("10.79.0.1", port));
        }
    };
    namespace.run(send).unwrap();
}

fn is_forbidden(one: &Dropped) -> bool {
    one.reason.name() == Some("NETFILTER_DROP")
}

/// Takes what was dropped until that is so many packets of a name. Addresses that are new ask for neighbours, too.
fn taken(drops: &mut Drops, name: &str, count: u64) -> Vec<Dropped> {
    let until = Instant::now() + patience();
    let mut all: Vec<Dropped> = Vec::new();
    loop {
        all.extend(drops.take().unwrap());
        let of_it = all.iter().filter(|one| one.reason.name() == Some(name));
        if of_it.map(|one| one.packets).sum::<u64>() >= count {
            return all;
        }
        assert!(Instant::now() < until, "{all:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_packet_that_a_rule_forbids_is_counted_where_it_was_dropped_and_nowhere_else() {
    let Some(mut drops) = watch_or_skip() else {
        return;
    };
    let (watched, other) = (namespace(), namespace());
    let inode = watched.inode().unwrap();
    drops.watch_namespace(inode).unwrap();
    for (chain, port, is_received) in [("INPUT", 1009, true), ("OUTPUT", 1010, false)] {
        for place in [&watched, &other] {
            if forbid_or_skip(place, chain, port).is_none() {
                return;
            }
            send(place, port, 20);
        }
        let mut all = taken(&mut drops, "NETFILTER_DROP", 20);
        all.retain(is_forbidden);
        let [one] = &all[..] else {
            panic!("{all:?}");
        };
        assert_eq!((one.namespace, one.packets), (inode, 20), "{one:?}");
        assert_eq!(one.reason.meaning(), Meaning::Fault);
        assert_eq!(one.peer, Some("10.79.0.1".parse().unwrap()), "{one:?}");
        assert_eq!((one.protocol, one.is_received), (Some(17), is_received));
    }
    drops.forget_namespace(inode).unwrap();
    send(&watched, 1009, 20);
    assert!(!drops.take().unwrap().iter().any(is_forbidden));
    assert_eq!(drops.lost(), 0);
}

#[test]
fn who_is_refused_was_not_kept_from_anybody() {
    let Some(mut drops) = watch_or_skip() else {
        return;
    };
    let watched = namespace();
    drops.watch_namespace(watched.inode().unwrap()).unwrap();
    send(&watched, 1011, 5);
    let all = taken(&mut drops, "NO_SOCKET", 5);
    assert!(
        all.iter().all(|one| one.reason.meaning() != Meaning::Fault),
        "{all:?}"
    );
    let of_it = all
        .iter()
        .find(|one| one.reason.name() == Some("NO_SOCKET"));
    assert_eq!(of_it.map(|one| one.reason.meaning()), Some(Meaning::Nobody));
}

#[test]
fn more_peers_than_are_told_apart_are_counted_together() {
    let Some(mut drops) = watch_or_skip() else {
        return;
    };
    let watched = namespace();
    if forbid_or_skip(&watched, "OUTPUT", 1012).is_none() {
        return;
    }
    drops.watch_namespace(watched.inode().unwrap()).unwrap();
    let send = || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        for peer in 0..TOO_MANY {
            let [_, _, c, d] = peer.to_be_bytes();
            let _ = socket.send_to(b"?", (std::net::Ipv4Addr::new(127, 1, c, d), 1012));
        }
    };
    watched.run(send).unwrap();
    let mut all = drops.take().unwrap();
    all.retain(is_forbidden);
    let packets: u64 = all.iter().map(|one| one.packets).sum();
    assert_eq!((packets, drops.lost()), (u64::from(TOO_MANY), 0));
    let peers = all.iter().filter(|one| one.peer.is_some()).count();
    assert!(
        peers <= drops::COUNTS_MAX && peers > drops::COUNTS_MAX / 2,
        "{peers}"
    );
    assert!(!drops.take().unwrap().iter().any(is_forbidden));
}

#[test]
fn it_can_be_had_since_linux_5_17() {
    match drops::trial() {
        Ok(()) => {}
        Err(error) => assert!(!is_since(5, 17), "{error}"),
    }
}
