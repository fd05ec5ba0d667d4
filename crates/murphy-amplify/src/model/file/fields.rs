//! The fields of `models.yaml`.

use murphy_sys::census::{Kind, Operation};
use serde_json::{Value, json};

use crate::{
    fields::{self, Field, Holds},
    model::{Again, possible::Realism, rule::Class},
};

/// The field that says what the file is.
pub const MURPHY: &str = "murphy-models";
/// The version of the format.
pub const VERSION: u64 = 1;

/// The file.
pub const FILE: &[Field] = &[
    Field::needed(
        MURPHY,
        Holds::Number(VERSION),
        "version of the format; another is refused",
    ),
    Field::maybe(
        "definition",
        Holds::Text,
        "the rule in words; not read, made anew from the numbers of `rule`",
    ),
    Field::maybe(
        "recording",
        Holds::Object(RECORDING),
        "what the models were made from",
    ),
    Field::maybe("rule", Holds::Object(RULE), "the numbers of the definition"),
    Field::needed(
        "models",
        Holds::Objects(MODEL),
        "one error of calls of one kind each, in the order of the experiments",
    ),
    Field::maybe(
        "combinations",
        Holds::Objects(COMBINATION),
        "models that are injected together",
    ),
];

/// What was recorded.
pub const RECORDING: &[Field] = &[
    Field::needed("target", Holds::Texts, "whose calls"),
    Field::needed("kernel", Holds::Text, "the kernel that counted them"),
    Field::needed("started", Holds::Time, "when"),
    Field::needed("interval_ns", Holds::Count(1), "how long an interval was"),
    Field::needed("intervals", Holds::Count(0), "how many there were"),
    Field::needed("lasted_ns", Holds::Count(0), "how long they were together"),
    Field::needed("lost", Holds::Count(0), "calls that could not be counted"),
    Field::maybe("cut", Holds::Text, "what was left out at its end"),
];

/// The numbers of the rule.
pub const RULE: &[Field] = &[
    Field::needed(
        "threshold",
        Holds::Share,
        "sporadic is what never has a higher rate",
    ),
    Field::needed(
        "variance",
        Holds::Figure,
        "fluctuating is what has a higher variance, steady is the rest",
    ),
    Field::needed("fixed", Holds::Share, "the rate of what is sporadic"),
    Field::needed(
        "factor",
        Holds::Figure,
        "so many times its highest rate is that of what is steady; 1 or more",
    ),
    Field::needed("cap", Holds::Share, "no rate is higher"),
    Field::maybe(
        "least_calls",
        Holds::Count(1),
        "an interval with fewer calls tells no rate",
    ),
    Field::maybe(
        "in_a_row",
        Holds::Count(1),
        "so many EAGAIN or EINTR in a row at most",
    ),
];

/// A model.
pub const MODEL: &[Field] = &[
    Field::needed(
        "name",
        Holds::Text,
        "unlike any other; `-nowait` is of calls that return where they would have to wait",
    ),
    Field::maybe(
        "inject",
        Holds::Switch,
        "whether a campaign injects it; on if absent",
    ),
    Field::needed(
        "rate",
        Holds::Share,
        "the share of calls that fails with it in all, with those that do by nature",
    ),
    Field::needed("call", Holds::Text, "the system call"),
    Field::maybe(
        "operation",
        Holds::OneOf(operations),
        "only where it is asked to do this",
    ),
    Field::maybe(
        "kind",
        Holds::OneOf(kinds),
        "only where its descriptor leads to this",
    ),
    Field::maybe(
        "nonblocking",
        Holds::Boolean,
        "only where it does not wait, or does",
    ),
    Field::needed("errno", Holds::Text, "what it fails with"),
    Field::maybe(
        "burst",
        Holds::Count(1),
        "so many calls fail in a row on average; each for itself if absent",
    ),
    Field::maybe(
        "in_a_row",
        Holds::Count(1),
        "so many calls fail in a row at most",
    ),
    Field::maybe(
        "again",
        Holds::OneOf(agains),
        "what comes of a connection or file that was hit, when it is used again: it fails for good, or passes once; the same chance if absent",
    ),
    Field::maybe(
        "force",
        Holds::Boolean,
        "injected although the call is guarded, as the runtimes of many languages end the program when it fails",
    ),
    Field::maybe("reason", Holds::Text, "why it is on or off"),
    Field::maybe(
        "realism",
        Holds::OneOf(realisms),
        "seen here, environmental (not seen, may happen), impossible",
    ),
    Field::maybe(
        "class",
        Holds::OneOf(classes),
        "how it comes by nature, by the definition",
    ),
    Field::maybe(
        "amplification",
        Holds::Figure,
        "the rate is so many times the natural one",
    ),
    Field::maybe(
        "calls_per_second",
        Holds::Figure,
        "calls of its kind in the recording",
    ),
    Field::maybe(
        "score",
        Holds::Share,
        "how much its experiment tells (docs/amplify-models.md)",
    ),
    Field::maybe(
        "natural",
        Holds::Object(NATURAL),
        "how often it comes by nature",
    ),
    Field::maybe("notes", Holds::Texts, "what should be known of it"),
];

/// How often an error comes by nature.
pub const NATURAL: &[Field] = &[
    Field::needed("rate", Holds::Share, "the share of all calls of its kind"),
    Field::maybe(
        "low",
        Holds::Share,
        "it lies from here on, with 95 % confidence",
    ),
    Field::maybe("high", Holds::Share, "up to here"),
    Field::maybe("errors", Holds::Count(0), "calls that failed with it"),
    Field::maybe("calls", Holds::Count(0), "of so many of its kind"),
    Field::maybe("seen_in", Holds::Count(0), "intervals in which one failed"),
    Field::maybe(
        "intervals",
        Holds::Count(0),
        "of so many in which one was made",
    ),
    Field::maybe("p5", Holds::Share, "5 % of the intervals have a lower rate"),
    Field::maybe("mean", Holds::Share, "the mean of their rates"),
    Field::maybe("p95", Holds::Share, "95 % of them have a lower rate"),
    Field::maybe("max", Holds::Share, "the highest of their rates"),
    Field::maybe("max_of", Holds::Count(0), "so many calls that one rests on"),
    Field::maybe("variance", Holds::Figure, "the variance of their rates"),
];

/// Models together.
pub const COMBINATION: &[Field] = &[
    Field::needed("name", Holds::Text, "unlike any other"),
    Field::maybe(
        "inject",
        Holds::Switch,
        "whether a campaign injects it; on if absent",
    ),
    Field::maybe("reason", Holds::Text, "why these belong together"),
    Field::needed(
        "models",
        Holds::Texts,
        "names of two or more models, each at its own rate, those that are off as well",
    ),
];

fn operations() -> Vec<&'static str> {
    Operation::ALL.iter().map(|one| one.name()).collect()
}

fn kinds() -> Vec<&'static str> {
    Kind::ALL.iter().map(|one| one.name()).collect()
}

fn agains() -> Vec<&'static str> {
    Again::ALL.map(Again::name).into()
}

fn classes() -> Vec<&'static str> {
    Class::ALL.map(Class::name).into()
}

fn realisms() -> Vec<&'static str> {
    Realism::ALL.map(Realism::name).into()
}

/// The JSON Schema of the file.
pub fn schema() -> Value {
    let mut schema = fields::object(FILE);
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("Models of murphy amplify, version 1");
    schema
}
