//! The lives of a key: every way in which it can have come and gone, tried revision by revision.
//!
//! The facts are clues to the key's state behind a revision, or to what a revision did to it. Between them whoever
//! asked for it may have written what no fact denies. All states that are possible behind a revision are kept; where
//! none is left, the clues contradict each other.

use rustc_hash::FxHashMap;

use super::{
    Answer, Ask, Fact, Id, NONE, Op, Pair, Record, Run, Span, Target, UNREAD,
    whereabouts::{Asked, Deed, Whereabouts, each_deed, each_done},
};
use crate::etcd::{record::Condition, vocabulary::Relation};

/// Most states and revisions that are tried before nothing is said.
const STATES: usize = 2_048;
const REVISIONS: u64 = 1 << 16;

/// A key behind a revision; `None` for what is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Absent,
    Present {
        changed: Option<i64>,
        created: Option<i64>,
        version: Option<i64>,
        lease: Option<i64>,
        value: Option<Id>,
    },
}

const SOMETHING: State = State::Present {
    changed: None,
    created: None,
    version: None,
    lease: None,
    value: None,
};

/// What a fact says of the key behind a revision.
#[derive(Clone, Copy, Debug)]
enum Clue {
    /// It is this pair.
    Is(Pair),
    /// It is there, or is not.
    Exists(bool),
    /// The condition holds, or does not.
    Holds(Condition, bool),
}

/// What a fact says that a revision did to the key.
#[derive(Clone, Copy, Debug)]
enum Told {
    Put(Pair),
    Deleted,
    Nothing,
    /// What the acknowledged write did that the facts name.
    Acknowledged(Id),
}

/// What the facts say of one key.
pub(super) struct Lives<'a> {
    asked: &'a Asked<'a>,
    whereabouts: &'a Whereabouts<'a>,
    key: Id,
    clues: FxHashMap<i64, Vec<Clue>>,
    told: FxHashMap<i64, Vec<Told>>,
}

/// The operation whose answer is read.
#[derive(Clone, Copy)]
struct Reading {
    revision: i64,
    writes: bool,
    /// How often it writes the key itself: its reads may come before or after that.
    touches: u32,
}

impl<'a> Lives<'a> {
    pub(super) fn new(
        asked: &'a Asked<'a>,
        whereabouts: &'a Whereabouts<'a>,
        key: Id,
        facts: &[Fact],
    ) -> Self {
        let mut lives = Self {
            asked,
            whereabouts,
            key,
            clues: FxHashMap::default(),
            told: FxHashMap::default(),
        };
        for fact in facts {
            lives.read(*fact);
        }
        lives
    }

    /// Whether no life of the key fits the facts.
    pub(super) fn is_impossible(&self) -> bool {
        self.states(i64::MAX)
            .is_some_and(|states| states.is_empty())
    }

    /// Whether the key can be there behind `revision`, and whether it can be missing.
    pub(super) fn at(&self, revision: i64) -> (bool, bool) {
        self.states(revision).map_or((true, true), |states| {
            (
                states.iter().any(|state| *state != State::Absent),
                states.contains(&State::Absent),
            )
        })
    }

    /// The states behind `until`, or behind the last clue; `None` where there are too many.
    fn states(&self, until: i64) -> Option<Vec<State>> {
        let known = self.clues.keys().chain(self.told.keys());
        let Some(first) = known.clone().min().copied() else {
            return Some(vec![State::Absent, SOMETHING]);
        };
        let last = known.max().copied().unwrap_or(first);
        let last = if until < i64::MAX { until } else { last };
        if first > last {
            return Some(vec![State::Absent, SOMETHING]);
        }
        if first.abs_diff(last) > REVISIONS {
            return None;
        }
        let mut states = vec![State::Absent];
        if first > 2 && self.can_be_put_before(first) {
            states.push(SOMETHING);
        }
        for revision in first..=last {
            states = self.step(&states, revision);
            if let Some(clues) = self.clues.get(&revision) {
                for clue in clues {
                    states = states
                        .iter()
                        .filter_map(|state| self.fit(*state, *clue))
                        .collect();
                }
            }
            if states.len() > STATES {
                return None;
            }
            if states.is_empty() {
                return Some(states);
            }
        }
        Some(states)
    }

    fn can_be_put_before(&self, first: i64) -> bool {
        self.asked.may_be_put_before(self.key, first) || !self.begins_empty()
    }

    fn begins_empty(&self) -> bool {
        (2..=3).any(|revision| self.asked.is_owned(revision))
    }

