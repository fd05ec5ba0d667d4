//! A caller is a process that makes the system calls that it is told to, and says with which errnos they have failed.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    io::{self, BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    time::Duration,
};

use murphy_sys::{
    failures::{Order, Pick, Rule, Scope},
    syscalls::{Call, Errno},
};

const SCRIPT: &str = include_str!("caller.py");
/// Four standard deviations: one test in 16,000 fails without a reason.
const SIGMAS: f64 = 4.0;
/// One in four.
pub const A_QUARTER: u64 = (1 << 32) / 4;

/// How long something may take.
pub fn patience() -> Duration {
    let said = env::var("MURPHY_TEST_SLACK").ok();
    let slack = said.and_then(|said| said.parse().ok()).unwrap_or(1);
    slack * Duration::from_secs(30)
}

/// Past the capture of the test runner, so that it is counted.
pub fn say_skipped(reason: &impl ToString) {
    let _ = writeln!(io::stderr(), "skipped: {}", reason.to_string());
}

pub fn calls(names: &[&str]) -> BTreeSet<Call> {
    let call = |name: &&str| Call::named(name).unwrap_or_else(|| panic!("no call {name}"));
    names.iter().map(call).collect()
}

/// All of some calls fail.
pub fn rule(names: &[&str], errno: &str) -> Rule {
    Rule {
        calls: calls(names),
        errno: Errno::named(errno).expect("an errno"),
        chance: 1 << 32,
        pick: Pick::Each,
        most: None,
        scope: Scope::default(),
    }
}

pub fn order(id: u32) -> Order {
    Order {
        id,
        until_ns: None,
        seed: 7,
        active: true,
    }
}

/// How many calls have come to which errno; 0 for those that have not failed.
pub type Outcome = BTreeMap<i32, u64>;

/// Expects that a quarter of so many has failed with an errno, within four standard deviations, and says how many.
pub fn assert_a_quarter(outcome: &Outcome, errno: i32) -> u64 {
    let all: u64 = outcome.values().sum();
    let failed = outcome.get(&errno).copied().unwrap_or(0);
    let others = all - failed - outcome.get(&0).copied().unwrap_or(0);
    assert_eq!(others, 0, "{outcome:?}");
    let sigma = (all as f64 * 0.25 * 0.75).sqrt();
    let is_near = (failed as f64 - all as f64 * 0.25).abs() < SIGMAS * sigma;
    assert!(is_near, "{failed} of {all}");
    failed
}

pub struct Caller {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Caller {
    /// One in the cgroup of a directory, where there is python3.
    pub fn start_in_or_skip(cgroup: Option<&Path>) -> Option<Self> {
        let mut command = Command::new("sh");
        let entered =
            cgroup.map(|directory| format!("echo $$ >{}/cgroup.procs; ", directory.display()));
        let script = format!("{}exec python3 -S -c \"$0\"", entered.unwrap_or_default());
        command.args(["-c", &script, SCRIPT]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let said = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut caller = Self { child, said };
        if caller.line() != "ready\n" {
            say_skipped(&"python3 does not run here");
            return None;
        }
        Some(caller)
    }

    pub fn start_or_skip() -> Option<Self> {
        Self::start_in_or_skip(None)
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).expect("text");
        line
    }

    /// What it says when it has done something.
    pub fn says(&mut self, what: &str) -> String {
        let stdin = self.child.stdin.as_mut().expect("a pipe");
        writeln!(stdin, "{what}").expect("it listens");
        let said = self.line();
        assert!(!said.is_empty(), "{what}: it is gone");
        said.trim().to_owned()
    }

    /// What has come of so many calls, of something with its arguments.
    pub fn does(&mut self, what: &str, times: u64, arguments: &str) -> Outcome {
        let said = self.says(&format!("{what} {times} {arguments}"));
        let outcomes = said.split(' ').map(|one| {
            let (errno, times) = one.split_once(':').expect("an errno and a number");
            (
                errno.parse().expect("an errno"),
                times.parse().expect("a number"),
            )
        });
        outcomes.collect()
    }

    /// The errno of a single one.
    pub fn once(&mut self, what: &str, arguments: &str) -> i32 {
        let outcome = self.does(what, 1, arguments);
        *outcome.keys().next().expect("it was done")
    }

    /// The errno of each call of a tour.
    pub fn tours(&mut self) -> BTreeMap<String, u16> {
        let said = self.says("tour 1");
        let outcomes = said.split(' ').map(|one| {
            let (name, errno) = one.split_once(':').expect("a call and its errno");
            (name.to_owned(), errno.parse().expect("an errno"))
        });
        outcomes.collect()
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        // It goes by itself, and tidies up, when nobody has anything more for it to do.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
