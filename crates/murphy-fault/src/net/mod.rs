//! Family `net`: packets of a target are lost, come twice, or do not pass at all, for chosen peers, ports and protocols.
//!
//! What is hit is a network namespace: every process in it. Engine `tcx` ([`murphy_sys::traffic`], Linux 6.6) decides
//! and counts in the kernel, at the devices of that namespace; IPv4 and IPv6 alike. What has to wait, engine `cable`
//! takes out of the kernel through taps and brings back. Both end with Murphy; when Murphy hangs, `tcx` ends at its time,
//! and `cable` lets packets pass after a second. ARP and neighbour discovery pass unless they are asked for, so that a loss is not
//! also a neighbour that is gone.
//!
//! Several injections on one device see each packet in the order in which they began, each what the one before has let
//! pass: two losses multiply. They end in any order.

mod cable;
mod disturbance;
mod effect;
mod engine;
mod hook;
pub mod line;
mod order;
mod peers;
mod place;
pub mod scope;
pub mod spec;

pub use cable::CableError;
pub use disturbance::{Asked, Disturbance, Hit};
pub use effect::{Counted, DeviceDelay, Disturbed, Share, WayEffect};
pub use engine::{Engine, UnknownEngine};
pub use place::{Place, PlaceSeen};
pub use scope::{Scope, ScopeError};
pub use spec::{Spec, SpecError};

use std::{io, path::PathBuf};

use murphy_sys::{
    link::LinkError,
    namespace::NamespaceError,
    traffic::{self, Detached, TrafficError},
};
use murphy_target::TargetError;

use crate::{
    journal::{JournalError, number_of},
    plan::{EndsBy, Plan},
    span::Until,
    undo::{Undo, Undone},
};

/// Why packets could not be disturbed, or be left alone again.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// What is asked makes no sense.
    #[error(transparent)]
    Asked(#[from] SpecError),
    /// The packets that are meant make no sense.
    #[error(transparent)]
    Scope(#[from] ScopeError),
    /// The kernel refuses.
    #[error(transparent)]
    Traffic(#[from] TrafficError),
    /// Packets cannot be held.
    #[error(transparent)]
    Cable(#[from] CableError),
    /// The table of a distribution is none.
    #[error("read the table {}: {why}", path.display())]
    Table {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The devices or addresses of a namespace cannot be listed.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// A namespace cannot be entered.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// A namespace cannot be told from others.
    #[error("look at a network namespace: {0}")]
    Inode(#[source] io::Error),
    /// `/proc` cannot be read.
    #[error("read /proc: {0}")]
    Processes(#[source] io::Error),
    /// The journal.
    #[error(transparent)]
    Journal(Box<JournalError>),
    /// A peer that is a target cannot be found.
    #[error("find the peer: {0}")]
    Peer(#[from] TargetError),
    /// The machine would be hit.
    #[error(
        "disturb the packets of {0}: it shares the network namespace of this machine, and all of it would be hit; --allow-host does it all the same"
    )]
    Host(String),
    /// Nobody is left to be hit.
    #[error("disturb packets: whoever was named has ended")]
    Nobody,
    /// There is nothing to hit.
    #[error(
        "disturb the packets of {0}: it has no network device but its loopback; --device lo means that one"
    )]
    NoDevice(String),
    /// A device that is not there.
    #[error(
        "disturb the packets of device {device} in {place}: it has none of that name; there are: {known}"
    )]
    UnknownDevice {
        /// What was written.
        device: String,
        /// The namespace.
        place: String,
        /// Those that are there.
        known: String,
    },
    /// A peer without an address.
    #[error("find the peer {0}: it has no address")]
    NoAddress(String),
    /// A host without an address.
    #[error("find the peer {name} as {place} would: {why}")]
    Name {
        /// The host.
        name: String,
        /// From where it was looked for.
        place: String,
        /// What the name servers say.
        why: String,
    },
    /// The engine that was forced does not do it.
    #[error(
        "{asked}: packets would have to wait, and engine tcx lets none wait; engine cable does"
    )]
    Waits {
        /// The fault.
        asked: String,
    },
}

impl From<JournalError> for NetError {
    fn from(error: JournalError) -> Self {
        // A journal's undo may fail on these: the two hold each other.
        Self::Journal(Box::new(error))
    }
}

impl NetError {
    /// Whether what was typed is wrong, rather than the machine unwilling.
    pub fn is_bad_input(&self) -> bool {
        match self {
            Self::Asked(_)
            | Self::Scope(_)
            | Self::Host(_)
            | Self::UnknownDevice { .. }
            | Self::Waits { .. }
            | Self::Table { .. }
            | Self::Cable(CableError::NoEthernet(_)) => true,
            Self::Peer(error) => error.is_bad_input(),
            _ => false,
        }
    }
}

/// Refuses what would hit the machine itself, unless that is wanted.
fn spare_host(places: &[Place], allow_host: bool) -> Result<(), NetError> {
    match places.iter().find(|place| place.is_hosts()) {
        Some(place) if !allow_host => Err(NetError::Host(place.name.clone())),
        _ => Ok(()),
    }
}

/// The fault and whom it is about, in words.
pub fn words(spec: &Spec, scope: &Scope) -> String {
    let words = [
        spec.to_string(),
        spec.direction.to_string(),
        scope.to_string(),
    ];
    let said: Vec<_> = words
        .into_iter()
        .filter(|words| !words.is_empty())
        .collect();
    said.join(" · ")
}

/// What would be done to the packets of `places`. Changes nothing; an error for what would be refused.
pub fn plan(
    asked: &Asked,
    places: &[Place],
    until: Until,
    allow_host: bool,
) -> Result<Plan, NetError> {
    let (spec, scope) = (&asked.spec, &asked.scope);
    let engine = asked.check()?;
    engine.trial()?;
    spare_host(places, allow_host)?;
    let mut changes = Vec::new();
    for place in places {
        for device in place.devices(&scope.devices)? {
            for way in disturbance::ways(spec) {
                let (hook, device) = (disturbance::hook(way), &device.name);
                let at = format!("{} (network namespace {})", place.name, place.inode);
                changes.push(format!(
                    "attach a program to the {hook} of {device} in {at}"
                ));
                if engine == Engine::Cable {
                    changes.push(format!(
                        "make a tap in {at} for what it takes from {device}"
                    ));
                }
            }
        }
    }
    let peers = peers::resolve(&scope.peers, places)?;
    for (address, length) in peers {
        changes.push(format!("only packets to or from {address}/{length}"));
    }
    Ok(Plan {
        family: "net",
        fault: words(spec, scope),
        engine: engine.name(),
        targets: places.iter().map(|place| place.name.clone()).collect(),
        changes,
        undo: vec![Undo::DetachTraffic { id: "new".into() }],
        ends: EndsBy::Kernel,
        until,
    })
}

/// Takes the programs of injection `id` off every device.
pub(crate) fn detach(id: &str) -> Result<Undone, TrafficError> {
    Ok(match traffic::detach(number_of(id))? {
        Detached::Now(_) => Undone::Now,
        Detached::Nowhere => Undone::AlreadyDone,
    })
}
