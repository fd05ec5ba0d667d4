//! Conntrack, which tracks connections for netfilter, knows where a connection really goes once addresses are translated
//! (NAT) under way: it is asked for one at a time, by ctnetlink.
//!
//! It is only asked. A rule that translates, or that asks for the state of connections, is what has it track anything in a
//! namespace; neither a socket of netlink(7) nor a question does. But a question has the kernel load the module that answers
//! (`nf_conntrack_netlink`, by `nfnetlink_rcv_msg`), and the socket the one that it belongs to: so where that is not loaded
//! no socket is opened and nothing is asked. Nor is anything where
//! nothing is tracked. Entries of other zones than the usual one are not found.
//!
//! Needs `CAP_NET_ADMIN` over the namespace, and `CONFIG_NF_CT_NETLINK`. See
//! `include/uapi/linux/netfilter/nfnetlink_conntrack.h` of the kernel.

use std::{
    fs::{self, File},
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::unix::fs::FileExt,
    path::Path,
};

use nix::libc;
use rtnetlink::{packet_core::DefaultNla, sys::Socket};

use crate::{
    namespace::{NamespaceError, NetNamespace},
    netlink::attribute,
    nfnetlink::{self, CONNTRACK, Message, ask, attributes, nest, word16, word16_of},
};

/// `IPCTNL_MSG_CT_GET`.
const GET: u8 = 1;
/// `CTA_TUPLE_ORIG`: as whoever asks for the connection has it. `CTA_TUPLE_REPLY`: as whoever answers has it.
const ASKED: u16 = 1;
const ANSWERED: u16 = 2;
/// `CTA_TUPLE_IP`, `CTA_TUPLE_PROTO`.
const ADDRESSES: u16 = 1;
const PROTOCOL: u16 = 2;
/// `CTA_IP_V4_SRC`, `_DST`, `CTA_IP_V6_SRC`, `_DST`.
const FROM_V4: u16 = 1;
const TO_V4: u16 = 2;
const FROM_V6: u16 = 3;
const TO_V6: u16 = 4;
/// `CTA_PROTO_NUM`, `CTA_PROTO_SRC_PORT`, `_DST_PORT`.
const PROTOCOL_NUMBER: u16 = 1;
const FROM_PORT: u16 = 2;
const TO_PORT: u16 = 3;
/// `IPPROTO_TCP`, `AF_INET`, `AF_INET6`.
const TCP: u8 = 6;
const IPV4: u8 = 2;
const IPV6: u8 = 10;

/// How many connections are tracked in the network namespace of whoever opens it.
const COUNT: &str = "/proc/sys/net/netfilter/nf_conntrack_count";
/// It is there where the kernel can track connections at all.
const THERE: &str = "/sys/module/nf_conntrack";
/// What is loaded, where the kernel loads anything.
const MODULES: &str = "/proc/modules";

/// Why it cannot be known where a connection really goes.
#[derive(Debug, thiserror::Error)]
pub enum ConntrackError {
    /// The namespace cannot be entered.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// No socket to ask by, or it is broken.
    #[error("ask conntrack for a connection: {0}; it needs CONFIG_NETFILTER_NETLINK")]
    Socket(#[source] io::Error),
    /// The kernel would have to load what answers.
    #[error(
        "ask conntrack for a connection: the module nf_conntrack_netlink is not loaded; load it by `modprobe nf_conntrack_netlink`"
    )]
    NotLoaded,
    /// This kernel does not answer.
    #[error(
        "ask conntrack for a connection: {0}; the kernel is built without CONFIG_NF_CT_NETLINK, or cannot load it (module nf_conntrack_netlink)"
    )]
    Unsupported(#[source] io::Error),
    /// The privilege is missing.
    #[error(
        "ask conntrack for a connection: {0}; it needs CAP_NET_ADMIN over the network namespace"
    )]
    Privilege(#[source] io::Error),
    /// The kernel refuses for another reason.
    #[error("ask conntrack for a connection: {0}")]
    Refused(#[source] io::Error),
    /// The kernel's answer makes no sense.
    #[error("ask conntrack for a connection: the kernel's answer cannot be read")]
    Answer,
}

/// Both ends of a connection of TCP, as packets of whoever asks for it have them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// Who asks.
    pub from: SocketAddr,
    /// Who is asked.
    pub to: SocketAddr,
}

