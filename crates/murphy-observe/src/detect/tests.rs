use murphy_fault::conn::Side;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::{
    finding::{Direction, Kind, Size},
    slice::{Rtt, Slice},
    tally::Tally,
};

/// From where pings come to the peer.
const HERE: std::net::IpAddr = std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
/// A slice of half a second each.
const SLICE_NS: u64 = SECOND_NS / 2;

/// An edge over time: what happens in each half of a second, and what comes of five pings a second.
struct Scene {
    edge: Edge,
    history: History,
    pings: Pings,
    lookups: Lookups,
    now_ns: u64,
    number: u16,
}

/// What comes of a ping.
#[derive(Clone, Copy)]
enum Fate {
    Comes { to_us: u64, from_us: u64 },
    LostOnItsWay,
    LostOnItsWayBack,
    Unsent,
}

const QUICK: Fate = Fate::Comes {
    to_us: 100,
    from_us: 100,
};

impl Scene {
    fn new() -> Self {
        Self {
            edge: Edge {
                container: "web".into(),
                side: Side::Opened,
                peer: "10.0.0.2".parse().unwrap(),
                port: 5432,
            },
            history: History::default(),
            pings: Pings::default(),
            lookups: Lookups::default(),
            now_ns: 1000 * SECOND_NS,
            number: 0,
        }
    }

    /// So many halves of a second in which this happens.
    fn passes(&mut self, halves: usize, slice: &Slice, fate: Fate) {
        self.passes_by(halves, |_| *slice, |_| fate);
    }

    fn passes_by(
        &mut self,
        halves: usize,
        mut slice: impl FnMut(usize) -> Slice,
        mut fate: impl FnMut(usize) -> Fate,
    ) {
        for half in 0..halves {
            for _ in 0..2 {
                self.ping(fate(half));
            }
            self.now_ns += SLICE_NS;
            self.history.push(Slice {
                at_ns: self.now_ns,
                looked_ns: self.now_ns,
                ..slice(half)
            });
        }
        self.pings.give_up_before(self.now_ns);
    }

    fn ping(&mut self, fate: Fate) {
        let (number, at_ns) = (self.number, self.now_ns);
        self.number = self.number.wrapping_add(1);
        let sent = (!matches!(fate, Fate::Unsent)).then_some(at_ns);
        self.pings.push(number, at_ns, sent);
        match fate {
            Fate::Comes { to_us, from_us } => {
                self.pings.arrive(number, at_ns + to_us * 1000, HERE);
                self.pings.answer(number, at_ns + (to_us + from_us) * 1000);
            }
            Fate::LostOnItsWayBack => self.pings.arrive(number, at_ns + 100_000, HERE),
            Fate::LostOnItsWay | Fate::Unsent => {}
        }
    }

    /// A name is looked up twice a second, and answered after so long, if ever.
    fn looks_up(&mut self, us: Option<u64>) {
        self.now_ns += SLICE_NS;
        self.ping(QUICK);
        self.lookups.push(crate::lookups::Lookup {
            at_ns: self.now_ns,
            took: us.map(Duration::from_micros),
            is_refused: false,
        });
    }

    fn claims(&self) -> Vec<Claim> {
        detect(&Sight {
            edge: &self.edge,
            history: &self.history,
            pings: Some(&self.pings),
            lookups: Some(&self.lookups),
            now_ns: self.now_ns,
            cut_until_ns: 0,
            latency_max: Duration::from_millis(10),
        })
    }

    /// What is claimed, with its direction.
    fn kinds(&self) -> Vec<(Kind, Direction)> {
        let claims = self.claims();
        claims
            .iter()
            .map(|claim| (claim.kind, claim.direction))
            .collect()
    }
}

/// Traffic on which nothing is wrong.
fn healthy() -> Slice {
    Slice {
        tally: Tally {
            connected: 3,
            closed: 3,
            delivered: 100,
            segments_sent: 100,
            segments_received: 100,
            ..Tally::default()
        },
        rtt: Rtt::of(vec![200, 210, 220]),
        active: 10,
        ..Slice::default()
    }
}

/// Connections that nothing passes.
fn idle() -> Slice {
    Slice {
        active: 10,
        ..Slice::default()
    }
}

