//! A link is a network interface: bridges and veth pairs inside namespaces, by rtnetlink(7).
//!
//! Each call opens its own netlink socket on a thread inside the namespace concerned and closes it
//! again; nothing here is on a hot path.

use std::{io, net::IpAddr, os::fd::AsRawFd};

use rtnetlink::{Handle, LinkBridge, LinkUnspec, LinkVeth, new_connection};

use crate::namespace::{NamespaceError, NetNamespace};

/// Why the network of a lab could not be laid.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The namespace was refused.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// No netlink socket.
    #[error("open a netlink socket: {0}")]
    Socket(#[source] io::Error),
    /// The kernel refused a change.
    #[error("{action} {link}: {source}")]
    Refused {
        /// What was tried, such as `create the bridge`.
        action: &'static str,
        /// The interface.
        link: String,
        /// The kernel's answer.
        source: rtnetlink::Error,
    },
    /// The interface is not there.
    #[error("find the link {link}: there is none of that name")]
    Missing {
        /// The interface.
        link: String,
    },
}

/// An address with the length of its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefixed {
    /// The address.
    pub address: IpAddr,
    /// Bits of the network part.
    pub length: u8,
}

/// Makes a bridge with an address in the namespace and brings it and the loopback up.
pub fn add_bridge(
    namespace: &NetNamespace,
    name: &str,
    address: Prefixed,
) -> Result<(), LinkError> {
    within(namespace, |handle| async move {
        refused(
            "create the bridge",
            name,
            handle
                .link()
                .add(LinkBridge::new(name).build())
                .execute()
                .await,
        )?;
        let index = index_of(&handle, name).await?;
        add_address(&handle, index, name, address).await?;
        set_up(&handle, index, name).await?;
        set_up(&handle, index_of(&handle, "lo").await?, "lo").await
    })
}

/// Joins a namespace to a bridge: a veth pair with one end, `port`, on the bridge and the other, `eth0`,
/// in `node`, with an address there.
pub fn join_bridge(
    bridge_namespace: &NetNamespace,
    bridge: &str,
    port: &str,
    node: &NetNamespace,
    address: Prefixed,
) -> Result<(), LinkError> {
    let peer = format!("{port}-peer");
    let node_fd = node.descriptor();
    within(bridge_namespace, |handle| async move {
        refused(
            "create the veth pair",
            port,
            handle
                .link()
                .add(LinkVeth::new(port, &peer).build())
                .execute()
                .await,
        )?;
        let master = index_of(&handle, bridge).await?;
        let index = index_of(&handle, port).await?;
        let joined = LinkUnspec::new_with_index(index)
            .controller(master)
            .up()
            .build();
        refused(
            "put on the bridge",
            port,
            handle.link().set(joined).execute().await,
        )?;
        let inner = index_of(&handle, &peer).await?;
        let moved = LinkUnspec::new_with_index(inner)
            .name("eth0")
            .setns_by_fd(node_fd.as_raw_fd())
            .build();
        refused(
            "move into the node's namespace",
            &peer,
            handle.link().set(moved).execute().await,
        )
    })?;
    within(node, |handle| async move {
        let index = index_of(&handle, "eth0").await?;
        add_address(&handle, index, "eth0", address).await?;
        set_up(&handle, index, "eth0").await?;
        set_up(&handle, index_of(&handle, "lo").await?, "lo").await
    })
}

/// Runs netlink work on a thread inside the namespace.
fn within<F>(
    namespace: &NetNamespace,
    work: impl FnOnce(Handle) -> F + Send,
) -> Result<(), LinkError>
where
    F: Future<Output = Result<(), LinkError>>,
{
    namespace.run(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(LinkError::Socket)?;
        runtime.block_on(async {
            let (connection, handle, _) = new_connection().map_err(LinkError::Socket)?;
            let pump = tokio::spawn(connection);
            let outcome = work(handle).await;
            pump.abort();
            outcome
        })
    })?
}

fn refused(
    action: &'static str,
    link: &str,
    outcome: Result<(), rtnetlink::Error>,
) -> Result<(), LinkError> {
    outcome.map_err(|source| LinkError::Refused {
        action,
        link: link.into(),
        source,
    })
}

async fn index_of(handle: &Handle, name: &str) -> Result<u32, LinkError> {
    use rtnetlink::packet_route::link::LinkMessage;
    let mut found = handle.link().get().match_name(name.to_owned()).execute();
    let first: Option<Result<LinkMessage, rtnetlink::Error>> =
        futures_util::TryStreamExt::try_next(&mut found)
            .await
            .transpose();
    match first {
        Some(Ok(link)) => Ok(link.header.index),
        Some(Err(source)) => Err(LinkError::Refused {
            action: "look up",
            link: name.into(),
            source,
        }),
        None => Err(LinkError::Missing { link: name.into() }),
    }
}

async fn set_up(handle: &Handle, index: u32, name: &str) -> Result<(), LinkError> {
    let up = LinkUnspec::new_with_index(index).up().build();
    refused("bring up", name, handle.link().set(up).execute().await)
}

async fn add_address(
    handle: &Handle,
    index: u32,
    name: &str,
    at: Prefixed,
) -> Result<(), LinkError> {
    refused(
        "give an address to",
        name,
        handle
            .address()
            .add(index, at.address, at.length)
            .execute()
            .await,
    )
}
