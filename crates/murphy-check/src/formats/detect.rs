//! A format is told from the first bytes of a file.

use std::{fmt, str::FromStr};

use super::jepsen_log::{LEVELS, LOGGER};
use crate::read;

/// So many bytes are enough to tell a format.
pub const HEAD: usize = 4096;

/// A way to write a history down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Murphy's JSON Lines.
    Murphy,
    /// Operations of Jepsen and Elle in EDN.
    Edn,
    /// Operations of Jepsen and Elle in JSON.
    JepsenJson,
    /// Lines of Jepsen's log.
    JepsenLog,
    /// porcupine's key-value files.
    PorcupineKv,
    /// The files of clients of an etcd robustness test.
    EtcdReport,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 6] = [
        Self::Murphy,
        Self::Edn,
        Self::JepsenJson,
        Self::JepsenLog,
        Self::PorcupineKv,
        Self::EtcdReport,
    ];

    /// Its name, such as `jepsen-json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Murphy => "murphy",
            Self::Edn => "edn",
            Self::JepsenJson => "jepsen-json",
            Self::JepsenLog => "jepsen-log",
            Self::PorcupineKv => "porcupine-kv",
            Self::EtcdReport => "etcd-report",
        }
    }

    /// The format that begins with `head`, of which [`HEAD`] bytes are enough; `None` where no history does.
    pub fn detect(head: &[u8]) -> Option<Self> {
        let head = head.trim_ascii_start();
        let line = head.split(|byte| *byte == b'\n').next().unwrap_or(head);
        let has = |text: &str| find(head, text.as_bytes());
        let inner = match head {
            [b'[' | b'(', rest @ ..] => rest.trim_ascii_start(),
            _ => head,
        };
        if find(line, LOGGER.as_bytes())
            || LEVELS
                .iter()
                .any(|level| head.starts_with(level.as_bytes()))
        {
            return Some(Self::JepsenLog);
        }
        match inner {
            [b'{', rest @ ..] if rest.trim_ascii_start().starts_with(b"\"") => {
                if find(line, b"\"murphy\"") {
                    Some(Self::Murphy)
                } else if has("\"type\"") || has("\"process\"") {
                    Some(Self::JepsenJson)
                } else if has("\"Input\"") || has("\"Request\"") {
                    Some(Self::EtcdReport)
                } else {
                    None
                }
            }
            [b'{' | b'#' | b';', ..] if has(":type") || has(":process") => {
                let first = head.split(|byte| *byte == b'}').next().unwrap_or(head);
                Some(if find(first, b":key ") {
                    Self::PorcupineKv
                } else {
                    Self::Edn
                })
            }
            [digit, ..] if digit.is_ascii_digit() && has(LOGGER) => Some(Self::JepsenLog),
            _ => None,
        }
    }
}

/// The model named by the first line of a Murphy history; `None` where that is not the header of one.
pub fn model_of(head: &[u8]) -> Option<String> {
    let head = head.trim_ascii_start();
    let line = head.split(|byte| *byte == b'\n').next()?;
    let header = read::parse_header(std::str::from_utf8(line).ok()?).ok()?;
    Some(header.model)
}

fn find(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let known = Self::ALL.map(Self::name);
        Self::ALL
            .into_iter()
            .find(|format| format.name() == name)
            .ok_or_else(|| format!("expected one of {}", known.join(", ")))
    }
}
