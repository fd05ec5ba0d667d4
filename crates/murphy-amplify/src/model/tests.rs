//! Tests of models: from recordings made up here, with figures computed by hand.

use murphy_sys::{census::Kind, syscalls::Errno};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Class, Combination, Model, Models, Options, Realism, Rule, Unseen, models};
use crate::recorder::Row;
use crate::recording::{
    Recording,
    sample::{lines, row, series, together},
};
use murphy_fault::syscall::{self, Pick, Rules};

const TCP: Option<Kind> = Some(Kind::Tcp);
/// Only what was seen.
const SEEN: Options = Options {
    rule: Rule::DEFAULT,
    unseen: Unseen::None,
    environmental_is_on: false,
};

pub fn of(intervals: &[Vec<Row>], options: &Options) -> Models {
    let recording = Recording::read(lines(intervals).as_bytes()).unwrap();
    models(&recording, options).unwrap()
}

fn of_all(all: &[Vec<Vec<Row>>]) -> Models {
    of(&together(all), &SEEN)
}

fn named<'a>(models: &'a Models, name: &str) -> &'a Model {
    let found = models.models.iter().find(|model| model.name == name);
    found.unwrap_or_else(|| panic!("{name}: {:?}", names(models)))
}

fn names(models: &Models) -> Vec<&str> {
    let all = models.models.iter();
    all.map(|model| model.name.as_str()).collect()
}

fn about(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-9, "{found} {expected}");
}

#[test]
fn each_class_has_its_strategy() {
    let resets = series(
        "read",
        TCP,
        Some(true),
        "ECONNRESET",
        &[(5, 100), (0, 100), (0, 100), (0, 100)],
    );
    let missing = series(
        "openat",
        None,
        None,
        "ENOENT",
        &[(10, 100), (0, 100), (20, 100), (10, 100)],
    );
    let waits = series(
        "accept4",
        TCP,
        Some(true),
        "EAGAIN",
        &[(49, 100), (49, 100), (50, 100), (48, 100)],
    );
    let mostly = series("connect", TCP, Some(false), "ECONNREFUSED", &[(9, 10); 4]);
    let models = of_all(&[resets, missing, waits, mostly]);
    // Name, class, rate, natural rate, variance, amplification.
    for (name, class, rate, natural, variance, amplification) in [
        // 5 of 400; the rates are 0.05 and three times 0, of mean 0.0125.
        (
            "read-tcp-nowait-ECONNRESET",
            Class::Sporadic,
            0.05,
            0.0125,
            0.000_468_8,
            4.0,
        ),
        // 40 of 400; (0 + 0.01 + 0.01 + 0) / 4.
        ("openat-ENOENT", Class::Fluctuating, 0.2, 0.1, 0.005, 2.0),
        // 196 of 400; 0.5 x 1.2; 0.6 / 0.49 = 1.2245.
        (
            "accept4-tcp-nowait-EAGAIN",
            Class::Steady,
            0.6,
            0.49,
            0.000_05,
            1.224,
        ),
        // 0.9 x 1.2 is above the cap.
        (
            "connect-tcp-ECONNREFUSED",
            Class::Steady,
            1.0,
            0.9,
            0.0,
            1.111,
        ),
    ] {
        let model = named(&models, name);
        assert_eq!(model.class, class, "{name}");
        about(model.rate, rate);
        about(model.natural.rate, natural);
        about(model.natural.variance, variance);
        about(model.amplification.unwrap(), amplification);
        assert!(model.is_on && model.realism == Realism::Seen, "{name}");
        assert_eq!(model.reason, "It was seen here.");
    }
}

#[test]
fn every_number_of_the_rule_can_be_chosen() {
    let calls = series(
        "openat",
        None,
        None,
        "ENOENT",
        &[(10, 100), (0, 100), (20, 100), (10, 100)],
    );
    let rate = |rule: Rule| {
        let models = of(&calls, &Options { rule, ..SEEN });
        (models.models[0].class, models.models[0].rate)
    };
    let default = Rule::DEFAULT;
    let steady = Rule {
        variance: 0.01,
        ..default
    };
    assert_eq!(rate(default), (Class::Fluctuating, 0.2));
    assert_eq!(rate(steady), (Class::Steady, 0.24));
    let twice = Rule {
        factor: 2.0,
        ..steady
    };
    assert_eq!(rate(twice), (Class::Steady, 0.4));
    let capped = Rule { cap: 0.3, ..twice };
    assert_eq!(rate(capped), (Class::Steady, 0.3));
    let sporadic = Rule {
        threshold: 0.2,
        fixed: 0.15,
        ..default
    };
    assert_eq!(rate(sporadic), (Class::Sporadic, 0.15));
    let bad = Options {
        rule: Rule {
            cap: 1.5,
            ..default
        },
        ..SEEN
    };
    let recording = Recording::read(lines(&calls).as_bytes()).unwrap();
    assert_eq!(
        models(&recording, &bad).unwrap_err().to_string(),
        "the rule's cap is 1.5: expected a share from 0 to 1"
    );
}

