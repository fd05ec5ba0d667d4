//! A skewing says how the time of day goes wrong for one member: by how much, how fast, how often.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::MS;

const S: u64 = 1_000 * MS;
const MINUTE: u64 = 60 * S;
const HOUR: u64 = 60 * MINUTE;

/// Units of an offset with the least and the most of them: each is as likely as another, so that a clock is as
/// often wrong by milliseconds as by hours.
const OFFSETS: [(u64, u64, u64); 4] = [(MS, 20, 999), (S, 1, 59), (MINUTE, 1, 59), (HOUR, 1, 24)];
/// The same of a strobe's step.
const STROBES: [(u64, u64, u64); 2] = [(MS, 20, 999), (S, 1, 59)];
/// How long a strobe stays at each end.
const STROBE_EVERY_MS: (u64, u64) = (50, 500);
/// A clock gains or loses this much: less would not be seen in the seconds that a skew lasts.
const DRIFT_PERCENT: (i32, i32) = (1, 10);
const PPM_OF_PERCENT: i32 = 10_000;

/// How one member's time of day differs from the true one. What does not exclude each other adds up; a clock
/// that stands still does nothing else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Skewing {
    /// A fixed distance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset_ns: Option<i64>,
    /// Gains this much, in parts per million.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift_ppm: Option<i32>,
    /// Steps to and fro.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strobe: Option<Strobe>,
    /// Stands still.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub freeze: bool,
}

/// A clock that steps away and back, over and over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Strobe {
    /// How far away.
    pub by_ns: i64,
    /// How long it stays at each end.
    pub every_ns: u64,
}

impl Skewing {
    /// Draws one of five kinds: an offset, a drift, both, a strobe, or a clock that stands still.
    pub(super) fn draw(rng: &mut ChaCha8Rng) -> Self {
        let mut skewing = Self::default();
        match rng.random_range(0..5_u32) {
            0 => skewing.offset_ns = Some(either_way(rng, &OFFSETS)),
            1 => skewing.drift_ppm = Some(drift(rng)),
            2 => {
                skewing.offset_ns = Some(either_way(rng, &OFFSETS));
                skewing.drift_ppm = Some(drift(rng));
            }
            3 => {
                let by_ns = either_way(rng, &STROBES);
                let every_ns = rng.random_range(STROBE_EVERY_MS.0..=STROBE_EVERY_MS.1) * MS;
                skewing.strobe = Some(Strobe { by_ns, every_ns });
            }
            _ => skewing.freeze = true,
        }
        skewing
    }
}

/// Whole units, forwards or backwards.
fn either_way(rng: &mut ChaCha8Rng, units: &[(u64, u64, u64)]) -> i64 {
    // Drawn as u32: the width of usize must not change what a seed means.
    let one_of = u32::try_from(units.len()).unwrap_or(u32::MAX);
    let unit = rng.random_range(0..one_of);
    let (unit_ns, least, most) = units[unit as usize];
    // A day at most, which fits.
    let size = i64::try_from(rng.random_range(least..=most) * unit_ns).unwrap_or(i64::MAX);
    if rng.random_bool(0.5) { size } else { -size }
}

fn drift(rng: &mut ChaCha8Rng) -> i32 {
    let ppm = rng.random_range(DRIFT_PERCENT.0..=DRIFT_PERCENT.1) * PPM_OF_PERCENT;
    if rng.random_bool(0.5) { ppm } else { -ppm }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn drawn(count: u64) -> Vec<Skewing> {
        let draw = |seed| Skewing::draw(&mut ChaCha8Rng::seed_from_u64(seed));
        (0..count).map(draw).collect()
    }

    #[test]
    fn every_draw_keeps_its_bounds() {
        for skewing in drawn(5_000) {
            let parts = [
                skewing.offset_ns.is_some() || skewing.drift_ppm.is_some(),
                skewing.strobe.is_some(),
                skewing.freeze,
            ];
            assert_eq!(parts.iter().filter(|p| **p).count(), 1, "{skewing:?}");
            let day_ns = 24 * HOUR;
            for (by_ns, most_ns) in [
                (skewing.offset_ns, day_ns),
                (skewing.strobe.map(|s| s.by_ns), MINUTE),
            ] {
                let Some(by_ns) = by_ns else { continue };
                assert!((20 * MS..=most_ns).contains(&by_ns.unsigned_abs()));
            }
            if let Some(strobe) = skewing.strobe {
                assert!((50 * MS..=500 * MS).contains(&strobe.every_ns));
            }
            if let Some(ppm) = skewing.drift_ppm {
                assert!((10_000..=100_000).contains(&ppm.abs()), "{ppm}");
            }
        }
    }

    /// Counts of kinds are binomial: with 5,000 draws and p = 1/5 the standard deviation is 28.3; 5 of them
    /// are exceeded once in 1.7 million draws of the seeds.
    #[test]
    fn every_kind_both_signs_and_every_size_come_up() {
        let drawn = drawn(5_000);
        let count = |is: &dyn Fn(&Skewing) -> bool| drawn.iter().filter(|s| is(s)).count();
        for (offset, drift) in [(true, false), (false, true), (true, true)] {
            let is =
                |s: &Skewing| (s.offset_ns.is_some(), s.drift_ppm.is_some()) == (offset, drift);
            assert!(count(&is).abs_diff(1_000) <= 141, "{}", count(&is));
        }
        assert!(count(&|s| s.strobe.is_some()).abs_diff(1_000) <= 141);
        assert!(count(&|s| s.freeze).abs_diff(1_000) <= 141);
        let offsets: Vec<i64> = drawn.iter().filter_map(|s| s.offset_ns).collect();
        let size = |least: u64, below: u64| {
            let sizes = offsets.iter().map(|o| o.unsigned_abs());
            sizes.filter(|s| (least..below).contains(s)).count()
        };
        for (least, below) in [(0, S), (S, MINUTE), (MINUTE, HOUR), (HOUR, 25 * HOUR)] {
            assert!(size(least, below) > 350, "{least} to {below}");
        }
        assert!(offsets.iter().filter(|o| **o < 0).count() > 800);
        assert!(offsets.iter().filter(|o| **o > 0).count() > 800);
    }

    #[test]
    fn only_what_is_asked_is_written() {
        let frozen = Skewing {
            freeze: true,
            ..Skewing::default()
        };
        assert_eq!(
            serde_json::to_string(&frozen).expect("plain data"),
            r#"{"freeze":true}"#
        );
        for skewing in drawn(100) {
            let text = serde_json::to_string(&skewing).expect("plain data");
            let back: Skewing = serde_json::from_str(&text).expect("what was written");
            assert_eq!(back, skewing);
        }
        assert!(serde_json::from_str::<Skewing>(r#"{"jump_ns":1}"#).is_err());
    }
}
