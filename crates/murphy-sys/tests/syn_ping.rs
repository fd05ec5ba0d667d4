//! SYN pings between real namespaces: ports are open, closed or silent, and whoever listens there is never given a connection.

mod slow;
mod ways;
mod wire;

use std::{
    collections::BTreeMap,
    fs,
    io::{ErrorKind, Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    time::{Duration, Instant},
};

use murphy_sys::{
    clock::realtime_ns,
    namespace::NetNamespace,
    nfqueue,
    syn_ping::{SynAnswer, SynPinger, SynReply},
    traffic::Way,
};
use slow::Slow;
use ways::alone;
use wire::{Wire, address};

/// How long an answer may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long nothing must come for nothing to be under way.
const QUIET: Duration = Duration::from_millis(300);
const BOTH: [bool; 2] = [true, false];
/// What a way takes that is slow.
const DELAY: Duration = Duration::from_millis(200);
/// Where nobody listens.
const CLOSED: u16 = 9;

fn wire() -> Option<Wire> {
    let (Ok(a), Ok(b)) = (NetNamespace::create(), NetNamespace::create()) else {
        skipped("network namespaces");
        return None;
    };
    Some(Wire::lay(a, b))
}

fn skipped(what: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: {what}");
}

/// Somebody who listens at both families, and accepts nothing.
fn listen(namespace: &NetNamespace) -> TcpListener {
    let bound = namespace.run(|| TcpListener::bind("[::]:0"));
    let listener = bound.unwrap().unwrap();
    listener.set_nonblocking(true).unwrap();
    listener
}

fn port(listener: &TcpListener) -> u16 {
    listener.local_addr().unwrap().port()
}

/// Hears so many answers, or as many as come in time.
fn answers(pinger: &mut SynPinger, count: usize) -> Vec<SynAnswer> {
    let (mut heard, began) = (Vec::new(), Instant::now());
    while heard.len() < count && began.elapsed() < PATIENCE {
        pinger.wait(QUIET).unwrap();
        heard.extend(pinger.hear());
    }
    heard
}

/// Expects that nobody is given a connection, and that none is half open.
fn expect_no_connection(namespace: &NetNamespace, listener: &TcpListener) {
    std::thread::sleep(QUIET);
    let refused = listener.accept().unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::WouldBlock);
    let tables = namespace.run(|| {
        ["tcp", "tcp6"].map(|name| fs::read_to_string(format!("/proc/thread-self/net/{name}")))
    });
    for table in tables.unwrap() {
        // But for the title, in the fourth column there is nothing but 0A, which listens.
        for line in table.unwrap().lines().skip(1) {
            assert_eq!(line.split_whitespace().nth(3), Some("0A"), "{line}");
        }
    }
}

#[test]
fn a_port_is_open_or_closed_and_nobody_is_given_a_connection() {
    let Some(wire) = wire() else {
        return;
    };
    let mut pinger = SynPinger::new(&wire.a).unwrap();
    let listener = listen(&wire.b);
    let expected = [
        (port(&listener), SynReply::Open),
        (CLOSED, SynReply::Closed),
    ];
    for is_v4 in BOTH {
        for (port, kind) in expected.into_iter().cycle().take(20) {
            let to = SocketAddr::new(address(is_v4, 2), port);
            let sent = pinger.send(to).unwrap();
            let answers = answers(&mut pinger, 1);
            let [answer] = &answers[..] else {
                panic!("{answers:?}");
            };
            assert_eq!(
                (answer.number, answer.from, answer.kind),
                (sent.number, to, kind)
            );
            let times = [sent.at_ns, answer.at_ns, realtime_ns()];
            assert!(times.is_sorted(), "{times:?}");
        }
    }
    expect_no_connection(&wire.b, &listener);
    assert_eq!(pinger.hear(), []);
}

#[test]
fn a_namespace_can_ask_itself() {
    let Some(wire) = wire() else {
        return;
    };
    let mut pinger = SynPinger::new(&wire.a).unwrap();
    let listener = listen(&wire.a);
    for host in ["127.0.0.1", "::1", "10.78.0.1", "fd78::1"] {
        let host: IpAddr = host.parse().unwrap();
        let open = SocketAddr::new(host, port(&listener));
        pinger.send(open).unwrap();
        pinger.send(SocketAddr::new(host, CLOSED)).unwrap();
        let answers = answers(&mut pinger, 2);
        let kinds: Vec<_> = answers.iter().map(|answer| answer.kind).collect();
        assert_eq!(kinds, [SynReply::Open, SynReply::Closed]);
    }
    expect_no_connection(&wire.a, &listener);
}

