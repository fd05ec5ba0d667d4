//! Histories of 10^4 to 10^7 operations by 50 clients, one in a hundred of unknown outcome: how long reading and
//! judging take on one processor, and how much memory.
//!
//! `cargo bench -p murphy-check --bench million` prints the rows of docs/benchmarks.md and draws docs/growth.svg anew;
//! words after `--` choose kinds of histories, and then nothing is drawn; `-- draw` draws from such rows on standard
//! input instead, for a table that was taken in parts. Each figure is of a process of its own, so
//! that its greatest memory is known: of up to three processes the one that took least time.

#![allow(clippy::print_stdout, reason = "a bench prints its figures")]

mod drawing;
mod histories;
mod machine;

use std::{
    env,
    error::Error,
    fs::{self, File},
    io::{self, BufWriter, Write as _},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use histories::Kind;
use murphy_check::{
    etcd, formats, isolation,
    judge::{self, ModelName},
    search::Limits,
    verdict::Report,
};
use serde_json::{Value, json};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Where the drawing is committed.
const DRAWING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/growth.svg");

/// The seed of every history.
const SEED: u64 = 7;

/// The first word of the command line of a process that measures, or writes, one history.
const MEASURE: &str = "measure";
const WRITE: &str = "write";

/// The word that asks for the drawing alone.
const DRAW: &str = "draw";

fn main() -> Result<()> {
    // What `cargo bench` adds is nothing to us.
    let words: Vec<String> = (env::args().skip(1))
        .filter(|word| word != "--bench")
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        [MEASURE, kind, path] => measure(Kind::of(kind)?, Path::new(path)),
        [WRITE, kind, operations, path] => {
            let sink = BufWriter::with_capacity(1 << 20, File::create(path)?);
            histories::write(Kind::of(kind)?, operations.parse()?, SEED, sink)?;
            Ok(())
        }
        [DRAW] => {
            let rows = io::read_to_string(io::stdin())?;
            Ok(fs::write(DRAWING, drawing::svg(&lines_of(&rows)))?)
        }
        wanted => compare(wanted),
    }
}

/// Measures every kind in every size, in processes of their own.
fn compare(wanted: &[&str]) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("history");
    println!("{}; load {} before\n", machine::name(), machine::load());
    println!(
        "| history | operations | bytes | read in | judged in | an operation | memory | verdict |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---|");
    let mut lines = Vec::new();
    for kind in Kind::ALL {
        if !wanted.is_empty() && !wanted.contains(&kind.name()) {
            continue;
        }
        let mut points = Vec::new();
        for operations in kind.sizes() {
            let size = operations.to_string();
            run([
                WRITE.as_ref(),
                kind.name().as_ref(),
                size.as_ref(),
                path.as_os_str(),
            ])?;
            let rounds = if *operations > 1_000_000 { 1 } else { 3 };
            let mut best: Option<Figures> = None;
            for _ in 0..rounds {
                let said = run([MEASURE.as_ref(), kind.name().as_ref(), path.as_os_str()])?;
                let figures = Figures::of(&serde_json::from_str(&said)?)?;
                if best
                    .as_ref()
                    .is_none_or(|best| figures.seconds() < best.seconds())
                {
                    best = Some(figures);
                }
            }
            let Some(figures) = best else { continue };
            println!("{}", figures.row(kind));
            points.push((figures.operations as f64, figures.seconds()));
        }
        lines.push((kind.name(), points));
    }
    println!("\nload {} after", machine::load());
    if wanted.is_empty() {
        fs::write(DRAWING, drawing::svg(&lines))?;
    }
    Ok(())
}

/// The lines that rows of the table amount to, kind by kind; what is no such row is passed over.
fn lines_of(rows: &str) -> Vec<drawing::Line<'_>> {
    let mut lines: Vec<drawing::Line<'_>> = Vec::new();
    for row in rows.lines() {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let &["", kind, operations, _, read, judge, ..] = cells.as_slice() else {
            continue;
        };
        let number = |cell: &str| cell.trim_end_matches(" s").parse::<f64>().ok();
        if let (Some(operations), Some(read), Some(judge)) =
            (number(operations), number(read), number(judge))
        {
            let point = (operations, read + judge);
            match lines.iter_mut().find(|(name, _)| *name == kind) {
                Some((_, points)) => points.push(point),
                None => lines.push((kind, vec![point])),
            }
        }
    }
    lines
}

