//! Which packets are meant: by whom they go to or come from, by port, by protocol, by device.

use std::{fmt, net::IpAddr, num::NonZeroU16, str::FromStr};

use ipnet::IpNet;
use murphy_target::Selector;
use serde::{Deserialize, Serialize};

/// How many ranges of ports one injection may name.
pub const PORTS_MAX: usize = 16;
/// How many devices one injection may name.
pub const DEVICES_MAX: usize = 64;
/// The longest name of a network device, in bytes.
const DEVICE_NAME_MAX: usize = 15;
/// The longest name of a host, in bytes (RFC 1035).
const HOST_NAME_MAX: usize = 253;

/// Why packets cannot be chosen so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// Not a network.
    #[error(
        "read the network {0:?}: expected an address, or one with the length of its prefix, such as 10.0.0.0/24 or fd00::/8"
    )]
    Cidr(String),
    /// Longer than its family has bits.
    #[error(
        "read the network {text:?}: a prefix of {length} bits is for IPv6; an IPv4 address has 32"
    )]
    WrongFamily {
        /// What was written.
        text: String,
        /// The length of its prefix.
        length: u8,
    },
    /// Bits behind the prefix.
    #[error("read the network {text:?}: it has bits behind its prefix; the network is {network}")]
    HostBits {
        /// What was written.
        text: String,
        /// What it may have meant.
        network: String,
    },
    /// Neither a target nor a name nor an address.
    #[error(
        "read the peer {0:?}: expected a target such as container:web, a host name, or an address"
    )]
    Peer(String),
    /// Not a port.
    #[error("read the port {0:?}: expected a number from 1 to 65535, or a range such as 8000-8100")]
    Port(String),
    /// Nobody knows the name.
    #[error(
        "read the port {0:?}: {SERVICES} of this machine has no service of this name; say its number"
    )]
    Service(String),
    /// None has this number.
    #[error("read the port {0:?}: from 1 to 65535; --all-ports is for all of them")]
    NoPort(String),
    /// Too many of them.
    #[error("choose packets by port: at most {PORTS_MAX} ports or ranges of ports")]
    Ports,
    /// Not a protocol.
    #[error("read the protocol {0:?}: expected tcp, udp, sctp, icmp, or a number from 1 to 255")]
    Protocol(String),
    /// No ports there.
    #[error(
        "choose packets by port: {0} has none; --port needs tcp, udp or sctp, or no --protocol"
    )]
    NoPorts(Protocol),
    /// Not a device.
    #[error("read the device {0:?}: expected the name of a network device, such as eth0")]
    Device(String),
    /// Neighbours are not reached by ports.
    #[error("choose packets: --arp is about neither ports nor protocols; leave out {0}")]
    Arp(&'static str),
}

/// Whoever is on the other side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Peer {
    /// All addresses of another target, kept current.
    Target(Selector),
    /// All addresses of a host, asked again and again inside the target's namespace.
    Host(String),
    /// One address, or a network.
    Network(Cidr),
}

/// A network, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cidr(IpNet);

/// One port, or some in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Ports {
    first: NonZeroU16,
    last: NonZeroU16,
}

/// A protocol above IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Protocol {
    /// 6.
    Tcp,
    /// 17.
    Udp,
    /// 132.
    Sctp,
    /// 1 in IPv4, 58 in IPv6.
    Icmp,
    /// Another, by its number.
    Number(u8),
}

/// Which packets are meant. What is empty chooses nothing: every packet is meant but those by which neighbours are
/// found (ARP, and `ICMPv6` types 133 to 137).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Scope {
    /// To or from one of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<Peer>,
    /// With one of these on either side.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Ports>,
    /// With one of these on the target's side.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub local_ports: Vec<Ports>,
    /// With one of these on the other side.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remote_ports: Vec<Ports>,
    /// Of this protocol.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// Also those by which neighbours are found.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub arp: bool,
    /// On these devices of the target's namespace; on all but its loopback where none is named.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<Device>,
}

/// The name of a network device.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Device(String);

impl Scope {
    /// Whether it makes sense, without asking the machine.
    pub fn check(&self) -> Result<(), ScopeError> {
        let ports = [&self.ports, &self.local_ports, &self.remote_ports];
        if ports.iter().any(|ports| ports.len() > PORTS_MAX) {
            return Err(ScopeError::Ports);
        }
        let names_ports = ports.iter().any(|ports| !ports.is_empty());
        if self.arp && names_ports {
            return Err(ScopeError::Arp("--port"));
        }
        match self.protocol {
            Some(_) if self.arp => Err(ScopeError::Arp("--protocol")),
            Some(protocol @ (Protocol::Icmp | Protocol::Number(_))) if names_ports => {
                Err(ScopeError::NoPorts(protocol))
            }
            _ => Ok(()),
        }
    }
}

