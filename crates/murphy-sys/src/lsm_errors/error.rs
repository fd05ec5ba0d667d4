//! Why calls cannot fail where the kernel asks its security modules.

use std::io;

use super::{Hook, Means};
use crate::failures::{PROCESSES_MAX, ProgramsError, RuleError};

/// Why.
#[derive(Debug, thiserror::Error)]
pub enum LsmEngineError {
    /// The programs are not written for this architecture.
    #[error(
        "have calls fail by LSM on {}: Murphy's BPF programs are built for x86_64 only",
        std::env::consts::ARCH
    )]
    Architecture,
    /// A rule is impossible.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// The kernel does not describe its types.
    #[error(
        "have calls fail by LSM: this kernel has no BTF, /sys/kernel/btf/vmlinux is missing (CONFIG_DEBUG_INFO_BTF)"
    )]
    NoBtf,
    /// Processes have other numbers here than the programs know them by.
    #[error(
        "have calls fail by LSM: this is not the first pid namespace of the machine; run Murphy outside of containers, or in one with its pids"
    )]
    PidNamespace,
    /// Security modules cannot be BPF programs.
    #[error(
        "have calls fail by LSM: this kernel has no security module for BPF programs (CONFIG_BPF_LSM)"
    )]
    NoLsm,
    /// That module is there, and not in use.
    #[error(
        "have calls fail by LSM: BPF is none of the security modules in use ({active}); boot with `lsm={active},bpf`"
    )]
    Inactive {
        /// Those that are, as the kernel lists them.
        active: String,
    },
    /// The same, and what is in use is not known.
    #[error(
        "have calls fail by LSM: BPF is none of the security modules in use; boot with `bpf` among those of `lsm=`, which `/sys/kernel/security/lsm` lists once securityfs is mounted"
    )]
    InactiveUnlisted,
    /// The kernel lets no program stand at a function.
    #[error(
        "have calls fail by {means}: this kernel refuses every BPF program at a function of its own (a trampoline), though others load: {source}; have calls about sockets fail by cgroup, and others by patched code"
    )]
    Trampolines {
        /// By which means.
        means: Means,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The kernel does not ask there.
    #[error(
        "have {} fail by {means}: this kernel has no {function}{}", hook.calls().join(", "), if function.contains("_path_") { " (CONFIG_SECURITY_PATH)" } else { "" }
    )]
    NoFunction {
        /// By which means.
        means: Means,
        /// For which hook.
        hook: Hook,
        /// The function.
        function: String,
    },
    /// The program was attached, and never asked.
    #[error("have calls fail by {means}: a program was attached, and not asked about a file")]
    NeverAsked {
        /// By which means.
        means: Means,
    },
    /// The kernel refused a program, a map, or their use.
    #[error(
        "have calls fail by LSM: {what}: {source}; it needs Linux 5.15 with BPF, and CAP_BPF with CAP_PERFMON or root"
    )]
    Refused {
        /// What.
        what: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Neither way works.
    #[error("{lsm}; and {fmod_ret}")]
    Neither {
        /// Why it does not as a security module.
        lsm: Box<Self>,
        /// Why it does not before those that there are.
        fmod_ret: Box<Self>,
    },
    /// More processes than fit.
    #[error("have calls fail by LSM: at most {PROCESSES_MAX} processes can be meant")]
    Processes,
}

impl LsmEngineError {
    /// Whether the other means would be refused as well.
    pub(super) fn is_of_both(&self) -> bool {
        match self {
            Self::Trampolines { .. } => true,
            Self::Refused { source, .. } => source.kind() == io::ErrorKind::PermissionDenied,
            _ => false,
        }
    }
}

impl From<ProgramsError> for LsmEngineError {
    fn from(error: ProgramsError) -> Self {
        match error {
            ProgramsError::Refused { what, source } => Self::Refused { what, source },
            ProgramsError::Rule(error) => error.into(),
            ProgramsError::Processes => Self::Processes,
        }
    }
}
