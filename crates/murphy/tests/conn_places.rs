//! Connections of a container of a real docker, and of a namespace of a name: exactly those, also when the container is
//! started again, or another namespace is made under the name.

#[path = "../../murphy-target/tests/runtimes/mod.rs"]
mod runtimes;
#[path = "../../murphy-sys/tests/wire/mod.rs"]
mod wire;

mod harness;
mod network;
mod stage;
mod victims;

use std::{
    cell::Cell,
    collections::BTreeSet,
    io::{ErrorKind, Read, Write},
    net::{IpAddr, SocketAddr, TcpStream},
    path::Path,
    time::Duration,
};

use harness::{Guard, Murphy, say_skipped, wait_until};
use murphy_sys::{
    connections::{self, Connections, Socket, SocketId, State},
    flows,
    link::{Prefixed, add_bridge, join_bridge},
    namespace::NetNamespace,
    refusal::trial_accepted,
    tcp_events,
};
use network::{Disturbance, ip};
use runtimes::Docker;
use serde_json::{Value, json};
use stage::{Pool, Seen, Stage, seen};

/// How many connections the client container keeps to each server.
const CONNECTIONS: usize = 10;
/// Ports of a server: where connections are drawn, where new ones are refused, and where they are stalled.
const DRAWN: u16 = 5432;
const REFUSED: u16 = 5433;
const STALLED: u16 = 5434;
/// The last numbers of the addresses of the containers.
const WEB: u8 = 1;
const OTHER: u8 = 2;
const CLIENT: u8 = 3;

/// Listens on the three ports, and sends back what comes. As many may wait there as it is told `l`: with fewer the client
/// may believe in a connection that the server has not.
const SERVER: &str = "\
many=-llllllllllllllllllllllllllllllll
for port in 5432 5433; do busybox nc $many -p $port -e busybox cat & done
exec busybox nc $many -p 5434 -e busybox cat";
/// Keeps ten connections to each host that it is told, once it can.
const CLIENTS: &str = "\
busybox mkfifo /silence; exec 3<>/silence
for host in $HOSTS; do for at in 0 1 2 3 4 5 6 7 8 9; do
while :; do busybox nc $host 5432 <&3 || sleep 0.1; done &
done; done
wait";

fn at(last: u8, port: u16) -> SocketAddr {
    SocketAddr::new(address(last), port)
}

/// In a network of this process's own: another may run the same test.
fn address(last: u8) -> IpAddr {
    let network = std::process::id() % 250;
    [10, 91, u8::try_from(network).expect("below 250"), last].into()
}

/// Two servers and their clients, containers on one bridge.
struct Containers {
    docker: Docker,
    bridge: NetNamespace,
    /// How many ports the bridge has ever had.
    ports: Cell<u32>,
    client: NetNamespace,
    guard: Guard,
}

impl Containers {
    fn start_or_skip() -> Option<Self> {
        let guard = Guard::root_or_skip()?;
        let missing = flows::trial().err().map(|error| error.to_string());
        let missing = missing.or_else(|| trial_accepted().err().map(|error| error.to_string()));
        let missing = missing.or_else(|| tcp_events::trial().err().map(|error| error.to_string()));
        if let Some(missing) = missing {
            say_skipped(&missing);
            return None;
        }
        let docker = Docker::start_or_skip()?;
        for name in ["web", "other"] {
            docker.container(name, &[], SERVER);
        }
        let hosts = format!("HOSTS={} {}", address(WEB), address(OTHER));
        docker.container("client", &["--env", &hosts], CLIENTS);
        let bridge = NetNamespace::create().expect("a namespace");
        add_bridge(&bridge, "br0", in_24(254)).expect("a bridge");
        let client = NetNamespace::of_process(docker.first("client")).expect("it runs");
        if let Err(error) = connections::trial(&client) {
            say_skipped(&error.to_string());
            return None;
        }
        let containers = Self {
            docker,
            bridge,
            ports: Cell::new(0),
            client,
            guard,
        };
        for (name, last) in [("web", WEB), ("other", OTHER), ("client", CLIENT)] {
            containers.join(name, last);
        }
        containers.have_all();
        containers.wait_for_listeners();
        Some(containers)
    }

    /// Lays a wire from the bridge to a container; the name of its end at the bridge.
    fn join(&self, name: &str, last: u8) -> String {
        let node = self.namespace(name);
        let port = format!("port{}", self.ports.replace(self.ports.get() + 1));
        join_bridge(&self.bridge, "br0", &port, &node, in_24(last)).expect("a link");
        port
    }

    fn namespace(&self, name: &str) -> NetNamespace {
        NetNamespace::of_process(self.docker.first(name)).expect("it runs")
    }

    /// The client's ends of its connections with one of the servers, by their ports.
    fn kept(&self, last: u8) -> Vec<Socket> {
        let mut connections = Connections::within(&self.client).expect("a socket");
        let listed = connections.list(&[State::Established], false);
        let is_it = |socket: &Socket| socket.id.ends().1 == at(last, DRAWN);
        listed.expect("a list").into_iter().filter(is_it).collect()
    }

