//! Victims are the programs of `victims/` as processes of a test: built once, started under its guard, and heard.
//!
//! A test file that says `mod victims;` says `mod harness;` before it.
#![allow(dead_code, reason = "each test file uses its own part")]

pub mod etcd;
pub mod postgres;
pub mod program;
pub mod prometheus;

use std::{
    ffi::OsStr,
    fs::File,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::Command,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU32, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde_json::Value;

use crate::harness::{Ended, Guard, Murphy, Running, patience, slack, wait_until};

pub use program::Program;

/// Nanoseconds, which may be negative: of a skew, or since 1970.
pub type Nanos = i64;
/// A second.
pub const SECOND: Nanos = 1_000_000_000;
/// A millisecond.
pub const MILLISECOND: Nanos = 1_000_000;
/// How late a tick may be.
const TICK_LATE: Nanos = 250 * MILLISECOND;
/// What may be heard of one program.
const LINES_MAX: usize = 1_000_000;
/// So many lines are shown to who waits in vain for another.
const LAST_LINES: usize = 20;
/// So much of each.
const LAST_CHARS: usize = 500;
/// How many readings are looked at when a skew is asked for.
const FRESH: usize = 5;

/// So much at most, and more on a machine that takes its processors away for longer.
pub fn at_most(usually: Nanos) -> Nanos {
    Nanos::from(slack()) * usually
}

/// How far apart two readings of one skew may be.
pub fn tolerance() -> Nanos {
    at_most(5 * MILLISECOND)
}

/// Whether Murphy says that a clock reads so, to the millisecond where the machine can tell.
pub fn says(said: &str, clock: &str, shift: &str) -> bool {
    let shown = if slack() == 1 { shift } else { &shift[..1] };
    said.contains(&format!("{clock} reads {shown}"))
}

/// The host's own time, in nanoseconds since 1970.
pub fn host_ns() -> Nanos {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("it is after 1970");
    Nanos::try_from(now.as_nanos()).expect("it is before 2262")
}

/// A line and when it was heard.
#[derive(Clone, Debug)]
pub struct Line {
    pub text: String,
    pub at: Instant,
    pub host_ns: Nanos,
}

/// A program that runs and whose lines are heard as they come.
pub struct Heard {
    running: Option<Running>,
    lines: Arc<Mutex<Vec<Line>>>,
    listener: JoinHandle<()>,
}

impl Heard {
    /// Starts a program. What it says goes through a named pipe, so that it dies of SIGPIPE when the test does.
    pub fn start<W: AsRef<OsStr>>(guard: &Guard, words: impl IntoIterator<Item = W>) -> Self {
        Self::start_as(guard, words, |program| program)
    }

    /// The same, after something else about it has been said.
    pub fn start_as<W: AsRef<OsStr>>(
        guard: &Guard,
        words: impl IntoIterator<Item = W>,
        prepare: impl FnOnce(Murphy) -> Murphy,
    ) -> Self {
        let pipe = named_pipe(guard, "heard");
        let shell = guard.program("sh".as_ref());
        let shell = shell.args(["-c", "exec \"$@\" > \"$0\""]).arg(&pipe);
        let running = prepare(shell.args(words)).start();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&lines);
        let listener = thread::spawn(move || {
            let pipe = File::open(pipe).expect("the named pipe");
            for text in BufReader::new(pipe).lines().map_while(Result::ok) {
                let line = Line {
                    text,
                    at: Instant::now(),
                    host_ns: host_ns(),
                };
                let mut heard = heard.lock().expect("nobody panics with it");
                if heard.len() < LINES_MAX {
                    heard.push(line);
                }
            }
        });
        Self {
            running: Some(running),
            lines,
            listener,
        }
    }

    /// Injects a fault of a family, and waits until it is said to be in force; what is said then.
    pub fn inject(guard: &Guard, family: &str, target: &str, words: &[&str]) -> (Self, Value) {
        Self::inject_as(guard, family, target, words, |murphy| murphy)
    }

    /// The same, after something else about the injector has been said.
    pub fn inject_as(
        guard: &Guard,
        family: &str,
        target: &str,
        words: &[&str],
        prepare: impl FnOnce(Murphy) -> Murphy,
    ) -> (Self, Value) {
        let murphy = [env!("CARGO_BIN_EXE_murphy"), "inject", family, "--json"];
        let words = [&murphy[..], &["-t", target], words].concat();
        let journal = guard.journal();
        let injector = Self::start_as(guard, words, |murphy| {
            prepare(murphy.env("MURPHY_JOURNAL", &journal))
        });
        let active = injector.wait_for("the fault is active", 0, |line| {
            let event: Value = serde_json::from_str(&line.text).ok()?;
            (event["event"] == "active").then_some(event)
        });
        (injector, active)
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("it has not ended")
    }

    fn lines(&self) -> MutexGuard<'_, Vec<Line>> {
        self.lines.lock().expect("nobody panics with it")
    }

    /// Its pid.
    pub fn pid(&self) -> u32 {
        self.running().pid()
    }

    /// `pid:N`, as a target.
    pub fn target(&self) -> String {
        self.running().target()
    }

    /// Sends it a signal.
    pub fn signal(&self, name: &str) {
        self.running().signal(name);
    }

    /// How many lines it has said.
    pub fn count(&self) -> usize {
        self.lines().len()
    }

    /// What it has said since there were so many lines.
    pub fn since(&self, count: usize) -> Vec<Line> {
        self.lines()[count..].to_vec()
    }

    /// How many of its lines have this in them.
    pub fn count_of(&self, part: &str) -> usize {
        let lines = self.lines();
        lines.iter().filter(|line| line.text.contains(part)).count()
    }

    /// Waits for something in what it says, from some line on.
    pub fn wait_for<T>(&self, what: &str, from: usize, find: impl Fn(&Line) -> Option<T>) -> T {
        let until = Instant::now() + patience();
        loop {
            if let Some(found) = self.lines()[from..].iter().find_map(&find) {
                return found;
            }
            assert!(
                Instant::now() < until,
                "it never came that {what}; what was said last:\n{}",
                self.last_words()
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// The beginnings of the last lines, for who waits in vain.
    fn last_words(&self) -> String {
        let lines = self.since(0);
        // One comes every second, and is long.
        let is_news = |line: &&Line| !line.text.contains("\"event\":\"snapshot\"");
        let beginning = |line: &Line| line.text.chars().take(LAST_CHARS).collect::<String>();
        let last = lines.iter().rev().filter(is_news).take(LAST_LINES);
        let mut last: Vec<_> = last.map(beginning).collect();
        last.reverse();
        last.join("\n")
    }

    /// Waits for its end and for the last of what it says.
    pub fn wait(mut self) -> (Ended, Vec<Line>) {
        let mut running = self.running.take().expect("it ends once");
        let until = Instant::now() + patience();
        while running.is_running() {
            assert!(Instant::now() < until, "it never came that it ends");
            thread::sleep(Duration::from_millis(5));
        }
        let ended = running.wait();
        wait_until("its output ends", || self.listener.is_finished());
        (ended, self.since(0))
    }

    /// Asks it to end, and expects that it does so without a complaint.
    pub fn terminate(self) -> Vec<Line> {
        self.signal("TERM");
        let (ended, lines) = self.wait();
        assert_eq!(ended.code, 0, "{ended:?}");
        lines
    }
}

/// A new named pipe in the directory of the test.
fn named_pipe(guard: &Guard, name: &str) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let pipe = guard.dir().join(format!("{name}-{count}"));
    let made = Command::new("mkfifo")
        .arg("-m")
        .arg("666")
        .arg(&pipe)
        .status();
    assert!(made.is_ok_and(|status| status.success()), "a named pipe");
    pipe
}

/// A clock reader in C, in a mode of its own.
pub fn reader_in_c(guard: &Guard, mode: &[&str]) -> Option<Heard> {
    let words = Program::C.words_or_skip()?;
    let mode = mode.iter().map(Into::into);
    Some(Heard::start(guard, words.into_iter().chain(mode)))
}

/// One line of a clock reader.
#[derive(Clone, Debug)]
pub struct Reading(Line);

impl Reading {
    /// The reading in a line with this prefix, if there is one.
    pub fn parse(prefix: &str, line: &Line) -> Option<Self> {
        let text = line.text.strip_prefix(prefix)?;
        text.starts_with("R ").then(|| {
            Self(Line {
                text: text.to_owned(),
                ..line.clone()
            })
        })
    }

    /// The value after a letter, in the unit that the reader says it in.
    pub fn value(&self, letter: &str) -> Option<Nanos> {
        let mut words = self.0.text.split(' ');
        words.find(|word| *word == letter)?;
        words.next()?.parse().ok()
    }

    /// The value after a letter, in nanoseconds.
    pub fn ns(&self, letter: &str) -> Nanos {
        let unit = match letter {
            "T" => SECOND,
            "G" => 1000,
            _ => 1,
        };
        let value = self.value(letter);
        unit * value.unwrap_or_else(|| panic!("no {letter} in {}", self.0.text))
    }

    /// How far a clock is ahead of the monotonic one.
    pub fn ahead(&self, letter: &str) -> Nanos {
        self.ns(letter) - self.ns("M")
    }

    /// How long after the monotonic clock showed this it was heard, to a constant.
    fn delay_ns(&self, start: Instant) -> Nanos {
        let heard = self.0.at.saturating_duration_since(start).as_nanos();
        Nanos::try_from(heard).expect("a test does not take centuries") - self.ns("M")
    }
}

/// A clock reader, its child, or a program that it has executed.
pub struct Reader<'a> {
    heard: &'a Heard,
    prefix: &'static str,
    start: Instant,
    /// A reading without a skew.
    before: Reading,
    /// The smallest delay of the first readings.
    delay_ns: Nanos,
}

