//! The clauses of the contract between Kubernetes and its store.

use super::{Says::*, cases};

#[test]
fn strict_serializability() {
    cases(
        "kubernetes.strict-serializability",
        &[
            (
                "a read sees what was written before it was asked",
                Holds,
                "
            put /registry/pods/a=1 -> 2
            get /registry/pods/a -> 2: /registry/pods/a=1@2/2/1",
            ),
            (
                "types are ordered by themselves",
                Holds,
                "
            put /registry/pods/a=1 -> 2
            put /registry/nodes/a=1 -> 3
            get under /registry/pods/ -> 3: /registry/pods/a=1@2/2/1",
            ),
            (
                "a stale read",
                Breaks,
                "
            put /registry/pods/a=1 -> 2
            * put /registry/pods/a=2 -> 3
            * get /registry/pods/a -> 2: /registry/pods/a=1@2/2/1",
            ),
            (
                "a later write with an earlier revision",
                Breaks,
                "
            * put /registry/pods/a=1 -> 3
            * put /registry/pods/b=1 -> 2",
            ),
            (
                "a list without an object",
                Breaks,
                "
            * put /registry/pods/a=1 -> 2
            * get under /registry/pods/ -> 2:",
            ),
            (
                "two types, each in order, are no violation",
                Undecided,
                "
            get a -> 1",
            ),
        ],
    );
}

#[test]
fn resource_version() {
    cases(
        "kubernetes.resource-version",
        &[
            (
                "versions rise with changes",
                Holds,
                "
            put /registry/pods/a=1 -> 2
            get /registry/pods/a -> 2: /registry/pods/a=1@2/2/1
            put /registry/pods/a=2 -> 3
            get /registry/pods/a -> 3: /registry/pods/a=2@2/3/2",
            ),
            (
                "a new life begins anew",
                Holds,
                "
            put /registry/pods/a=1 -> 2
            get /registry/pods/a -> 2: /registry/pods/a=1@2/2/1
            delete /registry/pods/a -> 3
            put /registry/pods/a=2 -> 4
            get /registry/pods/a -> 4: /registry/pods/a=2@4/4/1",
            ),
            (
                "one version, two contents",
                Breaks,
                "
            put /registry/pods/a=1 -> 2
            * get /registry/pods/a -> 2: /registry/pods/a=1@2/2/1
            * get /registry/pods/a on n1 -> 2: /registry/pods/a=2@2/2/1",
            ),
            (
                "a change that does not count",
                Breaks,
                "
            put /registry/pods/a=1 -> 2
            * get /registry/pods/a -> 2: /registry/pods/a=1@2/2/1
            put /registry/pods/a=2 -> 3
            * get /registry/pods/a -> 3: /registry/pods/a=2@2/3/1",
            ),
            (
                "an object newer than its list",
                Breaks,
                "
            put /registry/pods/a=1 -> 2
            put /registry/pods/a=2 -> 3
            * get under /registry/pods/ stale -> 2: /registry/pods/a=2@2/3/2",
            ),
        ],
    );
}

#[test]
fn optimistic_write() {
    cases(
        "kubernetes.optimistic-write",
        &[
            (
                "the second of two writers is refused",
                Holds,
                "
            swap /registry/pods/a 0 = 1 -> 2
            swap /registry/pods/a 2 = 2 -> 3
            swap /registry/pods/a 2 = 3 -> 3 no: /registry/pods/a=2@2/3/2",
            ),
            (
                "deleted once",
                Holds,
                "
            swap /registry/pods/a 0 = 1 -> 2
            drop /registry/pods/a 2 -> 3
            drop /registry/pods/a 2 -> 3 no:",
            ),
            (
                "a lost update",
                Breaks,
                "
            swap /registry/pods/a 0 = 1 -> 2
            * swap /registry/pods/a 2 = 2 -> 3
            * swap /registry/pods/a 2 = 3 -> 4",
            ),
            (
                "an object created twice",
                Breaks,
                "
            * swap /registry/pods/a 0 = 1 -> 2
            * swap /registry/pods/a 0 = 2 -> 3",
            ),
            (
                "a deletion of what had changed",
                Breaks,
                "
            put /registry/pods/a=1 -> 2
            * put /registry/pods/a=2 -> 3
            * drop /registry/pods/a 2 -> 4",
            ),
            (
                "refused without a reason",
                Breaks,
                "
            + put /registry/pods/a=1 -> 2
            * swap /registry/pods/a 2 = 2 -> 2 no: /registry/pods/a=1@2/2/1",
            ),
        ],
    );
}

