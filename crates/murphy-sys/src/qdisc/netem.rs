//! Netem is the qdisc that makes a network worse: it delays, reorders, loses, duplicates, corrupts and slows down.
//!
//! Times are nanoseconds, rates are bytes a second, both in 64 bits. Loss and duplicates are drawn for each buffer of the
//! kernel, which holds many segments where the device segments. One that duplicates may be the only netem of a device's
//! tree: newer kernels refuse any other beside it, and so does 6.1 by now. See tc-netem(8), `net/sched/sch_netem.c`.

use std::num::{NonZeroU32, NonZeroU64};

use rtnetlink::packet_core::DefaultNla;

use super::{QdiscError, distribution::Distribution, exchange::numbers};
use crate::netlink::emitted;

/// The kernel draws a jitter as a number of 32 bits with a sign, and cuts a greater one off.
pub const JITTER_MAX_NS: u64 = 0x7fff_ffff;
/// How many packets may wait where nothing else is said, as tc(8) has it.
pub const LIMIT: u32 = 1000;

/// `TCA_NETEM_…`.
const CORRELATION: u16 = 1;
const DELAY_DISTRIBUTION: u16 = 2;
const REORDER: u16 = 3;
const CORRUPT: u16 = 4;
const LOSS: u16 = 5;
const RATE: u16 = 6;
const RATE64: u16 = 8;
const LATENCY64: u16 = 10;
const JITTER64: u16 = 11;
pub(super) const SEED: u16 = 14;
/// `NETEM_LOSS_GE`.
const GILBERT_ELLIOTT: u16 = 2;
/// Bytes of `struct tc_netem_qopt`, which comes before the attributes.
pub(super) const OPTIONS: usize = 24;

/// A probability in the fixed point of netem, which compares it with a random word of 32 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Probability(u32);

impl Probability {
    /// Never.
    pub const ZERO: Self = Self(0);
    /// Always.
    pub const ONE: Self = Self(u32::MAX);

    /// The nearest one; what lies outside of 0 to 1 is the end that it lies beyond.
    pub fn nearest(value: f64) -> Self {
        // It lies between nothing and the whole, and is whole: nothing is lost.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        Self((value.clamp(0.0, 1.0) * f64::from(u32::MAX)).round() as u32)
    }

    /// What is left of the whole.
    #[must_use]
    pub const fn rest(self) -> Self {
        Self(u32::MAX - self.0)
    }
}

/// How often something happens to a packet, and how much each draw depends on the one before.
///
/// Netem's correlation mixes random words, which draws them to the middle: with it, less than the share is hit when the
/// share is below one half, and more when it is above. Without it, the share is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chance {
    /// Of all packets.
    pub share: Probability,
    /// Of the last draw in the next.
    pub correlation: Probability,
}

impl Chance {
    /// Each draw on its own.
    pub fn independent(share: Probability) -> Self {
        Self {
            share,
            correlation: Probability::ZERO,
        }
    }
}

/// How late packets are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Delay {
    /// On average.
    pub mean_ns: u64,
    /// Half the width of the uniform distribution, and the unit of every other; at most [`JITTER_MAX_NS`].
    pub jitter_ns: u64,
    /// Of the last jitter in the next.
    pub correlation: Probability,
    /// Of the jitter.
    pub distribution: Distribution,
    /// Packets that are not delayed, and so overtake.
    pub reorder: Option<Reorder>,
}

/// Packets that overtake delayed ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reorder {
    /// Of the packets that may.
    pub chance: Chance,
    /// One packet in how many may: every one where it is 1. It is the first after so many delayed ones.
    pub gap: NonZeroU32,
}

/// Which packets are lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Loss {
    /// None.
    #[default]
    None,
    /// Each by chance.
    Random(Chance),
    /// In bursts: by a chain of two states, good and bad, after Gilbert (1960) and Elliott (1963).
    GilbertElliott {
        /// To go from good to bad, at each packet; the kernel's `p`.
        to_bad: Probability,
        /// To go back; `r`.
        to_good: Probability,
        /// To be lost when bad; `1-h`.
        loss_bad: Probability,
        /// To be lost when good; `1-k`.
        loss_good: Probability,
    },
}

