//! A reference model is etcd's key space in its plainest form: slow, obvious, and independent of the
//! replay that checks histories.
//!
//! The generator answers its simulated clients from it, and the brute-force oracle of the tests judges
//! with it; so a mistake in the replay has no twin here.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::vocabulary::{
    Compare, Conditions, DeleteRangeRequest, DeleteRangeResponse, EventKind, Given, Header,
    KeyValue, PutRequest, PutResponse, RangeRequest, RangeResponse, Relation, RequestOp,
    ResponseOp, TxnRequest, TxnResponse, WatchEvent,
};
use crate::blob::Blob;

/// A request to the key space.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Request {
    /// `KV.Put`.
    Put(PutRequest),
    /// `KV.Range`.
    Range(RangeRequest),
    /// `KV.DeleteRange`.
    DeleteRange(DeleteRangeRequest),
    /// `KV.Txn`.
    Txn(TxnRequest),
}

/// The answer to a [`Request`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Response {
    /// To a put.
    Put(PutResponse),
    /// To a range.
    Range(RangeResponse),
    /// To a range deletion.
    DeleteRange(DeleteRangeResponse),
    /// To a transaction.
    Txn(TxnResponse),
}

impl Request {
    /// The word of the history for it.
    pub fn f(&self) -> &'static str {
        match self {
            Self::Put(_) => "put",
            Self::Range(_) => "range",
            Self::DeleteRange(_) => "delete_range",
            Self::Txn(_) => "txn",
        }
    }
}

impl Response {
    /// The header.
    pub fn header_mut(&mut self) -> &mut Header {
        match self {
            Self::Put(answer) => &mut answer.header,
            Self::Range(answer) => &mut answer.header,
            Self::DeleteRange(answer) => &mut answer.header,
            Self::Txn(answer) => &mut answer.header,
        }
    }

    /// The revision in the header.
    pub fn revision(&self) -> i64 {
        match self {
            Self::Put(answer) => answer.header.revision,
            Self::Range(answer) => answer.header.revision,
            Self::DeleteRange(answer) => answer.header.revision,
            Self::Txn(answer) => answer.header.revision,
        }
    }
}

/// Why a request is rejected, without any effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// A read of a revision that was compacted.
    #[error("etcdserver: mvcc: required revision has been compacted")]
    Compacted,
    /// A read of a revision that does not exist yet.
    #[error("etcdserver: mvcc: required revision is a future revision")]
    Future,
    /// A put under a lease that does not exist.
    #[error("etcdserver: requested lease not found")]
    LeaseNotFound,
}

/// The key space with all its past.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// The newest revision; 1 for an empty store.
    pub revision: i64,
    /// The oldest revision that can be read.
    pub compacted: i64,
    /// Every pair of every key, oldest first; version 0 is a deletion.
    past: BTreeMap<Blob, Vec<KeyValue>>,
    /// The leases there are.
    leases: BTreeSet<i64>,
    /// The events of the request applied last.
    pub events: Vec<WatchEvent>,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            revision: 1,
            compacted: 0,
            past: BTreeMap::new(),
            leases: BTreeSet::new(),
            events: Vec::new(),
        }
    }
}

impl Model {
    /// Applies a request at the newest revision.
    pub fn apply(&mut self, request: &Request) -> Result<Response, Rejection> {
        self.events.clear();
        let at = self.revision;
        let response = match request {
            Request::Put(ask) => {
                self.check_lease(ask)?;
                Response::Put(self.put(ask, at + 1))
            }
            Request::Range(ask) => Response::Range(self.range(ask, at)?),
            Request::DeleteRange(ask) => Response::DeleteRange(self.delete(ask, at + 1)),
            Request::Txn(ask) => {
                let mut path = Vec::new();
                self.decide(ask, &mut path)?;
                path.reverse();
                Response::Txn(self.txn(ask, at + 1, &mut path))
            }
        };
        self.revision += i64::from(!self.events.is_empty());
        let mut response = response;
        response.header_mut().revision = self.revision;
        Ok(response)
    }

    /// Grants a lease; false where it exists.
    pub fn grant(&mut self, lease: i64) -> bool {
        self.leases.insert(lease)
    }

