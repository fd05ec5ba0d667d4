//! The shop's `PostgreSQL` keeps its data in the directory of the lab, and keeps nothing that is lost with the lab.

use std::{ffi::OsString, fs, os::unix::fs::chown, path::Path, process::Stdio};

use murphy_sys::spawn::Launch;

use super::{LabError, error::refused, needs::Server, words};

/// Who may connect: whoever is in the network of the shop.
const TRUSTED: &str = "host all all 10.78.0.0/24 trust\nhost all all fd78::/64 trust\n";
/// What differs from its defaults: it listens on the bridge and nowhere else, it is small, and whatever it shares
/// between its processes is a file in its directory, not one that would stay in `/dev/shm` after a kill.
const SETTINGS: [&str; 7] = [
    "listen_addresses=*",
    "unix_socket_directories=",
    "fsync=off",
    "shared_buffers=16MB",
    "dynamic_shared_memory_type=mmap",
    "max_connections=40",
    "max_wal_size=64MB",
];

impl Server {
    /// Makes the data directory, which must not exist. `env` has the tag of the lab.
    pub fn initialise(&self, data: &Path, env: &[(OsString, OsString)]) -> Result<(), LabError> {
        fs::create_dir(data).map_err(refused("create", data))?;
        chown(data, Some(self.user), Some(self.group)).map_err(refused("give away", data))?;
        let mut argv = words(["timeout", "--kill-after=5", "60"]);
        argv.extend(self.alone("initdb"));
        argv.extend(words(["--auth=trust", "--username=postgres", "--no-sync"]));
        argv.extend(words(["--no-locale", "--encoding=UTF8", "--pgdata"]));
        argv.push(data.into());
        let mut launch = Launch::new(argv);
        launch.env = env.to_vec();
        launch.cwd = Some(data.into());
        launch.stdout = Stdio::null();
        launch.stderr = Stdio::piped();
        let ended = launch.spawn()?.wait_with_output();
        let ended = ended.map_err(|source| LabError::Process {
            action: "wait for initdb",
            source,
        })?;
        if !ended.status.success() {
            let said = String::from_utf8_lossy(&ended.stderr);
            return Err(LabError::Program {
                program: "initdb",
                said: said.trim().replace('\n', "; "),
            });
        }
        let access = data.join("pg_hba.conf");
        let lines = fs::read_to_string(&access).map_err(refused("read", &access))?;
        fs::write(&access, lines + TRUSTED).map_err(refused("write", &access))
    }

    /// What starts the server on its data.
    pub fn words(&self, data: &Path) -> Vec<OsString> {
        let mut argv = vec![self.programs.join("postgres").into_os_string(), "-D".into()];
        argv.push(data.into());
        for setting in SETTINGS {
            argv.extend(words(["-c", setting]));
        }
        argv
    }

    /// The same outside a container.
    pub fn words_alone(&self, data: &Path) -> Vec<OsString> {
        let mut argv = self.alone("postgres");
        argv.extend(self.words(data).drain(1..));
        argv
    }

    /// One of its programs, as its user, in namespaces for processes and for shared memory of its own: a kill of its
    /// first process ends all, and all that they share. A change of user forgets whose death is to end a process;
    /// hence the option.
    fn alone(&self, program: &str) -> Vec<OsString> {
        let mut argv = words(["unshare", "--ipc", "--pid", "--fork", "--kill-child"]);
        argv.extend(words(["setpriv", "--clear-groups", "--pdeathsig", "KILL"]));
        argv.push(format!("--reuid={}", self.user).into());
        argv.push(format!("--regid={}", self.group).into());
        argv.push(self.programs.join(program).into_os_string());
        argv
    }
}
