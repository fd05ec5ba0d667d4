//! Stubs are run: at a site of their own, in this process, with every register filled.

use std::{
    ffi::CString,
    fs,
    io::Read,
    mem::transmute,
    os::fd::{AsRawFd, FromRawFd},
    ptr,
    time::{Duration, Instant},
};

use iced_x86::code_asm::{
    AsmRegister64, CodeAssembler, eax, qword_ptr, r8, r9, r10, r11, r12, r13, r14, r15, rax, rbp,
    rbx, rcx, rdi, rdx, rsi, rsp,
};
use nix::{
    libc,
    sys::{
        signal::Signal,
        wait::{WaitStatus, waitpid},
    },
    unistd::{ForkResult, fork},
};

use super::{
    Act, Lease, Only, Pick, Rule, Sites, Stub, StubError,
    stub::{CHANCES_AT, COUNTS_AT, DEADLINE_AT, MARK, OWNER_AT, RULES_AT},
};
use crate::{arch, syscalls::Call};

const PAGE: usize = 4096;
/// What every call is made with but where it says otherwise.
pub(super) const SURE: u64 = 1 << 32;
pub(super) const NEVER: u64 = u64::MAX;
/// Where in the first page hits are counted.
const COUNTS: u64 = 3072;
/// All that a call keeps, in the order in which they are filled and read.
const KEPT: [AsmRegister64; 12] = [rbx, rbp, rdi, rsi, rdx, r8, r9, r10, r12, r13, r14, r15];
/// The first of them that are arguments of calls.
pub(super) const FIRST: usize = 2;
/// How much below the stack pointer is the program's.
const RED_ZONE: usize = 128;

/// A page with a function that fills every register, comes to a site, and tells what is there afterwards; and a page for the
/// stub.
pub(super) struct Patched {
    pages: *mut u8,
    enter: usize,
}

/// What was there after a call.
pub(super) struct After {
    pub(super) result: i64,
    pub(super) kept: [u64; KEPT.len()],
}

impl Patched {
    /// Makes a call by its number, patched with some rules.
    pub(super) fn new(number: libc::c_long, rules: &[Rule], deadline: u64) -> Self {
        Self::with(Some(number), rules, deadline)
    }

    /// The same where no number is known before: it is in `rax` already.
    pub(super) fn with(number: Option<libc::c_long>, rules: &[Rule], deadline: u64) -> Self {
        let all = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping, wherever the kernel wants it.
        let pages = unsafe { libc::mmap(ptr::null_mut(), 2 * PAGE, all, flags, -1, 0) };
        assert_ne!(pages, libc::MAP_FAILED);
        let pages: *mut u8 = pages.cast();
        let at = pages.addr() as u64;
        let function = function(number, at);
        let enter = function.0;
        let mut sites = Sites::default();
        sites.look(at, &function.1);
        let [site] = &sites.fit[..] else {
            panic!("{sites:?}");
        };
        let stub_at = at + PAGE as u64;
        let lease = Lease {
            deadline,
            owner: 5,
            seed: 7,
        };
        let counts = Some(at + COUNTS);
        let stub = Stub::write(stub_at, 0, &sites.fit, rules, lease, counts).expect("it fits");
        let word = |at: u64| {
            let at = usize::try_from(at).expect("it is small");
            u64::from_le_bytes(*stub.bytes[at..].first_chunk().expect("it is there"))
        };
        assert!(stub.bytes.starts_with(&MARK));
        assert_eq!((word(DEADLINE_AT), word(OWNER_AT)), (deadline, 5));
        assert_eq!(word(COUNTS_AT), at + COUNTS);
        assert_eq!(word(RULES_AT) & u64::from(u32::MAX), rules.len() as u64);
        assert_eq!(word(CHANCES_AT), rules[0].chance);
        assert!(stub.bytes.len() <= PAGE);
        let mut patched = function.1;
        let jump = arch::jump(site.at, stub.entries[0]).expect("it is near");
        let place = usize::try_from(site.at - at).expect("it is in the page");
        patched[place..place + jump.len()].copy_from_slice(&jump);
        for (place, bytes) in [(0, &patched), (PAGE, &stub.bytes)] {
            // SAFETY: both fit into their pages, which are this one's alone and are not run yet.
            unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), pages.add(place), bytes.len()) };
        }
        Self { pages, enter }
    }

    /// Makes the call.
    pub(super) fn call(&self, arguments: [u64; 3]) -> After {
        self.call_number(arguments, 0)
    }

    pub(super) fn call_number(&self, arguments: [u64; 3], number: libc::c_long) -> After {
        self.entry().call_number(arguments, number)
    }

    /// Where it is called, for any thread, as long as this lives.
    pub(super) fn entry(&self) -> Entry {
        Entry(self.pages.addr() + self.enter)
    }

    /// How often each rule has hit.
    pub(super) fn hits(&self, rules: usize) -> Vec<u64> {
        self.counts(rules)
            .into_iter()
            .map(|[hits, ..]| hits)
            .collect()
    }

    /// What came of the calls of each rule.
    fn counts(&self, rules: usize) -> Vec<[u64; 3]> {
        let at = usize::try_from(COUNTS).expect("it is small");
        let word = |place: usize| {
            // SAFETY: they are in the page, aligned, and nobody writes there any more.
            unsafe {
                self.pages
                    .add(at + 8 * place)
                    .cast::<u64>()
                    .read_unaligned()
            }
        };
        let rules = (0..rules).map(|rule| std::array::from_fn(|place| word(4 * rule + place)));
        rules.collect()
    }

    /// What many calls come to: how many have failed with an errno. No other failure may be.
    fn failed(&self, times: u32, arguments: [u64; 3], errno: i32) -> u32 {
        let results = (0..times).map(|_| self.call(arguments).result);
        let mut failed = 0;
        for result in results {
            assert!(result >= 0 || result == -i64::from(errno), "{result}");
            failed += u32::from(result < 0);
        }
        failed
    }
}