impl<'a> Reader<'a> {
    /// A reader that nobody has skewed.
    pub fn unskewed(heard: &'a Heard, prefix: &'static str) -> Self {
        let start = Instant::now();
        let readings = fresh(heard, prefix);
        let before = readings.last().expect("there are some").clone();
        let reader = Self {
            heard,
            prefix,
            start,
            delay_ns: smallest_delay(&readings, start),
            before,
        };
        reader.skew();
        reader
    }

    /// The same clocks under another prefix: a child's skew is asked against what its parent had shown.
    pub fn other(&self, prefix: &'static str) -> Self {
        Self {
            prefix,
            before: self.before.clone(),
            ..*self
        }
    }

    /// By how much its wall clock is wrong: what each of some fresh readings shows.
    pub fn skew(&self) -> Nanos {
        self.skew_of("R")
    }

    /// By how much a clock is wrong, against the monotonic one.
    pub fn skew_of(&self, letter: &str) -> Nanos {
        let readings = fresh(self.heard, self.prefix);
        let skew = |reading: &Reading| reading.ahead(letter) - self.before.ahead(letter);
        let last = skew(readings.last().expect("there are some"));
        for reading in &readings {
            assert!(
                (skew(reading) - last).abs() < tolerance(),
                "{letter} wavers: {readings:?}"
            );
        }
        last
    }

