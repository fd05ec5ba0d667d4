//! The means are what ends the connections that were drawn: sockets in their namespaces, at once or when they are due, and
//! programs at the devices there for those that nothing may pass any more.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque, btree_map},
    net::SocketAddr,
    time::{Duration, Instant},
};

use murphy_sys::{
    connections::{Connections, Ended, SocketId, close},
    flows::{Flow, Flows, Mode},
    link,
    socket_iterator::SocketIterator,
    traffic::{Filters, Role, Way},
};

use super::{ConnError, Connection, Engine, How, effect::Origin};
use crate::{
    journal::{Entry, number_of},
    net::{Hold, OUR_DEVICES, Place, hook_name, undos_of},
};

/// How often the other end of an idle connection is provoked to answer, so that it can be told.
const ROUNDS_MAX: usize = 5;
/// How long lies between two of these: longer than Linux stays silent after it has answered one.
const ROUND: Duration = Duration::from_millis(600);

/// What ends connections in each namespace of a target.
#[derive(Debug)]
pub(super) struct Means {
    engine: Engine,
    needs_programs: bool,
    /// How many devices got programs.
    hooked: u32,
    tools: BTreeMap<u64, Tools>,
    /// Those that are to die of old age.
    aging: Vec<(Instant, Hit)>,
    /// Those that were hit and are there nevertheless, by their cookies: nobody draws them again.
    spent: HashMap<u64, (u64, Flow)>,
    /// The other ends of those that were hit, where they may be in the same namespace: what is left of a connection is
    /// none.
    halves: HashSet<(u64, SocketAddr, SocketAddr)>,
    /// The flows of those that are gone, the oldest first.
    gone: VecDeque<(u64, Flow)>,
    troubles: Vec<String>,
}

/// What ends connections in one namespace.
#[derive(Debug)]
struct Tools {
    destroyer: Destroyer,
    broken: Option<Broken>,
}

/// What ends sockets.
#[derive(Debug)]
enum Destroyer {
    SockDestroy(Connections),
    Iterator(SocketIterator),
}

/// The connections of one namespace that are broken by programs.
#[derive(Debug)]
struct Broken {
    place: Place,
    flows: Flows,
    /// Who is asked whether a connection is there.
    sockets: Connections,
    /// By their numbers: the devices that have the programs, with the filters that hold them unless links do.
    devices: BTreeMap<u32, Option<Filters>>,
    /// Those that are to carry so much, and no more.
    counted: BTreeMap<Flow, Hit>,
    /// Those whose other end is to be told.
    untold: BTreeSet<Flow>,
    round: usize,
    provoked_at: Option<Instant>,
}

/// A connection that was hit.
#[derive(Clone, Debug)]
pub(super) struct Hit {
    pub(super) connection: Connection,
    pub(super) origin: Origin,
    pub(super) how: How,
}

/// What became of a connection that was to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Done {
    /// It has ended.
    Now,
    /// It was gone already.
    Gone,
    /// Its end is still to come.
    Later,
}

impl From<Ended> for Done {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Now => Self::Now,
            Ended::Gone => Self::Gone,
        }
    }
}

impl Destroyer {
    fn of(engine: Engine, place: &Place) -> Result<Self, ConnError> {
        Ok(match engine {
            Engine::SockDestroy => Self::SockDestroy(Connections::within(&place.namespace)?),
            Engine::Iterator => Self::Iterator(SocketIterator::within(&place.namespace)?),
        })
    }

    fn end(&mut self, ids: &[SocketId]) -> Result<Vec<Ended>, ConnError> {
        Ok(match self {
            Self::SockDestroy(connections) => connections.end(ids)?,
            Self::Iterator(iterator) => iterator.end(ids)?,
        })
    }
}

impl Means {
    /// Means of these ways; nothing is hit yet.
    pub(super) fn new(engine: Engine, needs_programs: bool) -> Self {
        Self {
            engine,
            needs_programs,
            hooked: 0,
            tools: BTreeMap::new(),
            aging: Vec::new(),
            spent: HashMap::new(),
            halves: HashSet::new(),
            gone: VecDeque::new(),
            troubles: Vec::new(),
        }
    }

    /// Gets ready in a namespace, at the devices that are there by now. What outlives this process is in the journal first.
    pub(super) fn join(&mut self, place: &Place, entry: &mut Entry) -> Result<(), ConnError> {
        let tools = match self.tools.entry(place.inode) {
            btree_map::Entry::Occupied(occupied) => occupied.into_mut(),
            btree_map::Entry::Vacant(vacant) => vacant.insert(Tools {
                destroyer: Destroyer::of(self.engine, place)?,
                broken: if self.needs_programs {
                    Some(Broken::none_of(place, entry)?)
                } else {
                    None
                },
            }),
        };
        match &mut tools.broken {
            Some(broken) => broken.follow_devices(entry, &mut self.hooked),
            None => Ok(()),
        }
    }