#[test]
fn exact_revision() {
    cases(
        "kubernetes.exact-revision",
        &[
            (
                "an old state",
                Holds,
                "
            put /registry/pods/a=1 -> 2
            put /registry/pods/a=2 -> 3
            get /registry/pods/a at 2 -> 3: /registry/pods/a=1@2/2/1",
            ),
            (
                "a state before the object",
                Holds,
                "
            put /registry/pods/a=1 -> 2
            put /registry/pods/b=1 -> 3
            get under /registry/pods/ at 2 -> 3: /registry/pods/a=1@2/2/1",
            ),
            (
                "the newest state instead of the old one",
                Breaks,
                "
            put /registry/pods/a=1 -> 2
            + put /registry/pods/a=2 -> 3
            put /registry/pods/a=3 -> 4
            * get /registry/pods/a at 3 -> 4: /registry/pods/a=3@2/4/3",
            ),
            (
                "an older state",
                Breaks,
                "
            put /registry/pods/a=1 -> 2
            * put /registry/pods/a=2 -> 3
            * get /registry/pods/a at 3 -> 3: /registry/pods/a=1@2/2/1",
            ),
            (
                "an object is missing",
                Breaks,
                "
            * put /registry/pods/a=1 -> 2
            put /registry/pods/b=1 -> 3
            * get under /registry/pods/ at 2 -> 3:",
            ),
        ],
    );
}

#[test]
fn paged_list() {
    cases(
        "kubernetes.paged-list",
        &[
            (
                "two pages of one revision, with a write between",
                Holds,
                "
            put /registry/pods/a=1 -> 2
            put /registry/pods/b=1 -> 3
            get under /registry/pods/ limit 1 -> 3 of 2: /registry/pods/a=1@2/2/1
            put /registry/pods/c=1 -> 4
            get behind /registry/pods/a at 3 limit 1 -> 4: /registry/pods/b=1@3/3/1",
            ),
            (
                "a whole list in one page",
                Holds,
                "
            put /registry/pods/a=1 -> 2
            get under /registry/pods/ limit 5 -> 2: /registry/pods/a=1@2/2/1",
            ),
            (
                "the second page shows a later state",
                Breaks,
                "
            put /registry/pods/a=1 -> 2
            + put /registry/pods/b=1 -> 3
            get under /registry/pods/ limit 1 -> 3 of 2: /registry/pods/a=1@2/2/1
            put /registry/pods/b=2 -> 4
            * get behind /registry/pods/a at 3 limit 1 -> 4: /registry/pods/b=2@3/4/2",
            ),
            (
                "the second page leaves an object out",
                Breaks,
                "
            put /registry/pods/a=1 -> 2
            + put /registry/pods/b=1 -> 3
            put /registry/pods/c=1 -> 4
            get under /registry/pods/ limit 1 -> 4 of 3: /registry/pods/a=1@2/2/1
            * get behind /registry/pods/a at 4 limit 5 -> 4: /registry/pods/c=1@4/4/1",
            ),
            (
                "the second page shows what was deleted",
                Breaks,
                "
            put /registry/pods/a=1 -> 2
            put /registry/pods/b=1 -> 3
            + delete /registry/pods/b -> 4
            put /registry/pods/c=1 -> 5
            get under /registry/pods/ limit 1 -> 5 of 2: /registry/pods/a=1@2/2/1
            * get behind /registry/pods/a at 5 limit 1 -> 5 of 2: /registry/pods/b=1@3/3/1",
            ),
        ],
    );
}

