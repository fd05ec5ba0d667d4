//! Exit codes are part of the interface: scripts read them before they read a word. docs/exit-codes.md is
//! the table for people.

use std::fmt;

/// How Murphy ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Every selected promise held, or the work is done.
    Held = 0,
    /// A promise was broken.
    Broken = 1,
    /// What was typed or read is wrong: a selector, a file, a line.
    Input = 2,
    /// The machine refuses: dead pid, permission, missing binary, full disk; or a fault had no effect.
    Machine = 3,
    /// Nothing can be said, or a system never became healthy.
    Undecided = 4,
    /// Something is left on the machine.
    Cleanup = 5,
    /// A bug in Murphy.
    Bug = 70,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl From<murphy_check::verdict::Verdict> for Exit {
    fn from(verdict: murphy_check::verdict::Verdict) -> Self {
        use murphy_check::verdict::Verdict;
        match verdict {
            Verdict::Held => Self::Held,
            Verdict::Broken => Self::Broken,
            Verdict::Undecided => Self::Undecided,
        }
    }
}

/// An expected failure: a fragment that reads after "failed to", and the code it ends with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The code.
    pub exit: Exit,
    /// What went wrong, with the object it went wrong with.
    pub message: String,
    /// What to do about it, as a sentence, where that is not plain.
    pub hint: Option<String>,
}

impl Failure {
    /// Wrong input.
    pub fn input(error: impl fmt::Display) -> Self {
        Self {
            exit: Exit::Input,
            message: error.to_string(),
            hint: None,
        }
    }

    /// A machine that refuses.
    pub fn machine(error: impl fmt::Display) -> Self {
        Self {
            exit: Exit::Machine,
            message: error.to_string(),
            hint: None,
        }
    }

    /// Something is left behind.
    pub fn cleanup(error: impl fmt::Display) -> Self {
        Self {
            exit: Exit::Cleanup,
            message: error.to_string(),
            hint: None,
        }
    }

    /// The same with the next step.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
