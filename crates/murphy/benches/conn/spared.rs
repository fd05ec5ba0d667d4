//! What those connections see of a disconnection in force that are not meant: questions and answers over TCP with one that
//! has drawn, and will draw again in an hour, and without.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    thread::{self, scope},
    time::{Duration, Instant},
};

use rustix::thread::{CpuSet, sched_setaffinity};

use crate::{
    Lab, Outcome,
    figure::{Figure, percentile},
    holder::Holder,
};

/// Who asks at once, and for how long. Where whoever asks and whoever answers run is fixed: whether they share a processor
/// or not makes more of a difference than anything here.
const CLIENTS: usize = 2;
const ASKS_ON: usize = 0;
const ANSWERS_ON: usize = 1;
const LASTS: Duration = Duration::from_secs(1);
/// The connections beside them, which are looked at all the time.
const IDLE: usize = 1000;

/// What was asked and answered in a run.
struct Traffic {
    answers_per_second: f64,
    p99_us: f64,
}

/// Takes the figures.
pub fn measure(lab: &Lab, runs: usize) -> Outcome<Vec<Figure>> {
    let listener = lab.node.run(|| TcpListener::bind("127.0.0.1:0"))??;
    let to = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || answer(stream));
        }
    });
    let connect = || -> Outcome<TcpStream> {
        let stream = lab.node.run(|| TcpStream::connect(to))??;
        stream.set_nodelay(true)?;
        Ok(stream)
    };
    let mut streams = (0..CLIENTS)
        .map(|_| connect())
        .collect::<Outcome<Vec<_>>>()?;
    let _idle = Holder::start(&lab.node, true, IDLE, false)?;
    // The first is not counted.
    ask(&mut streams)?;
    let (mut rates, mut delays) = (Vec::new(), Vec::new());
    let mut plain = Vec::new();
    for run in 0..runs {
        let is_first = run % 2 == 0;
        let mut both = Vec::new();
        for is_armed in [is_first, !is_first] {
            both.push(if is_armed {
                armed(lab, &mut streams)?
            } else {
                ask(&mut streams)?
            });
        }
        if !is_first {
            both.reverse();
        }
        let [armed, untouched] = &both[..] else {
            return Err("two are compared".into());
        };
        rates.push(armed.answers_per_second / untouched.answers_per_second);
        delays.push(armed.p99_us / untouched.p99_us);
        plain.push(untouched.p99_us);
    }
    let contains = "100 % within";
    Ok(vec![
        Figure::ratio(
            "answers over spared connections, one disconnection in force",
            contains,
            &rates,
        ),
        Figure::ratio("their slowest of a hundred", contains, &delays),
        Figure::mean("the same without Murphy", "", &plain, "µs"),
    ])
}

/// The same with a disconnection in force that has ended its one connection, and draws again in an hour.
fn armed(lab: &Lab, streams: &mut [TcpStream]) -> Outcome<Traffic> {
    let one = Holder::start(&lab.node, true, 1, false)?;
    let port = one.port.to_string();
    let words = [
        "--local-port",
        &port,
        "--count",
        "1",
        "--every",
        "1h",
        "--for",
        "2h",
    ];
    let armed = lab.arm(&words)?;
    let traffic = ask(streams);
    let effect = armed.disarm()?;
    if effect["ended"] != 1 {
        return Err(format!("one was to end: {effect}").into());
    }
    traffic
}

/// Has the calling thread run on one processor only; where there is no such processor, anywhere.
fn stay_on(processor: usize) {
    let mut one = CpuSet::new();
    one.set(processor);
    let _ = sched_setaffinity(None, &one);
}

fn answer(mut stream: TcpStream) {
    stay_on(ANSWERS_ON);
    let mut question = [0; 64];
    let _ = stream.set_nodelay(true);
    // Who asks no more ends it.
    while stream.read_exact(&mut question).is_ok() && stream.write_all(&question).is_ok() {}
}

/// Asks over all of them at once, as often as it is answered.
fn ask(streams: &mut [TcpStream]) -> Outcome<Traffic> {
    let until = Instant::now() + LASTS;
    let one = |stream: &mut TcpStream| -> std::io::Result<Vec<f64>> {
        stay_on(ASKS_ON);
        let mut times = Vec::new();
        while Instant::now() < until {
            let began = Instant::now();
            let mut question = [7; 64];
            stream.write_all(&question)?;
            stream.read_exact(&mut question)?;
            times.push(began.elapsed().as_secs_f64() * 1e6);
        }
        Ok(times)
    };
    let one = &one;
    let all = scope(|scope| {
        let asking: Vec<_> = streams
            .iter_mut()
            .map(|stream| scope.spawn(move || one(stream)))
            .collect();
        let asking = asking
            .into_iter()
            .map(|one| one.join().expect("it only asks"));
        asking.collect::<std::io::Result<Vec<_>>>()
    })?;
    let times = all.concat();
    Ok(Traffic {
        answers_per_second: times.len() as f64 / LASTS.as_secs_f64(),
        p99_us: percentile(&times, 99),
    })
}
