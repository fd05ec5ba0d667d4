//! A member is one service of the shop with its name, its label and its addresses.

use std::{
    ffi::OsString,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
};

use murphy_sys::link::Prefixed;

use super::words;

/// The networks of the shop, inside its own namespaces only.
const NETWORK: [u8; 3] = [10, 78, 0];
const NETWORK_6: u16 = 0xfd78;
/// Where names of network namespaces are, for `ip netns` and for Murphy.
const NAMES: &str = "/run/netns";
/// The host part of the bridge's addresses.
pub const BRIDGE_HOST: u8 = 254;

/// One service.
#[derive(Debug)]
pub struct Member {
    /// Its name, which is only its own.
    pub name: &'static str,
    /// The value of the label `name`, which instances of one service share.
    pub label: &'static str,
    /// The host part of its addresses.
    pub host: u8,
}

/// The database.
pub const POSTGRES: Member = member("postgres", "postgres", 20);
/// The catalogs.
pub const CATALOGS: [Member; 2] = [
    member("catalog-1", "catalog", 11),
    member("catalog-2", "catalog", 12),
];
/// The front end.
pub const FRONT_END: Member = member("front-end", "front-end", 1);
/// The load generator.
pub const LOAD: Member = member("load", "load", 30);

/// All of them, in the order in which they start.
pub const MEMBERS: [&Member; 5] = [&POSTGRES, &CATALOGS[0], &CATALOGS[1], &FRONT_END, &LOAD];

const fn member(name: &'static str, label: &'static str, host: u8) -> Member {
    Member { name, label, host }
}

/// The IPv4 address of a host of the shop.
pub fn address(host: u8) -> Prefixed {
    let [a, b, c] = NETWORK;
    Prefixed {
        address: Ipv4Addr::new(a, b, c, host).into(),
        length: 24,
    }
}

/// The IPv6 address of a host of the shop: its last digits read like those of the other one.
pub fn address_6(host: u8) -> Prefixed {
    let digits = u16::from_str_radix(&host.to_string(), 16).unwrap_or(host.into());
    Prefixed {
        address: Ipv6Addr::new(NETWORK_6, 0, 0, 0, 0, 0, 0, digits).into(),
        length: 64,
    }
}

impl Member {
    /// Both of its addresses.
    pub fn addresses(&self) -> [IpAddr; 2] {
        [address(self.host).address, address_6(self.host).address]
    }

    /// Both, as on the command line of a service.
    fn address_words(&self) -> String {
        self.addresses()
            .map(|address| address.to_string())
            .join(",")
    }

    /// What Murphy and `ip netns` call its namespace.
    pub fn namespace(&self) -> String {
        format!("mphy-shop-{}", self.name)
    }

    /// The file that is that name.
    pub fn namespace_path(&self) -> PathBuf {
        Path::new(NAMES).join(self.namespace())
    }

    /// What its container is called.
    pub fn container(&self) -> String {
        format!("shop-{}", self.name)
    }

    /// The arguments of a service that is no database, whose figures, if it has any, go to that file.
    pub fn arguments(&self, figures: &Path) -> Vec<OsString> {
        if self.label == FRONT_END.label {
            let mut all = words(["front-end"]);
            for catalog in &CATALOGS {
                let named = format!("{}={}", catalog.name, catalog.address_words());
                all.extend(words(["--catalog", &named]));
            }
            all
        } else if self.label == LOAD.label {
            let named = format!("{}={}", FRONT_END.name, FRONT_END.address_words());
            let mut all = words(["load", "--front-end", &named, "--figures"]);
            all.push(figures.into());
            all
        } else {
            let database = POSTGRES.address_words();
            words(["catalog", "--name", self.name, "--database", &database])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_both_families_read_alike() {
        let [four, six] = CATALOGS[1].addresses().map(|address| address.to_string());
        assert_eq!((four.as_str(), six.as_str()), ("10.78.0.12", "fd78::12"));
        assert_eq!(address_6(BRIDGE_HOST).address.to_string(), "fd78::254");
    }
}
