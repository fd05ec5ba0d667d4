//! The models that are built in, one file each.

pub mod bank;
pub mod cas_register;
pub mod container;
pub mod counter;
pub mod key_value;
pub mod log;
pub mod multi_register;
pub mod mutex;
pub mod register;
pub mod set;
pub mod unique_ids;
mod words;

pub use bank::Bank;
pub use cas_register::CasRegister;
pub use container::{Bag, Container, Discipline, Order, PriorityQueue, Queue, Stack};
pub use counter::Counter;
pub use key_value::KeyValue;
pub use log::Log;
pub use multi_register::MultiRegister;
pub use mutex::Mutex;
pub use register::Register;
pub use set::Set;
pub use unique_ids::UniqueIds;
