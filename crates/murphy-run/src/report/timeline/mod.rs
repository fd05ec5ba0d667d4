//! The timeline: faults over throughput and latency, the nodes below, all on one axis of seconds.

mod labels;
pub(super) mod plot;

use murphy_check::verdict::Verdict;
use serde_json::{Value, json};

use super::faults::family_class;
use super::html::{self, escaped};
use super::words;
use crate::record::RunRecord;
use crate::series::Summary;
use crate::timeline::{FaultSpan, NodeTrack, Pin, Shown};
use labels::Label;

/// The timeline.
pub fn section(record: &RunRecord) -> String {
    let duration_ns = record.verdicts.duration_ns.max(1);
    let span = seconds(duration_ns);
    let faults = &record.timeline.faults;
    let labels = labels::place(faults, duration_ns);
    let bands: String = faults
        .iter()
        .zip(&labels)
        .map(|(fault, label)| band(fault, *label, duration_ns))
        .collect();
    let nodes: String = spoken_of(record).map(node).collect();
    let pins = pins(&record.timeline.pins);
    let ticks: String = plot::ticks(duration_ns);
    let head_px = 24 + 16 * labels.iter().map(|l| l.row).max().unwrap_or(0);
    let head_name = if faults.is_empty() { "" } else { "faults" };
    let density = if faults.len() > labels::MOST {
        " dense"
    } else {
        ""
    };
    format!(
        r#"<section aria-labelledby="timeline">
  <h2 id="timeline">Timeline</h2>
  <p>{lede}</p>
  <figure class="card">
{tools}    <div class="tracks timeline{density}" style="--span:{span}" id="tracks" tabindex="0" role="group" aria-label="Timeline of {span} seconds; arrow keys move the reading line" aria-describedby="reading">
{bands}      <div class="row" style="--row:{head_px}px"><span class="name"><span class="long">{head_name}</span></span></div>
{rate}      <div class="row" style="--row:16px"></div>
{latency}      <div class="row" style="--row:8px"></div>
{nodes}{pins}      <div class="row ticks" style="--row:24px" aria-hidden="true">
{ticks}      </div>
      <div class="crosshair" id="crosshair" hidden><output id="reading" aria-live="polite"></output></div>
    </div>
{legend}  </figure>
</section>
<script type="application/json" id="series">{data}</script>
"#,
        lede = html::sentence(&lede(&record.series)),
        tools = tools(record),
        rate = plot::rate(&record.series),
        latency = plot::latency(&record.series),
        legend = legend(record),
        data = html::json(&data(record)),
    )
}

/// The nodes that something happened to.
fn spoken_of(record: &RunRecord) -> impl Iterator<Item = &NodeTrack> {
    let tracks = record.timeline.nodes.iter();
    tracks.filter(|t| !t.spans.is_empty() || !t.leads.is_empty())
}

/// A time in seconds, to the millisecond.
fn seconds(time_ns: u64) -> f64 {
    (time_ns as f64 / 1e6).round() / 1e3
}

fn lede(series: &Summary) -> String {
    let text = "What the clients got while the faults acted.";
    if series.ok == 0 {
        return format!("{text} No operation was answered.");
    }
    format!(
        "{text} Of {} answers, half came within {} and 99 % within {}. Point at it, or focus it and use the arrow keys.",
        words::count(series.ok),
        words::milliseconds(series.p50_us),
        words::milliseconds(series.p99_us)
    )
}

/// Buttons for the parts that are there.
fn tools(record: &RunRecord) -> String {
    let parts = [
        ("band", "faults", record.timeline.faults.is_empty()),
        ("node", "nodes", spoken_of(record).next().is_none()),
        (
            "verdicts",
            "verdicts",
            shown(&record.timeline.pins).next().is_none(),
        ),
    ];
    let buttons: String = parts
        .iter()
        .filter(|(_, _, is_missing)| !is_missing)
        .map(|(class, name, _)| button(class, name))
        .collect();
    if buttons.is_empty() {
        return String::new();
    }
    format!(
        r#"    <div class="tools" role="group" aria-label="Show on the timeline" id="tools" hidden>
      <span class="dim">Show</span>
{buttons}    </div>
"#
    )
}

fn button(class: &str, name: &str) -> String {
    format!(
        "      <button type=\"button\" aria-pressed=\"true\" data-show=\"{class}\">{name}</button>\n"
    )
}

fn band(fault: &FaultSpan, label: Label, duration_ns: u64) -> String {
    let end_ns = fault.end_ns.unwrap_or(duration_ns);
    let until = match fault.end_ns {
        Some(_) => words::moment(end_ns, 2),
        None => "the end".into(),
    };
    let text = band_label(fault, label);
    format!(
        r#"      <div class="span band {class}" style="--at:{at};--to:{to}" title="{title}, {from} to {until}">{text}</div>
"#,
        class = family_class(&fault.family),
        at = seconds(fault.start_ns),
        to = seconds(end_ns),
        title = escaped(&fault.title()),
        from = words::seconds(fault.start_ns, 2),
    )
}

