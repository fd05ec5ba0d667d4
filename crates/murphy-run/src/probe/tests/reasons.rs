//! Every reason there is, met by something real.

use std::{collections::BTreeSet, fs};

use super::{PATIENCE, SHORT, failure, prober};
use crate::probe::{
    Reason,
    victim::{Deaf, Full, Says, Victim},
};

/// What a Prometheus answers.
const NOTHING: &str = r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#;
const TWO: &str =
    r#"{"status":"success","data":{"resultType":"scalar","result":[1763919131.781,"2"]}}"#;
const WRONG: &str = r#"{"status":"error","errorType":"bad_data","error":"invalid parameter \"query\": 1:3: parse error"}"#;

#[test]
fn every_reason_is_met() {
    let (deaf, full) = (Deaf::new(), Full::new());
    let silent = Victim::web(Says::Hold(Vec::new()));
    let closing = Victim::web(Says::Once(Vec::new()));
    let resetting = Victim::web(Says::Reset);
    let foreign = Victim::web(Says::Once(b"SSH-2.0-OpenSSH_9.2\r\n\r\n".to_vec()));
    let ill = Victim::page("503 Service Unavailable", "overloaded");
    let well = Victim::page("200 OK", "well");
    let mail = Victim::port(Says::Once(b"421 busy\r\n".to_vec()));
    let hanging_up = Victim::port(Says::Once(Vec::new()));
    let mute = Victim::port(Says::Hold(Vec::new()));
    let [nothing, two] = [NOTHING, TWO].map(|answer| Victim::page("200 OK", answer));
    let wrong = Victim::page("400 Bad Request", WRONG);
    let folder = tempfile::tempdir().expect("a directory");
    let folder = folder.path().display();
    let page = |victim: &Victim| format!("http://{}/", victim.at);
    let figure = |victim: &Victim| format!("prometheus:http://{} up == 1", victim.at);

    let mut met = BTreeSet::new();
    for (text, limit, reason, said) in [
        (
            format!("http://{}/", deaf.at),
            PATIENCE,
            Reason::Refused,
            "refused",
        ),
        (
            format!("tcp:{}", deaf.at),
            PATIENCE,
            Reason::Refused,
            "refused",
        ),
        (
            format!("prometheus:http://{} up == 1", deaf.at),
            PATIENCE,
            Reason::Refused,
            "refused",
        ),
        (
            "tcp:255.255.255.255:9".into(),
            PATIENCE,
            Reason::Unreachable,
            "os error",
        ),
        (
            page(&silent),
            SHORT,
            Reason::TimedOut,
            "no whole answer within 200ms",
        ),
        (
            figure(&silent),
            SHORT,
            Reason::TimedOut,
            "no whole answer within 200ms",
        ),
        (
            format!("tcp:{}~220", mute.at),
            SHORT,
            Reason::TimedOut,
            "nothing is said within 200ms",
        ),
        (
            format!("tcp:{}", full.at),
            SHORT,
            Reason::TimedOut,
            "no connection within 200ms",
        ),
        (
            "command:sleep 60".into(),
            SHORT,
            Reason::TimedOut,
            "killed after 200ms",
        ),
        (
            page(&closing),
            PATIENCE,
            Reason::Ended,
            "before message completed",
        ),
        (page(&resetting), PATIENCE, Reason::Ended, "connection"),
        (
            format!("tcp:{}~220", hanging_up.at),
            PATIENCE,
            Reason::Ended,
            "closed before anything is said",
        ),
        (
            page(&foreign),
            PATIENCE,
            Reason::BadAnswer,
            "invalid HTTP version",
        ),
        (
            figure(&well),
            PATIENCE,
            Reason::BadAnswer,
            "not of a Prometheus",
        ),
        (
            page(&ill),
            PATIENCE,
            Reason::BadStatus,
            "503 Service Unavailable: overloaded",
        ),
        (
            figure(&ill),
            PATIENCE,
            Reason::BadStatus,
            "503 Service Unavailable: overloaded",
        ),
        (
            format!("{} body~fine", page(&well)),
            PATIENCE,
            Reason::BadBody,
            "no \"fine\" in: well",
        ),
        (
            format!("tcp:{}~^220", mail.at),
            PATIENCE,
            Reason::BadBanner,
            "421 busy",
        ),
        (
            "command:false".into(),
            PATIENCE,
            Reason::BadExit,
            "exit code 1",
        ),
        ("sh:kill -9 $$".into(), PATIENCE, Reason::Killed, "signal 9"),
        (
            format!("command:{folder}/none --fast"),
            PATIENCE,
            Reason::NotStarted,
            "No such file",
        ),
        (
            format!("command:{folder}"),
            PATIENCE,
            Reason::NotStarted,
            "Permission denied",
        ),
        (
            format!("log:{folder}/none!~x"),
            PATIENCE,
            Reason::NoFile,
            "/none",
        ),
        (
            format!("log:{folder}/none~x"),
            PATIENCE,
            Reason::NoFile,
            "/none",
        ),
        (
            format!("log:{folder}!~x"),
            PATIENCE,
            Reason::Unreadable,
            "no regular file",
        ),
        (
            figure(&nothing),
            PATIENCE,
            Reason::NoSample,
            "nothing is known of up",
        ),
        (
            figure(&two),
            PATIENCE,
            Reason::OutOfBounds,
            "up is 2, not == 1",
        ),
        (figure(&wrong), PATIENCE, Reason::BadQuery, "parse error"),
    ] {
        let (seen, detail) = failure(prober(&text, limit).look());
        assert_eq!(seen, reason, "{text}: {detail}");
        assert!(detail.contains(said), "{text}: {detail}");
        met.insert(seen);
    }

    // These two need lines that come while they look.
    let file = format!("{folder}/app.log");
    fs::write(&file, "").expect("a new file");
    let mut unwanted = prober(&format!("log:{file}!~ERROR"), PATIENCE);
    let mut absent = prober(&format!("log:{file}~well"), PATIENCE);
    fs::write(&file, "ERROR disk is full\n").expect("the same file");
    for (prober, reason, said) in [
        (&mut unwanted, Reason::Unwanted, "1 × ERROR disk is full"),
        (&mut absent, Reason::Absent, "no new line has \"well\""),
    ] {
        let seen = failure(prober.look());
        assert_eq!(seen, (reason, said.to_owned()));
        met.insert(seen.0);
    }
    assert_eq!(met, BTreeSet::from(Reason::ALL));
}
