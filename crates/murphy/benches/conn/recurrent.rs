//! What Murphy itself takes that ends 30 % of 10,000 connections every second, while their clients connect again.

use std::time::Instant;

use crate::{Lab, Outcome, figure::Figure, holder::Holder, lab::children_ran};

const PROCESSES: usize = 2;
const EACH: usize = 5000;
const LASTS: (&str, u64) = ("30s", 30);

/// Takes the figure.
pub fn measure(lab: &Lab, runs: usize) -> Outcome<Vec<Figure>> {
    let one = |_| Holder::start(&lab.node, true, EACH, true);
    let holders: Vec<_> = (0..PROCESSES).map(one).collect::<Outcome<_>>()?;
    let ports: Vec<_> = holders
        .iter()
        .map(|holder| holder.port.to_string())
        .collect();
    let ports = ports.join(",");
    let words = [
        "--local-port",
        &ports,
        "--rate",
        "30%",
        "--every",
        "1s",
        "--for",
        LASTS.0,
    ];
    let (mut shares, mut draws_ms) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        let (began, before) = (Instant::now(), children_ran()?);
        let effect = lab.end(&words)?;
        let ran = children_ran()? - before;
        shares.push(100.0 * ran / began.elapsed().as_secs_f64());
        let draws = effect["draws"].as_array().ok_or("it has drawn")?;
        // All come back before the next draw.
        let of_all = draws.iter().all(|draw| draw["of"] == PROCESSES * EACH);
        if draws.len() as u64 != LASTS.1 || !of_all {
            return Err(format!("thirty draws of 10,000 were wanted: {draws:?}").into());
        }
        draws_ms.extend(
            draws
                .iter()
                .filter_map(|draw| Some(draw["took_us"].as_f64()? / 1e3)),
        );
    }
    Ok(vec![
        Figure::median(
            "of a processor, 30 % of 10,000 connections every second",
            "< 15 %",
            &shares,
            "%",
        ),
        Figure::median("each of these draws", "", &draws_ms, "ms"),
    ])
}
