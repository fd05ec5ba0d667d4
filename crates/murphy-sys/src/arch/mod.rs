//! What differs from one processor architecture to the next when a process is patched: registers, jumps,
//! moved instructions, the shape of a signal frame, and the code of the clock hook.
//!
//! Only `x86_64` is built. Elsewhere every entry says [`NotHere`] before anything is touched.

#[cfg(target_arch = "x86_64")]
mod x86_64;
#[cfg(target_arch = "x86_64")]
pub(crate) use x86_64::{AUDIT, JUMP, answer_call, hook, jump, no_call};
#[cfg(target_arch = "x86_64")]
pub use x86_64::{Registers, moved, returns_from_signal, ticks};

#[cfg(not(target_arch = "x86_64"))]
mod elsewhere;
#[cfg(not(target_arch = "x86_64"))]
pub(crate) use elsewhere::{AUDIT, JUMP, answer_call, hook, jump, no_call};
#[cfg(not(target_arch = "x86_64"))]
pub use elsewhere::{Registers, moved, returns_from_signal, ticks};

/// This processor architecture is not supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "patch processes on {}: only x86_64 is supported",
    std::env::consts::ARCH
)]
pub struct NotHere;

/// Why the beginning of a function cannot make room for a jump.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoveError {
    /// The bytes are no instructions.
    #[error("move the beginning of {0}: its instructions are not understood")]
    Unknown(&'static str),
    /// It leaves too early.
    #[error("move the beginning of {0}: it calls, jumps or returns within its first 5 bytes")]
    Leaves(&'static str),
    /// Something jumps into it.
    #[error("move the beginning of {0}: the function jumps back into its first bytes")]
    Entered(&'static str),
    /// It became too long.
    #[error("move the beginning of {name}: {length} bytes where {room} fit")]
    Long {
        /// The function.
        name: &'static str,
        /// Its length once moved.
        length: usize,
        /// What there is room for.
        room: usize,
    },
    /// It cannot be encoded at its new place.
    #[error("move the beginning of {name}: {reason}")]
    Encode {
        /// The function.
        name: &'static str,
        /// What the encoder said.
        reason: String,
    },
    /// Another architecture.
    #[error(transparent)]
    NotHere(#[from] NotHere),
}

/// The first instructions of a function, fit to run elsewhere, and a jump back behind them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// The bytes at the new place.
    pub code: Vec<u8>,
    /// Where each instruction was and where it is now.
    pub instructions: Vec<(u64, u64)>,
}

/// The machine code of the clock hook, as it is laid out in a page, with room where the moved beginnings go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HookCode {
    /// Everything, from the mark to the end of the data.
    pub bytes: &'static [u8],
    /// Where the moved beginning of each function goes, and how much room it has.
    pub beginnings: [(usize, usize); 3],
    /// Where each function's jump leads.
    pub entries: [usize; 3],
    /// Where the data begins.
    pub data: usize,
}
