//! The points at which the steps of an order take effect: each within its own bar, one after the other.

/// The least distance between two points where there is room for it.
const GAP: f64 = 24.0;
/// From the edge of a bar.
const INSET: f64 = 6.0;

/// A point for each bar (from, to), in the order of the steps. Where the order agrees with real time there are points
/// that never go back; where it does not (a session order), a point stays within its bar all the same.
pub fn points(bars: &[(f64, f64)]) -> Vec<f64> {
    // The latest places, from the last step on, leave room for what follows.
    let mut latest = vec![0.0; bars.len()];
    let mut limit = f64::INFINITY;
    for (place, (from, to)) in latest.iter_mut().zip(bars).rev() {
        let edge = (to - INSET).max(f64::midpoint(*from, *to));
        *place = edge.min(limit);
        limit = *place - GAP;
    }
    let mut last = f64::NEG_INFINITY;
    bars.iter()
        .zip(latest)
        .map(|((from, to), latest)| {
            let inset = INSET.min((to - from) / 2.0);
            let wanted = (last + GAP).max(from + inset);
            let place = wanted.min(latest.max(last));
            let place = place.clamp(from + inset, (to - inset).max(from + inset));
            last = place;
            place
        })
        .collect()
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
            let rises = points.windows(2).all(|p| p[0] <= p[1] + 2.0 * INSET);
            assert_eq!(rises, is_possible, "{bars:?} {points:?}");
        }
    }

    #[test]
    fn an_order_against_real_time_stays_in_its_bars() {
        let points = points(&[(200.0, 300.0), (0.0, 100.0)]);
        assert!(points[0] >= 200.0 && points[1] <= 100.0, "{points:?}");
    }
}
