//! A story is a history in few words, one line for each thing that happens, 10 ms apart.
//!
//! ```text
//! limits watch 100 progress 50            what the header allows, in ms
//! put a=1 -> 2                            acknowledged; `on n1` asks n1, `lease 7` attaches
//! put a=1 ?                               of unknown outcome
//! pair a=1 b=1 -> 2                       a transaction of two puts
//! delete a -> 3                           `delete a -> 3 none` where nothing was deleted
//! get a -> 3: a=1@2/2/1                   a pair is key=value@created/changed/version, `~7` its lease
//! get a at 2 -> 5: a=1@2/2/1              of a revision; `limit 2` cuts, with `of 5` keys in all; `stale`
//! swap a 2 = 5 -> 3                       if mod revision 2 then put a=5, succeeded; `swap a 2 = 5 -> 3 no: PAIR`
//! drop a 2 -> 3                           the same with a deletion
//! compact 4 -> 9                          `? ` as above
//! watch w a from 2                        `every` key, `under /registry/pods/`; `created 7`, `prev`, `notify`
//! w: a=1@2/2/1, -b@2                      one message; `a=2@2/3/2 < a=1@2/2/1` with its previous pair
//! w bookmark 5
//! w asks                                  for a bookmark
//! w cancelled 7                           with a compact revision
//! w breaks
//! quiet n1 5                              a status at rest
//! kill n1, back n1                        a fault and its end
//! wait 500                                ms
//! grant 7 for 5 -> 1, keep 7 -> 5, revoke 7 -> 4, ttl 7 -> 3
//! ```
//!
//! A line that begins with `*` belongs to the witness, and without it there is no violation; one with `+` belongs
//! to the witness, and there is one still.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

/// A history with the lines of its witness.
pub struct Story {
    lines: Vec<(Mark, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    None,
    /// In the witness; the violation rests on it.
    Needed,
    /// In the witness.
    Shown,
}

/// JSON Lines, and which line of the story each comes from.
pub struct Told {
    pub history: String,
    pub origin: Vec<usize>,
}

impl Story {
    pub fn new(text: &str) -> Self {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let marked = |line: &str| match line.as_bytes()[0] {
            b'*' => (Mark::Needed, line[1..].trim().to_owned()),
            b'+' => (Mark::Shown, line[1..].trim().to_owned()),
            _ => (Mark::None, line.to_owned()),
        };
        Self {
            lines: lines.map(marked).collect(),
        }
    }

    /// The places of lines with one of the marks.
    pub fn marked(&self, marks: &[Mark]) -> Vec<usize> {
        let lines = self.lines.iter().enumerate();
        lines
            .filter(|(_, (mark, _))| marks.contains(mark))
            .map(|(place, _)| place)
            .collect()
    }

    pub fn line(&self, place: usize) -> &str {
        &self.lines[place].1
    }

    /// The story without one of its lines; without a watch it has none of its messages either.
    pub fn told_without(&self, left_out: Option<usize>) -> Told {
        let mut teller = Teller::default();
        let gone = left_out.and_then(|place| {
            let words: Vec<&str> = self.lines[place].1.split_whitespace().collect();
            (words[0] == "watch").then(|| words[1].to_owned())
        });
        for (place, (_, line)) in self.lines.iter().enumerate() {
            let of_gone = gone.as_ref().is_some_and(|stream| {
                line.starts_with(&format!("{stream}:")) || line.starts_with(&format!("{stream} "))
            });
            if left_out == Some(place) || of_gone {
                // The moment passes all the same.
                teller.now += STEP;
                continue;
            }
            teller.place = place;
            teller.tell(line);
        }
        teller.finish()
    }
}

const STEP: u64 = 10_000_000;
const MS: u64 = 1_000_000;

#[derive(Default)]
struct Teller {
    now: u64,
    place: usize,
    limits: Map<String, Value>,
    lines: Vec<(usize, Value)>,
    nodes: HashMap<String, String>,
    lost: usize,
}

/// The words of a line, taken one by one.
struct Line<'a> {
    words: Vec<&'a str>,
    /// What comes behind the colon.
    tail: &'a str,
}

