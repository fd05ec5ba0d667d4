//! Mutations of watch streams and of leases.

use std::collections::{BTreeMap, BTreeSet};

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::{
    mutation::{Mutation, Places, deletes, events, message_of, pick, revision},
    story::{Entry, Story, Value},
};
use crate::{
    blob::Blob,
    etcd::vocabulary::{EventKind, Header, WatchEvent, WatchMessage, WatchRequest},
    history::{Kind, Limits, NEMESIS},
};

/// A value that no client of a generated history writes.
const NOBODY: &str = "nobody";

/// Spoils `spoilt`; `None` where it has no fitting place.
pub(super) fn apply(
    mutation: Mutation,
    places: &Places<'_>,
    spoilt: &mut Story,
    rng: &mut ChaCha8Rng,
) -> Option<()> {
    match mutation {
        Mutation::EarlyBookmark => early_bookmark(places, spoilt, rng),
        Mutation::ForeignEvent => foreign_event(places, spoilt, rng),
        Mutation::WrongPrevKv => wrong_prev(places, spoilt, rng),
        Mutation::WrongCreateFlag => wrong_flag(places, spoilt, rng),
        Mutation::ResumedAfterCompaction => resumed(places, spoilt, rng),
        Mutation::FutureEvent => future_event(places, spoilt, rng),
        Mutation::EarlyExpiry => early_expiry(places, spoilt, rng),
        Mutation::SilentWatch => silent_watch(places, spoilt, rng),
        Mutation::DroppedBookmarks => dropped_bookmarks(places, spoilt, rng),
        _ => None,
    }
}

fn event_mut(story: &mut Story, line: usize, event: usize) -> Option<&mut WatchEvent> {
    match &mut story.entries[line].value {
        Value::Message(message) => message.events.get_mut(event),
        _ => None,
    }
}

fn early_bookmark(places: &Places<'_>, spoilt: &mut Story, rng: &mut ChaCha8Rng) -> Option<()> {
    let (line, event) = pick(rng, &places.events())?;
    let revision = events(&places.entries[line])[event].kv.mod_revision;
    let mut mark = message_of(&places.entries[line], Vec::new());
    mark.f = "watch_progress";
    if let Value::Message(message) = &mut mark.value {
        message.header.revision = revision;
    }
    spoilt.entries.insert(line, mark);
    Some(())
}

fn foreign_event(places: &Places<'_>, spoilt: &mut Story, rng: &mut ChaCha8Rng) -> Option<()> {
    let mut lines = places.events();
    lines.retain(|(line, _)| !places.is_whole(&places.entries[*line].process));
    let (line, _) = pick(rng, &lines)?;
    let mut event = events(&places.entries[line]).last()?.clone();
    event.kv.key = "zzz".into();
    event.prev_kv = None;
    if let Value::Message(message) = &mut spoilt.entries[line].value {
        message.events.push(event);
    }
    Some(())
}

fn wrong_prev(places: &Places<'_>, spoilt: &mut Story, rng: &mut ChaCha8Rng) -> Option<()> {
    let mut found = places.events();
    found.retain(|(line, event)| events(&places.entries[*line])[*event].prev_kv.is_some());
    let (line, event) = pick(rng, &found)?;
    let event = event_mut(spoilt, line, event)?;
    event.prev_kv.as_mut()?.value = NOBODY.into();
    Some(())
}

fn wrong_flag(places: &Places<'_>, spoilt: &mut Story, rng: &mut ChaCha8Rng) -> Option<()> {
    let mut found = places.events();
    found.retain(|(line, event)| {
        let event = &events(&places.entries[*line])[*event];
        event.r#type == EventKind::Put && event.kv.mod_revision > 2
    });
    let (line, event) = pick(rng, &found)?;
    let pair = &mut event_mut(spoilt, line, event)?.kv;
    if pair.version == 1 {
        (pair.create_revision, pair.version) = (pair.mod_revision - 1, 2);
    } else {
        (pair.create_revision, pair.version) = (pair.mod_revision, 1);
    }
    Some(())
}

