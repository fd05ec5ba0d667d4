//! Faults of family `process` against real processes: inject, see the effect, take it back.

mod harness;

use std::{fs, thread::sleep, time::Duration};

use harness::{Guard, is_stopped, wait_until};

#[test]
fn a_pause_stops_the_victim_and_lets_it_go_on() {
    let guard = Guard::new();
    let victim = guard.counter();
    let pause = guard
        .murphy([
            "inject",
            "process",
            "pause",
            "--for",
            "2s",
            "--json",
            "-t",
            &victim.target(),
        ])
        .start();
    wait_until("the victim is stopped", || is_stopped(victim.pid()));
    // A child it had just started may finish its own work before it is found and stopped, too.
    sleep(Duration::from_millis(300));
    assert!(!guard.counts(), "it counts although it is stopped");
    let ended = pause.wait();
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(guard.counts(), "it does not count after the pause");
    let lines = ended.lines();
    let events: Vec<_> = lines
        .iter()
        .map(|line| line["event"].as_str().unwrap())
        .collect();
    assert_eq!(
        (events[0], events[1], *events.last().unwrap()),
        ("planned", "active", "recovered")
    );
    let effect = &lines.last().unwrap()["effect"];
    assert_eq!(effect["threads_stopped"], effect["threads"], "{effect}");
    assert!(effect["stopped_ms"].as_u64().unwrap() >= 1900, "{effect}");
    assert_eq!(effect["cpu_ns"], 0, "a stopped process used CPU: {effect}");
}

#[test]
fn ctrl_c_ends_a_pause_at_once() {
    let guard = Guard::new();
    let victim = guard.counter();
    let pause = guard
        .murphy([
            "inject",
            "process",
            "pause",
            "--for",
            "1h",
            "-t",
            &victim.target(),
        ])
        .start();
    wait_until("the victim is stopped", || is_stopped(victim.pid()));
    pause.signal("INT");
    let ended = pause.wait();
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.stdout.contains("ended: "), "{}", ended.stdout);
    assert!(guard.counts());
}

#[test]
fn a_dry_run_touches_nothing() {
    let guard = Guard::new();
    let victim = guard.counter();
    let said = guard
        .murphy([
            "inject",
            "process",
            "pause",
            "--for",
            "1h",
            "--dry-run",
            "-t",
            &victim.target(),
        ])
        .run();
    assert_eq!(said.code, 0, "{said:?}");
    assert!(
        said.stdout
            .contains(&format!("send SIGSTOP to {}", victim.pid())),
        "{}",
        said.stdout
    );
    assert!(said.stdout.contains("nothing was changed"));
    assert!(!guard.journal().exists(), "a dry run writes no journal");
    assert!(guard.counts());
}

