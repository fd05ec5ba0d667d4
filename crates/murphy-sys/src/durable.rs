//! A durable file is one whose content and name are on disk before anything is done that relies on them.
//!
//! A file is born complete: written without a name, synced, then linked, so that nobody ever sees half of
//! its first content. Where files cannot be without a name, as on an overlay before Linux 6.10, which the root
//! of a container is, it has another name first. See `open(2)` on `O_TMPFILE`, `linkat(2)`, `fsync(2)`.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::AsRawFd,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, CWD, FileType, Mode, OFlags, linkat, open, openat, statat, unlink, unlinkat},
    io::Errno,
};

/// Makes the file `name` in `directory` with this first content, on disk when it returns. Fails with
/// `AlreadyExists` when the name is taken. The handle appends.
pub fn create(directory: &Path, name: &str, content: &[u8]) -> io::Result<File> {
    let file = match open(directory, OFlags::TMPFILE | HANDLE, PRIVATE) {
        Ok(nameless) => {
            let file = filled(nameless.into(), content)?;
            let nameless = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
            let path = directory.join(name);
            linkat(CWD, &nameless, CWD, path, AtFlags::SYMLINK_FOLLOW)?;
            file
        }
        Err(Errno::OPNOTSUPP) => create_by_draft(directory, name, content)?,
        Err(errno) => return Err(errno.into()),
    };
    sync_directory(directory)?;
    Ok(file)
}

/// How a new file is opened, and for whom.
const HANDLE: OFlags = OFlags::RDWR.union(OFlags::APPEND).union(OFlags::CLOEXEC);
const PRIVATE: Mode = Mode::from_raw_mode(0o600);

/// The same with a draft that has a name of its own: who is killed meanwhile leaves it behind, as `.NAME.PID`.
fn create_by_draft(directory: &Path, name: &str, content: &[u8]) -> io::Result<File> {
    let draft = directory.join(format!(".{name}.{}", std::process::id()));
    let file = open(&draft, OFlags::CREATE | OFlags::EXCL | HANDLE, PRIVATE)?;
    let linked = filled(file.into(), content).and_then(|file| {
        linkat(CWD, &draft, CWD, directory.join(name), AtFlags::empty())?;
        Ok(file)
    });
    unlink(&draft)?;
    linked
}

fn filled(mut file: File, content: &[u8]) -> io::Result<File> {
    file.write_all(content)?;
    file.sync_all()?;
    Ok(file)
}

/// Puts the directory's names on disk.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Which file a path led to when it was looked at: device and inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inode {
    /// The file system.
    pub device: u64,
    /// The file in it.
    pub number: u64,
}

impl Inode {
    /// Looks at `path` itself, not at what a link there points to.
    pub fn of(path: &Path) -> io::Result<Self> {
        use std::os::unix::fs::MetadataExt;
        let meta = path.symlink_metadata()?;
        Ok(Self {
            device: meta.dev(),
            number: meta.ino(),
        })
    }
}

/// Removes the directory at `path` with all in it, if it still is `expected`. Follows no link and enters
/// no other file system; a mount inside makes it fail with what was mounted untouched. False when
/// something else is there.
pub fn remove_tree(path: &Path, expected: Inode) -> io::Result<bool> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::other("it has no parent directory"));
    };
    let directory = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let parent = open(parent, directory, Mode::empty())?;
    let tree = match openat(&parent, name, directory | OFlags::NOFOLLOW, Mode::empty()) {
        Ok(tree) => tree,
        Err(Errno::LOOP | Errno::NOTDIR) => return Ok(false),
        Err(errno) => return Err(errno.into()),
    };
    let stat = rustix::fs::fstat(&tree)?;
    if (stat.st_dev, stat.st_ino) != (expected.device, expected.number) {
        return Ok(false);
    }
    empty(&tree, expected.device)?;
    unlinkat(&parent, name, AtFlags::REMOVEDIR)?;
    Ok(true)
}

fn empty(directory: &impl std::os::fd::AsFd, device: u64) -> io::Result<()> {
    let entries: Vec<_> = rustix::fs::Dir::read_from(directory)?.collect::<Result<_, _>>()?;
    for entry in entries {
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if stat.st_dev != device {
            return Err(io::Error::other(format!(
                "{} in it is on another file system; unmount it first",
                name.to_string_lossy()
            )));
        }
        if FileType::from_raw_mode(stat.st_mode).is_dir() {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            empty(&openat(directory, name, flags, Mode::empty())?, device)?;
            unlinkat(directory, name, AtFlags::REMOVEDIR)?;
        } else {
            unlinkat(directory, name, AtFlags::empty())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::symlink};

    #[test]
    fn a_name_is_given_once() {
        let dir = tempfile::tempdir().unwrap();
        create(dir.path(), "a", b"first").unwrap();
        let second = create(dir.path(), "a", b"second");
        assert_eq!(second.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(dir.path().join("a")).unwrap(), b"first");
    }

    #[test]
    fn a_draft_is_as_good_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = create_by_draft(dir.path(), "a", b"first").unwrap();
        let second = create_by_draft(dir.path(), "a", b"second");
        assert_eq!(second.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        file.write_all(b" and more").unwrap();
        assert_eq!(fs::read(dir.path().join("a")).unwrap(), b"first and more");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_tree_goes_and_what_its_links_point_to_stays() {
        let dir = tempfile::tempdir().unwrap();
        let kept = dir.path().join("kept");
        fs::create_dir(&kept).unwrap();
        fs::write(kept.join("file"), "x").unwrap();
        let tree = dir.path().join("tree");
        fs::create_dir_all(tree.join("a/b")).unwrap();
        fs::write(tree.join("a/b/file"), "x").unwrap();
        symlink(&kept, tree.join("a/link")).unwrap();
        assert!(remove_tree(&tree, Inode::of(&tree).unwrap()).unwrap());
        assert!(!tree.exists());
        assert!(kept.join("file").exists());
    }

    #[test]
    fn another_directory_or_a_link_in_its_place_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (tree, other) = (dir.path().join("tree"), dir.path().join("other"));
        fs::create_dir(&tree).unwrap();
        fs::create_dir(&other).unwrap();
        let was = Inode::of(&tree).unwrap();
        assert!(!remove_tree(&other, was).unwrap());
        fs::rename(&tree, dir.path().join("moved")).unwrap();
        symlink(&other, &tree).unwrap();
        assert!(!remove_tree(&tree, was).unwrap());
        assert!(other.exists());
    }
}
