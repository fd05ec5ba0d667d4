//! Connections that end by the built binary, in every combination: exactly as many as the share says, the very ones that
//! were planned, and all others answer afterwards.
//!
//! A sample by default; all of them with `MURPHY_SOAK=1`. One end of each connection is held here, the other by
//! `victims/crowd.py`, so that there may be ten thousand of them within the descriptors that a process may have.
#![allow(
    clippy::print_stdout,
    reason = "the soak reads the figure that is printed"
)]

#[path = "../../murphy-sys/tests/wire/mod.rs"]
mod wire;

mod harness;
mod network;
mod victims;

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fmt,
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::{TcpListener, TcpStream},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread::{scope, sleep},
    time::{Duration, Instant},
};

use harness::{Guard, Running, patience, say_skipped, wait_until};
use murphy_sys::{connections, namespace::NetNamespace};
use network::{Named, ip};
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::Value;

/// How many connections there are.
const COUNTS: [usize; 7] = [1, 2, 3, 10, 100, 1000, 10_000];
/// Shares, in words and in thousandths.
const RATES: [(&str, usize); 6] = [
    ("0.5%", 5),
    ("10%", 100),
    ("29%", 290),
    ("33.3%", 333),
    ("57%", 570),
    ("100%", 1000),
];
/// How many combinations a sample has, and how many connections at most.
const SAMPLE: usize = 25;
const SAMPLE_COUNT_MAX: usize = 1000;
/// What a sample is drawn by.
const SEED: u64 = 7;
/// Who keeps connections busy.
const THREADS: usize = 2;
const ROUND: Duration = Duration::from_millis(1);

/// One combination.
#[derive(Clone, Copy, Debug)]
struct Case {
    count: usize,
    rate: (&'static str, usize),
    is_v4: bool,
    is_accepted: bool,
    is_busy: bool,
}

impl Case {
    fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for count in COUNTS {
            for rate in RATES {
                for bits in 0..8 {
                    all.push(Self {
                        count,
                        rate,
                        is_v4: bits & 1 == 0,
                        is_accepted: bits & 2 == 0,
                        is_busy: bits & 4 == 0,
                    });
                }
            }
        }
        all
    }

    /// How many are to end: the share, rounded up.
    fn k(&self) -> usize {
        (self.count * self.rate.1).div_ceil(1000)
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = if self.is_v4 { "IPv4" } else { "IPv6" };
        let side = if self.is_accepted { "server" } else { "client" };
        let traffic = if self.is_busy { "busy" } else { "idle" };
        let (rate, _) = self.rate;
        write!(f, "{rate} of {}, {family}, {side}, {traffic}", self.count)
    }
}

/// A namespace, and the crowd that connects in it. Both go with the test, before its guard.
struct Stage {
    crowd: Crowd,
    namespace: NetNamespace,
    named: Named,
    guard: Guard,
}

/// Whoever holds the other ends, and takes orders.
struct Crowd {
    orders: BufReader<TcpStream>,
    _process: Running,
}

impl Crowd {
    fn obey(&mut self, order: &str) -> String {
        writeln!(self.orders.get_ref(), "{order}").expect("it takes orders");
        let mut answer = String::new();
        let read = self.orders.read_line(&mut answer).expect("it answers");
        assert_ne!(read, 0, "it ended at {order}");
        answer.trim_end().to_owned()
    }

    /// By their ports: those of its ends that have ended, and how.
    fn ended(&mut self) -> BTreeMap<u16, String> {
        serde_json::from_str(&self.obey("ended")).expect("it says so in JSON")
    }
}

impl Stage {
    fn set_or_skip() -> Option<Self> {
        let guard = Guard::root_or_skip()?;
        let (named, namespaces) = Named::make(&guard, ["m".to_owned()]);
        let namespace = namespaces.into_iter().next().expect("one was made");
        assert!(ip(&["-n", named.name(0), "link", "set", "lo", "up"]));
        if let Err(error) = connections::trial(&namespace) {
            say_skipped(&error.to_string());
            return None;
        }
        let mut limit = getrlimit(Resource::Nofile);
        limit.current = limit.maximum;
        setrlimit(Resource::Nofile, limit).expect("up to the maximum everybody may");
        let listener = listen(&namespace, true);
        let port = listener.local_addr().expect("it is bound").port();
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/../../victims/crowd.py");
        let started = namespace.run(|| {
            let python = guard.program("python3".as_ref());
            python
                .args([program, "127.0.0.1", &port.to_string()])
                .start()
        });
        let process = started.expect("a namespace");
        let (orders, _) = listener.accept().expect("it comes for its orders");
        let timeout = Some(patience());
        orders.set_read_timeout(timeout).expect("a socket");
        Some(Self {
            guard,
            named,
            namespace,
            crowd: Crowd {
                orders: BufReader::new(orders),
                _process: process,
            },
        })
    }

