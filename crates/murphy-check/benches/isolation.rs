//! How long transactions take to judge, from a recording in memory; growth from 10^4 to 10^6 transactions.

#![allow(missing_docs, reason = "criterion's macros make items without")]

use std::{hint::black_box, time::Duration};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use murphy_check::isolation::{
    Options, Workload,
    generate::{Profile, Store},
    judge,
};

fn growth(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("isolation");
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(10));
    for (workload, store) in [
        (Workload::ListAppend, Store::Strict),
        (Workload::ListAppend, Store::StrongSnapshot),
        (Workload::RwRegister, Store::Strict),
    ] {
        for transactions in [10_000, 100_000] {
            let profile = Profile {
                clients: 50,
                keys: 10,
                // Every unknown outcome is a session more, and registers cost transactions times sessions.
                unknown_per_mille: if workload == Workload::RwRegister {
                    0
                } else {
                    10
                },
                ..Profile::new(workload, store, transactions)
            };
            let recording = profile.generate(7);
            let name = format!("{}/{store:?}", workload.name());
            group.throughput(Throughput::Elements(transactions as u64));
            group.bench_function(BenchmarkId::new(name, transactions), |bencher| {
                bencher.iter(|| judge(black_box(&recording), workload, &Options::default()));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, growth);
criterion_main!(benches);
