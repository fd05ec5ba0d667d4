//! Connections over which nothing passes, and of which the target's end may be ended without the other one.

use std::{
    io::{ErrorKind, Read, Write},
    time::Duration,
};

use murphy_sys::flows::{Flow, Mode};
use socket2::{SockRef, TcpKeepalive};

use crate::scene::{PATIENCE, Scene, at_once, end_mine, is_silent, read, talk};

#[test]
fn nothing_passes_a_stalled_connection_and_once_it_may_nothing_was_lost() {
    let Some(mut scene) = Scene::set_or_skip(1) else {
        return;
    };
    let pairs = scene.pairs();
    scene.breaks(&pairs, Mode::Stall);
    at_once(&pairs, |pair| {
        (&pair.mine).write_all(&[1; 10_000]).unwrap();
        (&pair.theirs).write_all(&[2; 10_000]).unwrap();
        is_silent(pair, &pair.mine);
        is_silent(pair, &pair.theirs);
        pair.neighbours_talk();
    });
    for pair in &pairs {
        pair.has_both_ends(&scene.wire);
        let state = scene.state(pair);
        assert!(state.dropped_to.packets > 0, "{pair}: {state:?}");
        assert!(state.dropped_to.bytes > 10_000, "{pair}: {state:?}");
        assert!(state.dropped_from.packets > 0, "{pair}: {state:?}");
        assert_eq!((state.resets, state.is_cut), (0, false), "{pair}");
    }
    let flows: Vec<Flow> = pairs.iter().map(|pair| pair.flow).collect();
    scene.flows.remove(&flows).unwrap();
    assert_eq!(scene.flows.state(&flows[0]).unwrap(), None);
    at_once(&pairs, |pair| {
        for (mut stream, sent) in [(&pair.theirs, 1), (&pair.mine, 2)] {
            let mut heard = vec![0; 10_000];
            stream.read_exact(&mut heard).unwrap();
            assert!(heard.iter().all(|byte| *byte == sent), "{pair}");
        }
        talk(&pair.mine, &pair.theirs);
    });
}

#[test]
fn keepalive_finds_a_stall_on_either_side() {
    let Some(mut scene) = Scene::set_or_skip(2) else {
        return;
    };
    let pairs = scene.pairs();
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(1))
        .with_interval(Duration::from_secs(1))
        .with_retries(2);
    scene.breaks(&pairs, Mode::Stall);
    at_once(&pairs, |pair| {
        for stream in [&pair.mine, &pair.theirs] {
            SockRef::from(stream).set_tcp_keepalive(&keepalive).unwrap();
        }
        for stream in [&pair.mine, &pair.theirs] {
            assert_eq!(read(stream, PATIENCE), Err(ErrorKind::TimedOut), "{pair}");
        }
        pair.neighbours_talk();
    });
}

#[test]
fn who_is_reset_alone_is_the_targets_end() {
    let Some(mut scene) = Scene::set_or_skip(3) else {
        return;
    };
    let pairs = scene.pairs();
    scene.breaks(&pairs, Mode::ResetLocal);
    for pair in &pairs {
        end_mine(&scene.wire, pair);
    }
    let wire = &scene.wire;
    at_once(&pairs, |pair| {
        let told = read(&pair.mine, PATIENCE);
        assert_eq!(told, Err(ErrorKind::ConnectionAborted), "{pair}");
        is_silent(pair, &pair.theirs);
        // Who has no such socket any more would answer this.
        (&pair.theirs).write_all(b"still there?").unwrap();
        is_silent(pair, &pair.theirs);
        assert!(pair.sockets(wire).1.is_some(), "{pair}");
        pair.neighbours_talk();
    });
    for pair in &pairs {
        let state = scene.state(pair);
        assert!(state.dropped_to.packets > 0, "its reset: {pair}");
        assert!(state.dropped_from.packets > 0, "{pair}");
    }
}