/// Runs this program again.
fn run<const N: usize>(words: [&std::ffi::OsStr; N]) -> Result<String> {
    let output = Command::new(env::current_exe()?)
        .args(words)
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(format!("{words:?}: {}", output.status).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// What one process found.
struct Figures {
    operations: u64,
    bytes: u64,
    read: Duration,
    judge: Duration,
    memory_kib: u64,
    verdict: String,
}

impl Figures {
    fn of(said: &Value) -> Result<Self> {
        let number = |field: &str| said[field].as_u64().ok_or(format!("no {field}: {said}"));
        Ok(Self {
            operations: number("operations")?,
            bytes: number("bytes")?,
            read: Duration::from_nanos(number("read_ns")?),
            judge: Duration::from_nanos(number("judge_ns")?),
            memory_kib: number("memory_kib")?,
            verdict: said["verdict"].as_str().unwrap_or_default().to_owned(),
        })
    }

    fn seconds(&self) -> f64 {
        (self.read + self.judge).as_secs_f64()
    }

    fn row(&self, kind: Kind) -> String {
        format!(
            "| {} | {} | {:.1} MB | {:.3} s | {:.3} s | {:.0} ns | {:.0} MB | {} |",
            kind.name(),
            self.operations,
            self.bytes as f64 / 1e6,
            self.read.as_secs_f64(),
            self.judge.as_secs_f64(),
            self.seconds() * 1e9 / self.operations as f64,
            self.memory_kib as f64 * 1024.0 / 1e6,
            self.verdict
        )
    }
}

/// Reads and judges a history, and prints what that took.
fn measure(kind: Kind, path: &Path) -> Result<()> {
    let start = Moment::now();
    let source = File::open(path)?;
    let bytes = source.metadata()?.len();
    let (read, report) = match kind {
        Kind::Etcd | Kind::Watched => {
            let record = etcd::Record::read(source)?;
            let read = start.elapsed();
            (read, etcd::check_record(record, &etcd::Options::default()))
        }
        Kind::Register | Kind::KeyValue => {
            let mut recording = formats::read(source, &formats::Options::default())?;
            let read = start.elapsed();
            let model: ModelName = recording.header.model.parse()?;
            let options = judge::Options {
                limits: Limits {
                    threads: 1,
                    time: Some(Duration::from_mins(1)),
                    ..Limits::default()
                },
                ..judge::Options::default()
            };
            let judged = judge::judge(&mut recording, model, &options);
            (
                read,
                judged.map_err(|problem| format!("{problem:?}"))?.report,
            )
        }
        Kind::ListAppend => {
            let recording = formats::read(source, &formats::Options::default())?;
            let read = start.elapsed();
            let options = isolation::Options::default();
            let report = isolation::judge(&recording, isolation::Workload::ListAppend, &options)
                .map_err(|problem| format!("{problem:?}"))?;
            let report = Report {
                judgements: report.judgements,
                vacuity: report.vacuity,
            };
            (read, report)
        }
    };
    let judge = start.elapsed().saturating_sub(read);
    let ns = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let said = json!({
        "operations": report.vacuity.operations,
        "bytes": bytes,
        "read_ns": ns(read),
        "judge_ns": ns(judge),
        "memory_kib": peak_kib(),
        "verdict": verdicts(&report),
    });
    io::stdout().write_all(said.to_string().as_bytes())?;
    Ok(())
}

/// How many promises came out how.
fn verdicts(report: &Report) -> String {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for judgement in &report.judgements {
        let word = judgement.verdict.word();
        match counts.iter_mut().find(|(other, _)| *other == word) {
            Some((_, count)) => *count += 1,
            None => counts.push((word, 1)),
        }
    }
    let said: Vec<String> = (counts.iter())
        .map(|(word, count)| format!("{count} {word}"))
        .collect();
    said.join(", ")
}

/// A moment on this thread's processor clock, which other programs do not disturb; nothing measured here has another
/// thread. Where the kernel does not keep it, on the wall's.
struct Moment {
    processor: Option<Duration>,
    wall: Instant,
}

impl Moment {
    fn now() -> Self {
        Self {
            processor: Self::processor(),
            wall: Instant::now(),
        }
    }

    fn elapsed(&self) -> Duration {
        match (self.processor, Self::processor()) {
            (Some(then), Some(now)) => now.saturating_sub(then),
            _ => self.wall.elapsed(),
        }
    }

    fn processor() -> Option<Duration> {
        let times = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
        Some(Duration::from_nanos(times.split(' ').next()?.parse().ok()?))
    }
}

/// The greatest memory of this process so far.
fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM"));
    let number = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    number.unwrap_or(0)
}
