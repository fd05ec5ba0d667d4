//! Each way in which connections end by the built binary, as both of their owners see it and as it is on the wire.

#[path = "../../murphy-sys/tests/wire/mod.rs"]
mod wire;

mod harness;
mod network;
mod stage;
mod victims;

use std::{
    collections::BTreeSet,
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle, sleep},
    time::{Duration, Instant},
};

use harness::{patience, slack, wait_until};
use murphy_sys::{
    connections::{Connections, State},
    namespace::NetNamespace,
};
use network::Disturbance;
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SocketFlags, SocketType, recv, socket_with,
    sockopt::{
        Timeout, set_socket_keepalive, set_socket_timeout, set_tcp_keepcnt, set_tcp_keepidle,
        set_tcp_keepintvl,
    },
};
use serde_json::Value;
use stage::{Pool, Seen, Stage, seen};

const ABORTED: Seen = Seen::Error(ErrorKind::ConnectionAborted);
const RESET: Seen = Seen::Error(ErrorKind::ConnectionReset);

/// A segment as it was on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Segment {
    from: u16,
    to: u16,
    number: u32,
    flags: u8,
    bytes: usize,
}

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;

/// All segments on the loopback of a namespace, each as often as it passed.
struct Capture {
    is_over: Arc<AtomicBool>,
    heard: Arc<Mutex<BTreeSet<Segment>>>,
    thread: Option<JoinHandle<()>>,
}

impl Capture {
    fn begin(namespace: &NetNamespace) -> Self {
        const EVERY_PROTOCOL: u16 = 3;
        let number = u32::from(EVERY_PROTOCOL.to_be()).try_into().expect("not 0");
        let opened = namespace.run(|| {
            let protocol = Some(Protocol::from_raw(number));
            socket_with(
                AddressFamily::PACKET,
                SocketType::RAW,
                SocketFlags::CLOEXEC,
                protocol,
            )
        });
        let socket = opened.expect("a namespace").expect("CAP_NET_RAW");
        let glance = Some(Duration::from_millis(20));
        set_socket_timeout(&socket, Timeout::Recv, glance).expect("a socket");
        let is_over = Arc::new(AtomicBool::new(false));
        let heard: Arc<Mutex<BTreeSet<Segment>>> = Arc::default();
        let (over, all) = (Arc::clone(&is_over), Arc::clone(&heard));
        let thread = thread::spawn(move || {
            let mut frame = vec![0; 1 << 17];
            loop {
                let is_over = over.load(Ordering::Relaxed);
                match recv(&socket, &mut frame[..], RecvFlags::empty()) {
                    Ok((bytes, _)) => {
                        let segment = segment_of(&frame[..bytes]);
                        let mut all = all.lock().expect("nobody panics");
                        all.extend(segment);
                    }
                    Err(_) if is_over => return,
                    Err(_) => {}
                }
            }
        });
        Self {
            is_over,
            heard,
            thread: Some(thread),
        }
    }

    /// Those that one end has sent to another, so far.
    fn between(&self, from: SocketAddr, to: SocketAddr) -> Vec<Segment> {
        let all = self.heard.lock().expect("nobody panics");
        let is_it = |segment: &&Segment| (segment.from, segment.to) == (from.port(), to.port());
        all.iter().filter(is_it).copied().collect()
    }

    fn has(&self, from: SocketAddr, to: SocketAddr, flag: u8) -> bool {
        let all = self.between(from, to);
        all.iter().any(|segment| segment.flags & flag != 0)
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The segment of TCP in a frame, if there is one. Nobody here has options of IPv4, or headers between IPv6's and TCP's.
fn segment_of(frame: &[u8]) -> Option<Segment> {
    let ip = frame.get(14..)?;
    let (length, tcp) = match (ip.first()? >> 4, ip.get(6), ip.get(9)) {
        (4, _, Some(6)) => (
            usize::from(u16::from_be_bytes([ip[2], ip[3]])),
            ip.get(20..)?,
        ),
        (6, Some(6), _) => (
            40 + usize::from(u16::from_be_bytes([ip[4], ip[5]])),
            ip.get(40..)?,
        ),
        _ => return None,
    };
    let header = ip.len() - tcp.len() + usize::from(*tcp.get(12)? >> 4) * 4;
    Some(Segment {
        from: u16::from_be_bytes([tcp[0], tcp[1]]),
        to: u16::from_be_bytes([tcp[2], tcp[3]]),
        number: u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]),
        flags: *tcp.get(13)?,
        // A large one has no length in its header.
        bytes: length.max(header) - header,
    })
}