/// Where a function of [`Patched`] begins.
#[derive(Clone, Copy)]
pub(super) struct Entry(usize);

impl Entry {
    /// Makes a call.
    pub(super) fn call_number(self, arguments: [u64; 3], number: libc::c_long) -> After {
        let mut filled: [u64; KEPT.len() + 1] =
            std::array::from_fn(|place| 0x1234_5678_0000_0000 + place as u64);
        filled[FIRST..FIRST + 3].copy_from_slice(&arguments);
        filled[KEPT.len()] = number.cast_unsigned();
        let mut told = [0_u64; KEPT.len() + 2];
        // SAFETY: the function that was written there has this signature, and keeps what C wants to be kept.
        let enter: extern "C" fn(*const u64, *mut u64) = unsafe { transmute(self.0 as *const u8) };
        enter(filled.as_ptr(), told.as_mut_ptr());
        let kept: [u64; KEPT.len()] = *told.first_chunk().expect("it is as long");
        assert_eq!(kept[..], filled[..KEPT.len()], "a call keeps these");
        assert_eq!(told[KEPT.len() + 1], 0, "what is below the stack is kept");
        After {
            result: told[KEPT.len()].cast_signed(),
            kept,
        }
    }
}

impl Drop for Patched {
    fn drop(&mut self) {
        // SAFETY: the mapping is this one's, and nobody runs there any more.
        unsafe { libc::munmap(self.pages.cast(), 2 * PAGE) };
    }
}

/// `extern "C" fn(filled: *const u64, told: *mut u64)`, and where it begins.
fn function(number: Option<libc::c_long>, at: u64) -> (usize, Vec<u8>) {
    let write = || {
        let mut code = CodeAssembler::new(64)?;
        let kept = [rbx, rbp, r12, r13, r14, r15];
        for register in kept {
            code.push(register)?;
        }
        code.push(rsi)?;
        // The red zone is filled with what is told of afterwards.
        for place in (8..=RED_ZONE).step_by(8) {
            code.mov(rax, i64::try_from(place).expect("it is small"))?;
            code.mov(qword_ptr(rsp - place), rax)?;
        }
        code.mov(r11, rdi)?;
        for (place, register) in KEPT.into_iter().enumerate() {
            code.mov(register, qword_ptr(r11 + 8 * place))?;
        }
        if let Some(number) = number {
            code.mov(eax, i32::try_from(number).expect("it is small"))?;
        } else {
            code.mov(rax, qword_ptr(r11 + 8 * KEPT.len()))?;
            code.mov(rcx, rdx)?;
            code.mov(rcx, rax)?;
        }
        code.syscall()?;
        code.mov(r11, qword_ptr(rsp))?;
        for (place, register) in KEPT.into_iter().enumerate() {
            code.mov(qword_ptr(r11 + 8 * place), register)?;
        }
        code.mov(qword_ptr(r11 + 8 * KEPT.len()), rax)?;
        for place in (8..=RED_ZONE).step_by(8) {
            code.mov(rax, qword_ptr(rsp - place))?;
            code.sub(rax, i32::try_from(place).expect("it is small"))?;
            code.or(qword_ptr(r11 + 8 * (KEPT.len() + 1)), rax)?;
        }
        code.pop(rsi)?;
        for register in kept.into_iter().rev() {
            code.pop(register)?;
        }
        code.ret()?;
        code.assemble(at)
    };
    (0, write().expect("these are instructions"))
}