impl Cidr {
    /// One address. One of IPv4 in IPv6's clothes is on the wire as what it is.
    pub fn of(address: IpAddr) -> Self {
        Self(address.to_canonical().into())
    }

    /// The network.
    pub fn network(self) -> IpNet {
        self.0
    }
}

/// Where ports have names; see services(5).
const SERVICES: &str = "/etc/services";

impl Ports {
    /// The same, or the port of a service of a protocol by its name, as this machine's `/etc/services` has it.
    pub fn of_service(text: &str, protocol: &str) -> Result<Self, ScopeError> {
        match text.parse() {
            Err(_) if is_name(text) => {
                let known = std::fs::read_to_string(SERVICES).unwrap_or_default();
                let port = in_services(&known, text, protocol);
                let port = port.ok_or_else(|| ScopeError::Service(text.to_owned()))?;
                Ok(Self {
                    first: port,
                    last: port,
                })
            }
            Err(_) if text.trim() == "0" => Err(ScopeError::NoPort(text.to_owned())),
            ports => ports,
        }
    }

    /// The first and the last.
    pub fn bounds(self) -> (u16, u16) {
        (self.first.get(), self.last.get())
    }
}

impl Protocol {
    /// Its numbers in IPv4 and IPv6.
    pub fn numbers(self) -> (u8, u8) {
        match self {
            Self::Tcp => (6, 6),
            Self::Udp => (17, 17),
            Self::Sctp => (132, 132),
            Self::Icmp => (1, 58),
            Self::Number(number) => (number, number),
        }
    }
}

/// A network of IPv4 in IPv6's clothes, as it is on the wire.
fn undressed(network: IpNet) -> IpNet {
    let length = network.prefix_len().checked_sub(128 - 32);
    match (network.addr().to_canonical(), length) {
        (address @ IpAddr::V4(_), Some(length)) if network.addr().is_ipv6() => {
            IpNet::new(address, length).unwrap_or(network)
        }
        _ => network,
    }
}

impl FromStr for Cidr {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, ScopeError> {
        let form = || ScopeError::Cidr(text.to_owned());
        let (address, length) = match text.split_once('/') {
            None => (text, None),
            Some((address, length)) => (address, Some(length)),
        };
        let address: IpAddr = address.parse().map_err(|_| form())?;
        let Some(length) = length else {
            return Ok(Self::of(address));
        };
        let length: u8 = length.parse().map_err(|_| form())?;
        let network = IpNet::new(address, length).map_err(|_| match address {
            IpAddr::V4(_) if length <= 128 => ScopeError::WrongFamily {
                text: text.to_owned(),
                length,
            },
            _ => form(),
        })?;
        if network.trunc() == network {
            Ok(Self(undressed(network)))
        } else {
            Err(ScopeError::HostBits {
                text: text.to_owned(),
                network: network.trunc().to_string(),
            })
        }
    }
}

