//! A line is one direction of a disturbed network: it takes frames, decides what becomes of each, holds those that are
//! to wait, and gives them back when they are due.
//!
//! It is the core of the engine `cable`, which reads frames from a [tap](murphy_sys::tap) and writes them back; it reads
//! no clock and moves no frame itself. To each frame happens, in this order: loss, where it is that of segments; a copy;
//! corruption; the wait for the rate; and delay, or none, if it is to overtake. A copy goes its own way from there on.
//! Everything else that a [`Spec`] asks for, partition and the loss of packets, is done before a frame comes here.
//! Whatever chance decides is drawn from a seed, and each kind from a stream of its own: the same seed and the same
//! frames at the same times have the same fate.
//!
//! Delays that differ reorder: a frame whose delay is short overtakes one before it whose delay is long, as with netem.
//! [`Order::Kept`] has each wait for the one before it. Those that the fault `reorder` lets overtake do so in any case.
//!
//! A frame of up to 64 KiB that is to be sent as many is held, copied and delayed as one. Corruption, the loss of
//! segments and low rates need frames as they are on a wire: [`frames_for`] says which a tap is to give.

mod bucket;
mod chance;
mod delay;
mod frame;
mod queue;
mod store;
mod table;
mod tally;

use std::path::PathBuf;

use murphy_sys::tap::Frames;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use self::{
    bucket::Bucket,
    chance::{Chain, Losses},
    delay::Delays,
    queue::Queue,
    store::Store,
    tally::Watch,
};
pub use self::{
    delay::Moments,
    table::{ENTRIES_MAX, Table, TableError},
    tally::{Count, Delaying, Tally, Times},
};
use crate::net::spec::{Distribution, LossUnit, Reorder, Spec};

/// The longest frame that is to be sent as many, in bytes.
const LARGE_BYTES: u64 = 65_536;
/// A rate that takes longer than this for one of them would pass traffic in jolts.
const JOLT_NS: u64 = 1_000_000;

/// Why there is no line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// The table of the distribution was not given.
    #[error("delay packets by the table {0}: the table was not read")]
    NoTable(PathBuf),
}

/// What a line may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// So many frames.
    pub frames: usize,
    /// So much memory for them, in bytes; a frame takes up to twice its length.
    pub bytes: u64,
}

/// Whether frames may overtake each other because their delays differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// They may, as with netem.
    #[default]
    Free,
    /// They leave in the order in which they came. Who waits for one before it takes longer than was asked.
    Kept,
}

/// One direction of a disturbed network.
#[derive(Debug)]
pub struct Line {
    loss: Option<Losses>,
    duplicate: Option<Chain>,
    corrupt: Option<Chain>,
    bucket: Option<Bucket>,
    delay: Option<Delays>,
    overtaking: Option<Overtaking>,
    order: Order,
    /// When the last one is due that was given a delay.
    last_due_ns: u64,
    limits: Limits,
    store: Store,
    queue: Queue,
    /// The frame that was released last.
    leaving: Vec<u8>,
    held: Count,
    tally: Tally,
    observed: Watch,
    lateness: Watch,
}

/// Which frames are given no delay.
#[derive(Debug)]
struct Overtaking {
    chain: Chain,
    gap: u32,
    /// How many were delayed since the last that was not.
    passed: u32,
}

/// What draws from a seed.
#[derive(Clone, Copy)]
enum Stream {
    Loss,
    Duplicate,
    Corrupt,
    Delay,
    Reorder,
}

impl Stream {
    fn of(self, seed: u64) -> ChaCha8Rng {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        random.set_stream(self as u64);
        random
    }
}

impl Default for Limits {
    /// Enough for 10 Gbit/s that are delayed by 100 ms.
    fn default() -> Self {
        Self {
            frames: 131_072,
            bytes: 256 << 20,
        }
    }
}

