//! Figures count, line by line, what a verdict rests on.

use crate::{recording::Outcome, verdict::Vacuity};

/// Whether faults acted when an operation was asked.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Faults {
    /// How many had begun, ever.
    pub begun: usize,
    /// How many acted.
    pub open: usize,
}

/// What was counted so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Figures {
    pub vacuity: Vacuity,
    /// Operations that count: they were answered, or may have happened.
    pub counted: u64,
    /// Answers.
    pub answers: u64,
    /// Whether some answer could have been wrong.
    pub tells: bool,
}

impl Figures {
    /// An operation is over, or given up.
    pub fn end(&mut self, asked: Faults, now: Faults) {
        let is_during = asked.open > 0 || now.begun > asked.begun;
        self.vacuity.operations_during_faults += u64::from(is_during);
    }

    /// An operation was answered.
    pub fn answered(&mut self, is_read: bool, tells: bool, outcome: Outcome) {
        self.counted += 1;
        self.answers += 1;
        self.tells |= tells;
        if outcome != Outcome::Ok {
            return;
        }
        *if is_read {
            &mut self.vacuity.reads
        } else {
            &mut self.vacuity.writes
        } += 1;
    }
}
