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

#[test]
fn atomic() {
    cases(
        "watch.atomic",
        &[
            (
                "a transaction in one message",
                Holds,
                "
            pair a=1 b=1 -> 2
            watch w every from 2
            w: a=1@2/2/1, b=1@2/2/1",
            ),
            (
                "two revisions in one message",
                Holds,
                "
            put a=1 -> 2
            put b=1 -> 3
            watch w every from 2
            w: a=1@2/2/1, b=1@3/3/1",
            ),
            (
                "a transaction in two messages",
                Breaks,
                "
            pair a=1 b=1 -> 2
            watch w every from 2
            * w: a=1@2/2/1
            * w: b=1@2/2/1",
            ),
            (
                "a transaction in two messages, the first with more",
                Breaks,
                "
            put c=1 -> 2
            pair a=1 b=1 -> 3
            watch w every from 2
            * w: c=1@2/2/1, a=1@3/3/1
            * w: b=1@3/3/1",
            ),
            (
                "a transaction in two messages, the second with more",
                Breaks,
                "
            pair a=1 b=1 -> 2
            put c=1 -> 3
            watch w every from 2
            * w: a=1@2/2/1
            * w: b=1@2/2/1, c=1@3/3/1",
            ),
        ],
    );
}

#[test]
fn bookmarkable() {
    cases(
        "watch.bookmarkable",
        &[
            (
                "a bookmark behind its events",
                Holds,
                "
            put a=1 -> 2
            watch w every from 2
            w: a=1@2/2/1
            w bookmark 2",
            ),
            (
                "a bookmark of revisions of other keys",
                Holds,
                "
            put a=1 -> 2
            put b=1 -> 3
            watch w a from 2
            w: a=1@2/2/1
            w bookmark 3
            w bookmark 3",
            ),
            (
                "an event comes behind its bookmark (issue 15220)",
                Breaks,
                "
            put a=1 -> 2
            put b=1 -> 3
            watch w every from 2
            w: a=1@2/2/1
            * w bookmark 3
            + w: b=1@3/3/1",
            ),
            (
                "a bookmark goes back behind an event",
                Breaks,
                "
            put a=1 -> 2
            put b=1 -> 3
            watch w every from 2
            w: a=1@2/2/1
            * w: b=1@3/3/1
            * w bookmark 2",
            ),
            (
                "a bookmark goes back behind another",
                Breaks,
                "
            put a=1 -> 2
            put b=1 -> 3
            watch w a from 2
            w: a=1@2/2/1
            * w bookmark 3
            * w bookmark 2",
            ),
            (
                "a bookmark of what was never delivered",
                Breaks,
                "
            put a=1 -> 2
            + put b=1 -> 3
            + watch w every from 2
            w: a=1@2/2/1
            * w bookmark 3",
            ),
        ],
    );
}

#[test]
fn resumable() {
    cases(
        "watch.resumable",
        &[
            (
                "the first event is that of the start",
                Holds,
                "
            put a=1 -> 2
            put a=2 -> 3
            watch w every from 3
            w: a=2@2/3/2",
            ),
            (
                "the first event of the keys behind the start",
                Holds,
                "
            put a=1 -> 2
            put b=1 -> 3
            put a=2 -> 4
            watch w a from 3
            w: a=2@2/4/2",
            ),
            (
                "a deletion at the compact revision is left out (issue 18089)",
                Breaks,
                "
            put a=1 -> 2
            + delete a -> 3
            put a=2 -> 4
            compact 3 -> 4
            + watch w every from 3
            * w: a=2@4/4/1",
            ),
            (
                "a resumed watch begins too late",
                Breaks,
                "
            put a=1 -> 2
            + put a=2 -> 3
            put a=3 -> 4
            watch w every from 2
            w: a=1@2/2/1
            w breaks
            + watch v every from 3
            * v: a=3@2/4/3
            put b=1 -> 5",
            ),
            (
                "a resumed watch begins too early",
                Breaks,
                "
            put a=1 -> 2
            put a=2 -> 3
            put a=3 -> 4
            + watch w every from 3 created 4
            * w: a=1@2/2/1
            w: a=2@2/3/2",
            ),
        ],
    );
}

