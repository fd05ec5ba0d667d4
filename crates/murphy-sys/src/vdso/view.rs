//! A view is what a process with a given vDSO page reads from its clocks.
//!
//! The page is copied, as it is at that moment, over the one of a child of Murphy's own, and the child asks
//! that very code for the time: a reading, not a computation. All a hook refers to lies in its page.

use std::{
    io::{self, Read},
    mem::transmute,
    os::fd::{AsRawFd, OwnedFd},
};

use nix::{
    libc::{self, c_int, timespec},
    sys::wait::waitpid,
    unistd::{ForkResult, fork, pipe},
};

use super::{Clock, Image, ImageError, image};

/// Clocks by number, up to the last that can be skewed.
const CLOCKS: usize = 12;
/// The number of `CLOCK_BOOTTIME`.
const BOOTTIME: usize = 7;
/// What the child says: for each clock the true time, the time seen, and the true time again, in
/// nanoseconds.
const SAID: usize = CLOCKS * 3 * 8;
/// So often a clock is read at most, where the processor is taken away between two readings.
const TRIES: usize = 5;
/// True readings so close together, in nanoseconds, need no further try.
const CLOSE_NS: i64 = 100_000;
/// Said of a clock that this machine has not, as one without an alarm has no alarm clocks.
const UNREAD: i64 = i64::MIN;

/// Why a view cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// This machine's own page.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The child could not be made, or did not answer.
    #[error("read the clocks as the target sees them: {0}")]
    Child(#[source] io::Error),
}

/// How far a clock seen by a process is from the true one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shift {
    /// The clock.
    pub clock: Clock,
    /// Seen minus true, in nanoseconds.
    pub shift_ns: i64,
    /// When it was read, to some microseconds; ns of boottime.
    pub at_ns: u64,
    /// How far apart the two true readings around it were: the error is at most that.
    pub within_ns: i64,
}

/// Reads every clock of this machine that can be skewed as a process with this page sees it.
pub fn shifts(page: &[u8]) -> Result<Vec<Shift>, ViewError> {
    let image = Image::own()?;
    let (base, length) = image::place(std::process::id()).ok_or(ImageError::None)?;
    if page.len() != length {
        let source = io::Error::other("the page has another length than Murphy's own");
        return Err(ViewError::Child(source));
    }
    let entry = image.jumps[0].0;
    let said = in_child(base, page, entry).map_err(ViewError::Child)?;
    Ok(shifts_in(&said))
}

fn shifts_in(said: &[u8]) -> Vec<Shift> {
    let number = |i: usize| {
        let mut word = [0; 8];
        word.copy_from_slice(&said[8 * i..8 * i + 8]);
        i64::from_le_bytes(word)
    };
    // All clocks are read one after the other, boottime among them.
    let at_ns = u64::try_from(number(3 * BOOTTIME)).unwrap_or(0);
    Clock::all()
        .filter_map(|clock| {
            let at = 3 * usize::from(clock.id());
            let (before, seen, after) = (number(at), number(at + 1), number(at + 2));
            let is_read = [before, seen, after]
                .iter()
                .all(|reading| *reading != UNREAD);
            is_read.then(|| Shift {
                clock,
                shift_ns: seen.wrapping_sub(before.midpoint(after)),
                at_ns,
                within_ns: after - before,
            })
        })
        .collect()
}

/// Reads the clocks of the time namespace of process `pid`, against those of Murphy's; empty where both are
/// in the same.
pub fn namespace_shifts(pid: u32) -> Result<Vec<Shift>, ViewError> {
    if crate::process::shares_namespace(pid, "time") {
        return Ok(Vec::new());
    }
    let open = |name: &str| std::fs::File::open(format!("/proc/{name}/ns/time"));
    let files = open(&pid.to_string()).and_then(|theirs| Ok((theirs, open("self")?)));
    let (theirs, ours) = files.map_err(ViewError::Child)?;
    let said = said_by_child(|writing| {
        // SAFETY: in the child, which has one thread and ends right after.
        unsafe { answer_from(&theirs, &ours, writing) }
    })
    .map_err(ViewError::Child)?;
    Ok(shifts_in(&said))
}

/// Says what the clocks show in another time namespace, by system calls.
///
/// # Safety
///
/// To be called in a forked child only: it changes the namespace of its thread.
unsafe fn answer_from(theirs: &std::fs::File, ours: &std::fs::File, writing: &OwnedFd) -> c_int {
    // SAFETY: both descriptors are open for as long as this child lives.
    let enter =
        |file: &std::fs::File| unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWTIME) };
    let mut best = [UNTRIED; CLOCKS];
    for _ in 0..TRIES {
        let mut readings = best;
        for (step, namespace) in [ours, theirs, ours].into_iter().enumerate() {
            if enter(namespace) != 0 {
                return 1;
            }
            for (clock, reading) in (0..).zip(&mut readings) {
                reading[step] = true_ns(clock);
            }
        }
        for (best, reading) in best.iter_mut().zip(readings) {
            keep_closer(best, reading);
        }
        if best.iter().all(|best| width(*best) <= CLOSE_NS) {
            break;
        }
    }
    say(&best, writing)
}

/// The true time, the time seen, and the true time again.
type Readings = [i64; 3];

/// As far apart as can be.
const UNTRIED: Readings = [0, 0, i64::MAX];

/// How far the true readings are apart, whichever is later; nothing where there is no such clock.
fn width([before, _, after]: Readings) -> i64 {
    after.saturating_sub(before).saturating_abs()
}

