//! `murphy convert FILE --to FORMAT` writes a history down in another format.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Read, Write},
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};
use murphy_check::{
    etcd::Record,
    formats::{self, Written},
};
use serde_json::json;

use super::histories::{self, History, Opened, Reading};
use crate::{
    exit::{Exit, Failure},
    output::{self, plural},
};

/// Arguments of `murphy convert`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  murphy convert store/etcd/latest/history.edn --to murphy -o history.jsonl
  murphy convert etcd_002.log --to edn                       Jepsen's log as operations, on standard output
  murphy convert c10-ok.txt.zst --to jepsen-json -o c10.json
  murphy convert results/TestRobustness/1 --to murphy -o history.jsonl    the folder of an etcd robustness test
  cat history.edn.gz | murphy convert - --to murphy --model register

The format of FILE is told from its first bytes, gzip and zstd as well. Where it does not say the model of the history
and its operations do not tell it, --model does. docs/formats.md has an excerpt of each format and says how it maps.")]
pub struct ConvertArgs {
    /// The history: a file, `-` for standard input, the folder of a run or of an etcd report, or several files of one
    /// report.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,

    /// The format to write.
    #[arg(long, value_enum)]
    pub to: Target,

    /// Write to this file instead of standard output; it appears as a whole or not at all.
    #[arg(short, long, value_name = "OUT")]
    pub out: Option<PathBuf>,

    /// The model of the history, where nothing in it tells.
    #[arg(long, value_name = "MODEL")]
    pub model: Option<String>,

    /// How it is read.
    #[command(flatten)]
    pub reading: Reading,
}

/// The formats that are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Target {
    /// Murphy's JSON Lines.
    Murphy,
    /// Operations of Jepsen and Elle in EDN, one a line.
    Edn,
    /// Operations of Jepsen and Elle as one JSON array.
    JepsenJson,
}

impl Target {
    fn format(self) -> Written {
        match self {
            Self::Murphy => Written::Murphy,
            Self::Edn => Written::Edn,
            Self::JepsenJson => Written::JepsenJson,
        }
    }
}

/// Converts it.
pub fn run(args: &ConvertArgs, json: bool) -> Result<Exit, Failure> {
    if json && args.out.is_none() {
        return Err(Failure::input(
            "convert with --json to standard output: it has room for one of the two; name a file with --out",
        ));
    }
    let opened = open(args)?;
    let mut said = Said::default();
    match &args.out {
        None => {
            let sink = BufWriter::new(io::stdout().lock());
            match write(opened, args.to, sink, &mut said) {
                // Whoever wanted to see only the beginning has seen it.
                Err(Unwritten::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                    return Ok(Exit::Held);
                }
                done => done.map_err(|error| error.failure(Path::new("standard output")))?,
            }
        }
        Some(out) => write_file(opened, args.to, out, &mut said)?,
    }
    if json {
        output::json(&json!({
            "event": "converted",
            "model": said.model,
            "operations": said.operations,
            "left_out": said.left_out,
            "out": args.out,
        }));
    } else if let Some(out) = &args.out {
        let operations = plural(said.operations, "operation");
        output::line(&format!(
            "{operations} of model {} in {}",
            said.model,
            out.display()
        ));
    }
    Ok(Exit::Held)
}

/// What was converted.
#[derive(Default)]
struct Said {
    model: String,
    operations: u64,
    left_out: u64,
}

fn open(args: &ConvertArgs) -> Result<Opened, Failure> {
    let model = args.model.as_deref();
    match args.files.as_slice() {
        [file] => histories::open(file, &args.reading, model),
        files if files.iter().all(|file| histories::is_part(file)) => {
            let parts: Vec<_> = files
                .iter()
                .map(|file| (file.display().to_string(), file.clone()))
                .collect();
            histories::open_report(&parts, Path::new("the report"), &args.reading)
        }
        files => Err(Failure::input(format!(
            "convert {} files: only those of one etcd report (operations.json, watch.json) are one history; convert \
             others one by one",
            files.len()
        ))),
    }
}

/// Why a history was not written.
enum Unwritten {
    Io(io::Error),
    Input(Failure),
}

impl Unwritten {
    fn failure(self, out: &Path) -> Failure {
        match self {
            Self::Io(error) => Failure::machine(format!("write {}: {error}", out.display())),
            Self::Input(failure) => failure,
        }
    }
}

impl From<io::Error> for Unwritten {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Writes beside the file first, so that nobody meets half of it.
fn write_file(opened: Opened, to: Target, out: &Path, said: &mut Said) -> Result<(), Failure> {
    let mut partial = out.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let done = File::create(&partial)
        .map_err(Unwritten::Io)
        .and_then(|file| write(opened, to, BufWriter::new(file), said))
        .and_then(|()| Ok(fs::rename(&partial, out)?));
    done.map_err(|error| {
        // What is there of it is of no use; that it cannot be removed does not matter beside the error.
        let _ = fs::remove_file(&partial);
        error.failure(out)
    })
}

fn write(opened: Opened, to: Target, sink: impl Write, said: &mut Said) -> Result<(), Unwritten> {
    match opened.history {
        History::Recording(recording) => {
            said.model.clone_from(&recording.header.model);
            said.operations = recording.invocations.len() as u64;
            said.left_out = recording.left_out;
            Ok(formats::write(&recording, to.format(), sink)?)
        }
        History::Etcd(source) if to == Target::Murphy => {
            let mut copy = Copy {
                source,
                sink,
                failed: None,
            };
            let record = Record::read(&mut copy);
            if let Some(error) = copy.failed {
                return Err(Unwritten::Io(error));
            }
            let record = record.map_err(|error| {
                Unwritten::Input(Failure::input(format!("read {}:{error}", opened.name)))
            })?;
            said.model = "etcd".into();
            said.operations = record.operations();
            Ok(copy.sink.flush()?)
        }
        History::Etcd(_) => Err(Unwritten::Input(
            Failure::input(format!(
                "convert {}: a history of model etcd has watches, for which other formats have no words",
                opened.name
            ))
            .hint("--to murphy"),
        )),
    }
}

/// Hands on what is read, so that a history is written and checked for flaws at once.
struct Copy<R, W> {
    source: R,
    sink: W,
    failed: Option<io::Error>,
}

impl<R: Read, W: Write> Read for Copy<R, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        if let Err(error) = self.sink.write_all(&buffer[..read]) {
            let kind = error.kind();
            self.failed = Some(error);
            return Err(kind.into());
        }
        Ok(read)
    }
}
