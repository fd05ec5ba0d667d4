//! The vocabulary of model `etcd`: what a client may ask and what a member may answer.
//!
//! Field names are those of etcd's published `rpc.proto` and `kv.proto`; a field with its proto3
//! default (zero, empty, false) is left out, as in the proto3 JSON mapping, except that 64-bit numbers
//! are JSON numbers and bytes are text, or `{"b64": "…"}` where they are not UTF-8.
//! docs/history.md is the table of this file.

use serde::{Deserialize, Serialize};

use crate::blob::Blob;

/// True for the proto3 default of a field, which is not written.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The header of every answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Revision of the member's key space when it answered.
    #[serde(default, skip_serializing_if = "is_default")]
    pub revision: i64,
    /// The member that answered.
    #[serde(default, skip_serializing_if = "is_default")]
    pub member_id: u64,
    /// Raft term of that member.
    #[serde(default, skip_serializing_if = "is_default")]
    pub raft_term: u64,
}

/// A key with its value and its history in four numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct KeyValue {
    /// The key.
    pub key: Blob,
    /// Revision at which the key was created after its last deletion.
    #[serde(default, skip_serializing_if = "is_default")]
    pub create_revision: i64,
    /// Revision of the last change.
    #[serde(default, skip_serializing_if = "is_default")]
    pub mod_revision: i64,
    /// Number of changes since the creation; 1 for a new key.
    #[serde(default, skip_serializing_if = "is_default")]
    pub version: i64,
    /// The value.
    #[serde(default, skip_serializing_if = "is_default")]
    pub value: Blob,
    /// The lease attached, 0 for none.
    #[serde(default, skip_serializing_if = "is_default")]
    pub lease: i64,
}

/// `KV.Put`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutRequest {
    /// The key.
    pub key: Blob,
    /// The value.
    #[serde(default, skip_serializing_if = "is_default")]
    pub value: Blob,
    /// The lease to attach, 0 for none.
    #[serde(default, skip_serializing_if = "is_default")]
    pub lease: i64,
    /// Answer with the previous key-value pair.
    #[serde(default, skip_serializing_if = "is_default")]
    pub prev_kv: bool,
}

/// `KV.Range`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeRequest {
    /// First key.
    pub key: Blob,
    /// First key behind the range; empty for one key, a single zero byte for "to the end".
    #[serde(default, skip_serializing_if = "is_default")]
    pub range_end: Blob,
    /// At most so many pairs, 0 for no limit.
    #[serde(default, skip_serializing_if = "is_default")]
    pub limit: i64,
    /// Read at this revision, 0 for the newest.
    #[serde(default, skip_serializing_if = "is_default")]
    pub revision: i64,
    /// Answered by the member alone, possibly stale.
    #[serde(default, skip_serializing_if = "is_default")]
    pub serializable: bool,
    /// Leave the values out.
    #[serde(default, skip_serializing_if = "is_default")]
    pub keys_only: bool,
    /// Answer the count alone.
    #[serde(default, skip_serializing_if = "is_default")]
    pub count_only: bool,
}

/// `KV.DeleteRange`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteRangeRequest {
    /// First key.
    pub key: Blob,
    /// As in [`RangeRequest::range_end`].
    #[serde(default, skip_serializing_if = "is_default")]
    pub range_end: Blob,
    /// Answer with the deleted pairs.
    #[serde(default, skip_serializing_if = "is_default")]
    pub prev_kv: bool,
}

/// How a [`Compare`] relates the stored number or value to the given one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Relation {
    /// Stored = given.
    #[default]
    Equal,
    /// Stored > given.
    Greater,
    /// Stored < given.
    Less,
    /// Stored ≠ given.
    NotEqual,
}

/// What a [`Compare`] looks at, with the number or value given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Given {
    /// The version, 0 for a missing key.
    Version(i64),
    /// The create revision, 0 for a missing key.
    CreateRevision(i64),
    /// The mod revision, 0 for a missing key.
    ModRevision(i64),
    /// The value; a missing key fails every comparison of values.
    Value(Blob),
    /// The lease, 0 for none.
    Lease(i64),
}

/// One condition of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compare {
    /// The key.
    pub key: Blob,
    /// As in [`RangeRequest::range_end`]; the condition must hold for every key of the range.
    #[serde(default, skip_serializing_if = "is_default")]
    pub range_end: Blob,
    /// The relation.
    #[serde(default, skip_serializing_if = "is_default")]
    pub result: Relation,
    /// What is compared: written as `{"target": {"version": 3}}`.
    pub target: Given,
}

/// The conditions of a transaction: written out, or by the name of a `let` line of the history, so that
/// a workload that sends the same hundred conditions thousands of times stays readable and small.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Conditions {
    /// Written out.
    Listed(Vec<Compare>),
    /// `{"ref": NAME}`.
    Named {
        /// The name of the `let` line.
        r#ref: String,
    },
}

