//! What the programs for packets are told, and what they tell: the same as in `bpf/traffic.h`.

use std::ops::{Add, Index};

/// How many ports or ranges of ports each list holds.
pub const PORTS_MAX: usize = 16;
/// How many networks of each family may be peers.
pub const PEERS_MAX: usize = 16_384;
/// A chance that always comes.
pub const ALWAYS: u64 = 1 << 32;
/// The upper byte of the mark of packets that come back.
const OUR_MARK: u32 = 0x4d;

/// Which way packets go, seen from the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Way {
    /// What it sends.
    To,
    /// What it is sent.
    From,
}

impl Way {
    /// Both.
    pub const ALL: [Self; 2] = [Self::To, Self::From];
}

/// What becomes of packets that may not pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Passage {
    /// They pass.
    #[default]
    Pass,
    /// They vanish.
    Drop,
    /// They vanish, and their sender is told: TCP by a reset, everything else by an ICMP error.
    Reject,
}

/// Which packets match, but for the peers; see [`super::Traffic::allow`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Match {
    /// Only packets to and from peers.
    pub by_peer: bool,
    /// ARP and neighbour discovery, too.
    pub arp: bool,
    /// Only this protocol, by its numbers in IPv4 and IPv6.
    pub protocol: Option<(u8, u8)>,
    /// Only packets with one of these ports on either side; the first and the last of each range.
    pub either_ports: Vec<(u16, u16)>,
    /// The same on the target's side.
    pub local_ports: Vec<(u16, u16)>,
    /// The same on the other side.
    pub remote_ports: Vec<(u16, u16)>,
}

impl Match {
    /// As the programs read it.
    pub(crate) fn encode(&self, bytes: &mut Writer) {
        let (in4, in6) = self.protocol.unwrap_or_default();
        bytes.word32(u32::from(self.by_peer));
        bytes.word32(u32::from(self.arp));
        bytes.word32(u32::from(in4));
        bytes.word32(u32::from(in6));
        let lists = [&self.either_ports, &self.local_ports, &self.remote_ports];
        for list in lists {
            // A list is at most as long as its place: whoever writes it has checked that.
            bytes.word32(u32::try_from(list.len().min(PORTS_MAX)).unwrap_or(0));
        }
        bytes.word32(0);
        for list in lists {
            for place in 0..PORTS_MAX {
                let (first, last) = list.get(place).copied().unwrap_or((1, 0));
                bytes.word16(first);
                bytes.word16(last);
            }
        }
    }
}

/// A chain of two states, which takes a step at each packet, and then decides. Each number is a chance in 2³².
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// To go into the second state.
    pub enter: u64,
    /// To go back.
    pub leave: u64,
    /// To hit the packet in the second state.
    pub hit_inside: u64,
    /// To hit it in the first.
    pub hit_outside: u64,
}

/// What happens to the packets that match, one way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Treatment {
    /// Whether they pass at all.
    pub passage: Passage,
    /// Every nth is lost; 0 for none.
    pub every: u32,
    /// The device of Murphy's that they are handed to instead of the next program; 0 for none.
    pub cable: u32,
    /// The device that they are on, where they come back to.
    pub device: u32,
    /// The priority by which those that have to wait are known to qdiscs and filters of Murphy's; 0 for none.
    pub queue: u32,
    /// Which are lost.
    pub loss: Chain,
    /// Which come twice.
    pub duplicate: Chain,
}

/// Everything that the programs are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Six hex digits as a number: the packets that come back are known by it.
    pub id: u32,
    /// When it ends, in nanoseconds since boot; `None` for never.
    pub until_ns: Option<u64>,
    /// What random words are made from.
    pub seed: u64,
    /// Whether it is in force, and not paused.
    pub active: bool,
    /// Which packets match.
    pub matched: Match,
    /// What happens to those that the target sends.
    pub to: Treatment,
    /// What happens to those that it is sent.
    pub from: Treatment,
}

impl Order {
    /// One that does nothing, for a trial.
    pub(crate) fn idle() -> Self {
        Self {
            id: 0,
            until_ns: None,
            seed: 0,
            active: false,
            matched: Match::default(),
            to: Treatment::default(),
            from: Treatment::default(),
        }
    }

    /// The mark that a packet of this injection carries while it comes back.
    pub fn mark(id: u32) -> u32 {
        OUR_MARK << 24 | id & 0x00ff_ffff
    }

    pub(super) fn way_mut(&mut self, way: Way) -> &mut Treatment {
        match way {
            Way::To => &mut self.to,
            Way::From => &mut self.from,
        }
    }

