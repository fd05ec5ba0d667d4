//! An injection of system calls by programs in the kernel, in force: who is watched, and how often calls have failed. The target
//! is not touched.

use std::{collections::BTreeMap, time::Duration};

use murphy_sys::{
    cgroup_errors::{CgroupErrors, Who},
    clock::boottime_ns,
    failures::{self, Counts, Ended, Order, Rule},
    lsm_errors::LsmErrors,
    process::ProcessId,
    syscalls::Call,
};
use murphy_target::{Target, Tree};

use super::{
    SyscallError,
    engine::Engine,
    rules::Rules,
    spec::Spec,
    table,
    tampering::{Begin, Counted, How, ProcessTampering, Tampered},
};
use crate::{
    injector::{Injector, failures as failures_of},
    journal::{Entry, JournalError, number_of},
    span::Until,
    undo::{Undo, Undone},
};

/// How often the target is searched for processes that are not watched yet.
const SCANS_MAX: usize = 200;
/// At first, two scans in a row must find nobody new: one may have missed a child being born.
const QUIET_SCANS: usize = 2;
/// How soon somebody is watched who came into the target, and was not born there.
const DUE_IN: Duration = Duration::from_millis(200);

/// Ends the failures of injection `id`, whoever holds the programs.
pub fn end_failures(id: &str) -> Result<Undone, SyscallError> {
    Ok(match failures::end(number_of(id))? {
        Ended::Now(_) => Undone::Now,
        Ended::Nowhere => Undone::AlreadyDone,
    })
}

#[derive(Debug)]
enum Programs {
    Cgroup(CgroupErrors),
    Functions(LsmErrors),
}

impl Programs {
    fn attach(engine: Engine, order: &Order, rules: &[Rule]) -> Result<Self, SyscallError> {
        Ok(match engine.means() {
            Some(means) => Self::Functions(LsmErrors::attach_by(means, order, rules)?),
            None => Self::Cgroup(CgroupErrors::attach(Who::Family, order, rules)?),
        })
    }

    fn watch(&self, pid: u32) -> Result<(), SyscallError> {
        match self {
            Self::Cgroup(programs) => programs.watch(pid)?,
            Self::Functions(programs) => programs.watch(pid)?,
        }
        Ok(())
    }

    fn forget(&self, pid: u32) -> Result<(), SyscallError> {
        match self {
            Self::Cgroup(programs) => programs.forget(pid)?,
            Self::Functions(programs) => programs.forget(pid)?,
        }
        Ok(())
    }

    fn counts(&self) -> Result<Vec<Counts>, SyscallError> {
        Ok(match self {
            Self::Cgroup(programs) => programs.counts()?,
            Self::Functions(programs) => programs.counts()?,
        })
    }

    /// How many children there was no room for.
    fn lost(&self) -> u64 {
        match self {
            Self::Cgroup(programs) => programs.lost(),
            Self::Functions(programs) => programs.lost(),
        }
    }
}

/// An injection in force.
#[derive(Debug)]
pub struct Failing {
    entry: Entry,
    programs: Programs,
    calls: Vec<Call>,
    counts: Vec<Counts>,
    until_ns: Option<u64>,
    tree: Tree,
    watched: BTreeMap<ProcessId, ProcessTampering>,
    escapes: BTreeMap<ProcessId, String>,
}