#[test]
fn where_nothing_is_wrong_nothing_is_claimed() {
    let mut scene = Scene::new();
    scene.passes(100, &healthy(), QUICK);
    assert_eq!(scene.kinds(), []);
    let mut scene = Scene::new();
    scene.passes(100, &idle(), QUICK);
    assert_eq!(scene.kinds(), []);
    assert_eq!(Scene::new().kinds(), []);
}

#[test]
fn an_idle_peer_that_is_cut_off_is_found_within_five_seconds_with_the_way() {
    for (fate, direction) in [
        (Fate::LostOnItsWay, Direction::To),
        (Fate::LostOnItsWayBack, Direction::From),
        (Fate::Unsent, Direction::To),
    ] {
        let mut scene = Scene::new();
        scene.passes(40, &idle(), QUICK);
        let cut_ns = scene.now_ns;
        scene.passes(8, &idle(), fate);
        assert_eq!(scene.kinds(), [(Kind::Partition, direction)]);
        let claim = &scene.claims()[0];
        assert!(claim.since_ns.abs_diff(cut_ns) <= SLICE_NS, "{claim:?}");
    }
}

#[test]
fn busy_connections_say_that_they_are_cut_off_though_few_pings_do() {
    let mut scene = Scene::new();
    scene.passes(40, &healthy(), QUICK);
    let cut = Slice {
        tally: Tally {
            retransmits: 10,
            ..Tally::default()
        },
        active: 10,
        stalled: 8,
        ..Slice::default()
    };
    scene.passes(5, &cut, Fate::LostOnItsWay);
    assert_eq!(scene.kinds(), [(Kind::Partition, Direction::To)]);
}

#[test]
fn who_soon_gives_up_is_cut_off_though_nobody_waits_when_it_is_looked() {
    let gives_up = Slice {
        tally: Tally {
            given_up: 5,
            ..Tally::default()
        },
        ..Slice::default()
    };
    // The second never answers pings.
    for before in [QUICK, Fate::LostOnItsWay] {
        let mut scene = Scene::new();
        scene.passes(40, &healthy(), before);
        let cut_ns = scene.now_ns;
        scene.passes(5, &gives_up, Fate::LostOnItsWay);
        let claims = scene.claims();
        let claim = claims.first().expect("a claim");
        assert_eq!(claim.kind, Kind::Partition);
        assert_eq!(claim.size, Size::Count(25));
        assert!(claim.since_ns.abs_diff(cut_ns) <= 2 * SLICE_NS, "{claim:?}");
        let evidence = claim.evidence.join("; ");
        assert!(evidence.contains("were given up"), "{evidence}");
    }
}

#[test]
fn whoever_does_not_answer_pings_is_not_cut_off() {
    let mut scene = Scene::new();
    scene.passes(60, &healthy(), Fate::LostOnItsWay);
    assert_eq!(scene.kinds(), []);
    let mut scene = Scene::new();
    scene.passes(60, &idle(), Fate::LostOnItsWay);
    assert_eq!(scene.kinds(), []);
}

#[test]
fn a_loss_is_estimated_from_segments_with_an_interval_that_contains_it() {
    for (percent, halves) in [(1_u64, 20), (5, 10), (30, 8)] {
        let mut rng = ChaCha8Rng::seed_from_u64(percent);
        let mut scene = Scene::new();
        scene.passes(40, &healthy(), QUICK);
        let lossy = |_| {
            let mut slice = healthy();
            slice.tally.resent = (0..100)
                .filter(|_| rng.random::<f64>() < percent as f64 / 100.0)
                .count() as u64;
            slice.tally.delivered = 100 - slice.tally.resent;
            slice
        };
        scene.passes_by(halves, lossy, |_| QUICK);
        assert_eq!(scene.kinds(), [(Kind::Loss, Direction::To)], "{percent} %");
        let Size::Share {
            interval: [low, high],
            ..
        } = scene.claims()[0].size
        else {
            panic!("{:?}", scene.claims());
        };
        let asked = percent as f64 / 100.0;
        assert!(
            low <= asked && asked <= high,
            "{percent} %: {low} to {high}"
        );
    }
}

#[test]
fn segments_that_came_twice_were_not_lost() {
    let mut scene = Scene::new();
    let mut slice = healthy();
    (slice.tally.resent, slice.tally.duplicated) = (5, 5);
    scene.passes(40, &slice, QUICK);
    assert_eq!(scene.kinds(), []);
}