fn keep_closer(best: &mut Readings, readings: Readings) {
    if width(readings) < width(*best) {
        *best = readings;
    }
}

fn say(readings: &[Readings; CLOCKS], writing: &OwnedFd) -> c_int {
    let mut said = [0_u8; SAID];
    for (place, reading) in said.chunks_exact_mut(8).zip(readings.iter().flatten()) {
        place.copy_from_slice(&reading.to_le_bytes());
    }
    // SAFETY: the buffer is valid for its length; a pipe takes that much at once.
    let written = unsafe { libc::write(writing.as_raw_fd(), said.as_ptr().cast(), said.len()) };
    c_int::from(written != SAID.cast_signed())
}

fn in_child(base: u64, page: &[u8], entry: usize) -> io::Result<Vec<u8>> {
    said_by_child(|writing| {
        // SAFETY: in the child, which has one thread and ends right after.
        unsafe { answer(base, page, entry, writing) }
    })
}

/// What a child of this process says that does nothing but `answer`, which must make system calls only.
fn said_by_child(answer: impl FnOnce(&OwnedFd) -> c_int) -> io::Result<Vec<u8>> {
    let (reading, writing) = pipe()?;
    // SAFETY: the child makes system calls, copies memory and runs the page; it allocates nothing, takes no
    // lock, and ends with `_exit`, as fork(2) demands of a process that may have threads.
    match unsafe { fork() }? {
        ForkResult::Child => {
            let code = answer(&writing);
            // SAFETY: ends the child without running anything that the parent has registered.
            unsafe { libc::_exit(code) }
        }
        ForkResult::Parent { child } => {
            drop(writing);
            let mut said = vec![0; SAID];
            let read = std::fs::File::from(reading).read_exact(&mut said);
            let status = waitpid(child, None)?;
            read.map_err(|_| io::Error::other(format!("the child ended with {status:?}")))?;
            Ok(said)
        }
    }
}

/// Puts `page` in place of this process's vDSO and says what its clocks show.
///
/// # Safety
///
/// To be called in a forked child only, which must end right after: its own clock functions are replaced.
unsafe fn answer(base: u64, page: &[u8], entry: usize, writing: &OwnedFd) -> c_int {
    let Ok(address) = usize::try_from(base) else {
        return 1;
    };
    let place: *mut u8 = std::ptr::with_exposed_provenance_mut(address);
    let all = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
    // SAFETY: the range is this child's own vDSO, mapped by the kernel, and `page` is as long as that.
    let made = unsafe { libc::mprotect(place.cast(), page.len(), all) } == 0;
    if made {
        // SAFETY: as above; nothing runs there, this being the only thread.
        unsafe { std::ptr::copy_nonoverlapping(page.as_ptr(), place, page.len()) };
    } else if !write_own_memory(base, page) {
        return 1;
    }
    // SAFETY: there is a function of this signature at `entry`: the page is a vDSO of this kernel.
    let clock_gettime: extern "C" fn(c_int, *mut timespec) -> c_int =
        unsafe { transmute(place.add(entry)) };
    let mut best = [UNTRIED; CLOCKS];
    for (clock, best) in (0..).zip(&mut best) {
        for _ in 0..TRIES {
            let before = true_ns(clock);
            let seen = seen_ns(clock_gettime, clock);
            keep_closer(best, [before, seen, true_ns(clock)]);
            if width(*best) <= CLOSE_NS {
                break;
            }
        }
    }
    say(&best, writing)
}

/// Where the page may not be made writable, `/proc/self/mem` writes it all the same.
fn write_own_memory(base: u64, page: &[u8]) -> bool {
    // SAFETY: a system call on a constant path; the descriptor ends with this child.
    let file = unsafe { libc::open(c"/proc/self/mem".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) };
    // SAFETY: writes this child's own vDSO, from a buffer valid for its length.
    let written =
        unsafe { libc::pwrite(file, page.as_ptr().cast(), page.len(), base.cast_signed()) };
    written == page.len().cast_signed()
}

/// A clock as the kernel shows it, by a system call, in nanoseconds; `None` where there is no such clock.
pub fn kernel_ns(clock: Clock) -> Option<i64> {
    let shown = true_ns(c_int::from(clock.id()));
    (shown != UNREAD).then_some(shown)
}

fn true_ns(clock: c_int) -> i64 {
    let mut time = timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a valid place for the answer.
    let failed = unsafe { libc::syscall(libc::SYS_clock_gettime, clock, &raw mut time) };
    if failed != 0 {
        return UNREAD;
    }
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

fn seen_ns(clock_gettime: extern "C" fn(c_int, *mut timespec) -> c_int, clock: c_int) -> i64 {
    let mut time = timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    if clock_gettime(clock, &raw mut time) != 0 {
        return UNREAD;
    }
    time.tv_sec
        .wrapping_mul(1_000_000_000)
        .wrapping_add(time.tv_nsec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pristine_page_shows_the_true_time() {
        let image = Image::own().unwrap();
        for shift in shifts(image.pristine()).unwrap() {
            let tick = if shift.clock.name().contains("COARSE") {
                10_000_000
            } else {
                0
            };
            assert!(shift.shift_ns.abs() <= shift.within_ns + tick, "{shift:?}");
        }
    }

    #[test]
    fn a_page_that_is_none_is_an_error() {
        assert!(shifts(&[0; 10]).is_err());
        let zeros = vec![0; Image::own().unwrap().pristine().len()];
        assert!(shifts(&zeros).is_err(), "zeros are no code");
    }
}
