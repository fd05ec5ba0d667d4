//! Traffic control against the real kernel: numbered datagrams prove what each qdisc does. Skipped, with the reason,
//! where the kernel lacks something.

#[path = "qdisc/lab.rs"]
mod lab;

use std::{
    num::{NonZeroU16, NonZeroU32, NonZeroU64},
    os::fd::{AsFd, FromRawFd, OwnedFd},
    ptr,
    time::Duration,
};

use lab::{
    Family, Lab, OTHERS_MAX, OURS, Way, assert_share, distinct, index, moments, skipped, slack,
};
use murphy_sys::{
    namespace::NetNamespace,
    qdisc::{
        self, Discipline, Handle, Netem, Place, Prio, QdiscError, Removal, Tbf,
        distribution::Distribution,
        filter::{self, Classifier, FilterPlace, Program, Verdict},
        ifb,
        netem::{Chance, Delay, Loss, Probability, Reorder},
        trial::{Feature, TrialError},
    },
};
use nix::errno::Errno;

const MILLISECOND: u64 = 1_000_000;

fn chance(share: f64) -> Chance {
    Chance::independent(Probability::nearest(share))
}

fn delay(mean_ms: u64, jitter_ms: u64) -> Delay {
    Delay {
        mean_ns: mean_ms * MILLISECOND,
        jitter_ns: jitter_ms * MILLISECOND,
        ..Delay::default()
    }
}

fn delayed(delay: Delay) -> Netem {
    Netem {
        delay: Some(delay),
        limit: 10_000,
        ..Netem::default()
    }
}

