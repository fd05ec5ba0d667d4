//! Commands launched with their clocks skewed: from their first instruction on, by the hook, by a time namespace,
//! or by both.

mod harness;
mod skewing;
mod victims;

use harness::Guard;
use victims::{Heard, Nanos, Program, Reading, SECOND, at_most, says, tolerance};

const HOUR: Nanos = 3600 * SECOND;

/// A clock reader in C, launched for a second or, on a slow machine, several.
struct Launched {
    /// What it read, from its first instruction on.
    readings: Vec<Reading>,
    /// What it read without a skew.
    plain: Reading,
    /// What Murphy said.
    said: String,
}

impl Launched {
    fn with(guard: &Guard, words: &[&str]) -> Option<Self> {
        let command = Program::C.words_or_skip()?;
        let victim = Heard::start(guard, &command);
        let plain = victim.wait_for("a reading", 0, |line| Reading::parse("", line));
        victim.terminate();
        // Before it reads a clock it is loaded, which takes part of the time.
        let lasts = at_most(SECOND);
        let span = format!("{lasts}ns");
        let murphy = [
            env!("CARGO_BIN_EXE_murphy"),
            "inject",
            "time",
            "--for",
            &span,
        ];
        let words = [&murphy, words, &["--"]].concat();
        let words = words.into_iter().map(Into::into).chain(command);
        let journal = guard.journal();
        let murphy = Heard::start_as(guard, words, |murphy| {
            murphy.env("MURPHY_JOURNAL", &journal)
        });
        let (ended, lines) = murphy.wait();
        assert_eq!(ended.code, 0, "{ended:?} {lines:?}");
        assert!(guard.injections().is_empty());
        let mut readings: Vec<_> = lines
            .iter()
            .filter_map(|line| Reading::parse("", line))
            .collect();
        // It may read once more between the end of the skew and its own.
        let began = readings.first().expect("a reading").ns("M");
        readings.retain(|reading| reading.ns("M") < began + lasts / 2);
        assert!(readings.len() > 10, "{lines:?}");
        let said = lines.iter().map(|line| line.text.as_str());
        Some(Self {
            readings,
            plain,
            said: said.collect::<Vec<_>>().join("\n"),
        })
    }

    /// Expects that each reading of a clock was wrong by so much, against the monotonic one.
    fn is_skewed_by(&self, letter: &str, expected: Nanos) {
        for (number, reading) in self.readings.iter().enumerate() {
            let error = reading.ahead(letter) - self.plain.ahead(letter) - expected;
            assert!(
                error.abs() < tolerance(),
                "{letter}: {error} ns from {expected} in reading {number} of {}: {reading:?}, {}",
                self.readings.len(),
                self.said
            );
        }
    }
}

#[test]
fn a_launched_command_is_skewed_from_its_first_instruction() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let Some(launched) = Launched::with(&guard, &["--offset", "-1h"]) else {
        return;
    };
    assert!(
        says(&launched.said, "CLOCK_REALTIME", "-1h"),
        "{}",
        launched.said
    );
    for (letter, expected) in [("R", -HOUR), ("G", -HOUR), ("A", -HOUR), ("B", 0), ("W", 0)] {
        launched.is_skewed_by(letter, expected);
    }
}

/// A namespace does what no hook can: the file of the uptime agrees with the clock.
#[test]
fn clocks_since_boot_are_skewed_by_a_time_namespace() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let words = ["--offset", "+1h", "--clock", "boottime"];
    let Some(launched) = Launched::with(&guard, &words) else {
        return;
    };
    assert!(
        says(&launched.said, "CLOCK_BOOTTIME", "+1h"),
        "{}",
        launched.said
    );
    assert!(launched.said.contains("engine timens"), "{}", launched.said);
    launched.is_skewed_by("B", HOUR);
    launched.is_skewed_by("R", 0);
    launched.is_skewed_by("W", 0);
    let uptime = || -> f64 {
        let text = std::fs::read_to_string("/proc/uptime").expect("an uptime");
        text.split(' ')
            .next()
            .and_then(|first| first.parse().ok())
            .expect("a number")
    };
    let said = guard
        .murphy(["inject", "time", "--for", "5s"])
        .args(words)
        .args(["--", "cat", "/proc/uptime"])
        .run();
    assert_eq!(said.code, 0, "{said:?}");
    let mut seen = said
        .stdout
        .lines()
        .filter_map(|line| line.split(' ').next()?.parse::<f64>().ok());
    let ahead = seen.next().expect("its uptime") - uptime();
    assert!((3590.0..3600.1).contains(&ahead), "{ahead} s ahead");
}

#[test]
fn a_time_namespace_and_the_hook_skew_one_command_together() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let clocks = "realtime,monotonic,boottime";
    let Some(launched) = Launched::with(&guard, &["--offset", "+1h", "--clock", clocks]) else {
        return;
    };
    for clock in ["CLOCK_REALTIME", "CLOCK_MONOTONIC", "CLOCK_BOOTTIME"] {
        assert!(says(&launched.said, clock, "+1h"), "{}", launched.said);
    }
    // All of them moved, so none moved against another; the wall clock says that they did.
    for letter in ["R", "G", "B", "W"] {
        launched.is_skewed_by(letter, 0);
    }
    let moved = launched.readings[0].ns("M") - launched.plain.ns("M");
    assert!((HOUR..HOUR + 20 * SECOND).contains(&moved), "{moved}");
}

#[test]
fn nobody_is_left_in_a_time_namespace_whose_command_has_ended() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let pid = guard.dir().join("pid");
    // A daemon: no parent, no session, no environment that it is known by.
    let script = "(env -i setsid sh -c 'echo $$ > \"$0\"; exec sleep 60' \"$0\" &); \
                  for i in $(seq 40); do [ -s \"$0\" ] && break; sleep 0.1; done";
    let said = guard
        .murphy([
            "inject", "time", "--offset", "+1h", "--clock", "boottime", "--for", "5s",
        ])
        .args(["--", "sh", "-c", script])
        .arg(&pid)
        .run();
    assert_eq!(said.code, 0, "{said:?}");
    let pid = std::fs::read_to_string(pid).expect("it has begun");
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
    // It may be a zombie that its new parent has not waited for.
    assert!(
        stat.is_err() || stat.as_ref().is_ok_and(|stat| stat.contains(") Z ")),
        "{stat:?}"
    );
}

#[test]
fn what_no_clock_since_boot_can_show_is_refused_before_anything_is_launched() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let mark = guard.dir().join("launched");
    let refused = guard
        .murphy([
            "inject", "time", "--offset", "-100000d", "--clock", "boottime", "--for", "1s",
        ])
        .arg("--")
        .arg("touch")
        .arg(&mark)
        .run();
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.stderr.contains("before the boot"), "{refused:?}");
    assert!(!mark.exists());
}

#[test]
fn a_command_that_cannot_be_launched_leaves_nothing() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let refused = guard
        .murphy([
            "inject",
            "time",
            "--offset",
            "-1h",
            "--for",
            "1s",
            "--",
            "/no/such/program",
        ])
        .run();
    assert_eq!(refused.code, 3, "{refused:?}");
    assert!(refused.stderr.contains("/no/such/program"), "{refused:?}");
    assert!(guard.injections().is_empty());
}
