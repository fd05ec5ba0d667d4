//! A scrape is a Prometheus asking what there is to know: it is answered over HTTP, by a thread of its own, from what was
//! seen last.
//!
//! Whoever asks never makes the observer wait: it hands over what it sees, and that is written down once however many ask. No more than a few are answered at a time, each for a few seconds; others wait to be accepted.

use std::{
    convert::Infallible,
    fs,
    io::{self, ErrorKind},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ACCEPT, ALLOW, CONTENT_TYPE, HeaderMap, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use murphy_observe::metrics::{Format, Own};
use murphy_sys::clock::realtime_ns;
use serde_json::json;
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::{Builder, Runtime},
    sync::{Semaphore, oneshot},
    time::{sleep, timeout},
};

use crate::output;

/// So many are answered at a time.
const CONNECTIONS_MAX: usize = 8;
/// How long a request may take to come, and all of it with its answer.
const REQUEST_MAX: Duration = Duration::from_secs(2);
const CONVERSATION_MAX: Duration = Duration::from_secs(5);
/// Accepting fails when too many files are open, for one; trying at once would only burn.
const RETRY_AFTER: Duration = Duration::from_millis(50);
/// Where metrics are.
const PATH: &str = "/metrics";

/// Why nobody can ask.
#[derive(Debug, thiserror::Error)]
pub enum ScrapeError {
    /// The address cannot be had.
    #[error("listen for Prometheus on {at}: {source}{}", next_step(source))]
    Listen {
        /// Where.
        at: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// There is no thread to answer from.
    #[error("answer Prometheus: {0}")]
    Thread(io::Error),
}

fn next_step(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::AddrInUse => {
            "; choose another port, or 0 for any that is free, with --prometheus"
        }
        ErrorKind::AddrNotAvailable => {
            "; say an address of this machine, such as 127.0.0.1, with --prometheus"
        }
        ErrorKind::PermissionDenied => "; choose a port from 1024 on with --prometheus",
        _ => "",
    }
}

/// An address to listen on, as it is typed.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    let wanted =
        "say ADDRESS:PORT, such as 127.0.0.1:9100 or [::1]:9100; port 0 is any that is free";
    text.parse().map_err(|_| wanted.to_owned())
}

/// Who answers scrapes, until it is dropped.
pub struct Scraped {
    at: SocketAddr,
    seen: Arc<Seen>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Writes down what was seen at a time, and what Murphy itself takes now.
pub type Tell = dyn Fn(&Own, Format) -> String + Send + Sync;

/// What was seen last, and how it was written down.
#[derive(Default)]
struct Seen {
    latest: Mutex<Option<Latest>>,
    written: Mutex<Vec<Written>>,
    began_s: f64,
    stale: Duration,
}

#[derive(Clone)]
struct Latest {
    at: Instant,
    tell: Arc<Tell>,
}

/// What was seen at a time, in a format.
#[derive(Debug)]
struct Written {
    at: Instant,
    format: Format,
    text: Bytes,
}

impl Scraped {
    /// Listens on an address. What was seen longer ago than `stale` is not how things are, and not told.
    pub fn listen(at: SocketAddr, stale: Duration) -> Result<Self, ScrapeError> {
        let refused = |source| ScrapeError::Listen { at, source };
        let listener = std::net::TcpListener::bind(at).map_err(refused)?;
        listener.set_nonblocking(true).map_err(refused)?;
        let at = listener.local_addr().map_err(refused)?;
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(ScrapeError::Thread)?;
        let seen = Arc::new(Seen {
            began_s: realtime_ns() as f64 / 1e9,
            stale,
            ..Seen::default()
        });
        let (end, is_over) = oneshot::channel();
        let asked = Arc::clone(&seen);
        let thread = thread::Builder::new()
            .name("scrapes".into())
            .spawn(move || run(&runtime, listener, asked, is_over))
            .map_err(ScrapeError::Thread)?;
        Ok(Self {
            at,
            seen,
            end: Some(end),
            thread: Some(thread),
        })
    }

