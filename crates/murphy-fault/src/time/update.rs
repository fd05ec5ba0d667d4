//! A skew in force becomes another one, without stopping anybody.

use std::time::Instant;

use murphy_sys::{
    clock::boottime_ns,
    process::ProcessId,
    vdso::{Page, State},
};
use serde::Serialize;

use super::{
    SkewError,
    course::{self, Course},
    restore::{Marked, or_gone},
    spec::Spec,
};
use crate::{
    journal::{Journal, Record, number_of},
    span::{Span, Until},
};

/// What an update has done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Updated {
    /// How many processes were told.
    pub processes: u64,
    /// How long the longest of them took to tell, in nanoseconds; nobody was stopped.
    pub longest_ns: u64,
    /// What is added to its clocks now, in nanoseconds.
    pub shift_ns: i64,
}

/// Replaces what injection `record` adds by what `spec` says, from now to the end it always had. The clocks
/// stay those it was injected with.
pub fn update(
    journal: &Journal,
    record: &Record,
    mut spec: Spec,
    seed: u64,
) -> Result<Updated, SkewError> {
    let id = &record.header.id;
    if record.header.family != "time" {
        return Err(SkewError::NotASkew {
            id: id.clone(),
            family: record.header.family.clone(),
        });
    }
    let said = record
        .spec
        .clone()
        .ok_or_else(|| SkewError::Fixed(id.clone()))?;
    let old = Course::read(id, said)?;
    let left = match old.until_ns {
        None => Until::Forever,
        Some(until) => {
            let left = until.saturating_sub(boottime_ns());
            if left == 0 {
                return Err(SkewError::Over(id.clone()));
            }
            Until::After(Span(std::time::Duration::from_nanos(left)))
        }
    };
    spec.clocks = old.spec.clocks.clone();
    spec.force |= old.spec.force;
    // What is led past the vDSO reads there what it is told.
    spec.raw = old.spec.raw;
    spec.check(left)?;
    let mut course = Course::begin(spec, left, seed);
    course.until_ns = old.until_ns;
    // On disk first: whoever computes the sum from here on, its owner too, finds the new course.
    journal.respecify(id, &course)?;
    let number = number_of(id);
    let mut updated = Updated {
        processes: 0,
        longest_ns: 0,
        shift_ns: 0,
    };
    for process in Marked::find(number)?.carriers {
        // Who ends right now needs no telling.
        if let Some(Some(took_ns)) = or_gone(tell(journal, process))? {
            updated.longest_ns = updated.longest_ns.max(took_ns);
            updated.processes += 1;
        }
    }
    updated.shift_ns = course.shift_ns(boottime_ns());
    Ok(updated)
}

/// Has one process show what the journal says by now; says how long that took, in nanoseconds, or nothing where it is
/// not hooked.
fn tell(journal: &Journal, process: ProcessId) -> Result<Option<u64>, SkewError> {
    let page = Page::open(process)?;
    let holders = page.holders()?;
    if page.state()? != State::Hooked {
        return Ok(None);
    }
    let (slot, _) = course::slot(&course::of_holders(journal, &holders)?);
    let began = Instant::now();
    page.configure(&holders, &slot)?;
    Ok(Some(
        u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX),
    ))
}
