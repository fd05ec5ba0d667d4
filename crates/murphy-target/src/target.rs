//! A target is the processes some selectors name at one moment, with their descendants.

use murphy_sys::{
    process::{ProcessId, Stat},
    table::ProcessTable,
};
use serde::Serialize;

use crate::{
    Container, Mode, Protected, Protection, RuntimeError, Runtimes, Selector, TargetError, Tree,
    find::{Finder, Found},
    part::{Held, Part, Selection, birth, container_of},
};

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
    /// The container it belongs to, if it does and that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<Container>,
}

impl Member {
    pub(crate) fn of(stat: &Stat, descendant: bool, container: Option<Container>) -> Self {
        Self {
            process: stat.id(),
            name: stat.comm.clone(),
            descendant,
            container,
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
    /// Named, but not among those that [`Target::choose`] drew.
    pub not_chosen: Vec<Member>,
    /// Runtimes that were asked and did not answer; they may know of more containers that match.
    pub unheard: Vec<RuntimeError>,
    protected: Protected,
    parts: Vec<Part>,
    selections: Vec<Selection>,
    runtimes: Runtimes,
}

impl Target {
    /// Finds everyone the selectors name, with their descendants, at most `max` processes.
    pub fn find(
        selectors: &[Selector],
        max: usize,
        keepers: impl IntoIterator<Item = ProcessId>,
    ) -> Result<Self, TargetError> {
        let asks =
            |selector: &Selector| matches!(selector, Selector::Container(_) | Selector::Pod { .. });
        let runtimes = if selectors.iter().any(asks) {
            Runtimes::of_this_machine()
        } else {
            Runtimes::default()
        };
        Self::find_asking(selectors, max, keepers, runtimes)
    }

    /// The same, where `container:` and `pod:` ask only the given runtimes.
    pub fn find_asking(
        selectors: &[Selector],
        max: usize,
        keepers: impl IntoIterator<Item = ProcessId>,
        runtimes: Runtimes,
    ) -> Result<Self, TargetError> {
        let table = ProcessTable::read()?;
        let protected = Protected::around_murphy(&table).with_keepers(keepers);
        let Found {
            parts,
            selections,
            left_out,
            unheard,
        } = Finder::new(&table, &protected, &runtimes, selectors).find(selectors)?;
        let written: Vec<String> = selectors.iter().map(ToString::to_string).collect();
        let mut target = Self::of(written.join(" "), parts, &table, protected);
        target.left_out = left_out;
        target.selections = selections;
        target.unheard = unheard;
        target.runtimes = runtimes;
        target.within(max)
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
        let parts: Vec<Part> = processes
            .iter()
            .filter(|process| table.holds(process))
            .filter_map(|process| table.get(process.pid))
            .filter(|stat| protected.why(stat).is_none())
            .map(|stat| Part::of_process(stat.id(), 0))
            .collect();
        Ok(Self::of(name.to_owned(), parts, &table, protected))
    }

    fn of(name: String, mut parts: Vec<Part>, table: &ProcessTable, protected: Protected) -> Self {
        for part in &mut parts {
            part.gather(table, &protected);
        }
        let members = members(&parts, table);
        Self {
            name,
            members,
            left_out: Vec::new(),
            not_chosen: Vec::new(),
            unheard: Vec::new(),
            protected,
            parts,
            selections: Vec::new(),
            runtimes: Runtimes::default(),
        }
    }

    /// The target, unless it has more than `max` processes. What a mode leaves is counted after
    /// [`Target::choose`]: find with `usize::MAX`, choose, then this.
    pub fn within(self, max: usize) -> Result<Self, TargetError> {
        if self.members.len() > max {
            return Err(TargetError::TooMany {
                name: self.name,
                found: self.members.len(),
                max,
            });
        }
        Ok(self)
    }

    /// Keeps some of those that were named, with their descendants: each container counts as one, and so does
    /// each process that was named otherwise. The same seed on the same processes keeps the same ones.
    #[must_use]
    pub fn choose(mut self, mode: Mode, seed: u64) -> Self {
        let drawn = mode.draw(self.parts.len(), seed);
        if drawn.len() == self.parts.len() {
            return self;
        }
        let parts = std::mem::take(&mut self.parts);
        let (kept, dropped): (Vec<_>, Vec<_>) = parts
            .into_iter()
            .enumerate()
            .partition(|(place, _)| drawn.contains(place));
        for (_, part) in &dropped {
            for selection in &part.selections {
                if let Some(selection) = self.selections.get_mut(*selection) {
                    selection.is_whole = false;
                }
            }
        }
        self.parts = kept.into_iter().map(|(_, part)| part).collect();
        let of_kept = |member: &Member| self.parts.iter().any(|part| part.holds(&member.process));
        let (mut members, not_chosen): (Vec<_>, Vec<_>) =
            self.members.into_iter().partition(of_kept);
        for member in &mut members {
            let names_it = |part: &Part| part.processes.contains(&member.process);
            member.descendant = !self.parts.iter().any(names_it);
        }
        self.members = members;
        self.not_chosen.extend(not_chosen);
        self
    }

    /// How many there are to choose from: containers, and processes named otherwise.
    pub fn parts(&self) -> usize {
        self.parts.len()
    }

    /// Every process, parents first.
    pub fn processes(&self) -> impl Iterator<Item = ProcessId> + '_ {
        self.members.iter().map(|member| member.process)
    }

    /// Follows the target from here on: its members are known, their later children are newcomers, and so are
    /// new processes of its containers, cgroups and units.
    pub fn follow(&self) -> Tree {
        Tree::new(self.processes(), self.protected.clone()).watching(
            &self.parts,
            &self.selections,
            &self.runtimes,
        )
    }
}

/// Everyone whom the parts hold, each process once, parents first.
fn members(parts: &[Part], table: &ProcessTable) -> Vec<Member> {
    let held: Vec<Held> = parts.iter().filter_map(|part| part.held.clone()).collect();
    let mut stats: Vec<&Stat> = table
        .iter()
        .filter(|stat| parts.iter().any(|part| part.holds(&stat.id())))
        .collect();
    stats.sort_by_key(|stat| birth(stat));
    let members = stats.into_iter().map(|stat| {
        let mut naming = parts
            .iter()
            .filter(|part| part.processes.contains(&stat.id()))
            .peekable();
        let descendant = naming.peek().is_none();
        let container = naming
            .find_map(|part| part.held.as_ref())
            .map(|held| held.container.clone())
            .or_else(|| container_of(stat.pid, &held));
        Member::of(stat, descendant, container)
    });
    members.collect()
}

#[cfg(test)]
mod tests;
