//! A name of a model is made of what it is about, so that the same error has the same name in every recording.

use murphy_sys::syscalls::Errno;

use crate::recording::Key;

/// The name of a model: `read-tcp-nowait-EAGAIN`, `openat:plain-ENOENT`.
pub fn of(key: Key, errno: Errno) -> String {
    let call = key.call;
    let mut parts = vec![match key.operation {
        Some(operation) => format!("{call}:{operation}"),
        None => call.to_string(),
    }];
    parts.extend(key.kind.map(|one| one.to_string()));
    parts.extend(match (key.nonblocking, key.kind) {
        (Some(true), _) => Some("nowait".to_owned()),
        // Beside a kind it is what is left.
        (Some(false), None) => Some("wait".to_owned()),
        (None, Some(_)) => Some("unknown".to_owned()),
        (Some(false), Some(_)) | (None, None) => None,
    });
    parts.push(errno.to_string());
    parts.join("-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use murphy_sys::{
        census::{Kind, Operation},
        syscalls::Call,
    };
    use std::collections::BTreeSet;

    #[test]
    fn no_two_kinds_of_calls_have_one_name() {
        let mut names = BTreeSet::new();
        let kinds = || std::iter::once(None).chain(Kind::ALL.iter().copied().map(Some));
        let operations = || std::iter::once(None).chain(Operation::ALL.iter().copied().map(Some));
        let errno = Errno::named("EAGAIN").unwrap();
        let mut count = 0;
        for call in ["read", "epoll_ctl"] {
            for (kind, operation) in
                kinds().flat_map(|kind| operations().map(move |one| (kind, one)))
            {
                for nonblocking in [None, Some(false), Some(true)] {
                    let call = Call::named(call).unwrap();
                    let key = Key {
                        call,
                        operation,
                        kind,
                        nonblocking,
                    };
                    names.insert(of(key, errno));
                    count += 1;
                }
            }
        }
        assert_eq!(names.len(), count, "each has its own");
        assert!(names.contains("read-tcp-nowait-EAGAIN") && names.contains("read-EAGAIN"));
    }
}
