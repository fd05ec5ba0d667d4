//! Generated from `proto/` by `cargo run -p xtask -- proto`; not written by hand.
#![allow(missing_docs, clippy::all, clippy::pedantic, unused_qualifications, reason = "generated code")]

pub mod authpb {
    include!("authpb.rs");
}
pub mod etcdserverpb {
    include!("etcdserverpb.rs");
}
pub mod mvccpb {
    include!("mvccpb.rs");
}