impl<'a> Line<'a> {
    fn new(line: &'a str) -> Self {
        let (head, tail) = line
            .split_once(": ")
            .unwrap_or((line.trim_end_matches(':'), ""));
        Self {
            words: head.split_whitespace().collect(),
            tail,
        }
    }

    fn word(&self, place: usize) -> &'a str {
        self.words
            .get(place)
            .copied()
            .unwrap_or_else(|| panic!("a word is missing in {:?}", self.words))
    }

    fn number(&self, place: usize) -> i64 {
        number(self.word(place))
    }

    fn after(&self, word: &str) -> Option<&'a str> {
        let place = self.words.iter().position(|w| *w == word)?;
        Some(self.word(place + 1))
    }

    fn has(&self, word: &str) -> bool {
        self.words.contains(&word)
    }

    /// The revision behind the arrow.
    fn revision(&self) -> i64 {
        number(
            self.after("->")
                .unwrap_or_else(|| panic!("no answer in {:?}", self.words)),
        )
    }
}

fn number(word: &str) -> i64 {
    word.parse().unwrap_or_else(|_| panic!("no number: {word}"))
}

/// `a=1@2/3/2~7`.
fn pair(text: &str) -> Value {
    let (key, rest) = text
        .split_once('=')
        .unwrap_or_else(|| panic!("no pair: {text}"));
    let (value, rest) = rest
        .split_once('@')
        .unwrap_or_else(|| panic!("no pair: {text}"));
    let (numbers, lease) = rest.split_once('~').unwrap_or((rest, "0"));
    let numbers: Vec<i64> = numbers.split('/').map(number).collect();
    json!({
        "key": key, "value": value, "create_revision": numbers[0], "mod_revision": numbers[1],
        "version": numbers[2], "lease": number(lease),
    })
}

fn pairs(text: &str) -> Vec<Value> {
    text.split(',')
        .map(str::trim)
        .filter(|text| !text.is_empty())
        .map(pair)
        .collect()
}

fn event(text: &str) -> Value {
    let (now, before) = match text.split_once('<') {
        Some((now, before)) => (now.trim(), Some(pair(before.trim()))),
        None => (text.trim(), None),
    };
    let mut event = match now.strip_prefix('-') {
        Some(gone) => {
            let (key, revision) = gone.split_once('@').expect("a deletion has a revision");
            json!({"type": "DELETE", "kv": {"key": key, "mod_revision": number(revision)}})
        }
        None => json!({"kv": pair(now)}),
    };
    if let Some(before) = before {
        event["prev_kv"] = before;
    }
    event
}

/// The fields of a span of keys.
fn span(line: &Line<'_>, place: usize) -> Map<String, Value> {
    let mut span = Map::new();
    match line.word(place) {
        "every" => {
            span.insert("key".into(), "\0".into());
            span.insert("range_end".into(), "\0".into());
        }
        "under" => {
            let prefix = line.word(place + 1);
            span.insert("key".into(), prefix.into());
            let end = format!("{}0", &prefix[..prefix.len() - 1]);
            span.insert("range_end".into(), end.into());
        }
        // From a key to the end of its directory: the next page of a list.
        "behind" => {
            let key = line.word(place + 1);
            span.insert("key".into(), format!("{key}\0").into());
            let directory = key.rsplit_once('/').expect("a key below a directory").0;
            span.insert("range_end".into(), format!("{directory}0").into());
        }
        key => {
            span.insert("key".into(), key.into());
        }
    }
    span
}

fn header(revision: i64) -> Value {
    json!({"revision": revision})
}

impl Teller {
    fn line(&mut self, kind: &str, process: &str, f: &str, value: Value, node: &str) {
        self.now += STEP;
        let index = self.lines.len();
        let mut line =
            json!({"index": index, "type": kind, "process": process, "f": f, "time": self.now});
        if !value.is_null() {
            line["value"] = value;
        }
        if !node.is_empty() {
            line["node"] = node.into();
        }
        self.lines.push((self.place, line));
    }

