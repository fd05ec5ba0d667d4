//! A cut parts what is settled from what is not.

use rustc_hash::{FxHashMap, FxHashSet};

use super::Limits;
use crate::{
    etcd::{
        check::Examination,
        record::{Answer, Ask, Op, Outcome, Record, Stream},
        sighting::last_dumps,
        store::View as _,
        timeline::{each_put, revision_of},
    },
    intern::{Id, NONE, next_id},
};

/// What is kept behind a cut, and what was before it.
#[derive(Debug)]
pub(super) struct Cut {
    pub floor: i64,
    pub base: i64,
    /// The pairs at the floor, and the events from there to the base.
    pub heads: Vec<Id>,
    pub log: Vec<Id>,
    /// For each operation whether it is kept.
    pub keeps: Vec<bool>,
    /// The lines that are kept, in order.
    pub lines: Vec<u32>,
    pub carried: Vec<Carried>,
    /// Streams that have ended, and events, that are settled.
    pub streams: u64,
    pub events: u64,
    /// Operations of unknown outcome that are forgotten though they may still act.
    pub forgotten: u64,
    /// How many grants are kept.
    pub leases: usize,
    /// Whether some watch is behind all that is kept.
    pub lags: bool,
}

impl Cut {
    /// The operations of `record` that are kept.
    fn kept<'a>(&'a self, record: &'a Record) -> impl Iterator<Item = &'a Op> {
        self.of(record, true)
    }

    /// Those that are not.
    pub fn settled<'a>(&'a self, record: &'a Record) -> impl Iterator<Item = &'a Op> {
        self.of(record, false)
    }

    fn of<'a>(&'a self, record: &'a Record, kept: bool) -> impl Iterator<Item = &'a Op> {
        let ops = record.ops.iter().zip(&self.keeps);
        ops.filter(move |(_, keeps)| **keeps == kept)
            .map(|(op, _)| op)
    }
}

/// A stream some of whose words are settled.
#[derive(Debug)]
pub(super) struct Carried {
    /// The line that asked for it.
    pub line: u32,
    /// It has delivered everything up to this revision, the last of it at that time.
    pub revision: i64,
    pub time: u64,
    /// Requests for bookmarks since then.
    pub requests: Vec<u64>,
}

/// Parts what `seen` has settled of `record` from the rest.
pub(super) fn cut(record: &Record, seen: &Examination, limits: &Limits) -> Cut {
    let base = base(record, seen);
    let mut cut = Cut {
        floor: 0,
        base,
        heads: Vec::new(),
        log: Vec::new(),
        keeps: vec![false; record.ops.len()],
        lines: Vec::new(),
        carried: Vec::new(),
        streams: 0,
        events: 0,
        forgotten: 0,
        leases: 0,
        lags: false,
    };
    let keeper = Keeper { record, seen, base };
    let needed = keeper.streams(&mut cut);
    let before = |revisions: usize| base.saturating_sub_unsigned(revisions as u64);
    let floor = needed.min(before(limits.margin));
    cut.floor = floor.max(before(limits.revisions)).max(record.past.floor);
    cut.lags = needed < cut.floor;
    keeper.key_space(&mut cut);
    keeper.operations(limits, &mut cut);
    cut.lines.sort_unstable();
    cut.lines.dedup();
    cut
}

/// The newest revision that nothing still open or still to come can touch.
///
/// Whatever is asked later than the *watermark*, the time of the oldest open invocation, comes behind everything
/// linearizable that was answered before it.
fn base(record: &Record, seen: &Examination) -> i64 {
    let open = record.ops.iter().filter(|op| is_open(op));
    let watermark = open.map(|op| op.call).min();
    let watermark = watermark.unwrap_or(u64::MAX).min(record.ended_at);
    let settled = seen.truth.timeline.order.iter().filter(|(_, id)| {
        let op = &record.ops[*id as usize];
        op.end < watermark && !record.is_local(record.ask(op))
    });
    let newest = settled.map(|(place, _)| revision_of(*place)).max();
    let certain = seen.sweep.open.iter().copied().min().unwrap_or(i64::MAX);
    let base = newest.unwrap_or(0).min(certain) - 1;
    base.max(record.past.base)
}

