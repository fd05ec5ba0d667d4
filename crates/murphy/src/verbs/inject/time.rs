//! `murphy inject time` skews the clocks of running processes.

use std::time::{Duration, Instant};

use clap::Args;
use murphy_fault::{
    injector::Injector,
    journal::Journal,
    net::Place,
    plan::{EndsBy, Plan},
    process::{Launched, Start, name_of},
    span::{Shift, Span, Until},
    time::{
        ClockSeen, Clocks, Date, Drift, ENGINE, Follow, Jump, ProcessSkew, Skew, SkewError, Skewed,
        Spec, Strobe,
        namespace::{self, Split, split},
        plan,
    },
    undo::Undo,
};
use murphy_sys::{process::ProcessId, signal::Interrupts};
use murphy_target::Target;
use serde_json::json;

use crate::{
    exit::{Exit, Failure},
    output::{self, plural},
    verbs::{
        inject::aim::{Aim, interrupts, launch_failure, say_left_out, say_plan, target_failure},
        injector,
        said::{self, Said},
    },
};

/// How often a skew in force is looked at: a program executed by a target is skewed that soon.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How many processes are said one by one.
const SAID_MAX: usize = 12;

/// Arguments of `murphy inject time`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  murphy inject time -t pid:42 --offset -10m --for 10s           ten minutes ago, for ten seconds
  murphy inject time -t container:web --drift 200ppm --for 1h    gains 0.2 ms a second
  murphy inject time -t name:etcd --at 2038-01-19T03:14:00Z --for 30s
  murphy inject time -t pid:42 --jump -5s@10s --jump +5s@20s --for 30s
  murphy inject time -t pid:42 --strobe 250ms every 10ms --for 5s
  murphy inject time -t name:app --offset -1h --raw --for 1m     and of raw system calls
  murphy update 4f --offset +1h                                  changes it live

The skew is read back through the target's own clock functions. Children inherit it, programs
they execute follow, and all are restored. By default the time of day is skewed, however a
program asks for it, but by a system call of its own: those are skewed with --raw, which patches the
places of its code that make them. The monotonic clock is not skewed. More: docs/faults/time.md, docs/targets.md.")]
pub struct TimeArgs {
    /// How the clocks are to go.
    #[command(flatten)]
    pub how: How,

    /// The clocks: realtime, monotonic, monotonic-raw, boottime, tai, or the kernel's names; with commas.
    #[arg(long = "clock", value_name = "CLOCKS", default_value_t)]
    pub clocks: Clocks,

    /// Skew backwards even a clock that never runs backwards.
    #[arg(long)]
    pub force: bool,

    /// Skew those, too, who ask the kernel itself for the time, past the vDSO: the places of their code that do are patched.
    #[arg(long)]
    pub raw: bool,

    /// How programs are followed that the target executes: `look`, or `stop` each until it is skewed.
    #[arg(long, value_name = "HOW", default_value_t)]
    pub follow: Follow,

    /// Who, and how long.
    #[command(flatten)]
    pub aim: Aim,
}

/// How clocks are to go; what does not exclude each other adds up.
#[derive(Debug, Args)]
pub struct How {
    /// A fixed distance from the true time: -10m, +1h30m, 250ms.
    #[arg(long, value_name = "±TIME", allow_hyphen_values = true)]
    pub offset: Option<Shift>,

    /// Begin at a date: 2038-01-19T03:14:07Z, 2038-01-19 (UTC).
    #[arg(long, value_name = "DATE")]
    pub at: Option<Date>,

    /// Gain this much: 200ppm, -1%; at most half either way.
    #[arg(long, value_name = "PPM", allow_hyphen_values = true)]
    pub drift: Option<Drift>,

    /// Stand still.
    #[arg(long)]
    pub freeze: bool,

    /// Step by so much, so long after the start, and stay: -5s@10s; repeatable.
    #[arg(long = "jump", value_name = "±TIME@TIME", allow_hyphen_values = true)]
    pub jumps: Vec<Jump>,

    /// Step to and fro: 250ms every 10ms.
    #[arg(long, num_args = 3, value_names = ["±TIME", "every", "TIME"], allow_hyphen_values = true)]
    pub strobe: Vec<String>,

    /// A fixed distance of at most this, either way, drawn from the seed.
    #[arg(long, value_name = "TIME")]
    pub random: Option<Span>,
}