#[test]
fn is_create() {
    cases(
        "watch.is-create",
        &[
            (
                "the first put creates",
                Holds,
                "
            put a=1 -> 2
            put a=2 -> 3
            watch w every from 2
            w: a=1@2/2/1, a=2@2/3/2",
            ),
            (
                "a put after a deletion creates again",
                Holds,
                "
            put a=1 -> 2
            delete a -> 3
            put a=2 -> 4
            watch w every from 2
            w: a=1@2/2/1, -a@3, a=2@4/4/1",
            ),
            (
                "a change as a creation",
                Breaks,
                "
            * put a=1 -> 2
            put a=2 -> 3
            watch w every from 2
            w: a=1@2/2/1
            * w: a=2@3/3/1",
            ),
            (
                "a creation as a change",
                Breaks,
                "
            + put b=1 -> 2
            put a=1 -> 3
            watch w a from 2
            * w: a=1@2/3/2",
            ),
            (
                "a creation after a deletion as a change",
                Breaks,
                "
            put a=1 -> 2
            * delete a -> 3
            put a=2 -> 4
            watch w a from 4
            * w: a=2@2/4/2",
            ),
        ],
    );
}

#[test]
fn reliable() {
    cases(
        "watch.reliable",
        &[
            (
                "every event of the key",
                Holds,
                "
            put a=1 -> 2
            put b=1 -> 3
            put a=2 -> 4
            watch w a from 2
            w: a=1@2/2/1
            w: a=2@2/4/2",
            ),
            (
                "what was not delivered when the history ended",
                Holds,
                "
            put a=1 -> 2
            put a=2 -> 3
            watch w every from 2
            w: a=1@2/2/1",
            ),
            (
                "an event between two is lost (issue 17529)",
                Breaks,
                "
            put a=1 -> 2
            + put b=1 -> 3
            put c=1 -> 4
            + watch w every from 2
            w: a=1@2/2/1
            * w: c=1@4/4/1",
            ),
            (
                "half of a transaction",
                Breaks,
                "
            * pair a=1 b=1 -> 2
            + watch w every from 2
            * w: a=1@2/2/1",
            ),
            (
                "a watch that began now loses an event",
                Breaks,
                "
            put a=1 -> 2
            + watch w every created 2
            + put b=1 -> 3
            put c=1 -> 4
            * w: c=1@4/4/1",
            ),
        ],
    );
}

#[test]
fn prev_kv() {
    cases(
        "watch.prev-kv",
        &[
            (
                "the pair before",
                Holds,
                "
            put a=1 -> 2
            put a=2 -> 3
            watch w a from 3 prev
            w: a=2@2/3/2 < a=1@2/2/1",
            ),
            (
                "no pair before, after a compaction",
                Holds,
                "
            put a=1 -> 2
            put a=2 -> 3
            put a=3 -> 4
            compact 3 -> 4
            watch w a from 3 prev
            w: a=2@2/3/2
            w: a=3@2/4/3 < a=2@2/3/2",
            ),
            (
                "an older pair",
                Breaks,
                "
            put a=1 -> 2
            * put a=2 -> 3
            put a=3 -> 4
            watch w a from 4 prev
            * w: a=3@2/4/3 < a=1@2/2/1",
            ),
            (
                "a pair before a creation",
                Breaks,
                "
            put a=1 -> 2
            + delete a -> 3
            put a=2 -> 4
            watch w a from 4 prev
            * w: a=2@4/4/1 < a=1@2/2/1",
            ),
            (
                "another value than was there",
                Breaks,
                "
            * put a=1 -> 2
            delete a -> 3
            watch w a from 3 prev
            * w: -a@3 < a=9@2/2/1",
            ),
        ],
    );
}
