//! etcd, in Go: one member that is written to and read from over HTTP.

use super::{QUICK, Story, port};
use crate::victims::program::tool_or_skip;

/// None where it is not installed.
pub fn story() -> Option<Story> {
    tool_or_skip("etcd")?;
    let (clients, peers) = (port(), port());
    let url = |port: u16| format!("http://127.0.0.1:{port}");
    let flags = [
        ("data-dir", "data".to_owned()),
        ("listen-client-urls", url(clients)),
        ("advertise-client-urls", url(clients)),
        ("listen-peer-urls", url(peers)),
        ("initial-advertise-peer-urls", url(peers)),
        ("initial-cluster", format!("default={}", url(peers))),
    ];
    let flags = flags.map(|(name, value)| format!("--{name}={value}"));
    let key = "-d '{\"key\":\"Zm9v\"}'";
    let both = "-d '{\"key\":\"Zm9v\",\"value\":\"YmFy\"}'";
    let kv = format!("{}/v3/kv", url(clients));
    Some(Story {
        name: "etcd",
        beside: Vec::new(),
        once: None,
        phases: QUICK,
        rate: "20%",
        factor: "1.5",
        tolerance: "5%",
        command: [vec!["etcd".to_owned()], flags.to_vec()].concat(),
        port: clients,
        workload: format!(
            "for i in $(seq 50); do curl -s -m 2 {both} {kv}/put; curl -s -m 2 {key} {kv}/range; done >/dev/null"
        ),
        probe: format!("up={}/health", url(clients)),
        validation: format!(
            "sh:curl -s -m 3 {both} {kv}/put >/dev/null; curl -s -m 3 {key} {kv}/range | grep -q YmFy"
        ),
        natural: vec!["read-tcp-nowait-EAGAIN", "accept4-tcp-nowait-EAGAIN"],
        // What could not be written to the log of transactions ends it.
        short: vec![
            ("fdatasync-file-EIO", Some("crashed")),
            ("nanosleep-EINTR", None),
        ],
        long: vec![
            "read-tcp-nowait-EAGAIN",
            "accept4-tcp-nowait-EAGAIN",
            "epoll_pwait-epoll-EINTR",
            "read-tcp-nowait-ECONNRESET",
            "write-tcp-nowait-EPIPE",
            "accept4-tcp-nowait-EMFILE",
            "write-file-ENOSPC",
            "epoll_ctl:add-tcp-nowait-ENOMEM",
        ],
    })
}
