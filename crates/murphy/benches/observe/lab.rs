//! Two pairs of a client and a server, each in a network namespace of its own, and Murphy, which observes one of them.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::UdpSocket,
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use murphy_sys::{
    namespace::NetNamespace, pidfd::Pidfd, process::ProcessId, program_runs::ProgramRuns,
};
use rustix::{
    process::{Resource, getrlimit, setrlimit},
    thread::{CpuSet, sched_setaffinity},
};
use serde_json::Value;

use crate::{
    Outcome,
    wire::{Wire, address},
};

/// The program under test.
const MURPHY: &str = env!("CARGO_BIN_EXE_murphy");
/// How long it may take until Murphy observes, and until it settles: its first look, its first pings.
const BEGINS_WITHIN: Duration = Duration::from_secs(30);
const SETTLES: Duration = Duration::from_secs(1);
/// Who asks runs on one processor, who answers on the other: whether they share one makes more of a difference than
/// anything here.
pub const ASKS_ON: usize = 0;
pub const ANSWERS_ON: usize = 1;

/// The lab.
pub struct Lab {
    /// Those of whom one is observed.
    pub pair: Pair,
    /// Those whom nobody observes.
    pub strangers: Pair,
}

/// A client and a server on a wire.
pub struct Pair {
    wire: Wire,
    /// Somebody at each, by whom they are named.
    homes: [Child; 2],
}

impl Lab {
    /// Lays it.
    pub fn lay() -> Outcome<Self> {
        let mut limit = getrlimit(Resource::Nofile);
        limit.current = limit.maximum;
        setrlimit(Resource::Nofile, limit)?;
        Ok(Self {
            pair: Pair::lay()?,
            strangers: Pair::lay()?,
        })
    }
}

impl Pair {
    fn lay() -> Outcome<Self> {
        let make = || -> Outcome<NetNamespace> {
            let node = NetNamespace::create()?;
            // Where a connection was is free at once.
            node.run(|| fs::write("/proc/sys/net/ipv4/tcp_max_tw_buckets", "0"))??;
            run(&node, Command::new("ip").args(["link", "set", "lo", "up"]))?;
            Ok(node)
        };
        let wire = Wire::lay(make()?, make()?);
        let home = |node: &NetNamespace| -> Outcome<Child> {
            Ok(node.run(|| Command::new("sleep").arg("infinity").spawn())??)
        };
        let homes = [home(&wire.a)?, home(&wire.b)?];
        Ok(Self { wire, homes })
    }

    /// Who asks.
    pub fn client(&self) -> &NetNamespace {
        &self.wire.a
    }

    /// Who answers.
    pub fn server(&self) -> &NetNamespace {
        &self.wire.b
    }

    /// Has the server use DNS while this is here: it has a socket for that, and asks nothing.
    pub fn use_dns(&self) -> Outcome<UdpSocket> {
        let socket = self
            .server()
            .run(|| UdpSocket::bind((address(true, 2), 0)))??;
        socket.connect((address(true, 1), 53))?;
        Ok(socket)
    }

    /// Has Murphy observe the client.
    pub fn observe_client(&self, words: &[&str]) -> Outcome<Watch> {
        Watch::begin(self.homes[0].id(), words)
    }

    /// Has Murphy observe the server.
    pub fn observe_server(&self, words: &[&str]) -> Outcome<Watch> {
        Watch::begin(self.homes[1].id(), words)
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        for home in &mut self.homes {
            // One that has ended needs no end.
            let _ = home.kill();
            let _ = home.wait();
        }
    }
}

/// A Murphy that observes.
pub struct Watch {
    murphy: Child,
    said: Receiver<Value>,
}

