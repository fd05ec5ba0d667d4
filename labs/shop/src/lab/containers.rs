//! Services in containers of a podman whose whole state is in the directory of the lab: no image is fetched. A
//! container's root is a few directories, with this machine's `/usr` mounted into it.

use std::{
    ffi::OsString,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use murphy_fault::{podman::Podman, undo::Undo};
use murphy_sys::{namespace::NetNamespace, process::ProcessId};

use super::{
    LabError,
    error::refused,
    ground::Ground,
    member::{LOAD, MEMBERS, Member, POSTGRES},
    state::Running,
    words,
};

/// Where the parts of a lab are in a container.
const PROGRAM: &str = "/shop";
const DATA: &str = "/data";
const FIGURES: &str = "/load/figures.jsonl";
/// What a root file system must have for the runtime to mount on, and for the program to run.
const DIRECTORIES: [&str; 10] = [
    "data", "dev", "etc", "load", "proc", "run", "sys", "tmp", "usr", "var",
];
/// Parts of `/usr` that most systems also have at the top.
const TOP: [&str; 4] = ["bin", "lib", "lib64", "sbin"];

/// The containers.
#[derive(Debug)]
pub struct Containers {
    podman: Podman,
    running: Vec<Running>,
}

impl Containers {
    /// Starts every service.
    pub fn start(ground: &mut Ground, program: &Path) -> Result<Self, LabError> {
        let state = ground.directory.join("podman");
        fs::create_dir(&state).map_err(refused("create", &state))?;
        let group = format!("murphy-shop-{}", ground.entry.id());
        let containers = Undo::remove_containers(&state).map_err(refused("look at", &state))?;
        // Undone last first. Containers that run go in good order. Then a podman in the midst of its work dies, and
        // those of its processes that do not carry the tag; what it was at is cleared away when nobody is left.
        let groups = Undo::EndGroups {
            name: group.clone(),
        };
        let processes = Undo::EndTagged {
            tag: ground.entry.id().to_owned(),
        };
        ground
            .entry
            .protect(&[containers.clone(), groups, processes, containers])?;
        let mut all = Self {
            podman: Podman::at(state),
            running: Vec::new(),
        };
        for member in MEMBERS {
            let running = all.start_one(ground, member, &group, program)?;
            all.running.push(running);
        }
        Ok(all)
    }

    fn start_one(
        &self,
        ground: &Ground,
        member: &Member,
        group: &str,
        program: &Path,
    ) -> Result<Running, LabError> {
        let root = make_root(ground, member)?;
        let name = member.container();
        let mut argv = words(["run", "--detach", "--name", &name, "--network=none"]);
        argv.extend(words(["--label", &format!("name={}", member.label)]));
        // A podman that may not raise limits, in a container, fails to set its usual ones.
        argv.extend(words([
            "--ulimit=nofile=1024:1024",
            "--ulimit=nproc=1024:1024",
        ]));
        argv.push(format!("--cgroup-parent=/{group}").into());
        let (variable, tag) = ground.tag();
        argv.extend(words(["--env"]));
        argv.push([variable, tag].join(&OsString::from("=")));
        argv.extend(mount(Path::new("/usr"), "/usr", Access::Read));
        if member.name == POSTGRES.name {
            let (user, group) = (ground.server.user, ground.server.group);
            argv.push(format!("--user={user}:{group}").into());
            argv.extend(mount(&ground.data(), DATA, Access::Write));
        } else {
            argv.extend(mount(program, PROGRAM, Access::Read));
        }
        if member.name == LOAD.name {
            argv.extend(mount(
                &ground.directory.join("load"),
                "/load",
                Access::Write,
            ));
        }
        argv.push("--rootfs".into());
        argv.push(root.into());
        argv.extend(command(ground, member));
        self.podman.run(argv, &[ground.tag()])?;
        let running = self.look(member)?;
        let namespace = NetNamespace::of_process(running.process.pid)?;
        ground.network.join(member, &namespace)?;
        Ok(running)
    }

    /// The first process of a container.
    fn look(&self, member: &Member) -> Result<Running, LabError> {
        let name = member.container();
        let pid = self
            .podman
            .run(["inspect", "--format", "{{.State.Pid}}", &name], &[])?;
        // One that has ended has the pid 0.
        let pid = pid.parse().ok().filter(|pid| *pid > 0);
        let Some(pid) = pid else {
            return Err(LabError::Ended {
                name: member.name.into(),
                said: self.last_words(&name),
            });
        };
        Ok(Running {
            name: member.name.into(),
            target: format!("container:{name}"),
            process: ProcessId::of(pid)?,
        })
    }

    fn last_words(&self, name: &str) -> String {
        let said = self.podman.run(["logs", "--tail", "3", name], &[]);
        said.unwrap_or_default().replace('\n', "; ")
    }

    /// Who runs.
    pub fn running(&self) -> Vec<Running> {
        self.running.clone()
    }
}

/// What runs in the container.
fn command(ground: &Ground, member: &Member) -> Vec<OsString> {
    if member.name == POSTGRES.name {
        return ground.server.words(Path::new(DATA));
    }
    let mut argv = words([PROGRAM]);
    argv.extend(member.arguments(Path::new(FIGURES)));
    argv
}

#[derive(Clone, Copy)]
enum Access {
    Read,
    Write,
}

fn mount(from: &Path, to: &str, access: Access) -> [OsString; 2] {
    let mut volume = from.as_os_str().to_owned();
    volume.push(format!(
        ":{to}:{}",
        match access {
            Access::Read => "ro",
            Access::Write => "rw",
        }
    ));
    ["--volume".into(), volume]
}

/// Makes the root file system of a member.
fn make_root(ground: &Ground, member: &Member) -> Result<PathBuf, LabError> {
    let root = ground.directory.join("roots").join(member.name);
    for name in DIRECTORIES {
        let path = root.join(name);
        fs::create_dir_all(&path).map_err(refused("create", path))?;
    }
    for name in TOP {
        let top = Path::new("/").join(name);
        if let Ok(target) = fs::read_link(&top) {
            let link = root.join(name);
            symlink(target, &link).map_err(refused("create", link))?;
        }
    }
    for name in ["passwd", "group", "ld.so.cache"] {
        let (from, to) = (Path::new("/etc").join(name), root.join("etc").join(name));
        if from.exists() {
            fs::copy(&from, &to).map_err(refused("create", to))?;
        }
    }
    Ok(root)
}
