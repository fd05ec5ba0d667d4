//! `murphy completions SHELL` prints what makes a shell complete Murphy's words.

use std::io;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::cli::Cli;

/// Arguments of `murphy completions`.
#[derive(Debug, Args)]
#[command(after_help = "Example: murphy completions bash > /etc/bash_completion.d/murphy")]
pub struct CompletionsArgs {
    /// The shell.
    pub shell: Shell,
}

/// Prints them.
pub fn run(args: &CompletionsArgs) {
    clap_complete::generate(args.shell, &mut Cli::command(), "murphy", &mut io::stdout());
}
