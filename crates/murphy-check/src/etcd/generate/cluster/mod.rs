//! A cluster is simulated event by event: clients ask, members act, answer late, die and come back.

mod end;
mod leasing;
mod watching;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, VecDeque},
};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{
    Profile,
    story::{Entry, Value},
    traffic::{Asker, guard, key},
};
use crate::{
    blob::Blob,
    etcd::{
        model::{Model, Request, Response},
        vocabulary::{
            CompactRequest, CompactResponse, Compare, HashKvRequest, HashKvResponse, Header,
            RangeRequest, StatusRequest, StatusResponse, WatchEnd, WatchEvent, WatchMessage,
            WatchRequest,
        },
    },
    history::{Kind, NEMESIS},
};

const MICROSECOND: u64 = 1_000;

/// Tells a valid history line by line; returns the names of the members and the conditions of `guard`,
/// which come before the lines.
pub fn tell(
    profile: &Profile,
    seed: u64,
    emit: &mut dyn FnMut(Entry),
) -> (Vec<String>, Vec<Compare>) {
    let nodes = (0..profile.members)
        .map(|node| format!("n{node}"))
        .collect();
    Cluster::new(profile, seed, emit).run();
    (nodes, guard(profile))
}

/// What happens next somewhere.
#[derive(Debug)]
enum Action {
    Ask {
        client: usize,
    },
    Act(Box<Flight>),
    Reply {
        client: usize,
        token: u64,
    },
    Timeout {
        client: usize,
        token: u64,
    },
    Deliver {
        node: usize,
    },
    Kill {
        node: usize,
    },
    Back {
        node: usize,
    },
    Compact,
    /// A client that holds a lease asks for something about it.
    Lease {
        keeper: usize,
    },
    /// The member acts on it.
    LeaseAct {
        keeper: usize,
    },
    /// The client is answered.
    LeaseReply {
        keeper: usize,
    },
    /// The time of a lease may be over.
    Expire {
        lease: i64,
    },
}

/// A request on its way to take effect.
#[derive(Debug)]
struct Flight {
    client: usize,
    token: u64,
    node: usize,
    request: Request,
}

#[derive(Default)]
struct Client {
    generation: usize,
    asked: u64,
    /// The open invocation: its number, word and member.
    open: Option<(u64, &'static str, usize)>,
    answer: Option<Result<Response, String>>,
}

struct Watch {
    process: String,
    key: Blob,
    range_end: Blob,
    prev_kv: bool,
    sent: i64,
}

struct Member {
    applied: i64,
    is_down: bool,
    watches: Vec<Watch>,
    opened: usize,
}

struct Cluster<'a> {
    profile: &'a Profile,
    rng: ChaCha8Rng,
    emit: &'a mut dyn FnMut(Entry),
    model: Model,
    now: u64,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    actions: rustc_hash::FxHashMap<u64, Action>,
    sequence: u64,
    clients: Vec<Client>,
    members: Vec<Member>,
    log: VecDeque<(i64, Vec<WatchEvent>)>,
    asked: usize,
    term: u64,
    last_mod: i64,
    keepers: Vec<leasing::Keeper>,
    /// The leases there are, with the time at which they expire.
    expiries: BTreeMap<i64, u64>,
    leases: i64,
}

impl<'a> Cluster<'a> {
    fn new(profile: &'a Profile, seed: u64, emit: &'a mut dyn FnMut(Entry)) -> Self {
        let member = |_| Member {
            applied: 1,
            is_down: false,
            watches: Vec::new(),
            opened: 0,
        };
        Self {
            profile,
            rng: ChaCha8Rng::seed_from_u64(seed),
            emit,
            model: Model::default(),
            now: 0,
            queue: BinaryHeap::new(),
            actions: rustc_hash::FxHashMap::default(),
            sequence: 0,
            clients: (0..profile.clients).map(|_| Client::default()).collect(),
            members: (0..profile.members).map(member).collect(),
            log: VecDeque::new(),
            asked: 0,
            term: 2,
            keepers: Vec::new(),
            expiries: BTreeMap::new(),
            leases: 0,
            last_mod: 0,
        }
    }

    fn run(mut self) {
        self.plan();
        while let Some(Reverse((time, number))) = self.queue.pop() {
            if self.profile.cut && self.asked >= self.profile.operations {
                return;
            }
            self.now = self.now.max(time);
            if let Some(action) = self.actions.remove(&number) {
                self.happen(action);
            }
        }
        self.end();
    }

