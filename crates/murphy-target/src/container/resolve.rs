//! Resolving is finding the containers that a query means, in what the runtimes say and in the cgroups.

use std::collections::BTreeMap;

use super::{Census, Container, ContainerQuery, Listed, Wanted, is_id};
use crate::{Runtime, RuntimeError};

/// Shorter beginnings of ids are too easily words that somebody mistyped.
const PREFIX_MIN: usize = 4;

/// Why no container was found.
#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
    /// No runtime knows it.
    #[error("find {selector}: no such container; asked {asked}{hint}")]
    Unknown {
        /// What was written.
        selector: String,
        /// Who was asked.
        asked: String,
        /// What to do.
        hint: &'static str,
    },
    /// There is nobody to ask.
    #[error(
        "find {selector}: no container runtime answers on this machine and no cgroup has this id; start the \
         runtime, name its socket in DOCKER_HOST, CONTAINER_HOST, CONTAINERD_ADDRESS or \
         CONTAINER_RUNTIME_ENDPOINT, or use the whole id"
    )]
    NoRuntime {
        /// What was written.
        selector: String,
    },
    /// Two have this name.
    #[error(
        "find {selector}: {found} have this name; write the one that is meant as {example} or by its id"
    )]
    AmbiguousName {
        /// What was written.
        selector: String,
        /// All of them.
        found: String,
        /// How to name the first.
        example: String,
    },
    /// Two ids begin like this.
    #[error("find {selector}: the ids of {found} begin like this; write more of it")]
    AmbiguousId {
        /// What was written.
        selector: String,
        /// All of them.
        found: String,
    },
    /// It has no processes.
    #[error("find {selector}: container {container} is not running; start it first")]
    NotRunning {
        /// What was written.
        selector: String,
        /// The container.
        container: String,
    },
    /// Somebody who may know it did not answer.
    #[error("find {selector}: {source}")]
    Runtime {
        /// What was written.
        selector: String,
        /// Who, and why not.
        source: RuntimeError,
    },
}

/// The containers that a query means.
#[derive(Debug)]
pub(crate) struct Resolution {
    pub(crate) containers: Vec<Listed>,
    /// Runtimes that did not answer, and that may know of more.
    pub(crate) unheard: Vec<RuntimeError>,
}

/// Finds what `query` means among the ids of the cgroups (`traced`) and, where those do not tell, in the census
/// that `ask` takes.
pub(crate) fn resolve(
    selector: &str,
    query: &ContainerQuery,
    traced: &BTreeMap<String, Option<Runtime>>,
    ask: impl FnOnce() -> Census,
) -> Result<Resolution, ContainerError> {
    if let Wanted::Name(id) = &query.wanted
        && let Some(traced_runtime) = traced.get(id)
        && query
            .runtime
            .is_none_or(|runtime| *traced_runtime == Some(runtime))
    {
        return Ok(Resolution {
            containers: vec![traced_only(id, *traced_runtime)],
            unheard: Vec::new(),
        });
    }
    let census = ask();
    let meant: Vec<&Listed> = census
        .containers
        .iter()
        .filter(|listed| listed.is_meant(query))
        .collect();
    let containers = match &query.wanted {
        Wanted::Name(name) => one(selector, query, name, &meant, &census, traced)?
            .into_iter()
            .collect(),
        _ => meant.into_iter().cloned().collect::<Vec<_>>(),
    };
    if containers.is_empty() {
        return Err(nobody(selector, query, census));
    }
    let running: Vec<Listed> = containers
        .iter()
        .filter(|listed| listed.is_running)
        .cloned()
        .collect();
    match containers.first() {
        Some(stopped) if running.is_empty() => Err(ContainerError::NotRunning {
            selector: selector.to_owned(),
            container: stopped.container().label(),
        }),
        _ => Ok(Resolution {
            containers: running,
            unheard: census.unheard,
        }),
    }
}

