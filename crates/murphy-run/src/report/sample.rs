//! A made-up run for the tests: node n2 of three is killed and comes back with one revision less.

use murphy_check::verdict::{Judgement, MemberRow, Report, Vacuity, Verdict, Witness, WitnessLine};
use serde_json::json;

use crate::events::{Event, FaultEvent, FaultState, NodeState, VerdictEvent, What};
use crate::folder::RunFile;
use crate::record::RunRecord;
use crate::request::{Machine, Request, VERSION};
use crate::series::{Bin, Summary};
use crate::timeline::Timeline;
use crate::verdict::{Cleanup, Ending, Outcome, Verdicts};

const MS: u64 = 1_000_000;

/// The run, broken.
pub fn broken() -> RunRecord {
    let judgements = vec![
        judged(
            "members-agree",
            "revision 4017 has two contents",
            Some(witness()),
        ),
        judged("durable", "19,874 acknowledged writes found", None),
        judged("linearizable", "one order explains 72,346 answers", None),
        judged("watch.reliable", "no gap in 3 streams", None),
    ];
    record(judgements, &events(), 60_000 * MS)
}

/// A run of `duration_ns` without faults in which everything held.
pub fn held(duration_ns: u64) -> RunRecord {
    let judgements = vec![
        judged("members-agree", "18 comparisons", None),
        judged("durable", "19,874 acknowledged writes found", None),
    ];
    let mut record = record(judgements, &[], duration_ns);
    record.verdicts.vacuity.faults = 0;
    record.verdicts.vacuity.operations_during_faults = 0;
    record.verdicts.cleanup = Cleanup::default();
    record
}

/// A run that was interrupted before anything could be judged.
pub fn undecided() -> RunRecord {
    let mut record = held(9_900 * MS);
    record.verdicts.verdict = Verdict::Undecided;
    for (_, promise) in &mut record.verdicts.promises {
        promise.verdict = Verdict::Undecided;
        promise.reason = "n1 never became healthy".into();
    }
    record.verdicts.ending = Ending::Interrupted;
    record.verdicts.cleanup = Cleanup {
        injections: 2,
        undone: 1,
        left: vec!["pause 4f09a2 on n0".into()],
    };
    record
}

/// A record of these judgements and events.
pub fn record(judgements: Vec<Judgement>, events: &[Event], duration_ns: u64) -> RunRecord {
    let request = request();
    let outcome = Outcome {
        report: Report {
            judgements,
            vacuity: vacuity(),
        },
        ending: Ending::Completed,
        cleanup: Cleanup {
            injections: 2,
            undone: 2,
            left: Vec::new(),
        },
        duration_ns,
    };
    let lines: Vec<(u64, Event)> = (2..).zip(events.iter().cloned()).collect();
    RunRecord {
        timeline: Timeline::of(&lines, &request.nodes, duration_ns),
        verdicts: Verdicts::new(&request, "murphy-runs/etcd-20261121T021804Z", outcome),
        series: series(duration_ns),
        files: files(),
        request,
    }
}

pub fn judged(promise: &str, reason: &str, witness: Option<Witness>) -> Judgement {
    Judgement {
        promise: promise.into(),
        verdict: if witness.is_some() {
            Verdict::Broken
        } else {
            Verdict::Held
        },
        reason: reason.into(),
        witness,
    }
}

/// A line of a witness that takes `lasts_ms`.
pub fn line(process: &str, node: &str, at_ms: u64, lasts_ms: u64, texts: [&str; 3]) -> WitnessLine {
    let [label, answer, text] = texts.map(Into::into);
    WitnessLine {
        index: at_ms,
        line: at_ms + 1,
        node: Some(node.into()),
        process: process.into(),
        start_ns: at_ms * MS,
        end_ns: Some((at_ms + lasts_ms) * MS),
        label,
        answer,
        text,
        clashes: true,
    }
}

fn witness() -> Witness {
    let put = WitnessLine {
        clashes: false,
        ..line(
            "c17",
            "n1",
            12_310,
            46,
            [
                "put k/88",
                "4017 = k/88",
                "c17 put `k/88 = \"c17-1204\"`; n1 acknowledged it as revision 4017 after 46 ms.",
            ],
        )
    };
    Witness {
        sentence:
            "After node n2 was killed at 12.4 s, n2 misses revision 4017 that n0 and n1 hold."
                .into(),
        lines: vec![
            put,
            line(
                "c03",
                "n0",
                19_010,
                4,
                [
                    "4017 at n0",
                    "k/88",
                    "Asked for revision 4017, n0 answered: put `k/88 = \"c17-1204\"`.",
                ],
            ),
            line(
                "c03",
                "n2",
                19_020,
                5,
                [
                    "4017 at n2",
                    "k/12",
                    "Asked for the same revision, n2 answered: put `k/12 = \"c05-0977\"`. A revision may have one content only.",
                ],
            ),
        ],
        members: vec![
            row("4016", ["k/41 = c02-1170"; 3]),
            row(
                "4017",
                ["k/88 = c17-1204", "k/88 = c17-1204", "k/12 = c05-0977"],
            ),
            row(
                "4018",
                ["k/12 = c05-0977", "k/12 = c05-0977", "k/63 = c21-1011"],
            ),
            row("hash at 4017", ["8f3a61c2", "8f3a61c2", "27b04e9d"]),
        ],
        confirmed: true,
    }
}

