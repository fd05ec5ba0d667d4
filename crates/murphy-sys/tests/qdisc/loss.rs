//! What does not arrive, or arrives twice.

use std::os::fd::AsFd;

use murphy_sys::qdisc::{
    self, Discipline, Handle, Netem, Place, Prio, Removal,
    filter::{self, Classifier, Program, Verdict},
    netem::{Chance, Loss, Probability},
    trial::Feature,
};

use crate::{
    fault::{chance, losing, seeded},
    lab::{Family, Lab, OTHERS_MAX, OURS, assert_share, distinct},
    program::longer_than,
};

#[test]
fn netem_loses_its_share_and_counts_it() {
    const COUNT: u32 = 10_000;
    for family in Family::BOTH {
        let Some(lab) = Lab::with(family, &[Feature::Netem]) else {
            return;
        };
        let way = lab.there();
        let netem = losing(Loss::Random(chance(0.3)));
        let (arrived, statistics) = lab.while_netem(netem, || way.numbers(COUNT, 100));
        let lost = COUNT as usize - arrived.len();
        assert_share(lost, COUNT, 0.3);
        let others = u64::from(statistics.drops) - lost as u64;
        assert!(others <= OTHERS_MAX, "{lost} lost, {statistics:?}");
        let others = statistics.packets - arrived.len() as u64;
        assert!(others <= OTHERS_MAX, "{lost} lost, {statistics:?}");
        assert_eq!(way.numbers(1000, 100).len(), 1000);
    }
}

#[test]
fn losses_of_two_states_come_in_bursts() {
    const COUNT: u32 = 20_000;
    let Some(lab) = Lab::with(Family::V4, &[Feature::Netem]) else {
        return;
    };
    let way = lab.there();
    let (to_bad, to_good) = (0.05, 0.25);
    let netem = losing(Loss::GilbertElliott {
        to_bad: Probability::nearest(to_bad),
        to_good: Probability::nearest(to_good),
        loss_bad: Probability::ONE,
        loss_good: Probability::ZERO,
    });
    let (arrived, _) = lab.while_netem(netem, || way.numbers(COUNT, 100));
    let lost = f64::from(COUNT) - arrived.len() as f64;
    // What one packet says of the next makes the share less certain than that of draws on their own.
    let share = to_bad / (to_bad + to_good);
    let memory = 1.0 - to_bad - to_good;
    let variance = share * (1.0 - share) * (1.0 + memory) / (1.0 - memory) / f64::from(COUNT);
    let its_share = lost / f64::from(COUNT);
    println!("{its_share:.4}, theory {share:.4}");
    assert!(
        (its_share - share).abs() < 4.0 * variance.sqrt(),
        "{its_share}"
    );
    let bursts = arrived.windows(2).filter(|pair| pair[0] + 1 != pair[1]);
    let bursts = bursts.count() as f64;
    let (mean, deviation) = (1.0 / to_good, (1.0 - to_good).sqrt() / to_good);
    let its_mean = lost / bursts;
    println!("{bursts} bursts of {its_mean:.2}, theory {mean:.2}");
    assert!(
        (its_mean - mean).abs() < 4.0 * deviation / bursts.sqrt(),
        "{its_mean} in {bursts} bursts"
    );
}

#[test]
fn both_states_have_a_loss_of_their_own() {
    const COUNT: u32 = 20_000;
    let Some(lab) = Lab::with(Family::V4, &[Feature::Netem]) else {
        return;
    };
    let way = lab.there();
    // A chain without memory: each packet is of the bad state or not, as if it were drawn.
    let netem = losing(Loss::GilbertElliott {
        to_bad: Probability::nearest(0.25),
        to_good: Probability::nearest(0.75),
        loss_bad: Probability::nearest(0.6),
        loss_good: Probability::nearest(0.1),
    });
    let (arrived, _) = lab.while_netem(netem, || way.numbers(COUNT, 100));
    assert_share(
        COUNT as usize - arrived.len(),
        COUNT,
        0.25 * 0.6 + 0.75 * 0.1,
    );
}

