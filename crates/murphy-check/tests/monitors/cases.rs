//! The cases people ask about first, and what is said of them.

use murphy_check::monitors::{
    Event::{Insert, Remove, RemoveEmpty, RemoveUnseen},
    Evidence, Inapplicable, Operation, Outcome, Reason, bag, priority_queue, queue,
    register::{
        self,
        Access::{Read, Write},
    },
    set::{
        self,
        Access::{Absent, Add, Present},
    },
    stack,
};

/// Never answered.
const NEVER: u64 = u64::MAX;

fn history<E: Copy>(operations: &[(u64, u64, E)]) -> Vec<Operation<E>> {
    let operation = |&(call, end, event)| Operation { call, end, event };
    operations.iter().map(operation).collect()
}

fn violation(outcome: Outcome) -> (Vec<u32>, Reason) {
    let Outcome::Violation(Evidence {
        operations,
        reason,
        is_smallest: true,
        ..
    }) = outcome
    else {
        panic!("{outcome:?}");
    };
    (operations, reason)
}

#[test]
fn a_value_comes_back() {
    let found = register::check(&history(&[
        (0, 10, Write(1)),
        (20, 30, Write(2)),
        (40, 50, Read(2)),
        (60, 70, Read(1)),
    ]));
    let (operations, reason) = violation(found);
    assert_eq!(operations, [0, 1, 3]);
    assert!(matches!(reason, Reason::Interleaved { .. }), "{reason:?}");
}

#[test]
fn the_initial_value_is_read_too_late() {
    let found = register::check(&history(&[(0, 10, Write(1)), (20, 30, Read(0))]));
    assert_eq!(
        violation(found),
        (vec![0, 1], Reason::Stale { early: 0, read: 1 })
    );
}

#[test]
fn a_write_that_was_never_answered_may_happen_late_or_never() {
    for read in [0, 1] {
        let found = register::check(&history(&[(0, NEVER, Write(1)), (90, 99, Read(read))]));
        assert_eq!(found, Outcome::Linearizable);
    }
    let both = register::check(&history(&[
        (0, NEVER, Write(1)),
        (90, 99, Read(1)),
        (100, 110, Read(0)),
    ]));
    assert_eq!(violation(both).1, Reason::Stale { early: 1, read: 2 });
}

#[test]
fn moments_that_are_equal_are_concurrent() {
    let touch = register::check(&history(&[(0, 10, Write(1)), (10, 20, Read(0))]));
    assert_eq!(touch, Outcome::Linearizable);
}

#[test]
fn values_that_are_read_must_be_written_once() {
    let twice = register::check(&history(&[
        (0, 1, Write(5)),
        (2, 3, Write(5)),
        (4, 5, Read(5)),
    ]));
    assert_eq!(
        twice,
        Outcome::Inapplicable(Inapplicable::Repeated { value: 5 })
    );
    let unread = register::check(&history(&[
        (0, 1, Write(5)),
        (2, 3, Write(5)),
        (4, 5, Write(6)),
        (6, 7, Read(6)),
    ]));
    assert_eq!(unread, Outcome::Linearizable);
}

#[test]
fn an_element_is_missed() {
    let found = set::check(&history(&[
        (0, 10, Add(4)),
        (20, 30, Absent(4)),
        (40, 50, Present(4)),
    ]));
    let reason = Reason::Missed {
        since: 0,
        absent: 1,
        until: None,
    };
    assert_eq!(violation(found), (vec![0, 1], reason));
}

#[test]
fn a_bag_is_said_to_be_empty() {
    let found = bag::check(&history(&[
        (0, 10, Insert(1)),
        (20, 90, Insert(2)),
        (30, 60, RemoveEmpty),
        (50, 99, Remove(1)),
    ]));
    assert_eq!(found, Outcome::Linearizable);
    let found = bag::check(&history(&[
        (0, 10, Insert(1)),
        (20, 40, Insert(2)),
        (30, 60, RemoveEmpty),
        (50, 99, Remove(1)),
    ]));
    assert_eq!(
        violation(found),
        (vec![0, 1, 2, 3], Reason::NotEmpty { empty: 2 })
    );
}

#[test]
fn a_value_is_overtaken() {
    let found = queue::check(&history(&[
        (0, 10, Insert(5)),
        (20, 30, Insert(3)),
        (40, 50, Remove(3)),
        (60, 70, Remove(5)),
    ]));
    let reason = Reason::Overtaken {
        first: 0,
        second: 1,
        removal: 2,
        late: Some(3),
    };
    assert_eq!(violation(found), (vec![0, 1, 2, 3], reason));
}

#[test]
fn two_lost_values_need_two_removals() {
    let mut operations = vec![
        (0, 10, Insert(1)),
        (20, 30, Insert(2)),
        (40, 50, Insert(3)),
        (55, NEVER, RemoveUnseen),
        (60, 70, Remove(3)),
    ];
    let Outcome::Violation(found) = queue::check(&history(&operations)) else {
        panic!("a value is lost");
    };
    assert_eq!(
        (found.operations, found.unseen),
        (vec![0, 1, 2, 4], vec![3])
    );
    assert_eq!(
        found.reason,
        Reason::Lost {
            insertion: 1,
            witness: 4
        }
    );
    operations.push((70, NEVER, RemoveUnseen));
    assert_eq!(queue::check(&history(&operations)), Outcome::Linearizable);
}

#[test]
fn values_cross_on_a_stack() {
    let found = stack::check(&history(&[
        (0, 10, Insert(1)),
        (20, 30, Insert(2)),
        (40, 50, Remove(1)),
        (60, 70, Remove(2)),
    ]));
    assert_eq!(
        violation(found),
        (vec![0, 1, 2, 3], Reason::Crossed { first: 0, last: 1 })
    );
}

#[test]
fn a_more_urgent_value_is_passed_over() {
    let found = priority_queue::check(&history(&[
        (0, 10, Insert(1)),
        (0, 10, Insert(2)),
        (20, 30, Remove(2)),
        (40, 50, Remove(1)),
    ]));
    assert_eq!(
        violation(found),
        (vec![0, 1, 2, 3], Reason::Passed { removal: 2 })
    );
}

/// A cover of a hundred thousand links is found, and not tried to death.
#[test]
fn a_long_chain_of_values_keeps_a_container_from_being_empty() {
    let count: u32 = 100_000;
    let mut operations = vec![(5, 10 * u64::from(count) - 5, RemoveEmpty)];
    for value in 0..count {
        let begin = 10 * u64::from(value);
        operations.push((begin, begin + 1, Insert(value + 1)));
        operations.push((begin + 14, begin + 15, Remove(value + 1)));
    }
    // On a stack such values cross.
    for check in [bag::check, queue::check, priority_queue::check] {
        let (operations, reason) = violation(check(&history(&operations)));
        assert_eq!(operations.len(), 2 * count as usize + 1);
        assert_eq!(reason, Reason::NotEmpty { empty: 0 });
    }
}

/// Each value is popped while the next one is inside, so the evidence is two of them, however many there are.
#[test]
fn of_a_long_chain_on_a_stack_two_values_are_enough() {
    let count: u32 = 100_000;
    let mut operations = Vec::new();
    for value in 0..count {
        let begin = 10 * u64::from(value);
        operations.push((begin, begin + 1, Insert(value + 1)));
        operations.push((begin + 14, begin + 15, Remove(value + 1)));
    }
    let (operations, _) = violation(stack::check(&history(&operations)));
    assert_eq!(operations.len(), 4);
}
