//! A skew in force: who carries it, what their clocks show, and who joins them.

use std::{collections::BTreeMap, os::fd::BorrowedFd, thread::sleep, time::Duration};

use murphy_sys::{
    clock::boottime_ns,
    patch::Library,
    process::ProcessId,
    table::ProcessTable,
    vdso::{
        Page, PageError, Slot, State, Stopping, holders_of,
        view::{self, Shift as Seen},
    },
};
use murphy_target::{Target, Tree};
use serde::Serialize;

use super::{
    SkewError, compatible,
    course::{self, Course},
    examine,
    raw::{Covered, RawCalls},
    restore::{STOP_PATIENCE, restore_vdso},
    spec::Spec,
    undos,
    watch::{Follow, Raw, Watch},
};
use crate::{
    injector::{Injector, failures},
    journal::{Entry, Journal, JournalError, number_of},
    span::{Shift, Until},
    syscall::restore_sites,
};

/// How often the target is searched for processes that do not carry it yet.
const SCANS_MAX: usize = 200;
/// At first, two scans in a row must find nobody new: one may have missed a child being born.
const QUIET_SCANS: usize = 2;
/// How long it takes at most to execute a program.
const EXECUTING: Duration = Duration::from_millis(5);
/// How long hooking may take without the end being put off by it.
const LATE_NS: u64 = 10_000_000;
/// How far a reading of a clock may be from what was asked.
const ERROR_NS: i64 = 5_000_000;
/// Two readings of one clock may be this far apart with nobody's doing.
const NOISE_NS: i64 = 1000;
/// A coarse clock stands still for a tick of the kernel: 10 ms at 100 Hz.
const COARSE_ERROR_NS: i64 = 15_000_000;

/// How a process came to carry a skew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// Its page was hooked.
    Hooked,
    /// It was born with it.
    Inherited,
    /// It has executed a program and was hooked then.
    Executed,
}

/// One clock of one process, read through the process's own page; nanoseconds from the true time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClockSeen {
    /// The kernel's name.
    pub clock: &'static str,
    /// Before.
    pub before_ns: i64,
    /// What was asked for when it was last read, by all skews of it together.
    pub asked_ns: i64,
    /// When it was last read.
    pub during_ns: i64,
    /// At the end; `None` until then, and for a process that is gone.
    pub after_ns: Option<i64>,
}

impl ClockSeen {
    /// Whether it shows what was asked for, as far as it can be read.
    pub fn is_as_asked(&self) -> bool {
        let error = if self.clock.ends_with("COARSE") {
            COARSE_ERROR_NS
        } else {
            ERROR_NS
        };
        (self.during_ns - self.asked_ns).abs() < error
    }

    /// Whether it shows more than the error of a reading, and about what was asked for.
    fn is_skewed(&self) -> bool {
        let asked = self.asked_ns.abs();
        let error = (asked / 2).clamp(NOISE_NS, ERROR_NS);
        asked >= NOISE_NS && (self.during_ns - self.asked_ns).abs() <= error
    }
}

/// One process that carries a skew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProcessSkew {
    /// Its pid.
    pub pid: u32,
    /// Its kernel name.
    pub name: String,
    /// How it came to it.
    pub how: How,
    /// Its threads when it was hooked.
    pub threads: usize,
    /// How long they were stopped for that, in microseconds.
    pub stopped_us: u64,
    /// Threads that were moved out of overwritten instructions.
    pub moved: usize,
    /// Whether it has ended.
    pub gone: bool,
    /// The skewed clocks.
    pub clocks: Vec<ClockSeen>,
    /// Whether any of them has ever shown what was asked for, where that was not the true time.
    #[serde(skip)]
    pub has_shown: bool,
    /// The furthest that any other clock of it was from what it should show, in nanoseconds.
    pub others_ns: i64,
    /// What of its raw calls is skewed, where these are meant.
    #[serde(rename = "raw", skip_serializing_if = "Option::is_none")]
    pub covered: Option<Covered>,
}

/// What a skew has done, as measured at the target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Skewed {
    /// Every process that carries it or did.
    pub processes: Vec<ProcessSkew>,
    /// How many of them live and show what was asked for.
    pub skewed: u64,
    /// How many live.
    pub living: u64,
    /// How often a program that one of them executed was hooked.
    pub executed: u64,
    /// Processes that could not be skewed, and why.
    pub escapes: Vec<String>,
    /// Programs that came and went before they could be skewed; `None` where the kernel does not tell of them.
    pub short_lived: Option<u64>,
    /// Processes that ask the kernel itself for the time, which no hook reaches.
    pub raw: Vec<Raw>,
    /// What could not be undone.
    pub left: Vec<String>,
    /// Hooks that are not run any more and stay in memory until their process ends.
    pub dormant: u64,
}

