//! The page of a history in a real browser: it opens without a complaint and without the network, draws every bar,
//! filters, zooms, tells, and shows its witness also without a script.
//!
//! Without chromium these tests say `skipped: chromium`; `make test` brings it.

mod browser;

use std::{fs, io::BufWriter, path::PathBuf};

use browser::{
    Browser,
    history::{self, CLIENTS, KEYS},
};
use murphy_check::{
    picture,
    recording::{Outcome, Recording},
    value::Value,
};
use serde_json::json;
use tempfile::TempDir;

/// The page of a generated history, written to a file.
struct Page {
    path: PathBuf,
    recording: Recording,
    _folder: TempDir,
}

impl Page {
    fn of(operations: usize) -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("history.html");
        let (recording, report, explanations) = history::of(operations, 11);
        let file = BufWriter::new(fs::File::create(&path).unwrap());
        picture::html(&recording, &report, &explanations, file).unwrap();
        Self {
            path,
            recording,
            _folder: folder,
        }
    }

    /// How many invocations are like that.
    fn count(&self, is: impl Fn(&murphy_check::recording::Invocation) -> bool) -> usize {
        self.recording.invocations.iter().filter(|i| is(i)).count()
    }
}

/// The bars on the chart, one by one and together.
fn drawn(browser: &mut Browser) -> (usize, usize) {
    let one_by_one = browser.count("+document.getElementById('chart').dataset.bars");
    let together = browser.count("+document.getElementById('chart').dataset.merged");
    (one_by_one, together)
}

fn counted(browser: &mut Browser) -> String {
    browser.text("document.getElementById('count').textContent")
}

fn thousands(number: usize) -> String {
    let digits = number.to_string();
    match digits.len() {
        4.. => format!(
            "{},{}",
            &digits[..digits.len() - 3],
            &digits[digits.len() - 3..]
        ),
        _ => digits,
    }
}

#[test]
fn a_page_opens_filters_zooms_and_tells() {
    if !browser::is_there() {
        return browser::say_skipped();
    }
    let page = Page::of(5_000);
    let all = page.recording.invocations.len();
    let mut browser = Browser::start();
    browser.open(&page.path);
    assert_eq!(
        browser.requests.len(),
        1,
        "only the page itself: {:?}",
        browser.requests
    );

    // The witness stands in the page itself: three bars, the longest order, what cannot come next.
    assert_eq!(
        browser.count("document.querySelectorAll('svg.figure .bar').length"),
        12
    );
    assert_eq!(
        browser.count("document.querySelectorAll('svg.figure .clash').length"),
        2
    );
    assert_eq!(
        browser.count("document.querySelectorAll('svg.figure .step').length"),
        11
    );
    assert_eq!(
        browser.count("document.querySelectorAll('svg.figure .blocked').length"),
        1
    );
    let headline = browser.text("document.querySelector('h1').textContent");
    assert!(
        headline.starts_with("BROKEN: linearizable. a read answered"),
        "{headline}"
    );

    the_script_knows_the_history(&mut browser, &page);
    the_chart_is_on_the_screen(&mut browser);
    every_bar_is_drawn_once(&mut browser, all);
    filters_leave_what_they_should(&mut browser, &page, all);
    zoom_follows_buttons_keys_and_wheel(&mut browser);
    a_click_tells_everything(&mut browser);
    clients_share_lanes_or_not(&mut browser);
    the_witness_is_found_in_the_history(&mut browser);
    assert_eq!(browser.complaints, [""; 0]);
}

/// What the script read is what was recorded, number by number.
fn the_script_knows_the_history(browser: &mut Browser, page: &Page) {
    let read = browser.value(
        "Array.from(call, (_, i) => [clientNames[clientOf[i]], texts[f[i]], outcome[i], call[i], end[i], line[i], \
         endLine[i], index[i], endIndex[i], texts[node[i] - 1], error[i] ? texts[error[i] - 1] : null])",
    );
    let recording = &page.recording;
    let read = read.as_array().unwrap();
    assert_eq!(read.len(), recording.invocations.len());
    for (read, i) in read.iter().zip(&recording.invocations) {
        let outcome = match i.outcome {
            Outcome::Ok => 0,
            Outcome::Fail => 1,
            Outcome::Unknown => 2,
        };
        let (process, f) = (recording.process(i.process), recording.word(i.f));
        let (node, error) = (
            i.node.map(|n| recording.node(n)),
            i.error.map(|e| recording.word(e)),
        );
        let recorded = json!([
            process,
            f,
            outcome,
            i.call,
            i.end,
            i.line,
            i.end_line,
            i.index,
            i.end_index,
            node,
            error
        ]);
        assert_eq!(*read, recorded);
    }
}

