//! The vDSO page of one process: hooked, configured, restored, all while others may look on.
//!
//! Whoever works on a page holds its [`Patching`] lock. The page itself says in which state it is and which
//! injections hold it, so that a stranger, or a Murphy that comes after a crash, finds all it needs there.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use super::{
    DATA, SLOT, SLOTS_AT, Slot,
    image::{Image, ImageError, MARK, base},
};
use crate::{
    arch::{JUMP, returns_from_signal},
    memory::{Memory, MemoryError, Patching},
    process::{ProcessId, is_32_bit},
    sharing::{Shared, wait_until_alone},
    tracee::{self, Stopped, TraceeError, Who, tracer_of, wait_until_left, while_stopped},
};

/// How many injections can hold one page at a time.
pub const HOLDERS_MAX: usize = 8;
/// Where the holders stand in the data.
const HOLDERS_AT: usize = 8;
/// What the mark takes, written at once.
const MARK_ROOM: usize = 8;
/// How much of a stack is searched for signal frames, in words: 32 KiB.
const FRAMES_WORDS: usize = 4096;
/// How much of a stack is searched for a return into the hook: what the vDSO itself uses, in words.
const CALL_WORDS: usize = 64;
/// How often a page is tried whose instructions under a jump are in use by a signal frame.
const BUSY_MAX: u32 = 500;
/// How long between two tries.
const BUSY_PAUSE: Duration = Duration::from_micros(300);
/// How long a child may take from its `vfork` to its `execve`, where it is no trouble to look again later.
const VFORK_PATIENCE: Duration = Duration::from_millis(50);
/// How often, and how far apart, a process is looked at that may be about to execute a program.
const EXECUTING_TRIES: u32 = 20;
const EXECUTING_PAUSE: Duration = Duration::from_millis(1);

/// Why a page cannot be worked on.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// This machine's own.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The memory.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// Its threads.
    #[error(transparent)]
    Tracee(#[from] TraceeError),
    /// It is a 32-bit program.
    #[error("skew {0}: it is a 32-bit program; only 64-bit ones are supported")]
    ThirtyTwo(ProcessId),
    /// It is a zombie or a kernel thread.
    #[error("skew {process}: it is {what}")]
    NoProgram {
        /// Who.
        process: ProcessId,
        /// What it is.
        what: &'static str,
    },
    /// It has no vDSO.
    #[error("skew {0}: it has no vDSO, so every clock it reads is a system call")]
    NoVdso(ProcessId),
    /// Another tool was there.
    #[error(
        "skew {0}: its vDSO is not this kernel's: another tool has patched it, or it was restored from a checkpoint"
    )]
    Foreign(ProcessId),
    /// Another Murphy was there.
    #[error("skew {0}: another version of Murphy has hooked it; end that injection first")]
    OtherVersion(ProcessId),
    /// Another process runs the same memory.
    #[error(transparent)]
    Shared(#[from] Shared),
    /// Too many skews.
    #[error("skew {0}: {HOLDERS_MAX} injections hold its clocks already")]
    Full(ProcessId),
    /// A signal handler never leaves.
    #[error(
        "skew {0}: a signal handler that interrupted the first instructions of a clock function does not return"
    )]
    Busy(ProcessId),
    /// It became another program meanwhile.
    #[error("skew {0}: it has executed another program meanwhile")]
    Executed(ProcessId),
}

impl PageError {
    /// Whether there is nobody left to work on.
    pub fn is_gone(&self) -> bool {
        matches!(
            self,
            Self::Memory(MemoryError::Gone(_)) | Self::Tracee(TraceeError::Gone(_))
        )
    }
}

/// In which state a page is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// As the kernel made it.
    Pristine,
    /// All three jumps lead to the hook.
    Hooked,
    /// Some do: somebody was killed between two of them.
    Half,
    /// None does; the hook still stands at the end of the page and is not run.
    Dormant,
}

/// How a process was stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stopping {
    /// Its threads.
    pub threads: usize,
    /// Threads that were moved out of instructions about to be overwritten.
    pub moved: usize,
    /// How long the last stop was, in nanoseconds.
    pub stopped_ns: u64,
    /// Stops that were given up because a signal frame was in the way.
    pub retries: u32,
}

