//! A decoder turns the JSON of requests and answers into entries of a [`Record`].

mod answers;
mod member;
mod requests;
mod shape;

pub(super) use answers::{AnswerHeader, decode_header};
pub(super) use member::{WatchAsk, member_answer, numbers, watch_end};
pub(super) use shape::Shape;

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
}

fn one(cursor: &Cursor<'_>, found: usize, what: &str) -> Parse<()> {
    if found == 1 {
        Ok(())
    } else {
        cursor.flaw(format!("expected exactly one {what}, found {found}"))
    }
}
