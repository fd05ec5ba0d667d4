use murphy_sys::tap::HEADER_BYTES;

use super::frame::tests::{UDP4, packet};
use super::*;
use crate::{
    net::spec::{Chance, Delay, Loss, Reorder, Shaper},
    rate::Bytes,
    ratio::Ratio,
};
use proptest::prelude::*;
use rand::RngExt;

const MS: u64 = 1_000_000;

fn frame(number: u32) -> Vec<u8> {
    packet(UDP4, &number.to_be_bytes())
}

/// The number in a frame, which stands at its end.
fn number(frame: &[u8]) -> u32 {
    u32::from_be_bytes(*frame.last_chunk().unwrap())
}

fn line(spec: &Spec) -> Line {
    Line::new(spec, None, Order::Free, Limits::default(), 6).unwrap()
}

fn chance(ratio: f64) -> Chance {
    Chance::independent(Ratio::nearest(ratio))
}

fn delay(base: &str, jitter: &str) -> Spec {
    Spec {
        delay: Some(Delay {
            base: base.parse().unwrap(),
            jitter: jitter.parse().unwrap(),
            correlation: Ratio::ZERO,
            distribution: Distribution::Uniform,
        }),
        ..Spec::default()
    }
}

/// Sends numbered frames, one each so many nanoseconds, and gives those that leave with the time when they were due.
fn run(line: &mut Line, frames: u32, each_ns: u64) -> Vec<(u64, u32)> {
    let mut left = Vec::new();
    for at in 0..frames {
        let now_ns = u64::from(at) * each_ns;
        release(line, now_ns, &mut left);
        line.take(now_ns, &frame(at));
    }
    release(line, u64::MAX, &mut left);
    left
}

fn release(line: &mut Line, until_ns: u64, left: &mut Vec<(u64, u32)>) {
    while let Some(due_ns) = line.due().filter(|due_ns| *due_ns <= until_ns) {
        left.push((due_ns, number(line.release(due_ns).unwrap())));
    }
}

#[track_caller]
fn is_binomial(hits: u64, of: u32, share: f64) {
    let (hits, of) = (hits as f64, f64::from(of));
    let sigma = (of * share * (1.0 - share)).sqrt();
    assert!(
        (hits - of * share).abs() < 4.0 * sigma,
        "{hits} of {of}, not {share}"
    );
}

#[test]
fn a_fixed_delay_keeps_the_order_and_is_exact() {
    let mut line = line(&delay("10ms", "0s"));
    let left = run(&mut line, 1000, MS / 10);
    let wanted: Vec<(u64, u32)> = (0..1000)
        .map(|at| (u64::from(at) * MS / 10 + 10 * MS, at))
        .collect();
    assert_eq!(left, wanted);
    let delaying = line.delaying();
    assert_eq!(delaying.lateness.max_ns, 0);
    assert_eq!(
        (delaying.observed.count, delaying.observed.max_ns),
        (1000, 10 * MS)
    );
    assert!((delaying.observed.mean_ns - 10e6).abs() < 1e-3);
    assert_eq!((line.held(), line.due()), (Count::default(), None));
}

#[test]
fn jitter_is_as_wide_as_asked_and_reorders_unless_the_order_is_kept() {
    let spec = delay("50ms", "10ms");
    let is_sorted = |left: &[(u64, u32)]| left.is_sorted_by_key(|(_, number)| *number);
    let mut free = line(&spec);
    let left = run(&mut free, 20_000, MS);
    assert!(left.is_sorted_by_key(|(due_ns, _)| *due_ns) && !is_sorted(&left));
    let Delaying {
        requested,
        observed,
        ..
    } = free.delaying();
    let sigma = 10e6 / 3_f64.sqrt();
    assert!((requested.unwrap().deviation_ns - sigma).abs() < 1e3);
    assert!((observed.mean_ns - 50e6).abs() < 4.0 * sigma / 20_000_f64.sqrt());
    // The fourth moment of a uniform distribution is 9/5 of the square of the second.
    let error = sigma * (0.8 / 20_000_f64).sqrt() / 2.0;
    assert!(
        (observed.deviation_ns - sigma).abs() < 4.0 * error,
        "{observed:?}"
    );
    let mut kept = Line::new(&spec, None, Order::Kept, Limits::default(), 6).unwrap();
    let left = run(&mut kept, 20_000, MS);
    assert!(left.is_sorted() && is_sorted(&left));
}

