//! Taking somebody's programs off: found by the injection that stands in their order, whoever holds them.

use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

use libbpf_rs::{
    MapCore, MapFlags, MapHandle,
    query::{LinkInfoIter, LinkTypeInfo, ProgInfoIter, ProgInfoQueryOptions},
};

use super::{Order, TrafficError};

/// Where the mark stands in an order.
const MARK_AT: usize = 20;

/// What was found of an injection's programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detached {
    /// They were taken off this many hooks.
    Now(usize),
    /// They were attached nowhere.
    Nowhere,
}

/// Takes the programs of injection `id` off every hook of the machine, also where another process holds them. Needs
/// `CAP_SYS_ADMIN`.
pub fn detach(id: u32) -> Result<Detached, TrafficError> {
    let programs = programs_of(id);
    let links: Vec<u32> = LinkInfoIter::default()
        .filter(|link| programs.contains(&link.prog_id) && is_attached(&link.info))
        .map(|link| link.id)
        .collect();
    let mut count = 0;
    for link in links {
        count += usize::from(detach_link(link)?);
    }
    Ok(match count {
        0 => Detached::Nowhere,
        count => Detached::Now(count),
    })
}

/// Whether a link is on a hook: one that was taken off lives as long as its holder.
pub(super) fn is_attached(info: &LinkTypeInfo) -> bool {
    match info {
        LinkTypeInfo::Tcx(tcx) => tcx.ifindex != 0,
        LinkTypeInfo::Cgroup(cgroup) => cgroup.cgroup_id != 0,
        LinkTypeInfo::NetNs(namespace) => namespace.ino != 0,
        _ => true,
    }
}

/// The numbers of the programs whose order is of this injection.
fn programs_of(id: u32) -> Vec<u32> {
    let mark = Order::mark(id).to_ne_bytes();
    let is_ours = |map: u32| {
        // A map that is gone by now, or that nobody may read, is not one of an injection's.
        let Ok(map) = MapHandle::from_map_id(map) else {
            return false;
        };
        let order = map.lookup(&0_u32.to_ne_bytes(), MapFlags::ANY);
        map.name() == "orders"
            && order.is_ok_and(|order| {
                order.is_some_and(|order| order.get(MARK_AT..MARK_AT + 4) == Some(&mark))
            })
    };
    let with_maps = ProgInfoQueryOptions::default().include_map_ids(true);
    ProgInfoIter::with_query_opts(with_maps)
        .filter(|program| {
            let name = program.name.to_string_lossy();
            name.starts_with("murphy_")
        })
        .filter(|program| program.map_ids.iter().any(|map| is_ours(*map)))
        .map(|program| program.id)
        .collect()
}

/// Takes one link off its hook; says whether it was still there.
fn detach_link(link: u32) -> Result<bool, TrafficError> {
    let refused = |error: i32| TrafficError::Refused {
        what: "take a BPF program off its hook",
        source: io::Error::from_raw_os_error(-error),
    };
    // SAFETY: it takes a number and gives a descriptor or an error.
    let fd = unsafe { libbpf_sys::bpf_link_get_fd_by_id(link) };
    if fd == -nix::libc::ENOENT {
        return Ok(false);
    }
    if fd < 0 {
        return Err(refused(fd));
    }
    // SAFETY: the descriptor was just made and is nobody else's.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: the descriptor is open.
    match unsafe { libbpf_sys::bpf_link_detach(fd.as_raw_fd()) } {
        0 => Ok(true),
        error => Err(refused(error)),
    }
}
