//! Figures count what a verdict rests on, so that a verdict on nothing is seen as such.

use super::record::{Ask, Outcome, Record};
use crate::{busy::Busy, verdict::Vacuity};

/// Counts the operations of `record`.
pub(crate) fn figures(record: &Record) -> Vacuity {
    let busy = Busy::new(record.faults.iter().map(|fault| (fault.begin, fault.end)));
    let mut figures = Vacuity {
        faults: record.faults.len() as u64,
        watch_streams: record.streams.len() as u64,
        watch_events: record
            .streams
            .iter()
            .map(|stream| stream.events.len() as u64)
            .sum(),
        ..Vacuity::default()
    };
    for op in &record.ops {
        let ask = record.ask(op);
        if !Record::is_kv(ask) && !matches!(ask, Ask::Compact { .. }) {
            continue;
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
    figures
}
