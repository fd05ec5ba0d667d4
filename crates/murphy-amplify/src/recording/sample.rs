//! A sample is a recording made up for tests, written by what writes real ones.

use std::collections::BTreeMap;

use murphy_run::probe;
use murphy_sys::{
    census::{self, Kind},
    syscalls::Call,
};

use super::errno_named;
use crate::recorder::{Columns, Cost, Figures, Header, Interval, Row, Writer};

/// So long is an interval.
pub const SECOND: u64 = 1_000_000_000;

/// So many calls of one kind; without an errno those that did not fail.
pub fn row(
    call: &str,
    kind: Option<Kind>,
    nonblocking: Option<bool>,
    errno: &str,
    calls: u64,
) -> Row {
    Row {
        key: census::Key {
            call: Call::named(call).unwrap(),
            operation: None,
            kind,
            nonblocking,
            errno: errno_named(errno),
        },
        calls,
        took_ns: 0,
    }
}

/// Calls of one kind, of which in each interval so many fail with an error, of so many that are made.
pub fn series(
    call: &str,
    kind: Option<Kind>,
    nonblocking: Option<bool>,
    errno: &str,
    counts: &[(u64, u64)],
) -> Vec<Vec<Row>> {
    let rows = |(failed, made): &(u64, u64)| {
        vec![
            row(call, kind, nonblocking, "", made - failed),
            row(call, kind, nonblocking, errno, *failed),
        ]
    };
    counts.iter().map(rows).collect()
}

/// Several such beside each other.
pub fn together(all: &[Vec<Vec<Row>>]) -> Vec<Vec<Row>> {
    let intervals = all.iter().map(Vec::len).min().unwrap_or(0);
    let of = |at: usize| all.iter().flat_map(move |one| one[at].clone());
    (0..intervals).map(|at| of(at).collect()).collect()
}

/// The header of all samples.
pub fn header() -> Header {
    let started = "2026-11-23T18:52:17Z".parse().unwrap();
    Header::new(
        vec!["pid:42".into()],
        "Linux 6.18".into(),
        started,
        SECOND,
        false,
    )
}

/// An interval of a sample.
pub fn interval(number: u64, rows: Vec<Row>) -> Interval {
    Interval {
        number,
        from_ns: number * SECOND,
        to_ns: (number + 1) * SECOND,
        rows,
        lost: 0,
        processes: Figures::default(),
        restarts: 0,
        jvms: BTreeMap::<u32, Columns>::new(),
    }
}

/// The lines of a recording of one-second intervals.
pub fn lines(intervals: &[Vec<Row>]) -> String {
    let mut bytes = Vec::new();
    let mut writer = Writer::begin(&mut bytes, &header()).unwrap();
    let probes = BTreeMap::<String, probe::Figures>::new();
    for (number, rows) in intervals.iter().enumerate() {
        let interval = interval(number as u64, rows.clone());
        writer
            .interval(&interval, &probes, &Cost::default())
            .unwrap();
    }
    String::from_utf8(bytes).unwrap()
}
