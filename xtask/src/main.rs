//! Work on the repository that needs code.
//!
//! `make` is the way in for people; what a recipe cannot say in a line or two lives here, so that it is typed, linted
//! and tested like everything else. Nothing in this crate ships.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr)] // a developer's tool: its output is its purpose

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod dist;
mod proto;
mod soak;
mod suite;
mod tidy;
mod traces;
mod vm;

/// Work on the Murphy repository.
#[derive(Parser)]
#[command(name = "xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Write the etcd client of murphy-hunt from etcd's published interface files (needs protoc).
    Proto {
        /// Change nothing; fail if the committed code differs from what would be written.
        #[arg(long)]
        check: bool,
    },
    /// Check the house rules that no compiler and no linter checks.
    Tidy,
    /// Run every test once, count them, and see that nothing is left behind.
    Test,
    /// Run chosen tests in other kernels, emulated.
    VmTest(vm::Options),
    /// Take the full figures, as far as they are missing, and write them into docs/benchmarks.md.
    Soak(soak::Options),
    /// Build the binary that is handed out, into dist/.
    Dist,
}

/// A task's failure: a sentence for the developer who ran it.
type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let root = root();
    let outcome = match arguments.task {
        Task::Proto { check } => {
            proto::run(&root, proto::Mode::from_check(check)).map_err(Failure::from)
        }
        Task::Tidy => tidy::run(&root).map_err(Failure::from),
        Task::Test => suite::run(&root).map_err(Failure::from),
        Task::VmTest(options) => vm::run(&root, &options).map_err(Failure::from),
        Task::Soak(options) => soak::run(&root, &options).map_err(Failure::from),
        Task::Dist => dist::run(&root).map_err(Failure::from),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// The root of the checkout: this crate is one level below it.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}
