//! How much of a stream's throughput is left: iperf3 without Murphy and with it, in pairs that take turns in which goes
//! first.

use std::{net::SocketAddr, process::Command, thread::sleep, time::Duration};

use murphy_sys::namespace::NetNamespace;
use serde_json::Value;

use crate::{
    Lab, Outcome,
    figure::Figure,
    lab::{Running, run},
    toxiproxy::Toxiproxy,
};

const PORT: u16 = 5201;
/// What is measured, and what comes before it and is not.
const SECONDS: &str = "1";
/// A server is looked for so often, this apart.
const TRIES: u32 = 100;
const APART: Duration = Duration::from_millis(20);

/// What is beside the path without Murphy: what it is, what is wanted of it, and what is injected.
const DISTURBED: [(&str, &str, &[&str]); 4] = [
    (
        "untouched beside a partition of somebody else (tcx)",
        "≥ 90 %",
        &["--partition", "--peer", "10.78.0.9"],
    ),
    (
        "untouched beside a delay of somebody else (cable)",
        "≥ 90 %",
        &["--delay", "10ms", "--peer", "10.78.0.9"],
    ),
    (
        "looked at for a loss of 0 % (tcx; one packet in 10⁹)",
        "≥ 85 %",
        &["--loss", "0.000000001"],
    ),
    (
        "delayed by 10 ms (cable)",
        "≥ 50 %, > 1 Gbit/s",
        &["--delay", "10ms"],
    ),
];
const TOXIPROXY: [(&str, u32); 2] = [
    ("through Toxiproxy without a toxic", 0),
    ("through Toxiproxy, delayed by 10 ms", 10),
];

/// Takes all figures.
pub fn measure(lab: &Lab, runs: usize) -> Outcome<Vec<Figure>> {
    let _server = serve(&lab.wire.b)?;
    let direct = Lab::there(PORT);
    let plain = || stream(&lab.wire.a, direct);
    let mut figures = Vec::new();
    for (what, wanted, words) in DISTURBED {
        let disturbed = || {
            let disturbance = lab.disturb(words)?;
            let rate = stream(&lab.wire.a, direct);
            disturbance.end()?;
            rate
        };
        figures.extend(pairs(what, wanted, runs, plain, disturbed)?);
    }
    let Some(toxiproxy) = Toxiproxy::build()? else {
        return Ok(figures);
    };
    for (what, latency_ms) in TOXIPROXY {
        let proxied = || {
            let (_running, here) = toxiproxy.start(lab, PORT, latency_ms)?;
            stream(&lab.wire.a, here)
        };
        figures.extend(pairs(what, "", runs, plain, proxied)?);
    }
    Ok(figures)
}

/// The ratio of each pair, and how much passed.
fn pairs(
    what: &str,
    wanted: &'static str,
    runs: usize,
    plain: impl Fn() -> Outcome<f64>,
    other: impl Fn() -> Outcome<f64>,
) -> Outcome<[Figure; 2]> {
    let (mut ratios, mut rates) = (Vec::new(), Vec::new());
    for run in 0..runs {
        let (without, with) = if run % 2 == 0 {
            let without = plain()?;
            (without, other()?)
        } else {
            let with = other()?;
            (plain()?, with)
        };
        ratios.push(with / without);
        rates.push(with);
    }
    Ok([
        Figure::ratio(&format!("a stream, {what}"), wanted, &ratios),
        Figure::mean("the same", "", &rates, "Gbit/s"),
    ])
}

/// A server at a node, for many streams, one after the other.
fn serve(node: &NetNamespace) -> Outcome<Running> {
    let port = PORT.to_string();
    let started = Running::start(node, Command::new("iperf3").args(["-s", "-p", &port]));
    started.map_err(|error| format!("start iperf3 (Debian's package iperf3): {error}").into())
}

/// What one stream comes to, in gigabits a second.
fn stream(node: &NetNamespace, to: SocketAddr) -> Outcome<f64> {
    let (host, port) = (to.ip().to_string(), to.port().to_string());
    let mut tries = 0;
    loop {
        let mut client = Command::new("iperf3");
        client.args(["-c", &host, "-p", &port, "-t", SECONDS, "-O", SECONDS, "-J"]);
        match run(node, &mut client) {
            Ok(said) => {
                let said: Value = serde_json::from_slice(&said)?;
                let rate = said["end"]["sum_received"]["bits_per_second"].as_f64();
                return Ok(rate.ok_or("iperf3 says no rate")? / 1e9);
            }
            // The server has not begun, or has not done with the stream before.
            Err(_) if tries < TRIES => {
                tries += 1;
                sleep(APART);
            }
            Err(error) => return Err(error),
        }
    }
}
