//! A program is a process with the modules that it has mapped: patched, looked at and recovered, while others may look on.
//!
//! Whoever works on one holds its [`Patching`] lock. What is patched the memory itself says: a site that differs from its file
//! and leads into room that begins with Murphy's mark is Murphy's. So a stranger, or a Murphy that comes after a crash, needs
//! nothing else to recover it, and a child that was forked meanwhile is recovered in the same way.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    io,
    ops::Range,
    thread::sleep,
    time::{Duration, Instant},
};

use super::{
    Carrier, Lease, Library, REMEMBERED_MOST, Refused, Room, Rule, Site, Stub, StubError, Unfit,
    mapped::{Mapped, Mapping, PAGE},
    remembered,
    stub::{CHANCES_AT, COUNTED, COUNTS_AT, MARK, OWNER_AT, RULES_AT},
};
use crate::{
    arch::{self, JUMP, returns_from_signal},
    memory::{Memory, MemoryError, Patching},
    process::{ProcessId, auxiliary, is_32_bit, read_proc},
    sharing::{Shared, wait_until_alone},
    tracee::{self, Stopped, TraceeError, Who, wait_until_left, while_stopped},
};

/// How much of a stack is searched for signal frames, in words: 32 KiB.
const FRAMES_WORDS: usize = 4096;
/// How often it is tried to put jumps where instructions are in use by a signal frame.
const BUSY_MAX: u32 = 500;
/// How long between two tries.
const BUSY_PAUSE: Duration = Duration::from_micros(300);
/// Where the program that maps modules is mapped itself: `AT_BASE` of `getauxval(3)`; 0 in a static program.
const AT_BASE: u64 = 7;
/// Where in `/proc/PID/stat` the heap begins, behind the name: the 47th field is `start_brk`.
const HEAP_BEGINS: usize = 47 - 3;
/// What counts are aligned to: a line of the cache.
const LINE: u64 = 64;
/// More rules no stub has room for.
const RULES_MAX: u64 = 64;
/// `nop`.
const NOP: u8 = 0x90;
/// `jmp rel32`.
const JMP: u8 = 0xe9;
/// `syscall`, in bytes.
const SYSCALL: u64 = 2;

/// Why a program cannot be patched, or recovered.
#[derive(Debug, thiserror::Error)]
pub enum PatchError {
    /// The memory.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// Its threads.
    #[error(transparent)]
    Tracee(#[from] TraceeError),
    /// Another process runs the same memory.
    #[error(transparent)]
    Shared(#[from] Shared),
    /// No code can be written.
    #[error(transparent)]
    Stub(#[from] StubError),
    /// It is a 32-bit program.
    #[error("patch {0}: it is a 32-bit program; only 64-bit ones are supported")]
    ThirtyTwo(ProcessId),
    /// It has no code.
    #[error("patch {process}: it is {what}")]
    NoProgram {
        /// Who.
        process: ProcessId,
        /// What it is.
        what: &'static str,
    },
    /// Its mappings cannot be read.
    #[error("read what {process} has mapped: {source}")]
    Maps {
        /// Whose.
        process: ProcessId,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Somebody else has patched it.
    #[error(
        "patch {process}: its code is not that of {path} at {at:#x}: another tool has patched it, or the file has changed"
    )]
    Foreign {
        /// Who.
        process: ProcessId,
        /// Which of its files.
        path: String,
        /// Where in the file's addresses.
        at: u64,
    },
    /// No stub has room for so many rules.
    #[error("patch with {0} rules: at most {RULES_MAX} are possible")]
    Rules(usize),
    /// Murphy has patched it already.
    #[error(
        "patch {0}: an injection has patched it already; end that one first, or give it more rules"
    )]
    Patched(ProcessId),
    /// There is nothing to patch.
    #[error(
        "patch {process}: none of its code makes these calls where they can be patched ({why})"
    )]
    Nowhere {
        /// Who.
        process: ProcessId,
        /// Why each place cannot be.
        why: String,
    },
    /// A signal handler never leaves.
    #[error(
        "patch {0}: a signal handler that interrupted the instructions before a system call does not return"
    )]
    Busy(ProcessId),
    /// It became another program meanwhile.
    #[error("patch {0}: it has executed another program meanwhile")]
    Executed(ProcessId),
}

