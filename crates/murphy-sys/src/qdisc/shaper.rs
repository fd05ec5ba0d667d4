//! A shaper decides when packets go, and which go first: the qdiscs tbf and prio.
//!
//! See tc-tbf(8), tc-prio(8), `net/sched/sch_tbf.c`, `net/sched/sch_prio.c`.

use std::num::NonZeroU64;

use rtnetlink::packet_core::DefaultNla;

use super::{
    QdiscError,
    exchange::{number, numbers},
};
use crate::netlink::emitted;

/// `TCA_TBF_PARMS`, `TCA_TBF_RATE64`, `TCA_TBF_BURST`.
const PARAMETERS: u16 = 1;
const RATE64: u16 = 4;
const BURST: u16 = 6;
/// The one class of a tbf, below which another qdisc may be.
pub const TBF_CLASS: u16 = 1;
/// `TC_LINKLAYER_ETHERNET`: bytes are what they are, and the kernel wants no table of how long they take.
const ETHERNET: u8 = 1;

/// Priorities of a packet (`TC_PRIO_MAX` + 1).
const PRIORITIES: usize = 16;
/// Bands of prio (`TCQ_PRIO_BANDS`).
const BANDS_MIN: u8 = 2;
const BANDS_MAX: u8 = 16;

/// A token bucket: packets go at a rate, and as many as the bucket holds go at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tbf {
    /// In the long run.
    pub bytes_per_second: NonZeroU64,
    /// What goes at once after a rest. A packet that is longer is lost, so it should be more than the device's MTU.
    pub burst_bytes: u32,
    /// How many bytes may wait; packets beyond are lost.
    pub limit_bytes: u32,
}

impl Tbf {
    pub(super) fn options(&self) -> Result<Vec<u8>, QdiscError> {
        let empty = [(self.burst_bytes, "burst"), (self.limit_bytes, "limit")]
            .into_iter()
            .find(|(bytes, _)| *bytes == 0);
        if let Some((_, what)) = empty {
            return Err(QdiscError::Bucket(what));
        }
        let rate = u32::try_from(self.bytes_per_second.get());
        let mut attributes = vec![DefaultNla::new(PARAMETERS, self.parameters())];
        if rate.is_err() {
            let rate = self.bytes_per_second.get().to_ne_bytes();
            attributes.push(DefaultNla::new(RATE64, rate.into()));
        }
        attributes.push(number(BURST, self.burst_bytes));
        Ok(emitted(&attributes))
    }

    /// `struct tc_tbf_qopt`: twice a `struct tc_ratespec` of three words, then limit, buffer and mtu. There is no peak
    /// rate, and the buffer is given as bytes by [`BURST`].
    fn parameters(&self) -> Vec<u8> {
        let rate = u32::try_from(self.bytes_per_second.get()).unwrap_or(u32::MAX);
        let rest = numbers(&[0, rate, 0, 0, 0, self.limit_bytes, 0, 0]);
        [&[0, ETHERNET, 0, 0][..], &rest].concat()
    }
}

/// Bands, each with a qdisc of its own, of which the first goes first. Class `n` of it is the band `n`, from 1; a
/// filter on it chooses one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prio {
    /// How many: 2 to 16.
    pub bands: u8,
    /// Where a packet goes that no filter has chosen, by its priority; from 0.
    pub of_priority: [u8; PRIORITIES],
}

impl Prio {
    /// Every packet goes to the first band, but for those that a filter sends elsewhere.
    pub fn first_but_for_filters(bands: u8) -> Self {
        Self {
            bands,
            of_priority: [0; PRIORITIES],
        }
    }

    /// `struct tc_prio_qopt`.
    pub(super) fn options(&self) -> Result<Vec<u8>, QdiscError> {
        let bands = self.bands;
        let is_there = |band: &u8| *band < bands;
        if !(BANDS_MIN..=BANDS_MAX).contains(&bands) || !self.of_priority.iter().all(is_there) {
            return Err(QdiscError::Bands { bands });
        }
        Ok([&u32::from(bands).to_ne_bytes()[..], &self.of_priority].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::attribute;

    #[test]
    fn a_bucket_of_many_gigabits_has_a_rate_of_64_bits() {
        let tbf = Tbf {
            bytes_per_second: NonZeroU64::new(5_000_000_000).unwrap(),
            burst_bytes: 9000,
            limit_bytes: 1 << 20,
        };
        let options = tbf.options().unwrap();
        let parameters = attribute(&options, PARAMETERS).unwrap();
        assert_eq!(parameters.len(), 36);
        assert_eq!(parameters[..4], [0, 1, 0, 0], "Ethernet");
        assert_eq!(parameters[8..12], [0xff; 4]);
        assert_eq!(parameters[24..28], (1_u32 << 20).to_ne_bytes());
        let rate = attribute(&options, RATE64).unwrap().try_into().unwrap();
        assert_eq!(u64::from_ne_bytes(rate), 5_000_000_000);
    }

    #[test]
    fn what_would_pass_nothing_is_refused() {
        let tbf = |burst_bytes, limit_bytes| {
            let bytes_per_second = NonZeroU64::MIN;
            let tbf = Tbf {
                bytes_per_second,
                burst_bytes,
                limit_bytes,
            };
            tbf.options().map(|_| ()).map_err(|error| error.to_string())
        };
        assert!(tbf(0, 1).unwrap_err().contains("its burst is 0"));
        assert!(tbf(1, 0).unwrap_err().contains("its limit is 0"));
        assert!(tbf(1, 1).is_ok());
        for (bands, first, is_fine) in [
            (1, 0, false),
            (2, 1, true),
            (2, 2, false),
            (16, 15, true),
            (17, 0, false),
        ] {
            let mut prio = Prio::first_but_for_filters(bands);
            prio.of_priority[0] = first;
            assert_eq!(prio.options().is_ok(), is_fine, "{bands} {first}");
        }
    }
}
