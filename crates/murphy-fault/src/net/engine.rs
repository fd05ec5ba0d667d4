//! An engine is a way to disturb packets; which one it is depends on what is asked.

use std::{fmt, str::FromStr};

use murphy_sys::{tap, traffic};
use serde::Serialize;

use super::{NetError, Spec, cable::CableError};

/// A way to disturb packets, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Engine {
    /// In the kernel alone: loses, refuses and duplicates.
    Tcx,
    /// Through taps that Murphy serves: packets may wait, too.
    Cable,
}

impl Engine {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Tcx, Self::Cable];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcx => "tcx",
            Self::Cable => "cable",
        }
    }

    /// What it is good for.
    pub fn does(self) -> &'static str {
        match self {
            Self::Tcx => "loss, bursts, duplicates and partitions, in the kernel",
            Self::Cable => "delay, reordering, corruption and rates as well, through taps",
        }
    }

    /// The engine for what is asked: the one that was forced, if it does it, or the best that does.
    pub fn choose(spec: &Spec, forced: Option<Self>) -> Result<Self, NetError> {
        match forced {
            Some(Self::Tcx) if spec.needs_queue() => Err(NetError::Waits {
                asked: spec.to_string(),
            }),
            Some(engine) => Ok(engine),
            None if spec.needs_queue() => Ok(Self::Cable),
            None => Ok(Self::Tcx),
        }
    }

    /// Asks this kernel whether it works; changes nothing.
    pub fn trial(self) -> Result<(), NetError> {
        traffic::trial()?;
        if self == Self::Cable {
            tap::trial().map_err(CableError::from)?;
        }
        Ok(())
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Not the name of an engine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("read the engine {0:?}: there are tcx and cable")]
pub struct UnknownEngine(String);

impl FromStr for Engine {
    type Err = UnknownEngine;

    fn from_str(text: &str) -> Result<Self, UnknownEngine> {
        let named = Self::ALL.into_iter().find(|engine| engine.name() == text);
        named.ok_or_else(|| UnknownEngine(text.to_owned()))
    }
}
