//! `murphy check --follow` judges a history while it is being written: a file that grows, or a pipe.

use std::{
    cell::Cell,
    fs::File,
    io::{self, Cursor, IsTerminal, Read},
    os::fd::AsFd,
    path::Path,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use murphy_check::{
    etcd::{self, ReadError, live::Live},
    formats::{self, HEAD},
    history::Header,
    judge::{Judged, ModelName},
    live::{self, LiveJudge, Progress},
    verdict::{Report, Verdict},
};
use murphy_sys::{session::readable, signal::Interrupts};

use super::{CheckArgs, histories, known_promises, select, tell};
use crate::{
    exit::{Exit, Failure},
    output::{grouped, plural},
};

/// How often a file is looked at for more, and the person who may want an end is listened to.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How many lines are judged between two looks at the clock, for the status line.
const LINES_BETWEEN: u64 = 1 << 10;

/// Judges it.
pub fn run(args: &CheckArgs, json: bool) -> Result<Exit, Failure> {
    let began = Instant::now();
    let name = if args.history == Path::new("-") {
        "standard input".to_owned()
    } else {
        args.history.display().to_string()
    };
    let unreadable = |error: io::Error| Failure::input(format!("read {name}:1:1: {error}"));
    let mut tail = Tail::open(args, &name)?;
    let head = tail.first_line().map_err(unreadable)?;
    let model = formats::model_of(&head).or_else(|| args.model.clone());
    let source = Cursor::new(head).chain(tail);
    let judged = match model.as_deref() {
        Some("etcd") => follow_etcd(&name, source, args, json)?,
        _ => follow_model(&name, source, args, json)?,
    };
    Ok(tell(&judged, args, json, began))
}

/// Histories of model `etcd` have a reader and a judge of their own.
fn follow_etcd(
    name: &str,
    mut source: impl Read,
    args: &CheckArgs,
    json: bool,
) -> Result<Judged, Failure> {
    if args.reading.lenient {
        return Err(histories::etcd_is_strict(name));
    }
    known_promises(&args.promise)?;
    let mut judge = Live::default();
    let mut status = Status::new(json);
    let mut piece = vec![0; 1 << 16];
    // Bytes that were read, and those up to the last end of a line.
    let (mut fed, mut lines) = (0, 0);
    let (mut looked, mut took) = (Instant::now(), Duration::ZERO);
    let unreadable = |error: ReadError| Failure::input(format!("read {name}:{error}"));
    loop {
        let read = source
            .read(&mut piece)
            .map_err(|error| Failure::input(format!("read {name}: {error}")))?;
        if read == 0 {
            break;
        }
        let last_end = piece[..read].iter().rposition(|byte| *byte == b'\n');
        lines = last_end.map_or(lines, |at| fed + at as u64 + 1);
        fed += read as u64;
        if judge.feed(&piece[..read]).map_err(unreadable)?.is_some() {
            break;
        }
        // Looking costs at most a tenth of the time, and else comes at once.
        if looked.elapsed() >= took * 10 {
            let began = Instant::now();
            let found = judge.look().map_err(unreadable)?.is_some();
            (looked, took) = (Instant::now(), began.elapsed());
            if found {
                break;
            }
        }
        status.show(|| {
            let etcd::live::Status {
                operations,
                open,
                kept,
                unknown,
                ..
            } = judge.status();
            Progress {
                operations,
                open,
                held: kept - open - unknown,
                unknown,
                ..Progress::default()
            }
        });
    }
    status.end();
    let gave_up = judge.lost().is_some();
    let mut report = judge.finish().map_err(unreadable)?;
    let is_broken = report.verdict(&[]) == Verdict::Broken;
    if is_broken || gave_up {
        // The witness of the whole history may be plainer, and can be confirmed. What was found stands without it.
        if let Some(whole) = whole(&args.history, lines)
            && (gave_up || whole.verdict(&[]) == Verdict::Broken)
        {
            report = if gave_up { whole } else { up_to_there(whole) };
        }
    }
    Ok(report.into())
}

/// What the judge of whole histories says of the first bytes of a file; `None` for what is no file, or cannot be read again.
fn whole(path: &Path, length: u64) -> Option<Report> {
    let file = File::open(path).ok()?;
    let is_file = file.metadata().is_ok_and(|kind| kind.is_file());
    let checked = is_file.then(|| etcd::check(file.take(length), &etcd::Options::default()))?;
    checked.ok()
}

/// What held up to the first contradiction may have been broken behind it.
fn up_to_there(mut report: Report) -> Report {
    for judgement in &mut report.judgements {
        if judgement.verdict == Verdict::Held {
            judgement.verdict = Verdict::Undecided;
            judgement.reason = format!("{}, until another was broken", judgement.reason);
        }
    }
    report
}

fn follow_model(
    name: &str,
    source: impl Read,
    args: &CheckArgs,
    json: bool,
) -> Result<Judged, Failure> {
    let strictness = args.reading.strictness();
    let reading = formats::Options {
        format: args.reading.format.format(),
        model: args.model.as_deref(),
        strictness,
    };
    let options = live::Options {
        strictness,
        limits: live::Limits {
            memory: usize::try_from(args.memory_limit).unwrap_or(usize::MAX) << 20,
            ..live::Limits::default()
        },
    };
    // A failure to begin is no fault of the first line.
    let refused = Cell::new(None);
    let mut start = |header: &Header| {
        begin(name, header, args, &options).map_err(|failure| {
            let said = failure.message.clone().into();
            refused.set(Some(failure));
            said
        })
    };
    let mut status = Status::new(json);
    let followed = formats::follow(source, &reading, &mut start, &mut |judge| {
        status.show(|| judge.progress());
    });
    status.end();
    if let Some(refused) = refused.take() {
        return Err(refused);
    }
    let mut judge = followed.map_err(|error| Failure::input(format!("read {name}:{error}")))?;
    let report = judge.finish();
    histories::say_left_out(name, judge.recording());
    Ok(report.into())
}

fn begin(
    name: &str,
    header: &Header,
    args: &CheckArgs,
    options: &live::Options,
) -> Result<Box<dyn LiveJudge>, Failure> {
    if header.model.is_empty() {
        return Err(Failure::input(format!(
            "judge {name}: its words belong to several models; name the one that is meant (--model)"
        )));
    }
    let judge = |error: &dyn std::fmt::Display| Failure::input(format!("judge {name}: {error}"));
    let model: ModelName = header.model.parse().map_err(|error| judge(&error))?;
    let begun = live::start(model, header, options).map_err(|error| judge(&error))?;
    select(&args.promise, "followed live", &["linearizable".to_owned()])?;
    Ok(begun)
}

/// The end of a history, at which more may come.
struct Tail {
    file: File,
    /// A file grows; a pipe says itself when it is at its end.
    is_pipe: bool,
    interrupts: Interrupts,
    idle: Option<Duration>,
    /// When something came last.
    last: Instant,
    /// What was read and not handed out: up to `at` it was, and from `lines` on the last line is not whole.
    block: Vec<u8>,
    at: usize,
    lines: usize,
    is_over: bool,
}

impl Tail {
    fn open(args: &CheckArgs, name: &str) -> Result<Self, Failure> {
        let opened = if args.history == Path::new("-") {
            io::stdin().as_fd().try_clone_to_owned().map(File::from)
        } else {
            File::open(&args.history)
        };
        let file = opened.map_err(|error| Failure::input(format!("open {name}: {error}")))?;
        let kind = file.metadata().map_err(Failure::machine)?;
        if kind.is_dir() {
            return Err(Failure::input(format!(
                "follow {name}: it is a folder; name the file in it that grows"
            )));
        }
        let refused = |error: io::Error| Failure::machine(format!("listen for Ctrl-C: {error}"));
        Ok(Self {
            file,
            is_pipe: !kind.is_file(),
            interrupts: Interrupts::catch().map_err(refused)?,
            idle: args.idle.map(|idle| idle.0),
            last: Instant::now(),
            block: Vec::new(),
            at: 0,
            lines: 0,
            is_over: false,
        })
    }

    /// The beginning, up to the end of a line.
    fn first_line(&mut self) -> io::Result<Vec<u8>> {
        let mut head = Vec::new();
        let mut block = [0; HEAD];
        while !head.trim_ascii_start().contains(&b'\n') {
            match self.read(&mut block)? {
                0 => break,
                read => head.extend_from_slice(&block[..read]),
            }
        }
        Ok(head)
    }

    /// Waits for more and takes it.
    fn fill(&mut self) -> io::Result<()> {
        self.block.drain(..self.lines);
        (self.at, self.lines) = (0, 0);
        loop {
            if self.interrupts.wait(Duration::ZERO)? {
                // Half a line says nothing.
                self.is_over = true;
                return Ok(());
            }
            let is_there = !self.is_pipe || readable(&self.file, Duration::ZERO)?;
            let before = self.block.len();
            if is_there {
                self.block.resize(before + (1 << 16), 0);
                let read = self.file.read(&mut self.block[before..])?;
                self.block.truncate(before + read);
                if read == 0 && self.is_pipe {
                    self.end();
                    return Ok(());
                }
            }
            if self.block.len() > before {
                self.last = Instant::now();
                let newline = self.block.iter().rposition(|byte| *byte == b'\n');
                self.lines = newline.map_or(0, |at| at + 1);
                if self.lines > 0 {
                    return Ok(());
                }
                continue;
            }
            if self.idle.is_some_and(|idle| self.last.elapsed() >= idle) {
                self.end();
                return Ok(());
            }
            if self.is_pipe {
                let _ = (self.interrupts).wait_beside(self.file.as_fd(), LOOK_EVERY)?;
            } else {
                let _ = self.interrupts.wait(LOOK_EVERY)?;
            }
        }
    }

    /// Nothing more will come: the last line is whole, whether or not it ends like one.
    fn end(&mut self) {
        self.lines = self.block.len();
        self.is_over = true;
    }
}

impl Read for Tail {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.lines && !self.is_over {
            self.fill()?;
        }
        let read = buffer.len().min(self.lines - self.at);
        buffer[..read].copy_from_slice(&self.block[self.at..self.at + read]);
        self.at += read;
        Ok(read)
    }
}