pub(super) fn rule(call: libc::c_long, chance: u64, act: Act) -> Rule {
    Rule {
        call: u32::try_from(call).expect("it is small"),
        chance,
        only: Vec::new(),
        pick: Pick::Each,
        act,
    }
}

fn errno(number: i32) -> Act {
    Act::Fail(u16::try_from(number).expect("it is small"))
}

fn descriptor(file: &impl AsRawFd) -> u64 {
    u64::try_from(file.as_raw_fd()).expect("it is open")
}

/// A file in a directory of its own, and one byte to be written.
fn file() -> (tempfile::TempDir, fs::File) {
    let directory = tempfile::tempdir().expect("a directory");
    let file = fs::File::create(directory.path().join("file")).expect("it can be made");
    (directory, file)
}

fn bytes(text: &'static [u8]) -> u64 {
    text.as_ptr().addr() as u64
}

fn length(file: &fs::File) -> u64 {
    file.metadata().expect("it is open").len()
}

#[test]
fn a_call_that_fails_is_not_made() {
    let (_directory, file) = file();
    let patched = Patched::new(
        libc::SYS_write,
        &[rule(libc::SYS_write, SURE, errno(libc::ENOSPC))],
        NEVER,
    );
    let after = patched.call([descriptor(&file), bytes(b"murphy"), 6]);
    assert_eq!(after.result, -i64::from(libc::ENOSPC));
    assert_eq!(after.kept[FIRST + 2], 6);
    assert_eq!(length(&file), 0);
}

#[test]
fn as_many_fail_as_were_asked_for() {
    let (_directory, file) = file();
    for (chance, share) in [(0, 0.0), (SURE / 100, 0.01), (SURE / 4, 0.25), (SURE, 1.0)] {
        let rules = [rule(libc::SYS_write, chance, errno(libc::EIO))];
        let patched = Patched::new(libc::SYS_write, &rules, NEVER);
        let times = 20_000_u32;
        let failed = patched.failed(times, [descriptor(&file), bytes(b"x"), 1], libc::EIO);
        assert_eq!(patched.counts(1), [[failed, times, 0].map(u64::from)]);
        let times = f64::from(times);
        // Four standard deviations of a binomial distribution.
        let within = 4.0 * (times * share * (1.0 - share)).sqrt();
        let off = (f64::from(failed) - times * share).abs();
        assert!(off <= within, "{failed} of {times} at {share}");
    }
}

#[test]
fn behind_its_deadline_every_call_is_made() {
    let (_directory, file) = file();
    let rules = [rule(libc::SYS_write, SURE, errno(libc::EIO))];
    let patched = Patched::new(libc::SYS_write, &rules, 1);
    assert_eq!(
        patched.failed(100, [descriptor(&file), bytes(b"x"), 1], libc::EIO),
        0
    );
    assert_eq!(length(&file), 100);
}

#[test]
fn of_a_site_that_makes_any_call_only_those_with_a_rule_fail() {
    let (_directory, file) = file();
    let rules = [
        rule(libc::SYS_fsync, SURE, errno(libc::EIO)),
        rule(libc::SYS_write, SURE, errno(libc::ENOSPC)),
    ];
    let patched = Patched::with(None, &rules, NEVER);
    let call = |number| {
        patched
            .call_number([descriptor(&file), bytes(b"x"), 1], number)
            .result
    };
    assert_eq!(call(libc::SYS_fsync), -i64::from(libc::EIO));
    assert_eq!(call(libc::SYS_write), -i64::from(libc::ENOSPC));
    assert_eq!(call(libc::SYS_fdatasync), 0);
    assert_eq!(call(libc::SYS_getpid), i64::from(std::process::id()));
    assert_eq!(call(libc::SYS_write), -i64::from(libc::ENOSPC));
    assert_eq!(patched.hits(2), [1, 2]);
}

