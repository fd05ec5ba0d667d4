//! `murphy hunt SYSTEM` starts a real cluster, loads it, hurts it, and judges what its clients saw.

mod screen;
mod watched;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use clap::{Args, Subcommand};
use murphy_fault::span::Span;
use murphy_hunt::{
    hunt::{HuntError, Hunted, Plan},
    lab::{NODES_MAX, Storage},
    system::System,
    systems::etcd::{
        Etcd,
        binary::{self, Binary},
        workload::{Mix, PROFILES, Profile, Traffic},
    },
};
use murphy_run::{folder::FolderError, schedule, verdict::Ending};
use murphy_sys::signal::Interrupts;
use serde_json::{Value, json};
use tokio::sync::watch;

use self::screen::Screen;
use super::{
    check::known_promises,
    injector,
    verdict::{self, Said},
};
use crate::{
    exit::{Exit, Failure},
    output,
};

/// Arguments of `murphy hunt`.
#[derive(Debug, Args)]
pub struct HuntArgs {
    /// What to hunt.
    #[command(subcommand)]
    pub system: SystemArgs,
}

/// The systems.
#[derive(Debug, Subcommand)]
pub enum SystemArgs {
    /// etcd, of any version.
    Etcd(Box<EtcdArgs>),
}

/// Arguments of `murphy hunt etcd`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  murphy hunt etcd --etcd 3.5.0 --faults kill --for 60s --seed 7
      finds that members of etcd 3.5.0 disagree after a kill (issue 13766)
  murphy hunt etcd --etcd system --scenario issue-18089
      shows a known bug without chance
  murphy hunt etcd --etcd ./etcd --profile mixed --faults kill,pause,term --for 10m --keep-going
  murphy hunt etcd --faults skew,kill --for 60s
      members whose clocks are wrong by milliseconds to hours, drift, strobe or stand still

Profiles: compare (100 compares and a put in each transaction), mixed (everything), put.
Everything of a run is in its folder: history.jsonl, events.jsonl, nodes/, verdict.json, report.html; observed/.")]
pub struct EtcdArgs {
    /// The server: `system`, a version (3.5.0, 3.5.1), or a path.
    #[arg(long, value_name = "ETCD", default_value = "system")]
    pub etcd: String,

    /// Number of nodes.
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub nodes: usize,

    /// The traffic: compare, mixed or put.
    #[arg(long, value_name = "NAME", default_value = PROFILES[0].name)]
    pub profile: String,

    /// Weights that replace the profile's, such as `put=40,get=60`.
    #[arg(long, value_name = "OP=WEIGHT,…")]
    pub mix: Option<Mix>,

    /// Number of keys [default: the profile's].
    #[arg(long, value_name = "N")]
    pub keys: Option<usize>,

    /// Number of clients, spread over the nodes.
    #[arg(long, value_name = "N", default_value_t = 24)]
    pub clients: usize,

    /// Operations a second, all clients together; 0 for as many as possible.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub rate: u32,

    /// Faults to draw from: kill, pause, term, skew; `none` for load alone.
    #[arg(
        long,
        value_name = "NAME,…",
        value_delimiter = ',',
        default_value = "kill"
    )]
    pub faults: Vec<String>,

    /// How long to hunt; the round under way is finished.
    #[arg(long = "for", value_name = "TIME", default_value = "60s")]
    pub time: Span,

    /// Only these promises decide [default: all].
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub promise: Vec<String>,

    /// Play a script that shows one known bug: issue-18089, issue-18667.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["faults", "profile", "mix"])]
    pub scenario: Option<String>,

    /// Go on after a broken promise.
    #[arg(long)]
    pub keep_going: bool,

    /// A flag for every node, such as `snapshot-count=100`; repeatable.
    #[arg(long = "set", value_name = "FLAG=VALUE", value_parser = flag)]
    pub flags: Vec<(String, String)>,

    /// Where the nodes keep their data: a private tmpfs, or the run folder.
    #[arg(long, value_name = "WHERE", default_value = "tmpfs", value_parser = ["tmpfs", "disk"])]
    pub data: String,

    /// Do not observe the nodes' network, nor score what is found by what was done to them (docs/score.md): that takes a
    /// share of the processors.
    #[arg(long)]
    pub no_observe: bool,

    /// Where everything random comes from [default: drawn, and printed].
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,

    /// The run folder; must be empty or new [default: murphy-runs/etcd-TIME].
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

fn flag(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => {
            Ok((name.trim_start_matches("--").into(), value.into()))
        }
        _ => Err("expected FLAG=VALUE, such as snapshot-count=100".into()),
    }
}

/// Hunts.
pub fn run(args: &HuntArgs, json: bool) -> Result<Exit, Failure> {
    match &args.system {
        SystemArgs::Etcd(args) => etcd(args, json),
    }
}