/// One line on a terminal that says how far it is.
struct Status {
    bar: Option<ProgressBar>,
    lines: u64,
    shown: Instant,
    operations: u64,
}

impl Status {
    fn new(json: bool) -> Self {
        let bar = (!json && io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(8));
            // The template is constant and has one field.
            bar.set_style(ProgressStyle::with_template("{msg}").expect("a valid template"));
            bar
        });
        Self {
            bar,
            lines: 0,
            shown: Instant::now(),
            operations: 0,
        }
    }

    fn show(&mut self, progress: impl FnOnce() -> Progress) {
        let Some(bar) = &self.bar else { return };
        self.lines += 1;
        let passed = self.shown.elapsed();
        let is_due = self.lines % LINES_BETWEEN == 1 || passed > LOOK_EVERY * 2;
        if !is_due || passed < LOOK_EVERY * 2 {
            return;
        }
        let progress = progress();
        let new = progress.operations - self.operations;
        bar.set_message(said(&progress, new as f64 / passed.as_secs_f64()));
        (self.shown, self.operations) = (Instant::now(), progress.operations);
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn said(progress: &Progress, rate: f64) -> String {
    format!(
        "  {} · {rate:.0} ops/s · {} open · {} held · {} unknown{}",
        plural(progress.operations, "operation"),
        grouped(progress.open as u64),
        grouped(progress.held as u64),
        grouped(progress.unknown as u64),
        memory().map_or_else(String::new, |mib| format!(" · {mib} MiB")),
    )
}

/// Resident memory of this process (`VmRSS` in its status, proc(5)), in MiB.
fn memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kib >> 10)
}
