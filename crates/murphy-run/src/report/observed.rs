//! The report of an observation: who talks with whom, what was wrong there, when, and how that is known.
//!
//! Like that of a run it is one page that needs nothing but itself; it has no script at all.

use super::html::{escaped, sentence};
use super::timeline::plot;
use super::{Frame, faults::family_class, frame, words};

const OBSERVED_CSS: &str = include_str!("observed.css");

const FOOTER: &str = "<footer>Written by <code>murphy observe</code>. This file needs nothing else to be read; beside it, events.jsonl \
                      has what happened, and snapshot.json how it was in the end.</footer>";

/// Findings, and faults, beyond so many are not drawn.
const DRAWN_MAX: usize = 100;

/// What was observed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// Who.
    pub targets: Vec<String>,
    /// How, in words.
    pub mode: String,
    /// When it began, RFC 3339.
    pub started: String,
    /// How long it lasted, in nanoseconds.
    pub duration_ns: u64,
    /// How many events of the kernel's were lost.
    pub lost: u64,
    /// The service map: an SVG that escapes what others have written.
    pub map: String,
    /// The heads of the columns, then each edge.
    pub table: Vec<Row>,
    /// What was found, in the order in which it was.
    pub findings: Vec<Found>,
    /// What somebody had injected meanwhile.
    pub injected: Vec<Injected>,
}

/// A row of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// Its cells.
    pub cells: Vec<String>,
    /// Whether something is wrong with it.
    pub is_wrong: bool,
}

/// Something that was found. Times are nanoseconds since the start.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// Between whom.
    pub edge: String,
    /// What, such as `packet loss`.
    pub what: String,
    /// How much and which way.
    pub how: String,
    /// Since when.
    pub since_ns: u64,
    /// When it was found.
    pub found_ns: u64,
    /// Until when, of one that is over.
    pub until_ns: Option<u64>,
    /// By what it is known.
    pub evidence: Vec<String>,
    /// Whether events were lost that could say otherwise.
    pub is_undecided: bool,
}

/// A fault that was in force. Times are nanoseconds since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Injected {
    /// Its family, such as `net`.
    pub family: String,
    /// All of it in words.
    pub text: String,
    /// From when.
    pub from_ns: u64,
    /// Until when, of one that is over.
    pub until_ns: Option<u64>,
}

/// Draws the page.
pub fn render(observed: &Observed) -> String {
    let names = observed.targets.join(", ");
    let title = escaped(&format!(
        "{} · observe {names} · Murphy",
        headline(observed)
    ));
    let when = escaped(&words::wall_clock(&observed.started));
    let lasted = words::moment(observed.duration_ns, 1);
    let masthead = format!(
        r#"<header class="masthead">
  <b>murphy</b>
  <span class="dim">observe {} · {when} · {lasted}</span>
</header>"#,
        escaped(&names),
    );
    let sections = [
        head(observed),
        map(observed),
        timeline(observed),
        findings(observed),
        table(observed),
    ];
    frame(&Frame {
        title: &title,
        css: OBSERVED_CSS,
        masthead: &masthead,
        main: &sections.concat(),
        footer: FOOTER,
        js: None,
    })
}

fn headline(observed: &Observed) -> String {
    match &observed.findings[..] {
        [] => "Nothing was found".into(),
        [one] => format!("{}: {}", one.what.to_uppercase(), one.edge),
        many => words::counted(many.len() as u64, "finding"),
    }
}

fn head(observed: &Observed) -> String {
    let found = &observed.findings;
    let is_undecided = observed.lost > 0 || found.iter().any(|one| one.is_undecided);
    let class = match (found.is_empty(), is_undecided) {
        (true, false) => "held",
        (true, true) => "undecided",
        (false, _) => "broken",
    };
    let now = found.iter().filter(|one| one.until_ns.is_none()).count() as u64;
    let held = match (found.is_empty(), now) {
        (true, _) => String::new(),
        (false, 0) => " All of it was over in the end.".into(),
        (false, now) => format!(" In the end {} still held.", words::counted(now, "finding")),
    };
    let lost = match observed.lost {
        0 => String::new(),
        lost => format!(
            "\n  <p class=\"notice\">{} of the kernel were lost: what is found about then is undecided.</p>",
            words::counted(lost, "event")
        ),
    };
    format!(
        r#"<section class="verdict {class}">
  <h1><strong>{}</strong></h1>
  <p>{} was observed for {} by {}.{held}</p>{lost}
</section>
"#,
        sentence(&headline(observed)),
        sentence(&observed.targets.join(", ")),
        words::moment(observed.duration_ns, 1),
        sentence(&observed.mode),
    )
}

