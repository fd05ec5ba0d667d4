//! A hook is a device whose packets are disturbed: its programs, and its cable where packets have to wait.

use murphy_sys::{
    link::Device,
    namespace::NetNamespace,
    traffic::{Fates, Network, Order, Traffic, TrafficError, Way},
};
use std::collections::BTreeSet;

use super::{
    NetError,
    cable::{Cable, Held, Recipe},
};

/// A device whose packets are disturbed.
#[derive(Debug)]
pub(super) struct Hook {
    /// The name of the device.
    pub name: String,
    /// Dropped before the programs that hand packets to it.
    cable: Option<Cable>,
    traffic: Traffic,
}

impl Hook {
    /// Loads the programs of one device, which do nothing yet.
    pub(super) fn load(device: &Device, order: Order) -> Result<Self, NetError> {
        Ok(Self {
            name: device.name.clone(),
            cable: None,
            traffic: Traffic::load(order)?,
        })
    }

    /// Attaches them, and lays a cable of this name where there is a recipe for one.
    pub(super) fn attach(
        &mut self,
        namespace: &NetNamespace,
        device: &Device,
        ways: &[Way],
        cable: Option<(&str, &Recipe)>,
    ) -> Result<(), NetError> {
        if let Some((name, recipe)) = cable {
            let ways = ways.iter().copied();
            let traffic = &mut self.traffic;
            self.cable = Some(Cable::lay(namespace, device, name, ways, recipe, traffic)?);
        }
        for way in ways {
            self.traffic.attach(namespace, device.index, *way)?;
        }
        Ok(())
    }

    /// The peers from now on.
    pub(super) fn allow(&mut self, peers: &BTreeSet<Network>) -> Result<(), TrafficError> {
        self.traffic.allow(peers)
    }

    /// Tells the programs something else from now on.
    pub(super) fn tell(&mut self, change: impl FnOnce(&mut Order)) -> Result<(), TrafficError> {
        self.traffic.tell(change)
    }

    /// What became of the packets of one way.
    pub(super) fn fates(&self, way: Way) -> Result<Fates, TrafficError> {
        self.traffic.fates(way)
    }

    /// What became of those of them that had to wait.
    pub(super) fn held(&self, way: Way) -> Option<Held> {
        let held = self.cable.as_ref()?.held();
        held.into_iter()
            .find_map(|(of, held)| (of == way).then_some(held))
    }

    /// Whether packets pass that were to wait.
    pub(super) fn is_broken(&self) -> bool {
        self.cable.as_ref().is_some_and(Cable::is_broken)
    }

    /// Lets packets pass, those that wait at once, and takes the programs off.
    pub(super) fn leave(&mut self) -> Result<(), NetError> {
        let told = self.traffic.tell(|order| order.active = false);
        let ended = self.cable.as_mut().map_or(Ok(()), Cable::end);
        self.traffic.leave();
        told?;
        Ok(ended?)
    }
}
