//! The figures that tell whether anything was tested at all.

use super::words;
use crate::record::RunRecord;

/// Four figures, each with what it means.
pub fn section(record: &RunRecord) -> String {
    let figures: String = figures(record).iter().map(figure).collect();
    format!(
        r#"<section aria-labelledby="vacuity">
  <h2 id="vacuity">Was anything tested?</h2>
  <p>A promise that was never strained has not been kept. These are the figures behind each “held”.</p>
  <dl class="card figures">
{figures}  </dl>
</section>
"#
    )
}

/// A number, what it counts, and a note.
type Figure = (String, &'static str, String);

fn figures(record: &RunRecord) -> [Figure; 4] {
    let vacuity = &record.verdicts.vacuity;
    let duration_s = record.verdicts.duration_ns as f64 / 1e9;
    let per_second = if duration_s > 0.0 {
        format!(
            ", {} per second",
            words::whole(vacuity.operations as f64 / duration_s)
        )
    } else {
        String::new()
    };
    let operations = (
        words::rounded(vacuity.operations),
        "operations",
        format!(
            "{} acknowledged, {} answered{per_second}",
            words::counted(vacuity.writes, "write"),
            words::counted(vacuity.reads, "read")
        ),
    );
    let during = (
        words::rounded(vacuity.operations_during_faults),
        "during faults",
        match vacuity.faults {
            0 => "no fault acted".into(),
            faults => format!(
                "{} of all, in {} of {}",
                words::percent(vacuity.operations_during_faults, vacuity.operations),
                words::moment(faulty_ns(record), 1),
                words::counted(faults, "fault")
            ),
        },
    );
    let unknown = (
        words::percent(vacuity.unknown, vacuity.operations),
        "with unknown outcome",
        match vacuity.unknown {
            0 => "every answer came".into(),
            unknown => format!(
                "{} never came; {} certainly did not happen",
                words::counted(unknown, "answer"),
                words::count(vacuity.failed)
            ),
        },
    );
    let watched = (
        words::rounded(vacuity.watch_events),
        "watch events compared",
        words::counted(vacuity.watch_streams, "stream"),
    );
    [operations, during, unknown, watched]
}

/// How long at least one fault acted.
fn faulty_ns(record: &RunRecord) -> u64 {
    let end_of_run_ns = record.verdicts.duration_ns;
    let mut covered_until_ns = 0;
    let mut total_ns = 0;
    for fault in &record.timeline.faults {
        let end_ns = fault.end_ns.unwrap_or(end_of_run_ns);
        let start_ns = fault.start_ns.max(covered_until_ns);
        total_ns += end_ns.saturating_sub(start_ns);
        covered_until_ns = covered_until_ns.max(end_ns);
    }
    total_ns
}

fn figure((number, what, note): &Figure) -> String {
    format!(
        "    <div><dd>{number}</dd><dt>{what}</dt><dd class=\"note\">{note}</dd></div>\n",
        number = super::html::escaped(number),
    )
}
