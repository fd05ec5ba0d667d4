//! Register, registers by key, and set, as their contents.

use murphy_check::monitors::{
    Operation, Outcome,
    register::{self, Access},
    set,
};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::brute::Kind;

pub struct Register;

impl Kind for Register {
    type Event = Access;
    type State = u32;
    const NAME: &'static str = "register";
    const HAS_INITIAL: bool = true;

    fn check(history: &[Operation<Access>]) -> Outcome {
        register::check(history)
    }

    fn step(content: &u32, event: &Access) -> Vec<u32> {
        match *event {
            Access::Write(value) => vec![value],
            Access::Read(value) if value == *content => vec![value],
            Access::Read(_) => Vec::new(),
        }
    }

    fn may_not_have_happened(event: &Access) -> bool {
        matches!(event, Access::Write(_))
    }

    fn puts(event: &Access) -> Option<u32> {
        match event {
            Access::Write(value) => Some(*value),
            Access::Read(_) => None,
        }
    }

    fn sees(event: &Access) -> Option<u32> {
        match event {
            Access::Read(value) if *value > 0 => Some(*value),
            _ => None,
        }
    }

    fn groups(history: &[Operation<Access>], places: &[u32]) -> Vec<Vec<usize>> {
        let places = places.iter().map(|&at| at as usize);
        let group = |at: usize| match history[at].event {
            Access::Read(_) => vec![at],
            Access::Write(value) => {
                let of_value = |other: &usize| matches!(history[*other].event, Access::Read(v) | Access::Write(v) if v == value);
                places.clone().filter(of_value).collect()
            }
        };
        places.clone().map(group).collect()
    }

    fn any(random: &mut ChaCha8Rng) -> Access {
        let value = random.random_range(0..5);
        if random.random_ratio(2, 5) {
            Access::Write(value)
        } else {
            Access::Read(value)
        }
    }

    fn possible(random: &mut ChaCha8Rng, content: &u32, fresh: u32) -> Access {
        if random.random_ratio(2, 5) {
            Access::Write(fresh)
        } else {
            Access::Read(*content)
        }
    }

    fn unanswered(event: Access) -> Option<Access> {
        matches!(event, Access::Write(_)).then_some(event)
    }

    fn with_value(event: Access, value: u32) -> Access {
        match event {
            Access::Write(_) => Access::Write(value),
            Access::Read(_) => Access::Read(value),
        }
    }
}

/// Two registers; an event is the key and what was done.
pub struct Keyed;

impl Kind for Keyed {
    type Event = (u32, Access);
    type State = [u32; 2];
    const NAME: &'static str = "registers by key";
    const HAS_INITIAL: bool = true;

    fn check(history: &[Operation<Self::Event>]) -> Outcome {
        let keys: Vec<u32> = history.iter().map(|op| op.event.0 * 70_000).collect();
        register::check_per_key(&accesses(history), &keys)
    }

    fn step(contents: &[u32; 2], (key, access): &Self::Event) -> Vec<[u32; 2]> {
        let key = *key as usize;
        let next = Register::step(&contents[key], access).into_iter();
        next.map(|content| {
            if key == 0 {
                [content, contents[1]]
            } else {
                [contents[0], content]
            }
        })
        .collect()
    }

    fn may_not_have_happened(event: &Self::Event) -> bool {
        Register::may_not_have_happened(&event.1)
    }

    fn puts(event: &Self::Event) -> Option<u32> {
        Register::puts(&event.1)
    }

    fn sees(event: &Self::Event) -> Option<u32> {
        Register::sees(&event.1)
    }

    fn groups(history: &[Operation<Self::Event>], places: &[u32]) -> Vec<Vec<usize>> {
        Register::groups(&accesses(history), places)
    }

    fn any(random: &mut ChaCha8Rng) -> Self::Event {
        (random.random_range(0..2), Register::any(random))
    }

    fn possible(random: &mut ChaCha8Rng, contents: &[u32; 2], fresh: u32) -> Self::Event {
        let key: u32 = random.random_range(0..2);
        (
            key,
            Register::possible(random, &contents[key as usize], fresh),
        )
    }

