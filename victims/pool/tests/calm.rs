//! Without a fault the pool has as many connections as it is to have, and no request fails: what is seen under a fault is
//! the fault's.

use std::{
    io::{BufRead, BufReader, Lines},
    net::TcpListener,
    process::{Child, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

/// Nothing may take longer.
const PATIENCE: Duration = Duration::from_secs(30);
/// For how many answers it is to stay calm.
const ANSWERS: u64 = 1000;

struct Program {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Program {
    fn start(words: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pool"));
        let command = command.args(words).stdin(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
        let out = child.stdout.take().expect("it is a pipe");
        Self {
            child,
            lines: BufReader::new(out).lines(),
        }
    }

    /// Its next figures that satisfy something.
    fn figures(&mut self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            let line = self.lines.next().expect("it runs").expect("a line");
            let figures = serde_json::from_str(&line).expect("JSON");
            if is_so(&figures) {
                return figures;
            }
            assert!(Instant::now() < until, "it never came that {what}: {line}");
        }
    }

    /// Asks it to end, and expects that it does so well.
    fn terminate(mut self) {
        let pid = self.child.id().to_string();
        let told = Command::new("kill").arg(pid).status();
        assert!(told.expect("kill").success());
        assert!(self.child.wait().expect("it was started").success());
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn is_calm_with(protocol: &str) {
    let mut server = Program::start(&["serve", "--at", "127.0.0.1:0"]);
    let at = server.figures("it listens", |_| true)["at"].clone();
    let at = at.as_str().expect("an address");
    let words = ["--connections", "10", "--idle", "3"];
    let mut client = Program::start(&[&["ask", protocol, "--at", at], &words[..]].concat());
    let asked = |figures: &Value| figures["ok"].as_u64() > Some(ANSWERS);
    let calm = client.figures("it has asked enough", asked);
    let figures = ["failed", "open", "opened"].map(|name| calm[name].as_u64());
    assert_eq!(figures, [0, 10, 10].map(Some), "{calm}");
    let seen = server.figures("it has answered", |seen| {
        seen["answered"].as_u64() > Some(ANSWERS)
    });
    let figures = ["accepted", "open"].map(|name| seen[name].as_u64());
    assert_eq!(figures, [10, 10].map(Some), "{seen}");
    client.terminate();
    server.figures("all have left", |seen| seen["open"] == 0);
    server.terminate();
}

#[test]
fn over_http1() {
    is_calm_with("http1");
}

#[test]
fn over_http2() {
    is_calm_with("http2");
}

#[test]
fn what_cannot_be_had_is_said() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let at = taken.local_addr().expect("it is bound").to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_pool"));
    let said = command.args(["serve", "--at", &at]).output();
    let said = said.expect("it starts");
    assert_eq!(said.status.code(), Some(1));
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(
        said.contains(&format!("failed to listen on {at}: ")),
        "{said}"
    );
}
