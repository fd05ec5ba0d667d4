//! `TTorrent`, in Java: a client that fetches a file through a tracker of the test's, again and again.

use std::{fs, path::Path, process::Command};

use super::{QUICK, Story, listens, port, words};
use crate::{
    harness::{Guard, say_skipped, wait_until},
    victims::program::tool_or_skip,
};

/// How long the file is.
const BYTES: u32 = 8_000_000;

/// None where it cannot be built or fetched.
pub fn story(guard: &Guard, dir: &Path) -> Option<Story> {
    for tool in ["java", "javac", "mvn", "curl"] {
        tool_or_skip(tool)?;
    }
    let classes = classes()?;
    let (tracker, health) = (port(), port());
    let served = dir.join("served");
    fs::create_dir(&served).expect("a folder");
    // A small heap and one collector: the client is what is looked at.
    let java = format!("java -Xmx256m -XX:+UseSerialGC -cp {classes} FetchLoop");
    let serve = words(&format!("{java} serve served {tracker} {BYTES}"));
    let seeder = guard
        .program(Path::new("sh"))
        .args(["-c", "exec \"$@\" >seeder 2>&1", "sh"])
        .args(serve)
        .in_dir(dir)
        .start();
    wait_until("there is somebody who has it", || {
        listens(tracker) && served.join("torrent").exists()
    });
    let url = format!("http://127.0.0.1:{health}/");
    Some(Story {
        name: "torrent",
        command: words(&format!("{java} fetch served/torrent . {health}")),
        port: health,
        beside: vec![seeder],
        once: None,
        workload: format!("for i in $(seq 50); do curl -s -m 2 {url} >/dev/null; sleep 0.02; done"),
        probe: format!("fetches={url}"),
        // One that was cut short may be the last yet: what is lost stays so.
        validation: format!(
            "sh:for i in 1 2 3 4; do curl -s -m 2 {url} | grep -q 'whole: true' && exit 0; sleep 1; done; exit 1"
        ),
        phases: [QUICK[0], [8, 4, 16, 40]],
        rate: "20%",
        factor: "1.2",
        tolerance: "5%",
        natural: vec!["newfstatat-ENOENT", "accept-tcp-nowait-EAGAIN"],
        short: vec![("newfstatat-ENOENT", None), ("read-tcp-EINTR", None)],
        long: vec![
            "openat:plain-ENOENT",
            "unlink-ENOENT",
            "accept-tcp-nowait-EAGAIN",
            "read-tcp-ECONNRESET",
            "write-tcp-ECONNRESET",
            "accept-tcp-nowait-EMFILE",
            "epoll_wait-epoll-EINTR",
            "pwrite64-file-ENOSPC",
        ],
    })
}

/// Where its classes and those of `TTorrent` are: there already, or made now.
fn classes() -> Option<String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../victims/torrent");
    let built = Path::new(env!("CARGO_TARGET_TMPDIR")).join("torrent");
    let run = |program: &str, args: &[&str]| {
        let done = Command::new(program)
            .args(args)
            .current_dir(&source)
            .output();
        let done = done.expect("it starts");
        let said = [done.stdout, done.stderr].concat();
        done.status
            .success()
            .then_some(())
            .ok_or_else(|| String::from_utf8_lossy(&said).into_owned())
    };
    let jars = built.join("jars");
    if !jars.exists() {
        let draft = built.join(format!("jars.{}", std::process::id()));
        let to = format!("-DoutputDirectory={}", draft.display());
        // Where there is no way to the packages they cannot be had.
        if let Err(said) = run("mvn", &["-q", "-B", "dependency:copy-dependencies", &to]) {
            say_skipped(&format!("TTorrent cannot be fetched by Maven: {said}"));
            return None;
        }
        // Somebody else's is as good.
        let _ = fs::rename(&draft, &jars);
    }
    let path = format!("{0}:{1}/*", built.display(), jars.display());
    let to = built.display().to_string();
    let compiled = run("javac", &["-cp", &path, "-d", &to, "FetchLoop.java"]);
    compiled.expect("it compiles");
    Some(path)
}
