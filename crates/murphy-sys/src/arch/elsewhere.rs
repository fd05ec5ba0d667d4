//! Architectures for which no code was written: everything says so.

use std::io;

use super::{HookCode, MoveError, Moved, NotHere};

/// How long a jump is.
pub const JUMP: usize = 5;

/// Nothing is known of this machine's registers.
#[derive(Clone, Copy, Debug)]
pub struct Registers {}

impl Registers {
    pub(crate) fn read(_thread: i32) -> Option<Self> {
        None
    }

    /// The instruction pointer.
    pub fn instruction(&self) -> u64 {
        0
    }

    /// The stack pointer.
    pub fn stack(&self) -> u64 {
        0
    }

    /// Never moves anything.
    pub fn move_to(&mut self, _thread: i32, _instruction: u64) -> bool {
        false
    }
}

/// What it tells of calls is not understood.
pub const AUDIT: Option<u32> = None;

/// Nothing is changed.
pub fn no_call(_thread: i32, _result: i64) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Nothing is changed.
pub fn answer_call(_thread: i32, _result: i64) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// No jump is known.
pub fn jump(_from: u64, _to: u64) -> Option<[u8; JUMP]> {
    None
}

/// Nothing can be moved.
pub fn moved(
    _name: &'static str,
    _code: &[u8],
    _from: u64,
    _to: u64,
    _room: usize,
) -> Result<Moved, MoveError> {
    Err(NotHere.into())
}

/// No frame is recognised.
pub fn returns_from_signal(_stack: &[u64], _within: impl Fn(u64) -> bool) -> bool {
    false
}

/// There is no hook.
pub fn hook() -> Result<HookCode, NotHere> {
    Err(NotHere)
}

/// None is known here.
pub fn ticks() -> u64 {
    0
}
