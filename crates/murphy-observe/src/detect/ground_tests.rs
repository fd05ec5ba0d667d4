//! Scenes are namespaces and edges over time, on which the detectors of what belongs to a whole target are tried.

use std::{collections::BTreeSet, net::IpAddr};

use murphy_fault::conn::Side;
use murphy_sys::drops::{DropReason, Meaning};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::{
    finding::{Direction, Size},
    ground::{Counted, Ground, Lump, Moment, WrongClock},
    slice::Slice,
    tally::Tally,
};

const HALF_NS: u64 = SECOND_NS / 2;
const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));
const STRANGER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 9));

/// A namespace over time.
struct Field {
    ground: Ground,
    now_ns: u64,
}

impl Field {
    fn new() -> Self {
        Self {
            ground: Ground::default(),
            now_ns: 1000 * SECOND_NS,
        }
    }

    /// So many halves of a second in which this happens.
    fn passes(&mut self, halves: usize, mut moment: impl FnMut(usize) -> Moment) {
        for half in 0..halves {
            self.now_ns += HALF_NS;
            self.ground.push(Moment {
                at_ns: self.now_ns,
                ..moment(half)
            });
        }
    }

    fn claims(&self, troubles: &[Kind], clocks: &[WrongClock]) -> Vec<Claim> {
        detect_ground(&GroundSight {
            ground: &self.ground,
            troubles,
            peers: &BTreeSet::from([PEER]),
            clocks,
            now_ns: self.now_ns,
        })
    }

    fn kinds(&self) -> Vec<(Kind, Direction)> {
        self.kinds_beside(&[])
    }

    fn kinds_beside(&self, troubles: &[Kind]) -> Vec<(Kind, Direction)> {
        let claims = self.claims(troubles, &[]);
        let both = claims.iter().map(|claim| (claim.kind, claim.direction));
        both.collect()
    }
}

/// Traffic on which nothing is wrong.
fn healthy() -> Moment {
    Moment {
        counted: Counted {
            received: 1000,
            segments_received: 1000,
            segments_sent: 1000,
            ..Counted::default()
        },
        ..Moment::default()
    }
}

fn with(change: impl Fn(&mut Counted)) -> Moment {
    let mut moment = healthy();
    change(&mut moment.counted);
    moment
}

fn dropping(peer: IpAddr, packets: u64, meaning: Meaning) -> Moment {
    // Its number does not matter here; a kernel without reasons has none to test with.
    let reason = DropReason::named("NETFILTER_DROP").or(DropReason::named("NOT_SPECIFIED"));
    let lump = reason.map(|reason| Lump {
        reason,
        meaning,
        peer: Some(peer),
        is_received: true,
        packets,
    });
    Moment {
        dropped: lump.into_iter().collect(),
        ..healthy()
    }
}

#[test]
fn on_healthy_ground_nothing_is_claimed() {
    let mut field = Field::new();
    assert_eq!(field.kinds(), []);
    field.passes(200, |_| healthy());
    assert_eq!(field.kinds(), []);
    let mut idle = Field::new();
    idle.passes(200, |_| Moment::default());
    assert_eq!(idle.kinds(), []);
}

/// What happens now and then on any network: a packet damaged, a segment sent again too early, one overtaken, a scan.
#[test]
fn ordinary_background_is_no_finding() {
    for seed in 0..10 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut field = Field::new();
        let mut found = Vec::new();
        for half in 0..400 {
            field.passes(1, |_| {
                let mut happens = |chance: f64| u64::from(rng.random::<f64>() < chance);
                let mut moment = dropping(STRANGER, 3 * happens(0.5), Meaning::Fault);
                let scan = dropping(PEER, happens(0.1), Meaning::Fault);
                moment.dropped.extend(scan.dropped);
                let ordinary = dropping(PEER, 40 * happens(0.5), Meaning::Ordinary);
                moment.dropped.extend(ordinary.dropped);
                moment.counted.damaged = u64::from(half % 60 == 0);
                moment.counted.came_twice = 2 * happens(0.1);
                moment.counted.overtaken = happens(0.2);
                moment
            });
            found.extend(field.kinds());
        }
        assert_eq!(found, [], "seed {seed}");
    }
}

