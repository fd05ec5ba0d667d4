//! A table is the inverse of a distribution as tc(8) reads it: numbers in a file, one for each of as many equally likely
//! cases, in units of 1/8192 of the jitter.

use std::sync::Arc;

/// The most numbers of a table, which is also what netem takes.
pub const ENTRIES_MAX: usize = 16_384;
/// What a table says for one jitter (`NETEM_DIST_SCALE`).
pub const SCALE: f64 = 8192.0;

/// Why a text is no table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// Not a number, or one that 16 bits do not hold.
    #[error(
        "read line {line} of the table of a distribution: {text:?} is no whole number from -32768 to 32767"
    )]
    Number {
        /// From 1.
        line: usize,
        /// What stands there.
        text: String,
    },
    /// No numbers.
    #[error("read the table of a distribution: it has no numbers")]
    Empty,
    /// Too many numbers.
    #[error("read the table of a distribution: it has more than {ENTRIES_MAX} numbers")]
    Long,
}

/// The inverse of a distribution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table(Arc<[i16]>);

impl Table {
    /// Reads the text of a file: numbers with space between them, and lines of comment that begin with `#`.
    pub fn parse(text: &str) -> Result<Self, TableError> {
        let mut entries = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            if line.starts_with('#') {
                continue;
            }
            for word in line.split_ascii_whitespace() {
                let entry = word.parse().map_err(|_| TableError::Number {
                    line: number,
                    text: word.into(),
                })?;
                entries.push(entry);
                if entries.len() > ENTRIES_MAX {
                    return Err(TableError::Long);
                }
            }
        }
        if entries.is_empty() {
            return Err(TableError::Empty);
        }
        Ok(Self(entries.into()))
    }

    /// The numbers, as netem takes them (`TCA_NETEM_DELAY_DIST`).
    pub fn entries(&self) -> &[i16] {
        &self.0
    }

    /// What it says at a share from 0 to 1 of all cases, in jitters.
    pub(super) fn at(&self, share: f64) -> f64 {
        // The share is from 0 to 1, and the last entry is also what 1 is taken for.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let place = (share * self.0.len() as f64) as usize;
        f64::from(self.0[place.min(self.0.len() - 1)]) / SCALE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read_as_tc_reads_it() {
        let table = Table::parse("# a comment\n -8192 0\n\n 8192\t16384\n").unwrap();
        assert_eq!(table.entries(), [-8192, 0, 8192, 16384]);
        let values = [0.0, 0.24, 0.26, 0.99, 1.0].map(|share| table.at(share));
        assert_eq!(
            values.map(|value| value.to_string()),
            ["-1", "-1", "0", "2", "2"]
        );
    }

    #[test]
    fn what_is_no_table_is_refused_with_its_line() {
        let number = |line, text: &str| TableError::Number {
            line,
            text: text.into(),
        };
        assert_eq!(Table::parse("# 1\n1\n2 x\n"), Err(number(3, "x")));
        assert_eq!(Table::parse("40000"), Err(number(1, "40000")));
        assert_eq!(Table::parse("# nothing\n"), Err(TableError::Empty));
        assert_eq!(
            Table::parse(&"1 ".repeat(ENTRIES_MAX + 1)),
            Err(TableError::Long)
        );
    }
}
