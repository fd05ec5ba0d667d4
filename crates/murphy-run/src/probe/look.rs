//! A look is one attempt to see that a system is as it should be: when, how long it took, and what came of it.

use std::{error::Error, fmt, io};

use murphy_observe::http::AskError;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

/// The most characters of what was seen that a look keeps.
const DETAIL_MAX: usize = 200;

/// One look.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Look {
    /// When it began, in nanoseconds of boottime; a run's own time is that less
    /// [`zero_boottime_ns`](crate::Clock::zero_boottime_ns).
    pub at_ns: u64,
    /// How long it took.
    pub took_ns: u64,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What came of a look.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// It is as it should be.
    Passed {
        /// What was measured, where something was: the sample of a query, the matching lines of a log, the number that
        /// a command ended its output with.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        value: Option<f64>,
    },
    /// It is not.
    Failed {
        /// How so.
        reason: Reason,
        /// What was seen, in one short line.
        detail: String,
    },
    /// Murphy could not look, for want of memory, descriptors or ports of its own. It says nothing of the system.
    Unable {
        /// Why not.
        detail: String,
    },
}

/// Why a look has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Nobody listens there: the connection was refused.
    Refused,
    /// There is no way there, or no such name.
    Unreachable,
    /// There was no result within the limit.
    TimedOut,
    /// The connection was closed or reset before the answer was whole.
    Ended,
    /// What was answered cannot be understood: not HTTP, not what a Prometheus says, not a number.
    BadAnswer,
    /// A page with another status than is expected.
    BadStatus,
    /// A page without the pattern, or with one that must not be there.
    BadBody,
    /// A server that says something else first.
    BadBanner,
    /// A command that ended with another code than 0.
    BadExit,
    /// A command that a signal ended, which was not Murphy's.
    Killed,
    /// A command that could not be started.
    NotStarted,
    /// There is no such file.
    NoFile,
    /// There is one, and it cannot be read.
    Unreadable,
    /// A line that must not be there came.
    Unwanted,
    /// No line came that must.
    Absent,
    /// A query without a result.
    NoSample,
    /// A sample beyond its bound.
    OutOfBounds,
    /// Prometheus refuses the query.
    BadQuery,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::Refused,
        Self::Unreachable,
        Self::TimedOut,
        Self::Ended,
        Self::BadAnswer,
        Self::BadStatus,
        Self::BadBody,
        Self::BadBanner,
        Self::BadExit,
        Self::Killed,
        Self::NotStarted,
        Self::NoFile,
        Self::Unreadable,
        Self::Unwanted,
        Self::Absent,
        Self::NoSample,
        Self::OutOfBounds,
        Self::BadQuery,
    ];

    /// As it is written in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timed_out",
            Self::Ended => "ended",
            Self::BadAnswer => "bad_answer",
            Self::BadStatus => "bad_status",
            Self::BadBody => "bad_body",
            Self::BadBanner => "bad_banner",
            Self::BadExit => "bad_exit",
            Self::Killed => "killed",
            Self::NotStarted => "not_started",
            Self::NoFile => "no_file",
            Self::Unreadable => "unreadable",
            Self::Unwanted => "unwanted",
            Self::Absent => "absent",
            Self::NoSample => "no_sample",
            Self::OutOfBounds => "out_of_bounds",
            Self::BadQuery => "bad_query",
        }
    }
}

impl fmt::Display for Reason {
    /// For people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "connection refused",
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timed out",
            Self::Ended => "connection ended",
            Self::BadAnswer => "answer not understood",
            Self::BadStatus => "wrong status",
            Self::BadBody => "wrong body",
            Self::BadBanner => "wrong banner",
            Self::BadExit => "wrong exit code",
            Self::Killed => "killed",
            Self::NotStarted => "not started",
            Self::NoFile => "no such file",
            Self::Unreadable => "unreadable file",
            Self::Unwanted => "unwanted line",
            Self::Absent => "no such line",
            Self::NoSample => "no sample",
            Self::OutOfBounds => "out of bounds",
            Self::BadQuery => "query refused",
        })
    }
}

impl Outcome {
    /// As it should be, without a figure.
    pub(super) const PASSED: Self = Self::Passed { value: None };

    /// As it should be, with a figure where it is one: a number that is none, or endless, is not.
    pub(super) fn passed_with(value: f64) -> Self {
        let value = Some(value).filter(|value| value.is_finite());
        Self::Passed { value }
    }

    pub(super) fn failed(reason: Reason, detail: impl AsRef<str>) -> Self {
        let detail = one_line(detail.as_ref().as_bytes());
        Self::Failed { reason, detail }
    }

