//! The promises of the watch.

use super::{Says::*, cases};

#[test]
fn filter() {
    cases(
        "watch.filter",
        &[
            (
                "a watch of one key tells of that key",
                Holds,
                "
            put a=1 -> 2
            put b=1 -> 3
            watch w a from 2
            w: a=1@2/2/1",
            ),
            (
                "a watch of a directory tells of all in it",
                Holds,
                "
            put d/a=1 -> 2
            put e=1 -> 3
            put d/b=1 -> 4
            watch w under d/ from 2
            w: d/a=1@2/2/1
            w: d/b=1@4/4/1",
            ),
            (
                "a watch of one key tells of another",
                Breaks,
                "
            put a=1 -> 2
            put b=1 -> 3
            + watch w a from 2
            w: a=1@2/2/1
            * w: b=1@3/3/1",
            ),
            (
                "a watch of a directory tells of the key behind it",
                Breaks,
                "
            put d0=1 -> 2
            put d/a=1 -> 3
            + watch w under d/ from 2
            * w: d0=1@2/2/1
            w: d/a=1@3/3/1",
            ),
            (
                "a foreign deletion",
                Breaks,
                "
            put a=1 -> 2
            put ab=1 -> 3
            delete ab -> 4
            + watch w a from 2
            w: a=1@2/2/1
            * w: -ab@4",
            ),
        ],
    );
}

#[test]
fn ordered() {
    cases(
        "watch.ordered",
        &[
            (
                "revisions rise",
                Holds,
                "
            put a=1 -> 2
            put b=1 -> 3
            watch w every from 2
            w: a=1@2/2/1
            w: b=1@3/3/1",
            ),
            (
                "a watch may skip what is not its own",
                Holds,
                "
            put a=1 -> 2
            put b=1 -> 3
            put a=2 -> 4
            watch w a from 2
            w: a=1@2/2/1, a=2@2/4/2",
            ),
            (
                "a revision comes too late",
                Breaks,
                "
            put a=1 -> 2
            put b=1 -> 3
            watch w every from 2
            * w: b=1@3/3/1
            * w: a=1@2/2/1",
            ),
            (
                "a revision comes too late in one message",
                Breaks,
                "
            put a=1 -> 2
            put b=1 -> 3
            watch w every from 2
            * w: b=1@3/3/1, a=1@2/2/1",
            ),
            (
                "a watch travels back in time (issue 15271)",
                Breaks,
                "
            put a=1 -> 2
            put b=1 -> 3
            put c=1 -> 4
            watch w every from 2
            w: a=1@2/2/1
            * w: c=1@4/4/1
            * w: b=1@3/3/1",
            ),
        ],
    );
}

#[test]
fn unique() {
    cases(
        "watch.unique",
        &[
            (
                "each event once",
                Holds,
                "
            put a=1 -> 2
            put a=2 -> 3
            watch w every from 2
            w: a=1@2/2/1
            w: a=2@2/3/2",
            ),
            (
                "two watches may tell the same",
                Holds,
                "
            put a=1 -> 2
            watch w every from 2
            watch v every from 2
            w: a=1@2/2/1
            v: a=1@2/2/1",
            ),
            (
                "an event in two messages (issue 15248)",
                Breaks,
                "
            put a=1 -> 2
            watch w every from 2
            * w: a=1@2/2/1
            * w: a=1@2/2/1",
            ),
            (
                "an event twice in one message",
                Breaks,
                "
            put a=1 -> 2
            watch w every from 2
            * w: a=1@2/2/1, a=1@2/2/1",
            ),
            (
                "an event again after a later one",
                Breaks,
                "
            put a=1 -> 2
            put b=1 -> 3
            watch w every from 2
            * w: a=1@2/2/1
            w: b=1@3/3/1
            * w: a=1@2/2/1",
            ),
        ],
    );
}
