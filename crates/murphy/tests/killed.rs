//! `kill -9` of the injector, of its keeper, and of both in turn, at random instants of a pause: no process
//! stays stopped once the keeper or `murphy recover` has run.
//!
//! A sample by default; three hundred with `MURPHY_SOAK=1`.
#![allow(
    clippy::print_stdout,
    reason = "the soak reads the figure that is printed"
)]

mod harness;

use std::{env, fmt, thread::sleep, time::Duration};

use harness::{Guard, wait_until};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// How many kills a sample and the full figure have.
const SAMPLE: u32 = 18;
const FULL: u32 = 300;
/// The injector is active after some tens of milliseconds: a kill falls before, in the middle or after.
const INSTANT_MS: u64 = 150;

/// Who is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kill {
    Injector,
    Keeper,
    InjectorThenKeeper,
    KeeperThenInjector,
}

#[derive(Default)]
struct Figures {
    kills: u32,
    while_stopped: u32,
    stale: u32,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "figure: {} kills, {} of them with the victim stopped, {} left a stale journal that recover ended",
            self.kills, self.while_stopped, self.stale
        )
    }
}

#[test]
fn nothing_stays_stopped_whoever_is_killed_whenever() {
    let soak = env::var_os("MURPHY_SOAK").is_some();
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let mut figures = Figures::default();
    let kinds = [
        Kill::Injector,
        Kill::Keeper,
        Kill::InjectorThenKeeper,
        Kill::KeeperThenInjector,
    ];
    for (_, kind) in (0..if soak { FULL } else { SAMPLE }).zip(kinds.into_iter().cycle()) {
        one(
            kind,
            Duration::from_millis(rng.random_range(0..INSTANT_MS)),
            &mut figures,
        );
    }
    println!("{figures}");
    assert!(
        figures.while_stopped > 0,
        "no kill fell into a pause: {figures}"
    );
}

fn one(kind: Kill, instant: Duration, figures: &mut Figures) {
    let guard = Guard::new();
    let victim = guard.victim("while :; do sleep 0.02; done");
    let pause = guard
        .murphy([
            "inject",
            "process",
            "pause",
            "--for",
            "60s",
            "-t",
            &victim.target(),
        ])
        .start();
    sleep(instant);
    figures.kills += 1;
    figures.while_stopped += u32::from(!guard.stopped_pids().is_empty());
    let keeper = || {
        if let Some(keeper) = guard.keeper() {
            harness::signal(keeper, "KILL");
        }
    };
    match kind {
        Kill::Injector => pause.signal("KILL"),
        Kill::Keeper => {
            keeper();
            // The injector goes on, with a new keeper; then it is killed, too.
            sleep(Duration::from_millis(300));
            pause.signal("KILL");
        }
        Kill::InjectorThenKeeper => {
            pause.signal("KILL");
            keeper();
        }
        Kill::KeeperThenInjector => {
            keeper();
            pause.signal("KILL");
        }
    }
    let _ = pause.wait();
    settle(&guard, kind, figures);
    assert_eq!(guard.stopped_pids(), [0; 0], "{kind:?} at {instant:?}");
    assert_eq!(guard.injections(), [""; 0], "{kind:?} at {instant:?}");
}

/// Waits for the keeper, where there still is one; else what is left is stale, said so, and recovered.
fn settle(guard: &Guard, kind: Kill, figures: &mut Figures) {
    if guard.keeper().is_some() {
        wait_until("the keeper is done", || guard.keeper().is_none());
    }
    if guard.injections().is_empty() {
        return;
    }
    assert_ne!(
        kind,
        Kill::Injector,
        "the keeper left something: {:?}",
        guard.injections()
    );
    figures.stale += 1;
    let doctor = guard.murphy(["doctor"]).run();
    assert_eq!(doctor.code, 5, "{doctor:?}");
    assert!(doctor.stdout.contains("STALE"), "{}", doctor.stdout);
    let recovered = guard.murphy(["recover"]).run();
    assert_eq!(recovered.code, 0, "{recovered:?}");
    assert_eq!(guard.murphy(["doctor"]).run().code, 0);
}
