//! Skews of programs that ask the kernel itself for the time, past their vDSO: with `--raw` they see what everybody else sees, in
//! every change, and it ends as everything does.

#[allow(dead_code, reason = "its calls are for other tests")]
mod calling;
mod harness;
mod skewing;
mod victims;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    thread::sleep,
    time::{Duration, Instant},
};

use calling::code_of;
use harness::{Guard, signal, slack, wait_until};
use murphy_fault::syscall::LEASE;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use skewing::{A_MOMENT, Skew, child_of, is_pristine};
use victims::{Heard, Nanos, Program, Reader, Reading, SECOND, reader_in_c, tolerance};

const HOUR: Nanos = 3600 * SECOND;
const RAW: [&str; 5] = ["--raw", "--offset", "-1h", "--for", "1h"];

/// A program that reads its clocks by system calls.
fn victim(guard: &Guard, program: Program, mode: &str) -> Option<Heard> {
    let mut words = program.words_or_skip()?;
    words.push(mode.into());
    Some(Heard::start(guard, words))
}

/// All that Murphy may change of a process is as it was.
fn is_untouched(pid: u32, code: u64) -> bool {
    is_pristine(pid) && code_of(pid) == code
}

/// What an effect says of the raw calls of the one process.
fn raw(said: &Value) -> &Value {
    &said["effect"]["processes"][0]["raw"]
}

/// A program is skewed, changed and let go, and only where that is asked for.
fn a_program_is_skewed_past_its_vdso(program: Program) {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let Some(victim) = victim(&guard, program, "raw") else {
        return;
    };
    let reader = Reader::unskewed(&victim, "");
    let code = code_of(victim.pid());
    let skew = Skew::inject(&guard, &victim.target(), &RAW[1..]);
    reader.is_skewed_by("R", 0);
    assert_eq!(code_of(victim.pid()), code, "its code was not meant");
    skew.interrupt();

    let words = ["--raw", "--offset", "-90s", "--for", "60s"];
    let skew = Skew::inject(&guard, &victim.target(), &words);
    assert!(raw(&skew.active)["sites"].as_u64() > Some(0));
    assert_ne!(code_of(victim.pid()), code);
    all_are_skewed_by(&reader, program, -90 * SECOND);
    assert_eq!(skew.update(&["--offset", "+1h"]).code, 0);
    all_are_skewed_by(&reader, program, HOUR);
    let last = skew.interrupt();
    assert!(raw(&last)["calls"].as_u64() > Some(10), "{last}");
    assert_eq!(last["effect"]["raw"], serde_json::json!([]), "{last}");
    all_are_skewed_by(&reader, program, 0);
    assert!(is_untouched(victim.pid(), code));
    let lines = victim.terminate();
    assert_eq!(lines.last().expect("it says something").text, "BYE");
}

/// All clocks that the program reads: those of the day are skewed alike, the others not.
fn all_are_skewed_by(reader: &Reader, program: Program, skew: Nanos) {
    // In an emulated kernel a lease may lapse for a moment: who renews it waits for the processor.
    let tries = if slack() > 1 { 5 } else { 1 };
    let is_so = || catch_unwind(AssertUnwindSafe(|| all_are_so(reader, program, skew))).is_ok();
    if !(1..tries).any(|_| is_so()) {
        all_are_so(reader, program, skew);
    }
}

fn all_are_so(reader: &Reader, program: Program, skew: Nanos) {
    reader.is_skewed_by("R", skew);
    if [Program::Go, Program::Go119].contains(&program) {
        return;
    }
    for letter in ["G", "A"] {
        reader.is_skewed_by(letter, skew);
    }
    for letter in ["B", "W"] {
        reader.is_skewed_by(letter, 0);
    }
    reader.is_coarsely_skewed_by("C", skew);
    reader.is_coarsely_skewed_by("T", skew);
    reader.is_coarsely_skewed_by("K", 0);
}

#[test]
fn a_program_in_c_is_skewed_past_its_vdso() {
    a_program_is_skewed_past_its_vdso(Program::C);
}