    /// What it means that no connection came to be.
    pub(super) fn unconnected(error: &io::Error) -> Self {
        let reason = match error.kind() {
            _ if is_own_want(error) => return Self::unable(error),
            io::ErrorKind::ConnectionRefused => Reason::Refused,
            io::ErrorKind::TimedOut => Reason::TimedOut,
            io::ErrorKind::ConnectionReset => Reason::Ended,
            _ => Reason::Unreachable,
        };
        Self::failed(reason, error.to_string())
    }

    /// What it means that a question over HTTP has no answer.
    pub(super) fn unanswered(error: &AskError) -> Self {
        match error {
            AskError::Connect(error) => Self::unconnected(error),
            AskError::Ended(error) => Self::failed(Reason::Ended, with_cause(error)),
            AskError::Form(error) => Self::failed(Reason::BadAnswer, with_cause(error)),
            AskError::Question(error) => Self::unable(error),
        }
    }

    pub(super) fn unable(error: &dyn Error) -> Self {
        let detail = one_line(with_cause(error).as_bytes());
        Self::Unable { detail }
    }
}

/// Whether an error says that Murphy's own machine lacks something, and nothing of the other end.
pub(super) fn is_own_want(error: &io::Error) -> bool {
    let wants = [
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOMEM,
        Errno::NOBUFS,
        Errno::AGAIN,
        Errno::ADDRNOTAVAIL,
    ];
    Errno::from_io_error(error).is_some_and(|errno| wants.contains(&errno))
}

/// An error with the one behind it, which often says more.
fn with_cause(error: &dyn Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// The beginning of a text on one line, whatever it holds.
pub(super) fn one_line(text: &[u8]) -> String {
    // A character takes at most four bytes; what lies behind these would not be kept.
    let text = &text[..text.len().min(DETAIL_MAX * 4)];
    let text = String::from_utf8_lossy(text);
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    text.trim().chars().map(plain).take(DETAIL_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_reads_back_by_the_name_that_it_has_in_files() {
        for reason in Reason::ALL {
            let text = format!("\"{}\"", reason.name());
            assert_eq!(serde_json::to_string(&reason).unwrap(), text);
            assert_eq!(serde_json::from_str::<Reason>(&text).unwrap(), reason);
        }
    }

    #[test]
    fn a_look_is_one_flat_object_and_reads_back() {
        let look = |outcome| Look {
            at_ns: 7,
            took_ns: 2,
            outcome,
        };
        for (outcome, text) in [
            (
                Outcome::PASSED,
                r#"{"at_ns":7,"took_ns":2,"outcome":"passed"}"#,
            ),
            (
                Outcome::passed_with(0.5),
                r#"{"at_ns":7,"took_ns":2,"outcome":"passed","value":0.5}"#,
            ),
            (
                Outcome::passed_with(f64::INFINITY),
                r#"{"at_ns":7,"took_ns":2,"outcome":"passed"}"#,
            ),
            (
                Outcome::failed(Reason::BadExit, "exit code 3"),
                r#"{"at_ns":7,"took_ns":2,"outcome":"failed","reason":"bad_exit","detail":"exit code 3"}"#,
            ),
            (
                Outcome::unable(&io::Error::from(Errno::MFILE)),
                r#"{"at_ns":7,"took_ns":2,"outcome":"unable","detail":"Too many open files (os error 24)"}"#,
            ),
        ] {
            let look = look(outcome);
            assert_eq!(serde_json::to_string(&look).unwrap(), text);
            assert_eq!(serde_json::from_str::<Look>(text).unwrap(), look);
        }
    }

    #[test]
    fn a_connection_that_did_not_come_to_be_has_its_reason() {
        for (errno, reason) in [
            (Errno::CONNREFUSED, Some(Reason::Refused)),
            (Errno::HOSTUNREACH, Some(Reason::Unreachable)),
            (Errno::NETUNREACH, Some(Reason::Unreachable)),
            (Errno::TIMEDOUT, Some(Reason::TimedOut)),
            (Errno::CONNRESET, Some(Reason::Ended)),
            (Errno::MFILE, None),
            (Errno::ADDRNOTAVAIL, None),
        ] {
            let said = match Outcome::unconnected(&errno.into()) {
                Outcome::Failed { reason, .. } => Some(reason),
                Outcome::Unable { .. } => None,
                Outcome::Passed { .. } => panic!("{errno} passes"),
            };
            assert_eq!(said, reason, "{errno}");
        }
    }

    #[test]
    fn a_detail_is_short_and_on_one_line() {
        assert_eq!(one_line(b"  a\r\n\x1b[31mb\xff \n"), "a   [31mb\u{fffd}");
        assert_eq!(one_line("é".repeat(1000).as_bytes()).chars().count(), 200);
    }
}
