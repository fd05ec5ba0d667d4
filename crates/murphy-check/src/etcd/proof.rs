//! A proof is what a witness shows: facts that the second checker finds to contradict each other, and none of which
//! it could do without.
//!
//! What a checker finds names the fact that is wrong and often what it is wrong about, but not always all that it
//! takes: a version that is one too high is wrong only beside the writes before it, and a key that is missing only
//! where no write of unknown outcome can have deleted it. Facts about the same keys are added until the second
//! checker agrees, and then left out again one by one while it still does.

use rustc_hash::{FxHashMap, FxHashSet};

use super::{
    confirm::{Asked, confirms, confirms_of, each_deed, named_keys},
    record::{Answer, Ask, GONE, Record, Span},
    sighting::{Fact, each_sighting},
    words::Words,
};
use crate::intern::{Id, NONE, next_id};

/// Most facts of one kind about a key that are looked at, the nearest to the contradiction.
const NEAREST: usize = 96;
/// Most keys of an answer that are tried.
const KEYS: usize = 64;

/// The facts of a trouble with what else is needed.
pub(crate) struct Proof {
    /// With whether they clash or set the scene.
    pub facts: Vec<(Fact, bool)>,
    /// Whether the second checker finds the contradiction.
    pub is_confirmed: bool,
}

/// Completes and thins out the facts of a trouble.
pub(crate) fn prove(asked: &Asked<'_>, facts: &[(Fact, bool)]) -> Proof {
    let mut facts = facts.to_vec();
    facts.dedup();
    let mut is_confirmed = confirms(asked, &plain(&facts));
    if !is_confirmed {
        let prover = Prover { asked };
        if let Some(added) = prover.complete(&facts) {
            facts.extend(added.into_iter().map(|fact| (fact, true)));
            is_confirmed = true;
        }
    }
    if is_confirmed {
        thin_out(asked, &mut facts);
    }
    Proof {
        facts,
        is_confirmed,
    }
}

fn plain(facts: &[(Fact, bool)]) -> Vec<Fact> {
    facts.iter().map(|(fact, _)| *fact).collect()
}

/// What is not needed sets the scene: the contradiction is there without it.
fn thin_out(asked: &Asked<'_>, facts: &mut [(Fact, bool)]) {
    // The scene alone must never clash, so that what is told off to it is out of the proof.
    let mut needed: Vec<Fact> = facts
        .iter()
        .filter(|(_, clashes)| *clashes)
        .map(|(fact, _)| *fact)
        .collect();
    let scene: Vec<Fact> = facts
        .iter()
        .filter(|(_, clashes)| !*clashes)
        .map(|(fact, _)| *fact)
        .collect();
    let holds = |needed: &[Fact]| confirms(asked, &[needed, &scene].concat());
    // What was needed beside one fact may be needless beside another: again, until all are needed.
    let mut before = usize::MAX;
    while needed.len() < before && needed.len() > 1 {
        before = needed.len();
        for place in (0..needed.len()).rev() {
            let mut without = needed.clone();
            without.remove(place);
            if !without.is_empty() && holds(&without) {
                needed = without;
            }
        }
    }
    for (fact, clashes) in facts {
        *clashes = needed.contains(fact);
    }
}

struct Prover<'a> {
    asked: &'a Asked<'a>,
}

