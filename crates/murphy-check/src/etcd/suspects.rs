//! Suspects are the writes of unknown outcome, each of which may have filled a hole.

use rustc_hash::FxHashMap;

use super::{
    record::{Pair, Record},
    timeline::{Hole, Put, Timeline, could_write, each_put, each_written_span},
};
use crate::intern::{Id, Interner, NONE};

/// Who can have filled a hole.
#[derive(Clone, Debug, Default)]
pub(crate) struct Candidates {
    /// All suspects before this place that were free at `hole`.
    pub until: usize,
    /// Counts the holes.
    pub hole: u32,
    /// Behind them these operations.
    pub named: Vec<Id>,
}

/// Which unknown writes could have written what.
pub(crate) struct Suspects<'r> {
    record: &'r Record,
    /// In the order in which they were asked.
    unknown: Vec<Id>,
    puts: FxHashMap<(Id, Id), Vec<Id>>,
    /// Those that may write a key by its name.
    writers: FxHashMap<Id, Vec<Id>>,
    /// Those that may write a range of keys.
    ranges: Vec<Id>,
    states: Vec<Suspect>,
    holes: u32,
}

/// What is known of an unknown write.
#[derive(Clone, Copy)]
struct Suspect {
    /// It alone can have written something that was seen, so that no other hole is its.
    is_seen: bool,
    /// The hole at which it got its revision; [`NONE`] for none.
    placed_at: u32,
}

impl<'r> Suspects<'r> {
    /// All unknown writes; those that alone can have written some evidence are not free for other holes.
    pub fn new(record: &'r Record, pairs: &Interner<Pair>, timeline: &Timeline) -> Self {
        let free = Suspect {
            is_seen: false,
            placed_at: NONE,
        };
        let mut suspects = Self {
            record,
            unknown: timeline.unknown.clone(),
            puts: FxHashMap::default(),
            writers: FxHashMap::default(),
            ranges: Vec::new(),
            states: vec![free; timeline.unknown.len()],
            holes: 0,
        };
        (suspects.unknown).sort_by_key(|id| record.ops[*id as usize].call);
        for id in &timeline.unknown {
            suspects.enter(*id);
        }
        for id in timeline.holes.iter().flat_map(|hole| &hole.evidence) {
            let pair = pairs.get(*id);
            if let Some([writer]) = suspects
                .puts
                .get(&(pair.key, pair.value))
                .map(Vec::as_slice)
                && let Some(place) = suspects.place_of(*writer)
            {
                suspects.states[place].is_seen = true;
            }
        }
        suspects
    }

    fn enter(&mut self, id: Id) {
        let record = self.record;
        let ask = record.ask(&record.ops[id as usize]);
        let once = |list: &mut Vec<Id>| {
            if list.last() != Some(&id) {
                list.push(id);
            }
        };
        each_put(record, ask, &mut |Put { key, value, .. }| {
            once(self.puts.entry((key, value)).or_default());
        });
        each_written_span(record, ask, &mut |span| {
            once(match span.end {
                NONE => self.writers.entry(span.key).or_default(),
                _ => &mut self.ranges,
            });
        });
    }

    /// The place of an operation among the suspects.
    fn place_of(&self, op: Id) -> Option<usize> {
        let asked = |id: Id| (self.record.ops[id as usize].call, id);
        (self.unknown)
            .binary_search_by_key(&asked(op), |id| asked(*id))
            .ok()
    }

    /// `op` has its revision.
    pub fn place(&mut self, op: Id) {
        if let Some(place) = self.place_of(op) {
            self.states[place].placed_at = self.holes;
        }
    }

