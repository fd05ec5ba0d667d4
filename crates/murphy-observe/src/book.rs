//! The book has for each edge what has happened there: by what the kernel tells of its connections, and by what these say
//! when they are looked at.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use murphy_fault::conn::{Connection, Side};
use murphy_sys::{
    connections::{SocketId, State},
    conntrack::Ends,
    tcp_events::{Figures, Kind, TcpEvent},
};

use crate::{
    edge::Edge,
    slice::{Rtt, Slice},
    tally::{Tally, grown},
    translations::Made,
};

/// Errors of connections, as errno(3) numbers them.
const UNREACHABLE: [u32; 2] = [101, 113];
const TIMED_OUT: u32 = 110;
const REFUSED: u32 = 111;
/// A request for a connection that is not answered for so long is one to wait for.
const ASKING_NS: u64 = 1_000_000_000;
/// So often in a row the timer of retransmits runs out until nothing is believed to pass a connection any more.
const STALLED_TIMEOUTS: u8 = 2;
/// After so long without anything passing, what was sent again meanwhile is no loss among other packets.
const STALLED_LONG_NS: u64 = 2_500_000_000;
/// When something passes again after that, what was sent meanwhile is sent again for so long.
const MENDING_NS: u64 = 2_000_000_000;
/// An established connection that so many looks in a row do not find is gone, though the kernel has not said so.
const MISSED_LOOKS: u32 = 2;
/// One that is not established is not looked at; so long none is, but somebody would have said so.
const UNHEARD_NS: u64 = 150_000_000_000;
/// An edge on which nothing has happened for so long, and that nobody has a socket of, is forgotten.
const IDLE_NS: u64 = 120_000_000_000;
/// Of no more round-trip times within a slice the median is taken.
const RTTS_MAX: usize = 1000;
/// Of no more connections of an edge that were just made it is said which.
const MADE_MAX: usize = 4;
/// Of no more connections that have just closed it is remembered whose they were.
const CLOSED_MAX: usize = 10_000;
/// No more sockets are followed: each takes some hundred bytes.
const SOCKETS_MAX: usize = 250_000;

/// Whose a connection is.
pub trait Whose {
    /// Who is observed in a network namespace, if the connection is his.
    fn container(&self, namespace: u64, id: &SocketId, pid: Option<u32>) -> Option<Arc<str>>;
    /// Who has asked for a connection, where nobody has seen that: somebody listens on the port here, or does not.
    fn side(&self, namespace: u64, id: &SocketId) -> Side;
}

/// What has happened on each edge.
#[derive(Debug)]
pub struct Book {
    edges: BTreeMap<Arc<Edge>, Account>,
    sockets: HashMap<u64, Track>,
    /// Established connections that were closed since the last look, whose resets have not counted: whoever closes one
    /// with unread data sends the reset only then.
    closed: HashMap<u64, Arc<Edge>>,
    edges_max: usize,
    looks: u32,
    looked_ns: u64,
    sockets_max: usize,
    /// How often a socket was not followed, since there were too many.
    left_out: u64,
    /// Whether the kernel tells of connections; otherwise they are only looked at.
    is_told: bool,
}

/// One edge.
#[derive(Debug, Default)]
struct Account {
    total: Tally,
    /// What the total was when it was last sliced.
    sliced: Tally,
    /// When something has happened last, or a socket was there.
    busy_ns: u64,
    rtts_us: Vec<u32>,
    stalled: u32,
    /// Some that it has opened since that was asked last.
    made: Vec<Made>,
}

