//! `murphy amplify model` makes models of a recording: which errors are to be injected, and how often.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, ValueEnum};
use murphy_amplify::{
    model::{Models, Options, Rule, Unseen, file, models},
    recording::{Recording, RecordingError},
};
use murphy_fault::{ratio::Ratio, span::Span};

use super::model_table;
use crate::{
    exit::{Exit, Failure},
    output::{self, grouped, plural},
};

/// Arguments of `murphy amplify model`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  murphy amplify model errors.jsonl                        which errors come how often, and how often they would be injected
  murphy amplify model errors.jsonl -o models.yaml         the same as a file to edit, for `murphy amplify run`
  murphy amplify model errors.jsonl --fixed 10% --factor 2 -o models.yaml
  murphy amplify model errors.jsonl --inject environmental -o models.yaml
  murphy amplify model errors.jsonl -o - | less            the file on standard output
  murphy amplify model errors.jsonl --json                 the models as JSON, on standard output

An error is sporadic if its rate never exceeds --threshold: it is injected at --fixed. Of the others those whose rates have a
variance above --variance fluctuate, and are injected at their highest rate; the rest are steady: at --factor times that.
Rates are of all such calls, those that fail by nature included. More: docs/amplify-models.md")]
pub struct ModelArgs {
    /// The recording: what `murphy amplify record -o FILE` wrote; `-` is standard input.
    #[arg(value_name = "FILE")]
    pub recording: PathBuf,

    /// Where the models go, for `murphy amplify run`; a file that is there is not overwritten. `-` is standard output, where the table
    /// then is not.
    #[arg(short, long = "out", value_name = "FILE")]
    pub out: Option<PathBuf>,

    /// Sporadic is what never has a higher rate.
    #[arg(long, value_name = "RATE", default_value_t = Ratio::nearest(Rule::DEFAULT.threshold))]
    pub threshold: Ratio,

    /// Fluctuating is what has a higher variance, steady is the rest.
    #[arg(long, value_name = "VARIANCE", default_value_t = Rule::DEFAULT.variance)]
    pub variance: f64,

    /// The rate of what is sporadic.
    #[arg(long, value_name = "RATE", default_value_t = Ratio::nearest(Rule::DEFAULT.fixed))]
    pub fixed: Ratio,

    /// So many times its highest rate is that of what is steady.
    #[arg(long, value_name = "FACTOR", default_value_t = Rule::DEFAULT.factor)]
    pub factor: f64,

    /// No rate is higher.
    #[arg(long, value_name = "RATE", default_value_t = Ratio::nearest(Rule::DEFAULT.cap))]
    pub cap: Ratio,

    /// An interval with fewer calls tells no rate: neither the highest nor the variance is of it.
    #[arg(long, value_name = "N", default_value_t = Rule::DEFAULT.least_calls)]
    pub least_calls: u64,

    /// So many EAGAIN or EINTR come in a row at most: programs answer them by the same call, at once.
    #[arg(long, value_name = "N", default_value_t = Rule::DEFAULT.in_a_row)]
    pub in_a_row: u32,

    /// Which errors that were not seen are in the file, too.
    #[arg(long, value_name = "WHICH", value_enum, default_value_t = AndUnseen::Environmental)]
    pub unseen: AndUnseen,

    /// Which errors are on: those that were seen, or also those that the environment may do.
    #[arg(long, value_name = "WHICH", value_enum, default_value_t = On::Seen)]
    pub inject: On,
}

/// Which errors that were not seen have a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AndUnseen {
    /// None.
    None,
    /// Those that the environment may do to calls that were made.
    Environmental,
    /// Also those that cannot be, each with the reason.
    All,
}

/// Which models are on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum On {
    /// Of errors that were seen.
    Seen,
    /// Also of those that the environment may do.
    Environmental,
}

impl ModelArgs {
    fn options(&self) -> Result<Options, Failure> {
        let rule = Rule {
            threshold: self.threshold.get(),
            variance: self.variance,
            fixed: self.fixed.get(),
            factor: self.factor,
            cap: self.cap.get(),
            least_calls: self.least_calls,
            in_a_row: self.in_a_row,
        };
        if self.unseen == AndUnseen::None && self.inject == On::Environmental {
            return Err(Failure::input(
                "model: `--unseen none` leaves out what `--inject environmental` has on; say one of them",
            ));
        }
        rule.check().map_err(|error| {
            Failure::input(format!(
                "model: --{} {}: {}",
                error.name.replace('_', "-"),
                error.value,
                error.expected
            ))
        })?;
        Ok(Options {
            rule,
            unseen: match self.unseen {
                AndUnseen::None => Unseen::None,
                AndUnseen::Environmental => Unseen::Environmental,
                AndUnseen::All => Unseen::All,
            },
            environmental_is_on: self.inject == On::Environmental,
        })
    }
}

