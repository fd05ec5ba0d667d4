//! A loader puts invocations, completions, watch streams and faults of a history together into a
//! [`Record`].

use std::io::Read;

use rustc_hash::FxHashMap;

use super::{
    decode::{AnswerHeader, Shape, WatchAsk, member_answer, numbers, watch_end},
    record::{
        Answer, Ask, Cancel, FaultSpan, Message, Op, Outcome, Progress, Record, Run, Stream,
        StreamEnd,
    },
};
use crate::{
    history::{Header, Kind, NEMESIS},
    intern::{Id, NONE, next_id},
    json::{Cursor, Parse},
    read::{self, Fields, Model, ReadError},
};

impl Record {
    /// Reads a history of model `etcd`.
    pub fn read(source: impl Read) -> Result<Self, ReadError> {
        let mut loader = Loader::new();
        read::read(source, &mut loader)?;
        loader.record.complete();
        Ok(loader.record)
    }
}

/// What the line at hand carries as its value.
#[derive(Clone, Copy)]
enum Value {
    None,
    Ask(Ask),
    Watch(WatchAsk),
    /// A client asks for a bookmark.
    ProgressRequest,
    Answer(Answer, AnswerHeader),
    Message(AnswerHeader),
    Created(AnswerHeader),
    WatchEnd(Cancel),
    Fault {
        begins: bool,
    },
}

/// A process between two of its lines.
#[derive(Clone, Copy)]
struct Actor {
    open: Id,
    stream: Id,
    /// Last member that answered, with its term and the operation.
    last: (u16, u64, Id),
}

impl Actor {
    const NEW: Self = Self {
        open: NONE,
        stream: NONE,
        last: (u16::MAX, 0, NONE),
    };
}

/// What stands between the lines of a history and its record.
pub(super) struct Loader {
    pub(super) record: Record,
    lets: FxHashMap<String, Run>,
    /// How many `let` lines there were.
    pub(super) defined: u64,
    /// Whether one of them names a value anew.
    pub(super) is_redefined: bool,
    actors: Vec<Actor>,
    current: Id,
    value: Value,
    events: Vec<Id>,
    prevs: Vec<Id>,
    fault_id: String,
}

type Event<T = ()> = Result<T, Box<str>>;

impl Model for Loader {
    const IS_ETCD: bool = true;

    fn begin(&mut self, header: &Header) -> Event {
        if header.model != "etcd" {
            let model = &header.model;
            return Err(format!("the history is of model `{model}`, expected `etcd`").into());
        }
        if let Some(name) = header
            .unrecorded
            .iter()
            .find(|name| !["create_revision", "version"].contains(&name.as_str()))
        {
            return Err(format!(
                "unknown number `{name}` in `unrecorded`, expected create_revision or version"
            )
            .into());
        }
        self.record.is_unnumbered = !header.unrecorded.is_empty();
        self.record.header = header.clone();
        self.record.nodes.clone_from(&header.nodes);
        Ok(())
    }

    fn define(&mut self, name: &str, cursor: &mut Cursor<'_>) -> Parse<()> {
        let run = self.record.decode_conditions(cursor)?;
        let known = self.lets.insert(name.to_owned(), run);
        self.is_redefined |= known.is_some();
        self.defined += 1;
        Ok(())
    }

    fn value(&mut self, fields: &Fields<'_>, cursor: &mut Cursor<'_>) -> Parse<()> {
        let process = fields.process.as_deref().unwrap_or_default();
        if process == NEMESIS {
            return self.fault_value(cursor);
        }
        self.current = self.actor(process);
        let f = fields.f.as_deref().unwrap_or_default();
        self.value = match fields.kind {
            Some(Kind::Invoke) => self.request(f, cursor)?,
            Some(Kind::Ok) => self.response(f, cursor)?,
            Some(Kind::Fail) if f == "watch" => Value::WatchEnd(watch_end(cursor)?),
            _ => {
                cursor.skip()?;
                Value::None
            }
        };
        Ok(())
    }

    fn event(&mut self, line: u32, fields: &Fields<'_>) -> Event {
        self.note_index(line, fields.index);
        let time = fields.time.unwrap_or_default();
        self.record.ended_at = self.record.ended_at.max(time);
        let value = std::mem::replace(&mut self.value, Value::None);
        let process = fields.process.as_deref().unwrap_or_default();
        if process == NEMESIS {
            return self.fault(value, fields);
        }
        let actor = match std::mem::replace(&mut self.current, NONE) {
            NONE => self.actor(process),
            known => known,
        };
        let node = self.node(fields.node.as_deref())?;
        match fields.kind {
            Some(Kind::Invoke) => self.invoke(actor, line, time, node, value, fields),
            Some(Kind::Ok) => self.ok(actor, line, time, node, value, fields),
            Some(Kind::Fail) => self.not_ok(actor, line, time, Outcome::Fail, value, fields),
            Some(Kind::Info) => self.not_ok(actor, line, time, Outcome::Unknown, value, fields),
            None => Err("expected the field `type`".into()),
        }
    }
}

