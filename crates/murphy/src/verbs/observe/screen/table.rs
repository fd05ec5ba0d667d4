//! Each edge in a line, with as many columns as there is room for.

use std::fmt::Write;

use murphy_fault::conn::Side;
use murphy_observe::{Edge, EdgeNow, map::title};
use ratatui::text::{Line, Span};

use super::ink::Ink;

/// A column: its head, how wide it is, and how wide the table has to be for it.
struct Column {
    head: &'static str,
    width: usize,
    from: usize,
    cell: fn(&EdgeNow) -> String,
}

/// Those between who and how it is.
const COLUMNS: [Column; 6] = [
    Column {
        head: "conn/s",
        width: 7,
        from: 72,
        cell: |now| {
            let made = now.recent.connected + now.recent.accepted;
            format!("{:.1}", made as f64 / now.recent_s.max(1) as f64)
        },
    },
    Column {
        head: "fail",
        width: 5,
        from: 72,
        cell: |now| (now.recent.failed() + now.recent.refusals_sent).to_string(),
    },
    Column {
        head: "rtt p50",
        width: 9,
        from: 0,
        cell: |now| match (now.rtt_us.or(now.ping_us), now.pings_lost) {
            (None, 1..) => "lost".into(),
            (us, _) => time(us),
        },
    },
    Column {
        head: "p99",
        width: 9,
        from: 60,
        cell: |now| time(now.lately.p99_us),
    },
    Column {
        head: "retrans",
        width: 8,
        from: 50,
        cell: |now| {
            let of = now.recent.loss();
            if of.of == 0 {
                "–".into()
            } else {
                format!("{:.1} %", 100.0 * of.ratio())
            }
        },
    },
    Column {
        head: "resets",
        width: 7,
        from: 80,
        cell: |now| (now.recent.resets_sent + now.recent.resets_received).to_string(),
    },
];

/// A time in milliseconds, or in seconds.
pub fn time(us: Option<u64>) -> String {
    match us {
        None => "–".into(),
        Some(us @ ..1_000_000) => format!("{:.1} ms", us as f64 / 1e3),
        Some(us) => format!("{:.1} s", us as f64 / 1e6),
    }
}

/// Draws the edges in so many lines, the chosen one among them.
pub fn lines(
    edges: &[EdgeNow],
    chosen: Option<&Edge>,
    ink: Ink,
    width: usize,
    height: usize,
    when: &dyn Fn(u64) -> String,
) -> Vec<Line<'static>> {
    let columns: Vec<&Column> = COLUMNS
        .iter()
        .filter(|column| width >= column.from)
        .collect();
    let figures: usize = columns.iter().map(|column| column.width).sum();
    let state_width = if width >= 60 { 16 } else { 11 };
    let first = edges.first().map(|now| &now.edge.container);
    let is_one = edges.iter().all(|now| Some(&now.edge.container) == first);
    let names = edges
        .iter()
        .map(|now| name(&now.edge, is_one).chars().count());
    let room = width.saturating_sub(figures + 4 + state_width).max(8);
    let name_width = names.max().unwrap_or(0).clamp(4, room);
    let mut head = format!("  {:name_width$}", "edge");
    for column in &columns {
        let _ = write!(head, "{:>1$}", column.head, column.width);
    }
    head.push_str("  state");
    let mut lines = vec![Line::styled(head, ink.dim())];
    let rows = height.saturating_sub(1);
    let at = chosen.and_then(|chosen| edges.iter().position(|now| now.edge == *chosen));
    // The chosen one is in sight.
    let first = (at.unwrap_or(0) + 1).saturating_sub(rows);
    for now in edges.iter().skip(first).take(rows) {
        let is_chosen = Some(&now.edge) == chosen;
        let mut text = if is_chosen {
            "▸ ".to_owned()
        } else {
            "  ".to_owned()
        };
        let _ = write!(
            text,
            "{:name_width$}",
            cut(&name(&now.edge, is_one), name_width)
        );
        for column in &columns {
            let _ = write!(text, "{:>1$}", (column.cell)(now), column.width);
        }
        let style = match (is_chosen, now.findings.is_empty()) {
            (_, false) => ink.wrong(),
            (true, true) => ink.head(),
            (false, true) => ratatui::style::Style::new(),
        };
        let (state, state_style) = state(now, ink, when);
        lines.push(Line::from(vec![
            Span::styled(text, style),
            Span::raw("  "),
            Span::styled(state, state_style),
        ]));
    }
    lines
}

/// How an edge is.
fn state(now: &EdgeNow, ink: Ink, when: &dyn Fn(u64) -> String) -> (String, ratatui::style::Style) {
    if now.findings.is_empty() {
        return if now.is_silent() {
            ("insufficient traffic".into(), ink.dim())
        } else if now.recent.connected + now.recent.accepted == 0 && now.active > 0 {
            (format!("ok ({} pooled)", now.active), ink.ok())
        } else {
            ("ok".into(), ink.ok())
        };
    }
    let all: Vec<String> = now
        .findings
        .iter()
        .map(|finding| {
            let claim = &finding.claim;
            format!(
                "{}, {}, since {}",
                title(claim.kind, claim.size),
                claim.direction.name(),
                when(claim.since_ns)
            )
        })
        .collect();
    (all.join("; "), ink.wrong())
}

/// Who an edge is with: where only one is observed, he need not be named.
fn name(edge: &Edge, is_one: bool) -> String {
    let all = edge.to_string();
    match (is_one, edge.side) {
        (false, _) => all,
        (true, Side::Opened) => all.replacen(&format!("{} ", edge.container), "", 1),
        (true, Side::Accepted) => all.replacen(&format!(" {}:", edge.container), " :", 1),
    }
}

/// A name in so many letters.
fn cut(name: &str, most: usize) -> String {
    let count = name.chars().count();
    if count <= most {
        return name.to_owned();
    }
    let tail: String = name.chars().skip(count + 1 - most).collect();
    format!("…{tail}")
}
