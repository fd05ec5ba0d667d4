//! Model `etcd`: a key-value store whose every answer carries the revision that orders it.

pub mod vocabulary;
