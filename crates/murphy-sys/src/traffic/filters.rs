//! Filters attach programs where there is no tcx: below a clsact of the device, which may be somebody's.
//!
//! They outlive the process that made them, so all of it is known before, as data. Filters of several injections are
//! asked in the order in which they were made, and each leaves the rest to the next: they come off in any order. A
//! clsact that Murphy has made goes with the last of them, which is why their names say whose it is.

use std::num::NonZeroU16;

use crate::{
    namespace::NetNamespace,
    qdisc::{
        self, Discipline, Handle, Place, QdiscError, QdiscId, Removal,
        filter::{self, FilterId, FilterPlace},
    },
};

use super::{TrafficError, Way};

/// The beginning of the names of Murphy's filters.
const OURS: &str = "mphy-";
/// The end of the names of those whose clsact is Murphy's, too.
const WITH_CLSACT: &str = " with clsact";
/// The kinds of filters and qdiscs here.
const BPF: &str = "bpf";
const CLSACT: &str = "clsact";
/// The priorities from here on are for filters that take packets away: they are asked last.
pub(super) const TAKING: u16 = 0x8000;

/// What the filters of one device will be.
#[derive(Clone, Debug)]
pub struct Filters {
    namespace: NetNamespace,
    ifindex: u32,
    name: String,
    /// Where nobody else needs it.
    clsact: Option<QdiscId>,
    ids: Vec<(Way, FilterId)>,
}

/// Whether a filter passes packets on to the next one, or takes them away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It looks, and leaves the rest to others.
    Looks,
    /// It takes packets to another device.
    Takes,
}

impl Filters {
    /// Finds places for the filters of some ways, behind those of Murphy's that are there; changes nothing. `name` is of
    /// this injection and this device alone, and begins with `mphy-`.
    pub fn choose(
        namespace: &NetNamespace,
        ifindex: u32,
        ways: &[Way],
        name: &str,
        role: Role,
    ) -> Result<Self, TrafficError> {
        let there = qdisc::list(namespace, ifindex)?;
        let there = there
            .iter()
            .find(|qdisc| qdisc.id.place == Place::clsact(ifindex));
        let is_egress = |way: &Way| *way == Way::To;
        if there.is_some_and(|qdisc| qdisc.id.kind != CLSACT) && ways.iter().any(is_egress) {
            return Err(TrafficError::NoEgress { ifindex });
        }
        let mut all = Vec::new();
        for way in Way::ALL {
            all.push((way, filter::list(namespace, ifindex, parent(way))?));
        }
        let is_with_clsact = |id: &FilterId| is_ours(id) && name_of(id).ends_with(WITH_CLSACT);
        let is_murphys = there.is_none()
            || all
                .iter()
                .any(|(_, filters)| filters.iter().any(is_with_clsact));
        let name = if is_murphys {
            format!("{name}{WITH_CLSACT}")
        } else {
            name.to_owned()
        };
        let ids = ways.iter().map(|way| {
            let filters = all.iter().find(|(of, _)| of == way);
            let filters = filters.map_or(&[][..], |(_, filters)| filters);
            let priority = free(filters, role).ok_or(TrafficError::Crowded { ifindex })?;
            let place = FilterPlace {
                ifindex,
                parent: parent(*way),
                priority,
            };
            let id = FilterId {
                place,
                kind: BPF.into(),
                name: Some(name.clone()),
            };
            Ok((*way, id))
        });
        Ok(Self {
            namespace: namespace.clone(),
            ifindex,
            clsact: is_murphys.then(|| clsact(ifindex)),
            ids: ids.collect::<Result<_, TrafficError>>()?,
            name,
        })
    }

    /// The filter of Murphy's that takes packets of this way to another device already.
    pub fn taker(
        namespace: &NetNamespace,
        ifindex: u32,
        way: Way,
    ) -> Result<Option<FilterId>, TrafficError> {
        let there = filter::list(namespace, ifindex, parent(way))?;
        let takes = |id: &FilterId| is_ours(id) && id.place.priority.get() >= TAKING;
        Ok(there.into_iter().find(takes))
    }

    /// What they will be known by.
    pub fn ids(&self) -> impl Iterator<Item = &FilterId> {
        self.ids.iter().map(|(_, id)| id)
    }

    /// The clsact below which they are, where it is to go with the last of them.
    pub fn clsact(&self) -> Option<&QdiscId> {
        self.clsact.as_ref()
    }

