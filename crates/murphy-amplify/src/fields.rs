//! The fields of a format: what each is called, what it holds and what it means, in one table. What reads the format, its JSON Schema and
//! the comment at the head of a file come from it.

use serde_json::{Value, json};

/// A field of an object.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// What it is called.
    pub name: &'static str,
    /// What it holds.
    pub holds: Holds,
    /// Whether it must be there.
    pub is_needed: bool,
    /// What it means, in a few words.
    pub about: &'static str,
}

/// What a field holds.
#[derive(Clone, Copy, Debug)]
pub enum Holds {
    /// Exactly this text.
    Word(&'static str),
    /// Exactly this number.
    Number(u64),
    /// A text.
    Text,
    /// A time as RFC 3339 has it.
    Time,
    /// One of some words.
    OneOf(fn() -> Vec<&'static str>),
    /// `on` or `off`, or a boolean.
    Switch,
    /// A boolean.
    Boolean,
    /// A whole number from here on.
    Count(u64),
    /// A number from 0 to 1.
    Share,
    /// A number that is not below 0.
    Figure,
    /// Several texts.
    Texts,
    /// An object.
    Object(&'static [Field]),
    /// Several objects.
    Objects(&'static [Field]),
    /// An object of figures by names that are not known before.
    Anything,
}

impl Field {
    /// One that must be there.
    pub const fn needed(name: &'static str, holds: Holds, about: &'static str) -> Self {
        Self {
            name,
            holds,
            is_needed: true,
            about,
        }
    }

    /// One that may be absent.
    pub const fn maybe(name: &'static str, holds: Holds, about: &'static str) -> Self {
        Self {
            name,
            holds,
            is_needed: false,
            about,
        }
    }
}

/// What the field of this name is; none if there is no such field.
pub fn find(fields: &'static [Field], name: &str) -> Option<&'static Field> {
    fields.iter().find(|field| field.name == name)
}

/// The JSON Schema of an object of these fields.
pub fn object(fields: &[Field]) -> Value {
    let properties = fields.iter().map(|field| {
        let mut schema = schema(field.holds);
        schema["description"] = json!(field.about);
        (field.name.to_owned(), schema)
    });
    let needed = fields.iter().filter(|field| field.is_needed);
    let needed: Vec<&str> = needed.map(|field| field.name).collect();
    json!({
        "type": "object",
        "properties": Value::Object(properties.collect()),
        "required": needed,
        "additionalProperties": false,
    })
}

fn schema(holds: Holds) -> Value {
    match holds {
        Holds::Word(word) => json!({"const": word}),
        Holds::Number(number) => json!({"const": number}),
        Holds::Text => json!({"type": "string"}),
        Holds::Time => json!({"type": "string", "format": "date-time"}),
        Holds::OneOf(words) => json!({"enum": words()}),
        // Some readers of YAML make a boolean of it.
        Holds::Switch => json!({"enum": ["on", "off", true, false]}),
        Holds::Boolean => json!({"type": "boolean"}),
        Holds::Count(least) => json!({"type": "integer", "minimum": least}),
        Holds::Share => json!({"type": "number", "minimum": 0, "maximum": 1}),
        Holds::Figure => json!({"type": "number", "minimum": 0}),
        Holds::Texts => json!({"type": "array", "items": {"type": "string"}}),
        Holds::Object(fields) => object(fields),
        Holds::Objects(fields) => json!({"type": "array", "items": object(fields)}),
        Holds::Anything => json!({"type": "object"}),
    }
}

#[cfg(test)]
mod tests {
    use std::{env, fs, path::Path};

    use crate::{model::file::fields, recording::schema};

    #[test]
    fn the_schemas_in_the_documentation_are_those_of_the_tables() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/schemas");
        for (name, schema) in [
            ("amplify-errors.json", schema::schema()),
            ("amplify-models.json", fields::schema()),
        ] {
            let path = folder.join(name);
            let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
            if env::var_os("MURPHY_WRITE_SCHEMAS").is_some() {
                fs::write(&path, &text).unwrap();
            }
            let committed = fs::read_to_string(&path).unwrap_or_default();
            assert!(
                committed == text,
                "docs/schemas/{name} is another: run `MURPHY_WRITE_SCHEMAS=1 cargo test -p murphy-amplify schemas` and commit it"
            );
        }
    }
}
