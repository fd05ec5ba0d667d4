//! A command probe runs a program: `command:WORDS`, or `sh:TEXT` for what only a shell understands.
//!
//! It passes when the program ends with exit code 0 within the limit. Words are split at blanks and nothing else is done
//! to them; a word with a quote or a backslash is refused, because whoever writes one means a shell. A program gets
//! Murphy's environment and directory and an empty standard input, and leads a process group of its own. When it has
//! ended, or its time is over, the whole group is killed: what it has left behind in the background, too. Only what
//! begins a session of its own (`setsid(2)`) is left alone. If Murphy dies, the program dies.

use std::{
    ffi::OsString,
    fmt, io,
    os::{fd::OwnedFd, unix::process::ExitStatusExt},
    process::{Child, ExitStatus, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use murphy_sys::{
    pidfd::ended_within,
    session,
    spawn::{Launch, SpawnError},
};
use rustix::{
    io::Errno,
    process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open},
};

use super::{
    grammar::{Misread, word},
    look::{Outcome, Reason, is_own_want, one_line},
};

/// How long a killed program may take until it has ended. One that waits for a disk can take longer.
pub(super) const KILL_LIMIT: Duration = Duration::from_secs(1);
/// How often is asked whether nobody wants to know any more.
const WANTED_EVERY: Duration = Duration::from_millis(50);
/// How much of the end of the output is kept.
const TAIL_BYTES: usize = 4096;
/// How much is read at a time.
const CHUNK_BYTES: usize = 64 << 10;
/// How much is read of what had been written before the end: no pipe holds more unless somebody makes it.
const REST_BYTES_MAX: usize = 1 << 20;
/// Words by which a shell is meant.
const SHELL_WORDS: [&str; 11] = [
    "|", "||", "&", "&&", ";", "<", ">", ">>", "2>", "2>&1", ">&2",
];
const FORM: &str = "expected a program and its arguments, such as command:./check.sh --fast";

/// What is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// A program and its arguments.
    Words(Vec<String>),
    /// What `sh -c` is given.
    Shell(String),
}

impl Command {
    pub(super) fn read_words(text: &str) -> Result<Self, Misread> {
        if let Some(at) = text.find(['\'', '"', '\\']) {
            let wrong =
                "words are split at blanks, and nothing is quoted: write sh: instead of command:";
            return Err(Misread::at(&text[at..], wrong));
        }
        let mut words = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (first, behind) = word(rest);
            if SHELL_WORDS.contains(&first) {
                let wrong = format!("{first} is for a shell: write sh: instead of command:");
                return Err(Misread::at(rest, wrong));
            }
            words.extend((!first.is_empty()).then(|| first.to_owned()));
            rest = behind.strip_prefix(' ').unwrap_or_default();
        }
        if words.is_empty() {
            return Err(Misread::at(text, FORM));
        }
        Ok(Self::Words(words))
    }

    pub(super) fn read_shell(text: &str) -> Result<Self, Misread> {
        if text.trim().is_empty() {
            return Err(Misread::at(
                text,
                "expected what sh is to do, such as sh:test -s out.log",
            ));
        }
        Ok(Self::Shell(text.trim_start().to_owned()))
    }

    fn argv(&self) -> Vec<OsString> {
        match self {
            Self::Words(words) => words.iter().map(Into::into).collect(),
            Self::Shell(text) => ["/bin/sh", "-c", text].map(Into::into).into(),
        }
    }

    /// Runs it once, unless nobody wants to know any more: then it is killed. One that does not even end when it is killed is kept as
    /// `earlier`, and the next look waits for it.
    pub(super) fn look(
        &self,
        earlier: &mut Option<Child>,
        limit: Duration,
        is_over: &AtomicBool,
    ) -> Outcome {
        match self.run(earlier, limit, is_over) {
            Ok(outcome) => outcome,
            Err(error) => Outcome::unable(&error),
        }
    }

    fn run(
        &self,
        earlier: &mut Option<Child>,
        limit: Duration,
        is_over: &AtomicBool,
    ) -> io::Result<Outcome> {
        if let Some(child) = earlier {
            if ended_within(child, Duration::ZERO)?.is_none() {
                let detail = format!(
                    "killed some looks ago, process {} is still there",
                    child.id()
                );
                return Ok(Outcome::failed(Reason::TimedOut, detail));
            }
            *earlier = None;
        }
        let until = Instant::now() + limit;
        let (out, into) = session::pipe()?;
        session::never_wait(&out)?;
        let mut child = match self.start(into)? {
            Ok(child) => child,
            Err(outcome) => return Ok(outcome),
        };
        let mut output = Output {
            pipe: out,
            tail: Vec::new(),
            is_open: true,
        };
        let heard = output.hear_until_end(&child, until, is_over);
        // Its pid, and with it the group, is nobody else's before it is collected. Whoever has become another user is
        // out of reach; if that is the program itself, the next look says so.
        let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
        let status = ended_within(&mut child, KILL_LIMIT);
        if !matches!(status, Ok(Some(_))) {
            *earlier = Some(child);
        }
        let has_ended = heard?;
        output.read_rest();
        let last = last_line(&output.tail);
        Ok(match status? {
            Some(status) if has_ended => judge(status, &last),
            _ => Outcome::failed(
                Reason::TimedOut,
                with_last(&format!("killed after {limit:?}"), &last),
            ),
        })
    }

    /// Starts it, or says why it cannot be.
    fn start(&self, into: OwnedFd) -> io::Result<Result<Child, Outcome>> {
        let mut launch = Launch::new(self.argv());
        launch.stdout = Stdio::from(into.try_clone()?);
        launch.stderr = Stdio::from(into);
        launch.own_group = true;
        launch.die_with_parent = true;
        match launch.spawn() {
            Ok(child) => Ok(Ok(child)),
            Err(SpawnError::Refused { source, .. }) if is_own_want(&source) => Err(source),
            Err(error) => Ok(Err(Outcome::failed(Reason::NotStarted, error.to_string()))),
        }
    }
}