/// Ends connections of a stage until it is interrupted.
fn inject<'a>(stage: &'a Stage, words: &str) -> Disturbance<'a> {
    let words = format!("--for 60s {words}");
    let words: Vec<_> = words.split(' ').collect();
    Disturbance::of_family(&stage.guard, "conn", &stage.named.target(0), &words)
}

/// Both ends of one that was hit: the accepted one and the opened one.
struct Ends<'a> {
    accepted: &'a TcpStream,
    opened: &'a TcpStream,
    here: SocketAddr,
    there: SocketAddr,
}

/// The one that an effect names, as the target is who has accepted.
fn hit<'a>(pool: &'a Pool, effect: &Value, place: usize) -> Ends<'a> {
    let there: SocketAddr = effect["connections"][place]["remote"]
        .as_str()
        .expect("an end")
        .parse()
        .expect("an address");
    let is_it = |(_, opened): &(&TcpStream, &TcpStream)| {
        opened.local_addr().is_ok_and(|local| local == there)
    };
    let mut all = pool.accepted.iter().zip(&pool.opened);
    let (accepted, opened) = all
        .find(is_it)
        .unwrap_or_else(|| panic!("{there}: {effect}"));
    Ends {
        accepted,
        opened,
        here: opened
            .peer_addr()
            .unwrap_or(SocketAddr::new(there.ip(), pool.port)),
        there,
    }
}

fn sends(mut end: &TcpStream, bytes: &[u8]) {
    end.set_nonblocking(false).expect("a socket");
    end.write_all(bytes).expect("it is alive");
}

fn until_seen(what: &str, end: &TcpStream, wanted: Seen) {
    wait_until(what, || seen(end) == wanted);
}

fn states(stage: &Stage, port: u16) -> Vec<State> {
    let mut connections = Connections::within(&stage.namespace).expect("a socket");
    let all = connections.list(&State::ALL, false).expect("a list");
    let is_there = |socket: &murphy_sys::connections::Socket| {
        socket.state != State::Listen
            && [socket.id.local.port(), socket.id.remote.port()].contains(&port)
    };
    let all = all.into_iter().filter(is_there);
    all.map(|socket| socket.state).collect()
}

/// On a pool of each family, while its namespace is captured.
fn on_each(test: impl Fn(&Stage, &mut Pool, &Capture)) {
    let Some(stage) = Stage::set_or_skip() else {
        return;
    };
    for is_v4 in [true, false] {
        let mut pool = stage.pool(is_v4, 5);
        let capture = Capture::begin(&stage.namespace);
        test(&stage, &mut pool, &capture);
    }
}

#[test]
fn a_reset_tells_both_ends_and_is_evident() {
    on_each(|stage, pool, capture| {
        let injected = inject(stage, &format!("--local-port {} --count 2", pool.port));
        let effect = injected.active["effect"].clone();
        for place in 0..2 {
            let ends = hit(pool, &effect, place);
            until_seen("aborted here", ends.accepted, ABORTED);
            until_seen("reset there", ends.opened, RESET);
            wait_until("the reset is on the wire", || {
                capture.has(ends.here, ends.there, RST)
            });
            assert!(!capture.has(ends.there, ends.here, RST | FIN));
        }
        let effect = injected.interrupt();
        assert_eq!(effect["ended"], 2, "{effect}");
        for cut in effect["connections"].as_array().expect("a list") {
            for what in ["closed", "reset_sent", "reset_received"] {
                assert_eq!(cut["evidence"][what], true, "{cut}");
            }
        }
        pool.others_answer(&pool.ended());
    });
}

#[test]
fn the_iterator_does_the_same() {
    on_each(|stage, pool, capture| {
        let iterates = murphy_sys::socket_iterator::trial(&stage.namespace);
        if let Err(error) = iterates {
            harness::say_skipped(&error.to_string());
            return;
        }
        let words = format!("--local-port {} --count 2 --engine iterator", pool.port);
        let effect = stage.effect(&words);
        for place in 0..2 {
            let ends = hit(pool, &effect, place);
            assert_eq!((seen(ends.accepted), seen(ends.opened)), (ABORTED, RESET));
            wait_until("the reset is on the wire", || {
                capture.has(ends.here, ends.there, RST)
            });
        }
        let ended = pool.ended();
        assert_eq!(ended.len(), 2);
        pool.others_answer(&ended);
    });
}

