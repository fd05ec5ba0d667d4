//! containerd lists its containers over gRPC, namespace by namespace.
//!
//! The messages are the parts Murphy reads of `containerd.services.*.v1`, in containerd's folder `api/services`;
//! what else they hold is skipped, as protocol buffers mean it to be.

use std::collections::BTreeMap;

use tonic::{
    Request, Status,
    codegen::http::uri::PathAndQuery,
    metadata::{Ascii, MetadataValue},
    transport::{Channel, Endpoint},
};

use super::{ANSWER_BYTES_MAX, Runtime, RuntimeError, ask::answer_error, sockets::Socket};
use crate::container::{Listed, is_id};

/// docker keeps its containers in this namespace, and their names to itself.
const NAME_LABELS: [&str; 2] = ["nerdctl/name", "io.kubernetes.container.name"];
const KIND_LABEL: &str = "io.cri-containerd.kind";
/// `containerd.v1.types.Status`: running, paused, pausing.
const STATUS_WITH_PROCESSES: [i32; 3] = [2, 4, 5];

/// Every `List` request Murphy sends asks for all there is.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
struct Everything {}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct Namespaces {
    #[prost(message, repeated, tag = "1")]
    namespaces: Vec<Namespace>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct Namespace {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct Containers {
    #[prost(message, repeated, tag = "1")]
    containers: Vec<Summary>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct Summary {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(btree_map = "string, string", tag = "2")]
    labels: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct Tasks {
    #[prost(message, repeated, tag = "1")]
    tasks: Vec<Task>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct Task {
    /// The id of the container; the field before it stays empty.
    #[prost(string, tag = "2")]
    id: String,
    #[prost(uint32, tag = "3")]
    pid: u32,
    #[prost(int32, tag = "4")]
    status: i32,
}

pub(super) async fn list(socket: &Socket) -> Result<Vec<Listed>, RuntimeError> {
    let channel = channel(socket).await?;
    let answer = list_all(&channel).await;
    answer.map_err(|status| refused(socket, &status))
}

async fn list_all(channel: &Channel) -> Result<Vec<Listed>, Status> {
    let all: Namespaces = call(
        channel,
        "/containerd.services.namespaces.v1.Namespaces/List",
        Everything {},
        None,
    )
    .await?;
    let mut listed = Vec::new();
    for Namespace { name } in all.namespaces {
        let namespace = Some(name.as_str());
        let containers = "/containerd.services.containers.v1.Containers/List";
        let tasks = "/containerd.services.tasks.v1.Tasks/List";
        let containers: Containers = call(channel, containers, Everything {}, namespace).await?;
        let tasks: Tasks = call(channel, tasks, Everything {}, namespace).await?;
        listed.extend(join(&name, containers, &tasks));
    }
    Ok(listed)
}

fn join(namespace: &str, containers: Containers, tasks: &Tasks) -> Vec<Listed> {
    let summaries = containers.containers.into_iter();
    let listed = summaries.map(|Summary { id, labels }| {
        let task = tasks.tasks.iter().find(|task| {
            task.id == id && task.pid != 0 && STATUS_WITH_PROCESSES.contains(&task.status)
        });
        let mut names: Vec<String> = NAME_LABELS
            .iter()
            .filter_map(|key| labels.get(*key).cloned())
            .collect();
        if !is_id(&id) {
            names.push(id.clone());
        }
        Listed {
            runtime: Some(Runtime::Containerd),
            namespace: Some(namespace.to_owned()),
            names,
            pid: task.map(|task| task.pid),
            is_running: task.is_some(),
            is_sandbox: labels.get(KIND_LABEL).is_some_and(|kind| kind == "sandbox"),
            id,
            labels,
        }
    });
    listed.collect()
}

/// A connection to the gRPC server behind a socket.
pub(super) async fn channel(socket: &Socket) -> Result<Channel, RuntimeError> {
    let wrong = |error: tonic::transport::Error| answer_error(socket, &with_causes(&error));
    Endpoint::from_shared(format!("unix:{}", socket.path.display()))
        .map_err(wrong)?
        .connect()
        .await
        .map_err(wrong)
}

/// One call of one method; `namespace` is containerd's.
pub(super) async fn call<Q, A>(
    channel: &Channel,
    method: &'static str,
    question: Q,
    namespace: Option<&str>,
) -> Result<A, Status>
where
    Q: prost::Message + Send + Sync + 'static,
    A: prost::Message + Default + Send + Sync + 'static,
{
    let mut request = Request::new(question);
    if let Some(namespace) = namespace {
        let value: MetadataValue<Ascii> = namespace
            .parse()
            .map_err(|_| Status::internal(format!("namespace {namespace:?} is no word")))?;
        request.metadata_mut().insert("containerd-namespace", value);
    }
    let mut client =
        tonic::client::Grpc::new(channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX);
    client
        .ready()
        .await
        .map_err(|error| Status::unavailable(with_causes(&error)))?;
    let codec = tonic_prost::ProstCodec::<Q, A>::default();
    let answer = client
        .unary(request, PathAndQuery::from_static(method), codec)
        .await?;
    Ok(answer.into_inner())
}

pub(super) fn refused(socket: &Socket, status: &Status) -> RuntimeError {
    answer_error(
        socket,
        &format_args!("it answers {:?}: {}", status.code(), status.message()),
    )
}

/// The transport's errors say nothing themselves; what they stem from does.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_runs_while_it_has_a_task() {
        let summary = |id: &str, labels: &[(&str, &str)]| Summary {
            id: id.to_owned(),
            labels: labels
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
        };
        let long = "ab".repeat(32);
        let containers = Containers {
            containers: vec![
                summary("web", &[]),
                summary(&long, &[(KIND_LABEL, "sandbox"), ("nerdctl/name", "n")]),
                summary("over", &[]),
            ],
        };
        let task = |id: &str, pid, status| Task {
            id: id.to_owned(),
            pid,
            status,
        };
        let tasks = Tasks {
            tasks: vec![task("web", 7, 2), task("over", 8, 3)],
        };
        let listed = join("blue", containers, &tasks);
        assert_eq!((listed[0].pid, listed[0].is_running), (Some(7), true));
        assert_eq!(listed[0].names, ["web"]);
        assert_eq!(listed[1].names, ["n"]);
        assert!(listed[1].is_sandbox && !listed[1].is_running);
        assert!(!listed[2].is_running);
    }
}
