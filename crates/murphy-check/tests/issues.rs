//! The known bugs of etcd, each as the shortest history that shows it.

use murphy_check::{
    etcd::{self, Options, vocabulary::*},
    history::{Event, Header, Kind, Writer},
    verdict::{Judgement, Report, Verdict},
};
use serde::Serialize;

/// Writes a history line by line, 10 ms between lines.
struct Story {
    writer: Writer<Vec<u8>>,
    now: u64,
}

impl Story {
    fn new() -> Self {
        let header = Header {
            nodes: ["n0", "n1", "n2"].map(String::from).to_vec(),
            ..Header::new("etcd")
        };
        Self {
            writer: Writer::new(Vec::new(), &header).unwrap(),
            now: 0,
        }
    }

    fn line(
        &mut self,
        kind: Kind,
        process: &str,
        node: &str,
        f: &str,
        value: impl Serialize,
    ) -> &mut Self {
        self.now += 10_000_000;
        let event = Event {
            r#type: kind,
            process,
            f,
            value: Some(value),
            time: self.now,
            node: Some(node),
            error: None,
        };
        self.writer.write(&event).unwrap();
        self
    }

    fn info(&mut self, process: &str, node: &str, f: &str, error: &str) -> &mut Self {
        self.now += 10_000_000;
        let event = Event::<()> {
            r#type: Kind::Info,
            process,
            f,
            value: None,
            time: self.now,
            node: Some(node),
            error: Some(error),
        };
        self.writer.write(&event).unwrap();
        self
    }

    fn ask<A: Serialize, B: Serialize>(
        &mut self,
        process: &str,
        node: &str,
        f: &str,
        ask: A,
        answer: B,
    ) -> &mut Self {
        self.line(Kind::Invoke, process, node, f, ask)
            .line(Kind::Ok, process, node, f, answer)
    }

    fn put(&mut self, node: &str, key: &str, value: &str, revision: i64) -> &mut Self {
        let ask = PutRequest {
            key: key.into(),
            value: value.into(),
            ..PutRequest::default()
        };
        self.ask(
            "c1",
            node,
            "put",
            ask,
            PutResponse {
                header: at(revision),
                prev_kv: None,
            },
        )
    }

    fn delete(&mut self, node: &str, key: &str, revision: i64) -> &mut Self {
        let ask = DeleteRangeRequest {
            key: key.into(),
            ..DeleteRangeRequest::default()
        };
        let answer = DeleteRangeResponse {
            header: at(revision),
            deleted: 1,
            prev_kvs: vec![],
        };
        self.ask("c1", node, "delete_range", ask, answer)
    }

    fn read(
        &mut self,
        node: &str,
        key: &str,
        serializable: bool,
        revision: i64,
        pair: Option<KeyValue>,
    ) -> &mut Self {
        let ask = RangeRequest {
            key: key.into(),
            serializable,
            ..RangeRequest::default()
        };
        let kvs: Vec<KeyValue> = pair.into_iter().collect();
        let count = i64::from(!kvs.is_empty());
        self.ask(
            "c2",
            node,
            "range",
            ask,
            RangeResponse {
                header: at(revision),
                kvs,
                more: false,
                count,
            },
        )
    }

    fn dump(&mut self, node: &str, revision: i64, head: i64, kvs: &[KeyValue]) -> &mut Self {
        let ask = RangeRequest {
            key: "\0".into(),
            range_end: "\0".into(),
            revision,
            serializable: true,
            ..RangeRequest::default()
        };
        let answer = RangeResponse {
            header: at(head),
            kvs: kvs.to_vec(),
            more: false,
            count: kvs.len().try_into().unwrap(),
        };
        self.ask("judge", node, "range", ask, answer)
    }

    fn quiet(&mut self, node: &str, revision: i64, applied: u64) -> &mut Self {
        let answer = StatusResponse {
            header: at(revision),
            raft_applied_index: applied,
            ..StatusResponse::default()
        };
        self.ask(
            "judge",
            node,
            "status",
            StatusRequest { quiet: true },
            answer,
        )
    }

