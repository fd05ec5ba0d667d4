use std::path::Path;

use murphy_check::verdict::Verdict;

use super::{crowd, headline, render, sample};
use crate::verdict::Ending;

const S: u64 = 1_000_000_000;

/// Where a person can look at the pages: only when asked for, by the name of a folder.
fn keep(name: &str, page: &str) {
    if let Some(folder) = std::env::var_os("MURPHY_KEEP_REPORTS") {
        let path = Path::new(&folder).join(format!("{name}.html"));
        std::fs::write(path, page).expect("the folder is there");
    }
}

/// What comes between `<body>` and the scripts.
fn body(page: &str) -> &str {
    let (_, body) = page.split_once("<body>").expect("a body");
    body.rsplit_once("<script>").expect("a script").0
}

/// Every tag that is opened is closed, in order.
fn assert_nested(page: &str) {
    const VOID: [&str; 5] = ["meta", "line", "path", "br", "!doctype"];
    let mut open: Vec<&str> = Vec::new();
    // The text of styles and scripts is not markup.
    let mut rest = page;
    while let Some((_, behind)) = rest.split_once('<') {
        let (tag, after) = behind.split_once('>').expect("a tag has an end");
        rest = after;
        let name = tag
            .split([' ', '/', '\n'])
            .find(|n| !n.is_empty())
            .unwrap_or_default();
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "…{}", &after[..after.len().min(80)]);
        } else if ["style", "script"].contains(&name) {
            let end = format!("</{name}>");
            rest = after.split_once(&end).expect("its end").1;
        } else if !VOID.contains(&name) {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

#[test]
fn every_page_is_whole_and_needs_nothing_else() {
    for (name, record) in [
        ("broken", sample::broken()),
        ("held", sample::held(60 * S)),
        ("held-0s", sample::held(0)),
        ("held-1s", sample::held(S)),
        ("held-600s", sample::held(600 * S)),
        ("undecided", sample::undecided()),
        ("crowded-60s", crowd::crowded(60_000)),
        ("crowded-600s", crowd::crowded(600_000)),
        ("hostile", crowd::hostile()),
    ] {
        let page = render(&record);
        keep(name, &page);
        assert_nested(&page);
        for outside in ["http://", "https://", "//cdn", "@import", "url("] {
            assert!(!page.contains(outside), "{name}: {outside}");
        }
        assert!(!page.contains("NaN") && !page.contains("inf"), "{name}");
    }
}

#[test]
fn a_broken_run() {
    insta::assert_snapshot!(body(&render(&sample::broken())));
}

#[test]
fn an_undecided_run() {
    insta::assert_snapshot!(body(&render(&sample::undecided())));
}

#[test]
fn a_crowded_witness() {
    insta::assert_snapshot!(super::witness::sections(&crowd::crowded(10_000)));
}

#[test]
fn a_skew_has_the_colour_of_its_family_and_says_what_was_seen() {
    let mut record = sample::broken();
    let text = "offset -34m of realtime; clock seen -34m off, as asked at 9 of 9 readings";
    let faults = record.timeline.faults.iter_mut();
    for fault in faults.filter(|f| f.fault == "kill") {
        fault.family = "time".into();
        fault.fault = "skew".into();
        fault.text = Some(text.into());
    }
    let page = render(&record);
    for part in [
        r#"<div class="span band time""#,
        r#"<th class="family time">skew</th>"#,
        "<p>Murphy skewed the clock of n2, until",
        &format!("s: {text}.</p>"),
        &format!(r#"<td class="wide">{text}</td>"#),
    ] {
        assert!(page.contains(part), "{part}");
    }
}

#[test]
fn nothing_of_a_hostile_run_becomes_markup() {
    let page = render(&crowd::hostile());
    assert!(!page.contains("<img"), "an element of the run's own");
    assert!(!page.contains("<script>alert"));
    assert_eq!(page.matches("<script").count(), 2, "the page's own");
    let (markup, data) = page.split_once("id=\"series\">").expect("data");
    assert!(!markup.contains("\"'>"), "an attribute ended too early");
    let (data, _) = data.split_once("</script>").expect("its end");
    let data: serde_json::Value = serde_json::from_str(data).expect("still JSON");
    assert!(
        data["faults"][0][2]
            .as_str()
            .expect("a title")
            .contains("<script>")
    );
}

#[test]
fn one_sentence_says_it() {
    let told = |record: &_| {
        let (strong, rest) = headline::sentences(record);
        format!("{strong} {rest}")
    };
    assert_eq!(
        told(&sample::broken()),
        "BROKEN: members disagree. After node n2 was killed at 12.4 s, n2 misses revision 4017 that n0 and n1 \
         hold."
    );
    assert_eq!(
        told(&sample::held(S)),
        "HELD: members-agree and durable. 72,491 operations and no faults, nothing lost, nothing contradicted."
    );
    assert_eq!(
        told(&sample::undecided()),
        "UNDECIDED: n1 never became healthy, so members-agree and durable could not be judged."
    );
    let mut idle = sample::held(S);
    idle.verdicts.vacuity.operations = 0;
    assert_eq!(
        told(&idle),
        "HELD: members-agree and durable. But there were no operations and no faults."
    );
    idle.verdicts.promises.clear();
    idle.verdicts.verdict = Verdict::Undecided;
    assert_eq!(
        told(&idle),
        "UNDECIDED: not everything was judged, so the run says nothing."
    );
    let mut stopped = sample::undecided();
    let reason = "the disk is full".into();
    stopped.verdicts.ending = Ending::Stopped { reason };
    stopped.verdicts.selected = vec!["durable".into()];
    assert_eq!(
        told(&stopped),
        "UNDECIDED: the disk is full, so durable could not be judged."
    );
}

#[test]
fn what_does_not_decide_is_shown_but_does_not_decide() {
    let mut record = sample::broken();
    record.verdicts.selected = vec!["durable".into()];
    record.verdicts.verdict = Verdict::Held;
    let page = render(&record);
    assert!(page.contains("HELD: durable."));
    assert!(page.contains("does not decide"));
    assert!(
        page.contains("<h2 id=\"witness-1\">"),
        "and its witness is drawn"
    );
}
