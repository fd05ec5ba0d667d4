//! An injection of system calls by tracing, in force: who is traced, and how often calls were hit.

use std::{
    collections::BTreeMap,
    thread::sleep,
    time::{Duration, Instant},
};

use murphy_sys::{
    call_tracer::{CallTracer, traced_by},
    clock::boottime_ns,
    pidfd::Pidfd,
    process::ProcessId,
    signal::Signal,
    syscalls::Call,
};
use murphy_target::{Target, Tree};

use super::{
    SyscallError,
    rules::Rules,
    spec::Spec,
    table,
    tampering::{Begin, Counted, How, ProcessTampering, Tampered},
};
use crate::{
    injector::{Injector, failures},
    journal::{Entry, JournalError},
    span::Until,
    undo::{Undo, Undone},
};

/// How often the target is searched for processes that are not traced yet.
const SCANS_MAX: usize = 200;
/// At first, two scans in a row must find nobody new: one may have missed a child being born.
const QUIET_SCANS: usize = 2;
/// How soon somebody is traced who came into the target, and was not born there.
const DUE_IN: Duration = Duration::from_millis(200);
/// How long a tracer that was asked to end may take, and one that was killed.
const ENDS_WITHIN: Duration = Duration::from_secs(2);
const GONE_WITHIN: Duration = Duration::from_secs(2);

/// Has a Murphy that traces let everybody go: the kernel does that for one that has ended.
pub fn end_tracing(tracer: ProcessId) -> Result<Undone, SyscallError> {
    let is_over = || !tracer.is_alive() || traced_by(tracer).is_empty();
    if is_over() {
        return Ok(Undone::AlreadyDone);
    }
    for (signal, within) in [
        (Signal::TERM, ENDS_WITHIN),
        // It hangs, and all that it traces with it.
        (Signal::KILL, GONE_WITHIN),
    ] {
        match Pidfd::open(tracer).and_then(|pidfd| pidfd.send(signal)) {
            Ok(()) => {}
            Err(_) if is_over() => return Ok(Undone::Now),
            Err(error) => return Err(SyscallError::Tracer(error)),
        }
        let until = Instant::now() + within;
        while Instant::now() < until {
            if is_over() {
                return Ok(Undone::Now);
            }
            sleep(Duration::from_millis(5));
        }
    }
    Err(SyscallError::Traced { tracer })
}

/// An injection in force.
#[derive(Debug)]
pub struct Tracing {
    entry: Entry,
    tracer: CallTracer,
    calls: Vec<Call>,
    until_ns: Option<u64>,
    tree: Tree,
    traced: BTreeMap<ProcessId, ProcessTampering>,
    escapes: BTreeMap<ProcessId, String>,
}

impl Tracing {
    /// Traces every process of the target, and has calls of theirs fail by all of `specs` together. The way back is on disk before.
    /// An error, and nothing changed, where nobody can be traced.
    pub fn inject(
        injector: &Injector,
        target: &Target,
        names: &[String],
        specs: &[Spec],
        until: Until,
        seed: u64,
        begin: Begin,
    ) -> Result<Self, SyscallError> {
        let mut rules = Rules::of(specs)?.rules;
        if begin == Begin::Idle {
            for (_, rule) in &mut rules {
                rule.chance = 0;
            }
        }
        let (calls, rules): (Vec<_>, Vec<_>) = rules.into_iter().unzip();
        let faults: Vec<String> = specs.iter().map(ToString::to_string).collect();
        let mut entry = injector.begin("syscall", &faults.join(" and "), names, until)?;
        entry.protect(&[Undo::EndTracing(ProcessId::current())])?;
        match specs {
            [spec] => entry.specify(spec)?,
            specs => entry.specify(&specs)?,
        }
        let until_ns = entry.header().deadline_boottime_ns();
        let ends = until_ns.map(|until| {
            Instant::now() + Duration::from_nanos(until.saturating_sub(boottime_ns()))
        });
        let tracer = match CallTracer::start(&rules, seed, ends) {
            Ok(tracer) => tracer,
            Err(error) => return Err(end_for(&entry, error.into())),
        };
        let mut tracing = Self {
            entry,
            tracer,
            calls,
            until_ns,
            tree: target.follow(),
            traced: BTreeMap::new(),
            escapes: BTreeMap::new(),
        };
        let members: Vec<_> = target.processes().collect();
        let watched = members
            .into_iter()
            .try_for_each(|process| tracing.trace(process))
            .and_then(|()| tracing.take_in_newcomers(QUIET_SCANS, How::Traced));
        match watched {
            Ok(()) => Ok(tracing),
            Err(error) => Err(tracing.end_for(error)),
        }
    }

