//! What was read of a source and not looked at yet.

use std::io::{self, ErrorKind, Read};

/// How much is read at once.
const BLOCK: usize = 1 << 18;

/// The unread part of a source, as far as it is in memory.
#[derive(Debug)]
pub(crate) struct Unread<R> {
    source: R,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    is_done: bool,
}

impl<R: Read> Unread<R> {
    /// Nothing read yet.
    pub fn new(source: R) -> Self {
        Self {
            source,
            buffer: vec![0; BLOCK],
            start: 0,
            end: 0,
            is_done: false,
        }
    }

    /// What is in memory.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Whether the source has no more than that.
    #[inline]
    pub fn is_done(&self) -> bool {
        self.is_done
    }

    /// Takes the first `length` bytes, which are in memory.
    #[inline]
    pub fn take(&mut self, length: usize) -> &[u8] {
        let taken = self.start..self.start + length;
        self.start = taken.end;
        &self.buffer[taken]
    }

    /// Reads more.
    pub fn fill(&mut self) -> io::Result<()> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.end == self.buffer.len() {
            self.buffer.resize(self.end * 2, 0);
        }
        loop {
            match self.source.read(&mut self.buffer[self.end..]) {
                Ok(read) => {
                    self.end += read;
                    self.is_done = read == 0;
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}