fn map(observed: &Observed) -> String {
    format!(
        r#"<section aria-labelledby="map">
  <h2 id="map">Service map</h2>
  <p>Who asks stands on the left, who is asked on the right. A thick red line is wrong, a broken amber one was; a dotted one had too little traffic to tell.</p>
  <figure class="card scroll">
{}  </figure>
</section>
"#,
        observed.map
    )
}

/// A time in seconds, to the millisecond, not after the end.
fn seconds(observed: &Observed, time_ns: u64) -> f64 {
    (time_ns.min(observed.duration_ns) as f64 / 1e6).round() / 1e3
}

/// A fault, behind all rows.
fn band(observed: &Observed, line: usize, fault: &Injected) -> String {
    let (from, to) = (
        fault.from_ns,
        fault.until_ns.unwrap_or(observed.duration_ns),
    );
    format!(
        "      <div class=\"span band {}\" style=\"--at:{};--to:{};--line:{}\" title=\"injected: {title}, from {}\"><span>{title}</span></div>\n",
        family_class(&fault.family),
        seconds(observed, from),
        seconds(observed, to),
        line % 3,
        words::moment(from, 1),
        title = escaped(&fault.text),
    )
}

/// A finding, in a row of its own.
fn track(observed: &Observed, one: &Found) -> String {
    let to = one.until_ns.unwrap_or(observed.duration_ns);
    let class = if one.is_undecided {
        "undecided"
    } else {
        "broken"
    };
    format!(
        "      <div class=\"row finding {class}\"><span class=\"name\" title=\"{edge}\">{edge}</span>\
                 <i class=\"span\" style=\"--at:{at};--to:{to}\" title=\"{what}, {how}\"></i>\
                 <b class=\"at found\" style=\"--at:{found}\" title=\"found at {found_at}\"></b>\
                 <span class=\"at what\" style=\"--at:{at}\">{what}</span></div>\n",
        edge = escaped(&one.edge),
        what = escaped(&one.what),
        how = escaped(&one.how),
        at = seconds(observed, one.since_ns),
        to = seconds(observed, to),
        found = seconds(observed, one.found_ns),
        found_at = words::moment(one.found_ns, 1),
    )
}

fn timeline(observed: &Observed) -> String {
    let span = seconds(observed, observed.duration_ns.max(1_000_000));
    let bands = (0..).zip(observed.injected.iter().take(DRAWN_MAX));
    let bands: String = bands
        .map(|(line, fault)| band(observed, line, fault))
        .collect();
    let rows = observed.findings.iter().take(DRAWN_MAX);
    let rows: String = rows.map(|one| track(observed, one)).collect();
    let more = observed.findings.len().saturating_sub(DRAWN_MAX);
    let more = match more {
        0 => String::new(),
        more => format!(
            "    <p class=\"dim\">{} are not drawn.</p>\n",
            words::counted(more as u64, "finding")
        ),
    };
    let meant = if observed.injected.is_empty() {
        ""
    } else {
        " The bands behind are faults that were injected on this machine."
    };
    format!(
        r#"<section aria-labelledby="timeline">
  <h2 id="timeline">Timeline</h2>
  <p>When what was wrong; a tick is when it was found.{meant}</p>
  <figure class="card">
    <div class="tracks timeline observed" style="--span:{span};--names:200px">
{bands}      <div class="row" style="--row:{room}px"></div>
{rows}      <div class="row ticks" style="--row:24px" aria-hidden="true">
{ticks}      </div>
    </div>
{more}  </figure>
</section>
"#,
        room = if observed.injected.is_empty() {
            8
        } else {
            24 + 16 * (observed.injected.len().min(3) - 1)
        },
        ticks = plot::ticks(observed.duration_ns),
    )
}

fn finding(one: &Found) -> String {
    let until = match one.until_ns {
        Some(until) => words::moment(until, 1),
        None => "the end".into(),
    };
    let evidence: Vec<String> = one.evidence.iter().map(|text| sentence(text)).collect();
    let undecided = if one.is_undecided {
        "<br><b>undecided</b>: events of the kernel were lost"
    } else {
        ""
    };
    format!(
        "      <tr><th>{}</th><td>{}</td><td>{}</td><td>{} to {until}</td><td class=\"wide\">{}{undecided}</td></tr>\n",
        escaped(&one.what),
        escaped(&one.edge),
        sentence(&one.how),
        words::moment(one.since_ns, 1),
        evidence.join("<br>"),
    )
}

