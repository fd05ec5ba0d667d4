mod command;
mod grammar;
mod log;
mod network;
mod page;
mod reasons;
mod watch;

use std::time::Duration;

use super::{Look, Outcome, Prober, Reason};

/// More than anything here takes that ends by itself.
const PATIENCE: Duration = Duration::from_secs(30);
/// Enough to see that something does not come.
const SHORT: Duration = Duration::from_millis(200);

fn prober(text: &str, limit: Duration) -> Prober {
    let probe = text.parse().unwrap_or_else(|error| panic!("{error}"));
    Prober::new(&probe, limit).expect("a probe at work")
}

/// What one look comes to.
fn outcome(text: &str) -> Outcome {
    prober(text, PATIENCE).look().outcome
}

/// Why a look has failed, and what it saw.
#[track_caller]
fn failure(look: Look) -> (Reason, String) {
    match look.outcome {
        Outcome::Failed { reason, detail } => (reason, detail),
        other => panic!("it has not failed: {other:?}"),
    }
}

fn passed_with(value: f64) -> Outcome {
    Outcome::Passed { value: Some(value) }
}
