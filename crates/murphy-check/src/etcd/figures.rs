//! Figures count what a verdict rests on, so that a verdict on nothing is seen as such.

use super::record::{Ask, Op, Outcome, Record};
use crate::{busy::Busy, verdict::Vacuity};

/// Counts what `record` has.
pub(crate) fn figures(record: &Record) -> Vacuity {
    let mut figures = Vacuity::default();
    add_all(record, &mut figures);
    figures
}

/// Adds everything in `record` to the count.
pub(crate) fn add_all(record: &Record, figures: &mut Vacuity) {
    add(record, |_| true, figures);
    figures.watch_streams += record.streams.len() as u64;
    let events = record.streams.iter().map(|stream| stream.events.len());
    figures.watch_events += events.sum::<usize>() as u64;
}

/// Adds the operations of `record` with these numbers to the count.
pub(crate) fn add(record: &Record, wanted: impl Fn(usize) -> bool, figures: &mut Vacuity) {
    let busy = Busy::new(record.faults.iter().map(|fault| (fault.begin, fault.end)));
    figures.faults = record.faults.len() as u64;
    for (id, op) in record.ops.iter().enumerate() {
        if wanted(id) {
            count(record, op, &busy, figures);
        }
    }
}

/// Counts one operation.
fn count(record: &Record, op: &Op, busy: &Busy, figures: &mut Vacuity) {
    let ask = record.ask(op);
    if !Record::is_kv(ask) && !matches!(ask, Ask::Compact { .. }) {
        return;
    }
    figures.operations += 1;
    figures.operations_during_faults += u64::from(busy.meets(op.call, op.end));
    match (op.outcome, record.answer(op)) {
        (Outcome::Unknown, _) => figures.unknown += 1,
        (Outcome::Fail, _) => figures.failed += 1,
        (_, Some(answer)) if record.wrote(answer) => figures.writes += 1,
        _ if Record::is_kv(ask) => figures.reads += 1,
        _ => {}
    }
}
