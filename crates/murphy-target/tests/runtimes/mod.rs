//! A runtime under test is a real docker, containerd or podman that a test starts for itself, in a directory of
//! its own, and that leaves nothing behind: no process, mount, cgroup or file.
//!
//! Other crates' tests include this file by `#[path]`.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread::sleep,
    time::{Duration, Instant},
};

use murphy_sys::{
    pidfd::Pidfd,
    process::{self, ProcessId},
    signal::Signal,
    table::ProcessTable,
};
use tempfile::TempDir;

/// Nothing a test waits for may take longer.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Says, past the capture of the test runner, what a test wants and the machine has not.
pub fn skipped(what: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: {what}");
}

/// Whether the machine has these programs, and root; says what it has not.
pub fn has(programs: &[&str]) -> bool {
    if !fs::metadata("/proc/self").is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0)
    {
        skipped("root");
        return false;
    }
    let path = std::env::var("PATH").unwrap_or_default();
    for program in programs {
        if !path
            .split(':')
            .any(|dir| Path::new(dir).join(program).is_file())
        {
            skipped(program);
            return false;
        }
    }
    true
}

/// Waits until `done` says something.
pub fn until<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(result) = done() {
            return result;
        }
        assert!(began.elapsed() < PATIENCE, "{what} takes too long");
        sleep(Duration::from_millis(20));
    }
}

/// Runs a command to its end; what it prints, without the last newline.
pub fn run(command: &mut Command) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = command.stdin(Stdio::null()).output().expect("a program");
    let errors = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{command:?}: {status}: {errors}");
    String::from_utf8_lossy(&stdout).trim_end().to_owned()
}

/// The processes in the pid namespace of `pid`, as the kernel tells: another way to know a container's.
pub fn same_namespace(pid: u32) -> Vec<u32> {
    let of = |pid| process::namespace_inode(pid, "pid").ok();
    let wanted = of(pid).expect("a running process");
    let table = ProcessTable::read().expect("/proc");
    let pids = table.iter().map(|stat| stat.pid);
    pids.filter(|pid| of(*pid) == Some(wanted)).collect()
}

/// A directory with a root file system of busybox, and a cgroup name that is only this test's.
pub struct Ground {
    dir: TempDir,
    group: String,
}