impl Prover<'_> {
    fn record(&self) -> &Record {
        self.words().record
    }

    fn words(&self) -> &Words<'_> {
        self.asked.words()
    }

    /// The facts that are to be added for the second checker to agree.
    fn complete(&self, facts: &[(Fact, bool)]) -> Option<Vec<Fact>> {
        let own = plain(facts);
        let keys = self.keys(&own);
        for key in keys.iter().take(KEYS) {
            let added = self.needed(&own, &[*key]);
            if added.is_some() {
                return added;
            }
        }
        let is_few = 1 < keys.len() && keys.len() <= KEYS;
        is_few.then(|| self.needed(&own, &keys))?
    }

    /// Those facts about `keys` without which the second checker would not agree.
    fn needed(&self, own: &[Fact], keys: &[Id]) -> Option<Vec<Fact>> {
        let pool = self.about(keys, own);
        let clash = |facts: &[Fact]| confirms_of(self.asked, facts, keys);
        let with = |pool: &[Fact]| clash(&[own, pool].concat());
        if !with(&pool) {
            return None;
        }
        // What clashes without the facts at hand is another story.
        let pool = if clash(&pool) {
            let writes = |fact: &&Fact| matches!(fact, Fact::Op(_));
            let mut first_writes: Vec<Fact> = pool.iter().filter(writes).copied().collect();
            first_writes.extend(pool.iter().filter(|fact| !writes(fact)));
            let mut newest_first = pool.clone();
            newest_first.reverse();
            let orders = [first_writes, newest_first, pool];
            let mut calm = orders.into_iter().map(|facts| peaceful(facts, &clash));
            calm.find(|facts| with(facts))?
        } else {
            pool
        };
        Some(without_needless(pool, &with))
    }

    /// The keys that the facts speak of, those of lists last.
    fn keys(&self, facts: &[Fact]) -> Vec<Id> {
        let record = self.record();
        let mut keys = named_keys(self.words(), facts);
        for fact in facts {
            let Fact::Op(id) = fact else { continue };
            let op = self.asked.op(*id);
            let mut spans = Vec::new();
            spans_of(record, record.ask(op), record.answer(op), &mut spans);
            for key in 0..next_id(record.keys.len()) {
                if keys.len() > KEYS {
                    break;
                }
                if !keys.contains(&key) && spans.iter().any(|span| record.contains(*span, key)) {
                    keys.push(key);
                }
            }
        }
        keys
    }

    /// What the history says of the keys up to the newest revision of `facts`, and of the writes that may have
    /// changed them unseen.
    fn about(&self, keys: &[Id], facts: &[Fact]) -> Vec<Fact> {
        let record = self.record();
        let newest = facts.iter().map(|fact| self.revision(*fact)).max();
        let newest = newest.unwrap_or(i64::MAX);
        let mut writes: Vec<(i64, Fact)> = Vec::new();
        let mut unseen: Vec<Id> = Vec::new();
        for (id, op) in record.ops.iter().enumerate() {
            let mut touches = false;
            for key in keys {
                each_deed(record, record.ask(op), *key, &mut |_| touches = true);
            }
            let wrote = record.answer(op).is_some_and(|a| record.wrote(a));
            if touches && wrote && op.revision <= newest {
                writes.push((op.revision, Fact::Op(next_id(id))));
            } else if touches && self.asked.unseen().binary_search(&next_id(id)).is_ok() {
                unseen.push(next_id(id));
            }
        }
        let mut pool = nearest(writes);
        let mut shown: Vec<(i64, Fact)> = Vec::new();
        let mut elsewhere: Vec<(i64, Fact)> = Vec::new();
        let mut known: FxHashSet<Id> = FxHashSet::default();
        let mut unowned: FxHashMap<i64, Fact> = FxHashMap::default();
        each_sighting(record, &mut |id, fact, _| {
            let pair = self.words().pairs.get(id);
            let revision = pair.mod_revision;
            if revision > newest && pair.value == GONE {
                return;
            }
            let is_event = matches!(fact, Fact::Event(..));
            if !self.asked.is_owned(revision) && (is_event || !unowned.contains_key(&revision)) {
                unowned.insert(revision, fact);
            }
            if keys.contains(&pair.key) && revision <= newest && known.insert(id) {
                shown.push((revision, fact));
            }
        });
        pool.extend(nearest(shown));
        elsewhere.extend(unowned);
        elsewhere.sort_unstable_by_key(|(revision, _)| *revision);
        pool.extend(nearest(elsewhere));
        for id in unseen.into_iter().take(NEAREST) {
            pool.extend(self.before(id));
        }
        let mut met: Vec<Fact> = facts.to_vec();
        pool.retain(|fact| {
            let is_new = !met.contains(fact);
            met.push(*fact);
            is_new
        });
        pool
    }

    /// The answer of the greatest revision among those from before `id` was asked.
    fn before(&self, id: Id) -> Option<Fact> {
        let record = self.record();
        let call = self.asked.op(id).call;
        let ops = record.ops.iter().enumerate().filter(|(_, op)| {
            op.end < call && record.answer(op).is_some() && Record::is_ordered(record.ask(op))
        });
        let (last, _) = ops.max_by_key(|(_, op)| op.revision)?;
        Some(Fact::Op(next_id(last)))
    }

    fn revision(&self, fact: Fact) -> i64 {
        let record = self.record();
        match fact {
            Fact::Op(id) | Fact::Shown(id, _) => self.asked.op(id).revision,
            Fact::Event(stream, event) | Fact::Prev(stream, event) => {
                let pair = record.streams[stream].events[event];
                self.words().pairs.get(pair).mod_revision
            }
            Fact::Progress(stream, index) => record.streams[stream].progress[index].revision,
            _ => 0,
        }
    }
}

