//! What belongs to a whole network namespace is found by the built binary: packets that are damaged, doubled or overtaken,
//! listeners without room, packets that the kernel drops, connections asked for again and again, and clocks that are wrong.

#[path = "../../murphy-sys/tests/wire/mod.rs"]
mod wire;

mod harness;
mod network;
mod observed;
mod victims;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    ops::Deref,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread::{Scope, scope, sleep},
    time::{Duration, Instant},
};

use harness::say_skipped;
use murphy_sys::{drops, namespace::NetNamespace};
use observed::Pair;
use serde_json::Value;
use wire::address;

/// How long it takes until an observer knows what is usual.
const BEFORE: Duration = Duration::from_secs(3);
/// How long something is wrong.
const WRONG: Duration = Duration::from_secs(5);
/// How many clients there are.
const CLIENTS: usize = 4;

/// A client and a server.
struct Lab(Pair);

impl Deref for Lab {
    type Target = Pair;

    fn deref(&self) -> &Pair {
        &self.0
    }
}

impl Lab {
    fn lay_or_skip() -> Option<Self> {
        Pair::lay_or_skip().map(Self)
    }

    fn connect(&self, to: SocketAddr, within: Duration) -> Option<TcpStream> {
        let made = self
            .wire
            .a
            .run(|| TcpStream::connect_timeout(&to, within))
            .expect("a namespace");
        made.ok()
    }

    /// Clients that say something two hundred times a second, and do not wait for answers.
    fn stream<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>, is_over: &'scope AtomicBool) {
        let listener = self.listen();
        let to = listener.local_addr().expect("it is bound");
        for _ in 0..CLIENTS {
            let mut said = self.connect(to, WRONG).expect("somebody listens");
            said.set_nodelay(true).expect("a socket");
            let (mut heard, _) = listener.accept().expect("somebody has come");
            heard.set_read_timeout(Some(WRONG)).expect("a socket");
            scope.spawn(move || while heard.read(&mut [0; 4096]).is_ok_and(|n| n > 0) {});
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) && said.write_all(&[7; 64]).is_ok() {
                    sleep(Duration::from_millis(5));
                }
            });
        }
    }

    /// What is found at an end while something is wrong. Nothing is until then.
    fn observe(&self, end: usize, wrong: impl FnOnce()) -> Vec<Value> {
        let words = ["observe", "-t", &self.named.target(end), "--json"];
        let mut observer = self.guard.murphy(words).start();
        observer.until_it_says("observing");
        sleep(BEFORE);
        wrong();
        observer.signal("INT");
        let ended = observer.wait();
        assert_eq!(ended.code, 0, "{ended:?}");
        let lines = ended.lines();
        let found = lines.iter().filter(|line| line["event"] == "found");
        found.cloned().collect()
    }

    /// The same while clients stream, and packets that they send are disturbed.
    fn observe_streams(&self, end: usize, how: &str) -> Vec<Value> {
        let is_over = AtomicBool::new(false);
        scope(|scope| {
            self.stream(scope, &is_over);
            let found = self.observe(end, || self.disturb(how));
            is_over.store(true, Ordering::Relaxed);
            found
        })
    }

    /// Disturbs what the client sends, and waits until it is over.
    fn disturb(&self, how: &str) {
        self.inject(&format!(
            "inject net -t TARGET {how} --direction to --for {}s",
            WRONG.as_secs()
        ));
    }
}

/// Asserts that something was found the right way, of the whole target, and that nothing else was but what follows from it.
fn assert_found(found: &[Value], kind: &str, direction: &str, besides: &[&str]) {
    let is_it = |one: &&Value| one["kind"] == kind && one["direction"] == direction;
    let it = found.iter().find(is_it);
    let it = it.unwrap_or_else(|| panic!("no {kind} {direction}: {found:?}"));
    assert_eq!(it["edge"]["peer"], "::", "{it}");
    assert_eq!(it["edge"]["port"], 0, "{it}");
    assert_none_but(found, kind, besides);
}

