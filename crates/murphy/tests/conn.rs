//! Connections that end by the built binary: exactly as many as were asked for, idle ones too, and no other.

#[path = "../../murphy-sys/tests/wire/mod.rs"]
mod wire;

mod harness;
mod network;
mod stage;
mod victims;

use std::{
    io::{Read, Write},
    sync::atomic::AtomicBool,
    thread::{scope, sleep},
    time::{Duration, Instant},
};

use harness::wait_until;
use stage::{Over, RESET, Seen, Stage, keep_connected, seen};

#[test]
fn exactly_as_many_end_as_were_asked_for_and_the_others_answer() {
    let Some(stage) = Stage::set_or_skip() else {
        return;
    };
    for is_v4 in [true, false] {
        for (n, rate, k) in [
            (1, "0.5%", 1),
            (2, "100%", 2),
            (3, "33.3%", 1),
            (10, "29%", 3),
            (10, "20%", 2),
            (100, "57%", 57),
            (1000, "33.3%", 333),
            (1000, "0.5%", 5),
        ] {
            for (side, is_accepted) in [("local-port", true), ("remote-port", false)] {
                let pool = stage.pool(is_v4, n);
                let words = format!("--{side} {} --rate {rate}", pool.port);
                let effect = stage.effect(&words);
                let figures = ["before", "asked", "ended", "now", "redrawn"];
                let figures = figures.map(|name| effect[name].as_u64().expect("a number"));
                assert_eq!(
                    figures,
                    [n as u64, k, k, n as u64 - k, 0],
                    "{words} {effect}"
                );
                let ended = pool.ended();
                assert_eq!(ended.len() as u64, k, "{words}");
                for (_, accepted, opened) in &ended {
                    // Whose end was ended is told that it was aborted.
                    let (own, other) = if is_accepted {
                        (accepted, opened)
                    } else {
                        (opened, accepted)
                    };
                    assert_eq!((*own, *other), RESET);
                }
                pool.others_answer(&ended);
            }
        }
    }
}

#[test]
fn both_ends_of_a_connection_count_once_and_a_plan_says_which_they_are() {
    let Some(stage) = Stage::set_or_skip() else {
        return;
    };
    let pool = stage.pool(true, 10);
    let words = format!("--port {} --rate 20% --seed 7", pool.port);
    let planned = stage.run(&format!("{words} --dry-run"));
    assert_eq!(planned.code, 0, "{planned:?}");
    assert!(
        planned.stdout.contains("reset 2 of the 10 connections"),
        "{planned:?}"
    );
    assert_eq!(pool.ended(), []);
    let effect = stage.effect(&words);
    assert_eq!(
        (&effect["before"], &effect["ended"]),
        (&10.into(), &2.into()),
        "{effect}"
    );
    for cut in effect["connections"].as_array().expect("a list") {
        let line = format!("{} to {}", cut["local"], cut["remote"]).replace('"', "");
        assert!(planned.stdout.contains(&line), "{line}: {planned:?}");
        assert_eq!(cut["side"], "accepted", "{cut}");
        assert_eq!(cut["owner"]["pid"], std::process::id(), "{cut}");
    }
    assert_eq!(pool.ended().len(), 2);
}

#[test]
fn closed_ones_read_the_end_of_the_stream() {
    let Some(stage) = Stage::set_or_skip() else {
        return;
    };
    let pool = stage.pool(true, 10);
    let effect = stage.effect(&format!("--local-port {} --count 3 --how close", pool.port));
    assert_eq!(effect["ended"], 3, "{effect}");
    let ended = pool.ended();
    assert_eq!(ended.len(), 3);
    for (_, accepted, opened) in &ended {
        assert_eq!((*accepted, *opened), (Seen::End, Seen::End));
    }
    pool.others_answer(&ended);
}

#[test]
fn only_idle_ones_end_where_that_is_asked() {
    let Some(stage) = Stage::set_or_skip() else {
        return;
    };
    let mut pool = stage.pool(false, 10);
    sleep(Duration::from_millis(1500));
    for (one, other) in pool.opened.iter_mut().zip(&mut pool.accepted).take(4) {
        one.write_all(b"a").expect("it is alive");
        other.read_exact(&mut [0]).expect("it is alive");
    }
    let effect = stage.effect(&format!("--port {} --rate 100% --idle 1s", pool.port));
    assert_eq!(
        (&effect["before"], &effect["ended"]),
        (&6.into(), &6.into()),
        "{effect}"
    );
    let ended: Vec<_> = pool.ended().into_iter().map(|(place, ..)| place).collect();
    assert_eq!(ended, [4, 5, 6, 7, 8, 9]);
}

