//! Pings between real namespaces: who answers is heard, who does not is missing, where no way leads nothing is sent, and at
//! the far end it is heard which requests come.

mod slow;
mod ways;
mod wire;

use std::{
    collections::BTreeMap,
    io::Write,
    net::IpAddr,
    time::{Duration, Instant},
};

use murphy_sys::{
    clock::realtime_ns,
    link::{devices, neighbours},
    namespace::NetNamespace,
    nfqueue,
    ping::{Answer, Ear, Echo, Pinger, Reply, Request, Sent},
    traffic::Way,
};
use slow::Slow;
use ways::alone;
use wire::{Star, Wire, address};

/// How long an answer may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long nothing must come for nothing to be under way.
const QUIET: Duration = Duration::from_millis(300);
const BOTH: [bool; 2] = [true, false];

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

/// Hears so many answers, or as many as come in time.
fn answers(pinger: &mut Pinger, count: usize) -> Vec<Answer> {
    let (mut heard, began) = (Vec::new(), Instant::now());
    while heard.len() < count && began.elapsed() < PATIENCE {
        pinger.wait(QUIET).unwrap();
        heard.extend(pinger.hear());
    }
    heard
}

/// The same of requests that are this pinger's.
fn requests(ear: &mut Ear, pinger: &Pinger, count: usize) -> Vec<Request> {
    let (mut heard, began) = (Vec::new(), Instant::now());
    while heard.len() < count && began.elapsed() < PATIENCE {
        ear.wait(QUIET).unwrap();
        let came = ear.hear().into_iter();
        heard.extend(came.filter(|request| request.identifier == pinger.identifier()));
    }
    heard
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

#[test]
fn each_request_is_heard_at_the_far_end_between_its_sending_and_its_answer() {
    let Some(wire) = wire() else {
        return;
    };
    let mut pinger = Pinger::new(&wire.a, None).unwrap();
    let mut ear = Ear::listen(&wire.b).unwrap();
    for is_v4 in BOTH {
        for _ in 0..20 {
            let sent = pinger.send(address(is_v4, 2)).unwrap();
            let answers = answers(&mut pinger, 1);
            let requests = requests(&mut ear, &pinger, 1);
            let ([answer], [request]) = (&answers[..], &requests[..]) else {
                panic!("{answers:?} {requests:?}");
            };
            assert_eq!((answer.number, request.number), (sent.number, sent.number));
            assert_eq!(answer.kind, Reply::Echo);
            assert_eq!(answer.from, address(is_v4, 2));
            assert_eq!(request.from, address(is_v4, 1));
            assert_eq!(request.to, Some(address(is_v4, 2)));
            let times = [sent.at_ns, request.at_ns, answer.at_ns, answer.heard_ns];
            assert!(times.is_sorted(), "{times:?}");
            assert!((request.at_ns..realtime_ns()).contains(&request.heard_ns));
        }
    }
}

#[test]
fn a_way_back_that_is_broken_is_told_from_a_way_there_that_is() {
    let Some(wire) = wire() else {
        return;
    };
    let mut pinger = Pinger::new(&wire.a, None).unwrap();
    let mut ear = Ear::listen(&wire.b).unwrap();
    ways::block(&wire.b, alone(address(true, 1)));
    ways::block(&wire.b, alone(address(false, 1)));
    let mut sent = Vec::new();
    for _ in 0..5 {
        sent.extend(BOTH.map(|is_v4| pinger.send(address(is_v4, 2)).unwrap().number));
    }
    let requests = requests(&mut ear, &pinger, sent.len());
    let mut numbers: Vec<_> = requests.iter().map(|request| request.number).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, sent);
    assert!(!pinger.wait(QUIET).unwrap());
    assert_eq!(pinger.hear(), []);
}

#[test]
fn each_way_is_timed_by_itself_also_where_packets_wait_behind_the_kernels_stamp() {
    if let Err(missing) = nfqueue::trial() {
        return skipped(&missing.to_string());
    }
    let Some(wire) = wire() else {
        return;
    };
    let mut pinger = Pinger::new(&wire.a, None).unwrap();
    let mut ear = Ear::listen(&wire.b).unwrap();
    let delay = Duration::from_millis(300);
    let delay_ns = u64::try_from(delay.as_nanos()).unwrap();
    // Where it waits, and how late then are: the request, its hearing, the answer, and its hearing.
    let places = [
        (&wire.a, Way::To, [true; 4]),
        (&wire.b, Way::From, [false, true, true, true]),
        (&wire.b, Way::To, [false, false, true, true]),
        (&wire.a, Way::From, [false, false, false, true]),
    ];
    for (namespace, way, expected) in places {
        let slow = Slow::down(namespace, way, delay);
        let sent = pinger.send(address(true, 2)).unwrap();
        let requests = requests(&mut ear, &pinger, 1);
        let answers = answers(&mut pinger, 1);
        drop(slow);
        let ([answer], [request]) = (&answers[..], &requests[..]) else {
            panic!("{answers:?} {requests:?}");
        };
        let times = [
            request.at_ns,
            request.heard_ns,
            answer.at_ns,
            answer.heard_ns,
        ];
        let late = times.map(|at_ns| at_ns - sent.at_ns >= delay_ns);
        assert_eq!(late, expected);
    }
}

