//! Family `syscall`: calls of running programs fail, come late, or do half of what was asked.
//!
//! Needs `x86_64`, a steady time stamp counter, and `CAP_SYS_PTRACE` for other users' processes. Engine `patch` has the places
//! lead to a few instructions of Murphy's at which a program makes its calls ([`murphy_sys::patch`]): in the C library, in a
//! static program, in one of Go. Nothing is stopped but for the moment of patching, calls that are not meant cost nothing, and
//! the errors end inside the target [`LEASE`] after Murphy has died. Children are born patched; who executes a program is
//! patched anew.
//!
//! Where the kernel asks BPF programs about a call, those can have it fail without touching the target ([`Engine`]): connect, bind,
//! socket and sends at a cgroup, and what security modules are asked about.

pub mod coverage;
pub mod engine;
mod failing;
mod injection;
pub mod names;
pub mod realism;
mod restore;
pub mod rules;
pub mod spec;
mod tampering;
mod tracing;

pub use engine::Engine;
pub use failing::{Failing, end_failures};
pub use injection::Injection;
pub use names::{Calls, CallsError};
pub use restore::restore_sites;
pub use rules::Rules;
pub use spec::{Act, Descriptors, Kind, Paths, Pick, Spec, SpecError, Turns, When};
pub use tampering::{Begin, Counted, How, LEASE, ProcessTampering, Tampered, Tampering, Uncovered};
pub use tracing::{Tracing, end_tracing};

use std::io;

use murphy_sys::{
    call_tracer::TracerError,
    cgroup_errors::CgroupEngineError,
    failures::EndError,
    lsm_errors::LsmEngineError,
    patch::{Lease, LeaseError, Library, PatchError, Program, Rule},
    pidfd::PidfdError,
    process::ProcessId,
    table::ProcessTable,
};
use murphy_target::Target;

use crate::{
    journal::JournalError,
    plan::{EndsBy, Plan},
    process::name_of,
    span::Until,
    undo::Undo,
};

/// The engine for running processes.
pub const ENGINE: &str = "patch";

