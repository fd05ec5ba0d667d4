//! Connections that the target is asked for.

use std::{
    collections::BTreeMap,
    io::Read,
    net::{Ipv4Addr, SocketAddr},
    thread::{self, sleep},
    time::{Duration, Instant},
};

use murphy_sys::{
    refusal::{Order, Refusal, Scope},
    traffic::ALWAYS,
};
use socket2::{Domain, Protocol, Socket, Type};

use crate::{
    ends::{
        A_THIRD, Client, PATIENCE, PORT, SAMPLE, counted, datagram_comes, itself, lay_to_accept,
        order_to_server, serve, socket, talks,
    },
    wire::assert_share,
};

/// The flags of TCP that matter here.
const SYN: u8 = 2;
const RST: u8 = 4;

#[test]
fn three_in_ten_are_refused_from_near_and_afar_in_both_families_and_counted() {
    let Some(wire) = lay_to_accept() else { return };
    serve(&wire.b, PORT);
    for is_v4 in [true, false] {
        for client in [Client::near(&wire, is_v4), Client::afar(&wire, is_v4)] {
            let refusal = Refusal::accepted(&wire.b, &order_to_server(A_THIRD)).unwrap();
            let refused = client.refused_of(SAMPLE);
            assert_eq!(counted(&refusal), (u64::from(SAMPLE), refused));
            assert_share(usize::try_from(refused).unwrap(), SAMPLE.into(), 0.3);
        }
    }
}

#[test]
fn none_of_none_and_all_of_all_are_refused() {
    let Some(wire) = lay_to_accept() else { return };
    serve(&wire.b, PORT);
    for is_v4 in [true, false] {
        for (chance, refused) in [(0, 0), (ALWAYS, 500)] {
            let refusal = Refusal::accepted(&wire.b, &order_to_server(chance)).unwrap();
            assert_eq!(Client::afar(&wire, is_v4).refused_of(500), refused);
            assert_eq!(counted(&refusal), (500, refused));
        }
    }
}

#[test]
fn who_is_refused_follows_from_the_seed_each_time() {
    let Some(wire) = lay_to_accept() else { return };
    serve(&wire.b, PORT);
    for is_v4 in [true, false] {
        let client = Client::afar(&wire, is_v4);
        let ask = |seed| {
            let order = Order {
                seed,
                ..order_to_server(ALWAYS / 2)
            };
            let refusal = Refusal::accepted(&wire.b, &order).unwrap();
            let first = client.refused_from(30_000..30_300);
            assert_eq!(counted(&refusal), (300, first.len() as u64));
            let again = client.refused_from(30_000..30_300);
            assert_eq!(first, again, "who asks again fares as before");
            first
        };
        let (seven, eight) = (ask(7), ask(8));
        assert_eq!(seven, ask(7));
        assert_share(seven.symmetric_difference(&eight).count(), 300, 0.5);
    }
}

#[test]
fn a_syn_that_is_sent_again_fares_as_before_and_counts_once() {
    let Some(wire) = lay_to_accept() else { return };
    serve(&wire.b, PORT);
    let refusal = Refusal::accepted(&wire.b, &order_to_server(ALWAYS / 2)).unwrap();
    // Whoever takes one of them is told by the kernel of its sender, who knows of none, that it is over: the next one
    // asks who listens, too.
    let answers: Vec<BTreeMap<u16, u8>> = wire
        .b
        .run(|| {
            let raw = Raw::open();
            let started = Instant::now();
            let ask = |second| {
                sleep((started + Duration::from_secs(second)).duration_since(Instant::now()));
                raw.ask()
            };
            // As a client does that hears nothing.
            [0, 1, 3].map(ask).into()
        })
        .unwrap();
    let refused = answers[0].values().filter(|flags| *flags & RST != 0);
    let refused = refused.count() as u64;
    assert_eq!(answers[0].len(), usize::from(Raw::PORTS));
    assert!((1..u64::from(Raw::PORTS)).contains(&refused), "{refused}");
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0], answers[2]);
    assert_eq!(counted(&refusal), (Raw::PORTS.into(), refused));
}

/// A socket that sends any segment of TCP over loopback, and hears all.
struct Raw(Socket);

impl Raw {
    /// From how many ports it asks.
    const PORTS: u16 = 16;
    const FIRST: u16 = 31_000;

    fn open() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::TCP)).unwrap();
        let here = SocketAddr::from((itself(true), 0));
        socket.bind(&here.into()).unwrap();
        socket.connect(&here.into()).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }

    /// Sends a SYN from each port, always the same; the flags of the first answer to each.
    fn ask(&self) -> BTreeMap<u16, u8> {
        let ports = Self::FIRST..Self::FIRST + Self::PORTS;
        ports.map(|port| (port, self.ask_from(port))).collect()
    }

    fn ask_from(&self, port: u16) -> u8 {
        self.0.send(&syn(port)).unwrap();
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            let mut packet = [0; 128];
            let bytes = (&self.0).read(&mut packet).unwrap();
            let segment = &packet[usize::from(packet[0] & 15) * 4..bytes];
            let (from, to) = (&segment[..2], &segment[2..4]);
            if from == PORT.to_be_bytes() && to == port.to_be_bytes() {
                return segment[13];
            }
        }
        panic!("nobody answered port {port}");
    }
}