#[test]
fn what_came_of_a_call_can_be_lost() {
    let (_directory, file) = file();
    let act = Act::FailAfter(u16::try_from(libc::EIO).expect("it is small"));
    let patched = Patched::new(libc::SYS_write, &[rule(libc::SYS_write, SURE, act)], NEVER);
    let after = patched.call([descriptor(&file), bytes(b"murphy"), 6]);
    assert_eq!(after.result, -i64::from(libc::EIO));
    assert_eq!(length(&file), 6);
    // Who fails himself says why.
    let after = patched.call([1_000_000, bytes(b"murphy"), 6]);
    assert_eq!(after.result, -i64::from(libc::EBADF));
}

#[test]
fn a_call_can_be_made_for_half_of_it() {
    let (_directory, file) = file();
    let patched = Patched::new(
        libc::SYS_write,
        &[rule(libc::SYS_write, SURE, Act::Short)],
        NEVER,
    );
    for (asked, done) in [(6, 3), (5, 2), (2, 1), (1, 1), (0, 0)] {
        let after = patched.call([descriptor(&file), bytes(b"murphy"), asked]);
        assert_eq!(after.result, done, "of {asked}");
    }
    assert_eq!(length(&file), 7);
}

#[test]
fn a_call_can_be_made_later() {
    let (_directory, file) = file();
    let act = Act::Delay(20_000_000);
    let patched = Patched::new(libc::SYS_write, &[rule(libc::SYS_write, SURE, act)], NEVER);
    let began = Instant::now();
    let after = patched.call([descriptor(&file), bytes(b"murphy"), 6]);
    assert_eq!((after.result, length(&file)), (6, 6));
    assert!(began.elapsed() >= Duration::from_millis(20));
}

#[test]
fn a_broken_pipe_is_signalled_unless_that_is_not_wanted() {
    // In a process of its own: a signal is everybody's.
    let broken = |flags: Option<u8>, third: u64| {
        let rules = [rule(libc::SYS_write, SURE, Act::BreakPipe(flags))];
        // SAFETY: the child has one thread, and calls nothing but what was written for it.
        match unsafe { fork() }.expect("it can be forked") {
            ForkResult::Child => {
                // SAFETY: it ends by a signal as programs do by default; the test harness has it ignored.
                unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
                let patched = Patched::new(libc::SYS_write, &rules, NEVER);
                let result = patched.call([1, bytes(b"x"), third]).result;
                let code = i32::from(result != -i64::from(libc::EPIPE));
                // SAFETY: it ends without running what the test has to run in the end.
                unsafe { libc::_exit(code) }
            }
            ForkResult::Parent { child } => waitpid(child, None).expect("it is a child"),
        }
    };
    let is_killed = |status| matches!(status, WaitStatus::Signaled(_, Signal::SIGPIPE, _));
    let is_told = |status| matches!(status, WaitStatus::Exited(_, 0));
    let quiet = u64::from(libc::MSG_NOSIGNAL.cast_unsigned());
    assert!(is_killed(broken(None, quiet)));
    assert!(is_killed(broken(Some(2), 0)));
    assert!(is_told(broken(Some(2), quiet)));
    // The fourth argument is anything else here.
    assert!(is_killed(broken(Some(3), quiet)));
}

#[test]
fn a_rule_says_which_calls_it_makes_itself() {
    let mut rule = rule(libc::SYS_write, SURE, errno(libc::EIO));
    assert!(rule.makes().is_empty());
    rule.only = vec![Only::Descriptors(3, 9), Only::Kinds(vec![libc::S_IFREG])];
    rule.act = Act::Delay(1);
    let calls = ["fstat", "nanosleep"].map(|name| Call::named(name).expect("there is one"));
    assert_eq!(rule.makes(), calls.into());
}

