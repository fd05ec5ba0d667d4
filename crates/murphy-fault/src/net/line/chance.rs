//! A chain decides packet by packet whether something happens: by a chance that may be that of its neighbour, in bursts,
//! or by count.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::net::spec::{Chance, GilbertElliott, Loss};

/// A chance drawn again and again: two states, of which the last one says how likely the next one is.
#[derive(Debug)]
pub(super) struct Chain {
    ratio: f64,
    after_hit: f64,
    after_miss: f64,
    /// What the last one was; before the first one, only the ratio is known.
    last: Option<bool>,
    random: ChaCha8Rng,
}

impl Chain {
    pub(super) fn new(chance: Chance, random: ChaCha8Rng) -> Self {
        let (after_hit, after_miss) = chance.after();
        Self {
            ratio: chance.ratio.get(),
            after_hit,
            after_miss,
            last: None,
            random,
        }
    }

    /// Whether this one is hit.
    pub(super) fn is_hit(&mut self) -> bool {
        let likely = match self.last {
            None => self.ratio,
            Some(true) => self.after_hit,
            Some(false) => self.after_miss,
        };
        let is_hit = self.random.random::<f64>() < likely;
        self.last = Some(is_hit);
        is_hit
    }

    /// What it draws from, for what is drawn only of those that were hit.
    pub(super) fn random(&mut self) -> &mut ChaCha8Rng {
        &mut self.random
    }
}

/// Which frames are lost.
#[derive(Debug)]
pub(super) enum Losses {
    Random(Chain),
    /// Begins in the good state; goes from state to state first, and then loses by the state it is in, as netem's.
    GilbertElliott {
        model: GilbertElliott,
        is_bad: bool,
        random: ChaCha8Rng,
    },
    Every {
        nth: u32,
        passed: u32,
    },
}

impl Losses {
    pub(super) fn new(loss: Loss, random: ChaCha8Rng) -> Self {
        match loss {
            Loss::Random(chance) => Self::Random(Chain::new(chance, random)),
            Loss::GilbertElliott(model) => Self::GilbertElliott {
                model,
                is_bad: false,
                random,
            },
            Loss::Every(nth) => Self::Every {
                nth: nth.get(),
                passed: 0,
            },
        }
    }

    /// Whether this one is lost.
    pub(super) fn is_hit(&mut self) -> bool {
        match self {
            Self::Random(chain) => chain.is_hit(),
            Self::GilbertElliott {
                model,
                is_bad,
                random,
            } => {
                let turn = if *is_bad { model.r } else { model.p };
                *is_bad ^= random.random::<f64>() < turn.get();
                let lost = if *is_bad { model.bad } else { model.good };
                random.random::<f64>() < lost.get()
            }
            Self::Every { nth, passed } => {
                *passed = (*passed + 1) % *nth;
                *passed == 0
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    const DRAWS: u32 = 100_000;

    fn random() -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(6)
    }

    /// The share of hits, the share of hits after a hit, and the mean length of a run of hits.
    fn shares(mut is_hit: impl FnMut() -> bool) -> (f64, f64, f64) {
        let (mut hits, mut pairs, mut runs, mut last) = (0, 0, 0, false);
        for _ in 0..DRAWS {
            let hit = is_hit();
            hits += u32::from(hit);
            pairs += u32::from(hit && last);
            runs += u32::from(hit && !last);
            last = hit;
        }
        let [hits, pairs, runs] = [hits, pairs, runs].map(f64::from);
        (hits / f64::from(DRAWS), pairs / hits, hits / runs)
    }

    #[test]
    fn a_correlated_chance_has_its_share_and_its_correlation() {
        for (ratio, correlation) in [(0.3, 0.0), (0.3, 0.25), (0.05, 0.8)] {
            let chance = Chance {
                ratio: crate::ratio::Ratio::nearest(ratio),
                correlation: crate::ratio::Ratio::nearest(correlation),
            };
            let mut chain = Chain::new(chance, random());
            let (share, after_hit, _) = shares(|| chain.is_hit());
            // The variance of a mean grows by (1 + c) / (1 - c) where neighbours correlate.
            let grown = (1.0 + correlation) / (1.0 - correlation);
            let sigma = (ratio * (1.0 - ratio) * grown / f64::from(DRAWS)).sqrt();
            assert!((share - ratio).abs() < 4.0 * sigma, "{share} of {ratio}");
            let wanted = correlation + ratio * (1.0 - correlation);
            let sigma = (wanted * (1.0 - wanted) / (ratio * f64::from(DRAWS))).sqrt();
            assert!(
                (after_hit - wanted).abs() < 4.0 * sigma,
                "{after_hit} of {wanted}"
            );
        }
    }

    #[test]
    fn bursts_are_as_long_and_as_many_as_the_model_says() {
        let mut losses = Losses::new(
            Loss::GilbertElliott("p=1%,r=10%".parse().unwrap()),
            random(),
        );
        let (share, _, run) = shares(|| losses.is_hit());
        let wanted = 1.0 / 11.0;
        // Neighbours correlate by 1 - p - r.
        let sigma = (wanted * (1.0 - wanted) * (1.89 / 0.11) / f64::from(DRAWS)).sqrt();
        assert!((share - wanted).abs() < 4.0 * sigma, "{share} of {wanted}");
        // Runs are geometric: mean 10, deviation √90, and there are some 909.
        let sigma = (90.0 / (f64::from(DRAWS) * wanted / 10.0)).sqrt();
        assert!((run - 10.0).abs() < 4.0 * sigma, "{run} of 10");
    }

    #[test]
    fn every_nth_is_the_nth_and_all_and_none_are_that() {
        let mut third = Losses::new(Loss::Every(3.try_into().unwrap()), random());
        let hits: Vec<bool> = (0..7).map(|_| third.is_hit()).collect();
        assert_eq!(hits, [false, false, true, false, false, true, false]);
        let chain = |text: &str| Chain::new(Chance::independent(text.parse().unwrap()), random());
        let (mut all, mut none) = (chain("100%"), chain("0%"));
        assert!((0..1000).all(|_| all.is_hit() && !none.is_hit()));
    }
}
