//! A TCP probe connects to a port: `tcp:HOST:PORT`, or `tcp:HOST:PORT~PATTERN` where the server must say something first.
//!
//! It passes when the connection comes to be within the limit, and with it what the server must say. It says nothing
//! itself, and closes.

use std::{fmt, io, net::Ipv6Addr, time::Duration};

use murphy_observe::http::{Waiter, connect};
use tokio::net::TcpStream;

use super::{
    grammar::Misread,
    look::{Outcome, Reason, one_line},
    pattern::Pattern,
};

/// No more of what a server says is read.
const BANNER_BYTES_MAX: usize = 4096;
const FORM: &str = "expected HOST:PORT, such as 127.0.0.1:5432 or [::1]:5432";

/// A port, and what is said there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tcp {
    /// An address or a name.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// What must be said there before anything is asked.
    pub banner: Option<Pattern>,
}

impl Tcp {
    pub(super) fn read(text: &str) -> Result<Self, Misread> {
        let (place, pattern) = match text.split_once('~') {
            Some((place, pattern)) => (place, Some(pattern)),
            None => (text, None),
        };
        let form = || Misread::at(text, FORM);
        let (host, port) = place.rsplit_once(':').ok_or_else(form)?;
        let host = match host.strip_prefix('[') {
            Some(host) => {
                let host = host.strip_suffix(']').ok_or_else(form)?;
                host.parse::<Ipv6Addr>().map_err(|_| form())?;
                host
            }
            None => host,
        };
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let is_v6 = text.starts_with('[');
        if host.is_empty() || !is_v6 && !host.chars().all(is_plain) {
            return Err(form());
        }
        let number = port.parse().ok().filter(|port| *port > 0);
        let behind = &text[place.len() - port.len()..];
        let port = number.ok_or_else(|| Misread::at(behind, "expected a port from 1 to 65535"))?;
        let banner = pattern
            .map(|text| {
                text.parse()
                    .map_err(|wrong: String| Misread::at(text, wrong))
            })
            .transpose()?;
        Ok(Self {
            host: host.to_owned(),
            port,
            banner,
        })
    }

    /// Connects once.
    pub(super) fn look(&self, waiter: &Waiter, limit: Duration) -> Outcome {
        // There once the connection is.
        let mut said: Option<Vec<u8>> = None;
        let talk = waiter.within(limit, async {
            let stream = connect(&self.host, self.port).await?;
            let said = said.insert(Vec::new());
            match &self.banner {
                Some(pattern) => hear(&stream, pattern, said).await,
                None => Ok(true),
            }
        });
        let text = one_line(said.as_deref().unwrap_or_default());
        let silent = text.is_empty();
        match talk {
            Some(Ok(true)) => Outcome::PASSED,
            Some(Ok(false)) if silent => {
                Outcome::failed(Reason::Ended, "it is closed before anything is said")
            }
            Some(Err(error)) if said.is_none() => Outcome::unconnected(&error),
            Some(Err(error)) if silent => Outcome::failed(Reason::Ended, error.to_string()),
            None if said.is_none() => {
                Outcome::failed(Reason::TimedOut, format!("no connection within {limit:?}"))
            }
            None if silent => Outcome::failed(
                Reason::TimedOut,
                format!("nothing is said within {limit:?}"),
            ),
            _ => Outcome::failed(Reason::BadBanner, text),
        }
    }
}

/// Reads until the pattern is there, which is true, or nothing more comes or counts.
async fn hear(stream: &TcpStream, pattern: &Pattern, said: &mut Vec<u8>) -> io::Result<bool> {
    let mut bytes = [0; BANNER_BYTES_MAX];
    while said.len() < BANNER_BYTES_MAX {
        stream.readable().await?;
        let room = BANNER_BYTES_MAX - said.len();
        match stream.try_read(&mut bytes[..room]) {
            Ok(0) => return Ok(false),
            Ok(read) => said.extend_from_slice(&bytes[..read]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        if pattern.is_in(said) {
            return Ok(true);
        }
    }
    Ok(false)
}

impl fmt::Display for Tcp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "tcp:[{}]:{}", self.host, self.port)?;
        } else {
            write!(f, "tcp:{}:{}", self.host, self.port)?;
        }
        match &self.banner {
            Some(pattern) => write!(f, "~{pattern}"),
            None => Ok(()),
        }
    }
}
