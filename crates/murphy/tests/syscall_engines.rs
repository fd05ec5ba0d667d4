//! `murphy inject syscall --engine`: programs in the kernel, or a tracer, have calls of real programs fail as often as they are asked to,
//! nobody else's, and no longer than their Murphy lives.

#[allow(dead_code, reason = "its errors by call are for other tests")]
mod calling;
mod harness;
mod victims;

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use calling::Victim;
use harness::{Guard, patience, say_skipped, signal, slack, wait_until};
use murphy_fault::syscall::Engine;
use murphy_sys::syscalls::Errno;
use serde_json::Value;
use victims::{Heard, Program};

/// So many calls show a statistical effect.
const CALLS: u64 = 200;
/// What each engine is asked here; what it reaches beside that is shown where it is made.
const ASKED: [(Engine, &str, &str); 13] = [
    (Engine::Cgroup, "connect", "ECONNREFUSED"),
    (Engine::Cgroup, "bind", "EADDRINUSE"),
    (Engine::Cgroup, "socket", "EMFILE"),
    (Engine::Lsm, "openat", "EMFILE"),
    (Engine::Lsm, "pwrite64", "ENOSPC"),
    (Engine::Lsm, "recvfrom", "ECONNRESET"),
    (Engine::FmodRet, "openat", "EACCES"),
    (Engine::FmodRet, "sendto", "ENOBUFS"),
    (Engine::FmodRet, "socket", "EMFILE"),
    (Engine::Ptrace, "fsync", "EIO"),
    (Engine::Ptrace, "openat", "EMFILE"),
    (Engine::Ptrace, "pwrite64", "ENOSPC"),
    (Engine::Ptrace, "close", "EIO"),
];

fn errno(name: &str) -> usize {
    Errno::named(name).expect("there is one").number().into()
}

fn works(engine: Engine) -> bool {
    let tried = engine.trial();
    if let Err(error) = &tried {
        say_skipped(&format!("engine {engine}: {error}"));
    }
    tried.is_ok()
}

/// Those beside the usual one.
fn others() -> impl Iterator<Item = Engine> {
    Engine::ALL.into_iter().filter(|one| *one != Engine::Patch)
}

/// Those of them that work here; where none does, it is said why.
fn engines() -> Vec<Engine> {
    let working: Vec<Engine> = others().filter(|one| one.trial().is_ok()).collect();
    if working.is_empty() {
        others().for_each(|one| _ = works(one));
    }
    working
}

/// Something that each has fail.
fn asked_of(engine: Engine) -> (&'static str, &'static str) {
    let mut asked = ASKED.into_iter().filter(|(one, ..)| *one == engine);
    asked
        .next()
        .map(|(_, call, errno)| (call, errno))
        .expect("one")
}

/// The last thing that an injection has said.
fn ended(murphy: Heard) -> Value {
    let lines = murphy.terminate();
    serde_json::from_str(&lines.last().expect("it says so").text).expect("JSON")
}

#[test]
fn calls_fail_as_often_as_asked_and_nobody_else_is_hit() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    for engine in engines() {
        let asked = ASKED.iter().filter(|(one, ..)| *one == engine);
        // An emulated machine takes its time for each.
        let most = if slack() > 1 { 1 } else { ASKED.len() };
        for (_, call, error) in asked.take(most) {
            let what = format!("{engine} {call} {error}");
            let start = |name: &str| {
                let name = format!("{name}-{engine}-{call}");
                Victim::start(&guard, Program::Calls, &name, &[*call, "getppid"], &[])
            };
            let (Some(victim), Some(stranger)) = (start("victim"), start("stranger")) else {
                return;
            };
            let before = victim.code();
            for (rate, share) in [("25%", 0.25), ("100%", 1.0)] {
                let words = [
                    "--call",
                    call,
                    "--errno",
                    error,
                    "--rate",
                    rate,
                    "--engine",
                    engine.name(),
                    "--for",
                    "forever",
                ];
                let earlier = victim.counts(call)[errno(error)];
                let target = victim.heard.target();
                let (murphy, active) = Heard::inject(&guard, "syscall", &target, &words);
                assert_eq!(active["engine"], engine.name(), "{active}");
                assert_eq!(active["effect"]["living"], 1, "{active}");
                let seen = victim.since(call, CALLS);
                let failed = seen[errno(error)];
                assert_share(failed, seen[0], share, &what);
                let others: u64 = seen[1..].iter().sum();
                assert_eq!(others, failed, "{what}: no other error");
                let last = ended(murphy);
                assert_eq!(last["event"], "recovered", "{last}");
                victim.go_on(5);
                let after = victim.since(call, 50);
                // What was hit last is counted by then.
                let all = victim.counts(call)[errno(error)] - earlier;
                assert_eq!(last["effect"]["hits"], all, "{what}: {last}");
                assert_eq!(after[1..].iter().sum::<u64>(), 0, "{what}: afterwards");
            }
            assert_eq!(victim.code(), before, "{what}: its code is not touched");
            for (one, call) in [
                (&victim, "getppid"),
                (&stranger, call),
                (&stranger, "getppid"),
            ] {
                let counts = one.counts(call);
                assert_eq!(counts[1..].iter().sum::<u64>(), 0, "{what}: {call}");
            }
            victim.end();
            stranger.end();
        }
    }
}

