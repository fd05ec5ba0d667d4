//! Histories whose pairs have neither create revision nor version are judged by what is left: never wrongly, and lost
//! or stale values are found all the same.

use murphy_check::{
    etcd::{
        self, Options,
        generate::{Profile, Story},
    },
    verdict::Verdict,
};
use serde_json::Value;

/// Takes both numbers out of every pair.
fn strip(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if fields.contains_key("mod_revision") {
                fields.remove("create_revision");
                fields.remove("version");
            }
            fields.values_mut().for_each(strip);
        }
        Value::Array(values) => values.iter_mut().for_each(strip),
        _ => {}
    }
}

/// The lines of a history, stripped. Its transactions refer to conditions on versions that always hold; without them
/// they mean the same.
fn stripped(history: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(history).expect("a history is text");
    let mut lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line is JSON"))
        .filter(|line: &Value| line.get("let").is_none())
        .collect();
    for line in &mut lines {
        strip(line);
        let asked = line.pointer_mut("/value").and_then(Value::as_object_mut);
        if let Some(asked) = asked
            && asked.get("compare").is_some_and(Value::is_object)
        {
            asked.remove("compare");
        }
    }
    lines[0]["unrecorded"] = serde_json::json!(["create_revision", "version"]);
    lines
}

fn judge(lines: &[Value]) -> Result<murphy_check::verdict::Report, String> {
    let lines: Vec<String> = lines.iter().map(Value::to_string).collect();
    let text = lines.join("\n");
    etcd::check(text.as_bytes(), &Options::default()).map_err(|error| error.to_string())
}

#[test]
fn valid_histories_raise_no_alarm_and_spoilt_ones_do() {
    let seeds = if std::env::var_os("MURPHY_SOAK").is_some() {
        1_000
    } else {
        60
    };
    let mut spoilt = 0;
    for seed in 0..seeds {
        let profile = Profile {
            clients: 4,
            keys: 5,
            unknown_per_mille: 20,
            conditions: 3,
            ..Profile::compare(100)
        };
        let mut lines = stripped(&Story::generate(&profile, seed).bytes());
        let report = judge(&lines).expect("it is right");
        assert_ne!(
            report.verdict(&[]),
            Verdict::Broken,
            "seed {seed}: {report:?}"
        );
        // A value that nobody ever wrote.
        let shown = lines.iter_mut().find_map(|line| {
            (line["f"] == "range" && line["type"] == "ok")
                .then(|| line.pointer_mut("/value/kvs/0/value"))
                .flatten()
        });
        if let Some(value) = shown {
            *value = "nobody".into();
            spoilt += 1;
            let report = judge(&lines).expect("it is right but for a value");
            assert_eq!(report.verdict(&[]), Verdict::Broken, "seed {seed}");
        }
    }
    assert!(spoilt > seeds / 2, "{spoilt} spoilt");
}

#[test]
fn a_condition_on_what_was_not_recorded_is_refused() {
    let header = r#"{"murphy":"history","version":1,"model":"etcd","unrecorded":["version"]}"#;
    let line = r#"{"index":0,"type":"invoke","process":"c","f":"txn","value":{"compare":[{"key":"a","target":{"version":1}}]},"time":1}"#;
    let history = format!("{header}\n{line}\n");
    let error = etcd::check(history.as_bytes(), &Options::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "2:103: a condition on the field `version`, which the header says was not recorded"
    );
}
