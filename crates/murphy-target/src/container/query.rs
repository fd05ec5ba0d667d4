//! A container query is the value of `container:`: which containers are meant, and of which runtime.

use std::fmt;

use crate::Runtime;

/// Which containers are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerQuery {
    /// The runtime they must be of; any if there is none.
    pub runtime: Option<Runtime>,
    /// containerd's namespace they must be in; any if there is none.
    pub namespace: Option<String>,
    /// What is known of them.
    pub wanted: Wanted,
}

/// What is known of the containers that are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The name, the id, or the beginning of the id of one.
    Name(String),
    /// A label that all of them have, with this value or with any.
    Label {
        /// The key.
        key: String,
        /// The value; any if there is none.
        value: Option<String>,
    },
    /// The pod that all of them belong to.
    Pod {
        /// The Kubernetes namespace.
        namespace: String,
        /// The name of the pod.
        name: String,
    },
}

impl ContainerQuery {
    /// Reads `web`, `docker/web`, `containerd/k8s.io/web`, `label=KEY`, `label=KEY=VALUE`.
    pub(crate) fn parse(value: &str) -> Option<Self> {
        let (runtime, rest) = match value.split_once('/') {
            Some((word, rest)) if !word.contains('=') => (Some(word.parse().ok()?), rest),
            _ => (None, value),
        };
        let (namespace, rest) = match rest.split_once('/') {
            Some((namespace, rest))
                if runtime == Some(Runtime::Containerd) && !namespace.contains('=') =>
            {
                (Some(namespace.to_owned()), rest)
            }
            _ => (None, rest),
        };
        let wanted = match rest.strip_prefix("label=") {
            Some(label) => {
                let (key, value) = match label.split_once('=') {
                    Some((key, value)) => (key, Some(value.to_owned())),
                    None => (label, None),
                };
                Wanted::Label {
                    key: key.to_owned(),
                    value,
                }
            }
            None => Wanted::Name(rest.to_owned()),
        };
        let is_given = match &wanted {
            Wanted::Name(name) => !name.is_empty() && !name.contains('/'),
            Wanted::Label { key, .. } => !key.is_empty(),
            Wanted::Pod { .. } => false,
        };
        (is_given && namespace.as_deref() != Some("")).then_some(Self {
            runtime,
            namespace,
            wanted,
        })
    }

    /// The containers of a pod.
    pub(crate) fn of_pod(namespace: &str, name: &str) -> Self {
        Self {
            runtime: None,
            namespace: None,
            wanted: Wanted::Pod {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            },
        }
    }
}

impl fmt::Display for ContainerQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(runtime) = self.runtime {
            write!(f, "{runtime}/")?;
        }
        if let Some(namespace) = &self.namespace {
            write!(f, "{namespace}/")?;
        }
        match &self.wanted {
            Wanted::Name(name) => f.write_str(name),
            Wanted::Label { key, value: None } => write!(f, "label={key}"),
            Wanted::Label {
                key,
                value: Some(value),
            } => write!(f, "label={key}={value}"),
            Wanted::Pod { namespace, name } => write!(f, "{namespace}/{name}"),
        }
    }
}
