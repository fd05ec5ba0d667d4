//! What is where, whose it is, and what is left of it.

use std::{os::fd::AsFd, time::Duration};

use murphy_sys::{
    namespace::NetNamespace,
    qdisc::{
        self, Discipline, Handle, Place, Prio, QdiscError, Removal,
        filter::{self, Classifier, Program, Verdict},
        ifb,
        netem::Loss,
        trial::{Feature, TrialError},
    },
};
use nix::errno::Errno;

use crate::{
    fault::{chance, delay, delayed, losing, slow},
    lab::{Family, Lab, OURS, Way, index, skipped, slack},
    program::longer_than,
    time::seconds,
};

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
        let filter = filter::add(&lab.node, lab.first_filter(OURS), &classifier).unwrap();
        assert_eq!(way.numbers(100, 1000).len(), 0);
        assert_eq!(way.numbers(100, 100).len(), 100);
        assert_eq!(lab.statistics(band.handle).drops, 100);

        let again = filter::add(&lab.node, lab.first_filter(OURS), &classifier).unwrap_err();
        assert_eq!(again.errno(), Some(Errno::EEXIST), "{again}");
        assert_eq!(
            filter::list(&lab.node, lab.ifindex, OURS).unwrap(),
            std::slice::from_ref(&filter)
        );
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
    let place = lab.first_filter(Handle::EGRESS);
    let again = qdisc::add(&lab.node, clsact.place, &Discipline::Clsact).unwrap_err();
    assert_eq!(again.errno(), Some(Errno::EEXIST), "{again}");
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
    for family in Family::BOTH {
        let Some(lab) = Lab::with(
            family,
            &[
                Feature::Netem,
                Feature::Matchall,
                Feature::Mirred,
                Feature::Ifb,
            ],
        ) else {
            return;
        };
        let redirect = |ifindex| Classifier::Matchall(Verdict::Redirect { ifindex });
        with_redirect_to(&lab, &late(), redirect, || {
            assert!(lab.back().lateness(100).iter().all(|late| *late >= base()));
            assert!(most_are_prompt(&lab.there(), 100));
        });
    }
}

#[test]
fn only_what_a_program_chooses_is_redirected() {
    let features = [
        Feature::Netem,
        Feature::ClsBpf,
        Feature::Mirred,
        Feature::Ifb,
    ];
    for family in Family::BOTH {
        let Some(lab) = Lab::with(family, &features) else {
            return;
        };
        let fd = longer_than(500, -1, 0);
        let program = Program {
            fd: fd.as_fd(),
            name: "longer",
        };
        let redirect = |ifindex| Classifier::Bpf(program, Verdict::Redirect { ifindex });
        let back = lab.back();
        with_redirect_to(&lab, &late(), redirect, || {
            assert!(back.lateness(1000).iter().all(|late| *late >= base()));
            assert!(most_are_prompt(&back, 100));
        });
        assert!(most_are_prompt(&back, 1000));
    }
}

/// How late what is redirected is, at least.
fn base() -> Duration {
    slack() * Duration::from_millis(50)
}

fn late() -> Discipline {
    Discipline::Netem(delayed(delay(u64::from(50 * slack()), 0)))
}

#[test]
fn what_arrives_has_the_rate_of_an_ifb() {
    let features = [Feature::Tbf, Feature::ClsBpf, Feature::Mirred, Feature::Ifb];
    let Some(lab) = Lab::with(Family::V4, &features) else {
        return;
    };
    let fd = longer_than(500, -1, 0);
    let program = Program {
        fd: fd.as_fd(),
        name: "longer",
    };
    let redirect = |ifindex| Classifier::Bpf(program, Verdict::Redirect { ifindex });
    let back = lab.back();
    let tbf = slow();
    with_redirect_to(&lab, &Discipline::Tbf(tbf), redirect, || {
        let arrivals = back.stream(200, 1000, Duration::ZERO);
        let took = arrivals.last().unwrap().at.as_secs_f64();
        assert!(took > seconds(200, tbf.burst_bytes), "{took} s");
    });
}

/// A busy machine may hold some packets up.
fn most_are_prompt(way: &Way, bytes: usize) -> bool {
    let late = way.lateness(bytes);
    late.iter().filter(|late| **late < base()).count() > late.len() / 2
}

/// Does something while what arrives at the node is redirected to an ifb, and takes everything away again.
fn with_redirect_to<'a>(
    lab: &Lab,
    discipline: &Discipline,
    redirect: impl FnOnce(u32) -> Classifier<'a>,
    work: impl FnOnce(),
) {
    const NAME: &str = "mphy-test";
    let before = lab.shape();
    let borrowed = ifb::add(&lab.node, NAME).unwrap();
    let place = Place {
        ifindex: borrowed,
        ..lab.root()
    };
    qdisc::add(&lab.node, place, discipline).unwrap();
    let clsact = Place::clsact(lab.ifindex);
    let clsact = qdisc::add(&lab.node, clsact, &Discipline::Clsact).unwrap();
    let place = lab.first_filter(Handle::INGRESS);
    let filter = filter::add(&lab.node, place, &redirect(borrowed)).unwrap();
    work();
    assert_eq!(filter::delete(&lab.node, &filter).unwrap(), Removal::Now);
    assert_eq!(qdisc::delete(&lab.node, &clsact).unwrap(), Removal::Now);
    assert_eq!(ifb::delete(&lab.node, NAME).unwrap(), Removal::Now);
    assert_eq!(lab.shape(), before);
}

#[test]
fn an_ifb_is_made_and_removed_by_its_name() {
    let Some(lab) = Lab::with(Family::V4, &[Feature::Ifb, Feature::Tbf]) else {
        return;
    };
    let made = ifb::add(&lab.node, "mphy-test").unwrap();
    assert_eq!(made, index(&lab.node, "mphy-test"));
    let again = ifb::add(&lab.node, "mphy-test").unwrap_err();
    assert_eq!(again.errno(), Some(Errno::EEXIST), "{again}");

    // The kernel gives it a default with a queue, which comes back.
    let place = Place {
        ifindex: made,
        ..lab.root()
    };
    let kinds = || -> Vec<_> {
        let there = qdisc::list(&lab.node, made).unwrap();
        assert!(there.iter().all(qdisc::Qdisc::is_kernel_default));
        there.into_iter().map(|qdisc| qdisc.id.kind).collect()
    };
    let before = kinds();
    assert!(!before.is_empty() && before[0] != "noqueue", "{before:?}");
    let root = qdisc::add(&lab.node, place, &Discipline::Tbf(slow())).unwrap();
    assert_eq!(qdisc::delete(&lab.node, &root).unwrap(), Removal::Now);
    assert_eq!(kinds(), before);

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

    for place in [lab.root(), foreign.place] {
        let refused = qdisc::add(&lab.node, place, &tbf).unwrap_err();
        assert_eq!(refused.errno(), Some(Errno::EEXIST), "{refused}");
    }
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