    /// Whether one was hit and is there nevertheless, or is what is left of one.
    pub(super) fn is_spent(&self, connection: &Connection) -> bool {
        let (local, remote) = connection.socket.id.ends();
        self.spent.contains_key(&connection.socket.id.cookie)
            || self.halves.contains(&(connection.place, local, remote))
    }

    /// Lets go of what was hit and is not there any more. Half of a connection that nothing passes stays broken for a
    /// while, as its other end may still be there.
    pub(super) fn forget_gone(&mut self, there: &[Connection]) -> Result<(), ConnError> {
        let ends = |one: &Connection| {
            let (local, remote) = one.socket.id.ends();
            (one.place, local, remote)
        };
        if !self.halves.is_empty() {
            let there: HashSet<_> = there.iter().map(ends).collect();
            self.halves.retain(|half| there.contains(half));
        }
        if self.spent.is_empty() {
            return Ok(());
        }
        let cookies: HashSet<u64> = there.iter().map(|one| one.socket.id.cookie).collect();
        let gone = self.spent.extract_if(|cookie, _| !cookies.contains(cookie));
        self.gone.extend(gone.map(|(_, of)| of));
        self.aging
            .retain(|(_, hit)| cookies.contains(&hit.connection.socket.id.cookie));
        while self.gone.len() > GONE_MAX {
            let Some((place, flow)) = self.gone.pop_front() else {
                break;
            };
            if let Some(broken) = self.broken(place) {
                broken.let_go(&flow)?;
            }
        }
        Ok(())
    }

    /// What did not work since somebody asked last.
    pub(super) fn take_troubles(&mut self) -> Vec<String> {
        std::mem::take(&mut self.troubles)
    }

    /// Ends connections, each one by `how`, or sees to it that they end; says of each what became of it.
    pub(super) fn end(
        &mut self,
        how: How,
        turn: &[&Connection],
        origin: Origin,
    ) -> Result<Vec<Done>, ConnError> {
        let done = |ended: Vec<Ended>| ended.into_iter().map(Done::from).collect();
        let hit = |one: &Connection| Hit {
            connection: one.clone(),
            origin,
            how,
        };
        let outcome = match how {
            How::Reset => self.reset(turn).map(done)?,
            How::ResetLocal => {
                self.break_all(turn, Mode::ResetLocal)?;
                let ended = self.reset(turn)?;
                let hit = ended.iter().map(|ended| *ended == Ended::Now);
                self.mend_others(turn, &hit.collect::<Vec<_>>())?;
                done(ended)
            }
            How::ResetRemote => {
                let there = self.break_those_there(turn, Mode::ResetRemote)?;
                for (one, _) in turn.iter().zip(&there).filter(|(_, there)| **there) {
                    if let Some(broken) = self.broken(one.place) {
                        broken.untold.insert(flow_of(one));
                        (broken.round, broken.provoked_at) = (0, None);
                    }
                }
                self.provoke()?;
                done_to(&there, Done::Now)
            }
            How::Stall => done_to(&self.break_those_there(turn, Mode::Stall)?, Done::Now),
            How::AfterBytes(bytes) => {
                let there = self.break_those_there(turn, Mode::AfterBytes(bytes.0))?;
                for (one, _) in turn.iter().zip(&there).filter(|(_, there)| **there) {
                    if let Some(broken) = self.broken(one.place) {
                        broken.counted.insert(flow_of(one), hit(one));
                    }
                }
                done_to(&there, Done::Later)
            }
            How::Close => turn.iter().map(|one| self.close_one(one)).collect(),
            How::MaxAge(age) => {
                let now = Instant::now();
                let due = |one: &Connection| now + age.0.saturating_sub(one.age);
                self.aging
                    .extend(turn.iter().map(|one| (due(one), hit(one))));
                vec![Done::Later; turn.len()]
            }
            // Whoever is refused has no connection yet.
            How::Refuse => vec![Done::Gone; turn.len()],
        };
        for (one, done) in turn.iter().zip(&outcome) {
            if *done == Done::Gone {
                continue;
            }
            if how.leaves_sockets() {
                let of = (one.place, flow_of(one));
                self.spent.insert(one.socket.id.cookie, of);
            }
            let (local, remote) = one.socket.id.ends();
            self.halves.insert((one.place, remote, local));
        }
        Ok(outcome)
    }

    fn broken(&mut self, place: u64) -> Option<&mut Broken> {
        self.tools.get_mut(&place)?.broken.as_mut()
    }

