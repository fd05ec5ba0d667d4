//! A queue takes packets of a network namespace out of the kernel at the hooks of netfilter, until somebody says of each
//! whether it passes.
//!
//! Two things of the kernel's are used. A [`Table`] of nftables, with nothing in it but Murphy's own rules, hands the
//! packets of a device to a queue; it is there until somebody removes it, and it does nothing once its queue has no
//! reader (`bypass`). A [`Queue`] is their reader: it ends with its socket, and what waits in it is dropped then.
//!
//! The kernel drops what waits in all queues of a namespace whenever a chain of netfilter's is removed there, whoever's
//! it is (`nf_queue_nf_hook_drop`): so a table's rules go first, then what waits is let go on, then the table goes.
//!
//! Needs `CAP_NET_ADMIN` over the namespace, which root of a user namespace has in those that it made, and no BPF. The
//! rules need `nft_queue`, or `xt_NFQUEUE` with `nft_compat`. No program of others is run. See
//! `include/uapi/linux/netfilter/{nfnetlink,nfnetlink_queue,nf_tables,nf_tables_compat}.h` of the kernel.

mod queue;
mod rule;
mod table;

pub use queue::{Packet, Queue, START_BYTES};
pub use rule::Rule;
pub use table::{Table, remove};

use std::io;

use rtnetlink::sys::Socket;

use crate::{
    namespace::{NamespaceError, NetNamespace},
    nfnetlink,
    tap::Frames,
    traffic::Way,
};

/// Why packets cannot be queued.
#[derive(Debug, thiserror::Error)]
pub enum NfqueueError {
    /// A namespace cannot be made or entered.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// No talk with netfilter.
    #[error("talk to netfilter: {0}; it needs CONFIG_NETFILTER_NETLINK")]
    Socket(#[source] io::Error),
    /// No queue.
    #[error(
        "open a queue of packets: {0}; it needs CAP_NET_ADMIN there, and CONFIG_NETFILTER_NETLINK_QUEUE (module nfnetlink_queue)"
    )]
    Queue(#[source] io::Error),
    /// A queue does not give packets, or does not take its verdicts.
    #[error("take packets out of queue {number}: {source}")]
    Packets {
        /// The queue.
        number: u16,
        /// The kernel's answer.
        source: io::Error,
    },
    /// No table.
    #[error(
        "{action} the nftables table {name}: {source}; it needs CAP_NET_ADMIN there, and CONFIG_NF_TABLES (module nf_tables)"
    )]
    Table {
        /// What was tried, such as `make`.
        action: &'static str,
        /// The table.
        name: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// No rule that hands packets to a queue.
    #[error(
        "hand packets to a queue by the nftables table {name}: neither does nft_queue ({native}; CONFIG_NFT_QUEUE), nor xt_NFQUEUE by nft_compat ({compat}; CONFIG_NETFILTER_XT_TARGET_NFQUEUE, CONFIG_NFT_COMPAT)"
    )]
    Rule {
        /// The table.
        name: String,
        /// The answer to one.
        native: io::Error,
        /// And to the other.
        compat: io::Error,
    },
}

/// A socket for netfilter inside a namespace, where it stays.
fn socket(namespace: &NetNamespace) -> Result<Socket, NfqueueError> {
    nfnetlink::socket(namespace)?.map_err(NfqueueError::Socket)
}

/// Asks this kernel whether packets can be queued, in a namespace that goes with the question.
pub fn trial() -> Result<(), NfqueueError> {
    let namespace = NetNamespace::create()?;
    let queue = Queue::open(&namespace, Frames::Large)?;
    // The loopback is the first device of every namespace.
    let rules = Way::ALL.map(|way| Rule {
        way,
        device: 1,
        queue: queue.number(),
    });
    Table::make(&namespace, "mphy-trial", &rules).map(drop)
}

#[cfg(test)]
mod tests;
