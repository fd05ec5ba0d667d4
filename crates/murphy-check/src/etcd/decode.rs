//! A decoder turns the JSON of requests and answers into entries of a [`Record`].

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{
    record::{
        Answer, Ask, Condition, GONE, Pair, RangeOptions, Record, Run, Span, Target, TxnAsk, UNREAD,
    },
    vocabulary::Relation,
};
use crate::{
    intern::{Bytes, Id, NONE, next_id},
    json::{Cursor, Flaw, Parse},
};

/// What the header of an answer says.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct AnswerHeader {
    pub revision: i64,
    pub term: u64,
}

/// Reads a byte string, text or `{"b64": …}`, and hands it on.
fn blob<T>(cursor: &mut Cursor<'_>, take: impl FnOnce(&[u8]) -> T) -> Parse<T> {
    if cursor.peek() != Some(b'{') {
        let at = cursor.at();
        return match cursor.string() {
            Ok(text) => Ok(take(text.as_bytes())),
            Err(flaw) if flaw.at == at => cursor.flaw("expected text or {\"b64\": …}"),
            Err(flaw) => Err(flaw),
        };
    }
    let mut bytes = None;
    cursor.object(|name, cursor| {
        let at = cursor.at();
        if name != "b64" {
            return unknown(cursor, name);
        }
        let decoded = STANDARD.decode(cursor.string()?.as_bytes());
        bytes = Some(decoded.map_err(|error| Flaw {
            at,
            problem: format!("expected base64: {error}").into(),
        })?);
        Ok(())
    })?;
    match bytes {
        Some(bytes) => Ok(take(&bytes)),
        None => cursor.flaw("expected the field `b64`"),
    }
}

fn interned(cursor: &mut Cursor<'_>, into: &mut Bytes) -> Parse<Id> {
    blob(cursor, |bytes| into.id(bytes))
}

fn unknown<T>(cursor: &Cursor<'_>, name: &str) -> Parse<T> {
    cursor.flaw(format!("unknown field `{name}`"))
}

/// The greatest revision that is read: etcd would need millennia to get there, and below it sums and
/// products of revisions stay in 64 bits.
const REVISION_LIMIT: i64 = 1 << 56;

/// Reads a revision or a version; -1 is etcd's "none".
#[inline]
pub(super) fn decode_revision(cursor: &mut Cursor<'_>) -> Parse<i64> {
    cursor.peek();
    let at = cursor.at();
    match cursor.integer()? {
        revision @ -1..=REVISION_LIMIT => Ok(revision),
        _ => Err(Flaw {
            at,
            problem: "expected a revision: a number from -1 to 2^56".into(),
        }),
    }
}

fn small(cursor: &mut Cursor<'_>) -> Parse<u32> {
    let at = cursor.at();
    u32::try_from(cursor.integer()?).map_err(|_| Flaw {
        at,
        problem: "expected a number from 0 to 4294967295".into(),
    })
}