impl Overtaking {
    fn new(reorder: Reorder, seed: u64) -> Self {
        Self {
            chain: Chain::new(reorder.chance, Stream::Reorder.of(seed)),
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

/// What frames a tap is to give for a spec: as they are on a wire, where one frame that is to be sent as many cannot be
/// treated as is asked, or would burst through a rate.
pub fn frames_for(spec: &Spec) -> Frames {
    let loses_segments = spec.loss.is_some() && spec.loss_unit == LossUnit::Segment;
    let is_narrow = spec.rate.is_some_and(|shaper| {
        let is_slow = shaper.rate.time_of(LARGE_BYTES) > JOLT_NS;
        // One that is longer than what may wait would never pass a busy line; each of its segments has headers.
        shaper.limit.0 < 2 * LARGE_BYTES || (is_slow && shaper.burst.0 < LARGE_BYTES)
    });
    if spec.corrupt.is_some() || loses_segments || is_narrow {
        Frames::Wire
    } else {
        Frames::Large
    }
}

impl Line {
    /// An empty line for a spec that has been checked. `table` is that of its distribution, where it has one.
    pub fn new(
        spec: &Spec,
        table: Option<&Table>,
        order: Order,
        limits: Limits,
        seed: u64,
    ) -> Result<Self, LineError> {
        let chain = |chance, stream: Stream| Chain::new(chance, stream.of(seed));
        let delay = match &spec.delay {
            None => None,
            Some(delay) => match Delays::new(delay, table, Stream::Delay.of(seed)) {
                Some(delays) => Some(delays),
                None => return Err(LineError::no_table(&delay.distribution)),
            },
        };
        Ok(Self {
            loss: spec
                .loss
                .filter(|_| spec.loss_unit == LossUnit::Segment)
                .map(|loss| Losses::new(loss, Stream::Loss.of(seed))),
            duplicate: spec
                .duplicate
                .map(|chance| chain(chance, Stream::Duplicate)),
            corrupt: spec.corrupt.map(|chance| chain(chance, Stream::Corrupt)),
            bucket: spec.rate.map(Bucket::new),
            delay,
            overtaking: spec.reorder.map(|reorder| Overtaking::new(reorder, seed)),
            order,
            last_due_ns: 0,
            limits,
            store: Store::new(limits.bytes),
            queue: Queue::default(),
            leaving: Vec::new(),
            held: Count::default(),
            tally: Tally::default(),
            observed: Watch::new(),
            lateness: Watch::new(),
        })
    }

    /// Takes a frame with its header of virtio. `now_ns` is on the caller's clock, which does not go back.
    pub fn take(&mut self, now_ns: u64, frame: &[u8]) {
        self.reclaim();
        let bytes = frame::bytes(frame);
        self.tally.taken.add(bytes);
        if self.loss.as_mut().is_some_and(Losses::is_hit) {
            self.tally.lost.add(bytes);
            return;
        }
        let is_double = self.duplicate.as_mut().is_some_and(Chain::is_hit);
        self.hold(now_ns, frame, bytes);
        if is_double {
            self.tally.duplicated.add(bytes);
            self.hold(now_ns, frame, bytes);
        }
    }

    fn hold(&mut self, now_ns: u64, frame: &[u8], bytes: u64) {
        let is_corrupt = self.corrupt.as_mut().is_some_and(Chain::is_hit);
        if self.store.frames() >= self.limits.frames {
            return self.tally.over_frames.add(bytes);
        }
        let Some(slot) = self.store.put(frame) else {
            return self.tally.over_bytes.add(bytes);
        };
        let began_ns = match &mut self.bucket {
            Some(bucket) => bucket.admit(now_ns, frame::wire_bytes(frame)),
            None => Some(now_ns),
        };
        let Some(began_ns) = began_ns else {
            let held = self.store.take(slot);
            self.store.give_back(held.bytes);
            return self.tally.over_rate.add(bytes);
        };
        let (due_ns, is_delayed) = self.delay(began_ns, bytes);
        let held = self.store.held_mut(slot);
        (held.began_ns, held.is_delayed) = (began_ns, is_delayed);
        if let Some(chain) = self.corrupt.as_mut().filter(|_| is_corrupt) {
            if frame::corrupt(&mut held.bytes, chain.random()) {
                self.tally.corrupted.add(bytes);
            } else {
                self.tally.not_corrupted.add(bytes);
            }
        }
        self.held.add(bytes);
        self.queue.push(due_ns, slot);
    }

    /// When a frame is due whose delay begins then, and whether it is given any.
    fn delay(&mut self, began_ns: u64, bytes: u64) -> (u64, bool) {
        let Some(delays) = &mut self.delay else {
            return (began_ns, false);
        };
        if self.overtaking.as_mut().is_some_and(Overtaking::is_next) {
            self.tally.overtook.add(bytes);
            return (began_ns, false);
        }
        let mut due_ns = began_ns.saturating_add(delays.draw());
        if self.order == Order::Kept {
            due_ns = due_ns.max(self.last_due_ns);
            self.last_due_ns = due_ns;
        }
        self.tally.delayed.add(bytes);
        (due_ns, true)
    }

    /// When the next frame is to be released; `None` when there is none.
    pub fn due(&self) -> Option<u64> {
        self.queue.first().map(|place| place.due_ns)
    }

    /// The next frame that is due by now: in the order of due times, and of arrival where these are equal.
    pub fn release(&mut self, now_ns: u64) -> Option<&[u8]> {
        let due_ns = self.due().filter(|due_ns| *due_ns <= now_ns)?;
        self.lateness.add(now_ns - due_ns);
        let (began_ns, is_delayed) = self.leave()?;
        if is_delayed {
            self.observed.add(now_ns.saturating_sub(began_ns));
        }
        Some(&self.leaving)
    }

    /// The next frame, whether it is due or not: for the end of a fault, after which none is to be missing.
    pub fn flush(&mut self) -> Option<&[u8]> {
        self.leave()?;
        Some(&self.leaving)
    }

    /// Moves the next frame to where it leaves from, and says when its delay began, and whether it was given any.
    fn leave(&mut self) -> Option<(u64, bool)> {
        self.reclaim();
        let place = self.queue.pop()?;
        let held = self.store.take(place.slot);
        let bytes = frame::bytes(&held.bytes);
        self.held.remove(bytes);
        self.tally.released.add(bytes);
        self.leaving = held.bytes;
        Some((held.began_ns, held.is_delayed))
    }

    /// Has the buffer of the frame that was released last used again.
    fn reclaim(&mut self) {
        self.store.give_back(std::mem::take(&mut self.leaving));
    }

    /// What is held now.
    pub fn held(&self) -> Count {
        self.held
    }

    /// What became of all frames so far.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// How frames were delayed so far.
    pub fn delaying(&self) -> Delaying {
        Delaying {
            requested: self.delay.as_ref().map(Delays::moments),
            observed: self.observed.times(),
            lateness: self.lateness.times(),
        }
    }
}

impl LineError {
    fn no_table(distribution: &Distribution) -> Self {
        Self::NoTable(distribution.to_string().into())
    }
}

#[cfg(test)]
mod tests;
