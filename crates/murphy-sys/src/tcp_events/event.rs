//! What the kernel tells of a connection, as it is read from the ring: the same as in `bpf/tcp_events.h`.

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::OnceLock,
};

use libbpf_rs::btf::{Btf, types};

use crate::connections::State;

/// How long a record is that has no figures.
pub(super) const BYTES: usize = 64;
/// The families, as the kernel numbers them.
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// A request for a connection that has no socket of its own yet; `sock_diag` calls it `SYN_RECV`, too.
const NEW_SYN_RECV: u8 = 12;
/// What is said of a retransmit, in the place of the state that a connection comes to.
const IS_PROBE: u8 = 1;
const IS_UNSENT: u8 = 2;
/// Flags of the packet that a reset answers, in the place of the state that a connection was in.
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
/// What stands in the place of a reason where the kernel gives none.
const NO_REASON: u32 = u32::MAX;

/// Something that became of a TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpEvent {
    /// When, in nanoseconds since boot.
    pub at_ns: u64,
    /// The socket's own number, as `sock_diag` gives it; 0 where there is no socket.
    pub cookie: u64,
    /// The number of the network namespace that the socket is in, as [`NetNamespace::inode`] gives it.
    ///
    /// [`NetNamespace::inode`]: crate::namespace::NetNamespace::inode
    pub namespace: u64,
    /// This end, in the clothes that the socket has. Unspecified where nobody knows it; the port of a connection that
    /// is only asked for is 0 where the kernel is to choose it.
    pub local: SocketAddr,
    /// The other end, the same way.
    pub remote: SocketAddr,
    /// What became of it.
    pub kind: Kind,
    /// With a change of state and a retransmit of a whole socket, where they are asked for.
    pub figures: Option<Figures>,
}

impl TcpEvent {
    /// How many segments its connection had sent again before this, by its own count, which turns over. Where that is more
    /// than was told of, the kernel has not told of all: before Linux 6.16 it says nothing of those that could not be sent,
    /// and some kernels run no program on top of certain processes.
    pub fn retransmitted_before(&self) -> Option<u32> {
        let all = self.figures?.retransmitted;
        match self.kind {
            Kind::Retransmitted { segments, .. } => Some(all.wrapping_sub(segments)),
            _ => Some(all),
        }
    }
}

/// What a connection has carried since it was made, and whose it is. Segments are counted as they leave and arrive, also
/// those of one packet that the device is to take apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// The number of the cgroup that its socket belongs to.
    pub cgroup: u64,
    /// The process that asks for the connection, when that is what happens.
    pub pid: Option<u32>,
    /// How much of what it has sent the other end has acknowledged, in bytes; the beginning and the end count as one each.
    pub bytes_acked: u64,
    /// How much it was sent, in bytes; the end counts as one.
    pub bytes_received: u64,
    /// Bytes that were sent, again ones included.
    pub bytes_out: u64,
    /// Bytes that were sent again.
    pub bytes_resent: u64,
    /// How many segments with data it has sent, those that were sent again included.
    pub data_segments_out: u32,
    /// How many segments with data it was sent.
    pub data_segments_in: u32,
    /// How many segments it has sent again.
    pub retransmitted: u32,
    /// How many segments the other end has acknowledged, those that it got twice included.
    pub delivered: u32,
    /// How many of those the other end has said that it got twice (RFC 2883).
    pub duplicated: u32,
    /// How many packets have come before one that was sent earlier.
    pub out_of_order: u32,
    /// The smoothed round-trip time (RFC 6298), in microseconds; 0 where none was measured.
    pub rtt_us: u32,
    /// How many segments wait for an acknowledgement.
    pub unacknowledged: u32,
    /// What the owner is told of its end (errno), when it has ended otherwise than by its owner.
    pub error: Option<u32>,
}

