//! A victim is a small real server on a port of its own, which says what a test wants it to.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use rustix::net::{
    AddressFamily, SocketType, bind, getsockname, listen, socket, sockopt::set_socket_linger,
};

/// What a server does with a connection.
#[derive(Clone, Debug)]
pub enum Says {
    /// This, then it closes.
    Once(Vec<u8>),
    /// This, then it keeps the connection and says nothing more.
    Hold(Vec<u8>),
    /// Nothing: the connection is reset.
    Reset,
}

/// A server; it ends with this.
pub struct Victim {
    /// Where it listens.
    pub at: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Victim {
    /// A web server, which hears a request out before it answers it.
    pub fn web(says: Says) -> Self {
        Self::start(move |stream| (hear(stream), says.clone()))
    }

    /// A web server that answers well-formed.
    pub fn page(status: &str, body: &str) -> Self {
        Self::web(Says::Once(page(status, body)))
    }

    /// A server that speaks first.
    pub fn port(says: Says) -> Self {
        Self::start(move |_| (String::new(), says.clone()))
    }

    fn start(mut serve: impl FnMut(&mut TcpStream) -> (String, Says) + Send + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let at = listener.local_addr().expect("its address");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let is_over = Arc::new(AtomicBool::new(false));
        let (heard, over) = (Arc::clone(&asked), Arc::clone(&is_over));
        let thread = thread::spawn(move || {
            let mut held = Vec::new();
            for stream in listener.incoming() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                let mut stream = stream.expect("a connection");
                let (request, says) = serve(&mut stream);
                heard.lock().expect("no panic there").push(request);
                match says {
                    // Whoever asked may be gone already.
                    Says::Once(bytes) => drop(stream.write_all(&bytes)),
                    Says::Hold(bytes) => {
                        let _ = stream.write_all(&bytes);
                        held.push(stream);
                    }
                    Says::Reset => {
                        set_socket_linger(&stream, Some(Duration::ZERO)).expect("a socket");
                    }
                }
            }
        });
        Self {
            at,
            asked,
            is_over,
            thread: Some(thread),
        }
    }

    /// All requests so far.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no panic there").clone()
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        // It waits for a connection.
        let _ = TcpStream::connect(self.at);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// An answer with a body.
pub fn page(status: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
}

fn hear(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let mut bytes = [0; 4096];
    while !text.ends_with(b"\r\n\r\n") {
        match stream.read(&mut bytes) {
            Ok(0) | Err(_) => break,
            Ok(read) => text.extend_from_slice(&bytes[..read]),
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// A port that is somebody's, so that nobody else gets it, and at which nobody listens.
pub struct Deaf {
    /// Where.
    pub at: SocketAddr,
    _socket: OwnedFd,
}

impl Deaf {
    pub fn new() -> Self {
        let (socket, at) = bound();
        Self {
            at,
            _socket: socket,
        }
    }
}

/// A port whose queue is full: whoever connects next hears nothing.
pub struct Full {
    /// Where.
    pub at: SocketAddr,
    _socket: OwnedFd,
    _queued: TcpStream,
}

impl Full {
    pub fn new() -> Self {
        let (socket, at) = bound();
        // The kernel takes one more than it is asked to.
        listen(&socket, 0).expect("a bound socket");
        Self {
            at,
            _queued: TcpStream::connect(at).expect("room for one"),
            _socket: socket,
        }
    }
}

fn bound() -> (OwnedFd, SocketAddr) {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a free port");
    let at = getsockname(&socket).expect("its address");
    (socket, at.try_into().expect("an address of IPv4"))
}
