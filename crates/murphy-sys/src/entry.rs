//! The entry of a program is its first instruction: the dynamic loader's, where it has one.
//!
//! Who is stopped there has executed a program and done nothing yet. Nobody stops there by chance, so that a process
//! which was stopped at its `execve` is known by it. See `auxv` in `proc_pid_auxv(5)` and `proc_pid_syscall(5)`.

use crate::{
    memory::Memory,
    process::{ProcessId, State, auxiliary, read_proc},
};

/// Where the dynamic loader is; 0 or missing without one.
const AT_BASE: u64 = 7;
/// Where the program begins.
const AT_ENTRY: u64 = 9;
/// Where a 64-bit ELF header says so.
const E_ENTRY: u64 = 24;

/// Whether a process is stopped, and has not run the first instruction of its program.
pub fn is_before_first_instruction(process: ProcessId) -> bool {
    let stopped = process
        .stat()
        .is_some_and(|stat| stat.state == State::Stopped);
    stopped && program_counter(process.pid).is_some_and(|at| first(process) == Some(at))
}

fn program_counter(pid: u32) -> Option<u64> {
    let text = String::from_utf8(read_proc(pid, "syscall").ok()?).ok()?;
    let last = text.split_ascii_whitespace().next_back()?;
    u64::from_str_radix(last.strip_prefix("0x")?, 16).ok()
}

fn first(process: ProcessId) -> Option<u64> {
    match auxiliary(process.pid, AT_BASE) {
        None | Some(0) => auxiliary(process.pid, AT_ENTRY),
        Some(loader) => {
            let memory = Memory::open(process).ok()?;
            let bytes = memory.read(loader + E_ENTRY, 8).ok()?;
            Some(loader + u64::from_ne_bytes(bytes.try_into().ok()?))
        }
    }
}
