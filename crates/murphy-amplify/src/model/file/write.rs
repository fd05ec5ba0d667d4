//! Models as YAML: a comment that explains the fields, then the same models always in the same words, so that two files can be compared.

use std::fmt::{Display, Write};

use super::{
    fields,
    yaml::{self, scalar},
};
use crate::{
    fields::{Field, Holds},
    model::{Combination, Model, Models, Natural, Rule, Source},
};

/// Texts over several lines are broken before this column.
const WIDTH: usize = 118;

/// Models as a text.
pub fn text(models: &Models) -> String {
    let mut text = head();
    line(&mut text, 0, fields::MURPHY, fields::VERSION);
    text.push_str("definition: >-\n");
    wrap(&mut text, "  ", &models.rule.definition());
    if let Some(recording) = &models.recording {
        text.push_str("recording:\n");
        source(&mut text, recording);
    }
    rule(&mut text, &models.rule);
    if models.models.is_empty() {
        text.push_str("models: []\n");
    } else {
        text.push_str("models:\n");
    }
    for one in &models.models {
        model(&mut text, one);
    }
    if !models.combinations.is_empty() {
        text.push_str("\ncombinations:\n");
    }
    for one in &models.combinations {
        combination(&mut text, one);
    }
    text
}

/// Models as JSON: the fields of the file.
pub fn json(models: &Models) -> serde_json::Value {
    // What is written here is read.
    yaml::parse(&text(models)).map_or_else(|_| serde_json::Value::Null, |root| root.json())
}

/// The comment that explains the fields.
fn head() -> String {
    let mut text = String::new();
    let about = "Which errors of system calls `murphy amplify run` injects, and how often. Edit it: switch models on and off, change rates, \
                 leave some out, put them in another order. docs/amplify-models.md says more.";
    wrap(&mut text, "# ", about);
    text.push_str("#\n# A model:\n");
    explain(&mut text, fields::MODEL);
    text.push_str("# Its natural rate:\n");
    explain(&mut text, fields::NATURAL);
    text.push_str("# A combination:\n");
    explain(&mut text, fields::COMBINATION);
    text.push('\n');
    text
}

fn explain(text: &mut String, fields: &[Field]) {
    for field in fields {
        let words = match field.holds {
            Holds::OneOf(words) => format!(": {}", words().join(", ")),
            _ => String::new(),
        };
        let about = format!("{:<18}{}{words}", field.name, field.about);
        wrap_after(text, "#   ", &format!("#{}", " ".repeat(21)), &about);
    }
}

fn source(text: &mut String, recording: &Source) {
    let Source {
        target,
        kernel,
        started,
        interval_ns,
        intervals,
        lasted_ns,
        lost,
        cut,
    } = recording;
    let targets: Vec<String> = target.iter().map(|one| scalar(one)).collect();
    line(text, 2, "target", format_args!("[{}]", targets.join(", ")));
    line(text, 2, "kernel", scalar(kernel));
    line(text, 2, "started", scalar(&started.to_string()));
    line(text, 2, "interval_ns", interval_ns);
    line(text, 2, "intervals", intervals);
    line(text, 2, "lasted_ns", lasted_ns);
    line(text, 2, "lost", lost);
    if let Some(cut) = cut {
        line(text, 2, "cut", scalar(cut));
    }
}

fn rule(text: &mut String, rule: &Rule) {
    let Rule {
        threshold,
        variance,
        fixed,
        factor,
        cap,
        least_calls,
        in_a_row,
    } = rule;
    text.push_str("rule:\n");
    line(text, 2, "threshold", threshold);
    line(text, 2, "variance", variance);
    line(text, 2, "fixed", fixed);
    line(text, 2, "factor", factor);
    line(text, 2, "cap", cap);
    line(text, 2, "least_calls", least_calls);
    line(text, 2, "in_a_row", in_a_row);
}

fn model(text: &mut String, model: &Model) {
    let key = model.key;
    let _ = writeln!(text, "\n  - name: {}", scalar(&model.name));
    line(text, 4, "inject", switch(model.is_on));
    line(text, 4, "rate", model.rate);
    line(text, 4, "call", scalar(&key.call.to_string()));
    maybe(text, "operation", key.operation);
    maybe(text, "kind", key.kind);
    maybe(text, "nonblocking", key.nonblocking);
    line(text, 4, "errno", scalar(&model.errno.to_string()));
    maybe(text, "burst", model.burst);
    maybe(text, "in_a_row", model.in_a_row);
    maybe(text, "again", model.again);
    maybe(text, "force", model.force.then_some(true));
    maybe(text, "reason", said(&model.reason));
    line(text, 4, "realism", model.realism);
    line(text, 4, "class", model.class);
    maybe(text, "amplification", model.amplification);
    line(text, 4, "calls_per_second", model.calls_per_second);
    line(text, 4, "score", model.score);
    natural(text, &model.natural);
    if !model.notes.is_empty() {
        text.push_str("    notes:\n");
    }
    for note in &model.notes {
        let _ = writeln!(text, "      - {}", scalar(note));
    }
}

fn natural(text: &mut String, natural: &Natural) {
    let Natural {
        calls,
        errors,
        intervals,
        seen_in,
        rate,
        low,
        high,
        p5,
        mean,
        p95,
        max,
        max_of,
        variance,
    } = natural;
    text.push_str("    natural:\n");
    line(text, 6, "rate", rate);
    line(text, 6, "low", low);
    line(text, 6, "high", high);
    line(text, 6, "errors", errors);
    line(text, 6, "calls", calls);
    line(text, 6, "seen_in", seen_in);
    line(text, 6, "intervals", intervals);
    line(text, 6, "p5", p5);
    line(text, 6, "mean", mean);
    line(text, 6, "p95", p95);
    line(text, 6, "max", max);
    line(text, 6, "max_of", max_of);
    line(text, 6, "variance", variance);
}

fn combination(text: &mut String, combination: &Combination) {
    let _ = writeln!(text, "\n  - name: {}", scalar(&combination.name));
    line(text, 4, "inject", switch(combination.is_on));
    maybe(text, "reason", said(&combination.reason));
    text.push_str("    models:\n");
    for name in &combination.models {
        let _ = writeln!(text, "      - {}", scalar(name));
    }
}

/// A text, where there is one: a field that holds nothing is refused.
fn said(text: &str) -> Option<String> {
    (!text.trim().is_empty()).then(|| scalar(text))
}

fn switch(is_on: bool) -> &'static str {
    if is_on { "on" } else { "off" }
}

/// A field of so much indentation; a text cannot refuse to be written.
fn line(text: &mut String, indent: usize, name: &str, value: impl Display) {
    let _ = writeln!(text, "{:indent$}{name}: {value}", "");
}

fn maybe(text: &mut String, name: &str, value: Option<impl Display>) {
    if let Some(value) = value {
        line(text, 4, name, value);
    }
}

fn wrap(text: &mut String, prefix: &str, words: &str) {
    wrap_after(text, prefix, prefix, words);
}

/// Words in lines of one width, the first behind another prefix than the others.
fn wrap_after(text: &mut String, first: &str, prefix: &str, words: &str) {
    text.push_str(first);
    let mut column = first.len();
    let mut is_begun = false;
    for word in words.split(' ') {
        if is_begun && column + 1 + word.len() > WIDTH {
            text.push('\n');
            text.push_str(prefix);
            column = prefix.len();
        } else if is_begun {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += word.len();
        is_begun = true;
    }
    text.push('\n');
}