#[test]
fn segments_that_come_twice_tell_of_a_loss_on_the_way_back_only_if_pings_do() {
    let mut twice = healthy();
    (twice.tally.resent, twice.tally.duplicated) = (10, 5);
    let mut scene = Scene::new();
    scene.passes(40, &healthy(), QUICK);
    scene.passes(8, &twice, QUICK);
    assert_eq!(scene.kinds(), []);
    let mut scene = Scene::new();
    scene.passes(40, &healthy(), QUICK);
    scene.passes(1, &twice, QUICK);
    scene.ping(Fate::LostOnItsWayBack);
    scene.passes(8, &twice, QUICK);
    assert_eq!(scene.kinds(), [(Kind::Loss, Direction::From)]);
    let Size::Share { share, .. } = scene.claims()[0].size else {
        panic!("{:?}", scene.claims());
    };
    assert_eq!(share.hit, 1, "of pings, not of segments");
}

#[test]
fn a_loss_on_an_idle_edge_is_seen_by_pings_with_its_way() {
    for (fate, direction) in [
        (Fate::LostOnItsWay, Direction::To),
        (Fate::LostOnItsWayBack, Direction::From),
    ] {
        let mut scene = Scene::new();
        scene.passes(40, &idle(), QUICK);
        scene.passes_by(
            20,
            |_| idle(),
            |half| if half % 3 == 0 { fate } else { QUICK },
        );
        assert_eq!(scene.kinds(), [(Kind::Loss, direction)]);
    }
}

#[test]
fn a_delay_is_found_against_the_threshold_and_with_its_way() {
    for (to_us, from_us, direction) in [
        (50_000, 100, Direction::To),
        (100, 50_000, Direction::From),
        (50_000, 50_000, Direction::Both),
    ] {
        let mut scene = Scene::new();
        scene.passes(40, &idle(), QUICK);
        scene.passes(8, &idle(), Fate::Comes { to_us, from_us });
        assert_eq!(scene.kinds(), [(Kind::Latency, direction)]);
        let Size::Time { us, before_us } = scene.claims()[0].size else {
            panic!("{:?}", scene.claims());
        };
        assert_eq!((us, before_us), (to_us + from_us, Some(200)));
    }
}

#[test]
fn a_delay_below_the_threshold_is_found_against_what_it_took_before() {
    let slow = Fate::Comes {
        to_us: 4000,
        from_us: 4000,
    };
    let mut scene = Scene::new();
    scene.passes(40, &idle(), QUICK);
    scene.passes(8, &idle(), slow);
    assert_eq!(scene.kinds(), [(Kind::Latency, Direction::Both)]);
    // Where it always took so long, nothing has changed.
    let mut scene = Scene::new();
    scene.passes(60, &idle(), slow);
    assert_eq!(scene.kinds(), []);
}

#[test]
fn a_delay_that_varies_is_also_jitter() {
    let mut scene = Scene::new();
    scene.passes(40, &idle(), QUICK);
    let mut nth = 0;
    let varying = |_| {
        nth += 1;
        Fate::Comes {
            to_us: [40_000, 55_000, 45_000, 60_000][nth % 4],
            from_us: 100,
        }
    };
    scene.passes_by(10, |_| idle(), varying);
    assert_eq!(
        scene.kinds(),
        [
            (Kind::Latency, Direction::To),
            (Kind::Jitter, Direction::To)
        ]
    );
}

#[test]
fn one_slow_ping_is_nothing() {
    let mut scene = Scene::new();
    scene.passes(40, &idle(), QUICK);
    scene.ping(Fate::Comes {
        to_us: 80_000,
        from_us: 100,
    });
    scene.passes(3, &idle(), QUICK);
    assert_eq!(scene.kinds(), []);
}

