//! A pause stops every process of a target, follows its children, and lets them go on.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use murphy_sys::{
    pidfd::{Pidfd, PidfdError},
    process::{ProcessId, State},
    signal::Signal,
    table::ProcessTable,
    thread::Threads,
};
use murphy_target::{Target, Tree};
use serde::Serialize;

use super::ProcessFaultError;
use crate::{
    injector::{Injector, failures},
    journal::{Entry, JournalError},
    span::Until,
    undo::Undo,
};

/// How often the target is searched for processes that are not stopped yet.
const SCANS_MAX: usize = 200;
/// Two scans in a row must find nobody new: one may have missed a child being born.
const QUIET_SCANS: usize = 2;
/// How long a process may take to stop, or to run again; one that waits for a device takes longer.
const SETTLE: Duration = Duration::from_secs(1);

/// A pause in force.
#[derive(Debug)]
pub struct Pause {
    entry: Entry,
    tree: Tree,
    stopped: Vec<Stopped>,
    before: Vec<ProcessId>,
    began: Instant,
    ended: Option<Duration>,
}

#[derive(Debug)]
struct Stopped {
    process: ProcessId,
    /// CPU time when all its threads had stopped.
    cpu_ns: u64,
}

/// What a pause has done, as measured at the target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Paused {
    /// Processes that Murphy stopped.
    pub processes: u64,
    /// Their threads.
    pub threads: u64,
    /// Those of them that were stopped when last looked at.
    pub threads_stopped: u64,
    /// How long they have been stopped, in milliseconds.
    pub stopped_ms: u64,
    /// CPU time they used while stopped, in nanoseconds.
    pub cpu_ns: u64,
    /// Processes that somebody else had stopped before; they stay so.
    pub stopped_before: u64,
    /// Processes found running again after the end, of `processes` that still lived.
    pub running_again: u64,
    /// Processes that had ended by the end.
    pub gone: u64,
    /// What could not be undone.
    pub left: Vec<String>,
}

impl Paused {
    /// Whether anything was stopped.
    pub fn had_effect(&self) -> bool {
        self.threads_stopped > 0
    }

    /// The effect in words.
    pub fn text(&self) -> String {
        format!(
            "{} of {} threads stopped for {:.2} s; {:.1} ms of CPU used",
            self.threads_stopped,
            self.threads,
            self.stopped_ms as f64 / 1e3,
            self.cpu_ns as f64 / 1e6
        )
    }
}

impl Pause {
    /// Stops every process of the target. Each one's way back is on disk before it is stopped.
    pub fn inject(
        injector: &Injector,
        target: &Target,
        names: &[String],
        until: Until,
    ) -> Result<Self, ProcessFaultError> {
        let entry = injector.begin("process", "pause", names, until)?;
        let mut pause = Self {
            entry,
            tree: target.follow(),
            stopped: Vec::new(),
            before: Vec::new(),
            began: Instant::now(),
            ended: None,
        };
        let members: Vec<_> = target.processes().collect();
        match pause.stop(&members).and_then(|()| pause.stop_newcomers()) {
            Ok(()) => Ok(pause),
            Err(error) => {
                // Nothing may stay half stopped. What cannot be undone stays in the journal.
                let _ = pause.end();
                Err(error)
            }
        }
    }

    /// Everyone who was found, stopped by Murphy or by somebody else.
    pub fn processes(&self) -> Vec<ProcessId> {
        let stopped = self.stopped.iter().map(|stopped| stopped.process);
        stopped.chain(self.before.iter().copied()).collect()
    }

    /// The id of the injection.
    pub fn id(&self) -> &str {
        self.entry.id()
    }

    /// When it ends.
    pub fn until(&self) -> Until {
        self.entry.header().until
    }

    /// Whether somebody else, such as `murphy recover`, has ended it.
    pub fn is_over(&self) -> bool {
        self.entry.is_over()
    }

    /// Whether nobody is left of the target and nobody will join: a container that was stopped may come back.
    pub fn is_deserted(&self) -> bool {
        self.processes().iter().all(|process| !process.is_alive()) && !self.tree.may_come_back()
    }

    /// Stops processes that joined the target since.
    pub fn follow(&mut self) -> Result<(), ProcessFaultError> {
        if self.is_over() {
            Ok(())
        } else {
            self.stop_newcomers()
        }
    }

