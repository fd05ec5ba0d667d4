//! What a watch delivers too late: events owed by a quiet member, and bookmarks that were asked for.

use super::{Fact, Findings, Follower, Rule, Trouble, delivery::Reader, seconds};
use crate::etcd::record::{Answer, Ask, Record};

/// How long a quiet member may take where the history states no bound. etcd's page "etcd API guarantees" speaks of
/// 10 ms in a correctly working cluster.
const WATCH_LAG_NS: u64 = 1_000_000_000;

/// A time in which nobody writes, no fault acts, and a member answers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quiet {
    node: u16,
    /// The status with which it begins, its time and the member's revision.
    status: u32,
    begin: u64,
    revision: i64,
    /// The next write, the next fault, or the end of the history.
    end: u64,
    /// The last answer of the member in that time, which shows that it serves.
    answer: Option<u32>,
}

/// The quiet phases: each begins with a status of which the recorder says that the member had come to rest.
pub(super) fn quiet_phases(record: &Record) -> Vec<Quiet> {
    let mut phases: Vec<Quiet> = Vec::new();
    for (id, op) in (0..).zip(&record.ops) {
        let (Ask::Status { quiet: true }, Some(Answer::Status { .. })) =
            (record.ask(op), record.answer(op))
        else {
            continue;
        };
        phases.push(Quiet {
            node: op.node,
            status: id,
            begin: op.end,
            revision: op.revision,
            end: record.ended_at,
            answer: None,
        });
    }
    if phases.is_empty() {
        return phases;
    }
    for phase in &mut phases {
        let writes = record
            .ops
            .iter()
            .filter(|op| op.call > phase.begin && record.may_write(op));
        let writes = writes.map(|op| op.call);
        let faults = record.faults.iter().filter(|fault| fault.end > phase.begin);
        let faults = faults.map(|fault| fault.begin.max(phase.begin));
        phase.end = writes
            .chain(faults)
            .min()
            .unwrap_or(u64::MAX)
            .min(phase.end);
        let answers = (0..).zip(&record.ops).filter(|(_, op)| {
            op.node == phase.node
                && op.call >= phase.begin
                && op.end <= phase.end
                && record.answer(op).is_some()
        });
        phase.answer = answers.max_by_key(|(_, op)| op.end).map(|(id, _)| id);
    }
    // What goes on is judged when it is over.
    phases.retain(|phase| !record.is_partial || phase.end < record.ended_at);
    phases
}

/// The bound of the history on what a quiet member owes.
pub(crate) fn watch_lag_ns(record: &Record) -> u64 {
    record.header.limits.watch_lag_ns.unwrap_or(WATCH_LAG_NS)
}

