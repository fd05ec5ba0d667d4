//! The picture of a forecast: which share of the connections is hit over time, with clients that connect again, and
//! beside it with clients that do not.
//!
//! It is one SVG that needs nothing else, and follows the reader's light or dark colours.

use std::{fmt::Write as _, time::Duration};

use super::forecast::{By, Curve, Forecast, Row};
use crate::span::Span;

/// Pixels.
const WIDTH: f64 = 880.0;
const TOP: f64 = 104.0;
const PANEL: (f64, f64) = (344.0, 220.0);
const LEFTS: [f64; 2] = [72.0, 504.0];
const LEGEND_TOP: f64 = 400.0;
const LEGEND_LINE: f64 = 22.0;
/// Ticks of the time, at most this many parts.
const PARTS: usize = 4;

const STYLE: &str = "\
svg { --card: #ffffff; --ink: #1b1f24; --dim: #57606a; --rule: #dfe1e4; --c0: #2358c4; --c1: #bf211c; --c2: #17703a; --c3: #865700; --c4: #7440c9; }
@media (prefers-color-scheme: dark) {
  svg { --card: #16191c; --ink: #e7e9eb; --dim: #9ca6b0; --rule: #2b3036; --c0: #84adff; --c1: #ff7a70; --c2: #57c97e; --c3: #e3ad45; --c4: #b595ff; }
}
.card { fill: var(--card); stroke: var(--rule); }
.headline { font: 700 16px system-ui, sans-serif; fill: var(--ink); }
.panel { font: 600 13px system-ui, sans-serif; fill: var(--ink); }
.name { font: 13px system-ui, sans-serif; fill: var(--ink); }
.tick { font: 12px system-ui, sans-serif; fill: var(--dim); }
.rule { stroke: var(--rule); }
.line { fill: none; stroke-linejoin: round; }
.wide { stroke-width: 7; stroke-opacity: .35; }
.thin { stroke-width: 2; }
.dashed { stroke-width: 2; stroke-dasharray: 7 4; }
.dotted { stroke-width: 3; stroke-dasharray: 2 4; }
";

/// Draws it.
pub(super) fn svg(forecast: &Forecast) -> String {
    let lines = forecast.rows.len().div_ceil(2);
    let height = LEGEND_TOP + lines as f64 * LEGEND_LINE + 6.0;
    let mut svg = String::new();
    let headline = format!(
        "Which share of the {} connections of the beginning was hit; the first draw takes {}",
        forecast.n, forecast.k
    );
    let below = format!(
        "expected; draws are {} apart, new ones fail with {} each; dotted: ways that see packets only, for comparison",
        forecast.every, forecast.new
    );
    // Writing to a string does not fail.
    let _ = write!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{headline}: {below}.\">\n\
         <style>\n{STYLE}</style>\n\
         <rect class=\"card\" x=\".5\" y=\".5\" width=\"{}\" height=\"{}\" rx=\"8\"/>\n\
         <text class=\"headline\" x=\"24\" y=\"34\">{headline}</text>\n\
         <text class=\"tick\" x=\"24\" y=\"56\">{below}</text>\n",
        WIDTH - 1.0,
        height - 1.0,
    );
    let with = forecast.rows.iter().map(|row| &row.with_reconnect);
    panel(
        &mut svg,
        forecast,
        LEFTS[0],
        "Clients connect again",
        &with.collect::<Vec<_>>(),
    );
    let without = forecast.rows.iter().map(|row| &row.without);
    panel(
        &mut svg,
        forecast,
        LEFTS[1],
        "Clients do not connect again",
        &without.collect::<Vec<_>>(),
    );
    for (place, row) in forecast.rows.iter().enumerate() {
        let (column, line) = (place / lines, place % lines);
        let x = LEFTS[column];
        let y = LEGEND_TOP + line as f64 * LEGEND_LINE;
        let _ = writeln!(
            svg,
            "<path class=\"line {}\" stroke=\"{}\" d=\"M{x} {}h34\"/><text class=\"name\" x=\"{}\" y=\"{y}\">{}</text>",
            stroke(forecast, place).0,
            stroke(forecast, place).1,
            y - 4.5,
            x + 44.0,
            row.name,
        );
    }
    svg.push_str("</svg>\n");
    svg
}

