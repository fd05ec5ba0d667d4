//! A disturbance is an injection of this family in force: programs at the devices of the target's namespaces, and the
//! addresses of its peers, both kept current.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    time::{Duration, Instant},
};

use murphy_sys::{
    clock::boottime_ns,
    link::Device,
    table::ProcessTable,
    traffic::{Network, Order, TrafficError, Way},
};
use murphy_target::{Selector, Target, Tree};

use super::{
    Disturbed, Engine, NetError, Place, PlaceSeen, Scope, Spec, WayEffect, cable::Recipe,
    effect::Sum, hook::Hook, line::Table, order::order, peers, spare_host, spec::Distribution,
    words,
};
use crate::{
    injector::{Injector, failures},
    journal::{Entry, number_of},
    span::Until,
    undo::Undo,
};

/// How often peers and targets are looked for again.
const RESOLVE_EVERY: Duration = Duration::from_secs(1);

/// The beginning of the names of Murphy's own devices.
pub(super) const OUR_DEVICES: &str = "mphy-";

/// What is to happen to which packets.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// What.
    pub spec: Spec,
    /// To which.
    pub scope: Scope,
    /// By which engine; by the best if there is none.
    pub engine: Option<Engine>,
    /// Where chance comes from.
    pub seed: u64,
}

impl Asked {
    /// The engine that does it, if it makes sense.
    pub(super) fn check(&self) -> Result<Engine, NetError> {
        self.spec.check()?;
        self.scope.check()?;
        Engine::choose(&self.spec, self.engine)
    }

    /// What lines are made from, where packets are to wait.
    fn recipe(&self, engine: Engine) -> Result<Option<Recipe>, NetError> {
        if engine != Engine::Cable {
            return Ok(None);
        }
        let distribution = self.spec.delay.as_ref().map(|delay| &delay.distribution);
        let table = match distribution {
            Some(Distribution::Table(path)) => {
                let refused = |why| NetError::Table {
                    path: path.clone(),
                    why,
                };
                let text = fs::read_to_string(path).map_err(|error| refused(error.to_string()))?;
                Some(Table::parse(&text).map_err(|error| refused(error.to_string()))?)
            }
            _ => None,
        };
        Ok(Some(Recipe {
            spec: self.spec.clone(),
            table,
            seed: self.seed,
        }))
    }
}

/// Packets of a target that are disturbed.
#[derive(Debug)]
pub struct Disturbance {
    entry: Entry,
    asked: Asked,
    engine: Engine,
    recipe: Option<Recipe>,
    order: Order,
    /// By the number of the namespace.
    places: BTreeMap<u64, Attached>,
    /// How many devices were hooked so far.
    hooked: u32,
    /// What was counted at devices that are gone.
    gone: BTreeMap<Way, Sum>,
    peers: BTreeSet<Network>,
    /// The namespaces that were named themselves: each name may come to mean another one.
    selectors: Vec<Selector>,
    /// The target's processes, where it was not a namespace that was named.
    tree: Option<Tree>,
    allow_host: bool,
    until_ns: Option<u64>,
    resolved_at: Instant,
    /// What went wrong at the last look.
    troubles: Vec<String>,
}