    /// As the programs read it.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Writer::default();
        bytes.word64(self.until_ns.unwrap_or(u64::MAX));
        bytes.word64(self.seed);
        bytes.word32(u32::from(self.active));
        bytes.word32(Self::mark(self.id));
        self.matched.encode(&mut bytes);
        for treatment in [&self.to, &self.from] {
            bytes.word32(match treatment.passage {
                Passage::Pass => 0,
                Passage::Drop => 1,
                Passage::Reject => 2,
            });
            bytes.word32(treatment.every);
            bytes.word32(treatment.cable);
            bytes.word32(treatment.device);
            bytes.word32(treatment.queue);
            bytes.word32(0);
            for chain in [&treatment.loss, &treatment.duplicate] {
                for chance in [
                    chain.enter,
                    chain.leave,
                    chain.hit_inside,
                    chain.hit_outside,
                ] {
                    bytes.word64(chance);
                }
            }
        }
        bytes.0
    }
}

/// Bytes as the programs read them.
#[derive(Default)]
pub(crate) struct Writer(pub(crate) Vec<u8>);

impl Writer {
    pub(crate) fn word64(&mut self, word: u64) {
        self.0.extend(word.to_ne_bytes());
    }

    pub(crate) fn word32(&mut self, word: u32) {
        self.0.extend(word.to_ne_bytes());
    }

    fn word16(&mut self, word: u16) {
        self.0.extend(word.to_ne_bytes());
    }
}

/// How many packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// As the kernel handles them: one may be up to 64 KiB of a TCP stream.
    pub packets: u64,
    /// As a wire would carry them.
    pub segments: u64,
    /// With the headers of the device.
    pub bytes: u64,
}

impl Add for Tally {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            packets: self.packets + other.packets,
            segments: self.segments + other.segments,
            bytes: self.bytes + other.bytes,
        }
    }
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The program saw it while it was in force.
    Seen,
    /// It was meant.
    Matched,
    /// It was lost.
    Lost,
    /// Its sender was told that it was.
    Refused,
    /// Another one like it was sent.
    Duplicated,
    /// It was handed to the device that brings it back, or to the qdisc that has it wait.
    Cabled,
    /// It, or another one like it, came back.
    Returned,
    /// It passed because nobody served that device.
    Slipped,
}

/// What became of the packets of one way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fates([Tally; 8]);

impl Fates {
    /// Counts packets with that fate, where they are counted outside of the kernel.
    pub fn count(&mut self, fate: Fate, packets: Tally) {
        let tally = &mut self.0[fate as usize];
        *tally = *tally + packets;
    }

    /// As the programs write it, once for each processor.
    pub(super) fn decode(bytes: &[u8]) -> Self {
        let word = |at: usize| {
            let word = bytes.get(at * 8..at * 8 + 8);
            word.and_then(|word| word.try_into().ok())
                .map_or(0, u64::from_ne_bytes)
        };
        let mut fates = Self::default();
        for (place, tally) in fates.0.iter_mut().enumerate() {
            *tally = Tally {
                packets: word(place * 3),
                segments: word(place * 3 + 1),
                bytes: word(place * 3 + 2),
            };
        }
        fates
    }
}

impl Index<Fate> for Fates {
    type Output = Tally;

    fn index(&self, fate: Fate) -> &Tally {
        &self.0[fate as usize]
    }
}

impl Add for Fates {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let mut sum = self;
        for (ours, theirs) in sum.0.iter_mut().zip(other.0) {
            *ours = *ours + theirs;
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `bpf/traffic.h` asserts.
    const ORDER_BYTES: usize = 424;
    const FATES_BYTES: usize = 192;

    #[test]
    fn an_order_is_as_long_as_the_programs_read_it() {
        let order = Order {
            id: 0xab_cdef,
            until_ns: None,
            seed: 7,
            active: true,
            matched: Match {
                either_ports: vec![(80, 90); PORTS_MAX + 5],
                ..Match::default()
            },
            to: Treatment::default(),
            from: Treatment::default(),
        };
        let bytes = order.encode();
        assert_eq!(bytes.len(), ORDER_BYTES);
        assert_eq!(bytes[..8], u64::MAX.to_ne_bytes());
        assert_eq!(bytes[20..24], 0x4dab_cdef_u32.to_ne_bytes());
    }

    #[test]
    fn what_became_of_packets_adds_up_over_processors() {
        let mut bytes = vec![0; FATES_BYTES];
        bytes[24 * Fate::Lost as usize] = 5;
        let fates = Fates::decode(&bytes) + Fates::decode(&bytes);
        assert_eq!(fates[Fate::Lost].packets, 10);
        assert_eq!(fates[Fate::Seen], Tally::default());
        assert_eq!(FATES_BYTES, (Fate::Slipped as usize + 1) * 24);
    }
}
