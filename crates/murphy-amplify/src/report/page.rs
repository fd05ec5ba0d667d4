//! The page is a report for people: the table, then each row with its trials, a picture of how it went, the last words of a crash and
//! the command that repeats it. It needs nothing but itself, and has no script.

use std::fmt::Write as _;

use murphy_run::report::{
    Frame, frame,
    html::{escaped, sentence},
    words,
};

use super::{
    Report,
    compared::{Change, Comparison},
    shell, text,
};
use crate::campaign::{
    course::{Course, Doing},
    row::{Purpose, Row, Tried},
    search::Breaking,
    verdict::{Afterwards, Verdict},
};

const CSS: &str = include_str!("page.css");
/// The width and the height of a picture, and of what is beside and between its plots, in its own unit.
const WIDTH: f64 = 1000.0;
const PLOT: f64 = 90.0;
const GUTTER: f64 = 120.0;
const GAP: f64 = 22.0;
const NAME: f64 = 60.0;

/// Draws the page.
pub fn render(report: &Report, against: Option<&Comparison>) -> String {
    let campaign = &report.campaign;
    let title = escaped(&format!(
        "{} · amplify {} · Murphy",
        headline(&report.rows),
        campaign.target
    ));
    let masthead = format!(
        r#"<header class="masthead">
  <b>murphy</b>
  <span class="dim">amplify {} · {} · {}</span>
</header>"#,
        escaped(&campaign.target),
        escaped(&words::wall_clock(&campaign.started)),
        escaped(&campaign.machine.kernel),
    );
    let rows: String = report.rows.iter().map(|row| details(report, row)).collect();
    let rows = format!(
        r#"<section aria-labelledby="rows">
  <h2 id="rows">Row by row</h2>
  <p>Each trial, how the one that decides went, and the command that repeats it.</p>
{rows}</section>
"#
    );
    let sections = [
        head(report),
        against.map(comparison).unwrap_or_default(),
        table(&report.rows),
        rows,
        how(report),
    ];
    frame(&Frame {
        title: &title,
        css: CSS,
        masthead: &masthead,
        main: &sections.concat(),
        footer: "<footer>Written by <code>murphy amplify</code>. This file needs nothing else to be read; beside it, rows.json and \
                 trials.jsonl have all figures.</footer>",
        js: None,
    })
}

/// Held, broken or undecided: how a verdict looks.
fn class(row: &Row) -> &'static str {
    match row.verdict {
        _ if row.is_flaky() => "undecided",
        Verdict::Resilient => "held",
        Verdict::Inconclusive => "undecided",
        _ => "broken",
    }
}

fn headline(rows: &[Row]) -> String {
    let of = |wanted: &str| rows.iter().filter(|row| class(row) == wanted).count();
    let (broken, open) = (of("broken"), of("undecided"));
    match (broken, open, rows) {
        (0, 0, []) => "Nothing was tried".into(),
        (0, 0, _) => "RESILIENT to all of it".into(),
        (0, open, _) => format!(
            "UNDECIDED: {open} of {}",
            words::counted(rows.len() as u64, "error")
        ),
        (1, _, _) => {
            let one = rows.iter().find(|row| class(row) == "broken");
            one.map_or(String::new(), |row| {
                format!(
                    "{}: {}",
                    row.verdict.to_string().to_uppercase(),
                    row.experiment
                )
            })
        }
        (broken, ..) => format!(
            "BROKEN by {broken} of {}",
            words::counted(rows.len() as u64, "error")
        ),
    }
}

fn head(report: &Report) -> String {
    let rows = &report.rows;
    let class = if rows.iter().any(|row| class(row) == "broken") {
        "broken"
    } else if rows.iter().any(|row| class(row) == "undecided") || rows.is_empty() {
        "undecided"
    } else {
        "held"
    };
    let injections: u64 = rows.iter().map(|row| row.injections).sum();
    let trials: usize = rows.iter().map(|row| row.trials.len()).sum();
    format!(
        r#"<section class="verdict {class}">
  <h1><strong>{}</strong></h1>
  <p>{} was made to meet {} in {}; {} of its calls were hit. It was watched by {}.</p>
</section>
"#,
        sentence(&headline(rows)),
        sentence(&report.campaign.target),
        words::counted(rows.len() as u64, "error"),
        words::counted(trials as u64, "trial"),
        words::count(injections),
        sentence(&words::and(&report.campaign.probes)),
    )
}