/// What was drawn can be seen: nothing lies upon it, and it is not empty.
fn the_chart_is_on_the_screen(browser: &mut Browser) {
    browser.value("document.getElementById('lanes').scrollIntoView({ block: 'center' })");
    browser.settle();
    let (x, y) = middle(browser, "lanes");
    let top = format!("document.elementFromPoint({x}, {y}).id");
    assert_eq!(browser.text(&top), "chart");
    let coloured = browser.number(
        "(copy => { const chart = document.getElementById('chart'); copy.canvas.width = chart.width; \
         copy.canvas.height = chart.height; copy.drawImage(chart, 0, 0); \
         const p = copy.getImageData(0, 0, chart.width, chart.height).data; let n = 0; \
         for (let i = 0; i < p.length; i += 4) if (Math.abs(p[i] - p[i + 2]) > 40) n++; return n / (p.length / 4); })\
         (document.createElement('canvas').getContext('2d', { willReadFrequently: true }))",
    );
    assert!(coloured > 0.2, "bars cover {coloured} of the chart");
}

/// With all lanes in the window, what is drawn one by one and together is everything.
fn every_bar_is_drawn_once(browser: &mut Browser, all: usize) {
    assert!(counted(browser).starts_with(&format!("{} invocations, ", thousands(all))));
    let lanes = browser.number("document.getElementById('room').offsetHeight");
    let mut sum = 0;
    let mut seen = 0;
    // The chart scrolls; a lane at the edge is drawn on both sides, so each client is asked for alone.
    let names = browser.value("clientNames");
    assert!(lanes > 520.0, "there is something to scroll: {lanes}");
    for name in names.as_array().unwrap() {
        browser.fill("by-lane", name.as_str().unwrap());
        let (bars, merged) = drawn(browser);
        assert!(bars + merged > 0, "{name}");
        sum += bars + merged;
        seen += 1;
    }
    assert!(seen > 50);
    assert_eq!(sum, all);
    browser.fill("by-lane", "");
}

fn filters_leave_what_they_should(browser: &mut Browser, page: &Page, all: usize) {
    let has_key =
        |key: &str| page.count(|i| i.ask.field("key").and_then(Value::as_text) == Some(key));
    let keys: usize = (0..KEYS).map(|n| has_key(&format!("k{n}"))).sum();
    assert_eq!(keys, all);
    let with_value = |start: &str| {
        page.count(|i| {
            i.ask
                .field("value")
                .and_then(Value::as_int)
                .is_some_and(|value| value.to_string().starts_with(start))
        })
    };
    assert!(with_value("43") > 10);
    let word = |f: &str| page.count(|i| page.recording.word(i.f) == f);
    let unknown = page.count(|i| i.outcome == Outcome::Unknown);
    let read = browser
        .text("[...document.getElementById('by-f').options].find(o => o.text === 'read').value");
    for (field, value, left) in [
        ("by-key", "k7", has_key("k7")),
        ("by-key", "no such key", 0),
        ("by-f", read.as_str(), word("read")),
        ("by-outcome", "2", unknown),
        ("find", "deadline EXCEEDED", unknown),
        ("find", "= 43", with_value("43")),
    ] {
        browser.fill(field, value);
        let said = counted(browser);
        let expected = format!("{} of {} invocations, ", thousands(left), thousands(all));
        assert!(
            said.starts_with(&expected),
            "{field} {value}: {said}, not {expected}"
        );
        browser.fill(field, "");
    }
    // Filters work together.
    browser.fill("by-key", "k7");
    browser.fill("by-outcome", "0");
    let both = page.count(|i| {
        i.outcome == Outcome::Ok && i.ask.field("key").and_then(Value::as_text) == Some("k7")
    });
    assert!(counted(browser).starts_with(&format!("{both} of ")));
    browser.value("document.getElementById('reset').click()");
    browser.settle();
    assert!(counted(browser).starts_with(&format!("{} invocations", thousands(all))));
}

fn span(browser: &mut Browser) -> f64 {
    browser.number("(({from, to}) => to - from)(document.getElementById('chart').dataset)")
}

