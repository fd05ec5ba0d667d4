//! An engine is a way to disturb packets; which one it is depends on what is asked.

use std::{fmt, str::FromStr};

use murphy_sys::{
    link::Device as Link,
    nfqueue as queues, tap,
    traffic::{self, Way, group},
};
use serde::Serialize;

use super::{
    NetError, Place, Scope, Spec,
    cable::CableError,
    disturbance::ways,
    group::Sink,
    hook::{Hold, Hook, Job, Programs},
    netem::{self, Queues},
    nfqueue::{self, Queued, QueuedError},
    spec::Partition,
};
use crate::{plan::EndsBy, undo::Undo};

/// A way to disturb packets, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Engine {
    /// In the kernel alone: loses, refuses and duplicates.
    Tcx,
    /// Through qdiscs in the kernel: packets may wait there.
    Netem,
    /// Through taps that Murphy serves: packets may wait, too.
    Cable,
    /// As both of them, with filters in place of links, where the kernel has no tcx.
    ClsBpf,
    /// In the kernel alone, for the sockets of cgroups: loses, where others share the network namespace.
    CgroupSkb,
    /// Through queues of netfilter's, without BPF: loses, and has what the target is sent wait.
    Nfqueue,
}

impl Engine {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Tcx,
        Self::Netem,
        Self::Cable,
        Self::ClsBpf,
        Self::CgroupSkb,
        Self::Nfqueue,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcx => "tcx",
            Self::Netem => "netem",
            Self::Cable => "cable",
            Self::ClsBpf => "cls_bpf",
            Self::CgroupSkb => "cgroup_skb",
            Self::Nfqueue => "nfqueue",
        }
    }

    /// What it is good for.
    pub fn does(self) -> &'static str {
        match self {
            Self::Tcx => "loss, bursts, duplicates and partitions, in the kernel",
            Self::Netem => "delay, reordering and rates, in the kernel",
            Self::Cable => "delay, reordering, corruption and rates as well, through taps",
            Self::ClsBpf => "all that tcx and cable do, before Linux 6.6",
            Self::CgroupSkb => {
                "loss, bursts and partitions of processes that share a network namespace"
            }
            Self::Nfqueue => {
                "loss, bursts and partitions, and delay, reordering and rates of what comes, without BPF"
            }
        }
    }

    /// Whether it does what is asked, wherever it works.
    fn serves(self, spec: &Spec, scope: &Scope) -> Result<(), NetError> {
        match self {
            Self::Tcx if spec.needs_queue() => Err(NetError::Waits {
                asked: spec.to_string(),
            }),
            Self::Netem => netem::serves(spec),
            Self::Tcx | Self::Cable | Self::ClsBpf => Ok(()),
            Self::CgroupSkb => only_loses(spec, scope),
            Self::Nfqueue => Ok(nfqueue::check(spec, scope)?),
        }
    }

    /// Whether it may be chosen where nobody has asked for it: it hits the whole of a namespace.
    fn is_for_all(self) -> bool {
        self != Self::CgroupSkb
    }

    /// Refuses a device where it has no place.
    fn fits(self, (place, device): &(Place, Link), ways: &[Way]) -> Result<(), NetError> {
        match self {
            Self::Netem => netem::is_free(&place.namespace, device, ways),
            Self::Tcx | Self::Cable | Self::ClsBpf | Self::CgroupSkb | Self::Nfqueue => Ok(()),
        }
    }

    /// The engine for what is asked of some devices: the one that was forced, if it does it, or the best that does and
    /// works here.
    pub(super) fn choose(
        spec: &Spec,
        scope: &Scope,
        forced: Option<Self>,
        devices: &[(Place, Link)],
    ) -> Result<Self, NetError> {
        let ways: Vec<_> = ways(spec).collect();
        let fits = |engine: Self| {
            let mut devices = devices.iter();
            devices.try_for_each(|device| engine.fits(device, &ways))
        };
        if let Some(engine) = forced {
            engine.serves(spec, scope)?;
            fits(engine)?;
            return Ok(engine);
        }
        let mut reasons = Vec::new();
        for engine in Self::ALL.into_iter().filter(|engine| engine.is_for_all()) {
            if engine.serves(spec, scope).is_err() {
                continue;
            }
            match engine.works_for(spec).and_then(|()| fits(engine)) {
                Ok(()) => return Ok(engine),
                Err(why) => reasons.push(format!("{engine}: failed to {why}")),
            }
        }
        Err(NetError::NoEngine {
            asked: spec.to_string(),
            whys: reasons.join("; "),
        })
    }

    /// Whether packets are taken out of the kernel for it.
    pub(super) fn lays_cable(self, spec: &Spec) -> bool {
        match self {
            Self::Tcx | Self::Netem | Self::CgroupSkb | Self::Nfqueue => false,
            Self::Cable => true,
            Self::ClsBpf => spec.needs_queue(),
        }
    }

    /// Whether packets come to Murphy, which has a line of those that wait.
    pub(super) fn has_lines(self, spec: &Spec) -> bool {
        self == Self::Nfqueue || self.lays_cable(spec)
    }

    /// Whether a ping of Murphy's own can meet it: sockets of others are not its own.
    pub(super) fn rehearses(self) -> bool {
        self != Self::CgroupSkb
    }

    /// Whether a hook that does nothing may stay at a device while another of the same injection comes there.
    pub(super) fn leaves_room(self) -> bool {
        matches!(self, Self::Tcx | Self::Cable)
    }

    /// Makes what disturbs the packets of one device, which does nothing yet.
    pub(super) fn hook(self, job: Job<'_>, spec: &Spec) -> Result<Box<dyn Hook>, NetError> {
        Ok(match self {
            Self::Tcx | Self::Cable => Box::new(Programs::load(job, Hold::Links)?),
            Self::ClsBpf => Box::new(Programs::load(job, Hold::Filters)?),
            Self::Netem => Box::new(Queues::load(job, spec, Hold::best())?),
            Self::CgroupSkb => Box::new(Sink::of(&job)?),
            Self::Nfqueue => Box::new(Queued::open(job)?),
        })
    }

    /// What it would do to a device, for one way of it; `at` says where the device is.
    pub(super) fn changes(self, spec: &Spec, device: &str, way: Way, at: &str) -> Vec<String> {
        let end = match way {
            Way::To => "egress",
            Way::From => "ingress",
        };
        let by = |hold| match hold {
            Hold::Links => format!("attach a program to the tcx {end} of {device} in {at}"),
            Hold::Filters => {
                format!("attach a program by a filter to the clsact {end} of {device} in {at}")
            }
        };
        let mut changes = match (self, way) {
            (Self::Tcx | Self::Cable, _) => vec![by(Hold::Links)],
            (Self::ClsBpf, _) => vec![by(Hold::Filters)],
            (Self::Netem, Way::To) => vec![
                by(Hold::best()),
                format!("make a prio the root qdisc of {device} in {at}, above netem or tbf"),
            ],
            (Self::Netem, Way::From) => vec![
                by(Hold::best()),
                format!(
                    "make an ifb with netem or tbf in {at}, and a filter that takes there what arrives at {device}"
                ),
            ],
            (Self::CgroupSkb, Way::To) => {
                let how = match Hold::best() {
                    Hold::Links => "",
                    Hold::Filters => " by filters",
                };
                vec![format!(
                    "attach programs to {device} in {at}{how} that lose what the cgroup's has marked"
                )]
            }
            (Self::CgroupSkb, Way::From) => Vec::new(),
            (Self::Nfqueue, Way::To) => vec![format!(
                "queue what leaves by {device} in {at}, by an nftables table"
            )],
            (Self::Nfqueue, Way::From) => vec![format!(
                "queue what comes by {device} in {at}, by an nftables table"
            )],
        };
        if self.lays_cable(spec) {
            let tap = format!("make a tap in {at} for what it takes from {device}");
            changes.push(tap);
        }
        changes
    }

    /// What takes an injection off again that its hooks do not tell of themselves.
    pub(super) fn undos(self, id: &str) -> Vec<Undo> {
        match self {
            // Without BPF there is no program to take off, and nobody who may look for one.
            Self::Nfqueue => Vec::new(),
            _ => vec![Undo::DetachTraffic { id: id.into() }],
        }
    }

    /// What the hook of one device would tell of itself.
    pub(super) fn undos_at(self, job: Job<'_>, spec: &Spec) -> Result<Vec<Undo>, NetError> {
        match self {
            Self::Tcx | Self::Cable => Ok(Vec::new()),
            Self::CgroupSkb => Sink::undos_of(&job),
            // One that is made changes nothing, and knows its way back.
            Self::Netem | Self::ClsBpf => Ok(self.hook(job, spec)?.undos()),
            Self::Nfqueue => {
                let inode = job.namespace.inode().map_err(NetError::Inode)?;
                Ok(vec![nfqueue::undo(inode, &job.name)])
            }
        }
    }

    /// Who ends it, and removes what was made for it, when Murphy cannot.
    pub(super) fn ends(self) -> EndsBy {
        match self {
            Self::Tcx | Self::Cable => EndsBy::Kernel,
            Self::CgroupSkb if Hold::best() == Hold::Links => EndsBy::Kernel,
            Self::CgroupSkb | Self::Netem | Self::ClsBpf | Self::Nfqueue => EndsBy::Keeper,
        }
    }

    /// Asks this kernel whether it works; changes nothing.
    pub fn trial(self) -> Result<(), NetError> {
        match self {
            Self::Tcx => Ok(traffic::trial()?),
            Self::Netem => netem::trial(),
            Self::Cable => {
                traffic::trial()?;
                Ok(tap::trial().map_err(CableError::from)?)
            }
            Self::ClsBpf => Ok(traffic::trial_by_filters()?),
            Self::CgroupSkb => Ok(group::trial()?),
            Self::Nfqueue => Ok(queues::trial().map_err(QueuedError::from)?),
        }
    }

    /// Asks this kernel whether it does what is asked.
    fn works_for(self, spec: &Spec) -> Result<(), NetError> {
        self.trial()?;
        if self.lays_cable(spec) {
            tap::trial().map_err(CableError::from)?;
        }
        Ok(())
    }
}

/// Refuses what more than losing packets is asked of sockets.
fn only_loses(spec: &Spec, scope: &Scope) -> Result<(), NetError> {
    let is_more =
        spec.needs_queue() || spec.duplicate.is_some() || spec.partition == Some(Partition::Reject);
    let asked = match (is_more, scope.arp) {
        (true, _) => spec.to_string(),
        // No socket of a process sends those.
        (false, true) => "--arp".into(),
        (false, false) => return Ok(()),
    };
    Err(NetError::OnlyLoses { asked })
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Not the name of an engine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("read the engine {written:?}: there are {}", Engine::ALL.map(Engine::name).join(", "))]
pub struct UnknownEngine {
    written: String,
}

impl FromStr for Engine {
    type Err = UnknownEngine;

    fn from_str(text: &str) -> Result<Self, UnknownEngine> {
        let named = Self::ALL.into_iter().find(|engine| engine.name() == text);
        named.ok_or_else(|| UnknownEngine {
            written: text.to_owned(),
        })
    }
}
