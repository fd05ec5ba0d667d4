//! Needs are what a machine must have for the shop; what is missing is said before anything is changed.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use murphy_fault::journal::Journal;
use murphy_sys::privilege;

use super::{
    Form, LabError, directory, ended,
    member::{MEMBERS, Member},
};

/// What to do when a program is missing.
const INSTALL: &str = "labs/setup/packages shop installs it";
/// Where Debian keeps the programs of each version of the server.
const DEBIANS: &str = "/usr/lib/postgresql";

/// What the database runs with.
#[derive(Clone, Debug)]
pub struct Server {
    /// The directory of its programs.
    pub programs: PathBuf,
    /// Its user, since it refuses to run as root.
    pub user: u32,
    /// The group of that user.
    pub group: u32,
}

/// Looks for everything that a form needs.
pub fn check(form: Form) -> Result<Server, LabError> {
    if privilege::user() != 0 {
        return Err(missing("root", "run it as root"));
    }
    let server = server()?;
    let programs: &[&str] = match form {
        Form::Namespaces => &["setpriv", "unshare"],
        Form::Containers => &["setpriv", "unshare", "podman", "conmon", "runc"],
    };
    for program in programs {
        if on_path(program).is_none() {
            return Err(missing(program, INSTALL));
        }
    }
    nothing_there(form)?;
    Ok(server)
}

/// There is one shop at a time.
fn nothing_there(form: Form) -> Result<(), LabError> {
    let directory = directory();
    let records = ended::records(&Journal::of_user()?, &directory)?;
    // An empty directory is what a start leaves that was killed at once.
    let is_used = fs::read_dir(&directory).is_ok_and(|mut entries| entries.next().is_some());
    if is_used || !records.is_empty() {
        return Err(LabError::Present(directory));
    }
    let names = MEMBERS.map(Member::namespace_path);
    match names.into_iter().find(|name| name.exists()) {
        Some(name) if form == Form::Namespaces => Err(LabError::Present(name)),
        _ => Ok(()),
    }
}

fn missing(what: &str, hint: &'static str) -> LabError {
    LabError::Missing {
        what: what.into(),
        hint,
    }
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    // An administrator's programs are not on everybody's path.
    let directories = env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    let mut files = directories.map(|directory| directory.join(program));
    files.find(|file| file.is_file())
}

fn server() -> Result<Server, LabError> {
    let versions = fs::read_dir(DEBIANS).into_iter().flatten().flatten();
    let programs = versions
        .map(|version| version.path().join("bin"))
        .filter(|directory| directory.join("initdb").is_file())
        .max()
        .or_else(|| on_path("initdb").and_then(|file| file.parent().map(Path::to_owned)))
        .ok_or_else(|| missing("PostgreSQL", INSTALL))?;
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let (user, group) =
        ids_of(&users, "postgres").ok_or_else(|| missing("user postgres", INSTALL))?;
    Ok(Server {
        programs,
        user,
        group,
    })
}

/// The ids of a user and of its group, from the lines of `passwd(5)`.
fn ids_of(users: &str, name: &str) -> Option<(u32, u32)> {
    let mut lines = users.lines().map(|line| line.split(':'));
    let mut fields = lines.find_map(|mut fields| (fields.next()? == name).then_some(fields))?;
    Some((fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_its_whole_name() {
        let users = "root:x:0:0:root:/:/bin/sh\npostgresx:x:1:2::/:\npostgres:x:104:112:,,,:/var:/bin/bash\n";
        assert_eq!(ids_of(users, "postgres"), Some((104, 112)));
        assert_eq!(ids_of(users, "post"), None);
    }
}
