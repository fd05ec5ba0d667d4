//! The faults of a run with the effect each of them had.

use super::html::{escaped, sentence};
use super::words;
use crate::events::FaultState;
use crate::record::RunRecord;
use crate::timeline::FaultSpan;

/// More rows than this scroll inside their card.
const ROWS: usize = 24;

/// The table of faults; without faults a sentence that says so.
pub fn section(record: &RunRecord) -> String {
    let faults = &record.timeline.faults;
    let body = if faults.is_empty() {
        "  <p>None: nothing was broken on purpose in this run.</p>\n".to_owned()
    } else {
        table(faults)
    };
    format!(
        r#"<section aria-labelledby="faults">
  <h2 id="faults">Faults, as they acted</h2>
{body}</section>
"#
    )
}

fn table(faults: &[FaultSpan]) -> String {
    let rows: String = faults.iter().map(row).collect();
    let long = if faults.len() > ROWS {
        r#" long-table" tabindex="0" role="region" aria-label="Faults"#
    } else {
        ""
    };
    format!(
        r#"  <p>Measured at the target, not taken from the plan.</p>
  <div class="card{long}">
  <table class="stacked">
    <thead><tr><th>fault</th><th>target</th><th>time</th><th>engine</th><th>measured effect</th></tr></thead>
    <tbody>
{rows}    </tbody>
  </table></div>
"#
    )
}

fn row(fault: &FaultSpan) -> String {
    let effect = match (&fault.text, fault.state) {
        (Some(text), FaultState::Failed) => {
            format!(
                r#"<span class="verdict-word broken">failed</span>: {}"#,
                sentence(text)
            )
        }
        (None, FaultState::Failed) => r#"<span class="verdict-word broken">failed</span>"#.into(),
        (Some(text), _) => sentence(text),
        (None, _) => r#"<span class="dim">not measured</span>"#.into(),
    };
    format!(
        r#"      <tr><th class="family {}">{}</th><td>{}</td><td class="wide">{}</td><td data-label="engine">{}</td><td class="wide">{effect}</td></tr>
"#,
        family_class(&fault.family),
        escaped(&fault.fault),
        escaped(&fault.targets.join(", ")),
        time(fault),
        escaped(&fault.engine),
    )
}

fn time(fault: &FaultSpan) -> String {
    match fault.end_ns {
        Some(end_ns) if end_ns / 10_000_000 == fault.start_ns / 10_000_000 => {
            words::moment(fault.start_ns, 2)
        }
        Some(end_ns) => format!(
            "{} – {}",
            words::seconds(fault.start_ns, 2),
            words::moment(end_ns, 2)
        ),
        None => format!("{} – end", words::moment(fault.start_ns, 2)),
    }
}

/// The class that gives a family its colour; families without one share that of processes.
pub fn family_class(family: &str) -> &'static str {
    match family {
        "net" => "net",
        "conn" => "conn",
        "time" => "time",
        _ => "process",
    }
}
