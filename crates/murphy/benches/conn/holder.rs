//! A holder is a process that holds both ends of many idle connections: this program itself, called in another way.

use std::{
    env,
    io::{BufRead, BufReader, ErrorKind, Read},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use murphy_sys::namespace::NetNamespace;

use crate::Outcome;

/// The word by which it is called.
pub const WORD: &str = "hold";
/// How often it looks which have ended, where it replaces those.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A holder at work. It ends with whoever has it.
pub struct Holder {
    process: Child,
    /// Where its connections were accepted.
    pub port: u16,
}

impl Holder {
    /// So many connections of a family, in a namespace; with those replaced that end, if that is wanted.
    pub fn start(node: &NetNamespace, is_v4: bool, count: usize, replaces: bool) -> Outcome<Self> {
        let mut command = Command::new(env::current_exe()?);
        command
            .args([WORD, host(is_v4), &count.to_string()])
            .args(replaces.then_some("replace"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut process = node.run(|| command.spawn())??;
        let output = process.stdout.take().ok_or("its output is not read")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let port = line.trim().parse();
        let holder = Self {
            process,
            port: port.map_err(|_| format!("it holds no {count} connections"))?,
        };
        Ok(holder)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // One that has ended needs no end.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn host(is_v4: bool) -> &'static str {
    if is_v4 { "127.0.0.1" } else { "::1" }
}

/// What a holder does: HOST COUNT, and `replace` where those are replaced that end. It says its port, and ends with its
/// standard input.
pub fn run(words: &[String]) -> Outcome<()> {
    let [host, count, more @ ..] = words else {
        return Err("hold HOST COUNT [replace]".into());
    };
    let listener = TcpListener::bind((host.parse::<IpAddr>()?, 0))?;
    let to = listener.local_addr()?;
    let connect = || pair(&listener, to);
    let mut pairs = (0..count.parse()?)
        .map(|_| connect())
        .collect::<Outcome<Vec<_>>>()?;
    println!("{}", to.port());
    let until_told = || std::io::stdin().read_to_end(&mut Vec::new()).map(drop);
    if more.is_empty() {
        return Ok(until_told()?);
    }
    let told = thread::spawn(until_told);
    while !told.is_finished() {
        thread::sleep(LOOK_EVERY);
        for pair in &mut pairs {
            if has_ended(&pair.1) {
                *pair = connect()?;
            }
        }
    }
    Ok(())
}

/// Both ends of a connection: the one that was asked, and the one that has asked.
fn pair(listener: &TcpListener, to: SocketAddr) -> Outcome<(TcpStream, TcpStream)> {
    let opened = TcpStream::connect(to)?;
    let (accepted, _) = listener.accept()?;
    opened.set_nonblocking(true)?;
    Ok((accepted, opened))
}

fn has_ended(mut end: &TcpStream) -> bool {
    match end.read(&mut [0]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    }
}