    /// Ends a lease, because it was revoked or because its time is over: all its keys go in one revision, and
    /// where it has none there is no revision. False where there is no such lease.
    pub fn end_lease(&mut self, lease: i64) -> bool {
        self.events.clear();
        if !self.leases.remove(&lease) {
            return false;
        }
        let revision = self.revision + 1;
        let attached = self.past.values().filter_map(|past| past.last());
        let attached: Vec<KeyValue> = attached
            .filter(|pair| pair.version > 0 && pair.lease == lease)
            .cloned()
            .collect();
        for pair in attached {
            self.delete_pair(pair, revision);
        }
        self.revision += i64::from(!self.events.is_empty());
        true
    }

    fn check_lease(&self, ask: &PutRequest) -> Result<(), Rejection> {
        if ask.lease == 0 || self.leases.contains(&ask.lease) {
            return Ok(());
        }
        Err(Rejection::LeaseNotFound)
    }

    /// Answers a range from the state of `revision`, as a member does that has come that far.
    pub fn range(&self, ask: &RangeRequest, revision: i64) -> Result<RangeResponse, Rejection> {
        if ask.revision > revision {
            return Err(Rejection::Future);
        }
        if ask.revision > 0 && ask.revision < self.compacted {
            return Err(Rejection::Compacted);
        }
        let at = if ask.revision > 0 {
            ask.revision
        } else {
            revision
        };
        let mut kvs: Vec<KeyValue> = self.live(&ask.key, &ask.range_end, at).cloned().collect();
        let count = i64::try_from(kvs.len()).unwrap_or(i64::MAX);
        let limit = usize::try_from(ask.limit).unwrap_or(0);
        let more = limit > 0 && kvs.len() > limit && !ask.count_only;
        if more {
            kvs.truncate(limit);
        }
        if ask.count_only {
            kvs.clear();
        }
        if ask.keys_only {
            for pair in &mut kvs {
                pair.value = Blob::default();
            }
        }
        Ok(RangeResponse {
            header: Header {
                revision,
                ..Header::default()
            },
            kvs,
            more,
            count,
        })
    }

    /// The pairs of a span that live at `revision`, in order of keys.
    pub fn live(&self, key: &Blob, end: &Blob, revision: i64) -> impl Iterator<Item = &KeyValue> {
        self.past
            .iter()
            .filter(|(name, _)| within(name, key, end))
            .filter_map(move |(_, past)| {
                past.iter()
                    .rev()
                    .find(|pair| pair.mod_revision <= revision)
                    .filter(|pair| pair.version > 0)
            })
    }

    /// Forgets what was overwritten by `revision`.
    pub fn compact(&mut self, revision: i64) {
        self.compacted = revision;
        self.past.retain(|_, past| {
            let keep = past
                .iter()
                .rposition(|pair| pair.mod_revision <= revision)
                .unwrap_or(0);
            past.drain(..keep);
            past.len() > 1 || past.iter().any(|pair| pair.version > 0)
        });
    }

    fn head(&self, key: &Blob) -> Option<&KeyValue> {
        self.past.get(key)?.last().filter(|pair| pair.version > 0)
    }

    fn put(&mut self, ask: &PutRequest, revision: i64) -> PutResponse {
        let prev = self.head(&ask.key).cloned();
        let pair = KeyValue {
            key: ask.key.clone(),
            create_revision: prev.as_ref().map_or(revision, |prev| prev.create_revision),
            mod_revision: revision,
            version: prev.as_ref().map_or(1, |prev| prev.version + 1),
            value: ask.value.clone(),
            lease: ask.lease,
        };
        self.past
            .entry(ask.key.clone())
            .or_default()
            .push(pair.clone());
        self.events.push(WatchEvent {
            r#type: EventKind::Put,
            kv: pair,
            prev_kv: prev.clone(),
        });
        PutResponse {
            header: Header::default(),
            prev_kv: prev.filter(|_| ask.prev_kv),
        }
    }

    fn delete(&mut self, ask: &DeleteRangeRequest, revision: i64) -> DeleteRangeResponse {
        let found: Vec<KeyValue> = self
            .live(&ask.key, &ask.range_end, revision)
            .cloned()
            .collect();
        for pair in &found {
            self.delete_pair(pair.clone(), revision);
        }
        DeleteRangeResponse {
            header: Header::default(),
            deleted: i64::try_from(found.len()).unwrap_or(i64::MAX),
            prev_kvs: if ask.prev_kv { found } else { Vec::new() },
        }
    }

