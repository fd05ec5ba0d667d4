//! Moments of the same time are put in the order of their lines where a process was answered and asked again at once.
//!
//! Events of one moment count as concurrent, because clocks are coarse. But what one process does is in the order of
//! its lines, whatever the clock: a read is behind the write that its own client was answered just before. Intervals
//! cannot say both; so at such a moment the lines, which are in the order in which events were seen, decide.

use rustc_hash::FxHashSet;

use crate::{model::Operation, recording::Recording};

/// One end of an operation.
struct Event {
    moment: u64,
    line: u32,
    place: usize,
    is_answer: bool,
}

/// Gives the operations new moments where need be, which are in the same order.
pub(super) fn untangle<A, R>(recording: &Recording, operations: &mut [Operation<A, R>]) {
    let tangled = tangled(recording, operations);
    if tangled.is_empty() {
        return;
    }
    let mut events = Vec::with_capacity(operations.len() * 2);
    for (place, operation) in operations.iter().enumerate() {
        let invocation = &recording.invocations[operation.number as usize];
        let event = |moment, line, is_answer| Event {
            moment,
            line,
            place,
            is_answer,
        };
        events.push(event(operation.call, invocation.line, false));
        if operation.answer.is_some() {
            events.push(event(operation.end, invocation.end_line, true));
        }
    }
    events.sort_by_key(|event| (event.moment, event.line));
    let (mut rank, mut last) = (0, None);
    for event in &events {
        let is_apart = last != Some(event.moment) || tangled.contains(&event.moment);
        rank += u64::from(is_apart);
        last = Some(event.moment);
        let operation = &mut operations[event.place];
        *if event.is_answer {
            &mut operation.end
        } else {
            &mut operation.call
        } = rank;
    }
}

/// The moments at which a process was answered and asked again.
fn tangled<A, R>(recording: &Recording, operations: &[Operation<A, R>]) -> FxHashSet<u64> {
    // For each process, when it was answered last; never, in the beginning.
    let mut ended = vec![u64::MAX; recording.process_count()];
    let mut tangled = FxHashSet::default();
    for operation in operations {
        let ended = &mut ended[operation.process as usize];
        if *ended == operation.call {
            tangled.insert(operation.call);
        }
        if operation.answer.is_some() {
            *ended = operation.end;
        }
    }
    tangled
}