fn assert_none_but(found: &[Value], kind: &str, besides: &[&str]) {
    for one in found {
        let other = one["kind"].as_str().expect("a word");
        assert!(other == kind || besides.contains(&other), "{one}");
    }
}

/// Adds a rule to a namespace; not, where there is no iptables.
fn rule_or_skip(namespace: &NetNamespace, words: &str) -> Option<()> {
    let words = words.split(' ');
    let ran = namespace.run(|| Command::new("iptables").arg("-w").args(words).output());
    let said = match ran.expect("a namespace") {
        Ok(output) if output.status.success() => return Some(()),
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => format!("iptables: {error}"),
    };
    say_skipped(&said);
    None
}

#[test]
fn damaged_packets_are_found_by_whoever_gets_them() {
    let Some(lab) = Lab::lay_or_skip() else {
        return;
    };
    let found = lab.observe_streams(1, "--corrupt 5%");
    assert_found(&found, "corruption", "from", &["loss"]);
}

#[test]
fn doubled_packets_are_found_from_both_ends() {
    let Some(lab) = Lab::lay_or_skip() else {
        return;
    };
    let is_over = AtomicBool::new(false);
    let [sent, got] = scope(|scope| {
        lab.stream(scope, &is_over);
        let sender = scope.spawn(|| lab.observe(0, || lab.disturb("--duplicate 30%")));
        let got = lab.observe(1, || sleep(WRONG));
        let sent = sender.join().expect("it was asserted");
        is_over.store(true, Ordering::Relaxed);
        [sent, got]
    });
    assert_found(&got, "duplication", "from", &[]);
    // Who has sent them knows to whom.
    let [one] = &sent[..] else {
        panic!("{sent:?}");
    };
    assert_eq!(one["kind"], "duplication", "{one}");
    assert_eq!(one["direction"], "to", "{one}");
    assert_eq!(one["edge"]["peer"], address(true, 2).to_string(), "{one}");
}

#[test]
fn packets_that_overtake_others_are_found_by_whoever_sends_them() {
    let Some(lab) = Lab::lay_or_skip() else {
        return;
    };
    let found = lab.observe_streams(0, "--delay 20ms --reorder 20%");
    // The others are late, and are so for some pings only.
    assert_found(&found, "reordering", "to", &["latency", "jitter"]);
}

#[test]
fn a_listener_that_accepts_nobody_is_found() {
    let Some(lab) = Lab::lay_or_skip() else {
        return;
    };
    let at: SocketAddr = (address(true, 2), 0).into();
    let made = lab.wire.b.run(|| {
        let socket = rustix::net::socket(
            rustix::net::AddressFamily::INET,
            rustix::net::SocketType::STREAM,
            None,
        )?;
        rustix::net::bind(&socket, &at)?;
        rustix::net::listen(&socket, 1)?;
        Ok::<_, rustix::io::Errno>(TcpListener::from(socket))
    });
    let listener = made.expect("a namespace").expect("a socket");
    let to = listener.local_addr().expect("it is bound");
    let found = lab.observe(1, || {
        let until = Instant::now() + WRONG;
        let mut kept = Vec::new();
        while Instant::now() < until {
            kept.extend(lab.connect(to, Duration::from_millis(100)));
        }
    });
    assert_found(&found, "listen_overflow", "from", &[]);
}

#[test]
fn who_asks_again_and_again_in_vain_is_found() {
    let Some(lab) = Lab::lay_or_skip() else {
        return;
    };
    let listener = lab.listen();
    let to = listener.local_addr().expect("it is bound");
    let is_over = AtomicBool::new(false);
    let within = Duration::from_secs(1);
    let found = scope(|scope| {
        // Once in a while is usual.
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                drop(lab.connect(to, within));
                drop(listener.accept());
                sleep(Duration::from_millis(500));
            }
        });
        lab.observe(0, || {
            is_over.store(true, Ordering::Relaxed);
            let closed: SocketAddr = (address(true, 2), 9).into();
            let until = Instant::now() + WRONG;
            while Instant::now() < until {
                assert!(lab.connect(closed, within).is_none(), "nobody listens");
                sleep(Duration::from_millis(10));
            }
        })
    });
    assert_none_but(&found, "retry_storm", &["refusals"]);
    let storm = found.iter().find(|one| one["kind"] == "retry_storm");
    let storm = storm.unwrap_or_else(|| panic!("{found:?}"));
    assert_eq!(storm["edge"]["port"], 9, "{storm}");
    assert_eq!(storm["direction"], "to", "{storm}");
}

