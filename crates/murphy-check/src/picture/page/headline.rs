//! The headline says the verdict in one sentence, and the verdict on every promise.

use super::super::{
    scene::Scene,
    text::{count, counted, escaped, full_stop, sentence},
};
use crate::verdict::{Judgement, Report, Verdict};

/// The verdict, what decides it, and what the history is of, for the title of the page.
pub fn title(scene: &Scene, report: &Report) -> String {
    let worst = report.verdict(&[]);
    let word = worst.word().to_uppercase();
    let what = deciding(report).next().map(|j| j.promise.as_str());
    let what = what.filter(|_| worst != Verdict::Held).unwrap_or_default();
    format!("{word} {what} · {}", about(scene))
}

/// What the history is of: `etcd 3.5.0`, or its model.
fn about(scene: &Scene) -> String {
    match &scene.header.system {
        Some(system) => format!("history of {system}"),
        None => format!("{} history", scene.header.model),
    }
}

/// The line above everything: what was recorded, and how much of it.
pub fn masthead(scene: &Scene) -> String {
    let operations = counted(scene.bars.len() as u64, "invocation");
    let clients = counted(scene.lanes.len() as u64, "client");
    let mut facts = vec![about(scene), operations, clients];
    facts.extend(scene.header.started.clone());
    format!(
        r#"<header class="masthead">
  <b>murphy</b>
  <span class="dim">{}</span>
  <button type="button" id="theme" aria-label="Theme: system" hidden>◐ system</button>
</header>"#,
        escaped(&facts.join(" · "))
    )
}

/// The judgements that decide: those with the worst verdict.
pub fn deciding(report: &Report) -> impl Iterator<Item = &Judgement> {
    let worst = report.verdict(&[]);
    report.judgements.iter().filter(move |j| j.verdict == worst)
}

/// The verdict.
pub fn section(scene: &Scene, report: &Report) -> String {
    let worst = report.verdict(&[]);
    let first = deciding(report).next();
    let name = first.map_or("", |j| j.promise.as_str());
    let faults = counted(scene.bands.len() as u64, "fault");
    let operations = counted(scene.bars.len() as u64, "operation");
    let (strong, rest) = match (worst, first) {
        (_, None) => ("Nothing was judged.".into(), String::new()),
        (Verdict::Held, _) => (
            match report.judgements.len() {
                1 => format!("HELD: {name}."),
                many => format!("HELD: all {} promises.", count(many as u64)),
            },
            format!("{operations} and {faults}, nothing contradicted."),
        ),
        (Verdict::Broken, Some(judgement)) => (
            format!("BROKEN: {name}."),
            full_stop(
                judgement
                    .witness
                    .as_ref()
                    .map_or(&judgement.reason, |w| &w.sentence),
            ),
        ),
        (Verdict::Undecided, Some(judgement)) => {
            (format!("UNDECIDED: {name}."), full_stop(&judgement.reason))
        }
    };
    let cards: String = report.judgements.iter().map(card).collect();
    let columns = match report.judgements.len() {
        0..=4 => report.judgements.len().max(1),
        5 | 6 | 9 => 3,
        _ => 4,
    };
    let list = match report.judgements.len() {
        0 => String::new(),
        _ => format!(
            "  <ul class=\"promises\" style=\"--columns:{columns}\" aria-label=\"Promises\">\n{cards}  </ul>\n"
        ),
    };
    format!(
        r#"<section class="verdict {class}" aria-label="Verdict">
  <h1><strong>{strong}</strong> {rest}</h1>
{list}</section>
"#,
        class = worst.word(),
        strong = sentence(&strong),
        rest = sentence(&rest),
    )
}

fn card(judgement: &Judgement) -> String {
    let word = judgement.verdict.word();
    format!(
        r#"    <li class="{word}"><code>{}</code><span class="verdict-word">{word}</span> <span class="reason">{}</span></li>
"#,
        escaped(&judgement.promise),
        sentence(&judgement.reason)
    )
}
