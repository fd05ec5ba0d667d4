//! A census of real programs: what it counts is what they say that they have done, no call more and none less.

mod pool;

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdout, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use murphy_sys::census::{Census, Kind, Lives, Times};
use pool::{patience, say_skipped};

/// Waits for a line, does that so often as it says, and says that it has.
const VICTIM: &str = "
import ctypes, fcntl, os, select, socket, sys, tempfile, time
libc = ctypes.CDLL(None, use_errno=True)
where = tempfile.mkdtemp()
path = os.path.join(where, 'file')
file = os.open(path, os.O_RDWR | os.O_CREAT)
empty, unused = os.pipe2(os.O_NONBLOCK)
listener = socket.create_server(('127.0.0.1', 0))
client = socket.create_connection(listener.getsockname())
server, _ = listener.accept()
client.setblocking(False)
udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
udp.setblocking(False)
left, right = socket.socketpair()
right.close()
event = os.eventfd(0, os.EFD_NONBLOCK) if hasattr(os, 'eventfd') else libc.eventfd(0, os.O_NONBLOCK)
epoll = select.epoll()
word = ctypes.c_int(7)
FUTEX = 202
def children(count):
    for _ in range(3):
        child = os.fork()
        if child == 0:
            for _ in range(count):
                os.getppid()
            if os.fork() == 0:
                for _ in range(count):
                    os.getppid()
                os._exit(0)
            os.wait()
            os._exit(0)
    for _ in range(3):
        os.wait()
DO = {
    'read-empty': lambda: os.read(empty, 1),
    'read-file': lambda: os.read(file, 1),
    'read-event': lambda: os.read(event, 8),
    'receive': lambda: client.recv(1),
    'receive-asked': lambda: server.recv(1, socket.MSG_DONTWAIT),
    'receive-udp': lambda: udp.recv(1),
    'send-broken': lambda: left.send(b'?', socket.MSG_NOSIGNAL),
    'open-missing': lambda: os.open('/no/such/file', os.O_RDONLY),
    'open-again': lambda: os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL),
    'watch-file': lambda: epoll.register(file, select.EPOLLIN),
    'forget': lambda: epoll.unregister(client),
    'lock': lambda: fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB),
    'wait': lambda: libc.syscall(FUTEX, ctypes.byref(word), 128, 0, None, None, 0),
    'wake': lambda: libc.syscall(FUTEX, ctypes.byref(word), 129, 1, None, None, 0),
    'sleep': lambda: time.sleep(0.02),
    'parent': lambda: os.getppid(),
}
print('ready', flush=True)
for line in sys.stdin:
    what, count = line.split()
    if what == 'children':
        children(int(count))
    else:
        for _ in range(int(count)):
            try:
                DO[what]()
            except OSError:
                pass
    print('done', flush=True)
os.unlink(path)
os.rmdir(where)
";

