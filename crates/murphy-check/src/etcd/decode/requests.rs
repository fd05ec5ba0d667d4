//! Requests as JSON: puts, ranges, deletions, transactions with their conditions.

use super::{
    Ask, Condition, Cursor, Flaw, NONE, Parse, RangeOptions, Record, Relation, Run, Target, TxnAsk,
    decode_revision, interned, next_id, one, run_of, span_field, unknown,
};

impl Record {
    pub(in crate::etcd) fn decode_put(&mut self, cursor: &mut Cursor<'_>) -> Parse<Ask> {
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
        if lease != 0 && self.lease_keys[lease as usize].last() != Some(&key) {
            self.lease_keys[lease as usize].push(key);
        }
        Ok(Ask::Put {
            key,
            value,
            lease,
            prev_kv,
        })
    }

    pub(in crate::etcd) fn decode_range(&mut self, cursor: &mut Cursor<'_>) -> Parse<Ask> {
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

    pub(in crate::etcd) fn decode_delete(&mut self, cursor: &mut Cursor<'_>) -> Parse<Ask> {
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
    pub(in crate::etcd) fn decode_txn(
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
    pub(in crate::etcd) fn decode_conditions(&mut self, cursor: &mut Cursor<'_>) -> Parse<Run> {
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
                "version" | "create_revision" if self.is_unnumbered => {
                    return cursor.flaw(format!(
                        "a condition on the field `{name}`, which the header says was not recorded"
                    ));
                }
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