#[test]
fn list_watch() {
    cases(
        "kubernetes.list-watch",
        &[
            (
                "the watch goes on where the list ended",
                Holds,
                "
            put /registry/pods/a=1 -> 2
            get under /registry/pods/ -> 2: /registry/pods/a=1@2/2/1
            put /registry/pods/b=1 -> 3
            watch w under /registry/pods/ from 3
            w: /registry/pods/b=1@3/3/1",
            ),
            (
                "a list of an old revision as well",
                Holds,
                "
            put /registry/pods/a=1 -> 2
            put /registry/pods/b=1 -> 3
            get under /registry/pods/ at 2 -> 3: /registry/pods/a=1@2/2/1
            watch w under /registry/pods/ from 3
            w: /registry/pods/b=1@3/3/1",
            ),
            (
                "a change between list and watch is lost",
                Breaks,
                "
            put /registry/pods/a=1 -> 2
            get under /registry/pods/ -> 2: /registry/pods/a=1@2/2/1
            + put /registry/pods/b=1 -> 3
            put /registry/pods/c=1 -> 4
            + watch w under /registry/pods/ from 3
            * w: /registry/pods/c=1@4/4/1",
            ),
            (
                "a change is lost later on",
                Breaks,
                "
            get under /registry/pods/ -> 1:
            + watch w under /registry/pods/ from 2
            put /registry/pods/a=1 -> 2
            w: /registry/pods/a=1@2/2/1
            + put /registry/pods/b=1 -> 3
            put /registry/pods/c=1 -> 4
            * w: /registry/pods/c=1@4/4/1",
            ),
            (
                "on a member that lags the watch begins before the list (issue 20221)",
                Breaks,
                "
            put /registry/pods/a=1 -> 2
            put /registry/pods/b=1 -> 3
            get under /registry/pods/ -> 3: /registry/pods/a=1@2/2/1, /registry/pods/b=1@3/3/1
            + watch w under /registry/pods/ from 4 on n1 created 2
            * w: /registry/pods/b=1@3/3/1",
            ),
        ],
    );
}

#[test]
fn watch_prefix() {
    cases(
        "kubernetes.watch-prefix",
        &[
            (
                "objects of the type",
                Holds,
                "
            put /registry/pods/a=1 -> 2
            watch w under /registry/pods/ from 2
            w: /registry/pods/a=1@2/2/1",
            ),
            (
                "objects of a namespace",
                Holds,
                "
            put /registry/pods/x/a=1 -> 2
            put /registry/pods/y/a=1 -> 3
            watch w under /registry/pods/y/ from 2
            w: /registry/pods/y/a=1@3/3/1",
            ),
            (
                "an object of another type",
                Breaks,
                "
            put /registry/nodes/a=1 -> 2
            put /registry/pods/a=1 -> 3
            + watch w under /registry/pods/ from 2
            * w: /registry/nodes/a=1@2/2/1
            w: /registry/pods/a=1@3/3/1",
            ),
            (
                "an object of another namespace",
                Breaks,
                "
            put /registry/pods/x/a=1 -> 2
            put /registry/pods/y/a=1 -> 3
            + watch w under /registry/pods/y/ from 2
            * w: /registry/pods/x/a=1@2/2/1
            w: /registry/pods/y/a=1@3/3/1",
            ),
            (
                "another object than the one watched",
                Breaks,
                "
            put /registry/pods/a=1 -> 2
            put /registry/pods/ab=1 -> 3
            + watch w /registry/pods/a from 2
            w: /registry/pods/a=1@2/2/1
            * w: /registry/pods/ab=1@3/3/1",
            ),
        ],
    );
}

