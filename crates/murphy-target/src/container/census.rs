//! A census is everything the runtimes of this machine say about their containers at one moment.

use std::collections::BTreeMap;

use super::{Container, ContainerQuery, Wanted};
use crate::{Runtime, RuntimeError};

/// Kubernetes' labels, which every runtime keeps.
const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
const POD_NAME: &str = "io.kubernetes.pod.name";

/// One container as a runtime lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    /// Not known of one that only has a cgroup.
    pub(crate) runtime: Option<Runtime>,
    pub(crate) namespace: Option<String>,
    pub(crate) id: String,
    /// The first is the one to show.
    pub(crate) names: Vec<String>,
    pub(crate) labels: BTreeMap<String, String>,
    /// Its first process in Murphy's pid namespace, where the runtime tells.
    pub(crate) pid: Option<u32>,
    pub(crate) is_running: bool,
    /// Whether it only holds the namespaces of a pod.
    pub(crate) is_sandbox: bool,
}

impl Listed {
    pub(crate) fn container(&self) -> Container {
        Container {
            runtime: self.runtime,
            namespace: self.namespace.clone(),
            id: self.id.clone(),
            name: self.names.first().cloned(),
        }
    }

    fn has_label(&self, key: &str, value: Option<&str>) -> bool {
        self.labels
            .get(key)
            .is_some_and(|have| value.is_none_or(|value| have == value))
    }

    /// Whether it is of the runtime and namespace that are asked for.
    pub(crate) fn is_in_scope(&self, query: &ContainerQuery) -> bool {
        query
            .runtime
            .is_none_or(|runtime| Some(runtime) == self.runtime)
            && query
                .namespace
                .as_ref()
                .is_none_or(|namespace| self.namespace.as_ref() == Some(namespace))
    }

    /// Whether the query means it by name, label or pod; ids are another matter.
    pub(crate) fn is_meant(&self, query: &ContainerQuery) -> bool {
        self.is_in_scope(query)
            && match &query.wanted {
                Wanted::Name(name) => self.names.contains(name),
                Wanted::Label { key, value } => self.has_label(key, value.as_deref()),
                Wanted::Pod { namespace, name } => {
                    !self.is_sandbox
                        && self.has_label(POD_NAMESPACE, Some(namespace))
                        && self.has_label(POD_NAME, Some(name))
                }
            }
    }
}

/// What the runtimes said.
#[derive(Clone, Debug, Default)]
pub(crate) struct Census {
    /// Each container once.
    pub(crate) containers: Vec<Listed>,
    /// The runtimes that answered.
    pub(crate) heard: Vec<Runtime>,
    /// Those that did not.
    pub(crate) unheard: Vec<RuntimeError>,
}

impl Census {
    /// Joins answers. docker and CRI keep their containers in containerd, podman answers as docker does: where
    /// two list one id, the one that a person talks to counts, and what only the other knows is kept.
    pub(crate) fn of(
        answers: impl IntoIterator<Item = Result<(Runtime, Vec<Listed>), RuntimeError>>,
    ) -> Self {
        let mut census = Self::default();
        for answer in answers {
            match answer {
                Ok((runtime, listed)) => {
                    census.heard.push(runtime);
                    census.containers.extend(listed);
                }
                Err(error) => census.unheard.push(error),
            }
        }
        census
            .containers
            .sort_by(|a, b| (&a.id, a.rank()).cmp(&(&b.id, b.rank())));
        census.containers.dedup_by(|later, first| {
            // The id of containerd's own containers is a word; only one namespace makes it unique.
            let same = later.id == first.id
                && (later.namespace == first.namespace || super::is_id(&later.id));
            if same {
                first.pid = first.pid.or(later.pid);
                first.is_sandbox |= later.is_sandbox;
                for (key, value) in &later.labels {
                    first
                        .labels
                        .entry(key.clone())
                        .or_insert_with(|| value.clone());
                }
            }
            same
        });
        census.heard.sort_unstable();
        census.heard.dedup();
        census
    }
}

impl Listed {
    fn rank(&self) -> u8 {
        match self.runtime {
            Some(Runtime::Podman) => 0,
            Some(Runtime::Docker) => 1,
            Some(Runtime::Crio) => 2,
            Some(Runtime::Containerd) => 3,
            None => 4,
        }
    }
}
