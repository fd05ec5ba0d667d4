//! An HTTP server, over clients of hyper-util that have one connection each.
//!
//! One client with many connections makes now and then one more than it needs: while it connects, another request ends
//! and leaves its connection. What a test counts would not be exact.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use http_body_util::{BodyExt, Empty};
use hyper::{
    Uri,
    body::Bytes,
    rt::{Read, ReadBufCursor, Write},
};
use hyper_util::{
    client::legacy::{
        Builder, Client,
        connect::{Connected, Connection},
    },
    rt::{TokioExecutor, TokioIo},
};
use tokio::net::TcpStream;
use tower_service::Service;

use super::{Asked, Connections, cause};

/// Clients, among which those who ask are shared out, so many to each.
pub struct Http<const REQUESTS: usize> {
    clients: Vec<Client<Connector, Empty<Bytes>>>,
    uri: Uri,
    connector: Connector,
}

/// Makes connections, and counts them.
#[derive(Clone, Debug)]
struct Connector {
    at: SocketAddr,
    opened: Arc<AtomicU64>,
    open: Arc<AtomicU64>,
}

/// A connection, which counts as open as long as a client has it.
struct Counted {
    stream: TokioIo<TcpStream>,
    open: Arc<AtomicU64>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Http<1> {
    /// HTTP/1.1: each of so many clients keeps its connection alive.
    pub fn one(at: SocketAddr, count: usize) -> Self {
        Self::with(&Client::builder(TokioExecutor::new()), at, count)
    }
}

impl Http<2> {
    /// HTTP/2: over the connection of each of so many clients there are two requests at a time.
    pub fn two(at: SocketAddr, count: usize) -> Self {
        Self::with(
            Client::builder(TokioExecutor::new()).http2_only(true),
            at,
            count,
        )
    }
}

impl<const REQUESTS: usize> Http<REQUESTS> {
    fn with(builder: &Builder, at: SocketAddr, count: usize) -> Self {
        let connector = Connector {
            at,
            opened: Arc::default(),
            open: Arc::default(),
        };
        let clients = (0..count).map(|_| builder.build(connector.clone()));
        let uri = format!("http://{at}/").parse();
        Self {
            clients: clients.collect(),
            uri: uri.expect("an address makes a URI"),
            connector,
        }
    }
}

impl<const REQUESTS: usize> Asked for Http<REQUESTS> {
    const AT_A_TIME: usize = REQUESTS;

    async fn ask(&self, who: usize) -> Result<(), String> {
        let client = &self.clients[who % self.clients.len()];
        let answer = client.get(self.uri.clone()).await;
        let answer = answer.map_err(|error| cause(&error))?;
        if !answer.status().is_success() {
            return Err(answer.status().to_string());
        }
        let body = answer.into_body().collect().await;
        body.map(|_| ()).map_err(|error| cause(&error))
    }

    fn connections(&self) -> Connections {
        Connections {
            open: self.connector.open.load(Ordering::Relaxed),
            opened: self.connector.opened.load(Ordering::Relaxed),
        }
    }
}

impl Service<Uri> for Connector {
    type Response = Counted;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Counted>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            let stream = TcpStream::connect(this.at).await?;
            stream.set_nodelay(true)?;
            this.opened.fetch_add(1, Ordering::Relaxed);
            this.open.fetch_add(1, Ordering::Relaxed);
            Ok(Counted {
                stream: TokioIo::new(stream),
                open: this.open,
            })
        })
    }
}

impl Connection for Counted {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl Write for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
