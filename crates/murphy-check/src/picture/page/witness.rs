//! The section of a figure: the drawing, and the same in words.

use super::{
    super::{
        Explanation,
        figure::{Figure, FigureBar},
        scene::{Bar, Scene},
        svg,
        text::{count, escaped, full_stop, sentence},
    },
    headline::deciding,
};
use crate::{
    recording::Outcome,
    verdict::{Report, Verdict},
};

/// The steps of the longest legal order that are listed.
const STEPS_LISTED: usize = 40;
/// The invocations that cannot come next that are listed.
const BLOCKED_LISTED: usize = 40;

/// A figure with what it says in words.
pub fn section(
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
    let has = |is: &dyn Fn(&FigureBar) -> bool| figure.bars.iter().any(is);
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
fn said(scene: &Scene, bar: &Bar) -> String {
    let answer = scene.text(bar.answer);
    let arrow = if answer.is_empty() { "" } else { " → " };
    escaped(&format!("{}{arrow}{answer}", scene.text(bar.label)))
}
