//! Counts are one number an interval, in as few bytes as they need: a day of 15 s intervals of 200 kinds of calls is to stay
//! below a few megabytes.
//!
//! A number is written seven bits a byte, the low ones first (LEB128); a stretch of zeros is a zero and its length. Numbers can only
//! be added at the end, and read from the beginning.

/// One number an interval, from the first interval on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All but the zeros at the end.
    bytes: Vec<u8>,
    /// How many zeros the end has.
    zeros: u64,
    sum: u64,
}

impl Counts {
    /// Of so many intervals in which there was none.
    pub fn zeros(intervals: u64) -> Self {
        Self {
            zeros: intervals,
            ..Self::default()
        }
    }

    /// Adds the next interval's.
    pub fn push(&mut self, count: u64) {
        if count == 0 {
            self.zeros += 1;
            return;
        }
        if self.zeros > 0 {
            self.bytes.push(0);
            write(&mut self.bytes, self.zeros);
            self.zeros = 0;
        }
        write(&mut self.bytes, count);
        self.sum = self.sum.saturating_add(count);
    }

    /// All intervals' together.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// Each interval's, in order.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        let mut rest = self.bytes.as_slice();
        let mut zeros = 0;
        let written = std::iter::from_fn(move || {
            if zeros > 0 {
                zeros -= 1;
                return Some(0);
            }
            match read(&mut rest)? {
                0 => {
                    // The length of a stretch stands behind it, and is never zero.
                    zeros = read(&mut rest)? - 1;
                    Some(0)
                }
                count => Some(count),
            }
        });
        let at_end = usize::try_from(self.zeros).unwrap_or(usize::MAX);
        written.chain(std::iter::repeat_n(0, at_end))
    }

    /// How many bytes of memory it takes.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.bytes.capacity()
    }
}

fn write(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
}

fn read(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for place in 0.. {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7F) << (7 * place);
        if byte & 0x80 == 0 {
            break;
        }
    }
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn zeros_cost_nothing_and_small_numbers_a_byte() {
        let mut counts = Counts::zeros(1_000_000);
        assert_eq!(counts.bytes.len(), 0);
        counts.push(127);
        counts.push(128);
        assert_eq!(counts.bytes.len(), 1 + 3 + 1 + 2);
        assert_eq!(counts.iter().count(), 1_000_002);
        assert_eq!(counts.iter().sum::<u64>(), counts.sum());
    }

    proptest! {
        #[test]
        fn what_was_pushed_is_read(
            before in 0_u64..300,
            pushed in prop::collection::vec(prop_oneof![3 => Just(0), 2 => 0..1000_u64, 1 => any::<u64>()], 0..300),
        ) {
            let mut counts = Counts::zeros(before);
            for one in &pushed {
                counts.push(*one);
            }
            let zeros = (0..before).map(|_| 0);
            let all: Vec<u64> = zeros.chain(pushed.iter().copied()).collect();
            prop_assert_eq!(counts.iter().collect::<Vec<_>>(), all);
            let sum = pushed.iter().fold(0_u64, |sum, one| sum.saturating_add(*one));
            prop_assert_eq!(counts.sum(), sum);
        }
    }
}
