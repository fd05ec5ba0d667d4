//! A target is who is hit: the processes that a selector names, each known by boot, pid and start time.
//!
//! A [`Selector`] is one text a user writes (`pid:42`, `name:etcd`, `container:web`); [`Target::find`] reads the
//! process table once and answers with the processes it names and their descendants, or with the reason
//! why there is nothing to hit. [`Target::choose`] keeps some of them, as a [`Mode`] says. [`Tree`] follows a
//! target while a fault is active: children born later belong to it, and so does whoever comes into its
//! containers, cgroups and units. Nothing here changes anything.
//!
//! Containers are found from cgroups and named by their [`Runtime`], which is asked over its socket; nothing
//! but `container:` and `pod:` asks.
//!
//! [`Protected`] holds whom no selector ever reaches: the first process, the kernel's threads, Murphy
//! itself, its keeper and its ancestors.

#![forbid(unsafe_code)]

mod container;
mod error;
mod find;
mod mode;
mod part;
mod place;
mod protected;
mod runtime;
mod selector;
mod target;
mod tree;
mod unit;

pub use container::{Container, ContainerError, ContainerQuery, Wanted};
pub use error::TargetError;
pub use mode::{Mode, ModeError, Percentage};
pub use protected::{Protected, Protection};
pub use runtime::{ANSWER_LIMIT, Runtime, RuntimeError, Runtimes};
pub use selector::{Selector, SelectorError};
pub use target::{LeftOut, MAX_TARGETS, Member, Target};
pub use tree::Tree;
pub use unit::UnitName;