fn zoom_follows_buttons_keys_and_wheel(browser: &mut Browser) {
    let whole = span(browser);
    let (before, merged) = drawn(browser);
    assert!(merged > 0);
    browser.value("document.getElementById('in').click()");
    browser.settle();
    assert!((span(browser) / whole - 0.5).abs() < 1e-6);
    browser.value("document.getElementById('lanes').focus()");
    for _ in 0..6 {
        browser.press("+");
    }
    let near = span(browser);
    assert!((near / whole - 1.0 / 128.0).abs() < 1e-6);
    let (bars, merged) = drawn(browser);
    assert!(
        bars > 0 && bars < before && merged < bars,
        "{bars} one by one, {merged} together"
    );
    browser.value("document.getElementById('lanes').scrollIntoView({ block: 'center' })");
    let (x, y) = middle(browser, "lanes");
    browser.wheel(x, y, -200.0);
    assert!(span(browser) < near * 0.9);
    let from = browser.number("+document.getElementById('chart').dataset.from");
    browser.drag((x, y), (x - 200.0, y));
    assert!(browser.number("+document.getElementById('chart').dataset.from") > from);
    browser.press("Home");
    assert!((span(browser) / whole - 1.0).abs() < 1e-6);
    // A stretch marked on the strip is what the chart shows.
    let (x, y) = middle(browser, "strip-box");
    browser.drag((x - 100.0, y), (x + 100.0, y));
    let wide = browser.number("document.getElementById('strip-box').clientWidth");
    assert!((span(browser) / whole * 1.02 - 200.0 / wide).abs() < 0.01);
    browser.press("Home");
}

fn middle(browser: &mut Browser, id: &str) -> (f64, f64) {
    let place = format!(
        "(b => ({{ x: b.x + b.width / 2, y: b.y + b.height / 2 }}))(document.getElementById('{id}').getBoundingClientRect())"
    );
    let place = browser.value(&place);
    (place["x"].as_f64().unwrap(), place["y"].as_f64().unwrap())
}

fn a_click_tells_everything(browser: &mut Browser) {
    browser.fill("by-lane", "c3");
    browser.value("document.getElementById('lanes').focus()");
    browser.press("ArrowRight");
    browser.press("Enter");
    let told = browser.text("document.getElementById('details').innerText");
    assert!(
        told.contains("client\nc3\n") || told.contains("client\n\nc3"),
        "{told}"
    );
    browser.press("Escape");
    assert_eq!(
        browser.text("document.getElementById('details').innerText"),
        ""
    );
    // The chosen invocation fills the middle of its lane now.
    let at = browser.value(
        "(b => ({ x: b.x + 104 + (b.width - 104) / 2, y: b.y + 13 }))(document.getElementById('lanes').getBoundingClientRect())",
    );
    browser.click(at["x"].as_f64().unwrap(), at["y"].as_f64().unwrap());
    let told = browser.text("document.getElementById('details').innerText");
    for what in ["c3", "asked on line", "member", "key", "answered"] {
        assert!(told.contains(what), "{what}: {told}");
    }
    let tip = browser.text("document.getElementById('tip').textContent");
    assert!(tip.starts_with("c3: "), "{tip}");
    browser.value("document.getElementById('reset').click()");
    browser.settle();
}

/// Each unknown outcome makes a new name of a client; the names follow each other on one lane, unless they shall not.
fn clients_share_lanes_or_not(browser: &mut Browser) {
    let names = browser.count("clientNames.length");
    assert!(names > CLIENTS + 20);
    let lanes = "Math.round((document.getElementById('room').offsetHeight - 32) / 24)";
    let shared = browser.count(lanes);
    assert!(
        (CLIENTS..CLIENTS + 5).contains(&shared),
        "{shared} lanes for {CLIENTS} clients with {names} names"
    );
    browser.value("document.getElementById('share').click()");
    browser.settle();
    assert_eq!(browser.count(lanes), names);
    browser.value("document.getElementById('share').click()");
    browser.settle();
}

fn the_witness_is_found_in_the_history(browser: &mut Browser) {
    browser.value("document.getElementById('only').click()");
    browser.settle();
    let said = counted(browser);
    assert!(said.starts_with("12 of "), "{said}");
    let (bars, _) = drawn(browser);
    assert_eq!(bars, 12, "the eleven steps and what cannot come next");
    // A line of the witness leads to its bar.
    browser.value("document.getElementById('only').click()");
    browser.value("document.querySelector('.sentences .line').click()");
    browser.settle();
    let line = browser.text("location.hash.slice(2)");
    let told = browser.text("document.getElementById('details').innerText");
    assert!(told.contains(&format!("line {line} ")), "{line}: {told}");
    assert!(told.contains("sets the scene"), "{told}");
}

