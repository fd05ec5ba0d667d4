//! A store is the key space replayed revision by revision: every key with the chain of its pairs.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use super::record::{Pair, Record, Span};
use crate::intern::{Id, Interner, NONE, next_id};

/// The keys of a history in byte order; a range of keys is a range of ranks.
#[derive(Debug)]
pub(crate) struct Order {
    rank_of: Vec<u32>,
    key_at: Vec<Id>,
    /// The key of one zero byte, which as an end means "to the last".
    zero: Id,
}

impl Order {
    /// Sorts the keys of `record`.
    pub fn new(record: &Record) -> Self {
        let mut key_at: Vec<Id> = (0..next_id(record.keys.len())).collect();
        key_at.sort_unstable_by_key(|key| record.keys.get(*key));
        let mut rank_of = vec![0; key_at.len()];
        for (rank, key) in key_at.iter().enumerate() {
            rank_of[*key as usize] = next_id(rank);
        }
        Self {
            rank_of,
            key_at,
            zero: record.keys.find(b"\0").unwrap_or(NONE),
        }
    }

    /// The rank of `key`.
    #[inline]
    pub fn rank(&self, key: Id) -> u32 {
        self.rank_of[key as usize]
    }

    /// The key at `rank`.
    pub fn key(&self, rank: u32) -> Id {
        self.key_at[rank as usize]
    }

    /// The ranks of `span`.
    #[inline]
    pub fn ranks(&self, span: Span) -> (u32, u32) {
        let first = self.rank(span.key);
        let end = match span.end {
            NONE => first + 1,
            end if end == self.zero => next_id(self.key_at.len()),
            end => self.rank(end),
        };
        (first, end.max(first))
    }
}

/// What a replay needs to know of the key space, and where it writes.
pub(crate) trait View {
    /// The pair of the key at `rank` now; [`NONE`] for none.
    fn head(&self, pairs: &Interner<Pair>, rank: u32) -> Id;
    /// The pair of the key at `rank` as of `revision`.
    fn at(&self, pairs: &Interner<Pair>, rank: u32, revision: i64) -> Id;
    /// Calls `each` with the rank and pair of every key there is now, in order.
    fn heads(&self, pairs: &Interner<Pair>, ranks: (u32, u32), each: impl FnMut(u32, Id));
    /// Appends a pair, which may be a deletion.
    fn write(&mut self, rank: u32, id: Id, gone: bool);
    /// Whether the content of these ranks rests on a guess.
    fn is_uncertain(&self, ranks: (u32, u32)) -> bool;
    /// Whether the history contradicts itself about one of these ranks at `revision`.
    fn is_contested(&self, ranks: (u32, u32), revision: i64) -> bool;
}

/// The replayed key space.
#[derive(Debug)]
pub(crate) struct Store {
    chains: Vec<Vec<Id>>,
    /// The pair of each key now; [`NONE`] for none.
    now: Vec<Id>,
    /// One bit for each rank: whether the key exists now.
    live: Vec<u64>,
    /// Every event in the order of revisions.
    pub log: Vec<Id>,
    /// For each rank the first revision of which it is not certain.
    uncertain_from: Vec<i64>,
    uncertain_spans: Vec<(u32, u32)>,
    /// For each rank about which the history contradicts itself, from and up to which revisions.
    contested: BTreeMap<u32, Vec<(i64, i64)>>,
}

impl Store {
    /// An empty store for `keys` keys.
    pub fn new(keys: usize) -> Self {
        Self {
            chains: vec![Vec::new(); keys],
            now: vec![NONE; keys],
            live: vec![0; keys.div_ceil(64)],
            log: Vec::new(),
            uncertain_from: Vec::new(),
            uncertain_spans: Vec::new(),
            contested: BTreeMap::new(),
        }
    }

