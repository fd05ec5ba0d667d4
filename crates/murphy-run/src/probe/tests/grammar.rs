//! The grammar as a table, and as properties of whatever somebody may write.

use proptest::prelude::*;

use crate::probe::{BadProbe, Probe};

#[test]
fn what_is_written_reads_back() {
    for (text, written) in [
        ("http://127.0.0.1:8080/health", None),
        ("http://127.0.0.1:8080", Some("http://127.0.0.1:8080/")),
        ("http://[::1]:8080/", None),
        ("web=http://a/b?x=1&y=2", None),
        ("a-b_c.9=http://a/", None),
        (
            "http://a/b method=post status=204 body~all is (well|fine)",
            Some("http://a/b method=POST status=204 body~all is (well|fine)"),
        ),
        (
            "http://a/b  status=3xx  method=HEAD",
            Some("http://a/b method=HEAD status=3xx"),
        ),
        ("http://a/b status=2xx method=GET", Some("http://a/b")),
        ("http://a/b body!~(?i)error", None),
        ("tcp:127.0.0.1:5432", None),
        ("db=tcp:[::1]:5432", None),
        (
            "tcp:mail.example:25~^220 ",
            Some("tcp:mail.example:25~^220"),
        ),
        ("command:./check.sh --fast", None),
        (
            "command:  ./check.sh   --fast  ",
            Some("command:./check.sh --fast"),
        ),
        ("command:env A=b true", None),
        ("sh:test \"$(wc -l < out)\" -gt 3 && echo ok", None),
        ("log:/var/log/app.log!~ERROR", None),
        ("log:FILE~a~b!~c", None),
        ("log:/var/log/my app!.log~PATTERN", None),
        ("prometheus:http://127.0.0.1:9090 up == 1", None),
        (
            "prometheus:http://127.0.0.1:9090/prom/ rate(x{a=~\"b|c\"}[1m])<5",
            Some("prometheus:http://127.0.0.1:9090/prom rate(x{a=~\"b|c\"}[1m]) < 5"),
        ),
        ("errors=prometheus:http://p a and b >= -0.25", None),
    ] {
        let probe: Probe = text.parse().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(probe.to_string(), written.unwrap_or(text));
        assert_eq!(probe.to_string().parse(), Ok(probe.clone()), "{text}");
        let json = serde_json::to_string(&probe).unwrap();
        assert_eq!(serde_json::from_str::<Probe>(&json).unwrap(), probe);
    }
}

