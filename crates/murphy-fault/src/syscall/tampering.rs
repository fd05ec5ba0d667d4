//! An injection of system calls in force: who carries it, how often calls were hit, and who joins.

use std::{
    collections::{BTreeMap, BTreeSet},
    iter::repeat,
    thread::sleep,
    time::Duration,
};

use murphy_sys::{
    clock::boottime_ns,
    patch::{
        Carrier, Counts, Lease, Library, PatchError, Patched, Program, Rule, code_of, deadline,
    },
    process::ProcessId,
    seccomp,
    syscalls::Call,
};
use murphy_target::{Target, Tree};
use serde::Serialize;

use super::{
    SyscallError,
    restore::{carriers_of, restore_sites},
    rules::Rules,
    spec::Spec,
    table,
};
use crate::{
    injector::{Injector, failures},
    journal::{Entry, JournalError, number_of},
    span::Until,
    undo::{Undo, Undone},
};

/// How long calls go on failing inside a target whose Murphy has died.
pub const LEASE: Duration = Duration::from_millis(1500);
/// How often that is put off.
const RENEW_NS: u64 = 200_000_000;
/// How often the target is searched for processes that do not carry it yet.
const SCANS_MAX: usize = 200;
/// At first, two scans in a row must find nobody new: one may have missed a child being born.
const QUIET_SCANS: usize = 2;
/// A program maps most of its modules within this of its start.
const YOUNG_NS: u64 = 2_000_000_000;
/// How often is looked for more later.
const MAPS_EVERY_NS: u64 = 1_000_000_000;
/// How long the patching of one process may keep the others waiting, whose lease goes on.
const ADOPTION_PATIENCE: Duration = Duration::from_millis(500);
/// How long it may take while there are no others: a thread that waits for a disk stops when that has answered.
pub(super) const START_PATIENCE: Duration = Duration::from_secs(10);
/// A program has its C library within this of its start, and is looked at often until then.
const STARTING_NS: u64 = 100_000_000;
/// How often.
const STARTING_PACE: Duration = Duration::from_millis(1);
/// A call that is being decided on is hit, or not, by then.
const LAST_HITS: Duration = Duration::from_millis(2);

/// How a process came to carry it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// It was patched.
    Patched,
    /// It was born with it.
    Inherited,
    /// It has executed a program, and was patched then.
    Executed,
    /// Programs in the kernel watch it.
    Watched,
    /// Murphy stops it at each of its calls.
    Traced,
}

/// One process whose calls are hit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProcessTampering {
    /// Its pid.
    pub pid: u32,
    /// Its kernel name.
    pub name: String,
    /// How it came to it.
    pub how: How,
    /// At how many places of its code calls are hit.
    pub sites: usize,
    /// Its threads when it was patched.
    pub threads: usize,
    /// How long they were stopped for that, in microseconds.
    pub stopped_us: u64,
    /// Threads that were moved out of overwritten instructions.
    pub moved: usize,
    /// What came of its calls; where that is not counted, none.
    pub counts: Option<Counted>,
    /// Whether it has ended.
    pub gone: bool,
}

impl ProcessTampering {
    /// One that nothing was done to yet.
    pub(super) fn of(pid: u32, name: String, how: How) -> Self {
        Self {
            pid,
            name,
            how,
            sites: 0,
            threads: 0,
            stopped_us: 0,
            moved: 0,
            counts: None,
            gone: false,
        }
    }
}

/// What came of calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counted {
    /// How many were hit.
    pub hits: u64,
    /// How many of those calls were made and came to the dice, whatever their descriptors and paths were.
    pub made: u64,
    /// How many of those the dice had hit, and were not meant.
    pub unmeant: u64,
}

impl Counted {
    fn add(&mut self, counts: &Counts) {
        self.hits += counts.hits;
        self.made += counts.made;
        self.unmeant += counts.unmeant;
    }
}

