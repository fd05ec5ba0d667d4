//! A disturbance is an injection of this family in force: programs at the devices of the target's namespaces, and the
//! addresses of its peers, both kept current.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
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
    Disturbed, Engine, NetError, Place, PlaceSeen, Scope, Spec, WayEffect,
    cable::Recipe,
    effect::Sum,
    group::{Crew, Group},
    hook::{Hook, Job},
    line::Table,
    order::order,
    peers,
    rehearsal::{self, Contact, Rehearsal},
    spare_host,
    spec::Distribution,
    words,
};
use crate::{
    injector::{Injector, failures},
    journal::{Entry, number_of},
    keeper::Pulse,
    span::Until,
};

/// How often peers and targets are looked for again.
const RESOLVE_EVERY: Duration = Duration::from_secs(1);

/// Over how many devices somebody to ping is looked for.
const REHEARSED_MAX: usize = 2;

/// The beginning of the names of Murphy's own devices.
pub(crate) const OUR_DEVICES: &str = "mphy-";

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
    /// Whether it is about the sockets of cgroups: it was asked for, or others share the place.
    fn is_for_groups(&self, hit: &Hit<'_>) -> bool {
        let shares_hosts = !hit.allow_host && hit.places.iter().any(Place::is_hosts);
        match self.engine {
            Some(engine) => engine == Engine::CgroupSkb,
            None => hit.target.is_some() && shares_hosts,
        }
    }

    /// The devices that are meant and the engine that does it to them, if what is asked makes sense. Between processes of
    /// one namespace all goes over the loopback, which is nobody's way to others.
    pub(super) fn aim(&self, hit: &Hit<'_>) -> Result<(Vec<(Place, Device)>, Engine), NetError> {
        self.spec.check()?;
        self.scope.check()?;
        let for_groups = self.is_for_groups(hit);
        if !for_groups {
            spare_host(&hit.places, hit.allow_host)?;
        } else if hit.target.is_none() {
            let names: Vec<_> = hit.places.iter().map(|place| place.name.clone()).collect();
            return Err(NetError::NoProcesses(names.join(", ")));
        }
        let mut devices = Vec::new();
        for place in &hit.places {
            for device in place.meant(&self.scope.devices, for_groups)? {
                if device.is_loopback && !for_groups && self.spec.turns_round() {
                    return Err(NetError::OnLoopback {
                        asked: self.spec.to_string(),
                        device: device.name,
                    });
                }
                devices.push((place.clone(), device));
            }
        }
        let forced = if for_groups {
            Some(Engine::CgroupSkb)
        } else {
            self.engine
        };
        let engine = Engine::choose(&self.spec, &self.scope, forced, &devices)?;
        Ok((devices, engine))
    }

    /// The engine that does it to a command that Murphy launches in its own namespace, if it makes sense.
    pub fn engine_for_launch(&self) -> Result<Engine, NetError> {
        self.spec.check()?;
        self.scope.check()?;
        let engine = Engine::choose(&self.spec, &self.scope, Some(Engine::CgroupSkb), &[])?;
        match self.engine.filter(|forced| *forced != engine) {
            None => Ok(engine),
            Some(forced) => Err(NetError::NotLaunched(forced)),
        }
    }

    /// What lines are made from, where packets are to wait.
    fn recipe(&self, engine: Engine) -> Result<Option<Recipe>, NetError> {
        if !engine.has_lines(&self.spec) {
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
    /// What a ping met before anybody else was hit.
    rehearsal: Option<Rehearsal>,
    /// The cgroups whose sockets alone are hit, where others share the places.
    group: Option<Group>,
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
    pulse: Pulse,
    until_ns: Option<u64>,
    resolved_at: Instant,
    /// What went wrong at the last look.
    troubles: Vec<String>,
}

/// A place, and its hooks by the number of the device.
#[derive(Debug)]
struct Attached {
    place: Place,
    hooks: BTreeMap<u32, Box<dyn Hook>>,
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

/// The beginning of the names of what one hook of an injection makes.
pub(crate) fn hook_name(id: &str, hooked: u32) -> String {
    // Three places are left for it: with digits alone a thousand devices that come and go would use them up.
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let digit = |place: u32| char::from(DIGITS[(hooked / place % 36) as usize]);
    let number = match hooked {
        0..36 => digit(1).to_string(),
        36..1296 => [digit(36), digit(1)].iter().collect(),
        _ => [digit(1296), digit(36), digit(1)]
            .iter()
            .collect::<String>(),
    };
    format!("{OUR_DEVICES}{id}{number}")
}

/// The cgroups whose sockets alone are hit, by their directories; an error where others are in one of them.
pub(super) fn groups(engine: Engine, hit: &Hit<'_>) -> Result<Vec<PathBuf>, NetError> {
    match hit.target.filter(|_| engine == Engine::CgroupSkb) {
        None => Ok(Vec::new()),
        Some(target) => Crew::of(target).look(&mut target.follow(), [])?.exclusive(),
    }
}

impl Disturbance {
    /// Disturbs the packets of some namespaces until its end.
    pub fn inject(
        injector: &Injector,
        hit: &Hit<'_>,
        asked: Asked,
        until: Until,
    ) -> Result<Self, NetError> {
        if hit.places.is_empty() {
            return Err(NetError::Nobody);
        }
        let (devices, engine) = asked.aim(hit)?;
        let recipe = asked.recipe(engine)?;
        let selectors = hit.places.iter().filter_map(|place| place.selector.clone());
        let selectors = selectors.collect();
        let mut tree = hit.target.map(Target::follow);
        let crew = match (hit.target, &mut tree) {
            (Some(target), Some(tree)) if engine == Engine::CgroupSkb => {
                let mut crew = Crew::of(target);
                let directories = crew.look(tree, [])?.exclusive()?;
                Some((crew, directories))
            }
            _ => None,
        };
        let places: Vec<Place> = devices.iter().map(|(place, _)| place.clone()).collect();
        let peers = peers::resolve(&asked.scope.peers, &places)?;
        let mut names: Vec<_> = places.into_iter().map(|place| place.name).collect();
        names.dedup();
        let words = words(&asked.spec, &asked.scope);
        let entry = injector.begin("net", &words, &names, until)?;
        let id = number_of(entry.id());
        let until_ns = entry.header().deadline_boottime_ns();
        let order = Order {
            id,
            until_ns,
            active: true,
            ..order(&asked.spec, &asked.scope, engine, asked.seed)
        };
        let mut disturbance = Self {
            entry,
            asked,
            engine,
            recipe,
            order,
            places: BTreeMap::new(),
            rehearsal: None,
            group: None,
            hooked: 0,
            gone: BTreeMap::new(),
            peers,
            selectors,
            tree,
            allow_host: hit.allow_host,
            pulse: injector.pulse(),
            until_ns,
            resolved_at: Instant::now(),
            troubles: Vec::new(),
        };
        if let Err(error) = disturbance.attach_all(&devices, crew) {
            // None of the target is hit rather than a part of it.
            disturbance.leave();
            let _ = disturbance.entry.end();
            return Err(error);
        }
        Ok(disturbance)
    }

    fn attach_all(
        &mut self,
        devices: &[(Place, Device)],
        crew: Option<(Crew, Vec<PathBuf>)>,
    ) -> Result<(), NetError> {
        self.entry.protect(&self.engine.undos(self.id()))?;
        let mut rehearsed = None;
        if self.engine.rehearses() && rehearsal::is_worth_it(&self.asked.spec) {
            // Whoever rehearses longer than the fault is to last is not taken for one that hangs.
            self.entry.began(rehearsal::until_ns())?;
            rehearsed = self.rehearse(devices)?;
            self.begin_again()?;
        }
        // Hooks that are made change nothing yet: what this kernel refuses, it refuses here.
        if let Some((crew, directories)) = crew {
            let ways = ways(&self.asked.spec).collect();
            let mut group = Group::load(crew, directories, self.order.clone(), ways)?;
            group.allow(&self.peers)?;
            self.group = Some(group);
        }
        let made = devices.iter().map(|(place, device)| {
            let hook = self.make(place, device)?;
            Ok((place, device.index, hook))
        });
        let made: Vec<_> = made.collect::<Result<_, NetError>>()?;
        for (place, index, hook) in made {
            self.attach(place, index, hook)?;
        }
        if let Some(group) = &mut self.group {
            self.entry.change(&group.undos(), || group.attach())??;
        }
        // The last hook of a kernel costs it a while, and so does the first one after it.
        match rehearsed {
            Some(mut hook) => hook.leave(),
            None => Ok(()),
        }
    }

    /// Does it to a ping first, over the first device over which somebody answers. Gives what did it, if it is
    /// there still; it does nothing any more.
    fn rehearse(&mut self, devices: &[(Place, Device)]) -> Result<Option<Box<dyn Hook>>, NetError> {
        let devices = devices.iter().filter(|(_, device)| device.is_up);
        let contact = devices.take(REHEARSED_MAX).find_map(|(place, device)| {
            let contact = Contact::find(&place.namespace, device, &self.peers)?;
            Some((place, device, contact))
        });
        let Some((place, device, mut contact)) = contact else {
            return Ok(None);
        };
        let name = format!("{OUR_DEVICES}{}-r", self.id());
        let order = Order {
            matched: rehearsal::narrowed(),
            until_ns: Some(rehearsal::until_ns()),
            ..self.order.clone()
        };
        let mut hook = self.hook(place, device, name, order)?;
        let whole = if contact.host.is_ipv4() { 32 } else { 128 };
        hook.allow(&BTreeSet::from([(contact.host, whole)]))?;
        self.entry.change(&hook.undos(), || hook.attach())??;
        let met = contact.rehearse(hook.as_ref(), &self.asked.spec);
        let hook = if self.engine.leaves_room() {
            hook.activate(false)?;
            Some(hook)
        } else {
            hook.leave()?;
            None
        };
        // To a microsecond.
        let ms = |time: Duration| (time.as_secs_f64() * 1e6).round() / 1e3;
        self.rehearsal = Some(Rehearsal {
            place: place.name.clone(),
            device: device.name.clone(),
            host: contact.host,
            before_ms: ms(contact.before()),
            with_ms: met?.map(ms),
        });
        Ok(hook)
    }

    /// Makes the hook of one device of a place, which does nothing yet.
    fn make(&mut self, place: &Place, device: &Device) -> Result<Box<dyn Hook>, NetError> {
        let name = hook_name(self.id(), self.hooked);
        // What is chance at one device says nothing of that at another.
        let seed = self.asked.seed.wrapping_add(u64::from(self.hooked) << 32);
        self.hooked += 1;
        let order = Order {
            seed,
            ..self.order.clone()
        };
        let mut hook = self.hook(place, device, name, order)?;
        hook.allow(&self.peers)?;
        Ok(hook)
    }

    fn hook(
        &self,
        place: &Place,
        device: &Device,
        name: String,
        order: Order,
    ) -> Result<Box<dyn Hook>, NetError> {
        let ways: Vec<Way> = ways(&self.asked.spec).collect();
        let seed = order.seed;
        let job = Job {
            namespace: &place.namespace,
            device,
            name,
            order,
            ways: &ways,
            recipe: self.recipe.clone().map(|recipe| Recipe { seed, ..recipe }),
            programs: self.group.as_ref().map(Group::programs),
            pulse: Some(&self.pulse),
        };
        self.engine.hook(job, &self.asked.spec)
    }

    /// Puts one in force; the way back is on disk before.
    fn attach(
        &mut self,
        place: &Place,
        index: u32,
        mut hook: Box<dyn Hook>,
    ) -> Result<(), NetError> {
        self.entry.change(&hook.undos(), || hook.attach())??;
        let attached = self.places.entry(place.inode).or_insert_with(|| Attached {
            place: place.clone(),
            hooks: BTreeMap::new(),
        });
        attached.hooks.insert(index, hook);
        Ok(())
    }

    /// Hooks the devices of a place that are not hooked yet, and forgets those that are gone.
    fn attach_more(&mut self, place: &Place) -> Result<(), NetError> {
        let of_sockets = self.engine == Engine::CgroupSkb;
        let devices = place.meant(&self.asked.scope.devices, of_sockets)?;
        let is_gone = |index: &u32| devices.iter().all(|device| device.index != *index);
        if let Some(attached) = self.places.get_mut(&place.inode) {
            let gone: Vec<_> = attached
                .hooks
                .extract_if(.., |index, hook| is_gone(index) || hook.is_off())
                .map(|(_, hook)| hook)
                .collect();
            self.retire(gone)?;
        }
        let mut outcome = Ok(());
        for device in devices {
            let attached = self.places.get(&place.inode);
            if attached.is_some_and(|attached| attached.hooks.contains_key(&device.index)) {
                continue;
            }
            let made = self.make(place, &device);
            let hooked = made.and_then(|hook| self.attach(place, device.index, hook));
            if hooked.is_err() {
                // It is tried again and again: nothing bears its number, and those after it are hooked.
                self.hooked -= 1;
            }
            outcome = outcome.and(hooked);
        }
        outcome
    }

    /// Remembers what was counted at devices that are gone.
    fn retire(&mut self, hooks: Vec<Box<dyn Hook>>) -> Result<(), NetError> {
        for mut hook in hooks {
            // Its taps went with the device, or are taken away here.
            let _ = hook.leave();
            for way in ways(&self.asked.spec) {
                self.gone.entry(way).or_default().add(hook.as_ref(), way)?;
            }
        }
        Ok(())
    }

    fn hooks(&self) -> impl Iterator<Item = &dyn Hook> {
        let group = self.group.iter().map(|group| group as &dyn Hook);
        let places = self.places.values();
        let hooks = places.flat_map(|attached| attached.hooks.values());
        group.chain(hooks.map(|hook| hook.as_ref() as &dyn Hook))
    }

    fn hooks_mut(&mut self) -> impl Iterator<Item = &mut dyn Hook> {
        let group = self.group.iter_mut().map(|group| group as &mut dyn Hook);
        let places = self.places.values_mut();
        let hooks = places.flat_map(|attached| attached.hooks.values_mut());
        group.chain(hooks.map(|hook| hook.as_mut() as &mut dyn Hook))
    }

    /// Leaves every packet alone. What cannot be told is a trouble.
    fn leave(&mut self) {
        for hook in self.hooks_mut() {
            // What waits in the kernel comes at all devices meanwhile. What fails here fails again below.
            let _ = hook.activate(false);
        }
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

    /// Counts its time from now on: only now is anybody hit.
    pub fn begin_again(&mut self) -> Result<(), NetError> {
        let now = boottime_ns();
        self.entry.began(now)?;
        let header = self.entry.header();
        let before = header.deadline_boottime_ns();
        let lasts = before.map(|before| before.saturating_sub(header.started_boottime_ns));
        self.until_ns = lasts.map(|lasts| now.saturating_add(lasts));
        self.order.until_ns = self.until_ns;
        match &self.group {
            Some(group) => group.end_at(self.until_ns),
            None => Ok(()),
        }
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
            .try_for_each(|hook| hook.activate(active))?;
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
                    "hold the packets of {}: what held them has ended, they pass",
                    hook.name()
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
        let deserted: Vec<_> = self
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
            let fresh = if let Some(group) = &mut self.group {
                let (newcomers, troubles) = group.follow(tree)?;
                self.troubles.extend(troubles);
                Place::of_members(&newcomers)
            } else {
                let fresh = Place::of_members(&tree.newcomers(&table));
                spare_host(&fresh, self.allow_host)?;
                fresh
            };
            let is_new = |place: &Place| !self.places.contains_key(&place.inode);
            places.extend(fresh.into_iter().filter(is_new));
        }
        let mut outcome = Ok(());
        for place in places {
            match self.attach_more(&place) {
                // It has just gone, or its devices have: the next look knows.
                Ok(())
                | Err(NetError::Traffic(TrafficError::Gone { .. }) | NetError::NoDevice(_)) => {}
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        outcome
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
                .map(|hook| hook.name().to_owned())
                .collect(),
        };
        let mut effect = Disturbed {
            paused: !self.order.active,
            rehearsal: self.rehearsal.clone(),
            places: self.places.values().map(seen).collect(),
            groups: self
                .group
                .iter()
                .flat_map(Group::joined)
                .map(|directory| directory.display().to_string())
                .collect(),
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
