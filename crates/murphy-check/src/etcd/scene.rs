//! What a record looks like in a picture: clients and watch streams as lanes, requests and messages as bars.

use rustc_hash::FxHashMap;

use super::{
    record::{Ask, Op, Outcome, Record, Stream},
    words::Words,
};
use crate::{
    intern::{Id, NONE},
    picture::scene::{Band, Bar, Lane, Scene, family},
    recording,
};

/// The events of a message that are told in full.
const EVENTS_TOLD: usize = 3;

impl Record {
    /// The record as a picture shows it.
    pub(crate) fn scene(&self) -> Scene {
        let mut drawing = Drawing {
            record: self,
            words: Words {
                record: self,
                pairs: &self.pairs,
            },
            scene: Scene::new(self.header.clone(), true),
            lanes: FxHashMap::default(),
        };
        let errors: FxHashMap<Id, &str> = self
            .errors
            .iter()
            .map(|(op, error)| (*op, error.as_str()))
            .collect();
        for (number, op) in (0..).zip(&self.ops) {
            drawing.op(op, errors.get(&number).copied());
        }
        for stream in &self.streams {
            drawing.stream(stream);
        }
        let mut scene = drawing.scene;
        scene.bars.sort_by_key(|bar| (bar.call, bar.line));
        scene.bands = self
            .faults
            .iter()
            .map(|fault| Band {
                name: match fault.node {
                    Some(node) => format!("{} {}", fault.f, self.node_name(node)),
                    None => fault.f.clone(),
                },
                family: family(&fault.f),
                begin: fault.begin,
                end: fault.end,
            })
            .collect();
        scene
    }

    fn node_name(&self, node: u16) -> &str {
        self.nodes.get(usize::from(node)).map_or("", String::as_str)
    }
}

/// A scene while it grows.
struct Drawing<'r> {
    record: &'r Record,
    words: Words<'r>,
    scene: Scene,
    lanes: FxHashMap<Id, u32>,
}

/// What a bar of a stream says.
struct Said<'a> {
    f: &'a str,
    answer: &'a str,
    time: (u64, u64),
    line: (u32, u32),
}

impl Drawing<'_> {
    fn lane(&mut self, process: Id) -> u32 {
        if let Some(lane) = self.lanes.get(&process) {
            return *lane;
        }
        let lane = u32::try_from(self.scene.lanes.len()).unwrap_or(u32::MAX);
        let name = self.words.process(process);
        let name = self.scene.id(&name);
        self.scene.lanes.push(Lane { name });
        self.lanes.insert(process, lane);
        lane
    }

    fn node(&mut self, node: u16) -> Option<Id> {
        let name = self.record.nodes.get(usize::from(node))?;
        Some(self.scene.id(name))
    }

    fn op(&mut self, op: &Op, error: Option<&str>) {
        let ask = self.record.ask(op);
        let outcome = match op.outcome {
            Outcome::Ok => recording::Outcome::Ok,
            Outcome::Fail => recording::Outcome::Fail,
            Outcome::Unknown => recording::Outcome::Unknown,
        };
        let label = self.words.ask(ask);
        let answer = self.words.answer(op);
        let mut keys = Vec::new();
        self.keys(ask, &mut keys);
        let end_line = if op.end_line > 0 {
            op.end_line
        } else {
            op.line
        };
        let bar = Bar {
            lane: self.lane(op.process),
            f: self.scene.id(method(ask)),
            label: self.scene.id(&label),
            answer: self.scene.id(&answer),
            outcome,
            call: op.call,
            end: op.end,
            line: op.line,
            end_line: op.end_line,
            index: self.record.index_of(op.line),
            end_index: self.record.index_of(end_line),
            node: self.node(op.node),
            error: error.map(|error| self.scene.id(error)),
            keys: self.scene.keep_keys(keys.into_iter().map(Into::into)),
        };
        self.scene.bars.push(bar);
    }

    /// The single keys a request speaks of; a range is no key.
    fn keys(&self, ask: Ask, into: &mut Vec<String>) {
        match ask {
            Ask::Put { key, .. } => into.push(self.words.key(key)),
            Ask::Range { span, .. } | Ask::Delete { span, .. } if span.end == NONE => {
                into.push(self.words.key(span.key));
            }
            Ask::Txn(txn) => {
                let txn = self.record.txns[txn as usize];
                for run in [txn.success, txn.failure] {
                    for ask in &self.record.asks[run.range()] {
                        self.keys(*ask, into);
                    }
                }
            }
            _ => {}
        }
    }

    fn stream(&mut self, stream: &Stream) {
        let label = format!("watch {}", self.words.span(stream.span));
        if let Some((_, time, line)) = stream.created {
            let answer = stream
                .first_revision()
                .map_or_else(String::new, |first| format!("from {first}"));
            self.said(
                stream,
                &label,
                &Said {
                    f: "watch",
                    answer: &answer,
                    time: (stream.call, time),
                    line: (stream.line, line),
                },
            );
        }
        for (number, message) in stream.messages.iter().enumerate() {
            let events = &stream.events[stream.events_of(number)];
            let told: Vec<String> = events
                .iter()
                .take(EVENTS_TOLD)
                .map(|event| {
                    let pair = self.words.pairs.get(*event);
                    format!("{} = {}", pair.mod_revision, self.words.content(&pair))
                })
                .collect();
            let more = if events.len() > EVENTS_TOLD {
                ", …"
            } else {
                ""
            };
            self.said(
                stream,
                &label,
                &Said {
                    f: "watch_event",
                    answer: &format!("{}{more}", told.join(", ")),
                    time: (message.time, message.time),
                    line: (message.line, 0),
                },
            );
        }
        for mark in &stream.progress {
            self.said(
                stream,
                &label,
                &Said {
                    f: "watch_progress",
                    answer: &format!("progress {}", mark.revision),
                    time: (mark.time, mark.time),
                    line: (mark.line, 0),
                },
            );
        }
    }

    fn said(&mut self, stream: &Stream, label: &str, said: &Said<'_>) {
        let end_line = if said.line.1 > 0 {
            said.line.1
        } else {
            said.line.0
        };
        let key = (stream.span.end == NONE).then(|| self.words.key(stream.span.key));
        let bar = Bar {
            lane: self.lane(stream.process),
            f: self.scene.id(said.f),
            label: self.scene.id(label),
            answer: self.scene.id(said.answer),
            outcome: recording::Outcome::Ok,
            call: said.time.0,
            end: said.time.1,
            line: said.line.0,
            end_line: said.line.1,
            index: self.record.index_of(said.line.0),
            end_index: self.record.index_of(end_line),
            node: self.node(stream.node),
            error: None,
            keys: self.scene.keep_keys(key.into_iter().map(Into::into)),
        };
        self.scene.bars.push(bar);
    }
}

/// The name of a request in histories.
fn method(ask: Ask) -> &'static str {
    match ask {
        Ask::Put { .. } => "put",
        Ask::Range { .. } => "range",
        Ask::Delete { .. } => "delete_range",
        Ask::Txn(_) => "txn",
        Ask::Compact { .. } => "compact",
        Ask::HashKv { .. } => "hash_kv",
        Ask::Status { .. } => "status",
        Ask::LeaseGrant { .. } => "lease_grant",
        Ask::LeaseRevoke { .. } => "lease_revoke",
        Ask::LeaseKeepAlive { .. } => "lease_keep_alive",
        Ask::LeaseTimeToLive { .. } => "lease_time_to_live",
        Ask::LeaseLeases => "lease_leases",
    }
}
