//! What is wrong with a network is found by the built binary, while it is wrong, with its kind, its edge and its way.

#[path = "../../murphy-sys/tests/wire/mod.rs"]
mod wire;

mod harness;
mod network;
mod victims;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::atomic::{AtomicBool, Ordering},
    thread::{Scope, scope, sleep},
    time::Duration,
};

use harness::{Guard, patience, say_skipped};
use murphy_sys::{ping::Pinger, tcp_events};
use network::Named;
use serde_json::Value;
use wire::{Wire, address};

/// How long it takes until an observer knows what is usual.
const BEFORE: Duration = Duration::from_secs(4);
/// How many clients there are.
const CLIENTS: usize = 8;

/// Two named nodes on a wire: who asks, and who answers.
struct Lab {
    wire: Wire,
    named: Named,
    guard: Guard,
}

/// Which end is observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Client,
    Server,
}

impl Lab {
    fn lay_or_skip() -> Option<Self> {
        let guard = Guard::root_or_skip()?;
        if let Err(error) = tcp_events::trial() {
            say_skipped(&error.to_string());
            return None;
        }
        let (named, namespaces) = Named::make(&guard, ["c".to_owned(), "s".to_owned()]);
        let [a, b] = namespaces.try_into().expect("two were made");
        if let Err(error) = Pinger::new(&a, None) {
            say_skipped(&error.to_string());
            return None;
        }
        Some(Self {
            wire: Wire::lay(a, b),
            named,
            guard,
        })
    }

    fn target(&self, end: End) -> String {
        self.named.target(match end {
            End::Client => 0,
            End::Server => 1,
        })
    }

    fn listen(&self, is_v4: bool) -> TcpListener {
        let at: SocketAddr = (address(is_v4, 2), 0).into();
        let bound = self.wire.b.run(|| TcpListener::bind(at));
        bound.expect("a namespace").expect("a socket")
    }

    fn connect(&self, to: SocketAddr) -> Option<TcpStream> {
        let within = Duration::from_secs(2);
        let made = self.wire.a.run(|| TcpStream::connect_timeout(&to, within));
        let stream = made.expect("a namespace").ok()?;
        stream.set_nodelay(true).expect("a socket");
        stream.set_read_timeout(Some(patience())).expect("a socket");
        Some(stream)
    }

    /// Clients that ask a hundred times a second, or never, and connect again when they have to.
    fn talk<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        listener: &'scope TcpListener,
        is_busy: bool,
        is_over: &'scope AtomicBool,
    ) {
        let to = listener.local_addr().expect("it is bound");
        listener.set_nonblocking(true).expect("a socket");
        scope.spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => drop(scope.spawn(move || answer(stream, is_over))),
                    Err(_) => sleep(Duration::from_millis(2)),
                }
            }
        });
        for _ in 0..CLIENTS {
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    let Some(stream) = self.connect(to) else {
                        continue;
                    };
                    ask(stream, is_busy, is_over);
                }
            });
        }
    }

    /// What is found while something is wrong, from the time at which it is usual.
    fn observe(
        &self,
        end: End,
        is_v4: bool,
        is_busy: bool,
        wrong: impl FnOnce(&Self, u16),
    ) -> Vec<Value> {
        let listener = self.listen(is_v4);
        let port = listener.local_addr().expect("it is bound").port();
        let is_over = AtomicBool::new(false);
        scope(|scope| {
            self.talk(scope, &listener, is_busy, &is_over);
            let words = ["observe", "-t", &self.target(end), "--json"];
            let observer = self.guard.murphy(words).start();
            sleep(BEFORE);
            wrong(self, port);
            observer.signal("INT");
            let ended = observer.wait();
            is_over.store(true, Ordering::Relaxed);
            assert_eq!(ended.code, 0, "{ended:?}");
            let lines = ended.lines();
            let last = lines.last().expect("it says something");
            assert_eq!(last["event"], "ended");
            let port = u64::from(port);
            let found = lines.iter().filter(|line| line["event"] == "found");
            for finding in found.clone() {
                assert_eq!(finding["edge"]["port"].as_u64(), Some(port), "{finding}");
                let peer = address(is_v4, if end == End::Client { 2 } else { 1 });
                assert_eq!(finding["edge"]["peer"], peer.to_string(), "{finding}");
            }
            found.cloned().collect()
        })
    }

    /// Injects into the client's node, and waits until it is over.
    fn inject(&self, words: &str) {
        let words = words.replace("TARGET", &self.named.target(0));
        let ended = self.guard.murphy(words.split(' ')).run();
        assert_eq!(ended.code, 0, "{ended:?}");
    }
}