/// The page of one process, locked.
#[derive(Debug)]
pub struct Page {
    process: ProcessId,
    memory: Memory,
    base: u64,
    image: &'static Image,
    _lock: Patching,
}

impl Page {
    /// Opens and locks the page of a process; an error for one that Murphy must not patch.
    pub fn open(process: ProcessId) -> Result<Self, PageError> {
        let image = Image::own()?;
        let stat = process.stat().ok_or(MemoryError::Gone(process))?;
        if stat.is_kernel_thread() {
            let what = "a kernel thread";
            return Err(PageError::NoProgram { process, what });
        }
        if stat.state.is_dead() {
            return Err(MemoryError::Gone(process).into());
        }
        let lock = Patching::lock(process)?;
        let memory = Memory::open(process)?;
        let Some(base) = base_patiently(process) else {
            return Err(if !process.is_alive() {
                MemoryError::Gone(process).into()
            } else if is_32_bit(process.pid) {
                PageError::ThirtyTwo(process)
            } else {
                PageError::NoVdso(process)
            });
        };
        let page = Self {
            process,
            memory,
            base,
            image,
            _lock: lock,
        };
        page.state()?;
        Ok(page)
    }

    /// Whose it is.
    pub fn process(&self) -> ProcessId {
        self.process
    }

    /// Where the data of the hook are in its memory, or would be.
    pub fn data_at(&self) -> u64 {
        self.base + self.image.data_at as u64
    }

    /// The page as it is now.
    pub fn bytes(&self) -> Result<Vec<u8>, PageError> {
        match self.memory.read(self.base, self.image.pristine.len()) {
            Ok(bytes) => Ok(bytes),
            Err(MemoryError::Gone(process)) => Err(MemoryError::Gone(process).into()),
            // Mapped elsewhere or shorter: not the page we know.
            Err(_) => Err(PageError::Foreign(self.process)),
        }
    }

    /// In which state it is; an error when somebody else has changed it.
    pub fn state(&self) -> Result<State, PageError> {
        self.state_of(&self.bytes()?)
    }

    fn state_of(&self, bytes: &[u8]) -> Result<State, PageError> {
        let image = self.image;
        let end = &bytes[image.hook_at..];
        let is_marked = end.starts_with(MARK);
        if !is_marked && end != &image.pristine[image.hook_at..] {
            return Err(PageError::Foreign(self.process));
        }
        let mut rest = bytes[..image.hook_at].to_vec();
        let mut hooked = 0;
        for (at, jump) in image.jumps {
            let place = at..at + JUMP;
            let pristine = &image.pristine[place.clone()];
            if rest[place.clone()] != *pristine {
                // A jump of another version leads elsewhere, and is taken back all the same.
                let is_ours = rest[place.clone()] == jump || (is_marked && rest[at] == jump[0]);
                if !is_ours {
                    return Err(PageError::Foreign(self.process));
                }
                hooked += 1;
                rest[place].copy_from_slice(pristine);
            }
        }
        if rest != image.pristine[..image.hook_at] || (hooked > 0 && !is_marked) {
            return Err(PageError::Foreign(self.process));
        }
        Ok(match (hooked, is_marked) {
            (0, false) => State::Pristine,
            (0, true) => State::Dormant,
            (3, _) => State::Hooked,
            _ => State::Half,
        })
    }

    /// The injections that hold it, whether its jumps are in place or not.
    pub fn holders(&self) -> Result<Vec<u32>, PageError> {
        let bytes = self.bytes()?;
        if self.state_of(&bytes)? == State::Pristine {
            return Ok(Vec::new());
        }
        Ok(holders_in(&bytes[self.image.data_at..]))
    }

    /// Whether it would be stopped and patched without trouble; what can be known without touching it.
    pub fn examine(&self) -> Result<(), PageError> {
        if let Some((tracer, name)) = tracer_of(self.process) {
            return Err(TraceeError::Traced {
                process: self.process,
                tracer,
                name,
            }
            .into());
        }
        if self.state()? != State::Pristine {
            self.check_version()?;
        }
        Ok(())
    }

