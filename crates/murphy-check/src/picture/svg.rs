//! Draws a figure as SVG: clients as lanes, invocations as bars, faults as bands behind them, the longest legal order
//! as a numbered path, and a time axis that is broken where nothing happens.
//!
//! Nothing is told by colour alone: what clashes has a thick edge, what cannot come next a dashed one and a cross, what
//! failed is struck through, and what may act later has an end that fades.

use std::fmt::Write as _;

use super::{
    axis::{self, Axis, Interval},
    figure::{Figure, FigureBar},
    point,
    scene::{Band, Scene},
    text::{cut, escaped},
};
use crate::recording::Outcome;

/// How figures look, in terms of the page's colours.
pub const CSS: &str = include_str!("figure.css");
/// The colours of a figure that stands alone.
const TOKENS: &str = include_str!("figure-tokens.css");

/// The width of a figure without a crowd.
const WIDTH: f64 = 1054.0;
const LANE: f64 = 68.0;
const BAR: (f64, f64) = (14.0, 28.0);
const BAND_LABEL: f64 = 18.0;
const STATES: f64 = 44.0;
const AXIS: f64 = 44.0;
/// Width of a character on a bar, and of a small one.
const CHARACTER: f64 = 7.4;
const SMALL_CHARACTER: f64 = 6.7;
/// More faults than this are only counted.
const BANDS_MOST: usize = 10;
/// Characters of a state; a pointer shows them all.
const LONGEST_STATE: usize = 60;
/// Longest name in the margin.
const LONGEST_NAME: usize = 18;

/// The figure as a file of its own.
pub fn document(figure: &Figure<'_>, scene: &Scene) -> String {
    let drawing = Drawing::new(figure, scene, 0);
    let head = match figure.judgement {
        Some(judgement) => format!(
            r#"<text x="16" y="32" class="headline"><tspan class="{class}">{word}</tspan><tspan dx="10">{promise}</tspan></text>"#,
            class = judgement.verdict.word(),
            word = judgement.verdict.word().to_uppercase(),
            promise = escaped(&judgement.promise),
        ),
        None => String::new(),
    };
    let top = if head.is_empty() { 8.0 } else { 44.0 };
    let (width, height) = (drawing.width() + 32.0, drawing.height() + top + 8.0);
    format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0} {height:.0}" role="img" aria-label="{about}">
<style>
{TOKENS}{CSS}</style>
<rect class="card" x="0.5" y="0.5" width="{inner:.0}" height="{tall:.0}" rx="8"/>
{head}
<g class="figure" transform="translate(16 {top})">
{body}</g>
</svg>
"#,
        inner = width - 1.0,
        tall = height - 1.0,
        about = escaped(&drawing.about()),
        body = drawing.draw(false),
    )
}

/// The figure as a part of a page, of which it is the `number`th.
pub fn inline(figure: &Figure<'_>, scene: &Scene, number: usize) -> String {
    let drawing = Drawing::new(figure, scene, number);
    format!(
        r#"<svg class="figure" width="{width:.0}" height="{height:.0}" viewBox="0 0 {width:.0} {height:.0}" role="group" aria-label="{about}">
{body}</svg>
"#,
        width = drawing.width(),
        height = drawing.height(),
        about = escaped(&drawing.about()),
        body = drawing.draw(true),
    )
}

/// A figure with the place of everything in it.
struct Drawing<'a> {
    figure: &'a Figure<'a>,
    number: usize,
    axis: Axis,
    /// The name of each lane.
    lanes: Vec<String>,
    /// The lane of each bar.
    lane_of: Vec<usize>,
    /// The bands, with their places.
    bands: Vec<(&'a Band, f64, f64)>,
    /// How many faults there was no room for.
    bands_left: usize,
    /// The margin of the names.
    gutter: f64,
}

