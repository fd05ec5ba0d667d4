//! The points at which the steps of an order take effect: each within its own bar, one after the other.

/// The least distance between two points where there is room for it.
const GAP: f64 = 24.0;
/// From the edge of a bar.
const INSET: f64 = 6.0;

/// From the earliest place a point may have.
const DEEP: f64 = 80.0;

/// A point for each bar (from, to), in the order of the steps. Where the order agrees with real time there are points
/// that never go back; where it does not (a session order), a point stays within its bar all the same.
pub fn points(bars: &[(f64, f64)]) -> Vec<f64> {
    let inset = |(from, to): &(f64, f64)| INSET.min((to - from) / 2.0);
    let mut latest = vec![0.0; bars.len()];
    let mut limit = f64::INFINITY;
    for (place, bar) in latest.iter_mut().zip(bars).rev() {
        *place = (bar.1 - inset(bar)).min(limit);
        limit = *place - GAP;
    }
    let mut limit = f64::NEG_INFINITY;
    let mut places = Vec::with_capacity(bars.len());
    for (bar, latest) in bars.iter().zip(latest) {
        let earliest = limit.max(bar.0 + inset(bar));
        limit = earliest + GAP;
        // Both rise from step to step, so their middle does; not too deep, so that a step is near the words of its bar.
        let wanted = f64::midpoint(earliest, latest.max(earliest)).min(earliest + DEEP);
        places.push(wanted.clamp(bar.0, bar.1.max(bar.0)));
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_stay_in_their_bars_and_in_order() {
        for bars in [
            vec![(0.0, 100.0), (0.0, 100.0), (50.0, 120.0)],
            vec![(0.0, 100.0), (90.0, 200.0), (20.0, 95.0)],
            vec![(0.0, 10.0), (5.0, 15.0), (12.0, 14.0)],
            vec![(3.0, 3.0), (3.0, 90.0)],
        ] {
            let points = points(&bars);
            let is_inside = |(at, bar): (&f64, &(f64, f64))| *at >= bar.0 && *at <= bar.1;
            assert!(
                points.iter().zip(&bars).all(is_inside),
                "{bars:?} {points:?}"
            );
            let is_possible = (1..bars.len()).all(|i| bars[..i].iter().all(|b| b.0 <= bars[i].1));
            let rises = points.windows(2).all(|p| p[0] <= p[1] + GAP);
            assert_eq!(rises, is_possible, "{bars:?} {points:?}");
        }
    }

    #[test]
    fn an_order_against_real_time_stays_in_its_bars() {
        let points = points(&[(200.0, 300.0), (0.0, 100.0)]);
        assert!(points[0] >= 200.0 && points[1] <= 100.0, "{points:?}");
    }
}
