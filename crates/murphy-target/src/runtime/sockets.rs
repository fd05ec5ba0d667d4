//! The sockets at which the runtimes of a machine listen, found without configuration.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
};

use super::Runtime;

/// Where each runtime listens unless told otherwise.
const USUAL: [(Runtime, &str); 9] = [
    (Runtime::Docker, "/run/docker.sock"),
    (Runtime::Docker, "/var/run/docker.sock"),
    (Runtime::Podman, "/run/podman/podman.sock"),
    (Runtime::Containerd, "/run/containerd/containerd.sock"),
    (
        Runtime::Containerd,
        "/run/docker/containerd/containerd.sock",
    ),
    (Runtime::Containerd, "/run/k3s/containerd/containerd.sock"),
    (Runtime::Containerd, "/run/k0s/containerd.sock"),
    (Runtime::Crio, "/run/crio/crio.sock"),
    (Runtime::Crio, "/var/run/crio/crio.sock"),
];
/// The same below `$XDG_RUNTIME_DIR`, for one user's own.
const USUAL_OF_USER: [(Runtime, &str); 2] = [
    (Runtime::Docker, "docker.sock"),
    (Runtime::Podman, "podman/podman.sock"),
];
/// Variables that name a socket, as each runtime's own command reads them. They stand for the usual places.
const VARIABLES: [(Runtime, &str); 4] = [
    (Runtime::Docker, "DOCKER_HOST"),
    (Runtime::Podman, "CONTAINER_HOST"),
    (Runtime::Containerd, "CONTAINERD_ADDRESS"),
    (Runtime::Crio, "CONTAINER_RUNTIME_ENDPOINT"),
];

/// One socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Socket {
    pub(crate) runtime: Runtime,
    pub(crate) path: PathBuf,
    /// The variable that names it. Then somebody must listen there.
    pub(crate) variable: Option<&'static str>,
}

/// The runtimes that may be asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Runtimes(Vec<Socket>);

impl Runtimes {
    /// Those of this machine: at the sockets that `DOCKER_HOST`, `CONTAINER_HOST`, `CONTAINERD_ADDRESS` and
    /// `CONTAINER_RUNTIME_ENDPOINT` name, else at the usual ones, as far as these exist.
    pub fn of_this_machine() -> Self {
        Self::from(
            |variable| env::var(variable).ok(),
            |path| fs::canonicalize(path).ok(),
        )
    }

    /// Those at given sockets, and no others.
    pub fn at(sockets: impl IntoIterator<Item = (Runtime, PathBuf)>) -> Self {
        let sockets = sockets.into_iter().map(|(runtime, path)| Socket {
            runtime,
            path,
            variable: None,
        });
        Self(sockets.collect())
    }

    pub(crate) fn sockets(&self) -> &[Socket] {
        &self.0
    }

    fn from(
        variable: impl Fn(&'static str) -> Option<String>,
        existing: impl Fn(&Path) -> Option<PathBuf>,
    ) -> Self {
        let mut found = Vec::new();
        let mut named = BTreeSet::new();
        for (runtime, name) in VARIABLES {
            let Some(path) = variable(name).and_then(|value| unix_path(&value)) else {
                continue;
            };
            // Where Kubernetes runs on containerd, the variable that is CRI-O's here names containerd's socket.
            let runtime = match runtime {
                Runtime::Crio if path.ends_with("containerd.sock") => Runtime::Containerd,
                _ => runtime,
            };
            named.insert(runtime);
            found.push(Socket {
                runtime,
                path,
                variable: Some(name),
            });
        }
        let mut usual: Vec<(Runtime, PathBuf)> = USUAL
            .iter()
            .map(|(runtime, path)| (*runtime, PathBuf::from(path)))
            .collect();
        if let Some(own) = variable("XDG_RUNTIME_DIR").filter(|path| path.starts_with('/')) {
            usual.extend(
                USUAL_OF_USER
                    .iter()
                    .map(|(runtime, path)| (*runtime, Path::new(&own).join(path))),
            );
        }
        for (runtime, path) in usual {
            // Links lead from one usual place to another, or from docker's to podman's.
            if !named.contains(&runtime)
                && let Some(path) = existing(&path)
                && !found.iter().any(|socket| socket.path == path)
            {
                found.push(Socket {
                    runtime,
                    path,
                    variable: None,
                });
            }
        }
        Self(found)
    }
}

/// The path in `unix:///run/x.sock`, `unix:/run/x.sock` or `/run/x.sock`; a socket on another machine is none.
fn unix_path(value: &str) -> Option<PathBuf> {
    let path = value.strip_prefix("unix:").unwrap_or(value);
    let path = path.strip_prefix("//").unwrap_or(path);
    path.starts_with('/').then(|| path.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(variables: &[(&str, &str)], existing: &[(&str, &str)]) -> Vec<(Runtime, String)> {
        let found = Runtimes::from(
            |name| {
                let found = variables.iter().find(|(key, _)| *key == name)?;
                Some(found.1.to_owned())
            },
            |path| {
                let found = existing.iter().find(|(from, _)| Path::new(from) == path)?;
                Some(found.1.into())
            },
        );
        found
            .sockets()
            .iter()
            .map(|socket| (socket.runtime, socket.path.display().to_string()))
            .collect()
    }

    #[test]
    fn a_socket_that_two_places_lead_to_is_asked_once() {
        let existing = [
            ("/run/docker.sock", "/run/docker.sock"),
            ("/var/run/docker.sock", "/run/docker.sock"),
            ("/run/crio/crio.sock", "/run/crio/crio.sock"),
        ];
        assert_eq!(
            paths(&[], &existing),
            [
                (Runtime::Docker, "/run/docker.sock".to_owned()),
                (Runtime::Crio, "/run/crio/crio.sock".to_owned())
            ]
        );
        assert_eq!(paths(&[], &[]), []);
    }

    #[test]
    fn a_variable_stands_for_the_usual_places_of_its_runtime() {
        let existing = [
            ("/run/docker.sock", "/run/docker.sock"),
            ("/run/podman/podman.sock", "/run/podman/podman.sock"),
        ];
        assert_eq!(
            paths(&[("DOCKER_HOST", "unix:///tmp/d.sock")], &existing),
            [
                (Runtime::Docker, "/tmp/d.sock".to_owned()),
                (Runtime::Podman, "/run/podman/podman.sock".to_owned())
            ]
        );
        let kubernetes = [(
            "CONTAINER_RUNTIME_ENDPOINT",
            "unix:///run/x/containerd.sock",
        )];
        assert_eq!(
            paths(&kubernetes, &[]),
            [(Runtime::Containerd, "/run/x/containerd.sock".to_owned())]
        );
        assert_eq!(
            paths(&[("DOCKER_HOST", "tcp://10.0.0.1:2375")], &existing).len(),
            2
        );
        assert_eq!(
            paths(
                &[("XDG_RUNTIME_DIR", "/run/user/7")],
                &[(
                    "/run/user/7/podman/podman.sock",
                    "/run/user/7/podman/podman.sock"
                )]
            ),
            [(Runtime::Podman, "/run/user/7/podman/podman.sock".to_owned())]
        );
    }
}
