//! Disturbed traffic between two namespaces: numbered datagrams say what the receiver missed, and the counters must say
//! the same.

mod wire;

use std::{
    collections::BTreeSet,
    io::{ErrorKind, Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    ops::{Deref, DerefMut},
    time::Duration,
};

use murphy_sys::{
    clock::boottime_ns,
    namespace::NetNamespace,
    traffic::{
        ALWAYS, Attachment, Chain, Detached, Fate, Filters, Match, Order, Passage, Role, Traffic,
        TrafficError, Treatment, Way, detach, trial, trial_by_filters,
    },
};
use wire::{Wire, address, assert_share};

/// How many datagrams are sent for a statistical effect.
const SAMPLE: u32 = 4000;

/// A wire, or the reason why packets cannot be disturbed here.
fn lay() -> Option<Wire> {
    if let Err(error) = trial().or_else(|_| trial_by_filters()) {
        skipped(&error);
        return None;
    }
    let make = || NetNamespace::create().unwrap();
    Some(Wire::lay(make(), make()))
}

/// The same where programs are held by links.
fn lay_with_links() -> Option<Wire> {
    if let Err(error) = trial() {
        skipped(&error);
        return None;
    }
    lay()
}

fn skipped(why: &TrafficError) {
    use std::io::Write;
    // Past the capture of the test runner, so that it is counted.
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}

/// Programs in force, by links where the kernel has tcx, by filters elsewhere; they go with it.
struct InForce {
    traffic: Traffic,
    filters: Option<Filters>,
}

impl Deref for InForce {
    type Target = Traffic;

    fn deref(&self) -> &Traffic {
        &self.traffic
    }
}

impl DerefMut for InForce {
    fn deref_mut(&mut self) -> &mut Traffic {
        &mut self.traffic
    }
}

impl Drop for InForce {
    fn drop(&mut self) {
        if let Some(filters) = &self.filters {
            filters.remove().unwrap();
        }
    }
}

/// Disturbs what node 1 sends and is sent.
fn traffic(wire: &Wire, order: Order) -> InForce {
    traffic_at(&wire.a, order)
}

fn traffic_at(namespace: &NetNamespace, order: Order) -> InForce {
    let name = format!("mphy-{:06x}", order.id);
    let mut traffic = Traffic::load(order).unwrap();
    let device = murphy_sys::link::index(namespace, "eth0").unwrap();
    let filters = trial().is_err().then(|| {
        let filters = Filters::choose(namespace, device, &Way::ALL, &name, Role::Looks);
        filters.unwrap()
    });
    let by = filters
        .as_ref()
        .map_or(Attachment::Links, Attachment::Filters);
    for way in Way::ALL {
        traffic.attach(namespace, device, way, by).unwrap();
    }
    InForce { traffic, filters }
}

fn order(id: u32) -> Order {
    Order {
        id,
        until_ns: None,
        seed: 7,
        active: true,
        matched: Match {
            protocol: Some((17, 17)),
            ..Match::default()
        },
        to: Treatment::default(),
        from: Treatment::default(),
    }
}

fn threshold(share: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let threshold = (share * ALWAYS as f64) as u64;
    threshold
}

/// Each for itself.
fn chance(share: f64) -> Chain {
    Chain {
        enter: threshold(share),
        leave: ALWAYS - threshold(share),
        hit_inside: ALWAYS,
        hit_outside: 0,
    }
}

fn loses(share: f64) -> Order {
    let mut order = order(1);
    order.to.loss = chance(share);
    order
}

#[test]
fn what_comes_twice_is_counted_and_comes_no_third_time() {
    let Some(wire) = lay() else { return };
    let mut order = order(4);
    order.to.duplicate = chance(0.1);
    let first = traffic(&wire, order.clone());
    order.id = 5;
    let second = traffic(&wire, order);
    let came = wire.send(true, SAMPLE);
    let duplicated = |traffic: &InForce| {
        let fates = traffic.fates(Way::To).unwrap();
        (
            fates[Fate::Duplicated].packets,
            fates[Fate::Matched].packets,
        )
    };
    let ((first_more, first_saw), (second_more, second_saw)) =
        (duplicated(&first), duplicated(&second));
    // The second sees what the first has made more of, each once.
    assert_eq!(first_saw, u64::from(SAMPLE));
    assert_eq!(second_saw, u64::from(SAMPLE) + first_more);
    assert_eq!(came.len() as u64, second_saw + second_more);
    let first_more = usize::try_from(first_more).unwrap();
    assert_share(first_more, SAMPLE, 0.1);
}

#[test]
fn nothing_passes_a_partition_of_one_peer_and_others_do() {
    let Some(wire) = lay() else { return };
    let mut order = order(6);
    order.matched.by_peer = true;
    order.to.passage = Passage::Drop;
    let mut traffic = traffic(&wire, order);
    for is_v4 in [true, false] {
        let peers = |last| BTreeSet::from([(address(is_v4, last), if is_v4 { 32 } else { 128 })]);
        traffic.allow(&peers(3)).unwrap();
        assert_eq!(wire.send(is_v4, 50).len(), 50);
        traffic.allow(&peers(2)).unwrap();
        assert_eq!(wire.send(is_v4, 50).len(), 0);
        traffic.tell(|order| order.active = false).unwrap();
        assert_eq!(wire.send(is_v4, 50).len(), 50);
        traffic.tell(|order| order.active = true).unwrap();
    }
    assert_eq!(traffic.fates(Way::To).unwrap()[Fate::Lost].packets, 100);
}

/// What a connection, and a question over UDP, from one namespace to another come to.
fn ask(from: &NetNamespace, to: &NetNamespace, host: IpAddr) -> (ErrorKind, ErrorKind) {
    let listener = to.run(|| TcpListener::bind((host, 0))).unwrap().unwrap();
    let port = listener.local_addr().unwrap().port();
    let patience = Duration::from_secs(2);
    let connected = from.run(|| TcpStream::connect_timeout(&SocketAddr::new(host, port), patience));
    let any: IpAddr = if host.is_ipv4() {
        [0; 4].into()
    } else {
        [0; 16].into()
    };
    let udp = from.run(|| UdpSocket::bind((any, 0))).unwrap().unwrap();
    udp.connect((host, 9)).unwrap();
    udp.set_read_timeout(Some(patience)).unwrap();
    udp.send(b"?").unwrap();
    let answered = udp.recv(&mut [0; 8]);
    (
        connected.unwrap().unwrap_err().kind(),
        answered.unwrap_err().kind(),
    )
}

#[test]
fn who_is_refused_is_told_at_once_by_either_family_and_either_way() {
    let Some(wire) = lay() else { return };
    let mut order = order(9);
    order.matched.protocol = None;
    order.to.passage = Passage::Reject;
    let traffic = traffic(&wire, order.clone());
    let refused = (ErrorKind::ConnectionRefused, ErrorKind::ConnectionRefused);
    for is_v4 in [true, false] {
        assert_eq!(ask(&wire.a, &wire.b, address(is_v4, 2)), refused, "{is_v4}");
    }
    let fates = traffic.fates(Way::To).unwrap();
    assert_eq!(fates[Fate::Refused].packets, 4, "{fates:?}");
    drop(traffic);
    // What comes is refused at the device of the target, and what it sends as well.
    order.from.passage = Passage::Reject;
    let traffic = traffic_at(&wire.a, order);
    for is_v4 in [true, false] {
        assert_eq!(ask(&wire.b, &wire.a, address(is_v4, 1)), refused, "{is_v4}");
        assert_eq!(ask(&wire.a, &wire.b, address(is_v4, 2)), refused, "{is_v4}");
    }
    let fates = Way::ALL.map(|way| traffic.fates(way).unwrap());
    assert_eq!(fates.map(|fates| fates[Fate::Refused].packets), [4, 4]);
}

#[test]
fn a_connection_that_is_there_is_reset() {
    let Some(wire) = lay() else { return };
    for is_v4 in [true, false] {
        let host = address(is_v4, 1);
        let listener = wire
            .a
            .run(|| TcpListener::bind((host, 0)))
            .unwrap()
            .unwrap();
        let to = listener.local_addr().unwrap();
        let mut client = wire.b.run(|| TcpStream::connect(to)).unwrap().unwrap();
        let (mut served, _) = listener.accept().unwrap();
        served.write_all(b"hello").unwrap();
        client.read_exact(&mut [0; 5]).unwrap();
        let mut order = order(10);
        order.matched.protocol = Some((6, 6));
        order.from.passage = Passage::Reject;
        let traffic = traffic(&wire, order);
        client
            .set_read_timeout(Some(Duration::from_secs(2)))
            .unwrap();
        // The reset may come while it still writes.
        let told = client.write_all(&vec![7; 60_000]);
        let told = told.and_then(|()| client.read(&mut [0; 8]));
        let kind = told.unwrap_err().kind();
        assert_eq!(kind, ErrorKind::ConnectionReset, "{is_v4}");
        assert!(traffic.fates(Way::From).unwrap()[Fate::Refused].packets > 0);
    }
}

#[test]
fn what_is_sent_to_the_target_is_another_way() {
    let Some(wire) = lay() else { return };
    let mut order = order(7);
    order.from.passage = Passage::Drop;
    let traffic = traffic_at(&wire.b, order);
    assert_eq!(wire.send(true, 50).len(), 0);
    assert_eq!(traffic.fates(Way::From).unwrap()[Fate::Lost].packets, 50);
    assert_eq!(traffic.fates(Way::To).unwrap()[Fate::Lost].packets, 0);
}

#[test]
fn ports_are_matched_on_the_side_that_is_asked() {
    let Some(wire) = lay() else { return };
    for (name, local, remote) in [("local", true, false), ("remote", false, true)] {
        let mut order = order(8);
        order.to.passage = Passage::Drop;
        // The two ports are not known before: one that nobody has must match nobody.
        order.matched.local_ports = if local { vec![(1, 1023)] } else { vec![] };
        order.matched.remote_ports = if remote { vec![(1, 1023)] } else { vec![] };
        let mut traffic = traffic(&wire, order);
        assert_eq!(wire.send(true, 20).len(), 20, "{name}");
        traffic
            .tell(|order| {
                let all = vec![(1024, 65535)];
                let list = if local {
                    &mut order.matched.local_ports
                } else {
                    &mut order.matched.remote_ports
                };
                *list = all;
            })
            .unwrap();
        assert_eq!(wire.send(true, 20).len(), 0, "{name}");
        assert_eq!(wire.send(false, 20).len(), 0, "{name}");
    }
}

#[test]
fn it_ends_at_its_time_by_itself() {
    let Some(wire) = lay() else { return };
    let mut traffic = traffic(&wire, loses(1.0));
    let until_ns = boottime_ns() + 3_000_000_000;
    traffic
        .tell(|order| order.until_ns = Some(until_ns))
        .unwrap();
    assert_eq!(wire.send(true, 20).len(), 0);
    while boottime_ns() < until_ns {
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(wire.send(true, 20).len(), 20);
}

#[test]
fn anybody_takes_the_programs_of_an_injection_off_and_nobody_elses() {
    let Some(wire) = lay_with_links() else {
        return;
    };
    let mut order = loses(1.0);
    order.id = 0x12_3456;
    let _ours = traffic(&wire, order.clone());
    assert_eq!(detach(0x12_3457).unwrap(), Detached::Nowhere);
    assert_eq!(wire.send(true, 20).len(), 0);
    assert_eq!(detach(0x12_3456).unwrap(), Detached::Now(2));
    assert_eq!(wire.send(true, 20).len(), 20);
    assert_eq!(detach(0x12_3456).unwrap(), Detached::Nowhere);
}

#[test]
fn it_goes_with_whoever_holds_it() {
    let Some(wire) = lay_with_links() else {
        return;
    };
    let mut traffic = traffic(&wire, loses(1.0));
    assert_eq!(wire.send(true, 20).len(), 0);
    traffic.leave();
    assert_eq!(wire.send(true, 20).len(), 20);
    assert_eq!(traffic.fates(Way::To).unwrap()[Fate::Lost].packets, 20);
}