    /// The history contradicts itself about the key: from its last write on nothing can be said of it.
    pub fn contest(&mut self, pairs: &Interner<Pair>, rank: u32) {
        let last = self.last_write(pairs, rank, i64::MAX);
        let from = if last == NONE {
            1
        } else {
            pairs.get(last).mod_revision
        };
        let spans = self.contested.entry(rank).or_default();
        if spans.last().is_none_or(|(_, to)| *to < i64::MAX) {
            spans.push((from, i64::MAX));
        }
    }

    /// Whatever was said of the keys, behind `revision` they are gone. These were contested.
    pub fn settle(&mut self, ranks: (u32, u32), revision: i64) -> Vec<u32> {
        let mut settled = Vec::new();
        for (rank, spans) in self.contested.range_mut(ranks.0..ranks.1) {
            if let Some((_, to)) = spans.last_mut().filter(|(_, to)| *to == i64::MAX) {
                *to = revision;
                settled.push(*rank);
            }
        }
        settled
    }

    /// Whether the content of the key at `rank` in `revision` is beyond doubt.
    pub fn is_certain(&self, rank: u32, revision: i64) -> bool {
        revision < self.certain_before(rank) && !self.is_contested((rank, rank + 1), revision)
    }

    /// From `revision` on the content of `ranks` is not certain.
    pub fn doubt(&mut self, ranks: (u32, u32), revision: i64) {
        if self.uncertain_from.is_empty() {
            self.uncertain_from = vec![i64::MAX; self.chains.len()];
        }
        let mut is_new = false;
        for from in &mut self.uncertain_from[ranks.0 as usize..ranks.1 as usize] {
            is_new |= *from == i64::MAX;
            *from = (*from).min(revision);
        }
        if is_new {
            self.uncertain_spans.push(ranks);
        }
    }

    /// The first revision of which the key at `rank` is not certain.
    pub fn certain_before(&self, rank: u32) -> i64 {
        self.uncertain_from
            .get(rank as usize)
            .copied()
            .unwrap_or(i64::MAX)
    }

    /// The last pair of the chain not newer than `revision`, deletions included.
    pub fn last_write(&self, pairs: &Interner<Pair>, rank: u32, revision: i64) -> Id {
        let chain = &self.chains[rank as usize];
        // Mostly the question is about the end: the steps back grow, and the rest is halved.
        let is_later = |place: usize| pairs.get(chain[place]).mod_revision > revision;
        let (mut end, mut step) = (chain.len(), 1);
        while end > 0 && is_later(end - 1) {
            let back = end.saturating_sub(step);
            if back == 0 || !is_later(back - 1) {
                let after =
                    chain[back..end].partition_point(|id| pairs.get(*id).mod_revision <= revision);
                end = back + after;
                break;
            }
            end = back;
            step *= 2;
        }
        end.checked_sub(1).map_or(NONE, |last| chain[last])
    }

    /// The events of the log with `revision`.
    pub fn events_at(&self, pairs: &Interner<Pair>, revision: i64) -> &[Id] {
        let first = self
            .log
            .partition_point(|id| pairs.get(*id).mod_revision < revision);
        let len = self.log[first..].partition_point(|id| pairs.get(*id).mod_revision == revision);
        &self.log[first..first + len]
    }
}

impl View for Store {
    #[inline]
    fn head(&self, _: &Interner<Pair>, rank: u32) -> Id {
        self.now[rank as usize]
    }

    fn at(&self, pairs: &Interner<Pair>, rank: u32, revision: i64) -> Id {
        match self.last_write(pairs, rank, revision) {
            id if id != NONE && pairs.get(id).is_gone() => NONE,
            id => id,
        }
    }

    fn heads(
        &self,
        pairs: &Interner<Pair>,
        (first, end): (u32, u32),
        mut each: impl FnMut(u32, Id),
    ) {
        let mut rank = first;
        while rank < end {
            let word = self.live[rank as usize / 64] >> (rank % 64);
            if word == 0 {
                rank = (rank / 64 + 1) * 64;
                continue;
            }
            rank += word.trailing_zeros();
            if rank < end {
                each(rank, self.head(pairs, rank));
            }
            rank += 1;
        }
    }