    fn watch(&mut self, process: &str, node: &str, start_revision: i64) -> &mut Self {
        let ask = WatchRequest {
            key: "\0".into(),
            range_end: "\0".into(),
            start_revision,
            ..WatchRequest::default()
        };
        self.line(Kind::Invoke, process, node, "watch", ask).line(
            Kind::Ok,
            process,
            node,
            "watch",
            PutResponse::default(),
        )
    }

    fn event(&mut self, process: &str, node: &str, event: WatchEvent) -> &mut Self {
        let message = WatchMessage {
            header: at(event.kv.mod_revision),
            events: vec![event],
        };
        self.line(Kind::Ok, process, node, "watch_event", message)
    }

    fn check(&mut self) -> Report {
        let writer = std::mem::replace(
            &mut self.writer,
            Writer::new(Vec::new(), &Header::new("etcd")).unwrap(),
        );
        etcd::check(writer.into_inner().as_slice(), &Options::default()).unwrap()
    }
}

fn at(revision: i64) -> etcd::vocabulary::Header {
    etcd::vocabulary::Header {
        revision,
        ..Default::default()
    }
}

fn kv(key: &str, value: &str, create_revision: i64, mod_revision: i64, version: i64) -> KeyValue {
    KeyValue {
        key: key.into(),
        value: value.into(),
        create_revision,
        mod_revision,
        version,
        lease: 0,
    }
}

fn put_event(pair: KeyValue) -> WatchEvent {
    WatchEvent {
        r#type: EventKind::Put,
        kv: pair,
        prev_kv: None,
    }
}

fn delete_event(key: &str, revision: i64) -> WatchEvent {
    WatchEvent {
        r#type: EventKind::Delete,
        kv: kv(key, "", 0, revision, 0),
        prev_kv: None,
    }
}

fn judgement<'a>(report: &'a Report, promise: &str) -> &'a Judgement {
    report
        .judgements
        .iter()
        .find(|j| j.promise == promise)
        .unwrap()
}

/// The broken promises, each with a confirmed witness.
fn broken(report: &Report) -> Vec<&str> {
    let broken = report
        .judgements
        .iter()
        .filter(|j| j.verdict == Verdict::Broken);
    for judgement in broken.clone() {
        let witness = judgement.witness.as_ref().unwrap();
        assert!(witness.confirmed, "{judgement:#?}");
    }
    broken.map(|j| j.promise.as_str()).collect()
}

#[test]
fn issue_13766_a_member_misses_a_write() {
    let mut story = Story::new();
    story
        .put("n0", "k/1", "a", 2)
        .put("n1", "k/88", "c17-1204", 3)
        .put("n0", "k/12", "c05-0977", 4);
    for node in ["n0", "n1"] {
        story.dump(
            node,
            3,
            4,
            &[kv("k/1", "a", 2, 2, 1), kv("k/88", "c17-1204", 3, 3, 1)],
        );
    }
    story.dump(
        "n2",
        3,
        3,
        &[kv("k/1", "a", 2, 2, 1), kv("k/12", "c05-0977", 3, 3, 1)],
    );
    story
        .quiet("n0", 4, 17)
        .quiet("n1", 4, 17)
        .quiet("n2", 3, 17);
    let report = story.check();
    assert_eq!(broken(&report), ["members-agree"], "{report:#?}");
    let judgement = judgement(&report, "members-agree");
    assert_eq!(
        judgement.reason,
        "n2 misses revision 3, which n0 and n1 hold"
    );
    let witness = judgement.witness.as_ref().unwrap();
    assert_eq!(witness.lines.len(), 2, "{witness:#?}");
}