/// Makes them.
pub fn run(args: &ModelArgs, json: bool) -> Result<Exit, Failure> {
    let options = args.options()?;
    let is_to_stdout = args.out.as_deref() == Some(Path::new("-"));
    if json && is_to_stdout {
        return Err(Failure::input(
            "model with --json and `-o -`: standard output has room for one of the two; name a file with -o",
        ));
    }
    let name = args.recording.display().to_string();
    let recording = read(&args.recording, &name)?;
    warn(&recording, &name);
    let models = models(&recording, &options).map_err(Failure::input)?;
    if is_to_stdout {
        match io::stdout().write_all(file::text(&models).as_bytes()) {
            // Whoever wanted to see only the beginning has seen it.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                return Err(Failure::machine(format!("write standard output: {error}")));
            }
            _ => {}
        }
        next(&models, args.out.as_deref());
        return Ok(Exit::Held);
    }
    if let Some(path) = &args.out {
        write(&models, path)?;
    }
    if json {
        output::json(&file::json(&models));
    } else {
        output::line(model_table::text(&name, &models).trim_end());
        next(&models, args.out.as_deref());
    }
    Ok(Exit::Held)
}

fn read(path: &Path, name: &str) -> Result<Recording, Failure> {
    let source: Box<dyn Read> = if path == Path::new("-") {
        Box::new(io::stdin())
    } else {
        let file = File::open(path);
        Box::new(file.map_err(|error| Failure::input(format!("open {name}: {error}")))?)
    };
    let recording = Recording::read(source).map_err(|error| {
        let place = match error {
            RecordingError::TooLarge { .. } => " ",
            RecordingError::Malformed { .. } | RecordingError::Io { .. } => "",
        };
        Failure::input(format!("read {name}:{place}{error}"))
    })?;
    if recording.intervals == 0 {
        let cut = recording
            .cut
            .map_or(String::new(), |cut| format!(" ({cut})"));
        let interval = Span(Duration::from_nanos(recording.header.interval_ns));
        return Err(Failure::input(format!(
            "make models of {name}: it has no whole interval{cut}; record for longer than its interval of {interval}"
        )));
    }
    Ok(recording)
}

/// Says what makes the rates other than they look.
fn warn(recording: &Recording, name: &str) {
    let warn = |warning: String| output::note(&format!("murphy: warning: {name}: {warning}"));
    if let Some(cut) = recording.cut {
        warn(format!(
            "{cut}; the models are of the {} before",
            plural(recording.intervals, "interval")
        ));
    }
    if recording.lost > 0 {
        warn(format!(
            "{} not counted: rates are not exact",
            match recording.lost {
                1 => "1 call was".to_owned(),
                lost => format!("{} calls were", grouped(lost)),
            }
        ));
    }
    for (call, count) in &recording.unnamed {
        if *count > 0 {
            warn(format!(
                "{call} has no name here, and no models: {}",
                plural(*count, "call")
            ));
        }
    }
}

fn write(models: &Models, path: &Path) -> Result<(), Failure> {
    let failed = |error: io::Error| {
        let what = match error.kind() {
            io::ErrorKind::AlreadyExists => "it is there already; say another name".to_owned(),
            _ => error.to_string(),
        };
        Failure::machine(format!("write {}: {what}", path.display()))
    };
    let mut file = File::create_new(path).map_err(failed)?;
    let written = file.write_all(file::text(models).as_bytes());
    written.map_err(|error| {
        // Half of the models would be taken for all of them.
        let _ = fs::remove_file(path);
        failed(error)
    })
}

fn next(models: &Models, out: Option<&Path>) {
    let on = models.models.iter().filter(|model| model.is_on).count() as u64;
    let off = models.models.len() as u64 - on;
    let counts = format!("{} on, {} off", plural(on, "model"), grouped(off));
    output::note(&match out {
        Some(path) if path == Path::new("-") => counts,
        Some(path) if on > 0 => format!(
            "{counts} in {}; next: murphy amplify run {}",
            path.display(),
            path.display()
        ),
        Some(path) => format!(
            "{counts} in {}: nothing that was seen can be amplified; switch on what is to be injected",
            path.display()
        ),
        None => format!("{counts}; nothing was kept: -o FILE does"),
    });
}
