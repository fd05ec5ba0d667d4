//! Whatever stands in a file, reading it ends in a record or in a place and what was expected there.

use murphy_check::etcd::{
    self, Options,
    generate::{Profile, Story},
};
use proptest::prelude::*;

const HEADER: &str = r#"{"murphy":"history","version":1,"model":"etcd"}"#;

/// The error of a history with this second line.
fn error_of(line: &str) -> String {
    let history = format!("{HEADER}\n{line}");
    etcd::check(history.as_bytes(), &Options::default())
        .map(drop)
        .map_err(|error| error.to_string())
        .unwrap_err()
}

#[test]
fn says_where_and_what_was_expected() {
    let cases = [
        (
            r#"{"index":0,"type":"invoke","process":"c1","f":"put","value":{"key":"a","val"#,
            "2:76: the line ends here, expected the end of the text",
        ),
        (
            r#"{"index":0,"type":"invoke","process":"c1","f":"put","value":{"key":7},"time":1}"#,
            "2:68: expected text or {\"b64\": …}",
        ),
        (
            r#"{"index":0,"type":"invoke","process":"c1","f":"member_add","value":{},"time":1}"#,
            "2:68: unknown f `member_add`; model etcd has put, range, delete_range, txn, compact, hash_kv, status, lease_grant, lease_revoke, lease_keep_alive, lease_time_to_live, lease_leases and watch",
        ),
        (
            r#"{"index":0,"type":"invoke","process":"c1","f":"put","value":{"key":"a","ttl":3},"time":1}"#,
            "2:78: unknown field `ttl`",
        ),
        (
            r#"{"index":0,"type":"done","process":"c1","f":"put","time":1}"#,
            "2:19: expected the type invoke, ok, fail or info",
        ),
        (
            r#"{"index":0,"type":"ok","process":"c1","f":"put","value":{"header":{"revision":2}},"time":1}"#,
            "2:1: an answer without an open invocation of its process",
        ),
        (
            r#"{"index":0,"type":"invoke","process":"c1","f":"put","value":{"key":"a"}}"#,
            "2:1: expected the field `time`",
        ),
        (
            r#"{"index":0,"type":"invoke","process":"c1","f":"txn","value":{"compare":{"ref":"x"}},"time":1}"#,
            "2:79: no `let` line before this one names `x`",
        ),
        (r#"{"index":0} x"#, "2:13: expected the end of the line"),
        (r#"{"index":-1}"#, "2:10: expected a whole number"),
        ("nonsense", "2:1: expected an object"),
    ];
    for (line, expected) in cases {
        assert_eq!(error_of(line), expected, "{line}");
    }
}

#[test]
fn refuses_other_headers() {
    let cases = [
        ("", "1:1: the history is empty, expected its header"),
        (
            r#"{"murphy":"history","version":2,"model":"etcd"}"#,
            "1:1: format version 2 is newer than 1, the newest this program reads",
        ),
        (
            r#"{"murphy":"history","version":1,"model":"queue"}"#,
            "1:1: the history is of model `queue`, expected `etcd`",
        ),
        (
            r#"{"murphy":"run","version":1,"model":"etcd"}"#,
            "1:1: expected the header of a history, found `run`",
        ),
    ];
    for (header, expected) in cases {
        let error = etcd::check(header.as_bytes(), &Options::default()).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn reads_any_order_of_fields_and_numbered_processes() {
    let history = format!(
        "{HEADER}\n{}\n{}\n",
        r#"{"f":"put","index":0,"value":{"value":"1","key":{"b64":"/w=="}},"process":3,"time":5,"type":"invoke"}"#,
        r#" { "f" : "put", "process": 3, "time": 9, "value": {"header": {"revision": 2}}, "node": null, "type": "ok" } "#,
    );
    let report = etcd::check(history.as_bytes(), &Options::default()).unwrap();
    assert_eq!((report.vacuity.operations, report.vacuity.writes), (1, 1));
}

fn valid() -> Vec<u8> {
    Story::generate(
        &Profile {
            clients: 4,
            keys: 5,
            ..Profile::mixed(60)
        },
        3,
    )
    .bytes()
}

proptest! {
    #[test]
    fn never_panics_on_noise(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = etcd::check(bytes.as_slice(), &Options::default());
        let mut history = format!("{HEADER}\n").into_bytes();
        history.extend(bytes);
        let _ = etcd::check(history.as_slice(), &Options::default());
    }

    #[test]
    fn never_panics_on_a_damaged_history(
        places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        end in any::<prop::sample::Index>(),
    ) {
        let mut history = valid();
        for (place, byte) in places {
            let at = place.index(history.len());
            history[at] = byte;
        }
        let _ = etcd::check(history.as_slice(), &Options::default());
        history.truncate(end.index(history.len()));
        let _ = etcd::check(history.as_slice(), &Options::default());
    }

    #[test]
    fn never_panics_on_numbers_out_of_proportion(
        place in any::<prop::sample::Index>(),
        number in prop::sample::select(vec!["0", "-1", "9223372036854775807", "-9223372036854775808", "4294967295", "1000000000000"]),
    ) {
        let text = String::from_utf8(valid()).unwrap();
        let numbers: Vec<(usize, &str)> = text.match_indices(':')
            .filter(|(at, _)| text[at + 1..].starts_with(|c: char| c.is_ascii_digit()))
            .collect();
        let (at, _) = numbers[place.index(numbers.len())];
        let rest = text[at + 1..].trim_start_matches(|c: char| c.is_ascii_digit());
        let changed = format!("{}{number}{rest}", &text[..=at]);
        let _ = etcd::check(changed.as_bytes(), &Options::default());
    }
}