    fn break_all(&mut self, turn: &[&Connection], mode: Mode) -> Result<(), ConnError> {
        for (place, of_place) in by_place(turn) {
            if let Some(broken) = self.broken(place) {
                let flows: Vec<_> = of_place
                    .iter()
                    .map(|at| (flow_of(turn[*at]), mode))
                    .collect();
                broken.flows.insert(&flows)?;
            }
        }
        Ok(())
    }

    /// Breaks those that are still there once they are broken, and says which these are.
    fn break_those_there(
        &mut self,
        turn: &[&Connection],
        mode: Mode,
    ) -> Result<Vec<bool>, ConnError> {
        self.break_all(turn, mode)?;
        let mut there = vec![false; turn.len()];
        for (place, of_place) in by_place(turn) {
            if let Some(broken) = self.broken(place) {
                let ids: Vec<SocketId> = of_place.iter().map(|at| turn[*at].socket.id).collect();
                let are_there = broken.sockets.are_there(&ids)?;
                for (at, is_there) in of_place.into_iter().zip(are_there) {
                    there[at] = is_there;
                }
            }
        }
        self.mend_others(turn, &there)?;
        Ok(there)
    }

    /// Mends those that were not hit.
    fn mend_others(&mut self, turn: &[&Connection], are_hit: &[bool]) -> Result<(), ConnError> {
        let all = turn.iter().zip(are_hit);
        let gone: Vec<_> = all
            .filter(|(_, is_hit)| !**is_hit)
            .map(|(one, _)| *one)
            .collect();
        for (place, of_place) in by_place(&gone) {
            if let Some(broken) = self.broken(place) {
                let flows: Vec<_> = of_place.iter().map(|at| flow_of(gone[*at])).collect();
                broken.flows.remove(&flows)?;
            }
        }
        Ok(())
    }

    /// Closes one in its owner's place. One that cannot be closed is a trouble, and no reason to leave the others alone.
    fn close_one(&mut self, connection: &Connection) -> Done {
        let owner = connection.owner.as_ref();
        let held = owner.and_then(|owner| Some((owner.pid, owner.descriptor?)));
        let id = &connection.socket.id;
        let closed = held
            .ok_or_else(|| ConnError::NoOwner(id.to_string()))
            .and_then(|(pid, descriptor)| Ok(close(pid, descriptor, id)?));
        closed.map_or_else(
            |error| {
                self.troubles.push(error.to_string());
                Done::Gone
            },
            Done::from,
        )
    }

    fn reset(&mut self, turn: &[&Connection]) -> Result<Vec<Ended>, ConnError> {
        let mut all = vec![Ended::Gone; turn.len()];
        for (place, of_place) in by_place(turn) {
            let ids: Vec<SocketId> = of_place.iter().map(|at| turn[*at].socket.id).collect();
            // A namespace that is gone has taken its connections along.
            let Some(tools) = self.tools.get_mut(&place) else {
                continue;
            };
            for (at, ended) in of_place.into_iter().zip(tools.destroyer.end(&ids)?) {
                all[at] = ended;
            }
        }
        Ok(all)
    }

    /// How long until something is due.
    pub(super) fn until_due(&self) -> Duration {
        let due = self.aging.iter().map(|(due, _)| *due).min();
        due.map_or(Duration::MAX, |due| {
            due.saturating_duration_since(Instant::now())
        })
    }

    /// How many wait for their end.
    pub(super) fn waiting(&self) -> usize {
        let broken = self
            .tools
            .values()
            .filter_map(|tools| tools.broken.as_ref());
        let counted: usize = broken.map(|broken| broken.counted.len()).sum();
        self.aging.len() + counted
    }

    /// How many other ends have not been told yet.
    pub(super) fn untold(&self) -> usize {
        let broken = self
            .tools
            .values()
            .filter_map(|tools| tools.broken.as_ref());
        broken.map(|broken| broken.untold.len()).sum()
    }

    /// Ends what is due, and provokes who is to be told; gives back what has ended by that.
    pub(super) fn settle(&mut self) -> Result<Vec<Hit>, ConnError> {
        self.provoke()?;
        let now = Instant::now();
        let old = self.aging.extract_if(.., |(due, _)| *due <= now);
        let mut due: Vec<Hit> = old.map(|(_, hit)| hit).collect();
        for tools in self.tools.values_mut() {
            if let Some(broken) = &mut tools.broken {
                due.extend(broken.cut()?);
            }
        }
        let turn: Vec<&Connection> = due.iter().map(|hit| &hit.connection).collect();
        let ended = self.reset(&turn)?;
        let all = due.into_iter().zip(ended);
        let all = all.filter(|(_, ended)| *ended == Ended::Now);
        Ok(all.map(|(hit, _)| hit).collect())
    }