fn table(rows: &[Row]) -> String {
    let row = |row: &Row| {
        format!(
            "      <tr><td><code>{}</code></td><td><code>{}</code></td><td class=\"num\">{}</td><td class=\"num\">{}</td>\
             <td class=\"num\">{}</td><td class=\"num\">{}</td><td class=\"{}\"><a class=\"verdict-word\" href=\"#{}\">{}</a></td></tr>\n",
            escaped(text::call(row)),
            escaped(&row.errno),
            escaped(&text::natural(row)),
            escaped(&text::injected(row)),
            words::count(row.exposures),
            words::count(row.injections),
            class(row),
            anchor(row),
            sentence(&text::brief(row)),
        )
    };
    let body: String = rows.iter().map(row).collect();
    format!(
        r#"<section aria-labelledby="table">
  <h2 id="table">What it survives</h2>
  <p>Rates are shares of all such calls: those that fail by nature, and those that were made to fail. <i>Exposed</i> calls could have been hit, <i>hit</i> ones were.</p>
  <div class="card scroll"><table>
    <thead><tr><th>call</th><th>errno</th><th class="num">natural</th><th class="num">rate</th><th class="num">exposed</th><th class="num">hit</th><th>verdict</th></tr></thead>
    <tbody>
{body}    </tbody>
  </table></div>
</section>
"#
    )
}

/// A name for a place in the page.
fn anchor(row: &Row) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    format!(
        "row-{}",
        row.experiment.chars().map(plain).collect::<String>()
    )
}

fn details(report: &Report, row: &Row) -> String {
    let trials: String = row.trials.iter().map(trial).collect();
    // The picture is of the trial that decides, at the rate that tells most.
    let decides = row.trials.iter().filter(|one| one.verdict == row.verdict);
    let decides = decides.max_by(|one, other| one.rate.total_cmp(&other.rate));
    let picture = decides.map(picture).unwrap_or_default();
    let said = decides
        .and_then(|one| one.seen.death.as_ref())
        .filter(|death| !death.said.is_empty())
        .map(|death| {
            format!(
                "    <h3>What it said last</h3>\n    <pre>{}</pre>\n",
                escaped(&death.said.join("\n"))
            )
        });
    format!(
        r#"  <details class="card row-of {class}" id="{anchor}"{open}>
    <summary class="{class}"><code>{name}</code> <span class="verdict-word">{brief}</span></summary>
{picture}{said}    <h3>Trials</h3>
    <div class="scroll"><table>
      <thead><tr><th class="num">rate</th><th>for</th><th class="num">exposed</th><th class="num">hit</th><th>verdict</th><th>why</th><th>afterwards</th></tr></thead>
      <tbody>
{trials}      </tbody>
    </table></div>
    <h3>Again</h3>
    <pre>{again}</pre>
  </details>
"#,
        class = class(row),
        anchor = anchor(row),
        open = if row.verdict.is_bad() { " open" } else { "" },
        name = escaped(&row.experiment),
        brief = sentence(&text::brief(row)),
        said = said.unwrap_or_default(),
        again = escaped(&shell(&report.again(row))),
    )
}

fn trial(one: &Tried) -> String {
    let after = match &one.seen.afterwards {
        Afterwards::Steady(after_ns) => format!("well after {}", words::lasted(*after_ns)),
        Afterwards::Failing { probe, reason } => format!("{probe}: {reason}"),
        Afterwards::Ended => "it had ended".into(),
    };
    format!(
        "        <tr><td class=\"num\">{}</td><td>{}</td><td class=\"num\">{}</td><td class=\"num\">{}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n",
        text::figure(one.rate),
        match one.purpose {
            Purpose::Search => "search",
            Purpose::Replay => "replay",
        },
        words::count(one.seen.exposures),
        words::count(one.seen.injections),
        one.verdict,
        sentence(&one.why),
        sentence(&after),
    )
}

/// Where something is drawn: a time axis, and rows below each other.
struct Axis {
    length_ns: f64,
}