    /// Says where.
    pub fn say(&self, json: bool) {
        let url = format!("http://{}{PATH}", self.at);
        if json {
            output::json(&json!({"event": "serving", "url": url}));
        } else {
            output::line(&format!("metrics: {url}"));
        }
    }

    /// Hands over what is seen.
    pub fn take(&self, tell: impl Fn(&Own, Format) -> String + Send + Sync + 'static) {
        *lock(&self.seen.latest) = Some(Latest {
            at: Instant::now(),
            tell: Arc::new(tell),
        });
    }
}

impl Drop for Scraped {
    fn drop(&mut self) {
        if let Some(end) = self.end.take() {
            // Who has ended need not be told.
            let _ = end.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Seen {
    /// What was seen last as a text; nothing where that is too long ago.
    fn text(&self, format: Format) -> Option<Bytes> {
        let latest = lock(&self.latest).clone();
        let Latest { at, tell } = latest.filter(|latest| latest.at.elapsed() < self.stale)?;
        let mut written = lock(&self.written);
        written.retain(|text| text.at == at);
        if let Some(text) = written.iter().find(|text| text.format == format) {
            return Some(text.text.clone());
        }
        let text = Bytes::from(tell(&self.own(), format));
        written.push(Written {
            at,
            format,
            text: text.clone(),
        });
        Some(text)
    }

    fn own(&self) -> Own {
        let read =
            |name: &str| fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
        let open = fs::read_dir("/proc/self/fd").map(Iterator::count);
        Own {
            open_files: open.ok().map(|count| count as u64),
            began_s: Some(self.began_s),
            ..Own::parse(&read("stat"), &read("status"), &read("limits"))
        }
    }
}

fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers until it is over.
fn run(
    runtime: &Runtime,
    listener: std::net::TcpListener,
    seen: Arc<Seen>,
    is_over: oneshot::Receiver<()>,
) {
    runtime.block_on(async {
        let served = async {
            match TcpListener::from_std(listener) {
                Ok(listener) => serve(listener, seen).await,
                Err(error) => output::note(&format!(
                    "murphy: warning: failed to answer Prometheus: {error}"
                )),
            }
        };
        tokio::select! {
            () = served => {}
            _ = is_over => {}
        }
    });
}

async fn serve(listener: TcpListener, seen: Arc<Seen>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                let seen = Arc::clone(&seen);
                tokio::spawn(async move {
                    // Who takes longer asks again.
                    let _ = timeout(CONVERSATION_MAX, converse(stream, seen)).await;
                    drop(place);
                });
            }
            Err(_) => sleep(RETRY_AFTER).await,
        }
    }
}

/// Answers one request: a connection that is kept would keep others from theirs.
async fn converse(stream: TcpStream, seen: Arc<Seen>) {
    let answer = service_fn(move |request: Request<Incoming>| {
        let answer = answer(
            &seen,
            request.method(),
            request.uri().path(),
            request.headers(),
        );
        async move { Ok::<_, Infallible>(answer) }
    });
    // A client that goes away is no trouble of ours.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_MAX)
        .keep_alive(false)
        .max_buf_size(16 << 10)
        .serve_connection(TokioIo::new(stream), answer)
        .await;
}

fn answer(seen: &Seen, method: &Method, path: &str, headers: &HeaderMap) -> Response<Full<Bytes>> {
    if path != PATH {
        return trouble(StatusCode::NOT_FOUND, "metrics are at /metrics\n");
    }
    if method != Method::GET {
        let mut answer = trouble(StatusCode::METHOD_NOT_ALLOWED, "metrics can be got (GET)\n");
        let headers = answer.headers_mut();
        headers.insert(ALLOW, HeaderValue::from_static("GET"));
        return answer;
    }
    let accept = headers.get_all(ACCEPT).iter();
    let accept: Vec<&str> = accept.filter_map(|value| value.to_str().ok()).collect();
    let format = Format::wanted(&accept.join(","));
    match seen.text(format) {
        Some(text) => of(text, format.content_type()),
        None => trouble(
            StatusCode::SERVICE_UNAVAILABLE,
            "nothing was seen within the last seconds\n",
        ),
    }
}

fn of(text: Bytes, kind: &'static str) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(text));
    let kind = HeaderValue::from_static(kind);
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}

fn trouble(status: StatusCode, why: &'static str) -> Response<Full<Bytes>> {
    let mut answer = of(
        Bytes::from_static(why.as_bytes()),
        "text/plain; charset=utf-8",
    );
    *answer.status_mut() = status;
    answer
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::TcpStream,
    };