/// Places of code that make such calls, or may, and cannot be patched.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Uncovered {
    /// Of which file.
    pub path: String,
    /// How many there are.
    pub sites: usize,
    /// Whether they make such calls, as far as can be seen; otherwise they may.
    pub sure: bool,
    /// Why.
    pub why: String,
}

/// What an injection has done, as counted in the target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tampered {
    /// How many calls were hit.
    pub hits: u64,
    /// What came of calls, by their names; of processes that count.
    pub calls: BTreeMap<String, Counted>,
    /// Every process that carries it or did.
    pub processes: Vec<ProcessTampering>,
    /// How many of them live.
    pub living: u64,
    /// In how many of them nobody counts, because there is no memory for it.
    pub uncounted: u64,
    /// How often a program that one of them executed was patched.
    pub executed: u64,
    /// What of their code is not covered.
    pub uncovered: Vec<Uncovered>,
    /// Processes that could not be patched, and why.
    pub escapes: Vec<String>,
    /// What could not be undone.
    pub left: Vec<String>,
    /// Processes in whose memory Murphy's code stays, run by nobody new.
    pub dormant: u64,
}

impl Tampered {
    /// The effect in words.
    pub fn text(&self) -> String {
        let calls = self.calls.iter().filter(|(_, counted)| counted.hits > 0);
        let calls = calls.map(|(call, counted)| format!("{call} {}", counted.hits));
        let calls: Vec<String> = calls.collect();
        let of = match &calls[..] {
            [] | [_] => String::new(),
            several => format!(" ({})", several.join(", ")),
        };
        let call = if self.hits == 1 { "call" } else { "calls" };
        let uncounted = match self.uncounted {
            0 => String::new(),
            count => format!(", not counted in {count}"),
        };
        format!("{} {call} hit{of}{uncounted}", self.hits)
    }

    /// Whether any call was hit; not known where nobody counts.
    pub fn had_effect(&self) -> Option<bool> {
        (self.hits > 0 || self.uncounted == 0).then_some(self.hits > 0)
    }
}

/// A process that carries it.
#[derive(Debug)]
struct Carried {
    process: ProcessTampering,
    /// None once it has ended, or before it has code that makes such calls.
    carrier: Option<Carrier>,
    was_patched: bool,
    /// What is counted for each rule, and what of that is not its own.
    counts: Vec<Counts>,
    before: Vec<Counts>,
    is_counted: bool,
    /// What it had mapped when it was patched; none where that is to be tried again.
    code: Option<u64>,
    /// When it was looked at, and since when it runs its program, as far as that is known.
    looked_ns: u64,
    since_ns: u64,
}

/// As what an injection begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// Of a target that runs: one that cannot be patched is an error.
    Running,
    /// Of one that starts, and maps most of its code only then.
    Starting,
    /// Of one that runs, and whose calls all come to the dice and are never hit: what that alone does to it is seen so.
    Idle,
}

/// An injection in force.
#[derive(Debug)]
pub struct Tampering {
    entry: Entry,
    calls: Vec<Call>,
    rules: Rules,
    owner: u64,
    seed: u64,
    until_ns: Option<u64>,
    tree: Tree,
    library: Library,
    carried: BTreeMap<ProcessId, Carried>,
    escapes: BTreeMap<ProcessId, String>,
    uncovered: BTreeSet<Uncovered>,
    executed: u64,
    renewed_ns: u64,
}