impl PatchError {
    /// Whether there is nobody left to work on.
    pub fn is_gone(&self) -> bool {
        matches!(
            self,
            Self::Memory(MemoryError::Gone(_)) | Self::Tracee(TraceeError::Gone(_))
        )
    }
}

/// What can be patched of some calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// How many places can be.
    pub sites: usize,
    /// Of how many of them it is known only when they are passed which call they make.
    pub dynamic: usize,
    /// Which places cannot be.
    pub uncovered: Vec<Uncovered>,
    /// Whether it is counted how often each rule hits.
    pub is_counted: bool,
}

impl Coverage {
    fn add(&mut self, sites: &[&Site]) {
        self.sites += sites.len();
        self.dynamic += sites.iter().filter(|site| site.number.is_none()).count();
    }
}

/// A place that cannot be patched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uncovered {
    /// In which file.
    pub path: String,
    /// How many there are.
    pub sites: usize,
    /// Whether they make such calls, as far as can be seen; otherwise they may.
    pub is_sure: bool,
    /// Why.
    pub why: String,
}

/// How a program was patched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patched {
    /// What of it.
    pub coverage: Coverage,
    /// Its threads.
    pub threads: usize,
    /// Threads that were moved out of instructions about to be overwritten.
    pub moved: usize,
    /// How long the last stop was.
    pub stopped: Duration,
    /// Stops that were given up because a signal frame was in the way.
    pub retries: u32,
}

/// How a program was recovered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// How many sites were taken back.
    pub sites: usize,
    /// How many threads were in a stub then.
    pub inside: usize,
    /// How long the first stop was.
    pub stopped: Duration,
    /// Whether the stubs are gone, too: not where a thread did not leave one in time. Nobody comes in any more then.
    pub is_wiped: bool,
}

/// In which state a program is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// How many sites lead to a stub.
    pub sites: usize,
    /// Whose the stubs are, each once.
    pub owners: Vec<u64>,
}

/// A running program, locked.
#[derive(Debug)]
pub struct Program {
    process: ProcessId,
    memory: Memory,
    modules: Vec<Mapped>,
    unread: Vec<Uncovered>,
    _lock: Patching,
}

/// A stub and where it goes, with the sites that lead there.
struct Plan<'a> {
    module: &'a Mapped,
    sites: Vec<&'a Site>,
    at: u64,
    stub: Stub,
}

impl Program {
    /// Opens and locks a process, and reads what it has mapped.
    pub fn open(process: ProcessId, library: &mut Library) -> Result<Self, PatchError> {
        let stat = process.stat().ok_or(MemoryError::Gone(process))?;
        if stat.is_kernel_thread() {
            let what = "a kernel thread";
            return Err(PatchError::NoProgram { process, what });
        }
        if stat.state.is_dead() {
            return Err(MemoryError::Gone(process).into());
        }
        if is_32_bit(process.pid) {
            return Err(PatchError::ThirtyTwo(process));
        }
        let lock = Patching::lock(process)?;
        let memory = Memory::open(process)?;
        let maps = |source| PatchError::Maps { process, source };
        let listed = read_proc(process.pid, "maps");
        let listed = listed.map_err(|error| maps(io::Error::other(error)))?;
        let listed = String::from_utf8_lossy(&listed);
        let (mut modules, mut unread) = (Vec::new(), Vec::new());
        for mapping in listed.lines().filter_map(Mapping::read) {
            match mapping.module(process.pid, library) {
                Ok(Some(module)) => {
                    let is_new = |one: &Mapped| one.path != module.path || one.bias != module.bias;
                    if modules.iter().all(is_new) {
                        modules.push(module);
                    }
                }
                Ok(None) => {}
                Err(error) => unread.push(Uncovered {
                    path: mapping.path.to_owned(),
                    sites: 0,
                    is_sure: false,
                    why: error.to_string(),
                }),
            }
        }
        Ok(Self {
            process,
            memory,
            modules,
            unread,
            _lock: lock,
        })
    }

