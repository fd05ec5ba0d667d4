//! Programs that make system calls and count what came of each, and which errors each of their calls can meet.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    ops::Range,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    thread::sleep,
    time::{Duration, Instant},
};

use murphy_fault::syscall::realism::{self, Rank};
use murphy_sys::syscalls::{Call, Errno};

use crate::{
    harness::{Guard, patience},
    victims::{Heard, Program},
};

/// The counts of one call: how often it was made, and at the place of an errno how often it failed with that.
const PLACES: usize = 256;
/// All that the victim in C makes, with what its descriptor is of where that is not a file.
const MADE: [&str; 79] = [
    "read",
    "readv",
    "pread64",
    "write",
    "writev",
    "pwrite64",
    "close",
    "fsync",
    "fdatasync",
    "fallocate",
    "ftruncate",
    "open",
    "openat",
    "newfstatat",
    "fstat",
    "access",
    "mkdir",
    "unlink",
    "rename",
    "readlink",
    "getdents64",
    "flock",
    "statfs",
    "fchmod",
    "socket",
    "connect",
    "listen",
    "accept4",
    "sendto",
    "sendmsg",
    "recvfrom",
    "recvmsg",
    "epoll_create1",
    "eventfd2",
    "epoll_wait",
    "poll",
    "dup",
    "pipe2",
    "kill",
    "getrandom",
    "nanosleep",
    "socketpair",
    "fcntl",
    "dup2",
    "dup3",
    "bind",
    "sendmmsg",
    "recvmmsg",
    "sendfile",
    "copy_file_range",
    "shutdown",
    "epoll_ctl",
    "epoll_pwait",
    "ppoll",
    "inotify_add_watch",
    "inotify_init1",
    "timerfd_create",
    "waitid",
    "tgkill",
    "clock_nanosleep",
    "truncate",
    "link",
    "symlink",
    "rmdir",
    "statx",
    "fstatfs",
    "chmod",
    "fchown",
    "sync_file_range",
    "preadv",
    "pwritev",
    "io_setup",
    "read.socket",
    "readv.socket",
    "write.socket",
    "writev.socket",
    "write.pipe",
    "read.pipe",
    "connect.nonblocking",
];
/// Calls whose errors depend on what their descriptor is of.
const DATA: [&str; 8] = [
    "read", "readv", "pread64", "preadv", "write", "writev", "pwrite64", "pwritev",
];

/// A program that makes calls, one after the other, for as long as the test lasts.
pub struct Victim {
    pub heard: Heard,
    directory: PathBuf,
    /// Where its counts are in its memory, of one that says so.
    shared: Option<u64>,
    pub calls: Vec<&'static str>,
    /// Whether nobody in it makes such calls but itself: some have threads of their own that do.
    pub is_alone: bool,
}

