//! A protected process is one that Murphy never hits, whatever a selector says.

use std::{collections::BTreeSet, fmt};

use murphy_sys::{
    process::{ProcessId, Stat},
    table::ProcessTable,
};
use serde::Serialize;

/// Why a process is never hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protection {
    /// Pid 1: the machine or the container ends with it.
    First,
    /// A part of the kernel; signals do not reach it.
    KernelThread,
    /// Murphy would end its own fault.
    Murphy,
    /// It ends faults that Murphy cannot end.
    Keeper,
    /// Murphy runs under it: a shell, a terminal, a service manager.
    Ancestor,
}

impl fmt::Display for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::First => "the first process of this machine or container",
            Self::KernelThread => "a kernel thread",
            Self::Murphy => "Murphy itself",
            Self::Keeper => "Murphy's keeper",
            Self::Ancestor => "an ancestor of Murphy",
        })
    }
}

/// Whom no selector reaches.
#[derive(Clone, Debug)]
pub struct Protected {
    murphy: u32,
    ancestors: Vec<u32>,
    keepers: BTreeSet<ProcessId>,
}

impl Protected {
    /// The calling Murphy and those it runs under, as `table` shows them.
    pub fn around_murphy(table: &ProcessTable) -> Self {
        let murphy = std::process::id();
        Self {
            murphy,
            ancestors: table.ancestors(murphy),
            keepers: BTreeSet::new(),
        }
    }

    /// Protects keepers too.
    #[must_use]
    pub fn with_keepers(mut self, keepers: impl IntoIterator<Item = ProcessId>) -> Self {
        self.keepers.extend(keepers);
        self
    }

    /// Why `process` is never hit; `None` when it may be.
    pub fn why(&self, process: &Stat) -> Option<Protection> {
        if process.pid == 1 {
            Some(Protection::First)
        } else if process.is_kernel_thread() {
            Some(Protection::KernelThread)
        } else if process.pid == self.murphy {
            Some(Protection::Murphy)
        } else if self.keepers.contains(&process.id()) {
            Some(Protection::Keeper)
        } else if self.ancestors.contains(&process.pid) {
            Some(Protection::Ancestor)
        } else {
            None
        }
    }
}
