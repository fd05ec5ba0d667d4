//! A recorder counts what the system calls of a target come to, interval by interval, and what its processes take meanwhile.
//!
//! It changes nothing, and sends nothing. Who is born to the target is counted from his first call on; who comes into its
//! containers, cgroups and units otherwise (a container that was started again) from within half a second on, and
//! [`Recorder::look`] is to be called so often.

pub mod figures;
mod jvm;
mod line;

pub use figures::Figures;
pub use jvm::Columns;
pub(crate) use line::{Calls, End, MURPHY};
pub use line::{Header, Own, VERSION, Writer};

use std::{
    collections::BTreeMap,
    io,
    time::{Duration, Instant},
};

use murphy_sys::{
    census::{Census, CensusError, Counted, Key, Times},
    clock::boottime_ns,
    process::{ProcessId, is_32_bit},
    program_runs::{Counting, ProgramRuns, ProgramRunsError},
    table::ProcessTable,
};
use murphy_target::{Target, Tree};

use figures::Gauge;
use jvm::Jvm;

/// How often is looked for who has come.
pub const LOOK_EVERY: Duration = Duration::from_millis(500);
/// What a JVM is called, by the kernel.
const JAVA: &str = "java";

/// Why nothing is recorded.
#[derive(Debug, thiserror::Error)]
pub enum RecorderError {
    /// Calls cannot be counted.
    #[error(transparent)]
    Census(#[from] CensusError),
    /// A program of another ABI: its calls have other numbers.
    #[error(
        "record the system calls of {0}: it is a 32-bit program, whose calls have other numbers; Murphy knows those of x86_64 only"
    )]
    Foreign(ProcessId),
    /// Nobody to record.
    #[error("record system calls: the target is gone")]
    Gone,
    /// The processes of the machine cannot be listed.
    #[error("list processes: {0}")]
    Table(io::Error),
    /// What it costs is not counted.
    #[error(transparent)]
    Runs(#[from] ProgramRunsError),
}

/// Calls of one kind, within a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Which.
    pub key: Key,
    /// How many.
    pub calls: u64,
    /// How long together, in nanoseconds; 0 where that is not taken.
    pub took_ns: u64,
}

/// What came of an interval.
#[derive(Clone, Debug, PartialEq)]
pub struct Interval {
    /// Which, from 0 on.
    pub number: u64,
    /// When it began, since the recording did, in nanoseconds of boottime.
    pub from_ns: u64,
    /// When it ended.
    pub to_ns: u64,
    /// Every kind of calls that was seen since the recording has begun, in order; with 0 calls those that were not made now.
    pub rows: Vec<Row>,
    /// Calls that could not be counted.
    pub lost: u64,
    /// What processes took.
    pub processes: Figures,
    /// How often everybody had gone, and somebody came again.
    pub restarts: u64,
    /// What JVMs said of themselves last, by their pids.
    pub jvms: BTreeMap<u32, Columns>,
}

/// What the recorder itself costs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cost {
    /// What a look at a call takes, in nanoseconds, of all processes of the machine together; none where that is not counted.
    pub ns_per_call: Option<f64>,
    /// How many calls were looked at, of anybody.
    pub calls: u64,
    /// How long Murphy was on a processor.
    pub own_cpu_ns: u64,
    /// Murphy's resident memory.
    pub own_memory_bytes: u64,
}

/// What is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Whether the time of calls is taken.
    pub times: Times,
    /// How long an interval is.
    pub interval: Duration,
    /// Whether the kernel counts what the programs cost: it then reads a clock twice for each run of any program.
    pub counts_runs: bool,
}

/// Records as long as it is here.
#[derive(Debug)]
pub struct Recorder {
    census: Census,
    tree: Tree,
    gauge: Gauge,
    own: Gauge,
    own_cpu_ns: u64,
    jvms: BTreeMap<u32, Option<Jvm>>,
    spec: Spec,
    counting: Option<Counting>,
    began_ns: u64,
    from_ns: u64,
    number: u64,
    /// All that was counted when the interval began.
    before: BTreeMap<Key, (u64, u64)>,
    lost_before: u64,
    restarts: u64,
    /// Whether nobody was there at the last look.
    was_empty: bool,
    looked: Instant,
}

impl Recorder {
    /// Begins.
    pub fn begin(target: &Target, spec: Spec) -> Result<Self, RecorderError> {
        if let Some(foreign) = target.processes().find(|one| is_32_bit(one.pid)) {
            return Err(RecorderError::Foreign(foreign));
        }
        let census = Census::begin(spec.times)?;
        let counting = spec.counts_runs.then(Counting::begin).transpose()?;
        let now = boottime_ns();
        let mut recorder = Self {
            census,
            tree: target.follow(),
            gauge: Gauge::default(),
            own: Gauge::default(),
            own_cpu_ns: 0,
            jvms: BTreeMap::new(),
            spec,
            counting,
            began_ns: now,
            from_ns: now,
            number: 0,
            before: BTreeMap::new(),
            lost_before: 0,
            restarts: 0,
            was_empty: false,
            looked: Instant::now(),
        };
        for process in target.processes() {
            recorder.take_in(process)?;
        }
        // Born between the look that found the target and its first counted call.
        recorder.look()?;
        recorder.look()?;
        if recorder.census.members().is_empty() && !recorder.tree.may_come_back() {
            return Err(RecorderError::Gone);
        }
        let members = recorder.census.members();
        recorder.gauge.look(&members);
        recorder.own.look(&[std::process::id()]);
        Ok(recorder)
    }

