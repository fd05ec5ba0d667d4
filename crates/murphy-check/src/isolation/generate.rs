//! Histories of transactions that are of a level by construction, to judge the judge and to measure it.
//!
//! Concurrent clients use a store that keeps every version with the number of its commit. What the store lets them
//! see is the [`Store`]; everything else is drawn from the seed.

use std::collections::VecDeque;

use rand::{Rng, RngExt as _, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rustc_hash::FxHashMap;

use super::{Level, Workload};
use crate::{
    history::{Header, Kind},
    recording::{Entry, Recorder, Recording, Strictness},
    value::Value,
};

/// What a transaction sees, and when it may not commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// Everything at one moment between request and answer.
    Strict,
    /// Everything at one moment, whatever the clocks say.
    Serial,
    /// A snapshot of the moment it began; the first committer of a key wins.
    StrongSnapshot,
    /// A snapshot of some moment before; the first committer of a key wins.
    Snapshot,
    /// A snapshot of some moment not before the last commit and snapshot of its process; nobody loses.
    Causal,
    /// Each read what is committed at that moment; nobody loses.
    Committed,
}

/// Every store, with the strongest level whose histories it makes.
pub const STORES: [(Store, Level); 6] = [
    (Store::Strict, Level::StrictSerializable),
    (Store::Serial, Level::Serializable),
    (Store::StrongSnapshot, Level::StrongSnapshotIsolation),
    (Store::Snapshot, Level::SnapshotIsolation),
    (Store::Causal, Level::Causal),
    (Store::Committed, Level::StrongReadCommitted),
];

/// What to generate.
#[derive(Clone, Debug)]
pub struct Profile {
    /// The micro-operations.
    pub workload: Workload,
    /// What transactions see.
    pub store: Store,
    /// How many transactions are asked.
    pub transactions: usize,
    /// How many clients ask at the same time.
    pub clients: usize,
    /// How many keys are used at the same time.
    pub keys: usize,
    /// How often a key is written before another takes its place.
    pub writes_per_key: usize,
    /// The most micro-operations of a transaction.
    pub operations: usize,
    /// Transactions whose outcome is unknown, in a thousand; half of them did commit.
    pub unknown_per_mille: u32,
    /// Transactions that abort by themselves, in a thousand.
    pub aborted_per_mille: u32,
}

impl Profile {
    /// As Jepsen's tests draw them: up to four micro-operations on three keys of 32 writes.
    pub fn new(workload: Workload, store: Store, transactions: usize) -> Self {
        Self {
            workload,
            store,
            transactions,
            clients: 20,
            keys: 3,
            writes_per_key: 32,
            operations: 4,
            unknown_per_mille: 10,
            aborted_per_mille: 10,
        }
    }

    /// A history with this seed.
    pub fn generate(&self, seed: u64) -> Recording {
        Simulation::new(self, seed).run()
    }
}

/// A transaction under way.
#[derive(Debug)]
struct Running {
    /// Key and the value to write, none for a read.
    asked: Vec<(i64, Option<i64>)>,
    answered: Vec<Value>,
    snapshot: u64,
    is_committed: bool,
    is_aborted: bool,
}

#[derive(Debug)]
struct Client {
    name: String,
    running: Option<Running>,
    /// The newest commit that its process made or saw.
    newest: u64,
}

struct Simulation<'p> {
    profile: &'p Profile,
    random: ChaCha8Rng,
    versions: FxHashMap<i64, Vec<(u64, i64)>>,
    /// Keys in use, and how often each was written.
    keys: Vec<(i64, usize)>,
    next_key: i64,
    next_value: i64,
    commits: u64,
    time: u64,
    names: usize,
    recorder: Recorder,
    line: u64,
}

impl<'p> Simulation<'p> {
    fn new(profile: &'p Profile, seed: u64) -> Self {
        let keys = i64::try_from(profile.keys).unwrap_or(1);
        Self {
            profile,
            random: ChaCha8Rng::seed_from_u64(seed),
            versions: FxHashMap::default(),
            keys: (0..keys).map(|key| (key, 0)).collect(),
            next_key: keys,
            next_value: 0,
            commits: 0,
            time: 0,
            names: 0,
            recorder: Recorder::new(Header::new(profile.workload.name()), Strictness::Strict),
            line: 1,
        }
    }