    fn delete_pair(&mut self, pair: KeyValue, revision: i64) {
        let gone = KeyValue {
            key: pair.key.clone(),
            mod_revision: revision,
            ..KeyValue::default()
        };
        self.past
            .entry(pair.key.clone())
            .or_default()
            .push(gone.clone());
        self.events.push(WatchEvent {
            r#type: EventKind::Delete,
            kv: gone,
            prev_kv: Some(pair),
        });
    }

    /// All conditions look at the state before the transaction, those of nested ones as well; so do
    /// the checks of reads on the branches taken, and an impossible one rejects the whole.
    fn decide(&self, ask: &TxnRequest, path: &mut Vec<bool>) -> Result<(), Rejection> {
        let succeeds = match &ask.compare {
            Conditions::Listed(conditions) => {
                conditions.iter().all(|condition| self.holds(condition))
            }
            Conditions::Named { .. } => true,
        };
        path.push(succeeds);
        for op in if succeeds { &ask.success } else { &ask.failure } {
            match op {
                RequestOp::RequestRange(ask) if ask.revision > self.revision => {
                    return Err(Rejection::Future);
                }
                RequestOp::RequestRange(ask)
                    if ask.revision > 0 && ask.revision < self.compacted =>
                {
                    return Err(Rejection::Compacted);
                }
                RequestOp::RequestTxn(nested) => self.decide(nested, path)?,
                RequestOp::RequestPut(ask) => self.check_lease(ask)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn txn(&mut self, ask: &TxnRequest, revision: i64, path: &mut Vec<bool>) -> TxnResponse {
        let succeeded = path.pop().unwrap_or_default();
        let mut responses = Vec::new();
        for op in if succeeded {
            &ask.success
        } else {
            &ask.failure
        } {
            responses.push(match op {
                RequestOp::RequestPut(ask) => ResponseOp::ResponsePut(self.put(ask, revision)),
                RequestOp::RequestDeleteRange(ask) => {
                    ResponseOp::ResponseDeleteRange(self.delete(ask, revision))
                }
                RequestOp::RequestTxn(ask) => {
                    ResponseOp::ResponseTxn(self.txn(ask, revision, path))
                }
                RequestOp::RequestRange(ask) => {
                    let now = revision - i64::from(self.events.is_empty());
                    // The reads of every branch were checked before.
                    let mut answer = self.range(ask, now).unwrap_or_default();
                    answer.header = Header::default();
                    ResponseOp::ResponseRange(answer)
                }
            });
        }
        TxnResponse {
            header: Header::default(),
            succeeded,
            responses,
        }
    }

    fn holds(&self, condition: &Compare) -> bool {
        let mut pairs: Vec<Option<&KeyValue>> = self
            .live(&condition.key, &condition.range_end, self.revision)
            .map(Some)
            .collect();
        if pairs.is_empty() {
            pairs.push(None);
        }
        pairs.into_iter().all(|pair| {
            let number = |of: fn(&KeyValue) -> i64| pair.map_or(0, of);
            let order = match &condition.target {
                Given::Version(given) => number(|p| p.version).cmp(given),
                Given::CreateRevision(given) => number(|p| p.create_revision).cmp(given),
                Given::ModRevision(given) => number(|p| p.mod_revision).cmp(given),
                Given::Lease(given) => number(|p| p.lease).cmp(given),
                Given::Value(given) => match pair {
                    Some(pair) => pair.value.cmp(given),
                    None => return false,
                },
            };
            match condition.result {
                Relation::Equal => order.is_eq(),
                Relation::Greater => order.is_gt(),
                Relation::Less => order.is_lt(),
                Relation::NotEqual => order.is_ne(),
            }
        })
    }
}

/// Whether `name` lies in the span from `key` to `end`.
pub(crate) fn within(name: &Blob, key: &Blob, end: &Blob) -> bool {
    match end.0.as_slice() {
        [] => name == key,
        [0] => name >= key,
        _ => name >= key && name < end,
    }
}
