//! The way back of patched calls: found by the injection's id in the memory of whoever carries it.

use std::{collections::BTreeSet, time::Duration};

use murphy_sys::{
    patch::{Library, PatchError, Program, owners_of},
    process::ProcessId,
};

use super::{SyscallError, table};
use crate::{journal::number_of, undo::Undone};

/// How long a thread may take to stop, and all of one process to leave Murphy's code.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// How often the process table is searched for children that were born meanwhile.
const ROUNDS_MAX: usize = 100;

/// Takes injection `id` off every process that carries it.
pub fn restore_sites(id: &str) -> Result<Undone, SyscallError> {
    let owner = number_of(id).into();
    let mut library = Library::default();
    let mut undone = Undone::AlreadyDone;
    // Whose code is not touched any more: because it is nobody's of this injection, or because a thread did not leave it.
    let (mut left, mut dormant) = (BTreeSet::new(), 0);
    for _ in 0..ROUNDS_MAX {
        let mut carriers = carriers_of(owner)?;
        carriers.retain(|process| !left.contains(process));
        if carriers.is_empty() {
            return Ok(match dormant {
                0 => undone,
                count => Undone::Dormant(count),
            });
        }
        for process in carriers {
            match restore(process, owner, &mut library) {
                Ok(None) => {
                    left.insert(process);
                }
                Ok(Some(is_wiped)) => {
                    undone = Undone::Now;
                    if !is_wiped {
                        dormant += 1;
                        left.insert(process);
                    }
                }
                Err(error) if error.is_gone() => {}
                // The next round sees what it is by then.
                Err(PatchError::Executed(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Err(SyscallError::Runaway)
}

/// Everyone who may have stubs of an owner.
pub(super) fn carriers_of(owner: u64) -> Result<Vec<ProcessId>, SyscallError> {
    let table = table()?;
    let programs = table.iter().filter(|stat| !stat.is_kernel_thread());
    let carriers = programs.filter(|stat| owners_of(stat.pid).contains(&owner));
    Ok(carriers.map(murphy_sys::process::Stat::id).collect())
}

/// Recovers a process; says whether all is gone, and nothing where none of it is this owner's.
fn restore(
    process: ProcessId,
    owner: u64,
    library: &mut Library,
) -> Result<Option<bool>, PatchError> {
    let program = Program::open(process, library)?;
    if !program.state()?.owners.contains(&owner) {
        return Ok(None);
    }
    Ok(Some(program.recover(PATIENCE)?.is_wiped))
}
