//! The shop of `labs/shop`, brought up by a test.
//!
//! A test file that says `mod lab;` says `mod harness;` before it.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
};

use murphy_sys::namespace::NetNamespace;
use serde_json::Value;

use crate::harness::{self, Ended, Guard, Murphy, say_skipped, wait_until};

/// The names of its namespaces are the machine's, so there is one shop at a time.
static ONE: Mutex<()> = Mutex::new(());

/// A shop that is up.
pub struct Shop<'a> {
    pub guard: &'a Guard,
    program: PathBuf,
    _only: MutexGuard<'static, ()>,
}

impl<'a> Shop<'a> {
    /// One that nobody has started yet.
    pub fn new(guard: &'a Guard) -> Self {
        let only = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        // The database's user must get to its data.
        fs::set_permissions(guard.dir(), fs::Permissions::from_mode(0o755)).expect("own directory");
        Self {
            guard,
            program: harness::program("shop"),
            _only: only,
        }
    }

    /// One in this form; none, with the reason, where the machine lacks something.
    pub fn up_or_skip(guard: &'a Guard, form: &str) -> Option<Self> {
        let shop = Self::new(guard);
        let up = shop.run(&["up", "--in", form]);
        if let Some(missing) = up.stderr.split("there is no ").nth(1) {
            say_skipped(missing.split(" here").next().unwrap_or(missing));
            return None;
        }
        assert_eq!(up.code, 0, "{up:?}");
        assert!(up.stdout.contains("an order went through"), "{up:?}");
        Some(shop)
    }

    /// Its program, as for this shop.
    pub fn program(&self) -> Murphy {
        self.guard
            .program(&self.program)
            .env("MURPHY_SHOP", self.directory())
            .env("MURPHY_JOURNAL", self.guard.journal())
    }

    pub fn run(&self, words: &[&str]) -> Ended {
        self.program().args(words).run()
    }

    pub fn directory(&self) -> PathBuf {
        self.guard.dir().join("shop")
    }

    /// The network namespace of a service.
    pub fn namespace(&self, service: &str) -> NetNamespace {
        let text = fs::read_to_string(self.directory().join("state.json")).expect("a shop");
        let state: Value = serde_json::from_str(&text).expect("JSON");
        let services = state["services"].as_array().expect("a list");
        let found = services.iter().find(|one| one["name"] == service);
        let pid = found.and_then(|one| one["process"]["pid"].as_u64());
        let pid = pid.and_then(|pid| pid.try_into().ok());
        NetNamespace::of_process(pid.expect("a service")).expect("it runs")
    }

    /// Ends it.
    pub fn down(&self) {
        let down = self.run(&["down"]);
        assert_eq!(down.code, 0, "{down:?}");
    }

    /// The figures so far, one line a second.
    pub fn seconds(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.directory().join("load/figures.jsonl"));
        let text = text.unwrap_or_default();
        // The last line may be half written.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let lines = whole.lines();
        lines
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect()
    }

    /// Waits until so many more seconds in a row were without any failure.
    pub fn becomes_well(&self, seconds: usize) {
        let from = self.seconds().len();
        wait_until("the shop is well", || {
            let new = self.seconds().split_off(from);
            new.len() >= seconds && new[new.len() - seconds..].iter().all(is_well)
        });
    }
}

/// A shop goes with its test, however that ends: of what runs in containers the guard knows nothing.
impl Drop for Shop<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.program().arg("down").start().wait();
        }
    }
}

fn is_well(second: &Value) -> bool {
    let serves = |name: &str| {
        let part = &second["upstreams"][name];
        part["requests"].as_u64() > Some(0) && part["failures"] == 0
    };
    second["failures"] == 0 && serves("catalog-1") && serves("catalog-2")
}