impl How {
    /// The skew, for the clocks that are not said here.
    pub fn spec(&self) -> Result<Spec, Failure> {
        let strobe: Option<Strobe> = if self.strobe.is_empty() {
            None
        } else {
            Some(self.strobe.join(" ").parse().map_err(Failure::input)?)
        };
        Ok(Spec {
            offset: self.offset,
            at: self.at,
            drift: self.drift,
            freeze: self.freeze,
            jumps: self.jumps.clone(),
            strobe,
            random: self.random,
            ..Spec::default()
        })
    }
}

/// What went wrong with a skew, and whose fault it is.
pub fn skew_failure(error: SkewError) -> Failure {
    match error {
        SkewError::Asked(_) | SkewError::NotASkew { .. } => Failure::input(error),
        SkewError::NotUndone { .. } => Failure::cleanup(error),
        other => Failure::machine(other),
    }
}

/// Injects it.
pub fn run(args: &TimeArgs, json: bool) -> Result<Exit, Failure> {
    let spec = Spec {
        clocks: args.clocks.clone(),
        force: args.force,
        raw: args.raw,
        ..args.how.spec()?
    };
    args.aim.check("time")?;
    let until = args.aim.until("time")?;
    if args.aim.command.is_empty() {
        spec.check(until).map_err(Failure::input)?;
        for warning in spec.warnings() {
            output::note(&format!("murphy: warning: {warning}"));
        }
    } else {
        split(&spec).check(until).map_err(Failure::input)?;
    }
    if args.aim.dry_run {
        return dry_run(args, &spec, until, json);
    }
    let seed = args.aim.seed();
    if !args.aim.command.is_empty() {
        return launch(args, &spec, until, seed, json);
    }
    let target = args.aim.find(seed)?;
    Stage::new(until, seed, args.follow, json)?.skew(&target, spec, |_| Ok(()))
}

/// What a skew needs besides its target.
struct Stage {
    injector: Injector,
    interrupts: Interrupts,
    until: Until,
    seed: u64,
    follow: Follow,
    json: bool,
    /// What the clocks show that a time namespace skews.
    in_namespace: Vec<ClockSeen>,
}

/// Launches a command whose clocks are skewed from its first instruction on.
fn launch(
    args: &TimeArgs,
    spec: &Spec,
    until: Until,
    seed: u64,
    json: bool,
) -> Result<Exit, Failure> {
    let mut stage = Stage::new(until, seed, args.follow, json)?;
    let split = split(spec);
    let mut start = Start {
        time: split.offsets,
        held: true,
        ..args.aim.output(json).into()
    };
    if split.rest.is_none() {
        // Nothing but the namespace does it: the command itself is the injection.
        (start.fault, start.until) = (("time", spec.to_string()), until);
    }
    let mut launched = Launched::start(&stage.injector, args.aim.command.clone(), start)
        .map_err(launch_failure)?;
    let names: Vec<_> = launched.process().map(name_of).into_iter().collect();
    let id = launched.id().to_owned();
    let outcome = match &split.rest {
        Some(rest) => stage.skew_launched(&launched, &split, rest),
        None => stage.hold_launched(&mut launched, &split, &names, spec),
    };
    let left = launched.end();
    if !left.is_empty() {
        return Err(Failure::cleanup(left.join("; ")));
    }
    let exit = outcome?;
    if split.rest.is_none() {
        stage.say_launched(&id, &names, spec, "recovered");
    }
    Ok(exit)
}

impl Stage {
    fn new(until: Until, seed: u64, follow: Follow, json: bool) -> Result<Self, Failure> {
        Ok(Self {
            interrupts: interrupts()?,
            injector: injector()?,
            until,
            seed,
            follow,
            json,
            in_namespace: Vec::new(),
        })
    }

    /// Skews a launched command by the hook, besides what its time namespace does.
    fn skew_launched(
        &mut self,
        launched: &Launched,
        split: &Split,
        rest: &Spec,
    ) -> Result<Exit, Failure> {
        let process = launched.process().map_err(launch_failure)?;
        self.see_namespace(process, split)?;
        if !self.json {
            say_namespace(&self.in_namespace);
        }
        let target = Target::of_processes("launch", &[process], []).map_err(target_failure)?;
        let go = |skew: &mut Skew| {
            skew.begin_again().map_err(skew_failure)?;
            launched.go().map_err(launch_failure)
        };
        self.skew(&target, rest.clone(), go)
    }

