//! A cgroup of a test's own, and sockets that belong to it: a socket stays of the cgroup in which it was made, so that
//! those of a process there can be used from here.
//!
//! A test file that says `mod crew;` says `mod wire;` before it.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::{
    fs,
    net::{SocketAddr, UdpSocket},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    thread::sleep,
    time::{Duration, Instant},
};

use murphy_sys::cgroup::{self, Hierarchies};
use rustix::process::{
    Pid, PidfdFlags, PidfdGetfdFlags, Signal, kill_process, pidfd_getfd, pidfd_open,
};

use crate::wire::{numbered, roomy};

/// How long something may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A cgroup of version 2. It goes with the test, and kills who is left in it.
pub struct Cgroup {
    pub directory: PathBuf,
}

impl Cgroup {
    /// A new one; none where there is no tree of version 2.
    pub fn make(name: &str) -> Option<Self> {
        let tree = Hierarchies::find().expect("mounts").unified?;
        Some(Self::make_at(tree.join(name)))
    }

    /// One below another.
    pub fn below(&self, name: &str) -> Self {
        Self::make_at(self.directory.join(name))
    }

    fn make_at(directory: PathBuf) -> Self {
        fs::create_dir(&directory).expect("root may");
        Self { directory }
    }

    /// What a shell says to come into it, and to say nothing from then on: nobody waits for the end of its output.
    pub fn enter(&self) -> String {
        let directory = self.directory.display();
        format!("echo $$ > {directory}/cgroup.procs; exec > /dev/null 2>&1")
    }

    /// What a shell in it does to have sockets of its own, connected to two addresses, as descriptors 3 and on.
    pub fn with_sockets(&self, words: &str) -> String {
        format!(
            "{}; exec bash -c 'exec {words}; exec sleep 600'",
            self.enter()
        )
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let until = Instant::now() + PATIENCE;
        while fs::remove_dir(&self.directory).is_err() && Instant::now() < until {
            for pid in cgroup::members(&self.directory) {
                let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
                let _ = pid.map(|pid| kill_process(pid, Signal::KILL));
            }
            sleep(Duration::from_millis(5));
        }
    }
}

/// Waits until a shell has become what it executes at last.
pub fn wait_for_sleep(pid: u32) {
    let until = Instant::now() + PATIENCE;
    let name = || fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    while name().trim() != "sleep" {
        assert!(
            Instant::now() < until,
            "it never had its sockets: {}",
            name()
        );
        sleep(Duration::from_millis(5));
    }
}

/// A socket of somebody else's.
pub fn taken(pid: u32, descriptor: i32) -> OwnedFd {
    let pid = Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("a pid");
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).expect("it is alive");
    pidfd_getfd(pidfd, descriptor, PidfdGetfdFlags::empty()).expect("it has it")
}

/// A datagram socket inside of a cgroup and one outside of it, each connected to the other.
pub struct Pair {
    pub inside: UdpSocket,
    pub outside: UdpSocket,
}

impl Pair {
    /// Between descriptor `descriptor` of a process and a new socket.
    pub fn of(pid: u32, descriptor: i32, outside: UdpSocket) -> Self {
        Self::between(UdpSocket::from(taken(pid, descriptor)), outside)
    }

    /// Between two sockets.
    pub fn between(inside: UdpSocket, outside: UdpSocket) -> Self {
        let at = |socket: &UdpSocket| socket.local_addr().expect("it is bound");
        let connect = |socket: &UdpSocket, to: SocketAddr| socket.connect(to).expect("a route");
        connect(&inside, at(&outside));
        connect(&outside, at(&inside));
        roomy(&inside);
        roomy(&outside);
        Self { inside, outside }
    }

    /// The numbers that come of so many datagrams from inside. None may be refused.
    pub fn to(&self, count: u32) -> Vec<u32> {
        come(&self.inside, &self.outside, count)
    }

    /// The same of those from outside.
    pub fn from(&self, count: u32) -> Vec<u32> {
        come(&self.outside, &self.inside, count)
    }

    /// Whether nothing is lost either way.
    pub fn is_calm(&self) -> bool {
        self.to(50).len() == 50 && self.from(50).len() == 50
    }
}

fn come(sender: &UdpSocket, receiver: &UdpSocket, count: u32) -> Vec<u32> {
    let (came, refused) = numbered(sender, receiver, count);
    assert_eq!(refused, 0, "its sender is not told of a loss");
    came
}

/// Whether a directory is gone.
pub fn is_gone(directory: &Path) -> bool {
    !directory.exists()
}
