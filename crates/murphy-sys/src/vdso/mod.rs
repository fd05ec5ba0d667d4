//! The vDSO is the page of code that the kernel maps into every process, so that clocks are read without a
//! system call. Murphy skews a process's clocks there.
//!
//! The unused end of the page takes the hook and its data; three five-byte jumps at the beginnings of
//! `clock_gettime`, `gettimeofday` and `time` lead to it. Nothing is mapped, no system call is added, and
//! the pristine page needs no backup: every 64-bit process of a booted kernel has the same one, Murphy too.
//! See `vdso(7)`.
//!
//! - [`Image`] is the pristine page and where the hook fits into it,
//! - [`Slot`] what the hook adds to each clock,
//! - [`Page`] the page of one process: hook it, configure it, restore it,
//! - [`shifts_of`] how far the clocks of a process are off, without touching it,
//! - [`view`] what a process with such a page reads from its clocks.

mod image;
mod page;
mod reading;
mod slot;
mod trial;
pub mod view;

pub use image::{Image, ImageError};
pub use page::{HOLDERS_MAX, Page, PageError, State, Stopping, holders_of, marked_by};
pub use reading::shifts_of;
pub use slot::{Clock, Segment, Slot, TIMESCALES, Timescale, UnknownClock};
pub(crate) use slot::{DATA, SEGMENT, SLOT, SLOTS_AT, TIMESCALE, TIMESCALE_OF_CLOCK};
pub use trial::{TrialError, trial};
