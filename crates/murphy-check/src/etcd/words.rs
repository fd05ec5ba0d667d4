//! Words put facts of a history into text for people: operations, pairs, times, faults.

use super::{
    record::{Answer, Ask, FaultSpan, GONE, Op, Outcome, Pair, Record, Span, UNREAD},
    sighting::Fact,
};
use crate::{
    intern::{Id, Interner, NONE},
    text::{counted, seconds},
    verdict::WitnessLine,
};

/// Longest key or value that is shown in full.
const SHOWN: usize = 40;

/// Turns facts into text.
#[derive(Clone, Copy)]
pub(crate) struct Words<'r> {
    pub record: &'r Record,
    pub pairs: &'r Interner<Pair>,
}

fn cut(text: &str) -> String {
    if text.chars().count() <= SHOWN {
        return text.to_owned();
    }
    let short: String = text.chars().take(SHOWN).collect();
    format!("{short}…")
}

impl Words<'_> {
    pub fn node(&self, node: u16) -> String {
        self.record
            .nodes
            .get(usize::from(node))
            .cloned()
            .unwrap_or_else(|| "a member".into())
    }

    pub fn process(&self, process: Id) -> String {
        String::from_utf8_lossy(self.record.processes.get(process)).into_owned()
    }

    pub fn key(&self, key: Id) -> String {
        cut(&String::from_utf8_lossy(self.record.keys.get(key)))
    }

    pub fn value(&self, value: Id) -> String {
        format!(
            "{:?}",
            cut(&String::from_utf8_lossy(self.record.values.get(value)))
        )
    }

    /// `k/88 = "c17-1204"`, `delete k/88`.
    pub fn content(&self, pair: &Pair) -> String {
        let key = self.key(pair.key);
        match pair.value {
            GONE => format!("delete {key}"),
            UNREAD => key,
            value => format!("{key} = {}", self.value(value)),
        }
    }

    /// The pair with its numbers; `no KEY` where there is none.
    pub fn pair(&self, key: Id, pair: Id) -> String {
        if pair == NONE {
            return format!("no {}", self.key(key));
        }
        let pair = self.pairs.get(pair);
        let content = self.content(&pair);
        if pair.is_gone() {
            return format!("{content} (revision {})", pair.mod_revision);
        }
        format!(
            "{content} (revision {}, version {}, created in {})",
            pair.mod_revision, pair.version, pair.create_revision
        )
    }

    /// The number of a lease as etcdctl writes it.
    pub fn lease(&self, lease: u32) -> String {
        format!("{:x}", self.record.leases[lease as usize])
    }

    pub fn span(&self, span: Span) -> String {
        if span.end == NONE {
            return self.key(span.key);
        }
        if self.record.is_everything(span) {
            return "every key".into();
        }
        match self.record.keys.get(span.end) {
            b"\0" => format!("the keys from {}", self.key(span.key)),
            _ => format!(
                "the keys from {} to {}",
                self.key(span.key),
                self.key(span.end)
            ),
        }
    }

    /// `put k/88 = "c17-1204"`.
    pub fn ask(&self, ask: Ask) -> String {
        match ask {
            Ask::Put { key, value, .. } => format!("put {} = {}", self.key(key), self.value(value)),
            Ask::Range { span, options } => {
                let options = self.record.options[options as usize];
                let at = if options.revision > 0 {
                    format!(" at revision {}", options.revision)
                } else {
                    String::new()
                };
                let kind = if options.serializable {
                    "serializable read"
                } else {
                    "read"
                };
                format!("{kind} of {}{at}", self.span(span))
            }
            Ask::Delete { span, .. } => format!("delete {}", self.span(span)),
            Ask::Txn(txn) => self.txn(txn),
            Ask::Compact { revision } => format!("compaction of revision {revision}"),
            Ask::HashKv { revision: 0 } => "hash".into(),
            Ask::HashKv { revision } => format!("hash at {revision}"),
            Ask::Status { .. } => "status".into(),
            Ask::LeaseGrant { lease } => format!("grant of lease {}", self.lease(lease)),
            Ask::LeaseRevoke { lease } => format!("revocation of lease {}", self.lease(lease)),
            Ask::LeaseKeepAlive { lease } => format!("keep-alive of lease {}", self.lease(lease)),
            Ask::LeaseTimeToLive { lease } => format!("time left of lease {}", self.lease(lease)),
            Ask::LeaseLeases => "list of leases".into(),
        }
    }

    fn txn(&self, txn: u32) -> String {
        let txn = self.record.txns[txn as usize];
        let run = if txn.success.len > 0 {
            txn.success
        } else {
            txn.failure
        };
        let parts: Vec<String> = self.record.asks[run.range()]
            .iter()
            .take(3)
            .map(|ask| self.ask(*ask))
            .collect();
        let more = if run.len > 3 { ", …" } else { "" };
        let conditions = match txn.compare.len {
            0 => String::new(),
            number => format!("if {}: ", counted(u64::from(number), "condition")),
        };
        format!("transaction {{{conditions}{}{more}}}", parts.join(", "))
    }

    /// A few words for the bar of a picture.
    fn label(&self, ask: Ask) -> String {
        match ask {
            Ask::Put { key, .. } => format!("put {}", self.key(key)),
            Ask::Range { span, .. } => format!("read {}", self.span(span)),
            Ask::Txn(txn) => {
                let txn = self.record.txns[txn as usize];
                match self.record.asks[txn.success.range()].first() {
                    Some(Ask::Put { key, .. }) => format!("txn put {}", self.key(*key)),
                    _ => "txn".into(),
                }
            }
            other => self.ask(other),
        }
    }

    pub fn answer(&self, op: &Op) -> String {
        let Some(answer) = self.record.answer(op) else {
            return if op.outcome == Outcome::Fail {
                "refused".into()
            } else {
                "unknown".into()
            };
        };
        match answer {
            Answer::Put { .. } => match self.record.ask(op) {
                Ask::Put { key, .. } => format!("{} = {}", op.revision, self.key(key)),
                _ => op.revision.to_string(),
            },
            Answer::Range { kvs, count, .. } => match &self.record.lists[kvs.range()] {
                [one] => {
                    let pair = self.pairs.get(*one);
                    format!("{} at {}", self.content(&pair), op.revision)
                }
                _ => format!("{} at {}", counted(u64::from(count), "key"), op.revision),
            },
            Answer::Delete { deleted, .. } => format!("{} = {deleted} deleted", op.revision),
            Answer::Txn { succeeded, .. } => {
                format!(
                    "{} {}",
                    op.revision,
                    if succeeded { "succeeded" } else { "failed" }
                )
            }
            Answer::Compact | Answer::LeaseLeases => "done".into(),
            Answer::LeaseGrant { ttl, .. }
            | Answer::LeaseKeepAlive { ttl }
            | Answer::LeaseTimeToLive { ttl } => format!("{ttl} s to live"),
            Answer::LeaseRevoke => format!("done at {}", op.revision),
            Answer::HashKv { hash, .. } => format!("{hash:08x}"),
            Answer::Status { applied } => {
                format!("revision {} at applied index {applied}", op.revision)
            }
        }
    }

    /// Why the operation did not end well, where it said so.
    pub fn error(&self, op: Id) -> Option<&str> {
        self.record
            .errors
            .iter()
            .find(|(id, _)| *id == op)
            .map(|(_, error)| error.as_str())
    }

    /// The operation and its outcome: `put k = "v" was acknowledged as revision 4017 by n1 at 8.06 s`.
    pub fn told(&self, id: Id) -> String {
        let op = &self.record.ops[id as usize];
        let (ask, node) = (self.ask(self.record.ask(op)), self.node(op.node));
        let at = seconds(op.end);
        match (op.outcome, self.record.answer(op)) {
            (_, Some(answer)) if self.record.wrote(answer) => {
                format!(
                    "{ask} was acknowledged as revision {} by {node} at {at}",
                    op.revision
                )
            }
            (_, Some(Answer::Status { applied })) => {
                format!(
                    "{node} answered at {at} that it is at revision {} and applied index {applied}",
                    op.revision
                )
            }
            (_, Some(Answer::HashKv { hash, compact })) => {
                format!("{node} answered at {at}: {ask} is {hash:08x} (compact revision {compact})")
            }
            (_, Some(_)) => {
                format!(
                    "{ask} through {node}, asked at {}, was answered at {at}: {}",
                    seconds(op.call),
                    self.answer(op)
                )
            }
            (Outcome::Fail, None) => format!(
                "{ask} through {node} was refused at {at}: {}",
                self.error(id).unwrap_or("no reason given")
            ),
            (_, None) if op.end == u64::MAX => format!(
                "{ask} through {node}, asked at {}, was never answered",
                seconds(op.call)
            ),
            (_, None) => format!(
                "{ask} through {node} ended at {at} with \"{}\"",
                self.error(id).unwrap_or("outcome unknown")
            ),
        }
    }

    /// The operation with one pair of its answer.
    fn shown(&self, id: Id, pair: Id) -> String {
        let op = &self.record.ops[id as usize];
        let shown = self.pairs.get(pair);
        format!(
            "{} through {} showed {} at {}",
            self.ask(self.record.ask(op)),
            self.node(op.node),
            self.pair(shown.key, pair),
            seconds(op.end)
        )
    }

    /// `n2, killed at 8.11 s and back at 8.34 s,`: the member with what last happened to it before `time`.
    pub fn node_with_fault(&self, node: u16, time: u64) -> String {
        let name = self.node(node);
        let before = |fault: &&FaultSpan| fault.node == Some(node) && fault.begin < time;
        let Some(fault) = self
            .record
            .faults
            .iter()
            .filter(before)
            .max_by_key(|fault| fault.begin)
        else {
            return name;
        };
        let done = match fault.f.as_str() {
            "kill" => "killed".to_owned(),
            "pause" => "paused".to_owned(),
            "term" => "terminated".to_owned(),
            other => format!("hit by {other}"),
        };
        match fault.end {
            end if end < time => format!(
                "{name}, {done} at {} and back at {},",
                seconds(fault.begin),
                seconds(end)
            ),
            _ => format!("{name}, {done} at {},", seconds(fault.begin)),
        }
    }

    /// When the fact was known.
    pub fn time(&self, fact: Fact) -> u64 {
        match fact {
            Fact::Op(op) | Fact::Shown(op, _) => self.record.ops[op as usize].end,
            Fact::Watch(stream) => self.record.streams[stream].call,
            Fact::Event(stream, event) | Fact::Prev(stream, event) => {
                self.record.streams[stream].message_of(event).time
            }
            Fact::Cancel(stream) => self.record.streams[stream]
                .end
                .map_or(u64::MAX, |end| end.time),
            Fact::Silence(_, _, to) => to,
            Fact::Progress(stream, index) => self.record.streams[stream].progress[index].time,
        }
    }

    /// The line of a witness for `fact`.
    pub fn line(&self, fact: Fact, clashes: bool) -> WitnessLine {
        match fact {
            Fact::Op(id) | Fact::Shown(id, _) => {
                let op = &self.record.ops[id as usize];
                let line = if op.end_line > 0 {
                    op.end_line
                } else {
                    op.line
                };
                WitnessLine {
                    index: self.record.index_of(line),
                    line: u64::from(line),
                    node: self.record.nodes.get(usize::from(op.node)).cloned(),
                    process: self.process(op.process),
                    start_ns: op.call,
                    end_ns: (op.end < u64::MAX).then_some(op.end),
                    label: self.label(self.record.ask(op)),
                    answer: self.answer(op),
                    text: match fact {
                        Fact::Shown(_, pair) => format!("{}.", self.shown(id, pair)),
                        _ => format!("{}.", self.told(id)),
                    },
                    clashes,
                }
            }
            Fact::Watch(stream)
            | Fact::Event(stream, _)
            | Fact::Prev(stream, _)
            | Fact::Progress(stream, _)
            | Fact::Cancel(stream)
            | Fact::Silence(stream, _, _) => self.stream_line(stream, fact, clashes),
        }
    }

    fn stream_line(&self, number: usize, fact: Fact, clashes: bool) -> WitnessLine {
        let stream = &self.record.streams[number];
        let watch = format!("watch {}", self.span(stream.span));
        let name = format!(
            "the watch {} of {}",
            self.process(stream.process),
            self.node(stream.node)
        );
        let (line, time, answer, text) = match fact {
            Fact::Event(_, event) => {
                let message = stream.message_of(event);
                let pair = self.pairs.get(stream.events[event]);
                let content = self.content(&pair);
                let text = format!(
                    "{name} delivered {content} as revision {} at {}.",
                    pair.mod_revision,
                    seconds(message.time)
                );
                (
                    message.line,
                    message.time,
                    format!("{} = {content}", pair.mod_revision),
                    text,
                )
            }
            Fact::Prev(_, event) => {
                let message = stream.message_of(event);
                let pair = self.pairs.get(stream.events[event]);
                let prev = self.pair(pair.key, stream.prevs[event]);
                let text = format!(
                    "{name} delivered {} as revision {} at {}, with {prev} before it.",
                    self.content(&pair),
                    pair.mod_revision,
                    seconds(message.time)
                );
                (message.line, message.time, format!("before: {prev}"), text)
            }
            Fact::Cancel(_) => {
                let (line, time) = stream.end.map_or((0, u64::MAX), |end| (end.line, end.time));
                let cancel = stream.end.and_then(|end| end.cancel);
                let compact = cancel.map_or(0, |cancel| cancel.compact_revision);
                let text = format!(
                    "{name} was cancelled at {} with compact revision {compact}.",
                    seconds(time)
                );
                (line, time, format!("cancelled, compact {compact}"), text)
            }
            Fact::Silence(_, from, to) => {
                let last = stream.messages.iter().map(|m| (m.time, m.line));
                let last = last.chain(stream.progress.iter().map(|m| (m.time, m.line)));
                let line = last.filter(|(time, _)| *time <= from).max();
                let opened = stream.created.map_or(stream.line, |(_, _, line)| line);
                let text = format!(
                    "{name} delivered nothing more from {} to {}.",
                    seconds(from),
                    seconds(to)
                );
                (
                    line.map_or(opened, |(_, line)| line),
                    to,
                    "silent".into(),
                    text,
                )
            }
            Fact::Progress(_, index) => {
                let mark = stream.progress[index];
                let text = format!(
                    "{name} said at {} that everything up to revision {} was delivered.",
                    seconds(mark.time),
                    mark.revision
                );
                (
                    mark.line,
                    mark.time,
                    format!("progress {}", mark.revision),
                    text,
                )
            }
            _ => {
                let from = stream
                    .first_revision()
                    .map_or_else(|| "now".into(), |first| format!("revision {first}"));
                let (time, line) = stream
                    .created
                    .map_or((stream.call, stream.line), |(_, time, line)| (time, line));
                let text = format!(
                    "{name} was opened at {} for {} from {from} on.",
                    seconds(time),
                    self.span(stream.span)
                );
                (line, time, format!("from {from}"), text)
            }
        };
        WitnessLine {
            index: self.record.index_of(line),
            line: u64::from(line),
            node: self.record.nodes.get(usize::from(stream.node)).cloned(),
            process: self.process(stream.process),
            start_ns: match fact {
                Fact::Watch(_) => stream.call,
                Fact::Silence(_, from, _) => from,
                _ => time,
            },
            end_ns: Some(time),
            label: watch,
            answer,
            text,
            clashes,
        }
    }
}
