//! What recording takes of a server under load: recorded and not, by turns.

mod http;
mod postgres;

use std::{
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use crate::{Lab, Outcome, Tool, figure::Figure, recorder};
use http::{Http, Kept};
use postgres::Postgres;

/// How long each turn is, in seconds.
const TURN_S: &str = "3";
/// How many ask at a time.
const CLIENTS: &str = "4";
/// How often what other tools take is measured.
const PEER_RUNS: usize = 5;
/// How long a server may take to begin.
const BEGINS: Duration = Duration::from_secs(30);

/// A server, and those who ask it.
trait Load {
    /// Its first process.
    fn pid(&self) -> Outcome<u32>;

    /// How much it does in a second.
    fn throughput(&self) -> Outcome<f64>;
}

pub fn measure(lab: &Lab, runs: usize) -> Outcome<Vec<Figure>> {
    let mut figures = Vec::new();
    let postgres = Postgres::start(lab)?;
    for (what, is_reading) in [
        ("PostgreSQL that reads", true),
        ("PostgreSQL that writes", false),
    ] {
        figures.push(recorded(what, &postgres.load(is_reading), runs)?);
    }
    drop(postgres);
    for (what, does) in [
        ("etcd that is written to", "put"),
        ("etcd that is read from", "range"),
    ] {
        figures.push(recorded(what, &Http::etcd(lab, does)?, runs)?);
    }
    for (what, kept) in [
        ("nginx, a connection for each page", Kept::No),
        ("nginx, connections that stay", Kept::Yes),
    ] {
        figures.push(recorded(what, &Http::nginx(lab, kept)?, runs)?);
    }
    // What it is to count every call by other means, the least of them first: one number, and nothing of what was called.
    let nginx = Http::nginx(lab, Kept::Yes)?;
    let worker = nginx.child()?.to_string();
    for (what, words) in [
        (
            "perf stat",
            ["perf", "stat", "-e", "raw_syscalls:sys_exit", "-p"],
        ),
        (
            "perf trace -s",
            ["perf", "trace", "-s", "--no-inherit", "-p"],
        ),
        ("strace -c", ["strace", "-f", "-q", "-c", "-p"]),
    ] {
        let tool = || {
            let mut command = Command::new(words[0]);
            Tool::start(command.args(&words[1..]).arg(&worker), None)
        };
        let what = format!("load: nginx, connections that stay, under {what}");
        figures.push(loss(&what, "", &nginx, runs.min(PEER_RUNS), tool)?);
    }
    Ok(figures)
}

/// What is left of its throughput when it is recorded.
fn recorded(what: &str, load: &impl Load, runs: usize) -> Outcome<Figure> {
    let what = format!("load: {what}, recorded, of not recorded");
    loss(&what, "all of it above 95 %", load, runs, || {
        recorder(load.pid()?)
    })
}

/// What is left of its throughput under a tool; who is first alternates.
fn loss(
    what: &str,
    wanted: &'static str,
    load: &impl Load,
    runs: usize,
    tool: impl Fn() -> Outcome<Tool>,
) -> Outcome<Figure> {
    // What is read for the first time is read from disk.
    load.throughput()?;
    let under_it = || -> Outcome<f64> {
        let _tool = tool()?;
        load.throughput()
    };
    let mut ratios = Vec::new();
    for run in 0..runs {
        let (with, without) = if run % 2 == 0 {
            let without = load.throughput()?;
            (under_it()?, without)
        } else {
            (under_it()?, load.throughput()?)
        };
        ratios.push(with / without);
    }
    Ok(Figure::ratio(what, wanted, &ratios))
}

/// Starts a server that says nothing.
fn quiet(command: &mut Command) -> Outcome<Child> {
    let command = command.stdin(Stdio::null()).stdout(Stdio::null());
    Ok(command.stderr(Stdio::null()).spawn()?)
}

/// Tries something until it succeeds; its last error where it never does.
fn until_it_works(attempt: impl Fn() -> Outcome<()>) -> Outcome<()> {
    let until = Instant::now() + BEGINS;
    loop {
        match attempt() {
            Err(_) if Instant::now() < until => sleep(Duration::from_millis(200)),
            outcome => return outcome,
        }
    }
}

/// Ends a server by a signal, and waits for it.
fn end(child: &mut Child, pid: u32, signal: &str) {
    let _ = Command::new("kill")
        .args(["-s", signal, &pid.to_string()])
        .status();
    let _ = child.wait();
}

/// Runs a command that is to succeed, with what it said on stdout.
fn run(command: &mut Command) -> Outcome<String> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(String::from_utf8(output.stdout)?);
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)).into())
}
