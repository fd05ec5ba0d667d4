//! What was found, the latest first, those that are not over before the others, each with how it is known.

use murphy_observe::{Finding, Kind};
use ratatui::text::Line;

use super::ink::Ink;

/// Draws it in so many lines.
pub fn lines(
    findings: &[Finding],
    ink: Ink,
    width: usize,
    height: usize,
    when: &dyn Fn(u64) -> String,
) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    let now = findings.iter().rev().filter(|finding| !finding.is_over);
    let over = findings.iter().rev().filter(|finding| finding.is_over);
    for finding in now.chain(over) {
        if lines.len() >= height {
            break;
        }
        let claim = &finding.claim;
        let until = if finding.is_over {
            format!(" until {}", when(finding.last_ns))
        } else {
            String::new()
        };
        let undecided = if finding.is_undecided {
            ", undecided: events were lost"
        } else {
            ""
        };
        let style = if finding.is_over {
            ink.dim()
        } else {
            ink.wrong()
        };
        let sign = if finding.is_over { ' ' } else { '✕' };
        let size = match claim.kind {
            Kind::Partition => String::new(),
            _ => format!("{}, ", claim.size),
        };
        let text = format!(
            "{sign} {}  {}, {size}{}, since {}{until}{undecided}",
            finding.edge,
            claim.kind.name().to_uppercase(),
            claim.direction.name(),
            when(claim.since_ns),
        );
        let text = wrapped(&text, width, 4);
        lines.extend(text.into_iter().map(|text| Line::styled(text, style)));
        if !finding.is_over {
            for text in &claim.evidence {
                let text = wrapped(&format!("    {text}"), width, 6);
                lines.extend(text.into_iter().map(|text| Line::styled(text, ink.dim())));
            }
        }
    }
    lines.truncate(height);
    lines
}

/// How many lines it has use for.
pub fn most(findings: &[Finding], width: usize) -> usize {
    // More than any screen has.
    const MANY: usize = 1000;
    lines(findings, Ink::new(false), width, MANY, &|_| {
        "00:00:00".into()
    })
    .len()
}

/// A text in lines of so many letters, those after the first further in.
fn wrapped(text: &str, width: usize, further: usize) -> Vec<String> {
    let begin = text.chars().take_while(|c| *c == ' ').count();
    let mut lines = vec![" ".repeat(begin)];
    let mut is_first = true;
    for word in text.trim_start().split(' ') {
        let last = lines.len() - 1;
        let count = lines[last].chars().count() + 1 + word.chars().count();
        if is_first {
            lines[last].push_str(word);
        } else if count > width {
            lines.push(" ".repeat(further) + word);
        } else {
            lines[last].push(' ');
            lines[last].push_str(word);
        }
        is_first = false;
    }
    lines
}
