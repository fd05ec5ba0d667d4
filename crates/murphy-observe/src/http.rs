//! A question is one request over plain HTTP/1.1, on a connection of its own, whose answer is read up to a limit.
//!
//! A Prometheus is asked so, and a probe asks a server so how it is. The connection is used once and closed: one that is
//! kept would hide that no new one can be made. There is no TLS, and no redirect is followed.

use std::{fmt, future::Future, io, net::Ipv6Addr, str::FromStr, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use http_body_util::{BodyExt, Empty};
use hyper::{
    Request, Response,
    body::Incoming,
    client::conn::http1::{self, SendRequest},
    header::{AUTHORIZATION, HOST},
    http::uri::PathAndQuery,
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, runtime::Runtime, time::timeout};

pub use hyper::{Method, StatusCode, body::Bytes};

const PORT: u16 = 80;
/// How many names are looked up at a time: the system's own look-ups cannot be called off.
const LOOKUPS_MAX: usize = 2;

/// Where a server is, with the path before everything that it is asked for.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    /// As it is said, without who asks.
    text: String,
    host: String,
    port: u16,
    /// Without a slash at its end.
    prefix: String,
    /// What is said to prove who asks.
    authorization: Option<String>,
}

/// Not a URL that can be asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadUrl {
    /// Not one at all.
    #[error(
        "read the URL {0:?}: expected one such as http://127.0.0.1:9090, also with a path or with user:password@"
    )]
    Form(String),
    /// Encrypted.
    #[error(
        "read the URL {0:?}: Murphy asks by http only; say http, or put a proxy of this machine before it"
    )]
    Tls(String),
}

impl Url {
    /// The path before everything that is asked for, without a slash at its end.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Host and port as a request says them.
    fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for Url {
    type Err = BadUrl;

    fn from_str(text: &str) -> Result<Self, BadUrl> {
        let form = || BadUrl::Form(text.to_owned());
        if text.starts_with("https://") {
            return Err(BadUrl::Tls(text.to_owned()));
        }
        let rest = text.strip_prefix("http://").ok_or_else(form)?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (user, authority) = match authority.rsplit_once('@') {
            Some((user, authority)) => (Some(user), authority),
            None => (None, authority),
        };
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']').ok_or_else(form)?;
                host.parse::<Ipv6Addr>().map_err(|_| form())?;
                let port = match port {
                    "" => None,
                    port => Some(port.strip_prefix(':').ok_or_else(form)?),
                };
                (host, port)
            }
            None => match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        let port = port.map_or(Ok(PORT), |port| port.parse().map_err(|_| form()))?;
        let is_plain = |text: &str| {
            text.bytes()
                .all(|b| b.is_ascii_graphic() && !b"?#".contains(&b))
        };
        if host.is_empty() || !is_plain(host) || !is_plain(path) {
            return Err(form());
        }
        let prefix = path.trim_end_matches('/').to_owned();
        Ok(Self {
            text: format!("http://{authority}{prefix}"),
            host: host.to_owned(),
            port,
            prefix,
            authorization: user.map(|user| format!("Basic {}", STANDARD.encode(unescaped(user)))),
        })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Url {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

/// Whether something can be asked for: a path from its slash on, perhaps with a query.
pub fn is_path(text: &str) -> bool {
    let is_plain = text.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
    text.starts_with('/') && is_plain && PathAndQuery::try_from(text).is_ok()
}

/// `a@b` of `a%40b`; what is no escape stays as it is.
fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, more @ ..] = rest {
        let digits = more.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let escaped = digits.and_then(|two| u8::from_str_radix(two, 16).ok());
        if let Some(byte) = escaped.filter(|_| *first == b'%') {
            bytes.push(byte);
            rest = &more[2..];
        } else {
            bytes.push(*first);
            rest = more;
        }
    }
    bytes
}

/// Waits for what a network brings, on the thread that asks, and no longer than it may.
///
/// That thread must not be one of an asynchronous runtime.
#[derive(Debug)]
pub struct Waiter {
    /// Taken out by the end of the waiter alone.
    runtime: Option<Runtime>,
}

