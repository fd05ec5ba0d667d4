//! Which promises a mutation can break; the judge blames no other.

use murphy_check::etcd::generate::mutation::Mutation;

/// The promises that rest on the answers having the revisions of what they tell of.
const ORDER: [&str; 17] = [
    "linearizable",
    "durable",
    "members-agree",
    "serializable-reads",
    "watch.bookmarkable",
    "watch.resumable",
    "watch.is-create",
    "watch.reliable",
    "watch.prev-kv",
    "watch.live",
    // Which put attached a key to a lease.
    "lease.expiry",
    "kubernetes.strict-serializability",
    "kubernetes.optimistic-write",
    "kubernetes.exact-revision",
    "kubernetes.paged-list",
    "kubernetes.watch-reliable",
    "kubernetes.watch-event",
];

/// The promises that a history of this class can break.
pub fn breakable(mutation: Mutation) -> &'static [&'static str] {
    match mutation {
        // What follows in the stream shows that the event was skipped: an event, or a bookmark.
        Mutation::DroppedEvent => &["watch.reliable", "watch.bookmarkable", "watch.resumable"],
        Mutation::SwappedRevisions => &ORDER,
        Mutation::StaleRead => &[
            "linearizable",
            "kubernetes.strict-serializability",
            // The older revision beside the newer object.
            "kubernetes.resource-version",
        ],
        // Missing in the last serializable reads and in every watch.
        Mutation::LostAcknowledgedWrite => &[
            "durable",
            "serializable-reads",
            "watch.reliable",
            "watch.bookmarkable",
            "watch.resumable",
            "watch.live",
            "kubernetes.watch-reliable",
            "kubernetes.list-watch",
            "kubernetes.bookmark",
        ],
        Mutation::DuplicatedEvent => &["watch.unique", "kubernetes.watch-order"],
        Mutation::SplitTransaction => &["watch.atomic", "kubernetes.watch-order"],
        Mutation::EarlyBookmark => &["watch.bookmarkable", "kubernetes.bookmark"],
        // The other members have no such event in that revision.
        Mutation::ForeignEvent => &["watch.filter", "kubernetes.watch-prefix", "members-agree"],
        Mutation::WrongPrevKv => &[
            "watch.prev-kv",
            "kubernetes.watch-event",
            "kubernetes.resource-version",
        ],
        Mutation::WrongCreateFlag => &["watch.is-create", "kubernetes.watch-event"],
        // What it delivers comes behind much that it does not, and may be half of its revision.
        Mutation::ResumedAfterCompaction => {
            &["watch.cancel-reason", "watch.resumable", "watch.reliable"]
        }
        // Its start may be one that was compacted since.
        Mutation::FutureEvent => &["watch.future", "watch.cancel-reason"],
        Mutation::EarlyExpiry => &["lease.expiry"],
        Mutation::SilentWatch => &["watch.live"],
        Mutation::DroppedBookmarks => &["watch.progress"],
    }
}
