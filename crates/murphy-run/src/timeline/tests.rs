use super::*;
use crate::events::VerdictEvent;

const S: u64 = 1_000_000_000;

fn node(time_s: u64, node: &str, event: NodeState) -> Event {
    let node = node.into();
    Event {
        time: time_s * S,
        what: What::Node { event, node },
    }
}

fn fault(time_s: u64, id: &str, name: &str, event: FaultState, text: Option<&str>) -> Event {
    Event {
        time: time_s * S,
        what: What::Fault(FaultEvent {
            event,
            id: id.into(),
            family: "process".into(),
            fault: name.into(),
            targets: vec!["n0".into()],
            engine: "pidfd".into(),
            effect: Value::Null,
            text: text.map(Into::into),
        }),
    }
}

fn timeline(events: Vec<Event>, duration_s: u64) -> Timeline {
    let lines: Vec<_> = (2..).zip(events).collect();
    Timeline::of(&lines, &["n0".into(), "n1".into()], duration_s * S)
}

/// `up 0-4` for each span, in seconds.
fn spans(track: &NodeTrack) -> String {
    let spans = track.spans.iter();
    let words = spans.map(|s| format!("{} {}-{}", s.state.word(), s.from_ns / S, s.to_ns / S));
    words.collect::<Vec<_>>().join(", ")
}

#[test]
fn nodes_go_up_and_down_and_one_leads() {
    use NodeState::{Down, Healthy, Leader, Restarted, Starting};
    let timeline = timeline(
        vec![
            node(0, "n0", Starting),
            node(1, "n0", Healthy),
            node(1, "n1", Healthy),
            node(2, "n0", Leader),
            node(3, "n0", Leader),
            node(4, "n0", Down),
            node(5, "n1", Leader),
            node(6, "n0", Restarted),
            node(7, "n0", Healthy),
            node(8, "n0", Leader),
            node(12, "n1", Down),
        ],
        10,
    );
    let [n0, n1] = &timeline.nodes[..] else {
        panic!("two nodes: {timeline:?}")
    };
    assert_eq!(
        spans(n0),
        "starting 0-1, up 1-4, down 4-6, starting 6-7, up 7-10"
    );
    assert_eq!(n0.leads, [(2 * S, 4 * S), (8 * S, 10 * S)]);
    assert_eq!(spans(n1), "up 1-10");
    assert_eq!(n1.leads, [(5 * S, 8 * S)]);
}

#[test]
fn a_pause_lies_over_what_is_up() {
    let timeline = timeline(
        vec![
            node(0, "n0", NodeState::Healthy),
            fault(2, "a1", "pause", FaultState::Active, None),
            fault(4, "a1", "pause", FaultState::Recovered, None),
            node(5, "n0", NodeState::Down),
            fault(6, "a2", "pause", FaultState::Active, None),
        ],
        8,
    );
    assert_eq!(
        spans(&timeline.nodes[0]),
        "up 0-2, paused 2-4, up 4-5, down 5-8"
    );
    assert_eq!(timeline.faults[1].end_ns, None);
}

#[test]
fn a_fault_is_told_by_its_last_words() {
    let timeline = timeline(
        vec![
            fault(1, "a1", "kill", FaultState::Planned, None),
            fault(2, "a1", "kill", FaultState::Active, None),
            fault(3, "a1", "kill", FaultState::Effect, Some("gone")),
            fault(4, "a1", "kill", FaultState::Recovered, Some("gone, back")),
            fault(5, "a2", "kill", FaultState::Planned, None),
            fault(6, "a2", "kill", FaultState::Failed, Some("no such process")),
            fault(7, "a3", "kill", FaultState::Planned, None),
            fault(7, "a1", "kill", FaultState::Active, Some("gone again")),
        ],
        8,
    );
    let told: Vec<_> = timeline
        .faults
        .iter()
        .map(|f| {
            (
                f.start_ns / S,
                f.end_ns.map(|e| e / S),
                f.state,
                f.text.as_deref(),
                f.line,
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            (2, Some(4), FaultState::Recovered, Some("gone, back"), 3),
            (6, Some(6), FaultState::Failed, Some("no such process"), 7),
            (7, None, FaultState::Active, Some("gone again"), 9),
        ]
    );
}

#[test]
fn figures_stand_in_for_words() {
    let mut event = fault(1, "a1", "kill", FaultState::Active, None);
    let What::Fault(fault) = &mut event.what else {
        unreachable!()
    };
    fault.effect = serde_json::json!({"signal": "SIGKILL", "gone_after_ms": 1.8});
    assert_eq!(
        timeline(vec![event], 2).faults[0].text.as_deref(),
        Some("gone after ms 1.8, signal SIGKILL")
    );
}

#[test]
fn verdicts_are_pins() {
    let event = Event {
        time: 3 * S,
        what: What::Verdict(VerdictEvent {
            event: "verdict".into(),
            promise: "durable".into(),
            verdict: Verdict::Broken,
            reason: "lost".into(),
        }),
    };
    let timeline = timeline(vec![event], 4);
    assert_eq!(timeline.pins[0].at_ns, 3 * S);
    assert_eq!(timeline.nodes.len(), 2);
}
