//! Disturbed packets, for tests: a wire between two named namespaces, and `murphy inject net` on one of them.
//!
//! A test file that says `mod network;` says `mod harness;`, `mod victims;` and `mod wire;` before it.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::{path::Path, process::Command};

use murphy_sys::{namespace::NetNamespace, traffic};
use serde_json::Value;

use crate::{
    harness::{Ended, Guard, say_skipped, signal},
    victims::Heard,
    wire::Wire,
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
        if let Err(error) = traffic::trial() {
            say_skipped(&error.to_string());
            return None;
        }
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
        Some((named, namespaces))
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
        let (named, namespaces) = Named::make_or_skip(guard, ["1", "2"].map(str::to_owned))?;
        let [a, b] = namespaces.try_into().expect("two were made");
        Some(Self {
            named,
            wire: Wire::lay(a, b),
        })
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

    /// How many of so many datagrams from node 1 come, of both families together.
    pub fn come(&self, count: u32) -> usize {
        let of = |is_v4| self.wire.send(is_v4, count).len();
        of(true) + of(false)
    }

    /// How many of so many datagrams to node 1 come.
    pub fn come_back(&self, count: u32) -> usize {
        let of = |is_v4| self.wire.send_back(is_v4, count).len();
        of(true) + of(false)
    }

    /// Whether nothing is lost either way.
    pub fn is_calm(&self) -> bool {
        self.come(50) == 100 && self.come_back(50) == 100
    }
}

/// Runs `ip`.
pub fn ip(words: &[&str]) -> bool {
    let status = Command::new("ip").args(words).status();
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
        let (injector, active) = Heard::inject(guard, "net", target, words);
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