#[test]
fn only_what_a_process_holds_ends_and_its_neighbours_stay() {
    let Some(stage) = Stage::set_or_skip() else {
        return;
    };
    let listener = stage.listen(true);
    let port = listener.local_addr().expect("it is bound").port();
    let neighbour = stage.connect(listener.local_addr().expect("it is bound"));
    let (_kept, _) = listener.accept().expect("the neighbour has come");
    let script = format!("exec bash -c 'exec 3<>/dev/tcp/127.0.0.1/{port}; exec sleep 300'");
    let victim = stage.namespace.run(|| stage.guard.victim(&script));
    let victim = victim.expect("a namespace");
    let (accepted, _) = listener.accept().expect("the victim has come");
    let words = ["inject", "conn", "--json", "--rate", "100%", "--port"];
    let words = stage.guard.murphy(words).arg(port.to_string());
    wait_until("the shell has become what it executes", || {
        let name = std::fs::read_to_string(format!("/proc/{}/comm", victim.pid()));
        name.is_ok_and(|name| name.trim() == "sleep")
    });
    let ended = words.args(["-t", &victim.target()]).run();
    assert_eq!(ended.code, 0, "{ended:?}");
    let effect = &ended.lines().pop().expect("it says something")["effect"];
    assert_eq!(
        (&effect["before"], &effect["ended"]),
        (&1.into(), &1.into()),
        "{effect}"
    );
    assert_eq!(
        effect["connections"][0]["owner"]["pid"],
        victim.pid(),
        "{effect}"
    );
    assert_eq!(seen(&accepted), RESET.1);
    assert_eq!(seen(&neighbour), Seen::Alive);
    victim.signal("KILL");
    victim.wait();
}

#[test]
fn each_draw_is_fresh_and_the_pool_is_seen_to_come_back() {
    let Some(stage) = Stage::set_or_skip() else {
        return;
    };
    let (listener, is_over) = (stage.listen(true), AtomicBool::new(false));
    let port = listener.local_addr().expect("it is bound").port();
    scope(|scope| {
        // Whoever fails must not leave the others connecting for ever.
        let _over = Over(&is_over);
        scope.spawn(|| keep_connected(&stage, &listener, 10, &is_over));
        let words = format!("--local-port {port} --side accepted");
        wait_until("all are connected", || {
            let planned = stage.run(&format!("{words} --rate 1% --dry-run"));
            planned.stdout.contains("of the 10 connections")
        });
        let began = Instant::now();
        let effect = stage.effect(&format!("{words} --rate 20% --every 500ms --for 3s"));
        assert!(began.elapsed() >= Duration::from_secs(3));
        let draws = effect["draws"].as_array().expect("a list").clone();
        assert!((4..=6).contains(&draws.len()), "{effect}");
        for draw in &draws {
            assert_eq!(
                (&draw["of"], &draw["ended"]),
                (&10.into(), &2.into()),
                "{draw}"
            );
            assert!(draw["recovered_ms"].is_u64(), "{draw}");
        }
        assert_eq!(effect["ended"].as_u64(), Some(2 * draws.len() as u64));
        assert_eq!(effect["now"], 10, "{effect}");
        // No more than a share of all that were ever there.
        let words = format!("{words} --rate 50% --every 200ms --cap 30% --for 2s");
        let effect = stage.effect(&words);
        // Whoever comes back adds to those that there were: of 10 and 3 that are 3 as well.
        assert_eq!(effect["ended"], 3, "{effect}");
    });
}

#[test]
fn bad_input_is_refused_with_its_field_and_nothing_is_touched() {
    let Some(stage) = Stage::set_or_skip() else {
        return;
    };
    let pool = stage.pool(true, 2);
    let port = format!("--port {}", pool.port);
    for (words, code, part) in [
        ("--rate 50%", 2, "--all-ports"),
        ("--port 1 --rate 101%", 2, "from 0% to 100%"),
        ("--port 1 --rate 0%", 2, "--rate 0%"),
        ("--port 0 --rate 1%", 2, "from 1 to 65535"),
        ("--port 1", 2, "--rate"),
        ("--port 1 --count 0", 2, "--count"),
        ("--port 1 --rate 1% --count 1", 2, "--count"),
        ("--port 1 --rate 1% --every 1s", 2, "--for"),
        ("--port 1 --rate 1% --every 50ms --for 1s", 2, "100ms"),
        ("--port 1 --rate 1% --every 2s --for 1s", 2, "--every 2s"),
        ("--port 1 --rate 1% --cap 10%", 2, "--every"),
        ("--port 1 --rate 1%", 3, "no connection matched"),
        ("--port 1 --rate 1% --allow-none", 0, ""),
    ] {
        let refused = stage.run(words);
        assert_eq!(refused.code, code, "{words}: {refused:?}");
        assert!(refused.stderr.contains(part), "{words}: {refused:?}");
    }
    let host = [
        "inject",
        "conn",
        "-t",
        "netns:/proc/self/ns/net",
        "--rate",
        "1%",
    ];
    let refused = stage.guard.murphy(host).args(port.split(' ')).run();
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.stderr.contains("--allow-host"), "{refused:?}");
    let launched = stage.guard.murphy(["inject", "conn", "--port", "1"]);
    let refused = launched.args(["--rate", "1%", "--", "true"]).run();
    assert_eq!(refused.code, 2, "{refused:?}");
    assert_eq!(pool.ended(), []);
    pool.others_answer(&[]);
    assert!(stage.guard.injections().is_empty());
}
