//! A drop reason is why the kernel has thrown a packet away, by its number in this kernel: other kernels number them
//! otherwise (`include/net/dropreason-core.h`).

use std::{collections::BTreeMap, fmt, sync::OnceLock};

use libbpf_rs::btf::{Btf, types};

/// Why a packet was dropped.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DropReason(u32);

/// What a reason says of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Meaning {
    /// A packet that somebody wanted was thrown away: something is in its way.
    Fault,
    /// A packet was damaged on its way.
    Damage,
    /// Nobody was there for it: whoever has sent it was refused, or it was for somebody else.
    Nobody,
    /// As it comes and goes with every connection: what is old, double, or of a socket that is closed.
    Ordinary,
    /// The kernel does not say.
    Unknown,
}

/// Something forbids it, or there is no room, no way, no neighbour.
const FAULTS: [&str; 42] = [
    "BPF_CGROUP_EGRESS",
    "BRIDGE_INGRESS_STP_STATE",
    "CAKE_FLOOD",
    "CPU_BACKLOG",
    "DEV_READY",
    "DUALPI2_STEP_DROP",
    "FQ_BAND_LIMIT",
    "FQ_FLOW_LIMIT",
    "FQ_HORIZON_LIMIT",
    "FRAG_REASM_TIMEOUT",
    "FULL_RING",
    "IP_INADDRERRORS",
    "IP_INNOROUTES",
    "IP_INVALID_DEST",
    "IP_INVALID_SOURCE",
    "IP_LOCAL_SOURCE",
    "IP_OUTNOROUTES",
    "IP_RPFILTER",
    "NEIGH_CREATEFAIL",
    "NEIGH_DEAD",
    "NEIGH_FAILED",
    "NEIGH_QUEUEFULL",
    "NETFILTER_DROP",
    "NOMEM",
    "NO_TX_TARGET",
    "PFMEMALLOC",
    "PKT_TOO_BIG",
    "PROTO_MEM",
    "QDISC_CONGESTED",
    "QDISC_DROP",
    "QDISC_OVERLIMIT",
    "RECURSION_LIMIT",
    "SECURITY_HOOK",
    "SOCKET_BACKLOG",
    "SOCKET_RCVBUFF",
    "TCP_LISTEN_OVERFLOW",
    "TCP_OFO_DROP",
    "TCP_OFO_QUEUE_PRUNE",
    "TC_EGRESS",
    "TC_INGRESS",
    "XDP",
    "XFRM_POLICY",
];

const DAMAGES: [&str; 9] = [
    "DEV_HDR",
    "HDR_TRUNC",
    "ICMP_CSUM",
    "IP_CSUM",
    "IP_INHDR",
    "PKT_TOO_SMALL",
    "SKB_CSUM",
    "TCP_CSUM",
    "UDP_CSUM",
];

const NOBODIES: [&str; 8] = [
    "IPV6DISABLED",
    "IP_NOPROTO",
    "LOCAL_MAC",
    "NO_SOCKET",
    "OTHERHOST",
    "SOCKET_FILTER",
    "UNHANDLED_PROTO",
    "UNICAST_IN_L2_MULTICAST",
];

impl DropReason {
    /// The one of a number.
    pub(super) fn of(number: u32) -> Self {
        Self(number)
    }

    /// The one of a name, as this kernel has it.
    pub fn named(name: &str) -> Option<Self> {
        let mut known = known().iter();
        let found = known.find(|(_, one)| one.as_str() == name);
        found.map(|(number, _)| Self(*number))
    }

    /// What the kernel calls it, without the prefix that all have: `NETFILTER_DROP`, `TCP_CSUM`, or another of
    /// `include/net/dropreason-core.h`.
    pub fn name(self) -> Option<&'static str> {
        known().get(&self.0).map(String::as_str)
    }

    /// What it says of the network.
    pub fn meaning(self) -> Meaning {
        self.name().map_or(Meaning::Unknown, meaning)
    }
}

fn meaning(name: &str) -> Meaning {
    let is_in = |names: &[&str]| names.contains(&name);
    if is_in(&FAULTS) {
        Meaning::Fault
    } else if is_in(&DAMAGES) {
        Meaning::Damage
    } else if is_in(&NOBODIES) {
        Meaning::Nobody
    } else if name == "NOT_SPECIFIED" {
        Meaning::Unknown
    } else {
        Meaning::Ordinary
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "reason {}", self.0),
        }
    }
}

impl fmt::Debug for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The names that this kernel has for reasons; none where it has no reasons.
fn known() -> &'static BTreeMap<u32, String> {
    static NAMES: OnceLock<BTreeMap<u32, String>> = OnceLock::new();
    NAMES.get_or_init(names)
}

fn names() -> BTreeMap<u32, String> {
    let mut names = BTreeMap::new();
    let Ok(kernel) = Btf::from_vmlinux() else {
        return names;
    };
    let Some(reasons) = kernel.type_by_name::<types::Enum<'_>>("skb_drop_reason") else {
        return names;
    };
    for member in reasons.iter() {
        let name = member.name.map(|name| name.to_string_lossy());
        if let (Some(name), Ok(number)) = (name, u32::try_from(member.value)) {
            let name = name
                .strip_prefix("SKB_DROP_REASON_")
                .or(name.strip_prefix("SKB_"))
                .unwrap_or(&name);
            names.insert(number, name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_stand_apart_by_what_they_say_of_the_network() {
        for (name, said) in [
            ("NETFILTER_DROP", Meaning::Fault),
            ("QDISC_DROP", Meaning::Fault),
            ("TCP_CSUM", Meaning::Damage),
            ("NO_SOCKET", Meaning::Nobody),
            ("TCP_OLD_DATA", Meaning::Ordinary),
            ("QUEUE_PURGE", Meaning::Ordinary),
            ("CONSUMED", Meaning::Ordinary),
            ("NOT_SPECIFIED", Meaning::Unknown),
        ] {
            assert_eq!(meaning(name), said, "{name}");
        }
    }

    #[test]
    fn a_reason_that_the_kernel_has_no_name_for_is_a_number() {
        let reason = DropReason::of(1 << 30);
        assert_eq!(reason.to_string(), "reason 1073741824");
        assert_eq!(reason.meaning(), Meaning::Unknown);
        assert_eq!(DropReason::named("NO_SUCH_REASON"), None);
    }
}
