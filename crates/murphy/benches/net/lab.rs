//! Two nodes on a wire, and what is started on them: Murphy, and those that it is measured beside.

use std::{
    fs,
    io::{BufRead, BufReader, Lines},
    net::SocketAddr,
    process::{Child, ChildStdout, Command, Stdio},
    sync::mpsc,
    thread,
};

use murphy_sys::{namespace::NetNamespace, pidfd::Pidfd, process::ProcessId};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    Outcome,
    wire::{Wire, address},
};

/// The program under test.
const MURPHY: &str = env!("CARGO_BIN_EXE_murphy");
/// A stream of many gigabits a second that takes some milliseconds is as long as this.
const BUFFERS: &str = "4096 131072 67108864";
/// The most that a disturbance lasts that nobody ends.
const LIMIT: &str = "10m";

/// The lab.
pub struct Lab {
    pub wire: Wire,
    /// Somebody at node 1, as a target.
    home: Running,
    journal: TempDir,
}

impl Lab {
    /// Lays it.
    pub fn lay() -> Outcome<Self> {
        let make = || -> Outcome<NetNamespace> {
            let node = NetNamespace::create()?;
            node.run(|| {
                fs::write("/proc/sys/net/ipv4/tcp_rmem", BUFFERS)?;
                fs::write("/proc/sys/net/ipv4/tcp_wmem", BUFFERS)
            })??;
            run(&node, Command::new("ip").args(["link", "set", "lo", "up"]))?;
            Ok(node)
        };
        let wire = Wire::lay(make()?, make()?);
        let home = Running::start(&wire.a, Command::new("sleep").arg("infinity"))?;
        Ok(Self {
            wire,
            home,
            journal: tempfile::tempdir()?,
        })
    }

    /// An address at node 2.
    pub fn there(port: u16) -> SocketAddr {
        (address(true, 2), port).into()
    }

    /// Starts Murphy, which disturbs what node 1 sends, and does not wait for it.
    pub fn start(&self, words: &[&str]) -> Outcome<Disturbance> {
        let target = format!("pid:{}", self.home.pid());
        let mut murphy = Command::new(MURPHY)
            .args(["inject", "net", "-t", &target, "--for", LIMIT, "--json"])
            .args(words)
            .env("MURPHY_JOURNAL", self.journal.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            // It complains of what is wanted here: that nothing was there to be disturbed.
            .stderr(Stdio::null())
            .spawn()?;
        let output = murphy.stdout.take().ok_or("its output is not read")?;
        Ok(Disturbance {
            murphy: Running(murphy),
            lines: BufReader::new(output).lines(),
        })
    }

    /// The same, and waits until packets are disturbed.
    pub fn disturb(&self, words: &[&str]) -> Outcome<Disturbance> {
        let mut disturbance = self.start(words)?;
        disturbance.wait_until_active()?;
        Ok(disturbance)
    }
}

/// A Murphy at work.
pub struct Disturbance {
    murphy: Running,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Disturbance {
    /// Waits until it says that packets are disturbed.
    pub fn wait_until_active(&mut self) -> Outcome<()> {
        loop {
            let line = self.lines.next().ok_or("it ended before it acted")??;
            let said: Value = serde_json::from_str(&line)?;
            if said["event"] == "active" {
                return Ok(());
            }
        }
    }

    /// Its pid.
    pub fn pid(&self) -> u32 {
        self.murphy.pid()
    }

    /// Ends it, and gives its effect.
    pub fn end(self) -> Outcome<Value> {
        let Self { mut murphy, lines } = self;
        Pidfd::open(ProcessId::of(murphy.pid())?)?.send("INT".parse()?)?;
        let last = lines.last().ok_or("it says nothing at its end")??;
        let status = murphy.0.wait()?;
        // A disturbance that met no packet is an error of its own, and none of these.
        if status.success() || status.code() == Some(3) {
            let last: Value = serde_json::from_str(&last)?;
            Ok(last["effect"].clone())
        } else {
            Err(format!("it ended with {status}: {last}").into())
        }
    }
}

/// A program that ends with whoever holds it.
pub struct Running(Child);

impl Running {
    /// Starts it at a node.
    pub fn start(node: &NetNamespace, command: &mut Command) -> Outcome<Self> {
        let command = command.stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self(node.run(|| command.spawn())??))
    }

    /// Starts it at a node, and waits until it says so in a line. It is told to end by its standard input.
    pub fn start_and_hear(node: &NetNamespace, command: &mut Command, line: &str) -> Outcome<Self> {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = node.run(|| command.spawn())??;
        let output = child.stdout.take().ok_or("its output is not read")?;
        let (teller, told) = mpsc::channel();
        thread::spawn(move || {
            BufReader::new(output)
                .lines()
                .map_while(Result::ok)
                .for_each(|line| {
                    let _ = teller.send(line);
                });
        });
        let running = Self(child);
        match told.recv() {
            Ok(said) if said == line => Ok(running),
            said => Err(format!("it is not {line}: {said:?}").into()),
        }
    }

    /// Its pid.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended needs no end.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a program at a node to its end, and gives what it says.
pub fn run(node: &NetNamespace, command: &mut Command) -> Outcome<Vec<u8>> {
    let output = node.run(|| command.output())??;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        let said = [output.stdout, output.stderr].concat();
        Err(format!("{command:?}: {}", String::from_utf8_lossy(&said)).into())
    }
}
