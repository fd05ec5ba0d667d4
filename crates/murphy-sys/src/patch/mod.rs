//! A patch changes what a running program's system calls do, in its own code: where the program is about to make one, it is
//! led to a few instructions of Murphy's.
//!
//! A [`Module`] is an executable file as processes map it, and the pristine reference of what they run. Its [`Site`]s are its
//! `syscall` instructions. The rule that makes it safe to patch one: the `syscall` itself is never touched. Only whole
//! instructions that run just before it, five bytes or more, move elsewhere, so that a thread that waits in the kernel comes
//! back, or begins the call again, in the program's own code. What cannot be moved, and what only looks like a system call (a
//! table of constants), is [refused](Unfit) and told of.
//!
//! The modules are the reference by which any Murphy finds again what was patched, and takes it back: nothing is to be
//! remembered. Where a site leads, and for how long, a [`Stub`] says; a [`Program`] is a running one, patched and recovered.
//! Only `x86_64` programs are understood.

mod carrier;
mod clocks;
#[cfg(test)]
mod clocks_tests;
mod lease;
mod looks;
mod mapped;
mod module;
mod program;
mod remembered;
mod rule;
mod sites;
mod stub;
#[cfg(test)]
mod stub_tests;

pub use carrier::{Carrier, Counts, code_of, owners_of};
pub use lease::{Lease, LeaseError, deadline};
pub use looks::PREFIX_MAX;
pub use mapped::Library;
pub use module::{Code, Module, ModuleError, Room};
pub use program::{Coverage, PatchError, Patched, Program, Recovered, State, Uncovered};
pub use rule::{Act, Only, Pick, REMEMBERED_MOST, Rule};
pub use sites::{Refused, Site, Sites, Unfit};
pub use stub::{Stub, StubError};
