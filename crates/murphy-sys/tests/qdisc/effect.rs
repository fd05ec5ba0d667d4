//! What each qdisc does to datagrams.

use std::{
    num::{NonZeroU32, NonZeroU64},
    time::Duration,
};

use murphy_sys::qdisc::{
    self, Discipline, Handle, Netem, Place, Prio, Removal, Tbf,
    distribution::Distribution,
    filter::{self, Classifier, Verdict},
    netem::{Chance, Delay, Loss, Probability, Reorder},
    shaper::TBF_CLASS,
    trial::Feature,
};

use crate::lab::{
    Arrival, Family, Lab, OTHERS_MAX, OURS, Way, assert_about, assert_share, distinct, slack,
};

const MILLISECOND: u64 = 1_000_000;

pub fn chance(share: f64) -> Chance {
    Chance::independent(Probability::nearest(share))
}

pub fn delay(mean_ms: u64, jitter_ms: u64) -> Delay {
    Delay {
        mean_ns: mean_ms * MILLISECOND,
        jitter_ns: jitter_ms * MILLISECOND,
        ..Delay::default()
    }
}

/// Whose draws are the same each time, where the kernel can.
fn seeded() -> Netem {
    Netem {
        seed: Some(7),
        ..Netem::default()
    }
}

pub fn delayed(delay: Delay) -> Netem {
    Netem {
        delay: Some(delay),
        limit: 10_000,
        ..seeded()
    }
}

pub fn losing(loss: Loss) -> Netem {
    Netem { loss, ..seeded() }
}

/// Milliseconds by which a packet may be later than it should be.
fn lateness_ms() -> f64 {
    f64::from(5 * slack())
}

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
    assert!(
        (its_share - share).abs() < 4.0 * variance.sqrt(),
        "{its_share}"
    );
    let bursts = arrived.windows(2).filter(|pair| pair[0] + 1 != pair[1]);
    let bursts = bursts.count() as f64;
    let (mean, deviation) = (1.0 / to_good, (1.0 - to_good).sqrt() / to_good);
    let its_mean = lost / bursts;
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
fn a_delay_is_never_short_and_seldom_long() {
    for family in Family::BOTH {
        let Some(lab) = Lab::with(family, &[Feature::Netem]) else {
            return;
        };
        let way = lab.there();
        let stream = || way.stream(300, 100, Duration::from_millis(2));
        let (mut arrivals, _) = lab.while_netem(delayed(delay(50, 0)), stream);
        assert_eq!(arrivals.len(), 300);
        arrivals.sort_by_key(|arrival| arrival.late);
        let late_ms = |index: usize| arrivals[index].late.as_secs_f64() * 1e3;
        let (first, middle) = (late_ms(0), late_ms(150));
        assert!(first >= 50.0, "{first} ms");
        assert!(middle < 50.0 + lateness_ms(), "{middle} ms");
        println!("{family:?}: at least {first:.2} ms, half of them {middle:.2} ms");
    }
}

#[test]
fn a_delay_may_be_longer_than_32_bits_of_nanoseconds() {
    let Some(lab) = Lab::with(Family::V4, &[Feature::Netem]) else {
        return;
    };
    let way = lab.there();
    let stream = || way.stream(1, 100, Duration::ZERO);
    let (arrivals, _) = lab.while_netem(delayed(delay(4500, 0)), stream);
    let late = arrivals[0].late;
    assert!(late >= Duration::from_millis(4500), "{late:?}");
}

/// How many packets tell how jitter is spread.
const SPREAD: u32 = 1000;
/// By how much of a jitter all may be later, and more or less so: what timers and threads add. Where a machine is slow
/// the jitter is the greater.
const UNEVEN: f64 = 0.1;

/// How late packets are beside what they should be on average, in jitters.
fn spread(lab: &Lab, way: &Way, distribution: Distribution) -> Vec<f64> {
    let (mean_ms, jitter_ms) = (u64::from(100 * slack()), u64::from(20 * slack()));
    let netem = delayed(Delay {
        distribution,
        ..delay(mean_ms, jitter_ms)
    });
    let stream = || way.stream(SPREAD, 100, Duration::from_millis(2));
    let (arrivals, _) = lab.while_netem(netem, stream);
    let beside = |one: &Arrival| one.late.as_secs_f64() * 1e3 - mean_ms as f64;
    let late = arrivals.iter().map(beside);
    late.map(|late_ms| late_ms / jitter_ms as f64).collect()
}

