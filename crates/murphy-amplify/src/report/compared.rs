//! Two reports are compared row by row: what was survived and is no more, what is survived now, and what is as it was.

use serde::Serialize;

use super::Report;
use crate::campaign::{row::Row, search::Breaking, verdict::Verdict};

/// Rates of breaking that differ by no more are the same: a search is no finer.
const SAME: f64 = 1.5;

/// What a row is against that of the same error in another report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// The same verdict, at about the same rate.
    Same,
    /// A worse verdict, or a lower rate.
    Worse,
    /// A better one, or a higher rate.
    Better,
    /// One of them is inconclusive or flaky: nobody knows.
    Unknown,
    /// Only here.
    New,
    /// Only there.
    Gone,
}

/// A row against another.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Compared {
    /// Which error.
    pub experiment: String,
    /// What it was.
    pub before: Option<Verdict>,
    /// What it is.
    pub now: Option<Verdict>,
    /// Where it broke.
    pub broke_before: Option<Breaking>,
    /// Where it breaks.
    pub breaks_now: Option<Breaking>,
    /// What that is.
    pub change: Change,
}

/// All of them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// Row by row, those that are gone at the end.
    pub rows: Vec<Compared>,
    /// How many have the same verdict.
    pub same_verdicts: usize,
    /// Of how many that are in both.
    pub of: usize,
}

impl Comparison {
    /// Compares a report with an earlier one.
    pub fn of(before: &Report, now: &Report) -> Self {
        let find = |rows: &[Row], name: &str| -> Option<Row> {
            rows.iter().find(|row| row.experiment == name).cloned()
        };
        let mut rows: Vec<Compared> = now
            .rows
            .iter()
            .map(|row| compare(find(&before.rows, &row.experiment).as_ref(), Some(row)))
            .collect();
        let gone = before
            .rows
            .iter()
            .filter(|row| find(&now.rows, &row.experiment).is_none());
        rows.extend(gone.map(|row| compare(Some(row), None)));
        let both = || {
            rows.iter()
                .filter(|row| row.before.is_some() && row.now.is_some())
        };
        Self {
            same_verdicts: both().filter(|row| row.before == row.now).count(),
            of: both().count(),
            rows,
        }
    }

    /// Whether anything is worse.
    pub fn is_worse(&self) -> bool {
        self.rows.iter().any(|row| row.change == Change::Worse)
    }
}

fn compare(before: Option<&Row>, now: Option<&Row>) -> Compared {
    let breaking = |row: Option<&Row>| row.and_then(|row| row.breaking);
    let bounds = |row: &Row| row.breaking.and_then(Breaking::bounds);
    let is_open = |row: &Row| row.verdict == Verdict::Inconclusive || row.is_flaky();
    let change = match (before, now) {
        (None, _) => Change::New,
        (_, None) => Change::Gone,
        (Some(before), Some(now)) if is_open(before) || is_open(now) => {
            if before.verdict == now.verdict && before.is_flaky() == now.is_flaky() {
                Change::Same
            } else {
                Change::Unknown
            }
        }
        (Some(before), Some(now)) if before.verdict != now.verdict => {
            if now.verdict > before.verdict {
                Change::Worse
            } else {
                Change::Better
            }
        }
        // Where it is not known better than between two rates, it may be any of them.
        (Some(before), Some(now)) => match (bounds(before), bounds(now)) {
            (Some((then, _)), Some((_, now))) if now * SAME < then => Change::Worse,
            (Some((_, then)), Some((now, _))) if now > then * SAME => Change::Better,
            _ => Change::Same,
        },
    };
    let name = now.or(before).map(|row| row.experiment.clone());
    Compared {
        experiment: name.unwrap_or_default(),
        before: before.map(|row| row.verdict),
        now: now.map(|row| row.verdict),
        broke_before: breaking(before),
        breaks_now: breaking(now),
        change,
    }
}
