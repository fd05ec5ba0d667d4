//! How a verdict is said: the broken promises with their witnesses, then those that held, then the figures.

use murphy_check::verdict::{Vacuity, Verdict, Witness, WitnessLine};

use crate::output::{self, Paint, grouped};

/// One promise as it is said.
pub struct Said<'a> {
    /// Its name.
    pub promise: &'a str,
    /// The verdict.
    pub verdict: Verdict,
    /// Why.
    pub reason: &'a str,
    /// The violation in a sentence.
    pub sentence: Option<&'a str>,
    /// Whether a second checker agrees.
    pub confirmed: Option<bool>,
    /// The lines of the witness, where they are to be drawn.
    pub lines: &'a [WitnessLine],
    /// Whether the promise was asked for.
    pub selected: bool,
}

impl<'a> Said<'a> {
    /// A judgement straight from the checker.
    pub fn new(judgement: &'a murphy_check::verdict::Judgement, promises: &[String]) -> Self {
        let witness: Option<&Witness> = judgement.witness.as_ref();
        Self {
            promise: &judgement.promise,
            verdict: judgement.verdict,
            reason: &judgement.reason,
            sentence: witness.map(|w| w.sentence.as_str()),
            confirmed: witness.map(|w| w.confirmed),
            lines: witness.map_or(&[], |w| &w.lines),
            selected: promises.is_empty() || promises.contains(&judgement.promise),
        }
    }
}

/// Column where the text of a promise begins.
const INDENT: usize = 8;
/// Width of a terminal that everybody has.
const WIDTH: usize = 80;

/// Prints the promises, worst first.
pub fn print(promises: &[Said<'_>]) {
    let paint = Paint::for_results();
    for verdict in [Verdict::Broken, Verdict::Undecided] {
        for said in promises
            .iter()
            .filter(|said| said.verdict == verdict && said.selected)
        {
            one(said, paint);
        }
    }
    let held: Vec<_> = promises
        .iter()
        .filter(|s| s.verdict == Verdict::Held && s.selected)
        .map(|s| s.promise)
        .collect();
    if !held.is_empty() {
        let text = format!("{}{}", paint.verdict("held    "), held.join(" · "));
        output::line(&text);
    }
    for said in promises
        .iter()
        .filter(|said| !said.selected && said.verdict == Verdict::Broken)
    {
        let text = format!(
            "also broken, not asked for: {}: {}",
            said.promise, said.reason
        );
        output::line(&paint.dim(&text));
    }
}

fn one(said: &Said<'_>, paint: Paint) {
    let word = match said.verdict {
        Verdict::Broken => "BROKEN",
        Verdict::Undecided => "UNDECIDED",
        Verdict::Held => "held",
    };
    output::line(&format!(
        "{}  {}: {}",
        paint.verdict(&format!("{word:<6}")),
        said.promise,
        said.reason
    ));
    if let Some(sentence) = said.sentence {
        for text in wrapped(&format!("witness: {sentence}"), WIDTH - INDENT) {
            output::line(&format!("{:INDENT$}{text}", ""));
        }
    }
    if (2..=LINES_DRAWN).contains(&said.lines.len()) {
        for text in bars(said.lines) {
            output::line(&format!("{:INDENT$}{text}", ""));
        }
    }
    if said.confirmed == Some(false) {
        output::line(&format!(
            "{:INDENT$}(a second checker did not confirm this witness)",
            ""
        ));
    }
}

/// Most lines of a witness that are drawn.
const LINES_DRAWN: usize = 12;
/// Columns for the words of a line, and for its bar.
const WORDS: usize = 36;
const BAR: usize = 32;

/// The lines of a witness as bars, one below the other: what lies side by side was open at the same time. Moments are
/// spread evenly, so that their order shows, not their distance.
fn bars(lines: &[WitnessLine]) -> Vec<String> {
    let ends = lines.iter().filter_map(|line| line.end_ns);
    let mut moments: Vec<_> = lines.iter().map(|line| line.start_ns).chain(ends).collect();
    moments.sort_unstable();
    moments.dedup();
    let last = moments.len().saturating_sub(1).max(1);
    let column = |moment| moments.partition_point(|other| *other < moment) * (BAR - 1) / last;
    let bar = |line: &WitnessLine| {
        let words = match line.answer.as_str() {
            "" | "ok" => format!("{} {}", line.process, line.label),
            answer => format!("{} {} → {answer}", line.process, line.label),
        };
        let words: String = words.chars().take(WORDS - 1).collect();
        let (start, end) = (column(line.start_ns), line.end_ns.map_or(BAR - 1, column));
        let middle = "─".repeat(end.saturating_sub(start + 1));
        let close = if line.end_ns.is_some() { "┤" } else { "╌" };
        let close = if end > start { close } else { "" };
        format!("{words:WORDS$}{:start$}├{middle}{close}", "")
    };
    lines.iter().map(bar).collect()
}

/// The figures behind a verdict, in one line.
pub fn figures(vacuity: &Vacuity) -> String {
    let unknown = 100.0 * vacuity.unknown as f64 / (vacuity.operations.max(1)) as f64;
    format!(
        "{} operations, {} during faults, {unknown:.1} % unknown, {} watch events",
        grouped(vacuity.operations),
        grouped(vacuity.operations_during_faults),
        grouped(vacuity.watch_events),
    )
}

/// `text` in lines of at most `width` characters, broken at spaces.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_show_what_was_open_at_the_same_time() {
        let line = |process: &str, start_ns, end_ns| WitnessLine {
            index: 0,
            line: 1,
            node: None,
            process: process.into(),
            start_ns,
            end_ns,
            label: "read".into(),
            answer: "3".into(),
            text: String::new(),
            clashes: true,
        };
        let drawn = bars(&[
            line("a", 5, Some(1000)),
            line("b", 7, None),
            line("c", 1000, Some(1001)),
        ]);
        let bar = |text: &String| text.chars().skip(WORDS).collect::<String>();
        assert!(drawn[0].starts_with("a read → 3  "));
        assert_eq!(bar(&drawn[0]), "├───────────────────┤");
        assert_eq!(bar(&drawn[1]), "          ├────────────────────╌");
        assert_eq!(bar(&drawn[2]), "                    ├──────────┤");
    }

    #[test]
    fn long_sentences_are_wrapped_at_spaces() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("unbreakable", 3), ["unbreakable"]);
        assert_eq!(wrapped("", 3), [""]);
    }
}
