//! What memory Murphy needs that observes a client of a thousand servers for two minutes, and what a scrape of them takes.

use std::{
    io::{Read, Write},
    net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread::{self, scope},
    time::{Duration, Instant},
};

use murphy_sys::namespace::NetNamespace;

use crate::{Lab, Outcome, figure::Figure, lab::Watch};

const EDGES: u16 = 1000;
/// As long as anything is remembered, and a bit.
const LASTS: Duration = Duration::from_secs(125);
/// Something passes on each edge in each slice of half a second.
const ASKS_EVERY: Duration = Duration::from_millis(250);
const SCRAPES: usize = 20;
const SCRAPE_EVERY: Duration = Duration::from_secs(1);

/// Takes the figures.
pub fn measure(lab: &Lab) -> Outcome<Vec<Figure>> {
    let (server, client) = (lab.pair.server(), lab.pair.client());
    let addresses: Vec<Ipv6Addr> = (1..=EDGES)
        .map(|last| Ipv6Addr::new(0xfd00, 0, 0, 1, 0, 0, 0, last))
        .collect();
    give(server, &addresses)?;
    give(client, &[Ipv6Addr::new(0xfd00, 0, 0, 1, 0, 0, 1, 0)])?;
    let listener = server.run(|| TcpListener::bind("[::]:0"))??;
    let port = listener.local_addr()?.port();
    let connect = || -> std::io::Result<Vec<(TcpStream, TcpStream)>> {
        let pairs = addresses.iter().map(|address| {
            let asking = TcpStream::connect((*address, port))?;
            let (answering, _) = listener.accept()?;
            Ok((asking, answering))
        });
        pairs.collect()
    };
    let pairs = client.run(connect)??;
    let is_over = AtomicBool::new(false);
    scope(|scope| {
        let asking = scope.spawn(|| ask(&pairs, &is_over).map_err(|error| error.to_string()));
        let figures = observed(lab);
        is_over.store(true, Ordering::Relaxed);
        asking.join().expect("it only asks")?;
        figures
    })
}

/// Gives a node addresses.
fn give(node: &NetNamespace, addresses: &[Ipv6Addr]) -> Outcome<()> {
    let mut command = Command::new("ip");
    command.args(["-6", "-batch", "-"]).stdin(Stdio::piped());
    let mut ip = node.run(|| command.spawn())??;
    let mut input = ip.stdin.take().ok_or("it reads what to do")?;
    for address in addresses {
        writeln!(input, "addr replace {address}/64 dev eth0 nodad")?;
    }
    drop(input);
    if ip.wait()?.success() {
        Ok(())
    } else {
        Err("no addresses".into())
    }
}

/// One question on each connection, again and again.
fn ask(pairs: &[(TcpStream, TcpStream)], is_over: &AtomicBool) -> std::io::Result<()> {
    while !is_over.load(Ordering::Relaxed) {
        let began = Instant::now();
        for (mut asking, mut answering) in pairs.iter().map(|(one, other)| (one, other)) {
            let mut question = [7; 64];
            asking.write_all(&question)?;
            answering.read_exact(&mut question)?;
            answering.write_all(&question)?;
            asking.read_exact(&mut question)?;
        }
        thread::sleep(ASKS_EVERY.saturating_sub(began.elapsed()));
    }
    Ok(())
}

fn observed(lab: &Lab) -> Outcome<Vec<Figure>> {
    let watch = lab.pair.observe_client(&["--prometheus", "127.0.0.1:0"])?;
    let serving = watch.hear("serving")?;
    let url = serving["url"].as_str().ok_or("it serves somewhere")?;
    let at: SocketAddr = url
        .trim_start_matches("http://")
        .trim_end_matches("/metrics")
        .parse()?;
    let before = watch.ran_s()?;
    let [resident, anonymous] = watch.most_mb(LASTS)?;
    let share = 100.0 * (watch.ran_s()? - before) / LASTS.as_secs_f64();
    let (mut took_ms, mut sizes) = (Vec::new(), Vec::new());
    let (before, began) = (watch.ran_s()?, Instant::now());
    for _ in 0..SCRAPES {
        let (took, bytes) = scrape(at)?;
        took_ms.push(took.as_secs_f64() * 1e3);
        sizes.push(bytes as f64 / 1e6);
        thread::sleep(SCRAPE_EVERY);
    }
    let scraped_share = 100.0 * (watch.ran_s()? - before) / began.elapsed().as_secs_f64();
    let cost_ms = (scraped_share - share) / 100.0 * began.elapsed().as_secs_f64() * 1e3;
    let scraped = memory(&watch)?;
    let edges = watch.end()?["edges"].as_array().map_or(0, Vec::len);
    if edges < usize::from(EDGES) {
        return Err(format!("a thousand edges were to be seen: {edges}").into());
    }
    let once = |what, wanted, value, unit| Figure::median(what, wanted, &[value], unit);
    Ok(vec![
        once(
            "memory at 1,000 edges of two minutes (VmHWM)",
            "",
            resident,
            "MB",
        ),
        once(
            "of that no file's and no ring's (RssAnon)",
            "",
            anonymous,
            "MB",
        ),
        once("the same once it was scraped (VmHWM)", "", scraped, "MB"),
        once("of a processor, Murphy meanwhile", "", share, "%"),
        Figure::median(
            "a scrape of them, until all has come",
            "< 10 ms",
            &took_ms,
            "ms",
        ),
        Figure::mean("its size", "", &sizes, "MB"),
        once(
            "time of processors for each scrape",
            "< 10 ms",
            cost_ms / SCRAPES as f64,
            "ms",
        ),
    ])
}

fn memory(watch: &Watch) -> Outcome<f64> {
    watch.memory_mb("VmHWM")
}

/// Asks for metrics, and says how long it took and how many bytes came.
fn scrape(at: SocketAddr) -> Outcome<(Duration, usize)> {
    let began = Instant::now();
    let mut stream = TcpStream::connect(at)?;
    write!(
        stream,
        "GET /metrics HTTP/1.1\r\nHost: murphy\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    if !answer.starts_with(b"HTTP/1.1 200") {
        return Err("it does not answer".into());
    }
    Ok((began.elapsed(), answer.len()))
}
