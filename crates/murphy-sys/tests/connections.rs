//! The kernel lists the sockets that it is asked for, and says of single ones whether they are there.

mod pool;

use std::collections::BTreeSet;

use murphy_sys::connections::{Connections, Ended, State};
use pool::{PLACES, Pool, cookie, ids, namespace};

/// What has its end at an own port is listed by it, whoever else is there; nothing else is.
#[test]
fn only_sockets_on_chosen_ports_are_listed() {
    let namespace = namespace();
    let mut connections = Connections::within(&namespace).unwrap();
    let pools = PLACES.map(|place| Pool::fill(&namespace, place, 2));
    let cookies_of = |chosen: &[usize]| -> BTreeSet<u64> {
        let sockets = chosen.iter().flat_map(|at| &pools[*at].accepted);
        sockets.map(cookie).collect()
    };
    let around = |at: usize| (pools[at].port() - 1, pools[at].port());
    let exact = |at: usize| (pools[at].port(), pools[at].port());
    let nobodys = (1, 2);
    let mut listed = |ports: &[(u16, u16)]| -> BTreeSet<u64> {
        let states = [State::Established, State::Listen];
        let listed = connections.list_on(&states, false, ports).unwrap();
        let established = listed.iter().filter(|one| one.state == State::Established);
        let cookies = established.clone().map(|one| one.id.cookie).collect();
        // With those who wait for connections there.
        let listening = listed.iter().filter(|one| one.state == State::Listen);
        let theirs: BTreeSet<u16> = listening.map(|one| one.id.local.port()).collect();
        let those: BTreeSet<u16> = established.map(|one| one.id.local.port()).collect();
        assert!(those.is_subset(&theirs) || ports.len() > 64, "{listed:?}");
        cookies
    };
    for at in 0..pools.len() {
        assert_eq!(listed(&[exact(at)]), cookies_of(&[at]), "{at}");
        assert!(listed(&[around(at)]).is_superset(&cookies_of(&[at])));
    }
    assert_eq!(listed(&[exact(3), nobodys, exact(0)]), cookies_of(&[0, 3]));
    let some = [exact(0), exact(1), exact(2)];
    assert_eq!(listed(&some), cookies_of(&[0, 1, 2]));
    assert_eq!(listed(&[nobodys]), BTreeSet::new());
    // More than the kernel is told of: all, from which the asker chooses.
    let many = vec![exact(1); 65];
    assert!(listed(&many).is_superset(&cookies_of(&[0, 1, 2, 3])));
}

#[test]
fn who_is_gone_is_not_there() {
    let namespace = namespace();
    let mut connections = Connections::within(&namespace).unwrap();
    for place in PLACES {
        let mut pool = Pool::fill(&namespace, place, 3);
        let of_all = ids(&namespace, &pool.accepted);
        assert_eq!(connections.are_there(&of_all).unwrap(), [true; 3]);
        // Whoever comes to the same place has another number.
        let mut other = of_all[0];
        other.cookie += 1;
        assert_eq!(connections.are_there(&[other]).unwrap(), [false]);
        // Both ends are closed, the accepted one first: it waits for late packets, and is there no more.
        drop(pool.accepted.remove(1));
        drop(pool.opened.remove(1));
        let mut there = connections.are_there(&of_all).unwrap();
        assert_eq!(there, [true, false, true], "{place:?}");
        // Who may not end it, as in a kernel without that, leaves it there.
        if let Ok(ended) = connections.end(&of_all[2..]) {
            assert_eq!(ended, [Ended::Now]);
            there = connections.are_there(&of_all).unwrap();
            assert_eq!(there, [true, false, false], "{place:?}");
        }
    }
}