    /// Waits until a clock is wrong by so much.
    pub fn becomes_skewed_by(&self, letter: &str, expected: Nanos) {
        wait_until(&format!("{letter} is {expected} ns wrong"), || {
            let lines = self.heard.since(0);
            let mut readings = lines.iter().rev();
            let last = readings.find_map(|line| Reading::parse(self.prefix, line));
            let skew = last.map(|last| last.ahead(letter) - self.before.ahead(letter));
            skew.is_some_and(|skew| (skew - expected).abs() < tolerance())
        });
    }

    /// Expects that a clock is wrong by so much.
    pub fn is_skewed_by(&self, letter: &str, expected: Nanos) {
        let skew = self.skew_of(letter);
        let error = skew - expected;
        assert!(
            error.abs() < tolerance(),
            "{letter} is {skew} ns wrong, which is {error} ns from {expected}"
        );
    }

    /// The same for a clock that shows whole ticks, or whole seconds: it is behind by one at most, and by the delay of
    /// a tick on a virtual machine whose processor was taken away.
    pub fn is_coarsely_skewed_by(&self, letter: &str, expected: Nanos) {
        let unit = if letter == "T" { SECOND } else { 0 };
        let base = if letter == "K" { "M" } else { "R" };
        for reading in fresh(self.heard, self.prefix) {
            let behind = self.before.ahead(base) + expected - reading.ahead(letter);
            assert!(
                (-tolerance()..unit + at_most(TICK_LATE)).contains(&behind),
                "{letter} is {behind} ns behind what it should be: {reading:?}"
            );
        }
    }

    /// Expects that its monotonic clock has gone at the true rate, without a step, since the first readings.
    pub fn is_monotonic(&self) {
        let fresh = fresh(self.heard, self.prefix);
        let late = smallest_delay(&fresh, self.start) - self.delay_ns;
        assert!(
            late.abs() < 4 * tolerance(),
            "the monotonic clock is {late} ns behind the host's"
        );
        let lines = self.heard.since(0);
        let readings = lines
            .iter()
            .filter_map(|line| Reading::parse(self.prefix, line));
        let values: Vec<_> = readings.map(|reading| reading.ns("M")).collect();
        assert!(
            values.is_sorted_by(|earlier, later| earlier < later),
            "the monotonic clock went back"
        );
    }
}

/// Some readings that began after now.
fn fresh(heard: &Heard, prefix: &str) -> Vec<Reading> {
    let from = heard.count();
    let readings = || -> Vec<_> {
        let lines = heard.since(from);
        let readings = lines.iter().filter_map(|line| Reading::parse(prefix, line));
        // One may have been under way.
        readings.skip(1).collect()
    };
    wait_until("it reads its clocks", || readings().len() >= FRESH);
    readings()
}

fn smallest_delay(readings: &[Reading], start: Instant) -> Nanos {
    let delays = readings.iter().map(|reading| reading.delay_ns(start));
    delays.min().expect("there are some")
}
