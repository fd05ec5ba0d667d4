//! What it costs to count system calls, and to have some of them fail: a bare loop of calls beside the same under `strace` and `perf
//! trace`, servers that are recorded beside the same that are not, and what a recording of a day has in memory.
//!
//! A table on stdout, or one JSON object with `--json`. Everything measured against each other is measured in one run and in turn,
//! because the machine is never quiet.
#![allow(clippy::print_stdout, reason = "what it prints is what it is for")]
#![allow(
    clippy::print_stderr,
    reason = "what could not be measured is no result"
)]

#[allow(dead_code, reason = "each bench uses its own part")]
#[path = "../net/figure.rs"]
mod figure;
mod inject;
mod load;
mod memory;
#[path = "../net/parts.rs"]
mod parts;
#[allow(dead_code, reason = "each bench uses its own part")]
#[path = "../time/reader.rs"]
mod reader;
mod record;

use std::{
    error::Error,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::Duration,
};

use parts::Part;
use reader::Reader;

/// The program under test.
const MURPHY: &str = env!("CARGO_BIN_EXE_murphy");
/// How long whoever was begun or ended needs to be there, or gone, everywhere.
const SETTLE: Duration = Duration::from_millis(300);

type Outcome<T> = Result<T, Box<dyn Error>>;

const PARTS: [Part<Lab>; 5] = [
    ("record", record::measure),
    ("inject", inject::measure),
    ("stop", inject::stop),
    ("load", load::measure),
    ("memory", memory::measure),
];

fn main() -> Outcome<()> {
    parts::measure(&PARTS, Lab::lay)
}

/// Where programs are that are built for it.
struct Lab {
    directory: tempfile::TempDir,
    program: PathBuf,
}

impl Lab {
    fn lay() -> Outcome<Self> {
        let directory = tempfile::tempdir()?;
        let program = build(directory.path())?;
        Ok(Self { directory, program })
    }

    /// The loop of calls, with so many threads that sleep beside it.
    fn calls(&self, threads: usize) -> Outcome<Reader> {
        let mut command = Command::new(&self.program);
        let mut reader = Reader::start(command.arg(threads.to_string()))?;
        reader.ready()?;
        Ok(reader)
    }
}

/// Compiles the loop of calls into a directory.
fn build(directory: &std::path::Path) -> Outcome<PathBuf> {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../../victims/calls/bench.c");
    let program = directory.join("calls-bench");
    let status = Command::new("cc")
        .args(["-O2", "-pthread", "-o"])
        .arg(&program)
        .arg(source)
        .status()?;
    if !status.success() {
        return Err(format!("failed to compile {source}: cc {status}").into());
    }
    Ok(program)
}

/// A tool that is at work on a process until it is dropped.
struct Tool(Child);

impl Tool {
    /// Starts it, and waits until it says a word, or a little where it says none.
    fn start(command: &mut Command, begun: Option<&str>) -> Outcome<Self> {
        let out = if begun.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        };
        let mut child = command
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(Stdio::null())
            .spawn()?;
        let stdout = child.stdout.take();
        let tool = Self(child);
        if let (Some(word), Some(stdout)) = (begun, stdout) {
            let mut lines = BufReader::new(stdout);
            let mut line = String::new();
            while !line.contains(word) {
                line.clear();
                if lines.read_line(&mut line)? == 0 {
                    return Err(format!("{command:?} never said {word}").into());
                }
            }
            // What it says later is of no use, and must not make it wait.
            std::thread::spawn(move || lines.lines().for_each(drop));
        }
        sleep(SETTLE);
        Ok(tool)
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        let pid = self.0.id().to_string();
        let _ = Command::new("kill").args(["-s", "INT", &pid]).status();
        let _ = self.0.wait();
        sleep(SETTLE);
    }
}

/// What a call of a loop takes, in nanoseconds.
fn takes(reader: &mut Reader, call: &str, times: u32) -> Outcome<f64> {
    reader.ask(&format!("{call} {times}"))
}

/// `murphy amplify record` on a process.
fn recorder(pid: u32) -> Outcome<Tool> {
    let mut command = Command::new(MURPHY);
    command.args([
        "amplify",
        "record",
        "--interval",
        "1s",
        "--json",
        "-t",
        &format!("pid:{pid}"),
    ]);
    Tool::start(&mut command, Some("\"murphy\""))
}
