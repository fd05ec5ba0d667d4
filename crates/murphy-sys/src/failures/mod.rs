//! A failure is a system call that a BPF program in the kernel has fail with an errno, before the call has done anything.
//!
//! The kernel asks such programs at a few places, the hooks, whether a call may go on; [`cgroup_errors`] and [`lsm_errors`]
//! answer there. Here is what both have in common: [`Rule`]s, of which the first that hits decides, what is counted for
//! each, and how somebody else [ends](end) what a process holds.
//!
//! A rule is of calls by their numbers, and each call is looked at by one hook only, so that it is drawn once: what else comes
//! by that hook, such as a call of another name, one that `io_uring` makes, one of a 32-bit program, or one that an overlay
//! makes of the file system below it, goes on. A call that fails before it comes to its hook, as that of a file that is not
//! there, is not counted; one that begins again after a signal is counted again. All happens at once: no error comes after the
//! time that a real one takes, and none after a part was done.
//!
//! All of it is held by links and maps of this process, and the kernel takes it away when the process ends, however it ends.
//! What has a time ends in the programs.
//!
//! [`cgroup_errors`]: crate::cgroup_errors
//! [`lsm_errors`]: crate::lsm_errors

mod encoded;
mod programs;

pub(crate) use programs::{Programs, ProgramsError, Whose, is_first_pid_namespace};

use std::{collections::BTreeSet, io};

use libbpf_rs::{MapCore, MapFlags, MapHandle, query::MapInfoIter};

pub use crate::patch::Pick;
use crate::{
    syscalls::{Call, Errno},
    traffic::Network,
};

/// How many rules one injection has at most, the same as in `bpf/failures.h`.
pub const RULES_MAX: usize = 16;
/// How many processes may be meant, those born later included.
pub const PROCESSES_MAX: usize = 32_768;
/// The largest number that a call can fail with (`include/linux/err.h`).
const ERRNO_MAX: u16 = 4095;
/// The map that says so, by which [`end`] finds it, and where the mark stands in it.
const ORDERS: &str = "failing";
const MARK_AT: usize = 20;

/// What holds for all rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Order {
    /// Six hex digits as a number: by it [`end`] finds the programs, whoever holds them.
    pub id: u32,
    /// When it ends, in nanoseconds since boot; `None` for never.
    pub until_ns: Option<u64>,
    /// What random words are made from.
    pub seed: u64,
    /// Whether it is in force, and not paused.
    pub active: bool,
}

/// Some calls that fail.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Of these calls.
    pub calls: BTreeSet<Call>,
    /// What they fail with.
    pub errno: Errno,
    /// The chance of each, in 2³²; [`ALWAYS`](crate::traffic::ALWAYS) always comes.
    pub chance: u64,
    /// Which of them, beside that chance: the same as in programs that are patched.
    pub pick: Pick,
    /// How many in all; none for any number.
    pub most: Option<u64>,
    /// Which of them are meant.
    pub scope: Scope,
}

/// Which calls are meant; all by default. What a hook does not see of its calls cannot be asked there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Only those of descriptors of these kinds, in the bits of `S_IFMT`.
    pub kinds: Vec<u32>,
    /// Only those of files of this file system, by the number that `stat(2)` has for it. Overlays have several.
    pub device: Option<u64>,
    /// Whether they wait.
    pub waiting: Waiting,
    /// Only those that name one of these ports, the first to the last.
    pub ports: Option<(u16, u16)>,
    /// Only those that name an address of this network. One of IPv4 is so by a socket of IPv6, too.
    pub network: Option<Network>,
}

/// Whether calls are meant that return at once where they would have to wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Waiting {
    /// All are.
    #[default]
    Any,
    /// Only those that return at once: `O_NONBLOCK`, `MSG_DONTWAIT`.
    Never,
}

/// How many calls of a rule, while it was in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// That were meant, and that no rule before it has had fail.
    pub seen: u64,
    /// That failed.
    pub failed: u64,
}

/// How well a call is covered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cover<H> {
    /// Who decides about it.
    pub hook: H,
    /// Which part of the call's uses comes there; none where all do.
    pub part: Option<&'static str>,
}

/// What is wrong with a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// More than fit.
    #[error("have calls fail: at most {RULES_MAX} rules are possible at a time")]
    TooMany,
    /// It is about nothing.
    #[error("have calls fail: a rule names no call")]
    NoCall,
    /// The kernel asks nobody about it.
    #[error(
        "have {call} fail by {engine}: the kernel asks no program about that call; patch the target's code, which reaches all"
    )]
    NotCovered {
        /// Which call.
        call: Call,
        /// Who would do it.
        engine: &'static str,
    },
    /// It was not thought of when the programs were loaded.
    #[error(
        "have {call} fail by {engine}: no rule was about such a call when it was attached; attach it anew"
    )]
    NotLoaded {
        /// Which call.
        call: Call,
        /// Who would do it.
        engine: &'static str,
    },
    /// The hook does not see it.
    #[error("have {call} fail by {engine}: where that is decided, {what} is not known")]
    Unseen {
        /// Which call.
        call: Call,
        /// Who would do it.
        engine: &'static str,
        /// What is asked.
        what: &'static str,
    },
    /// No call can fail with it.
    #[error(
        "have calls fail with {0}: programs see errors from 1 to {ERRNO_MAX} only, without those by which the kernel begins a call again"
    )]
    Errno(Errno),
    /// There is no such rule.
    #[error("change rule {place}: there are {rules}")]
    NoRule {
        /// Which, from 0.
        place: usize,
        /// How many there are.
        rules: usize,
    },
}

