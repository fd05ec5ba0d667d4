//! `murphy amplify run` injects errors at growing rates, and says what the target does about each.

use std::{
    cell::RefCell,
    ffi::OsString,
    fs::{self, File},
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    str::FromStr,
    time::Instant,
};

use clap::Args;
use murphy_amplify::{
    campaign::{
        effect::Tolerance,
        experiment::{Experiment, Natural, Part},
        row::{self, Limits, Made, Purpose, Row, Trials, Tried},
        subject::{Plan, Subject},
        trial::{Looks, Phases, Stage, TrialError},
        verdict::Verdict,
        watching::Watching,
    },
    model,
    report::{self, CAMPAIGN, Campaign, ROWS, Report, text},
};
use murphy_fault::{
    injector::Injector,
    process::{Launched, Output, Start},
    ratio::Ratio,
    span::{Span, Until},
    syscall::{Calls, Kind, Pick, Rules, spec::errno},
};
use murphy_run::{
    probe::{Pace, Probe},
    request::Machine,
};
use murphy_sys::{clock::realtime_ns, syscalls::Errno};
use murphy_target::Selector;
use serde_json::json;

use crate::{
    exit::{Exit, Failure},
    output::{self, grouped},
    verbs::{amplify::report::drawn, inject::aim::interrupts, injector},
};

/// Arguments of `murphy amplify run`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  murphy amplify run models.yaml -t pid:42 --probe http://127.0.0.1:8080/health --out DIR
  murphy amplify run -t pid:42 --error write=ENOSPC --probe http://127.0.0.1:8080/health
  murphy amplify run --error fsync=EIO --error read/socket=ECONNRESET --probe tcp:127.0.0.1:5432 \\
      --validate 'command:./check.sh' --workload 'pgbench -T 3600' -- postgres -D data
  murphy amplify run -t unit:postfix.service --restart 'systemctl restart postfix' --error openat=EMFILE \\
      --probe 'command:./send-and-fetch.sh' --out DIR

models.yaml is what `murphy amplify model` writes; its models and combinations that are on are tried, in their order.
Each error is tried at growing rates, until it breaks something or the highest rate is reached; then between.
Each trial is: all well, a baseline, a control with nothing injected, the injection, what comes behind it.
What breaks is tried again. More: docs/amplify.md")]
pub struct RunArgs {
    /// The models of a recording, each tried up to its own rate (docs/amplify-models.md).
    #[arg(value_name = "MODELS", required_unless_present = "errors", conflicts_with_all = ["errors", "cap"])]
    pub models: Option<PathBuf>,

    /// Of the models only those of this name, whether they are on or not; repeatable.
    #[arg(long, value_name = "NAME", requires = "models")]
    pub only: Vec<String>,

    /// On whom: pid:42, name:etcd, container:web, … (docs/targets.md); repeatable. Or a command behind `--`.
    #[arg(short, long = "target", value_name = "TARGET")]
    pub targets: Vec<Selector>,

    /// What to inject: CALL=ERRNO, or CALL/KIND=ERRNO where only descriptors of a kind are meant (file, dir, socket, pipe, char,
    /// block); repeatable.
    #[arg(long = "error", value_name = "CALL=ERRNO")]
    pub errors: Vec<Asked>,

    /// What tells that all is well (docs/probes.md); repeatable.
    #[arg(long = "probe", value_name = "PROBE", required = true)]
    pub probes: Vec<Probe>,

    /// Each probe looks so often.
    #[arg(long, value_name = "TIME", default_value = "100ms")]
    pub probe_every: Span,

    /// A look that takes longer has failed.
    #[arg(long, value_name = "TIME", default_value = "1s")]
    pub probe_limit: Span,

    /// What tells behind each trial that the target has lost or confused nothing: a probe that looks once.
    #[arg(long, value_name = "PROBE")]
    pub validate: Option<Probe>,

    /// A command that gives the target work, words of a shell; it is started again when it ends.
    #[arg(long, value_name = "COMMAND")]
    pub workload: Option<String>,

