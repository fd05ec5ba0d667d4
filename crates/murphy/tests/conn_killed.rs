//! `kill -9` of the injector of ended connections, of its keeper, and of both, at random instants, and a Murphy that is
//! stopped: whoever comes is taken in at once, what passed nowhere passes again, and nothing is left then.
//!
//! A sample by default; three hundred with `MURPHY_SOAK=1`.
#![allow(
    clippy::print_stdout,
    reason = "the soak reads the figure that is printed"
)]

#[path = "../../murphy-sys/tests/wire/mod.rs"]
mod wire;

mod harness;
mod network;
mod stage;
mod victims;

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fmt, fs,
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread::sleep,
    time::{Duration, Instant},
};

use harness::{patience, say_skipped, signal, slack, wait_until};
use libbpf_rs::query::ProgInfoIter;
use murphy_sys::{
    flows, socket_iterator,
    traffic::{Detached, detach},
};
use network::{Disturbance, made};
use rand::{RngExt, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use stage::Stage;
use victims::{Heard, Line};

/// How many kills a sample and the full figure have.
const SAMPLE: usize = 20;
const FULL: usize = 300;
/// So long at most after a beginning a kill comes: it falls before a fault is in force, in the middle, or after.
const INSTANT_MS: u64 = 300;
/// How many connections are there before.
const POOL_SIZE: usize = 6;
/// How long lies between two that come.
const COME_EVERY: Duration = Duration::from_millis(5);
/// The loopback's number, in every namespace.
const LOOPBACK: u32 = 1;

/// The faults, whose port is named by the last word, and whether those that are there before are to survive them.
const FAULTS: [(&str, Pool); 16] = [
    ("--rate 100% --how stall --port", Pool::Survives),
    ("--rate 100% --new 100% --how stall --port", Pool::Survives),
    ("--rate 50% --how reset-local --local-port", Pool::IsHit),
    (
        "--rate 50% --how reset-local --engine iterator --remote-port",
        Pool::IsHit,
    ),
    ("--rate 50% --how reset-remote --local-port", Pool::IsHit),
    ("--rate 100% --how after-bytes=10KiB --port", Pool::Survives),
    (
        "--rate 100% --how after-bytes=10KiB --engine iterator --local-port",
        Pool::Survives,
    ),
    ("--rate 100% --how max-age=400ms --port", Pool::IsHit),
    (
        "--rate 50% --how max-age=400ms --engine iterator --local-port",
        Pool::IsHit,
    ),
    ("--rate 20% --every 200ms --local-port", Pool::IsHit),
    (
        "--rate 20% --every 200ms --engine iterator --remote-port",
        Pool::IsHit,
    ),
    ("--new 100% --how refuse --local-port", Pool::Survives),
    ("--new 100% --how refuse --remote-port", Pool::Survives),
    ("--new 100% --how refuse --port", Pool::Survives),
    ("--new 50% --port", Pool::Survives),
    ("--new 100% --how close --local-port", Pool::Survives),
];

/// What a fault does to connections that are there before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pool {
    Survives,
    IsHit,
}

/// Who is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kill {
    Injector,
    InjectorThenKeeper,
    KeeperThenInjector,
}

impl Kill {
    const ALL: [Self; 3] = [
        Self::Injector,
        Self::InjectorThenKeeper,
        Self::KeeperThenInjector,
    ];
}

/// From when on a kill is timed: a busy machine may take long until a fault is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Since {
    Start,
    InForce,
}

/// One kill of the series.
#[derive(Clone, Copy, Debug)]
struct Case {
    fault: &'static str,
    pool: Pool,
    is_v4: bool,
    kill: Kill,
    since: Since,
    instant: Duration,
}

impl Case {
    /// Whether packets may be held until somebody removes what holds them.
    fn lasts(&self) -> bool {
        let holds_packets = ["stall", "reset-", "after-bytes"];
        self.kill != Kill::Injector
            && holds_packets.iter().any(|how| self.fault.contains(how))
            && flows::trial().is_err()
    }
}

