//! A scene is what any history looks like: lanes of clients, bars of invocations, bands of faults.

use crate::{
    history::Header,
    intern::{Bytes, Id},
    recording::{Invocation, Outcome, Recording},
    value::Value,
};

/// Longer texts are cut off: a picture is no copy of the history.
const LONGEST_TEXT: usize = 240;

/// An invocation belongs to at most so many keys; a read of a range belongs to none.
const KEYS_MOST: usize = 16;

/// A client, or a stream of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lane {
    /// Its name.
    pub name: Id,
}

/// An invocation from question to answer, or an event that a stream brought.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bar {
    /// Who asked: its place in [`Scene::lanes`].
    pub lane: u32,
    /// What was asked for, in one word.
    pub f: Id,
    /// What was asked for, in a few words.
    pub label: Id,
    /// What was answered; an empty text where there is nothing to say.
    pub answer: Id,
    /// What became of it.
    pub outcome: Outcome,
    /// The moment it was asked.
    pub call: u64,
    /// The moment it was answered or given up; [`u64::MAX`] for never.
    pub end: u64,
    /// Line of the request, from 1.
    pub line: u32,
    /// Line of the answer, 0 for none.
    pub end_line: u32,
    /// Index of the request.
    pub index: u64,
    /// Index of the answer, or of the request where there is none.
    pub end_index: u64,
    /// The member asked.
    pub node: Option<Id>,
    /// What went wrong.
    pub error: Option<Id>,
    /// First and one behind the last of its keys in [`Scene::keys`].
    pub keys: (u32, u32),
}

/// A fault.
#[derive(Clone, Debug)]
pub(crate) struct Band {
    /// What it was and whom it hit: `kill n2`.
    pub name: String,
    /// The class of its colour.
    pub family: &'static str,
    /// The moment it began.
    pub begin: u64,
    /// The moment it ended; [`u64::MAX`] where it did not.
    pub end: u64,
}

/// What a picture shows.
#[derive(Clone, Debug)]
pub(crate) struct Scene {
    /// What the history says of itself.
    pub header: Header,
    /// Whether moments are nanoseconds; the numbers of events otherwise.
    pub is_timed: bool,
    /// In the order of their first invocation.
    pub lanes: Vec<Lane>,
    /// In the order in which they were asked.
    pub bars: Vec<Bar>,
    /// In the order of their begin.
    pub bands: Vec<Band>,
    /// The keys of the bars.
    pub keys: Vec<Id>,
    texts: Bytes,
}

impl Scene {
    /// An empty scene.
    pub(crate) fn new(header: Header, is_timed: bool) -> Self {
        let mut texts = Bytes::default();
        texts.id(b"");
        Self {
            header,
            is_timed,
            lanes: Vec::new(),
            bars: Vec::new(),
            bands: Vec::new(),
            keys: Vec::new(),
            texts,
        }
    }

    /// The number of a text; a long one is cut off.
    pub(crate) fn id(&mut self, text: &str) -> Id {
        match text.char_indices().nth(LONGEST_TEXT) {
            None => self.texts.id(text.as_bytes()),
            Some((end, _)) => self.texts.id(format!("{}…", &text[..end]).as_bytes()),
        }
    }

    /// A text.
    pub(crate) fn text(&self, id: Id) -> &str {
        std::str::from_utf8(self.texts.get(id)).unwrap_or_default()
    }

    /// How many texts there are.
    pub(crate) fn text_count(&self) -> usize {
        self.texts.len()
    }

    /// Keeps keys for the next bar.
    pub(crate) fn keep_keys<'k>(
        &mut self,
        keys: impl IntoIterator<Item = std::borrow::Cow<'k, str>>,
    ) -> (u32, u32) {
        let first = self.keys.len();
        for key in keys.into_iter().take(KEYS_MOST) {
            let id = self.id(&key);
            if !self.keys[first..].contains(&id) {
                self.keys.push(id);
            }
        }
        let place = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        (place(first), place(self.keys.len()))
    }

    /// The name of the lane of a bar.
    pub(crate) fn lane_of(&self, bar: &Bar) -> &str {
        self.text(self.lanes[bar.lane as usize].name)
    }

    /// What a recording looks like.
    pub(crate) fn of_recording(recording: &Recording) -> Self {
        let mut scene = Self::new(recording.header.clone(), recording.is_timed);
        for process in 0..recording.process_count() {
            let process = u32::try_from(process).unwrap_or(u32::MAX);
            let name = scene.id(recording.process(process));
            scene.lanes.push(Lane { name });
        }
        scene.bars.reserve(recording.invocations.len());
        for invocation in &recording.invocations {
            let bar = scene.bar(recording, invocation);
            scene.bars.push(bar);
        }
        for fault in &recording.faults {
            scene.bands.push(Band {
                name: match &fault.node {
                    Some(node) => format!("{} {node}", fault.f),
                    None => fault.f.clone(),
                },
                family: family(&fault.f),
                begin: fault.begin,
                end: fault.end,
            });
        }
        scene
    }

    fn bar(&mut self, recording: &Recording, invocation: &Invocation) -> Bar {
        let f = recording.word(invocation.f);
        let label = match said(&invocation.ask) {
            ask if ask.is_empty() => f.to_owned(),
            ask => format!("{f} {ask}"),
        };
        let answer = match (invocation.outcome, &invocation.answer) {
            (Outcome::Fail, _) => "failed".into(),
            (Outcome::Unknown, _) => "unknown".into(),
            (Outcome::Ok, Value::Nil) => "ok".into(),
            // What only repeats the question says no more than that it was answered.
            (Outcome::Ok, answer) if *answer == invocation.ask => "ok".into(),
            (Outcome::Ok, answer) => said(answer),
        };
        let keys = keys(&invocation.ask, &recording.header.model);
        Bar {
            lane: invocation.process,
            f: self.id(f),
            label: self.id(&label),
            answer: self.id(&answer),
            outcome: invocation.outcome,
            call: invocation.call,
            end: invocation.end,
            line: invocation.line,
            end_line: invocation.end_line,
            index: invocation.index,
            end_index: invocation.end_index,
            node: invocation.node.map(|node| self.id(recording.node(node))),
            error: invocation.error.map(|error| self.id(recording.word(error))),
            keys: self.keep_keys(keys.into_iter().map(Into::into)),
        }
    }
}

