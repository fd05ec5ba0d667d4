//! A clock puts the lines of a history in order as they come.
//!
//! Lines of one moment count as concurrent, unless a process was answered and asked again at it: then their order in the
//! file decides, as it does for whole histories. Which of the two it is, is known when the moment is over.

use rustc_hash::FxHashSet;

/// When a line came: two numbers of lines, that of its own and that of the first of its moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tick {
    /// The first line of its moment.
    pub moment: u64,
    /// The line.
    pub line: u64,
}

/// The order of lines.
#[derive(Debug, Default)]
pub(super) struct Clock {
    time: Option<u64>,
    moment: u64,
    line: u64,
    /// Processes that were answered at this moment.
    answered: Vec<u32>,
    /// Moments whose lines are in order.
    ordered: FxHashSet<u64>,
}

impl Clock {
    /// Whether a line of this time is of a later moment than all before.
    pub fn moves(&self, time: u64) -> bool {
        self.time != Some(time)
    }

    /// Takes a line.
    pub fn tick(&mut self, time: u64) -> Tick {
        self.line += 1;
        if self.moves(time) {
            self.time = Some(time);
            self.moment = self.line;
            self.answered.clear();
        }
        Tick {
            moment: self.moment,
            line: self.line,
        }
    }

    /// A process asks.
    pub fn asked(&mut self, process: u32, tick: Tick) {
        if self.answered.contains(&process) {
            self.ordered.insert(tick.moment);
        }
    }

    /// A process was answered.
    pub fn answered(&mut self, process: u32) {
        self.answered.push(process);
    }

    /// The place of a line in the order. Right when its moment is over.
    pub fn rank(&self, tick: Tick) -> u64 {
        if self.ordered.contains(&tick.moment) {
            tick.line
        } else {
            tick.moment
        }
    }

    /// Nobody speaks of moments before this one any more.
    pub fn forget(&mut self, before: u64) {
        self.ordered.retain(|moment| *moment >= before);
    }
}
