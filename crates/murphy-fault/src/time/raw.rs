//! Clocks that a program asks the kernel itself for, past its vDSO: where its code does so, it is led to a few instructions of
//! Murphy's, which add what the hook in the vDSO adds.
//!
//! The places are found in all that a process has mapped, as for faults of system calls ([`murphy_sys::patch`]), and what the hook
//! is told holds for them, too: changes, steps, the end, and other skews of the same process. By itself such a patch is good for
//! [`LEASE`] only, which is put off again and again. A process that has no such place, or whose filters do not let a clock be read
//! once more, is said; it is no reason to refuse it, because its vDSO is skewed all the same.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use murphy_sys::{
    clock::boottime_ns,
    patch::{
        Act, Carrier, Counts, Coverage, Lease, Library, PatchError, Pick, Program, Rule, code_of,
        deadline, owners_of,
    },
    process::ProcessId,
    seccomp,
    syscalls::Call,
    table::ProcessTable,
    vdso::Page,
};
use serde::Serialize;

use super::{SkewError, restore::STOP_PATIENCE};
use crate::{
    journal::{Entry, JournalError},
    syscall::{LEASE, Uncovered},
};

/// The calls that ask for the time.
const CALLS: [&str; 3] = ["clock_gettime", "gettimeofday", "time"];
/// All of them are skewed whose clock is.
const SURE: u64 = 1 << 32;
/// Why nothing of a process is patched that cannot be asked for the time once more.
const FILTERED: &str = "its seccomp filters might not let clock_gettime be called once more";
/// How often the end inside a target is put off.
const RENEW_NS: u64 = 200_000_000;
/// A program has its C library within this of its start, and is looked at often until then.
const STARTING_NS: u64 = 100_000_000;
const STARTING_PACE: Duration = Duration::from_millis(1);
/// A program maps most of its modules within this of its start; how often is looked for more later.
const YOUNG_NS: u64 = 2_000_000_000;
const MAPS_EVERY_NS: u64 = 1_000_000_000;
/// How long the patching of one process may keep the others waiting, whose lease goes on.
const ADOPTION_PATIENCE: Duration = Duration::from_millis(500);

/// What of a process asks the kernel itself for the time, and is skewed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Covered {
    /// At how many places of its code such calls are skewed.
    pub sites: usize,
    /// How many calls were; none where nobody counts, because there is no memory for it.
    pub calls: Option<u64>,
    /// What of its code is not covered.
    pub uncovered: Vec<Uncovered>,
}

/// A process whose calls are skewed, or would be, had it any.
#[derive(Debug)]
struct Carried {
    covered: Covered,
    carrier: Option<Carrier>,
    was_patched: bool,
    /// How many calls are counted in its memory, and how many of those are not its own.
    counted: u64,
    before: u64,
    /// What it had mapped when it was patched; none where that is to be tried again.
    code: Option<u64>,
    /// When it was looked at, and since when it runs its program, as far as that is known.
    looked_ns: u64,
    since_ns: u64,
}

/// The raw calls of a skew's target.
#[derive(Debug)]
pub(super) struct RawCalls {
    owner: u64,
    library: Library,
    carried: BTreeMap<ProcessId, Carried>,
    escapes: BTreeMap<ProcessId, String>,
    renewed_ns: u64,
}

/// What would be skewed of a process. Changes nothing; an error for what would be refused.
pub(super) fn rehearse(process: ProcessId, library: &mut Library) -> Result<Covered, SkewError> {
    let lease = Lease::new(LEASE, 0, 0)?;
    let Some(rules) = rules(process, STOP_PATIENCE)? else {
        return Ok(Covered::nothing(FILTERED.into()));
    };
    match Program::open(process, library)?.rehearse(&rules, lease) {
        Ok(coverage) => Ok(Covered::of(&coverage)),
        Err(PatchError::Nowhere { why, .. }) => Ok(Covered::nothing(why)),
        Err(error) => Err(error.into()),
    }
}

impl Covered {
    fn of(coverage: &Coverage) -> Self {
        let uncovered = coverage.uncovered.iter().map(|one| Uncovered {
            path: one.path.clone(),
            sites: one.sites,
            sure: one.is_sure,
            why: one.why.clone(),
        });
        Self {
            sites: coverage.sites,
            calls: None,
            uncovered: uncovered.collect(),
        }
    }

    /// Of a process none of whose places can be patched.
    fn nothing(why: String) -> Self {
        let all = Uncovered {
            path: "all of it".into(),
            sites: 0,
            sure: true,
            why,
        };
        Self {
            uncovered: vec![all],
            ..Self::default()
        }
    }