impl Reader<'_> {
    /// Whether the stream has delivered in the end of a quiet phase what the member had in its begin.
    pub(super) fn live(&mut self, phases: &[Quiet]) {
        let Follower {
            words,
            stream,
            number,
            ..
        } = self.follower;
        let Some(first) = stream.first_known(&words.record.past) else {
            return;
        };
        for phase in phases {
            let Some((_, created, _)) = stream.created else {
                return;
            };
            if phase.node != stream.node || created > phase.end {
                continue;
            }
            let begin = phase.begin.max(created);
            let end = stream.end.map_or(phase.end, |end| end.time.min(phase.end));
            let Some(answer) = phase.answer.filter(|_| begin <= end) else {
                continue;
            };
            let last = phase.revision.min(self.end - 1);
            let Some((revision, ours)) = self.owed_by(first, last, end) else {
                self.found.judged(Rule::Live, 1);
                continue;
            };
            let bound = watch_lag_ns(words.record);
            if end - begin < bound {
                let node = words.node(stream.node);
                self.found.open(Rule::Live, || {
                    format!(
                        "revision {revision} is still owed by a watch of {node}, and it was quiet for {} only",
                        seconds(end - begin)
                    )
                });
                continue;
            }
            self.found.judged(Rule::Live, 1);
            let then = format!(
                ", although {} was quiet from {} to {} and answered",
                words.node(stream.node),
                seconds(begin),
                seconds(end)
            );
            let mut trouble = self.undelivered(revision, Some(ours), &then);
            trouble.reason = format!(
                "a watch of {} still owes revision {revision} after {} of quiet",
                words.node(stream.node),
                seconds(end - begin)
            );
            trouble.facts.extend([
                (Fact::Op(phase.status), true),
                (Fact::Op(answer), false),
                (Fact::Silence(number, begin, end), true),
            ]);
            self.found.keep(Rule::Live, trouble);
        }
    }

    /// The first event from `first` to `last` behind everything delivered by `end`.
    fn owed_by(&self, first: i64, last: i64, end: u64) -> Option<(i64, u32)> {
        let Follower { words, stream, .. } = self.follower;
        let delivered = stream
            .messages
            .partition_point(|message| message.time <= end);
        let count = stream
            .messages
            .get(delivered)
            .map_or(stream.events.len(), |m| m.first as usize);
        let newest = stream.events[..count]
            .iter()
            .map(|id| words.pairs.get(*id).mod_revision);
        let from = newest.max().map_or(first, |newest| first.max(newest + 1));
        let log = &self.truth.store.log;
        let at = log.partition_point(|id| words.pairs.get(*id).mod_revision < from);
        log[at..]
            .iter()
            .map(|id| (words.pairs.get(*id), *id))
            .take_while(|(pair, _)| pair.mod_revision <= last)
            .find(|(pair, id)| self.follower.is_owed(pair.key) && self.truth.is_sure(words, *id))
            .map(|(pair, id)| (pair.mod_revision, id))
    }
}

impl Follower<'_> {
    /// Whether a watch that asked for bookmarks says something often enough.
    pub(super) fn progress(&self, found: &mut Findings) {
        let (words, stream) = (self.words, self.stream);
        let Some((_, created, _)) = stream.created else {
            return;
        };
        let asked = stream.progress_notify || !stream.requests.is_empty();
        let Some(bound) = words
            .record
            .header
            .limits
            .progress_silence_ns
            .filter(|_| asked)
        else {
            return;
        };
        found.judged(Rule::Progress, 1);
        let settled = stream.settled.map_or(created, |(_, time)| time);
        let mut words_at: Vec<u64> = vec![settled];
        words_at.extend(stream.messages.iter().map(|message| message.time));
        words_at.extend(stream.progress.iter().map(|mark| mark.time));
        // What came before was judged when it was settled.
        words_at.retain(|time| *time >= settled);
        words_at.sort_unstable();
        match stream.end {
            Some(end) => words_at.push(end.time),
            None if words.record.is_partial => {}
            None => words_at.push(words.record.ended_at),
        }
        let gap = words_at.windows(2).find_map(|pair| {
            let (from, to) = (self.owed_from(pair[0], pair[1])?, pair[1]);
            let is_silent = to.saturating_sub(from) > bound;
            (is_silent && !self.is_disturbed(from, to)).then_some((from, to))
        });
        let Some((from, to)) = gap else {
            return;
        };
        let trouble = Trouble {
            revision: stream.last_seen(words.pairs),
            reason: format!(
                "a watch of {} kept silent for {}",
                words.node(stream.node),
                seconds(to - from)
            ),
            sentence: format!(
                "{} asked for bookmarks and said nothing from {} to {}, longer than the {} the history allows.",
                self.name(),
                seconds(from),
                seconds(to),
                seconds(bound)
            ),
            facts: vec![
                (Fact::Watch(self.number), false),
                (Fact::Silence(self.number, from, to), true),
            ],
            members: Vec::new(),
        };
        found.keep(Rule::Progress, trouble);
    }

    /// From when on a word is owed in a silence: all the time, or from the first request in it.
    fn owed_from(&self, from: u64, to: u64) -> Option<u64> {
        if self.stream.progress_notify {
            return Some(from);
        }
        self.stream
            .requests
            .iter()
            .copied()
            .find(|asked| (from..to).contains(asked))
    }

    fn is_disturbed(&self, from: u64, to: u64) -> bool {
        let faults = &self.words.record.faults;
        faults
            .iter()
            .any(|fault| fault.begin <= to && fault.end >= from)
    }
}