#[test]
fn what_cannot_be_is_refused_with_its_exit_code() {
    let guard = Guard::new();
    let me = format!("pid:{}", std::process::id());
    let crowd = guard.victim("for i in 1 2 3 4 5; do sleep 60 & done; wait");
    wait_until("the crowd is there", || guard.marked_pids().len() >= 6);
    let crowd_target = crowd.target();
    let pause = ["pause", "--for", "1s"];
    for (words, code, says) in [
        (
            &["explode"][..],
            2,
            "expected kill, term, signal=NAME, pause or restart",
        ),
        (&["signal=NOPE", "-t", "pid:1"], 2, "no such signal"),
        (
            &["pause", "-t", &crowd_target],
            2,
            "say how long with --for",
        ),
        (
            &["pause", "--for", "10", "-t", &crowd_target],
            2,
            "a number needs a unit",
        ),
        (&["pause", "--for", "1s"], 2, "name a target with -t"),
        (
            &["kill", "--for", "1s", "-t", &crowd_target],
            2,
            "leave --for away",
        ),
        (
            &["restart", "-t", &crowd_target],
            2,
            "only a command that Murphy has launched",
        ),
        (&[pause[0], pause[1], pause[2], "-t", "42"], 2, "42"),
        (
            &[pause[0], pause[1], pause[2], "-t", "planet:mars"],
            2,
            "planet",
        ),
        (
            &[pause[0], pause[1], pause[2], "-t", "container:no-such"],
            3,
            "container:no-such",
        ),
        (
            &[pause[0], pause[1], pause[2], "-t", "pid:4194303"],
            3,
            "no such process",
        ),
        (
            &[pause[0], pause[1], pause[2], "-t", "name:no-such-program"],
            3,
            "no process matches",
        ),
        (
            &[pause[0], pause[1], pause[2], "-t", "netns:mphy-none"],
            3,
            "mphy-none",
        ),
        (
            &[pause[0], pause[1], pause[2], "-t", "pid:1"],
            2,
            "never hit",
        ),
        (&[pause[0], pause[1], pause[2], "-t", &me], 2, "never hit"),
        (
            &["kill", "--max-targets", "3", "-t", &crowd_target],
            2,
            "at most 3",
        ),
        (&["kill", "-t", "pid:7", "--", "true"], 2, "not both"),
        (
            &["restart", "--", "/no/such/program"],
            3,
            "start /no/such/program",
        ),
    ] {
        let refused = guard.murphy(["inject", "process"]).args(words).run();
        assert_eq!(refused.code, code, "{words:?}: {refused:?}");
        assert!(
            refused.stderr.contains(says),
            "{words:?} says: {}",
            refused.stderr
        );
    }
    assert_eq!(guard.stopped_pids(), [0; 0]);
    // The keeper of the last Murphy may still be on its way out.
    wait_until("only the crowd is left", || guard.marked_pids().len() <= 6);
    assert_eq!(guard.marked_pids().len(), 6, "somebody was hurt");
    assert!(
        guard
            .murphy(["inject", "process", "kill", "-t", &crowd_target])
            .run()
            .code
            == 0
    );
}

#[test]
fn somebody_elses_process_may_not_be_hurt() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let victim = guard.counter();
    let theirs = guard.dir().join("theirs");
    fs::create_dir(&theirs).unwrap();
    std::os::unix::fs::chown(&theirs, Some(65534), Some(65534)).unwrap();
    fs::set_permissions(
        guard.dir(),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    // The binary may lie where another user cannot go.
    let binary = guard.dir().join("murphy");
    fs::copy(env!("CARGO_BIN_EXE_murphy"), &binary).unwrap();
    let refused = guard
        .program(&binary)
        .args([
            "inject",
            "process",
            "pause",
            "--for",
            "1s",
            "-t",
            &victim.target(),
        ])
        .env("MURPHY_JOURNAL", &theirs)
        .owned_by(65534)
        .run();
    assert_eq!(refused.code, 3, "{refused:?}");
    assert!(
        refused.stderr.contains("permission denied"),
        "{}",
        refused.stderr
    );
    assert!(guard.counts());
}

#[test]
fn what_somebody_else_has_stopped_stays_stopped() {
    let guard = Guard::new();
    let victim = guard.victim("exec sleep 60");
    victim.signal("STOP");
    wait_until("it is stopped", || is_stopped(victim.pid()));
    let pause = guard
        .murphy([
            "inject",
            "process",
            "pause",
            "--for",
            "200ms",
            "-t",
            &victim.target(),
        ])
        .run();
    assert_eq!(
        pause.code, 3,
        "nothing was stopped, which is no effect: {pause:?}"
    );
    assert!(is_stopped(victim.pid()), "it was resumed by the wrong one");
    victim.signal("CONT");
}

#[test]
fn a_family_that_grows_is_stopped_whole() {
    let guard = Guard::new();
    let victim = guard.victim(include_str!("../../../victims/family.sh"));
    wait_until("it has children", || guard.marked_pids().len() > 20);
    let pause = guard
        .murphy([
            "inject",
            "process",
            "pause",
            "--for",
            "1s",
            "--max-targets",
            "1000",
            "-t",
            &victim.target(),
        ])
        .start();
    wait_until("the victim is stopped", || is_stopped(victim.pid()));
    wait_until("it is active", || !guard.injections().is_empty());
    sleep(Duration::from_millis(500));
    let murphys = 2; // the injector and its keeper
    let marked = guard.marked_pids();
    let stopped = guard.stopped_pids();
    assert_eq!(
        stopped.len(),
        marked.len() - murphys,
        "somebody of the family runs"
    );
    assert_eq!(pause.wait().code, 0);
    assert_eq!(guard.stopped_pids(), [0; 0]);
    assert_eq!(
        guard
            .murphy([
                "inject",
                "process",
                "kill",
                "--max-targets",
                "1000",
                "-t",
                &victim.target()
            ])
            .run()
            .code,
        0
    );
}

