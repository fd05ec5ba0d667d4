//! A target is the processes some selectors name at one moment, with their descendants.

use std::{fs, io, os::unix::fs::MetadataExt, path::PathBuf};

use murphy_sys::{
    process::{self, ProcessId, Stat},
    table::ProcessTable,
};
use serde::Serialize;

use crate::{Protected, Protection, Selector, Tree};

/// How many processes one injection hits at most unless the user says otherwise.
pub const MAX_TARGETS: usize = 100;

/// One process of a target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Member {
    /// Who it is.
    pub process: ProcessId,
    /// Its kernel name.
    pub name: String,
    /// Whether it belongs to the target because an ancestor of it was named.
    pub descendant: bool,
}

impl Member {
    pub(crate) fn of(stat: &Stat, descendant: bool) -> Self {
        Self {
            process: stat.id(),
            name: stat.comm.clone(),
            descendant,
        }
    }
}

/// A process that was named but is never hit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// Its pid.
    pub pid: u32,
    /// Its kernel name.
    pub name: String,
    /// Why.
    pub why: Protection,
}

/// Who is hit.
#[derive(Clone, Debug)]
pub struct Target {
    /// What the user wrote, or a name for processes Murphy started itself.
    pub name: String,
    /// The processes, parents before their children.
    pub members: Vec<Member>,
    /// Named, but protected.
    pub left_out: Vec<LeftOut>,
    protected: Protected,
}

/// Why there is no target.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// No process has this pid.
    #[error("find pid:{pid}: no such process")]
    NoProcess {
        /// The pid.
        pid: u32,
    },
    /// It has ended and waits for its parent.
    #[error("find pid:{pid}: it has ended (a zombie its parent has not waited for)")]
    Zombie {
        /// The pid.
        pid: u32,
    },
    /// It is a thread.
    #[error("find pid:{pid}: it is a thread of process {process}; use pid:{process}")]
    Thread {
        /// What was written.
        pid: u32,
        /// Whose thread it is.
        process: u32,
    },
    /// Nobody matches.
    #[error("find {selector}: no process matches")]
    NoMatch {
        /// The selector.
        selector: Selector,
    },
    /// Everybody who matches is protected.
    #[error("hit {name}: pid {pid} ({process}) is {why}; it is never hit")]
    Refused {
        /// What was written.
        name: String,
        /// The first process refused.
        pid: u32,
        /// Its kernel name.
        process: String,
        /// Why.
        why: Protection,
    },
    /// There is no such namespace.
    #[error("find netns:{value}: open {path}: {source}; `ip netns list` shows those with a name")]
    NoNetns {
        /// The value of the selector.
        value: String,
        /// Its file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// It is the namespace Murphy runs in, with everything else on the host.
    #[error(
        "hit netns:{value}: it is the network namespace Murphy itself runs in; name the processes instead"
    )]
    OwnNetns {
        /// The value of the selector.
        value: String,
    },
    /// More than the user allows.
    #[error(
        "hit {name}: {found} processes match and at most {max} may be hit; narrow it or raise --max-targets"
    )]
    TooMany {
        /// What was written.
        name: String,
        /// How many match.
        found: usize,
        /// How many are allowed.
        max: usize,
    },
    /// `/proc` cannot be read.
    #[error("read the process table: {0}")]
    Table(#[from] io::Error),
}

impl TargetError {
    /// Whether what the user wrote is wrong, rather than the machine not having it.
    pub fn is_bad_input(&self) -> bool {
        matches!(
            self,
            Self::Refused { .. }
                | Self::OwnNetns { .. }
                | Self::TooMany { .. }
                | Self::Thread { .. }
        )
    }
}

impl Target {
    /// Finds everyone the selectors name, with their descendants, at most `max` processes.
    pub fn find(
        selectors: &[Selector],
        max: usize,
        keepers: impl IntoIterator<Item = ProcessId>,
    ) -> Result<Self, TargetError> {
        let table = ProcessTable::read()?;
        let protected = Protected::around_murphy(&table).with_keepers(keepers);
        let mut named: Vec<&Stat> = Vec::new();
        let mut left_out = Vec::new();
        for selector in selectors {
            let found = matches(selector, &table)?;
            let free = allowed(selector, found, &protected, &mut left_out)?;
            named.extend(free);
        }
        named.sort_by_key(|stat| stat.pid);
        named.dedup_by_key(|stat| stat.pid);
        let written: Vec<String> = selectors.iter().map(ToString::to_string).collect();
        Self::of(written.join(" "), &named, &table, protected, left_out).within(max)
    }

