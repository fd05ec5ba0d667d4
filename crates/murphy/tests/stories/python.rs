//! A web server in Python: its own `http.server`, which has one page.

use std::{fs, path::Path};

use super::{QUICK, Story, port};

pub fn story(dir: &Path) -> Story {
    let port = port();
    fs::write(dir.join("page"), "it is here\n").expect("a file");
    let url = format!("http://127.0.0.1:{port}");
    Story {
        name: "python",
        beside: Vec::new(),
        once: None,
        phases: QUICK,
        rate: "20%",
        factor: "1.2",
        tolerance: "5%",
        command: [
            "python3",
            "-m",
            "http.server",
            "--bind",
            "127.0.0.1",
            &port.to_string(),
        ]
        .map(str::to_owned)
        .to_vec(),
        port,
        workload: format!(
            "for i in $(seq 50); do curl -s -m 2 {url}/page {url}/none; done >/dev/null"
        ),
        probe: format!("up={url}/page"),
        validation: format!("sh:curl -s -m 5 {url}/page | grep -q 'it is here'"),
        natural: vec!["openat:plain-ENOENT"],
        // Who cannot be given a page is told so; nobody else notices.
        short: vec![("openat:plain-EMFILE", None), ("openat:plain-ENOENT", None)],
        long: vec![
            "openat:plain-EIO",
            "read-file-EIO",
            "sendto-tcp-EPIPE",
            "recvfrom-tcp-ECONNRESET",
            "recvfrom-tcp-EINTR",
            "accept4-tcp-EMFILE",
            "close-EIO",
            "poll-EINTR",
        ],
    }
}