fn etcd(args: &EtcdArgs, json: bool) -> Result<Exit, Failure> {
    let profile = profile(&args.profile)?;
    known_promises(&args.promise)?;
    let faults = faults(args)?;
    sizes(args)?;
    let seed = args.seed.unwrap_or_else(drawn_seed);
    // Before there are threads: they inherit that these signals are waited for, not died of.
    let interrupted = interruption()?;
    let binary = binary::find(&args.etcd, &output::note).map_err(|error| {
        if error.is_input() {
            Failure::input(error)
        } else {
            Failure::machine(error)
        }
    })?;
    let traffic = traffic(args, profile);
    let system = Etcd {
        program: binary.path.clone(),
        version: binary.version.clone(),
        flags: args.flags.iter().cloned().collect(),
        traffic: Arc::new(traffic),
    };
    let scenario = args
        .scenario
        .as_deref()
        .map(|name| scenario(&system, name))
        .transpose()?;
    let headline = headline(args, &binary, seed);
    let screen = Screen::start(&headline, json);
    let (watch, scored) = (!args.no_observe).then(watched::begin).unzip();
    let plan = Plan {
        nodes: args.nodes,
        faults,
        duration: args.time.0,
        seed,
        out: args.out.clone(),
        storage: if args.data == "disk" {
            Storage::Disk
        } else {
            Storage::Tmpfs
        },
        promises: args.promise.clone(),
        keep_going: args.keep_going,
        scenario,
        system: "etcd",
        version: binary.version.clone(),
        command: command(args, seed),
        options: options(args),
        murphy: env!("CARGO_PKG_VERSION"),
        watch,
    };
    let injector = injector()?;
    let hunted = murphy_hunt::hunt::run(system, plan, injector, screen.listener(), interrupted);
    screen.end();
    let hunted = hunted.map_err(failure)?;
    // The verdict is the last word.
    if let Some(scored) = scored {
        scored.say(json);
    }
    say(&hunted, json);
    Ok(if hunted.finished.verdicts.cleanup.is_complete() {
        hunted.finished.verdict.into()
    } else {
        Exit::Cleanup
    })
}

fn profile(name: &str) -> Result<&'static Profile, Failure> {
    PROFILES
        .iter()
        .find(|profile| profile.name == name)
        .ok_or_else(|| {
            let known: Vec<_> = PROFILES
                .iter()
                .map(|p| format!("{} ({})", p.name, p.about))
                .collect();
            Failure::input(format!(
                "find the profile {name:?}: there are {}",
                known.join("; ")
            ))
        })
}

fn faults(args: &EtcdArgs) -> Result<Vec<schedule::Known>, Failure> {
    if args.faults == ["none"] {
        return Ok(Vec::new());
    }
    schedule::choose(&args.faults, &schedule::KNOWN).map_err(Failure::input)
}

fn sizes(args: &EtcdArgs) -> Result<(), Failure> {
    let refuse = |text: String| Err(Failure::input(text));
    if !(1..=NODES_MAX).contains(&args.nodes) {
        return refuse(format!(
            "start {} nodes: a lab holds 1 to {NODES_MAX}",
            args.nodes
        ));
    }
    if !(1..=1000).contains(&args.clients) {
        return refuse(format!(
            "start {} clients: a hunt has 1 to 1000",
            args.clients
        ));
    }
    if args.keys == Some(0) {
        return refuse("write 0 keys: at least one is needed".into());
    }
    Ok(())
}

fn traffic(args: &EtcdArgs, profile: &Profile) -> Traffic {
    Traffic {
        // Every profile's mix reads back, as a test shows.
        mix: args
            .mix
            .clone()
            .or_else(|| profile.mix.parse().ok())
            .expect("a profile has a mix"),
        keys: args.keys.unwrap_or(profile.keys),
        clients: args.clients,
        rate: (args.rate > 0).then_some(f64::from(args.rate)),
        compact_every: profile.compact_every,
    }
}

fn scenario(system: &Etcd, name: &str) -> Result<murphy_hunt::system::Scenario, Failure> {
    let known = system.scenarios();
    known
        .iter()
        .find(|s| s.name == name)
        .copied()
        .ok_or_else(|| {
            let names: Vec<_> = known
                .iter()
                .map(|s| format!("{} ({})", s.name, s.about))
                .collect();
            Failure::input(format!(
                "find the scenario {name:?}: there are {}",
                names.join("; ")
            ))
        })
}

/// A seed nobody chose; printed, so that it can be chosen next time.
fn drawn_seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    // The standard library's own random state, from the system's entropy; small enough to type.
    std::hash::RandomState::new().build_hasher().finish() % 1_000_000
}

