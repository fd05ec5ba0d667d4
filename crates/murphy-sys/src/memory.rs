//! The memory of another process, as `/proc/PID/mem` gives it: reading anywhere, writing where nobody else
//! may.
//!
//! Kernels since 6.12 can be told to let only a tracer, or nobody, write where the process itself may not
//! (`proc_mem.force_override`); [`Memory::write`] then says [`MemoryError::Restricted`] and a tracer goes
//! on with `PTRACE_POKEDATA`. No `process_vm_*` call is used: some kernels are built without them.

use std::{
    fs::File,
    io,
    os::{fd::OwnedFd, unix::fs::FileExt},
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::{
    fs::{FlockOperation, Mode, OFlags, flock},
    io::Errno,
};

use crate::process::ProcessId;

/// How long another who patches the same process may take, and how often he is looked at.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);
const LOCK_PAUSE: Duration = Duration::from_micros(500);

/// Why a process's memory could not be used.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// The process is gone; its pid may be somebody else's by now.
    #[error("open the memory of {0}: it is gone")]
    Gone(ProcessId),
    /// The kernel refused.
    #[error("{action} the memory of {process}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// Whose memory.
        process: ProcessId,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Somebody else does not let go of it.
    #[error("lock the memory of {0}: somebody else has patched it for {wait} s by now; is there a Murphy that hangs?", wait = LOCK_PATIENCE.as_secs())]
    Busy(ProcessId),
    /// This kernel lets nobody write here through `/proc/PID/mem`.
    #[error("write the memory of {0} through /proc: the kernel allows it to a tracer at most")]
    Restricted(ProcessId),
}

/// The memory of one process.
#[derive(Debug)]
pub struct Memory {
    process: ProcessId,
    file: File,
}

impl Memory {
    /// Opens it, for writing too where the kernel lets us.
    pub fn open(process: ProcessId) -> Result<Self, MemoryError> {
        let path = format!("/proc/{}/mem", process.pid);
        let opened = match File::options().read(true).write(true).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => File::open(&path),
            other => other,
        };
        let file = opened.map_err(|source| Self::refused("open", process, source))?;
        // Opened by pid: only now is it certain that this is the process that was meant.
        if process.is_alive() {
            Ok(Self { process, file })
        } else {
            Err(MemoryError::Gone(process))
        }
    }

    fn refused(action: &'static str, process: ProcessId, source: io::Error) -> MemoryError {
        // A process that is ending has no memory any more: nothing is read, nothing written.
        let is_empty = matches!(
            source.kind(),
            io::ErrorKind::UnexpectedEof | io::ErrorKind::WriteZero
        );
        match source.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::NOENT | Errno::SRCH) => MemoryError::Gone(process),
            None if is_empty => MemoryError::Gone(process),
            _ => MemoryError::Io {
                action,
                process,
                source,
            },
        }
    }

    /// Whose it is.
    pub fn process(&self) -> ProcessId {
        self.process
    }

    /// Reads exactly `length` bytes at `address`.
    pub fn read(&self, address: u64, length: usize) -> Result<Vec<u8>, MemoryError> {
        let mut bytes = vec![0; length];
        self.file
            .read_exact_at(&mut bytes, address)
            .map_err(|source| Self::refused("read", self.process, source))?;
        Ok(bytes)
    }

    /// Reads the word at `address`, as `x86_64` has it.
    pub fn read_word(&self, address: u64) -> Result<u64, MemoryError> {
        let bytes = self.read(address, 8)?;
        let word = bytes.first_chunk().copied();
        Ok(word.map_or(0, u64::from_le_bytes))
    }

    /// Reads as many whole words at `address` as are mapped, at most `words`.
    pub fn read_words(&self, address: u64, words: usize) -> Vec<u64> {
        let mut bytes = vec![0; words * 8];
        let length = self.file.read_at(&mut bytes, address).unwrap_or(0);
        let words = bytes[..length].as_chunks().0;
        words.iter().copied().map(u64::from_le_bytes).collect()
    }

    /// Writes all of `bytes` at `address`, into read-only pages too.
    pub fn write(&self, address: u64, bytes: &[u8]) -> Result<(), MemoryError> {
        self.file.write_all_at(bytes, address).map_err(|source| {
            match Errno::from_io_error(&source) {
                Some(Errno::IO | Errno::PERM | Errno::ACCESS | Errno::BADF | Errno::NOSYS) => {
                    MemoryError::Restricted(self.process)
                }
                _ => Self::refused("write", self.process, source),
            }
        })
    }
}

/// The one who patches a process: nobody else does while this lives, and the kernel ends it with its owner.
#[derive(Debug)]
pub struct Patching(#[allow(dead_code, reason = "held, not used")] OwnedFd);

impl Patching {
    /// Waits until nobody else patches `process`. The lock is on its `/proc/PID/mem`, so that it needs no file
    /// anywhere, and nobody can take it who may not patch the process, either.
    pub fn lock(process: ProcessId) -> Result<Self, MemoryError> {
        let refused = |errno: Errno| Memory::refused("lock", process, io::Error::from(errno));
        let path = format!("/proc/{}/mem", process.pid);
        let reading = OFlags::RDONLY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, reading, Mode::empty()).map_err(refused)?;
        let until = Instant::now() + LOCK_PATIENCE;
        loop {
            match flock(&fd, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self(fd)),
                Err(Errno::WOULDBLOCK) if Instant::now() < until => sleep(LOCK_PAUSE),
                Err(Errno::WOULDBLOCK) => return Err(MemoryError::Busy(process)),
                Err(errno) => return Err(refused(errno)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_memory_reads_as_it_is() {
        let secret = [7_u64, 8, 9];
        let memory = Memory::open(ProcessId::current()).unwrap();
        let address = secret.as_ptr() as u64;
        assert_eq!(memory.read(address, 8).unwrap(), 7_u64.to_le_bytes());
        assert_eq!(memory.read_words(address, 3), secret);
        assert!(
            memory.read_words(8, 3).is_empty(),
            "nothing is mapped there"
        );
    }

    #[test]
    fn somebody_else_is_not_opened() {
        let me = ProcessId::current();
        let reused = ProcessId {
            start_ticks: me.start_ticks + 1,
            ..me
        };
        assert!(matches!(Memory::open(reused), Err(MemoryError::Gone(_))));
    }
}
