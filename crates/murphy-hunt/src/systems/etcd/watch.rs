//! A watch follows every key of one member, from the first revision to the end of the run.
//!
//! A stream that breaks is opened again behind the last revision it delivered whole; one that the member
//! cancelled because its start was compacted, at exactly the compact revision. Each stream is a process
//! of its own in the history.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use murphy_check::{etcd::vocabulary as word, history::Kind};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;

use super::{client::Client, wire};
use crate::{
    pb::etcdserverpb::{WatchResponse, watch_client::WatchClient},
    recorder::Recorder,
};

/// Pause before a broken stream is opened again.
const RETRY: Duration = Duration::from_millis(50);
/// One message may carry every key of a revision.
const MESSAGE_BYTES_MAX: usize = 1 << 30;

/// What a watch wants: one key, or a range, from a revision on.
pub type Wanted = word::WatchRequest;

/// Follows one member until told to stop.
#[derive(Debug)]
pub struct Watcher {
    /// The member.
    pub node: String,
    /// Its address.
    pub address: IpAddr,
    /// Where the messages go.
    pub recorder: Arc<Recorder>,
    /// Last revision delivered, for the wait at the end of a round.
    pub seen: Arc<AtomicI64>,
}

/// How one stream ended.
enum End {
    /// The run is over.
    Stopped,
    /// The stream broke.
    Broken,
    /// The member cancelled it; the revision is its compact revision, 0 when that was not the reason.
    Cancelled(i64),
}

impl Watcher {
    /// Watches until `stop` is true.
    pub async fn run(self, mut wanted: Wanted, mut stop: watch::Receiver<bool>) {
        for attempt in 1_u32.. {
            let process = format!("w-{}-{attempt}", self.node);
            match self.stream(&process, &wanted, &mut stop).await {
                End::Stopped => return,
                End::Broken | End::Cancelled(0) => {
                    wanted.start_revision = self.resume_from(wanted.start_revision);
                }
                End::Cancelled(compacted) => wanted.start_revision = compacted,
            }
            if wait_or_stop(RETRY, &mut stop).await {
                return;
            }
        }
    }

    fn resume_from(&self, start: i64) -> i64 {
        start.max(self.seen.load(Ordering::Relaxed) + 1)
    }

    /// One stream from its creation to its end.
    async fn stream(
        &self,
        process: &str,
        wanted: &Wanted,
        stop: &mut watch::Receiver<bool>,
    ) -> End {
        let Ok(client) = Client::connect(self.address).await else {
            return End::Broken;
        };
        self.recorder
            .note(Kind::Invoke, process, &self.node, "watch", wanted);
        let (requests, outbox) = mpsc::channel(1);
        // The channel is new and holds one message: the first send cannot fail or wait.
        let _ = requests.try_send(wire::watch(wanted));
        let mut watching =
            WatchClient::new(client.channel()).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let opened = tokio::select! {
            opened = watching.watch(ReceiverStream::new(outbox)) => opened,
            () = stopped(stop) => return self.stopped(process),
        };
        let mut messages = match opened {
            Ok(response) => response.into_inner(),
            Err(status) => return self.broken(process, status.message()),
        };
        loop {
            let message = tokio::select! {
                message = messages.message() => message,
                () = stopped(stop) => return self.stopped(process),
            };
            match message {
                Ok(Some(message)) => {
                    if let Some(end) = self.note(process, message) {
                        return end;
                    }
                }
                Ok(None) => return self.broken(process, "the member closed the stream"),
                Err(status) => return self.broken(process, status.message()),
            }
        }
    }

    /// Writes one message to the history; says when it was the last.
    fn note(&self, process: &str, message: WatchResponse) -> Option<End> {
        let node = &self.node;
        if message.canceled {
            let end = word::WatchEnd {
                compact_revision: message.compact_revision,
                cancel_reason: message.cancel_reason,
            };
            self.recorder.note(Kind::Fail, process, node, "watch", &end);
            return Some(End::Cancelled(end.compact_revision));
        }
        let created = message.created;
        let message = wire::watch_message(message);
        let last = message.events.last().map(|event| event.kv.mod_revision);
        let f = match (created, last) {
            (true, _) => "watch",
            (false, Some(_)) => "watch_event",
            (false, None) => "watch_progress",
        };
        if created {
            let opened = serde_json::json!({ "header": message.header });
            self.recorder.note(Kind::Ok, process, node, f, &opened);
        } else {
            self.recorder.note(Kind::Ok, process, node, f, &message);
        }
        if let Some(last) = last {
            self.seen.fetch_max(last, Ordering::Relaxed);
        }
        None
    }

    fn broken(&self, process: &str, error: &str) -> End {
        self.recorder
            .note_error(Kind::Info, process, &self.node, "watch", error);
        End::Broken
    }

    fn stopped(&self, process: &str) -> End {
        self.recorder
            .note_error(Kind::Info, process, &self.node, "watch", "the run is over");
        End::Stopped
    }
}

/// Waits until `stop` is true, or its sender is gone.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Waits; true when stopped meanwhile.
async fn wait_or_stop(pause: Duration, stop: &mut watch::Receiver<bool>) -> bool {
    tokio::time::timeout(pause, stopped(stop)).await.is_ok()
}
