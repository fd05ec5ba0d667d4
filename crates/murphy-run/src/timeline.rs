//! A timeline is what the events of a run amount to: faults with their beginning and end, nodes with the
//! spans of their states, and the moments of verdicts. A pure view of the events.

use murphy_check::verdict::Verdict;
use serde_json::Value;

use crate::events::{Event, FaultEvent, FaultState, NodeState, What};

/// Everything that is drawn over time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Timeline {
    /// Faults that acted or failed, in order of time.
    pub faults: Vec<FaultSpan>,
    /// Nodes, those of the request first and in its order.
    pub nodes: Vec<NodeTrack>,
    /// Verdicts given while the run went on, in order of time.
    pub pins: Vec<Pin>,
}

/// A fault from its beginning to its end.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultSpan {
    /// Id of the injection.
    pub id: String,
    /// The family, such as `process`.
    pub family: String,
    /// The fault, such as `kill`.
    pub fault: String,
    /// Who was hit.
    pub targets: Vec<String>,
    /// The engine that made it happen.
    pub engine: String,
    /// When it became active, or failed to.
    pub start_ns: u64,
    /// When it was over; `None` when no event says so.
    pub end_ns: Option<u64>,
    /// The last step known.
    pub state: FaultState,
    /// The effect in words, or why it failed.
    pub text: Option<String>,
    /// The line of its beginning in the events.
    pub line: u64,
}

impl FaultSpan {
    /// Whether it hit `node`.
    pub fn hits(&self, node: &str) -> bool {
        self.targets.iter().any(|t| t == node)
    }

    /// Fault and targets: `kill n2`.
    pub fn title(&self) -> String {
        format!("{} {}", self.fault, self.targets.join(", "))
    }
}

/// A node over time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeTrack {
    /// Its name.
    pub node: String,
    /// Its states, without overlap and in order of time; gaps are times nobody spoke of.
    pub spans: Vec<NodeSpan>,
    /// When it led, from and to.
    pub leads: Vec<(u64, u64)>,
}

/// A node in one state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeSpan {
    /// From, in nanoseconds.
    pub from_ns: u64,
    /// To.
    pub to_ns: u64,
    /// The state.
    pub state: Shown,
}

/// The states of a node that are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Its process runs but does not answer yet.
    Starting,
    /// It answers.
    Up,
    /// Its process is gone.
    Down,
    /// A fault has stopped its process.
    Paused,
}

impl Shown {
    /// `starting`, `up`, `down` or `paused`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Up => "up",
            Self::Down => "down",
            Self::Paused => "paused",
        }
    }
}

/// A verdict at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// When, in nanoseconds.
    pub at_ns: u64,
    /// The promise.
    pub promise: String,
    /// The verdict.
    pub verdict: Verdict,
    /// Why.
    pub reason: String,
}

impl Timeline {
    /// The timeline of a run with these `nodes` that lasted `duration_ns`. The events come with their line
    /// numbers and in order of time.
    pub fn of(events: &[(u64, Event)], nodes: &[String], duration_ns: u64) -> Self {
        let faults = fault_spans(events);
        let mut tracks = node_tracks(events, nodes, duration_ns);
        for fault in faults.iter().filter(|f| f.fault == "pause") {
            let end_ns = fault.end_ns.unwrap_or(duration_ns);
            for track in tracks.iter_mut().filter(|t| fault.hits(&t.node)) {
                track.overlay(fault.start_ns, end_ns, Shown::Paused);
            }
        }
        let pins = events.iter().filter_map(|(_, event)| match &event.what {
            What::Verdict(v) => Some(Pin {
                at_ns: event.time,
                promise: v.promise.clone(),
                verdict: v.verdict,
                reason: v.reason.clone(),
            }),
            _ => None,
        });
        Self {
            faults,
            nodes: tracks,
            pins: pins.collect(),
        }
    }
}

fn fault_spans(events: &[(u64, Event)]) -> Vec<FaultSpan> {
    let mut spans: Vec<FaultSpan> = Vec::new();
    for (line, event) in events {
        let What::Fault(fault) = &event.what else {
            continue;
        };
        let known = spans.iter_mut().rfind(|span| span.id == fault.id);
        match (fault.event, known) {
            (FaultState::Planned, _) => {}
            // An id may come up again once its fault is over.
            (FaultState::Active, Some(span)) if span.end_ns.is_some() => {
                spans.push(FaultSpan::begin(*line, event.time, fault));
            }
            (_, Some(span)) => span.follow(event.time, fault),
            (_, None) => spans.push(FaultSpan::begin(*line, event.time, fault)),
        }
    }
    spans
}