impl Victim {
    /// Starts one with a name of its own; none where its compiler is missing.
    pub fn start(
        guard: &Guard,
        program: Program,
        name: &str,
        calls: &[&'static str],
        more: &[&str],
    ) -> Option<Self> {
        let directory = guard.dir().join(name);
        fs::create_dir(&directory).expect("a new directory");
        let mut words = program.words_or_skip()?;
        words.push(directory.clone().into());
        words.extend(more.iter().chain(calls).map(Into::into));
        let mut victim = Self {
            heard: Heard::start(guard, words),
            directory,
            shared: None,
            is_alone: !matches!(program, Program::CallsJava | Program::CallsNode),
            calls: calls.to_vec(),
        };
        let at = victim.heard.wait_for("the victim is ready", 0, |line| {
            let at = line.text.strip_prefix("ready ")?.split(' ').nth(1)?;
            Some(at.to_owned())
        });
        victim.shared = match at.parse() {
            Ok(0) => None,
            Ok(at) => Some(at),
            Err(_) => Some(behind(&at, victim.heard.pid())),
        };
        victim.go_on(10);
        Some(victim)
    }

    /// What came of a call, of the parent or of its child.
    pub fn counts_of(&self, call: &str, of_child: bool) -> Vec<u64> {
        let place = self
            .calls
            .iter()
            .position(|one| *one == call)
            .expect("it is made");
        let place = place + if of_child { self.calls.len() } else { 0 };
        match self.shared {
            Some(at) => row(
                Path::new(&format!("/proc/{}/mem", self.heard.pid())),
                at,
                place,
            ),
            None => counts(&self.directory, place),
        }
    }

    pub fn counts(&self, call: &str) -> Vec<u64> {
        self.counts_of(call, false)
    }

    /// Waits until it has made all of its calls so often more.
    pub fn go_on(&self, times: u64) {
        let last = self.calls.last().expect("it makes some");
        let made = || self.counts(last)[0];
        let enough = made() + times;
        let until = Instant::now() + 2 * patience();
        while made() < enough {
            assert!(
                Instant::now() < until,
                "the victim goes on: {:?}",
                self.calls
            );
            sleep(Duration::from_millis(1));
        }
    }

    /// What came of a call while all were made so often.
    pub fn since(&self, call: &str, times: u64) -> Vec<u64> {
        // What it has begun it has counted by then.
        self.go_on(2);
        let before = self.counts(call);
        self.go_on(times);
        let after = self.counts(call);
        after
            .iter()
            .zip(before)
            .map(|(after, before)| after - before)
            .collect()
    }

    pub fn code(&self) -> u64 {
        code_of(self.heard.pid())
    }

    pub fn end(self) {
        fs::write(self.directory.join("end"), "").expect("it can be written");
        let (ended, _) = self.heard.wait();
        assert_eq!(ended.code, 0, "{ended:?}");
    }
}

/// A row of counts, as a victim shares it in its directory.
pub fn counts(directory: &Path, place: usize) -> Vec<u64> {
    row(&directory.join("counts"), 0, place)
}

/// Where the memory of a process goes on behind words that nobody else has there.
fn behind(mark: &str, pid: u32) -> u64 {
    let words = mark
        .split(',')
        .map(|word| word.parse::<u64>().expect("a number"));
    let mark: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
    let memory = fs::File::open(format!("/proc/{pid}/mem")).expect("it runs");
    for range in ranges(pid, |line| line.contains(" rw-p ")) {
        let mut bytes = vec![0; usize::try_from(range.end - range.start).expect("it is mapped")];
        // What is reserved only cannot be read.
        if memory.read_exact_at(&mut bytes, range.start).is_err() {
            continue;
        }
        let mut places = (0..bytes.len()).step_by(8);
        if let Some(place) = places.find(|place| bytes[*place..].starts_with(&mark)) {
            return range.start + (place + mark.len()) as u64;
        }
    }
    panic!("its counts are nowhere");
}

/// What a process has mapped, of some lines.
fn ranges(pid: u32, meant: impl Fn(&&str) -> bool) -> Vec<Range<u64>> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("it runs");
    let lines = maps.lines().filter(meant);
    let range = |line: &str| {
        let (from, to) = line.split(' ').next()?.split_once('-')?;
        let [from, to] = [from, to].map(|one| u64::from_str_radix(one, 16).expect("an address"));
        Some(from..to)
    };
    lines.filter_map(range).collect()
}

/// A row of the counts that begin somewhere in a file; zeros before there are any.
fn row(file: &Path, begin: u64, place: usize) -> Vec<u64> {
    /// No program makes so many calls between two looks.
    const MOST: u64 = 1 << 20;
    loop {
        // A word may be read while it changes, half of it as it was.
        let [before, after] = [(); 2].map(|()| read_row(file, begin, place));
        let is_whole = |(before, after): (&u64, &u64)| {
            after.checked_sub(*before).is_some_and(|more| more < MOST)
        };
        if before.iter().zip(&after).all(is_whole) {
            return after;
        }
    }
}

fn read_row(file: &Path, begin: u64, place: usize) -> Vec<u64> {
    let mut bytes = vec![0; 8 * PLACES];
    let at = begin + u64::try_from(place * bytes.len()).expect("it is small");
    let Ok(file) = fs::File::open(file) else {
        return vec![0; PLACES];
    };
    if file.read_exact_at(&mut bytes, at).is_err() {
        return vec![0; PLACES];
    }
    let words = bytes.as_chunks().0.iter();
    words.copied().map(u64::from_le_bytes).collect()
}

