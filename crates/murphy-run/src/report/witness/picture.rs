//! The picture of a witness: who asked which member, when, and what came back.

use murphy_check::verdict::WitnessLine;

use super::axis::{self, Interval, Tick};
use super::rows::{self, Kind, Row, Rows};
use super::story::{Step, Story, deed};
use crate::record::RunRecord;
use crate::report::faults::family_class;
use crate::report::html::escaped;
use crate::report::words;
use crate::timeline::FaultSpan;
use crate::verdict::Promise;

/// A drawn picture.
#[derive(Debug)]
pub struct Picture {
    /// Its markup.
    pub html: String,
    /// Whether its axis is cut.
    pub is_cut: bool,
}

/// Draws the picture of a story.
pub fn draw(story: &Story<'_>, record: &RunRecord, promise: &Promise) -> Picture {
    let suspects: Vec<&str> = promise.members.iter().flat_map(super::outliers).collect();
    let involved: Vec<String> = suspects.iter().map(|s| (*s).to_owned()).collect();
    let rows = rows::lay_out(&promise.witness, &record.request.nodes, &involved);
    let intervals: Vec<Interval> = story.steps.iter().map(|s| interval(s, story)).collect();
    let axis = axis::lay_out(&intervals);
    let canvas = Canvas {
        story,
        rows: &rows,
        places: &axis.places,
        suspects: &suspects,
        record,
    };
    let drawn: String = (0..rows.all.len())
        .map(|row| canvas.draw_row(row))
        .collect();
    let arrows = canvas.arrows();
    let cuts: String = axis.cuts.iter().map(|at| cut(*at)).collect();
    let ticks = ticks(&axis.ticks, story.decimals);
    let names = gutter(&rows.all);
    let about = escaped(&canvas.about());
    let html = format!(
        r#"    <div class="tracks witness" style="--span:100;--names:{names}px" role="img" aria-label="{about}">
{drawn}{arrows}{cuts}      <div class="row ticks" style="--row:24px" aria-hidden="true">
{ticks}        <span class="at tick unit" style="--at:100;top:8px">s</span></div>
    </div>
"#
    );
    Picture {
        html,
        is_cut: !axis.cuts.is_empty(),
    }
}

/// One hundredth of the width of a picture on a wide screen.
const HUNDREDTH_PX: f64 = 9.4;
/// Width of a character on a bar.
const CHARACTER_PX: f64 = 7.3;
/// Longer labels are cut off.
const LONGEST_LABEL: usize = 22;

/// The room a text needs, in hundredths.
fn room(text: &str, around_px: f64) -> f64 {
    let characters = text.chars().count().min(LONGEST_LABEL);
    (characters as f64 * CHARACTER_PX + around_px) / HUNDREDTH_PX
}

fn interval(step: &Step<'_>, story: &Story<'_>) -> Interval {
    match step {
        Step::Line(_, line) => Interval {
            from_ns: line.start_ns,
            // What was never answered is open to the end of the picture.
            to_ns: line.end_ns.unwrap_or(story.end_ns()).max(line.start_ns),
            room: room(&line.label, 46.0).max(room(&line.answer, 48.0)),
        },
        Step::Fault(fault) => Interval {
            from_ns: fault.start_ns,
            to_ns: fault.end_ns.unwrap_or(story.end_ns()).max(fault.start_ns),
            room: room(&fault.fault, 44.0),
        },
    }
}

/// Room for the longest name, within reason.
fn gutter(rows: &[Row]) -> usize {
    let name = |row: &Row| {
        let role = if row.kind == Kind::Client { 7 } else { 0 };
        row.name.chars().count() + role
    };
    let longest = rows.iter().map(name).max().unwrap_or_default();
    (longest * 8 + 20).clamp(88, 176)
}

fn cut(at: f64) -> String {
    format!("      <i class=\"at cut\" style=\"--at:{at:.1}\"></i>\n")
}

/// Behind this place stands the unit.
const LAST_TICK: f64 = 94.0;

/// The times below the axis; one that reads like the one before it is left out.
fn ticks(ticks: &[Tick], decimals: usize) -> String {
    let mut html = String::new();
    let mut last = String::new();
    for tick in ticks.iter().filter(|t| t.at <= LAST_TICK) {
        let text = words::seconds(tick.time_ns, decimals);
        if text != last {
            html.push_str(&tick_mark(tick, &text));
        }
        last = text;
    }
    html
}

fn tick_mark(tick: &Tick, text: &str) -> String {
    let minor = if tick.fits_narrow { "" } else { " minor" };
    format!(
        "        <span class=\"at tick{minor}\" style=\"--at:{:.1};top:8px\">{text}</span>\n",
        tick.at
    )
}

/// From and to.
type Place = (f64, f64);

/// What the parts of a picture have in common.
struct Canvas<'a> {
    story: &'a Story<'a>,
    rows: &'a Rows,
    places: &'a [Place],
    suspects: &'a [&'a str],
    record: &'a RunRecord,
}

