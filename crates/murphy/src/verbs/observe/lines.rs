//! What is observed, in lines of text or of JSON.

use std::time::Instant;

use murphy_observe::{EdgeNow, Finding, News, Observer, Snapshot, score::Seat};
use murphy_sys::{clock::boottime_ns, process::BootId};
use serde_json::json;

use crate::output;

/// Says how it is observed.
pub fn begun(observer: &Observer, names: &[String], seats: &[Seat], json: bool) {
    let mode = observer.mode();
    for without in &mode.without {
        output::note(&format!("murphy: warning: failed to {without}"));
    }
    if json {
        output::json(&json!({
            "event": "observing", "targets": names, "mode": mode, "boottime_ns": boottime_ns(),
            "boot": BootId::current(), "places": seats,
        }));
    } else {
        output::line(&format!("observing {} ({})", names.join(", "), mode.text()));
    }
}

/// Says what is new as soon as it is known.
pub fn say(news: &News, began: Instant, json: bool) {
    if json {
        return output::json(news);
    }
    let at = began.elapsed().as_secs_f64();
    match news {
        News::Found(finding) => {
            output::line(&format!("{at:6.1} s  {}", claim(finding)));
            for evidence in &finding.claim.evidence {
                output::line(&format!("          {evidence}"));
            }
        }
        News::Over(finding) => {
            output::line(&format!(
                "{at:6.1} s  over: {}  {}",
                finding.claim.kind.name(),
                finding.edge
            ));
        }
    }
}

/// What is claimed, in a line.
fn claim(finding: &Finding) -> String {
    let claim = &finding.claim;
    let ago = boottime_ns().saturating_sub(claim.since_ns) as f64 / 1e9;
    let undecided = if finding.is_undecided {
        " (undecided: events of the kernel were lost)"
    } else {
        ""
    };
    format!(
        "{}  {}, {}, {}, since {ago:.1} s ago{undecided}",
        finding.edge,
        claim.kind.name().to_uppercase(),
        claim.size,
        claim.direction.name(),
    )
}

/// Says how everything is in the end.
pub fn ended(observer: &Observer, json: bool) {
    let snapshot = observer.snapshot();
    let findings = observer.findings();
    if json {
        return output::json(
            &json!({"event": "ended", "findings": findings, "snapshot": snapshot}),
        );
    }
    for line in table(&snapshot) {
        output::line(&line);
    }
    let found = match findings.len() {
        0 => "nothing was found".into(),
        n => output::plural(n as u64, "finding"),
    };
    let lost = match snapshot.lost {
        0 => String::new(),
        n => format!("; {n} events of the kernel were lost"),
    };
    output::line(&format!("ended: {found}{lost}"));
    output::line(&format!("observing took {}", snapshot.overhead));
}

/// What the columns of the table say.
pub const HEADS: [&str; 9] = [
    "edge", "active", "conn/s", "fail", "rtt", "ping", "resent", "resets", "state",
];

/// Each edge in a line.
fn table(snapshot: &Snapshot) -> Vec<String> {
    if snapshot.edges.is_empty() {
        return vec!["no connection was seen: there is nothing to tell by".into()];
    }
    let names = snapshot.edges.iter().map(EdgeNow::title);
    let width = names.map(|name| name.chars().count()).max().unwrap_or(0);
    let lines = snapshot.edges.iter().map(|now| line(&cells(now), width));
    let head = line(&HEADS.map(str::to_owned), width);
    [head].into_iter().chain(lines).collect()
}

fn line(cells: &[String; 9], width: usize) -> String {
    let [edge, active, made, failed, rtt, ping, resent, resets, state] = cells;
    format!(
        "{edge:width$}  {active:>6} {made:>7} {failed:>5} {rtt:>9} {ping:>9} {resent:>8} {resets:>7}  {state}"
    )
}

/// What the table says of an edge.
pub fn cells(now: &EdgeNow) -> [String; 9] {
    let EdgeNow { recent, .. } = now;
    let ms = |us: Option<u64>| {
        us.map_or_else(|| "–".to_owned(), |us| format!("{:.1} ms", us as f64 / 1e3))
    };
    let ping = match (now.ping_us, now.pings_lost) {
        (None, 1..) => "lost".to_owned(),
        (us, _) => ms(us),
    };
    let of = recent.resent + recent.delivered;
    let resent = match of {
        0 => "–".to_owned(),
        of => format!("{:.1} %", 100.0 * recent.lost() as f64 / of as f64),
    };
    [
        now.title(),
        now.active.to_string(),
        format!(
            "{:.1}",
            (recent.connected + recent.accepted) as f64 / now.recent_s as f64
        ),
        (recent.failed() + recent.refusals_sent).to_string(),
        ms(now.rtt_us),
        ping,
        resent,
        (recent.resets_sent + recent.resets_received).to_string(),
        now.state(),
    ]
}
