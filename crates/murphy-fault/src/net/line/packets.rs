//! A line of packets that wait where they are: by their numbers, in the kernel. What it decides is what a [`super::Line`]
//! decides of frames, but for what needs the frame itself: copies and corruption.

use std::collections::HashMap;

use super::{
    Delaying, LineError, Order, Size, Stream, Table, Tally,
    chance::Losses,
    queue::Queue,
    schedule::{Schedule, Turn},
};
use crate::net::spec::Spec;

/// What becomes of a packet that has just come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is lost, as was asked.
    Lost,
    /// It is dropped: too many wait for the rate.
    Dropped,
    /// It waits; [`Packets::release`] gives it back.
    Waits,
    /// It passes at once: the line holds as many as it may.
    Passes,
}

/// Packets by their numbers: one direction of a disturbed network.
#[derive(Debug)]
pub struct Packets {
    loss: Option<Losses>,
    schedule: Schedule,
    queue: Queue,
    /// Those that wait: their turns, and how much they are.
    held: HashMap<u32, (Turn, Size)>,
    limit: usize,
    tally: Tally,
}

impl Packets {
    /// An empty line for a spec that has been checked, which holds at most `limit` packets. `table` is that of its
    /// distribution, where it has one. Whole packets are lost here.
    pub fn new(
        spec: &Spec,
        table: Option<&Table>,
        limit: usize,
        seed: u64,
    ) -> Result<Self, LineError> {
        let losses = |loss| Losses::new(loss, Stream::Loss.of(seed));
        Ok(Self {
            loss: spec.loss.map(losses),
            schedule: Schedule::new(spec, table, Order::Free, seed)?,
            queue: Queue::default(),
            held: HashMap::new(),
            limit,
            tally: Tally::default(),
        })
    }

    /// Takes a packet. Its number is that of no other that waits; `now_ns` is on the caller's clock, which does not go
    /// back. Lost ones are not among what was taken.
    pub fn take(&mut self, now_ns: u64, number: u32, size: Size, wire_bytes: u64) -> Fate {
        if self.loss.as_mut().is_some_and(Losses::is_hit) {
            return Fate::Lost;
        }
        self.tally.taken.add(size);
        if self.held.len() >= self.limit {
            self.tally.over_frames.add(size);
            return Fate::Passes;
        }
        let turn = self
            .schedule
            .turn(now_ns, size, || wire_bytes, &mut self.tally);
        let Some(turn) = turn else {
            return Fate::Dropped;
        };
        self.held.insert(number, (turn, size));
        self.queue.push(turn.due_ns, number);
        Fate::Waits
    }

    /// When the next packet is to be released; `None` when there is none.
    pub fn due(&self) -> Option<u64> {
        self.queue.first().map(|place| place.due_ns)
    }

    /// The next packet that is due by now: in the order of due times, and of arrival where these are equal.
    pub fn release(&mut self, now_ns: u64) -> Option<u32> {
        self.due().filter(|due_ns| *due_ns <= now_ns)?;
        let (number, turn) = self.leave()?;
        self.schedule.left(turn, now_ns);
        Some(number)
    }

    /// The next packet, whether it is due or not: for the end of a fault, after which none is to be missing.
    pub fn flush(&mut self) -> Option<u32> {
        self.leave().map(|(number, _)| number)
    }

    fn leave(&mut self) -> Option<(u32, Turn)> {
        let number = self.queue.pop()?.slot;
        let (turn, size) = self.held.remove(&number)?;
        self.tally.released.add(size);
        Some((number, turn))
    }

    /// What became of all packets so far.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// How packets were delayed so far.
    pub fn delaying(&self) -> Delaying {
        self.schedule.delaying()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A packet that is one on a wire.
    fn one(bytes: u64) -> Size {
        Size { segments: 1, bytes }
    }
    use crate::net::{
        line::{Limits, Line},
        spec::{Delay, Loss, Reorder, Shaper},
    };

    const MS: u64 = 1_000_000;

    fn spec(words: &str) -> Spec {
        let chance = |text: &str| crate::net::spec::Chance::independent(text.parse().unwrap());
        let delay = Delay {
            base: "50ms".parse().unwrap(),
            jitter: "10ms".parse().unwrap(),
            correlation: crate::ratio::Ratio::ZERO,
            distribution: crate::net::spec::Distribution::Uniform,
        };
        let (mut all, none) = (Spec::default(), Spec::default());
        for word in words.split(' ') {
            match word {
                "delay" => all.delay = Some(delay.clone()),
                "reorder" => {
                    all.reorder = Some(Reorder {
                        chance: chance("25%"),
                        gap: 3.try_into().unwrap(),
                    });
                }
                "rate" => all.rate = Some(Shaper::at("1mbit".parse().unwrap())),
                "loss" => all.loss = Some(Loss::Random(chance("30%"))),
                _ => assert_eq!(all, none),
            }
        }
        all
    }

    #[test]
    fn packets_leave_when_frames_of_the_same_seed_do() {
        for words in ["delay", "delay reorder", "rate", "rate delay"] {
            let spec = spec(words);
            let mut frames = Line::new(&spec, None, Order::Free, Limits::default(), 6).unwrap();
            let mut packets = Packets::new(&spec, None, 1 << 20, 6).unwrap();
            let frame = [0_u8; 110];
            for number in 0..500 {
                let now_ns = u64::from(number) * MS;
                frames.take(now_ns, &frame);
                assert_eq!(packets.take(now_ns, number, one(100), 100), Fate::Waits);
            }
            for now in 0..3000 {
                loop {
                    assert_eq!(frames.due(), packets.due());
                    let frame = frames.release(now * MS).is_some();
                    assert_eq!(packets.release(now * MS).is_some(), frame);
                    if !frame {
                        break;
                    }
                }
            }
            assert_eq!(frames.tally(), packets.tally());
            assert_eq!(frames.delaying(), packets.delaying());
            assert_eq!(packets.tally().released.frames, 500);
        }
    }

    #[test]
    fn whole_packets_are_lost_and_those_beyond_the_limit_pass() {
        let mut lossy = Packets::new(&spec("loss"), None, 1 << 20, 6).unwrap();
        let lost = (0..10_000).filter(|number| lossy.take(0, *number, one(1), 1) == Fate::Lost);
        let lost = lost.count() as f64;
        assert!((lost - 3000.0).abs() < 4.0 * (10_000.0_f64 * 0.3 * 0.7).sqrt());
        let mut narrow = Packets::new(&spec("delay"), None, 2, 6).unwrap();
        let fates = [1, 2, 3].map(|number| narrow.take(0, number, one(9), 9));
        assert_eq!(fates, [Fate::Waits, Fate::Waits, Fate::Passes]);
        assert_eq!(narrow.tally().over_frames.frames, 1);
        let mut rest: Vec<u32> = std::iter::from_fn(|| narrow.flush()).collect();
        rest.sort_unstable();
        assert_eq!((rest, narrow.due()), (vec![1, 2], None));
        let mut slow = spec("rate");
        if let Some(shaper) = &mut slow.rate {
            (shaper.burst.0, shaper.limit.0) = (0, 1000);
        }
        let mut slow = Packets::new(&slow, None, 1 << 20, 6).unwrap();
        let fates = [1, 2, 3].map(|number| slow.take(0, number, one(800), 800));
        // The first one leaves at once.
        assert_eq!(fates, [Fate::Waits, Fate::Waits, Fate::Dropped]);
        assert_eq!(slow.tally().over_rate.frames, 1);
    }
}
