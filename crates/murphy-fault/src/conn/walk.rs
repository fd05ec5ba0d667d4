//! A walk is how a pool of connections is expected to fare from draw to draw.
//!
//! Nobody knows how soon a real client connects again. The one assumed here does so at once, and where that fails, again
//! at each full second until it works.

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use super::spec::Share;
use crate::ratio::Ratio;

/// How long a client waits that could not connect, in milliseconds.
const RETRY_MS: u64 = 1000;
/// How often what has no formula is simulated, at most and at least: the bigger the pool, the less a run is off.
const RUNS_MAX: usize = 4000;
const RUNS_MIN: usize = 8;
/// About so many connections are simulated altogether.
const WORK_MAX: usize = 4_000_000;

/// What is expected just behind a draw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Point {
    /// Milliseconds since the first draw.
    pub at_ms: u64,
    /// Which share of the connections that were there at first were hit, from 0 to 1.
    pub hit: f64,
    /// How many connections were ended altogether, those that came in the place of others included.
    pub ended: f64,
    /// How many attempts to connect failed altogether.
    pub refused: f64,
    /// Which share of the pool is down, from 0 to 1.
    pub down: f64,
}

/// What is expected over time: a point at each draw.
pub type Curve = Vec<Point>;

/// What clients do whose connection has ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Clients {
    /// They connect again, which fails with this chance each time.
    Return(f64),
    /// They do not.
    Stay,
}

impl Clients {
    /// The chance that an attempt leaves a connection down.
    fn fails(self) -> f64 {
        match self {
            Self::Return(chance) => chance,
            Self::Stay => 1.0,
        }
    }

    /// How many of so many retries are expected to fail, for one that is down before them.
    fn failures(self, retries: u64) -> f64 {
        match self {
            Self::Return(chance) if chance < 1.0 => {
                chance * (1.0 - power(chance, retries)) / (1.0 - chance)
            }
            Self::Return(_) => retries as f64,
            Self::Stay => 0.0,
        }
    }

    fn attempts(self) -> f64 {
        if self == Self::Stay { 0.0 } else { 1.0 }
    }
}

/// A pool, and when it is drawn from.
#[derive(Clone, Debug)]
pub(super) struct Walk {
    /// How many connections it has.
    pub n: usize,
    /// Milliseconds since the first draw.
    pub times_ms: Vec<u64>,
}

/// How a draw counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counted {
    pub share: Share,
    /// At most this share of all that were ever seen.
    pub cap: Option<Ratio>,
}

impl Walk {
    fn retries_before(&self, draw: usize) -> u64 {
        let second = |draw: usize| self.times_ms[draw] / RETRY_MS;
        if draw == 0 {
            0
        } else {
            second(draw) - second(draw - 1)
        }
    }

    /// Each connection that is up is hit with a chance of its own, which only the draw decides: an exact expectation.
    pub(super) fn by_chance(&self, clients: Clients, chance: impl Fn(usize) -> f64) -> Curve {
        if self.n == 0 {
            return self.untouched();
        }
        let n = self.n as f64;
        let (mut kept, mut point) = (1.0, Point::default());
        let step = |(draw, at_ms): (usize, &u64)| {
            let retries = self.retries_before(draw);
            point.refused += n * point.down * clients.failures(retries);
            let down = point.down * power(clients.fails(), retries);
            let hit = (1.0 - down) * chance(draw);
            kept *= 1.0 - chance(draw);
            point.at_ms = *at_ms;
            point.hit = 1.0 - kept;
            point.ended += n * hit;
            point.refused += n * hit * clients.attempts() * clients.fails();
            point.down = down + hit * clients.fails();
            point
        };
        self.times_ms.iter().enumerate().map(step).collect()
    }

    /// Exactly so many of those that are up are hit at each draw. Says whether the expectation is exact; where nobody
    /// knows how many come back, it is the mean of simulated pools.
    pub(super) fn by_count(&self, clients: Clients, counted: Counted, seed: u64) -> (Curve, bool) {
        let fails = clients.fails();
        if self.n == 0 {
            return (self.untouched(), true);
        }
        if fails <= 0.0 {
            return (self.once_through(clients, counted, |_, _| 0), true);
        }
        if fails >= 1.0 {
            return (self.once_through(clients, counted, |count, _| count), true);
        }
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let work = self.times_ms.len() * counted.share.of(self.n) * 2;
        let runs = (WORK_MAX / work.max(1)).clamp(RUNS_MIN, RUNS_MAX);
        let mut sums = self.untouched();
        for _ in 0..runs {
            let run = self.once_through(clients, counted, |count, chance| {
                successes(&mut rng, count, chance)
            });
            for (sum, point) in sums.iter_mut().zip(run) {
                sum.hit += point.hit;
                sum.ended += point.ended;
                sum.refused += point.refused;
                sum.down += point.down;
            }
        }
        let runs = runs as f64;
        for sum in &mut sums {
            sum.hit /= runs;
            sum.ended /= runs;
            sum.refused /= runs;
            sum.down /= runs;
        }
        (sums, false)
    }

