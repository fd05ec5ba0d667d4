//! A history without end: clients that read and write registers all the time, so that one of them is never quiet.

use std::collections::VecDeque;

use murphy_check::{history::Kind, recording::Entry, value::Value};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// An operation that will be answered.
struct Open {
    process: String,
    key: u32,
    is_write: bool,
    value: u64,
    /// When it is answered.
    end: u64,
}

/// Clients that read and write, each value once. An operation acts when it is asked.
pub struct Busy {
    random: ChaCha8Rng,
    keys: u32,
    unknown_per_mille: u32,
    held: Vec<u64>,
    open: VecDeque<Open>,
    clients: usize,
    processes: u64,
    free: Vec<u64>,
    operations: u64,
    lines: u64,
    moment: u64,
}

impl Busy {
    /// `keys` of 1 is a register, more are a key-value store.
    pub fn new(clients: usize, keys: u32, unknown_per_mille: u32, seed: u64) -> Self {
        Self {
            random: ChaCha8Rng::seed_from_u64(seed),
            keys,
            unknown_per_mille,
            held: vec![0; keys as usize],
            open: VecDeque::new(),
            clients,
            processes: clients as u64,
            free: (0..clients as u64).collect(),
            operations: 0,
            lines: 1,
            moment: 0,
        }
    }

    /// How many operations were asked.
    pub fn operations(&self) -> u64 {
        self.operations
    }

    /// The next line.
    pub fn next(&mut self) -> Entry<'static> {
        self.lines += 1;
        self.moment += self.random.random_range(1..4);
        let is_due = (self.open.front()).is_some_and(|open| open.end <= self.moment);
        if (self.open.len() == self.clients || is_due)
            && let Some(open) = self.open.pop_front()
        {
            return self.answer(&open);
        }
        self.ask()
    }

    fn ask(&mut self) -> Entry<'static> {
        self.operations += 1;
        let process = self.free.pop().unwrap_or_default();
        let key = self.random.random_range(0..self.keys);
        let is_write = self.random.random_ratio(1, 2);
        let held = &mut self.held[key as usize];
        let value = if is_write { self.operations } else { *held };
        if is_write {
            *held = value;
        }
        let open = Open {
            process: format!("c{process}"),
            key,
            is_write,
            value,
            end: self.moment + self.random.random_range(10..200),
        };
        let entry = self.entry(Kind::Invoke, &open);
        let place = self.open.partition_point(|other| other.end <= open.end);
        self.open.insert(place, open);
        entry
    }

    fn answer(&mut self, open: &Open) -> Entry<'static> {
        let number = open.process[1..].parse().unwrap_or_default();
        if self.random.random_ratio(self.unknown_per_mille, 1_000) {
            self.free.push(self.processes);
            self.processes += 1;
            return self.entry(Kind::Info, open);
        }
        self.free.push(number);
        self.entry(Kind::Ok, open)
    }

    fn entry(&self, kind: Kind, open: &Open) -> Entry<'static> {
        let is_said = open.value != 0 && (open.is_write || kind == Kind::Ok) && kind != Kind::Info;
        let number = i64::try_from(open.value).unwrap_or_default();
        let (f, value) = match (self.keys, is_said) {
            (1, false) => (["read", "write"], Value::Nil),
            (1, true) => (["read", "write"], Value::Int(number)),
            (_, false) => (["get", "put"], pair(open.key, Value::Nil)),
            (_, true) => (
                ["get", "put"],
                pair(open.key, Value::text(number.to_string().as_str())),
            ),
        };
        Entry {
            line: self.lines,
            index: None,
            kind,
            process: open.process.clone().into(),
            f: f[usize::from(open.is_write)].into(),
            value,
            time: Some(self.moment),
            node: None,
            error: None,
        }
    }
}

fn pair(key: u32, value: Value) -> Value {
    Value::list([Value::text(format!("k{key}").as_str()), value])
}
