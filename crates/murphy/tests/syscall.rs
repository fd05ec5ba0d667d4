//! `murphy inject syscall`: calls of real programs fail as often as they are asked to, nobody else's do, and the programs are as they
//! were afterwards.
//!
//! A sample by default; every call and error with `MURPHY_SOAK=1`.
#![allow(
    clippy::print_stdout,
    reason = "the soak reads the figure that is printed"
)]

mod calling;
mod harness;
mod victims;

use std::{
    env, fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    thread::sleep,
    time::{Duration, Instant},
};

use calling::{Victim, code_of, counts, made, pairs};
use harness::{Guard, Running, patience, signal, slack, wait_until};
use murphy_sys::syscalls::Errno;
use serde_json::Value;
use victims::{Heard, Program};

/// Each pair is looked at for so many calls, and so many in full.
const CALLS: u64 = 300;
const CALLS_FULL: u64 = 2000;
/// The programs in C.
const IN_C: [Program; 3] = [Program::Calls, Program::CallsStatic, Program::CallsMusl];

fn soak() -> bool {
    env::var_os("MURPHY_SOAK").is_some()
}

fn errno(name: &str) -> usize {
    Errno::named(name).expect("there is one").number().into()
}

/// Whether so many of so many are a share: within four standard deviations of a binomial distribution, and what was begun.
fn assert_share(failed: u64, all: u64, share: f64, what: &str) {
    let (failed, all) = (failed as f64, all as f64);
    let within = 4.0 * (all * share * (1.0 - share)).sqrt() + 3.0;
    assert!(
        (failed - all * share).abs() <= within,
        "{what}: {failed} of {all}"
    );
}

#[test]
fn every_call_fails_as_often_as_it_is_asked_to_and_no_other_does() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let mut wrong = Vec::new();
    for (turn, program) in Program::CALLING.into_iter().enumerate() {
        let (mut injections, mut failed, mut all) = (0, 0, 0);
        let pairs = pairs(program);
        for (place, (call, error)) in pairs.iter().enumerate() {
            // Another part of them for each program.
            if !soak() && place % 40 != 3 * turn {
                continue;
            }
            let name = format!("{program:?}-{call}-{error}");
            if soak() {
                println!("{name}");
            }
            let calls = [&[*call], made(program).1].concat();
            let Some(victim) = Victim::start(&guard, program, &name, &calls, &[]) else {
                break;
            };
            for (rate, share) in [("25%", 0.25), ("100%", 1.0)] {
                let look = || fails(&guard, &victim, call, *error, (rate, share));
                // Hours of the others are not given up for one.
                match catch_unwind(AssertUnwindSafe(look)) {
                    Ok(counted) => {
                        injections += 1;
                        (failed, all) = (failed + counted.0, all + counted.1);
                    }
                    Err(_) => wrong.push(format!("{name} {rate}")),
                }
            }
            victim.end();
        }
        println!(
            "figure: {program:?}: {injections} injections of {} pairs of a call and an error: {failed} of {all} calls failed",
            pairs.len(),
        );
    }
    assert_eq!(wrong, [""; 0], "what was wrong with each is said above");
}

/// Injects an error, and sees that so many of the calls fail, no other does, and nothing stays. How many failed, and were made.
fn fails(
    guard: &Guard,
    victim: &Victim,
    call: &'static str,
    error: Errno,
    (rate, share): (&str, f64),
) -> (u64, u64) {
    let what = format!("{call} {error} {rate}");
    let (asked, _) = call.split_once('.').unwrap_or((call, ""));
    let before = victim.code();
    let number = usize::from(error.number());
    let earlier = victim.counts(call)[number];
    let name = error.to_string();
    let words = [
        "--call", asked, "--errno", &name, "--rate", rate, "--for", "forever",
    ];
    let (murphy, active) = Heard::inject(guard, "syscall", &victim.heard.target(), &words);
    let sites = &active["effect"]["processes"][0]["sites"];
    assert!(sites.as_u64() > Some(0), "{what}: {active}");
    assert_ne!(victim.code(), before, "{what}");
    let seen = victim.since(call, if soak() { CALLS_FULL } else { CALLS });
    let failed = seen[number];
    assert_share(failed, seen[0], share, &what);
    assert_eq!(
        seen[1..].iter().sum::<u64>(),
        failed,
        "{what}: no other error"
    );
    let lines = murphy.terminate();
    assert_eq!(victim.code(), before, "{what}");
    let after = victim.since(call, 50);
    assert_eq!(after[1..].iter().sum::<u64>(), 0, "{what}: afterwards");
    let last = &lines.last().expect("it says so").text;
    let last: Value = serde_json::from_str(last).expect("JSON");
    assert_eq!(last["event"], "recovered", "{last}");
    if let Some(hits) = last["effect"]["processes"][0]["counts"]["hits"].as_u64() {
        // One may have been decided on while it was counted.
        let all = victim.counts(call)[number] - earlier;
        assert!(all <= hits + 1, "{what}: {all}: {last}");
        assert!(!victim.is_alone || hits <= all, "{what}: {all}: {last}");
    }
    for bystander in &victim.calls[1..] {
        let counts = victim.counts(bystander);
        assert_eq!(counts[1..].iter().sum::<u64>(), 0, "{what}: {bystander}");
    }
    (failed, seen[0])
}

