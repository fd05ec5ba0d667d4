//! What memory Murphy needs that observes a server of 50,000 connections.

use std::time::Duration;

use crate::{Lab, Outcome, figure::Figure, holder::Holder, wire::address};

const PROCESSES: usize = 4;
const EACH: usize = 12_500;
const LASTS: Duration = Duration::from_secs(10);

/// Takes the figures.
pub fn measure(lab: &Lab, runs: usize) -> Outcome<Vec<Figure>> {
    let (server, client) = (lab.pair.server(), lab.pair.client());
    let at = (address(true, 2), 0).into();
    let pairs = (0..PROCESSES).map(|_| Holder::pair(server, client, at, EACH));
    let _pairs = pairs.collect::<Outcome<Vec<_>>>()?;
    let (mut resident, mut anonymous) = (Vec::new(), Vec::new());
    let (mut looks_ms, mut shares) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        let watch = lab.pair.observe_server(&[])?;
        let before = watch.ran_s()?;
        let [most, own] = watch.most_mb(LASTS)?;
        shares.push(100.0 * (watch.ran_s()? - before) / LASTS.as_secs_f64());
        resident.push(most);
        anonymous.push(own);
        let snapshot = watch.end()?;
        let overhead = &snapshot["overhead"];
        if overhead["looked"] != PROCESSES * EACH {
            return Err(format!("50,000 were to be seen: {overhead}").into());
        }
        looks_ms.push(overhead["look_us"].as_f64().ok_or("it looks")? / 1e3);
    }
    Ok(vec![
        Figure::median(
            "memory at 50,000 connections (VmHWM)",
            "< 60 MB",
            &resident,
            "MB",
        ),
        Figure::median(
            "of that no file's and no ring's (RssAnon)",
            "",
            &anonymous,
            "MB",
        ),
        Figure::median("a look at all of them", "", &looks_ms, "ms"),
        Figure::mean("of a processor, Murphy meanwhile", "", &shares, "%"),
    ])
}
