//! The texts of a picture: what a history says made harmless, and figures as people read them.

use crate::text::thousands_apart;

/// `text` as the content of an element or of a quoted attribute, in HTML and in SVG.
pub fn escaped(text: &str) -> String {
    let mut markup = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => markup.push_str("&amp;"),
            '<' => markup.push_str("&lt;"),
            '>' => markup.push_str("&gt;"),
            '"' => markup.push_str("&quot;"),
            '\'' => markup.push_str("&#39;"),
            c => markup.push(visible(c)),
        }
    }
    markup
}

/// A sentence, escaped, in which what stands between two backticks is code.
pub fn sentence(text: &str) -> String {
    let parts: Vec<&str> = text.split('`').collect();
    if parts.len().is_multiple_of(2) {
        return escaped(text);
    }
    let mut markup = String::new();
    for (index, part) in parts.iter().enumerate() {
        let part = escaped(part);
        if index.is_multiple_of(2) {
            markup.push_str(&part);
        } else {
            markup.extend(["<code>", &part, "</code>"]);
        }
    }
    markup
}

/// Control characters are not allowed in markup, and the directional ones can make a line lie.
fn visible(c: char) -> char {
    let is_hidden = c.is_control() && !matches!(c, '\n' | '\t')
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        || matches!(c, '\u{fffe}' | '\u{ffff}');
    if is_hidden { '\u{fffd}' } else { c }
}

/// The same for a text that goes into JSON.
pub fn plain(text: &str) -> std::borrow::Cow<'_, str> {
    if text.chars().all(|c| visible(c) == c) {
        text.into()
    } else {
        text.chars().map(visible).collect::<String>().into()
    }
}

/// JSON inside a script element: neither the element's end nor a comment can begin in it.
pub fn json(value: &serde_json::Value) -> String {
    value.to_string().replace('<', "\\u003c")
}

/// At most `room` characters, the last of them `…` where that is not all.
pub fn cut(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(room.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// A number with thousands apart: `72,491`.
pub fn count(number: u64) -> String {
    thousands_apart(number, ',')
}

/// A number and what it counts: `1 fault`, `2 faults`, `no faults`.
pub fn counted(number: u64, noun: &str) -> String {
    match number {
        0 => format!("no {noun}s"),
        1 => format!("1 {noun}"),
        _ => format!("{} {noun}s", count(number)),
    }
}

/// `text` with a full stop at its end, once.
pub fn full_stop(text: &str) -> String {
    let text = text.trim_end();
    if text.is_empty() || text.ends_with(['.', '!', '?']) {
        text.into()
    } else {
        format!("{text}.")
    }
}

/// How moments of one figure are written: in one unit, with as many decimals as tell them apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clock {
    /// `ns`, `µs`, `ms`, `s`, or `event` for a history without times.
    pub unit: &'static str,
    per_unit: f64,
    decimals: usize,
}

impl Clock {
    /// The clock of a figure that ends at `last` and in which moments a `step` apart should look different.
    pub fn new(last: u64, step: u64, is_timed: bool) -> Self {
        if !is_timed {
            return Self {
                unit: "event",
                per_unit: 1.0,
                decimals: 0,
            };
        }
        let (unit, per_unit) = match last {
            0..10_000 => ("ns", 1.0),
            10_000..10_000_000 => ("µs", 1e3),
            10_000_000..1_000_000_000 => ("ms", 1e6),
            _ => ("s", 1e9),
        };
        let step = step.max(1) as f64 / per_unit;
        let whole = if unit == "ns" { 0 } else { 9 };
        let decimals = (0..whole)
            .find(|decimals| step >= 10f64.powi(-decimals))
            .unwrap_or(whole);
        Self {
            unit,
            per_unit,
            decimals: usize::try_from(decimals).unwrap_or_default(),
        }
    }

    /// A moment without its unit.
    pub fn number(&self, moment: u64) -> String {
        format!("{:.*}", self.decimals, moment as f64 / self.per_unit)
    }

    /// A moment with its unit.
    pub fn moment(&self, moment: u64) -> String {
        match self.unit {
            "event" => format!("event {moment}"),
            unit => format!("{} {unit}", self.number(moment)),
        }
    }

    /// How long something took.
    pub fn lasted(&self, duration: u64) -> String {
        match duration {
            _ if self.unit == "event" => counted(duration, "event"),
            0..1_000 => format!("{duration} ns"),
            1_000..1_000_000 => format!("{} µs", duration / 1_000),
            1_000_000..1_000_000_000 => format!("{} ms", duration / 1_000_000),
            _ => format!("{:.1} s", duration as f64 / 1e9),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_a_history_says_is_markup() {
        for (text, markup) in [
            ("<b>&\"'", "&lt;b&gt;&amp;&quot;&#39;"),
            ("a\u{0}b\u{1b}[31m", "a\u{fffd}b\u{fffd}[31m"),
            ("abc\u{202e}fed\u{2028}", "abc\u{fffd}fed\u{fffd}"),
            ("≠ ünï 日本", "≠ ünï 日本"),
        ] {
            assert_eq!(escaped(text), markup);
        }
        assert_eq!(sentence("`<a>` is"), "<code>&lt;a&gt;</code> is");
        assert_eq!(sentence("one ` alone"), "one ` alone");
        assert_eq!(plain("a\u{2029}b"), "a\u{fffd}b");
        let script = serde_json::json!("</script><!--");
        assert_eq!(json(&script), r#""\u003c/script>\u003c!--""#);
    }

    #[test]
    fn moments_are_told_apart_in_one_unit() {
        const MS: u64 = 1_000_000;
        for (at, last, step, is_timed, written) in [
            (8_014 * MS, 8_060 * MS, 3 * MS, true, "8.014 s"),
            (8_014 * MS, 60_000 * MS, 4_000 * MS, true, "8 s"),
            (5, 900, 1, true, "5 ns"),
            (20 * MS, 40 * MS, MS / 2, true, "20.0 ms"),
            (3, 9, 1, false, "event 3"),
        ] {
            assert_eq!(Clock::new(last, step, is_timed).moment(at), written);
        }
        let clock = Clock::new(1, 1, true);
        let spans = [12, 4_500, 46 * MS, 3_200 * MS].map(|span| clock.lasted(span));
        assert_eq!(spans, ["12 ns", "4 µs", "46 ms", "3.2 s"]);
        assert_eq!(Clock::new(9, 1, false).lasted(2), "2 events");
    }

    #[test]
    fn short_texts_stay_whole() {
        assert_eq!(cut("write 3", 7), "write 3");
        assert_eq!(cut("write 34", 7), "write …");
        assert_eq!(
            [0, 1, 2_000].map(|n| counted(n, "fault")),
            ["no faults", "1 fault", "2,000 faults"]
        );
        assert_eq!(full_stop("it ended "), "it ended.");
    }
}
