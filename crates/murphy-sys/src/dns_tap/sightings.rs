//! Sightings tell a message that passes one more device from one that is sent again: the first is seen elsewhere than
//! before, the other one at the same place.

use std::{net::SocketAddr, time::Duration};

use super::{Dns, recent::Recent};

/// So many messages are remembered.
const REMEMBERED_MAX: usize = 4096;
/// So long a message may be under way from one device to the next, however slow somebody makes them.
const PASSAGE_MAX: Duration = Duration::from_secs(30);

/// A message, as far as it takes to know it again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Known {
    local: SocketAddr,
    server: SocketAddr,
    id: u16,
    is_answer: bool,
}

/// Where messages were seen first, and when last, in nanoseconds.
#[derive(Debug)]
pub(super) struct Sightings(Recent<Known, (u32, u64)>);

impl Default for Sightings {
    fn default() -> Self {
        Self(Recent::new(REMEMBERED_MAX))
    }
}

impl Sightings {
    /// Whether a message that was seen on this device was not seen on another one before.
    pub fn is_first(&mut self, dns: &Dns, device: u32) -> bool {
        let known = Known {
            local: dns.local,
            server: dns.server,
            id: dns.message.id,
            is_answer: dns.message.is_answer,
        };
        if let Some((first, at_ns)) = self.0.get(&known) {
            let since = Duration::from_nanos(dns.at_ns.saturating_sub(*at_ns));
            if *first != device && since < PASSAGE_MAX {
                return false;
            }
        }
        self.0.put(known, (device, dns.at_ns));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns_tap::message::tests::query;

    #[test]
    fn one_that_passes_devices_is_seen_once_and_one_that_is_sent_again_twice() {
        let mut sightings = Sightings::default();
        let said = |at_ns, id| Dns {
            at_ns,
            local: "10.0.0.1:40000".parse().unwrap(),
            server: "10.0.0.2:53".parse().unwrap(),
            message: query(id, "db.internal"),
        };
        let seconds = |count: u64| count * 1_000_000_000;
        for (at_ns, id, device, is_first) in [
            (0, 7, 3, true),
            (100, 7, 2, false),
            (200, 8, 2, true),
            (seconds(5), 7, 3, true),
            (seconds(6), 7, 2, false),
            // By now the way out is another one.
            (seconds(60), 7, 2, true),
            (seconds(60), 7, 3, false),
        ] {
            assert_eq!(
                sightings.is_first(&said(at_ns, id), device),
                is_first,
                "{at_ns} {id} {device}"
            );
        }
    }
}
