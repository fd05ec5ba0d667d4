//! A mount is a file system at a place of the tree of files; here, those that others have left in a directory.
//!
//! Needs `CAP_SYS_ADMIN` to end one. See `mount_namespaces(7)`, `proc_pid_mountinfo(5)`.

use std::{
    ffi::OsString,
    fs, io,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
};

use nix::mount::{MntFlags, umount2};

/// Unmounts whatever is mounted below a directory, the deepest first; who still uses one of them keeps it to the end.
/// False when there was nothing.
pub fn unmount_below(directory: &Path) -> io::Result<bool> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let mut points = below(&mounts, directory);
    points.sort_by_key(|point| std::cmp::Reverse(point.as_os_str().len()));
    for point in &points {
        umount2(point, MntFlags::MNT_DETACH)?;
    }
    Ok(!points.is_empty())
}

/// The mount points below a directory, from the lines of `proc_pid_mountinfo(5)`.
fn below(mounts: &str, directory: &Path) -> Vec<PathBuf> {
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
    let points = points.map(|point| PathBuf::from(unescaped(point)));
    points
        .filter(|point| point.starts_with(directory) && point != directory)
        .collect()
}

/// Spaces and the like are written as a backslash and three octal digits.
fn unescaped(text: &str) -> OsString {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let digits = tail.get(..3).filter(|_| *first == b'\\');
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        let escaped = digits.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &tail[3..] } else { tail };
    }
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_in_a_directory_are_told_from_those_beside_it() {
        let line = |point: &str| format!("36 35 98:0 / {point} rw - ext3 /dev/root rw\n");
        let points = [
            "/run/a",
            "/run/ab",
            "/run/a/b\\040c",
            "/run/a/b\\040c/d",
            "/",
        ];
        let mounts: String = points.iter().map(|point| line(point)).collect();
        let found = below(&mounts, Path::new("/run/a"));
        assert_eq!(found, ["/run/a/b c", "/run/a/b c/d"].map(PathBuf::from));
    }
}
