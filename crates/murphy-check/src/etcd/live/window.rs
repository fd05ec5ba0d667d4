//! A window is the part of a history that is not settled: its lines, and the key space before them.

use rustc_hash::FxHashMap;

use super::cut::{Carried, Cut};
use crate::{
    etcd::{
        load::Loader,
        record::{GONE, Pair, Past, Record, UNREAD},
    },
    intern::{Id, Interner, next_id},
    read::{self, Model as _, ReadError},
};

/// Lines with their numbers, one behind the other.
#[derive(Debug, Default)]
pub(super) struct Lines {
    text: Vec<u8>,
    /// Number of each line, and where it ends.
    ends: Vec<(u64, usize)>,
}

impl Lines {
    pub fn push(&mut self, number: u64, line: &[u8]) {
        self.text.extend_from_slice(line);
        self.ends.push((number, self.text.len()));
    }

    pub fn iter(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let mut at = 0;
        self.ends.iter().map(move |(number, end)| {
            let line = &self.text[at..*end];
            at = *end;
            (*number, line)
        })
    }

    pub fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
    }
}

/// The lines of a window.
#[derive(Debug, Default)]
pub(super) struct Window {
    lines: Lines,
    /// Lines that name a value for later ones are kept for ever.
    definitions: Vec<(u64, Vec<u8>)>,
}

impl Window {
    /// Adds a line.
    pub fn keep(&mut self, number: u64, line: &[u8], is_definition: bool) {
        if is_definition {
            self.definitions.push((number, line.to_vec()));
            return;
        }
        self.lines.push(number, line);
    }

    /// How long the lines are.
    pub fn bytes(&self) -> usize {
        let definitions = self.definitions.iter().map(|(_, line)| line.len());
        self.lines.text.len() + definitions.sum::<usize>()
    }

    /// The window behind `cut`, and what it says.
    pub fn rest(
        &mut self,
        record: &Record,
        pairs: &Interner<Pair>,
        cut: &Cut,
    ) -> Result<(Self, Loader), ReadError> {
        let mut rest = Self {
            definitions: std::mem::take(&mut self.definitions),
            ..Self::default()
        };
        let mut loader = Loader::new();
        // The header was accepted before, so it is again.
        let _ = loader.begin(&record.header);
        loader.record.nodes.clone_from(&record.nodes);
        loader.record.faults.clone_from(&record.faults);
        loader.record.ended_at = record.ended_at;
        let mut is_open = true;
        for (number, line) in &rest.definitions {
            read::read_line(line, *number, &mut is_open, &mut loader)?;
        }
        loader.record.past = remembered(record, pairs, cut, &mut loader.record);
        let mut wanted = cut.lines.iter().map(|line| u64::from(*line)).peekable();
        for (number, line) in self.lines.iter() {
            if wanted.next_if_eq(&number).is_some() {
                read::read_line(line, number, &mut is_open, &mut loader)?;
                rest.lines.push(number, line);
            }
        }
        carry(&mut loader.record, &cut.carried);
        Ok((rest, loader))
    }
}

/// The key space of the cut, in the numbers of the new record.
fn remembered(old: &Record, pairs: &Interner<Pair>, cut: &Cut, new: &mut Record) -> Past {
    let mut again = |ids: &[Id]| -> Vec<Id> {
        let mut known = Vec::with_capacity(ids.len());
        for id in ids {
            let pair = pairs.get(*id);
            let key = new.keys.id(old.keys.get(pair.key));
            let value = match pair.value {
                special @ (UNREAD | GONE) => special,
                value => new.values.id(old.values.get(value)),
            };
            if pair.lease != 0 {
                let lease = new.lease(pair.lease);
                new.lease_keys[lease as usize].push(key);
            }
            known.push(new.pairs.id(Pair { key, value, ..pair }));
        }
        known
    };
    Past {
        floor: cut.floor,
        base: cut.base,
        heads: again(&cut.heads),
        log: again(&cut.log),
    }
}

/// Streams go on where they have come to.
fn carry(record: &mut Record, carried: &[Carried]) {
    let places = record.streams.iter().enumerate();
    let places: FxHashMap<u32, Id> = places.map(|(at, s)| (s.line, next_id(at))).collect();
    for carried in carried {
        if let Some(at) = places.get(&carried.line) {
            let stream = &mut record.streams[*at as usize];
            stream.settled = Some((carried.revision, carried.time));
            stream.requests.clone_from(&carried.requests);
        }
    }
}