#[derive(Default)]
struct Figures {
    kills: usize,
    in_force: usize,
    /// Connections that had ended, or had not come about.
    hit: usize,
    stale: usize,
    /// Until somebody who comes is taken in, and until those that are there pass what they are given.
    at_once: Duration,
    again: Duration,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "figure: {} kills, {} of them while a fault was in force, {} connections hit by then, {} left a stale journal that recover ended; who came was taken in within {} ms after a kill, what had been held passed within {} ms",
            self.kills,
            self.in_force,
            self.hit,
            self.stale,
            self.at_once.as_millis(),
            self.again.as_millis()
        )
    }
}

/// Somebody who listens, and connections to him, both of whose ends are in the test's hands, by the address of who asked.
struct Server<'a> {
    stage: &'a Stage,
    listener: TcpListener,
    to: SocketAddr,
    accepted: BTreeMap<SocketAddr, TcpStream>,
    opened: BTreeMap<SocketAddr, TcpStream>,
}

/// Both ends of a connection, whose owners give each other a byte now and then.
struct Pair {
    ends: [TcpStream; 2],
    /// How many bytes are still to come at each.
    owed: [usize; 2],
    fates: [Option<Fate>; 2],
}

/// What an end of a connection comes to, as its owner sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// All that it was sent has come.
    Passes,
    Over,
}

impl<'a> Server<'a> {
    fn with_pool(stage: &'a Stage, is_v4: bool) -> Self {
        let listener = stage.listen(is_v4);
        listener.set_nonblocking(true).expect("a socket");
        let mut server = Self {
            to: listener.local_addr().expect("it is bound"),
            stage,
            listener,
            accepted: BTreeMap::new(),
            opened: BTreeMap::new(),
        };
        for _ in 0..POOL_SIZE {
            server.takes_in();
        }
        server
    }

    fn words(&self, fault: &str) -> Vec<String> {
        let port = self.to.port().to_string();
        let words = fault.split(' ').map(str::to_owned);
        words.chain([port]).collect()
    }

    fn accept(&mut self) {
        loop {
            match self.listener.accept() {
                Ok((stream, from)) => drop(self.accepted.insert(from, stream)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // One that was hit before anybody has taken it.
                Err(_) => {}
            }
        }
    }

    /// Somebody asks for a connection; says by which address, if it has come about.
    fn is_asked(&mut self) -> io::Result<SocketAddr> {
        let connect = || {
            let stream = TcpStream::connect(self.to)?;
            Ok((stream.local_addr()?, stream))
        };
        let opened: io::Result<_> = self.stage.namespace.run(connect).expect("a namespace");
        self.accept();
        let (from, stream) = opened?;
        self.opened.insert(from, stream);
        Ok(from)
    }

    /// Somebody asks, and has to be taken in.
    fn takes_in(&mut self) {
        let from = self.is_asked().expect("nobody is refused");
        let until = Instant::now() + patience();
        while !self.accepted.contains_key(&from) {
            assert!(Instant::now() < until, "{from} is not taken in");
            sleep(Duration::from_millis(1));
            self.accept();
        }
    }

    /// One after the other asks, for as long as something is so; how many did in vain.
    fn is_asked_while(&mut self, is_so: impl Fn() -> bool) -> usize {
        let mut in_vain = 0;
        while is_so() {
            in_vain += usize::from(self.is_asked().is_err());
            sleep(COME_EVERY);
        }
        in_vain
    }

    /// Those that have come about, from now on as pairs.
    fn pairs(&mut self) -> Vec<Pair> {
        self.accept();
        let opened = std::mem::take(&mut self.opened);
        let both = opened.into_iter().filter_map(|(from, opened)| {
            let accepted = self.accepted.remove(&from)?;
            Some(Pair::of([accepted, opened]))
        });
        both.collect()
    }
}

impl Pair {
    fn of(ends: [TcpStream; 2]) -> Self {
        for end in &ends {
            end.set_nonblocking(true).expect("a socket");
        }
        Self {
            ends,
            owed: [0; 2],
            fates: [None; 2],
        }
    }

    /// Each owner gives the other a byte.
    fn talk(&mut self) {
        for place in 0..2 {
            match (&self.ends[place]).write_all(b"a") {
                Ok(()) => self.owed[1 - place] += 1,
                Err(_) => self.fates[place] = Some(Fate::Over),
            }
        }
    }