#[test]
fn what_cannot_be_read_is_said_with_its_column_and_what_could_stand_there() {
    let long = format!("command:{}", "a".repeat(5000));
    let long_name = format!("{}=tcp:a:1", "n".repeat(65));
    for (text, column, said) in [
        ("", 1, "expected http://HOST:PORT/PATH, tcp:HOST:PORT"),
        ("ftp://a", 1, "or prometheus:URL EXPRESSION == NUMBER"),
        ("my web=http://a", 1, "with NAME= before it"),
        ("=http://a", 1, "expected a name before ="),
        (&long_name, 1, "at most 64 characters"),
        (&long, 1, "5008 bytes; at most 4096"),
        ("web=tcp:a:1\nx", 12, "one line"),
        ("é=tcp:a:1", 1, "expected http://"),
        ("http://", 1, "expected one such as http://"),
        ("web=http://a:b/", 5, "expected one such as http://"),
        ("http://a?x", 1, "expected one such as http://"),
        ("http://a/é", 9, "expected a path in ASCII"),
        ("http://a/b#c", 9, "without #"),
        (
            "http://a/ method=BREW",
            11,
            "expected one of GET, HEAD, POST",
        ),
        ("http://a/ status=600", 11, "status=204 or status=3xx"),
        ("http://a/ status=6xx", 11, "status=204 or status=3xx"),
        (
            "http://a/ 204",
            11,
            "expected method=GET, status=200, body~PATTERN",
        ),
        ("http://a/ body~(", 11, "unclosed group"),
        ("http://a/ body~", 11, "expected a pattern"),
        ("http://a/ method=HEAD body~x", 23, "has no body"),
        ("tcp:a", 5, "expected HOST:PORT"),
        ("tcp:::1:80", 5, "[::1]:5432"),
        ("tcp:[::1:80", 5, "expected HOST:PORT"),
        ("tcp:http://a:80", 5, "expected HOST:PORT"),
        ("tcp:a:0", 7, "from 1 to 65535"),
        ("tcp:a:65536~x", 7, "from 1 to 65535"),
        ("tcp:a:1~*", 9, "repetition operator missing expression"),
        ("command:", 9, "expected a program"),
        ("command:echo 'a b'", 14, "write sh: instead of command:"),
        ("command:a ||b | c", 15, "| is for a shell"),
        ("sh:", 4, "such as sh:test"),
        ("log:/var/log/x", 15, "FILE!~PATTERN for what must not come"),
        ("log:~/x~y", 5, "write its path in full"),
        ("log:x!~[", 6, "unclosed character class"),
        (
            "prometheus:localhost up == 1",
            12,
            "expected one such as http://",
        ),
        ("prometheus:http://p", 20, "such as up == 1"),
        ("prometheus:http://p up", 21, "such as up == 1"),
        (
            "prometheus:http://p up = 1",
            24,
            "expected ==, !=, <, <=, > or >=",
        ),
        ("prometheus:http://p up{a=\"b\"}", 26, "such as up == 1"),
        ("prometheus:http://p up == one", 27, "such as up == 1"),
        ("prometheus:http://p up < inf", 26, "such as up == 1"),
        ("prometheus:http://p == 1", 21, "such as up == 1"),
    ] {
        let error = text.parse::<Probe>().expect_err(text);
        let (BadProbe::Form { column: at, .. } | BadProbe::Url { column: at, .. }) = &error;
        assert_eq!(*at, column, "{error}");
        assert!(error.to_string().contains(said), "{error}");
    }
}

#[test]
fn what_is_encrypted_is_refused_as_such() {
    for (text, column) in [("web=https://a/b", 5), ("prometheus:https://p up == 1", 12)] {
        let error = text.parse::<Probe>().expect_err(text).to_string();
        assert!(error.contains("Murphy asks by http only"), "{error}");
        assert!(error.contains(&format!("column {column}:")), "{error}");
    }
}

#[test]
fn a_password_is_never_said_again() {
    for text in [
        "http://me:secret@a/b",
        "prometheus:http://me:secret@a up == 1",
    ] {
        let probe: Probe = text.parse().unwrap();
        let said = format!("{probe} {probe:?} {}", probe.name());
        assert!(!said.contains("secret"), "{said}");
    }
}

#[test]
fn a_probe_without_a_name_is_called_by_what_it_looks_at() {
    let name = |text: &str| text.parse::<Probe>().unwrap().name();
    assert_eq!(name("web=tcp:a:1"), "web");
    assert_eq!(name("tcp:a:1"), "tcp:a:1");
}

proptest! {
    #[test]
    fn whatever_is_written_is_read_or_refused_and_reads_back(
        parts in prop::collection::vec(
            prop::sample::select(vec![
                "a", "web=", "http://", "https://", "tcp:", "command:", "sh:", "log:", "prometheus:", "127.0.0.1", "[::1]",
                ":80", "/", "/p?q=1", " ", "~", "!~", "==", "<", ">=", "1", "-0.5", "up", "body", "status=", "2xx",
                "method=", "HEAD", "é", "\"", "\\", "(", "@", "#", "\t",
            ]),
            0..10,
        )
    ) {
        let text = parts.concat();
        match text.parse::<Probe>() {
            // Passwords are left out.
            Ok(probe) if !text.contains('@') => {
                prop_assert_eq!(probe.to_string().parse(), Ok(probe));
            }
            Ok(_) => {}
            Err(BadProbe::Form { column, .. } | BadProbe::Url { column, .. }) => {
                prop_assert!(column >= 1 && column <= text.chars().count() + 1);
            }
        }
    }
}
