//! Comparing the members: with no traffic, wait until their logs are applied to the same entry, then ask
//! each for its status, its hash and everything it holds, all at one revision.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use murphy_check::etcd::vocabulary as word;
use tokio::time::Instant;

use super::{
    client::{Client, Request, Response},
    session::{Member, ask},
    wire::Guards,
};
use crate::{recorder::Recorder, system::SessionError};

/// How long the members may take to come to rest.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a watch may lag behind its member.
const WATCH_PATIENCE: Duration = Duration::from_secs(5);
/// Two looks this far apart must agree.
const STILL_FOR: Duration = Duration::from_millis(100);
/// The process that compares; it never writes.
const PROCESS: &str = "judge";

/// Waits for rest and writes what each member holds.
pub async fn members(
    members: &[Member],
    seen: &[Arc<AtomicI64>],
    recorder: &Recorder,
) -> Result<(), SessionError> {
    let mut clients = settle(members).await?;
    let guards = Guards::new();
    let mut revisions = Vec::new();
    let quiet = Request::Status(word::StatusRequest { quiet: true });
    for (member, client) in members.iter().zip(&mut clients) {
        let answer = step(client, recorder, member, &quiet, &guards).await?;
        revisions.extend(answer.map(|answer| answer.header().revision));
    }
    wait_for_watches(seen, &revisions).await;
    let at = revisions.iter().copied().min().unwrap_or(0);
    let hash = Request::HashKv(word::HashKvRequest { revision: at });
    let dump = Request::Range(word::RangeRequest {
        key: vec![0].into(),
        range_end: vec![0].into(),
        revision: at,
        serializable: true,
        ..Default::default()
    });
    for (member, client) in members.iter().zip(&mut clients) {
        step(client, recorder, member, &hash, &guards).await?;
        step(client, recorder, member, &dump, &guards).await?;
    }
    Ok(())
}

/// One question to one member. A member that refuses it, as it refuses a hash at the compact revision, has
/// answered: the history says so, and the comparison goes on without.
async fn step(
    client: &mut Client,
    recorder: &Recorder,
    member: &Member,
    request: &Request,
    guards: &Guards,
) -> Result<Option<Response>, SessionError> {
    let asked = ask(client, recorder, PROCESS, &member.node, request, guards).await;
    match asked.answer {
        Ok(response) => Ok(Some(response)),
        Err(rejection) if !rejection.connection_lost => Ok(None),
        Err(rejection) => Err(SessionError::Step {
            step: request.f().into(),
            node: member.node.clone(),
            error: rejection.text,
        }),
    }
}

/// Waits until every member answers and all have applied the same entry, twice in a row.
async fn settle(members: &[Member]) -> Result<Vec<Client>, SessionError> {
    let until = Instant::now() + PATIENCE;
    let mut before = None;
    loop {
        let mut clients = Vec::new();
        let mut states = Vec::new();
        for member in members {
            let state = match Client::connect(member.address).await {
                Ok(mut client) => {
                    let state = applied(&mut client).await;
                    clients.push(client);
                    state
                }
                Err(_) => None,
            };
            states.push(state);
        }
        let still = states.iter().all(|s| s.is_some() && *s == states[0]) && before == states[0];
        if still {
            return Ok(clients);
        }
        if Instant::now() >= until {
            return Err(SessionError::Unsettled {
                seconds: PATIENCE.as_secs(),
                state: describe(members, &states),
            });
        }
        before = states.first().copied().flatten();
        tokio::time::sleep(STILL_FOR).await;
    }
}

fn describe(members: &[Member], states: &[Option<u64>]) -> String {
    let each = members
        .iter()
        .zip(states)
        .map(|(member, state)| match state {
            Some(applied) => format!("{} applied index {applied}", member.node),
            None => format!("{} does not answer", member.node),
        });
    each.collect::<Vec<_>>().join(", ")
}

async fn applied(client: &mut Client) -> Option<u64> {
    let status = Request::Status(word::StatusRequest::default());
    match client.call(&status, &Guards::new()).await {
        Ok(Response::Status(status)) if status.leader != 0 => Some(status.raft_applied_index),
        _ => None,
    }
}

/// Gives each watch the time to deliver what its member holds. A watch that does not is no error here:
/// what it did deliver is judged.
async fn wait_for_watches(seen: &[Arc<AtomicI64>], revisions: &[i64]) {
    let until = Instant::now() + WATCH_PATIENCE;
    let behind = || {
        seen.iter()
            .zip(revisions)
            .any(|(s, r)| s.load(Ordering::Relaxed) < *r && *r > 1)
    };
    while behind() && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
