//! `murphy observe --score EVENTS` holds what was found against what was injected.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, BufReader},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use clap::Args;
use murphy_fault::span::Span;
use murphy_observe::{
    Edge, Finding, News, Observer, nanos,
    score::{
        Alarm, By, Figure, Limits, Log, ReadError, Score, Scored, Seat, Verdict, Watch, What,
        prometheus::{self, ANSWER_LIMIT, Clocks, Url},
        score,
    },
};
use murphy_sys::{
    clock::{boottime_ns, realtime_ns},
    process::BootId,
};
use serde_json::json;

use crate::{
    exit::{Exit, Failure},
    output::{self, plural},
};

/// How often it is taken down which edges there are: long before any of them is forgotten.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Alerts are asked for from so long before the first fault on, where nobody watched.
const BEFORE_NS: u64 = 60_000_000_000;

/// What was injected, and how well it is found.
#[derive(Debug, Args)]
pub struct ScoreArgs {
    /// Say how well it is found what these events say was injected: lines of `murphy inject --json`, the events of a
    /// run, lines of `murphy observe --json`; `-` is standard input; repeatable. Without -t: what is found there.
    #[arg(long, value_name = "EVENTS")]
    pub score: Vec<PathBuf>,

    /// Score the alerts of this Prometheus, too: <http://127.0.0.1:9090>.
    #[arg(long, value_name = "URL", requires = "score")]
    pub alerts: Option<Url>,

    /// What is found later is found late.
    #[arg(long, value_name = "TIME", default_value = "5s", requires = "score")]
    pub detect_within: Span,
}

/// What was to be seen while somebody watched.
#[derive(Debug)]
pub struct Watching {
    seats: Vec<Seat>,
    since_ns: u64,
    edges: BTreeSet<Edge>,
    /// What was found, as it was said: an observer forgets what is long over.
    found: Vec<Finding>,
    looked: Option<Instant>,
}

impl Watching {
    /// From now on, at these places.
    pub fn begin(seats: Vec<Seat>) -> Self {
        Self {
            seats,
            since_ns: boottime_ns(),
            edges: BTreeSet::new(),
            found: Vec::new(),
            looked: None,
        }
    }

    /// Where.
    pub fn seats(&self) -> &[Seat] {
        &self.seats
    }

    /// Takes down which edges there are, now and then.
    pub fn look(&mut self, observer: &Observer) {
        if self.looked.is_none_or(|at| at.elapsed() >= LOOK_EVERY) {
            self.looked = Some(Instant::now());
            self.take(observer);
        }
    }

    /// Takes down what is new.
    pub fn hear(&mut self, news: &[News]) {
        let found = news.iter().map(|news| match news {
            News::Found(finding) | News::Over(finding) => finding.clone(),
        });
        self.found.extend(found);
    }

    /// Takes down which edges there are now.
    pub fn take(&mut self, observer: &Observer) {
        let edges = observer.snapshot().edges;
        self.edges.extend(edges.into_iter().map(|now| now.edge));
    }

    /// What was watched until now, and what was found.
    fn log(mut self, findings: &[Finding]) -> Log {
        let now_ns = boottime_ns();
        let mut log = Log::of_now(now_ns);
        self.found.extend_from_slice(findings);
        let span = (self.since_ns, now_ns);
        log.watched(&self.seats, span, self.edges, &self.found);
        log
    }
}

/// Scores what was found in a run against its events, by the usual limits.
pub fn of_run(events: &Path, watching: Watching, findings: &[Finding]) -> Result<Score, ReadError> {
    let mut log = watching.log(findings);
    take(&mut log, events, false)?;
    let limits = Limits::default();
    let (faults, alarms) = (log.faults(), log.alarms());
    Ok(score(By::Findings, &faults, &alarms, log.watch(), &limits))
}

impl ScoreArgs {
    /// Whether anything is to be scored.
    pub fn is_asked(&self) -> bool {
        !self.score.is_empty()
    }

    /// Scores what an observer has found until now.
    pub fn now(
        &self,
        mut watching: Watching,
        observer: &Observer,
        json: bool,
    ) -> Result<Exit, Failure> {
        if !self.is_asked() {
            return Ok(Exit::Held);
        }
        watching.take(observer);
        let mut log = watching.log(observer.findings());
        self.read(&mut log, true)?;
        Ok(self.judge(&log, json))
    }