/// Whether so many of so many are a share, within four standard deviations.
fn assert_share(failed: u64, all: u64, share: f64, what: &str) {
    let (failed, all) = (failed as f64, all as f64);
    // One call may have been under way when it began.
    let within = 4.0 * (all * share * (1.0 - share)).sqrt() + 1.0;
    let is_near = (failed - all * share).abs() <= within;
    assert!(is_near, "{what}: {failed} of {all}");
}

#[test]
fn errors_stop_with_whoever_holds_them() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    for engine in engines() {
        let (call, error) = asked_of(engine);
        let name = format!("killed-{engine}");
        let calls = [call, "getppid"];
        let Some(victim) = Victim::start(&guard, Program::Calls, &name, &calls, &[]) else {
            return;
        };
        let words = [
            "--call",
            call,
            "--errno",
            error,
            "--rate",
            "100%",
            "--engine",
            engine.name(),
            "--for",
            "forever",
        ];
        let (murphy, _) = Heard::inject(&guard, "syscall", &victim.heard.target(), &words);
        let seen = victim.since(call, 20);
        assert_eq!(seen[errno(error)], seen[0], "{engine}");
        signal(guard.keeper().expect("it keeps"), "KILL");
        murphy.signal("KILL");
        let killed = Instant::now();
        murphy.wait();
        let failed = || victim.counts(call)[errno(error)];
        let (mut last, mut ceased) = (failed(), Instant::now());
        while ceased.elapsed() < Duration::from_secs(1) {
            assert!(killed.elapsed() < patience(), "errors never stop");
            let now = failed();
            if now != last {
                (last, ceased) = (now, Instant::now());
            }
            sleep(Duration::from_millis(5));
        }
        let after = ceased.duration_since(killed);
        assert!(
            after < slack() * Duration::from_secs(2),
            "{engine}: {after:?}"
        );
        let recovered = guard.murphy(["recover"]).run();
        assert_eq!(recovered.code, 0, "{recovered:?}");
        assert!(guard.injections().is_empty());
        victim.end();
    }
}

#[test]
fn children_fail_and_recover_ends_it_from_outside() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    for engine in engines() {
        let (call, error) = asked_of(engine);
        let name = format!("family-{engine}");
        let calls = [call, "getppid"];
        let more = ["--fork"];
        let Some(victim) = Victim::start(&guard, Program::Calls, &name, &calls, &more) else {
            return;
        };
        let words = [
            "--call",
            call,
            "--errno",
            error,
            "--rate",
            "100%",
            "--engine",
            engine.name(),
            "--for",
            "forever",
        ];
        let (murphy, active) = Heard::inject(&guard, "syscall", &victim.heard.target(), &words);
        assert_eq!(active["effect"]["living"], 2, "{active}");
        let since = |of_child| {
            let earlier = victim.counts_of(call, of_child);
            let goes_on = || victim.counts_of(call, of_child)[0] > earlier[0] + 50;
            wait_until("it goes on", goes_on);
            let now = victim.counts_of(call, of_child);
            let number = errno(error);
            (now[number] - earlier[number], now[0] - earlier[0])
        };
        for of_child in [false, true] {
            let (failed, all) = since(of_child);
            assert!(failed.abs_diff(all) <= 1, "{engine}: {failed} of {all}");
        }
        let id = active["id"].as_str().expect("an id");
        let recovered = guard.murphy(["recover", id]).run();
        assert_eq!(recovered.code, 0, "{recovered:?}");
        let (ended, lines) = murphy.wait();
        assert_eq!(ended.code, 0, "{lines:?}");
        for of_child in [false, true] {
            victim.go_on(5);
            assert_eq!(since(of_child).0, 0, "{engine}");
        }
        victim.end();
    }
}

