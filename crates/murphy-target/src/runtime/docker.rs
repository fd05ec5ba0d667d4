//! docker lists its containers over HTTP on a Unix socket, and podman answers the same question.
//!
//! See "Docker Engine API", `GET /containers/json`.

use std::collections::BTreeMap;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, body::Bytes, client::conn::http1, header::HOST};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::UnixStream;

use super::{ANSWER_BYTES_MAX, Runtime, RuntimeError, ask::answer_error, sockets::Socket};
use crate::container::Listed;

/// With those that do not run, so that a stopped container is told from an unknown one.
const QUESTION: &str = "/containers/json?all=1";

pub(super) async fn list(socket: &Socket, stream: UnixStream) -> Result<Vec<Listed>, RuntimeError> {
    let body = get(socket, stream).await?;
    parse(&body, socket.runtime).map_err(|error| answer_error(socket, &error))
}

async fn get(socket: &Socket, stream: UnixStream) -> Result<Bytes, RuntimeError> {
    let wrong = |error: &dyn std::fmt::Display| answer_error(socket, error);
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| wrong(&error))?;
    // It ends with the sender, or with the time limit: the whole runtime goes with it.
    tokio::spawn(connection);
    let request = Request::get(QUESTION)
        .header(HOST, "localhost")
        .body(Empty::<Bytes>::new())
        .map_err(|error| wrong(&error))?;
    let answer = sender
        .send_request(request)
        .await
        .map_err(|error| wrong(&error))?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX)
        .collect()
        .await
        .map_err(|error| wrong(&error))?
        .to_bytes();
    if status.is_success() {
        Ok(body)
    } else {
        let text = String::from_utf8_lossy(&body);
        Err(wrong(&format_args!("it answers {status}: {}", text.trim())))
    }
}

/// One element of the answer. Podman's command prints the same fields, with the pid and without slashes.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Summary {
    id: String,
    names: Option<Vec<String>>,
    labels: Option<BTreeMap<String, String>>,
    state: Option<String>,
    #[serde(default)]
    pid: u32,
    #[serde(default)]
    is_infra: bool,
}

/// Reads the answer of docker, of podman, or what `podman ps --format json` prints.
pub(super) fn parse(body: &[u8], runtime: Runtime) -> Result<Vec<Listed>, serde_json::Error> {
    let summaries: Option<Vec<Summary>> = serde_json::from_slice(body)?;
    let listed = summaries.unwrap_or_default().into_iter().map(|summary| {
        let labels = summary.labels.unwrap_or_default();
        let kind = labels.get("io.kubernetes.docker.type");
        Listed {
            runtime: Some(runtime),
            namespace: None,
            id: summary.id,
            names: own_names(summary.names.unwrap_or_default()),
            pid: (summary.pid != 0).then_some(summary.pid),
            is_running: has_processes(summary.state.as_deref().unwrap_or_default()),
            is_sandbox: summary.is_infra || kind.is_some_and(|kind| kind == "podsandbox"),
            labels,
        }
    });
    Ok(listed.collect())
}

/// `/web` is a name of its own, `/other/web` one that another container gave it.
fn own_names(names: Vec<String>) -> Vec<String> {
    names
        .into_iter()
        .map(|name| name.trim_start_matches('/').to_owned())
        .filter(|name| !name.contains('/'))
        .collect()
}

fn has_processes(state: &str) -> bool {
    ["running", "paused", "restarting", "stopping"].contains(&state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_docker_is_read() {
        let body = br#"[{"Id":"c9","Names":["/other/alias","/web"],"Image":"box","State":"running","Labels":{"a":"b"}},
            {"Id":"d0","Names":["/k8s_POD_x"],"State":"exited","Labels":{"io.kubernetes.docker.type":"podsandbox"}},
            {"Id":"e1","Names":null,"State":"created","Labels":null}]"#;
        let listed = parse(body, Runtime::Docker).unwrap();
        assert_eq!(listed[0].names, ["web"]);
        assert_eq!(listed[0].labels["a"], "b");
        assert!(listed[0].is_running && !listed[0].is_sandbox);
        assert!(!listed[1].is_running && listed[1].is_sandbox);
        assert!(listed[2].names.is_empty());
    }

    #[test]
    fn what_podman_prints_is_read() {
        let body = br#"[{"Id":"ac","Names":["web"],"Labels":null,"Pid":7,"State":"running","IsInfra":true}]"#;
        let listed = parse(body, Runtime::Podman).unwrap();
        assert_eq!((listed[0].pid, listed[0].is_sandbox), (Some(7), true));
        assert_eq!(parse(b"null", Runtime::Podman).unwrap(), []);
        assert!(parse(b"{\"message\":\"x\"}", Runtime::Podman).is_err());
    }
}