fn band_label(fault: &FaultSpan, label: Label) -> String {
    if !label.is_shown {
        return String::new();
    }
    let mut class = String::from("label");
    if !label.fits_narrow {
        class.push_str(" minor");
    }
    if label.is_at_end {
        class.push_str(" at-end");
    }
    format!(
        r#"<span class="{class}" style="--line:{}">{}<span class="long"> {}</span></span>"#,
        label.row,
        escaped(&fault.fault),
        escaped(&fault.targets.join(", "))
    )
}

fn node(track: &NodeTrack) -> String {
    let name = escaped(&track.node);
    let spans: String = track
        .spans
        .iter()
        .map(|span| node_span(&name, span.state.word(), span.from_ns, span.to_ns))
        .collect();
    let leads: String = track
        .leads
        .iter()
        .map(|(from_ns, to_ns)| node_span(&name, "leads", *from_ns, *to_ns))
        .collect();
    format!(
        r#"      <div class="row node"><span class="name" title="{name}"><b>{name}</b></span>{spans}{leads}</div>
"#
    )
}

fn node_span(name: &str, class: &str, from_ns: u64, to_ns: u64) -> String {
    format!(
        r#"<span class="span {class}" style="--at:{};--to:{}" title="{name} {class}, {} to {}"></span>"#,
        seconds(from_ns),
        seconds(to_ns),
        words::seconds(from_ns, 2),
        words::moment(to_ns, 2)
    )
}

/// The verdicts worth a pin: what held all the time has no moment.
fn shown(pins: &[Pin]) -> impl Iterator<Item = &Pin> {
    pins.iter().filter(|pin| pin.verdict != Verdict::Held)
}

fn pins(pins: &[Pin]) -> String {
    let buttons: String = shown(pins).map(pin).collect();
    if buttons.is_empty() {
        return String::new();
    }
    format!(
        r#"      <div class="row verdicts" style="--row:40px"><span class="name"><span class="long">verdicts</span></span>
{buttons}      </div>
"#
    )
}

fn pin(pin: &Pin) -> String {
    let sign = if pin.verdict == Verdict::Broken {
        "✕"
    } else {
        "?"
    };
    let at = words::moment(pin.at_ns, 2);
    let title = escaped(&format!(
        "{at}  {} {}: {}",
        pin.promise,
        pin.verdict.word(),
        pin.reason
    ));
    format!(
        r#"        <button type="button" class="at pin {class}" style="--at:{at}" title="{title}">{sign}<span class="hidden-text">{title}</span></button>
"#,
        class = pin.verdict.word(),
        at = seconds(pin.at_ns),
    )
}

/// The signs that are used, and what they mean.
fn legend(record: &RunRecord) -> String {
    let tracks = &record.timeline.nodes;
    let spans = || tracks.iter().flat_map(|t| &t.spans);
    let states = [Shown::Up, Shown::Starting, Shown::Down, Shown::Paused];
    let used = states
        .iter()
        .filter(|state| spans().any(|s| s.state == **state));
    let mut signs: Vec<String> = used.map(|s| node_sign(s.word(), s.word())).collect();
    if tracks.iter().any(|t| !t.leads.is_empty()) {
        signs.insert(1.min(signs.len()), node_sign("leads", "leader"));
    }
    let pins: Vec<&Pin> = shown(&record.timeline.pins).collect();
    for (verdict, text) in [
        (Verdict::Broken, "promise broken"),
        (Verdict::Undecided, "promise undecided"),
    ] {
        if pins.iter().any(|p| p.verdict == verdict) {
            let class = verdict.word();
            signs.push(format!(
                "<span class=\"{class}\"><span class=\"verdict-word\">{text}</span></span>"
            ));
        }
    }
    if signs.is_empty() {
        return String::new();
    }
    format!("    <p class=\"legend\">{}</p>\n", signs.concat())
}

fn node_sign(class: &str, text: &str) -> String {
    format!("<span><span class=\"node\"><i class=\"span {class}\"></i></span>{text}</span>")
}

/// What the reading line reads.
fn data(record: &RunRecord) -> Value {
    let series = &record.series;
    let duration_ns = record.verdicts.duration_ns.max(1);
    let rates: Vec<f64> = series.bins.iter().map(|b| b.ok_per_s.round()).collect();
    let p99_ms: Vec<Option<f64>> = series
        .bins
        .iter()
        .map(|b| b.p99_us.map(|us| (us as f64 / 100.0).round() / 10.0))
        .collect();
    let faults: Vec<Value> = record
        .timeline
        .faults
        .iter()
        .map(|f| {
            let end_ns = f.end_ns.unwrap_or(duration_ns);
            json!([seconds(f.start_ns), seconds(end_ns), f.title()])
        })
        .collect();
    json!({
        "duration": seconds(duration_ns),
        "step": seconds(series.bin_ns.max(1_000_000)),
        "rate": rates,
        "p99": p99_ms,
        "faults": faults,
    })
}