#[test]
fn a_natural_rate_has_wilsons_interval() {
    let models = of_all(&[series("openat", None, None, "ENOENT", &[(5, 100); 4])]);
    let model = named(&models, "openat-ENOENT");
    // 20 of 400, whose intervals do not scatter: (0.05 + 0.0048018 -+ 0.0218914) / 1.0096036.
    about(model.natural.low, 0.0326);
    about(model.natural.high, 0.07596);
    // What comes as often by nature as it would be injected is no experiment.
    assert!(!model.is_on && model.class == Class::Sporadic);
    assert!(
        model.reason.ends_with("there is nothing to amplify."),
        "{}",
        model.reason
    );
    assert_eq!(
        model.notes[0],
        "Too few calls or intervals to know its rate: 400 in 4."
    );
}

#[test]
fn bursts_of_a_recording_are_found_again() {
    // A call that fails is followed by one that does so with 0.8, one that does not by one that fails with 0.2 x 0.02 / 0.98.
    let (ends, begins) = (0.2, 0.2 * 0.02 / 0.98);
    let mut random = ChaCha8Rng::seed_from_u64(4);
    let mut fails = false;
    let counts: Vec<(u64, u64)> = (0..1000)
        .map(|_| {
            let failed = (0..500).filter(|_| {
                fails ^= random.random_bool(if fails { ends } else { begins });
                fails
            });
            (failed.count() as u64, 500)
        })
        .collect();
    let models = of_all(&[series("openat", None, None, "EMFILE", &counts)]);
    let model = named(&models, "openat-EMFILE");
    let length = model.burst.unwrap();
    assert!((4..=6).contains(&length), "{length}");
    let natural = model.natural;
    assert!(natural.low < 0.02 && 0.02 < natural.high, "{natural:?}");
    // Bursts make calls depend on each other: the interval is as wide as that of (1 + 0.8 x ...) / (1 - 0.8 x ...) times fewer calls.
    let independent = super::confidence::wilson(natural.rate, natural.calls as f64);
    assert!(natural.high - natural.low > 2.0 * (independent[1] - independent[0]));
    assert_eq!(model.in_a_row, None);
}

#[test]
fn what_is_answered_at_once_is_capped_in_a_row() {
    let models = of_all(&[series("read", TCP, Some(true), "EAGAIN", &[(1, 100); 4])]);
    let model = named(&models, "read-tcp-nowait-EAGAIN");
    assert_eq!((model.in_a_row, model.burst), (Some(10), None));
}