impl Failing {
    /// Has calls of every process of the target fail, by all of `specs` together. The way back is on disk before. An error, and
    /// nothing changed, where `engine` does not do that or does not work here.
    pub fn inject(
        injector: &Injector,
        target: &Target,
        names: &[String],
        specs: &[Spec],
        until: Until,
        seed: u64,
        (engine, begin): (Engine, Begin),
    ) -> Result<Self, SyscallError> {
        let mut told = engine.failures(specs, &Rules::of(specs)?)?;
        engine.trial()?;
        if begin == Begin::Idle {
            for (_, rule) in &mut told.rules {
                rule.chance = 0;
            }
        }
        let (calls, rules): (Vec<_>, Vec<_>) = told.rules.into_iter().unzip();
        let faults: Vec<String> = specs.iter().map(ToString::to_string).collect();
        let mut entry = injector.begin("syscall", &faults.join(" and "), names, until)?;
        let id = entry.id().to_owned();
        match specs {
            [spec] => entry.specify(spec)?,
            specs => entry.specify(&specs)?,
        }
        let until_ns = entry.header().deadline_boottime_ns();
        let order = Order {
            id: number_of(&id),
            until_ns,
            seed,
            active: true,
        };
        let undo = [Undo::EndFailures { id }];
        let attached = entry.change(&undo, || Programs::attach(engine, &order, &rules));
        let programs = match attached {
            Ok(Ok(programs)) => programs,
            Ok(Err(error)) => return Err(end_for(&entry, error)),
            Err(error) => return Err(error.into()),
        };
        let mut failing = Self {
            entry,
            programs,
            counts: vec![Counts::default(); calls.len()],
            calls,
            until_ns,
            tree: target.follow(),
            watched: BTreeMap::new(),
            escapes: BTreeMap::new(),
        };
        for process in target.processes() {
            failing.watch(process, How::Watched);
        }
        match failing.take_in_newcomers(QUIET_SCANS, How::Watched) {
            Ok(()) => Ok(failing),
            Err(error) => Err(end_for(&failing.entry, error)),
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

    /// Whether nobody is watched any more and nobody will be: a container that was stopped may come back.
    pub fn is_deserted(&self) -> bool {
        self.watched.keys().all(|process| !process.is_alive()) && !self.tree.may_come_back()
    }

    /// How long until its end; `Duration::MAX` for one without.
    pub fn left(&self) -> Duration {
        self.until_ns.map_or(Duration::MAX, |until| {
            Duration::from_nanos(until.saturating_sub(boottime_ns()))
        })
    }

    /// How long at most until [`Failing::follow`] must be called again.
    pub fn due_in(&self) -> Duration {
        DUE_IN
    }

    /// Watches who came into the target; who is born there is watched by the kernel.
    pub fn follow(&mut self) -> Result<(), SyscallError> {
        if self.is_over() {
            return Ok(());
        }
        self.take_in_newcomers(1, How::Inherited)
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
                self.watch(member.process, how);
            }
        }
        Err(SyscallError::Runaway)
    }

    /// Watches a process; one that cannot be is an escape.
    fn watch(&mut self, process: ProcessId, how: How) {
        let Some(stat) = process.stat() else {
            // It has ended.
            return;
        };
        if let Err(error) = self.programs.watch(process.pid) {
            self.escapes.insert(process, error.to_string());
            return;
        }
        if !process.is_alive() {
            // Somebody else may have its number by now.
            let _ = self.programs.forget(process.pid);
            return;
        }
        let watched = ProcessTampering::of(process.pid, stat.comm, how);
        self.watched.insert(process, watched);
    }

    /// What it has done so far.
    pub fn effect(&mut self) -> Tampered {
        if let Ok(counts) = self.programs.counts() {
            self.counts = counts;
        }
        let mut effect = Tampered {
            escapes: self.escapes.values().cloned().collect(),
            ..Tampered::default()
        };
        let lost = self.programs.lost();
        if lost > 0 {
            let why = format!("watch {lost} born to the target: there is no room for so many");
            effect.escapes.push(why);
        }
        for (call, counts) in self.calls.iter().zip(&self.counts) {
            effect.hits += counts.failed;
            let counted = Counted {
                hits: counts.failed,
                made: counts.seen,
                unmeant: 0,
            };
            effect.calls.insert(call.to_string(), counted);
        }
        for (process, watched) in &self.watched {
            let mut said = watched.clone();
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

    /// Ends it: no call fails from then on, and the programs go.
    pub fn end(mut self) -> Tampered {
        let outcomes = self.entry.end();
        let mut effect = self.effect();
        effect.left = failures_of(&outcomes);
        effect
    }
}

/// Ends an injection because of an error; the error, and what stays where not all of it can be undone.
fn end_for(entry: &Entry, why: SyscallError) -> SyscallError {
    let outcomes: Result<_, JournalError> = entry.end();
    let left = failures_of(&outcomes).join("; ");
    if left.is_empty() {
        return why;
    }
    let why = why.to_string();
    SyscallError::NotUndone { why, left }
}