    /// What starts the target again when it has ended, words of a shell. A command behind `--` is started again by itself.
    #[arg(long, value_name = "COMMAND", requires = "targets")]
    pub restart: Option<String>,

    /// The rate to begin with: how many of all such calls fail, by nature or not. A model begins at twice its natural rate
    /// where that is more.
    #[arg(long, value_name = "RATE", default_value = "1%")]
    pub first: Ratio,

    /// The highest rate: 100 %, or that of each model.
    #[arg(long, value_name = "RATE")]
    pub up_to: Option<Ratio>,

    /// No more than so many calls in a row are hit, 0 for any number: 10 of EAGAIN and EINTR, which programs answer by trying
    /// again at once.
    #[arg(long, value_name = "N")]
    pub cap: Option<u32>,

    /// How long nothing is attached.
    #[arg(long, value_name = "TIME", default_value = "15s")]
    pub baseline: Span,

    /// How long all is attached and nothing injected.
    #[arg(long, value_name = "TIME", default_value = "10s")]
    pub control: Span,

    /// How long is injected.
    #[arg(long, value_name = "TIME", default_value = "20s")]
    pub injection: Span,

    /// All is well when all probes have passed for so long.
    #[arg(long, value_name = "TIME", default_value = "2s")]
    pub steady: Span,

    /// How long the target may take to be well again.
    #[arg(long, value_name = "TIME", default_value = "30s")]
    pub recovery: Span,

    /// So many more looks may fail without being called worse.
    #[arg(long, value_name = "RATIO", default_value = "5%")]
    pub tolerance: Ratio,

    /// So many times as long they may take.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.5)]
    pub slower: f64,

    /// How often a rate is tried at most, where one trial does not settle it.
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub repeats: u32,

    /// How often what broke is tried again.
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub replays: u32,

    /// How long all of it may take; what is not done by then is inconclusive.
    #[arg(long, value_name = "TIME")]
    pub budget: Option<Span>,

    /// A folder for what comes of each trial; a campaign that was cut short in it goes on.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,

    /// The seed of everything that is drawn.
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,

    /// A command to launch and break; it is started again when it ends.
    #[arg(last = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

/// An error, as it is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    calls: Calls,
    kinds: Vec<Kind>,
    errno: Errno,
}

impl FromStr for Asked {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (what, errno_name) = text
            .split_once('=')
            .ok_or("say CALL=ERRNO, such as write=ENOSPC, or read/socket=ECONNRESET")?;
        let (calls, kinds) = what
            .split_once('/')
            .map_or((what, None), |(calls, kind)| (calls, Some(kind)));
        Ok(Self {
            calls: calls.parse().map_err(|error| format!("{error}"))?,
            kinds: kinds
                .map(|kind| kind.parse().map_err(|error| format!("{error}")))
                .into_iter()
                .collect::<Result<_, _>>()?,
            errno: errno(errno_name).map_err(|error| error.to_string())?,
        })
    }
}

impl RunArgs {
    fn experiments(&self) -> Result<Vec<Experiment>, Failure> {
        let all = match &self.models {
            Some(path) => self.modelled(path)?,
            None => self.errors.iter().map(|asked| self.asked(asked)).collect(),
        };
        for (place, one) in all.iter().enumerate() {
            // What no kernel says, and what no program survives, is refused before anything is touched.
            let specs = one.specs(one.up_to);
            if specs.is_empty() {
                return Err(Failure::input(format!(
                    "amplify: {} comes as often by nature as it would be injected: there is nothing to amplify",
                    one.name
                )));
            }
            Rules::of(&specs).map_err(|error| {
                Failure::input(match self.models {
                    Some(_) => format!("{}: {error}", one.name),
                    None => error.to_string(),
                })
            })?;
            if all[..place].iter().any(|other| other.name == one.name) {
                return Err(Failure::input(format!(
                    "amplify: --error {} is there twice",
                    one.name
                )));
            }
        }
        Ok(all)
    }

