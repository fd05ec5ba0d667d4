//! LSM errors are calls that the kernel asks its security modules about, and that BPF programs have fail in their place.
//!
//! They are of the processes that are [watched](LsmErrors::watch), with their children. Others pay for a look at the number of
//! a process, at those hooks only that rules are about. The programs are a security module of their own where BPF is one of
//! those that the kernel was booted with; elsewhere they stand before the functions that ask all modules
//! ([`Means`]). See [`failures`](crate::failures) for what the rules are, and what is counted.
//!
//! What that is not:
//!
//! - A call fails where the kernel asks, which is behind what it checks first: a file that is not there, a descriptor that is
//!   none. An open that is to make a file is asked about before it is made, so that none is left; one whose file a network or
//!   FUSE file system only pretends not to have may be asked about a second time, when it is open.
//! - What is read and written by a socket passes [`Hook::Read`] and [`Hook::Write`] as that of a file does, unless the scope
//!   is of some kinds. With `EPIPE` comes `SIGPIPE`, as at a socket or a pipe, unless the call says that it wants none.
//! - Nobody is asked about `fsync`, `close`, `lseek`, `dup`, `pipe`, `poll`, `epoll_wait`, `futex` or `nanosleep`; nor are
//!   `sendfile`, `splice`, `copy_file_range`, `statfs` and `mprotect` covered, about which it asks more than once.
//! - A program that is executed is read by the kernel, and mapped: those are no calls, and do not fail.
//!
//! Needs Linux 5.15 with BTF (`CONFIG_DEBUG_INFO_BTF`), a kernel that lets programs stand at its functions (trampolines),
//! `CONFIG_SECURITY_PATH` for calls by path, `CAP_BPF` and `CAP_PERFMON`, or root, in the machine's own pid namespace.
//! Everything is held by links of this process, and the kernel takes it off when that ends. See `bpf/failing_hooks.h`, and the
//! kernel's `Documentation/bpf/prog_lsm.rst`.

mod error;
mod hook;
mod means;

pub use error::LsmEngineError;
pub use hook::{Hook, covers};
pub use means::{Means, trial, trial_at};

use std::fmt;

use libbpf_rs::Link;

use crate::failures::{Counts, Order, Programs, Rule, RuleError, Whose, hooks_of};
use means::needed_by;

/// What this engine is called.
pub const ENGINE: &str = "lsm";

/// Has calls fail as long as it is here.
pub struct LsmErrors {
    means: Means,
    /// Dropped before what they belong to.
    links: Vec<Link>,
    programs: Programs<Hook>,
}

// SAFETY: libbpf binds no link to a thread, and no other owner of the pointers inside is left outside: `LsmErrors` gives
// none of them away.
unsafe impl Send for LsmErrors {}

impl fmt::Debug for LsmErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LsmErrors")
            .field("means", &self.means)
            .field("rules", &self.programs.rules())
            .field("links", &self.links.len())
            .finish_non_exhaustive()
    }
}

impl LsmErrors {
    /// Has calls fail from now on; nobody's, until somebody is [watched](Self::watch). Programs are loaded for those that rules
    /// are about, and for no others. The means are those that this kernel has been seen to have.
    pub fn attach(order: &Order, rules: &[Rule]) -> Result<Self, LsmEngineError> {
        // What is wrong with a rule is so on every kernel.
        hooks_of::<Hook>(rules)?;
        Self::attach_by(Means::find()?, order, rules)
    }

    /// The same by means that the caller knows.
    pub fn attach_by(means: Means, order: &Order, rules: &[Rule]) -> Result<Self, LsmEngineError> {
        Self::attach_at(means, hooks_of(rules)?, order, rules)
    }

    fn attach_at(
        means: Means,
        hooks: impl IntoIterator<Item = Hook>,
        order: &Order,
        rules: &[Rule],
    ) -> Result<Self, LsmEngineError> {
        let functions = needed_by(means, hooks)?;
        let names: Vec<String> = functions.into_iter().map(program_of).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let programs = Programs::load(means.object()?, &names, Whose::Family, order, rules)
            .map_err(|error| means.explain(error))?;
        let links: Result<_, _> = names.iter().map(|name| programs.attach(name)).collect();
        Ok(Self {
            means,
            links: links.map_err(|error| means.explain(error))?,
            programs,
        })
    }

    /// By which means it does it.
    pub fn means(&self) -> Means {
        self.means
    }

    /// Watches a process, with all whom it bears from then on. Those born before are to be watched, too.
    pub fn watch(&self, pid: u32) -> Result<(), LsmEngineError> {
        Ok(self.programs.watch(pid)?)
    }

    /// Watches a process no longer; its children stay.
    pub fn forget(&self, pid: u32) -> Result<(), LsmEngineError> {
        Ok(self.programs.forget(pid)?)
    }

    /// The pids of everyone who is watched and lives, in order.
    pub fn members(&self) -> Result<Vec<u32>, LsmEngineError> {
        Ok(self.programs.members()?)
    }

    /// How many were born that there was no room for: their calls go on.
    pub fn lost(&self) -> u64 {
        self.programs.lost()
    }

    /// What each rule has counted, in their order.
    pub fn counts(&self) -> Result<Vec<Counts>, LsmEngineError> {
        Ok(self.programs.counts()?)
    }

    /// The rules as they are now.
    pub fn rules(&self) -> &[Rule] {
        self.programs.rules()
    }

    /// Changes a rule, by its place; what it has counted stays. A call of another hook than those of the rules that were
    /// attached is refused.
    pub fn update(&mut self, place: usize, rule: Rule) -> Result<(), LsmEngineError> {
        Ok(self.programs.update(place, rule)?)
    }

    /// Changes how likely calls fail, in 2³², by the place of their rule.
    pub fn set_chance(&mut self, place: usize, chance: u64) -> Result<(), LsmEngineError> {
        Ok(self.programs.set_chance(place, chance)?)
    }

    /// Goes on, or pauses: none fails, or is counted.
    pub fn set_active(&mut self, active: bool) -> Result<(), LsmEngineError> {
        Ok(self.programs.set_active(active)?)
    }
}

/// Whether it can do what rules say, on a kernel that has what it needs.
pub fn check(rules: &[Rule]) -> Result<(), RuleError> {
    hooks_of::<Hook>(rules).map(drop)
}

/// What the program at a function is called.
fn program_of(function: &str) -> String {
    format!("murphy_{function}")
}
