//! What the programs for new connections are told, and what they tell: the same as in `bpf/refusal.h`.

use crate::traffic::{self, Match, Writer};

/// Which connections are meant, but for the peers; see [`super::Refusal::set_peers`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Only connections with peers.
    pub by_peer: bool,
    /// Only connections with one of these ports on either side; the first and the last of each range, of which there may
    /// be [so many](crate::traffic::PORTS_MAX).
    pub either_ports: Vec<(u16, u16)>,
    /// The same on the target's side. A socket that connects has a port there only if it was bound to one.
    pub local_ports: Vec<(u16, u16)>,
    /// The same on the other side.
    pub remote_ports: Vec<(u16, u16)>,
}

/// Everything that the programs are told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Order {
    /// Six hex digits as a number: by it [`crate::traffic::detach`] finds the programs, whoever holds them.
    pub id: u32,
    /// When it ends, in nanoseconds since boot; `None` for never.
    pub until_ns: Option<u64>,
    /// What random words are made from.
    pub seed: u64,
    /// Whether it is in force, and not paused.
    pub active: bool,
    /// The chance of a connection to be refused, in 2³²; [`ALWAYS`](crate::traffic::ALWAYS) always comes.
    pub chance: u64,
    /// Which connections are meant.
    pub scope: Scope,
}

/// Whose connections of those that are opened are meant, as the programs read it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Whose {
    /// The cookie of their network namespace; 0 for any.
    pub namespace: u64,
    /// Only those of certain processes.
    pub by_process: bool,
}

impl Order {
    /// As the programs read it.
    pub(super) fn encode(&self, whose: Whose) -> Vec<u8> {
        let mut bytes = Writer::default();
        bytes.word64(self.until_ns.unwrap_or(u64::MAX));
        bytes.word64(self.seed);
        bytes.word32(u32::from(self.active));
        bytes.word32(traffic::Order::mark(self.id));
        bytes.word64(self.chance);
        bytes.word64(whose.namespace);
        bytes.word32(u32::from(whose.by_process));
        bytes.word32(0);
        let scope = self.scope.clone();
        Match {
            by_peer: scope.by_peer,
            either_ports: scope.either_ports,
            local_ports: scope.local_ports,
            remote_ports: scope.remote_ports,
            ..Match::default()
        }
        .encode(&mut bytes);
        bytes.0
    }
}

/// How many connections, while the order was in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// That were meant, refused or not.
    pub seen: u64,
    /// That were refused.
    pub refused: u64,
    /// That would have been, had a program of somebody else's that was there before not chosen a socket for them, which
    /// the kernel prefers.
    pub steered: u64,
}

impl Counts {
    /// As the programs write it.
    pub(super) fn decode(bytes: &[u8]) -> Self {
        let word = |at: usize| {
            let word = bytes.get(at * 8..at * 8 + 8);
            word.and_then(|word| word.try_into().ok())
                .map_or(0, u64::from_ne_bytes)
        };
        Self {
            seen: word(0),
            refused: word(1),
            steered: word(2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `bpf/refusal.h` asserts.
    const ORDER_BYTES: usize = 272;

    #[test]
    fn an_order_is_as_long_as_the_programs_read_it() {
        let order = Order {
            id: 0xab_cdef,
            chance: traffic::ALWAYS,
            scope: Scope {
                local_ports: vec![(80, 90)],
                ..Scope::default()
            },
            ..Order::default()
        };
        let whose = Whose {
            namespace: 3,
            by_process: true,
        };
        let bytes = order.encode(whose);
        assert_eq!(bytes.len(), ORDER_BYTES);
        assert_eq!(bytes[..8], u64::MAX.to_ne_bytes());
        // Where whoever takes programs off their hooks looks for it.
        assert_eq!(bytes[20..24], 0x4dab_cdef_u32.to_ne_bytes());
        assert_eq!(bytes[24..32], traffic::ALWAYS.to_ne_bytes());
        assert_eq!(bytes[32..40], 3_u64.to_ne_bytes());
        assert_eq!(bytes[40..44], 1_u32.to_ne_bytes());
    }
}