    /// Lets a launched command run whose time namespace is all of its skew, until it ends or its time is over.
    fn hold_launched(
        &mut self,
        launched: &mut Launched,
        split: &Split,
        names: &[String],
        spec: &Spec,
    ) -> Result<Exit, Failure> {
        let process = launched.process().map_err(launch_failure)?;
        self.see_namespace(process, split)?;
        self.say_launched(launched.id(), names, spec, "planned");
        self.say_launched(launched.id(), names, spec, "active");
        launched.go().map_err(launch_failure)?;
        let began = Instant::now();
        loop {
            let left = match self.until {
                Until::After(span) => span.0.saturating_sub(began.elapsed()),
                Until::Forever => Duration::MAX,
            };
            let interrupted = self
                .interrupts
                .wait(left.min(LOOK_EVERY))
                .map_err(|error| Failure::machine(format!("listen for Ctrl-C: {error}")))?;
            let has_ended = launched.ended().map_err(launch_failure)?.is_some();
            if interrupted || left.is_zero() || has_ended {
                return Ok(Exit::Held);
            }
        }
    }

    /// Reads the clocks of a launched command's namespace; an error where they do not show what was asked for.
    fn see_namespace(&mut self, process: ProcessId, split: &Split) -> Result<(), Failure> {
        self.in_namespace = namespace::seen(process, split).map_err(skew_failure)?;
        match self.in_namespace.iter().find(|clock| !clock.is_as_asked()) {
            None => Ok(()),
            Some(clock) => Err(Failure::machine(format!(
                "skew {} by a time namespace: it reads {}",
                clock.clock,
                shown(clock.during_ns)
            ))),
        }
    }

    /// Says where a command stands that only a time namespace skews.
    fn say_launched(&self, id: &str, names: &[String], spec: &Spec, event: &str) {
        let fault = spec.to_string();
        let said = Said {
            family: "time",
            engine: namespace::ENGINE,
            id,
            fault: &fault,
            targets: names,
            asked: said::Asked::of(json!({ "spec": spec }), &[], Some(self.until)),
            json: self.json,
        };
        let effect = json!({ "in_namespace": self.in_namespace });
        match event {
            "planned" => said.planned(),
            "active" => said.effect(event, &effect),
            _ => said.ended(event, &effect),
        }
        if self.json {
            return;
        }
        match event {
            "planned" => output::line(&format!(
                "{fault} on launch (1 process, engine {})   id {id}",
                namespace::ENGINE
            )),
            "active" => {
                say_namespace(&self.in_namespace);
                output::line(&format!("active: {}", ends(self.until)));
            }
            _ => output::line("ended: the command is ended, and its clocks with it"),
        }
    }

    /// Skews a target until the skew is over; `go` is called once it is in force and said.
    fn skew(
        &self,
        target: &Target,
        spec: Spec,
        go: impl FnOnce(&mut Skew) -> Result<(), Failure>,
    ) -> Result<Exit, Failure> {
        say_left_out(target);
        let names: Vec<_> = target.processes().map(name_of).collect();
        let fault = spec.to_string();
        let places = Place::of_members(&target.members);
        let asked = said::Asked::of(json!({ "spec": spec }), &places, Some(self.until));
        let mut skew = Skew::inject(
            &self.injector,
            target,
            &names,
            spec,
            self.until,
            self.seed,
            self.follow,
        )
        .map_err(skew_failure)?;
        let id = skew.id().to_owned();
        let said = Said {
            family: "time",
            engine: ENGINE,
            id: &id,
            fault: &fault,
            targets: &names,
            asked,
            json: self.json,
        };
        said.planned();
        let effect = skew.say().map_err(skew_failure)?;
        said.effect("active", &self.value(&effect));
        if !self.json {
            say_active(&skew, &effect, target, self.until, &fault);
        }
        // A launched command begins now that it is skewed.
        let failed = go(&mut skew).and_then(|()| keep_skewed(self, &mut skew, &said));
        let taken_back = skew.is_over();
        let effect = skew.end();
        let value = self.value(&effect);
        if !effect.left.is_empty() {
            said.ended("failed", &value);
            return Err(Failure::cleanup(effect.left.join("; ")).hint(format!(
                "`murphy recover {id}` when what stands in the way is gone."
            )));
        }
        failed?;
        said.ended(
            if effect.had_effect() {
                "recovered"
            } else {
                "failed"
            },
            &value,
        );
        if !self.json {
            say_ended(&effect, taken_back, self.follow);
        }
        if effect.had_effect() {
            Ok(Exit::Held)
        } else {
            Err(Failure::machine(format!(
                "see any effect of {fault}: no clock of the target showed it"
            )))
        }
    }

    /// An effect as events say it.
    fn value(&self, effect: &Skewed) -> serde_json::Value {
        let mut value = json!(effect);
        if !self.in_namespace.is_empty() {
            value["in_namespace"] = json!(self.in_namespace);
        }
        value
    }
}

