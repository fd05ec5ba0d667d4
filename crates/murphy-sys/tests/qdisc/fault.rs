//! The faults that the tests ask for.

use std::num::NonZeroU64;

use murphy_sys::qdisc::{
    Netem, Tbf,
    netem::{Chance, Delay, Loss, Probability},
};

const MILLISECOND: u64 = 1_000_000;

pub fn chance(share: f64) -> Chance {
    Chance::independent(Probability::nearest(share))
}

pub fn delay(mean_ms: u64, jitter_ms: u64) -> Delay {
    Delay {
        mean_ns: mean_ms * MILLISECOND,
        jitter_ns: jitter_ms * MILLISECOND,
        ..Delay::default()
    }
}

/// Whose draws are the same each time, where the kernel can.
pub fn seeded() -> Netem {
    Netem {
        seed: Some(7),
        ..Netem::default()
    }
}

pub fn delayed(delay: Delay) -> Netem {
    Netem {
        delay: Some(delay),
        limit: 10_000,
        ..seeded()
    }
}

pub fn losing(loss: Loss) -> Netem {
    Netem { loss, ..seeded() }
}

/// 200,000 bytes a second.
pub fn slow() -> Tbf {
    Tbf {
        bytes_per_second: NonZeroU64::new(200_000).unwrap(),
        burst_bytes: 10_000,
        limit_bytes: 1 << 20,
    }
}