/// What became of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Its state changed. The first change of an accepted connection is the one from [`SynRecv`](State::SynRecv).
    State {
        /// Which it was in.
        from: State,
        /// Which it is in.
        to: State,
    },
    /// A reset was sent to the other end.
    ResetSent {
        /// Why; the kernel says so since Linux 6.10.
        reason: Option<ResetReason>,
        /// Whether it answers somebody who has asked for a connection: nobody listens, or is let in.
        is_refusal: bool,
    },
    /// The other end has sent a reset, and it was believed.
    ResetReceived,
    /// Segments were sent again. As many are in `RetransSegs` of the namespace.
    Retransmitted {
        /// How many.
        segments: u32,
        /// The state of the connection: [`SynSent`](State::SynSent) is asked for again, and
        /// [`SynRecv`](State::SynRecv) is the answer to that.
        state: State,
        /// Whether it is a tail loss probe (RFC 8985), which looks whether the last segment was lost.
        is_probe: bool,
        /// Whether it was sent at all; the kernel says so since Linux 6.16, and said nothing of the others before.
        is_sent: bool,
    },
}

/// Why the kernel has sent a reset, by its number in this kernel: other kernels number reasons otherwise.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ResetReason(u32);

impl ResetReason {
    /// What the kernel calls it, without the prefix that all have: `NO_SOCKET`, `TCP_STATE`, or another of
    /// `include/net/rstreason.h`.
    pub fn name(self) -> Option<&'static str> {
        static NAMES: OnceLock<BTreeMap<u32, String>> = OnceLock::new();
        NAMES.get_or_init(names).get(&self.0).map(String::as_str)
    }
}

impl fmt::Display for ResetReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "reason {}", self.0),
        }
    }
}

impl fmt::Debug for ResetReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The names that this kernel has for reasons; none where it has no reasons.
fn names() -> BTreeMap<u32, String> {
    let mut names = BTreeMap::new();
    let Ok(kernel) = Btf::from_vmlinux() else {
        return names;
    };
    let Some(reasons) = kernel.type_by_name::<types::Enum<'_>>("sk_rst_reason") else {
        return names;
    };
    for member in reasons.iter() {
        let name = member.name.map(|name| name.to_string_lossy());
        if let (Some(name), Ok(number)) = (name, u32::try_from(member.value)) {
            let name = name.strip_prefix("SK_RST_REASON_").unwrap_or(&name);
            names.insert(number, name.to_owned());
        }
    }
    names
}

/// The event that a record of the ring says; none where it is of a state that is none of a connection's.
pub(super) fn read(record: &[u8]) -> Option<TcpEvent> {
    let (at_ns, rest) = record.split_first_chunk()?;
    let (cookie, rest) = rest.split_first_chunk()?;
    let (namespace, rest) = rest.split_first_chunk()?;
    let (reason, rest) = rest.split_first_chunk()?;
    let (local_port, rest) = rest.split_first_chunk()?;
    let (remote_port, rest) = rest.split_first_chunk()?;
    let ([family, kind, from, to], rest) = rest.split_first_chunk()?;
    let (local, rest) = rest.split_first_chunk()?;
    let (remote, rest) = rest.split_first_chunk()?;
    let reason = u32::from_ne_bytes(*reason);
    let kind = match kind {
        0 => Kind::State {
            from: state(*from)?,
            to: state(*to)?,
        },
        1 => Kind::ResetSent {
            reason: (reason != NO_REASON).then_some(ResetReason(reason)),
            is_refusal: from & (SYN | ACK) == SYN,
        },
        2 => Kind::ResetReceived,
        3 | 4 => Kind::Retransmitted {
            segments: reason,
            state: state(*from)?,
            is_probe: to & IS_PROBE != 0,
            is_sent: to & IS_UNSENT == 0,
        },
        _ => return None,
    };
    Some(TcpEvent {
        at_ns: u64::from_ne_bytes(*at_ns),
        cookie: u64::from_ne_bytes(*cookie),
        namespace: u32::from_ne_bytes(*namespace).into(),
        local: SocketAddr::new(address(*family, *local), u16::from_ne_bytes(*local_port)),
        remote: SocketAddr::new(address(*family, *remote), u16::from_ne_bytes(*remote_port)),
        kind,
        figures: figures(rest),
    })
}

