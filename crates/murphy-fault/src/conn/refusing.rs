//! Refusing is done to those that come, by programs of the kernel's: where somebody is looked for who listens, and where
//! processes of the target connect.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use murphy_sys::{
    link,
    refusal::{self, Order, Refusal, RefusalError, Who},
    traffic::PORTS_MAX,
};

use super::{
    ConnError, Newcomers,
    pool::Pool,
    scope::{Scope, Side},
    witness::Chance,
};
use crate::net::{Place, scope::Ports};

/// The programs of each namespace of a target.
#[derive(Debug)]
pub(super) struct Refusing {
    order: Order,
    sides: Vec<Side>,
    places: BTreeMap<u64, Refusals>,
    /// What those have counted that are gone.
    gone: Newcomers,
}

#[derive(Debug)]
struct Refusals {
    place: Place,
    accepted: Option<Refusal>,
    opened: Option<Refusal>,
    /// Where processes of the target listen, in a namespace that others share.
    listening: Option<BTreeSet<u16>>,
}

/// The sides that those have which may be refused.
pub(super) fn sides_of(scope: &Scope) -> Vec<Side> {
    let accepts = scope.side != Some(Side::Opened);
    // Only whoever is asked knows the port on his side beforehand.
    let opens = scope.side != Some(Side::Accepted) && scope.local_ports.is_empty();
    // Whoever has asked has a port that the kernel chose.
    let accepts = accepts && scope.remote_ports.is_empty();
    let sides = [(Side::Accepted, accepts), (Side::Opened, opens)];
    let sides = sides.into_iter().filter(|(_, is_meant)| *is_meant);
    sides.map(|(side, _)| side).collect()
}

impl Side {
    /// What refuses those of a side.
    pub(super) fn engine(self) -> &'static str {
        match self {
            Self::Accepted => "sk_lookup",
            Self::Opened => "cgroup_connect",
        }
    }

    /// Asks this kernel whether those of a side can be refused; changes nothing.
    pub(crate) fn trial(self) -> Result<(), RefusalError> {
        match self {
            Self::Accepted => refusal::trial_accepted(),
            Self::Opened => refusal::trial_opened(),
        }
    }
}

impl Refusing {
    /// Refuses with a chance those that come from now on, until a time in nanoseconds since boot.
    pub(super) fn begin(
        pool: &mut Pool,
        chance: Chance,
        id: u32,
        until_ns: Option<u64>,
    ) -> Result<Self, ConnError> {
        let bounds = |ports: &[Ports]| ports.iter().map(|ports| ports.bounds()).collect();
        let scope = pool.scope();
        let order = Order {
            id,
            until_ns,
            seed: chance.seed,
            active: true,
            chance: chance.of.threshold(),
            scope: refusal::Scope {
                by_peer: !scope.peers.is_empty(),
                either_ports: bounds(&scope.ports),
                local_ports: bounds(&scope.local_ports),
                remote_ports: bounds(&scope.remote_ports),
            },
        };
        let mut refusing = Self {
            order,
            sides: sides_of(scope),
            places: BTreeMap::new(),
            gone: Newcomers::default(),
        };
        refusing.follow(pool)?;
        Ok(refusing)
    }

    /// Takes in where the target is now, who belongs to it, and where its peers are.
    pub(super) fn follow(&mut self, pool: &mut Pool) -> Result<(), ConnError> {
        let places: Vec<Place> = pool.places().cloned().collect();
        let is_left = |inode: u64| places.iter().all(|place| place.inode != inode);
        let left = self.places.extract_if(.., |inode, _| is_left(*inode));
        for (_, refusals) in left {
            self.gone.add(refusals.counts()?);
        }
        for place in places {
            let listening = pool.listening(place.inode)?;
            let known = self.places.get(&place.inode);
            if known.is_none_or(|known| known.listening != listening) {
                let refusals = self.refuse_in(&place, pool, listening)?;
                if let Some(before) = self.places.insert(place.inode, refusals) {
                    self.gone.add(before.counts()?);
                }
            }
        }
        self.places
            .values_mut()
            .try_for_each(|refusals| refusals.follow(pool))
    }

