//! A tally is how often what has happened on an edge.

use std::ops::{AddAssign, Sub};

use murphy_sys::tcp_events::Figures;
use serde::Serialize;

use crate::share::Share;

/// By how much a counter of the kernel, which turns over, has grown: not at all where what is read later is older.
pub fn grown(now: u32, before: u32) -> u32 {
    let by = now.wrapping_sub(before);
    if by > u32::MAX / 2 { 0 } else { by }
}

/// How often what has happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Connections that were asked for and came to be.
    pub connected: u64,
    /// How long those took, in microseconds, together.
    pub connecting_us: u64,
    /// Connections that the target was asked for and came to be.
    pub accepted: u64,
    /// Connections that were refused: nobody listens there.
    pub refused: u64,
    /// Connections that were asked for and not answered, until the kernel gave up.
    pub timed_out: u64,
    /// Connections to which there is no way.
    pub unreachable: u64,
    /// Connections that were asked for and not answered, until whoever asked gave up.
    pub given_up: u64,
    /// Connections that have ended.
    pub closed: u64,
    /// Connections that the other end has reset.
    pub resets_received: u64,
    /// Connections that were reset here.
    pub resets_sent: u64,
    /// How often somebody who asked for a connection was refused here.
    pub refusals_sent: u64,
    /// Connections that nothing was acknowledged on for so long that the kernel has ended them.
    pub broken: u64,
    /// How often a connection was asked for again.
    pub syn_retransmits: u64,
    /// How often that was answered again.
    pub synack_retransmits: u64,
    /// Segments of data that were sent again.
    pub retransmits: u64,
    /// Tail loss probes (RFC 8985): the last segment sent again to see whether it was lost.
    pub probes: u64,
    /// Retransmits that this machine itself has refused to send.
    pub unsent: u64,
    /// Segments that their connections count as sent again, and that the kernel has not told of: before Linux 6.16 those
    /// that it refused to send; otherwise nobody knows what they were.
    pub untold: u64,
    /// Bytes that were sent and acknowledged.
    pub bytes_sent: u64,
    /// Bytes that were received.
    pub bytes_received: u64,
    /// Bytes that were sent, again ones included, and those that were sent again.
    pub bytes_out: u64,
    /// The same.
    pub bytes_resent: u64,
    /// Segments that were sent again, whatever has passed after them.
    pub sent_again: u64,
    /// Segments of data that were sent, again ones included.
    pub segments_sent: u64,
    /// Segments of data that were received.
    pub segments_received: u64,
    /// Segments that were sent again, by what their sockets say, each counted once something has passed its connection
    /// after it: where nothing passes at all it is no loss among others.
    pub resent: u64,
    /// Segments that were acknowledged, those that came twice included.
    pub delivered: u64,
    /// Segments that came twice, by what the other end says.
    pub duplicated: u64,
    /// Packets that came before one that was sent earlier.
    pub out_of_order: u64,
}

impl Tally {
    /// Adds what a socket has carried between two looks, but for what it has sent again: that is given back.
    pub fn carry(&mut self, before: &Figures, now: &Figures) -> u64 {
        let grown = |now, before| u64::from(grown(now, before));
        self.bytes_sent += now.bytes_acked.saturating_sub(before.bytes_acked);
        self.bytes_received += now.bytes_received.saturating_sub(before.bytes_received);
        self.segments_sent += grown(now.data_segments_out, before.data_segments_out);
        self.segments_received += grown(now.data_segments_in, before.data_segments_in);
        self.delivered += grown(now.delivered, before.delivered);
        self.duplicated += grown(now.duplicated, before.duplicated);
        self.out_of_order += grown(now.out_of_order, before.out_of_order);
        self.bytes_out += now.bytes_out.saturating_sub(before.bytes_out);
        self.bytes_resent += now.bytes_resent.saturating_sub(before.bytes_resent);
        let again = grown(now.retransmitted, before.retransmitted);
        self.sent_again += again;
        again
    }

    /// Connections that did not come to be, for whatever reason but that whoever asked gave up.
    pub fn failed(&self) -> u64 {
        self.refused + self.timed_out + self.unreachable
    }

    /// Segments that did not arrive, as far as is known: sent again, and not found to have come twice.
    pub fn lost(&self) -> u64 {
        self.resent.saturating_sub(self.duplicated)
    }

    /// So many segments that were sent again, as the segments that were lost: several small ones in a row are sent again as
    /// one (`tcp_retrans_try_collapse`), which their bytes tell.
    fn parted(&self, resent: u64) -> u64 {
        const MANY: u64 = 16;
        let product = |one: u64, other: u64| u128::from(one) * u128::from(other);
        // How many bytes went into one that was sent again, by how many went into one that was sent first.
        let first = self.segments_sent.saturating_sub(self.sent_again);
        let bytes_first = self.bytes_out.saturating_sub(self.bytes_resent);
        let again = product(self.bytes_resent, first);
        let once = product(self.sent_again, bytes_first);
        if once == 0 || again <= once {
            return resent;
        }
        let parted = (u128::from(resent) * again + once / 2) / once;
        u64::try_from(parted).map_or(resent, |parted| parted.min(resent.saturating_mul(MANY)))
    }

