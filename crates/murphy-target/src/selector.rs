//! A selector is one text that names processes: a kind, a colon, a value.

use std::{fmt, path::PathBuf, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{ContainerQuery, UnitName};

/// The kinds, as errors list them.
const SUPPORTED: &str = "pid:42, name:etcd, exe:/usr/bin/etcd, netns:n1, cgroup:/path, unit:postgresql.service, \
                         container:web, pod:namespace/name, or a command after `--`";
const KINDS: [&str; 8] = [
    "pid",
    "name",
    "exe",
    "netns",
    "cgroup",
    "unit",
    "container",
    "pod",
];

/// Which processes are meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Selector {
    /// `pid:42`: the process with this pid.
    Pid(u32),
    /// `name:etcd`: every process whose kernel name or basename of `argv[0]` is exactly this.
    Name(String),
    /// `exe:/usr/bin/etcd`: every process that runs this file, as it sees the path itself.
    Exe(PathBuf),
    /// `netns:n1`: every process in the network namespace of this name under `/run/netns`, or of the
    /// namespace file at this path.
    Netns(String),
    /// `cgroup:/path`: every process in this group or below it. The path is one of `/proc/PID/cgroup`, or
    /// a directory of a mounted tree.
    Cgroup(PathBuf),
    /// `unit:postgresql.service`: every process of this systemd unit.
    Unit(UnitName),
    /// `container:web`: every process of this container, or of these.
    Container(ContainerQuery),
    /// `pod:namespace/name`: every process of the containers of this pod on this node.
    Pod {
        /// The Kubernetes namespace.
        namespace: String,
        /// The name of the pod.
        name: String,
    },
}

impl Selector {
    /// The namespace file of a `netns:` value.
    pub fn netns_path(value: &str) -> PathBuf {
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
    /// The value of `exe:` or `cgroup:` does not begin at the root.
    #[error("read target {text:?}: {value:?} is not an absolute path")]
    RelativePath {
        /// What was written.
        text: String,
        /// The part after the colon.
        value: String,
    },
    /// The value of `container:` names no container.
    #[error(
        "read target {text:?}: {value:?} names no container; write container:NAME, container:ID, \
         container:RUNTIME/NAME or container:label=KEY=VALUE"
    )]
    BadContainer {
        /// What was written.
        text: String,
        /// The part after the colon.
        value: String,
    },
    /// The value of `pod:` is not a namespace and a name.
    #[error("read target {text:?}: {value:?} names no pod; write pod:NAMESPACE/NAME")]
    BadPod {
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
        if !KINDS.contains(&kind) {
            return Err(SelectorError::UnknownKind {
                text: whole(),
                kind: kind.to_owned(),
            });
        }
        if value.is_empty() {
            return Err(SelectorError::Empty {
                text: whole(),
                kind: kind.to_owned(),
            });
        }
        let (text, value) = (whole(), value.to_owned());
        match kind {
            "name" => Ok(Self::Name(value)),
            "netns" => Ok(Self::Netns(value)),
            "unit" => Ok(Self::Unit(UnitName::new(&value))),
            "exe" | "cgroup" if !value.starts_with('/') => {
                Err(SelectorError::RelativePath { text, value })
            }
            "exe" => Ok(Self::Exe(value.into())),
            "cgroup" => Ok(Self::Cgroup(value.into())),
            "container" => match ContainerQuery::parse(&value) {
                Some(query) => Ok(Self::Container(query)),
                None => Err(SelectorError::BadContainer { text, value }),
            },
            "pod" => match value.split_once('/') {
                Some((namespace, name))
                    if !namespace.is_empty() && !name.is_empty() && !name.contains('/') =>
                {
                    Ok(Self::Pod {
                        namespace: namespace.to_owned(),
                        name: name.to_owned(),
                    })
                }
                _ => Err(SelectorError::BadPod { text, value }),
            },
            _ => match value.parse() {
                // The kernel's pids are positive 32-bit signed numbers.
                Ok(pid)
                    if (1..=i32::MAX.unsigned_abs()).contains(&pid) && !value.starts_with('+') =>
                {
                    Ok(Self::Pid(pid))
                }
                _ => Err(SelectorError::BadPid { text, value }),
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
            Self::Exe(path) => write!(f, "exe:{}", path.display()),
            Self::Netns(name) => write!(f, "netns:{name}"),
            Self::Cgroup(path) => write!(f, "cgroup:{}", path.display()),
            Self::Unit(unit) => write!(f, "unit:{unit}"),
            Self::Container(query) => write!(f, "container:{query}"),
            Self::Pod { namespace, name } => write!(f, "pod:{namespace}/{name}"),
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
            "exe:/usr/bin/etcd",
            "cgroup:/system.slice",
            "unit:postgresql@15-main.service",
            "container:web",
            "container:docker/web",
            "container:containerd/k8s.io/web",
            "container:label=app=web",
            "container:label=app",
            "container:podman/label=app=a/b",
            "pod:default/web-0",
        ] {
            assert_eq!(text.parse::<Selector>().unwrap().to_string(), text);
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
            "exe:etcd",
            "cgroup:x",
            "unit:",
            "container:",
            "container:a/b",
            "container:docker/",
            "container:docker/a/b",
            "container:label=",
            "container:label==x",
            "pod:web",
            "pod:/web",
            "pod:default/",
            "pod:a/b/c",
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