#[test]
fn one_that_is_silent_or_out_of_reach_is_no_harm_to_others() {
    let Some(wire) = wire() else {
        return;
    };
    let mut pinger = SynPinger::new(&wire.a).unwrap();
    let listener = listen(&wire.b);
    let at = |is_v4| SocketAddr::new(address(is_v4, 2), port(&listener));
    // What comes by IPv4 is answered by nothing that arrives.
    ways::block(&wire.b, alone(address(true, 1)));
    for host in ["192.0.2.1", "2001:db8::1"] {
        let nowhere: IpAddr = host.parse().unwrap();
        let unsent = pinger.send(SocketAddr::new(nowhere, 80)).unwrap_err();
        assert_eq!(unsent.host, nowhere);
        assert!(unsent.to_string().contains("no route"), "{unsent}");
    }
    let silent = pinger.send(at(true)).unwrap();
    let gone = SocketAddr::new(address(true, 9), 80);
    pinger.send(gone).unwrap();
    let open = pinger.send(at(false)).unwrap();
    assert_ne!(silent.number, open.number);
    let answers = answers(&mut pinger, 1);
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0].number, open.number);
    assert!(!pinger.wait(QUIET).unwrap());
}

#[test]
fn many_ports_of_many_hosts_are_asked_at_once() {
    let Some(wire) = wire() else {
        return;
    };
    let networks: [(IpAddr, u8); 2] = [
        ("10.84.0.0".parse().unwrap(), 24),
        ("fd84::".parse().unwrap(), 64),
    ];
    for (network, length) in networks {
        ways::lead(&wire.a, (network, length), address(network.is_ipv4(), 2));
        ways::own(&wire.b, (network, length));
    }
    let listeners = [(); 3].map(|()| listen(&wire.b));
    let mut pinger = SynPinger::new(&wire.a).unwrap();
    let mut expected = BTreeMap::new();
    for last in 1..=30 {
        let hosts = [
            IpAddr::from([10, 84, 0, last]),
            IpAddr::from([0xfd84, 0, 0, 0, 0, 0, 0, u16::from(last)]),
        ];
        let open = listeners.iter().map(|at| (port(at), SynReply::Open));
        for (port, kind) in open.chain([(CLOSED, SynReply::Closed)]) {
            for host in hosts {
                let to = SocketAddr::new(host, port);
                let sent = pinger.send(to).unwrap();
                expected.insert(sent.number, (to, kind));
            }
        }
    }
    let heard: BTreeMap<_, _> = answers(&mut pinger, expected.len())
        .iter()
        .map(|answer| (answer.number, (answer.from, answer.kind)))
        .collect();
    assert_eq!(heard.len(), 240);
    assert_eq!(heard, expected);
    for listener in &listeners {
        expect_no_connection(&wire.b, listener);
    }
}

#[test]
fn pings_to_one_port_do_not_meet_those_before_while_they_are_under_way() {
    if let Err(missing) = nfqueue::trial() {
        return skipped(&missing.to_string());
    }
    let Some(wire) = wire() else {
        return;
    };
    let listener = listen(&wire.b);
    let mut pinger = SynPinger::new(&wire.a).unwrap();
    let slow = Slow::down(&wire.a, Way::To, DELAY);
    for is_v4 in BOTH {
        let to = SocketAddr::new(address(is_v4, 2), port(&listener));
        let sent: BTreeMap<_, _> = (0..32)
            .map(|_| pinger.send(to).unwrap())
            .map(|sent| (sent.number, sent.at_ns))
            .collect();
        let answers = answers(&mut pinger, sent.len());
        assert_eq!(answers.len(), sent.len());
        for answer in answers {
            assert_eq!((answer.from, answer.kind), (to, SynReply::Open));
            let took_ns = answer.at_ns - sent[&answer.number];
            assert!(Duration::from_nanos(took_ns) >= DELAY, "{took_ns}");
        }
    }
    // Until the last reset has come there.
    std::thread::sleep(2 * DELAY);
    expect_no_connection(&wire.b, &listener);
    drop(slow);
}

#[test]
fn other_connections_of_the_namespace_wake_nobody() {
    let Some(wire) = wire() else {
        return;
    };
    let mut pinger = SynPinger::new(&wire.a).unwrap();
    let mut other = SynPinger::new(&wire.a).unwrap();
    let listener = listen(&wire.b);
    listener.set_nonblocking(false).unwrap();
    let at = |port| SocketAddr::new(address(true, 2), port);
    let connect = |to| wire.a.run(|| TcpStream::connect(to)).unwrap();
    let mut stream = connect(at(port(&listener))).unwrap();
    let (mut accepted, _) = listener.accept().unwrap();
    stream.write_all(&[1; 1000]).unwrap();
    accepted.read_exact(&mut [0; 1000]).unwrap();
    accepted.write_all(&[1; 1000]).unwrap();
    stream.read_exact(&mut [0; 1000]).unwrap();
    assert!(connect(at(CLOSED)).is_err());
    other.send(at(CLOSED)).unwrap();
    assert_eq!(answers(&mut other, 1).len(), 1);
    assert!(!pinger.wait(QUIET).unwrap());
    assert_eq!(pinger.hear(), []);
}
