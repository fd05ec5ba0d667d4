//! Models from YAML, as people have edited them: what is not what the fields say is an error with its line and column, and with what
//! it may be.

use std::{collections::BTreeSet, fmt::Display, io::Read};

use jiff::Timestamp;
use murphy_fault::syscall::Rules;
use murphy_sys::{
    census::{Kind, Operation, calls_with, operations},
    syscalls::{Call, Errno},
};

use super::{
    ModelsError, fields,
    object::Object,
    yaml::{self, Flaw, Node, Place},
};
use crate::{
    model::{
        Again, Class, Combination, Model, Models, Natural, Realism, Rule, Source,
        possible::{self, Refusal},
    },
    nearest,
    recording::{Key, call_named, errno_named},
};

/// No file of models is longer.
const BYTES_MAX: u64 = 64 << 20;

/// Reads models.
pub fn read(source: impl Read) -> Result<Models, ModelsError> {
    let mut bytes = Vec::new();
    source.take(BYTES_MAX).read_to_end(&mut bytes)?;
    if bytes.len() as u64 >= BYTES_MAX {
        return Err(ModelsError::Malformed {
            line: 1,
            column: 1,
            problem: "the file is longer than 64 MiB: these are no models".into(),
        });
    }
    let text = std::str::from_utf8(&bytes).map_err(|error| {
        let before = &bytes[..error.valid_up_to()];
        let mut lines = before.split(|byte| *byte == b'\n');
        let last = lines.next_back().unwrap_or_default();
        let place = Place {
            line: lines.count() + 1,
            column: last.len() + 1,
        };
        place.flaw("expected UTF-8")
    })?;
    Ok(file(&yaml::parse(text)?)?)
}

fn file(root: &Node) -> Result<Models, Flaw> {
    let file = Object::of(root, fields::FILE, "models")?;
    let rule = file.object("rule", fields::RULE)?;
    let recording = file.object("recording", fields::RECORDING)?;
    let mut names = BTreeSet::new();
    let mut models = Vec::new();
    for one in file.objects("models", fields::MODEL)? {
        let model = model(&one)?;
        once(&mut names, &one)?;
        check_injection(&model, &one)?;
        models.push(model);
    }
    let mut combinations = Vec::new();
    for one in file.objects("combinations", fields::COMBINATION)? {
        once(&mut names, &one)?;
        combinations.push(combination(&one, &models)?);
    }
    Ok(Models {
        recording: recording.as_ref().map(source).transpose()?,
        rule: rule.as_ref().map_or(Ok(Rule::default()), self::rule)?,
        models,
        combinations,
    })
}

/// That no other has its name.
fn once(names: &mut BTreeSet<String>, one: &Object<'_>) -> Result<(), Flaw> {
    let (name, place) = one.text("name").unwrap_or_default();
    if names.insert(name.to_owned()) {
        return Ok(());
    }
    Err(place.flaw(format!(
        "the name {name:?} is another's already; each has its own"
    )))
}

fn source(of: &Object<'_>) -> Result<Source, Flaw> {
    let (started, place) = of.text("started").unwrap_or_default();
    let started: Timestamp = started
        .parse()
        .map_err(|error| place.flaw(format!("read the time {started:?}: {error}")))?;
    let words = |name| of.text(name).map(|(text, _)| text.to_owned());
    let targets = of.texts("target").into_iter();
    Ok(Source {
        target: targets.map(|(text, _)| text.to_owned()).collect(),
        kernel: words("kernel").unwrap_or_default(),
        started,
        interval_ns: of.count("interval_ns").unwrap_or_default(),
        intervals: of.count("intervals").unwrap_or_default(),
        lasted_ns: of.count("lasted_ns").unwrap_or_default(),
        lost: of.count("lost").unwrap_or_default(),
        cut: words("cut"),
    })
}

fn rule(of: &Object<'_>) -> Result<Rule, Flaw> {
    let default = Rule::default();
    let in_a_row = of.short_count("in_a_row")?;
    let rule = Rule {
        threshold: of.number("threshold").unwrap_or(default.threshold),
        variance: of.number("variance").unwrap_or(default.variance),
        fixed: of.number("fixed").unwrap_or(default.fixed),
        factor: of.number("factor").unwrap_or(default.factor),
        cap: of.number("cap").unwrap_or(default.cap),
        least_calls: of.count("least_calls").unwrap_or(default.least_calls),
        in_a_row: in_a_row.unwrap_or(default.in_a_row),
    };
    let checked = rule.check();
    checked.map_err(|error| of.place_of(error.name).flaw(error.to_string()))?;
    Ok(rule)
}