#[test]
fn watch_order() {
    cases(
        "kubernetes.watch-order",
        &[
            (
                "resource versions rise",
                Holds,
                "
            put /registry/pods/a=1 -> 2
            put /registry/pods/a=2 -> 3
            watch w under /registry/pods/ from 2
            w: /registry/pods/a=1@2/2/1
            w: /registry/pods/a=2@2/3/2",
            ),
            (
                "with gaps for other types",
                Holds,
                "
            put /registry/pods/a=1 -> 2
            put /registry/nodes/a=1 -> 3
            put /registry/pods/a=2 -> 4
            watch w under /registry/pods/ from 2
            w: /registry/pods/a=1@2/2/1
            w: /registry/pods/a=2@2/4/2",
            ),
            (
                "a resource version goes back",
                Breaks,
                "
            put /registry/pods/a=1 -> 2
            put /registry/pods/a=2 -> 3
            watch w under /registry/pods/ from 2
            * w: /registry/pods/a=2@2/3/2
            * w: /registry/pods/a=1@2/2/1",
            ),
            (
                "a resource version comes twice",
                Breaks,
                "
            put /registry/pods/a=1 -> 2
            watch w under /registry/pods/ from 2
            * w: /registry/pods/a=1@2/2/1
            * w: /registry/pods/a=1@2/2/1",
            ),
            (
                "a transaction comes in parts",
                Breaks,
                "
            pair /registry/pods/a=1 /registry/pods/b=1 -> 2
            watch w under /registry/pods/ from 2
            * w: /registry/pods/a=1@2/2/1
            * w: /registry/pods/b=1@2/2/1",
            ),
        ],
    );
}

#[test]
fn watch_reliable() {
    cases(
        "kubernetes.watch-reliable",
        &[
            (
                "every change of the type",
                Holds,
                "
            put /registry/pods/a=1 -> 2
            delete /registry/pods/a -> 3
            watch w under /registry/pods/ from 2
            w: /registry/pods/a=1@2/2/1
            w: -/registry/pods/a@3",
            ),
            (
                "resumed behind the last event",
                Holds,
                "
            put /registry/pods/a=1 -> 2
            watch w under /registry/pods/ from 2
            w: /registry/pods/a=1@2/2/1
            w breaks
            put /registry/pods/b=1 -> 3
            watch v under /registry/pods/ from 3
            v: /registry/pods/b=1@3/3/1",
            ),
            (
                "a deletion is lost",
                Breaks,
                "
            put /registry/pods/a=1 -> 2
            + delete /registry/pods/a -> 3
            put /registry/pods/b=1 -> 4
            + watch w under /registry/pods/ from 2
            w: /registry/pods/a=1@2/2/1
            * w: /registry/pods/b=1@4/4/1",
            ),
            (
                "a resumed watch leaves out the deletion at the compact revision",
                Breaks,
                "
            put /registry/pods/a=1 -> 2
            + delete /registry/pods/a -> 3
            compact 3 -> 3
            put /registry/pods/b=1 -> 4
            + watch w under /registry/pods/ from 3
            * w: /registry/pods/b=1@4/4/1",
            ),
            (
                "another content than was written",
                Breaks,
                "
            * put /registry/pods/a=1 -> 2
            watch w under /registry/pods/ from 2
            * w: /registry/pods/a=9@2/2/1",
            ),
        ],
    );
}

