//! The verbs, one file each: its arguments, what it does, how it says so.

pub mod bug;
pub mod check;
pub mod completions;
pub mod hunt;
mod verdict;

use crate::{
    cli::{Cli, Verb},
    exit::{Exit, Failure},
};

/// Does what was asked.
pub fn run(cli: Cli) -> Result<Exit, Failure> {
    let json = cli.json;
    match cli.verb {
        Verb::Hunt(args) => hunt::run(&args, json),
        Verb::Check(args) => check::run(&args, json),
        Verb::Completions(args) => {
            completions::run(&args);
            Ok(Exit::Held)
        }
    }
}
