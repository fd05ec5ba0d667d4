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
    /// The namespaces in which everybody is watched.
    whole: BTreeSet<u64>,
    /// The processes that are watched where others are in their namespaces, too, with the numbers of these.
    members: BTreeMap<u32, u64>,
    /// How many calls could not be counted or timed, and when that was last.
    lost: (u64, Option<u64>),
}

/// What is found so soon after calls could not be counted is undecided, in nanoseconds.
const LOST_TELLS_NS: u64 = 60_000_000_000;

impl CallWatch {
    /// Begins.
    pub fn begin() -> Result<Self, SyscallsError> {
        Ok(Self {
            syscalls: Syscalls::watch(&work())?,
            plots: BTreeMap::new(),
            whole: BTreeSet::new(),
            members: BTreeMap::new(),
            lost: (0, None),
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
            self.whole.remove(gone);
            note(self.syscalls.forget_namespace(*gone));
        }
        for inode in &now {
            self.plots.entry(*inode).or_default();
            // Others may come into the namespace, and go again.
            let told = match (&members, self.whole.contains(inode)) {
                (None, false) => self.syscalls.watch_namespace(*inode).map(|()| {
                    self.whole.insert(*inode);
                }),
                (Some(_), true) => self.syscalls.watch_members(*inode).map(|()| {
                    self.whole.remove(inode);
                }),
                _ => Ok(()),
            };
            note(told);
        }
        // Who has gone meanwhile makes no calls, and who has gone elsewhere is not meant.
        let seat = |pid: u32| {
            let inode = namespace_inode(pid, "net").ok()?;
            now.contains(&inode).then_some((pid, inode))
        };
        let mut members: BTreeMap<u32, u64> =
            members.into_iter().flatten().filter_map(seat).collect();
        for gone in self.members.keys() {
            if !members.contains_key(gone) {
                note(self.syscalls.forget_process(*gone));
            }
        }
        members.retain(|pid, inode| {
            if self.members.get(pid) == Some(inode) {
                return true;
            }
            let told = self.syscalls.watch_process(*inode, *pid);
            let is_told = told.is_ok();
            note(told);
            is_told
        });
        self.members = members;
        refused
    }

    /// Takes in what has happened since the last time.
    pub fn look(&mut self) -> Result<(), SyscallsError> {
        let (returned, lasted) = (self.syscalls.returned()?, self.syscalls.lasted()?);
        let at_ns = boottime_ns();
        let lost = self.syscalls.lost();
        if lost > self.lost.0 {
            self.lost = (lost, Some(at_ns));
        }
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
        self.lost.0
    }

    /// Whether that was so lately, so that what is found of calls is undecided.
    pub fn has_lost(&self, now_ns: u64) -> bool {
        let (_, last_ns) = self.lost;
        last_ns.is_some_and(|last_ns| now_ns.saturating_sub(last_ns) < LOST_TELLS_NS)
    }

    /// How often the programs have run that count them, and for how long.
    pub fn runs(&self) -> Vec<ProgramRuns> {
        self.syscalls.runs()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Write, stderr},
        process::Command,
    };

    use murphy_sys::{
        namespace::NetNamespace,
        syscalls::{self, Errno},
    };

    use super::*;

    /// Opens that fail, of a shell in a namespace.
    fn open_in_vain(namespace: &NetNamespace) {
        let script = "for i in 1 2 3 4 5 6 7 8 9; do true < /nowhere; done 2> /dev/null";
        let run = || Command::new("sh").args(["-c", script]).status();
        namespace.run(run).unwrap().unwrap();
    }

    #[test]
    fn a_target_is_counted_again_once_nobody_else_is_in_its_namespace_any_more() {
        let (Ok(()), Ok(namespace)) = (syscalls::trial(), NetNamespace::create()) else {
            let said = writeln!(stderr(), "skipped: system calls cannot be counted here");
            said.unwrap();
            return;
        };
        let place = Place::kept("web", namespace.clone()).unwrap();
        let mut watch = CallWatch::begin().unwrap();
        let mut failed = |members: Option<Vec<u32>>| {
            assert_eq!(watch.sit([&place].into_iter(), members), [""; 0]);
            watch.look().unwrap();
            let count = |watch: &CallWatch| {
                let returned = &watch.plots[&place.inode].returned;
                let errno = Errno::named("ENOENT");
                let calls = ["open", "openat"].map(Call::named);
                let of = |call: Option<Call>| returned.get(&(call?, errno)).copied();
                calls.into_iter().filter_map(of).sum::<u64>()
            };
            let before = count(&watch);
            open_in_vain(&namespace);
            watch.look().unwrap();
            count(&watch) - before
        };
        assert!(failed(None) >= 9);
        assert_eq!(failed(Some(Vec::new())), 0, "it is somebody else now");
        assert!(failed(None) >= 9);
    }
}
