//! Random small histories, valid and corrupted, are judged exactly as brute force judges them.
//!
//! The oracle tries every order of the operations that real time allows, with every subset of the
//! unknown writes, on the reference model: it knows nothing of revisions as an order, of holes, of
//! pairs as numbers.

#![allow(clippy::print_stderr, reason = "a soak run prints its figures")]

use std::collections::{BTreeMap, HashMap};

use murphy_check::{
    etcd::{
        self, Options,
        generate::{Entry, Profile, Story, Value},
        model::{Model, Request, Response},
        vocabulary::{Header, KeyValue, RangeResponse, ResponseOp, TxnResponse},
    },
    history::Kind,
    verdict::Verdict,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

struct Op {
    call: u64,
    end: u64,
    request: Request,
    /// The answer; `None` for an unknown outcome.
    response: Option<Response>,
}

fn operations(story: &Story) -> Vec<Op> {
    let mut open: HashMap<&str, usize> = HashMap::new();
    let mut ops: Vec<Option<Op>> = Vec::new();
    for entry in &story.entries {
        match (&entry.value, entry.kind) {
            (Value::Request(request), Kind::Invoke) => {
                open.insert(&entry.process, ops.len());
                ops.push(Some(Op {
                    call: entry.time,
                    end: u64::MAX,
                    request: request.clone(),
                    response: None,
                }));
            }
            (Value::Response(response), Kind::Ok) => {
                let op = ops[open[entry.process.as_str()]].as_mut().unwrap();
                op.end = entry.time;
                op.response = Some(plain(response));
            }
            (_, Kind::Fail) => ops[open[entry.process.as_str()]] = None,
            _ => {}
        }
    }
    ops.into_iter().flatten().collect()
}

/// The answer without what the model does not know: member and term.
fn plain(response: &Response) -> Response {
    let mut response = response.clone();
    *response.header_mut() = Header {
        revision: response.revision(),
        ..Header::default()
    };
    response
}

fn is_serializable(request: &Request) -> bool {
    matches!(request, Request::Range(ask) if ask.serializable)
}

struct Oracle {
    ops: Vec<Op>,
    local: Vec<Op>,
}

impl Oracle {
    fn new(story: &Story) -> Self {
        let (local, ops) = operations(story)
            .into_iter()
            .partition(|op| is_serializable(&op.request));
        Self { ops, local }
    }

    /// Whether some order explains the writes and linearizable reads; with `all`, the serializable
    /// reads as well.
    fn explains(&self, all: bool) -> bool {
        self.search(&Model::default(), 0, &mut Vec::new(), all)
    }

    /// `order` are the operations done, each with the least place it forces on what shows it: the
    /// revision it wrote, or one more than the revision it read.
    fn search(&self, model: &Model, done: u32, order: &mut Vec<(u64, i64)>, all: bool) -> bool {
        let left = || {
            self.ops
                .iter()
                .enumerate()
                .filter(move |(place, _)| done & (1 << place) == 0)
        };
        let mut answered = left().filter(|(_, op)| op.response.is_some()).peekable();
        if answered.peek().is_none() && (!all || self.past_is_true(model, order)) {
            return true;
        }
        let deadline = answered.map(|(_, op)| op.end).min().unwrap_or(u64::MAX);
        left()
            .filter(|(_, op)| op.call <= deadline)
            .any(|(place, op)| {
                let mut next = model.clone();
                let result = next.apply(&op.request);
                let fits = match &op.response {
                    Some(response) => result.as_ref() == Ok(response),
                    None => result.is_ok() && !next.events.is_empty(),
                };
                order.push((op.call, next.revision + i64::from(next.events.is_empty())));
                let found = fits && self.search(&next, done | 1 << place, order, all);
                order.pop();
                found
            })
    }

    /// A serializable read shows the state of its revision, and nothing that was not asked for yet.
    fn past_is_true(&self, model: &Model, order: &[(u64, i64)]) -> bool {
        self.local
            .iter()
            .all(|op| match (&op.request, &op.response) {
                (Request::Range(ask), Some(response)) => {
                    let at = response.revision();
                    at <= model.revision
                        && order
                            .iter()
                            .all(|(call, place)| *place > at || *call <= op.end)
                        && model.range(ask, at).map(Response::Range).as_ref() == Ok(response)
                }
                _ => true,
            })
    }
}

fn count() -> u64 {
    if std::env::var_os("MURPHY_SOAK").is_some() {
        200_000
    } else {
        1_000
    }
}

fn small(seed: u64) -> Story {
    let profile = Profile {
        clients: 2 + usize::try_from(seed % 3).unwrap(),
        operations: 4 + usize::try_from(seed % 5).unwrap(),
        keys: 1 + usize::try_from(seed % 2).unwrap(),
        members: 2,
        unknown_per_mille: [0, 200, 400][usize::try_from(seed % 3).unwrap()],
        kills: 0,
        compactions: 0,
        watches: false,
        cut: true,
        ..Profile::mixed(8)
    };
    Story::generate(&profile, seed)
}

/// Changes one thing at random; the result may still be valid.
fn corrupt(story: &mut Story, rng: &mut ChaCha8Rng) {
    let answers: Vec<usize> = (0..story.entries.len())
        .filter(|place| matches!(story.entries[*place].value, Value::Response(_)))
        .collect();
    if answers.is_empty() {
        return;
    }
    let place = answers[rng.random_range(0..answers.len())];
    let other = answers[rng.random_range(0..answers.len())];
    match rng.random_range(0..6) {
        0 => nudge(&mut story.entries[place], rng),
        1 => {
            let (a, b) = (
                revision(&story.entries[place]),
                revision(&story.entries[other]),
            );
            set_revision(&mut story.entries[place], b);
            set_revision(&mut story.entries[other], a);
        }
        2 => {
            // The outcome becomes unknown: often still valid.
            let entry = &mut story.entries[place];
            entry.kind = Kind::Info;
            entry.value = Value::None;
        }
        3 => {
            let time = story.entries[other].time;
            let call = invocation(story, place);
            if time >= story.entries[call].time {
                story.entries[place].time = time;
            }
        }
        4 => story.entries[place].kind = Kind::Fail,
        _ => change_content(&mut story.entries[place], rng),
    }
}

fn invocation(story: &Story, answer: usize) -> usize {
    let process = &story.entries[answer].process;
    (0..answer)
        .rev()
        .find(|place| story.entries[*place].process == *process)
        .unwrap()
}

fn revision(entry: &Entry) -> i64 {
    if let Value::Response(response) = &entry.value {
        response.revision()
    } else {
        1
    }
}

fn set_revision(entry: &mut Entry, revision: i64) {
    if let Value::Response(response) = &mut entry.value {
        response.header_mut().revision = revision;
    }
}

fn nudge(entry: &mut Entry, rng: &mut ChaCha8Rng) {
    let by = if rng.random() { 1 } else { -1 };
    set_revision(entry, (revision(entry) + by).max(1));
}

fn change_content(entry: &mut Entry, rng: &mut ChaCha8Rng) {
    let Value::Response(response) = &mut entry.value else {
        return;
    };
    match response {
        Response::Range(answer) => change_range(answer, rng),
        Response::Put(answer) => answer.prev_kv = None,
        Response::DeleteRange(answer) => answer.deleted = (answer.deleted + 1) % 2,
        Response::Txn(answer) => change_txn(answer, rng),
    }
}

fn change_range(answer: &mut RangeResponse, rng: &mut ChaCha8Rng) {
    match answer.kvs.first_mut() {
        Some(pair) => change_pair(pair, rng),
        None => answer.count += 1,
    }
}

fn change_pair(pair: &mut KeyValue, rng: &mut ChaCha8Rng) {
    match rng.random_range(0..4) {
        0 => pair.version += 1,
        1 => pair.mod_revision -= 1,
        2 => pair.create_revision += 1,
        _ => pair.value = "nobody".into(),
    }
}

fn change_txn(answer: &mut TxnResponse, rng: &mut ChaCha8Rng) {
    for op in &mut answer.responses {
        match op {
            ResponseOp::ResponseRange(answer) => change_range(answer, rng),
            ResponseOp::ResponseTxn(answer) => change_txn(answer, rng),
            _ => {}
        }
    }
}

#[test]
fn small_histories_are_judged_as_brute_force_judges_them() {
    let mut tally: BTreeMap<(bool, &str, &str), u64> = BTreeMap::new();
    for seed in 0..count() {
        let mut story = small(seed);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        for _ in 0..seed % 4 {
            corrupt(&mut story, &mut rng);
        }
        let oracle = Oracle::new(&story);
        let report = etcd::check(story.bytes().as_slice(), &Options::default()).unwrap();
        let verdict = |promise: &str| {
            report
                .judgements
                .iter()
                .find(|j| j.promise == promise)
                .unwrap()
        };
        let linearizable = verdict("linearizable");
        let local = verdict("serializable-reads");
        let (possible, all_possible) = (oracle.explains(false), oracle.explains(true));
        let text = || {
            let history = String::from_utf8(story.bytes()).unwrap();
            format!(
                "seed {seed}: oracle {possible} {all_possible}, {linearizable:#?} {local:#?}\n{history}"
            )
        };
        let broken = report.verdict(&[]) == Verdict::Broken;
        // What a serializable read shows is evidence of who wrote a revision, so that a false one may be
        // blamed on either promise; but never is a possible history broken.
        assert!(!(broken && all_possible), "{}", text());
        match linearizable.verdict {
            Verdict::Held => assert!(possible, "{}", text()),
            Verdict::Broken => assert!(!possible || !oracle.local.is_empty(), "{}", text()),
            Verdict::Undecided if linearizable.reason.contains("empty store") => {
                assert!(!all_possible, "{}", text());
            }
            Verdict::Undecided => {
                assert!(linearizable.reason.starts_with("no write"), "{}", text());
            }
        }
        // The one way out: a history that seems to begin in the middle.
        let is_late = linearizable.reason.contains("empty store");
        assert!(broken || all_possible || is_late, "{}", text());
        *tally
            .entry((
                all_possible,
                linearizable.verdict.word(),
                local.verdict.word(),
            ))
            .or_default() += 1;
    }
    eprintln!("oracle and check: {tally:?}");
}
