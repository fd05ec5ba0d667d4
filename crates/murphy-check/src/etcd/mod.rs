//! Model `etcd`: a key-value store whose every answer carries the revision that orders it.

mod check;
mod confirm;
mod decode;
mod durable;
mod figures;
pub mod generate;
mod holes;
mod kubernetes;
mod lease;
mod lessor;
mod linear;
pub mod live;
mod load;
mod members;
pub mod model;
mod perform;
mod promises;
mod proof;
mod record;
mod registry;
mod scene;
mod sighting;
mod store;
mod suspects;
mod sweep;
mod timeline;
pub(crate) mod trouble;
pub mod vocabulary;
mod watches;
pub(crate) mod words;
mod worlds;

pub use check::{Options, Scope, check, check_record};
pub use promises::PROMISES;
pub use record::Record;

pub use crate::read::ReadError;
