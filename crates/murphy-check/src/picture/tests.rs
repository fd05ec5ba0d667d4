//! The pictures of small histories, as they are; and that no word of a history becomes markup.

use super::{html, sample, sample::EVIL, svg};

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