    fn stop_newcomers(&mut self) -> Result<(), ProcessFaultError> {
        let mut quiet = 0;
        for _ in 0..SCANS_MAX {
            if self.is_over() {
                return Ok(());
            }
            let table = ProcessTable::read().map_err(ProcessFaultError::Table)?;
            let fresh: Vec<_> = self
                .tree
                .newcomers(&table)
                .iter()
                .map(|m| m.process)
                .collect();
            if fresh.is_empty() {
                quiet += 1;
                if quiet == QUIET_SCANS {
                    self.settle();
                    return Ok(());
                }
                continue;
            }
            quiet = 0;
            self.stop(&fresh)?;
        }
        Err(ProcessFaultError::Runaway {
            stopped: self.stopped.len(),
        })
    }

    fn stop(&mut self, fresh: &[ProcessId]) -> Result<(), ProcessFaultError> {
        let is_stopped =
            |process: &ProcessId| process.stat().is_some_and(|s| s.state == State::Stopped);
        let (before, running): (Vec<_>, Vec<_>) = fresh.iter().copied().partition(is_stopped);
        self.before.extend(before);
        let undos: Vec<_> = running.iter().copied().map(Undo::Resume).collect();
        let stop = |process| Pidfd::open(process).and_then(|pidfd| pidfd.send(Signal::STOP));
        let made = self.entry.change(&undos, || {
            let told = running.into_iter().map(|process| (process, stop(process)));
            told.collect::<Vec<_>>()
        });
        let told = match made {
            Ok(told) => told,
            // Somebody has taken the pause back: nothing was changed, and the caller sees that it is over.
            Err(JournalError::Ended(_)) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        for (process, result) in told {
            match result {
                Ok(()) => self.stopped.push(Stopped { process, cpu_ns: 0 }),
                // It ended between the scan and the signal: nobody is left to stop.
                Err(PidfdError::Gone { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Waits until every thread has stopped, as far as it does, and notes the CPU time used by then.
    fn settle(&mut self) {
        let until = Instant::now() + SETTLE;
        while Instant::now() < until
            && self
                .stopped
                .iter()
                .any(|s| Threads::of(s.process.pid).is_ok_and(|t| t.total > 0 && !t.all_stopped()))
        {
            sleep(Duration::from_millis(1));
        }
        for stopped in self
            .stopped
            .iter_mut()
            .filter(|stopped| stopped.cpu_ns == 0)
        {
            stopped.cpu_ns = Threads::of(stopped.process.pid).map_or(0, |threads| threads.cpu_ns);
        }
    }

    /// What it has done so far.
    pub fn effect(&self) -> Paused {
        let mut effect = Paused {
            processes: self.stopped.len() as u64,
            stopped_before: self.before.len() as u64,
            stopped_ms: u64::try_from(
                self.ended
                    .unwrap_or_else(|| self.began.elapsed())
                    .as_millis(),
            )
            .unwrap_or(u64::MAX),
            ..Paused::default()
        };
        for stopped in &self.stopped {
            match Threads::of(stopped.process.pid) {
                Ok(threads) if stopped.process.is_alive() => {
                    effect.threads += u64::from(threads.total);
                    effect.threads_stopped += u64::from(threads.stopped);
                    effect.cpu_ns += threads.cpu_ns.saturating_sub(stopped.cpu_ns);
                }
                _ => effect.gone += 1,
            }
        }
        effect
    }

    /// Tells the journal what it has done so far, for `murphy ls`.
    pub fn say(&self) -> Result<Paused, ProcessFaultError> {
        let effect = self.effect();
        self.entry.say(&effect, &effect.text())?;
        Ok(effect)
    }

    /// Lets everything go on, and looks whether it does.
    pub fn end(mut self) -> Paused {
        let mut effect = self.effect();
        self.ended = Some(self.began.elapsed());
        effect.left = failures(&self.entry.end());
        // Whoever ran the undos may have done so between two of our signals: what this process has stopped
        // it lets go on itself, too, which is no change where it has been done.
        for stopped in &self.stopped {
            if let Err(error) = Undo::Resume(stopped.process).run(self.entry.journal()) {
                effect.left.push(error.to_string());
            }
        }
        let until = Instant::now() + SETTLE;
        loop {
            let states: Vec<_> = self.stopped.iter().map(|s| s.process.stat()).collect();
            let live = states.iter().flatten().filter(|stat| !stat.state.is_dead());
            let (total, running) = live.fold((0, 0), |(total, running), stat| {
                (total + 1, running + u64::from(stat.state != State::Stopped))
            });
            effect.running_again = running;
            effect.gone = effect.processes - total;
            if running == total || Instant::now() > until {
                return effect;
            }
            sleep(Duration::from_millis(1));
        }
    }
}
