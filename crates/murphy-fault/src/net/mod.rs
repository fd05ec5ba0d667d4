//! Family `net`: packets of a target are lost, come twice, or do not pass at all, for chosen peers, ports and protocols.
//!
//! What is hit is a network namespace: every process in it; or, by engine `cgroup_skb`, the processes of a target
//! alone, by their cgroups, where others share it. Engine `tcx` ([`murphy_sys::traffic`], Linux 6.6) decides
//! and counts in the kernel, at the devices of that namespace; IPv4 and IPv6 alike. What has to wait, engine `cable`
//! takes out of the kernel through taps and brings back. Both end with Murphy; when Murphy hangs, `tcx` ends at its time,
//! and `cable` lets packets pass after a second. Engine `netem` has them wait in qdiscs, where the kernel has that; engine
//! `cls_bpf` does what `tcx` and `cable` do in older kernels, by filters. Where there is no BPF, engine `nfqueue` reads
//! packets from queues of netfilter's. What these three leave is removed by the keeper, when Murphy is gone or, where
//! packets go through it, hangs. ARP and neighbour discovery pass unless they are asked for, so that a loss is not
//! also a neighbour that is gone.
//!
//! Several injections on one device see each packet in the order in which they began, each what the one before has let
//! pass: two losses multiply. They end in any order.

mod cable;
mod disturbance;
mod effect;
mod engine;
mod group;
mod hook;
pub mod line;
mod neighbours;
mod netem;
mod nfqueue;
mod order;
mod packet;
mod peers;
mod place;
mod rehearsal;
pub mod scope;
pub mod spec;

pub use cable::CableError;
pub use disturbance::{Asked, Disturbance, Hit};
pub(crate) use disturbance::{OUR_DEVICES, hook_name};
pub use effect::{Counted, DeviceDelay, Disturbed, Share, WayEffect};
pub use engine::{Engine, UnknownEngine};
pub(crate) use hook::{Hold, undos_of};
pub use neighbours::{Neighbour, Neighbours};
pub use nfqueue::QueuedError;
pub(crate) use peers::resolve;
pub use place::{Place, PlaceSeen};
pub use rehearsal::Rehearsal;
pub use scope::{Scope, ScopeError};
pub use spec::{Spec, SpecError};

use std::{io, net::IpAddr, path::PathBuf};

use murphy_sys::{
    link::LinkError,
    namespace::NamespaceError,
    qdisc::QdiscError,
    traffic::{self, Detached, TrafficError, Way},
};
use murphy_target::TargetError;

use self::hook::Job;
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
    /// Packets cannot go through queues.
    #[error(transparent)]
    Queued(#[from] QueuedError),
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
        "disturb the packets of {0}: that is the network namespace of this machine, and all of it would be hit; engine cgroup_skb hits processes alone, --allow-host all of it"
    )]
    Host(String),
    /// What is asked cannot be done to some processes of a namespace alone.
    #[error(
        "{asked}: engine cgroup_skb, which hits processes that share a network namespace with others, only loses packets of theirs, by packet (loss, partition); a namespace of its own takes every fault (`ip netns exec NAME CMD`, -t netns:NAME), and --allow-host hits all of this machine"
    )]
    OnlyLoses {
        /// The fault, or the part of it.
        asked: String,
    },
    /// A launched command shares Murphy's namespace.
    #[error(
        "disturb a launched command by engine {0}: it would hit all of this machine, whose network namespace the command shares; leave --engine away, or give the command a namespace of its own (`ip netns exec NAME CMD`, -t netns:NAME)"
    )]
    NotLaunched(Engine),
    /// A namespace is named where processes must be.
    #[error(
        "disturb the packets of {0}: engine cgroup_skb hits processes, and that is a namespace; name processes, or another engine"
    )]
    NoProcesses(String),
    /// Somebody else would be hit.
    #[error(
        "disturb the packets of {who}: others share its network namespace, and {others} more {} in its cgroup {}; start it by `murphy inject net … -- CMD` or `systemd-run --scope CMD`, which give it a cgroup of its own, or hit all of this machine by --allow-host",
        if *others == 1 { "process is" } else { "processes are" },
        directory.display()
    )]
    SharedGroup {
        /// Somebody of the target.
        who: String,
        /// The directory of the cgroup.
        directory: PathBuf,
        /// How many are in it who were not named.
        others: usize,
    },
    /// There is no cgroup to know it by.
    #[error(
        "disturb the packets of {0}: others share its network namespace, and it is in no cgroup of version 2 that is mounted here, by which it could be told from them"
    )]
    NoGroup(String),
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
    /// A ping of Murphy's own has met another fault than the one that was asked.
    #[error(
        "rehearse the fault at device {device}: a ping to {host} {why}; nobody else was hit, --engine may do better"
    )]
    Rehearsal {
        /// The device.
        device: String,
        /// Who was asked.
        host: IpAddr,
        /// What came of it.
        why: String,
    },
    /// Netem would do something else.
    #[error("have {asked} by engine netem: {why}; engine cable does it")]
    NotByNetem {
        /// The fault.
        asked: String,
        /// Why not.
        why: &'static str,
    },
    /// Somebody else has the place that an engine needs.
    #[error(
        "have the packets of {device} wait by engine netem: {by} is there; remove it, or leave the engine to Murphy: cable does without"
    )]
    Taken {
        /// The device.
        device: String,
        /// What is there.
        by: String,
    },
    /// A qdisc was refused.
    #[error(transparent)]
    Qdisc(#[from] QdiscError),
    /// No engine that does it works here.
    #[error("find an engine for {asked}: {whys}")]
    NoEngine {
        /// The fault.
        asked: String,
        /// Why each does not work.
        whys: String,
    },
    /// The loopback does not bring back what is turned round.
    #[error(
        "have {asked} at device {device}: answers and copies that are turned round there are dropped as packets from nowhere; other devices have it"
    )]
    OnLoopback {
        /// The fault.
        asked: String,
        /// The loopback.
        device: String,
    },
    /// The engine that was forced does not do it.
    #[error(
        "have {asked} by engine tcx: packets would have to wait, and it lets none wait; engine cable does"
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
            | Self::OnlyLoses { .. }
            | Self::NotLaunched(_)
            | Self::NoProcesses(_)
            | Self::SharedGroup { .. }
            | Self::NoGroup(_)
            | Self::UnknownDevice { .. }
            | Self::Waits { .. }
            | Self::OnLoopback { .. }
            | Self::NotByNetem { .. }
            | Self::Taken { .. }
            | Self::Table { .. }
            | Self::Cable(CableError::NoEthernet(_))
            | Self::Queued(QueuedError::Never { .. }) => true,
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

