//! A record is a history in memory: every request and answer in a few bytes, with keys, values and
//! pairs as numbers.
//!
//! A pair (key, value and its four numbers) is written down once, however often the history repeats
//! it: two answers agree exactly when they hold the same number, and the tables of contradictions run
//! over the distinct pairs alone.

use rustc_hash::FxHashMap;

use crate::{
    history::Header,
    intern::{Bytes, Id, Interner, NONE, Thing, next_id},
};

/// In place of a value: it was not asked for (`keys_only`).
pub(crate) const UNREAD: Id = NONE - 1;
/// In place of a value: the pair is a deletion.
pub(crate) const GONE: Id = NONE - 2;

/// A key with its value and its history in four numbers, or its deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Pair {
    pub mod_revision: i64,
    pub create_revision: i64,
    pub version: i64,
    pub lease: i64,
    pub key: Id,
    pub value: Id,
}

impl Pair {
    /// The deletion of `key` in `revision`.
    pub fn gone(key: Id, revision: i64) -> Self {
        Self {
            mod_revision: revision,
            create_revision: 0,
            version: 0,
            lease: 0,
            key,
            value: GONE,
        }
    }

    /// True for a deletion.
    pub fn is_gone(&self) -> bool {
        self.value == GONE
    }

    /// The pair without the numbers that some recorders leave out.
    pub fn unnumbered(self) -> Self {
        Self {
            create_revision: 0,
            version: 0,
            ..self
        }
    }

    /// True for a put that created its key.
    pub fn is_create(&self) -> bool {
        self.create_revision == self.mod_revision
    }

    /// True where two puts of one content differ in whether they created the key.
    pub fn flag_differs(&self, other: &Self) -> bool {
        let content = |pair: &Self| (pair.key, pair.value, pair.lease, pair.mod_revision);
        !self.is_gone() && content(self) == content(other) && self.is_create() != other.is_create()
    }

    /// True where the two may be one pair, values not asked for being equal to any.
    pub fn agrees(&self, other: &Self) -> bool {
        let value = if self.value == UNREAD || other.value == UNREAD {
            other.value
        } else {
            self.value
        };
        Self { value, ..*self }
            == Self {
                value: if other.value == UNREAD {
                    value
                } else {
                    other.value
                },
                ..*other
            }
    }
}

impl Thing for Pair {
    /// Eight revisions that follow each other share a block of sixteen places.
    #[inline]
    fn place(&self) -> u64 {
        let revision = self.mod_revision.unsigned_abs();
        let block = (revision >> 3).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 28;
        block << 4 | (revision & 7) << 1 | u64::from(self.key & 1)
    }
}

/// A run of entries in one of the record's lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Run {
    pub first: u32,
    pub len: u32,
}

impl Run {
    /// The run as a range of indexes.
    pub fn range(self) -> std::ops::Range<usize> {
        self.first as usize..self.first as usize + self.len as usize
    }
}

/// First key and first key behind; `end` is [`NONE`] for the one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub key: Id,
    pub end: Id,
}

/// A request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ask {
    Put {
        key: Id,
        value: Id,
        lease: u32,
        prev_kv: bool,
    },
    Range {
        span: Span,
        options: u32,
    },
    Delete {
        span: Span,
        prev_kv: bool,
    },
    Txn(u32),
    Compact {
        revision: i64,
    },
    HashKv {
        revision: i64,
    },
    Status {
        quiet: bool,
    },
    /// Leases are numbers in [`Record::leases`].
    LeaseGrant {
        lease: u32,
    },
    LeaseRevoke {
        lease: u32,
    },
    LeaseKeepAlive {
        lease: u32,
    },
    LeaseTimeToLive {
        lease: u32,
    },
    LeaseLeases,
}

/// What a range wants besides its keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct RangeOptions {
    pub limit: i64,
    pub revision: i64,
    pub serializable: bool,
    pub keys_only: bool,
    pub count_only: bool,
}

/// A transaction: runs of conditions and of requests.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TxnAsk {
    pub compare: Run,
    pub success: Run,
    pub failure: Run,
}

/// What a condition compares with.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    Version(i64),
    Create(i64),
    Mod(i64),
    Value(Id),
    Lease(i64),
}

/// One condition of a transaction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Condition {
    pub span: Span,
    pub relation: super::vocabulary::Relation,
    pub target: Target,
}

