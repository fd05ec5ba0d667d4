use std::{
    io::{self, Write},
    net::UdpSocket,
    time::{Duration, Instant},
};

use super::*;
use crate::link::{Prefixed, add_bridge};

fn stage() -> Option<NetNamespace> {
    if let Err(error) = trial() {
        // Past the capture of the test runner, so that it is counted.
        let _ = writeln!(io::stderr(), "skipped: {error}");
        return None;
    }
    let namespace = NetNamespace::create().expect("the trial made one");
    let address = Prefixed {
        address: [10, 78, 0, 1].into(),
        length: 24,
    };
    add_bridge(&namespace, "br0", address).expect("a namespace of our own");
    Some(namespace)
}

/// Two sockets of one namespace that talk over its loopback.
fn talk(namespace: &NetNamespace, address: &str) -> (UdpSocket, UdpSocket) {
    let bind = || namespace.run(|| UdpSocket::bind((address, 0)));
    let [from, to] = [bind(), bind()].map(|socket| socket.unwrap().unwrap());
    from.connect(to.local_addr().unwrap()).unwrap();
    to.set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    (from, to)
}

fn comes(to: &UdpSocket) -> bool {
    to.recv(&mut [0; 2000]).is_ok()
}

/// The next packet's id, length and last byte of what is read; there must be one within ten seconds.
fn wait(queue: &mut Queue) -> (u32, u64, Vec<u8>) {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(packet) = queue.take().unwrap() {
            return (packet.id, packet.bytes, packet.start.to_vec());
        }
        assert!(Instant::now() < until, "no packet came");
    }
}

fn rule(way: Way, queue: &Queue) -> Rule {
    Rule {
        way,
        device: 1,
        queue: queue.number(),
    }
}

#[test]
fn a_packet_waits_for_its_verdict_in_both_families_and_ways() {
    let Some(namespace) = stage() else {
        return;
    };
    for way in Way::ALL {
        for (address, header) in [("127.0.0.1", 20), ("::1", 40)] {
            let mut queue = Queue::open(&namespace, Frames::Large).unwrap();
            let table = Table::make(&namespace, "mphy-test0", &[rule(way, &queue)]).unwrap();
            let (from, to) = talk(&namespace, address);
            for passes in [true, false] {
                from.send(&[7; 1000]).unwrap();
                let (id, bytes, start) = wait(&mut queue);
                assert_eq!(bytes, header + 8 + 1000);
                assert_eq!(start.len(), START_BYTES as usize);
                assert_eq!(
                    (start[0] >> 4, start[255]),
                    (if header == 20 { 4 } else { 6 }, 7)
                );
                queue.say(id, passes).unwrap();
                queue.tell().unwrap();
                assert_eq!(comes(&to), passes, "{way:?} {address}");
            }
            assert!(queue.take().unwrap().is_none());
            assert_eq!(queue.missed(), 0);
            assert!(table.remove().unwrap());
            assert!(!table.remove().unwrap());
            from.send(&[1]).unwrap();
            assert!(comes(&to));
        }
    }
}

#[test]
fn what_waits_is_let_go_on_after_the_rules_have_gone_and_without_a_reader_all_passes() {
    let Some(namespace) = stage() else {
        return;
    };
    let mut queue = Queue::open(&namespace, Frames::Large).unwrap();
    let table = Table::make(&namespace, "mphy-test0", &[rule(Way::From, &queue)]).unwrap();
    let (from, to) = talk(&namespace, "127.0.0.1");
    from.send(b"waits").unwrap();
    let (id, ..) = wait(&mut queue);
    table.clear().unwrap();
    from.send(b"passes").unwrap();
    assert!(comes(&to) && !comes(&to));
    queue.say(id, true).unwrap();
    queue.tell().unwrap();
    assert!(comes(&to));
    assert!(table.remove().unwrap());
    table.clear().unwrap();
    let _table = Table::make(&namespace, "mphy-test0", &[rule(Way::From, &queue)]).unwrap();
    drop(queue);
    from.send(b"nobody reads").unwrap();
    assert!(comes(&to));
}

#[test]
fn queues_have_numbers_of_their_own_and_tables_an_order() {
    let Some(namespace) = stage() else {
        return;
    };
    let mut queues = [(); 2].map(|()| Queue::open(&namespace, Frames::Large).unwrap());
    assert_ne!(queues[0].number(), queues[1].number());
    let elsewhere = NetNamespace::create().unwrap();
    let other = Queue::open(&elsewhere, Frames::Wire).unwrap();
    assert_eq!(other.number(), queues[0].number(), "another namespace");
    let rules = [0, 1].map(|at| [rule(Way::From, &queues[at])]);
    let make = |name, at: usize| Table::make(&namespace, name, &rules[at]);
    let first = make("mphy-test0", 0).unwrap();
    let twice = make("mphy-test0", 0).unwrap_err();
    assert!(twice.to_string().contains("mphy-test0"), "{twice}");
    let (from, to) = talk(&namespace, "127.0.0.1");
    from.send(b"one").unwrap();
    let (id, ..) = wait(&mut queues[0]);
    // One that comes while a packet waits comes behind it, and sees that packet once.
    let second = make("mphy-test1", 1).unwrap();
    let pass = |queue: &mut Queue, id| {
        queue.say(id, true).unwrap();
        queue.tell().unwrap();
    };
    pass(&mut queues[0], id);
    let (id, ..) = wait(&mut queues[1]);
    pass(&mut queues[1], id);
    assert!(comes(&to));
    assert!(queues[0].take().unwrap().is_none());
    // The kernel drops what waits anywhere here when a chain goes; that is noticed.
    from.send(b"two").unwrap();
    let (id, ..) = wait(&mut queues[0]);
    assert!(second.remove().unwrap());
    pass(&mut queues[0], id);
    assert!(queues[0].take().unwrap().is_none());
    assert!(!comes(&to));
    assert_eq!(queues[0].missed(), 1);
    assert!(first.remove().unwrap());
}

#[test]
fn what_is_no_packet_is_none() {
    for length in 0..40 {
        let bytes = vec![5; length];
        let _ = crate::netlink::messages(&bytes).count();
        assert!(nfnetlink::attributes(&bytes).len() <= length);
    }
}
