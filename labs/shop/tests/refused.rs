//! What a machine lacks is said before anything is changed.

use std::{
    os::unix::{fs::MetadataExt, process::CommandExt},
    path::Path,
    process::{Command, Output},
};

/// The program with a directory of its own, which it must not make.
fn shop(directory: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shop"));
    command
        .args(words)
        .env("MURPHY_SHOP", directory.join("shop"))
        .env("MURPHY_JOURNAL", directory.join("journal"));
    command
}

/// That it refuses, says why, and changes nothing.
fn refuses(mut command: Command, directory: &Path, reason: &str) {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().expect("the program starts");
    let said = String::from_utf8_lossy(&stderr);
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains(reason), "{said}");
    assert!(stdout.is_empty());
    let made = directory.read_dir().expect("own directory").count();
    assert_eq!(made, 0, "it made something");
}

#[test]
fn without_root_nothing_starts() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut command = shop(dir.path(), &["up"]);
    if is_root(dir.path()) {
        command.uid(65534).gid(65534);
    }
    refuses(command, dir.path(), "there is no root here; run it as root");
}

#[test]
fn without_podman_no_container_starts() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    if !is_root(dir.path()) {
        say_skipped("root");
        return;
    }
    let bin = tempfile::tempdir().expect("a temporary directory");
    for program in ["setpriv", "unshare"] {
        let link = bin.path().join(program);
        std::os::unix::fs::symlink(Path::new("/usr/bin").join(program), link).expect("a link");
    }
    let mut command = shop(dir.path(), &["up", "--in", "containers"]);
    command.env("PATH", bin.path());
    let told = command.output().expect("the program starts");
    if String::from_utf8_lossy(&told.stderr).contains("no PostgreSQL") {
        say_skipped("PostgreSQL");
        return;
    }
    let reason = "there is no podman here; labs/setup/packages shop installs it";
    refuses(command, dir.path(), reason);
}

#[test]
fn where_there_is_no_shop_it_is_said() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    refuses(shop(dir.path(), &["status"]), dir.path(), "it is not up");
    let down = shop(dir.path(), &["down"]).output().expect("it starts");
    assert!(down.status.success());
    assert_eq!(down.stdout, b"the shop is not up\n");
}

/// Whether who has made the directory, this test, is root.
fn is_root(directory: &Path) -> bool {
    directory.metadata().is_ok_and(|meta| meta.uid() == 0)
}

/// Says what a test lacks, past the capture of the test runner, so that it is counted.
fn say_skipped(what: &str) {
    use std::io::Write;
    let _ = std::io::stderr().write_all(format!("skipped: {what}\n").as_bytes());
}
