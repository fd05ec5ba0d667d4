//! etcd: a replicated key-value store whose every answer carries the revision that orders it.

pub mod binary;
pub mod client;
mod compare;
pub mod errors;
mod scenario;
mod session;
mod watch;
pub mod wire;
pub mod workload;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use murphy_check::{
    etcd::{live::Live, vocabulary as word},
    verdict::Report,
};

use self::{
    client::{CLIENT_PORT, Client, Request, Response},
    session::EtcdSession,
    wire::Guards,
    workload::Traffic,
};
use crate::{
    lab::{Lab, Node},
    recorder::Recorder,
    system::{LiveJudge, Look, Scenario, SessionError, System},
};

/// Port the members serve each other on.
const PEER_PORT: u16 = 2380;
/// How long a node may take to say how it is.
const LOOK_TIMEOUT: Duration = Duration::from_millis(500);

/// An etcd of one version with its traffic.
#[derive(Clone, Debug)]
pub struct Etcd {
    /// The server program.
    pub program: PathBuf,
    /// Its version, as it says itself.
    pub version: String,
    /// Flags set by the user, such as `snapshot-count` to `100`; they win over Murphy's own.
    pub flags: BTreeMap<String, String>,
    /// What the clients do.
    pub traffic: Arc<Traffic>,
}

impl LiveJudge for Live {
    fn feed(&mut self, bytes: &[u8]) -> Result<(), String> {
        let read = Self::feed(self, bytes);
        read.map(drop).map_err(|error| error.to_string())
    }

    fn look(&mut self) -> Result<Option<Report>, String> {
        let found = Self::look(self).map_err(|error| error.to_string())?;
        Ok(found.cloned())
    }

    fn lost(&self) -> Option<String> {
        Self::lost(self).map(str::to_owned)
    }
}

impl System for Etcd {
    type Session = EtcdSession;

    fn title(&self) -> String {
        format!("etcd {}", self.version)
    }

    fn model(&self) -> &'static str {
        "etcd"
    }

    fn argv(&self, node: &Node, all: &[Node]) -> Vec<OsString> {
        let peer = |node: &Node| format!("http://{}:{PEER_PORT}", node.address);
        let client = |node: &Node| format!("http://{}:{CLIENT_PORT}", node.address);
        let cluster: Vec<_> = all
            .iter()
            .map(|n| format!("{}={}", n.name, peer(n)))
            .collect();
        let mut flags: BTreeMap<String, OsString> = BTreeMap::new();
        for (name, value) in [
            ("name", node.name.clone()),
            ("listen-peer-urls", peer(node)),
            ("initial-advertise-peer-urls", peer(node)),
            (
                "listen-client-urls",
                format!("{},http://127.0.0.1:{CLIENT_PORT}", client(node)),
            ),
            ("advertise-client-urls", client(node)),
            ("initial-cluster", cluster.join(",")),
            ("initial-cluster-state", "new".into()),
            ("heartbeat-interval", "100".into()),
            ("election-timeout", "1000".into()),
            ("logger", "zap".into()),
            ("log-outputs", "stderr".into()),
        ] {
            flags.insert(name.into(), value.into());
        }
        flags.insert("data-dir".into(), node.data.clone().into());
        for (name, value) in &self.flags {
            flags.insert(name.clone(), value.into());
        }
        let mut argv = vec![self.program.clone().into_os_string()];
        for (name, value) in flags {
            let mut word = OsString::from(format!("--{name}="));
            word.push(value);
            argv.push(word);
        }
        argv
    }

    async fn look(&self, node: &Node) -> Look {
        tokio::time::timeout(LOOK_TIMEOUT, look(node))
            .await
            .ok()
            .flatten()
            .unwrap_or_default()
    }

    fn session(&self, lab: &Lab, recorder: &Arc<Recorder>, seed: u64) -> EtcdSession {
        EtcdSession::new(Arc::clone(&self.traffic), lab, recorder, seed)
    }

    fn scenarios(&self) -> &'static [Scenario] {
        &scenario::SCENARIOS
    }

    async fn play(
        &self,
        name: &str,
        lab: &Lab,
        recorder: &Arc<Recorder>,
    ) -> Result<(), SessionError> {
        scenario::play(name, lab, recorder).await
    }

    fn check(&self, history: &Path) -> Result<Report, String> {
        let name = history.display();
        let file = File::open(history).map_err(|error| format!("open {name}: {error}"))?;
        let options = murphy_check::etcd::Options::default();
        murphy_check::etcd::check(file, &options).map_err(|error| format!("{name}:{error}"))
    }

    fn live(&self) -> Box<dyn LiveJudge> {
        Box::new(Live::default())
    }
}

/// Asks for the status and reads through the cluster: a node serves when both work.
async fn look(node: &Node) -> Option<Look> {
    let mut client = Client::connect(node.address).await.ok()?;
    let guards = Guards::new();
    let status = Request::Status(word::StatusRequest::default());
    let Ok(Response::Status(status)) = client.call(&status, &guards).await else {
        return None;
    };
    let read = Request::Range(word::RangeRequest {
        key: "murphy".into(),
        ..Default::default()
    });
    let serves = client.call(&read, &guards).await.is_ok();
    Some(Look {
        serves,
        leads: status.leader == status.header.member_id && status.leader != 0,
        revision: status.header.revision,
        applied: status.raft_applied_index,
    })
}
