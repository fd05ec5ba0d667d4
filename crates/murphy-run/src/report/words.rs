//! Figures as people read them: with units, few digits and the right plural.

use jiff::Timestamp;

const US: u64 = 1_000;
const MS: u64 = 1_000_000;
const S: u64 = 1_000_000_000;

/// A time on the run's clock: `12.40 s` with two decimals.
pub fn moment(time_ns: u64, decimals: usize) -> String {
    format!("{} s", seconds(time_ns, decimals))
}

/// Seconds without their unit.
pub fn seconds(time_ns: u64, decimals: usize) -> String {
    format!("{:.decimals$}", time_ns as f64 / S as f64)
}

/// How long something took: `46 ms`, `3.2 s`.
pub fn lasted(duration_ns: u64) -> String {
    match duration_ns {
        0..US => format!("{duration_ns} ns"),
        US..MS => format!("{} µs", duration_ns / US),
        MS..S => format!("{} ms", duration_ns / MS),
        _ => moment(duration_ns, 1),
    }
}

/// Microseconds in milliseconds, with a decimal below ten.
pub fn milliseconds(duration_us: u64) -> String {
    if duration_us < 10_000 {
        format!("{:.1} ms", duration_us as f64 / 1e3)
    } else {
        format!("{} ms", count((duration_us + 500) / 1_000))
    }
}

/// A number with thousands apart: `72,491`.
pub fn count(number: u64) -> String {
    thousands_apart(&number.to_string())
}

/// The same for a number that is not negative, rounded.
pub fn whole(number: f64) -> String {
    thousands_apart(&format!("{number:.0}"))
}

fn thousands_apart(digits: &str) -> String {
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number for a headline: exact below 100,000, then `207 k`, `1.2 M`.
pub fn rounded(number: u64) -> String {
    match number {
        0..100_000 => count(number),
        100_000..1_000_000 => format!("{} k", number / 1_000),
        _ => format!("{:.1} M", number as f64 / 1e6),
    }
}

/// A number and what it counts: `1 fault`, `2 faults`, `no faults`.
pub fn counted(number: u64, noun: &str) -> String {
    match number {
        0 => format!("no {noun}s"),
        1 => format!("1 {noun}"),
        _ => format!("{} {noun}s", count(number)),
    }
}

/// A part of a whole: `25.1 %`; `0 %` of nothing.
pub fn percent(part: u64, whole: u64) -> String {
    if part == 0 || whole == 0 {
        return "0 %".into();
    }
    let percent = part as f64 * 100.0 / whole as f64;
    if percent < 0.1 {
        "< 0.1 %".into()
    } else {
        format!("{percent:.1} %")
    }
}

/// Bytes in powers of 1,000, as file managers show them: `41 MB`.
pub fn bytes(number: u64) -> String {
    let (mut amount, mut unit) = (number as f64, "B");
    for next in ["kB", "MB", "GB", "TB"] {
        if amount < 999.5 {
            break;
        }
        (amount, unit) = (amount / 1e3, next);
    }
    if unit != "B" && amount < 9.95 {
        format!("{amount:.1} {unit}")
    } else {
        format!("{amount:.0} {unit}")
    }
}

/// Memory in powers of 1,024: `15.6 GiB`.
pub fn memory(number: u64) -> String {
    format!("{:.1} GiB", number as f64 / f64::from(1 << 30))
}

/// Names in a row: `a`, `a and b`, `a, b and c`.
pub fn and<T: AsRef<str>>(names: &[T]) -> String {
    match names {
        [] => "nothing".into(),
        [one] => one.as_ref().into(),
        [others @ .., last] => {
            let others: Vec<&str> = others.iter().map(AsRef::as_ref).collect();
            format!("{} and {}", others.join(", "), last.as_ref())
        }
    }
}

/// Small numbers as words, as in a headline.
pub fn number_word(number: usize) -> String {
    const WORDS: [&str; 9] = [
        "one", "two", "three", "four", "five", "six", "seven", "eight", "nine",
    ];
    match number.checked_sub(1).and_then(|i| WORDS.get(i)) {
        Some(word) => (*word).into(),
        None => number.to_string(),
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

/// Wall-clock time to the minute: `2026-11-21 02:18 UTC`; what is no RFC 3339 stays as it is.
pub fn wall_clock(rfc3339: &str) -> String {
    match rfc3339.parse::<Timestamp>() {
        Ok(time) => time.strftime("%Y-%m-%d %H:%M UTC").to_string(),
        Err(_) => rfc3339.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        let counts = [0, 7, 999, 1_000, 72_491, 1_234_567].map(count);
        assert_eq!(counts, ["0", "7", "999", "1,000", "72,491", "1,234,567"]);
        let heads = [99_999, 207_412, 1_250_000].map(rounded);
        assert_eq!(heads, ["99,999", "207 k", "1.2 M"]);
        let faults = [0, 1, 2_000].map(|n| counted(n, "fault"));
        assert_eq!(faults, ["no faults", "1 fault", "2,000 faults"]);
        let parts = [(0, 9), (1, 100_000), (145, 72_491), (3, 0)].map(|(p, w)| percent(p, w));
        assert_eq!(parts, ["0 %", "< 0.1 %", "0.2 %", "0 %"]);
        assert_eq!([1, 4, 12].map(number_word), ["one", "four", "12"]);
    }

    #[test]
    fn units() {
        let spans = [12, 4_500, 46_900_000, 3_200_000_000].map(lasted);
        assert_eq!(spans, ["12 ns", "4 µs", "46 ms", "3.2 s"]);
        let sizes = [0, 999, 1_000, 41_400_000, 999_600].map(bytes);
        assert_eq!(sizes, ["0 B", "999 B", "1.0 kB", "41 MB", "1.0 MB"]);
        assert_eq!(milliseconds(1_250), "1.2 ms");
        assert_eq!(milliseconds(1_234_567), "1,235 ms");
        assert_eq!(memory(16_777_216 * 1_024), "16.0 GiB");
    }

    #[test]
    fn sentences() {
        assert_eq!(and(&["a", "b", "c"]), "a, b and c");
        assert_eq!(full_stop("it ended"), "it ended.");
        assert_eq!(full_stop("it ended. "), "it ended.");
        assert_eq!(wall_clock("2026-11-21T02:18:04.5Z"), "2026-11-21 02:18 UTC");
        assert_eq!(wall_clock("yesterday"), "yesterday");
    }
}
