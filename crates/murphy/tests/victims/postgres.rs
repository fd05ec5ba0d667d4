//! `PostgreSQL` as it is: a cluster of its own in the test's directory, on a Unix socket, and on an address where one is said.

use std::{
    cell::{Cell, RefCell},
    ffi::OsString,
    fs::{self, File},
    io::Write,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::Command,
};

use super::{Heard, Nanos, host_ns, named_pipe, program::tool_or_skip};
use crate::harness::{Guard, Murphy, wait_until};

/// The server's time of day, as `R <ns>`.
const NOW: &str = "select 'R ' || (extract(epoch from clock_timestamp()) * 1000000000)::bigint";

/// A server.
pub struct Postgres<'a> {
    guard: &'a Guard,
    programs: PathBuf,
    uid: u32,
    server: Option<Heard>,
}

impl<'a> Postgres<'a> {
    /// A server that answers; none, with the reason, where `PostgreSQL` is not installed.
    pub fn start_or_skip(guard: &'a Guard) -> Option<Self> {
        Self::start_at_or_skip(guard, "")
    }

    /// The same, which listens at an address, too, in the network namespace of this thread.
    pub fn start_at_or_skip(guard: &'a Guard, address: &str) -> Option<Self> {
        let programs = programs_or_skip()?;
        // It refuses to run as root.
        let uid = uid_of_postgres_or_skip()?;
        let mut postgres = Self {
            guard,
            programs,
            uid,
            server: None,
        };
        fs::set_permissions(guard.dir(), fs::Permissions::from_mode(0o755)).expect("own directory");
        fs::create_dir(postgres.home()).expect("a new directory");
        chown(postgres.home(), Some(uid), Some(uid)).expect("root may");
        let made = postgres
            .program("initdb")
            .args(["--auth=trust", "--username=postgres", "--no-sync"])
            .args(["--no-locale", "--encoding=UTF8", "--pgdata=data"])
            .run();
        assert_eq!(made.code, 0, "{made:?}");
        let home = postgres.home();
        let socket = format!("unix_socket_directories={}", home.display());
        // Its log is a file of its own, so that it never waits for somebody to read it.
        let words = ["sh", "-c", "exec \"$0\" \"$@\" 2>log"].map(OsString::from);
        let program = [postgres.programs.join("postgres").into_os_string()];
        let listen = format!("listen_addresses={address}");
        let settings = ["-D", "data", "-c", &listen, "-c", &socket].map(OsString::from);
        let words = words.into_iter().chain(program).chain(settings);
        let server = Heard::start_as(guard, words, |server| server.in_dir(&home).owned_by(uid));
        postgres.server = Some(server);
        wait_until("the server answers", || postgres.psql("select 1").is_ok());
        Some(postgres)
    }

    fn home(&self) -> PathBuf {
        self.guard.dir().join("postgres")
    }

    /// One of its programs, as its user.
    fn program(&self, name: &str) -> Murphy {
        self.guard
            .program(&self.programs.join(name))
            .in_dir(&self.home())
            .owned_by(self.uid)
    }

    /// The words that start one of its clients.
    pub fn client(&self, name: &str) -> Vec<OsString> {
        let mut words = vec![self.programs.join(name).into_os_string()];
        words.extend(["-U".into(), "postgres".into()]);
        words.extend(["-h".into(), self.home().into_os_string()]);
        words
    }

    /// The server, as a target.
    pub fn target(&self) -> String {
        self.server.as_ref().expect("it runs").target()
    }

    /// What a statement gives in a session of its own: a process forked for it now.
    pub fn psql(&self, statement: &str) -> Result<String, String> {
        let words = self.client("psql");
        let ended = self
            .guard
            .program(Path::new(&words[0]))
            .args(&words[1..])
            .args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-d", "postgres", "-c"])
            .arg(statement)
            .run();
        if ended.code == 0 {
            Ok(ended.stdout.trim().to_owned())
        } else {
            Err(ended.stderr)
        }
    }

