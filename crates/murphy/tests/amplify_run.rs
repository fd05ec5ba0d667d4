//! `murphy amplify run`: a server that is known to crash, hang, forget, do worse and survive gets just these verdicts, and the rates
//! at which it breaks are found.
//!
//! Half of it by default; all with `MURPHY_SOAK=1`.
#![allow(
    clippy::print_stdout,
    reason = "the soak reads the figure that is printed"
)]

mod harness;

use std::{
    env, fs,
    net::TcpListener,
    path::Path,
    time::{Duration, Instant},
};

use harness::{Ended, Guard, Murphy, slack, wait_until};
use serde_json::Value;

/// Above this share of errors the server breaks.
const BREAKS_AT: f64 = 0.5;
/// Shorter than for people, with looks that come quicker.
const PHASES: [&str; 18] = [
    "--probe-every",
    "10ms",
    "--baseline",
    "1s",
    "--control",
    "700ms",
    "--injection",
    "2s",
    "--steady",
    "300ms",
    "--recovery",
    "3s",
    "--tolerance",
    "15%",
    "--slower",
    "5",
    "--first",
    "25%",
];

fn port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

/// A campaign on the server, at a port, with errors.
fn campaign(guard: &Guard, out: &Path, port: u16, errors: &[&str], more: &[&str]) -> Murphy {
    let server = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../victims/verdicts.py");
    let state = guard.dir().join("state");
    fs::create_dir_all(&state).expect("a directory");
    let mut murphy = guard
        .murphy(["amplify", "run", "--json"])
        .args(["--probe", &format!("up=http://127.0.0.1:{port}/")])
        .args(["--validate", &format!("http://127.0.0.1:{port}/state")])
        .args(more)
        .arg("--out")
        .arg(out);
    for error in errors {
        murphy = murphy.args(["--error", error]);
    }
    murphy
        .arg("--")
        .arg("python3")
        .arg(server)
        .arg(state)
        .arg(port.to_string())
}

fn rows(ended: &Ended) -> Vec<Value> {
    let rows = ended
        .lines()
        .into_iter()
        .filter(|line| line["event"] == "row");
    rows.map(|line| line["row"].clone()).collect()
}

#[test]
fn a_server_gets_the_verdicts_that_it_is_known_for() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let is_soak = env::var_os("MURPHY_SOAK").is_some();
    let all = [
        ("fsync=EIO", "crashed", true),
        ("link=EMLINK", "inconclusive", true),
        ("pwrite64=ENOSPC", "degraded", is_soak),
        ("readlink=EIO", "resilient", true),
        ("ftruncate=EIO", "hung", is_soak),
        ("rename=ENOSPC", "corrupt", true),
    ];
    let meant: Vec<_> = all.into_iter().filter(|(.., is_meant)| *is_meant).collect();
    let errors: Vec<&str> = meant.iter().map(|(error, ..)| *error).collect();
    let out = guard.dir().join("out");
    let replays = if is_soak { "2" } else { "1" };
    let ended = campaign(
        &guard,
        &out,
        port(),
        &errors,
        &[
            &PHASES[..],
            &["--replays", replays, "--up-to", "90%", "--again", "either"],
        ]
        .concat(),
    )
    .run();
    assert_eq!(ended.code, 1, "{ended:?}");
    let rows = rows(&ended);
    assert_eq!(rows.len(), meant.len(), "{ended:?}");
    for (row, (error, verdict, _)) in rows.iter().zip(&meant) {
        let brief = format!(
            "{error}: {} {} {} {}",
            row["verdict"], row["why"], row["breaking"], row["again"]
        );
        println!("figure: {brief}");
        assert_eq!(row["experiment"], *error);
        assert_eq!(row["verdict"], *verdict, "{brief}");
        match *verdict {
            "inconclusive" => assert_eq!(row["injections"], 0, "{brief}"),
            "resilient" => assert_eq!(row["breaking"]["Above"], 0.9, "{brief}"),
            _ => {
                let rate =
                    |place: usize| row["breaking"]["Between"][place].as_f64().expect("a rate");
                let found = (rate(0) * rate(1)).sqrt();
                let factor = (found / BREAKS_AT).max(BREAKS_AT / found);
                assert!(factor <= 1.5, "{brief}");
                assert_eq!(row["again"][0], row["again"][1], "{brief}");
            }
        }
    }
    let crash = &rows[0]["trials"].as_array().expect("trials");
    let death = crash
        .iter()
        .find(|one| one["seen"]["death"].is_object())
        .expect("it died");
    assert!(
        death["seen"]["death"]["how"]
            .as_str()
            .is_some_and(|how| how.contains("SIGABRT")),
        "{death}"
    );
    let said = &death["seen"]["death"]["said"];
    assert!(said.to_string().contains("cannot keep anything"), "{said}");
    assert!(guard.injections().is_empty());
    is_reported(&guard, &out, &rows);
    // All of it is known already.
    let again = campaign(&guard, &out, port(), &errors, &[]).run();
    assert_eq!(again.code, 2, "its port is another: {again:?}");
}

