//! Connections that are cut after so many bytes.

use std::{
    io::{ErrorKind, Read, Write},
    sync::Mutex,
    thread,
    time::Duration,
};

use murphy_sys::flows::{Flow, Mode};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{SockRef, TcpKeepalive};

use crate::scene::{PATIENCE, SILENCE, Scene, at_once, attached, end_mine, is_silent, read, talk};

#[test]
fn as_many_bytes_pass_as_may_and_then_the_connection_is_cut() {
    let Some(mut scene) = Scene::set_or_skip(7) else {
        return;
    };
    let pairs = scene.pairs();
    scene.breaks(&pairs, Mode::AfterBytes(1000));
    assert_eq!(scene.flows.cut().unwrap(), []);
    at_once(&pairs, |pair| {
        for (from, to) in [(&pair.mine, &pair.theirs), (&pair.theirs, &pair.mine)].repeat(4) {
            (&*from).write_all(&[7; 120]).unwrap();
            (&*to).read_exact(&mut [0; 120]).unwrap();
        }
    });
    for pair in &pairs {
        let state = scene.state(pair);
        assert_eq!((state.passed_bytes, state.is_cut), (960, false), "{pair}");
    }
    assert_eq!(scene.flows.cut().unwrap(), []);
    at_once(&pairs, |pair| {
        // Of the one that would be too much nothing passes, and nothing after it.
        (&pair.mine).write_all(&[7; 41]).unwrap();
        is_silent(pair, &pair.theirs);
        (&pair.theirs).write_all(&[7; 1]).unwrap();
        is_silent(pair, &pair.mine);
    });
    let mut polled = [PollFd::new(&scene.flows, PollFlags::IN)];
    assert_eq!(poll(&mut polled, Some(&Timespec::default())), Ok(1));
    let mut cut = scene.flows.cut().unwrap();
    let mut flows: Vec<Flow> = pairs.iter().map(|pair| pair.flow).collect();
    cut.sort();
    flows.sort();
    assert_eq!(cut, flows);
    assert_eq!(scene.flows.cut().unwrap(), []);
    for pair in &pairs {
        assert_eq!(scene.state(pair).passed_bytes, 960, "{pair}");
        pair.has_both_ends(&scene.wire);
        end_mine(&scene.wire, pair);
        let told = [&pair.mine, &pair.theirs].map(|stream| read(stream, PATIENCE));
        let each = [ErrorKind::ConnectionAborted, ErrorKind::ConnectionReset];
        assert_eq!(told, each.map(Err), "{pair}");
        pair.neighbours_talk();
    }
}

#[test]
fn a_stream_that_is_cut_has_passed_to_the_last_whole_packet() {
    const LIMIT: u64 = 300_000;
    let Some(mut scene) = Scene::set_or_skip(8) else {
        return;
    };
    let pairs = scene.pairs();
    scene.breaks(&pairs, Mode::AfterBytes(LIMIT));
    let heard = Mutex::new(Vec::new());
    at_once(&pairs, |pair| {
        let stream = vec![7; 1_000_000];
        pair.mine.set_write_timeout(Some(SILENCE)).unwrap();
        thread::scope(|scope| {
            scope.spawn(|| (&pair.mine).write_all(&stream));
            let mut count = 0;
            while let Ok(bytes) = read(&pair.theirs, SILENCE) {
                count += bytes;
            }
            heard.lock().unwrap().push((pair.flow, count));
        });
        pair.neighbours_talk();
    });
    for (flow, heard) in heard.into_inner().unwrap() {
        let state = scene.flows.state(&flow).unwrap().unwrap();
        assert_eq!(heard as u64, state.passed_bytes, "{flow}");
        // The first that was lost would have been too much.
        let lost = state.dropped_to.bytes;
        assert!(state.passed_bytes <= LIMIT, "{flow}: {state:?}");
        assert!(state.passed_bytes + lost > LIMIT, "{flow}: {state:?}");
    }
    assert_eq!(scene.flows.cut().unwrap().len(), pairs.len());
}

#[test]
fn the_last_byte_that_may_passes_and_cuts() {
    let Some(mut scene) = Scene::set_or_skip(9) else {
        return;
    };
    let pairs = scene.pairs();
    scene.breaks(&pairs, Mode::AfterBytes(10));
    at_once(&pairs, |pair| talk(&pair.mine, &pair.theirs));
    assert_eq!(scene.flows.cut().unwrap().len(), pairs.len());
    // It begins anew.
    scene.breaks(&pairs, Mode::AfterBytes(0));
    assert!(!scene.state(&pairs[0]).is_cut);
    at_once(&pairs, |pair| {
        (&pair.theirs).write_all(b"!").unwrap();
        is_silent(pair, &pair.mine);
    });
    for pair in &pairs {
        let state = scene.state(pair);
        assert_eq!((state.passed_bytes, state.is_cut), (0, true), "{pair}");
    }
    assert_eq!(scene.flows.cut().unwrap().len(), pairs.len());
}

#[test]
fn what_is_sent_again_counts_once_and_a_probe_not_at_all() {
    let Some(mut scene) = Scene::set_or_skip(10) else {
        return;
    };
    // Behind the one that counts, where what leaves is concerned.
    let (mut behind, filters) = attached(&scene.wire, 11);
    scene.filters.extend(filters);
    let pairs = scene.pairs();
    scene.breaks(&pairs, Mode::AfterBytes(1000));
    let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(1));
    for pair in &pairs {
        SockRef::from(&pair.mine)
            .set_tcp_keepalive(&keepalive)
            .unwrap();
    }
    // The first that is seen is a probe, which bears the number of a byte that is there already.
    thread::sleep(SILENCE * 2);
    let flows: Vec<Flow> = pairs.iter().map(|pair| pair.flow).collect();
    let stalled: Vec<_> = flows.iter().map(|flow| (*flow, Mode::Stall)).collect();
    behind.insert(&stalled).unwrap();
    at_once(&pairs, |pair| {
        (&pair.mine).write_all(&[7; 600]).unwrap();
        is_silent(pair, &pair.theirs);
    });
    for pair in &pairs {
        let lost = behind.state(&pair.flow).unwrap().unwrap().dropped_to;
        assert!(lost.packets > 1, "{pair}: {lost:?}");
        assert!(lost.bytes > 1200, "{pair}: {lost:?}");
    }
    behind.remove(&flows).unwrap();
    at_once(&pairs, |pair| {
        (&pair.theirs).read_exact(&mut [0; 600]).unwrap();
    });
    for pair in &pairs {
        let state = scene.state(pair);
        assert_eq!((state.passed_bytes, state.is_cut), (600, false), "{pair}");
    }
}
