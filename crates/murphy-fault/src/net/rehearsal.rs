//! A rehearsal is a fault that meets nobody but a ping of Murphy's own, before the real one begins: an engine that does
//! not do on this machine what it says is found out before anybody is hit.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use murphy_sys::{
    clock::boottime_ns,
    link::{self, Device},
    namespace::NetNamespace,
    ping::{Echo, Pinger},
    traffic::{Fate, Match, Network, Way},
};
use serde::Serialize;

use super::{
    NetError,
    disturbance::ways,
    hook::Hook,
    spec::{Distribution, Spec},
};

/// How many hosts are asked whether they answer.
const HOSTS_MAX: usize = 4;
/// How long they may take; nobody who is that far away is worth the wait.
const ANSWER_WITHIN: Duration = Duration::from_millis(50);
/// A ping that takes longer than this through the fault is not made.
const PATIENCE_MAX: Duration = Duration::from_secs(1);
/// What a ping may take longer than the one before, on a busy machine.
const SLACK: Duration = Duration::from_millis(25);
/// How often a ping is sent that nobody answers and that the engine has not seen: another fault may have lost it.
const ROUNDS_MAX: u32 = 10;
/// After so long a rehearsal is over, also when Murphy hangs meanwhile.
const OVER_AFTER: Duration = Duration::from_secs(10);
/// What a clock that is read at both ends may be off.
const BLUR: Duration = Duration::from_millis(1);
/// The protocol of pings in IPv4 and in IPv6.
const ECHOES: (u8, u8) = (1, 58);

/// What a ping of Murphy's own met, before anybody else was hit.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rehearsal {
    /// From where it was sent.
    pub place: String,
    /// Over which device.
    pub device: String,
    /// Who was asked.
    pub host: IpAddr,
    /// How long an answer took without the fault, in milliseconds.
    pub before_ms: f64,
    /// The same with it; none where no answer came.
    pub with_ms: Option<f64>,
}

impl Rehearsal {
    /// In words.
    pub fn text(&self) -> String {
        let with = match self.with_ms {
            Some(ms) => format!("{ms:.2} ms with the fault"),
            None => "no answer with the fault".to_owned(),
        };
        format!("{} in {:.2} ms, {with}", self.host, self.before_ms)
    }
}

/// A host that answers now.
pub(super) struct Contact {
    pinger: Pinger,
    pub host: IpAddr,
    before: Duration,
}

impl Contact {
    /// One that can be asked over a device: a peer, or where everybody is one, a neighbour. None where nobody answers, or
    /// where nobody may ask.
    pub(super) fn find(
        namespace: &NetNamespace,
        device: &Device,
        peers: &BTreeSet<Network>,
    ) -> Option<Self> {
        let hosts = hosts(namespace, device, peers);
        let mut pinger = Pinger::new(namespace, Some(&device.name)).ok()?;
        let echoes = pinger.ask(&hosts, ANSWER_WITHIN).ok()?;
        let answers =
            |(host, echo): (&IpAddr, &Echo)| matches!(echo, Echo::Came(_)).then_some(*host);
        let host = hosts.iter().zip(&echoes).find_map(answers)?;
        // Of the first the neighbour had to be found.
        match *pinger.ask(&[host], ANSWER_WITHIN).ok()?.first()? {
            Echo::Came(before) => Some(Self {
                pinger,
                host,
                before,
            }),
            _ => None,
        }
    }

    /// Asks it through a hook that is in force. An error says in what the fault is not the one that was asked.
    pub(super) fn rehearse(
        &mut self,
        hook: &dyn Hook,
        spec: &Spec,
    ) -> Result<Option<Duration>, NetError> {
        let refused = |why: String| NetError::Rehearsal {
            device: hook.name().to_owned(),
            host: self.host,
            why,
        };
        let within = latest(spec) + 4 * self.before + SLACK;
        let mut rounds = 0;
        let with = loop {
            let asked = self.pinger.ask(&[self.host], within);
            let echo = asked.map_err(|error| refused(error.to_string()))?;
            let with = match echo.first() {
                Some(Echo::Came(with)) => Some(*with),
                Some(Echo::Missing) => None,
                // The way to the host has gone: nothing is learned.
                _ => return Ok(None),
            };
            rounds += 1;
            if !spec.direction.is_to() || hook.fates(Way::To)?[Fate::Matched].packets > 0 {
                break with;
            }
            // One that is not answered may have been lost before it came here, by a fault that began earlier.
            if with.is_some() || rounds == ROUNDS_MAX {
                return Err(refused("was not seen by it".into()));
            }
        };
        match with {
            Some(_) if spec.partition.is_some() => Err(refused("was answered".into())),
            Some(with) if with + BLUR < soonest(spec) => Err(refused(format!(
                "was answered after {:.2} ms",
                with.as_secs_f64() * 1e3
            ))),
            _ => Ok(with),
        }
    }

