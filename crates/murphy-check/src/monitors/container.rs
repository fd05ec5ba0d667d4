//! What bag, queue, stack and priority queue have in common: values are put in once and come out at most once.
//!
//! # Pairs
//! A value is a *pair* of moments: it is inserted at `p` from `call` to `inserted`, and removed at `q` from `removing`
//! to `end`, with `p ≤ q`. Since `p ≤ q` nothing is lost by cutting `inserted` down to `end` and raising `removing` to
//! `call`; a removal that ended before its insertion was called is a contradiction already. A value that is never
//! removed is removed at the last moment of all ([`u64::MAX`]): whatever is left over in the end can be taken out in
//! the order of the discipline. So a value is certainly inside in the open interval from `inserted` to `removing`,
//! where that is not empty.
//!
//! # Removals that found nothing
//! **Theorem.** A history is linearizable exactly if it is without its empty removals, and each of them is open at a
//! moment `x` at which no value is certainly inside.
//!
//! *Proof.* At its moment in a legal order nothing is inside, certainly or not. Conversely take such moments. Cut at
//! `x`: to the left the pairs with `removing ≤ x`, all others to the right; those have `inserted ≥ x`, for else they
//! would be certainly inside. Cut the moments of each side to its side of `x`. Both sides are linearizable, being
//! parts of a linearizable history that lack whole pairs, and the cut makes no new precedence (see [`super`]).
//! So a legal order of the left, the empty removals at `x` and a legal order of the right are legal one after the
//! other: at `x` everything inserted has been removed. Repeat for the other moments. ∎
//!
//! # Unseen removals
//! A removal without an answer, called at `c`, may have taken any pair that has no removal: that pair would have
//! `removing = c` and `end = u64::MAX`, or not be removed at all, which is the same at the last moment. Which took
//! which is not known. Three steps, each sound:
//!
//! 1. Each pair without a removal gets a *deadline*: a moment by which it must have been gone because of one other
//!    pair or one empty removal. The i-th deadline in order must not come before the i-th call in order, since i pairs
//!    need i removals called by then (Hall): otherwise the history is a violation, and the pairs with their witnesses
//!    and the removals called by then are the evidence.
//! 2. Take for the i-th the i-th. If the history that results is linearizable, so is the real one.
//! 3. Give every pair the earliest call. Whatever really happened is a special case of that, so if the result is not
//!    linearizable, neither is the history.
//!
//! What is left is inapplicable. For queue and bag without empty removals step 1 is the whole condition, and nothing
//! is left.

use super::{
    Evidence, Inapplicable, Operation, Outcome, Reason, cover, groups::smallest, ids::Ids,
};

/// What was asked of a container and answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// This value was put in, or may have been where the operation has no end.
    Insert(u32),
    /// This value came out.
    Remove(u32),
    /// A removal found nothing.
    RemoveEmpty,
    /// A removal without an answer: it may have taken any value, found nothing or not have happened.
    RemoveUnseen,
}

/// No operation.
pub(super) const NONE: u32 = u32::MAX;

/// A value from its insertion to its removal.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair {
    /// Place of the insertion.
    pub insertion: u32,
    /// Place of the removal; [`NONE`] for none.
    pub removal: u32,
    /// Place of the value among all values.
    pub rank: u32,
    /// The first moment at which it can have been inserted,
    pub call: u64,
    /// and the last.
    pub inserted: u64,
    /// The first moment at which it can have been removed,
    pub removing: u64,
    /// and the last.
    pub end: u64,
}

impl Pair {
    pub fn is_certainly_inside(&self) -> bool {
        self.inserted < self.removing
    }
}

/// An empty removal.
#[derive(Clone, Copy, Debug)]
pub(super) struct Empty {
    pub place: u32,
    pub call: u64,
    pub end: u64,
}

/// Pairs that clash by the discipline, by their places among the pairs, and why.
pub(super) struct Crowd {
    pub pairs: Vec<usize>,
    pub reason: Reason,
}

/// A moment by which a pair must be removed, and the pair that forces it.
#[derive(Clone, Copy)]
pub(super) struct Deadline {
    pub moment: u64,
    pub witness: usize,
}

/// In which order values come out.
pub(super) trait Discipline {
    /// Pairs that have no legal order; none where all of them together have one.
    fn crowd(&self, pairs: &[Pair]) -> Option<Crowd>;

    /// For pairs without a removal the moment at which other pairs force them to be gone, in their order.
    fn deadlines(&self, pairs: &[Pair], remaining: &[usize]) -> Vec<Option<Deadline>>;
}