    /// Those that can have filled `hole`, which comes behind all holes asked about before.
    pub fn of(&mut self, pairs: &Interner<Pair>, hole: &Hole) -> Candidates {
        self.holes += 1;
        let mut candidates = Candidates {
            hole: self.holes,
            ..Candidates::default()
        };
        let is_in_time = |id: &Id| self.record.ops[*id as usize].call <= hole.deadline;
        if hole.evidence.is_empty() {
            candidates.until = self.unknown.partition_point(is_in_time);
            return candidates;
        }
        let writers = hole.evidence.iter().find_map(|id| {
            let pair = pairs.get(*id);
            self.puts.get(&(pair.key, pair.value))
        });
        let is_free = |id: &Id| {
            let state = self.place_of(*id).map(|place| self.states[place]);
            state.is_some_and(|state| {
                state.placed_at == NONE && (!state.is_seen || writers.is_some())
            })
        };
        let could_write = |id: &Id| {
            let ask = self.record.ask(&self.record.ops[*id as usize]);
            (hole.evidence.iter()).all(|pair| could_write(self.record, ask, &pairs.get(*pair)))
        };
        let fits = |id: &Id| is_in_time(id) && is_free(id) && could_write(id);
        candidates.named = if let Some(writers) = writers {
            writers.iter().copied().filter(fits).collect()
        } else {
            let key = pairs.get(hole.evidence[0]).key;
            let by_name = self.writers.get(&key).map_or(&[][..], Vec::as_slice);
            let all = by_name.iter().chain(&self.ranges).copied();
            let mut named: Vec<Id> = all.filter(fits).collect();
            named.sort_unstable();
            named.dedup();
            named
        };
        candidates
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.unknown.len()
    }

    /// The places of those that are not known to have written something that was seen.
    pub fn unseen(&self) -> impl Iterator<Item = usize> {
        (0..self.len()).filter(|place| !self.states[*place].is_seen)
    }

    /// The place of an operation among those.
    pub fn unseen_place_of(&self, op: Id) -> Option<usize> {
        self.place_of(op)
            .filter(|place| !self.states[*place].is_seen)
    }

    /// The suspect at a place, where `candidates` has it among those that are not named.
    pub fn free(&self, candidates: &Candidates, place: usize) -> Option<Id> {
        let state = self.states[place];
        let is_free =
            place < candidates.until && !state.is_seen && state.placed_at > candidates.hole;
        is_free.then(|| self.unknown[place])
    }

    /// The same candidates, all of them named.
    pub fn named(&self, candidates: &Candidates) -> Candidates {
        let free = (0..candidates.until).filter_map(|place| self.free(candidates, place));
        Candidates {
            named: free.chain(candidates.named.iter().copied()).collect(),
            ..Candidates::default()
        }
    }

    /// Whether there is any candidate.
    pub fn has_any(&self, candidates: &Candidates) -> bool {
        let mut places = (0..candidates.until).rev();
        !candidates.named.is_empty() || places.any(|place| self.free(candidates, place).is_some())
    }

    /// The first of the `wanted` revisions for which no candidate is left when each write has at most one.
    pub fn left_over(&self, wanted: &[(i64, Vec<Id>)]) -> Option<i64> {
        let is_free = |id: &Id| {
            self.place_of(*id)
                .is_some_and(|place| self.states[place].placed_at == NONE)
        };
        let mut taken: FxHashMap<Id, usize> = FxHashMap::default();
        let stuck = (0..wanted.len()).find(|number| {
            let mut tried = Vec::new();
            !find_writer(wanted, *number, &is_free, &mut taken, &mut tried)
        })?;
        Some(wanted[stuck].0)
    }
}

/// One augmenting path of a bipartite matching, by breadth, between revisions and writes.
fn find_writer(
    wanted: &[(i64, Vec<Id>)],
    number: usize,
    is_free: &impl Fn(&Id) -> bool,
    taken: &mut FxHashMap<Id, usize>,
    tried: &mut Vec<(Id, usize)>,
) -> bool {
    let mut next = vec![number];
    while let Some(number) = next.pop() {
        for id in wanted[number].1.iter().filter(|id| is_free(id)) {
            if tried.iter().any(|(known, _)| known == id) {
                continue;
            }
            tried.push((*id, number));
            let Some(owner) = taken.get(id) else {
                give(*id, number, tried, taken);
                return true;
            };
            next.push(*owner);
        }
    }
    false
}

/// Gives `id` to revision `number`, and what that had to the revision from which the path came.
fn give(id: Id, number: usize, tried: &[(Id, usize)], taken: &mut FxHashMap<Id, usize>) {
    let (mut id, mut number) = (id, number);
    loop {
        let had = taken
            .iter()
            .find(|(_, owner)| **owner == number)
            .map(|(id, _)| *id);
        taken.insert(id, number);
        let Some(had) = had else { return };
        let Some((_, from)) = tried.iter().find(|(known, _)| *known == had) else {
            return;
        };
        (id, number) = (had, *from);
    }
}
