//! Models `queue`, `unordered-queue`, `stack` and `priority-queue`: values are put in and taken out, in some order.

use std::marker::PhantomData;

use smallvec::SmallVec;

use super::words::{number, unknown_f};
use crate::{
    atoms::{Atom, Atoms, NIL},
    model::{Kept, Model, Request, Vocabulary},
    value::Value,
};

/// Which value comes out first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The one that has been in for longest.
    First,
    /// The one that came in last.
    Last,
    /// Any.
    Any,
    /// The least.
    Least,
}

/// What kind of container.
pub trait Discipline {
    /// The model's name.
    const NAME: &'static str;
    /// Which value comes out first.
    const ORDER: Order;
    /// The word for putting a value in.
    const PUT: &'static str;
    /// The word for taking a value out.
    const TAKE: &'static str;
}

/// A container that is empty in the beginning.
#[derive(Clone, Debug, Default)]
pub struct Container<D> {
    atoms: Atoms,
    discipline: PhantomData<D>,
}

macro_rules! discipline {
    ($(#[$doc:meta])* $container:ident, $discipline:ident, $name:literal, $order:ident, $put:literal, $take:literal) => {
        $(#[$doc])*
        pub type $container = Container<$discipline>;

        #[doc = concat!("The order of a `", $name, "`.")]
        #[derive(Clone, Copy, Debug, Default)]
        pub struct $discipline;

        impl Discipline for $discipline {
            const NAME: &'static str = $name;
            const ORDER: Order = Order::$order;
            const PUT: &'static str = $put;
            const TAKE: &'static str = $take;
        }
    };
}

discipline!(
    /// A queue: first in, first out.
    Queue, Fifo, "queue", First, "enqueue", "dequeue"
);
discipline!(
    /// A queue without an order, which is a multiset.
    Bag, Unordered, "unordered-queue", Any, "enqueue", "dequeue"
);
discipline!(
    /// A stack: last in, first out.
    Stack, Lifo, "stack", Last, "push", "pop"
);
discipline!(
    /// A priority queue of whole numbers: the least comes out first.
    PriorityQueue, LeastFirst, "priority-queue", Least, "insert", "delete_min"
);

/// A request to a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// A value is put in.
    Put(Atom),
    /// A value is taken out; the answer is nil where there is none.
    Take,
}

impl<D: Discipline> Container<D> {
    /// Where a value goes in.
    fn place(&self, state: &[Atom], value: Atom) -> usize {
        match D::ORDER {
            Order::First | Order::Last => state.len(),
            Order::Any => state.partition_point(|other| *other <= value),
            Order::Least => {
                let priority = |atom| self.atoms.value(atom).as_int();
                state.partition_point(|other| priority(*other) <= priority(value))
            }
        }
    }
}

impl<D> Container<D> {
    /// For each value, by its number, how many are less: its rank among the numbers that the values are.
    pub(crate) fn ranks(&self) -> Vec<u32> {
        let mut atoms: Vec<Atom> = (0..self.atoms.count()).collect();
        atoms.sort_by_key(|atom| self.atoms.value(*atom).as_int());
        let mut ranks = vec![0; atoms.len()];
        for (rank, atom) in (0..).zip(atoms) {
            ranks[atom as usize] = rank;
        }
        ranks
    }
}

impl<D: Discipline> Model for Container<D> {
    type State = SmallVec<[Atom; 4]>;
    type Ask = Ask;
    /// The value taken out; nothing is made of it for one put in.
    type Answer = Atom;

    fn initial(&self) -> Self::State {
        SmallVec::new()
    }

    fn step(
        &self,
        state: &Self::State,
        ask: &Ask,
        answer: Option<&Atom>,
        next: &mut dyn FnMut(Self::State),
    ) {
        let without = |place: usize| {
            let mut state = state.clone();
            state.remove(place);
            state
        };
        match (ask, answer) {
            (Ask::Put(value), _) => {
                let mut state = state.clone();
                state.insert(self.place(&state, *value), *value);
                next(state);
            }
            (Ask::Take, Some(&NIL)) => {
                if state.is_empty() {
                    next(state.clone());
                }
            }
            (Ask::Take, Some(value)) => {
                let place = match D::ORDER {
                    Order::First | Order::Least => 0,
                    Order::Last => state.len().saturating_sub(1),
                    Order::Any => state.partition_point(|other| other < value),
                };
                if state.get(place) == Some(value) {
                    next(without(place));
                }
            }
            (Ask::Take, None) => match D::ORDER {
                _ if state.is_empty() => {}
                Order::First | Order::Least => next(without(0)),
                Order::Last => next(without(state.len() - 1)),
                Order::Any => {
                    for place in 0..state.len() {
                        if place == 0 || state[place] != state[place - 1] {
                            next(without(place));
                        }
                    }
                }
            },
        }
    }

    fn is_read(&self, ask: &Ask, answer: Option<&Atom>) -> bool {
        *ask == Ask::Take && answer == Some(&NIL)
    }

    fn group(&self, ask: &Ask, answer: Option<&Atom>) -> Option<u64> {
        match (ask, answer) {
            (Ask::Put(value), _) => Some(u64::from(*value)),
            (Ask::Take, answer) => answer.copied().map(u64::from),
        }
    }

    fn state_bytes(&self, state: &Self::State) -> usize {
        size_of_val(state)
            + if state.spilled() {
                state.capacity() * 4
            } else {
                0
            }
    }

    fn tells(&self, ask: &Ask, _: &Atom) -> bool {
        *ask == Ask::Take
    }

    fn can_lead_to<'a>(
        &self,
        state: &Self::State,
        ask: &Ask,
        answer: &Atom,
        mut between: impl Iterator<Item = &'a Ask>,
    ) -> bool {
        let is_in = *ask != Ask::Take || *answer == NIL || state.contains(answer);
        is_in || between.any(|ask| *ask == Ask::Put(*answer))
    }
}

