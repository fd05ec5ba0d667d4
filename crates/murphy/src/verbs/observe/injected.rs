//! What is injected on this machine while somebody observes: faults as the journal has them, from when to when.

use std::time::{Duration, Instant};

use murphy_fault::{
    journal::{Journal, Record},
    time::fault_of,
};
use murphy_sys::clock::boottime_ns;

/// How often the journal is read.
const READ_EVERY: Duration = Duration::from_secs(1);
/// Faults that are over are forgotten beyond so many.
const KEPT_MAX: usize = 100;

/// A fault that is or was in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InForce {
    /// Six hex digits.
    pub id: String,
    /// Its family, such as `net`.
    pub family: String,
    /// The fault, such as `loss`.
    pub fault: String,
    /// Who is hit.
    pub targets: Vec<String>,
    /// From when, in nanoseconds since boot.
    pub from_ns: u64,
    /// Until when it was in the journal; nothing while it is there.
    pub until_ns: Option<u64>,
}

impl InForce {
    fn of(record: &Record) -> Self {
        let header = &record.header;
        Self {
            id: header.id.clone(),
            family: header.family.clone(),
            fault: fault_of(record),
            targets: header.targets.clone(),
            from_ns: header.started_boottime_ns,
            until_ns: None,
        }
    }

    /// For people.
    pub fn text(&self) -> String {
        format!(
            "{} {} on {}",
            self.family,
            self.fault,
            self.targets.join(", ")
        )
    }
}

/// What is injected on this machine.
#[derive(Debug, Default)]
pub struct Injected {
    all: Vec<InForce>,
    read_at: Option<Instant>,
}

impl Injected {
    /// Reads the journal when it is time to. Gives back what has begun or ended by that: who may not read it, or has none,
    /// knows of no fault.
    pub fn look(&mut self) -> Vec<InForce> {
        if self.read_at.is_some_and(|at| at.elapsed() < READ_EVERY) {
            return Vec::new();
        }
        self.read_at = Some(Instant::now());
        let read = Journal::of_user().and_then(|journal| journal.list());
        let Ok((records, _)) = read else {
            return Vec::new();
        };
        self.take(records.iter().map(InForce::of).collect(), boottime_ns())
    }

    fn take(&mut self, mut now: Vec<InForce>, now_ns: u64) -> Vec<InForce> {
        let mut changed = Vec::new();
        // While an engine is rehearsed the time of a fault lies ahead: nobody is hit yet.
        now.retain(|one| one.from_ns <= now_ns);
        for known in self.all.iter_mut().filter(|one| one.until_ns.is_none()) {
            if !now.iter().any(|one| one.id == known.id) {
                known.until_ns = Some(now_ns);
                changed.push(known.clone());
            }
        }
        for one in now {
            if !self.all.iter().any(|known| known.id == one.id) {
                changed.push(one.clone());
                self.all.push(one);
            }
        }
        while self.all.len() > KEPT_MAX {
            let over = self.all.iter().position(|one| one.until_ns.is_some());
            let Some(oldest) = over else { break };
            self.all.remove(oldest);
        }
        changed
    }

    /// All that are known, those that are over, too.
    pub fn all(&self) -> &[InForce] {
        &self.all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_begins_when_it_is_in_the_journal_and_ends_when_it_is_not() {
        let fault = InForce {
            id: "4f09a2".into(),
            family: "net".into(),
            fault: "loss".into(),
            targets: vec!["netns:web".into()],
            from_ns: 5,
            until_ns: None,
        };
        let mut injected = Injected::default();
        assert_eq!(injected.take(vec![fault.clone()], 4), [], "it is rehearsed");
        assert_eq!(injected.take(vec![fault.clone()], 6), vec![fault.clone()]);
        assert_eq!(injected.take(vec![fault.clone()], 7), []);
        let over = InForce {
            until_ns: Some(8),
            ..fault
        };
        assert_eq!(injected.take(Vec::new(), 8), vec![over.clone()]);
        assert_eq!(injected.take(Vec::new(), 9), []);
        assert_eq!(injected.all().to_vec(), vec![over.clone()]);
        assert_eq!(over.text(), "net loss on netns:web");
    }
}
