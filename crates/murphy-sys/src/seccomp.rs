//! What the filters of a process say to system calls that Murphy would make in its name (`seccomp(2)`): they are read as a tracer
//! may (`PTRACE_SECCOMP_GET_FILTER`), and run here.
//!
//! A filter sees the number of a call, its arguments, and from where it is made. What is not known of a call before it is made
//! (its descriptors, its addresses) a filter must not ask for: then it is not known what it says.

use std::{collections::BTreeSet, io, ptr, time::Duration};

use nix::libc::{self, sock_filter};

use crate::{
    process::{ProcessError, ProcessId, read_proc},
    syscalls::Call,
    tracee::{Stopped, TraceeError, Who, while_stopped},
};

/// `ptrace(2)`; since Linux 4.4, with `CONFIG_CHECKPOINT_RESTORE`.
const GET_FILTER: libc::c_uint = 0x420c;
/// More filters no process has: each is run at every call.
const FILTERS_MAX: usize = 256;
/// `AUDIT_ARCH_X86_64`.
const ARCHITECTURE: u32 = 0xc000_003e;
/// The length of `struct seccomp_data`.
const DATA_BYTES: u32 = 64;
/// What lets a call pass: `SECCOMP_RET_ALLOW`, and `SECCOMP_RET_LOG`, which tells of it.
const PASSING: [u32; 2] = [0x7fff_0000, 0x7ffc_0000];
const ACTION: u32 = 0xffff_0000;
/// What is known of the arguments of calls that stubs make.
const KNOWN: &[(&str, usize, u32)] = &[
    ("fcntl", 1, libc::F_GETFL as u32),
    ("access", 1, libc::F_OK as u32),
    ("nanosleep", 1, 0),
    ("tgkill", 2, libc::SIGPIPE as u32),
];

/// Whether seccomp lets a process make some calls, whatever their descriptors and addresses are. Not where a filter asks for those,
/// or cannot be read.
pub fn permits(
    process: ProcessId,
    calls: &BTreeSet<Call>,
    patience: Duration,
) -> Result<bool, TraceeError> {
    match mode_of(process.pid) {
        Ok(0) => return Ok(true),
        Ok(2) => {}
        Err(_) if !process.is_alive() => return Err(TraceeError::Gone(process)),
        // Strict, or not to be known.
        Ok(_) | Err(_) => return Ok(false),
    }
    let look = |stopped: &Stopped| {
        stopped.threads().all(|thread| {
            filters_of(thread).is_ok_and(|filters| {
                calls.iter().all(|call| {
                    let passes = |filter: &Vec<sock_filter>| {
                        run(filter, *call).is_some_and(|said| PASSING.contains(&(said & ACTION)))
                    };
                    filters.iter().all(passes)
                })
            })
        })
    };
    Ok(while_stopped(process, Who::Everybody, patience, look)?.0)
}

/// `Seccomp` of `proc_pid_status(5)`: 0 where nothing is filtered, 1 for the strict mode, 2 for filters.
fn mode_of(pid: u32) -> Result<u32, ProcessError> {
    let status = read_proc(pid, "status")?;
    let status = String::from_utf8_lossy(&status);
    let mode = status
        .lines()
        .find_map(|line| line.strip_prefix("Seccomp:"));
    // A kernel without it says nothing.
    Ok(mode.map_or(0, |mode| mode.trim().parse().unwrap_or(u32::MAX)))
}

/// The filters of a stopped thread.
fn filters_of(thread: i32) -> io::Result<Vec<Vec<sock_filter>>> {
    let ask = |number: usize, into: *mut sock_filter| {
        // SAFETY: the kernel writes as many instructions as it has said before, to where there is room for them, or none.
        let answer = unsafe { libc::ptrace(GET_FILTER, thread, number, into) };
        usize::try_from(answer).map_err(|_| io::Error::last_os_error())
    };
    let mut filters = Vec::new();
    while filters.len() < FILTERS_MAX {
        let length = match ask(filters.len(), ptr::null_mut()) {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(filters),
            length => length?,
        };
        let nothing = sock_filter {
            code: 0,
            jt: 0,
            jf: 0,
            k: 0,
        };
        let mut filter = vec![nothing; length];
        ask(filters.len(), filter.as_mut_ptr())?;
        filters.push(filter);
    }
    Err(io::ErrorKind::InvalidData.into())
}

