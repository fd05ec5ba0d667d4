//! A command is words of a shell that are run to their end, which is to come before long: what hangs is killed, with all that is of its
//! process group, and so is what runs when the campaign is to end.
//!
//! What a command has started in the background goes on when it ends by itself: that is what starting a target again is.

use std::{
    fs::File,
    io,
    path::Path,
    process::{Child, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use murphy_fault::span::Span;
use murphy_sys::{
    pidfd::ended_within,
    spawn::{Launch, SpawnError},
};
use rustix::process::{Pid, Signal, kill_process_group};

use super::{
    patience::{Ended, Patience},
    subject::{how, last_lines},
};

/// How often is looked whether it has ended.
const TICK: Duration = Duration::from_millis(20);
/// How long what was killed may take until it is gone.
const GONE_WITHIN: Duration = Duration::from_secs(1);

/// Why a command came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It was not to be waited for any longer.
    #[error(transparent)]
    Ended(#[from] Ended),
    /// It did not start.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// It cannot be waited for, or what it says cannot be written down.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It failed.
    #[error("{how}{said}")]
    Failed {
        /// How it ended.
        how: String,
        /// What it said last, behind a colon.
        said: String,
    },
    /// It took too long.
    #[error("it was not over within {0}, and was killed")]
    Late(Span),
}

/// Runs a command of a shell; what it says is added to a file.
pub fn run(
    words: &str,
    log: &Path,
    limit: Duration,
    patience: Patience<'_>,
) -> Result<(), CommandError> {
    let file = File::options().create(true).append(true).open(log)?;
    let said_from = file.metadata()?.len();
    let mut launch = Launch::new(["/bin/sh", "-c", words].map(Into::into).into());
    launch.stdout = Stdio::from(file.try_clone()?);
    launch.stderr = Stdio::from(file);
    launch.own_group = true;
    launch.die_with_parent = true;
    let mut child = launch.spawn()?;
    match end_of(&mut child, limit, patience) {
        Ok(Some(status)) if status.success() => Ok(()),
        Ok(Some(status)) => {
            let lines = last_lines(log, said_from).unwrap_or_default();
            let said = lines.last().map(|line| format!(": {line}"));
            Err(CommandError::Failed {
                how: how(status),
                said: said.unwrap_or_default(),
            })
        }
        Ok(None) => {
            kill(&mut child);
            Err(CommandError::Late(Span(limit)))
        }
        Err(error) => {
            kill(&mut child);
            Err(error)
        }
    }
}

/// How it ended; none where that takes too long.
fn end_of(
    child: &mut Child,
    limit: Duration,
    patience: Patience<'_>,
) -> Result<Option<ExitStatus>, CommandError> {
    let began = Instant::now();
    while began.elapsed() < limit {
        if let Some(status) = ended_within(child, Duration::ZERO)? {
            return Ok(Some(status));
        }
        patience.wait(TICK)?;
    }
    Ok(ended_within(child, Duration::ZERO)?)
}

/// Its pid, and with it the group, is nobody else's before it is collected.
fn kill(child: &mut Child) {
    let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
    // What waits for a disk ends later, and is Murphy's child as long as Murphy is there.
    let _ = ended_within(child, GONE_WITHIN);
}

#[cfg(test)]
mod tests {
    use super::*;
    use murphy_sys::{process::ProcessId, signal::Interrupts};
    use std::fs;

    #[test]
    fn what_hangs_is_killed_with_its_group_and_what_fails_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let (log, pid) = (folder.path().join("log"), folder.path().join("pid"));
        let interrupts = Interrupts::catch().unwrap();
        let go = |words: &str, limit_ms: u64, budget_ms: u64| {
            let patience = Patience {
                interrupts: &interrupts,
                until: Some(Instant::now() + Duration::from_millis(budget_ms)),
            };
            run(words, &log, Duration::from_millis(limit_ms), patience)
        };
        go("true", 10_000, 10_000).unwrap();
        let failed = go("echo no such unit >&2; exit 3", 10_000, 10_000).unwrap_err();
        assert_eq!(failed.to_string(), "exit code 3: no such unit");
        let hangs = format!("sleep 100 & echo $! > {}; wait", pid.display());
        for (limit_ms, budget_ms, said) in [
            (300, 10_000, "it was not over within 300ms, and was killed"),
            (10_000, 300, "try more: the budget has ended"),
        ] {
            let late = go(&hangs, limit_ms, budget_ms).unwrap_err();
            assert_eq!(late.to_string(), said);
            let sleeper: u32 = fs::read_to_string(&pid).unwrap().trim().parse().unwrap();
            // Who adopts it collects it soon.
            let is_alive = || ProcessId::of(sleeper).is_ok_and(|one| one.is_alive());
            let began = Instant::now();
            while is_alive() && began.elapsed() < Duration::from_secs(10) {
                std::thread::sleep(TICK);
            }
            assert!(!is_alive(), "{sleeper}");
        }
    }
}
