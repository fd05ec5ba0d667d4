use super::{
    Report, ReportError,
    compared::{Change, Comparison},
    junit, page,
    sample::{report, row},
    shell, text, write,
};
use crate::campaign::{search::Breaking, verdict::Verdict};
use murphy_fault::ratio::Ratio;

#[test]
fn a_table_says_what_where_and_how_surely() {
    let expected = "\
call         errno   natural     injected    exposed  injected  verdict
read/socket  EAGAIN  0.13 ±0.02  0.05 … 0.4    1 204       289  degraded, recovers in 2.1 s from 0.21 on, 3 of 3
connect      ENOENT  –           0.05 … 0.4    1 204       289  inconclusive: so it is
write        ENOSPC  –           0.05 … 0.4    1 204       289  state corruption from 0.21 on, flaky: 1 of 3
fsync        EIO     –           0.05 … 0.4    1 204       289  crashed (exit code 134) from 0.05 on, or lower, 3 of 3
readlink     EIO     –           0.05 … 0.4    1 204       289  resilient up to 0.4";
    assert_eq!(text::table(&report().rows), expected);
}

#[test]
fn shares_have_the_digits_that_tell_something() {
    for (share, expected) in [
        (0.0, "0"),
        (1.0, "1"),
        (0.4, "0.4"),
        (0.474_341_6, "0.47"),
        (0.000_123, "0.00012"),
        (0.05, "0.05"),
    ] {
        assert_eq!(text::figure(share), expected);
    }
}

#[test]
fn a_row_is_repeated_at_the_rate_that_broke_it() {
    let mut report = report();
    assert_eq!(
        shell(&report.again(&report.rows[3])),
        "murphy amplify run --error fsync=EIO --rate 40% --seed 7 --probe 'command:a b' -- etcd run"
    );
    // A rate that a search came to is the same number when it is read again, as far as a rate goes.
    let rate = (0.25_f64 * 0.9).sqrt();
    report.rows[3].trials[1].rate = rate;
    let again = report.again(&report.rows[3]);
    let read: Ratio = again[6].parse().unwrap();
    assert!(
        again[5] == "--rate" && (read.get() - rate).abs() < 1e-9,
        "{again:?}"
    );
    report.rows[3].trials.clear();
    assert!(!report.again(&report.rows[3]).contains(&"--rate".to_owned()));
    assert_eq!(shell(&["it's".into(), String::new()]), r"'it'\''s' ''");
}

#[test]
fn a_page_says_all_and_nothing_of_it_is_markup() {
    let report = report();
    let page = page::render(&report, Some(&Comparison::of(&report, &report)));
    for part in [
        "BROKEN by 2 of 5 errors",
        "panic: &lt;fsync&gt; &amp; gone",
        "<rect class=\"injection\" x=\"560.0\"",
        "3 of 4 looks failed",
        "&lt;up&gt;",
        "--error fsync=EIO --rate 40% --seed 7",
        "5 of 5 rows have the same verdict",
        "15.0\u{a0}s baseline",
    ] {
        assert!(page.contains(part), "{part} is not in {page}");
    }
    assert!(!page.contains("<fsync>") && !page.contains("<script") && !page.contains("<up>"));
}

#[test]
fn builds_read_what_failed_and_what_nobody_knows() {
    let text = junit::render(&report()).expect("a document");
    for part in [
        "tests=\"5\" disabled=\"2\" errors=\"0\" failures=\"2\"",
        "<failure message=\"crashed (exit code 134)",
        "<skipped message=\"inconclusive",
        "amplify pid:42 (&lt;etcd&gt;)",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}

#[test]
fn reports_are_compared_row_by_row() {
    let before = report();
    let mut now = report();
    now.rows = vec![
        row(
            "read/socket=EAGAIN",
            Verdict::Resilient,
            Some(Breaking::Above(0.4)),
            None,
        ),
        row("connect=ENOENT", Verdict::Inconclusive, None, None),
        row(
            "write=ENOSPC",
            Verdict::Corrupt,
            Some(Breaking::Below(0.01)),
            Some((3, 3)),
        ),
        row(
            "fsync=EIO",
            Verdict::Crashed,
            Some(Breaking::Below(0.01)),
            Some((3, 3)),
        ),
        row(
            "open=EMFILE",
            Verdict::Crashed,
            Some(Breaking::Below(0.01)),
            Some((3, 3)),
        ),
    ];
    let compared = Comparison::of(&before, &now);
    let changes: Vec<Change> = compared.rows.iter().map(|row| row.change).collect();
    assert_eq!(
        changes,
        [
            Change::Better,
            Change::Same,
            Change::Unknown,
            Change::Worse,
            Change::New,
            Change::Gone
        ]
    );
    assert_eq!((compared.same_verdicts, compared.of), (3, 4));
    assert!(compared.is_worse());
    // Between 0.05 and 0.4 may be where it was before.
    let mut open = report();
    open.rows[0].breaking = Some(Breaking::Between(0.05, 0.4));
    let same = Comparison::of(&before, &open);
    assert_eq!(same.rows[0].change, Change::Same);
    assert!(
        text::table(&open.rows).contains("recovers in 2.1 s from between 0.05 and 0.4 on, 3 of 3")
    );
    assert!(!Comparison::of(&before, &before).is_worse());
}

#[test]
fn a_folder_without_a_campaign_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let missing = Report::read(folder.path()).unwrap_err().to_string();
    assert!(
        missing.contains("campaign.json") && missing.contains("--out"),
        "{missing}"
    );
    let report = report();
    write(
        &folder.path().join("campaign.json"),
        &serde_json::to_vec(&report.campaign).unwrap(),
    )
    .unwrap();
    let unended = Report::read(folder.path()).unwrap_err().to_string();
    assert!(unended.contains("has not come to its end"), "{unended}");
    write(&folder.path().join("rows.json"), b"[{]").unwrap();
    assert!(matches!(
        Report::read(folder.path()),
        Err(ReportError::Json { .. })
    ));
    write(
        &folder.path().join("rows.json"),
        &serde_json::to_vec(&report.rows).unwrap(),
    )
    .unwrap();
    assert_eq!(Report::read(folder.path()).unwrap(), report);
}
