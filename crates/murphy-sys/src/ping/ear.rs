//! An ear at the far end hears which requests come there, whether they are answered or not.

use std::{net::IpAddr, os::fd::BorrowedFd, time::Duration};

use socket2::Protocol;

use super::{
    PingError,
    inbox::Inbox,
    message::{self, V4, V6},
};
use crate::namespace::NetNamespace;

/// An echo request that came to a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Whose it is, see [`Pinger::identifier`](super::Pinger::identifier). Others may have the same, elsewhere.
    pub identifier: u16,
    /// Which one it is, see [`Sent::number`](super::Sent::number).
    pub number: u16,
    /// Who asks.
    pub from: IpAddr,
    /// Which address was asked.
    pub to: Option<IpAddr>,
    /// When the kernel got it, in nanoseconds since 1970 on the clock of the whole machine.
    pub at_ns: u64,
    /// When it was read here, on the same clock. Where that is much later, and nobody was late to read, the kernel has held
    /// it back behind [`Request::at_ns`]: in a queue of netfilter's for one, through which it had to go on its way in.
    pub heard_ns: u64,
}

/// Hears the echo requests that come to a namespace of this machine, and answers none: its kernel does that.
///
/// It hears what has passed the firewall there on its way in, in the order in which it came, and none that was damaged.
#[derive(Debug)]
pub struct Ear {
    inbox: Inbox,
}

impl Ear {
    /// Listens there, from now on.
    pub fn listen(namespace: &NetNamespace) -> Result<Self, PingError> {
        let inbox = Inbox::open(namespace, None, (Protocol::ICMPV4, Protocol::ICMPV6))?;
        inbox.keep_types(&[V4.request], &[V6.request])?;
        inbox.say_to()?;
        Ok(Self { inbox })
    }

    /// Every request that came and was not heard yet, without waiting.
    pub fn hear(&mut self) -> Vec<Request> {
        let mut requests = Vec::new();
        self.inbox.hear(|came| {
            if let Some((identifier, number)) = message::requested(came) {
                requests.push(Request {
                    identifier,
                    number,
                    from: came.from.ip(),
                    to: came.to,
                    at_ns: came.at_ns,
                    heard_ns: came.heard_ns,
                });
            }
        });
        requests
    }

    /// Waits until something can be heard; says whether it can. What comes may be nothing of [`Ear::hear`]'s, and a signal
    /// ends the wait as well.
    pub fn wait(&self, at_most: Duration) -> Result<bool, PingError> {
        self.inbox.wait(at_most)
    }

    /// Descriptors that are readable when something can be heard, for whoever waits for more than that.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.inbox.descriptors()
    }
}