impl Waiter {
    /// One that waits for nothing yet.
    pub fn new() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .max_blocking_threads(LOOKUPS_MAX)
            .enable_all()
            .build()?;
        Ok(Self {
            runtime: Some(runtime),
        })
    }

    /// What comes of something, if it does so within the limit; else it is dropped.
    pub fn within<F: Future>(&self, limit: Duration, something: F) -> Option<F::Output> {
        // There always is one before the end.
        let runtime = self.runtime.as_ref()?;
        runtime.block_on(async { timeout(limit, something).await.ok() })
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        // A name that is still being looked up is waited for by nobody.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Connects to a port of a host, which is an address or a name.
pub async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((host, port)).await?;
    // Where nobody listens on a port of the ephemeral range, a connection can come to be with itself (RFC 9293, 3.5).
    if stream.local_addr()? == stream.peer_addr()? {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    Ok(stream)
}

/// What was answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// How.
    pub status: StatusCode,
    /// What, as far as it was to be read.
    pub body: Bytes,
    /// Whether that is all of it.
    pub is_whole: bool,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody is there, or there is no way.
    #[error("{0}")]
    Connect(io::Error),
    /// What is asked is no request.
    #[error("{0}")]
    Question(hyper::http::Error),
    /// The connection has ended before the answer has.
    #[error("{0}")]
    Ended(hyper::Error),
    /// What is answered is not HTTP.
    #[error("{0}")]
    Form(hyper::Error),
}

impl From<hyper::Error> for AskError {
    fn from(error: hyper::Error) -> Self {
        if error.is_parse() {
            Self::Form(error)
        } else {
            Self::Ended(error)
        }
    }
}

/// Asks for a path, which begins with a slash, and reads at most so many bytes of what is answered.
pub async fn ask(
    url: &Url,
    method: Method,
    path: &str,
    bytes_max: usize,
) -> Result<Answer, AskError> {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, url.authority());
    if let Some(authorization) = &url.authorization {
        request = request.header(AUTHORIZATION, authorization);
    }
    let request = request
        .body(Empty::<Bytes>::new())
        .map_err(AskError::Question)?;
    let connected = connect(&url.host, url.port).await;
    let stream = connected.map_err(AskError::Connect)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let exchange = exchange(sender, request, bytes_max);
    tokio::pin!(exchange);
    // The connection ends with this, however it goes.
    tokio::select! {
        biased;
        answer = &mut exchange => answer,
        // What was read before its end may be all of the answer.
        _ = connection => exchange.await,
    }
}

async fn exchange(
    mut sender: SendRequest<Empty<Bytes>>,
    request: Request<Empty<Bytes>>,
    bytes_max: usize,
) -> Result<Answer, AskError> {
    let answer: Response<Incoming> = sender.send_request(request).await?;
    let status = answer.status();
    let mut incoming = answer.into_body();
    let mut body = Vec::new();
    let mut is_whole = true;
    while let Some(frame) = incoming.frame().await {
        let Ok(data) = frame?.into_data() else {
            continue;
        };
        let room = bytes_max - body.len();
        body.extend_from_slice(&data[..data.len().min(room)]);
        if data.len() > room {
            is_whole = false;
            break;
        }
    }
    Ok(Answer {
        status,
        body: body.into(),
        is_whole,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_read_and_never_said_with_its_password() {
        let url: Url = "http://me:p%40ss@[::1]:9090/prom/".parse().unwrap();
        assert_eq!((url.host.as_str(), url.port), ("::1", 9090));
        assert_eq!(url.authority(), "[::1]:9090");
        assert_eq!(url.prefix, "/prom");
        assert_eq!(url.authorization.as_deref(), Some("Basic bWU6cEBzcw=="));
        assert_eq!(
            format!("{url} {url:?}"),
            "http://[::1]:9090/prom \"http://[::1]:9090/prom\""
        );
        let url: Url = "http://prometheus".parse().unwrap();
        assert_eq!((url.port, url.prefix.as_str()), (80, ""));
        for text in [
            "127.0.0.1:9090",
            "http://",
            "http://a:b",
            "http://a?x=1",
            "http://[::1",
            "http://[::1]9090",
        ] {
            assert_eq!(
                text.parse::<Url>(),
                Err(BadUrl::Form(text.into())),
                "{text}"
            );
        }
        assert!(matches!("https://a".parse::<Url>(), Err(BadUrl::Tls(_))));
    }

    #[test]
    fn what_can_be_asked_for_begins_with_a_slash() {
        for (path, can) in [
            ("/", true),
            ("/a/b%20c?x=1&y=/", true),
            ("", false),
            ("a", false),
            ("/a#b", false),
            ("/a b", false),
            ("/é", false),
        ] {
            assert_eq!(is_path(path), can, "{path}");
        }
    }
}
