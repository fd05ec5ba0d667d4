//! An object is a map of a YAML text that has the fields of a table, each holding what the table says: what was read of it can be asked
//! for by name.

use super::yaml::{Entry, Flaw, Node, Place, Value};
use crate::{
    fields::{self, Field, Holds},
    nearest,
};

/// A map that has been checked.
#[derive(Clone, Copy, Debug)]
pub struct Object<'a> {
    place: Place,
    entries: &'a [Entry],
}

impl<'a> Object<'a> {
    /// Checks a map: that each field is one, and holds what it is to hold, and that none is missing.
    pub fn of(node: &'a Node, fields: &'static [Field], what: &str) -> Result<Self, Flaw> {
        let Value::Map(entries) = &node.value else {
            let found = node.value.name();
            return Err(node
                .place
                .flaw(format!("expected {what} as a map of fields, found {found}")));
        };
        for entry in entries {
            let Some(field) = fields::find(fields, &entry.name) else {
                let near = nearest::said(&entry.name, fields.iter().map(|field| field.name));
                let names: Vec<&str> = fields.iter().map(|field| field.name).collect();
                return Err(entry.place.flaw(format!(
                    "there is no field `{}` here{near} (the fields are {})",
                    entry.name,
                    names.join(", ")
                )));
            };
            check(field, &entry.node)?;
        }
        let is_missing = |field: &&Field| {
            field.is_needed && entries.iter().all(|entry| entry.name != field.name)
        };
        if let Some(field) = fields.iter().find(is_missing) {
            let problem = format!("expected the field `{}`: {}", field.name, field.about);
            return Err(node.place.flaw(problem));
        }
        Ok(Self {
            place: node.place,
            entries,
        })
    }

    fn node(&self, name: &str) -> Option<&'a Node> {
        let found = self.entries.iter().find(|entry| entry.name == name);
        found.map(|entry| &entry.node)
    }

    /// Where a field's value stands; where the map does without it.
    pub fn place_of(&self, name: &str) -> Place {
        self.node(name).map_or(self.place, |node| node.place)
    }

    /// A text, and where it stands.
    pub fn text(&self, name: &str) -> Option<(&'a str, Place)> {
        let node = self.node(name)?;
        Some((text(node)?, node.place))
    }

    /// Several texts.
    pub fn texts(&self, name: &str) -> Vec<(&'a str, Place)> {
        let list = self.list(name).iter();
        list.filter_map(|node| Some((text(node)?, node.place)))
            .collect()
    }

    /// A number.
    pub fn number(&self, name: &str) -> Option<f64> {
        self.node(name).and_then(number)
    }

    /// A whole number.
    pub fn count(&self, name: &str) -> Option<u64> {
        plain(self.node(name)?)?.parse().ok()
    }

    /// A whole number of 32 bits.
    pub fn short_count(&self, name: &str) -> Result<Option<u32>, Flaw> {
        let short = |count: u64| {
            let problem = format!("{count} is more than {}", u32::MAX);
            u32::try_from(count).map_err(|_| self.place_of(name).flaw(problem))
        };
        self.count(name).map(short).transpose()
    }

    /// On or off, true or false.
    pub fn switch(&self, name: &str) -> Option<bool> {
        switch(self.node(name)?)
    }

    /// An object within.
    pub fn object(&self, name: &str, fields: &'static [Field]) -> Result<Option<Self>, Flaw> {
        let found = self.node(name);
        found
            .map(|node| Self::of(node, fields, &format!("`{name}`")))
            .transpose()
    }

    /// Several objects within.
    pub fn objects(&self, name: &str, fields: &'static [Field]) -> Result<Vec<Self>, Flaw> {
        let each = |node| Self::of(node, fields, &format!("each of `{name}`"));
        self.list(name).iter().map(each).collect()
    }

    fn list(&self, name: &str) -> &'a [Node] {
        match self.node(name).map(|node| &node.value) {
            Some(Value::List(list)) => list,
            _ => &[],
        }
    }
}

/// That a field holds what it is to hold; objects are checked by whoever asks for them.
fn check(field: &Field, node: &Node) -> Result<(), Flaw> {
    let is_list = |is: fn(&Node) -> bool| match &node.value {
        Value::List(list) => list.iter().all(is),
        _ => false,
    };
    let count = plain(node).and_then(|text| text.parse::<u64>().ok());
    let (is_so, expected) = match field.holds {
        Holds::Number(only) if count.is_some_and(|count| count != only) => {
            let found = count.unwrap_or_default();
            let problem = format!(
                "this is version {found} of the format, and this Murphy reads version {only}: read it by the Murphy that wrote it"
            );
            return Err(node.place.flaw(problem));
        }
        Holds::Number(only) => (count == Some(only), only.to_string()),
        Holds::Word(word) => (text(node) == Some(word), format!("`{word}`")),
        Holds::Text | Holds::Time => (text(node).is_some_and(is_said), "a text".into()),
        Holds::OneOf(words) => {
            let words = words();
            let is_one = text(node).is_some_and(|text| words.contains(&text));
            (is_one, format!("one of {}", words.join(", ")))
        }
        Holds::Switch => (switch(node).is_some(), "on or off".into()),
        Holds::Boolean => (switch(node).is_some(), "true or false".into()),
        Holds::Count(least) => (
            count.is_some_and(|count| count >= least),
            format!("a whole number from {least} on"),
        ),
        Holds::Share => (
            number(node).is_some_and(|number| (0.0..=1.0).contains(&number)),
            "a number from 0 to 1".into(),
        ),
        Holds::Figure => (
            number(node).is_some_and(|number| number >= 0.0),
            "a number that is not below 0".into(),
        ),
        Holds::Texts => (
            is_list(|node| text(node).is_some()),
            "a list of texts".into(),
        ),
        Holds::Objects(_) => (
            is_list(|node| matches!(node.value, Value::Map(_))),
            "a list of maps".into(),
        ),
        Holds::Object(_) | Holds::Anything => (matches!(node.value, Value::Map(_)), "a map".into()),
    };
    if is_so {
        return Ok(());
    }
    let found = match text(node) {
        Some(text) if is_said(text) => format!("{text:?}"),
        Some(_) => "empty".to_owned(),
        None => node.value.name().to_owned(),
    };
    let name = field.name;
    Err(node
        .place
        .flaw(format!("`{name}` is {found}, expected {expected}")))
}

fn is_said(text: &str) -> bool {
    !text.trim().is_empty()
}

fn text(node: &Node) -> Option<&str> {
    match &node.value {
        Value::Plain(text) | Value::Quoted(text) => Some(text),
        Value::List(_) | Value::Map(_) => None,
    }
}

fn plain(node: &Node) -> Option<&str> {
    match &node.value {
        Value::Plain(text) => Some(text),
        _ => None,
    }
}

fn number(node: &Node) -> Option<f64> {
    let text = plain(node)?;
    // What Rust takes for a number beside digits is none here.
    let is_number = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    text.parse()
        .ok()
        .filter(|number: &f64| is_number && number.is_finite())
}

fn switch(node: &Node) -> Option<bool> {
    match plain(node)? {
        "on" | "true" => Some(true),
        "off" | "false" => Some(false),
        _ => None,
    }
}
