//! Chosen connections end by one pass of a BPF program over all of them, and no other does.

mod pool;

use std::{
    io::ErrorKind,
    net::{SocketAddr, TcpStream},
};

use murphy_sys::{
    connections::{Ended, SocketId, State},
    namespace::NetNamespace,
    socket_iterator::{self, SocketIterator, SocketIteratorError},
};
use pool::{PLACES, Pool, Seen, ids, is_since, list, namespace, say_skipped};

/// What owner and peer of one that has ended see.
const ENDED: (Seen, Seen) = (
    Seen::Error(ErrorKind::ConnectionAborted),
    Seen::Error(ErrorKind::ConnectionReset),
);
const ALIVE: (Seen, Seen) = (Seen::Alive, Seen::Alive);

fn set_or_skip() -> Option<(NetNamespace, SocketIterator)> {
    let namespace = namespace();
    if let Err(error) = socket_iterator::trial(&namespace) {
        say_skipped(&error);
        return None;
    }
    let iterator = SocketIterator::within(&namespace).unwrap();
    Some((namespace, iterator))
}

/// One that there never was.
fn nobody(cookie: u64) -> SocketId {
    let nowhere: SocketAddr = "127.0.0.1:1".parse().unwrap();
    SocketId {
        local: nowhere,
        remote: nowhere,
        device: 0,
        cookie,
    }
}

#[test]
fn a_kernel_that_has_it_not_is_told_apart() {
    match socket_iterator::trial(&namespace()) {
        Ok(()) => assert!(is_since(6, 5)),
        Err(error) => {
            assert!(matches!(error, SocketIteratorError::NoDestroy), "{error}");
            assert!(!is_since(6, 5), "{error}");
            assert!(error.to_string().contains("bpf_sock_destroy"));
        }
    }
}

#[test]
fn exactly_those_that_were_chosen_end_and_the_others_answer() {
    let Some((namespace, mut iterator)) = set_or_skip() else {
        return;
    };
    for place in PLACES {
        let pool = Pool::fill(&namespace, place, 50);
        let is_chosen = |place: &usize| place % 7 == 3;
        let chosen: Vec<&TcpStream> = (0..50)
            .filter(is_chosen)
            .map(|place| &pool.accepted[place])
            .collect();
        let chosen = ids(&namespace, chosen);
        let ended = iterator.end(&chosen).unwrap();
        assert_eq!(ended, vec![Ended::Now; 7]);
        for (at, seen) in pool.seen().into_iter().enumerate() {
            if is_chosen(&at) {
                assert_eq!(seen, ENDED, "{at} of {place:?}");
            } else {
                assert_eq!(seen, ALIVE, "{at} of {place:?}");
                pool.answers(at);
            }
        }
    }
}

#[test]
fn one_that_is_gone_is_gone_and_ends_once() {
    let Some((namespace, mut iterator)) = set_or_skip() else {
        return;
    };
    let mut pool = Pool::fill(&namespace, PLACES[0], 3);
    let all = ids(&namespace, &pool.opened);
    drop((pool.opened.remove(0), pool.accepted.remove(0)));
    let twice = [all[0], all[1], all[1]];
    let ended = iterator.end(&twice).unwrap();
    assert_eq!(ended, [Ended::Gone, Ended::Now, Ended::Gone]);
    assert_eq!(iterator.end(&all[..2]).unwrap(), [Ended::Gone; 2]);
    assert_eq!(iterator.end(&[]).unwrap(), []);
    let (accepted, opened) = ENDED;
    assert_eq!(pool.seen(), [(opened, accepted), ALIVE]);
}

#[test]
fn who_has_no_number_is_not_hit_by_none() {
    let Some((namespace, mut iterator)) = set_or_skip() else {
        return;
    };
    let pool = Pool::fill(&namespace, PLACES[0], 5);
    assert_eq!(iterator.end(&[nobody(0)]).unwrap(), [Ended::Gone]);
    assert_eq!(pool.seen(), [ALIVE; 5]);
}

#[test]
fn neither_who_listens_nor_another_namespace_is_touched() {
    let Some((namespace, mut iterator)) = set_or_skip() else {
        return;
    };
    let elsewhere = pool::namespace();
    let there = Pool::fill(&elsewhere, PLACES[0], 2);
    let chosen = ids(&elsewhere, &there.accepted);
    assert_eq!(iterator.end(&chosen).unwrap(), [Ended::Gone; 2]);
    assert_eq!(there.seen(), [ALIVE; 2]);
    let here = Pool::fill(&namespace, PLACES[0], 1);
    let listening = list(&namespace, State::Listen);
    let [listener] = &listening[..] else {
        panic!("{listening:?}");
    };
    assert_eq!(iterator.end(&[listener.id]).unwrap(), [Ended::Gone]);
    let to = here.listener.local_addr().unwrap();
    let opened = namespace.run(|| TcpStream::connect(to)).unwrap();
    assert!(opened.is_ok());
    assert!(here.listener.accept().is_ok());
    let other = &mut SocketIterator::within(&elsewhere).unwrap();
    assert_eq!(other.end(&chosen).unwrap(), [Ended::Now; 2]);
    assert_eq!(there.seen(), [ENDED; 2]);
}

#[test]
fn more_than_one_pass_takes_are_ended_by_several() {
    let Some((namespace, mut iterator)) = set_or_skip() else {
        return;
    };
    let pool = Pool::fill(&namespace, PLACES[1], 3);
    let real = ids(&namespace, &pool.accepted);
    let mut chosen: Vec<_> = (0..70_000).map(|less| nobody(u64::MAX - less)).collect();
    chosen[0] = real[0];
    chosen.push(real[2]);
    let ended = iterator.end(&chosen).unwrap();
    let now = |outcome: &Ended| *outcome == Ended::Now;
    assert_eq!(ended.len(), chosen.len());
    assert_eq!(ended.iter().position(now), Some(0));
    assert_eq!(ended.iter().rposition(now), Some(70_000));
    assert_eq!(ended.into_iter().filter(now).count(), 2);
    assert_eq!(pool.seen(), [ENDED, ALIVE, ENDED]);
}
