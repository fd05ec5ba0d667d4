//! Orders and rules as the programs read them, and tallies as they write them: the same as in `bpf/failures.h`.

use std::net::IpAddr;

use nix::libc;

use super::{Counts, Order, Pick, Rule, Waiting};
use crate::{
    syscalls::Call,
    traffic::{self, Network, Writer},
};

/// How many numbers of calls there may be.
pub(super) const CALLS: usize = 512;
/// IPv4 addresses stand behind so many bits in those of IPv6.
const MAPPED_BITS: u32 = 96;

pub(super) fn order(order: &Order, by_process: bool) -> Vec<u8> {
    let mut bytes = Writer::default();
    bytes.word64(order.until_ns.unwrap_or(u64::MAX));
    bytes.word64(order.seed);
    bytes.word32(u32::from(order.active));
    bytes.word32(traffic::Order::mark(order.id));
    bytes.word32(u32::from(by_process));
    bytes.word32(0);
    bytes.0
}

pub(super) fn rule(rule: &Rule) -> Vec<u8> {
    let mut bytes = Writer::default();
    bytes.word64(rule.chance);
    let (pick, by) = pick(rule.pick);
    for word in by.into_iter().chain([rule.most.unwrap_or(u64::MAX)]) {
        bytes.word64(word);
    }
    for word in words_of(rule.calls.iter().copied()) {
        bytes.word64(word);
    }
    bytes.word32(pick);
    bytes.word32(rule.errno.number().into());
    bytes.word32(rule.scope.device.map_or(0, kernel_device));
    bytes.0.extend(kind_bits(&rule.scope.kinds).to_ne_bytes());
    bytes.0.push(u8::from(rule.scope.waiting == Waiting::Never));
    let (family, address, bits) = rule.scope.network.map_or((0, 0, 0), network);
    bytes.0.push(family);
    bytes.0.extend(address.to_be_bytes());
    bytes.0.extend(bits.to_be_bytes());
    let (first, last) = rule.scope.ports.unwrap_or((0, u16::MAX));
    bytes.0.extend([first, last].map(u16::to_ne_bytes).concat());
    bytes.word32(0);
    bytes.0
}

fn pick(pick: Pick) -> (u32, [u64; 3]) {
    match pick {
        // No hook remembers files: a rule that needs it was refused.
        Pick::Each | Pick::Sticky | Pick::Once => (0, [0; 3]),
        Pick::Turns { first, last, step } => (1, [first, last, step]),
        Pick::Bursts { begin, end } => (2, [begin, end, 0]),
        Pick::AtMost(most) => (3, [most, 0, 0]),
    }
}

/// One bit for each call.
fn words_of(calls: impl Iterator<Item = Call>) -> [u64; CALLS / 64] {
    let mut words = [0; CALLS / 64];
    for call in calls.map(|call| usize::from(call.number())) {
        if let Some(word) = words.get_mut(call / 64) {
            *word |= 1 << (call % 64);
        }
    }
    words
}

/// The kernel's own number of a device that `stat(2)` tells of (`include/linux/kdev_t.h`).
fn kernel_device(device: u64) -> u32 {
    libc::major(device) << 20 | libc::minor(device)
}

/// One bit for each kind.
fn kind_bits(kinds: &[u32]) -> u16 {
    kinds
        .iter()
        .fold(0, |bits, kind| bits | 1 << (kind >> 12 & 15))
}

/// Its family, its address as IPv6 has it, and which of its bits count.
fn network((address, length): Network) -> (u8, u128, u128) {
    let (family, address, length) = match address {
        IpAddr::V4(address) => (1, address.to_ipv6_mapped(), MAPPED_BITS + u32::from(length)),
        IpAddr::V6(address) => (2, address, u32::from(length)),
    };
    // Of no bit at all none is shifted.
    let bits = u128::MAX.checked_shl(128 - length.min(128)).unwrap_or(0);
    (family, u128::from(address) & bits, bits)
}

pub(super) fn counts(bytes: &[u8]) -> Counts {
    let word = |at: usize| {
        let word = bytes.get(at * 8..).and_then(|rest| rest.first_chunk());
        word.copied().map_or(0, u64::from_ne_bytes)
    };
    Counts {
        seen: word(0),
        failed: word(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{failures::Scope, syscalls::Errno};

    /// As `bpf/failures.h` asserts.
    const RULE_BYTES: usize = 160;

    #[test]
    fn an_order_begins_as_others_do() {
        let bytes = order(
            &Order {
                id: 0xab_cdef,
                active: true,
                ..Order::default()
            },
            true,
        );
        assert_eq!(bytes.len(), 32);
        assert_eq!(bytes[..8], u64::MAX.to_ne_bytes());
        assert_eq!(bytes[20..24], 0x4dab_cdef_u32.to_ne_bytes());
        assert_eq!(bytes[24..28], 1_u32.to_ne_bytes());
    }

    #[test]
    fn a_rule_stands_where_the_programs_read_it() {
        let connect = Call::named("connect").unwrap();
        let bytes = rule(&Rule {
            calls: [connect].into(),
            errno: Errno::named("ETIMEDOUT").unwrap(),
            chance: 7,
            pick: Pick::Turns {
                first: 1,
                last: 2,
                step: 3,
            },
            most: Some(9),
            scope: Scope {
                kinds: vec![libc::S_IFREG, libc::S_IFSOCK],
                device: Some(libc::makedev(8, 3)),
                waiting: Waiting::Never,
                ports: Some((80, 90)),
                network: Some(("10.1.2.3".parse().unwrap(), 8)),
            },
        });
        assert_eq!(bytes.len(), RULE_BYTES);
        let words = [7, 1, 2, 3, 9].map(u64::to_ne_bytes).concat();
        assert_eq!(bytes[..40], words);
        let number = usize::from(connect.number());
        assert_eq!(bytes[40 + number / 8], 1 << (number % 8));
        assert_eq!(bytes[104..108], 1_u32.to_ne_bytes());
        assert_eq!(bytes[108..112], 110_u32.to_ne_bytes());
        assert_eq!(bytes[112..116], (8_u32 << 20 | 3).to_ne_bytes());
        assert_eq!(bytes[116..118], (1_u16 << 8 | 1 << 12).to_ne_bytes());
        assert_eq!(bytes[118..120], [1, 1]);
        assert_eq!(bytes[130..136], [0xff, 0xff, 10, 0, 0, 0]);
        assert_eq!(bytes[136..152], [&[0xff; 13][..], &[0; 3]].concat());
        assert_eq!(bytes[152..156], [80_u16, 90].map(u16::to_ne_bytes).concat());
    }

    #[test]
    fn networks_without_a_bit_are_of_their_family_alone() {
        assert_eq!(network(("::".parse().unwrap(), 0)), (2, 0, 0));
        let (family, address, bits) = network(("0.0.0.0".parse().unwrap(), 0));
        assert_eq!((family, address), (1, 0xffff_0000_0000));
        assert_eq!(bits, u128::MAX << 32);
        let one = "fd78::2".parse().unwrap();
        assert_eq!(network((one, 128)).2, u128::MAX);
    }
}