impl Ground {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = tempfile::tempdir().expect("a temporary directory");
        let bin = dir.path().join("rootfs/bin");
        fs::create_dir_all(&bin).expect("a directory");
        fs::copy("/usr/bin/busybox", bin.join("busybox"))
            .or_else(|_| fs::copy("/bin/busybox", bin.join("busybox")))
            .expect("a static busybox");
        for applet in ["sh", "sleep"] {
            std::os::unix::fs::symlink("busybox", bin.join(applet)).expect("a link");
        }
        run(Command::new("tar")
            .arg("-cf")
            .arg(dir.path().join("rootfs.tar"))
            .arg("-C")
            .arg(dir.path().join("rootfs"))
            .arg("."));
        Self {
            dir,
            group: format!("murphy-test-{}-{count}x", std::process::id()),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The beginning of the names of cgroups that are only this test's.
    pub fn group(&self) -> &str {
        &self.group
    }

    /// Everyone whose command line or environment names this test's directory, and their descendants.
    fn started(&self) -> Vec<ProcessId> {
        let mark = self.dir.path().to_string_lossy().into_owned();
        let table = ProcessTable::read().expect("/proc");
        let named: Vec<u32> = table
            .iter()
            .filter(|stat| stat.pid != std::process::id())
            .filter(|stat| {
                let words = process::command_line(stat.pid).unwrap_or_default();
                words.iter().any(|word| word.contains(&mark))
            })
            .map(|stat| stat.pid)
            .collect();
        let born = table.descendants(&named);
        let all = named.iter().filter_map(|pid| table.get(*pid));
        all.chain(born).map(process::Stat::id).collect()
    }

    /// Mount points below this test's directory, the deepest first.
    fn mounts(&self) -> Vec<String> {
        let mark = self.dir.path().to_string_lossy().into_owned();
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let points = mounts.lines().filter_map(|line| line.split(' ').nth(1));
        let mut found: Vec<String> = points
            .filter(|point| point.starts_with(&mark))
            .map(str::to_owned)
            .collect();
        found.sort_by_key(|point| std::cmp::Reverse(point.len()));
        found
    }

    /// This test's groups in every tree, the deepest first.
    fn groups(&self) -> Vec<PathBuf> {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let trees = mounts.lines().filter_map(|line| {
            let mut words = line.split(' ').skip(1);
            let (point, kind) = (words.next()?, words.next()?);
            kind.starts_with("cgroup").then(|| PathBuf::from(point))
        });
        let mut found = Vec::new();
        for tree in trees {
            let entries = fs::read_dir(&tree).into_iter().flatten().flatten();
            let own = entries
                .filter(|entry| entry.file_name().to_string_lossy().starts_with(&self.group));
            let mut below: Vec<PathBuf> = own.map(|entry| entry.path()).collect();
            while let Some(group) = below.pop() {
                let Ok(entries) = fs::read_dir(&group) else {
                    continue;
                };
                let entries = entries.flatten().map(|entry| entry.path());
                below.extend(entries.filter(|path| path.is_dir()));
                found.push(group);
            }
        }
        found.sort_by_key(|group| std::cmp::Reverse(group.as_os_str().len()));
        found
    }
}

impl Drop for Ground {
    /// Ends what a failed test left, and fails a test that left anything.
    fn drop(&mut self) {
        let began = Instant::now();
        let mut left = self.started();
        while !left.is_empty() && began.elapsed() < Duration::from_secs(5) {
            sleep(Duration::from_millis(50));
            left = self.started();
        }
        for process in &left {
            let _ = Pidfd::open(*process).and_then(|pidfd| pidfd.send(Signal::KILL));
        }
        let mounts = self.mounts();
        for point in &mounts {
            let _ = Command::new("umount").args(["-l", point]).status();
        }
        for group in self.groups() {
            let _ = fs::remove_dir(group);
        }
        let groups = self.groups();
        if !std::thread::panicking() {
            assert!(left.is_empty(), "the test left processes: {left:?}");
            assert!(mounts.is_empty(), "the test left mounts: {mounts:?}");
            assert!(groups.is_empty(), "the test left cgroups: {groups:?}");
        }
    }
}

/// A daemon that a test started; it gets time to end by itself.
pub struct Daemon(Child);

impl Daemon {
    pub fn start(command: &mut Command, log: &Path) -> Self {
        let log = fs::File::create(log).expect("a file");
        let errors = log.try_clone().expect("a file");
        let child = command
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .expect("a daemon");
        Self(child)
    }

    pub fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Ok(process) = ProcessId::of(self.0.id()) {
            let _ = Pidfd::open(process).and_then(|pidfd| pidfd.send(Signal::TERM));
        }
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            if let Ok(Some(_)) = self.0.try_wait() {
                return;
            }
            sleep(Duration::from_millis(20));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A docker of this test's own, with the image `box`.
pub struct Docker {
    daemon: Daemon,
    ground: Ground,
}

impl Docker {
    /// Starts one; `None`, and says why, where the machine has no docker.
    pub fn start_or_skip() -> Option<Self> {
        if !has(&["dockerd", "docker", "containerd", "runc", "busybox"]) {
            return None;
        }
        let ground = Ground::new();
        let mut command = Command::new("dockerd");
        command
            .arg("--data-root")
            .arg(ground.path("data"))
            .arg("--exec-root")
            .arg(ground.path("exec"))
            .arg("--pidfile")
            .arg(ground.path("docker.pid"))
            .arg("--host")
            .arg(format!("unix://{}", ground.path("docker.sock").display()))
            .arg(format!("--cgroup-parent=/{}/docker", ground.group()))
            .args([
                "--iptables=false",
                "--ip6tables=false",
                "--bridge=none",
                "--storage-driver=vfs",
                "--exec-opt=native.cgroupdriver=cgroupfs",
            ]);
        let daemon = Daemon::start(&mut command, &ground.path("log"));
        let docker = Self { daemon, ground };
        until("the start of dockerd", || {
            let told = docker.command(&["version"]).output().ok()?;
            told.status.success().then_some(())
        });
        let image = docker.ground.path("rootfs.tar");
        docker.run(&["import", &image.to_string_lossy(), "box"]);
        Some(docker)
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.ground.path("docker.sock")
    }

