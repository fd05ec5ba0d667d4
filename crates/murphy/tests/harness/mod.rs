//! The harness runs the built binary as a user would and fails a test that leaves anything behind.
//!
//! Everything a test starts carries the guard's mark in its environment, and so does everything *that*
//! starts: when the guard goes, no marked process, no journal entry, no new mount, link or named network
//! namespace may be left.
#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(clippy::print_stderr, reason = "a skipped test says so")]

use std::{
    collections::BTreeSet,
    env,
    ffi::OsStr,
    fs,
    io::{ErrorKind, Read, Write},
    mem,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// The variable that marks what a test has started.
const MARK: &str = "MURPHY_TEST_MARK";
/// The variable with how many times slower than usual this machine is.
const SLACK: &str = "MURPHY_TEST_SLACK";

/// How many times slower than usual this machine is, and how many times less even: 1, but for emulated ones.
pub fn slack() -> u32 {
    let said = env::var(SLACK).ok();
    said.and_then(|said| said.parse().ok()).unwrap_or(1)
}

/// Nothing a test waits for may take longer.
pub fn patience() -> Duration {
    slack() * Duration::from_secs(30)
}

/// Watches over one test.
pub struct Guard {
    dir: TempDir,
    mark: String,
    before: Machine,
}

/// What a test may not change.
#[derive(Debug, PartialEq, Eq)]
struct Machine {
    links: BTreeSet<String>,
    netns: BTreeSet<String>,
}

impl Machine {
    fn now() -> Self {
        let names = |path: &str| {
            let entries = fs::read_dir(path).into_iter().flatten().flatten();
            entries
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                .collect()
        };
        Self {
            links: names("/sys/class/net"),
            netns: names("/run/netns"),
        }
    }
}

impl Guard {
    /// A guard with a directory and a journal of its own.
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Self {
            dir: tempfile::tempdir().expect("a temporary directory"),
            mark: format!("{}-{count}", std::process::id()),
            before: Machine::now(),
        }
    }

    /// The same, or `None` with the reason where the test needs a root that is not there.
    pub fn root_or_skip() -> Option<Self> {
        if rustix_uid() == 0 {
            return Some(Self::new());
        }
        say_skipped("root");
        None
    }

    /// The test's own directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A name for something on the machine that no other test takes for its own.
    pub fn name(&self, ending: &str) -> String {
        format!("mphy-{}-{ending}", self.mark)
    }

    /// The test's own journal.
    pub fn journal(&self) -> PathBuf {
        self.dir().join("journal")
    }

    /// The ids in the journal.
    pub fn injections(&self) -> Vec<String> {
        let entries = fs::read_dir(self.journal()).into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| !name.contains('.')).collect()
    }

    /// The built binary with these words.
    pub fn murphy<W: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = W>) -> Murphy {
        let mut command = Command::new(env!("CARGO_BIN_EXE_murphy"));
        command.args(words).env("MURPHY_JOURNAL", self.journal());
        self.marked(command)
    }

    /// Another program, such as a copy of the binary.
    pub fn program(&self, path: &Path) -> Murphy {
        self.marked(Command::new(path))
    }

    /// A shell script that the test wants to see hurt.
    pub fn victim(&self, script: &str) -> Running {
        let mut command = Command::new("sh");
        command.arg("-c").arg(script).current_dir(self.dir());
        self.marked(command).start()
    }

    /// A victim that counts in the file `count` of the test's directory, a hundred times a second.
    pub fn counter(&self) -> Running {
        let victim = self.victim(include_str!("../../../../victims/counter.sh"));
        wait_until("the victim counts", || self.count() > 2);
        victim
    }

    /// How far the counter is.
    pub fn count(&self) -> u64 {
        let text = fs::read_to_string(self.dir().join("count")).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    }

    /// Whether the counter goes on counting.
    pub fn counts(&self) -> bool {
        let before = self.count();
        thread::sleep(Duration::from_millis(300));
        self.count() > before
    }

    fn marked(&self, mut command: Command) -> Murphy {
        command
            .env(MARK, &self.mark)
            .env_remove("NO_COLOR")
            .stdin(Stdio::null());
        Murphy(command)
    }

    /// Pids of everything that the test has started and that still is there.
    pub fn marked_pids(&self) -> Vec<u32> {
        let wanted = format!("{MARK}={}", self.mark);
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(|pid| {
            let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environ
                .split(|&b| b == 0)
                .any(|variable| variable == wanted.as_bytes())
        })
        .collect()
    }

    /// Those of them that are stopped.
    pub fn stopped_pids(&self) -> Vec<u32> {
        self.marked_pids()
            .into_iter()
            .filter(|pid| is_stopped(*pid))
            .collect()
    }

    /// The keeper at work, if there is one.
    pub fn keeper(&self) -> Option<u32> {
        let is_keeper = |pid: &u32| {
            fs::read(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|words| words.split(|&b| b == 0).any(|word| word == b"__keeper"))
        };
        self.marked_pids().into_iter().find(is_keeper)
    }

    /// A directory on a file system of so many bytes, in a mount namespace of the returned shell's own.
    pub fn on_small_disk<W: AsRef<OsStr>>(
        &self,
        bytes: u32,
        words: impl IntoIterator<Item = W>,
    ) -> Murphy {
        let small = self.dir().join("small");
        fs::create_dir(&small).expect("a new directory");
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--propagation", "slave", "sh", "-c"])
            .arg(format!(
                "mount -t tmpfs -o size={bytes} small \"$1\" && shift && exec \"$@\""
            ))
            .arg("sh")
            .arg(&small)
            .arg(env!("CARGO_BIN_EXE_murphy"))
            .args(words)
            .env("MURPHY_JOURNAL", self.journal());
        self.marked(command)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let until = Instant::now() + slack() * Duration::from_secs(5);
        let mut left = self.marked_pids();
        while !left.is_empty() && Instant::now() < until {
            thread::sleep(Duration::from_millis(20));
            left = self.marked_pids();
        }
        let names: Vec<_> = left
            .iter()
            .map(|pid| {
                format!(
                    "{pid} {}",
                    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default()
                )
            })
            .collect();
        for pid in &left {
            signal(*pid, "KILL");
        }
        if thread::panicking() {
            return;
        }
        assert!(left.is_empty(), "processes were left behind: {names:?}");
        assert_eq!(
            self.injections(),
            [""; 0],
            "journal entries were left behind"
        );
        let now = Machine::now();
        let fresh: Vec<_> = now.links.difference(&self.before.links).collect();
        assert!(fresh.is_empty(), "links were left behind: {fresh:?}");
        let others =
            |name: &&String| name.starts_with("mphy-") && !name.starts_with(&self.name(""));
        let fresh = now.netns.difference(&self.before.netns);
        let fresh: Vec<_> = fresh.filter(|name| !others(name)).collect();
        assert!(fresh.is_empty(), "namespaces were left behind: {fresh:?}");
        let mounts = fs::read_to_string("/proc/self/mounts").expect("mounts");
        let dir = self.dir.path().to_str().expect("a UTF-8 path");
        assert!(!mounts.contains(dir), "mounts were left behind:\n{mounts}");
    }
}