    /// Whose it is.
    pub fn process(&self) -> ProcessId {
        self.process
    }

    /// What of some calls could be patched, were there room.
    pub fn coverage(&self, calls: &[u32]) -> Coverage {
        let mut coverage = Coverage {
            uncovered: self.unread.clone(),
            ..Coverage::default()
        };
        for module in &self.modules {
            coverage.add(&sites_of(module, calls));
            coverage.uncovered.extend(refused_of(module, calls));
        }
        coverage
    }

    /// What of the calls of some rules can be patched. Changes nothing; an error where nothing can be, or somebody else has
    /// patched it.
    pub fn rehearse(&self, rules: &[Rule], lease: Lease) -> Result<Coverage, PatchError> {
        if !self.led(&self.stubs()?)?.is_empty() {
            return Err(PatchError::Patched(self.process));
        }
        Ok(self.plan(rules, lease, None)?.1)
    }

    /// In which state it is; an error where somebody else has patched it.
    pub fn state(&self) -> Result<State, PatchError> {
        let stubs = self.stubs()?;
        Ok(State {
            sites: self.led(&stubs)?.len(),
            owners: self.owners(&stubs)?,
        })
    }

    /// Whose some stubs are, each once.
    fn owners(&self, stubs: &[(u64, &Room)]) -> Result<Vec<u64>, PatchError> {
        let owners = stubs.iter().map(|(at, _)| self.read_word(at + OWNER_AT));
        let owners: BTreeSet<u64> = owners.collect::<Result<_, _>>()?;
        Ok(owners.into_iter().collect())
    }

    /// What keeps it patched and tells how often its rules hit, for as long as it runs this program; none where it is not
    /// patched. Others may work on it from now on.
    pub fn into_carrier(self) -> Result<Option<Carrier>, PatchError> {
        let stubs: Vec<u64> = self.stubs()?.into_iter().map(|(at, _)| at).collect();
        let Some(first) = stubs.first() else {
            return Ok(None);
        };
        let counts = self.counts(*first)?.map(|(counts, _)| counts);
        Ok(Some(Carrier::of(self.memory, stubs, counts)))
    }

    /// Where a stub counts, and remembers more behind that.
    fn counts(&self, stub: u64) -> Result<Option<(Range<u64>, u64)>, PatchError> {
        let at = self.read_word(stub + COUNTS_AT)?;
        let rules = self.read_word(stub + RULES_AT)?;
        let (rules, more) = (rules & u64::from(u32::MAX), rules >> 32);
        let counts = 8 * COUNTED * rules.min(RULES_MAX);
        let all = counts + 8 * more.min(REMEMBERED_MOST);
        // What somebody who was killed has not written yet is anything.
        let is_spare = |tail: &Range<u64>| {
            at.is_multiple_of(LINE) && tail.contains(&at) && at + all <= tail.end
        };
        let is_one = self.tails().iter().any(is_spare);
        Ok(is_one.then(|| (at..at + counts, at + all)))
    }

    fn read_word(&self, at: u64) -> Result<u64, PatchError> {
        Ok(self.memory.read_word(at)?)
    }

    /// Memory to count in for some rules, and to remember what they need: where there is nothing but zeros.
    fn spare(&self, rules: &[Rule]) -> Option<u64> {
        let bytes = 8 * (COUNTED * rules.len() as u64 + remembered::words(rules));
        let tails = self.tails();
        let found = tails.iter().find(|tail| {
            let length = usize::try_from(tail.end - tail.start).unwrap_or(0);
            let there = self.memory.read(tail.start, length);
            let is_free = there.is_ok_and(|there| there.iter().all(|byte| *byte == 0));
            bytes <= tail.end - tail.start && is_free
        });
        found.map(|tail| tail.start)
    }

