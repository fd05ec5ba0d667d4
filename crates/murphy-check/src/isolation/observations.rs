//! Observations: which write each read saw, and what is wrong with reads before any order is asked for.
//!
//! The names of the anomalies are Elle's; the definitions are Adya's (G1a, G1b), Cerone's (internal) and Elle's.

use rustc_hash::FxHashMap;

use super::{
    Workload,
    findings::Findings,
    levels::Anomaly,
    transactions::{Fate, NONE, Transactions},
};
use crate::value::Value;

/// A read of what another transaction wrote, or of the state before all writes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Observation {
    pub transaction: u32,
    /// Position among the operations of its transaction.
    pub at: u32,
    pub key: u32,
    /// The last write of what was read; [`NONE`] for the state before all writes.
    pub source: u32,
}

/// The order of the elements of a list, as its longest read shows it.
#[derive(Clone, Debug)]
pub(super) struct ListOrder<'a> {
    /// The longest read.
    longest: &'a [Value],
    /// The transaction that read it.
    pub reader: u32,
    /// The writes of its elements, each once.
    pub writes: Vec<u32>,
    /// Whether every other read is a beginning of it; otherwise nothing is known of the order.
    pub is_agreed: bool,
}

/// What the reads of a history show.
#[derive(Debug)]
pub(super) struct Observations<'a> {
    /// In the order of transactions, and of their operations.
    pub list: Vec<Observation>,
    /// The order of each key; none for registers and for lists that nobody read as non-empty.
    pub orders: Vec<Option<ListOrder<'a>>>,
}

/// Looks at every read. Values that nobody wrote are garbage, unless the world is open.
pub(super) fn observe<'a>(
    these: &mut Transactions<'a>,
    is_open: bool,
    findings: &mut Findings,
) -> Observations<'a> {
    let before = these.list.len();
    let mut orders = Vec::new();
    if these.workload == Workload::ListAppend {
        orders = list_orders(these, findings);
    }
    let list = sources(these, &orders, before, findings);
    if !is_open {
        for transaction in garbage(these, before) {
            findings.note(Anomaly::GarbageRead, &[transaction], &[]);
        }
    }
    for transaction in 0..before {
        let transaction = u32::try_from(transaction).unwrap_or(NONE);
        if these.list[transaction as usize].fate == Fate::Ok {
            let is_internal = match these.workload {
                Workload::ListAppend => is_internal_list(these, transaction),
                Workload::RwRegister => is_internal_register(these, transaction),
            };
            if is_internal {
                findings.note(Anomaly::Internal, &[transaction], &[]);
            }
        }
    }
    Observations { list, orders }
}

/// The reads of transactions that were answered.
fn reads<'t, 'a>(
    these: &'t Transactions<'a>,
) -> impl Iterator<Item = (u32, u32, u32, &'a Value)> + 't {
    let answered = these
        .list
        .iter()
        .enumerate()
        .filter(|(_, transaction)| transaction.fate == Fate::Ok);
    answered.flat_map(|(number, _)| {
        let number = u32::try_from(number).unwrap_or(NONE);
        (0..)
            .zip(these.of(number))
            .filter(|(_, operation)| operation.is_read())
            .map(move |(at, operation)| (number, at, operation.key, operation.value))
    })
}

fn elements(value: &Value) -> &[Value] {
    value.as_list().unwrap_or_default()
}

/// The longest read of each key, whether the others are beginnings of it, and what it shows.
fn list_orders<'a>(
    these: &mut Transactions<'a>,
    findings: &mut Findings,
) -> Vec<Option<ListOrder<'a>>> {
    let mut orders: Vec<Option<ListOrder<'a>>> = vec![None; these.keys.len()];
    for (reader, _, key, value) in reads(these) {
        let list = value.as_list().unwrap_or_default();
        let order = &mut orders[key as usize];
        if list.len() > order.as_ref().map_or(0, |order| order.longest.len()) {
            *order = Some(ListOrder {
                longest: list,
                reader,
                writes: Vec::new(),
                is_agreed: true,
            });
        }
    }
    for (reader, _, key, value) in reads(these) {
        let list = elements(value);
        if let Some(order) = &mut orders[key as usize]
            && order.longest[..list.len()] != *list
        {
            order.is_agreed = false;
            findings.note(Anomaly::IncompatibleOrder, &[reader, order.reader], &[]);
        }
    }
    for (key, order) in (0..).zip(&mut orders) {
        let Some(order) = order else {
            continue;
        };
        for value in order.longest {
            let write = these.find_or_add(key, value);
            these.see(write);
            order.writes.push(write);
        }
    }
    orders
}

