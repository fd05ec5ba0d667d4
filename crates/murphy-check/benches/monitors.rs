//! The monitors on valid histories of 10^4 to 10^6 operations by 50 clients, 1 % of them without an answer.

#![allow(clippy::print_stderr, reason = "a bench prints its figures")]

use std::{fs, hint::black_box, time::Duration};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use murphy_check::{
    monitors::{
        Event, Operation, Outcome, bag, priority_queue, queue,
        register::{self, Access},
        set, stack,
    },
    sequential,
    sessions::{self, Guarantee},
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const CLIENTS: usize = 50;

/// Moments of a run: each operation acts at its number times 100, by the first client that is free, and takes from
/// some 1,000 to 5,000 before and behind.
struct Clock {
    random: ChaCha8Rng,
    free_from: Vec<u64>,
    moment: u64,
}

impl Clock {
    fn new(seed: u64) -> Self {
        Self {
            random: ChaCha8Rng::seed_from_u64(seed),
            free_from: vec![0; CLIENTS],
            moment: 0,
        }
    }

    /// The client, and an interval around the next moment; it has no end for one in a hundred.
    fn next(&mut self) -> (u32, u64, u64) {
        self.moment += 100;
        let client = (0..CLIENTS).min_by_key(|&client| self.free_from[client]);
        let client = client.unwrap_or_default();
        self.moment = self.moment.max(self.free_from[client] + 1);
        let call = (self.free_from[client] + 1).max(self.moment.saturating_sub(self.span()));
        let end = self.moment + self.span();
        self.free_from[client] = end;
        let is_lost = self.random.random_ratio(1, 100);
        (
            u32::try_from(client).unwrap_or_default(),
            call,
            if is_lost { u64::MAX } else { end },
        )
    }

    fn span(&mut self) -> u64 {
        self.random.random_range(1_000..2_500)
    }

    fn happened(&mut self, end: u64) -> bool {
        end != u64::MAX || self.random.random_ratio(1, 2)
    }
}

fn in_order_of_calls<E>(mut history: Vec<Operation<E>>) -> Vec<Operation<E>> {
    history.sort_by_key(|operation| operation.call);
    history
}

/// Half writes, half reads.
fn register(count: u32) -> Vec<(u32, Operation<Access>)> {
    let mut clock = Clock::new(1);
    let mut content = 0;
    let mut history = Vec::new();
    for value in 1..=count {
        let (client, call, end) = clock.next();
        let event = if clock.random.random_ratio(1, 2) {
            if clock.happened(end) {
                content = value;
            }
            Access::Write(value)
        } else if end == u64::MAX {
            continue;
        } else {
            Access::Read(content)
        };
        history.push((client, Operation { call, end, event }));
    }
    history.sort_by_key(|(_, operation)| operation.call);
    history
}

/// Some 20 values inside; `next` chooses which comes out.
fn container(count: u32, next: impl Fn(&[u32], &mut ChaCha8Rng) -> usize) -> Vec<Operation<Event>> {
    let mut clock = Clock::new(2);
    let mut names: Vec<u32> = (1..=count).collect();
    for at in (1..names.len()).rev() {
        names.swap(at, clock.random.random_range(0..=at));
    }
    let mut inside: Vec<u32> = Vec::new();
    let mut history = Vec::new();
    for _ in 0..count {
        let (_, call, end) = clock.next();
        let bias = if inside.len() > 20 { 45 } else { 55 };
        let event = if clock.random.random_ratio(bias, 100) {
            let value = names.pop().unwrap_or_default();
            if clock.happened(end) {
                inside.push(value);
            }
            Event::Insert(value)
        } else {
            let taken = if inside.is_empty() || !clock.happened(end) {
                None
            } else {
                Some(inside.remove(next(&inside, &mut clock.random)))
            };
            match taken {
                _ if end == u64::MAX => Event::RemoveUnseen,
                Some(value) => Event::Remove(value),
                None => Event::RemoveEmpty,
            }
        };
        history.push(Operation { call, end, event });
    }
    in_order_of_calls(history)
}

fn set_history(count: u32) -> Vec<Operation<set::Access>> {
    let mut clock = Clock::new(3);
    let mut inside: Vec<u32> = Vec::new();
    let mut history = Vec::new();
    for value in 1..=count {
        let (_, call, end) = clock.next();
        let place = clock.random.random_range(0..inside.len().max(1));
        let event = match (clock.random.random_range(0..4), inside.get(place).copied()) {
            (0, Some(inside)) if end != u64::MAX => set::Access::Present(inside),
            (1, _) if end != u64::MAX => set::Access::Absent(value),
            (2, Some(taken)) => {
                if clock.happened(end) {
                    inside.swap_remove(place);
                }
                set::Access::Remove(taken)
            }
            _ => {
                if clock.happened(end) {
                    inside.push(value);
                }
                set::Access::Add(value)
            }
        };
        history.push(Operation { call, end, event });
    }
    in_order_of_calls(history)
}

/// Whether the command line asks for it: what it does not ask for is not even made, so that it takes no memory.
fn is_wanted(name: &str) -> bool {
    let words = std::env::args().skip(1);
    let mut filters = words.filter(|word| !word.starts_with('-')).peekable();
    filters.peek().is_none() || filters.any(|filter| name.contains(&filter))
}

/// Memory of this process as Linux counts it; the greatest so far is forgotten where the one of now is asked for.
fn memory_kib(field: &str) -> Option<u64> {
    if field == "VmRSS" {
        fs::write("/proc/self/clear_refs", "5").ok()?;
    }
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with(field))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

fn check(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("monitors");
    group
        .sample_size(10)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(5));
    for count in [10_000, 100_000, 1_000_000] {
        let mut measure = |name: &str, history: &dyn Fn() -> Box<dyn Fn() -> Outcome>| {
            if !is_wanted(&format!("monitors/{name}/{count}")) {
                return;
            }
            let judge = history();
            // A history of a correct run that the monitor cannot decide would measure something else.
            let before = memory_kib("VmRSS");
            let outcome = judge();
            assert_eq!(outcome, Outcome::Linearizable, "{name} of {count}");
            if let (Some(before), Some(peak)) = (before, memory_kib("VmHWM")) {
                let beyond = peak.saturating_sub(before) / 1024;
                eprintln!("{name} of {count}: at most {beyond} MiB beyond the history");
            }
            group.throughput(Throughput::Elements(u64::from(count)));
            group.bench_function(BenchmarkId::new(name, count), |bencher| {
                bencher.iter(|| black_box(judge()));
            });
        };
        measure("register", &|| {
            let history = register(count).into_iter();
            let history: Vec<_> = history.map(|(_, operation)| operation).collect();
            Box::new(move || register::check(&history))
        });
        measure("set", &|| {
            let history = set_history(count);
            Box::new(move || set::check(&history))
        });
        measure("bag", &|| {
            let history = container(count, |inside, random| random.random_range(0..inside.len()));
            Box::new(move || bag::check(&history))
        });
        measure("queue", &|| {
            let history = container(count, |_, _| 0);
            Box::new(move || queue::check(&history))
        });
        measure("stack", &|| {
            let history = container(count, |inside, _| inside.len() - 1);
            Box::new(move || stack::check(&history))
        });
        measure("priority queue", &|| {
            let least = |inside: &[u32]| (0..inside.len()).min_by_key(|&at| inside[at]);
            let history = container(count, |inside, _| least(inside).unwrap_or_default());
            Box::new(move || priority_queue::check(&history))
        });
    }
    group.finish();
}

