//! How late packets are, and how fast they go.

use std::{
    num::{NonZeroU32, NonZeroU64},
    time::Duration,
};

use murphy_sys::qdisc::{
    self, Discipline, Handle, Netem, Place, Prio, Removal,
    distribution::Distribution,
    filter::{self, Classifier, Verdict},
    netem::{Delay, Reorder},
    shaper::TBF_CLASS,
    trial::Feature,
};

use crate::{
    fault::{chance, delay, delayed, slow},
    lab::{Arrival, Family, Lab, OURS, Way, assert_about, assert_share, slack},
};

/// Milliseconds by which a packet may be later than it should be.
fn lateness_ms() -> f64 {
    f64::from(5 * slack())
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
fn the_longest_table_of_a_file_is_obeyed() {
    let Some(lab) = Lab::with(Family::V4, &[Feature::Netem]) else {
        return;
    };
    // One jitter, whatever is drawn.
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("# late\n{}", " 8192".repeat(16384))).unwrap();
    let distribution = Distribution::read(file.path()).unwrap();
    let late = spread(&lab, &lab.there(), distribution);
    assert!(late.iter().all(|late| *late >= 1.0));
    let prompt = late.iter().filter(|late| **late < 1.0 + UNEVEN);
    assert!(prompt.count() > late.len() / 2);
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