struct Victim {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Victim {
    fn start_or_skip() -> Option<Self> {
        let mut command = Command::new("python3");
        command.args(["-c", VICTIM]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = match command.spawn() {
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
        // It goes by itself, and tidies up, when nobody has anything more for it to do.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

fn begin_or_skip(times: Times) -> Option<Census> {
    match Census::begin(times) {
        Ok(census) => Some(census),
        Err(error) => {
            say_skipped(&error);
            None
        }
    }
}

/// How often each thing was counted, in words: `call[:operation] [kind[*]] [errno]`, with a star where it does not wait.
fn said(census: &Census) -> BTreeMap<String, u64> {
    let all = census.counted().expect("it is counted");
    all.iter()
        .map(|one| {
            let key = one.key;
            let operation = key.operation.map(|one| format!(":{one}"));
            let star = if key.nonblocking == Some(true) {
                "*"
            } else {
                ""
            };
            let kind = key.kind.map(|one| format!(" {one}{star}"));
            let errno = key.errno.map(|one| format!(" {one}"));
            let parts = [operation, kind, errno].map(Option::unwrap_or_default);
            (format!("{}{}", key.call, parts.concat()), one.calls)
        })
        .collect()
}

#[test]
fn calls_are_told_apart_by_what_they_are_asked_of_what() {
    let (Some(mut census), Some(mut victim)) =
        (begin_or_skip(Times::Untaken), Victim::start_or_skip())
    else {
        return;
    };
    census.add(victim.child.id()).unwrap();
    let expected = [
        ("read-empty", 31, "read pipe* EAGAIN"),
        ("read-file", 37, "read file"),
        ("read-event", 41, "read eventfd* EAGAIN"),
        ("receive", 43, "recvfrom tcp* EAGAIN"),
        ("receive-udp", 47, "recvfrom udp* EAGAIN"),
        ("send-broken", 53, "sendto unix EPIPE"),
        ("open-missing", 59, "openat:plain ENOENT"),
        ("open-again", 61, "openat:exclusive EEXIST"),
        ("watch-file", 67, "epoll_ctl:add file EPERM"),
        ("forget", 71, "epoll_ctl:del tcp* ENOENT"),
        ("lock", 73, "fcntl:lock file"),
        ("wait", 79, "futex:wait EAGAIN"),
        ("wake", 83, "futex:wake"),
    ];
    for (what, times, _) in expected {
        victim.has_done(what, times);
    }
    let all = said(&census);
    for (what, times, how) in expected {
        assert_eq!(all.get(how), Some(&times), "{what}: {all:?}");
    }
    // MSG_DONTWAIT at a socket that waits otherwise.
    victim.has_done("receive-asked", 5);
    assert_eq!(said(&census)["recvfrom tcp* EAGAIN"], 48);
    assert_eq!(census.lost(), 0);
}

#[test]
fn children_are_counted_from_their_first_call_on_and_strangers_never() {
    let (Some(mut census), Some(mut victim), Some(mut stranger)) = (
        begin_or_skip(Times::Untaken),
        Victim::start_or_skip(),
        Victim::start_or_skip(),
    ) else {
        return;
    };
    stranger.has_done("parent", 1000);
    assert_eq!(census.counted().unwrap(), []);
    census.add(victim.child.id()).unwrap();
    victim.has_done("children", 500);
    stranger.has_done("parent", 1000);
    // Three children, with one each.
    assert_eq!(said(&census)["getppid"], 6 * 500);
    let forks: u64 = said(&census)
        .iter()
        .filter(|(how, _)| how.starts_with("clone"))
        .map(|(_, calls)| calls)
        .sum();
    assert_eq!(forks, 6, "a call returns once: {:?}", said(&census));
    let begun = Instant::now();
    while census.members() != [victim.child.id()] {
        assert!(begun.elapsed() < patience(), "{:?}", census.members());
        sleep(Duration::from_millis(5));
    }
    assert_eq!(census.lives(), Lives { born: 6, died: 6 });
    census.remove(victim.child.id()).unwrap();
    victim.has_done("parent", 10);
    assert_eq!(said(&census)["getppid"], 6 * 500);
}

#[test]
fn the_time_of_calls_is_theirs() {
    let (Some(mut census), Some(mut victim)) =
        (begin_or_skip(Times::Taken), Victim::start_or_skip())
    else {
        return;
    };
    census.add(victim.child.id()).unwrap();
    victim.has_done("sleep", 10);
    let all = census.counted().unwrap();
    let sleeps = all
        .iter()
        .filter(|one| one.key.call.name() == Some("clock_nanosleep"));
    let (calls, ns) = sleeps.fold((0, 0), |(calls, ns), one| {
        (calls + one.calls, ns + one.took_ns)
    });
    assert_eq!(calls, 10);
    assert!(ns >= 10 * 20_000_000, "they took {ns} ns together");
    victim.has_done("read-file", 10);
    let all = census.counted().unwrap();
    let reads = all
        .iter()
        .find(|one| one.key.call.name() == Some("read") && one.key.kind == Some(Kind::File));
    assert!(
        reads.is_some_and(|one| one.took_ns > 0 && one.took_ns < 1_000_000_000),
        "{reads:?}"
    );
}

#[test]
fn ten_million_calls_are_ten_million() {
    const EACH: u64 = 5_000_000;
    let Some(mut census) = begin_or_skip(Times::Untaken) else {
        return;
    };
    // It reads what it is to do when it is counted.
    let mut shell = Command::new("sh")
        .args([
            "-c",
            &format!("read go; exec dd if=/dev/zero of=/dev/null bs=1 count={EACH}"),
        ])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a shell");
    census.add(shell.id()).unwrap();
    drop(shell.stdin.take());
    let said_itself = shell.wait_with_output().expect("it ends");
    let said_itself = String::from_utf8_lossy(&said_itself.stderr).into_owned();
    assert!(
        said_itself.contains(&format!("{EACH}+0 records out")),
        "{said_itself}"
    );
    let all = said(&census);
    assert_eq!(
        (all["read device"], all["write device"]),
        (EACH, EACH),
        "{all:?}"
    );
    assert_eq!(census.lost(), 0);
}

#[test]
fn a_tracer_counts_the_same() {
    const EACH: u64 = 60_000;
    let Some(mut census) = begin_or_skip(Times::Untaken) else {
        return;
    };
    let directory = tempfile::tempdir().expect("a directory");
    let counted = directory.path().join("counted");
    // The shell says who it is and waits; what it executes then is counted by both, with all that it does to begin.
    let dd = format!("dd if=/dev/zero of=/dev/null bs=1 count={EACH}");
    let strace = Command::new("strace")
        .args(["-f", "-c", "-U", "name,calls,errors", "-o"])
        .arg(&counted)
        .args(["sh", "-c", &format!("echo $$; read go; exec {dd}")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut strace = match strace {
        Ok(strace) => strace,
        Err(error) => return say_skipped(&format!("strace: {error}")),
    };
    let mut said_pid = String::new();
    let out = strace.stdout.take().expect("a pipe");
    BufReader::new(out)
        .read_line(&mut said_pid)
        .expect("it says its pid");
    census.add(said_pid.trim().parse().expect("a pid")).unwrap();
    let mut input = strace.stdin.take().expect("a pipe");
    writeln!(input, "go").expect("it listens");
    drop(input);
    assert!(strace.wait().expect("it ends").success());
    let table = std::fs::read_to_string(&counted).expect("it was counted");
    let calls_of = |name: &str| -> u64 {
        let rows = table
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>());
        let row = rows.into_iter().find(|row| row.first() == Some(&name));
        row.and_then(|row| row.get(1)?.parse().ok()).unwrap_or(0)
    };
    let all = census.counted().unwrap();
    let of = |name: &str| -> u64 {
        let own = all.iter().filter(|one| one.key.call.name() == Some(name));
        own.map(|one| one.calls).sum()
    };
    // `write` of the shell's pid came before; a shell's `read` of one line is a read for each byte.
    assert_eq!(of("write"), calls_of("write") - 1, "{table}");
    assert!(of("write") >= EACH);
    let reads = calls_of("read") - of("read");
    assert!(reads <= 3, "those before it was counted: {reads}; {table}");
    for name in ["close", "lseek", "munmap", "openat"] {
        assert!(
            of(name) > 0 && of(name) <= calls_of(name),
            "{name}: {table}"
        );
    }
    assert_eq!(census.lost(), 0);
}
