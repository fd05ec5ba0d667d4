//! Peers are the networks that programs mean whose order says so; they stand in the maps of `bpf/scope.h`.

use std::{collections::BTreeSet, net::IpAddr};

use libbpf_rs::{Map, MapCore, MapFlags, Object};

use super::PEERS_MAX;

/// An address with the length of its prefix.
pub type Network = (IpAddr, u8);

/// Those that stand in the maps of some programs.
#[derive(Debug, Default)]
pub(crate) struct Peers(BTreeSet<Network>);

/// Why they are not what was asked.
#[derive(Debug)]
pub(crate) enum PeersError {
    /// More than fit.
    TooMany,
    /// A map is missing or refuses.
    Refused(libbpf_rs::Error),
}

impl Peers {
    /// Tells the programs whom to mean from now on; whoever stays is meant all the time.
    pub(crate) fn tell(
        &mut self,
        object: &Object,
        peers: &BTreeSet<Network>,
    ) -> Result<(), PeersError> {
        let of_family = |is_v4: bool| {
            peers
                .iter()
                .filter(move |(address, _)| address.is_ipv4() == is_v4)
        };
        if of_family(true).count().max(of_family(false).count()) > PEERS_MAX {
            return Err(PeersError::TooMany);
        }
        let gone: Vec<Network> = self.0.difference(peers).copied().collect();
        for network in gone {
            let (map, key) = place(object, network)?;
            match map.delete(&key) {
                Err(error) if error.kind() != libbpf_rs::ErrorKind::NotFound => {
                    return Err(PeersError::Refused(error));
                }
                _ => self.0.remove(&network),
            };
        }
        let fresh: Vec<Network> = peers.difference(&self.0).copied().collect();
        for network in fresh {
            let (map, key) = place(object, network)?;
            map.update(&key, &[1], MapFlags::ANY)
                .map_err(PeersError::Refused)?;
            self.0.insert(network);
        }
        Ok(())
    }
}

/// The map that a peer stands in, and its key there.
fn place(object: &Object, (address, length): Network) -> Result<(Map<'_>, Vec<u8>), PeersError> {
    let mut key = u32::from(length).to_ne_bytes().to_vec();
    let name = match address {
        IpAddr::V4(address) => {
            key.extend(address.octets());
            "peers4"
        }
        IpAddr::V6(address) => {
            key.extend(address.octets());
            "peers6"
        }
    };
    let found = object.maps().find(|map| map.name() == name);
    found
        .map(|map| (map, key))
        .ok_or(PeersError::Refused(libbpf_rs::Error::from_raw_os_error(
            nix::libc::ENOENT,
        )))
}
