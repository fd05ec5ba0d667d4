//! A network namespace with a loopback, and Murphy, which ends connections in it.

use std::{
    fs,
    io::{BufRead, BufReader, Lines},
    process::{Child, ChildStdout, Command, Stdio},
};

use murphy_sys::{namespace::NetNamespace, pidfd::Pidfd, process::ProcessId};
use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::Value;
use tempfile::TempDir;

use crate::Outcome;

/// The program under test.
const MURPHY: &str = env!("CARGO_BIN_EXE_murphy");

/// The lab.
pub struct Lab {
    pub node: NetNamespace,
    /// Somebody in it, by whom it is named.
    home: Child,
    journal: TempDir,
}

impl Lab {
    /// Lays it.
    pub fn lay() -> Outcome<Self> {
        let mut limit = getrlimit(Resource::Nofile);
        limit.current = limit.maximum;
        setrlimit(Resource::Nofile, limit)?;
        let node = NetNamespace::create()?;
        run(&node, Command::new("ip").args(["link", "set", "lo", "up"]))?;
        let home = node.run(|| Command::new("sleep").arg("infinity").spawn())??;
        Ok(Self {
            node,
            home,
            journal: tempfile::tempdir()?,
        })
    }

    /// Murphy, about to end connections here.
    pub fn murphy(&self, words: &[&str]) -> Command {
        let target = format!("netns:/proc/{}/ns/net", self.home.id());
        let mut murphy = Command::new(MURPHY);
        murphy
            .args(["inject", "conn", "--json", "-t", &target])
            .args(words)
            .env("MURPHY_JOURNAL", self.journal.path())
            .stdin(Stdio::null());
        murphy
    }

    /// Ends connections, and gives the effect.
    pub fn end(&self, words: &[&str]) -> Outcome<Value> {
        let output = self.murphy(words).output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into());
        }
        let said = String::from_utf8(output.stdout)?;
        let last: Value = serde_json::from_str(said.lines().last().ok_or("it says nothing")?)?;
        Ok(last["effect"].clone())
    }

    /// Starts what lasts, and waits until it has drawn for the first time.
    pub fn arm(&self, words: &[&str]) -> Outcome<Armed> {
        let mut murphy = self.murphy(words).stdout(Stdio::piped()).spawn()?;
        let output = murphy.stdout.take().ok_or("its output is not read")?;
        let mut armed = Armed {
            murphy,
            lines: BufReader::new(output).lines(),
        };
        loop {
            let line = armed.lines.next().ok_or("it ended before it acted")??;
            let said: Value = serde_json::from_str(&line)?;
            if said["event"] == "active" {
                return Ok(armed);
            }
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // One that has ended needs no end.
        let _ = self.home.kill();
        let _ = self.home.wait();
    }
}

/// A Murphy at work.
pub struct Armed {
    murphy: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Armed {
    /// Ends it, and gives its effect.
    pub fn disarm(mut self) -> Outcome<Value> {
        Pidfd::open(ProcessId::of(self.murphy.id())?)?.send("INT".parse()?)?;
        let last = self.lines.by_ref().last().ok_or("it says nothing")??;
        if !self.murphy.wait()?.success() {
            return Err(last.into());
        }
        let last: Value = serde_json::from_str(&last)?;
        Ok(last["effect"].clone())
    }
}

impl Drop for Armed {
    fn drop(&mut self) {
        // One that has ended needs no end.
        let _ = self.murphy.kill();
        let _ = self.murphy.wait();
    }
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

/// How long the children of this process have run that have ended and were waited for, in seconds.
pub fn children_ran() -> Outcome<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let rest = stat.rsplit(')').next().unwrap_or_default();
    // proc_pid_stat(5): cutime and cstime are the 16th and 17th, and the rest begins with the 3rd; in hundredths.
    let ticks = rest.split_whitespace().skip(13).take(2);
    let ticks = ticks.map(str::parse::<f64>).sum::<Result<f64, _>>()?;
    Ok(ticks / 100.0)
}
