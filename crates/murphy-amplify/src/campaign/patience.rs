//! Patience is how long a campaign goes on waiting: until somebody ends it, or until its budget is over, whatever it is that it waits
//! for.

use std::{
    io,
    time::{Duration, Instant},
};

use murphy_sys::signal::Interrupts;

/// Why nobody waits any longer.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// Somebody has ended it.
    #[error("go on: it was interrupted")]
    Interrupted,
    /// The budget is over.
    #[error("try more: the budget has ended")]
    OverBudget,
    /// Signals cannot be waited for.
    #[error("listen for Ctrl-C: {0}")]
    Signals(io::Error),
}

/// What waits are ended by.
#[derive(Clone, Copy, Debug)]
pub struct Patience<'a> {
    /// Ctrl-C.
    pub interrupts: &'a Interrupts,
    /// When the budget is over; none where there is none.
    pub until: Option<Instant>,
}

impl Patience<'_> {
    /// Waits so long.
    pub fn wait(&self, time: Duration) -> Result<(), Ended> {
        let left = self.left();
        if left.is_zero() {
            return Err(Ended::OverBudget);
        }
        match self.interrupts.wait(time.min(left)) {
            Ok(false) => Ok(()),
            Ok(true) => Err(Ended::Interrupted),
            Err(error) => Err(Ended::Signals(error)),
        }
    }

    fn left(&self) -> Duration {
        self.until.map_or(Duration::MAX, |until| {
            until.saturating_duration_since(Instant::now())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_with_the_budget() {
        let interrupts = Interrupts::catch().unwrap();
        let begun = Instant::now();
        let patience = Patience {
            interrupts: &interrupts,
            until: Some(begun + Duration::from_millis(50)),
        };
        patience.wait(Duration::from_mins(1)).unwrap();
        assert!(begun.elapsed() < Duration::from_secs(30));
        let ended = patience.wait(Duration::from_mins(1));
        assert!(matches!(ended, Err(Ended::OverBudget)), "{ended:?}");
    }
}