#[test]
fn a_static_program_in_c_is_skewed_past_its_vdso() {
    a_program_is_skewed_past_its_vdso(Program::CStatic);
}

#[test]
fn a_program_in_c_with_musl_is_skewed_past_its_vdso() {
    a_program_is_skewed_past_its_vdso(Program::CMusl);
}

#[test]
fn a_program_in_go_is_skewed_past_its_vdso() {
    a_program_is_skewed_past_its_vdso(Program::Go);
}

#[test]
fn a_program_in_go_1_19_is_skewed_past_its_vdso() {
    a_program_is_skewed_past_its_vdso(Program::Go119);
}

/// Whatever reads by its vDSO is not skewed twice where its C library asks the kernel.
#[test]
fn a_program_that_uses_its_vdso_is_skewed_once() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    for program in [Program::C, Program::CMusl, Program::Go] {
        let Some(victim) = victim(&guard, program, "read") else {
            continue;
        };
        let reader = Reader::unskewed(&victim, "");
        let skew = Skew::inject(&guard, &victim.target(), &RAW);
        all_are_skewed_by(&reader, program, -HOUR);
        let last = skew.interrupt();
        assert_eq!(raw(&last)["calls"], 0, "{last}");
        victim.terminate();
    }
}

#[test]
fn a_course_is_followed_past_the_vdso() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let Some(victim) = reader_in_c(&guard, &["raw"]) else {
        return;
    };
    let reader = Reader::unskewed(&victim, "");
    let with = |words: &[&str]| {
        let words = [&["--raw", "--for", "1h"], words].concat();
        Skew::inject(&guard, &victim.target(), &words)
    };
    let jumps = with(&["--offset", "+1h", "--jump", "-3h@1s"]);
    reader.becomes_skewed_by("R", HOUR);
    reader.becomes_skewed_by("R", -2 * HOUR);
    jumps.interrupt();
    let monotonic = with(&["--offset", "+10s", "--clock", "monotonic"]);
    // Against the monotonic clock all others are behind.
    reader.becomes_skewed_by("R", -10 * SECOND);
    reader.is_skewed_by("B", -10 * SECOND);
    monotonic.interrupt();
    let frozen = with(&["--freeze"]);
    sleep(A_MOMENT);
    let from = victim.count();
    sleep(A_MOMENT);
    let lines = victim.since(from);
    let days: Vec<_> = lines
        .iter()
        .filter_map(|line| Some(Reading::parse("", line)?.ns("R")))
        .collect();
    let moved = days.last().expect("it reads") - days[0];
    assert!(moved.abs() < 1_000_000, "it moved by {moved} ns");
    frozen.interrupt();
    reader.is_skewed_by("R", 0);
    victim.terminate();
}

#[test]
fn its_time_is_over_inside_the_target() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let Some(victim) = reader_in_c(&guard, &["raw"]) else {
        return;
    };
    let reader = Reader::unskewed(&victim, "");
    let code = code_of(victim.pid());
    let words = ["--raw", "--offset", "-1h", "--for", "1s"];
    let skew = Skew::inject(&guard, &victim.target(), &words);
    reader.becomes_skewed_by("R", -HOUR);
    // A Murphy that hangs is undone by its keeper, but not before its time is over.
    skew.wait();
    reader.is_skewed_by("R", 0);
    assert!(is_untouched(victim.pid(), code));
    victim.terminate();
}

