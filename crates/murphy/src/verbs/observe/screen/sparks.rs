//! How an edge has been lately: its round trips and what was sent again, slice by slice, and above them when something was
//! wrong and when somebody had injected something.

use murphy_observe::{EdgeNow, Finding, Lately, map::title};
use ratatui::{
    style::Style,
    text::{Line, Span},
};

use super::{ink::Ink, table::time};
use crate::verbs::observe::injected::InForce;

/// Heights of a line of sparks.
const SPARKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// What stands before a line of sparks, and behind it at least.
const BEFORE: usize = 9;
const BEHIND: usize = 24;
const BEHIND_NARROW: usize = 10;
/// A screen with fewer columns is narrow.
const WIDE_FROM: usize = 60;
/// A slice lasts so long, about.
const SLICE_NS: u64 = 500_000_000;
/// There is room for no more bands.
pub const BANDS_MAX: usize = 4;

/// A time at which something held.
pub struct Band {
    from_ns: u64,
    until_ns: u64,
    text: String,
    letter: char,
    style: Style,
}

/// What held while an edge was as it is shown, what is found first.
pub fn bands(now: &EdgeNow, findings: &[Finding], injected: &[InForce], ink: Ink) -> Vec<Band> {
    let Some(first) = now.lately.beats.first() else {
        return Vec::new();
    };
    let theirs = findings.iter().rev().filter(|one| one.edge == now.edge);
    let found = theirs.map(|finding| {
        let claim = &finding.claim;
        let over = if finding.is_over { " (over)" } else { "" };
        Band {
            from_ns: claim.since_ns,
            until_ns: if finding.is_over {
                finding.last_ns
            } else {
                u64::MAX
            },
            text: format!("{}{over}", title(claim.kind, claim.size).to_lowercase()),
            letter: '━',
            style: if finding.is_over {
                ink.was()
            } else {
                ink.wrong()
            },
        }
    });
    let meant = injected.iter().rev().map(|fault| Band {
        from_ns: fault.from_ns,
        until_ns: fault.until_ns.unwrap_or(u64::MAX),
        text: format!("injected: {} {}", fault.family, fault.fault),
        letter: '░',
        style: ink.injected(),
    });
    let is_seen = |band: &Band| band.until_ns >= first.at_ns;
    let (found, meant): (Vec<Band>, Vec<Band>) = (
        found.filter(is_seen).collect(),
        meant.filter(is_seen).collect(),
    );
    // Of each there is at least one, if there is any.
    let own = BANDS_MAX - meant.len().min(BANDS_MAX / 2);
    let mut bands: Vec<Band> = found.into_iter().take(own).collect();
    let rest = BANDS_MAX - bands.len();
    bands.extend(meant.into_iter().take(rest));
    bands
}

/// Draws it in so many lines; where there are few, the sparks alone.
pub fn lines(
    now: &EdgeNow,
    bands: &[Band],
    ink: Ink,
    width: usize,
    height: usize,
) -> Vec<Line<'static>> {
    let beats = &now.lately.beats;
    let behind = if width >= WIDE_FROM {
        BEHIND
    } else {
        BEHIND_NARROW
    };
    let room = width.saturating_sub(BEFORE + behind).min(Lately::BEATS_MAX);
    let beats = &beats[beats.len().saturating_sub(room)..];
    let blank = room - beats.len();
    let mut lines = Vec::new();
    if height > 2 {
        let seconds = room as u64 * SLICE_NS / 1_000_000_000;
        lines.push(Line::from(vec![
            Span::styled(now.title(), ink.head()),
            Span::styled(format!("  the last {seconds} s"), ink.dim()),
        ]));
    }
    for band in bands.iter().take(height.saturating_sub(3)) {
        let at = |at_ns: u64| {
            let begun = at_ns.saturating_sub(SLICE_NS);
            band.from_ns < at_ns && begun <= band.until_ns
        };
        let drawn = beats
            .iter()
            .map(|beat| if at(beat.at_ns) { band.letter } else { ' ' });
        let drawn: String = std::iter::repeat_n(' ', BEFORE + blank)
            .chain(drawn)
            .collect();
        lines.push(Line::styled(format!("{drawn}  {}", band.text), band.style));
    }
    let rtts: Vec<Option<u64>> = beats.iter().map(|beat| beat.rtt_us).collect();
    let most = rtts.iter().flatten().copied().max();
    let mut drawn = vec![Span::styled(format!("{:BEFORE$}", "rtt"), ink.dim())];
    drawn.push(Span::raw(" ".repeat(blank)));
    for beat in beats {
        drawn.push(match beat.rtt_us {
            // A ping that was lost is no ping that took no time.
            None if beat.pings_lost > 0 => Span::styled("×", ink.wrong()),
            rtt => Span::raw(spark(rtt, most).to_string()),
        });
    }
    let last = time(rtts.iter().rev().flatten().next().copied());
    drawn.push(Span::raw(format!("  {last}")));
    drawn.push(Span::styled(format!("  most {}", time(most)), ink.dim()));
    lines.push(Line::from(drawn));
    if height > 1 {
        let most = beats.iter().map(|beat| beat.resent).max();
        let sum: u64 = beats.iter().map(|beat| beat.resent).sum();
        let drawn = beats.iter().map(|beat| match beat.resent {
            0 => ' ',
            resent => spark(Some(resent), most),
        });
        let drawn: String = std::iter::repeat_n(' ', blank).chain(drawn).collect();
        let style = if sum == 0 { ink.dim() } else { Style::new() };
        lines.push(Line::from(vec![
            Span::styled(format!("{:BEFORE$}", "retrans"), ink.dim()),
            Span::raw(drawn),
            Span::styled(format!("  {sum} sent again"), style),
        ]));
    }
    lines
}

fn spark(value: Option<u64>, most: Option<u64>) -> char {
    let (Some(value), Some(most)) = (value, most) else {
        return ' ';
    };
    let step = value.saturating_mul(7) / most.max(1);
    SPARKS[usize::try_from(step).unwrap_or(7).min(7)]
}
