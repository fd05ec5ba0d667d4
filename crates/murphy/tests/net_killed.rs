//! `kill -9` of the injector of disturbed packets, of its keeper, and of both, at random instants: traffic is normal at
//! once, and nothing is left once the keeper or `murphy recover` has run.
//!
//! A sample by default; three hundred with `MURPHY_SOAK=1`.
#![allow(
    clippy::print_stdout,
    reason = "the soak reads the figure that is printed"
)]

#[path = "../../murphy-sys/tests/wire/mod.rs"]
mod wire;

mod harness;
mod network;
mod victims;

use std::{
    env, fmt,
    thread::sleep,
    time::{Duration, Instant},
};

use harness::{Guard, signal, wait_until};
use murphy_sys::{
    link,
    traffic::{Detached, detach},
};
use network::Nodes;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// How many kills a sample and the full figure have.
const SAMPLE: u32 = 16;
const FULL: u32 = 300;
/// It is in force after some hundred milliseconds at most: a kill falls before, in the middle or after.
const INSTANT_MS: u64 = 600;
/// The faults, in turn.
const FAULTS: [&[&str]; 6] = [
    &["--partition", "--direction", "both"],
    &["--delay", "5s", "--direction", "both"],
    &["--rate", "8kbit"],
    &["--loss", "1.0"],
    &["--gilbert-elliott", "p=50%,r=1%"],
    &["--duplicate", "1.0", "--direction", "from"],
];

/// Who is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kill {
    Injector,
    InjectorThenKeeper,
    KeeperThenInjector,
}

#[derive(Default)]
struct Figures {
    kills: u32,
    in_force: u32,
    stale: u32,
    longest: Duration,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "figure: {} kills, {} of them with packets disturbed, {} left a stale journal that recover ended; traffic was seen to be normal {} ms after a kill at most",
            self.kills,
            self.in_force,
            self.stale,
            self.longest.as_millis()
        )
    }
}

#[test]
fn nobody_is_disturbed_whoever_is_killed_whenever() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let Some(nodes) = Nodes::lay_or_skip(&guard) else {
        return;
    };
    let count = if env::var_os("MURPHY_SOAK").is_some() {
        FULL
    } else {
        SAMPLE
    };
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let mut figures = Figures::default();
    let kinds = [
        Kill::Injector,
        Kill::InjectorThenKeeper,
        Kill::KeeperThenInjector,
    ];
    let faults = FAULTS.into_iter().cycle();
    for ((_, kind), fault) in (0..count).zip(kinds.into_iter().cycle()).zip(faults) {
        let instant = Duration::from_millis(rng.random_range(0..INSTANT_MS));
        one(&guard, &nodes, kind, fault, instant, &mut figures);
    }
    println!("{figures}");
    assert!(figures.in_force > 0, "no kill fell into one: {figures}");
}

fn one(
    guard: &Guard,
    nodes: &Nodes,
    kind: Kill,
    fault: &[&str],
    instant: Duration,
    figures: &mut Figures,
) {
    let target = nodes.target();
    let words = [&["inject", "net", "--for", "60s", "-t", &target], fault].concat();
    let injector = guard.murphy(words).start();
    sleep(instant);
    figures.kills += 1;
    let ids = guard.injections();
    let keeper = || {
        if let Some(keeper) = guard.keeper() {
            signal(keeper, "KILL");
        }
    };
    if kind == Kill::KeeperThenInjector {
        keeper();
    }
    injector.signal("KILL");
    let killed = Instant::now();
    if kind == Kill::InjectorThenKeeper {
        keeper();
    }
    let ended = injector.wait();
    figures.in_force += u32::from(ended.stdout.contains("active"));
    assert!(nodes.is_calm(), "{kind:?} of {fault:?} at {instant:?}");
    figures.longest = figures.longest.max(killed.elapsed());
    if guard.keeper().is_some() {
        wait_until("the keeper is done", || guard.keeper().is_none());
    }
    if !guard.injections().is_empty() {
        assert_ne!(
            kind,
            Kill::Injector,
            "its keeper left {:?}",
            guard.injections()
        );
        figures.stale += 1;
        let recovered = guard.murphy(["recover"]).run();
        assert_eq!(recovered.code, 0, "{recovered:?}");
    }
    assert_eq!(guard.injections(), [""; 0], "{kind:?} at {instant:?}");
    let devices = link::devices(&nodes.wire.a).expect("a namespace");
    let is_ours = |device: &&link::Device| device.name.starts_with("mphy-");
    assert_eq!(devices.iter().filter(is_ours).count(), 0, "{devices:?}");
    for id in ids {
        let id = u32::from_str_radix(&id, 16).expect("six hex digits");
        assert_eq!(detach(id).expect("root"), Detached::Nowhere);
    }
}
