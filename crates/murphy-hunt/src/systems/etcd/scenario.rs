//! A scenario is a script that shows one known bug of etcd without chance and without a fault.
//!
//! Each is the published reproduction of its issue, asked through an ordinary client; the judge then
//! reads the history like any other.

use std::{sync::Arc, sync::atomic::AtomicI64, time::Duration};

use murphy_check::etcd::vocabulary as word;
use tokio::{sync::watch, time::Instant};

use super::{
    client::{Client, Request, Response},
    compare,
    session::{Member, ask},
    watch::Watcher,
    wire::Guards,
};
use crate::{
    lab::Lab,
    recorder::Recorder,
    system::{Scenario, SessionError},
};

/// The client that follows the script.
const PROCESS: &str = "script";
/// Keys that `issue-18667` writes first.
const KEYS: usize = 20;
/// How long a watch is given to deliver its events.
const PATIENCE: Duration = Duration::from_secs(2);

/// The scripts.
pub const SCENARIOS: [Scenario; 2] = [
    Scenario {
        name: "issue-18089",
        about: "a watch from the compact revision misses the deletion made at that revision",
    },
    Scenario {
        name: "issue-18667",
        about: "a transaction that one member rejects, since it reads a compacted revision, is applied by the others",
    },
];

/// Plays `name`; a name that is not in [`SCENARIOS`] plays nothing, which the caller rules out.
pub async fn play(name: &str, lab: &Lab, recorder: &Arc<Recorder>) -> Result<(), SessionError> {
    let script = Script::new(lab, recorder);
    match name {
        "issue-18089" => script.watch_misses_deletion().await,
        "issue-18667" => script.rejected_transaction_applies().await,
        _ => Ok(()),
    }
}

struct Script {
    members: Vec<Member>,
    recorder: Arc<Recorder>,
}

impl Script {
    fn new(lab: &Lab, recorder: &Arc<Recorder>) -> Self {
        let members = lab
            .nodes
            .iter()
            .map(|n| Member {
                node: n.name.clone(),
                address: n.address,
            })
            .collect();
        Self {
            members,
            recorder: Arc::clone(recorder),
        }
    }

    /// etcd issue 18089: put, delete at revision d, put, compact d, watch from d.
    async fn watch_misses_deletion(&self) -> Result<(), SessionError> {
        let first = &self.members[0];
        let mut client = self.connect(first).await?;
        for value in ["v2", "v3", "v4"] {
            self.step(&mut client, first, put("k", value)).await?;
        }
        let delete = Request::DeleteRange(word::DeleteRangeRequest {
            key: "k".into(),
            ..Default::default()
        });
        let deleted = self
            .step(&mut client, first, delete)
            .await?
            .header()
            .revision;
        let last = self
            .step(&mut client, first, put("k", "v6"))
            .await?
            .header()
            .revision;
        let compact = Request::Compact(word::CompactRequest {
            revision: deleted,
            physical: true,
        });
        self.step(&mut client, first, compact).await?;
        self.watch_until(first, deleted, last).await;
        self.compare().await
    }

    /// etcd issue 18667: puts, compact the head, a transaction that puts and reads below the head.
    async fn rejected_transaction_applies(&self) -> Result<(), SessionError> {
        let first = &self.members[0];
        let mut client = self.connect(first).await?;
        let mut head = 0;
        for i in 1..=KEYS {
            let put = put(&format!("k{i}"), &format!("v{i}"));
            head = self.step(&mut client, first, put).await?.header().revision;
        }
        let compact = Request::Compact(word::CompactRequest {
            revision: head,
            physical: false,
        });
        self.step(&mut client, first, compact).await?;
        let unchanged = word::Compare {
            key: "k1".into(),
            range_end: murphy_check::blob::Blob::default(),
            result: word::Relation::Equal,
            target: word::Given::Value("v1".into()),
        };
        let read = word::RangeRequest {
            key: "k1".into(),
            revision: head - 1,
            ..Default::default()
        };
        let write = word::PutRequest {
            key: "k2".into(),
            value: "foo".into(),
            ..Default::default()
        };
        let txn = Request::Txn(word::TxnRequest {
            compare: word::Conditions::Listed(vec![unchanged]),
            success: vec![
                word::RequestOp::RequestPut(write),
                word::RequestOp::RequestRange(read),
            ],
            failure: Vec::new(),
        });
        // Rejected by an affected version and by a fixed one alike; what matters is what it leaves behind.
        let guards = Guards::new();
        let _ = ask(
            &mut client,
            &self.recorder,
            PROCESS,
            &first.node,
            &txn,
            &guards,
        )
        .await;
        self.compare().await
    }

    async fn connect(&self, member: &Member) -> Result<Client, SessionError> {
        Client::connect(member.address)
            .await
            .map_err(|error| SessionError::Step {
                step: "connect".into(),
                node: member.node.clone(),
                error: error.to_string(),
            })
    }

    async fn step(
        &self,
        client: &mut Client,
        member: &Member,
        request: Request,
    ) -> Result<Response, SessionError> {
        let asked = ask(
            client,
            &self.recorder,
            PROCESS,
            &member.node,
            &request,
            &Guards::new(),
        )
        .await;
        asked.answer.map_err(|rejection| SessionError::Step {
            step: request.f().into(),
            node: member.node.clone(),
            error: rejection.text,
        })
    }

    /// Watches the key from `start` until the event at `last` came, or the patience is over.
    async fn watch_until(&self, member: &Member, start: i64, last: i64) {
        let seen = Arc::new(AtomicI64::new(0));
        let watcher = Watcher {
            node: member.node.clone(),
            address: member.address,
            recorder: Arc::clone(&self.recorder),
            seen: Arc::clone(&seen),
        };
        let wanted = word::WatchRequest {
            key: "k".into(),
            start_revision: start,
            ..Default::default()
        };
        let (stop, stopped) = watch::channel(false);
        let watching = tokio::spawn(watcher.run(wanted, stopped));
        let until = Instant::now() + PATIENCE;
        while seen.load(std::sync::atomic::Ordering::Relaxed) < last && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let _ = stop.send(true);
        let _ = watching.await;
    }

    async fn compare(&self) -> Result<(), SessionError> {
        compare::members(&self.members, &[], &self.recorder).await
    }
}

fn put(key: &str, value: &str) -> Request {
    Request::Put(word::PutRequest {
        key: key.into(),
        value: value.into(),
        ..Default::default()
    })
}
