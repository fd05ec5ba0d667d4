//! `murphy inject syscall` has system calls of running programs fail, come late, or do half of what was asked.

use std::time::{Duration, Instant};

use clap::Args;
use murphy_fault::{
    injector::Injector,
    net::Place,
    plan::{EndsBy, Plan},
    process::{Launched, Start, name_of},
    ratio::Ratio,
    span::{Span, Until},
    syscall::{
        Act, Begin, Calls, Descriptors, Engine, Injection, Kind, Paths, Pick, Spec, SpecError,
        SyscallError, Tampered, Turns, When, plan, spec::errno,
    },
    undo::Undo,
};
use murphy_sys::{process::ProcessId, signal::Interrupts, syscalls::Errno};
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

/// How often an injection in force is looked at: a program executed by a target is patched that soon.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How many processes, and places, are said one by one.
const SAID_MAX: usize = 12;

/// Arguments of `murphy inject syscall`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  murphy inject syscall -t name:etcd --call write --errno ENOSPC --rate 25% --path '/var/lib/*' --for 30s
  murphy inject syscall -t pid:42 --call fsync --errno EIO --rate 100% --for 10s
  murphy inject syscall -t container:web --call accept --errno EMFILE --rate 5% --for 1m
  murphy inject syscall -t pid:42 --call read --delay 20ms --rate 10% --for 1m
  murphy inject syscall -t pid:42 --call fsync --errno EIO --when 3 --for 1m          the third of each process
  murphy inject syscall -t pid:42 --call read,write --errno ECONNRESET --rate 1% --sticky --for 1m
  murphy inject syscall -t pid:42 --call close --errno EIO --rate 100% --for 10s     made, and its answer lost
  murphy inject syscall --call openat --errno EACCES --rate 100% --path '/etc/*' --for 5s -- cat /etc/hosts

A call is one by its name, a family (`open` is open, openat and openat2; `write` its p- and v-forms),
or a class of strace (%file, %desc, %network, %process, %memory). An error hits those calls only that can meet
it: ENOSPC files, ECONNRESET sockets. Errors are counted in the target. More: docs/faults/syscall.md.")]
pub struct SyscallArgs {
    /// Which calls: a call, a family or a class; with commas, or repeatable.
    #[arg(
        long = "call",
        value_name = "CALLS",
        value_delimiter = ',',
        required = true
    )]
    pub calls: Vec<Calls>,

    /// They fail with this error: ENOSPC, ECONNRESET, …
    #[arg(long, value_name = "ERRNO", value_parser = errno)]
    pub errno: Option<Errno>,

    /// They come so much later; at most 5s.
    #[arg(long, value_name = "TIME")]
    pub delay: Option<Span>,

    /// They read or write half of what was asked for.
    #[arg(long)]
    pub short: bool,

    /// How many of them.
    #[command(flatten)]
    pub share: ShareArgs,

    /// When they fail: at `entry`, and are not made; or at `exit`, made, and what came of them is lost.
    #[arg(long, value_name = "WHEN", requires = "errno")]
    pub fail: Option<When>,

    /// Only calls with this path, or whose descriptor is of it: /var/lib/etcd/wal, or all that begin so: '/var/lib/*'.
    #[arg(long = "path", value_name = "PATH")]
    pub paths: Option<Paths>,

    /// Only calls whose descriptor is of this kind: file, dir, socket, pipe, char, block; with commas.
    #[arg(long = "kind", value_name = "KINDS", value_delimiter = ',')]
    pub kinds: Vec<Kind>,

    /// Only calls with this descriptor: 3, 3.., 3..9.
    #[arg(long = "fd", value_name = "FD")]
    pub descriptors: Option<Descriptors>,

    /// Hit even calls whose failure programs of many languages do not survive: mmap, futex, clone, execve.
    #[arg(long)]
    pub force: bool,

    #[arg(long, value_name = "ENGINE", default_value_t = Engine::Patch, help = engines())]
    pub engine: Engine,

    /// Who, and how long.
    #[command(flatten)]
    pub aim: Aim,
}

