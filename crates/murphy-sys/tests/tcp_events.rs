//! What becomes of connections is told by both of their ends: with their own numbers, in order, and of no other namespace.

mod pool;

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use murphy_sys::{
    clock::boottime_ns,
    connections::{self, Connections, State},
    namespace::NetNamespace,
    tcp_events::{self, Filter, Kind, PORTS_MAX, TcpEvent, TcpEvents, TcpEventsError},
};
use pool::{
    PLACES, Pool, cookie, ends, ids, is_since, namespace, patience, pretend_to_be_connected,
    say_skipped,
};
use rustix::net::sockopt::socket_cookie;

/// More refused connections than what waits to be taken has room for.
const TOO_MANY: usize = 20_000;

/// A namespace that is watched.
struct Stage {
    namespace: NetNamespace,
    events: TcpEvents,
    heard: Vec<TcpEvent>,
}

impl Stage {
    fn set_or_skip() -> Option<Self> {
        Self::with_ports_or_skip(&[])
    }

    fn with_ports_or_skip(ports: &[(u16, u16)]) -> Option<Self> {
        if let Err(error) = tcp_events::trial() {
            say_skipped(&error);
            return None;
        }
        let namespace = namespace();
        let filter = Filter {
            namespaces: vec![inode(&namespace)],
            ports: ports.to_vec(),
            is_prompt: true,
            is_measured: false,
        };
        Some(Self {
            namespace,
            events: TcpEvents::watch(&filter).unwrap(),
            heard: Vec::new(),
        })
    }

    /// Listens until this is so of all that was said.
    fn hear_until(&mut self, what: &str, is_so: impl Fn(&[TcpEvent]) -> bool) {
        let until = Instant::now() + patience();
        while !is_so(&self.heard) {
            assert!(Instant::now() < until, "{what}: {:?}", self.heard);
            self.events.wait(Duration::from_millis(20)).unwrap();
            self.heard.extend(self.events.take());
        }
    }

    /// Listens until so many connections are made, of which both ends say so.
    fn hear_of_made(&mut self, count: usize) {
        self.hear_of(State::Established, 2 * count);
    }

    /// Listens until so many sockets are closed; what each has said, by its number.
    fn hear_of_closed(&mut self, count: usize) -> BTreeMap<u64, Vec<Kind>> {
        self.hear_of(State::Close, count);
        self.by_socket()
    }

    fn hear_of(&mut self, state: State, count: usize) {
        let is_in_it =
            |event: &&TcpEvent| matches!(event.kind, Kind::State { to, .. } if to == state);
        self.hear_until(state.name(), |heard| {
            heard.iter().filter(is_in_it).count() >= count
        });
    }

    fn by_socket(&self) -> BTreeMap<u64, Vec<Kind>> {
        let mut by_socket: BTreeMap<u64, Vec<Kind>> = BTreeMap::new();
        for event in &self.heard {
            by_socket.entry(event.cookie).or_default().push(event.kind);
        }
        by_socket
    }

    fn forget(&mut self) {
        self.events.take();
        self.heard.clear();
    }
}

fn inode(namespace: &NetNamespace) -> u64 {
    namespace.inode().unwrap()
}

/// One state after the other.
fn states(of: &[State]) -> Vec<Kind> {
    let steps = of.windows(2).map(|pair| (pair[0], pair[1]));
    steps.map(|(from, to)| Kind::State { from, to }).collect()
}

/// Closes a connection: who opened it says so first.
fn close(mut accepted: TcpStream, mut opened: TcpStream) {
    opened.shutdown(Shutdown::Write).unwrap();
    assert_eq!(accepted.read(&mut [0]).unwrap(), 0);
    drop(accepted);
    assert_eq!(opened.read(&mut [0]).unwrap(), 0);
}

/// Asks for connections where nobody listens.
fn be_refused(namespace: &NetNamespace, host: &str, count: usize) -> SocketAddr {
    let ask = || {
        let bound = TcpListener::bind(format!("{host}:0")).unwrap();
        let to = bound.local_addr().unwrap();
        drop(bound);
        for _ in 0..count {
            let refused = TcpStream::connect(to).unwrap_err();
            assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        }
        to
    };
    namespace.run(ask).unwrap()
}

