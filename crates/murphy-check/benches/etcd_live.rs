//! Judging an etcd history while it is written: how many operations a second, and whether the memory stays flat.
//!
//! Another process writes a mixed history of 50 clients with a watch of every key on each of three members, one operation
//! in a hundred of unknown outcome, into a pipe; this one judges what comes out of it. `cargo bench -p murphy-check
//! --bench etcd_live` judges a million operations; `-- minutes 10` goes on for ten minutes and prints a row for each.

#![allow(clippy::print_stdout, reason = "a bench prints its figures")]

use std::{
    env,
    error::Error,
    fs,
    io::{self, BufWriter, Read as _, Write as _},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use murphy_check::{
    etcd::{
        generate::{self, Profile},
        live::Live,
    },
    verdict::Verdict,
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The word that asks for the history alone.
const WRITE: &str = "write";

fn main() -> Result<()> {
    let words: Vec<String> = (env::args().skip(1))
        .filter(|word| word != "--bench")
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        [WRITE, operations] => write(operations.parse()?),
        ["minutes", minutes] => judge(1_000_000_000, Some(Duration::from_mins(minutes.parse()?))),
        _ => judge(1_000_000, None),
    }
}

fn write(operations: usize) -> Result<()> {
    let profile = Profile {
        clients: 50,
        keys: 1_000,
        unknown_per_mille: 10,
        compactions: operations / 20_000,
        ..Profile::mixed(operations)
    };
    let sink = BufWriter::with_capacity(1 << 20, io::stdout().lock());
    match generate::write(&profile, 7, sink).and_then(|mut sink| sink.flush()) {
        // The judge has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}

/// Judges what another process writes, at most for so long.
fn judge(operations: usize, time: Option<Duration>) -> Result<()> {
    let mut writer = Command::new(env::current_exe()?)
        .args([WRITE, &operations.to_string()])
        .stdout(Stdio::piped())
        .spawn()?;
    let mut source = writer.stdout.take().ok_or("no pipe")?;
    let mut live = Live::default();
    let mut piece = vec![0; 1 << 20];
    let (began, mut busy, mut minute) = (Instant::now(), Duration::ZERO, 1_u64);
    println!("| after | operations | a second of judging | kept | unknown | memory |");
    println!("|---:|---:|---:|---:|---:|---:|");
    loop {
        let length = source.read(&mut piece)?;
        if length == 0 {
            break;
        }
        let start = Instant::now();
        if let Some(report) = live.feed(&piece[..length])? {
            return Err(format!("a correct history is broken: {report:#?}").into());
        }
        busy += start.elapsed();
        if began.elapsed() >= Duration::from_mins(minute) {
            minute += 1;
            row(&live, began, busy);
        }
        if time.is_some_and(|time| began.elapsed() >= time) {
            break;
        }
    }
    row(&live, began, busy);
    if let Some(why) = live.lost() {
        return Err(format!("the judge gave up: {why}").into());
    }
    drop(source);
    // It makes its story to the end, whether or not anybody reads it.
    writer.kill()?;
    writer.wait()?;
    if time.is_some() {
        // The last line may be half of one, which is no history to finish.
        println!("\nnothing was broken");
        return Ok(());
    }
    let start = Instant::now();
    let report = live.finish()?;
    println!(
        "\nthe last window was judged in {:.3} s: {}",
        start.elapsed().as_secs_f64(),
        match report.verdict(&["linearizable".into()]) {
            Verdict::Held => "linearizable held",
            _ => "linearizable NOT held",
        }
    );
    Ok(())
}

fn row(live: &Live, began: Instant, busy: Duration) {
    let status = live.status();
    println!(
        "| {:.0} s | {} | {:.0} | {} | {} | {:.0} MB |",
        began.elapsed().as_secs_f64(),
        status.operations,
        status.operations as f64 / busy.as_secs_f64(),
        status.kept,
        status.unknown,
        resident_mb()
    );
}

/// The memory of this process, in MB.
fn resident_mb() -> f64 {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().split(' ').next()?.parse::<f64>().ok());
    kib.unwrap_or(f64::NAN) * 1024.0 / 1e6
}
