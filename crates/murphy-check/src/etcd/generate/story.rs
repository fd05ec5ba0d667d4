//! A story is a generated history before it is written: lines that a test can still change.

use std::io::{self, Write};

use serde::Serialize;

use crate::{
    etcd::{
        model::{Request, Response},
        vocabulary::{
            CompactRequest, CompactResponse, Compare, HashKvRequest, HashKvResponse,
            LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveResponse, LeaseRequest,
            LeaseRevokeResponse, LeaseTimeToLiveRequest, LeaseTimeToLiveResponse, StatusRequest,
            StatusResponse, WatchEnd, WatchMessage, WatchRequest,
        },
    },
    history::{Event, Header, Kind, Limits, Writer},
};

/// What a line carries.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Value {
    /// A request to the key space.
    Request(Request),
    /// Its answer.
    Response(Response),
    /// `KV.Compact`.
    Compact(CompactRequest),
    /// Its answer.
    Compacted(CompactResponse),
    /// `Maintenance.HashKV`.
    Hash(HashKvRequest),
    /// Its answer.
    Hashed(HashKvResponse),
    /// `Maintenance.Status`.
    Status(StatusRequest),
    /// Its answer.
    State(StatusResponse),
    /// The creation of a watch.
    Watch(WatchRequest),
    /// A message of a watch; also, without events, the answer to its creation.
    Message(WatchMessage),
    /// The end of a watch.
    WatchEnd(WatchEnd),
    /// `Lease.LeaseGrant`.
    LeaseGrant(LeaseGrantRequest),
    /// Its answer.
    LeaseGranted(LeaseGrantResponse),
    /// `Lease.LeaseKeepAlive` and `Lease.LeaseRevoke`.
    Lease(LeaseRequest),
    /// The answer to a keep-alive.
    LeaseKept(LeaseKeepAliveResponse),
    /// The answer to a revocation.
    LeaseRevoked(LeaseRevokeResponse),
    /// `Lease.LeaseTimeToLive`.
    LeaseTimeToLive(LeaseTimeToLiveRequest),
    /// Its answer.
    LeaseLeft(LeaseTimeToLiveResponse),
    /// A fault begins or ends.
    Fault {
        /// `begin` or `end`.
        phase: &'static str,
        /// The fault's name.
        id: String,
    },
    /// Nothing.
    None,
}

/// One line of a story.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// What the line says.
    pub kind: Kind,
    /// Who asked.
    pub process: String,
    /// What for.
    pub f: &'static str,
    /// The request or answer.
    pub value: Value,
    /// When, ns.
    pub time: u64,
    /// The member, by number.
    pub node: usize,
    /// What went wrong.
    pub error: Option<String>,
}

/// A generated history.
#[derive(Clone, Debug)]
pub struct Story {
    /// Names of the members.
    pub nodes: Vec<String>,
    /// The conditions that transactions refer to as `guard`.
    pub guard: Vec<Compare>,
    /// The bounds in the header.
    pub limits: Limits,
    /// The lines.
    pub entries: Vec<Entry>,
}

impl Story {
    /// Writes the history.
    pub fn write<W: Write>(&self, sink: W) -> io::Result<W> {
        let mut writer = begin(sink, &self.nodes, &self.guard, self.limits)?;
        for entry in &self.entries {
            write_entry(&mut writer, entry, &self.nodes)?;
        }
        Ok(writer.into_inner())
    }

    /// The history as bytes.
    pub fn bytes(&self) -> Vec<u8> {
        self.write(Vec::new()).unwrap_or_default()
    }
}

/// Writes the header and the conditions.
pub(super) fn begin<W: Write>(
    sink: W,
    nodes: &[String],
    guard: &[Compare],
    limits: Limits,
) -> io::Result<Writer<W>> {
    let header = Header {
        nodes: nodes.to_vec(),
        system: Some("generated".into()),
        limits,
        ..Header::new("etcd")
    };
    let mut writer = Writer::new(sink, &header)?;
    if !guard.is_empty() {
        writer.define("guard", guard)?;
    }
    Ok(writer)
}

/// Writes one line.
pub(super) fn write_entry<W: Write>(
    writer: &mut Writer<W>,
    entry: &Entry,
    nodes: &[String],
) -> io::Result<()> {
    let event = Event {
        r#type: entry.kind,
        process: &entry.process,
        f: entry.f,
        value: (entry.value != Value::None).then_some(&entry.value),
        time: entry.time,
        node: nodes.get(entry.node).map(String::as_str),
        error: entry.error.as_deref(),
    };
    writer.write(&event).map(drop)
}
