//! A lab is where a hunt's nodes live: one network namespace for each, a bridge between them in a
//! namespace of its own, a private tmpfs or a directory for their data, and their logs.
//!
//! None of the namespaces has a name: the kernel ends them with the processes inside. The processes carry
//! the tag of the lab's journal entry and die with Murphy, by the kernel's hand (`PR_SET_PDEATHSIG`) and,
//! should that fail, by the keeper's (`EndTagged`).

use std::{
    ffi::OsString,
    fs::{self, File},
    io,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    process::{Child, ExitStatus, Stdio},
    sync::Mutex,
    time::{Duration, Instant},
};

use murphy_fault::undo::TAG_VARIABLE;
use murphy_sys::{
    link::{LinkError, Prefixed, add_bridge, join_bridge},
    namespace::{MountNamespace, NamespaceError, NetNamespace},
    pidfd::ended_within,
    spawn::{Launch, SpawnError, Spawner},
};

const BRIDGE: &str = "br0";
/// Network of the lab, inside its own namespaces only.
const NETWORK: [u8; 3] = [10, 77, 0];
/// Prefix length of [`NETWORK`].
const PREFIX: u8 = 24;
/// Address of the bridge, from which the clients speak.
const BRIDGE_HOST: u8 = 254;
/// Most nodes a lab can hold: the addresses of [`NETWORK`] below the bridge's.
pub const NODES_MAX: usize = 9;
/// Size of the private tmpfs: the most that all nodes together may write.
const TMPFS_BYTES: u64 = 8 << 30;

/// Why a lab could not be built, or a node not started.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// A namespace was refused.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// A link was refused.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// A program did not start.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// A file or directory was refused.
    #[error("create {}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A node that should be running is not, or the other way round.
    #[error("{action} {node}: it is {state}")]
    State {
        /// What was tried.
        action: &'static str,
        /// The node.
        node: String,
        /// What it is instead.
        state: &'static str,
    },
    /// A thread could not be started.
    #[error("start the spawner: {0}")]
    Spawner(#[source] io::Error),
}

/// Where the nodes keep their data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// A tmpfs that no other process sees and that ends with the lab.
    Tmpfs,
    /// A directory of the run folder.
    Disk,
}

/// One node of a lab.
#[derive(Debug)]
pub struct Node {
    /// `n0`, `n1`, …
    pub name: String,
    /// Its address on the lab's bridge.
    pub address: IpAddr,
    /// Its data, as the node sees it.
    pub data: PathBuf,
    /// What it says.
    pub log: PathBuf,
    net: NetNamespace,
    child: Mutex<Option<Child>>,
}

/// The nodes and what holds them together.
#[derive(Debug)]
pub struct Lab {
    /// The nodes, in order.
    pub nodes: Vec<Node>,
    middle: NetNamespace,
    mount: Option<MountNamespace>,
    spawner: Spawner,
    tag: String,
}

impl Lab {
    /// Lays out `count` nodes with their data below `data` and logs in `logs`. The processes it will
    /// start carry `tag`, which the caller has journaled.
    pub fn build(
        count: usize,
        data: &Path,
        logs: &Path,
        storage: Storage,
        tag: &str,
    ) -> Result<Self, LabError> {
        let middle = NetNamespace::create()?;
        add_bridge(&middle, BRIDGE, prefixed(BRIDGE_HOST))?;
        make_dir(logs)?;
        let mount = match storage {
            Storage::Tmpfs => Some(MountNamespace::with_tmpfs(data, TMPFS_BYTES)?),
            Storage::Disk => None,
        };
        let mut nodes = Vec::with_capacity(count);
        for host in (1..).take(count.min(NODES_MAX)) {
            nodes.push(Node::lay_out(host, &middle, data, logs)?);
        }
        let spawner = Spawner::start().map_err(LabError::Spawner)?;
        Ok(Self {
            nodes,
            middle,
            mount,
            spawner,
            tag: tag.into(),
        })
    }

    /// The namespace of the bridge, where clients reach every node.
    pub fn middle(&self) -> &NetNamespace {
        &self.middle
    }