/// What is at a place of `struct seccomp_data`; none for what is not known before.
fn data(call: Call, at: u32) -> Option<u32> {
    match at {
        0 => Some(call.number().into()),
        4 => Some(ARCHITECTURE),
        16..DATA_BYTES => {
            let argument = usize::try_from((at - 16) / 8).ok()?;
            let is_known =
                |known: &&(&str, usize, u32)| call.name() == Some(known.0) && argument == known.1;
            let known = KNOWN.iter().find(is_known)?;
            Some(if at.is_multiple_of(8) { known.2 } else { 0 })
        }
        _ => None,
    }
}

/// What a filter says to a call (`bpf(4)` of BSD, `linux/filter.h`); none where that depends on what is not known.
fn run(filter: &[sock_filter], call: Call) -> Option<u32> {
    let (mut a, mut x) = (Some(0_u32), Some(0_u32));
    let mut memory = [Some(0_u32); 16];
    let mut at = 0;
    // It only ever goes on.
    while let Some(instruction) = filter.get(at) {
        at += 1;
        let k = instruction.k;
        let code = u32::from(instruction.code);
        let slot = usize::try_from(k).unwrap_or(usize::MAX);
        let loaded = || match code & 0xe0 {
            libc::BPF_IMM => Some(Some(k)),
            libc::BPF_ABS => Some(data(call, k)),
            libc::BPF_MEM => memory.get(slot).copied(),
            libc::BPF_LEN => Some(Some(DATA_BYTES)),
            _ => None,
        };
        let operand = if code & libc::BPF_X == 0 { Some(k) } else { x };
        match code & 0x07 {
            libc::BPF_LD => a = loaded()?,
            libc::BPF_LDX => x = loaded()?,
            libc::BPF_ST => *memory.get_mut(slot)? = a,
            libc::BPF_STX => *memory.get_mut(slot)? = x,
            libc::BPF_ALU => {
                a = match code & 0xf0 {
                    0x80 => a.map(u32::wrapping_neg),
                    operation => match (a, operand) {
                        (Some(a), Some(b)) => Some(calculated(operation, a, b)?),
                        _ => None,
                    },
                }
            }
            libc::BPF_JMP => {
                let operation = code & 0xf0;
                let skipped = if operation == libc::BPF_JA {
                    k
                } else {
                    let (a, b) = (a?, operand?);
                    let is_so = match operation {
                        libc::BPF_JEQ => a == b,
                        libc::BPF_JGT => a > b,
                        libc::BPF_JGE => a >= b,
                        libc::BPF_JSET => a & b != 0,
                        _ => return None,
                    };
                    let skipped = if is_so {
                        instruction.jt
                    } else {
                        instruction.jf
                    };
                    skipped.into()
                };
                at = at.checked_add(usize::try_from(skipped).ok()?)?;
            }
            libc::BPF_RET => return if code & 0x18 == 0x10 { a } else { Some(k) },
            libc::BPF_MISC if code & 0xf8 == 0x80 => a = x,
            libc::BPF_MISC => x = a,
            _ => return None,
        }
    }
    None
}

