//! Connections of a process that shares the machine's network namespace: only its own are hit, though others use the same
//! ports.

#[path = "../../murphy-sys/tests/wire/mod.rs"]
mod wire;

mod harness;
mod network;
mod victims;

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::{UnixListener, UnixStream},
    sync::{Arc, Mutex},
};

use harness::{Guard, Running, patience, say_skipped, wait_until};
use murphy_sys::{
    connections,
    namespace::NetNamespace,
    refusal::{trial_accepted, trial_opened},
    tcp_events,
};
use network::Disturbance;
use serde_json::Value;

/// The processes of a test, which go before its guard.
struct Street {
    target: Peer,
    neighbour: Peer,
    guard: Guard,
}

/// A process of `victims/peer.py`, or a child of one, and where it takes orders. A child ends with its orders.
struct Peer {
    orders: Mutex<BufReader<UnixStream>>,
    /// Where its children come for theirs.
    listener: Arc<UnixListener>,
    pid: u32,
    _process: Option<Running>,
}

fn number(of: &Value, name: &str) -> u64 {
    of[name].as_u64().unwrap_or(0)
}

impl Peer {
    fn start(guard: &Guard, name: &str) -> Self {
        let path = guard.dir().join(name);
        let listener = Arc::new(UnixListener::bind(&path).expect("a socket"));
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/../../victims/peer.py");
        let process = guard.program("python3".as_ref());
        let process = process.arg(program).arg(&path).start();
        Self::come(listener, process.pid(), Some(process))
    }

    fn come(listener: Arc<UnixListener>, pid: u32, process: Option<Running>) -> Self {
        let (orders, _) = listener.accept().expect("it comes for its orders");
        orders.set_read_timeout(Some(patience())).expect("a socket");
        Self {
            orders: Mutex::new(BufReader::new(orders)),
            listener,
            pid,
            _process: process,
        }
    }

    fn fork(&self) -> Self {
        let pid = self.obey("fork").parse().expect("a pid");
        Self::come(Arc::clone(&self.listener), pid, None)
    }

    fn obey(&self, order: &str) -> String {
        let mut orders = self.orders.lock().expect("nobody panics with it");
        writeln!(orders.get_ref(), "{order}").expect("it takes orders");
        let mut answer = String::new();
        let read = orders.read_line(&mut answer).expect("it answers");
        assert_ne!(read, 0, "it ended at {order}");
        answer.trim_end().to_owned()
    }

    /// Listens; on which port.
    fn listen(&self) -> u16 {
        self.obey("listen").parse().expect("a port")
    }

    /// Connects so often; how many were made and how many refused.
    fn connect(&self, port: u16, times: usize) -> (u64, u64) {
        let went = self.obey(&format!("connect {port} {times}"));
        let went = serde_json::from_str(&went).expect("it says so in JSON");
        (number(&went, "made"), number(&went, "ECONNREFUSED"))
    }

    /// How many of its ends are, or were, in this way.
    fn ends(&self, how: &str) -> u64 {
        let ends = serde_json::from_str(&self.obey("ends")).expect("it says so in JSON");
        number(&ends, how)
    }
}

impl Street {
    fn set_or_skip(needs: &[fn() -> Result<(), String>]) -> Option<Self> {
        let guard = Guard::root_or_skip()?;
        let missing = needs.iter().find_map(|trial| trial().err());
        if let Some(missing) = missing {
            say_skipped(&missing);
            return None;
        }
        Some(Self {
            target: Peer::start(&guard, "target"),
            neighbour: Peer::start(&guard, "neighbour"),
            guard,
        })
    }

    /// The last effect of a fault of the target that must work.
    fn effect(&self, words: &str) -> Value {
        let target = self.target.pid;
        let words = format!("inject conn --json -t pid:{target} {words}");
        let ended = self.guard.murphy(words.split(' ')).run();
        assert_eq!(ended.code, 0, "{ended:?}");
        let last = ended.lines().pop().expect("it says something");
        assert_eq!(last["event"], "recovered", "{last}");
        last["effect"].clone()
    }

