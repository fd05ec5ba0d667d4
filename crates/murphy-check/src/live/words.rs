//! How a contradiction that was found live is told.

use super::part::Evidence;
use crate::{
    brute::Precedence,
    judge::{PROMISE, quick::Quick, words::Teller},
    recording::Recording,
    search::{self, Case, Found},
    shrink::{Shrunk, shrink},
    text::{counted, grouped},
    verdict::{Judgement, Verdict, Witness},
};

/// So many states are named in which a witness may begin.
const STATES_SAID: usize = 4;

/// The judgement on operations that have no legal order.
pub(super) fn broken<M: Quick>(
    model: &M,
    recording: &Recording,
    evidence: &Evidence<M>,
    operations: u64,
    parts: usize,
) -> Judgement {
    let shrunk = smallest(model, evidence);
    let teller = Teller { model, recording };
    let is_needed = |o: &&crate::model::OperationOf<M>| o.answer.is_some();
    let needed = shrunk.operations.iter().filter(is_needed).count();
    let within = if parts > 1 {
        format!("1 of {} keys, ", grouped(parts as u64))
    } else {
        String::new()
    };
    let size = if shrunk.is_minimal {
        "smallest witness"
    } else {
        "witness (not made smaller)"
    };
    Judgement {
        promise: PROMISE.into(),
        verdict: Verdict::Broken,
        reason: format!(
            "{within}{size} {needed} of the first {}",
            counted(operations, "operation")
        ),
        witness: Some(Witness {
            sentence: format!("{}{}", teller.sentence(&shrunk), before(model, &shrunk)),
            lines: (shrunk.operations.iter())
                .map(|operation| teller.line(operation))
                .collect(),
            members: Vec::new(),
            confirmed: shrunk.is_confirmed,
        }),
    }
}

/// Where the witness begins, unless that is the beginning.
fn before<M: Quick>(model: &M, shrunk: &Shrunk<M>) -> String {
    if shrunk.initial == [model.initial()] {
        return String::new();
    }
    let said: Vec<_> = shrunk
        .initial
        .iter()
        .take(STATES_SAID)
        .map(|state| model.say_state(state))
        .collect();
    let more = match shrunk.initial.len().saturating_sub(STATES_SAID) {
        0 => String::new(),
        more => format!(" or {} more", grouped(more as u64)),
    };
    format!(" Before, there was {}{more}.", said.join(" or "))
}

fn smallest<M: Quick>(model: &M, evidence: &Evidence<M>) -> Shrunk<M> {
    let case = Case {
        initial: evidence.initial.clone(),
        operations: evidence.operations.iter().collect(),
    };
    let limits = search::Limits {
        memory: 256 << 20,
        time: Some(std::time::Duration::from_secs(5)),
        threads: 1,
    };
    let illegal = match (&evidence.illegal, evidence.is_whole) {
        (_, false) => None,
        (Some(illegal), true) => Some(illegal.clone()),
        (None, true) => match search::search(model, &case, &limits) {
            Found::Illegal(illegal) => Some(illegal),
            _ => None,
        },
    };
    illegal.map_or_else(
        || Shrunk {
            initial: evidence.initial.clone(),
            operations: evidence.operations.clone(),
            precedence: Precedence::RealTime,
            is_confirmed: false,
            is_minimal: false,
        },
        |illegal| shrink(model, &case, &illegal, limits.time),
    )
}