/// As many of the facts, in their order, as do not clash among themselves.
fn peaceful(facts: Vec<Fact>, clash: &impl Fn(&[Fact]) -> bool) -> Vec<Fact> {
    let mut kept: Vec<Fact> = Vec::new();
    for fact in facts {
        kept.push(fact);
        if clash(&kept) {
            kept.pop();
        }
    }
    kept
}

/// Leaves out what is not needed, in halves first, until nothing is.
fn without_needless(mut facts: Vec<Fact>, holds: &impl Fn(&[Fact]) -> bool) -> Vec<Fact> {
    let mut size = facts.len().div_ceil(2).max(1);
    loop {
        let mut first = 0;
        while first < facts.len() {
            let end = (first + size).min(facts.len());
            let without = [&facts[..first], &facts[end..]].concat();
            if holds(&without) {
                facts = without;
            } else {
                first = end;
            }
        }
        if size == 1 {
            return facts;
        }
        size = size.div_ceil(2);
    }
}

/// The facts of the greatest revisions.
fn nearest(mut facts: Vec<(i64, Fact)>) -> Vec<Fact> {
    facts.sort_by_key(|(revision, _)| *revision);
    let first = facts.len().saturating_sub(NEAREST);
    facts.drain(..first);
    facts.into_iter().map(|(_, fact)| fact).collect()
}

/// The ranges that an answered request looked at.
fn spans_of(record: &Record, ask: Ask, answer: Option<Answer>, spans: &mut Vec<Span>) {
    match ask {
        Ask::Range { span, .. } | Ask::Delete { span, .. } if span.end != NONE => spans.push(span),
        Ask::Txn(txn) => {
            let txn = record.txns[txn as usize];
            let Some(Answer::Txn { succeeded, answers }) = answer else {
                return;
            };
            let branch = if succeeded { txn.success } else { txn.failure };
            let asks = record.asks[branch.range()].iter();
            for (ask, answer) in asks.zip(&record.answers[answers.range()]) {
                spans_of(record, *ask, Some(*answer), spans);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etcd::{
        Options,
        check::examine,
        generate::{Profile, Story, mutation::MUTATIONS},
    };

    /// A quarter of the histories has leases, another the keys of Kubernetes.
    fn profile(seed: u64) -> Profile {
        let base = if seed % 4 == 1 {
            Profile::leased(200)
        } else {
            Profile::mixed(200)
        };
        Profile {
            clients: 8,
            keys: 12,
            members: 1 + usize::try_from(seed % 3).unwrap(),
            unknown_per_mille: 20,
            registry: seed % 4 == 2,
            kills: usize::from(seed % 5 < 2),
            ..base
        }
    }

    #[test]
    fn proofs_of_mutated_histories_are_confirmed_and_can_do_without_no_fact() {
        let count = if std::env::var_os("MURPHY_SOAK").is_some() {
            3_000
        } else {
            150
        };
        let mut proofs = 0;
        for seed in 0..count {
            let class = usize::try_from(seed).unwrap() % MUTATIONS.len();
            let story = Story::generate(&profile(seed / 15), seed);
            let Some(spoilt) = MUTATIONS[class].apply(&story, seed) else {
                continue;
            };
            let mut record = Record::read(spoilt.bytes().as_slice()).unwrap();
            examine(&mut record, &Options::default(), &mut |asked, proof| {
                proofs += 1;
                let context = || format!("seed {seed}, {:?}: {:?}", MUTATIONS[class], proof.facts);
                assert!(proof.is_confirmed, "{}", context());
                // What sets the scene is told besides.
                let clashing = proof.facts.iter().filter(|(_, clashes)| *clashes);
                let clashing: Vec<Fact> = clashing.map(|(fact, _)| *fact).collect();
                assert!(confirms(asked, &clashing), "{}", context());
                for place in 0..clashing.len() {
                    let mut without = clashing.clone();
                    let fact = without.remove(place);
                    let is_needless = confirms(asked, &without);
                    assert!(!is_needless, "{} without {fact:?}", context());
                }
            });
        }
        assert!(proofs > count / 2, "{proofs} proofs of {count} histories");
    }
}
