//! `kill -9` of the injector of disturbed packets, of its keeper, and of both, at random instants: traffic is normal at
//! once, or when the keeper or `murphy recover` has run, and nothing is left then.
//!
//! A sample by default; three hundred with `MURPHY_SOAK=1`.
#![allow(
    clippy::print_stdout,
    reason = "the soak reads the figure that is printed"
)]

#[path = "../../murphy-sys/tests/crew/mod.rs"]
mod crew;
#[path = "../../murphy-sys/tests/wire/mod.rs"]
mod wire;

mod harness;
mod network;
#[path = "network/talker.rs"]
mod talker;
mod victims;

use std::{
    env, fmt,
    thread::sleep,
    time::{Duration, Instant},
};

use harness::{Guard, patience, say_skipped, signal, wait_until};
use murphy_fault::net::Engine;
use murphy_sys::{
    nfqueue,
    traffic::{Detached, detach},
};
use network::Nodes;
use rand::{RngExt, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use talker::{TO_PEER, Talker};

/// How many kills a sample and the full figure have.
const SAMPLE: usize = 20;
const FULL: usize = 300;
/// It is in force after some hundred milliseconds at most: a kill falls before, in the middle or after.
const INSTANT_MS: u64 = 600;

/// The faults, each by an engine.
const FAULTS: [(&str, &str); 14] = [
    ("tcx", "--partition --direction both"),
    ("tcx", "--loss 100%"),
    ("tcx", "--gilbert-elliott p=50%,r=1%"),
    ("tcx", "--duplicate 100% --direction from"),
    ("netem", "--delay 5s --direction both"),
    ("netem", "--rate 8kbit"),
    ("cable", "--delay 5s --direction both"),
    ("cable", "--rate 8kbit"),
    ("cls_bpf", "--partition --direction both"),
    ("cls_bpf", "--delay 5s --direction both"),
    ("cgroup_skb", "--partition --direction both"),
    ("cgroup_skb", "--loss 100%"),
    ("nfqueue", "--partition --direction both"),
    ("nfqueue", "--delay 5s --direction from"),
];

/// Who is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kill {
    Injector,
    InjectorThenKeeper,
    KeeperThenInjector,
}

impl Kill {
    const ALL: [Self; 3] = [
        Self::Injector,
        Self::InjectorThenKeeper,
        Self::KeeperThenInjector,
    ];
}

/// One kill of the series.
#[derive(Clone, Copy, Debug)]
struct Case {
    engine: &'static str,
    fault: &'static str,
    kill: Kill,
    instant: Duration,
}

impl Case {
    /// Whether packets may be disturbed until somebody removes what disturbs them.
    fn lasts(&self) -> bool {
        self.kill != Kill::Injector && matches!(self.engine, "cls_bpf" | "netem")
    }

    fn words(&self) -> Vec<&'static str> {
        let words = ["inject", "net", "--for", "60s", "--engine", self.engine];
        words
            .into_iter()
            .chain(self.fault.split(' '))
            .chain(["-t"])
            .collect()
    }
}

#[derive(Default)]
struct Figures {
    kills: usize,
    in_force: usize,
    stale: usize,
    /// When nothing but the kernel has to end it, and when the keeper has to.
    at_once: Duration,
    by_keeper: Duration,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "figure: {} kills, {} of them with packets disturbed, {} left a stale journal that recover ended; all that was sent {} ms after a kill came, {} ms where the keeper had to see to it",
            self.kills,
            self.in_force,
            self.stale,
            self.at_once.as_millis(),
            self.by_keeper.as_millis()
        )
    }
}

/// Two nodes, and somebody on the first in a cgroup of its own.
struct Stage {
    talker: Option<Talker>,
    nodes: Nodes,
    guard: Guard,
}

#[test]
fn nobody_is_disturbed_whoever_is_killed_whenever() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let Some(nodes) = Nodes::lay_or_skip(&guard) else {
        return;
    };
    let talker = Talker::start(&guard, &nodes.wire.a, "t", TO_PEER);
    let stage = Stage {
        talker,
        nodes,
        guard,
    };
    let count = if env::var_os("MURPHY_SOAK").is_some() {
        FULL
    } else {
        SAMPLE
    };
    let mut figures = Figures::default();
    for case in cases(&stage, count) {
        stage.kill(case, &mut figures);
    }
    println!("{figures}");
    assert!(figures.in_force > 0, "no kill fell into one: {figures}");
}