/// What would be done to whoever is hit. Changes nothing; an error for what would be refused.
pub fn plan(asked: &Asked, hit: &Hit<'_>, until: Until) -> Result<Plan, NetError> {
    let (spec, scope) = (&asked.spec, &asked.scope);
    let (devices, engine) = asked.aim(hit)?;
    engine.trial()?;
    let ways: Vec<_> = disturbance::ways(spec).collect();
    let mut changes = Vec::new();
    let mut undo = engine.undos("new");
    for directory in disturbance::groups(engine, hit)? {
        for way in &ways {
            let hook = match way {
                Way::To => "egress",
                Way::From => "ingress",
            };
            let at = directory.display();
            changes.push(format!("attach a program to the {hook} of cgroup {at}"));
        }
    }
    for (number, (place, device)) in devices.iter().enumerate() {
        if engine.lays_cable(spec) && !device.is_ethernet {
            return Err(CableError::NoEthernet(device.name.clone()).into());
        }
        let at = format!("{} (network namespace {})", place.name, place.inode);
        for way in &ways {
            changes.extend(engine.changes(spec, &device.name, *way, &at));
        }
        let name = hook_name("new", u32::try_from(number).unwrap_or(u32::MAX));
        let job = Job {
            namespace: &place.namespace,
            device,
            name,
            order: order::order(spec, scope, engine, asked.seed),
            ways: &ways,
            recipe: None,
            programs: None,
            pulse: None,
        };
        undo.extend(engine.undos_at(job, spec)?);
    }
    let peers = resolve(&scope.peers, &hit.places)?;
    for (address, length) in peers {
        changes.push(format!("only packets to or from {address}/{length}"));
    }
    Ok(Plan {
        family: "net",
        fault: words(spec, scope),
        engine: engine.name().into(),
        targets: hit.places.iter().map(|place| place.name.clone()).collect(),
        changes,
        undo,
        ends: engine.ends(),
        until,
    })
}

/// What would be done to a command that is not running yet.
pub fn plan_of_launch(asked: &Asked, command: &str, until: Until) -> Result<Plan, NetError> {
    let engine = asked.engine_for_launch()?;
    engine.trial()?;
    let (spec, scope) = (&asked.spec, &asked.scope);
    Ok(Plan {
        family: "net",
        fault: words(spec, scope),
        engine: engine.name().into(),
        targets: vec![format!("launch {command}")],
        changes: vec![
            "make a cgroup mphy-ID".into(),
            format!("start {command} in it"),
            "attach programs to it, and to the devices of its network namespace".into(),
        ],
        undo: vec![
            Undo::EndTagged { tag: "ID".into() },
            Undo::EndGroups {
                name: "mphy-ID".into(),
            },
            Undo::DetachTraffic { id: "new".into() },
        ],
        ends: EndsBy::Keeper,
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
