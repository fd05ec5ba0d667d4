//! Labels of faults stand in up to three rows, so that they do not cover each other.

use crate::timeline::FaultSpan;

/// Where the label of a fault is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Label {
    /// Whether there is room for it at all.
    pub is_shown: bool,
    /// Whether there is room for it on a narrow screen, without its targets.
    pub fits_narrow: bool,
    /// Whether it ends at the end of its fault, because there is no room to begin at its beginning.
    pub is_at_end: bool,
    /// Its row, from the top.
    pub row: usize,
}

const ROWS: usize = 3;
/// More faults than this are too close together for labels; their times stand in the table.
pub const MOST: usize = 60;
/// Width of a character.
const CHARACTER_PX: f64 = 7.4;
/// Longer labels are cut off.
const LONGEST_PX: f64 = 190.0;
/// Between two labels.
const GAP_PX: f64 = 8.0;
/// Widths of the plot on a wide and on a narrow screen.
const PLOT_PX: (f64, f64) = (960.0, 290.0);

/// Places the labels of `faults`, which are in order of time.
pub fn place(faults: &[FaultSpan], duration_ns: u64) -> Vec<Label> {
    if faults.len() > MOST {
        return vec![Label::default(); faults.len()];
    }
    let mut wide_until = [f64::NEG_INFINITY; ROWS];
    let mut narrow_until = [f64::NEG_INFINITY; ROWS];
    faults
        .iter()
        .map(|fault| {
            let part = fault.start_ns as f64 / duration_ns.max(1) as f64;
            let width = width_px(&fault.title());
            // At the right end a label would run out of the picture.
            let is_at_end = part * PLOT_PX.0 > PLOT_PX.0 - width;
            let at = if is_at_end {
                PLOT_PX.0 - width
            } else {
                part * PLOT_PX.0
            };
            let Some(row) = wide_until.iter().position(|until| *until <= at) else {
                return Label::default();
            };
            wide_until[row] = at + width + GAP_PX;
            let narrow_at = part * PLOT_PX.1;
            let fits_narrow = narrow_until[row] <= narrow_at;
            if fits_narrow {
                narrow_until[row] = narrow_at + width_px(&fault.fault) + GAP_PX;
            }
            Label {
                is_shown: true,
                fits_narrow,
                is_at_end,
                row,
            }
        })
        .collect()
}

fn width_px(text: &str) -> f64 {
    (text.chars().count() as f64 * CHARACTER_PX).min(LONGEST_PX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::FaultState;

    const S: u64 = 1_000_000_000;

    fn kill_at(start_ns: u64) -> FaultSpan {
        FaultSpan {
            id: "a1".into(),
            family: "process".into(),
            fault: "kill".into(),
            targets: vec!["n2".into()],
            engine: "pidfd".into(),
            start_ns,
            end_ns: None,
            state: FaultState::Active,
            text: None,
            line: 2,
        }
    }

    #[test]
    fn far_apart_they_share_a_row_and_close_together_they_do_not() {
        let faults: Vec<_> = [1, 20, 21, 22, 23].map(|s| kill_at(s * S)).into();
        let rows: Vec<_> = place(&faults, 60 * S)
            .iter()
            .map(|l| (l.is_shown, l.row))
            .collect();
        assert_eq!(
            rows,
            [(true, 0), (true, 0), (true, 1), (true, 2), (false, 0)]
        );
    }

    #[test]
    fn a_minute_of_rounds_has_a_label_for_each_fault() {
        let faults: Vec<_> = (0..24).map(|i| kill_at(i * 5 * S / 2 + S)).collect();
        let labels = place(&faults, 60 * S);
        assert!(labels.iter().all(|l| l.is_shown), "{labels:?}");
        assert!(labels[0].fits_narrow);
    }

    #[test]
    fn ten_minutes_of_rounds_have_none() {
        let faults: Vec<_> = (0..240).map(|i| kill_at(i * 5 * S / 2 + S)).collect();
        let labels = place(&faults, 600 * S);
        assert_eq!(labels.len(), 240);
        assert!(labels.iter().all(|l| !l.is_shown));
    }

    #[test]
    fn a_label_at_the_end_stays_inside() {
        let labels = place(&[kill_at(S), kill_at(59 * S + S / 2)], 60 * S);
        assert!(!labels[0].is_at_end && labels[1].is_at_end);
    }
}
