//! Tests of recordings: what was written is read, what was cut short is read up to there, and what is damaged is refused.

use std::collections::{BTreeMap, BTreeSet};

use murphy_run::probe;
use murphy_sys::{
    census::{Kind, Operation},
    syscalls::{Call, Errno},
};
use proptest::prelude::*;
use serde_json::Value;

use super::{
    Key, Reader, Recording, RecordingError, errno_named,
    sample::{SECOND, interval, lines, row, series, together},
    schema,
};
use crate::{
    fields::{Field, Holds},
    recorder::{Cost, Figures, Header, Interval, Row, Writer},
};

const TCP: Option<Kind> = Some(Kind::Tcp);

/// An interval that has all that one can have.
fn full() -> (Header, Interval, BTreeMap<String, probe::Figures>, Cost) {
    let mut rows = vec![
        row("read", TCP, Some(true), "", 90),
        row("read", TCP, Some(true), "EAGAIN", 10),
        row("futex", None, None, "ERESTARTSYS", 3),
        row("futex", None, None, "errno_524", 1),
    ];
    rows[0].took_ns = 12_345;
    rows[2].key.operation = Some(Operation::Wait);
    rows[3].key.operation = Some(Operation::Requeue);
    rows.push(Row {
        key: murphy_sys::census::Key {
            call: Call::FOREIGN,
            ..rows[2].key
        },
        ..rows[2]
    });
    let interval = Interval {
        lost: 7,
        restarts: 2,
        processes: Figures {
            count: 1,
            cpu_ns: 2,
            memory_bytes: 3,
            descriptors: 4,
            threads: 5,
        },
        jvms: BTreeMap::from([(42, BTreeMap::from([("OU".to_owned(), 1024.5)]))]),
        ..interval(0, rows)
    };
    let probes = BTreeMap::from([("up".to_owned(), probe::Figures::default())]);
    let cost = Cost {
        ns_per_call: Some(81.5),
        calls: 0,
        own_cpu_ns: 10,
        own_memory_bytes: 20,
    };
    let header = Header::new(
        vec!["pid:42".into(), "name:\"odd\"".into()],
        "Linux 6.18".into(),
        "2026-11-23T18:52:17.123456789Z".parse().unwrap(),
        15 * SECOND,
        true,
    );
    (header, interval, probes, cost)
}

