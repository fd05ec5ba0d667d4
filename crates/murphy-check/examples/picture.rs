//! Judges a history of model `etcd` from standard input, and writes its picture to standard output.
//!
//! `cargo run --release -p murphy-check --example picture < history.jsonl > history.html`

use std::io::{stdin, stdout};

use murphy_check::{
    etcd::{Options, Record, check_record},
    picture,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let record = Record::read(stdin().lock())?;
    let report = check_record(record.clone(), &Options::default());
    picture::etcd_html(&record, &report, stdout().lock())?;
    Ok(())
}