/// The same registers, as sessions.
fn weaker(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sessions");
    group
        .sample_size(10)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(5));
    for count in [10_000, 100_000, 1_000_000] {
        let names = Guarantee::ALL.map(Guarantee::name).into_iter();
        let mut names = names.chain(["refute sequential"]);
        if !names.any(|name| is_wanted(&format!("sessions/{name}/{count}"))) {
            continue;
        }
        let history: Vec<sessions::Operation> = (register(count).into_iter())
            .map(|(client, operation)| sessions::Operation {
                session: client,
                key: 0,
                access: operation.event,
                is_answered: operation.end != u64::MAX,
            })
            .collect();
        group.throughput(Throughput::Elements(u64::from(count)));
        for guarantee in Guarantee::ALL {
            assert_eq!(
                sessions::check(&history, guarantee),
                sessions::Outcome::Held
            );
            group.bench_function(BenchmarkId::new(guarantee.name(), count), |bencher| {
                bencher.iter(|| black_box(sessions::check(&history, guarantee)));
            });
        }
        if count < 1_000_000 {
            assert_eq!(sequential::refute(&history), None);
            group.bench_function(BenchmarkId::new("refute sequential", count), |bencher| {
                bencher.iter(|| black_box(sequential::refute(&history)));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, check, weaker);
criterion_main!(benches);
