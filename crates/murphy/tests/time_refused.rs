//! What cannot be skewed is refused before anything is touched, and what only looks impossible is not.

mod harness;
mod skewing;
mod victims;

use std::{fs, process::Command, thread::sleep};

use harness::{Guard, say_skipped, signal, wait_until};
use skewing::{A_MOMENT, Skew, child_of, is_pristine};
use victims::{Heard, Nanos, Program, Reader, SECOND, reader_in_c};

const MINUTE: Nanos = 60 * SECOND;

/// T17: a target that somebody traces is refused by his name, and untouched.
#[test]
fn a_target_under_a_debugger_is_refused_and_untouched() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let Some(victim) = reader_in_c(&guard, &["child"]) else {
        return;
    };
    let child = child_of(victim.pid());
    let tracer = trace(&guard, child);
    // T20: one process of the target cannot be skewed, so none is, and that is said.
    let refused = guard
        .murphy(["inject", "time", "--offset", "-1h", "--for", "1s", "-t"])
        .arg(victim.target())
        .run();
    assert_eq!(refused.code, 3, "{refused:?}");
    assert!(refused.stderr.contains("traces it already"), "{refused:?}");
    assert!(refused.stderr.contains(&child.to_string()), "{refused:?}");
    assert!(is_pristine(victim.pid()) && guard.injections().is_empty());
    drop(tracer);
    let reader = Reader::unskewed(&victim, "");
    let skew = Skew::inject(
        &guard,
        &victim.target(),
        &["--offset", "-1h", "--for", "1h"],
    );
    reader.other("child ").is_skewed_by("R", -60 * MINUTE);
    skew.interrupt();
    victim.terminate();
}

/// A tracer of one process, seized as `strace -p` does.
fn trace(guard: &Guard, pid: u32) -> harness::Running {
    let script = format!(
        "import ctypes, time\n\
         libc = ctypes.CDLL(None, use_errno=True)\n\
         assert libc.ptrace(0x4206, {pid}, 0, 0) == 0\n\
         time.sleep(60)"
    );
    let tracer = guard
        .program("python3".as_ref())
        .arg("-c")
        .arg(script)
        .start();
    let status = format!("/proc/{pid}/status");
    let wanted = format!("TracerPid:\t{}\n", tracer.pid());
    wait_until("it is traced", || {
        fs::read_to_string(&status)
            .unwrap_or_default()
            .contains(&wanted)
    });
    tracer
}

#[test]
fn what_cannot_be_skewed_is_refused_before_anything_is_touched() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let victim = guard.victim("exec sleep 60");
    let target = victim.target();
    let zombie = zombie(&guard);
    for (words, code, says) in [
        (&["--for", "1s", "-t", &target][..], 2, "say how"),
        (
            &["--offset", "10", "--for", "1s", "-t", &target],
            2,
            "a number needs a unit",
        ),
        (
            &["--offset", "10s", "-t", &target],
            2,
            "say how long with --for",
        ),
        (
            &["--offset", "-800000h", "--for", "1s", "-t", &target],
            2,
            "before 1970",
        ),
        (
            &["--offset", "2500000h", "--for", "1s", "-t", &target],
            2,
            "after 2262",
        ),
        (
            &["--offset", "9000000h", "--for", "1s", "-t", &target],
            2,
            "292 years",
        ),
        (
            &["--drift", "51%", "--for", "1s", "-t", &target],
            2,
            "at most 50 %",
        ),
        (
            &[
                "--offset", "1s", "--clock", "wall", "--for", "1s", "-t", &target,
            ],
            2,
            "\"wall\"",
        ),
        (
            &[
                "--offset",
                "1s",
                "--clock",
                "CLOCK_THREAD_CPUTIME_ID",
                "--for",
                "1s",
                "-t",
                &target,
            ],
            2,
            "CLOCK_THREAD_CPUTIME_ID",
        ),
        (
            &[
                "--offset",
                "-1s",
                "--clock",
                "monotonic",
                "--for",
                "1s",
                "-t",
                &target,
            ],
            2,
            "--force does it",
        ),
        (
            &["--freeze", "--drift", "1ppm", "--for", "1s", "-t", &target],
            2,
            "exclude",
        ),
        (
            &["--at", "yesterday", "--for", "1s", "-t", &target],
            2,
            "yesterday",
        ),
        (
            &[
                "--strobe", "1s", "every", "10us", "--for", "1s", "-t", &target,
            ],
            2,
            "at least 1ms",
        ),
        (
            &["--offset", "1s", "--for", "1s", "-t", "pid:2"],
            2,
            "kernel thread",
        ),
        (
            &["--offset", "1s", "--for", "1s", "-t", "pid:3999999"],
            3,
            "no such process",
        ),
        (
            &[
                "--offset",
                "1s",
                "--for",
                "1s",
                "-t",
                &format!("pid:{}", zombie.1),
            ],
            3,
            "zombie",
        ),
        (
            &[
                "--offset",
                "1s",
                "--for",
                "1s",
                "-t",
                "container:no-such-container",
            ],
            3,
            "container",
        ),
    ] {
        let refused = guard.murphy(["inject", "time"]).args(words).run();
        assert_eq!(refused.code, code, "{words:?}: {refused:?}");
        assert!(refused.stderr.contains(says), "{words:?}: {refused:?}");
        assert!(guard.injections().is_empty(), "{words:?}");
    }
    assert!(is_pristine(victim.pid()));
    drop(zombie.0);
}

