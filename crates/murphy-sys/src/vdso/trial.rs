//! A trial of the whole way: a child that does nothing is hooked and restored, and ends.

use std::{io, time::Duration};

use nix::{
    libc,
    sys::wait::waitpid,
    unistd::{ForkResult, Pid, fork},
};

use super::{
    image::{Image, ImageError},
    page::{Page, PageError},
    slot::Slot,
};
use crate::process::ProcessId;

/// How long the child may take to stop.
const PATIENCE: Duration = Duration::from_secs(2);
/// Nobody's number: an injection's is drawn from the rest.
const NOBODY: u32 = 0;

/// Why this machine cannot skew a process.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// The vDSO.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The child could not be made.
    #[error("start a child for a trial: {0}")]
    Child(#[source] io::Error),
    /// The child could not be hooked.
    #[error(transparent)]
    Page(#[from] PageError),
    /// The child was not as before afterwards.
    #[error("restore a child of a trial: its vDSO differs from Murphy's own")]
    Differs,
}

/// The child.
struct Idle(Pid);

impl Idle {
    fn start() -> io::Result<Self> {
        // SAFETY: the child makes system calls only, until it is killed.
        match unsafe { fork() }? {
            ForkResult::Child => {
                // SAFETY: as above.
                unsafe {
                    libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                    loop {
                        libc::pause();
                    }
                }
            }
            ForkResult::Parent { child } => Ok(Self(child)),
        }
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        // It is this process's own child, which nobody else waits for.
        let _ = nix::sys::signal::kill(self.0, nix::sys::signal::Signal::SIGKILL);
        let _ = waitpid(self.0, None);
    }
}

/// Hooks a child and restores it. Returns the bytes that the hook takes, and the bytes that are free for it.
pub fn trial() -> Result<(usize, usize), TrialError> {
    let image = Image::own()?;
    let idle = Idle::start().map_err(TrialError::Child)?;
    let process = ProcessId::of(idle.0.as_raw().unsigned_abs())
        .map_err(|error| TrialError::Child(io::Error::other(error)))?;
    let page = Page::open(process)?;
    page.hook(&[NOBODY], &Slot::default(), PATIENCE)?;
    let (_, inside) = page.restore(PATIENCE)?;
    page.wipe(Some(inside), PATIENCE)?;
    if page.bytes()? == image.pristine() {
        Ok(image.room())
    } else {
        Err(TrialError::Differs)
    }
}
