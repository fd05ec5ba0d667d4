//! Reading and writing a history of a register with a million events, in every format that is written.

use std::{hint::black_box, time::Duration};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use murphy_check::{
    formats::{self, Options, Written},
    history::{Header, Kind},
    recording::{Entry, Recorder, Recording, Strictness},
    value::Value,
};

const EVENTS: u32 = 1_000_000;
const CLIENTS: u32 = 50;

/// Fifty clients that ask and are answered in turn; every third reads.
fn recording() -> Recording {
    let mut recorder = Recorder::new(Header::new("register"), Strictness::Strict);
    for event in 0..EVENTS {
        let turn = event / CLIENTS;
        let number = turn / 2 * CLIENTS + event % CLIENTS;
        let (f, asked) = if number.is_multiple_of(3) {
            ("read", Value::Nil)
        } else {
            ("write", Value::Int(number.into()))
        };
        let kind = if turn.is_multiple_of(2) {
            Kind::Invoke
        } else {
            Kind::Ok
        };
        let taken = recorder.take(Entry {
            line: u64::from(event) + 2,
            index: Some(event.into()),
            kind,
            process: format!("c{}", event % CLIENTS).into(),
            f: f.into(),
            value: if kind == Kind::Ok {
                Value::Int(number.into())
            } else {
                asked
            },
            time: Some(u64::from(event) * 10_000),
            node: None,
            error: None,
        });
        taken.expect("a history that can have happened");
    }
    recorder.finish()
}

fn read_and_write(criterion: &mut Criterion) {
    let recording = recording();
    let mut group = criterion.benchmark_group("formats");
    group
        .sample_size(10)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(10))
        .throughput(Throughput::Elements(EVENTS.into()));
    let options = Options {
        model: Some("register"),
        ..Options::default()
    };
    for format in [Written::Murphy, Written::Edn, Written::JepsenJson] {
        let mut bytes = Vec::new();
        formats::write(&recording, format, &mut bytes).expect("writing to memory");
        let name = format!("{format:?}");
        group.bench_with_input(BenchmarkId::new("read", &name), &bytes, |bencher, bytes| {
            bencher.iter(|| black_box(formats::read(bytes.as_slice(), &options)));
        });
        group.bench_function(BenchmarkId::new("write", &name), |bencher| {
            bencher.iter(|| formats::write(black_box(&recording), format, std::io::sink()));
        });
    }
    group.finish();
}

criterion_group!(benches, read_and_write);
criterion_main!(benches);
