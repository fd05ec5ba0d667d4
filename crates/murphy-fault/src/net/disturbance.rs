//! A disturbance is an injection of this family in force: programs at the devices of the target's namespaces, and the
//! addresses of its peers, both kept current.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use murphy_sys::{
    clock::boottime_ns,
    table::ProcessTable,
    traffic::{Network, Traffic, TrafficError, Way},
};
use murphy_target::{Target, Tree};

use super::{
    Disturbed, NetError, Place, PlaceSeen, Scope, Spec, WayEffect, check, number_of, order::order,
    peers, spare_host, words,
};
use crate::{
    injector::{Injector, failures},
    journal::Entry,
    span::Until,
    undo::Undo,
};

/// How often peers and targets are looked for again.
const RESOLVE_EVERY: Duration = Duration::from_secs(1);

/// Packets of a target that are disturbed.
#[derive(Debug)]
pub struct Disturbance {
    entry: Entry,
    spec: Spec,
    scope: Scope,
    traffic: Traffic,
    /// By the number of the namespace.
    places: BTreeMap<u64, (Place, BTreeMap<u32, String>)>,
    peers: BTreeSet<Network>,
    /// The target's processes, where it was not a namespace that was named.
    tree: Option<Tree>,
    allow_host: bool,
    until_ns: Option<u64>,
    resolved_at: Instant,
    /// What went wrong at the last look.
    troubles: Vec<String>,
}

/// Who is hit.
#[derive(Debug)]
pub struct Hit<'a> {
    /// The namespaces.
    pub places: Vec<Place>,
    /// The processes that they are of; their later namespaces are hit, too.
    pub target: Option<&'a Target>,
    /// Whether the machine's own namespace may be among them.
    pub allow_host: bool,
}

/// The ways that are asked for.
pub(super) fn ways(spec: &Spec) -> impl Iterator<Item = Way> {
    let (to, from) = (spec.direction.is_to(), spec.direction.is_from());
    Way::ALL.into_iter().filter(move |way| match way {
        Way::To => to,
        Way::From => from,
    })
}

/// What the hook of a way is called.
pub(super) fn hook(way: Way) -> &'static str {
    match way {
        Way::To => "tcx egress",
        Way::From => "tcx ingress",
    }
}

impl Disturbance {
    /// Disturbs the packets of some namespaces until its end.
    pub fn inject(
        injector: &Injector,
        hit: Hit<'_>,
        spec: Spec,
        scope: Scope,
        until: Until,
        seed: u64,
    ) -> Result<Self, NetError> {
        check(&spec, &scope)?;
        spare_host(&hit.places, hit.allow_host)?;
        if hit.places.is_empty() {
            return Err(NetError::Nobody);
        }
        for place in &hit.places {
            place.devices(&scope.devices)?;
        }
        let peers = peers::resolve(&scope.peers, &hit.places)?;
        let order = order(&spec, &scope, seed);
        // Programs that are loaded change nothing yet: what this kernel refuses, it refuses here.
        let traffic = Traffic::load(order)?;
        let names: Vec<_> = hit.places.iter().map(|place| place.name.clone()).collect();
        let mut entry = injector.begin("net", &words(&spec, &scope), &names, until)?;
        let id = entry.id().to_owned();
        entry.protect(&[Undo::DetachTraffic { id }])?;
        let until_ns = entry.header().deadline_boottime_ns();
        let mut disturbance = Self {
            entry,
            spec,
            scope,
            traffic,
            places: BTreeMap::new(),
            peers,
            tree: hit.target.map(Target::follow),
            allow_host: hit.allow_host,
            until_ns,
            resolved_at: Instant::now(),
            troubles: Vec::new(),
        };
        match disturbance.begin(hit.places) {
            Ok(()) => Ok(disturbance),
            Err(error) => {
                // None of the target is hit rather than a part of it.
                disturbance.traffic.leave();
                let _ = disturbance.entry.end();
                Err(error)
            }
        }
    }

    fn begin(&mut self, places: Vec<Place>) -> Result<(), NetError> {
        let (id, until_ns) = (number_of(self.id()), self.until_ns);
        self.traffic.tell(|order| {
            (order.id, order.until_ns, order.active) = (id, until_ns, true);
        })?;
        self.traffic.allow(&self.peers)?;
        for place in places {
            self.attach(&place)?;
        }
        Ok(())
    }

