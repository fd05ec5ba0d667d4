//! A skew in force, for tests: injected by the built binary, changed, ended, and what it said.
//!
//! A test file that says `mod skewing;` says `mod harness;` and `mod victims;` before it.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::{fs, time::Duration};

use murphy_sys::{
    process::ProcessId,
    vdso::{Image, Page},
};
use serde_json::Value;

use crate::{
    harness::{Ended, Guard, wait_until},
    victims::Heard,
};

/// A skew in force.
pub struct Skew<'a> {
    guard: &'a Guard,
    injector: Heard,
    /// Its id.
    pub id: String,
    /// What it said when it was in force.
    pub active: Value,
}

impl<'a> Skew<'a> {
    /// Injects it, and waits until it is said to be in force.
    pub fn inject(guard: &'a Guard, target: &str, words: &[&str]) -> Self {
        let (injector, active) = Heard::inject(guard, "time", target, words);
        Self {
            guard,
            injector,
            id: active["id"].as_str().expect("an id").to_owned(),
            active,
        }
    }

    /// The pid of its Murphy.
    pub fn pid(&self) -> u32 {
        self.injector.pid()
    }

    /// Changes it live.
    pub fn update(&self, words: &[&str]) -> Ended {
        let update = self.guard.murphy(["update", &self.id, "--json"]);
        update.args(words).run()
    }

    /// Ends it early, by Ctrl-C, and gives what it said last.
    pub fn interrupt(self) -> Value {
        self.injector.signal("INT");
        self.wait()
    }

    /// Waits for its end, which must be a clean one, and gives what it said last.
    pub fn wait(self) -> Value {
        let (ended, lines) = self.injector.wait();
        assert_eq!(ended.code, 0, "{ended:?} {lines:?}");
        let last = &lines.last().expect("it says something").text;
        let last: Value = serde_json::from_str(last).expect("JSON");
        assert_eq!(last["event"], "recovered", "{last}");
        last
    }

    /// Kills its Murphy, its keeper first when that is wanted, too.
    pub fn kill(self, keeper_too: bool) {
        let keeper = self.guard.keeper();
        if let Some(keeper) = keeper.filter(|_| keeper_too) {
            crate::harness::signal(keeper, "KILL");
        }
        self.injector.signal("KILL");
        let _ = self.injector.wait();
    }
}

/// Whether a process's vDSO is byte for byte what the kernel mapped.
pub fn is_pristine(pid: u32) -> bool {
    let page = ProcessId::of(pid).map(Page::open);
    let Ok(Ok(page)) = page else {
        return false;
    };
    page.bytes()
        .is_ok_and(|bytes| bytes == Image::own().expect("our own").pristine())
}

/// Waits until it is.
pub fn becomes_pristine(pid: u32) {
    wait_until("the vDSO is pristine", || is_pristine(pid));
}

/// For what a test waits for because nothing can be seen of it.
pub const A_MOMENT: Duration = Duration::from_millis(200);

/// The one child of a process, once there is one.
pub fn child_of(parent: u32) -> u32 {
    let file = format!("/proc/{parent}/task/{parent}/children");
    let child = || {
        let children = fs::read_to_string(&file).unwrap_or_default();
        children.trim().parse().ok()
    };
    wait_until("there is a child", || child().is_some());
    child().expect("it was just there")
}
