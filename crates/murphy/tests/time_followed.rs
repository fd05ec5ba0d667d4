//! The programs that a skewed process executes are skewed, too, or counted; so is who asks past the hook.

mod harness;
mod skewing;
mod victims;

use std::{
    ops::Deref,
    process::Command,
    sync::{Mutex, MutexGuard, PoisonError},
    thread::sleep,
};

use harness::{Guard, is_stopped, say_skipped, signal, wait_until};
use murphy_sys::{
    family::{ATTENTION, AtExec, Family},
    vdso::Clock,
};
use skewing::{A_MOMENT, Skew, becomes_pristine, child_of, is_pristine};
use victims::{Heard, Nanos, Reader, Reading, SECOND, reader_in_c, tolerance};

const HOUR: Nanos = 3600 * SECOND;

/// A guard of a test that has the machine for itself: whoever ends a skew lets go everybody who is held.
struct Alone {
    guard: Guard,
    _turn: MutexGuard<'static, ()>,
}

impl Deref for Alone {
    type Target = Guard;

    fn deref(&self) -> &Guard {
        &self.guard
    }
}

/// A guard, where the kernel tells of executed programs.
fn guard() -> Option<Alone> {
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let guard = Guard::root_or_skip()?;
    match Family::load(AtExec::Stop, [Clock::REALTIME]) {
        Ok(_) => Some(Alone { guard, _turn: turn }),
        Err(error) => {
            say_skipped(&error.to_string());
            None
        }
    }
}

/// A shell that executes five programs of no length when it gets a SIGUSR1, and says when they have ended.
fn shell(guard: &Guard) -> Heard {
    let pipe = guard.dir().join("nothing");
    let made = Command::new("mkfifo").arg(&pipe).status();
    assert!(made.is_ok_and(|status| status.success()), "a named pipe");
    let script = "trap 'for i in 1 2 3 4 5; do /bin/true; done; echo done' USR1
        echo ready; exec 9<> \"$0\"; while :; do read -t 0.02 -u 9 _; done";
    let victim = Heard::start(
        guard,
        [
            "bash".as_ref(),
            "-c".as_ref(),
            script.as_ref(),
            pipe.as_os_str(),
        ],
    );
    victim.wait_for("it is ready", 0, |line| {
        (line.text == "ready").then_some(())
    });
    victim
}

fn is_done(victim: &Heard) {
    victim.wait_for("it is done", 0, |line| (line.text == "done").then_some(()));
}

/// A child of a shell, stopped by a skew whose Murphy hangs.
fn held<'a>(guard: &'a Guard, victim: &Heard) -> (Skew<'a>, u32) {
    let words = ["--offset", "-1h", "--for", "1h", "--follow", "stop"];
    let skew = Skew::inject(guard, &victim.target(), &words);
    signal(skew.pid(), "STOP");
    wait_until("Murphy hangs", || is_stopped(skew.pid()));
    victim.signal("USR1");
    let child = child_of(victim.pid());
    wait_until("its child is stopped", || is_stopped(child));
    (skew, child)
}

/// T2: every program that a target executes is skewed from its first instruction on, however short it is.
#[test]
fn the_shortest_program_is_skewed_where_the_kernel_stops_it_at_its_start() {
    let Some(guard) = guard() else {
        return;
    };
    let Some(victim) = reader_in_c(&guard, &["shortexec", "50"]) else {
        return;
    };
    let reader = Reader::unskewed(&victim, "");
    let words = ["--offset", "-1h", "--for", "1h", "--follow", "stop"];
    let skew = Skew::inject(&guard, &victim.target(), &words);
    let plain = victim.wait_for("a reading", 0, |line| Reading::parse("", line));
    victim.signal("USR1");
    victim.wait_for("all have run", 0, |line| {
        (line.text == "done").then_some(())
    });
    let lines = victim.since(0);
    let short: Vec<_> = lines
        .iter()
        .filter_map(|line| Reading::parse("short ", line))
        .collect();
    assert_eq!(short.len(), 50, "{lines:?}");
    for reading in short {
        for (wall, monotonic) in [("R", "M"), ("r", "m")] {
            let error = reading.ns(wall) - reading.ns(monotonic) - plain.ahead("R") + HOUR;
            assert!(
                error.abs() < tolerance(),
                "{error} ns from the skew: {reading:?}"
            );
        }
    }
    let last = skew.interrupt();
    assert_eq!(last["effect"]["short_lived"], 0, "{last}");
    assert_eq!(last["effect"]["escapes"], serde_json::json!([]), "{last}");
    reader.is_skewed_by("R", 0);
    victim.terminate();
}