    /// Memory that nobody uses: what is left of the last page of each module's data. Not of the program that maps modules,
    /// which takes such memory for its own (glibc's), or gives it to whoever asks for some (musl's); and not of a static
    /// program whose heap begins there.
    fn tails(&self) -> Vec<Range<u64>> {
        let pid = self.process.pid;
        let (Some(mapper), Some(heap)) = (auxiliary(pid, AT_BASE), heap(self.process)) else {
            return Vec::new();
        };
        let is_mapper = |module: &Mapped| {
            module.known.module.code().iter().any(|code| {
                let begins = (code.at / PAGE * PAGE).wrapping_sub(code.offset / PAGE * PAGE);
                begins.wrapping_add(module.bias) == mapper
            })
        };
        let of_mapper = self.modules.iter().find(|module| is_mapper(module));
        let is_musl = of_mapper.is_some_and(|one| one.path.contains("musl"));
        if mapper != 0 && (of_mapper.is_none() || is_musl) {
            return Vec::new();
        }
        let others = self.modules.iter().filter(|module| !is_mapper(module));
        let tails = others.filter_map(|module| {
            let end = module.known.module.data_end()?.wrapping_add(module.bias);
            let page = end.next_multiple_of(PAGE);
            let at = end.next_multiple_of(LINE);
            let is_heap = (page - PAGE..page).contains(&heap);
            (at < page && !is_heap).then_some(at..page)
        });
        tails.collect()
    }

    /// Has some of its calls fail from now on, as rules say. Where there is no room, or where a call cannot be patched, it is
    /// told; an error where there is nothing at all. A program that the same owner has patched by the same rules has that done
    /// in the modules that it has mapped since.
    pub fn patch(
        &self,
        rules: &[Rule],
        lease: Lease,
        patience: Duration,
    ) -> Result<Patched, PatchError> {
        if rules.len() as u64 > RULES_MAX {
            return Err(PatchError::Rules(rules.len()));
        }
        let stubs = self.stubs()?;
        let sites = self.led(&stubs)?;
        let mut known = None;
        if !sites.is_empty() {
            if self.owners(&stubs)? != [lease.owner] {
                return Err(PatchError::Patched(self.process));
            }
            let counts = self.counts(stubs[0].0)?.map(|(counts, _)| counts.start);
            known = Some((sites.iter().map(|(at, _)| *at).collect(), counts));
        } else if !stubs.is_empty() {
            // Somebody died before he had wiped them.
            self.recover(patience)?;
        }
        wait_until_alone(self.process, patience)?;
        let (plans, coverage) = self.plan(rules, lease, known)?;
        if plans.is_empty() {
            return Ok(Patched {
                coverage,
                ..Patched::default()
            });
        }
        for plan in &plans {
            // Nobody runs there yet, so nobody needs to stop. The mark comes first: what is behind it can be found.
            let (mark, rest) = plan.stub.bytes.split_at(MARK.len());
            self.write(plan.at, mark)?;
            self.write(plan.at + mark.len() as u64, rest)?;
        }
        let put = self.put_jumps(&plans, patience);
        if put.is_err() {
            // All of it: what is left then is what any Murphy recovers.
            let _ = self.recover(patience);
        }
        let mut patched = put?;
        patched.coverage = coverage;
        Ok(patched)
    }

