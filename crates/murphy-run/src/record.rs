//! A run record is everything a report shows of one run, read back from its folder and from nothing else.
//!
//! That is why `murphy report RUN` draws the same page as the run itself did.

use std::path::PathBuf;

use murphy_check::verdict::Verdict;

use crate::folder::{Folder, FolderError, RunFile};
use crate::report;
use crate::request::Request;
use crate::series::{Series, Summary};
use crate::timeline::Timeline;
use crate::verdict::{Outcome, Verdicts};

/// Everything a report shows.
#[derive(Clone, Debug, PartialEq)]
pub struct RunRecord {
    /// What was asked for, and where it ran.
    pub request: Request,
    /// What was concluded.
    pub verdicts: Verdicts,
    /// Faults, nodes and verdicts over time.
    pub timeline: Timeline,
    /// Throughput and latency over time.
    pub series: Summary,
    /// The other files of the folder.
    pub files: Vec<RunFile>,
}

impl RunRecord {
    /// Reads the record of a run that has ended.
    pub fn read(folder: &Folder) -> Result<Self, FolderError> {
        let request = folder.read_request()?;
        let verdicts = folder.read_verdicts()?;
        let events = folder.read_events()?;
        let timeline = Timeline::of(&events.lines, &request.nodes, verdicts.duration_ns);
        Ok(Self {
            timeline,
            request,
            verdicts,
            series: folder.read_series()?,
            files: folder.files()?,
        })
    }
}

/// What a finished run has to show.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    /// The overall verdict.
    pub verdict: Verdict,
    /// Everything that was concluded.
    pub verdicts: Verdicts,
    /// `verdict.json`.
    pub verdict_path: PathBuf,
    /// `report.html`.
    pub report_path: PathBuf,
}

/// Ends a run: writes `series.json`, `verdict.json` and `report.html`.
///
/// The request and the events must be in the folder, and the history flushed, so that its size is right.
pub fn finish(folder: &Folder, series: &Series, outcome: Outcome) -> Result<Finished, FolderError> {
    let request = folder.read_request()?;
    folder.write_series(&series.summary(outcome.duration_ns))?;
    let run = folder.path().display().to_string();
    let verdicts = Verdicts::new(&request, &run, outcome);
    folder.write_verdicts(&verdicts)?;
    let report_path = draw(folder)?;
    Ok(Finished {
        verdict: verdicts.verdict,
        verdicts,
        verdict_path: folder.verdict_path(),
        report_path,
    })
}

/// Draws `report.html` again from what is in the folder, and returns its path.
pub fn draw(folder: &Folder) -> Result<PathBuf, FolderError> {
    let record = RunRecord::read(folder)?;
    folder.write_report(&report::render(&record))?;
    Ok(folder.report_path())
}