#[test]
fn a_reset_of_the_local_end_is_not_known_to_the_other_until_it_ends() {
    on_each(|stage, pool, capture| {
        let words = format!("--local-port {} --count 1 --how reset-local", pool.port);
        let injected = inject(stage, &words);
        let ends = hit(pool, &injected.active["effect"], 0);
        until_seen("aborted here", ends.accepted, ABORTED);
        sends(ends.opened, b"is anybody there?");
        sleep(Duration::from_millis(500));
        assert_eq!(seen(ends.opened), Seen::Alive);
        assert!(!capture.has(ends.here, ends.there, RST | FIN));
        let effect = injected.interrupt();
        assert_eq!(effect["ended"], 1, "{effect}");
        // What was lost is sent again, and now somebody says that there is no such connection.
        until_seen("reset there", ends.opened, RESET);
    });
}

#[test]
fn a_reset_of_the_remote_end_is_not_known_to_the_target() {
    on_each(|stage, pool, capture| {
        let words = format!("--local-port {} --count 2 --how reset-remote", pool.port);
        let injected = inject(stage, &words);
        for place in 0..2 {
            let ends = hit(pool, &injected.active["effect"], place);
            until_seen("reset there", ends.opened, RESET);
            assert!(capture.has(ends.here, ends.there, RST));
            sends(ends.accepted, b"is anybody there?");
            sleep(Duration::from_millis(300));
            assert_eq!(seen(ends.accepted), Seen::Alive);
        }
        let effect = injected.wait_for_effect("all are told", |effect| {
            effect["ended"] == 2 && effect.get("untold").is_none()
        });
        assert_eq!(effect["ended"], 2, "{effect}");
        let effect = injected.interrupt();
        // The target keeps what the other end has lost.
        assert_eq!(effect["recovery"]["leaked"]["here"], 2, "{effect}");
    });
}

#[test]
fn a_close_is_the_end_of_the_stream_on_the_wire_too() {
    on_each(|stage, pool, capture| {
        let words = format!("--local-port {} --count 1 --how close", pool.port);
        let injected = inject(stage, &words);
        let ends = hit(pool, &injected.active["effect"], 0);
        until_seen("its end here", ends.accepted, Seen::End);
        until_seen("its end there", ends.opened, Seen::End);
        wait_until("the end is on the wire", || {
            capture.has(ends.here, ends.there, FIN)
        });
        assert!(!capture.has(ends.here, ends.there, RST));
        let effect = injected.interrupt();
        // Whoever has read the end and does not close waits with half a connection.
        assert_eq!(effect["recovery"]["close_wait"]["there"], 1, "{effect}");
    });
}

#[test]
fn nothing_passes_a_stalled_connection_and_keepalive_finds_it() {
    on_each(|stage, pool, capture| {
        let words = format!("--local-port {} --count 2 --how stall", pool.port);
        let injected = inject(stage, &words);
        let effect = injected.active["effect"].clone();
        let waits = hit(pool, &effect, 0);
        let before = capture.between(waits.there, waits.here).len();
        sends(waits.opened, b"a request");
        sends(waits.accepted, b"something else");
        sleep(Duration::from_secs(1));
        assert_eq!(
            (seen(waits.accepted), seen(waits.opened)),
            (Seen::Alive, Seen::Alive)
        );
        assert_eq!(
            capture.between(waits.there, waits.here).len(),
            before,
            "nothing is on the wire"
        );
        assert!(
            states(stage, pool.port)
                .iter()
                .all(|state| *state == State::Established)
        );
        let asks = hit(pool, &effect, 1).opened;
        set_tcp_keepidle(asks, Duration::from_secs(1)).expect("a socket");
        set_tcp_keepintvl(asks, Duration::from_secs(1)).expect("a socket");
        set_tcp_keepcnt(asks, 2).expect("a socket");
        set_socket_keepalive(asks, true).expect("a socket");
        until_seen("keepalive finds it", asks, Seen::Error(ErrorKind::TimedOut));
        let effect = injected.interrupt();
        assert_eq!(effect["ended"], 2, "{effect}");
        // What was lost is sent again.
        for (mut end, text) in [
            (waits.accepted, "a request"),
            (waits.opened, "something else"),
        ] {
            end.set_nonblocking(false).expect("a socket");
            end.set_read_timeout(Some(patience())).expect("a socket");
            let mut bytes = vec![0; text.len()];
            end.read_exact(&mut bytes).expect("it is alive");
            assert_eq!(bytes, text.as_bytes());
        }
    });
}

