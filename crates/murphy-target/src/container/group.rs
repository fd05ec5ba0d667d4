//! A container's group is the cgroup that a runtime makes for it, and names after its id.

use murphy_sys::cgroup::Memberships;

use crate::Runtime;

/// How many hexadecimal digits the id of docker, podman, CRI-O and containerd under Kubernetes has.
const ID_DIGITS: usize = 64;

/// An id found in the path of a group, and the runtime whose way of naming groups it is, where that tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trace<'p> {
    pub(crate) id: &'p str,
    pub(crate) runtime: Option<Runtime>,
}

/// Whether `text` could be a whole id.
pub(crate) fn is_id(text: &str) -> bool {
    text.len() == ID_DIGITS && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Every container whose group, in any tree, a process is in or below; one inside another has both.
pub(crate) fn traces(memberships: &Memberships) -> Vec<Trace<'_>> {
    let mut found: Vec<Trace<'_>> = Vec::new();
    for (_, path) in memberships.iter() {
        let mut parent = "";
        for part in path.split('/') {
            if let Some(trace) = trace(parent, part)
                && !found.iter().any(|known| known.id == trace.id)
            {
                found.push(trace);
            }
            parent = part;
        }
    }
    found
}

/// Whether one part of a path is the group of a container.
pub(crate) fn is_container(part: &str) -> bool {
    trace("", part).is_some()
}

/// Reads one part of a path: `docker-ID.scope`, `cri-containerd-ID.scope`, `libpod-ID.scope`, `crio-ID.scope`,
/// `slice:cri-containerd:ID` or a bare id. A conmon, which watches a container from outside, has a group too.
fn trace<'p>(parent: &str, part: &'p str) -> Option<Trace<'p>> {
    let stem = part.strip_suffix(".scope").unwrap_or(part);
    let (prefix, id) = match stem.rfind(['-', ':']) {
        Some(at) => (&stem[..at], &stem[at + 1..]),
        None => ("", stem),
    };
    if !is_id(id) || prefix.ends_with("conmon") {
        return None;
    }
    let maker = if prefix.is_empty() {
        parent
    } else {
        prefix.rsplit(':').next().unwrap_or(prefix)
    };
    let runtime = match maker {
        "docker" => Some(Runtime::Docker),
        "cri-containerd" | "nerdctl" => Some(Runtime::Containerd),
        "crio" => Some(Runtime::Crio),
        _ if maker.starts_with("libpod") => Some(Runtime::Podman),
        _ => None,
    };
    Some(Trace { id, runtime })
}

/// Whether a process is in the group `/…/NAMESPACE/ID` that containerd gives a container whose id is a word.
pub(crate) fn is_in_namespaced(memberships: &Memberships, namespace: &str, id: &str) -> bool {
    memberships.iter().any(|(_, path)| {
        let parts: Vec<&str> = path.split('/').collect();
        parts.windows(2).any(|two| two == [namespace, id])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "c9d36dd2a57965502f59821f1ea7213abeecba419805e1728fad55974ee4c9b0";
    const INNER: &str = "0000000000000000000000000000000000000000000000000000000000000001";

    fn found(path: &str) -> Vec<(String, Option<Runtime>)> {
        let memberships = Memberships::parse(&format!("0::{path}\n"));
        traces(&memberships)
            .iter()
            .map(|trace| (trace.id.to_owned(), trace.runtime))
            .collect()
    }

    #[test]
    fn each_runtime_names_its_groups_in_its_own_way() {
        for (path, runtime) in [
            (format!("/docker/{ID}"), Some(Runtime::Docker)),
            (format!("/docker/{ID}/init.scope"), Some(Runtime::Docker)),
            (
                format!("/system.slice/docker-{ID}.scope"),
                Some(Runtime::Docker),
            ),
            (
                format!("/../../system.slice/docker-{ID}.scope"),
                Some(Runtime::Docker),
            ),
            (format!("/custom/{ID}"), None),
            (
                format!("/machine.slice/libpod-{ID}.scope/container"),
                Some(Runtime::Podman),
            ),
            (format!("/libpod_parent/libpod-{ID}"), Some(Runtime::Podman)),
            (
                format!("/a.service/libpod-payload-{ID}"),
                Some(Runtime::Podman),
            ),
            (
                format!("/kubepods.slice/kubepods-pod1.slice/cri-containerd-{ID}.scope"),
                Some(Runtime::Containerd),
            ),
            (
                format!("/system.slice/x.service/kubepods-pod1.slice:cri-containerd:{ID}"),
                Some(Runtime::Containerd),
            ),
            (format!("/kubepods/besteffort/pod5d/{ID}"), None),
            (
                format!("/kubepods.slice/crio-{ID}.scope"),
                Some(Runtime::Crio),
            ),
            (
                format!("/user.slice/user-7.slice/user@7.service/user.slice/libpod-{ID}.scope"),
                Some(Runtime::Podman),
            ),
        ] {
            assert_eq!(found(&path), [(ID.to_owned(), runtime)], "{path}");
        }
    }

    #[test]
    fn what_only_looks_like_a_container_is_none() {
        for path in [
            "/".to_owned(),
            "/docker".to_owned(),
            "/docker/c9d36dd2a579".to_owned(),
            format!("/docker/{}", ID.to_uppercase()),
            format!("/crio-conmon-{ID}.scope"),
            format!("/machine.slice/libpod-conmon-{ID}.scope"),
            format!("/docker/{ID}0"),
        ] {
            assert_eq!(found(&path), [], "{path}");
        }
    }

    #[test]
    fn a_container_in_a_container_has_both_ids() {
        let path = format!("/docker/{ID}/kubelet/kubepods/cri-containerd-{INNER}.scope");
        let ids: Vec<_> = found(&path).into_iter().map(|(id, _)| id).collect();
        assert_eq!(ids, [ID, INNER]);
    }

    #[test]
    fn an_id_that_is_a_word_counts_only_below_its_namespace() {
        let of = |path: &str| Memberships::parse(&format!("3:cpu:{path}\n"));
        assert!(is_in_namespaced(&of("/blue/web"), "blue", "web"));
        assert!(is_in_namespaced(&of("/blue/web/sub"), "blue", "web"));
        assert!(!is_in_namespaced(&of("/red/web"), "blue", "web"));
        assert!(!is_in_namespaced(&of("/blue/web2"), "blue", "web"));
    }
}