/// A watch of every key on `node`, opened behind the last line.
fn open(places: &Places<'_>, node: usize, start_revision: i64, created: i64) -> Option<[Entry; 2]> {
    let last = places.entries.last()?;
    let ask = WatchRequest {
        key: "\0".into(),
        range_end: "\0".into(),
        start_revision,
        ..WatchRequest::default()
    };
    let header = Header {
        revision: created,
        ..Header::default()
    };
    let invoke = Entry {
        kind: Kind::Invoke,
        process: "late".into(),
        f: "watch",
        value: Value::Watch(ask),
        node,
        time: last.time + 1_000,
        error: None,
    };
    let ok = Entry {
        kind: Kind::Ok,
        value: Value::Message(WatchMessage {
            header,
            events: Vec::new(),
        }),
        time: last.time + 2_000,
        ..invoke.clone()
    };
    Some([invoke, ok])
}

fn deliver(places: &Places<'_>, spoilt: &mut Story, watch: [Entry; 2], event: WatchEvent) {
    let [invoke, ok] = watch;
    let time = ok.time + 1_000;
    let header = Header {
        revision: event.kv.mod_revision,
        ..Header::default()
    };
    let message = Entry {
        f: "watch_event",
        value: Value::Message(WatchMessage {
            header,
            events: vec![event],
        }),
        time,
        ..ok.clone()
    };
    debug_assert!(places.entries.len() <= spoilt.entries.len());
    spoilt.entries.extend([invoke, ok, message]);
}

/// An event without its previous pair, as a watch that did not ask for it has it.
fn plain(event: &WatchEvent) -> WatchEvent {
    WatchEvent {
        prev_kv: None,
        ..event.clone()
    }
}

fn resumed(places: &Places<'_>, spoilt: &mut Story, rng: &mut ChaCha8Rng) -> Option<()> {
    let compactions = places
        .entries
        .iter()
        .filter_map(|entry| match &entry.value {
            Value::Compact(ask) => Some((ask.revision, entry.node)),
            _ => None,
        });
    let (compacted, node) = compactions.max()?;
    let last = |(line, event): &(usize, usize)| {
        let event = &events(&places.entries[*line])[*event];
        event.kv.mod_revision >= compacted
    };
    let found: Vec<(usize, usize)> = places.events().into_iter().filter(last).collect();
    let (line, event) = pick(rng, &found)?;
    let event = plain(&events(&places.entries[line])[event]);
    let start = rng.random_range(1..compacted);
    let watch = open(places, node, start, event.kv.mod_revision)?;
    deliver(places, spoilt, watch, event);
    Some(())
}

fn future_event(places: &Places<'_>, spoilt: &mut Story, rng: &mut ChaCha8Rng) -> Option<()> {
    let (line, event) = pick(rng, &places.events())?;
    let node = places.entries[line].node;
    let event = plain(&events(&places.entries[line])[event]);
    let created = event.kv.mod_revision;
    let watch = open(places, node, created + rng.random_range(1..20), created)?;
    deliver(places, spoilt, watch, event);
    Some(())
}

/// Leases that certainly expired: a key was put under them, then a watch of every key saw it go, and nobody asked
/// for that.
fn expired(places: &Places<'_>) -> Vec<i64> {
    let revoked: BTreeSet<i64> = places
        .entries
        .iter()
        .filter(|entry| entry.f == "lease_revoke")
        .filter_map(|entry| match &entry.value {
            Value::Lease(ask) => Some(ask.id),
            _ => None,
        })
        .collect();
    let owned: BTreeSet<i64> = places
        .acks
        .iter()
        .map(|ack| revision(&places.entries[ack.1]))
        .collect();
    let answered: BTreeSet<usize> = places.acks.iter().map(|ack| ack.0).collect();
    let may_delete = |key: &Blob| {
        places
            .entries
            .iter()
            .enumerate()
            .any(|(line, entry)| match &entry.value {
                Value::Request(request) => !answered.contains(&line) && deletes(request, key),
                _ => false,
            })
    };
    let mut leases: BTreeMap<(&str, &Blob), i64> = BTreeMap::new();
    let mut found = BTreeSet::new();
    for (line, event) in places.events() {
        let entry = &places.entries[line];
        if !places.is_whole(&entry.process) {
            continue;
        }
        let event = &events(entry)[event];
        let place = (entry.process.as_str(), &event.kv.key);
        if event.r#type == EventKind::Put {
            leases.insert(place, event.kv.lease);
            continue;
        }
        let lease = leases.remove(&place).unwrap_or(0);
        let is_free = !owned.contains(&event.kv.mod_revision) && !revoked.contains(&lease);
        if lease != 0 && is_free && !found.contains(&lease) && !may_delete(&event.kv.key) {
            found.insert(lease);
        }
    }
    found.into_iter().collect()
}

