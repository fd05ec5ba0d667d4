//! Shapes of histories: how many clients, keys and members, and what goes wrong on the way.

use murphy_check::etcd::generate::{Profile, Traffic};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// How many shapes [`profile`] knows.
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

/// Any shape at all: each number is drawn for itself.
pub fn any(seed: u64) -> Profile {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let leases = if rng.random() {
        rng.random_range(1..5)
    } else {
        0
    };
    Profile {
        traffic: if rng.random_ratio(1, 8) {
            Traffic::Compare
        } else {
            Traffic::Mixed
        },
        clients: rng.random_range(1..11),
        operations: [20, 60, 150, 300][rng.random_range(0..4)] + rng.random_range(0..30),
        keys: rng.random_range(1..13),
        members: [1, 2, 3, 3, 5][rng.random_range(0..5)],
        conditions: rng.random_range(0..11),
        unknown_per_mille: [0, 5, 20, 100, 300][rng.random_range(0..5)],
        kills: rng.random_range(0..4),
        compactions: rng.random_range(0..6),
        watches: rng.random_ratio(3, 4),
        leases,
        slowness: if leases > 0 {
            [10, 25, 60][rng.random_range(0..3)]
        } else {
            1
        },
        registry: rng.random_ratio(1, 4),
        cut: rng.random(),
    }
}
