//! Operations of a client as requests and answers of model `etcd`.

use std::collections::HashMap;

use super::{Moment, raw, value_text, wire};
use crate::{
    etcd::vocabulary::{
        CompactRequest, CompactResponse, Compare, Conditions, DeleteRangeRequest,
        DeleteRangeResponse, Given, Header, KeyValue, PutRequest, PutResponse, RangeRequest,
        RangeResponse, Relation, RequestOp, ResponseOp, TxnRequest, TxnResponse,
    },
    history::Kind,
};

type Made<T> = Result<T, Box<str>>;

/// One operation of a report.
#[derive(Debug)]
pub(super) struct Operation {
    pub client: i64,
    pub input: wire::Request,
    pub call: i64,
    pub end: i64,
    pub output: wire::Response,
}

/// Until when each client of a file was busy, and the line of that operation.
#[derive(Debug, Default)]
pub(super) struct Open(HashMap<i64, (i64, u64)>);

impl Open {
    /// Takes the next operation; a problem where its client was busy.
    pub fn take(&mut self, line: u64, operation: &Operation) -> Made<()> {
        let until = if operation.is_answered() {
            operation.end
        } else {
            operation.call
        };
        if let Some((busy, earlier)) = self.0.insert(operation.client, (until, line))
            && busy > operation.call
        {
            return Err(format!(
                "client {} asks again while its operation of line {earlier} is open",
                operation.client
            )
            .into());
        }
        Ok(())
    }
}

/// A request, and the answer that belongs to it.
struct Words {
    f: &'static str,
    ask: Box<serde_json::value::RawValue>,
    answer: Option<Box<serde_json::value::RawValue>>,
}

impl Operation {
    fn is_answered(&self) -> bool {
        let wire::Response {
            error,
            client_error,
            persisted,
            partial,
            ..
        } = &self.output;
        error.is_empty() && client_error.is_empty() && !persisted && !partial
    }

