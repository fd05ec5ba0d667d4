//! The load generator asks the front end at a steady rate, however slow the answers are: mostly for products, every
//! seventh time it orders one. Each second it says how that went.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use hyper::{StatusCode, body::Bytes};
use serde_json::json;
use tokio::{
    sync::Semaphore,
    time::{MissedTickBehavior, interval},
};

use super::{
    CATALOG_HEADER, PRODUCTS, ServiceError,
    figures::{Figures, Out, Served},
    server::{self, Answer, Answers, Question, trouble},
    upstream::Upstream,
};

/// Most requests under way; one more is not sent, and counted as such.
const UNDER_WAY_MAX: usize = 64;
/// One request in so many is an order: an odd number, so that each of the two catalogs gets its share.
const ORDER_EVERY: u64 = 7;

/// What load to make.
#[derive(Debug)]
pub struct Load {
    /// Whom to ask.
    pub front_end: Upstream,
    /// Requests a second, at least one.
    pub rate: u32,
    /// The file that the figures are written to; standard output when absent.
    pub figures: Option<PathBuf>,
}

/// Answers nothing but that it is there.
struct Health;

impl Answers for Health {
    async fn answer(&self, question: Question) -> Answer {
        if question.path == "/health" {
            server::json(StatusCode::OK, &json!({ "healthy": true }))
        } else {
            trouble(
                StatusCode::NOT_FOUND,
                "a load generator has nothing but /health",
            )
        }
    }
}

/// Makes load until the figures cannot be written any more.
pub async fn run(load: Load) -> Result<(), ServiceError> {
    let out = Out::open(load.figures).map_err(ServiceError::Figures)?;
    let figures = Arc::new(Mutex::new(Figures::default()));
    tokio::select! {
        ended = server::serve(Health) => ended,
        ended = say(out, Arc::clone(&figures)) => ended,
        () = send(Arc::new(load.front_end), load.rate, figures) => Ok(()),
    }
}

/// Writes a line a second.
async fn say(mut out: Out, figures: Arc<Mutex<Figures>>) -> Result<(), ServiceError> {
    let mut ticks = interval(Duration::from_secs(1));
    ticks.tick().await;
    let mut second = 0_u64;
    loop {
        ticks.tick().await;
        let past = std::mem::take(&mut *lock(&figures));
        out.write(&past.line(second))
            .map_err(ServiceError::Figures)?;
        second += 1;
    }
}

async fn send(front_end: Arc<Upstream>, rate: u32, figures: Arc<Mutex<Figures>>) {
    let mut ticks = interval(Duration::from_secs(1) / rate);
    // After a stop, no burst: the rate is what is asked for.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let places = Arc::new(Semaphore::new(UNDER_WAY_MAX));
    let mut number = 0_u64;
    loop {
        ticks.tick().await;
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            lock(&figures).unsent += 1;
            continue;
        };
        let (front_end, figures) = (Arc::clone(&front_end), Arc::clone(&figures));
        tokio::spawn(async move {
            let served = ask(&front_end, number).await;
            lock(&figures).add(served);
            drop(place);
        });
        number += 1;
    }
}

/// Sends the request of this number.
async fn ask(front_end: &Upstream, number: u64) -> Served {
    let product = number / ORDER_EVERY % u64::from(PRODUCTS) + 1;
    let is_order = number.is_multiple_of(ORDER_EVERY);
    let began = Instant::now();
    let answer = if is_order {
        let order = json!({ "product": product, "quantity": 1 }).to_string();
        front_end.ask("POST", "/orders", Bytes::from(order)).await
    } else {
        let path = format!("/products/{product}");
        front_end.ask("GET", &path, Bytes::new()).await
    };
    let took = began.elapsed();
    let catalog = answer.as_ref().ok().and_then(|answer| {
        let name = answer.headers().get(CATALOG_HEADER)?;
        Some(name.to_str().ok()?.to_owned())
    });
    let is_well = answer.is_ok_and(|answer| answer.status().is_success());
    Served {
        catalog,
        is_order,
        is_well,
        took,
    }
}

fn lock(figures: &Mutex<Figures>) -> std::sync::MutexGuard<'_, Figures> {
    figures.lock().unwrap_or_else(PoisonError::into_inner)
}