    /// Finds room for the stubs of each module, near enough for its jumps. What is known of one that is patched already: the
    /// sites that lead to a stub, and where that counts.
    fn plan(
        &self,
        rules: &[Rule],
        lease: Lease,
        known: Option<(HashSet<u64>, Option<u64>)>,
    ) -> Result<(Vec<Plan<'_>>, Coverage), PatchError> {
        let calls: Vec<u32> = rules.iter().map(|rule| rule.call).collect();
        let mut rooms: Vec<(u64, &Room)> = self.modules.iter().flat_map(Mapped::rooms).collect();
        rooms.sort_by_key(|(_, room)| std::cmp::Reverse(room.pristine.len()));
        let mut coverage = Coverage {
            uncovered: self.unread.clone(),
            ..Coverage::default()
        };
        let is_known = known.is_some();
        let (led, counts) = known.unwrap_or_else(|| (HashSet::new(), self.spare(rules)));
        coverage.is_counted = counts.is_some();
        let mut plans = Vec::new();
        for module in &self.modules {
            coverage.uncovered.extend(refused_of(module, &calls));
            let sites = sites_of(module, &calls);
            if sites.is_empty() {
                continue;
            }
            let is_led = |site: &&Site| led.contains(&site.at.wrapping_add(module.bias));
            if sites.iter().any(is_led) {
                coverage.add(&sites);
                continue;
            }
            let own: Vec<u64> = module.rooms().map(|(at, _)| at).collect();
            // A sort keeps the order of equals: the largest first.
            rooms.sort_by_key(|(at, _)| !own.contains(at));
            let owned: Vec<Site> = sites.iter().map(|site| (*site).clone()).collect();
            let mut found = None;
            for (place, (at, room)) in rooms.iter().enumerate() {
                let stub = match Stub::write(*at, module.bias, &owned, rules, lease, counts) {
                    Ok(stub) => stub,
                    // It is too far away.
                    Err(StubError::Encode(_)) => continue,
                    Err(error) => return Err(error.into()),
                };
                let is_near = sites.iter().zip(&stub.entries).all(|(site, entry)| {
                    arch::jump(site.at.wrapping_add(module.bias), *entry).is_some()
                });
                let is_free = || {
                    let there = self.memory.read(*at, room.pristine.len());
                    there.is_ok_and(|there| there == room.pristine)
                };
                if stub.bytes.len() <= room.pristine.len() && is_near && is_free() {
                    found = Some((place, *at, stub));
                    break;
                }
            }
            let Some((place, at, stub)) = found else {
                coverage.uncovered.push(Uncovered {
                    path: module.path.clone(),
                    sites: sites.len(),
                    is_sure: true,
                    why: "there is no room for a stub near them".to_owned(),
                });
                continue;
            };
            rooms.remove(place);
            coverage.add(&sites);
            plans.push(Plan {
                module,
                sites,
                at,
                stub,
            });
        }
        if plans.is_empty() && !is_known {
            let why = coverage.uncovered.iter();
            let why: Vec<String> = why
                .map(|one| format!("{}: {} ({})", one.path, one.why, one.sites))
                .collect();
            return Err(PatchError::Nowhere {
                process: self.process,
                why: if why.is_empty() {
                    "no code makes them".to_owned()
                } else {
                    why.join("; ")
                },
            });
        }
        Ok((plans, coverage))
    }