#[test]
fn the_share_that_overtakes_is_as_asked_and_only_whose_turn_it_is() {
    let spec = |ratio, gap: u32| Spec {
        reorder: Some(Reorder {
            chance: chance(ratio),
            gap: gap.try_into().unwrap(),
        }),
        ..delay("10ms", "0s")
    };
    let mut quarter = line(&spec(0.25, 1));
    let left = run(&mut quarter, 20_000, MS);
    let tally = quarter.tally();
    is_binomial(tally.overtook.frames, 20_000, 0.25);
    assert_eq!(tally.overtook.frames + tally.delayed.frames, 20_000);
    assert_eq!(quarter.delaying().observed.count, tally.delayed.frames);
    let at_once = left
        .iter()
        .filter(|(due_ns, number)| *due_ns == u64::from(*number) * MS);
    assert_eq!(at_once.count() as u64, tally.overtook.frames);
    let mut third = line(&spec(1.0, 3));
    let mut overtook: Vec<u32> = run(&mut third, 9, MS)
        .into_iter()
        .filter(|(due_ns, number)| *due_ns == u64::from(*number) * MS)
        .map(|(_, number)| number)
        .collect();
    overtook.sort_unstable();
    assert_eq!(overtook, [2, 5, 8]);
}

#[test]
fn copies_corruptions_and_lost_segments_are_as_many_as_asked() {
    let spec = Spec {
        duplicate: Some(chance(0.1)),
        corrupt: Some(chance(0.2)),
        loss: Some(Loss::Random(chance(0.3))),
        loss_unit: LossUnit::Segment,
        ..Spec::default()
    };
    let mut disturbed = line(&spec);
    let (mut left, mut changed) = (0, 0);
    for at in 0..20_000 {
        disturbed.take(0, &frame(at));
        while let Some(bytes) = disturbed.release(0) {
            left += 1;
            changed += u64::from(bytes[0] == 0); // the checksum is no longer left to others
        }
    }
    let tally = disturbed.tally();
    is_binomial(tally.lost.frames, 20_000, 0.3);
    let passed = 20_000 - u32::try_from(tally.lost.frames).unwrap();
    is_binomial(tally.duplicated.frames, passed, 0.1);
    is_binomial(tally.corrupted.frames, left, 0.2);
    assert_eq!(
        (tally.corrupted.frames, tally.not_corrupted.frames),
        (changed, 0)
    );
    assert_eq!(u64::from(left), u64::from(passed) + tally.duplicated.frames);
    // Lost packets are the kernel's affair.
    let mut whole = line(&Spec {
        loss_unit: LossUnit::Packet,
        ..spec
    });
    run(&mut whole, 1000, MS);
    assert_eq!(whole.tally().lost.frames, 0);
}

#[test]
fn a_rate_comes_before_the_delay_and_its_queue_overflows() {
    let length = frame::size(&frame(0)).bytes;
    let mut slow = line(&Spec {
        // One frame each millisecond.
        rate: Some(Shaper {
            rate: format!("{}bit", length * 8000).parse().unwrap(),
            burst: Bytes(2 * length),
            limit: Bytes(5 * length),
        }),
        ..delay("10ms", "0s")
    });
    let left = run(&mut slow, 10, 0);
    let wanted = [10, 10, 11, 12, 13, 14, 15].map(|due| due * MS);
    assert_eq!(left, wanted.into_iter().zip(0..).collect::<Vec<_>>());
    let tally = slow.tally();
    assert_eq!(
        tally.over_rate,
        Count {
            frames: 3,
            segments: 3,
            bytes: 3 * length
        }
    );
    // To wait for the rate is no delay.
    assert_eq!(slow.delaying().observed.max_ns, 10 * MS);
}

#[test]
fn limits_are_kept_and_counted() {
    let spec = delay("1s", "0s");
    let with = |frames, bytes| {
        let mut line = Line::new(&spec, None, Order::Free, Limits { frames, bytes }, 6).unwrap();
        (0..10).for_each(|at| line.take(0, &frame(at)));
        line
    };
    let few = with(4, 1 << 20);
    assert_eq!((few.held().frames, few.tally().over_frames.frames), (4, 6));
    // Each takes the smallest buffer.
    let mut small = with(100, 3 * 256);
    assert_eq!(
        (small.held().frames, small.tally().over_bytes.frames),
        (3, 7)
    );
    // What was released makes room, once the caller is done with it.
    assert_eq!(small.release(1000 * MS).map(number), Some(0));
    small.take(1000 * MS, &frame(10));
    assert_eq!(
        (small.held().frames, small.tally().over_bytes.frames),
        (3, 7)
    );
    let rest = std::iter::from_fn(|| small.flush().map(number));
    assert_eq!(rest.collect::<Vec<_>>(), [1, 2, 10]);
    assert_eq!(small.delaying().observed.count, 1);
}