fn row(what: &str, cells: [&str; 3]) -> MemberRow {
    let nodes = ["n0", "n1", "n2"].into_iter();
    MemberRow {
        what: what.into(),
        cells: nodes
            .zip(cells)
            .map(|(n, c)| (n.into(), c.into()))
            .collect(),
    }
}

fn request() -> Request {
    let command =
        "murphy hunt etcd --etcd 3.5.0 --faults kill,pause --for 60s --seed 7 --keep-going";
    Request {
        murphy: "run".into(),
        version: VERSION,
        verb: "hunt".into(),
        system: "etcd".into(),
        system_version: Some("3.5.0".into()),
        nodes: ["n0", "n1", "n2"].map(Into::into).into(),
        model: "etcd".into(),
        promises: Vec::new(),
        options: [
            ("profile", json!("compare")),
            ("clients", json!(24)),
            ("faults", json!(["kill", "pause"])),
            ("for", json!("60s")),
            ("keep-going", json!(true)),
            ("disk", json!(false)),
        ]
        .map(|(name, value)| (name.into(), value))
        .into(),
        schedule: None,
        seed: 7,
        command: command.split(' ').map(Into::into).collect(),
        started: "2026-11-21T02:18:04.25Z".into(),
        machine: Machine {
            kernel: "Linux 6.18.5 x86_64".into(),
            cores: 8,
            memory_bytes: 16 << 30,
            murphy: "0.1.0".into(),
        },
    }
}

fn vacuity() -> Vacuity {
    Vacuity {
        operations: 72_491,
        operations_during_faults: 9_120,
        reads: 31_002,
        writes: 19_874,
        unknown: 145,
        failed: 20,
        watch_events: 207_412,
        watch_streams: 3,
        faults: 2,
    }
}

fn events() -> Vec<Event> {
    let mut events = Vec::new();
    for name in ["n0", "n1", "n2"] {
        events.push(node(0, name, NodeState::Starting));
        events.push(node(900, name, NodeState::Healthy));
    }
    events.extend([
        node(900, "n1", NodeState::Leader),
        fault(12_400, "4f09a2", "kill", "n2", FaultState::Active, None),
        node(12_402, "n2", NodeState::Down),
        node(15_600, "n2", NodeState::Restarted),
        fault(
            15_600,
            "4f09a2",
            "kill",
            "n2",
            FaultState::Recovered,
            Some("gone 1.8 ms after SIGKILL; started again after 3.2 s"),
        ),
        node(16_100, "n2", NodeState::Healthy),
        Event {
            time: 19_025 * MS,
            what: What::Verdict(VerdictEvent {
                event: "verdict".into(),
                promise: "members-agree".into(),
                verdict: Verdict::Broken,
                reason: "revision 4017 has two contents".into(),
            }),
        },
        fault(27_000, "c1d3e0", "pause", "n0", FaultState::Active, None),
        fault(
            33_000,
            "c1d3e0",
            "pause",
            "n0",
            FaultState::Recovered,
            Some("11 of 11 threads stopped for 6.00 s; 0 ms of CPU used"),
        ),
        node(42_600, "n0", NodeState::Leader),
    ]);
    events
}

pub fn node(at_ms: u64, node: &str, event: NodeState) -> Event {
    let node = node.into();
    Event {
        time: at_ms * MS,
        what: What::Node { event, node },
    }
}

pub fn fault(
    at_ms: u64,
    id: &str,
    fault: &str,
    node: &str,
    event: FaultState,
    text: Option<&str>,
) -> Event {
    Event {
        time: at_ms * MS,
        what: What::Fault(FaultEvent {
            event,
            id: id.into(),
            family: "process".into(),
            fault: fault.into(),
            targets: vec![node.into()],
            engine: if fault == "pause" { "sigstop" } else { "pidfd" }.into(),
            effect: json!({}),
            text: text.map(Into::into),
        }),
    }
}

/// Throughput that falls and latency that rises for two seconds every twenty.
pub fn series(duration_ns: u64) -> Summary {
    let bins = 150.min(duration_ns / (100 * MS));
    let bin_ns = duration_ns.div_ceil(bins.max(1));
    let bin = |i: u64| {
        let at_s = i * bin_ns / (1_000 * MS);
        let wave = i * 7_919 % 97;
        let (rate, p99_ms) = match at_s % 20 {
            12 => (15, 0),
            13 => (640 + wave, 180 + wave),
            _ => (1_250 + wave, 36 + wave / 10),
        };
        Bin {
            ok: rate * bin_ns / (1_000 * MS),
            failed: 0,
            unknown: u64::from(at_s % 20 == 12),
            ok_per_s: rate as f64,
            p50_us: Some(8_000),
            p99_us: (p99_ms > 0).then_some(p99_ms * 1_000),
        }
    };
    Summary {
        duration_ns,
        bin_ns,
        ok: 72_326,
        failed: 20,
        unknown: 145,
        p50_us: 8_120,
        p99_us: 38_400,
        max_us: 1_802_000,
        bins: (0..bins).map(bin).collect(),
    }
}

fn files() -> Vec<RunFile> {
    [
        ("history.jsonl", 41_200_000),
        ("events.jsonl", 18_400),
        ("series.json", 21_000),
        ("verdict.json", 3_120),
        ("run.json", 1_480),
        ("nodes/n0.log", 220_000),
        ("nodes/n1.log", 240_000),
        ("nodes/n2.log", 190_000),
    ]
    .map(|(name, bytes)| RunFile {
        name: name.into(),
        bytes,
    })
    .into()
}
