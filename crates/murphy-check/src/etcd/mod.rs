//! Model `etcd`: a key-value store whose every answer carries the revision that orders it.

mod check;
mod confirm;
mod decode;
mod durable;
mod figures;
pub mod generate;
mod linear;
mod load;
mod members;
pub mod model;
mod perform;
mod record;
mod scene;
mod sighting;
mod store;
mod sweep;
mod timeline;
pub(crate) mod trouble;
pub mod vocabulary;
mod watches;
pub(crate) mod words;
mod worlds;

pub use check::{Options, PROMISES, check, check_record};
pub use record::Record;

pub use crate::read::ReadError;
