//! A place is a cgroup, or the cgroup of a systemd unit: whoever is in it or below it belongs to it.

use std::{
    io,
    path::{Component, Path, PathBuf},
};

use murphy_sys::cgroup::{Hierarchies, Hierarchy, Memberships};

use crate::{UnitName, unit::is_of_user};

/// Where processes are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A group of one tree.
    Group { hierarchy: Hierarchy, path: String },
    /// A group of this path in any tree of version 1.
    Legacy { path: String },
    /// A unit of the machine, or else one of a user.
    Unit { name: UnitName, of_user: bool },
}

impl Place {
    /// Whether a process with these memberships is there.
    pub(crate) fn holds(&self, memberships: &Memberships) -> bool {
        match self {
            Self::Group { hierarchy, path } => memberships
                .iter()
                .any(|(of, group)| of == hierarchy && is_below(group, path)),
            Self::Legacy { path } => memberships
                .iter()
                .any(|(of, group)| *of != Hierarchy::Unified && is_below(group, path)),
            Self::Unit { name, of_user } => name
                .group_of(memberships)
                .is_some_and(|group| is_of_user(group) == *of_user),
        }
    }
}

/// A cgroup that is not a place.
#[derive(Debug)]
pub(crate) enum NoPlace {
    Root,
    Unknown,
    Mounts(io::Error),
}

/// The places that a written path may mean, the likeliest first: a directory of a mounted tree, a group of
/// version 2, a group of version 1.
pub(crate) fn places(written: &Path) -> Result<Vec<Place>, NoPlace> {
    let hierarchies = Hierarchies::find().map_err(NoPlace::Mounts)?;
    let written = plain(written);
    if let Some((hierarchy, path)) = hierarchies.group_at(&written) {
        return if path == "/" {
            Err(NoPlace::Root)
        } else if written.is_dir() {
            Ok(vec![Place::Group {
                hierarchy: hierarchy.clone(),
                path,
            }])
        } else {
            Err(NoPlace::Unknown)
        };
    }
    let Some(path) = written.to_str().filter(|path| *path != "/") else {
        return Err(NoPlace::Root);
    };
    Ok(vec![
        Place::Group {
            hierarchy: Hierarchy::Unified,
            path: path.to_owned(),
        },
        Place::Legacy {
            path: path.to_owned(),
        },
    ])
}

/// Without slashes that say nothing. Two dots stay: a group outside of Murphy's cgroup namespace has them.
fn plain(path: &Path) -> PathBuf {
    path.components()
        .filter(|part| *part != Component::CurDir)
        .collect()
}

fn is_below(group: &str, path: &str) -> bool {
    group
        .strip_prefix(path)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_holds_its_own_and_those_below_in_its_tree_only() {
        let of = |lines: &str| Memberships::parse(lines);
        let unified = Place::Group {
            hierarchy: Hierarchy::Unified,
            path: "/a/b".to_owned(),
        };
        assert!(unified.holds(&of("0::/a/b")));
        assert!(unified.holds(&of("0::/a/b/c")));
        assert!(!unified.holds(&of("0::/a/bc")));
        assert!(!unified.holds(&of("0::/a")));
        assert!(!unified.holds(&of("3:cpu:/a/b\n0::/")));
        let legacy = Place::Legacy {
            path: "/a/b".to_owned(),
        };
        assert!(legacy.holds(&of("3:cpu:/a/b\n0::/")));
        assert!(!legacy.holds(&of("0::/a/b")));
    }

    #[test]
    fn a_unit_of_the_machine_is_not_one_of_a_user() {
        let place = |of_user| Place::Unit {
            name: UnitName::new("a"),
            of_user,
        };
        let machine = Memberships::parse("0::/system.slice/a.service");
        let user = Memberships::parse("1:name=systemd:/user.slice/user@7.service/a.service");
        assert!(place(false).holds(&machine) && !place(false).holds(&user));
        assert!(place(true).holds(&user) && !place(true).holds(&machine));
    }

    #[test]
    fn the_root_is_no_place() {
        for path in ["/", "//", "/./"] {
            assert!(matches!(places(Path::new(path)), Err(NoPlace::Root)));
        }
    }
}