/// The write that each read saw; aborted, intermediate, future and repeated ones are noted.
fn sources<'a>(
    these: &mut Transactions<'a>,
    orders: &[Option<ListOrder<'a>>],
    before: usize,
    findings: &mut Findings,
) -> Vec<Observation> {
    let mut observations: Vec<Observation> = Vec::new();
    // Elements of aborted transactions and elements that come twice, by their position in the longest read.
    let spoiled: Vec<Vec<(u32, u32)>> = orders
        .iter()
        .map(|order| aborted(these, order.as_ref()))
        .collect();
    let has_twice: Vec<bool> = orders
        .iter()
        .map(|order| {
            order
                .as_ref()
                .is_none_or(|o| !o.is_agreed || twice(o.longest))
        })
        .collect();
    for transaction in 0..u32::try_from(before).unwrap_or(NONE) {
        if these.list[transaction as usize].fate != Fate::Ok {
            continue;
        }
        let operations = these.of(transaction).to_vec();
        for (at, operation) in (0..).zip(&operations) {
            if !operation.is_read() {
                continue;
            }
            let key = operation.key;
            let own = |later: bool| {
                let range = if later {
                    &operations[at as usize..]
                } else {
                    &operations[..at as usize]
                };
                range
                    .iter()
                    .filter(move |own| !own.is_read() && own.key == key)
                    .map(|own| own.write)
            };
            let mut seen = Vec::new();
            let source = match these.workload {
                Workload::RwRegister if operation.value.is_nil() => NONE,
                Workload::RwRegister => {
                    let write = these.find_or_add(key, operation.value);
                    these.see(write);
                    if these.fate_of(write) == Fate::Aborted {
                        seen.push(write);
                    }
                    write
                }
                Workload::ListAppend => {
                    let read = elements(operation.value);
                    if has_twice[key as usize] && twice(read) {
                        findings.note(Anomaly::DuplicateElements, &[transaction], &[]);
                    }
                    match &orders[key as usize] {
                        _ if read.is_empty() => NONE,
                        Some(order) if order.is_agreed => {
                            let shown = spoiled[key as usize].iter();
                            seen.extend(
                                shown
                                    .take_while(|(at, _)| (*at as usize) < read.len())
                                    .map(|(_, write)| *write),
                            );
                            order.writes[read.len() - 1]
                        }
                        _ => {
                            let mut last = NONE;
                            for value in read {
                                last = these.find_or_add(key, value);
                                these.see(last);
                                if these.fate_of(last) == Fate::Aborted {
                                    seen.push(last);
                                }
                            }
                            last
                        }
                    }
                }
            };
            if let Some(write) = seen.first() {
                let writer = these.writes[*write as usize].transaction;
                findings.note(Anomaly::G1a, &[transaction, writer], &[]);
            }
            let is_future = match these.workload {
                Workload::RwRegister => own(true).any(|write| write == source),
                Workload::ListAppend => own(true).any(|write| {
                    elements(operation.value).contains(these.writes[write as usize].value)
                }),
            };
            if is_future {
                findings.note(Anomaly::FutureRead, &[transaction], &[]);
            }
            let is_own = source != NONE && these.writes[source as usize].transaction == transaction;
            if is_own {
                continue;
            }
            if source != NONE && !these.writes[source as usize].is_last {
                let writer = these.writes[source as usize].transaction;
                findings.note(Anomaly::G1b, &[transaction, writer], &[]);
            }
            if these.workload == Workload::RwRegister && own(false).next().is_some() {
                continue;
            }
            let is_repeated = observations.last().is_some_and(|earlier| {
                (earlier.transaction, earlier.key, earlier.source) == (transaction, key, source)
            });
            if !is_repeated {
                observations.push(Observation {
                    transaction,
                    at,
                    key,
                    source,
                });
            }
        }
    }
    observations
}

/// Positions and writes of the elements that were aborted.
fn aborted(these: &Transactions<'_>, order: Option<&ListOrder<'_>>) -> Vec<(u32, u32)> {
    let writes = order.iter().flat_map(|order| (0..).zip(&order.writes));
    writes
        .filter(|(_, write)| these.fate_of(**write) == Fate::Aborted)
        .map(|(at, write)| (at, *write))
        .collect()
}

/// Whether an element comes twice.
fn twice(list: &[Value]) -> bool {
    if list.len() < 16 {
        let again = |(at, value): (usize, &Value)| list[..at].contains(value);
        return list.iter().enumerate().any(again);
    }
    let mut sorted: Vec<&Value> = list.iter().collect();
    sorted.sort_unstable();
    sorted.windows(2).any(|pair| pair[0] == pair[1])
}

/// The transactions that read a value of an outside one.
fn garbage(these: &Transactions<'_>, before: usize) -> Vec<u32> {
    if these.list.len() == before {
        return Vec::new();
    }
    let is_outside = |key: u32, value: &Value| {
        these
            .find(key, value)
            .is_some_and(|write| these.fate_of(write) == Fate::Outside)
    };
    let is_garbage = |key, value: &Value| match these.workload {
        Workload::RwRegister => !value.is_nil() && is_outside(key, value),
        Workload::ListAppend => elements(value).iter().any(|value| is_outside(key, value)),
    };
    let mut readers: Vec<u32> = reads(these)
        .filter(|(_, _, key, value)| is_garbage(*key, value))
        .map(|(reader, ..)| reader)
        .collect();
    readers.dedup();
    readers
}

/// Whether a read differs from what the transaction itself read or wrote before.
fn is_internal_register(these: &Transactions<'_>, transaction: u32) -> bool {
    let mut state: FxHashMap<u32, &Value> = FxHashMap::default();
    these.of(transaction).iter().any(|operation| {
        let before = state.insert(operation.key, operation.value);
        operation.is_read() && before.is_some_and(|before| before != operation.value)
    })
}

/// Whether a read is not what the transaction read before, with its own appends behind.
fn is_internal_list(these: &Transactions<'_>, transaction: u32) -> bool {
    let operations = these.of(transaction);
    if operations.len() < 2 {
        return false;
    }
    let mut state: FxHashMap<u32, (Option<&[Value]>, Vec<&Value>)> = FxHashMap::default();
    operations.iter().any(|operation| {
        if !operation.is_read() {
            let (_, appended) = state.entry(operation.key).or_default();
            appended.push(operation.value);
            return false;
        }
        let read = elements(operation.value);
        let before = state.insert(operation.key, (Some(read), Vec::new()));
        let Some((base, appended)) = before else {
            return false;
        };
        let start = match base {
            Some(base) => base.len(),
            None => read.len().saturating_sub(appended.len()),
        };
        let is_continued = base.is_none_or(|base| read.starts_with(base))
            && read.len() == start + appended.len()
            && read[start..].iter().eq(appended.iter().copied());
        !is_continued
    })
}
