//! What other observers get wrong: short connections are no failed ones, who does not answer pings is not cut off, services
//! may have any port, containers may live for seconds, one upstream of ten may be broken, names may be asked for by who was
//! connected long before, and every retransmit is one of somebody's.
#![allow(
    clippy::print_stdout,
    reason = "the soak reads the figure that is printed"
)]

#[path = "../../murphy-target/tests/runtimes/mod.rs"]
mod runtimes;
#[path = "../../murphy-sys/tests/wire/mod.rs"]
mod wire;

mod harness;
mod network;
mod observed;
mod victims;

use std::{
    env,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread::{Scope, scope, sleep},
    time::{Duration, Instant},
};

use harness::{Ended, Guard, patience, say_skipped};
use murphy_sys::{
    counters::Counters,
    dns_tap::sockets,
    link::{Prefixed, add_bridge, join_bridge},
    namespace::NetNamespace,
    ping::Pinger,
    tcp_events,
};
use network::Named;
use observed::echo;
use runtimes::Docker;
use serde_json::Value;
use victims::{Heard, Line};
use wire::{Star, address};

/// How long it takes until an observer knows what is usual.
const BEFORE: Duration = Duration::from_secs(3);
/// How often the sums are compared, and how often in full.
const RUNS: usize = 1;
const RUNS_SOAK: usize = 20;

/// A client, and servers on ports that the kernel has chosen.
struct Lab {
    star: Star,
    listeners: Vec<TcpListener>,
    named: Named,
    guard: Guard,
}

impl Lab {
    fn lay_or_skip(servers: usize) -> Option<Self> {
        let guard = Guard::root_or_skip()?;
        if let Err(error) = tcp_events::trial() {
            say_skipped(&error.to_string());
            return None;
        }
        let endings = (0..=servers).map(|number| number.to_string());
        let (named, nodes) = Named::make(&guard, endings);
        if let Err(error) = Pinger::new(&nodes[0], None) {
            say_skipped(&error.to_string());
            return None;
        }
        let star = Star::lay(nodes);
        let listen = |place: usize| {
            let last = u8::try_from(place + 1).expect("a few");
            let bound = star.nodes[place].run(|| TcpListener::bind((address(true, last), 0)));
            bound.expect("a namespace").expect("a socket")
        };
        let listeners = (1..=servers).map(listen).collect();
        Some(Self {
            star,
            listeners,
            named,
            guard,
        })
    }

    fn at(&self, server: usize) -> SocketAddr {
        self.listeners[server].local_addr().expect("it is bound")
    }

    /// Each server sends back what comes.
    fn serve<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>, is_over: &'scope AtomicBool) {
        for listener in &self.listeners {
            listener.set_nonblocking(true).expect("a socket");
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    match listener.accept() {
                        Ok((stream, _)) => drop(scope.spawn(move || echo(stream, is_over))),
                        Err(_) => sleep(Duration::from_millis(2)),
                    }
                }
            });
        }
    }

    /// Asks a server a hundred times a second, until it is over.
    fn ask(&self, server: usize, is_over: &AtomicBool) {
        while !is_over.load(Ordering::Relaxed) {
            let Some(mut stream) = self.connect(server) else {
                continue;
            };
            let mut question = [7; 32];
            while !is_over.load(Ordering::Relaxed) {
                let asked = stream.write_all(&question);
                if asked
                    .and_then(|()| stream.read_exact(&mut question))
                    .is_err()
                {
                    break;
                }
                sleep(Duration::from_millis(10));
            }
        }
    }

    fn connect(&self, server: usize) -> Option<TcpStream> {
        let to = self.at(server);
        let made = self.star.nodes[0].run(|| TcpStream::connect_timeout(&to, patience()));
        let stream = made.expect("a namespace").ok()?;
        stream.set_nodelay(true).expect("a socket");
        stream.set_read_timeout(Some(patience())).expect("a socket");
        Some(stream)
    }

    /// What is said by whoever observes the client while this happens, and the servers are asked all the time.
    fn observe(&self, asked: usize, happens: impl FnOnce()) -> Vec<Value> {
        self.observe_with(&[], asked, happens)
    }

    /// The same with more words.
    fn observe_with(&self, more: &[&str], asked: usize, happens: impl FnOnce()) -> Vec<Value> {
        let is_over = AtomicBool::new(false);
        scope(|scope| {
            let ending = Ending(&is_over);
            self.serve(scope, &is_over);
            for server in 0..asked {
                let is_over = &is_over;
                scope.spawn(move || self.ask(server, is_over));
            }
            let target = self.named.target(0);
            let murphy = env!("CARGO_BIN_EXE_murphy");
            let words = [murphy, "observe", "-t", &target, "--json"];
            let journal = self.guard.journal();
            let words = words.iter().chain(more);
            let observer = Heard::start_as(&self.guard, words, |murphy| {
                murphy.env("MURPHY_JOURNAL", &journal)
            });
            // On a busy machine it takes its time to begin.
            let begins = |line: &Line| line.text.contains("\"observing\"").then_some(());
            observer.wait_for("it observes", 0, begins);
            sleep(BEFORE);
            happens();
            observer.signal("INT");
            let (ended, lines) = observer.wait();
            drop(ending);
            assert_eq!(ended.code, 0, "{ended:?}");
            let said = lines.iter().map(|line| serde_json::from_str(&line.text));
            said.collect::<Result<_, _>>().expect("events")
        })
    }

    fn inject(&self, words: &str) -> Ended {
        let words = words.replace("TARGET", &self.named.target(0));
        let ended = self.guard.murphy(words.split(' ')).run();
        assert_eq!(ended.code, 0, "{ended:?}");
        ended
    }
}