#[test]
fn watch_event() {
    cases(
        "kubernetes.watch-event",
        &[
            (
                "added, modified, deleted",
                Holds,
                "
            put /registry/pods/a=1 -> 2
            put /registry/pods/a=2 -> 3
            delete /registry/pods/a -> 4
            watch w under /registry/pods/ from 2 prev
            w: /registry/pods/a=1@2/2/1
            w: /registry/pods/a=2@2/3/2 < /registry/pods/a=1@2/2/1
            w: -/registry/pods/a@4 < /registry/pods/a=2@2/3/2",
            ),
            (
                "added again",
                Holds,
                "
            put /registry/pods/a=1 -> 2
            delete /registry/pods/a -> 3
            put /registry/pods/a=2 -> 4
            watch w under /registry/pods/ from 4 prev
            w: /registry/pods/a=2@4/4/1",
            ),
            (
                "a change told as added",
                Breaks,
                "
            * put /registry/pods/a=1 -> 2
            put /registry/pods/a=2 -> 3
            watch w under /registry/pods/ from 3
            * w: /registry/pods/a=2@3/3/1",
            ),
            (
                "the deleted object is not the last one",
                Breaks,
                "
            put /registry/pods/a=1 -> 2
            * put /registry/pods/a=2 -> 3
            delete /registry/pods/a -> 4
            watch w under /registry/pods/ from 4 prev
            * w: -/registry/pods/a@4 < /registry/pods/a=1@2/2/1",
            ),
            (
                "the object before the change is not the last one",
                Breaks,
                "
            put /registry/pods/a=1 -> 2
            * put /registry/pods/a=2 -> 3
            put /registry/pods/a=3 -> 4
            watch w under /registry/pods/ from 4 prev
            * w: /registry/pods/a=3@2/4/3 < /registry/pods/a=1@2/2/1",
            ),
        ],
    );
}

#[test]
fn bookmark() {
    cases(
        "kubernetes.bookmark",
        &[
            (
                "behind what it speaks of",
                Holds,
                "
            put /registry/pods/a=1 -> 2
            watch w under /registry/pods/ from 2
            w: /registry/pods/a=1@2/2/1
            w bookmark 2",
            ),
            (
                "of revisions of other types",
                Holds,
                "
            put /registry/pods/a=1 -> 2
            put /registry/nodes/a=1 -> 3
            watch w under /registry/pods/ from 2
            w: /registry/pods/a=1@2/2/1
            w bookmark 3",
            ),
            (
                "it overtakes an event",
                Breaks,
                "
            put /registry/pods/a=1 -> 2
            watch w under /registry/pods/ from 2
            * w bookmark 2
            + w: /registry/pods/a=1@2/2/1",
            ),
            (
                "it vouches for an event that never comes",
                Breaks,
                "
            + put /registry/pods/a=1 -> 2
            + watch w under /registry/pods/ from 2
            * w bookmark 2",
            ),
            (
                "it goes back",
                Breaks,
                "
            put /registry/pods/a=1 -> 2
            put /registry/pods/a=2 -> 3
            watch w under /registry/pods/ from 2
            w: /registry/pods/a=1@2/2/1
            * w: /registry/pods/a=2@2/3/2
            * w bookmark 2",
            ),
        ],
    );
}

#[test]
fn compaction() {
    cases(
        "kubernetes.compaction",
        &[
            (
                "a watch of what is gone is told so",
                Holds,
                "
            put /registry/pods/a=1 -> 2
            put /registry/pods/a=2 -> 3
            compact 3 -> 3
            watch w under /registry/pods/ from 2
            w cancelled 3",
            ),
            (
                "from the compact revision on everything is there",
                Holds,
                "
            put /registry/pods/a=1 -> 2
            put /registry/pods/a=2 -> 3
            compact 3 -> 3
            get /registry/pods/a at 3 -> 3: /registry/pods/a=2@2/3/2
            watch w under /registry/pods/ from 2
            w cancelled 3",
            ),
            (
                "a watch of what is gone begins later without a word",
                Breaks,
                "
            put /registry/pods/a=1 -> 2
            put /registry/pods/a=2 -> 3
            * compact 3 -> 3
            + watch w under /registry/pods/ from 2
            * w: /registry/pods/a=2@2/3/2",
            ),
            (
                "a read of what is gone",
                Breaks,
                "
            put /registry/pods/a=1 -> 2
            put /registry/pods/a=2 -> 3
            * compact 3 -> 3
            * get /registry/pods/a at 2 -> 3: /registry/pods/a=1@2/2/1",
            ),
            (
                "told with an older compact revision",
                Breaks,
                "
            put /registry/pods/a=1 -> 2
            put /registry/pods/a=2 -> 3
            put /registry/pods/a=3 -> 4
            * compact 4 -> 4
            + watch w under /registry/pods/ from 2
            * w cancelled 3",
            ),
        ],
    );
}
