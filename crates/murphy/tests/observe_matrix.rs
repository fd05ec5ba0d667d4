//! What is wrong with a network is found by whoever observes either end: each fault, by both families, of namespaces and of
//! containers, with connections that are busy or idle; and where neither traffic nor pings can show it, that is said.
//!
//! A sample by default; all of it with `MURPHY_SOAK=1`, in twelve minutes.
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
mod traffic_mix;
mod victims;

use std::{
    env, fmt, fs,
    net::IpAddr,
    path::Path,
    thread::{scope, sleep},
    time::Duration,
};

use harness::{Guard, Murphy, Running, say_skipped, signal};
use murphy_sys::{
    clock::boottime_ns,
    link::{Prefixed, add_address, add_bridge, join_bridge},
    namespace::NetNamespace,
    ping::Pinger,
    tcp_events,
};
use network::Named;
use runtimes::Docker;
use serde_json::Value;
use tempfile::TempDir;
use traffic_mix::Agreement;

/// How long it takes until an observer knows what is usual.
const BEFORE: Duration = Duration::from_secs(5);
/// Between two faults: what was found is over. A sample has no two that are alike.
const GAP: Duration = Duration::from_secs(9);
const GAP_SAMPLE: Duration = Duration::from_secs(4);
/// How soon losses of 30 %, partitions and latency are to be found.
const SOON: Duration = Duration::from_secs(5);

/// What goes wrong, seen from the client's node, where all but refusals are injected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Loss(u32),
    OneWay,
    BothWays,
    Delay,
    Resets,
    HalfOpen,
    Refuse,
    SlowDns,
}

/// In an order in which none follows one that is found the same way.
const FAULTS: [Fault; 10] = [
    Fault::Loss(1),
    Fault::OneWay,
    Fault::Delay,
    Fault::Loss(5),
    Fault::BothWays,
    Fault::Resets,
    Fault::Loss(30),
    Fault::HalfOpen,
    Fault::Refuse,
    Fault::SlowDns,
];

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loss(percent) => write!(f, "loss of {percent} %"),
            Self::OneWay => f.write_str("one-way partition"),
            Self::BothWays => f.write_str("partition"),
            Self::Delay => f.write_str("delay of 50 ± 10 ms"),
            Self::Resets => f.write_str("resets"),
            Self::HalfOpen => f.write_str("half-open connections"),
            Self::Refuse => f.write_str("refusals"),
            Self::SlowDns => f.write_str("slow DNS"),
        }
    }
}

/// Which end is observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Client,
    Server,
}

/// What is to be found.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Expected {
    /// A kind, with its way.
    Found(&'static str, &'static str),
    /// Nothing: what it would take is not there.
    Insufficient,
}

impl Fault {
    /// What is injected, at which end.
    fn words(self, is_busy: bool, port: u16) -> (End, String) {
        let words = match self {
            // What is rare takes long to show where only pings can.
            Self::Loss(5) if !is_busy => {
                "inject net -t TARGET --loss 5% --direction to --for 30s".into()
            }
            Self::Loss(percent) => {
                format!("inject net -t TARGET --loss {percent}% --direction to --for 8s")
            }
            Self::OneWay => "inject net -t TARGET --partition --direction to --for 6s".into(),
            Self::BothWays => "inject net -t TARGET --partition --direction both --for 6s".into(),
            Self::Delay => {
                "inject net -t TARGET --delay 50ms --jitter 10ms --direction both --for 6s".into()
            }
            Self::Resets => format!("inject conn -t TARGET --remote-port {port} --rate 100%"),
            Self::HalfOpen => {
                format!("inject conn -t TARGET --remote-port {port} --count 3 --how stall --for 8s")
            }
            Self::Refuse => {
                let words = format!(
                    "inject conn -t TARGET --local-port {port} --side accepted --new 100% --how refuse --for 4s"
                );
                return (End::Server, words);
            }
            Self::SlowDns => {
                "inject net -t TARGET --delay 150ms --direction to --remote-port 53 --for 8s".into()
            }
        };
        (End::Client, words)
    }

