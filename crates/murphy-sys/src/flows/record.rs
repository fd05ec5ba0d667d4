//! A record is what the programs for single connections are told of one, and what they tell: the same as in
//! `bpf/flows.h`.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
};

use crate::connections::SocketId;

/// How many connections can be broken at once.
pub const FLOWS_MAX: usize = 65_536;
/// How long a key and a value are.
pub(super) const KEY_BYTES: usize = 36;
const RECORD_BYTES: usize = 88;
/// Modes, by their numbers.
const STALL: u32 = 0;
const RESET_REMOTE: u32 = 1;
const AFTER_BYTES: u32 = 2;
/// Where things stand in a record.
const LIMIT_AT: usize = 0;
const PASSED_AT: usize = 8;
const RESETS_AT: usize = 16;
const DROPPED_AT: usize = 24;
const MODE_AT: usize = 56;
const GONE_AT: usize = 60;
const CUT_AT: usize = 64;

/// A connection, by its two ends as they are on the wire.
///
/// Those of IPv6 that are valid on one link only are told apart by their ports, not by their links.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flow {
    local: SocketAddr,
    remote: SocketAddr,
}

impl Flow {
    /// The connection of a socket with these addresses, the target's own first. An address of IPv4 in IPv6's clothes is
    /// one of IPv4.
    pub fn new(local: SocketAddr, remote: SocketAddr) -> Self {
        let on_the_wire = |end: SocketAddr| SocketAddr::new(end.ip().to_canonical(), end.port());
        Self {
            local: on_the_wire(local),
            remote: on_the_wire(remote),
        }
    }

    /// The target's end.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// The other end.
    pub fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// As the programs read it.
    pub(super) fn encode(&self) -> [u8; KEY_BYTES] {
        let mut bytes = [0; KEY_BYTES];
        bytes[..16].copy_from_slice(&mapped(self.local.ip()));
        bytes[16..32].copy_from_slice(&mapped(self.remote.ip()));
        bytes[32..34].copy_from_slice(&self.local.port().to_ne_bytes());
        bytes[34..].copy_from_slice(&self.remote.port().to_ne_bytes());
        bytes
    }

    /// As the programs tell it.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let end = |at: usize, port_at: usize| {
            let address: [u8; 16] = bytes.get(at..at + 16)?.try_into().ok()?;
            let port: [u8; 2] = bytes.get(port_at..port_at + 2)?.try_into().ok()?;
            let address = IpAddr::from(Ipv6Addr::from(address));
            Some(SocketAddr::new(address, u16::from_ne_bytes(port)))
        };
        Some(Self::new(end(0, 32)?, end(16, 34)?))
    }
}

impl From<&SocketId> for Flow {
    fn from(id: &SocketId) -> Self {
        Self::new(id.local, id.remote)
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.local, self.remote)
    }
}

fn mapped(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Nothing passes, and nobody is told: both ends stay established.
    Stall,
    /// The same, for a socket that is ended on the target's side, by [`Connections::end`] after this: the reset that
    /// goes out then is lost, so that the other end stays established.
    ///
    /// [`Connections::end`]: crate::connections::Connections::end
    ResetLocal,
    /// Nothing passes, and the other end is told by a reset that its connection is over, once it sends anything; see
    /// [`Flows::provoke`](super::Flows::provoke). The target's own end stays established.
    ResetRemote,
    /// So many more bytes of payload pass, both ways together, and no more: then it is cut, which
    /// [`Flows::cut`](super::Flows::cut) tells. What is sent again counts once. A packet that would be too much is lost
    /// as a whole, and with it the connection is cut: so fewer bytes may have passed, by less than a packet carries, which
    /// is 64 KiB and more inside one machine. Once it is cut only acknowledgements and resets pass.
    AfterBytes(u64),
}

