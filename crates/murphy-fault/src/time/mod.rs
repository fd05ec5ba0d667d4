//! Family `time`: the clocks of running processes are skewed, for nobody else on the machine.
//!
//! Needs `x86_64`, a vDSO and `CAP_SYS_PTRACE` for other users' processes. Engine `vdso` writes a hook into
//! the unused end of the target's own vDSO page ([`murphy_sys::vdso`]): programs in any language are
//! skewed, no system call is added, and a skew ends at its deadline inside the target even when Murphy and
//! its keeper are dead. Not skewed: the kernel's own stamps and timers (file times, `timerfd`, timeouts), and
//! programs that read clocks by raw system calls; those are counted as escapes, unless [`raw`] skews them, too.
//!
//! A launched command has its clocks since boot skewed by engine `timens` ([`namespace`]).
//!
//! Several skews of one process add up, per clock, and end in any order: each injection's [`course`] stands
//! in the journal, and the page says which injections hold it, so that anybody can compute the sum.

pub mod course;
pub mod namespace;
mod raw;
mod restore;
mod skew;
pub mod spec;
mod update;
mod watch;

pub use raw::Covered;
pub use restore::restore_vdso;
pub use skew::{ClockSeen, How, ProcessSkew, Skew, Skewed};
pub use spec::{Clocks, Date, Drift, Jump, Spec, SpecError, Strobe};
pub use update::{Updated, update};
pub use watch::{Follow, FollowError, Raw};

use murphy_sys::{
    family::FamilyError,
    patch::{LeaseError, Library, PatchError},
    pidfd::PidfdError,
    vdso::{
        Image, ImageError, Page, PageError, Timescale,
        view::{self, ViewError},
    },
};
use murphy_target::Target;

use crate::{
    journal::{Journal, JournalError, Record, id_of},
    plan::{EndsBy, Plan},
    process::name_of,
    span::Until,
    undo::Undo,
};

/// The engine for running processes.
pub const ENGINE: &str = "vdso";

/// Why a skew could not be injected, changed or undone.
#[derive(Debug, thiserror::Error)]
pub enum SkewError {
    /// A process cannot be patched.
    #[error(transparent)]
    Page(#[from] PageError),
    /// This machine cannot.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The clocks cannot be read.
    #[error(transparent)]
    View(#[from] ViewError),
    /// Its code cannot be patched.
    #[error(transparent)]
    Patch(#[from] PatchError),
    /// What is patched could not end by itself.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// The journal.
    #[error(transparent)]
    Journal(Box<JournalError>),
    /// What is asked makes no sense.
    #[error(transparent)]
    Asked(#[from] SpecError),
    /// The journal's course of another injection.
    #[error("read the course of injection {id}: {error}")]
    Spec {
        /// The injection.
        id: String,
        /// What is wrong.
        error: String,
    },
    /// The programs that a target executes cannot be followed.
    #[error(transparent)]
    Family(#[from] FamilyError),
    /// A process that was stopped cannot be let go.
    #[error(transparent)]
    Process(#[from] PidfdError),
    /// Somebody else holds the page.
    #[error(
        "skew pid {pid}: injection {id} holds its clocks, and this journal does not know it; recover it with the journal it stands in"
    )]
    Stranger {
        /// The process.
        pid: u32,
        /// The id in its page.
        id: String,
    },
    /// Two skews of one timescale name different clocks of it.
    #[error(
        "skew pid {pid}: another injection skews other clocks of the same timescale ({timescale:?}); name the same clocks, or the timescale itself"
    )]
    Mixed {
        /// The process.
        pid: u32,
        /// The timescale.
        timescale: Timescale,
    },
    /// Clocks that cannot be read here, such as those of an alarm without a real-time clock.
    #[error("skew {0}: this machine has no such clock")]
    NoClock(String),
    /// A time namespace does it.
    #[error(
        "update injection {0}: a time namespace skews its command, whose offsets are fixed once it runs; end it, and launch the command anew"
    )]
    Fixed(String),
    /// The clock has other values in the target's time namespace.
    #[error(
        "skew pid {pid}: its time namespace has an offset of its own for {timescale:?}; only clocks without one can be skewed there"
    )]
    OtherTime {
        /// The process.
        pid: u32,
        /// The timescale.
        timescale: Timescale,
    },
    /// It is no skew.
    #[error("update injection {id}: it is one of family {family}; only skews can be changed")]
    NotASkew {
        /// The injection.
        id: String,
        /// Its family.
        family: String,
    },
    /// It is over.
    #[error("update injection {0}: it is over")]
    Over(String),
    /// One process of the target cannot be skewed, so none is.
    #[error("{0}")]
    Escaped(String),
    /// It was refused, and what had been done already stays.
    #[error("{why}; and failed to undo what was done by then: {left}")]
    NotUndone {
        /// Why it was refused.
        why: String,
        /// What stays, and why.
        left: String,
    },
    /// `/proc` cannot be read.
    #[error("read /proc: {0}")]
    Table(#[source] std::io::Error),
    /// Its code is still led to what reads its page.
    #[error(
        "restore the vDSO of {0}: raw calls of it are patched still, and say the true time already"
    )]
    StillPatched(murphy_sys::process::ProcessId),
    /// New children appear faster than they can be skewed.
    #[error("skew the target: it starts processes faster than they can be skewed")]
    Runaway,
}

