//! A cgroup hierarchy is a tree of process groups in which the kernel counts, limits and freezes.
//!
//! Version 1 has one mounted tree per controller, version 2 a single one; many machines have both.
//! See `cgroups(7)`.

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
};

use crate::process::read_proc;

/// Where this machine's hierarchies are mounted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hierarchies {
    /// The version 2 tree.
    pub unified: Option<PathBuf>,
    /// The version 1 trees: controllers of each and its mount point.
    pub legacy: Vec<(Vec<String>, PathBuf)>,
    mounts: Vec<Mount>,
}

/// One mounted tree, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mount {
    hierarchy: Hierarchy,
    /// The cgroup that shows at the mount point; below `/` in a container.
    root: String,
    point: PathBuf,
}

/// Why there is no top of the tree to attach programs to.
#[derive(Debug, thiserror::Error)]
pub enum TopError {
    /// No tree of cgroups of version 2.
    #[error(
        "find the cgroups: no tree of version 2 is mounted; `mount -t cgroup2 none DIRECTORY` does it"
    )]
    NoTree,
    /// What is mounted is a part of the tree.
    #[error(
        "find the cgroups: {} is not the top of their tree, as in a container; programs there would miss whoever is outside of it", directory.display()
    )]
    NoTop {
        /// Where it is mounted.
        directory: PathBuf,
    },
    /// The mounts cannot be read.
    #[error("read /proc/self/mountinfo: {0}")]
    Mounts(#[source] io::Error),
}

/// The top of the tree of cgroups of version 2.
pub fn top() -> Result<PathBuf, TopError> {
    let trees = Hierarchies::find().map_err(TopError::Mounts)?;
    let directory = trees.directory("/").ok_or(TopError::NoTree)?;
    // Every group has this file but the top one, which says what `cgroup_namespaces(7)` hides.
    if directory.join("cgroup.events").exists() {
        return Err(TopError::NoTop { directory });
    }
    Ok(directory)
}

/// One tree of groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hierarchy {
    /// The version 2 tree.
    Unified,
    /// The version 1 tree of these controllers; a named tree without any is `name=NAME`.
    Legacy(Vec<String>),
}

impl Hierarchies {
    /// Reads the mounts as the calling process sees them.
    pub fn find() -> io::Result<Self> {
        fs::read_to_string("/proc/self/mountinfo").map(|mounts| Self::parse(&mounts))
    }

    /// Reads the lines of `proc_pid_mountinfo(5)`.
    fn parse(mounts: &str) -> Self {
        let mut found = Self::default();
        for line in mounts.lines() {
            let Some((place, kind)) = line.split_once(" - ") else {
                continue;
            };
            let (Some(root), Some(point)) = (place.split(' ').nth(3), place.split(' ').nth(4))
            else {
                continue;
            };
            let hierarchy = match kind.split(' ').next() {
                Some("cgroup2") => Hierarchy::Unified,
                Some("cgroup") => {
                    let options = kind.split(' ').nth(2).unwrap_or_default();
                    let controllers = options
                        .split(',')
                        .filter(|option| !["rw", "ro", "xattr"].contains(option))
                        .map(str::to_owned);
                    Hierarchy::Legacy(controllers.collect())
                }
                _ => continue,
            };
            match &hierarchy {
                Hierarchy::Unified if found.unified.is_none() => found.unified = Some(point.into()),
                Hierarchy::Unified => {}
                Hierarchy::Legacy(controllers) => {
                    found.legacy.push((controllers.clone(), point.into()));
                }
            }
            found.mounts.push(Mount {
                hierarchy,
                root: root.to_owned(),
                point: point.into(),
            });
        }
        found
    }

    /// Everyone in the top-level groups of this name, or below them, in any tree; some more than once.
    pub fn members(&self, name: &str) -> Vec<u32> {
        let mut found = Vec::new();
        for mount in &self.mounts {
            collect_members(&mount.point.join(name), &mut found);
        }
        found
    }

    /// Removes the top-level groups of this name, and all below them, from every tree. False when there was none.
    /// The kernel refuses for a group that somebody is in.
    pub fn remove(&self, name: &str) -> io::Result<bool> {
        let mut removed = false;
        for mount in &self.mounts {
            let group = mount.point.join(name);
            if group.is_dir() {
                remove_group(&group)?;
                removed = true;
            }
        }
        Ok(removed)
    }

