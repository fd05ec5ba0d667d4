//! CRI is the interface through which Kubernetes talks to its runtimes; CRI-O speaks nothing else.
//!
//! The messages are the parts Murphy reads of `runtime.v1`, in Kubernetes' `cri-api/pkg/apis/runtime/v1/api.proto`.
//! The sandbox of a pod is not among the containers there.

use std::collections::BTreeMap;

use super::{
    Runtime, RuntimeError,
    containerd::{call, channel, refused},
    sockets::Socket,
};
use crate::container::Listed;

/// `ContainerState.CONTAINER_RUNNING`.
const RUNNING: i32 = 1;

#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
struct ListContainersRequest {}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct ListContainersResponse {
    #[prost(message, repeated, tag = "1")]
    containers: Vec<Summary>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct Summary {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(message, optional, tag = "3")]
    metadata: Option<Metadata>,
    #[prost(int32, tag = "6")]
    state: i32,
    #[prost(btree_map = "string, string", tag = "8")]
    labels: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct Metadata {
    #[prost(string, tag = "1")]
    name: String,
}

pub(super) async fn list(socket: &Socket) -> Result<Vec<Listed>, RuntimeError> {
    let channel = channel(socket).await?;
    let method = "/runtime.v1.RuntimeService/ListContainers";
    let answer: ListContainersResponse = call(&channel, method, ListContainersRequest {}, None)
        .await
        .map_err(|status| refused(socket, &status))?;
    let listed = answer.containers.into_iter().map(|summary| Listed {
        runtime: Some(Runtime::Crio),
        namespace: None,
        id: summary.id,
        names: summary
            .metadata
            .map(|metadata| metadata.name)
            .into_iter()
            .collect(),
        labels: summary.labels,
        pid: None,
        is_running: summary.state == RUNNING,
        is_sandbox: false,
    });
    Ok(listed.collect())
}