    /// Of all segments whose fate is known, those that did not arrive.
    pub fn loss(&self) -> Share {
        Share {
            hit: self.lost(),
            of: self.lost() + self.delivered,
        }
    }

    /// The same with all that was sent again, also where nothing has passed after it, and with small ones that were sent
    /// again together: how much is lost where it is much, and several in a row are.
    pub fn loss_of_all(&self) -> Share {
        // What is confirmed now may have been sent again before.
        let sent_again = self.sent_again.max(self.resent);
        let again = self.parted(sent_again);
        let hit = again.saturating_sub(self.duplicated);
        let merged = again - sent_again;
        let all = Share {
            hit,
            of: hit + self.delivered + merged,
        };
        // By their bytes large segments count more than small ones, and of what is sent again just then nobody knows how
        // often it will be: fewer of them say something.
        let of = u64::midpoint(sent_again, self.delivered);
        Share {
            hit: hit * of / all.of.max(1),
            of,
        }
    }

    /// Segments that were sent again, or could not be, as the kernel has told.
    pub fn in_vain(&self) -> u64 {
        self.syn_retransmits + self.retransmits + self.probes + self.unsent + self.untold
    }

    /// How many figures there are.
    pub(crate) const FIGURES: usize = 29;

    /// Each figure, in their order.
    pub(crate) fn each(&mut self) -> [&mut u64; Self::FIGURES] {
        [
            &mut self.connected,
            &mut self.connecting_us,
            &mut self.accepted,
            &mut self.refused,
            &mut self.timed_out,
            &mut self.unreachable,
            &mut self.given_up,
            &mut self.closed,
            &mut self.resets_received,
            &mut self.resets_sent,
            &mut self.refusals_sent,
            &mut self.broken,
            &mut self.syn_retransmits,
            &mut self.synack_retransmits,
            &mut self.retransmits,
            &mut self.probes,
            &mut self.unsent,
            &mut self.untold,
            &mut self.bytes_sent,
            &mut self.bytes_received,
            &mut self.bytes_out,
            &mut self.bytes_resent,
            &mut self.sent_again,
            &mut self.segments_sent,
            &mut self.segments_received,
            &mut self.resent,
            &mut self.delivered,
            &mut self.duplicated,
            &mut self.out_of_order,
        ]
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, mut more: Self) {
        for (own, more) in self.each().into_iter().zip(more.each()) {
            *own += *more;
        }
    }
}

impl Sub for Tally {
    type Output = Self;

    /// What has happened since an earlier tally.
    fn sub(mut self, mut earlier: Self) -> Self {
        for (own, earlier) in self.each().into_iter().zip(earlier.each()) {
            *own = own.saturating_sub(*earlier);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_adds_and_subtracts() {
        let mut some = Tally::default();
        for (value, figure) in (1..).zip(some.each()) {
            *figure = value;
        }
        let mut twice = some;
        twice += some;
        for (value, figure) in (1..).zip(twice.each()) {
            assert_eq!(*figure, 2 * value);
        }
        assert_eq!(twice - some, some);
        assert_eq!(
            size_of::<Tally>(),
            size_of::<[u64; Tally::FIGURES]>(),
            "one figure is left out of each"
        );
    }

    #[test]
    fn what_came_twice_was_not_lost_and_counters_of_the_kernel_turn_over() {
        let before = Figures {
            retransmitted: u32::MAX,
            delivered: 10,
            ..Figures::default()
        };
        let now = Figures {
            retransmitted: 4,
            delivered: 110,
            duplicated: 2,
            ..Figures::default()
        };
        let mut tally = Tally::default();
        tally.resent = tally.carry(&before, &now);
        assert_eq!((tally.resent, tally.delivered, tally.lost()), (5, 100, 3));
    }

    #[test]
    fn several_small_ones_that_are_sent_again_as_one_were_lost_each() {
        let tally = Tally {
            segments_sent: 120,
            bytes_out: 100 * 32 + 20 * 64,
            bytes_resent: 20 * 64,
            sent_again: 20,
            resent: 20,
            delivered: 80,
            ..Tally::default()
        };
        assert_eq!(tally.loss(), Share { hit: 20, of: 100 });
        let [low, high] = tally.loss_of_all().interval();
        assert!(
            low < 0.22 && high > 0.35,
            "40 of 140, by fewer: {low} to {high}"
        );
        let large = Tally {
            bytes_out: 120 * 1400,
            bytes_resent: 20 * 1400,
            ..tally
        };
        assert_eq!(large.loss_of_all(), Share { hit: 10, of: 50 });
    }
}
