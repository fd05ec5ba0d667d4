//! A sink takes the lines of a history as a reader understands them: a recorder keeps them, a live judge judges them.

use crate::{
    history::Header,
    live::LiveJudge,
    recording::{Entry, Recorder, Strictness},
};

/// Whoever takes the lines of a history.
pub(super) trait Sink {
    /// Takes what the history says of itself, which comes first.
    fn begin(&mut self, header: &Header) -> Result<(), Box<str>>;
    /// Takes a line; a problem is said of the whole line.
    fn take(&mut self, entry: Entry<'_>) -> Result<(), Box<str>>;
    /// Hears that a line was not understood: the problem again, or nothing where it is to be left out.
    fn leave_out(&mut self, line: u64, problem: Box<str>) -> Result<(), Box<str>>;
    /// Whether it needs no more.
    fn is_over(&self) -> bool {
        false
    }
}

/// Keeps a history.
pub(super) struct Keeper {
    pub recorder: Recorder,
    strictness: Strictness,
}

impl Keeper {
    /// Nothing kept yet.
    pub fn new(strictness: Strictness) -> Self {
        Self {
            recorder: Recorder::new(Header::new(""), strictness),
            strictness,
        }
    }
}

impl Sink for Keeper {
    fn begin(&mut self, header: &Header) -> Result<(), Box<str>> {
        self.recorder = Recorder::new(header.clone(), self.strictness);
        Ok(())
    }

    fn take(&mut self, entry: Entry<'_>) -> Result<(), Box<str>> {
        self.recorder.take(entry)
    }

    fn leave_out(&mut self, line: u64, problem: Box<str>) -> Result<(), Box<str>> {
        self.recorder.leave_out(line, problem)
    }
}

/// How a live judge of a history begins.
pub type Start<'a> = &'a mut dyn FnMut(&Header) -> Result<Box<dyn LiveJudge>, Box<str>>;

/// Hands lines to a live judge.
pub(super) struct Follower<'a> {
    start: Start<'a>,
    watch: &'a mut dyn FnMut(&dyn LiveJudge),
    pub judge: Option<Box<dyn LiveJudge>>,
}

impl<'a> Follower<'a> {
    /// Before the header.
    pub fn new(start: Start<'a>, watch: &'a mut dyn FnMut(&dyn LiveJudge)) -> Self {
        Self {
            start,
            watch,
            judge: None,
        }
    }

    fn judge(&mut self) -> Result<&mut dyn LiveJudge, Box<str>> {
        match &mut self.judge {
            Some(judge) => Ok(judge.as_mut()),
            None => Err("a line before the header".into()),
        }
    }
}

impl Sink for Follower<'_> {
    fn begin(&mut self, header: &Header) -> Result<(), Box<str>> {
        self.judge = Some((self.start)(header)?);
        Ok(())
    }

    fn take(&mut self, entry: Entry<'_>) -> Result<(), Box<str>> {
        let said = self.judge()?.entry(entry);
        if let Some(judge) = &self.judge {
            (self.watch)(judge.as_ref());
        }
        said.map(drop).map_err(|error| error.problem)
    }

    fn leave_out(&mut self, line: u64, problem: Box<str>) -> Result<(), Box<str>> {
        self.judge()?.leave_out(line, problem)
    }

    fn is_over(&self) -> bool {
        let judge = self.judge.as_ref();
        judge.is_some_and(|judge| judge.progress().is_over)
    }
}
