//! Watches of a simulated member: what it has applied, it delivers.

use super::{
    Action, Blob, Cluster, Kind, RngExt, Value, Watch, WatchEnd, WatchEvent, WatchMessage,
    WatchRequest,
};

impl Cluster<'_> {
    pub(super) fn watch(
        &mut self,
        node: usize,
        key: Blob,
        range_end: Blob,
        prev_kv: bool,
        start_revision: i64,
    ) {
        let member = &mut self.members[node];
        member.opened += 1;
        let process = format!("w-n{node}-{}", member.opened);
        let ask = WatchRequest {
            key: key.clone(),
            range_end: range_end.clone(),
            start_revision,
            progress_notify: true,
            prev_kv,
        };
        self.line(
            Kind::Invoke,
            process.clone(),
            "watch",
            Value::Watch(ask),
            node,
            None,
        );
        let compacted = self.model.compacted;
        if start_revision < compacted {
            let end = WatchEnd {
                compact_revision: compacted,
                cancel_reason: "compacted".into(),
            };
            self.line(
                Kind::Fail,
                process,
                "watch",
                Value::WatchEnd(end),
                node,
                None,
            );
            return self.watch(node, key, range_end, prev_kv, compacted);
        }
        let created = WatchMessage {
            header: self.header(node, self.members[node].applied),
            events: Vec::new(),
        };
        self.line(
            Kind::Ok,
            process.clone(),
            "watch",
            Value::Message(created),
            node,
            None,
        );
        let watch = Watch {
            process,
            key,
            range_end,
            prev_kv,
            sent: start_revision - 1,
        };
        self.members[node].watches.push(watch);
    }

    pub(super) fn deliver(&mut self, node: usize) {
        let is_busy = self.asked < self.profile.operations
            || self.clients.iter().any(|client| client.open.is_some());
        if is_busy {
            self.soon(300..3_000, Action::Deliver { node });
        }
        if self.members[node].is_down {
            return;
        }
        let behind = self.model.revision - self.members[node].applied;
        self.members[node].applied += if self.rng.random() {
            behind
        } else {
            self.rng.random_range(0..=behind)
        };
        self.send(node);
    }

    /// Sends every watch of a member what the member has applied.
    pub(super) fn send(&mut self, node: usize) {
        let applied = self.members[node].applied;
        for number in 0..self.members[node].watches.len() {
            let watch = &self.members[node].watches[number];
            let first = self
                .log
                .partition_point(|(revision, _)| *revision <= watch.sent);
            let end = self
                .log
                .partition_point(|(revision, _)| *revision <= applied);
            let mut messages: Vec<Vec<WatchEvent>> = Vec::new();
            for (_, events) in self.log.range(first..end) {
                let wanted = events.iter().filter(|event| {
                    crate::etcd::model::within(&event.kv.key, &watch.key, &watch.range_end)
                });
                let wanted: Vec<WatchEvent> = wanted
                    .cloned()
                    .map(|mut event| {
                        event.prev_kv = event.prev_kv.filter(|_| watch.prev_kv);
                        event
                    })
                    .collect();
                if wanted.is_empty() {
                    continue;
                }
                match messages.last_mut() {
                    Some(last) if self.rng.random_ratio(3, 4) => last.extend(wanted),
                    _ => messages.push(wanted),
                }
            }
            let process = watch.process.clone();
            let is_idle = messages.is_empty();
            for events in messages {
                let message = WatchMessage {
                    header: self.header(node, applied),
                    events,
                };
                self.line(
                    Kind::Ok,
                    process.clone(),
                    "watch_event",
                    Value::Message(message),
                    node,
                    None,
                );
            }
            let watch = &mut self.members[node].watches[number];
            let is_current = watch.sent < applied || is_idle;
            watch.sent = watch.sent.max(applied);
            if is_current
                && self.rng.random_ratio(1, 10)
                && self.members[node].watches[number].sent == applied
            {
                let message = WatchMessage {
                    header: self.header(node, applied),
                    events: Vec::new(),
                };
                self.line(
                    Kind::Ok,
                    process,
                    "watch_progress",
                    Value::Message(message),
                    node,
                    None,
                );
            }
        }
    }
}
