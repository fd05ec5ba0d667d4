//! A drawing is a figure with the place of everything in it.

use super::super::{
    axis::{self, Axis, Interval},
    figure::{Figure, FigureBar},
    scene::{Band, Scene},
};

/// The width of a figure without a crowd.
const WIDTH: f64 = 1054.0;
const LANE: f64 = 68.0;
/// Top of a bar in its lane, and its height.
pub const BAR: (f64, f64) = (14.0, 28.0);
/// The row of a band's name.
pub const BAND_LABEL: f64 = 18.0;
const STATES: f64 = 44.0;
const AXIS: f64 = 44.0;
/// Width of a character on a bar, and of a small one.
pub const CHARACTER: f64 = 7.4;
pub const SMALL_CHARACTER: f64 = 6.7;
/// More faults than this are only counted.
const BANDS_MOST: usize = 10;
/// Longest name in the margin.
pub const LONGEST_NAME: usize = 18;

/// A figure with the place of everything in it.
pub struct Drawing<'a> {
    pub figure: &'a Figure<'a>,
    pub number: usize,
    pub axis: Axis,
    /// The name of each lane.
    pub lanes: Vec<String>,
    /// The lane of each bar.
    pub lane_of: Vec<usize>,
    /// The bands, with their places.
    pub bands: Vec<(&'a Band, f64, f64)>,
    /// How many faults there was no room for.
    pub bands_left: usize,
    /// The margin of the names.
    pub gutter: f64,
}

impl<'a> Drawing<'a> {
    pub fn new(figure: &'a Figure<'a>, scene: &'a Scene, number: usize) -> Self {
        let (lanes, lane_of) = lanes(&figure.bars);
        let longest = lanes.iter().map(|name| name.chars().count()).max();
        let longest = longest.unwrap_or_default().min(LONGEST_NAME);
        let gutter = (longest as f64 * CHARACTER + 24.0).max(64.0);
        let (first, last) = figure.span;
        let acting: Vec<&Band> = scene
            .bands
            .iter()
            .filter(|band| band.begin <= last && band.end >= first)
            .collect();
        let bands_left = acting.len().saturating_sub(BANDS_MOST);
        let acting = &acting[..acting.len() - bands_left];

        let mut intervals: Vec<Interval> =
            figure.bars.iter().map(|b| interval(b, figure)).collect();
        intervals.extend(acting.iter().map(|band| Interval {
            from: band.begin.max(first),
            to: band.end.min(last),
            room: 8.0,
        }));
        let axis = axis::lay_out(&intervals, WIDTH - gutter);
        let places = &axis.places[figure.bars.len()..];
        let bands = acting.iter().zip(places).map(|(band, (from, to))| {
            // A fault that acts beyond the figure goes to its edge.
            let from = if band.begin < first { 0.0 } else { *from };
            let to = if band.end > last { axis.width } else { *to };
            (*band, from, to)
        });
        Self {
            bands: bands.collect(),
            figure,
            number,
            lanes,
            lane_of,
            bands_left,
            gutter,
            axis,
        }
    }

    pub fn width(&self) -> f64 {
        self.gutter + self.axis.width
    }

    pub fn height(&self) -> f64 {
        self.axis_y() + AXIS
    }

    /// Where the lanes begin.
    pub fn lanes_y(&self) -> f64 {
        let rows = self.band_rows().iter().map(|row| row + 1).max();
        rows.unwrap_or_default() as f64 * BAND_LABEL + 6.0
    }

    pub fn lane_y(&self, lane: usize) -> f64 {
        self.lanes_y() + lane as f64 * LANE
    }

    pub fn axis_y(&self) -> f64 {
        let states = if self.figure.steps.is_empty() {
            0.0
        } else {
            STATES
        };
        self.lane_y(self.lanes.len()) + states + 4.0
    }

    pub fn place(&self, bar: usize) -> (f64, f64) {
        let (from, to) = self.axis.places[bar];
        (self.gutter + from, self.gutter + to)
    }