    /// Asks, and is answered unless the line ends with `?`.
    fn ask(&mut self, line: &Line<'_>, f: &str, request: Value, answer: impl FnOnce() -> Value) {
        let node = line.after("on").unwrap_or("n0");
        if line.has("?") {
            self.lost += 1;
            let process = format!("lost{}", self.lost);
            self.line("invoke", &process, f, request, node);
            return self.line("info", &process, f, Value::Null, node);
        }
        self.line("invoke", "c", f, request, node);
        let answer = answer();
        self.line("ok", "c", f, answer, node);
    }

    fn tell(&mut self, text: &str) {
        let line = Line::new(text);
        match line.word(0) {
            "limits" => self.limits(&line),
            "wait" => self.now += line.number(1).unsigned_abs() * MS,
            "put" => self.put(&line),
            "pair" => self.pair(&line),
            "delete" => self.delete(&line),
            "get" => self.get(&line),
            "swap" | "drop" => self.swap(&line),
            "compact" => self.ask(
                &line,
                "compact",
                json!({"revision": line.number(1)}),
                || json!({"header": header(line.revision())}),
            ),
            "quiet" => {
                let (node, revision) = (line.word(1), line.number(2));
                self.line("invoke", "judge", "status", json!({"quiet": true}), node);
                let answer =
                    json!({"header": header(revision), "raft_applied_index": revision + 10});
                self.line("ok", "judge", "status", answer, node);
            }
            "kill" | "back" => {
                let phase = if line.word(0) == "kill" {
                    "begin"
                } else {
                    "end"
                };
                let value = json!({"phase": phase, "id": line.word(1)});
                self.line("info", "nemesis", "kill", value, line.word(1));
            }
            "watch" => self.watch(&line),
            "grant" | "keep" | "revoke" | "ttl" | "leases" => self.lease(&line),
            _ => self.stream(&line, text),
        }
    }

    fn limits(&mut self, line: &Line<'_>) {
        for (word, name) in [
            ("watch", "watch_lag_ns"),
            ("progress", "progress_silence_ns"),
        ] {
            if let Some(ms) = line.after(word) {
                self.limits
                    .insert(name.into(), (number(ms).unsigned_abs() * MS).into());
            }
        }
    }

    fn put(&mut self, line: &Line<'_>) {
        let (key, value) = line.word(1).split_once('=').expect("put KEY=VALUE");
        let lease = line.after("lease").map_or(0, number);
        let request = json!({"key": key, "value": value, "lease": lease});
        self.ask(
            line,
            "put",
            request,
            || json!({"header": header(line.revision())}),
        );
    }

    fn pair(&mut self, line: &Line<'_>) {
        let put = |place: usize| {
            let (key, value) = line
                .word(place)
                .split_once('=')
                .expect("pair KEY=VALUE KEY=VALUE");
            json!({"request_put": {"key": key, "value": value}})
        };
        let request = json!({"success": [put(1), put(2)]});
        self.ask(line, "txn", request, || {
            let done = json!({"response_put": {}});
            json!({"header": header(line.revision()), "succeeded": true, "responses": [done, done]})
        });
    }

    fn delete(&mut self, line: &Line<'_>) {
        let request = Value::Object(span(line, 1));
        let deleted = i64::from(!line.has("none"));
        self.ask(
            line,
            "delete_range",
            request,
            || json!({"header": header(line.revision()), "deleted": deleted}),
        );
    }

    fn get(&mut self, line: &Line<'_>) {
        let mut request = span(line, 1);
        for (word, name) in [("at", "revision"), ("limit", "limit")] {
            if let Some(given) = line.after(word) {
                request.insert(name.into(), number(given).into());
            }
        }
        if line.has("stale") {
            request.insert("serializable".into(), true.into());
        }
        let kvs = pairs(line.tail);
        let count = line
            .after("of")
            .map_or(kvs.len(), |of| number(of).try_into().expect("a count"));
        self.ask(line, "range", Value::Object(request), || {
            json!({"header": header(line.revision()), "more": count > kvs.len(), "count": count, "kvs": kvs})
        });
    }

