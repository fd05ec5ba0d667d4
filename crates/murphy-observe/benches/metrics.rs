//! What a scrape costs: the metrics of a thousand edges and as many peers as are pinged, written down in each format.

use std::{hint::black_box, net::IpAddr, time::Duration};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use murphy_fault::conn::Side;
use murphy_observe::{
    Edge, EdgeNow, Mode, Outcome, PeerNow, PingCount, Snapshot, Tally,
    metrics::{Format, Own, render},
};

const PEERS_MAX: u16 = 256;

/// So many edges, every other one of which the target accepts, with figures of some length.
fn snapshot(edges: u16) -> Snapshot {
    let peer = |number: u16| {
        let [high, low] = number.to_be_bytes();
        IpAddr::from([10, 0, high, low])
    };
    let edge = |number: u16| EdgeNow {
        total: Tally {
            connected: 123_456,
            connecting_us: 98_765_432,
            accepted: 123_456,
            retransmits: 4321,
            bytes_sent: 12_345_678_901,
            bytes_received: 12_345_678_901,
            segments_sent: 123_456_789,
            segments_received: 123_456_789,
            delivered: 123_456_789,
            ..Tally::default()
        },
        recent_s: 5,
        active: 20,
        rtt_us: Some(u64::from(number)),
        ping_us: Some(81),
        pings: 25,
        ..EdgeNow::new(Edge {
            container: "container:shop-catalog-1".into(),
            side: if number.is_multiple_of(2) {
                Side::Opened
            } else {
                Side::Accepted
            },
            peer: peer(number),
            port: 5432,
        })
    };
    let pinged = |number: u16| PeerNow {
        container: "container:shop-catalog-1".into(),
        peer: peer(number),
        last: Some(Outcome::Came(Duration::from_nanos(81_234))),
        count: PingCount {
            sent: 123_456,
            ..PingCount::default()
        },
    };
    Snapshot {
        at_ns: 0,
        mode: Mode {
            is_told: true,
            is_pinging: true,
            without: Vec::new(),
        },
        edges: (0..edges).map(edge).collect(),
        peers: (0..edges.min(PEERS_MAX)).map(pinged).collect(),
        ..Snapshot::default()
    }
}

fn scrape(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("scrape");
    for edges in [10, 1000] {
        let snapshot = snapshot(edges);
        for format in [Format::OpenMetrics, Format::Text] {
            let bytes = render(&snapshot, &Own::default(), format).len();
            group.throughput(Throughput::Bytes(bytes as u64));
            let name = BenchmarkId::new(format!("{format:?}"), edges);
            group.bench_function(name, |bencher| {
                bencher.iter(|| black_box(render(&snapshot, &Own::default(), format)));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, scrape);
criterion_main!(benches);
