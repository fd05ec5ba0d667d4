//! Model `key-value`: texts under keys, which are read, put, appended to, deleted and compared-and-set.

use std::hash::{Hash, Hasher};

use smallvec::SmallVec;
use smol_str::SmolStr;

use super::words::{pair, unknown_f, wrong};
use crate::{
    atoms::{Atom, Atoms, NIL, Numbers},
    model::{Kept, Model, Part, Request, Vocabulary},
    value::Value,
};

/// A store that is empty in the beginning. A key that is not there and the empty text are the same.
#[derive(Clone, Debug)]
pub struct KeyValue {
    keys: Atoms,
    /// Whether there was anything but `get`, `put` and `delete`.
    is_not_plain: bool,
    /// The texts of the history; the first is the empty one, so that its number is that of nil.
    texts: Numbers<Text>,
}

impl Default for KeyValue {
    fn default() -> Self {
        Self {
            keys: Atoms::default(),
            is_not_plain: false,
            texts: Numbers::new(EMPTY.clone()),
        }
    }
}

/// A text with its hash, which is the text read as a number to base [`BASE`] modulo 2^64: that of two texts joined
/// follows from theirs, so that appending does not read what is there.
#[derive(Clone, Debug)]
pub struct Text {
    hash: u64,
    text: SmolStr,
}

/// The empty one.
static EMPTY: Text = Text {
    hash: 0,
    text: SmolStr::new_static(""),
};

/// Odd, and of no other use.
const BASE: u64 = 0x0100_0000_01b3_9e37;

impl Text {
    fn new(text: SmolStr) -> Self {
        let hash = hash(0, &text);
        Self { hash, text }
    }

    fn joined(&self, more: &Self) -> Self {
        Self {
            hash: hash(self.hash, &more.text),
            text: [self.text.as_str(), more.text.as_str()]
                .into_iter()
                .collect(),
        }
    }

    fn is_empty(&self) -> bool {
        self.text.is_empty()
    }
}

/// What a byte counts, and a whole piece, by how many bytes stand behind it in a piece of eight.
const POWERS: [u64; 9] = {
    let mut powers = [1_u64; 9];
    let mut place = 1;
    while place < powers.len() {
        powers[place] = powers[place - 1].wrapping_mul(BASE);
        place += 1;
    }
    powers
};

fn hash(start: u64, text: &str) -> u64 {
    let digit = |byte: u8| u64::from(byte) + 1;
    let (pieces, rest) = text.as_bytes().as_chunks::<8>();
    // Eight at a time: no multiplication waits for another.
    let start = pieces.iter().fold(start, |hash, piece| {
        let bytes = piece.iter().zip(POWERS[..8].iter().rev());
        bytes.fold(hash.wrapping_mul(POWERS[8]), |sum, (byte, power)| {
            sum.wrapping_add(digit(*byte).wrapping_mul(*power))
        })
    });
    let step = |hash: u64, byte: &u8| hash.wrapping_mul(BASE).wrapping_add(digit(*byte));
    rest.iter().fold(start, step)
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && self.text == other.text
    }
}

impl Eq for Text {}

impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// A request to a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Which key.
    pub key: Atom,
    /// What to do with it.
    pub act: Act,
}

/// What to do with a key. Numbers stand for texts; 0 for the empty one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// `get`, of `[key]` or `[key, nil]`; its answer is `[key, value]`.
    Get,
    /// `put`, of `[key, value]`.
    Put(Atom),
    /// `append`, of `[key, value]`.
    Append(Atom),
    /// `delete`, of `[key]`.
    Delete,
    /// `cas`, of `[key, [old, new]]`.
    Cas(Atom, Atom),
}

