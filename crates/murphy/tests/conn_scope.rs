//! Which connections are meant: by their state, their age, who holds them, the other end, and ports of a name.

#[path = "../../murphy-sys/tests/wire/mod.rs"]
mod wire;

mod harness;
mod network;
mod stage;
mod victims;

use std::{
    io::{ErrorKind, Read},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    thread::sleep,
    time::Duration,
};

use harness::{Running, slack, wait_until};
use serde_json::Value;
use stage::{Pool, RESET, Seen, Stage, seen};

/// The places of those that have ended.
fn ended(pool: &Pool) -> Vec<usize> {
    pool.ended().into_iter().map(|(place, ..)| place).collect()
}

fn figures(effect: &Value) -> [u64; 3] {
    ["before", "ended", "now"].map(|name| effect[name].as_u64().expect("a number"))
}

#[test]
fn half_closed_ones_end_by_their_state() {
    let Some(stage) = Stage::set_or_skip() else {
        return;
    };
    let pool = stage.pool(true, 10);
    let (closed, others) = pool.opened.split_at(3);
    for end in closed {
        end.shutdown(Shutdown::Write).expect("it is alive");
    }
    wait_until("the other ends know", || {
        let accepted = &pool.accepted[..3];
        accepted.iter().all(|end| seen(end) == Seen::End)
    });
    let port = pool.port;
    let effect = stage.effect(&format!(
        "--local-port {port} --state close-wait --rate 100%"
    ));
    assert_eq!(figures(&effect), [3, 3, 0], "{effect}");
    for (accepted, opened) in pool.accepted.iter().zip(closed) {
        let error = accepted.take_error().expect("a socket").map(|e| e.kind());
        assert_eq!(error, Some(ErrorKind::ConnectionAborted));
        assert_eq!(seen(opened), RESET.1);
    }
    assert!(others.iter().all(|end| seen(end) == Seen::Alive));
    let effect = stage.effect(&format!(
        "--local-port {port} --state close-wait,established --rate 100%"
    ));
    assert_eq!(figures(&effect), [7, 7, 0], "{effect}");
    let refused = stage.run(&format!("--port {port} --state time-wait --rate 1%"));
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.stderr.contains("close-wait"), "{refused:?}");
}

#[test]
fn only_old_ones_end_where_that_is_asked() {
    let Some(stage) = Stage::set_or_skip() else {
        return;
    };
    let listener = stage.listen(true);
    let to = listener.local_addr().expect("it is bound");
    let connect = || {
        let opened: Vec<_> = (0..4).map(|_| stage.connect(to)).collect();
        let accepted = (0..4).map(|_| listener.accept().expect("somebody has come").0);
        let accepted: Vec<_> = accepted.collect();
        (opened, accepted)
    };
    let (old, _their_ends) = connect();
    // Young ones may get as old as it takes to begin.
    let age = slack() * Duration::from_secs(5);
    sleep(age);
    let (young, _other_ends) = connect();
    let words = format!("--port {} --age {}s --rate 100%", to.port(), age.as_secs());
    let effect = stage.effect(&words);
    assert_eq!(figures(&effect), [4, 4, 0], "{effect}");
    assert!(old.iter().all(|end| seen(end) == RESET.1));
    assert!(young.iter().all(|end| seen(end) == Seen::Alive));
}

/// A process of its own that has a connection.
fn holder(stage: &Stage, port: u16) -> Running {
    let script = format!("exec bash -c 'exec 3<>/dev/tcp/127.0.0.1/{port}; exec sleep 300'");
    let victim = stage.namespace.run(|| stage.guard.victim(&script));
    let victim = victim.expect("a namespace");
    wait_until("the shell has become what it executes", || {
        let name = std::fs::read_to_string(format!("/proc/{}/comm", victim.pid()));
        name.is_ok_and(|name| name.trim() == "sleep")
    });
    victim
}

