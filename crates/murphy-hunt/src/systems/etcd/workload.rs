//! A workload is the traffic of a hunt: which operations, how often, on which keys, with values that are
//! written once and never again.
//!
//! A client is bound to one member and has one invocation open at a time. After an unknown outcome it
//! goes on under a new process name, as histories demand.

use std::{
    fmt,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use murphy_check::etcd::vocabulary as word;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::client::Request;

/// Every key of a workload begins with this.
pub const PREFIX: &str = "k/";
/// First key behind the workload's.
pub const PREFIX_END: &str = "k0";
/// Name of the conditions that profile `compare` sends, in the history and among the guards.
pub const GUARD: &str = "guard";
/// Compares in one transaction of profile `compare`; etcd's own limit is 128 operations.
const COMPARES: usize = 100;
/// Puts in one transaction of kind `txn`.
const TXN_PUTS: usize = 3;
/// How far back a read at an old revision may go.
const OLD_REVISIONS_MAX: i64 = 100;
/// A compaction keeps so many revisions.
pub const COMPACTION_KEEPS: i64 = 50;

/// One kind of operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Op {
    /// A transaction of one hundred compares that always hold, and one put.
    Compare,
    /// A put.
    Put,
    /// A linearizable read of one key.
    Get,
    /// A serializable read of all keys.
    List,
    /// A deletion of one key.
    Delete,
    /// A read, then a put on condition that the key has not changed since.
    Cas,
    /// A transaction of several puts and a read.
    Txn,
    /// A transaction of a put and a read at an old revision.
    OldTxn,
    /// A read of one key at an old revision.
    OldGet,
}

/// Names of the operations, as `--mix` takes them.
pub const OPS: [(&str, Op); 9] = [
    ("compare", Op::Compare),
    ("put", Op::Put),
    ("get", Op::Get),
    ("list", Op::List),
    ("delete", Op::Delete),
    ("cas", Op::Cas),
    ("txn", Op::Txn),
    ("old-txn", Op::OldTxn),
    ("old-get", Op::OldGet),
];

/// Why a mix was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MixError {
    /// Not of the form `name=weight`.
    #[error("read the mix {0:?}: expected `name=weight,…`, such as `put=40,get=60`")]
    Form(String),
    /// No such operation.
    #[error("read the mix: there is no operation {0:?}; there are {names}", names = op_names())]
    Unknown(String),
    /// All weights are zero.
    #[error("read the mix: every weight is 0, so there is nothing to do")]
    Nothing,
}

fn op_names() -> String {
    OPS.map(|(name, _)| name).join(", ")
}

/// Operations with their weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mix(Vec<(Op, u32)>);

impl FromStr for Mix {
    type Err = MixError;

    fn from_str(text: &str) -> Result<Self, MixError> {
        let mut weights = Vec::new();
        for part in text.split(',') {
            let form = || MixError::Form(text.into());
            let (name, weight) = part.trim().split_once('=').ok_or_else(form)?;
            let weight: u32 = weight.trim().parse().map_err(|_| form())?;
            let known = OPS.iter().find(|(known, _)| *known == name.trim());
            let (_, op) = known.ok_or_else(|| MixError::Unknown(name.trim().into()))?;
            weights.push((*op, weight));
        }
        if weights.iter().all(|(_, weight)| *weight == 0) {
            return Err(MixError::Nothing);
        }
        Ok(Self(weights))
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (op, weight)) in self.0.iter().enumerate() {
            // Every operation is in the table, which is how a mix is made.
            let name = OPS
                .iter()
                .find(|(_, known)| known == op)
                .map_or("?", |(name, _)| name);
            write!(f, "{}{name}={weight}", if i > 0 { "," } else { "" })?;
        }
        Ok(())
    }
}

impl Mix {
    fn draw(&self, rng: &mut ChaCha8Rng) -> Op {
        let total: u64 = self.0.iter().map(|(_, weight)| u64::from(*weight)).sum();
        let mut left = rng.random_range(0..total.max(1));
        for (op, weight) in &self.0 {
            match left.checked_sub(u64::from(*weight)) {
                Some(rest) => left = rest,
                None => return *op,
            }
        }
        Op::Put
    }

    /// Whether an operation of this kind can be drawn.
    pub fn has(&self, wanted: Op) -> bool {
        self.0
            .iter()
            .any(|(op, weight)| *op == wanted && *weight > 0)
    }
}

