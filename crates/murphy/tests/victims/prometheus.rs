//! Prometheus as it is: it scrapes one address every second, and has rules.

use std::{
    fmt::Write as _,
    fs,
    io::{Read, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use serde_json::Value;

use super::{Heard, program::tool_or_skip};
use crate::harness::{Guard, patience, wait_until};

/// The rules of the founding document: a ping that is lost is not a number, and one that takes more than 10 ms is slow.
pub const LOST: (&str, &str) = (
    "Lost",
    "container_net_latency_seconds != container_net_latency_seconds",
);
/// The other one.
pub const SLOW: (&str, &str) = ("Slow", "container_net_latency_seconds > 0.01");
/// An answer that takes longer is none.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// A server on loopback.
pub struct Prometheus {
    server: Heard,
    at: SocketAddr,
}

impl Prometheus {
    /// A server that scrapes an address, and fires alerts as soon as their expressions, each with a name, hold; none, with
    /// the reason, where Prometheus is not installed.
    pub fn start_or_skip(
        guard: &Guard,
        scraped: SocketAddr,
        alerts: &[(&str, &str)],
    ) -> Option<Self> {
        let program = tool_or_skip("prometheus")?;
        let home = guard.dir().join("prometheus");
        fs::create_dir(&home).expect("a new directory");
        let mut rules = "groups:\n- name: network\n  interval: 1s\n  rules:\n".to_owned();
        for (name, expression) in alerts {
            write!(rules, "  - alert: {name}\n    expr: '{expression}'\n").expect("a string");
        }
        fs::write(home.join("rules.yml"), rules).expect("own directory");
        let configured = format!(
            "global:\n  scrape_interval: 1s\n  evaluation_interval: 1s\nrule_files: [rules.yml]\nscrape_configs:\n\
             - job_name: murphy\n  static_configs:\n  - targets: ['{scraped}']\n"
        );
        fs::write(home.join("prometheus.yml"), configured).expect("own directory");
        // What it says goes to the other output.
        let server = Heard::start_as(
            guard,
            ["sh", "-c", "exec \"$0\" \"$@\" 2>&1"]
                .map(Into::into)
                .into_iter()
                .chain([program.into_os_string()])
                .chain(
                    [
                        "--config.file=prometheus.yml",
                        "--web.listen-address=127.0.0.1:0",
                        "--storage.tsdb.path=data",
                    ]
                    .map(Into::into),
                ),
            |server| server.in_dir(&home),
        );
        let at = server.wait_for("Prometheus listens", 0, |line| {
            let (_, at) = line
                .text
                .split_once("msg=\"Listening on\" address=")
                .map(|(before, at)| (before, at.trim()))?;
            at.parse().ok()
        });
        let prometheus = Self { server, at };
        wait_until("Prometheus is ready", || {
            prometheus.get("/-/ready").is_some()
        });
        Some(prometheus)
    }

    /// Where it can be asked.
    pub fn url(&self) -> String {
        format!("http://{}", self.at)
    }

    /// What an expression is now: each value, as Prometheus writes it, with its labels.
    pub fn query(&self, expression: &str) -> Vec<(Value, String)> {
        let mut escaped = String::new();
        for byte in expression.bytes() {
            write!(escaped, "%{byte:02x}").expect("a string");
        }
        let answer = self.api(&format!("query?query={escaped}"));
        let result = answer["result"].as_array().cloned().unwrap_or_default();
        let value = |sample: Value| {
            let value = sample["value"][1].as_str().expect("a value").to_owned();
            (sample["metric"].clone(), value)
        };
        result.into_iter().map(value).collect()
    }

    /// The labels of an alert that fires.
    pub fn firing(&self, name: &str) -> Option<Value> {
        let answer = self.api("alerts");
        let alerts = answer["alerts"].as_array()?;
        let is_it =
            |alert: &&Value| alert["labels"]["alertname"] == name && alert["state"] == "firing";
        alerts
            .iter()
            .find(is_it)
            .map(|alert| alert["labels"].clone())
    }

    /// What its API answers.
    pub fn api(&self, path: &str) -> Value {
        let text = self.get(&format!("/api/v1/{path}"));
        let text = text.unwrap_or_else(|| panic!("{path} is not answered"));
        let mut answer: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(answer["status"], "success", "{answer}");
        answer["data"].take()
    }

    fn get(&self, path: &str) -> Option<String> {
        get(self.at, path, "")
    }

    /// Ends it.
    pub fn end(self) {
        self.server.terminate();
    }
}

/// What a server answers to a request, if it does so well.
pub fn get(at: SocketAddr, path: &str, accept: &str) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&at, patience()).ok()?;
    stream.set_read_timeout(Some(ANSWER_WITHIN)).ok()?;
    // With 1.0 the answer comes in one piece, and ends with the connection.
    let request = format!("GET {path} HTTP/1.0\r\nHost: {at}\r\nAccept: {accept}\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?;
    (status == "200").then(|| body.to_owned())
}
