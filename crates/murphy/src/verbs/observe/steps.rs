//! The steps of an observer may fail: what fails once may work again, and of a night nothing is to be lost.

use std::time::Duration;

use murphy_observe::{News, ObserveError, Observer};

/// So often in a row it may fail, and after so long it is tried again.
const FAILED_MAX: u32 = 20;
const AGAIN_AFTER: Duration = Duration::from_millis(500);

/// One step after the other.
#[derive(Debug, Default)]
pub struct Steps {
    /// How many have failed in a row.
    failed: u32,
}

/// Why a step has failed.
#[derive(Debug)]
pub enum Failed {
    /// Another one may do better.
    Again(ObserveError),
    /// So many have failed that none will.
    ForGood(ObserveError),
}

impl Steps {
    /// How long until the next one.
    pub fn until_next(&self, observer: &Observer) -> Duration {
        if self.failed > 0 {
            AGAIN_AFTER
        } else {
            observer.until_next()
        }
    }

    /// The next one; says what is new by it.
    pub fn take(&mut self, observer: &mut Observer) -> Result<Vec<News>, Failed> {
        match observer.step() {
            Ok(news) => {
                self.failed = 0;
                Ok(news)
            }
            Err(error) if self.failed < FAILED_MAX => {
                self.failed += 1;
                Err(Failed::Again(error))
            }
            Err(error) => Err(Failed::ForGood(error)),
        }
    }
}
