//! A disconnection ends connections of a target until its time, and watches whether they come back.

use std::{
    collections::{BTreeMap, HashSet},
    time::{Duration, Instant},
};

use murphy_sys::connections::{Ended, SocketId, close};
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use super::{
    ConnError, Connection, How, Scope, Spec, check,
    pool::{Owner, Pool},
    scope::Side,
    words,
};
use crate::{
    injector::{Injector, failures},
    journal::Entry,
    net::Hit,
    span::Until,
};

/// How many connections an effect names.
const NAMED_MAX: usize = 1000;

/// Between two draws, looking takes at most one part of the time in so many.
const LOOK_SHARE: u32 = 20;

/// What is to happen to which connections.
#[derive(Clone, Debug)]
pub struct Asked {
    /// What happens.
    pub spec: Spec,
    /// To which.
    pub scope: Scope,
    /// Without ports and peers: all that the target has.
    pub all_ports: bool,
    /// What they are drawn by.
    pub seed: u64,
}

impl Asked {
    /// Whether it makes sense, without asking the machine.
    pub fn check(&self, until: Option<Until>) -> Result<(), ConnError> {
        self.spec.check(until)?;
        let scope = &self.scope;
        let names_ports = [&scope.ports, &scope.local_ports, &scope.remote_ports]
            .iter()
            .any(|ports| !ports.is_empty());
        if names_ports || !scope.peers.is_empty() || self.all_ports {
            Ok(())
        } else {
            Err(ConnError::NoScope)
        }
    }
}

/// Connections that end, until a time or only once.
#[derive(Debug)]
pub struct Disconnection {
    entry: Entry,
    /// Whether it is over with its first draw.
    is_once: bool,
    asked: Asked,
    pool: Pool,
    began: Instant,
    next: Option<Instant>,
    /// When it last looked, and how long that took.
    looked_at: Instant,
    look_took: Duration,
    /// By their cookies: all that were ever drawn from.
    seen: HashSet<u64>,
    effect: Disconnected,
}

/// What was done, and what came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Disconnected {
    /// How many were there at first.
    pub before: usize,
    /// How many were there when last looked at.
    pub now: usize,
    /// How many were to end, over all draws.
    pub asked: usize,
    /// How many the kernel has ended.
    pub ended: usize,
    /// How many were gone by themselves when it was their turn; others were drawn for them.
    pub redrawn: usize,
    /// Each draw.
    pub draws: Vec<Draw>,
    /// Which they were: the first thousand.
    pub connections: Vec<Cut>,
    /// What could not be undone.
    pub left: Vec<String>,
}

/// One draw.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Draw {
    /// When, in milliseconds since the first.
    pub at_ms: u64,
    /// From how many.
    pub of: usize,
    /// How many were to end.
    pub asked: usize,
    /// How many the kernel has ended.
    pub ended: usize,
    /// How many others were drawn for those that were gone.
    pub redrawn: usize,
    /// How long listing, drawing and ending took, in microseconds.
    pub took_us: u64,
    /// After how many milliseconds there were as many again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovered_ms: Option<u64>,
}

/// One connection that was ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cut {
    /// When, in milliseconds since the first draw.
    pub at_ms: u64,
    /// The target's end.
    pub local: String,
    /// The other end.
    pub remote: String,
    /// Who asked for it.
    pub side: Side,
    /// Who held it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
    /// How it ended.
    pub how: How,
}

impl Disconnected {
    /// Whether any connection was ended.
    pub fn had_effect(&self) -> bool {
        self.ended > 0
    }

    /// The effect in words.
    pub fn text(&self) -> String {
        let draws = match self.draws.len() {
            1 => String::new(),
            n => format!(" in {n} draws"),
        };
        let redrawn = match self.redrawn {
            0 => String::new(),
            n => format!(", {n} of them for others that were gone"),
        };
        let last = self.draws.last().and_then(|draw| draw.recovered_ms);
        let now = match last {
            Some(ms) => format!("{} now, as many as before after {ms} ms", self.now),
            None => format!("{} now", self.now),
        };
        format!(
            "{} of {} drawn were ended{draws}{redrawn}; {} at first, {now}",
            self.ended, self.asked, self.before
        )
    }
}

/// The order in which connections are drawn, of so many, the nth time.
pub(super) fn order_of(seed: u64, draw: u64, count: usize) -> Vec<usize> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(draw);
    let mut order: Vec<_> = (0..count).collect();
    order.shuffle(&mut rng);
    order
}

