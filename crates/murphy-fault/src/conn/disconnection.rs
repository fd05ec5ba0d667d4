//! A disconnection ends connections of a target until its time, and watches whether they come back.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use super::{
    ConnError, Connection, Engine, How, Scope, Spec, check,
    effect::{Cut, Disconnected, Draw, NAMED_MAX, Origin},
    means::{Done, Means},
    pool::{MANY, Pool},
    recovery::Beyond,
    refusing::Refusing,
    witness::{Chance, Witness},
    words,
};
use crate::{
    injector::{Injector, failures},
    journal::{Entry, number_of},
    net::Hit,
    span::Until,
    undo::Undo,
};

/// Between two draws, looking takes at most one part of the time in so many.
const LOOK_SHARE: u32 = 20;

/// The same, where there cannot be as many as before: fewer have come than have ended.
const LOOK_SELDOM_SHARE: u32 = 200;

/// Both ends are compared for at most one part of the time in so many.
const COMPARE_SHARE: u32 = 200;

/// What is heard is taken in so often, where nothing else is due.
const HEAR_EVERY: Duration = Duration::from_millis(100);

/// How long after the first comparison of both ends the last one is.
const COMPARED_AGAIN: Duration = Duration::from_millis(20);

/// How long after its end what the kernel does between the ends of a connection counts as evidence, in milliseconds.
const EVIDENT_WITHIN_MS: u64 = 5000;

/// What is to happen to which connections.
#[derive(Clone, Debug)]
pub struct Asked {
    /// What happens.
    pub spec: Spec,
    /// To which.
    pub scope: Scope,
    /// Without ports and peers: all that the target has.
    pub all_ports: bool,
    /// What ends sockets; the first that works where nothing is said.
    pub engine: Option<Engine>,
    /// What they are drawn by.
    pub seed: u64,
}

impl Asked {
    /// Whether it makes sense, without asking the machine.
    pub fn check(&self, until: Option<Until>) -> Result<(), ConnError> {
        self.spec.check(until)?;
        let scope = &self.scope;
        let of_old = [
            ("--idle", scope.idle.is_some()),
            ("--age", scope.age.is_some()),
            ("--state", !scope.states.is_empty()),
        ];
        let of_old = of_old.into_iter().find(|(_, is_asked)| *is_asked);
        if let Some((option, _)) = of_old.filter(|_| self.spec.new.is_some()) {
            return Err(ConnError::Fresh(option));
        }
        if self.scope.is_narrow() || self.all_ports {
            Ok(())
        } else {
            Err(ConnError::NoScope)
        }
    }
}

