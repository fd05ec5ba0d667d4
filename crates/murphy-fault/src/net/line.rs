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
mod packets;
mod queue;
mod schedule;
mod store;
mod table;
mod tally;

use std::path::PathBuf;

use murphy_sys::tap::Frames;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use self::{
    chance::{Chain, Losses},
    queue::Queue,
    schedule::{Schedule, Turn},
    store::Store,
};
pub use self::{
    delay::Moments,
    packets::{Fate, Packets},
    table::{ENTRIES_MAX, Table, TableError},
    tally::{Count, Delaying, Size, Tally, Times},
};
use crate::net::spec::{Distribution, LossUnit, Spec};

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
    schedule: Schedule,
    limits: Limits,
    store: Store,
    queue: Queue,
    /// The frame that was released last.
    leaving: Vec<u8>,
    held: Count,
    tally: Tally,
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
        Ok(Self {
            loss: spec
                .loss
                .filter(|_| spec.loss_unit == LossUnit::Segment)
                .map(|loss| Losses::new(loss, Stream::Loss.of(seed))),
            duplicate: spec
                .duplicate
                .map(|chance| chain(chance, Stream::Duplicate)),
            corrupt: spec.corrupt.map(|chance| chain(chance, Stream::Corrupt)),
            schedule: Schedule::new(spec, table, order, seed)?,
            limits,
            store: Store::new(limits.bytes),
            queue: Queue::default(),
            leaving: Vec::new(),
            held: Count::default(),
            tally: Tally::default(),
        })
    }

    /// Takes a frame with its header of virtio. `now_ns` is on the caller's clock, which does not go back.
    pub fn take(&mut self, now_ns: u64, frame: &[u8]) {
        self.reclaim();
        let size = frame::size(frame);
        self.tally.taken.add(size);
        if self.loss.as_mut().is_some_and(Losses::is_hit) {
            self.tally.lost.add(size);
            return;
        }
        let is_double = self.duplicate.as_mut().is_some_and(Chain::is_hit);
        self.hold(now_ns, frame, size);
        if is_double {
            self.tally.duplicated.add(size);
            self.hold(now_ns, frame, size);
        }
    }

    fn hold(&mut self, now_ns: u64, frame: &[u8], size: Size) {
        let is_corrupt = self.corrupt.as_mut().is_some_and(Chain::is_hit);
        if self.store.frames() >= self.limits.frames {
            return self.tally.over_frames.add(size);
        }
        let Some(slot) = self.store.put(frame) else {
            return self.tally.over_bytes.add(size);
        };
        let wire_bytes = || frame::wire_bytes(frame);
        let turn = self
            .schedule
            .turn(now_ns, size, wire_bytes, &mut self.tally);
        let Some(turn) = turn else {
            let held = self.store.take(slot);
            return self.store.give_back(held.bytes);
        };
        let held = self.store.held_mut(slot);
        held.turn = turn;
        if let Some(chain) = self.corrupt.as_mut().filter(|_| is_corrupt) {
            if frame::corrupt(&mut held.bytes, chain.random()) {
                self.tally.corrupted.add(size);
            } else {
                self.tally.not_corrupted.add(size);
            }
        }
        self.held.add(size);
        self.queue.push(turn.due_ns, slot);
    }

    /// When the next frame is to be released; `None` when there is none.
    pub fn due(&self) -> Option<u64> {
        self.queue.first().map(|place| place.due_ns)
    }

    /// The next frame that is due by now: in the order of due times, and of arrival where these are equal.
    pub fn release(&mut self, now_ns: u64) -> Option<&[u8]> {
        self.due().filter(|due_ns| *due_ns <= now_ns)?;
        let turn = self.leave()?;
        self.schedule.left(turn, now_ns);
        Some(&self.leaving)
    }

    /// The next frame, whether it is due or not: for the end of a fault, after which none is to be missing.
    pub fn flush(&mut self) -> Option<&[u8]> {
        self.leave()?;
        Some(&self.leaving)
    }

    /// Moves the next frame to where it leaves from, and says when its turn was.
    fn leave(&mut self) -> Option<Turn> {
        self.reclaim();
        let place = self.queue.pop()?;
        let held = self.store.take(place.slot);
        let size = frame::size(&held.bytes);
        self.held.remove(size);
        self.tally.released.add(size);
        self.leaving = held.bytes;
        Some(held.turn)
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
        self.schedule.delaying()
    }
}

impl LineError {
    fn no_table(distribution: &Distribution) -> Self {
        Self::NoTable(distribution.to_string().into())
    }
}

#[cfg(test)]
mod tests;
