//! A client holds one connection to one member and asks it one thing at a time.
//!
//! Connecting is a step of its own and never part of an invocation: what was never sent is never in the
//! history, and whatever fails on an open connection has a known class ([`super::errors`]).

use std::{net::IpAddr, time::Duration};

use murphy_check::etcd::vocabulary as word;
use serde::Serialize;
use tonic::transport::{Channel, Endpoint};

use super::{
    errors::{Class, Rejection},
    wire::{self, Guards},
};
use crate::pb::etcdserverpb::{
    CompactionRequest, HashKvRequest, StatusRequest, kv_client::KvClient,
    maintenance_client::MaintenanceClient,
};

/// Port every member serves clients on, in its own namespace.
pub const CLIENT_PORT: u16 = 2379;
/// How long a connection may take to open.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
/// How long an answer may take before its outcome counts as unknown.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(2);
/// A dump of the whole key space comes as one message.
const MESSAGE_BYTES_MAX: usize = 1 << 30;

/// What a client may ask.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Request {
    /// `KV.Put`.
    Put(word::PutRequest),
    /// `KV.Range`.
    Range(word::RangeRequest),
    /// `KV.DeleteRange`.
    DeleteRange(word::DeleteRangeRequest),
    /// `KV.Txn`.
    Txn(word::TxnRequest),
    /// `KV.Compact`.
    Compact(word::CompactRequest),
    /// `Maintenance.HashKV`.
    HashKv(word::HashKvRequest),
    /// `Maintenance.Status`.
    Status(word::StatusRequest),
}

impl Request {
    /// The name of the method in a history.
    pub fn f(&self) -> &'static str {
        match self {
            Self::Put(_) => "put",
            Self::Range(_) => "range",
            Self::DeleteRange(_) => "delete_range",
            Self::Txn(_) => "txn",
            Self::Compact(_) => "compact",
            Self::HashKv(_) => "hash_kv",
            Self::Status(_) => "status",
        }
    }

    /// What a rejection of this request leaves open.
    pub fn kind(&self) -> super::errors::Asked {
        use super::errors::Asked;
        match self {
            Self::Range(_) | Self::HashKv(_) | Self::Status(_) => Asked::Read,
            Self::Put(_) | Self::DeleteRange(_) | Self::Compact(_) => Asked::Write,
            Self::Txn(_) => Asked::Transaction,
        }
    }
}

/// What a member may answer.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Response {
    /// To a put.
    Put(word::PutResponse),
    /// To a range.
    Range(word::RangeResponse),
    /// To a range deletion.
    DeleteRange(word::DeleteRangeResponse),
    /// To a transaction.
    Txn(word::TxnResponse),
    /// To a compaction.
    Compact(word::CompactResponse),
    /// To a hash.
    HashKv(word::HashKvResponse),
    /// To a status.
    Status(word::StatusResponse),
}

impl Response {
    /// The header, which every answer has.
    pub fn header(&self) -> &word::Header {
        match self {
            Self::Put(r) => &r.header,
            Self::Range(r) => &r.header,
            Self::DeleteRange(r) => &r.header,
            Self::Txn(r) => &r.header,
            Self::Compact(r) => &r.header,
            Self::HashKv(r) => &r.header,
            Self::Status(r) => &r.header,
        }
    }
}

/// One connection to one member.
#[derive(Clone, Debug)]
pub struct Client {
    kv: KvClient<Channel>,
    maintenance: MaintenanceClient<Channel>,
    channel: Channel,
}

impl Client {
    /// Connects, without asking anything yet. The socket is opened in the network namespace of the
    /// runtime's threads.
    pub async fn connect(address: IpAddr) -> Result<Self, tonic::transport::Error> {
        let channel = Endpoint::from_shared(format!("http://{address}:{CLIENT_PORT}"))?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(Duration::from_secs(2))
            .keep_alive_timeout(Duration::from_secs(2))
            .connect()
            .await?;
        Ok(Self {
            kv: KvClient::new(channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX),
            maintenance: MaintenanceClient::new(channel.clone()),
            channel,
        })
    }

    /// The connection, for a watch of its own.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Asks and waits for the answer, at most [`CALL_TIMEOUT`].
    pub async fn call(
        &mut self,
        request: &Request,
        guards: &Guards,
    ) -> Result<Response, Rejection> {
        match tokio::time::timeout(CALL_TIMEOUT, self.send(request, guards)).await {
            Ok(answer) => answer.map_err(|status| Rejection::of(&status, request.kind())),
            Err(_) => Err(Rejection {
                class: Class::without_answer(request.kind()),
                text: format!("no answer within {} s", CALL_TIMEOUT.as_secs()),
                connection_lost: true,
            }),
        }
    }

    async fn send(
        &mut self,
        request: &Request,
        guards: &Guards,
    ) -> Result<Response, tonic::Status> {
        Ok(match request {
            Request::Put(r) => Response::Put(wire::put_response(
                self.kv.put(wire::put(r)).await?.into_inner(),
            )),
            Request::Range(r) => Response::Range(wire::range_response(
                self.kv.range(wire::range(r)).await?.into_inner(),
            )),
            Request::DeleteRange(r) => Response::DeleteRange(wire::delete_range_response(
                self.kv
                    .delete_range(wire::delete_range(r))
                    .await?
                    .into_inner(),
            )),
            Request::Txn(r) => Response::Txn(wire::txn_response(
                self.kv.txn(wire::txn(r, guards)).await?.into_inner(),
            )),
            Request::Compact(r) => {
                let message = CompactionRequest {
                    revision: r.revision,
                    physical: r.physical,
                };
                let answer = self.kv.compact(message).await?.into_inner();
                Response::Compact(word::CompactResponse {
                    header: wire::header(answer.header),
                })
            }
            Request::HashKv(r) => self.hash_kv(r.revision).await?,
            Request::Status(_) => self.status().await?,
        })
    }

    async fn hash_kv(&mut self, revision: i64) -> Result<Response, tonic::Status> {
        let answer = self
            .maintenance
            .hash_kv(HashKvRequest { revision })
            .await?
            .into_inner();
        Ok(Response::HashKv(word::HashKvResponse {
            header: wire::header(answer.header),
            hash: answer.hash,
            compact_revision: answer.compact_revision,
        }))
    }

    async fn status(&mut self) -> Result<Response, tonic::Status> {
        let answer = self
            .maintenance
            .status(StatusRequest {})
            .await?
            .into_inner();
        Ok(Response::Status(word::StatusResponse {
            header: wire::header(answer.header),
            version: answer.version,
            leader: answer.leader,
            raft_index: answer.raft_index,
            raft_applied_index: answer.raft_applied_index,
        }))
    }
}
