//! Murphy breaks a running system on purpose, watches what happens, and checks that every promise still
//! holds. This is the binary: arguments in, text out; the only crate that prints.

#![forbid(unsafe_code)]

mod cli;
mod exit;
mod output;
mod verbs;

use std::process::ExitCode;

use clap::Parser;

use crate::{cli::Cli, exit::Failure};

fn main() -> ExitCode {
    verbs::bug::report_panics();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return cli::refuse(&error),
    };
    let json = cli.json;
    match verbs::run(cli) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            tell(&failure, json);
            failure.exit.into()
        }
    }
}

/// The one place where an expected failure is said.
fn tell(failure: &Failure, json: bool) {
    if json {
        output::json(&serde_json::json!({
            "event": "failed",
            "error": failure.message,
            "hint": failure.hint,
            "exit": failure.exit as u8,
        }));
    }
    output::note(&format!("murphy: failed to {}", failure.message));
    if let Some(hint) = &failure.hint {
        output::note(&format!("Try: {hint}"));
    }
}