impl Loader {
    /// Before the first line.
    pub(super) fn new() -> Self {
        Self {
            record: Record::new(),
            lets: FxHashMap::default(),
            defined: 0,
            is_redefined: false,
            actors: Vec::new(),
            current: NONE,
            value: Value::None,
            events: Vec::new(),
            prevs: Vec::new(),
            fault_id: String::new(),
        }
    }

    fn actor(&mut self, process: &str) -> Id {
        let id = self.record.processes.id(process.as_bytes());
        if id as usize >= self.actors.len() {
            self.actors.push(Actor::NEW);
        }
        id
    }

    fn node(&mut self, name: Option<&str>) -> Event<u16> {
        let Some(name) = name else {
            return Ok(u16::MAX);
        };
        let nodes = &mut self.record.nodes;
        let known = nodes
            .iter()
            .position(|node| node == name)
            .unwrap_or_else(|| {
                nodes.push(name.to_owned());
                nodes.len() - 1
            });
        u16::try_from(known)
            .ok()
            .filter(|id| *id < u16::MAX)
            .ok_or_else(|| "more than 65534 nodes".into())
    }

    /// Index and line run side by side, but for the header, `let` lines and what was cut out.
    fn note_index(&mut self, line: u32, index: Option<u64>) {
        let last = self.record.indexes.last().map_or(-2, |run| run.1);
        let difference = match index.map(i64::try_from) {
            Some(Ok(index)) => index - i64::from(line),
            _ => last,
        };
        if difference != last || self.record.indexes.is_empty() {
            self.record.indexes.push((line, difference));
        }
    }

    fn request(&mut self, f: &str, cursor: &mut Cursor<'_>) -> Parse<Value> {
        let lets = &self.lets;
        let record = &mut self.record;
        Ok(Value::Ask(match f {
            "put" => record.decode_put(cursor)?,
            "range" => record.decode_range(cursor)?,
            "delete_range" => record.decode_delete(cursor)?,
            "txn" => record.decode_txn(cursor, &|name| lets.get(name).copied())?,
            "compact" => Ask::Compact {
                revision: numbers(cursor, &["revision", "physical"])?[0],
            },
            "hash_kv" => Ask::HashKv {
                revision: numbers(cursor, &["revision"])?[0],
            },
            "status" => Ask::Status {
                quiet: numbers(cursor, &["quiet"])?[0] != 0,
            },
            "lease_grant" => Ask::LeaseGrant {
                lease: record.decode_lease(cursor)?,
            },
            "lease_revoke" => Ask::LeaseRevoke {
                lease: record.decode_lease(cursor)?,
            },
            "lease_keep_alive" => Ask::LeaseKeepAlive {
                lease: record.decode_lease(cursor)?,
            },
            "lease_time_to_live" => Ask::LeaseTimeToLive {
                lease: record.decode_lease(cursor)?,
            },
            "lease_leases" => {
                numbers(cursor, &[])?;
                Ask::LeaseLeases
            }
            "watch" => return record.decode_watch(cursor).map(Value::Watch),
            "watch_progress" => {
                numbers(cursor, &[])?;
                return Ok(Value::ProgressRequest);
            }
            _ => return unknown_f(f, cursor),
        }))
    }

