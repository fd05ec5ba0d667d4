//! Who belongs to a family: one bit for each pid, in memory that the programs in the kernel change as well.

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
    ptr::{self, NonNull},
    slice,
    sync::atomic::{AtomicU64, Ordering},
};

use nix::libc;

use super::{CensusError, PIDS_MAX};

const WORDS: usize = PIDS_MAX as usize / 64;

/// The bits of all pids.
#[derive(Debug)]
pub(super) struct Members {
    words: NonNull<AtomicU64>,
}

// SAFETY: what it leads to is mapped until this is dropped, belongs to no thread, and is changed by atomic operations only.
unsafe impl Send for Members {}

impl Members {
    /// Those that a map of the programs' has.
    pub(super) fn of(map: impl AsFd) -> io::Result<Self> {
        let both = libc::PROT_READ | libc::PROT_WRITE;
        let fd = map.as_fd().as_raw_fd();
        // SAFETY: the kernel chooses the place, so that nobody else's memory is replaced.
        let at = unsafe { libc::mmap(ptr::null_mut(), 8 * WORDS, both, libc::MAP_SHARED, fd, 0) };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let words = NonNull::new(at.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { words })
    }

    fn words(&self) -> &[AtomicU64] {
        // SAFETY: so many words are mapped, and all bytes are words.
        unsafe { slice::from_raw_parts(self.words.as_ptr(), WORDS) }
    }

    fn word(&self, pid: u32) -> Result<(&AtomicU64, u64), CensusError> {
        let word = self.words().get(pid as usize / 64);
        let word = word.ok_or(CensusError::NoPid(pid))?;
        Ok((word, 1 << (pid % 64)))
    }

    pub(super) fn add(&self, pid: u32) -> Result<(), CensusError> {
        let (word, bit) = self.word(pid)?;
        word.fetch_or(bit, Ordering::Relaxed);
        Ok(())
    }

    pub(super) fn remove(&self, pid: u32) -> Result<(), CensusError> {
        let (word, bit) = self.word(pid)?;
        word.fetch_and(!bit, Ordering::Relaxed);
        Ok(())
    }

    /// All of them, in order.
    pub(super) fn all(&self) -> impl Iterator<Item = u32> {
        let words = (0..).zip(self.words());
        let words = words.map(|(place, word)| (place, word.load(Ordering::Relaxed)));
        words
            .filter(|(_, word)| *word > 0)
            .flat_map(|(place, word)| {
                (0..64)
                    .filter(move |bit| word >> bit & 1 == 1)
                    .map(move |bit| 64 * place + bit)
            })
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        // SAFETY: it was mapped so, and nobody has a reference into it any longer.
        unsafe { libc::munmap(self.words.as_ptr().cast(), 8 * WORDS) };
    }
}
