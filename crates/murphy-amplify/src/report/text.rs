//! Text is a report for a terminal: a line for each row.

use std::fmt::Write as _;

use murphy_run::report::words;

use crate::campaign::{
    experiment::Natural,
    row::Row,
    search::Breaking,
    verdict::{Afterwards, Verdict},
};

/// What the columns are called.
const HEADS: [&str; 7] = [
    "call", "errno", "natural", "injected", "exposed", "injected", "verdict",
];

/// All rows.
pub fn table(rows: &[Row]) -> String {
    let mut lines = vec![HEADS.map(str::to_owned)];
    lines.extend(rows.iter().map(cells));
    let width = |column: usize| {
        let widths = lines.iter().map(|line| line[column].chars().count());
        widths.max().unwrap_or(0)
    };
    let widths: [usize; 7] = std::array::from_fn(width);
    let mut text = String::new();
    for line in &lines {
        for (column, (cell, width)) in line.iter().zip(widths).enumerate() {
            // Counts stand below each other; the verdict is the last, and as long as it is.
            let _ = match column {
                4 | 5 => write!(text, "{cell:>width$}  "),
                6 => writeln!(text, "{cell}"),
                _ => write!(text, "{cell:<width$}  "),
            };
        }
    }
    text.truncate(text.trim_end().len());
    text
}

fn cells(row: &Row) -> [String; 7] {
    [
        call(row).to_owned(),
        row.errno.clone(),
        natural(row),
        injected(row),
        count(row.exposures),
        count(row.injections),
        brief(row),
    ]
}

/// A number as terminals show it: `1 204`.
fn count(number: u64) -> String {
    words::count(number).replace(',', " ")
}

/// Which calls, and of which descriptors.
pub fn call(row: &Row) -> &str {
    let name = row.experiment.strip_suffix(row.errno.as_str());
    name.map_or(&row.experiment, |name| name.trim_end_matches(['=', '-']))
}

/// The share that fails by nature, and how sure that is.
pub fn natural(row: &Row) -> String {
    match row.natural {
        Natural { rate, .. } if rate <= 0.0 => "–".into(),
        Natural { rate, bounds: None } => figure(rate),
        Natural {
            rate,
            bounds: Some((low, high)),
        } => format!("{} ±{}", figure(rate), figure((high - low) / 2.0)),
    }
}

/// The shares that were made to fail, from the lowest to the highest.
pub fn injected(row: &Row) -> String {
    let rates = || row.trials.iter().map(|one| one.rate);
    let (low, high) = (
        rates().fold(f64::INFINITY, f64::min),
        rates().fold(0.0, f64::max),
    );
    match (row.trials.is_empty(), low < high) {
        (true, _) => "–".into(),
        (false, false) => figure(low),
        (false, true) => format!("{} … {}", figure(low), figure(high)),
    }
}

/// A share with two digits that tell something.
pub fn figure(share: f64) -> String {
    if share <= 0.0 {
        return "0".into();
    }
    let mut digits = 2;
    let mut scaled = share;
    while scaled < 0.1 && digits < 8 {
        (scaled, digits) = (scaled * 10.0, digits + 1);
    }
    let text = format!("{share:.digits$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// From which rate on something breaks, behind a blank; nothing where nothing does.
pub fn from(breaking: Breaking) -> String {
    let or_lower = match breaking {
        Breaking::Below(_) => ", or lower",
        _ => "",
    };
    match breaking.bounds() {
        Some((low, high)) if low < high => {
            format!(" from between {} and {} on", figure(low), figure(high))
        }
        Some((rate, _)) => format!(" from {} on{or_lower}", figure(rate)),
        None => String::new(),
    }
}

/// What it does, from where on, and how surely.
pub fn brief(row: &Row) -> String {
    let mut text = row.verdict.to_string();
    if row.verdict == Verdict::Inconclusive {
        let _ = write!(text, ": {}", row.why);
        return text;
    }
    let decides = row
        .trials
        .iter()
        .rev()
        .find(|one| one.verdict == row.verdict);
    match decides.map(|one| &one.seen) {
        Some(seen) if row.verdict == Verdict::Crashed => {
            let how = seen.death.as_ref().map(|death| death.how.as_str());
            let _ = write!(text, " ({})", how.unwrap_or("afterwards"));
        }
        Some(seen) if row.verdict == Verdict::Degraded => {
            if let Afterwards::Steady(after_ns) = seen.afterwards {
                let _ = write!(text, ", recovers in {}", words::lasted(after_ns));
            }
        }
        _ => {}
    }
    match row.breaking {
        Some(Breaking::Above(rate)) if row.verdict == Verdict::Resilient => {
            let _ = write!(text, " up to {}", figure(rate));
        }
        Some(breaking) => text.push_str(&from(breaking)),
        None => {}
    }
    match row.again {
        Some((_, 1)) => text.push_str(", seen once"),
        Some((bad, of)) if bad < of => {
            let _ = write!(text, ", flaky: {bad} of {of}");
        }
        Some((bad, of)) => {
            let _ = write!(text, ", {bad} of {of}");
        }
        None => {}
    }
    if let Some(ended) = &row.ended {
        let _ = write!(text, "; no more was tried: {ended}");
    }
    text
}