/// A named profile of traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// Its mix, in the form `--mix` takes.
    pub mix: &'static str,
    /// Number of keys.
    pub keys: usize,
    /// How often the store is compacted.
    pub compact_every: Option<Duration>,
}

/// The profiles; the first is the default.
pub const PROFILES: [Profile; 3] = [
    Profile {
        name: "compare",
        about: "transactions of 100 compares and one put: finds the inconsistency of etcd issue 13766",
        mix: "compare=100",
        keys: COMPARES,
        compact_every: None,
    },
    Profile {
        name: "mixed",
        about: "puts, deletions, reads of both kinds, compare-and-swap, transactions, old revisions, compaction",
        mix: "put=35,get=25,list=8,delete=8,cas=6,txn=8,old-txn=4,old-get=6",
        keys: 10,
        compact_every: Some(Duration::from_secs(2)),
    },
    Profile {
        name: "put",
        about: "plain puts",
        mix: "put=100",
        keys: COMPARES,
        compact_every: None,
    },
];

/// Traffic, resolved from a profile and the options that change it.
#[derive(Clone, Debug)]
pub struct Traffic {
    /// What is done, how often.
    pub mix: Mix,
    /// Number of keys.
    pub keys: usize,
    /// Number of clients, spread over the members in turn.
    pub clients: usize,
    /// Operations a second over all clients; `None` for as fast as it goes.
    pub rate: Option<f64>,
    /// How often the store is compacted.
    pub compact_every: Option<Duration>,
}

/// What all clients know together.
#[derive(Debug, Default)]
pub struct Shared {
    /// The highest revision any linearizable answer named.
    pub revision: AtomicI64,
}

/// The conditions of profile `compare`: every key's version is above -1, which always holds.
pub fn guard(keys: usize) -> Vec<word::Compare> {
    (0..COMPARES)
        .map(|i| word::Compare {
            key: key(i % keys.max(1)),
            range_end: murphy_check::blob::Blob::default(),
            result: word::Relation::Greater,
            target: word::Given::Version(-1),
        })
        .collect()
}

fn key(index: usize) -> murphy_check::blob::Blob {
    format!("{PREFIX}{index}").into()
}

/// All keys of the workload.
pub fn all_keys() -> word::RangeRequest {
    word::RangeRequest {
        key: PREFIX.into(),
        range_end: PREFIX_END.into(),
        ..word::RangeRequest::default()
    }
}

/// Draws one client's requests.
#[derive(Debug)]
pub struct Requests {
    client: usize,
    drawn: u64,
    rng: ChaCha8Rng,
    traffic: Arc<Traffic>,
    shared: Arc<Shared>,
}

/// What a client does next.
#[derive(Debug)]
pub enum Next {
    /// One request.
    One(Request),
    /// A read of the key, then [`Requests::swap`] on what it answered.
    ReadThenSwap(word::RangeRequest),
}