#[test]
fn a_few_damaged_packets_are_found_with_their_share() {
    let mut field = Field::new();
    field.passes(40, |_| healthy());
    field.passes(4, |_| with(|counted| counted.damaged = 50));
    assert_eq!(field.kinds(), [(Kind::Corruption, Direction::From)]);
    let Size::Share { interval, .. } = field.claims(&[], &[])[0].size else {
        panic!("no share");
    };
    assert!(interval[0] < 0.05 && 0.05 < interval[1], "{interval:?}");
    // It is over soon after.
    field.passes(7, |_| healthy());
    assert_eq!(field.kinds(), []);
    // Three are no chance any more, whatever was before, and on a line that is otherwise quiet.
    let mut quiet = Field::new();
    quiet.passes(3, |_| with(|counted| counted.damaged = 1));
    assert_eq!(quiet.kinds(), [(Kind::Corruption, Direction::From)]);
}

#[test]
fn segments_that_come_twice_tell_nothing_while_something_else_is_wrong() {
    let mut field = Field::new();
    field.passes(40, |_| healthy());
    field.passes(4, |_| with(|counted| counted.came_twice = 100));
    assert_eq!(field.kinds(), [], "a burst");
    field.passes(5, |_| with(|counted| counted.came_twice = 100));
    assert_eq!(field.kinds(), [(Kind::Duplication, Direction::From)]);
    for kind in [Kind::Loss, Kind::Latency, Kind::Jitter] {
        assert_eq!(field.kinds_beside(&[kind]), [], "{kind:?}");
    }
    let mut lossy = Field::new();
    lossy.passes(40, |_| healthy());
    let both = |counted: &mut Counted| (counted.came_twice, counted.resent) = (100, 50);
    lossy.passes(20, |_| with(both));
    assert_eq!(lossy.kinds(), [], "what acknowledges is lost, too");
    let both = |counted: &mut Counted| (counted.came_twice, counted.damaged) = (100, 20);
    field.passes(1, |_| with(both));
    field.passes(1, |_| with(both));
    assert_eq!(field.kinds(), [(Kind::Corruption, Direction::From)]);
}

#[test]
fn what_is_overtaken_more_often_than_before_is_found() {
    let mut field = Field::new();
    field.passes(80, |_| with(|counted| counted.overtaken = 20));
    assert_eq!(field.kinds(), [], "so it is on this way");
    field.passes(4, |_| with(|counted| counted.overtaken = 80));
    assert_eq!(field.kinds(), [(Kind::Reordering, Direction::To)]);
}

#[test]
fn a_listener_without_room_is_found() {
    let mut field = Field::new();
    field.passes(10, |_| healthy());
    field.passes(1, |_| with(|counted| counted.overflows = 2));
    assert_eq!(field.kinds(), []);
    field.passes(1, |_| with(|counted| counted.overflows = 1));
    assert_eq!(field.kinds(), [(Kind::ListenOverflow, Direction::From)]);
}

#[test]
fn dropped_packets_of_a_peer_are_found_where_nothing_else_tells_of_them() {
    if DropReason::named("NETFILTER_DROP").is_none() {
        return;
    }
    for (peer, meaning, is_found) in [
        (PEER, Meaning::Fault, true),
        (STRANGER, Meaning::Fault, false),
        (PEER, Meaning::Ordinary, false),
        (PEER, Meaning::Nobody, false),
        (PEER, Meaning::Unknown, false),
    ] {
        let mut field = Field::new();
        field.passes(40, |_| healthy());
        field.passes(4, |_| dropping(peer, 10, meaning));
        assert_eq!(field.kinds(), [], "what follows is waited for");
        field.passes(5, |_| dropping(peer, 10, meaning));
        let found = field.kinds() == [(Kind::Drops, Direction::From)];
        assert_eq!(found, is_found, "{peer} {meaning:?}");
        assert_eq!(field.kinds_beside(&[Kind::Loss]), []);
    }
    let mut usual = Field::new();
    usual.passes(100, |_| dropping(PEER, 10, Meaning::Fault));
    assert_eq!(usual.kinds(), [], "so it is here");
}

#[test]
fn clocks_that_are_wrong_are_found_with_whose_they_are() {
    let field = Field::new();
    let wrong = |off_ns, pid| WrongClock {
        off_ns,
        since_ns: 999 * SECOND_NS,
        clock: "CLOCK_REALTIME".into(),
        pid,
    };
    let clocks = [wrong(-3_000_000_000, None), wrong(200_000_000, Some(7))];
    let claims = field.claims(&[], &clocks);
    assert_eq!(claims.len(), 1);
    assert_eq!(claims[0].kind, Kind::ClockJump);
    let size = Size::Time {
        us: 3_000_000,
        before_us: None,
    };
    assert_eq!(claims[0].size, size);
    assert!(claims[0].evidence[0].contains("3.0 s behind"));
    assert!(claims[0].evidence[1].ends_with("0.2 s ahead of the machine's for process 7"));
}

