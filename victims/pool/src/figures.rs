//! Figures are what one side sees, said in a line of JSON ten times a second and once more at the end.

use std::{
    future::Future,
    io::{self, Write},
    pin::pin,
    time::Duration,
};

use serde::Serialize;
use tokio::time::interval;

/// How often they are said.
const EVERY: Duration = Duration::from_millis(100);

/// Says figures until it is over, or until nobody hears them any more.
pub async fn say<F: Serialize>(figures: impl Fn() -> F, over: impl Future<Output = ()>) {
    let mut over = pin!(over);
    let mut ticks = interval(EVERY);
    loop {
        let is_over = tokio::select! {
            () = &mut over => true,
            _ = ticks.tick() => false,
        };
        if line(&figures()).is_err() || is_over {
            return;
        }
    }
}

fn line(figures: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(figures)?;
    line.push(b'\n');
    let mut out = io::stdout().lock();
    out.write_all(&line)?;
    out.flush()
}
