//! What would not show on an edge, for want of traffic and of pings: where nothing is found there, that is no proof.

use serde::Serialize;

use crate::{lookups::Lookups, pings::Pings, share::Share, slice::History};

/// What is looked at, in nanoseconds.
const WINDOW_NS: u64 = 30_000_000_000;
/// A loss below this nobody asks for.
const LOSS_MIN: f64 = 0.01;

/// What would not show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Unseen {
    /// A loss of packets below this share: with a confidence of 95 % it is not above (Wilson), if none was lost of those
    /// whose fate is known. 1 where that is none.
    pub loss_below: f64,
    /// Refusals, and requests for connections that are not answered: nobody has asked for any.
    pub connects: bool,
    /// Connections that are half open: nothing was sent on any.
    pub half_open: bool,
    /// Latency, and partitions: nothing that was sent was answered, and no ping.
    pub way: bool,
}

impl Unseen {
    /// Of the last half of a minute.
    pub fn of(
        history: Option<&History>,
        pings: Option<&Pings>,
        lookups: Option<&Lookups>,
        now_ns: u64,
    ) -> Self {
        let since_ns = now_ns.saturating_sub(WINDOW_NS);
        let sum = history.map(|history| history.sum_since(since_ns));
        let sum = sum.unwrap_or_default();
        let answered = pings.into_iter().flat_map(|pings| pings.since(since_ns));
        let answered = answered.filter(|ping| ping.took().is_some()).count() as u64;
        let looked_up = lookups.is_some_and(|all| all.since(since_ns).next().is_some());
        let of = sum.loss().of.max(answered);
        let [_, loss_below] = Share { hit: 0, of }.interval();
        let asked = sum.connected
            + sum.accepted
            + sum.failed()
            + sum.given_up
            + sum.refusals_sent
            + sum.syn_retransmits
            + sum.synack_retransmits;
        Self {
            loss_below,
            connects: asked == 0,
            half_open: sum.segments_sent == 0,
            way: of == 0 && asked == 0 && !looked_up,
        }
    }

    /// For people; none where all would show.
    pub fn text(&self) -> Option<String> {
        if self.way {
            return Some("insufficient traffic".into());
        }
        let mut what = Vec::new();
        if self.loss_below > LOSS_MIN {
            what.push(format!("loss below {:.1} %", 100.0 * self.loss_below));
        }
        if self.connects {
            what.push("refusals".into());
        }
        if self.half_open {
            what.push("half-open connections".into());
        }
        (!what.is_empty()).then(|| format!("insufficient traffic to see {}", what.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{slice::Slice, tally::Tally};

    fn history(tally: Tally) -> History {
        let mut history = History::default();
        history.push(Slice {
            at_ns: WINDOW_NS,
            tally,
            ..Slice::default()
        });
        history
    }

    #[test]
    fn where_nothing_was_sent_nothing_would_show() {
        let unseen = Unseen::of(None, None, None, WINDOW_NS);
        assert!(unseen.way && unseen.connects && unseen.half_open && unseen.loss_below > 0.99);
        assert_eq!(unseen.text().as_deref(), Some("insufficient traffic"));
    }

    #[test]
    fn the_more_is_sent_the_smaller_a_loss_would_show() {
        let of = |delivered: u64| {
            let sent = Tally {
                delivered,
                segments_sent: delivered,
                connected: 1,
                ..Tally::default()
            };
            Unseen::of(Some(&history(sent)), None, None, WINDOW_NS)
        };
        // z² of n + z², by Wilson.
        assert!((of(150).loss_below - 3.84 / 153.84).abs() < 1e-3);
        let text = of(150).text().unwrap();
        assert_eq!(text, "insufficient traffic to see loss below 2.5 %");
        assert_eq!(of(10_000).text(), None);
    }

    #[test]
    fn idle_connections_show_what_pings_show() {
        let mut pings = Pings::default();
        for number in 0..100 {
            let at_ns = 1 + u64::from(number);
            pings.push(number, at_ns, Some(at_ns));
            pings.answer(number, at_ns + 1);
        }
        let unseen = Unseen::of(
            Some(&history(Tally::default())),
            Some(&pings),
            None,
            WINDOW_NS,
        );
        assert_eq!(
            unseen.text().as_deref(),
            Some("insufficient traffic to see loss below 3.7 %, refusals, half-open connections")
        );
    }
}
