//! An engine of connections is what ends sockets; what else a way of ending needs goes by the way.

use std::{fmt, str::FromStr};

use murphy_sys::{connections, namespace::NetNamespace, socket_iterator};
use serde::Serialize;

use super::ConnError;
use crate::net::Place;

/// What ends sockets, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Engine {
    /// One by one, by what each is known by.
    SockDestroy,
    /// By a BPF program that walks over all of a namespace.
    Iterator,
}

/// A name that no engine has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("read the engine {0:?}: expected sock_destroy or iterator")]
pub struct BadEngine(String);

impl Engine {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::SockDestroy, Self::Iterator];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::SockDestroy => "sock_destroy",
            Self::Iterator => "iterator",
        }
    }

    /// What it is good for.
    pub fn does(self) -> &'static str {
        match self {
            Self::SockDestroy => "connections are reset in the kernel, idle ones too",
            Self::Iterator => "the same by BPF, on kernels without CONFIG_INET_DIAG_DESTROY",
        }
    }

    /// Asks the kernel whether it works in a namespace; changes nothing.
    pub(crate) fn trial(self, namespace: &NetNamespace) -> Result<(), ConnError> {
        match self {
            Self::SockDestroy => Ok(connections::trial(namespace)?),
            Self::Iterator => Ok(socket_iterator::trial(namespace)?),
        }
    }

    /// The one that is asked for, or else the first that works in every place.
    pub(super) fn choose(asked: Option<Self>, places: &[Place]) -> Result<Self, ConnError> {
        let works = |engine: Self| {
            let mut namespaces = places.iter().map(|place| &place.namespace);
            namespaces.try_for_each(|namespace| engine.trial(namespace))
        };
        if let Some(engine) = asked {
            return works(engine).map(|()| engine);
        }
        match works(Self::SockDestroy) {
            Ok(()) => Ok(Self::SockDestroy),
            // What the first has against it says more.
            Err(error) => works(Self::Iterator)
                .map(|()| Self::Iterator)
                .map_err(|_| error),
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Engine {
    type Err = BadEngine;

    fn from_str(text: &str) -> Result<Self, BadEngine> {
        let mut engines = Self::ALL.into_iter();
        let engine = engines.find(|engine| engine.name() == text);
        engine.ok_or_else(|| BadEngine(text.to_owned()))
    }
}
