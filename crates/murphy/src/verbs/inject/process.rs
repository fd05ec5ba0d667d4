//! `murphy inject process FAULT` kills, signals, pauses or restarts processes.

use std::{
    str::FromStr,
    time::{Duration, Instant},
};

use clap::Args;
use murphy_fault::{
    injector::Injector,
    net::Place,
    plan::Plan,
    process::{ENGINE, Launched, Pause, Restarted, Signalled, Spec, name_of, plan, send},
    span::{Span, Until},
};
use murphy_sys::{
    pidfd::{PidfdError, may_signal},
    process::ProcessId,
    signal::{Interrupts, Masks},
};
use murphy_target::Target;
use serde_json::{Value, json};

use crate::{
    exit::{Exit, Failure},
    output::{self, plural},
    verbs::{
        inject::aim::{Aim, interrupts, launch_failure, say_left_out, say_plan, target_failure},
        injector,
        said::{self, Said},
    },
};

/// How long a killed process may take to be gone.
const KILL_PATIENCE: Duration = Duration::from_secs(5);
/// How long a process may take to end after SIGTERM before it is said to run still.
const TERM_PATIENCE: Duration = Duration::from_secs(10);
/// How long another signal may take to be looked at.
const SIGNAL_PATIENCE: Duration = Duration::from_millis(500);
/// How often a fault in force is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Arguments of `murphy inject process`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  murphy inject process pause -t pid:42 --for 10s         stop it and its children, then let them go on
  murphy inject process kill -t name:etcd --max-targets 3
  murphy inject process signal=HUP -t pid:42
  murphy inject process restart --after 2s --down 1s -- ./server --port 80
  murphy inject process pause -t netns:n1 --for 5s --dry-run

A fault ends by itself, at Ctrl-C, or by the hand of its keeper should Murphy die. The first process, the
kernel's threads, Murphy and its ancestors are never hit. More: docs/inject.md, docs/targets.md.")]
pub struct ProcessArgs {
    /// kill, term, signal=NAME, pause or restart.
    #[arg(value_name = "FAULT")]
    pub fault: Fault,

    /// Restart: how long the command runs before it is killed.
    #[arg(long, value_name = "TIME", default_value = "1s")]
    pub after: Span,

    /// Restart: how long the command stays down.
    #[arg(long, value_name = "TIME", default_value = "0s")]
    pub down: Span,

    /// Who, and how long.
    #[command(flatten)]
    pub aim: Aim,
}

/// A fault as it is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault(Spec);

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let span = Span(Duration::ZERO);
        Ok(Self(match text.split_once('=') {
            None => match text {
                "kill" => Spec::Kill,
                "term" => Spec::Term,
                "pause" => Spec::Pause,
                // The times are options of their own.
                "restart" => Spec::Restart {
                    after: span,
                    down: span,
                },
                "signal" => return Err("expected a name, such as signal=HUP".into()),
                _ => return Err("expected kill, term, signal=NAME, pause or restart".into()),
            },
            Some(("signal", name)) => {
                Spec::Signal(name.parse().map_err(|error| format!("{error}"))?)
            }
            Some(_) => return Err("expected kill, term, signal=NAME, pause or restart".into()),
        }))
    }
}

/// Injects it.
pub fn run(args: &ProcessArgs, json: bool) -> Result<Exit, Failure> {
    let spec = match args.fault.0 {
        Spec::Restart { .. } => Spec::Restart {
            after: args.after,
            down: args.down,
        },
        other => other,
    };
    let until = sensible(args, &spec)?;
    if args.aim.dry_run {
        return dry_run(args, &spec, until, json);
    }
    if args.aim.command.is_empty() {
        let target = args.aim.find(args.aim.seed())?;
        reachable(&target)?;
        would_stay_stopped(&target, &spec)?;
        let interrupts = interrupts()?;
        let injector = injector()?;
        return hit(&injector, &interrupts, &target, &spec, until, json);
    }
    let interrupts = interrupts()?;
    let injector = injector()?;
    let mut launched = Launched::start(&injector, args.aim.command.clone(), args.aim.output(json))
        .map_err(launch_failure)?;
    let outcome = hit_launched(&injector, &interrupts, &mut launched, &spec, until, json);
    let left = launched.end();
    if left.is_empty() {
        outcome
    } else {
        Err(Failure::cleanup(left.join("; ")))
    }
}