fn is_open(op: &Op) -> bool {
    op.outcome == Outcome::Unknown && op.end_line == 0
}

struct Keeper<'a> {
    record: &'a Record,
    seen: &'a Examination,
    base: i64,
}

impl Keeper<'_> {
    fn operations(&self, limits: &Limits, cut: &mut Cut) {
        let record = self.record;
        let placed = self.seen.sweep.placed.iter();
        let placed: FxHashMap<Id, i64> = placed
            .filter(|(_, revision)| *revision <= self.base)
            .copied()
            .collect();
        let mut unknown = Vec::new();
        for (id, op) in (0..).zip(&record.ops) {
            let ask = record.ask(op);
            let keeps = match op.outcome {
                Outcome::Fail => false,
                Outcome::Unknown if is_open(op) => true,
                Outcome::Unknown => {
                    if record.may_write(op) && !placed.contains_key(&id) {
                        unknown.push(id);
                    }
                    false
                }
                Outcome::Ok => Record::is_ordered(ask) && op.revision > self.base,
            };
            cut.keeps[id as usize] = keeps;
        }
        let forgotten = unknown.len().saturating_sub(limits.unknown);
        cut.forgotten = forgotten as u64;
        for id in &unknown[forgotten..] {
            cut.keeps[*id as usize] = true;
        }
        self.copies(cut);
        self.compaction(cut);
        self.leases(&placed, cut);
        let lines = cut.kept(record).flat_map(|op| [op.line, op.end_line]);
        let lines: Vec<u32> = lines.filter(|line| *line > 0).collect();
        cut.lines.extend(lines);
    }

    /// The last copy, hash and quiet status of each member: other members may still be asked for theirs.
    fn copies(&self, cut: &mut Cut) {
        let record = self.record;
        for dump in last_dumps(record) {
            cut.keeps[dump.op as usize] = true;
        }
        let writes = record.ops.iter().filter(|op| record.may_write(op));
        let last_write = writes.map(|op| op.call).max().unwrap_or(0);
        let last_fault = record.faults.iter().map(|fault| fault.end).max();
        let quiet_since = last_write.max(last_fault.unwrap_or(0));
        let mut hashes: FxHashMap<u16, usize> = FxHashMap::default();
        for (id, op) in record.ops.iter().enumerate() {
            match record.answer(op) {
                Some(Answer::HashKv { .. }) => {
                    hashes.insert(op.node, id);
                }
                Some(Answer::Status { .. }) if op.end > quiet_since => cut.keeps[id] = true,
                _ => {}
            }
        }
        for id in hashes.into_values() {
            cut.keeps[id] = true;
        }
    }

    /// The compaction that took most.
    fn compaction(&self, cut: &mut Cut) {
        let record = self.record;
        let mut greatest = (0, None);
        for (id, op) in record.ops.iter().enumerate() {
            if let (Ask::Compact { revision }, Some(_)) = (record.ask(op), record.answer(op))
                && revision > greatest.0
            {
                greatest = (revision, Some(id));
            }
        }
        if let (_, Some(id)) = greatest {
            cut.keeps[id] = true;
        }
    }

    /// The grants of leases that may be alive, or are spoken of, each with what renewed it for longest.
    fn leases(&self, placed: &FxHashMap<Id, i64>, cut: &mut Cut) {
        let record = self.record;
        if record.leases.len() < 2 {
            return;
        }
        let mut spoken: FxHashSet<u32> = FxHashSet::default();
        for op in cut.kept(record) {
            each_put(record, record.ask(op), &mut |put| {
                spoken.insert(put.lease);
            });
        }
        let store = &self.seen.truth.store;
        let all = (0, next_id(record.keys.len()));
        store.heads(&self.seen.pairs, all, |_, id| {
            spoken.insert(record.known_lease(self.seen.pairs.get(id).lease));
        });
        for id in cut.heads.iter().chain(&cut.log) {
            spoken.insert(record.known_lease(self.seen.pairs.get(*id).lease));
        }
        let mut ended: FxHashMap<u32, u64> = FxHashMap::default();
        for op in &record.ops {
            if let (Ask::LeaseRevoke { lease }, Some(_)) = (record.ask(op), record.answer(op))
                && op.revision <= cut.floor
            {
                let known = ended.entry(lease).or_default();
                *known = (*known).max(op.call);
            }
        }
        // The newest grant of each lease that is kept.
        let mut granted: FxHashMap<u32, u64> = FxHashMap::default();
        let of = |op: &Op| (record.ask(op), op.outcome);
        for (id, op) in record.ops.iter().enumerate() {
            if let (Ask::LeaseGrant { lease }, Outcome::Ok | Outcome::Unknown) = of(op) {
                let expired = placed.get(&next_id(id));
                let is_over = expired.is_some_and(|revision| *revision <= cut.floor)
                    || ended
                        .get(&lease)
                        .is_some_and(|revoked| op.until() < *revoked);
                if !is_over || spoken.contains(&lease) {
                    cut.leases += 1;
                    cut.keeps[id] = true;
                    let newest = granted.entry(lease).or_default();
                    *newest = (*newest).max(op.call);
                }
            }
        }
        let mut renewed: FxHashMap<u32, (u64, usize)> = FxHashMap::default();
        for (id, op) in record.ops.iter().enumerate() {
            match (of(op), record.answer(op)) {
                ((Ask::LeaseRevoke { lease }, Outcome::Ok | Outcome::Unknown), _) => {
                    cut.keeps[id] |= granted.contains_key(&lease);
                }
                ((Ask::LeaseKeepAlive { lease }, _), Some(Answer::LeaseKeepAlive { ttl }))
                    if ttl > 0 && granted.get(&lease).is_some_and(|at| op.call >= *at) =>
                {
                    let ttl = ttl.unsigned_abs().saturating_mul(1_000_000_000);
                    let until = op.call.saturating_add(ttl);
                    let longest = renewed.entry(lease).or_insert((until, id));
                    *longest = (*longest).max((until, id));
                }
                _ => {}
            }
        }
        for (_, id) in renewed.into_values() {
            cut.keeps[id] = true;
        }
    }

    /// Keeps what is not settled of every stream; the oldest revision one of them has come to.
    fn streams(&self, cut: &mut Cut) -> i64 {
        let mut oldest = i64::MAX;
        for stream in &self.record.streams {
            let pairs = &self.seen.pairs;
            if stream.end.is_some() && stream.last_seen(pairs) <= self.base {
                cut.streams += 1;
                cut.events += stream.events.len() as u64;
                continue;
            }
            let come_to = self.stream(stream, cut);
            oldest = oldest.min(come_to.unwrap_or(i64::MAX));
        }
        oldest
    }

    /// Keeps what is not settled of one stream; the revision up to which all of it is.
    fn stream(&self, stream: &Stream, cut: &mut Cut) -> Option<i64> {
        let words = words(stream);
        let newest = |word: &Word| match word.what {
            What::Mark(revision) => revision,
            What::Message(index) => {
                let events = stream.events[stream.events_of(index)].iter();
                let revisions = events.map(|id| self.seen.pairs.get(*id).mod_revision);
                revisions.max().unwrap_or(0)
            }
        };
        let first = stream.first_known(&self.record.past);
        let begun = first.zip(stream.created);
        // Nobody knows yet what a stream owes that was not created.
        let mut settled = begun.map_or(0, |_| words.len().saturating_sub(1));
        settled = words[..settled]
            .iter()
            .position(|word| newest(word) > self.base)
            .unwrap_or(settled);
        // The events of one revision stay together.
        while settled > 0 && newest(&words[settled - 1]) >= self.oldest(stream, &words[settled]) {
            settled -= 1;
        }
        let lines = [Some(stream.line), stream.created.map(|(_, _, line)| line)];
        let lines = lines.into_iter().flatten();
        cut.lines.extend(lines.filter(|line| *line > 0));
        cut.lines
            .extend(words[settled..].iter().map(|word| word.line));
        cut.lines.extend(stream.end.map(|end| end.line));
        let Some((first, (_, created, _))) = begun else {
            return first.map(|first| first - 1);
        };
        let done = &words[..settled];
        for word in done {
            if let What::Message(index) = word.what {
                cut.events += stream.events_of(index).len() as u64;
            }
        }
        let time = done.last().map(|word| word.time);
        let time = time.unwrap_or(stream.settled.map_or(created, |(_, time)| time));
        let delivered = done.iter().map(newest).max().unwrap_or(0).max(first - 1);
        let revision = self.nothing_owed_until(stream, delivered);
        cut.carried.push(Carried {
            line: stream.line,
            revision,
            time,
            requests: (stream.requests.iter().copied())
                .filter(|asked| *asked >= time)
                .collect(),
        });
        Some(revision)
    }

    /// The last revision before the next one of `stream` behind `from`, up to the base.
    fn nothing_owed_until(&self, stream: &Stream, from: i64) -> i64 {
        let (truth, pairs) = (&self.seen.truth, &self.seen.pairs);
        let (first, end) = truth.order.ranks(stream.span);
        let log = &truth.store.log;
        let behind = log.partition_point(|id| pairs.get(*id).mod_revision <= from);
        let next = log[behind..].iter().map(|id| pairs.get(*id)).find(|pair| {
            let rank = truth.order.rank(pair.key);
            pair.mod_revision > self.base || (first <= rank && rank < end)
        });
        let next = next.map_or(i64::MAX, |pair| pair.mod_revision);
        from.max(self.base.min(next.saturating_sub(1)))
    }

    /// The lowest revision in a word.
    fn oldest(&self, stream: &Stream, word: &Word) -> i64 {
        match word.what {
            What::Mark(_) => i64::MAX,
            What::Message(index) => stream.events[stream.events_of(index)]
                .iter()
                .map(|id| self.seen.pairs.get(*id).mod_revision)
                .min()
                .unwrap_or(i64::MAX),
        }
    }

    /// The key space at the floor, and what became of it up to the base.
    fn key_space(&self, cut: &mut Cut) {
        let (store, pairs) = (&self.seen.truth.store, &self.seen.pairs);
        let ranks = 0..next_id(self.record.keys.len());
        let heads = ranks.map(|rank| store.at(pairs, rank, cut.floor));
        cut.heads = heads.filter(|id| *id != NONE).collect();
        cut.heads
            .sort_unstable_by_key(|id| pairs.get(*id).mod_revision);
        let revision_of = |id: &Id| pairs.get(*id).mod_revision;
        let first = store.log.partition_point(|id| revision_of(id) <= cut.floor);
        let end = store.log.partition_point(|id| revision_of(id) <= cut.base);
        cut.log = store.log[first..end.max(first)].to_vec();
    }
}

/// Something that a stream delivered.
struct Word {
    time: u64,
    line: u32,
    what: What,
}

enum What {
    Message(usize),
    Mark(i64),
}

/// Everything that a stream delivered, in order.
fn words(stream: &Stream) -> Vec<Word> {
    let messages = stream
        .messages
        .iter()
        .enumerate()
        .map(|(index, message)| Word {
            time: message.time,
            line: message.line,
            what: What::Message(index),
        });
    let marks = stream.progress.iter().map(|mark| Word {
        time: mark.time,
        line: mark.line,
        what: What::Mark(mark.revision),
    });
    let mut words: Vec<Word> = messages.chain(marks).collect();
    words.sort_unstable_by_key(|word| word.line);
    words
}
