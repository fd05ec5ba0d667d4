//! Murphy beside porcupine, on the histories that porcupine's Go module ships, in the same run and in turn.
//!
//! `cargo bench -p murphy-check --bench peers` prints the rows of docs/benchmarks.md; `--json` the same facts. Both read
//! every file of a group and then check every history of it, on one processor; each figure is the least of several
//! rounds. Murphy's check begins with what was read and ends with the verdict: understanding the words is part of it, a
//! smallest witness, which porcupine does not look for, is reported apart.

#![allow(clippy::print_stdout, reason = "a bench prints its figures")]

#[path = "million/machine.rs"]
mod machine;
#[path = "../tests/published/mod.rs"]
mod published;

use std::{
    collections::BTreeMap,
    env,
    error::Error,
    fs::File,
    hint::black_box,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use murphy_check::{
    formats,
    judge::{self, ModelName},
    model::{Misunderstood, Vocabulary, understand},
    models::{CasRegister, KeyValue},
    recording::Recording,
    search::{Found, Limits, linearize},
};
use serde_json::{Value, json};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// How often the two take turns.
const TURNS: usize = 5;

/// How many rounds each has in a turn.
const ROUNDS: usize = 5;

/// Where the peer's program is.
const PEER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../labs/peers/porcupine");

fn main() -> Result<()> {
    let Some(data) = published::porcupine() else {
        return Ok(());
    };
    let folder = tempfile::tempdir()?;
    let peer = folder.path().join("porcupine");
    run(Command::new("go")
        .args(["build", "-o"])
        .arg(&peer)
        .arg(".")
        .current_dir(PEER))?;
    let load = machine::load();
    let groups = groups(&data);
    let mut theirs: BTreeMap<String, Figures> = BTreeMap::new();
    let mut ours: BTreeMap<String, Figures> = BTreeMap::new();
    for _ in 0..TURNS {
        for (name, figures) in porcupine(&peer, &data)? {
            theirs.entry(name).or_insert(figures).improve(figures);
        }
        for group in &groups {
            let figures = group.measure()?;
            let best = ours.entry(group.name.clone()).or_insert(figures);
            best.improve(figures);
        }
    }
    let mut rows = Vec::new();
    for group in &groups {
        rows.push(Row {
            name: group.name.clone(),
            theirs: theirs[&group.name],
            ours: ours[&group.name],
            witness: group.witness()?,
        });
    }
    for row in &rows {
        assert_eq!(
            row.theirs.linearizable, row.ours.linearizable,
            "{}",
            row.name
        );
    }
    let versions = versions(&peer)?;
    if env::args().any(|word| word == "--json") {
        let rows: Vec<Value> = rows.iter().map(Row::json).collect();
        println!(
            "{}",
            json!({"versions": versions, "load": load, "rows": rows})
        );
        return Ok(());
    }
    println!(
        "{versions}; {}; load {load} before, {} after; least of {} rounds\n",
        machine::name(),
        machine::load(),
        TURNS * ROUNDS
    );
    println!(
        "| history | events | linearizable | porcupine reads | Murphy reads | ratio | porcupine checks | Murphy checks | ratio | with a witness |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    for row in &rows {
        println!("{}", row.line());
    }
    Ok(())
}

/// Files that are judged together.
struct Group {
    name: String,
    files: Vec<PathBuf>,
    model: &'static str,
}

/// What one checker needs of a group.
#[derive(Clone, Copy, Debug)]
struct Figures {
    read: Duration,
    check: Duration,
    events: u64,
    linearizable: u64,
}

impl Figures {
    fn improve(&mut self, other: Self) {
        self.read = self.read.min(other.read);
        self.check = self.check.min(other.check);
    }
}

fn groups(data: &Path) -> Vec<Group> {
    // The file of 95 is empty.
    let logs = (0..=102).filter(|number| *number != 95);
    let logs = logs.map(|number| data.join(format!("jepsen/etcd_{number:03}.log")));
    let etcd = Group {
        name: "etcd logs".into(),
        files: logs.collect(),
        model: CasRegister::NAME,
    };
    let kv = [
        "c01-ok", "c01-bad", "c10-ok", "c10-bad", "c50-ok", "c50-bad",
    ];
    let kv = kv.map(|name| Group {
        name: name.into(),
        files: vec![data.join(format!("kv/{name}.txt"))],
        model: KeyValue::NAME,
    });
    std::iter::once(etcd).chain(kv).collect()
}

impl Group {
    fn measure(&self) -> Result<Figures> {
        let mut best: Option<Figures> = None;
        for _ in 0..ROUNDS {
            let figures = self.round()?;
            best.get_or_insert(figures).improve(figures);
        }
        best.ok_or_else(|| "no round".into())
    }

    /// How long the judge takes once, with a smallest witness of each violation in words.
    fn witness(&self) -> Result<Duration> {
        let model: ModelName = self.model.parse()?;
        let options = judge::Options {
            limits: limits(),
            ..judge::Options::default()
        };
        let mut recordings = self.read()?;
        let start = Instant::now();
        for recording in &mut recordings {
            black_box(judge::judge(recording, model, &options)).map_err(problem)?;
        }
        Ok(start.elapsed())
    }

    fn read(&self) -> Result<Vec<Recording>> {
        let read = |path: &PathBuf| -> Result<Recording> {
            let file = File::open(path)?;
            Ok(formats::read(file, &formats::Options::default())?)
        };
        self.files.iter().map(read).collect()
    }

    fn round(&self) -> Result<Figures> {
        let start = Instant::now();
        let recordings = self.read()?;
        let read = start.elapsed();
        let start = Instant::now();
        let mut linearizable = 0;
        for recording in &recordings {
            let is_legal = match self.model {
                CasRegister::NAME => is_legal::<CasRegister>(recording)?,
                _ => is_legal::<KeyValue>(recording)?,
            };
            linearizable += u64::from(is_legal);
        }
        let check = start.elapsed();
        let mut events = 0;
        for invocation in recordings
            .iter()
            .flat_map(|recording| &recording.invocations)
        {
            events += 1 + u64::from(invocation.end_line != 0);
        }
        Ok(Figures {
            read,
            check,
            events,
            linearizable,
        })
    }
}

fn problem(Misunderstood { line, problem }: Misunderstood) -> String {
    format!("line {line}: {problem}")
}

fn limits() -> Limits {
    Limits {
        threads: 1,
        ..Limits::default()
    }
}

fn is_legal<M: Vocabulary + Default + Sync>(recording: &Recording) -> Result<bool>
where
    M::State: Send,
    M::Ask: Sync,
    M::Answer: Sync,
{
    let mut model = M::default();
    let mut operations = Vec::with_capacity(recording.invocations.len());
    for (number, invocation) in (0..).zip(&recording.invocations) {
        let operation = understand(&mut model, recording, number, invocation);
        operations.extend(operation.map_err(problem)?);
    }
    match linearize(&model, &operations, &limits()).found {
        Found::Legal => Ok(true),
        Found::Illegal(_) => Ok(false),
        Found::Undecided { why, .. } => Err(why.into()),
    }
}

/// The rows of the peer's program.
fn porcupine(program: &Path, data: &Path) -> Result<Vec<(String, Figures)>> {
    let said = run(Command::new(program)
        .arg(data)
        .arg(ROUNDS.to_string())
        .env("GOMAXPROCS", "1"))?;
    let row = |line: &str| {
        let row: Value = serde_json::from_str(line)?;
        let number = |field: &str| row[field].as_u64().ok_or(format!("no {field}: {line}"));
        if number("undecided")? != 0 {
            return Err(format!("porcupine did not decide: {line}").into());
        }
        let group = row["group"].as_str().ok_or("no group")?.to_owned();
        Ok((
            group,
            Figures {
                read: Duration::from_nanos(number("read_ns")?),
                check: Duration::from_nanos(number("check_ns")?),
                events: number("events")?,
                linearizable: number("linearizable")?,
            },
        ))
    };
    said.lines().map(row).collect()
}

/// Of Go and of the module, as the program itself says.
fn versions(program: &Path) -> Result<String> {
    let said = run(Command::new("go").args(["version", "-m"]).arg(program))?;
    let go = (said.split_whitespace().nth(1)).unwrap_or("go of an unknown version");
    let module = (said.lines())
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .find(|words| {
            words.first() == Some(&"dep") && words.get(1).is_some_and(|m| m.ends_with("/porcupine"))
        });
    let module = module.and_then(|words| words.get(2).map(|version| (*version).to_owned()));
    Ok(format!(
        "porcupine {}, {go}",
        module.unwrap_or_else(|| "of an unknown version".into())
    ))
}

/// What a program prints.
fn run(command: &mut Command) -> Result<String> {
    let output = command.stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("{command:?}: {}", output.status).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// A group with what both need.
struct Row {
    name: String,
    theirs: Figures,
    ours: Figures,
    /// Our check with witnesses.
    witness: Duration,
}

impl Row {
    fn line(&self) -> String {
        let Self {
            name,
            theirs,
            ours,
            witness,
        } = self;
        let ratio = |theirs: Duration, ours: Duration| {
            format!("× {:.1}", theirs.as_secs_f64() / ours.as_secs_f64())
        };
        [
            name.clone(),
            ours.events.to_string(),
            ours.linearizable.to_string(),
            ms(theirs.read),
            ms(ours.read),
            ratio(theirs.read, ours.read),
            ms(theirs.check),
            ms(ours.check),
            ratio(theirs.check, ours.check),
            ms(*witness),
        ]
        .iter()
        .fold("|".to_owned(), |line, cell| format!("{line} {cell} |"))
    }

    fn json(&self) -> Value {
        let Self {
            name,
            theirs,
            ours,
            witness,
        } = self;
        let ns = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let both =
            |figures: &Figures| json!({"read_ns": ns(figures.read), "check_ns": ns(figures.check)});
        json!({
            "history": name,
            "events": ours.events,
            "linearizable": ours.linearizable,
            "porcupine": both(theirs),
            "murphy": both(ours),
            "witness_ns": ns(*witness),
        })
    }
}

fn ms(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}
