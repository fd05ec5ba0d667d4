//! Figures count what a verdict rests on.

use crate::{
    busy::Busy,
    recording::{Outcome, Recording},
    verdict::Vacuity,
};

/// Counts the invocations of a recording; `reads` are those that were understood, each with whether it changes
/// nothing.
pub(super) fn figures(recording: &Recording, reads: impl Iterator<Item = (u32, bool)>) -> Vacuity {
    let mut figures = Vacuity {
        faults: recording.faults.len() as u64,
        ..Vacuity::default()
    };
    let busy = Busy::new((recording.faults.iter()).map(|fault| (fault.begin, fault.end)));
    for invocation in &recording.invocations {
        figures.operations += 1;
        let is_during = busy.meets(invocation.call, invocation.end);
        figures.operations_during_faults += u64::from(is_during);
        figures.unknown += u64::from(invocation.outcome == Outcome::Unknown);
        figures.failed += u64::from(invocation.outcome == Outcome::Fail);
    }
    for (number, is_read) in reads {
        if recording.invocations[number as usize].outcome == Outcome::Ok {
            *if is_read {
                &mut figures.reads
            } else {
                &mut figures.writes
            } += 1;
        }
    }
    figures
}
