//! New connections, as many as two clients can have who ask one question over each: with an observer of the server, and
//! without; and of those whom nobody observes, while somebody else is.

use std::{
    cell::Cell,
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread::{self, scope},
    time::{Duration, Instant},
};

use crate::{
    Lab, Outcome,
    answers::{Asking, ratios},
    figure::{Figure, mean},
    lab::{ANSWERS_ON, ASKS_ON, Pair, stay_on},
    wire::address,
};

const CLIENTS: usize = 2;
const LASTS: Duration = Duration::from_secs(2);
/// What becomes of a connection at its server: it is there, its other end closes, it closes itself, it is gone.
const EVENTS_LEAST: f64 = 3.0;

/// Who opens connections all the time.
pub struct Opening<'a> {
    pair: &'a Pair,
    to: SocketAddr,
}

impl<'a> Opening<'a> {
    /// Begins between the two of a pair.
    pub fn begin(pair: &'a Pair) -> Outcome<Self> {
        let listener = pair
            .server()
            .run(|| TcpListener::bind((address(true, 2), 0)))??;
        let to = listener.local_addr()?;
        for _ in 0..CLIENTS {
            let listener = listener.try_clone()?;
            thread::spawn(move || {
                stay_on(ANSWERS_ON);
                for mut stream in listener.incoming().map_while(Result::ok) {
                    let mut question = [0];
                    // Who asks closes first.
                    let _ = stream.read_exact(&mut question);
                    let _ = stream.write_all(&question);
                    let _ = stream.read(&mut question);
                }
            });
        }
        let opening = Self { pair, to };
        // The first is not counted.
        opening.per_second()?;
        Ok(opening)
    }

    /// How many connections a second there are.
    pub fn per_second(&self) -> Outcome<f64> {
        let until = Instant::now() + LASTS;
        let one = || -> io::Result<u64> {
            stay_on(ASKS_ON);
            let mut count = 0;
            while Instant::now() < until {
                let mut stream = TcpStream::connect(self.to)?;
                let mut question = [7];
                stream.write_all(&question)?;
                stream.read_exact(&mut question)?;
                count += 1;
            }
            Ok(count)
        };
        let client = self.pair.client();
        let one = &one;
        let all = scope(|scope| {
            let opening: Vec<_> = (0..CLIENTS)
                .map(|_| scope.spawn(move || client.run(one)))
                .collect();
            let opening = opening
                .into_iter()
                .map(|one| one.join().expect("it only asks"));
            opening.collect::<Result<io::Result<Vec<u64>>, _>>()
        })??;
        Ok(all.iter().sum::<u64>() as f64 / LASTS.as_secs_f64())
    }
}

/// Takes the figures.
pub fn measure(lab: &Lab, runs: usize) -> Outcome<Vec<Figure>> {
    let opening = Opening::begin(&lab.pair)?;
    let (mut shares, mut events_us, mut rates) = (Vec::new(), Vec::new(), Vec::new());
    let (mut lost, mut taken) = (0, 0);
    let rate = Cell::new(0.0);
    let (all, plain) = ratios(
        runs,
        || lab.pair.observe_server(&[]),
        || {
            rate.set(opening.per_second()?);
            Ok(rate.get())
        },
        |watch, share| {
            let snapshot = watch.end()?;
            let overhead = &snapshot["overhead"];
            let events = overhead["events"].as_u64().ok_or("it takes events")?;
            let missing = overhead["lost"].as_u64().ok_or("it says what is lost")?;
            let opened = rate.get() * LASTS.as_secs_f64();
            if ((events + missing) as f64) < EVENTS_LEAST * opened {
                return Err(format!("{events} events of {opened} connections").into());
            }
            lost += missing;
            taken += events;
            shares.push(100.0 * share);
            events_us.push(share * LASTS.as_secs_f64() * 1e6 / events as f64);
            rates.push(rate.get() / 1e3);
            Ok(())
        },
    )?;
    let thousands: Vec<f64> = plain.iter().map(|rate| rate / 1e3).collect();
    let all_events = (lost + taken) as f64;
    Ok(vec![
        Figure::ratio("new connections a second, the server observed", "", &all),
        Figure::mean("the same without Murphy", "", &thousands, "thousand"),
        Figure::mean("the same with Murphy", "", &rates, "thousand"),
        Figure::mean(
            &format!("of {all_events} events of theirs, lost"),
            "0 %, or said",
            &[100.0 * lost as f64 / all_events; 2],
            "%",
        ),
        Figure::mean("of a processor, Murphy meanwhile", "", &shares, "%"),
        Figure::mean("the same for each event", "", &events_us, "µs"),
    ])
}

/// What those see whom nobody observes, while a pair beside them is that has nothing to say.
pub fn bystanders(lab: &Lab, runs: usize) -> Outcome<Vec<Figure>> {
    let observe = || lab.pair.observe_server(&[]);
    let mut asking = Asking::begin(&lab.strangers)?;
    let (answers, _) = ratios(
        runs,
        observe,
        || asking.per_second(),
        |watch, _| watch.end().map(drop),
    )?;
    let opening = Opening::begin(&lab.strangers)?;
    let (connections, plain) = ratios(
        runs,
        observe,
        || opening.per_second(),
        |watch, _| watch.end().map(drop),
    )?;
    let what = format!(
        "new connections a second of who is not observed, of {:.1} thousand",
        mean(&plain) / 1e3
    );
    Ok(vec![
        Figure::ratio(
            "answers a second of who is not observed, somebody else is",
            "100 % within",
            &answers,
        ),
        Figure::ratio(&what, "100 % within", &connections),
    ])
}
