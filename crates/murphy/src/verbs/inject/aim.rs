//! What every family asks alike: who is hit, how long, and what only would happen.

use std::ffi::OsString;

use clap::Args;
use murphy_fault::{
    conn::forecast::Forecast,
    net::{NetError, Place},
    plan::Plan,
    process::{LaunchedError, Output},
    span::Until,
};
use murphy_sys::{clock::realtime_ns, process::ProcessId, signal::Interrupts};
use murphy_target::{MAX_TARGETS, Mode, Selector, Target, TargetError};
use serde_json::json;

use crate::{
    exit::{Exit, Failure},
    output,
};

/// Who is hit, and how long.
#[derive(Debug, Args)]
pub struct Aim {
    /// Who is hit: pid:42, name:etcd, container:web, unit:postgresql.service, … (docs/targets.md); repeatable.
    /// Children are hit, too.
    #[arg(short, long = "target", value_name = "TARGET")]
    pub targets: Vec<Selector>,

    /// How long: 10s, 1m30s, 250ms, or `forever`.
    #[arg(long = "for", value_name = "TIME")]
    pub time: Option<Until>,

    /// How many of those named: all, one, fixed=N, percent=P, random-max-percent=P. A container counts as one.
    #[arg(long, value_name = "MODE", default_value_t)]
    pub mode: Mode,

    /// The seed of everything that is drawn; by default one that is printed where something was.
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,

    /// Most processes that may be hit.
    #[arg(long, value_name = "N", default_value_t = MAX_TARGETS)]
    pub max_targets: usize,

    /// Only say what would be changed, and how it would end.
    #[arg(long)]
    pub dry_run: bool,

    /// Return as soon as the fault is in force; it goes on in the background.
    #[arg(long, conflicts_with = "dry_run")]
    pub detach: bool,

    /// This is the background of a `--detach`.
    #[arg(long, hide = true)]
    pub detached: bool,

    /// A command to launch and hit; it ends with the fault.
    #[arg(last = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

impl Aim {
    /// Refuses a fault, `what`, that has no target or two kinds of them.
    pub fn check(&self, what: &str) -> Result<(), Failure> {
        let text = match (self.targets.is_empty(), self.command.is_empty()) {
            (true, true) => "name a target with -t, such as `-t pid:42`, or a command behind `--`",
            (false, false) => "name a target with -t or a command behind `--`, not both",
            _ => return Ok(()),
        };
        Err(Failure::input(format!("inject {what}: {text}")))
    }

    /// How long a fault lasts that must have an end.
    pub fn until(&self, what: &str) -> Result<Until, Failure> {
        match self.time {
            None => Err(Failure::input(format!(
                "inject {what}: say how long with --for, such as `--for 10s` or `--for forever`"
            ))),
            Some(Until::After(span)) if span.0.is_zero() => Err(Failure::input(format!(
                "inject {what}: --for {span} would do nothing; say a time such as `--for 10s`"
            ))),
            Some(until) => Ok(until),
        }
    }

    /// Everyone who is hit. What is drawn is drawn from `seed`.
    pub fn find(&self, seed: u64) -> Result<Target, Failure> {
        let all = Target::find(&self.targets, usize::MAX, keepers()).map_err(target_failure)?;
        let named = all.parts();
        let chosen = all.choose(self.mode, seed);
        if chosen.parts() < named {
            output::note(&format!(
                "murphy: {} of {named} chosen ({}, --seed {seed})",
                chosen.parts(),
                self.mode
            ));
        }
        chosen.within(self.max_targets).map_err(target_failure)
    }