fn early_expiry(places: &Places<'_>, spoilt: &mut Story, rng: &mut ChaCha8Rng) -> Option<()> {
    let mut granted = expired(places);
    granted.retain(|lease| {
        places.entries.iter().any(|entry| {
            entry.kind == Kind::Ok
                && matches!(&entry.value, Value::LeaseGranted(answer) if answer.id == *lease)
        })
    });
    let lease = pick(rng, &granted)?;
    for entry in &mut spoilt.entries {
        if let Value::LeaseGranted(answer) = &mut entry.value
            && answer.id == lease
        {
            answer.ttl = 1_000_000;
        }
    }
    Some(())
}

/// The streams of every key that are open in the end, each with its lines.
fn open_streams(places: &Places<'_>) -> Vec<(String, Vec<usize>)> {
    let mut lines: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (line, entry) in places.entries.iter().enumerate() {
        if entry.f.starts_with("watch") {
            lines.entry(&entry.process).or_default().push(line);
        }
    }
    let is_open = |(process, lines): &(&str, Vec<usize>)| {
        let kind = lines.last().map(|line| places.entries[*line].kind);
        places.is_whole(process) && kind == Some(Kind::Ok)
    };
    let open = lines.into_iter().filter(is_open);
    open.map(|(process, lines)| (process.to_owned(), lines))
        .collect()
}

fn drop_lines(spoilt: &mut Story, lines: &[usize]) {
    let mut line = 0;
    spoilt.entries.retain(|_| {
        line += 1;
        !lines.contains(&(line - 1))
    });
}

fn silent_watch(places: &Places<'_>, spoilt: &mut Story, rng: &mut ChaCha8Rng) -> Option<()> {
    // The members are asked for their status and, a little later, for everything they hold.
    places.entries.iter().rfind(|entry| entry.f == "status")?;
    let mut streams = open_streams(places);
    for (_, lines) in &mut streams {
        let last = lines
            .iter()
            .rposition(|line| !events(&places.entries[*line]).is_empty());
        *lines = last.map_or(Vec::new(), |last| lines[last..].to_vec());
    }
    // That the event happened is vouched for by an acknowledgement, or by what the members hold in the end.
    let acked: BTreeSet<i64> = places
        .acks
        .iter()
        .map(|ack| revision(&places.entries[ack.1]))
        .collect();
    let is_owed = |line: &usize| {
        let events = events(&places.entries[*line]).iter();
        events
            .rev()
            .take(1)
            .any(|event| acked.contains(&event.kv.mod_revision) && event.r#type == EventKind::Put)
    };
    streams.retain(|(_, lines)| lines.iter().any(is_owed));
    let (_, lines) = pick(rng, &streams)?;
    drop_lines(spoilt, &lines);
    spoilt.limits = Limits {
        watch_lag_ns: Some(50_000),
        ..Limits::default()
    };
    Some(())
}

fn dropped_bookmarks(places: &Places<'_>, spoilt: &mut Story, rng: &mut ChaCha8Rng) -> Option<()> {
    if places.entries.iter().any(|entry| entry.process == NEMESIS) {
        return None;
    }
    let end = places.entries.last()?.time;
    let streams = open_streams(places);
    let longest = |lines: &[usize]| {
        let times = lines
            .iter()
            .map(|line| places.entries[*line].time)
            .chain([end]);
        let times: Vec<u64> = times.collect();
        times
            .windows(2)
            .map(|pair| pair[1] - pair[0])
            .max()
            .unwrap_or(0)
    };
    let bound = streams.iter().map(|(_, lines)| longest(lines)).max()?;
    let all = |lines: &[usize]| end - places.entries[lines[1]].time;
    let silent: Vec<_> = streams
        .iter()
        .filter(|(_, lines)| lines.len() > 2 && all(lines) > bound)
        .collect();
    let (_, lines) = pick(rng, &silent)?;
    drop_lines(spoilt, &lines[2..]);
    spoilt.limits = Limits {
        progress_silence_ns: Some(bound),
        ..Limits::default()
    };
    Some(())
}