impl Requests {
    /// The requests of client number `client`.
    pub fn new(client: usize, seed: u64, traffic: Arc<Traffic>, shared: Arc<Shared>) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        // One stream for each client; stream 0 is the schedule's.
        rng.set_stream(client as u64 + 1);
        Self {
            client,
            drawn: 0,
            rng,
            traffic,
            shared,
        }
    }

    /// The next one.
    pub fn draw(&mut self) -> Next {
        let op = self.traffic.mix.draw(&mut self.rng);
        if op == Op::Cas {
            return Next::ReadThenSwap(word::RangeRequest {
                key: self.key(),
                ..Default::default()
            });
        }
        Next::One(match op {
            Op::Put | Op::Cas => Request::Put(self.put()),
            Op::Get => Request::Range(word::RangeRequest {
                key: self.key(),
                ..Default::default()
            }),
            Op::List => Request::Range(word::RangeRequest {
                serializable: true,
                ..all_keys()
            }),
            Op::Delete => Request::DeleteRange(word::DeleteRangeRequest {
                key: self.key(),
                ..Default::default()
            }),
            Op::OldGet => Request::Range(self.old_get()),
            Op::Compare => Request::Txn(word::TxnRequest {
                compare: word::Conditions::Named {
                    r#ref: GUARD.into(),
                },
                success: vec![word::RequestOp::RequestPut(self.put())],
                failure: Vec::new(),
            }),
            Op::Txn => Request::Txn(self.txn()),
            Op::OldTxn => {
                let read = word::RequestOp::RequestRange(self.old_get());
                let put = word::RequestOp::RequestPut(self.put());
                Request::Txn(word::TxnRequest {
                    success: vec![put, read],
                    ..Default::default()
                })
            }
        })
    }

    /// A put on condition that the key is still as `read` found it; reads it again otherwise.
    pub fn swap(&mut self, key: &murphy_check::blob::Blob, found_mod_revision: i64) -> Request {
        let mut put = self.put();
        put.key = key.clone();
        Request::Txn(word::TxnRequest {
            compare: word::Conditions::Listed(vec![word::Compare {
                key: key.clone(),
                range_end: murphy_check::blob::Blob::default(),
                result: word::Relation::Equal,
                target: word::Given::ModRevision(found_mod_revision),
            }]),
            success: vec![word::RequestOp::RequestPut(put)],
            failure: vec![word::RequestOp::RequestRange(word::RangeRequest {
                key: key.clone(),
                ..Default::default()
            })],
        })
    }

    fn key(&mut self) -> murphy_check::blob::Blob {
        key(self.rng.random_range(0..self.traffic.keys.max(1)))
    }

    fn put(&mut self) -> word::PutRequest {
        self.drawn += 1;
        let value = format!("c{}-{}", self.client, self.drawn);
        word::PutRequest {
            key: self.key(),
            value: value.into(),
            ..Default::default()
        }
    }

    /// Puts on neighbouring keys, since etcd refuses the same key twice, and a read of one more.
    fn txn(&mut self) -> word::TxnRequest {
        let keys = self.traffic.keys.max(1);
        let first = self.rng.random_range(0..keys);
        let mut success: Vec<_> = (0..TXN_PUTS.min(keys))
            .map(|i| {
                let put = word::PutRequest {
                    key: key((first + i) % keys),
                    ..self.put()
                };
                word::RequestOp::RequestPut(put)
            })
            .collect();
        success.push(word::RequestOp::RequestRange(word::RangeRequest {
            key: key((first + TXN_PUTS) % keys),
            ..Default::default()
        }));
        word::TxnRequest {
            success,
            ..Default::default()
        }
    }

    fn old_get(&mut self) -> word::RangeRequest {
        let newest = self.shared.revision.load(Ordering::Relaxed).max(1);
        let back = self.rng.random_range(0..OLD_REVISIONS_MAX.min(newest));
        word::RangeRequest {
            key: self.key(),
            revision: newest - back,
            ..Default::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requests(profile: &Profile, seed: u64) -> Requests {
        let traffic = Traffic {
            mix: profile.mix.parse().unwrap(),
            keys: profile.keys,
            clients: 1,
            rate: None,
            compact_every: None,
        };
        Requests::new(3, seed, Arc::new(traffic), Arc::default())
    }

    #[test]
    fn every_profile_has_a_mix_that_reads_back() {
        for profile in &PROFILES {
            let mix: Mix = profile.mix.parse().unwrap();
            assert_eq!(mix.to_string(), profile.mix);
        }
    }

    #[test]
    fn a_mix_that_is_no_mix_is_refused_by_name() {
        for (text, error) in [
            (
                "put",
                "read the mix \"put\": expected `name=weight,…`, such as `put=40,get=60`",
            ),
            (
                "put=x",
                "read the mix \"put=x\": expected `name=weight,…`, such as `put=40,get=60`",
            ),
            (
                "put=0",
                "read the mix: every weight is 0, so there is nothing to do",
            ),
        ] {
            assert_eq!(text.parse::<Mix>().unwrap_err().to_string(), error);
        }
        assert_eq!(
            "flip=1".parse::<Mix>(),
            Err(MixError::Unknown("flip".into()))
        );
    }

    #[test]
    fn the_same_seed_draws_the_same_requests_and_no_value_twice() {
        for profile in &PROFILES {
            let (mut a, mut b) = (requests(profile, 7), requests(profile, 7));
            let mut values = std::collections::HashSet::new();
            for _ in 0..500 {
                let (x, y) = (a.draw(), b.draw());
                assert_eq!(format!("{x:?}"), format!("{y:?}"));
                if let Next::One(Request::Put(put)) = x {
                    assert!(values.insert(put.value.clone()), "{put:?} twice");
                }
            }
        }
    }
}
