//! Model `key-value`: texts under keys, which are read, put, appended to, deleted and compared-and-set.

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
};

use smallvec::SmallVec;

use super::words::{pair, unknown_f, wrong};
use crate::{
    atoms::{Atom, Atoms},
    model::{Kept, Model, Part, Request, Vocabulary},
    value::Value,
};

/// A store that is empty in the beginning. A key that is not there and the empty text are the same.
#[derive(Clone, Debug, Default)]
pub struct KeyValue {
    keys: Atoms,
    /// Whether there was nothing but `get`, `put` and `delete`.
    is_not_plain: bool,
    texts: Atoms,
}

/// A text with its hash, which is the text read as a number to base [`BASE`] modulo 2^64: that of two texts joined
/// follows from theirs, so that appending does not read what is there.
#[derive(Clone, Debug)]
pub struct Text {
    hash: u64,
    text: Arc<str>,
}

/// Odd, and of no other use.
const BASE: u64 = 0x0100_0000_01b3_9e37;

impl Text {
    fn new(text: &str) -> Self {
        let hash = hash(0, text);
        Self {
            hash,
            text: text.into(),
        }
    }

    fn joined(&self, more: &Self) -> Self {
        Self {
            hash: hash(self.hash, &more.text),
            text: [&*self.text, &*more.text].concat().into(),
        }
    }

    fn is_empty(&self) -> bool {
        self.text.is_empty()
    }
}

fn hash(start: u64, text: &str) -> u64 {
    text.bytes().fold(start, |hash, byte| {
        hash.wrapping_mul(BASE).wrapping_add(u64::from(byte) + 1)
    })
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && (Arc::ptr_eq(&self.text, &other.text) || self.text == other.text)
    }
}

impl Eq for Text {}

impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// A request to a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Which key.
    pub key: Atom,
    /// What to do with it.
    pub act: Act,
}

/// What to do with a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// `get`, of `[key]` or `[key, nil]`; its answer is `[key, value]`.
    Get,
    /// `put`, of `[key, value]`; the number stands for the value.
    Put(Text, Atom),
    /// `append`, of `[key, value]`.
    Append(Text),
    /// `delete`, of `[key]`.
    Delete,
    /// `cas`, of `[key, [old, new]]`.
    Cas(Text, Text),
}

/// An answer of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It was done.
    Done,
    /// The value, and the number that stands for it.
    Value(Text, Atom),
    /// Whether the value was the one expected.
    Swapped(bool),
}

impl Model for KeyValue {
    /// Texts that are not empty by key, in the order of the keys' numbers.
    type State = SmallVec<[(Atom, Text); 1]>;
    type Ask = Ask;
    type Answer = Answer;

    fn initial(&self) -> Self::State {
        SmallVec::new()
    }

    fn step(
        &self,
        state: &Self::State,
        ask: &Ask,
        answer: Option<&Answer>,
        next: &mut dyn FnMut(Self::State),
    ) {
        let place = state.binary_search_by_key(&ask.key, |(key, _)| *key);
        let held = place.ok().map(|place| &state[place].1);
        let is = |text: &Text| held.map_or(text.is_empty(), |held| held == text);
        let new = match (&ask.act, answer) {
            (Act::Get, Some(Answer::Value(text, _))) if !is(text) => return,
            (Act::Get, _) => return next(state.clone()),
            (Act::Put(text, _), _) => Some(text.clone()),
            (Act::Append(more), _) => {
                Some(held.map_or_else(|| more.clone(), |held| held.joined(more)))
            }
            (Act::Delete, _) => None,
            (Act::Cas(old, _), Some(Answer::Swapped(false))) => {
                if !is(old) {
                    next(state.clone());
                }
                return;
            }
            (Act::Cas(old, _), _) if !is(old) => return,
            (Act::Cas(_, new), _) => Some(new.clone()),
        };
        let mut state = state.clone();
        match (new.filter(|new| !new.is_empty()), place) {
            (None, Err(_)) => {}
            (None, Ok(place)) => {
                state.remove(place);
            }
            (Some(text), Ok(place)) => state[place].1 = text,
            (Some(text), Err(place)) => state.insert(place, (ask.key, text)),
        }
        next(state);
    }

    fn part(&self, ask: &Ask, _: Option<&Answer>) -> Part {
        Part::Key(u64::from(ask.key))
    }

    fn is_read(&self, ask: &Ask, answer: Option<&Answer>) -> bool {
        ask.act == Act::Get || answer == Some(&Answer::Swapped(false))
    }

    fn group(&self, ask: &Ask, answer: Option<&Answer>) -> Option<u64> {
        let value = match (&ask.act, answer) {
            (Act::Put(_, value), _) | (Act::Get, Some(Answer::Value(_, value))) => *value,
            (Act::Delete, _) => 0,
            _ => return None,
        };
        (!self.is_not_plain).then(|| u64::from(ask.key) << 32 | u64::from(value))
    }

    fn state_bytes(&self, state: &Self::State) -> usize {
        let texts: usize = state.iter().map(|(_, text)| text.text.len() + 32).sum();
        size_of_val(state) + texts
    }

    fn tells(&self, _: &Ask, answer: &Answer) -> bool {
        *answer != Answer::Done
    }