    /// The states behind `revision`, of those behind the one before.
    fn step(&self, states: &[State], revision: i64) -> Vec<State> {
        let record = self.asked.record();
        let mut next: Vec<State> = Vec::new();
        let mut add = |state: State| {
            if !next.contains(&state) {
                next.push(state);
            }
        };
        if let Some(told) = self.told.get(&revision) {
            for state in states {
                let mut after = Some(*state);
                for (place, told) in told.iter().enumerate() {
                    let by_this = self.tell(*state, revision, *told);
                    // Two facts about one revision tell of one change.
                    after = match (place, after, by_this) {
                        (0, _, by_this) => by_this,
                        (_, Some(one), Some(other)) => merge(one, other),
                        _ => None,
                    };
                }
                after.into_iter().for_each(&mut add);
            }
            return next;
        }
        let mut deeds: Vec<Deed> = Vec::new();
        let owners = self.asked.owners(revision);
        for id in owners {
            let op = self.asked.op(*id);
            if let Some(answer) = record.answer(op) {
                each_done(record, record.ask(op), answer, self.key, &mut |deed| {
                    deeds.push(deed);
                });
            }
        }
        if owners.is_empty() && revision > 1 {
            for id in self.asked.unseen() {
                let ask = record.ask(self.asked.op(*id));
                let before = deeds.len();
                each_deed(record, ask, self.key, &mut |deed| deeds.push(deed));
                if deeds.len() > before && !self.whereabouts.may_be(*id, revision) {
                    deeds.truncate(before);
                }
            }
        }
        let clues = self.clues.get(&revision).map_or(&[][..], Vec::as_slice);
        for state in states {
            add(*state);
            for deed in &deeds {
                add(self.done(*state, revision, *deed));
            }
            for clue in clues {
                // Who wrote what was shown is another question.
                if let Clue::Is(pair) = clue
                    && pair.mod_revision == revision
                {
                    let told = self.tell(*state, revision, Told::Put(*pair));
                    told.into_iter().for_each(&mut add);
                }
            }
        }
        next
    }

    fn done(&self, state: State, revision: i64, deed: Deed) -> State {
        let record = self.asked.record();
        match (deed, state) {
            (Deed::Put(value, lease), State::Absent) => State::Present {
                changed: Some(revision),
                created: Some(revision),
                version: Some(1),
                lease: Some(record.leases[lease as usize]),
                value: Some(value),
            },
            (
                Deed::Put(value, lease),
                State::Present {
                    created, version, ..
                },
            ) => State::Present {
                changed: Some(revision),
                created,
                version: version.map(|version| version.saturating_add(1)),
                lease: Some(record.leases[lease as usize]),
                value: Some(value),
            },
            (Deed::End(ended), State::Present { lease, .. })
                if lease.is_some_and(|lease| lease != record.leases[ended as usize]) =>
            {
                state
            }
            _ => State::Absent,
        }
    }

    fn tell(&self, state: State, revision: i64, told: Told) -> Option<State> {
        let record = self.asked.record();
        match told {
            Told::Nothing => Some(state),
            Told::Deleted => (state != State::Absent).then_some(State::Absent),
            Told::Put(pair) => {
                let (created, version) = match state {
                    State::Absent => (Some(revision), Some(1)),
                    State::Present {
                        created, version, ..
                    } => (created, version.map(|version| version.saturating_add(1))),
                };
                let after = State::Present {
                    changed: Some(revision),
                    created,
                    version,
                    lease: None,
                    value: None,
                };
                let is_new = state == State::Absent;
                if !record.is_unnumbered && is_new != (pair.version == 1) {
                    return None;
                }
                self.fit(after, Clue::Is(pair))
            }
            Told::Acknowledged(id) => {
                let op = self.asked.op(id);
                let mut after = state;
                let answer = record.answer(op)?;
                each_done(record, record.ask(op), answer, self.key, &mut |deed| {
                    after = self.done(after, revision, deed);
                });
                Some(after)
            }
        }
    }

    fn fit(&self, state: State, clue: Clue) -> Option<State> {
        match (clue, state) {
            (Clue::Exists(exists), state) => (exists == (state != State::Absent)).then_some(state),
            // What was there before the first clue is none of the pairs that were shown: they are clues, too.
            (Clue::Is(_), State::Absent | State::Present { changed: None, .. }) => None,
            (Clue::Is(pair), state) => {
                let is_numbered = !self.asked.record().is_unnumbered;
                merge(
                    state,
                    State::Present {
                        changed: Some(pair.mod_revision),
                        created: is_numbered.then_some(pair.create_revision),
                        version: is_numbered.then_some(pair.version),
                        lease: is_numbered.then_some(pair.lease),
                        value: (pair.value != UNREAD).then_some(pair.value),
                    },
                )
            }
            (Clue::Holds(condition, holds), state) => self
                .holds(&condition, state)
                .is_none_or(|does| does == holds)
                .then_some(state),
        }
    }

