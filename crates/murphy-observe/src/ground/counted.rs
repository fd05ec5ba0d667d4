//! What the kernel has counted in a namespace between two looks, as far as a detector asks for it.

use std::ops::AddAssign;

use murphy_sys::counters::Counters;

/// By how much some counters have grown. See nstat(8), and `net/ipv4/proc.c` for where each is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Connections that were made and found no place among those that wait to be accepted, and requests for such.
    pub overflows: u64,
    /// Packets whose checksum was wrong, of TCP, UDP and ICMP over both families.
    pub damaged: u64,
    /// Packets of these that have come.
    pub received: u64,
    /// Segments of TCP that have come.
    pub segments_received: u64,
    /// Segments of TCP that were sent.
    pub segments_sent: u64,
    /// Segments of TCP that were sent again.
    pub resent: u64,
    /// How often somebody was told that he has sent again what had come (RFC 2883).
    pub came_twice: u64,
    /// How often what was sent later was acknowledged sooner, though nothing had been sent again.
    pub overtaken: u64,
}

const OVERFLOWS: [&str; 1] = ["TcpExt.ListenOverflows"];
const DAMAGED: [&str; 7] = [
    "Tcp.InCsumErrors",
    "Udp.InCsumErrors",
    "UdpLite.InCsumErrors",
    "Icmp.InCsumErrors",
    "IpExt.InCsumErrors",
    "Udp6.InCsumErrors",
    "Icmp6.InCsumErrors",
];
const RECEIVED: [&str; 7] = [
    "Tcp.InSegs",
    "Udp.InDatagrams",
    "Udp.InErrors",
    "Icmp.InMsgs",
    "Udp6.InDatagrams",
    "Udp6.InErrors",
    "Icmp6.InMsgs",
];
const CAME_TWICE: [&str; 2] = ["TcpExt.TCPDSACKOldSent", "TcpExt.TCPDSACKOfoSent"];
const OVERTAKEN: [&str; 3] = [
    "TcpExt.TCPSACKReorder",
    "TcpExt.TCPTSReorder",
    "TcpExt.TCPRenoReorder",
];

impl Counted {
    /// What was counted between two times.
    pub fn between(earlier: &Counters, now: &Counters) -> Self {
        let sum = |names: &[&str]| names.iter().map(|name| now.since(earlier, name)).sum();
        Self {
            overflows: sum(&OVERFLOWS),
            damaged: sum(&DAMAGED),
            received: sum(&RECEIVED),
            segments_received: sum(&["Tcp.InSegs"]),
            segments_sent: sum(&["Tcp.OutSegs"]),
            resent: sum(&["Tcp.RetransSegs"]),
            came_twice: sum(&CAME_TWICE),
            overtaken: sum(&OVERTAKEN),
        }
    }
}

impl AddAssign for Counted {
    fn add_assign(&mut self, more: Self) {
        self.overflows += more.overflows;
        self.damaged += more.damaged;
        self.received += more.received;
        self.segments_received += more.segments_received;
        self.segments_sent += more.segments_sent;
        self.resent += more.resent;
        self.came_twice += more.came_twice;
        self.overtaken += more.overtaken;
    }
}

#[cfg(test)]
mod tests {
    use murphy_sys::namespace::NetNamespace;

    use super::*;

    #[test]
    fn this_kernel_counts_all_of_it() {
        let namespace = NetNamespace::create().expect("root may");
        let counters = Counters::of(&namespace).expect("it is there");
        let groups: [&[&str]; 5] = [&OVERFLOWS, &DAMAGED, &RECEIVED, &CAME_TWICE, &OVERTAKEN];
        for name in groups.concat() {
            // A kernel without IPv6 has none of its counters.
            if !name.contains("6.") {
                assert!(counters.get(name).is_some(), "{name}");
            }
        }
        let nothing = Counted::between(&counters, &counters);
        assert_eq!(nothing, Counted::default());
    }
}
