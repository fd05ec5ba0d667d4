//! System calls of running programs fail as often as they are told to, and the programs are as they were afterwards.

use std::{
    fs::{self, File},
    io::Write,
    os::{fd::AsRawFd, unix::fs::FileExt},
    path::Path,
    ptr,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread::{self, sleep},
    time::{Duration, Instant},
};

use murphy_sys::{
    patch::{Act, Lease, Library, Only, PatchError, Pick, Program, Rule, State, owners_of},
    pidfd::Pidfd,
    process::ProcessId,
};
use nix::{
    libc,
    sys::wait::{WaitStatus, waitpid},
    unistd::{ForkResult, Pid, fork},
};

const PATIENCE: Duration = Duration::from_secs(5);
const SURE: u64 = 1 << 32;
/// How often a program is patched while it works, and how often in full.
const CYCLES: u32 = 15;
const CYCLES_SOAK: u32 = 300;

/// What a victim has done, in memory that it shares with the test.
#[derive(Debug, Default)]
struct Done {
    is_over: AtomicBool,
    writes: AtomicU64,
    writes_failed: AtomicU64,
    syncs: AtomicU64,
    syncs_failed: AtomicU64,
    /// What should never be: another result, or another errno.
    wrong: AtomicU64,
}

/// A copy of this process that writes into a file and syncs it, again and again.
struct Victim {
    pid: Pid,
    done: &'static Done,
    directory: tempfile::TempDir,
}

impl Victim {
    fn start(threads: usize, is_interrupted: bool) -> Self {
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        let all = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping, wherever the kernel wants it.
        let page = unsafe { libc::mmap(ptr::null_mut(), 4096, all, flags, -1, 0) };
        assert_ne!(page, libc::MAP_FAILED);
        // SAFETY: zeros are what nobody has done yet; the mapping stays for as long as this process.
        let done: &'static Done = unsafe { &*page.cast::<Done>() };
        let directory = tempfile::tempdir().expect("a directory");
        let file = File::create(directory.path().join("file")).expect("it can be made");
        // SAFETY: the child calls only what may be called between `fork` and `execve`, but for its threads, which glibc
        // lets it make.
        let pid = match unsafe { fork() }.expect("it can be forked") {
            ForkResult::Child => {
                work(done, &file, threads, is_interrupted);
                // SAFETY: it ends without running what the test has to run in the end.
                unsafe { libc::_exit(0) }
            }
            ForkResult::Parent { child } => child,
        };
        let victim = Self {
            pid,
            done,
            directory,
        };
        victim.work_on(100);
        victim
    }

    fn process(&self) -> ProcessId {
        ProcessId::of(self.pid.as_raw().unsigned_abs()).expect("it runs")
    }

    fn open(&self) -> Program {
        Program::open(self.process(), &mut Library::default()).expect("it is one of ours")
    }

    /// Waits until it has written so often more.
    fn work_on(&self, times: u64) {
        let until = self.done.writes.load(Ordering::Relaxed) + times;
        let began = Instant::now();
        while self.done.writes.load(Ordering::Relaxed) < until {
            assert!(began.elapsed() < 6 * PATIENCE, "it works: {:?}", self.done);
            sleep(Duration::from_millis(1));
        }
    }

    /// How often it has written more, and how often in vain, while it wrote so often; and the same of syncs.
    fn rates(&self, times: u64) -> [(u64, u64); 2] {
        let read = || {
            let done = self.done;
            [
                &done.writes,
                &done.writes_failed,
                &done.syncs,
                &done.syncs_failed,
            ]
            .map(|one| one.load(Ordering::SeqCst))
        };
        // What it has begun it has counted by then.
        self.work_on(20);
        let before = read();
        self.work_on(times);
        let after = read();
        let since = |place: usize| after[place] - before[place];
        [(since(0), since(1)), (since(2), since(3))]
    }

    /// Ends it; nothing was ever wrong.
    fn end(self) -> File {
        self.done.is_over.store(true, Ordering::Relaxed);
        assert_eq!(waitpid(self.pid, None), Ok(WaitStatus::Exited(self.pid, 0)));
        assert_eq!(
            self.done.wrong.load(Ordering::Relaxed),
            0,
            "{:?}",
            self.done
        );
        File::open(self.directory.path().join("file")).expect("it is there")
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        self.done.is_over.store(true, Ordering::Relaxed);
        if thread::panicking() {
            let process = ProcessId::of(self.pid.as_raw().unsigned_abs());
            let ended = process.ok().and_then(|process| Pidfd::open(process).ok());
            let _ = ended.map(|pidfd| pidfd.send("KILL".parse().expect("a signal")));
            let _ = waitpid(self.pid, None);
        }
    }
}