    fn unanswered((key, access): Self::Event) -> Option<Self::Event> {
        Register::unanswered(access).map(|access| (key, access))
    }

    fn with_value((key, access): Self::Event, value: u32) -> Self::Event {
        (key, Register::with_value(access, value))
    }
}

fn accesses(history: &[Operation<(u32, Access)>]) -> Vec<Operation<Access>> {
    let access = |op: &Operation<(u32, Access)>| Operation {
        call: op.call,
        end: op.end,
        event: op.event.1,
    };
    history.iter().map(access).collect()
}

pub struct Set;

impl Kind for Set {
    type Event = set::Access;
    type State = Vec<u32>;
    const NAME: &'static str = "set";

    fn check(history: &[Operation<set::Access>]) -> Outcome {
        set::check(history)
    }

    fn step(inside: &Vec<u32>, event: &set::Access) -> Vec<Vec<u32>> {
        let has = |value: u32| inside.contains(&value);
        match *event {
            set::Access::Add(value) if !has(value) => vec![[inside.as_slice(), &[value]].concat()],
            set::Access::Remove(value) if has(value) => {
                vec![
                    inside
                        .iter()
                        .copied()
                        .filter(|&other| other != value)
                        .collect(),
                ]
            }
            set::Access::Present(value) if has(value) => vec![inside.clone()],
            set::Access::Absent(value) if !has(value) => vec![inside.clone()],
            _ => Vec::new(),
        }
    }

    fn may_not_have_happened(event: &set::Access) -> bool {
        matches!(event, set::Access::Add(_) | set::Access::Remove(_))
    }

    fn puts(event: &set::Access) -> Option<u32> {
        match event {
            set::Access::Add(value) => Some(*value),
            _ => None,
        }
    }

    fn sees(event: &set::Access) -> Option<u32> {
        match event {
            set::Access::Present(value) | set::Access::Remove(value) => Some(*value),
            _ => None,
        }
    }

    fn groups(history: &[Operation<set::Access>], places: &[u32]) -> Vec<Vec<usize>> {
        let places = places.iter().map(|&at| at as usize);
        let group = |at: usize| match history[at].event {
            set::Access::Present(_) | set::Access::Absent(_) => vec![at],
            _ => (places.clone())
                .filter(|&at| !matches!(history[at].event, set::Access::Absent(_)))
                .collect(),
        };
        places.clone().map(group).collect()
    }

    fn any(random: &mut ChaCha8Rng) -> set::Access {
        let value = random.random_range(1..4);
        match random.random_range(0..6) {
            0 | 1 => set::Access::Add(value),
            2 => set::Access::Remove(value),
            3 => set::Access::Present(value),
            _ => set::Access::Absent(value),
        }
    }

    fn possible(random: &mut ChaCha8Rng, inside: &Vec<u32>, fresh: u32) -> set::Access {
        let value = inside
            .first()
            .copied()
            .filter(|_| random.random_ratio(2, 3));
        match value {
            Some(value) if random.random_ratio(1, 3) => set::Access::Remove(value),
            Some(value) => set::Access::Present(value),
            None if random.random_ratio(1, 2) => set::Access::Add(fresh),
            None => {
                let gone = (1..9).find(|value| !inside.contains(value) && *value != fresh);
                set::Access::Absent(gone.unwrap_or(fresh))
            }
        }
    }

    fn unanswered(event: set::Access) -> Option<set::Access> {
        match event {
            set::Access::Add(_) | set::Access::Remove(_) => Some(event),
            set::Access::Present(value) => Some(set::Access::Add(value)),
            set::Access::Absent(value) => Some(set::Access::Remove(value)),
        }
    }

    fn with_value(event: set::Access, value: u32) -> set::Access {
        match event {
            set::Access::Add(_) => set::Access::Add(value),
            set::Access::Remove(_) => set::Access::Remove(value),
            set::Access::Present(_) => set::Access::Present(value),
            set::Access::Absent(_) => set::Access::Absent(value),
        }
    }
}