/// One socket.
#[derive(Debug)]
struct Track {
    edge: Arc<Edge>,
    since_ns: u64,
    /// When it was last heard of.
    heard_ns: u64,
    /// Whether it ever came to be.
    is_made: bool,
    /// Whether both ends may send.
    is_established: bool,
    /// Whether a reset of it has counted.
    is_reset: bool,
    carried: Carried,
    /// How many segments it has sent again, as far as that was told of, or is known not to have been.
    told_again: u32,
    /// Segments that were sent again, after which nothing has passed yet.
    unconfirmed: u32,
    /// Since when nothing passes it, as looks have it; 0 where something does.
    stalled_ns: u64,
    /// Until when what did not pass it for long is sent again.
    mending_ns: u64,
    /// The look that has seen it last; they turn over.
    look: u32,
}

/// What of the figures of a socket is compared with later ones: there are many sockets.
#[derive(Clone, Copy, Debug, Default)]
struct Carried {
    bytes_acked: u64,
    bytes_received: u64,
    bytes_out: u64,
    bytes_resent: u64,
    data_segments_out: u32,
    data_segments_in: u32,
    retransmitted: u32,
    delivered: u32,
    duplicated: u32,
    out_of_order: u32,
}

impl From<Figures> for Carried {
    fn from(all: Figures) -> Self {
        Self {
            bytes_acked: all.bytes_acked,
            bytes_received: all.bytes_received,
            bytes_out: all.bytes_out,
            bytes_resent: all.bytes_resent,
            data_segments_out: all.data_segments_out,
            data_segments_in: all.data_segments_in,
            retransmitted: all.retransmitted,
            delivered: all.delivered,
            duplicated: all.duplicated,
            out_of_order: all.out_of_order,
        }
    }
}

impl From<Carried> for Figures {
    fn from(some: Carried) -> Self {
        Self {
            bytes_acked: some.bytes_acked,
            bytes_received: some.bytes_received,
            bytes_out: some.bytes_out,
            bytes_resent: some.bytes_resent,
            data_segments_out: some.data_segments_out,
            data_segments_in: some.data_segments_in,
            retransmitted: some.retransmitted,
            delivered: some.delivered,
            duplicated: some.duplicated,
            out_of_order: some.out_of_order,
            ..Self::default()
        }
    }
}

impl Track {
    /// What it has sent again that may be a loss among other packets: where nothing passed for long it was none.
    fn unconfirmed(&self, at_ns: u64) -> u64 {
        if self.is_mending(at_ns) {
            0
        } else {
            self.unconfirmed.into()
        }
    }

    /// Whether what it sends again did not pass because nothing did.
    fn is_mending(&self, at_ns: u64) -> bool {
        let is_long = at_ns.saturating_sub(self.stalled_ns) > STALLED_LONG_NS;
        (self.stalled_ns > 0 && is_long) || at_ns < self.mending_ns
    }
}

impl Account {
    /// Takes in that a connection was made there: from which address to which.
    fn make(&mut self, edge: &Edge, namespace: u64, (from, to): (SocketAddr, SocketAddr)) {
        // What is beyond the most edges is dialled at many addresses.
        let is_one = edge.side == Side::Opened && !edge.peer.is_unspecified();
        if is_one && self.made.len() < MADE_MAX {
            self.made.push(Made {
                namespace,
                ends: Ends::new(from, to),
            });
        }
    }

    /// Adds what a socket has carried between two looks; `unconfirmed` it had sent again before, after which nothing had
    /// passed, and gives back what of that is still so.
    fn carry(
        &mut self,
        before: &Figures,
        now: &Figures,
        unconfirmed: u64,
        is_mending: bool,
    ) -> u64 {
        let (duplicated, out_of_order) = (self.total.duplicated, self.total.out_of_order);
        let again = self.total.carry(before, now);
        if is_mending {
            (self.total.duplicated, self.total.out_of_order) = (duplicated, out_of_order);
            return 0;
        }
        // What passed between the looks may have passed before what was sent again between them.
        if now.delivered == before.delivered {
            return unconfirmed + again;
        }
        self.total.resent += unconfirmed;
        again
    }
}