    /// What is changed of the process of this name, in words.
    pub(super) fn changes(&self, name: &str) -> Vec<String> {
        let places = match self.sites {
            1 => "1 place".into(),
            count => format!("{count} places"),
        };
        let covered = format!("patch {places} of {name} that ask the kernel for the time, or may");
        let uncovered = self.uncovered.iter().filter(|one| one.sure);
        let uncovered = uncovered.map(|one| format!("not covered: {}", said(one)));
        (self.sites > 0)
            .then_some(covered)
            .into_iter()
            .chain(uncovered)
            .collect()
    }
}

/// An uncovered place in words.
fn said(one: &Uncovered) -> String {
    match one.sites {
        0 => format!("{}: {}", one.path, one.why),
        sites => format!("{sites} of {}: {}", one.path, one.why),
    }
}

/// By which rules the calls of a process are skewed; none where a filter might not let a clock be read once more, or end the process
/// for that.
fn rules(process: ProcessId, patience: Duration) -> Result<Option<Vec<Rule>>, SkewError> {
    let data = Page::open(process)?.data_at();
    let calls: Vec<Call> = CALLS.iter().filter_map(|name| Call::named(name)).collect();
    let rules = calls.iter().map(|call| Rule {
        call: call.number().into(),
        chance: SURE,
        only: Vec::new(),
        pick: Pick::Each,
        act: Act::Skew(data),
    });
    let rules: Vec<Rule> = rules.collect();
    let made: BTreeSet<Call> = rules.iter().flat_map(Rule::makes).collect();
    let permits = seccomp::permits(process, &made, patience).map_err(PatchError::from)?;
    Ok(permits.then_some(rules))
}

impl RawCalls {
    /// Of injection `number`, with what was read of modules already.
    pub(super) fn new(number: u32, mut library: Library) -> Result<Self, SkewError> {
        Lease::new(LEASE, 0, 0)?;
        library.learn_own();
        Ok(Self {
            owner: number.into(),
            library,
            carried: BTreeMap::new(),
            escapes: BTreeMap::new(),
            renewed_ns: 0,
        })
    }

    /// How long at most until [`RawCalls::follow`] must be called again.
    pub(super) fn due_in(&self) -> Duration {
        let now = boottime_ns();
        let mut carried = self.carried.values();
        if carried.any(|one| now < one.since_ns + STARTING_NS) {
            STARTING_PACE
        } else {
            Duration::from_nanos(RENEW_NS)
        }
    }

    /// Puts off the end inside the target, and patches what has been mapped since.
    pub(super) fn follow(&mut self, entry: &mut Entry) -> Result<(), SkewError> {
        self.renew(entry)?;
        let now = boottime_ns();
        let mut changed = Vec::new();
        for (process, one) in &mut self.carried {
            one.count();
            let is_young = now < one.since_ns + YOUNG_NS;
            if !is_young && now < one.looked_ns + MAPS_EVERY_NS {
                continue;
            }
            one.looked_ns = now;
            let code = code_of(process.pid);
            if code.is_some() && code != one.code {
                changed.push(*process);
            }
        }
        for process in changed {
            self.adopt(entry, process)?;
        }
        Ok(())
    }

    /// Patches a process whose vDSO is hooked, or what it has mapped since; what stands against it is an escape.
    pub(super) fn adopt(&mut self, entry: &mut Entry, process: ProcessId) -> Result<(), SkewError> {
        // Large programs take a while to be read.
        self.renew(entry)?;
        match self.patch(entry, process) {
            Ok(()) => {
                self.escapes.remove(&process);
            }
            // Somebody has taken it back; the caller sees that it is over.
            Err(SkewError::Journal(error)) if matches!(*error, JournalError::Ended(_)) => {}
            Err(error @ (SkewError::Journal(_) | SkewError::Lease(_))) => return Err(error),
            // Who executes a program right now is hooked again, and comes back here.
            Err(error) if error.is_gone() || error.is_of_executing() => {}
            Err(error) => {
                self.escapes.insert(process, error.to_string());
            }
        }
        Ok(())
    }

    fn patch(&mut self, entry: &mut Entry, process: ProcessId) -> Result<(), SkewError> {
        let is_alone = self.carried.values().all(|one| one.carrier.is_none());
        let patience = if is_alone {
            STOP_PATIENCE
        } else {
            ADOPTION_PATIENCE
        };
        let now = boottime_ns();
        let known = self.carried.entry(process);
        let known = known.or_insert_with(|| Carried::of(now));
        known.count();
        if known.was_patched && known.carrier.is_none() {
            // It runs another program.
            known.since_ns = now;
        }
        known.looked_ns = now;
        // What is mapped while it is patched is seen at the next look; where it fails, it is tried again then.
        known.code = None;
        let code = code_of(process.pid);
        let Some(rules) = rules(process, patience)? else {
            known.covered = Covered::nothing(FILTERED.into());
            known.code = code;
            return Ok(());
        };
        let lease = self.lease()?;
        let library = &mut self.library;
        // The journal's lock first and the process's inside it, as whoever undoes this takes them.
        let patch = || {
            let program = Program::open(process, library)?;
            let is_heir = program.state()?.owners == [lease.owner];
            let patched = program.patch(&rules, lease, patience)?;
            Ok::<_, PatchError>((is_heir, patched.coverage, program.into_carrier()?))
        };
        let outcome = entry.change(&[], patch)?;
        let Some(known) = self.carried.get_mut(&process) else {
            return Ok(());
        };
        match outcome {
            Ok((is_heir, coverage, carrier)) => {
                known.covered = Covered::of(&coverage);
                known.take_up(is_heir, carrier);
            }
            Err(PatchError::Nowhere { why, .. }) => {
                known.covered = Covered::nothing(why);
            }
            Err(error) => return Err(error.into()),
        }
        known.code = code;
        Ok(())
    }