extern "C" fn interrupt(_: libc::c_int) {}

/// What the victim does.
fn work(done: &'static Done, file: &File, threads: usize, is_interrupted: bool) {
    if is_interrupted {
        let pace = libc::timeval {
            tv_sec: 0,
            tv_usec: 1000,
        };
        let timer = libc::itimerval {
            it_interval: pace,
            it_value: pace,
        };
        // SAFETY: the handler does nothing, and the timer ends with this process.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = interrupt as *const () as usize;
            action.sa_flags = libc::SA_RESTART;
            libc::sigaction(libc::SIGPROF, &raw const action, ptr::null_mut());
            libc::setitimer(libc::ITIMER_PROF, &raw const timer, ptr::null_mut());
        }
    }
    let fd = file.as_raw_fd();
    thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(|| go_on(done, fd));
        }
        go_on(done, fd);
    });
}

fn go_on(done: &Done, fd: libc::c_int) {
    let counted = |result: isize, right: isize, errno: i32, all: &AtomicU64, failed: &AtomicU64| {
        all.fetch_add(1, Ordering::SeqCst);
        if result == -1 && std::io::Error::last_os_error().raw_os_error() == Some(errno) {
            failed.fetch_add(1, Ordering::SeqCst);
        } else if result != right {
            done.wrong.fetch_add(1, Ordering::SeqCst);
        }
    };
    while !done.is_over.load(Ordering::Relaxed) {
        // SAFETY: the file is open for as long as the victim works, and the byte is a constant.
        let written = unsafe { libc::write(fd, b"x".as_ptr().cast(), 1) };
        counted(written, 1, libc::ENOSPC, &done.writes, &done.writes_failed);
        // SAFETY: as above.
        let synced = unsafe { libc::fdatasync(fd) };
        counted(
            synced as isize,
            0,
            libc::EIO,
            &done.syncs,
            &done.syncs_failed,
        );
        // SAFETY: it takes nothing.
        if unsafe { libc::getppid() } <= 0 {
            done.wrong.fetch_add(1, Ordering::SeqCst);
        }
    }
}

fn rule(call: libc::c_long, errno: i32, chance: u64, only: Vec<Only>) -> Rule {
    Rule {
        call: u32::try_from(call).expect("it is small"),
        chance,
        only,
        pick: Pick::Each,
        act: Act::Fail(u16::try_from(errno).expect("it is small")),
    }
}

fn full(chance: u64) -> Rule {
    rule(
        libc::SYS_write,
        libc::ENOSPC,
        chance,
        vec![Only::Kinds(vec![libc::S_IFREG])],
    )
}

fn lease(lasts: Duration) -> Option<Lease> {
    match Lease::new(lasts, 77, 1) {
        Ok(lease) => Some(lease),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "skipped: {error}");
            None
        }
    }
}

/// The executable bytes of a process are those of its files.
fn assert_pristine(process: ProcessId) {
    let memory = File::open(format!("/proc/{}/mem", process.pid)).expect("it runs");
    let own = File::open("/proc/self/mem").expect("its own");
    let maps = fs::read_to_string(format!("/proc/{}/maps", process.pid)).expect("it runs");
    let mut pages = 0;
    for line in maps
        .lines()
        .filter(|line| line.contains(" r-xp ") && line.contains('/'))
    {
        let range = line.split(' ').next().expect("a range");
        let (from, to) = range.split_once('-').expect("a range");
        let [from, to] = [from, to].map(|one| u64::from_str_radix(one, 16).expect("an address"));
        let read = |memory: &File| {
            let mut bytes = vec![0; usize::try_from(to - from).expect("it is mapped")];
            memory
                .read_exact_at(&mut bytes, from)
                .expect("it is mapped");
            bytes
        };
        // The victim is a copy of this process, which nobody patches.
        assert!(read(&memory) == read(&own), "{line}");
        pages += 1;
    }
    assert!(pages > 2, "{maps}");
}

fn assert_share(of: (u64, u64), share: f64) {
    let (all, failed) = (of.0 as f64, of.1 as f64);
    // Four standard deviations of a binomial distribution, and what each thread had begun before it was counted.
    let within = 4.0 * (all * share * (1.0 - share)).sqrt() + 16.0;
    assert!((failed - all * share).abs() <= within, "{of:?} at {share}");
}

