//! A course says what a skew adds to its clocks at every instant of its life, so that anybody can compute
//! it at any time: the injector, `murphy update`, or whoever takes another skew off the same process.

use murphy_sys::{
    clock::boottime_ns,
    vdso::{Segment, Slot, Timescale},
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::{
    SkewError,
    spec::{Clocks, Spec},
};
use crate::{
    journal::{Journal, id_of},
    span::{Shift, Until},
};

/// A skew from its start to its end, on boottime.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Course {
    /// The skew as it was asked for.
    pub spec: Spec,
    /// The fixed distance it came to: that of the offset, the date, or the draw.
    pub offset: Shift,
    /// When it began, ns of boottime.
    pub began_ns: u64,
    /// When it ends; `None` for never.
    pub until_ns: Option<u64>,
}

/// A straight piece of a course.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Piece {
    /// What is added at its beginning, in nanoseconds.
    shift_ns: i128,
    /// How fast that grows.
    rate: f64,
    /// When the next begins, ns of boottime; `None` for never.
    next_ns: Option<u64>,
}

impl Course {
    /// The course of injection `id`, as the journal has it.
    pub fn read(id: &str, spec: serde_json::Value) -> Result<Self, SkewError> {
        serde_json::from_value(spec).map_err(|error| SkewError::Spec {
            id: id.to_owned(),
            error: error.to_string(),
        })
    }

    /// The course of a skew that begins now. `seed` is the run's.
    pub fn begin(spec: Spec, until: Until, seed: u64) -> Self {
        let began_ns = boottime_ns();
        let until_ns = match until {
            Until::Forever => None,
            Until::After(span) => {
                let span = u64::try_from(span.0.as_nanos()).unwrap_or(u64::MAX);
                Some(began_ns.saturating_add(span))
            }
        };
        let offset = match (spec.at, spec.random) {
            (Some(date), _) => date.0 - Timescale::Realtime.now_ns(),
            (None, Some(within)) => {
                let within = i64::try_from(within.0.as_nanos()).unwrap_or(i64::MAX);
                ChaCha8Rng::seed_from_u64(seed).random_range(-within..=within)
            }
            (None, None) => spec.offset.unwrap_or_default().0,
        };
        Self {
            spec,
            offset: Shift(offset),
            began_ns,
            until_ns,
        }
    }

    /// The clocks it skews.
    pub fn clocks(&self) -> &Clocks {
        &self.spec.clocks
    }

    /// What it adds at an instant of boottime, in nanoseconds.
    pub fn shift_ns(&self, at_ns: u64) -> i64 {
        let shift = self.piece(at_ns).map_or(0, |piece| piece.shift_ns);
        i64::try_from(shift).unwrap_or(i64::MAX)
    }

    /// The piece in force at an instant; `None` when it is over.
    fn piece(&self, at_ns: u64) -> Option<Piece> {
        if self.until_ns.is_some_and(|until| at_ns >= until) {
            return None;
        }
        let since = at_ns.saturating_sub(self.began_ns);
        let mut piece = Piece {
            shift_ns: self.offset.0.into(),
            rate: 0.0,
            next_ns: self.until_ns,
        };
        let mut next = |after_ns: u64| {
            let next = self.began_ns.saturating_add(after_ns);
            piece.next_ns = Some(piece.next_ns.map_or(next, |known| known.min(next)));
        };
        let mut stepped = 0;
        for jump in &self.spec.jumps {
            let at = u64::try_from(jump.at.0.as_nanos()).unwrap_or(u64::MAX);
            if since >= at {
                stepped += i128::from(jump.by.0);
            } else {
                next(at);
            }
        }
        if let Some(strobe) = self.spec.strobe {
            let every = u64::try_from(strobe.every.0.as_nanos())
                .unwrap_or(u64::MAX)
                .max(1);
            let turns = since / every;
            if turns.is_multiple_of(2) {
                stepped += i128::from(strobe.by.0);
            }
            next((turns + 1).saturating_mul(every));
        }
        piece.shift_ns += stepped;
        let rate = if self.spec.freeze {
            -1.0
        } else {
            self.spec.drift.unwrap_or_default().0 * 1e-6
        };
        #[allow(clippy::cast_possible_truncation, reason = "at most `since`")]
        let gained = (rate * since as f64) as i128;
        piece.shift_ns += gained;
        piece.rate = rate;
        Some(piece)
    }
}

