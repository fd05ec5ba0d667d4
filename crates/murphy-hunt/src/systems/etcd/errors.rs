//! The class of an error is what it leaves open: did the request take effect, or not?
//!
//! The table follows what was seen on stock 3.4 and 3.5 servers, and where nothing was seen, Jepsen's
//! etcd client. Two rules stand above it: a read that was not answered changed nothing; a rejected
//! *transaction* is never assumed to have changed nothing (etcd issue 18667: one member rejects it, the
//! others apply it).

use tonic::{Code, Status};

/// What the client asked, as far as an error's class depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Nothing that changes the store.
    Read,
    /// One plain change.
    Write,
    /// A transaction.
    Transaction,
}

/// What an error leaves open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The request certainly had no effect.
    Definite,
    /// It may have had its effect, or may still have it.
    Unknown,
    /// It never left this machine.
    NotSent,
}

impl Class {
    /// The class of a request whose answer never came.
    pub fn without_answer(asked: Asked) -> Self {
        match asked {
            Asked::Read => Self::Definite,
            Asked::Write | Asked::Transaction => Self::Unknown,
        }
    }
}

/// Why a member did not answer what was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// What it leaves open.
    pub class: Class,
    /// The error for people, as the history keeps it.
    pub text: String,
    /// The connection is of no more use.
    pub connection_lost: bool,
}

impl Rejection {
    /// Classifies a gRPC status.
    pub fn of(status: &Status, asked: Asked) -> Self {
        let message = status.message();
        let from_server = message.starts_with("etcdserver:");
        let refused = from_server && asked == Asked::Write && is_definite(status.code(), message);
        let class = if !from_server && message.contains("tcp connect error") {
            Class::NotSent
        } else if refused {
            Class::Definite
        } else {
            Class::without_answer(asked)
        };
        Self {
            class,
            text: format!("{:?}: {message}", status.code()),
            connection_lost: !from_server,
        }
    }
}

/// Whether etcd refuses a plain put, deletion or compaction with this before anything can happen.
fn is_definite(code: Code, message: &str) -> bool {
    match code {
        Code::InvalidArgument
        | Code::OutOfRange
        | Code::NotFound
        | Code::FailedPrecondition
        | Code::PermissionDenied
        | Code::Unauthenticated => true,
        Code::ResourceExhausted => {
            message.contains("too many requests") || message.contains("database space exceeded")
        }
        Code::Unavailable => message.contains("unhealthy cluster"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_has_the_class_that_was_seen() {
        use Asked::{Read, Transaction, Write};
        use Class::{Definite, NotSent, Unknown};
        let table = [
            (
                Code::Unavailable,
                "tcp connect error: Connection refused",
                Write,
                NotSent,
            ),
            (
                Code::Unavailable,
                "etcdserver: leader changed",
                Read,
                Definite,
            ),
            (
                Code::Unavailable,
                "etcdserver: leader changed",
                Write,
                Unknown,
            ),
            (
                Code::Unavailable,
                "etcdserver: request timed out",
                Write,
                Unknown,
            ),
            (
                Code::Unavailable,
                "etcdserver: request timed out, possibly due to previous leader failure",
                Transaction,
                Unknown,
            ),
            (Code::Unknown, "transport error", Write, Unknown),
            (Code::ResourceExhausted, "h2 protocol error", Write, Unknown),
            (
                Code::ResourceExhausted,
                "etcdserver: too many requests",
                Write,
                Definite,
            ),
            (
                Code::OutOfRange,
                "etcdserver: mvcc: required revision has been compacted",
                Read,
                Definite,
            ),
            (
                Code::OutOfRange,
                "etcdserver: mvcc: required revision has been compacted",
                Write,
                Definite,
            ),
            (
                Code::OutOfRange,
                "etcdserver: mvcc: required revision has been compacted",
                Transaction,
                Unknown,
            ),
            (
                Code::InvalidArgument,
                "etcdserver: duplicate key given in txn request",
                Transaction,
                Unknown,
            ),
            (
                Code::InvalidArgument,
                "etcdserver: key is not provided",
                Write,
                Definite,
            ),
        ];
        for (code, message, asked, class) in table {
            let rejection = Rejection::of(&Status::new(code, message), asked);
            assert_eq!(rejection.class, class, "{code:?} {message} for a {asked:?}");
            assert_eq!(
                rejection.connection_lost,
                !message.starts_with("etcdserver:")
            );
        }
    }

    #[test]
    fn a_read_without_an_answer_changed_nothing() {
        assert_eq!(Class::without_answer(Asked::Read), Class::Definite);
        assert_eq!(Class::without_answer(Asked::Transaction), Class::Unknown);
    }
}