fn findings(observed: &Observed) -> String {
    if observed.findings.is_empty() {
        return String::new();
    }
    let rows: String = observed.findings.iter().map(finding).collect();
    format!(
        r#"<section aria-labelledby="findings">
  <h2 id="findings">Findings</h2>
  <p>What is claimed, and by what it is known. Times are since the beginning.</p>
  <div class="card scroll"><table class="stacked">
    <thead><tr><th>what</th><th>between whom</th><th>how much</th><th>when</th><th>evidence</th></tr></thead>
    <tbody>
{rows}    </tbody>
  </table></div>
</section>
"#
    )
}

fn cells(row: &Row, tag: &str) -> String {
    let cell = |(at, text): (usize, &String)| {
        let class = match at {
            0 => "",
            _ if at + 1 == row.cells.len() => "",
            _ => " class=\"num\"",
        };
        format!("<{tag}{class}>{}</{tag}>", escaped(text))
    };
    row.cells.iter().enumerate().map(cell).collect()
}

fn edge(row: &Row) -> String {
    let class = if row.is_wrong { " class=\"wrong\"" } else { "" };
    format!("      <tr{class}>{}</tr>\n", cells(row, "td"))
}

fn table(observed: &Observed) -> String {
    let Some((head, rows)) = observed.table.split_first() else {
        return String::new();
    };
    let rows: String = rows.iter().map(edge).collect();
    format!(
        r#"<section aria-labelledby="edges">
  <h2 id="edges">Edges</h2>
  <p>The last seconds of who talked with whom.</p>
  <div class="card scroll long-table"><table>
    <thead><tr>{}</tr></thead>
    <tbody>
{rows}    </tbody>
  </table></div>
</section>
"#,
        cells(head, "th")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    fn observed() -> Observed {
        let cells = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        Observed {
            targets: vec!["netns:<web>".into()],
            mode: "eBPF (tp_btf) · pings".into(),
            started: "2026-11-21T02:18:04.25Z".into(),
            duration_ns: 30 * S,
            map: "<svg class=\"service-map\"></svg>\n".into(),
            table: vec![
                Row {
                    cells: cells(["edge", "fail", "state"]),
                    is_wrong: false,
                },
                Row {
                    cells: cells(["netns:<web> → 10.0.0.2:5432", "0", "PACKET LOSS"]),
                    is_wrong: true,
                },
            ],
            findings: vec![Found {
                edge: "netns:<web> → 10.0.0.2:5432".into(),
                what: "packet loss".into(),
                how: "27 % (15.4 to 43.0), to".into(),
                since_ns: 4 * S,
                found_ns: 5 * S,
                until_ns: Some(15 * S),
                evidence: vec!["10 segments were sent again".into()],
                is_undecided: false,
            }],
            injected: vec![Injected {
                family: "net".into(),
                text: "net loss on netns:<web> (4f09a2)".into(),
                from_ns: 3 * S,
                until_ns: None,
            }],
            ..Observed::default()
        }
    }

    #[test]
    fn the_page_says_what_was_found_and_nothing_of_it_is_markup() {
        let page = render(&observed());
        for part in [
            "PACKET LOSS: netns:&lt;web&gt; → 10.0.0.2:5432",
            "All of it was over in the end.",
            "<svg class=\"service-map\">",
            "--at:4;--to:15",
            "class=\"span band net\" style=\"--at:3;--to:30",
            "<tr class=\"wrong\">",
            "10 segments were sent again",
        ] {
            assert!(page.contains(part), "{part} is not in {page}");
        }
        assert!(!page.contains("<web>") && !page.contains("<script"));
        insta::assert_snapshot!(page.split_once("<body>").expect("a body").1);
    }

    #[test]
    fn a_page_without_findings_says_so() {
        let page = render(&Observed {
            targets: vec!["netns:web".into()],
            started: "2026-11-21T02:18:04.25Z".into(),
            lost: 3,
            ..Observed::default()
        });
        assert!(page.contains("Nothing was found"));
        assert!(page.contains("3 events of the kernel were lost"));
    }
}
