//! Traffic between two nodes, for tests: connections on which both ends send by their own clocks, short ones, idle ones,
//! and names that are asked for. Each end is a process of its own, this test's program, inside of its node.
//!
//! What they agree on is in a directory that both see: the server's port, whether names are asked for, and that it is over.

use std::{
    env, fs,
    io::{ErrorKind, Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU16, Ordering},
    },
    thread::{scope, sleep},
    time::{Duration, Instant},
};

/// How many connections stay, and how many clients come and go.
const STAYING: usize = 6;
const COMING: usize = 2;
/// How often something is said on each that stays, and how long nobody comes.
const SAY_EVERY: Duration = Duration::from_millis(10);
const COME_EVERY: Duration = Duration::from_millis(100);
const ASK_EVERY: Duration = Duration::from_millis(50);
/// How often it is looked what both agree on.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long a client waits for whoever does not answer.
const WITHIN: Duration = Duration::from_secs(1);
/// Nobody goes on for longer, whoever forgets him.
const LASTS_MAX: Duration = Duration::from_mins(20);
/// What a client wants of a connection, in its first byte.
const STREAM: u8 = b's';
const QUESTION: u8 = b'q';
const IDLE: u8 = b'i';
/// The variable that says which end a process is: `client` or `server`, its server's address, `busy` or `idle`, and the
/// directory.
pub const ROLE: &str = "MURPHY_MIX";
/// The test of the file that says `mod traffic_mix;` in which such a process lives: it calls [`live`].
pub const HOME: &str = "an_end_of_the_traffic";

/// What both ends agree on.
pub struct Agreement(PathBuf);

impl Agreement {
    /// In an empty directory.
    pub fn at(directory: &Path) -> Self {
        Self(directory.to_owned())
    }

    fn says(&self, what: &str) -> bool {
        self.0.join(what).exists()
    }

    fn say(&self, what: &str, is_so: bool) {
        let path = self.0.join(what);
        if is_so {
            fs::write(path, "").expect("a file");
        } else {
            let _ = fs::remove_file(path);
        }
    }

    /// Names are asked for from now on, or no longer.
    pub fn ask_names(&self, asks: bool) {
        self.say("names", asks);
    }

    /// Both are to end.
    pub fn end(&self) {
        self.say("over", true);
    }

    /// The port of the server, once it listens.
    pub fn port(&self) -> u16 {
        let path = self.0.join("port");
        let began = Instant::now();
        loop {
            if let Some(port) = fs::read_to_string(&path)
                .ok()
                .and_then(|it| it.parse().ok())
            {
                return port;
            }
            assert!(
                began.elapsed() < Duration::from_secs(30),
                "no server listens"
            );
            sleep(LOOK_EVERY);
        }
    }
}

/// One end.
struct Mix {
    server: IpAddr,
    is_busy: bool,
    agreement: Agreement,
    is_over: AtomicBool,
    asks_names: AtomicBool,
}

/// Is the end that the variable says, until it is over; nothing where there is none.
pub fn live() {
    let Ok(role) = env::var(ROLE) else { return };
    let words: Vec<&str> = role.split(' ').collect();
    let [end, server, traffic, directory] = words[..] else {
        panic!("{role}");
    };
    let mix = Arc::new(Mix {
        server: server.parse().expect("an address"),
        is_busy: traffic == "busy",
        agreement: Agreement::at(Path::new(directory)),
        is_over: AtomicBool::new(false),
        asks_names: AtomicBool::new(false),
    });
    scope(|scope| {
        scope.spawn(|| {
            let began = Instant::now();
            while !mix.agreement.says("over") && began.elapsed() < LASTS_MAX {
                let asks = mix.agreement.says("names");
                mix.asks_names.store(asks, Ordering::Relaxed);
                sleep(LOOK_EVERY);
            }
            mix.is_over.store(true, Ordering::Relaxed);
        });
        match end {
            "server" => mix.serve(),
            _ => mix.ask(),
        }
    });
}

impl Mix {
    fn goes_on(&self) -> bool {
        !self.is_over.load(Ordering::Relaxed)
    }

    fn serve(&self) {
        let listener = retried(|| TcpListener::bind((self.server, 0)));
        listener.set_nonblocking(true).expect("a socket");
        let names = UdpSocket::bind((self.server, 53)).expect("a free port");
        let short = Some(LOOK_EVERY);
        names.set_read_timeout(short).expect("a socket");
        let port = listener.local_addr().expect("it is bound").port();
        let [written, path] = ["port.new", "port"].map(|name| self.agreement.0.join(name));
        fs::write(&written, port.to_string()).expect("a file");
        fs::rename(written, path).expect("a file");
        scope(|scope| {
            scope.spawn(|| {
                while self.goes_on() {
                    answer_names(&names);
                }
            });
            while self.goes_on() {
                match listener.accept() {
                    Ok((stream, _)) => drop(scope.spawn(|| serve(stream, &self.is_over))),
                    Err(_) => sleep(Duration::from_millis(2)),
                }
            }
        });
    }

    fn ask(&self) {
        let to = SocketAddr::new(self.server, self.agreement.port());
        scope(|scope| {
            for _ in 0..STAYING {
                scope.spawn(|| {
                    while self.goes_on() {
                        let wish = if self.is_busy { STREAM } else { IDLE };
                        match connect(to, wish) {
                            Some(stream) if self.is_busy => talk(stream, &self.is_over),
                            Some(stream) => hold(stream, &self.is_over),
                            None => sleep(COME_EVERY),
                        }
                    }
                });
            }
            for _ in 0..if self.is_busy { COMING } else { 0 } {
                scope.spawn(|| {
                    while self.goes_on() {
                        if let Some(mut stream) = connect(to, QUESTION) {
                            // The other end closes first, so that nobody resets anything.
                            let mut answer = Vec::new();
                            let _ = stream.read_to_end(&mut answer);
                        }
                        sleep(COME_EVERY);
                    }
                });
            }
            while self.goes_on() {
                if self.asks_names.load(Ordering::Relaxed) {
                    // Whoever gets no answer asks again.
                    let _ = ask_name(self.server);
                }
                sleep(ASK_EVERY);
            }
        });
    }
}

fn connect(to: SocketAddr, wish: u8) -> Option<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&to, WITHIN).ok()?;
    stream.set_nodelay(true).expect("a socket");
    stream.set_read_timeout(Some(WITHIN)).expect("a socket");
    stream.write_all(&[wish]).ok()?;
    Some(stream)
}

fn answer_names(names: &UdpSocket) {
    let mut question = [0; 512];
    if let Ok((length, from)) = names.recv_from(&mut question) {
        // It is an answer now, to the same question, without any record.
        question[2] |= 0x80;
        let _ = names.send_to(&question[..length], from);
    }
}

fn ask_name(server: IpAddr) -> std::io::Result<()> {
    static NUMBER: AtomicU16 = AtomicU16::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let question = [
        &number[..],
        &[1, 0, 0, 1, 0, 0, 0, 0, 0, 0],
        b"\x02db\x04test\0",
        &[0, 1, 0, 1],
    ]
    .concat();
    let any: SocketAddr = match server {
        IpAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        IpAddr::V6(_) => ([0_u16; 8], 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect((server, 53))?;
    socket.set_read_timeout(Some(WITHIN))?;
    socket.send(&question)?;
    socket.recv(&mut [0; 512]).map(drop)
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