/// Asserts the mean, 0, and the deviation, within four deviations of each as an estimate.
fn assert_moments(late: &[f64], deviation: f64, kurtosis: f64) {
    let count = late.len() as f64;
    let its_mean = late.iter().sum::<f64>() / count;
    let squares = late.iter().map(|late| (late - its_mean).powi(2));
    let its_deviation = (squares.sum::<f64>() / (count - 1.0)).sqrt();
    println!("{its_mean:.3} ± {its_deviation:.3} jitters, not 0 ± {deviation:.3}");
    let error = 4.0 * deviation * ((kurtosis - 1.0) / 4.0 / count).sqrt();
    assert!((its_deviation - deviation).abs() < error + UNEVEN / 4.0);
    let error = 4.0 * deviation / count.sqrt();
    assert!((-error..error + UNEVEN).contains(&its_mean));
}

/// Asserts the share of those that are so many jitters late.
fn assert_within(late: &[f64], from: f64, to: f64, share: f64) {
    let within = late.iter().filter(|late| (from..to).contains(late));
    assert_about(within.count(), SPREAD, share, UNEVEN / 4.0);
}

#[test]
fn uniform_jitter_is_spread_evenly() {
    for family in Family::BOTH {
        let Some(lab) = Lab::with(family, &[Feature::Netem]) else {
            return;
        };
        let late = spread(&lab, &lab.there(), Distribution::UNIFORM);
        assert_moments(&late, 1.0 / 3_f64.sqrt(), 1.8);
        assert!(late.iter().all(|late| *late >= -1.0));
        assert_within(&late, -1.0, -0.5, 0.25);
    }
}

#[test]
fn jitter_is_spread_by_a_table() {
    let Some(lab) = Lab::with(Family::V4, &[Feature::Netem]) else {
        return;
    };
    let way = lab.there();
    let normal = spread(&lab, &way, Distribution::normal());
    assert_moments(&normal, 1.0, 3.0);
    assert_within(&normal, -1.0, 1.0, 0.6827);
    // (u^(-1/3) - 3/2) · 4/3 is -2/3 at the least, and below 0 for all but 8/27.
    let pareto = spread(&lab, &way, Distribution::pareto());
    assert_within(&pareto, -0.67, 0.0, 19.0 / 27.0);
    assert!(pareto.iter().all(|late| *late >= -0.67));
}

#[test]
fn packets_overtake_by_chance_and_every_fifth() {
    let Some(lab) = Lab::with(Family::V4, &[Feature::Netem]) else {
        return;
    };
    let way = lab.there();
    let reordered = |share, gap| {
        delayed(Delay {
            reorder: Some(Reorder {
                chance: chance(share),
                gap: NonZeroU32::new(gap).unwrap(),
            }),
            ..delay(u64::from(100 * slack()), 0)
        })
    };
    let overtaking = |netem, count| {
        let stream = || way.stream(count, 100, Duration::from_millis(1));
        let (arrivals, _) = lab.while_netem(netem, stream);
        assert_eq!(arrivals.len(), count as usize);
        let limit = slack() * Duration::from_millis(50);
        arrivals.iter().filter(|one| one.late < limit).count()
    };
    assert_share(overtaking(reordered(0.25, 1), 1000), 1000, 0.25);
    let fifths = overtaking(reordered(1.0, 5), 500);
    assert!(fifths.abs_diff(100) <= 4, "{fifths}");
}

/// What so many datagrams of 1000 bytes take, of which some go at once: with their headers of UDP, IPv4 and Ethernet,
/// and at the rate of [`slow`].
pub fn seconds(count: u32, burst_bytes: u32) -> f64 {
    f64::from(count * (1000 + 8 + 20 + 14) - burst_bytes) / 200_000.0
}