impl Disconnection {
    /// Writes into the journal what is to happen; nothing has changed yet.
    pub fn prepare(
        injector: &Injector,
        hit: &Hit<'_>,
        asked: Asked,
        until: Option<Until>,
    ) -> Result<Self, ConnError> {
        asked.check(until)?;
        check(&asked, hit)?;
        let pool = Pool::of(&hit.places, hit.target, &asked.scope)?;
        let names: Vec<_> = hit.places.iter().map(|place| place.name.clone()).collect();
        let lasts = until.unwrap_or(Until::Forever);
        let entry = injector.begin("conn", &words(&asked), &names, lasts)?;
        let began = Instant::now();
        Ok(Self {
            entry,
            is_once: until.is_none(),
            next: None,
            asked,
            pool,
            began,
            looked_at: began,
            look_took: Duration::ZERO,
            seen: HashSet::new(),
            effect: Disconnected::default(),
        })
    }

    /// Draws for the first time, and ends what was drawn. What has no time of its own is over with that, and so is what
    /// fails.
    pub fn begin(&mut self) -> Result<(), ConnError> {
        self.began = Instant::now();
        self.next = self.asked.spec.every.map(|every| self.began + every.0);
        self.draw().inspect_err(|_| {
            let _ = self.entry.end();
        })
    }

    /// The id of the injection.
    pub fn id(&self) -> &str {
        self.entry.id()
    }

    /// How long it still lasts.
    pub fn left(&self) -> Duration {
        if self.is_once {
            return Duration::ZERO;
        }
        let ends = self.entry.header().deadline_boottime_ns();
        ends.map_or(Duration::MAX, |ends| {
            Duration::from_nanos(ends.saturating_sub(murphy_sys::clock::boottime_ns()))
        })
    }

    /// How long until the next draw.
    pub fn until_next(&self) -> Duration {
        let until = |next: Instant| next.saturating_duration_since(Instant::now());
        self.next.map_or(Duration::MAX, until)
    }

    /// Whether somebody else has ended it.
    pub fn is_over(&self) -> bool {
        self.entry.is_over()
    }

    /// Draws again when it is time, and looks whether there are as many as before; says whether it has drawn.
    pub fn follow(&mut self) -> Result<bool, ConnError> {
        let is_due = self.next.is_some_and(|next| next <= Instant::now());
        if !is_due {
            let is_rested = self.looked_at.elapsed() > self.look_took * LOOK_SHARE;
            if is_rested {
                let now = self.look(false)?.len();
                self.note(now);
            }
            return Ok(false);
        }
        if let Some(every) = self.asked.spec.every {
            // What was missed while Murphy hung is left out.
            while self.next.is_some_and(|next| next <= Instant::now()) {
                self.next = self.next.map(|next| next + every.0);
            }
        }
        self.draw()?;
        Ok(true)
    }

    fn look(&mut self, with_owners: bool) -> Result<Vec<Connection>, ConnError> {
        let began = Instant::now();
        let all = self.pool.look(with_owners)?;
        self.looked_at = Instant::now();
        self.look_took = self.looked_at - began;
        Ok(all)
    }

    /// Remembers how many there are.
    fn note(&mut self, now: usize) {
        let ms = self.began.elapsed().as_millis();
        self.effect.now = now;
        if let Some(draw) = self.effect.draws.last_mut()
            && draw.recovered_ms.is_none()
            && draw.ended > 0
            && now >= draw.of
        {
            let ms = u64::try_from(ms).unwrap_or(u64::MAX);
            draw.recovered_ms = Some(ms.saturating_sub(draw.at_ms));
        }
    }