    fn lease(&self) -> Result<Lease, SkewError> {
        Ok(Lease {
            deadline: deadline(LEASE)?,
            owner: self.owner,
            seed: 0,
        })
    }

    /// Puts off the end inside the target, where that is due.
    fn renew(&mut self, entry: &mut Entry) -> Result<(), SkewError> {
        let now = boottime_ns();
        if now < self.renewed_ns + RENEW_NS {
            return Ok(());
        }
        self.renewed_ns = now;
        self.set_deadline(entry, self.lease()?.deadline)
    }

    /// Has no raw call be skewed from now on.
    pub(super) fn cease(&mut self, entry: &mut Entry) -> Result<(), SkewError> {
        self.set_deadline(entry, 0)
    }

    fn set_deadline(&mut self, entry: &mut Entry, deadline: u64) -> Result<(), SkewError> {
        let mut failed = Vec::new();
        let carried = &mut self.carried;
        // With the injection locked: nobody takes the code back in between, and nothing is written where it was.
        let set = || {
            for (process, one) in carried {
                one.count();
                let patch = one.carrier.as_ref();
                match patch.map(|patch| patch.renew(deadline)) {
                    None | Some(Ok(())) => {}
                    Some(Err(error)) if error.is_gone() => one.carrier = None,
                    Some(Err(error)) => failed.push((*process, error.to_string())),
                }
            }
        };
        match entry.change(&[], set) {
            // The caller sees that it is over.
            Ok(()) | Err(JournalError::Ended(_)) => {}
            Err(error) => return Err(error.into()),
        }
        self.escapes.extend(failed);
        Ok(())
    }

    /// What of a process is covered.
    pub(super) fn covered(&self, process: ProcessId) -> Option<Covered> {
        let carried = self.carried.get(&process)?;
        let mut covered = carried.covered.clone();
        covered.calls = covered.calls.map(|_| carried.own());
        Some(covered)
    }

    /// Whose code could not be patched, and why.
    pub(super) fn escapes(&self) -> impl Iterator<Item = &String> {
        self.escapes.values()
    }

    /// Whether somebody's code is still patched.
    pub(super) fn is_carried(&self) -> bool {
        let Ok(table) = ProcessTable::read() else {
            return false;
        };
        let mut programs = table.iter().filter(|stat| !stat.is_kernel_thread());
        programs.any(|stat| owners_of(stat.pid).contains(&self.owner))
    }
}

impl Carried {
    fn of(now: u64) -> Self {
        Self {
            covered: Covered::default(),
            carrier: None,
            was_patched: false,
            counted: 0,
            before: 0,
            code: None,
            looked_ns: now,
            since_ns: now,
        }
    }

    /// Reads how many of its calls were skewed, and sees whether it runs another program by now.
    fn count(&mut self) {
        let Some(carrier) = &self.carrier else {
            return;
        };
        // Who has ended is known as it was seen last.
        if let Some(counted) = counted(carrier) {
            self.counted = counted;
        }
        if carrier.is_gone() {
            self.carrier = None;
            self.code = None;
            self.looked_ns = 0;
        }
    }

    /// Takes up what was patched of it.
    fn take_up(&mut self, is_heir: bool, carrier: Option<Carrier>) {
        let counted = carrier.as_ref().and_then(counted);
        if self.carrier.is_none() {
            // What it had before it executed another program stays its own; what its ancestor had never was.
            let inherited = if is_heir { counted.unwrap_or(0) } else { 0 };
            self.before = inherited.wrapping_sub(self.own());
        }
        self.counted = counted.unwrap_or(0);
        self.covered.calls = counted;
        self.was_patched |= carrier.is_some();
        self.carrier = carrier;
    }

    fn own(&self) -> u64 {
        self.counted.wrapping_sub(self.before)
    }
}

/// How many calls were skewed, as counted in a program.
fn counted(carrier: &Carrier) -> Option<u64> {
    let counts: Vec<Counts> = carrier.counts().ok().flatten()?;
    Some(counts.iter().map(|one| one.hits).sum())
}
