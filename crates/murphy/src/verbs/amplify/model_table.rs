//! The table of models: what comes how often by nature, and how often it is to come.

use std::{fmt::Write, time::Duration};

use murphy_amplify::model::{Model, Models, Realism};
use murphy_fault::span::Span;

use crate::output::{grouped, plural};

/// Models, for people.
pub fn text(name: &str, models: &Models) -> String {
    let mut text = head(name, models);
    let (on, off): (Vec<&Model>, Vec<&Model>) = models.models.iter().partition(|one| one.is_on);
    if !on.is_empty() {
        let _ = writeln!(
            text,
            "\n{:<28} {:>8}  {:<17}{:<11} {:>6}  times",
            "error", "natural", "95 % within", "class", "rate"
        );
    }
    for model in on {
        line(&mut text, model);
    }
    let (seen, unseen): (Vec<&Model>, Vec<&Model>) = off
        .into_iter()
        .partition(|one| one.realism == Realism::Seen);
    if !seen.is_empty() {
        let _ = writeln!(text, "\nseen, and off:");
    }
    for model in seen {
        let reason = &model.reason;
        let reason = reason
            .strip_prefix("It was seen here, but is off. ")
            .unwrap_or(reason);
        let _ = writeln!(
            text,
            "{:<28} {:>8}",
            what(model),
            percent(model.natural.rate)
        );
        wrapped(&mut text, reason);
    }
    let on = models.combinations.iter().filter(|one| one.is_on);
    for (at, one) in on.enumerate() {
        if at == 0 {
            let _ = writeln!(text, "\ntogether:");
        }
        let _ = writeln!(text, "{}: {}", one.name, one.models.join(", "));
    }
    if !unseen.is_empty() {
        let _ = writeln!(
            text,
            "\n{} not seen here: off, each with its reason in the file",
            match unseen.len() {
                1 => "1 error was".to_owned(),
                count => format!("{} errors were", grouped(count as u64)),
            }
        );
    }
    text
}

fn head(name: &str, models: &Models) -> String {
    let Some(of) = &models.recording else {
        return format!("{name}\n");
    };
    let lost = match of.lost {
        0 => "none lost".to_owned(),
        lost => format!("{} lost", grouped(lost)),
    };
    format!(
        "{name} · {} · {} of {} · {lost}\n",
        of.target.join(", "),
        plural(of.intervals, "interval"),
        Span(Duration::from_nanos(of.interval_ns)),
    )
}

fn line(text: &mut String, model: &Model) {
    let natural = &model.natural;
    let times = model
        .amplification
        .map_or("new".to_owned(), |times| figure(times, ""));
    let _ = writeln!(
        text,
        "{:<28} {:>8}  {:<17}{:<11} {:>6}  {times}",
        what(model),
        percent(natural.rate),
        format!(
            "{}..{}",
            figure(natural.low * 100.0, ""),
            percent(natural.high)
        ),
        model.class,
        percent(model.rate),
    );
    if let Some(burst) = model.burst {
        let _ = writeln!(text, "  in bursts of {}", plural(burst.into(), "call"));
    }
}

/// Words in lines of a terminal's width, below what they are about.
fn wrapped(text: &mut String, words: &str) {
    const WIDTH: usize = 80;
    let mut column = WIDTH;
    for word in words.split(' ') {
        let length = word.chars().count();
        let is_first = column == WIDTH;
        if !is_first && column + 1 + length <= WIDTH {
            text.push(' ');
            column += 1;
        } else {
            text.push_str(if is_first { "  " } else { "\n  " });
            column = 2;
        }
        text.push_str(word);
        column += length;
    }
    text.push('\n');
}

fn what(model: &Model) -> String {
    format!("{} {}", model.key, model.errno)
}

fn percent(share: f64) -> String {
    figure(share * 100.0, " %")
}

/// A figure of three digits, so that what is rare is not shown as nothing.
fn figure(value: f64, unit: &str) -> String {
    if value <= 0.0 {
        return format!("0{unit}");
    }
    // It is small: no double is below ten to the power of -324.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let digits = (2.0 - value.log10().floor()).clamp(0.0, 7.0) as usize;
    let text = format!("{value:.digits$}");
    let text = if digits > 0 {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        &text
    };
    format!("{text}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits_however_small() {
        for (value, said) in [
            (0.0, "0"),
            (100.0, "100"),
            (99.96, "100"),
            (1224.0, "1224"),
            (48.95, "49"),
            (5.0, "5"),
            (1.224, "1.22"),
            (0.001_234, "0.00123"),
            (1e-12, "0"),
        ] {
            assert_eq!(figure(value, ""), said);
        }
        assert_eq!(percent(0.0125), "1.25 %");
    }

    #[test]
    fn reasons_stay_within_a_terminal() {
        let mut text = String::new();
        wrapped(&mut text, &["word"; 40].join(" "));
        let lines: Vec<&str> = text.lines().collect();
        // Two, and fifteen times five but for a space.
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0].len(), 2 + 15 * 5 - 1);
        assert!(lines.iter().all(|line| line.starts_with("  word")));
    }
}
