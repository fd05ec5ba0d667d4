//! Who watches the system calls of a target.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use murphy_fault::net::Place;
use murphy_sys::{
    clock::boottime_ns,
    process::namespace_inode,
    program_runs::ProgramRuns,
    syscalls::{Call, Syscalls, SyscallsError, Took, work},
};

use super::{Answers, CallHistory, CallMoment, CallsNow};
use crate::{
    detect::{CallSight, CallTroubles, detect_calls},
    finding::Claim,
};

/// The calls of one namespace.
#[derive(Debug, Default)]
struct Plot {
    history: CallHistory,
    /// All since it is observed.
    returned: Answers,
    lasted: BTreeMap<Call, Took>,
    /// What is wrong now.
    troubles: CallTroubles,
}

/// The calls of a target, by the numbers of its network namespaces.
#[derive(Debug)]
pub struct CallWatch {
    syscalls: Syscalls,
    plots: BTreeMap<u64, Plot>,
    /// The processes that are watched where others are in their namespaces, too.
    members: BTreeSet<u32>,
}

impl CallWatch {
    /// Begins.
    pub fn begin() -> Result<Self, SyscallsError> {
        Ok(Self {
            syscalls: Syscalls::watch(&work())?,
            plots: BTreeMap::new(),
            members: BTreeSet::new(),
        })
    }

    /// Says where the target is now, and which processes it is, where others are there, too; gives back what fails.
    pub fn sit<'a>(
        &mut self,
        places: impl Iterator<Item = &'a Place>,
        members: Option<Vec<u32>>,
    ) -> Vec<String> {
        let now: BTreeSet<u64> = places.map(|place| place.inode).collect();
        let known: Vec<u64> = self.plots.keys().copied().collect();
        let mut refused = Vec::new();
        let mut note = |said: Result<(), SyscallsError>| {
            refused.extend(said.err().map(|error| error.to_string()));
        };
        for gone in known.iter().filter(|inode| !now.contains(inode)) {
            self.plots.remove(gone);
            note(self.syscalls.forget_namespace(*gone));
        }
        for inode in now {
            if members.is_none() && !self.plots.contains_key(&inode) {
                note(self.syscalls.watch_namespace(inode));
            }
            self.plots.entry(inode).or_default();
        }
        let members: BTreeSet<u32> = members.into_iter().flatten().collect();
        for gone in self.members.difference(&members) {
            note(self.syscalls.forget_process(*gone));
        }
        for pid in members.difference(&self.members) {
            // Who has gone meanwhile makes no calls.
            if let Ok(inode) = namespace_inode(*pid, "net") {
                note(self.syscalls.watch_process(inode, *pid));
            }
        }
        self.members = members;
        refused
    }

    /// Takes in what has happened since the last time.
    pub fn look(&mut self) -> Result<(), SyscallsError> {
        let (returned, lasted) = (self.syscalls.returned()?, self.syscalls.lasted()?);
        let at_ns = boottime_ns();
        let mut moments: BTreeMap<u64, CallMoment> = BTreeMap::new();
        for one in returned {
            let Some(plot) = self.plots.get_mut(&one.namespace) else {
                continue;
            };
            let key = (one.call, one.errno);
            let before = plot.returned.insert(key, one.calls).unwrap_or(0);
            if one.calls > before {
                let moment = moments.entry(one.namespace).or_default();
                moment.returned.insert(key, one.calls - before);
            }
        }
        for one in lasted {
            let Some(plot) = self.plots.get_mut(&one.namespace) else {
                continue;
            };
            let before = plot.lasted.entry(one.call).or_default();
            if one.took.count > before.count {
                let moment = moments.entry(one.namespace).or_default();
                moment.lasted.insert(one.call, one.took.since(before));
            }
            *before = one.took;
        }
        for (inode, plot) in &mut self.plots {
            let moment = moments.remove(inode).unwrap_or_default();
            plot.history.push(CallMoment { at_ns, ..moment });
        }
        Ok(())
    }

    /// What is wrong with the calls of a namespace.
    pub fn detect(&mut self, inode: u64, now_ns: u64) -> Vec<Claim> {
        let Some(plot) = self.plots.get_mut(&inode) else {
            return Vec::new();
        };
        let sight = CallSight {
            history: &plot.history,
            now_ns,
        };
        detect_calls(&sight, &mut plot.troubles)
    }

    /// The calls as they are now, with what has happened after a time as recent.
    pub fn now(&self, containers: &BTreeMap<u64, Arc<str>>, since_ns: u64) -> Vec<CallsNow> {
        let all = self.plots.iter().filter_map(|(inode, plot)| {
            let container = containers.get(inode)?;
            Some(CallsNow::of(
                container,
                &plot.returned,
                &plot.lasted,
                &plot.history,
                since_ns,
            ))
        });
        all.collect()
    }

    /// How many calls could not be counted or timed.
    pub fn lost(&self) -> u64 {
        self.syscalls.lost()
    }

    /// How often the programs have run that count them, and for how long.
    pub fn runs(&self) -> Vec<ProgramRuns> {
        self.syscalls.runs()
    }
}
