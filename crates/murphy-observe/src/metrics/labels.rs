//! Labels say whose a sample is. This is the one place that knows what an edge and a peer are called.

use std::{
    borrow::Cow,
    fmt::{self, Write},
    net::SocketAddr,
};

use murphy_fault::conn::Side;
use serde::Serialize;

use crate::{edge::Edge, finding::Finding, listening::Listening, peer::PeerNow, snapshot::EdgeNow};

/// What is beyond the most edges that are kept goes by this name.
const OTHER: &str = "other";
/// Whom an edge really leads to, where these are several: its figures are of all of them.
const SEVERAL: &str = "several";

/// Labels and their values, as they stand between braces.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Labels(String);

impl Labels {
    /// One more.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.push(name, value);
        self
    }

    fn push(&mut self, name: &str, value: &str) {
        if !self.0.is_empty() {
            self.0.push(',');
        }
        let value = escaped(value);
        // A string takes all that is written to it.
        let _ = write!(self.0, "{name}=\"{value}\"");
    }

    /// As they stand between braces.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Of an edge: whom the target asks goes by Coroot's labels, and who asks it by ours.
    pub fn of(now: &EdgeNow) -> Self {
        let edge = &now.edge;
        let labels = Self::default().with("container_id", &edge.container);
        match edge.side {
            // What is of the whole target has no other end.
            _ if edge.is_whole() => labels,
            Side::Opened => {
                let Destination { dialled, actual } = Destination::of(now);
                let labels = labels.with("destination", &dialled);
                labels.with("actual_destination", &actual)
            }
            Side::Accepted if is_other(edge) => labels.with("source", OTHER).with("port", OTHER),
            Side::Accepted => {
                let labels = labels.with("source", &edge.peer.to_string());
                labels.with("port", &edge.port.to_string())
            }
        }
    }

    /// Of an edge by what was dialled alone: a connection that never came to be has no other end.
    pub fn dialled(edge: &Edge) -> Self {
        let labels = Self::default().with("container_id", &edge.container);
        labels.with("destination", &Destination::dialled(edge))
    }

    /// Of a peer.
    pub fn of_peer(now: &PeerNow) -> Self {
        let labels = Self::default().with("container_id", &now.container);
        labels.with("destination_ip", &now.peer.to_string())
    }

    /// Of a system call of a target.
    pub fn of_call(container: &str, call: &str) -> Self {
        let labels = Self::default().with("container_id", container);
        labels.with("call", call)
    }

    /// Of where somebody listens.
    pub fn of_listening(listening: &Listening) -> Self {
        let labels = Self::default().with("container_id", &listening.container);
        labels.with("listen_addr", &listening.address.to_string())
    }

    /// Of a finding on an edge. Of each kind there is one of an edge at a time.
    pub fn of_finding(now: &EdgeNow, finding: &Finding) -> Self {
        let (kind, direction) = (finding.claim.kind, finding.claim.direction);
        let labels = Self::of(now).with("kind", &Word(kind).to_string());
        labels.with("direction", &Word(direction).to_string())
    }
}

/// A word of a few, as JSON has it.
struct Word<T>(T);

impl<T: Serialize> fmt::Display for Word<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.serialize(f)
    }
}

/// Whom a target asks.
struct Destination {
    /// As it was dialled.
    dialled: String,
    /// As it is once addresses were translated.
    actual: String,
}

impl Destination {
    /// An edge has one series at a time, however many it leads to: first by the address that was dialled, then by what is known
    /// to be the other end, then by a word, and never back while it is there.
    fn of(now: &EdgeNow) -> Self {
        let dialled = Self::dialled(&now.edge);
        let actual = match &now.actual[..] {
            [] => dialled.clone(),
            [end] => end.to_string(),
            _ => SEVERAL.to_owned(),
        };
        Self { dialled, actual }
    }

    fn dialled(edge: &Edge) -> String {
        if is_other(edge) {
            OTHER.to_owned()
        } else {
            SocketAddr::new(edge.peer, edge.port).to_string()
        }
    }
}

fn is_other(edge: &Edge) -> bool {
    edge.peer.is_unspecified() && edge.port == 0
}

/// As it may stand in quotes.
fn escaped(value: &str) -> Cow<'_, str> {
    if !value.contains(['\\', '"', '\n']) {
        return Cow::Borrowed(value);
    }
    let mut text = String::with_capacity(value.len() + 4);
    for letter in value.chars() {
        match letter {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            _ => text.push(letter),
        }
    }
    Cow::Owned(text)
}
