//! Disturbed packets, for tests: a wire between two named namespaces, and `murphy inject net` on one of them.
//!
//! A test file that says `mod network;` says `mod harness;`, `mod victims;` and `mod wire;` before it.
#![allow(dead_code, reason = "each test file uses its own part")]

pub mod ping;

use std::{
    io::{Read, Write},
    net::{IpAddr, TcpListener, TcpStream},
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use murphy_sys::{
    link,
    namespace::NetNamespace,
    qdisc::{self, Handle, filter},
    traffic,
};
use serde_json::Value;

use crate::{
    harness::{Ended, Guard, Murphy, say_skipped, signal, slack},
    victims::Heard,
    wire::{Pace, Wire, address, timed},
};

/// A wire between two namespaces with names. It goes with the test, before its guard.
pub struct Nodes {
    named: Named,
    pub wire: Wire,
}

/// Network namespaces with names, which go with the test, before its guard.
pub struct Named(Vec<String>);

impl Named {
    /// As many as there are endings of names; none, with the reason, where packets cannot be disturbed.
    pub fn make_or_skip(
        guard: &Guard,
        endings: impl IntoIterator<Item = String>,
    ) -> Option<(Self, Vec<NetNamespace>)> {
        if let Err(error) = traffic::trial().or_else(|_| traffic::trial_by_filters()) {
            say_skipped(&error.to_string());
            return None;
        }
        Some(Self::make(guard, endings))
    }

    /// The same, whether packets can be disturbed or not.
    pub fn make(
        guard: &Guard,
        endings: impl IntoIterator<Item = String>,
    ) -> (Self, Vec<NetNamespace>) {
        let named = Self(
            endings
                .into_iter()
                .map(|ending| guard.name(&ending))
                .collect(),
        );
        let open = |name: &String| {
            assert!(ip(&["netns", "add", name]), "a network namespace");
            NetNamespace::open(Path::new(&format!("/run/netns/{name}"))).expect("it was just made")
        };
        let namespaces = named.0.iter().map(open).collect();
        (named, namespaces)
    }

    /// The name of one.
    pub fn name(&self, place: usize) -> &str {
        &self.0[place]
    }

    /// `netns:NAME` of one, as a target or as a peer.
    pub fn target(&self, place: usize) -> String {
        format!("netns:{}", self.name(place))
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        for name in &self.0 {
            ip(&["netns", "del", name]);
        }
    }
}

impl Nodes {
    /// Lays it; none, with the reason, where packets cannot be disturbed.
    pub fn lay_or_skip(guard: &Guard) -> Option<Self> {
        Named::make_or_skip(guard, Self::ENDINGS.map(str::to_owned)).map(Self::between)
    }

    /// Lays it, whether packets can be disturbed or not.
    pub fn lay(guard: &Guard) -> Self {
        Self::between(Named::make(guard, Self::ENDINGS.map(str::to_owned)))
    }

    const ENDINGS: [&str; 2] = ["1", "2"];

    fn between((named, namespaces): (Named, Vec<NetNamespace>)) -> Self {
        let [a, b] = namespaces.try_into().expect("two were made");
        Self {
            named,
            wire: Wire::lay(a, b),
        }
    }

    /// The name of node 1.
    pub fn name(&self) -> &str {
        self.named.name(0)
    }

    /// `netns:NAME` of node 1, as a target.
    pub fn target(&self) -> String {
        self.named.target(0)
    }

    /// The same of node 2, as a peer.
    pub fn peer(&self) -> String {
        self.named.target(1)
    }

    /// How many of so many datagrams of each family from node 1 come.
    pub fn come(&self, count: u32) -> usize {
        self.all_that_come(false, count)
    }

    /// How many of so many of each family to node 1 come.
    pub fn come_back(&self, count: u32) -> usize {
        self.all_that_come(true, count)
    }

    fn all_that_come(&self, back: bool, count: u32) -> usize {
        let flows = self.wire.flows(back, Pace::at_once(count));
        flows.iter().map(|flow| flow.came.len()).sum()
    }

    /// The least of the times that datagrams take, in milliseconds, until one is below `prompt`; in five rounds at most, and
    /// more where everything is slow: such a machine is busy for a while with what has begun.
    pub fn quickest(&self, back: bool, prompt: f64) -> f64 {
        let mut least = f64::INFINITY;
        for _ in 0..2 + 3 * slack() {
            if least < prompt {
                break;
            }
            let times = timed(&self.wire, true, back, 10);
            assert_eq!(times.len(), 10, "all come");
            least = times.into_iter().fold(least, f64::min);
        }
        least
    }

    /// Whether nothing is lost either way.
    pub fn is_calm(&self) -> bool {
        thread::scope(|scope| {
            let back = scope.spawn(|| self.come_back(50));
            let there = self.come(50);
            (there, back.join().expect("it only asks")) == (100, 100)
        })
    }

    /// Lays one more wire between the nodes, with this number at node 1, and addresses that end in 1 and in 2.
    pub fn lay_more(&self, number: &str) -> [IpAddr; 2] {
        let other = self.named.name(1);
        let at = ["-n", self.name(), "link", "add", "more0", "index", number];
        let to = ["type", "veth", "peer", "name", "more0", "netns", other];
        assert!(ip(&[&at[..], &to].concat()), "a wire");
        for (node, address) in [(self.name(), "10.77.9.1/24"), (other, "10.77.9.2/24")] {
            assert!(ip(&["-n", node, "addr", "add", address, "dev", "more0"]));
            assert!(ip(&["-n", node, "link", "set", "more0", "up"]));
        }
        ["10.77.9.1", "10.77.9.2"].map(|address| address.parse().expect("an address"))
    }

    /// Takes that wire away, and lays it again; how many `come` then.
    pub fn lay_again(&self, number: &str, come: impl Fn() -> usize) -> usize {
        assert!(ip(&["-n", self.name(), "link", "del", "more0"]));
        self.lay_more(number);
        // Neighbours are to be found, and Murphy looks every second.
        for _ in 0..10 {
            come();
        }
        come()
    }

    /// What somebody has [made](made) at node 1.
    pub fn made(&self) -> Vec<String> {
        let node = &self.wire.a;
        made(node, link::index(node, "eth0").expect("it is there"))
    }
}

/// The qdiscs and filters of a device that somebody has made, and the devices of Murphy's beside it.
pub fn made(node: &NetNamespace, device: u32) -> Vec<String> {
    let qdiscs = qdisc::list(node, device).expect("a namespace");
    let qdiscs = qdiscs.iter().filter(|qdisc| !qdisc.is_kernel_default());
    let mut made: Vec<_> = qdiscs.map(|qdisc| qdisc.id.to_string()).collect();
    for parent in [Handle::EGRESS, Handle::INGRESS] {
        let filters = filter::list(node, device, parent).expect("a namespace");
        made.extend(filters.iter().map(ToString::to_string));
    }
    let devices = link::devices(node).expect("a namespace");
    let devices = devices.into_iter().map(|device| device.name);
    made.extend(devices.filter(|name| name.starts_with("mphy-")));
    made
}

/// The engine that loses packets on this kernel when nobody chooses.
pub fn best_engine() -> &'static str {
    if traffic::trial().is_ok() {
        "tcx"
    } else {
        "cls_bpf"
    }
}