/// How many of the calls are hit.
#[derive(Debug, Args)]
pub struct ShareArgs {
    /// How likely, each time that such a call is made: 25%, 0.01.
    #[arg(long, value_name = "RATE", required_unless_present = "when")]
    pub rate: Option<Ratio>,

    /// In bursts of so many calls on average; as many as --rate says.
    #[arg(long, value_name = "N")]
    pub burst: Option<u32>,

    /// At most so many in a row.
    #[arg(long, value_name = "N", conflicts_with = "burst")]
    pub cap: Option<u32>,

    /// What was hit stays broken: all calls of that connection or file fail from then on.
    #[arg(long, conflicts_with_all = ["burst", "cap", "when"])]
    pub sticky: bool,

    /// What was hit passes when it is tried again: never two in a row of a connection or file.
    #[arg(long, conflicts_with_all = ["burst", "cap", "when", "sticky"])]
    pub once: bool,

    /// Instead of a rate by turns, counted in each process: 3, 3+, 3..9, 3+5, 3..30+5 (every fifth).
    #[arg(long, value_name = "TURNS", conflicts_with_all = ["rate", "burst", "cap"])]
    pub when: Option<Turns>,
}

impl ShareArgs {
    fn pick(&self) -> Pick {
        match (self.when, self.burst, self.cap) {
            (Some(turns), ..) => Pick::Turns(turns),
            (None, Some(mean), _) => Pick::Bursts(mean),
            (None, None, Some(most)) => Pick::AtMost(most),
            (None, None, None) if self.sticky => Pick::Sticky,
            (None, None, None) if self.once => Pick::Once,
            (None, None, None) => Pick::Each,
        }
    }
}

/// What is said of `--engine`.
pub fn engines() -> String {
    let all = Engine::ALL.map(|engine| format!("{engine} ({})", engine.does()));
    format!("By this engine: {}", all.join("; "))
}

impl SyscallArgs {
    fn spec(&self) -> Result<Spec, SpecError> {
        let acts = [
            self.errno.map(|errno| {
                let when = self.fail;
                ("--errno", Act::Fail { errno, when })
            }),
            self.delay.map(|delay| ("--delay", Act::Delay(delay))),
            self.short.then_some(("--short", Act::Short)),
        ];
        let mut acts = acts.into_iter().flatten();
        let act = match (acts.next(), acts.next()) {
            (None, _) => return Err(SpecError::Nothing),
            (Some((one, _)), Some((other, _))) => return Err(SpecError::Both(one, other)),
            (Some((_, act)), None) => act,
        };
        Ok(Spec {
            calls: self.calls.clone(),
            act,
            rate: self.share.rate.unwrap_or(Ratio::ONE),
            pick: self.share.pick(),
            paths: self.paths.clone(),
            kinds: self.kinds.clone(),
            descriptors: self.descriptors.clone(),
            force: self.force,
        })
    }
}

/// What went wrong, and whose fault it is.
fn syscall_failure(error: SyscallError) -> Failure {
    match error {
        SyscallError::Asked(_) => Failure::input(error),
        SyscallError::NotUndone { .. } => Failure::cleanup(error),
        other => Failure::machine(other),
    }
}

/// Injects it.
pub fn run(args: &SyscallArgs, json: bool) -> Result<Exit, Failure> {
    let spec = args.spec().map_err(Failure::input)?;
    let rules = spec.rules().map_err(Failure::input)?;
    args.aim.check("syscall")?;
    let until = args.aim.until("syscall")?;
    let engine = args.engine;
    engine.check(&spec).map_err(Failure::input)?;
    if engine.is_in_kernel() {
        let told = engine.failures(std::slice::from_ref(&spec), &rules);
        for call in told.map_err(Failure::input)?.left_out {
            output::note(&format!(
                "murphy: warning: {call} is left out: engine {engine} does not reach it"
            ));
        }
    }
    for warning in &rules.warnings {
        output::note(&format!("murphy: warning: {warning}"));
    }
    let seed = args.aim.seed();
    if args.aim.dry_run {
        let plan = if args.aim.command.is_empty() {
            plan(&spec, &args.aim.find(seed)?, until, engine).map_err(syscall_failure)?
        } else {
            plan_of_launch(&args.aim.command_line(), &spec, until, engine)
        };
        return Ok(say_plan(&plan, json));
    }
    let mut stage = Stage {
        interrupts: interrupts()?,
        injector: injector()?,
        spec,
        until,
        seed,
        json,
        engine,
    };
    if args.aim.command.is_empty() {
        let target = args.aim.find(seed)?;
        return stage.tamper(&target, None);
    }
    stage.launch(args)
}