impl Skewed {
    /// The effect in words.
    pub fn text(&self) -> String {
        let furthest = self
            .processes
            .iter()
            .flat_map(|process| &process.clocks)
            .max_by_key(|clock| clock.during_ns.abs());
        let seen = furthest.map_or_else(String::new, |clock| {
            let millis = (clock.during_ns + 500_000).div_euclid(1_000_000) * 1_000_000;
            format!(", {} {}", clock.clock, Shift(millis))
        });
        let processes = if self.living == 1 {
            "process"
        } else {
            "processes"
        };
        format!(
            "{} of {} {processes} as asked{seen}",
            self.skewed, self.living
        )
    }

    /// Whether any clock showed what was asked for.
    pub fn had_effect(&self) -> bool {
        self.processes.iter().any(|process| process.has_shown)
    }
}

/// A skew in force.
#[derive(Debug)]
pub struct Skew {
    entry: Entry,
    number: u32,
    course: Course,
    tree: Tree,
    processes: BTreeMap<ProcessId, ProcessSkew>,
    escapes: BTreeMap<ProcessId, String>,
    executed: u64,
    watch: Watch,
    raw: Option<RawCalls>,
    /// What the hooks hold must have been written anew by then, ns of boottime.
    renew_ns: Option<u64>,
}

/// A strobe that turns within this is waited for, until it has shown both ends.
const TURN_PATIENCE: Duration = Duration::from_millis(100);

/// What a page shows, and what all who hold it ask for.
#[derive(Debug)]
struct View {
    seen: Vec<Seen>,
    courses: Vec<Course>,
}

impl View {
    fn asked_ns(&self, seen: &Seen) -> i64 {
        let courses = self.courses.iter();
        let on_it = courses.filter(|course| course.clocks().iter().any(|c| c == seen.clock));
        on_it.map(|course| course.shift_ns(seen.at_ns)).sum()
    }
}

/// A process's page as it is, and who holds it.
fn look_at(process: ProcessId) -> Option<(Vec<u8>, Vec<u32>)> {
    let page = Page::open(process).ok()?;
    Some((page.bytes().ok()?, page.holders().ok()?))
}

/// Slots already computed, so that processes held by the same injections get the same bytes.
type Slots = BTreeMap<Vec<u32>, Slot>;

impl Skew {
    /// Skews every process of the target, or none. The way back is on disk before.
    pub fn inject(
        injector: &Injector,
        target: &Target,
        names: &[String],
        spec: Spec,
        until: Until,
        seed: u64,
        follow: Follow,
    ) -> Result<Self, SkewError> {
        super::check(&spec, until)?;
        let mut library = Library::default();
        for process in target.processes() {
            match examine(injector.journal(), &spec, process, &mut library) {
                Err(error) if !error.is_gone() => return Err(error),
                _ => {}
            }
        }
        // Stopping who executes a program comes before hooking; being told of it waits for the first `follow`.
        let watch = match follow {
            Follow::Stop => Watch::load(follow, &spec.clocks)?,
            Follow::Look => Watch::default(),
        };
        let mut entry = injector.begin("time", &spec.to_string(), names, until)?;
        let id = entry.id().to_owned();
        entry.protect(&undos(&id, &spec))?;
        entry.protect(follow.undo().as_slice())?;
        let raw = spec.raw.then(|| RawCalls::new(number_of(&id), library));
        let course = Course::begin(spec, until, seed);
        entry.specify(&course)?;
        let mut skew = Self {
            entry,
            number: number_of(&id),
            course,
            tree: target.follow(),
            processes: BTreeMap::new(),
            escapes: BTreeMap::new(),
            executed: 0,
            watch,
            raw: raw.transpose()?,
            renew_ns: None,
        };
        let members: Vec<_> = target.processes().collect();
        if let Err(error) = skew.hook_target(&members, follow) {
            // Nobody may stay half skewed. What cannot be undone stays in the journal.
            return Err(skew.end_for(error));
        }
        skew.begin_again()?;
        skew.read_clocks()?;
        Ok(skew)
    }

