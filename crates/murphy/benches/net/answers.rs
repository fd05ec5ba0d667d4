//! How long an answer takes over TCP, without Murphy and with it, and what that adds: its tax where nothing is delayed,
//! and how close a delay is to what was asked.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::Instant,
};

use murphy_sys::namespace::NetNamespace;

use crate::{
    Lab, Outcome,
    figure::{Figure, percentile},
    toxiproxy::Toxiproxy,
};

const PORT: u16 = 5207;
/// So many questions at once, one after the other, where nothing is delayed, and where each takes a while.
const QUESTIONS: usize = 500;
const LATE_QUESTIONS: usize = 10;
/// The delay whose error is measured.
const DELAY_MS: u32 = 50;

/// Who takes turns.
struct Candidate<'a> {
    name: &'static str,
    wanted: &'static str,
    ask: Box<dyn Fn(usize) -> Outcome<Vec<f64>> + 'a>,
}

/// Takes all figures.
pub fn measure(lab: &Lab, runs: usize) -> Outcome<Vec<Figure>> {
    serve(&lab.wire.b)?;
    let direct = Lab::there(PORT);
    let plain = |count| ask(&lab.wire.a, direct, count);
    let disturbed = |name, wanted, words: &'static [&str]| Candidate {
        name,
        wanted,
        ask: Box::new(move |count| {
            let disturbance = lab.disturb(words)?;
            let times = ask(&lab.wire.a, direct, count);
            disturbance.end()?;
            times
        }),
    };
    let toxiproxy = Toxiproxy::build()?;
    let mut prompt = vec![
        disturbed("tcx, loss of 0 %", "", &["--loss", "0.000000001"]),
        disturbed("cable, delay of 0 ms", "< 100 µs", &["--delay", "1ns"]),
    ];
    let mut late = vec![disturbed("cable", "", &["--delay", "50ms"])];
    if let Some(toxiproxy) = &toxiproxy {
        let proxied = |latency_ms| Candidate {
            name: "Toxiproxy",
            wanted: "",
            ask: Box::new(move |count| {
                let (_running, here) = toxiproxy.start(lab, PORT, latency_ms)?;
                ask(&lab.wire.a, here, count)
            }),
        };
        prompt.push(proxied(0));
        late.push(proxied(DELAY_MS));
    }
    let mut figures = Vec::new();
    let mut taxes = vec![Vec::new(); prompt.len()];
    let mut delays = vec![Vec::new(); late.len()];
    for _ in 0..runs {
        let untouched = percentile(&plain(QUESTIONS)?, 50);
        for (candidate, taxes) in prompt.iter().zip(&mut taxes) {
            taxes.push((percentile(&(candidate.ask)(QUESTIONS)?, 50) - untouched) * 1e3);
        }
        for (candidate, delays) in late.iter().zip(&mut delays) {
            let times = (candidate.ask)(LATE_QUESTIONS)?;
            delays.extend(times.iter().map(|time| time - untouched));
        }
    }
    for (candidate, taxes) in prompt.iter().zip(&taxes) {
        let what = format!("an answer takes longer: {}", candidate.name);
        figures.push(Figure::mean(&what, candidate.wanted, taxes, "µs"));
    }
    for (candidate, delays) in late.iter().zip(&delays) {
        let what = format!("an answer, delayed by {DELAY_MS} ms: {}", candidate.name);
        figures.push(Figure::delays(
            &what,
            candidate.wanted,
            f64::from(DELAY_MS),
            delays,
        ));
    }
    Ok(figures)
}

/// Answers whoever asks at a node, until the bench ends.
fn serve(node: &NetNamespace) -> Outcome<()> {
    let listener = node.run(|| TcpListener::bind(Lab::there(PORT)))??;
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || answer(stream));
        }
    });
    Ok(())
}

fn answer(mut stream: TcpStream) {
    let mut question = [0; 64];
    let _ = stream.set_nodelay(true);
    // Who asks no more ends it.
    while stream.read_exact(&mut question).is_ok() && stream.write_all(&question).is_ok() {}
}

/// How long answers to so many questions take, one after the other, in milliseconds.
fn ask(node: &NetNamespace, to: SocketAddr, count: usize) -> Outcome<Vec<f64>> {
    let mut stream = node.run(|| TcpStream::connect(to))??;
    stream.set_nodelay(true)?;
    let mut times = Vec::new();
    for _ in 0..count {
        let began = Instant::now();
        let mut question = [7; 64];
        stream.write_all(&question)?;
        stream.read_exact(&mut question)?;
        times.push(began.elapsed().as_secs_f64() * 1e3);
    }
    Ok(times)
}
