//! A cgroup hierarchy is a tree of process groups in which the kernel counts, limits and freezes.
//!
//! Version 1 has one mounted tree per controller, version 2 a single one; many machines have both.
//! See `cgroups(7)`.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Where this machine's hierarchies are mounted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hierarchies {
    /// The version 2 tree.
    pub unified: Option<PathBuf>,
    /// The version 1 trees: controllers of each and its mount point.
    pub legacy: Vec<(Vec<String>, PathBuf)>,
}

impl Hierarchies {
    /// Reads the mounts as the calling process sees them.
    pub fn find() -> io::Result<Self> {
        fs::read_to_string("/proc/self/mounts").map(|mounts| Self::parse(&mounts))
    }

    fn parse(mounts: &str) -> Self {
        let mut found = Self::default();
        for line in mounts.lines() {
            let mut words = line.split(' ');
            let (_, Some(point), Some(kind), Some(options)) =
                (words.next(), words.next(), words.next(), words.next())
            else {
                continue;
            };
            match kind {
                "cgroup2" if found.unified.is_none() => found.unified = Some(point.into()),
                "cgroup" => {
                    let flags = [
                        "rw", "ro", "relatime", "nosuid", "nodev", "noexec", "noatime",
                    ];
                    let controllers = options
                        .split(',')
                        .filter(|option| !flags.contains(option))
                        .map(str::to_owned)
                        .collect();
                    found.legacy.push((controllers, point.into()));
                }
                _ => {}
            }
        }
        found
    }

    /// Where a version 1 controller is mounted.
    pub fn controller(&self, name: &str) -> Option<&Path> {
        self.legacy
            .iter()
            .find(|(controllers, _)| controllers.iter().any(|c| c == name))
            .map(|(_, point)| point.as_path())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_found() {
        let found = Hierarchies::parse(
            "cgroup /sys/fs/cgroup/cpu cgroup rw,relatime,cpu,cpuacct 0 0\n\
             cgroup /sys/fs/cgroup/freezer cgroup rw,freezer 0 0\n\
             cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0\n\
             tmpfs /run tmpfs rw 0 0\n",
        );
        assert_eq!(
            found.unified.as_deref(),
            Some(Path::new("/sys/fs/cgroup/unified"))
        );
        assert_eq!(
            found.controller("cpuacct"),
            Some(Path::new("/sys/fs/cgroup/cpu"))
        );
        assert_eq!(
            found.controller("freezer"),
            Some(Path::new("/sys/fs/cgroup/freezer"))
        );
        assert_eq!(found.controller("memory"), None);
    }
}
