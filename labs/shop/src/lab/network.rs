//! The network of the shop is one bridge, in a namespace that has no name and ends with whoever holds it.

use murphy_sys::{
    link::{add_address, add_bridge, join_bridge},
    namespace::NetNamespace,
};

use super::{
    LabError,
    member::{BRIDGE_HOST, Member, address, address_6},
};

const BRIDGE: &str = "br0";

/// The bridge.
#[derive(Debug)]
pub struct Network(NetNamespace);

impl Network {
    /// Makes it.
    pub fn create() -> Result<Self, LabError> {
        let middle = NetNamespace::create()?;
        add_bridge(&middle, BRIDGE, address(BRIDGE_HOST))?;
        add_address(&middle, BRIDGE, address_6(BRIDGE_HOST))?;
        Ok(Self(middle))
    }

    /// Puts the namespace of a member on it.
    pub fn join(&self, member: &Member, namespace: &NetNamespace) -> Result<(), LabError> {
        join_bridge(
            &self.0,
            BRIDGE,
            member.name,
            namespace,
            address(member.host),
        )?;
        add_address(namespace, "eth0", address_6(member.host))?;
        Ok(())
    }
}