    /// Hooks everybody of the target; an error where one escapes.
    fn hook_target(&mut self, members: &[ProcessId], follow: Follow) -> Result<(), SkewError> {
        if follow == Follow::Stop {
            self.watch.begin(members.iter().copied())?;
        }
        self.hook_all(members)?;
        self.hook_newcomers(QUIET_SCANS)?;
        let raw = self.raw.iter().flat_map(RawCalls::escapes);
        match self.escapes.values().chain(raw).next() {
            Some(why) => Err(SkewError::Escaped(why.clone())),
            None => Ok(()),
        }
    }

    /// Takes everything back because of an error; the error, and what stays where not all of it can be.
    fn end_for(self, why: SkewError) -> SkewError {
        let left = self.end().left.join("; ");
        if left.is_empty() {
            return why;
        }
        let why = why.to_string();
        SkewError::NotUndone { why, left }
    }

    /// Where it took long until the target runs with every clock hooked, the time that was asked for begins only now.
    pub fn begin_again(&mut self) -> Result<(), SkewError> {
        let now = boottime_ns();
        let late = now - self.course.began_ns;
        if late < LATE_NS || self.is_over() {
            return Ok(());
        }
        self.take_over()?;
        self.course.began_ns = now;
        self.course.until_ns = self.course.until_ns.map(|until| until.saturating_add(late));
        self.entry.specify(&self.course)?;
        self.entry.began(self.course.began_ns)?;
        self.renew()
    }

    /// The id of the injection.
    pub fn id(&self) -> &str {
        self.entry.id()
    }

    /// What it does now; `murphy update` may have changed that.
    pub fn course(&self) -> &Course {
        &self.course
    }

    /// Whether somebody else has ended it.
    pub fn is_over(&self) -> bool {
        self.entry.is_over()
    }

    /// Whether nobody carries it any more and nobody will: a container that was stopped may come back.
    pub fn is_deserted(&self) -> bool {
        self.processes.keys().all(|process| !process.is_alive())
            && !self.watch.is_anybody_left()
            && !self.tree.may_come_back()
    }