fn one(
    selector: &str,
    query: &ContainerQuery,
    name: &str,
    named: &[&Listed],
    census: &Census,
    traced: &BTreeMap<String, Option<Runtime>>,
) -> Result<Option<Listed>, ContainerError> {
    let in_scope = || {
        census
            .containers
            .iter()
            .filter(|listed| listed.is_in_scope(query))
    };
    if let Some(listed) = in_scope().find(|listed| listed.id == name && is_id(name)) {
        return Ok(Some(listed.clone()));
    }
    match named {
        [] => {}
        [listed] => return Ok(Some((*listed).clone())),
        [first, ..] => {
            return Err(ContainerError::AmbiguousName {
                selector: selector.to_owned(),
                found: labels(named.iter().map(|listed| listed.container())),
                example: qualified(first, named),
            });
        }
    }
    if name.len() < PREFIX_MIN || !name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Ok(None);
    }
    let mut begun: BTreeMap<&str, Listed> = BTreeMap::new();
    for (id, runtime) in traced {
        let fits = query.runtime.is_none_or(|wanted| *runtime == Some(wanted));
        if fits && id.starts_with(name) {
            begun.insert(id, traced_only(id, *runtime));
        }
    }
    // What a runtime says of the same id is more.
    for listed in in_scope().filter(|listed| is_id(&listed.id) && listed.id.starts_with(name)) {
        begun.insert(&listed.id, listed.clone());
    }
    if begun.len() > 1 {
        return Err(ContainerError::AmbiguousId {
            selector: selector.to_owned(),
            found: labels(begun.values().map(Listed::container)),
        });
    }
    Ok(begun.into_values().next())
}

/// A container of which only the cgroup is known.
fn traced_only(id: &str, runtime: Option<Runtime>) -> Listed {
    Listed {
        runtime,
        namespace: None,
        id: id.to_owned(),
        names: Vec::new(),
        labels: BTreeMap::new(),
        pid: None,
        is_running: true,
        is_sandbox: false,
    }
}

fn labels(containers: impl Iterator<Item = Container>) -> String {
    let labels: Vec<String> = containers.map(|container| container.label()).collect();
    labels.join(" and ")
}

/// The shortest way to name `listed` that names none of the others.
fn qualified(listed: &Listed, all: &[&Listed]) -> String {
    let name = listed.names.first().map_or("", String::as_str);
    let rivals = |same: &dyn Fn(&Listed) -> bool| all.iter().filter(|other| same(other)).count();
    if let Some(runtime) = listed.runtime {
        if rivals(&|other| other.runtime == listed.runtime) == 1 {
            return format!("container:{runtime}/{name}");
        }
        if let Some(namespace) = &listed.namespace
            && rivals(&|other| other.namespace == listed.namespace) == 1
        {
            return format!("container:{runtime}/{namespace}/{name}");
        }
    }
    format!("container:{}", listed.container().short_id())
}

fn nobody(selector: &str, query: &ContainerQuery, census: Census) -> ContainerError {
    let selector = selector.to_owned();
    let may_know = |error: &RuntimeError| {
        query
            .runtime
            .is_none_or(|runtime| runtime == error.runtime())
    };
    if let Some(at) = census.unheard.iter().position(may_know) {
        let mut unheard = census.unheard;
        return ContainerError::Runtime {
            selector,
            source: unheard.swap_remove(at),
        };
    }
    if census.heard.is_empty() {
        return ContainerError::NoRuntime { selector };
    }
    let asked: Vec<String> = census.heard.iter().map(ToString::to_string).collect();
    let hint = match query.wanted {
        Wanted::Pod { .. } => "; a pod is found on the node that runs it",
        _ => {
            "; `docker ps`, `podman ps`, `ctr -n NAMESPACE containers ls` or `crictl ps` list those there are"
        }
    };
    ContainerError::Unknown {
        selector,
        asked: asked.join(", "),
        hint,
    }
}

#[cfg(test)]
mod tests;
