//! A target is who is hit: the processes that a selector names, each known by boot, pid and start time.
//!
//! A [`Selector`] is one text a user writes (`pid:42`, `name:etcd`, `netns:n1`); [`Target::find`] reads the
//! process table once and answers with the processes it names and their descendants, or with the reason
//! why there is nothing to hit. [`Tree`] follows a target while a fault is active: children born later
//! belong to it. Nothing here changes anything.
//!
//! [`Protected`] holds whom no selector ever reaches: the first process, the kernel's threads, Murphy
//! itself, its keeper and its ancestors.

#![forbid(unsafe_code)]

mod protected;
mod selector;
mod target;
mod tree;

pub use protected::{Protected, Protection};
pub use selector::{Selector, SelectorError};
pub use target::{LeftOut, MAX_TARGETS, Member, Target, TargetError};
pub use tree::Tree;