    fn expected(self, end: End, is_busy: bool) -> Expected {
        let way = match end {
            End::Client => "to",
            End::Server => "from",
        };
        match self {
            Self::Loss(1) | Self::HalfOpen | Self::Refuse | Self::SlowDns if !is_busy => {
                Expected::Insufficient
            }
            Self::Loss(_) => Expected::Found("loss", way),
            Self::OneWay => Expected::Found("partition", way),
            Self::BothWays => Expected::Found("partition", "both"),
            Self::Delay => Expected::Found("latency", "both"),
            Self::Resets => Expected::Found("resets", way),
            Self::HalfOpen => Expected::Found("half_open", "unknown"),
            // The server's kernel says so.
            Self::Refuse => Expected::Found(
                "refusals",
                match end {
                    End::Client => "from",
                    End::Server => "to",
                },
            ),
            Self::SlowDns => Expected::Found("slow_dns", "unknown"),
        }
    }

    /// Whether something else that is found is true, too.
    fn explains(self, kind: &str, direction: &str) -> bool {
        match self {
            // It varies by 10 ms, so that packets overtake each other.
            Self::Delay => matches!(kind, "jitter" | "reordering"),
            // Of so many idle pings enough may be lost by chance after all.
            Self::Loss(_) => kind == "loss" && direction != "unknown",
            // Who is refused asks again at once.
            Self::Refuse => kind == "retry_storm",
            _ => false,
        }
    }

    fn port(self, service: u16) -> u16 {
        match self {
            Self::SlowDns => 53,
            _ => service,
        }
    }

    fn is_urgent(self) -> bool {
        matches!(
            self,
            Self::OneWay | Self::BothWays | Self::Delay | Self::Loss(30)
        )
    }
}

/// Ends the traffic and the observers, also where the test fails.
struct Ending<'a>(&'a Agreement, [u32; 2]);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.end();
        for pid in self.1 {
            signal(pid, "INT");
        }
    }
}

/// Two nodes on a wire: who asks, and who answers.
struct Lab {
    name: &'static str,
    targets: [String; 2],
    runtime: Option<String>,
    addresses: [[IpAddr; 2]; 2],
    _bridge: NetNamespace,
    owner: Owner,
    shared: TempDir,
    guard: Guard,
}

/// Whose the nodes are.
enum Owner {
    Named(Named),
    Docker(Box<Docker>),
}

impl Lab {
    /// Two named namespaces.
    fn named_or_skip() -> Option<Self> {
        let guard = guard_or_skip()?;
        let (named, nodes) = Named::make(&guard, ["c".to_owned(), "s".to_owned()]);
        let targets = [0, 1].map(|place| named.target(place));
        let nodes: [NetNamespace; 2] = nodes.try_into().expect("two were made");
        let shared = tempfile::tempdir().expect("a directory");
        Self::lay("netns", guard, &nodes, targets, shared, Owner::Named(named))
    }

    /// Two containers of a docker.
    fn contained_or_skip() -> Option<Self> {
        let guard = guard_or_skip()?;
        let docker = Docker::start_or_skip()?;
        let shared = tempfile::tempdir().expect("a directory");
        // This machine's libraries, this program, and what both ends agree on.
        let program = env::current_exe().expect("it runs");
        let [program, directory] = [program.as_path(), shared.path()].map(|path| path.display());
        let volumes = [
            "/usr:/usr:ro".to_owned(),
            "/usr/lib:/lib:ro".to_owned(),
            "/usr/lib64:/lib64:ro".to_owned(),
            format!("{program}:{program}:ro"),
            format!("{directory}:{directory}"),
        ];
        let names = ["client", "server"];
        let nodes = names.map(|name| {
            // Without a network of its own a container has no IPv6, either.
            let v6 = ["--sysctl", "net.ipv6.conf.all.disable_ipv6=0"];
            let volumes = volumes.iter().flat_map(|volume| ["--volume", volume]);
            let options: Vec<&str> = v6.into_iter().chain(volumes).collect();
            docker.container(name, &options, "exec busybox sleep 3600");
            NetNamespace::of_process(docker.first(name)).expect("it runs")
        });
        let targets = names.map(|name| format!("container:{name}"));
        Self::lay(
            "container",
            guard,
            &nodes,
            targets,
            shared,
            Owner::Docker(Box::new(docker)),
        )
    }