    fn inject(&self, words: &str) -> Disturbance<'_> {
        let words = format!("--for 60s {words}");
        let words: Vec<_> = words.split(' ').collect();
        let target = format!("pid:{}", self.target.pid);
        Disturbance::of_family(&self.guard, "conn", &target, &words)
    }
}

fn resets() -> Result<(), String> {
    let own = NetNamespace::of_process(std::process::id()).map_err(|error| error.to_string())?;
    connections::trial(&own).map_err(|error| error.to_string())
}

fn refuses() -> Result<(), String> {
    let both = trial_accepted().and_then(|()| trial_opened());
    both.map_err(|error| error.to_string())
}

fn hears() -> Result<(), String> {
    tcp_events::trial().map_err(|error| error.to_string())
}

/// Whether so many of so many are a share, within four standard deviations.
fn is_share(hits: u64, of: usize, share: f64) -> bool {
    let of = of as f64;
    let sigma = (of * share * (1.0 - share)).sqrt();
    (hits as f64 - of * share).abs() <= 4.0 * sigma
}

#[test]
fn only_its_own_ends_though_others_use_the_same_ports() {
    let Some(street) = Street::set_or_skip(&[resets]) else {
        return;
    };
    let Street {
        target, neighbour, ..
    } = &street;
    let (own, other) = (target.listen(), neighbour.listen());
    assert_eq!(target.connect(other, 4), (4, 0));
    assert_eq!(neighbour.connect(other, 5), (5, 0));
    assert_eq!(neighbour.connect(own, 3), (3, 0));
    wait_until("all are there", || {
        (target.ends("alive"), neighbour.ends("alive")) == (4 + 3, 4 + 2 * 5 + 3)
    });
    let effect = street.effect(&format!("--port {own},{other} --rate 100%"));
    let figures = ["before", "asked", "ended", "now"].map(|name| number(&effect, name));
    assert_eq!(figures, [7, 7, 7, 0], "{effect}");
    for cut in effect["connections"].as_array().expect("a list") {
        assert_eq!(cut["owner"]["pid"], target.pid, "{cut}");
    }
    wait_until("both ends are told", || {
        (target.ends("ECONNABORTED"), neighbour.ends("ECONNRESET")) == (7, 7)
    });
    assert_eq!((target.ends("alive"), neighbour.ends("alive")), (0, 2 * 5));
}

#[test]
fn those_that_wait_to_be_accepted_are_the_listeners() {
    let Some(street) = Street::set_or_skip(&[resets]) else {
        return;
    };
    let port = street.target.obey("listen waiting");
    let port = port.parse().expect("a port");
    assert_eq!(street.neighbour.connect(port, 5), (5, 0));
    let effect = street.effect(&format!("--local-port {port} --count 3"));
    let figures = ["before", "ended", "now"].map(|name| number(&effect, name));
    assert_eq!(figures, [5, 3, 2], "{effect}");
    for cut in effect["connections"].as_array().expect("a list") {
        assert_eq!(cut["owner"]["pid"], street.target.pid, "{cut}");
        assert!(cut["owner"].get("descriptor").is_none(), "{cut}");
        assert_eq!(cut["side"], "accepted", "{cut}");
    }
    wait_until("they are told", || street.neighbour.ends("ECONNRESET") == 3);
    assert_eq!(street.neighbour.ends("alive"), 2);
}

#[test]
fn its_listener_and_its_connects_are_refused_and_nobody_elses() {
    let Some(street) = Street::set_or_skip(&[refuses]) else {
        return;
    };
    let Street {
        target, neighbour, ..
    } = &street;
    let (own, other) = (target.listen(), neighbour.listen());
    let injected = street.inject(&format!("--port {own},{other} --new 100% --how refuse"));
    assert_eq!(injected.active["engine"], "sk_lookup + cgroup_connect");
    assert_eq!(neighbour.connect(own, 20), (0, 20), "to its listener");
    assert_eq!(target.connect(other, 10), (0, 10), "its own");
    assert_eq!(target.connect(own, 5), (0, 5), "to itself");
    assert_eq!(neighbour.connect(other, 30), (30, 0), "between others");
    let effect = injected.interrupt();
    assert_eq!(effect["new"]["seen"], 35, "{effect}");
    assert_eq!(effect["new"]["hit"], 35, "{effect}");
    assert_eq!(neighbour.connect(own, 2), (2, 0));
    assert_eq!(target.connect(other, 2), (2, 0));
}

