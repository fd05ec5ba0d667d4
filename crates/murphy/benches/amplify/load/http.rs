//! Servers that are asked over HTTP, by wrk.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command},
};

use super::{CLIENTS, Load, TURN_S, end, quiet, run, until_it_works};
use crate::{Lab, Outcome};

/// Whether those who ask keep their connections.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    Yes,
    No,
}

/// A server, and what it is asked.
pub struct Http {
    child: Child,
    url: String,
    kept: Kept,
    /// What wrk says to it, where that is not a plain question.
    script: Option<PathBuf>,
}

fn port() -> Outcome<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn listens(port: u16) -> Outcome<()> {
    until_it_works(|| Ok(TcpStream::connect(("127.0.0.1", port)).map(drop)?))
}

impl Http {
    /// nginx, with one process that works, a page of a kilobyte, and a log of who asked.
    pub fn nginx(lab: &Lab, kept: Kept) -> Outcome<Self> {
        let port = port()?;
        let directory = lab.directory.path().join(format!("nginx-{port}"));
        fs::create_dir(&directory)?;
        fs::write(directory.join("page"), [b'x'; 1024])?;
        let configuration = format!(
            "daemon off; user root; worker_processes 1; pid pid; error_log error;
            events {{}}
            http {{
                access_log access;
                keepalive_requests 1000000;
                server {{ listen 127.0.0.1:{port}; root {}; }}
            }}",
            directory.display()
        );
        fs::write(directory.join("conf"), configuration)?;
        let child = quiet(
            Command::new("nginx")
                .arg("-p")
                .arg(&directory)
                .args(["-c", "conf"]),
        )?;
        let url = format!("http://127.0.0.1:{port}/page");
        let server = Self {
            child,
            url,
            kept,
            script: None,
        };
        listens(port)?;
        Ok(server)
    }

    /// etcd, one member; each of those who ask does this to one key.
    pub fn etcd(lab: &Lab, what: &str) -> Outcome<Self> {
        let directory = lab.directory.path().join(format!("etcd-{what}"));
        fs::create_dir(&directory)?;
        let (clients, peers) = (port()?, port()?);
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let script = directory.join("ask.lua");
        let body = r#"{"key":"Zm9v","value":"YmFy"}"#;
        let body = if what == "put" {
            body
        } else {
            r#"{"key":"Zm9v"}"#
        };
        fs::write(
            &script,
            format!("wrk.method = 'POST'\nwrk.body = '{body}'\n"),
        )?;
        let child = quiet(
            Command::new("etcd")
                .arg("--data-dir")
                .arg(directory.join("data"))
                .args(["--listen-client-urls", &url(clients)])
                .args(["--advertise-client-urls", &url(clients)])
                .args(["--listen-peer-urls", &url(peers)])
                .args(["--initial-advertise-peer-urls", &url(peers)])
                .args(["--initial-cluster", &format!("default={}", url(peers))]),
        )?;
        let server = Self {
            child,
            url: format!("{}/v3/kv/{what}", url(clients)),
            kept: Kept::Yes,
            script: Some(script),
        };
        listens(clients)?;
        Ok(server)
    }
}

impl Http {
    /// The process that works for the first one.
    pub fn child(&self) -> Outcome<u32> {
        let pid = self.child.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
        let first = children.split_whitespace().next();
        Ok(first.ok_or("it has no child")?.parse()?)
    }
}

impl Load for Http {
    fn pid(&self) -> Outcome<u32> {
        Ok(self.child.id())
    }

    /// Answers in a second.
    fn throughput(&self) -> Outcome<f64> {
        let mut wrk = Command::new("wrk");
        wrk.args(["-t", "1", "-c", CLIENTS, "-d", TURN_S]);
        if self.kept == Kept::No {
            wrk.args(["-H", "Connection: close"]);
        }
        if let Some(script) = &self.script {
            wrk.arg("-s").arg(script);
        }
        let said = run(wrk.arg(&self.url))?;
        if said.contains("Non-2xx") || said.contains("Socket errors") {
            return Err(format!("not all was answered by {}: {said}", self.url).into());
        }
        let number = said
            .lines()
            .find_map(|line| line.strip_prefix("Requests/sec:"));
        let number = number.ok_or_else(|| format!("wrk said {said}"))?;
        Ok(number.trim().parse()?)
    }
}

impl Drop for Http {
    fn drop(&mut self) {
        let pid = self.child.id();
        end(&mut self.child, pid, "TERM");
    }
}