impl Tampering {
    /// Has calls of every process of the target fail that can be patched, by all of `specs` together. The way back is on disk before. An error, and nothing
    /// changed, where none can be; see [`Begin`].
    pub fn inject(
        injector: &Injector,
        target: &Target,
        names: &[String],
        specs: &[Spec],
        until: Until,
        seed: u64,
        begin: Begin,
    ) -> Result<Self, SyscallError> {
        let mut rules = Rules::of(specs)?;
        if begin == Begin::Idle {
            for (_, rule) in &mut rules.rules {
                rule.chance = 0;
            }
        }
        let is_starting = begin == Begin::Starting;
        Lease::new(LEASE, 0, seed)?;
        let faults: Vec<String> = specs.iter().map(ToString::to_string).collect();
        let mut entry = injector.begin("syscall", &faults.join(" and "), names, until)?;
        let id = entry.id().to_owned();
        entry.protect(&[Undo::RestoreSites { id: id.clone() }])?;
        match specs {
            [spec] => entry.specify(spec)?,
            specs => entry.specify(&specs)?,
        }
        let mut tampering = Self {
            until_ns: entry.header().deadline_boottime_ns(),
            entry,
            calls: rules.rules.iter().map(|(call, _)| *call).collect(),
            rules,
            owner: number_of(&id).into(),
            seed,
            tree: target.follow(),
            library: Library::default(),
            carried: BTreeMap::new(),
            escapes: BTreeMap::new(),
            uncovered: BTreeSet::new(),
            executed: 0,
            renewed_ns: 0,
        };
        if is_starting {
            tampering.library.learn_own();
        }
        let members: Vec<_> = target.processes().collect();
        let patched = tampering
            .adopt_all(&members)
            .and_then(|()| tampering.take_in_newcomers(QUIET_SCANS))
            .and_then(|()| tampering.somebody_is_hit(is_starting));
        match patched {
            Ok(()) => Ok(tampering),
            // What cannot be undone stays in the journal.
            Err(error) => Err(tampering.end_for(error)),
        }
    }

    /// The rules by which calls are hit.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The id of the injection.
    pub fn id(&self) -> &str {
        self.entry.id()
    }

    /// Whether somebody else has ended it.
    pub fn is_over(&self) -> bool {
        self.entry.is_over()
    }

    /// Whether nobody carries it any more and nobody will: a container that was stopped may come back.
    pub fn is_deserted(&self) -> bool {
        self.carried.keys().all(|process| !process.is_alive()) && !self.tree.may_come_back()
    }

    /// How long until its end; `Duration::MAX` for one without.
    pub fn left(&self) -> Duration {
        self.until_ns.map_or(Duration::MAX, |until| {
            Duration::from_nanos(until.saturating_sub(boottime_ns()))
        })
    }

    /// How long at most until [`Tampering::follow`] must be called again.
    pub fn due_in(&self) -> Duration {
        let now = boottime_ns();
        let is_starting = |one: &Carried| !one.process.gone && now < one.since_ns + STARTING_NS;
        if self.carried.values().any(is_starting) {
            STARTING_PACE
        } else {
            Duration::from_nanos(RENEW_NS)
        }
    }

    /// Patches who joined the target, executed another program or has mapped more since, puts off the end inside the target, and
    /// counts.
    pub fn follow(&mut self) -> Result<(), SyscallError> {
        if self.is_over() {
            return Ok(());
        }
        self.renew()?;
        self.count();
        self.look_at_maps()?;
        self.take_in_newcomers(1)
    }

    /// An error where none of the target can be hit, with the reason of one.
    fn somebody_is_hit(&mut self, is_starting: bool) -> Result<(), SyscallError> {
        let is_one = self.carried.values().any(|one| one.was_patched);
        match self.escapes.first_key_value() {
            Some((_, why)) if !is_one && !is_starting => Err(SyscallError::Nobody(why.clone())),
            // Who was to be patched may have ended since: that is no failure.
            _ => Ok(()),
        }
    }

    /// Takes everything back because of an error; the error, and what stays where not all of it can be.
    fn end_for(self, why: SyscallError) -> SyscallError {
        let left = self.end().left.join("; ");
        if left.is_empty() {
            return why;
        }
        let why = why.to_string();
        SyscallError::NotUndone { why, left }
    }

