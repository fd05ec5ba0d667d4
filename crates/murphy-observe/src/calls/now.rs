//! The system calls of a target as they are now.

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

use murphy_sys::syscalls::{Call, Took};
use serde::Serialize;

use super::{Answers, CallHistory};
use crate::edge::as_text;

/// No more of each are told.
const TOLD_MAX: usize = 50;

/// What a call has returned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CallNow {
    /// The call.
    pub call: String,
    /// Why it has failed; none where it has not.
    pub errno: Option<String>,
    /// How often, since it is observed.
    pub count: u64,
    /// How often in the last seconds.
    pub recent: u64,
}

/// How long a call took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TimesNow {
    /// The call.
    pub call: String,
    /// How often its time was taken, since it is observed.
    pub count: u64,
    /// How long that was together, in nanoseconds.
    pub sum_ns: u64,
    /// How often in the last seconds.
    pub recent: u64,
    /// So long or longer half of these took, in microseconds.
    pub recent_us: Option<u64>,
}

/// The calls of a target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CallsNow {
    /// Whose.
    #[serde(serialize_with = "as_text")]
    pub container: Arc<str>,
    /// What they have returned: first what has failed, the most frequent first; fifty at most.
    pub calls: Vec<CallNow>,
    /// How long those took that are timed, the longest together first; fifty at most.
    pub times: Vec<TimesNow>,
}

impl CallsNow {
    /// What is told of one, with what has happened after a time as recent.
    pub(super) fn of(
        container: &Arc<str>,
        returned: &Answers,
        lasted: &BTreeMap<Call, Took>,
        history: &CallHistory,
        since_ns: u64,
    ) -> Self {
        let mut all: Vec<_> = returned.iter().collect();
        all.sort_by_key(|((_, errno), count)| (errno.is_none(), Reverse(**count)));
        let recent = |key| {
            let moments = history.between(since_ns, u64::MAX);
            moments.filter_map(|moment| moment.returned.get(key)).sum()
        };
        let calls = all.iter().take(TOLD_MAX).map(|(key, count)| CallNow {
            call: key.0.to_string(),
            errno: key.1.map(|errno| errno.to_string()),
            count: **count,
            recent: recent(key),
        });
        let mut times: Vec<_> = lasted.iter().collect();
        times.sort_by_key(|(_, took)| Reverse(took.sum_ns));
        let times = times.iter().take(TOLD_MAX).map(|(call, took)| {
            let recent = history.took(**call, since_ns, u64::MAX);
            TimesNow {
                call: call.to_string(),
                count: took.count,
                sum_ns: took.sum_ns,
                recent: recent.count,
                recent_us: recent.median_us().map(|median| median.start),
            }
        });
        Self {
            container: Arc::clone(container),
            calls: calls.collect(),
            times: times.collect(),
        }
    }
}