#[test]
fn one_seed_is_one_fate_and_one_kind_does_not_change_another() {
    let plain = delay("50ms", "10ms");
    let with_copies = Spec {
        corrupt: Some(chance(0.5)),
        ..plain.clone()
    };
    let dues = |spec: &Spec, seed| {
        let mut line = Line::new(spec, None, Order::Free, Limits::default(), seed).unwrap();
        (0..100).for_each(|at| line.take(0, &frame(at)));
        let dues = std::iter::from_fn(|| {
            let due_ns = line.due()?;
            line.flush().map(|_| due_ns)
        });
        dues.collect::<Vec<_>>()
    };
    assert_eq!(dues(&plain, 6), dues(&plain, 6));
    assert_eq!(dues(&plain, 6), dues(&with_copies, 6));
    assert_ne!(dues(&plain, 6), dues(&plain, 7));
}

#[test]
fn what_is_drawn_for_one_kind_says_nothing_of_another() {
    let kinds = [
        Stream::Loss,
        Stream::Duplicate,
        Stream::Corrupt,
        Stream::Delay,
        Stream::Reorder,
    ];
    let mut drawn = kinds.map(|kind| kind.of(6).random::<u64>());
    drawn.sort_unstable();
    assert!(drawn.windows(2).all(|pair| pair[0] != pair[1]), "{drawn:?}");
}

#[test]
fn late_releases_are_said_to_be_late() {
    let mut line = line(&delay("10ms", "0s"));
    line.take(0, &frame(0));
    assert!(line.release(10 * MS - 1).is_none());
    assert!(line.release(12 * MS).is_some());
    let delaying = line.delaying();
    assert_eq!(delaying.lateness.max_ns, 2 * MS);
    assert_eq!(delaying.observed.max_ns, 12 * MS);
}

#[test]
fn large_frames_are_asked_for_only_where_they_can_be_treated_whole() {
    let rate = |rate: &str, burst| Spec {
        rate: Some(Shaper {
            burst: Bytes(burst),
            ..Shaper::at(rate.parse().unwrap())
        }),
        ..Spec::default()
    };
    let corrupt = Spec {
        corrupt: Some(chance(0.1)),
        ..Spec::default()
    };
    let segments = Spec {
        loss: Some(Loss::Random(chance(0.1))),
        loss_unit: LossUnit::Segment,
        ..Spec::default()
    };
    let mut short_queue = rate("1gbit", 1 << 20);
    if let Some(shaper) = &mut short_queue.rate {
        shaper.limit = Bytes(64 << 10);
    }
    for spec in [corrupt, segments, short_queue, rate("100mbit", 32 << 10)] {
        assert_eq!(frames_for(&spec), Frames::Wire, "{spec}");
    }
    for spec in [
        delay("1s", "1ms"),
        rate("1gbit", 32 << 10),
        rate("1mbit", 1 << 20),
    ] {
        assert_eq!(frames_for(&spec), Frames::Large, "{spec}");
    }
}

#[test]
fn a_table_that_was_not_read_is_missed() {
    let mut spec = delay("10ms", "1ms");
    if let Some(delay) = &mut spec.delay {
        delay.distribution = Distribution::Table("./own.dist".into());
    }
    let error = Line::new(&spec, None, Order::Free, Limits::default(), 6).unwrap_err();
    assert!(error.to_string().contains("./own.dist"), "{error}");
}

