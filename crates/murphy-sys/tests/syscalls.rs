//! System calls of a namespace, or of a process there, are counted exactly by what they return, and no others are.

mod pool;

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdout, Command, Stdio},
};

use murphy_sys::{
    namespace::NetNamespace,
    syscalls::{self, Call, Errno, Syscalls, Timed},
};
use pool::{is_since, namespace, patience, say_skipped};

/// Waits for a line, does its work so often as that says, and says that it has.
const VICTIM: &str = "
import os, sys, tempfile, time
full = os.open('/dev/full', os.O_WRONLY)
file, path = tempfile.mkstemp()
os.unlink(path)
print('ready', flush=True)
for line in sys.stdin:
    what, count = line.split()
    for _ in range(int(count)):
        try:
            if what == 'open':
                os.open('/no/such/file', os.O_RDONLY)
            elif what == 'write':
                os.write(full, b'?')
            elif what == 'fsync':
                os.fsync(file)
            elif what == 'sleep':
                time.sleep(0.03)
        except OSError:
            pass
    print('done', flush=True)
";

struct Victim {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Victim {
    fn start_or_skip(namespace: &NetNamespace) -> Option<Self> {
        let start = || {
            let mut command = Command::new("python3");
            command.args(["-c", VICTIM]);
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()
        };
        let mut child = match namespace.run(start).expect("a namespace") {
            Ok(child) => child,
            Err(error) => {
                say_skipped(&format!("python3: {error}"));
                return None;
            }
        };
        let said = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut victim = Self { child, said };
        assert_eq!(victim.line(), "ready\n");
        Some(victim)
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).expect("it says something");
        line
    }

    /// Has it do something so often, and waits until it has.
    fn has_done(&mut self, what: &str, count: u64) {
        let stdin = self.child.stdin.as_mut().expect("a pipe");
        writeln!(stdin, "{what} {count}").expect("it listens");
        assert_eq!(self.line(), "done\n");
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn watch_or_skip(timed: &[(Call, Timed)]) -> Option<Syscalls> {
    match Syscalls::watch(timed) {
        Ok(syscalls) => Some(syscalls),
        Err(error) => {
            say_skipped(&error);
            None
        }
    }
}

fn call(name: &str) -> Call {
    Call::named(name).expect("it has such a call")
}

/// How often a call has returned this in a namespace.
fn returned(syscalls: &Syscalls, inode: u64, name: &str, errno: Option<&str>) -> u64 {
    let errno = errno.map(|name| Errno::named(name).expect("there is one"));
    let all = syscalls.returned().unwrap();
    let meant = all
        .iter()
        .filter(|one| (one.namespace, one.call, one.errno) == (inode, call(name), errno));
    meant.map(|one| one.calls).sum()
}

const WHAT: [(&str, &str, Option<&str>, u64); 3] = [
    ("open", "openat", Some("ENOENT"), 2003),
    ("write", "write", Some("ENOSPC"), 1001),
    ("fsync", "fsync", None, 23),
];

#[test]
fn what_a_watched_namespace_is_answered_is_counted_exactly_and_nobody_else() {
    let Some(mut syscalls) = watch_or_skip(&syscalls::work()) else {
        return;
    };
    let (watched, other) = (namespace(), namespace());
    let Some(mut outside) = Victim::start_or_skip(&other) else {
        return;
    };
    let Some(mut inside) = Victim::start_or_skip(&watched) else {
        return;
    };
    let inode = watched.inode().unwrap();
    syscalls.watch_namespace(inode).unwrap();
    for (what, name, errno, count) in WHAT {
        outside.has_done(what, count);
        inside.has_done(what, count);
        assert_eq!(returned(&syscalls, inode, name, errno), count, "{what}");
    }
    let all = syscalls.returned().unwrap();
    assert!(all.iter().all(|one| one.namespace == inode), "{all:?}");
    // This process has been there to start it, and is nobody's.
    let here = |name: &str| all.iter().any(|one| one.call == call(name));
    assert!(!here("setns") && !here("bpf"), "{all:?}");
    let lasted = syscalls.lasted().unwrap();
    let of = |name: &str| lasted.iter().find(|one| one.call == call(name));
    assert_eq!(of("fsync").map(|one| one.took.count), Some(23));
    assert_eq!(of("openat").map(|one| one.took.count), Some(2003));
    // A pipe and a device may wait for somebody.
    assert!(of("read").is_none() && of("write").is_none(), "{lasted:?}");
    assert_eq!(syscalls.lost(), 0);
    syscalls.forget_namespace(inode).unwrap();
    inside.has_done("write", 5);
    assert_eq!(syscalls.returned().unwrap(), []);
    assert_eq!(syscalls.lasted().unwrap(), []);
}

#[test]
fn of_those_who_share_a_namespace_only_who_is_watched_is_counted() {
    let Some(mut syscalls) = watch_or_skip(&[]) else {
        return;
    };
    let shared = namespace();
    let inode = shared.inode().unwrap();
    let victims = [(); 2].map(|()| Victim::start_or_skip(&shared));
    let [Some(mut one), Some(mut other)] = victims else {
        return;
    };
    let pid = one.child.id();
    syscalls.watch_process(inode, pid).unwrap();
    one.has_done("write", 77);
    other.has_done("write", 88);
    let count = |syscalls: &Syscalls| returned(syscalls, inode, "write", Some("ENOSPC"));
    assert_eq!(count(&syscalls), 77);
    syscalls.forget_process(pid).unwrap();
    one.has_done("write", 99);
    assert_eq!(count(&syscalls), 77);
    assert_eq!(syscalls.lasted().unwrap(), [], "nobody has asked");
}

#[test]
fn a_call_that_takes_long_is_timed_so() {
    let sleeps = ["clock_nanosleep", "pselect6", "select"];
    let sleeps = sleeps.map(|name| Call::named(name).map(|call| (call, Timed::Always)));
    let sleeps: Vec<_> = sleeps.into_iter().flatten().collect();
    let Some(mut syscalls) = watch_or_skip(&sleeps) else {
        return;
    };
    let watched = namespace();
    let Some(mut victim) = Victim::start_or_skip(&watched) else {
        return;
    };
    syscalls.watch_namespace(watched.inode().unwrap()).unwrap();
    victim.has_done("sleep", 21);
    let lasted = syscalls.lasted().unwrap();
    let [one] = &lasted[..] else {
        panic!("{lasted:?}");
    };
    assert_eq!(one.took.count, 21);
    let median = one.took.median_us().unwrap();
    // Ten seconds, where nobody says that it is a slow machine's.
    let most_us = u64::try_from(patience().as_micros() / 3).unwrap();
    assert!(median.end > 30_000 && median.start < most_us, "{one:?}");
    assert!(one.took.sum_ns >= 21 * 30_000_000, "{one:?}");
}

#[test]
fn it_can_be_had_since_linux_5_11() {
    match syscalls::trial() {
        Ok(()) => {}
        Err(error) => assert!(!is_since(5, 11), "{error}"),
    }
}
