//! A validation asks behind a trial whether what the target keeps is right: a probe that looks once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use murphy_run::probe::{Outcome, Probe, Prober, ProberError, Reason};

use super::patience::{Ended, Patience};

/// How often is looked whether it is over.
const TICK: Duration = Duration::from_millis(20);
/// How long a program that was killed may take until it is gone.
const GONE_WITHIN: Duration = Duration::from_secs(2);

/// How long a look may take.
#[derive(Clone, Copy, Debug)]
pub struct Validation<'a> {
    /// What looks.
    pub probe: &'a Probe,
    /// What takes longer says nothing.
    pub limit: Duration,
}

/// What a validation says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// All is right.
    Right,
    /// It is not, and why.
    Wrong(String),
    /// It did not say, and why: it took too long, or could not be asked.
    Nothing(String),
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum ValidationError {
    /// Nobody waits for it any longer.
    #[error(transparent)]
    Ended(#[from] Ended),
    /// It cannot look.
    #[error(transparent)]
    Prober(#[from] ProberError),
}

impl Validation<'_> {
    /// Looks. A program that runs when it is to be over is killed with its process group.
    pub fn look(&self, patience: Patience<'_>) -> Result<Found, ValidationError> {
        let mut prober = Prober::new(self.probe, self.limit)?;
        let is_over = Arc::new(AtomicBool::new(false));
        let heard = Arc::clone(&is_over);
        let looking = thread::spawn(move || prober.look_unless(&heard));
        while !looking.is_finished() {
            if let Err(ended) = patience.wait(TICK) {
                is_over.store(true, Ordering::Relaxed);
                let began = Instant::now();
                while !looking.is_finished() && began.elapsed() < GONE_WITHIN {
                    thread::sleep(TICK);
                }
                return Err(ended.into());
            }
        }
        let outcome = looking.join().map(|look| look.outcome);
        Ok(match outcome {
            Ok(Outcome::Passed { .. }) => Found::Right,
            Ok(Outcome::Failed {
                reason: Reason::TimedOut,
                ..
            }) => Found::Nothing(format!("it was not over within {:?}", self.limit)),
            Ok(Outcome::Failed { reason, detail }) => Found::Wrong(format!("{reason}: {detail}")),
            Ok(Outcome::Unable { detail }) => Found::Nothing(detail),
            Err(_) => Found::Nothing("it panicked".into()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use murphy_sys::signal::Interrupts;

    #[test]
    fn what_does_not_end_says_nothing_and_what_nobody_waits_for_is_ended() {
        let interrupts = Interrupts::catch().unwrap();
        let look = |probe: &str, limit_ms: u64, budget_ms: u64| {
            let probe: Probe = probe.parse().unwrap();
            let validation = Validation {
                probe: &probe,
                limit: Duration::from_millis(limit_ms),
            };
            validation.look(Patience {
                interrupts: &interrupts,
                until: Some(Instant::now() + Duration::from_millis(budget_ms)),
            })
        };
        assert_eq!(look("sh:exit 0", 20_000, 20_000).unwrap(), Found::Right);
        let wrong = look("sh:echo two rows; exit 1", 20_000, 20_000).unwrap();
        assert!(matches!(&wrong, Found::Wrong(why) if why.contains("two rows")));
        let late = look("command:sleep 60", 100, 20_000).unwrap();
        assert_eq!(
            late,
            Found::Nothing("it was not over within 100ms".to_owned())
        );
        let begun = Instant::now();
        let ended = look("command:sleep 50", 40_000, 100);
        assert!(matches!(
            ended,
            Err(ValidationError::Ended(Ended::OverBudget))
        ));
        assert!(begun.elapsed() < Duration::from_secs(20));
    }
}