fn any_spec() -> impl Strategy<Value = Spec> {
    let some_chance = || {
        let values = (0.05_f64..1.0, 0.0_f64..0.9);
        proptest::option::of(values.prop_map(|(ratio, correlation)| Chance {
            ratio: Ratio::nearest(ratio),
            correlation: Ratio::nearest(correlation),
        }))
    };
    let some_delay = proptest::option::of((1_u64..20, 0_u64..20, 0.0_f64..0.9));
    let some_rate = proptest::option::of((1_u64..10_000, 0_u64..500, 0_u64..500));
    let chances = (some_chance(), some_chance(), some_chance(), some_chance());
    (chances, some_delay, some_rate, 1_u32..5).prop_map(|(chances, delay, rate, gap)| {
        let (loss, duplicate, corrupt, reorder) = chances;
        let delay = delay.map(|(base, jitter, correlation)| Delay {
            base: format!("{base}ms").parse().unwrap(),
            jitter: format!("{}ms", jitter.min(base)).parse().unwrap(),
            correlation: Ratio::nearest(correlation),
            distribution: Distribution::Normal,
        });
        Spec {
            reorder: reorder.filter(|_| delay.is_some()).map(|chance| Reorder {
                chance,
                gap: gap.try_into().unwrap(),
            }),
            delay,
            loss: loss.map(Loss::Random),
            loss_unit: LossUnit::Segment,
            duplicate,
            corrupt,
            rate: rate.map(|(rate, burst, limit)| Shaper {
                rate: format!("{rate}kbit").parse().unwrap(),
                burst: Bytes(burst),
                limit: Bytes(limit),
            }),
            ..Spec::default()
        }
    })
}

proptest! {
    #[test]
    fn nothing_is_lost_or_invented_and_all_leave_in_time(
        spec in any_spec(),
        steps in proptest::collection::vec((0_u64..3 * MS, 0_u8..3), 0..300),
        frames in 1_usize..50,
        buffers in 1_u64..50,
        is_kept: bool,
        seed: u64,
    ) {
        let limits = Limits { frames, bytes: buffers * 256 };
        let order = if is_kept { Order::Kept } else { Order::Free };
        let mut line = Line::new(&spec, None, order, limits, seed).unwrap();
        let (mut now_ns, mut number) = (0, 0);
        for (later_ns, action) in steps {
            now_ns += later_ns;
            if action == 0 {
                let mut last_ns = 0;
                while let Some(due_ns) = line.due().filter(|due_ns| *due_ns <= now_ns) {
                    prop_assert!(due_ns >= last_ns);
                    last_ns = due_ns;
                    prop_assert!(line.release(now_ns).is_some());
                }
                prop_assert!(line.release(now_ns).is_none());
            } else {
                line.take(now_ns, &frame(number));
                number += 1;
            }
            let (tally, held) = (line.tally(), line.held());
            let sum = |counts: &[Count]| {
                let each = counts.iter().map(|count| (count.frames, count.bytes));
                each.fold((0, 0), |sum, count| (sum.0 + count.0, sum.1 + count.1))
            };
            prop_assert_eq!(
                sum(&[tally.taken, tally.duplicated]),
                sum(&[
                    tally.lost,
                    tally.over_frames,
                    tally.over_bytes,
                    tally.over_rate,
                    tally.released,
                    held,
                ])
            );
            prop_assert_eq!(tally.taken.frames, u64::from(number));
            prop_assert!(held.frames <= frames as u64);
        }
    }

    #[test]
    fn the_order_that_is_kept_is_that_of_coming(
        spec in any_spec(),
        gaps_ns in proptest::collection::vec(0_u64..3 * MS, 0..200),
        seed: u64,
    ) {
        // Numbers of corrupt frames say nothing, and those that overtake are asked to.
        let spec = Spec { corrupt: None, reorder: None, ..spec };
        let mut line = Line::new(&spec, None, Order::Kept, Limits::default(), seed).unwrap();
        let mut now_ns = 0;
        for (at, gap_ns) in (0..).zip(gaps_ns) {
            now_ns += gap_ns;
            line.take(now_ns, &frame(at));
        }
        let mut left = Vec::new();
        release(&mut line, u64::MAX, &mut left);
        prop_assert!(left.is_sorted());
    }
}

#[test]
fn a_large_frame_counts_for_as_many_as_it_is_sent_as() {
    let mut stream = frame(0);
    // TCP over IPv4 in segments of 1000 bytes, whose header begins at 34 and has five words.
    stream.resize(HEADER_BYTES + 54 + 2500, 0);
    stream[1] = 1;
    stream[4..6].copy_from_slice(&1000_u16.to_ne_bytes());
    stream[6..8].copy_from_slice(&34_u16.to_ne_bytes());
    stream[HEADER_BYTES + 34 + 12] = 5 << 4;
    let mut delayed = line(&delay("1ms", "0s"));
    delayed.take(0, &stream);
    delayed.take(0, &frame(1));
    let counted = delayed.tally().delayed;
    assert_eq!((counted.frames, counted.segments), (2, 4));
    assert_eq!(delayed.held().segments, 4);
}