#[test]
fn as_many_calls_fail_as_are_asked_for_and_none_afterwards() {
    let Some(lease) = lease(Duration::from_hours(1)) else {
        return;
    };
    let victim = Victim::start(2, false);
    assert_eq!(victim.rates(2000)[0].1, 0);
    let program = victim.open();
    assert_eq!(program.state().expect("it is read"), State::default());
    let patched = program
        .patch(&[full(SURE / 4)], lease, PATIENCE)
        .expect("it can be");
    assert!(
        patched.coverage.sites > 0 && patched.threads == 2,
        "{patched:?}"
    );
    assert!(patched.coverage.is_counted, "this test runs on glibc");
    let carrier = program.into_carrier().expect("it is read");
    let carrier = carrier.expect("it is patched");
    let hits = || {
        carrier
            .counts()
            .expect("it is read")
            .expect("it is counted")[0]
            .hits
    };
    let before = hits();
    let [writes, syncs] = victim.rates(4000);
    assert_share(writes, 0.25);
    // Each of the two threads may have counted one of either, and not the other.
    let counted = hits() - before;
    assert!(counted + 2 >= writes.1, "{counted} of {writes:?}");
    assert_eq!(syncs.1, 0);
    let program = victim.open();
    let state = program.state().expect("it is read");
    assert_eq!(
        (state.sites, &state.owners[..]),
        (patched.coverage.sites, &[77][..])
    );
    assert_eq!(owners_of(victim.process().pid), [77]);
    let stranger = Lease { owner: 78, ..lease };
    let again = program.patch(&[full(SURE)], stranger, PATIENCE);
    assert!(matches!(again, Err(PatchError::Patched(_))), "{again:?}");
    // Nothing is left to be done for its owner.
    let again = program.patch(&[full(SURE)], lease, PATIENCE);
    let again = again.expect("it is patched");
    assert_eq!((again.threads, again.coverage), (0, patched.coverage));

    program.set_chances(&[SURE]).expect("it can be");
    let [writes, _] = victim.rates(1000);
    assert_share(writes, 1.0);
    program.set_chances(&[0]).expect("it can be");
    assert_share(victim.rates(1000)[0], 0.0);
    program.set_chances(&[SURE / 2]).expect("it can be");

    // Whoever comes later knows all that is to be known.
    drop(program);
    let stranger = victim.open();
    let recovered = stranger.recover(PATIENCE).expect("it can be");
    assert!(
        recovered.is_wiped && recovered.sites == state.sites,
        "{recovered:?}"
    );
    assert!(owners_of(victim.process().pid).is_empty());
    assert_pristine(victim.process());
    assert_eq!(victim.rates(2000)[0].1, 0);
    let again = stranger.recover(PATIENCE).expect("there is nothing to do");
    assert_eq!((again.sites, again.is_wiped), (0, true));
    let nobody = stranger.into_carrier().expect("it is read");
    assert!(nobody.is_none());
    let (written, failed) = {
        let done = victim.done;
        (&done.writes, &done.writes_failed)
    };
    let file = victim.end();
    let written = written.load(Ordering::Relaxed) - failed.load(Ordering::Relaxed);
    assert_eq!(file.metadata().expect("it is open").len(), written);
}

#[test]
fn behind_its_deadline_no_call_fails_whoever_has_died() {
    let Some(lease) = lease(Duration::from_hours(1)) else {
        return;
    };
    let victim = Victim::start(1, false);
    let program = victim.open();
    program
        .patch(&[full(SURE)], lease, PATIENCE)
        .expect("it can be");
    assert_share(victim.rates(500)[0], 1.0);
    let carrier = program.into_carrier().expect("it is read");
    let carrier = carrier.expect("it is patched");
    let soon = Lease::new(Duration::from_millis(100), 77, 1).expect("it could");
    carrier.renew(soon.deadline).expect("it can be");
    sleep(Duration::from_millis(200));
    assert_eq!(victim.rates(500)[0].1, 0);
    // It can be put off all the same.
    carrier.renew(lease.deadline).expect("it can be");
    assert_share(victim.rates(500)[0], 1.0);
    let program = victim.open();
    assert!(program.recover(PATIENCE).expect("it can be").is_wiped);
    assert_pristine(victim.process());
    victim.end();
}