/// The key that n2 misses was written again later, so that its dump shows only what took the revision.
#[test]
fn issue_13766_is_confirmed_by_what_a_dump_shows_of_another_key() {
    let mut story = Story::new();
    story
        .put("n0", "a", "1", 2)
        .put("n1", "b", "lost", 3)
        .put("n0", "c", "2", 4)
        .put("n0", "b", "3", 5);
    let all = [
        kv("a", "1", 2, 2, 1),
        kv("b", "3", 3, 5, 2),
        kv("c", "2", 4, 4, 1),
    ];
    let shifted = [
        kv("a", "1", 2, 2, 1),
        kv("b", "3", 4, 4, 1),
        kv("c", "2", 3, 3, 1),
    ];
    story.dump("n0", 5, 5, &all).dump("n1", 5, 5, &all);
    story.dump("n2", 4, 4, &shifted);
    let report = story.check();
    assert_eq!(broken(&report), ["members-agree"], "{report:#?}");
}

/// Somebody asked for a deletion that may have happened; two states of one revision contradict each other all the
/// same.
#[test]
fn two_dumps_of_one_revision_differ_beside_an_unknown_deletion() {
    let mut story = Story::new();
    story.put("n0", "a", "1", 2);
    let delete = DeleteRangeRequest {
        key: "a".into(),
        ..DeleteRangeRequest::default()
    };
    story.line(Kind::Invoke, "c9", "n1", "delete_range", delete);
    story.info("c9", "n1", "delete_range", "etcdserver: request timed out");
    story.put("n0", "b", "1", 4);
    let b = kv("b", "1", 4, 4, 1);
    story.dump("n0", 4, 4, &[kv("a", "1", 2, 2, 1), b.clone()]);
    story
        .dump("n1", 4, 4, std::slice::from_ref(&b))
        .dump("n2", 4, 4, std::slice::from_ref(&b));
    let report = story.check();
    assert!(broken(&report).contains(&"members-agree"), "{report:#?}");
}

#[test]
fn issue_18089_a_watch_misses_the_deletion_at_the_compact_revision() {
    let mut story = Story::new();
    story
        .put("n0", "k", "1", 2)
        .put("n0", "k", "2", 3)
        .put("n0", "k", "3", 4)
        .delete("n0", "k", 5)
        .put("n0", "k", "4", 6);
    story.ask(
        "c1",
        "n0",
        "compact",
        CompactRequest {
            revision: 5,
            physical: true,
        },
        CompactResponse { header: at(6) },
    );
    story
        .watch("w", "n0", 5)
        .event("w", "n0", put_event(kv("k", "4", 6, 6, 1)));
    let report = story.check();
    assert_eq!(broken(&report), ["watch.resumable"], "{report:#?}");
    let judgement = judgement(&report, "watch.resumable");
    assert_eq!(judgement.reason, "a watch of n0 misses revision 5");
    assert_eq!(judgement.witness.as_ref().unwrap().lines.len(), 3);

    let mut control = Story::new();
    control
        .put("n0", "k", "1", 2)
        .delete("n0", "k", 3)
        .put("n0", "k", "4", 4);
    control
        .watch("w", "n0", 3)
        .event("w", "n0", delete_event("k", 3))
        .event("w", "n0", put_event(kv("k", "4", 4, 4, 1)));
    assert_eq!(judgement_of(&mut control, "watch.reliable"), Verdict::Held);
}

fn judgement_of(story: &mut Story, promise: &str) -> Verdict {
    judgement(&story.check(), promise).verdict
}

fn rejected_txn(story: &mut Story) {
    story.put("n0", "k1", "v1", 2).put("n0", "k2", "v2", 3);
    story.ask(
        "c1",
        "n0",
        "compact",
        CompactRequest {
            revision: 3,
            physical: false,
        },
        CompactResponse { header: at(3) },
    );
    let get = RangeRequest {
        key: "k1".into(),
        revision: 2,
        ..RangeRequest::default()
    };
    let put = PutRequest {
        key: "k2".into(),
        value: "foo".into(),
        ..PutRequest::default()
    };
    let txn = TxnRequest {
        compare: Conditions::Listed(vec![Compare {
            key: "k1".into(),
            range_end: "".into(),
            result: Relation::Equal,
            target: Given::Value("v1".into()),
        }]),
        success: vec![RequestOp::RequestPut(put), RequestOp::RequestRange(get)],
        failure: vec![],
    };
    story.line(Kind::Invoke, "c1", "n0", "txn", txn);
    story.info(
        "c1",
        "n0",
        "txn",
        "etcdserver: mvcc: required revision has been compacted",
    );
}