    fn lay(
        name: &'static str,
        guard: Guard,
        nodes: &[NetNamespace; 2],
        targets: [String; 2],
        shared: TempDir,
        owner: Owner,
    ) -> Option<Self> {
        if let Err(error) = Pinger::new(&nodes[0], None) {
            say_skipped(&error.to_string());
            return None;
        }
        // Another process may run the same test, and other tests have their own.
        let network = u8::try_from(std::process::id() % 250).expect("below 250");
        let kind = match owner {
            Owner::Named(_) => 93,
            Owner::Docker(_) => 94,
        };
        let v4 = |last: u8| IpAddr::from([10, kind, network, last]);
        let v6 = |last: u8| {
            let network = 0x100 * u16::from(kind) + u16::from(network);
            IpAddr::from([0xfd78, network, 0, 0, 0, 0, 0, u16::from(last)])
        };
        let in_24 = |last| Prefixed {
            address: v4(last),
            length: 24,
        };
        let bridge = NetNamespace::create().expect("a namespace");
        add_bridge(&bridge, "br0", in_24(254)).expect("a bridge");
        for (node, last) in nodes.iter().zip(1..) {
            join_bridge(&bridge, "br0", &format!("n{last}"), node, in_24(last)).expect("a link");
            let address = Prefixed {
                address: v6(last),
                length: 64,
            };
            add_address(node, "eth0", address).expect("an address");
        }
        let runtime = match &owner {
            Owner::Named(_) => None,
            Owner::Docker(docker) => Some(format!("unix://{}", docker.socket().display())),
        };
        Some(Self {
            name,
            targets,
            runtime,
            addresses: [[v4(1), v4(2)], [v6(1), v6(2)]],
            guard,
            _bridge: bridge,
            owner,
            shared,
        })
    }

    /// Starts one end of the traffic inside of its node.
    fn live(&self, end: &str, server: IpAddr, is_busy: bool, directory: &Path) -> Option<Running> {
        let traffic = if is_busy { "busy" } else { "idle" };
        let role = format!("{end} {server} {traffic} {}", directory.display());
        let program = env::current_exe().expect("it runs");
        let program = program.to_str().expect("text");
        let words = ["--exact", traffic_mix::HOME, "--nocapture"];
        match &self.owner {
            Owner::Named(named) => {
                let name = named.name(usize::from(end == "server"));
                let ip = self.guard.program(Path::new("ip"));
                let started = ip
                    .args(["netns", "exec", name, program])
                    .args(words)
                    .env(traffic_mix::ROLE, role)
                    .start();
                Some(started)
            }
            Owner::Docker(docker) => {
                let role = format!("{}={role}", traffic_mix::ROLE);
                let exec = ["exec", "--detach", "--env", &role, end, program];
                docker.run(&[&exec[..], &words].concat());
                None
            }
        }
    }

    fn murphy(&self, words: &str, end: End) -> Murphy {
        let target = &self.targets[end as usize];
        let words = words.replace("TARGET", target);
        let murphy = self.guard.murphy(words.split(' '));
        match &self.runtime {
            Some(host) => murphy.env("DOCKER_HOST", host),
            None => murphy,
        }
    }