/// What a hook may know of its calls, which a [`Scope`] asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sight {
    Kind,
    Device,
    Waiting,
    Address,
}

/// The hooks of an engine.
pub(crate) trait Hooks: Copy + Eq + Ord + 'static {
    /// What the engine is called.
    const ENGINE: &'static str;

    /// The one that decides about a call.
    fn of(call: Call) -> Option<Self>;
    /// Its number in the programs, from 1.
    fn number(self) -> u8;
    /// What it knows.
    fn sees(self) -> &'static [Sight];
}

/// The hooks that some rules need, where all of them are possible.
pub(crate) fn hooks_of<H: Hooks>(rules: &[Rule]) -> Result<BTreeSet<H>, RuleError> {
    if rules.len() > RULES_MAX {
        return Err(RuleError::TooMany);
    }
    let mut hooks = BTreeSet::new();
    for rule in rules {
        hooks.extend(rule.hooks::<H>()?);
    }
    Ok(hooks)
}

impl Rule {
    /// The hooks of its calls, where it is possible.
    fn hooks<H: Hooks>(&self) -> Result<BTreeSet<H>, RuleError> {
        if self.calls.is_empty() {
            return Err(RuleError::NoCall);
        }
        if self.errno.number() > ERRNO_MAX || self.errno.is_restart() {
            return Err(RuleError::Errno(self.errno));
        }
        let hooks = self.calls.iter().map(|&call| {
            let engine = H::ENGINE;
            let hook = H::of(call).ok_or(RuleError::NotCovered { call, engine })?;
            let objects = self.pick.is_of_objects();
            let objects = objects.then_some("which file or connection was hit before");
            match objects.or_else(|| self.scope.unseen(hook.sees())) {
                Some(what) => Err(RuleError::Unseen { call, engine, what }),
                None => Ok(hook),
            }
        });
        hooks.collect()
    }
}

impl Scope {
    /// What it asks that a hook does not know.
    fn unseen(&self, seen: &[Sight]) -> Option<&'static str> {
        let asked = [
            (!self.kinds.is_empty(), Sight::Kind, "what kind a file is"),
            (self.device.is_some(), Sight::Device, "the file system"),
            (
                self.waiting == Waiting::Never,
                Sight::Waiting,
                "whether a call waits",
            ),
            (self.ports.is_some(), Sight::Address, "a port"),
            (self.network.is_some(), Sight::Address, "an address"),
        ];
        let mut unseen = asked
            .into_iter()
            .filter(|(is_asked, sight, _)| *is_asked && !seen.contains(sight));
        unseen.next().map(|(_, _, what)| what)
    }
}

/// What became of the calls of an injection that somebody holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// So many sets of programs have none fail any more.
    Now(usize),
    /// Nobody has calls fail for it.
    Nowhere,
}

/// Why that could not be ended.
#[derive(Debug, thiserror::Error)]
#[error("end failing calls: {0}; it needs CAP_SYS_ADMIN or root")]
pub struct EndError(#[source] io::Error);

/// Ends the failures of injection `id`, also where another process holds them, which goes on as if its time were over.
/// Needs `CAP_SYS_ADMIN`.
pub fn end(id: u32) -> Result<Ended, EndError> {
    let mark = crate::traffic::Order::mark(id).to_ne_bytes();
    let only = 0_u32.to_ne_bytes();
    let maps = MapInfoIter::default().filter(|map| map.name.to_string_lossy() == ORDERS);
    let mut count = 0;
    for map in maps {
        // One that is gone by now, or that nobody may read, is not one of an injection's.
        let Ok(map) = MapHandle::from_map_id(map.id) else {
            continue;
        };
        let order = map.lookup(&only, MapFlags::ANY).ok().flatten();
        let Some(mut order) =
            order.filter(|order| order.get(MARK_AT..MARK_AT + 4) == Some(&mark[..]))
        else {
            continue;
        };
        if order.iter().take(8).all(|byte| *byte == 0) {
            continue;
        }
        order[..8].fill(0);
        map.update(&only, &order, MapFlags::ANY)
            .map_err(|error| EndError(io::Error::new(crate::bpf::kind(&error), error)))?;
        count += 1;
    }
    Ok(match count {
        0 => Ended::Nowhere,
        count => Ended::Now(count),
    })
}