/// A value in few words: `k = 3` for a key with a value.
fn said(value: &Value) -> String {
    match value {
        Value::Nil => String::new(),
        Value::Map(entries) => {
            let fields = (entries.len(), value.field("key"), value.field("value"));
            match fields {
                (1, Some(key), None) | (2, Some(key), Some(Value::Nil)) => key.to_string(),
                (2, Some(key), Some(value)) => format!("{key} = {value}"),
                _ => value.to_string(),
            }
        }
        value => value.to_string(),
    }
}

/// The keys a request speaks of, as far as its shape tells: the field `key` of a map, the second element of each
/// `[f key value]` of a transaction, and, for models whose values are `[key value]`, the first of the two.
fn keys(ask: &Value, model: &str) -> Vec<String> {
    if let Some(key) = ask.field("key") {
        return vec![key.to_string()];
    }
    let Some(parts) = ask.as_list() else {
        return Vec::new();
    };
    let micro = |part: &Value| match part.as_list() {
        Some([Value::Text(_), key, _]) if !key.is_nil() => Some(key.to_string()),
        _ => None,
    };
    let micros: Option<Vec<String>> = parts.iter().map(micro).collect();
    match (micros, parts) {
        (Some(keys), [_, ..]) => keys,
        (None, [key, _]) if is_keyed(model) => vec![key.to_string()],
        _ => Vec::new(),
    }
}

/// Whether the values of a model are pairs of a key and what is asked of it.
fn is_keyed(model: &str) -> bool {
    ["kv", "key-value", "multi-register"].contains(&model) || model.starts_with("keyed-")
}

/// The class that gives a fault its colour.
pub(crate) fn family(f: &str) -> &'static str {
    let is = |words: &[&str]| words.iter().any(|word| f.contains(word));
    if is(&["skew", "clock", "time", "bump", "strobe"]) {
        "time"
    } else if is(&["conn", "reset"]) {
        "conn"
    } else if is(&["net", "partition", "loss", "delay", "packet", "link", "cut"]) {
        "net"
    } else {
        "process"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micro(f: &str, key: i64) -> Value {
        Value::list([f.into(), key.into(), Value::Nil])
    }

    #[test]
    fn the_keys_of_a_request_are_where_its_shape_has_them() {
        let map = Value::Map([("key".into(), "k/1".into()), ("value".into(), 3.into())].into());
        let pair = Value::list([7.into(), Value::list([1.into(), 2.into()])]);
        let transaction = Value::list([micro("r", 4), micro("append", 5)]);
        for (ask, model, expected) in [
            (&map, "etcd", vec!["k/1"]),
            (&pair, "multi-register", vec!["7"]),
            (&pair, "cas-register", vec![]),
            (&transaction, "list-append", vec!["4", "5"]),
            (&Value::Nil, "register", vec![]),
            (&Value::list([]), "list-append", vec![]),
        ] {
            assert_eq!(keys(ask, model), expected, "{ask} of {model}");
        }
    }

    #[test]
    fn values_are_said_in_few_words() {
        let map = |fields: &[(&str, Value)]| {
            let fields = fields
                .iter()
                .map(|(name, value)| ((*name).into(), value.clone()));
            Value::Map(fields.collect())
        };
        for (value, words) in [
            (Value::Nil, ""),
            (Value::Int(3), "3"),
            (map(&[("key", "k".into()), ("value", 3.into())]), "k = 3"),
            (map(&[("key", "k".into()), ("value", Value::Nil)]), "k"),
            (map(&[("key", "k".into())]), "k"),
            (
                map(&[("key", "k".into()), ("to", 3.into())]),
                "{key: k, to: 3}",
            ),
        ] {
            assert_eq!(said(&value), words);
        }
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let mut scene = Scene::new(Header::new("register"), true);
        let long = "é".repeat(LONGEST_TEXT + 5);
        let id = scene.id(&long);
        assert_eq!(scene.text(id).chars().count(), LONGEST_TEXT + 1);
        let short = scene.id("short");
        assert_eq!(scene.text(short), "short");
    }
}
