//! The page around the pictures: the verdict, each witness with what it says, the whole history, how to read it.

use std::io::{self, Write};

use super::{
    Explanation, columns,
    figure::{self, Figure},
    scene::Scene,
    svg,
    text::{count, counted, escaped, full_stop, sentence},
};
use crate::{
    recording::Outcome,
    verdict::{Judgement, Report, Verdict},
};

const CSS: &str = include_str!("page.css");
const JS: &str = include_str!("page.js");

/// The steps of the longest legal order that are listed.
const STEPS_LISTED: usize = 40;
/// The invocations that cannot come next that are listed.
const BLOCKED_LISTED: usize = 40;

/// The SHA-256 of the page's own script, in base64.
pub(super) const JS_HASH: &str = "1u/gTyhYl4Vg95a+d2qUo079JEZV1HMrcGC+PNokPa0=";

/// Nothing may be loaded or sent, and no script but the page's own may run, even if a word of the history got past the
/// escaping.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// The content of the script element.
pub(super) fn script() -> String {
    format!("\n{JS}")
}

/// Writes the page.
pub fn write(
    scene: &Scene,
    report: &Report,
    explanations: &[Explanation],
    mut out: impl Write,
) -> io::Result<()> {
    let figures = figure::figures(scene, report, explanations);
    let columns = columns::of(scene, report, explanations);
    writeln!(
        out,
        r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}; script-src 'sha256-{JS_HASH}'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} · Murphy</title>
<style>
{CSS}{figure_css}</style>
</head>
<body>
<div class="page">
{masthead}
<main>
{verdict}"#,
        title = escaped(&title(scene, report)),
        figure_css = svg::CSS,
        masthead = masthead(scene),
        verdict = verdict(scene, report),
    )?;
    for (number, figure) in figures.iter().enumerate() {
        out.write_all(section(scene, report, explanations, figure, number).as_bytes())?;
    }
    out.write_all(history(scene, columns.bars).as_bytes())?;
    writeln!(
        out,
        r#"</main>
<footer>Written by <code>murphy check</code>. This file needs nothing else to be read.</footer>
</div>
<script type="application/json" id="data">{}</script>
<script>{}</script>
</body>
</html>"#,
        columns.json,
        script()
    )
}

