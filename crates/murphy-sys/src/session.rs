//! A session is what a terminal's Ctrl-C and hang-up reach; a process that must outlive its terminal
//! leaves it.
//!
//! See `setsid(2)`, `daemon(7)`.

use std::{
    fs::File,
    io::{self, ErrorKind},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{OFlags, fcntl_getfl, fcntl_setfl},
    pipe::{PipeFlags, pipe_with},
    process::{chdir, setsid},
    stdio::{dup2_stderr, dup2_stdout, stdin},
};

/// A pipe whose ends no launched command inherits: (read, write).
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(pipe_with(PipeFlags::CLOEXEC)?)
}

/// Has whoever reads or writes there fail with [`ErrorKind::WouldBlock`] instead of waiting.
pub fn never_wait(fd: impl AsFd) -> io::Result<()> {
    let flags = fcntl_getfl(&fd)?;
    Ok(fcntl_setfl(&fd, flags | OFlags::NONBLOCK)?)
}

/// Writes a byte there, if there is room for it.
pub fn write_byte(fd: impl AsFd) -> io::Result<()> {
    rustix::io::write(fd, b".")?;
    Ok(())
}

/// What standard input has to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// Its other end was closed.
    Closed,
    /// Something, which has been read.
    Something,
    /// Nothing so far.
    Nothing,
}

/// Begins a session of its own.
pub fn begin() -> io::Result<()> {
    setsid()?;
    Ok(())
}

/// Begins a session of its own and leaves the working directory, so that nothing is kept busy.
pub fn leave_terminal() -> io::Result<()> {
    begin()?;
    chdir("/")?;
    Ok(())
}

/// Sends standard output and standard error to nowhere.
pub fn silence() -> io::Result<()> {
    let null = File::options().write(true).open("/dev/null")?;
    dup2_stdout(&null)?;
    dup2_stderr(&null)?;
    Ok(())
}

/// Waits at most `limit` for standard input to be closed at its other end, or for something to be written there.
pub fn hear_stdin(limit: Duration) -> io::Result<Said> {
    let events = wait(stdin().as_fd(), PollFlags::IN, limit)?;
    if events.intersects(PollFlags::HUP | PollFlags::ERR) {
        return Ok(Said::Closed);
    }
    if !events.contains(PollFlags::IN) {
        return Ok(Said::Nothing);
    }
    match rustix::io::read(stdin(), &mut [0; 4096]) {
        Ok(0) => Ok(Said::Closed),
        Ok(_) => Ok(Said::Something),
        Err(errno) if errno.kind() == ErrorKind::Interrupted => Ok(Said::Nothing),
        Err(errno) => Err(errno.into()),
    }
}

/// Waits at most `limit` for something to read, the end included. True when there is.
pub fn readable(fd: impl AsFd, limit: Duration) -> io::Result<bool> {
    Ok(!wait(fd.as_fd(), PollFlags::IN, limit)?.is_empty())
}

/// The same, to the end of that time, whatever signals come meanwhile.
pub(crate) fn readable_within(fd: impl AsFd, at_most: Duration) -> io::Result<bool> {
    // What nobody lives to see is no limit.
    let until = Instant::now().checked_add(at_most);
    loop {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let timeout = left.and_then(|left| Timespec::try_from(left).ok());
        let mut polled = [PollFd::new(&fd, PollFlags::IN)];
        match poll(&mut polled, timeout.as_ref()) {
            Ok(ready) => return Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Waits at most `limit` for something to read from either. True when there is from the first.
pub fn first_readable(first: impl AsFd, second: impl AsFd, limit: Duration) -> io::Result<bool> {
    let timeout = Timespec::try_from(limit).map_err(io::Error::other)?;
    let mut fds = [
        PollFd::from_borrowed_fd(first.as_fd(), PollFlags::IN),
        PollFd::from_borrowed_fd(second.as_fd(), PollFlags::IN),
    ];
    match poll(&mut fds, Some(&timeout)) {
        Ok(_) => Ok(!fds[0].revents().is_empty()),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

fn wait(fd: BorrowedFd<'_>, events: PollFlags, limit: Duration) -> io::Result<PollFlags> {
    let timeout = Timespec::try_from(limit).map_err(io::Error::other)?;
    let mut fds = [PollFd::from_borrowed_fd(fd, events)];
    match poll(&mut fds, Some(&timeout)) {
        Ok(_) => Ok(fds[0].revents()),
        Err(rustix::io::Errno::INTR) => Ok(PollFlags::empty()),
        Err(errno) => Err(errno.into()),
    }
}
