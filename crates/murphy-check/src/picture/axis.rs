//! The axis of a figure keeps the order of what happened, gives each thing the room its words need, and is broken
//! where time passes without anything to show.
//!
//! All places are in pixels of the figure, from the left edge of its lanes.

/// Something that lasts, with the room it needs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// From.
    pub from: u64,
    /// To.
    pub to: u64,
    /// The least width.
    pub room: f64,
}

/// Where the axis is broken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Break {
    /// The middle of it.
    pub at: f64,
    /// How much time is left out.
    pub passed: u64,
}

/// Where everything is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Axis {
    /// From and to of each interval, in the order they were given.
    pub places: Vec<(f64, f64)>,
    /// Where it is broken.
    pub breaks: Vec<Break>,
    /// Moments that can be written below it, and where.
    pub ticks: Vec<(f64, u64)>,
    /// Its length.
    pub width: f64,
}

/// Before the first and behind the last thing.
const MARGIN: f64 = 12.0;
/// Between two things that follow each other, at least and at most.
const GAP: (f64, f64) = (12.0, 48.0);
/// The width of a break.
const BREAK: f64 = 44.0;
/// The axis is broken where this many times the usual time passes.
const LONG: u64 = 20;
/// Nothing is drawn wider than this many times the room it needs.
const STRETCH: f64 = 2.6;
/// Between two ticks.
const TICK_GAP: f64 = 88.0;

/// The begin or the end of an interval.
#[derive(Clone, Copy, Debug)]
struct Point {
    moment: u64,
    interval: usize,
    is_end: bool,
}

/// Places intervals on an axis of at least `width`.
pub fn lay_out(intervals: &[Interval], width: f64) -> Axis {
    let points = in_order(intervals);
    let gaps = gaps(&points);
    let mut begins = vec![0.0; intervals.len()];
    let mut at: Vec<f64> = Vec::with_capacity(points.len());
    for (point, gap) in points.iter().zip(&gaps) {
        let mut here = at.last().map_or(0.0, |last| last + gap.px);
        if point.is_end {
            here = here.max(begins[point.interval] + intervals[point.interval].room);
        } else {
            begins[point.interval] = here;
        }
        at.push(here);
    }
    let total = at.last().copied().unwrap_or_default();
    let scale = if total > 0.0 {
        ((width - 2.0 * MARGIN) / total).clamp(1.0, STRETCH)
    } else {
        1.0
    };
    for place in &mut at {
        *place = MARGIN + *place * scale;
    }
    let mut places = vec![(MARGIN, MARGIN); intervals.len()];
    for (point, at) in points.iter().zip(&at) {
        let place = &mut places[point.interval];
        *if point.is_end {
            &mut place.1
        } else {
            &mut place.0
        } = *at;
    }
    let broken = (1..points.len()).filter(|i| gaps[*i].is_break);
    Axis {
        places,
        breaks: broken
            .map(|i| Break {
                at: f64::midpoint(at[i - 1], at[i]),
                passed: points[i].moment - points[i - 1].moment,
            })
            .collect(),
        ticks: ticks(&points, &at),
        width: (total * scale + 2.0 * MARGIN).max(width),
    }
}

/// Begins and ends by time; at the same time what begins comes before what ends, because an invocation precedes another
/// only where its end is *less* than the other's begin.
fn in_order(intervals: &[Interval]) -> Vec<Point> {
    let mut points: Vec<Point> = Vec::with_capacity(intervals.len() * 2);
    for (interval, i) in intervals.iter().enumerate() {
        for (moment, is_end) in [(i.from, false), (i.to.max(i.from), true)] {
            points.push(Point {
                moment,
                interval,
                is_end,
            });
        }
    }
    points.sort_by_key(|p| (p.moment, p.is_end, p.interval));
    points
}

/// The room before a point.
#[derive(Clone, Copy, Debug)]
struct Gap {
    px: f64,
    is_break: bool,
}

/// Roughly by the time that passes: the usual time is a usual gap.
fn gaps(points: &[Point]) -> Vec<Gap> {
    let passed = |i: usize| points[i].moment - points[i - 1].moment;
    let mut all: Vec<u64> = (1..points.len()).map(passed).filter(|p| *p > 0).collect();
    all.sort_unstable();
    let usual = all.get(all.len() / 2).copied().unwrap_or(1);
    let gap = |i: usize| {
        if i == 0 {
            return Gap {
                px: 0.0,
                is_break: false,
            };
        }
        let is_break = all.len() > 2 && passed(i) / LONG > usual;
        let px = if is_break {
            BREAK
        } else {
            (passed(i) as f64 / usual as f64 * 2.0 * GAP.0).clamp(GAP.0, GAP.1)
        };
        Gap { px, is_break }
    };
    (0..points.len()).map(gap).collect()
}

/// Begins have precedence over ends, earlier ones over later ones.
fn ticks(points: &[Point], at: &[f64]) -> Vec<(f64, u64)> {
    let mut ticks: Vec<(f64, u64)> = Vec::new();
    for ends in [false, true] {
        for (point, at) in points.iter().zip(at).filter(|(p, _)| p.is_end == ends) {
            if ticks
                .iter()
                .all(|(other, _)| (other - at).abs() >= TICK_GAP)
            {
                ticks.push((*at, point.moment));
            }
        }
    }
    ticks.sort_by(|a, b| a.0.total_cmp(&b.0));
    ticks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(from: u64, to: u64, room: f64) -> Interval {
        Interval { from, to, room }
    }

    #[test]
    fn order_and_room_are_kept_and_long_gaps_are_broken() {
        let intervals = [
            interval(10, 20, 90.0),
            interval(30, 45, 90.0),
            interval(5_000, 5_010, 90.0),
            interval(5_015, 5_030, 90.0),
        ];
        let axis = lay_out(&intervals, 900.0);
        let mut last = 0.0;
        for (interval, (from, to)) in intervals.iter().zip(&axis.places) {
            assert!(*from > last && to - from >= interval.room, "{axis:?}");
            last = *to;
        }
        let [only] = axis.breaks[..] else {
            panic!("one break: {axis:?}")
        };
        assert_eq!(only.passed, 4_955);
        assert!(axis.places[1].1 < only.at && only.at < axis.places[2].0);
    }

    #[test]
    fn what_overlaps_in_time_overlaps_in_the_figure() {
        for (second, overlaps) in [(5, true), (10, true), (11, false)] {
            let axis = lay_out(&[interval(0, 10, 50.0), interval(second, 20, 50.0)], 400.0);
            let [a, b] = axis.places[..] else {
                panic!("two places")
            };
            assert_eq!(b.0 < a.1, overlaps, "{axis:?}");
        }
    }

    #[test]
    fn a_crowd_makes_the_axis_longer_instead_of_itself_smaller() {
        let crowd: Vec<Interval> = (0..40).map(|i| interval(i, i + 1, 120.0)).collect();
        let axis = lay_out(&crowd, 900.0);
        assert!(axis.width > 900.0);
        assert!(axis.places.iter().all(|(from, to)| to - from >= 120.0));
        let gaps = axis.ticks.windows(2).map(|t| t[1].0 - t[0].0);
        assert!(gaps.into_iter().all(|gap| gap >= TICK_GAP));
        assert!((lay_out(&[], 900.0).width - 900.0).abs() < 1e-9);
    }
}
