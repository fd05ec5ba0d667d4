//! Connections that the target opens.

use std::{
    net::{Ipv4Addr, SocketAddr},
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use murphy_sys::{
    namespace::NetNamespace,
    refusal::{Order, PROCESSES_MAX, Refusal, RefusalError, Scope, Who},
    traffic::ALWAYS,
};
use nix::errno::Errno;
use socket2::{Domain, Protocol, Socket, Type};

use crate::{
    crew::Cgroup,
    ends::{
        A_THIRD, Client, PORT, SAMPLE, counted, datagram_comes, itself, lay_to_open, order, serve,
        socket, talks,
    },
    wire::{Wire, address, assert_share},
};

/// How many cgroups the tests here have made.
static COUNT: AtomicU32 = AtomicU32::new(0);

/// A cgroup of a test's own.
pub fn cgroup() -> Cgroup {
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("mphy-new-{}-{count}", std::process::id());
    Cgroup::make(&name).expect("a tree of version 2, as the trial has found")
}

/// What somebody in a cgroup, on node 1, is told who asks the server on node 2 so often; an empty line for nothing.
pub fn ask_from(cgroup: &Cgroup, namespace: &NetNamespace, times: u32) -> Vec<String> {
    let directory = cgroup.directory.display();
    let ask = format!(
        "echo $$ > {directory}/cgroup.procs; for i in $(seq {times}); do \
         (exec 3<>/dev/tcp/10.78.0.2/{PORT}) 2>&1 | grep -m1 -o 'refused\\|not permitted' || echo; done"
    );
    let mut bash = Command::new("bash");
    bash.args(["-c", &ask]).stderr(Stdio::inherit());
    let output = namespace.run(|| bash.output()).unwrap().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    said.lines().map(str::to_owned).collect()
}

fn on_node_1(wire: &Wire, order: &Order) -> Refusal {
    Refusal::opened(Who::Namespace(&wire.a), order).unwrap()
}

#[test]
fn three_in_ten_are_refused_in_both_families_and_counted() {
    let Some(wire) = lay_to_open() else { return };
    serve(&wire.b, PORT);
    for is_v4 in [true, false] {
        let refusal = on_node_1(&wire, &order(A_THIRD));
        let refused = Client::afar(&wire, is_v4).refused_of(SAMPLE);
        assert_eq!(counted(&refusal), (u64::from(SAMPLE), refused));
        assert_share(usize::try_from(refused).unwrap(), SAMPLE.into(), 0.3);
    }
}

#[test]
fn none_of_none_and_all_of_all_are_refused() {
    let Some(wire) = lay_to_open() else { return };
    serve(&wire.b, PORT);
    for is_v4 in [true, false] {
        for (chance, refused) in [(0, 0), (ALWAYS, 500)] {
            let refusal = on_node_1(&wire, &order(chance));
            assert_eq!(Client::afar(&wire, is_v4).refused_of(500), refused);
            assert_eq!(counted(&refusal), (500, refused));
        }
    }
}

#[test]
fn which_calls_are_refused_follows_from_the_seed() {
    let Some(wire) = lay_to_open() else { return };
    serve(&wire.b, PORT);
    let ask = |seed| {
        let half = order(ALWAYS / 2);
        let _refusal = on_node_1(&wire, &Order { seed, ..half });
        Client::afar(&wire, true).refused_from(30_000..30_300)
    };
    let (seven, eight) = (ask(7), ask(8));
    assert_eq!(seven, ask(7));
    assert_share(seven.symmetric_difference(&eight).count(), 300, 0.5);
}

#[test]
fn a_connection_is_drawn_once_however_often_its_owner_asks() {
    let Some(wire) = lay_to_open() else { return };
    let full = SocketAddr::from((itself(true), PORT));
    let listener = wire.a.run(|| {
        let listener = socket(full);
        listener.listen(0).unwrap();
        listener
    });
    let listener = listener.unwrap();
    let mut refusal = on_node_1(&wire, &order(0));
    let here = Client {
        namespace: &wire.a,
        ..Client::near(&wire, true)
    };
    let first = here.connect();
    let second = wire.a.run(|| socket((itself(true), 0).into())).unwrap();
    second.set_nonblocking(true).unwrap();
    let ask = || {
        second
            .connect(&full.into())
            .err()
            .and_then(|error| error.raw_os_error())
    };
    // Nobody takes it: the first call waits to be taken.
    assert_eq!(ask(), Some(Errno::EINPROGRESS as i32));
    assert_eq!(ask(), Some(Errno::EALREADY as i32));
    assert_eq!(counted(&refusal), (2, 0));
    drop((listener, first, second));

    // Whoever was refused may ask again, and is told at once, also where he does not wait.
    drop(refusal);
    serve(&wire.b, PORT);
    refusal = on_node_1(&wire, &order(ALWAYS));
    let again = wire.a.run(|| socket((address(true, 1), 0).into())).unwrap();
    again.set_nonblocking(true).unwrap();
    let server = SocketAddr::from((address(true, 2), PORT));
    for _ in 0..2 {
        let refused = again.connect(&server.into()).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(Errno::ECONNREFUSED as i32));
    }
    assert_eq!(counted(&refusal), (2, 2));
    refusal.set_active(false).unwrap();
    again.set_nonblocking(false).unwrap();
    again.connect(&server.into()).unwrap();
    assert_eq!(counted(&refusal), (2, 2));
}

