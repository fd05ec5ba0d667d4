//! The watch over the programs that a skewed process executes, and over those who ask for the time past its vDSO.

use std::{
    collections::BTreeMap,
    fmt,
    os::fd::{AsFd, BorrowedFd},
    str::FromStr,
};

use murphy_sys::{
    clock::boottime_ns,
    family::{AtExec, Family, FamilyError},
    pidfd::PidfdError,
    process::ProcessId,
};
use serde::{Deserialize, Serialize};

use super::spec::Clocks;
use crate::{
    process::name_of,
    undo::{Undo, resume},
};

/// For how long calls past the vDSO are counted at first.
const FIRST_SAMPLE_NS: u64 = 250_000_000;
/// For how long each time later.
const SAMPLE_NS: u64 = 50_000_000;
/// How often: each time makes every system call of the machine a little slower for as long.
const SAMPLE_EVERY_NS: u64 = 30_000_000_000;

/// How programs are followed that a target executes: each has a vDSO of its own, without the hook.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Follow {
    /// They are looked for; who has come and gone in between has escaped, and is counted where the kernel tells.
    #[default]
    Look,
    /// The kernel stops each before its first instruction, until it is skewed.
    Stop,
}

impl Follow {
    /// What it changes for the target, in words.
    pub fn change(self) -> Option<String> {
        let change = "stop each program that it executes, until that is hooked, too";
        (self == Self::Stop).then(|| change.into())
    }

    /// The way back of that.
    pub fn undo(self) -> Option<Undo> {
        (self == Self::Stop).then_some(Undo::ResumeHeld)
    }
}

impl fmt::Display for Follow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Look => "look",
            Self::Stop => "stop",
        })
    }
}

/// A text that is no way to follow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("read how to follow {0:?}: write `look` or `stop`")]
pub struct FollowError(String);

impl FromStr for Follow {
    type Err = FollowError;

    fn from_str(text: &str) -> Result<Self, FollowError> {
        match text {
            "look" => Ok(Self::Look),
            "stop" => Ok(Self::Stop),
            _ => Err(FollowError(text.into())),
        }
    }
}

/// A process that asks the kernel itself for the time, which no hook reaches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Raw {
    /// Its pid.
    pub pid: u32,
    /// Its kernel name, with the pid.
    pub name: String,
    /// How many such calls were counted.
    pub calls: u64,
    /// For how long calls were counted, in milliseconds: a quarter of a second at first, and a little every half
    /// minute.
    pub counted_ms: u64,
}

/// The watch.
#[derive(Debug, Default)]
pub(super) struct Watch {
    follow: Follow,
    has_begun: bool,
    family: Option<Family>,
    /// When counting calls begins or ends next, ns of boottime.
    turn_ns: u64,
    counting_since_ns: Option<u64>,
    counted_ns: u64,
    short_lived: u64,
    raw: BTreeMap<u32, Raw>,
}

impl Watch {
    /// Loads what the kernel is to do, and changes nothing yet. Where programs are only looked for, a kernel that
    /// tells of none is no error.
    pub(super) fn load(follow: Follow, clocks: &Clocks) -> Result<Self, FamilyError> {
        let family = match follow {
            Follow::Stop => Some(Family::load(AtExec::Stop, clocks.iter())?),
            Follow::Look => Family::load(AtExec::Tell, clocks.iter()).ok(),
        };
        Ok(Self {
            follow,
            family,
            ..Self::default()
        })
    }

    /// Begins, with these.
    pub(super) fn begin(
        &mut self,
        processes: impl IntoIterator<Item = ProcessId>,
    ) -> Result<(), FamilyError> {
        self.has_begun = true;
        let Some(family) = &mut self.family else {
            return Ok(());
        };
        match family.follow() {
            Err(_) if self.follow == Follow::Look => {
                self.family = None;
                return Ok(());
            }
            followed => followed?,
        }
        self.turn_ns = boottime_ns();
        for process in processes {
            self.add(process)?;
        }
        Ok(())
    }