#[test]
fn resets_and_refusals_say_where_they_came_from() {
    let with = |of: fn(&mut Tally)| {
        let mut slice = healthy();
        of(&mut slice.tally);
        slice
    };
    for (slice, kind, direction) in [
        (
            with(|tally| tally.resets_received = 3),
            Kind::Resets,
            Direction::From,
        ),
        (
            with(|tally| tally.resets_sent = 3),
            Kind::Resets,
            Direction::To,
        ),
        (
            with(|tally| tally.refused = 4),
            Kind::Refusals,
            Direction::From,
        ),
        (
            with(|tally| tally.refusals_sent = 4),
            Kind::Refusals,
            Direction::To,
        ),
    ] {
        let mut scene = Scene::new();
        scene.passes(140, &healthy(), QUICK);
        scene.passes(1, &slice, QUICK);
        assert_eq!(scene.kinds(), [(kind, direction)]);
        // It was always so.
        let mut scene = Scene::new();
        scene.passes(200, &slice, QUICK);
        assert_eq!(scene.kinds(), []);
    }
}

#[test]
fn connections_that_nothing_passes_while_others_pass_are_half_open() {
    let mut scene = Scene::new();
    scene.passes(40, &healthy(), QUICK);
    let stalled = Slice {
        stalled: 2,
        ..healthy()
    };
    scene.passes(8, &stalled, QUICK);
    assert_eq!(scene.kinds(), [(Kind::HalfOpen, Direction::Unknown)]);
}

#[test]
fn requests_that_are_not_answered_while_the_peer_is_there_time_out() {
    let mut scene = Scene::new();
    scene.passes(40, &idle(), QUICK);
    let asking = Slice {
        tally: Tally {
            syn_retransmits: 1,
            ..Tally::default()
        },
        asking: 2,
        ..Slice::default()
    };
    scene.passes(6, &asking, QUICK);
    assert_eq!(scene.kinds(), [(Kind::Timeouts, Direction::Unknown)]);
}

#[test]
fn where_nobody_answers_pings_acknowledgements_tell_that_it_takes_longer_than_before() {
    let acknowledged = |rtts_us: &[u32]| Slice {
        rtt: Rtt::of(rtts_us.to_vec()),
        ..healthy()
    };
    // Whoever has nothing to say acknowledges late: that was always so.
    for (before, now, kinds) in [
        (
            &[200, 220, 12_000][..],
            &[51_000, 60_000][..],
            &[(Kind::Latency, Direction::Unknown)][..],
        ),
        (&[200, 220, 240], &[210, 40_000, 40_000], &[]),
        (&[12_000], &[12_000], &[]),
    ] {
        let mut scene = Scene::new();
        scene.passes(40, &acknowledged(before), Fate::LostOnItsWay);
        scene.passes(8, &acknowledged(now), Fate::LostOnItsWay);
        assert_eq!(scene.kinds(), kinds, "{before:?} {now:?}");
    }
    // Where somebody answers, what he takes to acknowledge says nothing.
    let mut scene = Scene::new();
    scene.passes(40, &acknowledged(&[200]), QUICK);
    scene.passes(8, &acknowledged(&[50_000]), QUICK);
    assert_eq!(scene.kinds(), []);
}

#[test]
fn pings_that_are_sent_seldom_or_come_late_tell_of_latency_and_not_of_a_partition() {
    let mut scene = Scene::new();
    scene.passes(40, &idle(), QUICK);
    scene.passes(16, &idle(), Fate::LostOnItsWay);
    assert_eq!(scene.kinds(), [(Kind::Partition, Direction::To)]);
    // All of them come after one second and a half.
    let (first, last) = (80, scene.number);
    let sent: Vec<u64> = scene.pings.latest().map(|ping| ping.at_ns).collect();
    for (number, at_ns) in (first..last).rev().zip(sent) {
        scene.pings.arrive(number, at_ns + 1_500_000_000, HERE);
        scene.pings.answer(number, at_ns + 1_500_100_000);
    }
    assert_eq!(scene.kinds(), [(Kind::Latency, Direction::To)]);
    let mut scene = Scene::new();
    for _ in 0..30 {
        scene.ping(Fate::Comes {
            to_us: 40_000,
            from_us: 100,
        });
        scene.now_ns += SECOND_NS;
    }
    assert_eq!(scene.kinds(), [(Kind::Latency, Direction::To)]);
}

