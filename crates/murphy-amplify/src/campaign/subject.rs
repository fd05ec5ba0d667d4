//! The subject is the system on which a campaign is: processes that somebody else runs and may start again, or a command that
//! Murphy runs itself, and starts again when it has ended.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    process::ExitStatus,
    time::{Duration, Instant},
};

use murphy_fault::{
    injector::Injector,
    process::{Launched, LaunchedError, Output, Start},
    span::{Span, Until},
};
use murphy_sys::process::ProcessId;
use murphy_target::{MAX_TARGETS, Selector, Target, TargetError};

use super::{
    command::{self, CommandError},
    patience::{Ended, Patience},
    verdict::Death,
};

/// So many of the last lines are kept that something has said before it died.
const LINES_MAX: usize = 20;
const LOG_BYTES_MAX: u64 = 1 << 16;
/// How often is looked for a target that is to come again.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Why there is no subject.
#[derive(Debug, thiserror::Error)]
pub enum SubjectError {
    /// It is not found.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// It does not start.
    #[error(transparent)]
    Launched(#[from] LaunchedError),
    /// Nobody knows how to start it again.
    #[error("start the target again: {0} has ended, and nobody said how; --restart 'COMMAND' does")]
    NoRestart(String),
    /// It may come again by itself, and has not.
    #[error(
        "wait for the target: {names} has ended, and did not come again within {within}; --restart 'COMMAND' starts it"
    )]
    NotBack {
        /// Who.
        names: String,
        /// How long somebody waited.
        within: Span,
    },
    /// The command that starts it again fails.
    #[error("start the target again by {command:?}: {why}")]
    Restart {
        /// Which.
        command: String,
        /// Why.
        why: CommandError,
    },
    /// Nobody waits any longer.
    #[error(transparent)]
    Ended(#[from] Ended),
    /// What it says cannot be read.
    #[error("read {}: {source}", path.display())]
    Log {
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// How the subject is found, and started again.
#[derive(Clone, Debug)]
pub enum Plan {
    /// Processes that run.
    Found {
        /// Who.
        targets: Vec<Selector>,
        /// What starts it again.
        restart: Option<Restart>,
    },
    /// A command of Murphy's.
    Launched {
        /// Its words.
        argv: Vec<OsString>,
        /// Where what it says is written.
        log: PathBuf,
    },
}

/// What starts a subject again.
#[derive(Clone, Debug)]
pub struct Restart {
    /// Words of a shell.
    pub command: String,
    /// It is over within this.
    pub limit: Duration,
    /// Where what it says is written.
    pub log: PathBuf,
}

/// A system under test.
#[derive(Debug)]
pub struct Subject {
    plan: Plan,
    launched: Option<Launched>,
    /// Those that it stands and falls with.
    leaders: Vec<ProcessId>,
    target: Option<Target>,
    /// Where in its log what it says begins: what stands before was said by those before it.
    said_from: u64,
}

impl Subject {
    /// Finds or starts it.
    pub fn begin(plan: Plan, injector: &Injector) -> Result<Self, SubjectError> {
        let mut subject = Self {
            plan,
            launched: None,
            leaders: Vec::new(),
            target: None,
            said_from: 0,
        };
        if let Err(error) = subject.find(injector) {
            // What has begun, and cannot be hit, is not left behind.
            subject.end();
            return Err(error);
        }
        Ok(subject)
    }

    fn find(&mut self, injector: &Injector) -> Result<(), SubjectError> {
        let target = match &self.plan {
            Plan::Found { targets, .. } => Target::find(targets, MAX_TARGETS, [])?,
            Plan::Launched { argv, log } => {
                self.said_from = fs::metadata(log).map_or(0, |log| log.len());
                let start = Start {
                    fault: ("process", "launch".into()),
                    until: Until::Forever,
                    output: Output::Nowhere,
                    time: None,
                    held: false,
                    log: Some(log.clone()),
                };
                let launched = Launched::start(injector, argv.clone(), start)?;
                let process = launched.process();
                // Whatever comes of it, it is to be ended.
                let launched = self.launched.insert(launched);
                let process = process.or_else(|_| launched.process())?;
                Target::of_processes("launch", &[process], [])?
            }
        };
        self.leaders = leaders(&target);
        self.target = Some(target);
        Ok(())
    }

    /// Who it is now.
    pub fn target(&self) -> Option<&Target> {
        self.target.as_ref()
    }

    /// How it has ended, if it has.
    pub fn death(&mut self) -> Option<Death> {
        if let Some(launched) = &mut self.launched {
            let status = launched.ended().ok()??;
            return Some(Death {
                how: how(status),
                said: self.said(),
            });
        }
        let is_dead = self.leaders.iter().all(|leader| !leader.is_alive());
        is_dead.then(|| Death {
            how: "it is gone".into(),
            said: Vec::new(),
        })
    }

    /// What a launched command has said last.
    fn said(&self) -> Vec<String> {
        let Plan::Launched { log, .. } = &self.plan else {
            return Vec::new();
        };
        last_lines(log, self.said_from).unwrap_or_default()
    }

    /// Whether somebody has said how to start it again.
    pub fn can_restart(&self) -> bool {
        !matches!(self.plan, Plan::Found { restart: None, .. })
    }

    /// Starts it again, whether it lives or not, and finds it within a time. What nobody starts may come again by itself.
    pub fn restart(
        &mut self,
        injector: &Injector,
        within: Duration,
        patience: Patience<'_>,
    ) -> Result<(), SubjectError> {
        if let Some(launched) = self.launched.take() {
            // What cannot be ended is said when the campaign ends: its injection stays in the journal.
            let _ = launched.end();
        }
        let Plan::Found { targets, restart } = &self.plan else {
            return self.find(injector);
        };
        let names: Vec<String> = targets.iter().map(ToString::to_string).collect();
        let names = names.join(" ");
        match restart {
            Some(Restart {
                command,
                limit,
                log,
            }) => {
                command::run(command, log, *limit, patience).map_err(|why| match why {
                    CommandError::Ended(ended) => ended.into(),
                    why => SubjectError::Restart {
                        command: command.clone(),
                        why,
                    },
                })?;
            }
            None if !may_come(targets) => return Err(SubjectError::NoRestart(names)),
            None => {}
        }
        let target = match found_again(targets, within, patience) {
            Err(SubjectError::Target(_)) if restart.is_none() => {
                return Err(SubjectError::NotBack {
                    names,
                    within: Span(within),
                });
            }
            found => found?,
        };
        self.leaders = leaders(&target);
        self.target = Some(target);
        Ok(())
    }

    /// Ends what Murphy has started; says what could not be ended.
    pub fn end(mut self) -> Vec<String> {
        self.launched.take().map(Launched::end).unwrap_or_default()
    }
}

/// Whether somebody else may be meant by these later: who has a pid has it once.
fn may_come(targets: &[Selector]) -> bool {
    targets.iter().any(|one| !matches!(one, Selector::Pid(_)))
}

/// Finds a target that may take a while to be there.
fn found_again(
    targets: &[Selector],
    within: Duration,
    patience: Patience<'_>,
) -> Result<Target, SubjectError> {
    let began = Instant::now();
    loop {
        match Target::find(targets, MAX_TARGETS, []) {
            Err(_) if may_come(targets) && began.elapsed() < within => patience.wait(LOOK_EVERY)?,
            found => return Ok(found?),
        }
    }
}

/// Those of a target whose parents are not of it.
fn leaders(target: &Target) -> Vec<ProcessId> {
    let all: Vec<ProcessId> = target.processes().collect();
    let is_child = |process: &ProcessId| {
        let parent = process.stat().map(|stat| stat.parent);
        parent.is_some_and(|parent| all.iter().any(|one| one.pid == parent))
    };
    all.iter().copied().filter(|one| !is_child(one)).collect()
}

/// How something has ended: `exit code 1`, `SIGABRT`.
pub(super) fn how(status: ExitStatus) -> String {
    if let Some(code) = status.code() {
        return format!("exit code {code}");
    }
    // `signal: 6 (SIGABRT)`: its name says more.
    let text = status.to_string();
    let name = text.split(['(', ')']).find(|part| part.starts_with("SIG"));
    name.map_or(text.clone(), str::to_owned)
}

/// The last lines of a file from some byte on, however long it is.
pub(super) fn last_lines(path: &Path, from: u64) -> io::Result<Vec<String>> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = fs::File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(
        length.saturating_sub(LOG_BYTES_MAX).max(from),
    ))?;
    let mut bytes = Vec::new();
    file.take(LOG_BYTES_MAX).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    let first = lines.len().saturating_sub(LINES_MAX);
    Ok(lines[first..]
        .iter()
        .map(|line| (*line).to_owned())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use murphy_sys::signal::Interrupts;
    use std::process::{Child, Command};

    #[test]
    fn a_target_that_comes_again_by_itself_is_found_and_a_pid_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sleep");
        fs::copy("/bin/sleep", &path).unwrap();
        let start = move || -> Child { Command::new(&path).arg("50").spawn().unwrap() };
        let exe = format!("exe:{}", folder.path().join("sleep").display());
        let targets: Vec<Selector> = vec![exe.parse().unwrap()];
        let interrupts = Interrupts::catch().unwrap();
        let patience = Patience {
            interrupts: &interrupts,
            until: None,
        };
        let again = |targets: &[Selector], ms| {
            found_again(targets, Duration::from_millis(ms), patience).map(|_| ())
        };
        assert!(matches!(again(&targets, 100), Err(SubjectError::Target(_))));
        let coming = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(300));
            start()
        });
        let found = again(&targets, 20_000);
        let mut child = coming.join().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(found.is_ok(), "{found:?}");
        let began = Instant::now();
        let pid = Selector::Pid(child.id());
        assert!(again(&[pid], 20_000).is_err());
        assert!(began.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn the_end_of_a_log_is_a_few_lines() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        fs::write(&path, "x\n".repeat(100_000) + "last words\n").unwrap();
        let lines = last_lines(&path, 0).unwrap();
        assert_eq!(lines.len(), LINES_MAX);
        assert_eq!(lines.last().unwrap(), "last words");
        assert_eq!(last_lines(&path, 200_000).unwrap(), ["last words"]);
        assert!(last_lines(&directory.path().join("none"), 0).is_err());
    }
}
