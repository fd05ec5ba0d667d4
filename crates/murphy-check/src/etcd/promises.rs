//! The names of the promises of model `etcd`.

use super::{
    durable,
    kubernetes::CLAUSES,
    linear, members,
    watches::{RULES, Rule},
};

pub(crate) const SERIALIZABLE_READS: &str = "serializable-reads";
pub(crate) const LEASE_EXPIRY: &str = "lease.expiry";

const FIRST: [&str; 4] = [
    linear::PROMISE,
    durable::PROMISE,
    members::PROMISE,
    SERIALIZABLE_READS,
];

const COUNT: usize = FIRST.len() + RULES.len() + 1 + CLAUSES.len();

/// The promises of model `etcd`, in the order in which they are judged.
pub const PROMISES: [&str; COUNT] = names();

const fn names() -> [&'static str; COUNT] {
    let mut names = [LEASE_EXPIRY; COUNT];
    let mut at = 0;
    while at < FIRST.len() {
        names[at] = FIRST[at];
        at += 1;
    }
    at = 0;
    while at < RULES.len() {
        names[FIRST.len() + at] = RULES[at].name();
        at += 1;
    }
    at = 0;
    while at < CLAUSES.len() {
        names[FIRST.len() + RULES.len() + 1 + at] = CLAUSES[at].name();
        at += 1;
    }
    names
}

/// Whether the promise is judged on every history, also on one that says nothing of it.
pub(crate) fn is_always_judged(promise: &str) -> bool {
    FIRST.contains(&promise)
        || [Rule::Ordered, Rule::Unique, Rule::Reliable]
            .iter()
            .any(|rule| rule.name() == promise)
}