    fn check_version(&self) -> Result<(), PageError> {
        let code = self.image.hook_at..self.image.data_at;
        let hook = &self.image.hook[..code.len()];
        if self.bytes()?[code] == *hook {
            Ok(())
        } else {
            Err(PageError::OtherVersion(self.process))
        }
    }

    /// Puts the hook in, held by `holders` and adding what `slot` says; the state afterwards is `Hooked`.
    pub fn hook(
        &self,
        holders: &[u32],
        slot: &Slot,
        patience: Duration,
    ) -> Result<Stopping, PageError> {
        if holders.len() > HOLDERS_MAX {
            return Err(PageError::Full(self.process));
        }
        let state = self.state()?;
        if state != State::Hooked {
            wait_until_alone(self.process, patience.min(VFORK_PATIENCE))?;
        }
        match state {
            State::Pristine => {
                let mut hook = self.image.hook.clone();
                let data = self.image.data_at - self.image.hook_at;
                hook[data + HOLDERS_AT..][..4 * HOLDERS_MAX]
                    .copy_from_slice(&holder_bytes(holders));
                hook[data + SLOTS_AT..][..SLOT].copy_from_slice(&slot.bytes());
                // Nobody runs there yet, so nobody needs to stop.
                self.write(self.image.hook_at, &hook)?;
            }
            State::Hooked => {
                self.check_version()?;
                self.configure(holders, slot)?;
                return Ok(Stopping::default());
            }
            State::Half => {
                self.check_version()?;
                self.configure(holders, slot)?;
            }
            State::Dormant => match self.check_version() {
                Ok(()) => self.configure(holders, slot)?,
                // Written or wiped by halves by somebody who died: it can go, with nobody in it.
                Err(_) if self.wipe(None, Duration::ZERO)? => {
                    return self.hook(holders, slot, patience);
                }
                Err(error) => return Err(error),
            },
        }
        self.put_jumps(patience)
    }

    fn put_jumps(&self, patience: Duration) -> Result<Stopping, PageError> {
        let under = |at: u64| {
            self.image.jumps.iter().any(|(jump, _)| {
                let begin = self.base + *jump as u64;
                at > begin && at < begin + JUMP as u64
            })
        };
        for retries in 0..BUSY_MAX {
            let (outcome, stopped) =
                while_stopped(self.process, Who::Everybody, patience, |stopped| {
                    self.still_the_same()?;
                    let mut inside = Vec::new();
                    for thread in stopped.threads() {
                        let Some(registers) = stopped.registers(thread) else {
                            continue;
                        };
                        if self.has_frame(registers.stack(), under) {
                            return Ok(None);
                        }
                        if under(registers.instruction()) {
                            inside.push((thread, registers));
                        }
                    }
                    let moved = inside.len();
                    // Threads first: killed after that, Murphy leaves them running the moved instructions.
                    for (thread, mut registers) in inside {
                        let Some(to) = self.moved_to(registers.instruction()) else {
                            return Ok(None);
                        };
                        registers.move_to(thread, to);
                    }
                    for (at, jump) in self.image.jumps {
                        stopped.write(&self.memory, self.base + at as u64, &jump)?;
                    }
                    Ok::<_, PageError>(Some((stopped.count(), moved)))
                })?;
            if let Some((threads, moved)) = outcome? {
                return Ok(Stopping {
                    threads,
                    moved,
                    stopped_ns: nanos(stopped),
                    retries,
                });
            }
            sleep(BUSY_PAUSE);
        }
        Err(PageError::Busy(self.process))
    }

    /// Where an instruction under a jump is now.
    fn moved_to(&self, instruction: u64) -> Option<u64> {
        let offset = usize::try_from(instruction - self.base).ok()?;
        let found = self
            .image
            .instructions
            .iter()
            .find(|(old, _)| *old == offset);
        found.map(|(_, new)| self.base + *new as u64)
    }

    /// Everything was read before the process was stopped: it may have executed another program since. The file of
    /// its memory stays with the memory that it had, which is gone then.
    fn still_the_same(&self) -> Result<(), PageError> {
        let mark = self.base + self.image.hook_at as u64;
        match self.memory.read(mark, MARK.len()) {
            Ok(bytes) if bytes == MARK => Ok(()),
            _ => Err(PageError::Executed(self.process)),
        }
    }

