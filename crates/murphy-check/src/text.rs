//! Text is how figures, times and names are said, whatever the model.

/// `8.06 s`.
pub(crate) fn seconds(ns: u64) -> String {
    format!("{:.2} s", ns as f64 / 1e9)
}

/// `6 814`.
pub(crate) fn grouped(number: u64) -> String {
    thousands_apart(number, ' ')
}

/// A number whose thousands are kept apart by `gap`.
pub(crate) fn thousands_apart(number: u64, gap: char) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(gap);
        }
        text.push(digit);
    }
    text
}

/// `1 event`, `2 events`.
pub(crate) fn counted(number: u64, what: &str) -> String {
    format!(
        "{} {what}{}",
        grouped(number),
        if number == 1 { "" } else { "s" }
    )
}

/// `n0`, `n0 and n1`, `n0, n1 and n2`.
pub(crate) fn listed(names: &[String]) -> String {
    match names {
        [] => "nobody".into(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}