fn losing(loss: Loss) -> Netem {
    Netem {
        loss,
        ..Netem::default()
    }
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
fn a_duplicate_is_counted_and_arrives() {
    const COUNT: u32 = 10_000;
    for family in Family::BOTH {
        let Some(lab) = Lab::with(family, &[Feature::Netem]) else {
            return;
        };
        let way = lab.there();
        let netem = Netem {
            duplicate: chance(0.1),
            ..Netem::default()
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
            ..Netem::default()
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
        assert!(arrivals.is_sorted_by_key(|arrival| arrival.number));
        arrivals.sort_by_key(|arrival| arrival.late);
        let late_ms = |index: usize| arrivals[index].late.as_secs_f64() * 1e3;
        let (first, middle) = (late_ms(0), late_ms(150));
        assert!(first >= 50.0, "{first} ms");
        assert!(middle < 50.0 + lateness_ms(), "{middle} ms");
    }
}

#[test]
fn jitter_is_spread_as_asked() {
    const COUNT: u32 = 1000;
    for family in Family::BOTH {
        let Some(lab) = Lab::with(family, &[Feature::Netem]) else {
            return;
        };
        let way = lab.there();
        let stream = || way.stream(COUNT, 100, Duration::from_millis(2));
        let spread = |distribution| Delay {
            distribution,
            ..delay(100, 20)
        };
        // Of the emulator's own: its clock and its timers stand still for milliseconds.
        let unevenness = f64::from(slack() - 1) * 0.3;
        for (distribution, deviation, kurtosis, within) in [
            (Distribution::UNIFORM, 20.0 / 3_f64.sqrt(), 1.8, 1.0),
            (Distribution::normal(), 20.0, 3.0, 0.6827),
        ] {
            let netem = delayed(spread(distribution));
            let (arrivals, _) = lab.while_netem(netem, stream);
            assert_eq!(arrivals.len(), COUNT as usize);
            let (mean, its_deviation) = moments(&arrivals);
            eprintln!("{family:?} {mean:.2} ± {its_deviation:.2}, theory {deviation:.2}");
            let error = deviation * ((kurtosis - 1.0) / 4.0 / f64::from(COUNT)).sqrt();
            assert!((its_deviation - deviation).abs() < 4.0 * error + unevenness);
            assert!(mean > 100.0 - 4.0 * deviation / f64::from(COUNT).sqrt());
            assert!(mean < 103.0 + lateness_ms(), "{mean}");
            let near = (80.0..121.0 + unevenness).contains(&mean);
            assert!(near);
            let _ = within;
        }
        let (arrivals, _) = lab.while_netem(delayed(spread(Distribution::pareto())), stream);
        let (mean, _) = moments(&arrivals);
        let early = arrivals
            .iter()
            .filter(|arrival| arrival.late.as_secs_f64() * 1e3 < mean);
        eprintln!("pareto: {} earlier than {mean:.2}", early.count());
    }
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

/// Asserts that a stream of 200 datagrams takes the time that its rate makes it take.
fn assert_rate(lab: &Lab, way: &Way, discipline: &Discipline, burst_bytes: u32) {
    let frame = f64::from(1000 + 8 + 20 + 14);
    let stream = || way.stream(200, 1000, Duration::ZERO);
    let (arrivals, statistics) = lab.while_root(discipline, stream);
    assert_eq!(arrivals.len(), 200, "{statistics:?}");
    let took = arrivals.last().unwrap().at.as_secs_f64();
    let wanted = (200.0 * frame - f64::from(burst_bytes)) / 200_000.0;
    eprintln!("{} took {took:.3} s, theory {wanted:.3}", discipline.kind());
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
fn slow() -> Tbf {
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

#[test]
fn only_what_a_program_chooses_goes_through_netem() {
    let features = [Feature::Netem, Feature::Prio, Feature::ClsBpf];
    for family in Family::BOTH {
        let Some(lab) = Lab::with(family, &features) else {
            return;
        };
        let way = lab.there();
        let before = lab.shape();
        let prio = Discipline::Prio(Prio::first_but_for_filters(2));
        let root = qdisc::add(&lab.node, lab.root(), &prio).unwrap();
        let band = Place {
            ifindex: lab.ifindex,
            parent: OURS.class(2),
            handle: Handle::qdisc(0x4e),
        };
        let netem = Discipline::Netem(losing(Loss::Random(chance(1.0))));
        qdisc::add(&lab.node, band, &netem).unwrap();
        assert_eq!(way.numbers(100, 1000).len(), 100, "nothing is chosen yet");

        // All but the longer ones are none of its business: -1 says that the filter's own class is meant.
        let fd = longer_than(500, -1, 0);
        let program = Program {
            fd: fd.as_fd(),
            name: "longer",
        };
        let classifier = Classifier::Bpf(program, Verdict::Class(band.parent));
        let filter = filter::add(&lab.node, at(&lab, OURS), &classifier).unwrap();
        assert_eq!(way.numbers(100, 1000).len(), 0);
        assert_eq!(way.numbers(100, 100).len(), 100);
        assert_eq!(lab.statistics(band.handle).drops, 100);

        let again = filter::add(&lab.node, at(&lab, OURS), &classifier).unwrap_err();
        assert_eq!(again.errno(), Some(Errno::EEXIST), "{again}");
        assert_eq!(filter::list(&lab.node, lab.ifindex, OURS).unwrap(), [filter.clone()]);
        assert_eq!(filter::delete(&lab.node, &filter).unwrap(), Removal::Now);
        assert_eq!(filter::delete(&lab.node, &filter).unwrap(), Removal::Gone);
        assert_eq!(way.numbers(100, 1000).len(), 100);
        assert_eq!(qdisc::delete(&lab.node, &root).unwrap(), Removal::Now);
        assert_eq!(lab.shape(), before, "netem went with its prio");
    }
}

#[test]
fn a_program_decides_by_itself_at_a_clsact() {
    let Some(lab) = Lab::with(Family::V4, &[Feature::ClsBpf]) else {
        return;
    };
    let (way, before) = (lab.there(), lab.shape());
    let clsact = qdisc::add(&lab.node, Place::clsact(lab.ifindex), &Discipline::Clsact).unwrap();
    // TC_ACT_SHOT, or TC_ACT_OK.
    let fd = longer_than(500, 2, 0);
    let program = Program {
        fd: fd.as_fd(),
        name: "longer",
    };
    let place = at(&lab, Handle::EGRESS);
    let filter = filter::add(&lab.node, place, &Classifier::BpfDirect(program)).unwrap();
    assert_eq!(way.numbers(100, 1000).len(), 0);
    assert_eq!(way.numbers(100, 100).len(), 100);

    assert_eq!(qdisc::delete(&lab.node, &clsact).unwrap(), Removal::Foreign);
    let mut other = filter.clone();
    other.name = Some("another".into());
    assert_eq!(filter::delete(&lab.node, &other).unwrap(), Removal::Foreign);
    assert_eq!(way.numbers(10, 1000).len(), 0, "neither was touched");

    assert_eq!(filter::delete(&lab.node, &filter).unwrap(), Removal::Now);
    assert_eq!(qdisc::delete(&lab.node, &clsact).unwrap(), Removal::Now);
    assert_eq!(qdisc::delete(&lab.node, &clsact).unwrap(), Removal::Gone);
    assert_eq!(lab.shape(), before);
}

#[test]
fn what_arrives_is_delayed_in_an_ifb() {
    let features = [Feature::Netem, Feature::Redirect, Feature::Ifb];
    for family in Family::BOTH {
        let Some(lab) = Lab::with(family, &features) else {
            return;
        };
        let (there, back) = (lab.there(), lab.back());
        let borrowed = ifb::add(&lab.node, "mphy-test").unwrap();
        let place = Place {
            ifindex: borrowed,
            ..lab.root()
        };
        let netem = delayed(delay(u64::from(50 * slack()), 0));
        qdisc::add(&lab.node, place, &Discipline::Netem(netem)).unwrap();
        let clsact = Place::clsact(lab.ifindex);
        let clsact = qdisc::add(&lab.node, clsact, &Discipline::Clsact).unwrap();
        let redirect = Classifier::Matchall(Verdict::Redirect { ifindex: borrowed });
        let filter = filter::add(&lab.node, at(&lab, Handle::INGRESS), &redirect).unwrap();

        let stream = |way: &Way| way.stream(100, 100, Duration::from_millis(2));
        let (arrived, returned) = (stream(&there), stream(&back));
        assert_eq!((arrived.len(), returned.len()), (100, 100));
        let base = slack() * Duration::from_millis(50);
        assert!(returned.iter().all(|arrival| arrival.late >= base));
        assert!(arrived.iter().any(|arrival| arrival.late < base));

        assert_eq!(filter::delete(&lab.node, &filter).unwrap(), Removal::Now);
        assert_eq!(qdisc::delete(&lab.node, &clsact).unwrap(), Removal::Now);
        assert_eq!(ifb::delete(&lab.node, "mphy-test").unwrap(), Removal::Now);
        assert!(stream(&back).iter().any(|arrival| arrival.late < base));
    }
}

#[test]
fn an_ifb_is_made_and_removed_by_its_name() {
    let Some(lab) = Lab::with(Family::V4, &[Feature::Ifb]) else {
        return;
    };
    let made = ifb::add(&lab.node, "mphy-test").unwrap();
    assert_eq!(made, index(&lab.node, "mphy-test"));
    let again = ifb::add(&lab.node, "mphy-test").unwrap_err();
    assert_eq!(again.errno(), Some(Errno::EEXIST), "{again}");
    assert_eq!(ifb::delete(&lab.node, "eth0").unwrap(), Removal::Foreign);
    assert_eq!(index(&lab.node, "eth0"), lab.ifindex);
    assert_eq!(ifb::delete(&lab.node, "mphy-test").unwrap(), Removal::Now);
    assert_eq!(ifb::delete(&lab.node, "mphy-test").unwrap(), Removal::Gone);
}

#[test]
fn a_foreign_root_is_left_as_it_is() {
    let Some(lab) = Lab::with(Family::V4, &[Feature::Tbf]) else {
        return;
    };
    let before = lab.list();
    assert!(before[0].is_root() && before[0].is_kernel_default());
    let foreign = Place {
        handle: Handle::qdisc(1),
        ..lab.root()
    };
    let tbf = Discipline::Tbf(slow());
    let foreign = qdisc::add(&lab.node, foreign, &tbf).unwrap();
    let with_foreign = lab.shape();
    assert!(lab.list().iter().all(|qdisc| !qdisc.is_kernel_default()));

    let refused = qdisc::add(&lab.node, lab.root(), &tbf).unwrap_err();
    assert_eq!(refused.errno(), Some(Errno::EEXIST), "{refused}");
    let mut id = foreign.clone();
    for (handle, kind) in [(OURS, "tbf"), (foreign.place.handle, "prio")] {
        (id.place.handle, id.kind) = (handle, kind.into());
        assert_eq!(qdisc::delete(&lab.node, &id).unwrap(), Removal::Foreign);
    }
    assert_eq!(lab.shape(), with_foreign);

    assert_eq!(qdisc::delete(&lab.node, &foreign).unwrap(), Removal::Now);
    assert_eq!(qdisc::delete(&lab.node, &foreign).unwrap(), Removal::Gone);
    let kinds = |list: Vec<qdisc::Qdisc>| list.into_iter().map(|qdisc| qdisc.id);
    assert!(kinds(before).eq(lab.shape()));
    id.place.ifindex = 9999;
    assert_eq!(qdisc::delete(&lab.node, &id).unwrap(), Removal::Gone);
}

#[test]
fn a_trial_says_what_is_missing_and_changes_nothing() {
    let links = || {
        let names = std::fs::read_dir("/sys/class/net").unwrap();
        let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    if let Err(error) = NetNamespace::create() {
        return skipped(&error);
    }
    let before = links();
    for feature in Feature::ALL {
        match feature.trial() {
            Ok(()) => {}
            Err(TrialError::Ignored(Feature::NetemSeed)) => {
                assert!(Feature::Netem.trial().is_ok());
            }
            Err(error @ TrialError::Missing { .. }) => {
                let text = error.to_string();
                let names = [feature.config(), feature.module()];
                assert!(names.iter().all(|name| text.contains(name)), "{text}");
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(links(), before);
}

#[test]
fn the_kernels_own_words_are_in_the_error() {
    let Some(lab) = Lab::with(Family::V4, &[Feature::Tbf]) else {
        return;
    };
    let nowhere = Place {
        parent: Handle::qdisc(0x55).class(1),
        ..lab.root()
    };
    let error = qdisc::add(&lab.node, nowhere, &Discipline::Tbf(slow())).unwrap_err();
    let QdiscError::Refused { said, .. } = &error else {
        panic!("{error}");
    };
    assert!(said.is_some(), "{error}");
    let text = error.to_string();
    assert!(text.contains("add the qdisc tbf 4d: below 55:1"), "{text}");
}

fn at(lab: &Lab, parent: Handle) -> FilterPlace {
    FilterPlace {
        ifindex: lab.ifindex,
        parent,
        priority: NonZeroU16::MIN,
    }
}

/// A BPF program that returns one number for packets of more bytes than some, and another for the rest.
fn longer_than(bytes: i32, then: i32, otherwise: i32) -> OwnedFd {
    let instruction = |code: u8, registers: u8, jump: i16, value: i32| {
        let [jump0, jump1] = jump.to_ne_bytes();
        let [value0, value1, value2, value3] = value.to_ne_bytes();
        let bytes = [code, registers, jump0, jump1, value0, value1, value2, value3];
        u64::from_ne_bytes(bytes)
    };
    let program = [
        // r2 = skb->len; if r2 > bytes goto +2; r0 = otherwise; exit; r0 = then; exit
        instruction(0x61, 0x12, 0, 0),
        instruction(0x25, 0x02, 2, bytes),
        instruction(0xb7, 0x00, 0, otherwise),
        instruction(0x95, 0x00, 0, 0),
        instruction(0xb7, 0x00, 0, then),
        instruction(0x95, 0x00, 0, 0),
    ];
    // SAFETY: an instruction is of eight bytes, aligned to four; there are as many as said, which live longer than the
    // call; both texts end with a zero; no options are a null pointer.
    let fd = unsafe {
        libbpf_sys::bpf_prog_load(
            libbpf_sys::BPF_PROG_TYPE_SCHED_CLS,
            c"longer".as_ptr(),
            c"Dual BSD/GPL".as_ptr(),
            program.as_ptr().cast(),
            program.len() as u64,
            ptr::null_mut(),
        )
    };
    assert!(fd >= 0, "{}", Errno::from_raw(-fd));
    // SAFETY: the kernel has just given it to us, and nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}
