//! A finding is what a detector claims: what is wrong, between whom, which way, how much, since when, and by what
//! evidence.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{edge::Edge, share::Share};

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Nothing comes through.
    Partition,
    /// Some packets do not come through.
    Loss,
    /// What comes takes long.
    Latency,
    /// What comes takes now longer and now shorter.
    Jitter,
    /// Connections are reset.
    Resets,
    /// Connections are refused.
    Refusals,
    /// Connections that are asked for are not answered, while others pass.
    Timeouts,
    /// Nothing passes single connections, while others pass.
    HalfOpen,
    /// Names are looked up slowly.
    SlowDns,
    /// Names cannot be looked up.
    FailingDns,
    /// What is sent once comes twice.
    Duplication,
    /// What is sent later comes sooner.
    Reordering,
    /// What comes is damaged.
    Corruption,
    /// Connections wait to be accepted, and more do not fit.
    ListenOverflow,
    /// Connections are asked for again and again, in vain.
    RetryStorm,
    /// The kernel throws packets away that somebody wanted.
    Drops,
    /// A clock was set, or is wrong.
    ClockJump,
    /// System calls fail that did not.
    FailingSyscalls,
    /// System calls take long that did not.
    SlowSyscalls,
}

impl Kind {
    /// Its name, for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Partition => "partition",
            Self::Loss => "packet loss",
            Self::Latency => "latency",
            Self::Jitter => "jitter",
            Self::Resets => "resets",
            Self::Refusals => "refusals",
            Self::Timeouts => "connect time-outs",
            Self::HalfOpen => "half open",
            Self::SlowDns => "slow DNS",
            Self::FailingDns => "failing DNS",
            Self::Duplication => "duplication",
            Self::Reordering => "reordering",
            Self::Corruption => "corruption",
            Self::ListenOverflow => "listen overflow",
            Self::RetryStorm => "retry storm",
            Self::Drops => "drops",
            Self::ClockJump => "clock jump",
            Self::FailingSyscalls => "failing syscalls",
            Self::SlowSyscalls => "slow syscalls",
        }
    }
}

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From the target to the peer.
    To,
    /// From the peer to the target.
    From,
    /// Both ways.
    Both,
    /// It cannot be told from this end.
    Unknown,
}

impl Direction {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::To => "to",
            Self::From => "from",
            Self::Both => "both",
            Self::Unknown => "either way",
        }
    }
}

/// How much.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Size {
    /// A share, with the interval of its chance.
    Share {
        /// How many of how many.
        #[serde(flatten)]
        share: Share,
        /// The share itself.
        ratio: f64,
        /// The interval in which it lies with a confidence of 95 %.
        interval: [f64; 2],
    },
    /// A time.
    Time {
        /// So long, in microseconds.
        us: u64,
        /// So long it was before, in microseconds, where that is known.
        before_us: Option<u64>,
    },
    /// So many.
    Count(u64),
}

impl Size {
    /// A share with its interval.
    pub fn of_share(share: Share) -> Self {
        Self::Share {
            share,
            ratio: share.ratio(),
            interval: share.interval(),
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Share {
                ratio,
                interval: [low, high],
                ..
            } => {
                let percent = |share: f64| 100.0 * share;
                write!(
                    f,
                    "{:.0} % ({:.1} to {:.1})",
                    percent(*ratio),
                    percent(*low),
                    percent(*high)
                )
            }
            Self::Time { us, before_us } => {
                let ms = |us: u64| us as f64 / 1000.0;
                write!(f, "{:.1} ms", ms(*us))?;
                match before_us {
                    Some(before) => write!(f, " (before {:.1} ms)", ms(*before)),
                    None => Ok(()),
                }
            }
            Self::Count(count) => write!(f, "{count}"),
        }
    }
}

/// What a detector claims of an edge now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Claim {
    /// What.
    pub kind: Kind,
    /// Which way.
    pub direction: Direction,
    /// How much.
    pub size: Size,
    /// Since when, in nanoseconds since boot.
    pub since_ns: u64,
    /// By what it is known.
    pub evidence: Vec<String>,
}

/// A claim that was made of an edge.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Between whom.
    pub edge: Edge,
    /// What is claimed; as it was last, once it is over.
    #[serde(flatten)]
    pub claim: Claim,
    /// When it was first claimed, in nanoseconds since boot.
    pub found_ns: u64,
    /// When it was last claimed.
    pub last_ns: u64,
    /// Whether it is over.
    pub is_over: bool,
    /// Whether events were lost meanwhile that could say otherwise.
    pub is_undecided: bool,
}

/// A finding that is claimed no longer for so long is over, in nanoseconds.
const OVER_AFTER_NS: u64 = 3_000_000_000;

/// Findings that are over are forgotten beyond so many.
const KEPT_MAX: usize = 1000;

/// What was found until now.
#[derive(Debug, Default)]
pub struct Findings(Vec<Finding>);

impl Findings {
    /// Takes in what is claimed of an edge now; gives back those findings that have begun by that.
    pub fn claim(
        &mut self,
        edge: &Edge,
        claims: Vec<Claim>,
        now_ns: u64,
        is_undecided: bool,
    ) -> Vec<Finding> {
        let mut begun = Vec::new();
        for claim in claims {
            let mut known = self.0.iter_mut();
            let known = known.find(|known| {
                !known.is_over && known.edge == *edge && known.claim.kind == claim.kind
            });
            if let Some(known) = known {
                let since_ns = known.claim.since_ns.min(claim.since_ns);
                known.claim = Claim { since_ns, ..claim };
                known.last_ns = now_ns;
                known.is_undecided |= is_undecided;
                continue;
            }
            let finding = Finding {
                edge: edge.clone(),
                claim,
                found_ns: now_ns,
                last_ns: now_ns,
                is_over: false,
                is_undecided,
            };
            begun.push(finding.clone());
            self.0.push(finding);
        }
        begun
    }

    /// Ends those that nobody claims any more; gives these back.
    pub fn end(&mut self, now_ns: u64) -> Vec<Finding> {
        let mut ended = Vec::new();
        for finding in self.0.iter_mut().filter(|finding| !finding.is_over) {
            if now_ns.saturating_sub(finding.last_ns) > OVER_AFTER_NS {
                finding.is_over = true;
                ended.push(finding.clone());
            }
        }
        while self.0.len() > KEPT_MAX {
            let Some(oldest) = self.0.iter().position(|finding| finding.is_over) else {
                break;
            };
            self.0.remove(oldest);
        }
        ended
    }

    /// All of them.
    pub fn all(&self) -> &[Finding] {
        &self.0
    }

    /// Those of an edge that are not over.
    pub fn of<'a>(&'a self, edge: &'a Edge) -> impl Iterator<Item = &'a Finding> {
        let now = self.0.iter().filter(|finding| !finding.is_over);
        now.filter(move |finding| finding.edge == *edge)
    }
}
