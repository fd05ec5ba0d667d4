//! The pool of ten connections of which a fifth ends, once or again and again, while its clients connect again at once: as
//! their clients see it, nobody gets older than chance allows, and nobody is hit who was not there.
//!
//! A hundred draws by default; five minutes of a draw a second with `MURPHY_SOAK=1`.
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
    collections::BTreeMap,
    env,
    io::{ErrorKind, Read},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread::{scope, sleep},
    time::{Duration, Instant},
};

use harness::{slack, wait_until};
use serde_json::Value;
use stage::{Over, Stage};

const CLIENTS: usize = 10;
/// How many end at each draw: a fifth.
const HIT: usize = 2;
/// What a connection survives a draw with.
const SURVIVES: f64 = 0.8;
/// How rarely a test may fail though nothing is wrong.
const RARE: f64 = 1e-6;
/// The first ages of each class of ages, in draws survived: about as many connections die in each.
const CLASSES: [usize; 5] = [0, 1, 2, 4, 7];
/// χ² of four degrees of freedom, as five classes have, exceeds this once in a million times: (1 + x/2) exp(-x/2).
const CHI_SQUARE_MAX: f64 = 33.4;
/// Which share of them are drawn at once makes both vary less: the correction for a finite population.
const FINITE: f64 = (CLIENTS - HIT) as f64 / (CLIENTS - 1) as f64;

/// How often it is drawn, and how long.
#[derive(Clone, Copy, Debug)]
struct Size {
    every: Duration,
    lasts: Duration,
}

impl Size {
    fn asked() -> Self {
        let (every_ms, lasts_s) = match env::var_os("MURPHY_SOAK") {
            Some(_) => (1000, 300),
            None => (200, 20),
        };
        Self {
            every: slack() * Duration::from_millis(every_ms),
            lasts: slack() * Duration::from_secs(lasts_s),
        }
    }

    fn draws(&self) -> usize {
        usize::try_from(self.lasts.as_millis() / self.every.as_millis()).expect("a few")
    }
}

/// A connection as its client saw it.
#[derive(Clone, Copy, Debug)]
struct Life {
    local: SocketAddr,
    began: Instant,
    ended: Option<Instant>,
}

impl Life {
    /// How long it was there.
    fn lasted(&self, over: Instant) -> Duration {
        self.ended.unwrap_or(over) - self.began
    }
}

/// One client: connects, and again whenever its connection has ended.
fn stay_connected(
    stage: &Stage,
    to: SocketAddr,
    connected: &AtomicUsize,
    is_over: &AtomicBool,
) -> Vec<Life> {
    let mut lives = Vec::new();
    let glance = Some(Duration::from_millis(20));
    while !is_over.load(Ordering::Relaxed) {
        let mut stream = stage.connect(to);
        stream.set_read_timeout(glance).expect("a socket");
        connected.fetch_add(1, Ordering::Relaxed);
        lives.push(Life {
            local: stream.local_addr().expect("it is connected"),
            began: Instant::now(),
            ended: None,
        });
        while !is_over.load(Ordering::Relaxed) {
            match stream.read(&mut [0]) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                    lives.last_mut().expect("it is there").ended = Some(Instant::now());
                    break;
                }
                other => panic!("nobody sends or closes: {other:?}"),
            }
        }
    }
    lives
}

/// Takes in whoever comes, and keeps it until its client is gone.
fn take_in(listener: &TcpListener, is_over: &AtomicBool) -> Vec<TcpStream> {
    listener.set_nonblocking(true).expect("a socket");
    let mut all = Vec::new();
    while !is_over.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, _)) => all.push(stream),
            Err(_) => sleep(Duration::from_millis(2)),
        }
    }
    all
}