impl Ends {
    /// Of two addresses; one of IPv4 in IPv6's clothes is one of IPv4.
    pub fn new(from: SocketAddr, to: SocketAddr) -> Self {
        let [from, to] = [from, to].map(|end| SocketAddr::new(end.ip().to_canonical(), end.port()));
        Self { from, to }
    }

    /// The same as packets of whoever answers have them.
    fn reversed(self) -> Self {
        Self {
            from: self.to,
            to: self.from,
        }
    }

    /// As an attribute that has one side's view of a connection; none where the ends are of two families.
    fn attribute(self) -> Option<DefaultNla> {
        let (from, to) = match (self.from.ip(), self.to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => (
                DefaultNla::new(FROM_V4, from.octets().into()),
                DefaultNla::new(TO_V4, to.octets().into()),
            ),
            (IpAddr::V6(from), IpAddr::V6(to)) => (
                DefaultNla::new(FROM_V6, from.octets().into()),
                DefaultNla::new(TO_V6, to.octets().into()),
            ),
            _ => return None,
        };
        let protocol = [
            DefaultNla::new(PROTOCOL_NUMBER, vec![TCP]),
            word16(FROM_PORT, self.from.port()),
            word16(TO_PORT, self.to.port()),
        ];
        let parts = [nest(ADDRESSES, &[from, to]), nest(PROTOCOL, &protocol)];
        Some(nest(ASKED, &parts))
    }

    fn read(attributes: &[u8], side: u16) -> Option<Self> {
        let parts = attribute(attributes, side)?;
        let (addresses, protocol) = (attribute(parts, ADDRESSES)?, attribute(parts, PROTOCOL)?);
        let end = |v4: u16, v6: u16, port: u16| {
            let ip = match (attribute(addresses, v4), attribute(addresses, v6)) {
                (Some(v4), _) => IpAddr::from(<[u8; 4]>::try_from(v4).ok()?),
                (None, v6) => IpAddr::from(<[u8; 16]>::try_from(v6?).ok()?),
            };
            Some(SocketAddr::new(ip, word16_of(protocol, port)?))
        };
        Some(Self {
            from: end(FROM_V4, FROM_V6, FROM_PORT)?,
            to: end(TO_V4, TO_V6, TO_PORT)?,
        })
    }
}

/// Who asks conntrack of one network namespace.
pub struct Conntrack {
    namespace: NetNamespace,
    /// From the first question on.
    netlink: Option<Socket>,
    /// How many connections are tracked there, where that can be read.
    count: Option<File>,
    /// Whether it is known that nothing needs to be loaded for an answer.
    is_loaded: bool,
}

impl std::fmt::Debug for Conntrack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Conntrack").finish_non_exhaustive()
    }
}

impl Conntrack {
    /// Of a namespace, which lives as long as this. Nothing is asked yet.
    pub fn within(namespace: &NetNamespace) -> Result<Self, ConntrackError> {
        Ok(Self {
            namespace: namespace.clone(),
            netlink: None,
            count: namespace.run(|| File::open(COUNT))?.ok(),
            is_loaded: false,
        })
    }

    /// The ends of a connection of TCP behind this namespace, by those before it: where addresses are not translated there
    /// they are the same. None where the connection is not known there; it is for as long as it lasts, and two minutes longer
    /// where it has ended in order, as far as nobody has set that otherwise.
    pub fn translated(&mut self, ends: Ends) -> Result<Option<Ends>, ConntrackError> {
        if self.is_idle() {
            return Ok(None);
        }
        self.ask(ends)
    }

    /// Whether nothing is tracked, so that there is nothing to ask for.
    fn is_idle(&self) -> bool {
        let Some(count) = &self.count else {
            return !Path::new(THERE).exists();
        };
        let mut text = [0; 16];
        count
            .read_at(&mut text, 0)
            .is_ok_and(|length| text[..length].trim_ascii() == b"0")
    }

