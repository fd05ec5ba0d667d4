//! The wire is etcd's protocol: history vocabulary to gRPC messages and back.
//!
//! A history holds what can be judged; everything else of a message (cluster id, sort orders) is left at
//! its default on the way out and dropped on the way in.

use std::collections::HashMap;

use murphy_check::{blob::Blob, etcd::vocabulary as word};

use crate::pb::{etcdserverpb as pb, mvccpb};

/// Named conditions of the workload, ready to send.
pub type Guards = HashMap<String, Vec<pb::Compare>>;

/// A put, ready to send.
pub fn put(request: &word::PutRequest) -> pb::PutRequest {
    pb::PutRequest {
        key: request.key.0.clone(),
        value: request.value.0.clone(),
        lease: request.lease,
        prev_kv: request.prev_kv,
        ..Default::default()
    }
}

/// A range, ready to send.
pub fn range(request: &word::RangeRequest) -> pb::RangeRequest {
    pb::RangeRequest {
        key: request.key.0.clone(),
        range_end: request.range_end.0.clone(),
        limit: request.limit,
        revision: request.revision,
        serializable: request.serializable,
        keys_only: request.keys_only,
        count_only: request.count_only,
        ..Default::default()
    }
}

/// A range deletion, ready to send.
pub fn delete_range(request: &word::DeleteRangeRequest) -> pb::DeleteRangeRequest {
    pb::DeleteRangeRequest {
        key: request.key.0.clone(),
        range_end: request.range_end.0.clone(),
        prev_kv: request.prev_kv,
    }
}

/// A transaction, ready to send; a name that `guards` does not know stands for no condition at all, which
/// the workload rules out by defining each name it uses.
pub fn txn(request: &word::TxnRequest, guards: &Guards) -> pb::TxnRequest {
    let compare = match &request.compare {
        word::Conditions::Listed(list) => list.iter().map(compare).collect(),
        word::Conditions::Named { r#ref } => guards.get(r#ref).cloned().unwrap_or_default(),
    };
    let ops = |list: &[word::RequestOp]| list.iter().map(|op| request_op(op, guards)).collect();
    pb::TxnRequest {
        compare,
        success: ops(&request.success),
        failure: ops(&request.failure),
    }
}

fn request_op(op: &word::RequestOp, guards: &Guards) -> pb::RequestOp {
    use pb::request_op::Request;
    pb::RequestOp {
        request: Some(match op {
            word::RequestOp::RequestPut(r) => Request::RequestPut(put(r)),
            word::RequestOp::RequestRange(r) => Request::RequestRange(range(r)),
            word::RequestOp::RequestDeleteRange(r) => Request::RequestDeleteRange(delete_range(r)),
            word::RequestOp::RequestTxn(r) => Request::RequestTxn(txn(r, guards)),
        }),
    }
}

/// One condition, ready to send.
pub fn compare(compare: &word::Compare) -> pb::Compare {
    use pb::compare::{CompareResult, CompareTarget, TargetUnion};
    let (target, target_union) = match &compare.target {
        word::Given::Version(n) => (CompareTarget::Version, TargetUnion::Version(*n)),
        word::Given::CreateRevision(n) => (CompareTarget::Create, TargetUnion::CreateRevision(*n)),
        word::Given::ModRevision(n) => (CompareTarget::Mod, TargetUnion::ModRevision(*n)),
        word::Given::Value(v) => (CompareTarget::Value, TargetUnion::Value(v.0.clone())),
        word::Given::Lease(n) => (CompareTarget::Lease, TargetUnion::Lease(*n)),
    };
    let result = match compare.result {
        word::Relation::Equal => CompareResult::Equal,
        word::Relation::Greater => CompareResult::Greater,
        word::Relation::Less => CompareResult::Less,
        word::Relation::NotEqual => CompareResult::NotEqual,
    };
    pb::Compare {
        result: result.into(),
        target: target.into(),
        key: compare.key.0.clone(),
        range_end: compare.range_end.0.clone(),
        target_union: Some(target_union),
    }
}

/// The creation of a watch, ready to send.
pub fn watch(request: &word::WatchRequest) -> pb::WatchRequest {
    pb::WatchRequest {
        request_union: Some(pb::watch_request::RequestUnion::CreateRequest(
            pb::WatchCreateRequest {
                key: request.key.0.clone(),
                range_end: request.range_end.0.clone(),
                start_revision: request.start_revision,
                progress_notify: request.progress_notify,
                prev_kv: request.prev_kv,
                ..Default::default()
            },
        )),
    }
}

/// A received header.
pub fn header(header: Option<pb::ResponseHeader>) -> word::Header {
    let header = header.unwrap_or_default();
    word::Header {
        revision: header.revision,
        member_id: header.member_id,
        raft_term: header.raft_term,
    }
}

/// A received pair.
pub fn key_value(kv: mvccpb::KeyValue) -> word::KeyValue {
    word::KeyValue {
        key: Blob(kv.key),
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
        version: kv.version,
        value: Blob(kv.value),
        lease: kv.lease,
    }
}

/// An answered put.
pub fn put_response(response: pb::PutResponse) -> word::PutResponse {
    word::PutResponse {
        header: header(response.header),
        prev_kv: response.prev_kv.map(key_value),
    }
}

/// An answered range.
pub fn range_response(response: pb::RangeResponse) -> word::RangeResponse {
    word::RangeResponse {
        header: header(response.header),
        kvs: response.kvs.into_iter().map(key_value).collect(),
        more: response.more,
        count: response.count,
    }
}

/// An answered range deletion.
pub fn delete_range_response(response: pb::DeleteRangeResponse) -> word::DeleteRangeResponse {
    word::DeleteRangeResponse {
        header: header(response.header),
        deleted: response.deleted,
        prev_kvs: response.prev_kvs.into_iter().map(key_value).collect(),
    }
}

/// An answered transaction.
pub fn txn_response(response: pb::TxnResponse) -> word::TxnResponse {
    word::TxnResponse {
        header: header(response.header),
        succeeded: response.succeeded,
        responses: response
            .responses
            .into_iter()
            .filter_map(response_op)
            .collect(),
    }
}

fn response_op(op: pb::ResponseOp) -> Option<word::ResponseOp> {
    use pb::response_op::Response;
    Some(match op.response? {
        Response::ResponsePut(r) => word::ResponseOp::ResponsePut(put_response(r)),
        Response::ResponseRange(r) => word::ResponseOp::ResponseRange(range_response(r)),
        Response::ResponseDeleteRange(r) => {
            word::ResponseOp::ResponseDeleteRange(delete_range_response(r))
        }
        Response::ResponseTxn(r) => word::ResponseOp::ResponseTxn(txn_response(r)),
    })
}

/// The events of a watch message.
pub fn watch_message(response: pb::WatchResponse) -> word::WatchMessage {
    word::WatchMessage {
        header: header(response.header),
        events: response.events.into_iter().map(watch_event).collect(),
    }
}

fn watch_event(event: mvccpb::Event) -> word::WatchEvent {
    let delete = event.r#type == mvccpb::event::EventType::Delete as i32;
    word::WatchEvent {
        r#type: if delete {
            word::EventKind::Delete
        } else {
            word::EventKind::Put
        },
        kv: event.kv.map(key_value).unwrap_or_default(),
        prev_kv: event.prev_kv.map(key_value),
    }
}
