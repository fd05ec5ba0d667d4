//! A hook is where packets are disturbed: the programs of a device, with its cable where packets have to wait.

use std::{collections::BTreeSet, fmt, sync::OnceLock};

use murphy_sys::{
    link::Device,
    namespace::NetNamespace,
    traffic::{self, Fates, Filters, Network, Order, Role, Traffic, TrafficError, Way},
};

use super::{
    NetError,
    cable::{Cable, Held, Recipe},
    group::GroupPrograms,
    netem::Queued,
};
use crate::{keeper::Pulse, undo::Undo};

/// Where packets are disturbed, by whichever engine. Made first, which may fail and changes nothing; attached next, when
/// its undos are on disk.
pub(super) trait Hook: fmt::Debug + Send {
    /// The name of the device, or of whatever it is at.
    fn name(&self) -> &str;

    /// What takes it off again, known before it is attached. What the programs of every injection are found by is
    /// not among them.
    fn undos(&self) -> Vec<Undo>;

    /// Puts it in force.
    fn attach(&mut self) -> Result<(), NetError>;

    /// The peers from now on.
    fn allow(&mut self, peers: &BTreeSet<Network>) -> Result<(), NetError>;

    /// Disturbs packets or lets them pass, from now on.
    fn activate(&mut self, active: bool) -> Result<(), NetError>;

    /// What became of the packets of one way.
    fn fates(&self, way: Way) -> Result<Fates, NetError>;

    /// What became of those of them that had to wait.
    fn held(&self, way: Way) -> Option<Held>;

    /// What became of those of them that had to wait in the kernel.
    fn queued(&self, _way: Way) -> Result<Option<Queued>, NetError> {
        Ok(None)
    }

    /// Whether packets pass that were to wait.
    fn is_broken(&self) -> bool;

    /// Whether its device is gone, also where another one has its number by now.
    fn is_off(&self) -> bool {
        false
    }

    /// Lets packets pass, those that wait at once, and takes itself off. What was counted stays readable.
    fn leave(&mut self) -> Result<(), NetError>;
}

/// What a hook is made for.
#[derive(Clone, Debug)]
pub(super) struct Job<'a> {
    /// Where the device is.
    pub namespace: &'a NetNamespace,
    /// The device.
    pub device: &'a Device,
    /// What is made gets names that begin so: at most 14 bytes.
    pub name: String,
    /// What happens to which packets.
    pub order: Order,
    /// The ways that are asked for.
    pub ways: &'a [Way],
    /// What lines are made from, where packets are to wait.
    pub recipe: Option<Recipe>,
    /// The programs of the cgroups whose packets are lost here, where they are.
    pub programs: Option<GroupPrograms>,
    /// What says to the keeper that packets which wait for this process are served.
    pub pulse: Option<&'a Pulse>,
}

/// What holds programs at their device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// Links of this process.
    Links,
    /// Filters, which outlive it.
    Filters,
}

impl Hold {
    /// What holds them best on this kernel.
    pub(crate) fn best() -> Self {
        static HAS_LINKS: OnceLock<bool> = OnceLock::new();
        if *HAS_LINKS.get_or_init(|| traffic::trial().is_ok()) {
            Self::Links
        } else {
            Self::Filters
        }
    }
}

/// The programs of one device.
#[derive(Debug)]
pub(super) struct Programs {
    namespace: NetNamespace,
    /// Its number.
    inode: u64,
    device: Device,
    /// The beginning of the names of its taps.
    tap: String,
    ways: Vec<Way>,
    recipe: Option<Recipe>,
    /// What holds them, unless links do.
    filters: Option<Filters>,
    /// Dropped before the programs that hand packets to it.
    cable: Option<Cable>,
    traffic: Traffic,
}

impl Programs {
    /// Loads them.
    pub(super) fn load(job: Job<'_>, hold: Hold) -> Result<Self, NetError> {
        Ok(Self {
            filters: match hold {
                Hold::Links => None,
                Hold::Filters => Some(job.filters(job.ways)?),
            },
            namespace: job.namespace.clone(),
            inode: job.namespace.inode().map_err(NetError::Inode)?,
            device: job.device.clone(),
            tap: job.name,
            ways: job.ways.to_vec(),
            recipe: job.recipe,
            cable: None,
            traffic: Traffic::load(job.order)?,
        })
    }

    /// The programs themselves.
    pub(super) fn traffic(&mut self) -> &mut Traffic {
        &mut self.traffic
    }
}

impl Job<'_> {
    /// What the filters of its programs on these ways will be.
    pub(super) fn filters(&self, ways: &[Way]) -> Result<Filters, TrafficError> {
        let (namespace, index) = (self.namespace, self.device.index);
        Filters::choose(namespace, index, ways, &self.name, Role::Looks)
    }
}

/// The way back from filters in a namespace of this number: they go before the clsact below which they are.
pub(crate) fn undos_of(filters: &Filters, namespace: u64) -> Vec<Undo> {
    let qdisc = filters.clsact().cloned();
    let qdisc = qdisc.map(|qdisc| Undo::RemoveQdisc { namespace, qdisc });
    let filters = filters.ids().cloned();
    let filters = filters.map(|filter| Undo::RemoveFilter { namespace, filter });
    qdisc.into_iter().chain(filters).collect()
}

impl Hook for Programs {
    fn name(&self) -> &str {
        &self.device.name
    }

    fn undos(&self) -> Vec<Undo> {
        // The kernel takes links and taps away with this process.
        let filters = self.filters.as_ref();
        filters.map_or(Vec::new(), |filters| undos_of(filters, self.inode))
    }

    fn attach(&mut self) -> Result<(), NetError> {
        let by = self.filters.as_ref().into();
        if let Some(recipe) = &self.recipe {
            self.cable = Some(Cable::lay(
                &self.namespace,
                &self.device,
                &self.tap,
                self.ways.iter().copied(),
                recipe,
                &mut self.traffic,
                by,
            )?);
        }
        for way in &self.ways {
            self.traffic
                .attach(&self.namespace, self.device.index, *way, by)?;
        }
        Ok(())
    }

    fn allow(&mut self, peers: &BTreeSet<Network>) -> Result<(), NetError> {
        Ok(self.traffic.allow(peers)?)
    }

    fn activate(&mut self, active: bool) -> Result<(), NetError> {
        Ok(self.traffic.tell(|order| order.active = active)?)
    }

    fn fates(&self, way: Way) -> Result<Fates, NetError> {
        Ok(self.traffic.fates(way)?)
    }

    fn held(&self, way: Way) -> Option<Held> {
        let held = self.cable.as_ref()?.held();
        held.into_iter()
            .find_map(|(of, held)| (of == way).then_some(held))
    }

    fn is_broken(&self) -> bool {
        self.cable.as_ref().is_some_and(Cable::is_broken)
    }

    fn is_off(&self) -> bool {
        // Of what the kernel does not tell, nothing is off.
        let filters = self.filters.as_ref();
        self.traffic.is_off() || filters.is_some_and(|filters| filters.is_off().unwrap_or(false))
    }

    fn leave(&mut self) -> Result<(), NetError> {
        let told = self.activate(false);
        let ended = self.cable.as_mut().map_or(Ok(()), Cable::end);
        self.traffic.leave();
        let removed = self.filters.as_ref().map_or(Ok(()), Filters::remove);
        told?;
        ended?;
        Ok(removed.map_err(TrafficError::from)?)
    }
}