/// Ends the traffic, also where the test fails.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The findings among what was said.
fn found(said: &[Value]) -> Vec<&Value> {
    said.iter()
        .filter(|line| line["event"] == "found")
        .collect()
}

/// The last snapshot's edges.
fn edges(said: &[Value]) -> &Vec<Value> {
    let last = said.last().expect("it says something");
    assert_eq!(last["event"], "ended");
    last["snapshot"]["edges"].as_array().expect("edges")
}

fn of_port(edges: &[Value], port: u16) -> &Value {
    let mut with = edges
        .iter()
        .filter(|edge| edge["port"].as_u64() == Some(port.into()));
    let edge = with.next().expect("a service of any port is seen");
    assert_eq!(with.next(), None);
    edge
}

#[test]
fn a_connection_of_nine_milliseconds_has_not_failed() {
    const COUNT: u64 = 100;
    let Some(lab) = Lab::lay_or_skip(1) else {
        return;
    };
    let said = lab.observe(0, || {
        for _ in 0..COUNT {
            let stream = lab.connect(0).expect("somebody listens");
            sleep(Duration::from_millis(9));
            drop(stream);
        }
        sleep(Duration::from_secs(1));
    });
    let edge = of_port(edges(&said), lab.at(0).port());
    let total = |name: &str| edge["total"][name].as_u64().expect("a figure");
    assert_eq!(total("connected"), COUNT);
    for failed in ["refused", "timed_out", "unreachable", "given_up", "broken"] {
        assert_eq!(total(failed), 0, "{failed}: {edge}");
    }
    assert_eq!(found(&said), Vec::<&Value>::new());
}

#[test]
fn who_does_not_answer_pings_is_not_cut_off_and_what_is_wrong_there_is_found_all_the_same() {
    let Some(lab) = Lab::lay_or_skip(1) else {
        return;
    };
    let rule = ["-A", "INPUT", "-p", "icmp", "-j", "DROP"];
    let mut iptables = Command::new("ip");
    iptables.args(["netns", "exec", lab.named.name(1), "iptables"]);
    let ruled = iptables.args(rule).status().expect("iptables");
    assert!(ruled.success());
    let said = lab.observe(1, || {
        sleep(Duration::from_secs(4));
        lab.inject("inject net -t TARGET --delay 50ms --direction to --for 4s");
    });
    let found = found(&said);
    let [latency] = &found[..] else {
        panic!("{found:?}");
    };
    assert_eq!(latency["kind"], "latency", "{latency}");
    let before = said.iter().filter(|line| line["event"] == "snapshot");
    let edge = before.map(|line| &line["snapshot"]["edges"][0]);
    // Whoever asks for a connection is answered.
    assert!(
        edge.clone().any(|edge| edge["ping_us"].is_u64()),
        "{said:?}"
    );
}