/// What netem does.
#[derive(Clone, Debug, PartialEq)]
pub struct Netem {
    /// To packets that are not lost.
    pub delay: Option<Delay>,
    /// Before anything else.
    pub loss: Loss,
    /// A second copy of a packet, which then goes its own way.
    pub duplicate: Chance,
    /// One bit of a packet is wrong.
    pub corrupt: Chance,
    /// Packets leave one after the other, each as late as its bytes take.
    pub bytes_per_second: Option<NonZeroU64>,
    /// How many packets may wait; those beyond are lost.
    pub limit: u32,
    /// Makes every draw repeatable, from Linux 6.6 on; older kernels say nothing and draw as they like.
    pub seed: Option<u64>,
}

impl Default for Netem {
    /// Does nothing.
    fn default() -> Self {
        Self {
            delay: None,
            loss: Loss::None,
            duplicate: Chance::default(),
            corrupt: Chance::default(),
            bytes_per_second: None,
            limit: LIMIT,
            seed: None,
        }
    }
}

impl Netem {
    /// `struct tc_netem_qopt`, and attributes.
    pub(super) fn options(&self) -> Result<Vec<u8>, QdiscError> {
        let (random, chain) = self.loss.parts();
        let reorder = self.delay.as_ref().and_then(|delay| delay.reorder);
        // Delay and jitter are given as 64 bits; here they would be ticks of 64 ns.
        let mut options = numbers(&[
            0,
            self.limit,
            random.share.0,
            reorder.map_or(0, |reorder| reorder.gap.get()),
            self.duplicate.share.0,
            0,
        ]);
        let correlation = self
            .delay
            .as_ref()
            .map_or(Probability::ZERO, |delay| delay.correlation);
        let mut attributes = vec![DefaultNla::new(
            CORRELATION,
            numbers(&[
                correlation.0,
                random.correlation.0,
                self.duplicate.correlation.0,
            ]),
        )];
        if let Some(delay) = &self.delay {
            attributes.extend(delay.attributes()?);
        }
        attributes.extend(chain);
        if self.corrupt.share > Probability::ZERO {
            attributes.push(chance(CORRUPT, self.corrupt));
        }
        attributes.extend(self.bytes_per_second.into_iter().flat_map(rate));
        attributes.extend(
            self.seed
                .map(|seed| DefaultNla::new(SEED, seed.to_ne_bytes().into())),
        );
        options.extend(emitted(&attributes));
        Ok(options)
    }
}

impl Delay {
    fn attributes(&self) -> Result<Vec<DefaultNla>, QdiscError> {
        if self.jitter_ns > JITTER_MAX_NS {
            return Err(QdiscError::Jitter(self.jitter_ns));
        }
        if i64::try_from(self.mean_ns).is_err() {
            return Err(QdiscError::Delay(self.mean_ns));
        }
        let mut attributes = vec![
            DefaultNla::new(LATENCY64, self.mean_ns.to_ne_bytes().into()),
            DefaultNla::new(JITTER64, self.jitter_ns.to_ne_bytes().into()),
        ];
        if let Some(table) = self.distribution.table() {
            let table = table.iter().flat_map(|value| value.to_ne_bytes());
            attributes.push(DefaultNla::new(DELAY_DISTRIBUTION, table.collect()));
        }
        attributes.extend(self.reorder.map(|reorder| chance(REORDER, reorder.chance)));
        Ok(attributes)
    }
}

impl Loss {
    /// What is drawn for each packet, and the attribute of the chain.
    fn parts(self) -> (Chance, Option<DefaultNla>) {
        match self {
            Self::None => (Chance::default(), None),
            Self::Random(chance) => (chance, None),
            Self::GilbertElliott {
                to_bad,
                to_good,
                loss_bad,
                loss_good,
            } => {
                // `struct tc_netem_gemodel`. The kernel loses what is drawn above `h`.
                let chain = numbers(&[to_bad.0, to_good.0, loss_bad.rest().0, loss_good.0]);
                let chain = emitted(&[DefaultNla::new(GILBERT_ELLIOTT, chain)]);
                (Chance::default(), Some(DefaultNla::new(LOSS, chain)))
            }
        }
    }
}

