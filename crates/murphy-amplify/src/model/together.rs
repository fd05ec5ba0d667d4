//! Errors that come together do so by chance, or because they have one cause: then a program meets them together, and surviving each
//! alone says little.
//!
//! Whether two errors came in the same intervals more often than by chance is Fisher's exact test (1922), one-sided, over the intervals
//! in which both kinds of calls were made; of all pairs together no more than 5 % are ever wrong (Holm, 1979). The test holds intervals
//! for exchangeable: two errors that both follow the load of the day come together, too, and are told; that they do is a fact, why is not.

/// At most so likely is any of the pairs that are told one by chance.
const LEVEL: f64 = 0.05;
/// In fewer intervals together nothing is told.
const TOGETHER_LEAST: u64 = 5;
/// So many times as often as by chance: less is no cause, however sure it is.
const LIFT_LEAST: f64 = 2.0;
/// More errors together are no experiment.
const MEMBERS_MAX: usize = 8;

/// In which intervals something was so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Intervals(Vec<u64>);

impl Intervals {
    /// From one answer an interval.
    pub fn of(all: impl Iterator<Item = bool>) -> Self {
        let mut words = Vec::new();
        for (at, is_so) in all.enumerate() {
            if at % 64 == 0 {
                words.push(0);
            }
            if let Some(word) = words.last_mut() {
                *word |= u64::from(is_so) << (at % 64);
            }
        }
        Self(words)
    }
}

/// How many intervals all of these share.
fn shared(all: &[&Intervals]) -> u64 {
    let words = all.iter().map(|one| one.0.len()).min().unwrap_or(0);
    let word = |at: usize| all.iter().fold(u64::MAX, |word, one| word & one.0[at]);
    (0..words).map(|at| u64::from(word(at).count_ones())).sum()
}

/// An error, by its intervals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occurrence {
    /// Those in which it came.
    pub seen: Intervals,
    /// Those in which a call of its kind was made.
    pub called: Intervals,
}

/// Errors that came together.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Which, by their places.
    pub members: Vec<usize>,
    /// How likely the least sure of their pairs is one by chance, of all that were tested.
    pub p: f64,
}

/// A pair, and how it came.
struct Pair {
    one: usize,
    other: usize,
    p: f64,
    /// Whether they came together often enough to be told.
    is_much: bool,
}

/// Those of some errors that came together: each pair of a group is one.
pub fn groups(all: &[Occurrence]) -> Vec<Group> {
    let pairs = told(all);
    let p_of = |one: usize, other: usize| {
        let (one, other) = (one.min(other), one.max(other));
        let mut pairs = pairs.iter();
        let found = pairs.find(|(pair, _)| (pair.one, pair.other) == (one, other));
        found.map(|(_, p)| *p)
    };
    let mut groups: Vec<Vec<usize>> = Vec::new();
    // The surest first; a group takes in only who came with all of it.
    for (pair, _) in &pairs {
        let place = |who: usize| groups.iter().position(|group| group.contains(&who));
        let (at, to) = (place(pair.one), place(pair.other));
        if at.is_some() && at == to {
            continue;
        }
        let members = |at: Option<usize>, who: usize| at.map_or(vec![who], |at| groups[at].clone());
        let (mine, theirs) = (members(at, pair.one), members(to, pair.other));
        let is_all = mine
            .iter()
            .all(|one| theirs.iter().all(|other| p_of(*one, *other).is_some()));
        if !is_all || mine.len() + theirs.len() > MEMBERS_MAX {
            continue;
        }
        groups.retain(|group| *group != mine && *group != theirs);
        groups.push([mine, theirs].concat());
    }
    let groups = groups.into_iter().map(|mut members| {
        members.sort_unstable();
        let pairs = members.iter().flat_map(|one| {
            let others = members.iter().filter(move |other| one < *other);
            others.filter_map(|other| p_of(*one, *other))
        });
        let p = pairs.fold(0.0, f64::max);
        Group { members, p }
    });
    groups.collect()
}

/// The pairs that came together, the surest first, each with how likely it is one by chance, of all that were tested.
fn told(all: &[Occurrence]) -> Vec<(Pair, f64)> {
    let longest = all.iter().map(|one| one.called.0.len()).max().unwrap_or(0);
    let logs = log_factorials(longest * 64);
    let mut pairs = Vec::new();
    for (at, one) in all.iter().enumerate() {
        for (further, other) in all[at + 1..].iter().enumerate() {
            let other_at = at + 1 + further;
            pairs.extend(pair(one, other, &logs).map(|(p, is_much)| Pair {
                one: at,
                other: other_at,
                p,
                is_much,
            }));
        }
    }
    pairs.sort_by(|a, b| a.p.total_cmp(&b.p));
    let count = pairs.len();
    let mut adjusted: f64 = 0.0;
    let mut told = Vec::new();
    for (rank, pair) in pairs.into_iter().enumerate() {
        adjusted = adjusted.max((pair.p * (count - rank) as f64).min(1.0));
        if adjusted > LEVEL {
            break;
        }
        if pair.is_much {
            told.push((pair, adjusted));
        }
    }
    told
}