    /// Scores what events say that was found.
    pub fn afterwards(&self, json: bool) -> Result<Exit, Failure> {
        let mut log = Log::default();
        self.read(&mut log, false)?;
        Ok(self.judge(&log, json))
    }

    fn read(&self, log: &mut Log, is_being_written: bool) -> Result<(), Failure> {
        for path in &self.score {
            take(log, path, is_being_written).map_err(Failure::input)?;
        }
        for name in log.nameless() {
            output::note(&format!(
                "murphy: warning: {name} does not say of which boot of the machine it is; it is taken to be of the same as the rest"
            ));
        }
        Ok(())
    }

    fn judge(&self, log: &Log, json: bool) -> Exit {
        let limits = Limits {
            detect_within: self.detect_within.0,
            ..Limits::default()
        };
        let faults = log.faults();
        let mut exits = Vec::new();
        // Who only asks for alerts has not watched himself.
        if log.is_watched() || self.alerts.is_none() {
            let score = score(By::Findings, &faults, &log.alarms(), log.watch(), &limits);
            exits.push(exit_of(&score));
            say("findings", "murphy", &score, json);
        }
        if let Some(url) = &self.alerts {
            let watch = watch_of_alerts(log, &limits);
            match alerts(url, log, &watch) {
                Ok(alarms) => {
                    let score = score(By::Alerts, &faults, &alarms, &watch, &limits);
                    exits.push(exit_of(&score));
                    say("alerts", &format!("alerts of {url}"), &score, json);
                }
                Err(error) => {
                    exits.push(Exit::Undecided);
                    output::note(&format!("murphy: failed to {error}"));
                    if json {
                        let url = url.to_string();
                        output::json(
                            &json!({"event": "score", "by": "alerts", "url": url, "error": error}),
                        );
                    }
                }
            }
        }
        let worst = [Exit::Broken, Exit::Undecided].into_iter();
        let mut worst = worst.filter(|exit| exits.contains(exit));
        worst.next().unwrap_or(Exit::Held)
    }
}

fn take(log: &mut Log, path: &Path, is_being_written: bool) -> Result<(), ReadError> {
    if path == Path::new("-") {
        return log.take("standard input", io::stdin().lock(), is_being_written);
    }
    let name = path.display().to_string();
    let file = File::open(path).map_err(|source| ReadError::Io {
        name: name.clone(),
        source,
    })?;
    log.take(&name, BufReader::new(file), is_being_written)
}

fn exit_of(score: &Score) -> Exit {
    match (score.is_perfect(), score.is_empty()) {
        (false, _) => Exit::Broken,
        (true, true) => Exit::Undecided,
        (true, false) => Exit::Held,
    }
}

/// When alerts are of interest: while somebody watched; where nobody did, from a little before the first fault on.
fn watch_of_alerts(log: &Log, limits: &Limits) -> Watch {
    if log.is_watched() {
        return log.watch().clone();
    }
    let now_ns = boottime_ns();
    let faults = log.faults();
    let first = faults.iter().map(|fault| fault.begin_ns).min();
    let ends = faults.iter().map(|fault| fault.end_ns.unwrap_or(now_ns));
    let span = first.zip(ends.max()).map(|(first, last)| {
        let until = last.saturating_add(nanos(limits.settle)).min(now_ns);
        (first.saturating_sub(BEFORE_NS), until)
    });
    Watch {
        spans: span.into_iter().collect(),
        ..Watch::default()
    }
}

/// Which alerts fired meanwhile.
fn alerts(url: &Url, log: &Log, watch: &Watch) -> Result<Vec<Alarm>, String> {
    if log.boot().is_some_and(|boot| boot != BootId::current()) {
        return Err("ask for alerts: the events are of another boot of the machine, and their time of day is not known; ask on the machine while it runs".into());
    }
    let from_ns = watch.spans.iter().map(|span| span.0).min();
    let until_ns = watch.spans.iter().map(|span| span.1).max();
    let Some(span) = from_ns.zip(until_ns) else {
        return Err(
            "ask for alerts: nothing was injected and nobody watched, so there is no time to ask for".into(),
        );
    };
    let clocks = Clocks {
        booted_ns: realtime_ns().saturating_sub(boottime_ns()),
    };
    prometheus::alerts(url, span, clocks, ANSWER_LIMIT).map_err(|error| error.to_string())
}