    /// What a statement must give.
    pub fn ask(&self, statement: &str) -> String {
        self.psql(statement)
            .unwrap_or_else(|error| panic!("{statement}: {error}"))
    }

    /// By how much the clock of a session that starts now is wrong: no less than this and no more than that.
    pub fn skew_of_new_session(&self) -> (Nanos, Nanos) {
        let before = host_ns();
        let said = self.ask(NOW);
        let now = parse_now(&said).unwrap_or_else(|| panic!("no time: {said}"));
        (now - host_ns(), now - before)
    }

    /// A session that does the same ten times a second.
    pub fn session(&self, name: &str, statement: &str) -> Heard {
        let script = self.guard.dir().join(name);
        fs::write(&script, format!("{statement} \\watch 0.1\n")).expect("own directory");
        self.session_of(&script)
    }

    /// A session that does what stands in a file.
    fn session_of(&self, script: &Path) -> Heard {
        let mut words = self.client("psql");
        words.extend(["-XAtq", "-v", "ON_ERROR_STOP=1", "-d", "postgres", "-f"].map(Into::into));
        words.push(script.into());
        Heard::start(self.guard, words)
    }

    /// A session that says the server's time when it is asked.
    pub fn clock(&self) -> Clock {
        let questions = named_pipe(self.guard, "asked");
        let session = self.session_of(&questions);
        let questions = File::options()
            .write(true)
            .open(questions)
            .expect("the named pipe");
        let clock = Clock {
            session,
            questions: RefCell::new(questions),
            asked: Cell::new(0),
        };
        clock.skew();
        clock
    }

    /// Stops the server as its users do, and expects that it ends well.
    pub fn stop(mut self) {
        let stopped = self
            .program("pg_ctl")
            .args(["stop", "--pgdata=data", "--mode=fast", "--timeout=20"])
            .run();
        let log = fs::read_to_string(self.home().join("log")).unwrap_or_default();
        assert_eq!(stopped.code, 0, "{stopped:?}\n{log}");
        let (ended, _) = self.server.take().expect("it runs").wait();
        assert_eq!(ended.code, 0, "{ended:?}\n{log}");
        assert!(!log.contains("PANIC"), "{log}");
        assert!(log.contains("database system is shut down"), "{log}");
    }
}

/// A session that says the server's time.
pub struct Clock {
    session: Heard,
    /// Where it reads its statements.
    questions: RefCell<File>,
    asked: Cell<u32>,
}

impl Clock {
    /// By how much it is wrong: no less than this and no more than that.
    pub fn skew(&self) -> (Nanos, Nanos) {
        let number = self.asked.get();
        self.asked.set(number + 1);
        let before = host_ns();
        writeln!(
            self.questions.borrow_mut(),
            "select 'Q{number} ' || ({NOW});"
        )
        .expect("it reads");
        let asked = format!("Q{number} ");
        let (heard, now) = self
            .session
            .wait_for("the session says the time", 0, |line| {
                let said = line.text.strip_prefix(&asked)?;
                Some((line.host_ns, parse_now(said)?))
            });
        (now - heard, now - before)
    }

    /// Ends the session.
    pub fn close(self) {
        self.session.signal("TERM");
        let _ = self.session.wait();
    }
}

fn parse_now(line: &str) -> Option<Nanos> {
    line.strip_prefix("R ")?.parse().ok()
}

/// Where Debian keeps the programs of the newest server, or where `initdb` is.
fn programs_or_skip() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let directories = versions.flatten().map(|version| version.path().join("bin"));
    let newest = directories
        .filter(|directory| directory.join("initdb").is_file())
        .max();
    newest.or_else(|| Some(tool_or_skip("initdb")?.parent()?.to_owned()))
}

fn uid_of_postgres_or_skip() -> Option<u32> {
    let output = Command::new("id").args(["-u", "postgres"]).output().ok()?;
    let uid = String::from_utf8_lossy(&output.stdout).trim().parse().ok();
    if uid.is_none() {
        crate::harness::say_skipped("the user postgres");
    }
    uid
}
