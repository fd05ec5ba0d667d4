//! A network namespace with connections over its loopback, both of whose ends are in a test's hands.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::{
    io::{ErrorKind, Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{scope, sleep},
    time::Duration,
};

use murphy_sys::{connections, namespace::NetNamespace};
use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::Value;

use crate::{
    harness::{Ended, Guard, patience, say_skipped},
    network::{Named, ip},
};

/// A network namespace with a name, in which there are connections over the loopback.
pub struct Stage {
    pub namespace: NetNamespace,
    pub named: Named,
    pub guard: Guard,
}

/// Both ends of some connections, the nth beside the nth.
pub struct Pool {
    pub port: u16,
    pub accepted: Vec<TcpStream>,
    pub opened: Vec<TcpStream>,
}

/// What the owner of an end sees of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    Alive,
    Error(ErrorKind),
    End,
}

impl Stage {
    pub fn set_or_skip() -> Option<Self> {
        let guard = Guard::root_or_skip()?;
        let (named, namespaces) = Named::make(&guard, ["c".to_owned()]);
        let namespace = namespaces.into_iter().next().expect("one was made");
        assert!(ip(&["-n", named.name(0), "link", "set", "lo", "up"]));
        has_room();
        if let Err(error) = connections::trial(&namespace) {
            say_skipped(&error.to_string());
            return None;
        }
        Some(Self {
            namespace,
            named,
            guard,
        })
    }

    pub fn listen(&self, is_v4: bool) -> TcpListener {
        let host: IpAddr = if is_v4 { "127.0.0.1" } else { "::1" }
            .parse()
            .expect("one");
        let bound = self.namespace.run(|| TcpListener::bind((host, 0)));
        bound.expect("a namespace").expect("a socket")
    }

    pub fn connect(&self, to: SocketAddr) -> TcpStream {
        let opened = self.namespace.run(|| TcpStream::connect(to));
        opened.expect("a namespace").expect("a connection")
    }

    /// So many connections, all made from one thread of the namespace.
    pub fn pool(&self, is_v4: bool, count: usize) -> Pool {
        let listener = self.listen(is_v4);
        let to = listener.local_addr().expect("it is bound");
        let made = self.namespace.run(|| {
            let one = || {
                let opened = TcpStream::connect(to).expect("somebody listens");
                let (accepted, _) = listener.accept().expect("somebody has come");
                (accepted, opened)
            };
            (0..count).map(|_| one()).unzip()
        });
        let (accepted, opened) = made.expect("a namespace");
        // Who listens stays: that is what an accepted connection is known by.
        std::mem::forget(listener);
        Pool {
            port: to.port(),
            accepted,
            opened,
        }
    }

    pub fn run(&self, words: &str) -> Ended {
        let words = format!("inject conn -t {} {words}", self.named.target(0));
        self.guard.murphy(words.split(' ')).run()
    }

    /// The last effect of one that must work.
    pub fn effect(&self, words: &str) -> Value {
        let ended = self.run(&format!("--json {words}"));
        assert_eq!(ended.code, 0, "{ended:?}");
        let last = ended.lines().into_iter().last().expect("it says something");
        assert_eq!(last["event"], "recovered", "{last}");
        last["effect"].clone()
    }
}

/// Both ends of a thousand connections are more descriptors than a shell gives.
fn has_room() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("up to the maximum everybody may");
}

pub fn seen(end: &TcpStream) -> Seen {
    end.set_nonblocking(true).expect("a socket");
    let mut end = end;
    let read = end.read(&mut [0]);
    match read {
        Ok(0) => Seen::End,
        Ok(_) => panic!("nobody has sent anything"),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Seen::Alive,
        Err(error) => Seen::Error(error.kind()),
    }
}

impl Pool {
    /// Which of them have ended, as both of their owners see it.
    pub fn ended(&self) -> Vec<(usize, Seen, Seen)> {
        let ends = self.accepted.iter().zip(&self.opened).enumerate();
        let seen = ends.map(|(place, (accepted, opened))| (place, seen(accepted), seen(opened)));
        let ended = seen.filter(|(_, accepted, opened)| {
            let is_alive = [*accepted, *opened].map(|end| end == Seen::Alive);
            assert_eq!(is_alive[0], is_alive[1], "both ends are told, or neither");
            !is_alive[0]
        });
        ended.collect()
    }

    /// Those that have not ended carry data both ways.
    pub fn others_answer(&self, ended: &[(usize, Seen, Seen)]) {
        let ended: Vec<_> = ended.iter().map(|(place, ..)| *place).collect();
        for (place, (mut one, mut other)) in self.accepted.iter().zip(&self.opened).enumerate() {
            if ended.contains(&place) {
                continue;
            }
            for end in [one, other] {
                end.set_nonblocking(false).expect("a socket");
                end.set_read_timeout(Some(patience())).expect("a socket");
            }
            let mut answer = [0];
            one.write_all(b"a").expect("it is alive");
            other.read_exact(&mut answer).expect("it is alive");
            other.write_all(&answer).expect("it is alive");
            one.read_exact(&mut answer).expect("it is alive");
        }
    }
}

pub const RESET: (Seen, Seen) = (
    Seen::Error(ErrorKind::ConnectionAborted),
    Seen::Error(ErrorKind::ConnectionReset),
);

/// Says that it is over when it goes, however that comes.
pub struct Over<'a>(pub &'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Clients that connect again as soon as their connection has ended.
pub fn keep_connected(stage: &Stage, listener: &TcpListener, count: usize, is_over: &AtomicBool) {
    let to = listener.local_addr().expect("it is bound");
    let accepted = Mutex::new(Vec::new());
    scope(|scope| {
        scope.spawn(|| {
            listener.set_nonblocking(true).expect("a socket");
            while !is_over.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => accepted.lock().expect("nobody panics").push(stream),
                    Err(_) => sleep(Duration::from_millis(2)),
                }
            }
        });
        for _ in 0..count {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let mut stream = stage.connect(to);
                    let timeout = Some(Duration::from_millis(20));
                    stream.set_read_timeout(timeout).expect("a socket");
                    while !is_over.load(Ordering::Relaxed) {
                        match stream.read(&mut [0]) {
                            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                            _ => break,
                        }
                    }
                }
            });
        }
    });
}
