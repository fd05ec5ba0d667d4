//! Every kernel interface Murphy uses, and every unsafe block.
pub mod link;
pub mod namespace;
pub mod spawn;