/// What follows an event, if anything does.
fn figures(rest: &[u8]) -> Option<Figures> {
    let (longs, rest) = rest.split_first_chunk::<40>()?;
    let words = rest.first_chunk::<40>()?;
    let mut longs = longs
        .as_chunks()
        .0
        .iter()
        .map(|long| u64::from_ne_bytes(*long));
    let mut words = words
        .as_chunks()
        .0
        .iter()
        .map(|word| u32::from_ne_bytes(*word));
    Some(Figures {
        cgroup: longs.next()?,
        bytes_acked: longs.next()?,
        bytes_received: longs.next()?,
        bytes_out: longs.next()?,
        bytes_resent: longs.next()?,
        pid: words.next().filter(|pid| *pid != 0),
        data_segments_out: words.next()?,
        data_segments_in: words.next()?,
        retransmitted: words.next()?,
        delivered: words.next()?,
        duplicated: words.next()?,
        out_of_order: words.next()?,
        rtt_us: words.next()?,
        unacknowledged: words.next()?,
        error: words.next().filter(|error| *error != 0),
    })
}

fn state(number: u8) -> Option<State> {
    match number {
        NEW_SYN_RECV => Some(State::SynRecv),
        _ => State::of(number),
    }
}

fn address(family: u8, bytes: [u8; 16]) -> IpAddr {
    match (family, bytes) {
        (AF_INET, [a, b, c, d, ..]) => Ipv4Addr::new(a, b, c, d).into(),
        (AF_INET6, _) => Ipv6Addr::from(bytes).into(),
        _ => Ipv4Addr::UNSPECIFIED.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(family: u8, kind: u8, from: u8, to: u8, reason: u32) -> Vec<u8> {
        let mut record = Vec::new();
        record.extend(5_u64.to_ne_bytes());
        record.extend(6_u64.to_ne_bytes());
        record.extend(0xf000_0000_u32.to_ne_bytes());
        record.extend(reason.to_ne_bytes());
        record.extend(80_u16.to_ne_bytes());
        record.extend(40_000_u16.to_ne_bytes());
        record.extend([family, kind, from, to]);
        record.extend([127, 0, 0, 1].into_iter().chain([0; 12]));
        record.extend([10, 0, 0, 2].into_iter().chain([0; 12]));
        record
    }

    #[test]
    fn a_record_says_when_where_and_what() {
        let event = read(&record(AF_INET, 0, 1, 7, NO_REASON)).unwrap();
        assert_eq!((event.at_ns, event.cookie), (5, 6));
        assert_eq!(event.namespace, 0xf000_0000);
        assert_eq!(event.local, "127.0.0.1:80".parse().unwrap());
        assert_eq!(event.remote, "10.0.0.2:40000".parse().unwrap());
        let (from, to) = (State::Established, State::Close);
        assert_eq!(event.kind, Kind::State { from, to });
        let event = read(&record(AF_INET6, 2, 0, 0, NO_REASON)).unwrap();
        assert_eq!(event.local, "[7f00:1::]:80".parse().unwrap());
        assert_eq!(event.kind, Kind::ResetReceived);
    }

    #[test]
    fn a_request_that_is_no_socket_yet_is_one_in_syn_recv() {
        let event = read(&record(AF_INET, 0, NEW_SYN_RECV, 1, NO_REASON)).unwrap();
        let (from, to) = (State::SynRecv, State::Established);
        assert_eq!(event.kind, Kind::State { from, to });
    }

    #[test]
    fn what_is_not_known_is_unspecified_and_what_makes_no_sense_is_nothing() {
        let sent = |is_refusal| Kind::ResetSent {
            reason: None,
            is_refusal,
        };
        let event = read(&record(0, 1, 0, 0, NO_REASON)).unwrap();
        assert_eq!(event.kind, sent(false));
        for (flags, is_refusal) in [(SYN, true), (SYN | ACK, false), (ACK, false)] {
            let event = read(&record(0, 1, flags, 0, NO_REASON)).unwrap();
            assert_eq!(event.kind, sent(is_refusal));
        }
        assert!(event.local.ip().is_unspecified() && event.remote.ip().is_unspecified());
        assert_eq!(read(&record(AF_INET, 0, 1, 99, NO_REASON)), None);
        assert_eq!(read(&record(AF_INET, 5, 1, 1, NO_REASON)), None);
        let whole = record(AF_INET, 2, 0, 0, NO_REASON);
        assert_eq!(whole.len(), BYTES);
        assert_eq!(read(&whole[..BYTES - 1]), None);
    }

    #[test]
    fn a_retransmit_says_of_how_many_segments_and_whether_they_were_sent() {
        let retransmitted = |segments, state, is_probe, is_sent| Kind::Retransmitted {
            segments,
            state,
            is_probe,
            is_sent,
        };
        for (kind, from, to, said) in [
            (3, 1, 0, retransmitted(7, State::Established, false, true)),
            (
                3,
                1,
                IS_PROBE,
                retransmitted(7, State::Established, true, true),
            ),
            (
                3,
                2,
                IS_UNSENT,
                retransmitted(7, State::SynSent, false, false),
            ),
            (
                4,
                NEW_SYN_RECV,
                0,
                retransmitted(7, State::SynRecv, false, true),
            ),
        ] {
            let event = read(&record(AF_INET, kind, from, to, 7)).unwrap();
            assert_eq!(event.kind, said);
        }
    }

    #[test]
    fn figures_follow_in_their_order() {
        let mut record = record(AF_INET, 0, 1, 7, NO_REASON);
        assert_eq!(read(&record).unwrap().figures, None);
        record.extend([1_u64, 2, 3, 20, 21].map(u64::to_ne_bytes).concat());
        record.extend((4_u32..14).flat_map(u32::to_ne_bytes));
        let figures = Figures {
            cgroup: 1,
            bytes_acked: 2,
            bytes_received: 3,
            bytes_out: 20,
            bytes_resent: 21,
            pid: Some(4),
            data_segments_out: 5,
            data_segments_in: 6,
            retransmitted: 7,
            delivered: 8,
            duplicated: 9,
            out_of_order: 10,
            rtt_us: 11,
            unacknowledged: 12,
            error: Some(13),
        };
        assert_eq!(read(&record).unwrap().figures, Some(figures));
        assert_eq!(read(&record[..record.len() - 1]).unwrap().figures, None);
    }

    #[test]
    fn a_retransmit_says_how_many_there_were_before() {
        let retransmitted = |kind, all: u32| {
            let mut record = record(AF_INET, kind, 1, 7, 3);
            record.extend([0; 40]);
            record.extend(
                [0, 0, 0, all, 0, 0, 0, 0, 0, 0]
                    .map(u32::to_ne_bytes)
                    .concat(),
            );
            read(&record).unwrap().retransmitted_before()
        };
        assert_eq!(retransmitted(3, 10), Some(7));
        assert_eq!(retransmitted(3, 1), Some(u32::MAX - 1));
        assert_eq!(retransmitted(0, 10), Some(10));
        let bare = record(AF_INET, 4, 1, 7, 3);
        assert_eq!(read(&bare).unwrap().retransmitted_before(), None);
    }

    #[test]
    fn a_reason_that_the_kernel_has_no_name_for_is_a_number() {
        assert_eq!(ResetReason(1 << 30).to_string(), "reason 1073741824");
    }
}