/// Asserts that a stream of 200 datagrams takes the time that its rate makes it take.
fn assert_rate(lab: &Lab, way: &Way, discipline: &Discipline, burst_bytes: u32) {
    let stream = || way.stream(200, 1000, Duration::ZERO);
    let (arrivals, statistics) = lab.while_root(discipline, stream);
    assert_eq!(arrivals.len(), 200, "{statistics:?}");
    let took = arrivals.last().unwrap().at.as_secs_f64();
    let wanted = seconds(200, burst_bytes);
    println!("{} took {took:.3} s, theory {wanted:.3}", discipline.kind());
    assert!(took > wanted, "{took} s, not {wanted} s");
    assert!(
        took < wanted * 1.1 + f64::from(slack()) * 0.1,
        "{took} s, not {wanted} s"
    );
}

#[test]
fn a_token_bucket_has_its_rate() {
    let Some(lab) = Lab::with(Family::V4, &[Feature::Tbf]) else {
        return;
    };
    let tbf = slow();
    assert_rate(&lab, &lab.there(), &Discipline::Tbf(tbf), tbf.burst_bytes);
}

/// 200,000 bytes a second.
pub fn slow() -> Tbf {
    Tbf {
        bytes_per_second: NonZeroU64::new(200_000).unwrap(),
        burst_bytes: 10_000,
        limit_bytes: 1 << 20,
    }
}

#[test]
fn netem_has_its_rate() {
    let Some(lab) = Lab::with(Family::V4, &[Feature::Netem]) else {
        return;
    };
    let netem = Netem {
        bytes_per_second: NonZeroU64::new(200_000),
        ..Netem::default()
    };
    assert_rate(&lab, &lab.there(), &Discipline::Netem(netem), 0);
}

#[test]
fn a_rate_and_a_delay_add_up_below_a_prio() {
    let features = [
        Feature::Netem,
        Feature::Tbf,
        Feature::Prio,
        Feature::Matchall,
    ];
    let Some(lab) = Lab::with(Family::V4, &features) else {
        return;
    };
    let (way, before) = (lab.there(), lab.shape());
    let prio = Discipline::Prio(Prio::first_but_for_filters(2));
    let root = qdisc::add(&lab.node, lab.root(), &prio).unwrap();
    let below = |parent, major| Place {
        parent,
        handle: Handle::qdisc(major),
        ..lab.root()
    };
    let (bucket, line) = (
        below(OURS.class(2), 0x4e),
        below(Handle::qdisc(0x4e).class(TBF_CLASS), 0x4f),
    );
    let base_ms = u64::from(50 * slack());
    qdisc::add(&lab.node, bucket, &Discipline::Tbf(slow())).unwrap();
    qdisc::add(
        &lab.node,
        line,
        &Discipline::Netem(delayed(delay(base_ms, 0))),
    )
    .unwrap();
    let all = Classifier::Matchall(Verdict::Class(bucket.parent));
    filter::add(&lab.node, lab.first_filter(OURS), &all).unwrap();

    let arrivals = way.stream(200, 1000, Duration::ZERO);
    let base = Duration::from_millis(base_ms);
    assert!(arrivals.iter().all(|arrival| arrival.late >= base));
    let took = arrivals.last().unwrap().at.saturating_sub(base);
    println!(
        "{:.3} s, theory {:.3}",
        took.as_secs_f64(),
        seconds(200, slow().burst_bytes)
    );
    assert!(took.as_secs_f64() > seconds(200, slow().burst_bytes));

    assert_eq!(qdisc::delete(&lab.node, &root).unwrap(), Removal::Now);
    assert_eq!(lab.shape(), before, "all went with the prio");
}

#[test]
fn the_same_seed_loses_the_same() {
    let Some(lab) = Lab::with(Family::V4, &[Feature::NetemSeed]) else {
        return;
    };
    let way = lab.there();
    let lost_with = |seed| {
        let netem = Netem {
            seed: Some(seed),
            ..losing(Loss::Random(chance(0.5)))
        };
        lab.while_netem(netem, || way.numbers(100, 100)).0
    };
    assert_eq!(lost_with(7), lost_with(7));
    assert_ne!(lost_with(7), lost_with(8));
}