fn headline(args: &EtcdArgs, binary: &Binary, seed: u64) -> String {
    let what = match &args.scenario {
        Some(scenario) => format!("scenario {scenario}"),
        None => format!(
            "profile {} · {} · faults {}",
            args.profile,
            output::plural(args.clients as u64, "client"),
            args.faults.join(",")
        ),
    };
    format!(
        "etcd {} ×{} · {what} · seed {seed}",
        binary.version, args.nodes
    )
}

/// The command that repeats the hunt, with everything that changes what it does.
fn command(args: &EtcdArgs, seed: u64) -> Vec<String> {
    let mut words: Vec<String> = ["murphy", "hunt", "etcd"].map(String::from).into();
    let mut option = |name: &str, value: String| words.extend([format!("--{name}"), value]);
    option("etcd", args.etcd.clone());
    option("nodes", args.nodes.to_string());
    if let Some(scenario) = &args.scenario {
        option("scenario", scenario.clone());
    } else {
        option("profile", args.profile.clone());
        if let Some(mix) = &args.mix {
            option("mix", mix.to_string());
        }
        option("clients", args.clients.to_string());
        option("faults", args.faults.join(","));
        option("for", args.time.to_string());
    }
    if let Some(keys) = args.keys {
        option("keys", keys.to_string());
    }
    if args.rate > 0 {
        option("rate", args.rate.to_string());
    }
    if !args.promise.is_empty() {
        option("promise", args.promise.join(","));
    }
    for (name, value) in &args.flags {
        option("set", format!("{name}={value}"));
    }
    if args.data != "tmpfs" {
        option("data", args.data.clone());
    }
    option("seed", seed.to_string());
    for (is_asked, word) in [
        (args.keep_going, "--keep-going"),
        (args.no_observe, "--no-observe"),
    ] {
        if is_asked {
            words.push(word.into());
        }
    }
    words
}

fn options(args: &EtcdArgs) -> BTreeMap<String, Value> {
    let flags: BTreeMap<_, _> = args.flags.iter().cloned().collect();
    [
        ("etcd", json!(args.etcd)),
        ("profile", json!(args.profile)),
        ("mix", json!(args.mix.as_ref().map(Mix::to_string))),
        ("keys", json!(args.keys)),
        ("clients", json!(args.clients)),
        ("rate", json!(args.rate)),
        ("faults", json!(args.faults)),
        ("for_s", json!(args.time.0.as_secs_f64())),
        ("scenario", json!(args.scenario)),
        ("set", json!(flags)),
        ("data", json!(args.data)),
        ("keep_going", json!(args.keep_going)),
        ("observe", json!(!args.no_observe)),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

/// Turns true at the first Ctrl-C or SIGTERM.
fn interruption() -> Result<watch::Receiver<bool>, Failure> {
    let (sender, receiver) = watch::channel(false);
    let refused = |error: std::io::Error| Failure::machine(format!("listen for Ctrl-C: {error}"));
    let interrupts = Interrupts::catch().map_err(refused)?;
    std::thread::spawn(move || {
        // A wait that ends early, or fails, is begun again until somebody wants an end.
        while !interrupts.wait(Duration::from_hours(1)).unwrap_or(false) {}
        output::note("ending: faults are undone, then what was seen is judged");
        // Without a receiver the hunt is over already.
        let _ = sender.send(true);
        // The sender stays, so that the hunt does not take a closed channel for an answer.
        loop {
            std::thread::park();
        }
    });
    Ok(receiver)
}

fn failure(error: HuntError) -> Failure {
    match error {
        HuntError::Folder(FolderError::NotEmpty(_) | FolderError::NotAFolder(_)) => {
            Failure::input(error)
        }
        _ => Failure::machine(error),
    }
}

fn say(hunted: &Hunted, json: bool) {
    let verdicts = &hunted.finished.verdicts;
    if json {
        output::json(verdicts);
        return;
    }
    let said: Vec<_> = verdicts
        .promises
        .iter()
        .map(|(name, promise)| Said {
            promise: name,
            verdict: promise.verdict,
            reason: &promise.reason,
            sentence: promise.sentence.as_deref(),
            confirmed: promise.confirmed,
            lines: &[],
            selected: verdicts.is_selected(name),
        })
        .collect();
    output::line("");
    verdict::print(&said);
    match &verdicts.ending {
        Ending::Stopped { reason } => output::line(&format!("stopped: {reason}")),
        Ending::Interrupted => output::line("interrupted: the report is a partial one"),
        Ending::Completed | Ending::FirstBroken => {}
    }
    for left in &verdicts.cleanup.left {
        output::line(&format!("LEFT BEHIND: {left}"));
    }
    let seconds = hunted.duration.as_secs_f64();
    output::line(&format!(
        "{} · {seconds:.1} s",
        verdict::figures(&verdicts.vacuity)
    ));
    output::line(&format!(
        "report: {}",
        hunted.finished.report_path.display()
    ));
    output::line(&format!("again:  {}", hunted.again));
}