const MODELS: &str = "\
murphy-models: 1
models:
  - name: read-link
    rate: 0.5
    call: readlink
    errno: EIO
    natural: { rate: 0.01 }
  - name: keep
    inject: off
    rate: 0.9
    call: fsync
    errno: EIO
  - name: renamed
    inject: off
    rate: 0.45
    call: rename
    errno: ENOSPC
combinations:
  - name: full-disk
    models: [keep, renamed]
";

/// Models of a file are tried up to their own rates, those that are on alone and together, or one that is asked for.
#[test]
fn models_are_tried_as_their_file_says() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let models = guard.dir().join("models.yaml");
    fs::write(&models, MODELS).expect("a file");
    let path = models.to_str().expect("text");
    let run = |more: &[&str], out: &str| {
        let out = guard.dir().join(out);
        let more = [&PHASES[..], &["--replays", "1", path], more].concat();
        (campaign(&guard, &out, port(), &[], &more).run(), out)
    };
    let (ended, _) = run(&["--only", "nobody"], "nobody");
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(
        ended
            .stderr
            .contains("there are read-link, keep, renamed, full-disk"),
        "{ended:?}"
    );
    let (ended, _) = run(&["--error", "fsync=EIO"], "both");
    assert_eq!(ended.code, 2, "{ended:?}");
    fs::write(&models, MODELS.replace("rate: 0.5", "rate: much")).expect("a file");
    let (ended, _) = run(&[], "wrong");
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(ended.stderr.contains("models.yaml: 4:11"), "{ended:?}");
    fs::write(&models, MODELS).expect("a file");
    let (ended, out) = run(&[], "out");
    let rows = rows(&ended);
    let verdicts: Vec<_> = rows
        .iter()
        .map(|row| (&row["experiment"], &row["verdict"]))
        .collect();
    assert_eq!(
        verdicts,
        [
            (&"read-link".into(), &"resilient".into()),
            (&"full-disk".into(), &"crashed".into())
        ],
        "{ended:?}"
    );
    assert_eq!(
        (&rows[1]["call"], &rows[1]["errno"]),
        (&"fsync+rename".into(), &"EIO+ENOSPC".into())
    );
    // From a quarter on up to its own rate, of which a hundredth comes by nature.
    let rates: Vec<_> = rows[0]["trials"]
        .as_array()
        .expect("trials")
        .iter()
        .map(|one| one["rate"].as_f64())
        .collect();
    assert_eq!(rates, [Some(0.25), Some(0.5)]);
    let seen = &rows[0]["trials"][1]["seen"];
    let count = |name: &str| seen[name].as_f64().expect("a count");
    let share = count("injections") / count("exposures");
    let asked = (0.5 - 0.01) / 0.99;
    let sigma = (asked * (1.0 - asked) / count("exposures")).sqrt();
    assert!((share - asked).abs() < 4.0 * sigma, "{share} of {asked}");
    let report = fs::read_to_string(out.join("report.html")).expect("a page");
    assert!(
        report.contains("--only full-disk --rate 90% --seed "),
        "{report}"
    );
}

