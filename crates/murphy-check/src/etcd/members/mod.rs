//! Promise `members-agree`: what different members say of one revision is the same.
//!
//! Tables joined by revision: the events of acknowledgements, watches and reads; the dumps of the key
//! space at one revision; hashes at one revision and compact revision; the revisions of quiet members
//! at one applied index. Every difference is a contradiction of two facts.

mod contents;
mod copies;
mod rows;

use rustc_hash::FxHashMap;

use super::{
    linear::source_of,
    record::{Answer, Ask, Outcome, UNREAD},
    sighting::{Dump, Fact, dumps, each_sighting},
    store::View,
    sweep::{Fault, Sweep, Truth},
    timeline::op_of,
    trouble::Trouble,
    words::Words,
};
use crate::{
    intern::{Id, NONE, next_id},
    text::{counted, listed},
    verdict::MemberRow,
};

/// The promise's name.
pub(crate) const PROMISE: &str = "members-agree";

/// Off-truth pairs that are looked at closely; the first is the cause, the rest follow from it.
const CLOSELY: usize = 64;

/// What the tables say.
#[derive(Debug, Default)]
pub(crate) struct Agreement {
    /// The contradiction of the lowest revision.
    pub trouble: Option<Trouble>,
    /// From this revision on there is no one truth to compare with.
    pub parts_at: Option<i64>,
    /// What was compared between members, in words.
    pub basis: Vec<String>,
    /// Pairs that contradict the truth, in order of revision.
    pub stray: Vec<Id>,
}

/// Compares the members. The first `observed` pairs were shown by some member.
pub(crate) fn compare(
    words: &Words<'_>,
    truth: &Truth,
    sweep: &Sweep,
    observed: usize,
) -> Agreement {
    let mut agreement = Agreement {
        stray: stray_pairs(words, truth, sweep, observed),
        ..Agreement::default()
    };
    let mut found: Vec<Trouble> = Vec::new();
    let table = Table { words, truth };
    found.extend(table.contents(&table.told_of_state(&agreement.stray)));
    found.extend(table.twice(sweep));
    found.extend(table.dumps(&mut agreement.basis));
    agreement.parts_at = found.iter().map(|trouble| trouble.revision).min();
    table.watch_basis(&mut agreement.basis);
    found.extend(table.hashes(&mut agreement.basis));
    found.extend(table.quiet(&mut agreement.basis));
    // Contents say more than dumps, dumps more than hashes: the order above breaks ties.
    agreement.trouble = found.into_iter().min_by_key(|trouble| trouble.revision);
    if let Some(trouble) = &mut agreement.trouble {
        trouble.members = table.rows(trouble.revision);
    }
    agreement
}

/// Pairs that were shown and are not what the replay has.
fn stray_pairs(words: &Words<'_>, truth: &Truth, sweep: &Sweep, observed: usize) -> Vec<Id> {
    if sweep.begins_at.is_some() {
        return Vec::new();
    }
    let mut is_true = vec![false; observed];
    for id in truth
        .store
        .log
        .iter()
        .map(|id| *id as usize)
        .filter(|id| *id < observed)
    {
        is_true[id] = true;
    }
    let is_stray = |id: &Id| {
        if is_true[*id as usize] {
            return false;
        }
        let pair = words.pairs.get(*id);
        let rank = truth.order.rank(pair.key);
        if pair.mod_revision <= words.record.past.floor {
            return false;
        }
        if pair.mod_revision >= truth.store.certain_before(rank)
            || sweep.open.binary_search(&pair.mod_revision).is_ok()
        {
            return false;
        }
        let last = truth.store.last_write(words.pairs, rank, pair.mod_revision);
        let is_contested = truth
            .store
            .is_contested((rank, rank + 1), pair.mod_revision);
        let ours = (last != NONE).then(|| words.pairs.get(last).unnumbered());
        if is_contested && ours.is_some_and(|ours| ours.agrees(&pair.unnumbered())) {
            return false;
        }
        !(pair.value == UNREAD && last != NONE && words.pairs.get(last).agrees(&pair))
    };
    let mut stray: Vec<Id> = (0..next_id(observed)).filter(is_stray).collect();
    stray.sort_by_key(|id| words.pairs.get(*id).mod_revision);
    stray
}

struct Table<'a> {
    words: &'a Words<'a>,
    truth: &'a Truth,
}