    /// Attaches to the devices of a place that it is not attached to yet.
    fn attach(&mut self, place: &Place) -> Result<(), NetError> {
        let devices = place.devices(&self.scope.devices)?;
        let (_, attached) = self
            .places
            .entry(place.inode)
            .or_insert_with(|| (place.clone(), BTreeMap::new()));
        // A number that is somebody else's now was a device that is gone, and its program with it.
        attached.retain(|index, _| devices.iter().any(|device| device.index == *index));
        for device in devices {
            if attached.contains_key(&device.index) {
                continue;
            }
            for way in ways(&self.spec) {
                self.traffic.attach(&place.namespace, device.index, way)?;
            }
            attached.insert(device.index, device.name);
        }
        Ok(())
    }

    /// The id of the injection.
    pub fn id(&self) -> &str {
        self.entry.id()
    }

    /// How long it still lasts.
    pub fn left(&self) -> Duration {
        match self.until_ns {
            None => Duration::MAX,
            Some(until) => Duration::from_nanos(until.saturating_sub(boottime_ns())),
        }
    }

    /// Whether somebody else has ended it.
    pub fn is_over(&self) -> bool {
        self.entry.is_over()
    }

    /// Looks again, now and then, for who is hit and who the peers are. What fails is told by the effect, and
    /// tried again: what was known stays.
    pub fn follow(&mut self) {
        if self.resolved_at.elapsed() < RESOLVE_EVERY {
            return;
        }
        self.resolved_at = Instant::now();
        self.troubles.clear();
        let outcomes = [self.follow_target(), self.follow_peers()];
        let failed = outcomes.into_iter().filter_map(Result::err);
        self.troubles.extend(failed.map(|error| error.to_string()));
    }

    fn follow_target(&mut self) -> Result<(), NetError> {
        let mut places: Vec<Place> = self
            .places
            .values()
            .map(|(place, _)| place.clone())
            .collect();
        if let Some(tree) = &mut self.tree {
            let table = ProcessTable::read().map_err(NetError::Table)?;
            let fresh = Place::of_members(&tree.newcomers(&table));
            spare_host(&fresh, self.allow_host)?;
            places.extend(
                fresh
                    .into_iter()
                    .filter(|place| !self.places.contains_key(&place.inode)),
            );
        }
        for place in places {
            match self.attach(&place) {
                // It has just gone, or its devices have: the next look knows.
                Ok(())
                | Err(NetError::Traffic(TrafficError::Gone { .. }) | NetError::NoDevice(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn follow_peers(&mut self) -> Result<(), NetError> {
        let places: Vec<Place> = self
            .places
            .values()
            .map(|(place, _)| place.clone())
            .collect();
        let peers = peers::resolve(&self.scope.peers, &places)?;
        if peers != self.peers {
            self.traffic.allow(&peers)?;
            self.peers = peers;
        }
        Ok(())
    }

    /// What it has done so far.
    pub fn effect(&self) -> Result<Disturbed, NetError> {
        let mut effect = Disturbed {
            places: self
                .places
                .values()
                .map(|(place, devices)| PlaceSeen {
                    name: place.name.clone(),
                    inode: place.inode,
                    devices: devices.values().cloned().collect(),
                })
                .collect(),
            peers: self
                .peers
                .iter()
                .map(|(address, length)| format!("{address}/{length}"))
                .collect(),
            troubles: self.troubles.clone(),
            ..Disturbed::default()
        };
        for way in ways(&self.spec) {
            let seen = Some(WayEffect::of(&self.traffic.fates(way)?, &self.spec));
            match way {
                Way::To => effect.to = seen,
                Way::From => effect.from = seen,
            }
        }
        Ok(effect)
    }

    /// What it has done so far, said in the journal, too.
    pub fn say(&self) -> Result<Disturbed, NetError> {
        let effect = self.effect()?;
        if !self.is_over() {
            self.entry.say(&effect, &effect.text())?;
        }
        Ok(effect)
    }

    /// Ends it: nothing is disturbed any more when this returns.
    pub fn end(mut self) -> Result<Disturbed, NetError> {
        self.traffic.leave();
        let left = failures(&self.entry.end());
        Ok(Disturbed {
            left,
            ..self.effect()?
        })
    }
}