fn model(of: &Object<'_>) -> Result<Model, Flaw> {
    let (call, at) = of.text("call").unwrap_or_default();
    let known = call_named(call);
    let call = known.ok_or_else(|| {
        let near = nearest::calls(call);
        at.flaw(format!("there is no call {call:?} on x86_64{near}"))
    })?;
    let (errno, errno_at) = of.text("errno").unwrap_or_default();
    let known = errno_named(errno);
    let errno = known.ok_or_else(|| {
        let near = nearest::errnos(errno);
        errno_at.flaw(format!("there is no errno {errno:?}{near}"))
    })?;
    let key = key(of, call)?;
    let rate = of.number("rate").unwrap_or_default();
    let is_on = of.switch("inject").unwrap_or(true);
    let force = of.switch("force").unwrap_or(false);
    check_refusal(key, errno, is_on, force, errno_at)?;
    if rate <= 0.0 && is_on {
        let problem = "a rate of 0 injects nothing; say one above it, or `inject: off`";
        return Err(of.place_of("rate").flaw(problem));
    }
    let natural = of.object("natural", fields::NATURAL)?;
    let natural = natural.as_ref().map(natural_of).unwrap_or_default();
    let word = |name| of.text(name).map(|(text, _)| text);
    let realism = word("realism").and_then(|word| named(&Realism::ALL, Realism::name, word));
    let class = word("class").and_then(|word| named(&Class::ALL, Class::name, word));
    let burst = of.short_count("burst")?;
    if let Some(burst) = burst
        && rate > f64::from(burst) / (f64::from(burst) + 1.0)
    {
        let most = f64::from(burst) / (f64::from(burst) + 1.0);
        let problem = format!(
            "bursts of {burst} calls make at most a rate of {most:.4}, and the rate is {rate}; lower it, or leave `burst` out"
        );
        return Err(of.place_of("burst").flaw(problem));
    }
    let in_a_row = of.short_count("in_a_row")?;
    let again = word("again").and_then(|word| named(&Again::ALL, Again::name, word));
    let asked = [
        ("burst", burst.is_some()),
        ("in_a_row", in_a_row.is_some()),
        ("again", again.is_some()),
    ];
    let mut asked = asked.into_iter().filter(|(_, is_asked)| *is_asked);
    if let (Some((one, _)), Some((other, _))) = (asked.next(), asked.next()) {
        let problem = format!("`{one}` and `{other}` exclude each other; leave one out");
        return Err(of.place_of(other).flaw(problem));
    }
    Ok(Model {
        name: word("name").unwrap_or_default().to_owned(),
        key,
        errno,
        is_on,
        force,
        reason: word("reason").unwrap_or_default().to_owned(),
        realism: realism.unwrap_or(Realism::Environmental),
        class: class.unwrap_or(Class::Sporadic),
        rate,
        amplification: of.number("amplification"),
        burst,
        in_a_row,
        again,
        natural,
        calls_per_second: of.number("calls_per_second").unwrap_or_default(),
        score: of.number("score").unwrap_or_default(),
        notes: of
            .texts("notes")
            .into_iter()
            .map(|(text, _)| text.to_owned())
            .collect(),
    })
}

/// That an error that is injected can be: one that is off may be anything.
fn check_refusal(
    key: Key,
    errno: Errno,
    is_on: bool,
    force: bool,
    place: Place,
) -> Result<(), Flaw> {
    let (reason, or) = match possible::refusal(key, errno) {
        Some(Refusal::Never(reason)) if is_on => (reason, ""),
        Some(Refusal::Guarded(reason)) if is_on && !force => (reason, ", or `force: true`"),
        _ => return Ok(()),
    };
    Err(place.flaw(format!(
        "{key} with {errno} cannot be injected: {reason} Choose another errno, or say `inject: off`{or}"
    )))
}