    /// Whether the condition holds of the state; `None` where that is not known.
    fn holds(&self, condition: &Condition, state: State) -> Option<bool> {
        let values = &self.asked.record().values;
        let (numbers, stored) = match state {
            State::Absent => ([Some(0); 4], None),
            State::Present {
                changed,
                created,
                version,
                lease,
                value,
            } => ([version, created, changed, lease], value),
        };
        let order = match condition.target {
            Target::Version(given) => numbers[0]?.cmp(&given),
            Target::Create(given) => numbers[1]?.cmp(&given),
            Target::Mod(given) => numbers[2]?.cmp(&given),
            Target::Lease(given) => numbers[3]?.cmp(&given),
            Target::Value(_) if state == State::Absent => return Some(false),
            Target::Value(given) => values.get(stored?).cmp(values.get(given)),
        };
        Some(match condition.relation {
            Relation::Equal => order.is_eq(),
            Relation::Greater => order.is_gt(),
            Relation::Less => order.is_lt(),
            Relation::NotEqual => order.is_ne(),
        })
    }

    fn read(&mut self, fact: Fact) {
        let (record, pairs) = (self.asked.record(), self.asked.words.pairs);
        match fact {
            Fact::Op(id) => self.op(id),
            Fact::Shown(id, pair) => {
                self.op(id);
                self.pair(pair);
            }
            Fact::Event(stream, event) => {
                let of = &record.streams[stream];
                let revision = pairs.get(of.events[event]).mod_revision;
                if !record.contains(of.span, self.key) {
                    return;
                }
                let mut events = of.events.iter().map(|id| pairs.get(*id));
                let told = events
                    .find(|pair| pair.mod_revision == revision && pair.key == self.key)
                    .map_or(Told::Nothing, |pair| {
                        if pair.is_gone() {
                            Told::Deleted
                        } else {
                            Told::Put(pair)
                        }
                    });
                self.told.entry(revision).or_default().push(told);
            }
            Fact::Prev(stream, event) => {
                let of = &record.streams[stream];
                let pair = pairs.get(of.events[event]);
                if let Some(prev) = of.prevs.get(event).filter(|_| pair.key == self.key) {
                    self.shown(pair.mod_revision - 1, *prev);
                }
            }
            _ => {}
        }
    }

    /// A pair of the key was shown somewhere.
    fn pair(&mut self, id: Id) {
        let pair = self.asked.words.pairs.get(id);
        if pair.key == self.key && !pair.is_gone() {
            let clues = self.clues.entry(pair.mod_revision).or_default();
            clues.push(Clue::Is(pair));
        }
    }

    fn shown(&mut self, at: i64, id: Id) {
        let clue = match id {
            NONE => Clue::Exists(false),
            id => Clue::Is(self.asked.words.pairs.get(id)),
        };
        self.clues.entry(at).or_default().push(clue);
        if id != NONE {
            self.pair(id);
        }
    }

    fn op(&mut self, id: Id) {
        let record = self.asked.record();
        let op: &Op = self.asked.op(id);
        let ask = record.ask(op);
        let Some(answer) = record.answer(op).filter(|_| Record::is_kv(ask)) else {
            return;
        };
        let mut touches = 0;
        each_done(record, ask, answer, self.key, &mut |_| touches += 1);
        let writes = record.wrote(answer);
        if writes {
            let told = self.told.entry(op.revision).or_default();
            told.push(Told::Acknowledged(id));
        }
        let reading = Reading {
            revision: op.revision,
            writes,
            touches,
        };
        self.answer(ask, answer, reading);
    }

