//! Clients of a simulated cluster that hold leases: grant, keep alive, let expire, revoke.

use super::{Action, Cluster, Kind, RngExt, Value};
use crate::etcd::vocabulary::{
    LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveResponse, LeaseRequest,
    LeaseRevokeResponse, LeaseTimeToLiveRequest, LeaseTimeToLiveResponse,
};

/// Time to live of every lease, s.
const TTL: i64 = 1;

/// What a keeper asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Wish {
    #[default]
    Grant,
    KeepAlive,
    TimeToLive,
    Revoke,
}

impl Wish {
    fn f(self) -> &'static str {
        match self {
            Self::Grant => "lease_grant",
            Self::KeepAlive => "lease_keep_alive",
            Self::TimeToLive => "lease_time_to_live",
            Self::Revoke => "lease_revoke",
        }
    }
}

/// A client that holds a lease.
#[derive(Default)]
pub(super) struct Keeper {
    generation: usize,
    /// The lease it knows it has, 0 for none.
    lease: i64,
    wish: Wish,
    /// The lease it asks about.
    asked: i64,
    node: usize,
    answer: Option<Value>,
}

impl Cluster<'_> {
    /// A lease that some client holds, now and then.
    pub(super) fn draw_lease(&mut self) -> i64 {
        if self.keepers.is_empty() || !self.rng.random_ratio(1, 3) {
            return 0;
        }
        let keeper = self.rng.random_range(0..self.keepers.len());
        self.keepers[keeper].lease
    }

    fn keeper(&self, keeper: usize) -> String {
        format!("l{keeper}-{}", self.keepers[keeper].generation)
    }

    pub(super) fn lease(&mut self, keeper: usize) {
        if self.asked >= self.profile.operations {
            return;
        }
        let node = self.rng.random_range(0..self.profile.members);
        if self.members[node].is_down {
            return self.soon(500..5_000, Action::Lease { keeper });
        }
        let wish = match (self.keepers[keeper].lease, self.rng.random_range(0..12)) {
            (0, _) => Wish::Grant,
            (_, 0) => Wish::Revoke,
            (_, 1..4) => Wish::TimeToLive,
            _ => Wish::KeepAlive,
        };
        if wish == Wish::Grant {
            self.leases += 1;
            self.keepers[keeper].asked = self.leases;
        } else {
            self.keepers[keeper].asked = self.keepers[keeper].lease;
        }
        self.keepers[keeper].wish = wish;
        self.keepers[keeper].node = node;
        let id = self.keepers[keeper].asked;
        let ask = match wish {
            Wish::Grant => Value::LeaseGrant(LeaseGrantRequest { ttl: TTL, id }),
            Wish::TimeToLive => Value::LeaseTimeToLive(LeaseTimeToLiveRequest { id, keys: false }),
            Wish::KeepAlive | Wish::Revoke => Value::Lease(LeaseRequest { id }),
        };
        let process = self.keeper(keeper);
        self.line(Kind::Invoke, process, wish.f(), ask, node, None);
        self.soon(100..1_500, Action::LeaseAct { keeper });
    }

    pub(super) fn lease_act(&mut self, keeper: usize) {
        let Keeper {
            wish,
            asked: id,
            node,
            ..
        } = self.keepers[keeper];
        let exists = self.expiries.contains_key(&id);
        let ttl = if exists || wish == Wish::Grant {
            TTL
        } else {
            0
        };
        let answer = match wish {
            Wish::Grant => {
                self.model.grant(id);
                self.renew(id);
                let header = self.header(node, self.model.revision);
                Some(Value::LeaseGranted(LeaseGrantResponse { header, id, ttl }))
            }
            Wish::KeepAlive => {
                if exists {
                    self.renew(id);
                }
                let header = self.header(node, self.model.revision);
                Some(Value::LeaseKept(LeaseKeepAliveResponse { header, id, ttl }))
            }
            Wish::TimeToLive => {
                let header = self.header(node, self.model.revision);
                let ttl = if exists { 0 } else { -1 };
                let granted_ttl = TTL;
                let keys = Vec::new();
                let left = LeaseTimeToLiveResponse {
                    header,
                    id,
                    ttl,
                    granted_ttl,
                    keys,
                };
                Some(Value::LeaseLeft(left))
            }
            Wish::Revoke => self.end_lease(id).then(|| {
                self.members[node].applied = self.model.revision;
                let header = self.header(node, self.model.revision);
                Value::LeaseRevoked(LeaseRevokeResponse { header })
            }),
        };
        self.keepers[keeper].answer = answer;
        self.soon(100..1_500, Action::LeaseReply { keeper });
    }

    fn renew(&mut self, lease: i64) {
        let length = TTL.unsigned_abs() * 1_000_000_000;
        let until = self.now + length;
        self.expiries.insert(lease, until);
        // The members look now and then.
        let late = self.rng.random_range(0..length / 4);
        self.at(until + late, Action::Expire { lease });
    }

    fn end_lease(&mut self, lease: i64) -> bool {
        self.expiries.remove(&lease);
        let ended = self.model.end_lease(lease);
        if !self.model.events.is_empty() {
            self.log
                .push_back((self.model.revision, self.model.events.clone()));
        }
        ended
    }

    pub(super) fn expire(&mut self, lease: i64) {
        if self
            .expiries
            .get(&lease)
            .is_some_and(|until| *until <= self.now)
        {
            self.end_lease(lease);
        }
    }

    pub(super) fn lease_reply(&mut self, keeper: usize) {
        let Keeper {
            wish,
            asked: id,
            node,
            ..
        } = self.keepers[keeper];
        let answer = self.keepers[keeper].answer.take();
        let process = self.keeper(keeper);
        let is_lost = self.rng.random_ratio(self.profile.unknown_per_mille, 1_000);
        let is_gone = match &answer {
            Some(Value::LeaseKept(kept)) => kept.ttl == 0,
            Some(Value::LeaseLeft(left)) => left.ttl < 0,
            Some(Value::LeaseGranted(_)) => false,
            _ => true,
        };
        match answer {
            Some(answer) if !is_lost => {
                self.line(Kind::Ok, process, wish.f(), answer, node, None);
                self.keepers[keeper].lease = if is_gone { 0 } else { id };
            }
            // A lease that does not exist is certainly not revoked.
            None => {
                let error = Some("etcdserver: requested lease not found".to_owned());
                self.line(Kind::Fail, process, wish.f(), Value::None, node, error);
                self.keepers[keeper].lease = 0;
            }
            Some(_) => {
                let error = Some("etcdserver: request timed out".to_owned());
                self.line(Kind::Info, process, wish.f(), Value::None, node, error);
                self.keepers[keeper].generation += 1;
                self.keepers[keeper].lease = 0;
            }
        }
        // Long enough that some leases expire.
        self.soon(1_000..50_000, Action::Lease { keeper });
    }
}
