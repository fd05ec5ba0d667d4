//! The order of models is that of their experiments: the one that tells most comes first, as a campaign may end before the last.
//!
//! Models that are on come before those that are off, and what was seen before what the environment may do. Within these the score
//! decides, from 0 to 1, the product of three shares:
//! - **exposure**, h / (h + 1), where h is how many hits a second there are at the model's rate, by the calls of the recording: an
//!   experiment that waits for its hits is expensive, and may end inconclusive;
//! - **novelty**, the logarithm of how much more often it is than by nature, of a million times: what a program meets all day it is used
//!   to;
//! - **consequence**: 1 for what says that something is lost or gone, 0.3 for what is [noise](Rank::Noise), as nothing ready yet, and 0.1
//!   for what only a program meets that is wrong itself.

use murphy_fault::syscall::realism::{self, Rank};

use super::{Model, natural::figure};
use crate::{campaign::experiment::chance, recording::Key};
use murphy_sys::syscalls::Errno;

/// As often more than by nature is as new as it gets.
const NEW: f64 = 1e6;

/// The score of a model: a share.
pub fn score(key: Key, errno: Errno, natural: f64, rate: f64, calls_per_second: f64) -> f64 {
    let hits = calls_per_second.max(0.0) * chance(rate, natural);
    let exposure = hits / (hits + 1.0);
    let times = if natural > 0.0 { rate / natural } else { NEW };
    let novelty = times.clamp(1.0, NEW).ln() / NEW.ln();
    let consequence = match realism::rank(key.call, errno) {
        Some(Rank::Environmental) => 1.0,
        Some(Rank::Noise) => 0.3,
        Some(Rank::Mistake) | None => 0.1,
    };
    figure(exposure * novelty * consequence)
}

/// Puts models in their order; those that score the same in that of their names.
pub fn sort(models: &mut [Model]) {
    models.sort_by(|one, other| {
        let on = other.is_on.cmp(&one.is_on);
        let realism = || one.realism.cmp(&other.realism);
        let score = || other.score.total_cmp(&one.score);
        on.then_with(realism)
            .then_with(score)
            .then_with(|| one.name.cmp(&other.name))
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use murphy_sys::syscalls::Call;

    fn of(call: &str, errno: &str, natural: f64, rate: f64, per_second: f64) -> f64 {
        let key = Key {
            call: Call::named(call).unwrap(),
            operation: None,
            kind: None,
            nonblocking: None,
        };
        score(key, Errno::named(errno).unwrap(), natural, rate, per_second)
    }

    #[test]
    fn what_tells_more_scores_higher() {
        let reset = of("read", "ECONNRESET", 1e-4, 0.05, 1000.0);
        let all = [
            (
                "hits come sooner",
                reset,
                of("read", "ECONNRESET", 1e-4, 0.05, 1.0),
            ),
            (
                "it is rarer",
                reset,
                of("read", "ECONNRESET", 1e-2, 0.05, 1000.0),
            ),
            (
                "it means more",
                reset,
                of("read", "EAGAIN", 1e-4, 0.05, 1000.0),
            ),
            (
                "it can be met",
                reset,
                of("read", "EBADF", 1e-4, 0.05, 1000.0),
            ),
        ];
        for (why, more, less) in all {
            assert!(more > less, "{why}: {more} {less}");
        }
        for score in [
            of("read", "EIO", 0.0, 1.0, 1e9),
            of("read", "EIO", 1.0, 1.0, 1.0),
        ] {
            assert!((0.0..=1.0).contains(&score), "{score}");
        }
        assert!(of("read", "EIO", 0.0, 0.05, 0.0).abs() < 1e-12);
    }
}
