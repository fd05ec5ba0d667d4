//! Counters are what a network namespace has counted since it was made: `/proc/net/snmp`, `/proc/net/netstat` and
//! `/proc/net/snmp6`, as nstat(8) reads them. Reading needs no privilege but to enter the namespace.

use std::{collections::BTreeMap, fs, io};

use crate::namespace::{NamespaceError, NetNamespace};

/// Why they cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CountersError {
    /// The namespace cannot be entered.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// A file of `/proc` cannot be read.
    #[error("read {file}: {source}")]
    Read {
        /// Which.
        file: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// What a namespace has counted, by the kernel's names with their groups: `Tcp.RetransSegs`, `TcpExt.ListenOverflows`,
/// `Icmp6.InEchos`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters(BTreeMap<String, u64>);

impl Counters {
    /// What it has counted until now.
    pub fn of(namespace: &NetNamespace) -> Result<Self, CountersError> {
        const SNMP: &str = "/proc/thread-self/net/snmp";
        const NETSTAT: &str = "/proc/thread-self/net/netstat";
        const SNMP6: &str = "/proc/thread-self/net/snmp6";
        let read = |file: &'static str| {
            fs::read_to_string(file).map_err(|source| CountersError::Read { file, source })
        };
        let read = || -> Result<_, CountersError> {
            let snmp6 = match read(SNMP6) {
                // Without IPv6 there is nothing to count.
                Err(CountersError::Read { source, .. })
                    if source.kind() == io::ErrorKind::NotFound =>
                {
                    String::new()
                }
                other => other?,
            };
            Ok((read(SNMP)?, read(NETSTAT)?, snmp6))
        };
        let (snmp, netstat, snmp6) = namespace.run(read)??;
        let mut all = BTreeMap::new();
        read_pairs(&snmp, &mut all);
        read_pairs(&netstat, &mut all);
        read_lines(&snmp6, &mut all);
        Ok(Self(all))
    }

    /// One of them; none where this kernel does not count it.
    pub fn get(&self, name: &str) -> Option<u64> {
        self.0.get(name).copied()
    }

    /// By how much one has grown since an earlier time; 0 where this kernel does not count it.
    pub fn since(&self, earlier: &Self, name: &str) -> u64 {
        let of = |counters: &Self| counters.get(name).unwrap_or(0);
        of(self).saturating_sub(of(earlier))
    }
}

/// Of each two lines the first has the names, the second the values, both behind the name of their group.
fn read_pairs(text: &str, all: &mut BTreeMap<String, u64>) {
    let mut lines = text.lines();
    while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
        let (Some((group, names)), Some((_, values))) =
            (names.split_once(':'), values.split_once(':'))
        else {
            continue;
        };
        let pairs = names.split_whitespace().zip(values.split_whitespace());
        // Those that may be below zero are settings, and count nothing.
        let counted = pairs.filter_map(|(name, value)| Some((name, value.parse().ok()?)));
        all.extend(counted.map(|(name, value)| (format!("{group}.{name}"), value)));
    }
}

/// Each line has a name, which begins with that of its group, and a value.
fn read_lines(text: &str, all: &mut BTreeMap<String, u64>) {
    for line in text.lines() {
        let Some((name, value)) = line.split_once(char::is_whitespace) else {
            continue;
        };
        let Some(group_end) = name.find('6') else {
            continue;
        };
        let (group, name) = name.split_at(group_end + 1);
        if let Ok(value) = value.trim().parse() {
            all.insert(format!("{group}.{name}"), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_stand_in_lines_below_each_other_or_beside_each_other() {
        let mut all = BTreeMap::new();
        let snmp =
            "Tcp: RtoAlgorithm MaxConn RetransSegs\nTcp: 1 -1 77\nUdp: InDatagrams\nUdp: 5\n";
        read_pairs(snmp, &mut all);
        read_lines(
            "Ip6InReceives                   \t12\nIcmp6InEchos 3\n",
            &mut all,
        );
        let counters = Counters(all);
        for (name, value) in [
            ("Tcp.RetransSegs", Some(77)),
            ("Tcp.MaxConn", None),
            ("Udp.InDatagrams", Some(5)),
            ("Ip6.InReceives", Some(12)),
            ("Icmp6.InEchos", Some(3)),
            ("Tcp.Unknown", None),
        ] {
            assert_eq!(counters.get(name), value, "{name}");
        }
        assert_eq!(counters.since(&Counters::default(), "Udp.InDatagrams"), 5);
        assert_eq!(Counters::default().since(&counters, "Udp.InDatagrams"), 0);
    }

    #[test]
    fn a_namespace_counts_for_itself() {
        let namespace = NetNamespace::create().expect("root may");
        let counters = Counters::of(&namespace).expect("it is there");
        assert_eq!(counters.get("Tcp.RetransSegs"), Some(0));
        assert!(counters.get("TcpExt.ListenOverflows").is_some());
    }
}