#[test]
fn only_calls_of_the_descriptors_that_are_meant_fail() {
    use std::os::unix::fs::MetadataExt;
    let (directory, file) = file();
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    let meta = file.metadata().expect("it is open");
    let path = |name: &str| {
        let path = fs::canonicalize(directory.path()).expect("it is there");
        path.join(name)
            .to_str()
            .expect("a name")
            .as_bytes()
            .to_vec()
    };
    let of_file = |only: Only| {
        let mut rule = rule(libc::SYS_write, SURE, errno(libc::ENOSPC));
        rule.only = vec![only];
        let patched = Patched::new(libc::SYS_write, &[rule], NEVER);
        let failed = |descriptor| {
            let after = patched.call([descriptor, bytes(b"x"), 1]);
            after.result == -i64::from(libc::ENOSPC)
        };
        let both = (failed(descriptor(&file)), failed(descriptor(&writer)));
        let [hits, made, unmeant] = patched.counts(1)[0];
        let failed = [both.0, both.1].map(u64::from);
        assert_eq!(hits, failed.iter().sum());
        assert_eq!(hits + unmeant, made, "the dice always hit");
        // What is no descriptor fails as it does without.
        assert!(patched.call([1_000_000, bytes(b"x"), 1]).result < 0);
        both
    };
    let kinds = |kinds: &[u32]| of_file(Only::Kinds(kinds.to_vec()));
    assert_eq!(kinds(&[libc::S_IFREG]), (true, false));
    assert_eq!(kinds(&[libc::S_IFIFO]), (false, true));
    assert_eq!(kinds(&[libc::S_IFSOCK, libc::S_IFIFO]), (false, true));
    assert_eq!(kinds(&[libc::S_IFREG, libc::S_IFIFO]), (true, true));
    assert_eq!(kinds(&[libc::S_IFSOCK]), (false, false));
    assert_eq!(of_file(Only::Device(meta.dev())), (true, false));
    assert_eq!(of_file(Only::Device(meta.dev() + 1)), (false, false));
    assert_eq!(of_file(Only::DescriptorPath(path("file"))), (true, false));
    assert_eq!(of_file(Only::DescriptorPath(path(""))), (true, false));
    let whole = |name| of_file(Only::DescriptorPath([&path(name)[..], b"\0"].concat()));
    assert_eq!(
        [whole("file"), whole("fil")],
        [(true, false), (false, false)]
    );
    assert_eq!(of_file(Only::DescriptorPath(path("fil2"))), (false, false));
    assert_eq!(
        of_file(Only::DescriptorPath(path("file-and-more"))),
        (false, false)
    );
    assert_eq!(
        of_file(Only::DescriptorPath(b"pipe:[".to_vec())),
        (false, true)
    );
    let from = u32::try_from(descriptor(&file).max(descriptor(&writer))).expect("it is small");
    let all = u32::MAX;
    assert_eq!(of_file(Only::Descriptors(from + 1, all)), (false, false));
    assert_eq!(of_file(Only::Descriptors(0, all)), (true, true));
    assert_eq!(of_file(Only::Descriptors(0, 0)), (false, false));
    assert_eq!(of_file(Only::NonBlocking), (false, false));
    // SAFETY: the pipe is open, and its flags are plain numbers.
    unsafe { libc::fcntl(writer.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) };
    assert_eq!(of_file(Only::NonBlocking), (false, true));
    drop(writer);
    let mut said = Vec::new();
    reader.read_to_end(&mut said).expect("it is a pipe");
    assert!(said.iter().all(|byte| *byte == b'x'));
}

#[test]
fn only_calls_with_the_paths_that_are_meant_fail() {
    let (directory, _file) = file();
    let path = directory.path().join("file");
    let given = CString::new(path.to_str().expect("a name")).expect("a path");
    let at = given.as_ptr().addr() as u64;
    for (call, argument) in [(libc::SYS_open, 0_u8), (libc::SYS_openat, 1)] {
        let open = |prefix: &[u8], at: u64| {
            let mut rule = rule(call, SURE, errno(libc::EMFILE));
            rule.only = vec![Only::Path(argument, prefix.to_vec())];
            let patched = Patched::new(call, &[rule], NEVER);
            let here = u64::from(libc::AT_FDCWD.cast_unsigned());
            let arguments = match argument {
                0 => [at, 0, 0],
                _ => [here, at, 0],
            };
            let result = patched.call(arguments).result;
            if let Ok(opened) = i32::try_from(result)
                && opened >= 0
            {
                // SAFETY: the call has just opened it, for nobody else.
                drop(unsafe { fs::File::from_raw_fd(opened) });
            }
            result
        };
        let refused = -i64::from(libc::EMFILE);
        assert_eq!(open(given.as_bytes(), at), refused);
        assert_eq!(open(given.as_bytes_with_nul(), at), refused);
        assert_eq!(open(&given.as_bytes()[..3], at), refused);
        assert!(open(&[given.as_bytes(), b"2"].concat(), at) >= 0);
        assert!(open(b"/nowhere", at) >= 0);
        // What cannot be read says so as it does without.
        assert_eq!(open(b"/", 8), -i64::from(libc::EFAULT));
    }
}

