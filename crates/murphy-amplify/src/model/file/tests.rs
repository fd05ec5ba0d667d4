//! Tests of files of models: what was written is read as the same, and what was edited wrongly is told where.

use std::collections::BTreeSet;

use murphy_sys::census::Kind;
use proptest::prelude::*;

use super::{fields, json, read, text};
use crate::{
    model::{Models, Options, Realism, Rule, Unseen, models},
    recording::{
        Recording,
        sample::{lines, series, together},
    },
};

const TCP: Option<Kind> = Some(Kind::Tcp);

/// Models of every sort, of a recording that was cut short.
fn sample(rule: Rule) -> Models {
    let bursts: Vec<(u64, u64)> = (0..60)
        .map(|at| (if at % 7 == 0 { 12 } else { 0 }, 400 + at % 3))
        .collect();
    let some: Vec<(u64, u64)> = (0..60).map(|at| (u64::from(at % 9 == 0), 37)).collect();
    let all = [
        series("read", TCP, Some(true), "ECONNRESET", &bursts),
        series("sendto", TCP, Some(true), "EPIPE", &some),
        series("accept4", TCP, Some(true), "EAGAIN", &[(49, 100); 60]),
        series("openat", None, None, "EMFILE", &bursts),
        series("futex", None, None, "EFAULT", &some),
    ];
    let mut recorded = lines(&together(&all));
    recorded.truncate(recorded.len() - 30);
    let recording = Recording::read(recorded.as_bytes()).unwrap();
    let options = Options {
        rule,
        unseen: Unseen::All,
        environmental_is_on: true,
    };
    models(&recording, &options).unwrap()
}

#[test]
fn what_was_written_is_read_as_the_same() {
    let every = Rule {
        threshold: 0.04,
        variance: 0.002,
        fixed: 0.07,
        factor: 1.3,
        cap: 0.9,
        least_calls: 3,
        in_a_row: 4,
    };
    for rule in [Rule::DEFAULT, every] {
        let made = sample(rule);
        assert!(made.models.iter().any(|one| one.burst.is_some()));
        assert!(made.models.iter().any(|one| one.again.is_some()));
        assert!(made.combinations.len() >= 2);
        assert!(made.recording.as_ref().unwrap().cut.is_some());
        for realism in Realism::ALL {
            assert!(made.models.iter().any(|one| one.realism == realism));
        }
        let written = text(&made);
        assert_eq!(read(written.as_bytes()).unwrap(), made);
        assert_eq!(text(&read(written.as_bytes()).unwrap()), written);
        let as_json = json(&made);
        let first = &as_json["models"][0];
        assert_eq!(as_json["murphy-models"], 1);
        assert_eq!(first["inject"], true);
        assert_eq!(first["rate"], made.models[0].rate);
        assert_eq!(first["natural"]["calls"], made.models[0].natural.calls);
        let long = written.lines().filter(|line| line.starts_with('#'));
        assert!(long.clone().count() > 20);
        assert!(long.map(str::len).max() <= Some(118));
    }
}

#[test]
fn a_file_has_the_fields_of_its_schema() {
    let written = text(&sample(Rule::DEFAULT));
    let tables = [
        fields::FILE,
        fields::RECORDING,
        fields::RULE,
        fields::MODEL,
        fields::NATURAL,
        fields::COMBINATION,
    ];
    let mut written_fields = BTreeSet::new();
    for line in written.lines() {
        let line = line.trim_start().trim_start_matches("- ");
        if let Some((name, _)) = line.split_once(':').filter(|_| !line.starts_with('#')) {
            written_fields.insert(name);
        }
    }
    for field in tables.iter().copied().flatten() {
        // The calls of the sample are not told apart by the one, and nobody asks for the other.
        let is_told = !["operation", "force"].contains(&field.name);
        assert!(
            !is_told || written_fields.contains(field.name),
            "{}",
            field.name
        );
    }
    let schema = fields::schema();
    let model = &schema["properties"]["models"]["items"];
    assert_eq!(schema["properties"]["murphy-models"]["const"], 1);
    assert_eq!(model["additionalProperties"], false);
    assert_eq!(model["required"].as_array().unwrap().len(), 4);
    assert_eq!(model["properties"]["rate"]["maximum"], 1);
    let of_natural = &model["properties"]["natural"]["properties"];
    assert_eq!(of_natural["rate"]["type"], "number");
    assert!(
        tables
            .iter()
            .all(|fields| fields.iter().all(|field| !field.about.is_empty()))
    );
}

