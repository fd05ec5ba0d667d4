//! The DNS of a target: whom it asks for names, or who asks it, and what came of that.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use murphy_fault::{
    conn::Side,
    net::{Neighbours, Place},
};
use murphy_sys::{
    clock::{boottime_ns, realtime_ns},
    dns_tap::{
        DnsTap, DnsTapError, Names, Resolution, Resolutions,
        sockets::{AtSocket, DnsSockets, is_connected},
    },
    namespace::NetNamespace,
    program_runs::ProgramRuns,
};

use crate::{
    edge::Edge,
    lookups::{Lookup, Lookups},
    pings::nanos,
};

/// An answer that takes longer is none: whoever asks has asked again, or goes without.
pub const WITHIN: Duration = Duration::from_millis(2500);
/// So many questions may wait for their answers at a time.
const WAITING_MAX: usize = 10_000;
/// Of so many addresses names are known.
const NAMES_MAX: usize = 10_000;
/// Servers, or who asks, beyond so many are not told apart: they are not looked at.
const EDGES_MAX: usize = 200;
/// What was asked longer ago is forgotten, in nanoseconds.
const REMEMBERED_NS: u64 = 120_000_000_000;
/// So long after the last sign of DNS it is listened, in nanoseconds: that costs each packet of the machine a tenth of a
/// microsecond or two, but the first question after a longer silence may be missed.
const LISTENED_NS: u64 = 600_000_000_000;
/// How often it is said whose messages are meant, and how often it is looked for sockets that were connected before, in
/// nanoseconds.
const NARROWED_NS: u64 = 1_000_000_000;
const LOOKED_NS: u64 = 10_000_000_000;

/// One namespace of a target's.
#[derive(Debug)]
struct Seat {
    container: Arc<str>,
    cookie: Option<u64>,
    namespace: NetNamespace,
    /// Here while it is listened.
    tap: Option<DnsTap>,
    /// What it asks for.
    asking: Resolutions,
    /// What it is asked for.
    asked: Resolutions,
    /// What was answered when nobody waited any more, with when: whoever asks several servers at once takes the first
    /// answer, and shuts his socket.
    unheard: BTreeMap<Query, u64>,
}

/// Who has asked whom for which name.
type Query = (SocketAddr, SocketAddr, String);

impl Seat {
    /// Hears, or why not; where its own sockets tell what it asks, no more than answers that come too late for those.
    fn listen(
        place: &NetNamespace,
        cookie: Option<u64>,
        says_namespace: bool,
    ) -> Result<DnsTap, DnsTapError> {
        if says_namespace && cookie.is_some() {
            DnsTap::listen_for_answers(place)
        } else {
            DnsTap::listen(place)
        }
    }

    /// Whether it may ask without that being seen at a call: who cannot be looked at may.
    fn may_be_connected(&self) -> bool {
        self.cookie.is_none() || is_connected(&self.namespace).unwrap_or(true)
    }

    fn edge(&self, side: Side, resolution: &Resolution) -> Edge {
        let peer = match side {
            Side::Opened => resolution.server.ip(),
            Side::Accepted => resolution.local.ip(),
        };
        Edge {
            container: Arc::clone(&self.container),
            side,
            peer: peer.to_canonical(),
            port: resolution.server.port(),
        }
    }
}

/// Hears the DNS of a target: at the sockets of whoever asks where the kernel lets it, else as packets pass. There it begins
/// with the first sign of DNS, a call or a socket.
#[derive(Debug)]
pub struct DnsEar {
    sockets: Option<DnsSockets>,
    /// How often it could not be told there whose messages are meant, or it could not be listened; and what taps have not heard
    /// that are not here any more.
    untold: u64,
    /// When there was the last sign of DNS; when it is to be said next whose messages are meant, and when it is to be looked
    /// for sockets. In nanoseconds since boot.
    sign_ns: Option<u64>,
    narrows_ns: u64,
    looks_ns: u64,
    /// Whether there are taps: where there are no sockets, always.
    listens: bool,
    seats: BTreeMap<u64, Seat>,
    names: Names,
    /// What came of it, by who has asked whom.
    lookups: BTreeMap<Edge, Lookups>,
}

impl DnsEar {
    /// Listens at sockets as soon as there is DNS; says why not, if it cannot.
    pub fn begin() -> (Self, Option<String>) {
        let (sockets, why_not) = match DnsSockets::stand_by() {
            Ok(sockets) => (Some(sockets), None),
            Err(error) => (
                None,
                Some(format!(
                    "{error}; how long DNS waits on the target's own devices is not seen without it"
                )),
            ),
        };
        let ear = Self {
            listens: sockets.is_none(),
            sockets,
            untold: 0,
            sign_ns: None,
            narrows_ns: 0,
            looks_ns: 0,
            seats: BTreeMap::new(),
            names: Names::new(NAMES_MAX),
            lookups: BTreeMap::new(),
        };
        (ear, why_not)
    }

