//! A session is the clients and watches of one run.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use murphy_check::etcd::vocabulary as word;
use murphy_run::series::Outcome;
use tokio::{
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::Instant,
};

use super::{
    client::{Client, Request, Response},
    compare,
    errors::{Class, Rejection},
    watch::Watcher,
    wire::{self, Guards},
    workload::{self, COMPACTION_KEEPS, GUARD, Next, Op, Requests, Shared, Traffic},
};
use crate::{
    lab::Lab,
    recorder::{Ended, Recorder},
    system::{Session, SessionError},
};

/// Pause of a client after an error, so that a dead member is not stormed.
const BACKOFF: Duration = Duration::from_millis(10);

/// A member as clients know it.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its name.
    pub node: String,
    /// Its address.
    pub address: IpAddr,
}

/// The clients and watches of one run.
#[derive(Debug)]
pub struct EtcdSession {
    members: Vec<Member>,
    traffic: Arc<Traffic>,
    shared: Arc<Shared>,
    recorder: Arc<Recorder>,
    workers: Vec<Worker>,
    /// Last revision that each member's watch delivered.
    seen: Vec<Arc<AtomicI64>>,
    watchers: Vec<JoinHandle<()>>,
    stop_watching: watch::Sender<bool>,
}

impl EtcdSession {
    /// Clients bound to the members in turn, and a watch of everything on each member.
    pub fn new(traffic: Arc<Traffic>, lab: &Lab, recorder: &Arc<Recorder>, seed: u64) -> Self {
        let members: Vec<_> = lab
            .nodes
            .iter()
            .map(|n| Member {
                node: n.name.clone(),
                address: n.address,
            })
            .collect();
        let mut guards = Guards::new();
        if traffic.mix.has(Op::Compare) {
            let guard = workload::guard(traffic.keys);
            guards.insert(GUARD.into(), guard.iter().map(wire::compare).collect());
            recorder.define(GUARD, guard);
        }
        let (shared, guards) = (Arc::new(Shared::default()), Arc::new(guards));
        let (stop_watching, stopped) = watch::channel(false);
        let mut session = Self {
            members,
            shared,
            recorder: Arc::clone(recorder),
            workers: Vec::new(),
            seen: Vec::new(),
            watchers: Vec::new(),
            stop_watching,
            traffic,
        };
        session.workers = session.workers(seed, &guards);
        for member in &session.members {
            let delivered = Arc::new(AtomicI64::new(0));
            let watcher = Watcher {
                node: member.node.clone(),
                address: member.address,
                recorder: Arc::clone(recorder),
                seen: Arc::clone(&delivered),
            };
            session.seen.push(delivered);
            session
                .watchers
                .push(tokio::spawn(watcher.run(everything(), stopped.clone())));
        }
        session
    }

    fn workers(&self, seed: u64, guards: &Arc<Guards>) -> Vec<Worker> {
        let clients = self
            .members
            .iter()
            .cycle()
            .take(self.traffic.clients)
            .enumerate();
        clients
            .map(|(number, member)| Worker {
                number,
                generation: 0,
                member: member.clone(),
                client: None,
                requests: Requests::new(
                    number,
                    seed,
                    Arc::clone(&self.traffic),
                    Arc::clone(&self.shared),
                ),
                guards: Arc::clone(guards),
                shared: Arc::clone(&self.shared),
                recorder: Arc::clone(&self.recorder),
                pace: self.traffic.rate.map(|rate| {
                    // A rate of all clients together; each takes its share.
                    Duration::from_secs_f64(self.traffic.clients as f64 / rate)
                }),
            })
            .collect()
    }
}

/// Every key from the first revision on.
fn everything() -> word::WatchRequest {
    word::WatchRequest {
        key: vec![0].into(),
        range_end: vec![0].into(),
        start_revision: 1,
        ..Default::default()
    }
}

impl Session for EtcdSession {
    async fn load(&mut self, stop: watch::Receiver<bool>) {
        let mut at_work = JoinSet::new();
        for mut worker in self.workers.drain(..) {
            let stop = stop.clone();
            at_work.spawn(async move {
                worker.run(&stop).await;
                worker
            });
        }
        let compactor = self.traffic.compact_every.map(|every| {
            let compactor = Compactor {
                members: self.members.clone(),
                shared: Arc::clone(&self.shared),
                recorder: Arc::clone(&self.recorder),
                every,
            };
            tokio::spawn(compactor.run(stop))
        });
        let mut back = Vec::new();
        while let Some(worker) = at_work.join_next().await {
            // A worker that panicked is a bug and must not pass for a quiet client.
            match worker {
                Ok(worker) => back.push(worker),
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            }
        }
        back.sort_by_key(|worker| worker.number);
        self.workers = back;
        if let Some(compactor) = compactor {
            let _ = compactor.await;
        }
    }

    async fn compare(&mut self) -> Result<(), SessionError> {
        compare::members(&self.members, &self.seen, &self.recorder).await
    }

