//! How it begins, pauses and ends that connections are broken: by their number, in time, by anybody, and with whoever
//! did it.

use std::{
    io::{Read, Write},
    net::SocketAddr,
    process::{Command, Stdio},
    thread,
};

use murphy_sys::{
    clock::boottime_ns,
    flows::{FLOWS_MAX, Flow, Flows, FlowsError, Mode},
    namespace::NetNamespace,
    traffic::{Attachment, Detached, detach},
};

use crate::scene::{Course, Family, LOOPBACK, PATIENCE, Pair, Scene, at_once, is_silent, talk};

#[test]
fn it_pauses_goes_on_and_ends_at_its_time_by_itself() {
    let Some(mut scene) = Scene::set_or_skip(12) else {
        return;
    };
    let pairs = scene.pairs();
    let (stalled, counted) = pairs.split_at(6);
    scene.breaks(stalled, Mode::Stall);
    scene.breaks(counted, Mode::AfterBytes(100));
    scene.flows.pause().unwrap();
    at_once(&pairs, |pair| talk(&pair.mine, &pair.theirs));
    scene.flows.resume().unwrap();
    // What passed meanwhile does not count.
    at_once(counted, |pair| talk(&pair.mine, &pair.theirs));
    for pair in counted {
        assert_eq!(scene.state(pair).passed_bytes, 10, "{pair}");
    }
    let until_ns = boottime_ns() + 3_000_000_000;
    scene.flows.end_at(Some(until_ns)).unwrap();
    at_once(stalled, |pair| {
        (&pair.mine).write_all(b"hello").unwrap();
        is_silent(pair, &pair.theirs);
        (&pair.theirs).read_exact(&mut [0; 5]).unwrap();
        assert!(boottime_ns() >= until_ns, "{pair}");
        talk(&pair.mine, &pair.theirs);
    });
}

#[test]
fn one_among_as_many_as_fit_is_found_and_no_more_are_taken() {
    let Some(mut scene) = Scene::set_or_skip(13) else {
        return;
    };
    let pairs = scene.pairs();
    let others = (0..).map(|number: u32| {
        let end = |first: u8| {
            let [_, high, middle, low] = number.to_be_bytes();
            SocketAddr::from(([first, high, middle, low], 80))
        };
        (Flow::new(end(10), end(11)), Mode::Stall)
    });
    let room = FLOWS_MAX - pairs.len();
    let others: Vec<_> = others.take(room + 1).collect();
    scene.flows.insert(&others[..room]).unwrap();
    scene.breaks(&pairs, Mode::Stall);
    let refused = scene.flows.insert(&[others[0], others[room]]);
    assert!(matches!(refused, Err(FlowsError::Full)), "{refused:?}");
    assert_eq!(scene.flows.states().unwrap().len(), FLOWS_MAX);
    at_once(&pairs, |pair| {
        (&pair.mine).write_all(b"hello").unwrap();
        is_silent(pair, &pair.theirs);
        pair.neighbours_talk();
    });
}

#[test]
fn anybody_takes_the_programs_of_an_injection_off() {
    let Some(mut scene) = Scene::set_with_links_or_skip(0x65_4321) else {
        return;
    };
    let pairs = scene.pairs();
    scene.breaks(&pairs, Mode::Stall);
    assert!(!scene.flows.is_off());
    assert_eq!(detach(0x65_4320).unwrap(), Detached::Nowhere);
    at_once(&pairs, |pair| {
        (&pair.mine).write_all(b"hello").unwrap();
        is_silent(pair, &pair.theirs);
    });
    assert_eq!(detach(0x65_4321).unwrap(), Detached::Now(4));
    assert!(scene.flows.is_off());
    at_once(&pairs, |pair| {
        (&pair.theirs).read_exact(&mut [0; 5]).unwrap();
        talk(&pair.mine, &pair.theirs);
    });
}

/// What a process is told that stalls a connection until it is ended: the namespace and both ends.
const HOLD: &str = "MURPHY_TEST_HOLD";

#[test]
#[ignore = "another test runs it in a process of its own"]
fn stalls_a_connection_as_long_as_this_process_lives() {
    let told = std::env::var(HOLD).expect("what to hold");
    let mut words = told.split(' ');
    let mut word = || words.next().expect("a word");
    let namespace = NetNamespace::find(word().parse().unwrap()).expect("it is held");
    let flow = Flow::new(word().parse().unwrap(), word().parse().unwrap());
    let mut flows = Flows::load(&namespace, 14, None).unwrap();
    flows.insert(&[(flow, Mode::Stall)]).unwrap();
    flows.attach(LOOPBACK, Attachment::Links).unwrap();
    let mut said = std::io::stdout();
    said.write_all(b"\nholds\n").unwrap();
    said.flush().unwrap();
    thread::sleep(PATIENCE);
}

#[test]
fn nothing_is_left_of_whoever_was_killed() {
    let Some(mut scene) = Scene::set_with_links_or_skip(15) else {
        return;
    };
    scene.flows.leave();
    let course = Course {
        is_local: true,
        family: Family::V4,
        is_accepted: true,
    };
    let pair = Pair::open(&scene.wire, course);
    let inode = scene.wire.a.inode().unwrap();
    let told = format!("{inode} {} {}", pair.flow.local(), pair.flow.remote());
    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture"])
        .arg("life::stalls_a_connection_as_long_as_this_process_lives")
        .env(HOLD, told)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut heard = Vec::new();
    let mut said = holder.stdout.take().unwrap();
    let mut buffer = [0; 256];
    while !String::from_utf8_lossy(&heard).contains("holds\n") {
        let bytes = said.read(&mut buffer).unwrap();
        assert!(bytes > 0, "{}", String::from_utf8_lossy(&heard));
        heard.extend(&buffer[..bytes]);
    }
    (&pair.mine).write_all(b"hello").unwrap();
    is_silent(&pair, &pair.theirs);
    holder.kill().unwrap();
    holder.wait().unwrap();
    (&pair.theirs).read_exact(&mut [0; 5]).unwrap();
    assert_eq!(detach(14).unwrap(), Detached::Nowhere);
}