/// Reads the fields of a span; true when `name` was one of them.
fn span_field(
    name: &str,
    cursor: &mut Cursor<'_>,
    span: &mut Span,
    keys: &mut Bytes,
) -> Parse<bool> {
    match name {
        "key" => span.key = interned(cursor, keys)?,
        "range_end" => {
            let end = blob(cursor, |bytes| {
                if bytes.is_empty() {
                    NONE
                } else {
                    keys.id(bytes)
                }
            })?;
            span.end = end;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// Appends `entries` to `list` in one run.
fn run_of<T: Copy>(list: &mut Vec<T>, entries: &[T]) -> Run {
    let run = Run {
        first: next_id(list.len()),
        len: next_id(entries.len()),
    };
    list.extend_from_slice(entries);
    run
}

impl Record {
    fn new_span(&mut self) -> Span {
        Span {
            key: self.keys.id(b""),
            end: NONE,
        }
    }

    /// Reads a span beside fields that `other` reads.
    pub(super) fn decode_span(
        &mut self,
        cursor: &mut Cursor<'_>,
        mut other: impl FnMut(&str, &mut Cursor<'_>) -> Parse<()>,
    ) -> Parse<Span> {
        let mut span = self.new_span();
        cursor.object(|name, cursor| {
            if span_field(name, cursor, &mut span, &mut self.keys)? {
                return Ok(());
            }
            other(name, cursor)
        })?;
        Ok(span)
    }

    pub(super) fn decode_put(&mut self, cursor: &mut Cursor<'_>) -> Parse<Ask> {
        let (mut key, mut value, mut lease, mut prev_kv) = (NONE, NONE, 0, false);
        cursor.object(|name, cursor| {
            match name {
                "key" => key = interned(cursor, &mut self.keys)?,
                "value" => value = interned(cursor, &mut self.values)?,
                "lease" => lease = self.lease(cursor.integer()?),
                "prev_kv" => prev_kv = cursor.boolean()?,
                _ => return unknown(cursor, name),
            }
            Ok(())
        })?;
        if key == NONE {
            return cursor.flaw("expected the field `key` in a put");
        }
        if value == NONE {
            value = self.values.id(b"");
        }
        Ok(Ask::Put {
            key,
            value,
            lease,
            prev_kv,
        })
    }

    fn lease(&mut self, id: i64) -> u32 {
        let known = self.leases.iter().position(|lease| *lease == id);
        next_id(known.unwrap_or_else(|| {
            self.leases.push(id);
            self.leases.len() - 1
        }))
    }

    pub(super) fn decode_range(&mut self, cursor: &mut Cursor<'_>) -> Parse<Ask> {
        let mut span = self.new_span();
        let mut wanted = RangeOptions::default();
        cursor.object(|name, cursor| {
            if span_field(name, cursor, &mut span, &mut self.keys)? {
                return Ok(());
            }
            match name {
                "limit" => wanted.limit = cursor.integer()?,
                "revision" => wanted.revision = decode_revision(cursor)?,
                "serializable" => wanted.serializable = cursor.boolean()?,
                "keys_only" => wanted.keys_only = cursor.boolean()?,
                "count_only" => wanted.count_only = cursor.boolean()?,
                _ => return unknown(cursor, name),
            }
            Ok(())
        })?;
        // The few usual combinations come first in the list, so that the many plain reads share them.
        let known = self
            .options
            .iter()
            .take(16)
            .position(|options| *options == wanted);
        let options = next_id(known.unwrap_or_else(|| {
            self.options.push(wanted);
            self.options.len() - 1
        }));
        Ok(Ask::Range { span, options })
    }

    pub(super) fn decode_delete(&mut self, cursor: &mut Cursor<'_>) -> Parse<Ask> {
        let mut span = self.new_span();
        let mut prev_kv = false;
        cursor.object(|name, cursor| {
            if span_field(name, cursor, &mut span, &mut self.keys)? {
                return Ok(());
            }
            match name {
                "prev_kv" => prev_kv = cursor.boolean()?,
                _ => return unknown(cursor, name),
            }
            Ok(())
        })?;
        Ok(Ask::Delete { span, prev_kv })
    }

    /// `named` resolves the name of a `let` line.
    pub(super) fn decode_txn(
        &mut self,
        cursor: &mut Cursor<'_>,
        named: &dyn Fn(&str) -> Option<Run>,
    ) -> Parse<Ask> {
        let mut txn = TxnAsk::default();
        cursor.object(|name, cursor| {
            match name {
                "compare" if cursor.peek() == Some(b'{') => txn.compare = reference(cursor, named)?,
                "compare" => txn.compare = self.decode_conditions(cursor)?,
                "success" => txn.success = self.decode_branch(cursor, named)?,
                "failure" => txn.failure = self.decode_branch(cursor, named)?,
                _ => return unknown(cursor, name),
            }
            Ok(())
        })?;
        self.txns.push(txn);
        Ok(Ask::Txn(next_id(self.txns.len() - 1)))
    }

    fn decode_branch(
        &mut self,
        cursor: &mut Cursor<'_>,
        named: &dyn Fn(&str) -> Option<Run>,
    ) -> Parse<Run> {
        let mut asks = Vec::new();
        cursor.list(|cursor| {
            let before = asks.len();
            cursor.object(|name, cursor| {
                asks.push(match name {
                    "request_put" => self.decode_put(cursor)?,
                    "request_range" => self.decode_range(cursor)?,
                    "request_delete_range" => self.decode_delete(cursor)?,
                    "request_txn" => self.decode_txn(cursor, named)?,
                    _ => return unknown(cursor, name),
                });
                Ok(())
            })?;
            one(cursor, asks.len() - before, "request")
        })?;
        Ok(run_of(&mut self.asks, &asks))
    }

    /// Reads a list of conditions.
    pub(super) fn decode_conditions(&mut self, cursor: &mut Cursor<'_>) -> Parse<Run> {
        let first = next_id(self.conditions.len());
        cursor.list(|cursor| {
            let condition = self.decode_condition(cursor)?;
            self.conditions.push(condition);
            Ok(())
        })?;
        Ok(Run {
            first,
            len: next_id(self.conditions.len()) - first,
        })
    }

    fn decode_condition(&mut self, cursor: &mut Cursor<'_>) -> Parse<Condition> {
        let mut span = self.new_span();
        let mut relation = Relation::Equal;
        let mut target = None;
        cursor.object(|name, cursor| {
            if span_field(name, cursor, &mut span, &mut self.keys)? {
                return Ok(());
            }
            match name {
                "result" => relation = decode_relation(cursor)?,
                "target" => target = Some(self.decode_target(cursor)?),
                _ => return unknown(cursor, name),
            }
            Ok(())
        })?;
        match target {
            Some(target) => Ok(Condition {
                span,
                relation,
                target,
            }),
            None => cursor.flaw("expected the field `target` in a condition"),
        }
    }

    fn decode_target(&mut self, cursor: &mut Cursor<'_>) -> Parse<Target> {
        let mut target = None;
        cursor.object(|name, cursor| {
            target = Some(match name {
                "version" => Target::Version(cursor.integer()?),
                "create_revision" => Target::Create(cursor.integer()?),
                "mod_revision" => Target::Mod(cursor.integer()?),
                "value" => Target::Value(interned(cursor, &mut self.values)?),
                "lease" => Target::Lease(cursor.integer()?),
                _ => return unknown(cursor, name),
            });
            Ok(())
        })?;
        target.map_or_else(|| cursor.flaw("expected what the condition compares"), Ok)
    }

    /// Reads the answer to a put, a range, a deletion or a transaction. `keys_only` says that the
    /// request asked for keys without values: then an empty value is one that was not asked for.
    pub(super) fn decode_answer(
        &mut self,
        f: Shape,
        cursor: &mut Cursor<'_>,
        keys_only: bool,
        header: &mut AnswerHeader,
    ) -> Parse<Answer> {
        let mut fields = AnswerFields {
            prev: NONE,
            ..AnswerFields::default()
        };
        cursor.object(|name, cursor| {
            match (name, f) {
                ("header", _) => *header = decode_header(cursor)?,
                ("prev_kv", Shape::Put) => fields.prev = self.decode_optional_pair(cursor)?,
                ("kvs", Shape::Range) | ("prev_kvs", Shape::Delete) => {
                    fields.pairs = self.decode_pairs(cursor, keys_only)?;
                }
                ("more", Shape::Range) | ("succeeded", Shape::Txn) => {
                    fields.flag = cursor.boolean()?;
                }
                ("count", Shape::Range) | ("deleted", Shape::Delete) => {
                    fields.count = small(cursor)?;
                }
                ("responses", Shape::Txn) => {
                    fields.answers = self.decode_answers(cursor, keys_only)?;
                }
                _ => return unknown(cursor, name),
            }
            Ok(())
        })?;
        Ok(match f {
            Shape::Put => Answer::Put { prev: fields.prev },
            Shape::Range => Answer::Range {
                kvs: fields.pairs,
                count: fields.count,
                more: fields.flag,
            },
            Shape::Delete => Answer::Delete {
                deleted: fields.count,
                prev: fields.pairs,
            },
            Shape::Txn => Answer::Txn {
                succeeded: fields.flag,
                answers: fields.answers,
            },
        })
    }

    fn decode_answers(&mut self, cursor: &mut Cursor<'_>, keys_only: bool) -> Parse<Run> {
        let mut answers = Vec::new();
        cursor.list(|cursor| {
            let before = answers.len();
            cursor.object(|name, cursor| {
                let shape = match name {
                    "response_put" => Shape::Put,
                    "response_range" => Shape::Range,
                    "response_delete_range" => Shape::Delete,
                    "response_txn" => Shape::Txn,
                    _ => return unknown(cursor, name),
                };
                answers.push(self.decode_answer(
                    shape,
                    cursor,
                    keys_only,
                    &mut AnswerHeader::default(),
                )?);
                Ok(())
            })?;
            one(cursor, answers.len() - before, "response")
        })?;
        Ok(run_of(&mut self.answers, &answers))
    }

    fn decode_pairs(&mut self, cursor: &mut Cursor<'_>, keys_only: bool) -> Parse<Run> {
        let first = next_id(self.lists.len());
        cursor.list(|cursor| {
            let pair = self.decode_pair(cursor, keys_only)?;
            let id = self.pairs.id(pair);
            self.lists.push(id);
            Ok(())
        })?;
        Ok(Run {
            first,
            len: next_id(self.lists.len()) - first,
        })
    }

    fn decode_optional_pair(&mut self, cursor: &mut Cursor<'_>) -> Parse<Id> {
        if cursor.null() {
            return Ok(NONE);
        }
        let pair = self.decode_pair(cursor, false)?;
        Ok(self.pairs.id(pair))
    }

    fn decode_pair(&mut self, cursor: &mut Cursor<'_>, keys_only: bool) -> Parse<Pair> {
        let mut pair = Pair {
            mod_revision: 0,
            create_revision: 0,
            version: 0,
            lease: 0,
            key: NONE,
            value: UNREAD,
        };
        let start = cursor.at();
        if self.decode_usual_pair(cursor, &mut pair)? {
            return Ok(pair);
        }
        cursor.go(start);
        cursor.object(|name, cursor| {
            match name {
                "key" => pair.key = interned(cursor, &mut self.keys)?,
                "create_revision" => pair.create_revision = decode_revision(cursor)?,
                "mod_revision" => pair.mod_revision = decode_revision(cursor)?,
                "version" => pair.version = decode_revision(cursor)?,
                "value" => {
                    let values = &mut self.values;
                    pair.value =
                        blob(cursor, |b| if b.is_empty() { UNREAD } else { values.id(b) })?;
                }
                "lease" => pair.lease = cursor.integer()?,
                _ => return unknown(cursor, name),
            }
            Ok(())
        })?;
        if pair.key == NONE {
            return cursor.flaw("expected the field `key` in a key-value pair");
        }
        if pair.value == UNREAD && !keys_only {
            pair.value = self.values.id(b"");
        }
        Ok(pair)
    }

    /// Reads the form in which a pair with a value and without a lease is written; false for another.
    #[inline]
    fn decode_usual_pair(&mut self, cursor: &mut Cursor<'_>, pair: &mut Pair) -> Parse<bool> {
        if !cursor.literal(r#"{"key":"#) {
            return Ok(false);
        }
        pair.key = interned(cursor, &mut self.keys)?;
        let numbers = [
            (r#","create_revision":"#, &mut pair.create_revision),
            (r#","mod_revision":"#, &mut pair.mod_revision),
            (r#","version":"#, &mut pair.version),
        ];
        for (name, number) in numbers {
            if !cursor.literal(name) {
                return Ok(false);
            }
            *number = decode_revision(cursor)?;
        }
        if !cursor.literal(r#","value":""#) || cursor.literal("\"") {
            return Ok(false);
        }
        cursor.go(cursor.at() - 1);
        pair.value = interned(cursor, &mut self.values)?;
        Ok(cursor.literal("}"))
    }

    /// Reads a message of a watch; appends its events to `events`, previous pairs to `prevs`.
    pub(super) fn decode_message(
        &mut self,
        cursor: &mut Cursor<'_>,
        events: &mut Vec<Id>,
        prevs: &mut Vec<Id>,
    ) -> Parse<AnswerHeader> {
        let mut header = AnswerHeader::default();
        cursor.object(|name, cursor| {
            match name {
                "header" => header = decode_header(cursor)?,
                "events" => cursor.list(|cursor| {
                    let (event, prev) = self.decode_event(cursor)?;
                    events.push(event);
                    prevs.push(prev);
                    Ok(())
                })?,
                _ => return unknown(cursor, name),
            }
            Ok(())
        })?;
        Ok(header)
    }

    fn decode_event(&mut self, cursor: &mut Cursor<'_>) -> Parse<(Id, Id)> {
        let (mut pair, mut prev, mut deleted) = (None, NONE, false);
        cursor.object(|name, cursor| {
            let at = cursor.at();
            match name {
                "type" => {
                    deleted = match &*cursor.string()? {
                        "PUT" => false,
                        "DELETE" => true,
                        _ => {
                            return Err(Flaw {
                                at,
                                problem: "expected PUT or DELETE".into(),
                            });
                        }
                    }
                }
                "kv" => pair = Some(self.decode_pair(cursor, false)?),
                "prev_kv" => prev = self.decode_optional_pair(cursor)?,
                _ => return unknown(cursor, name),
            }
            Ok(())
        })?;
        let Some(mut pair) = pair else {
            return cursor.flaw("expected the field `kv` in an event");
        };
        if deleted {
            pair.value = GONE;
        }
        Ok((self.pairs.id(pair), prev))
    }
}

/// Which fields an answer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Put,
    Range,
    Delete,
    Txn,
}

#[derive(Default)]
struct AnswerFields {
    prev: Id,
    pairs: Run,
    answers: Run,
    count: u32,
    flag: bool,
}

fn one(cursor: &Cursor<'_>, found: usize, what: &str) -> Parse<()> {
    if found == 1 {
        Ok(())
    } else {
        cursor.flaw(format!("expected exactly one {what}, found {found}"))
    }
}

fn reference(cursor: &mut Cursor<'_>, named: &dyn Fn(&str) -> Option<Run>) -> Parse<Run> {
    let mut run = None;
    cursor.object(|name, cursor| {
        let at = cursor.at();
        if name != "ref" {
            return unknown(cursor, name);
        }
        let wanted = cursor.string()?;
        run = named(&wanted);
        match run {
            Some(_) => Ok(()),
            None => Err(Flaw {
                at,
                problem: format!("no `let` line before this one names `{wanted}`").into(),
            }),
        }
    })?;
    run.map_or_else(|| cursor.flaw("expected the field `ref`"), Ok)
}

fn decode_relation(cursor: &mut Cursor<'_>) -> Parse<Relation> {
    let at = cursor.at();
    match &*cursor.string()? {
        "EQUAL" => Ok(Relation::Equal),
        "GREATER" => Ok(Relation::Greater),
        "LESS" => Ok(Relation::Less),
        "NOT_EQUAL" => Ok(Relation::NotEqual),
        _ => Err(Flaw {
            at,
            problem: "expected EQUAL, GREATER, LESS or NOT_EQUAL".into(),
        }),
    }
}

pub(super) fn decode_header(cursor: &mut Cursor<'_>) -> Parse<AnswerHeader> {
    let mut header = AnswerHeader::default();
    let start = cursor.at();
    if cursor.literal(r#"{"revision":"#) {
        header.revision = decode_revision(cursor)?;
        if cursor.literal(r#","member_id":"#) {
            cursor.natural()?;
            if cursor.literal(r#","raft_term":"#) {
                header.term = cursor.natural()?;
                if cursor.literal("}") {
                    return Ok(header);
                }
            }
        }
    }
    cursor.go(start);
    cursor.object(|name, cursor| {
        match name {
            "revision" => header.revision = decode_revision(cursor)?,
            "raft_term" => header.term = cursor.natural()?,
            "member_id" | "cluster_id" => drop(cursor.natural()?),
            _ => return unknown(cursor, name),
        }
        Ok(())
    })?;
    Ok(header)
}