#[test]
fn after_so_many_bytes_a_connection_is_reset_and_no_more_have_passed() {
    on_each(|stage, pool, _| {
        let words = format!(
            "--local-port {} --rate 100% --how after-bytes=10KiB",
            pool.port
        );
        let injected = inject(stage, &words);
        assert_eq!(
            injected.active["effect"]["waiting"], 5,
            "{}",
            injected.active
        );
        let (busy, idle) = pool.opened.split_first_mut().expect("five");
        busy.set_nonblocking(false).expect("a socket");
        let mut sent = 0;
        let wrote = loop {
            match busy.write(&[7; 1000]) {
                Ok(bytes) => sent += bytes,
                Err(error) => break error,
            }
            assert!(sent < 1 << 20, "it never ends");
            sleep(Duration::from_millis(1));
        };
        let kinds = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
        assert!(kinds.contains(&wrote.kind()), "{wrote}");
        assert!(sent >= 10_240, "{sent}");
        let mut got = 0;
        let accepted = &mut pool.accepted[0];
        accepted.set_nonblocking(false).expect("a socket");
        let read = loop {
            match accepted.read(&mut [0; 4096]) {
                Ok(0) => panic!("it was not closed"),
                Ok(bytes) => got += bytes,
                Err(error) => break error,
            }
        };
        assert_eq!(read.kind(), ErrorKind::ConnectionAborted);
        assert!((9_000..=10_240).contains(&got), "{got}");
        for end in idle {
            assert_eq!(seen(end), Seen::Alive);
        }
        let effect = injected.interrupt();
        assert_eq!(
            (&effect["ended"], &effect["waiting"]),
            (&1.into(), &4.into()),
            "{effect}"
        );
        assert_eq!(
            effect["connections"][0]["how"], "after-bytes=10KiB",
            "{effect}"
        );
    });
}

#[test]
fn of_old_age_die_those_that_were_there_and_those_that_come() {
    on_each(|stage, pool, _| {
        sleep(Duration::from_millis(500));
        let words = format!(
            "--local-port {} --rate 100% --new 100% --how max-age=2s",
            pool.port
        );
        let began = Instant::now();
        let injected = inject(stage, &words);
        assert_eq!(pool.ended(), []);
        let host = pool.opened[0].peer_addr().expect("it is connected");
        let late = stage.connect(host);
        let came = Instant::now();
        wait_until("all are dead of old age", || pool.ended().len() == 5);
        // They were half a second old when it began, which nobody has to know of one that has carried something.
        assert!(
            began.elapsed() >= Duration::from_millis(1400),
            "{:?}",
            began.elapsed()
        );
        until_seen("the late one, too", &late, RESET);
        assert!(
            came.elapsed() >= Duration::from_millis(1900),
            "{:?}",
            came.elapsed()
        );
        let most = slack() * Duration::from_secs(6);
        assert!(came.elapsed() < most, "{:?}", came.elapsed());
        let effect = injected.interrupt();
        assert_eq!(
            (&effect["ended"], &effect["new"]["hit"]),
            (&5.into(), &1.into()),
            "{effect}"
        );
    });
}

/// Connects so often, and says how it went: who is connected, who was refused, and who was hit before he knew.
fn connects(stage: &Stage, to: SocketAddr, times: usize) -> (Vec<TcpStream>, usize, usize) {
    let connect = || {
        let mut made = Vec::new();
        let (mut refused, mut hit) = (0, 0);
        for _ in 0..times {
            match TcpStream::connect(to) {
                Ok(stream) => made.push(stream),
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => refused += 1,
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => hit += 1,
                Err(error) => panic!("{error}"),
            }
        }
        (made, refused, hit)
    };
    stage.namespace.run(connect).expect("a namespace")
}

/// How often something of a share is expected, of so many: within four standard deviations.
fn is_share(of: usize, hits: usize, share: f64) -> bool {
    let of = of as f64;
    let sigma = (of * share * (1.0 - share)).sqrt();
    (hits as f64 - of * share).abs() <= 4.0 * sigma
}