impl Axis {
    fn x(&self, time_ns: u64) -> f64 {
        GUTTER + (time_ns as f64 / self.length_ns).min(1.0) * (WIDTH - GUTTER)
    }

    /// A line through points of a time and a height from 0 to 1, in the plot that begins at `top`.
    fn line(&self, class: &str, top: f64, points: impl Iterator<Item = (u64, f64)>) -> String {
        let points: Vec<String> = points
            .map(|(at, value)| {
                format!(
                    "{:.1},{:.1}",
                    self.x(at),
                    top + PLOT * (1.0 - value.clamp(0.0, 1.0))
                )
            })
            .collect();
        if points.is_empty() {
            return String::new();
        }
        format!(
            "      <polyline class=\"{class}\" points=\"{}\"/>\n",
            points.join(" ")
        )
    }
}

/// How a trial went: a plot for each probe, and one for the processes, over the phases.
fn picture(one: &Tried) -> String {
    let course = &one.course;
    if course.length_ns() == 0 {
        return String::new();
    }
    let axis = Axis {
        length_ns: course.length_ns() as f64,
    };
    let plots = course.probes.len() + usize::from(!course.taken.is_empty());
    let height = 20.0 + plots as f64 * (PLOT + GAP) + 14.0;
    let mut svg = format!(
        "    <figure><svg class=\"course\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"how the trial at {} went\">\n",
        text::figure(one.rate)
    );
    for phase in &course.phases {
        let (from, to) = (axis.x(phase.from_ns), axis.x(phase.to_ns));
        let class = if phase.doing == Doing::Injection {
            "injection"
        } else {
            "phase"
        };
        let _ = writeln!(
            svg,
            "      <rect class=\"{class}\" x=\"{from:.1}\" y=\"18\" width=\"{:.1}\" height=\"{:.1}\"/>",
            (to - from).max(0.0),
            height - 34.0,
        );
        // What is over at once has no room for its name.
        if to - from > NAME {
            let _ = writeln!(
                svg,
                "      <text class=\"{class}\" x=\"{:.1}\" y=\"12\">{}</text>",
                from + 4.0,
                phase.doing,
            );
        }
    }
    let mut top = 24.0;
    for line in &course.probes {
        svg.push_str(&probe(&axis, top, line));
        top += PLOT + GAP;
    }
    if !course.taken.is_empty() {
        svg.push_str(&processes(&axis, top, course));
    }
    let _ = write!(
        svg,
        "      <text x=\"{WIDTH}\" y=\"{height}\" text-anchor=\"end\">{}</text>\n    </svg></figure>\n",
        words::moment(course.length_ns(), 1)
    );
    svg
}

fn name(top: f64, lines: &[String]) -> String {
    let mut svg = String::new();
    for (at, line) in (0..).zip(lines) {
        let _ = writeln!(
            svg,
            "      <text x=\"0\" y=\"{:.1}\">{}</text>",
            top + 14.0 + 16.0 * f64::from(at),
            escaped(line)
        );
    }
    let _ = writeln!(
        svg,
        "      <line class=\"base\" x1=\"{GUTTER}\" x2=\"{WIDTH}\" y1=\"{0:.1}\" y2=\"{0:.1}\"/>",
        top + PLOT
    );
    svg
}

/// How long looks took, and which share failed.
fn probe(axis: &Axis, top: f64, line: &crate::campaign::course::Line) -> String {
    let most = line.points.iter().filter_map(|point| point.median_us).max();
    let most = most.unwrap_or(1).max(1);
    let shown: String = line.probe.chars().take(18).collect();
    let mut svg = name(top, &[shown, format!("to {}", words::milliseconds(most))]);
    for point in line.points.iter().filter(|point| point.failed > 0) {
        let share = point.failed as f64 / point.looks as f64;
        let _ = writeln!(
            svg,
            "      <rect class=\"failed\" x=\"{:.1}\" y=\"{:.1}\" width=\"5\" height=\"{:.1}\"><title>{} of {} looks failed</title></rect>",
            axis.x(point.at_ns) - 2.5,
            top + PLOT * (1.0 - share),
            PLOT * share,
            point.failed,
            point.looks,
        );
    }
    let points = line.points.iter();
    let took =
        points.filter_map(|point| Some((point.at_ns, point.median_us? as f64 / most as f64)));
    svg + &axis.line("took", top, took)
}

