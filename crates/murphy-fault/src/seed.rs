//! A seed is the one number everything random of a Murphy process comes from.

use std::{fmt, fs::File, io::Read};

use rand::Rng;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use serde::{Deserialize, Serialize};

/// The number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seed(pub u64);

impl Seed {
    /// One that nobody chose, below 2^32 so that a person can type it again.
    pub fn fresh() -> Self {
        let mut bytes = [0; 4];
        let drawn = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
        match drawn {
            Ok(()) => Self(u64::from(u32::from_le_bytes(bytes))),
            Err(_) => Self(murphy_sys::clock::boottime_ns() & 0xffff_ffff),
        }
    }

    /// The stream of numbers it stands for.
    pub fn stream(self) -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(self.0)
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The name of an injection: six hex digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct InjectionId(String);

/// A text that is no injection id.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("read injection id {0:?}: it is not six hex digits")]
pub struct BadInjectionId(String);

impl InjectionId {
    /// Draws one.
    pub fn draw(stream: &mut impl Rng) -> Self {
        Self(format!("{:06x}", stream.next_u32() >> 8))
    }

    /// Its six digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for InjectionId {
    type Error = BadInjectionId;

    fn try_from(text: String) -> Result<Self, BadInjectionId> {
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if text.len() == 6 && text.bytes().all(hex) {
            Ok(Self(text))
        } else {
            Err(BadInjectionId(text))
        }
    }
}

impl From<InjectionId> for String {
    fn from(id: InjectionId) -> Self {
        id.0
    }
}

impl fmt::Display for InjectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