    /// What somebody hears who does not see it.
    pub fn about(&self) -> String {
        let mut names = self.lanes.clone();
        names.dedup();
        let what = match self.figure.judgement {
            Some(judgement) => format!("Why {} does not hold", judgement.promise),
            None => "The whole history".into(),
        };
        format!(
            "{what}: {} invocations by {}. The list below says the same.",
            self.figure.bars.len(),
            names.join(", ")
        )
    }

    pub fn draw(&self, is_linked: bool) -> String {
        let points = self.points();
        let mut svg = String::new();
        self.draw_fade(&mut svg);
        self.draw_bands(&mut svg);
        self.draw_lanes(&mut svg);
        self.draw_axis(&mut svg);
        self.draw_path(&mut svg, &points);
        for bar in 0..self.figure.bars.len() {
            self.draw_tail(&mut svg, bar);
        }
        for bar in 0..self.figure.bars.len() {
            self.draw_bar(&mut svg, bar, is_linked);
        }
        self.draw_steps(&mut svg, &points);
        self.draw_states(&mut svg, &points);
        svg
    }
}

/// Lanes and the lane of each bar: those of one client share a lane unless they overlap.
fn lanes(bars: &[FigureBar]) -> (Vec<String>, Vec<usize>) {
    let until = |bar: &FigureBar| {
        if bar.is_open() {
            u64::MAX
        } else {
            bar.to.unwrap_or(u64::MAX)
        }
    };
    let mut lanes: Vec<(&str, u64)> = Vec::new();
    let mut lane_of = Vec::with_capacity(bars.len());
    for bar in bars {
        let free = |(name, end): &(&str, u64)| *name == bar.lane && *end <= bar.from;
        let lane = lanes.iter().position(free).unwrap_or_else(|| {
            lanes.push((&bar.lane, 0));
            lanes.len() - 1
        });
        lanes[lane].1 = until(bar);
        lane_of.push(lane);
    }
    // The lanes of one client stand together, in the order of their first bar.
    let mut order: Vec<usize> = (0..lanes.len()).collect();
    order.sort_by_key(|lane| {
        let first = lanes.iter().position(|(name, _)| *name == lanes[*lane].0);
        (first, *lane)
    });
    let mut moved = vec![0; lanes.len()];
    for (to, from) in order.iter().enumerate() {
        moved[*from] = to;
    }
    (
        order.iter().map(|lane| lanes[*lane].0.to_owned()).collect(),
        lane_of.into_iter().map(|lane| moved[lane]).collect(),
    )
}

fn interval(bar: &FigureBar, figure: &Figure<'_>) -> Interval {
    let (label, answer) = bar.words();
    let words = label.chars().count() + answer.chars().count();
    let states = figure
        .steps
        .iter()
        .filter(|step| {
            figure.bars[step.bar].lane == bar.lane && figure.bars[step.bar].line == bar.line
        })
        .map(|step| step.state.chars().count().min(20))
        .max();
    let arrow = if answer.is_empty() { 0.0 } else { 24.0 };
    Interval {
        from: bar.from,
        to: bar.to.unwrap_or(bar.from),
        room: (words as f64 * CHARACTER + arrow + 16.0)
            .max(states.unwrap_or_default() as f64 * CHARACTER),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        picture::{figure::figures, sample},
        recording::Outcome,
    };

    #[test]
    fn what_may_act_later_leaves_its_lane_to_itself() {
        let (recording, report, explanations) = sample::queue();
        let scene = Scene::of_recording(&recording);
        let figures = figures(&scene, &report, &explanations);
        let bar = |lane: &str, from: u64, outcome: Outcome| FigureBar {
            lane: lane.into(),
            from,
            to: Some(from + 10),
            outcome,
            ..figures[0].bars[0].clone()
        };
        let (names, lane_of) = lanes(&[
            bar("a", 0, Outcome::Unknown),
            bar("b", 5, Outcome::Ok),
            bar("a", 20, Outcome::Ok),
            bar("b", 20, Outcome::Ok),
            bar("a", 30, Outcome::Ok),
        ]);
        assert_eq!(names, ["a", "a", "b"]);
        assert_eq!(lane_of, [0, 2, 1, 2, 1]);
    }
}