    /// Whether it has.
    pub(super) fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Takes one more in.
    pub(super) fn add(&self, process: ProcessId) -> Result<(), FamilyError> {
        let Some(family) = &self.family else {
            return Ok(());
        };
        family.add(process.pid)?;
        if process.is_alive() {
            return Ok(());
        }
        // Its end may have come before, and then the kernel does not tell of it.
        family.remove(process.pid)
    }

    /// Whether somebody is left, as far as the kernel tells.
    pub(super) fn is_anybody_left(&self) -> bool {
        let members = self.family.as_ref().map(Family::members);
        members.is_some_and(|members| members.is_ok_and(|pids| !pids.is_empty()))
    }

    /// Who has executed a program since this was asked last.
    pub(super) fn executed(&mut self) -> Result<Vec<ProcessId>, FamilyError> {
        let Some(family) = &mut self.family else {
            return Ok(Vec::new());
        };
        family.attend()?;
        let mut executed = Vec::new();
        for process in family.executed()? {
            if process.is_alive() {
                executed.push(process);
            } else {
                self.short_lived += 1;
            }
        }
        Ok(executed)
    }

    /// One of them was gone before it could be skewed.
    pub(super) fn was_short_lived(&mut self) {
        self.short_lived += 1;
    }

    /// Lets one of them go that was stopped.
    pub(super) fn let_go(&self, process: ProcessId) -> Result<(), PidfdError> {
        if self.follow == Follow::Look {
            return Ok(());
        }
        resume(process).map(|_| ())
    }

    /// Counts for a while who asks for the time past the vDSO, again and again.
    pub(super) fn count_calls(&mut self) -> Result<(), FamilyError> {
        let now = boottime_ns();
        let Some(family) = self.family.as_mut().filter(|_| now >= self.turn_ns) else {
            return Ok(());
        };
        let Some(since) = self.counting_since_ns.take() else {
            family.count_calls(true)?;
            let first = self.counted_ns == 0;
            self.counting_since_ns = Some(now);
            self.turn_ns = now + if first { FIRST_SAMPLE_NS } else { SAMPLE_NS };
            return Ok(());
        };
        self.counted_ns += now - since;
        self.hear_callers()?;
        if let Some(family) = &mut self.family {
            family.count_calls(false)?;
        }
        self.turn_ns = now + SAMPLE_EVERY_NS;
        Ok(())
    }

    fn hear_callers(&mut self) -> Result<(), FamilyError> {
        let Some(family) = &self.family else {
            return Ok(());
        };
        for (pid, calls) in family.callers()? {
            let counted_ms = self.counted_ns / 1_000_000;
            let name = || ProcessId::of(pid).map_or_else(|_| pid.to_string(), name_of);
            let raw = self.raw.entry(pid).or_insert_with(|| Raw {
                pid,
                name: name(),
                calls,
                counted_ms,
            });
            (raw.calls, raw.counted_ms) = (calls, counted_ms);
        }
        Ok(())
    }

    /// Who asks for the time past the vDSO.
    pub(super) fn raw(&self) -> Vec<Raw> {
        self.raw.values().cloned().collect()
    }

    /// Programs that came and went before they could be skewed; `None` where the kernel does not tell.
    pub(super) fn short_lived(&self) -> Option<u64> {
        let family = self.family.as_ref()?;
        Some(self.short_lived + family.lost())
    }

    /// Something to read when somebody has executed a program.
    pub(super) fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        let family = self.family.as_ref().filter(|family| family.is_followed());
        family.map(AsFd::as_fd)
    }

    /// Ends: nobody is stopped any more, and who is goes on.
    pub(super) fn end(&mut self) {
        if self.counting_since_ns.is_some() {
            // What was counted until now is said, too; a figure is lost where that fails, and nothing else.
            self.turn_ns = 0;
            let _ = self.count_calls();
        }
        if let Some(family) = &mut self.family {
            family.leave();
        }
        for process in self.executed().into_iter().flatten() {
            // The undo does it where this fails.
            let _ = self.let_go(process);
        }
    }
}
