//! How long it takes from the start of the command until packets are disturbed, and what a disturbance costs that has
//! nothing to do.

use std::{
    fs,
    thread::{scope, sleep},
    time::{Duration, Instant},
};

use crate::{
    Lab, Outcome,
    figure::Figure,
    wire::{Arrival, Flow, Pace, flows},
};

/// So many datagrams are sent, so long after each other, while the command starts.
const DATAGRAMS: u32 = 10_000;
const PAUSE: Duration = Duration::from_micros(200);
/// It is started when some are under way.
const AHEAD: Duration = Duration::from_millis(30);
/// How long nothing is done, each time.
const IDLE: Duration = Duration::from_secs(2);

/// What is injected, what is wanted of it, and whether a datagram shows that it acts: the first that is missing, or late.
const CASES: [(&str, &str, &[&str], bool); 2] = [
    ("tcx", "< 100 ms", &["--partition"], false),
    ("cable", "< 250 ms", &["--delay", "50ms"], true),
];

/// Takes the figures of beginnings.
pub fn measure(lab: &Lab, runs: usize) -> Outcome<Vec<Figure>> {
    let mut figures = Vec::new();
    for (engine, wanted, words, is_late) in CASES {
        let mut times = Vec::new();
        for _ in 0..runs {
            times.push(once(lab, words, is_late)?);
        }
        let what = format!("from the start of the command to its effect: {engine}");
        figures.push(Figure::median(&what, wanted, &times, "ms"));
    }
    Ok(figures)
}

/// Milliseconds from the start of the command until the first datagram is disturbed.
fn once(lab: &Lab, words: &[&str], is_late: bool) -> Outcome<f64> {
    let pace = Pace {
        pause: PAUSE,
        ..Pace::at_once(DATAGRAMS)
    };
    let (flow_began, began, disturbance, mut flows) = scope(|scope| {
        let flow_began = Instant::now();
        let flows = scope.spawn(|| flows(&[lab.wire.ends(true, false)], pace));
        sleep(AHEAD);
        let began = Instant::now();
        let disturbance = lab.start(words);
        let flows = flows.join().expect("it only sends");
        (flow_began, began, disturbance, flows)
    });
    disturbance?.end()?;
    let flow = flows.pop().ok_or("nothing was sent")?;
    let hit = first_hit(&flow, is_late).ok_or_else(|| {
        let (came, took) = (flow.came.len(), flow_began.elapsed());
        format!("nothing was disturbed in {took:?}: {came} of {DATAGRAMS} came")
    })?;
    let after = (flow_began + hit).saturating_duration_since(began);
    Ok(after.as_secs_f64() * 1e3)
}

/// When the first that was disturbed was sent, or the last before it.
fn first_hit(flow: &Flow, is_late: bool) -> Option<Duration> {
    const LATE_MS: f64 = 40.0;
    if is_late {
        let late = |arrival: &&Arrival| arrival.took_ms() > LATE_MS;
        return flow.came.iter().find(late).map(|arrival| arrival.sent);
    }
    let last = flow.came.last()?;
    (flow.came.len() < DATAGRAMS as usize).then_some(last.sent)
}

/// Takes the figures of what nobody asks anything of.
pub fn idle(lab: &Lab, runs: usize) -> Outcome<Vec<Figure>> {
    let mut figures = Vec::new();
    for (engine, _, words, _) in CASES {
        let disturbance = lab.disturb(words)?;
        let mut shares = Vec::new();
        for _ in 0..runs {
            let (began, before) = (Instant::now(), busy(disturbance.pid())?);
            sleep(IDLE);
            let busy = busy(disturbance.pid())?.saturating_sub(before);
            shares.push(100.0 * busy.as_secs_f64() / began.elapsed().as_secs_f64());
        }
        disturbance.end()?;
        let what = format!("of a processor, with nothing to do: {engine}");
        figures.push(Figure::mean(&what, "< 2 %", &shares, "%"));
    }
    Ok(figures)
}

/// How long all threads of a process have run.
fn busy(pid: u32) -> Outcome<Duration> {
    let mut all = Duration::ZERO;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(thread?.path().join("schedstat"))?;
        let ns = text.split(' ').next().ok_or("it has run for a while")?;
        all += Duration::from_nanos(ns.parse()?);
    }
    Ok(all)
}
