//! What happens to a simulated cluster as a whole: compactions, and the comparison in the end.

use super::{
    Cluster, CompactRequest, CompactResponse, HashKvRequest, HashKvResponse, Kind, MICROSECOND,
    RangeRequest, Request, Response, StatusRequest, StatusResponse, Value,
};

impl Cluster<'_> {
    pub(super) fn compact(&mut self) {
        // A watch that is open was sent what is compacted, and a slow member still answers from its past.
        let sent = self
            .members
            .iter()
            .filter(|member| !member.is_down)
            .flat_map(|m| &m.watches)
            .map(|w| w.sent);
        let applied = self.members.iter().map(|member| member.applied);
        let limit = sent
            .chain(applied)
            .min()
            .unwrap_or(0)
            .min(self.model.revision - 20);
        if limit <= self.model.compacted.max(1) {
            return;
        }
        self.model.compact(limit);
        let kept = self.log.partition_point(|(revision, _)| *revision < limit);
        self.log.drain(..kept);
        let ask = CompactRequest {
            revision: limit,
            physical: false,
        };
        let header = self.header(0, self.model.revision);
        self.line(
            Kind::Invoke,
            "compactor".into(),
            "compact",
            Value::Compact(ask),
            0,
            None,
        );
        self.line(
            Kind::Ok,
            "compactor".into(),
            "compact",
            Value::Compacted(CompactResponse { header }),
            0,
            None,
        );
    }

    /// Traffic has stopped: every member catches up and is compared.
    pub(super) fn end(&mut self) {
        self.now += 1_000_000 * MICROSECOND;
        for node in 0..self.profile.members {
            if self.members[node].is_down {
                self.back(node);
            }
            self.members[node].applied = self.model.revision;
            self.send(node);
            let header = self.header(node, self.model.revision);
            let state = StatusResponse {
                header,
                raft_applied_index: self.model.revision.unsigned_abs() + 100,
                ..StatusResponse::default()
            };
            self.judge(
                node,
                "status",
                Value::Status(StatusRequest { quiet: true }),
                Value::State(state),
            );
        }
        for node in 0..self.profile.members {
            self.dump(node);
        }
    }

    fn dump(&mut self, node: usize) {
        let revision = self.model.revision;
        let ask = RangeRequest {
            key: "\0".into(),
            range_end: "\0".into(),
            revision,
            serializable: true,
            ..RangeRequest::default()
        };
        let mut dump = self.model.range(&ask, revision).unwrap_or_default();
        let header = self.header(node, revision);
        dump.header = header.clone();
        let hash = dump.kvs.iter().fold(0_u32, |hash, pair| {
            let number =
                pair.mod_revision.unsigned_abs().wrapping_mul(31) + pair.version.unsigned_abs();
            hash.rotate_left(5) ^ u32::try_from(number & 0xffff_ffff).unwrap_or_default()
        });
        let hashed = HashKvResponse {
            header,
            hash,
            compact_revision: self.model.compacted,
        };
        self.judge(
            node,
            "range",
            Value::Request(Request::Range(ask)),
            Value::Response(Response::Range(dump)),
        );
        self.judge(
            node,
            "hash_kv",
            Value::Hash(HashKvRequest { revision }),
            Value::Hashed(hashed),
        );
    }

    fn judge(&mut self, node: usize, f: &'static str, ask: Value, answer: Value) {
        self.now += 100 * MICROSECOND;
        self.line(Kind::Invoke, "judge".into(), f, ask, node, None);
        self.now += 100 * MICROSECOND;
        self.line(Kind::Ok, "judge".into(), f, answer, node, None);
    }
}
