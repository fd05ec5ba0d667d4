//! A store holds frames in buffers that are used again and again, and never more memory than its limit.
//!
//! Buffers have a few sizes, powers of two. Once a line has seen its traffic, holding a frame allocates nothing; free
//! buffers are given back only to make room for those of another size.

use super::schedule::Turn;

/// The sizes of buffers, as powers of two: 256 bytes to 128 KiB.
const SMALLEST: u32 = 8;
const SIZES: usize = 10;

/// A frame that is held, and what has become of it.
#[derive(Debug, Default)]
pub(super) struct Held {
    pub(super) bytes: Vec<u8>,
    /// When it leaves.
    pub(super) turn: Turn,
}

/// Frames that are held.
#[derive(Debug)]
pub(super) struct Store {
    slots: Vec<Held>,
    vacant: Vec<u32>,
    free: [Vec<Vec<u8>>; SIZES],
    frames: usize,
    /// Of the buffers in use, and of all.
    used_bytes: u64,
    allocated_bytes: u64,
    limit_bytes: u64,
}

impl Store {
    pub(super) fn new(limit_bytes: u64) -> Self {
        Self {
            slots: Vec::new(),
            vacant: Vec::new(),
            free: Default::default(),
            frames: 0,
            used_bytes: 0,
            allocated_bytes: 0,
            limit_bytes,
        }
    }

    /// How many frames are held.
    pub(super) fn frames(&self) -> usize {
        self.frames
    }

    /// Holds a frame and says where; `None` when there is no room.
    pub(super) fn put(&mut self, frame: &[u8]) -> Option<u32> {
        let size = size(frame.len())?;
        if self.used_bytes + bytes_of(size) > self.limit_bytes {
            return None;
        }
        let slot = match self.vacant.pop() {
            Some(slot) => slot,
            None => self.add_slot()?,
        };
        let mut bytes = self.buffer(size);
        bytes.clear();
        bytes.extend_from_slice(frame);
        self.slots[slot as usize].bytes = bytes;
        self.frames += 1;
        self.used_bytes += bytes_of(size);
        Some(slot)
    }

    /// The frame in that place.
    pub(super) fn held_mut(&mut self, slot: u32) -> &mut Held {
        &mut self.slots[slot as usize]
    }

    /// Takes a frame out. Its buffer comes back by [`Store::give_back`].
    pub(super) fn take(&mut self, slot: u32) -> Held {
        let held = std::mem::take(&mut self.slots[slot as usize]);
        self.vacant.push(slot);
        self.frames -= 1;
        held
    }

    /// Takes back the buffer of a frame that has left.
    pub(super) fn give_back(&mut self, buffer: Vec<u8>) {
        if let Some(size) = size(buffer.len()).filter(|_| buffer.capacity() > 0) {
            self.used_bytes -= bytes_of(size);
            self.free[size].push(buffer);
        }
    }

    fn add_slot(&mut self) -> Option<u32> {
        let slot = u32::try_from(self.slots.len()).ok()?;
        self.slots.push(Held::default());
        Some(slot)
    }

    /// A buffer of that size, for which there is room.
    fn buffer(&mut self, size: usize) -> Vec<u8> {
        if let Some(buffer) = self.free[size].pop() {
            return buffer;
        }
        while self.allocated_bytes + bytes_of(size) > self.limit_bytes {
            // There is room, so what is in the way is free.
            let Some(other) = self.free.iter().rposition(|free| !free.is_empty()) else {
                break;
            };
            self.free[other].pop();
            self.allocated_bytes -= bytes_of(other);
        }
        self.allocated_bytes += bytes_of(size);
        Vec::with_capacity(1 << (SMALLEST as usize + size))
    }
}

/// Which size of buffer a frame needs; `None` when there is none so large.
fn size(length: usize) -> Option<usize> {
    let power = length.max(1).next_power_of_two().trailing_zeros();
    let size = power.saturating_sub(SMALLEST) as usize;
    (size < SIZES).then_some(size)
}

fn bytes_of(size: usize) -> u64 {
    1 << (SMALLEST as usize + size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_used_again_and_never_exceed_the_limit() {
        let mut store = Store::new(8192);
        let put = |store: &mut Store, length| {
            let slot = store.put(&vec![7; length]);
            assert!(store.used_bytes <= store.allocated_bytes);
            assert!(store.allocated_bytes <= 8192, "{store:?}");
            slot
        };
        let small: Vec<u32> = (0..32).map(|_| put(&mut store, 256).unwrap()).collect();
        assert_eq!((store.frames(), store.used_bytes), (32, 8192));
        assert!(put(&mut store, 1).is_none());
        for slot in small {
            let held = store.take(slot);
            assert_eq!(held.bytes, [7; 256]);
            store.give_back(held.bytes);
        }
        assert_eq!((store.frames(), store.used_bytes), (0, 0));
        // The room is now needed by others.
        let large = put(&mut store, 8000).unwrap();
        assert!(store.free.iter().all(Vec::is_empty));
        let pointer = store.slots[large as usize].bytes.as_ptr();
        let held = store.take(large);
        store.give_back(held.bytes);
        let again = put(&mut store, 5000).unwrap();
        assert_eq!(store.slots[again as usize].bytes.as_ptr(), pointer);
        assert_eq!(store.allocated_bytes, 8192);
    }

    #[test]
    fn sizes_are_powers_of_two() {
        let sizes = [0, 1, 256, 257, 1524, 65_536, 65_567, 131_072, 131_073].map(size);
        let wanted = [0, 0, 0, 1, 3, 8, 9, 9].map(Some);
        assert_eq!(sizes, [&wanted[..], &[None]].concat()[..]);
    }
}