/// What an operation of `BPF_ALU` comes to; none for one that there is not, or that the kernel refuses.
fn calculated(operation: u32, a: u32, b: u32) -> Option<u32> {
    match operation {
        0x00 => Some(a.wrapping_add(b)),
        0x10 => Some(a.wrapping_sub(b)),
        0x20 => Some(a.wrapping_mul(b)),
        0x30 => a.checked_div(b),
        0x40 => Some(a | b),
        0x50 => Some(a & b),
        0x60 => a.checked_shl(b),
        0x70 => a.checked_shr(b),
        0xa0 => Some(a ^ b),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::{
        sys::wait::waitpid,
        unistd::{ForkResult, Pid, fork},
    };

    use crate::pidfd::Pidfd;

    const ALLOW: u32 = 0x7fff_0000;
    const KILL: u32 = 0;

    fn instruction(code: u32, jt: u8, jf: u8, k: u32) -> sock_filter {
        let code = u16::try_from(code).unwrap();
        sock_filter { code, jt, jf, k }
    }

    fn load(at: u32) -> sock_filter {
        instruction(libc::BPF_LD | libc::BPF_ABS, 0, 0, at)
    }

    fn is_equal(to: u32, yes: u8, no: u8) -> sock_filter {
        instruction(libc::BPF_JMP | libc::BPF_JEQ, yes, no, to)
    }

    fn say(what: u32) -> sock_filter {
        instruction(libc::BPF_RET, 0, 0, what)
    }

    fn call(name: &str) -> Call {
        Call::named(name).unwrap()
    }

    /// One call ends the process, all others are let pass.
    fn without(name: &str) -> Vec<sock_filter> {
        let number = call(name).number().into();
        vec![load(0), is_equal(number, 0, 1), say(KILL), say(ALLOW)]
    }

    #[test]
    fn filters_say_what_the_kernel_would_have_them_say() {
        let filter = without("fstat");
        assert_eq!(run(&filter, call("fstat")), Some(KILL));
        assert_eq!(run(&filter, call("readlink")), Some(ALLOW));
        // The second argument, with arithmetic around it.
        let masked = [
            load(24),
            instruction(libc::BPF_ALU | 0x50, 0, 0, 0xff),
            instruction(libc::BPF_MISC, 0, 0, 0),
            instruction(libc::BPF_LD, 0, 0, 3),
            instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_X, 0, 1, 0),
            say(ALLOW),
            say(KILL),
        ];
        assert_eq!(run(&masked, call("fcntl")), Some(ALLOW), "F_GETFL is 3");
        assert_eq!(run(&masked, call("access")), Some(KILL));
        // A descriptor is not known before.
        assert_eq!(run(&masked, call("fstat")), None);
        let of_descriptor = [load(16), is_equal(1, 0, 1), say(ALLOW), say(KILL)];
        assert_eq!(run(&of_descriptor, call("fstat")), None);
        // What is not known and is not asked for does no harm.
        let unasked = [
            load(16),
            load(4),
            is_equal(ARCHITECTURE, 0, 1),
            say(ALLOW),
            say(KILL),
        ];
        assert_eq!(run(&unasked, call("fstat")), Some(ALLOW));
        assert_eq!(run(&[], call("fstat")), None);
        assert_eq!(run(&[instruction(0xffff, 0, 0, 0)], call("fstat")), None);
    }

    /// A process that waits, behind these filters.
    fn filtered(filters: &[Vec<sock_filter>]) -> (Pid, ProcessId) {
        let (reader, writer) = io::pipe().unwrap();
        // SAFETY: the child only makes system calls, and never returns.
        match unsafe { fork() }.unwrap() {
            ForkResult::Child => {
                // SAFETY: as above; what the kernel reads outlives the calls.
                unsafe {
                    libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
                    for filter in filters {
                        let program = libc::sock_fprog {
                            len: u16::try_from(filter.len()).unwrap_or(0),
                            filter: filter.as_ptr().cast_mut(),
                        };
                        libc::prctl(
                            libc::PR_SET_SECCOMP,
                            libc::SECCOMP_MODE_FILTER,
                            &raw const program,
                        );
                    }
                    libc::write(
                        std::os::fd::AsRawFd::as_raw_fd(&writer),
                        b"x".as_ptr().cast(),
                        1,
                    );
                    loop {
                        libc::pause();
                    }
                }
            }
            ForkResult::Parent { child } => {
                let mut ready = [0];
                io::Read::read_exact(&mut &reader, &mut ready).unwrap();
                (child, ProcessId::of(child.as_raw().unsigned_abs()).unwrap())
            }
        }
    }

    #[test]
    fn filters_of_processes_are_read_and_respected() {
        let patience = Duration::from_secs(5);
        let calls = |names: &[&str]| names.iter().map(|name| call(name)).collect();
        for (filters, permitted) in [
            (vec![], [true, true]),
            (vec![without("fstat")], [false, true]),
            (vec![without("readlink"), without("fstat")], [false, false]),
        ] {
            let (pid, process) = filtered(&filters);
            let asked = ["fstat", "readlink"];
            let said = asked.map(|name| permits(process, &calls(&[name]), patience).unwrap());
            let ended = Pidfd::open(process).unwrap();
            ended.send("KILL".parse().unwrap()).unwrap();
            waitpid(pid, None).unwrap();
            assert_eq!(said, permitted);
        }
    }
}
