//! Questions of 64 bytes and their answers over TCP, as many as two clients get who ask again as soon as they are answered:
//! with an observer of whoever answers, or of whoever asks, and without.
//!
//! All of them are on one processor, which is never idle by that: whatever an answer costs more makes for less of them. On
//! two, who asks and who answers wake each other now in one pattern and now in another, which makes a difference of a third.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread::{self, scope},
    time::{Duration, Instant},
};

use crate::{
    Lab, Outcome,
    figure::{Figure, percentile},
    lab::{ANSWERS_ON, Pair, Watch, stay_on},
    wire::address,
};

const CLIENTS: usize = 2;
/// A run is so many slices of time, each with a look of Murphy's at all connections. Its rate is the median of theirs: where
/// others share the processors, all is slower by a third for seconds on end.
const SLICES: usize = 10;
const SLICE: Duration = Duration::from_millis(500);

/// Who asks all the time.
pub struct Asking(Vec<TcpStream>);

impl Asking {
    /// Begins between the two of a pair.
    pub fn begin(pair: &Pair) -> Outcome<Self> {
        let listener = pair
            .server()
            .run(|| TcpListener::bind((address(true, 2), 0)))??;
        let to = listener.local_addr()?;
        thread::spawn(move || {
            // It goes on to listen: by that it is known who has asked.
            for stream in listener.incoming().map_while(Result::ok) {
                thread::spawn(move || answer(stream));
            }
        });
        let connect = || -> Outcome<TcpStream> {
            let stream = pair.client().run(|| TcpStream::connect(to))??;
            stream.set_nodelay(true)?;
            Ok(stream)
        };
        let mut asking = Self(
            (0..CLIENTS)
                .map(|_| connect())
                .collect::<Outcome<Vec<_>>>()?,
        );
        // The first is not counted.
        asking.per_second()?;
        Ok(asking)
    }

    /// How many answers a second there are: in the median of its slices of time.
    pub fn per_second(&mut self) -> Outcome<f64> {
        let (count, is_over) = (&AtomicU64::new(0), &AtomicBool::new(false));
        let one = move |stream: &mut TcpStream| -> io::Result<()> {
            stay_on(ANSWERS_ON);
            let mut question = [7; 64];
            while !is_over.load(Ordering::Relaxed) {
                stream.write_all(&question)?;
                stream.read_exact(&mut question)?;
                count.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        };
        let rates = scope(|scope| {
            let asking = self.0.iter_mut();
            let asking: Vec<_> = asking
                .map(|stream| scope.spawn(move || one(stream)))
                .collect();
            let rates: Vec<f64> = (0..SLICES).map(|_| rate(count)).collect();
            is_over.store(true, Ordering::Relaxed);
            let mut asking = asking.into_iter();
            asking.try_for_each(|one| one.join().expect("it only asks"))?;
            io::Result::Ok(rates)
        })?;
        Ok(percentile(&rates, 50))
    }

    /// Where it asks.
    pub fn to(&self) -> Outcome<SocketAddr> {
        Ok(self.0.first().ok_or("somebody asks")?.peer_addr()?)
    }
}

/// How often a second something was counted in a slice of time that begins now.
fn rate(count: &AtomicU64) -> f64 {
    let (began, before) = (Instant::now(), count.load(Ordering::Relaxed));
    thread::sleep(SLICE);
    let new = count.load(Ordering::Relaxed) - before;
    new as f64 / began.elapsed().as_secs_f64()
}

fn answer(mut stream: TcpStream) {
    stay_on(ANSWERS_ON);
    let mut question = [0; 64];
    let _ = stream.set_nodelay(true);
    // Who asks no more ends it.
    while stream.read_exact(&mut question).is_ok() && stream.write_all(&question).is_ok() {}
}

/// Of something that happens so often a second, the ratios with an observer to without, and the latter; in turn.
pub fn ratios(
    runs: usize,
    observe: impl Fn() -> Outcome<Watch>,
    mut per_second: impl FnMut() -> Outcome<f64>,
    mut ended: impl FnMut(Watch, f64) -> Outcome<()>,
) -> Outcome<(Vec<f64>, Vec<f64>)> {
    let (mut ratios, mut plain) = (Vec::new(), Vec::new());
    for run in 0..runs {
        let (mut with, mut without) = (0.0, 0.0);
        let is_first = run % 2 == 0;
        for is_observed in [is_first, !is_first] {
            if is_observed {
                let watch = observe()?;
                let before = watch.ran_s()?;
                let began = Instant::now();
                with = per_second()?;
                let share = (watch.ran_s()? - before) / began.elapsed().as_secs_f64();
                ended(watch, share)?;
            } else {
                without = per_second()?;
            }
        }
        ratios.push(with / without);
        plain.push(without);
    }
    Ok((ratios, plain))
}

/// Takes the figures.
pub fn measure(lab: &Lab, runs: usize) -> Outcome<Vec<Figure>> {
    let pair = &lab.pair;
    let mut asking = Asking::begin(pair)?;
    let (mut shares, mut figures) = (Vec::new(), Vec::new());
    let mut plain = Vec::new();
    for (who, is_server, uses_dns) in [
        ("the server", true, false),
        ("the client", false, false),
        ("the server, which uses DNS,", true, true),
    ] {
        let _socket = uses_dns.then(|| pair.use_dns()).transpose()?;
        let observe = || {
            if is_server {
                pair.observe_server(&[])
            } else {
                pair.observe_client(&[])
            }
        };
        let to = asking.to()?;
        let (all, without) = ratios(
            runs,
            observe,
            || asking.per_second(),
            |watch, share| {
                shares.push(100.0 * share);
                let snapshot = watch.end()?;
                let edges = snapshot["edges"].as_array().ok_or("it has edges")?;
                // Who saw nothing cost nothing.
                let is_seen = |edge: &serde_json::Value| {
                    edge["port"] == to.port() && edge["total"]["bytes_received"] != 0
                };
                if edges.iter().any(is_seen) {
                    Ok(())
                } else {
                    Err(format!("no answer was seen: {snapshot}").into())
                }
            },
        )?;
        figures.push(Figure::ratio(
            &format!("answers a second, {who} observed"),
            if uses_dns { "" } else { "≥ 95 % within" },
            &all,
        ));
        plain.extend(without);
    }
    let thousands: Vec<f64> = plain.iter().map(|rate| rate / 1e3).collect();
    figures.push(Figure::mean(
        "the same without Murphy",
        "≥ 10",
        &thousands,
        "thousand",
    ));
    figures.push(Figure::mean(
        "of a processor, Murphy meanwhile",
        "",
        &shares,
        "%",
    ));
    Ok(figures)
}