    fn run(mut self) -> Recording {
        let mut clients: Vec<Client> = (0..self.profile.clients).map(|_| self.client()).collect();
        let mut asked = 0;
        let mut is_busy = true;
        while asked < self.profile.transactions || is_busy {
            self.time += self.random.random_range(1..10);
            let at = self.random.random_range(0..clients.len());
            let mut client = std::mem::replace(
                &mut clients[at],
                Client {
                    name: String::new(),
                    running: None,
                    newest: 0,
                },
            );
            match client.running.take() {
                None if asked < self.profile.transactions => {
                    asked += 1;
                    self.begin(&mut client);
                }
                None => {}
                Some(running) => self.advance(&mut client, running),
            }
            clients[at] = client;
            is_busy = clients.iter().any(|client| client.running.is_some());
        }
        let recording = self.recorder.finish();
        if self.profile.store == Store::Serial {
            return scramble(&recording, &mut self.random);
        }
        recording
    }

    fn client(&mut self) -> Client {
        self.names += 1;
        Client {
            name: self.names.to_string(),
            running: None,
            newest: 0,
        }
    }

    fn begin(&mut self, client: &mut Client) {
        let count = self.random.random_range(1..=self.profile.operations);
        // What a client reads behind its own write would show where that write ends up, which is known only where
        // nobody else writes the key before it commits.
        let reads_own = !matches!(self.profile.store, Store::Causal | Store::Committed);
        let mut asked: Vec<(i64, Option<i64>)> = Vec::with_capacity(count);
        for _ in 0..count {
            let slot = self.random.random_range(0..self.keys.len());
            let key = self.keys[slot].0;
            let has_own = asked.iter().any(|(k, write)| *k == key && write.is_some());
            if self.random.random_bool(0.5) || (has_own && !reads_own) {
                self.next_value += 1;
                asked.push((key, Some(self.next_value)));
                self.keys[slot].1 += 1;
                if self.keys[slot].1 >= self.profile.writes_per_key {
                    self.keys[slot] = (self.next_key, 0);
                    self.next_key += 1;
                }
            } else {
                asked.push((key, None));
            }
        }
        let oldest = match self.profile.store {
            Store::Snapshot => self.commits.saturating_sub(20),
            Store::Causal => client.newest.max(self.commits.saturating_sub(20)),
            Store::Strict | Store::Serial | Store::StrongSnapshot | Store::Committed => {
                self.commits
            }
        };
        let snapshot = self.random.random_range(oldest..=self.commits);
        let ask = asked
            .iter()
            .map(|(key, write)| self.micro(*key, *write, Value::Nil));
        let ask = Value::list(ask.collect::<Vec<_>>());
        self.record(Kind::Invoke, &client.name, ask);
        client.running = Some(Running {
            asked,
            answered: Vec::new(),
            snapshot,
            is_committed: false,
            is_aborted: false,
        });
    }

    fn advance(&mut self, client: &mut Client, mut running: Running) {
        if running.is_committed || running.is_aborted {
            self.answer(client, &running);
            return;
        }
        if self.profile.store == Store::Committed && running.answered.len() < running.asked.len() {
            let at = self.commits;
            self.step(&mut running, at);
            client.running = Some(running);
            return;
        }
        if matches!(self.profile.store, Store::Strict | Store::Serial) {
            running.snapshot = self.commits;
        }
        while running.answered.len() < running.asked.len() {
            let at = running.snapshot;
            self.step(&mut running, at);
        }
        let loses = matches!(self.profile.store, Store::StrongSnapshot | Store::Snapshot)
            && running.asked.iter().any(|(key, write)| {
                let newest = self.versions.get(key).and_then(|v| v.last());
                write.is_some() && newest.is_some_and(|(commit, _)| *commit > running.snapshot)
            });
        let aborts = self.draw(self.profile.aborted_per_mille);
        if loses || aborts {
            running.is_aborted = true;
        } else {
            self.commits += 1;
            for (key, write) in &running.asked {
                if let Some(value) = write {
                    let versions = self.versions.entry(*key).or_default();
                    versions.push((self.commits, *value));
                }
            }
            client.newest = self.commits;
            running.is_committed = true;
        }
        client.running = Some(running);
    }

