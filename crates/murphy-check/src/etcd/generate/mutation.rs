//! A mutation changes one thing in a valid history so that it becomes invalid by construction.
//!
//! Each class argues why no etcd that keeps its promises can have produced the result; a checker that
//! lets one pass is wrong.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{
    story::{Entry, Story, Value},
    streams,
};
use crate::{
    blob::Blob,
    etcd::{
        model::{Request, Response, within},
        vocabulary::{EventKind, RequestOp, WatchEvent},
    },
    history::Kind,
};

/// The ways to spoil a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// A watch of every key does not deliver one event, and delivers later ones. A watch that has shown
    /// a later revision owes every event before it; that the event happened is vouched for by an
    /// acknowledgement.
    DroppedEvent,
    /// Two acknowledged puts, of which the one was answered before the other was asked, swap the
    /// revisions they were answered with. Then the later write has the lower revision, although its
    /// client could have known the higher one.
    SwappedRevisions,
    /// A linearizable read is answered with a state before a write that was acknowledged before the read
    /// was asked: with an older revision, or with the right revision but without a key that it holds.
    StaleRead,
    /// A value that was acknowledged, never overwritten and never deleted is missing from the final
    /// state of every member, and from every watch.
    LostAcknowledgedWrite,
    /// A watch delivers one event twice. An event is delivered to a watch once.
    DuplicatedEvent,
    /// A transaction that changed two keys in one revision is delivered in two messages, or only half of
    /// it is delivered. A revision is delivered whole.
    SplitTransaction,
    /// A bookmark vouches for the events of a message that comes behind it.
    EarlyBookmark,
    /// A watch of some keys delivers an event of another.
    ForeignEvent,
    /// The previous pair of an event has a value that nobody ever wrote.
    WrongPrevKv,
    /// A change is marked as the creation of its key, or a creation as a change.
    WrongCreateFlag,
    /// A watch from below the compact revision, opened on the member that acknowledged the compaction, delivers
    /// what comes behind instead of being cancelled.
    ResumedAfterCompaction,
    /// A watch from a revision to come delivers one from before its start.
    FutureEvent,
    /// A lease that expired had been granted for longer than the history lasts, and nobody revoked it.
    EarlyExpiry,
    /// A watch of a member at rest does not deliver its last events in a quiet time longer than the bound in the
    /// header.
    SilentWatch,
    /// A watch that asked for bookmarks says nothing for longer than the bound in the header, which all others keep.
    DroppedBookmarks,
}

/// All classes.
pub const MUTATIONS: [Mutation; 15] = [
    Mutation::DroppedEvent,
    Mutation::SwappedRevisions,
    Mutation::StaleRead,
    Mutation::LostAcknowledgedWrite,
    Mutation::DuplicatedEvent,
    Mutation::SplitTransaction,
    Mutation::EarlyBookmark,
    Mutation::ForeignEvent,
    Mutation::WrongPrevKv,
    Mutation::WrongCreateFlag,
    Mutation::ResumedAfterCompaction,
    Mutation::FutureEvent,
    Mutation::EarlyExpiry,
    Mutation::SilentWatch,
    Mutation::DroppedBookmarks,
];