#[test]
fn programs_too_short_to_be_found_are_counted() {
    let Some(guard) = guard() else {
        return;
    };
    let victim = shell(&guard);
    let words = ["--offset", "-1h", "--for", "1h"];
    let skew = Skew::inject(&guard, &victim.target(), &words);
    sleep(A_MOMENT);
    victim.signal("USR1");
    is_done(&victim);
    let last = skew.interrupt();
    let effect = &last["effect"];
    // One that was seen before it executed its program has inherited the skew, and its program may have escaped.
    let skewed = effect["processes"].as_array().unwrap().len() as u64 - 1;
    let short_lived = effect["short_lived"].as_u64().unwrap();
    assert!(short_lived <= 5 && short_lived + skewed >= 5, "{last}");
    victim.signal("KILL");
    let _ = victim.wait();
}

#[test]
fn who_asks_past_the_hook_is_said_to_escape_and_nobody_else_is() {
    let Some(guard) = guard() else {
        return;
    };
    let Some(victim) = reader_in_c(&guard, &["raw"]) else {
        return;
    };
    let Some(other) = reader_in_c(&guard, &[]) else {
        return;
    };
    for (victim, asks_past) in [(victim, true), (other, false)] {
        let skew = Skew::inject(
            &guard,
            &victim.target(),
            &["--offset", "-1h", "--for", "1s"],
        );
        let last = skew.wait();
        let raw = last["effect"]["raw"].as_array().unwrap();
        assert_eq!(raw.len(), usize::from(asks_past), "{last}");
        for raw in raw {
            assert_eq!(raw["pid"], victim.pid(), "{last}");
            assert!(raw["calls"].as_u64().unwrap() > 0, "{last}");
        }
        victim.terminate();
    }
}

/// Nobody waits for a Murphy that hangs: after a second of it no more programs are stopped.
#[test]
fn a_hung_murphy_stops_nobody_for_long() {
    let Some(guard) = guard() else {
        return;
    };
    let victim = shell(&guard);
    let words = ["--offset", "-1h", "--for", "1h", "--follow", "stop"];
    let skew = Skew::inject(&guard, &victim.target(), &words);
    signal(skew.pid(), "STOP");
    sleep(ATTENTION * 2);
    victim.signal("USR1");
    is_done(&victim);
    signal(skew.pid(), "CONT");
    let last = skew.interrupt();
    assert_eq!(last["effect"]["short_lived"], 5, "{last}");
    victim.signal("KILL");
    let _ = victim.wait();
}

#[test]
fn the_keeper_lets_go_whom_a_hung_murphy_has_stopped() {
    let Some(guard) = guard() else {
        return;
    };
    let victim = shell(&guard);
    let (skew, _) = held(&guard, &victim);
    is_done(&victim);
    signal(skew.pid(), "CONT");
    skew.interrupt();
    victim.signal("KILL");
    let _ = victim.wait();
}

#[test]
fn the_keeper_lets_go_whom_its_murphy_has_stopped() {
    let Some(guard) = guard() else {
        return;
    };
    let victim = shell(&guard);
    let (skew, child) = held(&guard, &victim);
    skew.kill(false);
    is_done(&victim);
    assert!(!is_stopped(child));
    becomes_pristine(victim.pid());
    victim.signal("KILL");
    let _ = victim.wait();
}

#[test]
fn a_later_murphy_lets_go_whom_a_dead_one_has_stopped() {
    let Some(guard) = guard() else {
        return;
    };
    let victim = shell(&guard);
    let (skew, child) = held(&guard, &victim);
    skew.kill(true);
    assert!(is_stopped(child), "nobody is there to let it go");
    let recovered = guard.murphy(["recover"]).run();
    assert_eq!(recovered.code, 0, "{recovered:?}");
    is_done(&victim);
    assert!(is_pristine(victim.pid()));
    victim.signal("KILL");
    let _ = victim.wait();
}
