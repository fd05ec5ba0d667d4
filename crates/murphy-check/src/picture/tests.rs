//! The pictures of small histories, as they are; and that no word of a history becomes markup.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::Digest as _;

use super::{
    etcd_html, html,
    page::{JS_HASH, script},
    sample,
    sample::EVIL,
    svg,
};
use crate::etcd::{Options, Record, check_record};

#[test]
fn the_witness_of_a_register() {
    let (recording, report, explanations) = sample::register();
    insta::assert_snapshot!(svg(&recording, &report, &explanations).unwrap());
}

#[test]
fn a_queue_with_an_unknown_outcome() {
    let (recording, report, explanations) = sample::queue();
    insta::assert_snapshot!(svg(&recording, &report, &explanations).unwrap());
}

#[test]
fn a_small_history_with_faults_is_drawn_in_full() {
    let (recording, report, explanations) = sample::faults();
    insta::assert_snapshot!(svg(&recording, &report, &explanations).unwrap());
}

fn page() -> String {
    let (recording, report, explanations) = sample::hostile();
    let mut page = Vec::new();
    html(&recording, &report, &explanations, &mut page).unwrap();
    String::from_utf8(page).unwrap()
}

#[test]
fn no_word_of_a_history_is_markup() {
    let page = page();
    assert!(page.contains("&lt;/script&gt;&lt;script&gt;alert(1)"));
    assert_eq!(
        page.matches("<script").count(),
        2,
        "the data and the page's own"
    );
    assert_eq!(page.matches("</script>").count(), 2);
    for markup in ["<img", "<!--", "\u{2028}", "\u{202e}", "\u{0}"] {
        assert!(!page.contains(markup), "{markup:?}");
    }
    let data = page.split(r#"id="data">"#).nth(1).unwrap();
    let data = data.split("</script>").next().unwrap();
    let data: serde_json::Value = serde_json::from_str(data).unwrap();
    let said = EVIL.replace(['\u{2028}', '\u{202e}', '\u{0}'], "\u{fffd}");
    let texts = data["texts"].as_array().unwrap();
    assert!(texts.iter().any(|text| *text == said), "{texts:?}");
}

#[test]
fn every_attribute_and_element_of_the_page_is_closed() {
    let (recording, report, explanations) = sample::hostile();
    let svg = svg(&recording, &report, &explanations).unwrap();
    let mut depth = 0;
    for (at, _) in svg.match_indices('<') {
        let tag = &svg[at..=at + svg[at..].find('>').unwrap()];
        assert!(tag.matches('"').count().is_multiple_of(2), "{tag}");
        depth += match (tag.starts_with("</"), tag.ends_with("/>")) {
            (true, _) => -1,
            (_, true) => 0,
            _ => 1,
        };
    }
    assert_eq!(depth, 0);
}

/// `MURPHY_WRITE_DOCS=1 cargo test -p murphy-check --lib picture` draws it again.
#[test]
fn the_picture_in_the_documentation_is_what_the_code_draws() {
    let (recording, report, explanations) = sample::register();
    let drawn = svg(&recording, &report, &explanations).unwrap();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/picture.svg");
    if std::env::var_os("MURPHY_WRITE_DOCS").is_some() {
        std::fs::write(path, &drawn).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == drawn,
        "docs/picture.svg is not what the code draws"
    );
}

/// Two clients and a watch of a store whose second answer goes back in time.
const STORE: &str = r#"{"murphy":"history","version":1,"model":"etcd","nodes":["n0","n1"]}
{"index":0,"type":"invoke","process":"c1","f":"put","value":{"key":"k","value":"a"},"time":1000000,"node":"n0"}
{"index":1,"type":"invoke","process":"w","f":"watch","value":{"key":"k"},"time":1100000,"node":"n1"}
{"index":2,"type":"ok","process":"w","f":"watch","value":{"header":{"revision":1}},"time":1200000,"node":"n1"}
{"index":3,"type":"ok","process":"c1","f":"put","value":{"header":{"revision":2}},"time":5000000,"node":"n0"}
{"index":4,"type":"ok","process":"w","f":"watch_event","value":{"header":{"revision":2},"events":[{"kv":{"key":"k","create_revision":2,"mod_revision":2,"version":1,"value":"a"}}]},"time":5100000,"node":"n1"}
{"index":5,"type":"info","process":"nemesis","f":"pause","value":{"phase":"begin","id":"x"},"time":6000000,"node":"n1"}
{"index":6,"type":"invoke","process":"c2","f":"range","value":{"key":"k"},"time":7000000,"node":"n1"}
{"index":7,"type":"ok","process":"c2","f":"range","value":{"header":{"revision":1}},"time":9000000,"node":"n1"}
"#;

#[test]
fn a_history_of_etcd_has_lanes_for_clients_and_streams() {
    let record = Record::read(STORE.as_bytes()).unwrap();
    let scene = record.scene();
    let said: Vec<String> = scene
        .bars
        .iter()
        .map(|bar| {
            let keys = &scene.keys[bar.keys.0 as usize..bar.keys.1 as usize];
            let keys: Vec<&str> = keys.iter().map(|key| scene.text(*key)).collect();
            format!(
                "{}: {} → {} [{}] lines {} {} {}",
                scene.lane_of(bar),
                scene.text(bar.label),
                scene.text(bar.answer),
                keys.join(" "),
                bar.line,
                bar.end_line,
                scene.text(bar.node.unwrap()),
            )
        })
        .collect();
    assert_eq!(
        said,
        [
            "c1: put k = \"a\" → 2 = k [k] lines 2 5 n0",
            "w: watch k → from 2 [k] lines 3 4 n1",
            "w: watch k → 2 = k = \"a\" [k] lines 6 0 n1",
            "c2: read of k → 0 keys at 1 [k] lines 8 9 n1",
        ]
    );
    assert_eq!(
        (scene.bands[0].name.as_str(), scene.bands[0].family),
        ("pause n1", "process")
    );

    let report = check_record(record.clone(), &Options::default());
    let mut page = Vec::new();
    etcd_html(&record, &report, &mut page).unwrap();
    let page = String::from_utf8(page).unwrap();
    assert!(page.contains("<strong>BROKEN: linearizable.</strong>"));
    assert!(page.contains(r##"href="#L9""##));
}

#[test]
fn the_policy_allows_the_page_s_own_script() {
    let digest = sha2::Sha256::digest(script());
    assert_eq!(
        JS_HASH,
        STANDARD.encode(digest),
        "page.js was changed: JS_HASH must follow"
    );
}
