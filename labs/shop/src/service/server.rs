//! A server answers HTTP/1.1 on the service port, IPv4 and IPv6, on connections that are kept alive.

use std::{convert::Infallible, net::Ipv6Addr, sync::Arc, time::Duration};

use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};

use super::{PORT, ServiceError};

/// Most connections at a time; more wait to be accepted.
const CONNECTIONS_MAX: usize = 512;
/// Longest body of a request.
const BODY_BYTES_MAX: usize = 4096;
/// How long a client may take to send its headers, and how long one that sends nothing is kept.
const IDLE_MAX: Duration = Duration::from_mins(1);
/// How long a client may take to send its body.
const BODY_TIMEOUT: Duration = Duration::from_secs(2);
/// Accepting fails when too many files are open, for one; trying at once would only burn.
const RETRY_AFTER: Duration = Duration::from_millis(50);

/// An answer.
pub type Answer = Response<Full<Bytes>>;

/// A request, as services see it.
#[derive(Debug)]
pub struct Question {
    /// `GET` or `POST`, for one.
    pub method: String,
    /// The path, without a query.
    pub path: String,
    /// The body.
    pub body: Bytes,
}

/// What a service answers.
pub trait Answers: Send + Sync + 'static {
    /// Answers one request; waits for nothing without a limit.
    fn answer(&self, question: Question) -> impl Future<Output = Answer> + Send;
}

/// An answer with a JSON body.
pub fn json(status: StatusCode, body: &serde_json::Value) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body.to_string())));
    *answer.status_mut() = status;
    let kind = hyper::header::HeaderValue::from_static("application/json");
    answer
        .headers_mut()
        .insert(hyper::header::CONTENT_TYPE, kind);
    answer
}

/// An answer that says what went wrong.
pub fn trouble(status: StatusCode, reason: &str) -> Answer {
    json(status, &serde_json::json!({ "error": reason }))
}

/// Serves until the process ends.
pub async fn serve(service: impl Answers) -> Result<(), ServiceError> {
    // Addresses of IPv4 reach this one as well, mapped.
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, PORT))
        .await
        .map_err(|source| ServiceError::Listen { port: PORT, source })?;
    let service = Arc::new(service);
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return Ok(());
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(converse(stream, Arc::clone(&service), place));
            }
            Err(_) => sleep(RETRY_AFTER).await,
        }
    }
}

/// Answers on one connection until its client leaves or is silent for too long.
async fn converse<S: Answers>(stream: TcpStream, service: Arc<S>, place: OwnedSemaphorePermit) {
    // Small answers at once; a stream that has failed already says so below.
    let _ = stream.set_nodelay(true);
    let answer = service_fn(move |request| {
        let service = Arc::clone(&service);
        async move { Ok::<_, Infallible>(answer_one(&*service, request).await) }
    });
    // A client that goes away is no trouble of the service's.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_MAX)
        .serve_connection(TokioIo::new(stream), answer)
        .await;
    drop(place);
}

async fn answer_one<S: Answers>(service: &S, request: Request<Incoming>) -> Answer {
    let method = request.method().as_str().to_owned();
    let path = request.uri().path().to_owned();
    let body = Limited::new(request.into_body(), BODY_BYTES_MAX).collect();
    match timeout(BODY_TIMEOUT, body).await {
        Ok(Ok(body)) => {
            let body = body.to_bytes();
            service.answer(Question { method, path, body }).await
        }
        Ok(Err(_)) => trouble(StatusCode::BAD_REQUEST, "the body is too long or cut short"),
        Err(_) => trouble(StatusCode::REQUEST_TIMEOUT, "the body takes too long"),
    }
}