    /// The target of processes Murphy started itself and holds by identity, with their descendants.
    /// Those that are gone are left out.
    pub fn of_processes(
        name: &str,
        processes: &[ProcessId],
        keepers: impl IntoIterator<Item = ProcessId>,
    ) -> Result<Self, TargetError> {
        let table = ProcessTable::read()?;
        let protected = Protected::around_murphy(&table).with_keepers(keepers);
        let named: Vec<&Stat> = processes
            .iter()
            .filter(|process| table.holds(process))
            .filter_map(|process| table.get(process.pid))
            .filter(|stat| protected.why(stat).is_none())
            .collect();
        Ok(Self::of(
            name.to_owned(),
            &named,
            &table,
            protected,
            Vec::new(),
        ))
    }

    fn of(
        name: String,
        named: &[&Stat],
        table: &ProcessTable,
        protected: Protected,
        left_out: Vec<LeftOut>,
    ) -> Self {
        let mut tree = Tree::new(named.iter().map(|stat| stat.id()), protected.clone());
        let mut members: Vec<Member> = named.iter().map(|stat| Member::of(stat, false)).collect();
        members.extend(tree.newcomers(table));
        Self {
            name,
            members,
            left_out,
            protected,
        }
    }

    fn within(self, max: usize) -> Result<Self, TargetError> {
        if self.members.len() > max {
            return Err(TargetError::TooMany {
                name: self.name,
                found: self.members.len(),
                max,
            });
        }
        Ok(self)
    }

    /// Every process, parents first.
    pub fn processes(&self) -> impl Iterator<Item = ProcessId> + '_ {
        self.members.iter().map(|member| member.process)
    }

    /// Follows the target from here on: its members are known, their later children are newcomers.
    pub fn follow(&self) -> Tree {
        Tree::new(self.processes(), self.protected.clone())
    }
}

fn matches<'t>(selector: &Selector, table: &'t ProcessTable) -> Result<Vec<&'t Stat>, TargetError> {
    let found = match selector {
        Selector::Pid(pid) => vec![by_pid(*pid, table)?],
        Selector::Name(name) => table.iter().filter(|stat| has_name(stat, name)).collect(),
        Selector::Netns(value) => in_netns(value, table)?,
    };
    if found.is_empty() {
        return Err(TargetError::NoMatch {
            selector: selector.clone(),
        });
    }
    Ok(found)
}

fn by_pid(pid: u32, table: &ProcessTable) -> Result<&Stat, TargetError> {
    if let Some(stat) = table.get(pid) {
        return Ok(stat);
    }
    // Not in the listing of /proc, yet /proc/PID may answer: for threads and for zombies.
    match process::thread_group(pid) {
        Ok(process) if process != pid => Err(TargetError::Thread { pid, process }),
        Ok(_) => Err(TargetError::Zombie { pid }),
        Err(_) => Err(TargetError::NoProcess { pid }),
    }
}

fn has_name(stat: &Stat, name: &str) -> bool {
    if stat.comm == name {
        return true;
    }
    let words = process::command_line(stat.pid).unwrap_or_default();
    words.first().and_then(|word| word.rsplit('/').next()) == Some(name)
}

fn in_netns<'t>(value: &str, table: &'t ProcessTable) -> Result<Vec<&'t Stat>, TargetError> {
    let path = Selector::netns_path(value);
    let inode = fs::metadata(&path)
        .map_err(|source| TargetError::NoNetns {
            value: value.to_owned(),
            path,
            source,
        })?
        .ino();
    let of = |pid| process::namespace_inode(pid, "net").ok();
    if of(std::process::id()) == Some(inode) {
        return Err(TargetError::OwnNetns {
            value: value.to_owned(),
        });
    }
    Ok(table
        .iter()
        .filter(|stat| of(stat.pid) == Some(inode))
        .collect())
}

/// Those of `found` that may be hit. A selector that names only protected processes is refused; a
/// protected process among others is left out and remembered.
fn allowed<'t>(
    selector: &Selector,
    found: Vec<&'t Stat>,
    protected: &Protected,
    left_out: &mut Vec<LeftOut>,
) -> Result<Vec<&'t Stat>, TargetError> {
    let mut free = Vec::new();
    let mut refused = Vec::new();
    for stat in found {
        match protected.why(stat) {
            None => free.push(stat),
            Some(why) => refused.push(LeftOut {
                pid: stat.pid,
                name: stat.comm.clone(),
                why,
            }),
        }
    }
    match refused.first() {
        Some(first) if free.is_empty() => Err(TargetError::Refused {
            name: selector.to_string(),
            pid: first.pid,
            process: first.name.clone(),
            why: first.why,
        }),
        _ => {
            left_out.extend(refused);
            Ok(free)
        }
    }
}

#[cfg(test)]
mod tests;