#[test]
fn signals_are_measured_not_meant() {
    let guard = Guard::new();
    let deaf = guard.victim("trap '' USR1; touch deaf; exec sleep 60");
    let attentive =
        guard.victim("trap 'touch heard' USR1; touch ready; while :; do sleep 0.05; done");
    wait_until("both are ready", || {
        guard.dir().join("deaf").exists() && guard.dir().join("ready").exists()
    });
    let send = |target: &str| {
        guard
            .murphy(["inject", "process", "signal=USR1", "--json", "-t", target])
            .run()
    };
    let ignored = send(&deaf.target());
    assert_eq!(
        ignored.code, 3,
        "a signal that is ignored has no effect: {ignored:?}"
    );
    assert!(ignored.stdout.contains("\"ignored\""), "{}", ignored.stdout);
    let heard = send(&attentive.target());
    assert_eq!(heard.code, 0, "{heard:?}");
    assert!(heard.stdout.contains("\"consumed\""), "{}", heard.stdout);
    wait_until("the handler ran", || guard.dir().join("heard").exists());
    for victim in [&deaf, &attentive] {
        let killed = guard
            .murphy([
                "inject",
                "process",
                "kill",
                "--json",
                "-t",
                &victim.target(),
            ])
            .run();
        assert_eq!(killed.code, 0, "{killed:?}");
        assert!(killed.stdout.contains("\"gone\""), "{}", killed.stdout);
    }
}

#[test]
fn a_launched_command_is_restarted_and_ends_with_the_fault() {
    let guard = Guard::new();
    let restart = guard
        .murphy([
            "inject", "process", "restart", "--after", "300ms", "--down", "100ms", "--for", "1s",
            "--json",
        ])
        .args(["--", "sh", "-c"])
        .arg(format!(
            "echo $$ >> {}/pids; sleep 60 & wait",
            guard.dir().display()
        ))
        .run();
    assert_eq!(restart.code, 0, "{restart:?}");
    let pids = fs::read_to_string(guard.dir().join("pids")).unwrap();
    assert_eq!(pids.lines().count(), 2, "it ran twice: {pids}");
    let lines = restart.lines();
    let effect = &lines.last().unwrap()["effect"];
    assert!(effect["back_after_ms"].as_u64().unwrap() >= 100, "{effect}");
    assert_ne!(effect["pid_before"], effect["pid"]);
}

#[test]
fn ls_shows_it_and_recover_takes_it_back() {
    let guard = Guard::new();
    let victim = guard.counter();
    let pause = guard
        .murphy([
            "inject",
            "process",
            "pause",
            "--for",
            "1h",
            "-t",
            &victim.target(),
        ])
        .start();
    wait_until("the victim is stopped", || is_stopped(victim.pid()));
    let listed = guard.murphy(["ls", "--json"]).run().lines();
    assert_eq!(
        (&listed[0]["fault"], &listed[0]["state"]),
        (&"pause".into(), &"active".into())
    );
    let id = listed[0]["id"].as_str().unwrap();
    let recovered = guard.murphy(["recover", &id[..2]]).run();
    assert_eq!(recovered.code, 0, "{recovered:?}");
    assert!(guard.counts());
    let ended = pause.wait();
    assert!(
        ended.stdout.contains("taken back by somebody else"),
        "{ended:?}"
    );
    assert_eq!(ended.code, 0, "{ended:?}");
    let unknown = guard.murphy(["recover", "ffffff"]).run();
    assert_eq!(unknown.code, 2, "{unknown:?}");
}