    fn is_read(&self) -> bool {
        let steps = |txn: &wire::Txn| {
            let branches = [&txn.operations_on_success, &txn.operations_on_failure];
            branches
                .into_iter()
                .flatten()
                .flatten()
                .all(|step| step.r#type == "range-operation")
        };
        self.input.r#type == "range" || self.input.txn.as_ref().is_some_and(steps)
    }

    /// What no recorder can have seen.
    pub fn check(&self) -> Made<()> {
        if self.call < 0 {
            return Err("the operation is called before time 0".into());
        }
        if self.is_answered() && self.end < self.call {
            return Err("the answer is earlier than its operation".into());
        }
        Ok(())
    }

    /// What is asked and what becomes of it; nothing for what model `etcd` has no word for.
    pub fn moments(&self, client: &str) -> Made<Vec<Moment>> {
        let Some(words) = self.words()? else {
            return Ok(Vec::new());
        };
        let process: Box<str> = format!("{client}.{}", self.client).into();
        let call = self.call.unsigned_abs();
        let ask = Moment {
            time: call,
            kind: Kind::Invoke,
            process: process.clone(),
            f: words.f,
            value: Some(words.ask),
            error: None,
        };
        let output = &self.output;
        let (kind, error) = if !output.client_error.is_empty() {
            (Kind::Fail, Some(output.client_error.as_str()))
        } else if self.is_answered() {
            (Kind::Ok, None)
        } else if self.is_read() {
            (Kind::Fail, Some(output.error.as_str()))
        } else {
            (Kind::Info, Some(output.error.as_str()))
        };
        // Older versions write 0, or the greatest time, where they do not know the end.
        let end = if kind != Kind::Ok && (self.end < self.call || self.end == i64::MAX) {
            call
        } else {
            self.end.unsigned_abs()
        };
        let ended = Moment {
            time: end,
            kind,
            process,
            f: words.f,
            value: words.answer.filter(|_| kind == Kind::Ok),
            error: error.filter(|error| !error.is_empty()).map(Into::into),
        };
        Ok(vec![ask, ended])
    }

    fn words(&self) -> Made<Option<Words>> {
        let input = &self.input;
        let header = Header {
            revision: self.output.revision,
            ..Header::default()
        };
        let answered = self.is_answered();
        let missing = |part: &str| format!("expected {part} of a {}", input.r#type);
        match input.r#type.as_str() {
            "range" => {
                let range = input.range.as_ref().ok_or_else(|| missing("Range"))?;
                let answer = if answered {
                    let found = self.output.range.as_ref();
                    let found = found.ok_or_else(|| missing("Range in the Output"))?;
                    Some(raw(&pairs(header, found.kvs.as_deref(), found.count))?)
                } else {
                    None
                };
                Ok(Some(Words {
                    f: "range",
                    ask: raw(&range_request(range))?,
                    answer,
                }))
            }
            "txn" => {
                let txn = input.txn.as_ref().ok_or_else(|| missing("Txn"))?;
                let answer = if answered {
                    let found = self.output.txn.as_ref();
                    Some(found.ok_or_else(|| missing("Txn in the Output"))?)
                } else {
                    None
                };
                self.txn(txn, answer, header).map(Some)
            }
            "compact" => {
                let compact = input.compact.as_ref().ok_or_else(|| missing("Compact"))?;
                Ok(Some(Words {
                    f: "compact",
                    ask: raw(&CompactRequest {
                        revision: compact.revision,
                        physical: false,
                    })?,
                    // Its revision is no part of the order; etcd's recorder writes -1.
                    answer: Some(raw(&CompactResponse::default())?),
                }))
            }
            "leaseGrant" | "leaseRevoke" | "defragment" => Ok(None),
            other => Err(format!(
                "unknown type of request `{other}`; a report has range, txn, leaseGrant, leaseRevoke, defragment and \
                 compact"
            )
            .into()),
        }
    }

    fn txn(
        &self,
        txn: &wire::Txn,
        answer: Option<&wire::TxnResponse>,
        header: Header,
    ) -> Made<Words> {
        let conditions = txn.conditions.as_deref().unwrap_or_default();
        let success = txn.operations_on_success.as_deref().unwrap_or_default();
        let failure = txn.operations_on_failure.as_deref().unwrap_or_default();
        let results = answer.map(|answer| answer.results.as_deref().unwrap_or_default());
        if let ([], [step], []) = (conditions, success, failure) {
            return self.single(step, results, &header);
        }
        // Versions are not recorded everywhere, so what depends on one is taken from the answer.
        let on_version = conditions.iter().any(|c| c.expected_version > 0);
        let failed = answer.is_some_and(|answer| answer.failure);
        if on_version && answer.is_none() && failure.iter().any(|s| s.r#type != "range-operation") {
            return Err(
                "a transaction without an answer that writes in both branches, under a condition on a version".into(),
            );
        }
        let (compare, success, failure, succeeded) = if on_version && failed {
            (Vec::new(), failure, &[][..], true)
        } else {
            let compare = conditions
                .iter()
                .filter(|c| c.expected_version == 0)
                .map(condition);
            (compare.collect(), success, failure, !failed)
        };
        let taken = if succeeded { success } else { failure };
        let answer = match results {
            Some(results) if results.len() == taken.len() => {
                let responses = taken.iter().zip(results).map(|(step, result)| {
                    Ok(match kind(step)? {
                        Step::Put => ResponseOp::ResponsePut(PutResponse::default()),
                        Step::Range => ResponseOp::ResponseRange(pairs(
                            Header::default(),
                            result.kvs.as_deref(),
                            result.count,
                        )),
                        Step::Delete => {
                            ResponseOp::ResponseDeleteRange(deleted(Header::default(), result))
                        }
                    })
                });
                Some(raw(&TxnResponse {
                    header,
                    succeeded,
                    responses: responses.collect::<Made<_>>()?,
                })?)
            }
            Some(results) => {
                return Err(format!(
                    "{} results of the {} operations of the branch taken",
                    results.len(),
                    taken.len()
                )
                .into());
            }
            None => None,
        };
        Ok(Words {
            f: "txn",
            ask: raw(&TxnRequest {
                compare: Conditions::Listed(compare),
                success: success.iter().map(request).collect::<Made<_>>()?,
                failure: failure.iter().map(request).collect::<Made<_>>()?,
            })?,
            answer,
        })
    }

    /// A transaction of one step without conditions is how a report writes that step.
    fn single(
        &self,
        step: &wire::Step,
        results: Option<&[wire::StepResult]>,
        header: &Header,
    ) -> Made<Words> {
        let result = match results {
            Some([result]) => Some(result),
            Some(results) => {
                return Err(format!("{} results of one operation", results.len()).into());
            }
            None => None,
        };
        if self.output.txn.as_ref().is_some_and(|txn| txn.failure) {
            return Err("a transaction without conditions fails".into());
        }
        let made = result.map(|result| match kind(step)? {
            Step::Put => raw(&PutResponse {
                header: header.clone(),
                prev_kv: None,
            }),
            Step::Range => raw(&pairs(header.clone(), result.kvs.as_deref(), result.count)),
            Step::Delete => raw(&deleted(header.clone(), result)),
        });
        let answer = made.transpose()?;
        let (f, ask) = match request(step)? {
            RequestOp::RequestPut(put) => ("put", raw(&put)?),
            RequestOp::RequestRange(range) => ("range", raw(&range)?),
            RequestOp::RequestDeleteRange(delete) => ("delete_range", raw(&delete)?),
            RequestOp::RequestTxn(txn) => ("txn", raw(&txn)?),
        };
        Ok(Words { f, ask, answer })
    }
}

enum Step {
    Put,
    Range,
    Delete,
}

fn kind(step: &wire::Step) -> Made<Step> {
    match step.r#type.as_str() {
        "put-operation" => Ok(Step::Put),
        "range-operation" => Ok(Step::Range),
        "delete-operation" => Ok(Step::Delete),
        other => Err(format!(
            "unknown type of operation `{other}`; a transaction has put-operation, range-operation and delete-operation"
        )
        .into()),
    }
}