    fn has_frame(&self, stack: u64, within: impl Fn(u64) -> bool) -> bool {
        returns_from_signal(&self.memory.read_words(stack & !7, FRAMES_WORDS), within)
    }

    /// Changes who holds the hook and what it adds, without stopping anybody.
    pub fn configure(&self, holders: &[u32], slot: &Slot) -> Result<(), PageError> {
        if holders.len() > HOLDERS_MAX {
            return Err(PageError::Full(self.process));
        }
        let data = self.image.data_at;
        let bytes = self.memory.read(self.base + data as u64, DATA)?;
        // Whoever loses his hold keeps it until his skew is gone, whoever wins one has it before.
        let mut both = holders_in(&bytes);
        both.extend(holders);
        both.sort_unstable();
        both.dedup();
        both.truncate(HOLDERS_MAX);
        self.write(data + HOLDERS_AT, &holder_bytes(&both))?;
        let mut generation = [0; 4];
        generation.copy_from_slice(&bytes[..4]);
        let next = u32::from_le_bytes(generation).wrapping_add(1);
        let place = data + SLOTS_AT + SLOT * (next & 1) as usize;
        self.write(place, &slot.bytes())?;
        self.write(data, &next.to_le_bytes())?;
        self.write(data + HOLDERS_AT, &holder_bytes(holders))
    }

    /// Changes who holds the hook, and nothing else.
    pub fn hold(&self, holders: &[u32]) -> Result<(), PageError> {
        if holders.len() > HOLDERS_MAX {
            return Err(PageError::Full(self.process));
        }
        self.write(self.image.data_at + HOLDERS_AT, &holder_bytes(holders))
    }

    /// Takes the jumps back: from here on every clock is true. Returns the threads that were inside the hook
    /// then, too; nobody else can come in any more.
    pub fn restore(&self, patience: Duration) -> Result<(Stopping, Vec<i32>), PageError> {
        wait_until_alone(self.process, patience)?;
        let (outcome, stopped) =
            while_stopped(self.process, Who::Everybody, patience, |stopped| {
                self.still_the_same()?;
                for (at, _) in self.image.jumps {
                    let pristine = &self.image.pristine[at..at + JUMP];
                    stopped.write(&self.memory, self.base + at as u64, pristine)?;
                }
                let count = stopped.count();
                Ok::<_, PageError>((count, self.inside(stopped)))
            })?;
        let (threads, inside) = outcome?;
        let stopping = Stopping {
            threads,
            stopped_ns: nanos(stopped),
            ..Stopping::default()
        };
        Ok((stopping, inside))
    }

    /// Threads that are in the hook, or will return to it.
    fn inside(&self, stopped: &Stopped) -> Vec<i32> {
        let end = self.base + self.image.pristine.len() as u64;
        let hook = self.base + self.image.hook_at as u64..end;
        let page = self.base..end;
        let is_inside = |thread: &i32| {
            let Some(registers) = stopped.registers(*thread) else {
                return false;
            };
            let at = registers.instruction();
            let words = self.memory.read_words(registers.stack() & !7, FRAMES_WORDS);
            let called = words
                .iter()
                .take(CALL_WORDS)
                .any(|word| hook.contains(word));
            hook.contains(&at)
                || (page.contains(&at) && called)
                || returns_from_signal(&words, |at| page.contains(&at))
        };
        stopped.threads().filter(is_inside).collect()
    }

    /// Makes the page of a restored process pristine again, once the last of `inside` has left the hook;
    /// `None` when it is not known who is inside. False when somebody still was within `patience`: the hook
    /// then stays as it is, not run by anybody new and harmless.
    pub fn wipe(&self, inside: Option<Vec<i32>>, patience: Duration) -> Result<bool, PageError> {
        wait_until_alone(self.process, patience)?;
        let until = Instant::now() + patience;
        let left = if let Some(threads) = inside {
            threads
        } else {
            let look = |stopped: &Stopped| self.inside(stopped);
            while_stopped(self.process, Who::Everybody, patience, look)?.0
        };
        let look = |stopped: &Stopped| self.inside(stopped);
        if !wait_until_left(self.process, left, until, patience, look)? {
            return Ok(false);
        }
        self.still_the_same()?;
        // The mark goes last: a page without it and with some of the rest would be a stranger's.
        let (mark, rest) = self.image.pristine[self.image.hook_at..].split_at(MARK_ROOM);
        self.write(self.image.hook_at + MARK_ROOM, rest)?;
        self.write(self.image.hook_at, mark)?;
        Ok(self.bytes()? == self.image.pristine)
    }

