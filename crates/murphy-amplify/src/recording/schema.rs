//! The schema of a recording: each of its lines is one of three objects. A test holds the fields against
//! what [`crate::recorder::Writer`] writes.

use murphy_sys::census::{Kind, Operation};
use serde_json::{Value, json};

use crate::{
    fields::{self, Field, Holds},
    recorder::{MURPHY, VERSION},
};

/// The first line.
pub const HEADER: &[Field] = &[
    Field::needed("murphy", Holds::Word(MURPHY), "what the file is"),
    Field::needed(
        "version",
        Holds::Number(VERSION as u64),
        "version of the format; another is refused",
    ),
    Field::needed("target", Holds::Texts, "whose calls, as it was asked for"),
    Field::needed("kernel", Holds::Text, "the kernel that counted them"),
    Field::needed("started", Holds::Time, "wall-clock time of time 0"),
    Field::needed(
        "interval_ns",
        Holds::Count(1),
        "how long an interval is meant to be",
    ),
    Field::needed(
        "latency",
        Holds::Boolean,
        "whether the time of calls was taken",
    ),
];

/// Calls of one kind within an interval.
pub const CALLS: &[Field] = &[
    Field::needed("interval", Holds::Count(0), "which interval, from 0 on"),
    Field::needed(
        "call",
        Holds::Text,
        "the system call; `foreign` for all of other ABIs, `call_N` for one without a name",
    ),
    Field::maybe(
        "operation",
        Holds::OneOf(operations),
        "what it was asked to do, where that is told apart",
    ),
    Field::maybe("kind", Holds::OneOf(kinds), "what its descriptor leads to"),
    Field::maybe(
        "nonblocking",
        Holds::Boolean,
        "whether it returns at once where it would have to wait; absent without a descriptor",
    ),
    Field::maybe(
        "errno",
        Holds::Text,
        "why it failed; absent where it did not. `ERESTARTSYS` and the like: a signal interrupted it",
    ),
    Field::needed("count", Holds::Count(0), "how many"),
    Field::maybe(
        "took_ns",
        Holds::Count(0),
        "how long all of them together, with `latency`",
    ),
];

/// The end of an interval.
pub const END: &[Field] = &[
    Field::needed("interval", Holds::Count(0), "which interval"),
    Field::needed(
        "from",
        Holds::Count(0),
        "when it began, in nanoseconds of boottime since the recording did",
    ),
    Field::needed("to", Holds::Count(0), "when it ended"),
    Field::needed("lost", Holds::Count(0), "calls that could not be counted"),
    Field::needed(
        "processes",
        Holds::Object(PROCESSES),
        "what the processes took",
    ),
    Field::maybe(
        "jvm",
        Holds::Anything,
        "what `jstat -gc` said, by pid and column",
    ),
    Field::maybe(
        "probes",
        Holds::Anything,
        "what each probe saw (docs/probes.md)",
    ),
    Field::needed("own", Holds::Object(OWN), "what recording itself took"),
];

const PROCESSES: &[Field] = &[
    Field::needed("count", Holds::Count(0), "how many there were at its end"),
    Field::needed("cpu_ns", Holds::Count(0), "time on a processor"),
    Field::needed("memory_bytes", Holds::Count(0), "resident memory"),
    Field::needed("descriptors", Holds::Count(0), "open descriptors"),
    Field::needed("threads", Holds::Count(0), "threads"),
    Field::needed(
        "restarts",
        Holds::Count(0),
        "how often everybody had gone, and somebody came again",
    ),
];

const OWN: &[Field] = &[
    Field::needed(
        "cpu_ns",
        Holds::Count(0),
        "Murphy's time on a processor since the recording began",
    ),
    Field::needed("memory_bytes", Holds::Count(0), "Murphy's resident memory"),
    Field::maybe(
        "ns_per_call",
        Holds::Figure,
        "what a look at a call takes, with `--measure-overhead`",
    ),
];

fn operations() -> Vec<&'static str> {
    Operation::ALL.iter().map(|one| one.name()).collect()
}

fn kinds() -> Vec<&'static str> {
    Kind::ALL.iter().map(|one| one.name()).collect()
}

/// The JSON Schema of a line.
pub fn schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A line of a recording of murphy amplify, version 1",
        "oneOf": [fields::object(HEADER), fields::object(CALLS), fields::object(END)],
    })
}
