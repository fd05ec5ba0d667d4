//! The operations of one key in the order of their sessions, and its versions.

use rustc_hash::FxHashMap;

use super::{Access, Inapplicable, Operation};

/// The node of a version. 0 is the initial value.
pub(super) type Node = u32;

/// What an operation of a key did.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    Read,
    /// A write that was answered.
    Write,
    /// A write that was not answered and did happen.
    LateWrite,
}

/// An operation of a key.
#[derive(Clone, Copy)]
pub(super) struct Step {
    pub place: u32,
    pub act: Act,
    pub version: Node,
}

/// One key.
pub(super) struct Versions {
    /// The steps of all sessions, one session behind the other.
    steps: Vec<Step>,
    /// Where each session ends in `steps`.
    ends: Vec<usize>,
    /// Value and write of each version; no write for the initial one.
    pub written: Vec<(u32, Option<u32>)>,
}

impl Versions {
    /// Of operations of one key, sorted by session; a place of a read that nobody can explain is in the error.
    pub fn new(history: &[Operation], part: &[u32]) -> Result<Self, Flaw> {
        let at = |place: u32| &history[place as usize];
        let mut reads: FxHashMap<u32, Node> = FxHashMap::default();
        let mut written = vec![(0, None)];
        for &place in part {
            if let Access::Read(value) = at(place).access
                && value > 0
            {
                reads.entry(value).or_insert_with(|| {
                    written.push((value, None));
                    node(written.len() - 1)
                });
            }
        }
        let is_initial_read = |place: &u32| at(*place).access == Access::Read(0);
        let is_initial_read = part.iter().any(is_initial_read);
        let mut steps = Vec::with_capacity(part.len());
        let mut ends = Vec::new();
        for (number, &place) in part.iter().enumerate() {
            if number > 0 && at(part[number - 1]).session != at(place).session {
                ends.push(steps.len());
            }
            let operation = at(place);
            let (act, version) = match operation.access {
                Access::Read(0) => (Act::Read, 0),
                Access::Read(value) => (Act::Read, reads[&value]),
                Access::Write(value) => {
                    let version = match reads.get(&value) {
                        Some(&version) => version,
                        None if value == 0 && is_initial_read => 0,
                        None if !operation.is_answered => continue,
                        None => {
                            written.push((value, None));
                            node(written.len() - 1)
                        }
                    };
                    if version == 0 || written[version as usize].1.is_some() {
                        let key = operation.key;
                        return Err(Flaw::Inapplicable(Inapplicable::Repeated { key, value }));
                    }
                    written[version as usize].1 = Some(place);
                    let late = !operation.is_answered;
                    (if late { Act::LateWrite } else { Act::Write }, version)
                }
            };
            steps.push(Step {
                place,
                act,
                version,
            });
        }
        ends.push(steps.len());
        let unexplained =
            |step: &&Step| step.version > 0 && written[step.version as usize].1.is_none();
        if let Some(step) = steps.iter().find(unexplained) {
            return Err(Flaw::NeverWritten { read: step.place });
        }
        Ok(Self {
            steps,
            ends,
            written,
        })
    }

    /// The steps of each session.
    pub fn sessions(&self) -> impl Iterator<Item = &[Step]> {
        let begins = [0].into_iter().chain(self.ends.iter().copied());
        begins
            .zip(&self.ends)
            .map(|(begin, &end)| &self.steps[begin..end])
    }
}

fn node(index: usize) -> Node {
    Node::try_from(index).unwrap_or(Node::MAX)
}

/// Why a key has no versions.
pub(super) enum Flaw {
    NeverWritten { read: u32 },
    Inapplicable(Inapplicable),
}
