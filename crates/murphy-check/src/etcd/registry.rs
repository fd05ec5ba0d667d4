//! A registry is the part of the key space in which Kubernetes keeps its objects: `/registry/<resource>/…`.
//!
//! Its contract with etcd holds for each resource type alone, because types may live in etcds of their own. The
//! first segment behind `/registry/` is taken for the type; for the resources of an API group that is the group.

use rustc_hash::FxHashMap;

use super::record::{Answer, Ask, Record, Span, Stream};
use crate::intern::{Id, NONE, next_id};

const ROOT: &[u8] = b"/registry/";

/// The resource types of a history.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    /// The type of each key; empty where no key has one.
    type_of: Vec<Id>,
    names: Vec<Vec<u8>>,
}

/// The prefix of the type in which `key` lies, `/registry/pods/`.
fn prefix(key: &[u8]) -> Option<&[u8]> {
    let rest = key.strip_prefix(ROOT)?;
    let segment = rest.iter().position(|byte| *byte == b'/')?;
    (segment > 0).then(|| &key[..=ROOT.len() + segment])
}

impl Registry {
    /// Finds the resource types of `record`.
    pub fn new(record: &Record) -> Self {
        let mut known: FxHashMap<&[u8], Id> = FxHashMap::default();
        let mut type_of = Vec::new();
        let mut names = Vec::new();
        for key in 0..next_id(record.keys.len()) {
            let Some(prefix) = prefix(record.keys.get(key)) else {
                continue;
            };
            let resource = *known.entry(prefix).or_insert_with(|| {
                names.push(prefix.to_vec());
                next_id(names.len() - 1)
            });
            if type_of.is_empty() {
                type_of = vec![NONE; record.keys.len()];
            }
            type_of[key as usize] = resource;
        }
        Self { type_of, names }
    }

    /// Whether no key is one of Kubernetes.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// How many resource types there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// The type of `key`.
    pub fn type_of(&self, key: Id) -> Option<Id> {
        self.type_of
            .get(key as usize)
            .copied()
            .filter(|resource| *resource != NONE)
    }

    /// The type in which all of `span` lies.
    pub fn type_of_span(&self, record: &Record, span: Span) -> Option<Id> {
        let resource = self.type_of(span.key)?;
        if span.end == NONE {
            return Some(resource);
        }
        let name = &self.names[resource as usize];
        let end = record.keys.get(span.end);
        // The end of a prefix is the prefix with its last byte raised: `/` becomes `0`.
        let is_end = |end: &[u8]| {
            end.len() == name.len()
                && end[..name.len() - 1] == name[..name.len() - 1]
                && end.last() == Some(&b'0')
        };
        (end.starts_with(name) || is_end(end)).then_some(resource)
    }

    /// The type of everything that `ask` reads, writes and compares.
    pub fn type_of_ask(&self, record: &Record, ask: Ask) -> Option<Id> {
        if self.is_empty() {
            return None;
        }
        match ask {
            Ask::Put { key, .. } => self.type_of(key),
            Ask::Range { span, .. } | Ask::Delete { span, .. } => self.type_of_span(record, span),
            Ask::Txn(txn) => {
                let txn = record.txns[txn as usize];
                let conditions = record.conditions[txn.compare.range()].iter();
                let conditions =
                    conditions.map(|condition| self.type_of_span(record, condition.span));
                let asks = record.asks[txn.success.range()]
                    .iter()
                    .chain(&record.asks[txn.failure.range()]);
                let asks = asks.map(|ask| self.type_of_ask(record, *ask));
                let mut types = conditions.chain(asks);
                let first = types.next()??;
                types.all(|other| other == Some(first)).then_some(first)
            }
            _ => None,
        }
    }

    /// Whether the watch goes on where a list of the same keys ended: it starts one revision later.
    pub fn continues_list(record: &Record, stream: &Stream) -> bool {
        stream.start_revision > 1
            && record.ops.iter().any(|op| {
                let Ask::Range { span, options } = record.ask(op) else {
                    return false;
                };
                let asked = record.options[options as usize].revision;
                let shown = if asked > 0 { asked } else { op.revision };
                span == stream.span
                    && op.end <= stream.call
                    && shown + 1 == stream.start_revision
                    && matches!(record.answer(op), Some(Answer::Range { .. }))
            })
    }
}