#[test]
fn what_is_seen_comes_before_what_may_be_and_what_cannot_is_off() {
    let calls = series(
        "pread64",
        Some(Kind::File),
        Some(false),
        "EIO",
        &[(1, 100); 4],
    );
    let all = |environmental_is_on| Options {
        unseen: Unseen::All,
        environmental_is_on,
        ..SEEN
    };
    let made = of(&calls, &all(true));
    let ranks: Vec<(bool, Realism)> = made
        .models
        .iter()
        .map(|model| (model.is_on, model.realism))
        .collect();
    let mut sorted = ranks.clone();
    sorted.sort_by_key(|(is_on, realism)| (!is_on, *realism));
    assert_eq!(ranks, sorted);
    assert_eq!(made.models[0].name, "pread64-file-EIO");
    for (name, realism, is_on, why) in [
        ("pread64-file-EIO", Realism::Seen, true, "It was seen here."),
        (
            "pread64-file-EAGAIN",
            Realism::Impossible,
            false,
            "On a descriptor that waits",
        ),
        (
            "pread64-file-ECONNRESET",
            Realism::Impossible,
            false,
            "of kind file",
        ),
        (
            "pread64-file-EBADF",
            Realism::Impossible,
            false,
            "wrong itself",
        ),
    ] {
        let model = named(&made, name);
        assert_eq!((model.realism, model.is_on), (realism, is_on), "{name}");
        assert!(model.reason.contains(why), "{}", model.reason);
    }
    assert!(!named(&made, "pread64-file-EAGAIN").can_be_injected());
    let calls = series("openat", None, None, "ENOENT", &[(1, 100); 4]);
    for is_on in [true, false] {
        let made = of(&calls, &all(is_on));
        let model = named(&made, "openat-EMFILE");
        assert_eq!(
            (model.realism, model.is_on),
            (Realism::Environmental, is_on)
        );
        assert!(
            model
                .reason
                .starts_with("It was not seen here; the environment may do it.")
        );
        assert_eq!((model.amplification, model.rate), (None, 0.05));
        about(model.natural.rate, 0.0);
        // Wilson's upper end of 0 of 400: z^2 / (400 + z^2).
        about(model.natural.high, 0.009_512);
    }
    assert_eq!(names(&of(&calls, &SEEN)), ["openat-ENOENT"]);
    // Guarded calls are on only where somebody says so.
    let waits = series("mmap", None, None, "ENOMEM", &[(1, 100); 4]);
    let made = of(&waits, &SEEN);
    let model = named(&made, "mmap-ENOMEM");
    assert!(!model.is_on && !model.can_be_injected());
    assert!(
        model
            .reason
            .starts_with("It was seen here, but is off. mmap is guarded")
    );
}

#[test]
fn the_most_telling_experiment_comes_first() {
    let many = series("read", TCP, Some(false), "ECONNRESET", &[(1, 10_000); 4]);
    let few = series(
        "fsync",
        Some(Kind::File),
        Some(false),
        "EIO",
        &[(1, 1000); 4],
    );
    let noise = series("read", TCP, Some(true), "EAGAIN", &[(1, 10_000); 4]);
    let models = of_all(&[noise, few, many]);
    let scores: Vec<f64> = models.models.iter().map(|model| model.score).collect();
    assert_eq!(
        names(&models),
        [
            "read-tcp-ECONNRESET",
            "fsync-file-EIO",
            "read-tcp-nowait-EAGAIN"
        ],
        "{scores:?}"
    );
    // 10,000 calls a second, hit by (0.05 - 0.0001) / 0.9999; 500 times as often as by nature: ln 500 / ln 10^6.
    let hits: f64 = 10_000.0 * 0.0499 / 0.9999;
    let expected = hits / (hits + 1.0) * 500_f64.ln() / 1e6_f64.ln();
    assert!((models.models[0].score - expected).abs() < 1e-4);
}

#[test]
fn errors_of_one_cause_or_of_the_same_intervals_are_injected_together() {
    let at = |place: usize| u64::from(place.is_multiple_of(10));
    let counts: Vec<(u64, u64)> = (0..100).map(|place| (at(place), 100)).collect();
    let one = series("openat", None, None, "EMFILE", &counts);
    let other = series("accept4", TCP, Some(false), "EMFILE", &[(1, 100); 100]);
    let with_it = series("sendto", TCP, Some(false), "ECONNRESET", &counts);
    let models = of_all(&[one, other, with_it]);
    let found: Vec<(&str, bool, Vec<&str>)> = models
        .combinations
        .iter()
        .map(|one| {
            let names = one.models.iter().map(String::as_str).collect();
            (one.name.as_str(), one.is_on, names)
        })
        .collect();
    assert_eq!(
        found,
        [
            (
                "descriptors-EMFILE",
                true,
                vec!["openat-EMFILE", "accept4-tcp-EMFILE"]
            ),
            (
                "together-openat-EMFILE",
                true,
                vec!["openat-EMFILE", "sendto-tcp-ECONNRESET"]
            ),
        ]
    );
    // Ten of a hundred intervals, all shared: one in C(100, 10) = 1.731e13.
    assert!(
        models.combinations[1].reason.contains("p 5.8e-14"),
        "{}",
        models.combinations[1].reason
    );
    let unseen = of(
        &together(&[
            series(
                "fsync",
                Some(Kind::File),
                Some(false),
                "EINTR",
                &[(0, 9); 4],
            ),
            series(
                "pwrite64",
                Some(Kind::File),
                Some(false),
                "EINTR",
                &[(0, 9); 4],
            ),
        ]),
        &Options::default(),
    );
    let full = unseen
        .combinations
        .iter()
        .find(|one| one.name == "files-ENOSPC");
    let full = full.expect("a full file system");
    assert!(!full.is_on && full.models.len() == 2, "{full:?}");
}