#[test]
fn of_new_ones_only_its_own_are_drawn() {
    const TIMES: usize = 300;
    let Some(street) = Street::set_or_skip(&[resets, hears]) else {
        return;
    };
    let Street {
        target, neighbour, ..
    } = &street;
    let other = neighbour.listen();
    let injected = street.inject(&format!("--remote-port {other} --new 50%"));
    assert_eq!(neighbour.connect(other, TIMES), (TIMES as u64, 0));
    assert_eq!(target.connect(other, TIMES), (TIMES as u64, 0));
    let effect = injected.wait_for_effect("all are drawn", |effect| {
        number(&effect["new"], "seen") == TIMES as u64
    });
    let hit = number(&effect["new"], "hit");
    assert!(is_share(hit, TIMES, 0.5), "{effect}");
    wait_until("all that were hit have ended", || {
        target.ends("ECONNABORTED") == hit
    });
    wait_until("the other ends are told", || {
        neighbour.ends("ECONNRESET") == hit
    });
    assert_eq!(neighbour.ends("alive"), 3 * TIMES as u64 - hit);
    let effect = injected.interrupt();
    assert_eq!(effect["new"]["seen"], TIMES, "{effect}");
}

#[test]
fn one_that_it_opens_to_itself_is_drawn_once() {
    const TIMES: usize = 1000;
    let Some(street) = Street::set_or_skip(&[refuses, resets, hears]) else {
        return;
    };
    let target = &street.target;
    let port = target.listen();
    let injected = street.inject(&format!("--port {port} --new 30% --how refuse"));
    let (made, refused) = target.connect(port, TIMES);
    assert!(is_share(refused, TIMES, 0.3), "{refused}");
    let effect = injected.interrupt();
    assert_eq!(effect["new"]["seen"], TIMES, "{effect}");
    assert_eq!(effect["new"]["hit"], refused, "{effect}");
    assert_eq!(target.ends("alive"), 2 * made);

    let injected = street.inject(&format!("--port {port} --new 30%"));
    assert_eq!(target.connect(port, TIMES), (TIMES as u64, 0));
    let effect = injected.wait_for_effect("all are drawn", |effect| {
        number(&effect["new"], "seen") == TIMES as u64
    });
    let hit = number(&effect["new"], "hit");
    assert!(is_share(hit, TIMES, 0.3), "{effect}");
    wait_until("both ends are told", || {
        (target.ends("ECONNABORTED"), target.ends("ECONNRESET")) == (hit, hit)
    });
    injected.interrupt();
}

#[test]
fn its_children_are_followed() {
    let Some(street) = Street::set_or_skip(&[resets, refuses]) else {
        return;
    };
    let Street {
        target, neighbour, ..
    } = &street;
    let (open, closed) = (neighbour.listen(), neighbour.listen());
    let draws = format!("--remote-port {open} --rate 100% --every 300ms --allow-none");
    let draws = street.inject(&draws);
    let refuses = format!("--remote-port {closed} --new 100% --how refuse");
    let refuses = street.inject(&refuses);
    let child = target.fork();
    assert_eq!(child.connect(open, 3), (3, 0));
    assert_eq!(neighbour.connect(open, 2), (2, 0));
    wait_until("the child's are refused", || {
        child.connect(closed, 1) == (0, 1)
    });
    let effect = draws.wait_for_effect("the child's have ended", |effect| effect["ended"] == 3);
    for cut in effect["connections"].as_array().expect("a list") {
        assert_eq!(cut["owner"]["pid"], child.pid, "{cut}");
    }
    assert_eq!(child.ends("ECONNABORTED"), 3);
    assert_eq!(neighbour.connect(closed, 5), (5, 0), "nobody else's");
    assert_eq!(draws.interrupt()["ended"], 3);
    let effect = refuses.interrupt();
    assert_eq!(effect["new"]["hit"], 1, "{effect}");
}