    /// How long an answer took without a fault.
    pub(super) fn before(&self) -> Duration {
        self.before
    }
}

/// Whether an answer could come in a bearable time.
pub(super) fn is_worth_it(spec: &Spec) -> bool {
    latest(spec) <= PATIENCE_MAX
}

/// When a rehearsal that begins now is over at the latest, in nanoseconds since boot. The time of the fault itself may
/// be over sooner: its end is no fault of the engine's.
pub(super) fn until_ns() -> u64 {
    let over_after = u64::try_from(OVER_AFTER.as_nanos()).unwrap_or(u64::MAX);
    boottime_ns().saturating_add(over_after)
}

/// What a rehearsal is about: pings, to and from its peer alone.
pub(super) fn narrowed() -> Match {
    Match {
        by_peer: true,
        protocol: Some(ECHOES),
        ..Match::default()
    }
}

fn hosts(namespace: &NetNamespace, device: &Device, peers: &BTreeSet<Network>) -> Vec<IpAddr> {
    let whole = |address: &IpAddr| if address.is_ipv4() { 32 } else { 128 };
    let is_host = |(address, length): &&Network| *length == whole(address);
    // A ping to an address of its own would meet no device.
    let own = link::addresses(namespace).unwrap_or_default();
    let mut hosts: Vec<_> = peers
        .iter()
        .filter(is_host)
        .map(|(address, _)| *address)
        .filter(|host| !own.contains(host))
        .collect();
    if hosts.is_empty() {
        hosts = link::neighbours(namespace, device.index).unwrap_or_default();
        hosts.retain(|host| peers.is_empty() || peers.iter().any(|peer| holds(*peer, *host)));
    }
    // Who is asked is the same every time.
    hosts.sort_by_key(IpAddr::is_ipv6);
    hosts.truncate(HOSTS_MAX);
    hosts
}

/// Whether a network has this address.
fn holds((address, length): Network, host: IpAddr) -> bool {
    let shift = |width: u32| width - u32::from(length).min(width);
    match (address, host) {
        (IpAddr::V4(network), IpAddr::V4(host)) => {
            let differs = network.to_bits() ^ host.to_bits();
            differs.checked_shr(shift(32)).unwrap_or(0) == 0
        }
        (IpAddr::V6(network), IpAddr::V6(host)) => {
            let differs = network.to_bits() ^ host.to_bits();
            differs.checked_shr(shift(128)).unwrap_or(0) == 0
        }
        _ => false,
    }
}

/// What the fault may add to a round trip, but for rare draws of a distribution without an end.
fn latest(spec: &Spec) -> Duration {
    let ways = u32::try_from(ways(spec).count()).unwrap_or(2);
    spec.delay.as_ref().map_or(Duration::ZERO, |delay| {
        (delay.base.0 + 4 * delay.jitter.0) * ways
    })
}