impl<D: Discipline> Vocabulary for Container<D> {
    const NAME: &'static str = D::NAME;

    fn ask(&mut self, request: Request<'_>) -> Result<Ask, Box<str>> {
        if request.f == D::PUT {
            if D::ORDER == Order::Least {
                number(request.f, request.value)?;
            }
            if request.value.is_nil() {
                return Err(format!(
                    "expected a value for `{}`: nil is the answer of an empty one",
                    D::PUT
                )
                .into());
            }
            return Ok(Ask::Put(self.atoms.of(request.value)));
        }
        if request.f == D::TAKE {
            return Ok(Ask::Take);
        }
        unknown_f(request.f, D::NAME, &format!("{} and {}", D::PUT, D::TAKE))
    }

    fn answer(&mut self, _: &Ask, value: &Value) -> Result<Atom, Box<str>> {
        Ok(self.atoms.of(value))
    }

    fn say_ask(&self, ask: &Ask) -> String {
        match ask {
            Ask::Put(value) => format!("{} {}", D::PUT, self.atoms.value(*value)),
            Ask::Take => D::TAKE.into(),
        }
    }

    fn say_answer(&self, ask: &Ask, answer: &Atom) -> String {
        match (ask, *answer) {
            (Ask::Put(_), _) => String::new(),
            (Ask::Take, NIL) => "nothing".into(),
            (Ask::Take, value) => self.atoms.say(value),
        }
    }

    fn say_state(&self, state: &Self::State) -> String {
        self.atoms.say_all(state)
    }

    fn forget(&mut self, kept: &mut Kept<'_, Self>) {
        let put = kept.asks.iter().filter_map(|ask| match ask {
            Ask::Put(value) => Some(*value),
            Ask::Take => None,
        });
        let taken = kept.answers.iter().map(|value| **value);
        let held = kept.states.iter().flat_map(|state| state.iter().copied());
        self.atoms.retain(&put.chain(taken).chain(held).collect());
    }
}
