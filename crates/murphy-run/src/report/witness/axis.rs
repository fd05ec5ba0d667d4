//! The axis of a witness keeps the order of what happened and gives each thing the room its label needs;
//! where time passes without anything to show, it is cut.
//!
//! All places are in hundredths of the picture's width.

/// Something that lasts, with the room it needs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// From, in nanoseconds.
    pub from_ns: u64,
    /// To.
    pub to_ns: u64,
    /// The least width.
    pub room: f64,
}

/// Where everything is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Axis {
    /// From and to of each interval, in the order they were given.
    pub places: Vec<(f64, f64)>,
    /// Where the axis is cut.
    pub cuts: Vec<f64>,
    /// The times that can be written below it.
    pub ticks: Vec<Tick>,
}

/// A time written below the axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Tick {
    /// Where.
    pub at: f64,
    /// When.
    pub time_ns: u64,
    /// Whether there is room for it on a narrow screen.
    pub fits_narrow: bool,
}

const FIRST: f64 = 2.0;
const LAST: f64 = 98.0;
/// Between two things that follow each other.
const GAP: f64 = 2.0;
/// Between two things with a cut between them.
const CUT_GAP: f64 = 6.0;
/// Nothing is drawn wider than this many times the room it needs.
const STRETCH: f64 = 2.5;
/// Time that passes this many times faster than usual is cut out.
const CUT_RATE: f64 = 10.0;
/// Ticks are at least this far apart, and on a narrow screen.
const TICK_GAP: (f64, f64) = (7.0, 17.0);

/// The begin or the end of an interval.
#[derive(Clone, Copy, Debug)]
struct Point {
    time_ns: u64,
    interval: usize,
    is_end: bool,
}

/// Places intervals.
pub fn lay_out(intervals: &[Interval]) -> Axis {
    let points = in_order(intervals);
    let gaps = vec![GAP; points.len()];
    let cut = cuts(&points, &stacked(&points, intervals, &gaps));
    let gaps: Vec<f64> = cut.iter().map(|c| if *c { CUT_GAP } else { GAP }).collect();
    let at = scaled(&stacked(&points, intervals, &gaps));

    let mut places = vec![(FIRST, FIRST); intervals.len()];
    for (point, at) in points.iter().zip(&at) {
        let place = &mut places[point.interval];
        *if point.is_end {
            &mut place.1
        } else {
            &mut place.0
        } = *at;
    }
    let before_cuts = (0..points.len()).filter(|i| cut[*i]);
    Axis {
        places,
        cuts: before_cuts
            .map(|i| f64::midpoint(at[i - 1], at[i]))
            .collect(),
        ticks: ticks(&points, &at),
    }
}

/// Begins and ends by time; at the same time, what ends comes before what begins, and an instant begins
/// before it ends.
fn in_order(intervals: &[Interval]) -> Vec<Point> {
    let mut points: Vec<(u8, Point)> = Vec::with_capacity(intervals.len() * 2);
    for (interval, i) in intervals.iter().enumerate() {
        let instant = i.from_ns == i.to_ns;
        for is_end in [false, true] {
            let rank = match (instant, is_end) {
                (true, _) => 1,
                (false, true) => 0,
                (false, false) => 2,
            };
            let time_ns = if is_end { i.to_ns } else { i.from_ns };
            let point = Point {
                time_ns,
                interval,
                is_end,
            };
            points.push((rank, point));
        }
    }
    points.sort_by_key(|(rank, p)| (p.time_ns, *rank, p.interval, p.is_end));
    points.into_iter().map(|(_, point)| point).collect()
}

/// The leftmost places that keep the order, the gaps (before each point) and the room of each interval.
fn stacked(points: &[Point], intervals: &[Interval], gaps: &[f64]) -> Vec<f64> {
    let mut begins = vec![0.0; intervals.len()];
    let mut at: Vec<f64> = Vec::with_capacity(points.len());
    for (point, gap) in points.iter().zip(gaps) {
        let mut here = at.last().map_or(0.0, |last| last + gap);
        if point.is_end {
            here = here.max(begins[point.interval] + intervals[point.interval].room);
        } else {
            begins[point.interval] = here;
        }
        at.push(here);
    }
    at
}

