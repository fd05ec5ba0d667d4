//! A server answers HTTP/1.1 and HTTP/2, whichever the client speaks, and counts who comes.

use std::{
    convert::Infallible,
    future::Future,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http_body_util::Full;
use hyper::{Response, body::Bytes, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use serde_json::json;
use tokio::{
    net::{TcpListener, TcpStream},
    time::sleep,
};

use crate::{asked::TAKES, figures};

/// Accepting fails when too many files are open, for one; trying at once would only burn.
const RETRY_AFTER: Duration = Duration::from_millis(50);

/// Who has come.
#[derive(Debug, Default)]
struct Comers {
    accepted: AtomicU64,
    left: AtomicU64,
    answered: AtomicU64,
}

/// Serves until it is over, and says who comes.
pub async fn run(at: SocketAddr, over: impl Future<Output = ()>) -> Result<(), String> {
    let listener = TcpListener::bind(at).await;
    let failed = |error| format!("listen on {at}: {error}");
    let listener = listener.map_err(failed)?;
    let at = listener.local_addr().map_err(failed)?.to_string();
    let comers = Arc::new(Comers::default());
    let serving = tokio::spawn(serve(listener, Arc::clone(&comers)));
    let now = || {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        // Who has left was accepted before: this order never counts too few.
        let left = read(&comers.left);
        let accepted = read(&comers.accepted);
        let (open, answered) = (accepted - left, read(&comers.answered));
        json!({ "at": at, "accepted": accepted, "open": open, "answered": answered })
    };
    figures::say(now, over).await;
    serving.abort();
    Ok(())
}

async fn serve(listener: TcpListener, comers: Arc<Comers>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                comers.accepted.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(converse(stream, Arc::clone(&comers)));
            }
            Err(_) => sleep(RETRY_AFTER).await,
        }
    }
}

/// Answers on one connection until it is gone.
async fn converse(stream: TcpStream, comers: Arc<Comers>) {
    // Small answers at once; a stream that has failed already says so below.
    let _ = stream.set_nodelay(true);
    let counted = Arc::clone(&comers);
    let answer = service_fn(move |_| {
        let counted = Arc::clone(&counted);
        async move {
            sleep(TAKES).await;
            counted.answered.fetch_add(1, Ordering::Relaxed);
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"well\n"))))
        }
    });
    let server = auto::Builder::new(TokioExecutor::new());
    // A client that goes away is no trouble of the server's.
    let _ = server.serve_connection(TokioIo::new(stream), answer).await;
    comers.left.fetch_add(1, Ordering::Relaxed);
}