fn plan_of_launch(command: &str, spec: &Spec, until: Until, engine: Engine) -> Plan {
    let id = || "ID".to_owned();
    let (hit, undo) = match engine {
        Engine::Patch => (
            "patch its code before its first instruction, and its libraries as they are mapped",
            Undo::RestoreSites { id: id() },
        ),
        Engine::Ptrace => (
            "stop it at each of its calls, by ptrace, from its first instruction on",
            Undo::EndTracing(ProcessId::current()),
        ),
        _ => (
            "have the kernel ask programs of Murphy's about its calls, from its first instruction on",
            Undo::EndFailures { id: id() },
        ),
    };
    Plan {
        family: "syscall",
        fault: spec.to_string(),
        engine: engine.name().into(),
        targets: vec![format!("launch {command}")],
        changes: vec![format!("start {command}"), hit.into()],
        undo: vec![Undo::EndTagged { tag: id() }, undo],
        ends: EndsBy::Keeper,
        until,
    }
}

/// What an injection needs besides its target.
struct Stage {
    injector: Injector,
    interrupts: Interrupts,
    spec: Spec,
    until: Until,
    seed: u64,
    json: bool,
    engine: Engine,
}

impl Stage {
    /// Launches a command whose calls fail from its first instruction on, as far as its code is mapped.
    fn launch(&mut self, args: &SyscallArgs) -> Result<Exit, Failure> {
        // Nothing is started that could not be hit.
        self.engine.trial().map_err(syscall_failure)?;
        let start = Start {
            held: true,
            ..args.aim.output(self.json).into()
        };
        let launched = Launched::start(&self.injector, args.aim.command.clone(), start)
            .map_err(launch_failure)?;
        let outcome = launched
            .process()
            .map_err(launch_failure)
            .and_then(|process| {
                let target =
                    Target::of_processes("launch", &[process], []).map_err(target_failure)?;
                self.tamper(&target, Some(&launched))
            });
        let left = launched.end();
        if !left.is_empty() {
            return Err(Failure::cleanup(left.join("; ")));
        }
        outcome
    }

    /// Has calls of a target fail until that is over. A launched one goes once that is in force.
    fn tamper(&self, target: &Target, launched: Option<&Launched>) -> Result<Exit, Failure> {
        say_left_out(target);
        let names: Vec<_> = target.processes().map(name_of).collect();
        let fault = self.spec.to_string();
        let places = Place::of_members(&target.members);
        let asked = said::Asked::of(json!({ "spec": self.spec }), &places, Some(self.until));
        let begin = if launched.is_some() {
            Begin::Starting
        } else {
            Begin::Running
        };
        let mut tampering = Injection::begin(
            &self.injector,
            target,
            &names,
            std::slice::from_ref(&self.spec),
            self.until,
            self.seed,
            (self.engine, begin),
        )
        .map_err(syscall_failure)?;
        let id = tampering.id().to_owned();
        let said = Said {
            family: "syscall",
            engine: self.engine.name(),
            id: &id,
            fault: &fault,
            targets: &names,
            asked,
            json: self.json,
        };
        said.planned();
        let effect = tampering.say();
        said.effect("active", &json!(effect));
        if !self.json {
            self.say_active(&effect, target, &id);
        }
        let went = launched.map_or(Ok(()), |launched| launched.go().map_err(launch_failure));
        let failed = went.and_then(|()| self.keep(&mut tampering, &said));
        let taken_back = tampering.is_over();
        let effect = tampering.end();
        let value = json!(effect);
        if !effect.left.is_empty() {
            said.ended("failed", &value);
            return Err(Failure::cleanup(effect.left.join("; ")).hint(format!(
                "`murphy recover {id}` when what stands in the way is gone."
            )));
        }
        failed?;
        let had_effect = effect.had_effect();
        let event = match had_effect {
            Some(false) => "failed",
            _ => "recovered",
        };
        said.ended(event, &value);
        if !self.json {
            say_ended(&effect, taken_back, self.engine);
        }
        match had_effect {
            Some(false) => Err(Failure::machine(format!(
                "see any effect of {fault}: the target made no such call"
            ))),
            _ => Ok(Exit::Held),
        }
    }

