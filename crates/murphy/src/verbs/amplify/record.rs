//! `murphy amplify record` counts what the system calls of a target come to.

use std::{
    fs::File,
    io::{self, BufWriter, IsTerminal, Write, stdout},
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use clap::{Args, ValueEnum};
use murphy_amplify::recorder::{Header, Interval, Recorder, RecorderError, Spec, Writer};
use murphy_fault::span::{Span, Until};
use murphy_run::request::Machine;
use murphy_sys::{census::Times, clock::realtime_ns, signal::Interrupts};
use murphy_target::{MAX_TARGETS, Mode, Selector, Target};

use super::{
    metrics::Totals,
    probing::{Probing, ProbingArgs},
    table::{Table, Unit},
};
use crate::{
    exit::{Exit, Failure},
    output,
    verbs::{
        inject::aim::{Aim, interrupts, say_left_out},
        scrape::{self, Scraped},
    },
};

/// No shorter interval is worth its lines.
const INTERVAL_LEAST: Duration = Duration::from_millis(100);

/// Arguments of `murphy amplify record`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  murphy amplify record -t pid:42                          every 15 s, what was called and what failed
  murphy amplify record -t name:obs --interval 1s --latency --latency-unit ms
  murphy amplify record -t container:mail --for 24h -o errors.jsonl
  murphy amplify record -t pid:42 --for 1m --json          the recording itself, on standard output

Every call of the target and of all who are born by it is counted in the kernel (eBPF), by what it is
asked to do, by what its descriptor leads to, and by what it returns; zeros included. Nothing is changed.
More: docs/amplify.md")]
pub struct RecordArgs {
    /// Whose calls: pid:42, name:etcd, container:web, unit:postfix.service, … (docs/targets.md); repeatable.
    #[arg(short, long = "target", value_name = "TARGET", required = true)]
    pub targets: Vec<Selector>,

    /// How long: 10m, 24h, or `forever`.
    #[arg(long = "for", value_name = "TIME", default_value = "forever")]
    pub time: Until,

    /// How long an interval is: rates are per interval.
    #[arg(long, value_name = "TIME", default_value = "15s")]
    pub interval: Span,

    /// Take the time of calls, too: each call of the target is then looked at twice.
    #[arg(long)]
    pub latency: bool,

    /// The unit in which times are shown.
    #[arg(long, value_name = "UNIT", value_enum, default_value_t = LatencyUnit::Us, requires = "latency")]
    pub latency_unit: LatencyUnit,

    /// Where the recording goes, for `murphy amplify model`; a file that is there is not overwritten. `-` is standard output, where
    /// the table then is not.
    #[arg(short, long = "out", value_name = "FILE")]
    pub out: Option<PathBuf>,

    /// What is watched beside it.
    #[command(flatten)]
    pub probing: ProbingArgs,

    /// Answer Prometheus at ADDRESS:PORT/metrics: 127.0.0.1:9101, or port 0 for any that is free.
    #[arg(long, value_name = "ADDR", value_parser = scrape::address)]
    pub prometheus: Option<SocketAddr>,

    /// Print one table below the other also on a terminal.
    #[arg(long)]
    pub plain: bool,

    /// Count what each run of Murphy's BPF programs takes: the kernel then reads a clock twice for each run of any program of
    /// this machine.
    #[arg(long)]
    pub measure_overhead: bool,
}

/// A unit of times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LatencyUnit {
    /// Milliseconds.
    Ms,
    /// Microseconds.
    Us,
}

impl RecordArgs {
    fn spec(&self) -> Result<Spec, Failure> {
        if self.interval.0 < INTERVAL_LEAST {
            return Err(Failure::input(format!(
                "record: --interval {} is too short to tell rates by; say 100ms or longer",
                self.interval
            )));
        }
        Ok(Spec {
            times: if self.latency {
                Times::Taken
            } else {
                Times::Untaken
            },
            interval: self.interval.0,
            counts_runs: self.measure_overhead,
        })
    }

