//! An edge is who talks with whom: a target, a peer, and the port of the service that one of them is to the other.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use murphy_fault::conn::Side;
use murphy_sys::connections::SocketId;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Who talks with whom. All connections between the two for the same service are of one edge.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Edge {
    /// Who is observed: a container, or what else a target is called.
    #[serde(serialize_with = "as_text", deserialize_with = "of_text")]
    pub container: Arc<str>,
    /// Who asks for the connections.
    pub side: Side,
    /// The address of the other end, an IPv4 one as such however its socket has it.
    pub peer: IpAddr,
    /// The port of whoever is asked: the peer's where the target asks, the target's own where it is asked.
    pub port: u16,
}

/// Serialises a name.
pub(crate) fn as_text<S: Serializer>(text: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}

fn of_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<str>, D::Error> {
    String::deserialize(deserializer).map(Into::into)
}

impl Edge {
    /// The whole of somebody: what is so for all of his edges, or for none that is known. Its peer is `::`, its port 0.
    pub fn whole(container: &Arc<str>) -> Self {
        Self {
            container: Arc::clone(container),
            side: Side::Opened,
            peer: Ipv6Addr::UNSPECIFIED.into(),
            port: 0,
        }
    }

    /// Whether it is the [whole](Self::whole) of somebody.
    pub fn is_whole(&self) -> bool {
        self.peer == Ipv6Addr::UNSPECIFIED && self.port == 0
    }

    /// The edge of a socket of somebody.
    pub fn of(container: &Arc<str>, side: Side, id: &SocketId) -> Self {
        let (local, remote) = id.ends();
        Self {
            container: Arc::clone(container),
            side,
            peer: remote.ip(),
            port: match side {
                Side::Accepted => local.port(),
                Side::Opened => remote.port(),
            },
        }
    }
}

impl fmt::Display for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_whole() {
            return f.write_str(&self.container);
        }
        let peer = match self.peer {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        };
        match self.side {
            Side::Opened => write!(f, "{} → {peer}:{}", self.container, self.port),
            Side::Accepted => write!(f, "{peer} → {}:{}", self.container, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(local: &str, remote: &str) -> SocketId {
        SocketId {
            local: local.parse().unwrap(),
            remote: remote.parse().unwrap(),
            device: 0,
            cookie: 1,
        }
    }

    #[test]
    fn the_port_is_that_of_whoever_is_asked() {
        let web: Arc<str> = "web".into();
        let id = socket("10.0.0.1:40000", "10.0.0.2:5432");
        let opened = Edge::of(&web, Side::Opened, &id);
        assert_eq!(opened.to_string(), "web → 10.0.0.2:5432");
        let accepted = Edge::of(&web, Side::Accepted, &id);
        assert_eq!(accepted.to_string(), "10.0.0.2 → web:40000");
    }

    #[test]
    fn the_whole_of_somebody_is_called_as_he_is_and_no_edge_of_his() {
        let web: Arc<str> = "web".into();
        let whole = Edge::whole(&web);
        assert_eq!(whole.to_string(), "web");
        let text = serde_json::to_string(&whole).unwrap();
        assert_eq!(
            text,
            r#"{"container":"web","side":"opened","peer":"::","port":0}"#
        );
        let id = socket("10.0.0.1:40000", "0.0.0.0:0");
        assert!(!Edge::of(&web, Side::Opened, &id).is_whole(), "all others");
    }

    #[test]
    fn an_ipv4_peer_of_an_ipv6_socket_is_an_ipv4_peer() {
        let web: Arc<str> = "web".into();
        let id = socket("[::ffff:10.0.0.1]:80", "[::ffff:10.0.0.2]:40000");
        let edge = Edge::of(&web, Side::Accepted, &id);
        assert_eq!(edge.to_string(), "10.0.0.2 → web:80");
        let id = socket("[fd00::1]:80", "[fd00::2]:40000");
        let edge = Edge::of(&web, Side::Accepted, &id);
        assert_eq!(edge.to_string(), "[fd00::2] → web:80");
    }
}
