//! The messages of a report, with the names of etcd's own types.

use serde::Deserialize;

/// An operation or a watch: which one is told by the fields that are there.
#[derive(Debug, Deserialize)]
pub(super) struct Entry {
    #[serde(rename = "ClientId")]
    pub client: Option<i64>,
    #[serde(rename = "Input")]
    pub input: Option<Request>,
    #[serde(rename = "Call")]
    pub call: Option<i64>,
    #[serde(rename = "Output")]
    pub output: Option<Response>,
    #[serde(rename = "Return")]
    pub end: Option<i64>,
    #[serde(rename = "Request")]
    pub request: Option<WatchRequest>,
    #[serde(rename = "Responses")]
    pub responses: Option<Vec<WatchResponse>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Request {
    pub r#type: String,
    #[serde(default)]
    pub range: Option<Range>,
    #[serde(default)]
    pub txn: Option<Txn>,
    #[serde(default)]
    pub compact: Option<Compact>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Range {
    pub start: String,
    pub end: String,
    pub limit: i64,
    pub revision: i64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Compact {
    pub revision: i64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Txn {
    pub conditions: Option<Vec<Condition>>,
    pub operations_on_success: Option<Vec<Step>>,
    pub operations_on_failure: Option<Vec<Step>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Condition {
    pub key: String,
    pub expected_revision: i64,
    pub expected_version: i64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Step {
    pub r#type: String,
    pub range: Range,
    pub put: Put,
    pub delete: Delete,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Put {
    pub key: String,
    pub value: ValueOrHash,
    #[serde(rename = "LeaseID")]
    pub lease: i64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Delete {
    pub key: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct ValueOrHash {
    pub value: String,
    pub hash: u32,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Response {
    pub txn: Option<TxnResponse>,
    pub range: Option<RangeResponse>,
    pub client_error: String,
    pub revision: i64,
    pub persisted: bool,
    #[serde(rename = "PartialResponse")]
    pub partial: bool,
    pub error: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct TxnResponse {
    pub failure: bool,
    pub results: Option<Vec<StepResult>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct RangeResponse {
    #[serde(rename = "KVs")]
    pub kvs: Option<Vec<KeyValue>>,
    pub count: i64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct StepResult {
    #[serde(rename = "KVs")]
    pub kvs: Option<Vec<KeyValue>>,
    pub count: i64,
    pub deleted: i64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct KeyValue {
    pub key: String,
    pub value: ValueOrHash,
    pub mod_revision: i64,
}

/// A watch and everything it delivered.
#[derive(Debug)]
pub(super) struct Watch {
    pub request: WatchRequest,
    pub responses: Vec<WatchResponse>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct WatchRequest {
    pub key: String,
    pub revision: i64,
    pub with_prefix: bool,
    pub with_progress_notify: bool,
    #[serde(rename = "WithPrevKV")]
    pub with_prev_kv: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct WatchResponse {
    pub events: Option<Vec<WatchEvent>>,
    pub is_progress_notify: bool,
    pub revision: i64,
    pub time: u64,
    pub error: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct WatchEvent {
    pub r#type: String,
    pub key: String,
    pub value: ValueOrHash,
    pub revision: i64,
    pub prev_value: Option<KeyValue>,
}