    /// Answers the next micro-operation from what was committed up to a commit, and the transaction itself.
    fn step(&self, running: &mut Running, commit: u64) {
        let at = running.answered.len();
        let (key, write) = running.asked[at];
        let own = running.asked[..at].iter();
        let own = own
            .filter(|(k, _)| *k == key)
            .filter_map(|(_, write)| *write);
        let value = if write.is_some() {
            Value::Nil
        } else {
            let versions = self.versions.get(&key).map_or(&[][..], Vec::as_slice);
            let until = versions.partition_point(|(version, _)| *version <= commit);
            let mut seen = versions[..until].iter().map(|(_, value)| *value).chain(own);
            match self.profile.workload {
                Workload::RwRegister => seen.next_back().map_or(Value::Nil, Value::Int),
                Workload::ListAppend => Value::list(seen.map(Value::Int)),
            }
        };
        running.answered.push(self.micro(key, write, value));
    }

    fn answer(&mut self, client: &mut Client, running: &Running) {
        if self.draw(self.profile.unknown_per_mille) {
            self.record(Kind::Info, &client.name, Value::Nil);
            *client = self.client();
        } else if running.is_aborted {
            self.record(Kind::Fail, &client.name, Value::Nil);
        } else {
            let answer = Value::list(running.answered.iter().cloned());
            self.record(Kind::Ok, &client.name, answer);
        }
    }

    fn draw(&mut self, per_mille: u32) -> bool {
        self.random.random_range(0..1000) < per_mille
    }

    fn micro(&self, key: i64, write: Option<i64>, read: Value) -> Value {
        let word = match (write, self.profile.workload) {
            (None, _) => "r",
            (Some(_), Workload::ListAppend) => "append",
            (Some(_), Workload::RwRegister) => "w",
        };
        let value = write.map_or(read, Value::Int);
        Value::list([word.into(), Value::Int(key), value])
    }

    fn record(&mut self, kind: Kind, process: &str, value: Value) {
        self.line += 1;
        let entry = Entry {
            line: self.line,
            index: None,
            kind,
            process: process.into(),
            f: "txn".into(),
            value,
            time: Some(self.time),
            node: None,
            error: None,
        };
        let taken = self.recorder.take(entry);
        debug_assert!(taken.is_ok(), "a generated line is taken: {taken:?}");
    }
}

/// The same transactions, each of a process of its own, asked and answered in another order.
fn scramble(recording: &Recording, random: &mut impl Rng) -> Recording {
    let mut order: Vec<usize> = (0..recording.invocations.len()).collect();
    for at in (1..order.len()).rev() {
        order.swap(at, random.random_range(0..=at));
    }
    let mut recorder = Recorder::new(recording.header.clone(), Strictness::Strict);
    let mut line = 1;
    let mut open = VecDeque::new();
    let mut take = |kind, number: usize, value: Value| {
        line += 1;
        let taken = recorder.take(Entry {
            line,
            index: None,
            kind,
            process: number.to_string().into(),
            f: "txn".into(),
            value,
            time: Some(line * 10),
            node: None,
            error: None,
        });
        debug_assert!(taken.is_ok(), "a scrambled line is taken: {taken:?}");
    };
    for number in order.into_iter().map(Some).chain([None; 3]) {
        if let Some(number) = number {
            take(
                Kind::Invoke,
                number,
                recording.invocations[number].ask.clone(),
            );
            open.push_back(number);
        }
        if open.len() > 3 || number.is_none() {
            let Some(number) = open.pop_front() else {
                continue;
            };
            let invocation = &recording.invocations[number];
            let kind = match invocation.outcome {
                crate::recording::Outcome::Ok => Kind::Ok,
                crate::recording::Outcome::Fail => Kind::Fail,
                crate::recording::Outcome::Unknown => Kind::Info,
            };
            take(kind, number, invocation.answer.clone());
        }
    }
    recorder.finish()
}
