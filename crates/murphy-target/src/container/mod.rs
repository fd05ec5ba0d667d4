//! A container is a group of processes that a runtime started together and knows by an id and a name.

mod census;
mod group;
mod query;
mod resolve;

use serde::{Serialize, Serializer};

use crate::Runtime;

pub(crate) use census::{Census, Listed};
pub(crate) use group::{is_container, is_id, is_in_namespaced, traces};
pub use query::{ContainerQuery, Wanted};
pub use resolve::ContainerError;
pub(crate) use resolve::resolve;

/// How many characters of an id people are shown, as the runtimes do.
const SHORT: usize = 12;

/// Which container a process belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Container {
    /// The runtime that keeps it, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime: Option<Runtime>,
    /// containerd's namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its whole id; reports show the beginning.
    #[serde(serialize_with = "shortened")]
    pub id: String,
    /// Its name, where a runtime was asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl Container {
    /// The beginning of the id: twelve digits, or all of one that is a word.
    pub fn short_id(&self) -> &str {
        if is_id(&self.id) {
            &self.id[..SHORT]
        } else {
            &self.id
        }
    }

    /// The runtime, the namespace, the name and the id, in words.
    pub fn label(&self) -> String {
        let mut text = String::new();
        if let Some(runtime) = self.runtime {
            text = format!("{runtime}/");
        }
        if let Some(namespace) = &self.namespace {
            text.push_str(namespace);
            text.push('/');
        }
        match &self.name {
            Some(name) if *name != self.id => {
                text.push_str(name);
                text.push_str(" (");
                text.push_str(self.short_id());
                text.push(')');
            }
            _ => text.push_str(self.short_id()),
        }
        text
    }
}

fn shortened<S: Serializer>(id: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(if is_id(id) { &id[..SHORT] } else { id })
}