/// As many as that, drawn by a seed: every fault meets every kind of kill before one does again.
fn cases(stage: &Stage, count: usize) -> Vec<Case> {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let works = |engine: &&str| {
        let error = match engine.parse::<Engine>().expect("an engine").trial() {
            Ok(()) if *engine != "cgroup_skb" || stage.talker.is_some() => return true,
            Ok(()) => "no cgroups of version 2".to_owned(),
            Err(error) => error.to_string(),
        };
        say_skipped(&error);
        false
    };
    let faults = FAULTS.iter().filter(|(engine, _)| works(engine));
    let pairs: Vec<_> = faults
        .flat_map(|fault| Kill::ALL.map(|kill| (fault, kill)))
        .collect();
    let mut cases = Vec::new();
    while cases.len() < count {
        let mut round = pairs.clone();
        round.shuffle(&mut rng);
        cases.extend(round.into_iter().map(|((engine, fault), kill)| Case {
            engine,
            fault,
            kill,
            instant: Duration::from_millis(rng.random_range(0..INSTANT_MS)),
        }));
    }
    cases.truncate(count);
    cases
}

impl Stage {
    fn target(&self, engine: &str) -> String {
        match self.talker.as_ref().filter(|_| engine == "cgroup_skb") {
            Some(talker) => talker.running.target(),
            None => self.nodes.target(),
        }
    }

    fn is_calm(&self, engine: &str) -> bool {
        match self.talker.as_ref().filter(|_| engine == "cgroup_skb") {
            Some(talker) => [true, false].into_iter().all(|is_v4| {
                let outside = (&self.nodes.wire.b, Some(2));
                talker.pair(is_v4, outside).is_calm()
            }),
            None => self.nodes.is_calm(),
        }
    }

    fn kill(&self, case: Case, figures: &mut Figures) {
        let guard = &self.guard;
        let words = guard.murphy(case.words());
        let injector = words.arg(self.target(case.engine)).start();
        sleep(case.instant);
        figures.kills += 1;
        let ids = guard.injections();
        let keeper = || {
            if let Some(keeper) = guard.keeper() {
                signal(keeper, "KILL");
            }
        };
        if case.kill == Kill::KeeperThenInjector {
            keeper();
        }
        injector.signal("KILL");
        let killed = Instant::now();
        if case.kill == Kill::InjectorThenKeeper {
            keeper();
        }
        let ended = injector.wait();
        figures.in_force += usize::from(ended.stdout.contains("active"));
        // What is sent from then on comes.
        let mut sent = killed.elapsed();
        if matches!(case.engine, "tcx" | "cable" | "cgroup_skb") {
            assert!(self.is_calm(case.engine), "{case:?}");
            figures.at_once = figures.at_once.max(sent);
        } else if !case.lasts() {
            while !self.is_calm(case.engine) {
                assert!(sent < patience(), "{case:?}");
                sent = killed.elapsed();
            }
            figures.by_keeper = figures.by_keeper.max(sent);
        }
        if guard.keeper().is_some() {
            wait_until("the keeper is done", || guard.keeper().is_none());
        }
        if !guard.injections().is_empty() {
            let left = guard.injections();
            assert_ne!(case.kill, Kill::Injector, "its keeper left {left:?}");
            figures.stale += 1;
            let recovered = guard.murphy(["recover"]).run();
            assert_eq!(recovered.code, 0, "{recovered:?}");
        }
        assert!(self.is_calm(case.engine), "{case:?}");
        assert_eq!(guard.injections(), [""; 0], "{case:?}");
        assert_eq!(self.nodes.made(), [""; 0], "{case:?}");
        for id in ids {
            for table in [format!("mphy-{id}0"), format!("mphy-{id}-r")] {
                let was_there = nfqueue::remove(&self.nodes.wire.a, &table);
                assert!(!was_there.expect("root may"), "{table}: {case:?}");
            }
            let id = u32::from_str_radix(&id, 16).expect("six hex digits");
            assert_eq!(detach(id).expect("root"), Detached::Nowhere);
        }
    }
}