fn rustix_uid() -> u32 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    line.and_then(|ids| ids.split_whitespace().nth(1)?.parse().ok())
        .unwrap_or(u32::MAX)
}

/// Whether a process is stopped by a signal.
pub fn is_stopped(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')')
        .next()
        .is_some_and(|rest| rest.trim_start().starts_with('T'))
}

/// Sends a signal by name.
pub fn signal(pid: u32, name: &str) {
    // A process that is gone needs no signal.
    let _ = Command::new("kill")
        .args(["-s", name, &pid.to_string()])
        .stderr(Stdio::null())
        .status();
}

/// Waits until something is so; panics with its name when it is not in time.
pub fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let until = Instant::now() + patience();
    while !is_so() {
        assert!(Instant::now() < until, "it never came that {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A program of another member of the workspace, built beside Murphy's exactly as the suite builds everything: with less
/// asked for, its dependencies would get other features, and all would be built again.
pub fn program(name: &str) -> PathBuf {
    let built = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["test", "--locked", "--workspace", "--no-run", "--quiet"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo");
    let said = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "{said}");
    let program = Path::new(env!("CARGO_BIN_EXE_murphy")).with_file_name(name);
    assert!(program.exists(), "{} is not built", program.display());
    program
}

/// A command about to run.
pub struct Murphy(Command);

impl Murphy {
    /// One more word.
    pub fn arg(mut self, word: impl AsRef<OsStr>) -> Self {
        self.0.arg(word);
        self
    }

    /// More words.
    pub fn args<W: AsRef<OsStr>>(mut self, words: impl IntoIterator<Item = W>) -> Self {
        self.0.args(words);
        self
    }

    /// One more variable.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.0.env(name, value);
        self
    }

    /// In another directory.
    pub fn in_dir(mut self, directory: &Path) -> Self {
        self.0.current_dir(directory);
        self
    }

    /// As another user.
    pub fn owned_by(mut self, uid: u32) -> Self {
        self.0.uid(uid).gid(uid);
        self
    }

    /// Runs it to its end.
    pub fn run(self) -> Ended {
        self.start().wait()
    }

    /// Starts it.
    pub fn start(mut self) -> Running {
        self.0.stdout(Stdio::piped()).stderr(Stdio::piped());
        let until = Instant::now() + patience();
        loop {
            match self.0.spawn() {
                // A copy that was just written is still open in what another test forks right now, until it executes.
                Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => {
                    assert!(Instant::now() < until, "{error}");
                    thread::sleep(Duration::from_millis(5));
                }
                child => {
                    return Running {
                        child: Some(child.expect("the program starts")),
                        said: String::new(),
                    };
                }
            }
        }
    }
}

/// A command that runs.
pub struct Running {
    child: Option<Child>,
    /// What of its output has been read already.
    said: String,
}

impl Running {
    /// Its pid.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// `pid:N`, as a target.
    pub fn target(&self) -> String {
        format!("pid:{}", self.pid())
    }

    /// Sends it a signal.
    pub fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.as_mut().expect("it runs").try_wait(), Ok(None))
    }

    /// The line in which it says a word, as soon as it does; panics when it ends before.
    pub fn until_it_says(&mut self, word: &str) -> String {
        let child = self.child.as_mut().expect("it runs");
        let stdout = child.stdout.as_mut().expect("it is a pipe");
        loop {
            let mut line = Vec::new();
            // No further than the line: who waits for it reads the rest.
            while line.last() != Some(&b'\n') {
                let mut byte = [0];
                stdout
                    .read_exact(&mut byte)
                    .unwrap_or_else(|error| panic!("it never said {word}: {error}: {}", self.said));
                line.push(byte[0]);
            }
            let line = String::from_utf8_lossy(&line).into_owned();
            self.said.push_str(&line);
            if line.contains(word) {
                return line;
            }
        }
    }

    /// Waits for its end.
    pub fn wait(mut self) -> Ended {
        let child = self.child.take().expect("it runs");
        let output = child.wait_with_output().expect("it can be waited for");
        Ended {
            code: output.status.code().unwrap_or(-1),
            stdout: mem::take(&mut self.said) + &String::from_utf8_lossy(&output.stdout),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// A command goes with its test, however that ends; what it said helps to see why it failed.
impl Drop for Running {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        let _ = child.kill();
        if !thread::panicking() {
            let _ = child.wait();
        } else if let Ok(output) = child.wait_with_output() {
            eprintln!("{}{}", self.said, String::from_utf8_lossy(&output.stdout));
            eprintln!("{}", String::from_utf8_lossy(&output.stderr));
        }
    }
}

/// A command that has run.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code; -1 after a signal.
    pub code: i32,
    /// What it said.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

impl Ended {
    /// The lines of `--json`.
    pub fn lines(&self) -> Vec<serde_json::Value> {
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e} in {line}"));
        self.stdout.lines().map(parse).collect()
    }
}

/// Says what a test lacks, past the capture of the test runner, so that it is counted.
pub fn say_skipped(what: &str) {
    // In one piece: other tests write there, too.
    let _ = std::io::stderr().write_all(format!("skipped: {what}\n").as_bytes());
}
