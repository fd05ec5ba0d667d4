//! Where a target listens: what it can be asked for.

use std::{net::SocketAddr, sync::Arc};

use serde::Serialize;

use crate::edge::as_text;

/// Somewhere that a target listens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Listening {
    /// Who listens.
    #[serde(serialize_with = "as_text")]
    pub container: Arc<str>,
    /// At which address; one of IPv4 as such, and an unspecified one for all of them.
    pub address: SocketAddr,
}