/// The engine that takes packets out of this kernel.
pub fn engine_with_taps() -> &'static str {
    if traffic::trial().is_ok() {
        "cable"
    } else {
        "cls_bpf"
    }
}

/// How long a stream of so many bytes takes from node 1 to node 2, from the connection to its end.
pub fn stream(wire: &Wire, is_v4: bool, bytes: usize) -> Duration {
    stream_between(&wire.a, (&wire.b, address(is_v4, 2)), bytes)
}

/// The same from node 2 to node 1.
pub fn stream_back(wire: &Wire, is_v4: bool, bytes: usize) -> Duration {
    stream_between(&wire.b, (&wire.a, address(is_v4, 1)), bytes)
}

fn stream_between(
    from: &NetNamespace,
    (to, host): (&NetNamespace, IpAddr),
    bytes: usize,
) -> Duration {
    let listener = to.run(|| TcpListener::bind((host, 0)));
    let listener = listener.expect("a namespace").expect("a socket");
    let there = listener.local_addr().expect("it is bound");
    let reader = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let began = Instant::now();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).expect("a stream");
        (all.len(), began.elapsed())
    });
    let stream = from.run(|| TcpStream::connect(there));
    let mut stream = stream.expect("a namespace").expect("a connection");
    stream.write_all(&vec![7; bytes]).expect("it is read");
    drop(stream);
    let (came, took) = reader.join().expect("it only reads");
    assert_eq!(came, bytes);
    took
}