/// A place, and its hooks by the number of the device.
#[derive(Debug)]
struct Attached {
    place: Place,
    hooks: BTreeMap<u32, Hook>,
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
        asked: Asked,
        until: Until,
    ) -> Result<Self, NetError> {
        let engine = asked.check()?;
        let recipe = asked.recipe(engine)?;
        spare_host(&hit.places, hit.allow_host)?;
        if hit.places.is_empty() {
            return Err(NetError::Nobody);
        }
        // Programs that are loaded change nothing yet: what this kernel refuses, it refuses here.
        let order = order(&asked.spec, &asked.scope, engine, asked.seed);
        let selectors = hit.places.iter().filter_map(|place| place.selector.clone());
        let selectors = selectors.collect();
        let mut loaded = Vec::new();
        for place in hit.places {
            for device in place.devices(&asked.scope.devices)? {
                let hook = Hook::load(&device, order.clone())?;
                loaded.push((place.clone(), device, hook));
            }
        }
        let places: Vec<Place> = loaded.iter().map(|(place, ..)| place.clone()).collect();
        let peers = peers::resolve(&asked.scope.peers, &places)?;
        let mut names: Vec<_> = places.into_iter().map(|place| place.name).collect();
        names.dedup();
        let words = words(&asked.spec, &asked.scope);
        let mut entry = injector.begin("net", &words, &names, until)?;
        let id = entry.id().to_owned();
        entry.protect(&[Undo::DetachTraffic { id: id.clone() }])?;
        let until_ns = entry.header().deadline_boottime_ns();
        let mut disturbance = Self {
            entry,
            asked,
            engine,
            recipe,
            order: Order {
                id: number_of(&id),
                until_ns,
                active: true,
                ..order
            },
            places: BTreeMap::new(),
            hooked: 0,
            gone: BTreeMap::new(),
            peers,
            selectors,
            tree: hit.target.map(Target::follow),
            allow_host: hit.allow_host,
            until_ns,
            resolved_at: Instant::now(),
            troubles: Vec::new(),
        };
        for (place, device, hook) in loaded {
            if let Err(error) = disturbance.attach(&place, &device, hook) {
                // None of the target is hit rather than a part of it.
                disturbance.leave();
                let _ = disturbance.entry.end();
                return Err(error);
            }
        }
        Ok(disturbance)
    }

    /// Hooks one device of a place.
    fn attach(&mut self, place: &Place, device: &Device, mut hook: Hook) -> Result<(), NetError> {
        let name = format!("{OUR_DEVICES}{}{}", self.id(), self.hooked);
        // What is chance at one device says nothing of that at another.
        let seed = self.asked.seed.wrapping_add(u64::from(self.hooked) << 32);
        self.hooked += 1;
        let order = Order {
            seed,
            ..self.order.clone()
        };
        hook.tell(|told| *told = order)?;
        hook.allow(&self.peers)?;
        let ways: Vec<Way> = ways(&self.asked.spec).collect();
        let recipe = self.recipe.clone().map(|recipe| Recipe { seed, ..recipe });
        let cable = recipe.as_ref().map(|recipe| (name.as_str(), recipe));
        hook.attach(&place.namespace, device, &ways, cable)?;
        let attached = self.places.entry(place.inode).or_insert_with(|| Attached {
            place: place.clone(),
            hooks: BTreeMap::new(),
        });
        attached.hooks.insert(device.index, hook);
        Ok(())
    }

    /// Hooks the devices of a place that are not hooked yet, and forgets those that are gone.
    fn attach_more(&mut self, place: &Place) -> Result<(), NetError> {
        let devices = place.devices(&self.asked.scope.devices)?;
        let is_gone = |index: &u32| devices.iter().all(|device| device.index != *index);
        if let Some(attached) = self.places.get_mut(&place.inode) {
            let gone: Vec<Hook> = attached
                .hooks
                .extract_if(.., |index, _| is_gone(index))
                .map(|(_, hook)| hook)
                .collect();
            self.retire(gone)?;
        }
        for device in devices {
            let attached = self.places.get(&place.inode);
            if attached.is_some_and(|attached| attached.hooks.contains_key(&device.index)) {
                continue;
            }
            let hook = Hook::load(&device, self.order.clone())?;
            self.attach(place, &device, hook)?;
        }
        Ok(())
    }

    /// Remembers what was counted at devices that are gone.
    fn retire(&mut self, hooks: Vec<Hook>) -> Result<(), NetError> {
        for mut hook in hooks {
            // Its taps went with the device, or are taken away here.
            let _ = hook.leave();
            for way in ways(&self.asked.spec) {
                self.gone.entry(way).or_default().add(&hook, way)?;
            }
        }
        Ok(())
    }

    fn hooks(&self) -> impl Iterator<Item = &Hook> {
        self.places
            .values()
            .flat_map(|attached| attached.hooks.values())
    }

    fn hooks_mut(&mut self) -> impl Iterator<Item = &mut Hook> {
        self.places
            .values_mut()
            .flat_map(|attached| attached.hooks.values_mut())
    }

    /// Leaves every packet alone. What cannot be told is a trouble.
    fn leave(&mut self) {
        let failed: Vec<_> = self
            .hooks_mut()
            .filter_map(|hook| hook.leave().err())
            .collect();
        self.troubles.extend(failed.iter().map(ToString::to_string));
    }

    /// What makes it happen.
    pub fn engine(&self) -> Engine {
        self.engine
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

    /// Does what `murphy pause` and `murphy resume` have asked for; says whether that is something else than before.
    pub fn heed(&mut self) -> Result<bool, NetError> {
        let active = !self.entry.is_paused()?;
        if active == self.order.active {
            return Ok(false);
        }
        self.order.active = active;
        self.hooks_mut()
            .try_for_each(|hook| hook.tell(|order| order.active = active))?;
        Ok(true)
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
        let broken = self.hooks().filter(|hook| hook.is_broken());
        let broken: Vec<_> = broken
            .map(|hook| {
                format!(
                    "hold the packets of {}: its cable has ended, they pass",
                    hook.name
                )
            })
            .collect();
        self.troubles.extend(broken);
    }

    fn places(&self) -> Vec<Place> {
        let places = self.places.values();
        places.map(|attached| attached.place.clone()).collect()
    }

    fn follow_target(&mut self) -> Result<(), NetError> {
        let table = ProcessTable::read().map_err(NetError::Processes)?;
        // A namespace ends when nobody needs it: Murphy is nobody.
        let deserted: Vec<Hook> = self
            .places
            .extract_if(.., |_, attached| attached.place.is_deserted(&table))
            .flat_map(|(_, attached)| attached.hooks.into_values())
            .collect();
        self.retire(deserted)?;
        let mut places = self.places();
        // A name that leads nowhere now may do so again.
        let again = self.selectors.iter();
        let again = again.filter_map(|selector| Place::named(selector)?.ok());
        let again: Vec<Place> = again.collect();
        spare_host(&again, self.allow_host)?;
        places.extend(again);
        if let Some(tree) = &mut self.tree {
            let fresh = Place::of_members(&tree.newcomers(&table));
            spare_host(&fresh, self.allow_host)?;
            let is_new = |place: &Place| !self.places.contains_key(&place.inode);
            places.extend(fresh.into_iter().filter(is_new));
        }
        for place in places {
            match self.attach_more(&place) {
                // It has just gone, or its devices have: the next look knows.
                Ok(())
                | Err(NetError::Traffic(TrafficError::Gone { .. }) | NetError::NoDevice(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn follow_peers(&mut self) -> Result<(), NetError> {
        let peers = peers::resolve(&self.asked.scope.peers, &self.places())?;
        if peers != self.peers {
            self.hooks_mut().try_for_each(|hook| hook.allow(&peers))?;
            self.peers = peers;
        }
        Ok(())
    }

    /// What it has done so far.
    pub fn effect(&self) -> Result<Disturbed, NetError> {
        let seen = |attached: &Attached| PlaceSeen {
            name: attached.place.name.clone(),
            inode: attached.place.inode,
            devices: attached
                .hooks
                .values()
                .map(|hook| hook.name.clone())
                .collect(),
        };
        let mut effect = Disturbed {
            paused: !self.order.active,
            places: self.places.values().map(seen).collect(),
            peers: self
                .peers
                .iter()
                .map(|(address, length)| format!("{address}/{length}"))
                .collect(),
            troubles: self.troubles.clone(),
            ..Disturbed::default()
        };
        for way in ways(&self.asked.spec) {
            let mut sum = self.gone.get(&way).cloned().unwrap_or_default();
            for hook in self.hooks() {
                sum.add(hook, way)?;
            }
            let seen = Some(WayEffect::of(&sum, &self.asked.spec));
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
        self.leave();
        let left = failures(&self.entry.end());
        Ok(Disturbed {
            left,
            ..self.effect()?
        })
    }
}