/// Refuses what makes no sense together, before anything is looked at.
fn sensible(args: &ProcessArgs, spec: &Spec) -> Result<Until, Failure> {
    let refuse = |text: &str| {
        Err(Failure::input(format!(
            "inject process {}: {text}",
            spec.name()
        )))
    };
    args.aim.check(&format!("process {}", spec.name()))?;
    if matches!(spec, Spec::Restart { .. }) && args.aim.command.is_empty() {
        return refuse(
            "only a command that Murphy has launched can be started again: put it behind `--`",
        );
    }
    match (spec.lasts(), args.aim.time) {
        (true, None) => refuse("say how long with --for, such as `--for 10s` or `--for forever`"),
        (false, Some(_)) if !matches!(spec, Spec::Restart { .. }) => {
            refuse("it is over at once; leave --for away")
        }
        (_, time) => Ok(time.unwrap_or(Until::Forever)),
    }
}

/// Every process may be signalled, or none is. One that has ended since it was found, as the children of
/// a shell do all the time, is no reason to refuse the others.
fn reachable(target: &Target) -> Result<(), Failure> {
    for process in target.processes() {
        match may_signal(process) {
            Ok(()) | Err(PidfdError::Gone { .. }) => {}
            Err(error) => return Err(Failure::machine(error)),
        }
    }
    Ok(())
}

/// A signal that stops a process has no way back in the journal: that is what pause is for.
fn would_stay_stopped(target: &Target, spec: &Spec) -> Result<(), Failure> {
    let Spec::Signal(signal) = *spec else {
        return Ok(());
    };
    let stops = |process: ProcessId| match signal.to_string().as_str() {
        "SIGSTOP" => true,
        "SIGTSTP" | "SIGTTIN" | "SIGTTOU" => Masks::of(process.pid)
            .is_ok_and(|masks| !masks.is_caught(signal) && !masks.is_ignored(signal)),
        _ => false,
    };
    match target.processes().find(|process| stops(*process)) {
        None => Ok(()),
        Some(process) => Err(Failure::input(format!(
            "send {signal} to {process}: it would stay stopped; use pause, which is taken back"
        ))),
    }
}

fn dry_run(args: &ProcessArgs, spec: &Spec, until: Until, json: bool) -> Result<Exit, Failure> {
    let plan = if args.aim.command.is_empty() {
        let target = args.aim.find(args.aim.seed())?;
        reachable(&target)?;
        plan(spec, &target, until)
    } else {
        launch_plan(args, spec, until)?
    };
    Ok(say_plan(&plan, json))
}

/// What would happen to a command that is not running yet.
fn launch_plan(args: &ProcessArgs, spec: &Spec, until: Until) -> Result<Plan, Failure> {
    let none = Target::of_processes("launch", &[], []).map_err(target_failure)?;
    let command = args.aim.command_line();
    let mut plan = plan(spec, &none, until);
    plan.targets = vec![format!("launch {command}")];
    plan.changes = vec![format!("start {command}"), format!("{} it", plan.fault)];
    plan.undo = vec![murphy_fault::undo::Undo::EndTagged { tag: "ID".into() }];
    plan.ends = murphy_fault::plan::EndsBy::Keeper;
    Ok(plan)
}

fn hit(
    injector: &Injector,
    interrupts: &Interrupts,
    target: &Target,
    spec: &Spec,
    until: Until,
    json: bool,
) -> Result<Exit, Failure> {
    say_left_out(target);
    if spec.lasts() {
        pause(injector, interrupts, target, until, json)
    } else {
        once(injector, target, spec, json)
    }
}

/// What was asked of whom.
fn asked_of(spec: &Spec, target: &Target, until: Option<Until>) -> said::Asked {
    let places = Place::of_members(&target.members);
    said::Asked::of(json!({ "spec": spec }), &places, until)
}