#[test]
fn only_operations_that_are_meant_fail() {
    let mut rule = rule(libc::SYS_futex, SURE, errno(libc::EINTR));
    let mask = !(libc::FUTEX_PRIVATE_FLAG | libc::FUTEX_CLOCK_REALTIME).cast_unsigned();
    rule.only = vec![Only::Operation {
        mask,
        any: vec![
            libc::FUTEX_WAIT.cast_unsigned(),
            libc::FUTEX_WAIT_BITSET.cast_unsigned(),
        ],
    }];
    let patched = Patched::new(libc::SYS_futex, &[rule], NEVER);
    let word = 1_u32;
    let at = ptr::from_ref(&word).addr() as u64;
    let call = |operation: i32| {
        let operation = u64::from(operation.cast_unsigned());
        patched.call([at, operation, 0]).result
    };
    let interrupted = -i64::from(libc::EINTR);
    assert_eq!(call(libc::FUTEX_WAIT), interrupted);
    assert_eq!(
        call(libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG),
        interrupted
    );
    assert_eq!(
        call(libc::FUTEX_WAIT_BITSET | libc::FUTEX_CLOCK_REALTIME),
        interrupted
    );
    // Nobody is woken.
    assert_eq!(call(libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG), 0);
}

/// What of calls failed, in order.
fn picked(pick: Pick, chance: u64, times: usize) -> Vec<bool> {
    let mut rule = rule(libc::SYS_getppid, chance, errno(libc::EIO));
    rule.pick = pick;
    let patched = Patched::new(libc::SYS_getppid, &[rule], NEVER);
    let failed = |_| patched.call([0, 0, 0]).result < 0;
    let failed: Vec<bool> = (0..times).map(failed).collect();
    let hits = failed.iter().filter(|failed| **failed).count();
    let [counted, made, _] = patched.counts(1)[0];
    assert_eq!((counted, made), (hits as u64, times as u64));
    failed
}

#[test]
fn calls_fail_in_turns() {
    let turns = |first, last, step| {
        let failed = picked(Pick::Turns { first, last, step }, SURE, 20);
        let turns = failed.iter().enumerate().filter(|(_, failed)| **failed);
        turns.map(|(place, _)| place + 1).collect::<Vec<_>>()
    };
    assert_eq!(turns(3, 3, 1), [3]);
    assert_eq!(turns(1, 2, 1), [1, 2]);
    assert_eq!(turns(18, u64::MAX, 1), [18, 19, 20]);
    assert_eq!(turns(2, 12, 5), [2, 7, 12]);
}

#[test]
fn calls_fail_in_bursts_of_a_mean_length() {
    let (length, share, times) = (8.0, 0.25, 100_000);
    // Between two bursts are 24 calls on average: share / (length (1 - share)).
    let pick = Pick::Bursts {
        begin: SURE / 24,
        end: SURE / 8,
    };
    let failed = picked(pick, SURE, times);
    let hits = failed.iter().filter(|failed| **failed).count() as f64;
    let bursts = failed.chunk_by(|a, b| a == b).filter(|run| run[0]).count() as f64;
    let (all, mean) = (hits / times as f64, hits / bursts);
    // Some 3,100 bursts: four standard deviations are 7 % of a length, and no more of the share than twice that.
    assert!((mean / length - 1.0).abs() < 0.08, "{mean}");
    assert!((all / share - 1.0).abs() < 0.15, "{all}");
}

