//! `murphy amplify run` injects errors at growing rates, and says what the target does about each.

use std::{
    cell::RefCell,
    ffi::OsString,
    fs::File,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use clap::Args;
use murphy_amplify::{
    campaign::{
        effect::Tolerance,
        experiment::Experiment,
        patience::{Ended, Patience},
        row::{self, Limits, Made, Row, Tried},
        search::Rates,
        subject::{Plan, Restart, Subject},
        trial::{Phases, Stage, TrialError},
        validation::Validation,
        verdict::Verdict,
        watching::Watching,
    },
    report::{self, Campaign, ROWS, Report, text},
};
use murphy_fault::{
    injector::Injector,
    process::{Launched, Output, Start},
    ratio::Ratio,
    span::{Span, Until},
    syscall::Engine,
};
use murphy_run::{
    probe::{LIMIT_MAX, Pace, Probe},
    request::Machine,
};
use murphy_sys::clock::realtime_ns;
use murphy_target::Selector;
use serde_json::json;

use super::{
    asked::{AgainArg, Asked},
    kept::{Folder, Kept, RESTART_LOG, TARGET_LOG, WORKLOAD_LOG, words_of},
    probing::differently_named,
    report::drawn,
};
use crate::{
    exit::{Exit, Failure},
    output,
    verbs::{
        inject::{aim::interrupts, syscall::engines},
        injector,
    },
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
    #[arg(value_name = "MODELS", required_unless_present = "errors", conflicts_with_all = ["errors", "cap", "again"])]
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

    /// How long a look of that may take, 1m at most; one that takes longer says nothing.
    #[arg(
        long,
        value_name = "TIME",
        default_value = "10s",
        requires = "validate"
    )]
    pub validate_limit: Span,

    /// A command that gives the target work, words of a shell; it is started again when it ends, and ended with the campaign.
    #[arg(long, value_name = "COMMAND")]
    pub workload: Option<String>,

    /// What starts the target again when it has ended, words of a shell. A command behind `--` is started again by itself.
    #[arg(long, value_name = "COMMAND", requires = "targets")]
    pub restart: Option<String>,

    /// How long that may take: what is not over by then is killed.
    #[arg(long, value_name = "TIME", default_value = "2m", requires = "restart")]
    pub restart_limit: Span,

    /// Inject into guarded calls, too: futex, clone, mmap and others, of which the runtimes of many languages expect no error. In a
    /// file each model says so itself.
    #[arg(long, conflicts_with = "models")]
    pub force: bool,

    /// Only this rate, and no search for another.
    #[arg(long, value_name = "RATE", conflicts_with_all = ["first", "up_to"])]
    pub rate: Option<Ratio>,

    /// The rate to begin with: how many of all such calls fail, by nature or not. A model begins at twice its natural rate
    /// where that is more.
    #[arg(long, value_name = "RATE", default_value = "1%")]
    pub first: Ratio,

    /// The highest rate: 100 %, or that of each model.
    #[arg(long, value_name = "RATE")]
    pub up_to: Option<Ratio>,

    /// Only at the highest rate of each, and no search for where it breaks: a look at many errors in little time.
    #[arg(long, conflicts_with_all = ["rate", "first"])]
    pub no_search: bool,

    /// No more than so many calls in a row are hit, 0 for any number: 10 of EAGAIN and EINTR, which programs answer by trying
    /// again at once.
    #[arg(long, value_name = "N")]
    pub cap: Option<u32>,

    /// What comes of a connection or file that was hit, when it is used again [default: what ends a connection fails for good, what
    /// could not be written by fsync passes, anything else is either].
    #[arg(long, value_name = "WHAT", conflicts_with = "cap")]
    pub again: Option<AgainArg>,

    #[arg(long, value_name = "ENGINE", default_value_t = Engine::Patch, help = engines())]
    pub engine: Engine,

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

    /// How long all of it may take: the trial that is under way then is cut short, and what is not known by then is inconclusive.
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

impl RunArgs {
    fn pace(&self) -> Result<Pace, Failure> {
        Pace::new(self.probe_every.0, self.probe_limit.0).map_err(Failure::input)
    }

