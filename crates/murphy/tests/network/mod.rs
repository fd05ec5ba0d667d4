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
    /// Both names.
    pub names: [String; 2],
    pub wire: Wire,
}

impl Nodes {
    /// Lays it; none, with the reason, where packets cannot be disturbed.
    pub fn lay_or_skip(guard: &Guard) -> Option<Self> {
        if let Err(error) = traffic::trial() {
            say_skipped(&error.to_string());
            return None;
        }
        let names = ["1", "2"].map(|node| guard.name(node));
        let open = |name: &String| {
            assert!(ip(&["netns", "add", name]), "a network namespace");
            NetNamespace::open(Path::new(&format!("/run/netns/{name}"))).expect("it was just made")
        };
        let [a, b] = [open(&names[0]), open(&names[1])];
        Some(Self {
            names,
            wire: Wire::lay(a, b),
        })
    }

    /// `netns:NAME` of node 1, as a target.
    pub fn target(&self) -> String {
        format!("netns:{}", self.names[0])
    }

    /// The same of node 2, as a peer.
    pub fn peer(&self) -> String {
        format!("netns:{}", self.names[1])
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

impl Drop for Nodes {
    fn drop(&mut self) {
        for name in &self.names {
            ip(&["netns", "del", name]);
        }
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
        let murphy = [env!("CARGO_BIN_EXE_murphy"), "inject", "net", "--json"];
        let words = [&murphy[..], &["-t", target], words].concat();
        let journal = guard.journal();
        let injector = Heard::start_as(guard, words, |murphy| {
            murphy.env("MURPHY_JOURNAL", &journal)
        });
        let active = injector.wait_for("the disturbance is active", 0, |line| {
            let event: Value = serde_json::from_str(&line.text).ok()?;
            (event["event"] == "active").then_some(event)
        });
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