impl<'a> Drawing<'a> {
    fn new(figure: &'a Figure<'a>, scene: &'a Scene, number: usize) -> Self {
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

    fn width(&self) -> f64 {
        self.gutter + self.axis.width
    }

    fn height(&self) -> f64 {
        self.axis_y() + AXIS
    }

    /// Where the lanes begin.
    fn lanes_y(&self) -> f64 {
        let rows = self.band_rows().iter().map(|row| row + 1).max();
        rows.unwrap_or_default() as f64 * BAND_LABEL + 6.0
    }

    fn lane_y(&self, lane: usize) -> f64 {
        self.lanes_y() + lane as f64 * LANE
    }

    fn axis_y(&self) -> f64 {
        let states = if self.figure.steps.is_empty() {
            0.0
        } else {
            STATES
        };
        self.lane_y(self.lanes.len()) + states + 4.0
    }

    fn place(&self, bar: usize) -> (f64, f64) {
        let (from, to) = self.axis.places[bar];
        (self.gutter + from, self.gutter + to)
    }

    /// What somebody hears who does not see it.
    fn about(&self) -> String {
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

    fn draw(&self, is_linked: bool) -> String {
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

    fn draw_fade(&self, svg: &mut String) {
        if self.figure.bars.iter().any(FigureBar::is_open) {
            let _ = writeln!(
                svg,
                r#"<defs><linearGradient id="fade-{}"><stop class="fade" offset="0" stop-opacity=".3"/><stop class="fade" offset="1" stop-opacity="0"/></linearGradient></defs>"#,
                self.number
            );
        }
    }

    /// Labels of bands that would stand on one another go to further rows.
    fn band_rows(&self) -> Vec<usize> {
        let mut ends: Vec<f64> = Vec::new();
        let row = |(band, from, _): &(&Band, f64, f64)| {
            let end = from + self.band_label(band).chars().count() as f64 * CHARACTER + 12.0;
            let row = ends.iter().position(|e| *e <= *from);
            let row = row.unwrap_or_else(|| {
                ends.push(0.0);
                ends.len() - 1
            });
            ends[row] = end;
            row
        };
        self.bands.iter().map(row).collect()
    }

    fn band_label(&self, band: &Band) -> String {
        let is_last = self
            .bands
            .last()
            .is_some_and(|(last, ..)| std::ptr::eq(*last, band));
        match self.bands_left {
            left if left > 0 && is_last => format!("{} and {left} more", cut(&band.name, 24)),
            _ => cut(&band.name, 24),
        }
    }

    fn draw_bands(&self, svg: &mut String) {
        let clock = self.figure.clock;
        let bottom = self.lane_y(self.lanes.len());
        for ((band, from, to), row) in self.bands.iter().zip(self.band_rows()) {
            let top = row as f64 * BAND_LABEL;
            let ended = match band.end {
                u64::MAX => "never ended".into(),
                end => format!("to {}", clock.moment(end)),
            };
            let (x, width) = (self.gutter + from, (to - from).max(2.0));
            let about = format!("{}: {} {ended}", band.name, clock.moment(band.begin));
            let _ = writeln!(
                svg,
                r#"<g class="band {family}"><title>{about}</title><rect x="{x:.1}" y="{top:.0}" width="{width:.1}" height="{height:.0}"/><path d="M{x:.1},{top:.0}V{bottom:.0}"/><text x="{text:.1}" y="{line:.0}">{label}</text></g>"#,
                family = band.family,
                about = escaped(&about),
                height = bottom - top,
                text = x + 6.0,
                line = top + 13.0,
                label = escaped(&self.band_label(band)),
            );
        }
    }

    fn draw_lanes(&self, svg: &mut String) {
        for (lane, name) in self.lanes.iter().enumerate() {
            let y = self.lane_y(lane) + BAR.0 + BAR.1 / 2.0;
            let is_again = lane > 0 && self.lanes[lane - 1] == *name;
            let shown = if is_again {
                String::new()
            } else {
                cut(name, LONGEST_NAME)
            };
            let _ = writeln!(
                svg,
                r#"<path class="rule" d="M{:.1},{y:.1}H{:.1}"/><text class="name" x="0" y="{:.1}"><title>{}</title>{}</text>"#,
                self.gutter,
                self.width(),
                y + 4.0,
                escaped(name),
                escaped(&shown),
            );
        }
    }

    fn draw_axis(&self, svg: &mut String) {
        let (y, top) = (self.axis_y(), self.lanes_y());
        let _ = write!(svg, r#"<path class="axis" d="M{:.1},{y:.1}"#, self.gutter);
        for gap in &self.axis.breaks {
            let x = self.gutter + gap.at;
            let _ = write!(svg, "H{:.1}l3,-6 4,12 4,-12 3,6", x - 7.0);
        }
        let _ = writeln!(svg, r#"H{:.1}"/>"#, self.width());
        for gap in &self.axis.breaks {
            let x = self.gutter + gap.at;
            let _ = writeln!(
                svg,
                r#"<path class="break" d="M{:.1},{top:.1}V{y:.1}M{:.1},{top:.1}V{y:.1}"/><text class="passed" x="{x:.1}" y="{:.1}">{}</text>"#,
                x - 7.0,
                x + 7.0,
                y + 36.0,
                escaped(&format!("{} pass", self.figure.clock.lasted(gap.passed))),
            );
        }
        let mut last = String::new();
        for (at, moment) in &self.axis.ticks {
            let text = self.figure.clock.moment(*moment);
            if text != last {
                let x = self.gutter + at;
                let _ = writeln!(
                    svg,
                    r#"<path class="axis" d="M{x:.1},{y:.1}v5"/><text class="tick" x="{:.1}" y="{:.1}">{text}</text>"#,
                    x.min(self.width() - text.chars().count() as f64 * SMALL_CHARACTER / 2.0),
                    y + 19.0
                );
            }
            last = text;
        }
    }

    /// What may still take effect fades out to the edge of the figure.
    fn draw_tail(&self, svg: &mut String, number: usize) {
        let bar = &self.figure.bars[number];
        if !bar.is_open() || bar.outcome == Outcome::Fail {
            return;
        }
        let x = self.place(number).1;
        let y = self.lane_y(self.lane_of[number]) + BAR.0;
        let _ = writeln!(
            svg,
            r#"<g class="tail"><rect x="{x:.1}" y="{y:.1}" width="{:.1}" height="{}" fill="url(#fade-{})"/><path d="M{x:.1},{y:.1}H{edge:.1}M{x:.1},{:.1}H{edge:.1}"/></g>"#,
            self.width() - x,
            BAR.1,
            self.number,
            y + BAR.1,
            edge = self.width(),
        );
    }

    fn draw_bar(&self, svg: &mut String, number: usize, is_linked: bool) {
        let bar = &self.figure.bars[number];
        let (from, to) = self.place(number);
        let y = self.lane_y(self.lane_of[number]) + BAR.0;
        let (label, answer) = bar.words();
        let answer = if answer.is_empty() {
            String::new()
        } else {
            format!(
                r#"<tspan class="answer" dx="7">→ {}</tspan>"#,
                escaped(&answer)
            )
        };
        let mut class = String::from("bar");
        for (is, word) in [
            (bar.clashes == Some(true), " clash"),
            (bar.clashes == Some(false), " scene"),
            (bar.blocked.is_some(), " blocked"),
            (bar.outcome == Outcome::Fail, " fail"),
            (bar.is_open(), " open"),
        ] {
            if is {
                class.push_str(word);
            }
        }
        let (open, close) = if is_linked {
            (format!(r##"<a href="#L{}">"##, bar.line), "</a>")
        } else {
            (String::new(), "")
        };
        let _ = writeln!(
            svg,
            r#"{open}<g class="{class}"><title>{about}</title><rect x="{from:.1}" y="{y:.1}" width="{width:.1}" height="{height}" rx="4"/><text x="{text:.1}" y="{line:.1}"><tspan class="label">{label}</tspan>{answer}</text>{below}</g>{close}"#,
            about = escaped(&about(bar, self.figure)),
            width = (to - from).max(3.0),
            height = BAR.1,
            text = from + 8.0,
            line = y + 18.0,
            label = escaped(&label),
            below = self.below(bar, from, y),
        );
    }

    /// What stands below a bar: why it cannot come next, or the member that was asked.
    fn below(&self, bar: &FigureBar, from: f64, y: f64) -> String {
        let (class, text) = match (&bar.blocked, &bar.node) {
            (Some(reason), _) => ("reason", format!("✕ {}", cut(reason, 72))),
            (None, Some(node)) => ("node", cut(node, 24)),
            (None, None) => return String::new(),
        };
        let length = text.chars().count() as f64 * SMALL_CHARACTER;
        // The number of a step may stand at the left.
        let x = (from + 2.0).min(self.width() - length).max(self.gutter);
        format!(
            r#"<text class="{class}" x="{x:.1}" y="{:.1}">{}</text>"#,
            y + BAR.1 + 22.0,
            escaped(&text)
        )
    }

    fn points(&self) -> Vec<f64> {
        let bar = |step: &super::figure::Step| {
            let (from, to) = self.place(step.bar);
            // What may act later acts anywhere from its begin on.
            let to = if self.figure.bars[step.bar].is_open() {
                self.width() - 16.0
            } else {
                to
            };
            (from, to.max(from))
        };
        let bars: Vec<(f64, f64)> = self.figure.steps.iter().map(bar).collect();
        point::points(&bars)
    }

    fn point_y(&self, bar: usize) -> f64 {
        self.lane_y(self.lane_of[bar]) + BAR.0 + BAR.1
    }

    /// The line of the longest legal order, below the bars, so that it crosses no words.
    fn draw_path(&self, svg: &mut String, points: &[f64]) {
        let steps = &self.figure.steps;
        if steps.is_empty() {
            return;
        }
        let mut path = String::new();
        for (step, x) in steps.iter().zip(points) {
            let letter = if path.is_empty() { 'M' } else { 'L' };
            let _ = write!(path, "{letter}{x:.1},{:.1}", self.point_y(step.bar));
        }
        let _ = writeln!(svg, r#"<path class="path" d="{path}"/>"#);
        let bottom = self.lane_y(self.lanes.len()) + 32.0;
        for (step, x) in steps.iter().zip(points) {
            let y = self.point_y(step.bar);
            let _ = writeln!(
                svg,
                r#"<path class="after" d="M{x:.1},{y:.1}V{bottom:.1}"/>"#
            );
        }
    }

    /// Its numbers.
    fn draw_steps(&self, svg: &mut String, points: &[f64]) {
        for (step, x) in self.figure.steps.iter().zip(points) {
            let text = step.number.to_string();
            let half = (text.len() as f64 * SMALL_CHARACTER + 9.0).max(17.0) / 2.0;
            let y = self.point_y(step.bar);
            let about = format!(
                "step {}: {}, then {}",
                step.number, self.figure.bars[step.bar].label, step.state
            );
            let _ = writeln!(
                svg,
                r#"<g class="step"><title>{}</title><rect x="{:.1}" y="{:.1}" width="{:.1}" height="17" rx="8.5"/><text x="{x:.1}" y="{:.1}">{text}</text></g>"#,
                escaped(&about),
                x - half,
                y - 8.5,
                half * 2.0,
                y + 4.0,
            );
        }
    }

    /// The state after each step, as far as there is room for it before the next.
    fn draw_states(&self, svg: &mut String, points: &[f64]) {
        let steps = &self.figure.steps;
        if steps.is_empty() {
            return;
        }
        let y = self.lane_y(self.lanes.len());
        let _ = writeln!(
            svg,
            r#"<text class="name" x="0" y="{:.1}">state</text>"#,
            y + 27.0
        );
        for (at, (step, x)) in steps.iter().zip(points).enumerate() {
            let next = points.get(at + 1).copied().unwrap_or(self.width());
            let room = (0..LONGEST_STATE)
                .take_while(|room| (room + 1) as f64 * CHARACTER <= next - x - 6.0)
                .count();
            // A letter or two of a state say nothing.
            let shown = if room < 4 && step.state.chars().count() > room {
                String::new()
            } else {
                escaped(&cut(&step.state, room))
            };
            let _ = writeln!(
                svg,
                r#"<text class="state" x="{:.1}" y="{:.1}"><title>after step {}: {}</title>{shown}</text>"#,
                x + 4.0,
                y + 27.0,
                step.number,
                escaped(&step.state),
            );
        }
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

/// Everything there is to say of a bar, for a pointer that rests on it.
pub fn about(bar: &FigureBar, figure: &Figure<'_>) -> String {
    let clock = figure.clock;
    let mut text = format!("{}: {}", bar.lane, bar.label);
    if !bar.answer.is_empty() {
        let _ = write!(text, " → {}", bar.answer);
    }
    let _ = write!(text, "\nasked at {}", clock.moment(bar.from));
    match bar.to {
        Some(to) => {
            let _ = write!(
                text,
                ", {} at {} after {}",
                if bar.outcome == Outcome::Unknown {
                    "given up"
                } else {
                    "ended"
                },
                clock.moment(to),
                clock.lasted(to.saturating_sub(bar.from))
            );
        }
        None => text.push_str(", never answered"),
    }
    for (what, said) in [
        ("member", &bar.node),
        ("error", &bar.error),
        ("cannot come next", &bar.blocked),
    ] {
        if let Some(said) = said {
            let _ = write!(text, "\n{what}: {said}");
        }
    }
    let _ = write!(text, "\nline {} of the history", bar.line);
    text
}
