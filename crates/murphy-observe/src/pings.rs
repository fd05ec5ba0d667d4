//! Pings of a peer, one after the other: which were answered, how soon, and how far those came that were not.

use std::{
    collections::{BTreeMap, VecDeque},
    net::IpAddr,
    time::Duration,
};

use serde::Serialize;

/// What came of a ping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Nothing yet.
    Waiting,
    /// An answer, after so long.
    Came(Duration),
    /// No answer in time: its value is not a number, which no ping at all has none of.
    Lost,
    /// This machine has not sent it: there is no way to the peer, or a firewall forbids it.
    Unsent,
}

/// One ping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ping {
    /// When it was sent, in nanoseconds since boot.
    pub at_ns: u64,
    /// What came of it.
    pub outcome: Outcome,
    /// How long it took until it was at the peer, where somebody listens there.
    pub arrived: Option<Duration>,
    number: u16,
    sent_ns: u64,
}

/// How many pings a peer was sent since it is pinged. None of these ever shrinks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PingCount {
    /// Those that were sent.
    pub sent: u64,
    /// Those that this machine has not sent.
    pub unsent: u64,
    /// Those that were not answered in time.
    pub lost: u64,
    /// Those of them that were answered later.
    pub late: u64,
}

/// The last pings of a peer.
#[derive(Clone, Debug, Default)]
pub struct Pings {
    all: VecDeque<Ping>,
    count: PingCount,
    /// Whether ever one was heard at the peer: somebody listens there.
    is_heard_there: bool,
    /// Whether ever an answer came: who never answers may not want to, and says nothing of the network.
    has_answered: bool,
    /// Whether they ask for connections, as nobody has answered echo requests.
    is_by_syn: bool,
    /// From which address they came there.
    from: Option<IpAddr>,
    /// Pings the other way, by their numbers: when they were sent, and whether they have come.
    returns: Vec<(u16, u64, bool)>,
}

/// Pings that are under way, by their numbers: whose they are.
#[derive(Debug, Default)]
pub struct UnderWay(BTreeMap<u16, (IpAddr, u64)>);

impl UnderWay {
    /// One was sent at a time in nanoseconds since boot. One of the same number that was never answered is forgotten.
    pub fn send(&mut self, number: u16, to: IpAddr, at_ns: u64) {
        self.0.insert(number, (to, at_ns));
    }

    /// Who was asked by this number, if he may still answer.
    pub fn of(&self, number: u16) -> Option<IpAddr> {
        self.0.get(&number).map(|(to, _)| *to)
    }

    /// Forgets those that were sent before a time.
    pub fn forget_before(&mut self, at_ns: u64) {
        self.0.retain(|_, (_, sent_ns)| *sent_ns >= at_ns);
    }
}

impl Pings {
    /// No more pings are kept.
    pub const MAX: usize = 600;
    /// What has waited for so long for its answer may well be lost, in nanoseconds.
    const DOUBTFUL_NS: u64 = 400_000_000;
    /// A ping the other way that has not come for so long is lost, in nanoseconds.
    const RETURN_NS: u64 = 700_000_000;
    /// So many of them are kept.
    const RETURNS_MAX: usize = 50;

    /// One was sent, or could not be. `at_ns` is in nanoseconds since boot, `sent_ns` by the clock that answers have.
    pub fn push(&mut self, number: u16, at_ns: u64, sent_ns: Option<u64>) {
        if self.all.len() >= Self::MAX {
            self.all.pop_front();
        }
        match sent_ns {
            Some(_) => self.count.sent += 1,
            None => self.count.unsent += 1,
        }
        self.all.push_back(Ping {
            at_ns,
            outcome: match sent_ns {
                Some(_) => Outcome::Waiting,
                None => Outcome::Unsent,
            },
            arrived: None,
            number,
            sent_ns: sent_ns.unwrap_or(0),
        });
    }

    fn waiting(&mut self, number: u16) -> Option<&mut Ping> {
        let mut latest = self.all.iter_mut().rev();
        latest.find(|ping| ping.number == number && ping.outcome != Outcome::Unsent)
    }

    /// One was answered, at a time by the clock that answers have. Who comes late was slow, and not lost; who comes twice
    /// came when he came first.
    pub fn answer(&mut self, number: u16, received_ns: u64) {
        let Some(ping) = self.waiting(number) else {
            return;
        };
        if ping.took().is_none() {
            let took = received_ns.saturating_sub(ping.sent_ns);
            let was =
                std::mem::replace(&mut ping.outcome, Outcome::Came(Duration::from_nanos(took)));
            self.has_answered = true;
            self.count.late += u64::from(was == Outcome::Lost);
        }
    }