#[test]
fn one_broken_upstream_of_ten_is_found_and_no_other() {
    let Some(lab) = Lab::lay_or_skip(10) else {
        return;
    };
    let said = lab.observe(10, || {
        let broken = address(true, 5);
        lab.inject(&format!(
            "inject net -t TARGET --partition --direction to --cidr {broken}/32 --for 5s"
        ));
    });
    let found = found(&said);
    let [partition] = &found[..] else {
        panic!("{found:?}");
    };
    assert_eq!(partition["kind"], "partition");
    assert_eq!(partition["edge"]["peer"], address(true, 5).to_string());
    let ports = (0..10).map(|server| lab.at(server).port());
    for port in ports {
        let edge = of_port(edges(&said), port);
        assert!(edge["total"]["delivered"].as_u64() > Some(100), "{edge}");
    }
}

#[test]
fn a_container_that_lives_for_five_seconds_is_seen() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    if let Err(error) = tcp_events::trial() {
        say_skipped(&error.to_string());
        return;
    }
    let Some(docker) = Docker::start_or_skip() else {
        return;
    };
    // It asks a few times, and is over.
    let script = "busybox sleep 2; for at in 0 1 2 3 4 5; do echo hello | busybox nc -w 1 10.95.0.254 5432; busybox sleep 0.3; done";
    docker.container("short", &[], script);
    let began = Instant::now();
    let node = NetNamespace::of_process(docker.first("short")).expect("it runs");
    let bridge = NetNamespace::create().expect("a namespace");
    let in_24 = |last: u8| Prefixed {
        address: [10, 95, 0, last].into(),
        length: 24,
    };
    add_bridge(&bridge, "br0", in_24(254)).expect("a bridge");
    join_bridge(&bridge, "br0", "n1", &node, in_24(1)).expect("a link");
    let bound = bridge.run(|| TcpListener::bind(("10.95.0.254", 5432)));
    let listener = bound.expect("a namespace").expect("a socket");
    listener.set_nonblocking(true).expect("a socket");
    let is_over = AtomicBool::new(false);
    let ended = scope(|scope| {
        let ending = Ending(&is_over);
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                // What it hears it forgets.
                drop(listener.accept());
                sleep(Duration::from_millis(5));
            }
        });
        let host = format!("unix://{}", docker.socket().display());
        let words = ["observe", "-t", "container:short", "--json", "--for", "20s"];
        let ended = guard.murphy(words).env("DOCKER_HOST", host).run();
        drop(ending);
        ended
    });
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(began.elapsed() < patience(), "it ends with its target");
    let said = ended.lines();
    let edge = of_port(edges(&said), 5432);
    let name = edge["container"].as_str().expect("a name");
    assert!(name.starts_with("docker/short"), "{name}");
    assert!(edge["total"]["connected"].as_u64() > Some(2), "{edge}");
}

/// Asks a server for a name, which is not known there.
fn look_up(socket: &UdpSocket, server: &UdpSocket) {
    // It has an id, wishes recursion, and asks one question: for `shop`, A, of IN.
    let query = b"\x01\x02\x01\0\0\x01\0\0\0\0\0\0\x04shop\0\0\x01\0\x01";
    let query = &query[..];
    socket.send(query).expect("it is connected");
    let mut asked = [0; 512];
    let (length, from) = server.recv_from(&mut asked).expect("it was asked");
    // A response: there is no such name.
    (asked[2], asked[3]) = (0x81, 0x83);
    server.send_to(&asked[..length], from).expect("it asked");
    let answered = socket.recv(&mut asked).expect("it was answered");
    assert_eq!(answered, query.len());
}