/// An answer; its runs of pairs lie in [`Record::lists`].
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answer {
    Put {
        prev: Id,
    },
    Range {
        kvs: Run,
        count: u32,
        more: bool,
    },
    Delete {
        deleted: u32,
        prev: Run,
    },
    Txn {
        succeeded: bool,
        answers: Run,
    },
    Compact,
    HashKv {
        hash: u32,
        compact: i64,
    },
    Status {
        applied: u64,
    },
    /// Times are s.
    LeaseGrant {
        lease: u32,
        ttl: i64,
    },
    LeaseRevoke,
    LeaseKeepAlive {
        ttl: i64,
    },
    LeaseTimeToLive {
        ttl: i64,
    },
    LeaseLeases,
}

/// What became of an invocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Ok,
    Fail,
    Unknown,
}

/// One invocation with its completion.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Op {
    pub call: u64,
    /// Time of the completion line; [`u64::MAX`] where there is none.
    pub end: u64,
    /// Revision in the header of the answer.
    pub revision: i64,
    pub ask: Id,
    pub answer: Id,
    pub line: u32,
    /// Line of the completion, 0 where there is none.
    pub end_line: u32,
    pub process: Id,
    pub node: u16,
    pub outcome: Outcome,
}

impl Op {
    /// Until when the operation may have acted: for ever, unless it was answered.
    pub fn until(&self) -> u64 {
        if self.outcome == Outcome::Ok {
            self.end
        } else {
            u64::MAX
        }
    }
}

/// A batch of events of a watch; it ends where the next begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message {
    pub time: u64,
    pub line: u32,
    pub first: u32,
}

/// A bookmark: everything up to `revision` was delivered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    pub time: u64,
    pub revision: i64,
    pub line: u32,
    /// How many messages with events came before it.
    pub after: u32,
}

/// One watch stream.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    pub process: Id,
    pub node: u16,
    pub call: u64,
    pub line: u32,
    pub span: Span,
    pub start_revision: i64,
    pub prev_kv: bool,
    /// Whether bookmarks were asked for.
    pub progress_notify: bool,
    /// Revision, time and line of the answer to the creation.
    pub created: Option<(i64, u64, u32)>,
    pub messages: Vec<Message>,
    pub events: Vec<Id>,
    /// As long as `events` where previous pairs were asked for, empty otherwise.
    pub prevs: Vec<Id>,
    pub progress: Vec<Progress>,
    /// When the client asked for a bookmark.
    pub requests: Vec<u64>,
    /// How the stream ended; `None` where the history ended first.
    pub end: Option<StreamEnd>,
    /// Everything up to this revision was judged and forgotten, the last of it delivered at that time.
    pub settled: Option<(i64, u64)>,
}

/// The end of a watch stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StreamEnd {
    pub time: u64,
    pub line: u32,
    /// The member's reason, where it cancelled the watch; `None` where the stream broke.
    pub cancel: Option<Cancel>,
}

/// Why a member cancelled a watch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cancel {
    /// The compact revision it named, 0 for none.
    pub compact_revision: i64,
    /// Whether its words speak of a compaction.
    pub says_compacted: bool,
}

impl Stream {
    /// The first revision the stream owes; `None` where it was never created.
    pub fn first_revision(&self) -> Option<i64> {
        match (self.start_revision, self.created) {
            (0, Some((revision, _, _))) => Some(revision + 1),
            (0, None) => None,
            (start, _) => Some(start),
        }
    }

    /// The first revision the stream owes and that is known.
    pub fn first_known(&self, past: &Past) -> Option<i64> {
        let settled = self.settled.map_or(0, |(revision, _)| revision);
        let known = settled.max(past.floor) + 1;
        self.first_revision().map(|first| first.max(known))
    }

    /// The newest revision the stream vouches for, by an event or a bookmark.
    pub fn last_seen(&self, pairs: &Interner<Pair>) -> i64 {
        let event = self
            .events
            .last()
            .map_or(0, |id| pairs.get(*id).mod_revision);
        let marks = self.progress.iter().map(|mark| mark.revision);
        marks.max().unwrap_or(0).max(event)
    }

    /// Events of message `index`.
    pub fn events_of(&self, index: usize) -> std::ops::Range<usize> {
        let first = self.messages[index].first as usize;
        first
            ..self
                .messages
                .get(index + 1)
                .map_or(self.events.len(), |next| next.first as usize)
    }

    /// The message that carried event `event`.
    pub fn message_of(&self, event: usize) -> Message {
        let after = self.messages.partition_point(|m| m.first as usize <= event);
        self.messages[after.saturating_sub(1)]
    }
}

/// A fault from its begin to its end.
#[derive(Clone, Debug)]
pub(crate) struct FaultSpan {
    pub f: String,
    pub id: String,
    pub node: Option<u16>,
    pub begin: u64,
    /// [`u64::MAX`] while it acts.
    pub end: u64,
}