#[test]
fn errors_stop_by_themselves_when_everybody_is_killed() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    for (turn, program) in Program::CALLING.into_iter().enumerate() {
        let Some(victim) = Victim::start(
            &guard,
            program,
            &format!("{turn}"),
            &["fsync", "getppid"],
            &[],
        ) else {
            continue;
        };
        let before = victim.code();
        let words = [
            "--call", "fsync", "--errno", "EIO", "--rate", "100%", "--for", "forever",
        ];
        let (murphy, _) = Heard::inject(&guard, "syscall", &victim.heard.target(), &words);
        let io = errno("EIO");
        let seen = victim.since("fsync", 50);
        assert_share(seen[io], seen[0], 1.0, "fsync");
        let keeper = guard.keeper().expect("it keeps");
        // With its keeper alive all is as it was a moment later; without one the errors end, and the code stays for whoever
        // recovers it.
        let is_kept = turn == 0;
        if !is_kept {
            signal(keeper, "KILL");
        }
        murphy.signal("KILL");
        let killed = Instant::now();
        let (ended, _) = murphy.wait();
        assert_ne!(ended.code, 0);
        let mut last = victim.counts("fsync")[io];
        let mut ceased = Instant::now();
        while ceased.elapsed() < slack() * Duration::from_secs(2) {
            assert!(killed.elapsed() < patience(), "errors never stop");
            let now = victim.counts("fsync")[io];
            if now != last {
                (last, ceased) = (now, Instant::now());
            }
            sleep(Duration::from_millis(5));
        }
        let after = ceased.duration_since(killed);
        println!(
            "figure: {program:?}: no error {} ms after the kill",
            after.as_millis()
        );
        assert!(after < slack() * Duration::from_secs(2), "{after:?}");
        if is_kept {
            wait_until("its keeper has recovered it", || victim.code() == before);
        } else {
            assert_ne!(victim.code(), before);
            let recovered = guard.murphy(["recover"]).run();
            assert_eq!(recovered.code, 0, "{recovered:?}");
            assert_eq!(victim.code(), before);
        }
        let seen = victim.since("fsync", 50);
        assert_eq!(seen[io], 0);
        victim.end();
    }
}

#[test]
fn children_carry_it_and_are_recovered() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let calls = ["pwrite64", "getppid"];
    let Some(victim) = Victim::start(
        &guard,
        Program::Calls,
        "family",
        &calls,
        &["--fork", "--threads", "4"],
    ) else {
        return;
    };
    let family = || {
        let pid = victim.heard.pid();
        let path = format!("/proc/{pid}/task/{pid}/children");
        let children = fs::read_to_string(path).expect("it runs");
        let children = children
            .split_whitespace()
            .map(|child| child.parse().expect("a pid"));
        let mut family: Vec<u32> = children.collect();
        family.push(pid);
        family
    };
    let codes = || family().into_iter().map(code_of).collect::<Vec<_>>();
    let before = codes();
    assert_eq!(before.len(), 2);
    let words = [
        "--call", "write", "--errno", "ENOSPC", "--rate", "50%", "--for", "forever",
    ];
    let (murphy, active) = Heard::inject(&guard, "syscall", &victim.heard.target(), &words);
    assert_eq!(active["effect"]["living"], 2, "{active}");
    let full = errno("ENOSPC");
    let failed = |of_child| {
        let counts = || victim.counts_of("pwrite64", of_child);
        let earlier = counts();
        wait_until("it goes on", || counts()[0] > earlier[0] + 200);
        let now = counts();
        (now[full] - earlier[full], now[0] - earlier[0])
    };
    for of_child in [false, true] {
        let (failed, all) = failed(of_child);
        // Four threads may each have begun one.
        assert!(failed > all / 4 && failed < all, "{failed} of {all}");
    }
    let lines = murphy.terminate();
    let last = &lines.last().expect("it says so").text;
    assert!(last.contains("recovered"), "{last}");
    assert_eq!(codes(), before);
    for of_child in [false, true] {
        victim.go_on(5);
        assert_eq!(failed(of_child).0, 0);
    }
    victim.end();
}