    /// Listens in these places from now on, and no longer in others. Gives back why not where it cannot.
    pub fn sit<'a>(&mut self, places: impl Iterator<Item = &'a Place>) -> Vec<String> {
        let mut gone: Vec<u64> = self.seats.keys().copied().collect();
        let mut refused = Vec::new();
        for place in places {
            gone.retain(|inode| *inode != place.inode);
            if self.seats.contains_key(&place.inode) {
                continue;
            }
            let cookie = place.namespace.cookie().ok().and_then(Result::ok);
            let tap = Seat::listen(&place.namespace, cookie, self.says_namespace());
            match tap {
                Ok(tap) => {
                    let seat = Seat {
                        container: place.name.as_str().into(),
                        cookie,
                        namespace: place.namespace.clone(),
                        tap: self.listens.then_some(tap),
                        asking: Resolutions::new(WITHIN, WAITING_MAX),
                        asked: Resolutions::new(WITHIN, WAITING_MAX),
                        unheard: BTreeMap::new(),
                    };
                    self.seats.insert(place.inode, seat);
                    (self.narrows_ns, self.looks_ns) = (0, 0);
                }
                Err(error) => refused.push(error.to_string()),
            }
        }
        for inode in gone {
            self.seats.remove(&inode);
        }
        refused
    }

    /// Takes in what was said since it was asked last.
    pub fn hear(&mut self, neighbours: &Neighbours) {
        self.attend(neighbours);
        let mut ended: Vec<(Edge, Resolution)> = Vec::new();
        let heard_ns = boottime_ns();
        let at_sockets = self.sockets.as_mut().map(DnsSockets::hear);
        for heard in at_sockets.into_iter().flatten() {
            let AtSocket { dns, namespace } = heard;
            self.sign_ns = Some(heard_ns);
            let asker = match namespace {
                Some(cookie) => self.of_cookie(cookie),
                None => only_with(neighbours, dns.local.ip()),
            };
            if let Some(seat) = asker.and_then(|inode| self.seats.get_mut(&inode)) {
                self.names.learn(&dns);
                let resolution = seat.asking.hear(&dns);
                ended.extend(resolution.map(|one| (seat.edge(Side::Opened, &one), one)));
            }
            let server = only_with(neighbours, dns.server.ip());
            let server = server.filter(|inode| asker != Some(*inode));
            if let Some(seat) = server.and_then(|inode| self.seats.get_mut(&inode)) {
                let resolution = seat.asked.hear(&dns);
                ended.extend(resolution.map(|one| (seat.edge(Side::Accepted, &one), one)));
            }
        }
        let says_namespace = self.sockets.as_ref().map(DnsSockets::says_namespace);
        for (inode, seat) in &mut self.seats {
            let passed = seat.tap.as_mut().map(DnsTap::hear);
            for dns in passed.into_iter().flatten() {
                self.names.learn(&dns);
                let local = dns.local.ip();
                let is_told_at_socket = says_namespace.is_some_and(|says_namespace| {
                    let is_known = says_namespace && seat.cookie.is_some();
                    is_known || only_with(neighbours, local) == Some(*inode)
                });
                // What is only forwarded is somebody else's.
                if is_told_at_socket || !is_own(neighbours, *inode, local) {
                    if dns.message.is_answer && seat.unheard.len() < WAITING_MAX {
                        let query = (dns.local, dns.server, dns.message.name.clone());
                        seat.unheard.insert(query, dns.at_ns);
                    }
                    continue;
                }
                let resolution = seat.asking.hear(&dns);
                ended.extend(resolution.map(|one| (seat.edge(Side::Opened, &one), one)));
            }
            let now_ns = realtime_ns();
            for one in seat.asking.missing(now_ns) {
                let query = (one.local, one.server, one.name.clone());
                let answered_ns = seat.unheard.get(&query);
                if answered_ns.is_none_or(|at_ns| *at_ns < one.asked_at_ns) {
                    ended.push((seat.edge(Side::Opened, &one), one));
                }
            }
            let forgotten_ns = now_ns.saturating_sub(2 * nanos(WITHIN));
            seat.unheard.retain(|_, at_ns| *at_ns > forgotten_ns);
            for one in seat.asked.missing(now_ns) {
                ended.push((seat.edge(Side::Accepted, &one), one));
            }
        }
        for (edge, resolution) in ended {
            if self.lookups.len() < EDGES_MAX || self.lookups.contains_key(&edge) {
                let lookup = Lookup::of(&resolution, heard_ns);
                self.lookups.entry(edge).or_default().push(lookup);
            }
        }
        let earliest_ns = heard_ns.saturating_sub(REMEMBERED_NS);
        self.lookups
            .retain(|_, lookups| lookups.since(earliest_ns).next().is_some());
    }

    /// Listens at sockets while there is DNS that is meant.
    fn attend(&mut self, neighbours: &Neighbours) {
        let now_ns = boottime_ns();
        if now_ns >= self.narrows_ns {
            self.narrows_ns = now_ns + NARROWED_NS;
            self.narrow(neighbours);
        }
        if now_ns >= self.looks_ns {
            self.looks_ns = now_ns + LOOKED_NS;
            let mut seats = self.seats.values();
            if seats.any(Seat::may_be_connected) {
                self.sign_ns = Some(now_ns);
            }
        }
        let Some(sockets) = &self.sockets else {
            return;
        };
        let asked_ns = Some(sockets.last_asked_ns()).filter(|at_ns| *at_ns > 0);
        self.sign_ns = self.sign_ns.max(asked_ns);
        let is_lately = |at_ns| now_ns.saturating_sub(at_ns) < LISTENED_NS;
        let listens = self.sign_ns.is_some_and(is_lately);
        if self.listens != listens {
            self.listens = listens;
            self.listen();
        }
    }

    /// Listens from now on, or not any more.
    fn listen(&mut self) {
        let listens = self.listens;
        let says_namespace = self.says_namespace();
        for seat in self.seats.values_mut() {
            let heard = seat.tap.take();
            self.untold += heard.map_or(0, |tap| tap.dropped());
            if listens {
                let tap = Seat::listen(&seat.namespace, seat.cookie, says_namespace);
                self.untold += u64::from(tap.is_err());
                seat.tap = tap.ok();
            }
        }
        // What comes too late for a socket that was heard is known by then.
        let sockets = self.sockets.as_mut();
        let heard = sockets.map(|sockets| sockets.set_hearing(listens));
        if heard.is_some_and(|heard| heard.is_err()) {
            // It is tried again.
            self.untold += 1;
            self.listens = !listens;
        }
    }

    /// Whether it is known at sockets whose a message is.
    fn says_namespace(&self) -> bool {
        let sockets = self.sockets.as_ref();
        sockets.is_some_and(DnsSockets::says_namespace)
    }

    /// Says whose messages are meant: those of the target's namespaces, and to its addresses. What others say to each other
    /// takes no room then.
    fn narrow(&mut self, neighbours: &Neighbours) {
        let cookies = self.seats.values().filter_map(|seat| seat.cookie).collect();
        let seats = self.seats.keys().filter_map(|inode| neighbours.get(*inode));
        let addresses = seats.flat_map(|one| &one.addresses).copied();
        let addresses = addresses.filter(|address| !address.is_loopback()).collect();
        let sockets = self.sockets.as_mut();
        let told = sockets.map(|sockets| sockets.narrow(&cookies, &addresses));
        self.untold += u64::from(told.is_some_and(|told| told.is_err()));
    }

    /// The place of a cookie.
    fn of_cookie(&self, cookie: u64) -> Option<u64> {
        let mut seats = self.seats.iter();
        let found = seats.find(|(_, seat)| seat.cookie == Some(cookie));
        found.map(|(inode, _)| *inode)
    }

    /// What came of what was asked for, by who has asked whom.
    pub fn lookups(&self) -> &BTreeMap<Edge, Lookups> {
        &self.lookups
    }

    /// What an address is called, by what was asked for last.
    pub fn name(&self, address: IpAddr) -> Option<&str> {
        self.names.of(address).next()
    }

    /// How often the programs at sockets have run, and for how long.
    pub fn runs(&self) -> Vec<ProgramRuns> {
        let sockets = self.sockets.as_ref();
        sockets.map_or_else(Vec::new, DnsSockets::runs)
    }

    /// How many messages were not heard, because nobody had taken those before; and how often some may not have been.
    pub fn dropped(&self) -> u64 {
        let at_sockets = self.sockets.as_ref().map_or(0, DnsSockets::dropped);
        let taps = self.seats.values().flat_map(|seat| &seat.tap);
        let taps = taps.map(DnsTap::dropped);
        at_sockets + self.untold + taps.sum::<u64>()
    }
}

/// The namespace of this machine with an address, if only one has it.
fn only_with(neighbours: &Neighbours, address: IpAddr) -> Option<u64> {
    let address = address.to_canonical();
    if address.is_loopback() {
        return None;
    }
    let mut all = neighbours.iter();
    let mut with = all
        .by_ref()
        .filter(|(_, one)| one.addresses.contains(&address));
    let (inode, _) = with.next()?;
    with.next().is_none().then_some(inode)
}

/// Whether an address is a namespace's own; where its addresses are not known, it is taken for one.
fn is_own(neighbours: &Neighbours, inode: u64, address: IpAddr) -> bool {
    let address = address.to_canonical();
    let known = neighbours.get(inode);
    address.is_loopback() || known.is_none_or(|one| one.addresses.contains(&address))
}