#[test]
fn only_what_a_process_of_the_namespace_holds_ends_by_its_pid_or_its_name() {
    let Some(stage) = Stage::set_or_skip() else {
        return;
    };
    let listener = stage.listen(true);
    let to = listener.local_addr().expect("it is bound");
    let accept = || listener.accept().expect("somebody has come").0;
    let (one, one_end) = (holder(&stage, to.port()), accept());
    let (other, other_end) = (holder(&stage, to.port()), accept());
    let (own, _own_end) = (stage.connect(to), accept());
    let words = format!("--remote-port {} --rate 100%", to.port());
    let effect = stage.effect(&format!("{words} --process {}", one.pid()));
    assert_eq!(figures(&effect), [1, 1, 0], "{effect}");
    assert_eq!(
        [&one_end, &other_end, &own].map(seen),
        [RESET.1, Seen::Alive, Seen::Alive]
    );
    let nobody = stage.run(&format!("{words} --process nobody-of-this-name"));
    assert_eq!(nobody.code, 3, "{nobody:?}");
    let effect = stage.effect(&format!("{words} --process sleep"));
    assert_eq!(figures(&effect), [1, 1, 0], "{effect}");
    assert_eq!(effect["connections"][0]["owner"]["name"], "sleep");
    assert_eq!([&other_end, &own].map(seen), [RESET.1, Seen::Alive]);
    for victim in [one, other] {
        victim.signal("KILL");
        victim.wait();
    }
}

#[test]
fn only_those_with_a_peer_or_a_network_end() {
    let Some(stage) = Stage::set_or_skip() else {
        return;
    };
    let bound = stage.namespace.run(|| TcpListener::bind("0.0.0.0:0"));
    let listener = bound.expect("a namespace").expect("a socket");
    let port = listener.local_addr().expect("it is bound").port();
    let connect = |last: u8| {
        let opened = stage.connect((Ipv4Addr::new(127, 0, 0, last), port).into());
        let (accepted, _) = listener.accept().expect("somebody has come");
        (opened, accepted)
    };
    let ends: Vec<(TcpStream, TcpStream)> = (1..=8).map(connect).collect();
    let alive = || -> Vec<usize> {
        let numbered = (1..).zip(&ends);
        let alive = numbered.filter(|(_, (opened, _))| seen(opened) == Seen::Alive);
        alive.map(|(number, _)| number).collect()
    };
    let words = format!("--remote-port {port} --rate 100%");
    let effect = stage.effect(&format!("{words} --peer 127.0.0.3"));
    assert_eq!(figures(&effect), [1, 1, 0], "{effect}");
    assert_eq!(alive(), [1, 2, 4, 5, 6, 7, 8]);
    let effect = stage.effect(&format!("{words} --cidr 127.0.0.4/31 --peer 127.0.0.7"));
    assert_eq!(figures(&effect), [3, 3, 0], "{effect}");
    assert_eq!(alive(), [1, 2, 6, 8]);
    let nobody = stage.run(&format!("{words} --cidr 10.0.0.0/8"));
    assert_eq!(nobody.code, 3, "{nobody:?}");
}

#[test]
fn a_port_may_be_named_as_its_service_is() {
    let Some(stage) = Stage::set_or_skip() else {
        return;
    };
    let bound = stage.namespace.run(|| TcpListener::bind("127.0.0.1:5432"));
    let listener = bound.expect("a namespace").expect("a socket");
    let mut opened = stage.connect(listener.local_addr().expect("it is bound"));
    let (accepted, _) = listener.accept().expect("somebody has come");
    let others = stage.pool(true, 3);
    let effect = stage.effect("--local-port postgresql --rate 100%");
    assert_eq!(figures(&effect), [1, 1, 0], "{effect}");
    assert_eq!(seen(&accepted), RESET.0);
    let read = opened.read(&mut [0]).map_err(|error| error.kind());
    assert_eq!(read, Err(ErrorKind::ConnectionReset));
    assert_eq!(ended(&others), [0; 0]);
    let refused = stage.run("--port no-such-service --rate 1%");
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.stderr.contains("no-such-service"), "{refused:?}");
}

#[test]
fn the_documents_words_mean_both_draws_and_new_ones() {
    let Some(stage) = Stage::set_or_skip() else {
        return;
    };
    let pool = stage.pool(true, 10);
    let plan = |words: &str| {
        let words = format!(
            "--json --port {} --seed 5 --for 60s --dry-run {words}",
            pool.port
        );
        let ended = stage.run(&words);
        assert_eq!(ended.code, 0, "{ended:?}");
        ended.lines()
    };
    let documents = plan("--drop-rate 20% --drop-every 500ms");
    assert_eq!(documents, plan("--rate 20% --new 20% --every 500ms"));
    assert_ne!(documents, plan("--rate 20% --every 500ms"));
    // The one without a time of its own is the one that does not recur.
    assert_eq!(plan("--drop-rate 20%"), plan("--rate 20% --new 20%"));
    let said = documents[0]["plan"]["changes"].to_string();
    assert!(said.contains("reset 2 of the 10"), "{said}");
    assert!(said.contains("chance of 20%"), "{said}");
    assert_eq!(ended(&pool), [0; 0]);
}