/// The issue says three seconds; a test gives three times as much.
#[test]
fn a_hundred_thousand_invocations_open_and_filter() {
    if !browser::is_there() {
        return browser::say_skipped();
    }
    let page = Page::of(100_000);
    let mut browser = Browser::start();
    browser.open(&page.path);
    let opened = browser.number("performance.getEntriesByName('interactive')[0].startTime");
    let before = browser.number("performance.now()");
    browser.fill("by-key", "k7");
    let filtered = browser.number("performance.now()") - before;
    let left = page.count(|i| i.ask.field("key").and_then(Value::as_text) == Some("k7"));
    let said = counted(&mut browser);
    assert!(
        said.starts_with(&format!("{} of 100,000 invocations, ", thousands(left))),
        "{said}"
    );
    assert!(
        opened + filtered < 9_000.0,
        "{opened} ms until it is open, {filtered} ms to filter"
    );
    assert_eq!(browser.complaints, [""; 0]);
}

#[test]
fn a_page_is_dark_where_the_system_is_and_its_button_overrides_it() {
    if !browser::is_there() {
        return browser::say_skipped();
    }
    let page = Page::of(200);
    let mut browser = Browser::start();
    browser.scheme("light");
    browser.open(&page.path);
    // How light a corner of the chart is.
    let corner = "(copy => { copy.drawImage(document.getElementById('chart'), 0, 0); \
                  return copy.getImageData(3, 12, 1, 1).data[0]; })\
                  (document.createElement('canvas').getContext('2d', { willReadFrequently: true }))";
    let paper = "getComputedStyle(document.body).backgroundColor";
    assert_eq!(browser.text(paper), "rgb(247, 247, 245)");
    assert_eq!(browser.count(corner), 255);
    browser.scheme("dark");
    assert_eq!(browser.text(paper), "rgb(15, 17, 19)");
    assert_eq!(browser.count(corner), 22);
    browser.value("document.getElementById('theme').click()");
    browser.settle();
    assert_eq!(browser.text(paper), "rgb(247, 247, 245)");
    assert_eq!(browser.count(corner), 255);
    // Paper is light, whatever the screen is, and the screen gets its own back.
    browser.value("document.getElementById('theme').click()");
    browser.settle();
    assert_eq!(browser.count(corner), 22);
    browser.value("dispatchEvent(new Event('beforeprint'))");
    assert_eq!(browser.count(corner), 255);
    browser.value("dispatchEvent(new Event('afterprint'))");
    assert_eq!(browser.count(corner), 22);
    assert_eq!(browser.complaints, [""; 0]);
}

#[test]
fn nothing_a_history_says_runs() {
    if !browser::is_there() {
        return browser::say_skipped();
    }
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("history.html");
    let evil = "</script><script>document.title='gone'</script><img src=x onerror=\"document.title='gone'\">'\"`\u{2028}";
    let (recording, report, explanations) = history::hostile(evil);
    let mut file = fs::File::create(&path).unwrap();
    picture::html(&recording, &report, &explanations, &mut file).unwrap();
    let mut browser = Browser::start();
    browser.open(&path);
    browser.value("document.getElementById('lanes').focus()");
    browser.press("ArrowRight");
    browser.value("document.getElementById('table').open = true");
    browser.settle();
    let told = browser.text("document.getElementById('details').textContent");
    assert!(
        told.contains("<script>document.title='gone'</script>"),
        "{told}"
    );
    assert_eq!(
        browser.count("document.querySelectorAll('#table tbody tr').length"),
        2
    );
    let lines = browser.value("[Array.from(line), Array.from(endLine)]");
    assert_eq!(lines, json!([[12, 4], [13, 5]]));
    assert_ne!(browser.text("document.title"), "gone");
    assert_eq!(browser.count("document.querySelectorAll('img').length"), 0);
    assert_eq!(browser.count("document.scripts.length"), 2);
    assert_eq!(browser.requests.len(), 1, "{:?}", browser.requests);
    assert_eq!(browser.complaints, [""; 0]);
}

#[test]
fn without_a_script_the_verdict_and_the_witness_are_there() {
    if !browser::is_there() {
        return browser::say_skipped();
    }
    let page = Page::of(200);
    let mut browser = Browser::start();
    browser.open_without_script(&page.path);
    let seen = |selector: &str| {
        format!(
            "(b => b.width > 0 && b.height > 0)(document.querySelector('{selector}').getBoundingClientRect())"
        )
    };
    for selector in [
        "h1",
        ".promises .broken",
        "svg.figure .clash",
        "svg.figure .path",
        "svg.figure .reason",
        ".sentences .broken",
        "noscript p",
    ] {
        assert_eq!(browser.value(&seen(selector)), true, "{selector}");
    }
    for selector in ["#browser", "#theme", ".show"] {
        assert_eq!(browser.value(&seen(selector)), false, "{selector}");
    }
}