    fn asked(&self, asked: &Asked) -> Experiment {
        let kind = asked.kinds.first();
        let kinds = kind.map_or(String::new(), |kind| format!("/{kind}"));
        Experiment {
            name: format!("{}{kinds}={}", asked.calls, asked.errno),
            parts: vec![Part {
                calls: asked.calls.clone(),
                errno: asked.errno,
                kinds: asked.kinds.clone(),
                natural: Natural::default(),
                weight: 1.0,
                pick: self.cap(asked.errno).map_or(Pick::Each, Pick::AtMost),
            }],
            first: self.first.get(),
            up_to: self.up_to.map_or(1.0, Ratio::get),
        }
    }

    fn cap(&self, errno: Errno) -> Option<u32> {
        let default = model::is_answered_at_once(errno).then_some(model::Rule::DEFAULT.in_a_row);
        self.cap.or(default).filter(|cap| *cap > 0)
    }

    /// The experiments of a file with models, in its order; combinations behind them.
    fn modelled(&self, path: &Path) -> Result<Vec<Experiment>, Failure> {
        let refused = |error: &dyn std::fmt::Display| {
            Failure::input(format!("read {}: {error}", path.display()))
        };
        let file = File::open(path).map_err(|error| refused(&error))?;
        let models = model::file::read(BufReader::new(file)).map_err(|error| refused(&error))?;
        let is_meant = |name: &str, is_on: bool| {
            if self.only.is_empty() {
                is_on
            } else {
                self.only.iter().any(|only| only == name)
            }
        };
        let first = self.first.get();
        let mut all = Vec::new();
        for one in models
            .models
            .iter()
            .filter(|one| is_meant(&one.name, one.is_on))
        {
            all.push(one.experiment(first).map_err(|error| refused(&error))?);
        }
        for one in models
            .combinations
            .iter()
            .filter(|one| is_meant(&one.name, one.is_on))
        {
            let experiment = models.together(one, first).ok_or_else(|| {
                refused(&format!(
                    "the combination {} names a model that is not there",
                    one.name
                ))
            })?;
            all.push(experiment.map_err(|error| refused(&error))?);
        }
        if let Some(unknown) = self
            .only
            .iter()
            .find(|only| all.iter().all(|one| one.name != **only))
        {
            let names = models.models.iter().map(|one| one.name.as_str());
            let names: Vec<&str> = names
                .chain(models.combinations.iter().map(|one| one.name.as_str()))
                .collect();
            return Err(refused(&format!(
                "there is no {unknown}; there are {}",
                names.join(", ")
            )));
        }
        if all.is_empty() {
            return Err(refused(
                &"no model is on; set `inject: on`, or name one with --only",
            ));
        }
        if let Some(up_to) = self.up_to {
            for one in &mut all {
                one.up_to = up_to.get();
                one.first = one.first.min(one.up_to);
            }
        }
        Ok(all)
    }

    fn phases(&self) -> Phases {
        Phases {
            baseline: self.baseline.0,
            control: self.control.0,
            injection: self.injection.0,
            steady: self.steady.0,
            recovery: self.recovery.0,
        }
    }

    fn plan(&self, out: &Path) -> Result<Plan, Failure> {
        match (self.targets.is_empty(), self.command.is_empty()) {
            (false, true) => Ok(Plan::Found {
                targets: self.targets.clone(),
                restart: self.restart.clone(),
            }),
            (true, false) => Ok(Plan::Launched {
                argv: self.command.clone(),
                log: out.join("target.log"),
            }),
            (true, true) => Err(Failure::input(
                "amplify: name a target with -t, such as `-t pid:42`, or a command behind `--`",
            )),
            (false, false) => Err(Failure::input(
                "amplify: name a target with -t or a command behind `--`, not both",
            )),
        }
    }