    fn limits(&self) -> Limits {
        Limits {
            repeats: self.repeats.max(1),
            replays: self.replays,
            rates: if self.rate.is_some() || self.no_search {
                Rates::First
            } else {
                Rates::Searched
            },
        }
    }

    fn tolerance(&self) -> Tolerance {
        Tolerance {
            failed: self.tolerance.get(),
            slower: self.slower,
        }
    }

    /// What is said where somebody has ended it.
    fn interrupted(&self, trials: u64) -> Failure {
        let hint = match &self.out {
            Some(out) => format!("the same command, which goes on in {}", out.display()),
            None => "--out DIR, which keeps what was tried for another time".into(),
        };
        let made = match trials {
            0 => "before the first trial was over".to_owned(),
            made => format!("after {}", output::plural(made, "trial")),
        };
        Failure {
            exit: Exit::Undecided,
            message: format!("{} {made}", Ended::Interrupted),
            hint: Some(hint),
        }
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
                restart: self.restart.clone().map(|command| Restart {
                    command,
                    limit: self.restart_limit.0,
                    log: out.join(RESTART_LOG),
                }),
            }),
            (true, false) => Ok(Plan::Launched {
                argv: self.command.clone(),
                log: out.join(TARGET_LOG),
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
        if !self.no_search && (self.first > up_to || self.first.is_zero()) {
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
        if self.rate.is_some_and(Ratio::is_zero) {
            return no("--rate 0% injects nothing; say one above it, such as 5%".into());
        }
        differently_named(&self.probes)?;
        for (name, command) in [("--workload", &self.workload), ("--restart", &self.restart)] {
            if let Some(command) = command {
                can_be_read(name, command)?;
            }
        }
        if self.validate_limit.0.is_zero() || self.validate_limit.0 > LIMIT_MAX {
            return no(format!(
                "--validate-limit {} is to be above nothing, and 1m at most",
                self.validate_limit
            ));
        }
        self.pace()?;
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

/// Runs the campaign.
pub fn run(args: &RunArgs, json: bool) -> Result<Exit, Failure> {
    args.check()?;
    let until = args.budget.map(|span| Instant::now() + span.0);
    let experiments = args.experiments()?;
    args.engine.trial().map_err(Failure::machine)?;
    let mut folder = Folder::open(args.out.as_deref())?;
    let plan = args.plan(folder.path())?;
    let (campaign, earlier) = folder.earlier(campaign(args, &experiments)?, args.seed)?;
    let interrupts = interrupts()?;
    let patience = Patience {
        interrupts: &interrupts,
        until,
    };
    let injector = injector()?;
    let mut subject = Subject::begin(plan, &injector).map_err(Failure::machine)?;
    let mut scene = Scene {
        args,
        experiments: &experiments,
        patience,
        injector: &injector,
        json,
    };
    let rows = scene.rows(&mut subject, &mut folder, &campaign, earlier);
    let left = subject.end();
    if !left.is_empty() {
        return Err(Failure::cleanup(left.join("; ")));
    }
    let report = Report {
        campaign,
        rows: rows?,
    };
    // It is said before it is written: a disk that is full by now hides nothing of it.
    if !json {
        output::line(&text::table(&report.rows));
    }
    let rows = serde_json::to_vec(&report.rows).map_err(Failure::machine)?;
    report::write(&folder.path().join(ROWS), &rows).map_err(Failure::machine)?;
    if args.out.is_some() {
        let drawn = drawn(&report, None, folder.path())?;
        if json {
            output::json(&json!({"event": "report", "report": drawn}));
        } else {
            output::note(&format!("report: {}", drawn.display()));
        }
    }
    if until.is_some_and(|until| Instant::now() >= until) && args.out.is_some() {
        output::note(&format!(
            "murphy: the budget ended: the same command goes on in {}",
            folder.path().display()
        ));
    }
    Ok(exit(&report.rows))
}

/// What a campaign is made with, beside its target.
struct Scene<'a> {
    args: &'a RunArgs,
    experiments: &'a [Experiment],
    patience: Patience<'a>,
    injector: &'a Injector,
    json: bool,
}

impl Scene<'_> {
    /// Begins all that is needed, has all rows made, and ends it again.
    fn rows(
        &mut self,
        subject: &mut Subject,
        folder: &mut Folder,
        campaign: &Campaign,
        earlier: Vec<Tried>,
    ) -> Result<Vec<Row>, Failure> {
        let watching =
            Watching::begin(&self.args.probes, self.args.pace()?).map_err(Failure::machine)?;
        let workload = begin_workload(self.args, self.injector, folder.path());
        let rows = workload.and_then(|workload| {
            let into = folder.begin(campaign);
            let rows = into
                .and_then(|into| self.all_rows(subject, &watching, earlier, into, campaign.seed));
            let left = workload.map(Launched::end).unwrap_or_default();
            if left.is_empty() {
                rows
            } else {
                Err(Failure::cleanup(left.join("; ")))
            }
        });
        let ended = watching.end().map_err(Failure::machine);
        let rows = rows?;
        ended?;
        Ok(rows)
    }

    fn all_rows(
        &mut self,
        subject: &mut Subject,
        watching: &Watching,
        earlier: Vec<Tried>,
        (path, into): (PathBuf, File),
        seed: u64,
    ) -> Result<Vec<Row>, Failure> {
        let args = self.args;
        let stage = Stage {
            injector: self.injector,
            engine: args.engine,
            patience: self.patience,
            watching,
            validation: args.validate.as_ref().map(|probe| Validation {
                probe,
                limit: args.validate_limit.0,
            }),
            phases: args.phases(),
            tolerance: args.tolerance(),
            seed,
            taking: RefCell::default(),
        };
        let mut trials = Kept {
            count: earlier.len() as u64,
            made: Made {
                stage: &stage,
                subject,
            },
            earlier,
            into,
            path,
            json: self.json,
        };
        let mut rows = Vec::new();
        for experiment in self.experiments {
            let row = row::run(&mut trials, experiment, args.limits());
            let row = row.map_err(|error| match error {
                TrialError::Ended(Ended::Interrupted) => args.interrupted(trials.count),
                error => Failure::machine(error),
            })?;
            if self.json {
                output::json(&json!({"event": "row", "row": row}));
            }
            rows.push(row);
        }
        Ok(rows)
    }
}

/// What is asked for.
fn campaign(args: &RunArgs, experiments: &[Experiment]) -> Result<Campaign, Failure> {
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
    Ok(Campaign {
        machine: Machine::this(env!("CARGO_PKG_VERSION")),
        started: jiff::Timestamp::now().to_string(),
        target,
        probes: args.probes.iter().map(Probe::name).collect(),
        validation: args.validate.as_ref().map(Probe::name),
        workload: args.workload.clone(),
        phases: args.phases(),
        tolerance: args.tolerance(),
        seed: args.seed.unwrap_or_else(realtime_ns),
        words: words_of(std::env::args_os().map(|word| word.to_string_lossy().into_owned())),
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
                args.engine.name(),
                args.limits().rates,
                // What is looked at, and how closely.
                (
                    args.targets
                        .iter()
                        .map(ToString::to_string)
                        .collect::<Vec<_>>(),
                    &args.command,
                    (&args.validate, args.validate_limit),
                    &args.workload,
                    &args.tolerance,
                    args.slower,
                    args.pace()?,
                )
            )
        ),
    })
}

/// That a shell can read a command: one that it cannot would be missed only later, or by nobody.
fn can_be_read(option: &str, command: &str) -> Result<(), Failure> {
    let read = Command::new("/bin/sh")
        .args(["-n", "-c", command])
        .output()
        .map_err(|error| Failure::machine(format!("start /bin/sh: {error}")))?;
    if read.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&read.stderr);
    Err(Failure::input(format!(
        "read {option} {command:?}: {}",
        said.trim()
    )))
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
    // A comment at its end is one to there.
    let again = format!("while :; do (\n{command}\n); sleep 0.1; done");
    let words = ["sh", "-c", &again].map(OsString::from).to_vec();
    let start = Start {
        fault: ("process", "workload".into()),
        until: Until::Forever,
        output: Output::Nowhere,
        time: None,
        held: false,
        log: Some(directory.join(WORKLOAD_LOG)),
    };
    let launched = Launched::start(injector, words, start).map_err(Failure::machine)?;
    Ok(Some(launched))
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