/// What it adds at least.
fn soonest(spec: &Spec) -> Duration {
    let ways = u32::try_from(ways(spec).count()).unwrap_or(2);
    match &spec.delay {
        Some(delay) if spec.reorder.is_none() && delay.distribution == Distribution::Uniform => {
            delay.base.0.saturating_sub(delay.jitter.0) * ways
        }
        // Some are not delayed, or by a draw from a distribution that begins anywhere.
        _ => Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        net::{
            cable::Held,
            spec::{Delay, Direction, Partition},
        },
        ratio::Ratio,
        undo::Undo,
    };
    use murphy_sys::{link::Prefixed, traffic::Fates};
    use std::sync::atomic::{AtomicU32, Ordering};

    fn spec(base: &str, jitter: &str, direction: Direction) -> Spec {
        Spec {
            delay: Some(Delay {
                base: base.parse().unwrap(),
                jitter: jitter.parse().unwrap(),
                correlation: Ratio::default(),
                distribution: Distribution::Uniform,
            }),
            direction,
            ..Spec::default()
        }
    }

    #[test]
    fn a_round_trip_takes_what_both_ways_add() {
        let both = spec("50ms", "10ms", Direction::Both);
        assert_eq!(soonest(&both), Duration::from_millis(80));
        assert_eq!(latest(&both), Duration::from_millis(180));
        assert!(is_worth_it(&both));
        let long = spec("3s", "0ms", Direction::To);
        assert_eq!(soonest(&long), Duration::from_secs(3));
        assert!(!is_worth_it(&long));
        assert_eq!(soonest(&Spec::default()), Duration::ZERO);
    }

    /// An engine that does nothing, and knows how often it was asked what it has seen.
    #[derive(Debug, Default)]
    struct Idle(AtomicU32);

    impl Hook for Idle {
        fn name(&self) -> &'static str {
            "idle0"
        }
        fn undos(&self) -> Vec<Undo> {
            Vec::new()
        }
        fn attach(&mut self) -> Result<(), NetError> {
            Ok(())
        }
        fn allow(&mut self, _peers: &BTreeSet<Network>) -> Result<(), NetError> {
            Ok(())
        }
        fn activate(&mut self, _active: bool) -> Result<(), NetError> {
            Ok(())
        }
        fn fates(&self, _way: Way) -> Result<Fates, NetError> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Ok(Fates::default())
        }
        fn held(&self, _way: Way) -> Option<Held> {
            None
        }
        fn is_broken(&self) -> bool {
            false
        }
        fn leave(&mut self) -> Result<(), NetError> {
            Ok(())
        }
    }

    #[test]
    fn an_engine_that_does_nothing_is_found_out() {
        let Ok(namespace) = NetNamespace::create() else {
            use std::io::Write;
            let _ = std::io::stderr().write_all(b"skipped: network namespaces\n");
            return;
        };
        let host: IpAddr = "10.78.0.1".parse().unwrap();
        let at = Prefixed {
            address: host,
            length: 24,
        };
        link::add_bridge(&namespace, "br0", at).unwrap();
        let said = |spec: &Spec| {
            let pinger = Pinger::new(&namespace, None).unwrap();
            let mut contact = Contact {
                pinger,
                host,
                before: Duration::from_millis(1),
            };
            let met = contact.rehearse(&Idle::default(), spec);
            met.map_err(|error| error.to_string())
        };
        let refused = said(&Spec::default()).unwrap_err();
        assert!(refused.contains("was not seen by it"), "{refused}");
        let refused = said(&spec("50ms", "10ms", Direction::From)).unwrap_err();
        assert!(refused.contains("was answered after "), "{refused}");
        let partition = Spec {
            partition: Some(Partition::Drop),
            direction: Direction::From,
            ..Spec::default()
        };
        let refused = said(&partition).unwrap_err();
        assert!(
            refused.contains("ping to 10.78.0.1 was answered;"),
            "{refused}"
        );
        let loss = Spec {
            direction: Direction::From,
            ..Spec::default()
        };
        assert!(said(&loss).unwrap().is_some());
        // One that nobody answers may have been lost on its way there, by chance.
        let idle = Idle::default();
        let mut contact = Contact {
            pinger: Pinger::new(&namespace, None).unwrap(),
            host: "10.78.0.9".parse().unwrap(),
            before: Duration::from_millis(1),
        };
        assert!(contact.rehearse(&idle, &Spec::default()).is_err());
        assert_eq!(idle.0.into_inner(), ROUNDS_MAX);
    }

    #[test]
    fn a_ping_goes_to_nobody_in_the_same_namespace() {
        let Ok(namespace) = NetNamespace::create() else {
            use std::io::Write;
            let _ = std::io::stderr().write_all(b"skipped: network namespaces\n");
            return;
        };
        let at = |text: &str, length| Prefixed {
            address: text.parse().unwrap(),
            length,
        };
        link::add_bridge(&namespace, "br0", at("10.78.0.1", 24)).unwrap();
        link::add_address(&namespace, "br0", at("fd78::1", 64)).unwrap();
        let device = link::devices(&namespace).unwrap();
        let device = device.iter().find(|device| device.name == "br0").unwrap();
        let network = |text: &str, length| (text.parse().unwrap(), length);
        let peers = BTreeSet::from([
            network("10.78.0.1", 32),
            network("10.78.0.2", 32),
            network("fd78::1", 128),
        ]);
        let found: Vec<_> = hosts(&namespace, device, &peers)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(found, ["10.78.0.2"]);
    }

    #[test]
    fn a_network_has_the_addresses_that_begin_as_it_does() {
        let network = |text: &str, length| (text.parse().unwrap(), length);
        let host = |text: &str| text.parse().unwrap();
        assert!(holds(network("10.0.0.0", 24), host("10.0.0.9")));
        assert!(!holds(network("10.0.0.0", 24), host("10.0.1.9")));
        assert!(holds(network("0.0.0.0", 0), host("10.0.1.9")));
        assert!(holds(network("fd00::", 8), host("fd12::1")));
        assert!(!holds(network("::", 0), host("10.0.1.9")));
        assert!(holds(network("10.0.0.1", 32), host("10.0.0.1")));
    }
}
