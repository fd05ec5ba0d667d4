//! A unit is what systemd starts and stops; its processes share a cgroup of the unit's name.
//!
//! See `systemd.unit(5)`, "String escaping for inclusion in unit names", and systemd's
//! `src/basic/cgroup-util.c` for the names of groups.

use std::fmt::{self, Write as _};

use murphy_sys::cgroup::{Hierarchy, Memberships};

use crate::container::is_container;

/// What the name of a unit may end in.
const SUFFIXES: [&str; 6] = [".service", ".slice", ".scope", ".socket", ".mount", ".swap"];

/// The name of a unit, such as `postgresql.service`, or of a template, such as `postgresql@.service`, which
/// stands for all its instances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitName(String);

impl UnitName {
    /// The name as `systemctl` would take it: without a suffix it is a service, and characters that no unit
    /// name holds are escaped.
    pub fn new(text: &str) -> Self {
        let mut name = escaped(text);
        if !SUFFIXES.iter().any(|suffix| name.ends_with(suffix)) {
            name.push_str(".service");
        }
        Self(name)
    }

    /// Whether a group of this name, one part of a path, is this unit's.
    fn is_group(&self, part: &str) -> bool {
        // A name that the kernel could take for a file of its own gets an underscore in front.
        let part = part.strip_prefix('_').unwrap_or(part);
        if part == self.0 {
            return true;
        }
        let Some((template, suffix)) = self.0.split_once("@.") else {
            return false;
        };
        part.strip_prefix(template)
            .and_then(|rest| rest.strip_prefix('@'))
            .and_then(|rest| rest.strip_suffix(suffix))
            .and_then(|rest| rest.strip_suffix('.'))
            .is_some_and(|instance| !instance.is_empty())
    }

    /// The path of this unit's group, when a process with these memberships is in it or below.
    pub(crate) fn group_of<'m>(&self, memberships: &'m Memberships) -> Option<&'m str> {
        memberships
            .iter()
            .filter(|(hierarchy, _)| is_systemd(hierarchy))
            .find_map(|(_, path)| self.group_in(path))
    }

    fn group_in<'p>(&self, path: &'p str) -> Option<&'p str> {
        let mut end = 0;
        for part in path.split('/') {
            end += part.len();
            if self.is_group(part) {
                return path.get(..end);
            }
            // Below, another systemd may run, with units of the same names: those of the container.
            if is_container(part) {
                return None;
            }
            end += 1;
        }
        None
    }
}

/// Whether a unit of this path belongs to the service manager of a user, not of the machine.
pub(crate) fn is_of_user(path: &str) -> bool {
    let mut parts = path.split('/').filter(|part| part.starts_with("user@"));
    parts.any(|part| !path.ends_with(part))
}

/// The tree in which systemd keeps units: version 2, or its own named tree of version 1.
fn is_systemd(hierarchy: &Hierarchy) -> bool {
    match hierarchy {
        Hierarchy::Unified => true,
        Hierarchy::Legacy(controllers) => controllers.iter().any(|c| c == "name=systemd"),
    }
}

fn escaped(text: &str) -> String {
    let mut name = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '/' => name.push('-'),
            'a'..='z' | 'A'..='Z' | '0'..='9' | ':' | '-' | '_' | '.' | '\\' | '@' => {
                name.push(character);
            }
            _ => {
                for byte in character.encode_utf8(&mut [0; 4]).bytes() {
                    let _ = write!(name, "\\x{byte:02x}");
                }
            }
        }
    }
    name
}

impl fmt::Display for UnitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(unit: &str, path: &str) -> Option<String> {
        UnitName::new(unit).group_in(path).map(str::to_owned)
    }

    #[test]
    fn a_unit_is_found_wherever_its_slice_is() {
        for (unit, path, found) in [
            (
                "a.service",
                "/system.slice/a.service",
                Some("/system.slice/a.service"),
            ),
            (
                "a",
                "/system.slice/a.service/sub/x",
                Some("/system.slice/a.service"),
            ),
            ("a", "/system.slice/aa.service", None),
            (
                "pg@15-main.service",
                "/system.slice/system-pg.slice/pg@15-main.service",
                Some("/system.slice/system-pg.slice/pg@15-main.service"),
            ),
            (
                "pg@.service",
                "/system.slice/system-pg.slice/pg@15-main.service",
                Some("/system.slice/system-pg.slice/pg@15-main.service"),
            ),
            ("pg@.service", "/system.slice/pg@.service2", None),
            (
                "pg@.service",
                "/system.slice/pg@.service",
                Some("/system.slice/pg@.service"),
            ),
            (
                r"system-systemd\x2dfsck.slice",
                r"/system.slice/system-systemd\x2dfsck.slice/x",
                Some(r"/system.slice/system-systemd\x2dfsck.slice"),
            ),
            ("tasks.service", "/_tasks.service", Some("/_tasks.service")),
            ("a", "/docker/a", None),
            (
                "a",
                "/docker/c9d36dd2a57965502f59821f1ea7213abeecba419805e1728fad55974ee4c9b0/system.slice/a.service",
                None,
            ),
        ] {
            assert_eq!(group(unit, path).as_deref(), found, "{unit} in {path}");
        }
    }

    #[test]
    fn what_no_unit_name_holds_is_escaped() {
        assert_eq!(
            UnitName::new("fsck@dev/sda").to_string(),
            "fsck@dev-sda.service"
        );
        assert_eq!(UnitName::new("a b").to_string(), r"a\x20b.service");
        assert_eq!(UnitName::new(r"a\x2db.mount").to_string(), r"a\x2db.mount");
    }

    #[test]
    fn a_unit_of_a_user_is_told_from_one_of_the_machine() {
        assert!(is_of_user(
            "/user.slice/user-7.slice/user@7.service/app.slice/a.service"
        ));
        assert!(!is_of_user("/user.slice/user-7.slice/user@7.service"));
        assert!(!is_of_user("/system.slice/a.service"));
    }
}