impl FromStr for Peer {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, ScopeError> {
        let peer = || ScopeError::Peer(text.to_owned());
        match text.parse() {
            Ok(network) => return Ok(Self::Network(network)),
            Err(error @ (ScopeError::WrongFamily { .. } | ScopeError::HostBits { .. })) => {
                return Err(error);
            }
            Err(_) => {}
        }
        if text.contains(':') {
            return text.parse().map(Self::Target).map_err(|_| peer());
        }
        let is_name = |label: &str| {
            !label.is_empty()
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        let name = text.strip_suffix('.').unwrap_or(text);
        // A name of numbers only is an address that somebody mistyped.
        let is_number = name.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        if name.len() > HOST_NAME_MAX || is_number || !name.split('.').all(is_name) {
            return Err(peer());
        }
        Ok(Self::Host(name.to_ascii_lowercase()))
    }
}

/// Whether it looks like the name of a service: RFC 6335, 5.1, is stricter than what people have in their files.
fn is_name(text: &str) -> bool {
    text.bytes().any(|byte| byte.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.+".contains(&byte))
}

/// The port of a service of a protocol by one of its names, in the lines of services(5).
fn in_services(known: &str, name: &str, protocol: &str) -> Option<NonZeroU16> {
    known.lines().find_map(|line| {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let (first, place) = (words.next()?, words.next()?);
        let (port, of) = place.split_once('/')?;
        let is_it = of == protocol && (first == name || words.any(|alias| alias == name));
        is_it.then(|| port.parse().ok()).flatten()
    })
}

impl FromStr for Ports {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, ScopeError> {
        let form = || ScopeError::Port(text.to_owned());
        let port = |text: &str| text.trim().parse().map_err(|_| form());
        let (first, last) = match text.split_once('-') {
            None => (port(text)?, port(text)?),
            Some((first, last)) => (port(first)?, port(last)?),
        };
        if first > last {
            return Err(form());
        }
        Ok(Self { first, last })
    }
}

impl FromStr for Protocol {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, ScopeError> {
        Ok(match text.to_ascii_lowercase().as_str() {
            "tcp" | "6" => Self::Tcp,
            "udp" | "17" => Self::Udp,
            "sctp" | "132" => Self::Sctp,
            "icmp" => Self::Icmp,
            number => match number.parse() {
                Ok(number @ 1..) => Self::Number(number),
                _ => return Err(ScopeError::Protocol(text.to_owned())),
            },
        })
    }
}

impl FromStr for Device {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, ScopeError> {
        let fits = (1..=DEVICE_NAME_MAX).contains(&text.len())
            && text != "."
            && text != ".."
            && !text.contains(|c: char| c == '/' || c == ':' || c.is_whitespace() || c == '\0');
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(ScopeError::Device(text.to_owned()))
        }
    }
}

impl Device {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.prefix_len() == self.0.max_prefix_len() {
            self.0.addr().fmt(f)
        } else {
            self.0.fmt(f)
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Target(selector) => selector.fmt(f),
            Self::Host(name) => name.fmt(f),
            Self::Network(network) => network.fmt(f),
        }
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = self.bounds();
        if first == last {
            write!(f, "{first}")
        } else {
            write!(f, "{first}-{last}")
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp => f.write_str("tcp"),
            Self::Udp => f.write_str("udp"),
            Self::Sctp => f.write_str("sctp"),
            Self::Icmp => f.write_str("icmp"),
            Self::Number(number) => number.fmt(f),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Scope {
    /// Behind the fault: ` · tcp, peer 10.0.0.0/24, port 5432`; nothing where every packet is meant.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn list<T: fmt::Display>(name: &str, items: &[T]) -> Option<String> {
            let items: Vec<_> = items.iter().map(ToString::to_string).collect();
            (!items.is_empty()).then(|| format!("{name} {}", items.join(" ")))
        }
        let parts = [
            self.protocol.map(|protocol| protocol.to_string()),
            list("peer", &self.peers),
            list("port", &self.ports),
            list("local port", &self.local_ports),
            list("remote port", &self.remote_ports),
            list("device", &self.devices),
            self.arp.then(|| "with ARP".to_owned()),
        ];
        let parts: Vec<_> = parts.into_iter().flatten().collect();
        f.write_str(&parts.join(", "))
    }
}

/// A type that is written as text in JSON, as it is on the command line.
macro_rules! as_text {
    ($($type:ty),*) => {$(
        impl TryFrom<String> for $type {
            type Error = ScopeError;

            fn try_from(text: String) -> Result<Self, ScopeError> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(value: $type) -> Self {
                value.to_string()
            }
        }
    )*};
}

as_text!(Cidr, Peer, Ports, Protocol, Device);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_have_names_and_other_names_for_each_protocol() {
        let known =
            "# Services\npostgresql\t5432/tcp postgres # a database\nntp 123/udp\nbad x/tcp\n";
        let port = |name, protocol| in_services(known, name, protocol).map(NonZeroU16::get);
        assert_eq!(port("postgresql", "tcp"), Some(5432));
        assert_eq!(port("postgres", "tcp"), Some(5432));
        assert_eq!(port("postgresql", "udp"), None);
        assert_eq!(port("ntp", "udp"), Some(123));
        assert_eq!((port("bad", "tcp"), port("database", "tcp")), (None, None));
        let zero = Ports::of_service("0", "tcp").unwrap_err().to_string();
        assert!(zero.contains("--all-ports"), "{zero}");
        let nobody = Ports::of_service("no-such-service", "tcp").unwrap_err();
        assert_eq!(nobody, ScopeError::Service("no-such-service".into()));
        assert_eq!(
            Ports::of_service("80-90", "tcp").unwrap().bounds(),
            (80, 90)
        );
        assert!(matches!(
            Ports::of_service("8a!", "tcp"),
            Err(ScopeError::Port(_))
        ));
    }

