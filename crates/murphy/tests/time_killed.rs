//! `kill -9` of the injector, of its keeper, and of both, at random instants of a skew: the target lives and
//! never reads a time that was not asked for, and its vDSO is clean, or is after `murphy recover`.
//!
//! A sample by default; five hundred with `MURPHY_SOAK=1`.
#![allow(
    clippy::print_stdout,
    reason = "the soak reads the figure that is printed"
)]

mod harness;
mod skewing;
mod victims;

use std::{
    env, fmt,
    path::Path,
    thread::sleep,
    time::{Duration, Instant},
};

use harness::{Guard, Running, signal};
use murphy_sys::{
    process::ProcessId,
    vdso::{Page, State},
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use skewing::is_pristine;
use victims::Program;

/// How many kills a sample and the full figure have.
const SAMPLE: u32 = 25;
const FULL: u32 = 500;
/// A skew lasts so long that a kill falls before, in the middle, at the end, or after.
const LASTS: &str = "60ms";
const INSTANT_US: u64 = 150_000;
/// What a keeper has time for.
const KEEPERS_TIME: Duration = Duration::from_secs(5);

/// Who is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kill {
    Injector,
    Keeper,
    Both,
    KeeperThenInjector,
}

#[derive(Default)]
struct Figures {
    kills: u32,
    hooked: u32,
    half: u32,
    dormant: u32,
    recovered: u32,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "figure: {} kills of a skew's Murphy, keeper or both: {} found the page hooked, {} half, {} dormant; {} were clean after recover, the others by themselves",
            self.kills, self.hooked, self.half, self.dormant, self.recovered
        )
    }
}

#[test]
fn whoever_is_killed_whenever_the_target_lives_and_is_restored() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let Some(mut hammer) = hammer(&guard) else {
        return;
    };
    let soak = env::var_os("MURPHY_SOAK").is_some();
    let mut rng = ChaCha8Rng::seed_from_u64(17);
    let mut figures = Figures::default();
    let kinds = [
        Kill::Injector,
        Kill::Keeper,
        Kill::Both,
        Kill::KeeperThenInjector,
    ];
    let count = if soak { FULL } else { SAMPLE };
    for (_, kind) in (0..count).zip(kinds.into_iter().cycle()) {
        let instant = Duration::from_micros(rng.random_range(0..INSTANT_US));
        one(&guard, &hammer, kind, instant, &mut figures);
        assert!(
            hammer.is_running(),
            "the target has died after {kind:?} at {instant:?}"
        );
    }
    hammer.signal("TERM");
    let ended = hammer.wait();
    println!(
        "{figures}; {}",
        ended.stdout.lines().last().unwrap_or_default()
    );
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(figures.hooked > 0, "no kill fell into a skew: {figures}");
}

fn one(guard: &Guard, hammer: &Running, kind: Kill, instant: Duration, figures: &mut Figures) {
    let murphy = guard
        .murphy(["inject", "time", "--offset", "-1h", "--for", LASTS, "-t"])
        .arg(hammer.target())
        .start();
    sleep(instant);
    let keeper = || {
        if let Some(keeper) = guard.keeper() {
            signal(keeper, "KILL");
        }
    };
    match kind {
        Kill::Injector => murphy.signal("KILL"),
        Kill::Keeper => keeper(),
        Kill::Both => {
            murphy.signal("KILL");
            keeper();
        }
        Kill::KeeperThenInjector => {
            keeper();
            sleep(Duration::from_millis(10));
            murphy.signal("KILL");
        }
    }
    figures.kills += 1;
    let process = ProcessId::of(hammer.pid()).expect("the target lives");
    match Page::open(process).and_then(|page| page.state()) {
        Ok(State::Hooked) => figures.hooked += 1,
        Ok(State::Half) => figures.half += 1,
        Ok(State::Dormant) => figures.dormant += 1,
        Ok(State::Pristine) => {}
        Err(error) => panic!("{kind:?} at {instant:?}: {error}"),
    }
    // Whatever it came to: killed, ended, or refused for want of a keeper.
    drop(murphy.wait());
    if becomes_clean(guard, hammer.pid()) {
        return;
    }
    let recovered = guard.murphy(["recover"]).run();
    assert_eq!(recovered.code, 0, "{kind:?} at {instant:?}: {recovered:?}");
    assert!(
        is_pristine(hammer.pid()),
        "{kind:?} at {instant:?}: not clean after {recovered:?}"
    );
    figures.recovered += 1;
}

/// Whether everything is undone without a word, as far as there is somebody to do it.
fn becomes_clean(guard: &Guard, pid: u32) -> bool {
    let until = Instant::now() + KEEPERS_TIME;
    loop {
        if guard.injections().is_empty() && is_pristine(pid) {
            return true;
        }
        if guard.keeper().is_none() && guard.marked_pids().len() == 1 || Instant::now() > until {
            return guard.injections().is_empty() && is_pristine(pid);
        }
        sleep(Duration::from_millis(5));
    }
}

/// Two threads that ask for the time as fast as they can.
fn hammer(guard: &Guard) -> Option<Running> {
    let words = Program::Hammer.words_or_skip()?;
    let hammer = guard
        .program(Path::new(&words[0]))
        .args(["2", "skews=-3600000000000"])
        .start();
    sleep(Duration::from_millis(300));
    Some(hammer)
}