    /// Has sites lead to their stubs, with everybody stopped.
    fn put_jumps(&self, plans: &[Plan<'_>], patience: Duration) -> Result<Patched, PatchError> {
        let mut jumps = Vec::new();
        // What is overwritten behind the first byte of a jump, and where it is now.
        let mut inner = HashMap::new();
        for plan in plans {
            let bias = plan.module.bias;
            for ((site, entry), moved) in plan
                .sites
                .iter()
                .zip(&plan.stub.entries)
                .zip(&plan.stub.moved)
            {
                let at = site.at.wrapping_add(bias);
                let Some(jump) = arch::jump(at, *entry) else {
                    continue;
                };
                let mut bytes = jump.to_vec();
                bytes.resize(usize::try_from(site.length()).unwrap_or(JUMP), NOP);
                jumps.push((at, bytes));
                let old = site.moved.iter().map(|one| one.ip().wrapping_add(bias));
                inner.extend(old.zip(moved.iter().copied()).skip(1));
            }
        }
        for retries in 0..BUSY_MAX {
            let work = |stopped: &Stopped| self.put(stopped, plans, &jumps, &inner);
            let (outcome, stopped) = while_stopped(self.process, Who::Everybody, patience, work)?;
            if let Some((threads, moved)) = outcome? {
                return Ok(Patched {
                    threads,
                    moved,
                    stopped,
                    retries,
                    ..Patched::default()
                });
            }
            sleep(BUSY_PAUSE);
        }
        Err(PatchError::Busy(self.process))
    }

    /// Puts jumps while everybody is stopped, and says how many there are and how many were moved; nothing where a signal
    /// handler would come back under a jump.
    fn put(
        &self,
        stopped: &Stopped,
        plans: &[Plan<'_>],
        jumps: &[(u64, Vec<u8>)],
        inner: &HashMap<u64, u64>,
    ) -> Result<Option<(usize, usize)>, PatchError> {
        for plan in plans {
            self.still_the_same(plan.at)?;
        }
        let mut inside = Vec::new();
        // Where one instruction is moved nobody can be in it.
        let threads = stopped.threads().filter(|_| !inner.is_empty());
        for thread in threads {
            let Some(registers) = stopped.registers(thread) else {
                continue;
            };
            let words = self.memory.read_words(registers.stack() & !7, FRAMES_WORDS);
            if returns_from_signal(&words, |at| inner.contains_key(&at)) {
                return Ok(None);
            }
            if let Some(to) = inner.get(&registers.instruction()) {
                inside.push((thread, registers, *to));
            }
        }
        let moved = inside.len();
        // Threads first: killed after that, Murphy leaves them running the moved instructions.
        for (thread, mut registers, to) in inside {
            registers.move_to(thread, to);
        }
        for (at, jump) in jumps {
            stopped.write(&self.memory, *at, jump)?;
        }
        Ok(Some((stopped.count(), moved)))
    }

    /// It may have executed another program since it was read.
    fn still_the_same(&self, stub: u64) -> Result<(), PatchError> {
        match self.memory.read(stub, MARK.len()) {
            Ok(bytes) if bytes == MARK => Ok(()),
            _ => Err(PatchError::Executed(self.process)),
        }
    }

    /// Has its rules hit other shares of their calls from now on, in 2^-32 each, in the order in which they were given.
    pub fn set_chances(&self, chances: &[u64]) -> Result<(), PatchError> {
        for (at, _) in self.stubs()? {
            for (place, chance) in (0..).zip(chances) {
                self.write(at + CHANCES_AT + 8 * place, &chance.to_le_bytes())?;
            }
        }
        Ok(())
    }

    /// Makes it as it was: sites first, by which nobody comes in any more; then the stubs, once everybody has left them.
    pub fn recover(&self, patience: Duration) -> Result<Recovered, PatchError> {
        let stubs = self.stubs()?;
        let sites = self.led(&stubs)?;
        if stubs.is_empty() {
            return Ok(Recovered {
                is_wiped: true,
                ..Recovered::default()
            });
        }
        wait_until_alone(self.process, patience)?;
        let rooms: Vec<Range<u64>> = stubs
            .iter()
            .map(|(at, room)| *at..at + room.pristine.len() as u64)
            .collect();
        let work = |stopped: &Stopped| {
            self.still_the_same(stubs[0].0)?;
            for (at, pristine) in &sites {
                stopped.write(&self.memory, *at, pristine)?;
            }
            Ok::<_, PatchError>(self.inside(stopped, &rooms))
        };
        let (left, stopped) = while_stopped(self.process, Who::Everybody, patience, work)?;
        let left = left?;
        let mut recovered = Recovered {
            sites: sites.len(),
            inside: left.len(),
            stopped,
            is_wiped: false,
        };
        let until = Instant::now() + patience;
        let inside = |stopped: &Stopped| self.inside(stopped, &rooms);
        if !wait_until_left(self.process, left, until, patience, inside)? {
            return Ok(recovered);
        }
        self.still_the_same(stubs[0].0)?;
        for (at, _) in &stubs {
            let kept = self.counts(*at)?.map(|(counts, end)| counts.start..end);
            for word in kept.into_iter().flatten().step_by(8) {
                self.write(word, &0_u64.to_le_bytes())?;
            }
        }
        for (at, room) in stubs {
            // The mark goes last: what is behind it can be found until then.
            let (mark, rest) = room.pristine.split_at(MARK.len());
            self.write(at + mark.len() as u64, rest)?;
            self.write(at, mark)?;
        }
        recovered.is_wiped = true;
        Ok(recovered)
    }

    /// Threads that are in a stub, or will come back to one from a signal handler.
    fn inside(&self, stopped: &Stopped, rooms: &[Range<u64>]) -> Vec<i32> {
        let is_in = |at: u64| rooms.iter().any(|room| room.contains(&at));
        let is_inside = |thread: &i32| {
            let Some(registers) = stopped.registers(*thread) else {
                return false;
            };
            let words = self.memory.read_words(registers.stack() & !7, FRAMES_WORDS);
            is_in(registers.instruction()) || returns_from_signal(&words, is_in)
        };
        stopped.threads().filter(is_inside).collect()
    }

    /// Where there are stubs, and in which room.
    fn stubs(&self) -> Result<Vec<(u64, &Room)>, PatchError> {
        let mut stubs = Vec::new();
        for (at, room) in self.modules.iter().flat_map(Mapped::rooms) {
            let is_marked =
                room.pristine.len() > MARK.len() && self.memory.read(at, MARK.len())? == MARK;
            if is_marked {
                stubs.push((at, room));
            }
        }
        Ok(stubs)
    }

    /// The sites that lead to a stub, with what was there.
    fn led(&self, stubs: &[(u64, &Room)]) -> Result<Vec<(u64, &[u8])>, PatchError> {
        let mut sites = Vec::new();
        for module in &self.modules {
            for site in &module.known.sites.fit {
                let pristine = module.pristine(site.at..site.syscall + SYSCALL);
                let at = site.at.wrapping_add(module.bias);
                let there = self.memory.read(at, pristine.len())?;
                if there == pristine {
                    continue;
                }
                let is_ours = stubs.iter().any(|(stub, room)| {
                    let room = *stub..stub + room.pristine.len() as u64;
                    leads_to(at, &there).is_some_and(|to| room.contains(&to))
                });
                if !is_ours {
                    return Err(PatchError::Foreign {
                        process: self.process,
                        path: module.path.clone(),
                        at: site.at,
                    });
                }
                let moved = usize::try_from(site.length()).unwrap_or(0);
                sites.push((at, &pristine[..moved]));
            }
        }
        Ok(sites)
    }

    fn write(&self, address: u64, bytes: &[u8]) -> Result<(), PatchError> {
        tracee::write(&self.memory, address, bytes)
    }
}

/// Where the heap of a process begins (`proc_pid_stat(5)`).
fn heap(process: ProcessId) -> Option<u64> {
    let stat = read_proc(process.pid, "stat").ok()?;
    let stat = String::from_utf8_lossy(&stat);
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(HEAP_BEGINS)?.parse().ok()
}

/// Where a jump leads that is at an address, if it is one.
fn leads_to(at: u64, bytes: &[u8]) -> Option<u64> {
    let (code, rest) = bytes.split_first()?;
    let distance = i32::from_le_bytes(*rest.first_chunk()?);
    (*code == JMP).then(|| {
        at.wrapping_add(JUMP as u64)
            .wrapping_add_signed(distance.into())
    })
}

/// The sites of a module that may make one of some calls.
fn sites_of<'a>(module: &'a Mapped, calls: &[u32]) -> Vec<&'a Site> {
    let sites = module.known.sites.fit.iter();
    sites
        .filter(|site| calls.iter().any(|call| site.may_call(*call)))
        .collect()
}

/// What of a module may make one of some calls and cannot be patched, by the reason.
fn refused_of(module: &Mapped, calls: &[u32]) -> Vec<Uncovered> {
    let mut all: Vec<Uncovered> = Vec::new();
    // Signal handlers end by none of these.
    let is_one = |refused: &&Refused| {
        refused.why != Unfit::Restorer && refused.number.is_none_or(|one| calls.contains(&one))
    };
    for refused in module.known.sites.refused.iter().filter(is_one) {
        let (is_sure, why) = (refused.number.is_some(), refused.why.to_string());
        let known = all
            .iter_mut()
            .find(|one| one.is_sure == is_sure && one.why == why);
        match known {
            Some(one) => one.sites += 1,
            None => all.push(Uncovered {
                path: module.path.clone(),
                sites: 1,
                is_sure,
                why,
            }),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_leads_where_it_was_made_to() {
        for (from, to) in [(0x1000, 0x2000), (0x7000_0000, 0x1000)] {
            let jump = arch::jump(from, to).expect("it is near");
            assert_eq!(leads_to(from, &jump), Some(to));
        }
        assert_eq!(leads_to(0, &[0xb8, 1, 0, 0, 0]), None);
        assert_eq!(leads_to(0, &[JMP]), None);
    }
}
