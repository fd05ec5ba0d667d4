//! The promises of the watch that etcd's own tests do not look at: what comes too late, how a watch ends, and watches
//! from the future.

use super::{Says::*, cases};

#[test]
fn live() {
    cases(
        "watch.live",
        &[
            (
                "everything delivered before the quiet",
                Holds,
                "
            put a=1 -> 2
            watch w every from 2
            w: a=1@2/2/1
            quiet n0 2
            get a -> 2: a=1@2/2/1",
            ),
            (
                "everything delivered in the quiet",
                Holds,
                "
            limits watch 100
            put a=1 -> 2
            watch w every from 2
            quiet n0 2
            wait 50
            w: a=1@2/2/1
            get a -> 2: a=1@2/2/1
            wait 500
            get a -> 2: a=1@2/2/1",
            ),
            (
                "a watch stays silent",
                Breaks,
                "
            + put a=1 -> 2
            + watch w every from 2
            * quiet n0 2
            wait 2000
            * get a -> 2: a=1@2/2/1",
            ),
            (
                "the last event stays out, by the bound of the history",
                Breaks,
                "
            limits watch 100
            put a=1 -> 2
            + put a=2 -> 3
            + watch w a from 2
            + w: a=1@2/2/1
            * quiet n0 3
            wait 200
            * get a -> 3: a=2@2/3/2",
            ),
            (
                "a member back from a fault says nothing more",
                Breaks,
                "
            kill n1
            put a=1 -> 2
            back n1
            + watch w every from 2 on n1
            + w: a=1@2/2/1
            + put b=1 -> 3
            * quiet n1 3
            wait 1500
            * get b on n1 -> 3: b=1@3/3/1",
            ),
            (
                "the history ends too soon",
                Undecided,
                "
            put a=1 -> 2
            watch w every from 2
            quiet n0 2
            get a -> 2: a=1@2/2/1",
            ),
            (
                "no quiet phase",
                Undecided,
                "
            put a=1 -> 2
            watch w every from 2
            wait 9000
            get a -> 2: a=1@2/2/1",
            ),
            (
                "a fault in the quiet",
                Undecided,
                "
            put a=1 -> 2
            watch w every from 2
            quiet n0 2
            kill n1
            wait 5000
            get a -> 2: a=1@2/2/1",
            ),
        ],
    );
}

#[test]
fn progress() {
    cases(
        "watch.progress",
        &[
            (
                "bookmarks in time",
                Holds,
                "
            limits progress 100
            watch w every created 1 notify
            wait 50
            w bookmark 1
            wait 50
            w bookmark 1",
            ),
            (
                "events are words as well",
                Holds,
                "
            limits progress 100
            watch w every from 2 created 1 notify
            wait 40
            put a=1 -> 2
            w: a=1@2/2/1
            wait 50
            w bookmark 2",
            ),
            (
                "a requested bookmark comes",
                Holds,
                "
            limits progress 100
            watch w every created 1
            wait 900
            w asks
            w bookmark 1
            wait 900
            w breaks",
            ),
            (
                "no bookmark at all",
                Breaks,
                "
            limits progress 100
            * watch w every created 1 notify
            wait 200
            get a -> 1",
            ),
            (
                "a long pause between two",
                Breaks,
                "
            limits progress 100
            + watch w every created 1 notify
            + w bookmark 1
            wait 200
            w bookmark 1",
            ),
            (
                "a request without an answer",
                Breaks,
                "
            limits progress 100
            + watch w every created 1
            wait 500
            w asks
            wait 200
            get a -> 1",
            ),
            (
                "without a bound nothing is too late",
                Undecided,
                "
            watch w every created 1 notify
            wait 90000
            w breaks",
            ),
        ],
    );
}

#[test]
fn cancel_reason() {
    cases(
        "watch.cancel-reason",
        &[
            (
                "a watch of what was compacted is cancelled",
                Holds,
                "
            put a=1 -> 2
            put a=2 -> 3
            put a=3 -> 4
            compact 4 -> 4
            watch w a from 2
            w cancelled 4",
            ),
            (
                "a watch from the compact revision goes on",
                Holds,
                "
            put a=1 -> 2
            put a=2 -> 3
            put a=3 -> 4
            compact 3 -> 4
            watch w a from 2
            w cancelled 3
            watch v a from 3
            v: a=2@2/3/2, a=3@2/4/3",
            ),
            (
                "a member that lags behind the compaction may serve",
                Undecided,
                "
            put a=1 -> 2
            put a=2 -> 3
            compact 3 -> 3
            watch w a from 2 on n1
            w: a=1@2/2/1, a=2@2/3/2",
            ),
            (
                "resumed over the gap",
                Breaks,
                "
            put a=1 -> 2
            put a=2 -> 3
            put a=3 -> 4
            * compact 4 -> 4
            + watch w a from 2
            * w: a=3@2/4/3",
            ),
            (
                "resumed by a member that had heard of it",
                Breaks,
                "
            put a=1 -> 2
            put a=2 -> 3
            * compact 3 -> 3
            * get a on n1 -> 3: a=2@2/3/2
            + watch w a from 2 on n1
            * w: a=1@2/2/1, a=2@2/3/2",
            ),
            (
                "cancelled for a compaction before its start",
                Breaks,
                "
            put a=1 -> 2
            put a=2 -> 3
            put a=3 -> 4
            compact 3 -> 4
            + watch w a from 4
            * w cancelled 3",
            ),
            (
                "cancelled with an older compact revision",
                Breaks,
                "
            put a=1 -> 2
            put a=2 -> 3
            put a=3 -> 4
            compact 3 -> 4
            * compact 4 -> 4
            + watch w a from 2
            * w cancelled 3",
            ),
            (
                "cancelled without a compact revision",
                Breaks,
                "
            put a=1 -> 2
            put a=2 -> 3
            compact 3 -> 3
            + watch w a from 2
            * w cancelled 0",
            ),
        ],
    );
}

#[test]
fn future() {
    cases(
        "watch.future",
        &[
            (
                "a watch from the future waits for it",
                Holds,
                "
            put a=1 -> 2
            watch w a from 4 created 2
            put a=2 -> 3
            put a=3 -> 4
            w: a=3@2/4/3",
            ),
            (
                "a bookmark at its start",
                Holds,
                "
            put a=1 -> 2
            watch w a from 4 created 2
            put b=1 -> 3
            w bookmark 3
            put a=2 -> 4
            w: a=2@2/4/2",
            ),
            (
                "an event before its start (issue 20221)",
                Breaks,
                "
            put a=1 -> 2
            * watch w a from 4 created 2
            put a=2 -> 3
            * w: a=2@2/3/2",
            ),
            (
                "a bookmark before its start",
                Breaks,
                "
            put a=1 -> 2
            put a=2 -> 3
            + watch w a from 9 created 3
            * w bookmark 3",
            ),
            (
                "a deletion before its start, and then what was asked for",
                Breaks,
                "
            put a=1 -> 2
            + watch w a from 4 created 2
            delete a -> 3
            * w: -a@3
            put a=2 -> 4
            w: a=2@4/4/1",
            ),
        ],
    );
}
