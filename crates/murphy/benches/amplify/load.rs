//! What recording takes of a server under load: `PostgreSQL`, recorded and not, by turns.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use crate::{Lab, Outcome, figure::Figure, recorder};

/// How long each turn is, in seconds.
const TURN_S: &str = "3";
const CLIENTS: &str = "4";

/// A server of `PostgreSQL` in a folder of its own.
struct Postgres {
    child: Child,
    directory: PathBuf,
}

/// Where Debian keeps its programs.
fn program(name: &str) -> Outcome<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql")?;
    let programs = versions.filter_map(|one| Some(one.ok()?.path().join("bin").join(name)));
    let found = programs.filter(|path| path.exists()).max();
    found.ok_or_else(|| {
        format!("{name} is not installed; labs/setup/packages victims installs it").into()
    })
}

/// As its own user, who is not root.
fn as_postgres(program: &Path) -> Command {
    let mut command = Command::new("runuser");
    command.args(["-u", "postgres", "--"]).arg(program);
    command
}

impl Postgres {
    fn start(lab: &Lab) -> Outcome<Self> {
        let directory = lab.directory.path().join("postgres");
        fs::create_dir(&directory)?;
        let run = |command: &mut Command| -> Outcome<()> {
            let output = command.output()?;
            if output.status.success() {
                return Ok(());
            }
            Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)).into())
        };
        run(Command::new("chmod").arg("755").arg(lab.directory.path()))?;
        run(Command::new("chown").arg("postgres").arg(&directory))?;
        let data = directory.join("data");
        run(as_postgres(&program("initdb")?)
            .args(["-A", "trust", "-D"])
            .arg(&data))?;
        let child = Command::new("runuser")
            .args(["-u", "postgres", "--", "sh", "-c", "exec \"$@\"", "sh"])
            .arg(program("postgres")?)
            .arg("-D")
            .arg(&data)
            .args(["-c", "listen_addresses=", "-c"])
            .arg(format!("unix_socket_directories={}", directory.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let server = Self { child, directory };
        let until = Instant::now() + Duration::from_secs(30);
        while run(&mut server.bench(&["-i", "-q", "-s", "5"])).is_err() {
            if Instant::now() > until {
                return run(&mut server.bench(&["-i", "-q", "-s", "5"])).map(|()| server);
            }
            sleep(Duration::from_millis(200));
        }
        Ok(server)
    }

    fn bench(&self, words: &[&str]) -> Command {
        let mut command = as_postgres(Path::new("pgbench"));
        command
            .arg("-h")
            .arg(&self.directory)
            .args(words)
            .arg("postgres");
        command
    }

    /// Its own pid, and not that of who started it.
    fn pid(&self) -> Outcome<u32> {
        let text = fs::read_to_string(self.directory.join("data/postmaster.pid"))?;
        Ok(text.lines().next().unwrap_or_default().trim().parse()?)
    }

    /// How many transactions there are in a second.
    fn throughput(&self, words: &[&str]) -> Outcome<f64> {
        let output = self
            .bench(&[&["-n", "-T", TURN_S, "-c", CLIENTS], words].concat())
            .output()?;
        let text = String::from_utf8(output.stdout)?;
        let line = text.lines().find_map(|line| line.strip_prefix("tps = "));
        let number = line.and_then(|line| line.split(' ').next());
        Ok(number
            .ok_or_else(|| format!("pgbench said {text}"))?
            .parse()?)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Ok(pid) = self.pid() {
            let _ = Command::new("kill")
                .args(["-s", "INT", &pid.to_string()])
                .status();
        }
        let _ = self.child.wait();
    }
}

pub fn measure(lab: &Lab, runs: usize) -> Outcome<Vec<Figure>> {
    let server = Postgres::start(lab)?;
    let mut figures = Vec::new();
    for (what, words) in [
        (
            "load: PostgreSQL that reads, recorded, of not recorded",
            &["-S"][..],
        ),
        (
            "load: PostgreSQL that writes, recorded, of not recorded",
            &[],
        ),
    ] {
        let mut ratios = Vec::new();
        for _ in 0..runs {
            let bare = server.throughput(words)?;
            let tool = recorder(server.pid()?)?;
            let recorded = server.throughput(words)?;
            drop(tool);
            ratios.push(recorded / bare);
        }
        figures.push(Figure::ratio(what, "95 % above 95 %", &ratios));
    }
    Ok(figures)
}