#[test]
fn a_loss_of_pings_is_over_soon_and_is_none_where_segments_pass() {
    let mut scene = Scene::new();
    scene.passes(40, &idle(), QUICK);
    let some = |half: usize| {
        if half.is_multiple_of(3) {
            Fate::LostOnItsWay
        } else {
            QUICK
        }
    };
    scene.passes_by(20, |_| idle(), some);
    assert_eq!(scene.kinds(), [(Kind::Loss, Direction::To)]);
    scene.passes(12, &idle(), QUICK);
    assert_eq!(scene.kinds(), []);
    let mut scene = Scene::new();
    scene.passes(40, &healthy(), QUICK);
    scene.passes_by(20, |_| healthy(), some);
    assert_eq!(scene.kinds(), []);
}

#[test]
fn what_connections_say_is_as_old_as_the_last_look_at_them() {
    let mut scene = Scene::new();
    scene.passes(40, &healthy(), Fate::LostOnItsWay);
    let looked_ns = scene.now_ns;
    let cut = Slice {
        tally: Tally {
            retransmits: 10,
            ..Tally::default()
        },
        active: 10,
        stalled: 8,
        ..Slice::default()
    };
    for _ in 0..6 {
        scene.now_ns += SLICE_NS;
        scene.history.push(Slice {
            at_ns: scene.now_ns,
            looked_ns,
            ..cut
        });
    }
    assert_eq!(scene.kinds(), []);
    scene.passes(1, &cut, Fate::LostOnItsWay);
    assert_eq!(scene.kinds(), [(Kind::Partition, Direction::Unknown)]);
}

#[test]
fn where_every_connection_is_refused_nothing_need_be_known_of_before() {
    let mut scene = Scene::new();
    let refused = Slice {
        tally: Tally {
            refused: 2,
            ..Tally::default()
        },
        ..Slice::default()
    };
    scene.passes(1, &refused, QUICK);
    assert_eq!(scene.kinds(), []);
    scene.passes(1, &refused, QUICK);
    assert_eq!(scene.kinds(), [(Kind::Refusals, Direction::From)]);
}

#[test]
fn resets_that_were_always_there_are_none_however_short_it_is_observed() {
    let mut slice = healthy();
    slice.tally.resets_received = 5;
    for halves in 1..30 {
        let mut scene = Scene::new();
        scene.passes(halves, &slice, QUICK);
        assert_eq!(scene.kinds(), [], "{halves}");
    }
}

#[test]
fn names_that_are_looked_up_slowly_are_found_and_those_that_are_asked_for_elsewhere_now_and_then_are_not()
 {
    let mut scene = Scene::new();
    // Every third is not known to the server, which asks for it elsewhere.
    for number in 0..60 {
        scene.looks_up(Some(if number % 3 == 0 { 40_000 } else { 300 }));
    }
    assert_eq!(scene.kinds(), []);
    for _ in 0..2 {
        scene.looks_up(Some(60_300));
    }
    assert_eq!(scene.kinds(), [], "two of ten");
    for _ in 0..8 {
        scene.looks_up(Some(60_300));
    }
    assert_eq!(scene.kinds(), [(Kind::SlowDns, Direction::Unknown)]);
    let claims = scene.claims();
    assert!(
        claims[0].since_ns <= scene.now_ns - 4 * SECOND_NS,
        "{claims:?}"
    );
    for _ in 0..20 {
        scene.looks_up(Some(300));
    }
    assert_eq!(scene.kinds(), []);
}

#[test]
fn names_that_nobody_has_are_no_failure_and_servers_that_do_not_answer_are() {
    let mut scene = Scene::new();
    for _ in 0..20 {
        scene.looks_up(Some(300));
    }
    for _ in 0..4 {
        scene.looks_up(None);
    }
    assert_eq!(scene.kinds(), [(Kind::FailingDns, Direction::Unknown)]);
    let [claim] = &scene.claims()[..] else {
        panic!("one claim")
    };
    assert!(
        claim.evidence[0].contains("4 were not answered"),
        "{claim:?}"
    );
}

