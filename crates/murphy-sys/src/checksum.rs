//! The Internet's checksum is what IPv4, ICMP and TCP bear, so that whoever gets a packet sees whether it is whole
//! (RFC 1071).

/// The checksum of what stands in some parts, one after the other, in which it is zero itself; zero of what bears the
/// right one. Each part but the last is of an even number of bytes.
pub(crate) fn of(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|part| part.chunks(2)).map(|pair| {
        let low = pair.get(1).copied().unwrap_or(0);
        u32::from(u16::from_be_bytes([pair[0], low]))
    });
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    !u16::try_from(folded).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_internets() {
        // RFC 1071, part 3.
        let example = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(of(&[&example]), !0xddf2);
        assert_eq!(of(&[&example[..2], &example[2..]]), !0xddf2);
        assert_eq!(of(&[&example, &(!0xddf2_u16).to_be_bytes()]), 0);
    }
}