    use murphy_observe::{Snapshot, metrics::render};

    use super::*;

    const STALE: Duration = Duration::from_secs(5);

    fn seen(scraped: &Scraped) {
        scraped.take(|own, format| render(&Snapshot::default(), own, format));
    }

    fn ask(at: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(at).unwrap();
        let within = Some(Duration::from_secs(30));
        stream.set_read_timeout(within).unwrap();
        write!(stream, "{request} HTTP/1.1\r\nHost: murphy\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    fn listen(at: &str) -> Scraped {
        Scraped::listen(address(at).unwrap(), STALE).unwrap()
    }

    #[test]
    fn metrics_can_be_got_and_nothing_else() {
        for at in ["127.0.0.1:0", "[::1]:0"] {
            let scraped = listen(at);
            let none = ask(scraped.at, "GET /metrics");
            assert!(none.starts_with("HTTP/1.1 503 "), "{none}");
            seen(&scraped);
            let some = ask(scraped.at, "GET /metrics");
            assert!(some.starts_with("HTTP/1.1 200 "), "{some}");
            assert!(
                some.contains("content-type: text/plain; version=0.0.4"),
                "{some}"
            );
            assert!(some.contains("\nmurphy_edges 0\n"), "{some}");
            for name in [
                "resident_memory_bytes",
                "cpu_seconds_total",
                "open_fds",
                "max_fds",
            ] {
                assert!(
                    some.contains(&format!("\nprocess_{name} ")),
                    "{name} in {some}"
                );
            }
            let open = "GET /metrics HTTP/1.1\r\nAccept: application/openmetrics-text\r\nX:";
            let open = ask(scraped.at, open);
            assert!(
                open.contains("content-type: application/openmetrics-text"),
                "{open}"
            );
            assert!(open.ends_with("# EOF\n"), "{open}");
            assert!(ask(scraped.at, "GET /").starts_with("HTTP/1.1 404 "));
            let other = ask(scraped.at, "POST /metrics");
            assert!(other.starts_with("HTTP/1.1 405 "), "{other}");
            assert!(other.contains("allow: GET"), "{other}");
        }
    }

    #[test]
    fn what_was_seen_long_ago_is_not_told() {
        let scraped = listen("127.0.0.1:0");
        let Some(long_ago) = Instant::now().checked_sub(2 * STALE) else {
            return;
        };
        seen(&scraped);
        if let Some(latest) = &mut *lock(&scraped.seen.latest) {
            latest.at = long_ago;
        }
        let none = ask(scraped.at, "GET /metrics");
        assert!(none.starts_with("HTTP/1.1 503 "), "{none}");
    }

    #[test]
    fn those_who_never_ask_keep_nobody_from_asking_for_long() {
        let scraped = listen("127.0.0.1:0");
        seen(&scraped);
        let mute = (0..3 * CONNECTIONS_MAX).map(|_| TcpStream::connect(scraped.at).unwrap());
        let mute: Vec<_> = mute.collect();
        let answer = ask(scraped.at, "GET /");
        assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
        drop(mute);
    }

    #[test]
    fn an_address_that_is_taken_is_an_error_that_says_what_to_do() {
        let scraped = listen("127.0.0.1:0");
        let error = Scraped::listen(scraped.at, STALE)
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains(&scraped.at.to_string()), "{error}");
        assert!(error.contains("choose another port"), "{error}");
        let at = scraped.at;
        drop(scraped);
        drop(Scraped::listen(at, STALE).unwrap());
        assert!(address("9100").is_err() && address("localhost:9100").is_err());
    }
}
