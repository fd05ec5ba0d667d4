//! The nearest of some names to one that is none of them: what was probably meant.

use murphy_fault::syscall::realism;
use murphy_sys::syscalls::{Call, Errno};

/// So many are said.
const SAID: usize = 3;
/// Beyond this no errno has a name.
const ERRNO_MAX: u16 = 133;

/// The nearest calls, as the end of an error's text.
pub fn calls(name: &str) -> String {
    let known = realism::calls().filter_map(Call::name);
    said(name, known)
}

/// The nearest errnos, as the end of an error's text.
pub fn errnos(name: &str) -> String {
    let all = (1..=ERRNO_MAX).filter_map(|number| Errno::of(number)?.name());
    said(name, all)
}

/// The nearest of some names, as the end of an error's text; nothing where none is near.
pub fn said<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let name = name.trim();
    let all: Vec<(usize, &str)> = known.map(|one| (distance(name, one), one)).collect();
    // More than half of another name is another name.
    let is_near = |(far, one): &(usize, &str)| far * 2 <= one.len().min(name.len().max(1));
    let mut near: Vec<(usize, &str)> = all.into_iter().filter(is_near).collect();
    near.sort_unstable();
    near.dedup();
    // Beside a near one a far one is not meant.
    let nearest = near.first().map_or(0, |(far, _)| *far);
    near.retain(|(far, _)| *far <= nearest + 1);
    let names: Vec<&str> = near.iter().take(SAID).map(|(_, one)| *one).collect();
    match names.as_slice() {
        [] => String::new(),
        [one] => format!("; did you mean {one}?"),
        [rest @ .., last] => format!("; did you mean {} or {last}?", rest.join(", ")),
    }
}

/// How many letters are to be changed, left out, put in, or swapped with the next one, whatever their case (optimal string alignment).
fn distance(one: &str, other: &str) -> usize {
    // No name is longer; of what is, the beginning tells as much.
    let letters = |text: &str| -> Vec<char> {
        let lower = text.chars().map(|letter| letter.to_ascii_lowercase());
        lower.take(64).collect()
    };
    let (one, other) = (letters(one), letters(other));
    let mut rows: Vec<Vec<usize>> = vec![(0..=other.len()).collect()];
    for (above, letter) in one.iter().enumerate() {
        let mut row = vec![above + 1];
        for (left, of_other) in other.iter().enumerate() {
            let replaced = rows[above][left] + usize::from(letter != of_other);
            let mut least = replaced.min(rows[above][left + 1] + 1).min(row[left] + 1);
            if above > 0 && left > 0 && *letter == other[left - 1] && one[above - 1] == *of_other {
                least = least.min(rows[above - 1][left - 1] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[one.len()][other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_probably_meant_is_said() {
        assert_eq!(errnos("ENOSPACE"), "; did you mean ENOSPC?");
        assert!(errnos("eagian").contains("EAGAIN"));
        assert!(calls("recv_from").contains("recvfrom"));
        assert!(calls("raed").contains("read"));
        assert_eq!(errnos("something else entirely"), "");
        assert_eq!(errnos(""), "");
        assert_eq!((distance("", "abc"), distance("kitten", "sitting")), (3, 3));
        assert_eq!((distance("EOI", "EIO"), distance("abc", "")), (1, 3));
    }
}
