//! Where nothing is wrong nothing is found: healthy mixed traffic on the shop, with every service observed.
//!
//! Half a minute by default, an hour with `MURPHY_SOAK=1`, or so many seconds as `MURPHY_HEALTHY_SECONDS` says.
#![allow(
    clippy::print_stdout,
    reason = "the soak reads the figure that is printed"
)]

mod harness;
mod lab;
mod victims;

use std::{
    env, fs,
    io::{self, Read, Write},
    net::{IpAddr, SocketAddr, TcpStream, UdpSocket},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread::{Scope, scope, sleep},
    time::{Duration, Instant},
};

use harness::{Guard, say_skipped, slack};
use lab::Shop;
use murphy_sys::{namespace::NetNamespace, tcp_events};
use serde_json::Value;
use victims::Heard;

/// All services.
const SERVICES: [&str; 5] = ["front-end", "catalog-1", "catalog-2", "postgres", "load"];
/// Who answers HTTP, at both of its addresses.
const FRONT_END: [&str; 2] = ["10.78.0.1", "fd78::1"];
const CATALOGS: [[&str; 2]; 2] = [["10.78.0.11", "fd78::11"], ["10.78.0.12", "fd78::12"]];
const PORT: u16 = 8080;
/// Who answers for names, too.
const NAMES: [&str; 2] = ["10.78.0.20", "fd78::20"];
/// How often who asks.
const SHORT_EVERY: Duration = Duration::from_millis(50);
const POOLED_EVERY: Duration = Duration::from_millis(25);
const RARE_EVERY: Duration = Duration::from_secs(7);
const SCRAPE_EVERY: Duration = Duration::from_secs(1);
const LOOKUP_EVERY: Duration = Duration::from_millis(100);
/// How many connections there are in the pool.
const POOL: usize = 4;
/// Nobody waits longer: of a healthy service that is a failure.
const PATIENCE: Duration = Duration::from_secs(5);

fn lasts() -> Duration {
    let said = env::var("MURPHY_HEALTHY_SECONDS").ok();
    let seconds = match said.and_then(|said| said.parse().ok()) {
        Some(seconds) => seconds,
        None if env::var_os("MURPHY_SOAK").is_some() => 3600,
        None => 25,
    };
    Duration::from_secs(seconds)
}

/// Whoever asks, and how often that was.
#[derive(Debug, Default)]
struct Traffic {
    is_over: AtomicBool,
    requests: AtomicU64,
    connections: AtomicU64,
    lookups: AtomicU64,
    failures: AtomicU64,
}

