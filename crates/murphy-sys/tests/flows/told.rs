//! Connections of which the other end alone is told that they are over.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv6Addr, SocketAddr, SocketAddrV6, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use murphy_sys::{
    flows::{Flow, Mode},
    link,
    namespace::NetNamespace,
};

use crate::{
    scene::{
        Course, Family, PATIENCE, Pair, SILENCE, Scene, at_once, is_silent, read, talk, within,
    },
    wire::address,
};

#[test]
fn who_is_told_of_its_end_while_it_is_idle_is_the_other_one_alone() {
    let Some(mut scene) = Scene::set_or_skip(4) else {
        return;
    };
    let pairs = scene.pairs();
    scene.breaks(&pairs, Mode::ResetRemote);
    let flows: Vec<Flow> = pairs.iter().map(|pair| pair.flow).collect();
    assert_eq!(scene.flows.provoke(&flows).unwrap(), []);
    let wire = &scene.wire;
    at_once(&pairs, |pair| {
        let told = read(&pair.theirs, SILENCE);
        assert_eq!(told, Err(ErrorKind::ConnectionReset), "{pair}");
        is_silent(pair, &pair.mine);
        (&pair.mine).write_all(b"still there?").unwrap();
        is_silent(pair, &pair.mine);
        let (mine, theirs) = pair.sockets(wire);
        assert!(mine.is_some() && theirs.is_none(), "{pair}");
        pair.neighbours_talk();
    });
    for pair in &pairs {
        let state = scene.state(pair);
        assert!(state.resets > 0 && state.is_told(), "{pair}: {state:?}");
        assert!(state.dropped_to.packets > 0, "{pair}: {state:?}");
        assert!(!state.is_gone, "{pair}: {state:?}");
    }
    // Asked again, its host proves that the reset has arrived.
    scene.flows.provoke_once(&flows, 0).unwrap();
    let until = Instant::now() + PATIENCE;
    while !pairs.iter().all(|pair| scene.state(pair).is_gone) {
        assert!(Instant::now() < until, "{:?}", scene.flows.states());
    }
}

#[test]
fn who_is_told_of_its_end_while_it_sends_is_the_other_one_alone() {
    let Some(mut scene) = Scene::set_or_skip(5) else {
        return;
    };
    let pairs = scene.pairs();
    thread::scope(|scope| {
        for pair in &pairs {
            // Both send without end, as far as the other takes it.
            scope.spawn(move || {
                let error = loop {
                    if let Err(error) = (&pair.theirs).write_all(&[7; 9_000]) {
                        break error.kind();
                    }
                };
                let told = matches!(error, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe);
                assert!(told, "{pair}: {error}");
            });
            scope.spawn(move || while read(&pair.mine, SILENCE).is_ok() {});
        }
        thread::sleep(SILENCE / 5);
        scene.breaks(&pairs, Mode::ResetRemote);
    });
    for pair in &pairs {
        let state = scene.state(pair);
        assert!(state.resets > 0, "{pair}: {state:?}");
    }
    let wire = &scene.wire;
    at_once(&pairs, |pair| {
        is_silent(pair, &pair.mine);
        let (mine, theirs) = pair.sockets(wire);
        assert!(mine.is_some() && theirs.is_none(), "{pair}");
        pair.neighbours_talk();
    });
}