/// A process that has ended and that its parent does not wait for.
fn zombie(guard: &Guard) -> (harness::Running, u32) {
    let script = "import os, time\n\
                  pid = os.fork()\n\
                  pid or os._exit(0)\n\
                  open('zombie', 'w').write(str(pid))\n\
                  time.sleep(60)";
    let parent = guard
        .program("python3".as_ref())
        .in_dir(guard.dir())
        .args(["-c", script])
        .start();
    let file = guard.dir().join("zombie");
    let read = || {
        fs::read_to_string(&file)
            .unwrap_or_default()
            .parse::<u32>()
            .ok()
    };
    wait_until("there is a zombie", || read().is_some());
    (parent, read().expect("it was just there"))
}

#[test]
fn a_32_bit_program_is_refused() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let program = guard.dir().join("thirty-two");
    // A 32-bit ELF file whose only code waits for ever: `mov eax, 29 (pause); int 0x80; jmp` back.
    fs::write(&program, thirty_two_bit_elf()).unwrap();
    let chmod = Command::new("chmod")
        .arg("+x")
        .arg(&program)
        .status()
        .unwrap();
    assert!(chmod.success());
    let victim = guard.program(&program).start();
    sleep(A_MOMENT);
    let refused = guard
        .murphy(["inject", "time", "--offset", "-1h", "--for", "1s", "-t"])
        .arg(victim.target())
        .run();
    assert_eq!(refused.code, 3, "{refused:?}");
    assert!(refused.stderr.contains("32-bit"), "{refused:?}");
    victim.signal("KILL");
}

/// Who joins later and cannot be skewed has escaped; the others stay skewed.
#[test]
fn a_child_that_becomes_a_32_bit_program_escapes_and_ends_nothing() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let program = guard.dir().join("thirty-two");
    fs::write(&program, thirty_two_bit_elf()).unwrap();
    let chmod = Command::new("chmod").arg("+x").arg(&program).status();
    assert!(chmod.unwrap().success());
    let script = format!("sleep 1; {} & sleep 60", program.display());
    let victim = guard.victim(&script);
    let words = ["--offset", "-1h", "--for", "3s"];
    let last = Skew::inject(&guard, &victim.target(), &words).wait();
    let escapes = last["effect"]["escapes"].as_array().unwrap();
    assert_eq!(escapes.len(), 1, "{last}");
    assert!(escapes[0].as_str().unwrap().contains("32-bit"), "{last}");
    assert_eq!(last["effect"]["living"], 2, "{last}");
    for pid in guard.marked_pids() {
        signal(pid, "KILL");
    }
}

#[test]
fn who_shares_his_memory_with_another_process_is_refused() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    // A child by `clone(pause, stack, CLONE_VM | SIGCHLD)`.
    let script = "import ctypes, signal\n\
        libc = ctypes.CDLL(None)\n\
        stack = ctypes.create_string_buffer(1 << 16)\n\
        top = ctypes.c_void_p((ctypes.addressof(stack) + (1 << 16)) & ~15)\n\
        child = libc.clone(libc.pause, top, 0x100 | signal.SIGCHLD, None)\n\
        print(child, flush=True)\n\
        signal.pause()";
    let victim = Heard::start(&guard, ["python3", "-c", script]);
    let child: u32 = victim.wait_for("it has a child", 0, |line| line.text.parse().ok());
    let refused = guard
        .murphy(["inject", "time", "--offset", "-1h", "--for", "1s", "-t"])
        .arg(victim.target())
        .run();
    assert_eq!(refused.code, 3, "{refused:?}");
    assert!(refused.stderr.contains("shares its memory"), "{refused:?}");
    assert!(is_pristine(victim.pid()) && guard.injections().is_empty());
    signal(child, "KILL");
    victim.signal("KILL");
    let _ = victim.wait();
}