/// That whoever injects takes it as it is: the kinds, and what comes of what was hit, are of descriptors.
fn check_injection(model: &Model, of: &Object<'_>) -> Result<(), Flaw> {
    let place = match (of.text("kind"), of.text("again")) {
        (Some((_, place)), _) | (None, Some((_, place))) => place,
        (None, None) => of.place_of("call"),
    };
    let refused = |error: &dyn Display| place.flaw(error.to_string());
    if !model.is_on {
        return Ok(());
    }
    let experiment = model.experiment(model.rate);
    let specs = experiment.map_err(|error| refused(&error))?;
    match Rules::of(&specs.specs(model.rate)) {
        Err(error) => Err(refused(&error)),
        Ok(_) => Ok(()),
    }
}

fn key(of: &Object<'_>, call: Call) -> Result<Key, Flaw> {
    let operation = of.text("operation");
    let operation = operation.map(|(text, place)| {
        let read = text.parse::<Operation>();
        let read = read.map_err(|error| place.flaw(error.to_string()))?;
        asked_of(call, read).map_err(|problem| place.flaw(problem))
    });
    let kind = of.text("kind");
    let kind = kind.map(|(text, place)| {
        let read = text.parse::<Kind>();
        read.map_err(|error| place.flaw(error.to_string()))
    });
    Ok(Key {
        call,
        operation: operation.transpose()?,
        kind: kind.transpose()?,
        nonblocking: of.switch("nonblocking"),
    })
}

/// That a call can be asked to do this.
fn asked_of(call: Call, operation: Operation) -> Result<Operation, String> {
    let own = operations(call);
    if own.contains(&operation) {
        return Ok(operation);
    }
    let calls: Vec<&str> = calls_with(operation).collect();
    let own: Vec<&str> = own.iter().map(|one| one.name()).collect();
    let of_call = if own.is_empty() {
        "none, leave it out".to_owned()
    } else {
        own.join(", ")
    };
    Err(format!(
        "{call} has no operation `{operation}`, which is of {}; of {call} there is {of_call}",
        calls.join(", ")
    ))
}

fn natural_of(of: &Object<'_>) -> Natural {
    let number = |name| of.number(name).unwrap_or_default();
    let count = |name| of.count(name).unwrap_or_default();
    Natural {
        calls: count("calls"),
        errors: count("errors"),
        intervals: count("intervals"),
        seen_in: count("seen_in"),
        rate: number("rate"),
        low: number("low"),
        high: number("high"),
        p5: number("p5"),
        mean: number("mean"),
        p95: number("p95"),
        max: number("max"),
        max_of: count("max_of"),
        variance: number("variance"),
    }
}

fn combination(of: &Object<'_>, known: &[Model]) -> Result<Combination, Flaw> {
    let is_on = of.switch("inject").unwrap_or(true);
    let mut models: Vec<&Model> = Vec::new();
    for (name, place) in of.texts("models") {
        let Some(model) = known.iter().find(|model| model.name == name) else {
            let near = nearest::said(name, known.iter().map(|model| model.name.as_str()));
            return Err(place.flaw(format!("there is no model {name:?}{near}")));
        };
        if models.iter().any(|one| one.name == name) {
            return Err(place.flaw(format!("the model {name:?} is in it already")));
        }
        if is_on && !model.can_be_injected() {
            let problem = format!("the model {name:?} cannot be injected; leave it out");
            return Err(place.flaw(problem));
        }
        models.push(model);
        if is_on && possible::of_other_calls(models.iter().copied()).len() < models.len() {
            return Err(place.flaw(format!(
                "{name:?} is of calls that another model here is of, and each call has one answer at a time; leave one out"
            )));
        }
    }
    if models.len() < 2 {
        let problem = "a combination of fewer than two models is none";
        return Err(of.place_of("models").flaw(problem));
    }
    let word = |name| of.text(name).map(|(text, _)| text.to_owned());
    Ok(Combination {
        name: word("name").unwrap_or_default(),
        is_on,
        reason: word("reason").unwrap_or_default(),
        models: models.iter().map(|model| model.name.clone()).collect(),
    })
}

fn named<T: Copy>(all: &[T], name: fn(T) -> &'static str, word: &str) -> Option<T> {
    all.iter().copied().find(|one| name(*one) == word)
}
