//! Answers as JSON: their headers, pairs and watch events.

use super::{
    Answer, Cursor, Flaw, GONE, Id, NONE, Pair, Parse, Record, Run, Shape, UNREAD, blob,
    decode_revision, interned, next_id, one, run_of, small, unknown,
};

/// What the header of an answer says.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::etcd) struct AnswerHeader {
    pub revision: i64,
    pub term: u64,
}

#[derive(Default)]
struct AnswerFields {
    prev: Id,
    pairs: Run,
    answers: Run,
    count: u32,
    flag: bool,
}

impl Record {
    /// Reads the answer to a put, a range, a deletion or a transaction. `keys_only` says that the
    /// request asked for keys without values: then an empty value is one that was not asked for.
    pub(in crate::etcd) fn decode_answer(
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
        let pair = self.decode_told_pair(cursor, keys_only)?;
        Ok(self.as_recorded(pair))
    }

    #[inline]
    fn decode_told_pair(&mut self, cursor: &mut Cursor<'_>, keys_only: bool) -> Parse<Pair> {
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
    pub(in crate::etcd) fn decode_message(
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
        let start = cursor.at();
        if cursor.literal(r#"{"kv":"#) {
            let pair = self.decode_pair(cursor, false)?;
            if cursor.literal("}") {
                return Ok((self.pairs.id(pair), NONE));
            }
        }
        cursor.go(start);
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

pub(in crate::etcd) fn decode_header(cursor: &mut Cursor<'_>) -> Parse<AnswerHeader> {
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
