//! A peer is somebody with whom a target talks and whom it pings, however many services are between them.

use std::{net::IpAddr, sync::Arc};

use serde::Serialize;

use crate::{
    edge::as_text,
    pings::{Outcome, PingCount},
};

/// A peer as it is now.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PeerNow {
    /// Who pings it.
    #[serde(serialize_with = "as_text")]
    pub container: Arc<str>,
    /// Its address.
    pub peer: IpAddr,
    /// What came of the last ping. None where none was sent lately: that is not one that was lost.
    pub last: Option<Outcome>,
    /// How many there were.
    #[serde(flatten)]
    pub count: PingCount,
}