const SMALL: &str = "\
murphy-models: 1
rule:
  threshold: 0.05
  variance: 0.001
  fixed: 0.05
  factor: 1.2
  cap: 1
models:
  - name: full
    rate: 0.25
    call: write
    kind: file
    errno: ENOSPC
    burst: 3
  - name: gone
    inject: off
    rate: 1
    call: read
    nonblocking: true
    errno: EAGAIN
combinations:
  - name: both
    models: [full, gone]
";

#[test]
fn a_file_that_somebody_wrote_is_read() {
    let read = read(SMALL.as_bytes()).unwrap();
    assert_eq!((read.rule, read.recording), (Rule::DEFAULT, None));
    let full = &read.models[0];
    assert!(full.is_on && full.burst == Some(3) && full.key.kind == Some(Kind::File));
    assert!(!read.models[1].is_on && read.models[1].key.nonblocking == Some(true));
    assert_eq!(read.combinations[0].models, ["full", "gone"]);
    let experiment = full.experiment(0.01).unwrap();
    assert_eq!((experiment.first, experiment.up_to), (0.01, 0.25));
}

#[test]
fn what_was_edited_wrongly_is_told_where_it_is_and_what_it_may_be() {
    for (from, to, said) in [
        (
            "rate: 0.25",
            "rate: 0",
            "10:11: a rate of 0 injects nothing",
        ),
        (
            "murphy-models: 1",
            "murphy-models: 2",
            "1:16: this is version 2 of the format, and this Murphy reads version 1",
        ),
        (
            "murphy-models: 1\n",
            "",
            "1:1: expected the field `murphy-models`",
        ),
        (
            "    rate: 0.25\n",
            "    rat: 0.25\n",
            "10:5: there is no field `rat` here; did you mean rate? (the fields are name, inject, rate",
        ),
        (
            "    rate: 0.25\n",
            "",
            "9:5: expected the field `rate`: the share",
        ),
        (
            "rate: 0.25",
            "rate: 25%",
            "10:11: `rate` is \"25%\", expected a number from 0 to 1",
        ),
        (
            "rate: 0.25",
            "rate: 1.25",
            "10:11: `rate` is \"1.25\", expected a number from 0 to 1",
        ),
        ("rate: 0.25", "rate: .inf", "10:11: `rate` is \".inf\""),
        (
            "rate: 0.25",
            "rate: 0.8",
            "14:12: bursts of 3 calls make at most a rate of 0.7500, and the rate is 0.8; lower it, or leave `burst` out",
        ),
        (
            "burst: 3",
            "burst: 3\n    in_a_row: 2",
            "15:15: `burst` and `in_a_row` exclude each other",
        ),
        (
            "burst: 3",
            "burst: 3\n    again: passes",
            "15:12: `burst` and `again` exclude each other",
        ),
        (
            "burst: 3",
            "burst: 99999999999",
            "14:12: 99999999999 is more than",
        ),
        (
            "call: write",
            "call: wriet",
            "11:11: there is no call \"wriet\" on x86_64; did you mean write or writev?",
        ),
        (
            "errno: ENOSPC",
            "errno: ENOSPACE",
            "13:12: there is no errno \"ENOSPACE\"; did you mean ENOSPC?",
        ),
        (
            "errno: ENOSPC",
            "errno: ECONNRESET",
            "13:12: write file with ECONNRESET cannot be injected: What write does to a descriptor of kind file cannot fail with ECONNRESET. Choose another errno, or say `inject: off`",
        ),
        (
            "errno: ENOSPC",
            "errno: ENOENT",
            "write is not known to fail with ENOENT, but with ",
        ),
        (
            "inject: off\n    rate: 1\n    call: read\n    nonblocking: true",
            "rate: 1\n    call: futex",
            "18:12: futex with EAGAIN cannot be injected: futex is guarded, as ",
        ),
        (
            "call: write\n    kind: file\n    errno: ENOSPC",
            "call: openat\n    kind: file\n    errno: EMFILE",
            "12:11: inject syscall: openat: --kind chooses by a descriptor",
        ),
        (
            "call: write\n    kind: file\n    errno: ENOSPC\n    burst: 3",
            "call: openat\n    errno: EMFILE\n    again: fails",
            "13:12: inject syscall: openat: --sticky",
        ),
        (
            "kind: file",
            "operation: wait",
            "12:16: write has no operation `wait`, which is of futex; of write there is none, leave it out",
        ),
        (
            "nonblocking: true",
            "operation: wait",
            "19:16: read has no operation `wait`",
        ),
        (
            "name: gone",
            "name: ''",
            "15:11: `name` is empty, expected a text",
        ),
        (
            "name: gone",
            "name: ' '",
            "15:11: `name` is empty, expected a text",
        ),
        (
            "name: gone",
            "name:",
            "15:9: `name` is empty, expected a text",
        ),
        (
            "kind: file",
            "kind: fiel",
            "12:11: `kind` is \"fiel\", expected one of file, directory",
        ),
        (
            "inject: off",
            "inject: maybe",
            "16:13: `inject` is \"maybe\", expected on or off",
        ),
        (
            "name: gone",
            "name: full",
            "15:11: the name \"full\" is another's already",
        ),
        (
            "[full, gone]",
            "[full, gon]",
            "23:20: there is no model \"gon\"; did you mean gone?",
        ),
        (
            "[full, gone]",
            "[full, full]",
            "23:20: the model \"full\" is in it already",
        ),
        (
            "call: read",
            "call: pwrite64",
            "23:20: \"gone\" is of calls that another model here is of, and each call has one answer at a time; leave one out",
        ),
        (
            "call: read",
            "call: mmap",
            "23:20: the model \"gone\" cannot be injected; leave it out",
        ),
        (
            "[full, gone]",
            "[full]",
            "23:13: a combination of fewer than two models is none",
        ),
        (
            "[full, gone]",
            "full",
            "23:13: `models` is \"full\", expected a list of texts",
        ),
        (
            "cap: 1",
            "cap: 1.5",
            "7:8: `cap` is \"1.5\", expected a number from 0 to 1",
        ),
        (
            "factor: 1.2",
            "factor: 0.5",
            "6:11: the rule's factor is 0.5: expected 1 or more",
        ),
        ("  - name: full", "  name: full", "this is no YAML"),
        (
            "    rate: 0.25\n",
            "\trate: 0.25\n",
            "9:11: this is no YAML: while scanning a plain scalar, found a tab",
        ),
        (
            "    burst: 3\n",
            "    burst: 3\n    burst: 4\n",
            "15:5: the field `burst` is there already, in line 14",
        ),
    ] {
        assert!(SMALL.contains(from), "{from}");
        let error = read(SMALL.replacen(from, to, 1).as_bytes()).unwrap_err();
        let found = error.to_string();
        assert!(found.contains(said), "{found}\nexpected {said}");
        assert!(
            found.starts_with(|first: char| first.is_ascii_digit()),
            "{found}"
        );
    }
    let guarded = SMALL.replace("call: read\n    nonblocking: true", "call: futex");
    assert!(
        read(guarded.as_bytes()).is_err(),
        "it is on in the combination"
    );
    let forced = guarded.replace("errno: EAGAIN", "errno: EAGAIN\n    force: true");
    let forced = read(forced.replace("inject: off", "inject: on").as_bytes()).unwrap();
    assert!(forced.models[1].force);
    assert_eq!(
        read(text(&forced).as_bytes()).unwrap().models[1],
        forced.models[1]
    );
    assert!(forced.models[1].experiment(0.1).unwrap().specs(0.5)[0].force);
    for (bytes, said) in [
        (&b""[..], "1:1: the file is empty"),
        (
            b"- 1\n",
            "1:1: expected models as a map of fields, found a list",
        ),
        (b"a: 1\nb: \xFF\n", "2:4: expected UTF-8"),
    ] {
        assert_eq!(read(bytes).unwrap_err().to_string(), said);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn nothing_that_is_read_panics(at in any::<prop::sample::Index>(), with in "[-a-z0-9:\\[\\]{}'\"&*!|> \n#,.]{0,4}", cut in 0..20_usize) {
        let mut text = SMALL.to_owned();
        let at = at.index(text.len());
        text.replace_range(at..(at + cut).min(text.len()), &with);
        if let Err(error) = read(text.as_bytes()) {
            let said = error.to_string();
            prop_assert!(said.starts_with(|first: char| first.is_ascii_digit()), "{}", said);
        }
    }
}
