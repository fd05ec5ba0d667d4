//! A selector is one text that names processes: a kind, a colon, a value.

use std::{fmt, path::PathBuf, str::FromStr};

use serde::{Deserialize, Serialize};

/// The kinds of this version, as its errors list them.
const SUPPORTED: &str = "pid:42, name:etcd, netns:n1, or a command after `--`";
/// Kinds whose place in the grammar is taken but which this version cannot find yet.
const LATER: [&str; 5] = ["exe", "container", "cgroup", "unit", "pod"];

/// Which processes are meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Selector {
    /// `pid:42`: the process with this pid.
    Pid(u32),
    /// `name:etcd`: every process whose kernel name or basename of `argv[0]` is exactly this.
    Name(String),
    /// `netns:n1`: every process in the network namespace of this name under `/run/netns`, or of the
    /// namespace file at this path.
    Netns(String),
}

impl Selector {
    /// The namespace file of a `netns:` value.
    pub(crate) fn netns_path(value: &str) -> PathBuf {
        if value.contains('/') {
            value.into()
        } else {
            PathBuf::from("/run/netns").join(value)
        }
    }
}

/// Why a text is no selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// There is no kind in front of a colon.
    #[error("read target {text:?}: it has no kind; supported: {SUPPORTED}")]
    NoKind {
        /// What was written.
        text: String,
    },
    /// The kind is not one of Murphy's.
    #[error("read target {text:?}: unknown kind {kind:?}; supported: {SUPPORTED}")]
    UnknownKind {
        /// What was written.
        text: String,
        /// The part before the colon.
        kind: String,
    },
    /// The kind is one of a later version.
    #[error(
        "read target {text:?}: {kind} is not supported yet by this version; supported: {SUPPORTED}"
    )]
    LaterKind {
        /// What was written.
        text: String,
        /// The part before the colon.
        kind: String,
    },
    /// The value is missing.
    #[error("read target {text:?}: nothing after {kind}:")]
    Empty {
        /// What was written.
        text: String,
        /// The part before the colon.
        kind: String,
    },
    /// The value of `pid:` is no pid.
    #[error("read target {text:?}: {value:?} is not a pid (a whole number from 1)")]
    BadPid {
        /// What was written.
        text: String,
        /// The part after the colon.
        value: String,
    },
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        let whole = || text.to_owned();
        let Some((kind, value)) = text.split_once(':') else {
            return Err(SelectorError::NoKind { text: whole() });
        };
        let named = || kind.to_owned();
        if LATER.contains(&kind) {
            return Err(SelectorError::LaterKind {
                text: whole(),
                kind: named(),
            });
        }
        if !["pid", "name", "netns"].contains(&kind) {
            return Err(SelectorError::UnknownKind {
                text: whole(),
                kind: named(),
            });
        }
        if value.is_empty() {
            return Err(SelectorError::Empty {
                text: whole(),
                kind: named(),
            });
        }
        match kind {
            "name" => Ok(Self::Name(value.to_owned())),
            "netns" => Ok(Self::Netns(value.to_owned())),
            _ => match value.parse() {
                // The kernel's pids are positive 32-bit signed numbers.
                Ok(pid)
                    if (1..=i32::MAX.unsigned_abs()).contains(&pid) && !value.starts_with('+') =>
                {
                    Ok(Self::Pid(pid))
                }
                _ => Err(SelectorError::BadPid {
                    text: whole(),
                    value: value.to_owned(),
                }),
            },
        }
    }
}

impl TryFrom<String> for Selector {
    type Error = SelectorError;

    fn try_from(text: String) -> Result<Self, SelectorError> {
        text.parse()
    }
}

impl From<Selector> for String {
    fn from(selector: Selector) -> Self {
        selector.to_string()
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pid(pid) => write!(f, "pid:{pid}"),
            Self::Name(name) => write!(f, "name:{name}"),
            Self::Netns(name) => write!(f, "netns:{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_read_and_written_back() {
        for text in [
            "pid:42",
            "name:etcd",
            "name:a:b",
            "netns:n1",
            "netns:/proc/7/ns/net",
        ] {
            assert_eq!(text.parse::<Selector>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_later_kind_says_so() {
        for kind in LATER {
            let error = format!("{kind}:x")
                .parse::<Selector>()
                .unwrap_err()
                .to_string();
            assert!(
                error.contains("not supported yet by this version; supported: pid:42"),
                "{error}"
            );
        }
    }

    #[test]
    fn what_names_nobody_is_refused() {
        for text in [
            "",
            "42",
            "pid",
            "pid:",
            "pid:0",
            "pid:-1",
            "pid:+3",
            "pid:x",
            "pid:4294967297",
            "Name:x",
            "name:",
        ] {
            assert!(text.parse::<Selector>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_name_without_slash_is_under_run_netns() {
        assert_eq!(Selector::netns_path("n1"), PathBuf::from("/run/netns/n1"));
        assert_eq!(
            Selector::netns_path("/proc/7/ns/net"),
            PathBuf::from("/proc/7/ns/net")
        );
    }
}
