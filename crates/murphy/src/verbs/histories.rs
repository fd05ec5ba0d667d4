//! A history is opened here, wherever it is: a file, a compressed one, standard input, the folder of a run, the folder
//! of an etcd report. What is in it is read by `murphy_check::formats`.

mod compression;
mod report;

use std::{
    fs::File,
    io::{self, Cursor, Read},
    path::Path,
};

use clap::{Args, ValueEnum};
use murphy_check::{
    formats::{self, Format, HEAD, Options},
    recording::{Recording, Strictness},
};
use murphy_run::folder::Folder;

pub use report::is_part;

use crate::{
    exit::Failure,
    output::{self, plural},
};

/// How histories are read.
#[derive(Clone, Debug, Args)]
pub struct Reading {
    /// The format of the history, where its first bytes do not tell the right one.
    #[arg(long, value_enum, default_value_t = FormatName::Auto)]
    pub format: FormatName,

    /// Leave out lines that cannot be right, and count them, instead of refusing the history.
    #[arg(long)]
    pub lenient: bool,
}

/// The formats by name; docs/formats.md has an excerpt of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FormatName {
    /// Told from the first bytes.
    Auto,
    /// Murphy's JSON Lines.
    Murphy,
    /// Operations of Jepsen and Elle in EDN.
    Edn,
    /// Operations of Jepsen and Elle as a JSON array or JSON Lines.
    JepsenJson,
    /// Lines of Jepsen's log.
    JepsenLog,
    /// porcupine's key-value files.
    PorcupineKv,
    /// The folder, or one file, of an etcd robustness test.
    EtcdReport,
}

impl FormatName {
    /// The format itself; `None` where it is to be told.
    pub fn format(self) -> Option<Format> {
        Some(match self {
            Self::Auto => return None,
            Self::Murphy => Format::Murphy,
            Self::Edn => Format::Edn,
            Self::JepsenJson => Format::JepsenJson,
            Self::JepsenLog => Format::JepsenLog,
            Self::PorcupineKv => Format::PorcupineKv,
            Self::EtcdReport => Format::EtcdReport,
        })
    }
}

impl Reading {
    /// What to do with lines that cannot be right.
    pub fn strictness(&self) -> Strictness {
        if self.lenient {
            Strictness::Lenient
        } else {
            Strictness::Strict
        }
    }
}

/// A history that was opened.
pub struct Opened {
    /// Its path, for errors.
    pub name: String,
    /// What is in it.
    pub history: History,
}

/// What is in a history.
pub enum History {
    /// Model `etcd`: its lines, which `murphy_check::etcd` reads.
    Etcd(Box<dyn Read>),
    /// Any other model, as a whole.
    Recording(Box<Recording>),
}

/// Opens a history of whatever model; `model` where the history does not say its own.
pub fn open(path: &Path, reading: &Reading, model: Option<&str>) -> Result<Opened, Failure> {
    if path.is_dir() {
        if let Some(files) = report::files(path)? {
            return open_report(&files, path, reading);
        }
        let history = Folder::open(path).map_err(Failure::input)?.history_path();
        return open_file(&history, reading, model);
    }
    if path == Path::new("-") {
        return open_stream("standard input", Box::new(io::stdin()), reading, model);
    }
    open_file(path, reading, model)
}

/// Opens the files of one report.
pub fn open_report(
    files: &[report::Part],
    path: &Path,
    reading: &Reading,
) -> Result<Opened, Failure> {
    if !matches!(reading.format, FormatName::Auto | FormatName::EtcdReport) {
        return Err(Failure::input(format!(
            "read {}: it holds an etcd report, which is no single file of another format",
            path.display()
        )));
    }
    Ok(Opened {
        name: path.display().to_string(),
        history: report::convert(files, reading.strictness())?,
    })
}

fn open_file(path: &Path, reading: &Reading, model: Option<&str>) -> Result<Opened, Failure> {
    let name = path.display().to_string();
    let file = File::open(path).map_err(|error| Failure::input(format!("open {name}: {error}")))?;
    open_stream(&name, Box::new(file), reading, model)
}

fn open_stream(
    name: &str,
    source: Box<dyn Read>,
    reading: &Reading,
    model: Option<&str>,
) -> Result<Opened, Failure> {
    let unreadable = |error| Failure::input(format!("read {name}:1:1: {error}"));
    let mut source = compression::plain(source).map_err(unreadable)?;
    let mut head = Vec::new();
    let limited = source.by_ref().take(HEAD as u64);
    { limited }.read_to_end(&mut head).map_err(unreadable)?;
    let format = reading.format.format().or_else(|| Format::detect(&head));
    let is_etcd = match format {
        Some(Format::Murphy) => {
            formats::model_of(&head).map_or(model == Some("etcd"), |of| of == "etcd")
        }
        _ => false,
    };
    let source = Cursor::new(head).chain(source);
    let history = if format == Some(Format::EtcdReport) {
        report::convert_one(name, source, reading.strictness())?
    } else if is_etcd {
        if reading.lenient {
            return Err(etcd_is_strict(name));
        }
        if let Some(other) = model.filter(|model| *model != "etcd") {
            return Err(Failure::input(format!(
                "read {name}:1:1: the history is of model `etcd`, expected `{other}`"
            )));
        }
        History::Etcd(Box::new(source))
    } else {
        let options = Options {
            format,
            model,
            strictness: reading.strictness(),
        };
        let recording = formats::read(source, &options)
            .map_err(|error| Failure::input(format!("read {name}:{error}")))?;
        say_left_out(name, &recording);
        History::Recording(Box::new(recording))
    };
    Ok(Opened {
        name: name.to_owned(),
        history,
    })
}

/// How many lines that were left out are said one by one.
const SAID: usize = 5;

/// Says which lines were left out.
pub fn say_left_out(name: &str, recording: &Recording) {
    let said = recording
        .warnings
        .iter()
        .map(|warning| format!("{name}:{}: {}", warning.line, warning.problem));
    say_warnings(said, recording.left_out);
}

/// Says the first warnings, and how many lines were left out.
fn say_warnings(warnings: impl Iterator<Item = String>, left_out: u64) {
    if left_out == 0 {
        return;
    }
    for warning in warnings.take(SAID) {
        output::note(&format!("murphy: warning: {warning}"));
    }
    output::note(&format!(
        "murphy: warning: {} left out; a verdict about the rest is not one about the whole",
        plural(left_out, "line")
    ));
}

/// Why `--lenient` is refused for model `etcd`.
pub fn etcd_is_strict(name: &str) -> Failure {
    Failure::input(format!(
        "read {name}: --lenient is not for histories of model etcd; one with lines left out would accuse the wrong member"
    ))
}