#[test]
fn no_more_calls_fail_in_a_row_than_are_allowed() {
    let runs = |chance, most| {
        let failed = picked(Pick::AtMost(most), chance, 2000);
        let runs = failed.chunk_by(|a, b| a == b).filter(|run| run[0]);
        runs.map(<[bool]>::len).max().unwrap_or(0)
    };
    assert_eq!(runs(SURE, 1), 1);
    assert_eq!(runs(SURE, 3), 3);
    assert_eq!(runs(SURE / 2, 2), 2);
    let always = picked(Pick::AtMost(3), SURE, 8);
    assert_eq!(always, [true, true, true, false, true, true, true, false]);
}

/// A stub that fails `fstat` of descriptors, and tells whether one did.
fn of_objects(pick: Pick, chance: u64) -> impl Fn(&fs::File) -> bool {
    let mut rule = rule(libc::SYS_fsync, chance, errno(libc::EIO));
    rule.pick = pick;
    let patched = Patched::new(libc::SYS_fsync, &[rule], NEVER);
    move |file| {
        let descriptor = u64::from(file.as_raw_fd().cast_unsigned());
        match patched.call([descriptor, 0, 0]).result {
            0 => false,
            result => {
                assert_eq!(result, -i64::from(libc::EIO));
                true
            }
        }
    }
}

fn files<const N: usize>() -> [fs::File; N] {
    std::array::from_fn(|_| tempfile::tempfile().expect("a file"))
}

#[test]
fn what_was_hit_stays_broken() {
    const FILES: usize = 60;
    let files: [_; FILES] = files();
    let fails = of_objects(Pick::Sticky, SURE / 8);
    let mut broken = [false; FILES];
    for _ in 0..400 {
        for (file, broken) in files.iter().zip(&mut broken) {
            let failed = fails(file);
            assert!(failed || !*broken, "{file:?} is whole again");
            *broken |= failed;
        }
    }
    assert_eq!(broken, [true; FILES]);
    // It is the file that is broken, not its number.
    let again = files[0].try_clone().expect("a descriptor");
    assert!(fails(&again));
    let fresh: [_; 32] = self::files();
    let is_hit = |(fresh, broken): (&fs::File, &fs::File)| {
        let number = broken.as_raw_fd();
        // SAFETY: the descriptor is of a file that is not used below.
        assert_eq!(unsafe { libc::dup2(fresh.as_raw_fd(), number) }, number);
        fails(broken)
    };
    let hits = fresh.iter().zip(&files).filter(|two| is_hit(*two)).count();
    // Four standard deviations of an eighth of them.
    assert!(hits <= 11, "new files are not broken yet: {hits}");
}

#[test]
fn what_is_tried_again_passes() {
    let [one, other] = files();
    let fails = of_objects(Pick::Once, SURE);
    let tried = |file| [fails(file), fails(file), fails(file), fails(file)];
    assert_eq!(tried(&one), [true, false, true, false]);
    assert_eq!(tried(&other), [true, false, true, false]);
    let mixed = [&one, &other, &one, &other].map(&fails);
    assert_eq!(mixed, [true, true, false, false]);
    // Half of the files that have their turn, each of which has a second one.
    let fails = of_objects(Pick::Once, SURE / 2);
    let hits = (0..3000).filter(|_| fails(&one)).count();
    assert!((1000 - 110..1000 + 110).contains(&hits), "{hits}");
}

#[test]
fn what_is_to_be_remembered_needs_memory() {
    let mut rule = rule(libc::SYS_getppid, SURE, errno(libc::EIO));
    let lease = Lease {
        deadline: NEVER,
        owner: 0,
        seed: 0,
    };
    for pick in [Pick::AtMost(1), Pick::Sticky, Pick::Once] {
        rule.pick = pick;
        let rules = std::slice::from_ref(&rule);
        let refused = Stub::write(0x1000, 0, &[], rules, lease, None);
        assert!(matches!(refused, Err(StubError::NoMemory)));
    }
}

#[test]
fn what_is_too_long_is_refused() {
    let mut rule = rule(libc::SYS_open, SURE, errno(libc::ENOENT));
    for length in [0, super::PREFIX_MAX + 1] {
        rule.only = vec![Only::Path(0, vec![b'a'; length])];
        let lease = Lease {
            deadline: NEVER,
            owner: 0,
            seed: 0,
        };
        let refused = Stub::write(0x1000, 0, &[], std::slice::from_ref(&rule), lease, None);
        assert!(matches!(refused, Err(StubError::Prefix { length: one }) if one == length));
    }
}