#[test]
fn a_launched_command_is_hit_from_its_first_instruction_on() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    for engine in [Engine::Cgroup, Engine::Ptrace] {
        if !works(engine) {
            continue;
        }
        let words = [
            "inject",
            "syscall",
            "--call",
            "socket",
            "--errno",
            "EMFILE",
            "--rate",
            "100%",
            "--engine",
            engine.name(),
            "--for",
            "30s",
            "--",
            "bash",
            "-c",
        ];
        let opens = "exec 3<>/dev/udp/127.0.0.1/9 && echo is open";
        let ran = guard.murphy(words).args([opens]).run();
        assert!(!ran.stdout.contains("is open"), "{ran:?}");
        assert!(ran.stderr.contains("Too many open files"), "{ran:?}");
        // The libraries of the command may ask for sockets of their own, to look its user up.
        let hit = ran.stdout.contains("1 call hit") || ran.stdout.contains(" calls hit");
        assert!(hit && !ran.stdout.contains("ended: 0 calls"), "{ran:?}");
    }
}

#[test]
fn a_tracer_that_hangs_is_ended_and_whom_it_traces_goes_on() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let calls = ["fsync", "getppid"];
    let more = ["--threads", "4"];
    let Some(victim) = Victim::start(&guard, Program::Calls, "hangs", &calls, &more) else {
        return;
    };
    let words = [
        "--call", "fsync", "--delay", "2ms", "--rate", "50%", "--engine", "ptrace", "--for",
        "forever",
    ];
    let (murphy, active) = Heard::inject(&guard, "syscall", &victim.heard.target(), &words);
    victim.since("fsync", 40);
    murphy.signal("STOP");
    wait_until("it stands still", || {
        let before = victim.counts("getppid")[0];
        sleep(Duration::from_millis(200));
        victim.counts("getppid")[0] == before
    });
    let id = active["id"].as_str().expect("an id");
    let recovered = guard.murphy(["recover", id]).run();
    assert_eq!(recovered.code, 0, "{recovered:?}");
    victim.since("getppid", 200);
    let seen = victim.since("fsync", 100);
    assert_eq!(seen[1..].iter().sum::<u64>(), 0, "{seen:?}");
    murphy.wait();
    victim.end();
}

#[test]
fn what_an_engine_cannot_do_is_refused_before_anything_is_touched() {
    let guard = Guard::new();
    let victim = guard.victim("while :; do sleep 0.1; done");
    let target = victim.target();
    for (words, says) in [
        (
            &["--call", "fsync", "--errno", "EIO", "--engine", "lsm"][..],
            "fsync by engine lsm: it cannot do such a call, about which the kernel asks no program",
        ),
        (
            &[
                "--call",
                "listen",
                "--errno",
                "EADDRINUSE",
                "--engine",
                "cgroup",
            ],
            "listen by engine cgroup",
        ),
        (
            &["--call", "connect", "--delay", "1ms", "--engine", "cgroup"],
            "it cannot do a delay",
        ),
        (
            &[
                "--call", "openat", "--errno", "EACCES", "--path", "/etc/*", "--engine", "lsm",
            ],
            "a choice by path (--path)",
        ),
        (
            &[
                "--call", "openat", "--errno", "EACCES", "--engine", "strace",
            ],
            "there are patch, cgroup, lsm, fmod_ret or ptrace",
        ),
        (
            &["--call", "write", "--short", "--engine", "ptrace"],
            "write by engine ptrace: it cannot do half of what was asked for",
        ),
    ] {
        let all = [
            "inject", "syscall", "-t", &target, "--rate", "50%", "--for", "1s",
        ];
        let refused = guard.murphy(all).args(words).run();
        assert_eq!(refused.code, 2, "{words:?}: {refused:?}");
        assert!(refused.stderr.contains(says), "{words:?}: {refused:?}");
    }
    for engine in others() {
        let Err(why) = engine.trial() else {
            continue;
        };
        let (call, error) = asked_of(engine);
        let words = [
            "inject",
            "syscall",
            "-t",
            &target,
            "--rate",
            "50%",
            "--for",
            "1s",
            "--call",
            call,
            "--errno",
            error,
            "--engine",
            engine.name(),
        ];
        let refused = guard.murphy(words).run();
        assert_eq!(refused.code, 3, "{refused:?}");
        assert!(refused.stderr.contains(&why.to_string()), "{refused:?}");
    }
    assert!(guard.injections().is_empty());
    drop(victim);
}
