//! A load is a steady one: most of the connections always have a request under way, the others only now and then.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde::Serialize;
use tokio::{
    task::JoinSet,
    time::{Instant, interval_at, sleep, timeout},
};

use crate::{
    asked::{Asked, Connections},
    figures,
};

/// How often there is work for all connections.
const RUSH_EVERY: Duration = Duration::from_millis(250);
/// An answer that takes longer is none.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// How long whoever had no answer waits before the next question.
const REST: Duration = Duration::from_millis(10);
/// So many different errors are told apart.
const ERRORS_MAX: usize = 20;

/// How much is asked.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// How many connections there are.
    pub connections: usize,
    /// For how many of them there is work now and then only.
    pub idle: usize,
}

/// What came of it so far.
#[derive(Clone, Debug, Default, Serialize)]
struct Answers {
    ok: u64,
    failed: u64,
    errors: BTreeMap<String, u64>,
}

/// What is said of it.
#[derive(Debug, Serialize)]
struct Figures {
    #[serde(flatten)]
    answers: Answers,
    #[serde(flatten)]
    connections: Connections,
}

impl Answers {
    fn count(&mut self, answer: Result<(), String>) {
        let Err(error) = answer else {
            self.ok += 1;
            return;
        };
        self.failed += 1;
        let is_new = !self.errors.contains_key(&error);
        let kind = if is_new && self.errors.len() >= ERRORS_MAX {
            "others".to_owned()
        } else {
            error
        };
        *self.errors.entry(kind).or_default() += 1;
    }
}

impl Load {
    /// Puts it on somebody until it is over, and says how that goes.
    pub async fn run<A: Asked>(
        self,
        asked: A,
        over: impl Future<Output = ()>,
    ) -> Result<(), String> {
        let asked = Arc::new(asked);
        let answers = Arc::new(Mutex::new(Answers::default()));
        let rush = Instant::now() + RUSH_EVERY;
        let mut who_ask = JoinSet::new();
        for who in 0..self.connections * A::AT_A_TIME {
            let is_busy = who % self.connections >= self.idle;
            let (asked, answers) = (Arc::clone(&asked), Arc::clone(&answers));
            who_ask.spawn(async move {
                let mut rushes = interval_at(rush, RUSH_EVERY);
                loop {
                    if !is_busy {
                        rushes.tick().await;
                    }
                    let answer = timeout(ANSWER_WITHIN, asked.ask(who)).await;
                    let answer = answer.unwrap_or_else(|_| Err("no answer in time".into()));
                    let has_failed = answer.is_err();
                    locked(&answers).count(answer);
                    if has_failed {
                        sleep(REST).await;
                    }
                }
            });
        }
        let now = || Figures {
            answers: locked(&answers).clone(),
            connections: asked.connections(),
        };
        figures::say(now, over).await;
        who_ask.shutdown().await;
        Ok(())
    }
}

fn locked(answers: &Mutex<Answers>) -> std::sync::MutexGuard<'_, Answers> {
    answers.lock().unwrap_or_else(PoisonError::into_inner)
}
