//! A conmon is the process that watches one container of podman or CRI-O, and was told its id and name.
//!
//! Podman has no daemon, and mostly no socket; its containers are known from these processes. Anybody can start
//! a process of this name, and a command that it names is run: Murphy listens only to those of root and of its
//! own user, in its own mount namespace.

use std::{
    fs,
    io::Read,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
};

use murphy_sys::{process, table::ProcessTable};

use super::{ANSWER_BYTES_MAX, ANSWER_LIMIT, Runtime, RuntimeError, docker};
use crate::container::{Listed, is_id};

/// No more places than this are asked; nearly every machine has one.
const PODMANS_MAX: usize = 8;

/// A container that has a conmon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Watched {
    pub(crate) runtime: Runtime,
    id: String,
    name: String,
    /// The container's first process, the conmon's child.
    pid: Option<u32>,
    /// The podman that started it, with the options that lead it to its state.
    podman: Vec<String>,
}

impl Watched {
    /// Every container with a conmon that Murphy listens to.
    pub(crate) fn all(table: &ProcessTable) -> Vec<Self> {
        let own = process::namespace_inode(std::process::id(), "mnt").ok();
        let trusted = [Some("0".to_owned()), only_user(std::process::id())];
        let conmons = table.iter().filter(|stat| stat.comm == "conmon");
        conmons
            .filter(|stat| {
                let user = only_user(stat.pid);
                user.is_some() && trusted.contains(&user)
            })
            // In another one its paths mean something else, and its root is somebody else.
            .filter(|stat| own.is_some() && process::namespace_inode(stat.pid, "mnt").ok() == own)
            .filter_map(|stat| {
                let words = process::command_line(stat.pid).ok()?;
                let mut watched = Self::parse(&words)?;
                watched.pid = table
                    .iter()
                    .find(|child| child.parent == stat.pid)
                    .map(|child| child.pid);
                Some(watched)
            })
            .collect()
    }

    /// Reads `conmon -c ID -n NAME … --exit-command podman --exit-command-arg --root …`.
    fn parse(words: &[String]) -> Option<Self> {
        let after = |option: &[&str]| {
            let at = words
                .iter()
                .position(|word| option.contains(&word.as_str()))?;
            words.get(at + 1).cloned()
        };
        // One that watches a command started in the container later, by `podman exec`.
        if words.iter().any(|word| word == "--exec-process-spec") {
            return None;
        }
        let id = after(&["-c", "--cid"]).filter(|id| is_id(id))?;
        let name = after(&["-n", "--name"])?;
        let command = after(&["--exit-command"]);
        let is_podman = command
            .as_deref()
            .is_some_and(|path| path.rsplit('/').next() == Some("podman"));
        let mut podman = Vec::new();
        if is_podman {
            podman.extend(command);
            let arguments = words
                .windows(2)
                .filter(|two| two[0] == "--exit-command-arg")
                .map(|two| two[1].clone())
                .take_while(|word| word != "container");
            podman.extend(arguments);
        }
        Some(Self {
            runtime: if is_podman {
                Runtime::Podman
            } else {
                Runtime::Crio
            },
            id,
            name,
            pid: None,
            podman,
        })
    }

    pub(super) fn listed(&self) -> Listed {
        Listed {
            runtime: Some(self.runtime),
            namespace: None,
            id: self.id.clone(),
            names: vec![self.name.clone()],
            labels: [].into(),
            pid: self.pid,
            is_running: true,
            // Kubernetes' name for the container that only holds a pod's namespaces.
            is_sandbox: self.name.starts_with("k8s_POD_"),
        }
    }
}

/// The user that a process runs as in every respect. The owner of its folder in `/proc` is no such thing: a
/// process that hides its memory gives that to root.
fn only_user(pid: u32) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    user_of(&status)
}

/// Reads the real, effective, saved and file system user of `proc_pid_status(5)`.
fn user_of(status: &str) -> Option<String> {
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    let mut users = line.split_ascii_whitespace();
    let first = users.next()?;
    users.all(|user| user == first).then(|| first.to_owned())
}