#[test]
fn two_pingers_and_an_ear_do_not_wake_for_what_is_not_theirs() {
    let Some(wire) = wire() else {
        return;
    };
    let mut one = Pinger::new(&wire.a, None).unwrap();
    let mut other = Pinger::new(&wire.a, None).unwrap();
    let mut near = Ear::listen(&wire.a).unwrap();
    let mut hosts = [address(true, 9), address(true, 2), address(false, 2)];
    assert_ne!(one.identifier(), other.identifier());
    for host in &hosts[1..] {
        one.send(*host).unwrap();
    }
    assert_eq!(answers(&mut one, 2).len(), 2);
    assert!(!other.wait(QUIET).unwrap());
    assert!(!near.wait(Duration::ZERO).unwrap());
    // What it asks itself it hears at both ends.
    hosts = [1, 1, 1].map(|last| address(true, last));
    for host in hosts {
        one.send(host).unwrap();
    }
    assert_eq!(requests(&mut near, &one, 3).len(), 3);
    assert_eq!(answers(&mut one, 3).len(), 3);
    assert_eq!(other.hear(), []);
}

#[test]
fn one_that_cannot_be_reached_is_no_harm_to_others() {
    let made: Result<Vec<_>, _> = (0..3).map(|_| NetNamespace::create()).collect();
    let Ok(nodes) = made else {
        return skipped("network namespaces");
    };
    let star = Star::lay(nodes);
    let [asking, router, other] = &star.nodes[..] else {
        panic!("three were laid");
    };
    let mut pinger = Pinger::new(asking, None).unwrap();
    let far = |text: &str| text.parse::<IpAddr>().unwrap();
    let hosts = ["10.81.0.1", "fd81::1", "10.82.0.1", "fd82::1"].map(far);
    for host in hosts {
        ways::lead(asking, alone(host), address(host.is_ipv4(), 2));
    }
    // The router knows that the one pair is nowhere; the other is led in a circle.
    for host in &hosts[..2] {
        ways::refuse(router, alone(*host));
    }
    for host in &hosts[2..] {
        ways::lead(router, alone(*host), address(host.is_ipv4(), 3));
        ways::lead(other, alone(*host), address(host.is_ipv4(), 2));
    }
    ways::route(router);
    ways::route(other);
    ways::refuse(asking, alone(far("10.83.0.1")));
    let mut sent = BTreeMap::new();
    for host in hosts
        .into_iter()
        .chain([address(true, 2), address(false, 2)])
    {
        for nowhere in ["192.0.2.1", "2001:db8::1", "10.83.0.1"].map(far) {
            let unsent = pinger.send(nowhere).unwrap_err();
            assert_eq!(unsent.host, nowhere);
            assert!(unsent.to_string().contains("no route"), "{unsent}");
        }
        sent.insert(pinger.send(host).unwrap().number, host);
    }
    let heard: BTreeMap<_, _> = answers(&mut pinger, sent.len())
        .iter()
        .map(|answer| (sent[&answer.number], answer.kind))
        .collect();
    let expected = BTreeMap::from([
        (hosts[0], Reply::Unreachable { code: 1 }),
        (hosts[1], Reply::Unreachable { code: 0 }),
        (hosts[2], Reply::TimeExceeded),
        (hosts[3], Reply::TimeExceeded),
        (address(true, 2), Reply::Echo),
        (address(false, 2), Reply::Echo),
    ]);
    assert_eq!(heard, expected);
}

#[test]
fn many_hosts_are_asked_at_once_though_some_of_them_are_not_there() {
    let Some(wire) = wire() else {
        return;
    };
    let mut pinger = Pinger::new(&wire.a, None).unwrap();
    let networks: [(IpAddr, u8); 2] = [
        ("10.84.0.0".parse().unwrap(), 24),
        ("fd84::".parse().unwrap(), 64),
    ];
    for (network, length) in networks {
        ways::lead(&wire.a, (network, length), address(network.is_ipv4(), 2));
        ways::own(&wire.b, (network, length));
    }
    let mut hosts: Vec<IpAddr> = Vec::new();
    for last in 1..=100 {
        hosts.extend([
            IpAddr::from([10, 84, 0, last]),
            IpAddr::from([0xfd84, 0, 0, 0, 0, 0, 0, u16::from(last)]),
        ]);
    }
    // Requests to those wait for their neighbours, hundreds of them.
    let gone = (100..150).map(|last| address(true, last));
    for host in gone.cycle().take(1000) {
        pinger.send(host).unwrap();
    }
    let sent: Vec<(Sent, IpAddr)> = hosts
        .iter()
        .map(|host| (pinger.send(*host).unwrap(), *host))
        .collect();
    let heard: BTreeMap<_, _> = answers(&mut pinger, sent.len())
        .iter()
        .filter(|answer| answer.kind == Reply::Echo)
        .map(|answer| (answer.number, answer.from))
        .collect();
    let expected = sent.iter().map(|(sent, host)| (sent.number, *host));
    assert_eq!(heard, expected.collect());
}

#[test]
fn who_does_not_answer_his_neighbours_is_said_to_be_out_of_reach() {
    let Some(wire) = wire() else {
        return;
    };
    let mut pinger = Pinger::new(&wire.a, None).unwrap();
    let sent = BOTH.map(|is_v4| pinger.send(address(is_v4, 9)).unwrap().number);
    let heard: BTreeMap<_, _> = answers(&mut pinger, 2)
        .iter()
        .map(|answer| (answer.number, (answer.from, answer.kind)))
        .collect();
    let said = |is_v4, code| (address(is_v4, 1), Reply::Unreachable { code });
    let expected = BTreeMap::from([(sent[0], said(true, 1)), (sent[1], said(false, 3))]);
    assert_eq!(heard, expected);
}
