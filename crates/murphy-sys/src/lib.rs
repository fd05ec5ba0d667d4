//! Every kernel interface Murphy uses, and every unsafe block.
pub mod cgroup;
pub mod clock;
pub mod durable;
pub mod link;
pub mod namespace;
pub mod pidfd;
pub mod privilege;
pub mod process;
pub mod session;
pub mod signal;
pub mod spawn;
pub mod table;
pub mod thread;
pub mod trial;