impl Mode {
    /// A record of a connection to which nothing has happened yet.
    pub(super) fn encode(self) -> [u8; RECORD_BYTES] {
        let (mode, limit) = match self {
            Self::Stall | Self::ResetLocal => (STALL, 0),
            Self::ResetRemote => (RESET_REMOTE, 0),
            Self::AfterBytes(limit) => (AFTER_BYTES, limit),
        };
        let mut bytes = [0; RECORD_BYTES];
        bytes[LIMIT_AT..LIMIT_AT + 8].copy_from_slice(&limit.to_ne_bytes());
        bytes[MODE_AT..MODE_AT + 4].copy_from_slice(&mode.to_ne_bytes());
        bytes
    }
}

/// What was lost of a connection, one way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// As the kernel handles them: one may be 64 KiB of the stream, or more.
    pub packets: u64,
    /// With the headers of the device.
    pub bytes: u64,
}

/// What happened to a connection so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowState {
    /// What the target sent in vain.
    pub dropped_to: Dropped,
    /// What it was sent in vain.
    pub dropped_from: Dropped,
    /// How often the other end was sent a reset.
    pub resets: u64,
    /// Whether the other end has said that it has no such connection, by a reset of its own: asked by
    /// [`Flows::provoke_once`](super::Flows::provoke_once) after it was sent one, it proves so that it got it.
    pub is_gone: bool,
    /// How many bytes of payload passed, where they are counted.
    pub passed_bytes: u64,
    /// Whether they were as many as may, or would have been more.
    pub is_cut: bool,
}

impl FlowState {
    /// Whether the other end was told, or has nobody left to tell.
    pub fn is_told(&self) -> bool {
        self.resets > 0 || self.is_gone
    }

    /// As the programs write it.
    pub(super) fn decode(bytes: &[u8]) -> Self {
        let word64 = |at: usize| {
            let word = bytes.get(at..at + 8).and_then(|word| word.try_into().ok());
            word.map_or(0, u64::from_ne_bytes)
        };
        let is_set = |at: usize| bytes.get(at..at + 4).is_some_and(|word| word != [0; 4]);
        let dropped = |at: usize| Dropped {
            packets: word64(at),
            bytes: word64(at + 8),
        };
        Self {
            dropped_to: dropped(DROPPED_AT),
            dropped_from: dropped(DROPPED_AT + 16),
            resets: word64(RESETS_AT),
            is_gone: is_set(GONE_AT),
            passed_bytes: word64(PASSED_AT),
            is_cut: is_set(CUT_AT),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(end: &str) -> SocketAddr {
        end.parse().unwrap()
    }

    #[test]
    fn a_connection_comes_back_as_it_was_told_and_one_in_ipv6s_clothes_is_of_ipv4() {
        for (local, remote) in [
            ("10.0.0.1:80", "10.0.0.2:40000"),
            ("[fd00::1]:443", "[fd00::2]:1"),
        ] {
            let flow = Flow::new(end(local), end(remote));
            assert_eq!(Flow::decode(&flow.encode()), Some(flow));
        }
        let mapped = Flow::new(end("[::ffff:10.0.0.1]:80"), end("[::ffff:10.0.0.2]:9"));
        assert_eq!(mapped, Flow::new(end("10.0.0.1:80"), end("10.0.0.2:9")));
        assert_eq!(mapped.to_string(), "10.0.0.1:80 to 10.0.0.2:9");
        assert_eq!(mapped.encode()[10..16], [0xff, 0xff, 10, 0, 0, 1]);
        assert_eq!(Flow::decode(&[0; KEY_BYTES - 1]), None);
    }

    #[test]
    fn a_record_that_was_just_made_says_that_nothing_happened() {
        for mode in [Mode::Stall, Mode::ResetRemote, Mode::AfterBytes(7)] {
            let state = FlowState::decode(&mode.encode());
            assert_eq!(state, FlowState::default());
            assert!(!state.is_told());
        }
        assert_eq!(Mode::Stall.encode(), Mode::ResetLocal.encode());
        assert_eq!(Mode::AfterBytes(7).encode()[..8], 7_u64.to_ne_bytes());
    }
}