#[test]
fn issue_18667_a_rejected_transaction_is_applied_by_the_others() {
    let mut story = Story::new();
    rejected_txn(&mut story);
    story.read("n0", "k2", true, 3, Some(kv("k2", "v2", 3, 3, 1)));
    story.read("n1", "k2", true, 4, Some(kv("k2", "foo", 3, 4, 2)));
    story
        .quiet("n0", 3, 11)
        .quiet("n1", 4, 11)
        .quiet("n2", 4, 11);
    let report = story.check();
    assert_eq!(broken(&report), ["members-agree"], "{report:#?}");
    let witness = judgement(&report, "members-agree")
        .witness
        .as_ref()
        .unwrap();
    assert_eq!(witness.lines.len(), 3, "{witness:#?}");
    assert!(
        witness.sentence.contains("compacted"),
        "{}",
        witness.sentence
    );
}

#[test]
fn issue_18667_is_seen_in_dumps_after_one_more_write() {
    let mut story = Story::new();
    rejected_txn(&mut story);
    story.put("n0", "k3", "x", 4);
    story.dump(
        "n0",
        4,
        4,
        &[
            kv("k1", "v1", 2, 2, 1),
            kv("k2", "v2", 3, 3, 1),
            kv("k3", "x", 4, 4, 1),
        ],
    );
    for node in ["n1", "n2"] {
        story.dump(
            node,
            4,
            5,
            &[kv("k1", "v1", 2, 2, 1), kv("k2", "foo", 3, 4, 2)],
        );
    }
    let report = story.check();
    assert_eq!(broken(&report), ["members-agree"], "{report:#?}");
    let judgement = judgement(&report, "members-agree");
    assert_eq!(
        judgement.reason,
        "n0 misses revision 4, which n1 and n2 hold"
    );
    assert_eq!(judgement.witness.as_ref().unwrap().lines.len(), 3);
}

#[test]
fn issue_14370_an_acknowledged_write_is_gone() {
    let mut story = Story::new();
    story
        .put("n0", "a", "1", 2)
        .put("n0", "b", "lost", 3)
        .put("n0", "c", "2", 3);
    for node in ["n0", "n1", "n2"] {
        story.dump(node, 3, 3, &[kv("a", "1", 2, 2, 1), kv("c", "2", 3, 3, 1)]);
    }
    let report = story.check();
    assert!(
        broken(&report).starts_with(&["linearizable", "durable"]),
        "{report:#?}"
    );
    assert_eq!(
        judgement(&report, "linearizable").reason,
        "revision 3 was acknowledged twice"
    );
}

#[test]
fn a_stale_read_is_two_lines() {
    let mut story = Story::new();
    story.put("n0", "a", "1", 2).put("n0", "a", "2", 3);
    story.read("n1", "a", false, 2, Some(kv("a", "1", 2, 2, 1)));
    let report = story.check();
    assert_eq!(broken(&report), ["linearizable"]);
    let judgement = judgement(&report, "linearizable");
    assert_eq!(judgement.reason, "revision 2 came after revision 3");
    assert_eq!(judgement.witness.as_ref().unwrap().lines.len(), 2);
}

#[test]
fn nothing_to_judge_is_undecided() {
    let options = Options {
        scope: etcd::Scope::All,
        ..Options::default()
    };
    let history = Story::new().writer.into_inner();
    let report = etcd::check(history.as_slice(), &options).unwrap();
    assert_eq!(report.judgements.len(), etcd::PROMISES.len());
    assert!(
        report
            .judgements
            .iter()
            .all(|j| j.verdict == Verdict::Undecided),
        "{report:#?}"
    );
}
