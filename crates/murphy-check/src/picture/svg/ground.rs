//! What stands behind the bars: the bands of faults, the lanes with their names, the axis.

use std::fmt::Write as _;

use super::{
    super::{
        figure::FigureBar,
        scene::Band,
        text::{cut, escaped},
    },
    drawing::{BAND_LABEL, BAR, CHARACTER, Drawing, LONGEST_NAME, SMALL_CHARACTER},
};

impl Drawing<'_> {
    pub fn draw_fade(&self, svg: &mut String) {
        if self.figure.bars.iter().any(FigureBar::is_open) {
            let _ = writeln!(
                svg,
                r#"<defs><linearGradient id="fade-{}"><stop class="fade" offset="0" stop-opacity=".3"/><stop class="fade" offset="1" stop-opacity="0"/></linearGradient></defs>"#,
                self.number
            );
        }
    }

    /// Labels of bands that would stand on one another go to further rows.
    pub fn band_rows(&self) -> Vec<usize> {
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

    pub fn band_label(&self, band: &Band) -> String {
        let is_last = self
            .bands
            .last()
            .is_some_and(|(last, ..)| std::ptr::eq(*last, band));
        match self.bands_left {
            left if left > 0 && is_last => format!("{} and {left} more", cut(&band.name, 24)),
            _ => cut(&band.name, 24),
        }
    }

    pub fn draw_bands(&self, svg: &mut String) {
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

    pub fn draw_lanes(&self, svg: &mut String) {
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

    pub fn draw_axis(&self, svg: &mut String) {
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
}