impl Canvas<'_> {
    /// The steps with their numbers and places.
    fn steps(&self) -> impl Iterator<Item = (usize, &Step<'_>, Place)> {
        let placed = self.story.steps.iter().zip(self.places);
        (1..)
            .zip(placed)
            .map(|(n, (step, place))| (n, step, *place))
    }

    fn draw_row(&self, row: usize) -> String {
        let Row { name, kind } = &self.rows.all[row];
        let (class, parts) = match kind {
            Kind::Client => ("row", self.bars(row)),
            Kind::Member => ("row member", self.member_parts(row, name)),
        };
        format!(
            r#"      <div class="{class}"><span class="name" title="{name}"><b>{name}</b>{role}</span>
{parts}      </div>
"#,
            name = escaped(name),
            role = self.role(row),
        )
    }

    /// A word beside the name.
    fn role(&self, row: usize) -> &'static str {
        let Row { name, kind } = &self.rows.all[row];
        let start_ns = self.story.steps.first().map_or(0, Step::start_ns);
        let mut tracks = self.record.timeline.nodes.iter();
        match kind {
            Kind::Client => " <span class=\"long\">client</span>",
            Kind::Member => match tracks.find(|t| t.node == *name) {
                Some(track) if track.leads_at(start_ns) => " <span class=\"long\">leader</span>",
                _ => "",
            },
        }
    }

    fn bars(&self, row: usize) -> String {
        self.steps()
            .filter_map(|(number, step, place)| match step {
                Step::Line(index, line) if self.rows.client_of[*index] == row => {
                    Some(bar(number, line, place))
                }
                _ => None,
            })
            .collect()
    }

    fn member_parts(&self, row: usize, name: &str) -> String {
        let faults = self.steps().filter_map(|(number, step, place)| match step {
            Step::Fault(fault) if fault.hits(name) => Some(gone(number, fault, place)),
            _ => None,
        });
        let answers: Vec<(&WitnessLine, Place)> = self
            .steps()
            .filter_map(|(_, step, place)| match step {
                Step::Line(index, asked) if self.rows.member_of[*index] == Some(row) => {
                    Some((*asked, place))
                }
                _ => None,
            })
            .filter(|(asked, _)| !asked.answer.is_empty())
            .collect();
        let crowded = |a: Place, b: Place| a.0 < b.1 && b.0 < a.1;
        let answers = answers.iter().enumerate().map(|(i, (asked, place))| {
            let level = if answers[..i]
                .iter()
                .any(|(_, other)| crowded(*other, *place))
            {
                " low"
            } else if answers[i + 1..]
                .iter()
                .any(|(_, other)| crowded(*place, *other))
            {
                " high"
            } else {
                ""
            };
            self.answer(asked, *place, level)
        });
        faults.chain(answers).collect()
    }

    /// What a member answered, in the middle of the time it took; above or below the row's own line where
    /// another answer stands beside it.
    fn answer(&self, line: &WitnessLine, (from, to): Place, level: &str) -> String {
        let node = line.node.as_deref().unwrap_or_default();
        let blamed = self.suspects.is_empty() || self.suspects.contains(&node);
        let class = if line.clashes && blamed {
            " broken"
        } else {
            ""
        };
        format!(
            r#"        <span class="at holds{level}{class}" style="--at:{:.1};--room:{:.1}%" title="{text}">{text}</span>
"#,
            f64::midpoint(from, to),
            (to - from - 2.0).max(1.0),
            text = escaped(&line.answer),
        )
    }

    /// From the client to the member when it asked, and back when it was answered.
    fn arrows(&self) -> String {
        self.steps()
            .filter_map(|(_, step, place)| match step {
                Step::Line(index, line) => {
                    let member = self.rows.member_of[*index]?;
                    Some(arrow_pair(line, self.rows.client_of[*index], member, place))
                }
                Step::Fault(_) => None,
            })
            .collect()
    }

    fn about(&self) -> String {
        let names: Vec<String> = self
            .rows
            .all
            .iter()
            .map(|row| match row.kind {
                Kind::Client => format!("client {}", row.name),
                Kind::Member => format!("member {}", row.name),
            })
            .collect();
        format!(
            "Lanes of {}. The sentences below say the same.",
            words::and(&names)
        )
    }
}

fn bar(number: usize, line: &WitnessLine, (from, to): Place) -> String {
    let mut class = String::from("span bar");
    if line.clashes {
        class.push_str(" broken");
    }
    if line.end_ns.is_none() {
        class.push_str(" open");
    }
    format!(
        r#"        <span class="{class}" style="--at:{from:.1};--to:{to:.1}" title="{label}"><span class="step">{number}</span><code>{label}</code></span>
"#,
        label = escaped(&line.label),
    )
}

fn gone(number: usize, fault: &FaultSpan, (from, to): Place) -> String {
    format!(
        r#"        <span class="span gone {class}" style="--at:{from:.1};--to:{to:.1}"><span><span class="step">{number}</span><span class="long">{deed}</span></span></span>
"#,
        class = family_class(&fault.family),
        deed = escaped(&label(&fault.fault)),
    )
}

/// The deed as a label, where a known one has a word.
fn label(fault: &str) -> String {
    match fault {
        "kill" | "term" | "pause" => deed(fault),
        other => other.into(),
    }
}

fn arrow_pair(line: &WitnessLine, client: usize, member: usize, (from, to): Place) -> String {
    let inset = ((to - from) / 8.0).min(1.0);
    let is_above = client < member;
    let (there, back) = if is_above {
        ("down", "up")
    } else {
        ("up", "down")
    };
    let mut arrows = arrow(line, client, member, there, from + inset);
    if line.end_ns.is_some() {
        arrows.push_str(&arrow(line, client, member, back, to - inset));
    }
    arrows
}

fn arrow(line: &WitnessLine, client: usize, member: usize, way: &str, at: f64) -> String {
    let broken = if line.clashes { " broken" } else { "" };
    let above = if client < member { " from-above" } else { "" };
    format!(
        "      <i class=\"at arrow{above} {way}{broken}\" style=\"--at:{at:.1};--from:{};--rows:{}\"></i>\n",
        client.min(member),
        client.abs_diff(member)
    )
}
