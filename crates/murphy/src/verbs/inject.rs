//! `murphy inject FAMILY …` injects one fault now, says what it did, and takes it back.

pub mod aim;
mod conn;
mod detach;
mod net;
mod process;
pub mod syscall;
mod time;

pub use time::{How, skew_failure};

use clap::{Args, Subcommand};

use crate::exit::{Exit, Failure};

/// Arguments of `murphy inject`.
#[derive(Debug, Args)]
pub struct InjectArgs {
    /// The family of the fault.
    #[command(subcommand)]
    pub family: Family,
}

/// The families.
#[derive(Debug, Subcommand)]
pub enum Family {
    /// Kill, signal, pause or restart processes.
    Process(process::ProcessArgs),
    /// End a share of the connections of a target, idle ones too, and watch whether they come back.
    Conn(conn::ConnArgs),
    /// Delay, lose, duplicate, corrupt, reorder, slow down or refuse packets of a target, and of nobody else.
    Net(Box<net::NetArgs>),
    /// Have system calls fail, come late, or do half of what was asked.
    Syscall(Box<syscall::SyscallArgs>),
    /// Skew the clocks of running processes, and of nobody else.
    Time(time::TimeArgs),
}

/// Injects it.
pub fn run(args: &InjectArgs, json: bool) -> Result<Exit, Failure> {
    let aim = match &args.family {
        Family::Conn(args) => &args.aim,
        Family::Net(args) => &args.aim,
        Family::Process(args) => &args.aim,
        Family::Syscall(args) => &args.aim,
        Family::Time(args) => &args.aim,
    };
    if aim.detach {
        return detach::run(json);
    }
    if aim.detached {
        detach::leave()?;
    }
    match &args.family {
        Family::Conn(args) => conn::run(args, json),
        Family::Net(args) => net::run(args, json),
        Family::Process(args) => process::run(args, json),
        Family::Syscall(args) => syscall::run(args, json),
        Family::Time(args) => time::run(args, json),
    }
}
