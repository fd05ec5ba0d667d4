//! A link is a network interface: bridges and veth pairs inside namespaces, by rtnetlink(7).
//!
//! Each call opens its own netlink socket on a thread inside the namespace concerned and closes it
//! again; nothing here is on a hot path.

use std::{io, net::IpAddr, os::fd::AsRawFd};

use futures_util::{TryStream, TryStreamExt};
use rtnetlink::{
    Handle, LinkBridge, LinkUnspec, LinkVeth, new_connection,
    packet_route::{
        address::{AddressAttribute, AddressFlags, AddressScope},
        link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage},
    },
};

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
        give_address(&handle, index, name, address).await?;
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
        give_address(&handle, index, "eth0", address).await?;
        set_up(&handle, index, "eth0").await?;
        set_up(&handle, index_of(&handle, "lo").await?, "lo").await
    })
}

/// A network device of a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its number there.
    pub index: u32,
    /// Its name there.
    pub name: String,
    /// Whether it is the namespace's way to itself.
    pub is_loopback: bool,
    /// Whether its frames have the header of Ethernet, and it is no loopback.
    pub is_ethernet: bool,
    /// Whether it is up.
    pub is_up: bool,
    /// The largest packet that it carries, in bytes, without its own header.
    pub mtu: u32,
}

/// Every device of a namespace, in the order of their numbers.
pub fn devices(namespace: &NetNamespace) -> Result<Vec<Device>, LinkError> {
    within(namespace, |handle| async move {
        let mut found = handle.link().get().execute();
        let mut devices = Vec::new();
        while let Some(link) = next(&mut found, "list the devices of").await? {
            let flags = link.header.flags;
            let mut device = Device {
                index: link.header.index,
                name: String::new(),
                is_loopback: flags.contains(LinkFlags::Loopback),
                is_ethernet: link.header.link_layer_type == LinkLayerType::Ether,
                is_up: flags.contains(LinkFlags::Up),
                mtu: 0,
            };
            for attribute in link.attributes {
                match attribute {
                    LinkAttribute::IfName(name) => device.name = name,
                    LinkAttribute::Mtu(mtu) => device.mtu = mtu,
                    _ => {}
                }
            }
            devices.push(device);
        }
        devices.sort_by_key(|device| device.index);
        Ok(devices)
    })
}

/// The number of a device in a namespace.
pub fn index(namespace: &NetNamespace, name: &str) -> Result<u32, LinkError> {
    within(
        namespace,
        |handle| async move { index_of(&handle, name).await },
    )
}

/// Gives a device one more address.
pub fn add_address(
    namespace: &NetNamespace,
    name: &str,
    address: Prefixed,
) -> Result<(), LinkError> {
    within(namespace, |handle| async move {
        let index = index_of(&handle, name).await?;
        give_address(&handle, index, name, address).await
    })
}

/// Every address of a namespace but those of its loopback device, and those that hold on one link only.
pub fn addresses(namespace: &NetNamespace) -> Result<Vec<IpAddr>, LinkError> {
    within(namespace, |handle| async move {
        let mut found = handle.address().get().execute();
        let mut addresses = Vec::new();
        while let Some(address) = next(&mut found, "list the addresses of").await? {
            if matches!(
                address.header.scope,
                AddressScope::Universe | AddressScope::Site
            ) {
                addresses.extend(address.attributes.into_iter().find_map(
                    |attribute| match attribute {
                        // Over a link from one end to the other, `Address` is the other end.
                        AddressAttribute::Local(address) => Some(address),
                        AddressAttribute::Address(address) if address.is_ipv6() => Some(address),
                        _ => None,
                    },
                ));
            }
        }
        Ok(addresses)
    })
}

/// The next of what the kernel lists.
async fn next<T>(
    found: &mut (impl TryStream<Ok = T, Error = rtnetlink::Error> + Unpin),
    action: &'static str,
) -> Result<Option<T>, LinkError> {
    TryStreamExt::try_next(found)
        .await
        .map_err(|source| LinkError::Refused {
            action,
            link: "a namespace".into(),
            source,
        })
}

/// Runs netlink work on a thread inside the namespace.
fn within<T: Send, F>(
    namespace: &NetNamespace,
    work: impl FnOnce(Handle) -> F + Send,
) -> Result<T, LinkError>
where
    F: Future<Output = Result<T, LinkError>>,
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
    let mut found = handle.link().get().match_name(name.to_owned()).execute();
    let first: Option<Result<LinkMessage, rtnetlink::Error>> =
        TryStreamExt::try_next(&mut found).await.transpose();
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

async fn give_address(
    handle: &Handle,
    index: u32,
    name: &str,
    at: Prefixed,
) -> Result<(), LinkError> {
    let mut request = handle.address().add(index, at.address, at.length);
    if at.address.is_ipv6() {
        // An address that must prove first that nobody else has it cannot be used for a second or two.
        let message = request.message_mut();
        message
            .attributes
            .push(AddressAttribute::Flags(AddressFlags::Nodad));
    }
    refused("give an address to", name, request.execute().await)
}
