//! What a disconnection has done, and what came of it.

use std::net::SocketAddr;

use serde::{Serialize, Serializer};

use super::{Connection, How, Owner, recovery::Recovery, scope::Side};

/// How many connections an effect names.
pub(super) const NAMED_MAX: usize = 1000;

/// How much of what does not work is said.
const TROUBLES_MAX: usize = 20;

/// What was done, and what came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Disconnected {
    /// How those end that are drawn.
    pub how: How,
    /// How those end that come later, where they are meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub how_new: Option<How>,
    /// How many were there at first.
    pub before: usize,
    /// How many were there when last looked at.
    pub now: usize,
    /// How many were to end, over all draws.
    pub asked: usize,
    /// How many have ended so, by what the kernel says; of stalled ones, how many nothing passes any more.
    pub ended: usize,
    /// On how many of those that were drawn whoever was asked had not answered yet: at least so many requests fail. Unknown
    /// of more connections than a few thousand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unanswered: Option<usize>,
    /// Of how many the end is still to come: they are not old enough, or have not carried enough.
    #[serde(skip_serializing_if = "is_zero")]
    pub waiting: usize,
    /// How many other ends have not answered yet, and are not told.
    #[serde(skip_serializing_if = "is_zero")]
    pub untold: usize,
    /// How many were gone by themselves when it was their turn; others were drawn for them.
    pub redrawn: usize,
    /// Each draw.
    pub draws: Vec<Draw>,
    /// Those that came later, where they are meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<Newcomers>,
    /// Which they were: the first thousand.
    pub connections: Vec<Cut>,
    /// How the pool came back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovery: Option<Recovery>,
    /// What did not work.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub troubles: Vec<String>,
    /// What could not be undone.
    pub left: Vec<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it so")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// One draw.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Draw {
    /// When, in milliseconds since the first.
    pub at_ms: u64,
    /// From how many.
    pub of: usize,
    /// How many were to end.
    pub asked: usize,
    /// How many have ended.
    pub ended: usize,
    /// How many others were drawn for those that were gone.
    pub redrawn: usize,
    /// How long listing, drawing and ending took, in microseconds.
    pub took_us: u64,
    /// After how many milliseconds there were as many again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovered_ms: Option<u64>,
}

/// Those that came later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Newcomers {
    /// How many have come, or wanted to.
    pub seen: u64,
    /// How many of them were hit.
    pub hit: u64,
    /// How many came into a namespace that others share, and were gone before it was known whether they are the target's.
    #[serde(skip_serializing_if = "is_none")]
    pub missed: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it so")]
fn is_none(count: &u64) -> bool {
    *count == 0
}

impl Newcomers {
    pub(super) fn add(&mut self, more: Self) {
        self.seen += more.seen;
        self.hit += more.hit;
        self.missed += more.missed;
    }
}

/// One connection that was hit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cut {
    /// When, in milliseconds since the first draw.
    pub at_ms: u64,
    /// The target's end.
    pub local: String,
    /// The other end.
    pub remote: String,
    /// Who asked for it.
    pub side: Side,
    /// Who held it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
    /// How it ended, or is to end.
    pub how: How,
    /// Why it was hit.
    pub origin: Origin,
    /// What the kernel was seen to do, where it could be watched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
    /// By which evidence is found.
    #[serde(skip)]
    pub(super) ends: (SocketAddr, SocketAddr),
}

/// Why a connection was hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It was there, and was drawn, the nth time.
    Drawn(usize),
    /// It came, and was hit by chance.
    New,
}

impl Serialize for Origin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            Self::Drawn(_) => "drawn",
            Self::New => "new",
        })
    }
}

/// What the kernel was seen to do to a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// The target's end has left its state for none.
    pub closed: bool,
    /// The target's end has sent a reset.
    pub reset_sent: bool,
    /// The other end has got a reset, where it is on this machine.
    pub reset_received: bool,
}

impl Disconnected {
    /// Whether any connection was hit.
    pub fn had_effect(&self) -> bool {
        self.ended > 0 || self.new.is_some_and(|new| new.hit > 0)
    }

    /// Why nothing was hit, where nothing was.
    pub fn why_none(&self) -> String {
        let new = self.new.map_or(0, |new| new.seen);
        match (self.asked + self.waiting, new) {
            (0, 0) => "no connection matched; --allow-none makes that no error".into(),
            (0, new) => format!("{new} came, and none of them was drawn"),
            _ if self.waiting > 0 => {
                format!(
                    "{} wait for an end that has not come in its time",
                    self.waiting
                )
            }
            (asked, _) => {
                format!("{asked} were drawn, and all of them were gone or could not be ended")
            }
        }
    }

    /// Says once what did not work.
    pub(super) fn trouble(&mut self, trouble: String) {
        if self.troubles.len() < TROUBLES_MAX && !self.troubles.contains(&trouble) {
            self.troubles.push(trouble);
        }
    }

    /// The effect in words.
    pub fn text(&self) -> String {
        let mut words = Vec::new();
        if !self.draws.is_empty() {
            let draws = match self.draws.len() {
                1 => String::new(),
                n => format!(" in {n} draws"),
            };
            let redrawn = match self.redrawn {
                0 => String::new(),
                n => format!(", {n} others were gone before their turn"),
            };
            let unanswered = match self.unanswered {
                None | Some(0) => String::new(),
                Some(n) => format!(", {n} of them with a request under way"),
            };
            words.push(format!(
                "{} of {} drawn were {}{draws}{redrawn}{unanswered}",
                self.ended,
                self.asked,
                self.how.participle()
            ));
        }
        if self.waiting > 0 {
            words.push(format!("{} wait for their end", self.waiting));
        }
        if self.untold > 0 {
            words.push(format!(
                "{} other ends keep silent, and are not told",
                self.untold
            ));
        }
        if let Some(new) = self.new {
            let how = self.how_new.unwrap_or(self.how).participle();
            words.push(format!("{} of {} new ones were {how}", new.hit, new.seen));
        }
        let last = self.draws.last().and_then(|draw| draw.recovered_ms);
        words.push(match last {
            Some(ms) => format!(
                "{} at first, {} now, as many as before after {ms} ms",
                self.before, self.now
            ),
            None => format!("{} at first, {} now", self.before, self.now),
        });
        if let Some(recovery) = &self.recovery {
            words.extend(recovery.words());
        }
        words.join("; ")
    }
}

impl Cut {
    pub(super) fn of(connection: &Connection, at_ms: u64, how: How, origin: Origin) -> Self {
        let (local, remote) = connection.socket.id.ends();
        Self {
            at_ms,
            local: local.to_string(),
            remote: remote.to_string(),
            side: connection.side,
            owner: connection.owner.clone(),
            how,
            origin,
            evidence: None,
            ends: (local, remote),
        }
    }
}
