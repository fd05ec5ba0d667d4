//! A holder is a process that holds one end of many idle connections: this program itself, called in another way.

use std::{
    env,
    io::{BufRead, BufReader, Read},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, ChildStdout, Command, Stdio},
};

use murphy_sys::namespace::NetNamespace;

use crate::Outcome;

/// The word by which it is called.
pub const WORD: &str = "hold";

/// A holder at work. It ends with whoever has it.
pub struct Holder {
    process: Child,
    output: BufReader<ChildStdout>,
}

impl Holder {
    fn start(node: &NetNamespace, words: &[&str]) -> Outcome<Self> {
        let mut command = Command::new(env::current_exe()?);
        command.arg(WORD).args(words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = node.run(|| command.spawn())??;
        let output = process.stdout.take().ok_or("its output is not read")?;
        Ok(Self {
            process,
            output: BufReader::new(output),
        })
    }

    fn line(&mut self) -> Outcome<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        if line.is_empty() {
            return Err("a holder has failed".into());
        }
        Ok(line.trim().to_owned())
    }

    /// So many connections between two nodes, to an address: who has accepted them, and who has asked.
    pub fn pair(
        server: &NetNamespace,
        client: &NetNamespace,
        at: SocketAddr,
        count: usize,
    ) -> Outcome<[Self; 2]> {
        let (at, count) = (at.to_string(), count.to_string());
        let mut accepting = Self::start(server, &["accept", &at, &count])?;
        let to = accepting.line()?;
        let mut asking = Self::start(client, &["connect", &to, &count])?;
        for one in [&mut accepting, &mut asking] {
            one.line()?;
        }
        Ok([accepting, asking])
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // One that has ended needs no end.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What a holder does: `accept` or `connect`, ADDRESS, COUNT. It says where it listens, and when it has all of them; and it
/// ends with its standard input.
pub fn run(words: &[String]) -> Outcome<()> {
    let [what, at, count] = words else {
        return Err("hold accept|connect ADDRESS COUNT".into());
    };
    let (at, count): (SocketAddr, usize) = (at.parse()?, count.parse()?);
    let held = if what == "accept" {
        let listener = TcpListener::bind(at)?;
        println!("{}", listener.local_addr()?);
        let all = listener.incoming().take(count);
        all.collect::<Result<Vec<_>, _>>()?
    } else {
        let all = (0..count).map(|_| TcpStream::connect(at));
        all.collect::<Result<Vec<_>, _>>()?
    };
    println!("all");
    std::io::stdin().read_to_end(&mut Vec::new())?;
    drop(held);
    Ok(())
}