#[test]
fn children_are_skewed_and_recovered_with_their_parents_and_programs_are_followed() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    for (mode, prefix) in [("rawforklater", "child "), ("rawexeclater", "exec ")] {
        let Some(victim) = reader_in_c(&guard, &[mode]) else {
            return;
        };
        let parent = Reader::unskewed(&victim, "");
        let code = code_of(victim.pid());
        let skew = Skew::inject(&guard, &victim.target(), &RAW);
        parent.becomes_skewed_by("R", -HOUR);
        victim.signal("USR1");
        let child = parent.other(prefix);
        child.becomes_skewed_by("R", -HOUR);
        child.is_skewed_by("G", -HOUR);
        let pid = child_of(victim.pid());
        assert_eq!(skew.update(&["--offset", "+1h"]).code, 0);
        child.becomes_skewed_by("R", HOUR);
        let last = skew.interrupt();
        let processes = last["effect"]["processes"].as_array().expect("a list");
        assert_eq!(processes.len(), 2, "{last}");
        for process in processes {
            assert!(process["raw"]["calls"].as_u64() > Some(0), "{last}");
        }
        for (reader, pid) in [(&parent, victim.pid()), (&child, pid)] {
            reader.is_skewed_by("R", 0);
            assert!(is_pristine(pid));
        }
        assert_eq!(code_of(victim.pid()), code);
        if mode == "rawforklater" {
            assert_eq!(code_of(pid), code);
        }
        victim.terminate();
    }
}

#[test]
fn a_launched_program_is_skewed_past_its_vdso() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    for program in [Program::C, Program::CMusl] {
        let Some(words) = program.words_or_skip() else {
            continue;
        };
        let plain = Heard::start(&guard, &words);
        let before = plain.wait_for("a reading", 0, |line| Reading::parse("", line));
        plain.terminate();
        let murphy = [env!("CARGO_BIN_EXE_murphy"), "inject", "time"];
        let murphy = [&murphy[..], &RAW[..3], &["--for", "2s", "--"]].concat();
        let words = murphy.into_iter().map(Into::into).chain(words);
        let journal = guard.journal();
        let heard = Heard::start_as(&guard, words.chain(["raw".into()]), |murphy| {
            murphy.env("MURPHY_JOURNAL", &journal)
        });
        // Its C library is patched a moment after it is mapped; of a static program all is before its first instruction.
        let skewed = |line: &victims::Line| {
            let reading = Reading::parse("", line)?;
            let skew = reading.ahead("R") - before.ahead("R");
            assert!(program == Program::C || skew < -HOUR / 2, "{line:?}");
            ((skew + HOUR).abs() < tolerance()).then_some(())
        };
        heard.wait_for("it is skewed", 0, skewed);
        let (ended, lines) = heard.wait();
        assert_eq!(ended.code, 0, "{ended:?} {lines:?}");
        assert!(guard.injections().is_empty());
    }
}

/// Calls are interrupted at every instruction, and nothing is skewed twice or by halves.
#[test]
fn signals_come_at_any_time() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let Some(victim) = reader_in_c(&guard, &["rawsignals"]) else {
        return;
    };
    let reader = Reader::unskewed(&victim, "");
    let code = code_of(victim.pid());
    let rounds = 5;
    for _ in 0..rounds {
        let skew = Skew::inject(&guard, &victim.target(), &RAW);
        reader.becomes_skewed_by("R", -HOUR);
        skew.interrupt();
        reader.becomes_skewed_by("R", 0);
        assert!(is_untouched(victim.pid(), code));
    }
    let lines = victim.terminate();
    let mut readings = lines.iter().rev();
    let last = readings.find_map(|line| Reading::parse("", line));
    let last = last.expect("it reads");
    assert!(last.value("S") > Some(100), "{last:?}");
    // The skew may begin, or end, between two readings.
    assert!(last.value("X") <= Some(2 * rounds), "{last:?}");
}

#[test]
fn without_murphy_and_its_keeper_it_ends_by_itself_and_is_recovered() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let Some(victim) = reader_in_c(&guard, &["rawforklater"]) else {
        return;
    };
    let reader = Reader::unskewed(&victim, "");
    let code = code_of(victim.pid());
    let skew = Skew::inject(&guard, &victim.target(), &RAW);
    victim.signal("USR1");
    let child = reader.other("child ");
    for one in [&reader, &child] {
        one.becomes_skewed_by("R", -HOUR);
    }
    let pid = child_of(victim.pid());
    skew.kill(true);
    let killed = Instant::now();
    for one in [&reader, &child] {
        one.becomes_skewed_by("R", 0);
    }
    let lasted = killed.elapsed();
    assert!(lasted < 3 * LEASE * slack(), "{lasted:?}");
    assert_ne!(code_of(victim.pid()), code, "nobody is there to undo it");
    let recovered = guard.murphy(["recover"]).run();
    assert_eq!(recovered.code, 0, "{recovered:?}");
    for pid in [victim.pid(), pid] {
        assert!(is_untouched(pid, code));
    }
    victim.terminate();
}