    /// How long it lasts, if it ends by itself.
    fn lasts(&self) -> Result<Option<Duration>, Failure> {
        match self.time {
            Until::Forever => Ok(None),
            Until::After(span) if span.0 < self.interval.0 => Err(Failure::input(format!(
                "record: --for {span} is shorter than one interval of {}; say a longer time, or a shorter --interval",
                self.interval
            ))),
            Until::After(span) => Ok(Some(span.0)),
        }
    }

    fn find(&self) -> Result<Target, Failure> {
        let aim = Aim {
            targets: self.targets.clone(),
            time: None,
            mode: Mode::All,
            seed: None,
            max_targets: MAX_TARGETS,
            dry_run: false,
            detach: false,
            detached: false,
            command: Vec::new(),
        };
        aim.find(realtime_ns())
    }

    fn header(&self) -> Header {
        Header::new(
            self.targets.iter().map(ToString::to_string).collect(),
            Machine::this(env!("CARGO_PKG_VERSION")).kernel,
            jiff::Timestamp::now(),
            u64::try_from(self.interval.0.as_nanos()).unwrap_or(u64::MAX),
            self.latency,
        )
    }

    fn is_to_stdout(&self) -> bool {
        self.out.as_deref() == Some(Path::new("-"))
    }

    fn unit(&self) -> Option<Unit> {
        self.latency.then_some(match self.latency_unit {
            LatencyUnit::Ms => Unit::Milliseconds,
            LatencyUnit::Us => Unit::Microseconds,
        })
    }
}

/// Where the lines of a recording go.
type Lines = Writer<Box<dyn Write>>;

/// Records.
pub fn run(args: &RecordArgs, json: bool) -> Result<Exit, Failure> {
    let (spec, lasts) = (args.spec()?, args.lasts()?);
    check_out(args)?;
    let interrupts = interrupts()?;
    let target = args.find()?;
    say_left_out(&target);
    let Some(before) = args.probing.before(&interrupts)? else {
        return Err(Failure {
            exit: Exit::Undecided,
            message: "begin to record: it was interrupted".into(),
            hint: None,
        });
    };
    let mut recorder = Recorder::begin(&target, spec).map_err(failure)?;
    let probing = args.probing.begin(before)?;
    let scraped = args.prometheus.map(|at| {
        // What came of the last interval is how things are until the next one is over, and a little longer.
        Scraped::listen(at, 2 * args.interval.0 + Duration::from_secs(5))
    });
    let scraped = scraped.transpose().map_err(Failure::machine)?;
    // Behind all that can be refused: a file that has nothing is in the way the next time.
    let mut writers = open(args, json)?;
    let mut totals = Totals::new(args.latency);
    if let Some(scraped) = &scraped {
        scraped.say(json);
    }
    let began = Instant::now();
    // What nobody lives to see is no end.
    let until = lasts.and_then(|lasts| began.checked_add(lasts));
    let mut table = Table::new(args.unit());
    let mut intervals = 0;
    loop {
        let mut is_end = wait(&mut recorder, &interrupts, until)?;
        // What is left of a last interval that was cut short tells rates no less.
        let interval = recorder.close().map_err(failure)?;
        let cost = recorder.cost();
        let probes = probing.as_ref().map(Probing::take).unwrap_or_default();
        let readers = writers.len();
        write(&mut writers, |writer| {
            writer.interval(&interval, &probes, &cost)
        })
        .map_err(not_written(args))?;
        // Whoever was the only one to read it has seen enough.
        is_end |= writers.is_empty() && readers > 0;
        if let Some(scraped) = &scraped {
            totals.take(&interval, &probes, &cost);
            let totals = totals.clone();
            scraped.take(move |own, format| totals.text(own, format));
        }
        table.take(&interval);
        intervals += 1;
        if !json && !args.is_to_stdout() {
            show(args, &table, &interval);
        }
        if is_end {
            break;
        }
    }
    probing.map_or(Ok(()), |probing| probing.end(json))?;
    if !json {
        output::note(&format!(
            "recorded {} of {}{}",
            output::plural(intervals, "interval"),
            args.interval,
            match &args.out {
                Some(_) if args.is_to_stdout() => String::new(),
                Some(path) => format!(
                    " in {}; next: murphy amplify model {}",
                    path.display(),
                    path.display()
                ),
                None => "; nothing was kept: -o FILE does".to_owned(),
            }
        ));
    }
    Ok(Exit::Held)
}