/// The key space before the operations of a record: that of an empty store, or what a live judge knows of a history
/// whose begin it has forgotten.
#[derive(Clone, Debug)]
pub(crate) struct Past {
    /// The oldest revision that is known.
    pub floor: i64,
    /// The newest one; later ones are the record's.
    pub base: i64,
    /// The pairs at the floor in order of their revisions.
    pub heads: Vec<Id>,
    /// The events behind the floor up to the base, in order.
    pub log: Vec<Id>,
}

impl Past {
    /// That of an empty store, which is at revision 1.
    pub const EMPTY: Self = Self {
        floor: 0,
        base: 1,
        heads: Vec::new(),
        log: Vec::new(),
    };

    /// Whether the history begins elsewhere.
    pub fn is_forgotten(&self) -> bool {
        self.base > 1
    }
}

/// A history in memory.
#[derive(Clone, Debug)]
pub struct Record {
    pub(crate) header: Header,
    pub(crate) past: Past,
    pub(crate) keys: Bytes,
    pub(crate) values: Bytes,
    pub(crate) processes: Bytes,
    pub(crate) nodes: Vec<String>,
    pub(crate) leases: Vec<i64>,
    lease_ids: FxHashMap<i64, u32>,
    /// The keys that were ever put under each lease, in order of their numbers.
    pub(crate) lease_keys: Vec<Vec<Id>>,
    pub(crate) pairs: Interner<Pair>,
    pub(crate) lists: Vec<Id>,
    pub(crate) asks: Vec<Ask>,
    pub(crate) options: Vec<RangeOptions>,
    pub(crate) txns: Vec<TxnAsk>,
    pub(crate) conditions: Vec<Condition>,
    pub(crate) answers: Vec<Answer>,
    pub(crate) ops: Vec<Op>,
    pub(crate) streams: Vec<Stream>,
    pub(crate) faults: Vec<FaultSpan>,
    /// Why an operation did not end well, for those that say so.
    pub(crate) errors: Vec<(Id, String)>,
    /// Whether pairs have neither a create revision nor a version, because they were not recorded.
    pub(crate) is_unnumbered: bool,
    /// First answer of a process and member whose term went back: operation before, operation after.
    pub(crate) term_back: Option<(Id, Id)>,
    /// Time of the last line.
    pub(crate) ended_at: u64,
    /// Whether more may come behind that.
    pub(crate) is_partial: bool,
    /// Lines at which the difference between line and index changes, with the difference.
    pub(crate) indexes: Vec<(u32, i64)>,
}

impl Record {
    /// An empty record.
    pub(crate) fn new() -> Self {
        Self {
            header: Header::new("etcd"),
            past: Past::EMPTY,
            keys: Bytes::default(),
            values: Bytes::default(),
            processes: Bytes::default(),
            nodes: Vec::new(),
            leases: vec![0],
            lease_ids: FxHashMap::from_iter([(0, 0)]),
            lease_keys: vec![Vec::new()],
            pairs: Interner::default(),
            lists: Vec::new(),
            asks: Vec::new(),
            options: vec![RangeOptions::default()],
            txns: Vec::new(),
            conditions: Vec::new(),
            answers: Vec::new(),
            ops: Vec::new(),
            streams: Vec::new(),
            faults: Vec::new(),
            errors: Vec::new(),
            is_unnumbered: false,
            term_back: None,
            ended_at: 0,
            is_partial: false,
            indexes: Vec::new(),
        }
    }

    /// The pair with the numbers that this history records.
    pub(crate) fn as_recorded(&self, pair: Pair) -> Pair {
        if self.is_unnumbered {
            pair.unnumbered()
        } else {
            pair
        }
    }

    /// How many requests there are, watches not counted.
    pub fn operations(&self) -> u64 {
        self.ops.len() as u64
    }

    /// Ends the reading.
    pub(crate) fn complete(&mut self) {
        for keys in &mut self.lease_keys {
            keys.sort_unstable();
            keys.dedup();
        }
        self.begin_watches();
    }

    /// Watches from "now on" whose creation was not recorded, as in etcd's own reports, owe what comes behind the first
    /// event they have shown.
    fn begin_watches(&mut self) {
        for stream in &mut self.streams {
            if let (0, None, [event, ..], [message, ..]) = (
                stream.start_revision,
                stream.created,
                &*stream.events,
                &*stream.messages,
            ) {
                let before = self.pairs.get(*event).mod_revision - 1;
                stream.created = Some((before, message.time, message.line));
            }
        }
    }