/// Says it.
pub fn say(by: &str, whose: &str, score: &Score, json: bool) {
    if json {
        let mut line = json!(score);
        line["event"] = "score".into();
        line["by"] = by.into();
        return output::json(&line);
    }
    output::line(&format!("score of {whose}"));
    for line in table(&score.faults) {
        output::line(&line);
    }
    for (when, alarms) in [
        ("while all was well", &score.false_alarms.healthy),
        (
            "while something else was wrong",
            &score.false_alarms.meanwhile,
        ),
    ] {
        for alarm in alarms {
            output::line(&format!("false alarm {when}: {}", alarm.text()));
        }
    }
    for line in sum(score) {
        output::line(&line);
    }
}

/// Each fault in a line.
fn table(faults: &[Scored]) -> Vec<String> {
    if faults.is_empty() {
        return vec!["the events say of no fault: there is nothing to score".into()];
    }
    let rows = faults.iter().map(|one| {
        let after = match &one.verdict {
            Verdict::Detected { after_ns } | Verdict::Late { after_ns } => {
                format!("{:.1} s", *after_ns as f64 / 1e9)
            }
            _ => "–".into(),
        };
        let found = match (&one.verdict, &one.found) {
            (Verdict::NotScored { why }, _) => why.clone(),
            (Verdict::WrongCulprit { why }, Some(alarm)) => format!("{}, {why}", found_as(alarm)),
            (_, Some(alarm)) => match one.size_fits {
                Some(true) => format!("{}, as injected", found_as(alarm)),
                Some(false) => format!("{}, not as injected", found_as(alarm)),
                None => found_as(alarm),
            },
            _ => "–".into(),
        };
        [
            one.fault.clone(),
            one.targets.join(" "),
            one.verdict.name().to_owned(),
            after,
            found,
        ]
    });
    let head = ["fault", "on", "verdict", "after", "found as"].map(str::to_owned);
    let rows: Vec<[String; 5]> = [head].into_iter().chain(rows).collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or(0)
    };
    let widths = [width(0), width(1), width(2), width(3)];
    let line = |[fault, on, verdict, after, found]: &[String; 5]| {
        let [a, b, c, d] = widths;
        format!("{fault:a$}  {on:b$}  {verdict:c$}  {after:>d$}  {found}")
    };
    rows.iter().map(line).collect()
}

fn found_as(alarm: &Alarm) -> String {
    match &alarm.what {
        What::Finding(finding) => format!(
            "{}, {}, {}",
            alarm.text(),
            finding.claim.size,
            finding.claim.direction.name()
        ),
        What::Alert { .. } => alarm.text(),
    }
}

/// What all of it comes to.
fn sum(score: &Score) -> [String; 2] {
    let false_alarms = &score.false_alarms;
    let per_hour = match false_alarms.per_hour {
        Some(per_hour) => format!("{per_hour:.1} an hour"),
        None => "it never was".into(),
    };
    let undecided = match score.undecided {
        0 => String::new(),
        n => format!("; {} undecided", plural(n as u64, "alarm")),
    };
    [
        format!(
            "{} in {:.0} s in which all was well ({per_hour}), {} while something else was wrong{undecided}",
            plural(false_alarms.healthy.len() as u64, "false alarm"),
            false_alarms.healthy_ns as f64 / 1e9,
            false_alarms.meanwhile.len(),
        ),
        format!(
            "precision {}, recall {}",
            figure(&score.precision, "alarm"),
            figure(&score.recall, "fault")
        ),
    ]
}

/// `100 % (2 of 2 faults, 34.2 to 100.0)`.
fn figure(figure: &Figure, of: &str) -> String {
    let Some(ratio) = figure.ratio else {
        return format!("unknown (of no {of})");
    };
    let [low, high] = figure.interval.map(|share| 100.0 * share);
    format!(
        "{:.0} % ({} of {}, {low:.1} to {high:.1})",
        100.0 * ratio,
        figure.share.hit,
        plural(figure.share.of, of)
    )
}