#[test]
fn a_connection_tells_its_life_at_both_ends() {
    use State::{Close, CloseWait, Established, FinWait1, FinWait2, LastAck, SynRecv, SynSent};
    let Some(mut stage) = Stage::set_or_skip() else {
        return;
    };
    for place in PLACES {
        let began = boottime_ns();
        let mut pool = Pool::fill(&stage.namespace, place, 1);
        let (accepted, opened) = (pool.accepted.remove(0), pool.opened.remove(0));
        let cookies = [&accepted, &opened].map(cookie);
        let addresses = [&accepted, &opened].map(ends);
        close(accepted, opened);
        let said = stage.hear_of_closed(2);
        let life = [SynRecv, Established, CloseWait, LastAck, Close];
        assert_eq!(said[&cookies[0]], states(&life), "{place:?}");
        let life = [Close, SynSent, Established, FinWait1, FinWait2, Close];
        assert_eq!(said[&cookies[1]], states(&life), "{place:?}");
        assert_eq!(said.len(), 3, "and who listens: {said:?}");
        for (cookie, addresses) in cookies.into_iter().zip(addresses) {
            let all = stage.heard.iter().filter(|event| event.cookie == cookie);
            // The port of who asks is chosen only after that.
            let asks = states(&[Close, SynSent]);
            for event in all.filter(|event| event.kind != asks[0]) {
                assert_eq!((event.local, event.remote), addresses, "{event:?}");
                assert_eq!(event.namespace, inode(&stage.namespace));
            }
        }
        let times: Vec<_> = stage.heard.iter().map(|event| event.at_ns).collect();
        let are_now = |at: &u64| (began..=boottime_ns()).contains(at);
        assert!(times.iter().all(are_now), "{times:?}");
        assert_eq!(stage.events.lost(), 0);
        drop(pool);
        stage.hear_of_closed(3);
        stage.forget();
    }
}

#[test]
fn who_is_reset_says_so_and_so_does_its_peer() {
    let Some(mut stage) = Stage::set_or_skip() else {
        return;
    };
    if let Err(error) = connections::trial(&stage.namespace) {
        return say_skipped(&error);
    }
    let mut connections = Connections::within(&stage.namespace).unwrap();
    for place in PLACES {
        let pool = Pool::fill(&stage.namespace, place, 3);
        stage.hear_of_made(3);
        stage.forget();
        let ended = ids(&stage.namespace, [&pool.accepted[1]]);
        let addresses = [&pool.accepted[1], &pool.opened[1]].map(ends);
        connections.end(&ended).unwrap();
        let said = stage.hear_of_closed(2);
        let closed = states(&[State::Established, State::Close])[0];
        let [Kind::ResetSent { reason, is_refusal }, then] = said[&ended[0].cookie][..] else {
            panic!("{place:?}: {said:?}");
        };
        assert!(!is_refusal);
        assert_eq!(then, closed);
        let peer = cookie(&pool.opened[1]);
        assert_eq!(said[&peer], [Kind::ResetReceived, closed], "{place:?}");
        assert_eq!(said.len(), 2, "the others say nothing: {said:?}");
        let reason = reason.map(|reason| reason.to_string());
        assert_eq!(reason.as_deref(), is_since(6, 12).then_some("TCP_STATE"));
        for event in &stage.heard {
            let its_own = addresses[usize::from(event.cookie == peer)];
            assert_eq!((event.local, event.remote), its_own, "{event:?}");
        }
        drop(pool);
        stage.hear_of_closed(2 + 4 + 1);
        stage.forget();
    }
}

#[test]
fn a_closed_port_sends_resets_without_a_socket() {
    let Some(mut stage) = Stage::set_or_skip() else {
        return;
    };
    for host in ["127.0.0.1", "[::1]"] {
        let to = be_refused(&stage.namespace, host, 1);
        // Who has listened there for a moment is closed, too.
        let said = stage.hear_of_closed(2);
        let closed = stage.heard.iter().rfind(|event| event.cookie != 0).unwrap();
        assert_eq!((closed.local.ip(), closed.remote), (to.ip(), to));
        let life = [
            &states(&[State::Close, State::SynSent])[..],
            &[Kind::ResetReceived],
            &states(&[State::SynSent, State::Close]),
        ];
        assert_eq!(said[&closed.cookie], life.concat());
        let resets: Vec<_> = stage.heard.iter().filter(|said| said.cookie == 0).collect();
        if is_since(6, 10) {
            let [reset] = resets[..] else {
                panic!("{resets:?}");
            };
            assert_eq!((reset.local, reset.remote), (to, closed.local));
            assert_eq!(reset.namespace, inode(&stage.namespace));
            let Kind::ResetSent { reason, is_refusal } = reset.kind else {
                panic!("{reset:?}");
            };
            assert!(is_refusal);
            assert_eq!(reason.unwrap().name(), Some("NO_SOCKET"));
        } else {
            assert!(resets.is_empty(), "{resets:?}");
        }
        stage.forget();
    }
}

fn is_refusal(event: &TcpEvent) -> bool {
    matches!(
        event.kind,
        Kind::ResetSent {
            is_refusal: true,
            ..
        }
    )
}