#[test]
fn only_new_connections_of_that_port_and_that_namespace_are_refused() {
    let Some(wire) = lay_to_open() else { return };
    serve(&wire.b, PORT);
    serve(&wire.b, PORT + 1);
    let mut there: Vec<_> = [true, false]
        .map(|is_v4| Client::afar(&wire, is_v4).connect())
        .into();
    let mut order = order(ALWAYS);
    order.scope = Scope {
        remote_ports: vec![(PORT, PORT)],
        ..Scope::default()
    };
    let refusal = on_node_1(&wire, &order);
    for is_v4 in [true, false] {
        let (near, afar) = (Client::near(&wire, is_v4), Client::afar(&wire, is_v4));
        assert_eq!(afar.refused_of(20), 20);
        assert_eq!(afar.at(PORT + 1).refused_of(20), 0, "another port");
        assert_eq!(near.refused_of(20), 0, "another namespace");
    }
    assert!(datagram_comes(&wire.a, PORT), "another protocol");
    assert!(there.iter_mut().all(talks), "those that are there");
    assert_eq!(counted(&refusal), (40, 40));
}

#[test]
fn a_socket_has_a_port_of_its_own_only_where_it_was_bound_to_one() {
    let Some(wire) = lay_to_open() else { return };
    serve(&wire.b, PORT);
    let mut order = order(ALWAYS);
    order.scope = Scope {
        local_ports: vec![(20_003, 20_004)],
        ..Scope::default()
    };
    let _refusal = on_node_1(&wire, &order);
    let refused = Client::afar(&wire, true).refused_from(20_000..20_010);
    assert_eq!(refused, [20_003, 20_004].into());
}

#[test]
fn an_ipv4_address_is_one_also_to_a_socket_of_ipv6() {
    let Some(wire) = lay_to_open() else { return };
    serve(&wire.b, PORT);
    let mut order = order(ALWAYS);
    order.scope.by_peer = true;
    let mut refusal = on_node_1(&wire, &order);
    let network = (Ipv4Addr::new(10, 78, 0, 0).into(), 24);
    refusal.set_peers(&[network].into()).unwrap();
    let mapped = Ipv4Addr::new(10, 78, 0, 2).to_ipv6_mapped();
    let ask = || {
        let socket = Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP)).unwrap();
        socket.connect(&SocketAddr::from((mapped, PORT)).into())
    };
    let refused = wire.a.run(ask).unwrap().unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(Errno::ECONNREFUSED as i32));
    assert_eq!(Client::afar(&wire, true).refused_of(20), 20);
    assert_eq!(Client::afar(&wire, false).refused_of(20), 0);
    refusal
        .set_peers(&[(address(false, 0), 64)].into())
        .unwrap();
    wire.a.run(ask).unwrap().unwrap();
    assert_eq!(Client::afar(&wire, true).refused_of(20), 0);
    assert_eq!(Client::afar(&wire, false).refused_of(20), 20);
    assert_eq!(counted(&refusal), (41, 41));
}

#[test]
fn only_connections_of_certain_processes_are_refused() {
    let Some(wire) = lay_to_open() else { return };
    serve(&wire.b, PORT);
    let mut refusal = Refusal::opened(Who::Processes(&wire.a), &order(ALWAYS)).unwrap();
    let (mine, others) = (Client::afar(&wire, true), cgroup());
    assert_eq!(mine.refused_of(20), 0, "nobody is meant");
    refusal.set_processes(&[std::process::id()].into()).unwrap();
    assert_eq!(mine.refused_of(20), 20);
    assert_eq!(ask_from(&others, &wire.a, 3), ["", "", ""]);
    refusal.set_processes(&[1].into()).unwrap();
    assert_eq!(mine.refused_of(20), 0, "nobody here is any more");
    let crowd = (1..).take(PROCESSES_MAX + 1).collect();
    let error = refusal.set_processes(&crowd).unwrap_err();
    assert!(matches!(error, RefusalError::Processes), "{error}");
    assert_eq!(counted(&refusal), (20, 20));
}

#[test]
fn only_connections_of_a_cgroup_and_those_below_it_are_refused() {
    let Some(wire) = lay_to_open() else { return };
    serve(&wire.b, PORT);
    let (target, other) = (cgroup(), cgroup());
    let below = target.below("mphy-below");
    let refusal = Refusal::opened(Who::Group(&target.directory), &order(ALWAYS)).unwrap();
    assert_eq!(ask_from(&target, &wire.a, 3), ["refused"; 3]);
    assert_eq!(ask_from(&below, &wire.a, 3), ["refused"; 3]);
    assert_eq!(ask_from(&other, &wire.a, 3), [""; 3]);
    assert_eq!(Client::afar(&wire, true).refused_of(20), 0);
    assert_eq!(counted(&refusal), (6, 6));
}
