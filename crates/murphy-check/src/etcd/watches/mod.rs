//! Promises of the watch: `watch.ordered` (revisions never go back, a revision is never split, nothing
//! comes behind its bookmark), `watch.unique` (no event twice) and `watch.reliable` (every event from
//! the start to the last that was seen, as the replay has it).

mod delivery;
mod order;

use delivery::Reader;
use order::Follower;

use rustc_hash::{FxHashMap, FxHashSet};

use super::{
    linear::source_of,
    record::{Record, Stream},
    sighting::Fact,
    store::View,
    sweep::{Sweep, Truth},
    trouble::Trouble,
    words::{Words, seconds},
};
use crate::intern::{Id, NONE};

/// The first trouble of each promise, and how much was looked at.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    pub ordered: Option<Trouble>,
    pub unique: Option<Trouble>,
    pub reliable: Option<Trouble>,
    pub events: u64,
    pub streams: u64,
    /// Streams that delivered events from the revision on at which the members part.
    pub cut_off: u64,
}

/// Follows every stream. `stray` are the pairs no truth knows; `parts_at` is where truth ends.
pub(crate) fn follow(
    words: &Words<'_>,
    truth: &Truth,
    sweep: &Sweep,
    stray: &FxHashSet<Id>,
    parts_at: Option<i64>,
) -> Watches {
    let mut watches = Watches::default();
    for (number, stream) in words.record.streams.iter().enumerate() {
        watches.streams += 1;
        watches.events += stream.events.len() as u64;
        Follower {
            words,
            number,
            stream,
        }
        .order(&mut watches);
        if sweep.begins_at.is_some() {
            continue;
        }
        let mut reader = Reader {
            follower: Follower {
                words,
                number,
                stream,
            },
            truth,
            open: &sweep.open,
            stray,
            end: parts_at.unwrap_or(i64::MAX),
            ranks: truth.order.ranks(stream.span),
            is_whole: words.record.is_everything(stream.span),
            at: 0,
        };
        if let Some(trouble) = reader.read() {
            keep_first(&mut watches.reliable, trouble);
        }
        watches.cut_off += u64::from(reader.follower.last_seen() >= reader.end);
    }
    watches
}

fn keep_first(kept: &mut Option<Trouble>, trouble: Trouble) {
    if kept
        .as_ref()
        .is_none_or(|known| trouble.revision < known.revision)
    {
        *kept = Some(trouble);
    }
}

/// Nodes with a watch of every key that has seen past `revision`.
pub(crate) fn covering(record: &Record, words: &Words<'_>, revision: i64) -> Vec<usize> {
    let covers = |(number, stream): &(usize, &Stream)| {
        record.is_everything(stream.span)
            && stream
                .first_revision()
                .is_some_and(|first| first <= revision)
            && Follower {
                words,
                number: *number,
                stream,
            }
            .last_seen()
                >= revision
    };
    record
        .streams
        .iter()
        .enumerate()
        .filter(covers)
        .map(|(number, _)| number)
        .collect()
}