    fn refuse_in(
        &self,
        place: &Place,
        pool: &Pool,
        listening: Option<BTreeSet<u16>>,
    ) -> Result<Refusals, ConnError> {
        // Nobody is hit before everything is said: peers and processes first.
        let idle = Order {
            active: false,
            ..self.order.clone()
        };
        let mut refusals = Refusals {
            place: place.clone(),
            accepted: None,
            opened: None,
            listening,
        };
        if self.sides.contains(&Side::Accepted) {
            refusals.accepted = refusals.accept(&idle)?;
        }
        if self.sides.contains(&Side::Opened) {
            let who = if pool.is_whole() {
                Who::Namespace(&place.namespace)
            } else {
                Who::Processes(&place.namespace)
            };
            refusals.opened = Some(Refusal::opened(who, &idle)?);
        }
        refusals.follow(pool)?;
        for refusal in refusals.each() {
            refusal.set_active(true)?;
        }
        Ok(refusals)
    }

    /// How many have come, and how many of them were refused.
    pub(super) fn counts(&self) -> Result<Newcomers, ConnError> {
        let mut all = self.gone;
        for refusals in self.places.values() {
            all.add(refusals.counts()?);
        }
        Ok(all)
    }
}

impl Refusals {
    fn each(&mut self) -> impl Iterator<Item = &mut Refusal> {
        self.accepted.iter_mut().chain(&mut self.opened)
    }

    /// Refuses those that the target is asked for; nothing where it listens nowhere.
    fn accept(&self, idle: &Order) -> Result<Option<Refusal>, ConnError> {
        let mut scope = idle.scope.clone();
        if let Some(listening) = &self.listening {
            // Of a namespace that others share only what the target listens on is its own.
            let among = |ranges: &[(u16, u16)], port: u16| {
                let is_in = |(first, last): &(u16, u16)| (*first..=*last).contains(&port);
                ranges.is_empty() || ranges.iter().any(is_in)
            };
            let ports = listening.iter().copied();
            let ports = ports.filter(|port| {
                among(&scope.local_ports, *port) && among(&scope.either_ports, *port)
            });
            let ports: Vec<_> = ports.map(|port| (port, port)).collect();
            if ports.is_empty() {
                return Ok(None);
            }
            if ports.len() > PORTS_MAX {
                return Err(ConnError::Listeners(ports.len()));
            }
            scope.local_ports = ports;
        }
        let order = Order {
            scope,
            ..idle.clone()
        };
        Ok(Some(Refusal::accepted(&self.place.namespace, &order)?))
    }

    fn follow(&mut self, pool: &Pool) -> Result<(), ConnError> {
        for refusal in self.each() {
            if refusal.order().scope.by_peer {
                refusal.set_peers(pool.peers())?;
            }
        }
        let Some(opened) = &mut self.opened else {
            return Ok(());
        };
        if let Some(members) = pool.members().filter(|_| !pool.is_whole()) {
            opened.set_processes(&members.into_iter().collect())?;
        }
        if self.accepted.is_some() {
            // One that the target opens to itself is drawn where it is asked for, and nowhere else.
            let own = link::addresses(&self.place.namespace).unwrap_or_default();
            let mut own: BTreeSet<IpAddr> = own.iter().map(IpAddr::to_canonical).collect();
            own.extend([
                Ipv4Addr::LOCALHOST.into(),
                IpAddr::from(Ipv6Addr::LOCALHOST),
            ]);
            opened.spare(&own, self.listening.as_ref())?;
        }
        Ok(())
    }

    fn counts(&self) -> Result<Newcomers, ConnError> {
        let mut all = Newcomers::default();
        for refusal in self.accepted.iter().chain(&self.opened) {
            let counts = refusal.counts()?;
            all.add(Newcomers {
                seen: counts.seen,
                hit: counts.refused,
                missed: 0,
            });
        }
        Ok(all)
    }
}