fn say_namespace(seen: &[ClockSeen]) {
    for clock in seen {
        output::line(&format!(
            "{} reads {} in a time namespace of its own (engine {})",
            clock.clock,
            shown(clock.during_ns),
            namespace::ENGINE
        ));
    }
}

fn dry_run(args: &TimeArgs, spec: &Spec, until: Until, json: bool) -> Result<Exit, Failure> {
    let plan = if args.aim.command.is_empty() {
        let journal = Journal::of_user().map_err(Failure::machine)?;
        plan(
            &journal,
            spec,
            &args.aim.find(args.aim.seed())?,
            until,
            args.follow,
        )
        .map_err(skew_failure)?
    } else {
        plan_of_launch(&args.aim.command_line(), spec, args.follow, until)
    };
    Ok(say_plan(&plan, json))
}

fn plan_of_launch(command: &str, spec: &Spec, follow: Follow, until: Until) -> Plan {
    let split = split(spec);
    let id = || "ID".to_owned();
    let mut changes = vec![format!("start {command}")];
    let mut undo = vec![Undo::EndTagged { tag: id() }];
    if split.offsets.is_some() {
        changes.push("put it into a time namespace of its own".into());
    }
    if split.rest.is_some() {
        changes.push("hook its vDSO before its first instruction".into());
        undo.push(Undo::RestoreVdso { id: id() });
        if spec.raw {
            changes.push(
                "patch the places of its code that ask the kernel for the time, or may".into(),
            );
            undo.push(Undo::RestoreSites { id: id() });
        }
        changes.extend(follow.change());
        undo.extend(follow.undo());
    }
    Plan {
        family: "time",
        fault: spec.to_string(),
        engine: if split.rest.is_some() {
            ENGINE.into()
        } else {
            namespace::ENGINE.into()
        },
        targets: vec![format!("launch {command}")],
        changes,
        undo,
        ends: EndsBy::Keeper,
        until,
    }
}

fn say_active(skew: &Skew, effect: &Skewed, target: &Target, until: Until, fault: &str) {
    output::line(&format!(
        "{fault} on {} ({}, engine {ENGINE})   id {}",
        target.name,
        plural(effect.living, "process"),
        skew.id()
    ));
    for process in effect.processes.iter().take(SAID_MAX) {
        let seen = process.clocks.first();
        let sites = process.covered.as_ref().map_or(0, |raw| raw.sites);
        output::line(&format!(
            "{:>7}  {:<15}  {}  {}{}",
            process.pid,
            process.name,
            seen.map_or_else(String::new, |seen| format!(
                "{} reads {}",
                seen.clock,
                shown(seen.during_ns)
            )),
            match process.threads {
                0 => "hooked already, not stopped".into(),
                threads => format!(
                    "stopped for {} µs, {}",
                    process.stopped_us,
                    plural(threads as u64, "thread")
                ),
            },
            match sites {
                0 => String::new(),
                count => format!("; {} patched", plural(count as u64, "raw call site")),
            }
        ));
    }
    if effect.processes.len() > SAID_MAX {
        let more = effect.processes.len() - SAID_MAX;
        output::line(&format!("         and {more} more"));
    }
    output::line(&format!(
        "active: {} of {} as asked, read through their own clock functions · {}",
        effect.skewed,
        plural(effect.living, "process"),
        ends(until)
    ));
}

fn ends(until: Until) -> String {
    match until {
        Until::After(span) => format!("ends after {span}, or at Ctrl-C"),
        Until::Forever => "ends at Ctrl-C".into(),
    }
}

fn say_ended(effect: &Skewed, taken_back: bool, follow: Follow) {
    let by = if taken_back {
        " (taken back by somebody else)"
    } else {
        ""
    };
    let after = effect
        .processes
        .iter()
        .flat_map(|process| &process.clocks)
        .filter_map(|clock| clock.after_ns)
        .map(i64::abs)
        .max();
    let carried = plural(effect.processes.len() as u64, "process");
    let followed = match effect.executed {
        0 => String::new(),
        count => format!(", {} followed", plural(count, "executed program")),
    };
    let now = match after {
        Some(after) => format!("furthest from the true time now: {}", shown(after)),
        None => "all of them have ended".into(),
    };
    output::line(&format!("ended{by}: {carried} carried it{followed}; {now}"));
    if effect.dormant > 0 {
        output::note(&format!(
            "murphy: {} left in memory, run by nobody new",
            plural(effect.dormant, "dormant hook")
        ));
    }
    for escape in &effect.escapes {
        output::note(&format!("murphy: escaped the skew: failed to {escape}"));
    }
    for process in &effect.processes {
        say_covered(process);
    }
    for raw in &effect.raw {
        output::note(&format!(
            "murphy: escaped the skew: {} asked the kernel itself for the time, {} in {} ms that were looked at",
            raw.name,
            plural(raw.calls, "time"),
            raw.counted_ms
        ));
    }
    if let Some(count @ 1..) = effect.short_lived {
        output::note(&format!(
            "murphy: escaped the skew: {} came and went in between{}",
            plural(count, "executed program"),
            match follow {
                Follow::Look => "; `--follow stop` catches them",
                Follow::Stop => ", before they could be hooked",
            }
        ));
    }
}