    fn answer(&mut self, ask: Ask, answer: Answer, of: Reading) {
        let record = self.asked.record();
        let before = of.revision - i64::from(of.writes);
        match (ask, answer) {
            (
                Ask::Put {
                    key, prev_kv: true, ..
                },
                Answer::Put { prev },
            ) if key == self.key => {
                self.shown(before, prev);
            }
            (Ask::Delete { span, prev_kv }, Answer::Delete { deleted, prev })
                if record.contains(span, self.key) =>
            {
                if prev_kv && prev.len == deleted && deleted > 0 {
                    let found = self.find(prev);
                    self.shown(before, found);
                } else if !of.writes {
                    self.clues
                        .entry(before)
                        .or_default()
                        .push(Clue::Exists(false));
                } else if span.end == NONE && deleted == 1 {
                    self.clues
                        .entry(before)
                        .or_default()
                        .push(Clue::Exists(true));
                }
            }
            (Ask::Range { span, options }, Answer::Range { kvs, more, .. })
                if record.contains(span, self.key) =>
            {
                let options = record.options[options as usize];
                if options.count_only {
                    return;
                }
                if options.revision == 0 && of.writes && of.touches > 0 {
                    let found = self.find(kvs);
                    if found != NONE && of.touches == 1 {
                        // The pair tells whether the read came before or after the write.
                        let shown = self.asked.words.pairs.get(found).mod_revision;
                        let is_before = shown < of.revision;
                        self.shown(if is_before { before } else { of.revision }, found);
                    }
                    return;
                }
                let at = if options.revision > 0 {
                    options.revision
                } else {
                    of.revision
                };
                let found = self.find(kvs);
                if found != NONE || !(options.limit > 0 && more) || !self.is_behind(kvs) {
                    self.shown(at, found);
                }
            }
            (Ask::Txn(txn), Answer::Txn { succeeded, answers }) => {
                let txn = record.txns[txn as usize];
                let conditions = &record.conditions[txn.compare.range()];
                for condition in conditions {
                    let is_ours = condition.span.end == NONE && condition.span.key == self.key;
                    if is_ours && (succeeded || conditions.len() == 1) {
                        let clue = Clue::Holds(*condition, succeeded);
                        self.clues.entry(before).or_default().push(clue);
                    }
                }
                let branch = if succeeded { txn.success } else { txn.failure };
                let asks = record.asks[branch.range()].iter();
                for (ask, answer) in asks.zip(&record.answers[answers.range()]) {
                    self.answer(*ask, *answer, of);
                }
            }
            _ => {}
        }
    }

    fn find(&self, run: Run) -> Id {
        let pairs = self.asked.words.pairs;
        let mut shown = self.asked.record().lists[run.range()].iter();
        shown
            .find(|id| pairs.get(**id).key == self.key)
            .map_or(NONE, |id| *id)
    }

    fn is_behind(&self, run: Run) -> bool {
        let record = self.asked.record();
        let last = record.lists[run.range()].last();
        last.is_none_or(|last| {
            record.keys.get(self.key) > record.keys.get(self.asked.words.pairs.get(*last).key)
        })
    }
}

/// What both states say; `None` where they differ.
fn merge(one: State, other: State) -> Option<State> {
    let (
        State::Present {
            changed,
            created,
            version,
            lease,
            value,
        },
        State::Present {
            changed: changed_too,
            created: created_too,
            version: version_too,
            lease: lease_too,
            value: value_too,
        },
    ) = (one, other)
    else {
        return (one == other).then_some(one);
    };
    let agrees = agree(changed, changed_too)
        && agree(created, created_too)
        && agree(version, version_too)
        && agree(lease, lease_too)
        && agree(value, value_too);
    agrees.then_some(State::Present {
        changed: changed.or(changed_too),
        created: created.or(created_too),
        version: version.or(version_too),
        lease: lease.or(lease_too),
        value: value.or(value_too),
    })
}

fn agree<T: Copy + PartialEq>(one: Option<T>, other: Option<T>) -> bool {
    one.is_none() || other.is_none() || one == other
}

/// A number of keys that an answer gives: of the span, behind the revision.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counted {
    pub(super) span: Span,
    pub(super) at: i64,
    pub(super) count: u32,
}

/// What the operation says of how many keys there are.
pub(super) fn each_count(record: &Record, op: &Op, each: &mut impl FnMut(Counted)) {
    if let Some(answer) = record.answer(op) {
        let writes = record.wrote(answer);
        count_in(record, record.ask(op), answer, (op.revision, writes), each);
    }
}

fn count_in(
    record: &Record,
    ask: Ask,
    answer: Answer,
    (revision, writes): (i64, bool),
    each: &mut impl FnMut(Counted),
) {
    match (ask, answer) {
        (Ask::Range { span, options }, Answer::Range { count, .. }) => {
            let asked = record.options[options as usize].revision;
            if asked > 0 || !writes {
                let at = if asked > 0 { asked } else { revision };
                each(Counted { span, at, count });
            }
        }
        (Ask::Delete { span, .. }, Answer::Delete { deleted, .. }) => each(Counted {
            span,
            at: revision - i64::from(writes),
            count: deleted,
        }),
        (Ask::Txn(txn), Answer::Txn { succeeded, answers }) if !writes => {
            let txn = record.txns[txn as usize];
            let branch = if succeeded { txn.success } else { txn.failure };
            let asks = record.asks[branch.range()].iter();
            for (ask, answer) in asks.zip(&record.answers[answers.range()]) {
                count_in(record, *ask, *answer, (revision, writes), each);
            }
        }
        _ => {}
    }
}