    /// Waits until it is over, whoever ends it, and follows the target meanwhile.
    fn keep(&self, tampering: &mut Injection, said: &Said<'_>) -> Result<(), Failure> {
        let mut said_at = Instant::now();
        loop {
            tampering.follow().map_err(syscall_failure)?;
            let left = tampering.left();
            let wait = LOOK_EVERY.min(tampering.due_in()).min(left);
            let interrupted = self
                .interrupts
                .wait(wait)
                .map_err(|error| Failure::machine(format!("listen for Ctrl-C: {error}")))?;
            let is_over = interrupted || tampering.left().is_zero() || tampering.is_over();
            if is_over || tampering.is_deserted() {
                return Ok(());
            }
            if said_at.elapsed() > Duration::from_secs(1) {
                said_at = Instant::now();
                self.injector.mind_keeper().map_err(Failure::machine)?;
                said.effect("effect", &json!(tampering.say()));
            }
        }
    }

    fn say_active(&self, effect: &Tampered, target: &Target, id: &str) {
        output::line(&format!(
            "{} on {} ({}, engine {})   id {id}",
            self.spec,
            target.name,
            plural(effect.living, "process"),
            self.engine
        ));
        for process in effect.processes.iter().take(SAID_MAX) {
            if self.engine != Engine::Patch {
                output::line(&format!("{:>7}  {}", process.pid, process.name));
                continue;
            }
            output::line(&format!(
                "{:>7}  {:<15}  {}  stopped for {} µs, {}",
                process.pid,
                process.name,
                plural(process.sites as u64, "place"),
                process.stopped_us,
                plural(process.threads as u64, "thread")
            ));
        }
        if effect.processes.len() > SAID_MAX {
            let more = effect.processes.len() - SAID_MAX;
            output::line(&format!("         and {more} more"));
        }
        output::line(&format!(
            "active: {}",
            match self.until {
                Until::After(span) => format!("ends after {span}, or at Ctrl-C"),
                Until::Forever => "ends at Ctrl-C".into(),
            }
        ));
    }
}

fn say_ended(effect: &Tampered, taken_back: bool, engine: Engine) {
    let by = if taken_back {
        " (taken back by somebody else)"
    } else {
        ""
    };
    let followed = match effect.executed {
        0 => String::new(),
        count => format!(", {} followed", plural(count, "executed program")),
    };
    output::line(&format!(
        "ended{by}: {}; {} {}",
        effect.text(),
        plural(effect.processes.len() as u64, "process"),
        match engine {
            Engine::Patch => format!("carried it{followed}, and their code is as it was"),
            Engine::Ptrace => "stopped at each call, and let go".into(),
            _ => "watched, and untouched".into(),
        }
    ));
    if effect.uncounted > 0 {
        output::note(&format!(
            "murphy: {} without memory to count in: how many of their calls were hit is not known",
            plural(effect.uncounted, "process")
        ));
    }
    if effect.dormant > 0 {
        output::note(&format!(
            "murphy: in {} some of Murphy's code is left in memory, run by nobody new",
            plural(effect.dormant, "process")
        ));
    }
    for one in effect
        .uncovered
        .iter()
        .filter(|one| one.sure)
        .take(SAID_MAX)
    {
        output::note(&format!(
            "murphy: not covered: {} of {}: {}",
            plural(one.sites as u64, "place"),
            one.path,
            one.why
        ));
    }
    for escape in &effect.escapes {
        output::note(&format!("murphy: escaped: failed to {escape}"));
    }
}
