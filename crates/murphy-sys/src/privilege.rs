//! A privilege is something the kernel lets the calling process do beyond its own files: root or single
//! capabilities.
//!
//! See `capabilities(7)`.

use crate::process::{ProcessError, read_proc, status_field};

/// Capabilities that faults ask for, with their bit.
const CAPABILITIES: [(u32, &str); 9] = [
    (5, "CAP_KILL"),
    (12, "CAP_NET_ADMIN"),
    (13, "CAP_NET_RAW"),
    (19, "CAP_SYS_PTRACE"),
    (21, "CAP_SYS_ADMIN"),
    (24, "CAP_SYS_RESOURCE"),
    (25, "CAP_SYS_TIME"),
    (38, "CAP_PERFMON"),
    (39, "CAP_BPF"),
];

/// What the calling process may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Privileges {
    /// Its effective user.
    pub user: u32,
    effective: u64,
}

impl Privileges {
    /// Asks the kernel.
    pub fn current() -> Result<Self, ProcessError> {
        let pid = std::process::id();
        let status = read_proc(pid, "status")?;
        let effective = status_field(&status, "CapEff")
            .and_then(|hex| u64::from_str_radix(hex, 16).ok())
            .ok_or_else(|| ProcessError::Format {
                path: format!("/proc/{pid}/status").into(),
            })?;
        Ok(Self {
            user: user(),
            effective,
        })
    }

    /// Whether it is root by name; a root in a container may still lack capabilities.
    pub fn is_root(&self) -> bool {
        self.user == 0
    }

    /// The capabilities faults ask for that it does not have.
    pub fn missing(&self) -> Vec<&'static str> {
        CAPABILITIES
            .iter()
            .filter(|(bit, _)| self.effective & (1 << bit) == 0)
            .map(|(_, name)| *name)
            .collect()
    }
}

/// The effective user of the calling process.
pub fn user() -> u32 {
    rustix::process::geteuid().as_raw()
}