    #[inline]
    fn write(&mut self, rank: u32, id: Id, gone: bool) {
        self.chains[rank as usize].push(id);
        self.log.push(id);
        self.now[rank as usize] = if gone { NONE } else { id };
        let (word, bit) = (&mut self.live[rank as usize / 64], 1 << (rank % 64));
        if gone { *word &= !bit } else { *word |= bit }
    }

    #[inline]
    fn is_uncertain(&self, (first, end): (u32, u32)) -> bool {
        if self.uncertain_spans.is_empty() {
            return false;
        }
        if end == first + 1 {
            return self.uncertain_from[first as usize] != i64::MAX;
        }
        self.uncertain_spans
            .iter()
            .any(|(lo, hi)| *lo < end && first < *hi)
    }

    #[inline]
    fn is_contested(&self, (first, end): (u32, u32), revision: i64) -> bool {
        let is_within = |(from, to): &(i64, i64)| (*from..=*to).contains(&revision);
        !self.contested.is_empty()
            && (self.contested.range(first..end)).any(|(_, spans)| spans.iter().any(is_within))
    }
}

/// A store with guesses laid over it: what the key space would be if unknown writes had filled the
/// open revisions in one particular way.
pub(crate) struct World<'a> {
    /// What is certain.
    pub base: &'a Store,
    /// The ranks that were guessed at, oldest guess first.
    guesses: Vec<u32>,
    /// The guessed pairs of each rank, oldest first.
    overlay: FxHashMap<u32, Vec<Id>>,
    /// The revision the replay has reached; the base knows the future as well.
    pub now: i64,
}

impl<'a> World<'a> {
    /// The world without guesses.
    pub fn new(base: &'a Store) -> Self {
        Self {
            base,
            guesses: Vec::new(),
            overlay: FxHashMap::default(),
            now: 0,
        }
    }

    /// How many pairs are guessed.
    pub fn guessed(&self) -> usize {
        self.guesses.len()
    }

    /// Takes guesses back until `count` are left.
    pub fn take_back(&mut self, count: usize) {
        for rank in self.guesses.drain(count.min(self.guesses.len())..).rev() {
            self.overlay.get_mut(&rank).map(Vec::pop);
        }
    }

    /// The guess at the key's pair. What a guessed operation wrote of a certain key is known to the base
    /// as well, with all that followed; only while the operation itself acts is it newer than the base.
    fn overlaid(&self, pairs: &Interner<Pair>, rank: u32, revision: i64) -> Option<Id> {
        let guessed = self.overlay.get(&rank)?.iter().rev();
        let mut written = guessed.map(|id| (*id, pairs.get(*id).mod_revision));
        let (id, written) = written.find(|(_, written)| *written <= revision)?;
        (written >= self.base.certain_before(rank) || written > self.now).then_some(id)
    }
}

impl View for World<'_> {
    fn head(&self, pairs: &Interner<Pair>, rank: u32) -> Id {
        self.at(pairs, rank, i64::MAX)
    }

    fn at(&self, pairs: &Interner<Pair>, rank: u32, revision: i64) -> Id {
        match self.overlaid(pairs, rank, revision) {
            Some(id) if pairs.get(id).is_gone() => NONE,
            Some(id) => id,
            None => {
                let known = self.now.min(self.base.certain_before(rank) - 1);
                self.base.at(pairs, rank, revision.min(known))
            }
        }
    }

    fn heads(
        &self,
        pairs: &Interner<Pair>,
        (first, end): (u32, u32),
        mut each: impl FnMut(u32, Id),
    ) {
        for rank in first..end {
            let id = self.head(pairs, rank);
            if id != NONE {
                each(rank, id);
            }
        }
    }

    fn write(&mut self, rank: u32, id: Id, _gone: bool) {
        self.guesses.push(rank);
        self.overlay.entry(rank).or_default().push(id);
    }

    fn is_uncertain(&self, _: (u32, u32)) -> bool {
        false
    }

    fn is_contested(&self, _: (u32, u32), _: i64) -> bool {
        false
    }
}