    /// Writes into the page.
    fn write(&self, at: usize, bytes: &[u8]) -> Result<(), PageError> {
        tracee::write(&self.memory, self.base + at as u64, bytes)
    }
}

/// A process in the middle of `execve` has no vDSO yet and will have one in a moment.
fn base_patiently(process: ProcessId) -> Option<u64> {
    for _ in 0..EXECUTING_TRIES {
        if let Some(base) = base(process.pid) {
            return Some(base);
        }
        if !process.is_alive() || is_32_bit(process.pid) {
            return None;
        }
        sleep(EXECUTING_PAUSE);
    }
    None
}

/// The injections that hold a process's page, read without a lock; empty for one that nobody holds or that
/// cannot be read.
pub fn holders_of(pid: u32) -> Vec<u32> {
    marked_by(pid).unwrap_or_default()
}

/// The same; `None` for a page without a hook. One that nobody holds is there because somebody died before it was
/// wiped, or because a thread was in it for too long.
pub fn marked_by(pid: u32) -> Option<Vec<u32>> {
    use std::os::unix::fs::FileExt;
    let image = Image::own().ok()?;
    let base = base(pid)?;
    let file = std::fs::File::open(format!("/proc/{pid}/mem")).ok()?;
    let mut bytes = vec![0; image.hook.len()];
    file.read_exact_at(&mut bytes, base + image.hook_at as u64)
        .ok()?;
    let data = image.data_at - image.hook_at;
    bytes.starts_with(MARK).then(|| holders_in(&bytes[data..]))
}

fn holders_in(data: &[u8]) -> Vec<u32> {
    let words = data[HOLDERS_AT..HOLDERS_AT + 4 * HOLDERS_MAX].as_chunks().0;
    let numbers = words.iter().copied().map(u32::from_le_bytes);
    numbers.filter(|holder| *holder != 0).collect()
}