    async fn end(self) {
        // No receiver left means that every watch has ended by itself.
        let _ = self.stop_watching.send(true);
        for watcher in self.watchers {
            let _ = watcher.await;
        }
    }
}

/// One client at work.
#[derive(Debug)]
struct Worker {
    number: usize,
    /// Counts the unknown outcomes: each begins a new process.
    generation: u32,
    member: Member,
    client: Option<Client>,
    requests: Requests,
    guards: Arc<Guards>,
    shared: Arc<Shared>,
    recorder: Arc<Recorder>,
    pace: Option<Duration>,
}

impl Worker {
    async fn run(&mut self, stop: &watch::Receiver<bool>) {
        let mut next_at = Instant::now();
        while !*stop.borrow() && !self.recorder.is_broken() {
            if self.client.is_none() {
                let Ok(client) = Client::connect(self.member.address).await else {
                    tokio::time::sleep(BACKOFF).await;
                    continue;
                };
                self.client = Some(client);
            }
            if let Err(rejection) = self.next().await {
                if rejection.connection_lost {
                    self.client = None;
                }
                tokio::time::sleep(BACKOFF).await;
            }
            if let Some(pace) = self.pace {
                next_at = (next_at + pace).max(Instant::now() - pace);
                tokio::time::sleep_until(next_at).await;
            }
        }
    }

    async fn next(&mut self) -> Result<(), Rejection> {
        match self.requests.draw() {
            Next::One(request) => self.ask(&request).await.map(drop),
            Next::ReadThenSwap(read) => {
                let key = read.key.clone();
                if let Response::Range(found) = self.ask(&Request::Range(read)).await? {
                    let at = found.kvs.first().map_or(0, |kv| kv.mod_revision);
                    let swap = self.requests.swap(&key, at);
                    self.ask(&swap).await?;
                }
                Ok(())
            }
        }
    }

    async fn ask(&mut self, request: &Request) -> Result<Response, Rejection> {
        let Some(client) = &mut self.client else {
            return Err(Rejection {
                class: Class::NotSent,
                text: "not connected".into(),
                connection_lost: true,
            });
        };
        let process = match self.generation {
            0 => format!("c{}", self.number),
            generation => format!("c{}.{generation}", self.number),
        };
        let asked = ask(
            client,
            &self.recorder,
            &process,
            &self.member.node,
            request,
            &self.guards,
        )
        .await;
        self.recorder
            .count(asked.start_ns, asked.end_ns, asked.outcome);
        self.generation += u32::from(asked.outcome == Outcome::Unknown);
        let answer = asked.answer;
        if let Ok(response) = &answer
            && !matches!(response, Response::Compact(_))
        {
            let revision = response.header().revision;
            self.shared.revision.fetch_max(revision, Ordering::Relaxed);
        }
        answer
    }
}

/// One invocation from question to end.
#[derive(Debug)]
pub(super) struct Asked {
    /// What came back.
    pub answer: Result<Response, Rejection>,
    /// When it was asked, ns since the start of the run.
    start_ns: u64,
    /// When it ended.
    end_ns: u64,
    /// How it ended.
    outcome: Outcome,
}

/// Asks once and writes the invocation with its end.
pub(super) async fn ask(
    client: &mut Client,
    recorder: &Recorder,
    process: &str,
    node: &str,
    request: &Request,
    guards: &Guards,
) -> Asked {
    let f = request.f();
    let start_ns = recorder.invoke(process, node, f, request);
    let answer = client.call(request, guards).await;
    let ended = match &answer {
        Ok(response) => Ended::Ok(response),
        Err(rejection) => match rejection.class {
            Class::Definite | Class::NotSent => Ended::Fail(rejection.text.as_str()),
            Class::Unknown => Ended::Unknown(rejection.text.as_str()),
        },
    };
    let outcome = ended.outcome();
    let end_ns = recorder.end(process, node, f, &ended);
    Asked {
        answer,
        start_ns,
        end_ns,
        outcome,
    }
}

/// Compacts the store now and then, through one member after the other.
struct Compactor {
    members: Vec<Member>,
    shared: Arc<Shared>,
    recorder: Arc<Recorder>,
    every: Duration,
}

impl Compactor {
    async fn run(self, mut stop: watch::Receiver<bool>) {
        let guards = Guards::new();
        for (turn, member) in self.members.iter().cycle().enumerate() {
            let stopped = stop.wait_for(|stop| *stop);
            if tokio::time::timeout(self.every, stopped).await.is_ok() {
                return;
            }
            let revision = self.shared.revision.load(Ordering::Relaxed) - COMPACTION_KEEPS;
            let Ok(mut client) = Client::connect(member.address).await else {
                continue;
            };
            if revision > 1 {
                let request = Request::Compact(word::CompactRequest {
                    revision,
                    physical: false,
                });
                let process = format!("compactor.{turn}");
                ask(
                    &mut client,
                    &self.recorder,
                    &process,
                    &member.node,
                    &request,
                    &guards,
                )
                .await;
            }
        }
    }
}
