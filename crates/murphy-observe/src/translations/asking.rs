//! Asking says which connections are asked for: each of the first, and where there are many, one of each edge every few
//! seconds.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use super::Made;
use crate::edge::Edge;

/// So many are asked for in a second, and so many at once after a quiet one.
pub const ASKED_MAX: u32 = 50;
/// An edge for which there is no room is asked for again not before.
pub const AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Which connections are asked for.
#[derive(Debug, Default)]
pub struct Asking {
    turns: BTreeMap<Edge, Turn>,
    /// Whose turn it is as soon as there is room.
    queue: VecDeque<Edge>,
    /// How many may be asked for now, and when that was so.
    room: Option<(f64, Instant)>,
}

/// An edge that was asked for, or waits for that.
#[derive(Debug, Default)]
struct Turn {
    asked_at: Option<Instant>,
    /// The connection that waits, the last that was made.
    waiting: Option<Made>,
}

impl Asking {
    /// Those of the connections that were made, or wait, that are asked for now.
    pub fn choose(
        &mut self,
        made: impl Iterator<Item = (Edge, Vec<Made>)>,
        now: Instant,
    ) -> Vec<(Edge, Made)> {
        let mut chosen = Vec::new();
        let mut room = self.room_at(now);
        while room >= 1.0 {
            let Some(edge) = self.queue.pop_front() else {
                break;
            };
            let turn = self.turns.get_mut(&edge);
            if let Some((turn, made)) = turn.and_then(|turn| {
                let made = turn.waiting.take()?;
                Some((turn, made))
            }) {
                turn.asked_at = Some(now);
                room -= 1.0;
                chosen.push((edge, made));
            }
        }
        for (edge, all) in made {
            let turn = self.turns.entry(edge.clone()).or_default();
            for made in all {
                if room >= 1.0 {
                    turn.asked_at = Some(now);
                    room -= 1.0;
                    chosen.push((edge.clone(), made));
                } else if turn.waiting.is_some() {
                    turn.waiting = Some(made);
                } else if turn
                    .asked_at
                    .is_none_or(|at| now.saturating_duration_since(at) >= AGAIN_AFTER)
                {
                    turn.waiting = Some(made);
                    self.queue.push_back(edge.clone());
                }
            }
        }
        self.room = Some((room, now));
        chosen
    }

    fn room_at(&self, now: Instant) -> f64 {
        let most = f64::from(ASKED_MAX);
        self.room.map_or(most, |(room, at)| {
            let since = now.saturating_duration_since(at);
            (room + since.as_secs_f64() * most).min(most)
        })
    }

    /// Forgets edges that are not there any more.
    pub fn keep(&mut self, is_there: impl Fn(&Edge) -> bool) {
        self.turns.retain(|edge, _| is_there(edge));
        self.queue.retain(is_there);
    }
}