/// Connections that end, until a time or only once.
#[derive(Debug)]
pub struct Disconnection {
    // Fields are dropped in this order: nobody is hit by chance any more when the rest goes.
    witness: Option<Witness>,
    refusing: Option<Refusing>,
    entry: Entry,
    engines: String,
    /// Whether it is over with its first draw.
    is_once: bool,
    asked: Asked,
    pool: Pool,
    means: Arc<Mutex<Means>>,
    beyond: Beyond,
    began: Instant,
    next: Option<Instant>,
    /// How many must have come, of all that have, for there to be as many as before the last draw.
    awaited: u64,
    /// When it last took in what was heard.
    heard_at: Instant,
    /// When it last looked, and how long that took.
    looked: (Instant, Duration),
    /// When it last compared both ends, and how long that took.
    compared: (Instant, Duration),
    effect: Disconnected,
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
        let engines = check(&asked, hit)?;
        let mut pool = Pool::of(hit, &asked.scope)?;
        // Who holds connections is sought among all processes once, before anybody waits for the draw.
        let mut all = pool.look()?;
        if all.len() <= MANY {
            pool.own(&mut all)?;
        }
        if asked.spec.ways().any(|how| matches!(how, How::MaxAge(_))) {
            pool.with_ages();
        }
        let names: Vec<_> = hit.places.iter().map(|place| place.name.clone()).collect();
        let lasts = until.unwrap_or(Until::Forever);
        let mut entry = injector.begin("conn", &words(&asked), &names, lasts)?;
        if asked.spec.needs_programs() {
            // Links end with this process; whoever is left ends those of one that hangs.
            let id = entry.id().to_owned();
            entry.protect(&[Undo::DetachTraffic { id }])?;
        }
        let needs_programs = asked.spec.ways().any(How::holds_packets);
        let mut means = Means::new(engines.destroyer, needs_programs);
        let mut places = hit.places.iter();
        if let Err(error) = places.try_for_each(|place| means.join(place, &mut entry)) {
            // What it leaves is in the journal.
            let _ = means.leave();
            let _ = entry.end();
            return Err(error);
        }
        let now = Instant::now();
        let effect = Disconnected {
            how: asked.spec.how,
            how_new: asked.spec.how_of_new(),
            ..Disconnected::default()
        };
        Ok(Self {
            witness: None,
            refusing: None,
            engines: engines.text(),
            entry,
            is_once: until.is_none(),
            next: None,
            asked,
            pool,
            means: Arc::new(Mutex::new(means)),
            beyond: Beyond::default(),
            began: now,
            awaited: 0,
            heard_at: now,
            looked: (now, Duration::ZERO),
            compared: (now, Duration::ZERO),
            effect,
        })
    }

    /// Draws for the first time, and ends what was drawn; from here on those that come are hit, too. What has no time of
    /// its own is over with that, and so is what fails.
    pub fn begin(&mut self, hit: &Hit<'_>) -> Result<(), ConnError> {
        self.try_begin(hit).inspect_err(|_| {
            self.refusing = None;
            self.witness = None;
            // What it leaves is in the journal.
            let _ = self.lock().leave();
            let _ = self.entry.end();
        })
    }

    fn try_begin(&mut self, hit: &Hit<'_>) -> Result<(), ConnError> {
        let spec = &self.asked.spec;
        let seed = self.asked.seed;
        let chance = spec
            .new
            .zip(spec.how_of_new())
            .map(|(of, how)| Chance { of, how, seed });
        // Whoever is hit once and left alone needs no witness: the kernel has said what became of it.
        if !self.is_once {
            let is_needed = chance.is_some_and(|chance| chance.how != How::Refuse);
            let pool = Pool::of(hit, &self.asked.scope)?;
            let others = self
                .beyond
                .inodes(&self.pool)
                .map_err(ConnError::Processes)?;
            let means = Arc::clone(&self.means);
            match Witness::begin(pool, others, chance, means) {
                Ok(witness) => self.witness = Some(witness),
                Err(error) if is_needed => return Err(error),
                Err(error) => self.effect.troubles.push(error.to_string()),
            }
        }
        self.began = Instant::now();
        self.next = self.asked.spec.every.map(|every| self.began + every.0);
        if self.asked.spec.share.is_some() {
            self.draw()?;
        } else {
            let all = self.look()?;
            self.effect.before = all.len();
            self.effect.now = all.len();
        }
        if let Some(chance) = chance
            && chance.how == How::Refuse
        {
            let number = number_of(self.entry.id());
            let until_ns = self.entry.header().deadline_boottime_ns();
            let refusing = Refusing::begin(&mut self.pool, chance, number, until_ns)?;
            self.refusing = Some(refusing);
        }
        self.hear();
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Means> {
        self.means.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The id of the injection.
    pub fn id(&self) -> &str {
        self.entry.id()
    }

    /// What makes it happen.
    pub fn engines(&self) -> &str {
        &self.engines
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

    /// How long until the next draw, or until something else is due.
    pub fn until_next(&self) -> Duration {
        let until = |next: Instant| next.saturating_duration_since(Instant::now());
        let draw = self.next.map_or(Duration::MAX, until);
        draw.min(self.lock().until_due())
    }

    /// Whether there are less than before the last draw, which may change at any time.
    pub fn is_awaited(&self) -> bool {
        let last = self.effect.draws.last();
        last.is_some_and(|draw| draw.ended > 0 && draw.recovered_ms.is_none())
    }

    /// Whether somebody else has ended it.
    pub fn is_over(&self) -> bool {
        self.entry.is_over()
    }

    /// Draws again when it is time, ends what is due, and looks whether there are as many as before; says whether it has
    /// drawn.
    pub fn follow(&mut self) -> Result<bool, ConnError> {
        if self.pool.follow()? {
            let mut means = self.means.lock().unwrap_or_else(PoisonError::into_inner);
            for place in self.pool.places() {
                means.join(place, &mut self.entry)?;
            }
            drop(means);
            if let Some(refusing) = &mut self.refusing {
                refusing.follow(&mut self.pool)?;
            }
        }
        self.settle()?;
        let is_due = self.next.is_some_and(|next| next <= Instant::now());
        if is_due || self.heard_at.elapsed() >= HEAR_EVERY {
            self.hear();
        }
        if !is_due {
            let rests = |(at, took): (Instant, Duration), share| at.elapsed() > took * share;
            let share = if self.may_be_back() {
                LOOK_SHARE
            } else {
                LOOK_SELDOM_SHARE
            };
            if rests(self.looked, share) {
                let all = self.look()?;
                if rests(self.compared, COMPARE_SHARE) {
                    self.compare(&all)?;
                }
                let now = self.unhit(all).len();
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

    fn at_ms(&self) -> u64 {
        millis(self.began.elapsed())
    }

    /// Whether there may be as many as before the last draw again, by how many have come since, where that is heard.
    fn may_be_back(&self) -> bool {
        let witness = self.witness.as_ref().filter(|_| self.pool.is_whole());
        let come = witness.map(|witness| witness.heard().connects.came());
        let have_come = come.is_none_or(|come| come >= self.awaited);
        self.is_awaited() && have_come
    }

    /// Those that are there, hit or not.
    fn look(&mut self) -> Result<Vec<Connection>, ConnError> {
        let began = Instant::now();
        let all = self.pool.look()?;
        self.lock().forget_gone(&all)?;
        self.looked = (Instant::now(), began.elapsed());
        Ok(all)
    }

    /// Those of them that were not hit: who was, and is there nevertheless, is drawn no more.
    fn unhit(&self, all: Vec<Connection>) -> Vec<Connection> {
        let means = self.lock();
        let is_unhit = |one: &Connection| !means.is_spent(one);
        all.into_iter().filter(is_unhit).collect()
    }

    /// Remembers how many there are.
    fn note(&mut self, now: usize) {
        let at_ms = self.at_ms();
        self.effect.now = now;
        if let Some(draw) = self.effect.draws.last_mut()
            && draw.recovered_ms.is_none()
            && draw.ended > 0
            && now >= draw.of
        {
            draw.recovered_ms = Some(at_ms.saturating_sub(draw.at_ms));
        }
    }

    /// Compares both ends of what there is.
    fn compare(&mut self, all: &[Connection]) -> Result<(), ConnError> {
        let began = Instant::now();
        let (leaked, close_wait) = self.beyond.compare(&self.pool, all)?;
        if let Some(witness) = &self.witness {
            let others = self.beyond.inodes(&self.pool);
            witness.hear_of(others.map_err(ConnError::Processes)?);
        }
        self.compared = (Instant::now(), began.elapsed());
        let recovery = self.effect.recovery.get_or_insert_default();
        (recovery.leaked, recovery.close_wait) = (leaked, close_wait);
        Ok(())
    }

    /// Ends what is due, and counts it.
    fn settle(&mut self) -> Result<(), ConnError> {
        let settled = self.lock().settle()?;
        let at_ms = self.at_ms();
        for one in &settled {
            match one.origin {
                Origin::Drawn(number) => {
                    self.effect.ended += 1;
                    if let Some(draw) = self.effect.draws.get_mut(number) {
                        draw.ended += 1;
                    }
                }
                Origin::New => self.effect.new.get_or_insert_default().hit += 1,
            }
            if self.effect.connections.len() < NAMED_MAX {
                let cut = Cut::of(&one.connection, at_ms, one.how, one.origin);
                self.effect.connections.push(cut);
            }
        }
        let mut means = self.lock();
        let (waiting, untold) = (means.waiting(), means.untold());
        let troubles = means.take_troubles();
        drop(means);
        (self.effect.waiting, self.effect.untold) = (waiting, untold);
        for trouble in troubles {
            self.effect.trouble(trouble);
        }
        Ok(())
    }

    /// Takes in what the witness has heard.
    fn hear(&mut self) {
        self.heard_at = Instant::now();
        match self.refusing.as_ref().map(Refusing::counts) {
            Some(Ok(counts)) => self.effect.new = Some(counts),
            Some(Err(error)) => self.effect.trouble(error.to_string()),
            None => {}
        }
        let Some(witness) = &self.witness else { return };
        let mut heard = witness.heard();
        let effect = &mut self.effect;
        let room = NAMED_MAX.saturating_sub(effect.connections.len());
        let began = self.began;
        let cuts = heard.cuts.drain(..).take(room);
        effect.connections.extend(cuts.map(|(at, mut cut)| {
            cut.at_ms = millis(at.saturating_duration_since(began));
            cut
        }));
        let now_ms = millis(began.elapsed());
        // What happens later between the same ends is of another connection.
        let is_fresh = |cut: &&mut Cut| now_ms.saturating_sub(cut.at_ms) < EVIDENT_WITHIN_MS;
        for cut in effect.connections.iter_mut().filter(is_fresh) {
            let seen = heard.evidence(cut.ends.0, cut.ends.1);
            let known = cut.evidence.get_or_insert_default();
            known.closed |= seen.closed;
            known.reset_sent |= seen.reset_sent;
            known.reset_received |= seen.reset_received;
        }
        if self
            .asked
            .spec
            .how_of_new()
            .is_some_and(|how| how != How::Refuse)
        {
            let new = effect.new.get_or_insert_default();
            new.add(heard.take_new());
        }
        let recovery = effect.recovery.get_or_insert_default();
        recovery.connects = self.pool.is_whole().then_some(heard.connects);
        if let Some(trouble) = heard.trouble.take() {
            effect.trouble(trouble);
        }
    }

    fn draw(&mut self) -> Result<(), ConnError> {
        let Some(share) = self.asked.spec.share else {
            return Ok(());
        };
        let began = Instant::now();
        let at_ms = self.at_ms();
        let come = self.witness.as_ref();
        let come = come.map_or(0, |witness| witness.heard().connects.came());
        let all = self.look()?;
        let mut all = self.unhit(all);
        self.note(all.len());
        let how = self.asked.spec.how;
        let names_more = self.effect.connections.len() < NAMED_MAX;
        // Of many it takes long to find out who holds them: that is asked when they have ended, of those who keep them.
        let is_owned = how == How::Close || (names_more && all.len() <= MANY);
        if is_owned {
            self.pool.own(&mut all)?;
        }
        let mut asked = share.of(all.len());
        if let Some(cap) = self.asked.spec.cap {
            let most = cap.floor_of(self.pool.ever());
            asked = asked.min(most.saturating_sub(self.effect.asked));
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
        let mut cuts = Vec::new();
        let mut unanswered = None;
        let mut done = 0;
        let mut outcome = Ok(());
        while outcome.is_ok() && done < asked {
            let turn: Vec<_> = drawn.by_ref().take(asked - done).collect();
            if turn.is_empty() {
                // All that are left are gone by themselves.
                break;
            }
            let turn: Vec<_> = turn
                .into_iter()
                .filter_map(|place| all.get(place))
                .collect();
            let number = self.effect.draws.len();
            let ended = self.lock().end(how, &turn, Origin::Drawn(number));
            let ended = ended.unwrap_or_else(|error| {
                outcome = Err(error);
                Vec::new()
            });
            for (connection, ended) in turn.into_iter().zip(ended) {
                match ended {
                    Done::Now => {
                        draw.ended += 1;
                        if let Some(is_unanswered) = connection.is_unanswered() {
                            *unanswered.get_or_insert(0) += usize::from(is_unanswered);
                        }
                    }
                    Done::Gone => draw.redrawn += 1,
                    Done::Later => {}
                }
                if ended != Done::Gone {
                    done += 1;
                }
                if ended == Done::Now && self.effect.connections.len() + cuts.len() < NAMED_MAX {
                    cuts.push(connection.clone());
                }
            }
        }
        draw.took_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        if let Some(count) = unanswered {
            *self.effect.unanswered.get_or_insert(0) += count;
        }
        self.awaited = come + draw.ended as u64;
        self.effect.asked += draw.asked;
        self.effect.ended += draw.ended;
        self.effect.redrawn += draw.redrawn;
        let waiting = self.lock().waiting();
        self.effect.waiting = waiting;
        self.effect.now = all.len() - done - draw.redrawn;
        self.effect.draws.push(draw);
        if !is_owned {
            self.pool.own(&mut cuts)?;
        }
        let cuts = cuts.iter();
        let number = self.effect.draws.len() - 1;
        let cuts = cuts.map(|one| Cut::of(one, at_ms, how, Origin::Drawn(number)));
        self.effect.connections.extend(cuts);
        outcome
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
        let seen = self.try_end();
        self.refusing = None;
        let passes = self.lock().leave();
        self.effect.left = failures(&self.entry.end());
        seen?;
        passes?;
        Ok(self.effect)
    }

    fn try_end(&mut self) -> Result<(), ConnError> {
        if let Some(witness) = &mut self.witness {
            witness.end();
        }
        self.settle()?;
        self.hear();
        let all = self.look()?;
        if !self.is_once {
            // What is on its way while one side is looked at after the other is not left over.
            self.compare(&all)?;
            std::thread::sleep(COMPARED_AGAIN);
            let all = self.look()?;
            self.compare(&all)?;
        }
        let now = self.unhit(all).len();
        self.note(now);
        Ok(())
    }
}

/// Whole milliseconds.
pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
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