    fn provoke(&mut self) -> Result<(), ConnError> {
        let all = self.tools.values_mut();
        let mut broken = all.filter_map(|tools| tools.broken.as_mut());
        broken.try_for_each(Broken::provoke)
    }

    /// Lets everything pass again, and takes itself off every device.
    pub(super) fn leave(&mut self) -> Result<(), ConnError> {
        let all = self.tools.values_mut();
        let broken = all.filter_map(|tools| tools.broken.as_mut());
        broken.map(Broken::leave).fold(Ok(()), Result::and)
    }
}

impl Broken {
    fn none_of(place: &Place, entry: &Entry) -> Result<Self, ConnError> {
        let id = number_of(entry.id());
        let until_ns = entry.header().deadline_boottime_ns();
        Ok(Self {
            place: place.clone(),
            flows: Flows::load(&place.namespace, id, until_ns)?,
            sockets: Connections::within(&place.namespace)?,
            devices: BTreeMap::new(),
            counted: BTreeMap::new(),
            untold: BTreeSet::new(),
            round: 0,
            provoked_at: None,
        })
    }

    /// Puts the programs at devices that have none yet.
    fn follow_devices(&mut self, entry: &mut Entry, hooked: &mut u32) -> Result<(), ConnError> {
        let all = link::devices(&self.place.namespace)?;
        self.devices
            .retain(|index, _| all.iter().any(|device| device.index == *index));
        for device in all {
            if self.devices.contains_key(&device.index) || device.name.starts_with(OUR_DEVICES) {
                continue;
            }
            let filters = match Hold::best() {
                Hold::Links => None,
                Hold::Filters => {
                    let name = hook_name(entry.id(), *hooked);
                    let namespace = &self.place.namespace;
                    let ways = &Way::ALL;
                    let filters =
                        Filters::choose(namespace, device.index, ways, &name, Role::Looks)?;
                    entry.protect(&undos_of(&filters, self.place.inode))?;
                    Some(filters)
                }
            };
            *hooked += 1;
            self.flows.attach(device.index, filters.as_ref().into())?;
            self.devices.insert(device.index, filters);
        }
        Ok(())
    }

    /// Those that have carried all they may; each once.
    fn cut(&mut self) -> Result<Vec<Hit>, ConnError> {
        let cut = self.flows.cut()?;
        let counted = &mut self.counted;
        Ok(cut.iter().filter_map(|flow| counted.remove(flow)).collect())
    }

    /// Breaks one no longer.
    fn let_go(&mut self, flow: &Flow) -> Result<(), ConnError> {
        self.counted.remove(flow);
        self.untold.remove(flow);
        Ok(self.flows.remove(&[*flow])?)
    }

    /// Makes those say something that are to be told.
    fn provoke(&mut self) -> Result<(), ConnError> {
        if self.untold.is_empty() {
            return Ok(());
        }
        let states = self.flows.states()?;
        for (flow, state) in states {
            if state.is_told() {
                self.untold.remove(&flow);
            }
        }
        let is_due = self.provoked_at.is_none_or(|at| at.elapsed() > ROUND);
        if is_due && self.round < ROUNDS_MAX && !self.untold.is_empty() {
            let untold: Vec<Flow> = self.untold.iter().copied().collect();
            self.flows.provoke_once(&untold, self.round)?;
            self.round += 1;
            self.provoked_at = Some(Instant::now());
        }
        Ok(())
    }

    fn leave(&mut self) -> Result<(), ConnError> {
        let paused = self.flows.pause();
        self.flows.leave();
        let removed = self.devices.values().flatten().map(Filters::remove);
        let removed = removed.fold(Ok(()), Result::and);
        paused?;
        removed.map_err(|error| ConnError::Traffic(error.into()))
    }
}

/// How many of those that are gone stay broken.
const GONE_MAX: usize = 10_000;

/// The places in a list of connections, by their namespaces.
fn by_place(turn: &[&Connection]) -> BTreeMap<u64, Vec<usize>> {
    let mut places: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for (at, connection) in turn.iter().enumerate() {
        places.entry(connection.place).or_default().push(at);
    }
    places
}

/// What became of connections, of which some were not there.
fn done_to(there: &[bool], done: Done) -> Vec<Done> {
    let of = |is_there: &bool| if *is_there { done } else { Done::Gone };
    there.iter().map(of).collect()
}

fn flow_of(connection: &Connection) -> Flow {
    let (local, remote) = connection.socket.id.ends();
    Flow::new(local, remote)
}