/// Why calls could not be made to fail, or are still.
#[derive(Debug, thiserror::Error)]
pub enum SyscallError {
    /// What is asked makes no sense.
    #[error(transparent)]
    Asked(#[from] SpecError),
    /// This machine cannot.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// A process cannot be patched.
    #[error(transparent)]
    Patch(#[from] PatchError),
    /// Programs of the cgroup cannot.
    #[error(transparent)]
    Cgroup(#[from] CgroupEngineError),
    /// Programs at functions of the kernel cannot.
    #[error(transparent)]
    Lsm(#[from] LsmEngineError),
    /// Nobody can be traced.
    #[error(transparent)]
    Trace(#[from] TracerError),
    /// A tracer does not end.
    #[error("end the Murphy that traces: {0}")]
    Tracer(#[source] PidfdError),
    /// The same.
    #[error("end the tracing by {tracer}: it was killed, and is there still")]
    Traced {
        /// Who.
        tracer: ProcessId,
    },
    /// Programs go on.
    #[error(transparent)]
    End(#[from] EndError),
    /// The journal.
    #[error(transparent)]
    Journal(Box<JournalError>),
    /// A filter of system calls might end the process.
    #[error(
        "patch {process}: {calls} would be called in its name to know what is meant, and its seccomp filter does not let that pass, as far as can be seen; choose calls by --fd alone, or an error that any descriptor can meet"
    )]
    Filtered {
        /// Who.
        process: ProcessId,
        /// What would be called.
        calls: String,
    },
    /// No process of the target can be patched.
    #[error("{0}")]
    Nobody(String),
    /// `/proc` cannot be read.
    #[error("read /proc: {0}")]
    Table(#[source] io::Error),
    /// New children appear faster than they can be patched, or recovered.
    #[error("patch the target: it starts processes faster than Murphy can follow")]
    Runaway,
    /// It was refused, and what had been done already stays.
    #[error("{why}; and failed to undo what was done by then: {left}")]
    NotUndone {
        /// Why it was refused.
        why: String,
        /// What stays, and why.
        left: String,
    },
}

impl From<JournalError> for SyscallError {
    fn from(error: JournalError) -> Self {
        // A journal's undo may fail on a patch: the two hold each other.
        Self::Journal(Box::new(error))
    }
}

impl SyscallError {
    /// Whether the process it is about is gone.
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Patch(error) if error.is_gone())
    }
}

/// Asks this machine whether the engine works: whether an end can be set inside a target, and whether Murphy understands its own
/// code.
pub fn trial() -> Result<(), SyscallError> {
    Lease::new(LEASE, 0, 0)?;
    let calls = "write".parse::<Calls>().into_iter();
    let calls: Vec<u32> = calls
        .flat_map(|calls| calls.iter().collect::<Vec<_>>())
        .map(|call| call.number().into())
        .collect();
    let program = Program::open(ProcessId::current(), &mut Library::default())?;
    let coverage = program.coverage(&calls);
    if coverage.sites == 0 {
        let why = coverage.uncovered.first().map(|one| one.why.clone());
        let why = why.unwrap_or_else(|| "no code makes them".into());
        let process = ProcessId::current();
        return Err(PatchError::Nowhere { process, why }.into());
    }
    Ok(())
}

/// What `spec` would do to `target`. Changes nothing; an error for what would be refused.
pub fn plan(
    spec: &Spec,
    target: &Target,
    until: Until,
    engine: Engine,
) -> Result<Plan, SyscallError> {
    engine.check(spec)?;
    if engine.is_in_kernel() {
        return plan_in_kernel(spec, target, until, engine);
    }
    if engine == Engine::Ptrace {
        return plan_traced(spec, target, until);
    }
    let rules = spec.rules()?;
    let lease = Lease::new(LEASE, 0, 0)?;
    let all: Vec<Rule> = rules.rules.iter().map(|(_, rule)| rule.clone()).collect();
    let mut library = Library::default();
    let mut changes = Vec::new();
    for process in target.processes() {
        let covered = tampering::check_filter(process, &rules, tampering::START_PATIENCE)
            .and_then(|()| Ok(Program::open(process, &mut library)?.rehearse(&all, lease)?));
        match covered {
            Ok(coverage) => {
                let of = name_of(process);
                changes.push(format!("patch {} places of {of}", coverage.sites));
                for one in coverage.uncovered.iter().filter(|one| one.is_sure) {
                    changes.push(format!(
                        "not covered: {} of {}: {}",
                        one.sites, one.path, one.why
                    ));
                }
            }
            Err(error) if error.is_gone() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Plan {
        family: "syscall",
        fault: spec.to_string(),
        engine: ENGINE.into(),
        targets: target.processes().map(name_of).collect(),
        changes,
        undo: vec![Undo::RestoreSites { id: "new".into() }],
        ends: EndsBy::Deadline,
        until,
    })
}

fn plan_traced(spec: &Spec, target: &Target, until: Until) -> Result<Plan, SyscallError> {
    spec.rules()?;
    Engine::Ptrace.trial()?;
    let changes = target.processes().map(name_of);
    Ok(Plan {
        family: "syscall",
        fault: spec.to_string(),
        engine: Engine::Ptrace.name().into(),
        targets: target.processes().map(name_of).collect(),
        changes: changes
            .map(|name| format!("stop {name} at each of its calls, by ptrace"))
            .collect(),
        undo: vec![Undo::EndTracing(ProcessId::current())],
        ends: EndsBy::Kernel,
        until,
    })
}

fn plan_in_kernel(
    spec: &Spec,
    target: &Target,
    until: Until,
    engine: Engine,
) -> Result<Plan, SyscallError> {
    let told = engine.failures(std::slice::from_ref(spec), &spec.rules()?)?;
    engine.trial()?;
    let calls = told.rules.iter().map(|(call, _)| call.to_string());
    let calls = calls.collect::<Vec<_>>().join(", ");
    Ok(Plan {
        family: "syscall",
        fault: spec.to_string(),
        engine: engine.name().into(),
        targets: target.processes().map(name_of).collect(),
        changes: vec![format!(
            "have the kernel ask programs of Murphy's about {calls}"
        )],
        undo: vec![Undo::EndFailures { id: "new".into() }],
        ends: EndsBy::Kernel,
        until,
    })
}

fn table() -> Result<ProcessTable, SyscallError> {
    ProcessTable::read().map_err(SyscallError::Table)
}
