//! What members are asked about themselves, and the creation and end of watches.

use super::{AnswerHeader, Cursor, Parse, Record, Span, decode_header, decode_revision};
use crate::etcd::record::Cancel;

/// What the creation of a watch asks for.
#[derive(Clone, Copy)]
pub(in crate::etcd) struct WatchAsk {
    pub span: Span,
    pub start_revision: i64,
    pub prev_kv: bool,
    pub progress_notify: bool,
}

/// Reads the named numbers (flags are 0 and 1) of a small object.
pub(in crate::etcd) fn numbers<const N: usize>(
    cursor: &mut Cursor<'_>,
    names: &[&str; N],
) -> Parse<[i64; N]> {
    let mut found = [0; N];
    cursor.object(|name, cursor| {
        let Some(place) = names.iter().position(|known| *known == name) else {
            return cursor.flaw(format!("unknown field `{name}`"));
        };
        found[place] = match cursor.peek() {
            Some(b't' | b'f') => i64::from(cursor.boolean()?),
            _ => decode_revision(cursor)?,
        };
        Ok(())
    })?;
    Ok(found)
}

/// Reads the answer of a member about itself: its header and up to three numbers.
pub(in crate::etcd) fn member_answer(
    cursor: &mut Cursor<'_>,
    names: &[&str],
    header: &mut AnswerHeader,
) -> Parse<[i64; 3]> {
    let mut found = [0; 3];
    cursor.object(|name, cursor| {
        if name == "header" {
            *header = decode_header(cursor)?;
            return Ok(());
        }
        match names.iter().position(|known| *known == name) {
            Some(0) => found[0] = cursor.integer()?,
            Some(1) if name == "compact_revision" => found[1] = decode_revision(cursor)?,
            Some(_) => cursor.skip()?,
            None if name == "version" && !names.is_empty() => cursor.skip()?,
            None => return cursor.flaw(format!("unknown field `{name}`")),
        }
        Ok(())
    })?;
    Ok(found)
}

/// Reads why a member ended a watch.
pub(in crate::etcd) fn watch_end(cursor: &mut Cursor<'_>) -> Parse<Cancel> {
    let mut cancel = Cancel {
        compact_revision: 0,
        says_compacted: false,
    };
    cursor.object(|name, cursor| {
        match name {
            "compact_revision" => cancel.compact_revision = decode_revision(cursor)?,
            "cancel_reason" => cancel.says_compacted = cursor.string()?.contains("compacted"),
            _ => return cursor.flaw(format!("unknown field `{name}`")),
        }
        Ok(())
    })?;
    Ok(cancel)
}

impl Record {
    /// Reads the creation of a watch.
    pub(in crate::etcd) fn decode_watch(&mut self, cursor: &mut Cursor<'_>) -> Parse<WatchAsk> {
        let (mut start_revision, mut prev_kv, mut progress_notify) = (0, false, false);
        let span = self.decode_span(cursor, |name, cursor| {
            match name {
                "start_revision" => start_revision = decode_revision(cursor)?,
                "prev_kv" => prev_kv = cursor.boolean()?,
                "progress_notify" => progress_notify = cursor.boolean()?,
                _ => return cursor.flaw(format!("unknown field `{name}`")),
            }
            Ok(())
        })?;
        Ok(WatchAsk {
            span,
            start_revision,
            prev_kv,
            progress_notify,
        })
    }
}

impl Record {
    /// Reads a request for a lease, whose number is 0 where the member is to choose.
    pub(in crate::etcd) fn decode_lease(&mut self, cursor: &mut Cursor<'_>) -> Parse<u32> {
        let mut id = 0;
        cursor.object(|name, cursor| {
            match name {
                "ID" => id = cursor.integer()?,
                "TTL" => drop(cursor.integer()?),
                "keys" => drop(cursor.boolean()?),
                _ => return cursor.flaw(format!("unknown field `{name}`")),
            }
            Ok(())
        })?;
        Ok(self.lease(id))
    }

    /// Reads an answer about a lease: its number and the time it has to live, s.
    pub(in crate::etcd) fn decode_lease_answer(
        &mut self,
        cursor: &mut Cursor<'_>,
        header: &mut AnswerHeader,
    ) -> Parse<(u32, i64)> {
        let (mut id, mut ttl) = (0, 0);
        cursor.object(|name, cursor| {
            match name {
                "header" => *header = decode_header(cursor)?,
                "ID" => id = cursor.integer()?,
                "TTL" => ttl = cursor.integer()?,
                "grantedTTL" => drop(cursor.integer()?),
                "keys" | "leases" | "error" => cursor.skip()?,
                _ => return cursor.flaw(format!("unknown field `{name}`")),
            }
            Ok(())
        })?;
        Ok((self.lease(id), ttl))
    }
}
