//! An injection of system calls in force, by whichever engine.

use std::time::Duration;

use murphy_target::Target;

use super::{
    SyscallError,
    engine::Engine,
    failing::Failing,
    spec::Spec,
    tampering::{Begin, Tampered, Tampering},
    tracing::Tracing,
};
use crate::{injector::Injector, span::Until};

/// One of them.
#[derive(Debug)]
pub enum Injection {
    /// In the code of the target.
    Patched(Box<Tampering>),
    /// By programs in the kernel.
    Failing(Box<Failing>),
    /// By whoever traces it.
    Traced(Box<Tracing>),
}

impl Injection {
    /// Begins it, by all of `specs` together. The way back is on disk before; an error, and nothing changed, where nobody can be hit.
    pub fn begin(
        injector: &Injector,
        target: &Target,
        names: &[String],
        specs: &[Spec],
        until: Until,
        seed: u64,
        (engine, begin): (Engine, Begin),
    ) -> Result<Self, SyscallError> {
        specs.iter().try_for_each(|spec| engine.check(spec))?;
        Ok(match engine {
            Engine::Patch => Self::Patched(Box::new(Tampering::inject(
                injector, target, names, specs, until, seed, begin,
            )?)),
            Engine::Ptrace => Self::Traced(Box::new(Tracing::inject(
                injector, target, names, specs, until, seed, begin,
            )?)),
            engine => Self::Failing(Box::new(Failing::inject(
                injector,
                target,
                names,
                specs,
                until,
                seed,
                (engine, begin),
            )?)),
        })
    }

    /// Its id.
    pub fn id(&self) -> &str {
        match self {
            Self::Patched(one) => one.id(),
            Self::Failing(one) => one.id(),
            Self::Traced(one) => one.id(),
        }
    }

    /// Whether somebody else has ended it.
    pub fn is_over(&self) -> bool {
        match self {
            Self::Patched(one) => one.is_over(),
            Self::Failing(one) => one.is_over(),
            Self::Traced(one) => one.is_over(),
        }
    }

    /// Whether nobody is left whom it hits, and nobody will come.
    pub fn is_deserted(&self) -> bool {
        match self {
            Self::Patched(one) => one.is_deserted(),
            Self::Failing(one) => one.is_deserted(),
            Self::Traced(one) => one.is_deserted(),
        }
    }

    /// How long until its end; `Duration::MAX` for one without.
    pub fn left(&self) -> Duration {
        match self {
            Self::Patched(one) => one.left(),
            Self::Failing(one) => one.left(),
            Self::Traced(one) => one.left(),
        }
    }

    /// How long at most until [`Injection::follow`] must be called again.
    pub fn due_in(&self) -> Duration {
        match self {
            Self::Patched(one) => one.due_in(),
            Self::Failing(one) => one.due_in(),
            Self::Traced(one) => one.due_in(),
        }
    }

    /// Takes in who came into the target.
    pub fn follow(&mut self) -> Result<(), SyscallError> {
        match self {
            Self::Patched(one) => one.follow(),
            Self::Failing(one) => one.follow(),
            Self::Traced(one) => one.follow(),
        }
    }

    /// What it has done so far, and tells the journal.
    pub fn say(&mut self) -> Tampered {
        match self {
            Self::Patched(one) => one.say(),
            Self::Failing(one) => one.say(),
            Self::Traced(one) => one.say(),
        }
    }

    /// Ends it, with what it has done.
    pub fn end(self) -> Tampered {
        match self {
            Self::Patched(one) => one.end(),
            Self::Failing(one) => one.end(),
            Self::Traced(one) => one.end(),
        }
    }
}