#[test]
fn what_is_left_of_a_closed_connection_sends_resets_in_its_name() {
    let Some(mut stage) = Stage::set_or_skip() else {
        return;
    };
    for place in PLACES {
        let mut pool = Pool::fill(&stage.namespace, place, 1);
        let opened = pool.opened.remove(0);
        let (of_opened, its_own) = (cookie(&opened), ends(&opened));
        drop(opened);
        assert_eq!(pool.accepted[0].read(&mut [0]).unwrap(), 0);
        stage.hear_of_closed(1);
        // Nobody is there any more who could read this.
        pool.accepted[0].write_all(b"x").unwrap();
        stage.hear_until("a reset", |heard| {
            heard.iter().any(|said| said.kind == Kind::ResetReceived)
        });
        let is_sent = |said: &&TcpEvent| matches!(said.kind, Kind::ResetSent { .. });
        let resets: Vec<_> = stage.heard.iter().filter(is_sent).collect();
        if is_since(6, 10) {
            let [reset] = resets[..] else {
                panic!("{resets:?}");
            };
            assert_eq!((reset.local, reset.remote), its_own, "{place:?}");
            assert_eq!(reset.cookie, of_opened);
            assert!(!is_refusal(reset), "{reset:?}");
        } else {
            assert!(resets.is_empty(), "{resets:?}");
        }
        drop(pool);
        stage.hear_of_closed(3);
        stage.forget();
    }
}

#[test]
fn who_listens_sends_resets_to_who_sent_what_belongs_to_no_connection() {
    let Some(mut stage) = Stage::set_or_skip() else {
        return;
    };
    for host in ["127.0.0.1", "[::1]"] {
        let make = || {
            let listener = TcpListener::bind(format!("{host}:0")).unwrap();
            let to = listener.local_addr().unwrap();
            (listener, pretend_to_be_connected(to))
        };
        let (listener, pretender) = stage.namespace.run(make).unwrap();
        let own = socket_cookie(&listener).unwrap();
        (&pretender).write_all(b"x").unwrap();
        stage.hear_until("a reset", |heard| {
            heard.iter().any(|said| said.kind == Kind::ResetReceived)
        });
        let is_sent = |said: &&TcpEvent| matches!(said.kind, Kind::ResetSent { .. });
        let resets: Vec<_> = stage.heard.iter().filter(is_sent).collect();
        let [reset] = resets[..] else {
            panic!("{resets:?}");
        };
        assert_eq!(reset.local, listener.local_addr().unwrap());
        assert_eq!(reset.remote, pretender.local_addr().unwrap());
        assert_eq!(reset.cookie, own);
        assert!(!is_refusal(reset), "{reset:?}");
        stage.forget();
    }
}

#[test]
fn only_namespaces_that_are_watched_are_told_of_and_only_as_long() {
    let Some(mut stage) = Stage::set_or_skip() else {
        return;
    };
    let (ours, other) = (stage.namespace.clone(), namespace());
    let refused_in = |stage: &mut Stage, first: &NetNamespace, then: &NetNamespace| {
        be_refused(first, "127.0.0.1", 5);
        be_refused(then, "127.0.0.1", 1);
        stage.hear_of_closed(2);
        let heard = stage.heard.iter().map(|event| event.namespace);
        let namespaces: Vec<_> = heard.collect();
        assert!(namespaces.iter().all(|inode| *inode == namespaces[0]));
        stage.forget();
        namespaces[0]
    };
    assert_eq!(refused_in(&mut stage, &other, &ours), inode(&ours));
    stage.events.watch_namespace(inode(&other)).unwrap();
    stage.events.forget_namespace(inode(&ours)).unwrap();
    assert_eq!(refused_in(&mut stage, &ours, &other), inode(&other));
    stage.events.forget_namespace(inode(&other)).unwrap();
    stage.events.forget_namespace(inode(&other)).unwrap();
    be_refused(&other, "127.0.0.1", 5);
    assert_eq!(stage.events.take(), []);
    let none = stage.events.watch_namespace(u64::MAX);
    assert!(matches!(none, Err(TcpEventsError::NoNamespace(_))));
}

#[test]
fn only_connections_with_a_port_that_is_asked_for_are_told_of() {
    let ports = [(1, 1), (9000, 9010)];
    let Some(mut stage) = Stage::with_ports_or_skip(&ports) else {
        return;
    };
    let asked_for = ["127.0.0.1:9000", "[::1]:9010", "127.0.0.1:9005"];
    let others = ["127.0.0.1:8999", "[::1]:9011"];
    for to in others.iter().chain(&asked_for) {
        let to: SocketAddr = to.parse().unwrap();
        let make = || {
            let listener = TcpListener::bind(to).unwrap();
            let opened = TcpStream::connect(to).unwrap();
            (listener.accept().unwrap().0, opened)
        };
        let (accepted, opened) = stage.namespace.run(make).unwrap();
        close(accepted, opened);
    }
    // Who listens is closed, too.
    stage.hear_of_closed(3 * asked_for.len());
    let at = |event: &TcpEvent| {
        let is_asked_for = |port| (9000..=9010).contains(&port);
        let ports = [event.local.port(), event.remote.port()];
        assert!(ports.into_iter().any(is_asked_for), "{event:?}");
        is_asked_for(ports[1])
    };
    let of_who_opened = stage.heard.iter().filter(|event| at(event)).count();
    assert_eq!(of_who_opened, 5 * asked_for.len(), "{:?}", stage.heard);
}

