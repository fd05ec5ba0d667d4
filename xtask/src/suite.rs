//! The whole test suite, run once, counted, and looked after: nothing may be left on the machine.
//!
//! `cargo test` prints one count per test binary and hides what passing tests print. This task adds the counts up,
//! shows which tests were skipped and for want of what, and compares the machine before and after.
//!
//! Many tests draw lots or watch a busy machine, and all of them are run beside others. The few that fail are run again,
//! alone, and are only forgiven, and told to be flaky, when they pass each time.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::traces::Traces;

/// A test says this, and why, when the machine lacks what it needs.
pub const SKIPPED: &str = "skipped: ";

/// How long what a test started may take to vanish: the keeper's time and some slack.
const VANISH_WITHIN: Duration = Duration::from_secs(5);

/// How many tests run at a time for each processor: most of them wait for packets, clocks and probes most of the time.
const THREADS_EACH: usize = 2;

/// When more tests than these fail, something is broken, and none is run again.
const FLAKY_MOST: usize = 4;
/// How often each of them must pass when it is run again.
pub const PASSES: usize = 2;

/// Why the suite is not green.
#[derive(Debug, thiserror::Error)]
pub enum SuiteError {
    /// cargo could not be run, or what it printed could not be read.
    #[error("failed to run cargo test: {0}")]
    Cargo(io::Error),
    /// At least one test failed, or something did not compile.
    #[error("the test suite failed")]
    Failed,
    /// Green because empty.
    #[error("no test ran")]
    Empty,
    /// A test left something behind.
    #[error("the test suite left behind:\n{0}")]
    LeftBehind(Traces),
}

/// Tests by outcome, over all test binaries.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub passed: usize,
    pub failed: usize,
    pub skipped: usize,
}

impl Count {
    pub fn ran(&self) -> usize {
        self.passed + self.failed + self.skipped
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} passed, {} failed, {} skipped",
            self.passed, self.failed, self.skipped
        )
    }
}

/// Builds and runs every test of the workspace.
pub fn run(root: &Path) -> Result<(), SuiteError> {
    let before = Traces::of_this_machine();
    let started = Instant::now();
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    let threads = format!("--test-threads={}", THREADS_EACH * processors);
    let (is_green, reading) = test(root, &[&threads])?;
    let is_forgiven = !is_green && forgive(root, &reading.failures)?;
    let left = left_behind(&before);

    println!("\nin {} s, build included", started.elapsed().as_secs());
    println!("{}", reading.count());
    if is_forgiven {
        reading.failures.iter().for_each(say_flaky);
    } else if !is_green {
        return Err(SuiteError::Failed);
    }
    if reading.passed == 0 {
        return Err(SuiteError::Empty);
    }
    if left.is_empty() {
        return Ok(());
    }
    Err(SuiteError::LeftBehind(left))
}

/// Whether few tests have failed, and all of them pass alone.
fn forgive(root: &Path, failures: &[String]) -> Result<bool, SuiteError> {
    if !are_few(failures) {
        return Ok(false);
    }
    let words: Vec<&str> = alone(failures).collect();
    for _ in 0..PASSES {
        println!("\nonce more, alone: {}", failures.join(", "));
        let (is_green, reading) = test(root, &words)?;
        if !is_green || reading.passed < failures.len() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether so few tests have failed that it may be by what ran beside them.
pub fn are_few(failures: &[String]) -> bool {
    !failures.is_empty() && failures.len() <= FLAKY_MOST
}

/// The words that make a test binary run those of these tests that it has, one after the other.
pub fn alone(failures: &[String]) -> impl Iterator<Item = &str> {
    let words = ["--test-threads=1", "--exact"];
    words.into_iter().chain(failures.iter().map(String::as_str))
}

/// Tells of a test that is forgiven.
pub fn say_flaky(name: &String) {
    println!("flaky: {name} failed beside others, and passed alone {PASSES} times");
}

/// Runs tests, with more words for each test binary; whether all passed, and what they said.
fn test(root: &Path, words: &[&str]) -> Result<(bool, Reading), SuiteError> {
    let mut cargo = Command::new("cargo")
        .args([
            "test",
            "--locked",
            "--workspace",
            "--no-fail-fast",
            "--",
            "--show-output",
        ])
        .args(words)
        .env(Traces::MARK, Traces::mark())
        .current_dir(root)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(SuiteError::Cargo)?;

    let said = cargo
        .stderr
        .take()
        .map(|stderr| thread::spawn(move || relay(stderr)));
    let mut reading = Reading::default();
    if let Some(stdout) = cargo.stdout.take() {
        let mut out = io::stdout().lock();
        for line in BufReader::new(stdout).split(b'\n') {
            let line = line.map_err(SuiteError::Cargo)?;
            if let Some(shown) = reading.line(&String::from_utf8_lossy(&line)) {
                writeln!(out, "{shown}").map_err(SuiteError::Cargo)?;
            }
        }
    }
    reading.skipped += said
        .and_then(|thread| thread.join().ok())
        .unwrap_or_default();
    let status = cargo.wait().map_err(SuiteError::Cargo)?;
    Ok((status.success(), reading))
}

/// Passes on what cargo, and tests past the capture, say on standard error; counts the tests that were skipped there.
fn relay(stderr: impl Read) -> usize {
    let mut skipped = 0;
    for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line);
        skipped += usize::from(line.starts_with(SKIPPED));
        eprintln!("{line}");
    }
    skipped
}