    fn swap(&mut self, line: &Line<'_>) {
        let (key, expected) = (line.word(1), line.number(2));
        let success = match line.word(0) {
            "swap" => json!({"request_put": {"key": key, "value": line.word(4)}}),
            _ => json!({"request_delete_range": {"key": key}}),
        };
        let request = json!({
            "compare": [{"key": key, "target": {"mod_revision": expected}}],
            "success": [success],
            "failure": [{"request_range": {"key": key}}],
        });
        self.ask(line, "txn", request, || {
            let header = header(line.revision());
            if line.has("no") {
                let kvs = pairs(line.tail);
                let range = json!({"response_range": {"count": kvs.len(), "kvs": kvs}});
                return json!({"header": header, "responses": [range]});
            }
            let done = match line.word(0) {
                "swap" => json!({"response_put": {}}),
                _ => json!({"response_delete_range": {"deleted": 1}}),
            };
            json!({"header": header, "succeeded": true, "responses": [done]})
        });
    }

    fn watch(&mut self, line: &Line<'_>) {
        let process = line.word(1);
        let mut request = span(line, 2);
        let from = line.after("from").map_or(0, number);
        request.insert("start_revision".into(), from.into());
        request.insert("prev_kv".into(), line.has("prev").into());
        request.insert("progress_notify".into(), line.has("notify").into());
        let node = line.after("on").unwrap_or("n0").to_owned();
        self.line("invoke", process, "watch", Value::Object(request), &node);
        let created = line.after("created").map_or(0, number);
        self.line(
            "ok",
            process,
            "watch",
            json!({"header": header(created)}),
            &node,
        );
        self.nodes.insert(process.to_owned(), node);
    }

    fn stream(&mut self, line: &Line<'_>, text: &str) {
        let (process, events) = match text.split_once(": ") {
            Some((process, events)) if !process.contains(' ') => (process, Some(events)),
            _ => (line.word(0), None),
        };
        let Some(node) = self.nodes.get(process).cloned() else {
            panic!("not understood: {text}");
        };
        if let Some(events) = events {
            let events: Vec<Value> = events.split(',').map(event).collect();
            let last = events.last().expect("an event")["kv"]["mod_revision"].clone();
            let message = json!({"header": {"revision": last}, "events": events});
            return self.line("ok", process, "watch_event", message, &node);
        }
        match line.word(1) {
            "bookmark" => {
                let value = json!({"header": header(line.number(2))});
                self.line("ok", process, "watch_progress", value, &node);
            }
            "asks" => self.line("invoke", process, "watch_progress", json!({}), &node),
            "cancelled" => {
                let reason = "etcdserver: mvcc: required revision has been compacted";
                let value = json!({"compact_revision": line.number(2), "cancel_reason": reason});
                self.line("fail", process, "watch", value, &node);
            }
            "breaks" => self.line("info", process, "watch", Value::Null, &node),
            _ => panic!("not understood: {text}"),
        }
    }

    fn lease(&mut self, line: &Line<'_>) {
        let id = line
            .words
            .get(1)
            .filter(|_| line.word(0) != "leases")
            .map_or(0, |id| number(id));
        match line.word(0) {
            "grant" => {
                let ttl = line.after("for").map_or(0, number);
                self.ask(line, "lease_grant", json!({"TTL": ttl, "ID": id}), || {
                    json!({"header": header(line.revision()), "ID": id, "TTL": ttl})
                });
            }
            "keep" => self.ask(line, "lease_keep_alive", json!({"ID": id}), || {
                json!({"ID": id, "TTL": line.revision()})
            }),
            "revoke" => self.ask(line, "lease_revoke", json!({"ID": id}), || {
                json!({"header": header(line.revision())})
            }),
            "ttl" => self.ask(line, "lease_time_to_live", json!({"ID": id}), || {
                json!({"ID": id, "TTL": line.revision(), "grantedTTL": line.after("of").map_or(0, number)})
            }),
            _ => self.ask(line, "lease_leases", json!({}), || json!({"leases": []})),
        }
    }

    fn finish(self) -> Told {
        let mut header = json!({"murphy": "history", "version": 1, "model": "etcd", "nodes": ["n0", "n1", "n2"]});
        if !self.limits.is_empty() {
            header["limits"] = Value::Object(self.limits);
        }
        let mut history = format!("{header}\n");
        let mut origin = vec![usize::MAX, usize::MAX];
        for (place, line) in self.lines {
            history.push_str(&line.to_string());
            history.push('\n');
            origin.push(place);
        }
        Told { history, origin }
    }
}
