//! A cause is one trouble of the environment that has many calls fail together: no descriptors are left, a disk is full, a
//! connection was reset.
//!
//! A recording does not say why a call failed, on which file system or on which connection it was: models are put together by what
//! such a trouble does, and the reason says so.

use murphy_sys::census::Kind;

use super::{
    Combination, Model,
    possible::{self, Realism},
};

const MAKERS: &[&str] = &[
    "open",
    "openat",
    "openat2",
    "socket",
    "socketpair",
    "accept",
    "accept4",
    "epoll_create1",
    "eventfd2",
    "timerfd_create",
    "inotify_init1",
    "pipe",
    "pipe2",
    "dup",
    "dup2",
    "dup3",
];
const FILE_SYSTEM: [&str; 4] = ["ENOSPC", "EDQUOT", "EROFS", "EIO"];
const CONNECTION: [&str; 2] = ["ECONNRESET", "EPIPE"];

/// The combinations that models are of by one cause, of at least two each. Off where none of them was seen.
pub fn combinations(models: &[Model]) -> Vec<Combination> {
    let mut all = Vec::new();
    for errno in ["EMFILE", "ENFILE"] {
        let whose = if errno == "EMFILE" {
            "The process"
        } else {
            "The machine"
        };
        let reason = format!(
            "{whose} has no descriptor left: every call that makes one fails alike, and whoever survives one may not survive all."
        );
        let is_one = |model: &Model| has(model, &[errno]) && is_any(model, MAKERS);
        all.extend(combination(
            models,
            format!("descriptors-{errno}"),
            reason,
            is_one,
        ));
    }
    for errno in FILE_SYSTEM {
        let what = match errno {
            "ENOSPC" => "A file system is full",
            "EDQUOT" => "A quota is used up",
            "EROFS" => "A file system has become read-only",
            _ => "A disk fails",
        };
        let reason = format!(
            "{what}: what is on it fails together. Which file system a call was on is not recorded, so all are hit."
        );
        let is_one = |model: &Model| has(model, &[errno]) && is_of_files(model);
        all.extend(combination(
            models,
            format!("files-{errno}"),
            reason,
            is_one,
        ));
    }
    for kind in [Kind::Tcp, Kind::Unix] {
        let reason = format!(
            "A peer has gone: reads and writes of its {kind} connection fail alike. Which connection a call was on is not recorded, so all are hit."
        );
        let is_one = |model: &Model| has(model, &CONNECTION) && model.key.kind == Some(kind);
        all.extend(combination(
            models,
            format!("connection-{kind}"),
            reason,
            is_one,
        ));
    }
    all
}

fn combination(
    models: &[Model],
    name: String,
    reason: String,
    is_one: impl Fn(&Model) -> bool,
) -> Option<Combination> {
    // What is not injected alone even where it was seen is no part of it.
    let can = |model: &&Model| is_one(model) && possible::refusal(model.key, model.errno).is_none();
    let members = possible::of_other_calls(models.iter().filter(can));
    let is_seen = members
        .iter()
        .any(|model| model.is_on && model.realism == Realism::Seen);
    (members.len() >= 2).then(|| Combination {
        name,
        is_on: is_seen,
        reason,
        models: members.iter().map(|model| model.name.clone()).collect(),
    })
}

fn has(model: &Model, errnos: &[&str]) -> bool {
    model
        .errno
        .name()
        .is_some_and(|name| errnos.contains(&name))
}

fn is_any(model: &Model, calls: &[&str]) -> bool {
    model
        .key
        .call
        .name()
        .is_some_and(|name| calls.contains(&name))
}

/// Calls to files: by a descriptor of one, or by a path.
fn is_of_files(model: &Model) -> bool {
    // Behind close nobody knows, and it is told nothing that is not of a file here.
    matches!(model.key.kind, None | Some(Kind::File | Kind::Directory))
}
