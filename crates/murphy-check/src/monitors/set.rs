//! A set is added to, taken from and asked; O(n) time after sorting by value decides it where each value is added once.
//!
//! Values have nothing to do with one another, so a history is linearizable exactly if that of each value is. There,
//! the value is added at a moment `p` and taken out at `q ≥ p` (at the last moment of all where it never is); who saw
//! it must be open at a moment from `p` to `q`, who missed it at one that is not later than `p` or not earlier than
//! `q`. The first needs `p` at most the least end `a` of the addition, the removal and those who saw it, and `q` at
//! least the greatest call `b` of the same; the addition must not be called after that least end. The second wants
//! `p` as late and `q` as early as can be. If `b ≤ a`, let both be one moment between: nobody can miss it there, since
//! who missed it goes before or after. Otherwise take `p = a` and `q = b`, and a clash is who missed it and lies
//! strictly between.
//!
//! Of unknown outcome: an addition whose value nobody saw is left out. A removal may act at the last moment of all,
//! which is the same as not at all, so that of several the one called first is as good as any other, and none is
//! needed where an answered one took the value. Of additions all but one may not have happened: the answered one if
//! there is one, the earliest otherwise. If that one alone does not explain the rest, it is left open.

use super::{Evidence, Inapplicable, Operation, Outcome, Reason, groups::smallest};

/// What was asked of a set and answered. A question without an answer says nothing and is not part of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// This value was not in the set and was added, or may have been where the operation has no end.
    Add(u32),
    /// This value was in the set and was taken out, or may have been where the operation has no end.
    Remove(u32),
    /// This value was found: asked for, or added when it was there already.
    Present(u32),
    /// This value was not found: asked for, or to be taken out when it was not there.
    Absent(u32),
}

impl Access {
    fn value(self) -> u32 {
        match self {
            Self::Add(value) | Self::Remove(value) | Self::Present(value) | Self::Absent(value) => {
                value
            }
        }
    }
}

/// Judges a history of a set that is empty in the beginning.
pub fn check(history: &[Operation<Access>]) -> Outcome {
    let mut places: Vec<u32> = (0..).zip(history).map(|(at, _)| at).collect();
    places.sort_by_key(|&at| history[at as usize].event.value());
    let mut outcome = Outcome::Linearizable;
    let same = |a: &u32, b: &u32| value(history, *a) == value(history, *b);
    for part in places.chunk_by(same) {
        match judge(history, part) {
            Ok(None) => {}
            Ok(Some(reason)) => return Outcome::Violation(evidence(history, part, reason)),
            Err(cannot) => outcome = Outcome::Inapplicable(cannot),
        }
    }
    outcome
}

fn value(history: &[Operation<Access>], place: u32) -> u32 {
    history[place as usize].event.value()
}

fn judge(history: &[Operation<Access>], part: &[u32]) -> Result<Option<Reason>, Inapplicable> {
    let of = |place: u32| &history[place as usize];
    let is_answered = |place: &u32| of(*place).end != u64::MAX;
    let (mut additions, mut removals, mut seen, mut missed) = (vec![], vec![], vec![], vec![]);
    for &place in part {
        match of(place).event {
            Access::Add(_) => additions.push(place),
            Access::Remove(_) => removals.push(place),
            Access::Present(_) => seen.push(place),
            Access::Absent(_) => missed.push(place),
        }
    }
    let answered: Vec<u32> = removals.iter().copied().filter(is_answered).collect();
    seen.extend(answered.first());
    if let (Some(&read), []) = (seen.first(), &additions[..]) {
        return Ok(Some(Reason::NeverWritten { read }));
    }
    if seen.is_empty() {
        additions.retain(is_answered);
    }
    let Some(addition) = earliest(history, &additions) else {
        return Ok(None);
    };
    let sure: Vec<u32> = additions.iter().copied().filter(is_answered).collect();
    let addition = match sure[..] {
        [] => addition,
        [sure] => sure,
        _ => {
            return Err(Inapplicable::Repeated {
                value: value(history, part[0]),
            });
        }
    };
    let removal = answered.first().copied().or(earliest(history, &removals));
    match contradiction(history, addition, removal, &answered, &seen, &missed) {
        Some(_) if additions.len() > 1 => Err(Inapplicable::Repeated {
            value: value(history, part[0]),
        }),
        reason => Ok(reason),
    }
}