fn title(scene: &Scene, report: &Report) -> String {
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

fn masthead(scene: &Scene) -> String {
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
fn deciding(report: &Report) -> impl Iterator<Item = &Judgement> {
    let worst = report.verdict(&[]);
    report.judgements.iter().filter(move |j| j.verdict == worst)
}

fn verdict(scene: &Scene, report: &Report) -> String {
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

/// A figure with what it says in words.
fn section(
    scene: &Scene,
    report: &Report,
    explanations: &[Explanation],
    figure: &Figure<'_>,
    number: usize,
) -> String {
    let (heading, lede) = heading(scene, report, figure);
    let which = explanations
        .iter()
        .position(|e| figure.explanation.is_some_and(|own| std::ptr::eq(own, e)));
    let which = which.map_or(String::new(), |which| {
        format!(r#" data-explanation="{which}""#)
    });
    let show = format!(
        r#"<button type="button" class="show"{which} hidden>Show it in the history</button>"#
    );
    format!(
        r#"<section aria-labelledby="figure-{number}">
  <h2 id="figure-{number}">{heading}</h2>
  <p>{lede}</p>
  <figure class="card">
    <div class="scroll" tabindex="0" role="region" aria-label="Picture">
{drawing}    </div>
{legend}{sentences}{steps}{blocked}    {show}
  </figure>
</section>
"#,
        drawing = svg::inline(figure, scene, number),
        legend = legend(figure),
        sentences = sentences(figure),
        steps = steps(scene, figure),
        blocked = blocked(scene, figure),
    )
}

fn heading(scene: &Scene, report: &Report, figure: &Figure<'_>) -> (String, String) {
    let Some(judgement) = figure.judgement else {
        return ("The history".into(), "Every invocation of it.".into());
    };
    let part = figure.explanation.and_then(|e| e.part.as_ref());
    let part = part.map_or(String::new(), |part| {
        format!(", key <code>{}</code>", escaped(part))
    });
    let is_only = report
        .judgements
        .iter()
        .filter(|j| j.verdict != Verdict::Held)
        .count()
        == 1;
    let what = if judgement.verdict == Verdict::Broken {
        "Witness"
    } else {
        "What is known"
    };
    let heading = if is_only {
        format!("{what}{part}")
    } else {
        format!(
            "{what} of <code>{}</code>{part}",
            escaped(&judgement.promise)
        )
    };
    let lines = figure
        .bars
        .iter()
        .filter(|bar| bar.clashes.is_some())
        .count() as u64;
    let Some(witness) = judgement.witness.as_ref().filter(|_| lines > 0) else {
        return (heading, sentence(&full_stop(&judgement.reason)));
    };
    let confirmed = if witness.confirmed {
        ", confirmed by a second, independent checker"
    } else {
        ""
    };
    let all = count(scene.bars.len() as u64);
    // The headline has the sentence of the first one already.
    let is_headline = deciding(report)
        .next()
        .is_some_and(|first| std::ptr::eq(first, judgement));
    let said = if is_headline {
        String::new()
    } else {
        sentence(&full_stop(&witness.sentence))
    };
    let lede = format!(
        "{said} <span class=\"dim\">The smallest part of the history that cannot be true: {} of {all} \
         invocations{confirmed}.</span>",
        count(lines)
    );
    (heading, lede)
}

fn legend(figure: &Figure<'_>) -> String {
    let has = |is: &dyn Fn(&figure::FigureBar) -> bool| figure.bars.iter().any(is);
    let mut entries: Vec<(&str, &str)> = Vec::new();
    for (is, entry) in [
        (has(&|b| b.clashes == Some(true)), ("clash", "clashes")),
        (
            has(&|b| b.clashes == Some(false)),
            ("scene", "sets the scene"),
        ),
        (
            has(&|b| b.blocked.is_some()),
            ("blocked", "✕ cannot come next"),
        ),
        (has(&|b| b.is_open()), ("open", "may act later, or never")),
        (
            has(&|b| b.outcome == Outcome::Fail),
            ("fail", "did not happen"),
        ),
        (!figure.steps.is_empty(), ("step", "a longest legal order")),
    ] {
        if is {
            entries.push(entry);
        }
    }
    let entry =
        |(class, text): &(&str, &str)| format!("<span><i class=\"{class}\"></i>{text}</span>");
    match entries.len() {
        0 => String::new(),
        _ => format!(
            "    <p class=\"legend\">{}</p>\n",
            entries.iter().map(entry).collect::<String>()
        ),
    }
}

/// A link to a line, which the script follows into the whole history.
fn line(number: u64) -> String {
    format!("<a class=\"line\" href=\"#L{number}\">line {number}</a>")
}

/// The lines of the witness as sentences.
fn sentences(figure: &Figure<'_>) -> String {
    let items: String = figure
        .bars
        .iter()
        .filter_map(|bar| {
            let text = bar.sentence.as_ref()?;
            let class = if bar.clashes == Some(true) { "broken" } else { "scene" };
            let sign = if bar.clashes == Some(true) { "✕" } else { "·" };
            Some(format!(
                "      <li class=\"{class}\"><span class=\"sign\">{sign}</span><time>{}</time><p>{}</p>{}</li>\n",
                escaped(&figure.clock.moment(bar.from)),
                sentence(text),
                line(bar.line)
            ))
        })
        .collect();
    list("", "Witness", "sentences", &items)
}

/// A list under its name; nothing where it is empty.
fn list(name: &str, label: &str, class: &str, items: &str) -> String {
    if items.is_empty() {
        return String::new();
    }
    let name = if name.is_empty() {
        String::new()
    } else {
        format!("    <h3>{name}</h3>\n")
    };
    format!("{name}    <ol class=\"{class}\" aria-label=\"{label}\">\n{items}    </ol>\n")
}

fn steps(scene: &Scene, figure: &Figure<'_>) -> String {
    let Some(explanation) = figure.explanation else {
        return String::new();
    };
    let all = explanation.longest.len();
    let first = all.saturating_sub(STEPS_LISTED);
    let items: String = explanation
        .longest
        .iter()
        .enumerate()
        .skip(first)
        .filter_map(|(at, number)| {
            let bar = scene.bars.get(*number as usize)?;
            let state = explanation.states.get(at).map_or("", String::as_str);
            Some(format!(
                "      <li><span class=\"sign\">{}</span><code>{}</code><p><code>{}</code></p><p>then <code>{}</code></p>{}</li>\n",
                count(at as u64 + 1),
                escaped(scene.lane_of(bar)),
                said(scene, bar),
                escaped(state),
                line(bar.line.max(bar.end_line).into())
            ))
        })
        .collect();
    let before = match first {
        0 => String::new(),
        before => format!(
            " <span class=\"dim\">after {} steps before these</span>",
            count(before as u64)
        ),
    };
    let name = format!("A longest legal order{before}");
    list(&name, "A longest legal order", "sentences steps", &items)
}

fn blocked(scene: &Scene, figure: &Figure<'_>) -> String {
    let Some(explanation) = figure.explanation else {
        return String::new();
    };
    let items: String = explanation
        .blocked
        .iter()
        .take(BLOCKED_LISTED)
        .filter_map(|(number, reason)| {
            let bar = scene.bars.get(*number as usize)?;
            Some(format!(
                "      <li class=\"broken\"><span class=\"sign\">✕</span><code>{}</code><p><code>{}</code></p><p>{}</p>{}</li>\n",
                escaped(scene.lane_of(bar)),
                said(scene, bar),
                sentence(reason),
                line(bar.line.max(bar.end_line).into())
            ))
        })
        .collect();
    let more = explanation.blocked.len().saturating_sub(BLOCKED_LISTED);
    let more = match more {
        0 => String::new(),
        more => format!(
            " <span class=\"dim\">and {} more</span>",
            count(more as u64)
        ),
    };
    let name = format!("What could come next, and why it cannot{more}");
    list(&name, "What cannot come next", "sentences steps", &items)
}

/// An invocation and its answer, escaped.
fn said(scene: &Scene, bar: &super::scene::Bar) -> String {
    let answer = scene.text(bar.answer);
    let arrow = if answer.is_empty() { "" } else { " → " };
    escaped(&format!("{}{arrow}{answer}", scene.text(bar.label)))
}

/// What the script fills: the whole history.
fn history(scene: &Scene, bars: usize) -> String {
    if scene.bars.is_empty() {
        return "<section><h2>The whole history</h2><p>It has no invocations.</p></section>\n"
            .into();
    }
    let part = if bars < scene.bars.len() {
        format!(
            " This page holds {} of {} invocations, those around the witness.",
            count(bars as u64),
            count(scene.bars.len() as u64)
        )
    } else {
        String::new()
    };
    format!(
        r#"<section aria-labelledby="history" id="history-section">
  <h2 id="history">The whole history</h2>
  <p>Every client has a lane. Drag to move, or mark a stretch on the strip; click an invocation to see all of it.{part}</p>
  <noscript><p class="notice">To draw {operations}, the page needs its script. The verdict and the witness above do not.</p></noscript>
  <div class="card" id="browser" hidden>
{tools}    <div id="strip-box"><canvas id="strip" aria-hidden="true"></canvas></div>
    <div id="lanes" tabindex="0" role="application" aria-label="Timeline of the history" aria-describedby="keys"><div id="room"></div><canvas id="chart"></canvas></div>
    <div id="tip" hidden></div>
    <p class="dim" id="keys"><kbd>+</kbd> <kbd>−</kbd> zoom, also the wheel with <kbd>Ctrl</kbd> or after a click · <kbd>Shift</kbd> <kbd>←</kbd> <kbd>→</kbd> move · <kbd>←</kbd> <kbd>→</kbd> <kbd>↑</kbd> <kbd>↓</kbd> choose an invocation · <kbd>Enter</kbd> zoom to it · <kbd>Home</kbd> everything</p>
    <div id="details" aria-live="polite"></div>
    <details id="table"><summary>In view, as a table</summary><div class="scroll"><table>
      <thead><tr><th>line</th><th>client</th><th>asked</th><th>answered</th><th>at</th><th>took</th></tr></thead><tbody></tbody></table></div></details>
  </div>
</section>
"#,
        operations = counted(scene.bars.len() as u64, "invocation"),
        tools = TOOLS,
    )
}

const TOOLS: &str = r#"    <div class="tools" role="search" aria-label="Filter">
      <label>find <input type="search" id="find" placeholder="value, error, client" autocomplete="off"></label>
      <label>key <input type="search" id="by-key" list="all-keys" size="8" autocomplete="off"></label><datalist id="all-keys"></datalist>
      <label>client <input type="search" id="by-lane" list="all-lanes" size="8" autocomplete="off"></label><datalist id="all-lanes"></datalist>
      <label>f <select id="by-f"><option value="">all</option></select></label>
      <label>outcome <select id="by-outcome"><option value="">all</option><option value="0">ok</option><option value="1">failed</option><option value="2">unknown</option></select></label>
      <label>colour <select id="colour"><option value="outcome">by outcome</option><option value="f">by f</option><option value="node">by member</option><option value="key">by key</option></select></label>
      <button type="button" id="only" aria-pressed="false" hidden>only the witness</button>
      <button type="button" id="reset">clear</button>
    </div>
    <div class="tools">
      <button type="button" id="in" aria-label="Zoom in">+</button>
      <button type="button" id="out" aria-label="Zoom out">−</button>
      <button type="button" id="all">everything</button>
      <label><input type="checkbox" id="share"> clients that follow each other share a lane</label>
      <output id="count" aria-live="polite"></output>
    </div>
"#;
