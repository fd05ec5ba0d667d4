//! A plan says everything a fault would change and how it ends, before anything is changed.

use std::borrow::Cow;

use serde::Serialize;

use crate::{span::Until, undo::Undo};

/// How a fault ends when nobody is left to end it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EndsBy {
    /// It is over as soon as it has happened.
    Itself,
    /// The kernel ends it with Murphy, and what it runs ends it at its time.
    Kernel,
    /// It ends at its time inside the target, whoever lives; its keeper clears away what is left.
    Deadline,
    /// The keeper runs its undos.
    Keeper,
}

impl EndsBy {
    /// In words, after "should Murphy die, ".
    pub fn text(self) -> &'static str {
        match self {
            Self::Itself => "nothing is left to undo",
            Self::Kernel => "the kernel ends it at once",
            Self::Deadline => {
                "its keeper undoes it within a second; without one it ends in the target, in time"
            }
            Self::Keeper => "its keeper undoes it within a second",
        }
    }
}

/// What would happen, all known before the first effect.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    /// The family.
    pub family: &'static str,
    /// The fault.
    pub fault: String,
    /// The engine that would make it happen.
    pub engine: Cow<'static, str>,
    /// Who would be hit, for people.
    pub targets: Vec<String>,
    /// Every change, for people.
    pub changes: Vec<String>,
    /// The way back.
    pub undo: Vec<Undo>,
    /// Who goes it when Murphy cannot.
    pub ends: EndsBy,
    /// When it ends.
    pub until: Until,
}
