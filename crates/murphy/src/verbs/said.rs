//! The lines of a fault under `--json`.

use murphy_fault::{
    net::Place,
    span::{Span, Until},
};
use murphy_observe::score::Seat;
use murphy_sys::{clock::boottime_ns, process::BootId};
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
    /// What was asked, and where.
    pub asked: Asked,
    /// Whether lines are wanted at all.
    pub json: bool,
}

/// What was asked, and where: by what `murphy observe --score` tells whether it was found.
#[derive(Debug, Default)]
pub struct Asked {
    words: Value,
    places: Vec<Seat>,
    for_ns: Option<u64>,
}

impl Asked {
    /// What was asked of some places, until when. `words` have a `spec`, and a `scope` where there is one.
    pub fn of(words: Value, places: &[Place], until: Option<Until>) -> Self {
        Self {
            words,
            places: places.iter().map(Seat::of).collect(),
            for_ns: match until {
                Some(Until::After(Span(time))) => u64::try_from(time.as_nanos()).ok(),
                Some(Until::Forever) | None => None,
            },
        }
    }
}

impl Said<'_> {
    /// The journal holds it; nothing has changed.
    pub fn planned(&self) {
        if !self.json {
            return;
        }
        let mut line = self.line("planned", &Value::Null);
        line["boot"] = json!(BootId::current());
        line["asked"] = self.asked.words.clone();
        line["places"] = json!(self.asked.places);
        if let Some(for_ns) = self.asked.for_ns {
            line["for_ns"] = json!(for_ns);
        }
        output::json(&line);
    }

    /// It is over, and undone.
    pub fn ended(&self, event: &str, effect: &Value) {
        self.effect(event, effect);
    }

    /// One line.
    pub fn effect(&self, event: &str, effect: &Value) {
        if self.json {
            output::json(&self.line(event, effect));
        }
    }

    fn line(&self, event: &str, effect: &Value) -> Value {
        json!({
            "event": event, "id": self.id, "family": self.family, "fault": self.fault,
            "engine": self.engine, "targets": self.targets, "effect": effect,
            "boottime_ns": boottime_ns(),
        })
    }
}