impl Mutation {
    /// The promise that is broken by it, where it is always the same one.
    pub fn promise(self) -> Option<&'static str> {
        Some(match self {
            Self::DuplicatedEvent => "watch.unique",
            Self::EarlyBookmark => "watch.bookmarkable",
            Self::ForeignEvent => "watch.filter",
            Self::WrongPrevKv => "watch.prev-kv",
            Self::WrongCreateFlag => "watch.is-create",
            Self::ResumedAfterCompaction => "watch.cancel-reason",
            Self::FutureEvent => "watch.future",
            Self::EarlyExpiry => "lease.expiry",
            Self::SilentWatch => "watch.live",
            Self::DroppedBookmarks => "watch.progress",
            Self::DroppedEvent
            | Self::SwappedRevisions
            | Self::StaleRead
            | Self::LostAcknowledgedWrite
            | Self::SplitTransaction => return None,
        })
    }

    /// Spoils a copy of `story` at a place drawn from `seed`; `None` where it has no fitting place.
    pub fn apply(self, story: &Story, seed: u64) -> Option<Story> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut spoilt = story.clone();
        let places = Places {
            entries: &story.entries,
            acks: acknowledged(&story.entries),
        };
        match self {
            Self::DroppedEvent => {
                let (line, event) = pick(&mut rng, &places.owed_events())?;
                drop_event(&mut spoilt.entries, line, event);
            }
            Self::SwappedRevisions => {
                let (a, b) = pick(&mut rng, &places.successive_puts())?;
                let (first, second) = (revision(&spoilt.entries[a]), revision(&spoilt.entries[b]));
                set_revision(&mut spoilt.entries[a], second);
                set_revision(&mut spoilt.entries[b], first);
            }
            Self::StaleRead => {
                let is_old = rng.random();
                let (line, revision) = pick(&mut rng, &places.reads(is_old))?;
                make_stale(&mut spoilt.entries[line], is_old, revision);
            }
            Self::LostAcknowledgedWrite => {
                let (key, value) = pick(&mut rng, &places.final_writes())?;
                lose(&mut spoilt.entries, &key, &value);
            }
            Self::DuplicatedEvent => {
                let (line, event) = pick(&mut rng, &places.events())?;
                let again = message_of(
                    &spoilt.entries[line],
                    vec![events(&spoilt.entries[line])[event].clone()],
                );
                let at = pick(&mut rng, &places.later_in_stream(line))?;
                spoilt.entries.insert(at + 1, again);
            }
            Self::SplitTransaction => {
                let (line, event) = pick(&mut rng, &places.split_points())?;
                split(&mut spoilt.entries, line, event);
            }
            other => streams::apply(other, &places, &mut spoilt, &mut rng)?,
        }
        Some(spoilt)
    }
}

pub(super) fn pick<T: Clone>(rng: &mut ChaCha8Rng, places: &[T]) -> Option<T> {
    if places.is_empty() {
        return None;
    }
    places.get(rng.random_range(0..places.len())).cloned()
}

pub(super) fn events(entry: &Entry) -> &[WatchEvent] {
    match &entry.value {
        Value::Message(message) if entry.f == "watch_event" => &message.events,
        _ => &[],
    }
}

pub(super) fn message_of(like: &Entry, events: Vec<WatchEvent>) -> Entry {
    let mut entry = like.clone();
    if let Value::Message(message) = &mut entry.value {
        message.events = events;
    }
    entry
}

pub(super) fn revision(entry: &Entry) -> i64 {
    match &entry.value {
        Value::Response(response) if entry.kind == Kind::Ok => response.revision(),
        _ => 0,
    }
}

fn set_revision(entry: &mut Entry, revision: i64) {
    if let Value::Response(response) = &mut entry.value {
        response.header_mut().revision = revision;
    }
}

fn drop_event(entries: &mut Vec<Entry>, line: usize, event: usize) {
    if let Value::Message(message) = &mut entries[line].value {
        message.events.remove(event);
        if message.events.is_empty() {
            entries.remove(line);
        }
    }
}

fn make_stale(entry: &mut Entry, is_old: bool, revision: i64) {
    let Value::Response(Response::Range(answer)) = &mut entry.value else {
        return;
    };
    if is_old {
        answer.header.revision = revision - 1;
    } else {
        answer.kvs.clear();
        answer.count = 0;
    }
}

fn lose(entries: &mut Vec<Entry>, key: &Blob, value: &Blob) {
    for entry in entries.iter_mut() {
        match &mut entry.value {
            Value::Response(Response::Range(answer)) if entry.process == "judge" => {
                answer.kvs.retain(|pair| pair.key != *key);
                answer.count = i64::try_from(answer.kvs.len()).unwrap_or(0);
            }
            Value::Message(message) => {
                message
                    .events
                    .retain(|event| event.kv.key != *key || event.kv.value != *value);
            }
            _ => {}
        }
    }
    entries.retain(|entry| entry.f != "watch_event" || !events(entry).is_empty());
}