/// A command that Murphy launches, which ends with its injection.
fn launched(
    guard: &Guard,
    program: Program,
    words: &[&str],
    more: &[&str],
) -> Option<(PathBuf, Running)> {
    let directory = guard.dir().join("launched");
    fs::create_dir(&directory).expect("a new directory");
    let murphy = guard
        .murphy(["inject", "syscall", "--json"])
        .args(words)
        .arg("--");
    let murphy = murphy
        .args(program.words_or_skip()?)
        .arg(&directory)
        .args(more);
    Some((directory, murphy.start()))
}

#[test]
fn a_launched_command_is_hit_as_soon_as_its_library_is_there() {
    for program in IN_C {
        let Some(guard) = Guard::root_or_skip() else {
            return;
        };
        let words = [
            "--call",
            "fdatasync",
            "--errno",
            "EIO",
            "--rate",
            "100%",
            "--for",
            "forever",
        ];
        let more = ["--fork", "fdatasync", "getppid"];
        let Some((directory, murphy)) = launched(&guard, program, &words, &more) else {
            continue;
        };
        // The child is there only then: its counts are the third and the fourth.
        let io = errno("EIO");
        wait_until("its child is hit", || counts(&directory, 2)[io] > 200);
        // Until Murphy has seen it, too.
        sleep(slack() * Duration::from_millis(500));
        fs::write(directory.join("end"), "").expect("it can be written");
        // It ends with its command.
        let ended = murphy.wait();
        assert_eq!(ended.code, 0, "{ended:?}");
        let lines = ended.lines();
        let last = lines.last().expect("it says so");
        assert_eq!(last["event"], "recovered", "{last}");
        for place in [0, 2] {
            let counts = counts(&directory, place);
            // What it did before its C library was seen to be there passed.
            let passed = counts[0] - counts[io];
            println!(
                "figure: {program:?}: {passed} of {} calls passed at its start",
                counts[0]
            );
            assert!(counts[io] > 0, "{program:?}");
        }
        let living = &last["effect"]["processes"];
        assert_eq!(living.as_array().map(Vec::len), Some(2), "{last}");
    }
}

#[test]
fn a_program_that_is_executed_is_hit_too() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let directory = guard.dir().join("executed");
    fs::create_dir(&directory).expect("a new directory");
    let Some(words) = Program::Calls.words_or_skip() else {
        return;
    };
    // It waits until it is hit, and is another program then.
    let script = "while [ ! -e go ]; do sleep 0.01; done; exec \"$@\"";
    let shell = guard.program("sh".as_ref()).in_dir(guard.dir());
    let shell = shell.args(["-c", script, "sh"]).args(words).arg(&directory);
    let victim = shell.args(["fsync", "getppid"]).start();
    let words = [
        "--call", "fsync", "--errno", "EIO", "--rate", "90%", "--for", "forever",
    ];
    let (murphy, _) = Heard::inject(&guard, "syscall", &victim.target(), &words);
    fs::write(guard.dir().join("go"), "").expect("it can be written");
    let io = errno("EIO");
    wait_until("the other program is hit", || {
        counts(&directory, 0)[io] > 100
    });
    let before = counts(&directory, 0);
    wait_until("it goes on", || counts(&directory, 0)[0] > before[0] + 200);
    let after = counts(&directory, 0);
    assert_share(after[io] - before[io], after[0] - before[0], 0.9, "fsync");
    let lines = murphy.terminate();
    let last: Value = serde_json::from_str(&lines.last().expect("it says so").text).expect("JSON");
    // The shell's own commands may have been seen, too.
    assert!(last["effect"]["executed"].as_u64() >= Some(1), "{last}");
    fs::write(directory.join("end"), "").expect("it can be written");
    assert_eq!(victim.wait().code, 0);
}