#[test]
fn its_keeper_undoes_it() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let Some(victim) = reader_in_c(&guard, &["raw"]) else {
        return;
    };
    let reader = Reader::unskewed(&victim, "");
    let code = code_of(victim.pid());
    let skew = Skew::inject(&guard, &victim.target(), &RAW);
    reader.becomes_skewed_by("R", -HOUR);
    skew.kill(false);
    wait_until("it is as before", || is_untouched(victim.pid(), code));
    wait_until("nothing stands", || guard.injections().is_empty());
    reader.is_skewed_by("R", 0);
    victim.terminate();
}

#[test]
fn whenever_both_are_killed_all_is_recovered() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let mut rng = ChaCha8Rng::seed_from_u64(23);
    for program in [Program::C, Program::CMusl, Program::Go] {
        let Some(victim) = victim(&guard, program, "raw") else {
            continue;
        };
        let reader = Reader::unskewed(&victim, "");
        let code = code_of(victim.pid());
        for _ in 0..8 {
            let murphy = guard.murphy(["inject", "time", "-t"]).arg(victim.target());
            let murphy = murphy.args(RAW).start();
            sleep(Duration::from_micros(rng.random_range(0..150_000)));
            murphy.signal("KILL");
            if let Some(keeper) = guard.keeper() {
                signal(keeper, "KILL");
            }
            drop(murphy.wait());
            let recovered = guard.murphy(["recover"]).run();
            assert_eq!(recovered.code, 0, "{recovered:?}");
            assert!(is_untouched(victim.pid(), code), "{program:?}");
        }
        reader.is_skewed_by("R", 0);
        victim.terminate();
    }
}

#[test]
fn what_would_be_patched_is_said_and_nothing_is_changed() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let Some(victim) = reader_in_c(&guard, &["raw"]) else {
        return;
    };
    let reader = Reader::unskewed(&victim, "");
    let code = code_of(victim.pid());
    let dry = guard.murphy(["inject", "time", "--dry-run", "-t"]);
    let dry = dry.arg(victim.target()).args(RAW).run();
    assert_eq!(dry.code, 0, "{dry:?}");
    for part in [
        "hook the vDSO of",
        "places of",
        "that ask the kernel for the time, or may",
        "off the code of every process",
    ] {
        assert!(dry.stdout.contains(part), "{part}: {dry:?}");
    }
    assert!(is_untouched(victim.pid(), code));
    reader.is_skewed_by("R", 0);
    victim.terminate();
}

#[test]
fn two_who_would_patch_the_same_code_exclude_each_other() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let Some(victim) = reader_in_c(&guard, &["raw"]) else {
        return;
    };
    let reader = Reader::unskewed(&victim, "");
    let skew = Skew::inject(&guard, &victim.target(), &RAW);
    let second = guard.murphy(["inject", "time", "-t"]).arg(victim.target());
    let second = second.args(RAW).run();
    assert_eq!(second.code, 3, "{second:?}");
    assert!(
        second
            .stderr
            .contains("an injection has patched it already")
    );
    let calls = ["fsync", "--errno", "EIO", "--rate", "50%", "--for", "1s"];
    let failing = guard
        .murphy(["inject", "syscall", "-t"])
        .arg(victim.target());
    let failing = failing.args(["--call"]).args(calls).run();
    assert_eq!(failing.code, 3, "{failing:?}");
    assert!(
        failing
            .stderr
            .contains("an injection has patched it already")
    );
    // One that leaves the code alone adds to both.
    let other = Skew::inject(
        &guard,
        &victim.target(),
        &["--offset", "-1h", "--for", "1h"],
    );
    reader.becomes_skewed_by("R", -2 * HOUR);
    skew.interrupt();
    reader.becomes_skewed_by("R", 0);
    other.interrupt();
    victim.terminate();
}
