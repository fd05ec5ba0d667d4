//! Lines are the lines of any reader, lent one after the other from one buffer.

use std::io::{self, Read};

use crate::unread::Unread;

/// Longest line that is read: a file that is no history must not fill the memory.
pub(crate) const LIMIT: usize = 64 << 20;

/// The lines of a source.
pub(crate) struct Lines<R>(Unread<R>);

impl<R: Read> Lines<R> {
    /// The lines of `source`, none of them read yet.
    pub fn new(source: R) -> Self {
        Self(Unread::new(source))
    }

    /// The next line without its end; one that is longer than [`LIMIT`] is cut there.
    pub fn next(&mut self) -> io::Result<Option<&[u8]>> {
        let mut searched = 0;
        loop {
            if let Some(length) = find_newline(&self.0.bytes()[searched..]) {
                let line = self.0.take(searched + length + 1);
                return Ok(line.split_last().map(|(_, line)| line));
            }
            searched = self.0.bytes().len();
            if self.0.is_done() || searched >= LIMIT {
                return Ok((searched > 0).then(|| self.0.take(searched)));
            }
            self.0.fill()?;
        }
    }
}

/// The place of the first line end, sixteen bytes at a time.
#[inline]
pub(crate) fn find_newline(bytes: &[u8]) -> Option<usize> {
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
        let text = "x".repeat(1 << 20);
        let mut lines = Lines::new(text.as_bytes());
        assert_eq!(lines.next().unwrap().map(<[u8]>::len), Some(1 << 20));
        assert!(lines.next().unwrap().is_none());
    }
}
