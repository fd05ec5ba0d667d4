//! Who shares a process's memory runs the same code and is not stopped with it: between `vfork` and `execve` a child
//! does for a moment, and who was made with `CLONE_VM` for ever. See `clone(2)`, `kcmp(2)`.

use std::{
    fs,
    thread::sleep,
    time::{Duration, Instant},
};

use nix::libc;

use crate::process::ProcessId;

/// `KCMP_VM` of `kcmp(2)`.
const KCMP_VM: libc::c_int = 1;
/// How long between two looks.
const PAUSE: Duration = Duration::from_micros(500);

/// Another process runs the same memory and would not be stopped with it.
#[derive(Debug, thiserror::Error)]
#[error(
    "patch {process}: it shares its memory with pid {with}, which would run on while it is patched (CLONE_VM)"
)]
pub struct Shared {
    /// The process.
    pub process: ProcessId,
    /// Its relative.
    pub with: u32,
}

/// Waits until the process has its memory for itself.
pub(crate) fn wait_until_alone(process: ProcessId, patience: Duration) -> Result<(), Shared> {
    let until = Instant::now() + patience;
    while let Some(with) = sharer(process) {
        if Instant::now() > until {
            return Err(Shared { process, with });
        }
        sleep(PAUSE);
    }
    Ok(())
}

/// Its parent or a child of it, if that has the same memory.
fn sharer(process: ProcessId) -> Option<u32> {
    let parent = process.stat()?.parent;
    let mut relatives = children(process.pid);
    relatives.push(parent);
    relatives
        .into_iter()
        .find(|relative| *relative != 0 && shares(process.pid, *relative))
}

fn children(pid: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten();
    let lists = threads
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists
        .flat_map(|list| {
            let pids = list.split_ascii_whitespace().map(str::parse);
            pids.filter_map(Result::ok).collect::<Vec<_>>()
        })
        .collect()
}

/// Not so where the kernel cannot tell: `kcmp` is missing from some.
fn shares(one: u32, other: u32) -> bool {
    // SAFETY: it takes plain numbers and changes nothing.
    let same = unsafe { libc::syscall(libc::SYS_kcmp, one, other, KCMP_VM, 0, 0) };
    same == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_child_of_its_own_shares_nothing_and_a_process_shares_with_itself() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let process = ProcessId::of(child.id()).unwrap();
        wait_until_alone(process, Duration::from_secs(5)).unwrap();
        assert!(shares(child.id(), child.id()));
        assert!(children(std::process::id()).contains(&child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