/// What is on the machine that was not there before, once it had time to vanish.
pub fn left_behind(before: &Traces) -> Traces {
    let deadline = Instant::now() + VANISH_WITHIN;
    loop {
        let left = Traces::of_this_machine().without(before);
        if left.is_empty() || Instant::now() > deadline {
            return left;
        }
        thread::sleep(Duration::from_millis(100));
    }
}

/// What cargo test has printed so far.
#[derive(Debug, Default)]
pub struct Reading {
    pub passed: usize,
    failed: usize,
    ignored: usize,
    /// Tests that said they skipped themselves; they count among the passed of their binary.
    pub skipped: usize,
    /// The names of those that failed.
    pub failures: Vec<String>,
    /// Inside the output of passing tests: whose output it is, and whether that test has been counted as skipped.
    quiet: Option<(String, bool)>,
}

impl Reading {
    /// Takes one line in; gives back what is worth showing of it.
    pub fn line(&mut self, line: &str) -> Option<String> {
        if let Some(result) = line.strip_prefix("test result: ") {
            self.quiet = None;
            self.passed += figure(result, " passed");
            self.failed += figure(result, " failed");
            self.ignored += figure(result, " ignored");
            return Some(line.to_owned());
        }
        if let Some(name) = line
            .strip_prefix("test ")
            .and_then(|rest| rest.strip_suffix(" ... FAILED"))
        {
            self.failures.push(name.to_owned());
        }
        match line {
            "successes:" => {
                self.quiet = Some((String::new(), false));
                return None;
            }
            "failures:" => self.quiet = None,
            _ => {}
        }
        let Some((test, counted)) = &mut self.quiet else {
            return Some(line.to_owned());
        };
        if let Some(name) = line
            .strip_prefix("---- ")
            .and_then(|rest| rest.strip_suffix(" stdout ----"))
        {
            name.clone_into(test);
            *counted = false;
            return None;
        }
        let reason = line.strip_prefix(SKIPPED)?;
        if !std::mem::replace(counted, true) {
            self.skipped += 1;
        }
        Some(format!("{SKIPPED}{reason} ({test})"))
    }

    pub fn count(&self) -> Count {
        Count {
            passed: self.passed.saturating_sub(self.skipped),
            failed: self.failed,
            skipped: self.skipped + self.ignored,
        }
    }
}

/// The number right before a word in a result line.
fn figure(result: &str, word: &str) -> usize {
    result
        .split(word)
        .next()
        .filter(|before| before.len() < result.len())
        .and_then(|before| before.rsplit(' ').next())
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

/// The folder in which cargo puts what it builds.
pub fn target_directory(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root.join("target"), |directory| root.join(directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "\
running 3 tests
test a ... ok
test b ... ok
test c ... FAILED

successes:

---- a stdout ----
skipped: user namespaces
skipped: and more

---- b stdout ----
chatter

successes:
    a
    b

failures:

---- c stdout ----
assertion failed

test result: FAILED. 2 passed; 1 failed; 4 ignored; 0 measured; 0 filtered out; finished in 0.00s";

    #[test]
    fn counts_add_up_and_a_skipped_test_did_not_pass() {
        let mut reading = Reading::default();
        for line in PRINTED
            .lines()
            .chain(["test result: ok. 10 passed; 0 failed; 0 ignored; 0 measured"])
        {
            reading.line(line);
        }
        assert_eq!(
            reading.count(),
            Count {
                passed: 11,
                failed: 1,
                skipped: 5
            }
        );
        assert_eq!(reading.failures, ["c"]);
    }

    #[test]
    fn passing_tests_are_quiet_but_for_why_they_were_skipped() {
        let mut reading = Reading::default();
        let shown: Vec<String> = PRINTED
            .lines()
            .filter_map(|line| reading.line(line))
            .collect();
        assert!(
            shown.contains(&"skipped: user namespaces (a)".to_owned()),
            "{shown:?}"
        );
        assert!(shown.contains(&"assertion failed".to_owned()), "{shown:?}");
        assert!(!shown.contains(&"chatter".to_owned()), "{shown:?}");
    }
}