#[test]
fn a_hung_murphy_fails_open() {
    let guard = Guard::new();
    let victim = guard.counter();
    let pause = guard
        .murphy([
            "inject",
            "process",
            "pause",
            "--for",
            "1s",
            "-t",
            &victim.target(),
        ])
        .start();
    wait_until("the victim is stopped", || is_stopped(victim.pid()));
    pause.signal("STOP");
    wait_until("its keeper lets the victim go on", || guard.counts());
    pause.signal("CONT");
    let _ = pause.wait();
}

#[test]
fn a_stale_journal_is_warned_of_and_recovered() {
    let guard = Guard::new();
    let victim = guard.counter();
    let pause = guard
        .murphy([
            "inject",
            "process",
            "pause",
            "--for",
            "1h",
            "-t",
            &victim.target(),
        ])
        .start();
    wait_until("the victim is stopped", || is_stopped(victim.pid()));
    let keeper = guard.keeper().expect("a keeper");
    // The injector first held still, so that it cannot start its keeper again.
    pause.signal("STOP");
    wait_until("it is held still", || is_stopped(pause.pid()));
    harness::signal(keeper, "KILL");
    pause.signal("KILL");
    let _ = pause.wait();
    wait_until("the keeper is gone", || guard.keeper().is_none());
    assert!(is_stopped(victim.pid()), "nobody was left to undo it");
    let doctor = guard.murphy(["doctor"]).run();
    assert_eq!(doctor.code, 5, "{doctor:?}");
    assert!(doctor.stdout.contains("STALE"), "{}", doctor.stdout);
    let ls = guard.murphy(["ls"]).run();
    assert!(
        ls.stderr.contains("murphy recover"),
        "every start warns: {ls:?}"
    );
    let recovered = guard.murphy(["recover"]).run();
    assert_eq!(recovered.code, 0, "{recovered:?}");
    assert!(guard.counts());
    assert_eq!(guard.murphy(["doctor"]).run().code, 0);
}

#[test]
fn a_family_that_grows_is_killed_whole() {
    let guard = Guard::new();
    let victim = guard.victim(include_str!("../../../victims/family.sh"));
    wait_until("it has children", || guard.marked_pids().len() > 20);
    let kill = guard
        .murphy([
            "inject",
            "process",
            "kill",
            "--max-targets",
            "1000",
            "-t",
            &victim.target(),
        ])
        .run();
    assert_eq!(kill.code, 0, "{kill:?}");
    wait_until("everybody is gone", || guard.marked_pids().is_empty());
}

#[test]
fn a_signal_that_would_stop_for_good_is_refused() {
    let guard = Guard::new();
    let victim = guard.victim("exec sleep 60");
    for signal in ["signal=STOP", "signal=TSTP"] {
        let refused = guard
            .murphy(["inject", "process", signal, "-t", &victim.target()])
            .run();
        assert_eq!(refused.code, 2, "{refused:?}");
        assert!(refused.stderr.contains("use pause"), "{}", refused.stderr);
    }
    let nothing = guard
        .murphy(["inject", "process", "signal=WINCH", "-t", &victim.target()])
        .run();
    assert_eq!(
        nothing.code, 3,
        "a signal that is ignored by default has no effect: {nothing:?}"
    );
    assert_eq!(guard.stopped_pids(), [0; 0]);
}

#[test]
fn a_damaged_journal_is_undone_as_far_as_it_can_be_read() {
    let guard = Guard::new();
    let victim = guard.counter();
    let pause = guard
        .murphy([
            "inject",
            "process",
            "pause",
            "--for",
            "1h",
            "-t",
            &victim.target(),
        ])
        .start();
    wait_until("the victim is stopped", || is_stopped(victim.pid()));
    let keeper = guard.keeper().expect("a keeper");
    pause.signal("STOP");
    harness::signal(keeper, "KILL");
    pause.signal("KILL");
    let _ = pause.wait();
    let id = guard.injections().remove(0);
    let file = guard.journal().join(&id);
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{text}rubbish\n")).unwrap();
    let recovered = guard.murphy(["recover"]).run();
    assert_eq!(recovered.code, 5, "{recovered:?}");
    assert!(
        recovered.stderr.contains(&id),
        "it names the file: {}",
        recovered.stderr
    );
    assert!(guard.counts(), "what could be read was not undone");
    fs::remove_file(&file).unwrap();
    let _ = fs::remove_file(file.with_extension("effect"));
}