    /// Whether they ask for connections, as nobody has answered echo requests.
    pub fn is_by_syn(&self) -> bool {
        self.is_by_syn
    }

    /// From now on they ask for connections. What was not answered before says nothing.
    pub fn set_by_syn(&mut self) {
        if !self.is_by_syn {
            self.is_by_syn = true;
            self.all.clear();
            // Whoever listens at the peer hears echo requests only.
            self.is_heard_there = false;
        }
    }

    /// From now on they ask for echoes again: the peer has answered one.
    pub fn set_by_echo(&mut self) {
        if self.is_by_syn {
            self.is_by_syn = false;
            self.all.clear();
        }
    }

    /// Whether it may be that nothing comes through: the last ones that could be answered were not.
    pub fn is_doubtful(&self, now_ns: u64) -> bool {
        let is_old = |ping: &&Ping| now_ns.saturating_sub(ping.at_ns) > Self::DOUBTFUL_NS;
        let mut old = self.all.iter().rev().filter(is_old);
        let (last, before) = (old.next(), old.next());
        let is_silent = |ping: Option<&Ping>| ping.is_some_and(|ping| ping.took().is_none());
        is_silent(last) && is_silent(before)
    }

    /// From which address they came to the peer.
    pub fn from(&self) -> Option<IpAddr> {
        self.from
    }

    /// One was sent the other way, at a time in nanoseconds since boot.
    pub fn send_back(&mut self, number: u16, at_ns: u64) {
        if self.returns.len() >= Self::RETURNS_MAX {
            self.returns.remove(0);
        }
        self.returns.push((number, at_ns, false));
    }

    /// One of those has come.
    pub fn come_back(&mut self, number: u16) {
        let mut latest = self.returns.iter_mut().rev();
        if let Some(one) = latest.find(|(sent, ..)| *sent == number) {
            one.2 = true;
        }
    }

    /// Nobody asks the other way any more.
    pub fn end_returns(&mut self) {
        self.returns.clear();
    }

    /// How many of those that were sent the other way have come, of how many of which that is known; none where none was
    /// sent.
    pub fn returns(&self, now_ns: u64) -> Option<(usize, usize)> {
        if self.returns.is_empty() {
            return None;
        }
        let came = self.returns.iter().filter(|one| one.2).count();
        let is_lost = |sent_ns: u64| now_ns.saturating_sub(sent_ns) > Self::RETURN_NS;
        let lost = self.returns.iter().filter(|one| !one.2 && is_lost(one.1));
        Some((came, came + lost.count()))
    }

    /// One has arrived at the peer, at a time by the clock that answers have.
    pub fn arrive(&mut self, number: u16, received_ns: u64, from: IpAddr) {
        self.from = Some(from);
        if let Some(ping) = self.waiting(number)
            && ping.arrived.is_none()
        {
            let took = received_ns.saturating_sub(ping.sent_ns);
            ping.arrived = Some(Duration::from_nanos(took));
            self.is_heard_there = true;
        }
    }

    /// Those that were sent before a time and are not answered are lost.
    pub fn give_up_before(&mut self, at_ns: u64) {
        for ping in self.all.iter_mut().filter(|ping| ping.at_ns < at_ns) {
            if ping.outcome == Outcome::Waiting {
                ping.outcome = Outcome::Lost;
                self.count.lost += 1;
            }
        }
    }

    /// How many there were.
    pub fn count(&self) -> PingCount {
        self.count
    }

    /// Whether ever an answer came.
    pub fn has_answered(&self) -> bool {
        self.has_answered
    }

    /// Whether somebody listens at the peer, and hears what arrives there.
    pub fn is_heard_there(&self) -> bool {
        self.is_heard_there
    }

    /// Those whose outcome is known, the latest first.
    pub fn latest(&self) -> impl Iterator<Item = &Ping> {
        let known = self.all.iter().rev();
        known.filter(|ping| ping.outcome != Outcome::Waiting)
    }

    /// Those of them that were sent after a time.
    pub fn since(&self, at_ns: u64) -> impl Iterator<Item = &Ping> {
        self.latest().take_while(move |ping| ping.at_ns > at_ns)
    }