    /// Where the containerd below it listens.
    pub fn containerd_socket(&self) -> PathBuf {
        self.ground.path("exec/containerd/containerd.sock")
    }

    pub fn ground(&self) -> &Ground {
        &self.ground
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command
            .env_remove("DOCKER_HOST")
            .env("DOCKER_CONFIG", self.ground.path("config"))
            .arg("--host")
            .arg(format!("unix://{}", self.socket().display()))
            .args(arguments);
        command
    }

    /// Runs the docker command.
    pub fn run(&self, arguments: &[&str]) -> String {
        run(&mut self.command(arguments))
    }

    /// Starts a container that runs a script; its whole id.
    pub fn container(&self, name: &str, options: &[&str], script: &str) -> String {
        let mut arguments = vec!["run", "--detach", "--name", name, "--network", "none"];
        arguments.extend(options);
        arguments.extend(["box", "sh", "-c", script]);
        self.run(&arguments)
    }

    /// The first process of a container.
    pub fn first(&self, name: &str) -> u32 {
        let pid = self.run(&["inspect", "--format", "{{.State.Pid}}", name]);
        pid.parse().expect("a pid")
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        let listed = self.command(&["ps", "--all", "--quiet"]).output();
        let listed = listed.map(|told| told.stdout).unwrap_or_default();
        let listed = String::from_utf8_lossy(&listed);
        let mut arguments = vec!["rm", "--force"];
        arguments.extend(listed.split_whitespace());
        if arguments.len() > 2 {
            let _ = self.command(&arguments).output();
        }
    }
}

/// A containerd of this test's own. Its namespaces are named after the ground's group, since a container's
/// cgroup is named after its namespace.
pub struct Containerd {
    daemon: Daemon,
    ground: Ground,
}

impl Containerd {
    /// Starts one; `None`, and says why, where the machine has none.
    pub fn start_or_skip() -> Option<Self> {
        if !has(&["containerd", "ctr", "runc", "busybox"]) {
            return None;
        }
        let ground = Ground::new();
        let settings = ground.path("containerd.toml");
        let text = format!(
            "version = 2\nroot = \"{root}\"\nstate = \"{root}/state\"\n[grpc]\naddress = \"{root}.sock\"\n",
            root = ground.path("containerd").display(),
        );
        fs::write(&settings, text).expect("a file");
        let mut command = Command::new("containerd");
        command.arg("--config").arg(&settings);
        let daemon = Daemon::start(&mut command, &ground.path("log"));
        let containerd = Self { daemon, ground };
        until("the start of containerd", || {
            let told = containerd.command("none", &["version"]).output().ok()?;
            told.status.success().then_some(())
        });
        Some(containerd)
    }

    pub fn socket(&self) -> PathBuf {
        self.ground.path("containerd.sock")
    }

    pub fn ground(&self) -> &Ground {
        &self.ground
    }

    /// A namespace of this test's own.
    pub fn namespace(&self, name: &str) -> String {
        format!("{}-{name}", self.ground.group())
    }

    fn command(&self, namespace: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("ctr");
        command
            .arg("--address")
            .arg(self.socket())
            .args(["--namespace", namespace])
            .args(arguments);
        command
    }

    /// Runs the ctr command.
    pub fn run(&self, namespace: &str, arguments: &[&str]) -> String {
        run(&mut self.command(namespace, arguments))
    }

