//! Traffic draws what a client asks next.

use rand::{Rng, RngExt};

use super::{Profile, Traffic};
use crate::{
    blob::Blob,
    etcd::{
        model::Request,
        vocabulary::{
            Compare, Conditions, DeleteRangeRequest, Given, PutRequest, RangeRequest, Relation,
            RequestOp, TxnRequest,
        },
    },
};

/// What a client knows when it asks.
pub(super) struct Asker<'a> {
    pub profile: &'a Profile,
    /// A value nobody else writes.
    pub value: String,
    /// A recent revision.
    pub revision: i64,
    /// The lease under which it puts, 0 for none.
    pub lease: i64,
    /// The mod revision of some key, as of a moment ago.
    pub last_mod: i64,
}

/// The name of key `number`.
pub(super) fn key(profile: &Profile, number: usize) -> Blob {
    let directory = if profile.registry {
        "/registry/pods"
    } else {
        "k"
    };
    format!("{directory}/{number:03}").into()
}

/// The conditions every transaction of [`Traffic::Compare`] refers to: true for any store.
pub(super) fn guard(profile: &Profile) -> Vec<Compare> {
    let count = if profile.traffic == Traffic::Compare {
        profile.conditions
    } else {
        0
    };
    let condition = |number| Compare {
        key: key(profile, number % profile.keys),
        range_end: Blob::default(),
        result: Relation::Greater,
        target: Given::Version(-1),
    };
    (0..count).map(condition).collect()
}

impl Asker<'_> {
    /// Draws a request on key `number`.
    pub fn draw(&self, rng: &mut impl Rng, number: usize) -> Request {
        if self.profile.traffic == Traffic::Compare {
            let compare = match self.profile.conditions {
                0 => Conditions::default(),
                _ => Conditions::Named {
                    r#ref: "guard".into(),
                },
            };
            let put = RequestOp::RequestPut(self.put(number));
            return Request::Txn(TxnRequest {
                compare,
                success: vec![put],
                failure: Vec::new(),
            });
        }
        match rng.random_range(0..100) {
            0..36 => Request::Put(PutRequest {
                prev_kv: rng.random_ratio(1, 5),
                ..self.put(number)
            }),
            36..44 => Request::DeleteRange(DeleteRangeRequest {
                prev_kv: rng.random(),
                ..self.delete(rng, number)
            }),
            44..76 => Request::Range(self.range(rng, number)),
            76..86 => Request::Txn(self.swap(number)),
            _ => Request::Txn(self.many(rng, number)),
        }
    }

    fn key(&self, number: usize) -> Blob {
        key(self.profile, number)
    }

    fn put(&self, number: usize) -> PutRequest {
        PutRequest {
            key: self.key(number),
            value: self.value.clone().into(),
            lease: self.lease,
            ..PutRequest::default()
        }
    }

    fn range(&self, rng: &mut impl Rng, number: usize) -> RangeRequest {
        let plain = RangeRequest {
            key: self.key(number),
            serializable: rng.random_ratio(1, 3),
            ..RangeRequest::default()
        };
        let several = RangeRequest {
            range_end: self.key(number + 10),
            ..plain.clone()
        };
        match rng.random_range(0..12) {
            0 => RangeRequest {
                revision: self.past(rng),
                ..plain
            },
            1 => RangeRequest {
                revision: self.past(rng),
                ..several
            },
            2 => RangeRequest {
                limit: 4,
                ..several
            },
            3 => RangeRequest {
                keys_only: true,
                ..several
            },
            4 => RangeRequest {
                count_only: true,
                range_end: "\0".into(),
                ..plain
            },
            5 => several,
            _ => plain,
        }
    }

    fn past(&self, rng: &mut impl Rng) -> i64 {
        (self.revision - rng.random_range(0..30)).max(1)
    }

    /// Compare-and-swap, with a read where it fails.
    fn swap(&self, number: usize) -> TxnRequest {
        let condition = Compare {
            key: self.key(number),
            range_end: Blob::default(),
            result: Relation::Equal,
            target: Given::ModRevision(self.last_mod),
        };
        let read = RangeRequest {
            key: self.key(number),
            ..RangeRequest::default()
        };
        TxnRequest {
            compare: Conditions::Listed(vec![condition]),
            success: vec![RequestOp::RequestPut(self.put(number))],
            failure: vec![RequestOp::RequestRange(read)],
        }
    }

    /// Two puts, a deletion, reads of now and of the past, sometimes one level down.
    fn many(&self, rng: &mut impl Rng, number: usize) -> TxnRequest {
        let other = PutRequest {
            key: self.key(number + 1),
            ..self.put(number)
        };
        let read = RangeRequest {
            key: self.key(number),
            range_end: self.key(number + 3),
            ..RangeRequest::default()
        };
        let past = RangeRequest {
            revision: self.past(rng),
            ..read.clone()
        };
        let delete = DeleteRangeRequest {
            key: self.key(number + 2),
            ..DeleteRangeRequest::default()
        };
        let condition = Compare {
            key: self.key(number),
            range_end: if rng.random() {
                self.key(number + 4)
            } else {
                Blob::default()
            },
            result: [Relation::Greater, Relation::Less, Relation::NotEqual][rng.random_range(0..3)],
            target: if rng.random() {
                Given::Version(2)
            } else {
                Given::CreateRevision(self.last_mod)
            },
        };
        let mut success = vec![
            RequestOp::RequestPut(self.put(number)),
            RequestOp::RequestPut(other),
        ];
        if rng.random() {
            success.push(RequestOp::RequestRange(if rng.random() {
                read.clone()
            } else {
                past
            }));
        }
        if rng.random() {
            success.push(RequestOp::RequestDeleteRange(delete));
        }
        if rng.random_ratio(1, 4) {
            let inner = TxnRequest {
                compare: Conditions::Listed(vec![condition.clone()]),
                success,
                failure: Vec::new(),
            };
            success = vec![RequestOp::RequestTxn(inner)];
        }
        TxnRequest {
            compare: Conditions::Listed(if rng.random() {
                vec![condition]
            } else {
                Vec::new()
            }),
            success,
            failure: vec![RequestOp::RequestRange(read)],
        }
    }

    fn delete(&self, rng: &mut impl Rng, number: usize) -> DeleteRangeRequest {
        let range_end = if rng.random_ratio(1, 6) {
            self.key(number + 3)
        } else {
            Blob::default()
        };
        DeleteRangeRequest {
            key: self.key(number),
            range_end,
            prev_kv: false,
        }
    }
}