impl Traffic {
    /// Does something in a namespace again and again, with the number of the time; what fails is counted.
    fn again<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        namespace: &NetNamespace,
        every: Duration,
        mut work: impl FnMut(&Self, usize) -> io::Result<()> + Send + 'scope,
    ) {
        let namespace = namespace.clone();
        scope.spawn(move || {
            namespace.enter().expect("a namespace");
            for time in 0.. {
                if self.is_over.load(Ordering::Relaxed) {
                    return;
                }
                if work(self, time).is_err() {
                    self.failures.fetch_add(1, Ordering::Relaxed);
                }
                sleep(every);
            }
        });
    }

    fn connect(&self, at: &str) -> io::Result<TcpStream> {
        let ip: IpAddr = at.parse().expect("an address");
        let stream = TcpStream::connect_timeout(&SocketAddr::new(ip, PORT), PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        self.connections.fetch_add(1, Ordering::Relaxed);
        Ok(stream)
    }

    fn ask(&self, stream: &mut TcpStream, path: &str, is_last: bool) -> io::Result<()> {
        let close = if is_last { "Connection: close\r\n" } else { "" };
        let question = format!("GET {path} HTTP/1.1\r\nHost: shop\r\n{close}\r\n");
        stream.write_all(question.as_bytes())?;
        let (mut said, mut buffer) = (Vec::new(), [0; 4096]);
        while !is_whole(&said) {
            match stream.read(&mut buffer)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                length => said.extend(&buffer[..length]),
            }
        }
        if is_last && stream.read(&mut buffer)? > 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.requests.fetch_add(1, Ordering::Relaxed);
        if said.starts_with(b"HTTP/1.1 200") {
            return Ok(());
        }
        Err(io::ErrorKind::Other.into())
    }

    /// A connection of its own, for one question.
    fn ask_once(&self, at: &str, path: &str) -> io::Result<()> {
        let mut stream = self.connect(at)?;
        self.ask(&mut stream, path, true)
    }

    /// A connection that is kept, while it works.
    fn ask_on(&self, kept: &mut Option<TcpStream>, at: &str, path: &str) -> io::Result<()> {
        let mut stream = match kept.take() {
            Some(stream) => stream,
            None => self.connect(at)?,
        };
        self.ask(&mut stream, path, false)?;
        *kept = Some(stream);
        Ok(())
    }

    /// Everybody who asks besides the load generator.
    fn begin<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>, shop: &Shop) {
        let [load, catalog, names] =
            ["load", "catalog-1", "postgres"].map(|one| shop.namespace(one));
        self.again(scope, &load, SHORT_EVERY, |traffic, time| {
            traffic.ask_once(FRONT_END[time % 2], &product(time))
        });
        for place in 0..POOL {
            let mut kept = None;
            self.again(scope, &load, POOLED_EVERY, move |traffic, time| {
                traffic.ask_on(&mut kept, FRONT_END[place % 2], &product(time))
            });
        }
        let mut kept = None;
        self.again(scope, &load, RARE_EVERY, move |traffic, time| {
            traffic.ask_on(&mut kept, CATALOGS[0][0], &product(time))
        });
        self.again(scope, &load, SCRAPE_EVERY, |traffic, time| {
            let all = [FRONT_END, CATALOGS[0], CATALOGS[1]];
            let scrape = |who: [&str; 2]| traffic.ask_once(who[time % 2], "/health");
            all.into_iter().try_for_each(scrape)
        });
        for at in NAMES {
            let served = names.run(|| UdpSocket::bind((at, 53)));
            let served = served.expect("a namespace").expect("a socket");
            let glance = Some(Duration::from_millis(100));
            served.set_read_timeout(glance).expect("a socket");
            scope.spawn(move || answer_names(&served, &self.is_over));
            self.again(scope, &catalog, LOOKUP_EVERY, move |traffic, time| {
                look_up(at, time)?;
                traffic.lookups.fetch_add(1, Ordering::Relaxed);
                Ok(())
            });
        }
    }
}

/// Whether an answer is there, its body included.
fn is_whole(said: &[u8]) -> bool {
    let text = String::from_utf8_lossy(said).to_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    length.is_some_and(|length| {
        length
            .parse()
            .is_ok_and(|length: usize| body.len() >= length)
    })
}

fn product(time: usize) -> String {
    format!("/products/{}", 1 + time % 50)
}

/// Asks for an address of a name; every tenth is not known there.
fn look_up(at: &str, time: usize) -> io::Result<()> {
    let local = if at.contains(':') { "::" } else { "0.0.0.0" };
    let socket = UdpSocket::bind((local, 0))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect((at, 53))?;
    let number = u16::try_from(time % 60_000).expect("it is small");
    let mut query = Vec::from(number.to_be_bytes());
    // Recursion is wished; one question.
    query.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    let name = if time % 10 == 9 { "lost" } else { "shop" };
    for label in [name, "test"] {
        query.push(u8::try_from(label.len()).expect("it is short"));
        query.extend(label.bytes());
    }
    query.extend([0, 0, 1, 0, 1]);
    socket.send(&query)?;
    let mut answer = [0; 512];
    let length = socket.recv(&mut answer)?;
    if answer[..length].starts_with(&query[..2]) {
        return Ok(());
    }
    Err(io::ErrorKind::InvalidData.into())
}