    fn check(&self) -> Result<(), Failure> {
        let no = |text: String| Err(Failure::input(format!("amplify: {text}")));
        if !self.only.is_empty() && self.models.is_none() {
            return no("--only names models of a file, and none is given".into());
        }
        let up_to = self.up_to.unwrap_or(Ratio::nearest(1.0));
        if self.first > up_to || self.first.is_zero() {
            return no(format!(
                "--first {} is to be above nothing, and not above --up-to {up_to}",
                self.first
            ));
        }
        if !(self.slower >= 1.0 && self.slower.is_finite()) {
            return no(format!(
                "--slower {} is to be 1 or more, such as 1.5",
                self.slower
            ));
        }
        let least = 10 * self.probe_every.0;
        for (name, time) in [
            ("--baseline", self.baseline),
            ("--control", self.control),
            ("--injection", self.injection),
        ] {
            if time.0 < least {
                return no(format!(
                    "{name} {time} is too short for ten looks of a probe; say {} or longer, or a shorter --probe-every",
                    Span(least)
                ));
            }
        }
        Ok(())
    }
}

/// Trials that are written down as they are made, and not made again.
struct Kept<'a> {
    made: Made<'a>,
    earlier: Vec<Tried>,
    into: File,
    until: Option<Instant>,
    json: bool,
}

impl Trials for Kept<'_> {
    fn tried(
        &mut self,
        experiment: &Experiment,
        rate: f64,
        purpose: Purpose,
        looks: &mut Looks,
    ) -> Result<Tried, TrialError> {
        let is_it = |one: &Tried| {
            one.experiment == experiment.name
                && one.rate.to_bits() == rate.to_bits()
                && one.purpose == purpose
        };
        if let Some(place) = self.earlier.iter().position(is_it) {
            return Ok(self.earlier.remove(place));
        }
        if self.until.is_some_and(|until| Instant::now() >= until) {
            return Err(TrialError::OverBudget);
        }
        let tried = self.made.tried(experiment, rate, purpose, looks)?;
        let mut line =
            serde_json::to_vec(&tried).map_err(|error| TrialError::Kept(error.into()))?;
        line.push(b'\n');
        self.into.write_all(&line).map_err(TrialError::Kept)?;
        say_tried(&tried, self.json);
        Ok(tried)
    }
}

/// Runs the campaign.
pub fn run(args: &RunArgs, json: bool) -> Result<Exit, Failure> {
    args.check()?;
    let experiments = args.experiments()?;
    let pace = Pace::new(args.probe_every.0, args.probe_limit.0).map_err(Failure::input)?;
    let (directory, _temporary) = folder(args)?;
    let plan = args.plan(&directory)?;
    let (campaign, earlier, into) = keep(args, &experiments, &directory)?;
    let interrupts = interrupts()?;
    let injector = injector()?;
    let seed = campaign.seed;
    let mut subject = Subject::begin(plan, &injector).map_err(Failure::machine)?;
    let workload = begin_workload(args, &injector, &directory);
    let outcome = workload.and_then(|workload| {
        let watching = Watching::begin(&args.probes, pace).map_err(Failure::machine)?;
        let stage = Stage {
            injector: &injector,
            interrupts: &interrupts,
            watching: &watching,
            validation: args.validate.as_ref(),
            phases: args.phases(),
            tolerance: Tolerance {
                failed: args.tolerance.get(),
                slower: args.slower,
            },
            seed,
            taking: RefCell::default(),
        };
        let mut trials = Kept {
            made: Made {
                stage: &stage,
                subject: &mut subject,
            },
            earlier,
            into,
            until: args
                .budget
                .and_then(|span| Instant::now().checked_add(span.0)),
            json,
        };
        let rows = all_rows(&mut trials, &experiments, args, json);
        let ended = watching.end().map_err(Failure::machine);
        let left = workload.map(Launched::end).unwrap_or_default();
        if !left.is_empty() {
            return Err(Failure::cleanup(left.join("; ")));
        }
        let rows = rows?;
        ended?;
        Ok(rows)
    });
    let left = subject.end();
    if !left.is_empty() {
        return Err(Failure::cleanup(left.join("; ")));
    }
    let report = Report {
        campaign,
        rows: outcome?,
    };
    let rows = serde_json::to_vec(&report.rows).map_err(Failure::machine)?;
    report::write(&directory.join(ROWS), &rows).map_err(Failure::machine)?;
    if !json {
        output::line(&text::table(&report.rows));
    }
    if args.out.is_some() {
        let drawn = drawn(&report, None, &directory)?;
        if json {
            output::json(&json!({"event": "report", "report": drawn}));
        } else {
            output::note(&format!("report: {}", drawn.display()));
        }
    }
    Ok(exit(&report.rows))
}