fn holder_bytes(holders: &[u32]) -> [u8; 4 * HOLDERS_MAX] {
    let mut bytes = [0; 4 * HOLDERS_MAX];
    for (place, holder) in bytes.as_chunks_mut().0.iter_mut().zip(holders) {
        *place = holder.to_le_bytes();
    }
    bytes
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vdso::{Clock, Segment, Timescale, view};
    use std::process::{Child, Command};

    const PATIENCE: Duration = Duration::from_secs(2);

    struct Victim(Child);

    impl Victim {
        fn start() -> (Self, ProcessId) {
            let child = Command::new("sleep").arg("60").spawn().unwrap();
            let process = ProcessId::of(child.id()).unwrap();
            // Until it has executed its program it is a copy of this test.
            while process.stat().unwrap().comm != "sleep" {
                std::thread::yield_now();
            }
            (Self(child), process)
        }
    }

    impl Drop for Victim {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    /// All clocks of a timescale by `shift_ns`, for ever.
    fn slot(timescale: Timescale, shift_ns: i64, rate: f64) -> Slot {
        let clocks: Vec<Clock> = Clock::all().collect();
        let now = timescale.now_ns();
        let segment = Segment::new(now, shift_ns, rate, i64::MAX);
        let mut slot = Slot::default();
        slot.set(timescale, &clocks, [segment, segment]);
        slot
    }

    fn shift_of(page: &Page, name: &str) -> i64 {
        shift(page, name).shift_ns
    }

    fn shift(page: &Page, name: &str) -> view::Shift {
        let shifts = view::shifts(&page.bytes().unwrap()).unwrap();
        let found = shifts.iter().find(|shift| shift.clock.name() == name);
        *found.unwrap()
    }

    /// How far a clock's shift is from the one that is wanted, beyond what the reading of it leaves open.
    fn off(page: &Page, name: &str, wanted_ns: i64) -> i64 {
        let shift = shift(page, name);
        (shift.shift_ns - wanted_ns).abs() - shift.within_ns
    }

    /// A child that reads a clock for ever, and was last seen inside instructions that a jump will overwrite.
    struct Inside(nix::unistd::Pid);

    impl Inside {
        fn start(under: impl Fn(u64) -> bool) -> Self {
            // SAFETY: the child reads a clock and makes system calls, until it is killed.
            let child = match unsafe { nix::unistd::fork() }.unwrap() {
                nix::unistd::ForkResult::Parent { child } => child,
                nix::unistd::ForkResult::Child => loop {
                    let _ = crate::clock::realtime_ns();
                },
            };
            let tid = child.as_raw();
            let request = |request, signal| {
                tracee::ptrace(request, tid, 0, signal).unwrap();
            };
            let wait = || {
                nix::sys::wait::waitpid(child, Some(nix::sys::wait::WaitPidFlag::__WALL)).unwrap();
            };
            request(nix::libc::PTRACE_ATTACH, 0);
            wait();
            let mut steps = 0;
            while !under(crate::arch::Registers::read(tid).unwrap().instruction()) {
                request(nix::libc::PTRACE_SINGLESTEP, 0);
                wait();
                steps += 1;
                assert!(steps < 1_000_000, "it never reads its clock");
            }
            request(nix::libc::PTRACE_DETACH, nix::libc::SIGSTOP as usize);
            Self(child)
        }
    }

    impl Drop for Inside {
        fn drop(&mut self) {
            let _ = nix::sys::signal::kill(self.0, nix::sys::signal::Signal::SIGKILL);
            let _ = nix::sys::wait::waitpid(self.0, None);
        }
    }

    /// T6: a thread that stands between two instructions under a jump goes on where they are now.
    #[test]
    fn a_thread_inside_overwritten_instructions_is_moved() {
        let image = Image::own().unwrap();
        let begin = base(std::process::id()).unwrap();
        let entry = begin + image.jumps[0].0 as u64;
        let inside = Inside::start(|at| at > entry && at < entry + JUMP as u64);
        let process = ProcessId::of(inside.0.as_raw().unsigned_abs()).unwrap();
        let page = Page::open(process).unwrap();
        let minute = slot(Timescale::Realtime, 60_000_000_000, 0.0);
        let stopping = page.hook(&[7], &minute, PATIENCE).unwrap();
        assert_eq!(stopping.moved, 1);
        nix::sys::signal::kill(inside.0, nix::sys::signal::Signal::SIGCONT).unwrap();
        // It reads its clock some hundred thousand times through the hook.
        sleep(Duration::from_millis(50));
        let state = process.stat().unwrap().state;
        assert_eq!(state, crate::process::State::Running);
        let (_, inside) = page.restore(PATIENCE).unwrap();
        assert!(page.wipe(Some(inside), PATIENCE).unwrap());
        assert!(process.is_alive());
    }

    #[test]
    fn a_hooked_page_shows_the_skew_and_is_pristine_again_after_it() {
        let (_victim, process) = Victim::start();
        let page = Page::open(process).unwrap();
        assert_eq!(page.state().unwrap(), State::Pristine);
        let minute = 60_000_000_000;
        let stopping = page
            .hook(&[7], &slot(Timescale::Realtime, -minute, 0.0), PATIENCE)
            .unwrap();
        assert_eq!((stopping.threads, stopping.retries), (1, 0));
        assert_eq!(page.state().unwrap(), State::Hooked);
        assert_eq!(holders_of(process.pid), [7]);
        for (clock, wanted, error) in [
            ("CLOCK_REALTIME", -minute, 1_000_000),
            ("CLOCK_REALTIME_COARSE", -minute, 12_000_000),
            ("CLOCK_MONOTONIC", 0, 1_000_000),
            ("CLOCK_TAI", 0, 1_000_000),
        ] {
            let off = off(&page, clock, wanted);
            assert!(off < error, "{clock}: {off} ns off");
        }
        page.configure(&[7, 9], &slot(Timescale::Boottime, 5 * minute, 0.0))
            .unwrap();
        assert_eq!(page.holders().unwrap(), [7, 9]);
        assert!(off(&page, "CLOCK_REALTIME", 0) < 1_000_000);
        assert!(off(&page, "CLOCK_BOOTTIME", 5 * minute) < 1_000_000);
        let (_, inside) = page.restore(PATIENCE).unwrap();
        assert!(off(&page, "CLOCK_BOOTTIME", 0) < 1_000_000);
        assert_eq!(page.state().unwrap(), State::Dormant);
        assert!(page.wipe(Some(inside), PATIENCE).unwrap());
        assert_eq!(page.state().unwrap(), State::Pristine);
    }

    #[test]
    fn a_dormant_and_a_half_hooked_page_are_hooked_and_wiped_like_any() {
        let (_victim, process) = Victim::start();
        let page = Page::open(process).unwrap();
        let slot = slot(Timescale::Realtime, 1_000_000_000, 0.0);
        page.hook(&[1], &slot, PATIENCE).unwrap();
        // As if somebody had been killed after the first of three jumps.
        for (at, _) in &page.image.jumps[1..] {
            page.write(*at, &page.image.pristine[*at..at + JUMP])
                .unwrap();
        }
        assert_eq!(page.state().unwrap(), State::Half);
        page.hook(&[1, 2], &slot, PATIENCE).unwrap();
        assert_eq!(page.state().unwrap(), State::Hooked);
        page.restore(PATIENCE).unwrap();
        page.hook(&[3], &slot, PATIENCE).unwrap();
        assert_eq!(page.holders().unwrap(), [3]);
        page.restore(PATIENCE).unwrap();
        assert!(page.wipe(None, PATIENCE).unwrap());
    }

    #[test]
    fn the_hook_is_not_moved_by_where_a_second_falls() {
        let (_victim, process) = Victim::start();
        let page = Page::open(process).unwrap();
        for shift in [0, 1, -1, 999_999_999, -999_999_999, 10_i64.pow(18)] {
            page.hook(&[1], &slot(Timescale::Realtime, shift, 0.0), PATIENCE)
                .unwrap();
            let off = off(&page, "CLOCK_REALTIME", shift);
            assert!(off < 1_000_000, "{shift}: {off} ns off");
        }
        page.configure(&[1], &slot(Timescale::Realtime, i64::MIN / 2, 0.0))
            .unwrap();
        let seen = Timescale::Realtime.now_ns() + shift_of(&page, "CLOCK_REALTIME");
        assert!(seen.abs() < 1_000_000_000, "clamped at 1970, not {seen}");
        page.configure(&[1], &slot(Timescale::Realtime, 0, -1.0))
            .unwrap();
        // What it shows, and how long the reading took: the two halves of it are apart by that at most.
        let seen = || {
            let before = Timescale::Realtime.now_ns();
            let shown = before + shift_of(&page, "CLOCK_REALTIME");
            (shown, Timescale::Realtime.now_ns() - before)
        };
        let (first, within) = seen();
        sleep(Duration::from_millis(30));
        let (second, within_too) = seen();
        let moved = (second - first).abs();
        assert!(
            moved < 2_000_000 + within + within_too,
            "frozen, not {moved}"
        );
    }

    #[test]
    fn what_another_tool_has_written_is_left_alone() {
        let (_victim, process) = Victim::start();
        let page = Page::open(process).unwrap();
        page.write(page.image.jumps[0].0, &[0x48, 0xb8, 0, 0, 0])
            .unwrap();
        assert!(matches!(page.state(), Err(PageError::Foreign(_))));
        drop(page);
        let error = Page::open(process).unwrap_err().to_string();
        assert!(error.contains("another tool has patched it"), "{error}");
    }

    #[test]
    fn nobody_is_skewed_who_has_no_clocks() {
        let kernel_thread = ProcessId::of(2).unwrap();
        if kernel_thread.stat().unwrap().is_kernel_thread() {
            let error = Page::open(kernel_thread).unwrap_err().to_string();
            assert!(error.contains("a kernel thread"), "{error}");
        }
        let gone = ProcessId {
            start_ticks: 1,
            ..ProcessId::current()
        };
        assert!(Page::open(gone).unwrap_err().is_gone());
    }
}