    /// The mean time between two operations is about 100 µs for 24 clients.
    fn plan(&mut self) {
        let length = (self.profile.operations as u64 * 2_400 / self.profile.clients as u64 + 1_000)
            * MICROSECOND
            * self.profile.slowness;
        for client in 0..self.profile.clients {
            self.soon(0..500, Action::Ask { client });
        }
        for keeper in 0..self.profile.leases {
            self.keepers.push(leasing::Keeper::default());
            self.soon(0..500, Action::Lease { keeper });
        }
        for node in 0..self.profile.members {
            if self.profile.watches {
                self.watch(node, "\0".into(), "\0".into(), false, 1);
                if node == 0 {
                    self.watch(node, key(self.profile, 0), key(self.profile, 10), true, 1);
                }
            }
            self.soon(0..3_000, Action::Deliver { node });
        }
        for _ in 0..self.profile.kills {
            let (at, node) = (
                self.rng.random_range(0..length),
                self.rng.random_range(0..self.profile.members),
            );
            self.at(at, Action::Kill { node });
        }
        for _ in 0..self.profile.compactions {
            let at = self.rng.random_range(0..length);
            self.at(at, Action::Compact);
        }
    }

    fn at(&mut self, time: u64, action: Action) {
        self.sequence += 1;
        self.queue.push(Reverse((time, self.sequence)));
        self.actions.insert(self.sequence, action);
    }

    fn soon(&mut self, microseconds: std::ops::Range<u64>, action: Action) {
        let delay = self
            .rng
            .random_range(microseconds.start * MICROSECOND..microseconds.end * MICROSECOND);
        self.at(self.now + delay * self.profile.slowness, action);
    }

    fn happen(&mut self, action: Action) {
        match action {
            Action::Ask { client } => self.ask(client),
            Action::Act(flight) => self.act(&flight),
            Action::Reply { client, token } => self.reply(client, token),
            Action::Timeout { client, token } => {
                if self.clients[client]
                    .open
                    .is_some_and(|open| open.0 == token)
                {
                    self.lose(client, "etcdserver: request timed out");
                }
            }
            Action::Deliver { node } => self.deliver(node),
            Action::Kill { node } => self.kill(node),
            Action::Back { node } => self.back(node),
            Action::Compact => self.compact(),
            Action::Lease { keeper } => self.lease(keeper),
            Action::LeaseAct { keeper } => self.lease_act(keeper),
            Action::LeaseReply { keeper } => self.lease_reply(keeper),
            Action::Expire { lease } => self.expire(lease),
        }
    }

    fn line(
        &mut self,
        kind: Kind,
        process: String,
        f: &'static str,
        value: Value,
        node: usize,
        error: Option<String>,
    ) {
        (self.emit)(Entry {
            kind,
            process,
            f,
            value,
            time: self.now,
            node,
            error,
        });
    }

    fn process(&self, client: usize) -> String {
        match self.clients[client].generation {
            0 => format!("c{client}"),
            generation => format!("c{client}-{generation}"),
        }
    }

    fn header(&self, node: usize, revision: i64) -> Header {
        Header {
            revision,
            member_id: node as u64 + 1,
            raft_term: self.term,
        }
    }

    fn ask(&mut self, client: usize) {
        if self.asked >= self.profile.operations {
            return;
        }
        self.asked += 1;
        self.clients[client].asked += 1;
        let number = self.rng.random_range(0..self.profile.keys);
        let value = format!("c{client}-{}", self.clients[client].asked);
        let lease = self.draw_lease();
        let asker = Asker {
            profile: self.profile,
            value,
            lease,
            revision: self.model.revision,
            last_mod: self.last_mod,
        };
        let request = asker.draw(&mut self.rng, number);
        let node = self.rng.random_range(0..self.profile.members);
        let f = request.f();
        self.line(
            Kind::Invoke,
            self.process(client),
            f,
            Value::Request(request.clone()),
            node,
            None,
        );
        if self.members[node].is_down {
            self.now += MICROSECOND;
            let error = Some("tcp connect error".to_owned());
            self.line(
                Kind::Fail,
                self.process(client),
                f,
                Value::None,
                node,
                error,
            );
            return self.soon(50..2_000, Action::Ask { client });
        }
        self.sequence += 1;
        let token = self.sequence;
        self.clients[client].open = Some((token, f, node));
        let flight = Box::new(Flight {
            client,
            token,
            node,
            request,
        });
        if self.rng.random_ratio(self.profile.unknown_per_mille, 1_000) {
            self.soon(500..5_000, Action::Timeout { client, token });
            if self.rng.random() {
                self.clients[client].open = Some((token, f, node));
                self.soon(100..20_000, Action::Act(flight));
            }
        } else {
            self.soon(100..1_500, Action::Act(flight));
        }
    }

