//! How long it takes to end connections among 54,000 idle ones, of which each process holds both ends.

use std::{process::Command, time::Instant};

use murphy_sys::connections::{Connections, State};

use crate::{Lab, Outcome, figure::Figure, holder::Holder};

const PROCESSES: usize = 6;
const EACH: usize = 9000;
/// The share whose end is timed.
const RATE: (&str, u64) = ("30%", 16_200);

/// Takes the figures.
pub fn measure(lab: &Lab, runs: usize) -> Outcome<Vec<Figure>> {
    let mut figures = Vec::new();
    for (is_v4, family, wanted) in [(true, "IPv4", "< 500 ms"), (false, "IPv6", "< 800 ms")] {
        let (mut one, mut each, mut all) = (Vec::new(), Vec::new(), Vec::new());
        let (mut murphys, mut peers) = (Vec::new(), Vec::new());
        for run in 0..runs {
            let holders = hold(lab, is_v4)?;
            let ports: Vec<_> = holders
                .iter()
                .map(|holder| holder.port.to_string())
                .collect();
            let among_all = ports.join(",");
            let first = took_us(lab, &["--local-port", &among_all, "--count", "1"], 1)?;
            // One is gone, and a share of the rest is rounded up to the same.
            let words = ["--local-port", &among_all, "--rate", RATE.0];
            let share = took_us(lab, &words, RATE.1)?;
            one.push(first / 1e3);
            all.push(share / 1e3);
            // All that are left of two processes, by one and by the other.
            let murphy = || timed(&mut lab.murphy(&["--local-port", &ports[0], "--rate", "100%"]));
            let peer = || -> Outcome<f64> {
                let filter = ["-K", "-n", "-H", "state", "established", "sport", "="];
                let mut ss = Command::new("ss");
                ss.args(filter).arg(format!(":{}", ports[1]));
                let took = lab
                    .node
                    .run(|| timed(&mut ss).map_err(|error| error.to_string()))??;
                Ok(took)
            };
            if run % 2 == 0 {
                murphys.push(murphy()?);
                peers.push(peer()?);
            } else {
                peers.push(peer()?);
                murphys.push(murphy()?);
            }
            each.push(reset_us(lab, &holders[2..])?);
        }
        let name = |what: &str| format!("{what}, {family}");
        figures.extend([
            Figure::median(
                &name("1 of 54,000 idle connections is listed, drawn and ended"),
                "",
                &one,
                "ms",
            ),
            Figure::median(
                &name("30 % of 54,000: listed, drawn and ended"),
                wanted,
                &all,
                "ms",
            ),
            Figure::median(
                &name("each of about 25,000 resets, without the list"),
                "≤ 20 µs",
                &each,
                "µs",
            ),
            Figure::median(
                &name("the whole command, about 6,300 on one port of six"),
                "",
                &murphys,
                "ms",
            ),
            Figure::median(
                &name("the same by `ss -K`, which knows no share"),
                "",
                &peers,
                "ms",
            ),
        ]);
    }
    Ok(figures)
}

fn hold(lab: &Lab, is_v4: bool) -> Outcome<Vec<Holder>> {
    let one = |_| Holder::start(&lab.node, is_v4, EACH, false);
    (0..PROCESSES).map(one).collect()
}

/// How long a draw took that had to end so many, in microseconds.
fn took_us(lab: &Lab, words: &[&str], ended: u64) -> Outcome<f64> {
    let effect = lab.end(words)?;
    if effect["ended"] != ended {
        return Err(format!("{ended} were to end: {}", effect["draws"]).into());
    }
    let took = effect["draws"][0]["took_us"].as_f64();
    Ok(took.ok_or("it does not say how long it took")?)
}

/// How long each reset takes of all that these still hold, in microseconds.
fn reset_us(lab: &Lab, holders: &[Holder]) -> Outcome<f64> {
    let mut connections = Connections::within(&lab.node)?;
    let mut ids: Vec<_> = connections
        .list(&[State::Established], false)?
        .iter()
        .map(|socket| socket.id)
        .collect();
    ids.retain(|id| holders.iter().any(|holder| holder.port == id.local.port()));
    let began = Instant::now();
    connections.end(&ids)?;
    Ok(began.elapsed().as_secs_f64() * 1e6 / ids.len() as f64)
}

/// How long a command takes that succeeds, in milliseconds.
fn timed(command: &mut Command) -> Outcome<f64> {
    let began = Instant::now();
    let output = command.output()?;
    let took = began.elapsed();
    if output.status.success() {
        Ok(took.as_secs_f64() * 1e3)
    } else {
        Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)).into())
    }
}