/// Answers each question: an address, or that there is no such name.
fn answer_names(socket: &UdpSocket, is_over: &AtomicBool) {
    let mut query = [0; 512];
    while !is_over.load(Ordering::Relaxed) {
        let Ok((length, from)) = socket.recv_from(&mut query) else {
            continue;
        };
        let mut answer = query[..length].to_vec();
        let is_known = query[..length].windows(4).any(|part| part == b"shop");
        // A response, with recursion.
        (answer[2], answer[3]) = (0x81, if is_known { 0x80 } else { 0x83 });
        if is_known {
            answer[7] = 1;
            // The name of the question, class IN, type A, a minute, four bytes.
            answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 78, 0, 1]);
        }
        let _ = socket.send_to(&answer, from);
    }
}

/// What was found, each with all that has happened on its edge.
fn told(findings: &[Value], edges: &[Value]) -> String {
    let is_same = |edge: &&Value, other: &Value| {
        let names = ["container", "side", "peer", "port"];
        names.iter().all(|name| edge[name] == other[name])
    };
    let lines = findings.iter().map(|finding| {
        let edge = edges.iter().find(|edge| is_same(edge, &finding["edge"]));
        let total = edge.map_or(&Value::Null, |edge| &edge["total"]);
        format!("{finding}\nin all: {total}\n")
    });
    lines.collect()
}

#[test]
fn of_healthy_traffic_nothing_is_found() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    if let Err(error) = tcp_events::trial() {
        say_skipped(&error.to_string());
        return;
    }
    let Some(shop) = Shop::up_or_skip(&guard, "namespaces") else {
        return;
    };
    shop.becomes_well(2);
    let out = guard.dir().join("out");
    let mut words = vec![env!("CARGO_BIN_EXE_murphy").to_owned(), "observe".into()];
    for service in SERVICES {
        words.extend(["-t".into(), format!("netns:mphy-shop-{service}")]);
    }
    words.extend(["--out".into(), out.to_str().expect("a path").to_owned()]);
    let journal = guard.journal();
    let traffic = Traffic::default();
    let began = Instant::now();
    let from = shop.seconds().len();
    scope(|scope| {
        // It meets everybody in the midst of traffic.
        traffic.begin(scope, &shop);
        let observer = Heard::start_as(&guard, words, |one| one.env("MURPHY_JOURNAL", &journal));
        sleep(slack() * lasts());
        // While all is as it was: that the others go is not to be judged.
        observer.terminate();
        traffic.is_over.store(true, Ordering::Relaxed);
    });
    let took = began.elapsed();
    let seconds = shop.seconds().split_off(from);
    shop.down();

    let text = fs::read_to_string(out.join("snapshot.json")).expect("it was written");
    let end: Value = serde_json::from_str(&text).expect("JSON");
    let edges = end["snapshot"]["edges"].as_array().expect("edges");
    let findings = end["findings"].as_array().expect("findings");
    let [requests, failures] = ["requests", "failures"].map(|name| {
        let each = seconds.iter().map(|second| second[name].as_u64());
        each.map(|count| count.expect("a number")).sum::<u64>()
    });
    let [asked, connections, lookups, failed] = [
        &traffic.requests,
        &traffic.connections,
        &traffic.lookups,
        &traffic.failures,
    ]
    .map(|count| count.load(Ordering::Relaxed));
    let (requests, failures) = (requests + asked, failures + failed);
    println!(
        "figure: {:.2} h of healthy traffic, {requests} requests, {connections} connections, {lookups} lookups on {} edges ({failures} failures), {} findings",
        took.as_secs_f64() / 3600.0,
        edges.len(),
        findings.len(),
    );
    assert!(findings.is_empty(), "{}", told(findings, edges));
    assert_eq!(end["snapshot"]["lost"], 0, "events of the kernel");
    // It is no rest: everybody was there, and next to nothing failed.
    for service in SERVICES {
        let target = format!("mphy-shop-{service}");
        let is_its = |edge: &&Value| {
            edge["container"]
                .as_str()
                .is_some_and(|name| name.contains(&target))
        };
        assert!(edges.iter().any(|edge| is_its(&edge)), "{target}");
    }
    let least = took.as_secs() * 40;
    assert!(
        requests > least && connections > took.as_secs() * 5,
        "{requests}"
    );
    assert!(failures * 1000 <= requests, "{failures} of {requests}");
}