    /// The name and the namespace of each node.
    pub fn namespaces(&self) -> Vec<(String, NetNamespace)> {
        let nodes = self.nodes.iter();
        nodes
            .map(|node| (node.name.clone(), node.net.clone()))
            .collect()
    }

    /// Starts `node` with `argv`, appending to its log.
    pub fn start(&self, node: &Node, argv: Vec<OsString>) -> Result<u32, LabError> {
        self.launch(node, argv, false)
    }

    /// The same, but stopped before its first instruction; it goes on at SIGCONT.
    pub fn start_held(&self, node: &Node, argv: Vec<OsString>) -> Result<u32, LabError> {
        self.launch(node, argv, true)
    }

    fn launch(&self, node: &Node, argv: Vec<OsString>, held: bool) -> Result<u32, LabError> {
        let mut child = node.child();
        if child.is_some() {
            return Err(LabError::State {
                action: "start",
                node: node.name.clone(),
                state: "running",
            });
        }
        let refused = |source| LabError::File {
            path: node.log.clone(),
            source,
        };
        let log = File::options()
            .create(true)
            .append(true)
            .open(&node.log)
            .map_err(refused)?;
        let mut launch = Launch::new(argv);
        launch
            .env
            .push((TAG_VARIABLE.into(), self.tag.clone().into()));
        launch.net = Some(node.net.descriptor());
        launch.mount = self.mount.as_ref().map(MountNamespace::descriptor);
        launch.stdout = Stdio::from(log.try_clone().map_err(refused)?);
        launch.stderr = Stdio::from(log);
        launch.die_with_parent = true;
        launch.own_group = true;
        launch.held = held;
        let started = self.spawner.spawn(launch)?;
        let pid = started.id();
        *child = Some(started);
        Ok(pid)
    }

    /// Ends every node that still runs, by SIGKILL, and waits for it. Safe to call twice.
    pub fn end(&self) {
        for node in &self.nodes {
            if let Some(mut child) = node.child().take() {
                // Either may say that the process is gone already, which is the aim.
                let _ = child.kill();
                if ended_within(&mut child, Duration::MAX).is_err() {
                    let _ = child.wait();
                }
            }
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.end();
    }
}

impl Node {
    fn lay_out(
        host: u8,
        middle: &NetNamespace,
        data: &Path,
        logs: &Path,
    ) -> Result<Self, LabError> {
        let name = format!("n{}", host - 1);
        let net = NetNamespace::create()?;
        join_bridge(middle, BRIDGE, &name, &net, prefixed(host))?;
        Ok(Self {
            address: prefixed(host).address,
            data: data.join(&name),
            log: logs.join(format!("{name}.log")),
            net,
            child: Mutex::new(None),
            name,
        })
    }

    /// The pid of the running process.
    pub fn pid(&self) -> Option<u32> {
        self.child().as_ref().map(Child::id)
    }

    /// If the process has ended by now, forgets it and says how.
    pub fn reap(&self) -> io::Result<Option<ExitStatus>> {
        let mut child = self.child();
        let status = match child.as_mut() {
            Some(running) => ended_within(running, Duration::ZERO)?,
            None => None,
        };
        if status.is_some() {
            *child = None;
        }
        Ok(status)
    }

    /// Waits until the process has ended, at most `patience`; says how it ended.
    pub async fn gone_within(&self, patience: Duration) -> io::Result<Option<ExitStatus>> {
        let until = Instant::now() + patience;
        loop {
            let status = self.reap()?;
            if status.is_some() || Instant::now() >= until {
                return Ok(status);
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// The last line of the log that is not empty, for a node that would not live.
    pub fn last_words(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        text.lines()
            .rev()
            .find(|line| !line.trim().is_empty())
            .unwrap_or("its log is empty")
            .to_owned()
    }

    fn child(&self) -> std::sync::MutexGuard<'_, Option<Child>> {
        self.child
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn prefixed(host: u8) -> Prefixed {
    let [a, b, c] = NETWORK;
    Prefixed {
        address: IpAddr::V4(Ipv4Addr::new(a, b, c, host)),
        length: PREFIX,
    }
}

fn make_dir(path: &Path) -> Result<(), LabError> {
    fs::create_dir_all(path).map_err(|source| LabError::File {
        path: path.into(),
        source,
    })
}
