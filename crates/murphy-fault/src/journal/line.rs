//! A line of the journal is a record with its checksum in front: eight hex digits of CRC32, a space, JSON.

use serde::{Deserialize, Serialize};

use super::Header;
use crate::Undo;

/// What one line says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "kebab-case")]
pub(super) enum Record {
    /// The first line: whose entry this is.
    Begin(Box<Header>),
    /// The way back of a change that follows.
    Undo(Undo),
}

/// A line, with its newline.
pub(super) fn write(record: &Record) -> String {
    // A record holds strings, numbers and JSON values: nothing that JSON cannot say.
    let json = serde_json::to_string(record).expect("a record is JSON");
    format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes()))
}

/// What a file holds.
#[derive(Debug, Default)]
pub(super) struct Content {
    pub records: Vec<Record>,
    /// The last line was cut while it was written, so its change has not been made.
    pub torn: bool,
    /// Lines that were complete and do not say what was written: line number and why.
    pub damage: Vec<(usize, String)>,
}

/// Reads what [`write`] wrote, and whatever else may be in the file by now.
pub(super) fn read(bytes: &[u8]) -> Content {
    let mut content = Content::default();
    for (index, line) in bytes.split_inclusive(|&b| b == b'\n').enumerate() {
        let Some(line) = line.strip_suffix(b"\n") else {
            content.torn = true;
            continue;
        };
        match parse(line) {
            Ok(record) => content.records.push(record),
            Err(reason) => content.damage.push((index + 1, reason)),
        }
    }
    content
}

fn parse(line: &[u8]) -> Result<Record, String> {
    let text = std::str::from_utf8(line).map_err(|_| "it is not UTF-8".to_owned())?;
    let (sum, json) = text.split_once(' ').ok_or("it has no checksum")?;
    let written = u32::from_str_radix(sum, 16).map_err(|_| "it has no checksum")?;
    let found = crc32fast::hash(json.as_bytes());
    if written != found {
        return Err(format!("its checksum is {found:08x} and should be {written:08x}"));
    }
    serde_json::from_str(json).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn undo(tag: &str) -> Record {
        Record::Undo(Undo::EndTagged { tag: tag.into() })
    }

    fn two_lines() -> Vec<u8> {
        (write(&undo("a")) + &write(&undo("b"))).into_bytes()
    }

    #[test]
    fn lines_are_read_as_written() {
        let content = read(&two_lines());
        assert_eq!(content.records, [undo("a"), undo("b")]);
        assert!(!content.torn && content.damage.is_empty());
    }

    #[test]
    fn a_line_cut_anywhere_is_torn_and_the_one_before_is_kept() {
        let whole = two_lines();
        let first = write(&undo("a")).len();
        for length in first + 1..whole.len() {
            let content = read(&whole[..length]);
            assert_eq!(content.records, [undo("a")]);
            assert!(content.torn && content.damage.is_empty());
        }
    }

    #[test]
    fn any_changed_byte_is_damage() {
        let whole = two_lines();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x04;
            let content = read(&bytes);
            let told = content.torn || !content.damage.is_empty();
            assert!(told && content.records.len() < 2, "byte {at}");
        }
    }
}
