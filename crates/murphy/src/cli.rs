//! The command line: every verb with its help. Each verb's own arguments stand in its file in `verbs/`.

use std::process::ExitCode;

use clap::{Parser, Subcommand, error::ErrorKind};

use crate::{exit::Exit, verbs};

/// Murphy breaks a running system on purpose, watches what happens, and checks that every promise still holds.
#[derive(Debug, Parser)]
#[command(
    name = "murphy",
    version,
    propagate_version = true,
    disable_help_subcommand = true,
    max_term_width = 100,
    after_help = "\
Examples:
  murphy doctor                                       what this machine can do
  murphy inject process pause -t pid:42 --for 10s     stop a process for ten seconds
  murphy inject time -t pid:42 --offset -10m --for 10s  let it believe that it is ten minutes earlier
  murphy inject net -t netns:n1 --loss 30% --for 1m   lose a third of its packets
  murphy observe -t container:web                     see what is wrong with its network
  murphy hunt etcd --etcd 3.5.0 --faults kill --for 60s
  murphy check history.jsonl --model etcd             judge a recorded history
  murphy convert history.edn --to murphy              write a history down in another format

Exit codes: 0 held or done · 1 a promise was broken · 2 bad input · 3 the machine refuses or no effect ·
4 undecided · 5 something is left behind · 70 a bug in Murphy"
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,

    /// Print JSON Lines instead of text; the last line is the result.
    #[arg(long, global = true)]
    pub json: bool,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Say what this machine can do, and why not.
    Doctor(verbs::doctor::DoctorArgs),
    /// Inject one fault now.
    Inject(Box<verbs::inject::InjectArgs>),
    /// Change a skew that is in force, without stopping anybody.
    Update(verbs::update::UpdateArgs),
    /// Have a fault do nothing for a while.
    Pause(verbs::pause::PauseArgs),
    /// Have a paused fault go on.
    Resume(verbs::pause::PauseArgs),
    /// Show what is in force.
    Ls(verbs::ls::LsArgs),
    /// Watch the network of a target, and say what is wrong there.
    Observe(verbs::observe::ObserveArgs),
    /// Make the errors that a program really meets more frequent, and report what it survives.
    Amplify(verbs::amplify::AmplifyArgs),
    /// Undo what is in force, whoever injected it.
    Recover(verbs::recover::RecoverArgs),
    /// Hunt for a broken promise: a real cluster, traffic, faults, a verdict.
    Hunt(verbs::hunt::HuntArgs),
    /// Judge a recorded history: verdict, witness, figures.
    Check(verbs::check::CheckArgs),
    /// Write a history down in another format.
    Convert(verbs::convert::ConvertArgs),
    /// Draw the report of a run again.
    Report(verbs::report::ReportArgs),
    /// Print the completions for a shell.
    Completions(verbs::completions::CompletionsArgs),
    /// Keep watch over another Murphy; not for people.
    #[command(name = murphy_fault::keeper::VERB, hide = true)]
    Keeper(verbs::keeper::KeeperArgs),
}

/// Says what clap found wrong, or what was asked of it (`--help`, `--version`).
pub fn refuse(error: &clap::Error) -> ExitCode {
    // A reader that goes away does not matter here either.
    let _ = error.print();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Exit::Held.into(),
        _ => Exit::Input.into(),
    }
}