#[test]
fn hundreds_of_idle_ones_are_told_of_their_end_at_once() {
    const MANY: usize = 300;
    let Some(mut scene) = Scene::set_or_skip(16) else {
        return;
    };
    for (node, is_v4) in [(1, true), (1, false), (2, true), (2, false)] {
        let host = address(is_v4, node);
        let listener = within(&scene.wire.a, || TcpListener::bind((address(is_v4, 1), 0)));
        let at = listener.local_addr().unwrap();
        let peer_in = if node == 1 {
            &scene.wire.a
        } else {
            &scene.wire.b
        };
        let pairs: Vec<(TcpStream, TcpStream)> = within(peer_in, || {
            let pair = |_| Ok((TcpStream::connect(at)?, listener.accept()?.0));
            (0..MANY).map(pair).collect()
        });
        let flows: Vec<Flow> = pairs
            .iter()
            .map(|(_, mine)| Flow::new(at, mine.peer_addr().unwrap()))
            .collect();
        assert!(flows.iter().all(|flow| flow.remote().ip() == host));
        let (spared, broken) = flows.split_first().unwrap();
        let told: Vec<_> = broken
            .iter()
            .map(|flow| (*flow, Mode::ResetRemote))
            .collect();
        scene.flows.insert(&told).unwrap();
        assert_eq!(scene.flows.provoke(broken).unwrap(), []);
        for (theirs, mine) in &pairs {
            let is_spared = theirs.local_addr().unwrap() == spared.remote();
            let wanted = if is_spared {
                ErrorKind::WouldBlock
            } else {
                ErrorKind::ConnectionReset
            };
            for (mut stream, wanted) in [(theirs, wanted), (mine, ErrorKind::WouldBlock)] {
                stream.set_nonblocking(true).unwrap();
                assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), wanted);
            }
        }
        scene.flows.remove(broken).unwrap();
    }
}

#[test]
fn an_idle_one_over_addresses_of_one_link_is_told_as_well() {
    let Some(mut scene) = Scene::set_or_skip(17) else {
        return;
    };
    let on_link = |namespace: &NetNamespace| {
        let scope = link::index(namespace, "eth0").unwrap();
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(address) = link_local(namespace) {
                return (address, scope);
            }
            assert!(Instant::now() < until, "it has no such address");
            thread::sleep(Duration::from_millis(50));
        }
    };
    let ((mine, my_scope), (_, their_scope)) = (on_link(&scene.wire.a), on_link(&scene.wire.b));
    let at = |port, scope| SocketAddr::from(SocketAddrV6::new(mine, port, 0, scope));
    let listener = within(&scene.wire.a, || TcpListener::bind(at(0, my_scope)));
    let port = listener.local_addr().unwrap().port();
    let client = within(&scene.wire.b, || TcpStream::connect(at(port, their_scope)));
    let (served, remote) = listener.accept().unwrap();
    let flow = Flow::new(served.local_addr().unwrap(), remote);
    scene.flows.insert(&[(flow, Mode::ResetRemote)]).unwrap();
    assert_eq!(scene.flows.provoke(&[flow]).unwrap(), []);
    assert_eq!(read(&client, SILENCE), Err(ErrorKind::ConnectionReset));
    assert_eq!(read(&served, SILENCE), Err(ErrorKind::WouldBlock));
}

/// The address that node 1 has on its link alone, once nobody else has it.
fn link_local(namespace: &NetNamespace) -> Option<Ipv6Addr> {
    let list = within(namespace, || {
        std::fs::read_to_string("/proc/thread-self/net/if_inet6")
    });
    list.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [address, _, _, scope, flags, "eth0"] = words[..] else {
            return None;
        };
        // IPV6_ADDR_LINKLOCAL, and no flag but that it lasts.
        let is_it = scope == "20" && flags == "80";
        let address = u128::from_str_radix(address, 16).ok()?;
        is_it.then(|| Ipv6Addr::from(address))
    })
}

#[test]
fn who_has_nobody_to_tell_says_so_and_who_is_not_reached_is_named() {
    let Some(mut scene) = Scene::set_or_skip(6) else {
        return;
    };
    let course = Course {
        is_local: false,
        family: Family::V4,
        is_accepted: true,
    };
    let pair = Pair::open(&scene.wire, course);
    let nobody = Flow::new(pair.flow.local(), SocketAddr::new(address(true, 2), 9));
    let nowhere = Flow::new(pair.flow.local(), SocketAddr::new(address(true, 77), 9));
    let flows = [nobody, nowhere];
    scene
        .flows
        .insert(&flows.map(|flow| (flow, Mode::ResetRemote)))
        .unwrap();
    let began = Instant::now();
    assert_eq!(scene.flows.provoke(&flows).unwrap(), [nowhere]);
    assert!(began.elapsed() >= Duration::from_secs(3));
    let state = scene.flows.state(&nobody).unwrap().unwrap();
    assert_eq!((state.resets, state.is_gone), (0, true));
    talk(&pair.mine, &pair.theirs);
}
