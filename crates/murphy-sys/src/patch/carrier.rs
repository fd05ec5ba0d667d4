//! A carrier is a process whose program is patched, for whoever keeps it so: its patch is good for a while only.

use std::{
    collections::BTreeSet,
    fs::File,
    hash::{DefaultHasher, Hash, Hasher},
    ops::Range,
    os::unix::fs::FileExt,
};

use super::{
    PatchError,
    mapped::{Mapping, PAGE},
    module::ALIGNMENT,
    stub::{COUNTED, DEADLINE_AT, MARK, OWNER_AT},
};
use crate::{
    memory::{Memory, MemoryError, Patching},
    process::read_proc,
    tracee,
};

/// A process, for as long as it runs the program that was patched. Whoever holds one sees to it that nobody recovers the process
/// meanwhile.
#[derive(Debug)]
pub struct Carrier {
    memory: Memory,
    stubs: Vec<u64>,
    counts: Option<Range<u64>>,
}

/// What came of the calls of a rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// How many were hit.
    pub hits: u64,
    /// How many came to the dice: of any descriptor and path, where those are chosen by more than a number.
    pub made: u64,
    /// How many of them the dice had hit, and were not meant.
    pub unmeant: u64,
}

impl Counts {
    /// What has come since, and before something that is to be added.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            hits: self.hits.wrapping_sub(earlier.hits),
            made: self.made.wrapping_sub(earlier.made),
            unmeant: self.unmeant.wrapping_sub(earlier.unmeant),
        }
    }

    /// How many calls were meant: exactly where all were, or the dice always hit; else as the share of those that they have hit
    /// says. None where that says nothing: some came to the dice, and none was hit.
    pub fn meant(self) -> Option<f64> {
        let looked_at = self.hits + self.unmeant;
        match (self.made, looked_at) {
            (0, _) => Some(0.0),
            (_, 0) => None,
            (made, all) => Some(made as f64 * self.hits as f64 / all as f64),
        }
    }
}

impl Carrier {
    pub(super) fn of(memory: Memory, stubs: Vec<u64>, counts: Option<Range<u64>>) -> Self {
        Self {
            memory,
            stubs,
            counts,
        }
    }

    /// Has its patch be good until another deadline, by the time stamp counter. It is [gone](PatchError::is_gone) once the
    /// process has ended, or executed another program.
    pub fn renew(&self, deadline: u64) -> Result<(), PatchError> {
        self.stubs.iter().try_for_each(|at| {
            let (at, bytes) = (at + DEADLINE_AT, deadline.to_le_bytes());
            match self.memory.write(at, &bytes) {
                Err(MemoryError::Restricted(process)) => {
                    // A process has one tracer at a time, and another Murphy's work is done as its tracer, too.
                    let _lock = Patching::lock(process)?;
                    tracee::write(&self.memory, at, &bytes)
                }
                other => Ok(other?),
            }
        })
    }

    /// Whether the process has ended, or runs another program by now.
    pub fn is_gone(&self) -> bool {
        let word = self.stubs.first().map(|at| self.memory.read_word(*at));
        matches!(word, Some(Err(MemoryError::Gone(_))))
    }

    /// What came of the calls of each rule since the process was patched, in the order in which they were given, or since the
    /// ancestor was that it is a copy of; none where there was no memory to count in.
    pub fn counts(&self) -> Result<Option<Vec<Counts>>, PatchError> {
        let Some(counts) = self.counts.clone() else {
            return Ok(None);
        };
        let words = usize::try_from(8 * COUNTED).unwrap_or(1);
        let length = usize::try_from(counts.end - counts.start).unwrap_or(0);
        let bytes = self.memory.read(counts.start, length)?;
        let counts = bytes.chunks_exact(words).map(|rule| {
            let mut words = rule.as_chunks().0.iter().copied().map(u64::from_le_bytes);
            let mut next = || words.next().unwrap_or(0);
            Counts {
                hits: next(),
                made: next(),
                unmeant: next(),
            }
        });
        Ok(Some(counts.collect()))
    }
}

/// A figure for the executable files that a process has mapped, and where: another one once it has mapped more, or runs another
/// program. None where it is gone, or cannot be looked at.
pub fn code_of(pid: u32) -> Option<u64> {
    let maps = read_proc(pid, "maps").ok()?;
    let maps = String::from_utf8_lossy(&maps);
    let mut hasher = DefaultHasher::new();
    for mapping in maps.lines().filter_map(Mapping::read) {
        (mapping.begins, mapping.length, mapping.path).hash(&mut hasher);
    }
    Some(hasher.finish())
}

/// Whose stubs a process has, each owner once, as far as a look at the pages tells in which stubs can be; nobody's where they
/// cannot be read. Much quicker than to open the program, and only a hint: any program may hold the mark of a stub.
pub fn owners_of(pid: u32) -> Vec<u64> {
    let memory = File::open(format!("/proc/{pid}/mem"));
    let (Ok(memory), Ok(maps)) = (memory, read_proc(pid, "maps")) else {
        return Vec::new();
    };
    let maps = String::from_utf8_lossy(&maps);
    let mut owners = BTreeSet::new();
    let mut page = vec![0; usize::try_from(PAGE).unwrap_or(0)];
    for mapping in maps.lines().filter_map(Mapping::read) {
        let last = mapping.begins + mapping.length.saturating_sub(PAGE);
        for at in BTreeSet::from([mapping.begins, last]) {
            if memory.read_exact_at(&mut page, at).is_ok() {
                owners.extend(marked(&page));
            }
        }
    }
    owners.into_iter().collect()
}

/// Whose stubs begin in a page.
fn marked(page: &[u8]) -> impl Iterator<Item = u64> {
    let [owner, apart] = [OWNER_AT, ALIGNMENT].map(|bytes| usize::try_from(bytes).unwrap_or(1));
    page.windows(owner + 8)
        .step_by(apart)
        .filter(|stub| stub.starts_with(&MARK))
        .filter_map(move |stub| Some(u64::from_le_bytes(*stub[owner..].first_chunk()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_many_calls_were_meant_is_told_by_those_that_were_looked_at() {
        let counts = |hits, made, unmeant| Counts {
            hits,
            made,
            unmeant,
        };
        assert_eq!(counts(25, 100, 0).meant(), Some(100.0));
        assert_eq!(counts(10, 100, 30).meant(), Some(25.0));
        assert_eq!(counts(0, 100, 30).meant(), Some(0.0));
        assert_eq!(counts(0, 100, 0).meant(), None);
        assert_eq!(counts(0, 0, 0).meant(), Some(0.0));
        assert_eq!(counts(9, 50, 3).since(counts(4, 20, 3)), counts(5, 30, 0));
    }

    #[test]
    fn a_stub_is_seen_where_one_can_begin() {
        let mut page = vec![0; 256];
        assert_eq!(marked(&page).count(), 0);
        page[64..72].copy_from_slice(&MARK);
        page[80..88].copy_from_slice(&7_u64.to_le_bytes());
        // Not where it is in the midst of something else.
        page[100..108].copy_from_slice(&MARK);
        assert_eq!(marked(&page).collect::<Vec<_>>(), [7]);
        page[240..248].copy_from_slice(&MARK);
        assert_eq!(marked(&page).count(), 1, "cut short");
    }
}