/// An edge over time, without pings.
struct Street {
    history: History,
    now_ns: u64,
}

impl Street {
    fn new() -> Self {
        Self {
            history: History::default(),
            now_ns: 1000 * SECOND_NS,
        }
    }

    fn passes(&mut self, halves: usize, mut tally: impl FnMut(usize) -> Tally) {
        for half in 0..halves {
            self.now_ns += HALF_NS;
            self.history.push(Slice {
                at_ns: self.now_ns,
                looked_ns: self.now_ns,
                tally: tally(half),
                active: 10,
                ..Slice::default()
            });
        }
    }

    fn kinds(&self) -> Vec<(Kind, Direction)> {
        let edge = Edge {
            container: "web".into(),
            side: Side::Opened,
            peer: PEER,
            port: 5432,
        };
        let claims = detect(&Sight {
            edge: &edge,
            history: &self.history,
            pings: None,
            lookups: None,
            now_ns: self.now_ns,
            cut_until_ns: 0,
            latency_max: Duration::from_millis(10),
        });
        let both = claims.iter().map(|claim| (claim.kind, claim.direction));
        both.collect()
    }
}

fn asking(connected: u64, refused: u64) -> Tally {
    Tally {
        connected,
        refused,
        closed: connected,
        delivered: 100,
        segments_sent: 100,
        segments_received: 100,
        ..Tally::default()
    }
}

#[test]
fn who_asks_many_times_as_often_in_vain_is_a_storm() {
    let storm = (Kind::RetryStorm, Direction::To);
    for before in [asking(0, 0), asking(1, 0)] {
        let mut street = Street::new();
        street.passes(40, |_| before);
        street.passes(3, |_| asking(0, 10));
        assert!(street.kinds().contains(&storm), "{:?}", street.kinds());
        street.passes(8, |_| before);
        assert!(!street.kinds().contains(&storm), "it is over");
    }
    // Whom nobody has seen before.
    let mut street = Street::new();
    street.passes(20, |_| asking(0, 20));
    assert!(street.kinds().contains(&storm), "{:?}", street.kinds());
}

#[test]
fn who_asks_more_often_and_is_served_is_no_storm_nor_who_is_refused_a_little() {
    let storm = |street: &Street| {
        let mut kinds = street.kinds().into_iter();
        kinds.any(|(kind, _)| kind == Kind::RetryStorm)
    };
    for (before, now) in [
        // A rush, of which some are refused.
        (asking(1, 0), asking(100, 20)),
        // Nobody listens, and whoever asks is patient.
        (asking(1, 0), asking(0, 2)),
        // As it always is.
        (asking(0, 50), asking(0, 60)),
        // Twice as often.
        (asking(20, 0), asking(0, 40)),
    ] {
        let mut street = Street::new();
        street.passes(60, |_| before);
        assert!(!storm(&street), "{before:?}");
        for _ in 0..20 {
            street.passes(1, |_| now);
            assert!(!storm(&street), "{now:?}");
        }
    }
}

#[test]
fn more_that_came_twice_than_was_sent_again_is_the_networks() {
    let twice = |duplicated, resent| Tally {
        resent,
        duplicated,
        ..asking(0, 0)
    };
    let mut street = Street::new();
    street.passes(40, |_| asking(0, 0));
    street.passes(3, |_| twice(30, 0));
    assert_eq!(street.kinds(), [(Kind::Duplication, Direction::To)]);
    street.passes(8, |_| asking(0, 0));
    assert_eq!(street.kinds(), []);
    // Who has waited too little, and puts small ones together.
    let mut street = Street::new();
    street.passes(40, |_| asking(0, 0));
    street.passes(6, |_| twice(30, 10));
    assert_eq!(street.kinds(), []);
    // The same, one by one.
    let mut street = Street::new();
    street.passes(40, |_| asking(0, 0));
    for half in 0..40 {
        // What is sent again is counted later than what has come twice by that.
        street.passes(1, |_| twice(u64::from(half < 3), u64::from(half > 2)));
        assert!(!street.kinds().contains(&(Kind::Duplication, Direction::To)));
    }
}