/// Either half arrives later in a message of its own, or not at all.
fn split(entries: &mut Vec<Entry>, line: usize, event: usize) {
    let half = events(&entries[line])[event..].to_vec();
    let rest = message_of(&entries[line], half);
    if let Value::Message(message) = &mut entries[line].value {
        message.events.truncate(event);
    }
    entries.insert(line + 1, rest);
}

/// An acknowledged request: line of the invocation, line of the answer.
pub(super) type Ack = (usize, usize);

fn acknowledged(entries: &[Entry]) -> Vec<Ack> {
    let mut open: rustc_hash::FxHashMap<&str, usize> = rustc_hash::FxHashMap::default();
    let mut acks = Vec::new();
    for (line, entry) in entries.iter().enumerate() {
        match (&entry.value, entry.kind) {
            (Value::Request(_), Kind::Invoke) => drop(open.insert(&entry.process, line)),
            (Value::Response(_), Kind::Ok) => acks.extend(
                open.remove(entry.process.as_str())
                    .map(|asked| (asked, line)),
            ),
            _ => {}
        }
    }
    acks
}

pub(super) struct Places<'a> {
    pub(super) entries: &'a [Entry],
    pub(super) acks: Vec<Ack>,
}

impl Places<'_> {
    fn request(&self, ack: &Ack) -> Option<&Request> {
        match &self.entries[ack.0].value {
            Value::Request(request) => Some(request),
            _ => None,
        }
    }

    fn puts(&self) -> impl Iterator<Item = &Ack> {
        self.acks
            .iter()
            .filter(|ack| matches!(self.request(ack), Some(Request::Put(_))))
    }

    pub(super) fn events(&self) -> Vec<(usize, usize)> {
        let of_line = |(line, entry): (usize, &Entry)| {
            (0..events(entry).len())
                .map(move |event| (line, event))
                .collect::<Vec<_>>()
        };
        self.entries.iter().enumerate().flat_map(of_line).collect()
    }

    pub(super) fn is_whole(&self, process: &str) -> bool {
        self.entries.iter().any(|entry| {
            entry.process == process
                && matches!(&entry.value, Value::Watch(ask) if ask.range_end == Blob::from("\0"))
        })
    }

    /// Events of acknowledged puts in watches of every key that later show a higher revision.
    fn owed_events(&self) -> Vec<(usize, usize)> {
        let acked: rustc_hash::FxHashSet<i64> = self
            .puts()
            .map(|ack| revision(&self.entries[ack.1]))
            .collect();
        let mut last: rustc_hash::FxHashMap<&str, i64> = rustc_hash::FxHashMap::default();
        for entry in self.entries {
            if let Some(event) = events(entry).last() {
                last.insert(&entry.process, event.kv.mod_revision);
            }
        }
        last.retain(|process, _| self.is_whole(process));
        let is_owed = |(line, event): &(usize, usize)| {
            let entry = &self.entries[*line];
            let at = events(entry)[*event].kv.mod_revision;
            acked.contains(&at)
                && last
                    .get(entry.process.as_str())
                    .is_some_and(|last| *last > at)
        };
        self.events().into_iter().filter(is_owed).collect()
    }

    fn successive_puts(&self) -> Vec<(usize, usize)> {
        let puts: Vec<&Ack> = self.puts().collect();
        let mut found = Vec::new();
        for (place, a) in puts.iter().enumerate() {
            let later = puts[place..]
                .iter()
                .find(|b| self.entries[b.0].time > self.entries[a.1].time);
            found.extend(later.map(|b| (a.1, b.1)));
        }
        found
    }

    /// Linearizable reads of one key, with the revision of a write acknowledged before they were asked.
    fn reads(&self, is_old: bool) -> Vec<(usize, i64)> {
        let mut found = Vec::new();
        for (asked, answered) in &self.acks {
            let Some(Request::Range(ask)) = self.request(&(*asked, *answered)) else {
                continue;
            };
            let Value::Response(Response::Range(answer)) = &self.entries[*answered].value else {
                continue;
            };
            if ask.serializable || ask.revision > 0 || ask.count_only || !ask.range_end.is_empty() {
                continue;
            }
            let began = self.entries[*asked].time;
            let before = self
                .puts()
                .filter(|put| self.entries[put.1].time < began)
                .map(|put| revision(&self.entries[put.1]))
                .max();
            match before {
                Some(revision) if is_old => found.push((*answered, revision)),
                _ if !is_old && !answer.kvs.is_empty() => found.push((*answered, 0)),
                _ => {}
            }
        }
        found
    }

    /// Puts whose value every dump shows, of keys that no unknown request can have deleted.
    fn final_writes(&self) -> Vec<(Blob, Blob)> {
        let dumps =
            |entry: &&Entry| entry.process == "judge" && matches!(entry.value, Value::Response(_));
        let shown = |key: &Blob, value: &Blob| {
            let mut seen = self.entries.iter().filter(dumps).peekable();
            seen.peek().is_some()
                && seen.all(|entry| match &entry.value {
                    Value::Response(Response::Range(dump)) => dump
                        .kvs
                        .iter()
                        .any(|pair| pair.key == *key && pair.value == *value),
                    _ => true,
                })
        };
        let answered: rustc_hash::FxHashSet<usize> = self.acks.iter().map(|ack| ack.0).collect();
        let unknown_delete = |key: &Blob| {
            self.entries
                .iter()
                .enumerate()
                .any(|(line, entry)| match &entry.value {
                    Value::Request(request) => !answered.contains(&line) && deletes(request, key),
                    _ => false,
                })
        };
        let written = self.puts().filter_map(|ack| match self.request(ack) {
            Some(Request::Put(put)) => {
                Some((put.key.clone(), put.value.clone(), self.entries[ack.0].time))
            }
            _ => None,
        });
        let is_lasting = |(key, value, asked): &(Blob, Blob, u64)| {
            let deleted_after = self.acks.iter().any(|ack| {
                self.entries[ack.1].time >= *asked
                    && self
                        .request(ack)
                        .is_some_and(|request| deletes(request, key))
            });
            !deleted_after && shown(key, value) && !unknown_delete(key)
        };
        written
            .filter(is_lasting)
            .map(|(key, value, _)| (key, value))
            .collect()
    }

    fn later_in_stream(&self, line: usize) -> Vec<usize> {
        let process = &self.entries[line].process;
        let same = |at: &usize| {
            self.entries[*at].process == *process && self.entries[*at].f == "watch_event"
        };
        (line..self.entries.len()).filter(same).collect()
    }

    /// Second events of a revision.
    fn split_points(&self) -> Vec<(usize, usize)> {
        let is_inner = |(line, event): &(usize, usize)| {
            let events = events(&self.entries[*line]);
            *event > 0
                && events[event - 1].kv.mod_revision == events[*event].kv.mod_revision
                && events[*event].r#type == EventKind::Put
        };
        self.events().into_iter().filter(is_inner).collect()
    }
}

pub(super) fn deletes(request: &Request, key: &Blob) -> bool {
    let in_op = |op: &RequestOp| match op {
        RequestOp::RequestDeleteRange(ask) => within(key, &ask.key, &ask.range_end),
        RequestOp::RequestTxn(ask) => deletes(&Request::Txn(ask.clone()), key),
        _ => false,
    };
    match request {
        Request::DeleteRange(ask) => within(key, &ask.key, &ask.range_end),
        Request::Txn(ask) => ask.success.iter().chain(&ask.failure).any(in_op),
        _ => false,
    }
}