/// Whether the axis is cut before each point.
fn cuts(points: &[Point], at: &[f64]) -> Vec<bool> {
    let rate = |i: usize| {
        let passed_ns = points[i].time_ns - points[i - 1].time_ns;
        passed_ns as f64 / (at[i] - at[i - 1]).max(GAP)
    };
    let mut rates: Vec<f64> = (1..points.len()).map(rate).collect();
    rates.sort_by(f64::total_cmp);
    let usual = rates.get(rates.len() / 2).copied().unwrap_or_default();
    (0..points.len())
        .map(|i| i > 0 && points.len() > 3 && rate(i) > CUT_RATE * usual)
        .collect()
}

fn scaled(at: &[f64]) -> Vec<f64> {
    let total = at.last().copied().unwrap_or_default();
    let scale = if total > 0.0 {
        ((LAST - FIRST) / total).min(STRETCH)
    } else {
        1.0
    };
    at.iter().map(|x| FIRST + x * scale).collect()
}

/// Begins have precedence over ends, earlier ones over later ones.
fn ticks(points: &[Point], at: &[f64]) -> Vec<Tick> {
    let mut ticks: Vec<Tick> = Vec::new();
    for ends in [false, true] {
        for (point, at) in points.iter().zip(at).filter(|(p, _)| p.is_end == ends) {
            let free = |gap: f64| move |t: &Tick| (t.at - at).abs() >= gap;
            if ticks.iter().all(free(TICK_GAP.0)) {
                let narrow = ticks.iter().filter(|t| t.fits_narrow);
                let fits_narrow = narrow.into_iter().all(free(TICK_GAP.1));
                ticks.push(Tick {
                    at: *at,
                    time_ns: point.time_ns,
                    fits_narrow,
                });
            }
        }
    }
    ticks.sort_by(|a, b| a.at.total_cmp(&b.at));
    ticks
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn interval(from_ms: u64, to_ms: u64, room: f64) -> Interval {
        Interval {
            from_ns: from_ms * MS,
            to_ns: to_ms * MS,
            room,
        }
    }

    /// A put, the kill after it, and two reads long after.
    fn found_bug() -> [Interval; 4] {
        [
            interval(12_310, 12_356, 15.0),
            interval(12_400, 15_600, 9.0),
            interval(19_010, 19_015, 15.0),
            interval(19_020, 19_024, 15.0),
        ]
    }

    #[test]
    fn order_and_room_are_kept() {
        let intervals = found_bug();
        let axis = lay_out(&intervals);
        let mut last = 0.0;
        for (interval, (from, to)) in intervals.iter().zip(&axis.places) {
            assert!(*from > last, "{axis:?}");
            assert!(to - from >= interval.room, "{axis:?}");
            last = *to;
        }
        assert!((last - LAST).abs() < 1e-9);
    }

    #[test]
    fn the_axis_is_cut_where_nothing_happens() {
        let axis = lay_out(&found_bug());
        let between = |from: f64, to: f64| axis.cuts.iter().any(|c| (from..to).contains(c));
        let [_, kill, read, _] = axis.places[..] else {
            panic!("four places")
        };
        assert!(between(kill.1, read.0), "{axis:?}");
        assert!(between(kill.0, kill.1), "{axis:?}");
        assert_eq!(axis.cuts.len(), 2);
    }

    #[test]
    fn what_overlaps_in_time_overlaps_in_the_picture() {
        let axis = lay_out(&[interval(0, 10, 10.0), interval(5, 20, 10.0)]);
        let [first, second] = axis.places[..] else {
            panic!("two places")
        };
        assert!(first.0 < second.0 && second.0 < first.1 && first.1 < second.1);
        assert!(axis.cuts.is_empty());
    }

    #[test]
    fn instants_and_crowds_have_places() {
        let instant = interval(5, 5, 8.0);
        let axis = lay_out(&[instant, instant, instant]);
        assert!(axis.places.iter().all(|(from, to)| to > from));
        let crowd: Vec<Interval> = (0..40).map(|i| interval(i, i + 1, 20.0)).collect();
        let axis = lay_out(&crowd);
        assert!(
            axis.places
                .iter()
                .all(|(from, to)| *from >= FIRST && *to <= LAST + 1e-9)
        );
        assert_eq!(lay_out(&[]), Axis::default());
    }

    #[test]
    fn ticks_keep_their_distance() {
        let axis = lay_out(&found_bug());
        let gaps = axis.ticks.windows(2).map(|t| t[1].at - t[0].at);
        assert!(gaps.into_iter().all(|gap| gap >= TICK_GAP.0), "{axis:?}");
        assert!(axis.ticks.len() >= 4, "{axis:?}");
        assert!(axis.ticks[0].fits_narrow);
    }
}