/// What Murphy says of a fault on the pool, and what the connections of each client were.
fn suffer(stage: &Stage, words: &str) -> (Value, Vec<Vec<Life>>) {
    let listener = stage.listen(true);
    let to = listener.local_addr().expect("it is bound");
    let (connected, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    scope(|scope| {
        let over = Over(&is_over);
        let accepted = scope.spawn(|| take_in(&listener, &is_over));
        let stay = || stay_connected(stage, to, &connected, &is_over);
        let clients = [(); CLIENTS].map(|()| scope.spawn(stay));
        wait_until("all are connected", || {
            connected.load(Ordering::Relaxed) == CLIENTS
        });
        let side = format!("--local-port {} --side accepted", to.port());
        let effect = stage.effect(&format!("{side} {words}"));
        drop(over);
        let lives = clients.map(|client| client.join().expect("it only connects"));
        drop(accepted.join());
        (effect, lives.into())
    })
}

fn number(of: &Value, name: &str) -> usize {
    let number = of[name].as_u64();
    let number = number.unwrap_or_else(|| panic!("no {name} in {of}"));
    usize::try_from(number).expect("a few")
}

/// At which draw each connection has ended that its clients saw ended: the first, the second … of a port are the first,
/// the second … that Murphy names.
fn draws_of(effect: &Value, lives: &[Vec<Life>]) -> Vec<Vec<Option<usize>>> {
    let draws = effect["draws"].as_array().expect("a list");
    let times: Vec<_> = draws.iter().map(|draw| number(draw, "at_ms")).collect();
    let mut named: BTreeMap<SocketAddr, Vec<usize>> = BTreeMap::new();
    for cut in effect["connections"]
        .as_array()
        .expect("a list")
        .iter()
        .rev()
    {
        let remote = cut["remote"].as_str().expect("an address");
        let at = times.binary_search(&number(cut, "at_ms"));
        let of_address = named.entry(remote.parse().expect("an address"));
        of_address.or_default().push(at.expect("a time of a draw"));
    }
    let mut ended: Vec<&Life> = lives.iter().flatten().collect();
    ended.retain(|life| life.ended.is_some());
    ended.sort_by_key(|life| life.ended);
    let mut places = BTreeMap::new();
    for life in ended {
        let of_address = named.get_mut(&life.local).and_then(Vec::pop);
        let draw = of_address.unwrap_or_else(|| panic!("nobody says to have ended {life:?}"));
        places.insert((life.local, life.began), draw);
    }
    let left: usize = named.values().map(Vec::len).sum();
    assert_eq!(left, 0, "its client has not seen it end: {named:?}");
    let of = |life: &Life| places.get(&(life.local, life.began)).copied();
    lives
        .iter()
        .map(|lives| lives.iter().map(of).collect())
        .collect()
}

/// How many died at each class of ages, and how many were expected to.
#[derive(Debug, Default)]
struct Deaths {
    seen: [f64; CLASSES.len()],
    expected: [f64; CLASSES.len()],
    /// The most draws that one has survived.
    oldest: usize,
    /// How many connections there ever were.
    connections: usize,
}

impl Deaths {
    /// From the draw at which each connection of each client has ended; each new one is there at the next draw.
    fn count(clients: &[Vec<Option<usize>>], draws: usize) -> Self {
        let mut deaths = Self::default();
        let class = |age: usize| CLASSES.iter().rposition(|first| *first <= age);
        let class = |age| class(age).expect("the first one begins with 0");
        for ends in clients {
            let mut born = 0;
            for end in ends {
                deaths.connections += 1;
                let survived = end.unwrap_or(draws) - born;
                deaths.oldest = deaths.oldest.max(survived);
                let last = if end.is_some() {
                    survived + 1
                } else {
                    survived
                };
                for age in 0..last {
                    deaths.expected[class(age)] += 1.0 - SURVIVES;
                }
                if let Some(end) = end {
                    deaths.seen[class(survived)] += 1.0;
                    born = end + 1;
                }
            }
        }
        deaths
    }

    fn chi_square(&self) -> f64 {
        let classes = self.seen.iter().zip(&self.expected);
        // Of an age that nobody has reached nothing is expected.
        let reached = classes.filter(|(_, expected)| **expected > 0.0);
        let squares = reached.map(|(seen, expected)| (seen - expected).powi(2) / expected);
        squares.sum::<f64>() / FINITE
    }

    /// So many draws nobody survives, but once in a million times.
    fn oldest_max(&self) -> usize {
        let chances = self.connections as f64;
        (1..10_000)
            .find(|age| chances * SURVIVES.powi(*age) < RARE)
            .and_then(|age| usize::try_from(age).ok())
            .expect("it gets smaller and smaller")
    }
}

#[test]
fn again_and_again_nobody_gets_older_than_chance_allows() {
    let Some(stage) = Stage::set_or_skip() else {
        return;
    };
    let size = Size::asked();
    let words = format!(
        "--rate 20% --every {}ms --for {}s",
        size.every.as_millis(),
        size.lasts.as_secs()
    );
    let (effect, lives) = suffer(&stage, &words);
    let draws = effect["draws"].as_array().expect("a list");
    for draw in draws {
        assert!((6..=CLIENTS).contains(&number(draw, "of")), "{draw}");
        let figures = ["asked", "ended", "redrawn"].map(|name| number(draw, name));
        assert_eq!(figures, [HIT, HIT, 0], "{draw}");
    }
    let full = draws.iter().filter(|draw| draw["of"] == CLIENTS).count();
    let count = draws.len();
    // A machine that is busy with others may be late now and then.
    assert!(count <= size.draws() && count >= size.draws() * 9 / 10);
    assert!(full >= count * 9 / 10, "{full} of {count}");

    let deaths = Deaths::count(&draws_of(&effect, &lives), count);
    assert_eq!(deaths.connections, CLIENTS + HIT * count);
    let (chi, oldest_max) = (deaths.chi_square(), deaths.oldest_max());
    assert!(deaths.oldest < oldest_max, "{deaths:?}");
    assert!(chi < CHI_SQUARE_MAX, "{chi}: {deaths:?}");
    // The same by the clients' own clocks.
    let over = Instant::now();
    let oldest = lives.iter().flatten().map(|life| life.lasted(over)).max();
    let oldest = oldest.expect("there were some");
    let most = (size.every * 12 / 10) * u32::try_from(oldest_max).expect("a few");
    assert!(oldest < most, "{oldest:?}");
    println!(
        "figure: {count} draws of {HIT} from {CLIENTS}, {} connections: the oldest survived {} draws ({:.1} s) of less than {oldest_max} that chance allows, ages geometric by χ² = {chi:.1} of at most {CHI_SQUARE_MAX}",
        deaths.connections,
        deaths.oldest,
        oldest.as_secs_f64(),
    );
}

#[test]
fn once_hits_exactly_two_of_those_that_are_there_and_nobody_who_comes() {
    let Some(stage) = Stage::set_or_skip() else {
        return;
    };
    let lasts = Size::asked().lasts;
    let words = format!("--rate 20% --for {}s", lasts.as_secs());
    let (effect, lives) = suffer(&stage, &words);
    let figures = ["before", "asked", "ended", "redrawn", "now"];
    let figures = figures.map(|name| number(&effect, name));
    assert_eq!(figures, [CLIENTS, HIT, HIT, 0, CLIENTS], "{effect}");
    assert_eq!(effect["draws"].as_array().map(Vec::len), Some(1));
    let hit = lives.iter().filter(|lives| lives.len() > 1);
    assert_eq!(hit.clone().count(), HIT, "{lives:?}");
    for lives in hit {
        let is_ended: Vec<_> = lives.iter().map(|life| life.ended.is_some()).collect();
        assert_eq!(is_ended, [true, false], "who comes instead stays");
    }
    draws_of(&effect, &lives);
    println!(
        "figure: once, {HIT} of {CLIENTS} for good, and none of the {HIT} that came instead in {} s",
        lasts.as_secs()
    );
}

#[test]
fn who_is_never_drawn_again_or_drawn_too_young_would_be_noticed() {
    // Ten clients of which always the same two are hit: eight of them get as old as the fault.
    let draws = 100;
    let immune = |client: usize| {
        let mut ends: Vec<_> = (0..draws).map(Some).collect();
        ends.truncate(if client < HIT { draws } else { 0 });
        ends.push(None);
        ends
    };
    let deaths = Deaths::count(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9].map(immune), draws);
    assert_eq!(deaths.oldest, draws);
    assert!(deaths.oldest >= deaths.oldest_max(), "{deaths:?}");
    assert!(deaths.chi_square() > CHI_SQUARE_MAX, "{deaths:?}");
    // In turns: everybody lives for five draws.
    let turns = |client: usize| (client / HIT..draws).step_by(5).map(Some).collect();
    let deaths = Deaths::count(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9].map(turns), draws);
    assert!(deaths.chi_square() > CHI_SQUARE_MAX, "{deaths:?}");
}