/// What several courses add up to at an instant: the slot for the hook, and when it must have been written
/// anew; `None` for never.
pub fn slot(courses: &[Course]) -> (Slot, Option<u64>) {
    let mut slot = Slot::default();
    let mut renew = None;
    for timescale in Timescale::ALL {
        let clocks: Vec<_> = courses
            .iter()
            .flat_map(|course| course.clocks().of(timescale))
            .collect();
        if clocks.is_empty() {
            continue;
        }
        let on_it: Vec<&Course> = courses
            .iter()
            .filter(|course| !course.clocks().of(timescale).is_empty())
            .collect();
        // Both clocks at one instant, as nearly as it goes.
        let (now_ns, shown_ns) = (boottime_ns(), timescale.now_ns());
        let first = sum(&on_it, now_ns);
        let second = first
            .and_then(|piece| piece.next_ns)
            .and_then(|at| sum(&on_it, at).map(|piece| (at, piece)));
        let on_clock = |at_ns: u64| {
            let ahead = i64::try_from(at_ns.saturating_sub(now_ns)).unwrap_or(i64::MAX);
            shown_ns.saturating_add(ahead)
        };
        let segment = |at_ns: u64, piece: &Piece| {
            let until = piece.next_ns.map_or(i64::MAX, on_clock);
            let most = i128::from(i64::MAX);
            let shift = i64::try_from(piece.shift_ns.clamp(-most, most)).unwrap_or(0);
            Segment::new(on_clock(at_ns), shift, piece.rate, until)
        };
        let segments = match (first, second) {
            (None, _) => continue,
            (Some(first), None) => [segment(now_ns, &first), Segment::default()],
            (Some(first), Some((at, second))) => {
                // While the second holds there is time to write the third.
                renew = renew.into_iter().chain(Some(at)).min();
                [segment(now_ns, &first), segment(at, &second)]
            }
        };
        slot.set(timescale, &clocks, segments);
    }
    (slot, renew)
}

/// The sum of the pieces in force at an instant; `None` when all are over.
fn sum(courses: &[&Course], at_ns: u64) -> Option<Piece> {
    let pieces = courses.iter().filter_map(|course| course.piece(at_ns));
    pieces.reduce(|one, other| Piece {
        shift_ns: one.shift_ns + other.shift_ns,
        rate: one.rate + other.rate,
        next_ns: one.next_ns.into_iter().chain(other.next_ns).min(),
    })
}

/// What the injections `holders` do, as far as they are in force; the journal knows it.
pub fn of_holders(journal: &Journal, holders: &[u32]) -> Result<Vec<Course>, SkewError> {
    let mut courses = Vec::new();
    for holder in holders {
        let id = id_of(*holder);
        if let Some(spec) = journal.read(&id)?.and_then(|record| record.spec) {
            courses.push(Course::read(&id, spec)?);
        }
    }
    Ok(courses)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::spec::Drift;

    const S: i64 = 1_000_000_000;

    fn course(spec: Spec, seconds: Option<u64>) -> Course {
        Course {
            offset: spec.offset.unwrap_or_default(),
            spec,
            began_ns: 100 * S.unsigned_abs(),
            until_ns: seconds.map(|s| (100 + s) * S.unsigned_abs()),
        }
    }

    fn at(course: &Course, millis: u64) -> i64 {
        course.shift_ns(100 * S.unsigned_abs() + millis * 1_000_000)
    }

    #[test]
    fn every_kind_of_skew_is_what_it_says_at_every_time() {
        let spec = Spec::default;
        let offset = course(
            Spec {
                offset: Some(Shift(-600 * S)),
                drift: Some(Drift(1000.0)),
                ..spec()
            },
            Some(10),
        );
        assert_eq!(at(&offset, 0), -600 * S);
        assert_eq!(at(&offset, 5000), -600 * S + 5_000_000);
        assert_eq!(at(&offset, 10_000), 0, "it is over");
        let frozen = course(
            Spec {
                freeze: true,
                ..spec()
            },
            None,
        );
        assert_eq!(at(&frozen, 7000), -7 * S);
        let jumps = course(
            Spec {
                jumps: vec!["+5s@1s".parse().unwrap(), "-7s@3s".parse().unwrap()],
                ..spec()
            },
            None,
        );
        let seen: Vec<_> = [0, 999, 1000, 2999, 3000]
            .map(|ms| at(&jumps, ms) / S)
            .into();
        assert_eq!(seen, [0, 0, 5, 5, -2]);
        let strobe = course(
            Spec {
                strobe: Some("200ms every 10ms".parse().unwrap()),
                ..spec()
            },
            None,
        );
        let seen: Vec<_> = [0, 9, 10, 19, 20]
            .map(|ms| at(&strobe, ms) / 1_000_000)
            .into();
        assert_eq!(seen, [200, 200, 0, 0, 200]);
    }

    #[test]
    fn courses_add_up_until_each_ends() {
        let offset = |seconds: i64| Spec {
            offset: Some(Shift(seconds * S)),
            ..Spec::default()
        };
        let (short, long) = (course(offset(5), Some(2)), course(offset(-3), Some(4)));
        let both = [&short, &long];
        let at = |s: u64| sum(&both, (100 + s) * S.unsigned_abs());
        let seconds = |piece: Option<Piece>| piece.map(|p| p.shift_ns / i128::from(S));
        assert_eq!(seconds(at(0)), Some(2));
        assert_eq!(at(0).unwrap().next_ns, Some(102 * S.unsigned_abs()));
        assert_eq!(seconds(at(2)), Some(-3));
        assert_eq!(seconds(at(4)), None);
    }

    #[test]
    fn a_draw_is_the_seeds() {
        let spec = Spec {
            random: Some("10s".parse().unwrap()),
            ..Spec::default()
        };
        let draw = |seed| Course::begin(spec.clone(), Until::Forever, seed).offset.0;
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        assert!((0..100).all(|seed| draw(seed).abs() <= 10 * S));
    }
}
