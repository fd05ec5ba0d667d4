//! An upstream is a service that another one asks, over a bounded pool of connections that are kept alive.
//!
//! New connections are made to its addresses in turn, IPv4 and IPv6: a fault that hit only one of the two would show
//! as half of a fault.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Request, Response,
    body::{Body as _, Bytes, Incoming},
    client::conn::http1::{SendRequest, handshake},
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, sync::Semaphore, time::timeout};

use super::PORT;

/// Most connections to one upstream, and so most requests on their way to it.
const CONNECTIONS_MAX: usize = 64;
/// Longest answer.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// Why an upstream did not answer.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// Nobody is there, or it went away.
    #[error("{0}")]
    Connect(#[from] io::Error),
    /// It broke off.
    #[error("{0}")]
    Http(#[from] hyper::Error),
    /// Its answer is too long or was cut short.
    #[error("its answer could not be read: {0}")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A question that HTTP cannot carry.
    #[error("{0}")]
    Question(#[from] hyper::http::Error),
    /// It takes too long.
    #[error("no answer within {} ms", .0.as_millis())]
    Late(Duration),
}

/// An upstream.
#[derive(Debug)]
pub struct Upstream {
    name: String,
    addresses: Vec<IpAddr>,
    next: AtomicUsize,
    limit: Duration,
    places: Semaphore,
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
}

impl Upstream {
    /// One of this name at these addresses, at least one, which is given so long for an answer.
    pub fn new(name: String, addresses: Vec<IpAddr>, limit: Duration) -> Self {
        Self {
            name,
            addresses,
            next: AtomicUsize::new(0),
            limit,
            places: Semaphore::new(CONNECTIONS_MAX),
            idle: Mutex::new(Vec::new()),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Asks it; the wait for a place in the pool and for a connection counts.
    pub async fn ask(
        &self,
        method: &str,
        path: &str,
        body: Bytes,
    ) -> Result<Response<Bytes>, UpstreamError> {
        let asked = self.ask_patiently(method, path, body);
        match timeout(self.limit, asked).await {
            Ok(answer) => answer,
            Err(_) => Err(UpstreamError::Late(self.limit)),
        }
    }

    async fn ask_patiently(
        &self,
        method: &str,
        path: &str,
        body: Bytes,
    ) -> Result<Response<Bytes>, UpstreamError> {
        // The semaphore is never closed.
        let _place = self.places.acquire().await.map_err(io::Error::other)?;
        let mut connection = self.connection().await?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(hyper::header::HOST, &self.name)
            .body(Full::new(body))?;
        let (head, body) = connection.send_request(request).await?.into_parts();
        let body = read(body).await?;
        self.idle().push(connection);
        Ok(Response::from_parts(head, body))
    }

    /// One that is idle, or a new one.
    async fn connection(&self) -> Result<SendRequest<Full<Bytes>>, UpstreamError> {
        loop {
            let Some(mut idle) = self.idle().pop() else {
                break;
            };
            if idle.ready().await.is_ok() {
                return Ok(idle);
            }
        }
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let address = self.addresses[turn % self.addresses.len()];
        let stream = TcpStream::connect(SocketAddr::new(address, PORT)).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // It ends when its sender is dropped; the sender is told of its errors.
        tokio::spawn(connection);
        Ok(sender)
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<SendRequest<Full<Bytes>>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn read(body: Incoming) -> Result<Bytes, UpstreamError> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let read = Limited::new(body, BODY_BYTES_MAX).collect().await;
    Ok(read.map_err(UpstreamError::Body)?.to_bytes())
}
