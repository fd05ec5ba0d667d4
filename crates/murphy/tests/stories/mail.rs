//! Dovecot, in C: mails are handed to it by LMTP and fetched by IMAP.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::Path,
};

use super::{QUICK, Story, listens, port, words};
use crate::{
    harness::{Guard, say_skipped, wait_until},
    victims::program::tool_or_skip,
};

/// Whose mails they are: somebody whom the package brings.
const USER: &str = "dovenull";

/// What an earlier one has left of itself and of the mails that went round is of no trial but its own.
const BEGIN: &str = "rm -rf run state mail/round mail/many mail/checked
mkdir run state
exec dovecot -F -c dovecot.conf
";

/// None where it is not installed.
pub fn story(guard: &Guard, dir: &Path) -> Option<Story> {
    tool_or_skip("dovecot")?;
    tool_or_skip("python3")?;
    for part in ["imap", "lmtp"] {
        if !Path::new("/usr/lib/dovecot").join(part).exists() {
            say_skipped(&format!("Dovecot has no {part} here"));
            return None;
        }
    }
    let Some((user, group)) = ids_of(USER) else {
        say_skipped(&format!("there is no user {USER}"));
        return None;
    };
    // Its processes are of several users, and all of them come by here.
    for folder in dir.ancestors().take(2) {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).expect("they may enter");
    }
    fs::create_dir(dir.join("mail")).expect("a folder");
    chown(dir.join("mail"), Some(user), Some(group)).expect("it is theirs");
    fs::write(dir.join("begin"), BEGIN).expect("a script");
    let (lmtp, imap, rounds) = (port(), port(), port());
    let victims = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../victims/mail");
    let written = fs::read_to_string(victims.join("dovecot.conf")).expect("a configuration");
    let filled = written
        .replace("FOLDER", &dir.display().to_string())
        .replace("= LMTP", &format!("= {lmtp}"))
        .replace("= IMAP", &format!("= {imap}"));
    fs::write(dir.join("dovecot.conf"), filled).expect("a file");
    let mail = victims.join("mail.py");
    let mail = |what: &str| format!("python3 {} {what} {lmtp} {imap}", mail.display());
    let serve = format!("{} {rounds}", mail("serve"));
    let prober = guard
        .program(Path::new("sh"))
        .args(["-c", &format!("exec {serve}")]);
    let prober = prober.in_dir(dir).start();
    wait_until("there is somebody who sends and fetches", || {
        listens(rounds)
    });
    Some(Story {
        name: "mail",
        command: words("sh begin"),
        port: imap,
        beside: vec![prober],
        once: Some(mail("keep")),
        workload: mail("many"),
        probe: format!("round=http://127.0.0.1:{rounds}/"),
        validation: format!("sh:{}", mail("kept")),
        phases: QUICK,
        rate: "50%",
        factor: "3",
        tolerance: "5%",
        natural: vec![
            "newfstatat-ENOENT",
            "read-tcp-nowait-EAGAIN",
            "rename-ENOENT",
        ],
        short: vec![
            ("fdatasync-file-EIO", None),
            ("read-tcp-nowait-EAGAIN", None),
        ],
        long: vec![
            "newfstatat-ENOENT",
            "rename-ENOENT",
            "openat:plain-ENOENT",
            "unlink-ENOENT",
            "openat:plain-EMFILE",
            "write-file-ENOSPC",
            "read-tcp-nowait-ECONNRESET",
            "epoll_wait-epoll-EINTR",
        ],
    })
}

/// A user's number, and that of its group.
fn ids_of(name: &str) -> Option<(u32, u32)> {
    let users = fs::read_to_string("/etc/passwd").ok()?;
    let line = users
        .lines()
        .find(|line| line.split(':').next() == Some(name))?;
    let mut fields = line.split(':').skip(2);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}
