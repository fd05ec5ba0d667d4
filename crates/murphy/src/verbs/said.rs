//! The lines of a fault under `--json`.

use serde_json::{Value, json};

use crate::output;

/// One injection as its lines name it.
pub struct Said<'a> {
    /// Its family.
    pub family: &'a str,
    /// What makes it happen.
    pub engine: &'a str,
    /// Six hex digits.
    pub id: &'a str,
    /// The fault.
    pub fault: &'a str,
    /// Who is hit.
    pub targets: &'a [String],
    /// Whether lines are wanted at all.
    pub json: bool,
}

impl Said<'_> {
    /// The journal holds it; nothing has changed.
    pub fn planned(&self) {
        self.effect("planned", &Value::Null);
    }

    /// It is over, and undone.
    pub fn ended(&self, event: &str, effect: &Value) {
        self.effect(event, effect);
    }

    /// One line.
    pub fn effect(&self, event: &str, effect: &Value) {
        if self.json {
            output::json(&json!({
                "event": event, "id": self.id, "family": self.family, "fault": self.fault,
                "engine": self.engine, "targets": self.targets, "effect": effect,
            }));
        }
    }
}
