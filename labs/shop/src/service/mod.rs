//! A service is one process of the shop: front end, catalog or load generator.
//!
//! Each answers `/health`, has a limit on everything that it holds open, and a time-out on everything that it waits
//! for.

pub mod catalog;
pub mod database;
pub mod figures;
pub mod front_end;
pub mod load;
pub mod server;
pub mod upstream;

use std::{io, time::Duration};

/// The header in which an answer of the front end names the catalog that it asked.
pub const CATALOG_HEADER: &str = "x-catalog";
/// The port of every service but the database.
pub const PORT: u16 = 8080;
/// The port of the database.
pub const DATABASE_PORT: u16 = 5432;
/// How long the front end waits for a catalog, from the first byte of a request to the last of the answer.
pub const CATALOG_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a catalog waits for the database.
pub const DATABASE_TIMEOUT: Duration = Duration::from_millis(800);
/// How long the load generator waits for the front end.
pub const LOAD_TIMEOUT: Duration = Duration::from_secs(3);
/// How many products there are, from 1.
pub const PRODUCTS: u32 = 100;

/// Why a service does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// Its port is not to be had.
    #[error("listen on port {port}: {source}")]
    Listen {
        /// The port.
        port: u16,
        /// Why.
        source: io::Error,
    },
    /// No runtime.
    #[error("start: {0}")]
    Start(#[source] io::Error),
    /// The figures have nowhere to go.
    #[error("write figures: {0}")]
    Figures(#[source] io::Error),
}

/// Runs a service on two threads until it fails.
pub fn run(service: impl Future<Output = Result<(), ServiceError>>) -> Result<(), ServiceError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(2)
        .enable_all()
        .build()
        .map_err(ServiceError::Start)?
        .block_on(service)
}
