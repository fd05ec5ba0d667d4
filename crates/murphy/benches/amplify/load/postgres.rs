//! `PostgreSQL`, asked by pgbench.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command},
};

use super::{CLIENTS, Load, TURN_S, end, quiet, run, until_it_works};
use crate::{Lab, Outcome};

/// A server in a folder of its own.
pub struct Postgres {
    child: Child,
    directory: PathBuf,
}

/// The same with those who only read, or who write, too.
pub struct Asked<'a> {
    server: &'a Postgres,
    is_reading: bool,
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
    pub fn start(lab: &Lab) -> Outcome<Self> {
        let directory = lab.directory.path().join("postgres");
        fs::create_dir(&directory)?;
        run(Command::new("chmod").arg("755").arg(lab.directory.path()))?;
        run(Command::new("chown").arg("postgres").arg(&directory))?;
        let data = directory.join("data");
        run(as_postgres(&program("initdb")?)
            .args(["-A", "trust", "-D"])
            .arg(&data))?;
        let child = quiet(
            Command::new("runuser")
                .args(["-u", "postgres", "--"])
                .arg(program("postgres")?)
                .arg("-D")
                .arg(&data)
                .args(["-c", "listen_addresses=", "-c"])
                .arg(format!("unix_socket_directories={}", directory.display())),
        )?;
        let server = Self { child, directory };
        until_it_works(|| run(&mut server.bench(&["-i", "-q", "-s", "5"])).map(drop))?;
        Ok(server)
    }

    pub fn load(&self, is_reading: bool) -> Asked<'_> {
        Asked {
            server: self,
            is_reading,
        }
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
}

impl Load for Asked<'_> {
    fn pid(&self) -> Outcome<u32> {
        self.server.pid()
    }

    /// Transactions in a second.
    fn throughput(&self) -> Outcome<f64> {
        let mut words = vec!["-n", "-T", TURN_S, "-c", CLIENTS];
        if self.is_reading {
            words.push("-S");
        }
        let said = run(&mut self.server.bench(&words))?;
        let line = said.lines().find_map(|line| line.strip_prefix("tps = "));
        let number = line.and_then(|line| line.split(' ').next());
        Ok(number
            .ok_or_else(|| format!("pgbench said {said}"))?
            .parse()?)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        match self.pid() {
            Ok(pid) => end(&mut self.child, pid, "INT"),
            Err(_) => {
                let _ = self.child.kill();
            }
        }
    }
}