    /// One pool, of which `fail` says how many of so many clients fail that do so with a chance. Which connections are
    /// hit is not played: given how many there are, the chance of each is known.
    fn once_through(
        &self,
        clients: Clients,
        counted: Counted,
        mut fail: impl FnMut(usize, f64) -> usize,
    ) -> Curve {
        let n = self.n as f64;
        let (mut down, mut seen, mut ended) = (0, self.n, 0);
        let (mut kept, mut refused) = (1.0, 0.0);
        let step = |(draw, at_ms): (usize, &u64)| {
            let retries = self.retries_before(draw);
            refused += down as f64 * clients.failures(retries);
            if retries > 0 {
                let still = fail(down, power(clients.fails(), retries));
                seen += down - still;
                down = still;
            }
            let up = self.n - down;
            let mut k = counted.share.of(up);
            if let Some(cap) = counted.cap {
                k = k.min(cap.floor_of(seen).saturating_sub(ended));
            }
            if up > 0 {
                kept *= 1.0 - k as f64 / up as f64;
            }
            let failed = fail(k, clients.fails());
            seen += k - failed;
            refused += failed as f64 * clients.attempts();
            down += failed;
            ended += k;
            Point {
                at_ms: *at_ms,
                hit: 1.0 - kept,
                ended: ended as f64,
                refused,
                down: down as f64 / n,
            }
        };
        self.times_ms.iter().enumerate().map(step).collect()
    }

    fn untouched(&self) -> Curve {
        let point = |at_ms: &u64| Point {
            at_ms: *at_ms,
            ..Point::default()
        };
        self.times_ms.iter().map(point).collect()
    }
}

fn power(base: f64, exponent: u64) -> f64 {
    base.powf(exponent as f64)
}