    /// The tree and the group in it that a directory below a mount point is; `None` when it is below none.
    pub fn group_at(&self, directory: &Path) -> Option<(&Hierarchy, String)> {
        let mount = self
            .mounts
            .iter()
            .filter(|mount| directory.starts_with(&mount.point))
            .max_by_key(|mount| mount.point.components().count())?;
        let below = directory.strip_prefix(&mount.point).ok()?.to_str()?;
        let root = mount.root.trim_end_matches('/');
        let group = match below {
            "" => root.to_owned(),
            _ => format!("{root}/{below}"),
        };
        let group = if group.is_empty() {
            "/".to_owned()
        } else {
            group
        };
        Some((&mount.hierarchy, group))
    }

    /// The directory of a group of the version 2 tree, such as `/system.slice/a.service`; `None` where no mount shows it.
    pub fn directory(&self, group: &str) -> Option<PathBuf> {
        self.mounts
            .iter()
            .filter(|mount| mount.hierarchy == Hierarchy::Unified)
            .find_map(|mount| {
                let below = Path::new(group).strip_prefix(&mount.root).ok()?;
                let is_plain = |part| matches!(part, Component::Normal(_));
                let parts = below.components();
                // An empty rest would leave a slash at the end.
                let joined =
                    |point: &PathBuf| parts.clone().fold(point.clone(), |at, part| at.join(part));
                parts.clone().all(is_plain).then(|| joined(&mount.point))
            })
    }

    /// Where a version 1 controller is mounted.
    pub fn controller(&self, name: &str) -> Option<&Path> {
        self.legacy
            .iter()
            .find(|(controllers, _)| controllers.iter().any(|c| c == name))
            .map(|(_, point)| point.as_path())
    }
}

/// The groups one process is in, one for each tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memberships(Vec<(Hierarchy, String)>);

impl Memberships {
    /// Reads `/proc/PID/cgroup`; `None` once the process is gone.
    pub fn of(pid: u32) -> Option<Self> {
        let bytes = read_proc(pid, "cgroup").ok()?;
        Some(Self::parse(&String::from_utf8_lossy(&bytes)))
    }

    /// Reads the lines of `cgroups(7)`, "/proc files".
    pub fn parse(lines: &str) -> Self {
        let memberships = lines.lines().filter_map(|line| {
            let (number, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            let hierarchy = if number == "0" && controllers.is_empty() {
                Hierarchy::Unified
            } else {
                Hierarchy::Legacy(controllers.split(',').map(str::to_owned).collect())
            };
            // A group that was removed under a process is still told, with this after it.
            let path = path.strip_suffix(" (deleted)").unwrap_or(path);
            Some((hierarchy, path.to_owned()))
        });
        Self(memberships.collect())
    }

    /// The path of the process's group in the version 2 tree.
    pub fn unified(&self) -> Option<&str> {
        self.iter()
            .find_map(|(hierarchy, path)| (*hierarchy == Hierarchy::Unified).then_some(path))
    }

    /// Each tree and the path of the process's group in it.
    pub fn iter(&self) -> impl Iterator<Item = (&Hierarchy, &str)> {
        self.0
            .iter()
            .map(|(hierarchy, path)| (hierarchy, path.as_str()))
    }
}

/// Whoever is in the group of a directory or below it; nobody where there is none. Processes of a pid namespace that
/// this process does not see are 0.
pub fn members(directory: &Path) -> Vec<u32> {
    let mut found = Vec::new();
    collect_members(directory, &mut found);
    found
}

/// Whoever is in a group or below it; nobody where there is none.
fn collect_members(group: &Path, found: &mut Vec<u32>) {
    let listed = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    found.extend(listed.lines().filter_map(|pid| pid.parse::<u32>().ok()));
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect_members(&entry.path(), found);
        }
    }
}