#[test]
fn two_thousand_that_are_reset_at_once_all_say_so() {
    let count = 2000;
    let Some(mut stage) = Stage::set_or_skip() else {
        return;
    };
    if let Err(error) = connections::trial(&stage.namespace) {
        return say_skipped(&error);
    }
    let pool = Pool::fill(&stage.namespace, PLACES[0], count);
    stage.hear_of_made(count);
    stage.forget();
    let ended = ids(&stage.namespace, &pool.accepted);
    let mut connections = Connections::within(&stage.namespace).unwrap();
    connections.end(&ended).unwrap();
    let said = stage.hear_of_closed(2 * count);
    assert_eq!(stage.events.lost(), 0);
    assert_eq!(said.len(), 2 * count);
    for (ended, peer) in ended.iter().zip(&pool.opened) {
        let ended = &said[&ended.cookie][..];
        let is_sent = matches!(ended, [Kind::ResetSent { .. }, Kind::State { .. }]);
        assert!(is_sent, "{ended:?}");
        let peer = &said[&cookie(peer)][..];
        let is_received = matches!(peer, [Kind::ResetReceived, Kind::State { .. }]);
        assert!(is_received, "{peer:?}");
    }
}

#[test]
fn what_nobody_takes_in_time_is_counted() {
    let Some(mut stage) = Stage::set_or_skip() else {
        return;
    };
    be_refused(&stage.namespace, "127.0.0.1", TOO_MANY);
    let lost = stage.events.lost();
    let taken = stage.events.take();
    assert!(lost > 0, "{}", taken.len());
    // Asked, reset sent, reset received, closed; and somebody has listened there for a moment.
    let each = if is_since(6, 10) { 4 } else { 3 };
    let all = taken.len() + usize::try_from(lost).unwrap();
    let missed = usize::try_from(stage.events.missed().unwrap()).unwrap();
    let expected = each * TOO_MANY + 2;
    assert!(
        (expected.saturating_sub(missed)..=expected).contains(&all),
        "{all}, {missed}"
    );
    be_refused(&stage.namespace, "127.0.0.1", 1);
    stage.hear_of_closed(2);
    assert_eq!(stage.heard.len(), each + 2, "it goes on");
    assert_eq!(stage.events.lost(), lost);
}

#[test]
fn who_waits_is_woken_by_the_first_event_or_by_the_time() {
    let Some(mut stage) = Stage::set_or_skip() else {
        return;
    };
    let short = Duration::from_millis(30);
    let began = Instant::now();
    assert!(!stage.events.wait(short).unwrap());
    assert!(began.elapsed() >= short);
    let namespace = stage.namespace.clone();
    let refused = thread::spawn(move || {
        thread::sleep(short);
        be_refused(&namespace, "127.0.0.1", 1);
    });
    assert!(stage.events.wait(patience()).unwrap());
    assert!(began.elapsed() < patience());
    assert!(!stage.events.take().is_empty());
    refused.join().unwrap();
}

#[test]
fn who_takes_what_there_is_by_himself_is_woken_only_when_much_waits() {
    let Some(mut stage) = Stage::set_or_skip() else {
        return;
    };
    stage.events = TcpEvents::watch(&Filter {
        namespaces: vec![inode(&stage.namespace)],
        ..Filter::default()
    })
    .unwrap();
    be_refused(&stage.namespace, "127.0.0.1", 10);
    assert!(!stage.events.wait(Duration::from_millis(30)).unwrap());
    let said = stage.events.take();
    let asked =
        |event: &&TcpEvent| matches!(event.kind, Kind::State { to, .. } if to == State::SynSent);
    assert_eq!(said.iter().filter(asked).count(), 10);
    be_refused(&stage.namespace, "127.0.0.1", TOO_MANY / 2);
    assert!(stage.events.wait(patience()).unwrap());
    assert!(stage.events.lost() == 0 && !stage.events.take().is_empty());
}

#[test]
fn more_ports_than_fit_are_refused() {
    let filter = Filter {
        ports: vec![(80, 80); PORTS_MAX + 1],
        ..Filter::default()
    };
    let refused = TcpEvents::watch(&filter).unwrap_err();
    assert!(matches!(refused, TcpEventsError::Ports), "{refused}");
}