#[test]
fn a_clock_with_another_offset_in_its_time_namespace_is_refused_and_the_others_are_not() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let words = [
        "unshare",
        "-T",
        "--monotonic",
        "1000",
        "sh",
        "-c",
        "echo ready; exec sleep 60",
    ];
    let victim = Heard::start(&guard, words);
    let until = std::time::Instant::now() + std::time::Duration::from_secs(5);
    while victim.count() == 0 {
        if std::time::Instant::now() > until {
            say_skipped("unshare -T");
            return;
        }
        sleep(A_MOMENT);
    }
    let inject = |clock| {
        guard
            .murphy([
                "inject", "time", "--offset", "+1h", "--for", "300ms", "--clock", clock, "-t",
            ])
            .arg(victim.target())
            .run()
    };
    let refused = inject("monotonic");
    assert_eq!(refused.code, 3, "{refused:?}");
    assert!(refused.stderr.contains("time namespace"), "{refused:?}");
    assert!(is_pristine(victim.pid()));
    assert_eq!(inject("realtime").code, 0);
    victim.signal("KILL");
    let _ = victim.wait();
}

fn thirty_two_bit_elf() -> Vec<u8> {
    const BASE: u32 = 0x0804_8000;
    let code = [0xb8, 29, 0, 0, 0, 0xcd, 0x80, 0xeb, 0xf7];
    let mut file = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    for number in [2_u16, 3] {
        file.extend(number.to_le_bytes());
    }
    for number in [1, BASE + 84, 52, 0, 0] {
        file.extend(number.to_le_bytes());
    }
    for number in [52_u16, 32, 1, 40, 0, 0] {
        file.extend(number.to_le_bytes());
    }
    let length = 84 + u32::try_from(code.len()).unwrap();
    for number in [1, 0, BASE, BASE, length, length, 5, 4096] {
        file.extend(number.to_le_bytes());
    }
    file.extend(code);
    file
}

#[test]
fn a_dry_run_says_what_would_be_changed_and_changes_nothing() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let victim = guard.victim("exec sleep 60");
    let said = guard
        .murphy([
            "inject",
            "time",
            "--offset",
            "-1h",
            "--for",
            "1h",
            "--dry-run",
            "-t",
        ])
        .arg(victim.target())
        .run();
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.stdout.contains("hook the vDSO of"), "{said:?}");
    assert!(said.stdout.contains("nothing was changed"), "{said:?}");
    assert!(is_pristine(victim.pid()) && !guard.journal().exists());
}

/// T16: nothing of `process_vm_readv` and its like is needed, which some kernels are built without; nor that
/// `/proc/PID/mem` may be written, which some kernels forbid.
#[test]
fn a_kernel_without_half_of_the_ways_into_a_process_will_do() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let Some(victim) = reader_in_c(&guard, &[]) else {
        return;
    };
    let Some(words) = Program::Without.words_or_skip() else {
        return;
    };
    let reader = Reader::unskewed(&victim, "");
    for refused in ["process_vm", "pwrite"] {
        let said = Heard::start_as(
            &guard,
            words
                .iter()
                .cloned()
                .chain([refused.into(), env!("CARGO_BIN_EXE_murphy").into()])
                .chain(
                    ["inject", "time", "--json", "--offset", "-1h", "--for", "1h"].map(Into::into),
                )
                .chain(["-t".into(), victim.target().into()]),
            |murphy| murphy.env("MURPHY_JOURNAL", guard.journal()),
        );
        said.wait_for("the skew is active", 0, |line| {
            line.text.contains("\"active\"").then_some(())
        });
        reader.is_skewed_by("R", -60 * MINUTE);
        let id = &guard.injections()[0];
        let updated = guard.murphy(["update", id, "--offset", "+1h"]).run();
        assert_eq!(updated.code, 0, "{updated:?}");
        reader.is_skewed_by("R", 60 * MINUTE);
        said.signal("INT");
        let (ended, _) = said.wait();
        assert_eq!(ended.code, 0, "without {refused}: {ended:?}");
        reader.is_skewed_by("R", 0);
        assert!(is_pristine(victim.pid()));
    }
    victim.terminate();
}

/// T17: a target that may do next to nothing itself is skewed all the same: nothing is done in its name.
#[test]
fn a_target_under_a_strict_seccomp_filter_is_skewed() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let (Some(without), Some(clock)) =
        (Program::Without.words_or_skip(), Program::C.words_or_skip())
    else {
        return;
    };
    let words = without.into_iter().chain(["maps".into()]).chain(clock);
    let victim = Heard::start(&guard, words);
    let reader = Reader::unskewed(&victim, "");
    let words = ["--offset", "-1h", "--for", "1h"];
    let skew = Skew::inject(&guard, &victim.target(), &words);
    reader.is_skewed_by("R", -60 * MINUTE);
    skew.interrupt();
    reader.is_skewed_by("R", 0);
    victim.terminate();
}