    fn response(&mut self, f: &str, cursor: &mut Cursor<'_>) -> Parse<Value> {
        let mut header = AnswerHeader::default();
        let shape = match f {
            "put" => Shape::Put,
            "range" => Shape::Range,
            "delete_range" => Shape::Delete,
            "txn" => Shape::Txn,
            "compact" => {
                member_answer(cursor, &[], &mut header)?;
                return Ok(Value::Answer(Answer::Compact, header));
            }
            "hash_kv" => {
                let [hash, compact, _] =
                    member_answer(cursor, &["hash", "compact_revision"], &mut header)?;
                let Ok(hash) = u32::try_from(hash) else {
                    return cursor.flaw("the hash does not fit in 32 bits");
                };
                return Ok(Value::Answer(Answer::HashKv { hash, compact }, header));
            }
            "status" => {
                let names = ["raft_applied_index", "raft_index", "leader"];
                let [applied, _, _] = member_answer(cursor, &names, &mut header)?;
                return Ok(Value::Answer(
                    Answer::Status {
                        applied: applied.unsigned_abs(),
                    },
                    header,
                ));
            }
            "lease_grant" | "lease_revoke" | "lease_keep_alive" | "lease_time_to_live"
            | "lease_leases" => {
                let (lease, ttl) = self.record.decode_lease_answer(cursor, &mut header)?;
                let answer = match f {
                    "lease_grant" => Answer::LeaseGrant { lease, ttl },
                    "lease_revoke" => Answer::LeaseRevoke,
                    "lease_keep_alive" => Answer::LeaseKeepAlive { ttl },
                    "lease_time_to_live" => Answer::LeaseTimeToLive { ttl },
                    _ => Answer::LeaseLeases,
                };
                return Ok(Value::Answer(answer, header));
            }
            "watch" => {
                member_answer(cursor, &[], &mut header)?;
                return Ok(Value::Created(header));
            }
            "watch_event" | "watch_progress" => {
                self.events.clear();
                self.prevs.clear();
                return self
                    .record
                    .decode_message(cursor, &mut self.events, &mut self.prevs)
                    .map(Value::Message);
            }
            _ => return unknown_f(f, cursor),
        };
        let open = self.actors[self.current as usize].open;
        let keys_only = open != NONE
            && self
                .record
                .wants_keys_only(self.record.ask(&self.record.ops[open as usize]));
        let answer = self
            .record
            .decode_answer(shape, cursor, keys_only, &mut header)?;
        Ok(Value::Answer(answer, header))
    }

    fn invoke(
        &mut self,
        actor: Id,
        line: u32,
        time: u64,
        node: u16,
        value: Value,
        fields: &Fields<'_>,
    ) -> Event {
        let Actor { open, stream, .. } = self.actors[actor as usize];
        if let (Value::ProgressRequest, Some(stream)) =
            (value, self.record.streams.get_mut(stream as usize))
        {
            stream.requests.push(time);
            return Ok(());
        }
        if open != NONE || stream != NONE {
            let line = if open == NONE {
                self.record.streams[stream as usize].line
            } else {
                self.record.ops[open as usize].line
            };
            return Err(format!(
                "the process asks again while its invocation of line {line} is open"
            )
            .into());
        }
        match value {
            Value::Ask(ask) => {
                self.record.asks.push(ask);
                self.actors[actor as usize].open = next_id(self.record.ops.len());
                self.record.ops.push(Op {
                    call: time,
                    end: u64::MAX,
                    revision: 0,
                    ask: next_id(self.record.asks.len() - 1),
                    answer: NONE,
                    line,
                    end_line: 0,
                    process: actor,
                    node,
                    outcome: Outcome::Unknown,
                });
            }
            Value::Watch(ask) => {
                self.actors[actor as usize].stream = next_id(self.record.streams.len());
                self.record.streams.push(Stream {
                    process: actor,
                    node,
                    call: time,
                    line,
                    span: ask.span,
                    start_revision: ask.start_revision,
                    prev_kv: ask.prev_kv,
                    progress_notify: ask.progress_notify,
                    created: None,
                    messages: Vec::new(),
                    events: Vec::new(),
                    prevs: Vec::new(),
                    progress: Vec::new(),
                    requests: Vec::new(),
                    end: None,
                    settled: None,
                });
            }
            _ => {
                let f = fields.f.as_deref().unwrap_or_default();
                return Err(format!("expected the request of `{f}` in the field `value`").into());
            }
        }
        Ok(())
    }

    fn ok(
        &mut self,
        actor: Id,
        line: u32,
        time: u64,
        node: u16,
        value: Value,
        fields: &Fields<'_>,
    ) -> Event {
        let Actor { open, stream, .. } = self.actors[actor as usize];
        match value {
            Value::Answer(answer, header) if open != NONE => {
                self.answered(actor, line, time, node, answer, header)
            }
            Value::Message(header) if stream != NONE => {
                self.message(stream, line, time, header);
                Ok(())
            }
            Value::Created(header) if stream != NONE => {
                self.record.streams[stream as usize].created = Some((header.revision, time, line));
                Ok(())
            }
            Value::None => {
                let f = fields.f.as_deref().unwrap_or_default();
                Err(format!("expected the answer of `{f}` in the field `value`").into())
            }
            _ => Err("an answer without an open invocation of its process".into()),
        }
    }

