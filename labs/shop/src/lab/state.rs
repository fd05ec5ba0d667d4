//! The state of a lab is who runs in it, on disk in its directory, for those who ask later.

use std::{
    fs,
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    time::Duration,
};

use murphy_sys::{namespace::NetNamespace, process::ProcessId};
use serde::{Deserialize, Serialize};

use super::{Form, LabError, error::refused, member::POSTGRES};
use crate::service::{DATABASE_PORT, PORT};

/// How long a service may take to say how it is.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);

/// Who runs.
#[derive(Debug, Serialize, Deserialize)]
pub struct State {
    /// The id of the lab in the journal.
    pub id: String,
    /// What the services run in.
    pub form: Form,
    /// The services.
    pub services: Vec<Running>,
}

/// One service that was started.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Running {
    /// Its name.
    pub name: String,
    /// As which target Murphy knows it.
    pub target: String,
    /// Its first process.
    pub process: ProcessId,
}

impl State {
    /// Says it.
    pub fn write(&self, directory: &Path) -> Result<(), LabError> {
        let path = file(directory);
        let text = serde_json::to_string(self).map_err(io::Error::other);
        text.and_then(|text| fs::write(&path, text))
            .map_err(refused("write", &path))
    }

    /// What was said last; nothing where there is no lab.
    pub fn read(directory: &Path) -> Result<Option<Self>, LabError> {
        let path = file(directory);
        match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            other => other
                .and_then(|bytes| serde_json::from_slice(&bytes).map_err(io::Error::other))
                .map(Some)
                .map_err(refused("read", &path)),
        }
    }
}

fn file(directory: &Path) -> PathBuf {
    directory.join("state.json")
}

impl Running {
    /// Asks it, inside its own network, how it is; what is wrong otherwise.
    pub fn health(&self) -> Result<(), String> {
        if !self.process.is_alive() {
            return Err("its process has ended".into());
        }
        let namespace =
            NetNamespace::of_process(self.process.pid).map_err(|error| error.to_string())?;
        let is_database = self.name == POSTGRES.name;
        let asked = namespace.run(|| {
            if is_database {
                connect(DATABASE_PORT).map(|_| String::new())
            } else {
                get_health()
            }
        });
        match asked.map_err(|error| error.to_string())? {
            Ok(answer) if is_database || answer.starts_with("HTTP/1.1 200") => Ok(()),
            Ok(answer) => Err(answer.lines().last().unwrap_or_default().to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}

fn connect(port: u16) -> io::Result<TcpStream> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let stream = TcpStream::connect_timeout(&address, HEALTH_TIMEOUT)?;
    stream.set_read_timeout(Some(HEALTH_TIMEOUT))?;
    stream.set_write_timeout(Some(HEALTH_TIMEOUT))?;
    Ok(stream)
}

fn get_health() -> io::Result<String> {
    let mut stream = connect(PORT)?;
    stream.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(4096).read_to_string(&mut answer)?;
    Ok(answer)
}