fn all_rows(
    trials: &mut Kept<'_>,
    experiments: &[Experiment],
    args: &RunArgs,
    json: bool,
) -> Result<Vec<Row>, Failure> {
    let limits = Limits {
        repeats: args.repeats.max(1),
        replays: args.replays,
    };
    let mut rows = Vec::new();
    for experiment in experiments {
        let row = row::run(trials, experiment, limits).map_err(Failure::machine)?;
        if json {
            output::json(&json!({"event": "row", "row": row}));
        }
        rows.push(row);
    }
    Ok(rows)
}

/// Where everything goes: what was asked for, or a folder that goes with the campaign.
fn folder(args: &RunArgs) -> Result<(PathBuf, Option<Temporary>), Failure> {
    let refused = |path: &Path, error: std::io::Error| {
        Failure::machine(format!("make the folder {}: {error}", path.display()))
    };
    if let Some(path) = &args.out {
        fs::create_dir_all(path).map_err(|error| refused(path, error))?;
        return Ok((path.clone(), None));
    }
    let path = std::env::temp_dir().join(format!("murphy-amplify-{}", std::process::id()));
    fs::create_dir(&path).map_err(|error| refused(&path, error))?;
    Ok((path.clone(), Some(Temporary(path))))
}

/// A folder that nobody has asked for.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // What is left is in a place for such things.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What is asked for.
fn campaign(args: &RunArgs, experiments: &[Experiment]) -> Campaign {
    let target = if args.targets.is_empty() {
        let words = args
            .command
            .iter()
            .map(|word| word.to_string_lossy().into_owned());
        report::shell(&words.collect::<Vec<_>>())
    } else {
        let names: Vec<String> = args.targets.iter().map(ToString::to_string).collect();
        names.join(" ")
    };
    Campaign {
        machine: Machine::this(env!("CARGO_PKG_VERSION")),
        started: jiff::Timestamp::now().to_string(),
        target,
        probes: args.probes.iter().map(Probe::name).collect(),
        validation: args.validate.as_ref().map(Probe::name),
        workload: args.workload.clone(),
        phases: args.phases(),
        tolerance: Tolerance {
            failed: args.tolerance.get(),
            slower: args.slower,
        },
        seed: args.seed.unwrap_or_else(realtime_ns),
        words: words_of(std::env::args()),
        is_modelled: args.models.is_some(),
        asked: format!(
            "{:?}",
            (
                &args.errors,
                experiments,
                &args.probes,
                args.phases(),
                &args.first,
                &args.up_to,
                &args.cap,
                // What is looked at, and how closely.
                (
                    args.targets
                        .iter()
                        .map(ToString::to_string)
                        .collect::<Vec<_>>(),
                    &args.command,
                    &args.validate,
                    &args.workload,
                    &args.tolerance,
                    args.slower
                )
            )
        ),
    }
}

/// The words Murphy was begun with, without what is injected and where it goes.
fn words_of(words: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut all = Vec::new();
    let mut words = words.into_iter();
    let mut is_command = false;
    while let Some(word) = words.next() {
        is_command |= word == "--";
        let name = word.split('=').next().unwrap_or_default();
        if is_command || !["--error", "--only", "--first", "--up-to", "--out"].contains(&name) {
            all.push(word);
        } else if !word.contains('=') {
            // Its value is a word of its own.
            words.next();
        }
    }
    all
}

