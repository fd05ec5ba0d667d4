//! A lab of the shop is where its services run: each in a network namespace of its own, named or a container's, all
//! on one bridge that is in a namespace without a name, so that the host's own network never sees it.
//!
//! One process in the background owns it. All that it changes is in Murphy's journal first; when it is told to end,
//! or is killed, it or its keeper goes the way back.

mod containers;
mod ended;
mod error;
mod ground;
mod member;
mod namespaces;
mod needs;
mod network;
mod owner;
mod postgres;
mod report;
mod state;

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

pub use ended::down;
pub use error::LabError;
pub use owner::{own, up};
pub use report::status;

/// The hidden verb of the process that owns a lab.
pub const OWNER_VERB: &str = "__owner";
/// Where the lab is, unless [`VARIABLE`] says something else. Not below Murphy's own directory, which the database's
/// user may not enter.
const DIRECTORY: &str = "/run/murphy-shop";
/// Overrides the place, for tests.
const VARIABLE: &str = "MURPHY_SHOP";

/// What the services run in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// Named network namespaces.
    #[default]
    Namespaces,
    /// Containers of podman.
    Containers,
}

impl Form {
    /// As on the command line.
    fn word(self) -> &'static str {
        match self {
            Self::Namespaces => "namespaces",
            Self::Containers => "containers",
        }
    }
}

/// The directory of the lab.
fn directory() -> PathBuf {
    let set = std::env::var_os(VARIABLE).filter(|value| !value.is_empty());
    set.map_or_else(|| DIRECTORY.into(), PathBuf::from)
}

/// The file that the load generator writes its figures to, in the directory of a lab.
fn figures(directory: &Path) -> PathBuf {
    directory.join("load/figures.jsonl")
}

/// Words of a command.
fn words<const N: usize>(words: [&str; N]) -> Vec<OsString> {
    words.map(OsString::from).into()
}
