//! etcd as it is: one member on loopback, whose log and whose answers show its clock.

use std::{
    ffi::OsStr,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::Value;

use super::{Heard, Nanos, SECOND, host_ns, program::tool_or_skip};
use crate::harness::{Ended, Guard, wait_until};

/// An answer that takes longer is none.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// A member.
pub struct Etcd {
    member: Heard,
    port: u16,
    /// How often it has been asked. Each question is for a key of its own, so that the log tells them apart.
    asked: AtomicU32,
}

/// What etcd answered.
struct Answer {
    /// The key that was asked for.
    key: String,
    /// The whole HTTP answer.
    text: String,
}

impl Etcd {
    /// A member that answers; none, with the reason, where etcd is not installed.
    pub fn start_or_skip(guard: &Guard) -> Option<Self> {
        let etcd = tool_or_skip("etcd")?;
        let [port, peer_port] = free_ports();
        let url = format!("http://127.0.0.1:{port}");
        let peer_url = format!("http://127.0.0.1:{peer_port}");
        let words = [
            format!("--data-dir={}", guard.dir().join("etcd").display()),
            format!("--listen-client-urls={url}"),
            format!("--advertise-client-urls={url}"),
            format!("--listen-peer-urls={peer_url}"),
            format!("--initial-advertise-peer-urls={peer_url}"),
            format!("--initial-cluster=default={peer_url}"),
            // On this level, each request is logged with the time of its start.
            "--log-level=debug".to_owned(),
            "--logger=zap".to_owned(),
            "--log-outputs=stdout".to_owned(),
        ];
        let words = words.iter().map(OsStr::new);
        let words = [etcd.as_os_str()].into_iter().chain(words);
        let member = Heard::start(guard, words);
        let etcd = Self {
            member,
            port,
            asked: AtomicU32::new(0),
        };
        wait_until("etcd has a leader", || etcd.read().is_some());
        Some(etcd)
    }

    /// The member, as a target.
    pub fn target(&self) -> String {
        self.member.target()
    }

    /// By how much its log is wrong: no less than this and no more than that.
    pub fn skew_of_log(&self) -> (Nanos, Nanos) {
        let from = self.member.count();
        let before = host_ns();
        let answer = self.read().expect("etcd answers");
        let after = host_ns();
        let asked = format!("key:\"{}\"", answer.key);
        let start = self.member.wait_for("etcd logs the request", from, |line| {
            let entry: Value = serde_json::from_str(&line.text).ok()?;
            entry["request content"]
                .as_str()?
                .contains(&asked)
                .then(|| entry["start time"].as_str().map(str::to_owned))?
        });
        // It writes whole milliseconds.
        let start = parse_date(&start);
        (start - after, start - before + super::MILLISECOND)
    }

    /// By how much the date of its answers is wrong: no less than this and no more than that.
    pub fn skew_of_answer(&self) -> (Nanos, Nanos) {
        let before = host_ns();
        let answer = self.read().expect("etcd answers");
        let after = host_ns();
        let date = answer
            .text
            .lines()
            .find_map(|line| line.strip_prefix("Date: "))
            .unwrap_or_else(|| panic!("no date: {}", answer.text));
        let date = parse_date(date);
        (date - after, date - before + SECOND)
    }

    /// The answer to a linearizable read through the HTTP gateway.
    fn read(&self) -> Option<Answer> {
        let key = format!("k{:05}", self.asked.fetch_add(1, Ordering::Relaxed));
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(ANSWER_WITHIN)).ok()?;
        let body = format!("{{\"key\":\"{}\"}}", BASE64_STANDARD.encode(&key));
        let request = format!(
            "POST /v3/kv/range HTTP/1.1\r\nHost: etcd\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        text.starts_with("HTTP/1.1 200")
            .then_some(Answer { key, text })
    }

    /// Asks it to end. When it has closed everything, it sends itself the signal anew: it has no exit code.
    pub fn stop(self) -> Ended {
        self.member.signal("TERM");
        let (ended, lines) = self.member.wait();
        let closed = |line: &super::Line| line.text.contains("closed etcd server");
        assert!(lines.iter().any(closed), "{:?}", lines.last());
        ended
    }
}

/// Two ports that nobody listens on.
fn free_ports() -> [u16; 2] {
    let listeners = [(); 2].map(|()| TcpListener::bind(("127.0.0.1", 0)).expect("a free port"));
    listeners.map(|listener| listener.local_addr().expect("it is bound").port())
}

fn parse_date(date: &str) -> Nanos {
    let output = Command::new("date")
        .args(["+%s%N", "--date", date])
        .output()
        .expect("date");
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim()
        .parse()
        .unwrap_or_else(|_| panic!("not a date: {date}"))
}