    /// Everyone who is hit: namespaces that were named, or those of processes.
    pub fn find_places(&self, seed: u64) -> Result<(Vec<Place>, Option<Target>), Failure> {
        let named: Option<Vec<_>> = self.targets.iter().map(Place::named).collect();
        if let Some(named) = named {
            let all: Vec<Place> = named
                .into_iter()
                .collect::<Result<_, NetError>>()
                .map_err(Failure::machine)?;
            let drawn = self.mode.draw(all.len(), seed);
            if drawn.len() < all.len() {
                output::note(&format!(
                    "murphy: {} of {} chosen ({}, --seed {seed})",
                    drawn.len(),
                    all.len(),
                    self.mode
                ));
            }
            let drawn = drawn
                .into_iter()
                .filter_map(|place| all.get(place).cloned());
            return Ok((drawn.collect(), None));
        }
        let is_named = |selector: &Selector| matches!(selector, Selector::Netns(_));
        if self.mode != Mode::All && self.targets.iter().any(is_named) {
            return Err(Failure::input(format!(
                "choose {} of namespaces and processes at once: name one kind of them",
                self.mode
            )));
        }
        let target = self.find(seed)?;
        let places = Place::of_members(&target.members);
        Ok((places, Some(target)))
    }

    /// The seed of everything that is drawn.
    pub fn seed(&self) -> u64 {
        self.seed.unwrap_or_else(realtime_ns)
    }

    /// Where a launched command writes.
    pub fn output(&self, json: bool) -> Output {
        if self.detached {
            Output::Nowhere
        } else if json {
            Output::Aside
        } else {
            Output::Shared
        }
    }

    /// The command to be launched, as people write it.
    pub fn command_line(&self) -> String {
        let words: Vec<_> = self
            .command
            .iter()
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        words.join(" ")
    }
}

/// The keepers of every Murphy at work are not to be hit.
fn keepers() -> Vec<ProcessId> {
    let journal = murphy_fault::journal::Journal::of_user();
    let records = journal
        .and_then(|journal| journal.list())
        .map(|(records, _)| records);
    records
        .unwrap_or_default()
        .into_iter()
        .filter_map(|record| record.keeper)
        .collect()
}

/// Whether a selector was wrong or the machine has nobody.
pub fn target_failure(error: TargetError) -> Failure {
    if error.is_bad_input() {
        Failure::input(error)
    } else {
        Failure::machine(error)
    }
}

/// A command that does not start is the machine's.
pub fn launch_failure(error: LaunchedError) -> Failure {
    Failure::machine(error)
}

/// Ctrl-C and its like, from here on.
pub fn interrupts() -> Result<Interrupts, Failure> {
    Interrupts::catch().map_err(|error| Failure::machine(format!("listen for Ctrl-C: {error}")))
}

/// Says who was named and is not hit, and which runtimes could not be asked.
pub fn say_left_out(target: &Target) {
    for unheard in &target.unheard {
        output::note(&format!("murphy: warning: failed to {unheard}"));
    }
    if !target.not_chosen.is_empty() {
        let pids: Vec<_> = target
            .not_chosen
            .iter()
            .map(|m| m.process.pid.to_string())
            .collect();
        output::note(&format!("murphy: not chosen: pid {}", pids.join(", ")));
    }
    for left_out in &target.left_out {
        output::note(&format!(
            "murphy: pid {} ({}) is {}: it is left out",
            left_out.pid, left_out.name, left_out.why
        ));
    }
}

/// Says what would happen.
pub fn say_plan(plan: &Plan, json: bool) -> Exit {
    say_plan_and(plan, None, json)
}

/// Says what would happen, and what is expected of it.
pub fn say_plan_and(plan: &Plan, forecast: Option<&Forecast>, json: bool) -> Exit {
    if json {
        let mut said = json!({
            "event": "planned", "dry_run": true, "family": plan.family, "fault": plan.fault,
            "engine": plan.engine, "targets": plan.targets, "plan": plan,
        });
        if let Some(forecast) = forecast {
            said["forecast"] = json!(forecast);
        }
        output::json(&said);
        return Exit::Held;
    }
    output::line(&format!(
        "would inject {} {} (engine {})",
        plan.family, plan.fault, plan.engine
    ));
    for change in &plan.changes {
        output::line(&format!("  {change}"));
    }
    for line in forecast.iter().flat_map(|forecast| forecast.table()) {
        output::line(&line);
    }
    for undo in plan.undo.iter().rev() {
        output::line(&format!("  way back: {undo}"));
    }
    output::line(&format!(
        "until: {}; should Murphy die, {}",
        plan.until,
        plan.ends.text()
    ));
    output::line("nothing was changed");
    Exit::Held
}
