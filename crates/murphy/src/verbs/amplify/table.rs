//! The table of a recording: what was called in the last interval, what failed, and how often.

use std::{cmp::Reverse, collections::BTreeMap, fmt::Write};

use murphy_amplify::recorder::{Interval, Row};
use murphy_sys::census::Key;

use crate::output::{grouped, plural};

/// In what times are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Thousandths of a second.
    Milliseconds,
    /// Thousandths of that.
    Microseconds,
}

impl Unit {
    fn shown(self, ns: f64) -> String {
        match self {
            Self::Milliseconds => format!("{:.3}", ns / 1e6),
            Self::Microseconds => format!("{:.1}", ns / 1e3),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Milliseconds => "ms",
            Self::Microseconds => "µs",
        }
    }
}

/// What is shown of a recording.
#[derive(Clone, Debug)]
pub struct Table {
    unit: Option<Unit>,
    /// What has failed at all so far: shown also when it does not.
    failed: BTreeMap<Key, u64>,
    lost: u64,
}

/// A line of the table.
struct Line {
    key: Key,
    calls: u64,
    /// Of how many of its kind.
    of: u64,
    took_ns: u64,
}

impl Table {
    /// Of a recording that begins.
    pub fn new(unit: Option<Unit>) -> Self {
        Self {
            unit,
            failed: BTreeMap::new(),
            lost: 0,
        }
    }

    /// Takes an interval in.
    pub fn take(&mut self, interval: &Interval) {
        self.lost += interval.lost;
        for row in interval.rows.iter().filter(|row| is_failure(row)) {
            *self.failed.entry(row.key).or_default() += row.calls;
        }
    }

    /// What is to be shown of an interval, in so many lines at most.
    pub fn text(&self, names: &str, interval: &Interval, lines_max: usize) -> String {
        let seconds = (interval.to_ns.saturating_sub(interval.from_ns) as f64 / 1e9).max(1e-9);
        let took = &interval.processes;
        let lost = match self.lost {
            0 => "none lost".to_owned(),
            lost => format!("{} lost", grouped(lost)),
        };
        let restarts = match interval.restarts {
            0 => String::new(),
            restarts => format!(" · {}", plural(restarts, "restart")),
        };
        let mut text = format!(
            "{names} · interval {} ({seconds:.1} s) · {} · CPU {:.1} % · {:.1} MB · {} · {}{restarts} · {lost}\n\n",
            interval.number,
            plural(took.count, "process"),
            took.cpu_ns as f64 / seconds / 1e7,
            took.memory_bytes as f64 / 1e6,
            plural(took.descriptors, "descriptor"),
            plural(took.threads, "thread"),
        );
        let latency = self
            .unit
            .map_or(String::new(), |unit| format!("{:>12}", unit.name()));
        let _ = writeln!(
            text,
            "{:<28} {:<12} {:>12} {:>10} {:>8}{latency}  {:>12}",
            "call", "errno", "calls", "per s", "share", "so far"
        );
        let lines = lines(&interval.rows);
        let rest = lines_max.saturating_sub(4);
        for line in lines.iter().take(rest) {
            let latency = self.unit.map_or(String::new(), |unit| {
                let mean = line.took_ns as f64 / line.calls.max(1) as f64;
                format!("{:>12}", unit.shown(mean))
            });
            let so_far = self
                .failed
                .get(&line.key)
                .map_or(String::new(), |all| grouped(*all));
            let share = line.calls as f64 / line.of.max(1) as f64;
            let _ = writeln!(
                text,
                "{:<28} {:<12} {:>12} {:>10.1} {:>8}{latency}  {so_far:>12}",
                what(&line.key),
                line.key
                    .errno
                    .map_or("ok".to_owned(), |errno| errno.to_string()),
                grouped(line.calls),
                line.calls as f64 / seconds,
                percent(share),
            );
        }
        if lines.len() > rest {
            let _ = writeln!(text, "… and {} more", lines.len() - rest);
        }
        text
    }
}

fn is_failure(row: &Row) -> bool {
    row.key.errno.is_some()
}

/// A call with what it was asked of what: `futex:wait`, `read tcp*`; the star is of descriptors that do not wait.
pub fn what(key: &Key) -> String {
    let operation = key.operation.map_or(String::new(), |one| format!(":{one}"));
    let star = if key.nonblocking == Some(true) {
        "*"
    } else {
        ""
    };
    let kind = key
        .kind
        .map_or(String::new(), |one| format!(" {one}{star}"));
    format!("{}{operation}{kind}", key.call)
}

fn percent(share: f64) -> String {
    match share * 100.0 {
        0.0 => "0 %".to_owned(),
        small if small < 0.01 => "<0.01 %".to_owned(),
        share if share < 10.0 => format!("{share:.2} %"),
        share => format!("{share:.1} %"),
    }
}

/// What has failed first, the most frequent before others; what has not behind it.
fn lines(rows: &[Row]) -> Vec<Line> {
    let asked = |key: &Key| Key {
        errno: None,
        ..*key
    };
    let mut all: BTreeMap<Key, u64> = BTreeMap::new();
    for row in rows {
        *all.entry(asked(&row.key)).or_default() += row.calls;
    }
    let of = |key: &Key| all.get(&asked(key)).copied().unwrap_or(0);
    let mut lines: Vec<Line> = rows
        .iter()
        .filter(|row| row.calls > 0 || is_failure(row))
        .map(|row| Line {
            key: row.key,
            calls: row.calls,
            of: of(&row.key),
            took_ns: row.took_ns,
        })
        .collect();
    lines.sort_by_key(|line| (line.key.errno.is_none(), Reverse(line.calls), line.key));
    lines
}