    fn draw(&mut self) -> Result<(), ConnError> {
        let began = Instant::now();
        let at_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let all = self.look(true)?;
        self.note(all.len());
        self.seen.extend(all.iter().map(|one| one.socket.id.cookie));
        let mut asked = self.asked.spec.share.of(all.len());
        if let Some(cap) = self.asked.spec.cap {
            let most = cap.floor_of(self.seen.len());
            asked = asked.min(most.saturating_sub(self.effect.ended));
        }
        if self.effect.draws.is_empty() {
            self.effect.before = all.len();
        }
        let number = self.effect.draws.len() as u64;
        let mut drawn = order_of(self.asked.seed, number, all.len()).into_iter();
        let mut draw = Draw {
            at_ms,
            of: all.len(),
            asked,
            ..Draw::default()
        };
        let mut outcome = Ok(());
        while outcome.is_ok() && draw.ended < asked {
            let turn: Vec<_> = drawn.by_ref().take(asked - draw.ended).collect();
            if turn.is_empty() {
                // All that are left are gone by themselves.
                break;
            }
            let turn: Vec<_> = turn
                .into_iter()
                .filter_map(|place| all.get(place))
                .collect();
            let ended = self.end_all(&turn).unwrap_or_else(|error| {
                outcome = Err(error);
                Vec::new()
            });
            for (connection, ended) in ended {
                match ended {
                    Ended::Now => draw.ended += 1,
                    Ended::Gone => draw.redrawn += 1,
                }
                if ended == Ended::Now && self.effect.connections.len() < NAMED_MAX {
                    let cut = Cut::of(connection, at_ms, self.asked.spec.how);
                    self.effect.connections.push(cut);
                }
            }
        }
        draw.took_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.effect.asked += draw.asked;
        self.effect.ended += draw.ended;
        self.effect.redrawn += draw.redrawn;
        self.effect.now = all.len() - draw.ended - draw.redrawn;
        self.effect.draws.push(draw);
        outcome
    }

    fn end_all<'a>(
        &mut self,
        turn: &[&'a Connection],
    ) -> Result<Vec<(&'a Connection, Ended)>, ConnError> {
        let mut places: BTreeMap<u64, Vec<&'a Connection>> = BTreeMap::new();
        for connection in turn {
            places.entry(connection.place).or_default().push(connection);
        }
        let mut all = Vec::new();
        for (place, turn) in places {
            let ended = match self.asked.spec.how {
                How::Reset => {
                    let ids: Vec<SocketId> = turn.iter().map(|one| one.socket.id).collect();
                    let connections = self.pool.connections(place);
                    connections.ok_or(ConnError::Nobody)?.end(&ids)?
                }
                How::Close => turn
                    .iter()
                    .map(|one| close_one(one))
                    .collect::<Result<_, _>>()?,
            };
            all.extend(turn.into_iter().zip(ended));
        }
        Ok(all)
    }

    /// What it has done so far.
    pub fn effect(&self) -> &Disconnected {
        &self.effect
    }

    /// What it has done so far, for whoever asks by `murphy ls`, too.
    pub fn say(&self) -> Result<&Disconnected, ConnError> {
        self.entry.say(&self.effect, &self.effect.text())?;
        Ok(&self.effect)
    }

    /// Ends it; what has happened has happened.
    pub fn end(mut self) -> Result<Disconnected, ConnError> {
        let seen = self.look(false).map(|all| self.note(all.len()));
        self.effect.left = failures(&self.entry.end());
        seen?;
        Ok(self.effect)
    }
}

fn close_one(connection: &Connection) -> Result<Ended, ConnError> {
    let Some(owner) = &connection.owner else {
        return Err(ConnError::NoOwner(connection.socket.id.to_string()));
    };
    Ok(close(owner.pid, owner.descriptor, &connection.socket.id)?)
}

impl Cut {
    fn of(connection: &Connection, at_ms: u64, how: How) -> Self {
        let (local, remote) = connection.socket.id.ends();
        Self {
            at_ms,
            local: local.to_string(),
            remote: remote.to_string(),
            side: connection.side,
            owner: connection.owner.clone(),
            how,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_same_and_each_draw_another_order() {
        assert_eq!(order_of(7, 0, 50), order_of(7, 0, 50));
        assert_ne!(order_of(7, 0, 50), order_of(7, 1, 50));
        assert_ne!(order_of(7, 0, 50), order_of(8, 0, 50));
        let mut all = order_of(7, 3, 50);
        all.sort_unstable();
        assert!(all.into_iter().eq(0..50));
        assert!(order_of(7, 0, 0).is_empty());
    }

    #[test]
    fn nobody_is_drawn_more_often_than_others() {
        // 2,000 draws of 3 from 10: each is expected 600 times; χ² with 9 degrees of freedom is below 27.9 with a
        // probability of 0.999 (the draws of one time exclude each other, which makes it smaller by 7/9).
        let (draws, k, n) = (2000, 3, 10);
        let mut counts = [0_u32; 10];
        for draw in 0..draws {
            for place in order_of(11, draw, n).into_iter().take(k) {
                counts[place] += 1;
            }
        }
        let expected = draws as f64 * k as f64 / n as f64;
        let square = |count: &u32| (f64::from(*count) - expected).powi(2) / expected;
        let chi: f64 = counts.iter().map(square).sum();
        assert!(chi < 27.9 * 7.0 / 9.0, "{chi}: {counts:?}");
    }
}
