//! Two plots over time: operations per second and the 99th percentile of their latency.

use crate::report::words;
use crate::series::{Bin, Summary};

/// Units of a drawing, from left to right and from top to bottom.
const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 100.0;

/// Answered operations per second.
pub fn rate(series: &Summary) -> String {
    let values = |bin: &Bin| Some(bin.ok_per_s);
    let top = round_up(highest(series, values));
    let marks = [words::whole(top), half(top)];
    row("rate", "ops/s", 120, &marks, &paths(series, top, values))
}

/// The 99th percentile of the latency; a gap where nothing was answered.
pub fn latency(series: &Summary) -> String {
    let values = |bin: &Bin| bin.p99_us.map(|us| us as f64 / 1e3);
    let top = round_up(highest(series, values));
    let marks = [format!("{} ms", words::whole(top)), half(top)];
    row("latency", "p99", 88, &marks, &paths(series, top, values))
}

fn row(class: &str, name: &str, height_px: u32, marks: &[String; 2], paths: &str) -> String {
    let [top, half] = marks;
    format!(
        r#"      <div class="row plot {class}" style="--row:{height_px}px"><span class="name"><b>{name}</b></span>
        <span class="scale" style="top:0">{top}</span><span class="scale" style="top:50%">{half}</span>
        <svg viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" aria-hidden="true"><line x1="0" x2="{WIDTH}" y1="0" y2="0"/><line x1="0" x2="{WIDTH}" y1="{half_y}" y2="{half_y}"/>{paths}</svg></div>
"#,
        half_y = HEIGHT / 2.0,
    )
}

fn half(top: f64) -> String {
    if top < 2.0 {
        "0.5".into()
    } else {
        words::whole(top / 2.0)
    }
}

fn highest(series: &Summary, value: impl Fn(&Bin) -> Option<f64>) -> f64 {
    series.bins.iter().filter_map(value).fold(0.0, f64::max)
}

/// The next short number whose half is short, too.
fn round_up(value: f64) -> f64 {
    let mut power = 1.0;
    while power * 10.0 < value {
        power *= 10.0;
    }
    let steps: &[f64] = if power > 1.0 {
        &[1.0, 1.2, 1.6, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0]
    } else {
        &[1.0, 2.0, 4.0, 6.0, 8.0]
    };
    let step = steps.iter().find(|step| **step * power >= value);
    step.unwrap_or(&10.0) * power
}

/// An area and a line for each stretch of bins that have a value.
fn paths(series: &Summary, top: f64, value: impl Fn(&Bin) -> Option<f64>) -> String {
    let points: Vec<Option<Point>> = series
        .bins
        .iter()
        .enumerate()
        .map(|(index, bin)| Some(point(series, index, value(bin)?, top)))
        .collect();
    points
        .chunk_by(|a, b| a.is_some() == b.is_some())
        .map(|stretch| stretch.iter().flatten().copied().collect::<Vec<Point>>())
        .filter(|stretch| !stretch.is_empty())
        .map(|stretch| stretch_paths(&stretch))
        .collect()
}

/// A bin in the drawing: its edges and the height of its value.
#[derive(Clone, Copy)]
struct Point {
    from_x: f64,
    to_x: f64,
    y: f64,
}

fn point(series: &Summary, index: usize, value: f64, top: f64) -> Point {
    let x = |bins: usize| {
        let part = bins as f64 * series.bin_ns as f64 / series.duration_ns.max(1) as f64;
        (part * WIDTH).min(WIDTH)
    };
    Point {
        from_x: x(index),
        to_x: x(index + 1),
        y: HEIGHT - value / top * HEIGHT,
    }
}