impl Default for Conditions {
    fn default() -> Self {
        Self::Listed(Vec::new())
    }
}

/// One operation inside a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestOp {
    /// A put.
    RequestPut(PutRequest),
    /// A range.
    RequestRange(RangeRequest),
    /// A range deletion.
    RequestDeleteRange(DeleteRangeRequest),
    /// A nested transaction.
    RequestTxn(TxnRequest),
}

/// `KV.Txn`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TxnRequest {
    /// The conditions, all of which must hold for `success`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub compare: Conditions,
    /// Done when they hold.
    #[serde(default, skip_serializing_if = "is_default")]
    pub success: Vec<RequestOp>,
    /// Done when they do not.
    #[serde(default, skip_serializing_if = "is_default")]
    pub failure: Vec<RequestOp>,
}

/// `KV.Compact`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompactRequest {
    /// The oldest revision that stays readable.
    pub revision: i64,
    /// Wait until the pairs are gone from the disk.
    #[serde(default, skip_serializing_if = "is_default")]
    pub physical: bool,
}

/// `Maintenance.HashKV`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HashKvRequest {
    /// Hash the key space as of this revision, 0 for the newest.
    #[serde(default, skip_serializing_if = "is_default")]
    pub revision: i64,
}

/// `Maintenance.Status`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusRequest {
    /// The recorder asserts that no client was writing and that the member's applied index had come to
    /// rest: only such answers may be compared between members.
    #[serde(default, skip_serializing_if = "is_default")]
    pub quiet: bool,
}

/// The creation of a watch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchRequest {
    /// First key.
    pub key: Blob,
    /// As in [`RangeRequest::range_end`].
    #[serde(default, skip_serializing_if = "is_default")]
    pub range_end: Blob,
    /// First revision wanted, 0 for "from now on".
    #[serde(default, skip_serializing_if = "is_default")]
    pub start_revision: i64,
    /// Ask for bookmarks.
    #[serde(default, skip_serializing_if = "is_default")]
    pub progress_notify: bool,
    /// Ask for the previous pairs.
    #[serde(default, skip_serializing_if = "is_default")]
    pub prev_kv: bool,
}

/// Answer to [`PutRequest`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutResponse {
    /// The header.
    #[serde(default)]
    pub header: Header,
    /// The previous pair, where asked for.
    #[serde(default, skip_serializing_if = "is_default")]
    pub prev_kv: Option<KeyValue>,
}

/// Answer to [`RangeRequest`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeResponse {
    /// The header.
    #[serde(default)]
    pub header: Header,
    /// The pairs, by key.
    #[serde(default, skip_serializing_if = "is_default")]
    pub kvs: Vec<KeyValue>,
    /// More pairs than the limit.
    #[serde(default, skip_serializing_if = "is_default")]
    pub more: bool,
    /// Number of pairs in the range, the limit disregarded.
    #[serde(default, skip_serializing_if = "is_default")]
    pub count: i64,
}

/// Answer to [`DeleteRangeRequest`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteRangeResponse {
    /// The header.
    #[serde(default)]
    pub header: Header,
    /// Number of keys deleted.
    #[serde(default, skip_serializing_if = "is_default")]
    pub deleted: i64,
    /// The deleted pairs, where asked for.
    #[serde(default, skip_serializing_if = "is_default")]
    pub prev_kvs: Vec<KeyValue>,
}

/// One answer inside a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResponseOp {
    /// To a put.
    ResponsePut(PutResponse),
    /// To a range.
    ResponseRange(RangeResponse),
    /// To a range deletion.
    ResponseDeleteRange(DeleteRangeResponse),
    /// To a nested transaction.
    ResponseTxn(TxnResponse),
}

/// Answer to [`TxnRequest`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TxnResponse {
    /// The header.
    #[serde(default)]
    pub header: Header,
    /// Whether the conditions held.
    #[serde(default, skip_serializing_if = "is_default")]
    pub succeeded: bool,
    /// One answer for each operation of the branch taken.
    #[serde(default, skip_serializing_if = "is_default")]
    pub responses: Vec<ResponseOp>,
}

/// Answer to [`CompactRequest`]; its revision is not part of the linearizable order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompactResponse {
    /// The header.
    #[serde(default)]
    pub header: Header,
}

/// Answer to [`HashKvRequest`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HashKvResponse {
    /// The header.
    #[serde(default)]
    pub header: Header,
    /// Hash of all pairs between the compact revision and the revision asked for.
    #[serde(default, skip_serializing_if = "is_default")]
    pub hash: u32,
    /// Compact revision of the member; hashes are comparable only where it is equal. Left out by a
    /// member that was never compacted, which etcd writes as -1.
    #[serde(default, skip_serializing_if = "is_default")]
    pub compact_revision: i64,
}