/// The report of a campaign is beside it, and says the same again.
fn is_reported(guard: &Guard, out: &Path, rows: &[Value]) {
    let page = fs::read_to_string(out.join("report.html")).expect("a page");
    let broken = rows
        .iter()
        .filter(|row| {
            !["resilient", "inconclusive"].contains(&row["verdict"].as_str().expect("a word"))
        })
        .count();
    for part in [
        &format!("BROKEN by {broken} of {} errors", rows.len()),
        "verdicts: cannot keep anything on this disk",
        "<rect class=\"injection\"",
        "<polyline class=\"processors\"",
        "amplify run --error fsync=EIO --rate 90% --seed ",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let builds = fs::read_to_string(out.join("junit.xml")).expect("a document");
    assert!(
        builds.contains(&format!("failures=\"{broken}\"")),
        "{builds}"
    );
    let report = |words: &[&str]| {
        let murphy = guard.murphy(["amplify", "report"]).arg(out).args(words);
        murphy.run()
    };
    let told = report(&[]);
    assert_eq!(told.code, 0, "{told:?}");
    assert!(told.stdout.contains("crashed (SIGABRT)"), "{told:?}");
    let path = out.to_str().expect("text");
    let compared = report(&["--against", path, "--json"]);
    assert_eq!(compared.code, 0, "{compared:?}");
    let line = &compared.lines()[0];
    assert_eq!(line["against"]["same_verdicts"], rows.len(), "{line}");
    assert_eq!(line["rows"], Value::from(rows.to_vec()));
    let missing = report(&["--against", "/nowhere"]);
    assert_eq!(missing.code, 2, "{missing:?}");
    assert!(missing.stderr.contains("campaign.json"), "{missing:?}");
}

/// Phases of minutes end with the budget, and at Ctrl-C; what was asked for goes on.
#[test]
fn a_trial_ends_with_the_budget_and_when_somebody_says_so() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let (out, port) = (guard.dir().join("out"), port());
    let go = |more: &[&str]| {
        let long = ["--injection", "20m", "--baseline", "1s", "--control", "1s"];
        campaign(
            &guard,
            &out,
            port,
            &["readlink=EIO"],
            &[&long, more].concat(),
        )
    };
    let begun = Instant::now();
    let ended = go(&["--budget", "6s"]).run();
    assert!(begun.elapsed() < slack() * Duration::from_secs(30));
    assert_eq!(ended.code, 4, "{ended:?}");
    let row = &rows(&ended)[0];
    assert_eq!(row["verdict"], "inconclusive", "{row}");
    assert_eq!(row["why"], "the budget ended", "{row}");
    assert!(guard.injections().is_empty());
    let murphy = go(&[]).start();
    // The target that was started is one of them.
    wait_until("it injects", || guard.injections().len() > 1);
    murphy.signal("INT");
    let ended = murphy.wait();
    assert_eq!(ended.code, 4, "{ended:?}");
    assert!(ended.stderr.contains("it was interrupted"), "{ended:?}");
    assert!(guard.injections().is_empty());
}

/// The engine is the one that is asked for: it tells how it stopped the calls.
#[test]
fn errors_come_by_the_engine_that_is_asked_for() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let out = guard.dir().join("out");
    let by_ptrace = ["--engine", "ptrace", "--rate", "90%", "--replays", "1"];
    // Whoever is stopped at each of his calls is slow.
    let more = [&PHASES[..16], &by_ptrace].concat();
    let murphy = campaign(&guard, &out, port(), &["rename=ENOSPC"], &more).start();
    wait_until("somebody traces it", || {
        let ids = guard.injections().into_iter();
        let mut entries = ids.filter_map(|id| fs::read_to_string(guard.journal().join(id)).ok());
        entries.any(|entry| entry.contains("end_tracing"))
    });
    let ended = murphy.wait();
    assert_eq!(ended.code, 1, "{ended:?}");
    let row = &rows(&ended)[0];
    assert_eq!(row["verdict"], "corrupt", "{row}");
    assert!(row["injections"].as_u64() > Some(100), "{row}");
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_started() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let refused = |errors: &[&str], more: &[&str], expected: &str| {
        let out = guard.dir().join("refused");
        let ended = campaign(&guard, &out, port(), errors, more).run();
        assert_eq!(ended.code, 2, "{ended:?}");
        assert!(ended.stderr.contains(expected), "{expected}: {ended:?}");
        assert!(!out.join("target.log").exists());
    };
    refused(&["fsync"], &[], "say CALL=ERRNO");
    refused(&["fsnc=EIO"], &[], "fsnc");
    refused(&["fsync=ENOTHING"], &[], "ENOTHING");
    refused(&["fsync=ECONNRESET"], &[], "cannot fail with ECONNRESET");
    refused(&["fsync=EIO", "fsync=EIO"], &[], "is there twice");
    refused(&["fsync=EIO"], &["--up-to", "0.5%"], "--first 1%");
    refused(&["fsync=EIO"], &["--injection", "50ms"], "too short");
    refused(&["fsync=EIO"], &["--slower", "0.5"], "--slower 0.5");
    refused(&["fsync=EIO"], &["-t", "pid:1"], "not both");
    refused(&["futex=EAGAIN"], &[], "--force does it");
    refused(&["fsync=EIO"], &["--probe", "up=tcp:127.0.0.1:1"], "\"up\"");
    refused(&["fsync=EIO"], &["--workload", "if"], "--workload");
    refused(&["fsync=EIO"], &["--rate", "0%"], "--rate 0%");
    let by = |engine| ["--engine", engine];
    refused(&["fsync=EIO"], &by("cgroup"), "fsync by engine cgroup");
    refused(&["fsync=EIO"], &by("magic"), "magic");
    // What was not found is no campaign.
    let out = guard.dir().join("refused");
    let murphy = guard.murphy(["amplify", "run", "--error", "fsync=EIO", "--probe"]);
    let ended = murphy
        .args(["command:true", "-t", "pid:4194304", "--out"])
        .arg(&out)
        .run();
    assert_eq!(ended.code, 3, "{ended:?}");
    assert!(!out.exists());
}
