//! Claims are what the facts of a witness assert, in plain bytes.

use super::{
    Answer, Ask, Claim, Content, Delivery, Fact, FxHashSet, GONE, Id, NONE, Op, Pair, Record, Run,
    Shown, Span, UNREAD, Words,
};

pub(super) struct Reader<'a> {
    pub(super) words: &'a Words<'a>,
    pub(super) claims: Vec<Claim>,
    /// Lists of pairs shown of a span at a revision; they are read for the keys that matter alone.
    pub(super) lists: Vec<(i64, Span, Run)>,
}

impl Reader<'_> {
    pub(super) fn read(&mut self, fact: Fact) {
        match fact {
            Fact::Op(id) => self.op(id),
            Fact::Watch(_) => {}
            Fact::Event(stream, event) => self.event(stream, event),
            Fact::Progress(stream, index) => self.progress(stream, index),
        }
    }

    fn key(&self, key: Id) -> Vec<u8> {
        self.words.record.keys.get(key).to_vec()
    }

    fn content(&self, pair: &Pair) -> Content {
        let value = match pair.value {
            GONE => Shown::Deleted,
            UNREAD => Shown::Something,
            value => Shown::Value(self.words.record.values.get(value).to_vec()),
        };
        Content {
            key: self.key(pair.key),
            value,
            numbers: Some((pair.create_revision, pair.version)),
        }
    }

    fn op(&mut self, id: Id) {
        let record = self.words.record;
        let op = record.ops[id as usize];
        let Some(answer) = record.answer(&op) else {
            return;
        };
        let ask = record.ask(&op);
        match (ask, answer) {
            (Ask::Status { quiet: true }, Answer::Status { applied }) => {
                self.claims.push(Claim::Position {
                    applied,
                    revision: op.revision,
                });
            }
            (Ask::HashKv { revision }, Answer::HashKv { hash, compact }) => {
                let revision = if revision > 0 { revision } else { op.revision };
                self.claims.push(Claim::Hash {
                    of: (revision, compact),
                    hash,
                });
            }
            _ if Record::is_kv(ask) => self.kv(&op, ask, answer),
            _ => {}
        }
    }

    fn kv(&mut self, op: &Op, ask: Ask, answer: Answer) {
        let record = self.words.record;
        let writes = record.wrote(answer);
        // A member answers serializable reads alone: what they show is true, when they show it is not.
        if !record.is_local(ask) {
            self.claims.push(Claim::Took {
                call: op.call,
                end: op.end,
                revision: op.revision,
                writes,
            });
        }
        let (mut contents, mut whole) = (Vec::new(), true);
        self.effect(ask, answer, op.revision, writes, &mut contents, &mut whole);
        if writes {
            self.claims.push(Claim::Holds {
                revision: op.revision,
                contents,
                whole,
            });
        }
    }

    fn effect(
        &mut self,
        ask: Ask,
        answer: Answer,
        revision: i64,
        writes: bool,
        contents: &mut Vec<Content>,
        whole: &mut bool,
    ) {
        let record = self.words.record;
        match (ask, answer) {
            (
                Ask::Put {
                    key,
                    value,
                    prev_kv,
                    ..
                },
                Answer::Put { prev },
            ) => {
                let value = Shown::Value(record.values.get(value).to_vec());
                contents.push(Content {
                    key: self.key(key),
                    value,
                    numbers: None,
                });
                if prev_kv {
                    self.shows(revision - 1, key, prev);
                }
            }
            (Ask::Delete { span, .. }, Answer::Delete { deleted, .. }) => match span.end {
                NONE if deleted > 0 => contents.push(Content {
                    key: self.key(span.key),
                    value: Shown::Deleted,
                    numbers: None,
                }),
                _ => *whole &= deleted == 0,
            },
            (Ask::Range { span, options }, Answer::Range { kvs, .. }) => {
                let options = record.options[options as usize];
                let at = if options.revision > 0 {
                    options.revision
                } else {
                    revision
                };
                // A read inside a transaction that writes may come before or after its writes.
                if (options.revision > 0 || !writes) && options.limit == 0 && !options.count_only {
                    self.lists.push((at, span, kvs));
                }
            }
            (Ask::Txn(txn), Answer::Txn { succeeded, answers }) => {
                let txn = record.txns[txn as usize];
                let branch = if succeeded { txn.success } else { txn.failure };
                for (ask, answer) in record.asks[branch.range()]
                    .iter()
                    .zip(&record.answers[answers.range()])
                {
                    self.effect(*ask, *answer, revision, writes, contents, whole);
                }
            }
            _ => {}
        }
    }

    fn shows(&mut self, at: i64, key: Id, pair: Id) {
        let pair = (pair != NONE).then(|| self.words.pairs.get(pair));
        if let Some(pair) = &pair {
            let contents = vec![self.content(pair)];
            self.claims.push(Claim::Holds {
                revision: pair.mod_revision,
                contents,
                whole: false,
            });
        }
        let revision = pair.map(|pair| pair.mod_revision);
        self.claims.push(Claim::Shows {
            at,
            key: self.key(key),
            revision,
        });
    }

    /// Keys matter that another fact speaks of, or in which two lists differ.
    pub(super) fn read_lists(&mut self) {
        let record = self.words.record;
        let of_claim = |claim: &Claim| match claim {
            Claim::Holds { contents, .. } => {
                contents.iter().map(|content| content.key.clone()).collect()
            }
            Claim::Shows { key, .. } => vec![key.clone()],
            _ => Vec::new(),
        };
        let named = self.claims.iter().flat_map(of_claim);
        let mut keys: Vec<Id> = named.filter_map(|key| record.keys.find(&key)).collect();
        let shown: Vec<FxHashSet<Id>> = self
            .lists
            .iter()
            .map(|(_, _, run)| record.lists[run.range()].iter().copied().collect())
            .collect();
        for (one, other) in shown.iter().zip(shown.iter().skip(1)) {
            keys.extend(
                one.symmetric_difference(other)
                    .take(64)
                    .map(|id| self.words.pairs.get(*id).key),
            );
        }
        keys.sort_unstable();
        keys.dedup();
        for (at, span, run) in std::mem::take(&mut self.lists) {
            for key in keys.iter().filter(|key| record.contains(span, **key)) {
                let mut pairs = record.lists[run.range()].iter();
                let pair = pairs.find(|id| self.words.pairs.get(**id).key == *key);
                self.shows(at, *key, pair.copied().unwrap_or(NONE));
            }
        }
    }

    fn event(&mut self, stream: usize, event: usize) {
        let of = &self.words.record.streams[stream];
        let pair_of = |event: usize| self.words.pairs.get(of.events[event]);
        let pair = pair_of(event);
        let revision = pair.mod_revision;
        let same: Vec<usize> = (0..of.events.len())
            .filter(|other| pair_of(*other).mod_revision == revision)
            .collect();
        let contents = same
            .iter()
            .map(|event| self.content(&pair_of(*event)))
            .collect();
        let whole = self.words.record.is_everything(of.span);
        self.claims.push(Claim::Holds {
            revision,
            contents,
            whole,
        });
        let before = (0..event)
            .rev()
            .map(|event| pair_of(event).mod_revision)
            .find(|before| *before != revision);
        let from = before.map_or(of.first_revision().unwrap_or(revision), |before| before + 1);
        self.claims.push(Claim::Silent {
            stream,
            from,
            to: revision,
        });
        let place = (of.message_of(event).line, event);
        let key = Some(self.key(pair.key));
        self.claims.push(Claim::Delivered(Delivery {
            stream,
            place,
            revision,
            key,
        }));
        if let Some(prev) = of.prevs.get(event).filter(|prev| **prev != NONE) {
            self.shows(revision - 1, pair.key, *prev);
        }
    }

    fn progress(&mut self, stream: usize, index: usize) {
        let of = &self.words.record.streams[stream];
        let mark = of.progress[index];
        let delivered = of
            .messages
            .get(mark.after as usize)
            .map_or(of.events.len(), |next| next.first as usize);
        let last = of.events[..delivered]
            .last()
            .map(|id| self.words.pairs.get(*id).mod_revision);
        let from = last.map_or(of.first_revision().unwrap_or(mark.revision), |last| {
            last + 1
        });
        self.claims.push(Claim::Silent {
            stream,
            from,
            to: mark.revision + 1,
        });
        let delivery = Delivery {
            stream,
            place: (mark.line, 0),
            revision: mark.revision,
            key: None,
        };
        self.claims.push(Claim::Delivered(delivery));
    }
}
