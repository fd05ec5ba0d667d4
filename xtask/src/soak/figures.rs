//! The figures as a table in the documentation, derived from the outcomes alone.

use super::outcome::{Ledger, Outcome};
use super::series::Series;

/// The lines between which the figures stand.
pub const BEGIN: &str = "<!-- figures of `make soak`: begin -->";
pub const END: &str = "<!-- figures of `make soak`: end -->";

/// The normal quantile of a two-sided interval of 95 %.
const Z: f64 = 1.959_964;

/// A page with other figures; nothing if the page has no place for them.
pub fn replace(page: &str, table: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{table}{END}{after}"))
}

/// One row per series that has outcomes, or had them on another machine: then the one that the page has.
pub fn table(all: &[Series], ledger: &Ledger, page: &str) -> String {
    let rows: String = all
        .iter()
        .filter_map(|series| {
            row(series, &ledger.of(&series.name)).or_else(|| kept(&series.claim, page))
        })
        .collect();
    if rows.is_empty() {
        return "Not measured yet.\n".to_owned();
    }
    format!(
        "| what | as claimed | rate (95 % interval) | median | longest | commit |\n|---|---:|---:|---:|---:|---|\n{rows}"
    )
}

fn row(series: &Series, outcomes: &[&Outcome]) -> Option<String> {
    let (first, rest) = outcomes.split_first()?;
    let good = outcomes
        .iter()
        .filter(|outcome| series.expects(&outcome.result))
        .count();
    let n = outcomes.len();
    let rate = if series.repetitions > 1 {
        let (low, high) = wilson(good, n);
        format!(
            "{:.0} % ({:.0} to {:.0} %)",
            100.0 * good as f64 / n as f64,
            100.0 * low,
            100.0 * high
        )
    } else {
        outcomes
            .iter()
            .find_map(|outcome| outcome.figure.clone())
            .unwrap_or_else(|| first.result.clone())
    };
    let mut seconds: Vec<f64> = outcomes.iter().map(|outcome| outcome.seconds).collect();
    seconds.sort_by(f64::total_cmp);
    let longest = seconds.last().copied().unwrap_or_default();
    let missing = if n < series.repetitions as usize {
        format!(" (of {} to take)", series.repetitions)
    } else {
        String::new()
    };
    let mut commits = vec![first.commit.as_str()];
    commits.extend(rest.iter().map(|outcome| outcome.commit.as_str()));
    commits.dedup();
    Some(format!(
        "| {} | {good} of {n}{missing} | {rate} | {:.1} s | {longest:.1} s | {} |\n",
        series.claim,
        median(&seconds),
        commits.join(", ")
    ))
}

/// The row of a claim that stands on the page already.
fn kept(claim: &str, page: &str) -> Option<String> {
    let begins = format!("| {claim} |");
    let row = page.lines().find(|line| line.starts_with(&begins))?;
    Some(format!("{row}\n"))
}

/// The middle of sorted values.
fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        n if n % 2 == 0 => f64::midpoint(sorted[middle - 1], sorted[middle]),
        _ => sorted[middle],
    }
}

/// The Wilson score interval of a rate: sensible for few repetitions and for rates near 0 and 1.
fn wilson(good: usize, n: usize) -> (f64, f64) {
    let (n, p) = (n as f64, good as f64 / n as f64);
    let centre = p + Z * Z / (2.0 * n);
    let spread = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + Z * Z / n;
    (
        ((centre - spread) / scale).max(0.0),
        ((centre + spread) / scale).min(1.0),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_wilson_s() {
        // Reference values: the formula evaluated in double precision by another program.
        for (good, n, low, high) in [
            (16, 20, 0.5840, 0.9193),
            (20, 20, 0.8389, 1.0),
            (0, 20, 0.0, 0.1611),
        ] {
            let (found_low, found_high) = wilson(good, n);
            assert!(
                (found_low - low).abs() < 1e-4 && (found_high - high).abs() < 1e-4,
                "{good}/{n}: {found_low} {found_high}"
            );
        }
    }

    #[test]
    fn the_median_is_the_middle() {
        for (sorted, expected) in [
            (&[][..], 0.0),
            (&[3.0], 3.0),
            (&[1.0, 2.0], 1.5),
            (&[1.0, 2.0, 9.0], 2.0),
        ] {
            assert!((median(sorted) - expected).abs() < f64::EPSILON);
        }
    }

    #[test]
    fn a_figure_taken_elsewhere_stays() {
        let page = "| what | n |\n| it holds | 20 of 20 |\n";
        assert_eq!(
            kept("it holds", page).as_deref(),
            Some("| it holds | 20 of 20 |\n")
        );
        assert_eq!(kept("it hol", page), None);
    }

    #[test]
    fn figures_replace_figures_and_nothing_else() {
        let page = format!("# Figures\n{BEGIN}\nold\n{END}\nmore\n");
        assert_eq!(
            replace(&page, "new\n"),
            Some(format!("# Figures\n{BEGIN}\nnew\n{END}\nmore\n"))
        );
        assert_eq!(replace("# Figures\n", "new\n"), None);
    }
}