#[test]
fn a_relative_journal_is_found_by_the_keeper() {
    let guard = Guard::new();
    let victim = guard.counter();
    let pause = guard
        .murphy([
            "inject",
            "process",
            "pause",
            "--for",
            "1h",
            "-t",
            &victim.target(),
        ])
        .env("MURPHY_JOURNAL", "journal")
        .in_dir(guard.dir())
        .start();
    wait_until("the victim is stopped", || is_stopped(victim.pid()));
    pause.signal("KILL");
    let _ = pause.wait();
    wait_until("its keeper lets the victim go on", || guard.counts());
}

#[test]
fn a_launched_command_that_loses_its_tag_ends_with_the_fault() {
    let guard = Guard::new();
    let pids = guard.dir().join("pids");
    // Nobody may hold Murphy's output open: the test would wait for him.
    let script = "exec >/dev/null 2>&1; echo $$ >> $0; env -i sleep 60 & echo $! >> $0; wait";
    let restart = guard
        .murphy([
            "inject", "process", "restart", "--after", "300ms", "--for", "1s",
        ])
        .args(["--", "env", "-i", "PATH=/usr/bin:/bin", "sh", "-c", script])
        .arg(&pids)
        .run();
    assert_eq!(restart.code, 0, "{restart:?}");
    let pids = fs::read_to_string(pids).unwrap();
    assert_eq!(pids.lines().count(), 4, "it ran twice: {pids}");
    let is_there = |pid: &str| std::path::Path::new("/proc").join(pid).exists();
    wait_until("all of it is gone", || !pids.lines().any(is_there));
}

#[test]
fn a_launched_command_that_loses_its_tag_ends_with_a_killed_murphy() {
    let guard = Guard::new();
    let pids = guard.dir().join("pids");
    let script = "exec >/dev/null 2>&1; echo $$ > $0; sleep 60 & wait";
    let restart = guard
        .murphy(["inject", "process", "restart", "--after", "1h"])
        .args(["--", "env", "-i", "sh", "-c", script])
        .arg(&pids)
        .start();
    let pid = || {
        fs::read_to_string(&pids)
            .unwrap_or_default()
            .trim()
            .to_owned()
    };
    wait_until("it runs", || !pid().is_empty());
    sleep(Duration::from_millis(100));
    restart.signal("KILL");
    let _ = restart.wait();
    wait_until("its keeper ends it", || {
        !std::path::Path::new("/proc").join(pid()).exists()
    });
    wait_until("nothing is in force", || guard.injections().is_empty());
}

#[test]
fn a_keeper_that_died_is_replaced_and_the_journal_says_so() {
    let guard = Guard::new();
    let victim = guard.counter();
    let pause = guard
        .murphy(["inject", "process", "pause", "--for", "1h"])
        .args(["-t", &victim.target()])
        .start();
    wait_until("the victim is stopped", || is_stopped(victim.pid()));
    let first = guard.keeper().expect("a keeper");
    harness::signal(first, "KILL");
    wait_until("the journal knows another", || {
        let listed = guard.murphy(["ls", "--json"]).run().lines();
        let keeper = listed[0]["keeper_pid"].as_u64();
        keeper.is_some() && keeper != Some(first.into())
    });
    pause.signal("INT");
    assert_eq!(pause.wait().code, 0);
}

#[test]
fn a_child_that_ends_meanwhile_is_no_refusal() {
    let guard = Guard::new();
    let victim = guard.victim("while :; do sleep 0.003; done");
    for fault in ["signal=URG", "pause"] {
        for _ in 0..20 {
            let mut murphy = guard.murphy(["inject", "process", fault]);
            murphy = murphy.args(["-t", &victim.target()]);
            if fault == "pause" {
                murphy = murphy.args(["--for", "1ms"]);
            }
            let ended = murphy.run();
            assert!(
                !ended.stderr.contains("failed to reach"),
                "{fault}: {ended:?}"
            );
        }
    }
}
