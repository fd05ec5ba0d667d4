//! A watch of a report as a stream of model `etcd`.

use super::{Moment, operations::pair, raw, wire};
use crate::{
    blob::Blob,
    etcd::vocabulary::{
        EventKind, Header, KeyValue, WatchEnd, WatchEvent, WatchMessage, WatchRequest,
    },
    history::Kind,
};

/// The words with which a member refuses to begin where it has compacted.
const COMPACTED: &str = "required revision has been compacted";

/// The events of a watch. A report does not say when it was asked for: no later than the first message.
pub(super) fn moments(watch: &wire::Watch, process: &str) -> Result<Vec<Moment>, Box<str>> {
    let mut moments = Vec::new();
    let mut now = watch.responses.first().map_or(0, |first| first.time);
    moments.push(moment(
        now,
        Kind::Invoke,
        process,
        "watch",
        raw(&request(&watch.request))?,
    ));
    for response in &watch.responses {
        // The recorder's clock is monotonic; a step back would put messages into another order.
        now = now.max(response.time);
        let header = Header {
            revision: response.revision,
            ..Header::default()
        };
        let events = response.events.as_deref().unwrap_or_default();
        if !response.error.is_empty() {
            let is_refused = response.error.contains(COMPACTED);
            let end = WatchEnd {
                compact_revision: 0,
                cancel_reason: response.error.clone(),
            };
            let kind = if is_refused { Kind::Fail } else { Kind::Info };
            let mut ended = moment(now, kind, process, "watch", raw(&end)?);
            ended.error = Some(response.error.as_str().into());
            if !is_refused {
                ended.value = None;
            }
            moments.push(ended);
            break;
        }
        let f = match (events, response.is_progress_notify) {
            ([], true) => "watch_progress",
            // The message that says that the watch was created.
            ([], false) => continue,
            _ => "watch_event",
        };
        let message = WatchMessage {
            header,
            events: events
                .iter()
                .map(|event| self::event(event, &watch.request))
                .collect::<Result<_, _>>()?,
        };
        moments.push(moment(now, Kind::Ok, process, f, raw(&message)?));
    }
    Ok(moments)
}

fn moment(
    time: u64,
    kind: Kind,
    process: &str,
    f: &'static str,
    value: Box<serde_json::value::RawValue>,
) -> Moment {
    Moment {
        time,
        kind,
        process: process.into(),
        f,
        value: Some(value),
        error: None,
    }
}

fn request(asked: &wire::WatchRequest) -> WatchRequest {
    let (key, range_end) = if asked.with_prefix {
        prefix(asked.key.as_bytes())
    } else {
        (asked.key.as_bytes().to_vec(), Vec::new())
    };
    WatchRequest {
        key: Blob(key),
        range_end: Blob(range_end),
        start_revision: asked.revision,
        progress_notify: asked.with_progress_notify,
        prev_kv: asked.with_prev_kv,
    }
}

/// The keys that begin with `prefix`, as etcd's client asks for them: up to the prefix whose last byte is one greater;
/// without a prefix every key, which is a zero byte twice.
fn prefix(prefix: &[u8]) -> (Vec<u8>, Vec<u8>) {
    if prefix.is_empty() {
        return (vec![0], vec![0]);
    }
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return (prefix.to_vec(), end);
        }
    }
    (prefix.to_vec(), vec![0])
}

fn event(event: &wire::WatchEvent, asked: &wire::WatchRequest) -> Result<WatchEvent, Box<str>> {
    let key: Blob = event.key.as_str().into();
    let told = wire::KeyValue {
        key: event.key.clone(),
        value: event.value.clone(),
        mod_revision: event.revision,
    };
    let (r#type, kv) = match event.r#type.as_str() {
        "put-operation" => (EventKind::Put, pair(&told)),
        "delete-operation" => (
            EventKind::Delete,
            KeyValue {
                key,
                mod_revision: event.revision,
                ..KeyValue::default()
            },
        ),
        other => {
            return Err(format!(
                "unknown type of event `{other}`; a watch has put-operation and delete-operation"
            )
            .into());
        }
    };
    let before = event.prev_value.as_ref().filter(|_| asked.with_prev_kv);
    let prev_kv = before.map(|before| {
        pair(&wire::KeyValue {
            key: event.key.clone(),
            ..before.clone()
        })
    });
    Ok(WatchEvent {
        r#type,
        kv,
        prev_kv,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_where_the_next_begins() {
        let cases: [(&[u8], &[u8], &[u8]); 4] = [
            (b"", b"\0", b"\0"),
            (b"key", b"key", b"kez"),
            (b"k\xff", b"k\xff", b"l"),
            (b"\xff", b"\xff", b"\0"),
        ];
        for (asked, key, end) in cases {
            assert_eq!(prefix(asked), (key.to_vec(), end.to_vec()));
        }
    }
}