#[test]
fn while_it_works_a_program_is_patched_and_recovered_again_and_again() {
    let Some(lease) = lease(Duration::from_hours(1)) else {
        return;
    };
    let cycles = match std::env::var_os("MURPHY_SOAK") {
        Some(_) => CYCLES_SOAK,
        None => CYCLES,
    };
    let victim = Victim::start(8, true);
    let program = victim.open();
    let rules = [
        full(SURE / 3),
        rule(libc::SYS_fdatasync, libc::EIO, SURE / 5, vec![]),
    ];
    let mut inside = 0;
    for _ in 0..cycles {
        program.patch(&rules, lease, PATIENCE).expect("it can be");
        victim.work_on(20);
        let recovered = program.recover(PATIENCE).expect("it can be");
        assert!(recovered.is_wiped, "{recovered:?}");
        inside += recovered.inside;
        assert_pristine(victim.process());
        victim.work_on(20);
    }
    let failed = |one: &AtomicU64| one.load(Ordering::Relaxed);
    assert!(failed(&victim.done.writes_failed) > 0 && failed(&victim.done.syncs_failed) > 0);
    let _ = writeln!(
        std::io::stderr(),
        "figure: {cycles} cycles, {inside} threads in a stub; {:?}",
        victim.done
    );
    victim.end();
}

#[test]
fn whoever_is_killed_at_any_time_leaves_what_another_recovers() {
    let Some(lease) = lease(Duration::from_hours(1)) else {
        return;
    };
    let victim = Victim::start(4, true);
    let rounds = CYCLES;
    for round in 0..rounds {
        // SAFETY: the child has one thread, and ends without running what the test has to run in the end.
        let pid = match unsafe { fork() }.expect("it can be forked") {
            ForkResult::Child => loop {
                let program = Program::open(victim.process(), &mut Library::default());
                let program = program.expect("it is one of ours");
                let _ = program.patch(&[full(SURE / 2)], lease, PATIENCE);
                let _ = program.recover(PATIENCE);
            },
            ForkResult::Parent { child } => child,
        };
        sleep(Duration::from_micros(50_000 + 7_919 * u64::from(round)));
        let process = ProcessId::of(pid.as_raw().unsigned_abs()).expect("it runs");
        let pidfd = Pidfd::open(process).expect("it runs");
        pidfd
            .send("KILL".parse().expect("a signal"))
            .expect("it runs");
        let ended = waitpid(pid, None).expect("it is a child");
        assert!(matches!(ended, WaitStatus::Signaled(..)), "{ended:?}");
        let recovered = victim.open().recover(PATIENCE).expect("it can be");
        assert!(recovered.is_wiped, "{recovered:?}");
        assert_pristine(victim.process());
        victim.work_on(50);
    }
    assert_eq!(victim.rates(500)[0].1, 0);
    victim.end();
}

#[test]
fn what_is_no_program_to_patch_is_refused() {
    let Some(lease) = lease(Duration::from_hours(1)) else {
        return;
    };
    let victim = Victim::start(1, false);
    let program = victim.open();
    // No call has such a number, and the few places whose call is not known are not worth a patch that hits nothing.
    assert_eq!(
        program.coverage(&[u32::MAX]).sites,
        program.coverage(&[u32::MAX]).dynamic
    );
    assert!(program.coverage(&[1]).sites > program.coverage(&[1]).dynamic);
    // A kernel thread has no code.
    let kernel = ProcessId::of(2).expect("the kernel's own");
    if kernel.stat().is_some_and(|stat| stat.is_kernel_thread()) {
        let refused = Program::open(kernel, &mut Library::default());
        assert!(
            matches!(refused, Err(PatchError::NoProgram { .. })),
            "{refused:?}"
        );
    }
    drop(program);

    // Somebody else's patch is nobody's of ours.
    let path = Path::new("/proc").join(victim.pid.to_string()).join("mem");
    let memory = fs::OpenOptions::new()
        .write(true)
        .open(path)
        .expect("it runs");
    let at = libc::write as *const () as u64;
    let own = File::open("/proc/self/mem").expect("its own");
    let mut code = vec![0; 256];
    own.read_exact_at(&mut code, at).expect("it is mapped");
    let number = [0xb8, 1, 0, 0, 0, 0x0f, 0x05];
    let place = code.windows(number.len()).position(|bytes| bytes == number);
    let at = at + place.expect("glibc has it there") as u64;
    // The same in other bytes: `push 1; pop rax; nop; nop`.
    memory
        .write_all_at(&[0x6a, 1, 0x58, 0x90, 0x90], at)
        .expect("it can be written");
    let refused = victim.open().patch(&[full(SURE)], lease, PATIENCE);
    assert!(
        matches!(refused, Err(PatchError::Foreign { .. })),
        "{refused:?}"
    );
    memory
        .write_all_at(&number[..5], at)
        .expect("it can be written");
    assert_pristine(victim.process());
    victim.end();
}
