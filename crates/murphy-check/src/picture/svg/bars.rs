//! The bars with their words.

use std::fmt::Write as _;

use super::{
    super::{
        figure::{Figure, FigureBar},
        text::{cut, escaped},
    },
    drawing::{BAR, Drawing, SMALL_CHARACTER},
};
use crate::recording::Outcome;

impl Drawing<'_> {
    /// What may still take effect fades out to the edge of the figure.
    pub fn draw_tail(&self, svg: &mut String, number: usize) {
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

    pub fn draw_bar(&self, svg: &mut String, number: usize, is_linked: bool) {
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
    pub fn below(&self, bar: &FigureBar, from: f64, y: f64) -> String {
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
}

/// Everything there is to say of a bar, for a pointer that rests on it.
fn about(bar: &FigureBar, figure: &Figure<'_>) -> String {
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