    /// Takes what has come; says whether it is known what becomes of both ends.
    fn is_settled(&mut self) -> bool {
        for place in 0..2 {
            if self.fates[place].is_some() {
                continue;
            }
            match (&self.ends[place]).read(&mut [0; 16]) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) | Ok(0) => self.fates[place] = Some(Fate::Over),
                Ok(bytes) => self.owed[place] -= bytes,
            }
            // Who has got nothing because the other end has sent nothing is not known to be connected.
            let has_all = self.owed[place] == 0 && self.fates[1 - place] != Some(Fate::Over);
            if self.fates[place].is_none() && has_all {
                self.fates[place] = Some(Fate::Passes);
            }
        }
        self.fates.iter().all(Option::is_some)
    }
}

/// What becomes of connections whose owners go on using them: of both ends the same.
fn fates(pairs: &mut [Pair], case: &dyn fmt::Debug) -> Vec<Fate> {
    pairs.iter_mut().for_each(Pair::talk);
    let until = Instant::now() + patience();
    while !pairs.iter_mut().all(Pair::is_settled) {
        let left = pairs.iter().filter(|pair| pair.fates.contains(&None));
        let left: Vec<_> = left.map(|pair| (&pair.ends, pair.fates)).collect();
        assert!(Instant::now() < until, "nothing passes {left:?}: {case:?}");
        sleep(Duration::from_millis(2));
    }
    let fates = pairs.iter().map(|pair| {
        let [accepted, opened] = pair.fates;
        assert_eq!(accepted, opened, "{:?}: {case:?}", pair.ends);
        accepted.expect("all are settled")
    });
    fates.collect()
}

/// The programs of Murphy's in this kernel, by their numbers.
fn programs() -> BTreeSet<u32> {
    let all = ProgInfoIter::default();
    let ours = all.filter(|program| program.name.to_string_lossy().starts_with("murphy_"));
    ours.map(|program| program.id).collect()
}

/// Those of them that no process holds: something else does, for good.
fn programs_left() -> BTreeSet<u32> {
    let mut left = programs();
    let held = |directory: &fs::DirEntry| {
        let infos = fs::read_dir(directory.path().join("fdinfo"));
        let infos = infos.into_iter().flatten().flatten();
        let texts = infos.filter_map(|info| fs::read_to_string(info.path()).ok());
        let id = |text: String| {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix("prog_id:"))?;
            line.trim().parse().ok()
        };
        texts.filter_map(id).collect::<Vec<u32>>()
    };
    if !left.is_empty() {
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        for id in processes.flat_map(|process| held(&process)) {
            left.remove(&id);
        }
    }
    left
}

/// Expects that nothing of Murphy's is left of these injections: neither in the kernel, nor in the journal, nor a process.
fn nothing_is_left(stage: &Stage, ids: &[String], case: &dyn fmt::Debug) {
    let guard = &stage.guard;
    assert_eq!(guard.injections(), [""; 0], "{case:?}");
    wait_until("no process is left", || guard.marked_pids().is_empty());
    assert_eq!(made(&stage.namespace, LOOPBACK), [""; 0], "{case:?}");
    for id in ids {
        let id = u32::from_str_radix(id, 16).expect("six hex digits");
        assert_eq!(detach(id).expect("root"), Detached::Nowhere, "{case:?}");
    }
    // The kernel frees them when nobody can be in the middle of one.
    wait_until("no program is left", || programs_left().is_empty());
}

/// As many as that, drawn by a seed: every fault meets every kind of kill before one does again.
fn cases(stage: &Stage, count: usize) -> Vec<Case> {
    let mut rng = ChaCha8Rng::seed_from_u64(12);
    let iterates = socket_iterator::trial(&stage.namespace)
        .inspect_err(|error| say_skipped(&error.to_string()))
        .is_ok();
    let faults = FAULTS.into_iter();
    let faults = faults.filter(|(fault, _)| iterates || !fault.contains("iterator"));
    let pairs: Vec<_> = faults
        .flat_map(|fault| Kill::ALL.map(|kill| (fault, kill)))
        .collect();
    let mut cases = Vec::new();
    while cases.len() < count {
        let mut round = pairs.clone();
        round.shuffle(&mut rng);
        for ((fault, pool), kill) in round {
            cases.push(Case {
                fault,
                pool,
                is_v4: cases.len() % 2 == 0,
                kill,
                since: if rng.random_bool(0.5) {
                    Since::Start
                } else {
                    Since::InForce
                },
                instant: Duration::from_millis(rng.random_range(0..INSTANT_MS)),
            });
        }
    }
    cases.truncate(count);
    cases
}

