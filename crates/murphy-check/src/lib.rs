//! Histories, models and checkers: pure functions from what clients saw to a verdict with a witness.
//!
//! This crate opens nothing, prints nothing and knows nothing of the rest of Murphy. It reads any
//! [`std::io::Read`]; whoever calls it adds the name of the file to its errors.
//!
//! ```
//! use murphy_check::{
//!     etcd::{self, Options},
//!     verdict::Verdict,
//! };
//!
//! let history = br#"{"murphy":"history","version":1,"model":"etcd"}
//! {"index":0,"type":"invoke","process":"c1","f":"put","value":{"key":"k","value":"a"},"time":1}
//! {"index":1,"type":"ok","process":"c1","f":"put","value":{"header":{"revision":2}},"time":5}
//! {"index":2,"type":"invoke","process":"c2","f":"range","value":{"key":"k"},"time":7}
//! {"index":3,"type":"ok","process":"c2","f":"range","value":{"header":{"revision":1}},"time":9}
//! "#;
//! let report = etcd::check(&history[..], &Options::default())?;
//! assert_eq!(report.verdict(&["linearizable".into()]), Verdict::Broken);
//! # Ok::<(), etcd::ReadError>(())
//! ```
//!
//! - [`formats`] reads histories of any format and writes three; [`history`] writes Murphy's own, line by line;
//!   [`read`] says where one cannot be read.
//! - [`etcd`] is the model of a store whose answers carry revisions: [`etcd::check`] judges every promise
//!   of [`etcd::PROMISES`] from a stream of bytes; [`etcd::Record::read`] and [`etcd::check_record`] are
//!   its two halves.
//! - [`live`] judges a history while it is being written, and forgets what is settled.
//! - [`isolation`] judges what transactions saw of each other.
//! - [`verdict`] is what comes out.
//! - [`etcd::generate`] makes valid histories and spoils them, to judge the judge.

#![forbid(unsafe_code)]

mod atoms;
pub mod blob;
pub mod brute;
mod busy;
pub mod etcd;
pub mod formats;
pub mod history;
mod intern;
pub mod isolation;
mod json;
pub mod judge;
mod lines;
pub mod live;
pub mod model;
pub mod models;
pub mod monitors;
pub mod picture;
pub mod read;
pub mod recording;
pub mod search;
pub mod sequential;
pub mod sessions;
pub mod shrink;
mod text;
mod unread;
pub mod value;
pub mod verdict;