impl FaultSpan {
    fn begin(line: u64, time: u64, fault: &FaultEvent) -> Self {
        let over = matches!(fault.event, FaultState::Recovered | FaultState::Failed);
        Self {
            id: fault.id.clone(),
            family: fault.family.clone(),
            fault: fault.fault.clone(),
            targets: fault.targets.clone(),
            engine: fault.engine.clone(),
            start_ns: time,
            end_ns: over.then_some(time),
            state: fault.event,
            text: effect_text(fault),
            line,
        }
    }

    fn follow(&mut self, time: u64, fault: &FaultEvent) {
        self.state = fault.event;
        if matches!(fault.event, FaultState::Recovered | FaultState::Failed) {
            self.end_ns = Some(time);
        }
        if let Some(text) = effect_text(fault) {
            self.text = Some(text);
        }
    }
}

/// The effect in the family's own words; else its figures as they are.
fn effect_text(fault: &FaultEvent) -> Option<String> {
    if fault.text.is_some() {
        return fault.text.clone();
    }
    let figures = fault.effect.as_object()?.iter().map(|(name, value)| {
        let name = name.replace('_', " ");
        match value {
            Value::String(text) => format!("{name} {text}"),
            other => format!("{name} {other}"),
        }
    });
    let text = figures.collect::<Vec<_>>().join(", ");
    (!text.is_empty()).then_some(text)
}

fn node_tracks(events: &[(u64, Event)], nodes: &[String], duration_ns: u64) -> Vec<NodeTrack> {
    let mut tracks: Vec<NodeTrack> = nodes.iter().map(|n| NodeTrack::new(n)).collect();
    for (_, event) in events {
        let What::Node { event: state, node } = &event.what else {
            continue;
        };
        if !tracks.iter().any(|t| t.node == *node) {
            tracks.push(NodeTrack::new(node));
        }
        for track in &mut tracks {
            if track.node == *node {
                track.change(event.time, *state);
            } else if *state == NodeState::Leader {
                track.stop_leading(event.time);
            }
        }
    }
    for track in &mut tracks {
        track.close(duration_ns);
    }
    tracks
}

/// The end of a span that is not over yet.
const OPEN: u64 = u64::MAX;

impl NodeTrack {
    fn new(node: &str) -> Self {
        Self {
            node: node.into(),
            spans: Vec::new(),
            leads: Vec::new(),
        }
    }

    /// Whether it led at that time.
    pub fn leads_at(&self, time_ns: u64) -> bool {
        let led = |(from, to): &(u64, u64)| (*from..*to).contains(&time_ns);
        self.leads.iter().any(led)
    }

    fn change(&mut self, time: u64, state: NodeState) {
        match state {
            NodeState::Starting | NodeState::Restarted => self.enter(time, Shown::Starting),
            NodeState::Healthy => self.enter(time, Shown::Up),
            NodeState::Down | NodeState::Stopped => {
                self.stop_leading(time);
                self.enter(time, Shown::Down);
            }
            NodeState::Leader => {
                if self.leads.last().is_none_or(|(_, to)| *to != OPEN) {
                    self.leads.push((time, OPEN));
                }
            }
        }
    }

    fn enter(&mut self, time: u64, state: Shown) {
        if let Some(last) = self.spans.last_mut() {
            if last.state == state {
                return;
            }
            last.to_ns = time;
        }
        self.spans.push(NodeSpan {
            from_ns: time,
            to_ns: OPEN,
            state,
        });
    }

    fn stop_leading(&mut self, time: u64) {
        if let Some((_, to)) = self.leads.last_mut()
            && *to == OPEN
        {
            *to = time;
        }
    }

    /// Ends what is still open and drops what lies behind the end.
    fn close(&mut self, duration_ns: u64) {
        for span in &mut self.spans {
            span.to_ns = span.to_ns.min(duration_ns);
        }
        self.spans.retain(|span| span.from_ns < span.to_ns);
        for (_, to_ns) in &mut self.leads {
            *to_ns = duration_ns.min(*to_ns);
        }
        self.leads.retain(|(from, to)| from < to);
    }

    /// Puts `state` over what is up between two times.
    fn overlay(&mut self, from_ns: u64, to_ns: u64, state: Shown) {
        let mut spans = Vec::with_capacity(self.spans.len() + 2);
        for span in self.spans.drain(..) {
            let (from, to) = (span.from_ns.max(from_ns), span.to_ns.min(to_ns));
            if span.state != Shown::Up || from >= to {
                spans.push(span);
                continue;
            }
            let parts = [
                (span.from_ns, from, span.state),
                (from, to, state),
                (to, span.to_ns, span.state),
            ];
            spans.extend(
                parts
                    .into_iter()
                    .filter(|(from_ns, to_ns, _)| from_ns < to_ns)
                    .map(|(from_ns, to_ns, state)| NodeSpan {
                        from_ns,
                        to_ns,
                        state,
                    }),
            );
        }
        self.spans = spans;
    }
}

#[cfg(test)]
mod tests;