#[test]
fn everybody_is_connected_again_whoever_is_killed_whenever() {
    let Some(stage) = Stage::set_or_skip() else {
        return;
    };
    let count = if env::var_os("MURPHY_SOAK").is_some() {
        FULL
    } else {
        SAMPLE
    };
    let mut figures = Figures::default();
    for case in cases(&stage, count) {
        kill(&stage, &case, &mut figures);
    }
    println!("{figures}");
    assert!(figures.in_force > 0, "no kill fell into one: {figures}");
    assert!(figures.hit > 0, "nobody was hit: {figures}");
}

/// Whether Murphy says that a fault is in force.
fn is_of_force(line: &Line) -> bool {
    line.text.contains("(engine ")
}

fn kill(stage: &Stage, case: &Case, figures: &mut Figures) {
    let guard = &stage.guard;
    let mut server = Server::with_pool(stage, case.is_v4);
    let mut pool = server.pairs();
    let words = [
        env!("CARGO_BIN_EXE_murphy"),
        "inject",
        "conn",
        "--for",
        "60s",
        "-t",
    ];
    let words = words.map(str::to_owned).into_iter();
    let words = words.chain([stage.named.target(0)]);
    let words = words.chain(server.words(case.fault));
    let injector = Heard::start_as(guard, words, |murphy| {
        murphy.env("MURPHY_JOURNAL", guard.journal())
    });
    let is_in_force = || injector.since(0).iter().any(is_of_force);
    let mut in_vain = 0;
    if case.since == Since::InForce {
        let until = Instant::now() + patience();
        in_vain = server.is_asked_while(|| !is_in_force() && Instant::now() < until);
        assert!(is_in_force(), "it never is: {case:?}");
    }
    let until = Instant::now() + case.instant;
    in_vain += server.is_asked_while(|| Instant::now() < until);
    let mut newcomers = server.pairs();
    for pair in pool.iter_mut().chain(&mut newcomers) {
        pair.talk();
    }
    let ids = guard.injections();
    let keeper = || {
        if let Some(keeper) = guard.keeper() {
            signal(keeper, "KILL");
        }
    };
    if case.kill == Kill::KeeperThenInjector {
        keeper();
    }
    injector.signal("KILL");
    let killed = Instant::now();
    if case.kill == Kill::InjectorThenKeeper {
        keeper();
    }
    let (_, said) = injector.wait();
    figures.kills += 1;
    figures.in_force += usize::from(said.iter().any(is_of_force));
    // Whoever looks at links just then, as another test may, holds them a moment longer.
    while server.is_asked().is_err() {
        assert!(killed.elapsed() < patience(), "{case:?}");
    }
    figures.at_once = figures.at_once.max(killed.elapsed());
    if case.lasts() {
        recover(stage, case, figures);
    }
    let of_pool = fates(&mut pool, case);
    let of_newcomers = fates(&mut newcomers, case);
    figures.again = figures.again.max(killed.elapsed());
    let over = |fates: &[Fate]| fates.iter().filter(|fate| **fate == Fate::Over).count();
    if case.pool == Pool::Survives {
        assert_eq!(over(&of_pool), 0, "{case:?}");
    }
    figures.hit += in_vain + over(&of_pool) + over(&of_newcomers);
    recover(stage, case, figures);
    server.takes_in();
    assert_eq!(
        fates(&mut server.pairs(), case),
        [Fate::Passes; 2],
        "{case:?}"
    );
    nothing_is_left(stage, &ids, case);
}

/// Waits for the keeper, and recovers what it has left because it was killed itself.
fn recover(stage: &Stage, case: &Case, figures: &mut Figures) {
    let guard = &stage.guard;
    if guard.keeper().is_some() {
        wait_until("the keeper is done", || guard.keeper().is_none());
    }
    if !guard.injections().is_empty() {
        let left = guard.injections();
        assert_ne!(case.kill, Kill::Injector, "its keeper left {left:?}");
        figures.stale += 1;
        let recovered = guard.murphy(["recover"]).run();
        assert_eq!(recovered.code, 0, "{recovered:?}");
    }
}