/// What processes took of the machine.
fn processes(axis: &Axis, top: f64, course: &Course) -> String {
    let most = |of: fn(&crate::campaign::course::Taken) -> f64| {
        course.taken.iter().map(of).fold(0.0, f64::max)
    };
    let (processors, memory) = (
        most(|one| one.processors),
        most(|one| one.memory_bytes as f64),
    );
    let bytes = course.taken.iter().map(|one| one.memory_bytes).max();
    let scale = |most: f64| if most > 0.0 { most } else { 1.0 };
    let svg = name(
        top,
        &[
            "processes".into(),
            format!("to {processors:.2} processors"),
            format!("to {}", words::bytes(bytes.unwrap_or(0))),
        ],
    );
    let taken = || course.taken.iter();
    svg + &axis.line(
        "processors",
        top,
        taken().map(|one| (one.at_ns, one.processors / scale(processors))),
    ) + &axis.line(
        "memory",
        top,
        taken().map(|one| (one.at_ns, one.memory_bytes as f64 / scale(memory))),
    )
}

fn comparison(against: &Comparison) -> String {
    let word =
        |verdict: Option<Verdict>| verdict.map_or("–".into(), |verdict| verdict.to_string());
    let from = |breaking: Option<Breaking>| breaking.map_or(String::new(), text::from);
    let mut rows = String::new();
    for row in &against.rows {
        let (class, change) = match row.change {
            Change::Same => ("held", "the same"),
            Change::Better => ("held", "better"),
            Change::Worse => ("broken", "worse"),
            Change::Unknown => ("undecided", "nobody knows"),
            Change::New => ("undecided", "new"),
            Change::Gone => ("undecided", "not tried again"),
        };
        let _ = writeln!(
            rows,
            "      <tr class=\"{class}\"><td><code>{}</code></td><td>{}{}</td><td>{}{}</td><td><span class=\"verdict-word\">{change}</span></td></tr>",
            escaped(&row.experiment),
            word(row.before),
            from(row.broke_before),
            word(row.now),
            from(row.breaks_now),
        );
    }
    format!(
        r#"<section aria-labelledby="compared">
  <h2 id="compared">Against the earlier report</h2>
  <p>{} of {} have the same verdict. Rates that differ by less than half are the same.</p>
  <div class="card scroll"><table>
    <thead><tr><th>error</th><th>before</th><th>now</th><th>change</th></tr></thead>
    <tbody>
{rows}    </tbody>
  </table></div>
</section>
"#,
        against.same_verdicts,
        words::counted(against.of as u64, "row"),
    )
}

fn how(report: &Report) -> String {
    let campaign = &report.campaign;
    let phases = &campaign.phases;
    let lasted = |time: std::time::Duration| {
        words::lasted(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
    };
    let mut facts = vec![
        ("target", campaign.target.clone()),
        ("probes", words::and(&campaign.probes)),
        (
            "phases",
            format!(
                "{} baseline, {} control, {} injection, up to {} recovery",
                lasted(phases.baseline),
                lasted(phases.control),
                lasted(phases.injection),
                lasted(phases.recovery)
            ),
        ),
        (
            "tolerated",
            format!(
                "{} more of all looks failing, {} times as slow",
                text::figure(campaign.tolerance.failed),
                campaign.tolerance.slower
            ),
        ),
        ("seed", campaign.seed.to_string()),
        (
            "machine",
            format!(
                "{}, {}",
                campaign.machine.kernel,
                words::counted(campaign.machine.cores, "core")
            ),
        ),
        ("Murphy", campaign.machine.murphy.clone()),
    ];
    facts.extend(campaign.validation.clone().map(|text| ("validation", text)));
    facts.extend(campaign.workload.clone().map(|text| ("workload", text)));
    let mut list = String::new();
    for (name, text) in facts {
        let _ = writeln!(list, "    <dt>{name}</dt><dd>{}</dd>", sentence(&text));
    }
    format!(
        r#"<section aria-labelledby="how">
  <h2 id="how">How</h2>
  <dl class="card facts">
{list}  </dl>
</section>
"#
    )
}
