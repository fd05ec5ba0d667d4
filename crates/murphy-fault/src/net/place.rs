//! A place is a network namespace whose packets are disturbed, and the devices there.

use std::{collections::BTreeMap, path::Path};

use murphy_sys::{
    link::{self, Device as Link},
    namespace::NetNamespace,
    process::{ProcessId, namespace_inode},
    table::ProcessTable,
};
use murphy_target::{Member, Selector};
use serde::Serialize;

use super::{NetError, disturbance::OUR_DEVICES, scope::Device};

/// A network namespace that is hit.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its number.
    pub inode: u64,
    /// For people: its name, or who is in it.
    pub name: String,
    /// The namespace itself, which lives as long as this.
    pub namespace: NetNamespace,
    /// Somebody in it, by whose eyes names of hosts are read; nobody in one that was named.
    pub process: Option<ProcessId>,
    /// What it was named by, if it was named itself.
    pub(super) selector: Option<Selector>,
    /// Whether somebody who has made it keeps it, whoever is in it.
    is_kept: bool,
}

/// A place with its devices, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlaceSeen {
    /// Its name.
    pub name: String,
    /// Its number, as in `/proc/PID/ns/net`.
    pub inode: u64,
    /// The devices whose packets are disturbed.
    pub devices: Vec<String>,
}

impl Place {
    /// The namespace that `netns:` names, also where nobody is in it.
    pub fn named(selector: &Selector) -> Option<Result<Self, NetError>> {
        let Selector::Netns(value) = selector else {
            return None;
        };
        let open = |path: &Path| {
            let namespace = NetNamespace::open(path)?;
            Ok(Self {
                inode: inode_of(&namespace)?,
                name: selector.to_string(),
                namespace,
                process: None,
                selector: Some(selector.clone()),
                is_kept: false,
            })
        };
        Some(open(&Selector::netns_path(value)))
    }

    /// A namespace that was made for somebody and is kept for him: nobody may be in it for a while.
    pub fn kept(name: &str, namespace: NetNamespace) -> Result<Self, NetError> {
        Ok(Self {
            inode: inode_of(&namespace)?,
            name: name.to_owned(),
            namespace,
            process: None,
            selector: None,
            is_kept: true,
        })
    }

    /// The namespaces that some processes are in, each once. Who ends meanwhile is left out.
    pub fn of_members<'a>(members: impl IntoIterator<Item = &'a Member>) -> Vec<Self> {
        let mut places = BTreeMap::new();
        for member in members {
            let pid = member.process.pid;
            let Ok(inode) = namespace_inode(pid, "net") else {
                continue;
            };
            if places.contains_key(&inode) {
                continue;
            }
            let Ok(namespace) = NetNamespace::of_process(pid) else {
                continue;
            };
            // It may have gone elsewhere, or its pid to somebody else, between the two looks.
            if !member.process.is_alive() || inode_of(&namespace).ok() != Some(inode) {
                continue;
            }
            let name = match &member.container {
                Some(container) => container.label(),
                None => format!("{pid} {}", member.name),
            };
            let place = Self {
                inode,
                name,
                namespace,
                process: Some(member.process),
                selector: None,
                is_kept: false,
            };
            places.insert(inode, place);
        }
        places.into_values().collect()
    }

    /// The namespace that its name leads to now, where that is another one.
    pub(crate) fn renewed(&self) -> Option<Self> {
        let now = Self::named(self.selector.as_ref()?)?.ok()?;
        (now.inode != self.inode).then_some(now)
    }

    /// Whether nothing but Murphy keeps it alive: nobody is in it, and no name leads to it any more.
    pub(crate) fn is_deserted(&self, table: &ProcessTable) -> bool {
        let is_it =
            |named: Result<Self, NetError>| named.is_ok_and(|place| place.inode == self.inode);
        let is_named = |selector: &Selector| Self::named(selector).is_some_and(is_it);
        let is_in_it =
            |pid: u32| namespace_inode(pid, "net").is_ok_and(|inode| inode == self.inode);
        !(self.is_kept
            || self.process.is_some_and(|process| process.is_alive())
            || self.selector.as_ref().is_some_and(is_named)
            || table.iter().any(|stat| is_in_it(stat.pid)))
    }

    /// Whether Murphy itself is there, or the machine's first process: whoever disturbs it disturbs the machine.
    pub fn is_hosts(&self) -> bool {
        [std::process::id(), 1]
            .into_iter()
            .any(|pid| namespace_inode(pid, "net").is_ok_and(|inode| inode == self.inode))
    }

    /// The devices whose packets are meant; with the loopback where it is about sockets.
    pub(super) fn meant(&self, named: &[Device], of_sockets: bool) -> Result<Vec<Link>, NetError> {
        if !(of_sockets && named.is_empty()) {
            return self.devices(named);
        }
        let mut all = link::devices(&self.namespace)?;
        all.retain(|link| !link.name.starts_with(OUR_DEVICES));
        Ok(all)
    }

    /// The devices whose packets are meant: those of these names, or all but the loopback.
    pub fn devices(&self, named: &[Device]) -> Result<Vec<Link>, NetError> {
        let all = link::devices(&self.namespace)?;
        if named.is_empty() {
            // What is down carries nothing now, and may later. What passes another one here, too, would be hit twice.
            let is_here = |index| all.iter().any(|link| link.index == index);
            let is_meant = |link: &&Link| {
                !link.is_loopback
                    && !link.name.starts_with(OUR_DEVICES)
                    && !link.over.is_some_and(is_here)
            };
            let found: Vec<_> = all.iter().filter(is_meant).cloned().collect();
            return if found.is_empty() {
                Err(NetError::NoDevice(self.name.clone()))
            } else {
                Ok(found)
            };
        }
        let known = || {
            all.iter()
                .map(|link| link.name.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        };
        let mut found = Vec::new();
        for device in named {
            let link = all.iter().find(|link| link.name == device.name());
            found.push(link.cloned().ok_or_else(|| NetError::UnknownDevice {
                device: device.to_string(),
                place: self.name.clone(),
                known: known(),
            })?);
        }
        Ok(found)
    }
}

fn inode_of(namespace: &NetNamespace) -> Result<u64, NetError> {
    namespace.inode().map_err(NetError::Inode)
}