/// Removes a group after those below it; one that is gone already is no error.
fn remove_group(group: &Path) -> io::Result<()> {
    for entry in fs::read_dir(group)?.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_group(&entry.path())?;
        }
    }
    match fs::remove_dir(group) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_found() {
        let found = Hierarchies::parse(
            "50 49 0:30 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct\n\
             51 49 0:31 /docker/x /sys/fs/cgroup/freezer rw shared:7 - cgroup cgroup rw,freezer\n\
             52 49 0:32 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n\
             53 49 0:33 / /run rw - tmpfs tmpfs rw\n",
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

    #[test]
    fn a_directory_is_a_group_of_its_tree() {
        let found = Hierarchies::parse(
            "50 49 0:30 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n\
             51 49 0:31 /docker/x /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer\n",
        );
        let at = |path: &str| {
            let (hierarchy, group) = found.group_at(Path::new(path))?;
            Some((hierarchy.clone(), group))
        };
        let freezer = Hierarchy::Legacy(vec!["freezer".to_owned()]);
        assert_eq!(
            at("/sys/fs/cgroup/a/b"),
            Some((Hierarchy::Unified, "/a/b".to_owned()))
        );
        assert_eq!(
            at("/sys/fs/cgroup"),
            Some((Hierarchy::Unified, "/".to_owned()))
        );
        assert_eq!(
            at("/sys/fs/cgroup/freezer/y"),
            Some((freezer.clone(), "/docker/x/y".to_owned()))
        );
        assert_eq!(
            at("/sys/fs/cgroup/freezer"),
            Some((freezer, "/docker/x".to_owned()))
        );
        assert_eq!(at("/docker/x"), None);
    }

    #[test]
    fn a_group_of_version_2_has_a_directory_where_a_mount_shows_it() {
        let found = Hierarchies::parse(
            "51 49 0:31 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer\n\
             52 49 0:32 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
        );
        for (group, directory) in [
            ("/", Some("/sys/fs/cgroup/unified")),
            ("/a/b", Some("/sys/fs/cgroup/unified/a/b")),
            ("/../a", None),
        ] {
            assert_eq!(
                found.directory(group),
                directory.map(PathBuf::from),
                "{group}"
            );
        }
        let line = "52 49 0:32 /docker/x /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        let found = Hierarchies::parse(line);
        assert_eq!(
            found.directory("/docker/x/y"),
            Some("/sys/fs/cgroup/y".into())
        );
        assert_eq!(found.directory("/docker"), None);
    }

    #[test]
    fn memberships_tell_the_trees_apart() {
        let found = Memberships::parse("9:name=systemd:/a\n3:cpu,cpuacct:/b:c\n0::/d (deleted)\n");
        let all: Vec<_> = found.iter().collect();
        let legacy = |names: &[&str]| {
            Hierarchy::Legacy(names.iter().map(|name| (*name).to_owned()).collect())
        };
        assert_eq!(
            all,
            [
                (&legacy(&["name=systemd"]), "/a"),
                (&legacy(&["cpu", "cpuacct"]), "/b:c"),
                (&Hierarchy::Unified, "/d"),
            ]
        );
    }

    #[test]
    fn a_group_goes_with_those_below_it_and_others_stay() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (dir.path().join("cpu"), dir.path().join("unified"));
        fs::create_dir_all(first.join("lab/a/b")).unwrap();
        fs::create_dir_all(first.join("lab-of-another")).unwrap();
        fs::create_dir_all(second.join("lab")).unwrap();
        let line =
            |point: &Path, kind: &str| format!("50 49 0:30 / {} rw - {kind}\n", point.display());
        let mounts = line(&first, "cgroup cgroup rw,cpu") + &line(&second, "cgroup2 cgroup2 rw");
        let found = Hierarchies::parse(&mounts);
        fs::write(first.join("lab-of-another/cgroup.procs"), "5\n").unwrap();
        fs::write(first.join("lab/a/cgroup.procs"), "7\n8\n").unwrap();
        assert_eq!(found.members("lab"), [7, 8]);
        fs::remove_file(first.join("lab/a/cgroup.procs")).unwrap();
        assert!(found.remove("lab").unwrap());
        assert!(!found.remove("lab").unwrap());
        assert!(!second.join("lab").exists());
        assert!(first.join("lab-of-another").exists());
    }
}
