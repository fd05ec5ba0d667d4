//! How many lines each part of a screen has.

/// A part of a screen, from the top.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// It is of no use with fewer lines.
    pub least: usize,
    /// It has no use for more.
    pub most: usize,
}

/// Gives so many lines to parts: to each first the least, in the order of `by_use`, then more, in that of `by_size`.
pub fn share(lines: usize, parts: &[Part], by_use: &[usize], by_size: &[usize]) -> Vec<usize> {
    let mut left = lines;
    let mut given = vec![0; parts.len()];
    for part in by_use.iter().copied() {
        if parts[part].least <= left {
            given[part] = parts[part].least.min(parts[part].most);
            left -= given[part];
        }
    }
    for part in by_size.iter().copied() {
        if given[part] == 0 && parts[part].least > 0 {
            continue;
        }
        let more = parts[part].most.saturating_sub(given[part]).min(left);
        given[part] += more;
        left -= more;
    }
    given
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_of_most_use_has_room_first() {
        let parts = [(2, 9), (3, 4), (1, 1)].map(|(least, most)| Part { least, most });
        for (lines, given) in [
            (0, [0, 0, 0]),
            (1, [0, 0, 1]),
            (3, [0, 3, 0]),
            (4, [0, 3, 1]),
            (6, [2, 3, 1]),
            (7, [2, 4, 1]),
            (30, [9, 4, 1]),
        ] {
            assert_eq!(
                share(lines, &parts, &[1, 2, 0], &[1, 0, 2]),
                given,
                "{lines}"
            );
        }
    }
}