    /// This end of so many connections that the crowd has made, and the port that it has made them to.
    fn pool(&mut self, case: &Case) -> (u16, Vec<End>) {
        let listener = listen(&self.namespace, case.is_v4);
        let to = listener.local_addr().expect("it is bound");
        let ends = scope(|scope| {
            let accepting = scope.spawn(|| {
                let come = || End::of(listener.accept().expect("somebody has come").0);
                (0..case.count).map(|_| come()).collect()
            });
            let order = format!("open {} {} {}", to.ip(), to.port(), case.count);
            assert_eq!(self.crowd.obey(&order), "opened");
            accepting.join().expect("it only accepts")
        });
        // Who listens stays: that is what an accepted connection is known by.
        std::mem::forget(listener);
        (to.port(), ends)
    }

    /// What Murphy says last.
    fn murphy(&self, words: &str) -> Value {
        let words = format!("inject conn --json -t {} {words}", self.named.target(0));
        let ended = self.guard.murphy(words.split(' ')).run();
        assert_eq!(ended.code, 0, "{words}: {ended:?}");
        ended.lines().pop().expect("it says something")
    }
}

fn listen(namespace: &NetNamespace, is_v4: bool) -> TcpListener {
    let host = if is_v4 { "127.0.0.1" } else { "::1" };
    let bound = namespace.run(|| TcpListener::bind((host, 0)));
    bound.expect("a namespace").expect("a socket")
}

/// This end of a connection.
struct End {
    stream: TcpStream,
    /// The port of the other end.
    port: u16,
    /// How many questions were sent over it, and how many answers came.
    asked: usize,
    answered: usize,
    error: Option<ErrorKind>,
}

impl End {
    fn of(stream: TcpStream) -> Self {
        stream.set_nonblocking(true).expect("a socket");
        stream.set_nodelay(true).expect("a socket");
        let port = stream.peer_addr().expect("it is connected").port();
        Self {
            stream,
            port,
            asked: 0,
            answered: 0,
            error: None,
        }
    }

    /// Asks, if the last question was answered.
    fn ask(&mut self) {
        if self.error.is_none() && self.asked == self.answered {
            match self.stream.write_all(b"a") {
                Ok(()) => self.asked += 1,
                Err(error) => self.error = Some(error.kind()),
            }
        }
    }