/// From the left edge of the first bin through the middle of each to the right edge of the last.
fn stretch_paths(stretch: &[Point]) -> String {
    let [first, .., last] = stretch else {
        return stretch.first().map_or_else(String::new, |only| {
            let Point { from_x, to_x, y } = only;
            format!(r#"<path d="M{from_x:.1},{y:.1} {to_x:.1},{y:.1}"/>"#)
        });
    };
    let corners = stretch
        .iter()
        .map(|p| (f64::midpoint(p.from_x, p.to_x), p.y));
    let corners = [(first.from_x, first.y)]
        .into_iter()
        .chain(corners)
        .chain([(last.to_x, last.y)])
        .map(|(x, y)| format!("{x:.1},{y:.1}"));
    let line = corners.collect::<Vec<_>>().join(" ");
    format!(
        r#"<path class="area" d="M{line} L{:.1},{HEIGHT} {:.1},{HEIGHT}Z"/><path d="M{line}"/>"#,
        last.to_x, first.from_x
    )
}

/// The times below a run of `duration_ns`: round ones, and the end.
pub fn ticks(duration_ns: u64) -> String {
    let end_ms = (duration_ns / 1_000_000).max(1);
    let step_ms = tick_step_ms(end_ms);
    let decimals = usize::from(step_ms < 1_000);
    let rounds = (0..).map(|i| i * step_ms);
    // Half a step before the end there is no room for both.
    let shown = rounds.take_while(|at_ms| at_ms + step_ms / 2 < end_ms);
    let mut ticks: String = shown
        .enumerate()
        .map(|(i, at_ms)| {
            let text = words::seconds(at_ms * 1_000_000, decimals);
            let text = if at_ms == 0 { "0" } else { &text };
            tick(at_ms, text, i % 2 == 1)
        })
        .collect();
    let end_decimals = usize::from(!end_ms.is_multiple_of(1_000));
    let end = words::moment(end_ms * 1_000_000, end_decimals);
    ticks.push_str(&tick(end_ms, &end, false));
    ticks
}

fn tick(at_ms: u64, text: &str, is_minor: bool) -> String {
    let minor = if is_minor { " minor" } else { "" };
    format!(
        "        <span class=\"at tick{minor}\" style=\"--at:{};top:8px\">{text}</span>\n",
        at_ms as f64 / 1e3
    )
}

/// The smallest round step that gives at most eight ticks.
fn tick_step_ms(end_ms: u64) -> u64 {
    let steps = [
        100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 30_000, 60_000, 120_000, 300_000,
        600_000,
    ];
    let fits = |step: &u64| end_ms / step <= 8;
    steps.into_iter().find(fits).unwrap_or((end_ms / 8).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn series(p99_ms: &[Option<u64>]) -> Summary {
        Summary {
            duration_ns: p99_ms.len() as u64 * 100 * MS,
            bin_ns: 100 * MS,
            bins: p99_ms
                .iter()
                .map(|p99_ms| Bin {
                    ok_per_s: 50.0,
                    p99_us: p99_ms.map(|ms| ms * 1_000),
                    ..Bin::default()
                })
                .collect(),
            ..Summary::default()
        }
    }

    #[test]
    fn a_stretch_without_answers_is_a_gap() {
        let drawn = latency(&series(&[Some(10), Some(20), None, Some(10), None]));
        assert_eq!(drawn.matches("<path class=\"area\"").count(), 1);
        assert!(
            drawn.contains(r#"d="M0.0,50.0 60.0,50.0 180.0,0.0 240.0,0.0""#),
            "{drawn}"
        );
        assert!(drawn.contains(r#"d="M360.0,50.0 480.0,50.0""#), "{drawn}");
    }

    #[test]
    fn nothing_is_drawn_of_nothing() {
        for empty in [series(&[]), Summary::default()] {
            assert!(!rate(&empty).contains("<path"));
            assert!(!latency(&empty).contains("<path"));
        }
    }

    #[test]
    fn scales_end_on_short_numbers_above_the_highest_value() {
        for (value, top) in [
            (0.0, 1.0),
            (1.0, 1.0),
            (1.1, 2.0),
            (38.0, 40.0),
            (99.0, 100.0),
            (100.0, 100.0),
            (1_361.0, 1_600.0),
            (4_100.0, 5_000.0),
        ] {
            assert!(
                (round_up(value) - top).abs() < 1e-9,
                "{value}: {}",
                round_up(value)
            );
        }
    }

    #[test]
    fn ticks_are_round_and_end_with_the_end() {
        for (duration_ms, expected) in [
            (1_000, "0 0.2 0.4 0.6 0.8 1 s"),
            (9_900, "0 2 4 6 8 9.9 s"),
            (60_000, "0 10 20 30 40 50 60 s"),
            (600_000, "0 120 240 360 480 600 s"),
            (0, "0.0 s"),
        ] {
            let html = ticks(duration_ms * MS);
            let texts: Vec<&str> = html
                .split("px\">")
                .skip(1)
                .map(|rest| rest.split('<').next().unwrap_or_default())
                .collect();
            assert_eq!(texts.join(" "), expected);
        }
    }
}