fn full_lines() -> String {
    let (header, interval, probes, cost) = full();
    let mut bytes = Vec::new();
    let mut writer = Writer::begin(&mut bytes, &header).unwrap();
    writer.interval(&interval, &probes, &cost).unwrap();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn what_was_written_is_read() {
    let (header, interval, probes, cost) = full();
    let text = full_lines();
    let mut reader = Reader::new(text.as_bytes()).unwrap();
    assert_eq!(*reader.header(), header);
    let read = reader.next_interval().unwrap().unwrap();
    assert_eq!(read.interval, interval);
    assert_eq!(read.probes, probes);
    assert_eq!(read.own.ns_per_call, cost.ns_per_call);
    assert_eq!(
        (read.own.cpu_ns, read.own.memory_bytes),
        (cost.own_cpu_ns, cost.own_memory_bytes)
    );
    assert!(reader.next_interval().unwrap().is_none() && reader.cut().is_none());
}

/// That a line has the fields of a table and no others, down into the objects within.
fn fits(line: &Value, fields: &[Field]) {
    let line = line.as_object().unwrap();
    let known: BTreeSet<&str> = fields.iter().map(|field| field.name).collect();
    let found: BTreeSet<&str> = line.keys().map(String::as_str).collect();
    assert!(found.is_subset(&known), "{found:?} {known:?}");
    for field in fields {
        match (line.get(field.name), field.holds) {
            (None, _) => assert!(!field.is_needed, "{}", field.name),
            (Some(inner), Holds::Object(fields)) => fits(inner, fields),
            (Some(_), _) => {}
        }
    }
}

#[test]
fn the_schema_is_that_of_what_is_written() {
    let all: Vec<Value> = full_lines()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let (rows, last) = (&all[1..all.len() - 1], &all[all.len() - 1]);
    fits(&all[0], schema::HEADER);
    fits(last, schema::END);
    for line in rows {
        fits(line, schema::CALLS);
    }
    // Every field of the tables is written somewhere here.
    let has = |lines: &[Value], name: &str| lines.iter().any(|line| line.get(name).is_some());
    let tables = [
        (schema::HEADER, &all[..1]),
        (schema::CALLS, rows),
        (schema::END, &all[all.len() - 1..]),
    ];
    for (fields, lines) in tables {
        for field in fields {
            assert!(has(lines, field.name), "{}", field.name);
        }
    }
    let schema = schema::schema();
    assert_eq!(
        schema["oneOf"][0]["properties"]["murphy"]["const"],
        "errors"
    );
    assert_eq!(schema["oneOf"][1]["required"][2], "count");
}

#[test]
fn rates_have_their_denominators_and_zeros_count() {
    let calls = series(
        "read",
        TCP,
        Some(true),
        "EAGAIN",
        &[(1, 10), (0, 5), (0, 0)],
    );
    let interrupted: Vec<Vec<Row>> = (0..3)
        .map(|at| vec![row("read", TCP, Some(true), "ERESTARTSYS", at)])
        .collect();
    let late = [
        Vec::new(),
        vec![row("openat", None, None, "ENOENT", 2)],
        vec![row("openat", None, None, "ENOENT", 4)],
    ];
    let text = lines(&together(&[calls, interrupted, late.to_vec()]));
    let recording = Recording::read(text.as_bytes()).unwrap();
    assert_eq!((recording.intervals, recording.lasted_ns), (3, 3 * SECOND));
    let of = |call: &str, kind, nonblocking| {
        let call = Call::named(call).unwrap();
        &recording.calls[&Key {
            call,
            operation: None,
            kind,
            nonblocking,
        }]
    };
    let counts = |call, kind, nonblocking, errno| -> Vec<(u64, u64)> {
        let errno = Errno::named(errno).unwrap();
        of(call, kind, nonblocking).failed(errno).collect()
    };
    assert_eq!(
        counts("read", TCP, Some(true), "EAGAIN"),
        [(1, 10), (0, 5), (0, 0)]
    );
    assert_eq!(
        counts("read", TCP, Some(true), "EIO"),
        [(0, 10), (0, 5), (0, 0)]
    );
    assert_eq!(of("read", TCP, Some(true)).restarted, 3);
    // Nothing was seen of it before, so there was none.
    assert_eq!(
        counts("openat", None, None, "ENOENT"),
        [(0, 0), (2, 2), (4, 4)]
    );
}

#[test]
fn a_recording_that_was_cut_short_is_read_up_to_there() {
    let whole = lines(&series("read", TCP, Some(true), "EAGAIN", &[(1, 10); 3]));
    let ends: Vec<usize> = whole.match_indices('\n').map(|(at, _)| at + 1).collect();
    // The header, and for each interval two kinds of calls and its end.
    assert_eq!(ends.len(), 1 + 3 * 3);
    let read = |text: &str| Recording::read(text.as_bytes()).unwrap();
    for (bytes, intervals, cut) in [
        (whole.len(), 3, None),
        // The last line is whole but for its end.
        (whole.len() - 1, 3, None),
        (ends[6], 2, None),
        (ends[0], 0, None),
        (
            ends[7],
            2,
            Some("the recording is cut short in interval 2: 1 line from line 8 on was left out"),
        ),
        (
            ends[8] + 5,
            2,
            Some(
                "the recording is cut short in interval 2: 3 lines from line 8 on were left out, the last is torn",
            ),
        ),
        (
            ends[3] + 1,
            1,
            Some(
                "the recording is cut short in interval 1: 1 line from line 5 on was left out, the last is torn",
            ),
        ),
    ] {
        let recording = read(&whole[..bytes]);
        assert_eq!(recording.intervals, intervals, "{bytes}");
        let said = recording.cut.map(|cut| cut.to_string());
        assert_eq!(said.as_deref(), cut, "{bytes}");
    }
}

#[test]
fn what_is_wrong_is_said_where_it_is() {
    let good = lines(&series("read", TCP, Some(true), "EAGAIN", &[(1, 10); 2]));
    let refused = |text: &str| match Recording::read(text.as_bytes()) {
        Err(error @ RecordingError::Malformed { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    };
    for (from, to, said) in [
        (
            "{\"murphy\":\"errors\"",
            "{\"murphy\":\"trials\"",
            "1:11: this is \"trials\" of Murphy's, expected \"errors\"",
        ),
        (
            "\"version\":1",
            "\"version\":2",
            "1:30: this is version 2 of the format, and this Murphy reads version 1",
        ),
        (
            "\"interval_ns\":1000000000",
            "\"interval_ns\":0",
            "an interval of no length",
        ),
        (
            "\"kernel\"",
            "\"colonel\"",
            "unknown field `colonel`, expected one of",
        ),
        (
            "\"call\":\"read\"",
            "\"call\":\"raed\"",
            "2:22: there is no call \"raed\" on x86_64; did you mean read",
        ),
        (
            "\"EAGAIN\"",
            "\"EAGIAN\"",
            "there is no errno \"EAGIAN\"; did you mean EAGAIN?",
        ),
        (
            "\"kind\":\"tcp\"",
            "\"kind\":\"tpc\"",
            "read \"tpc\": expected one of file, directory",
        ),
        ("\"count\":9", "\"count\":-9", "2:"),
        (
            "\"count\":9",
            "\"cuont\":9",
            "unknown field `cuont`, expected one of",
        ),
        (",\"count\":9", "", "missing field `count`"),
        ("\"call\":\"read\",", "", "expected the field `call`, or"),
        (
            "\"call\":\"read\",",
            "\"call\":\"read\",\"processes\":{},",
            "not both",
        ),
        ("\"to\":1000000000", "\"to\":0,\"from\":1", "4:"),
        (
            "{\"interval\":1,",
            "{\"interval\":3,",
            "5:1: this is of interval 3, expected one of interval 1",
        ),
        (
            "\"errno\":\"EAGAIN\",",
            "",
            "3:1: the interval has a line of these calls already",
        ),
    ] {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good, "{from}");
        let found = refused(&bad);
        assert!(found.contains(said), "{found}\nexpected {said}");
        let mut parts = found.split(':');
        let number = parts.next().and_then(|part| part.parse::<u64>().ok());
        assert!(number.is_some_and(|number| number > 0), "{found}");
    }
    // A line of an interval that is not the last is missing.
    let mut some: Vec<&str> = good.lines().collect();
    some.remove(5);
    assert_eq!(
        refused(&some.join("\n")),
        "6:1: interval 1 has no line of read tcp* EAGAIN, which was seen before: each that was has one, with 0 where there were none"
    );
    assert!(refused("").contains("1:1: the file is empty, expected a recording"));
    assert!(refused("{\"murphy\":\"err").contains("cut short in its first line"));
    assert!(refused("models:\n").contains("this is no recording; a recording is what"));
    let torn = good.replacen("\"lost\":0", "\"lost", 1);
    assert!(refused(&torn).starts_with("4:"), "{}", refused(&torn));
    assert!(refused(&"x".repeat(2 << 20)).contains("longer than 1 MiB"));
}

#[test]
fn calls_and_errnos_are_read_by_the_names_they_are_written_by() {
    for number in 1..=4095 {
        let errno = Errno::of(number).unwrap();
        assert_eq!(errno_named(&errno.to_string()), Some(errno), "{errno}");
    }
    for name in [
        "",
        "errno_",
        "errno_0",
        "errno_11",
        "errno_4096",
        "eagain",
        "11",
    ] {
        assert_eq!(errno_named(name), None, "{name}");
    }
    let text = full_lines().replacen("\"call\":\"read\"", "\"call\":\"call_999\"", 1);
    let recording = Recording::read(text.as_bytes()).unwrap();
    assert_eq!(recording.unnamed["call_999"], 90);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nothing_that_is_read_panics(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
        let mut bytes = full_lines().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        bytes.truncate(cut.index(bytes.len()) + 1);
        if let Err(error) = Recording::read(bytes.as_slice()) {
            let said = error.to_string();
            prop_assert!(said.split(':').next().is_some_and(|line| line.parse::<u64>().is_ok()), "{}", said);
        }
    }
}

#[test]
fn a_day_takes_little_memory() {
    let counts: Vec<(u64, u64)> = (0..288).map(|at| (at % 3, 1000 + at)).collect();
    let kinds = Kind::ALL
        .iter()
        .map(|kind| series("read", Some(*kind), None, "EIO", &counts));
    let all: Vec<Vec<Vec<Row>>> = kinds.collect();
    let recording = Recording::read(lines(&together(&all)).as_bytes()).unwrap();
    assert_eq!(recording.intervals, 288);
    let per_number = recording.bytes() as f64 / (288.0 * 2.0 * Kind::ALL.len() as f64);
    assert!(per_number < 4.0, "{per_number} bytes a number");
}
