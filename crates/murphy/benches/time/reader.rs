//! The process whose clocks are measured: `victims/clock/bench.c`, asked over its standard input.

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use murphy_sys::process::ProcessId;
use murphy_target::Target;

use crate::Outcome;

/// Compiles it into `directory`.
pub fn build(directory: &Path) -> Outcome<PathBuf> {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../../victims/clock/bench.c");
    let program = directory.join("clock-bench");
    let status = Command::new("cc")
        .args(["-O2", "-pthread", "-o"])
        .arg(&program)
        .arg(source)
        .status()?;
    if status.success() {
        Ok(program)
    } else {
        Err(format!("failed to compile {source}: cc {status}").into())
    }
}

/// One such process.
pub struct Reader {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Reader {
    /// Starts it.
    pub fn start(command: &mut Command) -> Outcome<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take();
        let output = child.stdout.take().ok_or("its output is not read")?;
        Ok(Self {
            child,
            input,
            output: BufReader::new(output),
        })
    }

    /// Starts it in a mode in which it only sleeps.
    pub fn asleep(program: &Path, mode: &str, count: usize) -> Outcome<Self> {
        let count = count.to_string();
        let mut reader = Self::start(Command::new(program).args([mode, &count]))?;
        reader.ready()?;
        Ok(reader)
    }

    /// Waits until it is ready.
    pub fn ready(&mut self) -> Outcome<()> {
        match self.line()?.as_str() {
            "ready" => Ok(()),
            said => Err(format!("failed to start: it said {said:?}").into()),
        }
    }

    /// Its pid.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// It alone as a target.
    pub fn target(&self) -> Outcome<Target> {
        let process = ProcessId::of(self.pid())?;
        Ok(Target::of_processes("reader", &[process], [])?)
    }

    /// Its answer to one line, a number.
    pub fn ask(&mut self, line: &str) -> Outcome<f64> {
        if let Some(input) = &mut self.input {
            writeln!(input, "{line}")?;
        }
        Ok(self.line()?.parse()?)
    }

    fn line(&mut self) -> Outcome<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Reader {
    /// Not killed: a tool it was started through may have something to clean up.
    fn drop(&mut self) {
        self.input = None;
        let _ = self.child.wait();
    }
}