/// A figure for all executable bytes of a process that are of files.
pub fn code_of(pid: u32) -> u64 {
    let memory = fs::File::open(format!("/proc/{pid}/mem")).expect("it runs");
    let mut hasher = DefaultHasher::new();
    for range in ranges(pid, |line| line.contains(" r-xp ") && line.contains('/')) {
        let mut bytes = vec![0; usize::try_from(range.end - range.start).expect("it is mapped")];
        memory
            .read_exact_at(&mut bytes, range.start)
            .expect("it is mapped");
        bytes.hash(&mut hasher);
    }
    hasher.finish()
}

/// What a program makes that a call can be chosen of by name, and with which bystanders.
pub fn made(program: Program) -> (&'static [&'static str], &'static [&'static str]) {
    match program {
        Program::CallsRust => (
            &[
                "read",
                "pread64",
                "write",
                "pwrite64",
                "fsync",
                "fdatasync",
                "ftruncate",
                "openat",
                "statx",
                "mkdir",
                "unlink",
                "rename",
                "readlink",
                "sendto",
            ],
            &["getppid"],
        ),
        Program::CallsGo | Program::CallsGo119 => (
            &[
                "pread64",
                "write",
                "pwrite64",
                "fsync",
                "ftruncate",
                "openat",
                "newfstatat",
                "mkdirat",
                "renameat",
                "readlinkat",
                "socket",
                "sendto",
            ],
            &["getppid"],
        ),
        Program::CallsJava => (
            &[
                "read",
                "write",
                "pread64",
                "pwrite64",
                "fsync",
                "fdatasync",
                "mkdir",
            ],
            &["getppid"],
        ),
        Program::CallsPython => (
            &[
                "read",
                "pread64",
                "write",
                "pwrite64",
                "fsync",
                "fdatasync",
                "ftruncate",
                "openat",
                "newfstatat",
                "mkdir",
                "unlink",
                "rename",
                "readlink",
                "socket",
                "sendto",
            ],
            &["getppid"],
        ),
        Program::CallsNode => (
            &[
                "read",
                "write",
                "fsync",
                "fdatasync",
                "ftruncate",
                "statx",
                "mkdir",
                "unlink",
                "rename",
                "readlink",
            ],
            &["getppid"],
        ),
        _ => (&MADE, &["lseek", "getppid"]),
    }
}

/// Whether a program hands on an error as it is: most begin an interrupted call again, and Java has texts for some only.
fn tells(program: Program, errno: Errno) -> bool {
    let name = errno.name().unwrap_or("");
    match program {
        Program::Calls | Program::CallsStatic | Program::CallsMusl => true,
        Program::CallsJava => [
            "EIO", "ENOSPC", "EACCES", "EROFS", "EDQUOT", "EFBIG", "EBUSY",
        ]
        .contains(&name),
        _ => !["EINTR", "EAGAIN"].contains(&name),
    }
}

/// Whether a call can meet an error with what its descriptor is of here: of one that does not wait the errors of that.
fn is_met(name: &str, of: &str, errno: Errno) -> bool {
    let errno = errno.name().unwrap_or("");
    match of {
        "socket" => ["ECONNRESET", "ETIMEDOUT", "EPIPE", "EINTR"].contains(&errno),
        "pipe" => ["EPIPE", "EINTR"].contains(&errno),
        "nonblocking" => errno == "EAGAIN",
        _ if DATA.contains(&name) => {
            !["ECONNRESET", "ETIMEDOUT", "EPIPE", "EINTR"].contains(&errno)
        }
        // Its socket does not wait.
        _ => true,
    }
}

/// The calls of a victim, each with an error that an environment brings about, where descriptors of its kind meet that.
pub fn pairs(program: Program) -> Vec<(&'static str, Errno)> {
    let mut pairs = Vec::new();
    for name in made(program).0 {
        if program == Program::CallsMusl && *name == "sendmmsg" {
            // It makes `sendmsg` of that.
            continue;
        }
        let (call, of) = name.split_once('.').unwrap_or((name, "file"));
        let call = Call::named(call).expect("there is one");
        if realism::denied(call).is_some() || realism::guarded(call).is_some() {
            continue;
        }
        for (errno, rank) in realism::errors(call) {
            // It makes such a call again until it is made.
            let is_hidden = program == Program::CallsMusl
                && name.starts_with("dup")
                && errno.name() == Some("EBUSY");
            let is_met = rank == Rank::Environmental && is_met(name, of, errno) && !is_hidden;
            if is_met && tells(program, errno) {
                pairs.push((*name, errno));
            }
        }
    }
    pairs
}
