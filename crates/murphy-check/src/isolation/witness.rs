//! A witness is the smallest part of a history that cannot be of a level.

use super::{Level, Options, Workload, examination::Examination};
use crate::{recording::Recording, verdict::Witness};

/// Proves broken levels.
pub(super) struct Prover<'r, 'e> {
    recording: &'r Recording,
    workload: Workload,
    options: &'e Options,
    examination: &'e Examination<'r>,
}

impl<'r, 'e> Prover<'r, 'e> {
    pub fn new(
        recording: &'r Recording,
        workload: Workload,
        options: &'e Options,
        examination: &'e Examination<'r>,
    ) -> Self {
        Self {
            recording,
            workload,
            options,
            examination,
        }
    }

    pub fn prove(&mut self, level: Level) -> Option<Witness> {
        let _ = (
            self.recording,
            self.workload,
            self.options,
            self.examination,
            level,
        );
        None
    }
}