/// The way of every fault that is over at once.
fn once(injector: &Injector, target: &Target, spec: &Spec, json: bool) -> Result<Exit, Failure> {
    let patience = match spec {
        Spec::Kill | Spec::Restart { .. } => KILL_PATIENCE,
        Spec::Term => TERM_PATIENCE,
        Spec::Signal(_) | Spec::Pause => SIGNAL_PATIENCE,
    };
    // Who is gone is nowhere: it is asked before.
    let asked = asked_of(spec, target, None);
    // A family is held while it is killed: a child born meanwhile would be nobody's, and live.
    let found: Vec<_> = target.processes().map(name_of).collect();
    let held = match spec {
        Spec::Kill => {
            let until = Until::After(Span(KILL_PATIENCE));
            Some(Pause::inject(injector, target, &found, until).map_err(Failure::machine)?)
        }
        _ => None,
    };
    let processes = match &held {
        Some(held) => held.processes(),
        None => target.processes().collect(),
    };
    let names: Vec<_> = processes.iter().map(|process| name_of(*process)).collect();
    let entry = injector
        .begin("process", spec.name(), &names, Until::Forever)
        .map_err(Failure::machine)?;
    let said = Said {
        family: "process",
        engine: ENGINE,
        id: entry.id(),
        fault: spec.name(),
        targets: &names,
        asked,
        json,
    };
    said.planned();
    let outcome = send(&processes, spec.signal(), patience);
    let left = held.map_or_else(Vec::new, |held| held.end().left);
    entry.end().map_err(Failure::cleanup)?;
    if !left.is_empty() {
        return Err(Failure::cleanup(left.join("; ")));
    }
    let fates = outcome.map_err(Failure::machine)?;
    if !json {
        output::line(&format!(
            "{} to {}   id {}",
            spec.signal(),
            plural(fates.len() as u64, "process"),
            entry.id()
        ));
        for Signalled { pid, comm, fate } in &fates {
            output::line(&format!("{pid:>7}  {comm:<15}  {}", fate.text()));
        }
    }
    let effect = json!({ "processes": fates });
    if fates.iter().any(|signalled| signalled.fate.had_effect()) {
        said.ended("recovered", &effect);
        return Ok(Exit::Held);
    }
    said.ended("failed", &effect);
    Err(no_effect(
        spec,
        "every process ignores or blocks it, or was gone before",
    ))
}

fn no_effect(spec: &Spec, why: &str) -> Failure {
    Failure::machine(format!("see any effect of {}: {why}", spec.name()))
}

fn pause(
    injector: &Injector,
    interrupts: &Interrupts,
    target: &Target,
    until: Until,
    json: bool,
) -> Result<Exit, Failure> {
    let names: Vec<_> = target.processes().map(name_of).collect();
    let mut pause = Pause::inject(injector, target, &names, until).map_err(Failure::machine)?;
    let id = pause.id().to_owned();
    let said = Said {
        family: "process",
        engine: ENGINE,
        id: &id,
        fault: "pause",
        targets: &names,
        asked: asked_of(&Spec::Pause, target, Some(until)),
        json,
    };
    said.planned();
    // At once, for `murphy ls`; later it is said every second.
    let effect = pause.say().map_err(Failure::machine)?;
    said.effect("active", &json!(effect));
    if !json {
        output::line(&format!(
            "pause of {} ({}, engine signal)   id {id}",
            target.name,
            plural(effect.processes, "process"),
        ));
        output::line(&format!(
            "active: {} of {} stopped · {}",
            effect.threads_stopped,
            plural(effect.threads, "thread"),
            match until {
                Until::After(span) => format!("ends after {span}, or at Ctrl-C"),
                Until::Forever => "ends at Ctrl-C".into(),
            }
        ));
    }
    let failed = keep_paused(injector, interrupts, &mut pause, until, &said);
    let taken_back = pause.is_over();
    let effect = pause.end();
    let value = json!(effect);
    if !effect.left.is_empty() {
        said.ended("failed", &value);
        return Err(Failure::cleanup(effect.left.join("; ")).hint(format!(
            "`murphy recover {id}` when what stands in the way is gone."
        )));
    }
    failed?;
    let seen = effect.had_effect() || (taken_back && effect.stopped_ms > 0 && effect.processes > 0);
    said.ended(if seen { "recovered" } else { "failed" }, &value);
    if !json {
        let by = if taken_back {
            " (taken back by somebody else)"
        } else {
            ""
        };
        output::line(&format!(
            "ended{by}: {}; running again: {} of {}",
            effect.text(),
            effect.running_again,
            effect.processes - effect.gone
        ));
    }
    if seen {
        Ok(Exit::Held)
    } else {
        Err(no_effect(&Spec::Pause, "no thread was found stopped"))
    }
}

