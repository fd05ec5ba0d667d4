//! A refusal is in force as long as it was asked for, and leaves nothing.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    thread::sleep,
    time::{Duration, Instant},
};

use libbpf_rs::query::LinkInfoIter;
use murphy_sys::{
    clock::boottime_ns,
    namespace::NetNamespace,
    refusal::{Order, Refusal, Who},
    traffic::{ALWAYS, Detached, detach},
};

use crate::{
    ends::{Client, PATIENCE, PORT, counted, lay_for_both, order, serve},
    opened::cgroup,
    wire::Wire,
};

/// Says to a process of these tests which namespaces it is to hold refusals of.
const HELD: &str = "MURPHY_TEST_HELD";

/// Both kinds: with connections that node 2 is asked for, and that node 1 opens; and how many links each has.
fn both(wire: &Wire, order: &Order) -> [(Refusal, usize); 2] {
    [
        (Refusal::accepted(&wire.b, order).unwrap(), 1),
        (Refusal::opened(Who::Namespace(&wire.a), order).unwrap(), 2),
    ]
}

/// Whether everybody who asks is refused, or nobody is: each time twenty who have not asked before.
fn all_are_refused(wire: &Wire) -> bool {
    static PORTS: AtomicU16 = AtomicU16::new(20_000);
    let first = PORTS.fetch_add(10, Ordering::Relaxed);
    let ask = |is_v4| Client::afar(wire, is_v4).refused_from(first..first + 10);
    let refused: usize = [true, false].map(|is_v4| ask(is_v4).len()).iter().sum();
    assert!([0, 20].contains(&refused), "{refused} of 20");
    refused == 20
}

fn exist(links: &[u32]) -> bool {
    LinkInfoIter::default().any(|link| links.contains(&link.id))
}

/// The kernel ends a link when nobody looks at it any more.
fn wait_until_gone(links: &[u32]) {
    let until = Instant::now() + PATIENCE;
    while exist(links) {
        assert!(Instant::now() < until, "a link is left");
        sleep(Duration::from_millis(5));
    }
}

#[test]
fn it_pauses_goes_on_and_leaves_nothing() {
    let Some(wire) = lay_for_both() else { return };
    serve(&wire.b, PORT);
    for place in 0..2 {
        let mut refusal = both(&wire, &order(ALWAYS))
            .into_iter()
            .nth(place)
            .unwrap()
            .0;
        assert!(all_are_refused(&wire));
        refusal.set_active(false).unwrap();
        assert!(!all_are_refused(&wire));
        refusal.set_active(true).unwrap();
        assert!(all_are_refused(&wire));
        assert_eq!(counted(&refusal), (40, 40), "a pause counts nothing");
        let links = refusal.links().unwrap();
        assert!(exist(&links));
        drop(refusal);
        wait_until_gone(&links);
        assert!(!all_are_refused(&wire));
    }
}

#[test]
fn it_ends_by_itself_when_its_time_is_over() {
    let Some(wire) = lay_for_both() else { return };
    serve(&wire.b, PORT);
    for place in 0..2 {
        let mut order = order(ALWAYS);
        let until_ns = boottime_ns() + 3_000_000_000;
        order.until_ns = Some(until_ns);
        let (refusal, _) = both(&wire, &order).into_iter().nth(place).unwrap();
        assert!(all_are_refused(&wire));
        sleep(Duration::from_nanos(until_ns.saturating_sub(boottime_ns())));
        assert!(!all_are_refused(&wire));
        assert_eq!(counted(&refusal), (20, 20));
    }
}

#[test]
fn anybody_may_take_it_off_by_its_id() {
    let Some(wire) = lay_for_both() else { return };
    serve(&wire.b, PORT);
    for (place, id) in [(0, 0xc1_0001), (1, 0xc1_0002)] {
        let order = Order {
            id,
            ..order(ALWAYS)
        };
        let (refusal, links) = both(&wire, &order).into_iter().nth(place).unwrap();
        assert_eq!(refusal.links().unwrap().len(), links);
        assert_eq!(detach(id + 0x10).unwrap(), Detached::Nowhere);
        assert!(all_are_refused(&wire) && !refusal.is_off());
        assert_eq!(detach(id).unwrap(), Detached::Now(links));
        assert!(!all_are_refused(&wire) && refusal.is_off());
        assert_eq!(detach(id).unwrap(), Detached::Nowhere, "it is off by now");
        assert_eq!(counted(&refusal), (20, 20), "what it has counted stays");
    }
}

#[test]
fn it_is_off_when_what_it_was_attached_to_is_gone() {
    let Some(_wire) = lay_for_both() else { return };
    let (namespace, group) = (NetNamespace::create().unwrap(), cgroup());
    let accepted = Refusal::accepted(&namespace, &order(0)).unwrap();
    let opened = Refusal::opened(Who::Group(&group.directory), &order(0)).unwrap();
    assert!(!accepted.is_off() && !opened.is_off());
    drop((namespace, group));
    let until = Instant::now() + PATIENCE;
    while !accepted.is_off() || !opened.is_off() {
        assert!(Instant::now() < until, "something holds it");
        sleep(Duration::from_millis(5));
    }
}

#[test]
fn whoever_is_killed_leaves_nothing() {
    if let Some(held) = std::env::var_os(HELD) {
        return hold(Path::new(&held));
    }
    let Some(wire) = lay_for_both() else { return };
    serve(&wire.b, PORT);
    let dir = tempfile::tempdir().unwrap();
    let nodes = [(&wire.a, "a"), (&wire.b, "b")];
    for (node, name) in nodes {
        node.name(&dir.path().join(name)).unwrap();
    }
    let this = "life::whoever_is_killed_leaves_nothing";
    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", this, "--nocapture"])
        .env(HELD, dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let said = BufReader::new(holder.stdout.take().unwrap()).lines();
    let links = said
        .map(|line| line.unwrap())
        .find_map(|line| line.split_once("holds ").map(|(_, links)| links.to_owned()))
        .expect("it holds some");
    let links: Vec<u32> = links.split(' ').map(|link| link.parse().unwrap()).collect();
    assert!(links.len() == 3 && exist(&links));
    assert!(all_are_refused(&wire));
    holder.kill().unwrap();
    holder.wait().unwrap();
    wait_until_gone(&links);
    assert!(!all_are_refused(&wire));
    for (node, name) in nodes {
        let path = dir.path().join(name);
        murphy_sys::namespace::unname(&path, node.inode().unwrap()).unwrap();
    }
}

/// Holds refusals of both kinds until it is killed.
fn hold(nodes: &Path) {
    let open = |name| NetNamespace::open(&nodes.join(name)).unwrap();
    let accepted = Refusal::accepted(&open("b"), &order(ALWAYS)).unwrap();
    let opened = Refusal::opened(Who::Namespace(&open("a")), &order(ALWAYS)).unwrap();
    let links = [accepted, opened].map(|refusal| {
        let links = refusal.links().unwrap();
        std::mem::forget(refusal);
        links
    });
    let links: Vec<String> = links.concat().iter().map(u32::to_string).collect();
    let mut said = std::io::stdout();
    writeln!(said, "holds {}", links.join(" ")).unwrap();
    sleep(PATIENCE);
}
