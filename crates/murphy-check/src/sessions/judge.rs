//! Judges a history key by key.

use super::{
    Access, Evidence, Guarantee, Inapplicable, Link, Operation, Outcome,
    graph::Graph,
    monotonic_reads, monotonic_writes, read_your_writes,
    versions::{Flaw, Versions},
    writes_follow_reads,
};
use crate::monitors::groups::smallest;

/// Judges one guarantee on all keys. A violation of any key comes before what cannot be told of another.
pub fn check(history: &[Operation], guarantee: Guarantee) -> Outcome {
    let mut places: Vec<u32> = (0..).zip(history).map(|(at, _)| at).collect();
    let at = |place: u32| &history[place as usize];
    // Stable: a session's operations stay in their order.
    places.sort_by_key(|&place| (at(place).key, at(place).session));
    let mut outcome = Outcome::Held;
    for part in places.chunk_by(|&a, &b| at(a).key == at(b).key) {
        match judge(history, part, guarantee) {
            Found::Nothing => {}
            Found::Circle(links) => {
                return Outcome::Violation(evidence(history, part, guarantee, &links));
            }
            Found::NeverWritten { read } => {
                return Outcome::Violation(Evidence {
                    operations: vec![read],
                    links: Vec::new(),
                    is_smallest: true,
                });
            }
            Found::Inapplicable(cannot) => outcome = Outcome::Inapplicable(cannot),
        }
    }
    outcome
}

enum Found {
    Nothing,
    Circle(Vec<Link>),
    NeverWritten { read: u32 },
    Inapplicable(Inapplicable),
}

type Demand = fn(&Versions, &mut Graph);

fn judge(history: &[Operation], part: &[u32], guarantee: Guarantee) -> Found {
    let versions = match Versions::new(history, part) {
        Ok(versions) => versions,
        Err(Flaw::NeverWritten { read }) => return Found::NeverWritten { read },
        Err(Flaw::Inapplicable(cannot)) => return Found::Inapplicable(cannot),
    };
    let alone: Demand = match guarantee {
        Guarantee::MonotonicReads => monotonic_reads::demand,
        Guarantee::ReadYourWrites => read_your_writes::demand,
        Guarantee::MonotonicWrites => monotonic_writes::demand,
        Guarantee::WritesFollowReads => writes_follow_reads::demand,
    };
    let is_noticed_alone = matches!(
        guarantee,
        Guarantee::MonotonicReads | Guarantee::ReadYourWrites
    );
    if is_noticed_alone {
        return circle(&versions, &[alone]).map_or(Found::Nothing, Found::Circle);
    }
    let Some(links) = circle(&versions, &[alone, monotonic_reads::demand]) else {
        return Found::Nothing;
    };
    if let Some(links) = circle(&versions, &[alone]) {
        return Found::Circle(links);
    }
    if circle(&versions, &[monotonic_reads::demand]).is_some() {
        let key = history[part[0] as usize].key;
        return Found::Inapplicable(Inapplicable::ReadsGoBack { key });
    }
    Found::Circle(links)
}

fn circle(versions: &Versions, demands: &[Demand]) -> Option<Vec<Link>> {
    let mut graph = Graph::new(versions);
    for demand in demands {
        demand(versions, &mut graph);
    }
    let value = |node: u32| versions.written[node as usize].0;
    let steps = graph.circle()?.into_iter();
    let links = steps.map(|step| Link {
        before: value(step.from),
        after: value(step.to),
        shown_by: step.shown_by,
    });
    Some(links.collect())
}

/// Leaving out goes on for at most this many operations looked at.
const EFFORT: usize = 20_000_000;

fn evidence(history: &[Operation], part: &[u32], guarantee: Guarantee, links: &[Link]) -> Evidence {
    let values = |place: u32| match history[place as usize].access {
        Access::Read(value) | Access::Write(value) => value,
    };
    let shown: Vec<u32> = (links.iter().filter_map(|link| link.shown_by))
        .flat_map(|(first, second)| [first, second])
        .collect();
    let needed: rustc_hash::FxHashSet<u32> = (shown.iter().map(|&place| values(place)))
        .chain(links.iter().flat_map(|link| [link.before, link.after]))
        .collect();
    // In the order of `part`, which is that of sessions.
    let named: rustc_hash::FxHashSet<u32> = shown.into_iter().collect();
    let is_write_of = |place: u32| match history[place as usize].access {
        Access::Write(value) => needed.contains(&value),
        Access::Read(_) => false,
    };
    let rough: Vec<u32> = (part.iter().copied())
        .filter(|&place| named.contains(&place) || is_write_of(place))
        .collect();
    let chosen = |kept: &[usize]| -> Vec<u32> {
        let mut kept = kept.to_vec();
        kept.sort_unstable();
        let written: rustc_hash::FxHashSet<u32> = (kept.iter())
            .filter(|&&at| matches!(history[rough[at] as usize].access, Access::Write(_)))
            .map(|&at| values(rough[at]))
            .chain([0])
            .collect();
        let kept = kept.into_iter().map(|at| rough[at]);
        kept.filter(|&place| written.contains(&values(place)))
            .collect()
    };
    let mut left = EFFORT;
    let kept = smallest(rough.len(), |kept| {
        let within = left.checked_sub(kept.len() + 1);
        left = within.unwrap_or(0);
        let part = chosen(kept);
        within.is_some()
            && !part.is_empty()
            && matches!(judge(history, &part, guarantee), Found::Circle(_))
    });
    let mut operations = chosen(&kept);
    let links = match judge(history, &operations, guarantee) {
        Found::Circle(links) => links,
        _ => links.to_vec(),
    };
    let is_needed = |without: usize| {
        let rest: Vec<usize> = (kept.iter().copied().filter(|&at| at != kept[without])).collect();
        let rest = chosen(&rest);
        rest.is_empty() || matches!(judge(history, &rest, guarantee), Found::Nothing)
    };
    let is_smallest = left > 0 && (0..kept.len()).all(is_needed);
    operations.sort_unstable();
    Evidence {
        operations,
        links,
        is_smallest,
    }
}