/// A history as pairs.
#[derive(Default)]
struct Pairing {
    pairs: Vec<Pair>,
    empties: Vec<Empty>,
    /// Call and place of the unseen removals, ascending.
    unseen: Vec<(u64, u32)>,
}

/// A contradiction.
struct Clash {
    /// Places among the pairs.
    pairs: Vec<usize>,
    /// Places among the empty removals.
    empties: Vec<usize>,
    /// How many of the first unseen removals could have helped, had they been more or earlier.
    unseen: usize,
    reason: Reason,
    is_smallest: bool,
}

enum Decision {
    Linearizable,
    Violation(Clash),
    Unknown,
}

/// Judges a history of a container of this discipline.
pub(super) fn check(history: &[Operation<Event>], discipline: &impl Discipline) -> Outcome {
    let pairing = match pair_up(history) {
        Ok(pairing) => pairing,
        Err(outcome) => return outcome,
    };
    match decide(&pairing, discipline) {
        Decision::Linearizable => Outcome::Linearizable,
        Decision::Unknown => Outcome::Inapplicable(Inapplicable::UnseenRemovals {
            count: place(pairing.unseen.len()),
        }),
        Decision::Violation(clash) => Outcome::Violation(pairing.evidence(&clash, discipline)),
    }
}

/// Histories have fewer operations than that: a line of a file has a number of 32 bits.
fn place(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

/// A contradiction of the operations of one value.
fn of_one_value(operations: &[u32], reason: Reason) -> Outcome {
    let mut operations = operations.to_vec();
    operations.sort_unstable();
    Outcome::Violation(Evidence {
        operations,
        unseen: Vec::new(),
        reason,
        is_smallest: true,
    })
}

#[derive(Clone, Copy)]
struct Ends {
    insertion: u32,
    removal: u32,
    is_repeated: bool,
}

fn pair_up(history: &[Operation<Event>]) -> Result<Pairing, Outcome> {
    let values = history
        .iter()
        .filter_map(|operation| match operation.event {
            Event::Insert(value) | Event::Remove(value) => Some(value),
            _ => None,
        });
    let ids = Ids::new(values);
    let none = Ends {
        insertion: NONE,
        removal: NONE,
        is_repeated: false,
    };
    let mut ends = vec![none; ids.len()];
    let mut pairing = Pairing::default();
    let mut twice = None;
    for (at, operation) in (0..).zip(history) {
        match operation.event {
            Event::Insert(value) => {
                let known = &mut ends[ids.place(value)];
                known.is_repeated |= known.insertion != NONE;
                // One that was answered counts, should nobody have seen the value.
                if known.insertion == NONE || operation.end != u64::MAX {
                    known.insertion = at;
                }
            }
            Event::Remove(value) => {
                let known = &mut ends[ids.place(value)];
                if known.removal != NONE {
                    twice = twice.or(Some((ids.place(value), known.removal, at)));
                }
                known.removal = at;
            }
            Event::RemoveEmpty => pairing.empties.push(Empty {
                place: at,
                call: operation.call,
                end: operation.end,
            }),
            Event::RemoveUnseen => pairing.unseen.push((operation.call, at)),
        }
    }
    pairing.unseen.sort_unstable();
    let repeated = ends.iter().enumerate().find(|(_, known)| {
        known.is_repeated
            && (known.removal != NONE || history[known.insertion as usize].end != u64::MAX)
    });
    if let Some((at, _)) = repeated {
        let value = ids.id(at);
        return Err(Outcome::Inapplicable(Inapplicable::Repeated { value }));
    }
    if let Some((value, first, second)) = twice {
        let reason = Reason::RemovedTwice { first, second };
        let insertion = ends[value].insertion;
        return Err(if insertion == NONE {
            of_one_value(&[first], Reason::NeverWritten { read: first })
        } else {
            of_one_value(&[insertion, first, second], reason)
        });
    }
    for (rank, known) in (0..).zip(&ends) {
        pairing.pairs.extend(pair(history, rank, *known)?);
    }
    Ok(pairing)
}

/// The pair of one value; none for a value that nobody saw and that may not have been inserted.
fn pair(history: &[Operation<Event>], rank: u32, known: Ends) -> Result<Option<Pair>, Outcome> {
    let Ends {
        insertion, removal, ..
    } = known;
    if insertion == NONE {
        return match removal {
            NONE => Ok(None),
            read => Err(of_one_value(&[read], Reason::NeverWritten { read })),
        };
    }
    let inserting = &history[insertion as usize];
    if removal == NONE {
        return Ok((inserting.end != u64::MAX).then_some(Pair {
            insertion,
            removal,
            rank,
            call: inserting.call,
            inserted: inserting.end,
            removing: u64::MAX,
            end: u64::MAX,
        }));
    }
    let removing = &history[removal as usize];
    if removing.end < inserting.call {
        let reason = Reason::ReadBeforeWrite {
            read: removal,
            write: insertion,
        };
        return Err(of_one_value(&[insertion, removal], reason));
    }
    Ok(Some(Pair {
        insertion,
        removal,
        rank,
        call: inserting.call,
        inserted: inserting.end.min(removing.end),
        removing: removing.call.max(inserting.call),
        end: removing.end,
    }))
}

fn decide(pairing: &Pairing, discipline: &impl Discipline) -> Decision {
    let Pairing {
        pairs,
        empties,
        unseen,
    } = pairing;
    if unseen.is_empty() {
        return match refute(pairs, empties, discipline) {
            Some(clash) => Decision::Violation(clash),
            None => Decision::Linearizable,
        };
    }
    let due = due(pairing, discipline);
    for (count, wanted) in due.iter().enumerate() {
        if wanted.moment < unseen.get(count).map_or(u64::MAX, |&(call, _)| call) {
            return Decision::Violation(lost(pairing, &due[..=count], count));
        }
    }
    let mut assumed = pairs.clone();
    for (wanted, &(call, _)) in due.iter().zip(unseen) {
        let pair = &mut assumed[wanted.pair];
        pair.removing = call.max(pair.call);
    }
    if refute(&assumed, empties, discipline).is_none() {
        return Decision::Linearizable;
    }
    let earliest = unseen[0].0;
    for wanted in &due {
        let pair = &mut assumed[wanted.pair];
        pair.removing = earliest.max(pair.call);
    }
    match refute(&assumed, empties, discipline) {
        Some(clash) => {
            let needs_it = clash.pairs.iter().any(|&at| pairs[at].removal == NONE);
            Decision::Violation(Clash {
                unseen: usize::from(needs_it),
                ..clash
            })
        }
        None => Decision::Unknown,
    }
}

/// A pair without a removal, and by when somebody shows that it was gone.
struct Due {
    moment: u64,
    /// Orders those that nobody shows to be gone.
    inserted: u64,
    pair: usize,
    witness: Witness,
}

#[derive(Clone, Copy)]
enum Witness {
    Nobody,
    Pair(usize),
    Empty(usize),
}

/// All pairs without a removal, the most urgent first.
fn due(pairing: &Pairing, discipline: &impl Discipline) -> Vec<Due> {
    let pairs = &pairing.pairs;
    let remaining: Vec<usize> = (0..pairs.len())
        .filter(|&at| pairs[at].removal == NONE)
        .collect();
    // For each empty removal the first end of those that were called when it was, or later.
    let mut empties: Vec<(u64, u64, usize)> = (pairing.empties.iter().enumerate())
        .map(|(at, empty)| (empty.call, empty.end, at))
        .collect();
    empties.sort_unstable();
    for at in (1..empties.len()).rev() {
        if empties[at].1 < empties[at - 1].1 {
            (empties[at - 1].1, empties[at - 1].2) = (empties[at].1, empties[at].2);
        }
    }
    let forced = discipline.deadlines(pairs, &remaining);
    let mut due: Vec<Due> = (remaining.into_iter().zip(forced))
        .map(|(at, forced)| {
            let inserted = pairs[at].inserted;
            let later = empties.partition_point(|empty| empty.0 <= inserted);
            let (mut moment, mut witness) = (u64::MAX, Witness::Nobody);
            if let Some(&(_, end, empty)) = empties.get(later) {
                (moment, witness) = (end, Witness::Empty(empty));
            }
            if let Some(forced) = forced.filter(|forced| forced.moment < moment) {
                (moment, witness) = (forced.moment, Witness::Pair(forced.witness));
            }
            Due {
                moment,
                inserted,
                pair: at,
                witness,
            }
        })
        .collect();
    due.sort_unstable_by_key(|due| (due.moment, due.inserted));
    due
}

/// More pairs were gone by the last deadline of `due` than the first `unseen` removals can have taken.
fn lost(pairing: &Pairing, due: &[Due], unseen: usize) -> Clash {
    let mut pairs: Vec<usize> = due.iter().map(|due| due.pair).collect();
    let mut empties = Vec::new();
    let mut shown_by = NONE;
    for due in due {
        match due.witness {
            Witness::Pair(pair) => {
                pairs.push(pair);
                shown_by = pairing.pairs[pair].removal;
            }
            Witness::Empty(empty) => {
                empties.push(empty);
                shown_by = pairing.empties[empty].place;
            }
            Witness::Nobody => {}
        }
    }
    for places in [&mut pairs, &mut empties] {
        places.sort_unstable();
        places.dedup();
    }
    let last = (due.iter()).max_by_key(|due| pairing.pairs[due.pair].inserted);
    Clash {
        pairs,
        empties,
        unseen,
        reason: Reason::Lost {
            insertion: last.map_or(NONE, |due| pairing.pairs[due.pair].insertion),
            witness: shown_by,
        },
        is_smallest: false,
    }
}

/// A contradiction where all removals are known.
fn refute(pairs: &[Pair], empties: &[Empty], discipline: &impl Discipline) -> Option<Clash> {
    if let Some(crowd) = discipline.crowd(pairs) {
        return Some(Clash {
            pairs: crowd.pairs,
            empties: Vec::new(),
            unseen: 0,
            reason: crowd.reason,
            is_smallest: false,
        });
    }
    if empties.is_empty() {
        return None;
    }
    let union = cover::union(pairs);
    let at = (empties.iter()).position(|empty| cover::covers(&union, empty.call, empty.end))?;
    let Empty { place, call, end } = empties[at];
    Some(Clash {
        pairs: cover::chain(pairs, call, end),
        empties: vec![at],
        unseen: 0,
        reason: Reason::NotEmpty { empty: place },
        // The fewest that cover it, and what is linearizable without it is so with fewer pairs.
        is_smallest: true,
    })
}

/// Leaving out goes on for at most this many pairs looked at.
const EFFORT: usize = 50_000_000;

impl Pairing {
    fn part(&self, clash: &Clash, kept: &[usize]) -> Self {
        let (pairs, empties) = kept.split_at(kept.partition_point(|&at| at < clash.pairs.len()));
        Self {
            pairs: (pairs.iter().map(|&at| self.pairs[clash.pairs[at]])).collect(),
            empties: (empties.iter())
                .map(|&at| self.empties[clash.empties[at - clash.pairs.len()]])
                .collect(),
            unseen: self.unseen.clone(),
        }
    }

    fn evidence(&self, clash: &Clash, discipline: &impl Discipline) -> Evidence {
        let count = clash.pairs.len() + clash.empties.len();
        let mut left = EFFORT;
        let kept = if clash.is_smallest {
            (0..count).collect()
        } else {
            smallest(count, |part| {
                let mut part = part.to_vec();
                part.sort_unstable();
                let within = left.checked_sub(part.len() + self.unseen.len() + 1);
                left = within.unwrap_or(0);
                // Out of effort, whatever is asked about counts as no clash, so that it stays.
                within.is_some()
                    && matches!(
                        decide(&self.part(clash, &part), discipline),
                        Decision::Violation(_)
                    )
            })
        };
        let part = self.part(clash, &kept);
        let Decision::Violation(smaller) = decide(&part, discipline) else {
            return self.whole(clash);
        };
        let reason = smaller.reason;
        let is_smallest = clash.is_smallest
            || left > 0
                && (0..kept.len()).all(|without| {
                    let mut rest = kept.clone();
                    rest.remove(without);
                    let rest = self.part(clash, &rest);
                    matches!(decide(&rest, discipline), Decision::Linearizable)
                });
        Evidence {
            operations: part.operations(),
            unseen: self.first_unseen(smaller.unseen),
            reason,
            is_smallest,
        }
    }

    fn whole(&self, clash: &Clash) -> Evidence {
        let all: Vec<usize> = (0..clash.pairs.len() + clash.empties.len()).collect();
        let part = self.part(clash, &all);
        Evidence {
            operations: part.operations(),
            unseen: self.first_unseen(clash.unseen),
            reason: clash.reason,
            is_smallest: false,
        }
    }

    fn first_unseen(&self, count: usize) -> Vec<u32> {
        sorted(self.unseen[..count].iter().map(|&(_, place)| place))
    }

    /// Places of its operations but the unseen ones, ascending.
    fn operations(&self) -> Vec<u32> {
        let of_pairs = (self.pairs.iter()).flat_map(|pair| [pair.insertion, pair.removal]);
        sorted(
            of_pairs
                .chain(self.empties.iter().map(|empty| empty.place))
                .filter(|&place| place != NONE),
        )
    }
}

fn sorted(places: impl Iterator<Item = u32>) -> Vec<u32> {
    let mut places: Vec<u32> = places.collect();
    places.sort_unstable();
    places
}