/// Nothing else tells of what is not sent again.
fn forbidden_datagrams_are_found(lab: &Lab) {
    let is_over = AtomicBool::new(false);
    let send = || {
        let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
        let until = Instant::now() + WRONG;
        while Instant::now() < until {
            // What is forbidden may be told to whoever sends.
            let _ = socket.send_to(b"?", (address(true, 2), 1009));
            sleep(Duration::from_millis(20));
        }
    };
    let found = scope(|scope| {
        lab.stream(scope, &is_over);
        let found = lab.observe(0, || {
            let rule = "-A OUTPUT -p udp --dport 1009 -j DROP";
            rule_or_skip(&lab.wire.a, rule).expect("it was tried");
            lab.wire.a.run(send).expect("a namespace");
        });
        is_over.store(true, Ordering::Relaxed);
        found
    });
    assert_found(&found, "drops", "to", &[]);
    let said = found[0]["evidence"].to_string();
    assert!(said.contains("NETFILTER_DROP"), "{said}");
}

/// What is lost is dropped here.
fn a_loss_has_the_reason_as_its_evidence(lab: &Lab) {
    let is_over = AtomicBool::new(false);
    let found = scope(|scope| {
        lab.stream(scope, &is_over);
        let found = lab.observe(1, || {
            let rule = "-A INPUT -m statistic --mode random --probability 0.3 -j DROP";
            rule_or_skip(&lab.wire.b, rule).expect("it was tried");
            sleep(WRONG + BEFORE);
        });
        is_over.store(true, Ordering::Relaxed);
        found
    });
    // Until that much is known.
    assert_none_but(&found, "loss", &["drops"]);
    let said = found.iter().any(|one| {
        let evidence = one["evidence"].to_string();
        one["kind"] == "loss"
            && evidence.contains("from the peer were dropped here")
            && evidence.contains("NETFILTER_DROP")
    });
    assert!(said, "{found:?}");
}

#[test]
fn what_a_rule_drops_is_told_with_its_reason() {
    let (Some(one), Some(other)) = (Lab::lay_or_skip(), Lab::lay_or_skip()) else {
        return;
    };
    if let Err(error) = drops::trial() {
        return say_skipped(&error.to_string());
    }
    let tried = "-A INPUT -m statistic --mode random --probability 0 -j DROP";
    if rule_or_skip(&one.wire.a, tried).is_none() {
        return;
    }
    scope(|scope| {
        scope.spawn(|| forbidden_datagrams_are_found(&one));
        a_loss_has_the_reason_as_its_evidence(&other);
    });
}

#[test]
fn a_process_whose_clock_is_wrong_is_found() {
    let Some(lab) = Lab::lay_or_skip() else {
        return;
    };
    let sleeper = || Command::new("sleep").arg("60").spawn();
    let mut sleeper = lab
        .wire
        .a
        .run(sleeper)
        .expect("a namespace")
        .expect("sleep");
    let pid = sleeper.id();
    let target = format!("pid:{pid}");
    let mut skew = None;
    let found = lab.observe(0, || {
        let words = [
            "inject", "time", "--offset", "-1h", "--for", "5s", "-t", &target,
        ];
        skew = Some(lab.guard.murphy(words).run());
    });
    sleeper.kill().expect("it runs");
    sleeper.wait().expect("it has run");
    let skew = skew.expect("it was run");
    if skew.code != 0 {
        return say_skipped(&skew.stderr);
    }
    assert_found(&found, "clock_jump", "unknown", &[]);
    let us = found[0]["size"]["time"]["us"].as_u64().expect("a time");
    assert!(us.abs_diff(3_600_000_000) < 1_000_000, "{us}");
    assert!(found[0]["evidence"].to_string().contains(&pid.to_string()));
}