/// How many of so many come true, each with a chance.
fn successes(rng: &mut impl Rng, count: usize, chance: f64) -> usize {
    (0..count).filter(|_| rng.random_bool(chance)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(n: usize, every_ms: u64, draws: u64) -> Walk {
        Walk {
            n,
            times_ms: (0..draws).map(|draw| draw * every_ms).collect(),
        }
    }

    fn counted(rate: &str, cap: Option<&str>) -> Counted {
        Counted {
            share: Share::Rate(rate.parse().unwrap()),
            cap: cap.map(|cap| cap.parse().unwrap()),
        }
    }

    fn is_near(found: f64, expected: f64, off: f64) -> bool {
        (found - expected).abs() <= off
    }

    #[test]
    fn what_is_drawn_by_count_is_what_the_formula_says() {
        let (curve, is_exact) =
            walk(10, 10_000, 12).by_count(Clients::Return(0.0), counted("20%", None), 1);
        assert!(is_exact);
        for (draw, point) in curve.iter().enumerate() {
            let formula = 1.0 - 0.8_f64.powf(draw as f64 + 1.0);
            assert!(is_near(point.hit, formula, 1e-12), "{point:?}");
            assert!(is_near(point.ended, 2.0 * (draw as f64 + 1.0), 1e-12));
            assert!(point.down == 0.0 && point.refused == 0.0);
        }
        // Nobody comes back: of 10, 8, 6, 4, 3, 2, 1 each time a fifth is taken, rounded up.
        let (curve, _) = walk(10, 10_000, 9).by_count(Clients::Stay, counted("20%", None), 1);
        let left: Vec<_> = curve.iter().map(|point| 10.0 - point.ended).collect();
        assert_eq!(left, [8.0, 6.0, 4.0, 3.0, 2.0, 1.0, 0.0, 0.0, 0.0]);
        assert!(
            curve
                .iter()
                .all(|point| is_near(point.hit, point.down, 1e-9))
        );
    }

    #[test]
    fn what_is_simulated_is_what_many_single_connections_come_to() {
        // Big pools are not off: what is taken exactly and what is taken by chance are nearly the same.
        let walk = walk(2000, 2000, 20);
        let clients = Clients::Return(0.5);
        let (simulated, is_exact) = walk.by_count(clients, counted("20%", None), 3);
        assert!(!is_exact);
        let formula = walk.by_chance(clients, |_| 0.2);
        for (one, other) in simulated.iter().zip(&formula) {
            assert!(is_near(one.hit, other.hit, 0.002), "{one:?} {other:?}");
            assert!(is_near(one.down, other.down, 0.002), "{one:?} {other:?}");
            assert!(is_near(one.refused / other.refused, 1.0, 0.01), "{one:?}");
            assert!(is_near(one.ended / other.ended, 1.0, 0.01), "{one:?}");
        }
        let (again, _) = walk.by_count(clients, counted("20%", None), 3);
        assert_eq!(simulated, again, "a seed says it all");
    }

    #[test]
    fn a_small_pool_is_simulated_as_played_connection_by_connection() {
        // The same pool with every connection played: the mean of 4,000 games is off by less than 0.03 (its deviation
        // is at most √(10 · ¼ / 4,000) / 10 = 0.0025 of a share; this is more than five of them, for both).
        let walk = walk(10, 1000, 6);
        let (simulated, _) = walk.by_count(Clients::Return(0.6), counted("29%", None), 5);
        let mut rng = ChaCha8Rng::seed_from_u64(17);
        let games = 4000;
        let (mut hit, mut down) = (vec![0.0; 6], vec![0.0; 6]);
        for _ in 0..games {
            // Of each: whether it is the original, and whether it is up.
            let mut pool = [(true, true); 10];
            for draw in 0..6 {
                for (_, is_up) in &mut pool {
                    *is_up = *is_up || (draw > 0 && !rng.random_bool(0.6));
                }
                let mut up: Vec<_> = (0..10).filter(|place| pool[*place].1).collect();
                let k = counted("29%", None).share.of(up.len());
                for _ in 0..k {
                    let place = up.swap_remove(rng.random_range(0..up.len()));
                    pool[place] = (false, !rng.random_bool(0.6));
                }
                let count = |is: fn(&(bool, bool)) -> bool| {
                    pool.iter().filter(|one| is(one)).count() as f64 / 10.0
                };
                hit[draw] += count(|one| !one.0) / f64::from(games);
                down[draw] += count(|one| !one.1) / f64::from(games);
            }
        }
        for (draw, point) in simulated.iter().enumerate() {
            assert!(is_near(point.hit, hit[draw], 0.03), "{point:?} {hit:?}");
            assert!(is_near(point.down, down[draw], 0.03), "{point:?} {down:?}");
        }
    }

    #[test]
    fn a_cap_holds_for_all_that_were_ever_there() {
        for (n, rate, cap) in [
            (10, "20%", "50%"),
            (100, "33.3%", "10%"),
            (1000, "57%", "99%"),
        ] {
            let share = cap.parse::<Ratio>().unwrap().get();
            let counted = counted(rate, Some(cap));
            let (returning, _) = walk(n, 1000, 50).by_count(Clients::Return(0.0), counted, 1);
            let mut seen = n as f64;
            for point in returning {
                assert!(point.ended <= share * seen + 1e-9, "{point:?} of {seen}");
                seen = n as f64 + point.ended;
            }
            let (staying, _) = walk(n, 1000, 50).by_count(Clients::Stay, counted, 1);
            assert!(staying.iter().all(|point| point.hit <= share + 1e-9));
        }
    }

    #[test]
    fn nothing_and_all_are_no_special_cases() {
        let all = |n, clients| {
            walk(n, 1000, 3)
                .by_count(clients, counted("100%", None), 1)
                .0
        };
        assert!(all(0, Clients::Stay).iter().all(|point| point.hit == 0.0));
        for n in [1, 10] {
            // Those that came back end as well, each time.
            let ended: Vec<_> = all(n, Clients::Return(0.0))
                .iter()
                .map(|point| (point.hit, point.ended / n as f64, point.down))
                .collect();
            assert_eq!(ended, [(1.0, 1.0, 0.0), (1.0, 2.0, 0.0), (1.0, 3.0, 0.0)]);
            // Nobody gets through.
            let barred = all(n, Clients::Return(1.0));
            let refused: Vec<_> = barred
                .iter()
                .map(|point| point.refused / n as f64)
                .collect();
            assert_eq!(refused, [1.0, 2.0, 3.0]);
            assert!(barred.iter().all(|point| is_near(point.down, 1.0, 1e-9)));
        }
        let chance = |n| walk(n, 1000, 3).by_chance(Clients::Stay, |_| 1.0);
        assert!(is_near(chance(0)[2].hit, 0.0, 0.0));
        assert_eq!((chance(5)[2].hit, chance(5)[2].ended), (1.0, 5.0));
    }
}
