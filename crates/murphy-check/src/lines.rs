//! Lines are the lines of any reader, lent one after the other from one buffer.

use std::io::{self, ErrorKind, Read};

/// How much is read at once.
const BLOCK: usize = 1 << 18;

/// Longest line that is read: a file that is no history must not fill the memory.
pub(crate) const LIMIT: usize = 64 << 20;

/// The lines of a source.
pub(crate) struct Lines<R> {
    source: R,
    buffer: Vec<u8>,
    /// The unread part of the buffer.
    start: usize,
    end: usize,
    is_done: bool,
}

impl<R: Read> Lines<R> {
    /// The lines of `source`, none of them read yet.
    pub fn new(source: R) -> Self {
        Self {
            source,
            buffer: vec![0; BLOCK],
            start: 0,
            end: 0,
            is_done: false,
        }
    }

    /// The next line without its end; one that is longer than [`LIMIT`] is cut there.
    pub fn next(&mut self) -> io::Result<Option<&[u8]>> {
        let mut searched = self.start;
        loop {
            if let Some(length) = find_newline(&self.buffer[searched..self.end]) {
                let line = self.start..searched + length;
                self.start = line.end + 1;
                return Ok(Some(&self.buffer[line]));
            }
            let unread = self.end - self.start;
            if self.is_done || unread >= LIMIT {
                let line = self.start..self.end;
                self.start = self.end;
                return Ok((unread > 0).then(|| &self.buffer[line]));
            }
            self.fill()?;
            searched = self.start + unread;
        }
    }

    /// Moves the unread part to the front and reads behind it.
    fn fill(&mut self) -> io::Result<()> {
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

/// The place of the first line end, sixteen bytes at a time.
#[inline]
fn find_newline(bytes: &[u8]) -> Option<usize> {
    const LOW: u128 = u128::MAX / 255;
    const HIGH: u128 = LOW << 7;
    const NEWLINE: u128 = LOW * 10;
    let mut at = 0;
    while let Some(word) = bytes.get(at..at + 16).and_then(|word| word.try_into().ok()) {
        let word = u128::from_le_bytes(word) ^ NEWLINE;
        // The lowest bit that is set is exact; borrows only spoil higher ones.
        let found = word.wrapping_sub(LOW) & !word & HIGH;
        if found != 0 {
            return Some(at + found.trailing_zeros() as usize / 8);
        }
        at += 16;
    }
    let rest = bytes[at..].iter().position(|byte| *byte == b'\n')?;
    Some(at + rest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Hands out a few bytes at a time.
    struct Trickle<'a>(&'a [u8], usize);

    impl Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = self.1.min(self.0.len()).min(buffer.len());
            buffer[..length].copy_from_slice(&self.0[..length]);
            self.0 = &self.0[length..];
            Ok(length)
        }
    }

    proptest! {
        #[test]
        fn lends_what_splitting_gives(text in "[ab\n]{0,200}", step in 1_usize..40) {
            let mut lines = Lines::new(Trickle(text.as_bytes(), step));
            let mut found = Vec::new();
            while let Some(line) = lines.next().unwrap() {
                found.push(String::from_utf8(line.to_vec()).unwrap());
            }
            prop_assert_eq!(found, text.lines().map(String::from).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_line_longer_than_a_block_is_whole() {
        let text = "x".repeat(3 * BLOCK);
        let mut lines = Lines::new(text.as_bytes());
        assert_eq!(lines.next().unwrap().map(<[u8]>::len), Some(3 * BLOCK));
        assert!(lines.next().unwrap().is_none());
    }
}