    fn cookies(&self, last: u8) -> Vec<u64> {
        let mut cookies: Vec<_> = self.kept(last).iter().map(|one| one.id.cookie).collect();
        cookies.sort_unstable();
        cookies
    }

    /// Waits until the client has all its connections.
    fn have_all(&self) {
        wait_until("all are connected", || {
            [WEB, OTHER].map(|last| self.kept(last).len()) == [CONNECTIONS; 2]
        });
    }

    fn inject(&self, words: &str) -> Disturbance<'_> {
        let words = format!("--for 120s {words}");
        let words: Vec<_> = words.split(' ').collect();
        // The runtime is this test's own, and so is how it is found.
        let host = format!("unix://{}", self.docker.socket().display());
        let prepare = |murphy: Murphy| murphy.env("DOCKER_HOST", &host);
        Disturbance::of_family_as(&self.guard, "conn", "container:web", &words, prepare)
    }

    /// Ends all connections with the first server at both of its ends, and waits until the client has new ones.
    fn begin_afresh(&self) {
        for (namespace, is_server) in [(&self.namespace("web"), true), (&self.client, false)] {
            let mut connections = Connections::within(namespace).expect("a socket");
            let listed = connections.list(&[State::Established], false);
            let ids = listed.expect("a list").into_iter().map(|socket| socket.id);
            let end = |id: &SocketId| if is_server { id.ends().0 } else { id.ends().1 };
            let ids: Vec<_> = ids.filter(|id| end(id) == at(WEB, DRAWN)).collect();
            connections.end(&ids).expect("it may be done");
        }
        self.have_all();
    }

    /// Starts the first server again, in a network namespace that is a new one.
    fn restart(&self, port: &str) {
        let before = self.docker.first("web");
        self.docker.run(&["restart", "--time", "0", "web"]);
        assert_ne!(self.docker.first("web"), before);
        // Whoever keeps the old namespace for a while keeps its device.
        let taken = self.bridge.run(|| ip(&["link", "del", port]));
        assert!(taken.expect("a namespace"));
        self.join("web", WEB);
        let forgets = || ip(&["neigh", "flush", "dev", "eth0"]);
        assert!(self.client.run(forgets).expect("a namespace"));
    }

    /// A connection from the client's namespace, which somebody holds who is not in its container.
    fn connect(&self, to: SocketAddr) -> std::io::Result<TcpStream> {
        let within = Duration::from_secs(3);
        let opened = self.client.run(|| TcpStream::connect_timeout(&to, within));
        opened.expect("a namespace")
    }

    /// Waits until the first server listens on all of its ports.
    fn wait_for_listeners(&self) {
        let namespace = self.namespace("web");
        wait_until("it listens", || {
            let mut connections = Connections::within(&namespace).expect("a socket");
            let listening = connections.list(&[State::Listen], false);
            let listening = listening.expect("a list").into_iter();
            let ports: BTreeSet<_> = listening.map(|socket| socket.id.local.port()).collect();
            ports == [DRAWN, REFUSED, STALLED].into()
        });
    }
}

fn in_24(last: u8) -> Prefixed {
    Prefixed {
        address: address(last),
        length: 24,
    }
}

/// Whether what is sent comes back within a second.
fn answers(mut end: &TcpStream) -> bool {
    let timeout = Some(Duration::from_secs(1));
    end.set_nonblocking(false).expect("a socket");
    end.set_read_timeout(timeout).expect("a socket");
    end.write_all(b"a").is_ok() && matches!(end.read(&mut [0]), Ok(1))
}

fn number(of: &Value, name: &str) -> usize {
    let number = of[name].as_u64();
    let number = number.unwrap_or_else(|| panic!("no {name} in {of}"));
    usize::try_from(number).expect("a few")
}

/// What the two ends of a connection are told goes across namespaces, and is told apart there.
fn each_end_is_evident_across_namespaces(containers: &Containers) {
    let others = containers.cookies(OTHER);
    for (how, [closed, received], [here, there]) in [
        ("reset", [true, true], [0, 0]),
        ("reset-local", [true, false], [0, 2]),
        ("reset-remote", [false, true], [2, 0]),
    ] {
        let before = containers.cookies(WEB);
        let words = format!("--local-port {DRAWN} --rate 20% --how {how}");
        let injected = containers.inject(&words);
        let first = injected.active["effect"].clone();
        let figures = ["before", "asked", "ended"].map(|name| number(&first, name));
        assert_eq!(figures, [CONNECTIONS, 2, 2], "{first}");
        for cut in first["connections"].as_array().expect("a list") {
            assert_eq!(cut["local"], at(WEB, DRAWN).to_string(), "{cut}");
            assert_eq!(cut["side"], "accepted", "{cut}");
            assert_eq!(cut["owner"]["name"], "busybox", "{cut}");
        }
        let wanted = json!({ "here": here, "there": there, "unknown": 0 });
        let effect = injected.wait_for_effect("both ends are compared, and seen", |effect| {
            let cuts = effect["connections"].as_array().into_iter().flatten();
            let mut seen = cuts.map(|cut| &cut["evidence"]);
            effect["recovery"]["leaked"] == wanted
                && seen.all(|seen| seen["closed"] == closed && seen["reset_received"] == received)
        });
        assert_eq!(number(&effect, "ended"), 2, "{effect}");
        let left = containers.cookies(WEB);
        let same = before.iter().filter(|one| left.contains(one)).count();
        // The client's end of what the server alone has lost stays as it is.
        assert_eq!(same, CONNECTIONS - 2 + there, "{how}");
        injected.interrupt();
        containers.begin_afresh();
    }
    assert_eq!(containers.cookies(OTHER), others, "the neighbour's stay");
}