    fn answered(
        &mut self,
        actor: Id,
        line: u32,
        time: u64,
        node: u16,
        answer: Answer,
        header: AnswerHeader,
    ) -> Event {
        let id = std::mem::replace(&mut self.actors[actor as usize].open, NONE);
        let op = self.record.ops[id as usize];
        self.record
            .check_shape(self.record.ask(&op), answer)
            .map_err(|problem| -> Box<str> {
                format!(
                    "the answer does not fit the invocation of line {}: {problem}",
                    op.line
                )
                .into()
            })?;
        if Record::is_ordered(self.record.ask(&op)) && header.revision < 1 {
            return Err("expected a revision from 1 in the header of the answer".into());
        }
        if time < op.call {
            return Err(format!(
                "the answer is earlier than its invocation of line {}",
                op.line
            )
            .into());
        }
        if let Answer::LeaseGrant { lease, .. } = answer {
            // The member chose the number where the client did not.
            self.record.asks[op.ask as usize] = Ask::LeaseGrant { lease };
        }
        self.record.answers.push(answer);
        let answer = next_id(self.record.answers.len() - 1);
        let op = &mut self.record.ops[id as usize];
        *op = Op {
            end: time,
            end_line: line,
            answer,
            revision: header.revision,
            outcome: Outcome::Ok,
            ..*op
        };
        if op.node == u16::MAX {
            op.node = node;
        }
        let (last_node, last_term, last_op) = self.actors[actor as usize].last;
        if last_node == op.node
            && header.term != 0
            && header.term < last_term
            && self.record.term_back.is_none()
        {
            self.record.term_back = Some((last_op, id));
        }
        self.actors[actor as usize].last = (op.node, header.term, id);
        Ok(())
    }

    fn message(&mut self, stream: Id, line: u32, time: u64, header: AnswerHeader) {
        let stream = &mut self.record.streams[stream as usize];
        if self.events.is_empty() {
            let after = next_id(stream.messages.len());
            stream.progress.push(Progress {
                time,
                revision: header.revision,
                line,
                after,
            });
            return;
        }
        stream.messages.push(Message {
            time,
            line,
            first: next_id(stream.events.len()),
        });
        stream.events.extend_from_slice(&self.events);
        if stream.prev_kv {
            stream.prevs.extend_from_slice(&self.prevs);
        }
    }

    fn not_ok(
        &mut self,
        actor: Id,
        line: u32,
        time: u64,
        outcome: Outcome,
        value: Value,
        fields: &Fields<'_>,
    ) -> Event {
        let Actor { open, stream, .. } = self.actors[actor as usize];
        if stream != NONE {
            let cancel = match value {
                Value::WatchEnd(cancel) => Some(cancel),
                _ => None,
            };
            self.record.streams[stream as usize].end = Some(StreamEnd { time, line, cancel });
            self.actors[actor as usize].stream = NONE;
            return Ok(());
        }
        if open == NONE {
            // Notes of other processes are no part of an etcd history, but harmless.
            return if outcome == Outcome::Unknown {
                Ok(())
            } else {
                Err("a failure without an open invocation of its process".into())
            };
        }
        if let Some(error) = &fields.error {
            self.record.errors.push((open, error.clone().into_owned()));
        }
        let op = &mut self.record.ops[open as usize];
        *op = Op {
            end: time,
            end_line: line,
            outcome,
            ..*op
        };
        self.actors[actor as usize].open = NONE;
        Ok(())
    }

    fn fault_value(&mut self, cursor: &mut Cursor<'_>) -> Parse<()> {
        if cursor.peek() != Some(b'{') {
            return cursor.skip();
        }
        self.fault_id.clear();
        cursor.object(|name, cursor| match name {
            "phase" => {
                let phase = cursor.string()?;
                if phase == "begin" || phase == "end" {
                    self.value = Value::Fault {
                        begins: phase == "begin",
                    };
                }
                Ok(())
            }
            "id" => {
                self.fault_id.push_str(&cursor.string()?);
                Ok(())
            }
            _ => cursor.skip(),
        })
    }

    fn fault(&mut self, value: Value, fields: &Fields<'_>) -> Event {
        let Value::Fault { begins } = value else {
            return Ok(());
        };
        let time = fields.time.unwrap_or_default();
        let id = std::mem::take(&mut self.fault_id);
        let f = fields.f.as_deref().unwrap_or_default();
        if begins {
            let node = Some(self.node(fields.node.as_deref())?).filter(|node| *node != u16::MAX);
            self.record.faults.push(FaultSpan {
                f: f.to_owned(),
                id,
                node,
                begin: time,
                end: u64::MAX,
            });
        } else if let Some(open) = self
            .record
            .faults
            .iter_mut()
            .rev()
            .find(|fault| fault.id == id && fault.f == f && fault.end == u64::MAX)
        {
            open.end = time;
        }
        Ok(())
    }
}

fn unknown_f<T>(f: &str, cursor: &Cursor<'_>) -> Parse<T> {
    cursor.flaw(format!(
        "unknown f `{f}`; model etcd has put, range, delete_range, txn, compact, hash_kv, status, lease_grant, \
         lease_revoke, lease_keep_alive, lease_time_to_live, lease_leases and watch"
    ))
}