/// What of a process's raw calls was skewed, and what not.
fn say_covered(process: &ProcessSkew) {
    let Some(raw) = &process.covered else {
        return;
    };
    let (pid, name) = (process.pid, &process.name);
    match (raw.sites, raw.calls) {
        (0, _) => output::note(&format!(
            "murphy: no raw call of {pid} {name} was skewed: no place of its code that makes one was patched"
        )),
        (_, Some(calls)) => output::line(&format!(
            "{pid:>7}  {name:<15}  {} of its own skewed, past the vDSO",
            plural(calls, "system call")
        )),
        (_, None) => {}
    }
    for one in raw.uncovered.iter().filter(|one| one.sure) {
        let places = match one.sites {
            0 => String::new(),
            count => format!(", {}", plural(count as u64, "place")),
        };
        output::note(&format!(
            "murphy: not covered of {pid} {name}: {}{places}: {}",
            one.path, one.why
        ));
    }
}

/// A shift as people read it: the larger, the rounder.
fn shown(ns: i64) -> String {
    const SECOND: i64 = 1_000_000_000;
    let unit = match ns.unsigned_abs() {
        0..1_000_000_000 => 1000,
        1_000_000_000..3_600_000_000_000 => 1_000_000,
        _ => SECOND,
    };
    let round = ns.saturating_add(ns.signum() * unit / 2) / unit * unit;
    let text = Shift(round).to_string();
    if unit < SECOND || text.len() < "+1000000s".len() {
        return text;
    }
    let mut rest = round.unsigned_abs() / SECOND.unsigned_abs();
    let mut text = String::from(if round < 0 { "-" } else { "+" });
    for (seconds, name) in [(86_400, "d"), (3600, "h"), (60, "m"), (1, "s")] {
        if rest >= seconds {
            text += &(rest / seconds).to_string();
            text += name;
            rest %= seconds;
        }
    }
    text
}

/// Waits until the skew is over, whoever ends it, and follows the target meanwhile.
fn keep_skewed(stage: &Stage, skew: &mut Skew, said: &Said<'_>) -> Result<(), Failure> {
    let mut said_at = Instant::now();
    skew.follow().map_err(skew_failure)?;
    loop {
        let left = skew.left();
        let is_last = left <= LOOK_EVERY * 2;
        if is_last {
            // The last look before the deadline, which acts in the target by itself.
            skew.effect().map_err(skew_failure)?;
        }
        let wait = if is_last {
            skew.left()
        } else {
            LOOK_EVERY.min(skew.due_in())
        };
        let interrupts = &stage.interrupts;
        let interrupted = match skew.told().filter(|_| !is_last) {
            Some(told) => interrupts.wait_beside(told, wait),
            None => interrupts.wait(wait),
        }
        .map_err(|error| Failure::machine(format!("listen for Ctrl-C: {error}")))?;
        if interrupted || is_last || skew.is_over() {
            return Ok(());
        }
        skew.follow().map_err(skew_failure)?;
        if said_at.elapsed() > Duration::from_secs(1) {
            said_at = Instant::now();
            stage.injector.mind_keeper().map_err(Failure::machine)?;
            let effect = skew.say().map_err(skew_failure)?;
            said.effect("effect", &stage.value(&effect));
        }
        if skew.is_deserted() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shift_is_shown_as_people_read_it() {
        let second = 1_000_000_000;
        for (ns, text) in [
            (331, "+0s"),
            (-6_843_600_400, "-6844ms"),
            (-599_999_999_674, "-10m"),
            (5400 * second + 12, "+1h30m"),
            (352_225_663_076_000_000, "+4076d16h27m43s"),
            (i64::MIN, "-106751d23h47m16s"),
        ] {
            assert_eq!(shown(ns), text, "{ns}");
        }
    }
}