    #[test]
    fn networks_and_addresses_of_both_families() {
        for (text, shown) in [
            ("10.0.0.0/24", "10.0.0.0/24"),
            ("10.1.2.3", "10.1.2.3"),
            ("10.1.2.3/32", "10.1.2.3"),
            ("fd00::/8", "fd00::/8"),
            ("FD00::1", "fd00::1"),
            ("::/0", "::/0"),
            ("::ffff:10.1.2.3", "10.1.2.3"),
            ("::ffff:10.1.2.3/128", "10.1.2.3"),
            ("::ffff:10.1.0.0/112", "10.1.0.0/16"),
            ("::/80", "::/80"),
        ] {
            let cidr: Cidr = text.parse().unwrap();
            assert_eq!(cidr.to_string(), shown);
            assert_eq!(shown.parse(), Ok(cidr));
        }
        let error = |text: &str| text.parse::<Cidr>().unwrap_err();
        for text in [
            "",
            "10.0.0/8",
            "10.0.0.0/x",
            "fd00::/129",
            "10.0.0.0/200",
            "web",
        ] {
            assert_eq!(error(text), ScopeError::Cidr(text.into()));
        }
        let wrong = error("10.0.0.0/64");
        assert!(matches!(wrong, ScopeError::WrongFamily { length: 64, .. }));
        assert!(error("10.0.0.1/24").to_string().contains("10.0.0.0/24"));
    }

    #[test]
    fn a_peer_is_a_target_a_name_or_an_address() {
        for (text, shown) in [
            ("container:web", "container:web"),
            ("pid:42", "pid:42"),
            ("DB.example.com.", "db.example.com"),
            ("localhost", "localhost"),
            ("10.0.0.0/24", "10.0.0.0/24"),
            ("::1", "::1"),
        ] {
            let peer: Peer = text.parse().unwrap();
            assert_eq!(peer.to_string(), shown);
            let json = serde_json::to_string(&peer).unwrap();
            assert_eq!(serde_json::from_str::<Peer>(&json).unwrap(), peer);
        }
        for text in ["", "planet:mars", "a..b", "10.0.0", "web/1", "300.1.1.1"] {
            let error = text.parse::<Peer>().unwrap_err();
            assert_eq!(error, ScopeError::Peer(text.into()));
        }
        let error = "10.0.0.1/8".parse::<Peer>().unwrap_err();
        assert!(matches!(error, ScopeError::HostBits { .. }));
    }

    #[test]
    fn ports_protocols_and_devices() {
        for text in ["1", "65535", "8000-8100"] {
            assert_eq!(text.parse::<Ports>().unwrap().to_string(), text);
        }
        for text in ["0", "65536", "9-8", "x", "", "1-", "-1"] {
            assert_eq!(text.parse::<Ports>(), Err(ScopeError::Port(text.into())));
        }
        assert_eq!("TCP".parse(), Ok(Protocol::Tcp));
        assert_eq!("17".parse(), Ok(Protocol::Udp));
        assert_eq!("47".parse(), Ok(Protocol::Number(47)));
        for text in ["0", "256", "tpc", ""] {
            let error = text.parse::<Protocol>().unwrap_err();
            assert_eq!(error, ScopeError::Protocol(text.into()));
        }
        assert!("eth0.100@if3".parse::<Device>().is_ok());
        for text in ["", "..", "a b", "a/b", "0123456789abcdef"] {
            assert_eq!(text.parse::<Device>(), Err(ScopeError::Device(text.into())));
        }
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let ports = vec!["80".parse().unwrap()];
        let with = |change: fn(&mut Scope)| {
            let mut scope = Scope {
                ports: ports.clone(),
                ..Scope::default()
            };
            change(&mut scope);
            scope.check()
        };
        assert_eq!(with(|_| {}), Ok(()));
        assert_eq!(
            with(|scope| scope.protocol = Some(Protocol::Icmp)),
            Err(ScopeError::NoPorts(Protocol::Icmp))
        );
        assert_eq!(
            with(|scope| scope.arp = true),
            Err(ScopeError::Arp("--port"))
        );
        assert_eq!(
            with(|scope| scope.ports = vec![scope.ports[0]; 17]),
            Err(ScopeError::Ports)
        );
    }

    #[test]
    fn a_scope_is_said_in_words() {
        assert_eq!(Scope::default().to_string(), "");
        let scope = Scope {
            peers: vec![
                "10.0.0.0/24".parse().unwrap(),
                "container:web".parse().unwrap(),
            ],
            ports: vec!["5432".parse().unwrap()],
            protocol: Some(Protocol::Tcp),
            ..Scope::default()
        };
        assert_eq!(
            scope.to_string(),
            "tcp, peer 10.0.0.0/24 container:web, port 5432"
        );
        let json = serde_json::to_string(&scope).unwrap();
        assert_eq!(serde_json::from_str::<Scope>(&json).unwrap(), scope);
    }
}