/// Asks podman's command, once for each place where it keeps its state, for what a conmon does not know.
pub(super) fn ask_podman(watched: &[Watched]) -> Vec<Result<(Runtime, Vec<Listed>), RuntimeError>> {
    let mut commands: Vec<&[String]> = watched
        .iter()
        .map(|conmon| conmon.podman.as_slice())
        .filter(|podman| !podman.is_empty())
        .collect();
    commands.sort_unstable();
    commands.dedup();
    commands
        .into_iter()
        .take(PODMANS_MAX)
        .map(ask_one)
        .collect()
}

fn ask_one(podman: &[String]) -> Result<(Runtime, Vec<Listed>), RuntimeError> {
    let at = podman.join(" ");
    let wrong = |detail: String| RuntimeError::Answer {
        runtime: Runtime::Podman,
        at: at.clone(),
        detail,
    };
    let (program, options) = podman
        .split_first()
        .ok_or_else(|| wrong("no command".into()))?;
    let mut child = Command::new(program)
        .args(options)
        .args(["ps", "--all", "--no-trunc", "--format", "json"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| wrong(error.to_string()))?;
    let (tell, told) = mpsc::channel();
    if let Some(output) = child.stdout.take() {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            let read = output.take(ANSWER_BYTES_MAX as u64).read_to_end(&mut bytes);
            // Nobody listens any more once the time is over.
            let _ = tell.send(read.map(|_| bytes));
        });
    }
    let answer = told.recv_timeout(ANSWER_LIMIT);
    if answer.is_err() {
        let _ = child.kill();
    }
    let status = child.wait().map_err(|error| wrong(error.to_string()))?;
    let bytes = match answer {
        Ok(read) => read.map_err(|error| wrong(error.to_string()))?,
        Err(_) => {
            return Err(RuntimeError::Silent {
                runtime: Runtime::Podman,
                at,
            });
        }
    };
    if !status.success() {
        return Err(wrong(format!("it ends with {status}")));
    }
    let listed =
        docker::parse(&bytes, Runtime::Podman).map_err(|error| wrong(error.to_string()))?;
    Ok((Runtime::Podman, listed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn a_conmon_tells_its_container_and_its_podman() {
        let id = "ac".repeat(32);
        let line = format!(
            "/usr/bin/conmon --api-version 1 -c {id} -u {id} -n web --exit-dir /run/x --exit-command \
             /usr/bin/podman --exit-command-arg --root --exit-command-arg /r --exit-command-arg container \
             --exit-command-arg cleanup --exit-command-arg {id}"
        );
        let watched = Watched::parse(&words(&line)).unwrap();
        assert_eq!(
            (watched.runtime, watched.name.as_str()),
            (Runtime::Podman, "web")
        );
        assert_eq!(watched.podman, ["/usr/bin/podman", "--root", "/r"]);
    }

    #[test]
    fn a_process_of_two_users_is_trusted_as_neither() {
        assert_eq!(
            user_of("Name:\tx\nUid:\t7\t7\t7\t7\n").as_deref(),
            Some("7")
        );
        assert_eq!(user_of("Uid:\t7\t0\t0\t0\n"), None);
        assert_eq!(user_of("Name:\tx\n"), None);
    }

    #[test]
    fn a_conmon_without_podman_is_one_of_cri_o() {
        let id = "ac".repeat(32);
        let line =
            format!("/usr/bin/conmon -b /x -c {id} --exit-dir /run/crio/exits -n k8s_POD_a_b_c_0");
        let watched = Watched::parse(&words(&line)).unwrap();
        assert_eq!(watched.runtime, Runtime::Crio);
        assert!(watched.listed().is_sandbox && watched.podman.is_empty());
        assert_eq!(
            Watched::parse(&words(&format!("{line} -e --exec-process-spec /x"))),
            None
        );
        assert_eq!(Watched::parse(&words("conmon -c short -n x")), None);
        assert_eq!(Watched::parse(&words("conmon")), None);
    }
}
