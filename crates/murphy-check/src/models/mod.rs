//! The models that are built in, one file each.

mod bank;
mod cas_register;
mod container;
mod counter;
mod key_value;
mod log;
mod multi_register;
mod mutex;
mod register;
mod set;
mod unique_ids;
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
