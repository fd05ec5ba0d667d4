//! Whom observers look at, for tests: two named nodes on a wire, and who answers there.
//!
//! A test file that says `mod observed;` says `mod harness;`, `mod victims;`, `mod network;` and `mod wire;` before it.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use murphy_sys::{ping::Pinger, tcp_events};

use crate::{
    harness::{Guard, say_skipped},
    network::Named,
    wire::{Wire, address},
};

/// Two named nodes on a wire: who asks, and who answers. They go with the test, before its guard.
pub struct Pair {
    pub wire: Wire,
    pub named: Named,
    pub guard: Guard,
}

impl Pair {
    /// Lays it; none, with the reason, where connections cannot be watched or packets not be disturbed.
    pub fn lay_or_skip() -> Option<Self> {
        let guard = Guard::root_or_skip()?;
        if let Err(error) = tcp_events::trial() {
            say_skipped(&error.to_string());
            return None;
        }
        let endings = ["c".to_owned(), "s".to_owned()];
        let (named, namespaces) = Named::make_or_skip(&guard, endings)?;
        let [a, b] = namespaces.try_into().expect("two were made");
        Some(Self {
            wire: Wire::lay(a, b),
            named,
            guard,
        })
    }

    /// The same; none either where nobody can be pinged.
    pub fn pinged_or_skip() -> Option<Self> {
        let pair = Self::lay_or_skip()?;
        if let Err(error) = Pinger::new(&pair.wire.a, None) {
            say_skipped(&error.to_string());
            return None;
        }
        Some(pair)
    }

    /// Somewhere to be asked for connections at the second node.
    pub fn listen(&self) -> TcpListener {
        let at: SocketAddr = (address(true, 2), 0).into();
        let bound = self.wire.b.run(|| TcpListener::bind(at));
        bound.expect("a namespace").expect("a socket")
    }

    /// Injects into the first node, and waits until it is over.
    pub fn inject(&self, words: &str) {
        let words = words.replace("TARGET", &self.named.target(0));
        let ended = self.guard.murphy(words.split(' ')).run();
        assert_eq!(ended.code, 0, "{ended:?}");
    }
}

/// Sends back what comes, until it is over, or the other end has gone.
pub fn echo(mut stream: TcpStream, is_over: &AtomicBool) {
    let mut question = [0; 32];
    stream.set_nonblocking(false).expect("a socket");
    stream.set_nodelay(true).expect("a socket");
    let short = Some(Duration::from_millis(100));
    stream.set_read_timeout(short).expect("a socket");
    while !is_over.load(Ordering::Relaxed) {
        match stream.read(&mut question) {
            Ok(0) => return,
            Ok(length) if stream.write_all(&question[..length]).is_err() => return,
            Err(error) if error.kind() != ErrorKind::WouldBlock => return,
            _ => {}
        }
    }
}