#[test]
fn whether_nothing_comes_either_way_pings_from_the_other_end_tell() {
    let cut = || {
        let mut scene = Scene::new();
        scene.passes(20, &idle(), QUICK);
        scene.passes(7, &idle(), Fate::LostOnItsWay);
        scene
    };
    let direction = |scene: &Scene| scene.kinds();
    assert_eq!(direction(&cut()), [(Kind::Partition, Direction::To)]);
    let mut scene = cut();
    for number in 0..4 {
        scene.pings.send_back(number, scene.now_ns - SECOND_NS);
    }
    assert_eq!(direction(&scene), [(Kind::Partition, Direction::Both)]);
    for number in 0..4 {
        scene.pings.come_back(number);
    }
    assert_eq!(direction(&scene), [(Kind::Partition, Direction::To)]);
    let mut scene = cut();
    scene.pings.send_back(1, scene.now_ns);
    assert_eq!(direction(&scene), [], "it is waited for");
}

#[test]
fn what_is_lost_on_its_way_here_is_told_by_what_comes_before_it() {
    let mut scene = Scene::new();
    scene.passes(20, &healthy(), QUICK);
    let mut ahead = healthy();
    ahead.tally.out_of_order = 1;
    scene.passes(3, &ahead, QUICK);
    assert_eq!(scene.kinds(), [], "now and then one overtakes another");
    scene.passes(6, &ahead, QUICK);
    assert_eq!(scene.kinds(), [(Kind::Loss, Direction::From)]);
    let mut both = ahead;
    both.tally.resent = 2;
    scene.passes(10, &both, QUICK);
    assert_eq!(scene.kinds(), [(Kind::Loss, Direction::Both)]);
    scene.passes(11, &healthy(), QUICK);
    assert_eq!(scene.kinds(), []);
}

#[test]
fn how_much_is_lost_is_what_is_lost_since_it_is_so_much() {
    let mut scene = Scene::new();
    // Now and then one is lost, and then every third.
    let few = |half: usize| {
        let mut slice = healthy();
        slice.tally.resent = u64::from(half.is_multiple_of(4));
        slice
    };
    scene.passes_by(20, few, |_| QUICK);
    let mut many = healthy();
    (many.tally.resent, many.tally.delivered) = (43, 100);
    scene.passes(6, &many, QUICK);
    let claims = scene.claims();
    let [claim] = &claims[..] else {
        panic!("{claims:?}");
    };
    let Size::Share { interval, .. } = claim.size else {
        panic!("{claim:?}");
    };
    assert!((interval[0]..interval[1]).contains(&0.3), "{claim:?}");
}

#[test]
fn pings_that_a_partition_begins_with_are_no_loss() {
    let mut scene = Scene::new();
    // Some were lost a while ago.
    scene.passes_by(
        10,
        |_| idle(),
        |half| {
            if half < 4 { Fate::LostOnItsWay } else { QUICK }
        },
    );
    scene.passes(14, &idle(), QUICK);
    scene.passes(2, &idle(), Fate::LostOnItsWay);
    assert_eq!(scene.kinds(), []);
    // One after the other, with others between.
    scene.passes_by(
        20,
        |_| idle(),
        |half| {
            if half.is_multiple_of(3) {
                Fate::LostOnItsWay
            } else {
                QUICK
            }
        },
    );
    assert_eq!(scene.kinds(), [(Kind::Loss, Direction::To)]);
}

#[test]
fn whoever_has_gone_is_not_cut_off() {
    let mut scene = Scene::new();
    scene.passes(20, &healthy(), QUICK);
    scene.passes(30, &Slice::default(), Fate::LostOnItsWay);
    assert_eq!(scene.kinds(), [], "nobody wants anything of him any more");
    let mut scene = Scene::new();
    scene.passes(20, &healthy(), QUICK);
    scene.passes(30, &idle(), Fate::LostOnItsWay);
    assert_eq!(scene.kinds(), [(Kind::Partition, Direction::To)]);
}

#[test]
fn a_few_resets_now_and_then_are_no_news_and_many_of_all_at_once_are() {
    let mut scene = Scene::new();
    let now_and_then = |half: usize| {
        let mut slice = healthy();
        slice.tally.resets_received = u64::from(half.is_multiple_of(20));
        slice
    };
    for half in 0..200 {
        scene.passes(1, &now_and_then(half), QUICK);
        assert_eq!(scene.kinds(), [], "{half}");
    }
    let mut scene = Scene::new();
    scene.passes(100, &idle(), QUICK);
    let mut many = idle();
    (many.tally.resets_sent, many.active) = (2, 8);
    scene.passes(1, &many, QUICK);
    assert_eq!(scene.kinds(), [(Kind::Resets, Direction::To)]);
}
