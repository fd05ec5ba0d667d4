//! Who is asked is a server behind a pool of connections, which keeps count of them.

pub mod http;
pub mod postgres;
pub mod redis;

use std::{error::Error, future::Future, time::Duration};

use serde::Serialize;

/// How long the server takes for an answer, so that there is a request under way on a connection that is in use.
pub const TAKES: Duration = Duration::from_millis(20);

/// The connections of a pool, as it sees them: what is gone counts until the pool has noticed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Connections {
    /// How many it has.
    pub open: u64,
    /// How many it has ever made.
    pub opened: u64,
}

/// A server behind a pool.
pub trait Asked: Send + Sync + 'static {
    /// How many requests may be under way on one connection.
    const AT_A_TIME: usize = 1;

    /// One request, by the nth of those who ask; why it failed.
    fn ask(&self, who: usize) -> impl Future<Output = Result<(), String>> + Send;

    /// The connections there are.
    fn connections(&self) -> Connections;
}

/// What is at the bottom of an error.
fn cause(error: &(dyn Error + 'static)) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}
