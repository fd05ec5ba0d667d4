//! The hidden verb of the keeper: the binary again, waiting for its Murphy to end.

use clap::Args;

use crate::exit::{Exit, Failure};

/// Arguments of the keeper: its owner's pid and start time.
#[derive(Debug, Args)]
pub struct KeeperArgs {
    /// Who is kept.
    pub owner: Vec<String>,
}

/// Keeps.
pub fn run(args: &KeeperArgs) -> Result<Exit, Failure> {
    murphy_fault::keeper::run(&args.owner).map_err(Failure::machine)?;
    Ok(Exit::Held)
}
