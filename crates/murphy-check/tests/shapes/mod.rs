//! The shapes of generated histories, shared by the tests of the judge.

use murphy_check::etcd::generate::Profile;

/// How many shapes of histories there are.
pub const SHAPES: u64 = 9;

/// Histories of every shape, small enough for a thousand of them.
pub fn profile(seed: u64) -> Profile {
    let operations = 200 + usize::try_from(seed % 7).unwrap() * 60;
    let mixed = Profile {
        clients: 8,
        keys: 12,
        unknown_per_mille: 20,
        ..Profile::mixed(operations)
    };
    match seed % SHAPES {
        6 => Profile {
            clients: 8,
            keys: 12,
            kills: 2,
            ..Profile::leased(operations)
        },
        7 => Profile {
            registry: true,
            ..mixed
        },
        8 => Profile {
            clients: 6,
            keys: 8,
            members: 1,
            unknown_per_mille: 20,
            registry: true,
            watches: !seed.is_multiple_of(4),
            kills: usize::from(!(seed / 7).is_multiple_of(3)),
            cut: seed.is_multiple_of(2),
            ..Profile::leased(operations)
        },
        0 => Profile {
            conditions: 10,
            keys: 20,
            clients: 12,
            unknown_per_mille: 20,
            ..Profile::compare(operations)
        },
        1 => Profile { cut: true, ..mixed },
        2 => Profile {
            watches: false,
            unknown_per_mille: 5,
            kills: 1,
            ..mixed
        },
        3 => Profile {
            members: 1,
            ..mixed
        },
        4 => Profile {
            cut: true,
            watches: false,
            kills: 1,
            clients: 4,
            ..mixed
        },
        _ => mixed,
    }
}
