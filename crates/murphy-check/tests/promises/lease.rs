//! The promise about leases, and what leases mean for the others.

use super::{Says::*, cases};

#[test]
fn expiry() {
    cases(
        "lease.expiry",
        &[
            (
                "keys go when the time is over",
                Holds,
                "
            grant 7 for 1 -> 1
            put a=1 lease 7 -> 2
            put b=1 lease 7 -> 3
            watch w every from 2
            w: a=1@2/2/1~7, b=1@3/3/1~7
            wait 1500
            w: -a@4, -b@4
            put c=1 -> 5",
            ),
            (
                "a keep-alive makes it last",
                Holds,
                "
            grant 7 for 1 -> 1
            put a=1 lease 7 -> 2
            wait 800
            keep 7 -> 1
            wait 900
            get a -> 2: a=1@2/2/1~7
            wait 500
            watch w every from 2
            w: a=1@2/2/1~7, -a@3",
            ),
            (
                "a key put anew without the lease stays",
                Holds,
                "
            grant 7 for 1 -> 1
            put a=1 lease 7 -> 2
            put b=1 lease 7 -> 3
            put a=2 -> 4
            wait 1500
            watch w every from 2
            w: a=1@2/2/1~7, b=1@3/3/1~7, a=2@2/4/2, -b@5
            get a -> 5: a=2@2/4/2",
            ),
            (
                "a lease that is gone, and its keys",
                Holds,
                "
            grant 7 for 1 -> 1
            put a=1 lease 7 -> 2
            wait 1500
            keep 7 -> 0
            get a -> 3:",
            ),
            (
                "the same id is granted anew, for longer",
                Holds,
                "
            grant 7 for 1 -> 1
            put a=1 lease 7 -> 2
            wait 1500
            grant 7 for 60 -> 3
            put b=1 lease 7 -> 4
            watch w every from 2
            w: a=1@2/2/1~7, -a@3, b=1@4/4/1~7
            put c=1 -> 5",
            ),
            (
                "keys go before the time is over",
                Breaks,
                "
            * grant 7 for 5 -> 1
            + put a=1 lease 7 -> 2
            wait 1500
            watch w every from 2
            * w: a=1@2/2/1~7, -a@3
            put b=1 -> 4",
            ),
            (
                "keys go although the lease was kept alive",
                Breaks,
                "
            grant 7 for 1 -> 1
            + put a=1 lease 7 -> 2
            wait 800
            * keep 7 -> 1
            wait 500
            watch w every from 2
            * w: a=1@2/2/1~7, -a@3
            put b=1 -> 4",
            ),
            (
                "keys go by halves",
                Breaks,
                "
            grant 7 for 1 -> 1
            * put a=1 lease 7 -> 2
            * put b=1 lease 7 -> 3
            wait 1500
            watch w every from 2
            w: a=1@2/2/1~7, b=1@3/3/1~7
            * w: -a@4
            * w: -b@5
            put c=1 -> 6",
            ),
            (
                "a lease is gone before its time",
                Breaks,
                "
            * grant 7 for 9 -> 1
            wait 1000
            * ttl 7 -> -1",
            ),
            (
                "a key outlives its lease",
                Breaks,
                "
            grant 7 for 1 -> 1
            put a=1 lease 7 -> 2
            wait 2000
            * keep 7 -> 0
            * get a -> 2: a=1@2/2/1~7",
            ),
            (
                "no lease ended",
                Undecided,
                "
            grant 7 for 9 -> 1
            put a=1 lease 7 -> 2",
            ),
        ],
    );
}

#[test]
fn leases_and_the_order_of_operations() {
    cases(
        "linearizable",
        &[
            (
                "a revocation deletes all keys in one revision",
                Holds,
                "
            grant 7 for 9 -> 1
            put a=1 lease 7 -> 2
            put b=1 lease 7 -> 3
            revoke 7 -> 4
            get a -> 4:
            get b -> 4:",
            ),
            (
                "a revocation without keys has no revision",
                Holds,
                "
            grant 7 for 9 -> 1
            put a=1 -> 2
            revoke 7 -> 2
            put b=1 -> 3",
            ),
            (
                "an expiry fills a revision that nobody asked for",
                Holds,
                "
            grant 7 for 1 -> 1
            put a=1 lease 7 -> 2
            wait 2000
            put b=1 -> 4
            get a -> 4:",
            ),
            (
                "a revocation of unknown outcome",
                Holds,
                "
            grant 7 for 99 -> 1
            put a=1 lease 7 -> 2
            revoke 7 ?
            put b=1 -> 4
            get a -> 4:",
            ),
            (
                "a lease granted anew",
                Holds,
                "
            grant 7 for 9 -> 1
            revoke 7 -> 1
            grant 7 for 9 -> 1
            put a=1 lease 7 -> 2
            revoke 7 -> 3
            get a -> 3:",
            ),
            (
                "a key survives the revocation",
                Breaks,
                "
            grant 7 for 9 -> 1
            put a=1 lease 7 -> 2
            + revoke 7 -> 3
            put b=1 -> 4
            * get a -> 4: a=1@2/2/1~7",
            ),
            (
                "a revocation forgets a key",
                Breaks,
                "
            grant 7 for 9 -> 1
            + put a=1 lease 7 -> 2
            * revoke 7 -> 2",
            ),
            (
                "a key without a lease goes",
                Breaks,
                "
            grant 7 for 1 -> 1
            + put a=1 -> 2
            put b=1 lease 7 -> 3
            wait 2000
            * get a -> 4:",
            ),
        ],
    );
}
