//! The whole check, from bytes to verdicts, of a generated history of a million operations by 24 clients
//! with a watch of every key on each of three members.

use std::{hint::black_box, time::Duration};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use murphy_check::{
    etcd::{
        self, Options, Record,
        generate::{self, Profile},
    },
    verdict::Verdict,
};

const OPERATIONS: usize = 1_000_000;

fn check(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("check");
    group
        .sample_size(10)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(30));
    for (name, profile) in [
        ("mixed", Profile::mixed(OPERATIONS)),
        ("compare", Profile::compare(OPERATIONS)),
    ] {
        let history = generate::write(&profile, 7, Vec::new()).expect("writing to memory");
        let report =
            etcd::check(history.as_slice(), &Options::default()).expect("a generated history");
        assert_ne!(report.verdict(&[]), Verdict::Broken, "{name}");
        group.throughput(Throughput::Elements(report.vacuity.operations));
        group.bench_with_input(
            BenchmarkId::new("read", name),
            &history,
            |bencher, history| {
                bencher.iter(|| black_box(Record::read(history.as_slice())));
            },
        );
        group.bench_with_input(
            BenchmarkId::new("read and judge", name),
            &history,
            |bencher, history| {
                bencher.iter(|| black_box(etcd::check(history.as_slice(), &Options::default())));
            },
        );
    }
    group.finish();
}

criterion_group!(benches, check);
criterion_main!(benches);