    /// The one of a way.
    pub(super) fn id(&self, way: Way) -> Option<&FilterId> {
        let mut ids = self.ids.iter();
        ids.find_map(|(of, id)| (*of == way).then_some(id))
    }

    /// What a filter on a device of Murphy's own is called, which is the only one there.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Makes the clsact, unless it is there.
    pub(super) fn prepare(&self) -> Result<(), QdiscError> {
        prepare(&self.namespace, self.ifindex)
    }

    /// Whether one of them is not there any more: somebody has removed it, or the device is another one by now, which has
    /// the number of its own.
    pub fn is_off(&self) -> Result<bool, QdiscError> {
        for (way, id) in &self.ids {
            let there = filter::list(&self.namespace, self.ifindex, parent(*way))?;
            if !there.contains(id) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Removes what is there of them.
    pub fn remove(&self) -> Result<(), QdiscError> {
        for (_, id) in &self.ids {
            filter::delete(&self.namespace, id)?;
        }
        match &self.clsact {
            // Others may need it still.
            Some(clsact) => qdisc::delete(&self.namespace, clsact).map(|_: Removal| ()),
            None => Ok(()),
        }
    }
}

/// Makes the clsact of a device, unless it is there.
pub(super) fn prepare(namespace: &NetNamespace, ifindex: u32) -> Result<(), QdiscError> {
    match qdisc::add(namespace, Place::clsact(ifindex), &Discipline::Clsact) {
        Err(error) if error.errno() != Some(nix::errno::Errno::EEXIST) => Err(error),
        _ => Ok(()),
    }
}

/// The filter of a device of Murphy's own, on what comes from it.
pub(super) fn only(ifindex: u32) -> FilterPlace {
    FilterPlace {
        ifindex,
        parent: Handle::INGRESS,
        priority: NonZeroU16::MIN,
    }
}

fn clsact(ifindex: u32) -> QdiscId {
    QdiscId {
        place: Place::clsact(ifindex),
        kind: CLSACT.into(),
    }
}

fn parent(way: Way) -> Handle {
    match way {
        Way::To => Handle::EGRESS,
        Way::From => Handle::INGRESS,
    }
}

fn name_of(id: &FilterId) -> &str {
    id.name.as_deref().unwrap_or_default()
}

fn is_ours(id: &FilterId) -> bool {
    id.kind == BPF && name_of(id).starts_with(OURS)
}

/// The first free priority behind those of Murphy's: before anybody else's where there is room, as others may let nothing
/// through to the next.
fn free(filters: &[FilterId], role: Role) -> Option<NonZeroU16> {
    let (first, last) = match role {
        Role::Looks => (1, TAKING - 1),
        Role::Takes => (TAKING, u16::MAX),
    };
    let is_here = |id: &&FilterId| (first..=last).contains(&id.place.priority.get());
    let ours = filters.iter().filter(|id| is_ours(id)).filter(is_here);
    let behind = ours.map(|id| id.place.priority.get()).max();
    let is_free = |priority: &u16| {
        filters
            .iter()
            .all(|id| id.place.priority.get() != *priority)
    };
    let mut fit = (behind.map_or(first, |last| last.saturating_add(1))..=last).filter(is_free);
    fit.next().and_then(NonZeroU16::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(priority: u16, name: &str) -> FilterId {
        let place = FilterPlace {
            priority: NonZeroU16::new(priority).unwrap(),
            ..only(1)
        };
        FilterId {
            place,
            kind: BPF.into(),
            name: Some(name.into()),
        }
    }

    #[test]
    fn who_comes_later_is_asked_later_and_nobodys_place_is_taken() {
        let free = |filters: &[FilterId], role| free(filters, role).unwrap().get();
        let (looks, takes) = (Role::Looks, Role::Takes);
        assert_eq!(free(&[], looks), 1);
        assert_eq!(free(&[at(1, "cilium"), at(7, "other")], looks), 2);
        let ours = [at(1, "cilium"), at(4, "mphy-a"), at(5, "x")];
        assert_eq!(free(&ours, looks), 6);
        assert_eq!(free(&[at(2, "mphy-a"), at(TAKING, "mphy-b")], looks), 3);
        assert_eq!(
            free(&[at(2, "mphy-a"), at(TAKING, "mphy-b")], takes),
            TAKING + 1
        );
    }
}