/// Takes in whoever comes, and keeps it.
fn accepts(listener: &TcpListener, is_over: &AtomicBool) {
    listener.set_nonblocking(true).expect("a socket");
    let mut all = Vec::new();
    while !is_over.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, _)) => all.push(stream),
            Err(_) => sleep(Duration::from_millis(1)),
        }
    }
}

#[test]
fn new_ones_are_refused_by_chance_each_once_and_those_that_are_there_stay() {
    const TIMES: usize = 500;
    on_each(|stage, pool, capture| {
        let host = pool.opened[0].peer_addr().expect("it is connected");
        let (listener, is_over) = (stage.listen(host.is_ipv4()), AtomicBool::new(false));
        let to = listener.local_addr().expect("it is bound");
        thread::scope(|scope| {
            let _over = stage::Over(&is_over);
            scope.spawn(|| accepts(&listener, &is_over));
            for (side, engine) in [
                ("local-port", "sk_lookup"),
                ("remote-port", "cgroup_connect"),
                ("port", "sk_lookup + cgroup_connect"),
            ] {
                let words = format!("--{side} {} --new 30% --how refuse --seed 3", to.port());
                let injected = inject(stage, &words);
                assert_eq!(injected.active["engine"], engine);
                let (_made, refused, _) = connects(stage, to, TIMES);
                assert!(is_share(TIMES, refused, 0.3), "{words}: {refused}");
                let effect = injected.interrupt();
                assert_eq!(effect["new"]["seen"], TIMES, "{words}: {effect}");
                assert_eq!(effect["new"]["hit"], refused, "{words}: {effect}");
                assert_eq!(connects(stage, to, 50).1, 0, "{words}");
            }
        });
        pool.others_answer(&[]);
        // Whoever is refused by the kernel gets an answer to his SYN.
        let all = capture.heard.lock().expect("nobody panics");
        let of = |flag: u8, is_it: fn(&Segment, u16) -> bool| {
            let with = all.iter().filter(|one| one.flags & flag != 0);
            with.filter(|one| is_it(one, to.port())).count()
        };
        assert!(of(RST, |one, port| one.from == port) > TIMES / 5);
        assert!(of(SYN, |one, port| one.to == port) > TIMES);
    });
}

#[test]
fn new_ones_are_hit_by_chance_as_soon_as_they_are_there_whichever_end_is_the_targets() {
    const TIMES: usize = 300;
    let Some(stage) = Stage::set_or_skip() else {
        return;
    };
    let (listener, is_over) = (stage.listen(true), AtomicBool::new(false));
    let to = listener.local_addr().expect("it is bound");
    thread::scope(|scope| {
        let _over = stage::Over(&is_over);
        scope.spawn(|| accepts(&listener, &is_over));
        for (side, how) in [
            ("local-port", "reset"),
            ("remote-port", "reset"),
            ("port", "reset"),
            ("local-port", "close"),
        ] {
            let words = format!("--{side} {} --new 20% --how {how}", to.port());
            let injected = inject(&stage, &words);
            let (made, refused, aborted) = connects(&stage, to, TIMES);
            assert_eq!(refused, 0);
            let effect = injected.wait_for_effect("all are seen", |effect| {
                effect["new"]["seen"].as_u64() == Some(TIMES as u64)
            });
            let hits = || aborted + made.iter().filter(|end| seen(end) != Seen::Alive).count();
            let hit = usize::try_from(effect["new"]["hit"].as_u64().expect("a number"));
            let hit = hit.expect("a few");
            if how == "close" {
                // Each ends as soon as somebody holds it.
                wait_until("they are closed", || is_share(TIMES, hits(), 0.2));
            } else {
                assert_eq!(hits(), hit, "{words}");
            }
            assert!(is_share(TIMES, hits(), 0.2), "{words}: {effect}");
            let effect = injected.interrupt();
            assert_eq!(effect["new"]["hit"], hits(), "{words}: {effect}");
            let connects = &effect["recovery"]["connects"];
            let came = connects["accepted"]
                .as_u64()
                .zip(connects["opened"].as_u64());
            let (accepted, opened) = came.expect("numbers");
            assert_eq!(accepted + opened, TIMES as u64, "{words}: {effect}");
        }
    });
}