#[test]
fn who_asks_for_names_is_heard_whenever_he_was_connected_and_who_does_not_is_not_listened_to() {
    const COUNT: u64 = 10;
    let Some(lab) = Lab::lay_or_skip(1) else {
        return;
    };
    if let Err(error) = sockets::trial() {
        say_skipped(&error.to_string());
        return;
    }
    let server = lab.star.nodes[1].run(|| UdpSocket::bind((address(true, 2), 53)));
    let server = server.expect("a namespace").expect("a free port");
    server.set_read_timeout(Some(patience())).expect("a socket");
    let connect = || {
        let socket = lab.star.nodes[0].run(|| UdpSocket::bind("0.0.0.0:0"));
        let socket = socket.expect("a namespace").expect("a socket");
        socket
            .connect((address(true, 2), 53))
            .expect("there is a way");
        socket.set_read_timeout(Some(patience())).expect("a socket");
        socket
    };
    let runs = |said: &[Value], name: &str| {
        let last = said.last().expect("it says something");
        let programs = last["snapshot"]["overhead"]["programs"].as_array();
        let mut programs = programs.expect("they are counted").iter();
        let program = programs.find(|program| program["name"] == name);
        program.expect("it is there")["runs"]
            .as_u64()
            .expect("a count")
    };
    let counting = ["--measure-overhead"];
    let said = lab.observe_with(&counting, 1, || {
        // What is counted is seen by a connection.
        drop(lab.connect(0).expect("somebody listens"));
        sleep(BEFORE);
    });
    assert!(runs(&said, "murphy_state") > 0, "{said:?}");
    assert_eq!(runs(&said, "murphy_dns_to"), 0);
    assert_eq!(runs(&said, "murphy_dns_from"), 0);

    for is_before in [true, false] {
        let before = is_before.then(connect);
        let said = lab.observe_with(&counting, 1, || {
            let socket = before.unwrap_or_else(connect);
            // A connection that was just made is seen soon, not at once.
            sleep(Duration::from_secs(1));
            for _ in 0..COUNT {
                look_up(&socket, &server);
            }
            sleep(Duration::from_secs(1));
        });
        assert_eq!(of_port(edges(&said), 53)["lookups"], COUNT, "{is_before}");
        assert!(runs(&said, "murphy_dns_to") >= COUNT);
        assert_eq!(said.last().expect("the end")["snapshot"]["lost"], 0);
    }
}

#[test]
fn every_retransmit_is_one_of_a_container_and_an_upstream() {
    let runs = match env::var_os("MURPHY_SOAK") {
        Some(_) => RUNS_SOAK,
        None => RUNS,
    };
    let (mut told, mut untold, mut counted, mut lost) = (0, 0, 0, 0);
    for _ in 0..runs {
        let Some(lab) = Lab::lay_or_skip(3) else {
            return;
        };
        let client = &lab.star.nodes[0];
        let retransmits = || {
            let counters = Counters::of(client).expect("a namespace");
            counters
                .get("Tcp.RetransSegs")
                .or(counters.get("TcpRetransSegs"))
        };
        // It begins to be observed between these two: a busy machine sends something again also then.
        let before = retransmits();
        let (mut begun, mut after) = (None, None);
        let said = lab.observe(3, || {
            begun = retransmits();
            lab.inject("inject net -t TARGET --loss 20% --direction to --protocol tcp --for 4s");
            // Until nothing is sent again any more.
            loop {
                after = retransmits();
                sleep(Duration::from_secs(2));
                if retransmits() == after {
                    break;
                }
            }
        });
        let of = |edge: &Value| {
            let kinds = [
                "syn_retransmits",
                "synack_retransmits",
                "retransmits",
                "probes",
                "unsent",
                "untold",
            ];
            let figures = kinds.map(|kind| edge["total"][kind].as_u64().expect("a figure"));
            figures.iter().sum::<u64>()
        };
        let edges = edges(&said);
        assert_eq!(edges.len(), 3, "{edges:?}");
        assert!(edges.iter().all(|edge| of(edge) > 0), "{edges:?}");
        let run = edges.iter().map(of).sum::<u64>();
        let since = |first: Option<u64>| after.expect("a counter") - first.expect("a counter");
        let (counted_run, all) = (since(begun), since(before));
        let lost_run = said.last().expect("the end")["snapshot"]["lost"].as_u64();
        let lost_run = lost_run.expect("a figure");
        // Never more, and at most what was lost and one in a thousand less.
        let context = || format!("{run} of {counted_run} to {all}: {edges:#?}");
        assert!(run <= all, "{}", context());
        assert!(
            run + lost_run + counted_run / 1000 >= counted_run,
            "{}",
            context()
        );
        told += run;
        let of = |edge: &Value| edge["total"]["untold"].as_u64().expect("a figure");
        untold += edges.iter().map(of).sum::<u64>();
        counted += counted_run;
        lost += lost_run;
    }
    println!(
        "figure: in {runs} runs {told} retransmits of containers and upstreams, {untold} of them by the count of their connections only, and {counted} by RetransSegs of their namespaces; {lost} events were lost"
    );
}
