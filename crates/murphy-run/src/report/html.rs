//! HTML is made of text that somebody else wrote; everything that comes from a run goes through here.

/// `text` as the content of an element or of a quoted attribute.
pub fn escaped(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            // Control characters are not allowed in HTML, and the directional ones can make a line lie.
            c if is_invisible(c) => html.push('\u{fffd}'),
            c => html.push(c),
        }
    }
    html
}

fn is_invisible(c: char) -> bool {
    c.is_control() && !matches!(c, '\n' | '\t')
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A sentence, escaped, in which what stands between two backticks is code and no line breaks between a
/// number and its unit.
pub fn sentence(text: &str) -> String {
    let parts: Vec<&str> = text.split('`').collect();
    // An odd number of backticks: the last one has no partner and stands for itself.
    let paired = if parts.len() % 2 == 1 {
        parts.len()
    } else {
        parts.len() - 1
    };
    let mut html = String::new();
    for (index, part) in parts.iter().enumerate() {
        let part = escaped(part);
        if index >= paired {
            html.push('`');
            html.push_str(&unbroken(&part));
        } else if index % 2 == 1 {
            html.push_str("<code>");
            html.push_str(&part);
            html.push_str("</code>");
        } else {
            html.push_str(&unbroken(&part));
        }
    }
    html
}

/// The text with a no-break space between a number and its unit.
fn unbroken(text: &str) -> String {
    let mut words = text.split(' ');
    let mut html: String = words.next().unwrap_or_default().into();
    for word in words {
        let unit = word.trim_end_matches(['.', ',', ';', ':', ')']);
        let is_unit = ["s", "ms", "µs", "ns", "%"].contains(&unit);
        let after_number = html.ends_with(|c: char| c.is_ascii_digit());
        html.push(if is_unit && after_number {
            '\u{a0}'
        } else {
            ' '
        });
        html.push_str(word);
    }
    html
}

/// JSON inside a script element, where `<` could end the element.
pub fn json(value: &serde_json::Value) -> String {
    value.to_string().replace('<', "\\u003c")
}

/// A path inside the folder as a relative link.
pub fn link(path: &str) -> String {
    let parts = path.bytes().map(|byte| {
        if byte.is_ascii_alphanumeric() || b"-_./~".contains(&byte) {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    });
    format!("./{}", parts.collect::<Vec<_>>().concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_a_run_says_is_markup() {
        for (text, html) in [
            ("<b>&\"'", "&lt;b&gt;&amp;&quot;&#39;"),
            ("a\u{0}b\u{1b}[31m", "a\u{fffd}b\u{fffd}[31m"),
            ("abc\u{202e}fed", "abc\u{fffd}fed"),
            ("≠ ünï 日本", "≠ ünï 日本"),
        ] {
            assert_eq!(escaped(text), html);
        }
    }

    #[test]
    fn backticks_make_code_in_pairs() {
        for (text, html) in [
            (
                "put `k = <1>` at n0",
                "put <code>k = &lt;1&gt;</code> at n0",
            ),
            ("one ` alone", "one ` alone"),
            ("`a` and `b", "<code>a</code> and `b"),
            (
                "after 46 ms, at 3.2 s. It is",
                "after 46\u{a0}ms, at 3.2\u{a0}s. It is",
            ),
            ("`9 s` is s", "<code>9 s</code> is s"),
            ("", ""),
        ] {
            assert_eq!(sentence(text), html);
        }
    }

    #[test]
    fn links_stay_inside_the_folder_and_json_inside_its_element() {
        assert_eq!(link("nodes/n%2F0.log"), "./nodes/n%252F0.log");
        assert_eq!(link("javascript:x"), "./javascript%3Ax");
        let value = serde_json::json!("</script>");
        assert_eq!(json(&value), "\"\\u003c/script>\"");
    }
}