    /// The header of the history.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Index of the event on `line`.
    pub(crate) fn index_of(&self, line: u32) -> u64 {
        let after = self.indexes.partition_point(|(from, _)| *from <= line);
        let difference = after.checked_sub(1).map_or(0, |run| self.indexes[run].1);
        u64::try_from(i64::from(line) + difference).unwrap_or_default()
    }

    /// The request of `op`.
    pub(crate) fn ask(&self, op: &Op) -> Ask {
        self.asks[op.ask as usize]
    }

    /// The answer of `op`, where it was answered.
    pub(crate) fn answer(&self, op: &Op) -> Option<Answer> {
        (op.outcome == Outcome::Ok).then(|| self.answers[op.answer as usize])
    }

    /// Whether `op` asks for something that can write.
    pub(crate) fn may_write(&self, op: &Op) -> bool {
        self.ask_may_write(self.ask(op))
    }

    fn ask_may_write(&self, ask: Ask) -> bool {
        match ask {
            Ask::Put { .. } | Ask::Delete { .. } => true,
            Ask::Txn(txn) => {
                let txn = self.txns[txn as usize];
                let branches = [txn.success, txn.failure];
                branches.iter().any(|run| {
                    self.asks[run.range()]
                        .iter()
                        .any(|ask| self.ask_may_write(*ask))
                })
            }
            _ => false,
        }
    }

    /// Whether `answer` says that something was written.
    pub(crate) fn wrote(&self, answer: Answer) -> bool {
        match answer {
            Answer::Put { .. } => true,
            Answer::Delete { deleted, .. } => deleted > 0,
            Answer::Txn { answers, .. } => {
                self.answers[answers.range()].iter().any(|a| self.wrote(*a))
            }
            _ => false,
        }
    }

    /// The number of a lease, new or old.
    pub(crate) fn lease(&mut self, id: i64) -> u32 {
        let leases = &mut self.leases;
        let lease_keys = &mut self.lease_keys;
        *self.lease_ids.entry(id).or_insert_with(|| {
            leases.push(id);
            lease_keys.push(Vec::new());
            next_id(leases.len() - 1)
        })
    }

    /// The number of a lease that was met before.
    pub(crate) fn known_lease(&self, id: i64) -> u32 {
        self.lease_ids.get(&id).copied().unwrap_or(0)
    }

    /// Whether the end of a lease that `ask` grants or revokes can delete `key`.
    pub(crate) fn ends_lease_of(&self, ask: Ask, key: Id) -> bool {
        match ask {
            Ask::LeaseGrant { lease } | Ask::LeaseRevoke { lease } => {
                self.lease_keys[lease as usize].binary_search(&key).is_ok()
            }
            _ => false,
        }
    }

    /// Whether a member may answer `ask` alone: a serializable range, or a transaction of nothing else.
    pub(crate) fn is_local(&self, ask: Ask) -> bool {
        match ask {
            Ask::Range { options, .. } => self.options[options as usize].serializable,
            Ask::Txn(txn) => {
                let txn = self.txns[txn as usize];
                [txn.success, txn.failure].iter().all(|run| {
                    self.asks[run.range()]
                        .iter()
                        .all(|ask| matches!(ask, Ask::Range { .. }) && self.is_local(*ask))
                })
            }
            _ => false,
        }
    }

    /// True for a request to the key space, as opposed to one about the member.
    pub(crate) fn is_kv(ask: Ask) -> bool {
        matches!(
            ask,
            Ask::Put { .. } | Ask::Range { .. } | Ask::Delete { .. } | Ask::Txn(_)
        )
    }

    /// True for a request whose answer has a place in the order of revisions: one to the key space, or the grant
    /// and the revocation of a lease, which are applied like one.
    pub(crate) fn is_ordered(ask: Ask) -> bool {
        Self::is_kv(ask) || matches!(ask, Ask::LeaseGrant { .. } | Ask::LeaseRevoke { .. })
    }

    /// Whether `span` holds every key.
    pub(crate) fn is_everything(&self, span: Span) -> bool {
        span.end != NONE
            && self.keys.get(span.end) == b"\0"
            && self.keys.get(span.key) <= &b"\0"[..]
    }

    /// Whether `key` lies in `span`.
    pub(crate) fn contains(&self, span: Span, key: Id) -> bool {
        if span.end == NONE {
            return span.key == key;
        }
        let (first, end, key) = (
            self.keys.get(span.key),
            self.keys.get(span.end),
            self.keys.get(key),
        );
        first <= key && (end == b"\0" || key < end)
    }
}
