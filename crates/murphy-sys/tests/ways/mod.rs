//! Ways between the namespaces of a test: routes that lead somewhere, or nowhere.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::{fs, net::IpAddr};

use murphy_sys::namespace::NetNamespace;
use rtnetlink::{
    RouteMessageBuilder, new_connection,
    packet_route::route::{RouteScope, RouteType},
};

/// A network: an address, and how many of its bits are the network's.
pub type To = (IpAddr, u8);

/// One host.
pub fn alone(host: IpAddr) -> To {
    (host, if host.is_ipv4() { 32 } else { 128 })
}

/// Leads packets for a network to a router, which is on a link of the namespace.
pub fn lead(namespace: &NetNamespace, to: To, router: IpAddr) {
    add(namespace, to, RouteType::Unicast, Some(router));
}

/// Drops packets for a network, without a word.
pub fn block(namespace: &NetNamespace, to: To) {
    // The way back to whoever sends may be no reason to drop what he sends.
    write(namespace, "ipv4/conf/all/rp_filter", "0");
    write(namespace, "ipv4/conf/eth0/rp_filter", "0");
    add(namespace, to, RouteType::BlackHole, None);
}

/// Refuses packets for a network: of others, by a message that their host cannot be reached.
pub fn refuse(namespace: &NetNamespace, to: To) {
    add(namespace, to, RouteType::Unreachable, None);
}

/// Has a namespace pass on what is for others.
pub fn route(namespace: &NetNamespace) {
    write(namespace, "ipv4/ip_forward", "1");
    // A host that was told of a better way is told of nothing else for a second.
    write(namespace, "ipv4/conf/all/send_redirects", "0");
    write(namespace, "ipv4/conf/eth0/send_redirects", "0");
    write(namespace, "ipv6/conf/all/forwarding", "1");
}

/// Has a namespace answer to every address of a network, which must lead there.
pub fn own(namespace: &NetNamespace, to: To) {
    add(namespace, to, RouteType::Local, None);
}

fn write(namespace: &NetNamespace, name: &str, value: &str) {
    let write = || fs::write(format!("/proc/sys/net/{name}"), value);
    let written = namespace.run(write).expect("a namespace");
    written.expect("a setting of the namespace");
}

fn add(namespace: &NetNamespace, (network, length): To, kind: RouteType, router: Option<IpAddr>) {
    let work = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let (connection, handle, _) = new_connection().expect("a socket");
            let pump = tokio::spawn(connection);
            let mut route = RouteMessageBuilder::<IpAddr>::new()
                .kind(kind)
                .destination_prefix(network, length)
                .expect("a network");
            if let Some(router) = router {
                route = route.gateway(router).expect("of the same family");
            }
            if kind == RouteType::Local {
                route = route
                    .output_interface(1)
                    .table_id(255)
                    .scope(RouteScope::Host);
            }
            let added = handle.route().add(route.build()).execute().await;
            added.expect("a route");
            pump.abort();
        });
    };
    namespace.run(work).expect("a namespace");
}