/// `struct tc_netem_reorder`, `struct tc_netem_corrupt`.
fn chance(kind: u16, chance: Chance) -> DefaultNla {
    DefaultNla::new(kind, numbers(&[chance.share.0, chance.correlation.0]))
}

/// `struct tc_netem_rate`, without overhead or cells. What does not fit in 32 bits is all ones there.
fn rate(bytes_per_second: NonZeroU64) -> impl Iterator<Item = DefaultNla> {
    let short = u32::try_from(bytes_per_second.get());
    let long = short
        .is_err()
        .then(|| DefaultNla::new(RATE64, bytes_per_second.get().to_ne_bytes().into()));
    let short = numbers(&[short.unwrap_or(u32::MAX), 0, 0, 0]);
    long.into_iter().chain([DefaultNla::new(RATE, short)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::attribute;

    fn options(netem: &Netem) -> (Vec<u32>, Vec<u8>) {
        let options = netem.options().unwrap();
        let (words, attributes) = options.split_at(OPTIONS);
        let words = words.chunks(4).map(|word| word.try_into().unwrap());
        (words.map(u32::from_ne_bytes).collect(), attributes.to_vec())
    }

    #[test]
    fn times_and_rates_are_of_64_bits() {
        let netem = Netem {
            delay: Some(Delay {
                mean_ns: 5_000_000_000,
                jitter_ns: 7,
                ..Delay::default()
            }),
            bytes_per_second: NonZeroU64::new(12_500_000_000),
            ..Netem::default()
        };
        let (words, attributes) = options(&netem);
        assert_eq!(words, [0, LIMIT, 0, 0, 0, 0]);
        let long = |kind| attribute(&attributes, kind).unwrap().try_into().unwrap();
        assert_eq!(u64::from_ne_bytes(long(LATENCY64)), 5_000_000_000);
        assert_eq!(u64::from_ne_bytes(long(JITTER64)), 7);
        assert_eq!(u64::from_ne_bytes(long(RATE64)), 12_500_000_000);
        assert_eq!(attribute(&attributes, RATE).unwrap()[..4], [0xff; 4]);
        assert_eq!(attribute(&attributes, DELAY_DISTRIBUTION), None);
        assert_eq!(attribute(&attributes, SEED), None);
    }

    #[test]
    fn the_bad_state_is_said_by_what_it_lets_through() {
        let netem = Netem {
            loss: Loss::GilbertElliott {
                to_bad: Probability::nearest(0.01),
                to_good: Probability::nearest(0.1),
                loss_bad: Probability::ONE,
                loss_good: Probability::ZERO,
            },
            ..Netem::default()
        };
        let (words, attributes) = options(&netem);
        assert_eq!(words[2], 0, "nothing is lost but by the chain");
        let chain = attribute(attribute(&attributes, LOSS).unwrap(), GILBERT_ELLIOTT);
        assert_eq!(chain.unwrap(), numbers(&[42_949_673, 429_496_730, 0, 0]));
    }

    #[test]
    fn what_the_kernel_would_cut_off_is_refused() {
        let delay = |mean_ns, jitter_ns| Netem {
            delay: Some(Delay {
                mean_ns,
                jitter_ns,
                ..Delay::default()
            }),
            ..Netem::default()
        };
        assert!(delay(3_000_000_000, JITTER_MAX_NS).options().is_ok());
        let error = delay(0, JITTER_MAX_NS + 1).options().unwrap_err();
        assert!(error.to_string().contains("2147483648 ns"), "{error}");
        let error = delay(u64::MAX, 0).options().unwrap_err();
        assert!(matches!(error, QdiscError::Delay(_)), "{error}");
    }

    #[test]
    fn a_probability_has_its_ends() {
        for (value, wanted) in [(-1.0, 0), (0.0, 0), (0.3, 1_288_490_189), (2.0, u32::MAX)] {
            assert_eq!(Probability::nearest(value), Probability(wanted));
        }
        assert_eq!(Probability::ZERO.rest(), Probability::ONE);
    }
}