#[test]
fn a_model_is_an_experiment() {
    let resets = series(
        "sendto",
        TCP,
        Some(true),
        "ECONNRESET",
        &[(5, 100), (0, 100), (0, 100), (0, 100)],
    );
    let waits = series("accept4", TCP, Some(true), "EAGAIN", &[(49, 100); 4]);
    let made = of_all(&[resets, waits]);
    let experiment = |name| named(&made, name).experiment(0.01).unwrap();
    let resets = experiment("sendto-tcp-nowait-ECONNRESET");
    let [part] = &resets.parts[..] else {
        panic!("{resets:?}");
    };
    assert_eq!(part.calls.to_string(), "sendto");
    assert_eq!(part.errno, Errno::named("ECONNRESET").unwrap());
    assert_eq!(part.kinds, [syscall::Kind::Socket]);
    assert_eq!((part.natural.rate, resets.first), (0.0125, 0.025));
    assert_eq!((resets.up_to, part.pick), (0.05, Pick::Sticky));
    let waits = experiment("accept4-tcp-nowait-EAGAIN");
    // 0.49 x 1.2, which is less than twice the natural rate.
    assert_eq!(
        (waits.first, waits.up_to, waits.parts[0].pick),
        (0.588, 0.588, Pick::AtMost(10))
    );
    assert!(Rules::of(&waits.specs(0.588)).is_ok());
    let both = Combination {
        name: "both".into(),
        is_on: true,
        reason: String::new(),
        models: made.models.iter().map(|model| model.name.clone()).collect(),
    };
    let both = made.together(&both, 0.01).expect("they are there").unwrap();
    assert_eq!((both.parts.len(), both.parts[0].weight), (2, 1.0));
    let leader = made.models[0].rate;
    assert!((both.parts[1].weight - made.models[1].rate / leader).abs() < 1e-12);
    assert_eq!(Rules::of(&both.specs(leader)).unwrap().rules.len(), 2);
    let gone = Combination {
        models: vec!["nobody".into()],
        ..made.combinations.first().cloned().unwrap_or(Combination {
            name: "gone".into(),
            is_on: true,
            reason: String::new(),
            models: Vec::new(),
        })
    };
    assert!(made.together(&gone, 0.01).is_none());
}

#[test]
fn every_model_that_is_on_can_be_injected() {
    let mut all = Vec::new();
    for (call, kind, nonblocking, errno) in [
        ("read", Some(Kind::Pipe), Some(true), "EAGAIN"),
        ("write", Some(Kind::File), Some(false), "ENOSPC"),
        ("futex", None, None, "EAGAIN"),
        ("epoll_wait", Some(Kind::Epoll), Some(false), "EINTR"),
        ("getpid", None, None, "EIO"),
        ("ioctl", Some(Kind::Terminal), None, "ENOTTY"),
        ("openat", None, None, "ENOENT"),
        ("close", None, None, "EIO"),
        ("clone", None, None, "EAGAIN"),
    ] {
        all.push(series(call, kind, nonblocking, errno, &[(1, 100); 3]));
    }
    let every = Options {
        unseen: Unseen::All,
        environmental_is_on: true,
        ..SEEN
    };
    let made = of(&together(&all), &every);
    assert!(made.models.len() > 50, "{}", made.models.len());
    for model in made.models.iter().filter(|model| model.is_on) {
        let experiment = model.experiment(0.01).unwrap();
        let rules = Rules::of(&experiment.specs(model.rate));
        assert!(rules.is_ok(), "{}: {rules:?}", model.name);
    }
    assert!(made.combinations.len() >= 3, "{:?}", made.combinations);
    for one in &made.combinations {
        let experiment = made.together(one, 0.01).unwrap().unwrap();
        let rules = Rules::of(&experiment.specs(experiment.up_to));
        assert!(rules.is_ok(), "{one:?}: {rules:?}");
    }
}

#[test]
fn a_recording_of_nothing_makes_no_models() {
    let made = of(&[], &Options::default());
    assert!(made.models.is_empty() && made.combinations.is_empty());
    let never = vec![vec![row("read", TCP, Some(true), "EAGAIN", 0)]];
    assert!(of(&never, &Options::default()).models.is_empty());
}
