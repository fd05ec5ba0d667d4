//! Program runs are how often the kernel has run a BPF program, and how long that took.
//!
//! The kernel counts them only while somebody asks for it, for all programs of the machine: two readings of a clock for
//! each run. Needs Linux 5.8 and `CAP_SYS_ADMIN`. See `BPF_ENABLE_STATS` in bpf(2).

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use libbpf_rs::Object;
use serde::Serialize;

/// Why runs are not counted.
#[derive(Debug, thiserror::Error)]
#[error(
    "count what the BPF programs cost: {0}; it needs Linux 5.8 with BPF, and CAP_SYS_ADMIN or root"
)]
pub struct ProgramRunsError(#[source] io::Error);

/// How often a program has run while that was counted, and for how long.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ProgramRuns {
    /// What the program is called.
    pub name: String,
    /// How often it has run, for namespaces that nobody watches, too.
    pub runs: u64,
    /// How long that took, together, in nanoseconds.
    pub ns: u64,
}

/// Has the kernel count, as long as this is here.
#[derive(Debug)]
pub struct Counting {
    _descriptor: OwnedFd,
}

impl Counting {
    /// Begins to count.
    pub fn begin() -> Result<Self, ProgramRunsError> {
        // SAFETY: it takes a number and returns a descriptor, or the negative number of an error.
        let descriptor = unsafe { libbpf_sys::bpf_enable_stats(libbpf_sys::BPF_STATS_RUN_TIME) };
        if descriptor < 0 {
            let error = io::Error::from_raw_os_error(-descriptor);
            return Err(ProgramRunsError(error));
        }
        // SAFETY: the kernel has just made this descriptor, and nobody else knows it.
        let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor) };
        Ok(Self {
            _descriptor: descriptor,
        })
    }
}

/// The runs of each program of an object that was loaded.
pub(crate) fn of(object: &Object) -> Vec<ProgramRuns> {
    // Who was not loaded has no descriptor.
    let loaded = object
        .progs()
        .filter(|program| program.as_fd().as_raw_fd() >= 0);
    let runs = loaded.filter_map(|program| {
        let info = info(program.as_fd()).ok()?;
        Some(ProgramRuns {
            name: program.name().to_string_lossy().into_owned(),
            runs: info.run_cnt,
            ns: info.run_time_ns,
        })
    });
    runs.collect()
}

/// What the kernel says of a program.
pub(crate) fn info(program: BorrowedFd<'_>) -> io::Result<libbpf_sys::bpf_prog_info> {
    let mut info = libbpf_sys::bpf_prog_info::default();
    let mut bytes = u32::try_from(size_of_val(&info)).map_err(io::Error::other)?;
    // SAFETY: the kernel writes at most so many bytes to `info`, which lives until the call returns, and follows none of
    // the pointers in it, as the lengths beside them are 0.
    let asked = unsafe {
        libbpf_sys::bpf_prog_get_info_by_fd(program.as_raw_fd(), &raw mut info, &raw mut bytes)
    };
    if asked < 0 {
        return Err(io::Error::from_raw_os_error(-asked));
    }
    Ok(info)
}
