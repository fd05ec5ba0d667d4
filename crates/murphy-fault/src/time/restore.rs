//! The way back of a skew: found by its id in the memory of whoever carries it.

use std::time::{Duration, Instant};

use murphy_sys::{
    patch::{Library, Program, owners_of},
    process::ProcessId,
    table::ProcessTable,
    vdso::{Page, State, marked_by},
};

use super::{SkewError, course};
use crate::{
    journal::{Journal, number_of},
    undo::Undone,
};

/// How long a thread may take to stop.
pub(super) const STOP_PATIENCE: Duration = Duration::from_secs(2);
/// How long threads may take to leave a hook before it is left dormant, for all processes together.
const WIPE_PATIENCE: Duration = Duration::from_secs(10);
/// How often the process table is searched for children that were born meanwhile.
const ROUNDS_MAX: usize = 100;

/// Takes injection `id` off every process that carries it: first its skew ends everywhere, then the pages
/// that nobody else holds become pristine again.
pub fn restore_vdso(journal: &Journal, id: &str) -> Result<Undone, SkewError> {
    let number = number_of(id);
    let until = Instant::now() + WIPE_PATIENCE;
    let mut undone = Undone::AlreadyDone;
    let mut dormant = 0;
    for _ in 0..ROUNDS_MAX {
        let Marked { carriers, orphans } = Marked::find(number)?;
        if carriers.is_empty() {
            for process in orphans {
                // What cannot be reached or is somebody's by now is not this injection's affair.
                let _ = wipe_orphan(process);
            }
            return Ok(if dormant > 0 {
                Undone::Dormant(dormant)
            } else {
                undone
            });
        }
        undone = Undone::Now;
        for process in &carriers {
            or_gone(end_skew(journal, *process, number))?;
        }
        let mut free = Vec::new();
        for process in &carriers {
            free.extend(or_gone(free_page(*process, number))?.flatten());
        }
        for (process, inside) in free {
            or_gone(nobody_reads(process, number))?;
            let left = until.saturating_duration_since(Instant::now());
            let wiped = or_gone(
                Page::open(process)
                    .and_then(|page| match page.state()? {
                        State::Dormant => page.wipe(inside, left),
                        // Somebody else has hooked it again, or wiped it.
                        _ => Ok(true),
                    })
                    .map_err(SkewError::from),
            )?;
            if wiped == Some(false) {
                dormant += 1;
                // It stays, and is nobody's from now on.
                or_gone(give_up(process))?;
            }
        }
    }
    Err(SkewError::Runaway)
}

/// An error where raw calls of a process are still led to code that reads its page: these go first.
fn nobody_reads(process: ProcessId, number: u32) -> Result<(), SkewError> {
    if !owners_of(process.pid).contains(&number.into()) {
        return Ok(());
    }
    let program = Program::open(process, &mut Library::default())?;
    match program.state()?.sites {
        0 => Ok(()),
        _ => Err(SkewError::StillPatched(process)),
    }
}

/// Gives up the hold of whoever had a hook last that cannot be wiped.
fn give_up(process: ProcessId) -> Result<(), SkewError> {
    let page = Page::open(process)?;
    match page.state()? {
        State::Dormant => Ok(page.hold(&[])?),
        _ => Ok(()),
    }
}

/// Wipes a hook that nobody holds, where nobody is in it right now.
fn wipe_orphan(process: ProcessId) -> Result<(), SkewError> {
    let page = Page::open(process)?;
    if !page.holders()?.is_empty() {
        return Ok(());
    }
    let inside = match page.state()? {
        State::Pristine => return Ok(()),
        State::Dormant => None,
        State::Hooked | State::Half => Some(page.restore(STOP_PATIENCE)?.1),
    };
    page.wipe(inside, Duration::ZERO)?;
    Ok(())
}

/// Everyone who has a hook in his page.
pub(super) struct Marked {
    /// Held by one injection.
    pub carriers: Vec<ProcessId>,
    /// Held by nobody.
    orphans: Vec<ProcessId>,
}

impl Marked {
    /// Looks at everybody's page for injection `number`.
    pub(super) fn find(number: u32) -> Result<Self, SkewError> {
        let table = ProcessTable::read().map_err(SkewError::Table)?;
        let (mut carriers, mut orphans) = (Vec::new(), Vec::new());
        for stat in table.iter().filter(|stat| !stat.is_kernel_thread()) {
            match marked_by(stat.pid) {
                Some(holders) if holders.contains(&number) => carriers.push(stat.id()),
                Some(holders) if holders.is_empty() => orphans.push(stat.id()),
                _ => {}
            }
        }
        Ok(Self { carriers, orphans })
    }
}

/// Ends what one injection adds in one process, without stopping it.
fn end_skew(journal: &Journal, process: ProcessId, number: u32) -> Result<(), SkewError> {
    let page = Page::open(process)?;
    let holders = page.holders()?;
    if page.state()? == State::Dormant || !holders.contains(&number) {
        return Ok(());
    }
    let others: Vec<u32> = holders.iter().copied().filter(|h| *h != number).collect();
    let (slot, _) = course::slot(&course::of_holders(journal, &others)?);
    // It still is a holder: whoever comes after a crash right here must find it.
    Ok(page.configure(&holders, &slot)?)
}

/// Gives up the hold of one injection; takes the jumps back where nobody else has one. Says who is left to be
/// wiped, with the threads still inside where they are known.
#[allow(
    clippy::type_complexity,
    reason = "a process to wipe, and who is inside where known"
)]
fn free_page(
    process: ProcessId,
    number: u32,
) -> Result<Option<(ProcessId, Option<Vec<i32>>)>, SkewError> {
    let page = Page::open(process)?;
    let others: Vec<u32> = page
        .holders()?
        .into_iter()
        .filter(|h| *h != number)
        .collect();
    if !others.is_empty() {
        page.hold(&others)?;
        return Ok(None);
    }
    let inside = match page.state()? {
        State::Pristine => return Ok(None),
        State::Dormant => None,
        State::Hooked | State::Half => Some(page.restore(STOP_PATIENCE)?.1),
    };
    // It still holds it: whoever comes after a crash right here must find it.
    Ok(Some((process, inside)))
}

/// Nobody is left to be told or restored in a process that has ended or executed another program.
pub(super) fn or_gone<T>(outcome: Result<T, SkewError>) -> Result<Option<T>, SkewError> {
    match outcome {
        Ok(done) => Ok(Some(done)),
        Err(error) if error.is_gone() => Ok(None),
        Err(error) if error.is_of_executing() => Ok(None),
        Err(error) => Err(error),
    }
}
