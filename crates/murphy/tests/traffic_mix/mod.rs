//! Traffic between two namespaces, for tests: connections on which both ends send by their own clocks, short ones, idle
//! ones, and names that are asked for.

use std::{
    io::{ErrorKind, Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::atomic::{AtomicBool, AtomicU16, Ordering},
    thread::{Scope, sleep},
    time::Duration,
};

use murphy_sys::namespace::NetNamespace;

/// How many connections stay, and how many clients come and go.
const STAYING: usize = 6;
const COMING: usize = 2;
/// How often something is said on each that stays, and how long nobody comes.
const SAY_EVERY: Duration = Duration::from_millis(10);
const COME_EVERY: Duration = Duration::from_millis(100);
const ASK_EVERY: Duration = Duration::from_millis(50);
/// How long a client waits for whoever does not answer.
const WITHIN: Duration = Duration::from_secs(1);
/// What a client wants of a connection, in its first byte.
const STREAM: u8 = b's';
const QUESTION: u8 = b'q';
const IDLE: u8 = b'i';

/// A server and its clients, and a server of names with its own.
pub struct Mix {
    nodes: [NetNamespace; 2],
    listener: TcpListener,
    names: UdpSocket,
    is_busy: bool,
    asks_names: AtomicBool,
}

impl Mix {
    /// The server listens at a port of its own, and at that of names.
    pub fn begin(nodes: [NetNamespace; 2], server: IpAddr, is_busy: bool) -> Self {
        let listener = retried(|| {
            nodes[1]
                .run(|| TcpListener::bind((server, 0)))
                .expect("a namespace")
        });
        listener.set_nonblocking(true).expect("a socket");
        let names = nodes[1].run(|| UdpSocket::bind((server, 53)));
        let names = names.expect("a namespace").expect("a free port");
        let short = Some(Duration::from_millis(50));
        names.set_read_timeout(short).expect("a socket");
        Self {
            nodes,
            listener,
            names,
            is_busy,
            asks_names: AtomicBool::new(false),
        }
    }

    /// The port of the server.
    pub fn port(&self) -> u16 {
        self.at().port()
    }

    /// Whether names are asked for from now on.
    pub fn ask_names(&self, asks: bool) {
        self.asks_names.store(asks, Ordering::Relaxed);
    }

    fn at(&self) -> SocketAddr {
        self.listener.local_addr().expect("it is bound")
    }

    /// Serves and asks until it is over.
    pub fn run<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        is_over: &'scope AtomicBool,
    ) {
        let goes_on = || !is_over.load(Ordering::Relaxed);
        scope.spawn(move || {
            while goes_on() {
                match self.listener.accept() {
                    Ok((stream, _)) => drop(scope.spawn(move || serve(stream, is_over))),
                    Err(_) => sleep(Duration::from_millis(2)),
                }
            }
        });
        for _ in 0..STAYING {
            scope.spawn(move || {
                while goes_on() {
                    let wish = if self.is_busy { STREAM } else { IDLE };
                    match self.connect(wish) {
                        Some(stream) if self.is_busy => talk(stream, is_over),
                        Some(stream) => hold(stream, is_over),
                        None => sleep(COME_EVERY),
                    }
                }
            });
        }
        for _ in 0..if self.is_busy { COMING } else { 0 } {
            scope.spawn(move || {
                while goes_on() {
                    if let Some(mut stream) = self.connect(QUESTION) {
                        // The other end closes first, so that nobody resets anything.
                        let mut answer = Vec::new();
                        let _ = stream.read_to_end(&mut answer);
                    }
                    sleep(COME_EVERY);
                }
            });
        }
        scope.spawn(move || {
            while goes_on() {
                self.answer_names();
            }
        });
        scope.spawn(move || {
            while goes_on() {
                if self.asks_names.load(Ordering::Relaxed) {
                    self.ask_name();
                }
                sleep(ASK_EVERY);
            }
        });
    }

    fn connect(&self, wish: u8) -> Option<TcpStream> {
        let to = self.at();
        let made = self.nodes[0].run(|| TcpStream::connect_timeout(&to, WITHIN));
        let mut stream = made.expect("a namespace").ok()?;
        stream.set_nodelay(true).expect("a socket");
        stream.set_read_timeout(Some(WITHIN)).expect("a socket");
        stream.write_all(&[wish]).ok()?;
        Some(stream)
    }

    fn answer_names(&self) {
        let mut question = [0; 512];
        if let Ok((length, from)) = self.names.recv_from(&mut question) {
            // It is an answer now, to the same question, without any record.
            question[2] |= 0x80;
            let _ = self.names.send_to(&question[..length], from);
        }
    }

    fn ask_name(&self) {
        static NUMBER: AtomicU16 = AtomicU16::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let question = [
            &number[..],
            &[1, 0, 0, 1, 0, 0, 0, 0, 0, 0],
            b"\x02db\x04test\0",
            &[0, 1, 0, 1],
        ]
        .concat();
        let to = (self.at().ip(), 53);
        let any: SocketAddr = match self.at() {
            SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
            SocketAddr::V6(_) => ([0_u16; 8], 0).into(),
        };
        let asked = self.nodes[0].run(|| -> std::io::Result<()> {
            let socket = UdpSocket::bind(any)?;
            socket.connect(to)?;
            socket.set_read_timeout(Some(WITHIN))?;
            socket.send(&question)?;
            socket.recv(&mut [0; 512]).map(drop)
        });
        // Whoever gets no answer asks again.
        let _ = asked.expect("a namespace");
    }
}

/// An address may need a moment until it can be had.
fn retried<T>(mut make: impl FnMut() -> std::io::Result<T>) -> T {
    for _ in 0..100 {
        if let Ok(made) = make() {
            return made;
        }
        sleep(Duration::from_millis(100));
    }
    make().expect("it can be had by now")
}

fn serve(mut stream: TcpStream, is_over: &AtomicBool) {
    let mut wish = [0];
    stream.set_nonblocking(false).expect("a socket");
    stream.set_nodelay(true).expect("a socket");
    stream.set_read_timeout(Some(WITHIN)).expect("a socket");
    if stream.read_exact(&mut wish).is_err() {
        return;
    }
    match wish[0] {
        STREAM => talk(stream, is_over),
        QUESTION => drop(stream.write_all(b"answer")),
        _ => hold(stream, is_over),
    }
}

/// Says something every now and then, and takes what the other end says, until either is over.
fn talk(mut stream: TcpStream, is_over: &AtomicBool) {
    let mut heard = [0; 4096];
    stream.set_nonblocking(true).expect("a socket");
    while !is_over.load(Ordering::Relaxed) {
        match stream.write(&[7; 32]) {
            Err(error) if error.kind() != ErrorKind::WouldBlock => return,
            _ => {}
        }
        loop {
            match stream.read(&mut heard) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return,
            }
        }
        sleep(SAY_EVERY);
    }
}

/// Keeps a connection, and says nothing.
fn hold(mut stream: TcpStream, is_over: &AtomicBool) {
    let short = Some(Duration::from_millis(100));
    stream.set_read_timeout(short).expect("a socket");
    while !is_over.load(Ordering::Relaxed) {
        match stream.read(&mut [0]) {
            Ok(0) => return,
            Err(error) if error.kind() != ErrorKind::WouldBlock => return,
            _ => {}
        }
    }
}
