//! `murphy observe` watches the network of a target, and says what is wrong there, between whom, and since when.

pub mod injected;
mod lines;
pub mod out;
pub mod score;
mod screen;
pub mod steps;

use std::{
    io,
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, Instant},
};

use clap::Args;
use murphy_fault::{
    net::{Hit, Place},
    span::{Span, Until},
};
use murphy_observe::{ObserveError, Observer, Spec, metrics::render, score::Seat};
use murphy_sys::clock::realtime_ns;
use murphy_target::{Mode, Selector};
use serde_json::json;

use injected::Injected;
use out::Out;
use screen::Screen;
use steps::{Failed, Steps};

use crate::{
    exit::{Exit, Failure},
    output,
    verbs::{
        inject::aim::{Aim, interrupts, say_left_out},
        scrape::{self, Scraped},
    },
};

/// How often everything is said with `--json`.
const SAY_EVERY: Duration = Duration::from_secs(1);
/// What is seen is handed over to who answers Prometheus so often.
const TELL_EVERY: Duration = Duration::from_millis(500);
/// What was seen longer ago is not how things are: the observer is held up.
const STALE: Duration = Duration::from_secs(5);
/// How long `--once` looks.
const ONCE: Duration = Duration::from_secs(5);

/// Arguments of `murphy observe`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  murphy observe -t container:web               until q or Ctrl-C: on a terminal, a screen
  murphy observe -t container:web --plain       what is wrong, in lines, as soon as it is known
  murphy observe -t container:web --for 30s --json
  murphy observe -t netns:n1 --once             five seconds, then all edges
  murphy observe -t pid:42 --ping-every 1s --latency 50ms
  murphy observe -t container:web --for 2m --score events.jsonl
                                                hold what is found against what was injected meanwhile
  murphy observe --score inject.jsonl --score observe.jsonl --alerts http://127.0.0.1:9090
                                                the same afterwards, and the alerts of a Prometheus, too
  murphy observe -t container:web --prometheus 127.0.0.1:9100

An edge is who talks with whom: the target, a peer, and the port of whoever is asked. What the
kernel tells of its connections (eBPF) is counted, connections are looked at, and peers are pinged
from inside the target's network namespace; nothing else is sent. More: docs/observe.md.")]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a word of the command line"
)]
pub struct ObserveArgs {
    /// Whose network: container:web, pid:42, netns:n1, … (docs/targets.md); repeatable.
    #[arg(
        short,
        long = "target",
        value_name = "TARGET",
        required_unless_present = "score"
    )]
    pub targets: Vec<Selector>,

    /// How long: 30s, 10m, or `forever`.
    #[arg(
        long = "for",
        value_name = "TIME",
        default_value = "forever",
        requires = "targets",
        conflicts_with = "once"
    )]
    pub time: Until,

    /// Look for five seconds, and say how everything is.
    #[arg(long, requires = "targets")]
    pub once: bool,

    /// Print lines also where a whole terminal could show it.
    #[arg(long)]
    pub plain: bool,

    /// A new or empty folder for what happens, how it was in the end, and a report.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,

    /// Ping each peer so often.
    #[arg(long, value_name = "TIME", default_value = "200ms")]
    pub ping_every: Span,

    /// Send no pings: what connections say must do.
    #[arg(long, conflicts_with = "ping_every")]
    pub no_pings: bool,

    /// A round trip that takes longer is too long, whatever it took before.
    #[arg(long, value_name = "TIME", default_value = "10ms")]
    pub latency: Span,

    /// Count what each run of Murphy's BPF programs takes: the kernel then reads a clock twice for each run of any
    /// program of this machine.
    #[arg(long, requires = "targets")]
    pub measure_overhead: bool,

    /// Count the target's system calls by what they return, and time those that are asked to work: each call of every
    /// process of this machine then takes a little longer.
    #[arg(long, requires = "targets")]
    pub syscalls: bool,

    /// What was injected, and how well it is found.
    #[command(flatten)]
    pub score: score::ScoreArgs,
    /// Answer a Prometheus at `http://ADDR/metrics`, such as 127.0.0.1:9100; port 0 is any that is free
    /// (docs/metrics.md).
    #[arg(long, value_name = "ADDR", value_parser = scrape::address)]
    pub prometheus: Option<SocketAddr>,
}

impl ObserveArgs {
    fn spec(&self) -> Result<Spec, Failure> {
        const PING_LEAST: Duration = Duration::from_millis(20);
        if self.ping_every.0 < PING_LEAST {
            return Err(Failure::input(format!(
                "observe: --ping-every {} is more than peers should be asked for; say 20ms or longer",
                self.ping_every
            )));
        }
        if self.latency.0.is_zero() {
            return Err(Failure::input(
                "observe: --latency 0s is below every round trip; say a time such as 10ms",
            ));
        }
        Ok(Spec {
            ping_every: (!self.no_pings).then_some(self.ping_every.0),
            latency_max: self.latency.0,
            counts_runs: self.measure_overhead,
            counts_calls: self.syscalls,
            ..Spec::default()
        })
    }

    /// All of those that are named.
    fn aim(&self) -> Aim {
        Aim {
            targets: self.targets.clone(),
            time: None,
            mode: Mode::All,
            seed: None,
            max_targets: usize::MAX,
            dry_run: false,
            detach: false,
            detached: false,
            command: Vec::new(),
        }
    }

