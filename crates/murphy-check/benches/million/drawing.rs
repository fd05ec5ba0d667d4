//! The growth of time with the length of a history, drawn on logarithmic axes.

use std::fmt::Write as _;

/// A line: its name, and its points, operations and seconds.
pub type Line<'a> = (&'a str, Vec<(f64, f64)>);

const LEFT: f64 = 70.0;
const RIGHT: f64 = 560.0;
const TOP: f64 = 56.0;
const BOTTOM: f64 = 356.0;

/// Powers of ten at the ends of the axes.
const OPERATIONS: (i32, i32) = (4, 7);
const SECONDS: (i32, i32) = (-3, 2);

/// The colours of pictures of histories, which are told apart on white and on black.
const STYLE: &str = r"
svg { --card: #ffffff; --ink: #1b1f24; --dim: #57606a; --rule: #dfe1e4; --c0: #2358c4; --c1: #17703a; --c2: #bf211c; --c3: #865700; --c4: #7440c9; }
@media (prefers-color-scheme: dark) {
  svg { --card: #16191c; --ink: #e7e9eb; --dim: #9ca6b0; --rule: #2b3036; --c0: #84adff; --c1: #57c97e; --c2: #ff7a70; --c3: #e3ad45; --c4: #b595ff; }
}
.card { fill: var(--card); stroke: var(--rule); }
.headline { font: 700 16px system-ui, sans-serif; fill: var(--ink); }
.tick { font: 12px system-ui, sans-serif; fill: var(--dim); }
.name { font: 600 12px system-ui, sans-serif; }
.rule { stroke: var(--rule); }
.slope { stroke: var(--dim); stroke-dasharray: 3 4; }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; }
";

/// The drawing.
pub fn svg(lines: &[Line<'_>]) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 700 400\" role=\"img\" aria-label=\"Seconds to read and \
         judge a history, by its operations, on logarithmic axes. The table beside it has the same figures.\">\n\
         <style>{STYLE}</style>\n<rect class=\"card\" x=\".5\" y=\".5\" width=\"699\" height=\"399\" rx=\"8\"/>\n\
         <text class=\"headline\" x=\"24\" y=\"32\">Seconds to read and judge a history, by its operations</text>\n"
    );
    axes(&mut svg);
    let mut labels: Vec<(usize, &str, f64)> = Vec::new();
    for (number, (name, points)) in lines.iter().enumerate() {
        let points: Vec<(f64, f64)> = points.iter().map(|point| place(*point)).collect();
        let path: Vec<String> = points
            .iter()
            .map(|(x, y)| format!("{x:.1},{y:.1}"))
            .collect();
        let colour = format!("var(--c{})", number % 5);
        // Writing to a text does not fail.
        let _ = writeln!(
            svg,
            "<polyline class=\"line\" stroke=\"{colour}\" points=\"{}\"/>",
            path.join(" ")
        );
        for (x, y) in &points {
            let _ = writeln!(
                svg,
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"{colour}\"/>"
            );
        }
        if let Some((_, y)) = points.last() {
            labels.push((number, name, *y));
        }
    }
    // From top to bottom, never on one another.
    labels.sort_by(|one, other| one.2.total_cmp(&other.2));
    let mut free = TOP;
    for (number, name, y) in labels {
        let y = y.max(free);
        free = y + 16.0;
        let _ = writeln!(
            svg,
            "<text class=\"name\" x=\"{:.0}\" y=\"{:.1}\" fill=\"var(--c{})\">{name}</text>",
            RIGHT + 16.0,
            y + 4.0,
            number % 5
        );
    }
    svg.push_str("</svg>\n");
    svg
}

fn axes(svg: &mut String) {
    for power in SECONDS.0..=SECONDS.1 {
        let (_, y) = place((1e4, 10_f64.powi(power)));
        let said = match power {
            0.. => format!("{} s", 10_i32.pow(power.unsigned_abs())),
            _ => format!("{} ms", 10_i32.pow((power + 3).unsigned_abs())),
        };
        let _ = writeln!(
            svg,
            "<path class=\"rule\" d=\"M{LEFT} {y:.1}H{RIGHT}\"/><text class=\"tick\" x=\"{:.0}\" y=\"{:.1}\" \
             text-anchor=\"end\">{said}</text>",
            LEFT - 8.0,
            y + 4.0
        );
    }
    for (power, said) in (OPERATIONS.0..).zip(["10 000", "100 000", "1 000 000", "10 000 000"]) {
        let (x, _) = place((10_f64.powi(power), 1.0));
        let _ = writeln!(
            svg,
            "<path class=\"rule\" d=\"M{x:.1} {TOP}V{BOTTOM}\"/><text class=\"tick\" x=\"{x:.1}\" y=\"{:.0}\" \
             text-anchor=\"middle\">{said}</text>",
            BOTTOM + 20.0
        );
    }
    let ((x1, y1), (x2, y2)) = (place((1e4, 1e-2)), place((1e7, 1e1)));
    let _ = writeln!(
        svg,
        "<path class=\"slope\" d=\"M{x1:.1} {y1:.1}L{x2:.1} {y2:.1}\"/><text class=\"tick\" x=\"{:.0}\" y=\"{:.0}\" \
         text-anchor=\"end\">dashed: 1 µs an operation</text>",
        RIGHT - 8.0,
        BOTTOM - 10.0
    );
}

/// Where a point is drawn.
fn place((operations, seconds): (f64, f64)) -> (f64, f64) {
    let along = |value: f64, (from, to): (i32, i32)| {
        (value.max(1e-9).log10() - f64::from(from)) / f64::from(to - from)
    };
    (
        LEFT + along(operations, OPERATIONS) * (RIGHT - LEFT),
        BOTTOM - along(seconds, SECONDS) * (BOTTOM - TOP),
    )
}