impl Watch {
    fn begin(pid: u32, words: &[&str]) -> Outcome<Self> {
        let target = format!("netns:/proc/{pid}/ns/net");
        let mut murphy = Command::new(MURPHY)
            .args(["observe", "--json", "-t", &target])
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = murphy.stdout.take().ok_or("its output is not read")?;
        let (teller, said) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                // What it says every second is not kept: it is much, and the end says the same.
                if line.starts_with(r#"{"event":"snapshot""#) {
                    continue;
                }
                let Ok(value) = serde_json::from_str(&line) else {
                    break;
                };
                let _ = teller.send(value);
            }
        });
        let watch = Self { murphy, said };
        watch.hear("observing")?;
        thread::sleep(SETTLES);
        Ok(watch)
    }

    /// Waits until it says an event.
    pub fn hear(&self, event: &str) -> Outcome<Value> {
        let until = Instant::now() + BEGINS_WITHIN;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let said = self.said.recv_timeout(left);
            let said = said.map_err(|_| format!("Murphy has not said `{event}`"))?;
            if said["event"] == event {
                return Ok(said);
            }
        }
    }

    /// How long it has had processors, in seconds.
    pub fn ran_s(&self) -> Outcome<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.murphy.id()))?;
        let rest = stat.rsplit(')').next().unwrap_or_default();
        // proc_pid_stat(5): utime and stime are the 14th and 15th, and the rest begins with the 3rd; in hundredths.
        let ticks = rest.split_whitespace().skip(11).take(2);
        let ticks = ticks.map(str::parse::<f64>).sum::<Result<f64, _>>()?;
        Ok(ticks / 100.0)
    }

    /// A figure of its memory, by the name that `proc_pid_status(5)` has for it, in megabytes.
    pub fn memory_mb(&self, name: &str) -> Outcome<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.murphy.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.split_whitespace().nth(1));
        let kib: f64 = kib.ok_or("its memory is not known")?.parse()?;
        Ok(kib * 1024.0 / 1e6)
    }

    /// The most memory that it uses within a time, and the most of that that is no file's, in megabytes.
    pub fn most_mb(&self, lasts: Duration) -> Outcome<[f64; 2]> {
        let until = Instant::now() + lasts;
        let mut most = [0.0_f64; 2];
        while Instant::now() < until {
            for (most, name) in most.iter_mut().zip(["VmRSS", "RssAnon"]) {
                *most = most.max(self.memory_mb(name)?);
            }
            thread::sleep(Duration::from_millis(20));
        }
        // That is the kernel's own, which has looked all the time.
        most[0] = most[0].max(self.memory_mb("VmHWM")?);
        Ok(most)
    }

    /// Ends it, and gives how everything was in the end.
    pub fn end(mut self) -> Outcome<Value> {
        Pidfd::open(ProcessId::of(self.murphy.id())?)?.send("INT".parse()?)?;
        let mut ended = self.hear("ended")?;
        if !self.murphy.wait()?.success() {
            return Err(format!("Murphy has failed: {ended}").into());
        }
        Ok(ended["snapshot"].take())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // One that has ended needs no end.
        let _ = self.murphy.kill();
        let _ = self.murphy.wait();
    }
}

/// The runs of BPF programs in what Murphy has said.
pub fn runs_of(snapshot: &Value) -> Outcome<Vec<ProgramRuns>> {
    let all = snapshot["overhead"]["programs"].as_array();
    let all = all.ok_or("it says nothing of its programs")?.iter();
    let runs = all.map(|one| {
        Some(ProgramRuns {
            name: one["name"].as_str()?.to_owned(),
            runs: one["runs"].as_u64()?,
            ns: one["ns"].as_u64()?,
        })
    });
    let runs = runs.collect::<Option<_>>();
    Ok(runs.ok_or("it says its programs otherwise")?)
}

/// Has the calling thread run on one processor only; where there is no such processor, anywhere.
pub fn stay_on(processor: usize) {
    let mut one = CpuSet::new();
    one.set(processor);
    let _ = sched_setaffinity(None, &one);
}

/// Runs a program at a node to its end.
pub fn run(node: &NetNamespace, command: &mut Command) -> Outcome<()> {
    let output = node.run(|| command.output())??;
    if output.status.success() {
        Ok(())
    } else {
        let said = [output.stdout, output.stderr].concat();
        Err(format!("{command:?}: {}", String::from_utf8_lossy(&said)).into())
    }
}