    /// A lease as it begins now: until the next is due, or the injection is over.
    fn lease(&self) -> Result<Lease, SyscallError> {
        Ok(Lease {
            deadline: deadline(LEASE.min(self.left()))?,
            owner: self.owner,
            seed: self.seed,
        })
    }

    /// Puts off the end inside the target, where that is due.
    fn renew(&mut self) -> Result<(), SyscallError> {
        let now = boottime_ns();
        if now < self.renewed_ns + RENEW_NS {
            return Ok(());
        }
        let deadline = self.lease()?.deadline;
        let mut failed = Vec::new();
        let carried = &mut self.carried;
        // With the injection locked: nobody takes the code back in between, and nothing is written where it was.
        let renew = || {
            for (process, one) in carried {
                match one.carrier.as_ref().map(|carrier| carrier.renew(deadline)) {
                    None | Some(Ok(())) => {}
                    Some(Err(error)) if error.is_gone() => one.lose(),
                    Some(Err(error)) => failed.push((*process, error.to_string())),
                }
            }
        };
        match self.entry.change(&[], renew) {
            // The caller sees that it is over.
            Ok(()) | Err(JournalError::Ended(_)) => {}
            Err(error) => return Err(error.into()),
        }
        self.renewed_ns = now;
        self.escapes.extend(failed);
        Ok(())
    }

    /// Reads what came of calls, and sees who runs another program by now.
    fn count(&mut self) {
        for one in self.carried.values_mut() {
            let Some(carrier) = &one.carrier else {
                continue;
            };
            // Who has ended is known as it was seen last.
            if let Ok(Some(counts)) = carrier.counts() {
                one.counts = counts;
            }
            if carrier.is_gone() {
                one.lose();
            }
        }
    }

    /// Patches what programs have mapped since they were looked at: all of a young one, whose C library comes with its start.
    fn look_at_maps(&mut self) -> Result<(), SyscallError> {
        let now = boottime_ns();
        let mut changed = Vec::new();
        for (process, one) in &mut self.carried {
            let is_young = now < one.since_ns + YOUNG_NS;
            if one.process.gone || (!is_young && now < one.looked_ns + MAPS_EVERY_NS) {
                continue;
            }
            one.looked_ns = now;
            match code_of(process.pid) {
                None => one.process.gone = !process.is_alive(),
                code if code != one.code => changed.push(*process),
                Some(_) => {}
            }
        }
        self.adopt_all(&changed)
    }

    fn take_in_newcomers(&mut self, quiet_scans: usize) -> Result<(), SyscallError> {
        let mut quiet = 0;
        for _ in 0..SCANS_MAX {
            if self.is_over() {
                return Ok(());
            }
            let fresh = self.tree.newcomers(&table()?);
            let fresh: Vec<_> = fresh.iter().map(|member| member.process).collect();
            if fresh.is_empty() {
                quiet += 1;
                if quiet == quiet_scans {
                    return Ok(());
                }
                continue;
            }
            quiet = 0;
            self.adopt_all(&fresh)?;
        }
        Err(SyscallError::Runaway)
    }

    /// Patches each; who cannot be is an escape.
    fn adopt_all(&mut self, processes: &[ProcessId]) -> Result<(), SyscallError> {
        for process in processes {
            // Large programs take a while to be read.
            self.renew()?;
            match self.adopt(*process) {
                Ok(()) => {
                    self.escapes.remove(process);
                }
                // Somebody has taken it back; the caller sees that it is over.
                Err(SyscallError::Journal(error)) if matches!(*error, JournalError::Ended(_)) => {
                    return Ok(());
                }
                Err(error @ (SyscallError::Journal(_) | SyscallError::Lease(_))) => {
                    return Err(error);
                }
                Err(error) if error.is_gone() => {}
                Err(error) => {
                    self.escapes.insert(*process, error.to_string());
                }
            }
        }
        Ok(())
    }

