//! Following is judging the history while the hunt writes it, so that the first broken promise ends the hunt at once.
//!
//! The live judge finds; the judge of the whole history has the last word, and says it with a witness.

use std::{
    fs::File,
    io::Read,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use murphy_check::verdict::{Report, Verdict};
use tokio::sync::watch;

use super::{Ground, HuntError, ending};
use crate::{
    progress::Progress,
    system::{LiveJudge, System},
};

/// Pause between two judgements.
const EVERY: Duration = Duration::from_millis(500);
/// So much of the history is read at a time.
const PIECE: usize = 1 << 20;

/// What the live judge has found.
#[derive(Clone, Debug, Default)]
pub struct Following(Arc<Mutex<Found>>);

#[derive(Debug, Default)]
struct Found {
    /// Something that is broken and was not judged as a whole since.
    news: bool,
    /// The live judge has nothing more to say.
    is_over: bool,
}

/// Says at its end that following is over.
struct Over<'a>(&'a Following);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.lock().is_over = true;
    }
}

/// A judge and how far it has read.
struct Reader {
    judge: Box<dyn LiveJudge>,
    file: File,
    piece: Vec<u8>,
}

impl Reader {
    /// Reads what was written since, and judges it.
    fn read(&mut self) -> Result<Option<Report>, String> {
        loop {
            let length = self
                .file
                .read(&mut self.piece)
                .map_err(|error| error.to_string())?;
            if length == 0 {
                return self.judge.look();
            }
            self.judge.feed(&self.piece[..length])?;
        }
    }
}

impl Following {
    /// Judges until `stop` is true, or there is nothing more to judge.
    pub async fn follow<S: System>(
        &self,
        ground: &Arc<Ground<S>>,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), HuntError> {
        // However it ends, rounds are judged as a whole from then on.
        let _over = Over(self);
        let path = ground.recorder.path().to_path_buf();
        let file = File::open(&path).map_err(|source| HuntError::History { path, source })?;
        let mut reader = Reader {
            judge: ground.system.live(),
            file,
            piece: vec![0; PIECE],
        };
        while tokio::time::timeout(EVERY, stop.wait_for(|now| *now))
            .await
            .is_err()
        {
            ground.recorder.show();
            let read = tokio::task::spawn_blocking(move || {
                let found = reader.read();
                (reader, found)
            });
            let (back, found) = match read.await {
                Ok(read) => read,
                Err(panic) => std::panic::resume_unwind(panic.into_panic()),
            };
            reader = back;
            match found {
                Ok(Some(report)) => {
                    self.broken(ground, &report)?;
                    break;
                }
                Ok(None) if reader.judge.lost().is_none() => {}
                // The judge of the whole history says what is wrong with it, if anything.
                Ok(None) | Err(_) => break,
            }
        }
        Ok(())
    }

    /// Says what is broken, and ends the hunt if it is one of the promises that decide.
    fn broken<S: System>(&self, ground: &Ground<S>, report: &Report) -> Result<(), HuntError> {
        let broken = report.judgements.iter();
        for judgement in broken.filter(|judgement| judgement.verdict == Verdict::Broken) {
            let (promise, reason) = (&judgement.promise, &judgement.reason);
            ground.events.verdict(promise, judgement.verdict, reason)?;
            ground.tell(Progress::Broken {
                at_s: ground.at_s(),
                text: format!("{promise} is broken: {reason}"),
            });
        }
        if report.verdict(&ground.plan.promises) == Verdict::Broken && !ground.plan.keep_going {
            ground.alarm.send_replace(true);
        }
        self.lock().news = true;
        Ok(())
    }

    /// The judgement on the whole history so far, where there is a reason for it: the live judge has found something, or
    /// has nothing more to say.
    pub async fn judge<S: System>(
        &self,
        ground: &Arc<Ground<S>>,
    ) -> Result<Option<Report>, HuntError> {
        let is_needed = {
            let mut found = self.lock();
            let news = std::mem::take(&mut found.news);
            news || found.is_over
        };
        if !is_needed {
            return Ok(None);
        }
        let report = ending::check(ground).await?;
        // Had the whole no reason to stop, the hunt goes on.
        ground.alarm.send_replace(false);
        Ok(Some(report))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Found> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