    /// The last value of the metric: a time, or that it was lost. None where there is no ping.
    pub fn value(&self) -> Option<Outcome> {
        self.latest().next().map(|ping| ping.outcome)
    }
}

impl Ping {
    /// How long it took, if it was answered.
    pub fn took(&self) -> Option<Duration> {
        match self.outcome {
            Outcome::Came(took) => Some(took),
            _ => None,
        }
    }
}

/// A time in nanoseconds.
pub fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// A time in microseconds.
pub fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// How long those took that came, in microseconds, one after the other.
pub fn times_us<'a>(pings: impl IntoIterator<Item = &'a Ping>) -> Vec<u64> {
    let took = pings.into_iter().filter_map(Ping::took);
    took.map(micros).collect()
}

/// The time by which half of those took no longer that came, in microseconds.
pub fn median_us<'a>(pings: impl IntoIterator<Item = &'a Ping>) -> Option<u64> {
    let mut times = times_us(pings);
    times.sort_unstable();
    times.get(times.len().checked_sub(1)? / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_ping_comes_is_lost_or_is_not_sent_and_nothing_is_nothing() {
        let mut pings = Pings::default();
        assert_eq!((pings.value(), pings.has_answered()), (None, false));
        pings.push(1, 10 * MS, Some(1000 * MS));
        assert_eq!(pings.value(), None, "it is under way");
        pings.arrive(1, 1001 * MS, [10, 0, 0, 1].into());
        pings.answer(1, 1003 * MS);
        // Once more, by two ways at once.
        pings.answer(1, 1005 * MS);
        assert_eq!(pings.value(), Some(Outcome::Came(Duration::from_millis(3))));
        let ping = pings.latest().next().unwrap();
        assert_eq!(ping.arrived, Some(Duration::from_millis(1)));
        pings.push(2, 20 * MS, Some(2000 * MS));
        pings.give_up_before(20 * MS);
        assert_eq!(pings.latest().count(), 1);
        pings.give_up_before(21 * MS);
        assert_eq!(pings.value(), Some(Outcome::Lost));
        // Late.
        pings.answer(2, 3500 * MS);
        assert_eq!(
            pings.value(),
            Some(Outcome::Came(Duration::from_millis(1500)))
        );
        pings.push(3, 30 * MS, None);
        assert_eq!(pings.value(), Some(Outcome::Unsent));
        assert_eq!(pings.since(10 * MS).count(), 2);
        let count = PingCount {
            sent: 2,
            unsent: 1,
            lost: 1,
            late: 1,
        };
        assert_eq!(pings.count(), count);
    }

    #[test]
    fn nobody_hears_at_the_peer_who_asks_for_connections() {
        let mut pings = Pings::default();
        pings.push(1, 10 * MS, Some(10 * MS));
        pings.arrive(1, 11 * MS, [10, 0, 0, 1].into());
        assert!(pings.is_heard_there());
        pings.set_by_syn();
        assert!(!pings.is_heard_there());
        // Of those that were sent before nothing is known any more.
        pings.arrive(1, 12 * MS, [10, 0, 0, 1].into());
        assert!(!pings.is_heard_there());
    }

    #[test]
    fn the_median_is_of_those_that_came() {
        let mut pings = Pings::default();
        assert_eq!(median_us(pings.latest()), None);
        for (number, took_ms) in [(1, 5), (2, 9), (3, 1)] {
            pings.push(number, MS, Some(MS));
            pings.answer(number, MS + took_ms * MS);
        }
        pings.push(4, MS, None);
        assert_eq!(median_us(pings.latest()), Some(5000));
    }

    #[test]
    fn numbers_that_turn_over_mean_the_last_one() {
        let mut pings = Pings::default();
        pings.push(7, MS, Some(MS));
        pings.push(7, 2 * MS, Some(2 * MS));
        pings.answer(7, 3 * MS);
        let outcomes: Vec<_> = pings.latest().map(|ping| ping.at_ns).collect();
        assert_eq!(outcomes, [2 * MS]);
        let mut under_way = UnderWay::default();
        let [one, other] = [1, 2].map(|last| IpAddr::from([10, 0, 0, last]));
        under_way.send(7, one, 1);
        under_way.send(8, other, 2);
        assert_eq!(under_way.of(7), Some(one));
        under_way.forget_before(2);
        assert_eq!((under_way.of(7), under_way.of(8)), (None, Some(other)));
    }
}