    fn ask(&mut self, ends: Ends) -> Result<Option<Ends>, ConntrackError> {
        let Some(asked) = ends.attribute() else {
            return Ok(None);
        };
        self.is_loaded = self.is_loaded || is_loaded();
        if !self.is_loaded {
            return Err(ConntrackError::NotLoaded);
        }
        let netlink = match &mut self.netlink {
            Some(netlink) => netlink,
            none => {
                let opened = nfnetlink::socket(&self.namespace)?;
                none.insert(opened.map_err(ConntrackError::Socket)?)
            }
        };
        let question = Message {
            part: CONNTRACK,
            kind: GET,
            family: if ends.to.is_ipv4() { IPV4 } else { IPV6 },
            attributes: vec![asked],
            ..Message::default()
        };
        let answers = match ask(netlink, &[question]) {
            Ok(answers) => answers,
            Err(refused) => return not_known(refused.source).map(|()| None),
        };
        let answer = answers.first().ok_or(ConntrackError::Answer)?;
        let known = |side| Ends::read(attributes(answer), side).ok_or(ConntrackError::Answer);
        // One is found by either side's view of it.
        let is_it = known(ASKED)? == ends;
        let there = known(ANSWERED)?.reversed();
        Ok(is_it.then_some(there))
    }
}

/// What a refusal means: nothing where the connection is not known.
fn not_known(source: io::Error) -> Result<(), ConntrackError> {
    Err(match source.raw_os_error() {
        Some(libc::ENOENT) => return Ok(()),
        // The first where nobody is there for that part of netfilter.
        Some(libc::EINVAL | libc::EOPNOTSUPP | libc::EPROTONOSUPPORT) => {
            ConntrackError::Unsupported(source)
        }
        Some(libc::EPERM | libc::EACCES) => ConntrackError::Privilege(source),
        _ => ConntrackError::Refused(source),
    })
}

/// Whether what answers is loaded, or is part of the kernel, as far as that is known: where conntrack itself is, it is taken
/// for one, too.
fn is_loaded() -> bool {
    let Ok(modules) = fs::read_to_string(MODULES) else {
        // A kernel without this file loads nothing.
        return true;
    };
    let has = |name: &str| {
        let mut names = modules.lines().filter_map(|line| line.split(' ').next());
        names.any(|loaded| loaded == name)
    };
    has("nf_conntrack_netlink") || (Path::new(THERE).exists() && !has("nf_conntrack"))
}

/// Asks this kernel whether it answers in a namespace, and us: about a connection that cannot be.
pub fn trial(namespace: &NetNamespace) -> Result<(), ConntrackError> {
    let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let nobody = Ends::new(nowhere, nowhere);
    Conntrack::within(namespace)?.ask(nobody).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(from: &str, to: &str) -> Ends {
        Ends::new(from.parse().unwrap(), to.parse().unwrap())
    }

    #[test]
    fn ends_are_read_as_they_were_written_whichever_their_family() {
        for ends in [
            ends("10.0.0.1:40000", "10.0.0.2:80"),
            ends("[fd00::1]:40000", "[fd00::2]:443"),
        ] {
            let bytes = crate::netlink::emitted(&[ends.attribute().unwrap()]);
            assert_eq!(Ends::read(&bytes, ASKED), Some(ends));
            assert_eq!(Ends::read(&bytes, ANSWERED), None);
            for length in 0..bytes.len() {
                assert_eq!(Ends::read(&bytes[..length], ASKED), None, "{length}");
            }
        }
    }

    #[test]
    fn ipv4_in_the_clothes_of_ipv6_is_ipv4_and_both_families_at_once_are_no_connection() {
        let clothed = ends("[::ffff:10.0.0.1]:40000", "[::ffff:10.0.0.2]:80");
        assert_eq!(clothed, ends("10.0.0.1:40000", "10.0.0.2:80"));
        assert!(ends("10.0.0.1:40000", "[fd00::2]:80").attribute().is_none());
    }

    #[test]
    fn refusals_are_told_apart() {
        let of = |code| not_known(io::Error::from_raw_os_error(code));
        assert!(of(libc::ENOENT).is_ok());
        for code in [libc::EOPNOTSUPP, libc::EPROTONOSUPPORT, libc::EINVAL] {
            assert!(matches!(of(code), Err(ConntrackError::Unsupported(_))));
        }
        assert!(matches!(of(libc::EPERM), Err(ConntrackError::Privilege(_))));
        assert!(matches!(of(libc::ENOMEM), Err(ConntrackError::Refused(_))));
    }
}