/// Runs `ip`.
pub fn ip(words: &[&str]) -> bool {
    let status = Command::new("ip").args(words).status();
    status.is_ok_and(|status| status.success())
}

/// Runs `tc` in a namespace of this name.
pub fn tc(name: &str, words: &[&str]) -> bool {
    let status = Command::new("tc").args(["-n", name]).args(words).status();
    status.is_ok_and(|status| status.success())
}

/// A disturbance in force.
pub struct Disturbance<'a> {
    guard: &'a Guard,
    injector: Heard,
    /// Its id.
    pub id: String,
    /// What it said when it was in force.
    pub active: Value,
}

impl<'a> Disturbance<'a> {
    /// Injects it, and waits until it is said to be in force.
    pub fn inject(guard: &'a Guard, target: &str, words: &[&str]) -> Self {
        Self::of_family(guard, "net", target, words)
    }

    /// The same of a fault of another family.
    pub fn of_family(guard: &'a Guard, family: &str, target: &str, words: &[&str]) -> Self {
        Self::of_family_as(guard, family, target, words, |murphy| murphy)
    }

    /// The same, after something else about the injector has been said.
    pub fn of_family_as(
        guard: &'a Guard,
        family: &str,
        target: &str,
        words: &[&str],
        prepare: impl FnOnce(Murphy) -> Murphy,
    ) -> Self {
        let (injector, active) = Heard::inject_as(guard, family, target, words, prepare);
        Self {
            guard,
            injector,
            id: active["id"].as_str().expect("an id").to_owned(),
            active,
        }
    }

    /// The newest effect that satisfies something.
    pub fn wait_for_effect(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        self.injector.wait_for(what, 0, |line| {
            let event: Value = serde_json::from_str(&line.text).ok()?;
            is_so(&event["effect"]).then(|| event["effect"].clone())
        })
    }

    /// Sends its Murphy a signal.
    pub fn signal(&self, name: &str) {
        self.injector.signal(name);
    }

    /// Ends it early, by Ctrl-C, and gives its effect.
    pub fn interrupt(self) -> Value {
        self.injector.signal("INT");
        self.wait()
    }

    /// Ends it early, when it has met no packet.
    pub fn interrupt_unnoticed(self) {
        self.injector.signal("INT");
        let (ended, last) = self.end();
        assert_eq!(ended.code, 3, "{ended:?} {last}");
        assert!(ended.stderr.contains("no packet matched"), "{ended:?}");
    }

    /// Waits for its end, which must be a clean one, and gives its effect.
    pub fn wait(self) -> Value {
        let (ended, last) = self.end();
        assert_eq!(ended.code, 0, "{ended:?} {last}");
        assert_eq!(last["event"], "recovered", "{last}");
        last["effect"].clone()
    }

    /// Waits for its end, and gives what it said last.
    pub fn end(self) -> (Ended, Value) {
        let (ended, lines) = self.injector.wait();
        let last = &lines.last().expect("it says something").text;
        let last = serde_json::from_str(last).expect("JSON");
        (ended, last)
    }

    /// Kills its Murphy, its keeper first when that is wanted, too.
    pub fn kill(self, keeper_too: bool) {
        let keeper = self.guard.keeper();
        if let Some(keeper) = keeper.filter(|_| keeper_too) {
            signal(keeper, "KILL");
        }
        self.injector.signal("KILL");
        let _ = self.injector.wait();
    }
}

/// How many packets of one way an effect counts with this fate.
pub fn packets(effect: &Value, way: &str, fate: &str) -> u64 {
    let count = effect[way][fate]["packets"].as_u64();
    count.unwrap_or_else(|| panic!("no {fate} {way} in {effect}"))
}

/// The mean and the standard deviation.
pub fn moments(times: &[f64]) -> (f64, f64) {
    let n = times.len() as f64;
    let mean = times.iter().sum::<f64>() / n;
    let squares: f64 = times.iter().map(|time| (time - mean).powi(2)).sum();
    (mean, (squares / n).sqrt())
}