fn request(step: &wire::Step) -> Made<RequestOp> {
    Ok(match kind(step)? {
        Step::Put => RequestOp::RequestPut(PutRequest {
            key: step.put.key.as_str().into(),
            value: value_text(&step.put.value).into(),
            lease: step.put.lease,
            prev_kv: false,
        }),
        Step::Range => RequestOp::RequestRange(range_request(&step.range)),
        Step::Delete => RequestOp::RequestDeleteRange(DeleteRangeRequest {
            key: step.delete.key.as_str().into(),
            ..DeleteRangeRequest::default()
        }),
    })
}

fn range_request(range: &wire::Range) -> RangeRequest {
    RangeRequest {
        key: range.start.as_str().into(),
        range_end: range.end.as_str().into(),
        limit: range.limit,
        revision: range.revision,
        ..RangeRequest::default()
    }
}

fn condition(condition: &wire::Condition) -> Compare {
    Compare {
        key: condition.key.as_str().into(),
        range_end: Vec::new().into(),
        result: Relation::Equal,
        target: Given::ModRevision(condition.expected_revision),
    }
}

fn pairs(header: Header, kvs: Option<&[wire::KeyValue]>, count: i64) -> RangeResponse {
    let kvs: Vec<_> = kvs.unwrap_or_default().iter().map(pair).collect();
    RangeResponse {
        header,
        more: i64::try_from(kvs.len()).is_ok_and(|shown| shown < count),
        kvs,
        count,
    }
}

/// A pair with what was recorded of it.
pub(super) fn pair(told: &wire::KeyValue) -> KeyValue {
    KeyValue {
        key: told.key.as_str().into(),
        mod_revision: told.mod_revision,
        value: value_text(&told.value).into(),
        ..KeyValue::default()
    }
}

fn deleted(header: Header, result: &wire::StepResult) -> DeleteRangeResponse {
    DeleteRangeResponse {
        header,
        deleted: result.deleted,
        prev_kvs: Vec::new(),
    }
}
