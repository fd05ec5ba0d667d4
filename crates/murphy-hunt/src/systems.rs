//! The systems Murphy knows how to hunt, one file each.

pub mod etcd;