/// A container that is started again has another network namespace: all goes on there.
fn its_restart_is_followed(containers: &Containers) {
    let others = containers.cookies(OTHER);
    let draws = format!("--local-port {DRAWN} --rate 20% --every 1s");
    let draws = containers.inject(&draws);
    let refuses = format!("--local-port {REFUSED} --new 100% --how refuse");
    let refuses = containers.inject(&refuses);
    let stalls = format!("--local-port {STALLED} --rate 100% --every 500ms --how stall");
    let stalls = containers.inject(&format!("{stalls} --allow-none"));
    let is_refused = || {
        let connected = containers.connect(at(WEB, REFUSED));
        connected.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    };
    assert!(is_refused());
    let stalled = containers.connect(at(WEB, STALLED)).expect("it listens");
    wait_until("it is stalled", || !answers(&stalled));

    let effect = draws.wait_for_effect("some are drawn", |effect| draws_of(effect).len() > 1);
    let before = draws_of(&effect).len();
    containers.restart("port0");
    // The client may keep ends of connections with the old one.
    containers.begin_afresh();
    let effect = draws.wait_for_effect("they are drawn in the new namespace, too", |effect| {
        let fresh = draws_of(effect).iter().skip(before);
        let full = fresh.filter(|draw| number(draw, "of") == CONNECTIONS);
        full.filter(|draw| number(draw, "ended") == 2)
            .nth(2)
            .is_some()
    });
    assert_eq!(effect["before"], CONNECTIONS, "{effect}");
    // Whoever does not listen yet refuses, too.
    containers.wait_for_listeners();
    wait_until("new ones are refused there", is_refused);
    assert!(is_refused());
    let stalled = containers.connect(at(WEB, STALLED)).expect("it listens");
    wait_until("it is stalled", || !answers(&stalled));

    assert_eq!(stalls.interrupt()["how"], "stall");
    refuses.interrupt();
    wait_until("what was lost is sent again", || answers(&stalled));
    let taken = containers.connect(at(WEB, REFUSED));
    assert!(answers(&taken.expect("nobody refuses")));
    draws.interrupt();
    assert_eq!(containers.cookies(OTHER), others, "the neighbour's stay");
}

#[test]
fn a_container_is_hit_alone_and_followed_when_it_is_started_again() {
    if let Some(containers) = Containers::start_or_skip() {
        each_end_is_evident_across_namespaces(&containers);
        its_restart_is_followed(&containers);
    }
}

fn draws_of(effect: &Value) -> &[Value] {
    effect["draws"].as_array().map_or(&[], Vec::as_slice)
}

/// How many of the accepted ends have ended.
fn ended(pool: &Pool) -> usize {
    let ended = pool.accepted.iter().filter(|end| seen(end) != Seen::Alive);
    ended.count()
}

#[test]
fn another_namespace_of_the_same_name_is_followed() {
    let Some(mut stage) = Stage::set_or_skip() else {
        return;
    };
    let pool = stage.pool(true, CONNECTIONS);
    let words = ["--all-ports", "--count", "2", "--every", "500ms"];
    let words = [&["--for", "60s"], &words[..]].concat();
    let target = stage.named.target(0);
    let injected = Disturbance::of_family(&stage.guard, "conn", &target, &words);
    assert_eq!(number(&injected.active["effect"], "ended"), 2);
    assert!(ended(&pool) >= 2);
    let name = stage.named.name(0);
    assert!(ip(&["netns", "del", name]));
    drop(pool);
    assert!(ip(&["netns", "add", name]));
    assert!(ip(&["-n", name, "link", "set", "lo", "up"]));
    let path = format!("/run/netns/{name}");
    let fresh = NetNamespace::open(Path::new(&path)).expect("it was just made");
    let old = stage.namespace.inode().expect("a namespace");
    assert_ne!(fresh.inode().expect("a namespace"), old);
    stage.namespace = fresh;
    let pool = stage.pool(true, CONNECTIONS);
    wait_until("all of the new one are drawn, two by two", || {
        ended(&pool) == CONNECTIONS
    });
    injected.interrupt();
}