    /// How long it lasts, if it ends by itself.
    fn lasts(&self) -> Result<Option<Duration>, Failure> {
        match self.time {
            _ if self.once => Ok(Some(ONCE)),
            Until::Forever => Ok(None),
            Until::After(span) if span.0.is_zero() => Err(Failure::input(
                "observe: --for 0s would see nothing; say a time such as 30s",
            )),
            Until::After(span) => Ok(Some(span.0)),
        }
    }
}

/// Hands over what is seen to who answers Prometheus, when it is time.
fn tell(scraped: &Scraped, observer: &Observer, told: &mut Option<Instant>) {
    if told.is_some_and(|at| at.elapsed() < TELL_EVERY) {
        return;
    }
    *told = Some(Instant::now());
    let snapshot = observer.snapshot();
    scraped.take(move |own, format| render(&snapshot, own, format));
}

/// Observes.
pub fn run(args: &ObserveArgs, json: bool) -> Result<Exit, Failure> {
    let (spec, lasts) = (args.spec()?, args.lasts()?);
    if args.targets.is_empty() {
        return args.score.afterwards(json);
    }
    // Before any other thread: one that began earlier would be ended by what is caught here.
    let interrupts = interrupts()?;
    let scraped = args.prometheus.map(|at| Scraped::listen(at, STALE));
    let scraped = scraped.transpose().map_err(Failure::machine)?;
    let (places, target) = args.aim().find_places(realtime_ns())?;
    if let Some(target) = &target {
        say_left_out(target);
    }
    if places.is_empty() {
        return Err(Failure::machine(
            "observe connections: no network namespace was found: the target is gone, or is somebody else's",
        ));
    }
    let names: Vec<String> = places
        .iter()
        .map(|place: &Place| place.name.clone())
        .collect();
    let mut watching = score::Watching::begin(places.iter().map(Seat::of).collect());
    let hit = Hit {
        places,
        target: target.as_ref(),
        allow_host: true,
    };
    let out = args.out.as_deref().map(|path| Out::begin(path, &names));
    let out = out.transpose()?;
    let mut observer = Observer::begin(&hit, spec).map_err(failure)?;
    lines::begun(&observer, &names, watching.seats(), json);
    let mut told = None;
    if let Some(scraped) = &scraped {
        tell(scraped, &observer, &mut told);
        scraped.say(json);
    }
    let mut injected = Injected::default();
    let is_whole = !(json || args.once || args.plain) && Screen::is_possible();
    let opened = is_whole.then(|| Screen::open(&names)).transpose();
    let mut screen = opened.map_err(|error| no_screen(&error))?;
    let began = Instant::now();
    // What nobody lives to see is no end.
    let until = lasts.and_then(|lasts| began.checked_add(lasts));
    let mut said_at = began;
    let mut steps = Steps::default();
    loop {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            break;
        }
        let wait = steps
            .until_next(&observer)
            .min(left.unwrap_or(Duration::MAX));
        let waited = match &mut screen {
            Some(screen) => screen.wait(&interrupts, wait),
            None => interrupts.wait(wait),
        };
        match waited {
            Ok(true) => break,
            Ok(false) => {}
            Err(error) => {
                return Err(Failure::machine(format!("listen for Ctrl-C: {error}")));
            }
        }
        match steps.take(&mut observer) {
            Ok(all) => {
                if args.score.is_asked() {
                    watching.hear(&all);
                }
                if let Some(out) = &out {
                    all.iter().try_for_each(|news| out.say(news))?;
                }
                for news in all.iter().filter(|_| screen.is_none()) {
                    lines::say(news, began, json);
                }
                if let Some(scraped) = &scraped {
                    tell(scraped, &observer, &mut told);
                }
            }
            Err(Failed::Again(error)) => {
                let warning = format!("murphy: warning: failed to {error}");
                match &mut screen {
                    Some(screen) => screen.note(&warning),
                    None => output::note(&warning),
                }
            }
            Err(Failed::ForGood(error)) => {
                drop(screen);
                lines::ended(&observer, json);
                return Err(failure(error));
            }
        }
        if args.score.is_asked() {
            watching.look(&observer);
        }
        let changed = injected.look();
        if let Some(out) = &out {
            out.meant(&changed)?;
        }
        if let Some(screen) = &mut screen {
            let shown = screen.show(&observer, &injected);
            shown.map_err(|error| no_screen(&error))?;
        }
        if observer.is_gone() {
            drop(screen.take());
            output::note("murphy: the target is gone: nobody is there any more");
            break;
        }
        if json && said_at.elapsed() >= SAY_EVERY {
            said_at = Instant::now();
            let snapshot = observer.snapshot();
            output::json(&json!({"event": "snapshot", "snapshot": snapshot}));
        }
    }
    drop(screen);
    if let Some(out) = &out {
        out.end(&observer, &injected)?;
    }
    lines::ended(&observer, json);
    args.score.now(watching, &observer, json)
}

fn no_screen(error: &io::Error) -> Failure {
    Failure::machine(format!("draw on the terminal: {error}"))
        .hint("`--plain` prints lines instead")
}

fn failure(error: ObserveError) -> Failure {
    Failure::machine(error)
}
