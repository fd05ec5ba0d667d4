//! The packets of a cgroup's sockets are lost where others send theirs as well: whoever sends is not told, and the
//! counters say exactly what was missed.

mod crew;
mod wire;

use std::{
    io::Write,
    net::{Ipv4Addr, Ipv6Addr, UdpSocket},
    os::fd::AsRawFd,
    process::{Child, Command},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use crew::{Cgroup, Pair, wait_for_sleep};
use murphy_sys::{
    link,
    namespace::NetNamespace,
    traffic::{
        self, ALWAYS, Chain, Detached, Fate, Filters, Group, Match, Order, Passage, Role,
        Treatment, Way, detach, group,
    },
};
use nix::libc;
use wire::{Wire, address, assert_share, bind, datagrams};

/// How many datagrams are sent for a statistical effect.
const SAMPLE: u32 = 4000;
/// How many cgroups the tests here have made.
static COUNT: AtomicU32 = AtomicU32::new(0);

/// A wire, and somebody on node 1 in a cgroup of its own with a socket of each family.
struct Stage {
    child: Child,
    cgroup: Cgroup,
    wire: Wire,
}

impl Stage {
    fn set_or_skip() -> Option<Self> {
        if let Err(error) = group::trial() {
            let _ = writeln!(std::io::stderr(), "skipped: {error}");
            return None;
        }
        let make = || NetNamespace::create().unwrap();
        let wire = Wire::lay(make(), make());
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let cgroup = Cgroup::make(&format!("mphy-{}-{count}", std::process::id()))?;
        let script = cgroup.with_sockets("3<>/dev/udp/10.78.0.2/9 4<>/dev/udp/fd78::2/9");
        let spawned = wire
            .a
            .run(|| Command::new("sh").args(["-c", &script]).spawn());
        let child = spawned.unwrap().unwrap();
        wait_for_sleep(child.id());
        Some(Self {
            child,
            cgroup,
            wire,
        })
    }

    fn pair(&self, is_v4: bool) -> Pair {
        let outside = bind((&self.wire.b, address(is_v4, 2)));
        let pair = Pair::of(self.child.id(), if is_v4 { 3 } else { 4 }, outside);
        hears_of_errors(&pair.inside, is_v4);
        pair
    }

    fn disturb(&self, order: Order) -> Group {
        let mut group = Group::load(order).unwrap();
        let device = link::index(&self.wire.a, "eth0").unwrap();
        let choose = || Filters::choose(&self.wire.a, device, &Way::ALL, "mphy-t", Role::Looks);
        let filters = traffic::trial().is_err().then(choose).map(Result::unwrap);
        let by = filters.as_ref().into();
        group.cover(&self.wire.a, device, &Way::ALL, by).unwrap();
        group.join(&self.cgroup.directory, &Way::ALL).unwrap();
        group
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Lets a socket hear of what is dropped on this machine, which is hidden from others (`ENOBUFS`).
fn hears_of_errors(socket: &UdpSocket, is_v4: bool) {
    let (level, option) = if is_v4 {
        (libc::IPPROTO_IP, libc::IP_RECVERR)
    } else {
        (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)
    };
    let (yes, bytes) = (1_i32, 4);
    // SAFETY: the option is a number of four bytes, which lives until the call returns.
    let set = unsafe {
        let yes = (&raw const yes).cast();
        libc::setsockopt(socket.as_raw_fd(), level, option, yes, bytes)
    };
    assert_eq!(set, 0);
}

fn order(id: u32) -> Order {
    Order {
        id,
        until_ns: None,
        seed: 7,
        active: true,
        matched: Match::default(),
        to: Treatment::default(),
        from: Treatment::default(),
    }
}

/// Three in ten.
fn a_third() -> Chain {
    let enter = ALWAYS / 10 * 3;
    Chain {
        enter,
        leave: ALWAYS - enter,
        hit_inside: ALWAYS,
        hit_outside: 0,
    }
}

#[test]
fn a_third_is_lost_behind_the_back_of_its_sender_and_counted() {
    let Some(stage) = Stage::set_or_skip() else {
        return;
    };
    let mut order = order(0xa1);
    (order.to.loss, order.from.loss) = (a_third(), a_third());
    let group = stage.disturb(order);
    let mut before = [0; 2];
    for is_v4 in [true, false] {
        let pair = stage.pair(is_v4);
        for (way, came) in [
            (Way::To, pair.to(SAMPLE).len()),
            (Way::From, pair.from(SAMPLE).len()),
        ] {
            let missed = SAMPLE as usize - came;
            assert_share(missed, SAMPLE, 0.3);
            let lost = group.fates(way).unwrap()[Fate::Lost].packets;
            let before = &mut before[way as usize];
            assert_eq!(lost - *before, missed as u64, "{way:?} {is_v4}");
            *before = lost;
        }
    }
    // Who is not of the cgroup is not hit at the same device.
    assert_eq!(stage.wire.send(true, 500).len(), 500);
    let (from, to) = stage.wire.ends(false, true);
    assert_eq!(datagrams(from, to, 500).len(), 500);
}

/// What is sent to many in IPv6 comes back to its own machine marked, by another way than that of the device. In IPv4 it
/// is nobody's by then, and comes.
#[test]
fn what_is_sent_to_many_is_lost_as_well() {
    let Some(stage) = Stage::set_or_skip() else {
        return;
    };
    let mut order = order(0xa2);
    order.to.passage = Passage::Drop;
    let (a, b) = (&stage.wire.a, &stage.wire.b);
    for (is_v4, namespace) in [(true, b), (false, b), (false, a)] {
        let sender = UdpSocket::from(crew::taken(stage.child.id(), if is_v4 { 3 } else { 4 }));
        let receiver = listen_to_many(namespace, is_v4);
        let port = receiver.local_addr().unwrap().port();
        let many = if is_v4 { "239.1.2.3" } else { "ff05::1:2" };
        if !is_v4 {
            set_device(&sender, link::index(a, "eth0").unwrap());
        }
        let comes = || {
            sender.send_to(b"x", (many, port)).unwrap();
            receiver.recv(&mut [0; 8]).is_ok()
        };
        assert!(comes(), "{is_v4}");
        let group = stage.disturb(order.clone());
        assert!(!comes(), "{is_v4}");
        assert_eq!(group.fates(Way::To).unwrap()[Fate::Lost].packets, 1);
        drop(group);
        assert!(comes(), "{is_v4}");
    }
}

/// A socket on node 2, or of IPv6 on either, that is sent what goes to many.
fn listen_to_many(namespace: &NetNamespace, is_v4: bool) -> UdpSocket {
    let device = link::index(namespace, "eth0").unwrap();
    let any = if is_v4 { "0.0.0.0:0" } else { "[::]:0" };
    let socket = namespace.run(|| UdpSocket::bind(any)).unwrap().unwrap();
    if is_v4 {
        let (many, mine) = (Ipv4Addr::new(239, 1, 2, 3), Ipv4Addr::new(10, 78, 0, 2));
        socket.join_multicast_v4(&many, &mine).unwrap();
    } else {
        let many = Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0, 1, 2);
        socket.join_multicast_v6(&many, device).unwrap();
    }
    let while_it_comes = Some(Duration::from_millis(500));
    socket.set_read_timeout(while_it_comes).unwrap();
    socket
}

/// Where it sends to groups.
fn set_device(socket: &UdpSocket, device: u32) {
    // SAFETY: the option is a number of four bytes, which lives until the call returns.
    let set = unsafe {
        let device = (&raw const device).cast();
        let option = libc::IPV6_MULTICAST_IF;
        libc::setsockopt(socket.as_raw_fd(), libc::IPPROTO_IPV6, option, device, 4)
    };
    assert_eq!(set, 0);
}

#[test]
fn two_groups_multiply_and_each_counts_what_the_first_has_let_pass() {
    let Some(stage) = Stage::set_or_skip() else {
        return;
    };
    let half = Chain {
        enter: ALWAYS / 2,
        leave: ALWAYS / 2,
        hit_inside: ALWAYS,
        hit_outside: 0,
    };
    let groups = [(0xb1, 3), (0xb2, 4)].map(|(id, seed)| {
        let mut order = order(id);
        order.seed = seed;
        (order.to.loss, order.from.loss) = (half, half);
        stage.disturb(order)
    });
    let pair = stage.pair(true);
    for (way, came) in [
        (Way::To, pair.to(SAMPLE).len()),
        (Way::From, pair.from(SAMPLE).len()),
    ] {
        let missed = SAMPLE as usize - came;
        assert_share(missed, SAMPLE, 0.75);
        let lost = |group: &Group| group.fates(way).unwrap()[Fate::Lost].packets;
        let lost: u64 = groups.iter().map(lost).sum();
        assert_eq!(lost, missed as u64, "{way:?}");
    }
}

#[test]
fn anybody_takes_it_off_by_its_number_and_a_group_that_goes_takes_it_along() {
    let Some(stage) = Stage::set_or_skip() else {
        return;
    };
    let mut order = order(0xc1);
    (order.to.passage, order.from.passage) = (Passage::Drop, Passage::Drop);
    let pair = stage.pair(true);
    let group = stage.disturb(order.clone());
    assert_eq!((pair.to(20).len(), pair.from(20).len()), (0, 0));
    assert_eq!(detach(0xc1).unwrap(), Detached::Now(4));
    assert_eq!(detach(0xc1).unwrap(), Detached::Nowhere);
    assert!(pair.is_calm());
    drop(group);
    drop(stage.disturb(order));
    assert!(pair.is_calm());
}