/// How likely two errors come together so often by chance, and whether that is often; none where nothing could be told.
fn pair(one: &Occurrence, other: &Occurrence, logs: &[f64]) -> Option<(f64, bool)> {
    let (a, b) = (&one.called, &other.called);
    let all = shared(&[a, b]);
    let of_one = shared(&[a, b, &one.seen]);
    let of_other = shared(&[a, b, &other.seen]);
    // What is in all intervals or in none comes with everything.
    if of_one.min(of_other) == 0 || of_one.max(of_other) == all {
        return None;
    }
    let both = shared(&[a, b, &one.seen, &other.seen]);
    let by_chance = of_one as f64 * of_other as f64 / all as f64;
    let is_much = both >= TOGETHER_LEAST && both as f64 >= LIFT_LEAST * by_chance;
    Some((fisher(both, of_one, of_other, all, logs), is_much))
}

/// How likely at least `both` of `all` intervals have both of two errors by chance, which are in `one` and in `other` of them: the tail of
/// the hypergeometric distribution.
fn fisher(both: u64, one: u64, other: u64, all: u64, logs: &[f64]) -> f64 {
    let log = |n: u64| usize::try_from(n).ok().and_then(|n| logs.get(n)).copied();
    let choose = |n: u64, k: u64| Some(log(n)? - log(k)? - log(n.checked_sub(k)?)?);
    // What does not fit cannot be.
    let chance = |k: u64| -> Option<f64> {
        let log = choose(one, k)? + choose(all.checked_sub(one)?, other.checked_sub(k)?)?;
        Some((log - choose(all, other)?).exp())
    };
    let mut sum = 0.0;
    for k in both..=one.min(other) {
        let term = chance(k).unwrap_or(0.0);
        sum += term;
        // Above the mean they only shrink.
        if term < sum * 1e-17 && k as f64 * all as f64 > one as f64 * other as f64 {
            break;
        }
    }
    sum.min(1.0)
}

/// The logarithms of 0! to n!.
fn log_factorials(n: usize) -> Vec<f64> {
    let logs = (1..=n).scan(0.0, |sum, k| {
        *sum += (k as f64).ln();
        Some(*sum)
    });
    std::iter::once(0.0).chain(logs).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    fn occurrence(seen: &[bool]) -> Occurrence {
        Occurrence {
            seen: Intervals::of(seen.iter().copied()),
            called: Intervals::of(seen.iter().map(|_| true)),
        }
    }

    #[test]
    fn the_exact_test_is_fishers() {
        let logs = log_factorials(100);
        // Fisher's tea, and all ways to share 3 of 10 and 4 of 10 by hand: (C(4,2) C(6,1) + C(4,3)) / C(10,3).
        for (both, one, other, all, p) in [
            (3, 4, 4, 8, 17.0 / 70.0),
            (4, 4, 4, 8, 1.0 / 70.0),
            (2, 3, 4, 10, 40.0 / 120.0),
            (0, 3, 4, 10, 1.0),
            (4, 3, 4, 10, 0.0),
        ] {
            let found = fisher(both, one, other, all, &logs);
            assert!(
                (found - p).abs() < 1e-12,
                "{both} {one} {other} {all}: {found}"
            );
        }
    }

    #[test]
    fn errors_of_one_cause_are_told_and_others_are_not() {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let mut seen = vec![Vec::new(); 6];
        for _ in 0..2000 {
            let is_cut = random.random_bool(0.02);
            for (at, seen) in seen.iter_mut().enumerate() {
                // The first three come with a cut; all come alone, too.
                let with_it = at < 3 && is_cut && random.random_bool(0.8);
                seen.push(with_it || random.random_bool(0.03));
            }
        }
        let all: Vec<Occurrence> = seen.iter().map(|one| occurrence(one)).collect();
        let groups = groups(&all);
        assert_eq!(groups.len(), 1, "{groups:?}");
        assert_eq!(groups[0].members, [0, 1, 2]);
        assert!(groups[0].p < 0.001);
    }

    #[test]
    fn chance_is_hardly_ever_told_as_a_cause() {
        let mut random = ChaCha8Rng::seed_from_u64(2);
        let mut wrong = 0;
        for _ in 0..100 {
            let all: Vec<Occurrence> = (0..12)
                .map(|_| {
                    let rate = random.random_range(0.01..0.5);
                    let seen: Vec<bool> = (0..500).map(|_| random.random_bool(rate)).collect();
                    occurrence(&seen)
                })
                .collect();
            wrong += u32::from(!groups(&all).is_empty());
        }
        assert!(wrong <= 5, "{wrong} of 100");
    }

    #[test]
    fn what_is_always_or_never_there_tells_nothing() {
        let always = occurrence(&[true; 100]);
        let never = occurrence(&[false; 100]);
        let some = occurrence(&(0..100).map(|at| at % 5 == 0).collect::<Vec<_>>());
        assert!(groups(&[always, never, some.clone()]).is_empty());
        assert!(groups(&[]).is_empty());
        // The same in the same intervals is one thing, where both were called.
        assert_eq!(groups(&[some.clone(), some.clone()])[0].members, [0, 1]);
        let elsewhere = Occurrence {
            called: Intervals::of((0..100).map(|at| at % 5 == 1)),
            ..some.clone()
        };
        assert!(groups(&[some, elsewhere]).is_empty());
    }
}