fn answer(mut stream: TcpStream, is_over: &AtomicBool) {
    let mut question = [0; 32];
    stream.set_nonblocking(false).expect("a socket");
    let short = Some(Duration::from_millis(100));
    stream.set_read_timeout(short).expect("a socket");
    while !is_over.load(Ordering::Relaxed) {
        match stream.read(&mut question) {
            Ok(0) => return,
            Ok(length) if stream.write_all(&question[..length]).is_err() => return,
            Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => return,
            _ => {}
        }
    }
}

/// Asks until it is over, or the connection is.
fn ask(mut stream: TcpStream, is_busy: bool, is_over: &AtomicBool) {
    let mut question = [7; 32];
    while !is_over.load(Ordering::Relaxed) {
        let mut is_answered = || {
            let asked = stream.write_all(&question);
            asked.is_ok() && stream.read_exact(&mut question).is_ok()
        };
        if is_busy && !is_answered() {
            return;
        }
        sleep(Duration::from_millis(10));
    }
}

fn kinds(found: &[Value]) -> Vec<(&str, &str)> {
    found
        .iter()
        .map(|finding| {
            let of = |name: &str| finding[name].as_str().expect("a word");
            (of("kind"), of("direction"))
        })
        .collect()
}

#[test]
fn a_loss_on_busy_connections_is_found_with_its_share() {
    let Some(lab) = Lab::lay_or_skip() else {
        return;
    };
    let lose = |lab: &Lab, _| lab.inject("inject net -t TARGET --loss 30% --direction to --for 5s");
    let found = lab.observe(End::Client, true, true, lose);
    assert_eq!(kinds(&found), [("loss", "to")], "{found:?}");
    let share = &found[0]["size"]["share"];
    let bounds = [0, 1].map(|place| share["interval"][place].as_f64().expect("a share"));
    // It is told as soon as it is known, with what is known by then.
    assert!(bounds[0] < 0.45 && bounds[1] > 0.15, "{share}");
}

#[test]
fn a_partition_of_idle_connections_is_found_with_its_way_from_both_ends() {
    let Some(lab) = Lab::lay_or_skip() else {
        return;
    };
    let cut = |lab: &Lab, _| {
        lab.inject("inject net -t TARGET --partition --direction to --for 5s");
    };
    let found = lab.observe(End::Client, false, false, cut);
    assert_eq!(kinds(&found), [("partition", "to")], "{found:?}");
    let found = lab.observe(End::Server, false, false, cut);
    assert_eq!(kinds(&found), [("partition", "from")], "{found:?}");
}

#[test]
fn a_delay_is_found_with_its_way_and_its_size() {
    let Some(lab) = Lab::lay_or_skip() else {
        return;
    };
    let delay = |lab: &Lab, _| {
        lab.inject("inject net -t TARGET --delay 50ms --direction to --for 5s");
    };
    let found = lab.observe(End::Server, true, true, delay);
    let [latency] = &found[..] else {
        panic!("{found:?}");
    };
    assert_eq!(kinds(&found), [("latency", "from")]);
    let us = latency["size"]["time"]["us"].as_u64().expect("a time");
    assert!(us >= 50_000, "{latency}");
}

#[test]
fn resets_are_found_from_both_ends_and_healthy_traffic_gives_no_alarm() {
    let Some(lab) = Lab::lay_or_skip() else {
        return;
    };
    let nothing = |_: &Lab, _| sleep(Duration::from_secs(4));
    assert_eq!(
        lab.observe(End::Server, true, true, nothing),
        Vec::<Value>::new()
    );
    let reset = |lab: &Lab, port: u16| {
        lab.inject(&format!(
            "inject conn -t TARGET --remote-port {port} --rate 100%"
        ));
        sleep(Duration::from_secs(2));
    };
    let found = lab.observe(End::Client, true, true, reset);
    assert_eq!(kinds(&found), [("resets", "to")], "{found:?}");
    let found = lab.observe(End::Server, false, false, reset);
    assert_eq!(kinds(&found), [("resets", "from")], "{found:?}");
}
