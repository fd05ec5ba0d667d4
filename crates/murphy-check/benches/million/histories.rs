//! Histories of correct runs, written from a seed.

use std::io::{self, Write};

use murphy_check::{
    etcd::generate::{self, Profile},
    formats,
    isolation::{
        Workload,
        generate::{Profile as Transactions, Store},
    },
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// How many clients ask at the same time.
const CLIENTS: usize = 50;

/// How many keys a store has.
const KEYS: usize = 1_000;

/// What kind of history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One register.
    Register,
    /// A thousand keys.
    KeyValue,
    /// Mixed requests to etcd.
    Etcd,
    /// The same, with a watch of every key on each of three members.
    Watched,
    /// Transactions of reads and appends.
    ListAppend,
}

impl Kind {
    pub const ALL: [Self; 5] = [
        Self::Register,
        Self::KeyValue,
        Self::Etcd,
        Self::Watched,
        Self::ListAppend,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::KeyValue => "key-value",
            Self::Etcd => "etcd",
            Self::Watched => "etcd-watched",
            Self::ListAppend => "list-append",
        }
    }

    /// The kind of a name.
    pub fn of(name: &str) -> Result<Self, String> {
        let kind = Self::ALL.into_iter().find(|kind| kind.name() == name);
        kind.ok_or_else(|| format!("no kind is called {name}"))
    }

    /// How many operations its histories have.
    pub fn sizes(self) -> &'static [usize] {
        match self {
            Self::ListAppend | Self::Watched => &[10_000, 100_000, 1_000_000],
            _ => &[10_000, 100_000, 1_000_000, 10_000_000],
        }
    }
}

/// Writes a history of so many operations.
pub fn write(kind: Kind, operations: usize, seed: u64, mut sink: impl Write) -> io::Result<()> {
    match kind {
        Kind::Register => registers(1, operations, seed, &mut sink)?,
        Kind::KeyValue => registers(KEYS, operations, seed, &mut sink)?,
        Kind::Etcd | Kind::Watched => {
            let profile = Profile {
                clients: CLIENTS,
                unknown_per_mille: 10,
                watches: kind == Kind::Watched,
                ..Profile::mixed(operations)
            };
            sink = generate::write(&profile, seed, sink)?;
        }
        Kind::ListAppend => {
            let profile = Transactions {
                clients: CLIENTS,
                keys: 10,
                ..Transactions::new(Workload::ListAppend, Store::Strict, operations)
            };
            formats::write(&profile.generate(seed), formats::Written::Murphy, &mut sink)?;
        }
    }
    sink.flush()
}

/// One operation of a register.
struct Operation {
    process: u32,
    key: u32,
    /// The value to write, or that was read; 0 is nil.
    value: u32,
    is_write: bool,
    is_lost: bool,
}

/// Half writes, half reads, of one register or of several by key. Each acts at its number times 100 ns, asked by the
/// first client that is free, and takes from some 2 to 5 µs. One in a hundred is never answered, and did happen or did
/// not; its client goes on under a new name.
fn registers(keys: usize, count: usize, seed: u64, sink: &mut impl Write) -> io::Result<()> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut clients: Vec<(u64, u32)> = (0..CLIENTS).map(|client| (0, narrow(client))).collect();
    let mut processes = narrow(CLIENTS);
    let mut held = vec![0; keys];
    let mut operations = Vec::with_capacity(count);
    // Time, whether it is an answer, operation.
    let mut events: Vec<(u64, bool, u32)> = Vec::with_capacity(count * 2);
    let mut moment = 0;
    for number in 0..narrow(count) {
        let free = (0..CLIENTS).min_by_key(|&client| clients[client].0);
        let client = &mut clients[free.unwrap_or_default()];
        moment = (moment + 100).max(client.0 + 1);
        let call = (client.0 + 1).max(moment.saturating_sub(random.random_range(1_000..2_500)));
        let end = moment + random.random_range(1_000..2_500);
        let key = random.random_range(0..narrow(keys));
        let is_write = random.random_ratio(1, 2);
        let is_lost = random.random_ratio(1, 100);
        let value = if is_write {
            if !is_lost || random.random_ratio(1, 2) {
                held[key as usize] = number + 1;
            }
            number + 1
        } else {
            held[key as usize]
        };
        operations.push(Operation {
            process: client.1,
            key,
            value,
            is_write,
            is_lost,
        });
        events.extend([(call, false, number), (end, true, number)]);
        client.0 = end;
        if is_lost {
            client.1 = processes;
            processes += 1;
        }
    }
    events.sort_unstable();
    let model = if keys == 1 { "register" } else { "key-value" };
    writeln!(
        sink,
        r#"{{"murphy":"history","version":1,"model":"{model}","seed":{seed}}}"#
    )?;
    for (index, (time, is_answer, number)) in events.into_iter().enumerate() {
        let operation = &operations[number as usize];
        let kind = match (is_answer, operation.is_lost) {
            (false, _) => "invoke",
            (true, false) => "ok",
            (true, true) => "info",
        };
        let f = match (keys, operation.is_write) {
            (1, false) => "read",
            (1, true) => "write",
            (_, false) => "get",
            (_, true) => "put",
        };
        write!(
            sink,
            r#"{{"index":{index},"type":"{kind}","process":"c{}","f":"{f}","value":"#,
            operation.process
        )?;
        let is_said = operation.value != 0 && (operation.is_write || kind == "ok");
        match (keys, is_said) {
            (1, false) => write!(sink, "null")?,
            (1, true) => write!(sink, "{}", operation.value)?,
            (_, false) => write!(sink, r#"["k{}",null]"#, operation.key)?,
            (_, true) => write!(sink, r#"["k{}","{}"]"#, operation.key, operation.value)?,
        }
        writeln!(sink, r#","time":{time}}}"#)?;
    }
    Ok(())
}

/// Histories here have fewer operations than that.
fn narrow(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