/// An answer of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It was done.
    Done,
    /// The value.
    Value(Atom),
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
        let is = |text| held.map_or(text == NIL, |held| held == self.text(text));
        let new = match (ask.act, answer) {
            (Act::Get, Some(Answer::Value(text))) if !is(*text) => return,
            (Act::Get, _) => return next(state.clone()),
            (Act::Put(text), _) => self.text(text).clone(),
            (Act::Append(more), _) => {
                let more = self.text(more);
                held.map_or_else(|| more.clone(), |held| held.joined(more))
            }
            (Act::Delete, _) => self.text(NIL).clone(),
            (Act::Cas(old, _), Some(Answer::Swapped(false))) => {
                if !is(old) {
                    next(state.clone());
                }
                return;
            }
            (Act::Cas(old, _), _) if !is(old) => return,
            (Act::Cas(_, new), _) => self.text(new).clone(),
        };
        let mut state = state.clone();
        match place {
            Ok(place) if new.is_empty() => drop(state.remove(place)),
            Ok(place) => state[place].1 = new,
            Err(_) if new.is_empty() => {}
            Err(place) => state.insert(place, (ask.key, new)),
        }
        next(state);
    }

    fn allows(&self, state: &Self::State, ask: &Ask, answer: Option<&Answer>) -> bool {
        let (text, is_wanted) = match (ask.act, answer) {
            (Act::Get, Some(Answer::Value(text))) => (*text, true),
            (Act::Cas(old, _), Some(Answer::Swapped(false))) => (old, false),
            (Act::Cas(old, _), _) => (old, true),
            _ => return true,
        };
        let held = state.iter().find(|(key, _)| *key == ask.key);
        let held = held.map_or_else(|| self.text(NIL), |(_, held)| held);
        (held == self.text(text)) == is_wanted
    }

    fn part(&self, ask: &Ask, _: Option<&Answer>) -> Part {
        Part::Key(u64::from(ask.key))
    }

    fn is_read(&self, ask: &Ask, answer: Option<&Answer>) -> bool {
        ask.act == Act::Get || answer == Some(&Answer::Swapped(false))
    }

    fn group(&self, ask: &Ask, answer: Option<&Answer>) -> Option<u64> {
        let value = match (ask.act, answer) {
            (Act::Put(value), _) | (Act::Get, Some(&Answer::Value(value))) => value,
            (Act::Delete, _) => NIL,
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

    fn overwrites(&self, ask: &Ask, _: Option<&Answer>) -> bool {
        matches!(ask.act, Act::Put(_) | Act::Delete)
    }

    fn can_lead_to<'a>(
        &self,
        state: &Self::State,
        ask: &Ask,
        answer: &Answer,
        mut between: impl Iterator<Item = &'a Ask>,
    ) -> bool {
        let wanted = match (ask.act, answer) {
            (Act::Get, Answer::Value(text)) => *text,
            (Act::Cas(old, _), Answer::Swapped(true)) => old,
            _ => return true,
        };
        let text = |text: Atom| self.text(text).text.as_str();
        let wanted = text(wanted);
        let held = state
            .iter()
            .find(|(key, _)| *key == ask.key)
            .map_or("", |(_, text)| &text.text);
        if held == wanted {
            return true;
        }
        // Texts grow at their end, by what comes next in the one wanted, until one is put in their place.
        let rest = wanted.strip_prefix(held);
        between.any(|other| {
            other.key == ask.key
                && match other.act {
                    Act::Get => false,
                    Act::Append(more) => rest.is_some_and(|rest| rest.starts_with(text(more))),
                    Act::Put(put) | Act::Cas(_, put) => wanted.starts_with(text(put)),
                    Act::Delete => true,
                }
        })
    }
}

impl KeyValue {
    /// The text with a number.
    fn text(&self, number: Atom) -> &Text {
        self.texts.get(number).unwrap_or(&EMPTY)
    }

    /// The number of a text; what is not text is taken as it is written, nil as the empty text.
    fn number(&mut self, value: &Value) -> Atom {
        let text = match value {
            Value::Nil => return NIL,
            Value::Text(text) => text.clone(),
            other => other.to_string().into(),
        };
        self.texts.of(&Text::new(text))
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
            "put" => Act::Put(self.number(value)),
            "append" => {
                self.is_not_plain = true;
                Act::Append(self.number(value))
            }
            _ => {
                self.is_not_plain = true;
                let (old, new) = pair(f, value)?;
                Act::Cas(self.number(old), self.number(new))
            }
        };
        Ok(Ask { key, act })
    }

    fn answer(&mut self, ask: &Ask, value: &Value) -> Result<Answer, Box<str>> {
        match ask.act {
            Act::Get => {
                let (key, value) = pair("get", value)?;
                if self.keys.of(key) != ask.key {
                    return wrong("get", "the key that was asked for", key);
                }
                Ok(Answer::Value(self.number(value)))
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
        let say = |text| say(self.text(text));
        match ask.act {
            Act::Get => format!("get {key}"),
            Act::Put(text) => format!("put {key} = {}", say(text)),
            Act::Append(text) => format!("append {} to {key}", say(text)),
            Act::Delete => format!("delete {key}"),
            Act::Cas(old, new) => format!("cas {key} from {} to {}", say(old), say(new)),
        }
    }

    fn say_answer(&self, _: &Ask, answer: &Answer) -> String {
        match *answer {
            Answer::Done => String::new(),
            Answer::Value(text) => say(self.text(text)),
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
        let asked = kept.asks.iter().flat_map(|ask| match ask.act {
            Act::Put(text) | Act::Append(text) => [text, NIL],
            Act::Cas(old, new) => [old, new],
            Act::Get | Act::Delete => [NIL, NIL],
        });
        let read = kept.answers.iter().filter_map(|answer| match answer {
            Answer::Value(text) => Some(*text),
            Answer::Done | Answer::Swapped(_) => None,
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