/// The kind and the colour of a line. Of two ways that hit the same the one is wide and pale below the other.
fn stroke(forecast: &Forecast, place: usize) -> (&'static str, &'static str) {
    let is_packets = |row: &&Row| row.by == By::Packets;
    let packets_before = forecast.rows[..place].iter().filter(is_packets).count();
    match (forecast.rows[place].by, place, packets_before) {
        (By::Packets, _, 0) => ("dotted", "var(--c3)"),
        (By::Packets, ..) => ("dotted", "var(--c4)"),
        (By::Draw, 0, _) => ("wide", "var(--c0)"),
        (By::Draw, 1, _) => ("thin", "var(--c0)"),
        (By::Draw, 2, _) => ("wide", "var(--c1)"),
        (By::Draw, 3, _) => ("thin", "var(--c1)"),
        (By::Draw, ..) => ("dashed", "var(--c2)"),
    }
}

fn panel(svg: &mut String, forecast: &Forecast, left: f64, name: &str, curves: &[&Curve]) {
    let (width, height) = PANEL;
    let bottom = TOP + height;
    let draws = curves.first().map_or(1, |curve| curve.len().max(1));
    let _ = writeln!(
        svg,
        "<text class=\"panel\" x=\"{left}\" y=\"{}\">{name}</text>",
        TOP - 14.0
    );
    for percent in [0, 25, 50, 75, 100] {
        let y = bottom - height * f64::from(percent) / 100.0;
        let _ = writeln!(
            svg,
            "<path class=\"rule\" d=\"M{left} {y:.1}h{width}\"/><text class=\"tick\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{percent} %</text>",
            left - 8.0,
            y + 4.0,
        );
    }
    let x = |draw: usize| left + width * draw as f64 / draws as f64;
    for draw in (0..=draws).step_by(draws.div_ceil(PARTS)) {
        let draw_count = u32::try_from(draw).unwrap_or(u32::MAX);
        let time = Span(
            forecast
                .every
                .0
                .checked_mul(draw_count)
                .unwrap_or(Duration::MAX),
        );
        let _ = writeln!(
            svg,
            "<path class=\"rule\" d=\"M{:.1} {TOP}V{bottom}\"/><text class=\"tick\" x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{time}</text>",
            x(draw),
            x(draw),
            bottom + 20.0,
        );
    }
    let _ = writeln!(
        svg,
        "<text class=\"tick\" x=\"{}\" y=\"{}\" text-anchor=\"middle\">time since the first draw</text>",
        left + width / 2.0,
        bottom + 42.0,
    );
    for (place, curve) in curves.iter().enumerate() {
        let (kind, colour) = stroke(forecast, place);
        let mut path = String::new();
        for (draw, point) in curve.iter().enumerate() {
            let y = bottom - height * point.hit;
            let lead = if draw == 0 {
                format!("M{:.1} {y:.1}", x(0))
            } else {
                format!("V{y:.1}")
            };
            let _ = write!(path, "{lead}H{:.1}", x(draw + 1));
        }
        let _ = writeln!(
            svg,
            "<path class=\"line {kind}\" stroke=\"{colour}\" d=\"{path}\"/>"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        Share,
        forecast::{Question, forecast},
    };

    /// `MURPHY_WRITE_DOCS=1 cargo test -p murphy-fault --lib picture` draws it again.
    #[test]
    fn the_picture_in_the_documentation_is_what_the_code_draws() {
        let drawn = forecast(&Question {
            n: 10,
            share: Share::Rate("20%".parse().unwrap()),
            every: Some("10s".parse().unwrap()),
            cap: Some("50%".parse().unwrap()),
            new: None,
            lasts: Some("2m".parse().unwrap()),
            seed: 7,
        })
        .svg();
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../docs/faults/conn-forecast.svg"
        );
        if std::env::var_os("MURPHY_WRITE_DOCS").is_some() {
            std::fs::write(path, &drawn).unwrap();
        }
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            committed == drawn,
            "docs/faults/conn-forecast.svg is not what the code draws"
        );
    }

    #[test]
    fn every_curve_stays_within_its_panel() {
        let svg = forecast(&Question {
            n: 3,
            share: Share::Rate("33.3%".parse().unwrap()),
            every: Some("1s".parse().unwrap()),
            cap: None,
            new: Some("100%".parse().unwrap()),
            lasts: Some("30s".parse().unwrap()),
            seed: 1,
        })
        .svg();
        let curves = svg.lines().filter(|line| {
            line.contains("\" d=\"M") && line.contains('V') && line.contains("line ")
        });
        let mut count = 0;
        for curve in curves {
            count += 1;
            let path = curve
                .split(" d=\"")
                .nth(1)
                .and_then(|path| path.split('"').next());
            for height in path.unwrap().split(['V', 'H']).skip(2).step_by(2) {
                let height: f64 = height.parse().unwrap();
                assert!((104.0..=324.0).contains(&height), "{curve}");
            }
        }
        // Of six ways, with clients that return and that do not; a time of one draw has no step.
        assert_eq!(count, 12, "{svg}");
    }
}