    /// Patches one process, or what it has mapped since.
    fn adopt(&mut self, process: ProcessId) -> Result<(), SyscallError> {
        let patience = if self.carried.values().any(|one| one.was_patched) {
            ADOPTION_PATIENCE
        } else {
            START_PATIENCE
        };
        let now = boottime_ns();
        let new = || Carried::of(process, now);
        let known = self.carried.entry(process).or_insert_with(new);
        if known.carrier.as_ref().is_some_and(Carrier::is_gone) {
            known.lose();
        }
        let has_executed = known.was_patched && known.carrier.is_none();
        if has_executed {
            known.since_ns = now;
        }
        known.looked_ns = now;
        // What is mapped while it is patched is seen at the next look; where it fails, it is tried again then.
        known.code = None;
        let code = code_of(process.pid);
        check_filter(process, &self.rules, patience)?;
        // Read before anybody has to wait for that.
        let calls: Vec<u32> = self.calls.iter().map(|call| call.number().into()).collect();
        let coverage = Program::open(process, &mut self.library)?.coverage(&calls);
        if coverage.sites == 0 {
            // More may be mapped.
            known.code = code;
        }
        let lease = self.lease()?;
        let rules = self.rules.rules.iter().map(|(_, rule)| rule.clone());
        let rules: Vec<Rule> = rules.collect();
        let library = &mut self.library;
        // The journal's lock first and the process's inside it, as whoever undoes this takes them.
        let patch = || {
            let program = Program::open(process, library)?;
            let is_heir = program.state()?.owners == [lease.owner];
            let patched = program.patch(&rules, lease, patience)?;
            Ok::<_, PatchError>((is_heir, patched, program.into_carrier()?))
        };
        let (is_heir, patched, carrier) = self.entry.change(&[], patch)??;
        self.executed += u64::from(has_executed);
        for one in &patched.coverage.uncovered {
            self.uncovered.insert(Uncovered {
                path: one.path.clone(),
                sites: one.sites,
                sure: one.is_sure,
                why: one.why.clone(),
            });
        }
        if let Some(known) = self.carried.get_mut(&process) {
            known.code = code;
            known.take_up(is_heir, &patched, carrier);
        }
        Ok(())
    }

    /// What it has done so far.
    pub fn effect(&mut self) -> Tampered {
        if !self.is_over() {
            self.count();
        }
        self.figures()
    }

    fn figures(&self) -> Tampered {
        let mut effect = Tampered {
            executed: self.executed,
            escapes: self.escapes.values().cloned().collect(),
            uncovered: self.uncovered.iter().cloned().collect(),
            ..Tampered::default()
        };
        for (process, one) in &self.carried {
            if !one.was_patched {
                // It never had code that makes such calls.
                continue;
            }
            let mut said = one.process.clone();
            said.gone |= !process.is_alive();
            effect.living += u64::from(!said.gone);
            if one.is_counted {
                let mut counted = Counted::default();
                for (call, counts) in self.calls.iter().zip(one.own()) {
                    counted.add(&counts);
                    effect
                        .calls
                        .entry(call.to_string())
                        .or_default()
                        .add(&counts);
                }
                effect.hits += counted.hits;
                said.counts = Some(counted);
            } else {
                effect.uncounted += 1;
            }
            effect.processes.push(said);
        }
        effect
    }

    /// Tells the journal what it has done so far, for `murphy ls`.
    pub fn say(&mut self) -> Tampered {
        let effect = self.effect();
        // Nothing depends on it: `murphy ls` shows an older figure where this fails, as on a full disk.
        let _ = self.entry.say(&effect, &effect.text());
        effect
    }

    /// Ends it inside the target, before the code is taken back: what is hit until then is counted.
    fn cease(&mut self) {
        let carried = &self.carried;
        let cease = || {
            for carrier in carried.values().filter_map(|one| one.carrier.as_ref()) {
                // Whoever cannot be told is recovered all the same.
                let _ = carrier.renew(0);
            }
        };
        if self.entry.change(&[], cease).is_ok() {
            sleep(LAST_HITS);
        }
    }