/// The one that was called first.
fn earliest(history: &[Operation<Access>], places: &[u32]) -> Option<u32> {
    places
        .iter()
        .copied()
        .min_by_key(|&place| history[place as usize].call)
}

/// Why one addition and at most one removal do not explain who saw the value and who missed it.
fn contradiction(
    history: &[Operation<Access>],
    addition: u32,
    removal: Option<u32>,
    answered: &[u32],
    seen: &[u32],
    missed: &[u32],
) -> Option<Reason> {
    let of = |place: u32| &history[place as usize];
    if let [first, second, ..] = answered[..] {
        return Some(Reason::RemovedTwice { first, second });
    }
    let early = seen
        .iter()
        .find(|&&place| of(place).end < of(addition).call);
    if let Some(&read) = early {
        return Some(Reason::ReadBeforeWrite {
            read,
            write: addition,
        });
    }
    let shown = || seen.iter().copied().chain([addition]);
    if let Some(&removal) = answered.first()
        && let Some(late) = shown().find(|&place| of(removal).end < of(place).call)
    {
        return Some(Reason::Gone { removal, late });
    }
    let since = shown()
        .min_by_key(|&place| of(place).end)
        .unwrap_or(addition);
    let until = removal.map(|removal| {
        let all = shown().chain([removal]);
        all.max_by_key(|&place| of(place).call).unwrap_or(removal)
    });
    let (begin, end) = (
        of(since).end,
        until.map_or(u64::MAX, |place| of(place).call),
    );
    let is_between = |place: &&u32| begin < of(**place).call && of(**place).end < end;
    let absent = *missed.iter().find(is_between)?;
    Some(Reason::Missed {
        since,
        absent,
        until,
    })
}

/// The operations that a reason names, with the addition and the removals of the value.
fn evidence(history: &[Operation<Access>], part: &[u32], reason: Reason) -> Evidence {
    let named: Vec<u32> = match reason {
        Reason::NeverWritten { read } => vec![read],
        Reason::ReadBeforeWrite { read, write } => vec![read, write],
        Reason::RemovedTwice { first, second } => vec![first, second],
        Reason::Gone { removal, late } => vec![removal, late],
        Reason::Missed {
            since,
            absent,
            until,
        } => [since, absent].into_iter().chain(until).collect(),
        _ => part.to_vec(),
    };
    let changes: Vec<u32> = (part.iter().copied())
        .filter(|&place| {
            matches!(
                history[place as usize].event,
                Access::Add(_) | Access::Remove(_)
            )
        })
        .collect();
    let mut looks = named;
    looks.retain(|place| !changes.contains(place));
    looks.sort_unstable();
    looks.dedup();
    // The first is all that changes the set; who saw the value goes with it.
    let chosen = |kept: &[usize]| -> Vec<u32> {
        let has_changes = kept.contains(&0) || changes.is_empty();
        let looks = kept.iter().filter(|&&at| at > 0).map(|&at| looks[at - 1]);
        let looks = looks.filter(|&place| {
            has_changes || matches!(history[place as usize].event, Access::Absent(_))
        });
        let mut chosen: Vec<u32> = looks.collect();
        if kept.contains(&0) {
            chosen.extend(&changes);
        }
        chosen.sort_unstable();
        chosen
    };
    let kept = smallest(looks.len() + 1, |kept| {
        matches!(judge(history, &chosen(kept)), Ok(Some(_)))
    });
    let operations = chosen(&kept);
    let reason = match judge(history, &operations) {
        Ok(Some(smaller)) => smaller,
        _ => reason,
    };
    Evidence {
        operations,
        unseen: Vec::new(),
        reason,
        is_smallest: true,
    }
}