/// What is known of a socket by two sources, of which either may be the later one: what has grown further is later.
fn latest(known: &Figures, said: &Figures) -> Figures {
    let later = |known: u32, said: u32| known.wrapping_add(grown(said, known));
    Figures {
        bytes_acked: known.bytes_acked.max(said.bytes_acked),
        bytes_received: known.bytes_received.max(said.bytes_received),
        bytes_out: known.bytes_out.max(said.bytes_out),
        bytes_resent: known.bytes_resent.max(said.bytes_resent),
        data_segments_out: later(known.data_segments_out, said.data_segments_out),
        data_segments_in: later(known.data_segments_in, said.data_segments_in),
        retransmitted: later(known.retransmitted, said.retransmitted),
        delivered: later(known.delivered, said.delivered),
        duplicated: later(known.duplicated, said.duplicated),
        out_of_order: later(known.out_of_order, said.out_of_order),
        ..*said
    }
}

impl Book {
    /// An empty one, of at most so many edges; what is beyond goes to one other edge of its target.
    pub fn new(edges_max: usize, is_told: bool) -> Self {
        Self {
            edges: BTreeMap::new(),
            sockets: HashMap::new(),
            closed: HashMap::new(),
            edges_max,
            looks: 0,
            looked_ns: 0,
            sockets_max: SOCKETS_MAX,
            left_out: 0,
            is_told,
        }
    }

    /// Each edge with all that has happened there, but for those on which nothing has happened for minutes.
    pub fn edges(&self) -> impl Iterator<Item = (&Edge, &Tally)> {
        self.edges
            .iter()
            .map(|(edge, account)| (&**edge, &account.total))
    }

    /// How often something of a socket was not taken in, since there were too many.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Whether one more socket can be followed; that it cannot is counted.
    fn has_room(&mut self) -> bool {
        let has_room = self.sockets.len() < self.sockets_max;
        self.left_out += u64::from(!has_room);
        has_room
    }

    /// The edge itself, or that of all others where there are too many.
    fn fit(&self, edge: Edge) -> Arc<Edge> {
        let known = |edge: &Edge| {
            self.edges
                .get_key_value(edge)
                .map(|(known, _)| Arc::clone(known))
        };
        if let Some(known) = known(&edge) {
            return known;
        }
        if self.edges.len() < self.edges_max {
            return Arc::new(edge);
        }
        let other = Edge {
            peer: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            port: 0,
            ..edge
        };
        known(&other).unwrap_or_else(|| Arc::new(other))
    }

    /// Whether an edge is there.
    pub fn has(&self, edge: &Edge) -> bool {
        self.edges.contains_key(edge)
    }

