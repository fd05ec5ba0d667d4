//! The longest legal order: its path through the bars, its numbers, the state after each step.

use std::fmt::Write as _;

use super::{
    super::{
        figure::Step,
        point,
        text::{cut, escaped},
    },
    drawing::{BAR, CHARACTER, Drawing, SMALL_CHARACTER},
};

/// Characters of a state; a pointer shows them all.
const LONGEST_STATE: usize = 60;

impl Drawing<'_> {
    pub fn points(&self) -> Vec<f64> {
        let bar = |step: &Step| {
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

    pub fn point_y(&self, bar: usize) -> f64 {
        self.lane_y(self.lane_of[bar]) + BAR.0 + BAR.1
    }

    /// The line of the longest legal order, below the bars, so that it crosses no words.
    pub fn draw_path(&self, svg: &mut String, points: &[f64]) {
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
    pub fn draw_steps(&self, svg: &mut String, points: &[f64]) {
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
    pub fn draw_states(&self, svg: &mut String, points: &[f64]) {
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
