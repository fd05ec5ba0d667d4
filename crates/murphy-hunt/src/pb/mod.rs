//! etcd's gRPC interface: messages and clients, generated from its published files.
//!
//! Written by `cargo run -p xtask -- proto` from `proto/`, whose README says where they come from; never edited by hand.
#![allow(
    missing_docs,
    unused_qualifications,
    clippy::all,
    clippy::pedantic,
    rustdoc::all,
    reason = "generated code: its style is the generator's, its comments are etcd's"
)]

pub mod authpb;
pub mod etcdserverpb;
pub mod mvccpb;