/// Answer to [`StatusRequest`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusResponse {
    /// The header.
    #[serde(default)]
    pub header: Header,
    /// Version of the program.
    #[serde(default, skip_serializing_if = "is_default")]
    pub version: String,
    /// The member it takes for the leader, 0 for none.
    #[serde(default, skip_serializing_if = "is_default")]
    pub leader: u64,
    /// Last entry committed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub raft_index: u64,
    /// Last entry applied.
    #[serde(default, skip_serializing_if = "is_default")]
    pub raft_applied_index: u64,
}

/// Whether a watch event puts or deletes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum EventKind {
    /// The key was written.
    #[default]
    Put,
    /// The key was deleted.
    Delete,
}

/// One event of a watch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchEvent {
    /// Put or delete; a put is left out.
    #[serde(default, skip_serializing_if = "is_default")]
    pub r#type: EventKind,
    /// The pair; for a deletion the key and its mod revision.
    pub kv: KeyValue,
    /// The pair before, where asked for.
    #[serde(default, skip_serializing_if = "is_default")]
    pub prev_kv: Option<KeyValue>,
}

/// A message of a watch: `watch_event` with events, `watch_progress` without.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchMessage {
    /// The header.
    #[serde(default)]
    pub header: Header,
    /// The events, in revision order.
    #[serde(default, skip_serializing_if = "is_default")]
    pub events: Vec<WatchEvent>,
}

/// Why a member ended a watch (`f` = `watch`, type `fail`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchEnd {
    /// The compact revision, where the start had been compacted; 0 otherwise.
    #[serde(default, skip_serializing_if = "is_default")]
    pub compact_revision: i64,
    /// The member's reason.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cancel_reason: String,
}

/// `Lease.LeaseGrant`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseGrantRequest {
    /// Time to live, s; the member may give more.
    #[serde(rename = "TTL", default, skip_serializing_if = "is_default")]
    pub ttl: i64,
    /// The lease's number, 0 to let the member choose.
    #[serde(rename = "ID", default, skip_serializing_if = "is_default")]
    pub id: i64,
}

/// Answer to [`LeaseGrantRequest`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseGrantResponse {
    /// The header.
    #[serde(default)]
    pub header: Header,
    /// The lease's number.
    #[serde(rename = "ID", default, skip_serializing_if = "is_default")]
    pub id: i64,
    /// Time to live, s.
    #[serde(rename = "TTL", default, skip_serializing_if = "is_default")]
    pub ttl: i64,
}

/// `Lease.LeaseRevoke`, and one request of the stream `Lease.LeaseKeepAlive`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRequest {
    /// The lease.
    #[serde(rename = "ID", default, skip_serializing_if = "is_default")]
    pub id: i64,
}

/// Answer to a revocation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRevokeResponse {
    /// The header; its revision is that of the deletion, where keys were attached.
    #[serde(default)]
    pub header: Header,
}

/// Answer to a keep-alive; its revision is not part of the linearizable order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseKeepAliveResponse {
    /// The header.
    #[serde(default)]
    pub header: Header,
    /// The lease.
    #[serde(rename = "ID", default, skip_serializing_if = "is_default")]
    pub id: i64,
    /// The new time to live, s; 0 where there is no such lease.
    #[serde(rename = "TTL", default, skip_serializing_if = "is_default")]
    pub ttl: i64,
}

/// `Lease.LeaseTimeToLive`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseTimeToLiveRequest {
    /// The lease.
    #[serde(rename = "ID", default, skip_serializing_if = "is_default")]
    pub id: i64,
    /// Answer with the keys attached.
    #[serde(default, skip_serializing_if = "is_default")]
    pub keys: bool,
}

/// Answer to [`LeaseTimeToLiveRequest`]; its revision is not part of the linearizable order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseTimeToLiveResponse {
    /// The header.
    #[serde(default)]
    pub header: Header,
    /// The lease.
    #[serde(rename = "ID", default, skip_serializing_if = "is_default")]
    pub id: i64,
    /// Time left, s; -1 where there is no such lease.
    #[serde(rename = "TTL", default, skip_serializing_if = "is_default")]
    pub ttl: i64,
    /// Time to live as granted, s.
    #[serde(rename = "grantedTTL", default, skip_serializing_if = "is_default")]
    pub granted_ttl: i64,
    /// The keys attached, where asked for.
    #[serde(default, skip_serializing_if = "is_default")]
    pub keys: Vec<Blob>,
}

/// `Lease.LeaseLeases`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseLeasesRequest {}

/// Answer to [`LeaseLeasesRequest`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseLeasesResponse {
    /// The header.
    #[serde(default)]
    pub header: Header,
    /// The leases there are.
    #[serde(default, skip_serializing_if = "is_default")]
    pub leases: Vec<LeaseRequest>,
}