    /// The id of the injection.
    pub fn id(&self) -> &str {
        self.entry.id()
    }

    /// Whether somebody else has ended it.
    pub fn is_over(&self) -> bool {
        self.entry.is_over()
    }

    /// Whether nobody is traced any more and nobody will be: a container that was stopped may come back.
    pub fn is_deserted(&self) -> bool {
        self.traced.keys().all(|process| !process.is_alive()) && !self.tree.may_come_back()
    }

    /// How long until its end; `Duration::MAX` for one without.
    pub fn left(&self) -> Duration {
        self.until_ns.map_or(Duration::MAX, |until| {
            Duration::from_nanos(until.saturating_sub(boottime_ns()))
        })
    }

    /// How long at most until [`Tracing::follow`] must be called again.
    pub fn due_in(&self) -> Duration {
        DUE_IN
    }

    /// Traces who came into the target; who is born there is traced by the kernel.
    pub fn follow(&mut self) -> Result<(), SyscallError> {
        if self.is_over() {
            return Ok(());
        }
        self.take_in_newcomers(1, How::Inherited)
    }

    /// Traces a process of the target; an error for one that cannot be.
    fn trace(&mut self, process: ProcessId) -> Result<(), SyscallError> {
        match self.tracer.watch(process) {
            Ok(()) => {
                self.took_in(process, How::Traced);
                Ok(())
            }
            Err(error) if error.is_gone() => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn took_in(&mut self, process: ProcessId, how: How) {
        if let Some(stat) = process.stat() {
            let traced = ProcessTampering::of(process.pid, stat.comm, how);
            self.traced.insert(process, traced);
        }
    }

    fn take_in_newcomers(&mut self, quiet_scans: usize, how: How) -> Result<(), SyscallError> {
        let mut quiet = 0;
        for _ in 0..SCANS_MAX {
            let fresh = self.tree.newcomers(&table()?);
            quiet = if fresh.is_empty() { quiet + 1 } else { 0 };
            if quiet == quiet_scans {
                return Ok(());
            }
            for member in fresh {
                match self.tracer.watch(member.process) {
                    Ok(()) => self.took_in(member.process, how),
                    Err(error) if error.is_gone() => {}
                    Err(error) => {
                        self.escapes.insert(member.process, error.to_string());
                    }
                }
            }
        }
        Err(SyscallError::Runaway)
    }

    /// What it has done so far.
    pub fn effect(&self) -> Tampered {
        let mut effect = Tampered {
            escapes: self.escapes.values().cloned().collect(),
            ..Tampered::default()
        };
        for (call, counts) in self.calls.iter().zip(self.tracer.counts()) {
            effect.hits += counts.hits;
            let counted = Counted {
                hits: counts.hits,
                made: counts.made,
                unmeant: counts.unmeant,
            };
            effect.calls.insert(call.to_string(), counted);
        }
        for (process, traced) in &self.traced {
            let mut said = traced.clone();
            said.gone = !process.is_alive();
            effect.living += u64::from(!said.gone);
            effect.processes.push(said);
        }
        effect
    }

    /// Tells the journal what it has done so far, for `murphy ls`.
    pub fn say(&mut self) -> Tampered {
        let effect = self.effect();
        // Nothing depends on it: `murphy ls` shows an older figure where this fails, as on a full disk.
        let _ = self.entry.say(&effect, &effect.text());
        effect
    }

    /// Ends it: nobody is traced from then on.
    pub fn end(mut self) -> Tampered {
        self.tracer.end();
        let mut effect = self.effect();
        effect.left = failures(&self.entry.end());
        effect
    }

    fn end_for(mut self, why: SyscallError) -> SyscallError {
        self.tracer.end();
        end_for(&self.entry, why)
    }
}

/// Ends an injection because of an error; the error, and what stays where not all of it can be undone.
fn end_for(entry: &Entry, why: SyscallError) -> SyscallError {
    let outcomes: Result<_, JournalError> = entry.end();
    let left = failures(&outcomes).join("; ");
    if left.is_empty() {
        return why;
    }
    let why = why.to_string();
    SyscallError::NotUndone { why, left }
}