    /// Starts a container that runs a script.
    pub fn container(&self, namespace: &str, id: &str, options: &[&str], script: &str) {
        let root = self.ground.path("rootfs");
        let root = root.to_string_lossy();
        let state = self.ground.path("runc");
        let state = state.to_string_lossy();
        let mut arguments = vec![
            "run",
            "--detach",
            "--null-io",
            "--env",
            "PATH=/bin",
            "--rootfs",
        ];
        arguments.extend(["--runc-root", &state]);
        arguments.extend(options);
        arguments.extend([root.as_ref(), id, "/bin/sh", "-c", script]);
        self.run(namespace, &arguments);
    }

    /// The first process of a container.
    pub fn first(&self, namespace: &str, id: &str) -> u32 {
        let tasks = self.run(namespace, &["tasks", "list"]);
        let line = tasks
            .lines()
            .find(|line| line.split_whitespace().next() == Some(id))
            .expect("a task");
        let pid = line.split_whitespace().nth(1);
        pid.expect("a pid").parse().expect("a pid")
    }

    /// Ends a container's processes; the container stays.
    pub fn stop(&self, namespace: &str, id: &str) {
        self.run(namespace, &["tasks", "delete", "--force", id]);
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let listed = |arguments: &[&str], namespace: &str| {
            let told = self.command(namespace, arguments).output();
            let text = told.map(|told| told.stdout).unwrap_or_default();
            let text = String::from_utf8_lossy(&text).into_owned();
            text.lines().map(str::to_owned).collect::<Vec<_>>()
        };
        for namespace in listed(&["namespaces", "list", "--quiet"], "none") {
            for id in listed(&["containers", "list", "--quiet"], &namespace) {
                let delete = ["tasks", "delete", "--force", &id];
                let _ = self.command(&namespace, &delete).output();
                let delete = ["containers", "delete", &id];
                let _ = self.command(&namespace, &delete).output();
            }
        }
    }
}

/// A podman with a state of this test's own, and the image `box`. No daemon runs.
pub struct Podman {
    ground: Ground,
}

impl Podman {
    /// Prepares one; `None`, and says why, where the machine has none.
    pub fn start_or_skip() -> Option<Self> {
        if !has(&["podman", "conmon", "runc", "busybox"]) {
            return None;
        }
        let ground = Ground::new();
        let podman = Self { ground };
        let image = podman.ground.path("rootfs.tar");
        podman.run(&["import", &image.to_string_lossy(), "box"]);
        Some(podman)
    }

    pub fn ground(&self) -> &Ground {
        &self.ground
    }

    /// The podman command, led to this state.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("podman");
        command.env_remove("CONTAINER_HOST");
        for (option, name) in [
            ("--root", "root"),
            ("--runroot", "run"),
            ("--tmpdir", "tmp"),
            ("--network-config-dir", "network"),
        ] {
            command.arg(option).arg(self.ground.path(name));
        }
        command.args([
            "--storage-driver=vfs",
            "--cgroup-manager=cgroupfs",
            "--events-backend=none",
            "--runtime=runc",
        ]);
        command.args(arguments);
        command
    }

    /// Runs the podman command.
    pub fn run(&self, arguments: &[&str]) -> String {
        run(&mut self.command(arguments))
    }

    /// Starts a container that runs a script; its whole id.
    pub fn container(&self, name: &str, options: &[&str], script: &str) -> String {
        let parent = format!("--cgroup-parent=/{}", self.ground.group());
        let mut arguments = vec!["run", "--detach", "--name", name, "--network=none"];
        // A podman that may not raise limits, in a container, fails to set its usual ones.
        arguments.extend(["--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"]);
        arguments.push(&parent);
        arguments.extend(options);
        arguments.extend(["box", "sh", "-c", script]);
        self.run(&arguments)
    }

    /// The first process of a container.
    pub fn first(&self, name: &str) -> u32 {
        let pid = self.run(&["inspect", "--format", "{{.State.Pid}}", name]);
        pid.parse().expect("a pid")
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        let remove = ["rm", "--all", "--force", "--time=0"];
        let _ = self.command(&remove).output();
    }
}