    /// Takes it back everywhere.
    pub fn end(mut self) -> Tampered {
        self.cease();
        let mut effect = self.effect();
        let outcomes = self.entry.end();
        effect.left = failures(&outcomes);
        let is_carried = || carriers_of(self.owner).is_ok_and(|carriers| !carriers.is_empty());
        if effect.left.is_empty() && self.entry.is_over() && is_carried() {
            // Somebody has removed the journal, and the way back with it; it is known here, too.
            let undone = restore_sites(self.entry.id());
            effect
                .left
                .extend(undone.err().map(|error| error.to_string()));
        }
        for outcome in outcomes.into_iter().flatten() {
            if let Ok(Undone::Dormant(count)) = outcome.result {
                effect.dormant += count as u64;
            }
        }
        effect
    }
}

impl Carried {
    fn of(process: ProcessId, now: u64) -> Self {
        Self {
            process: ProcessTampering::of(
                process.pid,
                process.stat().map(|stat| stat.comm).unwrap_or_default(),
                How::Patched,
            ),
            carrier: None,
            was_patched: false,
            counts: Vec::new(),
            before: Vec::new(),
            is_counted: true,
            code: None,
            looked_ns: now,
            since_ns: now,
        }
    }

    /// It runs another program by now, or none: that is looked at at once.
    fn lose(&mut self) {
        self.carrier = None;
        self.code = None;
        self.looked_ns = 0;
    }

    /// Takes up what was patched of it.
    fn take_up(&mut self, is_heir: bool, patched: &Patched, carrier: Option<Carrier>) {
        let counts = carrier.as_ref().and_then(|one| one.counts().ok().flatten());
        self.is_counted &= counts.is_some();
        let counts = counts.unwrap_or_default();
        if self.carrier.is_none() {
            self.process.how = match (self.was_patched, is_heir) {
                (true, _) => How::Executed,
                (false, true) => How::Inherited,
                (false, false) => How::Patched,
            };
            // What it had before it executed another program stays its own; what its ancestor had never was.
            let own = self.own().into_iter().chain(repeat(Counts::default()));
            let inherited = |one: &Counts| if is_heir { *one } else { Counts::default() };
            let before = counts.iter().map(inherited).zip(own);
            self.before = before.map(|(all, own)| all.since(own)).collect();
        }
        self.counts = counts;
        self.was_patched |= carrier.is_some();
        self.carrier = carrier;
        let process = &mut self.process;
        if let Ok(id) = ProcessId::of(process.pid)
            && let Some(stat) = id.stat()
        {
            process.name = stat.comm;
        }
        process.sites = patched.coverage.sites;
        if patched.threads > 0 {
            process.threads = patched.threads;
            process.stopped_us = u64::try_from(patched.stopped.as_micros()).unwrap_or(u64::MAX);
            process.moved += patched.moved;
        }
    }

    /// What is counted for each rule since the process is known.
    fn own(&self) -> Vec<Counts> {
        let pairs = self.counts.iter().zip(&self.before);
        pairs.map(|(all, before)| all.since(*before)).collect()
    }
}

/// Refuses to make calls in the name of a process whose filters do not let them pass: it might be ended for them.
pub(super) fn check_filter(
    process: ProcessId,
    rules: &Rules,
    patience: Duration,
) -> Result<(), SyscallError> {
    let made = rules.rules.iter().flat_map(|(_, rule)| rule.makes());
    let made: BTreeSet<Call> = made.collect();
    let permits = || seccomp::permits(process, &made, patience);
    if made.is_empty() || permits().map_err(PatchError::from)? {
        return Ok(());
    }
    let calls: Vec<String> = made.iter().map(ToString::to_string).collect();
    let calls = calls.join(", ");
    Err(SyscallError::Filtered { process, calls })
}