/// Reads from eight connections in turn, and syncs two files, and writes what came of each.
const READS_AND_SYNCS: &str = "
import os, socket, tempfile, time
pairs = [socket.socketpair() for _ in range(8)]
files = [tempfile.TemporaryFile(dir='.') for _ in range(2)]
said = open('said', 'w', buffering=1)
while not os.path.exists('end'):
    for place, (one, other) in enumerate(pairs):
        other.send(b'x')
        try:
            os.read(one.fileno(), 1)
            said.write(f'{place} whole\\n')
        except ConnectionResetError:
            one.recv(1)
            said.write(f'{place} broken\\n')
    for place, file in enumerate(files):
        try:
            os.fsync(file.fileno())
            said.write(f'{place + 8} whole\\n')
        except OSError:
            said.write(f'{place + 8} broken\\n')
    time.sleep(0.001)
";

#[test]
fn what_was_hit_stays_broken_or_passes_when_it_is_tried_again() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let python = guard.program("python3".as_ref()).in_dir(guard.dir());
    let victim = python.args(["-c", READS_AND_SYNCS]).start();
    let said = || fs::read_to_string(guard.dir().join("said")).unwrap_or_default();
    wait_until("it begins", || !said().is_empty());
    // What came of each place since `from`, in order.
    let of_place = |said: &str, place: usize| -> Vec<bool> {
        let lines = said.lines().filter_map(|line| line.split_once(' '));
        let own = lines.filter(|(one, _)| *one == place.to_string());
        own.map(|(_, came)| came == "broken").collect()
    };
    let run = |words: &[&str], is_enough: &dyn Fn(&str) -> bool| {
        let (murphy, _) = Heard::inject(&guard, "syscall", &victim.target(), words);
        let begun = said().len();
        wait_until("it is enough", || is_enough(&said()[begun..]));
        let during = said()[begun..].to_owned();
        let lines = murphy.terminate();
        let last = &lines.last().expect("it says so").text;
        assert!(last.contains("recovered"), "{last}");
        let len = said().len();
        wait_until("it goes on", || said()[len..].lines().count() > 40);
        let after = said()[len..].to_owned();
        let tail: Vec<&str> = after.lines().skip(20).collect();
        assert!(!tail.iter().any(|line| line.contains("broken")), "{after}");
        // The last line may not be whole yet.
        during.rsplit_once('\n').expect("lines").0.to_owned()
    };
    let reads = [
        "--call",
        "read",
        "--errno",
        "ECONNRESET",
        "--rate",
        "5%",
        "--sticky",
        "--for",
        "forever",
    ];
    let all_broken = |said: &str| {
        let ends = (0..8).map(|place| of_place(said, place).into_iter().rev().take(5).collect());
        ends.into_iter()
            .all(|end: Vec<bool>| end.len() == 5 && end.iter().all(|broken| *broken))
    };
    let during = run(&reads, &all_broken);
    for place in 0..8 {
        let came = of_place(&during, place);
        let begun = came.iter().position(|broken| *broken).expect("it breaks");
        assert!(
            came[begun..].iter().all(|broken| *broken),
            "{place}: {came:?}"
        );
    }
    let syncs = [
        "--call", "fsync", "--errno", "EIO", "--rate", "100%", "--once", "--for", "forever",
    ];
    let during = run(&syncs, &|said| of_place(said, 9).len() > 40);
    for place in [8, 9] {
        let came = of_place(&during, place);
        // The first may have come before Murphy did.
        let begun = came.iter().position(|broken| *broken).expect("it breaks");
        let alternates = came[begun..].windows(2).all(|two| two[0] != two[1]);
        assert!(alternates, "{came:?}");
    }
    fs::write(guard.dir().join("end"), "").expect("it can be written");
    assert_eq!(victim.wait().code, 0);
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_touched() {
    let guard = Guard::new();
    let victim = guard.victim("while :; do sleep 0.1; done");
    let target = victim.target();
    for (words, says) in [
        (
            &["--call", "wirte", "--errno", "EIO"][..],
            "there is none of this name",
        ),
        (&["--call", "getpid", "--errno", "EIO"], "it cannot fail"),
        (
            &["--call", "write", "--errno", "ENOPE"],
            "expected a name of errno(3)",
        ),
        (
            &["--call", "read", "--errno", "ENOSPC"],
            "read cannot fail with ENOSPC, but with EIO",
        ),
        (
            &["--call", "mmap", "--errno", "ENOMEM"],
            "--force does it all the same",
        ),
        (
            &["--call", "close", "--errno", "EIO", "--fail", "entry"],
            "--fail exit is how",
        ),
        (
            &["--call", "open", "--errno", "EMFILE", "--fail", "exit"],
            "--fail entry has it",
        ),
        (&["--call", "write"], "say how: --errno, --delay or --short"),
        (
            &["--call", "write", "--delay", "1s", "--short"],
            "exclude each other",
        ),
        (&["--call", "write", "--delay", "1h"], "from 1ns to 5s"),
        (&["--call", "fsync", "--short"], "can do half of it"),
        (
            &["--call", "socket", "--errno", "EMFILE", "--path", "/*"],
            "--path chooses by",
        ),
        (
            &["--call", "openat", "--errno", "EIO", "--fd", "3.."],
            "--fd chooses by",
        ),
        (
            &["--call", "write", "--errno", "EIO", "--path", "lib"],
            "expected an absolute one",
        ),
        (
            &["--call", "write", "--errno", "ENOSPC", "--kind", "socket"],
            "file or block only",
        ),
        (
            &["--call", "write", "--errno", "EIO", "--kind", "fifo"],
            "expected file, dir",
        ),
        (
            &["--call", "write", "--errno", "EIO", "--fd", "x"],
            "expected a number, or a range",
        ),
    ] {
        let all = [
            "inject", "syscall", "-t", &target, "--rate", "50%", "--for", "1s",
        ];
        let refused = guard.murphy(all).args(words).run();
        assert_eq!(refused.code, 2, "{words:?}: {refused:?}");
        assert!(
            refused.stderr.contains(says),
            "{words:?}: {}",
            refused.stderr
        );
    }
    let all = [
        "inject", "syscall", "-t", &target, "--call", "write", "--errno", "EIO",
    ];
    for (words, says) in [
        (&["--rate", "0%", "--for", "1s"][..], "a rate of 0"),
        (&["--rate", "50", "--for", "1s"], "a bare number"),
        (&["--rate", "50%"], "say how long"),
    ] {
        let refused = guard.murphy(all).args(words).run();
        assert_eq!(refused.code, 2, "{words:?}: {refused:?}");
        assert!(
            refused.stderr.contains(says),
            "{words:?}: {}",
            refused.stderr
        );
    }
    let planned = guard
        .murphy(all)
        .args(["--rate", "50%", "--for", "1s", "--dry-run"])
        .run();
    assert_eq!(planned.code, 0, "{planned:?}");
    assert!(
        planned.stdout.contains("nothing was changed"),
        "{planned:?}"
    );
    assert!(guard.injections().is_empty());
    drop(victim);
}

#[test]
fn doctor_lists_which_errors_each_call_can_be_made_to_meet() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let ended = guard.murphy(["doctor", "syscall", "--json"]).run();
    assert_eq!(ended.code, 0, "{ended:?}");
    let line = &ended.lines()[0];
    let works = line["rows"][0]["works"].as_bool().expect("a word");
    let calls = line["calls"].as_array().expect("calls");
    let fsync = calls.iter().find(|one| one["call"] == "fsync");
    let fsync = fsync.expect("it can fail");
    assert_eq!(fsync["engines"].as_array().map(Vec::is_empty), Some(!works));
    assert!(fsync["errors"].to_string().contains("EIO"), "{fsync}");
    let told = guard.murphy(["doctor", "syscall"]).run();
    assert!(
        told.stdout.contains("calls can be made to fail here"),
        "{told:?}"
    );
    let other = guard.murphy(["doctor", "process", "--json"]).run();
    assert!(other.lines()[0]["calls"].is_null(), "{other:?}");
}