    /// Everyone it is known to be carried by.
    pub fn processes(&self) -> impl Iterator<Item = ProcessId> + '_ {
        self.processes.keys().copied()
    }

    /// How long until its deadline; `Duration::MAX` for one without.
    pub fn left(&self) -> Duration {
        self.course.until_ns.map_or(Duration::MAX, |until| {
            Duration::from_nanos(until.saturating_sub(boottime_ns()))
        })
    }

    /// How long at most until [`Skew::follow`] must be called again.
    pub fn due_in(&self) -> Duration {
        let renewed = match self.renew_ns {
            None => Duration::MAX,
            Some(at) => Duration::from_nanos(at.saturating_sub(boottime_ns())),
        };
        let raw = self.raw.as_ref();
        raw.map_or(renewed, |raw| renewed.min(raw.due_in()))
    }

    /// Something to read when somebody has executed a program: [`Skew::follow`] is wanted then.
    pub fn told(&self) -> Option<BorrowedFd<'_>> {
        self.watch.as_fd()
    }

    /// Takes over what `murphy update` said.
    fn take_over(&mut self) -> Result<(), SkewError> {
        if let Some(spec) = self.entry.spec()? {
            let course = Course::read(self.id(), spec)?;
            if course != self.course {
                self.course = course;
                self.renew_ns = Some(0);
            }
        }
        Ok(())
    }

    /// Skews who joined the target or executed another program since, takes over what `murphy update` said,
    /// and writes the next steps of a course that has several.
    pub fn follow(&mut self) -> Result<(), SkewError> {
        if self.is_over() {
            return Ok(());
        }
        self.take_over()?;
        if self.renew_ns.is_some_and(|at| boottime_ns() >= at) {
            self.renew()?;
        }
        if !self.watch.has_begun() {
            self.watch = Watch::load(Follow::Look, self.course.clocks())?;
            self.watch.begin(self.processes.keys().copied())?;
        }
        self.hook_executed()?;
        self.watch.count_calls()?;
        if let Some(raw) = &mut self.raw {
            raw.follow(&mut self.entry)?;
        }
        self.hook_newcomers(1)
    }

    /// Hooks who has executed a program, and lets go who was stopped at that.
    fn hook_executed(&mut self) -> Result<(), SkewError> {
        for process in self.watch.executed()? {
            // Another program, another try.
            self.escapes.remove(&process);
            let hooked = if holders_of(process.pid).contains(&self.number) {
                Ok(())
            } else {
                self.hook_all(&[process])
            };
            self.watch.let_go(process)?;
            hooked?;
            if let Some(skew) = self.processes.get_mut(&process) {
                if skew.how == How::Hooked {
                    // It was not seen between its fork and its program.
                    skew.how = How::Executed;
                    self.executed += 1;
                }
            } else if !self.escapes.contains_key(&process) {
                self.watch.was_short_lived();
            }
        }
        Ok(())
    }

    /// Skews a process that stands for one of the target, though none of its bore it: a server that was
    /// started again on a machine whose clock is wrong. It sees the skew as far as that has come. Says whether
    /// it is skewed: not when the skew is over, or the process.
    pub fn adopt(&mut self, process: ProcessId) -> Result<bool, SkewError> {
        if self.is_over() || self.left().is_zero() {
            return Ok(false);
        }
        match self.hook(process, &mut Slots::new()) {
            Ok(()) => {}
            Err(error) if error.is_gone() => return Ok(false),
            Err(error) => return Err(error),
        }
        self.tree.adopt(process);
        self.watch.add(process)?;
        self.read_clocks()?;
        Ok(true)
    }

    /// Writes what the hooks are to do from now on.
    fn renew(&mut self) -> Result<(), SkewError> {
        self.renew_ns = None;
        let mut slots = Slots::new();
        let members: Vec<_> = self.processes.keys().copied().collect();
        for process in members {
            let configured = Page::open(process)
                .map_err(SkewError::from)
                .and_then(|page| {
                    let holders = page.holders()?;
                    if page.state()? == State::Hooked && holders.contains(&self.number) {
                        let journal = self.entry.journal();
                        let slot = slot(journal, &holders, &mut slots, &mut self.renew_ns)?;
                        page.configure(&holders, &slot)?;
                    }
                    Ok(())
                });
            match configured {
                Err(error) if !error.is_gone() => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn hook_newcomers(&mut self, quiet_scans: usize) -> Result<(), SkewError> {
        let mut quiet = 0;
        for _ in 0..SCANS_MAX {
            if self.is_over() {
                return Ok(());
            }
            let table = ProcessTable::read().map_err(SkewError::Table)?;
            let mut fresh: Vec<_> = self
                .tree
                .newcomers(&table)
                .iter()
                .map(|member| member.process)
                .collect();
            // A program that was executed has a page of its own, without the hook.
            fresh.extend(self.processes.keys().copied().filter(|process| {
                table.holds(process)
                    && !self.escapes.contains_key(process)
                    && !holders_of(process.pid).contains(&self.number)
            }));
            if fresh.is_empty() {
                quiet += 1;
                if quiet == quiet_scans {
                    return Ok(());
                }
                continue;
            }
            quiet = 0;
            for process in &fresh {
                self.watch.add(*process)?;
            }
            self.hook_all(&fresh)?;
        }
        Err(SkewError::Runaway)
    }

    /// Hooks each; who cannot be hooked is an escape.
    fn hook_all(&mut self, processes: &[ProcessId]) -> Result<(), SkewError> {
        let mut slots = Slots::new();
        for process in processes {
            if self.escapes.contains_key(process) {
                continue;
            }
            match self.hook_or_again(*process, &mut slots) {
                // Somebody has taken the skew back; the caller sees that it is over.
                Err(SkewError::Journal(error)) if matches!(*error, JournalError::Ended(_)) => {
                    return Ok(());
                }
                // One that has executed another program meanwhile is looked at again at the next scan.
                Ok(()) | Err(SkewError::Page(PageError::Executed(_))) => {}
                Err(error) if error.is_gone() => {}
                Err(error @ SkewError::Journal(_)) => return Err(error),
                Err(error) => {
                    self.escapes.insert(*process, error.to_string());
                }
            }
        }
        Ok(())
    }

    /// Hooks one process; a second time where it seems to be patched by a stranger, because it may have executed a
    /// program while it was looked at.
    fn hook_or_again(&mut self, process: ProcessId, slots: &mut Slots) -> Result<(), SkewError> {
        match self.hook(process, slots) {
            Err(SkewError::Page(PageError::Foreign(_))) => {
                sleep(EXECUTING);
                self.hook(process, slots)
            }
            other => other,
        }
    }

    fn hook(&mut self, process: ProcessId, slots: &mut Slots) -> Result<(), SkewError> {
        let journal = self.entry.journal().clone();
        let (number, clocks, renew_ns) = (self.number, self.course.clocks(), &mut self.renew_ns);
        // The journal's lock first and the page's inside it, as whoever undoes this takes them.
        let hook = || {
            let page = Page::open(process)?;
            let before = page.bytes()?;
            let mut holders = page.holders()?;
            let is_heir = holders.contains(&number);
            if !is_heir {
                compatible(&journal, &holders, clocks, process.pid)?;
                holders.push(number);
            }
            let slot = slot(&journal, &holders, slots, renew_ns)?;
            let stopping = page.hook(&holders, &slot, STOP_PATIENCE)?;
            Ok::<_, SkewError>((before, is_heir, stopping))
        };
        let (before, is_heir, stopping) = self.entry.change(&[], hook)??;
        let known = self.processes.get(&process);
        let how = match known {
            Some(_) => How::Executed,
            None if is_heir => How::Inherited,
            None => How::Hooked,
        };
        self.executed += u64::from(how == How::Executed);
        let before = if is_heir {
            Vec::new()
        } else {
            view::shifts(&before)?
        };
        let skew = ProcessSkew {
            clocks: self.clocks_before(&before),
            ..of(process, how, stopping)
        };
        self.processes.insert(process, skew);
        match &mut self.raw {
            // Its data stand there now.
            Some(raw) => raw.adopt(&mut self.entry, process),
            None => Ok(()),
        }
    }

    fn clocks_before(&self, before: &[Seen]) -> Vec<ClockSeen> {
        let shift = |clock| {
            before
                .iter()
                .find(|seen| seen.clock == clock)
                .map_or(0, |s| s.shift_ns)
        };
        self.course
            .clocks()
            .iter()
            .map(|clock| ClockSeen {
                clock: clock.name(),
                before_ns: shift(clock),
                asked_ns: 0,
                during_ns: 0,
                after_ns: None,
            })
            .collect()
    }

    /// Reads every clock of every process through the process's own page.
    fn read_clocks(&mut self) -> Result<(), SkewError> {
        let mut views: BTreeMap<Vec<u8>, View> = BTreeMap::new();
        for (process, skew) in &mut self.processes {
            let Some((bytes, holders)) = look_at(*process) else {
                skew.gone = !process.is_alive();
                continue;
            };
            if !views.contains_key(&bytes) {
                let courses = course::of_holders(self.entry.journal(), &holders)?;
                let seen = view::shifts(&bytes)?;
                views.insert(bytes.clone(), View { seen, courses });
            }
            let Some(view) = views.get(&bytes) else {
                continue;
            };
            skew.others_ns = 0;
            // A machine without an alarm has no alarm clocks.
            skew.clocks
                .retain(|clock| view.seen.iter().any(|s| s.clock.name() == clock.clock));
            for seen in &view.seen {
                let asked_ns = view.asked_ns(seen);
                let name = seen.clock.name();
                if let Some(clock) = skew.clocks.iter_mut().find(|c| c.clock == name) {
                    clock.during_ns = seen.shift_ns;
                    clock.asked_ns = asked_ns;
                    skew.has_shown |= clock.is_skewed();
                } else {
                    let off = (seen.shift_ns - asked_ns).abs();
                    skew.others_ns = skew.others_ns.max(off);
                }
            }
        }
        Ok(())
    }

    /// What it has done so far.
    pub fn effect(&mut self) -> Result<Skewed, SkewError> {
        // Past its deadline a clock is true again, and that would be no reading of the skew.
        if !self.is_over() && !self.left().is_zero() {
            let before = self.processes.clone();
            self.read_clocks()?;
            if let Some(turn) = self.turn_unseen() {
                sleep(turn);
                self.read_clocks()?;
            }
            if self.left().is_zero() {
                // It may have come while they were read.
                self.processes = before;
            }
        }
        Ok(self.figures())
    }

    /// How long until a quick strobe shows its other end, where somebody has only been read at the true one. Readings in
    /// step with the strobe would never see anything else.
    fn turn_unseen(&self) -> Option<Duration> {
        let turn = self.course.spec.strobe?.every.0;
        let is_unseen = |process: &ProcessSkew| !process.gone && !process.has_shown;
        let is_quick = turn <= TURN_PATIENCE && turn < self.left();
        (is_quick && self.processes.values().any(is_unseen)).then_some(turn)
    }

    fn figures(&self) -> Skewed {
        let covered = |process| self.raw.as_ref().and_then(|raw| raw.covered(process));
        let processes = self.processes.iter().map(|(process, skew)| ProcessSkew {
            covered: covered(*process),
            ..skew.clone()
        });
        let processes: Vec<_> = processes.collect();
        let is_covered = |pid: u32| {
            let mut those = processes.iter().filter(|process| process.pid == pid);
            let covered = those.find_map(|process| process.covered.as_ref());
            covered.is_some_and(|covered| covered.sites > 0)
        };
        let raw_escapes = self.raw.iter().flat_map(RawCalls::escapes);
        let living = processes.iter().filter(|process| !process.gone);
        let shows = |process: &&ProcessSkew| process.clocks.iter().all(ClockSeen::is_as_asked);
        Skewed {
            skewed: living.clone().filter(shows).count() as u64,
            living: living.count() as u64,
            executed: self.executed,
            escapes: self.escapes.values().chain(raw_escapes).cloned().collect(),
            short_lived: self.watch.short_lived(),
            raw: self
                .watch
                .raw()
                .into_iter()
                .filter(|raw| !is_covered(raw.pid))
                .collect(),
            processes,
            ..Skewed::default()
        }
    }

    /// Tells the journal what it has done so far, for `murphy ls`.
    pub fn say(&mut self) -> Result<Skewed, SkewError> {
        let effect = self.effect()?;
        // Nothing depends on it: `murphy ls` shows an older figure where this fails, as on a full disk.
        let _ = self.entry.say(&effect, &effect.text());
        Ok(effect)
    }

    /// Takes it back everywhere, and reads the clocks once more.
    pub fn end(mut self) -> Skewed {
        self.watch.end();
        if let Some(raw) = &mut self.raw {
            // The way back is gone in any case.
            let _ = raw.cease(&mut self.entry);
        }
        // The last reading counts where this one fails: the way back is what matters now.
        let mut effect = self.effect().unwrap_or_else(|_| self.figures());
        let outcomes = self.entry.end();
        effect.left = failures(&outcomes);
        let is_carried = |process: &ProcessId| holders_of(process.pid).contains(&self.number);
        if effect.left.is_empty() && self.processes.keys().any(is_carried) {
            // Somebody has removed the journal, and the way back with it; it is known here, too.
            let undone = restore_vdso(self.entry.journal(), self.entry.id());
            effect
                .left
                .extend(undone.err().map(|error| error.to_string()));
        }
        let is_patched = self.raw.as_ref().is_some_and(RawCalls::is_carried);
        if effect.left.is_empty() && self.entry.is_over() && is_patched {
            let undone = restore_sites(self.entry.id());
            effect
                .left
                .extend(undone.err().map(|error| error.to_string()));
        }
        for outcome in outcomes.into_iter().flatten() {
            if let Ok(crate::undo::Undone::Dormant(count)) = outcome.result {
                effect.dormant += count as u64;
            }
        }
        for (process, skew) in self.processes.iter().zip(&mut effect.processes) {
            let seen = Page::open(*process.0)
                .and_then(|page| page.bytes())
                .ok()
                .and_then(|bytes| view::shifts(&bytes).ok());
            for clock in &mut skew.clocks {
                clock.after_ns = seen
                    .iter()
                    .flatten()
                    .find(|seen| seen.clock.name() == clock.clock)
                    .map(|seen| seen.shift_ns);
            }
        }
        effect
    }
}

/// What a page with these holders is to hold, and by when that must be written anew.
fn slot(
    journal: &Journal,
    holders: &[u32],
    slots: &mut Slots,
    renew_ns: &mut Option<u64>,
) -> Result<Slot, SkewError> {
    if let Some(slot) = slots.get(holders) {
        return Ok(slot.clone());
    }
    let courses = course::of_holders(journal, holders)?;
    let (slot, renew) = course::slot(&courses);
    *renew_ns = renew_ns.iter().copied().chain(renew).min();
    slots.insert(holders.to_vec(), slot.clone());
    Ok(slot)
}

fn of(process: ProcessId, how: How, stopping: Stopping) -> ProcessSkew {
    ProcessSkew {
        pid: process.pid,
        name: process.stat().map(|stat| stat.comm).unwrap_or_default(),
        how,
        threads: stopping.threads,
        stopped_us: stopping.stopped_ns / 1000,
        moved: stopping.moved,
        gone: false,
        clocks: Vec::new(),
        has_shown: false,
        others_ns: 0,
        covered: None,
    }
}
