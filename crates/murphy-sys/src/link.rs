//! A link is a network interface: bridges and veth pairs inside namespaces, by rtnetlink(7).
//!
//! Each call opens its own netlink socket on a thread inside the namespace concerned and closes it
//! again; nothing here is on a hot path.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::AsRawFd,
    time::Duration,
};

use futures_util::{TryStream, TryStreamExt};
use rtnetlink::{
    Handle, LinkBridge, LinkUnspec, LinkVeth, RouteMessageBuilder, new_connection,
    packet_route::{
        address::{AddressAttribute, AddressFlags, AddressScope},
        link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage},
        neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourState},
        route::{RouteAddress, RouteAttribute, RouteType},
    },
};

use crate::namespace::{NamespaceError, NetNamespace};
use nix::libc;

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
        let bridge = LinkBridge::new(name).build();
        refused("create the bridge", name, create(&handle, &bridge).await)?;
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
        let pair = LinkVeth::new(port, &peer).build();
        refused("create the veth pair", port, create(&handle, &pair).await)?;
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
    /// One of the same namespace that each of its packets passes, too: a port of this bridge or bond, or the device
    /// that this VLAN or the like is a part of.
    pub over: Option<u32>,
}

/// Every device of a namespace, in the order of their numbers.
pub fn devices(namespace: &NetNamespace) -> Result<Vec<Device>, LinkError> {
    within(namespace, |handle| async move {
        let mut found = handle.link().get().execute();
        let (mut devices, mut ports) = (Vec::new(), Vec::new());
        while let Some(link) = next(&mut found, "list the devices of").await? {
            let flags = link.header.flags;
            let mut device = Device {
                index: link.header.index,
                name: String::new(),
                is_loopback: flags.contains(LinkFlags::Loopback),
                is_ethernet: link.header.link_layer_type == LinkLayerType::Ether,
                is_up: flags.contains(LinkFlags::Up),
                mtu: 0,
                over: None,
            };
            // Of a link of another namespace the number is that of something else here.
            let (mut below, mut is_part, mut is_elsewhere) = (None, false, false);
            for attribute in link.attributes {
                match attribute {
                    LinkAttribute::IfName(name) => device.name = name,
                    LinkAttribute::Mtu(mtu) => device.mtu = mtu,
                    LinkAttribute::Link(index) => below = Some(index),
                    LinkAttribute::LinkNetNsId(_) => is_elsewhere = true,
                    LinkAttribute::Controller(index) => ports.push((index, device.index)),
                    LinkAttribute::LinkInfo(infos) => is_part = infos.iter().any(is_of_a_part),
                    _ => {}
                }
            }
            device.over = below.filter(|_| is_part && !is_elsewhere);
            devices.push(device);
        }
        for device in &mut devices {
            let port = ports.iter().find(|(above, _)| *above == device.index);
            device.over = port.map(|(_, port)| *port).or(device.over);
        }
        devices.sort_by_key(|device| device.index);
        Ok(devices)
    })
}

/// Whether devices of this kind are parts of another one, which carries all that they do.
fn is_of_a_part(info: &LinkInfo) -> bool {
    matches!(
        info,
        LinkInfo::Kind(
            InfoKind::Vlan
                | InfoKind::MacVlan
                | InfoKind::MacVtap
                | InfoKind::IpVlan
                | InfoKind::IpVtap
                | InfoKind::MacSec
        )
    )
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

/// Hosts that can be reached directly over a device: routers first, which stand in its routes, then those that it has
/// heard of. Addresses that are valid on one link only are left out.
pub fn neighbours(namespace: &NetNamespace, ifindex: u32) -> Result<Vec<IpAddr>, LinkError> {
    within(namespace, |handle| async move {
        let mut hosts = Vec::new();
        let all4 = RouteMessageBuilder::<Ipv4Addr>::new().build();
        let all6 = RouteMessageBuilder::<Ipv6Addr>::new().build();
        for all in [all4, all6] {
            let mut found = handle.route().get(all).execute();
            while let Some(route) = next(&mut found, "list the routes of").await? {
                let over = |attribute: &RouteAttribute| *attribute == RouteAttribute::Oif(ifindex);
                if route.attributes.iter().any(over) {
                    hosts.extend(route.attributes.iter().filter_map(gateway));
                }
            }
        }
        let mut found = handle.neighbours().get().execute();
        while let Some(neighbour) = next(&mut found, "list the neighbours of").await? {
            let header = &neighbour.header;
            let is_lost = matches!(
                header.state,
                NeighbourState::Failed | NeighbourState::Incomplete
            );
            if header.ifindex == ifindex && header.kind == RouteType::Unicast && !is_lost {
                hosts.extend(neighbour.attributes.iter().filter_map(destination));
            }
        }
        hosts.retain(|host| match host {
            IpAddr::V4(host) => !host.is_link_local(),
            IpAddr::V6(host) => !host.is_unicast_link_local(),
        });
        Ok(hosts)
    })
}

fn gateway(attribute: &RouteAttribute) -> Option<IpAddr> {
    match attribute {
        RouteAttribute::Gateway(RouteAddress::Inet(host)) => Some((*host).into()),
        RouteAttribute::Gateway(RouteAddress::Inet6(host)) => Some((*host).into()),
        _ => None,
    }
}

fn destination(attribute: &NeighbourAttribute) -> Option<IpAddr> {
    match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(host)) => Some((*host).into()),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(host)) => Some((*host).into()),
        _ => None,
    }
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

/// How often a kind of link is asked for that the kernel does not know.
const CREATIONS: u32 = 20;

/// How long lies between two of them.
const BETWEEN_CREATIONS: Duration = Duration::from_millis(50);

/// Makes a link. The first link of a kind brings the kind's module; who asks while somebody else's first link is still
/// bringing it is told that there is no such kind, and has to ask again.
async fn create(handle: &Handle, link: &LinkMessage) -> Result<(), rtnetlink::Error> {
    let mut outcome = handle.link().add(link.clone()).execute().await;
    for _ in 1..CREATIONS {
        match &outcome {
            Err(rtnetlink::Error::NetlinkError(error)) if error.raw_code() == -libc::EOPNOTSUPP => {
                tokio::time::sleep(BETWEEN_CREATIONS).await;
                outcome = handle.link().add(link.clone()).execute().await;
            }
            _ => break,
        }
    }
    outcome
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