    /// Reads the answer, if it is there; says whether it was.
    fn hear(&mut self) -> bool {
        if self.error.is_some() {
            return false;
        }
        match self.stream.read(&mut [0]) {
            Ok(0) => self.error = Some(ErrorKind::UnexpectedEof),
            Ok(_) => {
                self.answered += 1;
                return true;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => self.error = Some(error.kind()),
        }
        false
    }
}

/// Asks over all of them again and again, until it is over.
fn keep_busy(ends: &mut [End], answers: &AtomicUsize, is_over: &AtomicBool) {
    while !is_over.load(Ordering::Relaxed) {
        for end in &mut *ends {
            end.ask();
            if end.hear() {
                answers.fetch_add(1, Ordering::Relaxed);
            }
        }
        sleep(ROUND);
    }
}

/// Says that it is over when it goes, however that comes.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Does something while all connections carry questions and answers.
fn while_busy<T>(ends: &mut [End], act: impl FnOnce() -> T) -> T {
    let (count, size) = (ends.len(), ends.len().div_ceil(THREADS));
    let (answers, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    scope(|scope| {
        // Whoever fails must not leave the others asking for ever.
        let _over = Over(&is_over);
        for ends in ends.chunks_mut(size) {
            scope.spawn(|| keep_busy(ends, &answers, &is_over));
        }
        let answers = || answers.load(Ordering::Relaxed);
        wait_until("all are busy", || answers() >= 2 * count);
        let before = answers();
        let done = act();
        assert!(answers() > before, "nothing passed meanwhile");
        done
    })
}

/// The ports of the crowd's ends of those that are to end, by a plan.
fn planned(plan: &Value, case: &Case) -> BTreeSet<u16> {
    let changes = plan["plan"]["changes"]
        .as_array()
        .expect("a plan has changes");
    let port = |line: &Value| {
        let ends = line.as_str()?.split(" (").next()?;
        let (local, remote) = ends.split_once(" to ")?;
        let end = if case.is_accepted { remote } else { local };
        end.rsplit(':').next()?.parse().ok()
    };
    changes.iter().filter_map(port).collect()
}

/// Plays one combination; gives how many ended and how many answered.
fn play(stage: &mut Stage, case: &Case, seed: u64) -> (usize, usize) {
    let (port, mut ends) = stage.pool(case);
    let side = if case.is_accepted { "local" } else { "remote" };
    let words = format!("--{side}-port {port} --rate {} --seed {seed}", case.rate.0);
    let act = || {
        let plan = stage.murphy(&format!("{words} --dry-run"));
        (plan, stage.murphy(&words))
    };
    let (plan, last) = if case.is_busy {
        while_busy(&mut ends, act)
    } else {
        act()
    };
    let (n, k, effect) = (case.count, case.k(), &last["effect"]);
    let figures = ["before", "asked", "ended", "redrawn", "now"].map(|name| &effect[name]);
    assert_eq!(figures, [n, k, k, 0, n - k], "{case}: {effect}");

    // The others answer: questions that were under way, and one more each.
    let until = Instant::now() + patience();
    for end in &mut ends {
        while end.hear() {}
    }
    let is_waiting = |end: &End| end.error.is_none() && end.answered < end.asked;
    for round in 0..2 {
        while ends.iter().any(is_waiting) {
            assert!(Instant::now() < until, "{case}: some do not answer");
            for end in &mut ends {
                end.hear();
            }
        }
        if round == 0 {
            ends.iter_mut().for_each(End::ask);
        }
    }

    let here: BTreeMap<u16, ErrorKind> = ends
        .iter()
        .filter_map(|end| Some((end.port, end.error?)))
        .collect();
    let there = stage.crowd.ended();
    assert_eq!(here.len(), k, "{case}");
    assert!(here.keys().eq(there.keys()), "{case}: both ends are told");
    assert!(
        planned(&plan, case).iter().eq(here.keys()),
        "{case}: {plan}"
    );
    let (own, other) = (ErrorKind::ConnectionAborted, ErrorKind::ConnectionReset);
    let (kind, name) = if case.is_accepted {
        (own, "ECONNRESET")
    } else {
        (other, "ECONNABORTED")
    };
    assert!(
        here.values().all(|error| *error == kind),
        "{case}: {here:?}"
    );
    assert!(
        there.values().all(|error| error == name),
        "{case}: {there:?}"
    );
    let survived = ends.iter().filter(|end| end.error.is_none());
    assert!(survived.clone().all(|end| end.answered > 0), "{case}");
    assert_eq!(stage.crowd.obey("close"), "closed");
    (k, survived.count())
}

#[test]
fn exactly_the_planned_share_ends_in_every_combination_and_the_others_answer() {
    let Some(mut stage) = Stage::set_or_skip() else {
        return;
    };
    let mut cases = Case::all();
    let all = cases.len();
    if env::var_os("MURPHY_SOAK").is_none() {
        cases.retain(|case| case.count <= SAMPLE_COUNT_MAX);
        cases.shuffle(&mut ChaCha8Rng::seed_from_u64(SEED));
        cases.truncate(SAMPLE);
    }
    let (mut ended, mut answered) = (0, 0);
    for (seed, case) in cases.iter().enumerate() {
        let (k, others) = play(&mut stage, case, seed as u64);
        ended += k;
        answered += others;
    }
    println!(
        "figure: {} of {all} combinations, each exact and as planned: {ended} connections reset, {answered} others answered",
        cases.len()
    );
}