/// Waits until the pause is over, whoever ends it, and follows the target's children meanwhile.
fn keep_paused(
    injector: &Injector,
    interrupts: &Interrupts,
    pause: &mut Pause,
    until: Until,
    said: &Said<'_>,
) -> Result<(), Failure> {
    let began = Instant::now();
    let mut said_at = began;
    loop {
        let left = match until {
            Until::After(span) => span.0.saturating_sub(began.elapsed()),
            Until::Forever => Duration::MAX,
        };
        let wait = left.min(LOOK_EVERY);
        let interrupted = interrupts
            .wait(wait)
            .map_err(|error| Failure::machine(format!("listen for Ctrl-C: {error}")))?;
        if interrupted || left <= LOOK_EVERY || pause.is_over() {
            return Ok(());
        }
        pause.follow().map_err(Failure::machine)?;
        injector.mind_keeper().map_err(Failure::machine)?;
        if said_at.elapsed() > Duration::from_secs(1) {
            said_at = Instant::now();
            let effect = pause.say().map_err(Failure::machine)?;
            said.effect("effect", &json!(effect));
            if pause.is_deserted() {
                return Ok(());
            }
        }
    }
}

fn hit_launched(
    injector: &Injector,
    interrupts: &Interrupts,
    launched: &mut Launched,
    spec: &Spec,
    until: Until,
    json: bool,
) -> Result<Exit, Failure> {
    let process = launched.process().map_err(launch_failure)?;
    let Spec::Restart { after, down } = *spec else {
        let target = Target::of_processes("launch", &[process], []).map_err(target_failure)?;
        return hit(injector, interrupts, &target, spec, until, json);
    };
    let target = Target::of_processes("launch", &[process], []).map_err(target_failure)?;
    let names = [name_of(process)];
    let id = launched.id().to_owned();
    let said = Said {
        family: "process",
        engine: ENGINE,
        id: &id,
        fault: "restart",
        targets: &names,
        asked: asked_of(spec, &target, None),
        json,
    };
    said.planned();
    let began = Instant::now();
    wait_while_running(interrupts, launched, after.0)?;
    let wait = |time| {
        // Interrupted or not: it goes on at once, and the end is seen below.
        let _ = interrupts.wait(time);
    };
    let restarted = launched.restart(down.0, wait).map_err(launch_failure)?;
    said.effect("active", &json!(restarted));
    if !json {
        output::line(&restart_text(&restarted, &id));
    }
    let left = match until {
        Until::After(span) => span.0.saturating_sub(began.elapsed()),
        Until::Forever => Duration::MAX,
    };
    let status = wait_while_running(interrupts, launched, left)?;
    let mut effect = json!(restarted);
    if let (Value::Object(map), Some(status)) = (&mut effect, &status) {
        map.insert("command_ended".into(), json!(status.to_string()));
    }
    said.ended("recovered", &effect);
    if !json {
        output::line(&match status {
            Some(status) => format!("ended: the command ended by itself, {status}"),
            None => "ended: the command is ended with the fault".into(),
        });
    }
    Ok(Exit::Held)
}

fn restart_text(restarted: &Restarted, id: &str) -> String {
    format!(
        "restarted: pid {} gone after {:.1} ms, back as pid {} after {} ms   id {id}",
        restarted.pid_before,
        restarted.gone_after_us as f64 / 1e3,
        restarted.pid,
        restarted.back_after_ms
    )
}

/// Waits for `time`, less when the command ends by itself or somebody wants an end.
fn wait_while_running(
    interrupts: &Interrupts,
    launched: &mut Launched,
    time: Duration,
) -> Result<Option<std::process::ExitStatus>, Failure> {
    let began = Instant::now();
    loop {
        if let Some(status) = launched.ended().map_err(launch_failure)? {
            return Ok(Some(status));
        }
        let left = time.saturating_sub(began.elapsed()).min(LOOK_EVERY);
        let interrupted = interrupts.wait(left).unwrap_or(true);
        if interrupted || left.is_zero() {
            return Ok(None);
        }
    }
}
