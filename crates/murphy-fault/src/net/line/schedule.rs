//! A schedule says when each leaves of those that come: when the rate lets it, and after its delay, or none, if it is to
//! overtake. It measures when they did leave.

use rand_chacha::ChaCha8Rng;

use super::{
    LineError, Order, Stream, Table,
    bucket::Bucket,
    chance::Chain,
    delay::Delays,
    tally::{Delaying, Size, Tally, Watch},
};
use crate::net::spec::{Reorder, Spec};

/// When they leave.
#[derive(Debug)]
pub(super) struct Schedule {
    bucket: Option<Bucket>,
    delay: Option<Delays>,
    overtaking: Option<Overtaking>,
    order: Order,
    /// When the last one is due that was given a delay.
    last_due_ns: u64,
    observed: Watch,
    lateness: Watch,
}

/// When one leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Turn {
    /// When its delay begins.
    began_ns: u64,
    /// When it is due.
    pub(super) due_ns: u64,
    /// Whether it was given a delay.
    is_delayed: bool,
}

/// Which ones are given no delay.
#[derive(Debug)]
struct Overtaking {
    chain: Chain,
    gap: u32,
    /// How many were delayed since the last that was not.
    passed: u32,
}

impl Overtaking {
    fn new(reorder: Reorder, random: ChaCha8Rng) -> Self {
        Self {
            chain: Chain::new(reorder.chance, random),
            gap: reorder.gap.get(),
            passed: 0,
        }
    }

    fn is_next(&mut self) -> bool {
        let is_next = self.passed + 1 >= self.gap && self.chain.is_hit();
        self.passed = if is_next {
            0
        } else {
            self.passed.saturating_add(1)
        };
        is_next
    }
}

impl Schedule {
    /// One for a spec that has been checked. `table` is that of its distribution, where it has one.
    pub(super) fn new(
        spec: &Spec,
        table: Option<&Table>,
        order: Order,
        seed: u64,
    ) -> Result<Self, LineError> {
        let delay = match &spec.delay {
            None => None,
            Some(delay) => match Delays::new(delay, table, Stream::Delay.of(seed)) {
                Some(delays) => Some(delays),
                None => return Err(LineError::no_table(&delay.distribution)),
            },
        };
        let overtaking = |reorder| Overtaking::new(reorder, Stream::Reorder.of(seed));
        Ok(Self {
            bucket: spec.rate.map(Bucket::new),
            delay,
            overtaking: spec.reorder.map(overtaking),
            order,
            last_due_ns: 0,
            observed: Watch::new(),
            lateness: Watch::new(),
        })
    }

    /// The turn of one that comes now, as it is counted, with its bytes on a wire; none where too many
    /// wait for the rate. What is decided is tallied.
    pub(super) fn turn(
        &mut self,
        now_ns: u64,
        size: Size,
        wire_bytes: impl FnOnce() -> u64,
        tally: &mut Tally,
    ) -> Option<Turn> {
        let began_ns = match &mut self.bucket {
            Some(bucket) => bucket.admit(now_ns, wire_bytes()),
            None => Some(now_ns),
        };
        let Some(began_ns) = began_ns else {
            tally.over_rate.add(size);
            return None;
        };
        let at_once = Turn {
            began_ns,
            due_ns: began_ns,
            is_delayed: false,
        };
        let Some(delays) = &mut self.delay else {
            return Some(at_once);
        };
        if self.overtaking.as_mut().is_some_and(Overtaking::is_next) {
            tally.overtook.add(size);
            return Some(at_once);
        }
        let mut due_ns = began_ns.saturating_add(delays.draw());
        if self.order == Order::Kept {
            due_ns = due_ns.max(self.last_due_ns);
            self.last_due_ns = due_ns;
        }
        tally.delayed.add(size);
        Some(Turn {
            began_ns,
            due_ns,
            is_delayed: true,
        })
    }

    /// One has left whose turn it was.
    pub(super) fn left(&mut self, turn: Turn, now_ns: u64) {
        self.lateness.add(now_ns.saturating_sub(turn.due_ns));
        if turn.is_delayed {
            self.observed.add(now_ns.saturating_sub(turn.began_ns));
        }
    }

    /// How they were delayed so far.
    pub(super) fn delaying(&self) -> Delaying {
        Delaying {
            requested: self.delay.as_ref().map(Delays::moments),
            observed: self.observed.times(),
            lateness: self.lateness.times(),
        }
    }
}
