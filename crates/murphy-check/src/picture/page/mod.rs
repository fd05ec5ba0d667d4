//! The page around the pictures: the verdict, each witness with what it says, the whole history.

mod file;
mod headline;
mod history;
mod witness;

pub use file::write;
#[cfg(test)]
pub use file::{JS_HASH, script};