/// What a program says, of which the end is kept.
struct Output {
    pipe: OwnedFd,
    tail: Vec<u8>,
    /// Whether somebody may still write.
    is_open: bool,
}

impl Output {
    /// Reads until the program has ended, which is true, or its time is over.
    fn hear_until_end(
        &mut self,
        child: &Child,
        until: Instant,
        is_over: &AtomicBool,
    ) -> io::Result<bool> {
        let end = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || is_over.load(Ordering::Relaxed) {
                return Ok(false);
            }
            let left = left.min(WANTED_EVERY);
            let has_ended = if self.is_open {
                session::first_readable(&end, &self.pipe, left)?
            } else {
                session::readable(&end, left)?
            };
            if has_ended {
                return Ok(true);
            }
            if self.is_open {
                self.read();
            }
        }
    }

    /// Reads what is there, and waits for nothing. How much that was.
    fn read(&mut self) -> usize {
        let mut chunk = vec![0; CHUNK_BYTES];
        match rustix::io::read(&self.pipe, &mut chunk) {
            Ok(0) => self.is_open = false,
            Ok(read) => {
                self.tail.extend_from_slice(&chunk[..read]);
                let beyond = self.tail.len().saturating_sub(TAIL_BYTES);
                self.tail.drain(..beyond);
                return read;
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            // Nothing else can happen to a pipe; then there is no more to be had.
            Err(_) => self.is_open = false,
        }
        0
    }

    fn read_rest(&mut self) {
        let mut total = 0;
        while total < REST_BYTES_MAX {
            match self.read() {
                0 => return,
                read => total += read,
            }
        }
    }
}

fn judge(status: ExitStatus, last: &str) -> Outcome {
    match (status.code(), status.signal()) {
        (Some(0), _) => match last.parse() {
            Ok(value) => Outcome::passed_with(value),
            Err(_) => Outcome::PASSED,
        },
        (Some(code), _) => Outcome::failed(
            Reason::BadExit,
            with_last(&format!("exit code {code}"), last),
        ),
        (None, signal) => {
            let signal = signal.unwrap_or_default();
            Outcome::failed(Reason::Killed, with_last(&format!("signal {signal}"), last))
        }
    }
}

fn with_last(what: &str, last: &str) -> String {
    if last.is_empty() {
        what.to_owned()
    } else {
        format!("{what}: {last}")
    }
}

/// The last line with anything on it.
fn last_line(tail: &[u8]) -> String {
    let mut lines = tail.rsplit(|byte| *byte == b'\n');
    let is_said = |line: &&[u8]| !line.trim_ascii().is_empty();
    one_line(lines.find(is_said).unwrap_or_default())
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Words(words) => write!(f, "command:{}", words.join(" ")),
            Self::Shell(text) => write!(f, "sh:{text}"),
        }
    }
}