    fn can_lead_to<'a>(
        &self,
        state: &Self::State,
        ask: &Ask,
        answer: &Answer,
        mut between: impl Iterator<Item = &'a Ask>,
    ) -> bool {
        let wanted = match (&ask.act, answer) {
            (Act::Get, Answer::Value(text, _)) => text,
            (Act::Cas(old, _), Answer::Swapped(true)) => old,
            _ => return true,
        };
        let held = state
            .iter()
            .find(|(key, _)| *key == ask.key)
            .map_or("", |(_, text)| &text.text);
        if held == &*wanted.text {
            return true;
        }
        // Texts grow at their end, by what comes next in the one wanted, until one is put in their place.
        let rest = wanted.text.strip_prefix(held);
        between.any(|other| {
            other.key == ask.key
                && match &other.act {
                    Act::Get => false,
                    Act::Append(more) => rest.is_some_and(|rest| rest.starts_with(&*more.text)),
                    Act::Put(text, _) | Act::Cas(_, text) => wanted.text.starts_with(&*text.text),
                    Act::Delete => true,
                }
        })
    }
}

impl KeyValue {
    /// A text and its number; what is not text is taken as it is written, nil as the empty text.
    fn text(&mut self, value: &Value) -> (Text, Atom) {
        match value {
            Value::Nil => (Text::new(""), 0),
            Value::Text(text) if text.is_empty() => (Text::new(""), 0),
            Value::Text(text) => (Text::new(text), self.texts.of(value)),
            other => {
                let text = other.to_string();
                let atom = self.texts.of(&Value::text(text.as_str()));
                (Text::new(&text), atom)
            }
        }
    }
}

impl Vocabulary for KeyValue {
    const NAME: &'static str = "key-value";

    fn ask(&mut self, request: Request<'_>) -> Result<Ask, Box<str>> {
        let (f, value) = (request.f, request.value);
        let (key, value) = match (f, value.as_list()) {
            ("get" | "delete", Some([key] | [key, _])) => (key, &Value::Nil),
            ("get" | "delete", _) => return wrong(f, "a list with the key", value),
            ("put" | "append" | "cas", _) => pair(f, value)?,
            _ => return unknown_f(f, Self::NAME, "get, put, append, delete and cas"),
        };
        let key = self.keys.of(key);
        let act = match f {
            "get" => Act::Get,
            "delete" => Act::Delete,
            "put" => {
                let (text, atom) = self.text(value);
                Act::Put(text, atom)
            }
            "append" => {
                self.is_not_plain = true;
                Act::Append(self.text(value).0)
            }
            _ => {
                self.is_not_plain = true;
                let (old, new) = pair(f, value)?;
                Act::Cas(self.text(old).0, self.text(new).0)
            }
        };
        Ok(Ask { key, act })
    }

    fn answer(&mut self, ask: &Ask, value: &Value) -> Result<Answer, Box<str>> {
        match &ask.act {
            Act::Get => {
                let (key, value) = pair("get", value)?;
                if self.keys.of(key) != ask.key {
                    return wrong("get", "the key that was asked for", key);
                }
                let (text, atom) = self.text(value);
                Ok(Answer::Value(text, atom))
            }
            Act::Cas(..) => Ok(Answer::Swapped(*value != Value::Bool(false))),
            _ => Ok(Answer::Done),
        }
    }

    fn failure(&mut self, ask: &Ask, error: Option<&str>) -> Option<Answer> {
        let saw_another = matches!(ask.act, Act::Cas(..)) && error.is_none();
        saw_another.then_some(Answer::Swapped(false))
    }

    fn say_ask(&self, ask: &Ask) -> String {
        let key = self.keys.value(ask.key);
        match &ask.act {
            Act::Get => format!("get {key}"),
            Act::Put(text, _) => format!("put {key} = {}", say(text)),
            Act::Append(text) => format!("append {} to {key}", say(text)),
            Act::Delete => format!("delete {key}"),
            Act::Cas(old, new) => format!("cas {key} from {} to {}", say(old), say(new)),
        }
    }

    fn say_answer(&self, _: &Ask, answer: &Answer) -> String {
        match answer {
            Answer::Done => String::new(),
            Answer::Value(text, _) => say(text),
            Answer::Swapped(true) => "swapped".into(),
            Answer::Swapped(false) => "another value".into(),
        }
    }

    fn say_state(&self, state: &Self::State) -> String {
        let said: Vec<_> = (state.iter())
            .map(|(key, text)| format!("{} = {}", self.keys.value(*key), say(text)))
            .collect();
        if said.is_empty() {
            "nothing".into()
        } else {
            said.join(", ")
        }
    }

    fn forget(&mut self, kept: &mut Kept<'_, Self>) {
        // Keys stay, for there is a state under each. A text that is in a state need not keep its number.
        let asked = kept.asks.iter().filter_map(|ask| match ask.act {
            Act::Put(_, text) => Some(text),
            _ => None,
        });
        let read = kept.answers.iter().filter_map(|answer| match answer {
            Answer::Value(_, text) => Some(*text),
            _ => None,
        });
        self.texts.retain(&asked.chain(read).collect());
    }
}

/// A text as people read it: long ones by their end, which is where appended texts differ.
fn say(text: &Text) -> String {
    const SHOWN: usize = 40;
    let length = text.text.chars().count();
    if text.is_empty() {
        "nil".into()
    } else if length > SHOWN {
        let end: String = text.text.chars().skip(length - SHOWN).collect();
        format!("…{end}")
    } else {
        text.text.to_string()
    }
}