impl From<JournalError> for SkewError {
    fn from(error: JournalError) -> Self {
        // A journal's undo may fail on a skew: the two hold each other.
        Self::Journal(Box::new(error))
    }
}

impl SkewError {
    /// Whether the process it is about is gone.
    pub fn is_gone(&self) -> bool {
        match self {
            Self::Page(error) => error.is_gone(),
            Self::Patch(error) => error.is_gone(),
            _ => false,
        }
    }

    /// Whether the process it is about has executed another program meanwhile.
    fn is_of_executing(&self) -> bool {
        matches!(
            self,
            Self::Page(PageError::Executed(_)) | Self::Patch(PatchError::Executed(_))
        )
    }
}

/// Asks this machine whether the engine works.
pub fn trial() -> Result<(), ImageError> {
    Image::own().map(|_| ())
}

/// Whether this machine can do what is asked.
fn check(spec: &Spec, until: Until) -> Result<(), SkewError> {
    trial()?;
    spec.check(until)?;
    if spec
        .clocks
        .iter()
        .all(|clock| view::kernel_ns(clock).is_none())
    {
        return Err(SkewError::NoClock(spec.clocks.to_string()));
    }
    Ok(())
}

/// The fault of an injection in words, as `murphy update` may have changed it.
pub fn fault_of(record: &Record) -> String {
    let read = |spec| course::Course::read(&record.header.id, spec).ok();
    match record.spec.clone().and_then(read) {
        Some(course) => course.spec.to_string(),
        None => record.header.fault.clone(),
    }
}

/// What `spec` would do to `target`. Changes nothing; an error for what would be refused.
pub fn plan(
    journal: &Journal,
    spec: &Spec,
    target: &Target,
    until: Until,
    follow: Follow,
) -> Result<Plan, SkewError> {
    check(spec, until)?;
    let (mut changes, mut library) = (Vec::new(), Library::default());
    for process in target.processes() {
        match examine(journal, spec, process, &mut library) {
            Ok(covered) => {
                let name = name_of(process);
                changes.push(format!("hook the vDSO of {name}"));
                changes.extend(
                    covered
                        .map(|covered| covered.changes(&name))
                        .unwrap_or_default(),
                );
            }
            Err(error) if error.is_gone() => {}
            Err(error) => return Err(error),
        }
    }
    changes.extend(follow.change());
    let mut undo = undos("new", spec);
    undo.extend(follow.undo());
    Ok(Plan {
        family: "time",
        fault: spec.to_string(),
        engine: ENGINE.into(),
        targets: target.processes().map(name_of).collect(),
        changes,
        undo,
        ends: match until {
            Until::After(_) => EndsBy::Deadline,
            Until::Forever => EndsBy::Keeper,
        },
        until,
    })
}

/// The ways back of a skew, but for those of who is followed.
fn undos(id: &str, spec: &Spec) -> Vec<Undo> {
    let id = || id.to_owned();
    let sites = spec.raw.then(|| Undo::RestoreSites { id: id() });
    // The last is gone first: what is led past the vDSO reads what stands there.
    [Undo::RestoreVdso { id: id() }]
        .into_iter()
        .chain(sites)
        .collect()
}

/// Whether one process can be skewed, as far as that is known without touching it; which of its raw calls, where these are meant.
fn examine(
    journal: &Journal,
    spec: &Spec,
    process: murphy_sys::process::ProcessId,
    library: &mut Library,
) -> Result<Option<Covered>, SkewError> {
    examine_page(journal, spec, process)?;
    spec.raw
        .then(|| raw::rehearse(process, library))
        .transpose()
}

fn examine_page(
    journal: &Journal,
    spec: &Spec,
    process: murphy_sys::process::ProcessId,
) -> Result<(), SkewError> {
    let page = Page::open(process)?;
    page.examine()?;
    let holders = page.holders()?;
    if holders.len() == murphy_sys::vdso::HOLDERS_MAX {
        return Err(PageError::Full(process).into());
    }
    compatible(journal, &holders, &spec.clocks, process.pid)
}

/// Whether a skew of `clocks` can be added to those of `holders`.
fn compatible(
    journal: &Journal,
    holders: &[u32],
    clocks: &Clocks,
    pid: u32,
) -> Result<(), SkewError> {
    if let Some(timescale) = Timescale::ALL
        .into_iter()
        .find(|timescale| !clocks.of(*timescale).is_empty() && timescale.is_offset_in(pid))
    {
        return Err(SkewError::OtherTime { pid, timescale });
    }
    for holder in holders {
        let id = id_of(*holder);
        if journal.read(&id)?.is_none() {
            return Err(SkewError::Stranger { pid, id });
        }
    }
    for course in course::of_holders(journal, holders)? {
        for timescale in Timescale::ALL {
            let (theirs, ours) = (course.clocks().of(timescale), clocks.of(timescale));
            if !theirs.is_empty() && !ours.is_empty() && theirs != ours {
                return Err(SkewError::Mixed { pid, timescale });
            }
        }
    }
    Ok(())
}
