//! Made-up runs at the limits of what a page must show: many faults, many lines, hostile names.

use murphy_check::verdict::{MemberRow, Witness, WitnessLine};
use serde_json::json;

use super::sample::{broken, fault, judged, line, record};
use crate::events::{Event, FaultState, NodeState};
use crate::record::RunRecord;

const MS: u64 = 1_000_000;

/// A fault every 2.5 s and a witness of six lines by three clients, one of which got no answer.
pub fn crowded(duration_ms: u64) -> RunRecord {
    let mut events: Vec<Event> = Vec::new();
    for n in 0..3 {
        events.push(super::sample::node(
            500,
            &format!("n{n}"),
            NodeState::Healthy,
        ));
    }
    for round in 0..duration_ms / 2_500 {
        let at_ms = round * 2_500 + 900 + round * 37 % 300;
        let name = ["kill", "pause", "term"][usize::try_from(round % 3).unwrap_or_default()];
        let node = format!("n{}", round * 7 % 5 % 3);
        let id = format!("{round:06x}");
        let for_ms = 100 + round * 613 % 1_400;
        let effect = Some("gone 1.8 ms after SIGKILL; started again at once");
        events.push(fault(at_ms, &id, name, &node, FaultState::Active, None));
        events.push(fault(
            at_ms + for_ms,
            &id,
            name,
            &node,
            FaultState::Recovered,
            effect,
        ));
    }
    let reason = "`c2-81` was read after `c2-82`";
    let witness = Witness {
        sentence: "c5 read the older value of k/7 after c9 had read the newer one.".into(),
        lines: six_lines(),
        members: Vec::new(),
        confirmed: false,
    };
    let judgements = vec![
        judged("linearizable", reason, Some(witness.clone())),
        judged("durable", "19,874 acknowledged writes found", None),
        judged("watch.unique", "", None),
        judged(
            "example.unheard-of",
            "an older value came last",
            Some(witness),
        ),
        judged("watch.ordered", "207,412 events in order", None),
    ];
    record(judgements, &events, duration_ms * MS)
}

fn six_lines() -> Vec<WitnessLine> {
    let mut lines = vec![
        line(
            "c2",
            "n0",
            4_000,
            12,
            [
                "put k/7",
                "ok, 88",
                "c2 put `k/7 = c2-81`; n0 acknowledged it.",
            ],
        ),
        line(
            "c2",
            "n0",
            4_020,
            30,
            ["put k/7", "", "c2 put `k/7 = c2-82`; nobody answered."],
        ),
        line(
            "c9",
            "n1",
            4_030,
            4,
            ["get k/7", "c2-82", "c9 read `k/7` from n1: `c2-82`."],
        ),
        line(
            "c9",
            "n2",
            4_040,
            4,
            ["get k/7", "c2-82", "c9 read `k/7` from n2: `c2-82`."],
        ),
        line(
            "c5",
            "n2",
            4_042,
            9,
            [
                "get k/7 with a long label",
                "c2-81 and a long answer",
                "c5 read `k/7` from n2: `c2-81`.",
            ],
        ),
        line(
            "c5",
            "n0",
            4_060,
            9,
            ["get k/7", "c2-81", "c5 read `k/7` from n0: `c2-81`."],
        ),
    ];
    lines[0].clashes = false;
    lines[1].clashes = false;
    lines[1].end_ns = None;
    lines
}

/// Every text of a run tries to be markup.
pub fn hostile() -> RunRecord {
    let evil = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>`";
    let mut record = broken();
    let request = &mut record.request;
    for text in [
        &mut request.verb,
        &mut request.system,
        &mut request.model,
        &mut request.started,
        &mut request.machine.kernel,
        &mut request.machine.murphy,
    ] {
        *text = evil.into();
    }
    request.system_version = Some(evil.into());
    request.command.push(evil.into());
    request.options.insert(evil.into(), json!([evil]));
    request.nodes = vec![evil.into(), "n1".into(), "n2".into()];
    for fault in &mut record.timeline.faults {
        for text in [
            &mut fault.id,
            &mut fault.family,
            &mut fault.fault,
            &mut fault.engine,
        ] {
            *text = evil.into();
        }
        fault.targets.push(evil.into());
        fault.text = Some(evil.into());
    }
    for track in &mut record.timeline.nodes {
        track.node = evil.into();
    }
    for pin in &mut record.timeline.pins {
        pin.promise = evil.into();
        pin.reason = evil.into();
    }
    for (name, promise) in &mut record.verdicts.promises {
        *name = evil.into();
        promise.reason = evil.into();
        promise.sentence = Some(evil.into());
        for line in &mut promise.witness {
            for text in [
                &mut line.process,
                &mut line.label,
                &mut line.answer,
                &mut line.text,
            ] {
                *text = evil.into();
            }
            line.node = Some(evil.into());
        }
        promise.members = vec![MemberRow {
            what: evil.into(),
            cells: vec![(evil.into(), evil.into()), ("n1".into(), "a".into())],
        }];
    }
    record.verdicts.cleanup.left.push(evil.into());
    for file in &mut record.files {
        file.name = format!("nodes/{evil}");
    }
    record
}
