//! Toxiproxy, beside which Murphy is measured: `labs/peers/toxiproxy`, built from its Go module.

use std::{net::SocketAddr, path::PathBuf, process::Command};

use tempfile::TempDir;

use crate::{Lab, Outcome, lab::Running, wire::address};

/// Where its program is.
const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../labs/peers/toxiproxy");

/// The program.
pub struct Toxiproxy {
    _directory: TempDir,
    program: PathBuf,
}

impl Toxiproxy {
    /// Builds it; none, with the reason on stderr, where that is not possible.
    pub fn build() -> Outcome<Option<Self>> {
        let directory = tempfile::tempdir()?;
        let program = directory.path().join("toxiproxy");
        let mut go = Command::new("go");
        go.args(["build", "-o"]).arg(&program).arg(".");
        go.current_dir(SOURCE);
        let built = go.output();
        let built = built.map_err(|error| error.to_string()).and_then(|output| {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            if output.status.success() {
                Ok(())
            } else {
                Err(said)
            }
        });
        if let Err(why) = built {
            eprintln!("not measured: Toxiproxy: {why}");
            return Ok(None);
        }
        Ok(Some(Self {
            _directory: directory,
            program,
        }))
    }

    /// Starts it at node 1, in the way of a port of node 2.
    pub fn start(&self, lab: &Lab, port: u16, latency_ms: u32) -> Outcome<(Running, SocketAddr)> {
        let here = SocketAddr::new(address(true, 1), port);
        let mut command = Command::new(&self.program);
        command.args([here.to_string(), Lab::there(port).to_string()]);
        command.arg(latency_ms.to_string());
        let running = Running::start_and_hear(&lab.wire.a, &mut command, "ready")?;
        Ok((running, here))
    }
}