    /// Injects one fault after the other while both ends are observed; what came of each.
    fn run(&self, is_v4: bool, is_busy: bool, faults: &[Fault]) -> Vec<Cell> {
        let [client, server] = self.addresses[usize::from(!is_v4)];
        let directory = self.shared.path().join(format!("{is_v4}-{is_busy}"));
        fs::create_dir(&directory).expect("a directory");
        let mix = Agreement::at(&directory);
        let ends = ["server", "client"].map(|end| self.live(end, server, is_busy, &directory));
        let port = mix.port();
        scope(|scope| {
            let observers = [End::Client, End::Server].map(|end| {
                let words = "observe -t TARGET --json --ping-every 100ms";
                let mut observer = self.murphy(words, end).start();
                observer.until_it_says("observing");
                let pid = observer.pid();
                // What it says must be read while it says so.
                (pid, scope.spawn(move || observer.wait()))
            });
            let ending = Ending(&mix, observers.each_ref().map(|(pid, _)| *pid));
            sleep(BEFORE);
            let mut times = Vec::new();
            for fault in faults {
                let asks = *fault == Fault::SlowDns && is_busy;
                mix.ask_names(asks);
                if asks {
                    sleep(BEFORE);
                }
                let (end, words) = fault.words(is_busy, port);
                let began_ns = boottime_ns();
                let ended = self.murphy(&words, end).run();
                // Without anybody who connects nobody is refused, and where nothing is sent nothing is stalled.
                let had_effect =
                    is_busy || !matches!(fault, Fault::Refuse | Fault::HalfOpen | Fault::SlowDns);
                assert!(ended.code == 0 || !had_effect, "{fault}: {ended:?}");
                let ended_ns = boottime_ns();
                sleep(if is_soak() { GAP } else { GAP_SAMPLE });
                times.push((*fault, began_ns, ended_ns, boottime_ns()));
            }
            drop(ending);
            let said = observers.map(|(_, thread)| {
                let ended = thread.join().expect("it is only waited for");
                assert_eq!(ended.code, 0, "{ended:?}");
                ended.lines()
            });
            for end in ends.into_iter().flatten() {
                end.wait();
            }
            let ends = [End::Client, End::Server].into_iter().zip(&said);
            let cells = ends.flat_map(|(end, lines)| {
                let peer = if end == End::Client { server } else { client };
                times
                    .iter()
                    .map(move |(fault, began_ns, ended_ns, over_ns)| {
                        let name = format!(
                            "{fault}, {end:?} side, {}, {}, {}",
                            if is_v4 { "IPv4" } else { "IPv6" },
                            self.name,
                            if is_busy { "busy" } else { "idle" },
                        );
                        let found = lines.iter().filter(|line| line["event"] == "found");
                        let found = found.filter(|line| {
                            let at_ns = line["found_ns"].as_u64().expect("a time");
                            (*began_ns..*over_ns).contains(&at_ns)
                        });
                        let snapshots = lines.iter().filter(|line| line["event"] == "snapshot");
                        let last = snapshots.map(|line| &line["snapshot"]).rfind(|snapshot| {
                            snapshot["at_ns"]
                                .as_u64()
                                .is_some_and(|at_ns| at_ns <= *ended_ns)
                        });
                        judge(
                            name,
                            *fault,
                            &fault.expected(end, is_busy),
                            (peer, fault.port(port)),
                            *began_ns,
                            &found.collect::<Vec<_>>(),
                            last,
                        )
                    })
            });
            let said = cells.inspect(|cell| {
                if !cell.is_right || cell.findings[1] > 0 {
                    println!("{}: {}", cell.name, cell.why);
                }
            });
            said.collect()
        })
    }
}

fn is_soak() -> bool {
    env::var_os("MURPHY_SOAK").is_some()
}

fn guard_or_skip() -> Option<Guard> {
    let guard = Guard::root_or_skip()?;
    if let Err(error) = tcp_events::trial() {
        say_skipped(&error.to_string());
        return None;
    }
    Some(guard)
}

/// What came of one fault for one observer.
#[derive(Debug)]
struct Cell {
    name: String,
    is_right: bool,
    /// How many findings were true, and how many were not.
    findings: [usize; 2],
    /// How long it took, where that matters.
    took: Option<Duration>,
    why: String,
}

fn judge(
    name: String,
    fault: Fault,
    expected: &Expected,
    (peer, port): (IpAddr, u16),
    began_ns: u64,
    found: &[&Value],
    snapshot: Option<&Value>,
) -> Cell {
    let is_here = |edge: &Value| {
        edge["peer"] == peer.to_string() && edge["port"].as_u64() == Some(port.into())
    };
    // What belongs to no peer of a target's.
    let is_whole = |edge: &Value| edge["peer"] == "::" && edge["port"].as_u64() == Some(0);
    let word = |finding: &Value, name: &str| finding[name].as_str().unwrap_or("").to_owned();
    let is_expected = |finding: &Value| match expected {
        Expected::Found(kind, direction) => {
            is_here(&finding["edge"])
                && (word(finding, "kind"), word(finding, "direction"))
                    == ((*kind).into(), (*direction).into())
        }
        Expected::Insufficient => false,
    };
    let is_true = |finding: &Value| {
        is_expected(finding)
            || ((is_here(&finding["edge"]) || is_whole(&finding["edge"]))
                && fault.explains(&word(finding, "kind"), &word(finding, "direction")))
    };
    let hits = found.iter().filter(|finding| is_true(finding)).count();
    let first = found.iter().find(|finding| is_expected(finding));
    let took = first.map(|finding| {
        let at_ns = finding["found_ns"].as_u64().expect("a time");
        Duration::from_nanos(at_ns - began_ns)
    });
    let mut is_right = match expected {
        Expected::Found(..) => first.is_some(),
        Expected::Insufficient => {
            let edges = snapshot.and_then(|snapshot| snapshot["edges"].as_array());
            let edge = edges.into_iter().flatten().find(|edge| is_here(edge));
            let unseen = edge.map(|edge| &edge["unseen"]);
            match (fault, unseen) {
                (Fault::SlowDns, None) => true,
                (Fault::Loss(_), Some(unseen)) => {
                    hits > 0
                        || unseen["loss_below"]
                            .as_f64()
                            .is_some_and(|share| share > 0.01)
                }
                (Fault::Refuse, Some(unseen)) => unseen["connects"] == true,
                (Fault::HalfOpen, Some(unseen)) => unseen["half_open"] == true,
                _ => false,
            }
        }
    };
    let mut why = Vec::new();
    if fault == Fault::Loss(30)
        && let Some(finding) = first
    {
        let bound = |place: usize| finding["size"]["share"]["interval"][place].as_f64();
        let (low, high) = (bound(0).expect("a share"), bound(1).expect("a share"));
        if !(low..=high).contains(&0.3) {
            is_right = false;
            why.push(format!("30 % is not within {low:.3} to {high:.3}"));
        }
    }
    if fault.is_urgent() && took.is_some_and(|took| took > SOON) {
        is_right = false;
        why.push(format!("found after {took:?}"));
    }
    if !is_right || hits < found.len() {
        why.push(format!(
            "expected {expected:?} of {peer} port {port}; found {found:?}"
        ));
        if *expected == Expected::Insufficient {
            why.push(format!("{snapshot:?}"));
        }
    }
    Cell {
        name,
        is_right,
        findings: [hits, found.len() - hits],
        took: took.filter(|_| fault.is_urgent()),
        why: why.join("; "),
    }
}