    fn take_in(&mut self, process: ProcessId) -> Result<(), RecorderError> {
        self.census.add(process.pid)?;
        // It may have ended, and its pid be somebody else's.
        if !process.is_alive() {
            self.census.remove(process.pid)?;
        }
        Ok(())
    }

    /// Looks for who has come to the target otherwise than by birth.
    pub fn look(&mut self) -> Result<(), RecorderError> {
        self.looked = Instant::now();
        let table = ProcessTable::read().map_err(RecorderError::Table)?;
        let newcomers = self.tree.newcomers(&table);
        for member in &newcomers {
            self.take_in(member.process)?;
        }
        let members = self.census.members();
        self.restarts += u64::from(self.was_empty && !members.is_empty());
        self.was_empty = members.is_empty();
        self.look_for_jvms(&members, &table);
        Ok(())
    }

    fn look_for_jvms(&mut self, members: &[u32], table: &ProcessTable) {
        self.jvms.retain(|pid, _| members.contains(pid));
        for pid in members {
            let is_java = table.get(*pid).is_some_and(|stat| stat.comm == JAVA);
            if is_java && !self.jvms.contains_key(pid) {
                self.jvms.insert(*pid, Jvm::watch(*pid, self.spec.interval));
            }
        }
    }

    /// How long until [`Recorder::look`] or [`Recorder::close`] is due.
    pub fn due_in(&self) -> Duration {
        let look = LOOK_EVERY.saturating_sub(self.looked.elapsed());
        look.min(self.interval_left())
    }

    /// How long the interval lasts from now on.
    pub fn interval_left(&self) -> Duration {
        let since = Duration::from_nanos(boottime_ns().saturating_sub(self.from_ns));
        self.spec.interval.saturating_sub(since)
    }

    /// How long an interval is.
    pub fn interval(&self) -> Duration {
        self.spec.interval
    }

    /// Whether nobody is there any more, and nobody will come.
    pub fn is_over(&self) -> bool {
        self.was_empty && !self.tree.may_come_back()
    }

    /// Who is counted at the moment.
    pub fn members(&self) -> Vec<u32> {
        self.census.members()
    }

    /// All that was counted since the recording has begun.
    pub fn counted(&self) -> Result<Vec<Counted>, RecorderError> {
        Ok(self.census.counted()?)
    }

    /// Since when it is recorded, in nanoseconds of boottime.
    pub fn began_ns(&self) -> u64 {
        self.began_ns
    }

    /// Ends the interval, and begins the next one.
    pub fn close(&mut self) -> Result<Interval, RecorderError> {
        let counted = self.census.counted()?;
        let lost = self.census.lost();
        let now = boottime_ns();
        let rows = counted.iter().map(|one| {
            let (calls, took_ns) = self.before.get(&one.key).copied().unwrap_or_default();
            Row {
                key: one.key,
                calls: one.calls.saturating_sub(calls),
                took_ns: one.took_ns.saturating_sub(took_ns),
            }
        });
        let rows = rows.collect();
        let members = self.census.members();
        let jvms = self.jvms.iter();
        let jvms = jvms.filter_map(|(pid, jvm)| Some((*pid, jvm.as_ref()?.take()?)));
        let interval = Interval {
            number: self.number,
            from_ns: self.from_ns - self.began_ns,
            to_ns: now.saturating_sub(self.began_ns),
            rows,
            lost: lost.saturating_sub(self.lost_before),
            processes: self.gauge.look(&members),
            restarts: self.restarts,
            jvms: jvms.collect(),
        };
        self.before = counted
            .iter()
            .map(|one| (one.key, (one.calls, one.took_ns)))
            .collect();
        self.lost_before = lost;
        self.restarts = 0;
        self.from_ns = now;
        self.number += 1;
        Ok(interval)
    }

    /// What it has cost so far.
    pub fn cost(&mut self) -> Cost {
        let own = self.own.look(&[std::process::id()]);
        self.own_cpu_ns += own.cpu_ns;
        let runs = self.census.runs();
        let of_calls = |one: &&ProgramRuns| {
            ["murphy_returned", "murphy_took", "murphy_begins"].contains(&one.name.as_str())
        };
        let ns: u64 = runs.iter().filter(of_calls).map(|one| one.ns).sum();
        let calls = runs.iter().filter(of_calls).map(|one| one.runs).max();
        let calls = calls.unwrap_or(0);
        Cost {
            ns_per_call: (self.counting.is_some() && calls > 0).then(|| ns as f64 / calls as f64),
            calls,
            own_cpu_ns: self.own_cpu_ns,
            own_memory_bytes: own.memory_bytes,
        }
    }
}