/// A SYN from a port to the server, over loopback.
fn syn(port: u16) -> Vec<u8> {
    let mut segment = [port.to_be_bytes(), PORT.to_be_bytes()].concat();
    segment.extend([0x12, 0x34, 0x56, 0x78, 0, 0, 0, 0, 5 << 4, SYN, 0xff, 0xff]);
    let here = Ipv4Addr::LOCALHOST.octets();
    let pseudo = [&here[..], &here, &[0, 6, 0, 20], &segment].concat();
    let word = |pair: &[u8]| u32::from(u16::from_be_bytes([pair[0], pair[1]]));
    let sum: u32 = pseudo.chunks(2).map(word).sum();
    let folded = u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap_or_else(|_| {
        let sum = (sum & 0xffff) + (sum >> 16);
        u16::try_from((sum & 0xffff) + 1).unwrap()
    });
    segment.extend((!folded).to_be_bytes());
    segment.extend([0, 0]);
    segment
}

#[test]
fn a_client_that_has_to_ask_again_is_one_connection() {
    let Some(wire) = lay_to_accept() else { return };
    let here = SocketAddr::from((itself(true), PORT));
    let listener = wire.b.run(|| {
        let listener = socket(here);
        // One may wait to be taken, and whoever comes then is not answered.
        listener.listen(0).unwrap();
        listener
    });
    let listener = listener.unwrap();
    let refusal = Refusal::accepted(&wire.b, &order_to_server(0)).unwrap();
    let near = Client::near(&wire, true);
    let first = near.connect();
    let took = thread::scope(|scope| {
        let started = Instant::now();
        let second = scope.spawn(|| drop(near.connect()));
        sleep(Duration::from_millis(300));
        listener.accept().unwrap();
        second.join().unwrap();
        started.elapsed()
    });
    assert!(took > Duration::from_millis(900), "it asked once: {took:?}");
    assert_eq!(counted(&refusal), (2, 0));
    drop(first);
}

#[test]
fn only_new_connections_of_that_port_and_that_namespace_are_refused() {
    let Some(wire) = lay_to_accept() else { return };
    for namespace in [&wire.a, &wire.b] {
        serve(namespace, PORT);
    }
    serve(&wire.b, PORT + 1);
    let mut there: Vec<_> = [true, false]
        .map(|is_v4| Client::afar(&wire, is_v4).connect())
        .into();
    let refusal = Refusal::accepted(&wire.b, &order_to_server(ALWAYS)).unwrap();
    for is_v4 in [true, false] {
        let (near, afar) = (Client::near(&wire, is_v4), Client::afar(&wire, is_v4));
        assert_eq!(near.refused_of(20), 20);
        assert_eq!(afar.refused_of(20), 20);
        assert_eq!(near.at(PORT + 1).refused_of(20), 0, "another port");
        let elsewhere = Client {
            namespace: &wire.a,
            ..near
        };
        assert_eq!(elsewhere.refused_of(20), 0, "another namespace");
    }
    assert!(datagram_comes(&wire.b, PORT), "another protocol");
    assert!(there.iter_mut().all(talks), "those that are there");
    assert_eq!(counted(&refusal), (80, 80));
}

#[test]
fn only_clients_of_certain_ports_and_networks_are_refused() {
    let Some(wire) = lay_to_accept() else { return };
    serve(&wire.b, PORT);
    let mut by_port = order_to_server(ALWAYS);
    by_port.scope = Scope {
        remote_ports: vec![(20_005, 20_009), (20_012, 20_012)],
        ..Scope::default()
    };
    let by_port = Refusal::accepted(&wire.b, &by_port).unwrap();
    let afar = Client::afar(&wire, true).refused_from(20_000..20_020);
    assert_eq!(
        afar,
        [20_005, 20_006, 20_007, 20_008, 20_009, 20_012].into()
    );
    drop(by_port);

    let mut by_peer = order_to_server(ALWAYS);
    by_peer.scope.by_peer = true;
    let mut by_peer = Refusal::accepted(&wire.b, &by_peer).unwrap();
    for is_v4 in [true, false] {
        let (near, afar) = (Client::near(&wire, is_v4), Client::afar(&wire, is_v4));
        assert_eq!(afar.refused_of(20), 0, "nobody is a peer");
        let network = (afar.from, if is_v4 { 24 } else { 64 });
        by_peer.set_peers(&[network].into()).unwrap();
        assert_eq!(afar.refused_of(20), 20, "everybody of the network is");
        assert_eq!(near.refused_of(20), 0, "others are not");
        by_peer.set_peers(&[].into()).unwrap();
        assert_eq!(afar.refused_of(20), 0, "nobody is any more");
    }
    assert_eq!(counted(&by_peer), (40, 40));
}

#[test]
fn ports_that_a_connection_has_just_left_are_refused_once_more() {
    let Some(wire) = lay_to_accept() else { return };
    let listen = || socket((itself(true), PORT).into());
    let listener = wire.b.run(listen).unwrap();
    listener.listen(8).unwrap();
    let near = Client::near(&wire, true);
    let counts = (32_000..32_005).map(|port| {
        let connect = || {
            let socket = socket((near.from, port).into());
            socket.connect(&near.to.into()).unwrap();
            socket
        };
        let client = wire.b.run(connect).unwrap();
        let (served, _) = listener.accept().unwrap();
        served.set_linger(None).unwrap();
        client.set_linger(None).unwrap();
        // The server goes first: its end waits, so that what is late finds somebody.
        drop(served);
        assert_eq!((&client).read(&mut [0]).unwrap(), 0);
        drop(client);
        let refusal = Refusal::accepted(&wire.b, &order_to_server(ALWAYS)).unwrap();
        // That end answers the SYN, is reset for it, and the client asks once more.
        assert_eq!(near.refused_from(port..port + 1), [port].into());
        counted(&refusal)
    });
    // On a machine that stalls it may look like another connection.
    assert!(counts.into_iter().any(|counts| counts == (1, 1)));
}
