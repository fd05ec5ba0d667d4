//! The shop is a small real system to break: a front end, two catalogs, a `PostgreSQL` and a load generator. This is
//! the program of all of them but the database, and of the lab that starts and ends them.

#![forbid(unsafe_code)]

mod cli;
mod lab;
mod service;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::Parser;

fn main() -> ExitCode {
    match cli::Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            // Where nobody can be told, the exit code still says it.
            let _ = writeln!(io::stderr(), "shop: failed to {message}");
            ExitCode::FAILURE
        }
    }
}