/// Precision, recall and how long it took; fails where they are too small.
fn sum_up(cells: &[Cell], least: f64) {
    let right = cells.iter().filter(|cell| cell.is_right).count();
    let [hits, alarms] = [0, 1].map(|which| {
        let some = cells.iter().map(|cell| cell.findings[which]);
        some.sum::<usize>()
    });
    let slowest = cells
        .iter()
        .filter_map(|cell| Some((cell.took?, &cell.name)))
        .max();
    let (recall, precision) = (
        right as f64 / cells.len() as f64,
        hits as f64 / (hits + alarms).max(1) as f64,
    );
    println!(
        "figure: {right} of {} cells as expected (recall {recall:.3}), {hits} of {} findings true (precision {precision:.3}); of partitions, latency and losses of 30 % the slowest took {:.1} s ({})",
        cells.len(),
        hits + alarms,
        slowest.map_or(0.0, |(took, _)| took.as_secs_f64()),
        slowest.map_or("", |(_, name)| name),
    );
    assert!(recall >= least && precision >= least, "see above");
}

#[test]
fn every_fault_is_found_at_both_ends_or_said_to_be_unseen() {
    let is_soak = is_soak();
    let only = env::var("MURPHY_MATRIX").unwrap_or_default();
    let (named, contained) = scope(|scope| {
        let run = move |lab: Option<Lab>, traffic: &[(bool, bool, &[Fault])]| {
            let lab = lab?;
            let ran = traffic
                .iter()
                .flat_map(|(is_v4, is_busy, faults)| lab.run(*is_v4, *is_busy, faults));
            Some(ran.collect::<Vec<_>>())
        };
        let all = [(true, true), (false, true), (true, false), (false, false)];
        let all = all.map(|(is_v4, is_busy)| (is_v4, is_busy, &FAULTS[..]));
        let (named, contained): (Vec<_>, Vec<_>) = if is_soak {
            (all.to_vec(), all.to_vec())
        } else {
            (
                vec![(false, true, &[Fault::HalfOpen, Fault::SlowDns][..])],
                vec![(true, false, &[Fault::BothWays, Fault::Refuse][..])],
            )
        };
        let named =
            (only != "container").then(|| scope.spawn(move || run(Lab::named_or_skip(), &named)));
        let contained = (only != "netns")
            .then(|| scope.spawn(move || run(Lab::contained_or_skip(), &contained)));
        let cells = |ran: Option<std::thread::ScopedJoinHandle<'_, Option<Vec<Cell>>>>| {
            ran.and_then(|ran| ran.join().expect("it has not failed"))
        };
        (cells(named), cells(contained))
    });
    let cells: Vec<Cell> = named.into_iter().chain(contained).flatten().collect();
    if cells.is_empty() {
        return;
    }
    // Of the few cells of a sample none may fail.
    sum_up(&cells, if is_soak { 0.98 } else { 1.0 });
}

/// Not a test: where one end of the traffic lives, when it is told so.
#[test]
fn an_end_of_the_traffic() {
    traffic_mix::live();
}