    fn act(&mut self, flight: &Flight) {
        let member = &mut self.members[flight.node];
        if member.is_down && self.rng.random() {
            return;
        }
        let is_open = self.clients[flight.client]
            .open
            .is_some_and(|open| open.0 == flight.token);
        let local = match &flight.request {
            Request::Range(ask) if ask.serializable => {
                Some(self.model.range(ask, member.applied).map(Response::Range))
            }
            _ => None,
        };
        let result = local.unwrap_or_else(|| {
            let result = self.model.apply(&flight.request);
            member.applied = self.model.revision;
            if let Some(event) = self.model.events.first() {
                self.last_mod = event.kv.mod_revision;
                self.log
                    .push_back((self.model.revision, self.model.events.clone()));
            }
            result
        });
        if is_open {
            let header = self.header(flight.node, 0);
            self.clients[flight.client].answer = Some(match result {
                Ok(mut response) => {
                    let revision = response.revision();
                    *response.header_mut() = Header { revision, ..header };
                    Ok(response)
                }
                Err(rejection) => Err(rejection.to_string()),
            });
            self.soon(
                100..1_500,
                Action::Reply {
                    client: flight.client,
                    token: flight.token,
                },
            );
        }
    }

    fn reply(&mut self, client: usize, token: u64) {
        let Some((open, f, node)) = self.clients[client].open.filter(|open| open.0 == token) else {
            return;
        };
        debug_assert_eq!(open, token);
        let Some(answer) = self.clients[client].answer.take() else {
            return;
        };
        match answer {
            Ok(response) => {
                self.line(
                    Kind::Ok,
                    self.process(client),
                    f,
                    Value::Response(response),
                    node,
                    None,
                );
                self.clients[client].open = None;
                self.soon(0..300, Action::Ask { client });
            }
            Err(error) if f == "range" => {
                self.line(
                    Kind::Fail,
                    self.process(client),
                    f,
                    Value::None,
                    node,
                    Some(error),
                );
                self.clients[client].open = None;
                self.soon(0..300, Action::Ask { client });
            }
            // A rejected transaction is never assumed to be without effect.
            Err(error) => self.lose(client, &error),
        }
    }

    fn lose(&mut self, client: usize, error: &str) {
        let Some((_, f, node)) = self.clients[client].open.take() else {
            return;
        };
        self.line(
            Kind::Info,
            self.process(client),
            f,
            Value::None,
            node,
            Some(error.to_owned()),
        );
        self.clients[client].generation += 1;
        self.clients[client].answer = None;
        self.soon(0..1_000, Action::Ask { client });
    }

    fn fault(&mut self, phase: &'static str, node: usize) {
        let value = Value::Fault {
            phase,
            id: format!("kill-{node}"),
        };
        self.line(Kind::Info, NEMESIS.into(), "kill", value, node, None);
    }

    fn kill(&mut self, node: usize) {
        if self.members.iter().any(|member| member.is_down) {
            return;
        }
        self.fault("begin", node);
        self.members[node].is_down = true;
        self.term += 1;
        for client in 0..self.clients.len() {
            if self.clients[client]
                .open
                .is_some_and(|(_, _, at)| at == node)
            {
                self.lose(client, "transport error");
            }
        }
        for watch in 0..self.members[node].watches.len() {
            let process = self.members[node].watches[watch].process.clone();
            self.line(
                Kind::Info,
                process,
                "watch",
                Value::None,
                node,
                Some("transport error".into()),
            );
        }
        self.soon(5_000..30_000, Action::Back { node });
    }

    fn back(&mut self, node: usize) {
        self.members[node].is_down = false;
        self.fault("end", node);
        for watch in std::mem::take(&mut self.members[node].watches) {
            self.watch(
                node,
                watch.key,
                watch.range_end,
                watch.prev_kv,
                watch.sent + 1,
            );
        }
    }
}
