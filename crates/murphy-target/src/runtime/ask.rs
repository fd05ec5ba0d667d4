//! Asking is putting one question to every runtime at once and waiting no longer than the limit.

use std::{io, sync::Arc, thread};

use tokio::{net::UnixStream, task::JoinSet, time::timeout};

use super::{
    ANSWER_LIMIT, Runtime, RuntimeError, Runtimes, conmon::Watched, containerd, cri, docker,
    sockets::Socket,
};
use crate::container::{Census, Listed};

/// One runtime's answer; nothing where nobody listens.
type Answer = Result<Option<Vec<Listed>>, RuntimeError>;

impl Runtimes {
    /// Asks every runtime for its containers. `watched` are those of podman and CRI-O that need no socket;
    /// `with_labels` asks podman's command for the labels that these do not have.
    ///
    /// It runs on a thread of its own, so that it can be called from within an asynchronous runtime too.
    pub(crate) fn census(&self, watched: &[Watched], with_labels: bool) -> Census {
        let answers = thread::scope(|scope| {
            let asking = scope.spawn(|| ask(self.sockets()));
            asking.join().unwrap_or_default()
        });
        let answered = |runtime| {
            let mut answers = answers.iter();
            answers.any(|(of, answer)| *of == runtime && matches!(answer, Ok(Some(_))))
        };
        let podman_answered = answered(Runtime::Podman);
        let mut all: Vec<Result<(Runtime, Vec<Listed>), RuntimeError>> = Vec::new();
        if with_labels && !podman_answered {
            all.extend(super::conmon::ask_podman(watched));
        }
        for (runtime, answer) in answers {
            match answer {
                Ok(Some(listed)) => all.push(Ok((runtime, listed))),
                Ok(None) => {}
                Err(error) => all.push(Err(error)),
            }
        }
        for conmon in watched {
            all.push(Ok((conmon.runtime, vec![conmon.listed()])));
        }
        Census::of(all)
    }
}

fn ask(sockets: &[Socket]) -> Vec<(Runtime, Answer)> {
    if sockets.is_empty() {
        return Vec::new();
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            let failed = |socket: &Socket| (socket.runtime, Err(answer_error(socket, &error)));
            return sockets.iter().map(failed).collect();
        }
    };
    runtime.block_on(async {
        let mut questions = JoinSet::new();
        for (place, socket) in sockets.iter().cloned().enumerate() {
            questions.spawn(async move { (place, socket.runtime, ask_one(&socket).await) });
        }
        let mut answers = questions.join_all().await;
        answers.sort_by_key(|(place, ..)| *place);
        answers
            .into_iter()
            .map(|(_, runtime, answer)| (runtime, answer))
            .collect()
    })
}

async fn ask_one(socket: &Socket) -> Answer {
    let question = async {
        let Some(stream) = connect(socket).await? else {
            return Ok(None);
        };
        let listed = match socket.runtime {
            Runtime::Docker | Runtime::Podman => docker::list(socket, stream).await?,
            Runtime::Containerd => containerd::list(socket).await?,
            Runtime::Crio => cri::list(socket).await?,
        };
        Ok(Some(listed))
    };
    timeout(ANSWER_LIMIT, question)
        .await
        .unwrap_or_else(|_| Err(silent(socket)))
}

async fn connect(socket: &Socket) -> Result<Option<UnixStream>, RuntimeError> {
    let at = || socket.path.display().to_string();
    match UnixStream::connect(&socket.path).await {
        Ok(stream) => Ok(Some(stream)),
        Err(source) if source.kind() == io::ErrorKind::PermissionDenied => {
            Err(RuntimeError::Denied {
                runtime: socket.runtime,
                at: at(),
            })
        }
        Err(source) => match socket.variable {
            Some(variable) => Err(RuntimeError::Absent {
                runtime: socket.runtime,
                at: at(),
                variable,
                source: Arc::new(source),
            }),
            // A socket that outlived its runtime.
            None => Ok(None),
        },
    }
}

pub(super) fn silent(socket: &Socket) -> RuntimeError {
    RuntimeError::Silent {
        runtime: socket.runtime,
        at: socket.path.display().to_string(),
    }
}

pub(super) fn answer_error(socket: &Socket, detail: &dyn std::fmt::Display) -> RuntimeError {
    RuntimeError::Answer {
        runtime: socket.runtime,
        at: socket.path.display().to_string(),
        detail: detail.to_string(),
    }
}
