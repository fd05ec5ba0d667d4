//! The page of the documentation: what it shows can be written, and it leaves no reason out.

use crate::probe::{Probe, Reason};

const PAGE: &str = include_str!("../../../../../docs/probes.md");

/// The first cells of the rows that say what is written.
fn first_cells(heading: &str) -> Vec<&'static str> {
    let (_, table) = PAGE.split_once(heading).expect("the table");
    let rows = table.lines().skip(2);
    let rows = rows.map_while(|line| line.strip_prefix("| `"));
    rows.map(|row| row.split('`').next().expect("a cell"))
        .collect()
}

#[test]
fn every_example_can_be_written() {
    let examples = first_cells("| probe | passes when |");
    assert!(examples.len() >= 10, "{examples:?}");
    for example in examples {
        let probe: Probe = example.parse().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(probe.to_string(), example);
    }
}

#[test]
fn every_reason_is_told() {
    let told = first_cells("| reason | of | when |");
    assert_eq!(told, Reason::ALL.map(Reason::name));
}