#[test]
fn correlated_draws_do_not_keep_their_share() {
    const COUNT: u32 = 10_000;
    let Some(lab) = Lab::with(Family::V4, &[Feature::Netem]) else {
        return;
    };
    let way = lab.there();
    let correlated = Chance {
        correlation: Probability::nearest(0.25),
        ..chance(0.3)
    };
    let netem = losing(Loss::Random(correlated));
    let (arrived, _) = lab.while_netem(netem, || way.numbers(COUNT, 100));
    let lost = COUNT as usize - arrived.len();
    println!("{lost} of {COUNT}");
    assert!((1800..2600).contains(&lost), "{lost}");
}

#[test]
fn a_duplicate_is_counted_and_arrives() {
    const COUNT: u32 = 10_000;
    for family in Family::BOTH {
        let Some(lab) = Lab::with(family, &[Feature::Netem]) else {
            return;
        };
        let way = lab.there();
        let netem = Netem {
            duplicate: chance(0.1),
            ..seeded()
        };
        let (arrived, statistics) = lab.while_netem(netem, || way.numbers(COUNT, 100));
        assert_eq!(distinct(&arrived), COUNT as usize);
        assert_share(arrived.len() - COUNT as usize, COUNT, 0.1);
        let others = statistics.packets - arrived.len() as u64;
        assert!(others <= OTHERS_MAX, "{} {statistics:?}", arrived.len());
    }
}

#[test]
fn a_corrupted_datagram_is_dropped_by_its_checksum() {
    const COUNT: u32 = 2000;
    for family in Family::BOTH {
        let Some(lab) = Lab::with(family, &[Feature::Netem]) else {
            return;
        };
        let way = lab.there();
        let netem = Netem {
            corrupt: chance(1.0),
            ..seeded()
        };
        // Whoever arrives is looked at, and is intact: the wrong bit was in a header that no checksum covers.
        let (arrived, statistics) = lab.while_netem(netem, || way.numbers(COUNT, 1200));
        assert!(arrived.len() < COUNT as usize / 20, "{}", arrived.len());
        assert!(
            statistics.packets >= u64::from(COUNT),
            "they were sent: {statistics:?}"
        );
    }
}

#[test]
fn the_same_seed_loses_the_same() {
    let features = [Feature::NetemSeed, Feature::Prio, Feature::ClsBpf];
    let Some(lab) = Lab::with(Family::V4, &features) else {
        return;
    };
    let way = lab.there();
    let prio = Discipline::Prio(Prio::first_but_for_filters(2));
    qdisc::add(&lab.node, lab.root(), &prio).unwrap();
    let band = Place {
        parent: OURS.class(2),
        handle: Handle::qdisc(0x4e),
        ..lab.root()
    };
    // Whoever else sends something would take a draw.
    let fd = longer_than(500, -1, 0);
    let program = Program {
        fd: fd.as_fd(),
        name: "longer",
    };
    let longer = Classifier::Bpf(program, Verdict::Class(band.parent));
    filter::add(&lab.node, lab.first_filter(OURS), &longer).unwrap();
    let arriving_with = |seed| {
        let netem = Netem {
            seed: Some(seed),
            ..losing(Loss::Random(chance(0.5)))
        };
        let id = qdisc::add(&lab.node, band, &Discipline::Netem(netem)).unwrap();
        let arrived = way.numbers(100, 1000);
        assert_eq!(qdisc::delete(&lab.node, &id).unwrap(), Removal::Now);
        assert_eq!(qdisc::delete(&lab.node, &id).unwrap(), Removal::Gone);
        arrived
    };
    assert_eq!(arriving_with(7), arriving_with(7));
    assert_ne!(arriving_with(7), arriving_with(8));
    assert_eq!(way.numbers(100, 1000).len(), 100);
}