/// What was asked for and tried in the folder before, and the file for more. A last line that was cut short counts for nothing.
fn keep(
    args: &RunArgs,
    experiments: &[Experiment],
    directory: &Path,
) -> Result<(Campaign, Vec<Tried>, File), Failure> {
    let path = directory.join("trials.jsonl");
    let refused =
        |error: std::io::Error| Failure::machine(format!("write {}: {error}", path.display()));
    let mut campaign = campaign(args, experiments);
    let head = directory.join(CAMPAIGN);
    if let Ok(text) = fs::read(&head) {
        let before: Campaign = serde_json::from_slice(&text)
            .map_err(|error| Failure::input(format!("read {}: {error}", head.display())))?;
        if before.asked != campaign.asked {
            return Err(Failure::input(format!(
                "go on in {}: another campaign was begun there; say another folder",
                directory.display()
            )));
        }
        // What was drawn before goes on as it would have.
        campaign = before;
    } else {
        let mut entries = fs::read_dir(directory).map_err(refused)?;
        if entries.next().is_some() {
            return Err(Failure::input(format!(
                "begin in {}: the folder is not empty, and no campaign was begun there",
                directory.display()
            )));
        }
        let text = serde_json::to_vec_pretty(&campaign).map_err(Failure::machine)?;
        report::write(&head, &text).map_err(Failure::machine)?;
    }
    let mut earlier = Vec::new();
    let mut whole = 0;
    if let Ok(file) = File::open(&path) {
        let mut reader = BufReader::new(file);
        let mut line = String::new();
        while reader.read_line(&mut line).map_err(refused)? > 0 && line.ends_with('\n') {
            let tried = serde_json::from_str(&line).map_err(|error| {
                Failure::input(format!(
                    "read {}: line {}: {error}",
                    path.display(),
                    earlier.len() + 1
                ))
            })?;
            earlier.push(tried);
            whole += line.len() as u64;
            line.clear();
        }
    }
    let file = File::options()
        .create(true)
        .append(true)
        .open(&path)
        .map_err(refused)?;
    file.set_len(whole).map_err(refused)?;
    if !earlier.is_empty() {
        output::note(&format!(
            "murphy: {} of an earlier run in {} are not made again",
            output::plural(earlier.len() as u64, "trial"),
            directory.display()
        ));
    }
    Ok((campaign, earlier, file))
}

/// Starts what gives the target work, again and again.
fn begin_workload(
    args: &RunArgs,
    injector: &Injector,
    directory: &Path,
) -> Result<Option<Launched>, Failure> {
    let Some(command) = &args.workload else {
        return Ok(None);
    };
    let again = format!("while :; do ({command}); sleep 0.1; done");
    let words = ["sh", "-c", &again].map(OsString::from).to_vec();
    let start = Start {
        fault: ("process", "workload".into()),
        until: Until::Forever,
        output: Output::Nowhere,
        time: None,
        held: false,
        log: Some(directory.join("workload.log")),
    };
    let launched = Launched::start(injector, words, start).map_err(Failure::machine)?;
    Ok(Some(launched))
}

fn say_tried(tried: &Tried, json: bool) {
    if json {
        output::json(&json!({"event": "trial", "trial": tried}));
        return;
    }
    output::note(&format!(
        "{} at {:.2} %{}: {}, {} of {} calls hit: {}",
        tried.experiment,
        tried.rate * 100.0,
        match tried.purpose {
            Purpose::Search => "",
            Purpose::Replay => " again",
        },
        tried.verdict,
        grouped(tried.seen.injections),
        grouped(tried.seen.exposures),
        tried.why
    ));
}

/// Resilient, or not known, or neither.
fn exit(rows: &[Row]) -> Exit {
    let is_broken = |row: &Row| row.verdict.is_bad() && !row.is_flaky();
    let is_open = |row: &Row| row.verdict == Verdict::Inconclusive || row.is_flaky();
    if rows.iter().any(is_broken) {
        Exit::Broken
    } else if rows.iter().any(is_open) {
        Exit::Undecided
    } else {
        Exit::Held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_a_campaign_are_kept_without_what_differs_from_row_to_row() {
        let words = "murphy amplify run --error fsync=EIO --error=read/socket=EAGAIN --first 1% --up-to=5% --out DIR --probe \
                     up=http://h/?a=b -- run --error x";
        let words = words.split(' ').filter(|word| !word.is_empty());
        assert_eq!(
            words_of(words.map(str::to_owned)).join(" "),
            "murphy amplify run --probe up=http://h/?a=b -- run --error x"
        );
    }
}