/// Waits until the interval is over; true when the recording is.
fn wait(
    recorder: &mut Recorder,
    interrupts: &Interrupts,
    until: Option<Instant>,
) -> Result<bool, Failure> {
    loop {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Ok(true);
        }
        let pause = recorder.due_in().min(left.unwrap_or(Duration::MAX));
        let is_interrupted = interrupts
            .wait(pause)
            .map_err(|error| Failure::machine(format!("listen for Ctrl-C: {error}")))?;
        if is_interrupted {
            return Ok(true);
        }
        recorder.look().map_err(failure)?;
        if recorder.is_over() {
            return Ok(true);
        }
        if recorder.interval_left().is_zero() {
            // What is left would be no interval.
            return Ok(left.is_some_and(|left| left < pause + recorder.interval() / 20));
        }
    }
}

/// Shows the table: on a terminal in the place of the last one.
fn show(args: &RecordArgs, table: &Table, interval: &Interval) {
    const HOME_AND_CLEAR: &str = "\x1b[H\x1b[2J\x1b[3J";
    let names: Vec<String> = args.targets.iter().map(ToString::to_string).collect();
    let is_whole = stdout().is_terminal() && !args.plain;
    let rows = if is_whole {
        let height = ratatui::crossterm::terminal::size().map_or(24, |(_, height)| height);
        usize::from(height).saturating_sub(1)
    } else {
        usize::MAX
    };
    let text = table.text(&names.join(", "), interval, rows);
    output::line(&if is_whole {
        format!("{HOME_AND_CLEAR}{}", text.trim_end())
    } else {
        text
    });
}

/// Has each do something; one whose reader has gone (a closed pipe) is let go.
fn write(
    writers: &mut Vec<Lines>,
    mut what: impl FnMut(&mut Lines) -> io::Result<()>,
) -> io::Result<()> {
    let mut failed = Ok(());
    writers.retain_mut(|writer| match what(writer) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => false,
        Err(error) => {
            failed = Err(error);
            true
        }
        Ok(()) => true,
    });
    failed
}

/// That nothing is where the recording is to go: told before anything is looked at.
fn check_out(args: &RecordArgs) -> Result<(), Failure> {
    match &args.out {
        Some(path) if !args.is_to_stdout() && path.symlink_metadata().is_ok() => {
            Err(is_there(path))
        }
        _ => Ok(()),
    }
}

fn is_there(path: &Path) -> Failure {
    Failure::machine(format!(
        "write {}: it is there already; say another name",
        path.display()
    ))
}

/// The file, and standard output.
fn open(args: &RecordArgs, json: bool) -> Result<Vec<Lines>, Failure> {
    let header = args.header();
    let mut into: Vec<Box<dyn Write>> = Vec::new();
    if let Some(path) = args.out.as_ref().filter(|_| !args.is_to_stdout()) {
        let file = File::create_new(path).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => is_there(path),
            _ => not_written(args)(error),
        })?;
        into.push(Box::new(BufWriter::new(file)));
    }
    if json || args.is_to_stdout() {
        into.push(Box::new(stdout()));
    }
    let begin = |into| Writer::begin(into, &header).map_err(not_written(args));
    into.into_iter().map(begin).collect()
}

fn not_written(args: &RecordArgs) -> impl Fn(io::Error) -> Failure {
    let path = &args.out;
    move |error| {
        let path = path.clone();
        let path = path.filter(|path| path != Path::new("-"));
        let path = path.map(|path| path.display().to_string());
        let path = path.unwrap_or_else(|| "standard output".to_owned());
        Failure::machine(format!("write {path}: {error}"))
    }
}

fn failure(error: RecorderError) -> Failure {
    Failure::machine(error)
}