const STALL: &str = "--rate 100% --how stall --port";
const REFUSE: &str = "--new 100% --how refuse --port";

/// A fault in force, whose Murphy is stopped.
struct Stopped<'a> {
    server: Server<'a>,
    pool: Vec<Pair>,
    fault: &'static str,
    injected: Disturbance<'a>,
}

impl<'a> Stopped<'a> {
    fn inject(stage: &'a Stage, fault: &'static str, is_v4: bool, time: Duration) -> Self {
        let mut server = Server::with_pool(stage, is_v4);
        let pool = server.pairs();
        let words = server.words(&format!("--for {}s {fault}", time.as_secs()));
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        let target = stage.named.target(0);
        let injected = Disturbance::of_family(&stage.guard, "conn", &target, &words);
        injected.signal("STOP");
        Self {
            server,
            pool,
            fault,
            injected,
        }
    }

    /// It goes on without its Murphy.
    fn is_in_force(&mut self) {
        assert!(!programs().is_empty(), "{}", self.fault);
        if self.fault == STALL {
            self.pool.iter_mut().for_each(Pair::talk);
            sleep(Duration::from_millis(300));
            let is_quiet = |pair: &mut Pair| !pair.is_settled() && pair.owed == [1, 1];
            assert!(self.pool.iter_mut().all(is_quiet), "nothing passes");
        } else {
            let refused = self.server.is_asked().expect_err("everybody is refused");
            assert_eq!(
                refused.kind(),
                ErrorKind::ConnectionRefused,
                "{}",
                self.fault
            );
        }
    }

    fn is_over(&mut self) {
        self.server.takes_in();
        self.pool.extend(self.server.pairs());
        let fates = fates(&mut self.pool, &self.fault);
        assert_eq!(fates, [Fate::Passes; POOL_SIZE + 1], "{}", self.fault);
    }

    /// Its Murphy goes on, and finds that it is over.
    fn goes_on(self) -> String {
        let id = self.injected.id.clone();
        self.injected.signal("CONT");
        self.injected.wait();
        id
    }
}

#[test]
fn a_stopped_murphy_holds_nobody_longer_than_it_was_asked_to() {
    let Some(stage) = Stage::set_or_skip() else {
        return;
    };
    // A slow machine takes some of it to begin.
    let time = Duration::from_secs((2 + 2 * slack()).into());
    let all = [(STALL, true), (REFUSE, false)].map(|(fault, is_v4)| {
        let mut stopped = Stopped::inject(&stage, fault, is_v4, time);
        let began = Instant::now();
        stopped.is_in_force();
        (began, stopped)
    });
    // Nobody but the kernel is left to end it.
    signal(stage.guard.keeper().expect("it is at work"), "KILL");
    let ids = all.map(|(began, mut stopped)| {
        sleep((time + Duration::from_millis(100)).saturating_sub(began.elapsed()));
        stopped.is_over();
        stopped.goes_on()
    });
    nothing_is_left(&stage, &ids, &"stopped");
}

#[test]
fn anybody_recovers_what_a_stopped_murphy_holds() {
    let Some(stage) = Stage::set_or_skip() else {
        return;
    };
    let guard = &stage.guard;
    for (fault, is_v4) in [
        (STALL, false),
        ("--new 100% --how refuse --local-port", true),
        ("--new 100% --how refuse --remote-port", false),
        (REFUSE, true),
    ] {
        let mut stopped = Stopped::inject(&stage, fault, is_v4, Duration::from_mins(1));
        stopped.is_in_force();
        let id = stopped.injected.id.clone();
        let recovered = guard.murphy(["recover", &id]).run();
        assert_eq!(recovered.code, 0, "{fault}: {recovered:?}");
        // Its Murphy still has them, and they are attached nowhere.
        let number = u32::from_str_radix(&id, 16).expect("six hex digits");
        assert_eq!(detach(number).expect("root"), Detached::Nowhere, "{fault}");
        assert_eq!(made(&stage.namespace, LOOPBACK), [""; 0], "{fault}");
        stopped.is_over();
        let id = stopped.goes_on();
        wait_until("the keeper is done", || guard.keeper().is_none());
        nothing_is_left(&stage, &[id], &fault);
    }
}