    /// Some of the connections that were opened since this was asked last, of each edge.
    pub fn take_made(&mut self) -> impl Iterator<Item = (Edge, Vec<Made>)> + use<'_> {
        let made = self.edges.iter_mut();
        let made = made.filter(|(_, account)| !account.made.is_empty());
        made.map(|(edge, account)| (Edge::clone(edge), std::mem::take(&mut account.made)))
    }

    fn account(&mut self, edge: &Arc<Edge>) -> &mut Account {
        self.edges.entry(Arc::clone(edge)).or_default()
    }

    /// Takes in what the kernel tells.
    pub fn tell(&mut self, event: &TcpEvent, whose: &impl Whose) {
        let id = SocketId {
            local: event.local,
            remote: event.remote,
            device: 0,
            cookie: event.cookie,
        };
        let asked = |state: State| state == State::SynSent;
        let answered = |state: State| state == State::SynRecv;
        let side = match event.kind {
            // Who begins or ceases to listen has no peer.
            Kind::State { from, to } if [from, to].contains(&State::Listen) => return,
            Kind::State { from, to } if asked(from) || asked(to) => Side::Opened,
            Kind::Retransmitted { state, .. } if asked(state) => Side::Opened,
            Kind::State { from, .. } if answered(from) => Side::Accepted,
            Kind::Retransmitted { state, .. } if answered(state) => Side::Accepted,
            Kind::ResetSent {
                is_refusal: true, ..
            } => Side::Accepted,
            _ => whose.side(event.namespace, &id),
        };
        let known = self.sockets.get(&event.cookie).map(|track| &track.edge);
        let known = known.or_else(|| self.closed.get(&event.cookie));
        let edge = if let Some(edge) = known.filter(|_| event.cookie != 0) {
            Arc::clone(edge)
        } else {
            let pid = event.figures.and_then(|figures| figures.pid);
            let Some(container) = whose.container(event.namespace, &id, pid) else {
                return;
            };
            self.fit(Edge::of(&container, side, &id))
        };
        self.tell_untold(event);
        match event.kind {
            Kind::State { from, to } => self.change(edge, event, from, to),
            Kind::ResetSent {
                is_refusal: true, ..
            } => self.account(&edge).total.refusals_sent += 1,
            Kind::ResetSent { .. } => {
                if self.is_first_reset(event.cookie) {
                    self.account(&edge).total.resets_sent += 1;
                }
            }
            Kind::ResetReceived => {
                if self.is_first_reset(event.cookie) {
                    self.account(&edge).total.resets_received += 1;
                }
            }
            Kind::Retransmitted {
                segments,
                state,
                is_probe,
                is_sent,
            } => {
                let total = &mut self.account(&edge).total;
                let of = match (is_sent, state) {
                    (false, _) => &mut total.unsent,
                    (_, State::SynSent) => &mut total.syn_retransmits,
                    (_, State::SynRecv) => &mut total.synack_retransmits,
                    _ if is_probe => &mut total.probes,
                    _ => &mut total.retransmits,
                };
                *of += u64::from(segments);
            }
        }
    }

    /// Takes in what a connection has sent again before an event, and nobody has told of.
    fn tell_untold(&mut self, event: &TcpEvent) {
        let track = self.sockets.get_mut(&event.cookie);
        if let (Some(track), Some(figures)) = (track, event.figures) {
            let before = event.retransmitted_before().unwrap_or_default();
            let untold = grown(before, track.told_again);
            track.told_again = figures.retransmitted;
            if untold > 0 {
                let edge = Arc::clone(&track.edge);
                self.account(&edge).total.untold += u64::from(untold);
            }
        }
    }

    /// Whether a reset of a connection is the first. One that is only asked for is refused, and not reset; and of one that
    /// an end has closed nobody misses anything.
    fn is_first_reset(&mut self, cookie: u64) -> bool {
        if self.closed.remove(&cookie).is_some() {
            return true;
        }
        let track = self.sockets.get_mut(&cookie);
        track.is_some_and(|track| {
            track.is_established && !std::mem::replace(&mut track.is_reset, true)
        })
    }

    fn change(&mut self, edge: Arc<Edge>, event: &TcpEvent, from: State, to: State) {
        let said = event.figures.unwrap_or_default();
        let known = self.sockets.remove(&event.cookie);
        let since_ns = known.as_ref().map_or(event.at_ns, |track| track.since_ns);
        // What is not known from its beginning counts from now on.
        let is_beginning = matches!(from, State::Close | State::SynSent | State::SynRecv);
        let was_made = known
            .as_ref()
            .map_or(from == State::Established, |track| track.is_made);
        let before = match &known {
            Some(track) => track.carried.into(),
            None if is_beginning => Figures::default(),
            None => said,
        };
        let figures = latest(&before, &said);
        let (is_reset, unconfirmed) = known.as_ref().map_or((false, 0), |track| {
            (track.is_reset, track.unconfirmed(event.at_ns))
        });
        let is_mending = known
            .as_ref()
            .is_some_and(|track| track.is_mending(event.at_ns));
        let account = self.account(&edge);
        let unconfirmed = account.carry(&before, &figures, unconfirmed, is_mending);
        let total = &mut account.total;
        if to == State::Close && said.error.is_none() && said.unacknowledged == 0 {
            // All that it has sent has come.
            total.resent += unconfirmed;
        }
        match (from, to) {
            (State::SynSent, State::Established) => {
                total.connected += 1;
                total.connecting_us += event.at_ns.saturating_sub(since_ns) / 1000;
                account.make(&edge, event.namespace, (event.local, event.remote));
            }
            (State::SynRecv, State::Established) => total.accepted += 1,
            (State::SynSent, State::Close) => match said.error {
                Some(REFUSED) => total.refused += 1,
                Some(TIMED_OUT) => total.timed_out += 1,
                Some(error) if UNREACHABLE.contains(&error) => total.unreachable += 1,
                _ => total.given_up += 1,
            },
            (_, State::Close) if was_made => {
                total.closed += 1;
                total.broken += u64::from(said.error == Some(TIMED_OUT));
            }
            _ => {}
        }
        if to != State::Close {
            let track = Track {
                edge,
                since_ns,
                heard_ns: event.at_ns,
                is_made: was_made || to == State::Established,
                is_established: to == State::Established,
                is_reset,
                carried: figures.into(),
                told_again: said.retransmitted,
                unconfirmed: u32::try_from(unconfirmed).unwrap_or(u32::MAX),
                mending_ns: known.as_ref().map_or(0, |track| track.mending_ns),
                stalled_ns: known.map_or(0, |track| track.stalled_ns),
                look: self.looks,
            };
            if self.has_room() {
                self.sockets.insert(event.cookie, track);
            }
        } else if from == State::Established && !is_reset && self.closed.len() < CLOSED_MAX {
            self.closed.insert(event.cookie, edge);
        }
    }

    /// Takes in the connections that are there now, each with who it belongs to.
    pub fn look(&mut self, at_ns: u64, there: &[(Arc<str>, Connection)]) {
        self.begin_look(at_ns);
        for (container, connection) in there {
            self.see(container, connection);
        }
        self.end_look();
    }

    /// Begins to look: each connection that is [seen](Self::see) from now on is there.
    pub fn begin_look(&mut self, at_ns: u64) {
        self.looks = self.looks.wrapping_add(1);
        self.looked_ns = at_ns;
        self.closed.clear();
        for account in self.edges.values_mut() {
            account.stalled = 0;
        }
    }

    /// Takes in a connection that is there, and who it belongs to. One that was seen in this look counts no more.
    pub fn see(&mut self, container: &Arc<str>, connection: &Connection) {
        let (id, at_ns) = (&connection.socket.id, self.looked_ns);
        let Some(activity) = &connection.socket.activity else {
            return;
        };
        let is_made = connection.socket.state != State::SynSent;
        let known = self.sockets.get(&id.cookie);
        if known.is_some_and(|track| track.look == self.looks) {
            return;
        }
        if known.is_none() && !self.has_room() {
            return;
        }
        let known = self.sockets.remove(&id.cookie);
        let was_made = known.as_ref().is_some_and(|track| track.is_made);
        let is_new = known.is_none() && !self.is_told && self.looks > 1;
        let mut track = known.unwrap_or_else(|| Track {
            edge: self.fit(Edge::of(container, connection.side, id)),
            since_ns: at_ns,
            heard_ns: at_ns,
            is_made,
            is_established: false,
            is_reset: false,
            carried: if is_new {
                // It has come since the last look.
                Carried::default()
            } else {
                activity.figures.into()
            },
            told_again: activity.figures.retransmitted,
            unconfirmed: 0,
            stalled_ns: 0,
            mending_ns: 0,
            look: 0,
        });
        let before = track.carried.into();
        let figures = latest(&before, &activity.figures);
        let side = track.edge.side;
        let is_told = self.is_told;
        let account = self.account(&track.edge);
        if is_told {
            // Of what it had sent again at the last look was told by now.
            let untold = grown(before.retransmitted, track.told_again);
            account.total.untold += u64::from(untold);
            track.told_again = track.told_again.wrapping_add(untold);
        }
        if is_new && is_made {
            match side {
                Side::Opened => account.total.connected += 1,
                Side::Accepted => account.total.accepted += 1,
            }
        }
        if is_made && !was_made {
            account.make(&track.edge, connection.place, (id.local, id.remote));
        }
        let (unconfirmed, is_mending) = (track.unconfirmed(at_ns), track.is_mending(at_ns));
        let unconfirmed = account.carry(&before, &figures, unconfirmed, is_mending);
        track.unconfirmed = u32::try_from(unconfirmed).unwrap_or(u32::MAX);
        let has_passed = figures.delivered != before.delivered;
        if figures.rtt_us > 0 && has_passed && account.rtts_us.len() < RTTS_MAX {
            account.rtts_us.push(figures.rtt_us);
        }
        // The same timer asks whether a window has opened again, while nothing is under way.
        let is_stalled = activity.timeouts >= STALLED_TIMEOUTS && figures.unacknowledged > 0;
        account.stalled += u32::from(is_stalled);
        if is_mending && !is_stalled && track.stalled_ns > 0 {
            track.mending_ns = at_ns + MENDING_NS;
        }
        track.stalled_ns = match (is_stalled, track.stalled_ns) {
            (false, _) => 0,
            (true, 0) => at_ns,
            (true, since_ns) => since_ns,
        };
        track.carried = figures.into();
        track.heard_ns = at_ns;
        track.is_made |= is_made;
        track.is_established = connection.socket.state == State::Established;
        track.look = self.looks;
        self.sockets.insert(id.cookie, track);
    }

    /// Ends a look: what was not seen for some of them is not there any more.
    pub fn end_look(&mut self) {
        self.forget_gone(self.looked_ns);
    }

    /// Forgets those that are not found any more: the kernel was not heard, or had not said so.
    fn forget_gone(&mut self, at_ns: u64) {
        let (looks, is_told) = (self.looks, self.is_told);
        let is_gone = |track: &Track| {
            if is_told && !track.is_established {
                at_ns.saturating_sub(track.heard_ns) > UNHEARD_NS
            } else {
                looks.wrapping_sub(track.look) > MISSED_LOOKS
            }
        };
        let gone = self.sockets.extract_if(|_, track| is_gone(track));
        let gone: Vec<Track> = gone.map(|(_, track)| track).collect();
        for track in gone {
            let closed = u64::from(track.is_made);
            self.account(&track.edge).total.closed += closed;
        }
    }

    /// What has happened on each edge since this was asked last.
    pub fn slice(&mut self, at_ns: u64) -> BTreeMap<Edge, Slice> {
        let mut counted: BTreeMap<&Arc<Edge>, (u32, u32)> = BTreeMap::new();
        for track in self.sockets.values() {
            let (active, asking) = counted.entry(&track.edge).or_default();
            *active += u32::from(track.is_established);
            let is_old = at_ns.saturating_sub(track.since_ns) > ASKING_NS;
            *asking += u32::from(!track.is_made && is_old);
        }
        let looked_ns = self.looked_ns;
        let slices = self.edges.iter_mut().map(|(edge, account)| {
            let tally = account.total - account.sliced;
            account.sliced = account.total;
            let (active, asking) = counted.get(edge).copied().unwrap_or_default();
            if tally != Tally::default() || counted.contains_key(edge) || account.busy_ns == 0 {
                account.busy_ns = at_ns;
            }
            let slice = Slice {
                at_ns,
                looked_ns,
                tally,
                rtt: Rtt::of(std::mem::take(&mut account.rtts_us)),
                active,
                asking,
                stalled: account.stalled,
            };
            (Edge::clone(edge), slice)
        });
        let slices = slices.collect();
        self.edges
            .retain(|_, account| at_ns.saturating_sub(account.busy_ns) < IDLE_NS);
        slices
    }
}

#[cfg(test)]
mod tests;
